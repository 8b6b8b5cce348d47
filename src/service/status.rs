//! Status: causes are written here and nowhere else, and what follows a change follows from here.
//!
//! A use case calls [`change_causes`] inside its transaction (it writes the causes, the audit facts and the CRL job) and, after the
//! commit, [`super::Gateway::status_moved`] with what it returned; only then does it answer its caller. From then on no OCSP answer with the
//! old status leaves.
//!
//! # Why no old answer survives
//!
//! Whoever computes an OCSP answer reads the epoch of the serial first, the status second, and puts the answer into the cache only
//! while the epoch is still the same, under the lock of the cache's shard. Whoever moves a status writes the snapshot first, then
//! moves the epoch, then clears the cache under that lock. An answer that was computed from the old status finds the epoch moved, or
//! is in the cache before it is cleared. Movers of one issuer take turns and read the causes from the store while it is theirs,
//! so the last committed state wins in whatever order they come.
//!
//! How long it takes from the event to here is measured at this one place, whatever the event: see [`Accepted`].
//!
//! Where the causes cannot be read after a commit, the serial is *unsettled*: OCSP says tryLater and no CRL is built until the
//! worker has read them.
//!
//! A change to the certificate of a CA is one for all that it issued (submodule `inherited`): the snapshots of the issuers that rest on it
//! take over the inherited cause, every epoch moves, and every answer about their certificates leaves the cache. An issuer whose
//! inherited cause cannot be read is unsettled as a whole.

mod inherited;
mod listed;
mod moved;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

pub(crate) use inherited::{causes_of, inherited, lineage};
pub(crate) use listed::{Listed, ListedEntry};
pub(crate) use moved::Accepted;

use super::{Ports, ServiceError, audit::Act};
use crate::{
    domain::queue::JobKind,
    domain::status::{Cause, CauseChange, Effect, Revocation, check_change, dated, revocation, strongest},
    ports::{Tx, View, store::StoreResult},
    types::{CertificateId, IssuerId, RevocationReason, SerialNumber, Timestamp},
    wire::crl::CrlEntry,
};

/// Serials share this many epochs: a collision costs one signature, never a wrong answer.
const EPOCHS: usize = 1024;

/// Per issuer, the revoked and held serials with their pre-encoded CRL entries, as of the last commit.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    issuers: RwLock<BTreeMap<IssuerId, Arc<IssuerBoard>>>,
    epochs: Vec<AtomicU64>,
    /// How many imports are under way: see [`StatusBoard::importing`].
    imports: AtomicUsize,
    /// The database is older than what was published: only bad news can be relied on.
    distrusted: AtomicBool,
}

#[derive(Debug, Default)]
struct IssuerBoard {
    /// Held while causes are read from the store and written to the snapshot.
    moving: Mutex<()>,
    snapshot: RwLock<Snapshot>,
}

/// What is listed for one issuer.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Those that have causes of their own.
    pub(crate) listed: Listed,
    /// What all of them have from their issuer.
    pub(crate) inherited: Option<Inherited>,
    unsettled: BTreeSet<SerialNumber>,
    /// The inherited cause could not be read.
    issuer_unsettled: bool,
    /// The first of the events whose outcome could not be read.
    unsettled_since: Option<Accepted>,
    /// Grows with every change.
    pub(crate) changes: u64,
    /// Time of the first change that no CRL shows yet.
    unpublished_since: Option<Timestamp>,
}

/// What the certificates of an issuer have from the issuer's own state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inherited {
    revocation: Revocation,
    /// The serial of a root's own certificate, which has nothing from itself.
    except: Option<SerialNumber>,
}

impl Inherited {
    fn read(view: &dyn View, issuer: &IssuerId) -> StoreResult<Option<Self>> {
        let lineage = lineage(view, issuer)?;
        let Some(revocation) = inherited(view, &lineage)?.and_then(|cause| revocation(&[cause])) else {
            return Ok(None);
        };
        let except = lineage.into_iter().next().filter(|own| own.issuer == *issuer).map(|own| own.serial);
        Ok(Some(Self { revocation, except }))
    }

    /// What `serial` has from it.
    pub(crate) fn of(&self, serial: &SerialNumber) -> Option<Revocation> {
        (self.except.as_ref() != Some(serial)).then_some(self.revocation)
    }

    /// What `serial` has from it and from causes of its `own`.
    pub(crate) fn beside(&self, serial: &SerialNumber, own: Revocation) -> Revocation {
        strongest(self.of(serial).into_iter().chain([own])).unwrap_or(own)
    }
}

