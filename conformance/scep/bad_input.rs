//! Bad input: one test or more for each row of the answer table.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use certgate::{
    ports::{
        Store, StoreError, Tx, View,
        store::{StoreResult, Verdict},
    },
    service::{GatewaySettings, Ports, scep::ScepError},
    types::{ContentCipher, KeyAlgorithm},
    wire::{
        scep::{Envelope, FailInfo, MessageType, PkiMessage},
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{self, Answer, Client, MessageOptions, World},
};

fn world() -> World {
    World::new(&[("device", DEVICE)])
}

/// A message that would be granted.
fn good_message(world: &World, client: &Client) -> Vec<u8> {
    let ticket = world.ticket("device", &world.register("SN1"));
    let csr = client.csr("CN=x", Some(&ticket));
    client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr)
}

/// Where `part` stands in `whole`, once.
fn find(whole: &[u8], part: &[u8]) -> usize {
    let places: Vec<_> = (0..=whole.len() - part.len()).filter(|at| whole[*at..].starts_with(part)).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    places[0]
}

#[test]
fn table_what_is_no_message_is_http_400() {
    let world = world();
    let client = Client::new();
    let good = good_message(&world, &client);
    for bytes in [&b""[..], b"hello", &[0x30, 0x80], &good[..good.len() - 1]] {
        let error = world.pki_operation("device", bytes).unwrap_err();
        assert!(matches!(error, ScepError::BadRequest(_)), "{error:?}");
    }
    let long = vec![0x30; certgate::service::scep::MAX_MESSAGE + 1];
    assert!(matches!(world.pki_operation("device", &long), Err(ScepError::BadRequest(_))));
    assert_eq!(world.pki_operation("nowhere", &good).unwrap_err(), ScepError::UnknownProfile);
    assert_eq!(world.leaves(), 0);
}

#[test]
fn table_wrong_signature_is_bad_message_check() {
    let world = world();
    let client = Client::new();
    let mut message = good_message(&world, &client);
    *message.last_mut().unwrap() ^= 1;
    let answer = client.send(&world, "device", &message);
    assert_eq!((answer.failure(), answer.rep.operation), (FailInfo::BadMessageCheck, "pkcs-req"));
    assert_eq!(world.leaves(), 0);
}

#[test]
fn table_changed_content_is_bad_message_check() {
    let world = world();
    let client = Client::new();
    let mut message = good_message(&world, &client);
    let recipient = world.message_certificate("device");
    // In the envelope's RecipientInfo.
    let at = find(&message, &recipient.serial().to_der_integer());
    message[at] ^= 1;
    assert_eq!(client.send(&world, "device", &message).failure(), FailInfo::BadMessageCheck);
}

#[test]
fn s2_3_message_of_another_key_than_the_certificates_is_bad_message_check() {
    let world = world();
    let client = Client::new().with_identity(&Client::new().identity);
    let message = good_message(&world, &client);
    assert_eq!(client.send(&world, "device", &message).failure(), FailInfo::BadMessageCheck);
}

/// The content of the element at `at`, which has a long-form or short-form length.
fn element(der: &[u8], at: usize) -> std::ops::Range<usize> {
    let (header, length) = match der[at + 1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(der[at + 2])),
        0x82 => (4, usize::from(u16::from_be_bytes([der[at + 2], der[at + 3]]))),
        long => panic!("length {long:x}"),
    };
    at + header..at + header + length
}

