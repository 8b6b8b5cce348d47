//! Messages that real clients sent (`fixtures/scep`), through the whole gateway. They were encrypted to the fixtures' message CA, so
//! that CA's key opens the envelopes here; nobody has the clients' keys, so of a SUCCESS the seal is looked at, and what was issued in
//! the store.

use std::sync::Arc;

use certgate::{
    adapters::keys::software::SoftwareDecrypter,
    domain::{
        binding::{Assurance, Evidence},
        key::SealedKey,
    },
    ports::{Decrypter, KeyError, Keyring, store::Page},
    service::{
        Ports,
        exchange::ExchangeFilter,
        scep::{HttpFacts, Origin},
    },
    types::{ContentCipher, DigestAlgorithm, Secret},
    wire::{
        scep::{FailInfo, PkiMessage, PkiStatus},
        x509::Certificate,
    },
};

use crate::{
    common::{World, WorldOptions},
    keyrings::{Opening, Opens},
    logged::logged,
};

const SCEPCLIENT: &[u8] = include_bytes!("../../fixtures/scep/scepclient-des.der");
const SCEPCLIENT_RENEWAL: &[u8] = include_bytes!("../../fixtures/scep/scepclient-renewal.der");
const STRONGSWAN: &[u8] = include_bytes!("../../fixtures/scep/strongswan-aes.der");
const STRONGSWAN_3DES: &[u8] = include_bytes!("../../fixtures/scep/strongswan-3des.der");
const CERTMONGER: &[u8] = include_bytes!("../../fixtures/scep/certmonger-aes256.der");

/// A keyring whose message keys open what was encrypted to the fixtures' message CA.
struct Captured(Arc<dyn Keyring>);

impl Opens for Captured {
    fn keyring(&self) -> &dyn Keyring {
        self.0.as_ref()
    }

    fn decrypter(&self, _key: &SealedKey) -> Result<Arc<dyn Decrypter>, KeyError> {
        let pkcs8 = include_bytes!("../../fixtures/scep/message-ca.p8");
        Ok(Arc::new(SoftwareDecrypter::from_pkcs8(pkcs8)?))
    }
}

/// A world with one profile, which takes the captured messages' challenge and registered devices' own names.
fn world(legacy: &str) -> World {
    world_of(&format!("legacy = {{ {legacy} }}"))
}

/// The same with these lines in the profile.
fn world_of(lines: &str) -> World {
    let mut options = WorldOptions::default();
    options.settings.static_challenges.insert("shared".parse().unwrap(), vec![Secret::from("secret123")]);
    let settings = options.settings.clone();
    let spec = format!("subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]\n{lines}\n");
    let world = World::with(options, &[("shared", &spec)]);
    for device in ["dev1.example", "ss1.example", "cm1.example", "odd1.example"] {
        world.register(device);
    }
    let keyring = Arc::new(Opening(Captured(world.ports.keyring.clone())));
    let ports = Ports { keyring, ..world.ports.clone() };
    world.restarted_on(ports, settings)
}

/// What the outside of an answer says.
struct Outside {
    status: PkiStatus,
    fail_info: Option<FailInfo>,
    digest: DigestAlgorithm,
    cipher: Option<ContentCipher>,
}

fn send(world: &World, message: &[u8]) -> Outside {
    let request = PkiMessage::from_ber(message).unwrap();
    let rep = world.pki_operation("shared", message).unwrap();
    let message = PkiMessage::from_ber(&rep.body).unwrap();
    assert_eq!(message.transaction_id(), request.transaction_id());
    let verified = message.verify_taking(true).unwrap();
    let reply = verified.reply().unwrap();
    assert_eq!(reply.recipient_nonce, request.sender_nonce());
    let cipher = verified.envelope().ok().map(|envelope| {
        // RFC 8894 §2.3: to the certificate that signed the request.
        assert!(envelope.recipient_for(request.verify_taking(true).unwrap().signer()).is_some());
        envelope.cipher
    });
    Outside { status: reply.status, fail_info: reply.fail_info, digest: verified.digest(), cipher }
}

