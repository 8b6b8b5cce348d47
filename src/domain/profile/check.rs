//! The check of a profile as written: every mistake, in the order of the fields, and the parsed parts.

use const_oid::ObjectIdentifier;

use super::{
    Approval, ChallengeMode, IdentityField, KeyFamily, MatchRule, ProfileMistake, ProfileSpec,
    san::SanTemplate,
    template::{Context, Template},
};
use crate::{
    domain::client::{
        ClientFamily,
        behaviour::{Behaviour, CaBundle, ReplyCipher},
        quirk,
    },
    wire::x509::{KeyUsage, Name},
};

const MAX_VALIDITY_DAYS: u32 = 39_500;
const MAX_OVERLAP_DAYS: u32 = 3650;

/// Longest time after its expiry for which a certificate can be renewed: its key was not watched by anybody since.
const MAX_RENEWAL_GRACE_DAYS: u32 = 365;
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SMART_CARD_LOGON: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2");
/// Microsoft's certificate request agent: its holder enrols in other people's names.
const REQUEST_AGENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.1");

const EXTENDED_KEY_USAGES: [(&str, ObjectIdentifier); 5] = [
    ("client-auth", CLIENT_AUTH),
    ("server-auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1")),
    ("ipsec", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.17")),
    ("smart-card-logon", SMART_CARD_LOGON),
    ("email-protection", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
];

/// The names of RFC 5280 §4.2.1.3 that a certificate of a device or user can have.
const KEY_USAGES: [(&str, KeyUsage); 6] = [
    ("digitalSignature", KeyUsage::DIGITAL_SIGNATURE),
    ("nonRepudiation", KeyUsage::NON_REPUDIATION),
    ("contentCommitment", KeyUsage::NON_REPUDIATION),
    ("keyEncipherment", KeyUsage::KEY_ENCIPHERMENT),
    ("dataEncipherment", KeyUsage::DATA_ENCIPHERMENT),
    ("keyAgreement", KeyUsage::KEY_AGREEMENT),
];

/// The parts of a profile that are written as text, parsed; where one is a mistake, a harmless value stands
/// in its place.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) subject: Option<Template>,
    pub(super) alternatives: Vec<SanTemplate>,
    pub(super) identify: Option<IdentityField>,
    pub(super) key_usage: KeyUsage,
    pub(super) extended_key_usage: Vec<ObjectIdentifier>,
}

/// Checks everything.
pub(super) fn check(spec: &ProfileSpec) -> (Parts, Vec<ProfileMistake>) {
    let mut check = Check { spec, parts: Parts::default(), mistakes: Vec::new() };
    check.subject();
    check.subject_alt_names();
    check.match_rule();
    check.identify();
    check.challenge();
    check.key_types();
    check.key_usage();
    check.extended_key_usage();
    check.claimed_users();
    check.periods();
    check.client();
    check.legacy();
    (check.parts, check.mistakes)
}

struct Check<'a> {
    spec: &'a ProfileSpec,
    parts: Parts,
    mistakes: Vec<ProfileMistake>,
}

