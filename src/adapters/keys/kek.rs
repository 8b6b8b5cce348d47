//! The key-encryption key: where it comes from, and how a wrong one is noticed before anything is opened with it.
//!
//! Beside the data lies `kek.toml`. It holds a check value, and for a passphrase the salt and the cost of Argon2id
//! (RFC 9106); nothing in it is secret, and without it a passphrase is not enough.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{
    constant_time,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{
    seal,
    secret_file::{self, SecretFileError},
};
use crate::types::Secret;

/// The file beside the data.
const DESCRIPTION_FILE: &str = "kek.toml";

/// A passphrase shorter than this is no protection.
pub(super) const MIN_PASSPHRASE_LEN: usize = 8;

/// The most memory that a `kek.toml` may ask for: 4 GiB, in KiB.
const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;

/// The key that everything at rest is sealed under. Wiped when dropped.
pub struct KeyEncryptionKey {
    key: Zeroizing<[u8; 32]>,
    source: String,
}

impl KeyEncryptionKey {
    /// A key that is already here; `source` is how log lines call it.
    pub fn new(key: [u8; 32], source: String) -> Self {
        Self { key: Zeroizing::new(key), source }
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.key
    }

    pub(super) fn into_source(self) -> String {
        self.source
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncryptionKey").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Where the key-encryption key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekSource {
    /// A file of 64 hexadecimal digits that only its owner can read.
    File(PathBuf),
    /// A systemd credential: 64 hexadecimal digits or 32 bytes.
    Credential(String),
    /// A file with a passphrase that only its owner can read.
    PassphraseFile(PathBuf),
    /// A systemd credential with a passphrase.
    PassphraseCredential(String),
}

impl fmt::Display for KekSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
            Self::PassphraseFile(path) => write!(f, "passphrase file {}", path.display()),
            Self::PassphraseCredential(name) => write!(f, "systemd credential {name} (a passphrase)"),
        }
    }
}

/// A key-encryption key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The secret cannot be read or written.
    #[error("key-encryption key: {0}")]
    Secret(#[from] SecretFileError),
    /// It is not what the data here is sealed under.
    #[error("the key-encryption key from {kek} is not the one that {} was made with", description.display())]
    Wrong {
        /// Where the key came from.
        kek: String,
        /// The `kek.toml` that disagrees.
        description: PathBuf,
    },
    /// It is no key.
    #[error("{kek} does not hold a key: expected 64 hexadecimal digits")]
    NotAKey {
        /// Where it came from.
        kek: String,
    },
    /// It is no usable passphrase.
    #[error("{kek} does not hold a passphrase: expected at least {MIN_PASSPHRASE_LEN} bytes")]
    WeakPassphrase {
        /// Where it came from.
        kek: String,
    },
    /// `kek.toml` cannot be used.
    #[error("{}: {problem}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key derivation or the random source failed (usually: too little memory).
    #[error("the key-encryption key cannot be derived: {0}")]
    Derivation(String),
}

/// `kek.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Description {
    version: u32,
    check: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    argon2id: Option<Argon2Cost>,
}

/// Salt and cost of Argon2id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Argon2Cost {
    pub(super) salt: String,
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Argon2Cost {
    /// The second recommended option of RFC 9106 §4, but with one lane.
    pub(super) fn new() -> Result<Self, KekError> {
        Ok(Self { salt: hex::encode(random::<16>()?), memory_kib: 64 * 1024, passes: 3, lanes: 1 })
    }

    pub(super) fn derive(&self, passphrase: &[u8]) -> Result<Zeroizing<[u8; 32]>, KekError> {
        let failed = |problem: &dyn fmt::Display| KekError::Derivation(problem.to_string());
        let salt = hex::decode(&self.salt).map_err(|error| failed(&error))?;
        if self.memory_kib > MAX_MEMORY_KIB {
            return Err(failed(&"memory-kib is over 4 GiB"));
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|error| failed(&error))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, &salt, key.as_mut_slice())
            .map_err(|error| failed(&error))?;
        Ok(key)
    }
}