/// The one certificate of the device.
fn issued(world: &World, device: &str) -> Certificate {
    let device = world.gateway.device(&world.authed(), &device.parse().unwrap()).unwrap();
    let [certificate] = &device.certificates[..] else { panic!("{:?}", device.certificates) };
    let fingerprint = certificate.fingerprint.unwrap();
    Certificate::from_der(&world.read(|view| view.certificate_by_fingerprint(&fingerprint)).unwrap().der)
        .unwrap()
}

#[test]
fn s2_9_b_scepclient_2_1_with_sha1_and_des_enrols_where_the_profile_says_so() {
    let world = world("sha1 = true, des = true");
    let mut answer = None;
    let log = logged(|| answer = Some(send(&world, SCEPCLIENT)));
    for algorithm in ["sha1", "des", "sha1-answer"] {
        let warned =
            |line: &str| line.contains("WARN") && line.contains(&format!("algorithm=\"{algorithm}\""));
        assert!(log.lines().any(warned), "{log}");
    }
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.fail_info), (PkiStatus::Success, None));
    // Its own digest, and a better cipher.
    assert_eq!((answer.digest, answer.cipher), (DigestAlgorithm::Sha1, Some(ContentCipher::TripleDesCbc)));
    let certificate = issued(&world, "dev1.example");
    assert_eq!(certificate.subject().to_string(), "CN=dev1.example");
    let [binding] = world.bindings(&certificate).try_into().unwrap();
    assert_eq!((binding.evidence, binding.assurance), (Evidence::Claim, Assurance::Low));
}

#[test]
fn scepclient_2_1_enrols_under_legacy_and_is_answered_in_kind() {
    let answer = send(&world_of("client = \"legacy\""), SCEPCLIENT);
    assert_eq!((answer.status, answer.fail_info), (PkiStatus::Success, None));
    assert_eq!((answer.digest, answer.cipher), (DigestAlgorithm::Sha1, Some(ContentCipher::DesCbc)));
}

#[test]
fn s2_9_b_each_old_algorithm_needs_its_own_leave() {
    for legacy in
        ["sha1 = true", "des = true", "sha1 = true, triple-des = true", "des = true, triple-des = true"]
    {
        let world = world(legacy);
        assert_eq!(send(&world, SCEPCLIENT).fail_info, Some(FailInfo::BadAlg), "{legacy}");
        assert_eq!(world.leaves(), 0);
    }
}

#[test]
fn strongswan_5_9_enrols_with_aes_and_with_triple_des() {
    let modern = world("");
    let answer = send(&modern, STRONGSWAN);
    assert_eq!((answer.status, answer.cipher), (PkiStatus::Success, Some(ContentCipher::Aes128Cbc)));
    assert_eq!(issued(&modern, "ss1.example").subject().to_string(), "CN=ss1.example");
    assert_eq!(send(&modern, STRONGSWAN_3DES).fail_info, Some(FailInfo::BadAlg));

    let answer = send(&world("triple-des = true"), STRONGSWAN_3DES);
    assert_eq!((answer.status, answer.cipher), (PkiStatus::Success, Some(ContentCipher::TripleDesCbc)));
}

#[test]
fn certmonger_0_79_enrols() {
    let world = world("");
    let answer = send(&world, CERTMONGER);
    assert_eq!((answer.status, answer.cipher), (PkiStatus::Success, Some(ContentCipher::Aes256Cbc)));
    assert_eq!(issued(&world, "cm1.example").subject().to_string(), "CN=cm1.example");
}

