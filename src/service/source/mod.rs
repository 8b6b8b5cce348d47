//! Sources of devices: recorded, shown, removed; [`sync`] brings their listings in.

pub mod sync;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, ServiceError,
    audit::Act,
    certificate::ChangedCertificate,
    device::{DeviceView, apply_event, with_source},
    metric::{self, label},
};
use crate::{
    domain::{
        access::{Administer, Authed, Read},
        device::DeviceEvent,
        source::{DEFAULT_GRACE_DAYS, MissingPolicy, Source, SourceKind},
    },
    ports::{Tx, View, store::Page},
    types::{DeviceId, SourceId},
};

/// Devices that one transaction changes at most, so that other writers wait for milliseconds.
const BATCH: usize = 100;

/// Longest grace: ten years.
const MAX_GRACE_DAYS: u32 = 3650;

/// A source to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// Its name.
    pub id: SourceId,
    /// Where its listings come from.
    #[serde(default)]
    pub kind: SourceKind,
    /// What becomes of its devices that are missing.
    #[serde(default)]
    pub missing: MissingPolicy,
    /// With `retire`: days from the hold to the retirement; 30 unless said otherwise.
    pub grace_days: Option<u32>,
}

/// A source as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Its record. Where a sync is unfinished and none is `running`, it was cut off and should be run again.
    #[serde(flatten)]
    pub source: Source,
    /// How far a sync that runs now is.
    pub running: Option<SyncProgress>,
}

/// How far a sync is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncProgress {
    /// Devices that are done.
    pub done: u64,
    /// Devices that change; 0 while that is being found out.
    pub total: u64,
}

/// What removing a source did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedSource {
    /// The source.
    pub source: SourceId,
    /// Devices that belonged to it; they stay as they are.
    pub devices: u64,
    /// Of those: devices that were missing from it, which nobody says any more.
    pub released: u64,
    /// The certificates whose hold went with that; OCSP says so from now on.
    pub certificates: Vec<ChangedCertificate>,
}

/// The syncs that run now, one per source at most.
#[derive(Debug, Default)]
pub(super) struct RunningSyncs(Mutex<BTreeMap<SourceId, SyncProgress>>);

/// The right to change the members of a source; ends when dropped.
struct Turn<'a> {
    running: &'a RunningSyncs,
    source: SourceId,
}

impl RunningSyncs {
    fn begin(&self, source: &SourceId) -> Result<Turn<'_>, ServiceError> {
        let mut running = self.lock();
        if running.contains_key(source) {
            let problem = format!("a sync of the source \"{source}\" is running: wait for its end");
            return Err(ServiceError::Conflict(problem));
        }
        running.insert(source.clone(), SyncProgress::default());
        Ok(Turn { running: self, source: source.clone() })
    }

    fn progress(&self, source: &SourceId) -> Option<SyncProgress> {
        self.lock().get(source).copied()
    }

    // A panic leaves at most a stale number behind.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SourceId, SyncProgress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    fn progressed(&self, progress: SyncProgress) {
        self.running.lock().insert(self.source.clone(), progress);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(&self.source);
    }
}

impl Gateway {
    /// Records a source, without devices.
    pub fn add_source(
        &self,
        authed: &Authed<Administer>,
        new: &NewSource,
    ) -> Result<SourceView, ServiceError> {
        let act = Act::of(authed, self.now());
        let grace = new.grace_days.unwrap_or(DEFAULT_GRACE_DAYS);
        if grace > MAX_GRACE_DAYS {
            return Err(ServiceError::invalid("grace_days", format_args!("must be 0 to {MAX_GRACE_DAYS}")));
        }
        let source = Source::new(new.id.clone(), new.kind, new.missing, grace, act.at);
        self.ports.store.write(|tx| {
            if tx.source(&source.id)?.is_some() {
                let problem = format!("the source \"{}\" exists already", source.id);
                return Err(ServiceError::Conflict(problem));
            }
            tx.put_source(&source)?;
            let detail = [("missing", source.missing.as_str().to_owned())];
            tx.append_audit(&act.fact("source.added", &source.id, &detail))?;
            Ok(())
        })?;
        Ok(self.source_view(source))
    }

    /// One source.
    pub fn source(&self, _authed: &Authed<Read>, id: &SourceId) -> Result<SourceView, ServiceError> {
        let source = self.ports.store.read(|view| known(view, id))?;
        Ok(self.source_view(source))
    }

