//! The configuration file as written. What it means is decided in `settings`.
//!
//! Every key has a default, said in [`Config::documented_example`]; unknown keys are refused.

mod crl;
mod directory;
mod issuer;
mod mdm;
mod outside;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::{Value, de::DeValue};

pub use crl::{Crl, CrlOfIssuer};
pub use directory::Directory;
pub use issuer::{IssuerOptions, Signer};
pub use mdm::{ChallengeWebhook, Ndes};
pub use outside::{ApprovalWebhook, Intune, Outbound, RenewalIssuers};

use super::document::{Document, Finding};
use crate::{
    domain::profile::ProfileSpec,
    service::OverBudget,
    types::{IssuerId, ProfileName},
};

/// `certgate.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// The data directory, relative to the file.
    pub data: PathBuf,
    /// What devices and gear reach: the base of the URLs in certificates.
    pub public_url: Option<String>,
    /// `[listen]`
    pub listen: Listen,
    /// `[tls]`
    pub tls: Tls,
    /// `[keys]`
    pub keys: Keys,
    /// `[scep]`
    pub scep: Scep,
    /// `[ndes]`
    pub ndes: Ndes,
    /// `[challenge-webhook]`
    pub challenge_webhook: ChallengeWebhook,
    /// `[ocsp]`
    pub ocsp: Ocsp,
    /// `[crl]`
    pub crl: Crl,
    /// `[directory.NAME]`
    pub directory: BTreeMap<String, Directory>,
    /// `[restore]`
    pub restore: Restore,
    /// `[retention]`
    pub retention: Retention,
    /// `[limits]`
    pub limits: Limits,
    /// `[outbound]`
    pub outbound: Outbound,
    /// `[intune]`
    pub intune: Intune,
    /// `[log]`
    pub log: Log,
    /// `[issuer.NAME]`
    pub issuer: BTreeMap<IssuerId, IssuerOptions>,
    /// `[profile.NAME]`
    pub profile: BTreeMap<ProfileName, ProfileSpec>,
    /// `static-challenge-files` of the profiles: taken out before the profiles are read, because a profile's versions in
    /// the store must not name files of this machine.
    #[serde(skip)]
    pub challenge_files: BTreeMap<String, Vec<String>>,
    /// `ca-certificate-files` of the profiles, apart for the same reason.
    #[serde(skip)]
    pub ca_certificate_files: BTreeMap<String, Vec<String>>,
    /// `requests-per-minute` of the profiles: what a profile may bear says nothing of its certificates, so it is not in its
    /// versions either.
    #[serde(skip)]
    pub requests_per_minute: BTreeMap<String, u64>,
    /// `on-ticket-reuse` of the profiles; not in their versions for the same reason.
    #[serde(skip)]
    pub on_ticket_reuse: BTreeMap<String, OnTicketReuse>,
    /// `approval-webhook` of the profiles, taken out likewise.
    #[serde(skip)]
    pub approval_webhooks: BTreeMap<String, ApprovalWebhook>,
    /// `renewal-issuers` of the profiles, taken out because they name files.
    #[serde(skip)]
    pub renewal_issuers: BTreeMap<String, RenewalIssuers>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "data".into(),
            public_url: None,
            listen: Listen::default(),
            tls: Tls::default(),
            keys: Keys::default(),
            scep: Scep::default(),
            ndes: Ndes::default(),
            challenge_webhook: ChallengeWebhook::default(),
            ocsp: Ocsp::default(),
            crl: Crl::default(),
            directory: BTreeMap::new(),
            restore: Restore::default(),
            retention: Retention::default(),
            limits: Limits::default(),
            outbound: Outbound::default(),
            intune: Intune::default(),
            log: Log::default(),
            issuer: BTreeMap::new(),
            profile: BTreeMap::new(),
            challenge_files: BTreeMap::new(),
            ca_certificate_files: BTreeMap::new(),
            requests_per_minute: BTreeMap::new(),
            on_ticket_reuse: BTreeMap::new(),
            approval_webhooks: BTreeMap::new(),
            renewal_issuers: BTreeMap::new(),
        }
    }
}

