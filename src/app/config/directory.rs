//! `[directory.NAME]`: servers that CRLs and CA certificates are published to over LDAP.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// `[directory.NAME]`
#[expect(clippy::struct_excessive_bools, reason = "independent switches, as the file has them")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Directory {
    /// `ldaps://HOST[:PORT]` or `ldap://HOST[:PORT]`.
    pub url: String,
    /// With `ldap://`: TLS before anything else is said.
    pub start_tls: bool,
    /// With `ldap://` and without `start_tls`: whether the password may go over the wire as it is.
    pub allow_plain_text: bool,
    /// Authorities that may have signed the server's certificate: a PEM file, relative to the configuration file.
    pub ca_file: Option<PathBuf>,
    /// As whom certgate writes.
    pub bind_dn: String,
    /// Where its password is: a file, relative to the configuration file, or `credential:NAME`.
    pub password: String,
    /// The entry of an issuer, with `$ISSUER$` for its name.
    pub dn: Option<String>,
    /// Entries of some issuers.
    pub entries: BTreeMap<String, String>,
    /// Which issuers are published; empty: all.
    pub issuers: Vec<String>,
    /// Whether the certificates of the CAs are published too.
    pub ca_certificates: bool,
    /// Whether entries are made that are not there.
    pub create_entries: bool,
    /// Time for a connection.
    pub connect_timeout_seconds: u64,
    /// Time for each request.
    pub timeout_seconds: u64,
    /// `ldap://HOST[:PORT]` by which certificates name the CRLs here, besides HTTP.
    pub certificate_url: Option<String>,
    /// The directory may be behind for so long before it is an alarm.
    pub alarm_minutes: u64,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            url: String::new(),
            start_tls: false,
            allow_plain_text: false,
            ca_file: None,
            bind_dn: String::new(),
            password: String::new(),
            dn: None,
            entries: BTreeMap::new(),
            issuers: Vec::new(),
            ca_certificates: true,
            create_entries: false,
            connect_timeout_seconds: 5,
            timeout_seconds: 30,
            certificate_url: None,
            alarm_minutes: 60,
        }
    }
}
