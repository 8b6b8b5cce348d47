//! Messages of real clients, forged messages, and what certgate writes. `fixtures/README.md` says where the files come from.

mod answers;
mod captured;
mod envelopes;
mod forged;
mod random;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{
        KeyPair, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
        Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
    },
    signature::{RSA_PKCS1_SHA256, RsaEncoding},
};

use super::*;
use crate::{
    types::{ContentCipher, DigestAlgorithm, KeyTransport, Secret, SignatureAlgorithm, TransactionId},
    wire::{Unsigned, algorithm, der::writer, x509::Certificate},
};

const RSA_SHA256: SignatureAlgorithm = SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256);

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/fixtures/scep/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The certificate to which the captured requests are encrypted; its key also signs what the tests make.
fn message_ca() -> Certificate {
    Certificate::from_der(&fixture("message-ca.cer")).unwrap()
}

fn sign_with(encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let key = KeyPair::from_pkcs8(&fixture("message-ca.p8")).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn sign(unsigned: Unsigned) -> Vec<u8> {
    let signature = sign_with(&RSA_PKCS1_SHA256, unsigned.to_be_signed());
    unsigned.finish(&signature).unwrap()
}

/// The content key of `recipient` under the private key in `key`.
fn unwrap_key(recipient: &Recipient, key: &str) -> Secret {
    let key = PrivateDecryptingKey::from_pkcs8(&fixture(key)).unwrap();
    let mut out = vec![0; key.key_size_bytes()];
    let oaep = |algorithm, out| {
        let key = OaepPrivateDecryptingKey::new(key.clone()).unwrap();
        key.decrypt(algorithm, &recipient.encrypted_key, out, None).map(|key: &mut [u8]| key.to_vec())
    };
    let content_key = match recipient.transport {
        KeyTransport::Pkcs1 => {
            let key = Pkcs1PrivateDecryptingKey::new(key).unwrap();
            key.decrypt(&recipient.encrypted_key, &mut out).map(|key: &mut [u8]| key.to_vec())
        }
        KeyTransport::OaepSha1 => oaep(&OAEP_SHA1_MGF1SHA1, &mut out),
        KeyTransport::OaepSha256 => oaep(&OAEP_SHA256_MGF1SHA256, &mut out),
    };
    Secret::new(content_key.unwrap())
}

/// What the message CA finds in `envelope`.
fn open(envelope: &Envelope) -> Vec<u8> {
    let recipient = envelope.recipient_for(&message_ca()).unwrap();
    envelope.open(&unwrap_key(recipient, "message-ca.p8")).unwrap().expose().to_vec()
}

fn random(cipher: ContentCipher) -> EnvelopeRandom {
    let content_key = (1..).take(cipher.key_len()).collect();
    EnvelopeRandom { content_key: Secret::new(content_key), iv: *b"0123456789abcdef" }
}

fn sealed(payload: &[u8]) -> Vec<u8> {
    let cipher = ContentCipher::Aes128Cbc;
    seal(payload, &message_ca(), cipher, KeyTransport::Pkcs1, &random(cipher)).unwrap()
}

fn request(content: Vec<u8>) -> Vec<u8> {
    let signer = message_ca();
    let transaction_id: TransactionId = "00FF".parse().unwrap();
    let spec = RequestSpec {
        message_type: MessageType::PkcsReq,
        transaction_id: &transaction_id,
        sender_nonce: [7; 16],
        content,
        signer: &signer,
        digest: DigestAlgorithm::Sha256,
    };
    sign(spec.unsigned(RSA_SHA256).unwrap())
}

/// `der` as BouncyCastle streams it: every length indefinite, every octet string in segments.
fn as_ber(der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for element in crate::wire::der::reader::Reader::new(der) {
        let element = element.unwrap();
        match element.tag {
            0x04 => {
                let (head, tail) = element.content.split_at(element.content.len() / 2);
                out.extend([&[0x24, 0x80], &*writer::octets(head), &writer::octets(tail), &[0, 0]].concat());
            }
            tag if tag & 0x20 != 0 => out.extend([&[tag, 0x80], &*as_ber(element.content), &[0, 0]].concat()),
            _ => out.extend_from_slice(element.encoding),
        }
    }
    out
}
