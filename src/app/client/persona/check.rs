//! What a persona wants to see, and its words where it does not.

use super::{Check, Persona};
use crate::{
    app::client::http::Response,
    types::{ContentCipher, DigestAlgorithm},
    wire::{
        cms::signed::{Signature, SignedData, names_plain_rsa},
        der::normalise,
        scep::{Degenerate, PkiMessage, VerifiedPki, client::Authority},
        x509::{Certificate, KeyUsage, PublicKey},
    },
};
use const_oid::db::rfc5911;

const CA_TYPES: [&str; 2] = ["application/x-x509-ca-cert", "application/x-x509-ca-ra-cert"];
const REPLY_TYPE: &str = "application/x-pki-message";

/// Certificate Request Agent and serverAuth: what Windows knows in a message certificate.
const WINDOWS_USAGES: [&str; 2] = ["1.3.6.1.4.1.311.20.2.1", "1.3.6.1.5.5.7.3.1"];

/// The algorithms of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::app::client) struct Exchange {
    pub(in crate::app::client) cipher: ContentCipher,
    pub(in crate::app::client) digest: DigestAlgorithm,
}

impl Persona {
    /// Looks at GetCACaps' answer.
    pub(in crate::app::client) fn check_capabilities(&self, response: &Response) -> Result<(), String> {
        self.each(|check| match check {
            Check::CapsLength(most) if response.body.len() > *most => {
                Err(format!("GetCACaps has {} octets, and {most} are read", response.body.len()))
            }
            Check::Sha384Offered => {
                let text = String::from_utf8_lossy(&response.body);
                if text.lines().any(|line| line.trim_end() == "SHA-384") {
                    return Ok(());
                }
                Err("\"AES_CBC encryption algorithm not supported by CA\": GetCACaps does not name SHA-384"
                    .to_owned())
            }
            _ => Ok(()),
        })
    }

    /// Looks at GetCACert's answer.
    pub(in crate::app::client) fn check_ca(
        &self,
        response: &Response,
        authority: &Authority,
    ) -> Result<(), String> {
        let exact = |media_type: &str, words: &str| {
            if CA_TYPES.contains(&media_type) {
                return Ok(());
            }
            Err(format!("{words}: GetCACert's Content-Type is \"{}\"", response.content_type))
        };
        self.each(|check| match check {
            Check::ExactCaType => exact(&response.content_type, "error 22004"),
            Check::CutCaType => exact(response.media_type(), "\"wrong (or missing) MIME content type\""),
            Check::RaByKeyUsage => ra_by_key_usage(&authority.ca.all),
            Check::RaExtendedKeyUsage => ra_extended_key_usage(&authority.ca.recipient),
            _ => Ok(()),
        })
    }

    /// Looks at PKIOperation's answer, which verified.
    pub(in crate::app::client) fn check_answer(
        &self,
        response: &Response,
        exchange: Exchange,
    ) -> Result<(), String> {
        let md5 = exchange.digest == DigestAlgorithm::Md5;
        let message = PkiMessage::from_ber(&response.body).ok();
        let Some(verified) = message.and_then(|it| it.verify_taking(md5).ok()) else {
            return Ok(());
        };
        self.each(|check| match check {
            Check::ExactReplyType if response.content_type != REPLY_TYPE => {
                Err(format!("\"Server reply was of unexpected MIME type \"{}\"\"", response.content_type))
            }
            Check::ReplyTypePrefix if !response.content_type.starts_with(REPLY_TYPE) => {
                Err(format!("\"Invalid content type: {}\"", response.content_type))
            }
            Check::SenderNonce if verified.message().sender_nonce().is_empty() => {
                Err("\"The response does not contain an expected authenticated attribute\": senderNonce"
                    .to_owned())
            }
            Check::SameAlgorithms => same_algorithms(&verified, exchange),
            Check::ContentTypeAttribute | Check::PlainRsaSignature => signer_info(*check, &response.body),
            _ => Ok(()),
        })
    }

    /// Looks at what SUCCESS holds.
    pub(in crate::app::client) fn check_granted(
        &self,
        granted: &Degenerate,
        key: &PublicKey,
    ) -> Result<(), String> {
        let certificates = &granted.certificates;
        self.each(|check| match check {
            Check::FirstIsLeaf if certificates.first().is_none_or(|first| first.public_key() != key) => {
                Err("error 22008: the first certificate of the answer is not the device's".to_owned())
            }
            Check::LeafAlone if certificates.len() > 1 => {
                Err(format!("the answer holds {} certificates, and one is taken", certificates.len()))
            }
            _ => Ok(()),
        })
    }

    fn each(&self, look: impl FnMut(&Check) -> Result<(), String>) -> Result<(), String> {
        self.checks.iter().try_for_each(look)
    }
}

/// As SecSCEP.c picks: one certificate with both usages, or a pair that shares them; and an end of the chain. A single certificate is the
/// CA itself.
fn ra_by_key_usage(all: &[Certificate]) -> Result<(), String> {
    let has =
        |certificate: &Certificate, usage| certificate.key_usage().is_none_or(|own| own.contains(usage));
    let any = |usage| all.iter().any(|certificate| has(certificate, usage));
    let found = any(KeyUsage::DIGITAL_SIGNATURE) && any(KeyUsage::KEY_ENCIPHERMENT);
    if all.len() == 1 || (found && all.iter().any(Certificate::is_ca)) {
        return Ok(());
    }
    Err("error 22003: \"failed to find candidate RA certificates\" with digitalSignature and keyEncipherment"
        .to_owned())
}

fn ra_extended_key_usage(recipient: &Certificate) -> Result<(), String> {
    let known = recipient
        .extended_key_usage()
        .iter()
        .any(|usage| WINDOWS_USAGES.contains(&usage.to_string().as_str()));
    if known || recipient.is_ca() {
        return Ok(());
    }
    Err("error 0x8010002c: the message certificate has neither Certificate Request Agent nor serverAuth"
        .to_owned())
}

/// Keyfactor/ejbca-ce#176.
fn same_algorithms(answer: &VerifiedPki, exchange: Exchange) -> Result<(), String> {
    if answer.digest() != exchange.digest {
        return Err(format!(
            "the answer's digest is {}, the request's was {}",
            answer.digest(),
            exchange.digest
        ));
    }
    match answer.envelope() {
        Ok(envelope) if envelope.cipher != exchange.cipher => {
            Err(format!("the answer's cipher is {}, the request's was {}", envelope.cipher, exchange.cipher))
        }
        _ => Ok(()),
    }
}

/// What is in the SignerInfo of an answer that verified.
fn signer_info(check: Check, body: &[u8]) -> Result<(), String> {
    let unreadable = |error| format!("unreadable: {error}");
    let der = normalise(body).map_err(unreadable)?;
    let data = SignedData::read(&der).map_err(unreadable)?;
    let Some(signer) = data.signers.first() else { return Ok(()) };
    if check == Check::PlainRsaSignature {
        if names_plain_rsa(signer) {
            return Ok(());
        }
        return Err(
            "\"only RSA digest encryption supported\": signatureAlgorithm is not rsaEncryption".to_owned()
        );
    }
    let there = Signature::of(&data, signer).is_some_and(|signature| {
        matches!(signature.attributes().value(rfc5911::ID_CONTENT_TYPE), Ok(Some(_)))
    });
    if there { Ok(()) } else { Err("the signed attribute contentType is missing".to_owned()) }
}
