//! Profiles: what a certificate of a kind looks like and who may have one.

mod check;
mod checked;
mod san;
mod template;
mod variables;

use serde::{Deserialize, Serialize};

pub(super) use checked::family;
pub use checked::{CheckedProfile, IdentityField};
pub(super) use san::is_well_formed;
pub use variables::{VariableFacts, Variables, variables};

use super::{
    client::{
        Clients,
        behaviour::{CaBundle, ReplyCipher},
    },
    device::LifecyclePolicy,
};
use crate::types::{IssuerId, ProfileName, Timestamp};

/// One immutable version of a profile. Certificates keep the version that issued them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name; part of the SCEP URL.
    pub name: ProfileName,
    /// 1, 2, 3 ...
    pub version: u32,
    /// When this version was recorded.
    pub created_at: Timestamp,
    /// What it says.
    pub spec: ProfileSpec,
}

/// Whose certificates these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Bound to a device.
    #[default]
    Device,
    /// Bound to a user: one for all of their devices.
    User,
}

/// How the names in a request relate to the record of the device or user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchRule {
    /// The request's names must equal, as sets, what the templates give for the record.
    Strict,
    /// The templates give the names; the request's are ignored.
    #[default]
    Fill,
    /// The request's names are taken (static challenge only; low assurance).
    Claim,
}

/// A way to authorise a first enrolment. Stored by position: a new way goes to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChallengeMode {
    /// One-time challenges.
    Ticket,
    /// The profile's static challenge.
    Static,
    /// One-time challenges that name nobody: whoever has one may enrol as anybody that the profile knows (VU#971035).
    UnboundTicket,
    /// Microsoft Intune's challenges, which its service is asked about.
    Intune,
}

/// Who decides. Stored by position: a new way goes to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// The rules alone.
    #[default]
    Auto,
    /// An operator too: the client is answered PENDING until then.
    Manual,
    /// A webhook too: it is asked before each certificate.
    Webhook,
}

/// The kinds of key that a profile takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyFamily {
    /// RSA.
    Rsa,
    /// ECDSA on P-256 or P-384.
    Ec,
}

/// Old algorithms that a profile takes from old gear, as written; what is not written is off, unless `client` names `legacy`. Each
/// use is logged as a warning and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Legacy {
    /// Requests signed with SHA-1; their answers are signed with it too.
    pub sha1: Option<bool>,
    /// Envelopes encrypted with triple DES; the answer uses triple DES too.
    pub triple_des: Option<bool>,
    /// Envelopes encrypted with single DES; the answer uses triple DES, or single DES with `reply-cipher = "request"`.
    pub des: Option<bool>,
    /// Requests signed with MD5; their answers are signed with it too.
    pub md5: Option<bool>,
}

