//! Issuers: the CAs whose certificates certgate hands out and answers for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::crl::{CrlMirror, CrlPolicy, CrlScope, Partition};
use crate::types::{DigestAlgorithm, IssuerId, KeyId, SerialNumber, Timestamp, octets};

/// What kind of issuer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerKind {
    /// A local root.
    Root,
    /// A local CA under another issuer.
    Subordinate,
}

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Its name; part of its URLs.
    pub id: IssuerId,
    /// What kind it is.
    pub kind: IssuerKind,
    /// The issuer above, for a subordinate.
    pub parent: Option<IssuerId>,
    /// Its certificate.
    #[serde(with = "octets")]
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: KeyId,
    /// The digest of its signatures: SHA-256, SHA-384 or SHA-512.
    pub digest: DigestAlgorithm,
    /// Where its full CRL is on this server; see [`Issuer::urls_of`] for what certificates say.
    pub crl_urls: Vec<String>,
    /// OCSP URLs of the certificates that it issues.
    pub ocsp_urls: Vec<String>,
    /// caIssuers URLs of the certificates that it issues.
    pub ca_issuers_urls: Vec<String>,
    /// How it publishes its CRL.
    pub crl_policy: CrlPolicy,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its place in its line.
    pub generation: Generation,
    /// Where its CRLs are besides.
    pub crl_mirror: Option<CrlMirror>,
    /// Every number of partitions that its certificates were ever divided into: each stays published, for certificates name it.
    pub partitionings: Vec<u16>,
}

/// What a certificate says of its issuer's CRLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrlLocations {
    /// cRLDistributionPoints: locations of one CRL, the one to be tried first in front.
    pub crl_urls: Vec<String>,
    /// freshestCRL.
    pub freshest_crl_urls: Vec<String>,
}

/// A CA whose key is not here: certgate knows its certificate and what was imported of those that it issued, and answers for them.
/// It never signs anything as this CA: neither certificates nor CRLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalIssuer {
    /// Its name, in one name space with those of our own issuers.
    pub id: IssuerId,
    /// Its certificate: of several with the same subject and key the one that expires last.
    #[serde(with = "octets")]
    pub certificate: Vec<u8>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Who signs OCSP answers about its certificates.
    pub ocsp: OcspAuthority,
    /// The key for which the CA was asked to sign a responder's certificate, as long as none is installed.
    pub requested: Option<KeyId>,
}

/// By whose authority OCSP answers about the certificates of an external issuer are signed here (RFC 6960 §2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OcspAuthority {
    /// Nobody's: the answer is `unauthorized`.
    #[default]
    None,
    /// The CA's own: it signed a responder's certificate for us (an Authorized Responder).
    Delegate,
    /// The relying parties': they are configured to trust a responder whose certificate this issuer of ours signed (a Trusted Responder).
    Trusted {
        /// The issuer of ours.
        by: IssuerId,
    },
}

impl fmt::Display for OcspAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Delegate => f.write_str("delegate"),
            Self::Trusted { by } => write!(f, "trusted by {by}"),
        }
    }
}

impl Issuer {
    /// The URLs of its CRL of this scope, the one to be tried first in front. They are locations of the same CRL: one
    /// DistributionPoint has them all (PAN-OS tries the first one only).
    pub fn urls_of(&self, scope: CrlScope) -> Vec<String> {
        let full = CrlScope::Full.path(&self.id);
        let (ours, path) =
            (self.crl_urls.iter().filter_map(|url| url.strip_suffix(full.as_str())), scope.path(&self.id));
        let mut bases: Vec<&str> = ours.collect();
        if let Some(mirror) = &self.crl_mirror {
            bases.insert(if mirror.first { 0 } else { bases.len() }, &mirror.base);
        }
        bases.iter().map(|base| format!("{base}{path}")).collect()
    }

    /// What a certificate that it issues now says of its CRLs, if it has this serial number and is a device's or a user's. The
    /// delta is to the full CRL; a partition has none, for it is small.
    ///
    /// `further` are other places of the CRL of a scope: names of the same DistributionPoint, behind those of HTTP.
    pub fn locations_for(
        &self,
        serial: &SerialNumber,
        further: impl Fn(CrlScope) -> Vec<String>,
    ) -> CrlLocations {
        let all = |scope| [self.urls_of(scope), further(scope)].concat();
        match self.crl_policy.partitions {
            Some(of) => CrlLocations {
                crl_urls: all(CrlScope::Partition(Partition::holding(serial, of))),
                freshest_crl_urls: Vec::new(),
            },
            None => CrlLocations {
                crl_urls: all(CrlScope::Full),
                freshest_crl_urls: self.crl_policy.delta.map(|_| all(CrlScope::Delta)).unwrap_or_default(),
            },
        }
    }

