//! The files beside the store: which belong into a backup, and what is needed and lies elsewhere.

use std::{
    fs::{self, DirEntry, File},
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    adapters::keys::{archive::MAGIC, secret_file},
    app::{
        cli::admin::SOCKET_NAME,
        config::CHECKPOINT_FILE,
        failure::{Failure, Outcome},
        init::CONFIG_FILE,
        serve::STORE_FILE,
        settings::Settings,
    },
    types::Secret,
};

/// A larger file is nothing that certgate reads at its start.
const MAX_FILE: u64 = 1024 * 1024;

/// The files of a data directory.
#[derive(Debug)]
pub(super) struct DataFiles {
    /// Names and contents.
    pub(super) content: Vec<(String, Secret)>,
    /// What is needed to run again and is not among them.
    pub(super) not_inside: Vec<String>,
}

impl DataFiles {
    /// Reads every plain file in `data` but the store, the socket and other backups.
    pub(super) fn read(data: &Path) -> Outcome<Self> {
        let entries = fs::read_dir(data).map_err(Failure::while_doing(data.display()))?;
        let mut files = Self { content: Vec::new(), not_inside: Vec::new() };
        for entry in entries {
            files.take(&entry.map_err(Failure::while_doing(data.display()))?)?;
        }
        files.content.sort_by(|one, other| one.0.cmp(&other.0));
        files.say_what_is_elsewhere(data);
        Ok(files)
    }

    /// The names.
    pub(super) fn names(&self) -> Vec<String> {
        self.content.iter().map(|(name, _)| name.clone()).collect()
    }

    fn take(&mut self, entry: &DirEntry) -> Outcome {
        let path = entry.path();
        let failed = || Failure::while_doing(path.display());
        let kind = entry.file_type().map_err(failed())?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_file_name(name)) else {
            return Ok(());
        };
        if !kind.is_file() {
            if kind.is_dir() || kind.is_symlink() {
                self.not_inside.push(format!("{} (no plain file)", path.display()));
            }
            return Ok(());
        }
        // The checkpoint says what was published, which a backup must not take back.
        if name == CHECKPOINT_FILE || is_backup(&path)? {
            return Ok(());
        }
        let length = entry.metadata().map_err(failed())?.len();
        if length > MAX_FILE {
            self.not_inside.push(format!("{} ({length} bytes: over 1 MiB)", path.display()));
            return Ok(());
        }
        let content = fs::read(&path).map_err(failed())?;
        self.content.push((name.to_owned(), Secret::new(content)));
        Ok(())
    }

    /// The configuration says where the key-encryption key is; without the one, nobody knows of the other.
    fn say_what_is_elsewhere(&mut self, data: &Path) {
        let config = data.join(CONFIG_FILE);
        if !config.exists() {
            self.not_inside.push("the configuration file: it is not in the data directory".to_owned());
            if !data.join("kek.key").exists() {
                self.not_inside.push("the key-encryption key: it is not in the data directory".to_owned());
            }
            return;
        }
        match Settings::load(&config) {
            Ok((settings, _)) if settings.gateway.key_beside_store => {}
            Ok((settings, _)) => self.not_inside.push(format!("the key-encryption key: {}", settings.kek)),
            // A configuration that does not load (a credential that only the service has) may name a key elsewhere.
            Err(_) => {
                self.not_inside
                    .push("the key-encryption key, if keys.kek names a place elsewhere".to_owned());
            }
        }
    }
}

/// Whether a backup may hold a file of this name: it is put into a data directory by a restore.
pub(super) fn is_file_name(name: &str) -> bool {
    let reserved = [STORE_FILE, SOCKET_NAME].contains(&name);
    let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    plain && !reserved && !name.starts_with(".certgate-")
}

/// Backups in the data directory would grow with each other.
fn is_backup(path: &PathBuf) -> Outcome<bool> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(Failure::while_doing(path.display()))?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(Failure::while_doing(path.display()))?;
    Ok(start == MAGIC)
}

/// Puts a file of a backup into the directory `data`, readable by its owner alone.
pub(super) fn put(data: &Path, name: &str, content: &Secret) -> Outcome {
    if !is_file_name(name) {
        return Err(Failure::error(format_args!(
            "the backup holds a file that no data directory has: {name:?}"
        )));
    }
    secret_file::create(&data.join(name), content.expose()).map_err(Failure::error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_files_are_taken_and_the_store_and_backups_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("kek.toml", &b"version = 1"[..]),
            ("kek.key", b"00"),
            (STORE_FILE, b"redb"),
            ("old.backup", b"certgate backup\nxyz"),
        ] {
            fs::write(dir.path().join(name), content).unwrap();
        }
        fs::create_dir(dir.path().join("notes")).unwrap();
        let files = DataFiles::read(dir.path()).unwrap();
        assert_eq!(files.names(), ["kek.key", "kek.toml"]);
        let told = files.not_inside.join("\n");
        assert!(told.contains("notes") && told.contains("configuration file"), "{told}");
        assert!(!told.contains("key-encryption key"), "{told}");
    }

    #[test]
    fn a_file_of_a_backup_stays_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../kek.key", "/etc/passwd", "", "..", STORE_FILE, SOCKET_NAME, ".certgate-init"] {
            assert!(put(dir.path(), name, &Secret::from("x")).is_err(), "{name}");
        }
        put(dir.path(), "kek.key", &Secret::from("x")).unwrap();
        assert_eq!(fs::read(dir.path().join("kek.key")).unwrap(), b"x");
    }
}
