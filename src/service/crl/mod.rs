//! CRLs: build from the snapshot, parse back, verify, compare, record, publish.
//!
//! | file | |
//! |---|---|
//! | `settings` | the configuration, taken over by the issuers |
//! | `build` | which CRLs are made, and how |
//! | `delta` | what changed since a full one |
//! | `check` | what must hold before one is published |
//! | `watch` | which are due, and which are late |
//! | `view` | what operators see, and how large a CRL will be |
//!
//! Nothing is published that was not read back and compared with the CRL before: the number is higher, the signature verifies, and no
//! entry has vanished but a released hold or a certificate that expired long enough ago (RFC 5280 §3.3, §5).
//!
//! The CRL of a CA that is itself revoked or on hold lists every certificate that it issued and that is not expired, and is signed as
//! before: `service::status` says why, and what it costs.

mod build;
mod check;
mod delta;
mod settings;
mod view;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use der::pem::LineEnding;
pub use settings::CrlSettings;
pub(crate) use settings::record;
pub use view::{CrlPartView, CrlView};
pub(super) use watch::lateness;

use super::{Gateway, Ports, ServiceError};
use crate::{
    domain::{
        checkpoint::CrlMark,
        crl::{CrlRecord, CrlScope, CrlWindow, Partition},
        issuer::Issuer,
    },
    types::{Fingerprint, IssuerId, Timestamp},
};

/// A published CRL.
#[derive(Debug)]
pub struct PublishedCrl {
    /// What it is about.
    pub scope: CrlScope,
    /// Of a delta the number of the full CRL that it changes.
    pub base_number: Option<u64>,
    /// The CRL.
    pub der: Bytes,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// The latest thisUpdate of those of its scope before it, since this process started.
    latest_before: Option<Timestamp>,
    /// How many certificates it lists.
    pub entries: u64,
    /// Stands for the bytes, in hex, without another pass over them: the signature is different wherever anything is.
    pub etag: String,
    /// SHA-256 of the DER in hex, made when somebody asks for it.
    sha256: OnceLock<String>,
    /// As PEM, made when somebody asks for it.
    pem: OnceLock<Bytes>,
}

/// Bytes at the end of a CRL that have the whole signature in them.
const SIGNATURE_END: usize = 1024;

/// The newest CRLs of each issuer, swapped atomically.
#[derive(Debug)]
pub struct PublishedCrls {
    newest: ArcSwap<Newest>,
    /// Issuers of whose deltas a restore left nothing but the number.
    reserved_deltas: ArcSwap<BTreeSet<IssuerId>>,
    /// One build at a time per issuer.
    building: Mutex<BTreeMap<IssuerId, Arc<Mutex<()>>>>,
    /// Which are known to be late.
    late: Mutex<watch::KnownLate>,
    /// How large they will be.
    forecasts: Mutex<view::Forecasts>,
}

type Newest = BTreeMap<(IssuerId, CrlScope), Arc<PublishedCrl>>;

impl PublishedCrl {
    pub(super) fn of(record: CrlRecord) -> Arc<Self> {
        Self::after(None, record)
    }

    /// The one after `before`.
    fn after(before: Option<&Self>, record: CrlRecord) -> Arc<Self> {
        Arc::new(Self {
            latest_before: before
                .map(|it| it.latest_before.map_or(it.this_update, |latest| latest.max(it.this_update))),
            etag: entity_tag(&record.der),
            scope: record.scope,
            base_number: record.base_number,
            der: record.der,
            number: record.number,
            this_update: record.this_update,
            next_update: record.next_update,
            entries: record.entries,
            sha256: OnceLock::new(),
            pem: OnceLock::new(),
        })
    }

