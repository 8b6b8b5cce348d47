//! `[profile.NAME] approval-webhook`: who is asked before a certificate is issued.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use hyper::Uri;

use super::{OutboundSettings, check::Checker};
use crate::{
    adapters::outbound::{Destination, RequestLimits},
    app::config::{self, Config},
    domain::profile::Approval,
    ports::HostRule,
    service::ApprovalWebhook,
    types::{ProfileName, Secret},
};

/// The longest answer.
const MAX_ANSWER: usize = 64 * 1024;

/// RFC 2104 §3: a key shorter than the hash weakens the HMAC; 16 bytes are the least that cannot be guessed.
const MIN_SECRET: usize = 16;

/// Current and next.
const MAX_SECRETS: usize = 2;

impl Checker<'_> {
    pub(super) fn approval_webhooks(
        &mut self,
        config: &Config,
        outbound: &mut OutboundSettings,
    ) -> BTreeMap<ProfileName, ApprovalWebhook> {
        let mut webhooks = BTreeMap::new();
        for (name, spec) in &config.profile {
            let key = format!("profile.{name}.approval-webhook");
            let written = config.approval_webhooks.get(name.as_str());
            match (spec.approval == Approval::Webhook, written) {
                (true, Some(written)) => {
                    if let Some(webhook) = self.approval_webhook(&key, name, written, outbound) {
                        webhooks.insert(name.clone(), webhook);
                    }
                }
                (true, None) if !self.is_wrong(&key) => {
                    self.mistake(&key, "is missing, and approval is \"webhook\"");
                }
                (false, Some(_)) => self.warn(&key, "is not used: approval is not \"webhook\""),
                (true | false, None) => {}
            }
        }
        webhooks
    }

    fn approval_webhook(
        &mut self,
        key: &str,
        profile: &ProfileName,
        written: &config::ApprovalWebhook,
        outbound: &mut OutboundSettings,
    ) -> Option<ApprovalWebhook> {
        let secrets = self.approval_secrets(key, &written.secret_files);
        let Some((host, port)) = host_of(&written.url) else {
            self.mistake(
                key,
                "url is not https://HOST[:PORT]/PATH, or http:// with a loopback address, without a password",
            );
            return None;
        };
        let total = match written.timeout_seconds {
            Some(seconds) => Duration::from_secs(self.in_range(key, "timeout-seconds", seconds, 1..=120)),
            None => outbound.limits.total,
        };
        let remembered = self.in_range(key, "denial-minutes", written.denial_minutes, 0..=1440);
        let destination = format!("approval-{profile}");
        outbound.destinations.push(Destination {
            name: destination.clone(),
            hosts: vec![HostRule::exact(&host, port)],
            limits: RequestLimits { total, connect: outbound.limits.connect.min(total), ..outbound.limits },
            max_answer: MAX_ANSWER,
            enrols: true,
        });
        let remember_denials = Duration::from_secs(remembered.saturating_mul(60));
        Some(ApprovalWebhook { destination, url: written.url.clone(), secrets, remember_denials })
    }

    /// A number of the inline table at `key`.
    fn in_range(&mut self, key: &str, name: &str, value: u64, range: RangeInclusive<u64>) -> u64 {
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            self.mistake(key, format_args!("{name}: {value} is not in {least} to {most}"));
        }
        value
    }

    fn approval_secrets(&mut self, key: &str, files: &[String]) -> Vec<Secret> {
        if !(1..=MAX_SECRETS).contains(&files.len()) {
            self.mistake(key, "secret-files names one file, or two while the secret is changed");
        }
        let secrets = self.read_challenges(key, files);
        if secrets.iter().any(|secret| secret.expose().len() < MIN_SECRET) {
            self.mistake(key, format_args!("a secret has at least {MIN_SECRET} characters"));
        }
        secrets
    }
}

/// Whom a URL asks; none for one that may not be asked.
fn host_of(url: &str) -> Option<(String, Option<u16>)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let plain = address.is_ok_and(|address| address.is_loopback());
    let allowed = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => plain,
        _ => false,
    };
    allowed.then(|| (host.to_owned(), authority.port_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_machine_are_asked() {
        assert_eq!(host_of("https://a.example/x?y"), Some(("a.example".to_owned(), None)));
        assert_eq!(host_of("https://a.example:8443"), Some(("a.example".to_owned(), Some(8443))));
        assert_eq!(host_of("http://127.0.0.1:9000/x"), Some(("127.0.0.1".to_owned(), Some(9000))));
        assert_eq!(host_of("http://[::1]:9000/x"), Some(("[::1]".to_owned(), Some(9000))));
        for url in
            ["http://a.example/", "http://localhost/", "ftp://a.example/", "https://u:p@a.example/", "/x", ""]
        {
            assert_eq!(host_of(url), None, "{url}");
        }
    }
}
