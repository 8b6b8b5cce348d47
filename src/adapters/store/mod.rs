//! The store port on redb: one file, one process, no server.
//!
//! ```text
//! records/  the verbs of the port, one file for each group of records
//! rows      get, scan, put and remove on redb's tables; views and transactions alike
//! key       keys whose bytes sort as the values do
//! record    a version byte and postcard
//! table     the tables
//! schema    the version of the whole, and the steps from older ones
//! batch     group commit
//! ```
//!
//! **Durability.** Every commit is a two-phase commit with an fsync in each phase. redb's one-phase commit trusts a
//! checksum that somebody who chooses the stored bytes could forge across a crash, and devices choose most of ours.
//!
//! **Start after a crash.** Every commit also records redb's allocator state ("quick repair"). With 10^6 certificates
//! in a file of 2.5 GB, opening after a kill takes 7 ms; without the record, redb walks the whole file, 7.2 s with the
//! file in memory. In that file it costs a third of the rate of small writes (12,000/s from 32 threads instead of
//! 18,000/s) and a tenth of that of enrolments, whose pages outweigh it; in a small file it is not measurable.
//!
//! **After a failure.** When a commit fails, redb takes no further writes until the store is opened again, whatever
//! became of the disk. What the failed commit wrote may be there afterwards, wholly or not at all; it was acknowledged to
//! nobody. Reading goes on.
//!
//! A closure must not write through the store inside another write: it would wait for itself. It may read through it,
//! and then sees the durable state, not its own writes.

mod batch;
mod key;
mod record;
mod records;
mod rows;
mod schema;
mod table;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use redb::{Builder, Database, DatabaseError, StorageBackend, backends::InMemoryBackend};

use self::{
    batch::{Committer, unavailable},
    records::Records,
    rows::ReadRows,
};
use crate::ports::store::{Store, StoreError, StoreResult, Tx, Verdict, View};

/// How much memory redb may use for pages, unless told otherwise.
pub const DEFAULT_CACHE_BYTES: usize = 256 * 1024 * 1024;

/// The schema that this certgate reads and writes.
pub const SCHEMA: u32 = schema::CURRENT;

/// The store in a redb database.
pub struct RedbStore(Committer);

impl RedbStore {
    /// Opens the store at `path`, or creates it with mode 0600. [`StoreError::InUse`] when another process has it open,
    /// [`StoreError::NewerSchema`] when a newer certgate wrote it.
    pub fn open(path: &Path) -> StoreResult<Self> {
        Self::open_with_cache(path, DEFAULT_CACHE_BYTES)
    }

    /// [`RedbStore::open`] with a page cache of at most `cache_bytes`.
    pub fn open_with_cache(path: &Path, cache_bytes: usize) -> StoreResult<Self> {
        let file = open_file(path)
            .map_err(|error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
        Self::prepared(Builder::new().set_cache_size(cache_bytes).create_file(file))
    }

    /// A store that lives in memory and ends with the process.
    pub fn in_memory() -> StoreResult<Self> {
        Self::on(InMemoryBackend::new())
    }

    /// The store on another backend of redb.
    pub fn on(backend: impl StorageBackend) -> StoreResult<Self> {
        Self::prepared(Builder::new().set_cache_size(DEFAULT_CACHE_BYTES).create_with_backend(backend))
    }

    fn prepared(opened: Result<Database, DatabaseError>) -> StoreResult<Self> {
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
            error => unavailable(error),
        })?;
        schema::prepare(&database)?;
        Ok(Self(Committer::new(database)))
    }
}

/// Opens or creates the file; a new file's name is durable too before anything is written to it.
fn open_file(path: &Path) -> std::io::Result<File> {
    let new = !path.exists();
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if new {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

impl Store for RedbStore {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        work(&Records(ReadRows::new(self.0.view()?)));
        Ok(())
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        self.0.write(work, &mut || {})
    }

    fn with_tx_meanwhile(
        &self,
        work: &mut dyn FnMut(&mut dyn Tx) -> Verdict,
        meanwhile: &mut dyn FnMut(),
    ) -> StoreResult<()> {
        self.0.write(work, meanwhile)
    }
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}
