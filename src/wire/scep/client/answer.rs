//! Whether a CertRep is the answer to our request (RFC 8894 §3.2.1), and what it means.

use super::{AnswerError, CaCertificates};
use crate::{
    types::{Fingerprint, Secret, TransactionId},
    wire::{
        cms::{Envelope, Recipient},
        scep::{Degenerate, FailInfo, MessageType, PkiMessage, PkiStatus, VerifiedPki},
        x509::{Certificate, PublicKey},
    },
};

/// What was sent, as far as the answer must fit it.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Whose answers are believed.
    pub ca: &'a CaCertificates,
    /// The request's transactionID.
    pub transaction: &'a TransactionId,
    /// The request's senderNonce.
    pub sender_nonce: &'a [u8],
    /// Whether an answer may be signed with MD5: where the request was.
    pub md5: bool,
}

/// What a checked answer means; a SUCCESS is still closed.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// Granted.
    Granted(Box<Grant>),
    /// An operator decides; poll with the same transactionID.
    Pending,
    /// Refused.
    Refused {
        /// The code.
        info: FailInfo,
        /// The server's words, if it said any.
        text: Option<String>,
    },
}

/// What a request came to, opened.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The certificates or the CRL.
    Granted(Degenerate),
    /// An operator decides; poll with the same transactionID.
    Pending,
    /// Refused.
    Refused {
        /// The code.
        info: FailInfo,
        /// The server's words, if it said any.
        text: Option<String>,
    },
}

impl Sent<'_> {
    /// Reads the body of PKIOperation's answer.
    pub fn read(&self, body: &[u8]) -> Result<Meaning, AnswerError> {
        const WHAT: &str = "the server's answer";
        let verified = PkiMessage::from_ber(body)
            .map_err(AnswerError::unreadable(WHAT))?
            .verify_taking(self.md5)
            .map_err(|error| AnswerError::Signature(format!("{WHAT} does not verify: {error}")))?;
        self.check_origin(&verified)?;
        let message = verified.message();
        if message.message_type() != Some(MessageType::CertRep) {
            return Err(AnswerError::Unreadable(format!("{WHAT} is no CertRep")));
        }
        // RFC 8894 §3.2.1.1, §3.2.1.5: the answer to this request and to no other.
        if message.transaction_id() != self.transaction {
            return Err(AnswerError::Transaction);
        }
        let reply =
            verified.reply().ok_or_else(|| AnswerError::Unreadable(format!("{WHAT} has no pkiStatus")))?;
        if reply.recipient_nonce != self.sender_nonce {
            return Err(AnswerError::Nonce);
        }
        match (reply.status, reply.fail_info) {
            (PkiStatus::Pending, _) => Ok(Meaning::Pending),
            (PkiStatus::Failure, Some(info)) => Ok(Meaning::Refused { info, text: reply.fail_info_text }),
            (PkiStatus::Failure, None) => {
                Err(AnswerError::Unreadable("the server refused without a failInfo".to_owned()))
            }
            (PkiStatus::Success, _) => Ok(Meaning::Granted(Box::new(Grant::of(&verified)?))),
        }
    }

    /// RFC 8894 §3.2: signed by a certificate of GetCACert, not just by one that came along.
    fn check_origin(&self, answer: &VerifiedPki) -> Result<(), AnswerError> {
        let signer = answer.signer();
        if self.ca.has(signer) {
            return Ok(());
        }
        Err(AnswerError::Signer(format!(
            "the answer is signed by \"{}\" ({}), which is none of the server's CA certificates",
            signer.subject(),
            Fingerprint::of(signer.as_der())
        )))
    }
}

/// What a SUCCESS carries, still closed (RFC 8894 §3.3.2.1): unwrap [`Recipient::encrypted_key`] with the requester's key, then open.
#[derive(Clone, Debug)]
pub struct Grant(Envelope);

impl Grant {
    const WHAT: &'static str = "the content of the answer";

    /// Takes the envelope out of a verified answer.
    pub fn of(answer: &VerifiedPki) -> Result<Self, AnswerError> {
        answer.envelope().map(Self).map_err(AnswerError::unreadable(Self::WHAT))
    }

    /// The content key, wrapped for `requester`.
    pub fn recipient(&self, requester: &Certificate) -> Result<&Recipient, AnswerError> {
        let found = self.0.recipient_for(requester);
        found.ok_or_else(|| AnswerError::Recipient("the answer is encrypted to somebody else".to_owned()))
    }

    /// The content key under the password of the request (RFC 8894 §3.1), for a requester whose key cannot encrypt.
    pub fn content_key_under(&self, password: Option<&Secret>) -> Result<Secret, AnswerError> {
        let closed = |why: &str| AnswerError::Recipient(format!("the content of the answer: {why}"));
        let password =
            password.ok_or_else(|| closed("no challenge is at hand that it could be sealed under"))?;
        let opened = self.0.passwords.iter().find_map(|recipient| recipient.unwrap(password).ok());
        opened.ok_or_else(|| closed("it is not sealed under the challenge, and our key cannot decrypt"))
    }

    /// Opens it.
    pub fn open(&self, content_key: &Secret) -> Result<Degenerate, AnswerError> {
        let content = self.0.open(content_key).map_err(AnswerError::unreadable(Self::WHAT))?;
        Degenerate::from_ber(content.expose()).map_err(AnswerError::unreadable(Self::WHAT))
    }
}

/// The certificate for `key` among those granted (RFC 8894 §3.3.2.1), with those above it.
pub fn issued_to(
    key: &PublicKey,
    granted: Degenerate,
) -> Result<(Certificate, Vec<Certificate>), AnswerError> {
    let (mine, others): (Vec<_>, Vec<_>) =
        granted.certificates.into_iter().partition(|certificate| certificate.public_key() == key);
    mine.into_iter().next().map(|mine| (mine, others)).ok_or(AnswerError::Key)
}