/// What the snapshot knows of a serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Revoked or held.
    Listed(Revocation),
    /// Revoked or held with its issuer, if it was ever issued.
    Inherited(Revocation),
    /// Neither; it may never have been issued.
    NotListed,
    /// Changed, and the new state could not be read yet.
    Unsettled,
}

/// An import is under way: see [`StatusBoard::importing`].
pub(crate) struct Importing<'a>(&'a AtomicUsize);

impl Drop for Importing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// State of a serial's status as a number that grows when it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl StatusBoard {
    pub(crate) fn load(ports: &Ports) -> Result<Self, ServiceError> {
        let mut boards = BTreeMap::new();
        ports.store.read(|view| {
            for issuer in answered_for(view)? {
                let inherited = Inherited::read(view, &issuer)?;
                let mut snapshot = Snapshot { inherited, ..Snapshot::default() };
                view.visit_revocations(&issuer, &mut |serial, revocation, not_after| {
                    snapshot.listed.push(&entry_of(serial, &revocation), not_after);
                    Ok(())
                })?;
                boards.insert(
                    issuer,
                    Arc::new(IssuerBoard { moving: Mutex::default(), snapshot: RwLock::new(snapshot) }),
                );
            }
            Ok::<_, ServiceError>(())
        })?;
        Ok(Self {
            issuers: RwLock::new(boards),
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
            imports: AtomicUsize::new(0),
            distrusted: AtomicBool::new(false),
        })
    }

    /// Reads everything again, after the store was changed as a whole. Answers that were computed before find their epochs moved.
    pub(crate) fn reload(&self, ports: &Ports) -> Result<(), ServiceError> {
        // Held while it is read: who has committed a change and not found its board yet waits for the new one, and what is in the
        // old ones was committed before.
        let mut boards = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = Self::load(ports)?;
        *boards = fresh.issuers.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(boards);
        self.move_all();
        Ok(())
    }

    /// What is not listed may be revoked all the same: see [`super::checkpoint`].
    pub(crate) fn distrust(&self) {
        self.distrusted.store(true, Ordering::SeqCst);
        self.move_all();
    }

    /// Ends [`StatusBoard::distrust`].
    pub(crate) fn trust(&self) {
        self.distrusted.store(false, Ordering::SeqCst);
        self.move_all();
    }

    /// Answers that are being computed find that something moved.
    pub(crate) fn move_all(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What the snapshot says of a serial, and whether it can be relied on.
    pub(crate) fn standing(&self, issuer: &IssuerId, serial: &SerialNumber) -> Standing {
        let board = self.board(issuer);
        let snapshot = board.read();
        if snapshot.issuer_unsettled || snapshot.unsettled.contains(serial) {
            return Standing::Unsettled;
        }
        let own = match snapshot.listed.get(serial).map(|entry| entry.revocation()) {
            // It is listed, and what as cannot be read: that is damage, and not good.
            Some(None) => return Standing::Unsettled,
            own => own.flatten(),
        };
        match (own, &snapshot.inherited) {
            (None, None) if self.distrusted.load(Ordering::SeqCst) => Standing::Unsettled,
            (None, None) => Standing::NotListed,
            (None, Some(inherited)) => inherited.of(serial).map_or(Standing::NotListed, Standing::Inherited),
            (Some(own), None) => Standing::Listed(own),
            (Some(own), Some(inherited)) => Standing::Listed(inherited.beside(serial, own)),
        }
    }

    /// Held from before an import is committed until the snapshot has it. Of what is revoked here it is never wrong to say for a moment more
    /// that it is good; what an import tells of was never good here.
    pub(crate) fn importing(&self) -> Importing<'_> {
        self.imports.fetch_add(1, Ordering::SeqCst);
        Importing(&self.imports)
    }

    /// Whether a certificate whose record was found before may be one that an import brings, with causes that the snapshot does not have yet.
    /// One that is over by now has moved the epochs.
    pub(crate) fn is_importing(&self) -> bool {
        self.imports.load(Ordering::SeqCst) > 0
    }

    /// Read it before the status; see the module's words.
    pub(crate) fn epoch(&self, issuer: &IssuerId, serial: &SerialNumber) -> Epoch {
        Epoch(self.epoch_of(issuer, serial).load(Ordering::SeqCst))
    }

    /// Whether the causes of this serial, or those of its issuer, changed and could not be read yet. That everything is distrusted does not
    /// count.
    pub(crate) fn is_unsettled(&self, issuer: &IssuerId, serial: &SerialNumber) -> bool {
        let board = self.board(issuer);
        let snapshot = board.read();
        snapshot.issuer_unsettled || snapshot.unsettled.contains(serial)
    }

    /// Lets `work` read the snapshot of `issuer`. None while something of it is unsettled.
    ///
    /// Changes and OCSP wait behind it: it only picks out and clones, what takes longer is done afterwards.
    pub(crate) fn with_snapshot<R>(&self, issuer: &IssuerId, work: impl FnOnce(&Snapshot) -> R) -> Option<R> {
        let board = self.board(issuer);
        let snapshot = board.read();
        let distrusted = self.distrusted.load(Ordering::SeqCst);
        let settled = snapshot.unsettled.is_empty() && !snapshot.issuer_unsettled && !distrusted;
        settled.then(|| work(&snapshot))
    }

    /// Whether the certificates of `issuer` are revoked or held with it, as far as is known.
    pub(crate) fn is_inherited(&self, issuer: &IssuerId) -> bool {
        let board = self.board(issuer);
        let snapshot = board.read();
        snapshot.inherited.is_some() || snapshot.issuer_unsettled
    }

    /// A CRL with the first `changes` changes is out. Gives since when the oldest change that it brings waited for it.
    pub(crate) fn published(&self, issuer: &IssuerId, changes: u64, now: Timestamp) -> Option<Timestamp> {
        let board = self.board(issuer);
        let mut snapshot = board.write();
        let since = snapshot.unpublished_since;
        snapshot.unpublished_since = (snapshot.changes > changes).then_some(now);
        since
    }

    /// Something of `issuer` is on no CRL.
    pub(crate) fn not_published(&self, issuer: &IssuerId, now: Timestamp) {
        self.board(issuer).write().unpublished_since.get_or_insert(now);
    }

    /// Since when a change of `issuer` waits for a CRL.
    pub(crate) fn unpublished_since(&self, issuer: &IssuerId) -> Option<Timestamp> {
        self.board(issuer).read().unpublished_since
    }

    /// The serials whose causes could not be read after their commit.
    pub(crate) fn unsettled(&self) -> Vec<CertificateId> {
        let boards = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(issuer, board): (&IssuerId, &Arc<IssuerBoard>)| {
            let id = |serial: &SerialNumber| CertificateId { issuer: issuer.clone(), serial: serial.clone() };
            board.read().unsettled.iter().map(id).collect::<Vec<_>>()
        };
        boards.iter().flat_map(of).collect()
    }

    /// The issuers whose inherited cause could not be read after the commit.
    pub(crate) fn unsettled_issuers(&self) -> Vec<IssuerId> {
        let boards = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        let unsettled = boards.iter().filter(|(_, board)| board.read().issuer_unsettled);
        unsettled.map(|(issuer, _)| issuer.clone()).collect()
    }

    /// Reads from the store what the certificates of `issuer` inherit, and brings the snapshot and the epochs up to date. Gives as
    /// [`StatusBoard::settle`].
    fn settle_issuer(
        &self,
        ports: &Ports,
        issuer: &IssuerId,
        accepted: Accepted,
    ) -> Result<Option<Accepted>, ServiceError> {
        let board = self.board(issuer);
        let turn = board.turn();
        let found = ports.store.read(|view| Ok::<_, ServiceError>(Inherited::read(view, issuer)?));
        let outcome = match found {
            Ok(inherited) => Ok(board.write().inherit(inherited, ports.clock.now(), accepted)),
            Err(error) => {
                let mut snapshot = board.write();
                snapshot.issuer_unsettled = true;
                snapshot.unsettled_since.get_or_insert(accepted);
                Err(error)
            }
        };
        // After the snapshot, and all of them: any serial may be of this issuer.
        self.move_all();
        drop(turn);
        outcome
    }

    /// Reads the causes of `serials` from the store, after an event that was accepted then, and brings the snapshot and the epochs up
    /// to date. Gives since when what moved has waited; none where nothing did.
    fn settle(
        &self,
        ports: &Ports,
        issuer: &IssuerId,
        serials: &BTreeSet<SerialNumber>,
        accepted: Accepted,
    ) -> Result<Option<Accepted>, ServiceError> {
        let board = self.board(issuer);
        let turn = board.turn();
        let found = ports.store.read(|view| read_listed(view, issuer, serials));
        let outcome = match found {
            Ok(found) => Ok(board.write().update(found, ports.clock.now(), accepted)),
            Err(error) => {
                let mut snapshot = board.write();
                snapshot.unsettled.extend(serials.iter().cloned());
                snapshot.unsettled_since.get_or_insert(accepted);
                Err(error)
            }
        };
        // After the snapshot, never before: see the module's words.
        for serial in serials {
            self.epoch_of(issuer, serial).fetch_add(1, Ordering::SeqCst);
        }
        drop(turn);
        outcome
    }

    fn board(&self, issuer: &IssuerId) -> Arc<IssuerBoard> {
        if let Some(board) = self.issuers.read().unwrap_or_else(PoisonError::into_inner).get(issuer) {
            return board.clone();
        }
        self.issuers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(issuer.clone())
            .or_default()
            .clone()
    }

    fn epoch_of(&self, issuer: &IssuerId, serial: &SerialNumber) -> &AtomicU64 {
        let mut hasher = DefaultHasher::new();
        (issuer, serial).hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % EPOCHS as u64).unwrap_or_default();
        &self.epochs[index]
    }
}

