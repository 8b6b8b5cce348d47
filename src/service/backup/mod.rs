//! Backups: a consistent copy of the store, as frames, while everything goes on.
//!
//! The copy is one read transaction of the store: it blocks nobody, and holds one record in memory at a time. What is sealed
//! stays sealed. The encryption of the whole, and the files beside the store, are the command line's.

mod frame;

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};

pub use frame::{FORMAT, Frame, FrameError, FrameReader, FrameWriter, Head, IssuerHead};

use super::{Gateway, ServiceError, audit::Act, metric};
use crate::{
    domain::{
        access::{Actor, Administer, Authed},
        crl::{CrlRecord, CrlScope},
    },
    ports::{
        Store, View,
        store::{StoreError, StoreResult},
    },
    types::{Fingerprint, Secret, Timestamp},
};

/// What audit events of backups are about.
const OBJECT: &str = "gateway";

/// The longest name of a file that is recorded.
const MAX_NAME: usize = 4096;

/// Only one backup runs at a time. Dropping it lets the next one begin.
#[derive(Debug)]
pub struct BackupTurn(Arc<AtomicBool>);

impl Drop for BackupTurn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A backup that lies where it should, as its maker tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenBackup {
    /// Where it is.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Fingerprint,
    /// When it was taken.
    pub taken_at: Timestamp,
}

/// Why a copy did not come about.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody takes it any more.
    #[error("the copy cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Records that a backup is about to be taken.
pub fn record_start(store: &dyn Store, act: &Act) -> StoreResult<()> {
    let fact = act.fact("backup.started", OBJECT, &[]);
    store.write(|tx| tx.append_audit(&fact))
}

/// Records that a backup is complete.
pub fn record_written(store: &dyn Store, act: &Act, written: &WrittenBackup) -> StoreResult<()> {
    let detail = [
        ("file", written.file.clone()),
        ("bytes", written.bytes.to_string()),
        ("sha256", written.sha256.to_string()),
        ("taken", written.taken_at.to_string()),
    ];
    let fact = act.fact("backup.completed", OBJECT, &detail);
    store.write(|tx| tx.append_audit(&fact))
}

/// Writes one consistent state of the store as frames, after `files`. Gives what it is of.
pub fn copy(
    store: &dyn Store,
    now: Timestamp,
    files: &[(String, Secret)],
    out: &mut dyn Write,
) -> Result<Head, CopyError> {
    store.read(|view| {
        let head = head(view, now)?;
        let mut frames = FrameWriter::start(out, &head)?;
        files.iter().try_for_each(|(name, content)| frames.file(name, content))?;
        let mut failure = None;
        let copied = view.export(&mut |row| {
            frames.row(&row).map_err(|error| {
                let told = StoreError::Unavailable(error.to_string());
                failure = Some(error);
                told
            })
        });
        failure.map_or(Ok(()), Err)?;
        copied?;
        frames.end()?;
        Ok(head)
    })
}

fn head(view: &dyn View, now: Timestamp) -> StoreResult<Head> {
    let mut issuers = Vec::new();
    for issuer in view.issuers()? {
        let crl = view.latest_crl(&issuer.id, CrlScope::Full)?.filter(CrlRecord::is_published);
        issuers.push(IssuerHead {
            sha256: Fingerprint::of(&issuer.certificate),
            crl_number: crl.as_ref().map(|crl| crl.number),
            crl_this_update: crl.map(|crl| crl.this_update),
            id: issuer.id,
        });
    }
    Ok(Head {
        format: FORMAT,
        taken_at: now,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: view.schema(),
        issuers,
    })
}

impl Gateway {
    /// Lets a backup begin, on record. Only a caller on this machine gets one, and one at a time.
    pub fn begin_backup(&self, authed: &Authed<Administer>) -> Result<BackupTurn, ServiceError> {
        check_local(authed, "backups are taken")?;
        if self.backup_runs.swap(true, Ordering::SeqCst) {
            return Err(ServiceError::Conflict("another backup is being taken: wait for its end".to_owned()));
        }
        let turn = BackupTurn(Arc::clone(&self.backup_runs));
        record_start(self.ports.store.as_ref(), &Act::of(authed, self.now()))?;
        Ok(turn)
    }

    /// Writes the copy.
    pub fn copy_store(&self, _turn: &BackupTurn, out: &mut dyn Write) -> Result<(), CopyError> {
        copy(self.ports.store.as_ref(), self.now(), &[], out).map(drop)
    }

    /// Takes the word of the maker that the backup is complete and where it should be.
    pub fn backup_written(
        &self,
        authed: &Authed<Administer>,
        written: &WrittenBackup,
    ) -> Result<WrittenBackup, ServiceError> {
        check_local(authed, "backups are taken")?;
        if written.file.len() > MAX_NAME || written.file.chars().any(char::is_control) {
            return Err(ServiceError::invalid("file", "is too long, or holds control characters"));
        }
        let now = self.now();
        record_written(self.ports.store.as_ref(), &Act::of(authed, now), written)?;
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        metrics::gauge!(metric::BACKUP_LAST_SUCCESS).set(now.unix() as f64);
        Ok(written.clone())
    }
}

/// A copy of everything, and what cannot be undone, is for those who can get at the store's file anyway: a stolen token must not be
/// enough. `what` says what is done.
pub(super) fn check_local(authed: &Authed<Administer>, what: &str) -> Result<(), ServiceError> {
    match authed.caller().actor {
        Actor::Local { .. } => Ok(()),
        _ => Err(ServiceError::Refused(format!("{what} on the server itself, over its socket"))),
    }
}
