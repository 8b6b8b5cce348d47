//! SHA-256 fingerprints and the two digests that identifiers are made of.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

use super::{DigestAlgorithm, IdError};

/// SHA-256 over a DER encoding. Text: 64 lower-case hexadecimal digits; colons and spaces are accepted on reading.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `der`.
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// A stored fingerprint.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Gives `read` the text, without an allocation.
    fn with_text<T>(self, read: impl FnOnce(&str) -> T) -> T {
        let mut text = [0; 64];
        let digits =
            hex::encode_to_slice(self.0, &mut text).map(|()| str::from_utf8(&text).unwrap_or_default());
        read(digits.unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        // As records have it.
        if hex::decode_to_slice(s, &mut bytes).is_err() {
            let digits: String = s.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
            hex::decode_to_slice(digits, &mut bytes)
                .map_err(|_| IdError::new("fingerprint", s, "64 hexadecimal digits"))?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = IdError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(&DigestAlgorithm::Sha256.digest(data));
    out
}

/// SHA-1 of `data`: for CertID (RFC 6960 §4.1.1) and key identifiers (RFC 5280 §4.2.1.2), never for a signature.
pub fn sha1(data: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(&DigestAlgorithm::Sha1.digest(data));
    out
}
