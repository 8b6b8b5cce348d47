//! What time brings: due timers and jobs, renewals, scheduled CRLs.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, ServiceError,
    authority::Authority,
    metric::{self, label},
};
use crate::{
    domain::{
        access::{Authed, Read},
        issuer::{GenerationState, OcspAuthority},
        queue::{AfterFailure, Job, JobKind, JobWorker, MAX_ATTEMPTS, after_failure, retry_after},
    },
    ports::{StoreError, View},
    types::{IssuerId, Timestamp},
};

/// A worker that does not come back within this time has lost its job to another.
const LEASE: Duration = Duration::from_secs(300);
/// No job but one that comes up again by itself is put off for so long.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);
/// Jobs per round, so that renewals and schedules get their turn.
const JOBS_PER_ROUND: usize = 64;
/// The longest sleep.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The shortest, so that a failing task does not spin.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Wakes the worker when there is something to do.
#[derive(Debug, Default)]
pub struct WorkSignal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl WorkSignal {
    /// Blocks until woken or for `at_most`.
    pub(super) fn wait(&self, at_most: Duration) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(woken, at_most, |woken| !*woken);
        let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *woken = false;
    }

    /// Wakes who waits, or the next one who would.
    pub(super) fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// A job as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its number.
    pub sequence: u64,
    /// Its lane; jobs of a lane run one after another.
    pub lane: String,
    /// Not before.
    pub run_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// A worker has it until then.
    pub leased_until: Option<Timestamp>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// Given up; somebody must look at it.
    pub dead: bool,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            sequence: job.sequence,
            lane: job.kind.lane(),
            run_at: job.run_at,
            attempts: job.attempts,
            leased_until: job.leased_until,
            last_error: job.last_error,
            dead: job.dead,
        }
    }
}

impl Gateway {
    /// Does everything that is due: renewal of certgate's own certificates, timers, leased jobs, scheduled CRLs. Gives how long
    /// until something is due next (at most 60 s).
    ///
    /// What fails is logged, shown in the gauges and tried again; only a store that cannot be read is an error.
    ///
    /// While the database is behind what was published nothing is done but what an operator sees.
    pub fn run_due(&self) -> Result<Duration, ServiceError> {
        if self.behind().is_some() {
            self.ports.store.read(|view| self.set_gauges(view))?;
            return Ok(Duration::from_secs(60));
        }
        log_failure("reading changed issuers", self.reload_unread_authorities());
        log_failure("reading changed causes", self.settle_status());
        log_failure("renewing certgate's own certificates", self.renew_system_certificates());
        log_failure("noting the time", self.watch_clock());
        log_failure("firing timers", self.fire_timers());
        log_failure("writing and pruning traces", self.prune_traces());
        log_failure("pruning what is over", self.prune_records());
        for _ in 0..JOBS_PER_ROUND {
            if !self.run_one_job(&JobWorker::Maintenance)? {
                break;
            }
        }
        for issuer in self.issuers_with_due_crl() {
            log_failure("building a scheduled CRL", self.build_crl(&issuer));
        }
        log_failure("recording that a CRL is late", self.watch_crls());
        log_failure("recording that a directory is behind", self.watch_directories());
        log_failure("writing the checkpoint", self.checkpoint_if_due());
        self.ports.store.read(|view| self.set_gauges(view))?;
        self.until_next_due()
    }

    /// Blocks until woken by a change or for `at_most`.
    pub fn wait_for_work(&self, at_most: Duration) {
        self.work.wait(at_most);
    }

    /// Wakes [`Gateway::wait_for_work`], [`Gateway::wait_outside`], [`Gateway::wait_for_directory`] and [`Gateway::wait_for_ocsp`] (also
    /// used at shutdown).
    pub fn wake(&self) {
        self.work.wake();
        self.outside.work.wake();
        self.directories.wake();
        self.wake_ocsp();
    }

    /// All jobs that are not done.
    pub fn jobs(&self, _authed: &Authed<Read>, limit: usize) -> Result<Listing<JobView>, ServiceError> {
        let jobs = self.ports.store.read(|view| view.jobs(limit))?;
        Ok(Listing::whole(jobs.into_iter().map(JobView::from).collect()))
    }