/// What a profile says. As written in the configuration file under `[profile.NAME]`; every key but `subject`
/// has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfileSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Who issues; default `issuing`.
    #[serde(default = "default_issuer")]
    pub issuer: IssuerId,
    /// `device` (default) or `user`.
    #[serde(default)]
    pub scope: Scope,
    /// Subject template, e.g. `CN=$DEVICE_SN$,O=Lab`.
    pub subject: String,
    /// SAN templates, `type:template`, e.g. `dns:{{DEVICE_ID}}.lab.example`; types email, dns, uri, ip, upn,
    /// dirname. An entry whose variables are empty is left out.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// `fill` (default), `strict` or `claim`.
    #[serde(default, rename = "match")]
    pub match_rule: MatchRule,
    /// Where a request names its device or user when no ticket does: `subject.cn`, `subject.serialnumber`,
    /// `subject.ou`, `san.email`, `san.dns`, `san.uri`, `san.upn`. The value is looked up among ids and
    /// identities. Default `subject.cn`.
    #[serde(default = "default_identify")]
    pub identify: String,
    /// Any of `ticket`, `unbound-ticket`, `static`; empty only with manual approval.
    #[serde(default = "default_challenge")]
    pub challenge: Vec<ChallengeMode>,
    /// `auto` (default), `manual` or `webhook`.
    #[serde(default)]
    pub approval: Approval,
    /// Whether a static challenge, or a certificate of another CA, may be used by a device that is not registered; default false.
    #[serde(default)]
    pub allow_unregistered: bool,
    /// Kinds of key; default RSA and EC.
    #[serde(default = "default_key_types")]
    pub key_types: Vec<KeyFamily>,
    /// Least RSA modulus; default 2048.
    #[serde(default = "default_min_rsa_bits")]
    pub min_rsa_bits: u32,
    /// keyUsage names; default digitalSignature and keyEncipherment (the latter left out for EC keys).
    #[serde(default = "default_key_usage")]
    pub key_usage: Vec<String>,
    /// `client-auth` (default), `server-auth`, `ipsec`, `smart-card-logon`, `email-protection`, or dotted
    /// OIDs; never anyExtendedKeyUsage, OCSPSigning.
    #[serde(default = "default_eku")]
    pub extended_key_usage: Vec<String>,
    /// Validity in days, capped by the issuer; default 365.
    #[serde(default = "default_validity")]
    pub validity_days: u32,
    /// notBefore lies this many minutes back, for clocks that are behind; default 10.
    #[serde(default = "default_backdate")]
    pub backdate_minutes: u32,
    /// A certificate can be renewed from this many days before it expires; default 0 = at any time while it
    /// is valid.
    #[serde(default)]
    pub renewal_window_days: u32,
    /// Adds the Microsoft SID extension when the device's or user's record has a SID; default false.
    #[serde(default)]
    pub microsoft_sid: bool,
    /// Puts the CA certificates into SUCCESS beside the issued one (Cisco VPN clients want it; Apple and
    /// Juniper refuse it); default as `client` wants it.
    #[serde(default)]
    pub include_ca: Option<bool>,
    /// Whether a wiped or retired device revokes, holds ...
    #[serde(default)]
    pub lifecycle: LifecyclePolicy,
    /// Old algorithms.
    #[serde(default)]
    pub legacy: Legacy,
    // From here on the fields of schema 4, in the order of `profiles_of_3` of the store.
    /// Whose peculiarities are served where they exclude each other: `any` (default), a client or several.
    #[serde(default)]
    pub client: Clients,
    /// What GetCACert shows: `full` (default), `short` or `message`.
    #[serde(default)]
    pub ca_bundle: CaBundle,
    /// `strong` or `request`; default as `client` wants it.
    #[serde(default)]
    pub reply_cipher: Option<ReplyCipher>,
    /// An expired certificate can be renewed for this many days; default 30, 0 = not at all.
    #[serde(default = "default_renewal_grace")]
    pub renewal_grace_days: u32,
}

#[expect(clippy::expect_used, reason = "a constant that satisfies the rule of issuer names; a test reads it")]
fn default_issuer() -> IssuerId {
    "issuing".parse().expect("a valid issuer name")
}
fn default_identify() -> String {
    "subject.cn".to_owned()
}
fn default_challenge() -> Vec<ChallengeMode> {
    vec![ChallengeMode::Ticket]
}
fn default_key_types() -> Vec<KeyFamily> {
    vec![KeyFamily::Rsa, KeyFamily::Ec]
}
fn default_min_rsa_bits() -> u32 {
    2048
}
fn default_key_usage() -> Vec<String> {
    vec!["digitalSignature".to_owned(), "keyEncipherment".to_owned()]
}
fn default_eku() -> Vec<String> {
    vec!["client-auth".to_owned()]
}
fn default_validity() -> u32 {
    365
}
fn default_renewal_grace() -> u32 {
    30
}
fn default_backdate() -> u32 {
    10
}

/// A mistake in a profile: the key and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ProfileMistake {
    /// The key, relative to the profile: `subject`, `subject-alt-names[2]`.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
    /// An error stops; a warning (weak but allowed) is shown.
    pub fatal: bool,
}

impl ProfileSpec {
    /// Every mistake in it, in the order of the fields.
    pub fn mistakes(&self) -> Vec<ProfileMistake> {
        check::check(self).1
    }
}

#[cfg(test)]
mod tests;
