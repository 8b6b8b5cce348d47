//! `certgate restore`: a backup into an empty directory, whole or not at all.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{files, local_act, unusable};
use crate::{
    adapters::{
        keys::archive::{ArchiveReader, PassphraseSource},
        store::{RedbStore, SCHEMA},
    },
    app::{
        cli::files::read_list,
        failure::{Failure, Outcome},
        init::{CONFIG_FILE, Stage},
        serve::STORE_FILE,
        settings::Settings,
    },
    ports::store::{Row, Store, StoreError},
    service::{
        ServiceError,
        backup::{Frame, FrameError, FrameReader, Head},
        restore::{self, GivenCrl, Settled},
    },
};

/// What to restore, and where to.
#[derive(Debug)]
pub struct Request {
    /// The backup.
    pub input: PathBuf,
    /// A new or empty directory.
    pub data: PathBuf,
    /// What the backup is encrypted under.
    pub passphrase: PassphraseSource,
    /// The newest CRL of each issuer.
    pub crls: Vec<PathBuf>,
    /// An issuer may be without one.
    pub accept_lost: bool,
}

/// What is in a backup.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// What it is of.
    #[serde(flatten)]
    pub head: Head,
    /// The files of the data directory.
    pub files: Vec<String>,
    /// How many records it has.
    pub rows: u64,
}

/// What there is now.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// The data directory.
    pub data: PathBuf,
    /// What it came from.
    pub backup: Content,
    /// What was not undone.
    #[serde(flatten)]
    pub settled: Settled,
    /// What is to be done before it can serve.
    pub to_do: Vec<String>,
}

/// Reads a backup to its end and writes nothing.
pub fn check(input: &Path, passphrase: &PassphraseSource) -> Outcome<Content> {
    let mut backup = Backup::open(input, passphrase)?;
    while backup.next_row(&mut |_, _| Ok(()))?.is_some() {}
    Ok(backup.content)
}

/// Restores.
pub fn restore(request: &Request) -> Outcome<Restored> {
    let crls = given(&request.crls)?;
    let mut backup = Backup::open(&request.input, &request.passphrase)?;
    let stage = Stage::begin(&request.data)?;
    let store = RedbStore::open(&stage.path.join(STORE_FILE)).map_err(Failure::error)?;
    backup.import(&store, &stage.path)?;
    let settled = restore::settle(&store, &backup.content.head, &local_act(), &crls, request.accept_lost)
        .map_err(not_settled)?;
    // The file is moved after everything in it is durable.
    drop(store);
    stage.commit()?;
    let to_do = to_do(&request.data);
    Ok(Restored { data: request.data.clone(), backup: backup.content, settled, to_do })
}

fn given(paths: &[PathBuf]) -> Outcome<Vec<GivenCrl>> {
    let list = |path: &PathBuf| Ok((path.display().to_string(), read_list(path)?));
    let lists = paths.iter().map(list).collect::<Outcome<Vec<_>>>()?;
    restore::paired(lists).map_err(Failure::usage)
}

fn not_settled(error: ServiceError) -> Failure {
    match error {
        ServiceError::Invalid { .. } => Failure::usage(error),
        ServiceError::Refused(_) => Failure::refused(error).hint(
            "give each with --crl FILE, as it was last published: from the old server, a cache, a device; or say \
             --accept-lost-revocations",
        ),
        other => Failure::error(other),
    }
}

/// A backup that is being read.
struct Backup {
    frames: FrameReader<ArchiveReader<io::BufReader<File>>>,
    content: Content,
}

impl Backup {
    /// Reads what it is of.
    fn open(input: &Path, passphrase: &PassphraseSource) -> Outcome<Self> {
        let passphrase = passphrase.read().map_err(unusable)?;
        let file = File::open(input).map_err(Failure::while_doing(input.display()))?;
        let archive = ArchiveReader::open(io::BufReader::new(file), &passphrase).map_err(unusable)?;
        let (frames, head) = FrameReader::start(archive).map_err(unreadable)?;
        if head.schema > SCHEMA {
            return Err(Failure::error(StoreError::NewerSchema { found: head.schema, known: SCHEMA }));
        }
        Ok(Self { frames, content: Content { head, files: Vec::new(), rows: 0 } })
    }

    /// The next record; `file` is given the files on the way.
    fn next_row(
        &mut self,
        file: &mut dyn FnMut(&str, &crate::types::Secret) -> Outcome,
    ) -> Outcome<Option<Row>> {
        loop {
            match self.frames.next().map_err(unreadable)? {
                Frame::File { name, content } => {
                    file(&name, &content)?;
                    self.content.files.push(name);
                }
                Frame::Row(row) => {
                    self.content.rows += 1;
                    return Ok(Some(row));
                }
                Frame::End => return Ok(None),
                Frame::Head(_) => return Err(unreadable(FrameError::Malformed("a second head"))),
            }
        }
    }

    /// Everything into `store`, and the files into `directory`.
    fn import(&mut self, store: &dyn Store, directory: &Path) -> Outcome {
        let schema = self.content.head.schema;
        let mut failure = None;
        let imported = restore::import(store, schema, &mut || {
            self.next_row(&mut |name, content| files::put(directory, name, content)).map_err(|failed| {
                let told = StoreError::Unavailable(failed.message.clone());
                failure = Some(failed);
                told
            })
        });
        failure.map_or(Ok(()), Err)?;
        imported.map(drop).map_err(Failure::while_doing("the backup does not fill a store"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unreadable(error: FrameError) -> Failure {
    Failure::error(format_args!("the backup cannot be read: {error}"))
}

/// What the server will miss, as far as it can be seen from here.
fn to_do(data: &Path) -> Vec<String> {
    let config = data.join(CONFIG_FILE);
    if !config.exists() {
        return vec![
            "put back the configuration file, and the key-encryption key where it names it".to_owned(),
        ];
    }
    let mut to_do = Vec::new();
    match Settings::load(&config) {
        Err(errors) => to_do.push(format!("make the configuration whole: {errors}")),
        Ok((settings, _)) => {
            if let Err(error) = settings.kek.open(data) {
                to_do.push(format!("put back the key-encryption key ({}): {error}", settings.kek));
            }
            let same = |one: &Path, other: &Path| one.canonicalize().ok() == other.canonicalize().ok();
            if !same(&settings.data, data) {
                let named = settings.data.display();
                to_do.push(format!("{} names the data directory {named}: change it", config.display()));
            }
        }
    }
    to_do
}
