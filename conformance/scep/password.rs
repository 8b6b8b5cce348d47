//! Answers for keys that cannot encrypt (RFC 8894 §3.1): sealed under the challengePassword of the request.

use std::sync::Arc;

use certgate::{
    ports::Signer,
    types::{ContentCipher, KeyAlgorithm, Secret, TransactionId},
    wire::{
        scep::{
            Degenerate, Envelope, FailInfo, IssuerAndSubject, MessageType, PkiMessage, PkiStatus, VerifiedPki,
        },
        x509::Certificate,
    },
};

use crate::common::{self, MessageOptions, World, WorldOptions};

/// A client whose only key is on a curve.
struct EcClient {
    signer: Arc<dyn Signer>,
    identity: Certificate,
    transaction: TransactionId,
}

impl EcClient {
    fn new() -> Self {
        let signer = common::signer(KeyAlgorithm::P256);
        let identity = common::self_signed(signer.as_ref(), "CN=EC");
        Self { signer, identity, transaction: "ec-1".parse().unwrap() }
    }

    fn csr(&self, challenge: Option<&Secret>) -> Vec<u8> {
        common::request_for(self.signer.as_ref(), "CN=SN1", &[], challenge)
    }

    fn send(&self, world: &World, kind: MessageType, payload: &[u8]) -> VerifiedPki {
        let options = MessageOptions::from(kind);
        let content = common::envelope(payload, &world.message_certificate("x"), &options);
        self.send_content(world, &options, content)
    }

    fn send_content(&self, world: &World, options: &MessageOptions, content: Vec<u8>) -> VerifiedPki {
        let message =
            common::sign_as(self.signer.as_ref(), &self.identity, &self.transaction, options, content);
        let rep = world.pki_operation("x", &message).unwrap();
        PkiMessage::from_ber(&rep.body).unwrap().verify().unwrap()
    }
}

fn world(lines: &str) -> World {
    World::new(&[("x", &format!("subject = \"CN=$DEVICE_ID$\"\n{lines}"))])
}

/// The certificate in an answer that the password opens and nothing else.
fn opened(answer: &VerifiedPki, password: &Secret) -> Certificate {
    let reply = answer.reply().unwrap();
    assert_eq!(reply.status, PkiStatus::Success, "{:?} {:?}", reply.fail_info, reply.fail_info_text);
    let envelope = answer.envelope().unwrap();
    assert!(envelope.recipients.is_empty());
    let [recipient] = &envelope.passwords[..] else { panic!("{envelope:?}") };
    assert!(recipient.unwrap(&Secret::from("another password")).is_err());
    let content = envelope.open(&recipient.unwrap(password).unwrap()).unwrap();
    Degenerate::from_ber(content.expose()).unwrap().certificates.remove(0)
}

fn failure(answer: &VerifiedPki) -> (Option<FailInfo>, String) {
    let reply = answer.reply().unwrap();
    assert_eq!(reply.status, PkiStatus::Failure);
    (reply.fail_info, reply.fail_info_text.unwrap_or_default())
}

#[test]
fn s3_1_a_the_answer_to_a_key_that_cannot_encrypt_is_sealed_under_the_challenge() {
    let world = world("");
    let ticket = world.ticket("x", &world.register("SN1"));
    let client = EcClient::new();
    let csr = client.csr(Some(&ticket));
    let answer = client.send(&world, MessageType::PkcsReq, &csr);
    let certificate = opened(&answer, &ticket);
    assert_eq!(certificate.public_key(), client.signer.public_key());
    assert_eq!(certificate.subject().to_string(), "CN=SN1");
    // The lost answer comes again, under the same password.
    assert_eq!(opened(&client.send(&world, MessageType::PkcsReq, &csr), &ticket), certificate);
}

#[test]
fn a_weak_password_or_none_seals_nothing_and_uses_nothing_up() {
    let mut options = WorldOptions::default();
    let weak = Secret::from("fifteen letters");
    options.settings.static_challenges.insert("x".parse().unwrap(), vec![weak.clone()]);
    let profile = "subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]";
    let world = World::with(options, &[("x", profile)]);
    world.register("SN1");
    let client = EcClient::new();
    for challenge in [Some(&weak), None] {
        let answer = client.send(&world, MessageType::PkcsReq, &client.csr(challenge));
        assert_eq!(failure(&answer).0, Some(FailInfo::BadAlg));
    }
    assert_eq!(world.leaves(), 0);
}

#[test]
fn a_client_without_a_password_does_not_learn_whether_an_envelope_opens() {
    let world = world("");
    let client = EcClient::new();
    for kind in [MessageType::PkcsReq, MessageType::CertPoll, MessageType::GetCert, MessageType::GetCrl] {
        let options = MessageOptions::from(kind);
        let opens = common::envelope(&[0x5a; 100], &world.message_certificate("x"), &options);
        let mut closed = opens.clone();
        // The last byte of the block before the last is added to the last byte of the padding.
        let at = closed.len() - 17;
        closed[at] ^= 0x80;
        let answers = [opens, closed].map(|content| failure(&client.send_content(&world, &options, content)));
        assert_eq!(answers[0], answers[1], "{kind:?}");
    }
}

