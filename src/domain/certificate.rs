//! The record of an issued certificate.

use serde::{Deserialize, Serialize};

use crate::types::{CertificateId, EnrolmentId, Fingerprint, KeyId, ProfileName, Timestamp, Validity};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A device's or user's certificate.
    Leaf,
    /// The certificate of an issuer of ours.
    Issuer,
    /// The SCEP message key's certificate (RFC 8894 §2.1.2).
    ScepMessage,
    /// A delegated OCSP responder (RFC 6960 §4.2.2.2).
    OcspSigner,
    /// The TLS certificate of our own listeners.
    ServerTls,
}

/// One issued certificate. Never changed after it was recorded; its status is computed from its causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Issuer and serial.
    pub id: CertificateId,
    /// The certificate.
    pub der: Vec<u8>,
    /// SHA-256 of `der`.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub public_key: Fingerprint,
    /// Its subject, as text.
    pub subject: String,
    /// notBefore and notAfter.
    pub validity: Validity,
    /// What it is for.
    pub purpose: Purpose,
    /// The profile and version under which it was issued; none for certgate's own certificates.
    pub profile: Option<(ProfileName, u32)>,
    /// The enrolment that led to it.
    pub enrolment: Option<EnrolmentId>,
    /// The certificate whose place it takes.
    pub supersedes: Option<CertificateId>,
    /// When it was recorded.
    pub issued_at: Timestamp,
}

/// Which of certgate's own certificates is in use: the newest per (purpose, issuer) signs, older ones stay
/// usable for opening envelopes until they expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCertificate {
    /// The certificate.
    pub certificate: CertificateId,
    /// What it is for: never [`Purpose::Leaf`].
    pub purpose: Purpose,
    /// Its private key.
    pub key: KeyId,
    /// Since when it is in use.
    pub since: Timestamp,
}
