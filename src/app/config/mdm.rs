//! How MDM servers fetch challenges.

use serde::{Deserialize, Serialize};

use crate::types::ProfileName;

/// `[ndes]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ndes {
    /// The profile for keys that only sign.
    pub signature_profile: Option<ProfileName>,
    /// The profile for keys that only encipher.
    pub encryption_profile: Option<ProfileName>,
    /// Random bytes of a password.
    pub password_bytes: u64,
    /// How long a password lasts.
    pub password_minutes: u64,
    /// How many passwords may be open at once; 0 = any number.
    pub max_passwords: u64,
}

impl Default for Ndes {
    fn default() -> Self {
        Self {
            signature_profile: None,
            encryption_profile: None,
            password_bytes: 8,
            password_minutes: 1440,
            max_passwords: 0,
        }
    }
}

/// `[challenge-webhook]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ChallengeWebhook {
    /// How long its tickets last.
    pub ticket_minutes: u64,
    /// Whether devices that it describes, and nobody knows, are registered.
    pub register_devices: bool,
}

impl Default for ChallengeWebhook {
    fn default() -> Self {
        Self { ticket_minutes: 60, register_devices: false }
    }
}
