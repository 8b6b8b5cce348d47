//! Why a use case did not do it, by who must act.

use crate::{
    domain::{access::Forbidden, device::TransitionRefused, rollover::RolloverRefused},
    ports::{KeyError, NoAnswer, StoreError},
    wire::{EncodeError, x509::DecodeError},
};

/// Why a use case did not do it. HTTP and CLI each map it exhaustively.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// No such object.
    #[error("no {what} \"{id}\"")]
    NotFound {
        /// Kind of object.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The request makes no sense; the caller must change it.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which part of it.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// It exists already, or has changed meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
    /// The caller's role is too small.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The gateway was never initialised.
    #[error("this store holds no issuer yet: run `certgate init` first")]
    NotInitialised,
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another party that is needed did not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// Our own data does not decode or encode: a defect or damage.
    #[error("internal inconsistency: {0}")]
    Internal(String),
}

impl ServiceError {
    /// `what` with this id does not exist.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids, references and text alike")]
    pub fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// The named part of the request is wrong.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass errors, references and text alike")]
    pub fn invalid(field: impl Into<String>, problem: impl ToString) -> Self {
        Self::Invalid { field: field.into(), problem: problem.to_string() }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Conflict(error.to_string()),
            other => Self::Store(other),
        }
    }
}

impl From<TransitionRefused> for ServiceError {
    fn from(refused: TransitionRefused) -> Self {
        Self::Refused(refused.to_string())
    }
}

impl From<RolloverRefused> for ServiceError {
    fn from(refused: RolloverRefused) -> Self {
        Self::Refused(refused.to_string())
    }
}

impl From<DecodeError> for ServiceError {
    fn from(error: DecodeError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<EncodeError> for ServiceError {
    fn from(error: EncodeError) -> Self {
        Self::Internal(error.to_string())
    }
}
