//! What certgate writes, read back.

use super::*;
use crate::{
    types::{SerialNumber, Timestamp},
    wire::{
        cms::signed::SignedData,
        der::reader::Element,
        x509::{CannotEncrypt, CertificateSpec, Name, PublicKey},
    },
};

const RECIPIENT_NONCE_SENT: &[u8] = b"nonce of the request";

fn certrep(outcome: Outcome, transaction_id: &str) -> Vec<u8> {
    let signer = message_ca();
    let spec = CertRepSpec {
        outcome,
        transaction_id: &transaction_id.parse().unwrap(),
        recipient_nonce: RECIPIENT_NONCE_SENT,
        sender_nonce: [9; 16],
        signer: &signer,
        digest: DigestAlgorithm::Sha256,
        signing_time: Some("2026-11-21T02:04:54Z".parse().unwrap()),
    };
    sign(spec.unsigned(RSA_SHA256).unwrap())
}

fn verified(message: &[u8]) -> VerifiedPki {
    PkiMessage::from_ber(message).unwrap().verify().unwrap()
}

/// The (object identifier, value) of each signed attribute, in the order of the message.
fn attributes(message: &[u8]) -> Vec<(const_oid::ObjectIdentifier, Element<'_>)> {
    let mut signed_data = Element::only_tagged(message, 0x30).unwrap().open();
    signed_data.any().unwrap();
    let signed_data = signed_data.any().unwrap().open().any().unwrap();
    let signer_infos = signed_data.open().last().unwrap().unwrap();
    let signer_info = signer_infos.open().any().unwrap();
    let attributes = signer_info.open().nth(3).unwrap().unwrap();
    attributes
        .open()
        .map(|attribute| {
            let mut fields = attribute.unwrap().open();
            let oid = const_oid::ObjectIdentifier::from_bytes(fields.any().unwrap().content).unwrap();
            (oid, fields.any().unwrap().open().any().unwrap())
        })
        .collect()
}

fn value(message: &[u8], oid: const_oid::ObjectIdentifier) -> Option<(u8, &[u8])> {
    let found = attributes(message).into_iter().find(|(found, _)| *found == oid);
    found.map(|(_, value)| (value.tag, value.content))
}

#[test]
fn success_carries_the_envelope() {
    let message = certrep(Outcome::Success(sealed(b"issued")), "00FF");
    let verified = verified(&message);
    assert_eq!(verified.message().transaction_id().as_str(), "00FF");
    assert_eq!(verified.message().sender_nonce(), [9; 16]);
    assert_eq!(verified.signer(), &message_ca());
    let expected = ReplyAttributes {
        status: PkiStatus::Success,
        fail_info: None,
        fail_info_text: None,
        recipient_nonce: RECIPIENT_NONCE_SENT.to_vec(),
    };
    assert_eq!(verified.reply(), Some(expected));
    assert_eq!(verified.signing_time(), Some("2026-11-21T02:04:54Z".parse().unwrap()));
    assert_eq!(open(&verified.envelope().unwrap()), b"issued");
}

#[test]
fn failure_says_why_and_carries_no_envelope() {
    let text = Some("the challenge is wrong".to_owned());
    let message = certrep(Outcome::Failure { info: FailInfo::BadRequest, text: text.clone() }, "00FF");
    let verified = verified(&message);
    let reply = verified.reply().unwrap();
    assert_eq!(reply.status, PkiStatus::Failure);
    assert_eq!((reply.fail_info, reply.fail_info_text), (Some(FailInfo::BadRequest), text));
    assert_eq!(verified.envelope().unwrap_err(), EnvelopeError::Missing);
    assert_eq!(SignedData::read(&message).unwrap().content, None);
}

#[test]
fn pending_carries_neither_envelope_nor_fail_info() {
    let message = certrep(Outcome::Pending, "00FF");
    let reply = verified(&message).reply().unwrap();
    assert_eq!((reply.status, reply.fail_info), (PkiStatus::Pending, None));
    assert_eq!(SignedData::read(&message).unwrap().content, None);
    assert_eq!(value(&message, FAIL_INFO), None);
}