// A panic cannot leave a snapshot half-written: each change is one insertion or removal. Poison is therefore ignored.
impl IssuerBoard {
    fn read(&self) -> RwLockReadGuard<'_, Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Snapshot> {
        self.snapshot.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Gives since when what moved has waited.
    fn inherit(
        &mut self,
        inherited: Option<Inherited>,
        now: Timestamp,
        accepted: Accepted,
    ) -> Option<Accepted> {
        self.issuer_unsettled = false;
        let moved = self.inherited != inherited;
        if moved {
            self.inherited = inherited;
            self.changes += 1;
            self.unpublished_since.get_or_insert(now);
        }
        self.settled(moved, accepted)
    }

    /// Gives since when what moved has waited.
    fn update(
        &mut self,
        found: Vec<(SerialNumber, Option<Ending>)>,
        now: Timestamp,
        accepted: Accepted,
    ) -> Option<Accepted> {
        let mut moved = false;
        for (serial, listed) in found {
            self.unsettled.remove(&serial);
            let before = self.listed.get(&serial);
            if let Some((revocation, not_after)) = listed {
                let entry = entry_of(serial.clone(), &revocation);
                moved |= before.is_none_or(|before| before.der != entry);
                self.listed.insert(&serial, &entry, not_after);
            } else {
                moved |= before.is_some();
                self.listed.remove(&serial);
            }
            self.changes += 1;
            self.unpublished_since.get_or_insert(now);
        }
        self.settled(moved, accepted)
    }