/// `[restore]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Restore {
    /// The checkpoint's file, relative to `data`.
    pub checkpoint: PathBuf,
}

impl Default for Restore {
    fn default() -> Self {
        Self { checkpoint: CHECKPOINT_FILE.into() }
    }
}

/// The checkpoint's file in the data directory.
pub const CHECKPOINT_FILE: &str = "certgate.checkpoint";

/// What a used-up ticket does that somebody else presents again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTicketReuse {
    /// It rings.
    #[default]
    Alarm,
    /// It rings, and what came of the ticket is on hold.
    Hold,
}

/// One text or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum OneOrMany {
    /// `"a"`
    One(String),
    /// `["a", "b"]`
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl From<&str> for OneOrMany {
    fn from(one: &str) -> Self {
        Self::One(one.to_owned())
    }
}

/// `[listen]`: `ADDRESS:PORT`, `fd:NAME` for a socket of systemd, or `off`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Listen {
    /// Plain HTTP for devices and gear.
    pub device: OneOrMany,
    /// HTTPS for operators and MDM servers.
    pub admin: OneOrMany,
    /// Metrics and health.
    pub ops: OneOrMany,
    /// Addresses and networks of proxies whose `X-Forwarded-For` is believed on the device listener.
    pub trusted_proxies: Vec<String>,
    /// The CLI's Unix socket, relative to the data directory.
    pub socket: PathBuf,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            device: "127.0.0.1:8080".into(),
            admin: "127.0.0.1:8443".into(),
            ops: "127.0.0.1:9090".into(),
            trusted_proxies: Vec::new(),
            socket: "certgate.sock".into(),
        }
    }
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tls {
    /// Host names and addresses in the certificate of the HTTPS listener.
    pub names: Vec<String>,
    /// How long that certificate lives; it is renewed when a third is left.
    pub certificate_days: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()], certificate_days: 90 }
    }
}

/// `[keys]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Keys {
    /// Where the key-encryption key comes from.
    pub kek: Kek,
}

/// `keys.kek`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kek {
    /// A key file, relative to the configuration file.
    File(PathBuf),
    /// A systemd credential that holds the key.
    Credential(String),
    /// A file with a passphrase, relative to the configuration file.
    PassphraseFile(PathBuf),
    /// A systemd credential that holds a passphrase.
    PassphraseCredential(String),
}

impl Default for Kek {
    fn default() -> Self {
        Self::File("kek.key".into())
    }
}

/// `[scep]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Scep {
    /// The profile of the NDES-compatible URLs.
    pub default_profile: Option<ProfileName>,
    /// Value of the template variable `REALM`.
    pub realm: String,
    /// Largest message taken.
    pub max_message_bytes: u64,
    /// How long the certificate of the message key lives; it is renewed when a third is left.
    pub message_key_days: u64,
    /// How long a repeated request is answered with the certificate of the first.
    pub repeat_window_hours: u64,
    /// How long the trace of a request is kept; 0 = none is.
    pub trace_days: u64,
    /// How many traces are kept.
    pub trace_entries: u64,
    /// How long the transcripts beside them are kept; 0 = none are.
    pub transcript_days: u64,
}

impl Default for Scep {
    fn default() -> Self {
        Self {
            default_profile: None,
            realm: String::new(),
            max_message_bytes: 256 * 1024,
            message_key_days: 365,
            repeat_window_hours: 24,
            trace_days: 14,
            trace_entries: 50_000,
            transcript_days: 3,
        }
    }
}

