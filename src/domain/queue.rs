//! Jobs: what must still happen after a commit. Written with the state change that causes them.

use serde::{Deserialize, Serialize};

use crate::types::{IssuerId, Timestamp};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Build and publish the issuer's CRL.
    BuildCrl {
        /// Whose.
        issuer: IssuerId,
    },
}

impl JobKind {
    /// Jobs of one lane run one after another, in the order in which they were written; lanes run side by side.
    pub fn lane(&self) -> String {
        match self {
            Self::BuildCrl { issuer } => format!("crl/{issuer}"),
        }
    }
}

/// A job with its place in its lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Given by the store, growing.
    pub sequence: u64,
    /// What is to be done.
    pub kind: JobKind,
    /// Not before.
    pub run_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Grows with each lease: a worker that lost its lease cannot complete the job.
    pub fence: u64,
    /// Until when a worker has it.
    pub leased_until: Option<Timestamp>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// Given up; visible, and out of the way of its lane.
    pub dead: bool,
}
