//! Private keys: making, opening, using.

use std::sync::Arc;

use crate::{
    domain::key::{KeyPurpose, SealedKey},
    types::{KeyAlgorithm, KeyTransport, Secret, SignatureAlgorithm, Timestamp},
    wire::{scep::LegacyCertRep, x509::PublicKey},
};

/// What can go wrong with a private key. Never says anything about the key itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The sealing does not open: another key-encryption key, another purpose, or damaged data.
    #[error("what is sealed does not open under this key-encryption key")]
    CannotUnseal,
    /// The key cannot do what was asked.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The token or library failed; may pass.
    #[error("key operation failed: {0}")]
    Unavailable(String),
}

/// Signs with one private key.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;
    /// What kind of key it is.
    fn algorithm(&self) -> KeyAlgorithm;
    /// Signs `message` (not its digest). ECDSA signatures are DER. Errors: `algorithm` does not belong to the key, MD5, SHA-1, or the token
    /// failed.
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// Signs CertReps with MD5 and SHA-1, and nothing else: for old gear, under a profile that allows it. Apart from [`Signer`], so that no
/// certificate, CRL or OCSP response can be signed so.
pub trait LegacySigner: Send + Sync {
    /// RSASSA-PKCS1-v1_5 with the digest of `answer`.
    fn sign(&self, answer: &LegacyCertRep) -> Result<Vec<u8>, KeyError>;
}

/// The encrypted key does not open. Carries nothing: every cause must look alike (no padding oracle).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the encrypted key does not open")]
pub struct CannotDecrypt;

/// Unwraps content-encryption keys with one RSA private key.
pub trait Decrypter: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;
    /// Unwraps. The caller goes on with a random key where this fails (implicit rejection).
    fn decrypt(&self, transport: KeyTransport, encrypted_key: &[u8]) -> Result<Secret, CannotDecrypt>;
}

/// For what a keyed MAC is; different purposes give unrelated MACs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MacPurpose {
    /// One-time challenges.
    Ticket,
    /// Static challenges.
    StaticChallenge,
    /// API tokens.
    ApiToken,
    /// The checkpoint outside the store.
    Checkpoint,
}

/// What is sealed; what was sealed for one purpose does not open for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SealPurpose {
    /// A certification request, which holds the challengePassword. Its context is the enrolment's id.
    CertificationRequest,
}

/// Makes and opens keys, and seals what else must not be read from a copy of the store. It stores nothing: a [`SealedKey`]
/// goes into the transaction that needs it.
pub trait Keyring: Send + Sync {
    /// Makes a key pair and seals it.
    fn generate(
        &self,
        algorithm: KeyAlgorithm,
        purpose: KeyPurpose,
        now: Timestamp,
    ) -> Result<SealedKey, KeyError>;
    /// Opens a key for signing.
    fn signer(&self, key: &SealedKey) -> Result<Arc<dyn Signer>, KeyError>;
    /// Opens an RSA key for unwrapping. Errors: not an RSA key, or not a [`KeyPurpose::ScepMessage`] key.
    fn decrypter(&self, key: &SealedKey) -> Result<Arc<dyn Decrypter>, KeyError>;
    /// Opens an RSA key for CertReps with MD5 and SHA-1. Errors: not an RSA key, or not a [`KeyPurpose::ScepMessage`] key.
    fn legacy_signer(&self, key: &SealedKey) -> Result<Arc<dyn LegacySigner>, KeyError>;
    /// HMAC-SHA-256 of `data` under a key that only this keyring has: what is stored of challenges and tokens, so that a copy of the
    /// store alone does not allow guessing.
    fn mac(&self, purpose: MacPurpose, data: &[u8]) -> [u8; 32];
    /// Encrypts `plain` for storage under a key that only this keyring has, each time differently. `context` names the record
    /// that it belongs to: it is authenticated, not stored.
    fn seal(&self, purpose: SealPurpose, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError>;
    /// Gives back what was sealed for the same purpose and context. [`KeyError::CannotUnseal`] for every other input: another
    /// key-encryption key, purpose or context, or damaged data.
    fn unseal(&self, purpose: SealPurpose, context: &[u8], sealed: &[u8]) -> Result<Secret, KeyError>;
}
