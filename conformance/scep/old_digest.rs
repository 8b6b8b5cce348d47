//! Requests with SHA-1 and MD5, and what their answers are signed with: the same, where the profile takes it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use certgate::{
    domain::key::SealedKey,
    ports::{KeyError, Keyring, LegacySigner},
    service::{GatewaySettings, Ports},
    types::{DigestAlgorithm, Secret, SignatureAlgorithm},
    wire::{
        scep::{
            FailInfo, IssuerAndSerialNumber, IssuerAndSubject, MessageType, PkiMessage, PkiStatus,
            client::{AnswerError, CaCertificates, Meaning, Sent},
        },
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{Answer, Client, MessageOptions, World},
    keyrings::{Opening, Opens},
};

const OLD: [DigestAlgorithm; 2] = [DigestAlgorithm::Sha1, DigestAlgorithm::Md5];

/// A profile with this switch on, and the same with approval.
fn world(digest: DigestAlgorithm) -> World {
    let open = format!("{DEVICE}\nlegacy = {{ {digest} = true }}\n");
    let manual = format!("{DEVICE}\napproval = \"manual\"\nlegacy = {{ {digest} = true }}\n");
    World::new(&[("old", &open), ("manual", &manual), ("device", DEVICE)])
}

fn ask(
    world: &World,
    profile: &str,
    client: &Client,
    digest: DigestAlgorithm,
    kind: MessageType,
    payload: &[u8],
) -> Answer {
    client.ask(world, profile, MessageOptions { kind, digest, ..MessageOptions::default() }, payload)
}

/// A client of a new device, and its request.
fn applicant(world: &World, profile: &str, device: &str) -> (Client, Vec<u8>) {
    let ticket = world.ticket(profile, &world.register(device));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    (client, csr)
}

#[test]
fn every_answer_has_the_digest_of_its_request() {
    for digest in OLD {
        let world = world(digest);
        world.gateway.run_due().unwrap();
        let (client, csr) = applicant(&world, "old", "SN1");
        let ask = |client: &Client, kind, payload: &[u8]| ask(&world, "old", client, digest, kind, payload);

        let granted = ask(&client, MessageType::PkcsReq, &csr);
        assert_eq!(granted.digest, digest);
        let certificate = granted.certificate().clone();
        // What is in it is signed as ever.
        certificate.is_signed_by(&world.issuer("issuing")).unwrap();
        assert_eq!(
            certificate.signature_algorithm().map(SignatureAlgorithm::digest),
            Some(DigestAlgorithm::Sha256)
        );

        let repeated = ask(&client, MessageType::PkcsReq, &csr);
        assert_eq!((repeated.certificate(), repeated.digest), (&certificate, digest));

        let payload = IssuerAndSerialNumber {
            issuer: world.issuer("issuing").subject().clone(),
            serial: certificate.serial().clone(),
        };
        let payload = payload.to_der().unwrap();
        let found = ask(&client, MessageType::GetCert, &payload);
        assert_eq!((found.certificate(), found.digest), (&certificate, digest));
        let crl = ask(&client, MessageType::GetCrl, &payload);
        assert_eq!((crl.status, crl.crls.len(), crl.digest), (PkiStatus::Success, 1, digest));

        let renewing = client.with_identity(&certificate).in_transaction("the next certificate");
        let renewed = ask(&renewing, MessageType::RenewalReq, &renewing.csr("CN=SN1,O=Test", None));
        assert_eq!((renewed.status, renewed.digest), (PkiStatus::Success, digest));

        let stranger = Client::new();
        let wrong = stranger.csr("CN=x", Some(&Secret::from("no such challenge")));
        let refused = ask(&stranger, MessageType::PkcsReq, &wrong);
        assert_eq!((refused.failure(), refused.digest), (FailInfo::BadRequest, digest));
    }
}

#[test]
fn pending_and_what_is_polled_have_the_digest_of_the_request() {
    for digest in OLD {
        let world = world(digest);
        let (client, csr) = applicant(&world, "manual", "SN1");
        let pending = ask(&world, "manual", &client, digest, MessageType::PkcsReq, &csr);
        assert_eq!((pending.status, pending.digest), (PkiStatus::Pending, digest));
        let [waiting] =
            world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items.try_into().unwrap();
        world.gateway.approve_enrolment(&world.authed(), &waiting.id, "").unwrap();
        let poll = IssuerAndSubject {
            issuer: world.issuer("issuing").subject().clone(),
            subject: "CN=not to be trusted".parse().unwrap(),
        };
        let polled = ask(&world, "manual", &client, digest, MessageType::CertPoll, &poll.to_der().unwrap());
        assert_eq!((polled.status, polled.digest), (PkiStatus::Success, digest));
    }
}

