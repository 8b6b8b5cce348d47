//! From what is written to what is meant: every check of the configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Uri;

use super::{Endpoint, Finding, Limits, Listen, Log, Pool, Settings, certificates, challenge};
use crate::{
    adapters::keys::KekSource,
    app::{
        config::{self, Config, Kek, OnTicketReuse, OneOrMany},
        document::{Document, Places},
        telemetry::log_filter,
    },
    domain::{
        client::behaviour::CaBundle,
        profile::{Approval, ChallengeMode, ProfileSpec},
        retention::Retention,
        throttle::{LockOut, Pace},
    },
    http::forwarded::{Network, TrustedProxies},
    service::{
        GatewaySettings, SystemSettings, TraceSettings, enrol::RefusalLimits, guard::GuardSettings,
        profile::ConfiguredProfile, scep::MAX_MESSAGE,
    },
    types::{ProfileName, Secret},
    wire::x509::Certificate,
};

pub(super) const HOUR: u64 = 3_600;
pub(super) const DAY: u64 = 24 * HOUR;

/// Current and previous.
const MAX_STATIC_CHALLENGES: usize = 2;

/// `path` without the `.` that a configuration file in its own data directory names.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Collects what it finds while it reads on.
pub(super) struct Checker<'a> {
    path: &'a Path,
    places: Places,
    mistakes: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(path: &'a Path, document: Document<'_>) -> Self {
        Self { path, places: document.places, mistakes: document.mistakes, warnings: Vec::new() }
    }

    /// The settings (if they can be made up at all), the mistakes and the warnings.
    pub(super) fn settings(mut self, config: &Config) -> (Option<Settings>, Vec<Finding>, Vec<Finding>) {
        let data = plain(&self.directory().join(&config.data));
        let listen = self.listen(&config.listen, &data);
        let public_url = self.public_url(config, &listen);
        let checkpoint = plain(&data.join(&config.restore.checkpoint));
        if checkpoint == data {
            self.mistake("restore.checkpoint", "names no file");
        }
        let kek = self.kek(&config.keys.kek);
        let ocsp = self.ocsp(config);
        let crl = self.crl(&config.crl);
        let profiles = self.profiles(config);
        let limits = self.limits(&config.limits);
        let mut outbound = self.outbound(&config.outbound, &limits);
        let intune = self.intune(config, &mut outbound);
        let directories = self.directories(config);
        let gateway = GatewaySettings {
            public_url: config.public_url.is_some().then(|| public_url.clone()),
            realm: config.scep.realm.clone(),
            default_profile: self.default_profile(config),
            static_challenges: self.static_challenges(config),
            ca_certificates: self.ca_certificates(config),
            ocsp,
            system: self.system(config),
            repeat_window: self.duration(
                "scep.repeat-window-hours",
                config.scep.repeat_window_hours,
                1..=720,
                HOUR,
            ),
            trace: self.trace(&config.scep),
            retention: self.retention(&config.retention),
            server_names: self.server_names(&config.tls),
            ndes: self.ndes(config),
            challenge_webhook: self.challenge_webhook(&config.challenge_webhook),
            guard: self.guard(config),
            approval_webhooks: self.approval_webhooks(config, &mut outbound),
            renewal_issuers: self.renewal_issuers(config),
            crl,
            directories: directories.iter().map(|(name, it)| (name.clone(), it.policy.clone())).collect(),
            key_beside_store: matches!(&kek, KekSource::File(path) | KekSource::PassphraseFile(path) if path.starts_with(&data)),
        };
        let settings = Settings {
            path: self.path.to_owned(),
            data,
            public_url,
            listen,
            kek,
            checkpoint,
            gateway,
            max_message_bytes: self.size(
                "scep.max-message-bytes",
                config.scep.max_message_bytes,
                16_384..=MAX_MESSAGE as u64,
            ),
            limits,
            outbound,
            intune,
            directories,
            log: self.log(&config.log),
            profiles,
        };
        (self.mistakes.is_empty().then_some(settings), self.mistakes, self.warnings)
    }

    pub(super) fn mistake(&mut self, key: &str, problem: impl fmt::Display) {
        let finding = self.places.finding(key, problem);
        self.mistakes.push(finding);
    }

    pub(super) fn warn(&mut self, key: &str, problem: impl fmt::Display) {
        let finding = self.places.finding(key, problem);
        self.warnings.push(finding);
    }

    /// Whether a mistake was found in `key`, so that what follows from it need not be said too.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key == key)
    }

    /// Where relative paths start.
    pub(super) fn directory(&self) -> &'a Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn number(&mut self, key: &str, value: u64, range: RangeInclusive<u64>) -> u64 {
        if !range.contains(&value) {
            self.mistake(key, format_args!("{value} is not in {} to {}", range.start(), range.end()));
        }
        value
    }

    pub(super) fn size(&mut self, key: &str, value: u64, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.number(key, value, range)).unwrap_or(usize::MAX)
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        value: u64,
        range: RangeInclusive<u64>,
        unit: u64,
    ) -> Duration {
        Duration::from_secs(self.number(key, value, range).saturating_mul(unit))
    }
}

