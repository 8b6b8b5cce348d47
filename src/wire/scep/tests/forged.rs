//! Messages that are wrong in one way, or old-fashioned in one way.

use const_oid::{
    ObjectIdentifier,
    db::{rfc5911, rfc5912},
};

use super::*;
use crate::{
    types::KeyAlgorithm,
    wire::{
        cms::signed::{encap_content_info, in_content_info, issuer_and_serial_number},
        der::{BerError, MAX_INPUT},
        x509::testing::Authority,
    },
};

const MD5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.5");

pub(super) fn attribute(oid: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    attribute_of(oid, &[value])
}

fn attribute_of(oid: ObjectIdentifier, values: &[&[u8]]) -> Vec<u8> {
    writer::sequence(&[&writer::oid(oid), &writer::element(0x31, values)])
}

fn printable(text: &str) -> Vec<u8> {
    writer::element(0x13, &[text.as_bytes()])
}

/// Everything that a message is made of; [`Forge::new`] is a good one.
struct Forge {
    content: Option<Vec<u8>>,
    /// In the order in which they are sent.
    attributes: Vec<Vec<u8>>,
    /// Sign them in the order of DER, whatever order they are sent in.
    sign_sorted: bool,
    digest_algorithm: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signer_id: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    signer_infos: usize,
    signed_attributes: bool,
    /// Changed after signing.
    after: fn(&mut Vec<u8>),
}

impl Forge {
    fn new() -> Self {
        let content = b"content".to_vec();
        let digest = DigestAlgorithm::Sha256.digest(&content);
        Self {
            content: Some(content),
            attributes: vec![
                attribute(rfc5911::ID_CONTENT_TYPE, &writer::oid(rfc5911::ID_DATA)),
                attribute(rfc5911::ID_MESSAGE_DIGEST, &writer::octets(&digest)),
                attribute(MESSAGE_TYPE, &printable("19")),
                attribute(TRANSACTION_ID, &printable("00FF")),
                attribute(SENDER_NONCE, &writer::octets(&[7; 16])),
            ],
            sign_sorted: false,
            digest_algorithm: algorithm::without_parameters(rfc5912::ID_SHA_256),
            signature_algorithm: algorithm::with_null(rfc5912::SHA_256_WITH_RSA_ENCRYPTION),
            signer_id: issuer_and_serial_number(message_ca().issuer(), message_ca().serial()),
            certificates: vec![message_ca().as_der().to_vec()],
            signer_infos: 1,
            signed_attributes: true,
            after: |_| {},
        }
    }

    /// A good message with one attribute put in place of its own, or added.
    fn with(oid: ObjectIdentifier, values: &[&[u8]]) -> Self {
        let mut forge = Self::without(oid);
        forge.attributes.push(attribute_of(oid, values));
        forge
    }

    /// A good message without one attribute.
    fn without(oid: ObjectIdentifier) -> Self {
        let mut forge = Self::new();
        let oid = writer::oid(oid);
        forge.attributes.retain(|attribute| !attribute.windows(oid.len()).any(|window| window == oid));
        forge
    }

    fn bytes(&self) -> Vec<u8> {
        let sent = self.attributes.concat();
        let signed = if self.sign_sorted {
            writer::set_of(self.attributes.clone())
        } else {
            writer::element(0x31, &[&sent])
        };
        let attributes = if self.signed_attributes { writer::element(0xa0, &[&sent]) } else { Vec::new() };
        let signer_info = writer::sequence(&[
            &writer::unsigned(1),
            &self.signer_id,
            &self.digest_algorithm,
            &attributes,
            &self.signature_algorithm,
            &writer::octets(&sign_with(&RSA_PKCS1_SHA256, &signed)),
        ]);
        let certificates = match self.certificates.concat() {
            none if none.is_empty() => none,
            some => writer::element(0xa0, &[&some]),
        };
        let mut content = self.content.clone();
        content.as_mut().map(self.after);
        let signed_data = writer::sequence(&[
            &writer::unsigned(1),
            &writer::element(0x31, &[&self.digest_algorithm]),
            &encap_content_info(content.as_deref()),
            &certificates,
            &writer::element(0x31, &[&signer_info.repeat(self.signer_infos)]),
        ]);
        in_content_info(rfc5911::ID_SIGNED_DATA, &signed_data)
    }

