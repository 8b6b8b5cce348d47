//! The file that a backup becomes: under another name until it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};

use crate::{
    app::failure::{Failure, Outcome},
    types::Fingerprint,
};

/// A file that is being written. Dropped without [`NewFile::commit`], it is removed, and what was there before stays.
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
    digest: Context,
    written: u64,
    committed: bool,
}

impl NewFile {
    /// Creates it beside `path`, with mode 0600.
    pub(super) fn create(path: &Path) -> Outcome<Self> {
        if path.is_dir() {
            return Err(Failure::usage(format_args!("{} is a directory: name a file in it", path.display())));
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let create = || {
            // What an interrupted backup left behind was never whole.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)
        };
        let file = create().map_err(Failure::while_doing(temporary.display()))?;
        let digest = Context::new(&SHA256);
        Ok(Self { file, path: path.to_owned(), temporary, digest, written: 0, committed: false })
    }

    /// How many bytes it has.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Makes it durable under its own name. Gives its length and its digest.
    pub(super) fn commit(mut self) -> Outcome<(u64, Fingerprint)> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let finish = || {
            self.file.sync_all()?;
            fs::rename(&self.temporary, &self.path)?;
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(Failure::while_doing(self.path.display()))?;
        self.committed = true;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.digest.clone().finish().as_ref());
        Ok((self.written, Fingerprint::from_bytes(sha256)))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(bytes.split_at(count).0);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            // The failure that led here is what the operator should read.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_appears_whole_private_and_with_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("night.backup");
        fs::write(&path, "yesterday").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"today").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"yesterday");
        assert_eq!(file.commit().unwrap(), (5, Fingerprint::of(b"today")));
        assert_eq!(fs::read(&path).unwrap(), b"today");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("night.backup");
        fs::write(&path, "yesterday").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"yesterday");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
