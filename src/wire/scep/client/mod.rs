//! The client's side of SCEP (RFC 8894) without I/O, keys, clock or randomness: whoever has those (the command line, an upstream
//! connector) sends what this says and hands back what came.
//!
//! | file | what |
//! |---|---|
//! | `capabilities` | GetCACaps: what a server can, and what that means for a request |
//! | `ca` | GetCACert and GetNextCACert: certificates in their roles |
//! | `travel` | operations as URLs, verbs, spellings of base64 |
//! | `answer` | whether a CertRep is the answer to our request, and what it means |
//! | `enrolment` | what to ask first, what to send next, when to poll and when to give up |

mod answer;
mod ca;
mod capabilities;
mod enrolment;
mod travel;

pub use answer::{Grant, Meaning, Reply, Sent, issued_to};
pub use ca::{CaCertificates, next_ca};
pub use capabilities::Capabilities;
pub use enrolment::{Authority, Discovery, Enrolment, Pace, Step};
pub use travel::{Operation, Spelling, url};

/// Why an answer is not believed. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not a message of the protocol.
    #[error("{0}")]
    Unreadable(String),
    /// The signature does not verify.
    #[error("{0}")]
    Signature(String),
    /// Signed by somebody who has no right to.
    #[error("{0}")]
    Signer(String),
    /// The answer to another transaction.
    #[error("the answer belongs to another transaction")]
    Transaction,
    /// An old answer, or somebody else's.
    #[error("the answer's recipientNonce is not our senderNonce: a replayed answer")]
    Nonce,
    /// Nobody to encrypt to, or encrypted to somebody else.
    #[error("{0}")]
    Recipient(String),
    /// The certificate is not for our key.
    #[error("the answer holds no certificate for our key")]
    Key,
}

impl AnswerError {
    /// For `map_err`: unreadable, what it was, and the cause.
    fn unreadable<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> Self {
        move |cause| Self::Unreadable(format!("{what}: {cause}"))
    }
}
