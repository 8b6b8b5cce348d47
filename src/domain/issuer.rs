//! Issuers: the CAs whose certificates certgate hands out and answers for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::crl::CrlPolicy;
use crate::types::{DigestAlgorithm, IssuerId, KeyId, Timestamp, octets};

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
    /// cRLDistributionPoints of the certificates that it issues, in order of preference.
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
}

impl Issuer {
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
