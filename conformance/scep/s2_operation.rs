//! RFC 8894 section 2: what the CA offers, and who may have what.

use certgate::{
    types::{KeyAlgorithm, Secret},
    wire::{
        scep::FailInfo,
        x509::{KeyKind, KeyUsage},
    },
};

use crate::{
    DEVICE,
    common::{Client, World, WorldOptions},
};

const LEGACY: &str = r#"
subject = "CN=$DEVICE_ID$"
legacy = { triple-des = true, sha1 = true, des = true }
"#;

#[test]
fn s2_1_2_a_message_certificate_signs_and_enciphers_with_rsa() {
    let world = World::new(&[("device", DEVICE)]);
    let message = world.message_certificate("device");
    let usage = message.key_usage().unwrap();
    assert!(usage.contains(KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT)));
    assert_eq!(message.public_key().kind(), KeyKind::Rsa { bits: 2048 });
    assert_eq!(world.issuer("issuing").public_key().kind(), KeyKind::P256);
    // Windows: 0x8010002c without an EKU that it knows.
    let eku: Vec<_> = message.extended_key_usage().iter().map(ToString::to_string).collect();
    assert_eq!(eku, ["1.3.6.1.4.1.311.20.2.1"]);
    assert!(!message.is_ca());
}

#[test]
fn s4_2_1_a_bundle_is_message_certificate_then_ca_then_root() {
    let world = World::new(&[("device", DEVICE)]);
    let bundle = world.ca_certificates("device");
    let [message, issuing, root] = bundle.as_slice() else { panic!("{} certificates", bundle.len()) };
    message.is_signed_by(issuing).unwrap();
    issuing.is_signed_by(root).unwrap();
    root.is_signed_by(root).unwrap();
    assert_eq!(world.made.message, message.fingerprint());
    assert_eq!(world.made.issuing, issuing.fingerprint());
    assert_eq!(world.made.root, root.fingerprint());
}

#[test]
fn s2_3_a_signer_subject_need_not_be_the_subject_of_the_request() {
    let world = World::new(&[("device", r#"subject = "CN=$DEVICE_ID$""#)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=anything", Some(&ticket)));
    assert_ne!(client.identity.subject(), answer.certificate().subject());
}

#[test]
fn s2_4_b_self_signature_alone_authorises_nothing() {
    let world = World::new(&[("device", DEVICE)]);
    world.register("SN1");
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=SN1", None));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
}

#[test]
fn s2_4_empty_static_challenge_is_no_open_door() {
    let mut options = WorldOptions::default();
    let secrets = vec![Secret::from("")];
    options.settings.static_challenges.insert("open".parse().unwrap(), secrets);
    let spec = "subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]\n";
    let world = World::with(options, &[("open", spec)]);
    world.register("SN1");
    let client = Client::new();
    for challenge in [None, Some(Secret::from(""))] {
        let answer = client.enrol(&world, "open", &client.csr("CN=SN1", challenge.as_ref()));
        assert_eq!(answer.failure(), FailInfo::BadRequest);
    }
}

#[test]
fn s2_4_both_static_challenges_of_a_rotation_are_taken() {
    let mut options = WorldOptions::default();
    let secrets = vec![Secret::from("new secret"), Secret::from("old secret")];
    options.settings.static_challenges.insert("shared".parse().unwrap(), secrets);
    let spec = "subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]\n";
    let world = World::with(options, &[("shared", spec), ("other", spec)]);
    world.register("SN1");
    for secret in ["new secret", "old secret"] {
        let client = Client::new();
        let csr = client.csr("CN=SN1", Some(&Secret::from(secret)));
        assert_eq!(client.enrol(&world, "shared", &csr).certificate().subject().to_string(), "CN=SN1");
        // Another profile's challenge.
        assert_eq!(client.enrol(&world, "other", &csr).failure(), FailInfo::BadRequest);
    }
    let client = Client::new();
    let csr = client.csr("CN=SN1", Some(&Secret::from("guess")));
    assert_eq!(client.enrol(&world, "shared", &csr).failure(), FailInfo::BadRequest);
}

#[test]
fn s2_9_an_ec_device_key_is_certified_under_an_rsa_signer() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let device_key = crate::common::signer(KeyAlgorithm::P256);
    let csr = crate::common::request_for(device_key.as_ref(), "CN=SN1", &[], Some(&ticket));
    let answer = Client::new().enrol(&world, "device", &csr);
    assert_eq!(answer.certificate().public_key(), device_key.public_key());
    // RFC 5480 §3: no keyEncipherment with an EC key.
    assert_eq!(answer.certificate().key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE));
}

#[test]
fn s3_5_2_a_capabilities_are_plain_lines() {
    let world = World::new(&[("device", DEVICE), ("old", LEGACY)]);
    let capabilities = |profile: &str| world.gateway.ca_capabilities(&profile.parse().unwrap()).unwrap();
    let modern = capabilities("device");
    assert_eq!(modern, "AES\nPOSTPKIOperation\nRenewal\nSCEPStandard\nSHA-1\nSHA-256\nSHA-384\nSHA-512\n");
    assert!(capabilities("old").lines().any(|line| line == "DES3"));
    assert!(modern.len() <= 1024 && modern.is_ascii(), "certmonger reads 1024 bytes");
}

#[test]
fn default_profile_is_the_configured_one_or_the_only_one() {
    let only = World::new(&[("device", DEVICE)]);
    assert_eq!(only.gateway.default_profile().unwrap().as_str(), "device");
    let several = World::new(&[("device", DEVICE), ("old", LEGACY)]);
    assert_eq!(several.gateway.default_profile(), None);
    let mut settings = WorldOptions::default().settings;
    settings.default_profile = Some("old".parse().unwrap());
    assert_eq!(several.restarted(settings).gateway.default_profile().unwrap().as_str(), "old");
}
