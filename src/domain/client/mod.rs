//! SCEP clients and their peculiarities.
//!
//! What works for every client is done for every client; that is most of it. Where two clients want opposite things, or one wants
//! what weakens the answer for all others, the profile's `client` decides: `any` (the default), a family, or several.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | the families, and the value of `client` |
//! | [`quirk`] | the table: each peculiarity with its clients, what is done about it, and where the fact comes from |
//! | [`behaviour`] | what a profile's clients and its explicit keys come to |
//! | [`suggest`] | which family a request looks like, for people |

pub mod behaviour;
pub mod quirk;
pub mod suggest;

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// A family of SCEP clients with the same peculiarities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientFamily {
    /// iOS, iPadOS, macOS, tvOS.
    Apple,
    /// Windows' own SCEP client, as Intune and others drive it.
    Windows,
    /// Android agents and the Google connector of ChromeOS: jscep with `BouncyCastle`.
    AndroidJscep,
    /// IOS, IOS-XE and ASA.
    CiscoIos,
    /// Cisco's VPN clients.
    CiscoVpn,
    /// Junos.
    Juniper,
    /// `FortiOS`.
    Fortigate,
    /// PAN-OS.
    Paloalto,
    /// `RouterOS`.
    Mikrotik,
    /// sscep, as in `OpenWrt` and many appliances.
    Sscep,
    /// certmonger's scep-submit.
    Certmonger,
    /// `pki --scep` of strongSwan.
    Strongswan,
    /// Gear that knows nothing newer than SHA-1 and single DES: naming it opens the old algorithms.
    Legacy,
}

impl ClientFamily {
    /// Every family with its name in the configuration, in the order of the documentation.
    pub const ALL: [(&'static str, Self); 13] = [
        ("apple", Self::Apple),
        ("windows", Self::Windows),
        ("android-jscep", Self::AndroidJscep),
        ("cisco-ios", Self::CiscoIos),
        ("cisco-vpn", Self::CiscoVpn),
        ("juniper", Self::Juniper),
        ("fortigate", Self::Fortigate),
        ("paloalto", Self::Paloalto),
        ("mikrotik", Self::Mikrotik),
        ("sscep", Self::Sscep),
        ("certmonger", Self::Certmonger),
        ("strongswan", Self::Strongswan),
        ("legacy", Self::Legacy),
    ];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, family)| *family == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for ClientFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is not a family's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not any, {known}", known = ClientFamily::ALL.map(|(name, _)| name).join(", "))]
pub struct UnknownClient {
    found: String,
}

impl FromStr for ClientFamily {
    type Err = UnknownClient;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(s));
        named.map(|(_, family)| *family).ok_or_else(|| UnknownClient { found: s.to_owned() })
    }
}

/// `client` of a profile: `"any"`, one family or a list of families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients(Vec<ClientFamily>);

/// The word for no family in particular.
const ANY: &str = "any";

impl Clients {
    /// Whether no family is named: what works for all of them is done.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// The families that are named; none for `any`.
    pub fn families(&self) -> &[ClientFamily] {
        &self.0
    }

    /// Whether this family is named.
    pub fn names(&self, family: ClientFamily) -> bool {
        self.0.contains(&family)
    }
}

impl FromIterator<ClientFamily> for Clients {
    fn from_iter<I: IntoIterator<Item = ClientFamily>>(families: I) -> Self {
        Self(families.into_iter().collect())
    }
}

/// In the configuration a text or a list of texts; in the store, whose bytes do not say what they are, always a list.
impl Serialize for Clients {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] if serializer.is_human_readable() => serializer.serialize_str(ANY),
            [only] if serializer.is_human_readable() => only.serialize(serializer),
            families => families.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Clients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(ClientsVisitor)
        } else {
            Vec::deserialize(deserializer).map(Self)
        }
    }
}

struct ClientsVisitor;

impl<'de> Visitor<'de> for ClientsVisitor {
    type Value = Clients;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a client or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Clients, E> {
        if text.eq_ignore_ascii_case(ANY) {
            return Ok(Clients::default());
        }
        text.parse().map(|family| Clients(vec![family])).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Clients, A::Error> {
        let mut families = Vec::new();
        while let Some(name) = names.next_element::<String>()? {
            let family = name.parse().map_err(A::Error::custom)?;
            if !families.contains(&family) {
                families.push(family);
            }
        }
        Ok(Clients(families))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Written {
        client: Clients,
    }

    fn read(toml: &str) -> Result<Clients, String> {
        toml::from_str::<Written>(toml).map(|written| written.client).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_is_one_name_or_several() {
        assert_eq!(read("client = \"any\""), Ok(Clients::default()));
        assert_eq!(read("client = []"), Ok(Clients::default()));
        assert_eq!(read("client = \"cisco-ios\""), Ok(Clients(vec![ClientFamily::CiscoIos])));
        let both = Clients(vec![ClientFamily::Apple, ClientFamily::Windows]);
        assert_eq!(read("client = [\"Apple\", \"windows\", \"apple\"]"), Ok(both));
    }

    #[test]
    fn an_unknown_client_is_told_the_known_ones() {
        for wrong in ["client = \"nokia\"", "client = [\"nokia\"]", "client = [\"any\", \"apple\"]"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("is not any, apple, windows"), "{error}");
        }
    }

    #[test]
    fn clients_read_back_from_text_and_from_bytes() {
        for families in [vec![], vec![ClientFamily::Legacy], vec![ClientFamily::Apple, ClientFamily::Sscep]] {
            let written = Written { client: Clients(families) };
            let text = toml::to_string(&written).unwrap();
            assert_eq!(toml::from_str::<Written>(&text).unwrap(), written);
            let bytes = postcard::to_allocvec(&written.client).unwrap();
            assert_eq!(postcard::from_bytes::<Clients>(&bytes).unwrap(), written.client);
        }
    }

    #[test]
    fn every_family_has_the_name_that_serde_writes() {
        for (name, family) in ClientFamily::ALL {
            assert_eq!(serde_json::to_value(family).unwrap(), name);
            assert_eq!(name.parse(), Ok(family));
            assert_eq!(family.to_string(), name);
        }
    }
}
