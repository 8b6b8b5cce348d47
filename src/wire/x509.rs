//! X.509 certificates (RFC 5280): names, keys, extensions; reading, checking, building.

use const_oid::ObjectIdentifier;
use std::{fmt, net::IpAddr, str::FromStr};

use super::{EncodeError, Unsigned};
use crate::types::{Fingerprint, KeyAlgorithm, KeyTransport, SerialNumber, SignatureAlgorithm, Validity};

/// Bytes that are not what they should be. Carries the structure and the parser's words, for logs only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {reason}")]
pub struct DecodeError {
    pub what: &'static str,
    pub reason: String,
}

/// A distinguished name: DER kept as it came, compared as RFC 5280 §7.1 says. Text: RFC 4514.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    der: Vec<u8>,
}

/// Text that is no distinguished name, with what is wrong (attribute, length, character).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl Name {
    pub fn from_der(_der: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    /// The DER of the RDNSequence, byte for byte as read.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Values of the attribute type as text, in order (e.g. all OU).
    pub fn values(&self, _attribute: ObjectIdentifier) -> Vec<String> {
        todo!()
    }
    pub fn common_name(&self) -> Option<String> {
        todo!()
    }
    /// RFC 5280 §7.1: case-insensitive, white space folded, string types equal. Byte-equal names always match.
    pub fn matches(&self, _other: &Self) -> bool {
        todo!()
    }
}
impl fmt::Display for Name {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
/// RFC 4514 text, most specific last or first as written by people: `CN=..,OU=..` is written in the order given.
impl FromStr for Name {
    type Err = NameError;
    fn from_str(_s: &str) -> Result<Self, NameError> {
        todo!()
    }
}

/// The general names that certgate writes and understands; the rest is kept as raw DER.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GeneralName {
    Email(String),
    Dns(String),
    Uri(String),
    Ip(IpAddr),
    Upn(String),
    DirName(Name),
    Other(Vec<u8>),
}

/// keyUsage (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyUsage(u16);
impl KeyUsage {
    pub const DIGITAL_SIGNATURE: Self = Self(1 << 0);
    pub const NON_REPUDIATION: Self = Self(1 << 1);
    pub const KEY_ENCIPHERMENT: Self = Self(1 << 2);
    pub const DATA_ENCIPHERMENT: Self = Self(1 << 3);
    pub const KEY_AGREEMENT: Self = Self(1 << 4);
    pub const KEY_CERT_SIGN: Self = Self(1 << 5);
    pub const CRL_SIGN: Self = Self(1 << 6);
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A public key: SubjectPublicKeyInfo, kept as DER.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki: Vec<u8>,
}
/// What kind of key it is, for policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Rsa { bits: u32 },
    P256,
    P384,
    Other,
}
/// A signature that does not verify, or an algorithm or key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;
/// The key cannot encrypt (not RSA, or an unusable size).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key cannot be used for key transport")]
pub struct CannotEncrypt;
impl PublicKey {
    pub fn from_spki(_der: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn as_spki(&self) -> &[u8] {
        &self.spki
    }
    pub fn kind(&self) -> KeyKind {
        todo!()
    }
    /// SHA-1 of the subjectPublicKey bits (RFC 5280 §4.2.1.2 method 1; RFC 6960 byKey).
    pub fn key_identifier(&self) -> [u8; 20] {
        todo!()
    }
    /// SHA-256 of the SPKI.
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
    /// RSA from 1024 bits (old self-signed SCEP signers), P-256, P-384. SHA-1 is verified; whether it is allowed is the caller's policy.
    pub fn verify(
        &self,
        _algorithm: SignatureAlgorithm,
        _message: &[u8],
        _signature: &[u8],
    ) -> Result<(), BadSignature> {
        todo!()
    }
    pub fn encrypt(&self, _transport: KeyTransport, _content_key: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
        todo!()
    }
}

/// A certificate as read: DER kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>, /* + parsed fields */
}
impl Certificate {
    pub fn from_der(_der: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn from_pem(_pem: &str) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn to_pem(&self) -> String {
        todo!()
    }
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
    pub fn serial(&self) -> &SerialNumber {
        todo!()
    }
    pub fn issuer(&self) -> &Name {
        todo!()
    }
    pub fn subject(&self) -> &Name {
        todo!()
    }
    pub fn validity(&self) -> Validity {
        todo!()
    }
    pub fn public_key(&self) -> &PublicKey {
        todo!()
    }
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        todo!()
    }
    pub fn key_usage(&self) -> Option<KeyUsage> {
        todo!()
    }
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        todo!()
    }
    pub fn subject_alt_names(&self) -> &[GeneralName] {
        todo!()
    }
    pub fn is_ca(&self) -> bool {
        todo!()
    }
    /// OCSP URLs of authorityInfoAccess; CRL URLs of cRLDistributionPoints.
    pub fn ocsp_urls(&self) -> Vec<String> {
        todo!()
    }
    pub fn crl_urls(&self) -> Vec<String> {
        todo!()
    }
    /// Whether `issuer`'s key signed this certificate and the names chain. Says nothing of validity or status.
    pub fn is_signed_by(&self, _issuer: &Self) -> Result<(), BadSignature> {
        todo!()
    }
}

/// Everything that a certificate will say. Extensions are written in a fixed order; criticality as RFC 5280 asks.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    pub serial: SerialNumber,
    pub issuer: Name,
    pub subject: Name,
    pub validity: Validity,
    pub public_key: PublicKey,
    /// The issuer's key identifier (its SKI), for authorityKeyIdentifier; None for a self-signed certificate.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// basicConstraints; critical.
    pub ca: Option<CaConstraint>,
    /// Critical.
    pub key_usage: KeyUsage,
    pub extended_key_usage: Vec<ObjectIdentifier>,
    /// Critical only when the subject is empty.
    pub subject_alt_names: Vec<GeneralName>,
    pub crl_urls: Vec<String>,
    pub ocsp_urls: Vec<String>,
    pub ca_issuers_urls: Vec<String>,
    /// id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1).
    pub ocsp_no_check: bool,
    /// szOID_NTDS_CA_SECURITY_EXT 1.3.6.1.4.1.311.25.2: the account's SID as text (`S-1-5-21-..`).
    pub microsoft_sid: Option<String>,
}
/// basicConstraints with cA TRUE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaConstraint {
    pub path_len: Option<u8>,
}
impl CertificateSpec {
    pub fn unsigned(&self, _algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        todo!()
    }
}
impl KeyKind {
    /// The nearest algorithm, if it is one that certgate makes.
    pub fn algorithm(self) -> Option<KeyAlgorithm> {
        todo!()
    }
}
