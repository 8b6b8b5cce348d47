//! When a CRL is due, which number it has, what stays in it, and how large it will be.
//!
//! An issuer's CRLs have one sequence of numbers, whatever their scope: the full one, the delta to it (RFC 5280 §5.2.3 wants that), and
//! the partitions. What is made together has the same number.

mod forecast;
mod policy;
mod scope;

use std::time::Duration;

use bytes::Bytes;
pub use forecast::{Forecast, Forecaster, SIZE_WARNING};
pub(crate) use policy::next_number;
pub use policy::{CrlMirror, CrlPolicy, CrlPolicyError, MAX_PARTITIONS};
pub use scope::{CrlScope, Partition};

use crate::types::{IssuerId, Timestamp};

/// A CRL that was built, checked and recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlRecord {
    /// Whose.
    pub issuer: IssuerId,
    /// What it is about.
    pub scope: CrlScope,
    /// Of a delta the number of the full CRL that it changes.
    pub base_number: Option<u64>,
    /// cRLNumber: higher than every one before.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub entries: u64,
    /// The CRL. Empty after a restore: all numbers up to this one may have been used, and there is nothing to publish until the
    /// next CRL is built.
    pub der: Bytes,
}

impl CrlRecord {
    /// A full one that nobody made: what comes next has a number above `number`.
    pub const fn reserved(issuer: IssuerId, number: u64, this_update: Timestamp) -> Self {
        let (scope, base_number, next_update) = (CrlScope::Full, None, this_update);
        Self { issuer, scope, base_number, number, this_update, next_update, entries: 0, der: Bytes::new() }
    }

    /// Whether it is a CRL that somebody can have, and not only numbers that a restore reserved.
    pub const fn is_published(&self) -> bool {
        !self.der.is_empty()
    }
}

/// From when until when a CRL speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlWindow {
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
}

/// How late the successor of a CRL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lateness {
    /// Less than half of its life is over.
    OnTime,
    /// More than half of its life is over: a schedule that fails is noticed without crying wolf.
    Half,
    /// More than three quarters.
    ThreeQuarters,
    /// It has run out: nobody should rely on it.
    Stale,
}

impl CrlWindow {
    /// How much of its life is over: 0 to 1, more when it has run out.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people; lives are below 2^53 seconds")]
    pub fn used(&self, now: Timestamp) -> f64 {
        let life = self.next_update.since(self.this_update).as_secs().max(1);
        now.since(self.this_update).as_secs() as f64 / life as f64
    }

    /// How late its successor is.
    pub fn lateness(&self, now: Timestamp) -> Lateness {
        let life = self.next_update.since(self.this_update);
        let over = |part: Duration| now >= self.this_update.plus(part);
        match () {
            () if now >= self.next_update => Lateness::Stale,
            () if over(life / 4 * 3) => Lateness::ThreeQuarters,
            () if over(life / 2) => Lateness::Half,
            () => Lateness::OnTime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_successor_is_noticed_at_half_and_at_three_quarters() {
        let at = Timestamp::from_unix;
        let window = CrlWindow { this_update: at(1_000_000), next_update: at(1_000_000 + 86_400) };
        for (hours, expected) in [
            (0, Lateness::OnTime),
            (11, Lateness::OnTime),
            (12, Lateness::Half),
            (17, Lateness::Half),
            (18, Lateness::ThreeQuarters),
            (23, Lateness::ThreeQuarters),
            (24, Lateness::Stale),
            (99, Lateness::Stale),
        ] {
            assert_eq!(window.lateness(at(1_000_000 + hours * 3_600)), expected, "after {hours} h");
        }
        assert!((window.used(at(1_000_000 + 43_200)) - 0.5).abs() < 1e-9);
        assert!(window.used(at(0)).abs() < 1e-9, "the clock went back");
    }
}
