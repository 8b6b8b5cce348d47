//! Static challenges: secrets in files or systemd credentials.

use std::path::Path;

use crate::{
    adapters::keys::secret_file::{self, SecretFileError},
    types::Secret,
};

/// A shorter static challenge can be guessed.
const MIN_LEN: usize = 8;

/// A challengePassword is a DirectoryString of at most 255 characters (RFC 2985 §5.4.1).
const MAX_LEN: usize = 255;

/// Why a static challenge cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChallengeError {
    #[error(transparent)]
    File(#[from] SecretFileError),
    #[error("{name} can be read by everybody (mode {mode:04o}): chmod 0600 {name}")]
    WorldReadable { name: String, mode: u32 },
    #[error("{name} must hold {MIN_LEN} to {MAX_LEN} characters of text on one line")]
    NotAChallenge { name: String },
}

/// A static challenge, and a warning if more than its owner can read it.
pub(super) struct StaticChallenge {
    pub(super) secret: Secret,
    pub(super) warning: Option<String>,
}

/// Reads a static challenge: `credential:NAME`, or a path relative to `directory`.
pub(super) fn read(directory: &Path, name: &str) -> Result<StaticChallenge, ChallengeError> {
    let (secret, warning) = match name.strip_prefix("credential:") {
        Some(credential) => (secret_file::read_credential(credential)?, None),
        None => read_file(directory, name)?,
    };
    let text = secret_file::without_line_end(&secret);
    let characters = std::str::from_utf8(text).map_or(0, |text| text.chars().count());
    if !(MIN_LEN..=MAX_LEN).contains(&characters) || text.iter().any(u8::is_ascii_control) {
        return Err(ChallengeError::NotAChallenge { name: name.to_owned() });
    }
    Ok(StaticChallenge { secret: Secret::new(text.to_vec()), warning })
}

fn read_file(directory: &Path, name: &str) -> Result<(Secret, Option<String>), ChallengeError> {
    let (secret, mode) = secret_file::read(&directory.join(name))?;
    if mode & 0o007 != 0 {
        return Err(ChallengeError::WorldReadable { name: name.to_owned(), mode });
    }
    let warning = (mode & 0o070 != 0).then(|| format!("{name} can be read by its group (mode {mode:04o})"));
    Ok((secret, warning))
}