    fn read(&self) -> Result<PkiMessage, NotPkiMessage> {
        PkiMessage::from_ber(&self.bytes())
    }

    fn verify(&self) -> Result<VerifiedPki, MessageCheckError> {
        self.read().unwrap().verify()
    }
}

fn is_bad_alg(result: &Result<VerifiedPki, MessageCheckError>) -> bool {
    matches!(result, Err(MessageCheckError::BadAlg(_)))
}

fn is_bad_message_check(result: &Result<VerifiedPki, MessageCheckError>) -> bool {
    matches!(result, Err(MessageCheckError::BadMessageCheck(_)))
}

#[test]
fn the_forge_makes_good_messages() {
    let verified = Forge::new().verify().unwrap();
    assert_eq!(verified.message().transaction_id().as_str(), "00FF");
    assert_eq!(verified.message().message_type(), Some(MessageType::PkcsReq));
    assert_eq!(verified.message().signer_certificate(), Some(&message_ca()));
}

#[test]
fn rejects_what_is_no_cms() {
    for bytes in [&b""[..], b"garbage", b"\x30\x00", b"\x30\x80", b"\x05\x00", b"-----BEGIN PKCS7-----"] {
        assert!(PkiMessage::from_ber(bytes).is_err(), "{bytes:?}");
    }
    assert!(PkiMessage::from_ber(&sealed(b"an envelope")).is_err());
    let bundle = Degenerate::to_der(&[message_ca().as_der()], &[]).unwrap();
    assert_eq!(PkiMessage::from_ber(&bundle).unwrap_err(), NotPkiMessage("0 signers".to_owned()));
}

#[test]
fn rejects_every_truncation_and_any_surplus() {
    let message = Forge::new().bytes();
    for len in 0..message.len() {
        assert!(PkiMessage::from_ber(&message[..len]).is_err(), "{len}");
    }
    let surplus = [&message[..], &[0]].concat();
    assert_eq!(PkiMessage::from_ber(&surplus).unwrap_err(), BerError::TrailingBytes.into());
}

#[test]
fn rejects_deep_nesting_and_oversize() {
    assert_eq!(PkiMessage::from_ber(&[0x30, 0x80].repeat(1000)).unwrap_err(), BerError::TooDeep.into());
    assert_eq!(PkiMessage::from_ber(&vec![0x30; MAX_INPUT + 1]).unwrap_err(), BerError::TooLong.into());
}

#[test]
fn rejects_several_signers_and_unsigned_attributes_alone() {
    assert!(Forge { signer_infos: 2, ..Forge::new() }.read().is_err());
    assert!(Forge { signer_infos: 0, ..Forge::new() }.read().is_err());
    assert!(Forge { signed_attributes: false, ..Forge::new() }.read().is_err());
}

#[test]
fn transaction_ids_are_read_in_every_string_type_in_use() {
    for tag in [0x13, 0x0c, 0x16] {
        let id = writer::element(tag, &[b"a+b_c="]);
        let message = Forge::with(TRANSACTION_ID, &[&id]).read().unwrap();
        assert_eq!(message.transaction_id().as_str(), "a+b_c=");
    }
}

