//! Restoring: rows into an empty store, and what must not be undone by that.
//!
//! A backup does not know what came after it. Revocations that were published meanwhile come back from the newest CRLs; CRL
//! numbers go on above everything that can have been published, also those of a CA that was made after the backup and whose name will be
//! given again (the next generation of a CA); one-time challenges are withdrawn, for they may have been used.
//! An entry for a certificate that the backup does not know becomes a cause without a certificate: OCSP and CRLs list it for ever.
//!
//! An entry that follows from what is known anyway (the device's state, or the CA's: its CRL names all certificates below it) becomes no
//! cause: else who releases the CA or finds the device would find each certificate on hold for no reason of its own. A CRL shows one
//! reason only, so a hold that began later than such a one, and after the backup, is in no CRL and is lost.
//!
//! Of an external issuer nobody here signs CRLs. Where OCSP answers for it, what was revoked here after the backup would be `good` again:
//! that loss has to be accepted, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ServiceError,
    audit::Act,
    backup::Head,
    status::{change_causes, inherited, lineage},
    ticket::{self, withdraw},
};
use crate::{
    domain::{
        checkpoint::CrlMark,
        crl::{CrlRecord, CrlScope, Partition},
        issuer::{Issuer, OcspAuthority},
        restore::{Restoration, cause_of, check_crl, reserved_number},
        status::{Cause, CauseChange, Revocation, revocation},
    },
    ports::{
        Store, Tx, View,
        store::{Row, StoreError, StoreResult},
    },
    types::{CertificateId, IssuerId, Timestamp, Validity},
    wire::{
        crl::{Crl, CrlEntry, CrlHead, DeltaCrl},
        x509::Certificate,
    },
};

/// A CRL that somebody kept.
#[derive(Clone, Debug)]
pub struct GivenCrl {
    /// How messages call it.
    pub name: String,
    /// The full one.
    pub crl: Crl,
    /// The delta to it, where there was one.
    pub delta: Option<DeltaCrl>,
}

impl GivenCrl {
    fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.crl.verify(issuer).is_ok() && self.delta.iter().all(|delta| delta.verify(issuer).is_ok())
    }

    /// What is newest of it.
    fn head(&self) -> &CrlHead {
        self.delta.as_ref().map_or(self.crl.head(), DeltaCrl::head)
    }

    /// What both say together.
    fn entries(&self) -> Result<Vec<CrlEntry>, ServiceError> {
        let Some(delta) = &self.delta else { return Ok(self.crl.entries().to_vec()) };
        let together =
            delta.applied_to(&self.crl).map_err(|error| ServiceError::invalid(&self.name, error))?;
        Ok(together.into_values().collect())
    }
}

/// The lists that somebody kept, each in DER with its name: full CRLs, each with the newest delta to it.
///
/// Errors: one that is neither, and a delta without the full CRL that it changes.
pub fn paired(lists: Vec<(String, Vec<u8>)>) -> Result<Vec<GivenCrl>, ServiceError> {
    let (mut crls, mut deltas) = (Vec::<GivenCrl>::new(), Vec::new());
    for (name, der) in lists {
        match (Crl::from_der(&der), DeltaCrl::from_der(&der)) {
            (Ok(crl), _) => crls.push(GivenCrl { name, crl, delta: None }),
            (_, Ok(delta)) => deltas.push((name, delta)),
            (Err(error), Err(_)) => return Err(ServiceError::invalid(name, error)),
        }
    }
    for (name, delta) in deltas {
        let full = crls.iter_mut().filter(|given| delta.applied_to(&given.crl).is_ok());
        let full = full.max_by_key(|given| given.crl.number()).ok_or_else(|| {
            ServiceError::invalid(name, "it is a delta CRL: give the full CRL that it changes, too")
        })?;
        if full.delta.as_ref().is_none_or(|known| known.head().number() < delta.head().number()) {
            full.delta = Some(delta);
        }
    }
    Ok(crls)
}

