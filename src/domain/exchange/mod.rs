//! Exchanges: what is kept of each SCEP request and its answer, so that "did it arrive, and why was it refused?" has an answer.
//!
//! An exchange is one request and its answer, whatever became of it. One that led to an [`Enrolment`](super::enrol::Enrolment) has
//! its id. Enrolments are evidence and stay with their certificates; exchanges are there for whoever looks for a fault, and go after
//! some days.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | the record |
//! | [`Refused`], [`Unanswered`] | why there was no certificate, as types |
//! | `hint` | what to do about it, in plain words |
//! | [`Transcript`] | what went over the wire |

mod hint;
mod refused;
mod transcript;
mod unanswered;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use hint::HintFacts;
pub use refused::{NotFound, REFUSED, Refused, UNREADABLE, Unreadable};
pub use transcript::{Line, Transcript};
pub use unanswered::Unanswered;

use super::enrol::TraceStep;
use crate::{
    types::{CertificateId, DeviceId, EnrolmentId, ProfileName, Timestamp, TransactionId},
    wire::scep::{FailInfo, MessageType},
};

/// Characters that are kept of what a client says about itself.
pub const MAX_CLIENT_TEXT: usize = 200;
/// Characters that are kept of a step's detail and of a reason.
pub const MAX_DETAIL: usize = 400;
/// Steps that are kept of an exchange.
pub const MAX_STEPS: usize = 40;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// PKCSReq.
    PkcsReq,
    /// RenewalReq.
    RenewalReq,
    /// CertPoll.
    CertPoll,
    /// GetCert.
    GetCert,
    /// GetCRL.
    GetCrl,
    /// A pkiMessage of another messageType.
    Unknown,
    /// PKIOperation with something that could not be read as a pkiMessage.
    PkiOperation,
    /// GetCACaps.
    GetCaCaps,
    /// GetCACert.
    GetCaCert,
    /// GetNextCACert.
    GetNextCaCert,
    /// None that SCEP knows.
    NoOperation,
}

impl Operation {
    /// The operation of a pkiMessage.
    pub const fn of(kind: Option<MessageType>) -> Self {
        match kind {
            Some(MessageType::PkcsReq) => Self::PkcsReq,
            Some(MessageType::RenewalReq) => Self::RenewalReq,
            Some(MessageType::CertPoll) => Self::CertPoll,
            Some(MessageType::GetCert) => Self::GetCert,
            Some(MessageType::GetCrl) => Self::GetCrl,
            Some(MessageType::CertRep) | None => Self::Unknown,
        }
    }

    /// Its name in metrics, logs and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PkcsReq => "pkcs-req",
            Self::RenewalReq => "renewal-req",
            Self::CertPoll => "cert-poll",
            Self::GetCert => "get-cert",
            Self::GetCrl => "get-crl",
            Self::Unknown => "unknown",
            Self::PkiOperation => "pki-operation",
            Self::GetCaCaps => "get-ca-caps",
            Self::GetCaCert => "get-ca-cert",
            Self::GetNextCaCert => "get-next-ca-cert",
            Self::NoOperation => "no-operation",
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Ending {
    /// SUCCESS, or an answer to GetCACaps and GetCACert.
    Success,
    /// PENDING.
    Pending,
    /// FAILURE.
    Refused(FailInfo),
    /// No CertRep, but this HTTP status.
    Http(u16),
}

impl Ending {
    const ALL: [Self; 17] = [
        Self::Success,
        Self::Pending,
        Self::Refused(FailInfo::BadAlg),
        Self::Refused(FailInfo::BadMessageCheck),
        Self::Refused(FailInfo::BadRequest),
        Self::Refused(FailInfo::BadTime),
        Self::Refused(FailInfo::BadCertId),
        Self::Http(400),
        Self::Http(404),
        Self::Http(405),
        Self::Http(408),
        Self::Http(413),
        Self::Http(415),
        Self::Http(429),
        Self::Http(500),
        Self::Http(501),
        Self::Http(503),
    ];

    /// Whether the client has what it asked for, or may still get it.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::Pending)
    }