/// `[ocsp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ocsp {
    /// nextUpdate of good answers.
    pub good_validity_seconds: u64,
    /// nextUpdate of certificateHold.
    pub hold_validity_seconds: u64,
    /// nextUpdate of revoked.
    pub revoked_validity_seconds: u64,
    /// How long a signer's certificate lives; it is renewed when a third is left.
    pub signer_days: u64,
    /// How long the certificate of a trusted responder lives; the next one is made when a third is left, and signs when a sixth is.
    pub trusted_responder_days: u64,
    /// How many answers are kept in memory.
    pub cache_entries: u64,
    /// Signatures for answers that one client alone can use; 0 = any number.
    pub single_use_per_second: u64,
    /// What becomes of a nonce where none is left.
    pub nonce_over_budget: OverBudget,
}

impl Default for Ocsp {
    fn default() -> Self {
        Self {
            good_validity_seconds: 600,
            hold_validity_seconds: 300,
            revoked_validity_seconds: 86_400,
            signer_days: 7,
            trusted_responder_days: 1_095,
            cache_entries: 100_000,
            single_use_per_second: 0,
            nonce_over_budget: OverBudget::default(),
        }
    }
}

/// `[retention]`: days; 0 = for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retention {
    /// An enrolment, from the end of its certificate on.
    pub enrolment_days: u64,
    /// An enrolment that was refused or rejected.
    pub refused_enrolment_days: u64,
    /// A ticket, from its end and that of all that came of it on.
    pub ticket_days: u64,
    /// A job that was given up.
    pub dead_job_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { enrolment_days: 90, refused_enrolment_days: 30, ticket_days: 30, dead_job_days: 30 }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Threads for enrolment, which give way to all others; 0 = four for each processor and 24 more.
    pub workers: u64,
    /// Requests that may wait for one of them.
    pub waiters: u64,
    /// Threads for OCSP answers that are not cached; 0 = as many as there are processors.
    pub ocsp_workers: u64,
    /// Requests that may wait for one of them.
    pub ocsp_waiters: u64,
    /// The same for requests whose answer one client alone can use.
    pub ocsp_single_use_waiters: u64,
    /// Open connections per listener.
    pub connections: u64,
    /// Open connections of one address; 0 = half of all.
    pub connections_per_address: u64,
    /// Time for a request's head.
    pub header_timeout_seconds: u64,
    /// Time for a request's body.
    pub body_timeout_seconds: u64,
    /// SCEP requests of one address; 0 = any number.
    pub address_requests_per_minute: u64,
    /// Different wrong challenges from one address to one profile that lock it out; 0 = never.
    pub wrong_challenges: u64,
    /// Within this time, and for this time.
    pub lock_out_minutes: u64,
    /// Memory for pages of the store.
    pub store_cache_megabytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 0,
            waiters: 256,
            ocsp_workers: 0,
            ocsp_waiters: 1024,
            ocsp_single_use_waiters: 1024,
            connections: 4096,
            connections_per_address: 0,
            header_timeout_seconds: 10,
            body_timeout_seconds: 30,
            address_requests_per_minute: 0,
            wrong_challenges: 30,
            lock_out_minutes: 10,
            store_cache_megabytes: 256,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,certgate::http=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// The reference: a file with every key, its default and what it does.
    pub fn documented_example() -> &'static str {
        include_str!("example.toml")
    }

    /// Reads a document; mistakes are left in it.
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let challenge_files = taken(document, "static-challenge-files", "expected a list of strings", texts);
        let ca_certificate_files =
            taken(document, "ca-certificate-files", "expected a list of strings", texts);
        let requests_per_minute = taken(document, "requests-per-minute", "expected a number", number);
        let on_ticket_reuse =
            taken(document, "on-ticket-reuse", "expected \"alarm\" or \"hold\"", on_ticket_reuse);
        let expected = "expected { url = \"https://..\", secret-files = [\"..\"] }, with timeout-seconds and denial-minutes if need be";
        let approval_webhooks = taken(document, "approval-webhook", expected, ApprovalWebhook::read);
        let expected = "expected { files = [\"..\"], crl-files = [\"..\"], grace-days = 0 }";
        let renewal_issuers = taken(document, "renewal-issuers", expected, RenewalIssuers::read);
        let config: Self = document.read();
        document.mistakes.iter_mut().for_each(name_taken_keys);
        document.mistakes.iter_mut().for_each(say_how_kek_is_written);
        Self {
            challenge_files,
            ca_certificate_files,
            requests_per_minute,
            on_ticket_reuse,
            approval_webhooks,
            renewal_issuers,
            ..config
        }
    }
}

