//! Pruning what is over: tickets, enrolments, jobs that were given up.
//!
//! A pass goes through all of them, tickets first, for an enrolment stays with the ticket that it used. It is done in small pieces, so many
//! records in a round of the maintenance worker, and begun again an hour after it ended. What is to go is found in a read; the
//! transaction that removes it looks again. What is old is told by the time that is believed ([`crate::domain::clock`]). Each is on
//! record, by number: what was kept of each is gone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Gateway, ServiceError, audit::Act, enrol::came_of, metric};
use crate::{
    domain::{
        access::Actor,
        binding::Evidence,
        challenge::Ticket,
        enrol::{Enrolment, EnrolmentState},
        queue::JobKind,
        retention::{EnrolmentEnd, Retention},
    },
    ports::{
        Tx, View,
        store::{Page, StoreResult},
    },
    types::{CertificateId, EnrolmentId, TicketId, Timestamp},
};

/// Records that are looked at in a round.
const LOOKED_AT: usize = 4000;
/// Records that are read at a time.
const PAGE: usize = 500;
/// Records that are removed in a transaction.
const BATCH: usize = 100;
/// Between the end of a pass and the next one.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(3600);

/// How far the pass has come.
#[derive(Debug, Default)]
pub(super) struct Pass(Mutex<Stage>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Tickets(Option<TicketId>),
    Enrolments(Option<EnrolmentId>),
    Jobs,
    /// Done at this time.
    Done(Timestamp),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Tickets(None)
    }
}

impl Stage {
    /// Where to go on now; none: it is not yet time. A clock that was set back must not stop it.
    fn begun(&self, now: Timestamp) -> Option<Self> {
        match self {
            Self::Done(at) if now >= *at && now.since(*at) < PAUSE => None,
            Self::Done(_) => Some(Self::default()),
            stage => Some(stage.clone()),
        }
    }
}

impl Pass {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What decides.
struct Rules {
    retention: Retention,
    repeats: std::time::Duration,
    now: Timestamp,
}

impl Gateway {
    /// Goes on with the pass, for at most [`LOOKED_AT`] records.
    pub(super) fn prune_records(&self) -> Result<(), ServiceError> {
        let rules = Rules {
            retention: self.settings.retention,
            repeats: self.settings.repeat_window,
            now: self.believed_now(),
        };
        let Some(mut stage) = self.pruning.stage().begun(rules.now) else { return Ok(()) };
        for _ in 0..LOOKED_AT / PAGE {
            stage = self.prune_page(&rules, stage)?;
            self.pruning.stage().clone_from(&stage);
            if matches!(stage, Stage::Done(_)) {
                break;
            }
        }
        Ok(())
    }

    /// One page of a stage; gives where to go on.
    fn prune_page(&self, rules: &Rules, stage: Stage) -> Result<Stage, ServiceError> {
        match stage {
            Stage::Tickets(after) => self.prune_tickets(rules, &Page { after, limit: PAGE }),
            Stage::Enrolments(after) => self.prune_enrolments(rules, &Page { after, limit: PAGE }),
            Stage::Jobs | Stage::Done(_) => self.prune_jobs(rules),
        }
    }

    fn prune_tickets(&self, rules: &Rules, page: &Page<TicketId>) -> Result<Stage, ServiceError> {
        let (last, over) = self.ports.store.read(|view| {
            let tickets = view.tickets(page)?;
            over_in(&tickets, |ticket| ticket.id.clone(), |ticket| rules.ticket_is_over(view, ticket))
        })?;
        self.remove(rules.now, "ticket", &over, |tx, id| {
            let Some(ticket) = tx.ticket(id)? else { return Ok(false) };
            let over = rules.ticket_is_over(tx.as_view(), &ticket)?;
            if over { tx.remove_ticket(id).map(|()| true) } else { Ok(false) }
        })?;
        Ok(last.map_or(Stage::Enrolments(None), |last| Stage::Tickets(Some(last))))
    }

    fn prune_enrolments(&self, rules: &Rules, page: &Page<EnrolmentId>) -> Result<Stage, ServiceError> {
        let (last, over) = self.ports.store.read(|view| {
            let enrolments = view.enrolments(page)?;
            over_in(&enrolments, |it| it.id.clone(), |it| rules.enrolment_is_over(view, it))
        })?;
        self.remove(rules.now, "enrolment", &over, |tx, id| {
            let Some(enrolment) = tx.enrolment(id)? else { return Ok(false) };
            let over = rules.enrolment_is_over(tx.as_view(), &enrolment)?;
            if over { tx.remove_enrolment(id).map(|()| true) } else { Ok(false) }
        })?;
        Ok(last.map_or(Stage::Jobs, |last| Stage::Enrolments(Some(last))))
    }

