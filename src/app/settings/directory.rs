//! `[directory.NAME]`: servers that CRLs and CA certificates are published to over LDAP.

use std::{collections::BTreeMap, path::Path};

use hyper::Uri;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::check::Checker;
use crate::{
    adapters::{
        directory::{LdapDirectory, LdapSettings, Security, TrustedAuthorities},
        keys::secret_file,
    },
    app::config::{self, Config},
    domain::directory::{DirectoryPolicy, EntryName, Placement},
    types::{DirectoryName, IssuerId, Secret},
};

/// A directory server, and what is published there.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// How it is reached.
    pub server: LdapSettings,
    /// What is published.
    pub policy: DirectoryPolicy,
}

impl Checker<'_> {
    pub(super) fn directories(&mut self, config: &Config) -> BTreeMap<DirectoryName, DirectorySettings> {
        let mut checked = BTreeMap::new();
        for (name, written) in &config.directory {
            let section = format!("directory.{name}");
            match name.parse::<DirectoryName>() {
                Ok(id) => {
                    checked.extend(self.directory_of(&section, written).map(|settings| (id, settings)));
                }
                Err(error) => self.mistake(&section, error),
            }
        }
        checked
    }

    fn directory_of(&mut self, section: &str, written: &config::Directory) -> Option<DirectorySettings> {
        let key = |name: &str| format!("{section}.{name}");
        let policy = DirectoryPolicy {
            placement: self.placement(section, written),
            ca_certificates: written.ca_certificates,
            create_entries: written.create_entries,
            alarm_after: self.duration(&key("alarm-minutes"), written.alarm_minutes, 1..=10_080, 60),
            certificate_url: written
                .certificate_url
                .as_ref()
                .and_then(|url| self.certificate_url(&key("certificate-url"), url)),
        };
        if written.create_entries {
            self.refuse_unnamed(section, &policy.placement);
        }
        let connect_timeout =
            self.duration(&key("connect-timeout-seconds"), written.connect_timeout_seconds, 1..=60, 1);
        let timeout = self.duration(&key("timeout-seconds"), written.timeout_seconds, 1..=120, 1);
        if written.bind_dn.is_empty() {
            self.mistake(&key("bind-dn"), "is needed: as whom certgate writes to the directory");
        }
        let password = self.bind_password(&key("password"), &written.password);
        let place = self.ldap_url(&key("url"), &written.url);
        let trusted = self.trusted(&key("ca-file"), written.ca_file.as_deref());
        let ((tls, host, port), password, trusted) = (place?, password?, trusted?);
        let security = match (tls, written.start_tls, written.allow_plain_text) {
            (true, false, false) => Security::Tls(trusted),
            (false, true, false) => Security::StartTls(trusted),
            (false, false, true) => Security::None,
            (true, true, _) => {
                return self.wrong(&key("start-tls"), "is for ldap://, and ldaps:// is TLS already");
            }
            (false, false, false) => {
                let problem =
                    "is ldap://, which would send the password as it is: use ldaps://, or start-tls = true";
                return self.wrong(&key("url"), problem);
            }
            (_, _, true) => {
                let problem = "and TLS exclude each other: leave it out where there is TLS";
                return self.wrong(&key("allow-plain-text"), problem);
            }
        };
        if matches!(security, Security::None) {
            self.warn(
                &key("allow-plain-text"),
                "whoever is on the way reads the password, and can change what is written",
            );
        }
        let bind_dn = written.bind_dn.clone();
        let server = LdapSettings { host, port, security, bind_dn, password, connect_timeout, timeout };
        match LdapDirectory::new(server.clone()) {
            Ok(_) => Some(DirectorySettings { server, policy }),
            Err(error) => self.wrong(&key("url"), &error.to_string()),
        }
    }

    fn wrong<T>(&mut self, key: &str, problem: &str) -> Option<T> {
        self.mistake(key, problem);
        None
    }

    /// Whether it is TLS from the start, its host without brackets, and its port.
    fn ldap_url(&mut self, key: &str, written: &str) -> Option<(bool, String, u16)> {
        let uri: Option<Uri> = written.parse().ok();
        let place = uri.as_ref().and_then(|uri| {
            let (tls, port) = match uri.scheme_str()? {
                "ldaps" => (true, 636),
                "ldap" => (false, 389),
                _ => return None,
            };
            let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
            let host = authority.host();
            let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
            let plain = matches!(uri.path(), "" | "/") && uri.query().is_none() && !bare.is_empty();
            plain.then(|| (tls, bare.to_owned(), authority.port_u16().unwrap_or(port)))
        });
        if place.is_none() {
            self.mistake(key, "is not a URL of the form ldaps://HOST[:PORT] or ldap://HOST[:PORT], without a name or password");
        }
        place
    }

    /// Without a slash at the end: the entry's name follows.
    fn certificate_url(&mut self, key: &str, written: &str) -> Option<String> {
        let (tls, _, _) = self.ldap_url(key, written)?;
        if tls {
            let problem =
                "must be ldap://: a client asks for the status of a certificate before it trusts TLS";
            return self.wrong(key, problem);
        }
        Some(written.trim_end_matches('/').to_owned())
    }

    fn bind_password(&mut self, key: &str, name: &str) -> Option<Secret> {
        if name.is_empty() {
            return self.wrong(key, "is needed: a file with the password of bind-dn, or \"credential:NAME\"");
        }
        let read = match name.strip_prefix("credential:") {
            Some(credential) => secret_file::read_credential(credential),
            None => secret_file::read_private(&self.directory().join(name)),
        };
        let secret = match read {
            Ok(secret) => Secret::new(secret_file::without_line_end(&secret).to_vec()),
            Err(error) => return self.wrong(key, &error.to_string()),
        };
        // RFC 4513 §5.1.2: a bind without a password succeeds, as nobody.
        if secret.expose().is_empty() { self.wrong(key, "holds an empty password") } else { Some(secret) }
    }

    fn trusted(&mut self, key: &str, file: Option<&Path>) -> Option<TrustedAuthorities> {
        let Some(file) = file else { return Some(TrustedAuthorities::System) };
        let path = self.directory().join(file);
        let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
        match read {
            Ok(all) if !all.is_empty() => {
                Some(TrustedAuthorities::Only(all.iter().map(|der| der.as_ref().to_vec()).collect()))
            }
            Ok(_) => self.wrong(key, &format!("{} holds no certificate", path.display())),
            Err(error) => self.wrong(key, &format!("{}: {error}", path.display())),
        }
    }

    fn placement(&mut self, section: &str, written: &config::Directory) -> Placement {
        let key = |name: &str| format!("{section}.{name}");
        if let Some(template) = &written.dn
            && let Err(error) = Placement::check_template(template)
        {
            self.mistake(&key("dn"), error);
        }
        if written.dn.is_none() && written.entries.is_empty() {
            self.mistake(
                &key("dn"),
                "is needed, or entries: where things go, as in \"cn=$ISSUER$,ou=pki,dc=example\"",
            );
        }
        let mut entries: BTreeMap<IssuerId, EntryName> = BTreeMap::new();
        for (issuer, entry) in &written.entries {
            let key = key(&format!("entries.{issuer}"));
            match (issuer.parse(), entry.parse::<EntryName>()) {
                (Ok(issuer), Ok(entry)) => {
                    if let Some((other, _)) = entries.iter().find(|(_, taken)| taken.matches(&entry)) {
                        self.mistake(
                            &key,
                            format_args!(
                                "is the entry of {other} already: every issuer needs one of its own"
                            ),
                        );
                    }
                    entries.insert(issuer, entry);
                }
                (Err(error), _) => self.mistake(&key, error),
                (_, Err(error)) => self.mistake(&key, error),
            }
        }
        let mut issuers = Vec::new();
        for issuer in &written.issuers {
            match issuer.parse() {
                Ok(issuer) => issuers.push(issuer),
                Err(error) => self.mistake(&key("issuers"), error),
            }
        }
        Placement { template: written.dn.clone(), entries, issuers }
    }

    /// An entry is made as a cRLDistributionPoint, which has a commonName (RFC 4523 §3.3).
    fn refuse_unnamed(&mut self, section: &str, placement: &Placement) {
        let sample =
            placement.template.as_ref().and_then(|template| template.replace("$ISSUER$", "x").parse().ok());
        let all = placement.entries.values().cloned().chain(sample);
        let unnamed = all.filter(|entry: &EntryName| entry.common_name().is_none()).collect::<Vec<_>>();
        if let Some(entry) = unnamed.first() {
            let problem = format!("makes entries whose name begins with cn=, and {entry} does not");
            self.mistake(&format!("{section}.create-entries"), problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::app::settings::{Finding, Settings};

    /// The settings of a file with these lines in `[directory.main]`, or its mistakes.
    fn load(lines: &str) -> Result<(DirectorySettings, Vec<Finding>), Vec<Finding>> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("secret", "hunter22\n"), ("empty", "\n")] {
            fs::write(dir.path().join(name), content).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let path = dir.path().join("certgate.toml");
        fs::write(&path, format!("[profile.a]\nsubject = \"CN=x\"\n[directory.main]\n{lines}\n")).unwrap();
        let (settings, warnings) = Settings::load(&path).map_err(|errors| errors.mistakes)?;
        let main = settings.directories[&"main".parse().unwrap()].clone();
        Ok((main, warnings.into_iter().filter(|it| it.key.starts_with("directory")).collect()))
    }

    const BIND: &str = "bind-dn = \"cn=certgate,dc=lab\"\npassword = \"secret\"\ndn = \"cn=$ISSUER$,dc=lab\"";

    #[test]
    fn a_url_says_how_it_is_protected() {
        for (line, host, port, tls) in [
            ("url = \"ldaps://ldap.lab\"", "ldap.lab", 636, "Tls(System)"),
            ("url = \"ldaps://[::1]:1636/\"", "::1", 1636, "Tls(System)"),
            ("url = \"ldap://ldap.lab\"\nstart-tls = true", "ldap.lab", 389, "StartTls(System)"),
            ("url = \"ldap://192.0.2.1\"\nallow-plain-text = true", "192.0.2.1", 389, "None"),
        ] {
            let (found, warnings) = load(&format!("{line}\n{BIND}")).unwrap();
            assert_eq!((found.server.host.as_str(), found.server.port), (host, port));
            assert_eq!(format!("{:?}", found.server.security), tls);
            assert_eq!(found.server.password, Secret::from("hunter22"));
            assert_eq!(warnings.len(), usize::from(tls == "None"), "{warnings:?}");
            assert!(!format!("{found:?}").contains("hunter22"));
        }
    }

    #[test]
    fn what_is_missing_or_unsafe_is_named() {
        let ldaps = format!("url = \"ldaps://a\"\n{BIND}");
        for (lines, start) in [
            (BIND.to_owned(), "directory.main.url"),
            (
                format!("url = \"ldap://a\"\n{BIND}"),
                "directory.main.url (line 4): is ldap://, which would send",
            ),
            (format!("url = \"http://a\"\n{BIND}"), "directory.main.url (line 4): is not a URL"),
            (format!("url = \"ldaps://u:p@a\"\n{BIND}"), "directory.main.url (line 4): is not a URL"),
            (
                format!("{ldaps}\ncertificate-url = \"ldaps://a\""),
                "directory.main.certificate-url (line 8): must be ldap://",
            ),
            (
                format!("{ldaps}\ncertificate-url = \"ldap://a/dc=lab\""),
                "directory.main.certificate-url (line 8): is not a URL",
            ),
            (format!("url = \"ldaps://a/dc=lab\"\n{BIND}"), "directory.main.url (line 4): is not a URL"),
            (format!("{ldaps}\nstart-tls = true"), "directory.main.start-tls (line 8): is for ldap://"),
            (
                format!("{ldaps}\nallow-plain-text = true"),
                "directory.main.allow-plain-text (line 8): and TLS",
            ),
            (ldaps.replace("secret", "empty"), "directory.main.password (line 6): holds an empty"),
            (ldaps.replace("secret", "absent"), "directory.main.password (line 6): cannot access"),
            (ldaps.replace("cn=certgate,dc=lab", ""), "directory.main.bind-dn (line 5): is needed"),
            (ldaps.replace("$ISSUER$", "CA"), "directory.main.dn (line 7): \"cn=CA,dc=lab\" is no"),
            (format!("{ldaps}\nalarm-minutes = 0"), "directory.main.alarm-minutes (line 8): 0 is not in"),
            (format!("{ldaps}\nissuers = [\"a b\"]"), "directory.main.issuers (line 8)"),
            (format!("{ldaps}\nca-file = \"absent\""), "directory.main.ca-file (line 8)"),
            (
                format!("{ldaps}\nentries = {{ a = \"cn=a,dc=lab\", b = \"CN=A, DC=lab\" }}"),
                "directory.main.entries.b",
            ),
            (
                ldaps.replace("cn=$ISSUER$", "ou=$ISSUER$") + "\ncreate-entries = true",
                "directory.main.create-entries (line 8): makes entries whose name",
            ),
        ] {
            let mistakes = load(&lines).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:#?}");
            assert!(mistakes[0].to_string().starts_with(start), "{lines}: {}", mistakes[0]);
            assert!(!mistakes[0].to_string().contains("hunter22"));
        }
    }

    #[test]
    fn the_example_names_every_key_with_its_default() {
        let example = Config::documented_example();
        let from = example.find("# [directory.main]\n").unwrap();
        let section = example[from..].split("\n\n").next().unwrap();
        let values: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        let written = values.iter().filter(|line| line.starts_with('[') || is_key(line));
        let written = written.copied().collect::<Vec<_>>().join("\n");
        let found: toml::Table = written.parse().unwrap();
        let found: config::Directory = found["directory"]["main"].clone().try_into().unwrap();
        let config::Directory { url, ca_file, bind_dn, password, dn, entries, .. } = found.clone();
        let given = config::Directory {
            url,
            ca_file,
            bind_dn,
            password,
            dn,
            entries,
            certificate_url: Some("ldap://ldap.lab.example".to_owned()),
            ..config::Directory::default()
        };
        assert_eq!(found, given);
        let keys = toml::Table::try_from(found).unwrap();
        let all = config::Directory {
            ca_file: Some("x".into()),
            dn: Some(String::new()),
            certificate_url: Some(String::new()),
            ..config::Directory::default()
        };
        let all = toml::Table::try_from(all).unwrap();
        assert_eq!(keys.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
        for key in all.keys() {
            assert!(written.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
        }
    }

    fn is_key(line: &str) -> bool {
        line.split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    }
}
