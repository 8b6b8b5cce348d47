//! What a whole listing does, and whether that is too much to be believed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Membership, Source, SyncCounts,
    change::{self, Known, LineRefused},
    entry::Entry,
};
use crate::{
    domain::device::{Device, IdentityKind},
    types::{DeviceId, Timestamp},
};

/// So many devices may be held and retired by one sync, however small the source is.
const BRAKE_LEAST: u64 = 10;
/// In a larger source this part of its devices, in percent: of those that are not gone for good, for those grow in number for ever.
const BRAKE_PERCENT: u64 = 5;

/// The plan of a sync, made line by line; nothing in it is written yet.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    source: &'a Source,
    now: Timestamp,
    /// The lines that change something, by their place among the entries.
    pub to_apply: Vec<usize>,
    /// The members that no line is about and that change for that.
    pub to_miss: Vec<DeviceId>,
    /// The members that only refused lines are about and that change for that.
    pub to_notice: Vec<DeviceId>,
    /// The lines that are refused, with the reason.
    pub refused: Vec<(u64, LineRefused)>,
    /// What those do that change nothing.
    pub settled: SyncCounts,
    /// What the whole sync does.
    pub counts: SyncCounts,
    /// Every line says which device it is about: a member that none names is absent.
    pub complete: bool,
    live: u64,
    seen: BTreeMap<DeviceId, u64>,
    seen_in_refused: BTreeSet<DeviceId>,
    claimed: BTreeMap<(IdentityKind, String), u64>,
}

/// The sync would hold or retire too many devices at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the listing would put {held} devices on hold and retire {retired}, of {live} of the source that are in use: more than {limit} at once \
     are not believed. Nothing was changed. If the listing is right, say --force"
)]
pub struct Braked {
    /// Devices that it would put on hold.
    pub held: u64,
    /// Devices that it would retire or wipe.
    pub retired: u64,
    /// Devices of the source that are not retired, wiped or expired.
    pub live: u64,
    /// How many are believed.
    pub limit: u64,
}

impl<'a> Plan<'a> {
    /// The plan of a listing of `lines` lines.
    pub fn new(source: &'a Source, lines: usize, now: Timestamp) -> Self {
        Self {
            source,
            now,
            to_apply: Vec::new(),
            to_miss: Vec::new(),
            to_notice: Vec::new(),
            refused: Vec::new(),
            settled: SyncCounts { lines: lines as u64, ..SyncCounts::default() },
            counts: SyncCounts { lines: lines as u64, ..SyncCounts::default() },
            complete: true,
            live: 0,
            seen: BTreeMap::new(),
            seen_in_refused: BTreeSet::new(),
            claimed: BTreeMap::new(),
        }
    }

    /// Adds the entry at `index`. `matches` is as for [`change::of_entry`].
    pub fn entry(&mut self, index: usize, entry: &Entry, matches: &[Known]) {
        let change = self.once(entry, matches).and_then(|()| {
            let change = change::of_entry(self.source, entry, matches, self.now)?;
            Ok((change.is_nothing(), change.counts))
        });
        // A refused line still shows that its device is there.
        let ids = matches.iter().map(|known| &known.device.id).chain(&entry.device);
        for id in ids {
            if change.is_err() && !self.seen.contains_key(id) {
                self.seen_in_refused.insert(id.clone());
            }
            self.seen.entry(id.clone()).or_insert(entry.line);
        }
        match change {
            Ok((settled, counts)) => {
                self.count(settled, &counts);
                if !settled {
                    self.to_apply.push(index);
                }
            }
            Err(refused) => {
                // Who cannot be told may be anybody: then nobody is absent.
                self.complete &= entry.device.is_some() || !entry.registration.identities.is_empty();
                self.counts.refused += 1;
                self.settled.refused += 1;
                self.refused.push((entry.line, refused));
            }
        }
    }

    /// Refuses a second line about a device, and a new device with an identity that another new one has.
    fn once(&mut self, entry: &Entry, matches: &[Known]) -> Result<(), LineRefused> {
        let mut ids = matches.iter().map(|known| &known.device.id).chain(&entry.device);
        if let Some(line) = ids.find_map(|id| self.seen.get(id)) {
            return Err(LineRefused::Again(*line));
        }
        for (kind, value) in &entry.registration.identities {
            let claim = self.claimed.entry((*kind, value.clone())).or_insert(entry.line);
            if *claim != entry.line {
                return Err(LineRefused::Again(*claim));
            }
        }
        Ok(())
    }

    /// Adds a member of the source, after all entries.
    pub fn member(&mut self, device: &Device, membership: &Membership) {
        self.live += u64::from(change::is_live(device.lifecycle));
        self.counts.devices += 1;
        self.settled.devices += 1;
        if self.seen_in_refused.contains(&device.id) && !change::of_refused_line(membership).is_nothing() {
            self.to_notice.push(device.id.clone());
        }
        if !self.complete || self.seen.contains_key(&device.id) {
            return;
        }
        let change = change::of_absence(self.source, device, membership, self.now);
        self.count(change.is_nothing(), &change.counts);
        if !change.is_nothing() {
            self.to_miss.push(change.device);
        }
    }

    fn count(&mut self, settled: bool, counts: &SyncCounts) {
        self.counts.add(counts);
        if settled {
            self.settled.add(counts);
        }
    }

    /// The brake: a listing that was cut off looks like one whose devices are gone.
    pub fn check(&self) -> Result<(), Braked> {
        let SyncCounts { held, retired, .. } = self.counts;
        let limit = BRAKE_LEAST.max(self.live.saturating_mul(BRAKE_PERCENT) / 100);
        let braked = Braked { held, retired, live: self.live, limit };
        if held.saturating_add(retired) > limit { Err(braked) } else { Ok(()) }
    }
}

impl SyncCounts {
    /// Adds another count, field by field.
    pub fn add(&mut self, other: &Self) {
        let Self {
            lines,
            devices,
            seen,
            registered,
            updated,
            returned,
            ignored,
            refused,
            absent,
            missing,
            held,
            retired,
        } = other;
        self.lines += lines;
        self.devices += devices;
        self.seen += seen;
        self.registered += registered;
        self.updated += updated;
        self.returned += returned;
        self.ignored += ignored;
        self.refused += refused;
        self.absent += absent;
        self.missing += missing;
        self.held += held;
        self.retired += retired;
    }
}