    /// Hex SHA-256 of the DER.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| Fingerprint::of(&self.der).to_string())
    }

    /// The CRL as PEM text.
    pub fn to_pem(&self) -> Result<Bytes, ServiceError> {
        if let Some(made) = self.pem.get() {
            return Ok(made.clone());
        }
        let text = der::pem::encode_string("X509 CRL", LineEnding::LF, &self.der)
            .map_err(|error| ServiceError::Internal(format!("a CRL does not encode as PEM: {error}")))?;
        Ok(self.pem.get_or_init(|| text.into()).clone())
    }

    /// When it became what it is, if that tells it from those before: not where two were made within a second, or the clock was set back.
    pub fn last_modified(&self) -> Option<Timestamp> {
        Some(self.this_update).filter(|at| self.latest_before.is_none_or(|before| before < *at))
    }

    /// From when until when it speaks.
    pub const fn window(&self) -> CrlWindow {
        CrlWindow { this_update: self.this_update, next_update: self.next_update }
    }
}

fn entity_tag(der: &[u8]) -> String {
    let end = der.last_chunk::<SIGNATURE_END>().map_or(der, |end| &end[..]);
    Fingerprint::of(end).to_string()
}

impl PublishedCrls {
    pub(crate) fn load(ports: &Ports) -> Result<Self, ServiceError> {
        let (newest, reserved_deltas) = ports.store.read(|view| {
            let (mut newest, mut reserved_deltas) = (BTreeMap::new(), BTreeSet::new());
            let mut take = |id: &IssuerId, scope| {
                let Some(record) = view.latest_crl(id, scope)? else { return Ok(()) };
                if record.is_published() {
                    newest.insert((id.clone(), scope), PublishedCrl::of(record));
                } else if scope == CrlScope::Delta {
                    reserved_deltas.insert(id.clone());
                }
                Ok::<_, ServiceError>(())
            };
            for issuer in view.issuers()? {
                let partitions = issuer.partitionings.iter().flat_map(|of| Partition::all(*of));
                let partitions = partitions.map(CrlScope::Partition);
                let mut scopes = [CrlScope::Full, CrlScope::Delta].into_iter().chain(partitions);
                scopes.try_for_each(|scope| take(&issuer.id, scope))?;
            }
            for issuer in view.external_issuers()? {
                take(&issuer.id, CrlScope::Full)?;
            }
            Ok::<_, ServiceError>((newest, reserved_deltas))
        })?;
        Ok(Self {
            newest: ArcSwap::from_pointee(newest),
            reserved_deltas: ArcSwap::from_pointee(reserved_deltas),
            building: Mutex::default(),
            late: Mutex::default(),
            forecasts: Mutex::default(),
        })
    }

    /// Reads everything again, after the store was changed as a whole.
    pub(super) fn reload(&self, ports: &Ports) -> Result<(), ServiceError> {
        let loaded = Self::load(ports)?;
        self.newest.store(loaded.newest.load_full());
        self.reserved_deltas.store(loaded.reserved_deltas.load_full());
        Ok(())
    }

    /// Keeps those of the issuers whose newest is the very one that was `published`.
    ///
    /// A CRL from a database that is older, or may be, is signed and not over, and its nextUpdate bounds the harm. It is not served all the
    /// same: it calls good what a later one revoked, gear that has that one would go back to it, and whoever can put the database back would
    /// have a revoked certificate accepted for a week. Gear without a new CRL keeps the one that it has. A higher number
    /// proves nothing: what went on from an older state has numbers of its own. Of an external issuer nothing tells which was the newest.
    pub(super) fn withhold_all_but(&self, published: &BTreeMap<IssuerId, CrlMark>) {
        let mut marks = BTreeMap::new();
        for ((issuer, _), crl) in self.newest.load().iter() {
            let mark = CrlMark { number: crl.number, this_update: crl.this_update };
            let newest = marks.entry(issuer.clone()).or_insert(mark);
            *newest = mark.max(*newest);
        }
        self.newest.rcu(|newest| {
            let mut newest = BTreeMap::clone(newest);
            newest.retain(|(issuer, _), _| published.get(issuer) == marks.get(issuer));
            newest
        });
    }