#[test]
fn rejects_transaction_ids_that_cannot_be_echoed() {
    let wrong_type = writer::unsigned(5);
    let octets = writer::octets(b"00FF");
    let constructed = writer::sequence(&[&printable("00FF")]);
    let long = printable(&"x".repeat(257));
    let (empty, control) = (printable(""), printable("a\nb"));
    let not_utf8 = writer::element(0x0c, &[&[0xff]]);
    for value in [&wrong_type, &octets, &constructed, &long, &empty, &control, &not_utf8] {
        assert!(Forge::with(TRANSACTION_ID, &[value]).read().is_err(), "{value:?}");
    }
    assert!(Forge::without(TRANSACTION_ID).read().is_err());
    assert!(Forge::with(TRANSACTION_ID, &[]).read().is_err());
    assert!(Forge::with(TRANSACTION_ID, &[&printable("1"), &printable("2")]).read().is_err());
    let mut twice = Forge::new();
    twice.attributes.push(attribute(TRANSACTION_ID, &printable("other")));
    assert!(twice.read().is_err());
}

#[test]
fn message_types_outside_the_closed_set_are_none() {
    for text in ["0", "1", "18", "23", "019", "+19", " 19", "19 ", "", "99999999999999999999"] {
        let message = Forge::with(MESSAGE_TYPE, &[&printable(text)]).read().unwrap();
        assert_eq!((message.message_type(), message.message_type_text()), (None, Some(text)));
    }
    assert_eq!(Forge::without(MESSAGE_TYPE).read().unwrap().message_type_text(), None);
    for (text, expected) in
        [("3", MessageType::CertRep), ("17", MessageType::RenewalReq), ("22", MessageType::GetCrl)]
    {
        let message = Forge::with(MESSAGE_TYPE, &[&printable(text)]).read().unwrap();
        assert_eq!(message.message_type(), Some(expected));
    }
}

#[test]
fn a_message_type_may_be_an_integer_but_nothing_else() {
    let message = Forge::with(MESSAGE_TYPE, &[&writer::unsigned(19)]).read().unwrap();
    assert_eq!(
        (message.message_type(), message.message_type_text()),
        (Some(MessageType::PkcsReq), Some("19"))
    );
    for value in [&[0x02, 0][..], &[0x02, 1, 0x80], &[0x02, 2, 1, 1], &[0x04, 1, 19], &[0x05, 0], &[0x30, 0]]
    {
        assert!(Forge::with(MESSAGE_TYPE, &[value]).read().is_err(), "{value:?}");
    }
}

#[test]
fn nonces_of_any_short_length_are_read() {
    for len in [0, 8, 16, 32, MAX_NONCE] {
        let message = Forge::with(SENDER_NONCE, &[&writer::octets(&vec![5; len])]).read().unwrap();
        assert_eq!(message.sender_nonce(), vec![5; len]);
    }
    assert!(Forge::without(SENDER_NONCE).read().unwrap().sender_nonce().is_empty());
    assert!(Forge::with(SENDER_NONCE, &[&writer::octets(&[5; MAX_NONCE + 1])]).read().is_err());
    assert!(Forge::with(SENDER_NONCE, &[&printable("nonce")]).read().is_err());
}

#[test]
fn attributes_are_verified_in_the_order_received() {
    let mut forge = Forge::new();
    forge.attributes.sort();
    forge.attributes.reverse();
    assert!(forge.verify().is_ok());
}

#[test]
fn attributes_signed_in_the_order_of_der_but_sent_in_another_verify() {
    let mut forge = Forge { sign_sorted: true, ..Forge::new() };
    forge.attributes.sort();
    forge.attributes.reverse();
    assert!(forge.verify().is_ok());
}

#[test]
fn a_missing_content_type_is_tolerated_and_a_wrong_one_is_not() {
    assert!(Forge::without(rfc5911::ID_CONTENT_TYPE).verify().is_ok());
    let enveloped = writer::oid(rfc5911::ID_ENVELOPED_DATA);
    assert!(is_bad_message_check(&Forge::with(rfc5911::ID_CONTENT_TYPE, &[&enveloped]).verify()));
    let data = writer::oid(rfc5911::ID_DATA);
    assert!(is_bad_message_check(&Forge::with(rfc5911::ID_CONTENT_TYPE, &[&data, &data]).verify()));
}