#[test]
fn attributes_have_the_types_of_the_rfc_in_the_order_of_der() {
    let failure = Outcome::Failure { info: FailInfo::BadCertId, text: Some("no such".to_owned()) };
    let message = certrep(failure, "a+b/c=");
    assert_eq!(value(&message, MESSAGE_TYPE), Some((0x13, &b"3"[..])));
    assert_eq!(value(&message, PKI_STATUS), Some((0x13, &b"2"[..])));
    assert_eq!(value(&message, FAIL_INFO), Some((0x13, &b"4"[..])));
    assert_eq!(value(&message, FAIL_INFO_TEXT), Some((0x0c, &b"no such"[..])));
    assert_eq!(value(&message, TRANSACTION_ID), Some((0x13, &b"a+b/c="[..])));
    assert_eq!(value(&message, SENDER_NONCE), Some((0x04, &[9; 16][..])));
    assert_eq!(value(&message, RECIPIENT_NONCE), Some((0x04, RECIPIENT_NONCE_SENT)));
    assert_eq!(value(&message, const_oid::db::rfc5911::ID_SIGNING_TIME), Some((0x17, &b"261121020454Z"[..])));
    let raw: Vec<_> = attributes(&message)
        .iter()
        .map(|(oid, value)| super::forged::attribute(*oid, value.encoding))
        .collect();
    assert!(raw.is_sorted());
    assert_eq!(raw.len(), 10);
}

#[test]
fn a_transaction_id_that_is_no_printable_string_goes_out_as_utf8() {
    let message = certrep(Outcome::Pending, "a_b");
    assert_eq!(value(&message, TRANSACTION_ID), Some((0x0c, &b"a_b"[..])));
    assert_eq!(verified(&message).message().transaction_id().as_str(), "a_b");
}

#[test]
fn the_signer_info_declares_rsa_encryption() {
    let message = certrep(Outcome::Pending, "00FF");
    let rsa_encryption = algorithm::with_null(const_oid::db::rfc5912::RSA_ENCRYPTION);
    let signature = [&rsa_encryption[..], &[0x04, 0x82, 1, 0]].concat();
    assert!(message.windows(signature.len()).any(|window| window == signature));
}

#[test]
fn a_digest_that_is_not_the_signatures_is_an_error() {
    let signer = message_ca();
    let spec = CertRepSpec {
        outcome: Outcome::Pending,
        transaction_id: &"1".parse().unwrap(),
        recipient_nonce: &[],
        sender_nonce: [0; 16],
        signer: &signer,
        digest: DigestAlgorithm::Sha1,
        signing_time: None,
    };
    assert!(spec.unsigned(RSA_SHA256).is_err());
}

/// What `reader` finds in the attributes of a message that is to be signed, in their order: (type, value).
fn to_be_signed(rep: &LegacyCertRep) -> Vec<(const_oid::ObjectIdentifier, Vec<u8>)> {
    let set = Element::only_tagged(rep.to_be_signed(), 0x31).unwrap();
    let members = set.open().map(|attribute| {
        let mut fields = attribute.unwrap().open();
        let oid = const_oid::ObjectIdentifier::from_bytes(fields.any().unwrap().content).unwrap();
        (oid, fields.any().unwrap().open().any().unwrap().content.to_vec())
    });
    members.collect()
}

#[test]
fn under_a_broken_digest_our_nonce_comes_before_what_the_requester_chose() {
    let signer = message_ca();
    let outcomes = [
        Outcome::Success(sealed(b"issued")),
        Outcome::Failure { info: FailInfo::BadRequest, text: Some("no".to_owned()) },
        Outcome::Pending,
    ];
    let mut made = 0;
    for digest in [DigestAlgorithm::Md5, DigestAlgorithm::Sha1] {
        for outcome in &outcomes {
            for (transaction, nonce) in [1, 8, 15, 16, 17, 40, 126, 256]
                .into_iter()
                .flat_map(|id| [0, 1, 15, 16, 17, 64].map(|nonce| (id, nonce)))
            {
                let chosen = vec![0; nonce];
                let spec = CertRepSpec {
                    outcome: outcome.clone(),
                    transaction_id: &"x".repeat(transaction).parse().unwrap(),
                    recipient_nonce: &chosen,
                    sender_nonce: [9; 16],
                    signer: &signer,
                    digest,
                    signing_time: None,
                };
                let Some(rep) = spec.legacy().unwrap() else {
                    assert!(transaction < 16 || (1..16).contains(&nonce), "{transaction} {nonce}");
                    continue;
                };
                made += 1;
                assert_eq!(rep.digest(), digest);
                let attributes = to_be_signed(&rep);
                let place = |wanted| attributes.iter().position(|(oid, _)| *oid == wanted).unwrap();
                let ours = place(SENDER_NONCE);
                assert!(ours < place(TRANSACTION_ID), "{transaction} {nonce}");
                assert!(ours < place(RECIPIENT_NONCE) || nonce == 0, "{transaction} {nonce}");
            }
        }
    }
    // Five lengths of a transactionID and four of a nonce.
    assert_eq!(made, 2 * outcomes.len() * 5 * 4);
}

#[test]
fn under_a_good_digest_nothing_is_signed_the_old_way() {
    let signer = message_ca();
    for digest in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
        let spec = CertRepSpec {
            outcome: Outcome::Pending,
            transaction_id: &"0123456789abcdef".parse().unwrap(),
            recipient_nonce: RECIPIENT_NONCE_SENT,
            sender_nonce: [0; 16],
            signer: &signer,
            digest,
            signing_time: None,
        };
        assert!(spec.legacy().unwrap().is_none(), "{digest}");
    }
}

