//! `[profile.NAME] renewal-issuers`: other CAs with whose certificates devices renew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::check::{Checker, plain};
use crate::{
    adapters::crl_files::CrlFiles,
    app::config::{self, Config},
    domain::alternate::{AlternateIssuers, unfit_as_issuer},
    ports::CrlSource,
    types::ProfileName,
    wire::crl::Crl,
};

/// Longest grace: whoever did not come for a year has to be let in anew.
const MAX_GRACE_DAYS: u64 = 365;

impl Checker<'_> {
    pub(super) fn renewal_issuers(&mut self, config: &Config) -> BTreeMap<ProfileName, AlternateIssuers> {
        let mut issuers = BTreeMap::new();
        for name in config.profile.keys() {
            let Some(written) = config.renewal_issuers.get(name.as_str()) else { continue };
            let key = format!("profile.{name}.renewal-issuers");
            issuers.insert(name.clone(), self.alternate_issuers(&key, written));
        }
        issuers
    }

    fn alternate_issuers(&mut self, key: &str, written: &config::RenewalIssuers) -> AlternateIssuers {
        let certificates = self.read_certificates(key, &written.files);
        if written.files.is_empty() {
            self.mistake(key, "files names no file");
        }
        for certificate in &certificates {
            if let Some(problem) = unfit_as_issuer(certificate) {
                self.mistake(key, format_args!("\"{}\" {problem}", certificate.subject()));
            }
        }
        let grace_days = self.number(key, written.grace_days, 0..=MAX_GRACE_DAYS);
        let directory = self.directory().to_owned();
        let path = |file: &String| plain(&directory.join(file)).to_string_lossy().into_owned();
        let crls = written.crl_files.iter().map(path).collect();
        let issuers =
            AlternateIssuers { certificates, crls, grace: Duration::from_secs(grace_days * 86_400) };
        self.look_for_crls(key, &issuers);
        issuers
    }

    /// A CRL that is not there yet is no mistake: until it is, nothing renews that would need it.
    fn look_for_crls(&mut self, key: &str, issuers: &AlternateIssuers) {
        if issuers.crls.is_empty() {
            self.warn(key, "names no crl-files: what the other CA revoked renews nevertheless");
            return;
        }
        let files = CrlFiles::default();
        let mut crls: Vec<Arc<Crl>> = Vec::new();
        for name in &issuers.crls {
            match files.crl(name) {
                Ok(crl) => crls.push(crl),
                Err(error) => self.warn(key, error),
            }
        }
        for certificate in &issuers.certificates {
            if !crls.iter().any(|crl| crl.verify(certificate).is_ok()) {
                let subject = certificate.subject();
                self.warn(
                    key,
                    format_args!("none of crl-files is a CRL of \"{subject}\": nothing of it renews"),
                );
            }
        }
    }
}
