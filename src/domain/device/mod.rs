//! Devices: the record, the lifecycle with its transitions, and what each does to the device's certificates.

mod transition;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use super::status::CauseChange;
use super::status::{Cause, CauseKey, CauseKind, Effect};
use crate::types::{DeviceId, Timestamp, UserId};

/// Where a device stands; exactly one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// Registered; has not enrolled yet.
    Pending,
    /// Its ticket was used; not complete yet.
    Verified,
    /// In service.
    Active,
    /// Retire asked for; not confirmed.
    RetirePending,
    /// Retired.
    Retired,
    /// Wipe asked for; not confirmed.
    WipePending,
    /// Wiped.
    Wiped,
    /// Registered, but never enrolled before its ticket ran out.
    Expired,
}

/// A circumstance beside the lifecycle; any number at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionKind {
    /// Lost; may be found.
    Lost,
    /// Known to be in other hands.
    Compromised,
    /// A retire was asked for before the wipe that is pending now; a wipe that is withdrawn goes back to it.
    RetireOutstanding,
    /// Its source no longer lists it; nothing follows from that.
    SourceMissing,
    /// Its source no longer lists it, and its certificates are on hold for that.
    SourceHold,
}

/// A condition with its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Which.
    pub kind: ConditionKind,
    /// Since when.
    pub since: Timestamp,
    /// Who said so, and why.
    pub note: String,
}

/// The kinds of identity that a device can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityKind {
    /// Hardware serial number.
    Serial,
    /// Apple UDID.
    Udid,
    /// UUID given by the MDM.
    Uuid,
    /// IMEI.
    Imei,
    /// IMSI.
    Imsi,
    /// MAC address.
    Mac,
    /// The MDM client's id.
    ClientId,
}

/// A device. Its textual ids are in `identities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name in certgate.
    pub id: DeviceId,
    /// Which life of it: starts at 1.
    pub generation: u32,
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// Since when.
    pub lifecycle_since: Timestamp,
    /// Circumstances.
    pub conditions: Vec<Condition>,
    /// Serial number, UDID, IMEI, MAC ... at most one of each kind; (kind, value) is unique among devices.
    pub identities: BTreeMap<IdentityKind, String>,
    /// Its user.
    pub user: Option<UserId>,
    /// Display name.
    pub name: String,
    /// Model, for people and templates.
    pub model: String,
    /// The computer account's SID, from the directory.
    pub sid: Option<String>,
    /// Further attributes for templates.
    pub attributes: BTreeMap<String, String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it first got a certificate in this life.
    pub enrolled_at: Option<Timestamp>,
    /// Grows with each change.
    pub version: u64,
}

/// What can happen to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceEvent {
    /// It was given a certificate.
    Enrolled,
    /// Retire asked for.
    Retire,
    /// Retire withdrawn before it was confirmed.
    Unretire,
    /// Wipe asked for.
    Wipe,
    /// Wipe withdrawn before it was confirmed.
    CancelWipe,
    /// The pending retire or wipe is confirmed (by the device, the MDM, or an operator who will not wait).
    Force,
    /// Reported lost.
    Lost,
    /// Found again.
    Found,
    /// Known, or strongly suspected, to be in other hands.
    Compromised,
    /// The suspicion was unfounded.
    Cleared,
    /// Its ticket ran out before it enrolled.
    TicketExpired,
    /// Set up again: a new generation in state pending. The tickets of the life before are withdrawn.
    Reprovision,
    /// Its source has not listed it for a while.
    SourceMissing,
    /// Its source has not listed it for a while, and holds certificates then.
    SourceHold,
    /// Its source lists it again, or has no say any more.
    SourceBack,
}

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The device afterwards.
    pub device: Device,
    /// What happens to every certificate that is bound to the device in the generation that it had before.
    pub causes: Vec<CauseChange>,
}

/// An event that cannot happen where the device stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible for a device that is {lifecycle}: {hint}")]
pub struct TransitionRefused {
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// What was asked.
    pub event: DeviceEvent,
    /// What would be possible.
    pub hint: &'static str,
}

/// What the lifecycle does to certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LifecyclePolicy {
    /// On a wipe request: hold (default) or revoke at once.
    pub on_wipe_requested: PendingEffect,
    /// On a retire request: hold (default) or revoke at once.
    pub on_retire_requested: PendingEffect,
    /// While lost: hold (default) or nothing.
    pub hold_when_lost: bool,
    /// How many days the certificate that a renewal took the place of stays good beside the new one; default 7, 0 = not at all.
    pub overlap_days: u32,
    /// Whether it is revoked (superseded) then; default true. Else it stays good until it expires.
    pub revoke_superseded: bool,
}

/// What a pending retire or wipe does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingEffect {
    /// certificateHold until it is confirmed or withdrawn.
    #[default]
    Hold,
    /// Revoked at once, for good.
    Revoke,
}

