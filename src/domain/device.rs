//! Devices: the record, the lifecycle with its transitions, and what each does to the device's certificates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::status::{Cause, CauseKey};
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
    /// Set up again: a new generation in state pending.
    Reprovision,
}

/// A change to the causes of every certificate bound to the device in its present generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CauseChange {
    /// Add or replace the cause with this key.
    Put(Cause),
    /// Remove the cause with this key, if it is a hold; a permanent cause stays.
    Release(CauseKey),
}

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The device afterwards.
    pub device: Device,
    /// What happens to its certificates.
    pub causes: Vec<CauseChange>,
}

/// An event that cannot happen where the device stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible for a device that is {lifecycle:?}: {hint}")]
pub struct TransitionRefused {
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// What was asked.
    pub event: DeviceEvent,
    /// What would be possible.
    pub hint: &'static str,
}

/// What the lifecycle does to certificates (mdm-and-console 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LifecyclePolicy {
    /// On a wipe request: hold (default) or revoke at once.
    pub on_wipe_requested: PendingEffect,
    /// On a retire request: hold (default) or revoke at once.
    pub on_retire_requested: PendingEffect,
    /// While lost: hold (default) or nothing.
    pub hold_when_lost: bool,
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

impl Default for LifecyclePolicy {
    fn default() -> Self {
        Self {
            on_wipe_requested: PendingEffect::Hold,
            on_retire_requested: PendingEffect::Hold,
            hold_when_lost: true,
        }
    }
}

impl Device {
    /// Decides what `event` does. `actor` is written into the causes.
    pub fn apply(
        &self,
        _event: DeviceEvent,
        _policy: &LifecyclePolicy,
        _actor: &str,
        _note: &str,
        _now: Timestamp,
    ) -> Result<Transition, TransitionRefused> {
        todo!()
    }

    /// Whether it may be given a certificate now; the refusal's words are for logs and the operator.
    pub fn may_enrol(&self) -> Result<(), &'static str> {
        todo!()
    }

    /// The causes that a certificate issued now must start with (none for a device in good standing).
    pub fn standing_causes(&self) -> Vec<Cause> {
        todo!()
    }
}
