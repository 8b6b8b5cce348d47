//! The guard against an older database: what was published is kept in a file of its own, and a database that does not reach it signs
//! nothing that could be wrong.
//!
//! While the database is *behind*, OCSP says tryLater of everything that is not revoked or on hold, no CRL is built, none is served but
//! where the newest of its issuer is the very one that was published last, nothing is issued, and the worker rests. A file that cannot be believed
//! says nothing of what was published: then no CRL is served. `accept_restore` ends that: it takes the
//! newest CRLs as a restore does, reserves CRL numbers above all that were used, withdraws open challenges, and leaves a record.
//!
//! The file is two lines: the [`Checkpoint`] as JSON, and its HMAC under a key that is derived from the key-encryption key, so that
//! nobody edits it unnoticed. Without a file (the first start, or the first after an upgrade) there is nothing to compare with, and
//! the file is written: whoever removes it switches the guard off once.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use super::{
    Gateway, Ports, ServiceError,
    audit::Act,
    backup::check_local,
    restore::{Origin, Settled, paired, settle_from},
};
use crate::{
    domain::{
        access::{Administer, Authed},
        audit::AuditEvent,
        checkpoint::{AuditMark, Checkpoint, CrlMark, Present, Shortfall},
        crl::CrlRecord,
    },
    ports::{MacPurpose, View, store::StoreResult},
    types::{Fingerprint, IssuerId, Timestamp},
};

/// What happens is checkpointed at least this often, in seconds.
const PERIOD: u64 = 60;

/// The guard of one gateway.
#[derive(Debug, Default)]
pub(super) struct RestoreGuard {
    /// What the file says.
    last: Mutex<Option<Checkpoint>>,
    behind: ArcSwapOption<Behind>,
    /// Why the file could not be written.
    unwritten: ArcSwapOption<String>,
}

/// That the database is behind what was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// When the checkpoint was taken; none where it cannot be believed.
    pub reached_at: Option<Timestamp>,
    /// The last event of the database.
    pub database_ends_at: Option<Timestamp>,
    /// How it is behind.
    pub shortfalls: Vec<Shortfall>,
    /// CRLs with these numbers were published.
    pub published: BTreeMap<IssuerId, CrlMark>,
}

/// What is known of what happened after the database was copied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRestore {
    /// The newest CRL of each issuer, as PEM text.
    #[serde(default)]
    pub crls: Vec<String>,
    /// An issuer may be without one: what it revoked since is good again.
    #[serde(default)]
    pub accept_lost_revocations: bool,
}

/// What accepting did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRestore {
    /// How the database was behind.
    #[serde(flatten)]
    pub behind: Behind,
    /// Audit events that are lost, where their number is known.
    pub lost_events: Option<u64>,
    /// What was settled.
    #[serde(flatten)]
    pub settled: Settled,
}

