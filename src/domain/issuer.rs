//! Issuers: the CAs whose certificates certgate hands out and answers for.

use serde::{Deserialize, Serialize};

use super::crl::CrlPolicy;
use crate::types::{DigestAlgorithm, IssuerId, KeyId, Timestamp};

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
}