    /// Puts new ones in the place of those of their scopes.
    pub(super) fn publish(&self, issuer: &IssuerId, crls: &[Arc<PublishedCrl>]) {
        self.newest.rcu(|newest| {
            let mut newest = BTreeMap::clone(newest);
            newest.extend(crls.iter().map(|crl| ((issuer.clone(), crl.scope), Arc::clone(crl))));
            newest
        });
    }

    /// Puts the CRL of an external issuer in the place of an older one: of two that are imported at once the older may come last.
    pub(super) fn publish_imported(&self, record: &CrlRecord) {
        self.newest.rcu(|newest| {
            let mut newest = BTreeMap::clone(newest);
            let place = (record.issuer.clone(), record.scope);
            let known = newest.get(&place).map(AsRef::as_ref);
            if known.is_none_or(|known| known.number < record.number) {
                let crl = PublishedCrl::after(known, record.clone());
                newest.insert(place, crl);
            }
            newest
        });
    }

    fn get(&self, issuer: &IssuerId, scope: CrlScope) -> Option<Arc<PublishedCrl>> {
        self.newest.load().get(&(issuer.clone(), scope)).cloned()
    }

    /// Whether the issuer has a delta, or had one until a restore.
    fn has_had_delta(&self, issuer: &IssuerId) -> bool {
        self.get(issuer, CrlScope::Delta).is_some() || self.reserved_deltas.load().contains(issuer)
    }

    /// All of an issuer, the full one first.
    fn of(&self, issuer: &IssuerId) -> Vec<Arc<PublishedCrl>> {
        let newest = self.newest.load();
        let own = newest.range((issuer.clone(), CrlScope::Full)..).take_while(|((id, _), _)| id == issuer);
        own.map(|(_, crl)| Arc::clone(crl)).collect()
    }

    /// [`PublishedCrls::of`], with that of a build under way whose record is there already.
    pub(super) fn settled(&self, issuer: &IssuerId) -> Vec<Arc<PublishedCrl>> {
        let turn = self.turn(issuer);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.of(issuer)
    }

    fn turn(&self, issuer: &IssuerId) -> Arc<Mutex<()>> {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        building.entry(issuer.clone()).or_default().clone()
    }
}

impl Gateway {
    /// The newest published full CRL.
    pub fn crl(&self, issuer: &IssuerId) -> Option<Arc<PublishedCrl>> {
        self.crls.get(issuer, CrlScope::Full)
    }

    /// The newest published CRL of this scope.
    pub fn crl_of(&self, issuer: &IssuerId, scope: CrlScope) -> Option<Arc<PublishedCrl>> {
        self.crls.get(issuer, scope)
    }

    /// Whether the issuer is to have a CRL of this scope: where none is published, one is about to be made. The issuer is new, or its last CRL
    /// did not reach the store before a crash.
    pub fn has_crl(&self, issuer: &IssuerId, scope: CrlScope) -> bool {
        self.authorities().issuer(issuer).is_some_and(|authority| {
            let issuer = &authority.issuer;
            let is_made = match scope {
                CrlScope::Full => true,
                CrlScope::Delta => self.makes_delta(issuer),
                CrlScope::Partition(Partition { of, index }) => {
                    issuer.partitionings.contains(&of) && index < of
                }
            };
            is_made && authority.certificate.validity().contains(self.now())
        })
    }

    /// Whether deltas of the issuer are made. Once there was one it goes on with each full CRL though the issuer has none any more:
    /// certificates name it, and a client that wants what they name (Windows) takes its absence for an unknown status.
    fn makes_delta(&self, issuer: &Issuer) -> bool {
        issuer.crl_policy.delta.is_some() || self.crls.has_had_delta(&issuer.id)
    }

    /// The newest published CRLs of all scopes, the full one first.
    pub fn crls_of(&self, issuer: &IssuerId) -> Vec<Arc<PublishedCrl>> {
        self.crls.of(issuer)
    }
}