impl LifecyclePolicy {
    /// The defaults as a constant.
    pub const DEFAULT: Self = Self {
        on_wipe_requested: PendingEffect::Hold,
        on_retire_requested: PendingEffect::Hold,
        hold_when_lost: true,
        overlap_days: 7,
        revoke_superseded: true,
    };

    /// When a certificate that was renewed at `renewed_at` is revoked; none where it stays.
    pub fn overlap_end(&self, renewed_at: Timestamp) -> Option<Timestamp> {
        const DAY: u64 = 86_400;
        let overlap = Duration::from_secs(u64::from(self.overlap_days) * DAY);
        self.revoke_superseded.then(|| renewed_at.plus(overlap))
    }
}

impl Default for LifecyclePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is known of a device when it is registered. Empty text = not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Registration {
    /// Display name; the device's id where it is empty.
    pub name: String,
    /// Model.
    pub model: String,
    /// Its user.
    pub user: Option<UserId>,
    /// Serial number, UDID, IMEI, MAC ...
    pub identities: BTreeMap<IdentityKind, String>,
    /// The computer account's SID, from the directory.
    pub sid: Option<String>,
    /// Further attributes for templates.
    pub attributes: BTreeMap<String, String>,
}

/// A value of a device's or user's record that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidRecord {
    /// Which value: `identities.serial`, `name`.
    pub field: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl Device {
    /// A newly registered device in its first life: pending, version 1. White space around values is dropped.
    ///
    /// Identities and names must be printable and at most 128 characters long, identities not empty; a SID
    /// must look like one.
    pub fn new(id: DeviceId, registration: Registration, now: Timestamp) -> Result<Self, InvalidRecord> {
        let mut identities = BTreeMap::new();
        for (kind, value) in registration.identities {
            let field = format!("identities.{kind}");
            let value = checked_text(&field, &value)?;
            if value.is_empty() {
                return Err(InvalidRecord { field, problem: "must not be empty; leave it out instead" });
            }
            identities.insert(kind, value);
        }
        let name = checked_text("name", &registration.name)?;
        Ok(Self {
            name: if name.is_empty() { id.to_string() } else { name },
            id,
            generation: 1,
            lifecycle: Lifecycle::Pending,
            lifecycle_since: now,
            conditions: Vec::new(),
            identities,
            user: registration.user,
            model: checked_text("model", &registration.model)?,
            sid: registration.sid.as_deref().map(checked_sid).transpose()?,
            attributes: checked_attributes(registration.attributes)?,
            created_at: now,
            enrolled_at: None,
            version: 1,
        })
    }

    /// Whether the circumstance holds.
    pub fn has(&self, kind: ConditionKind) -> bool {
        self.conditions.iter().any(|condition| condition.kind == kind)
    }

    /// Whether its source no longer lists it, whatever follows from that.
    pub fn is_missing(&self) -> bool {
        self.has(ConditionKind::SourceMissing) || self.has(ConditionKind::SourceHold)
    }

    /// Whether it may be given a certificate now; the refusal's words are for logs and the operator.
    ///
    /// A lost or compromised device gets none whatever the policy: who asks is not who should.
    pub fn may_enrol(&self) -> Result<(), &'static str> {
        match self.lifecycle {
            Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Active => {}
            Lifecycle::RetirePending => return Err("its retire is pending"),
            Lifecycle::Retired => return Err("it is retired; set it up again with reprovision"),
            Lifecycle::WipePending => return Err("its wipe is pending"),
            Lifecycle::Wiped => return Err("it is wiped; set it up again with reprovision"),
            Lifecycle::Expired => return Err("its registration expired; set it up again with reprovision"),
        }
        if self.has(ConditionKind::Compromised) {
            return Err("it is marked as compromised");
        }
        if self.has(ConditionKind::Lost) {
            return Err("it is reported lost");
        }
        // A new certificate would be good beside the old ones that are on hold.
        if self.has(ConditionKind::SourceHold) {
            return Err("its source no longer lists it");
        }
        Ok(())
    }

    /// The state in a few words for people: the first that applies of wiped, retired, wipe pending, retire
    /// pending, compromised, lost, missing, and the lifecycle.
    pub fn badge(&self) -> &'static str {
        let condition = if self.has(ConditionKind::Compromised) {
            Some("compromised")
        } else if self.has(ConditionKind::Lost) {
            Some("lost")
        } else if self.is_missing() {
            Some("missing")
        } else {
            None
        };
        match self.lifecycle {
            Lifecycle::Wiped => "wiped",
            Lifecycle::Retired => "retired",
            Lifecycle::WipePending => "wipe pending",
            Lifecycle::RetirePending => "retire pending",
            Lifecycle::Active => condition.unwrap_or("active"),
            Lifecycle::Pending => condition.unwrap_or("pending"),
            Lifecycle::Verified => condition.unwrap_or("verified"),
            Lifecycle::Expired => condition.unwrap_or("registration expired"),
        }
    }
}