/// What a restore did for an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredIssuer {
    /// Its name.
    pub issuer: IssuerId,
    /// Number of the CRL that was given; none: what was revoked after the backup is lost.
    pub crl_number: Option<u64>,
    /// thisUpdate of that CRL: what was revoked later is lost too.
    pub crl_this_update: Option<Timestamp>,
    /// Its nextUpdate is over: a gateway that was still there then published a newer one.
    pub crl_has_run_out: bool,
    /// Certificates that the CRL lists, and that would not be revoked or held in this way without it.
    pub revocations: u64,
    /// How many of these the backup does not even know.
    pub unknown: u64,
    /// The next CRL has a number above this one.
    pub numbers_above: u64,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The living issuers; one that has expired signs no CRL any more.
    pub issuers: Vec<RestoredIssuer>,
    /// One-time challenges that were open in the backup and are withdrawn.
    pub tickets: u64,
    /// API tokens that work again, whatever became of them after the backup.
    pub tokens: u64,
}

/// Fills the empty `store` with the rows that `next` gives, in one transaction. Gives how many there were.
pub fn import(
    store: &dyn Store,
    schema: u32,
    next: &mut dyn FnMut() -> StoreResult<Option<Row>>,
) -> StoreResult<u64> {
    let mut begun = false;
    store.write(|tx| {
        // The rows come once; nobody else writes to a store that is being filled, so neither does the closure run again.
        if std::mem::replace(&mut begun, true) {
            return Err(StoreError::Unavailable("the rows cannot be read a second time".to_owned()));
        }
        tx.import(schema, next)
    })
}

/// An older state of the store, that things are to go on from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// When it was as it is.
    pub of: Timestamp,
    /// The certgate that left it.
    pub version: &'a str,
    /// CRLs that are known to have been published since, beside those that are given.
    pub published: &'a BTreeMap<IssuerId, CrlMark>,
}

/// Makes a store that was filled from a backup fit to be served: see the module's words.
///
/// Errors: [`ServiceError::Invalid`] for a CRL that no issuer signed or that is older than the backup;
/// [`ServiceError::Refused`] where an issuer's newest CRL is missing, or an external one is answered for, of which there is none, and `accept_lost` is not said.
pub fn settle(
    store: &dyn Store,
    head: &Head,
    act: &Act,
    crls: &[GivenCrl],
    accept_lost: bool,
) -> Result<Settled, ServiceError> {
    let origin = Origin { of: head.taken_at, version: &head.version, published: &BTreeMap::new() };
    settle_from(store, &origin, act, crls, accept_lost)
}

/// The same for a store that came from anywhere.
pub fn settle_from(
    store: &dyn Store,
    origin: &Origin<'_>,
    act: &Act,
    crls: &[GivenCrl],
    accept_lost: bool,
) -> Result<Settled, ServiceError> {
    let plans = store.read(|view| plan(view, crls, origin.published, act.at))?;
    let mut missing: Vec<_> = plans.iter().filter_map(Plan::lacks).collect();
    missing.extend(store.read(|view| without_crl(view, act.at))?);
    if !accept_lost && !missing.is_empty() {
        return Err(ServiceError::Refused(format!(
            "the newest CRL is missing of {}: what was revoked after the backup would be good again",
            missing.join(" and of ")
        )));
    }
    let tickets = ticket::open_tickets(store, act.at)?;
    let restoration =
        Restoration { backup_of: origin.of, restored_at: act.at, revocations_lost: !missing.is_empty() };
    store.write(|tx| {
        let issuers = plans.iter().map(|plan| plan.carry_out(tx, act)).collect::<Result<Vec<_>, _>>()?;
        reserve_of_unknown(tx, origin.published, act.at)?;
        tickets.iter().try_for_each(|id| withdraw(tx, id, act).map(drop))?;
        let settled = Settled { issuers, tickets: tickets.len() as u64, tokens: tx.tokens()?.len() as u64 };
        tx.put_restoration(&restoration)?;
        tx.append_audit(&act.fact("gateway.restored", "gateway", &detail(&restoration, origin, &settled)))?;
        Ok(settled)
    })
}

