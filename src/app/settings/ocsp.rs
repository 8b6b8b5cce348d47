//! `[ocsp]` and what `[issuer.NAME]` says of it.

use std::collections::BTreeMap;

use super::check::{Checker, DAY};
use crate::{
    app::config::{Config, IssuerOptions, Signer},
    domain::throttle::Pace,
    service::{OcspPolicy, OcspSettings, OcspSigner},
    types::IssuerId,
};

/// More signatures a second than any processor makes.
const MOST_PER_SECOND: u64 = 1_000_000;

impl Checker<'_> {
    pub(super) fn ocsp(&mut self, config: &Config) -> OcspSettings {
        let ocsp = &config.ocsp;
        if ocsp.hold_validity_seconds > ocsp.good_validity_seconds {
            self.mistake(
                "ocsp.hold-validity-seconds",
                "is over ocsp.good-validity-seconds: a release would not be seen in time",
            );
        }
        let mut validity = |key, value| self.duration(key, value, 60..=7 * DAY, 1);
        OcspSettings {
            good: validity("ocsp.good-validity-seconds", ocsp.good_validity_seconds),
            hold: validity("ocsp.hold-validity-seconds", ocsp.hold_validity_seconds),
            revoked: validity("ocsp.revoked-validity-seconds", ocsp.revoked_validity_seconds),
            cache_entries: self.size("ocsp.cache-entries", ocsp.cache_entries, 1_000..=100_000_000),
            single_use: self.per_second("ocsp.single-use-per-second", ocsp.single_use_per_second),
            over_budget: ocsp.nonce_over_budget,
            issuers: config
                .issuer
                .iter()
                .map(|(name, options)| (name.clone(), self.ocsp_policy(name.as_str(), options)))
                .collect(),
        }
    }

    fn ocsp_policy(&mut self, issuer: &str, options: &IssuerOptions) -> OcspPolicy {
        let key = |key: &str| format!("issuer.{issuer}.{key}");
        if options.ocsp_presign && options.ocsp_require_signed_requests {
            self.mistake(
                &key("ocsp-presign"),
                "and ocsp-require-signed-requests exclude each other: what only some may have is not cached",
            );
        }
        OcspPolicy {
            single_use: self
                .per_second(&key("ocsp-single-use-per-second"), options.ocsp_single_use_per_second),
            signed_requests: options.ocsp_require_signed_requests,
            presign: options.ocsp_presign,
        }
    }

    /// What signs, by issuer.
    pub(super) fn ocsp_signers(&mut self, config: &Config) -> BTreeMap<IssuerId, OcspSigner> {
        let mut signers = BTreeMap::new();
        for (name, options) in &config.issuer {
            let signer = match (options.ocsp_signer, options.ocsp_signer_key) {
                (Signer::Delegate, None) => continue,
                (Signer::Delegate, Some(key)) => OcspSigner::DelegateWith(key),
                (Signer::Ca, None) => OcspSigner::Ca,
                (Signer::Ca, Some(_)) => {
                    let key = format!("issuer.{name}.ocsp-signer-key");
                    self.mistake(&key, "is a delegate's, and ocsp-signer is \"ca\"");
                    continue;
                }
            };
            signers.insert(name.clone(), signer);
        }
        signers
    }

    fn per_second(&mut self, key: &str, number: u64) -> Option<Pace> {
        let number = self.number(key, number, 0..=MOST_PER_SECOND);
        Pace::per_second(u32::try_from(number).unwrap_or(u32::MAX))
    }
}
