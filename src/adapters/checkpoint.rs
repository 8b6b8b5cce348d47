//! The checkpoint in a file: replaced in one step, and durable.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::ports::{CheckpointError, CheckpointFile};

/// Longest file that is read: some ten thousand issuers.
const MAX_LEN: u64 = 1024 * 1024;

/// The checkpoint's file.
#[derive(Debug)]
pub struct FileCheckpoint(PathBuf);

impl FileCheckpoint {
    /// The file at `path`. Nothing is touched yet.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn failed(&self, error: &io::Error) -> CheckpointError {
        CheckpointError(format!("{}: {error}", self.0.display()))
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let mut temporary = self.0.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl CheckpointFile for FileCheckpoint {
    fn read(&self) -> Result<Option<Vec<u8>>, CheckpointError> {
        let file = match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.failed(&error))?,
        };
        let mut content = Vec::new();
        file.take(MAX_LEN).read_to_end(&mut content).map_err(|error| self.failed(&error))?;
        Ok(Some(content))
    }

    fn write(&self, content: &[u8]) -> Result<(), CheckpointError> {
        self.replace(content).map_err(|error| self.failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_written_last_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let file = FileCheckpoint::new(path.clone());
        assert_eq!(file.read(), Ok(None));
        for content in [&b"longer"[..], b"new"] {
            file.write(content).unwrap();
            assert_eq!(file.read(), Ok(Some(content.to_vec())));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let file = FileCheckpoint::new("/nonexistent/checkpoint".into());
        assert_eq!(file.read(), Ok(None));
        assert!(file.write(b"x").unwrap_err().to_string().starts_with("/nonexistent/checkpoint: "));
    }
}
