//! When a CRL is due, which number it has, and what stays in it.

use serde::{Deserialize, Serialize};

use crate::types::{IssuerId, Timestamp};

/// How an issuer publishes its CRL. Durations in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlPolicy {
    /// nextUpdate minus thisUpdate: 1 h to 10,950 h, default 168 h.
    pub lifetime: u64,
    /// A new CRL at least this often, default 24 h.
    pub period: u64,
    /// A new CRL at most this long after a revocation, below 60 s; default 5 s.
    pub debounce: u64,
    /// Revoked certificates stay listed this long after they expired; default 7 days, at least `lifetime`, so that each is on a CRL
    /// issued after its expiry (RFC 5280 §3.3).
    pub keep_expired: u64,
}

/// A CRL that was built, checked and recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlRecord {
    /// Whose.
    pub issuer: IssuerId,
    /// cRLNumber: higher than every one before.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub entries: u64,
    /// The CRL.
    pub der: Vec<u8>,
}