impl Lifecycle {
    /// Every lifecycle.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Verified,
        Self::Active,
        Self::RetirePending,
        Self::Retired,
        Self::WipePending,
        Self::Wiped,
        Self::Expired,
    ];

    /// Whether this life has ended for good: its certificates are revoked, and only reprovision begins another one.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Retired | Self::Wiped)
    }

    /// The textual form, as in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Active => "active",
            Self::RetirePending => "retire-pending",
            Self::Retired => "retired",
            Self::WipePending => "wipe-pending",
            Self::Wiped => "wiped",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl DeviceEvent {
    /// Whether it only ever happens by itself: nobody can ask for it.
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::Enrolled
            | Self::TicketExpired
            | Self::SourceMissing
            | Self::SourceHold
            | Self::SourceBack => true,
            Self::Retire
            | Self::Unretire
            | Self::Wipe
            | Self::CancelWipe
            | Self::Force
            | Self::Lost
            | Self::Found
            | Self::Compromised
            | Self::Cleared
            | Self::Reprovision => false,
        }
    }

    /// Whether a life of the device may end with it: see [`Lifecycle::is_over`].
    pub const fn may_end_life(self) -> bool {
        matches!(self, Self::Retire | Self::Force | Self::Reprovision)
    }

    /// Every event.
    pub const ALL: [Self; 15] = [
        Self::Enrolled,
        Self::Retire,
        Self::Unretire,
        Self::Wipe,
        Self::CancelWipe,
        Self::Force,
        Self::Lost,
        Self::Found,
        Self::Compromised,
        Self::Cleared,
        Self::TicketExpired,
        Self::Reprovision,
        Self::SourceMissing,
        Self::SourceHold,
        Self::SourceBack,
    ];

    /// The textual form, as on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Retire => "retire",
            Self::Unretire => "unretire",
            Self::Wipe => "wipe",
            Self::CancelWipe => "cancel-wipe",
            Self::Force => "force",
            Self::Lost => "lost",
            Self::Found => "found",
            Self::Compromised => "compromised",
            Self::Cleared => "cleared",
            Self::TicketExpired => "ticket-expired",
            Self::Reprovision => "reprovision",
            Self::SourceMissing => "source-missing",
            Self::SourceHold => "source-hold",
            Self::SourceBack => "source-back",
        }
    }
}

impl fmt::Display for DeviceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl IdentityKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Serial, Self::Udid, Self::Uuid, Self::Imei, Self::Imsi, Self::Mac, Self::ClientId];

    /// The textual form, as in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Udid => "udid",
            Self::Uuid => "uuid",
            Self::Imei => "imei",
            Self::Imsi => "imsi",
            Self::Mac => "mac",
            Self::ClientId => "client-id",
        }
    }
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The longest text of a record.
const MAX_TEXT: usize = 128;

/// `text` as a record takes it: without what cannot be printed, and what is too much. For names that only people read.
pub fn fitting_text(text: &str) -> String {
    text.trim().chars().filter(|character| !character.is_control()).take(MAX_TEXT).collect()
}

/// The trimmed text, if it is printable and has at most 128 characters.
pub(super) fn checked_text(field: &str, text: &str) -> Result<String, InvalidRecord> {
    let text = text.trim();
    let wrong = |problem| Err(InvalidRecord { field: field.to_owned(), problem });
    if text.chars().count() > MAX_TEXT {
        return wrong("must have at most 128 characters");
    }
    if text.chars().any(char::is_control) {
        return wrong("must be printable");
    }
    Ok(text.to_owned())
}

/// Attribute names are letters, digits, `_`, `-` and `.`, so that a template can name them.
pub(super) fn checked_attributes(
    attributes: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, InvalidRecord> {
    let mut checked = BTreeMap::new();
    for (name, value) in attributes {
        let field = format!("attributes.{name}");
        let well_named = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !well_named {
            return Err(InvalidRecord { field, problem: "a name has 1 to 64 letters, digits, _, - and ." });
        }
        checked.insert(name, checked_text(&field, &value)?);
    }
    Ok(checked)
}

/// A security identifier in its textual form: `S-1-` and at least two further numbers.
pub(super) fn checked_sid(sid: &str) -> Result<String, InvalidRecord> {
    let sid = sid.trim();
    let numbers: Vec<&str> =
        sid.strip_prefix("S-1-").map(|rest| rest.split('-').collect()).unwrap_or_default();
    let valid = (2..=16).contains(&numbers.len()) && numbers.iter().all(|n| n.parse::<u64>().is_ok());
    if valid {
        Ok(sid.to_owned())
    } else {
        Err(InvalidRecord { field: "sid".to_owned(), problem: "must look like S-1-5-21-1-2-3-1001" })
    }
}

#[cfg(test)]
mod tests;