#[test]
fn a_wrong_challenge_is_refused_as_to_everybody() {
    let world = world("");
    world.register("SN1");
    let client = EcClient::new();
    let guess = Secret::from("0123456789abcdef0123456789abcdef");
    let answer = client.send(&world, MessageType::PkcsReq, &client.csr(Some(&guess)));
    let rsa = common::Client::new();
    let expected = rsa.enrol(&world, "x", &rsa.csr("CN=SN1", Some(&guess)));
    assert_eq!(failure(&answer), (Some(expected.failure()), expected.fail_info_text.unwrap()));
}

#[test]
fn a_renewal_brings_a_password_of_its_own() {
    let world = world("");
    let ticket = world.ticket("x", &world.register("SN1"));
    let mut client = EcClient::new();
    let first = opened(&client.send(&world, MessageType::PkcsReq, &client.csr(Some(&ticket))), &ticket);
    client.identity = first.clone();
    let fresh = Secret::from("any sixteen letters");
    for (number, kind) in [MessageType::RenewalReq, MessageType::PkcsReq].into_iter().enumerate() {
        client.transaction = format!("renewal-{number}").parse().unwrap();
        let none = client.send(&world, kind, &client.csr(None));
        assert_eq!(failure(&none).0, Some(FailInfo::BadAlg));
        let next = opened(&client.send(&world, kind, &client.csr(Some(&fresh))), &fresh);
        assert_ne!(next.serial(), first.serial());
        assert_eq!(next.public_key(), first.public_key());
    }
}

#[test]
fn what_waited_for_an_operator_is_sealed_under_the_challenge_of_its_request() {
    let world = world("approval = \"manual\"");
    let ticket = world.ticket("x", &world.register("SN1"));
    let client = EcClient::new();
    let answer = client.send(&world, MessageType::PkcsReq, &client.csr(Some(&ticket)));
    assert_eq!(answer.reply().unwrap().status, PkiStatus::Pending);
    let waiting = world.read(|view| view.pending_enrolments(10));
    world.gateway.approve_enrolment(&world.authed(), &waiting[0].id, "").unwrap();
    let names = IssuerAndSubject {
        issuer: world.issuer("issuing").subject().clone(),
        subject: "CN=SN1".parse().unwrap(),
    };
    // Of a transaction that is not its own a client learns what every other does.
    let stranger = EcClient::new().send(&world, MessageType::CertPoll, &names.to_der().unwrap());
    assert_eq!(failure(&stranger).0, Some(FailInfo::BadCertId));
    let polled = client.send(&world, MessageType::CertPoll, &names.to_der().unwrap());
    assert_eq!(opened(&polled, &ticket).subject().to_string(), "CN=SN1");
}

/// The content key of an answer, which is random: the same one is in the same envelope.
fn content_key(answer: &VerifiedPki, password: &Secret) -> Vec<u8> {
    answer.envelope().unwrap().passwords[0].unwrap(password).unwrap().expose().to_vec()
}

#[test]
fn the_same_answer_is_sealed_once_for_whoever_asks_again_and_again() {
    let world = world("legacy = { triple-des = true }");
    let ticket = world.ticket("x", &world.register("SN1"));
    let client = EcClient::new();
    let csr = client.csr(Some(&ticket));
    let key = |options: &MessageOptions| {
        let content = common::envelope(&csr, &world.message_certificate("x"), options);
        content_key(&client.send_content(&world, options, content), &ticket)
    };
    let first = key(&MessageOptions::default());
    assert_eq!(key(&MessageOptions::default()), first);
    // In another cipher it is another answer.
    let triple = MessageOptions { cipher: ContentCipher::TripleDesCbc, ..MessageOptions::default() };
    assert_ne!(key(&triple), first);
    assert_eq!(key(&triple).len(), 24);
}

#[test]
fn a_request_under_a_password_is_answered_like_one_for_somebody_else() {
    let world = world("");
    let client = EcClient::new();
    let options = MessageOptions::default();
    let password_only = include_bytes!("../../fixtures/scep/openssl-password-only.der");
    assert_eq!(Envelope::from_ber(password_only).unwrap().passwords.len(), 1);
    let answer = client.send_content(&world, &options, password_only.to_vec());
    let other = common::envelope(b"x", &common::Client::new().identity, &options);
    assert_eq!(failure(&answer), failure(&client.send_content(&world, &options, other)));
    assert_eq!(failure(&answer).0, Some(FailInfo::BadRequest));
}
