//! One-time challenges (tickets) and static challenges (RFC 8894 §2.4, §7.3).

use serde::{Deserialize, Serialize};

use crate::types::{DeviceId, ProfileName, TicketId, Timestamp, UserId};

/// A challenge minted for one device or user. The secret itself is shown once and stored only as a keyed MAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its handle.
    pub id: TicketId,
    /// Keyed MAC of the secret.
    pub secret_mac: [u8; 32],
    /// The only profile that takes it.
    pub profile: ProfileName,
    /// The device that it was minted for.
    pub device: Option<DeviceId>,
    /// The user that it was minted for.
    pub user: Option<UserId>,
    /// How often it may still be used.
    pub uses_left: u32,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was minted.
    pub created_at: Timestamp,
    /// By whom, as text.
    pub created_by: String,
    /// When it was withdrawn before use.
    pub cancelled_at: Option<Timestamp>,
}
