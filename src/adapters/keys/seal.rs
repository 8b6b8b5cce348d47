//! What is derived from the key-encryption key: the sealing of private keys and of data, and the keys of the MACs.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    hmac,
};
use zeroize::Zeroizing;

use super::KeyEncryptionKey;
use crate::{
    domain::key::{KeyPurpose, SealedKey},
    ports::{KeyError, MacPurpose, SealPurpose},
    types::{KeyAlgorithm, KeyId, Secret},
};

/// First byte of everything sealed: AES-256-GCM with a random 96-bit nonce, which follows it.
const VERSION: u8 = 1;

/// Length of the GCM tag.
const TAG_LEN: usize = 16;

/// What the sealing authenticates beside the key: a sealed key cannot be moved to another purpose, name or algorithm.
pub(super) struct Label<'a> {
    pub(super) id: &'a KeyId,
    pub(super) purpose: KeyPurpose,
    pub(super) algorithm: KeyAlgorithm,
}

impl<'a> From<&'a SealedKey> for Label<'a> {
    fn from(key: &'a SealedKey) -> Self {
        Self { id: &key.id, purpose: key.purpose, algorithm: key.algorithm }
    }
}

impl Label<'_> {
    /// No field can hold a slash, so no two labels give the same text.
    fn associated_data(&self) -> Vec<u8> {
        let purpose = match self.purpose {
            KeyPurpose::Issuer => "issuer",
            KeyPurpose::ScepMessage => "scep-message",
            KeyPurpose::OcspSigner => "ocsp-signer",
            KeyPurpose::ServerTls => "server-tls",
        };
        format!("certgate/{VERSION}/{}/{purpose}/{}", self.id, self.algorithm).into_bytes()
    }
}

/// What the sealing of data authenticates beside it. The purposes hold no slash, so no two give the same bytes.
fn data_label(purpose: SealPurpose, context: &[u8]) -> Vec<u8> {
    let purpose = match purpose {
        SealPurpose::CertificationRequest => "certification-request",
    };
    [format!("certgate/{VERSION}/{purpose}/").as_bytes(), context].concat()
}

/// The derived keys. The key-encryption key itself is not kept.
pub(super) struct Sealer {
    private_keys: RandomizedNonceKey,
    data: RandomizedNonceKey,
    ticket: hmac::Key,
    static_challenge: hmac::Key,
    api_token: hmac::Key,
    checkpoint: hmac::Key,
}

impl Sealer {
    pub(super) fn new(kek: &KeyEncryptionKey) -> Self {
        let root = root(kek.expose());
        let mac = |label| hmac::Key::new(hmac::HMAC_SHA256, derive(&root, label).as_slice());
        Self {
            private_keys: gcm(&derive(&root, b"seal private keys")),
            data: gcm(&derive(&root, b"seal data")),
            ticket: mac(b"mac tickets"),
            static_challenge: mac(b"mac static challenges"),
            api_token: mac(b"mac api tokens"),
            checkpoint: mac(b"mac checkpoints"),
        }
    }

    pub(super) fn mac(&self, purpose: MacPurpose, data: &[u8]) -> [u8; 32] {
        let key = match purpose {
            MacPurpose::Ticket => &self.ticket,
            MacPurpose::StaticChallenge => &self.static_challenge,
            MacPurpose::ApiToken => &self.api_token,
            MacPurpose::Checkpoint => &self.checkpoint,
        };
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(key, data).as_ref());
        mac
    }

    pub(super) fn seal_key(&self, label: &Label<'_>, pkcs8: &Secret) -> Result<Vec<u8>, KeyError> {
        seal(&self.private_keys, &label.associated_data(), pkcs8.expose())
    }

    pub(super) fn open_key(&self, label: &Label<'_>, sealed: &[u8]) -> Result<Secret, KeyError> {
        open(&self.private_keys, &label.associated_data(), sealed)
    }

    pub(super) fn seal_data(
        &self,
        purpose: SealPurpose,
        context: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        seal(&self.data, &data_label(purpose, context), plain)
    }

    pub(super) fn open_data(
        &self,
        purpose: SealPurpose,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Secret, KeyError> {
        open(&self.data, &data_label(purpose, context), sealed)
    }
}

fn seal(key: &RandomizedNonceKey, associated_data: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let failed = |_| KeyError::Unavailable("sealing failed".to_owned());
    // Room for the tag from the start: growing would leave a copy of what is plain behind.
    let mut content = Vec::with_capacity(plain.len() + TAG_LEN);
    content.extend_from_slice(plain);
    let nonce = key.seal_in_place_append_tag(Aad::from(associated_data), &mut content).map_err(failed)?;
    Ok([&[VERSION], nonce.as_ref().as_slice(), &content].concat())
}

/// Errors: [`KeyError::CannotUnseal`] for every cause.
fn open(key: &RandomizedNonceKey, associated_data: &[u8], sealed: &[u8]) -> Result<Secret, KeyError> {
    let (version, rest) = sealed.split_first().ok_or(KeyError::CannotUnseal)?;
    let (nonce, content) = rest.split_at_checked(NONCE_LEN).ok_or(KeyError::CannotUnseal)?;
    if *version != VERSION {
        return Err(KeyError::CannotUnseal);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::CannotUnseal)?;
    let mut content = Zeroizing::new(content.to_vec());
    let plain = key
        .open_in_place(nonce, Aad::from(associated_data), &mut content)
        .map_err(|_| KeyError::CannotUnseal)?;
    Ok(Secret::new(plain.to_vec()))
}

/// What tells this key-encryption key from others without giving it away: stored beside the data.
pub(super) fn check_value(kek: &[u8; 32]) -> [u8; 16] {
    let derived = derive(&root(kek), b"check value");
    let mut check = [0; 16];
    check.copy_from_slice(derived.split_at(16).0);
    check
}

fn root(kek: &[u8; 32]) -> Prk {
    Salt::new(HKDF_SHA256, b"certgate key-encryption key 1").extract(kek)
}

#[expect(clippy::expect_used, reason = "HKDF-SHA-256 gives up to 8160 bytes; 32 are asked")]
fn derive(root: &Prk, label: &'static [u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    root.expand(&[label], HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut_slice())).expect("32 bytes");
    key
}

#[expect(clippy::expect_used, reason = "the only error is a key that is not 32 bytes long")]
fn gcm(key: &[u8; 32]) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key).expect("32 bytes")
}