    /// False: there was none.
    pub(super) fn run_one_job(&self, worker: &JobWorker) -> Result<bool, ServiceError> {
        let now = self.now();
        let jobs = self.jobs_of(worker)?;
        if jobs.iter().all(|job| self.due_at(job, now) > now) {
            return Ok(false);
        }
        let leased = self.ports.store.write(|tx| {
            for job in jobs.iter().filter(|job| self.is_put_off(job, now)) {
                tx.enqueue(&job.kind, now)?;
            }
            tx.lease_job(worker, now, now.plus(LEASE))
        })?;
        let Some(job) = leased else { return Ok(false) };
        let outcome = match &job.kind {
            JobKind::BuildCrl { issuer } => self.build_crl_of_living(issuer),
            JobKind::TellIssued { by, certificate } => self.tell_or_give_up(&job, *by, certificate),
            JobKind::TellHandedOut { by, certificate } => self.tell_while_configured(*by, certificate),
            JobKind::PollRevocations { by } => self.poll_revocations(*by),
            JobKind::PublishToDirectory { directory, issuer } => self.publish_to(directory, issuer),
        };
        match outcome {
            Ok(()) => self.job_done(&job)?,
            Err(error) => self.job_failed(&job, &error)?,
        };
        Ok(true)
    }

    /// A poll comes up again, for as long as it is configured.
    fn job_done(&self, job: &Job) -> Result<bool, StoreError> {
        let again = match &job.kind {
            JobKind::PollRevocations { by } => self.ports.vouchers.revocations.get(by),
            JobKind::BuildCrl { .. }
            | JobKind::TellIssued { .. }
            | JobKind::TellHandedOut { .. }
            | JobKind::PublishToDirectory { .. } => None,
        };
        let again = again.map(|queue| self.now().plus(queue.interval()));
        self.ports.store.write(|tx| {
            let done = tx.complete_job(job.sequence, job.fence)?;
            if let Some(at) = again.filter(|_| done) {
                tx.enqueue(&job.kind, at)?;
            }
            Ok(done)
        })
    }

    /// An expired issuer signs no CRL, now or later: there is nothing to try again.
    fn build_crl_of_living(&self, issuer: &IssuerId) -> Result<(), ServiceError> {
        let authorities = self.authorities();
        let not_after = authorities.issuer(issuer).map(|it| it.certificate.validity().not_after);
        if let Some(not_after) = not_after.filter(|end| *end <= self.now()) {
            tracing::warn!(%issuer, %not_after, "the issuer expired: the change will be on no CRL");
            return Ok(());
        }
        self.build_crl(issuer).map(drop)
    }

    fn job_failed(&self, job: &Job, error: &ServiceError) -> Result<bool, StoreError> {
        let now = self.now();
        let (run_at, dead) = match after_failure(job.attempts, now) {
            AfterFailure::RetryAt(at) => (at, false),
            AfterFailure::Dead if job.kind.never_gives_up() => (now.plus(retry_after(job.attempts)), false),
            AfterFailure::Dead => (now, true),
        };
        log_failed_job(job, error, (!dead).then_some(run_at));
        let error = error.to_string();
        self.ports.store.write(|tx| tx.fail_job(job.sequence, job.fence, &error, run_at, dead))
    }

