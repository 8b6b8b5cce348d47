//! Which family a request looks like.
//!
//! A guess for people: it goes into the log, the metric and the trace with its reasons. No decision rests on it, for whoever sends a
//! request chooses everything that it is made from.

use std::fmt;

use super::{ClientFamily, Clients, quirk};
use crate::types::ContentCipher;

/// What can be seen of a request without believing it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with one another")]
pub struct Features<'a> {
    /// The User-Agent header, or as much of it as is looked at.
    pub user_agent: Option<&'a str>,
    /// Whether the message came by POST.
    pub post: bool,
    /// Whether it came over HTTP/1.0.
    pub http_1_0: bool,
    /// Whether the base64 of a GET had line ends in it.
    pub line_ends: bool,
    /// `message` of GetCACaps and GetCACert: the CA identifier.
    pub ca_identifier: Option<&'a str>,
    /// transactionID; empty where there is no message yet.
    pub transaction_id: &'a str,
    /// Cipher of the envelope, if it is known.
    pub cipher: Option<ContentCipher>,
    /// Whether contentType is among the signed attributes.
    pub content_type: bool,
    /// Whether signingTime is among the signed attributes.
    pub signing_time: bool,
}

/// A guess with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The family.
    pub family: ClientFamily,
    /// What speaks for it, the strongest first.
    pub reasons: Vec<&'static str>,
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.family, self.reasons.join(", "))
    }
}

impl Suggestion {
    /// The same with what to write into the profile that has these clients, where naming the family changes anything.
    pub fn with_advice(&self, clients: &Clients) -> String {
        let family = self.family;
        let changes = quirk::ALL.iter().any(|it| !it.always && it.clients.contains(&family));
        if !changes || clients.names(family) {
            self.to_string()
        } else if clients.is_any() {
            format!("{self}; if it is one, set client = \"{family}\" in the profile")
        } else {
            format!("{self}; if it is one, add \"{family}\" to client in the profile")
        }
    }
}

/// So much must speak for a family before it is named, and more than for any other.
const ENOUGH: u32 = 3;