impl RestoreGuard {
    /// Compares the database with the file.
    pub(super) fn open(ports: &Ports) -> Result<Self, ServiceError> {
        let guard = Self::default();
        let read = ports.checkpoint.read().map_err(|error| error.to_string());
        let checkpoint = read.and_then(|content| content.map(|it| parse(ports, &it)).transpose());
        let behind = ports.store.read(|view| {
            Ok::<_, ServiceError>(match &checkpoint {
                Ok(None) => None,
                Ok(Some(checkpoint)) => {
                    let shortfalls = checkpoint.shortfalls(&present(view, checkpoint.audit.as_ref())?);
                    behind(view, Some(checkpoint), shortfalls)?
                }
                Err(problem) => {
                    behind(view, None, vec![Shortfall::Unbelievable { problem: problem.clone() }])?
                }
            })
        })?;
        if let Some(behind) = behind {
            for shortfall in &behind.shortfalls {
                tracing::error!(%shortfall, "the database is older than what was published");
            }
            guard.behind.store(Some(behind.into()));
        }
        *guard.last() = checkpoint.unwrap_or_default();
        Ok(guard)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Checkpoint>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file anew: the database is the present one now, and what it does not have is lost. The CRL numbers of issuers that it
    /// does not know were reserved in it, and have their place in the file: the next copy that is put back may not have them.
    fn begin_anew(&self, ports: &Ports, now: Timestamp) {
        *self.last() = None;
        self.write(ports, now, None);
    }

    /// Writes the file, if there is something to say that it does not say. One that cannot be written stops nothing: it is logged and
    /// shown, and tried again.
    fn write(&self, ports: &Ports, now: Timestamp, published: Option<(&IssuerId, CrlMark)>) {
        let mut last = self.last();
        let present = ports.store.read(|view| present(view, None));
        let written = present.map_err(|error| error.to_string()).and_then(|mut present| {
            present.crls.extend(published.map(|(issuer, mark)| (issuer.clone(), mark)));
            if last.as_ref().is_some_and(|before| before.has(&present)) {
                return Ok(());
            }
            let checkpoint = match last.clone() {
                Some(before) => before.advanced(&present, now),
                None => Checkpoint { at: now, audit: present.audit, crls: present.crls },
            };
            let content = written(ports, &checkpoint)?;
            ports.checkpoint.write(&content).map_err(|error| error.to_string())?;
            *last = Some(checkpoint);
            Ok(())
        });
        if let Err(problem) = &written {
            tracing::error!(%problem, "the checkpoint could not be written");
        }
        self.unwritten.store(written.err().map(Into::into));
    }
}

fn behind(
    view: &dyn View,
    checkpoint: Option<&Checkpoint>,
    shortfalls: Vec<Shortfall>,
) -> StoreResult<Option<Behind>> {
    if shortfalls.is_empty() {
        return Ok(None);
    }
    Ok(Some(Behind {
        reached_at: checkpoint.map(|checkpoint| checkpoint.at),
        database_ends_at: view.last_audit_event()?.map(|event| event.fact.at),
        shortfalls,
        published: checkpoint.map(|checkpoint| checkpoint.crls.clone()).unwrap_or_default(),
    }))
}

/// What the database has; with the hash of the event that `asked` names.
fn present(view: &dyn View, asked: Option<&AuditMark>) -> StoreResult<Present> {
    let event_there = match asked {
        Some(mark) => view.audit_events(mark.sequence.saturating_sub(1), 1)?.pop(),
        None => None,
    };
    let same = |event: &AuditEvent| asked.is_some_and(|mark| mark.sequence == event.sequence);
    let mut crls = view.crl_marks()?;
    for external in view.external_issuers()? {
        crls.remove(&external.id);
    }
    Ok(Present {
        hash_there: event_there.filter(same).map(|event| event.hash()),
        audit: view
            .last_audit_event()?
            .map(|event| AuditMark { sequence: event.sequence, hash: event.hash() }),
        crls,
        restoration: view.restoration()?,
    })
}

fn mac(ports: &Ports, line: &[u8]) -> Fingerprint {
    Fingerprint::from_bytes(ports.keyring.mac(MacPurpose::Checkpoint, line))
}

fn written(ports: &Ports, checkpoint: &Checkpoint) -> Result<Vec<u8>, String> {
    let mut content = serde_json::to_vec(checkpoint).map_err(|error| error.to_string())?;
    let mac = mac(ports, &content);
    content.extend_from_slice(format!("\n{mac}\n").as_bytes());
    Ok(content)
}

fn parse(ports: &Ports, content: &[u8]) -> Result<Checkpoint, String> {
    let damaged = || "it is not as certgate writes it".to_owned();
    let text = std::str::from_utf8(content).map_err(|_| damaged())?;
    let [line, found] = text.lines().collect::<Vec<_>>().try_into().map_err(|_| damaged())?;
    let found: Fingerprint = found.parse().map_err(|_| damaged())?;
    // Not a secret that somebody could guess byte by byte: who can try has the file.
    if found != mac(ports, line.as_bytes()) {
        return Err("it was changed, or it is of a gateway with another key-encryption key".to_owned());
    }
    serde_json::from_str(line).map_err(|error| error.to_string())
}

impl Gateway {
    /// How the database is behind what was published, if it is.
    pub fn behind(&self) -> Option<std::sync::Arc<Behind>> {
        self.restore_guard.behind.load_full()
    }

