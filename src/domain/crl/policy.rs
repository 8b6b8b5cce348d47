//! How an issuer publishes its CRLs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CrlWindow;
use crate::types::Timestamp;

/// How an issuer publishes its CRLs. Durations in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlPolicy {
    /// nextUpdate minus thisUpdate: 24 h to 10,950 h, default 168 h.
    pub lifetime: u64,
    /// A new full CRL at least this often, default 24 h.
    pub period: u64,
    /// A new CRL at most this long after a revocation, below 60 s; default 5 s.
    pub debounce: u64,
    /// Revoked certificates stay listed this long after they expired, and in any case until they were on a CRL that was made after
    /// that (RFC 5280 §3.3). Default 365 days; none: for ever.
    pub keep_expired: Option<u64>,
    /// nextUpdate minus thisUpdate of delta CRLs, from 1 h to `lifetime`; none: there are none.
    pub delta: Option<u64>,
    /// Into how many partitions new certificates are divided, 2 to [`MAX_PARTITIONS`]; none: they name the full CRL.
    pub partitions: Option<u16>,
}

/// A second place of an issuer's CRLs, filled by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlMirror {
    /// What stands before `/crl/..` in its URLs, without a slash at the end; `http://`.
    pub base: String,
    /// Whether clients are to try it before our own.
    pub first: bool,
}

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// 10,950 hours: what the longest-lived offline CRLs in use have.
const MAX_LIFETIME: u64 = 10_950 * HOUR;
/// Each partition costs a signature per period, and a place in memory.
pub const MAX_PARTITIONS: u16 = 256;

impl Default for CrlPolicy {
    fn default() -> Self {
        Self {
            lifetime: 168 * HOUR,
            period: DAY,
            debounce: 5,
            keep_expired: Some(365 * DAY),
            delta: None,
            partitions: None,
        }
    }
}

/// A CRL policy that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlPolicyError {
    /// Outside 24 h to 10,950 h.
    #[error("lifetime: must be from 86400 s (24 h) to 39420000 s (10950 h)")]
    Lifetime,
    /// No CRL would ever be made on schedule.
    #[error("period: must be at least 60 s")]
    Period,
    /// A revocation would show too late.
    #[error("debounce: must be below 60 s")]
    Debounce,
    /// The CRL would be stale before its successor is there.
    #[error(
        "period plus debounce must be at most the lifetime: else the CRL is stale before the next one is made"
    )]
    Stale,
    /// A delta CRL that lives longer than the CRL that it changes, or shorter than it takes to notice that none comes.
    #[error("delta: must be from 3600 s (1 h) to the lifetime")]
    Delta,
    /// No number of partitions.
    #[error("partitions: must be from 2 to {MAX_PARTITIONS}")]
    Partitions,
}

impl CrlPolicy {
    /// Whether the numbers fit together.
    pub fn check(&self) -> Result<(), CrlPolicyError> {
        if !(DAY..=MAX_LIFETIME).contains(&self.lifetime) {
            return Err(CrlPolicyError::Lifetime);
        }
        if self.period < 60 {
            return Err(CrlPolicyError::Period);
        }
        if self.debounce >= 60 {
            return Err(CrlPolicyError::Debounce);
        }
        if self.period.saturating_add(self.debounce) > self.lifetime {
            return Err(CrlPolicyError::Stale);
        }
        if self.delta.is_some_and(|life| !(HOUR..=self.lifetime).contains(&life)) {
            return Err(CrlPolicyError::Delta);
        }
        if self.partitions.is_some_and(|number| !(2..=MAX_PARTITIONS).contains(&number)) {
            return Err(CrlPolicyError::Partitions);
        }
        Ok(())
    }

    /// Whether the schedule asks for a new full CRL (or partition) after `latest`. A CRL from the future (the clock went back) is due
    /// too.
    pub fn is_due(&self, latest: Option<CrlWindow>, now: Timestamp) -> bool {
        latest.is_none_or(|crl| now < crl.this_update || now >= self.next_scheduled(crl))
    }

    /// When the schedule asks for the full CRL (or partition) after `latest`.
    pub fn next_scheduled(&self, latest: CrlWindow) -> Timestamp {
        latest.this_update.plus(Duration::from_secs(self.period))
    }

    /// Whether a new delta CRL has to come after `latest` though nothing changed.
    pub fn is_delta_due(&self, latest: Option<CrlWindow>, now: Timestamp) -> bool {
        latest.is_none_or(|crl| now < crl.this_update || now >= self.next_delta(crl))
    }

    /// When a delta CRL that does not change has to be replaced: at a third of its life, so that half of it is never over.
    pub fn next_delta(&self, latest: CrlWindow) -> Timestamp {
        latest.this_update.plus(latest.next_update.since(latest.this_update) / 3)
    }

    /// nextUpdate of a full CRL (or partition) made `now`.
    pub fn next_update(&self, now: Timestamp) -> Timestamp {
        now.plus(Duration::from_secs(self.lifetime))
    }

    /// nextUpdate of a delta CRL made `now`.
    pub fn next_delta_update(&self, now: Timestamp) -> Timestamp {
        now.plus(Duration::from_secs(self.delta.unwrap_or(self.lifetime)))
    }

    /// When a CRL is to be built for a revocation that happens `now`.
    pub fn after_revocation(&self, now: Timestamp) -> Timestamp {
        now.plus(Duration::from_secs(self.debounce))
    }

    /// Whether a revoked certificate that expires at `not_after` is listed in a CRL made `now`. `latest` is thisUpdate of the newest
    /// full CRL, which a certificate that expired after it has not been on since (RFC 5280 §3.3).
    pub fn keeps(&self, not_after: Timestamp, now: Timestamp, latest: Option<Timestamp>) -> bool {
        let kept = |seconds| now <= not_after.plus(Duration::from_secs(seconds));
        self.keep_expired.is_none_or(kept) || latest.is_some_and(|latest| latest <= not_after)
    }

