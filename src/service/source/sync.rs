//! Bringing a listing in: read, plan, brake, then apply in small transactions.
//!
//! The plan is made from one state of the store, without writing. Each transaction then decides again for its few devices from what it
//! sees, so that an operator who acts meanwhile is not overruled. The source's record says that a sync is unfinished until its end
//! is written; run again, a sync finds the first part done and does the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{BATCH, SyncProgress, Turn, known};
use crate::{
    domain::{
        access::{Authed, Operate},
        device::Device,
        source::{
            Source, SyncCounts, SyncOutcome, SyncRecord,
            change::{self, Change, Known},
            entry::{self, Columns, Entry},
            plan::Plan,
        },
    },
    ports::{Tx, View, store::Page, store::StoreResult},
    service::{
        Gateway, ServiceError, audit::Act, certificate::ChangedCertificate, device::apply_event,
        queue::refuse_of_ended, user::record_if_unknown,
    },
    types::{DeviceId, SourceId},
    wire::inventory::Inventory,
};

/// Problems that an answer names; the rest is a number.
const MOST_PROBLEMS: usize = 1000;

/// Members read at a time.
const PAGE: usize = 1000;

/// A listing to be brought in.
#[derive(Clone, Debug, Default)]
pub struct SyncRequest {
    /// The export, CSV or JSON.
    pub listing: Vec<u8>,
    /// Which column is what; others go by their usual names.
    pub columns: Columns,
    /// Say what it would do, and do nothing.
    pub dry_run: bool,
    /// Believe a listing that is empty, or that holds or retires many devices.
    pub force: bool,
}

