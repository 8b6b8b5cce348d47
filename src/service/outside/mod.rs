//! What waits for other parties: telling them of certificates, asking which ones they want revoked.
//!
//! All of it are jobs, so that operators see it (`certgate queue jobs`), a crash loses none, and what fails is tried again. A thread of its
//! own does them: the one that keeps CRLs and certgate's certificates up to date waits for nobody.

pub mod probe;
mod revocations;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    Gateway, ServiceError,
    audit::Act,
    certificate::change_certificate,
    health::{Check, CheckResult},
    maintain::WorkSignal,
};
use crate::{
    domain::{
        access::Actor,
        queue::{Job, JobKind, JobWorker, retry_after},
        status::{Cause, CauseChange, CauseKey, CauseKind, Effect},
        vouch::Voucher,
    },
    ports::NoAnswer,
    types::{CertificateId, RevocationReason, Timestamp},
};

/// Jobs per round, so that an end that was asked for comes soon.
const JOBS_PER_ROUND: usize = 16;
/// The longest sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Whoever asks for a certificate tells it to those who vouched; the worker does so where that did not happen by then.
pub(super) const TELL_AFTER: Duration = Duration::from_secs(60);

/// The worker's signal, and how the last exchange with each party ended.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) work: WorkSignal,
    /// By the name of its check.
    heard: Mutex<BTreeMap<String, Heard>>,
    /// Held by whoever probes.
    probing: Mutex<()>,
}

/// How the last exchange ended.
#[derive(Clone, Debug)]
struct Heard {
    at: Timestamp,
    /// Why there was no answer.
    problem: Option<String>,
}

impl Outside {
    /// Notes how an exchange ended, for the check `name`.
    pub(super) fn heard(&self, name: String, at: Timestamp, problem: Option<&NoAnswer>) {
        let problem = problem.map(|no_answer| no_answer.reason.clone());
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Heard { at, problem });
    }

    /// The check `name`: how the last exchange ended since this process started. Nobody is asked now, for a health check must not wait.
    /// Who is away makes nothing unready, because everything else works meanwhile.
    pub(super) fn check(&self, name: String, hint: &str) -> Check {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        match heard {
            None => Check::pass(name, "was not asked yet"),
            Some(Heard { at, problem: None }) => Check::pass(name, format!("answered at {at}")),
            Some(Heard { at, problem: Some(problem) }) => {
                Check::not_passed(name, CheckResult::Warn, format!("did not answer at {at}: {problem}"), hint)
            }
        }
    }
}

impl Gateway {
    /// Does what waits for other parties and is due; gives how long until something is due next (at most 60 s). For a thread that may
    /// wait for them.
    ///
    /// Nothing while the database is behind: of a certificate that it does not know they would be told that it cannot be revoked, and never ask
    /// again.
    pub fn run_outside(&self) -> Result<Duration, ServiceError> {
        if self.behind().is_some() {
            return Ok(LONGEST_WAIT);
        }
        self.schedule_polls()?;
        for _ in 0..JOBS_PER_ROUND {
            if !self.run_one_job(&JobWorker::Outside)? {
                let next = self.next_job_at(&JobWorker::Outside)?;
                let wait = next.map_or(LONGEST_WAIT, |at| at.since(self.now()));
                return Ok(wait.clamp(Duration::from_secs(1), LONGEST_WAIT));
            }
        }
        Ok(Duration::ZERO)
    }

    /// Blocks until woken or for `at_most`.
    pub fn wait_outside(&self, at_most: Duration) {
        self.outside.work.wait(at_most);
    }

    /// Whether there is anybody to wait for.
    pub fn asks_others(&self) -> bool {
        !self.ports.vouchers.vouching.is_empty() || !self.ports.vouchers.revocations.is_empty()
    }

    fn schedule_polls(&self) -> Result<(), ServiceError> {
        for by in self.ports.vouchers.revocations.keys() {
            let kind = JobKind::PollRevocations { by: *by };
            let lane = kind.lane();
            if self.ports.store.read(|view| view.job_in_lane(&lane))?.is_none() {
                self.ports.store.write(|tx| tx.enqueue(&kind, self.now()))?;
            }
        }
        Ok(())
    }