fn detail(restoration: &Restoration, origin: &Origin<'_>, settled: &Settled) -> Vec<(&'static str, String)> {
    let crls = settled.issuers.iter().map(|it| match it.crl_number {
        Some(number) => format!("{} {number}", it.issuer),
        None => format!("{} none", it.issuer),
    });
    vec![
        ("backup", restoration.backup_of.to_string()),
        ("version", origin.version.to_owned()),
        ("crls", crls.collect::<Vec<_>>().join(", ")),
        ("revocations", settled.issuers.iter().map(|it| it.revocations).sum::<u64>().to_string()),
        ("tickets", settled.tickets.to_string()),
        ("revocations-lost", restoration.revocations_lost.to_string()),
    ]
}

/// Reserves the CRL numbers of issuers that published and are not known: whoever gets the name goes on above them. Directories, and gear
/// that remembers what it fetched from `/crl/NAME.crl`, take no number that is lower than the last.
fn reserve_of_unknown(
    tx: &mut dyn Tx,
    published: &BTreeMap<IssuerId, CrlMark>,
    now: Timestamp,
) -> Result<(), ServiceError> {
    for (id, mark) in published {
        let known = tx.crl_mark(id)?.max(Some(*mark)).unwrap_or(*mark);
        if tx.issuer(id)?.is_none() && tx.external_issuer(id)?.is_none() {
            let number = reserved_number(known.number, known.this_update, now);
            tx.put_crl(&CrlRecord::reserved(id.clone(), number, known.this_update))?;
        }
    }
    Ok(())
}

/// What to do for one issuer.
struct Plan<'a> {
    issuer: Issuer,
    /// The newest CRL that was given, and its number.
    crl: Option<(&'a GivenCrl, u64)>,
    /// The number of the last one that is known to have been published; none where that is not known.
    published: Option<u64>,
    reserved: u64,
    base: Timestamp,
    /// What the standing of the issuer rests on.
    lineage: Vec<CertificateId>,
}

/// A plan for each living issuer, that of a CA before those of the CAs below it.
fn plan<'a>(
    view: &dyn View,
    crls: &'a [GivenCrl],
    published: &BTreeMap<IssuerId, CrlMark>,
    now: Timestamp,
) -> Result<Vec<Plan<'a>>, ServiceError> {
    let mut certificates = BTreeMap::new();
    for issuer in view.issuers()? {
        let certificate = Certificate::from_der(&issuer.certificate)?;
        certificates.insert(issuer.id.clone(), (issuer, certificate));
    }
    let mut newest: BTreeMap<&IssuerId, (&GivenCrl, u64)> = BTreeMap::new();
    for given in crls {
        let wrong = |problem: String| ServiceError::invalid(&given.name, problem);
        let signed_by = certificates.iter().find(|(_, (_, certificate))| given.is_signed_by(certificate));
        let (id, _) = signed_by
            .ok_or_else(|| wrong("no issuer in the backup signed this CRL, or it was changed".to_owned()))?;
        let known = view.latest_crl(id, CrlScope::Full)?.filter(CrlRecord::is_published);
        let number = check_crl(&given.crl, known.as_ref())
            .map_err(|refused| wrong(format!("this CRL of {id} {refused}")))?;
        let number = given.head().number().map_or(number, |newest| newest.max(number));
        let best = newest.entry(id).or_insert((given, number));
        if best.1 < number {
            *best = (given, number);
        }
    }
    let newest: BTreeMap<IssuerId, _> = newest.into_iter().map(|(id, crl)| (id.clone(), crl)).collect();
    let living = certificates.into_values().filter(|(_, it)| !is_over(&it.validity(), now));
    let plans = living.map(|(issuer, _)| {
        let (crl, published) = (newest.get(&issuer.id).copied(), published.get(&issuer.id));
        Plan::of(view, crl, published, issuer, now)
    });
    let mut plans = plans.collect::<Result<Vec<_>, _>>()?;
    plans.sort_by_key(|plan| plan.lineage.len());
    Ok(plans)
}

/// The living external issuers that OCSP answers for, each with what is to be said of it.
fn without_crl(view: &dyn View, now: Timestamp) -> Result<Vec<String>, ServiceError> {
    let answered = view.external_issuers()?.into_iter().filter(|it| it.ocsp != OcspAuthority::None);
    let living = answered.map(|issuer| {
        let over = is_over(&Certificate::from_der(&issuer.certificate)?.validity(), now);
        let told = format!("{} (an external issuer: no CRL says what was revoked here)", issuer.id);
        Ok((!over).then_some(told))
    });
    living.filter_map(Result::transpose).collect()
}