/// What a sync did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// The source.
    pub source: SourceId,
    /// Nothing was done.
    pub dry_run: bool,
    /// How it ended.
    pub outcome: SyncOutcome,
    /// Whether the listing says of every device that it is there or absent. Else nobody was counted as absent: a line that cannot be
    /// read may be about anybody.
    pub complete: bool,
    /// What it did.
    pub counts: SyncCounts,
    /// Certificates whose status it changed.
    pub certificates_changed: u64,
    /// Which column was taken for what.
    pub columns: BTreeMap<String, String>,
    /// The lines that were refused, at most 1000 of them.
    pub problems: Vec<LineProblem>,
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineProblem {
    /// Its line (of JSON: the object's number from 1); 0 where a device that no line is about could not be changed.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

/// One device to be changed.
#[derive(Clone, Copy, Debug)]
enum Unit<'a> {
    /// A line is about it.
    Listed(&'a Entry),
    /// No line is.
    Absent(&'a DeviceId),
    /// Only lines are that are refused.
    Refused(&'a DeviceId),
}

/// What has been applied so far.
#[derive(Debug, Default)]
struct Applied {
    counts: SyncCounts,
    certificates: u64,
    problems: Vec<LineProblem>,
}

impl Gateway {
    /// Brings a listing of a source in. When this returns, OCSP says what it did to certificates.
    ///
    /// Refused, with nothing changed: a listing that cannot be read, is empty or has no valid line, and one that would hold or retire more
    /// devices at once than is believed (but for the emptiness and the brake, `force`).
    pub fn sync_source(
        &self,
        authed: &Authed<Operate>,
        id: &SourceId,
        request: &SyncRequest,
    ) -> Result<SyncReport, ServiceError> {
        // A grace that is over retires devices for good.
        let act = Act::of(authed, self.believed_now());
        let turn = self.syncs.begin(id)?;
        let source = self.ports.store.read(|view| known(view, id))?;
        let (entries, columns) = read_listing(request)?;
        let plan = self.ports.store.read(|view| planned(view, &source, &entries, &act))?;
        check_lines(&plan)?;
        if let (Err(braked), false) = (plan.check(), request.force) {
            self.note_refusal(&source, &plan, &act, request.dry_run)?;
            return Err(ServiceError::Refused(braked.to_string()));
        }
        let applied = if request.dry_run {
            Applied { counts: plan.counts, ..Applied::default() }
        } else {
            self.carry_out(&turn, &source, &plan, &entries, &act)?
        };
        let mut problems = problems_of(&plan);
        problems.extend(applied.problems);
        problems.sort_by_key(|problem| problem.line);
        problems.truncate(MOST_PROBLEMS);
        Ok(SyncReport {
            source: id.clone(),
            dry_run: request.dry_run,
            outcome: outcome_of(&applied.counts),
            complete: plan.complete,
            counts: applied.counts,
            certificates_changed: applied.certificates,
            columns: columns.into_iter().map(|(target, column)| (target.to_string(), column)).collect(),
            problems,
        })
    }

    /// Writes that the listing was not believed: whoever looks at the source must see it.
    fn note_refusal(
        &self,
        source: &Source,
        plan: &Plan<'_>,
        act: &Act,
        dry_run: bool,
    ) -> Result<(), ServiceError> {
        if dry_run {
            return Ok(());
        }
        let record = record(act, SyncOutcome::Refused, plan.counts);
        self.ports.store.write(|tx| {
            tx.put_source(&source.refused(record.clone()))?;
            tx.append_audit(&act.fact("source.sync-refused", &source.id, &numbers(&record)))?;
            Ok(())
        })
    }

    fn carry_out(
        &self,
        turn: &Turn<'_>,
        source: &Source,
        plan: &Plan<'_>,
        entries: &[Entry],
        act: &Act,
    ) -> Result<Applied, ServiceError> {
        let begun = source.begun(act.at);
        self.ports.store.write(|tx| tx.put_source(&begun))?;
        let listed = plan.to_apply.iter().filter_map(|index| entries.get(*index)).map(Unit::Listed);
        let absent = plan.to_miss.iter().map(Unit::Absent);
        let refused = plan.to_notice.iter().map(Unit::Refused);
        let units: Vec<Unit<'_>> = listed.chain(absent).chain(refused).collect();
        let mut applied = Applied { counts: plan.settled, ..Applied::default() };
        let total = units.len() as u64;
        let mut done = 0;
        for batch in units.chunks(BATCH) {
            turn.progressed(SyncProgress { done, total });
            self.apply_batch(source, batch, act, &mut applied)?;
            done += batch.len() as u64;
        }
        let record = record(act, outcome_of(&applied.counts), applied.counts);
        self.ports.store.write(|tx| {
            tx.put_source(&begun.ended(record.clone(), plan.complete))?;
            tx.append_audit(&act.fact("source.synced", &source.id, &numbers(&record)))?;
            Ok::<_, ServiceError>(())
        })?;
        Ok(applied)
    }

    /// One transaction for all of them; where one of them is refused, one for each, so that the others are done.
    fn apply_batch(
        &self,
        source: &Source,
        batch: &[Unit<'_>],
        act: &Act,
        applied: &mut Applied,
    ) -> Result<(), ServiceError> {
        match self.apply_together(source, batch, act, applied) {
            Err(error) if is_of_the_line(&error) => {}
            outcome => return outcome,
        }
        for unit in batch {
            match self.apply_together(source, std::slice::from_ref(unit), act, applied) {
                Err(error) if is_of_the_line(&error) => {
                    applied.counts.refused += 1;
                    applied.problems.push(unit.problem(&error));
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn apply_together(
        &self,
        source: &Source,
        units: &[Unit<'_>],
        act: &Act,
        applied: &mut Applied,
    ) -> Result<(), ServiceError> {
        let accepted = self.accepted();
        let (counts, changed) = self.ports.store.write(|tx| {
            let (mut counts, mut changed) = (SyncCounts::default(), Vec::new());
            let mut ended = BTreeSet::new();
            for unit in units {
                if let Some(change) = unit.decide(tx.as_view(), source, act)? {
                    counts.add(&change.counts);
                    changed.extend(write_change(tx, source, &change, act)?);
                    if change.events.iter().any(|event| event.may_end_life()) {
                        ended.insert(change.device);
                    }
                }
            }
            // Once for all of them: every request that waits is looked at.
            if !ended.is_empty() {
                refuse_of_ended(tx, |object| ended.iter().any(|id| object.is_device(id)), act)?;
            }
            Ok::<_, ServiceError>((counts, changed))
        })?;
        self.certificates_moved(&changed, accepted)?;
        applied.counts.add(&counts);
        // A device that is retired at once is on hold in between: each of its certificates changes twice.
        let certificates: BTreeSet<&str> =
            changed.iter().map(|certificate| certificate.id.as_str()).collect();
        applied.certificates += certificates.len() as u64;
        Ok(())
    }
}

/// Whether an error is the line's and not the store's.
const fn is_of_the_line(error: &ServiceError) -> bool {
    match error {
        ServiceError::NotFound { .. }
        | ServiceError::Invalid { .. }
        | ServiceError::Conflict(_)
        | ServiceError::Refused(_) => true,
        ServiceError::Forbidden(_)
        | ServiceError::NotInitialised
        | ServiceError::Key(_)
        | ServiceError::NoAnswer(_)
        | ServiceError::Store(_)
        | ServiceError::Internal(_) => false,
    }
}

fn read_listing(request: &SyncRequest) -> Result<(Vec<Entry>, Columns), ServiceError> {
    let wrong = |problem: &dyn std::fmt::Display| ServiceError::invalid("listing", problem);
    let inventory = Inventory::read(&request.listing).map_err(|error| wrong(&error))?;
    let columns = entry::columns(&inventory, &request.columns).map_err(|error| wrong(&error))?;
    if inventory.rows == 0 && !request.force {
        let problem =
            "the listing has no device at all. Nothing was changed. If every device is gone, say --force";
        return Err(ServiceError::Refused(problem.to_owned()));
    }
    let mut entries = Vec::new();
    inventory.each_row(&mut |row| entries.push(Entry::read(&row, &columns)));
    Ok((entries, columns))
}

fn planned<'a>(
    view: &dyn View,
    source: &'a Source,
    entries: &[Entry],
    act: &Act,
) -> Result<Plan<'a>, ServiceError> {
    let mut plan = Plan::new(source, entries.len(), act.at);
    for (index, entry) in entries.iter().enumerate() {
        plan.entry(index, entry, &matches(view, entry)?);
    }
    let mut page = Page::first(PAGE);
    loop {
        let members = view.members(&source.id, &page)?;
        for membership in &members {
            if let Some(device) = view.device(&membership.device)? {
                plan.member(&device, membership);
            }
        }
        match members.last() {
            Some(last) => page.after = Some(last.device.clone()),
            None => return Ok(plan),
        }
    }
}

/// The devices that the entry's id and identities point to, each once.
fn matches(view: &dyn View, entry: &Entry) -> StoreResult<Vec<Known>> {
    let mut found: BTreeMap<DeviceId, Device> = BTreeMap::new();
    if let Some(id) = &entry.device {
        found.extend(view.device(id)?.map(|device| (device.id.clone(), device)));
    }
    for (kind, value) in &entry.registration.identities {
        let device = view.device_by_identity(*kind, value)?;
        found.extend(device.map(|device| (device.id.clone(), device)));
    }
    let known = |device: Device| Ok(Known { membership: view.membership(&device.id)?, device });
    found.into_values().map(known).collect()
}

/// A listing none of whose lines can be applied is not one.
fn check_lines(plan: &Plan<'_>) -> Result<(), ServiceError> {
    let all_refused = plan.counts.lines > 0 && plan.counts.refused == plan.counts.lines;
    match plan.refused.first().filter(|_| all_refused) {
        None => Ok(()),
        Some((line, problem)) => Err(ServiceError::Refused(format!(
            "none of the {} lines can be applied. Nothing was changed. Line {line}: {problem}",
            plan.counts.lines
        ))),
    }
}

fn problems_of(plan: &Plan<'_>) -> Vec<LineProblem> {
    let problem = |(line, refused): &(u64, change::LineRefused)| LineProblem {
        line: *line,
        problem: refused.to_string(),
    };
    plan.refused.iter().map(problem).collect()
}

const fn outcome_of(counts: &SyncCounts) -> SyncOutcome {
    if counts.refused == 0 { SyncOutcome::Complete } else { SyncOutcome::Partial }
}

fn record(act: &Act, outcome: SyncOutcome, counts: SyncCounts) -> SyncRecord {
    SyncRecord { at: act.at, by: act.actor.to_string(), outcome, counts }
}

fn numbers(record: &SyncRecord) -> Vec<(&'static str, String)> {
    let counts = &record.counts;
    let mut detail: Vec<_> = [
        ("lines", counts.lines),
        ("registered", counts.registered),
        ("updated", counts.updated),
        ("returned", counts.returned),
        ("refused", counts.refused),
        ("absent", counts.absent),
        ("missing", counts.missing),
        ("held", counts.held),
        ("retired", counts.retired),
    ]
    .map(|(key, count)| (key, count.to_string()))
    .into();
    detail.push(("outcome", record.outcome.to_string()));
    detail
}

impl Unit<'_> {
    /// What is to be done now; none where that is nothing any more.
    fn decide(self, view: &dyn View, source: &Source, act: &Act) -> Result<Option<Change>, ServiceError> {
        match self {
            Self::Listed(entry) => change::of_entry(source, entry, &matches(view, entry)?, act.at)
                .map(Some)
                .map_err(|refused| ServiceError::Refused(refused.to_string())),
            Self::Absent(id) => {
                let (device, membership) = (view.device(id)?, view.membership(id)?);
                Ok(device
                    .zip(membership)
                    .filter(|(_, membership)| membership.source == source.id)
                    .map(|(device, membership)| change::of_absence(source, &device, &membership, act.at)))
            }
            Self::Refused(id) => {
                let membership = view.membership(id)?.filter(|membership| membership.source == source.id);
                Ok(membership.map(|membership| change::of_refused_line(&membership)))
            }
        }
    }

    fn problem(self, error: &ServiceError) -> LineProblem {
        match self {
            Self::Listed(entry) => LineProblem { line: entry.line, problem: error.to_string() },
            Self::Absent(id) | Self::Refused(id) => {
                LineProblem { line: 0, problem: format!("the device \"{id}\": {error}") }
            }
        }
    }
}

fn write_change(
    tx: &mut dyn Tx,
    source: &Source,
    change: &Change,
    act: &Act,
) -> Result<Vec<ChangedCertificate>, ServiceError> {
    if let Some(record) = &change.record {
        if let Some(user) = &record.user {
            record_if_unknown(tx, user, act)?;
        }
        tx.put_device(record)?;
        let action = if record.version == 1 { "device.registered" } else { "device.changed" };
        let detail = [("name", record.name.clone()), ("source", source.id.to_string())];
        tx.append_audit(&act.fact(action, &record.id, &detail))?;
    }
    if let Some(membership) = &change.membership {
        let joins = tx.membership(&change.device)?.is_none();
        // From now on the source can hold and retire it.
        if joins && change.record.as_ref().is_none_or(|record| record.version > 1) {
            let detail = [("source", source.id.to_string())];
            tx.append_audit(&act.fact("device.joined-source", &change.device, &detail))?;
        }
        tx.put_membership(membership)?;
    }
    let mut changed = Vec::new();
    for event in &change.events {
        let note = format!("source {}", source.id);
        changed.extend(apply_event(tx, &change.device, *event, &note, act)?);
    }
    Ok(changed)
}