#[test]
fn a_signing_time_after_2049_is_generalized() {
    let late: Timestamp = "2050-01-01T00:00:00Z".parse().unwrap();
    let attribute = crate::wire::cms::signed::signing_time(late);
    assert!(attribute.ends_with(b"\x18\x0f20500101000000Z"));
}

#[test]
fn a_request_is_read_as_written() {
    for message in
        [request(sealed(b"csr")), as_ber(&request(sealed(b"csr"))), request(as_ber(&sealed(b"csr")))]
    {
        let verified = verified(&message);
        assert_eq!(verified.message().message_type(), Some(MessageType::PkcsReq));
        assert_eq!(verified.message().message_type_text(), Some("19"));
        assert_eq!(verified.digest(), DigestAlgorithm::Sha256);
        assert_eq!(verified.signing_time(), None);
        assert_eq!(open(&verified.envelope().unwrap()), b"csr");
    }
}

#[test]
fn a_bundle_keeps_the_order_given() {
    let [first, second] = [message_ca(), verified(&fixture("micromdm-certrep.der")).signer().clone()];
    for order in [[&first, &second], [&second, &first]] {
        let der = Degenerate::to_der(&order.map(Certificate::as_der), &[]).unwrap();
        let read = Degenerate::from_ber(&der).unwrap();
        assert_eq!(read.certificates.iter().collect::<Vec<_>>(), order);
        assert_eq!(SignedData::read(&der).unwrap().content, None);
        assert_eq!(Degenerate::from_ber(&as_ber(&der)).unwrap().certificates, read.certificates);
    }
}

#[test]
fn payloads_are_read_as_written() {
    let issuer: Name = message_ca().subject().clone();
    let subject = verified(&fixture("strongswan-aes.der")).signer().subject().clone();
    let poll = IssuerAndSubject { issuer: issuer.clone(), subject };
    assert_eq!(IssuerAndSubject::from_ber(&as_ber(&poll.to_der().unwrap())), Ok(poll));
    let serial = SerialNumber::from_magnitude(&[0xff, 1]).unwrap();
    let get = IssuerAndSerialNumber { issuer, serial };
    assert_eq!(IssuerAndSerialNumber::from_ber(&as_ber(&get.to_der().unwrap())), Ok(get));
}

#[test]
fn rejects_payloads_of_another_shape() {
    for bytes in [&[][..], &[0x30, 0], &[0x30, 2, 0x30, 0], &[0x05, 0], &[0x30, 6, 0x30, 0, 0x30, 0, 5, 0]] {
        assert!(IssuerAndSubject::from_ber(bytes).is_err(), "{bytes:?}");
        assert!(IssuerAndSerialNumber::from_ber(bytes).is_err(), "{bytes:?}");
        assert!(Degenerate::from_ber(bytes).is_err(), "{bytes:?}");
    }
    let serial_zero = [0x30, 5, 0x30, 0, 2, 1, 0];
    assert!(IssuerAndSerialNumber::from_ber(&serial_zero).is_err());
}

#[test]
fn a_signer_with_an_elliptic_key_verifies_but_cannot_be_answered_with_an_envelope() {
    use aws_lc_rs::{
        encoding::AsDer,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    let algorithm = SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha256);
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let sign = |unsigned: Unsigned| {
        let signature = key.sign(&SystemRandom::new(), unsigned.to_be_signed()).unwrap();
        unsigned.finish(signature.as_ref()).unwrap()
    };
    let name: Name = "CN=elliptic".parse().unwrap();
    let certificate = CertificateSpec::self_signed_requester(
        SerialNumber::from_magnitude(&[1]).unwrap(),
        &name,
        message_ca().validity(),
        PublicKey::from_spki(key.public_key().as_der().unwrap().as_ref()).unwrap(),
    );
    let signer = Certificate::from_der(&sign(certificate.unsigned(algorithm).unwrap())).unwrap();
    let spec = RequestSpec {
        message_type: MessageType::PkcsReq,
        transaction_id: &"1".parse().unwrap(),
        sender_nonce: [7; 16],
        content: sealed(b"csr"),
        signer: &signer,
        digest: DigestAlgorithm::Sha256,
    };
    let message = sign(spec.unsigned(algorithm).unwrap());
    assert_eq!(verified(&message).signer(), &signer);
    let cipher = ContentCipher::Aes128Cbc;
    let error = seal(b"issued", &signer, cipher, KeyTransport::Pkcs1, &random(cipher)).unwrap_err();
    assert_eq!(error, SealError::Recipient(CannotEncrypt));
}