    fn settled(&mut self, moved: bool, accepted: Accepted) -> Option<Accepted> {
        let since = self.unsettled_since.unwrap_or(accepted).min(accepted);
        if self.unsettled.is_empty() && !self.issuer_unsettled {
            self.unsettled_since = None;
        }
        moved.then_some(since)
    }
}

/// The issuers that are answered for: our own, and the external ones.
fn answered_for(view: &dyn View) -> StoreResult<Vec<IssuerId>> {
    let own = view.issuers()?.into_iter().map(|issuer| issuer.id);
    Ok(own.chain(view.external_issuers()?.into_iter().map(|issuer| issuer.id)).collect())
}

/// What the own causes of a certificate amount to, and when it expires.
type Ending = (Revocation, Timestamp);

fn read_listed(
    view: &dyn View,
    issuer: &IssuerId,
    serials: &BTreeSet<SerialNumber>,
) -> Result<Vec<(SerialNumber, Option<Ending>)>, ServiceError> {
    let mut found = Vec::with_capacity(serials.len());
    for serial in serials {
        let id = CertificateId { issuer: issuer.clone(), serial: serial.clone() };
        let listed = listed(view, &id, &view.causes(&id)?)?;
        found.push((id.serial, listed));
    }
    Ok(found)
}

fn listed(view: &dyn View, id: &CertificateId, causes: &[Cause]) -> StoreResult<Option<Ending>> {
    let Some(revocation) = revocation(causes) else { return Ok(None) };
    // A cause without a certificate would be damage; listing it for ever is the safe reading.
    let not_after = view.certificate(id)?.map_or(Timestamp::MAX, |record| record.validity.not_after);
    Ok(Some((revocation, not_after)))
}

/// DER of a CRL entry.
pub(crate) fn entry_of(serial: SerialNumber, revocation: &Revocation) -> Vec<u8> {
    let Revocation { at: revoked_at, reason, invalidity_date } = *revocation;
    CrlEntry { serial, revoked_at, reason, invalidity_date }.to_der()
}

