//! Jobs: what must still happen after a commit. Written with the state change that causes them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::vouch::Voucher;
use crate::types::{CertificateId, DirectoryName, IssuerId, Timestamp};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Build and publish the issuer's CRL.
    BuildCrl {
        /// Whose.
        issuer: IssuerId,
    },
    /// Tell who vouched for the request of the certificate. While it is there, they were not told.
    TellIssued {
        /// Who.
        by: Voucher,
        /// Of what.
        certificate: CertificateId,
    },
    /// Look whether they want certificates revoked; comes up again and again.
    PollRevocations {
        /// Who.
        by: Voucher,
    },
    /// [`JobKind::TellIssued`] of a certificate that was handed out before they could be told: its device has it.
    TellHandedOut {
        /// Who.
        by: Voucher,
        /// Of what.
        certificate: CertificateId,
    },
    /// Bring the newest CRLs of the issuer, whichever those are by then, into a directory.
    PublishToDirectory {
        /// Which directory.
        directory: DirectoryName,
        /// Whose.
        issuer: IssuerId,
    },
}

/// Which worker does a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobWorker {
    /// The one that keeps CRLs and certificates up to date, and waits for nobody.
    Maintenance,
    /// The one that asks other parties, and may have to wait for them.
    Outside,
    /// The one of this directory, so that none waits for another.
    Directory(DirectoryName),
}

impl JobKind {
    /// Jobs of one lane run one after another, in the order in which they were written; lanes run side by
    /// side.
    pub fn lane(&self) -> String {
        match self {
            Self::BuildCrl { issuer } => format!("crl/{issuer}"),
            Self::TellIssued { by, certificate } | Self::TellHandedOut { by, certificate } => {
                format!("{by}/issued/{certificate}")
            }
            Self::PollRevocations { by } => format!("{by}/revocations"),
            Self::PublishToDirectory { directory, issuer } => format!("directory/{directory}/{issuer}"),
        }
    }

    /// Who does it.
    pub fn worker(&self) -> JobWorker {
        match self {
            Self::BuildCrl { .. } => JobWorker::Maintenance,
            Self::TellIssued { .. } | Self::TellHandedOut { .. } | Self::PollRevocations { .. } => {
                JobWorker::Outside
            }
            Self::PublishToDirectory { directory, .. } => JobWorker::Directory(directory.clone()),
        }
    }

    /// Whether it is tried for ever: what others want must not be missed because they were away for two hours.
    pub const fn never_gives_up(&self) -> bool {
        match self {
            Self::BuildCrl { .. } => false,
            Self::TellIssued { .. }
            | Self::TellHandedOut { .. }
            | Self::PollRevocations { .. }
            | Self::PublishToDirectory { .. } => true,
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

/// A job is put aside for people after this many failures: with [`retry_after`] about two hours of trying.
pub const MAX_ATTEMPTS: u32 = 20;

/// How long to wait after the `attempts`-th failure (1, 2, 3 ...): 1 s, doubling, at most 10 minutes.
pub fn retry_after(attempts: u32) -> Duration {
    const LONGEST: u64 = 600;
    Duration::from_secs(1_u64.checked_shl(attempts.saturating_sub(1)).map_or(LONGEST, |s| s.min(LONGEST)))
}

/// What becomes of a job that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Try again then.
    RetryAt(Timestamp),
    /// Give up; somebody must look at it.
    Dead,
}

/// Decides after the `attempts`-th failure (1, 2, 3 ...).
pub fn after_failure(attempts: u32, now: Timestamp) -> AfterFailure {
    if attempts >= MAX_ATTEMPTS {
        AfterFailure::Dead
    } else {
        AfterFailure::RetryAt(now.plus(retry_after(attempts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_ten_minutes() {
        let waits: Vec<u64> =
            [0, 1, 2, 3, 10, 11, 64, 65, u32::MAX].map(|n| retry_after(n).as_secs()).to_vec();
        assert_eq!(waits, [1, 1, 2, 4, 512, 600, 600, 600, 600]);
    }

    #[test]
    fn gives_up_after_the_last_attempt() {
        let now = Timestamp::from_unix(1_800_000_000);
        assert_eq!(after_failure(1, now), AfterFailure::RetryAt(Timestamp::from_unix(1_800_000_001)));
        assert_eq!(after_failure(MAX_ATTEMPTS, now), AfterFailure::Dead);
    }
}