    /// What a certificate says that is in no partition: one of certgate's own, or of a CA.
    pub fn full_locations(&self) -> CrlLocations {
        let freshest = self.crl_policy.delta.map(|_| self.urls_of(CrlScope::Delta));
        CrlLocations {
            crl_urls: self.urls_of(CrlScope::Full),
            freshest_crl_urls: freshest.unwrap_or_default(),
        }
    }

    /// Its name, if it is not the first of its line.
    pub fn later_generation(&self) -> Option<&IssuerId> {
        (self.generation.number > 1).then_some(&self.id)
    }
}

/// Where an issuer stands in its line: the CAs that follow one another and that profiles know under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// The name of the first of the line, which is the name that profiles use.
    pub line: IssuerId,
    /// 1, 2, 3 ... in the order in which they were made.
    pub number: u32,
    /// Where it stands.
    pub state: GenerationState,
    /// Since when it stands there.
    pub since: Timestamp,
    /// When it becomes current by itself; only while it is announced.
    pub cutover_at: Option<Timestamp>,
}

impl Generation {
    /// The first of the line `line`: current since it was made.
    pub fn first(line: &IssuerId, since: Timestamp) -> Self {
        Self { line: line.clone(), number: 1, state: GenerationState::Current, since, cutover_at: None }
    }
}

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationState {
    /// Made and shown by GetNextCACert; issues to those who ask for it (RFC 8894 §4.7, §5.1).
    Announced,
    /// Issues to everybody.
    Current,
    /// Issues nothing more; its CRL and its OCSP answers go on until it expires.
    Retired,
    /// Announced and taken back before it issued anything: revoked.
    Withdrawn,
}

impl GenerationState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Announced, Self::Current, Self::Retired, Self::Withdrawn];

    /// Whether devices may be given its certificates.
    pub const fn issues(self) -> bool {
        matches!(self, Self::Announced | Self::Current)
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Announced => "announced",
            Self::Current => "current",
            Self::Retired => "retired",
            Self::Withdrawn => "withdrawn",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(mirror: Option<CrlMirror>, policy: CrlPolicy) -> Issuer {
        let id: IssuerId = "issuing".parse().unwrap();
        Issuer {
            kind: IssuerKind::Root,
            parent: None,
            certificate: Vec::new(),
            key: KeyId::from_random([1; 16]),
            digest: DigestAlgorithm::Sha256,
            crl_urls: vec!["http://pki.example/crl/issuing.crl".to_owned()],
            ocsp_urls: Vec::new(),
            ca_issuers_urls: Vec::new(),
            crl_policy: policy,
            created_at: Timestamp::EPOCH,
            generation: Generation::first(&id, Timestamp::EPOCH),
            crl_mirror: mirror,
            partitionings: Vec::new(),
            id,
        }
    }

    #[test]
    fn a_second_place_comes_before_or_behind_the_first() {
        let (first, second) =
            ("http://pki.example/crl/issuing.crl", "http://crl.example/pki/crl/issuing.crl");
        let mirror = |first| Some(CrlMirror { base: "http://crl.example/pki".to_owned(), first });
        let urls = |mirror| issuer(mirror, CrlPolicy::default()).urls_of(CrlScope::Full);
        assert_eq!(urls(None), [first]);
        assert_eq!(urls(mirror(false)), [first, second]);
        assert_eq!(urls(mirror(true)), [second, first]);
    }

    #[test]
    fn certificates_name_the_delta_or_their_partition() {
        let serial = "4f13".parse().unwrap();
        let locations = |policy| issuer(None, policy).locations_for(&serial, |_| Vec::new());
        let plain = CrlPolicy::default();
        assert!(locations(plain).freshest_crl_urls.is_empty());
        let delta = CrlPolicy { delta: Some(3_600), ..plain };
        assert_eq!(locations(delta).freshest_crl_urls, ["http://pki.example/crl/issuing-delta.crl"]);
        let both = CrlPolicy { partitions: Some(16), ..delta };
        let said = locations(both);
        assert_eq!(said.crl_urls, ["http://pki.example/crl/issuing/16/3.crl"]);
        assert!(said.freshest_crl_urls.is_empty());
        assert_eq!(issuer(None, both).full_locations().crl_urls, ["http://pki.example/crl/issuing.crl"]);
    }
}
