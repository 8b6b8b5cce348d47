//! Users: whom devices and certificates belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::types::{Timestamp, UserId};

/// Where a user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserState {
    /// In good standing.
    Enabled,
    /// Disabled: certificates are on hold.
    Disabled,
    /// Deleted: certificates are revoked (affiliationChanged).
    Deleted,
}

/// A user as the directory or the operator described them. Empty text = not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name in certgate.
    pub id: UserId,
    /// userPrincipalName.
    pub upn: String,
    /// E-mail address.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Display name.
    pub display_name: String,
    /// Distinguished name in the directory (RFC 4514).
    pub dn: String,
    /// Security identifier `S-1-5-..` from the directory.
    pub sid: Option<String>,
    /// Locale.
    pub locale: String,
    /// Further attributes: `USER_CUSTOM1` is `custom1`.
    pub attributes: BTreeMap<String, String>,
    /// Where they stand.
    pub state: UserState,
    /// When they were recorded.
    pub created_at: Timestamp,
    /// Grows with each change.
    pub version: u64,
}
