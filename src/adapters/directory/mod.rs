//! Directory servers over LDAP: TLS by rustls, one connection for each round of work.
//!
//! Answers are read by `wire::ldap`, without recursion and without panics: whoever answers on the port must not be able to end the process.
//!
//! | file | |
//! |---|---|
//! | `mod` (here) | settings; what the port asks for, as operations |
//! | `connection` | one operation: its bytes, its answer, its time |
//! | `dial` | from a name to a connection, in a time |

mod connection;
mod dial;

use std::{net::IpAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};

use crate::{
    domain::directory::{DirectoryAttribute, EntryName},
    ports::{Directory, DirectoryError, DirectorySession, EntryValues, NewValues},
    types::Secret,
    wire::ldap::Operation,
};
use connection::{Answers, Connection};

/// How a directory server is reached.
#[derive(Clone, Debug)]
pub struct LdapSettings {
    /// Its host: a name, or an address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who must have answered before anything is said.
    pub security: Security,
    /// As whom certgate writes.
    pub bind_dn: String,
    /// With which password.
    pub password: Secret,
    /// For the connection with its handshakes and the look-up of the host's name.
    pub connect_timeout: Duration,
    /// For each request.
    pub timeout: Duration,
}

/// Whether the connection is protected.
#[derive(Clone, Debug)]
pub enum Security {
    /// TLS from the start: ldaps.
    Tls(TrustedAuthorities),
    /// TLS before anything else is said (RFC 4511 §4.14).
    StartTls(TrustedAuthorities),
    /// Not at all.
    None,
}

/// Who may have signed the directory's certificate.
#[derive(Clone, Debug)]
pub enum TrustedAuthorities {
    /// The system's authorities.
    System,
    /// These alone, in DER.
    Only(Vec<Vec<u8>>),
}

/// A directory server.
pub struct LdapDirectory {
    settings: LdapSettings,
    /// HOST:PORT.
    server: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl std::fmt::Debug for LdapDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapDirectory").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Settings with which no directory can be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LdapSettingsError(String);

impl LdapDirectory {
    /// A directory that nobody has spoken to yet. Errors: the authorities or the host's name cannot be used.
    pub fn new(settings: LdapSettings) -> Result<Self, LdapSettingsError> {
        let server = match settings.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", settings.port),
            _ => format!("{}:{}", settings.host, settings.port),
        };
        let tls = match &settings.security {
            Security::None => None,
            Security::Tls(trusted) | Security::StartTls(trusted) => {
                let name = ServerName::try_from(settings.host.clone())
                    .map_err(|error| LdapSettingsError(format!("{}: {error}", settings.host)))?;
                Some((client_config(trusted)?, name))
            }
        };
        Ok(Self { settings, server, tls })
    }
}

fn client_config(trusted: &TrustedAuthorities) -> Result<Arc<ClientConfig>, LdapSettingsError> {
    let mut roots = RootCertStore::empty();
    match trusted {
        TrustedAuthorities::System => {
            let native = rustls_native_certs::load_native_certs();
            for error in &native.errors {
                tracing::warn!(%error, "an authority of the system cannot be read");
            }
            let _ = roots.add_parsable_certificates(native.certs);
        }
        TrustedAuthorities::Only(own) => {
            for der in own {
                let added = roots.add(CertificateDer::from(der.clone()));
                added.map_err(|error| LdapSettingsError(format!("an authority cannot be used: {error}")))?;
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| LdapSettingsError(error.to_string()))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl Directory for LdapDirectory {
    fn open(&self) -> Result<Box<dyn DirectorySession>, DirectoryError> {
        let settings = &self.settings;
        let mut connection = Connection::open(
            &self.server,
            (&settings.host, settings.port),
            settings.connect_timeout,
            settings.timeout,
        )?;
        if let Some((config, name)) = &self.tls {
            if matches!(settings.security, Security::StartTls(_)) {
                connection.ask(&Operation::StartTls, "StartTLS")?;
            }
            connection.start_tls(Arc::clone(config), name.clone())?;
        }
        let (name, password) = (settings.bind_dn.as_str(), settings.password.expose());
        connection.ask(&Operation::Bind { name, password }, "the bind")?;
        Ok(Box::new(Session(connection)))
    }
}

struct Session(Connection);

impl DirectorySession for Session {
    fn read(
        &mut self,
        entry: &EntryName,
        attributes: &[DirectoryAttribute],
    ) -> Result<Option<EntryValues>, DirectoryError> {
        let names: Vec<_> = attributes.iter().map(|attribute| attribute.description()).collect();
        let operation = Operation::Read { entry: entry.as_str(), attributes: &names };
        let answers = self.0.ask_or_nothing(&operation, &format!("to read {entry}"))?;
        Ok(answers.map(|answers| values_of(&answers, attributes)))
    }

    fn replace(&mut self, entry: &EntryName, values: &[NewValues<'_>]) -> Result<(), DirectoryError> {
        let attributes: Vec<_> = values.iter().map(|(name, all)| (name.description(), all.clone())).collect();
        let operation = Operation::Replace { entry: entry.as_str(), attributes: &attributes };
        self.0.ask(&operation, &format!("to write to {entry}")).map(drop)
    }

    fn create(&mut self, entry: &EntryName, values: &[NewValues<'_>]) -> Result<(), DirectoryError> {
        let common_name = entry.common_name().unwrap_or_default();
        let mut classes: Vec<&[u8]> = vec![b"top", b"cRLDistributionPoint"];
        if values.iter().any(|(name, _)| *name == DirectoryAttribute::CaCertificate) {
            classes.push(b"pkiCA");
        }
        let mut attributes = vec![("objectClass", classes), ("cn", vec![common_name.as_bytes()])];
        attributes.extend(values.iter().map(|(name, all)| (name.description(), all.clone())));
        let operation = Operation::Add { entry: entry.as_str(), attributes: &attributes };
        self.0.ask(&operation, &format!("to make {entry}")).map(drop)
    }
}

fn values_of(answers: &Answers, wanted: &[DirectoryAttribute]) -> EntryValues {
    let mut found = EntryValues::default();
    for (description, values) in answers.attributes() {
        if let Some(attribute) = wanted.iter().find(|attribute| attribute.is(description)) {
            found.0.push((*attribute, values.iter().map(|value| value.to_vec()).collect()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