    /// A job that was given up is nobody's any more: there is nothing to look at again.
    fn prune_jobs(&self, rules: &Rules) -> Result<Stage, ServiceError> {
        let jobs = self.ports.store.read(|view| view.jobs(usize::MAX))?;
        let over = jobs.iter().filter(|job| rules.retention.of_job(job, rules.now));
        let over: Vec<u64> = over.map(|job| job.sequence).collect();
        self.remove(rules.now, "job", &over, |tx, sequence| tx.remove_job(*sequence))?;
        Ok(Stage::Done(rules.now))
    }

    /// Removes in transactions of [`BATCH`]; `remove` says whether it did.
    fn remove<K>(
        &self,
        now: Timestamp,
        kind: &'static str,
        over: &[K],
        remove: impl Fn(&mut dyn Tx, &K) -> StoreResult<bool>,
    ) -> Result<(), ServiceError> {
        for batch in over.chunks(BATCH) {
            let act = Act { actor: Actor::System, request: self.new_request(), at: now };
            let removed = self.ports.store.write(|tx| {
                let mut removed = 0_u64;
                for key in batch {
                    removed += u64::from(remove(tx, key)?);
                }
                if removed > 0 {
                    tx.append_audit(&act.fact("records.pruned", kind, &[("count", removed.to_string())]))?;
                }
                Ok::<_, ServiceError>(removed)
            })?;
            metrics::counter!(metric::RECORDS_PRUNED, metric::label::KIND => kind).increment(removed);
        }
        Ok(())
    }
}

/// The key of the last record of a page, and the keys of those that are over; no last one where the page is the last.
fn over_in<T, K: Clone>(
    records: &[T],
    key: impl Fn(&T) -> K,
    is_over: impl Fn(&T) -> StoreResult<bool>,
) -> Result<(Option<K>, Vec<K>), ServiceError> {
    let mut over = Vec::new();
    for record in records {
        if is_over(record)? {
            over.push(key(record));
        }
    }
    let last = if records.len() < PAGE { None } else { records.last().map(&key) };
    Ok((last, over))
}

impl Rules {
    fn ticket_is_over(&self, view: &dyn View, ticket: &Ticket) -> StoreResult<bool> {
        let device = ticket.device.as_ref().map(|id| view.device(id)).transpose()?.flatten();
        if !self.retention.of_ticket(ticket, device.as_ref(), self.now) {
            return Ok(false);
        }
        for id in &ticket.used_by {
            if view.enrolment(id)?.is_some_and(|it| it.state == EnrolmentState::Pending) {
                return Ok(false);
            }
        }
        for certificate in came_of(view, ticket)? {
            let end = view.certificate(&certificate)?.map(|record| record.validity.not_after);
            if end.is_some_and(|end| self.retention.ticket_stays_for(end, self.now)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn enrolment_is_over(&self, view: &dyn View, enrolment: &Enrolment) -> StoreResult<bool> {
        let over = match self.retention.of_enrolment(enrolment, self.repeats, self.now) {
            EnrolmentEnd::Open => false,
            EnrolmentEnd::Over => true,
            EnrolmentEnd::WithCertificate => self.certificate_is_over(view, enrolment)?,
        };
        Ok(over && !used_a_ticket(view, enrolment)?)
    }

    fn certificate_is_over(&self, view: &dyn View, enrolment: &Enrolment) -> StoreResult<bool> {
        let EnrolmentState::Issued { certificate } = &enrolment.state else { return Ok(false) };
        let Some(record) = view.certificate(certificate)? else { return Ok(true) };
        let over = self.retention.ended_with(record.validity.not_after, self.now);
        Ok(over && !waits_to_be_told(view, enrolment, certificate)?)
    }
}

/// Whether a ticket that is there was used by it: by that the device is known that has it, when it comes again.
fn used_a_ticket(view: &dyn View, enrolment: &Enrolment) -> StoreResult<bool> {
    let Evidence::Ticket { id } = &enrolment.evidence else { return Ok(false) };
    Ok(view.ticket(id)?.is_some_and(|ticket| ticket.used_by.contains(&enrolment.id)))
}

/// Whether somebody is still to be told of the certificate: that needs the request.
fn waits_to_be_told(
    view: &dyn View,
    enrolment: &Enrolment,
    certificate: &CertificateId,
) -> StoreResult<bool> {
    let Evidence::Vouched { by } = enrolment.evidence else { return Ok(false) };
    let lane = JobKind::TellIssued { by, certificate: certificate.clone() }.lane();
    Ok(view.job_in_lane(&lane)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_again_after_a_pause_and_when_the_clock_went_back() {
        let at = Timestamp::from_unix(1_800_000_000);
        let done = Stage::Done(at);
        assert_eq!(done.begun(at.plus(PAUSE / 2)), None);
        assert_eq!(done.begun(at.plus(PAUSE)), Some(Stage::Tickets(None)));
        assert_eq!(done.begun(at.minus(PAUSE)), Some(Stage::Tickets(None)));
        assert_eq!(Stage::Jobs.begun(at), Some(Stage::Jobs));
    }
}