impl KekSource {
    /// For a new data directory: makes the key file if there is none, and writes `kek.toml`.
    /// Errors: `kek.toml` exists already, or the source cannot be used.
    pub fn create(&self, data: &Path) -> Result<KeyEncryptionKey, KekError> {
        if let Self::File(path) = self {
            create_key_file(path)?;
        }
        let argon2id = self.is_passphrase().then(Argon2Cost::new).transpose()?;
        let key = self.read(argon2id.as_ref())?;
        let check = hex::encode(seal::check_value(&key));
        write_description(&data.join(DESCRIPTION_FILE), &Description { version: 1, check, argon2id })?;
        Ok(KeyEncryptionKey { key, source: self.to_string() })
    }

    /// For an existing data directory. Errors: the source cannot be used, or its key is not the one that `kek.toml` describes.
    pub fn open(&self, data: &Path) -> Result<KeyEncryptionKey, KekError> {
        let path = data.join(DESCRIPTION_FILE);
        let description = read_description(&path)?;
        if self.is_passphrase() != description.argon2id.is_some() {
            return Err(KekError::Wrong { kek: self.to_string(), description: path });
        }
        let key = self.read(description.argon2id.as_ref())?;
        let check = hex::encode(seal::check_value(&key));
        constant_time::verify_slices_are_equal(check.as_bytes(), description.check.as_bytes())
            .map_err(|_| KekError::Wrong { kek: self.to_string(), description: path })?;
        Ok(KeyEncryptionKey { key, source: self.to_string() })
    }

    fn is_passphrase(&self) -> bool {
        matches!(self, Self::PassphraseFile(_) | Self::PassphraseCredential(_))
    }

    fn read(&self, argon2id: Option<&Argon2Cost>) -> Result<Zeroizing<[u8; 32]>, KekError> {
        let secret = match self {
            Self::File(path) | Self::PassphraseFile(path) => secret_file::read_private(path)?,
            Self::Credential(name) | Self::PassphraseCredential(name) => secret_file::read_credential(name)?,
        };
        match argon2id {
            Some(cost) => self.stretch(&secret, cost),
            None => parse_key(&secret).ok_or_else(|| KekError::NotAKey { kek: self.to_string() }),
        }
    }

    fn stretch(&self, secret: &Secret, cost: &Argon2Cost) -> Result<Zeroizing<[u8; 32]>, KekError> {
        let passphrase = secret_file::without_line_end(secret);
        if passphrase.len() < MIN_PASSPHRASE_LEN {
            return Err(KekError::WeakPassphrase { kek: self.to_string() });
        }
        cost.derive(passphrase)
    }
}

/// 64 hexadecimal digits, or 32 bytes as `systemd-creds` is often fed from a random source.
fn parse_key(secret: &Secret) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if secret.expose().len() == key.len() {
        key.copy_from_slice(secret.expose());
        return Some(key);
    }
    hex::decode_to_slice(secret_file::without_line_end(secret), key.as_mut_slice()).ok()?;
    Some(key)
}

/// A key file that is there already, put by the operator, stays as it is.
fn create_key_file(path: &Path) -> Result<(), KekError> {
    let mut key = random::<32>()?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(key))));
    key.zeroize();
    match secret_file::create(path, text.as_bytes()) {
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => Ok(other?),
    }
}

fn random<const N: usize>() -> Result<[u8; N], KekError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KekError::Derivation("no random bytes".to_owned()))?;
    Ok(bytes)
}

fn write_description(path: &Path, description: &Description) -> Result<(), KekError> {
    let problem =
        |error: toml::ser::Error| KekError::Description { path: path.to_owned(), problem: error.to_string() };
    let text = toml::to_string(description).map_err(problem)?;
    Ok(secret_file::create(path, text.as_bytes())?)
}