#[test]
fn without_leave_the_refusal_is_signed_with_sha256() {
    for (digest, other) in [(OLD[0], OLD[1]), (OLD[1], OLD[0])] {
        // One switch opens no other.
        let world = world(other);
        for profile in ["device", "old"] {
            let (client, csr) = applicant(&world, profile, &format!("SN-{profile}"));
            let refused = ask(&world, profile, &client, digest, MessageType::PkcsReq, &csr);
            assert_eq!((refused.failure(), refused.digest), (FailInfo::BadAlg, DigestAlgorithm::Sha256));
        }
        assert_eq!(world.leaves(), 0);
    }
}

#[test]
fn a_transaction_id_that_would_come_before_our_nonce_is_answered_with_sha256() {
    for digest in OLD {
        let world = world(digest);
        let (client, _) = applicant(&world, "old", "SN1");
        let csr = client.csr("CN=x", Some(&Secret::from("no such challenge")));
        for (transaction, expected) in [
            ("x", DigestAlgorithm::Sha256),
            ("fifteen letters", DigestAlgorithm::Sha256),
            ("sixteen letters.", digest),
        ] {
            let client = client.in_transaction(transaction);
            let answer = ask(&world, "old", &client, digest, MessageType::PkcsReq, &csr);
            assert_eq!((answer.failure(), answer.digest), (FailInfo::BadRequest, expected), "{transaction}");
        }
    }
}

#[test]
fn who_signs_with_better_is_answered_with_better() {
    let world = world(DigestAlgorithm::Sha1);
    for (device, digest) in [("SN1", DigestAlgorithm::Sha256), ("SN2", DigestAlgorithm::Sha512)] {
        let (client, csr) = applicant(&world, "old", device);
        let answer = ask(&world, "old", &client, digest, MessageType::PkcsReq, &csr);
        assert_eq!((answer.status, answer.digest), (PkiStatus::Success, digest));
    }
}

/// Counts for how many keys it was asked what signs with MD5 and SHA-1.
struct Watched(Arc<dyn Keyring>, Arc<AtomicUsize>);

impl Opens for Watched {
    fn keyring(&self) -> &dyn Keyring {
        self.0.as_ref()
    }

    fn legacy_signer(&self, key: &SealedKey) -> Result<Arc<dyn LegacySigner>, KeyError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.legacy_signer(key)
    }
}

#[test]
fn the_key_for_old_signatures_is_opened_once_and_only_where_it_is_needed() {
    let opened = Arc::new(AtomicUsize::new(0));
    let world = world(DigestAlgorithm::Md5);
    let keyring = Arc::new(Opening(Watched(world.ports.keyring.clone(), opened.clone())));
    let ports = Ports { keyring, ..world.ports.clone() };
    let world = world.restarted_on(ports, GatewaySettings::default());
    let enrol = |profile: &str, device: &str, digest| {
        let (client, csr) = applicant(&world, profile, device);
        ask(&world, profile, &client, digest, MessageType::PkcsReq, &csr)
    };
    for (number, (profile, digest)) in [
        ("device", DigestAlgorithm::Sha256),
        ("device", DigestAlgorithm::Md5),
        ("old", DigestAlgorithm::Sha256),
    ]
    .into_iter()
    .enumerate()
    {
        enrol(profile, &format!("SN{number}"), digest);
    }
    assert_eq!(opened.load(Ordering::SeqCst), 0);
    for device in ["SN7", "SN8"] {
        assert_eq!(enrol("old", device, DigestAlgorithm::Md5).digest, DigestAlgorithm::Md5);
    }
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

/// `certgate scep` believes MD5 only where it sent it.
#[test]
fn a_client_takes_an_answer_with_md5_only_to_a_request_with_md5() {
    let world = world(DigestAlgorithm::Md5);
    let (client, csr) = applicant(&world, "old", "SN1");
    let options = MessageOptions { digest: DigestAlgorithm::Md5, ..MessageOptions::default() };
    let message = client.message(&world.message_certificate("old"), &options, &csr);
    let rep = world.pki_operation("old", &message).unwrap();
    let sent = PkiMessage::from_ber(&message).unwrap();
    let ca =
        CaCertificates::read(&world.gateway.ca_certificates(&"old".parse().unwrap()).unwrap().body).unwrap();
    let read = |md5| {
        let sender_nonce = sent.sender_nonce();
        Sent { ca: &ca, transaction: &client.transaction, sender_nonce, md5 }.read(&rep.body)
    };
    assert!(matches!(read(true), Ok(Meaning::Granted(_))));
    assert!(matches!(read(false), Err(AnswerError::Signature(_))));
}

/// The certificate of the message key, not the CA's: no CA's key signs so.
#[test]
fn the_message_key_signs_and_no_ca() {
    let world = world(DigestAlgorithm::Md5);
    let (client, csr) = applicant(&world, "old", "SN1");
    let answer = ask(&world, "old", &client, DigestAlgorithm::Md5, MessageType::PkcsReq, &csr);
    let message: Certificate = world.message_certificate("old");
    assert_eq!(answer.signer, message);
    assert!(!message.is_ca());
}