    /// All sources, by name.
    pub fn sources(&self, _authed: &Authed<Read>) -> Result<Listing<SourceView>, ServiceError> {
        let sources = self.ports.store.read(|view| view.sources())?;
        Ok(Listing::whole(sources.into_iter().map(|source| self.source_view(source)).collect()))
    }

    /// The devices of a source, paged by id.
    pub fn devices_of_source(
        &self,
        _authed: &Authed<Read>,
        id: &SourceId,
        page: &Page<DeviceId>,
    ) -> Result<Listing<DeviceView>, ServiceError> {
        let views = self.ports.store.read(|view| {
            known(view, id)?;
            let mut views = Vec::new();
            for member in view.members(id, page)? {
                let device = view.device(&member.device)?;
                views.extend(device.map(|device| with_source(view, device)).transpose()?);
            }
            Ok::<_, ServiceError>(views)
        })?;
        Ok(Listing::page(views, page.limit, |device: &DeviceView| device.id.to_string()))
    }

    /// Removes a source. Its devices stay, and belong to none; what it held because they were missing is released. Cut off in the
    /// middle, it is to be called again.
    pub fn remove_source(
        &self,
        authed: &Authed<Administer>,
        id: &SourceId,
    ) -> Result<RemovedSource, ServiceError> {
        let act = Act::of(authed, self.now());
        let _turn = self.syncs.begin(id)?;
        self.ports.store.read(|view| known(view, id).map(drop))?;
        let mut removed =
            RemovedSource { source: id.clone(), devices: 0, released: 0, certificates: Vec::new() };
        loop {
            let accepted = self.accepted();
            let (members, released, changed) = self.ports.store.write(|tx| dismiss(tx, id, &act))?;
            if members == 0 {
                break;
            }
            self.certificates_moved(&changed, accepted)?;
            removed.devices += members;
            removed.released += released;
            removed.certificates.extend(changed);
        }
        self.ports.store.write(|tx| {
            tx.remove_source(id)?;
            let detail = [("devices", removed.devices), ("released", removed.released)]
                .map(|(key, value)| (key, value.to_string()));
            tx.append_audit(&act.fact("source.removed", id, &detail))?;
            Ok::<_, ServiceError>(())
        })?;
        Ok(removed)
    }

    fn source_view(&self, source: Source) -> SourceView {
        SourceView { running: self.syncs.progress(&source.id), source }
    }
}

/// What monitoring sees of the sources.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(super) fn set_gauges(sources: &[Source]) {
    for source in sources {
        if let Some(at) = source.listed_at {
            let labels = [(label::SOURCE, source.id.to_string())];
            metrics::gauge!(metric::SOURCE_LISTED, &labels).set(at.unix() as f64);
        }
        let Some(counts) = source.last_sync.as_ref().map(|sync| sync.counts) else { continue };
        let absent = counts.absent.saturating_sub(counts.missing);
        let listed = counts.devices.saturating_sub(counts.absent);
        for (condition, devices) in [("listed", listed), ("absent", absent), ("missing", counts.missing)] {
            let labels = [(label::SOURCE, source.id.to_string()), (label::CONDITION, condition.to_owned())];
            metrics::gauge!(metric::SOURCE_DEVICES, &labels).set(devices as f64);
        }
    }
}

fn known(view: &dyn View, id: &SourceId) -> Result<Source, ServiceError> {
    view.source(id)?.ok_or_else(|| ServiceError::not_found("source", id))
}

/// Lets a batch of members go: how many, how many of them were missing, and what that did to certificates.
fn dismiss(
    tx: &mut dyn Tx,
    id: &SourceId,
    act: &Act,
) -> Result<(u64, u64, Vec<ChangedCertificate>), ServiceError> {
    let members = tx.members(id, &Page::first(BATCH))?;
    let (mut released, mut changed) = (0, Vec::new());
    for member in &members {
        if tx.device(&member.device)?.is_some_and(|device| device.is_missing()) {
            let note = format!("the source {id} is removed");
            changed.extend(apply_event(tx, &member.device, DeviceEvent::SourceBack, &note, act)?);
            released += 1;
        }
        tx.remove_membership(&member.device)?;
    }
    Ok((members.len() as u64, released, changed))
}
