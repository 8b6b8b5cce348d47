//! Writing pkiMessages: strict DER, string types as RFC 8894 §3.2.1 has them.

use super::{
    FAIL_INFO, FAIL_INFO_TEXT, FailInfo, MESSAGE_TYPE, MessageType, PKI_STATUS, PkiStatus, RECIPIENT_NONCE,
    SENDER_NONCE, TRANSACTION_ID,
};
use crate::{
    types::{DigestAlgorithm, SignatureAlgorithm, Timestamp, TransactionId},
    wire::{
        EncodeError, Unsigned,
        cms::signed::{SignedDataSpec, attribute, signing_time},
        der::{
            reader::{PRINTABLE_STRING, UTF8_STRING},
            writer,
        },
        x509::Certificate,
    },
};

/// What a CertRep answers.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Granted: the DER of the EnvelopedData, as [`super::seal`] makes it.
    Success(Vec<u8>),
    /// Refused.
    Failure {
        /// Why, as a code.
        info: FailInfo,
        /// Why, for people: failInfoText. Goes out in the clear.
        text: Option<String>,
    },
    /// Waits for a person.
    Pending,
}

impl Outcome {
    fn status(&self) -> PkiStatus {
        match self {
            Self::Success(_) => PkiStatus::Success,
            Self::Failure { .. } => PkiStatus::Failure,
            Self::Pending => PkiStatus::Pending,
        }
    }

    /// RFC 8894 §3.3.2.2, §3.3.2.3: no envelope with FAILURE and PENDING.
    fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Success(envelope) => Some(envelope),
            Self::Failure { .. } | Self::Pending => None,
        }
    }
}

/// A CertRep to be signed. SignerInfo.signatureAlgorithm is rsaEncryption (strongSwan accepts nothing else), digest as given.
#[derive(Clone, Debug)]
pub struct CertRepSpec<'a> {
    /// The answer.
    pub outcome: Outcome,
    /// The request's.
    pub transaction_id: &'a TransactionId,
    /// The request's senderNonce.
    pub recipient_nonce: &'a [u8],
    /// Fresh random bytes.
    pub sender_nonce: [u8; 16],
    /// The message certificate, whose key signs; it goes into the message.
    pub signer: &'a Certificate,
    /// For messageDigest and signature: the request's.
    pub digest: DigestAlgorithm,
    /// The signingTime attribute, if wanted.
    pub signing_time: Option<Timestamp>,
}

impl CertRepSpec<'_> {
    /// The message but for its signature. Errors: `algorithm` has another digest than the message.
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        let mut attributes = vec![
            number(MESSAGE_TYPE, MessageType::CertRep.code()),
            number(PKI_STATUS, self.outcome.status().code()),
            transaction_id(self.transaction_id),
            attribute(SENDER_NONCE, &writer::octets(&self.sender_nonce)),
            attribute(RECIPIENT_NONCE, &writer::octets(self.recipient_nonce)),
        ];
        if let Outcome::Failure { info, text } = &self.outcome {
            attributes.push(number(FAIL_INFO, info.code()));
            let text = text.iter().map(|text| writer::element(UTF8_STRING, &[text.as_bytes()]));
            attributes.extend(text.map(|text| attribute(FAIL_INFO_TEXT, &text)));
        }
        attributes.extend(self.signing_time.map(signing_time));
        SignedDataSpec { content: self.outcome.content(), signer: self.signer, digest: self.digest }
            .unsigned(attributes, algorithm)
    }
}

/// A request to be signed (the built-in client).
#[derive(Clone, Debug)]
pub struct RequestSpec<'a> {
    /// What is asked.
    pub message_type: MessageType,
    /// The client's name for the transaction.
    pub transaction_id: &'a TransactionId,
    /// Fresh random bytes.
    pub sender_nonce: [u8; 16],
    /// The DER of the EnvelopedData, as [`super::seal`] makes it.
    pub content: Vec<u8>,
    /// Whose key signs: self-signed, or the certificate that is to be renewed. The answer is encrypted to it.
    pub signer: &'a Certificate,
    /// For messageDigest and signature.
    pub digest: DigestAlgorithm,
}

impl RequestSpec<'_> {
    /// The message but for its signature. Errors: `algorithm` has another digest than the message.
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        let attributes = vec![
            number(MESSAGE_TYPE, self.message_type.code()),
            transaction_id(self.transaction_id),
            attribute(SENDER_NONCE, &writer::octets(&self.sender_nonce)),
        ];
        SignedDataSpec { content: Some(&self.content), signer: self.signer, digest: self.digest }
            .unsigned(attributes, algorithm)
    }
}

/// A number as decimal PrintableString: iOS and Windows compare type and characters.
fn number(oid: const_oid::ObjectIdentifier, number: u8) -> Vec<u8> {
    attribute(oid, &writer::element(PRINTABLE_STRING, &[number.to_string().as_bytes()]))
}

/// transactionID: PrintableString as RFC 8894 §3.2.1.1 says. Where a character does not belong there, UTF8String: a client
/// that chose such characters reads that (Go's encoder does the same), and a PrintableString would be malformed.
fn transaction_id(id: &TransactionId) -> Vec<u8> {
    let printable = id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b));
    let tag = if printable { PRINTABLE_STRING } else { UTF8_STRING };
    attribute(TRANSACTION_ID, &writer::element(tag, &[id.as_str().as_bytes()]))
}
