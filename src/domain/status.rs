//! The status of a certificate, from its causes. OCSP, CRL, SCEP GetCRL, API and CLI all read [`effective`].

use serde::{Deserialize, Serialize};

use crate::types::{RevocationReason, Timestamp, Validity};

/// Where a cause comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// An operator acted on the certificate itself.
    Manual,
    /// The device's lifecycle (wipe, retire).
    DeviceLifecycle,
    /// A condition of the device (lost, compromised).
    DeviceCondition,
    /// The user's state.
    UserState,
    /// A newer certificate took its place.
    Superseded,
}

/// What identifies a cause among those of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CauseKey {
    /// Where it comes from.
    pub kind: CauseKind,
    /// Which one of that kind: `wipe`, `retire`, `lost`, `hold`, `revoke`, a user's id.
    pub reference: String,
}

/// What a cause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// certificateHold until it is released.
    Hold,
    /// Revoked for good.
    Revoke {
        /// Why (never certificateHold).
        reason: RevocationReason,
    },
}

/// One reason for a certificate not to be good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its key.
    pub key: CauseKey,
    /// What it does.
    pub effect: Effect,
    /// Since when.
    pub since: Timestamp,
    /// When the key was probably lost, if known (RFC 5280 §5.3.2).
    pub invalidity_date: Option<Timestamp>,
    /// Who caused it, as text.
    pub actor: String,
    /// Why, as they put it.
    pub note: String,
}

/// What OCSP and CRL say of a certificate that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revocation {
    /// revocationTime / revocationDate.
    pub at: Timestamp,
    /// CRLReason; `certificateHold` for a hold.
    pub reason: RevocationReason,
    /// invalidityDate.
    pub invalidity_date: Option<Timestamp>,
}

/// The effective status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// In its validity period, with no cause.
    Good,
    /// On hold.
    Hold,
    /// Revoked for good.
    Revoked,
    /// Past notAfter, with no cause.
    Expired,
    /// Before notBefore, with no cause.
    NotYetValid,
}

/// The revocation that `causes` amount to, if any: the OR rule of DESIGN section 2. The strongest permanent cause wins (keyCompromise first, then the
/// earliest), else the earliest hold.
pub fn revocation(_causes: &[Cause]) -> Option<Revocation> {
    todo!()
}

/// The effective status of a certificate.
pub fn effective(_causes: &[Cause], _validity: &Validity, _now: Timestamp) -> Status {
    todo!()
}