#[test]
fn a_wrong_or_missing_message_digest_is_bad_message_check() {
    assert!(is_bad_message_check(&Forge::without(rfc5911::ID_MESSAGE_DIGEST).verify()));
    assert!(is_bad_message_check(
        &Forge::with(rfc5911::ID_MESSAGE_DIGEST, &[&writer::octets(&[0; 32])]).verify()
    ));
    assert!(is_bad_message_check(&Forge::with(rfc5911::ID_MESSAGE_DIGEST, &[&writer::octets(&[])]).verify()));
    assert!(is_bad_message_check(&Forge { after: |content| content.push(0), ..Forge::new() }.verify()));
}

#[test]
fn a_changed_attribute_is_bad_message_check() {
    let mut message = Forge::new().bytes();
    let at = message.windows(4).position(|window| window == b"00FF").unwrap();
    message[at] = b'1';
    let message = PkiMessage::from_ber(&message).unwrap();
    assert_eq!(message.transaction_id().as_str(), "10FF");
    assert!(is_bad_message_check(&message.verify()));
}

#[test]
fn a_missing_signer_certificate_is_bad_message_check() {
    let message = Forge { certificates: Vec::new(), ..Forge::new() }.read().unwrap();
    assert_eq!(message.signer_certificate(), None);
    assert!(is_bad_message_check(&message.verify()));
    let garbage = Forge { certificates: vec![vec![0x30, 0]], ..Forge::new() };
    assert!(is_bad_message_check(&garbage.verify()));
}

#[test]
fn another_certificate_than_the_signers_is_bad_message_check() {
    let other = PkiMessage::from_ber(&fixture("strongswan-aes.der")).unwrap();
    let other = other.signer_certificate().unwrap().as_der().to_vec();
    let alone = Forge { certificates: vec![other.clone()], ..Forge::new() };
    assert!(is_bad_message_check(&alone.verify()));
    let both = Forge { certificates: vec![other, message_ca().as_der().to_vec()], ..Forge::new() };
    assert_eq!(both.verify().unwrap().signer(), &message_ca());
}

#[test]
fn a_signers_certificate_behind_a_crowd_of_others_is_not_found() {
    let other = Authority::new(KeyAlgorithm::P256, "CN=other").certificate.as_der().to_vec();
    for (others, found) in [(15, true), (16, false)] {
        let mut forge = Forge { certificates: vec![other.clone(); others], ..Forge::new() };
        forge.certificates.push(message_ca().as_der().to_vec());
        let message = forge.read().unwrap();
        assert_eq!(message.signer_certificate().is_some(), found, "behind {others}");
    }
}

#[test]
fn the_only_certificate_is_the_signers_whatever_the_identifier_says() {
    let mut forge = Forge { signer_id: vec![0x30, 5, 0x30, 0, 0x02, 1, 0], ..Forge::new() };
    assert!(forge.verify().is_ok());
    let other = PkiMessage::from_ber(&fixture("strongswan-aes.der")).unwrap();
    forge.certificates.push(other.signer_certificate().unwrap().as_der().to_vec());
    assert!(is_bad_message_check(&forge.verify()));
}

#[test]
fn a_signer_may_be_named_by_its_key_identifier() {
    let ca = message_ca();
    let identifier = ca.subject_key_identifier().unwrap();
    let other = PkiMessage::from_ber(&fixture("strongswan-aes.der")).unwrap();
    let other = other.signer_certificate().unwrap().as_der().to_vec();
    let forge = Forge {
        signer_id: writer::element(0x80, &[identifier]),
        certificates: vec![other, ca.as_der().to_vec()],
        ..Forge::new()
    };
    assert!(forge.verify().is_ok());
}

#[test]
fn rsa_encryption_names_the_signature_too() {
    let forge = Forge { signature_algorithm: algorithm::with_null(rfc5912::RSA_ENCRYPTION), ..Forge::new() };
    assert!(forge.verify().is_ok());
}