fn is_over(validity: &Validity, now: Timestamp) -> bool {
    validity.not_after < now
}

impl<'a> Plan<'a> {
    fn of(
        view: &dyn View,
        crl: Option<(&'a GivenCrl, u64)>,
        published: Option<&CrlMark>,
        issuer: Issuer,
        now: Timestamp,
    ) -> Result<Self, ServiceError> {
        let last = published.map(|mark| mark.number);
        let known = view.crl_mark(&issuer.id)?.max(published.copied());
        let known = known.map(|mark| (mark.number, mark.this_update));
        let given = crl.map(|(crl, number)| (number, crl.head().this_update()));
        // An issuer without any CRL has been making them since it exists. What an earlier restore reserved may be the highest number.
        let (number, base) = given.max(known).unwrap_or((0, issuer.created_at));
        let lineage = lineage(view, &issuer.id)?;
        let reserved = reserved_number(number, base, now);
        Ok(Self { issuer, crl, published: last, reserved, base, lineage })
    }

    /// What is to be said where what was revoked last would be lost: there is no CRL, or a newer one was published.
    fn lacks(&self) -> Option<String> {
        let Some((_, number)) = self.crl else { return Some(self.named()) };
        let newer = self.published.filter(|published| *published > number)?;
        Some(format!("{}, of which number {number} was given and {newer} was published", self.named()))
    }

    /// The issuer, and where its CRL was published.
    fn named(&self) -> String {
        let urls = self.issuer.crl_urls.iter().find(|url| url.contains(self.issuer.id.as_str()));
        urls.map_or_else(|| self.issuer.id.to_string(), |url| format!("{} ({url})", self.issuer.id))
    }

    fn carry_out(&self, tx: &mut dyn Tx, act: &Act) -> Result<RestoredIssuer, ServiceError> {
        let mut done = RestoredIssuer {
            issuer: self.issuer.id.clone(),
            crl_number: self.crl.map(|(_, number)| number),
            crl_this_update: self.crl.map(|(crl, _)| crl.head().this_update()),
            crl_has_run_out: self
                .crl
                .is_some_and(|(crl, _)| crl.head().next_update().is_some_and(|next| next < act.at)),
            revocations: 0,
            unknown: 0,
            numbers_above: self.reserved,
        };
        if let Some((crl, number)) = self.crl {
            let from_above = inherited(tx.as_view(), &self.lineage)?;
            for entry in &crl.entries()? {
                let id = CertificateId { issuer: self.issuer.id.clone(), serial: entry.serial.clone() };
                let known = tx.not_after(&id)?.is_some();
                if known && self.standing(tx.as_view(), &id, from_above.as_ref())? == Some(told(entry)) {
                    continue;
                }
                let cause = cause_of(entry, act.actor.to_string(), number);
                if change_causes(tx, &id, &[CauseChange::Put(cause)], act)? {
                    done.revocations += 1;
                    done.unknown += u64::from(!known);
                }
            }
        }
        // What the backup had of the others is older than what was published.
        let partitions = self.issuer.partitionings.iter().flat_map(|of| Partition::all(*of));
        for scope in partitions.map(CrlScope::Partition).chain([CrlScope::Delta]) {
            tx.remove_crl(&self.issuer.id, scope)?;
        }
        tx.put_crl(&CrlRecord::reserved(self.issuer.id.clone(), self.reserved, self.base))?;
        Ok(done)
    }

    /// How the certificate stands without the CRL: by its own causes and, but for a root's own certificate, the one `from_above`.
    fn standing(
        &self,
        view: &dyn View,
        id: &CertificateId,
        from_above: Option<&Cause>,
    ) -> StoreResult<Option<Revocation>> {
        let mut causes = view.causes(id)?;
        causes.extend(from_above.filter(|_| self.lineage.first() != Some(id)).cloned());
        Ok(revocation(&causes))
    }
}

/// What an entry says.
fn told(entry: &CrlEntry) -> Revocation {
    Revocation { at: entry.revoked_at, reason: entry.reason, invalidity_date: entry.invalidity_date }
}