    /// Its name in metrics, logs and listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Pending => "pending",
            Self::Refused(FailInfo::BadAlg) => "bad-alg",
            Self::Refused(FailInfo::BadMessageCheck) => "bad-message-check",
            Self::Refused(FailInfo::BadRequest) => "bad-request",
            Self::Refused(FailInfo::BadTime) => "bad-time",
            Self::Refused(FailInfo::BadCertId) => "bad-cert-id",
            Self::Http(400) => "http-400",
            Self::Http(404) => "http-404",
            Self::Http(405) => "http-405",
            Self::Http(408) => "http-408",
            Self::Http(413) => "http-413",
            Self::Http(415) => "http-415",
            Self::Http(429) => "http-429",
            Self::Http(501) => "http-501",
            Self::Http(503) => "http-503",
            Self::Http(_) => "http-500",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that names no ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected success, pending, bad-alg, bad-message-check, bad-request, bad-time, bad-cert-id or http-STATUS"
)]
pub struct EndingError;

impl FromStr for Ending {
    type Err = EndingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == text).ok_or(EndingError)
    }
}

impl TryFrom<String> for Ending {
    type Error = EndingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Ending> for String {
    fn from(ending: Ending) -> Self {
        ending.as_str().to_owned()
    }
}

/// One request and its answer. Everything in it is bounded, and nothing is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The request's id, which sorts by arrival. The enrolment that it led to has the same.
    pub id: EnrolmentId,
    /// When the request came.
    pub at: Timestamp,
    /// Address of the peer.
    pub address: String,
    /// User-Agent, as far as it is kept.
    pub user_agent: String,
    /// What the client looks like, where something tells, and why: `cisco-ios: User-Agent Cisco PKI`. A guess for people.
    pub looks_like: String,
    /// The profile of the URL; none where it names none.
    pub profile: Option<ProfileName>,
    /// What was asked.
    pub operation: Operation,
    /// transactionID.
    pub transaction: Option<TransactionId>,
    /// How it ended.
    pub ending: Ending,
    /// The subject that the request asks for.
    pub subject: String,
    /// The device that it is for, where one is known.
    pub device: Option<DeviceId>,
    /// The certificate that it led to.
    pub certificate: Option<CertificateId>,
    /// The enrolment that a poll was about.
    pub polls: Option<EnrolmentId>,
    /// Every check with its outcome, in their order.
    pub steps: Vec<TraceStep>,
    /// Why it was refused; empty where it was not.
    pub reason: String,
    /// What to do about it, in plain words; empty where nothing is to be done.
    pub hint: String,
    /// So many more of this address ended the same way at about the same time and were not kept one by one.
    pub more: u32,
}

impl Exchange {
    /// A request of which nothing more is known yet.
    pub const fn begun(id: EnrolmentId, at: Timestamp, operation: Operation) -> Self {
        Self {
            id,
            at,
            address: String::new(),
            user_agent: String::new(),
            looks_like: String::new(),
            profile: None,
            operation,
            transaction: None,
            ending: Ending::Success,
            subject: String::new(),
            device: None,
            certificate: None,
            polls: None,
            steps: Vec::new(),
            reason: String::new(),
            hint: String::new(),
            more: 0,
        }
    }

    /// Whether it concerns something that certgate knows; else it may be anybody's junk. CRLs and certificates are given to whoever
    /// names a serial number, which anybody may have seen.
    pub fn is_known(&self) -> bool {
        match self.operation {
            Operation::GetCert | Operation::GetCrl => false,
            _ => {
                self.ending.is_good()
                    || self.device.is_some()
                    || self.certificate.is_some()
                    || self.polls.is_some()
            }
        }
    }
}

/// `text` for a record: without control characters, at most `most` characters.
pub fn clipped(text: impl Into<String>, most: usize) -> String {
    let text = text.into();
    // Nearly all are: they stay as they are.
    if text.len() <= most && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut kept: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_reads_its_own_text() {
        for ending in Ending::ALL {
            assert_eq!(ending.to_string().parse(), Ok(ending));
        }
        assert_eq!("http-200".parse::<Ending>(), Err(EndingError));
    }

    #[test]
    fn who_is_given_what_is_public_is_a_stranger() {
        let of = |operation| {
            Exchange::begun(
                EnrolmentId::first_of(Timestamp::from_unix(1)),
                Timestamp::from_unix(1),
                operation,
            )
        };
        assert!(!of(Operation::GetCrl).is_known() && !of(Operation::GetCert).is_known());
        assert!(of(Operation::PkcsReq).is_known());
    }

    #[test]
    fn what_a_client_says_is_bounded_and_plain() {
        assert_eq!(clipped("a\u{1b}[2J\nb", 99), "a [2J b");
        assert_eq!(clipped("äöü", 3), "äöü");
        assert_eq!(clipped("äöüß", 3), "äöü…");
    }
}
