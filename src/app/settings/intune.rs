//! `[intune]`: which tenant, as which application, and how.

use super::{OutboundSettings, challenge, check::Checker};
use crate::{
    adapters::{
        intune::{BACKGROUND_DESTINATION, ENROLMENT_DESTINATION, IntuneSettings},
        outbound::{Destination, RequestLimits},
    },
    app::config::{self, Config},
    domain::profile::ChallengeMode,
    ports::HostRule,
    types::Secret,
};

/// Longest answer: a list of five hundred revocations has some 200 kB.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

impl Checker<'_> {
    /// The settings, if a tenant is named, and the destinations that they need.
    pub(super) fn intune(
        &mut self,
        config: &Config,
        outbound: &mut OutboundSettings,
    ) -> Option<IntuneSettings> {
        let written = &config.intune;
        let Some(tenant) = &written.tenant else {
            for name in
                config.profile.iter().filter(|(_, spec)| spec.challenge.contains(&ChallengeMode::Intune))
            {
                self.mistake(
                    &format!("profile.{}.challenge", name.0),
                    "has \"intune\", and intune.tenant is not set",
                );
            }
            return None;
        };
        if tenant.is_empty() || !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-') {
            self.mistake("intune.tenant", "is neither a tenant's id nor one of its domains");
        }
        let hosts = self.hosts(written);
        let limits = outbound.limits;
        outbound.destinations.push(Destination {
            name: ENROLMENT_DESTINATION.to_owned(),
            hosts: hosts.clone(),
            limits,
            max_answer: MAX_ANSWER,
            enrols: true,
        });
        outbound.destinations.push(Destination {
            name: BACKGROUND_DESTINATION.to_owned(),
            hosts,
            limits: RequestLimits { places: 2, ..limits },
            max_answer: MAX_ANSWER,
            enrols: false,
        });
        let without_slash = |url: &str| url.trim_end_matches('/').to_owned();
        Some(IntuneSettings {
            tenant: tenant.clone(),
            client_id: self.client_id(written),
            client_secret: self.client_secret(written),
            login_url: without_slash(&written.login_url),
            graph_url: without_slash(&written.graph_url),
            resource_url: without_slash(&written.resource_url),
            wait_for_success_notification: written.wait_for_success_notification,
            give_up_after: self.duration("intune.give-up-hours", written.give_up_hours, 1..=720, 3600),
            poll_interval: self.duration("intune.poll-minutes", written.poll_minutes, 0..=1440, 60),
            by_issuer: written.revocations_by_issuer,
            places: limits.places,
        })
    }

    /// Everybody who may be asked: Entra ID, Graph, and wherever Graph may say that the services are.
    fn hosts(&mut self, written: &config::Intune) -> Vec<HostRule> {
        let mut hosts = Vec::new();
        for (key, url) in [("intune.login-url", &written.login_url), ("intune.graph-url", &written.graph_url)]
        {
            match Destination::host_of(url) {
                Some(rule) => hosts.push(rule),
                None => self.mistake(
                    key,
                    "is not a URL of the form https://HOST (http:// only to a loopback address), without a password",
                ),
            }
        }
        for text in &written.service_hosts {
            match text.parse() {
                Ok(rule) => hosts.push(rule),
                Err(error) => self.mistake("intune.service-hosts", format_args!("{text:?} {error}")),
            }
        }
        if written.service_hosts.is_empty() {
            self.mistake("intune.service-hosts", "is empty: nobody could be asked about a challenge");
        }
        hosts
    }

    fn client_id(&mut self, written: &config::Intune) -> String {
        let id = written.client_id.clone().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic()) {
            self.mistake("intune.client-id", "is needed: the application's id, as Azure shows it");
        }
        id
    }

    fn client_secret(&mut self, written: &config::Intune) -> Secret {
        const KEY: &str = "intune.client-secret";
        let Some(name) = &written.client_secret else {
            self.mistake(KEY, "is needed: a file with the application's secret, or \"credential:NAME\"");
            return Secret::from("");
        };
        match challenge::read(self.directory(), name) {
            Ok(read) => {
                read.warning.into_iter().for_each(|warning| self.warn(KEY, warning));
                read.secret
            }
            Err(error) => {
                self.mistake(KEY, error);
                Secret::from("")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::app::settings::{Finding, Settings};

    /// The mistakes of a file with these lines in `[intune]`, and the hosts that may be asked if there are none.
    fn load(lines: &str, secret: &str) -> Result<Settings, Vec<Finding>> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), secret).unwrap();
        fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let path = dir.path().join("certgate.toml");
        let text = format!(
            "[profile.a]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"intune\"]\n[intune]\n{lines}\n"
        );
        fs::write(&path, text).unwrap();
        Settings::load(&path).map(|(settings, _)| settings).map_err(|errors| errors.mistakes)
    }

    const GOOD: &str = "tenant = \"contoso.example\"\nclient-id = \"1-2\"\nclient-secret = \"secret\"";

    #[test]
    fn a_tenant_an_application_and_its_secret_are_enough() {
        let settings = load(GOOD, "hunter22-hunter22\n").unwrap();
        let intune = settings.intune.unwrap();
        assert_eq!(intune.client_secret, Secret::from("hunter22-hunter22"));
        assert_eq!(intune.login_url, "https://login.microsoftonline.com");
        let hosts = &settings.outbound.destinations[0].hosts;
        let allowed = |host: &str| hosts.iter().any(|rule| rule.allows(host, 443, 443));
        for host in ["login.microsoftonline.com", "graph.microsoft.com", "fef.msuc01.manage.microsoft.com"] {
            assert!(allowed(host), "{host}");
        }
        assert!(!allowed("manage.microsoft.com.evil.test"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (lines, start) in [
            ("", "profile.a.challenge (line 3): has \"intune\""),
            (
                "tenant = \"a/b\"\nclient-id = \"1\"\nclient-secret = \"secret\"",
                "intune.tenant (line 5): is neither",
            ),
            ("tenant = \"a\"\nclient-secret = \"secret\"", "intune.client-id"),
            ("tenant = \"a\"\nclient-id = \"1\"", "intune.client-secret"),
            (
                &format!("{GOOD}\nlogin-url = \"http://login.example\""),
                "intune.login-url (line 8): is not a URL",
            ),
            (&format!("{GOOD}\nservice-hosts = [\"*\"]"), "intune.service-hosts (line 8): \"*\" is not"),
            (&format!("{GOOD}\ngive-up-hours = 0"), "intune.give-up-hours (line 8): 0 is not in 1 to 720"),
        ] {
            let mistakes = load(lines, "hunter22-hunter22").unwrap_err();
            assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:#?}");
            assert!(mistakes[0].to_string().starts_with(start), "{lines}: {}", mistakes[0]);
        }
    }
}
