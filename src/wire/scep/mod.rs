//! SCEP messages (RFC 8894 §3).
//!
//! | file | what |
//! |---|---|
//! | `message` | reading a pkiMessage, and the proof that its signature was checked |
//! | `payload` | what the envelope or a degenerate SignedData carries |
//! | `rollover` | the answer to GetNextCACert |
//! | `write` | a CertRep, and the requests of a client |
//! | [`client`] | what a client sends next, and what an answer means to it |
//!
//! The envelope itself is CMS's: [`super::cms`].

pub mod client;
mod message;
mod payload;
mod rollover;
mod write;

#[cfg(test)]
mod tests;

pub use super::cms::{
    CannotOpen, Envelope, EnvelopeError, EnvelopeRandom, MAX_RECIPIENTS, PasswordRandom, PasswordRecipient,
    Recipient, RecipientId, SealError, seal, seal_with_password,
};
pub use message::{MAX_NONCE, MessageCheckError, NotPkiMessage, PkiMessage, ReplyAttributes, VerifiedPki};
pub use payload::{Degenerate, IssuerAndSerialNumber, IssuerAndSubject};
pub use rollover::NextCaSpec;
pub use write::{CertRepSpec, LegacyCertRep, Outcome, RequestSpec};

use const_oid::ObjectIdentifier;

// RFC 8894 §3.2.1.
pub(crate) const MESSAGE_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.2");
pub(crate) const PKI_STATUS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.3");
pub(crate) const FAIL_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.4");
pub(crate) const SENDER_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.5");
pub(crate) const RECIPIENT_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.6");
pub(crate) const TRANSACTION_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.7");
const FAIL_INFO_TEXT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.24.1");

/// messageType (RFC 8894 §3.2.1.2): the closed set; anything else is refused before any other logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// The answer to any request.
    CertRep = 3,
    /// A PKCS#10 under a signature of the existing certificate.
    RenewalReq = 17,
    /// A PKCS#10.
    PkcsReq = 19,
    /// Asks again for a certificate that was pending.
    CertPoll = 20,
    /// Asks for a certificate by its serial number.
    GetCert = 21,
    /// Asks for the CRL that would list a certificate.
    GetCrl = 22,
}

impl MessageType {
    const ALL: [Self; 6] =
        [Self::CertRep, Self::RenewalReq, Self::PkcsReq, Self::CertPoll, Self::GetCert, Self::GetCrl];

    /// The number of RFC 8894 §3.2.1.2.
    pub const fn code(self) -> u8 {
        self as u8
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code().to_string() == text)
    }
}

/// pkiStatus (RFC 8894 §3.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PkiStatus {
    /// Granted.
    Success = 0,
    /// Refused; failInfo says why.
    Failure = 2,
    /// Waits for a person; to be asked for again.
    Pending = 3,
}

impl PkiStatus {
    const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Pending];

    /// The number of RFC 8894 §3.2.1.3.
    pub const fn code(self) -> u8 {
        self as u8
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code().to_string() == text)
    }
}

/// failInfo (RFC 8894 §3.2.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FailInfo {
    /// Unrecognised or unsupported algorithm.
    BadAlg = 0,
    /// Integrity check (signature or messageDigest) failed.
    BadMessageCheck = 1,
    /// Transaction not permitted or supported.
    BadRequest = 2,
    /// signingTime not close enough to the server's time.
    BadTime = 3,
    /// No certificate matches.
    BadCertId = 4,
}

impl FailInfo {
    const ALL: [Self; 5] =
        [Self::BadAlg, Self::BadMessageCheck, Self::BadRequest, Self::BadTime, Self::BadCertId];

    /// The number of RFC 8894 §3.2.1.4.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The name of RFC 8894 §3.2.1.4.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadAlg => "badAlg",
            Self::BadMessageCheck => "badMessageCheck",
            Self::BadRequest => "badRequest",
            Self::BadTime => "badTime",
            Self::BadCertId => "badCertId",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|info| info.code().to_string() == text)
    }
}
