//! What one entry does to one device, and what a listing does to a device that no entry of it is about.

use std::time::Duration;

use super::{Absence, MISSES, Membership, MissingPolicy, ReportedState, Source, SyncCounts, entry::Entry};
use crate::{
    domain::device::{ConditionKind, Device, DeviceEvent, InvalidRecord, Lifecycle, Registration},
    types::{DeviceId, Timestamp},
};

/// A device as it is known, with the source that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The device.
    pub device: Device,
    /// Its membership; none for one that was registered by hand.
    pub membership: Option<Membership>,
}

/// Why a line is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineRefused {
    /// It cannot be read, or holds a value that cannot be taken.
    #[error("{0}")]
    Fault(String),
    /// Nothing in it tells which device it is about.
    #[error("nothing in it can be a device's id: it has no serial number, UDID, UUID ...")]
    Nameless,
    /// Its identities are those of several devices.
    #[error("it is about several devices at once: {0}")]
    Several(String),
    /// An earlier line is about the same device.
    #[error("line {0} is about the same device")]
    Again(u64),
    /// Somebody else says what becomes of the device.
    #[error("the device \"{device}\" belongs to the source \"{source_id}\"")]
    OfAnother {
        /// The device.
        device: DeviceId,
        /// Its source.
        source_id: String,
    },
}

impl From<InvalidRecord> for LineRefused {
    fn from(invalid: InvalidRecord) -> Self {
        Self::Fault(invalid.to_string())
    }
}

/// What is to be written for one device, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub device: DeviceId,
    /// Its record, new or changed.
    pub record: Option<Device>,
    /// Its membership, new or changed.
    pub membership: Option<Membership>,
    /// What happens to it.
    pub events: Vec<DeviceEvent>,
    /// What this adds to the numbers of the sync.
    pub counts: SyncCounts,
}

impl Change {
    fn none(device: &DeviceId) -> Self {
        Self {
            device: device.clone(),
            record: None,
            membership: None,
            events: Vec::new(),
            counts: SyncCounts::default(),
        }
    }

    /// Whether there is nothing to write.
    pub fn is_nothing(&self) -> bool {
        self.record.is_none() && self.membership.is_none() && self.events.is_empty()
    }

    fn happens(&mut self, (events, effect): Happening) {
        match effect {
            Effect::Nothing => {}
            Effect::Hold => self.counts.held = 1,
            Effect::Retire => (self.counts.held, self.counts.retired) = (0, 1),
        }
        self.events.extend_from_slice(events);
    }
}

/// What a change does to the certificates of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Hold,
    Retire,
}

