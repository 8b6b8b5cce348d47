//! Writing pkiMessages: strict DER, string types as RFC 8894 §3.2.1 has them.
//!
//! **Broken digests.** A CertRep that is to be signed with MD5 or SHA-1 is a type of its own, [`LegacyCertRep`]: who may sign so can sign
//! nothing else, no certificate, no CRL, no OCSP response.
//!
//! Whoever asks chooses the transactionID and the senderNonce that comes back as recipientNonce. Could he compute what comes before them, he
//! could look for two texts with one digest, have one signed and use the other. So 16 octets that he cannot know come before: our own
//! senderNonce. DER orders the attributes by their encodings, so by their lengths:
//!
//! | attribute | octets of its content | |
//! |---|---|---|
//! | messageType, pkiStatus, failInfo | 17 | ours |
//! | contentType | 24 | ours |
//! | messageDigest with MD5 | 31 | of our content |
//! | senderNonce | 32 | ours, random |
//! | recipientNonce, transactionID | 16 and what was chosen | the requester's; of 32 they come behind senderNonce, by their types |
//! | messageDigest with SHA-1 | 35 | of our content |
//!
//! A nonce or transactionID of 1 to 15 octets would come first. Two of them are not room for a block of a collision as one computes them (64 octets),
//! but for 2^64 trials. [`CertRepSpec::legacy`] makes no such message.
//!
//! Not covered: within the content of a SUCCESS the name of the requester's certificate (RecipientInfo's issuerAndSerialNumber) comes before
//! the first random octet, and messageDigest with MD5 is no better than MD5. So a requester can have an answer signed that is also one to another
//! content. What counts in a content, certificates and CRLs, bears the CA's own signature.

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

    /// The message to be signed with a broken digest. None: the digest is a good one, or what the requester chose would come before our
    /// senderNonce.
    pub fn legacy(&self) -> Result<Option<LegacyCertRep>, EncodeError> {
        if !self.digest.is_broken() || !self.nonce_comes_first() {
            return Ok(None);
        }
        self.unsigned(SignatureAlgorithm::RsaPkcs1(self.digest)).map(LegacyCertRep).map(Some)
    }

    /// Whether senderNonce comes before whatever the requester chose: an empty value is no choice, and shorter ones come first.
    fn nonce_comes_first(&self) -> bool {
        let chosen = [self.transaction_id.as_str().len(), self.recipient_nonce.len()];
        chosen.into_iter().all(|length| length == 0 || length >= self.sender_nonce.len())
    }
}

/// A CertRep that is complete but for its signature, RSASSA-PKCS1-v1_5 with MD5 or SHA-1; see the top of this file. Only
/// [`CertRepSpec::legacy`] makes one.
#[derive(Debug)]
pub struct LegacyCertRep(Unsigned);

impl LegacyCertRep {
    /// The digest of messageDigest and signature.
    pub fn digest(&self) -> DigestAlgorithm {
        self.0.algorithm().digest()
    }

    /// The exact bytes that the signature covers.
    pub fn to_be_signed(&self) -> &[u8] {
        self.0.to_be_signed()
    }

    /// Puts `signature` in place.
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, EncodeError> {
        self.0.finish(signature)
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
