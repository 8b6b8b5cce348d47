//! Timers that fire: registrations that ran out, certificates that a renewal has superseded, CAs that are cut over to.
//!
//! The maintenance worker takes the due ones from an index by time, a hundred at a time, and decides each in the transaction that
//! writes what follows with its audit record: a ticket that was minted anew, a hold that was released meanwhile wins. A crash before
//! the commit leaves the timers where they are, one after it leaves nothing to do; what has piled up while nobody worked is done
//! batch by batch. One that fails is put off and does not hold up the others. All of it goes by the time that is believed
//! ([`crate::domain::clock`]), for none of it can be undone.
//!
//! **Overlap.** The timer of a renewal is set for the end of the overlap that its profile had then; when it fires, the newest version
//! of the profile is asked. An overlap that was made longer therefore holds for what is under way, a shorter one for renewals from
//! then on; where superseding was switched off nothing happens, and what was issued while it was off is never looked at.
//! See [`Renewal::end_of_overlap`] for what a device that has only the old certificate can rely on.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Gateway, ServiceError,
    audit::Act,
    certificate::{ChangedCertificate, change_certificate},
    device::{apply_event, policy_of},
    metric::{self, label},
    rollover::cut_over_due,
    status::causes_of,
};
use crate::{
    domain::{
        access::Actor,
        binding::BoundObject,
        certificate::{EndOfOverlap, Renewal, Standing},
        challenge::has_run_out,
        device::DeviceEvent,
        status::CauseChange,
        timer::{Timer, TimerSubject},
    },
    ports::{Tx, View, store::StoreResult},
    types::{CertificateId, DeviceId, Timestamp},
};

/// Timers per transaction.
const BATCH: usize = 100;
/// Transactions per round, so that jobs and CRLs get their turn.
const BATCHES_PER_ROUND: usize = 10;
/// What failed is tried again after this.
const AFTER_FAILURE: Duration = Duration::from_secs(3600);
/// A device that waits for an operator is looked at again after this.
const WHILE_AWAITING: Duration = Duration::from_secs(86_400);

/// What firing did.
#[derive(Default)]
struct Fired {
    expired: Vec<DeviceId>,
    changed: Vec<ChangedCertificate>,
    cut_over: bool,
}

