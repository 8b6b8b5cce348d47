//! A used-up ticket that comes again.
//!
//! The device itself may send it: it lost its answer and asks anew in another transaction. Then the key is the one that the certificate was
//! issued to. Another key means that somebody else has the secret.
//!
//! Who repeats it must not fill the audit record: it has each alarm once, until an operator acknowledged it or it was quiet for long
//! ([`Ring`]).

use std::collections::BTreeSet;

use super::Candidate;
use crate::{
    domain::{
        access::Actor,
        alarm::{Ring, TicketAlarm, raised, ring},
        challenge::Ticket,
        enrol::EnrolmentState,
        status::{Cause, CauseChange, Effect},
    },
    ports::{View, store::StoreResult},
    service::{
        Gateway, ServiceError,
        audit::Act,
        certificate::manual_hold,
        metric::{self, label},
        status::change_causes,
    },
    types::{CertificateId, TicketId},
};

/// So many certificates of a ticket are looked at, of a hundred uses and all their renewals.
const MAX_CERTIFICATES: usize = 2000;

impl Gateway {
    /// Rings the alarm, and holds what came of the ticket where the profile says so.
    pub(super) fn note_reuse(&self, candidate: &Candidate<'_>, id: &TicketId) -> Result<(), ServiceError> {
        let accepted = self.accepted();
        let alarm = self.ports.store.read(|view| self.alarm_of(view, candidate, id))?;
        let Some(alarm) = alarm else { return Ok(()) };
        let profile = alarm.profile.to_string();
        metrics::counter!(metric::TICKETS_REUSED, label::PROFILE => profile.clone()).increment(1);
        let ring_of = |alarms: &[TicketAlarm]| ring(alarms, id, alarm.last_at);
        let on_record = match self.ports.store.read(|view| view.alarms().map(|all| ring_of(&all)))? {
            Ring::Still => return Ok(()),
            Ring::Again | Ring::First { displaces: false } => true,
            Ring::First { displaces: true } => self.may_record(candidate)?,
        };
        tracing::warn!(
            request = %candidate.request.origin.request, peer = alarm.peer, ticket = %id, profile, held = alarm.held,
            "a used-up ticket was presented again with another key: somebody else has its secret"
        );
        let holding = Act { actor: Actor::System, ..candidate.act() };
        let detail = [("profile", profile), ("held", alarm.held.to_string())];
        let fact = candidate.act().fact("ticket.reused", id, &detail);
        let moved = self.ports.store.write(|tx| {
            let mut moved = Vec::new();
            let alarms = tx.alarms()?;
            let ring = ring_of(&alarms);
            if ring == Ring::Still {
                return Ok::<_, ServiceError>(moved);
            }
            if on_record && ring != Ring::Again {
                tx.append_audit(&fact)?;
            }
            let mut alarm = alarm.clone();
            // One may have been renewed meanwhile.
            if let Some(ticket) = tx.ticket(id)? {
                alarm.certificates = came_of(tx.as_view(), &ticket)?.into_iter().collect();
            }
            tx.put_alarms(&raised(alarms, alarm.clone()))?;
            for certificate in alarm.certificates.iter().filter(|_| alarm.held) {
                if change_causes(tx, certificate, &[CauseChange::Put(hold(id, &holding))], &holding)? {
                    moved.push(certificate.clone());
                }
            }
            Ok(moved)
        })?;
        self.status_moved(&moved, accepted)
    }

    /// None where it is the device itself that asks again.
    fn alarm_of(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
        id: &TicketId,
    ) -> Result<Option<TicketAlarm>, ServiceError> {
        let Some(ticket) = view.ticket(id)? else { return Ok(None) };
        let certificates = came_of(view, &ticket)?;
        if holds_key(view, candidate, &certificates)? || self.used_it(view, candidate, &ticket)? {
            return Ok(None);
        }
        Ok(Some(TicketAlarm {
            ticket: ticket.id,
            held: self.settings.guard.hold_on_reuse.contains(&ticket.profile),
            profile: ticket.profile,
            device: ticket.device,
            user: ticket.user,
            certificates: certificates.into_iter().collect(),
            peer: candidate.request.origin.peer.clone(),
            first_at: candidate.now,
            last_at: candidate.now,
            times: 1,
            acknowledged_at: None,
            acknowledged_by: None,
        }))
    }

    /// Whether a request for the same key used the ticket, and waits for an operator or was rejected by one. Whoever signs: what is in an
    /// envelope can be sent again by somebody who cannot read it, under a signature of his own.
    fn used_it(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
        ticket: &Ticket,
    ) -> Result<bool, ServiceError> {
        for id in &ticket.used_by {
            let Some(enrolment) = view.enrolment(id)? else { continue };
            let issued = matches!(enrolment.state, EnrolmentState::Issued { .. });
            if !issued && self.proven(&enrolment)?.public_key() == candidate.csr.public_key() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The certificates that the ticket was used for, and those that they were renewed to. What they are bound to, if to anything, has no say
/// in it.
pub(in crate::service) fn came_of(view: &dyn View, ticket: &Ticket) -> StoreResult<BTreeSet<CertificateId>> {
    let mut found = BTreeSet::new();
    let mut ahead = Vec::new();
    for id in &ticket.used_by {
        if let Some(EnrolmentState::Issued { certificate }) = view.enrolment(id)?.map(|it| it.state) {
            ahead.push(certificate);
        }
    }
    while let Some(certificate) = ahead.pop() {
        if found.len() < MAX_CERTIFICATES && found.insert(certificate.clone()) {
            ahead.extend(view.successors(&certificate)?);
        }
    }
    Ok(found)
}

/// Whether one of the certificates is for the key of the request.
fn holds_key(
    view: &dyn View,
    candidate: &Candidate<'_>,
    certificates: &BTreeSet<CertificateId>,
) -> StoreResult<bool> {
    let key = candidate.csr.public_key().fingerprint();
    for id in certificates {
        if view.certificate(id)?.is_some_and(|record| record.public_key == key) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same hold that an operator sets, so that an operator can release it.
fn hold(ticket: &TicketId, act: &Act) -> Cause {
    Cause {
        key: manual_hold(),
        effect: Effect::Hold,
        since: act.at,
        invalidity_date: None,
        actor: act.actor.to_string(),
        note: format!("the ticket {ticket} was presented again with another key"),
    }
}