fn read_description(path: &Path) -> Result<Description, KekError> {
    let problem = |problem: String| KekError::Description { path: path.to_owned(), problem };
    let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let description: Description =
        toml::from_str(&text).map_err(|error| problem(error.message().to_owned()))?;
    if description.version == 1 {
        Ok(description)
    } else {
        Err(problem(format!("version {} is newer than this program", description.version)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key_of(source: &KekSource, data: &Path) -> [u8; 32] {
        *source.open(data).unwrap().expose()
    }

    #[test]
    fn key_file_is_made_private_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let source = KekSource::File(dir.path().join("kek"));
        let made = *source.create(dir.path()).unwrap().expose();
        assert_eq!(key_of(&source, dir.path()), made);
        let text = fs::read_to_string(dir.path().join("kek")).unwrap();
        assert_eq!(text.trim_end(), hex::encode(made));
        assert!(!fs::read_to_string(dir.path().join("kek.toml")).unwrap().contains(text.trim_end()));
    }

    #[test]
    fn second_create_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let source = KekSource::File(dir.path().join("kek"));
        let made = *source.create(dir.path()).unwrap().expose();
        assert!(source.create(dir.path()).is_err());
        assert_eq!(key_of(&source, dir.path()), made);
    }

    #[test]
    fn refuses_a_key_file_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let source = KekSource::File(dir.path().join("kek"));
        source.create(dir.path()).unwrap();
        fs::set_permissions(dir.path().join("kek"), fs::Permissions::from_mode(0o640)).unwrap();
        let error = source.open(dir.path()).unwrap_err();
        assert!(matches!(error, KekError::Secret(SecretFileError::Exposed { mode: 0o640, .. })), "{error}");
    }

    #[test]
    fn wrong_key_is_named_by_its_source() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        KekSource::File(dir.path().join("kek")).create(dir.path()).unwrap();
        let wrong = KekSource::File(other.path().join("other-kek"));
        wrong.create(other.path()).unwrap();
        let error = wrong.open(dir.path()).unwrap_err();
        assert!(matches!(error, KekError::Wrong { .. }));
        assert!(error.to_string().contains("other-kek"), "{error}");
    }

    #[test]
    fn passphrase_gives_the_same_key_again_and_its_cost_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        secret_file::create(&path, b"correct horse battery staple\n").unwrap();
        let source = KekSource::PassphraseFile(path.clone());
        let made = *source.create(dir.path()).unwrap().expose();
        assert_eq!(key_of(&source, dir.path()), made);
        let text = fs::read_to_string(dir.path().join("kek.toml")).unwrap();
        assert!(text.contains("memory-kib = 65536") && text.contains("passes = 3"), "{text}");
        assert!(!text.contains("horse"));
        fs::write(&path, b"correct horse battery stable\n").unwrap();
        assert!(matches!(source.open(dir.path()), Err(KekError::Wrong { .. })));
    }

    #[test]
    fn refuses_short_passphrases_and_malformed_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        secret_file::create(&path, b"1234567\n").unwrap();
        let passphrase = KekSource::PassphraseFile(path.clone()).create(dir.path());
        assert!(matches!(passphrase, Err(KekError::WeakPassphrase { .. })));
        assert!(matches!(KekSource::File(path).create(dir.path()), Err(KekError::NotAKey { .. })));
    }

    #[test]
    fn description_cannot_ask_for_all_memory() {
        let cost = Argon2Cost { salt: "00".repeat(16), memory_kib: u32::MAX, passes: 1, lanes: 1 };
        assert!(matches!(cost.derive(b"passphrase"), Err(KekError::Derivation(_))));
    }

    #[test]
    fn debug_hides_the_key() {
        let kek = KeyEncryptionKey::new([0x42; 32], "test".to_owned());
        assert_eq!(format!("{kek:?}"), "KeyEncryptionKey { source: \"test\", .. }");
    }
}
