//! Why a pkiMessage is answered with FAILURE.

use crate::{
    domain::enrol::{Refusal, RefusalReason},
    wire::{scep::FailInfo, x509::KeyKind},
};

/// What a client is told when its envelope or what is in it cannot be read: the same for every cause (no padding oracle).
pub const UNREADABLE: &str = "the request could not be read";
/// failInfoText of an enrolment that was decided against.
pub const REFUSED: &str = "The request is refused.";

/// Why a message is answered with FAILURE. The text is for operators; what the client is told is [`Refused::answer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// RFC 8894 §3.2.1.2: outside the closed set.
    #[error("messageType {0:?}")]
    MessageType(String),
    /// The signature or messageDigest is wrong, or the signer's certificate is missing.
    #[error("{0}")]
    Signature(&'static str),
    /// An algorithm outside the closed sets.
    #[error("{0}")]
    NotSpoken(String),
    /// An old algorithm that the profile does not allow.
    #[error("the profile does not allow {algorithm}")]
    Legacy {
        /// Which, as metrics name it.
        algorithm: &'static str,
        /// The switch that would allow it, in the profile's `legacy`.
        switch: &'static str,
    },
    /// A key that no answer can be encrypted to.
    #[error("the signer's key is {0}")]
    ReplyKey(KeyKind),
    /// A key that no answer can be encrypted to, and no password in its place.
    #[error(
        "the signer's key is {0}, and there is no challengePassword of 16 characters to seal the answer with"
    )]
    ReplyPassword(KeyKind),
    /// The envelope, or what is in it.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A rule of the enrolment decision.
    #[error("{}", .0.reason)]
    Rule(Box<Refusal>),
    /// A RenewalReq that no certificate of ours signed.
    #[error("the certificate that signed the renewal is not one of ours")]
    Stranger,
    /// GetCRL of one that is longer than a SCEP message may be.
    #[error("the CRL has {length} bytes, a SCEP message at most {limit}")]
    LongCrl {
        /// Its length.
        length: usize,
        /// The most.
        limit: usize,
    },
    /// GetCert, GetCRL or CertPoll for something that is not there.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Decided against before.
    #[error("{reason}")]
    Decided {
        /// What the client was told.
        info: FailInfo,
        /// Why, as it was recorded.
        reason: String,
        /// An operator did.
        by_operator: bool,
    },
}

/// What cannot be read. The client gets one answer for all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The message has no content.
    #[error("no envelope")]
    NoEnvelope,
    /// The content is no EnvelopedData.
    #[error("{0}")]
    Envelope(String),
    /// Nobody is addressed, or no message key is there.
    #[error("no recipient")]
    NoRecipient,
    /// The content does not open.
    #[error("the envelope does not open")]
    DoesNotOpen {
        /// Whether it names a key of ours.
        addressed: bool,
    },
    /// What is in it is no request.
    #[error("{0}")]
    Request(String),
    /// The request's own signature.
    #[error("the request's own signature does not verify")]
    SelfSignature,
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// CertPoll.
    #[error("no such transaction of this key")]
    Transaction,
    /// GetCert, GetCRL.
    #[error("another issuer")]
    Issuer,
    /// GetCert, GetCRL.
    #[error("no such serial number")]
    Serial,
    /// GetCert of a certificate of the gateway itself.
    #[error("a certificate of our own")]
    Own,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Rule(Box::new(refusal))
    }
}

impl Refused {
    /// failInfo and failInfoText. The text goes out in the clear: it says nothing that an attacker could use.
    pub fn answer(&self) -> (FailInfo, &'static str) {
        match self {
            Self::MessageType(_) => (FailInfo::BadRequest, "unknown messageType"),
            Self::Signature(_) => (FailInfo::BadMessageCheck, "the signature does not verify"),
            Self::NotSpoken(_) => (FailInfo::BadAlg, "the algorithm is not spoken"),
            Self::Legacy { .. } => (FailInfo::BadAlg, "the algorithm is not allowed"),
            Self::ReplyKey(_) => (
                FailInfo::BadAlg,
                "the signer's key must be RSA with at least 2048 bits, or on P-256 or P-384",
            ),
            Self::ReplyPassword(_) => (
                FailInfo::BadAlg,
                "a key that cannot encrypt needs a challengePassword of at least 16 characters",
            ),
            Self::Unreadable(_) => (FailInfo::BadRequest, UNREADABLE),
            Self::Rule(refusal) => (refusal.info, refusal.text),
            Self::Stranger => (FailInfo::BadRequest, crate::domain::challenge::RENEWAL_REFUSED),
            Self::LongCrl { .. } => {
                (FailInfo::BadRequest, "the CRL is too long for SCEP: fetch it where the certificate says")
            }
            Self::NotFound(_) => (FailInfo::BadCertId, "no such certificate or transaction"),
            Self::Decided { info, .. } => (*info, REFUSED),
        }
    }

    /// The rule that refused, if it was one of the decision.
    pub fn rule(&self) -> Option<&RefusalReason> {
        match self {
            Self::Rule(refusal) => Some(&refusal.reason),
            _ => None,
        }
    }
}
