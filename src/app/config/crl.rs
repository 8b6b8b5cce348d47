//! `[crl]`: how CRLs are published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[crl]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Crl {
    /// nextUpdate.
    pub lifetime_hours: u64,
    /// A new full CRL at least this often; default 24, or a third of `lifetime_hours` where that is less.
    pub period_hours: Option<u64>,
    /// A new CRL at most this long after a revocation.
    pub debounce_seconds: u64,
    /// Whether certificates that expired leave the CRL at all.
    pub prune_expired: bool,
    /// Revoked certificates stay listed this long after they expired.
    pub keep_expired_days: u64,
    /// nextUpdate of delta CRLs; 0 = there are none.
    pub delta_lifetime_hours: u64,
    /// Into how many partitions new certificates are divided; 0 = none.
    pub partitions: u64,
    /// A second place of the CRLs.
    pub secondary_url: Option<String>,
    /// Whether certificates name our own place first.
    pub prefer_primary_url: bool,
    /// `[crl.issuer.NAME]`
    pub issuer: BTreeMap<String, CrlOfIssuer>,
}

impl Default for Crl {
    fn default() -> Self {
        Self {
            lifetime_hours: 168,
            period_hours: None,
            debounce_seconds: 5,
            prune_expired: true,
            keep_expired_days: 365,
            delta_lifetime_hours: 0,
            partitions: 0,
            secondary_url: None,
            prefer_primary_url: true,
            issuer: BTreeMap::new(),
        }
    }
}

/// `[crl.issuer.NAME]`: what is not written is as in `[crl]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CrlOfIssuer {
    /// nextUpdate.
    pub lifetime_hours: Option<u64>,
    /// A new full CRL at least this often.
    pub period_hours: Option<u64>,
    /// Whether certificates that expired leave the CRL at all.
    pub prune_expired: Option<bool>,
    /// Revoked certificates stay listed this long after they expired.
    pub keep_expired_days: Option<u64>,
    /// nextUpdate of delta CRLs.
    pub delta_lifetime_hours: Option<u64>,
    /// Into how many partitions new certificates are divided.
    pub partitions: Option<u64>,
}

impl CrlOfIssuer {
    /// All of `[crl]` as this issuer has it.
    pub fn over(&self, general: &Crl) -> Crl {
        Crl {
            lifetime_hours: self.lifetime_hours.unwrap_or(general.lifetime_hours),
            period_hours: self.period_hours.or(general.period_hours),
            prune_expired: self.prune_expired.unwrap_or(general.prune_expired),
            keep_expired_days: self.keep_expired_days.unwrap_or(general.keep_expired_days),
            delta_lifetime_hours: self.delta_lifetime_hours.unwrap_or(general.delta_lifetime_hours),
            partitions: self.partitions.unwrap_or(general.partitions),
            ..general.clone()
        }
    }
}