#[test]
fn algorithms_that_are_not_spoken_are_bad_alg() {
    let md5 = || algorithm::with_null(MD5);
    let rsa = || algorithm::with_null(rfc5912::RSA_ENCRYPTION);
    let old = Forge { digest_algorithm: md5(), signature_algorithm: rsa(), ..Forge::new() };
    assert_eq!(old.verify().unwrap_err(), MessageCheckError::Md5);
    assert!(is_bad_alg(&Forge { digest_algorithm: md5(), ..Forge::new() }.verify()));
    for algorithm in [rfc5912::MD_5_WITH_RSA_ENCRYPTION, rfc5912::ID_RSASSA_PSS, MD5] {
        let signature_algorithm = algorithm::with_null(algorithm);
        assert!(is_bad_alg(&Forge { signature_algorithm, ..Forge::new() }.verify()), "{algorithm}");
    }
    let nobody = Forge { digest_algorithm: md5(), certificates: Vec::new(), ..Forge::new() };
    assert!(is_bad_alg(&nobody.verify()));
}

#[test]
fn two_digests_in_one_signature_are_bad_alg() {
    let signature_algorithm = algorithm::with_null(rfc5912::SHA_1_WITH_RSA_ENCRYPTION);
    assert!(is_bad_alg(&Forge { signature_algorithm, ..Forge::new() }.verify()));
}

#[test]
fn a_signature_of_another_kind_of_key_is_bad_message_check() {
    let signature_algorithm = algorithm::without_parameters(rfc5912::ECDSA_WITH_SHA_256);
    assert!(is_bad_message_check(&Forge { signature_algorithm, ..Forge::new() }.verify()));
}

#[test]
fn a_message_in_ber_verifies() {
    let ber = as_ber(&Forge::new().bytes());
    assert_ne!(ber, Forge::new().bytes());
    let verified = PkiMessage::from_ber(&ber).unwrap().verify().unwrap();
    assert_eq!(verified.message().transaction_id().as_str(), "00FF");
}

#[test]
fn a_message_without_envelope_has_none() {
    let mut absent =
        Forge::with(rfc5911::ID_MESSAGE_DIGEST, &[&writer::octets(&DigestAlgorithm::Sha256.digest(b""))]);
    absent.content = None;
    assert_eq!(absent.verify().unwrap().envelope().unwrap_err(), EnvelopeError::Missing);
    absent.content = Some(Vec::new());
    assert_eq!(absent.verify().unwrap().envelope().unwrap_err(), EnvelopeError::Missing);
    assert!(matches!(Forge::new().verify().unwrap().envelope(), Err(EnvelopeError::Malformed(_))));
}

#[test]
fn a_reply_needs_its_required_attributes() {
    let reply = |status: &[u8], nonce: &[u8]| {
        let mut forge = Forge::with(MESSAGE_TYPE, &[&printable("3")]);
        forge.attributes.push(attribute(PKI_STATUS, status));
        forge.attributes.push(attribute(RECIPIENT_NONCE, nonce));
        forge.verify().unwrap().reply()
    };
    let nonce = writer::octets(&[7; 16]);
    assert_eq!(reply(&printable("3"), &nonce).unwrap().status, PkiStatus::Pending);
    assert_eq!(reply(&printable("1"), &nonce), None);
    assert_eq!(reply(&writer::unsigned(3), &nonce), None);
    assert_eq!(reply(&printable("3"), &printable("nonce")), None);
    assert_eq!(Forge::with(MESSAGE_TYPE, &[&printable("3")]).verify().unwrap().reply(), None);
}

#[test]
fn an_unreadable_signing_time_counts_as_absent() {
    for value in [printable("now"), writer::element(0x17, &[b"99"]), writer::element(0x18, &[b"2026"])] {
        let verified = Forge::with(rfc5911::ID_SIGNING_TIME, &[&value]).verify().unwrap();
        assert_eq!(verified.signing_time(), None);
    }
    let generalized = writer::element(0x18, &[b"20261121020454Z"]);
    let verified = Forge::with(rfc5911::ID_SIGNING_TIME, &[&generalized]).verify().unwrap();
    assert_eq!(verified.signing_time(), Some("2026-11-21T02:04:54Z".parse().unwrap()));
}
