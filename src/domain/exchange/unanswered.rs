//! Why a request gets no CertRep.

use std::time::Duration;

use crate::domain::throttle::Limit;

/// Why a request gets no CertRep, but a plain HTTP status. The text is for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The `operation` of the query is none of SCEP's, or is missing.
    #[error("{}", match .0 { Some(name) => format!("the operation {name:?} is not known"), None => "the URL names no operation".to_owned() })]
    Operation(Option<String>),
    /// GetNextCACert of a CA without a successor.
    #[error("this CA has no successor")]
    NoSuccessor,
    /// The URL names no profile that there is.
    #[error("there is no profile {0:?}")]
    Profile(String),
    /// An HTTP method that the operation does not have.
    #[error("the HTTP method {0} is not served here")]
    Method(String),
    /// A GET without `message`.
    #[error("the URL carries no message")]
    NoMessage,
    /// A GET whose `message` is no base64.
    #[error("the message in the URL is not base64 ({characters} characters)")]
    NotBase64 {
        /// Its length.
        characters: usize,
    },
    /// More than [`limit`](Unanswered::TooLong::limit) bytes.
    #[error("the message is longer than {limit} bytes")]
    TooLong {
        /// `scep.max-message-bytes`.
        limit: usize,
    },
    /// A compressed body.
    #[error("the body of the request is compressed")]
    Encoded,
    /// The body ended early, or took too long.
    #[error("the body of the request did not arrive")]
    NotArrived,
    /// Not CMS, or without a readable transactionID: there is nobody to answer.
    #[error("{0}")]
    NotPkiMessage(String),
    /// More than the limits of clients and profiles allow, or a client that is locked out.
    #[error("{}: told to come back after {} s", too_soon(*.limit), .retry_after.as_secs())]
    TooSoon {
        /// Which limit it met.
        limit: Limit,
        /// When it makes sense to come back.
        retry_after: Duration,
    },
    /// The line of waiting requests is full.
    #[error("too many requests waited for a thread")]
    Overloaded,
    /// Too many requests wait for an operator.
    #[error("too many requests wait for approval")]
    ApprovalsFull,
    /// Another party that has to be asked or told does not answer.
    #[error("{reason}")]
    Away {
        /// What happened.
        reason: String,
        /// When it is worth another try.
        retry_after: std::time::Duration,
    },
    /// A fault of ours, which passes.
    #[error("{0}")]
    Fault(String),
    /// A defect of ours.
    #[error("internal error")]
    Panicked,
}

impl Unanswered {
    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Operation(_) | Self::NoMessage | Self::NotBase64 { .. } | Self::NotPkiMessage(_) => 400,
            Self::Profile(_) => 404,
            Self::Method(_) => 405,
            Self::NotArrived => 408,
            Self::TooLong { .. } => 413,
            Self::Encoded => 415,
            Self::TooSoon { .. } => 429,
            Self::Panicked => 500,
            Self::NoSuccessor => 501,
            Self::Overloaded | Self::ApprovalsFull | Self::Away { .. } | Self::Fault(_) => 503,
        }
    }
}

const fn too_soon(limit: Limit) -> &'static str {
    match limit {
        Limit::Client => "the address asked more often than limits.address-requests-per-minute allows",
        Limit::Profile => "the profile was asked more often than its requests-per-minute allows",
        Limit::LockOut => {
            "the address sent too many different wrong challenges and is locked out of the profile"
        }
    }
}
