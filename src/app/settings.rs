//! The configuration as checked: what the rest of the process sees.

mod approval;
mod certificates;
mod challenge;
mod check;
mod crl;
mod directory;
mod intune;
mod ndes;
mod ocsp;
mod outbound;
mod renewal_issuers;

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

pub use self::{directory::DirectorySettings, outbound::OutboundSettings};
pub use super::document::{ConfigErrors, Finding};
use super::{
    config::{Config, LogFormat},
    document::Document,
};
use crate::{
    adapters::{intune::IntuneSettings, keys::KekSource},
    http::forwarded::TrustedProxies,
    service::{GatewaySettings, profile::ConfiguredProfile},
    types::{DirectoryName, ProfileName},
};

/// Everything that the configuration file says, checked and with its defaults filled in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Base of the URLs in certificates: `http://`, no slash at the end.
    pub public_url: String,
    /// Where to listen.
    pub listen: Listen,
    /// Where the key-encryption key comes from.
    pub kek: KekSource,
    /// The checkpoint's file.
    pub checkpoint: PathBuf,
    /// What the use cases need.
    pub gateway: GatewaySettings,
    /// Largest SCEP message, in bytes.
    pub max_message_bytes: usize,
    /// Threads, queues, connections, time-outs.
    pub limits: Limits,
    /// Other parties that are asked.
    pub outbound: OutboundSettings,
    /// Microsoft Intune, where it is used.
    pub intune: Option<IntuneSettings>,
    /// Directory servers that CRLs are published to.
    pub directories: BTreeMap<DirectoryName, DirectorySettings>,
    /// Logging.
    pub log: Log,
    /// The profiles, by name.
    pub profiles: Vec<ConfiguredProfile>,
}

/// Where to listen. `device` has at least one endpoint; none of `admin` or `ops` means off.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Plain HTTP for devices and gear.
    pub device: Vec<Endpoint>,
    /// HTTPS for operators and MDM servers.
    pub admin: Vec<Endpoint>,
    /// Metrics and health.
    pub ops: Vec<Endpoint>,
    /// Proxies before the device listener.
    pub trusted_proxies: TrustedProxies,
    /// The CLI's Unix socket.
    pub socket: PathBuf,
}

/// Something to accept connections from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address to bind.
    Address(SocketAddr),
    /// A socket that the service manager passed under this name (`FileDescriptorName=`).
    Inherited(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}

/// Threads, queues, connections and time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The enrolment pool.
    pub enrolment: Pool,
    /// The pool for OCSP answers that are not cached.
    pub ocsp: Pool,
    /// Requests that may wait for that pool whose answers one client alone can use.
    pub ocsp_single_use_waiters: usize,
    /// Open connections per listener.
    pub connections: usize,
    /// Open connections of one address per listener.
    pub connections_per_address: usize,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// Memory for pages of the store.
    pub store_cache_bytes: usize,
}

/// The size of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Threads; at least one.
    pub workers: NonZeroUsize,
    /// Requests that may wait for one.
    pub waiters: usize,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// A filter that parses.
    pub filter: String,
}

impl Settings {
    /// Reads and checks the file at `path`, and the files and credentials with static challenges that it names.
    ///
    /// Gives the settings with what is allowed but unwise. Errors: all mistakes, each with its key.
    pub fn load(path: &Path) -> Result<(Self, Vec<Finding>), ConfigErrors> {
        let text = fs::read_to_string(path).map_err(|error| ConfigErrors {
            path: path.to_owned(),
            mistakes: vec![Finding { key: String::new(), line: None, problem: error.to_string() }],
            warnings: Vec::new(),
        })?;
        Self::parse(path, &text)
    }

    /// As [`Settings::load`], with the file's text already here. Relative paths are relative to `path`.
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Vec<Finding>), ConfigErrors> {
        let mut document = Document::parse(text);
        let config = Config::read(&mut document);
        let (settings, mistakes, warnings) = check::Checker::new(path, document).settings(&config);
        match settings {
            Some(settings) if mistakes.is_empty() => Ok((settings, warnings)),
            _ => Err(ConfigErrors { path: path.to_owned(), mistakes, warnings }),
        }
    }
}

/// What `certgate check-config` finds in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigReport {
    /// The file.
    pub file: PathBuf,
    /// Whether a gateway can be started with it.
    pub usable: bool,
    /// The profiles, if it can.
    pub profiles: Vec<ProfileName>,
    /// What stops.
    pub mistakes: Vec<Finding>,
    /// What is allowed but unwise.
    pub warnings: Vec<Finding>,
}

/// Checks the file at `path`.
pub fn check(path: &Path) -> ConfigReport {
    let file = path.to_owned();
    match Settings::load(path) {
        Ok((settings, warnings)) => {
            let profiles = settings.profiles.into_iter().map(|profile| profile.name).collect();
            ConfigReport { file, usable: true, profiles, mistakes: Vec::new(), warnings }
        }
        Err(ConfigErrors { mistakes, warnings, .. }) => {
            ConfigReport { file, usable: false, profiles: Vec::new(), mistakes, warnings }
        }
    }
}

impl fmt::Display for ConfigReport {
    /// For people: the outcome, then every mistake and warning on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let file = self.file.display();
        if self.usable {
            let profiles: Vec<_> = self.profiles.iter().map(ProfileName::as_str).collect();
            let profiles = if profiles.is_empty() { "none".to_owned() } else { profiles.join(", ") };
            write!(f, "{file}: ok ({}; profiles: {profiles})", number(self.warnings.len(), "warning"))?;
        } else {
            write!(f, "{file}: {}", number(self.mistakes.len(), "mistake"))?;
        }
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\nerror: {mistake}"))?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

#[cfg(test)]
mod tests;
