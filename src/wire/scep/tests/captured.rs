//! What real clients and servers sent.

use super::*;

struct Captured {
    file: &'static str,
    message_type: MessageType,
    digest: DigestAlgorithm,
    cipher: ContentCipher,
    transaction_id: fn(&str) -> bool,
    self_signed: bool,
}

fn is_hex(id: &str) -> bool {
    id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_decimal(id: &str) -> bool {
    id.len() > 70 && id.bytes().all(|b| b.is_ascii_digit())
}

fn is_base64(id: &str) -> bool {
    id.ends_with('=')
}

const REQUESTS: [Captured; 5] = [
    Captured {
        file: "scepclient-des.der",
        message_type: MessageType::PkcsReq,
        digest: DigestAlgorithm::Sha1,
        cipher: ContentCipher::DesCbc,
        transaction_id: is_base64,
        self_signed: true,
    },
    Captured {
        file: "scepclient-renewal.der",
        message_type: MessageType::RenewalReq,
        digest: DigestAlgorithm::Sha1,
        cipher: ContentCipher::DesCbc,
        transaction_id: is_base64,
        self_signed: false,
    },
    Captured {
        file: "strongswan-aes.der",
        message_type: MessageType::PkcsReq,
        digest: DigestAlgorithm::Sha256,
        cipher: ContentCipher::Aes128Cbc,
        transaction_id: is_hex,
        self_signed: true,
    },
    Captured {
        file: "strongswan-3des.der",
        message_type: MessageType::PkcsReq,
        digest: DigestAlgorithm::Sha256,
        cipher: ContentCipher::TripleDesCbc,
        transaction_id: is_hex,
        self_signed: true,
    },
    Captured {
        file: "certmonger-aes256.der",
        message_type: MessageType::PkcsReq,
        digest: DigestAlgorithm::Sha256,
        cipher: ContentCipher::Aes256Cbc,
        transaction_id: is_decimal,
        self_signed: true,
    },
];

#[test]
fn reads_verifies_and_opens_every_captured_request() {
    for captured in REQUESTS {
        let file = captured.file;
        let message = PkiMessage::from_ber(&fixture(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(message.message_type(), Some(captured.message_type), "{file}");
        assert_eq!(message.sender_nonce().len(), 16, "{file}");
        assert!((captured.transaction_id)(message.transaction_id().as_str()), "{file}");

        let verified = message.verify().unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(verified.digest(), captured.digest, "{file}");
        assert_eq!(verified.signer().issuer() == verified.signer().subject(), captured.self_signed, "{file}");
        assert_eq!(verified.reply(), None, "{file}");

        let envelope = verified.envelope().unwrap();
        assert_eq!(envelope.cipher, captured.cipher, "{file}");
        assert!(envelope.recipients[0].is(&message_ca()), "{file}");
        let payload = open(&envelope);
        let pkcs10 = crate::wire::der::reader::Element::only_tagged(&payload, 0x30).unwrap();
        assert_eq!(pkcs10.open().count(), 3, "{file}");
    }
}

#[test]
fn opens_the_answer_of_micromdm() {
    let message = PkiMessage::from_ber(&fixture("micromdm-certrep.der")).unwrap();
    assert_eq!(message.message_type(), Some(MessageType::CertRep));
    let verified = message.verify().unwrap();
    assert_eq!(verified.digest(), DigestAlgorithm::Sha1);
    let reply = verified.reply().unwrap();
    assert_eq!((reply.status, reply.fail_info, reply.fail_info_text), (PkiStatus::Success, None, None));
    assert_eq!(reply.recipient_nonce.len(), 16);

    let envelope = verified.envelope().unwrap();
    assert_eq!(envelope.cipher, ContentCipher::DesCbc);
    let [recipient] = &envelope.recipients[..] else { panic!("one recipient") };
    let payload = envelope.open(&unwrap_key(recipient, "micromdm-certrep.p8")).unwrap();
    let issued = Degenerate::from_ber(payload.expose()).unwrap();
    assert_eq!(issued.certificates[0].subject().common_name().as_deref(), Some("dev2.example"));
    assert!(issued.crls.is_empty());
}

#[test]
fn reads_a_bundle_of_openssl() {
    let bundle = Degenerate::from_ber(&fixture("openssl-degenerate.der")).unwrap();
    assert_eq!(bundle.certificates.len(), 2);
    assert!(bundle.certificates.contains(&message_ca()));
    assert_eq!(bundle.crls.len(), 1);
    assert_eq!(bundle.crls[0].issuer(), message_ca().subject());
}
