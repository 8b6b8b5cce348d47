//! `certgate backup`: the store and the files beside it, as one encrypted file.
//!
//! A running server gives the copy over its socket, and goes on meanwhile; the store of a stopped one is opened here. The
//! command line encrypts, so that neither the passphrase nor the plain copy is anywhere but in its memory. `restore` reads it back.

mod files;
mod output;
pub mod restore;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    cli::admin::AdminClient,
    failure::{Failure, Outcome},
    serve::STORE_FILE,
};
use crate::{
    adapters::{
        keys::archive::{ArchiveError, ArchiveWriter, PassphraseSource},
        store::RedbStore,
        system::{SystemClock, SystemRandomSource},
    },
    domain::access::Actor,
    http::api::own_uid,
    ports::{Clock as _, Random, Store, StoreError},
    service::{
        audit::Act,
        backup::{self, CopyError, Frame, FrameError, FrameReader, FrameWriter, Head, WrittenBackup},
    },
    types::{RequestId, Secret},
};
use files::DataFiles;
use output::NewFile;

/// How often a long copy says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// What to back up, and where to.
#[derive(Debug)]
pub struct Request<'a> {
    /// The server, if it runs.
    pub server: &'a AdminClient,
    /// Its data directory.
    pub data: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// What it is encrypted under.
    pub passphrase: PassphraseSource,
}

/// How the copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// By the running server.
    Server,
    /// From the data directory of a server that does not run.
    Directory,
}

/// What there is now.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// The file.
    #[serde(flatten)]
    pub written: WrittenBackup,
    /// How it came about.
    pub way: Way,
    /// The files of the data directory in it.
    pub files: Vec<String>,
    /// What is needed to run again and is not in it.
    pub not_inside: Vec<String>,
}

/// Takes a backup; `say` is told how far it is.
pub fn make(request: &Request<'_>, say: &mut dyn FnMut(&str)) -> Outcome<Made> {
    let passphrase = request.passphrase.read().map_err(unusable)?;
    let running = request.server.is_answered()?;
    // A stopped server's store stays locked from here to the end.
    let store = if running { None } else { Some(open_stopped(&request.data)?) };
    let files = DataFiles::read(&request.data)?;
    let out = Metered::new(NewFile::create(&request.out)?, say);
    let sealed = ArchiveWriter::create(out, &passphrase).map_err(unusable)?;
    let (head, sealed) = match &store {
        None => from_server(request.server, &files.content, sealed)?,
        Some(store) => from_store(store, &files.content, sealed)?,
    };
    let (bytes, sha256) = sealed.finish().map_err(|error| cannot_write(&request.out, &error))?.commit()?;
    let file = std::path::absolute(&request.out).unwrap_or_else(|_| request.out.clone());
    let written = WrittenBackup { file: file.display().to_string(), bytes, sha256, taken_at: head.taken_at };
    let way = match &store {
        None => {
            tell_server(request.server, &written)?;
            Way::Server
        }
        Some(store) => {
            backup::record_written(store, &local_act(), &written).map_err(Failure::error)?;
            Way::Directory
        }
    };
    Ok(Made { written, way, files: files.names(), not_inside: files.not_inside })
}

type Sealed<'s> = ArchiveWriter<Metered<'s>>;

/// The frames of the server, with the files put in.
fn from_server<'s>(
    server: &AdminClient,
    files: &[(String, Secret)],
    out: Sealed<'s>,
) -> Outcome<(Head, Sealed<'s>)> {
    let broken = |error: FrameError| {
        Failure::error(format_args!("the server's copy: {error}"))
            .hint("the server's log says more; try again")
    };
    let (mut frames, head) = FrameReader::start(server.stream("/backups")?).map_err(broken)?;
    let mut writer = FrameWriter::start(out, &head).map_err(Failure::error)?;
    files.iter().try_for_each(|(name, content)| writer.file(name, content)).map_err(Failure::error)?;
    loop {
        match frames.next().map_err(broken)? {
            Frame::Row(row) => writer.row(&row).map_err(Failure::while_doing("writing the backup"))?,
            Frame::End => break,
            Frame::Head(_) | Frame::File { .. } => {
                return Err(broken(FrameError::Malformed("a frame that a server does not send")));
            }
        }
    }
    Ok((head, writer.end().map_err(Failure::while_doing("writing the backup"))?))
}

fn from_store<'s>(
    store: &dyn Store,
    files: &[(String, Secret)],
    mut out: Sealed<'s>,
) -> Outcome<(Head, Sealed<'s>)> {
    backup::record_start(store, &local_act()).map_err(Failure::error)?;
    let head = backup::copy(store, SystemClock.now(), files, &mut out).map_err(|error| match error {
        CopyError::Store(error) => Failure::error(error),
        CopyError::Write(error) => Failure::while_doing("writing the backup")(error),
    })?;
    Ok((head, out))
}

/// The store of a server that does not run.
pub(super) fn open_stopped(data: &Path) -> Outcome<RedbStore> {
    RedbStore::open(&data.join(STORE_FILE)).map_err(|error| match error {
        StoreError::InUse => {
            Failure::error(format_args!("{} is in use, but no server answers at its socket", data.display()))
                .hint("say where the server's socket is with --socket FILE")
        }
        other => Failure::error(other),
    })
}

/// The backup is complete; only the record of it can be missing.
fn tell_server(server: &AdminClient, written: &WrittenBackup) -> Outcome {
    let told = serde_json::to_value(written).map_err(Failure::error)?;
    server.post("/backups/written", &told).map(drop).map_err(|failure| {
        let message = &failure.message;
        Failure::partial(format_args!("the backup is complete, but the server could not be told: {message}"))
    })
}

/// An act of whoever runs this command.
pub(super) fn local_act() -> Act {
    let random: &dyn Random = &SystemRandomSource::default();
    Act {
        actor: Actor::Local { uid: own_uid().unwrap_or(u32::MAX) },
        request: RequestId::from_random(random.bytes()),
        at: SystemClock.now(),
    }
}

fn unusable(error: ArchiveError) -> Failure {
    match error {
        ArchiveError::Secret(_) | ArchiveError::WeakPassphrase => Failure::usage(error),
        ArchiveError::WrongPassphrase => Failure::refused(error),
        other => Failure::error(other),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::error(format_args!("{}: {error}", path.display())).hint("is there space left?")
}

/// Counts and digests what goes into the file, and says so now and then.
struct Metered<'s> {
    file: NewFile,
    said_at: Instant,
    say: &'s mut dyn FnMut(&str),
}

impl<'s> Metered<'s> {
    #[expect(clippy::disallowed_methods, reason = "progress is told by the clock on the wall")]
    fn new(file: NewFile, say: &'s mut dyn FnMut(&str)) -> Self {
        Self { file, said_at: Instant::now(), say }
    }

    fn commit(self) -> Outcome<(u64, crate::types::Fingerprint)> {
        self.file.commit()
    }
}

impl io::Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        if self.said_at.elapsed() >= SAY_EVERY {
            self.said_at += SAY_EVERY;
            (self.say)(&format!("{} MB written ..", self.file.written() / 1_000_000));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
