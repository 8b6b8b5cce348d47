//! RFC 8894 section 3: the form of the answer fits what the request showed that the client can read.

use certgate::{
    types::{ContentCipher, DigestAlgorithm, KeyTransport},
    wire::{
        scep::{FailInfo, PkiStatus},
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{Client, MessageOptions, World},
};

fn enrol(world: &World, profile: &str, device: &str, options: &MessageOptions) -> crate::common::Answer {
    let ticket = world.ticket(profile, &world.register(device));
    let client = Client::new();
    client.ask(world, profile, options.clone(), &client.csr("CN=x", Some(&ticket)))
}

#[test]
fn s3_1_reply_mirrors_the_cipher() {
    let world = World::new(&[("device", DEVICE)]);
    for (device, cipher) in [
        ("SN1", ContentCipher::Aes128Cbc),
        ("SN2", ContentCipher::Aes192Cbc),
        ("SN3", ContentCipher::Aes256Cbc),
    ] {
        let answer = enrol(&world, "device", device, &MessageOptions { cipher, ..Default::default() });
        assert_eq!(answer.certificate().subject().common_name().as_deref(), Some(device));
        assert_eq!(answer.cipher, Some(cipher));
    }
}

#[test]
fn s3_1_reply_mirrors_the_key_transport() {
    let world = World::new(&[("device", DEVICE)]);
    for (device, transport) in
        [("SN1", KeyTransport::Pkcs1), ("SN2", KeyTransport::OaepSha1), ("SN3", KeyTransport::OaepSha256)]
    {
        let answer = enrol(&world, "device", device, &MessageOptions { transport, ..Default::default() });
        assert_eq!(answer.status, PkiStatus::Success);
        assert_eq!(answer.transport, Some(transport));
    }
}

#[test]
fn s3_1_reply_mirrors_the_digest() {
    let world = World::new(&[("device", DEVICE)]);
    for (device, digest) in
        [("SN1", DigestAlgorithm::Sha256), ("SN2", DigestAlgorithm::Sha384), ("SN3", DigestAlgorithm::Sha512)]
    {
        let answer = enrol(&world, "device", device, &MessageOptions { digest, ..Default::default() });
        assert_eq!((answer.status, answer.digest), (PkiStatus::Success, digest));
    }
}

#[test]
fn s2_9_b_triple_des_is_spoken_only_where_the_profile_allows_it() {
    let old = "subject = \"CN=$DEVICE_ID$\"\nlegacy = { triple-des = true }\n";
    let world = World::new(&[("device", DEVICE), ("old", old)]);
    let options = MessageOptions { cipher: ContentCipher::TripleDesCbc, ..Default::default() };
    let answer = enrol(&world, "old", "SN1", &options);
    assert_eq!(answer.status, PkiStatus::Success);
    assert_eq!(answer.cipher, Some(ContentCipher::TripleDesCbc));
    assert_eq!(enrol(&world, "device", "SN2", &options).failure(), FailInfo::BadAlg);
}

#[test]
fn s3_2_1_5_a_recipient_nonce_is_the_clients_and_sender_nonce_is_fresh() {
    let world = World::new(&[("device", DEVICE)]);
    let client = Client::new();
    let csr = client.csr("CN=x", None);
    let nonces = [(); 2].map(|()| client.enrol(&world, "device", &csr).sender_nonce);
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn s3_3_2_1_a_issued_certificate_is_alone_unless_the_profile_adds_the_chain() {
    let cisco = "subject = \"CN=$DEVICE_ID$\"\ninclude-ca = true\n";
    let world = World::new(&[("device", DEVICE), ("cisco", cisco)]);
    assert_eq!(enrol(&world, "device", "SN1", &MessageOptions::default()).certificates.len(), 1);
    let answer = enrol(&world, "cisco", "SN2", &MessageOptions::default());
    assert_eq!(answer.certificate().subject().to_string(), "CN=SN2");
    assert_eq!(answer.certificates[1..], [world.issuer("issuing"), world.issuer("root")]);
}

#[test]
fn s2_7_a_certificate_carries_what_gear_needs_to_check_it() {
    let world = World::new(&[("device", DEVICE)]);
    let answer = enrol(&world, "device", "SN1", &MessageOptions::default());
    let certificate = answer.certificate();
    certificate.is_signed_by(&world.issuer("issuing")).unwrap();
    assert_eq!(certificate.ocsp_urls(), ["http://pki.test.example/ocsp"]);
    assert_eq!(certificate.crl_urls(), ["http://pki.test.example/crl/issuing.crl"]);
    assert_eq!(certificate.ca_issuers_urls(), ["http://pki.test.example/ca/issuing.cer"]);
    assert_eq!(certificate.subject().to_string(), "CN=SN1,O=Test");
    assert!(!certificate.is_ca());
}

/// A device that never had the time: it is 1 January 1970, and its certificate is valid from an hour ago.
#[test]
fn s2_3_a_signer_certificate_from_before_1970_is_read() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let mut identity = client.identity.as_der().to_vec();
    let at = identity.windows(2).position(|tag| tag == [0x17, 13]).unwrap() + 2;
    identity[at..at + 13].copy_from_slice(b"691231230000Z");
    let client = client.with_identity(&Certificate::from_der(&identity).unwrap());
    client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate();
}
