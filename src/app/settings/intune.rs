//! `[intune]`: which tenant, as which application, and how.

use std::path::Path;

use super::{OutboundSettings, challenge, check::Checker};
use crate::{
    adapters::{
        intune::{
            BACKGROUND_DESTINATION, ClientCertificate, ClientCredential, ENROLMENT_DESTINATION,
            IntuneSettings,
        },
        keys::{secret_file, software},
        outbound::{Destination, RequestLimits},
    },
    app::{
        cli::files::read_certificate,
        config::{self, Config},
    },
    domain::profile::ChallengeMode,
    ports::HostRule,
    types::Secret,
};

/// Longest answer: a list of five hundred revocations has some 200 kB.
const MAX_ANSWER: usize = 2 * 1024 * 1024;

const SECRET: &str = "intune.client-secret";
const CERTIFICATE: &str = "intune.client-certificate";
const KEY: &str = "intune.client-key";

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
            self.warn_of_no_tenant(written);
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
            // The client holds a shared place itself, over the whole of what a request needs.
            enrols: false,
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
            login_url: without_slash(&written.login_url),
            graph_url: without_slash(&written.graph_url),
            resource_url: without_slash(&written.resource_url),
            wait_for_success_notification: written.wait_for_success_notification,
            give_up_after: self.duration("intune.give-up-hours", written.give_up_hours, 1..=720, 3600),
            poll_interval: self.duration("intune.poll-minutes", written.poll_minutes, 0..=1440, 60),
            by_issuer: written.revocations_by_issuer,
            places: limits.places,
            // Last: what else is wrong is to be named too.
            credential: self.credential(written)?,
        })
    }

    /// Whoever names an application means to use it.
    fn warn_of_no_tenant(&mut self, written: &config::Intune) {
        for (key, is_set) in [
            ("intune.client-id", written.client_id.is_some()),
            (SECRET, written.client_secret.is_some()),
            (CERTIFICATE, written.client_certificate.is_some()),
            (KEY, written.client_key.is_some()),
        ] {
            if is_set {
                self.warn(key, "is not used: intune.tenant is not set");
            }
        }
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

    /// Either a secret, or a certificate with its key.
    fn credential(&mut self, written: &config::Intune) -> Option<ClientCredential> {
        match (&written.client_secret, &written.client_certificate, &written.client_key) {
            (Some(secret), None, None) => self.client_secret(secret).map(ClientCredential::Secret),
            (None, Some(certificate), Some(key)) => {
                self.client_certificate(certificate, key).map(ClientCredential::Certificate)
            }
            (None, Some(_), None) => {
                self.mistake(
                    KEY,
                    "is needed with intune.client-certificate: a file with its key, or \"credential:NAME\"",
                );
                None
            }
            (None, None, Some(_)) => {
                self.mistake(CERTIFICATE, "is needed with intune.client-key: a file with its certificate");
                None
            }
            (None, None, None) => {
                self.mistake(
                    SECRET,
                    "is needed: a file with the application's secret, or \"credential:NAME\"; or intune.client-certificate and intune.client-key",
                );
                None
            }
            (Some(_), _, _) => {
                self.mistake(SECRET, "is one way to prove who asks, and intune.client-certificate with intune.client-key another: set one of them");
                None
            }
        }
    }

    fn client_secret(&mut self, name: &str) -> Option<Secret> {
        match challenge::read(self.directory(), name) {
            Ok(read) => {
                read.warning.into_iter().for_each(|warning| self.warn(SECRET, warning));
                Some(read.secret)
            }
            Err(error) => {
                self.mistake(SECRET, error);
                None
            }
        }
    }

    fn client_certificate(&mut self, certificate: &Path, key: &str) -> Option<ClientCertificate> {
        let path = self.directory().join(certificate);
        let certificate =
            read_certificate(&path).map_err(|failure| self.mistake(CERTIFICATE, failure.message)).ok();
        let pkcs8 = self.read_key(key).map_err(|problem| self.mistake(KEY, problem)).ok();
        let made = ClientCertificate::new(&certificate?, &pkcs8?);
        made.map_err(|error| self.mistake(KEY, format_args!("{key} {error}"))).ok()
    }

    /// The PKCS#8 in a file that only its owner can read, or in a credential.
    fn read_key(&self, name: &str) -> Result<Secret, String> {
        let pem = match name.strip_prefix("credential:") {
            Some(credential) => secret_file::read_credential(credential),
            None => secret_file::read_private(&self.directory().join(name)),
        };
        let pem = pem.map_err(|error| error.to_string())?;
        software::pkcs8_from_pem(pem.expose()).map_err(|error| {
            format!("{name}: {error} (openssl pkcs8 -topk8 -nocrypt makes one of another form)")
        })
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
        let ClientCredential::Secret(secret) = &intune.credential else { panic!("{intune:?}") };
        assert_eq!(secret, &Secret::from("hunter22-hunter22"));
        assert_eq!(intune.login_url, "https://login.microsoftonline.com");
        let hosts = &settings.outbound.destinations[0].hosts;
        let allowed = |host: &str| hosts.iter().any(|rule| rule.allows(host, 443, 443));
        for host in ["login.microsoftonline.com", "graph.microsoft.com", "fef.msuc01.manage.microsoft.com"] {
            assert!(allowed(host), "{host}");
        }
        assert!(!allowed("manage.microsoft.com.evil.test"));
    }

    #[test]
    fn without_a_tenant_no_application_is_used_and_each_key_of_it_says_so() {
        let warnings = |lines: &str| {
            let text = format!(
                "public-url = \"http://a.example\"\n[profile.a]\nsubject = \"CN=x\"\n[intune]\n{lines}\n"
            );
            let (settings, warnings) =
                Settings::parse(Path::new("/etc/certgate/certgate.toml"), &text).unwrap();
            assert!(settings.intune.is_none());
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(warnings("poll-minutes = 5"), [""; 0]);
        assert_eq!(
            warnings("poll-minutes = 5\nclient-id = \"1-2\"\nclient-secret = \"secret\""),
            [
                "intune.client-id (line 6): is not used: intune.tenant is not set",
                "intune.client-secret (line 7): is not used: intune.tenant is not set"
            ]
        );
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

    #[test]
    fn a_certificate_with_its_key_does_in_place_of_a_secret_and_mistakes_are_named() {
        use crate::{
            adapters::keys::software::pkcs8_to_pem, app::client::key::ClientKey, types::KeyAlgorithm,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let key = ClientKey::create(&path("key"), KeyAlgorithm::Rsa2048).unwrap();
        let certificate =
            key.self_signed(&"CN=x".parse().unwrap(), [1; 16], crate::types::Timestamp::EPOCH).unwrap();
        fs::write(path("pem"), certificate.to_pem()).unwrap();
        fs::write(path("der"), certificate.as_der()).unwrap();
        let other = software::generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
        fs::write(path("other"), pkcs8_to_pem(&other).unwrap().as_bytes()).unwrap();
        fs::set_permissions(path("other"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::copy(path("key"), path("open")).unwrap();
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o640)).unwrap();
        let at = |name: &str| path(name).to_str().unwrap().to_owned();
        let written = |certificate: &str, key: &str| {
            let (certificate, key) = (at(certificate), at(key));
            format!(
                "tenant = \"a\"\nclient-id = \"1\"\nclient-certificate = \"{certificate}\"\nclient-key = \"{key}\""
            )
        };
        for form in ["pem", "der"] {
            let settings = load(&written(form, "key"), "").unwrap();
            let ClientCredential::Certificate(read) = settings.intune.unwrap().credential else { panic!() };
            assert_eq!(read.not_after(), certificate.validity().not_after);
        }
        for (lines, start) in [
            (written("key", "key"), "intune.client-certificate (line 7)"),
            (written("absent", "key"), "intune.client-certificate (line 7)"),
            (written("pem", "open"), "intune.client-key (line 8)"),
            (written("pem", "pem"), "intune.client-key (line 8)"),
            (written("pem", "other"), "intune.client-key (line 8)"),
            (written("pem", "key").lines().take(3).collect::<Vec<_>>().join("\n"), "intune.client-key"),
            (
                format!("{}\nclient-secret = \"secret\"", written("pem", "key")),
                "intune.client-secret (line 9): is one way",
            ),
        ] {
            let mistakes = load(&lines, "hunter22-hunter22").unwrap_err();
            assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:#?}");
            assert!(mistakes[0].to_string().starts_with(start), "{lines}: {}", mistakes[0]);
        }
    }
}
