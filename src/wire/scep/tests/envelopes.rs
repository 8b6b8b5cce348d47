//! EnvelopedData.

use super::*;

const PAYLOAD: &str = "payload.txt";

#[test]
fn opens_what_openssl_encrypts() {
    for (file, cipher, transport) in [
        ("openssl-ber.der", ContentCipher::Aes128Cbc, KeyTransport::Pkcs1),
        ("openssl-keyid.der", ContentCipher::Aes256Cbc, KeyTransport::Pkcs1),
        ("openssl-oaep-sha1.der", ContentCipher::Aes192Cbc, KeyTransport::OaepSha1),
        ("openssl-oaep-sha256.der", ContentCipher::Aes128Cbc, KeyTransport::OaepSha256),
        ("openssl-two-recipients.der", ContentCipher::Aes128Cbc, KeyTransport::Pkcs1),
        ("openssl-password-and-rsa.der", ContentCipher::Aes128Cbc, KeyTransport::Pkcs1),
    ] {
        let envelope = Envelope::from_ber(&fixture(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(envelope.cipher, cipher, "{file}");
        let recipient = envelope.recipient_for(&message_ca()).unwrap();
        assert!(recipient.is(&message_ca()), "{file}");
        assert_eq!(recipient.transport, transport, "{file}");
        assert_eq!(open(&envelope), fixture(PAYLOAD), "{file}");
    }
}

#[test]
fn skips_recipients_that_are_no_rsa_keys() {
    assert_eq!(Envelope::from_ber(&fixture("openssl-password-and-rsa.der")).unwrap().recipients.len(), 1);
    assert_eq!(Envelope::from_ber(&fixture("openssl-two-recipients.der")).unwrap().recipients.len(), 2);
}

#[test]
fn refuses_algorithms_that_are_not_spoken() {
    for file in ["openssl-oaep-mixed.der", "openssl-camellia.der"] {
        let error = Envelope::from_ber(&fixture(file)).unwrap_err();
        assert!(matches!(error, EnvelopeError::Algorithm(_)), "{file}: {error}");
    }
}

#[test]
fn opens_what_it_seals() {
    let payload = fixture(PAYLOAD);
    let ciphers = [
        ContentCipher::Aes128Cbc,
        ContentCipher::Aes192Cbc,
        ContentCipher::Aes256Cbc,
        ContentCipher::TripleDesCbc,
    ];
    for cipher in ciphers {
        for transport in [KeyTransport::Pkcs1, KeyTransport::OaepSha1, KeyTransport::OaepSha256] {
            let der = seal(&payload, &message_ca(), cipher, transport, &random(cipher)).unwrap();
            for bytes in [as_ber(&der), der] {
                let envelope = Envelope::from_ber(&bytes).unwrap();
                assert_eq!((envelope.cipher, envelope.recipients[0].transport), (cipher, transport));
                assert_eq!(open(&envelope), payload);
            }
        }
    }
}

#[test]
fn never_seals_with_a_key_of_another_length() {
    let seal = |cipher, key_of| seal(b"", &message_ca(), cipher, KeyTransport::Pkcs1, &random(key_of));
    let des = ContentCipher::DesCbc;
    assert!(seal(des, des).is_ok());
    assert!(matches!(seal(des, ContentCipher::Aes128Cbc), Err(SealError::Encode(_))));
    assert!(matches!(seal(ContentCipher::Aes256Cbc, ContentCipher::Aes128Cbc), Err(SealError::Encode(_))));
}

#[test]
fn a_wrong_key_does_not_open() {
    let envelope = Envelope::from_ber(&sealed(b"content")).unwrap();
    assert_eq!(envelope.open(&Secret::new(vec![9; 16])), Err(CannotOpen));
    assert_eq!(envelope.open(&Secret::new(vec![9; 15])), Err(CannotOpen));
    assert_eq!(envelope.open(&Secret::new(Vec::new())), Err(CannotOpen));
}

/// The parts of an EnvelopedData, to be put together wrongly.
struct Parts {
    recipients: Vec<Vec<u8>>,
    iv: Vec<u8>,
    content: Vec<u8>,
}

impl Parts {
    /// Those of a good envelope.
    fn new() -> Self {
        let issuer_and_serial = IssuerAndSerialNumber {
            issuer: message_ca().issuer().clone(),
            serial: message_ca().serial().clone(),
        };
        let recipient = writer::sequence(&[
            &writer::unsigned(0),
            &issuer_and_serial.to_der().unwrap(),
            &algorithm::with_null(const_oid::db::rfc5912::RSA_ENCRYPTION),
            &writer::octets(&[1; 256]),
        ]);
        Self { recipients: vec![recipient], iv: vec![2; 16], content: writer::element(0x80, &[&[3; 32]]) }
    }

    fn read(&self) -> Result<Envelope, EnvelopeError> {
        use const_oid::{ObjectIdentifier, db::rfc5911};
        let aes128 = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
        let algorithm = writer::sequence(&[&writer::oid(aes128), &writer::octets(&self.iv)]);
        let content = writer::sequence(&[&writer::oid(rfc5911::ID_DATA), &algorithm, &self.content]);
        let recipients = writer::element(0x31, &[&self.recipients.concat()]);
        let enveloped = writer::sequence(&[&writer::unsigned(0), &recipients, &content]);
        let explicit = writer::element(0xa0, &[&enveloped]);
        Envelope::from_ber(&writer::sequence(&[&writer::oid(rfc5911::ID_ENVELOPED_DATA), &explicit]))
    }
}

#[test]
fn a_constructed_content_is_joined() {
    let mut parts = Parts::new();
    let key = Secret::new(vec![4; 16]);
    let whole = parts.read().unwrap().open(&key);
    parts.content = writer::element(0xa0, &[&writer::octets(&[3; 5]), &writer::octets(&[3; 27])]);
    assert_eq!(parts.read().unwrap().open(&key), whole);
    parts.content = writer::element(0xa0, &[&writer::unsigned(5)]);
    assert!(matches!(parts.read(), Err(EnvelopeError::Malformed(_))));
}

#[test]
fn content_that_is_no_whole_number_of_blocks_does_not_open() {
    for len in [0, 1, 15, 17] {
        let parts = Parts { content: writer::element(0x80, &[&vec![3; len]]), ..Parts::new() };
        assert_eq!(parts.read().unwrap().open(&Secret::new(vec![4; 16])), Err(CannotOpen), "{len}");
    }
}

#[test]
fn rejects_an_iv_of_the_wrong_length() {
    for len in [0, 8, 15, 17] {
        let parts = Parts { iv: vec![2; len], ..Parts::new() };
        assert!(matches!(parts.read(), Err(EnvelopeError::Malformed(_))), "{len}");
    }
}

#[test]
fn rejects_too_many_recipients() {
    let mut parts = Parts::new();
    let one = parts.recipients[0].clone();
    parts.recipients = vec![one.clone(); MAX_RECIPIENTS];
    assert_eq!(parts.read().unwrap().recipients.len(), MAX_RECIPIENTS);
    parts.recipients.push(one);
    assert!(matches!(parts.read(), Err(EnvelopeError::Malformed(_))));
    parts.recipients.clear();
    assert!(matches!(parts.read(), Err(EnvelopeError::Algorithm(_))));
}

#[test]
fn tells_whose_envelope_it_is() {
    let other = Degenerate::from_ber(&{
        let bundle = fixture("micromdm-certrep.der");
        let verified = PkiMessage::from_ber(&bundle).unwrap().verify().unwrap();
        Degenerate::to_der(&[verified.signer().as_der()], &[]).unwrap()
    })
    .unwrap()
    .certificates
    .remove(0);
    let two = Envelope::from_ber(&fixture("openssl-two-recipients.der")).unwrap();
    assert!(two.recipient_for(&other).is_none());
    // A single recipient may be ours under another name; that it is not shows when the key does not unwrap.
    let one = Envelope::from_ber(&fixture("openssl-ber.der")).unwrap();
    assert!(one.recipient_for(&other).is_some_and(|recipient| !recipient.is(&other)));
}
