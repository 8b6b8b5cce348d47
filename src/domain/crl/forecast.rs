//! How large a CRL will be.
//!
//! The forecast is for a year from now: what is listed now and still will be then, and as much again as the past year brought that is
//! listed now. So the next year is taken for one like the last, with certificates of the same lives; of an issuer that is younger
//! than a year what it had so far is stretched to a year (but not what came in less than 30 days). The size follows from the entries
//! as they are now, 49 bytes each with a serial number of 16 bytes and a reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CrlPolicy;
use crate::types::Timestamp;

/// CRLs above this size are warned of, in bytes: Microsoft's root programme allows no larger ones, and small gear takes less.
pub const SIZE_WARNING: u64 = 10_000_000;

const DAY: u64 = 86_400;
const YEAR: Duration = Duration::from_secs(365 * DAY);
/// A shorter history is not stretched further.
const SHORTEST_HISTORY: Duration = Duration::from_secs(30 * DAY);

/// What a CRL will be like in a year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// How many certificates it will list.
    pub entries: u64,
    /// How many bytes these take.
    pub bytes: u64,
}

/// Makes a forecast from the entries of today, each seen once.
#[derive(Clone, Copy, Debug)]
pub struct Forecaster {
    policy: CrlPolicy,
    now: Timestamp,
    history: Duration,
    stay: Forecast,
    came: Forecast,
}

impl Forecast {
    fn count(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
    }
}

impl Forecaster {
    /// For an issuer that has been there since `since`.
    pub fn new(policy: CrlPolicy, since: Timestamp, now: Timestamp) -> Self {
        let history = now.since(since).clamp(SHORTEST_HISTORY, YEAR);
        Self { policy, now, history, stay: Forecast::default(), came: Forecast::default() }
    }

    /// An entry of `bytes` bytes, revoked at `revoked_at`, of a certificate that expires at `not_after`.
    pub fn see(&mut self, revoked_at: Timestamp, not_after: Timestamp, bytes: usize) {
        if self.policy.keeps(not_after, self.now.plus(YEAR), Some(self.now.plus(YEAR))) {
            self.stay.count(bytes);
        }
        let listed = self.policy.keeps(not_after, self.now, None);
        if listed && revoked_at.plus(YEAR) > self.now {
            self.came.count(bytes);
        }
    }

    /// What comes of it.
    pub fn finish(self) -> Forecast {
        let (year, history) = (YEAR.as_secs(), self.history.as_secs());
        let stretched = |number: u64| number.saturating_mul(year) / history;
        Forecast {
            entries: self.stay.entries.saturating_add(stretched(self.came.entries)),
            bytes: self.stay.bytes.saturating_add(stretched(self.came.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn forecast(keep_days: u64, age_days: u64, entries: &[(u64, i64)]) -> Forecast {
        let policy = CrlPolicy { keep_expired: Some(keep_days * DAY), ..CrlPolicy::default() };
        let at = Timestamp::from_unix;
        let mut forecaster = Forecaster::new(policy, at(NOW - age_days * DAY), at(NOW));
        for (revoked_days_ago, expires_in_days) in entries {
            let not_after = NOW.saturating_add_signed(expires_in_days * 86_400);
            forecaster.see(at(NOW - revoked_days_ago * DAY), at(not_after), 49);
        }
        forecaster.finish()
    }

    #[test]
    fn a_steady_state_stays_as_it_is() {
        // One a day is revoked half-way through its life of 200 days: listed for 100 days and the 30 that it is kept.
        let entries: Vec<_> = (0..130_u64).map(|ago| (ago, 100 - i64::try_from(ago).unwrap())).collect();
        assert_eq!(forecast(30, 2_000, &entries), Forecast { entries: 130, bytes: 130 * 49 });
    }

    #[test]
    fn long_lives_add_up() {
        // One a day, each valid for ten more years, for a year so far.
        let entries: Vec<_> = (0..365).map(|ago| (ago, 3_650)).collect();
        assert_eq!(forecast(365, 365, &entries).entries, 730);
    }

    #[test]
    fn a_young_issuer_is_stretched_to_a_year() {
        let entries: Vec<_> = (0..73).map(|ago| (ago, 3_650)).collect();
        assert_eq!(forecast(365, 73, &entries).entries, 73 + 365);
        let first_day: Vec<_> = (0..10).map(|_| (0, 3_650)).collect();
        assert_eq!(forecast(365, 1, &first_day).entries, 10 + 10 * 365 / 30);
    }
}
