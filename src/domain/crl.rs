//! When a CRL is due, which number it has, and what stays in it.

use std::time::Duration;

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
    /// Revoked certificates stay listed this long after they expired; default 7 days, at least `lifetime`, so
    /// that each is on a CRL issued after its expiry (RFC 5280 §3.3).
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
    /// The CRL. Empty after a restore: all numbers up to this one may have been used, and there is nothing to publish until the
    /// next CRL is built.
    pub der: Vec<u8>,
}

impl CrlRecord {
    /// Whether it is a CRL that somebody can have, and not only numbers that a restore reserved.
    pub const fn is_published(&self) -> bool {
        !self.der.is_empty()
    }
}

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// 10,950 hours: what the longest-lived offline CRLs in use have.
const MAX_LIFETIME: u64 = 10_950 * HOUR;

impl Default for CrlPolicy {
    fn default() -> Self {
        Self { lifetime: 168 * HOUR, period: DAY, debounce: 5, keep_expired: 7 * DAY }
    }
}

/// A CRL policy that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlPolicyError {
    /// Outside 1 h to 10,950 h.
    #[error("lifetime: must be from 3600 s (1 h) to 39420000 s (10950 h)")]
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
    /// A revoked certificate could leave the CRL without being on one issued after its expiry.
    #[error("keep_expired: must be at least the lifetime (RFC 5280 section 3.3)")]
    KeepExpired,
}

impl CrlPolicy {
    /// Whether the numbers fit together.
    pub fn check(&self) -> Result<(), CrlPolicyError> {
        if !(HOUR..=MAX_LIFETIME).contains(&self.lifetime) {
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
        if self.keep_expired < self.lifetime {
            return Err(CrlPolicyError::KeepExpired);
        }
        Ok(())
    }

    /// Whether the schedule asks for a new CRL after `latest`. A CRL from the future (the clock went back) is
    /// due too.
    pub fn is_due(&self, latest: Option<&CrlRecord>, now: Timestamp) -> bool {
        latest.is_none_or(|crl| now < crl.this_update || now >= self.next_scheduled(crl))
    }

    /// When the schedule asks for the CRL after `latest`.
    pub fn next_scheduled(&self, latest: &CrlRecord) -> Timestamp {
        latest.this_update.plus(Duration::from_secs(self.period))
    }

    /// nextUpdate of a CRL made `now`.
    pub fn next_update(&self, now: Timestamp) -> Timestamp {
        now.plus(Duration::from_secs(self.lifetime))
    }

    /// When a CRL is to be built for a revocation that happens `now`.
    pub fn after_revocation(&self, now: Timestamp) -> Timestamp {
        now.plus(Duration::from_secs(self.debounce))
    }

    /// Whether a revoked certificate that expires at `not_after` is still listed in a CRL made `now` (RFC
    /// 5280 §3.3).
    pub fn keeps(&self, not_after: Timestamp, now: Timestamp) -> bool {
        now <= not_after.plus(Duration::from_secs(self.keep_expired))
    }
}

/// The cRLNumber after `latest`: 1 for the first.
pub fn next_number(latest: Option<&CrlRecord>) -> u64 {
    latest.map_or(1, |crl| crl.number.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crl(number: u64, this_update: u64) -> CrlRecord {
        let policy = CrlPolicy::default();
        let this_update = Timestamp::from_unix(this_update);
        CrlRecord {
            issuer: "issuing".parse().unwrap(),
            number,
            this_update,
            next_update: policy.next_update(this_update),
            entries: 0,
            der: Vec::new(),
        }
    }

    #[test]
    fn the_default_policy_is_sound() {
        assert_eq!(CrlPolicy::default().check(), Ok(()));
    }

    #[test]
    fn refuses_policies_that_leave_a_gap() {
        let base = CrlPolicy::default();
        for (policy, error) in [
            (CrlPolicy { lifetime: 3599, ..base }, CrlPolicyError::Lifetime),
            (CrlPolicy { lifetime: MAX_LIFETIME + 1, ..base }, CrlPolicyError::Lifetime),
            (CrlPolicy { period: 0, ..base }, CrlPolicyError::Period),
            (CrlPolicy { debounce: 60, ..base }, CrlPolicyError::Debounce),
            (CrlPolicy { period: base.lifetime, ..base }, CrlPolicyError::Stale),
            (CrlPolicy { period: u64::MAX, ..base }, CrlPolicyError::Stale),
            (CrlPolicy { keep_expired: base.lifetime - 1, ..base }, CrlPolicyError::KeepExpired),
        ] {
            assert_eq!(policy.check(), Err(error));
        }
    }

    #[test]
    fn due_after_the_period_and_when_there_is_none() {
        let policy = CrlPolicy::default();
        let latest = crl(1, 1_800_000_000);
        assert!(policy.is_due(None, Timestamp::EPOCH));
        assert!(!policy.is_due(Some(&latest), Timestamp::from_unix(1_800_000_000 + DAY - 1)));
        assert!(policy.is_due(Some(&latest), Timestamp::from_unix(1_800_000_000 + DAY)));
        assert!(policy.is_due(Some(&latest), Timestamp::from_unix(1_799_999_999)));
    }

    #[test]
    fn numbers_grow_from_one() {
        assert_eq!(next_number(None), 1);
        assert_eq!(next_number(Some(&crl(41, 0))), 42);
    }

    #[test]
    fn an_entry_is_on_a_crl_issued_after_expiry() {
        let policy = CrlPolicy::default();
        let not_after = Timestamp::from_unix(1_800_000_000);
        assert!(
            policy.keeps(not_after, not_after.plus(Duration::from_secs(policy.period + policy.debounce)))
        );
        assert!(!policy.keeps(not_after, not_after.plus(Duration::from_secs(policy.keep_expired + 1))));
    }
}