/// The SignedData without its `certificates`, as a message that names a signer that it does not bring.
fn without_certificates(message: &[u8], certificate: &Certificate) -> Vec<u8> {
    let certificates = find(message, certificate.as_der());
    let start = certificates - 4;
    assert_eq!(message[start], 0xa0, "certificates [0] with a length of two bytes");
    let mut changed = [&message[..start], &message[certificates + certificate.as_der().len()..]].concat();
    let removed = u16::try_from(message.len() - changed.len()).unwrap();
    // ContentInfo, its content [0], SignedData: each is that much shorter now.
    let content_info = element(&changed, 0).start;
    let explicit = element(message, content_info).end;
    let signed_data = element(message, explicit).start;
    for at in [0, explicit, signed_data] {
        let length = u16::from_be_bytes([changed[at + 2], changed[at + 3]]) - removed;
        changed[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    changed
}

#[test]
fn s2_3_b_missing_signer_certificate_is_bad_message_check() {
    let world = world();
    let client = Client::new();
    let message = without_certificates(&good_message(&world, &client), &client.identity);
    assert_eq!(client.send(&world, "device", &message).failure(), FailInfo::BadMessageCheck);
}

#[test]
fn s3_2_1_2_a_unknown_message_type_is_refused_before_any_other_logic() {
    let world = world();
    let client = Client::new();
    let good = good_message(&world, &client);
    let at = find(&good, &[0x13, 0x02, b'1', b'9']) + 2;
    for kind in ["18", "23", "00", "01", "99"] {
        let mut message = good.clone();
        message[at..at + 2].copy_from_slice(kind.as_bytes());
        // The signature is broken too, by the change: badMessageCheck would show that it was looked at first.
        let answer = client.send(&world, "device", &message);
        assert_eq!((answer.failure(), answer.rep.operation), (FailInfo::BadRequest, "unknown"), "{kind}");
    }
    let reply = client.sign_message(&MessageType::CertRep.into(), vec![]);
    assert_eq!(client.send(&world, "device", &reply).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
}

#[test]
fn s2_9_c_scepclient_2_1_with_sha1_and_des_is_bad_alg_by_default() {
    let world = world();
    let message = include_bytes!("../../fixtures/scep/scepclient-des.der");
    let answer = Client::new().send(&world, "device", message);
    assert_eq!(answer.failure(), FailInfo::BadAlg);
}

#[test]
fn table_signer_that_cannot_be_answered_is_bad_alg() {
    let world = world();
    let client = Client::new();
    // Neither a key that could be encrypted to nor a password in its place.
    let csr = client.csr("CN=x", None);
    let signer = common::signer(KeyAlgorithm::P256);
    let identity = common::self_signed(signer.as_ref(), "CN=EC");
    let options = MessageOptions::default();
    let content = common::envelope(&csr, &world.message_certificate("device"), &options);
    let message = common::sign_as(signer.as_ref(), &identity, &client.transaction, &options, content);
    assert_eq!(client.send(&world, "device", &message).failure(), FailInfo::BadAlg);
    assert_eq!(world.leaves(), 0);
}

#[test]
fn table_signer_with_a_short_rsa_key_is_bad_alg() {
    let world = world();
    let message = include_bytes!("../../fixtures/scep/rsa1024-signer.der");
    assert_eq!(Client::new().send(&world, "device", message).failure(), FailInfo::BadAlg);
}

#[test]
fn s2_9_c_md5_is_bad_alg() {
    let world = world();
    let client = Client::new();
    // The signer's rsaEncryption, behind the signed attributes, becomes md5WithRSAEncryption.
    let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let mut md5 = good_message(&world, &client);
    let behind = md5.len() - 300;
    let at = behind + find(&md5[behind..], &rsa) + rsa.len() - 1;
    md5[at] = 0x04;
    assert_eq!(client.send(&world, "device", &md5).failure(), FailInfo::BadAlg);
}

#[test]
fn table_a_cipher_that_is_not_spoken_is_bad_alg() {
    let world = world();
    let client = Client::new();
    // aes128-CBC becomes aes128-ECB in an envelope whose message is well signed.
    let mut envelope =
        common::envelope(b"anything", &world.message_certificate("device"), &MessageOptions::default());
    let cipher = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
    let at = find(&envelope, &cipher) + cipher.len() - 1;
    envelope[at] = 0x01;
    let ecb = client.sign_message(&MessageOptions::default(), envelope);
    assert_eq!(client.send(&world, "device", &ecb).failure(), FailInfo::BadAlg);
}

/// The answers to whatever cannot be read.
pub(crate) fn unreadable(world: &World, client: &Client) -> Vec<(&'static str, Answer)> {
    let options = MessageOptions::default();
    let ours = world.message_certificate("device");
    let ticket = world.ticket("device", &world.register("SN7"));
    let csr = client.csr("CN=x", Some(&ticket));
    let good = common::envelope(&csr, &ours, &options);
    let changed = |at: usize| {
        let mut envelope = good.clone();
        envelope[at] ^= 0x55;
        envelope
    };
    let wrapped = Envelope::from_ber(&good).unwrap().recipients[0].encrypted_key.clone();
    let stranger = common::self_signed(common::signer(KeyAlgorithm::Rsa2048).as_ref(), "CN=other CA");
    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;
    let aes_256 = MessageOptions { cipher: ContentCipher::Aes256Cbc, ..options.clone() };
    let mixed = {
        // A content key of the wrong length: AES-256's key under AES-128's name.
        let mut envelope = common::envelope(&csr, &ours, &aes_256);
        let at = find(&envelope, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a]) + 8;
        envelope[at] = 0x02;
        envelope
    };
    let envelopes = [
        ("wrong padding", changed(good.len() - 1)),
        ("broken ciphertext", changed(good.len() - 40)),
        ("broken content key", changed(find(&good, &wrapped) + 100)),
        ("content key of the wrong length", mixed),
        ("another recipient", common::envelope(&csr, &stranger, &options)),
        ("truncated request", common::envelope(&csr[..csr.len() - 1], &ours, &options)),
        ("request that is no CSR", common::envelope(b"hello", &ours, &options)),
        ("empty request", common::envelope(b"", &ours, &options)),
        ("self-signature of the request", common::envelope(&forged, &ours, &options)),
        ("no envelope", b"hello".to_vec()),
    ];
    envelopes
        .map(|(defect, content)| {
            let message = client.sign_message(&options, content);
            (defect, client.send(world, "device", &message))
        })
        .into()
}

/// An answer without what must differ: both nonces and the signature at its end.
fn blanked(answer: &Answer) -> Vec<u8> {
    let mut body = answer.rep.body.clone();
    let length = body.len();
    body[length - 256..].fill(0);
    let message = PkiMessage::from_ber(&answer.rep.body).unwrap();
    let verified = message.verify().unwrap();
    for nonce in [verified.message().sender_nonce().to_vec(), verified.reply().unwrap().recipient_nonce] {
        let at = find(&body, &nonce);
        body[at..at + nonce.len()].fill(0);
    }
    body
}

#[test]
fn table_whatever_cannot_be_read_gets_one_answer() {
    let world = world();
    let client = Client::new();
    let answers = unreadable(&world, &client);
    let expected = blanked(&answers[0].1);
    for (defect, answer) in &answers {
        assert_eq!(answer.failure(), FailInfo::BadRequest, "{defect}");
        assert_eq!(blanked(answer), expected, "{defect}");
    }
    assert_eq!(world.leaves(), 0);
}

#[test]
fn a_sole_recipient_with_a_rewritten_issuer_still_opens() {
    let world = world();
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let mut envelope =
        common::envelope(&csr, &world.message_certificate("device"), &MessageOptions::default());
    let at = find(&envelope, b"Test Issuing CA");
    envelope[at..at + 4].copy_from_slice(b"Rest");
    let message = client.sign_message(&MessageOptions::default(), envelope);
    client.send(&world, "device", &message).certificate();
}

#[test]
fn s2_9_what_the_profile_does_not_allow_is_bad_alg_whatever_it_says_inside() {
    let world = world();
    let client = Client::new();
    let options = MessageOptions { cipher: ContentCipher::TripleDesCbc, ..Default::default() };
    let answer = client.ask(&world, "device", options, b"not even a request");
    assert_eq!(answer.failure(), FailInfo::BadAlg);
}

/// A store that can be switched off.
struct Switch {
    store: Arc<dyn Store>,
    off: AtomicBool,
}

impl Switch {
    fn check(&self) -> StoreResult<()> {
        if self.off.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("switched off".to_owned()))
        } else {
            Ok(())
        }
    }
}

impl Store for Switch {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        self.check()?;
        self.store.with_view(work)
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        self.check()?;
        self.store.with_tx(work)
    }
}

#[test]
fn table_a_store_that_fails_is_unavailable_and_never_failure() {
    let world = world();
    let client = Client::new();
    let message = good_message(&world, &client);
    let store = Arc::new(Switch { store: world.ports.store.clone(), off: AtomicBool::new(false) });
    let ports = Ports { store: store.clone(), ..world.ports.clone() };
    let world = world.restarted_on(ports, GatewaySettings::default());
    store.off.store(true, Ordering::SeqCst);
    assert_eq!(world.pki_operation("device", &message).unwrap_err(), ScepError::Unavailable);
    store.off.store(false, Ordering::SeqCst);
    client.send(&world, "device", &message).certificate();
}