    fn until_next_due(&self) -> Result<Duration, ServiceError> {
        let now = self.now();
        let authorities = self.authorities();
        let living = authorities.issuers().filter(|it| it.certificate.validity().contains(now));
        let scheduled = living.filter_map(|authority| self.next_crl_at(authority));
        let renewal = self.next_system_renewal()?;
        let due = scheduled.chain(self.next_job_at(&JobWorker::Maintenance)?).chain([renewal]).min();
        let timer = self.ports.store.read(|view| view.next_timer_at())?;
        let waits = [due.map(|at| at.since(now)), timer.map(|at| at.since(self.believed_now()))];
        let wait = waits.into_iter().flatten().min().unwrap_or(LONGEST_WAIT);
        Ok(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    pub(super) fn next_job_at(&self, worker: &JobWorker) -> Result<Option<Timestamp>, StoreError> {
        let now = self.now();
        Ok(self.jobs_of(worker)?.iter().map(|job| self.due_at(job, now)).min())
    }

    /// What the worker has to do, now or later.
    fn jobs_of(&self, worker: &JobWorker) -> Result<Vec<Job>, StoreError> {
        let mut jobs = self.ports.store.read(|view| view.jobs(usize::MAX))?;
        jobs.retain(|job| !job.dead && job.kind.worker() == *worker);
        Ok(jobs)
    }

    fn due_at(&self, job: &Job, now: Timestamp) -> Timestamp {
        match job.leased_until {
            Some(until) => until.max(job.run_at),
            None if self.is_put_off(job, now) => now,
            None => job.run_at,
        }
    }

    /// Whether a job waits for longer than any is made to wait: a clock that was ahead has put it off, perhaps for years.
    fn is_put_off(&self, job: &Job, now: Timestamp) -> bool {
        let interval = match &job.kind {
            JobKind::PollRevocations { by } => self.ports.vouchers.revocations.get(by),
            JobKind::BuildCrl { .. }
            | JobKind::TellIssued { .. }
            | JobKind::TellHandedOut { .. }
            | JobKind::PublishToDirectory { .. } => None,
        };
        let longest = interval.map_or(LONGEST_DELAY, |queue| queue.interval().max(LONGEST_DELAY));
        job.leased_until.is_none() && job.run_at > now.plus(longest)
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn set_gauges(&self, view: &dyn View) -> Result<(), StoreError> {
        metrics::gauge!(metric::DEVICES).set(view.count_devices()? as f64);
        metrics::gauge!(metric::ENROLMENTS_PENDING).set(view.count_pending_enrolments()? as f64);
        let dead = view.jobs(usize::MAX)?.iter().filter(|job| job.dead).count();
        metrics::gauge!(metric::JOBS_DEAD).set(dead as f64);
        let ahead = self.clock_doubt().map_or(0, |doubt| doubt.shown.since(doubt.believed).as_secs());
        metrics::gauge!(metric::CLOCK_AHEAD).set(ahead as f64);
        super::source::set_gauges(&view.sources()?);
        let authorities = self.authorities();
        for external in authorities.externals() {
            let not_after = match self.signing_responder(external) {
                Some(responder) => responder.certificate.validity().not_after.unix() as f64,
                // For whoever watches the time that is left: where nobody is to answer it never ends, else it is over.
                None if external.issuer.ocsp == OcspAuthority::None => f64::INFINITY,
                None => 0.0,
            };
            let labels = [
                (label::PURPOSE, "ocsp-responder".to_owned()),
                (label::ISSUER, external.issuer.id.to_string()),
            ];
            metrics::gauge!(metric::SYSTEM_CERTIFICATE_NOT_AFTER, &labels).set(not_after);
        }
        for authority in authorities.issuers() {
            let id = &authority.issuer.id;
            for state in GenerationState::ALL {
                let labels = [(label::ISSUER, id.to_string()), (label::STATE, state.to_string())];
                let is = f64::from(u8::from(authority.issuer.generation.state == state));
                metrics::gauge!(metric::ISSUER_STATE, &labels).set(is);
            }
            for (purpose, not_after) in own_certificates(authority) {
                let labels = [(label::PURPOSE, purpose.to_owned()), (label::ISSUER, id.to_string())];
                metrics::gauge!(metric::SYSTEM_CERTIFICATE_NOT_AFTER, &labels).set(not_after.unix() as f64);
            }
            if let Some(crl) = self.crl(id) {
                let labels = [(label::ISSUER, id.to_string())];
                metrics::gauge!(metric::CRL_NUMBER, &labels).set(crl.number as f64);
                metrics::gauge!(metric::CRL_ENTRIES, &labels).set(crl.entries as f64);
                metrics::gauge!(metric::CRL_NEXT_UPDATE, &labels).set(crl.next_update.unix() as f64);
                metrics::gauge!(metric::CRL_BYTES, &labels).set(crl.der.len() as f64);
                let forecast = self.crl_forecast(authority, &crl);
                metrics::gauge!(metric::CRL_PREDICTED_BYTES, &labels).set(forecast.bytes as f64);
            }
            self.set_directory_gauges(view, authority)?;
            self.set_crl_life_gauge(id);
        }
        // Those of external issuers are published as they were imported.
        for external in authorities.externals().filter(|external| self.crl(&external.issuer.id).is_some()) {
            self.set_crl_life_gauge(&external.issuer.id);
        }
        Ok(())
    }

    fn set_crl_life_gauge(&self, issuer: &IssuerId) {
        let used = self.crls_of(issuer).iter().map(|crl| crl.window().used(self.now())).fold(0.0, f64::max);
        metrics::gauge!(metric::CRL_LIFE_USED, &[(label::ISSUER, issuer.to_string())]).set(used);
    }
}

/// Purpose and notAfter of what the issuer needs to work.
fn own_certificates(authority: &Authority) -> impl Iterator<Item = (&'static str, Timestamp)> {
    let issuer = ("issuer", &authority.certificate);
    let signer = authority.ocsp.as_ref().map(|it| ("ocsp-signer", &it.certificate));
    let message = authority.message_keys.first().map(|it| ("scep-message", &it.certificate));
    let all = std::iter::once(issuer).chain(signer).chain(message);
    all.map(|(purpose, certificate)| (purpose, certificate.validity().not_after))
}

/// None for the time of the next try: there is none.
fn log_failed_job(job: &Job, error: &ServiceError, again_at: Option<Timestamp>) {
    let (lane, attempts) = (job.kind.lane(), job.attempts);
    let Some(again_at) = again_at else {
        tracing::error!(lane, attempts, %error, "job failed and is given up: see `certgate queue jobs`");
        return;
    };
    let gives_up_after = (!job.kind.never_gives_up()).then_some(MAX_ATTEMPTS);
    tracing::warn!(lane, attempts, gives_up_after, %again_at, %error, "job failed; it will be tried again");
}

fn log_failure<T>(doing: &str, outcome: Result<T, ServiceError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "{doing} failed; it will be tried again");
    }
}