/// Listeners and URLs.
impl Checker<'_> {
    fn listen(&mut self, listen: &config::Listen, data: &Path) -> Listen {
        let checked = Listen {
            device: self.endpoints("listen.device", &listen.device),
            admin: self.endpoints("listen.admin", &listen.admin),
            ops: self.endpoints("listen.ops", &listen.ops),
            trusted_proxies: self.trusted_proxies(&listen.trusted_proxies),
            socket: plain(&data.join(&listen.socket)),
        };
        if checked.device.is_empty() && !self.is_wrong("listen.device") {
            self.mistake("listen.device", "cannot be off: nothing could enrol");
        }
        if checked
            .ops
            .iter()
            .any(|endpoint| matches!(endpoint, Endpoint::Address(a) if !a.ip().is_loopback()))
        {
            self.warn("listen.ops", "whoever reaches this address reads the metrics without a password");
        }
        self.refuse_shared_endpoints(&checked);
        checked
    }

    fn endpoints(&mut self, key: &str, written: &OneOrMany) -> Vec<Endpoint> {
        if written.as_slice() == ["off"] {
            return Vec::new();
        }
        written.as_slice().iter().filter_map(|text| self.endpoint(key, text)).collect()
    }

    fn endpoint(&mut self, key: &str, text: &str) -> Option<Endpoint> {
        if let Some(name) = text.strip_prefix("fd:") {
            // systemd.socket(5): FileDescriptorName= is at most 255 printable characters without a colon.
            if (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
                return Some(Endpoint::Inherited(name.to_owned()));
            }
        } else if let Ok(address) = text.parse() {
            return Some(Endpoint::Address(address));
        }
        self.mistake(key, format_args!("{text:?} is not ADDRESS:PORT, fd:NAME or off"));
        None
    }

    fn trusted_proxies(&mut self, written: &[String]) -> TrustedProxies {
        let mut networks = Vec::new();
        for text in written {
            match text.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(error) => self.mistake("listen.trusted-proxies", format_args!("{text:?} {error}")),
            }
        }
        TrustedProxies(networks)
    }

    fn refuse_shared_endpoints(&mut self, listen: &Listen) {
        let mut seen = BTreeMap::new();
        for (key, endpoints) in
            [("listen.device", &listen.device), ("listen.admin", &listen.admin), ("listen.ops", &listen.ops)]
        {
            for endpoint in endpoints {
                // Port 0 asks for any free port, each time another.
                let any_port = matches!(endpoint, Endpoint::Address(address) if address.port() == 0);
                if let Some(other) = seen.insert(endpoint.to_string(), key)
                    && !any_port
                {
                    self.mistake(key, format_args!("{endpoint} is taken by {other}"));
                }
            }
        }
    }

    fn public_url(&mut self, config: &Config, listen: &Listen) -> String {
        const KEY: &str = "public-url";
        let Some(written) = &config.public_url else {
            return self.default_public_url(listen);
        };
        self.plain_http_url(KEY, written).unwrap_or_default()
    }

    /// A URL that goes into certificates, without a slash at the end.
    pub(super) fn plain_http_url(&mut self, key: &str, written: &str) -> Option<String> {
        let problem = match written.parse::<Uri>() {
            Ok(url) if url.scheme_str() == Some("https") => {
                "must be http://: a client asks for the status of a certificate before it trusts TLS"
            }
            Ok(url)
                if url.scheme_str() == Some("http")
                    && url.host().is_some_and(|host| !host.is_empty())
                    && url.query().is_none()
                    && url.authority().is_some_and(|authority| !authority.as_str().contains('@')) =>
            {
                return Some(written.trim_end_matches('/').to_owned());
            }
            _ => "is not a URL of the form http://HOST[:PORT][/PATH]",
        };
        self.mistake(key, format_args!("{written:?} {problem}"));
        None
    }

    fn default_public_url(&mut self, listen: &Listen) -> String {
        const KEY: &str = "public-url";
        let address = listen.device.iter().find_map(|endpoint| match endpoint {
            Endpoint::Address(address) => Some(*address),
            Endpoint::Inherited(_) => None,
        });
        match address {
            Some(address) if !address.ip().is_unspecified() => {
                let url = format!("http://{address}");
                self.warn(KEY, format_args!("is not set: certificates will point at {url}"));
                url
            }
            _ if self.is_wrong("listen.device") => String::new(),
            _ => {
                self.mistake(KEY, "must be set: listen.device does not say what devices reach");
                String::new()
            }
        }
    }

    fn server_names(&mut self, tls: &config::Tls) -> Vec<String> {
        if tls.names.is_empty() {
            self.mistake("tls.names", "needs at least one host name or address");
        }
        for name in &tls.names {
            let label = |label: &str| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if name.parse::<std::net::IpAddr>().is_err() && !name.split('.').all(label) {
                self.mistake("tls.names", format_args!("{name:?} is neither a host name nor an address"));
            }
        }
        tls.names.clone()
    }
}