/// One sign: how much it weighs, what it is, and whether a request shows it.
struct Sign {
    family: ClientFamily,
    weight: u32,
    reason: &'static str,
    shows: fn(&Features<'_>) -> bool,
}

const fn sign(
    family: ClientFamily,
    weight: u32,
    reason: &'static str,
    shows: fn(&Features<'_>) -> bool,
) -> Sign {
    Sign { family, weight, reason, shows }
}

/// The signs; the sources are those of [`super::quirk`], and the fixtures for what Debian's clients send. Whose User-Agent is not known is
/// taken at its word where it names its product. In each family the heaviest comes first.
const SIGNS: [Sign; 23] = [
    sign(ClientFamily::Apple, 4, "User-Agent of profiled", |it| {
        it.agent("profiled/") || it.agent("CFNetwork")
    }),
    sign(ClientFamily::Apple, 1, "transactionID is SHA-1 in upper case", |it| it.hex(40, char::is_uppercase)),
    sign(ClientFamily::Windows, 4, "User-Agent NDES client", |it| it.agent("NDES client")),
    sign(ClientFamily::Windows, 2, "CA identifier default", |it| it.ca_identifier == Some("default")),
    sign(ClientFamily::AndroidJscep, 3, "User-Agent of Android", |it| it.agent("Dalvik/")),
    sign(ClientFamily::AndroidJscep, 3, "User-Agent of Java", |it| it.agent("Java/")),
    sign(ClientFamily::AndroidJscep, 2, "CA identifier ca", |it| it.ca_identifier == Some("ca")),
    sign(ClientFamily::AndroidJscep, 1, "transactionID is SHA-1 in lower case", |it| {
        it.hex(40, char::is_lowercase)
    }),
    sign(ClientFamily::CiscoIos, 4, "User-Agent Cisco PKI", |it| it.agent("Cisco PKI")),
    sign(ClientFamily::CiscoIos, 2, "GET over HTTP/1.0 with line ends in the base64", |it| {
        !it.post && it.http_1_0 && it.line_ends
    }),
    sign(ClientFamily::CiscoIos, 1, "single DES", |it| it.cipher == Some(ContentCipher::DesCbc)),
    sign(ClientFamily::CiscoIos, 1, "transactionID is MD5 in upper case", |it| {
        it.hex(32, char::is_uppercase)
    }),
    sign(ClientFamily::Fortigate, 4, "User-Agent names Fortinet", |it| it.agent("Forti")),
    sign(ClientFamily::Fortigate, 2, "no contentType attribute", |it| {
        !it.content_type && !it.transaction_id.is_empty()
    }),
    sign(ClientFamily::Fortigate, 1, "transactionID is MD5", |it| it.hex(32, |_| true)),
    sign(ClientFamily::Paloalto, 4, "User-Agent names PAN-OS", |it| it.agent("PAN-OS")),
    sign(ClientFamily::Mikrotik, 4, "User-Agent names MikroTik", |it| it.agent("Mikrotik")),
    sign(ClientFamily::Juniper, 4, "User-Agent names Juniper", |it| it.agent("Junos") || it.agent("Juniper")),
    sign(ClientFamily::Sscep, 3, "CA identifier CAIdentifier", |it| it.ca_identifier == Some("CAIdentifier")),
    sign(ClientFamily::Sscep, 2, "HTTP/1.0 without line ends, transactionID is MD5", |it| {
        it.http_1_0 && !it.line_ends && it.hex(32, |_| true)
    }),
    sign(ClientFamily::Certmonger, 3, "transactionID of 70 digits and more", |it| it.decimal(70)),
    sign(ClientFamily::Strongswan, 4, "User-Agent names strongSwan", |it| it.agent("strongSwan")),
    sign(
        ClientFamily::Strongswan,
        3,
        "no User-Agent, POST, SHA-1 transactionID in upper case, signingTime",
        |it| it.user_agent.is_none() && it.post && it.signing_time && it.hex(40, char::is_uppercase),
    ),
];

impl Features<'_> {
    fn agent(&self, part: &str) -> bool {
        let mut windows = self.user_agent.unwrap_or_default().as_bytes().windows(part.len());
        windows.any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
    }

    /// Whether the transactionID is a hexadecimal number of this length with at least one letter, all of them so.
    fn hex(&self, length: usize, case: fn(char) -> bool) -> bool {
        let mut letters = self.transaction_id.chars().filter(|c| !c.is_ascii_digit()).peekable();
        self.transaction_id.len() == length
            && letters.peek().is_some()
            && letters.all(|letter| letter.is_ascii_hexdigit() && case(letter))
    }

    fn decimal(&self, at_least: usize) -> bool {
        self.transaction_id.len() >= at_least && self.transaction_id.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// The family that most speaks for, if it is enough and no other has as much.
pub fn suggest(features: &Features<'_>) -> Option<Suggestion> {
    let shown = || SIGNS.iter().filter(|sign| (sign.shows)(features));
    let mut weights = [0; ClientFamily::ALL.len()];
    for sign in shown() {
        weights[sign.family as usize] += sign.weight;
    }
    let most = weights.into_iter().max().filter(|most| *most >= ENOUGH)?;
    let mut heaviest = ClientFamily::ALL.into_iter().filter(|(_, family)| weights[*family as usize] == most);
    let (Some((_, family)), None) = (heaviest.next(), heaviest.next()) else { return None };
    let reasons = shown().filter(|sign| sign.family == family).map(|sign| sign.reason).collect();
    Some(Suggestion { family, reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1_UPPER: &str = "2FB6666EEF11421FA3D1ECB82BC6F13F07D5BB2B";
    const MD5_UPPER: &str = "7970AD5B96A8DACF53C4BD1AB46BD94F";

    fn family(features: &Features<'_>) -> Option<ClientFamily> {
        suggest(features).map(|suggestion| suggestion.family)
    }

    #[test]
    fn the_user_agent_decides_where_there_is_a_telling_one() {
        for (agent, expected) in [
            ("profiled/1.0 CFNetwork/1494.0.7 Darwin/23.4.0", ClientFamily::Apple),
            ("Mozilla/4.0 (compatible; Win32; NDES client)", ClientFamily::Windows),
            ("Dalvik/2.1.0 (Linux; U; Android 14)", ClientFamily::AndroidJscep),
            ("Mozilla/4.0 (compatible; MSIE 5.0; Cisco PKI)", ClientFamily::CiscoIos),
        ] {
            let features = Features { user_agent: Some(agent), content_type: true, ..Features::default() };
            assert_eq!(family(&features), Some(expected), "{agent}");
        }
    }

    #[test]
    fn old_cisco_is_known_without_a_user_agent() {
        // As in smallstep/docs#364: HTTP/1.0, GET, line ends, single DES, no User-Agent.
        let features = Features {
            http_1_0: true,
            line_ends: true,
            transaction_id: MD5_UPPER,
            cipher: Some(ContentCipher::DesCbc),
            content_type: true,
            ..Features::default()
        };
        let suggestion = suggest(&features).unwrap();
        assert_eq!(suggestion.family, ClientFamily::CiscoIos);
        let text = "cisco-ios: GET over HTTP/1.0 with line ends in the base64, single DES, transactionID is MD5 in upper case";
        assert_eq!(suggestion.to_string(), text);
    }

    #[test]
    fn the_profile_is_to_name_what_it_does_not_name_and_what_changes_something() {
        let advice = |family, clients: &[ClientFamily]| {
            Suggestion { family, reasons: vec!["it"] }.with_advice(&clients.iter().copied().collect())
        };
        let cisco = ClientFamily::CiscoIos;
        assert_eq!(
            advice(cisco, &[]),
            "cisco-ios: it; if it is one, set client = \"cisco-ios\" in the profile"
        );
        let added = "cisco-ios: it; if it is one, add \"cisco-ios\" to client in the profile";
        assert_eq!(advice(cisco, &[ClientFamily::Juniper]), added);
        assert_eq!(advice(cisco, &[ClientFamily::Juniper, cisco]), "cisco-ios: it");
        assert_eq!(advice(ClientFamily::Sscep, &[]), "sscep: it");
    }

    #[test]
    fn strongswan_and_certmonger_are_known_by_their_transaction() {
        let strongswan = Features {
            post: true,
            transaction_id: SHA1_UPPER,
            content_type: true,
            signing_time: true,
            ..Features::default()
        };
        assert_eq!(family(&strongswan), Some(ClientFamily::Strongswan));
        let digits = "7".repeat(77);
        let certmonger = Features { transaction_id: &digits, content_type: true, ..Features::default() };
        assert_eq!(family(&certmonger), Some(ClientFamily::Certmonger));
    }

    #[test]
    fn little_evidence_is_no_guess() {
        assert_eq!(suggest(&Features::default()), None);
        let weak = Features { transaction_id: MD5_UPPER, content_type: true, ..Features::default() };
        assert_eq!(suggest(&weak), None);
        let curl =
            Features { user_agent: Some("curl/8"), post: true, content_type: true, ..Features::default() };
        assert_eq!(suggest(&curl), None);
    }
}
