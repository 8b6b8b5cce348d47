//! Sources: where device records come from, and what a listing of one does to the devices.
//!
//! | file | what it decides |
//! |---|---|
//! | [`entry`] | what the columns of an export mean: rows to [`entry::Entry`] |
//! | [`change`] | what one entry does to one device, and what it does to a device that no entry is about |
//! | [`plan`] | what a whole listing does, and whether that is too much to be believed |
//!
//! A device belongs to at most one source ([`Membership`]). How often in a row it was absent is not counted up in its record:
//! the record says in which complete listing it was first absent, the source counts the listings. A sync that was cut off
//! and is run again therefore counts nobody twice, and one that finds everything as it was writes nothing but its own outcome.

pub mod change;
pub mod entry;
pub mod plan;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{DeviceId, SourceId, Timestamp};

/// Complete listings in a row without a device before it counts as missing.
pub const MISSES: u64 = 3;

/// Days between the hold and the retirement of a missing device, unless the source says otherwise.
pub const DEFAULT_GRACE_DAYS: u32 = 30;

/// Where the listings of a source come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// An operator or a timer hands them over as files.
    #[default]
    Inventory,
}

/// What becomes of a device that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingPolicy {
    /// It is shown as missing, and nothing else.
    #[default]
    Keep,
    /// Its certificates are on hold until it is listed again.
    Hold,
    /// As `hold`, and after the grace it is retired: its certificates are revoked for good.
    Retire,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub id: SourceId,
    /// Where its listings come from.
    pub kind: SourceKind,
    /// What becomes of its devices that are missing.
    pub missing: MissingPolicy,
    /// With [`MissingPolicy::Retire`]: days from the hold to the retirement.
    pub grace_days: u32,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// How many complete listings there were.
    pub listings: u64,
    /// When the last complete one was.
    pub listed_at: Option<Timestamp>,
    /// A sync began then and has not ended: it still runs, or was cut off and should be run again.
    pub unfinished_since: Option<Timestamp>,
    /// The last sync that ended.
    pub last_sync: Option<SyncRecord>,
    /// Grows with each change.
    pub version: u64,
}

/// A sync that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// When it began.
    pub at: Timestamp,
    /// Who handed over the listing, as text.
    pub by: String,
    /// How it ended.
    pub outcome: SyncOutcome,
    /// What it did; where it was refused, what it would have done.
    pub counts: SyncCounts,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncOutcome {
    /// Every line was applied.
    Complete,
    /// Some lines were refused, the others applied.
    Partial,
    /// It would have held or retired too many devices: nothing was applied.
    Refused,
}

/// What a sync does, in numbers of devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Lines of the listing.
    pub lines: u64,
    /// Devices of the source afterwards.
    pub devices: u64,
    /// Devices that the listing names.
    pub seen: u64,
    /// Devices that are new.
    pub registered: u64,
    /// Known devices whose record changed, or that came to the source.
    pub updated: u64,
    /// Devices that were missing and are listed again.
    pub returned: u64,
    /// Devices that are retired, wiped or about to be by their line, and not known: left alone.
    pub ignored: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// Devices of the source that the listing does not name.
    pub absent: u64,
    /// Of those: missing by now, after [`MISSES`] complete listings.
    pub missing: u64,
    /// Devices that this sync puts on hold: missing ones, and those whose line says that a wipe or retirement is under way.
    pub held: u64,
    /// Devices that this sync retires or wipes: missing ones after the grace, and those whose line says so.
    pub retired: u64,
}

/// That a device belongs to a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The device.
    pub device: DeviceId,
    /// Its source.
    pub source: SourceId,
    /// Since when.
    pub since: Timestamp,
    /// What the source last said of it: a signal is a change of this.
    pub reported: ReportedState,
    /// That it is absent from the source's listings.
    pub absence: Option<Absence>,
}

/// An absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// The number of the first complete listing without it.
    pub first: u64,
    /// When a listing last named it.
    pub last_seen: Timestamp,
}

/// What a source says of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportedState {
    /// In use.
    #[default]
    Managed,
    /// A retirement was asked for.
    RetirePending,
    /// Retired, or no longer enrolled.
    Retired,
    /// A wipe was asked for.
    WipePending,
    /// Wiped.
    Wiped,
}

impl Source {
    /// A new source, without devices.
    pub const fn new(
        id: SourceId,
        kind: SourceKind,
        missing: MissingPolicy,
        grace_days: u32,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            kind,
            missing,
            grace_days,
            created_at: now,
            listings: 0,
            listed_at: None,
            unfinished_since: None,
            last_sync: None,
            version: 1,
        }
    }

    /// A sync begins.
    #[must_use]
    pub fn begun(&self, now: Timestamp) -> Self {
        Self { unfinished_since: Some(now), ..self.changed() }
    }

    /// A sync ended. `complete`: its listing said of every device whether it is there.
    #[must_use]
    pub fn ended(&self, record: SyncRecord, complete: bool) -> Self {
        let mut source = Self { unfinished_since: None, ..self.changed() };
        if complete {
            source.listings = self.listings.saturating_add(1);
            source.listed_at = Some(record.at);
        }
        source.last_sync = Some(record);
        source
    }

    /// A sync was refused before it changed anything. What an earlier one left unfinished stays so.
    #[must_use]
    pub fn refused(&self, record: SyncRecord) -> Self {
        Self { last_sync: Some(record), ..self.changed() }
    }

    fn changed(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.clone() }
    }
}

impl Membership {
    /// When a listing last named the device; `listed_at` is its source's.
    pub fn last_seen(&self, listed_at: Option<Timestamp>) -> Timestamp {
        match self.absence {
            Some(absence) => absence.last_seen,
            None => listed_at.map_or(self.since, |at| at.max(self.since)),
        }
    }
}

impl MissingPolicy {
    /// The textual form, as in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Hold => "hold",
            Self::Retire => "retire",
        }
    }
}

impl fmt::Display for SyncOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Refused => "refused",
        })
    }
}

#[cfg(test)]
mod tests;