/// Applies `changes` to one certificate, with an audit fact for each change of its revocation, and enqueues the CRL job of its issuer
/// and, for a CA's certificate, of the issuers that rest on it. Gives whether the revocation changed by its own causes: what it
/// has from its issuer may hide that today and not tomorrow. A permanent cause is never removed.
///
/// What [`check_change`] refuses is left out: the caller that wants to refuse aloud asks it first.
pub(crate) fn change_causes(
    tx: &mut dyn Tx,
    certificate: &CertificateId,
    changes: &[CauseChange],
    act: &Act,
) -> StoreResult<bool> {
    let before = revocation(&tx.causes(certificate)?);
    let after = apply(tx, certificate, changes)?;
    if before == after {
        return Ok(false);
    }
    tx.append_audit(&fact_of(certificate, before.as_ref(), after.as_ref(), act))?;
    enqueue_crls(tx, std::slice::from_ref(certificate), act.at)?;
    Ok(true)
}

/// The same for many certificates of one issuer, without audit facts of their own: the caller records them together. Gives those whose
/// revocation changed, with what it is now.
pub(crate) fn change_causes_of_many(
    tx: &mut dyn Tx,
    changes: &[(CertificateId, CauseChange)],
    at: Timestamp,
) -> StoreResult<Vec<(CertificateId, Option<Revocation>)>> {
    let mut moved = Vec::new();
    for (certificate, change) in changes {
        let before = revocation(&tx.causes(certificate)?);
        let after = apply(tx, certificate, std::slice::from_ref(change))?;
        if before != after {
            moved.push((certificate.clone(), after));
        }
    }
    let certificates: Vec<_> = moved.iter().map(|(certificate, _)| certificate.clone()).collect();
    enqueue_crls(tx, &certificates, at)?;
    Ok(moved)
}

/// Gives what the certificate's causes amount to afterwards.
fn apply(
    tx: &mut dyn Tx,
    certificate: &CertificateId,
    changes: &[CauseChange],
) -> StoreResult<Option<Revocation>> {
    for change in changes {
        let existing = tx.causes(certificate)?;
        if is_void(&existing, change) {
            continue;
        }
        match change {
            CauseChange::Put(cause) => {
                tx.put_cause(certificate, dated(&existing, cause).as_ref().unwrap_or(cause))?;
            }
            CauseChange::Release(key) => tx.release_cause(certificate, key)?,
        }
    }
    Ok(revocation(&tx.causes(certificate)?))
}

/// Whether nothing comes of a change: the same cause again keeps its first time, and a permanent cause stays.
pub(crate) fn is_void(existing: &[Cause], change: &CauseChange) -> bool {
    match change {
        CauseChange::Put(cause) => {
            let again = existing.iter().any(|old| old.key == cause.key && old.effect == cause.effect);
            (again && dated(existing, cause).is_none()) || check_change(existing, cause).is_err()
        }
        CauseChange::Release(key) => {
            !existing.iter().any(|old| old.key == *key && old.effect == Effect::Hold)
        }
    }
}

/// Enqueues the CRL jobs of the issuers that a change to the status of `certificates` concerns. An external issuer has none: its key is
/// not here.
fn enqueue_crls(tx: &mut dyn Tx, certificates: &[CertificateId], at: Timestamp) -> StoreResult<()> {
    let mut concerned = BTreeSet::new();
    for certificate in certificates {
        concerned.extend(inherited::issuers_resting_on(tx.as_view(), certificate)?);
        concerned.insert(certificate.issuer.clone());
    }
    for id in concerned {
        if let Some(issuer) = tx.issuer(&id)? {
            let job = JobKind::BuildCrl { issuer: id };
            tx.enqueue(&job, issuer.crl_policy.after_revocation(at))?;
        }
    }
    Ok(())
}

fn fact_of(
    certificate: &CertificateId,
    before: Option<&Revocation>,
    after: Option<&Revocation>,
    act: &Act,
) -> crate::domain::audit::AuditFact {
    let word = |revocation: Option<&Revocation>| match revocation {
        None => "good".to_owned(),
        Some(revocation) => format!("{} since {}", revocation.reason, revocation.at),
    };
    let action = match after.map(|revocation| revocation.reason) {
        None => "certificate.released",
        Some(RevocationReason::CertificateHold) => "certificate.held",
        Some(_) => "certificate.revoked",
    };
    act.fact(action, certificate, &[("before", word(before)), ("after", word(after))])
}
