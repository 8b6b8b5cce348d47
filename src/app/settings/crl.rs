//! `[crl]`: how CRLs are published.

use std::collections::BTreeMap;

use super::check::{Checker, DAY, HOUR};
use crate::{
    app::config,
    domain::crl::{CrlMirror, CrlPolicy, MAX_PARTITIONS},
    service::crl::CrlSettings,
    types::IssuerId,
};

/// The longest lifetime of a CRL, in hours.
const MAX_LIFETIME: u64 = 10_950;

impl Checker<'_> {
    pub(super) fn crl(&mut self, crl: &config::Crl) -> CrlSettings {
        self.number("crl.debounce-seconds", crl.debounce_seconds, 0..=59);
        let general = self.crl_policy("crl", crl);
        let mut issuers = BTreeMap::new();
        for (name, own) in &crl.issuer {
            let section = format!("crl.issuer.{name}");
            match name.parse::<IssuerId>() {
                Ok(id) => {
                    issuers.insert(id, self.crl_policy(&section, &own.over(crl)));
                }
                Err(error) => self.mistake(&section, error),
            }
        }
        CrlSettings { general, issuers, mirror: self.crl_mirror(crl) }
    }

    fn crl_policy(&mut self, section: &str, crl: &config::Crl) -> CrlPolicy {
        let key = |name: &str| format!("{section}.{name}");
        let lifetime = self.number(&key("lifetime-hours"), crl.lifetime_hours, 24..=MAX_LIFETIME);
        let period = crl.period_hours.unwrap_or((lifetime / 3).min(24));
        if self.is_wrong(&key("lifetime-hours")) {
            // Nothing can be said of what has to fit into it.
        } else if !(1..lifetime).contains(&period) {
            self.mistake(&key("period-hours"), "must be less than lifetime-hours, and at least 1");
        } else if period > lifetime / 2 {
            self.warn(
                &key("period-hours"),
                "is over half of lifetime-hours: each CRL is reported as late before its successor is due",
            );
        }
        let keep = self.number(&key("keep-expired-days"), crl.keep_expired_days, 0..=36_500);
        let delta = crl.delta_lifetime_hours;
        if delta > lifetime && !self.is_wrong(&key("lifetime-hours")) {
            self.mistake(&key("delta-lifetime-hours"), "must not be over lifetime-hours");
        }
        let partitions = self.number(&key("partitions"), crl.partitions, 0..=u64::from(MAX_PARTITIONS));
        if partitions == 1 {
            self.mistake(&key("partitions"), "one partition divides nothing: 0, or 2 and more");
        }
        CrlPolicy {
            lifetime: lifetime.saturating_mul(HOUR),
            period: period.saturating_mul(HOUR),
            debounce: crl.debounce_seconds,
            keep_expired: crl.prune_expired.then_some(keep.saturating_mul(DAY)),
            delta: (delta > 0).then_some(delta.saturating_mul(HOUR)),
            partitions: u16::try_from(partitions).ok().filter(|number| *number > 0),
        }
    }

    fn crl_mirror(&mut self, crl: &config::Crl) -> Option<CrlMirror> {
        let written = crl.secondary_url.as_ref()?;
        let base = self.plain_http_url("crl.secondary-url", written)?;
        Some(CrlMirror { base, first: !crl.prefer_primary_url })
    }
}
