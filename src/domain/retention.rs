//! How long what is over is kept.
//!
//! Nothing that somebody may still ask for goes: a request that waits, an enrolment whose certificate is valid, a ticket of which something
//! valid came. The audit record is not pruned at all.

use std::time::Duration;

use super::{
    challenge::Ticket,
    device::{Device, Lifecycle},
    enrol::{Enrolment, EnrolmentState},
    queue::Job,
};
use crate::types::Timestamp;

/// How long what is over is kept; zero: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// An enrolment, from the end of its certificate on.
    pub enrolments: Duration,
    /// An enrolment that was refused or rejected, from then on.
    pub refused: Duration,
    /// A ticket, from its end on, and from the end of what came of it.
    pub tickets: Duration,
    /// A job that was given up, from then on.
    pub jobs: Duration,
}

/// When an enrolment's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolmentEnd {
    /// Not yet, as far as the enrolment itself says.
    Open,
    /// When its certificate ended so long ago.
    WithCertificate,
    /// Now.
    Over,
}

impl Retention {
    /// Whether the time of an enrolment is over. One that was decided against is answered the same again for `repeats`, and stays so
    /// long.
    pub fn of_enrolment(&self, enrolment: &Enrolment, repeats: Duration, now: Timestamp) -> EnrolmentEnd {
        match enrolment.state {
            EnrolmentState::Pending => EnrolmentEnd::Open,
            EnrolmentState::Issued { .. } => EnrolmentEnd::WithCertificate,
            EnrolmentState::Refused { .. } | EnrolmentState::Rejected { .. } => {
                let decided = enrolment.decided_at.unwrap_or(enrolment.received_at);
                let repeated = now >= decided.max(enrolment.received_at).plus(repeats);
                if repeated && is_past(decided, self.refused, now) {
                    EnrolmentEnd::Over
                } else {
                    EnrolmentEnd::Open
                }
            }
        }
    }

    /// Whether an enrolment goes whose certificate ended then.
    pub fn ended_with(&self, not_after: Timestamp, now: Timestamp) -> bool {
        is_past(not_after, self.enrolments, now)
    }

    /// Whether the time of a ticket itself is over. While its device waits for its first certificate it still tells whether the
    /// registration was in vain ([`super::challenge::has_run_out`]).
    pub fn of_ticket(&self, ticket: &Ticket, device: Option<&Device>, now: Timestamp) -> bool {
        let waits = |device: &Device| matches!(device.lifecycle, Lifecycle::Pending | Lifecycle::Verified);
        is_past(ticket.expires_at, self.tickets, now) && !device.is_some_and(waits)
    }

    /// Whether a ticket stays because of a certificate that came of it and ends then.
    pub fn ticket_stays_for(&self, not_after: Timestamp, now: Timestamp) -> bool {
        !is_past(not_after, self.tickets, now)
    }

    /// Whether a job was given up so long ago.
    pub fn of_job(&self, job: &Job, now: Timestamp) -> bool {
        job.dead && is_past(job.run_at, self.jobs, now)
    }
}

fn is_past(end: Timestamp, keep: Duration, now: Timestamp) -> bool {
    !keep.is_zero() && now >= end.plus(keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::queue::JobKind;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    #[test]
    fn zero_keeps_for_ever_and_a_living_job_stays() {
        let retention = Retention { enrolments: DAY, refused: DAY, tickets: DAY, jobs: DAY };
        let job = Job {
            sequence: 1,
            kind: JobKind::BuildCrl { issuer: "issuing".parse().unwrap() },
            run_at: NOW,
            attempts: 20,
            fence: 20,
            leased_until: None,
            last_error: None,
            dead: true,
        };
        assert!(!retention.of_job(&job, NOW) && retention.of_job(&job, NOW.plus(DAY)));
        assert!(!Retention { jobs: Duration::ZERO, ..retention }.of_job(&job, NOW.plus(1000 * DAY)));
        assert!(!retention.of_job(&Job { dead: false, ..job }, NOW.plus(1000 * DAY)));
    }
}