    /// Tells of a certificate that its device has, for as long as it takes.
    pub(super) fn tell_while_configured(
        &self,
        by: Voucher,
        certificate: &CertificateId,
    ) -> Result<(), ServiceError> {
        if !self.ports.vouchers.vouching.contains_key(&by) {
            tracing::warn!(%by, %certificate, "not told of the certificate: it is not configured any more");
            return Ok(());
        }
        self.tell_issued(by, certificate)
    }

    /// Tells, or gives up: a certificate that cannot be handed out, because its voucher is not told, is revoked in the end. Where it is
    /// handed out all the same, it may have been.
    pub(super) fn tell_or_give_up(
        &self,
        job: &Job,
        by: Voucher,
        certificate: &CertificateId,
    ) -> Result<(), ServiceError> {
        let Err(error) = self.tell_while_configured(by, certificate) else { return Ok(()) };
        let Some(vouching) = self.ports.vouchers.vouching.get(&by) else { return Ok(()) };
        if !vouching.delivery_waits() {
            return self.note_handed_out(job, by, certificate).map(drop);
        }
        let issued_at = self.ports.store.read(|view| {
            Ok::<_, ServiceError>(view.certificate(certificate)?.map(|record| record.issued_at))
        })?;
        let Some(issued_at) = issued_at else { return Ok(()) };
        if self.now().since(issued_at) >= vouching.give_up_after() {
            self.revoke_undelivered(job, by, certificate, &error)
        } else {
            Err(error)
        }
    }

    /// On record before a certificate leaves of which its voucher could not be told: whatever the configuration says later, it is never
    /// revoked for that. False: it was told, or given up, meanwhile.
    pub(super) fn note_handed_out(
        &self,
        job: &Job,
        by: Voucher,
        certificate: &CertificateId,
    ) -> Result<bool, ServiceError> {
        let again = self.now().plus(retry_after(job.attempts).max(TELL_AFTER));
        self.ports.store.write(|tx| {
            let waits = tx.remove_job(job.sequence)?;
            if waits {
                tx.enqueue(&JobKind::TellHandedOut { by, certificate: certificate.clone() }, again)?;
            }
            Ok(waits)
        })
    }

    fn revoke_undelivered(
        &self,
        job: &Job,
        by: Voucher,
        certificate: &CertificateId,
        error: &ServiceError,
    ) -> Result<(), ServiceError> {
        let act = Act { actor: Actor::System, request: self.new_request(), at: self.now() };
        let note = format!("never handed out, because {by} could not be told of it: {error}");
        let cause = revoking(undelivered(by), note, &act);
        let accepted = self.accepted();
        let changed = self.ports.store.write(|tx| {
            // Told in time by the request that asked for it?
            if !tx.complete_job(job.sequence, job.fence)? {
                return Ok(None);
            }
            change_certificate(tx, certificate, &[CauseChange::Put(cause.clone())], &act)
        })?;
        if let Some(changed) = changed {
            tracing::error!(request = %act.request, %certificate, %by, "revoked: it could not be handed out");
            self.certificates_moved(&[changed], accepted)?;
        }
        Ok(())
    }
}

/// The cause of certificates that were given up before they were handed out.
pub(super) fn undelivered(by: Voucher) -> CauseKey {
    because_of(by, "undelivered")
}

fn because_of(by: Voucher, what: &str) -> CauseKey {
    CauseKey { kind: CauseKind::Voucher, reference: format!("{by}/{what}") }
}

/// A cause that somebody who vouched for the request is the reason of.
fn revoking(key: CauseKey, note: String, act: &Act) -> Cause {
    Cause {
        key,
        effect: Effect::Revoke { reason: RevocationReason::CessationOfOperation },
        since: act.at,
        invalidity_date: None,
        actor: act.actor.to_string(),
        note,
    }
}