#[test]
fn a_client_is_guessed_by_what_it_sends_and_treated_no_different() {
    let world = world("sha1 = true, des = true");
    let looks_like = |message: &[u8], user_agent: &str| {
        let http =
            HttpFacts { method: "POST".to_owned(), version: "HTTP/1.1".to_owned(), ..HttpFacts::default() };
        let origin = Origin { user_agent: user_agent.to_owned(), http, ..world.origin() };
        let rep = world.gateway.pki_operation(&"shared".parse().unwrap(), message, &origin).unwrap();
        assert_eq!(rep.result, "success", "{user_agent}");
        let all = ExchangeFilter::default();
        world.gateway.exchanges(&world.authed(), &all, &Page::first(1)).unwrap().items.remove(0).looks_like
    };
    // No family is like scepclient; single DES alone makes no Cisco.
    assert_eq!(looks_like(SCEPCLIENT, "Go-http-client/1.1"), "");
    assert_eq!(
        looks_like(STRONGSWAN, ""),
        "strongswan: no User-Agent, POST, SHA-1 transactionID in upper case, signingTime; if it is one, set client = \"strongswan\" in \
         the profile"
    );
    // Nothing would change for certmonger, so nothing is advised.
    assert_eq!(looks_like(CERTMONGER, ""), "certmonger: transactionID of 70 digits and more");
    // Whoever says so is anything, and gets what he would get anyway.
    let claimed = looks_like(SCEPCLIENT, "Mozilla/4.0 (compatible; MSIE 5.0; Cisco PKI)");
    assert_eq!(
        claimed,
        "cisco-ios: User-Agent Cisco PKI, single DES; if it is one, set client = \"cisco-ios\" in the profile"
    );
}

/// What `fixtures/scep/generate` makes: one peculiarity each.
fn odd(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/scep");
    std::fs::read(format!("{folder}/odd-{name}.der")).unwrap()
}

#[test]
fn odd_encodings_and_attributes_are_read() {
    for name in
        ["indefinite", "unsorted", "oaep", "pss", "nonce-8", "nonce-none", "type-integer", "no-content-type"]
    {
        let world = world("");
        let answer = send(&world, &odd(name));
        assert_eq!(
            (answer.status, answer.cipher),
            (PkiStatus::Success, Some(ContentCipher::Aes128Cbc)),
            "{name}"
        );
        assert_eq!(issued(&world, "odd1.example").subject().to_string(), "CN=odd1.example");
    }
}

#[test]
fn s2_9_c_what_is_old_needs_leave() {
    for (name, switch) in
        [("3des", "triple-des = true"), ("des", "des = true"), ("sha1", "sha1 = true"), ("md5", "md5 = true")]
    {
        let refused = send(&world(""), &odd(name));
        let refusal = (Some(FailInfo::BadAlg), DigestAlgorithm::Sha256);
        assert_eq!((refused.fail_info, refused.digest), refusal, "{name}");
        assert_eq!(send(&world(switch), &odd(name)).status, PkiStatus::Success, "{name}");
    }
    // One old algorithm opens no other.
    let others = world("sha1 = true, des = true, triple-des = true");
    let refused = send(&others, &odd("md5"));
    assert_eq!((refused.fail_info, refused.digest), (Some(FailInfo::BadAlg), DigestAlgorithm::Sha256));
    assert_eq!(others.leaves(), 0);
}

#[test]
fn md5_is_let_in_by_the_legacy_client_with_a_warning_and_answered_with_md5() {
    let world = world_of("client = \"legacy\"");
    let mut answer = None;
    let log = logged(|| answer = Some(send(&world, &odd("md5"))));
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.digest), (PkiStatus::Success, DigestAlgorithm::Md5));
    for algorithm in ["md5", "md5-answer"] {
        let warned =
            |line: &str| line.contains("WARN") && line.contains(&format!("algorithm=\"{algorithm}\""));
        assert!(log.lines().any(warned), "{log}");
    }
    let mut changed = odd("md5");
    *changed.last_mut().unwrap() ^= 1;
    let refused = send(&world, &changed);
    // Who does not prove that he signs with MD5 gets no signature with it.
    assert_eq!(
        (refused.fail_info, refused.digest),
        (Some(FailInfo::BadMessageCheck), DigestAlgorithm::Sha256)
    );
}

#[test]
fn a_renewal_under_another_cas_certificate_is_refused() {
    let world = world("sha1 = true, des = true");
    let answer = send(&world, SCEPCLIENT_RENEWAL);
    assert_eq!((answer.status, answer.fail_info), (PkiStatus::Failure, Some(FailInfo::BadRequest)));
    assert_eq!(world.leaves(), 0);
}
