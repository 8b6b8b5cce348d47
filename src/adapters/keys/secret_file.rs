//! Secrets in files: read with a look at who else can read them, written for the owner alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::types::Secret;

/// No secret is longer than this; a larger file is the wrong file.
const MAX_LEN: u64 = 64 * 1024;

/// Permission bits of group and others.
const GROUP_AND_OTHERS: u32 = 0o077;

/// A secret file that cannot be used. Never says anything about the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can get at it.
    #[error("{} has mode {mode:04o}: only its owner may read it (chmod 0600 {})", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a plain file, or far too large.
    #[error("{} is not a secret: expected a plain file of at most 64 KiB", path.display())]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
    /// The service manager passed no such credential.
    #[error(
        "systemd credential {name:?} was not passed (CREDENTIALS_DIRECTORY is not set, or the name is no file name)"
    )]
    NoCredential {
        /// Its name.
        name: String,
    },
}

impl SecretFileError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Reads a secret and the permission bits of its file; whether those are good enough is the caller's policy.
pub fn read(path: &Path) -> Result<(Secret, u32), SecretFileError> {
    let file = File::open(path).map_err(SecretFileError::io(path))?;
    // The metadata of the open file, not of the path: it cannot be exchanged in between.
    let metadata = file.metadata().map_err(SecretFileError::io(path))?;
    let mut content =
        Vec::with_capacity(usize::try_from(metadata.len().min(MAX_LEN)).unwrap_or_default() + 1);
    if !metadata.is_file() || metadata.len() > MAX_LEN {
        return Err(SecretFileError::NotASecret { path: path.to_owned() });
    }
    file.take(MAX_LEN).read_to_end(&mut content).map_err(SecretFileError::io(path))?;
    Ok((Secret::new(content), metadata.mode() & 0o7777))
}

/// Reads a secret that nobody but its owner may be able to read or write.
pub fn read_private(path: &Path) -> Result<Secret, SecretFileError> {
    let (secret, mode) = read(path)?;
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
    }
    Ok(secret)
}

/// Reads a systemd credential (`LoadCredential=`, `LoadCredentialEncrypted=`). The service manager keeps others out of
/// that directory, so the file's mode says nothing.
pub fn read_credential(name: &str) -> Result<Secret, SecretFileError> {
    read_credential_in(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from), name)
}

pub(super) fn read_credential_in(directory: Option<PathBuf>, name: &str) -> Result<Secret, SecretFileError> {
    let is_file_name = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    match directory {
        Some(directory) if is_file_name => Ok(read(&directory.join(name))?.0),
        _ => Err(SecretFileError::NoCredential { name: name.to_owned() }),
    }
}

/// Writes a new file with mode 0600 and makes it durable. Errors: it exists already.
pub fn create(path: &Path, content: &[u8]) -> Result<(), SecretFileError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(SecretFileError::io(path))
}

/// `secret` without the line end that editors and `echo` leave behind it.
pub fn without_line_end(secret: &Secret) -> &[u8] {
    let bytes = secret.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn created_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path, b"two").is_err());
        assert_eq!(read_private(&path).unwrap().expose(), b"one");
    }

    #[test]
    fn refuses_what_others_can_read_and_says_how_to_mend_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"hunter2").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let text = read_private(&path).unwrap_err().to_string();
            assert!(text.contains(&format!("mode {mode:04o}")) && text.contains("chmod 0600"), "{text}");
            assert!(!text.contains("hunter2"));
        }
    }

    #[test]
    fn refuses_directories_and_oversize_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(SecretFileError::NotASecret { .. })));
        let path = dir.path().join("large");
        create(&path, &vec![0; 64 * 1024 + 1]).unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::NotASecret { .. })));
    }

    #[test]
    fn credential_name_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        create(&dir.path().join("kek"), b"secret").unwrap();
        let read = |name| read_credential_in(Some(dir.path().to_owned()), name);
        assert_eq!(read("kek").unwrap().expose(), b"secret");
        for bad in ["", "../kek", "a/b", ".", ".."] {
            assert!(matches!(read(bad), Err(SecretFileError::NoCredential { .. })), "{bad}");
        }
        assert!(matches!(read_credential_in(None, "kek"), Err(SecretFileError::NoCredential { .. })));
    }

    #[test]
    fn one_line_end_is_not_part_of_the_secret() {
        assert_eq!(without_line_end(&Secret::from("a b\r\n")), b"a b");
        assert_eq!(without_line_end(&Secret::from("a\n\n")), b"a\n");
    }
}
