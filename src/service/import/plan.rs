//! What is to be done for a batch, decided before anything is written.

use super::{ImportBatch, ImportReport, RefusedLine, bind::Bind};
use crate::{
    domain::{
        binding::{Binding, BoundObject},
        certificate::CertificateRecord,
        device::{DeviceEvent, Lifecycle},
        import::{RecordChange, SourceCrl, Told},
        status::{CauseChange, Revocation, revocation},
    },
    ports::{Tx, View},
    service::{
        ServiceError,
        audit::Act,
        device::apply_event,
        status::{change_causes_of_many, is_void},
    },
    types::{CertificateId, IssuerId, RevocationReason},
};

/// What is to be done for the lines of a batch.
#[derive(Default)]
pub(super) struct Plan {
    records: Vec<CertificateRecord>,
    changes: Vec<(CertificateId, CauseChange)>,
    /// Those that have causes already, and of whose record more is known now.
    listed: Vec<CertificateId>,
    bindings: Vec<Binding>,
    unbound: Vec<RefusedLine>,
    added: u64,
    unchanged: u64,
    outdated: u64,
    refused: Vec<RefusedLine>,
}

impl Plan {
    pub(super) fn of(
        view: &dyn View,
        act: &Act,
        issuer: &IssuerId,
        lines: &[(u64, Told)],
        batch: &ImportBatch,
    ) -> Result<Self, ServiceError> {
        let actor = act.actor.to_string();
        let is_outdated = is_outdated(view, issuer, batch.crl)?;
        let mut plan = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for (line, told) in lines {
            let mut refuse = |problem: String| plan.refused.push(RefusedLine { line: *line, problem });
            if !seen.insert(&told.serial) {
                refuse(format!("the serial number {} comes twice", told.serial));
                continue;
            }
            let id = CertificateId { issuer: issuer.clone(), serial: told.serial.clone() };
            let known = view.certificate(&id)?;
            let change = match told.record(issuer, known.as_ref(), act.at) {
                Ok(change) => change,
                Err(refused) => {
                    refuse(refused.to_string());
                    continue;
                }
            };
            let existing = view.causes(&id)?;
            let causes = told.change(&existing, &actor).filter(|change| !is_void(&existing, change));
            let passed_over = causes.is_some() && is_outdated && told.is_hold();
            plan.outdated += u64::from(passed_over);
            let causes = causes.filter(|_| !passed_over);
            let binding = match (batch.bind, change.outcome(known.as_ref())) {
                (Some(rule), Some(record)) => rule.find(view, record, act.at)?,
                (None, _) | (_, None) => Bind::Nothing,
            };
            let keeps = change == RecordChange::Keep && causes.is_none();
            plan.unchanged += u64::from(keeps && !matches!(binding, Bind::To(_)));
            match binding {
                Bind::To(binding) => plan.bindings.push(binding),
                Bind::Not(problem) => plan.unbound.push(RefusedLine { line: *line, problem }),
                Bind::Nothing => {}
            }
            plan.added += u64::from(matches!(change, RecordChange::Add(_)));
            if change != RecordChange::Keep && !existing.is_empty() {
                plan.listed.push(id.clone());
            }
            match change {
                RecordChange::Keep => {}
                RecordChange::Add(record) | RecordChange::Complete(record) => plan.records.push(*record),
            }
            plan.changes.extend(causes.map(|change| (id, change)));
        }
        Ok(plan)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.records.is_empty() && self.changes.is_empty() && self.bindings.is_empty()
    }

    /// Gives the certificates whose revocation changed, with what it is now.
    pub(super) fn carry_out(
        &self,
        tx: &mut dyn Tx,
        act: &Act,
    ) -> Result<Vec<(CertificateId, Option<Revocation>)>, ServiceError> {
        self.records.iter().try_for_each(|record| tx.put_imported(record))?;
        let changed = change_causes_of_many(tx, &self.changes, act.at)?;
        for binding in &self.bindings {
            tx.insert_binding(binding)?;
            put_in_service(tx, binding, act)?;
        }
        Ok(changed)
    }

    /// The certificates that were listed before, and whose notAfter may be another now: until when they stay on the CRL.
    pub(super) fn listed_with_another_end(&self) -> impl Iterator<Item = CertificateId> {
        self.listed.iter().cloned()
    }

    pub(super) fn report(&self, changed: &[(CertificateId, Option<Revocation>)]) -> ImportReport {
        let mut report = ImportReport {
            added: self.added,
            completed: self.records.len() as u64 - self.added,
            unchanged: self.unchanged,
            outdated: self.outdated,
            bound: self.bindings.len() as u64,
            unbound: self.unbound.clone(),
            refused: self.refused.clone(),
            ..ImportReport::default()
        };
        for (_, revocation) in changed {
            match revocation.map(|revocation| revocation.reason) {
                None => report.released += 1,
                Some(RevocationReason::CertificateHold) => report.held += 1,
                Some(_) => report.revoked += 1,
            }
        }
        report
    }
}

/// Whether the entries are of a CRL that is not the newest that was imported. Of a CA of ours the newest that is known is our own, which says
/// nothing of what another responder of it published.
fn is_outdated(view: &dyn View, issuer: &IssuerId, crl: Option<SourceCrl>) -> Result<bool, ServiceError> {
    let Some(crl) = crl else { return Ok(false) };
    if view.external_issuer(issuer)?.is_none() {
        return Ok(false);
    }
    let (published, unpublished) = (view.crl_mark(issuer)?, view.imported_crl(issuer, crl.part.as_ref())?);
    Ok(published.is_some_and(|known| crl.is_older_than(known))
        || unpublished.is_some_and(|known| crl.this_update < known))
}

/// A device that has a certificate is in service, as if it had enrolled: it can be wiped. One that is revoked for good is none.
fn put_in_service(tx: &mut dyn Tx, binding: &Binding, act: &Act) -> Result<(), ServiceError> {
    let BoundObject::Device { id, .. } = &binding.object else { return Ok(()) };
    let is_hold = |revocation: Revocation| revocation.reason == RevocationReason::CertificateHold;
    if !revocation(&tx.causes(&binding.certificate)?).is_none_or(is_hold) {
        return Ok(());
    }
    if tx.device(id)?.is_some_and(|device| device.lifecycle != Lifecycle::Active) {
        apply_event(tx, id, DeviceEvent::Enrolled, "its certificate was imported", act)?;
    }
    Ok(())
}