/// Keys, lifetimes, limits.
impl Checker<'_> {
    /// Where it lies is for `init` and `doctor` to speak of: it is the default, and a warning at each start would be read by nobody.
    fn kek(&mut self, kek: &Kek) -> KekSource {
        let is_empty = match kek {
            Kek::File(path) | Kek::PassphraseFile(path) => path.as_os_str().is_empty(),
            Kek::Credential(name) | Kek::PassphraseCredential(name) => name.is_empty(),
        };
        if is_empty {
            self.mistake("keys.kek", "names nothing: the name of a file or of a credential is needed");
        }
        let file = |path: &PathBuf| plain(&self.directory().join(path));
        match kek {
            Kek::File(path) => KekSource::File(file(path)),
            Kek::PassphraseFile(path) => KekSource::PassphraseFile(file(path)),
            Kek::Credential(name) => KekSource::Credential(name.clone()),
            Kek::PassphraseCredential(name) => KekSource::PassphraseCredential(name.clone()),
        }
    }

    fn retention(&mut self, written: &config::Retention) -> Retention {
        let mut days = |key, value| self.duration(key, value, 0..=36_500, DAY);
        Retention {
            enrolments: days("retention.enrolment-days", written.enrolment_days),
            refused: days("retention.refused-enrolment-days", written.refused_enrolment_days),
            tickets: days("retention.ticket-days", written.ticket_days),
            jobs: days("retention.dead-job-days", written.dead_job_days),
        }
    }

    fn system(&mut self, config: &Config) -> SystemSettings {
        SystemSettings {
            message: self.duration("scep.message-key-days", config.scep.message_key_days, 1..=3_650, DAY),
            ocsp_signer: self.duration("ocsp.signer-days", config.ocsp.signer_days, 1..=90, DAY),
            trusted_responder: self.duration(
                "ocsp.trusted-responder-days",
                config.ocsp.trusted_responder_days,
                30..=7_300,
                DAY,
            ),
            server_tls: self.duration("tls.certificate-days", config.tls.certificate_days, 1..=397, DAY),
            ocsp_signers: self.ocsp_signers(config),
        }
    }

    fn trace(&mut self, scep: &config::Scep) -> TraceSettings {
        if scep.transcript_days > scep.trace_days {
            self.mistake("scep.transcript-days", "is over scep.trace-days: a transcript goes with its trace");
        }
        TraceSettings {
            keep: self.duration("scep.trace-days", scep.trace_days, 0..=3_650, DAY),
            keep_transcripts: self.duration("scep.transcript-days", scep.transcript_days, 0..=3_650, DAY),
            entries: self.size("scep.trace-entries", scep.trace_entries, 1_000..=10_000_000),
        }
    }

    fn limits(&mut self, limits: &config::Limits) -> Limits {
        Limits {
            enrolment: Pool {
                // Most of them wait for the store's shared commit: the more wait together, the fewer commits there are.
                workers: self.workers("limits.workers", limits.workers, |processors| 4 * processors + 24),
                waiters: self.size("limits.waiters", limits.waiters, 0..=1_000_000),
            },
            ocsp: Pool {
                workers: self.workers("limits.ocsp-workers", limits.ocsp_workers, |processors| processors),
                waiters: self.size("limits.ocsp-waiters", limits.ocsp_waiters, 0..=1_000_000),
            },
            ocsp_single_use_waiters: self.size(
                "limits.ocsp-single-use-waiters",
                limits.ocsp_single_use_waiters,
                0..=1_000_000,
            ),
            connections: self.size("limits.connections", limits.connections, 16..=1_000_000),
            connections_per_address: self.connections_per_address(limits),
            header_timeout: self.duration(
                "limits.header-timeout-seconds",
                limits.header_timeout_seconds,
                1..=300,
                1,
            ),
            body_timeout: self.duration(
                "limits.body-timeout-seconds",
                limits.body_timeout_seconds,
                1..=300,
                1,
            ),
            store_cache_bytes: self
                .size("limits.store-cache-megabytes", limits.store_cache_megabytes, 16..=1_000_000)
                .saturating_mul(1 << 20),
        }
    }

    /// As written, or for 0 half of all: one address alone cannot take them.
    fn connections_per_address(&mut self, limits: &config::Limits) -> usize {
        let written =
            self.size("limits.connections-per-address", limits.connections_per_address, 0..=1_000_000);
        if written > 0 { written } else { usize::try_from(limits.connections / 2).unwrap_or(usize::MAX) }
    }

    fn guard(&mut self, config: &Config) -> GuardSettings {
        let limits = &config.limits;
        let per_client = self.pace("limits.address-requests-per-minute", limits.address_requests_per_minute);
        let per_profile = config.requests_per_minute.iter().filter_map(|(profile, number)| {
            let pace = self.pace(&format!("profile.{profile}.requests-per-minute"), *number)?;
            Some((profile.parse().ok()?, pace))
        });
        let per_profile = per_profile.collect();
        let guesses = self.size("limits.wrong-challenges", limits.wrong_challenges, 0..=200);
        let time = self.duration("limits.lock-out-minutes", limits.lock_out_minutes, 1..=1_440, 60);
        let holds = config.on_ticket_reuse.iter().filter(|(_, policy)| **policy == OnTicketReuse::Hold);
        GuardSettings {
            per_client,
            per_profile,
            lock_out: (guesses > 0).then_some(LockOut { guesses, time }),
            hold_on_reuse: holds.filter_map(|(profile, _)| profile.parse().ok()).collect(),
            refusals: RefusalLimits::default(),
        }
    }

    fn pace(&mut self, key: &str, per_minute: u64) -> Option<Pace> {
        let number = self.number(key, per_minute, 0..=10_000_000);
        Pace::per_minute(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// As written, or for 0 what `default` makes of the number of processors.
    fn workers(&mut self, key: &str, written: u64, default: fn(usize) -> usize) -> NonZeroUsize {
        let default = default(processors().get()).min(1_024);
        NonZeroUsize::new(self.size(key, written, 0..=1_024))
            .or_else(|| NonZeroUsize::new(default))
            .unwrap_or(NonZeroUsize::MIN)
    }

    fn log(&mut self, log: &config::Log) -> Log {
        if let Err(error) = log_filter(&log.level) {
            self.mistake("log.level", format_args!("{:?} is no level or filter: {error}", log.level));
        }
        Log { format: log.format, filter: log.level.clone() }
    }
}

fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Profiles and their challenges.
impl Checker<'_> {
    fn profiles(&mut self, config: &Config) -> Vec<ConfiguredProfile> {
        if self.places.names_in("profile").next().is_none() {
            self.warn("profile", "there is no profile: nothing can be enrolled");
        }
        let check = |(name, spec): (&ProfileName, &ProfileSpec)| {
            self.profile(name, spec);
            ConfiguredProfile { name: name.clone(), spec: spec.clone() }
        };
        config.profile.iter().map(check).collect()
    }

    fn profile(&mut self, name: &ProfileName, spec: &ProfileSpec) {
        for mistake in spec.mistakes() {
            let key = format!("profile.{name}.{}", mistake.key);
            if mistake.fatal {
                self.mistake(&key, mistake.problem);
            } else {
                self.warn(&key, mistake.problem);
            }
        }
        let key = format!("profile.{name}.challenge");
        let open = spec.challenge.is_empty() && spec.approval != Approval::Manual;
        if open && !self.is_wrong(&key) {
            self.mistake(&key, "is empty, and approval is not manual: anybody could enrol");
        }
    }

    fn default_profile(&mut self, config: &Config) -> Option<ProfileName> {
        let name = config.scep.default_profile.clone()?;
        if !self.is_profile(&name) {
            self.mistake("scep.default-profile", format_args!("there is no profile \"{name}\""));
        }
        Some(name)
    }

    /// As written, not as read: a profile with a mistake in it is there nevertheless.
    pub(super) fn is_profile(&self, name: &ProfileName) -> bool {
        self.places.names_in("profile").any(|written| written == name.as_str())
    }

    fn static_challenges(&mut self, config: &Config) -> BTreeMap<ProfileName, Vec<Secret>> {
        let mut challenges = BTreeMap::new();
        for (name, spec) in &config.profile {
            let key = format!("profile.{name}.static-challenge-files");
            let files = config.challenge_files.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let wanted = spec.challenge.contains(&ChallengeMode::Static);
            if wanted && files.is_empty() && !self.is_wrong(&key) {
                self.mistake(&key, "is missing, and challenge has \"static\"");
            }
            if !wanted && !files.is_empty() {
                self.warn(&key, "is not used: challenge does not have \"static\"");
            }
            if files.len() > MAX_STATIC_CHALLENGES {
                self.mistake(&key, "holds more than two: the current one and the previous one");
            }
            let secrets = self.read_challenges(&key, files);
            if wanted && !secrets.is_empty() {
                challenges.insert(name.clone(), secrets);
            }
        }
        challenges
    }

    /// The chains that profiles show in GetCACert in place of their issuer's own.
    fn ca_certificates(&mut self, config: &Config) -> BTreeMap<ProfileName, Vec<Certificate>> {
        let mut shown = BTreeMap::new();
        for (name, spec) in &config.profile {
            let Some(files) = config.ca_certificate_files.get(name.as_str()) else { continue };
            let key = format!("profile.{name}.ca-certificate-files");
            if spec.ca_bundle != CaBundle::Full {
                self.mistake(&key, "says what is shown, and so does ca-bundle: leave one of them out");
            }
            let certificates = self.read_certificates(&key, files);
            if certificates.is_empty() && !self.is_wrong(&key) {
                self.mistake(&key, "names no file");
            }
            shown.insert(name.clone(), certificates);
        }
        shown
    }

    pub(super) fn read_certificates(&mut self, key: &str, files: &[String]) -> Vec<Certificate> {
        let mut all = Vec::new();
        for file in files {
            match certificates::read(self.directory(), file) {
                Ok(read) => all.extend(read),
                Err(error) => self.mistake(key, error),
            }
        }
        all
    }

    pub(super) fn read_challenges(&mut self, key: &str, files: &[String]) -> Vec<Secret> {
        let mut secrets = Vec::new();
        let mut names = BTreeSet::new();
        for file in files {
            match challenge::read(self.directory(), file) {
                Ok(read) => {
                    read.warning.into_iter().for_each(|warning| self.warn(key, warning));
                    if !names.insert(file) || secrets.contains(&read.secret) {
                        self.mistake(key, format_args!("{file} holds the same challenge as another"));
                    }
                    secrets.push(read.secret);
                }
                Err(error) => self.mistake(key, error),
            }
        }
        secrets
    }
}
