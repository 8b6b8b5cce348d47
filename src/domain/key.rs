//! Private keys at rest.

use serde::{Deserialize, Serialize};

use crate::types::{KeyAlgorithm, KeyId, Timestamp, octets};

/// What a key may be used for; part of what its sealing authenticates, so that a key cannot be moved to
/// another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPurpose {
    /// Signs certificates and CRLs.
    Issuer,
    /// Opens SCEP envelopes and signs CertReps.
    ScepMessage,
    /// Signs OCSP responses.
    OcspSigner,
    /// TLS of our own listeners.
    ServerTls,
}

/// A private key as the store keeps it: sealed, or a reference into a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// Its handle.
    pub id: KeyId,
    /// What it may be used for.
    pub purpose: KeyPurpose,
    /// What kind of key it is.
    pub algorithm: KeyAlgorithm,
    /// Its SubjectPublicKeyInfo.
    #[serde(with = "octets")]
    pub public_key: Vec<u8>,
    /// What the keyring needs to use it; opaque to everyone else.
    #[serde(with = "octets")]
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedKey")
            .field("id", &self.id)
            .field("purpose", &self.purpose)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