    /// Why the checkpoint could not be written the last time.
    pub(super) fn unwritten_checkpoint(&self) -> Option<std::sync::Arc<String>> {
        self.restore_guard.unwritten.load_full()
    }

    /// An error while the database is behind.
    pub(super) fn refuse_while_behind(&self) -> Result<(), ServiceError> {
        match self.behind() {
            None => Ok(()),
            Some(_) => Err(ServiceError::Refused(
                "the database is older than what was published: see certgate doctor".to_owned(),
            )),
        }
    }

    /// Before a CRL is published.
    pub(super) fn checkpoint_crl(&self, crl: &CrlRecord) {
        let mark = CrlMark { number: crl.number, this_update: crl.this_update };
        self.restore_guard.write(&self.ports, self.now(), Some((&crl.issuer, mark)));
    }

    /// Once a minute, if something happened.
    pub(super) fn checkpoint_if_due(&self) -> Result<(), ServiceError> {
        let reached = self.ports.store.read(|view| view.last_audit_event())?.map(|event| event.sequence);
        let now = self.now();
        let due = match self.restore_guard.last().as_ref() {
            None => true,
            Some(last) => {
                let happened = last.audit.map(|mark| mark.sequence) != reached;
                happened && (now < last.at || now.since(last.at).as_secs() >= PERIOD)
            }
        };
        if due {
            self.restore_guard.write(&self.ports, now, None);
        }
        Ok(())
    }

    /// At the end of the process, so that the next one finds where this one left off.
    pub fn checkpoint(&self) {
        if self.behind().is_none() {
            self.restore_guard.write(&self.ports, self.now(), None);
        }
    }

    /// Goes on from the older database: see the module's words. Only a caller on this machine may. Refused while it is not behind, and where a CRL is missing and the
    /// loss of revocations is not accepted.
    pub fn accept_restore(
        &self,
        authed: &Authed<Administer>,
        request: &AcceptRestore,
    ) -> Result<AcceptedRestore, ServiceError> {
        check_local(authed, "an older database is accepted")?;
        let act = Act::of(authed, self.now());
        let behind = self.behind().ok_or_else(|| {
            ServiceError::Refused("the database is not behind: there is nothing to accept".to_owned())
        })?;
        let crls = request.crls.iter().enumerate().map(|(index, pem)| given(index, pem));
        let crls = paired(crls.collect::<Result<Vec<_>, _>>()?)?;
        let ended = behind.database_ends_at.unwrap_or(act.at);
        let origin = Origin { of: ended, version: env!("CARGO_PKG_VERSION"), published: &behind.published };
        let lost = request.accept_lost_revocations;
        let settled = settle_from(self.ports.store.as_ref(), &origin, &act, &crls, lost)?;
        self.status.reload(&self.ports)?;
        self.crls.reload(&self.ports)?;
        self.restore_guard.behind.store(None);
        self.status.trust();
        let authorities = self.authorities();
        for answered in authorities.all_answered() {
            self.ocsp.forget_issuer(answered.id(), self.now());
        }
        self.restore_guard.begin_anew(&self.ports, act.at);
        for authority in authorities.issuers() {
            let id = &authority.issuer.id;
            if let Err(error) = self.build_crl(id) {
                tracing::error!(issuer = %id, %error, "the first CRL after an accepted restore could not be built");
            }
        }
        self.wake();
        let lost_events = behind.shortfalls.iter().find_map(|shortfall| match shortfall {
            Shortfall::AuditShort { reached, known } => Some(reached.saturating_sub(*known)),
            _ => None,
        });
        Ok(AcceptedRestore { behind: Behind::clone(&behind), lost_events, settled })
    }
}

fn given(index: usize, pem: &str) -> Result<(String, Vec<u8>), ServiceError> {
    let name = format!("crls[{index}]");
    let (_, der) = der::pem::decode_vec(pem.trim().as_bytes())
        .map_err(|error| ServiceError::invalid(name.as_str(), error))?;
    Ok((name, der))
}