/// The keys of a profile that are no part of its versions.
const TAKEN: [&str; 6] = [
    "static-challenge-files",
    "ca-certificate-files",
    "requests-per-minute",
    "on-ticket-reuse",
    "approval-webhook",
    "renewal-issuers",
];

/// Who misspelt one of them is told of them, too.
fn name_taken_keys(mistake: &mut Finding) {
    if mistake.key.starts_with("profile.")
        && mistake.key.split('.').count() == 3
        && mistake.problem.starts_with("unknown field")
    {
        let names = TAKEN.map(|name| format!(", `{name}`")).concat();
        mistake.problem.push_str(&names);
    }
}

/// A key by itself (`kek = "file"`), a path by itself, none or several of the keys: what the reader says of these helps nobody.
fn say_how_kek_is_written(mistake: &mut Finding) {
    if mistake.key == "keys.kek"
        || mistake.problem.starts_with("unknown variant") && mistake.key.starts_with("keys.kek.")
    {
        mistake.problem = String::from(
            "expected { file = \"PATH\" }, { credential = \"NAME\" }, { passphrase-file = \"PATH\" } or \
             { passphrase-credential = \"NAME\" }",
        );
    }
}

/// The key of each profile that is no part of its versions, taken out of the document.
fn taken<T>(
    document: &mut Document<'_>,
    key: &str,
    expected: &str,
    read: impl Fn(&DeValue<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut values = BTreeMap::new();
    for (profile, value) in document.take_from_each("profile", key) {
        if let Some(value) = read(value.get_ref()) {
            values.insert(profile, value);
        } else {
            let key = format!("profile.{profile}.{key}");
            document.mistakes.push(document.places.finding(&key, expected));
        }
    }
    values
}

fn on_ticket_reuse(value: &DeValue<'_>) -> Option<OnTicketReuse> {
    match value.as_str()? {
        "alarm" => Some(OnTicketReuse::Alarm),
        "hold" => Some(OnTicketReuse::Hold),
        _ => None,
    }
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
    texts.collect()
}

/// What a first configuration file says beyond the defaults.
#[derive(Clone, Debug)]
pub struct Starter<'a> {
    /// The data directory, as the file shall name it.
    pub data: &'a Path,
    /// What devices and gear reach.
    pub public_url: &'a str,
    /// Plain HTTP for devices.
    pub device: SocketAddr,
    /// HTTPS for operators.
    pub admin: SocketAddr,
    /// Metrics and health.
    pub ops: SocketAddr,
    /// Subject template of the profile `device`.
    pub subject: &'a str,
}

impl Starter<'_> {
    /// The file's text.
    pub fn render(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        format!(
            "# certgate configuration. Every other key has its default; `certgate check-config` checks this file.\n\
             data = {}\npublic-url = {}\n\n[listen]\ndevice = {}\nadmin = {}\nops = {}\n\n\
             [scep]\ndefault-profile = \"device\"\n\n\
             [profile.device]\ndescription = \"Devices\"\nsubject = {}\nchallenge = [\"ticket\"]\n",
            quoted(&self.data.to_string_lossy()),
            quoted(self.public_url),
            quoted(&self.device.to_string()),
            quoted(&self.admin.to_string()),
            quoted(&self.ops.to_string()),
            quoted(self.subject),
        )
    }
}

#[cfg(test)]
mod tests;