impl Check<'_> {
    fn fatal(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(ProfileMistake { key: key.into(), problem: problem.into(), fatal: true });
    }

    fn warning(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(ProfileMistake { key: key.into(), problem: problem.into(), fatal: false });
    }

    fn takes(&self, mode: ChallengeMode) -> bool {
        self.spec.challenge.contains(&mode)
    }

    /// Whether a request says itself whom it is for.
    fn claims_are_taken(&self) -> bool {
        self.names_are_unseen() || self.takes(ChallengeMode::Intune)
    }

    /// Whether nobody but the device knows what a request says: Intune compares the names with its own.
    fn names_are_unseen(&self) -> bool {
        self.takes(ChallengeMode::Static) || self.takes(ChallengeMode::UnboundTicket)
    }

    fn subject(&mut self) {
        let template = match Template::parse(&self.spec.subject) {
            Ok(template) => template,
            Err(problem) => return self.fatal("subject", problem),
        };
        if template.is_blank() {
            // A claimed name needs no template, unless a ticket names the device whose certificate it is.
            if self.spec.match_rule != MatchRule::Claim || self.takes(ChallengeMode::Ticket) {
                self.fatal("subject", "is empty: write at least CN=$DEVICE_ID$");
            }
        } else if let Err(error) = template.sample(Context::DistinguishedName).parse::<Name>() {
            self.fatal("subject", error.to_string());
        }
        self.parts.subject = Some(template);
    }

    fn subject_alt_names(&mut self) {
        for (index, text) in self.spec.subject_alt_names.iter().enumerate() {
            match SanTemplate::parse(text) {
                Ok(template) => self.parts.alternatives.push(template),
                Err(problem) => self.fatal(format!("subject-alt-names[{index}]"), problem),
            }
        }
    }

    fn match_rule(&mut self) {
        if self.spec.match_rule == MatchRule::Claim {
            if !self.claims_are_taken() {
                self.warning(
                    "match",
                    "claim takes names from requests with the static challenge, an unbound ticket or a challenge of Intune's, \
                     which `challenge` does not name; requests with a ticket for a device or user are filled from its \
                     record",
                );
            }
        } else if self.spec.allow_unregistered {
            self.warning(
                "allow-unregistered",
                "a device that is not registered has no record to take names from: use match = \"claim\", \
                 or templates without device variables",
            );
        }
    }

    fn identify(&mut self) {
        let text = self.spec.identify.trim();
        self.parts.identify = IdentityField::from_name(text);
        let names = IdentityField::ALL.map(|(name, _)| name).join(", ");
        if text.is_empty() {
            if self.claims_are_taken() || !self.takes(ChallengeMode::Ticket) {
                self.fatal(
                    "identify",
                    format!("is needed where no ticket names the device or user: use one of {names}"),
                );
            }
        } else if self.parts.identify.is_none() {
            self.fatal("identify", format!("\"{text}\" is not one of {names}"));
        }
    }

    fn challenge(&mut self) {
        if self.spec.challenge.is_empty() && self.spec.approval != Approval::Manual {
            self.fatal(
                "challenge",
                "an open door: anybody could enrol; name \"ticket\" or \"static\", or set approval = \"manual\"",
            );
        }
        if self.takes(ChallengeMode::Intune) && self.spec.approval == Approval::Manual {
            self.fatal("approval", "cannot be manual with \"intune\": its devices do not wait for people");
        }
        if self.spec.allow_unregistered && !self.claims_are_taken() && self.spec.approval != Approval::Manual
        {
            self.warning(
                "allow-unregistered",
                "is not used: a ticket is for a device or user that is registered",
            );
        }
        if self.takes(ChallengeMode::UnboundTicket) {
            self.warning(
                "challenge",
                "unbound-ticket: whoever has such a ticket may enrol as any device or user that is registered \
                 (VU#971035); bind tickets where the MDM server can say for whom they are",
            );
        }
    }

    fn key_types(&mut self) {
        if self.spec.key_types.is_empty() {
            self.fatal("key-types", "is empty: name \"rsa\", \"ec\" or both");
        }
        if !RSA_BITS.contains(&self.spec.min_rsa_bits) {
            self.fatal(
                "min-rsa-bits",
                format!("{} is not from {} to {}", self.spec.min_rsa_bits, RSA_BITS.start(), RSA_BITS.end()),
            );
        }
    }

    fn key_usage(&mut self) {
        let mut all = KeyUsage::default();
        for (index, name) in self.spec.key_usage.iter().enumerate() {
            match KEY_USAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((_, usage)) => all = all.union(*usage),
                None => self.fatal(format!("key-usage[{index}]"), unknown_key_usage(name)),
            }
        }
        for family in &self.spec.key_types {
            if all.intersection(possible_usage(*family)).is_empty() {
                let (family, remedy) = match family {
                    KeyFamily::Rsa => ("an RSA", "add digitalSignature"),
                    KeyFamily::Ec => ("an EC", "add digitalSignature, or set key-types = [\"rsa\"]"),
                };
                self.fatal("key-usage", format!("leaves nothing that {family} key can do: {remedy}"));
            }
        }
        self.parts.key_usage = all;
    }

    fn extended_key_usage(&mut self) {
        for (index, name) in self.spec.extended_key_usage.iter().enumerate() {
            let key = format!("extended-key-usage[{index}]");
            let known = EXTENDED_KEY_USAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let Some(oid) = known.map(|(_, oid)| *oid).or_else(|| ObjectIdentifier::new(name).ok()) else {
                let names = EXTENDED_KEY_USAGES.map(|(name, _)| name).join(", ");
                self.fatal(
                    key,
                    format!("\"{name}\" is neither one of {names} nor a dotted object identifier"),
                );
                continue;
            };
            if self.allows_extended_key_usage(key, oid) && !self.parts.extended_key_usage.contains(&oid) {
                self.parts.extended_key_usage.push(oid);
            }
        }
    }

    /// The purposes that let a device act as more than itself.
    fn allows_extended_key_usage(&mut self, key: String, oid: ObjectIdentifier) -> bool {
        let refused = match oid {
            ANY_EXTENDED_KEY_USAGE => "anyExtendedKeyUsage is never issued: name the purposes",
            OCSP_SIGNING => {
                "OCSPSigning is never issued under a profile: its holder could answer for the issuer"
            }
            REQUEST_AGENT => {
                "a request agent's certificate is never issued under a profile: its holder could \
                 enrol as anybody"
            }
            SMART_CARD_LOGON if self.spec.match_rule == MatchRule::Claim => {
                self.warning(
                    key,
                    "smart-card-logon with match = \"claim\": whoever has the challenge can ask for \
                     anybody's name and log on as them; use fill or strict",
                );
                return true;
            }
            _ => return true,
        };
        self.fatal(key, refused);
        false
    }

    /// A claim takes every name of the request, a user principal name among them, and Active Directory logs on whom it names, by
    /// TLS as by smart card. An operator who approves sees the names; a static challenge shows nothing of who sends it.
    fn claimed_users(&mut self) {
        let unseen = self.names_are_unseen() && self.spec.approval == Approval::Auto;
        // No extendedKeyUsage is every purpose (RFC 5280 §4.2.1.12).
        let purposes = &self.parts.extended_key_usage;
        let logs_on = purposes.is_empty() || purposes.contains(&CLIENT_AUTH);
        if self.spec.match_rule == MatchRule::Claim && unseen && logs_on {
            self.warning(
                "match",
                "claim with a challenge that names nobody: whoever knows the challenge can name any user (upn, email) and \
                 log on as them where the name is trusted; use fill or strict, or approval = \"manual\"",
            );
        }
    }

    fn periods(&mut self) {
        let ProfileSpec { validity_days, backdate_minutes, renewal_window_days, .. } = *self.spec;
        if !(1..=MAX_VALIDITY_DAYS).contains(&validity_days) {
            return self
                .fatal("validity-days", format!("{validity_days} is not from 1 to {MAX_VALIDITY_DAYS}"));
        }
        if u64::from(backdate_minutes) >= u64::from(validity_days) * 24 * 60 {
            self.fatal(
                "backdate-minutes",
                "is as long as the validity or longer: it is for clocks that are behind, and a day or two is much",
            );
        }
        if self.spec.renewal_grace_days > MAX_RENEWAL_GRACE_DAYS {
            let days = self.spec.renewal_grace_days;
            self.fatal("renewal-grace-days", format!("{days} is not from 0 to {MAX_RENEWAL_GRACE_DAYS}"));
        }
        if u64::from(renewal_window_days) * 2 > u64::from(validity_days) {
            self.warning(
                "renewal-window-days",
                "is more than half of validity-days: certificates are renewed most of their life",
            );
        }
        let overlap_days = self.spec.lifecycle.overlap_days;
        if overlap_days > MAX_OVERLAP_DAYS {
            self.fatal(
                "lifecycle.overlap-days",
                format!(
                    "{overlap_days} is not from 0 to {MAX_OVERLAP_DAYS}; to keep renewed certificates use revoke-superseded = false"
                ),
            );
        }
    }

    /// What no single behaviour can satisfy.
    fn client(&mut self) {
        let clients = &self.spec.client;
        if self.spec.include_ca.is_none()
            && quirk::CA_IN_SUCCESS.concerns(clients)
            && quirk::LEAF_ALONE.concerns(clients)
        {
            self.fatal(
                "client",
                "names one that wants the CA certificates in SUCCESS and one that refuses them: give each a profile of its \
                 own, or write include-ca",
            );
        }
        if self.spec.ca_bundle == CaBundle::Message && clients.names(ClientFamily::Apple) {
            self.warning(
                "ca-bundle",
                "message: Apple's client looks for a CA beside the message certificate",
            );
        }
        if self.spec.reply_cipher == Some(ReplyCipher::Request)
            && !Behaviour::of(self.spec).old_algorithms.des
        {
            self.warning("reply-cipher", "changes nothing: the profile does not take single DES");
        }
    }

    fn legacy(&mut self) {
        let legacy = Behaviour::of(self.spec).old_algorithms;
        if legacy.sha1 {
            self.warning(
                "legacy.sha1",
                "SHA-1 signatures on requests can be forged, and the answers are signed with it too: only for gear that knows no other",
            );
        }
        if legacy.triple_des {
            self.warning("legacy.triple-des", "triple DES is withdrawn: only for gear that knows no other");
        }
        if legacy.des {
            self.warning(
                "legacy.des",
                "single DES hides nothing: whoever sees the request reads the challenge",
            );
        }
        if legacy.md5 {
            self.warning(
                "legacy.md5",
                "MD5 signatures on requests are forged in seconds, and the answers are signed with it too: only for gear that knows no other",
            );
        }
    }
}

fn unknown_key_usage(name: &str) -> String {
    if ["keyCertSign", "cRLSign"].iter().any(|ca| ca.eq_ignore_ascii_case(name)) {
        return format!("{name} is a CA's: it is never issued under a profile");
    }
    let names = KEY_USAGES.map(|(name, _)| name).join(", ");
    format!("\"{name}\" is not one of {names}")
}

/// What a key of the family can do (RFC 3279 §2.3.1; RFC 5480 §3; RFC 8813 §3: no encipherment with an EC
/// key).
pub(super) fn possible_usage(family: KeyFamily) -> KeyUsage {
    let signs = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::NON_REPUDIATION);
    match family {
        KeyFamily::Rsa => signs.union(KeyUsage::KEY_ENCIPHERMENT).union(KeyUsage::DATA_ENCIPHERMENT),
        KeyFamily::Ec => signs.union(KeyUsage::KEY_AGREEMENT),
    }
}