impl Gateway {
    /// Fires what is due. An error means that the store cannot be used; all of it will be tried again.
    pub(super) fn fire_timers(&self) -> Result<(), ServiceError> {
        for _ in 0..BATCHES_PER_ROUND {
            let now = self.believed_now();
            let due = self.ports.store.read(|view| view.due_timers(now, BATCH))?;
            if due.is_empty() {
                break;
            }
            if self.fire(&due, now).is_ok() {
                continue;
            }
            // One of them is in the way of the others.
            for timer in &due {
                if let Err(error) = self.fire(std::slice::from_ref(timer), now) {
                    tracing::error!(?timer, %error, "a timer failed; it will be tried again in an hour");
                    let later = Timer { at: now.plus(AFTER_FAILURE), ..timer.clone() };
                    self.ports.store.write(|tx| {
                        tx.clear_timer(timer)?;
                        tx.set_timer(&later)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// All of them in one transaction.
    fn fire(&self, due: &[Timer], now: Timestamp) -> Result<(), ServiceError> {
        let act = Act { actor: Actor::System, request: self.new_request(), at: now };
        let accepted = self.accepted();
        let fired = self.ports.store.write(|tx| {
            let mut fired = Fired::default();
            let mut awaiting = None;
            for timer in due {
                tx.clear_timer(timer)?;
                match &timer.subject {
                    TimerSubject::TicketEnds { device } => {
                        ticket_ended(tx, device, &mut awaiting, &act, &mut fired)?;
                    }
                    TimerSubject::OverlapEnds { successor } => {
                        fired.changed.extend(overlap_ended(tx, successor, &act)?);
                    }
                    TimerSubject::CutOver { successor } => {
                        fired.cut_over |= cut_over_due(tx, successor, &act)?;
                    }
                }
            }
            Ok::<_, ServiceError>(fired)
        })?;
        for device in &fired.expired {
            tracing::info!(request = %act.request, %device, "the registration ran out before the device enrolled");
        }
        for certificate in &fired.changed {
            tracing::info!(request = %act.request, certificate = certificate.id, "superseded by its renewal");
        }
        count("registration-expired", fired.expired.len());
        count("certificate-superseded", fired.changed.len());
        count("cut-over", fired.cut_over.into());
        if fired.cut_over {
            tracing::info!(request = %act.request, "cut over to the announced CA");
            self.reload_authorities()?;
        }
        // It is committed; what cannot be read now is settled by the next round.
        if let Err(error) = self.certificates_moved(&fired.changed, accepted) {
            tracing::error!(%error, "reading changed causes failed; it will be tried again");
        }
        Ok(())
    }
}

fn count(outcome: &'static str, number: usize) {
    metrics::counter!(metric::TIMERS_FIRED, label::OUTCOME => outcome).increment(number as u64);
}

/// The devices for which a request waits for an operator.
fn awaiting_approval(view: &dyn View) -> StoreResult<BTreeSet<DeviceId>> {
    let waiting = view.pending_enrolments(usize::MAX)?.into_iter();
    Ok(waiting
        .filter_map(|enrolment| match enrolment.binding {
            Some((BoundObject::Device { id, .. }, _)) => Some(id),
            Some((BoundObject::User { .. }, _)) | None => None,
        })
        .collect())
}

fn ticket_ended(
    tx: &mut dyn Tx,
    id: &DeviceId,
    awaiting: &mut Option<BTreeSet<DeviceId>>,
    act: &Act,
    fired: &mut Fired,
) -> Result<(), ServiceError> {
    let Some(device) = tx.device(id)? else { return Ok(()) };
    if !has_run_out(&device, &tx.tickets_of_device(id)?, act.at) {
        return Ok(());
    }
    let awaiting = match awaiting {
        Some(awaiting) => awaiting,
        None => awaiting.insert(awaiting_approval(tx.as_view())?),
    };
    if awaiting.contains(id) {
        return Ok(ask_again(
            tx,
            TimerSubject::TicketEnds { device: id.clone() },
            act.at.plus(WHILE_AWAITING),
        )?);
    }
    apply_event(tx, id, DeviceEvent::TicketExpired, "its tickets ran out", act)?;
    fired.expired.push(id.clone());
    Ok(())
}

fn overlap_ended(
    tx: &mut dyn Tx,
    successor: &CertificateId,
    act: &Act,
) -> Result<Option<ChangedCertificate>, ServiceError> {
    let Some(new) = standing(tx.as_view(), successor)? else { return Ok(None) };
    let old = new.record.supersedes.as_ref().map(|old| standing(tx.as_view(), old)).transpose()?.flatten();
    let Some(old) = old else { return Ok(None) };
    let policy = policy_of(tx.as_view(), &new.record)?;
    let old_id = old.record.id.clone();
    match (Renewal { old, new }).end_of_overlap(&policy, act.at) {
        EndOfOverlap::Supersede(cause) => change_certificate(tx, &old_id, &[CauseChange::Put(cause)], act),
        EndOfOverlap::AskAgain(at) => {
            ask_again(tx, TimerSubject::OverlapEnds { successor: successor.clone() }, at)?;
            Ok(None)
        }
        EndOfOverlap::Keep => Ok(None),
    }
}

fn ask_again(tx: &mut dyn Tx, subject: TimerSubject, at: Timestamp) -> StoreResult<()> {
    tx.set_timer(&Timer { at, subject })
}

fn standing(view: &dyn View, id: &CertificateId) -> StoreResult<Option<Standing>> {
    let Some(record) = view.certificate(id)? else { return Ok(None) };
    let mut objects: Vec<_> = view.bindings(id)?.into_iter().map(|binding| binding.object).collect();
    objects.sort();
    Ok(Some(Standing { record, causes: causes_of(view, id)?, objects }))
}