    /// From when on expired certificates are listed, as of `now`, by a CA whose life began at `not_before`: expiredCertsOnCRL (X.509
    /// §9.5.2.8) and archiveCutoff (RFC 6960 §4.4.4). None where they are not kept.
    pub fn expired_since(&self, now: Timestamp, not_before: Timestamp) -> Option<Timestamp> {
        match self.keep_expired {
            Some(0) => None,
            Some(seconds) => Some(now.minus(Duration::from_secs(seconds)).max(not_before)),
            None => Some(not_before),
        }
    }
}

/// The cRLNumber after `latest`: 1 for the first.
pub(crate) fn next_number(latest: Option<u64>) -> u64 {
    latest.map_or(1, |number| number.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_800_000_000;

    fn window(this_update: u64) -> CrlWindow {
        let this_update = Timestamp::from_unix(this_update);
        CrlWindow { this_update, next_update: CrlPolicy::default().next_update(this_update) }
    }

    #[test]
    fn the_default_policy_is_sound() {
        assert_eq!(CrlPolicy::default().check(), Ok(()));
    }

    #[test]
    fn refuses_policies_that_leave_a_gap() {
        let base = CrlPolicy::default();
        for (policy, error) in [
            (CrlPolicy { lifetime: DAY - 1, ..base }, CrlPolicyError::Lifetime),
            (CrlPolicy { lifetime: MAX_LIFETIME + 1, ..base }, CrlPolicyError::Lifetime),
            (CrlPolicy { period: 0, ..base }, CrlPolicyError::Period),
            (CrlPolicy { debounce: 60, ..base }, CrlPolicyError::Debounce),
            (CrlPolicy { period: base.lifetime, ..base }, CrlPolicyError::Stale),
            (CrlPolicy { period: u64::MAX, ..base }, CrlPolicyError::Stale),
            (CrlPolicy { delta: Some(HOUR - 1), ..base }, CrlPolicyError::Delta),
            (CrlPolicy { delta: Some(base.lifetime + 1), ..base }, CrlPolicyError::Delta),
            (CrlPolicy { partitions: Some(1), ..base }, CrlPolicyError::Partitions),
            (CrlPolicy { partitions: Some(257), ..base }, CrlPolicyError::Partitions),
        ] {
            assert_eq!(policy.check(), Err(error));
        }
    }

    #[test]
    fn due_after_the_period_and_when_there_is_none() {
        let policy = CrlPolicy::default();
        let latest = window(T0);
        assert!(policy.is_due(None, Timestamp::EPOCH));
        assert!(!policy.is_due(Some(latest), Timestamp::from_unix(T0 + DAY - 1)));
        assert!(policy.is_due(Some(latest), Timestamp::from_unix(T0 + DAY)));
        assert!(policy.is_due(Some(latest), Timestamp::from_unix(T0 - 1)));
    }

    #[test]
    fn a_delta_is_replaced_before_half_of_its_life_is_over() {
        let policy = CrlPolicy { delta: Some(6 * HOUR), ..CrlPolicy::default() };
        let this_update = Timestamp::from_unix(T0);
        let delta = CrlWindow { this_update, next_update: policy.next_delta_update(this_update) };
        assert!(!policy.is_delta_due(Some(delta), Timestamp::from_unix(T0 + 2 * HOUR - 1)));
        assert!(policy.is_delta_due(Some(delta), Timestamp::from_unix(T0 + 2 * HOUR)));
        assert!(policy.is_delta_due(None, this_update));
    }

    #[test]
    fn numbers_grow_from_one() {
        assert_eq!(next_number(None), 1);
        assert_eq!(next_number(Some(41)), 42);
    }

    #[test]
    fn an_entry_is_on_a_crl_issued_after_expiry_however_long_none_was_made() {
        let at = Timestamp::from_unix;
        let (expiry, years_later) = (at(T0), at(T0 + 900 * DAY));
        for keep in [0, DAY, 365 * DAY] {
            let policy = CrlPolicy { keep_expired: Some(keep), ..CrlPolicy::default() };
            assert!(policy.keeps(expiry, years_later, Some(at(T0 - 1))), "no CRL was made since it expired");
            assert!(policy.keeps(expiry, years_later, Some(at(T0))), "valid to the last second");
            assert!(!policy.keeps(expiry, years_later, Some(at(T0 + 1))));
            assert!(policy.keeps(expiry, at(T0 + keep), Some(at(T0 + keep))));
            assert!(!policy.keeps(expiry, at(T0 + keep + 1), Some(at(T0 + 1))));
        }
        let never_pruned = CrlPolicy { keep_expired: None, ..CrlPolicy::default() };
        assert!(never_pruned.keeps(expiry, Timestamp::MAX, Some(years_later)));
    }

    #[test]
    fn what_is_kept_is_announced_from_where_it_is_kept() {
        let (now, birth) = (Timestamp::from_unix(T0), Timestamp::from_unix(T0 - 10 * DAY));
        let since = |keep_expired| {
            CrlPolicy { keep_expired, ..CrlPolicy::default() }.expired_since(now, birth).map(Timestamp::unix)
        };
        assert_eq!(since(Some(0)), None);
        assert_eq!(since(Some(DAY)), Some(T0 - DAY));
        assert_eq!(
            since(Some(365 * DAY)),
            Some(birth.unix()),
            "nothing of the CA's expired before it was there"
        );
        assert_eq!(since(None), Some(birth.unix()));
    }
}
