//! Keyrings that watch or change how keys are opened, and leave the rest to another one.

use std::sync::Arc;

use certgate::{
    domain::key::{KeyPurpose, SealedKey},
    ports::{Decrypter, KeyError, Keyring, LegacySigner, MacPurpose, SealPurpose, Signer},
    types::{KeyAlgorithm, Secret, Timestamp},
};

/// How keys are opened.
pub(super) trait Opens: Send + Sync {
    /// The keyring that does everything else.
    fn keyring(&self) -> &dyn Keyring;

    fn signer(&self, key: &SealedKey) -> Result<Arc<dyn Signer>, KeyError> {
        self.keyring().signer(key)
    }

    fn decrypter(&self, key: &SealedKey) -> Result<Arc<dyn Decrypter>, KeyError> {
        self.keyring().decrypter(key)
    }

    fn legacy_signer(&self, key: &SealedKey) -> Result<Arc<dyn LegacySigner>, KeyError> {
        self.keyring().legacy_signer(key)
    }
}

/// The keyring that opens so.
pub(super) struct Opening<T>(pub(super) T);

impl<T: Opens> Keyring for Opening<T> {
    fn generate(
        &self,
        algorithm: KeyAlgorithm,
        purpose: KeyPurpose,
        now: Timestamp,
    ) -> Result<SealedKey, KeyError> {
        self.0.keyring().generate(algorithm, purpose, now)
    }

    fn signer(&self, key: &SealedKey) -> Result<Arc<dyn Signer>, KeyError> {
        self.0.signer(key)
    }

    fn decrypter(&self, key: &SealedKey) -> Result<Arc<dyn Decrypter>, KeyError> {
        self.0.decrypter(key)
    }

    fn legacy_signer(&self, key: &SealedKey) -> Result<Arc<dyn LegacySigner>, KeyError> {
        self.0.legacy_signer(key)
    }

    fn mac(&self, purpose: MacPurpose, data: &[u8]) -> [u8; 32] {
        self.0.keyring().mac(purpose, data)
    }

    fn seal(&self, purpose: SealPurpose, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.keyring().seal(purpose, context, plain)
    }

    fn unseal(&self, purpose: SealPurpose, context: &[u8], sealed: &[u8]) -> Result<Secret, KeyError> {
        self.0.keyring().unseal(purpose, context, sealed)
    }
}