type Happening = (&'static [DeviceEvent], Effect);

const NOTHING: Happening = (&[], Effect::Nothing);

/// What `entry` does. `matches`: every known device that its id or one of its identities points to, each once.
pub fn of_entry(
    source: &Source,
    entry: &Entry,
    matches: &[Known],
    now: Timestamp,
) -> Result<Change, LineRefused> {
    if let Some(fault) = &entry.fault {
        return Err(LineRefused::Fault(fault.clone()));
    }
    match matches {
        [] => registration(source, entry, now),
        [known] => update(source, entry, known, now),
        several => {
            let ids: Vec<&str> = several.iter().map(|known| known.device.id.as_str()).collect();
            Err(LineRefused::Several(ids.join(", ")))
        }
    }
}

fn registration(source: &Source, entry: &Entry, now: Timestamp) -> Result<Change, LineRefused> {
    let id = entry.device.as_ref().ok_or(LineRefused::Nameless)?;
    let mut change = Change::none(id);
    change.counts.seen = 1;
    // What is on its way out elsewhere has no business here.
    if entry.state.is_some_and(|state| state != ReportedState::Managed) {
        change.counts.ignored = 1;
        return Ok(change);
    }
    change.record = Some(Device::new(id.clone(), entry.registration.clone(), now)?);
    change.membership = Some(joined(source, id, now));
    (change.counts.registered, change.counts.devices) = (1, 1);
    Ok(change)
}

fn joined(source: &Source, device: &DeviceId, now: Timestamp) -> Membership {
    Membership {
        device: device.clone(),
        source: source.id.clone(),
        since: now,
        reported: ReportedState::default(),
        absence: None,
    }
}

fn update(source: &Source, entry: &Entry, known: &Known, now: Timestamp) -> Result<Change, LineRefused> {
    let device = &known.device;
    let before = match &known.membership {
        Some(membership) if membership.source != source.id => {
            let source_id = membership.source.to_string();
            return Err(LineRefused::OfAnother { device: device.id.clone(), source_id });
        }
        Some(membership) => membership.clone(),
        None => joined(source, &device.id, now),
    };
    let said = entry.state.filter(|state| !is_for_later(*state, device.lifecycle));
    let reported = said.unwrap_or(before.reported);
    let after = Membership { reported, absence: None, ..before.clone() };
    let mut change = Change::none(&device.id);
    change.counts.seen = 1;
    change.record = described_anew(device, &entry.registration, now)?;
    change.counts.updated = u64::from(change.record.is_some() || known.membership.is_none());
    change.counts.devices = u64::from(known.membership.is_none());
    if device.is_missing() {
        change.counts.returned = 1;
        change.events.push(DeviceEvent::SourceBack);
    }
    change.happens(signal(before.reported, reported, device.lifecycle));
    change.membership = (known.membership.as_ref() != Some(&after)).then_some(after);
    Ok(change)
}

/// The record with what `registration` knows in the place of what was known; none if that is the same.
fn described_anew(
    device: &Device,
    registration: &Registration,
    now: Timestamp,
) -> Result<Option<Device>, InvalidRecord> {
    let fresh = Device::new(device.id.clone(), registration.clone(), now)?;
    let mut described = device.clone();
    if !registration.name.trim().is_empty() {
        described.name = fresh.name;
    }
    if !fresh.model.is_empty() {
        described.model = fresh.model;
    }
    described.user = fresh.user.or(described.user);
    described.sid = fresh.sid.or(described.sid);
    described.identities.extend(fresh.identities);
    described.attributes.extend(fresh.attributes);
    if described == *device {
        return Ok(None);
    }
    described.version = device.version.saturating_add(1);
    Ok(Some(described))
}

/// Whether what the source says has to wait: somebody else began what is pending, or nothing was issued yet that could be held.
///
/// Then it counts as not said. The source withdraws only what it began, and a listing that repeats it is heard once its time has come.
const fn is_for_later(state: ReportedState, lifecycle: Lifecycle) -> bool {
    use Lifecycle::{Active, RetirePending, Retired, WipePending, Wiped};
    match state {
        ReportedState::RetirePending => !matches!(lifecycle, Active | Retired | Wiped),
        ReportedState::WipePending => !matches!(lifecycle, Active | RetirePending | Retired | Wiped),
        ReportedState::Retired => matches!(lifecycle, WipePending),
        ReportedState::Managed | ReportedState::Wiped => false,
    }
}

/// What follows from what the source says. Only a change of it counts: what an operator did meanwhile is not undone by a source that
/// repeats itself.
fn signal(before: ReportedState, now: ReportedState, lifecycle: Lifecycle) -> Happening {
    use DeviceEvent::{CancelWipe, Retire, Unretire, Wipe};
    if before == now {
        return NOTHING;
    }
    match (now, lifecycle) {
        (ReportedState::Retired, _) => retirement(lifecycle),
        (ReportedState::Wiped, _) => wiping(lifecycle),
        (ReportedState::RetirePending, Lifecycle::Active) => (&[Retire], Effect::Hold),
        (ReportedState::WipePending, Lifecycle::Active | Lifecycle::RetirePending) => (&[Wipe], Effect::Hold),
        (ReportedState::Managed, Lifecycle::WipePending) if before == ReportedState::WipePending => {
            (&[CancelWipe], Effect::Nothing)
        }
        (ReportedState::Managed, Lifecycle::RetirePending) if before == ReportedState::RetirePending => {
            (&[Unretire], Effect::Nothing)
        }
        _ => NOTHING,
    }
}

/// Retired for good; a wipe that is pending does more and is waited for.
fn retirement(lifecycle: Lifecycle) -> Happening {
    use DeviceEvent::{Force, Retire};
    match lifecycle {
        Lifecycle::Active => (&[Retire, Force], Effect::Retire),
        Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Expired => (&[Retire], Effect::Retire),
        Lifecycle::RetirePending => (&[Force], Effect::Retire),
        Lifecycle::WipePending | Lifecycle::Retired | Lifecycle::Wiped => NOTHING,
    }
}

/// Wiped for good; what never enrolled has nothing to wipe and is retired.
fn wiping(lifecycle: Lifecycle) -> Happening {
    use DeviceEvent::{Force, Wipe};
    match lifecycle {
        Lifecycle::Active | Lifecycle::RetirePending => (&[Wipe, Force], Effect::Retire),
        Lifecycle::WipePending => (&[Force], Effect::Retire),
        Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Expired => retirement(lifecycle),
        Lifecycle::Retired | Lifecycle::Wiped => NOTHING,
    }
}

/// What the listing that follows the source's last does to `device`, a member that it does not name.
pub fn of_absence(source: &Source, device: &Device, membership: &Membership, now: Timestamp) -> Change {
    let listing = source.listings.saturating_add(1);
    let absence = membership
        .absence
        .unwrap_or_else(|| Absence { first: listing, last_seen: membership.last_seen(source.listed_at) });
    let mut change = Change::none(&device.id);
    change.counts.absent = 1;
    if membership.absence.is_none() {
        change.membership = Some(Membership { absence: Some(absence), ..membership.clone() });
    }
    let misses = listing.saturating_sub(absence.first).saturating_add(1);
    if misses >= MISSES && is_live(device.lifecycle) {
        change.counts.missing = 1;
        change.happens(missing(source, device, now));
    }
    change
}

/// What a line that is refused does to the member that it is about: the device is there, and no more is believed of it. What is
/// on hold stays so until a line is applied.
pub fn of_refused_line(membership: &Membership) -> Change {
    let mut change = Change::none(&membership.device);
    change.membership =
        membership.absence.is_some().then(|| Membership { absence: None, ..membership.clone() });
    change
}

pub(super) const fn is_live(lifecycle: Lifecycle) -> bool {
    !matches!(lifecycle, Lifecycle::Retired | Lifecycle::Wiped | Lifecycle::Expired)
}

fn missing(source: &Source, device: &Device, now: Timestamp) -> Happening {
    let held_since = device
        .conditions
        .iter()
        .find(|condition| condition.kind == ConditionKind::SourceHold)
        .map(|condition| condition.since);
    match (source.missing, held_since) {
        (MissingPolicy::Keep, _) if device.is_missing() => NOTHING,
        (MissingPolicy::Keep, _) => (&[DeviceEvent::SourceMissing], Effect::Nothing),
        (MissingPolicy::Hold | MissingPolicy::Retire, None) => (&[DeviceEvent::SourceHold], Effect::Hold),
        (MissingPolicy::Retire, Some(since)) if now >= since.plus(grace(source)) => {
            retirement(device.lifecycle)
        }
        (MissingPolicy::Hold | MissingPolicy::Retire, Some(_)) => NOTHING,
    }
}

const fn grace(source: &Source) -> Duration {
    const DAY: u64 = 86_400;
    // u32 days are less than u64 seconds.
    Duration::from_secs(source.grace_days as u64 * DAY)
}
