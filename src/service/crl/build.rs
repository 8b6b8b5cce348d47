//! Which CRLs are made, and how.
//!
//! Without delta CRLs, everything that an issuer publishes is made whenever something changed or is due. With them a change makes a
//! delta alone; the full CRL comes by its schedule, or when an operator wants it. Partitions that would say the same again are left as
//! they are until the schedule asks for them; the delta is made with each of them. What was made under other settings ([`Terms`]) is
//! made anew whatever the schedule says. Where deltas are switched off again there is one with each full CRL. What is made together has one
//! number and is published at once.
//!
//! A CRL of a million entries is one pass: the snapshot's entries, as they lie there, are copied into one buffer that is signed where it
//! lies, sent from there and put into the store from there. Its number is in the store before it is published; the bytes follow. A
//! process that dies in between has used the number, and the next one builds a CRL before it gives any out: there is never an
//! older one to be had than was published before.

use std::{
    borrow::Cow,
    cmp::Ordering,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;

use super::{PublishedCrl, delta};
use crate::{
    domain::{
        access::{Authed, Operate},
        crl::{CrlPolicy, CrlRecord, CrlScope, Partition, next_number},
    },
    service::{
        Gateway, ServiceError,
        audit::Act,
        authority::Authority,
        crl::CrlView,
        metric::{self, label},
        status::{Inherited, Listed, ListedEntry, entry_of},
    },
    types::{IssuerId, Timestamp, Validity},
    wire::crl::{CrlHead, CrlSpec, EncodedEntries, EntryList},
};

/// A CRL with more bytes is large.
const LARGE: usize = 1024 * 1024;

/// Everything that an issuer's CRLs are made of now.
pub(super) struct Build<'a> {
    pub(super) authority: &'a Authority,
    pub(super) now: Timestamp,
    number: u64,
    /// The CRLs before.
    published: Vec<Arc<PublishedCrl>>,
    /// Whether a delta is made.
    has_delta: bool,
    /// thisUpdate of the oldest of the CRLs before that list everything.
    pub(super) latest: Option<Timestamp>,
    /// What the full CRL lists, as far as [`CrlPolicy::keeps`] it.
    listed: Listed,
    /// How many changes of the snapshot that has.
    changes: u64,
}

/// What the settings make a CRL say beside its entries.
#[derive(PartialEq, Eq)]
struct Terms {
    next_update: Timestamp,
    expired_since: Option<Timestamp>,
    /// fullName of issuingDistributionPoint.
    distribution_point: Vec<String>,
    /// fullName of freshestCRL.
    freshest: Vec<String>,
}

/// A CRL that was signed but not yet checked.
pub(super) struct Draft<'a> {
    pub(super) record: CrlRecord,
    /// What it lists.
    pub(super) entries: EntryList<'a>,
    /// Of a delta the list that it starts from.
    pub(super) base: Option<EncodedEntries<'a>>,
}

impl Draft<'_> {
    /// Whether the store gets it after it was published, so that nobody waits for that; before, only its number.
    pub(super) fn is_large(&self) -> bool {
        self.record.der.len() > LARGE
    }
}

impl Gateway {
    /// Builds and publishes what is due or changed. Gives the full CRL.
    pub(crate) fn build_crl(&self, issuer: &IssuerId) -> Result<Arc<PublishedCrl>, ServiceError> {
        self.build_crl_for(None, issuer)
    }

    /// Builds and publishes everything now; that `operator` wanted it is recorded with the CRL.
    fn build_crl_for(
        &self,
        operator: Option<&Act>,
        issuer: &IssuerId,
    ) -> Result<Arc<PublishedCrl>, ServiceError> {
        let turn = self.crls.turn(issuer);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let authorities = self.authorities();
        let authority = authorities.issuer(issuer).ok_or_else(|| match authorities.external(issuer) {
            Some(_) => ServiceError::Refused(format!(
                "the key of {issuer} is not here: certgate publishes the last CRL of it that was imported, and signs none"
            )),
            None => ServiceError::not_found("issuer", issuer),
        })?;
        self.refuse_while_behind()?;
        self.settle_status()?;
        let build = Build::begin(self, authority)?;
        let drafts = build.drafts(operator.is_some())?;
        drafts.iter().try_for_each(|draft| self.check_draft(&build, draft))?;
        let fact =
            operator.map(|act| act.fact("crl.published", issuer, &[("number", build.number.to_string())]));
        let (large, small): (Vec<_>, Vec<_>) = drafts.iter().partition(|draft| draft.is_large());
        self.ports.store.write(|tx| {
            small.iter().try_for_each(|draft| tx.put_crl(&draft.record))?;
            large.iter().try_for_each(|draft| tx.reserve_crl(&draft.record))?;
            self.enqueue_publications(tx, authority, build.now)?;
            fact.iter().try_for_each(|fact| tx.append_audit(fact).map(drop))
        })?;
        // First where a copy of the database cannot take it back, then to the world.
        if let Some(newest) = drafts.first() {
            self.checkpoint_crl(&newest.record);
        }
        let large: Vec<_> = large.into_iter().map(|draft| draft.record.clone()).collect();
        let published = drafts.into_iter().map(|draft| {
            let before = build.before(draft.record.scope).map(AsRef::as_ref);
            PublishedCrl::after(before, draft.record)
        });
        let published: Vec<_> = published.collect();
        self.crls.publish(issuer, &published);
        self.directories.wake();
        if let Some(since) = self.status.published(issuer, build.changes, build.now) {
            let waited = self.now().since(since);
            metrics::histogram!(metric::REVOCATION_PROPAGATION, label::TO => "crl").record(waited);
        }
        for crl in &published {
            let (scope, number, entries) = (crl.scope.label(), crl.number, crl.entries);
            tracing::info!(%issuer, scope, number, entries, "CRL published");
        }
        large.iter().try_for_each(|record| self.keep_crl(record))?;
        self.crl(issuer).ok_or_else(|| ServiceError::not_found("CRL of issuer", issuer))
    }

    /// Puts a CRL, which is published, into the store, in transactions that hold nobody up.
    fn keep_crl(&self, record: &CrlRecord) -> Result<(), ServiceError> {
        let mut kept = 0;
        while kept < record.der.len() {
            kept = self.ports.store.write(|tx| tx.keep_crl(record, kept))?;
        }
        Ok(())
    }

    /// On demand.
    pub fn publish_crl(
        &self,
        authed: &Authed<Operate>,
        issuer: &IssuerId,
    ) -> Result<Arc<PublishedCrl>, ServiceError> {
        self.build_crl_for(Some(&Act::of(authed, self.now())), issuer)
    }

    /// On demand, as operators see it.
    pub fn publish_crl_view(
        &self,
        authed: &Authed<Operate>,
        issuer: &IssuerId,
    ) -> Result<CrlView, ServiceError> {
        self.publish_crl(authed, issuer)?;
        self.crl_view(issuer)
    }

    /// Every certificate that the issuer has issued, for all are revoked or held with it, beside those that are `listed` by their own
    /// causes. One that a restore knows from a CRL only has no record to be visited.
    fn listed_with_issuer(
        &self,
        issuer: &IssuerId,
        inherited: &Inherited,
        listed: &Listed,
    ) -> Result<Listed, ServiceError> {
        let mut all = Listed::default();
        let mut own = listed.iter().map(|entry| both(inherited, entry)).peekable();
        self.ports.store.read(|view| {
            view.visit_certificates(issuer, &mut |serial, not_after, _| {
                let up_to_it = |(entry, _): &Both<'_>| entry.compare(&serial) != Ordering::Greater;
                let mut is_listed = false;
                while let Some((entry, der)) = own.next_if(up_to_it) {
                    is_listed = entry.compare(&serial) == Ordering::Equal;
                    all.push(&der, entry.not_after);
                }
                if let Some(revocation) = inherited.of(&serial).filter(|_| !is_listed) {
                    all.push(&entry_of(serial, &revocation), not_after);
                }
                Ok(())
            })
        })?;
        own.for_each(|(entry, der)| all.push(&der, entry.not_after));
        Ok(all)
    }
}

/// An entry, and the DER of the one that stands for it.
type Both<'a> = (ListedEntry<'a>, Cow<'a, [u8]>);

/// What an entry comes to beside what its certificate has from the issuer. One that cannot be read is listed as it is.
fn both<'a>(inherited: &Inherited, entry: ListedEntry<'a>) -> Both<'a> {
    let read = entry.serial().zip(entry.revocation());
    let stronger = read.map(|(serial, own)| {
        let revocation = inherited.beside(&serial, own);
        Cow::Owned(entry_of(serial, &revocation))
    });
    (entry, stronger.unwrap_or(Cow::Borrowed(entry.der)))
}

impl<'a> Build<'a> {
    fn begin(gateway: &Gateway, authority: &'a Authority) -> Result<Self, ServiceError> {
        let issuer = &authority.issuer.id;
        let (now, not_after) = (gateway.now(), authority.certificate.validity().not_after);
        if now >= not_after {
            return Err(ServiceError::Refused(format!(
                "issuer {issuer} expired at {not_after}: it signs no CRL"
            )));
        }
        let before = gateway.ports.store.read(|view| view.crl_mark(issuer))?;
        let number = next_number(before.map(|mark| mark.number));
        let published = gateway.crls_of(issuer);
        // One whose bytes did not reach the store before the process ended was published all the same.
        let latest = latest(&published).or(before.map(|mark| mark.this_update));
        // A copy of the list is a few pointers: nobody waits while the CRL is made of it.
        let picked = gateway.status.with_snapshot(issuer, |snapshot| {
            (snapshot.listed.clone(), snapshot.inherited.clone(), snapshot.changes)
        });
        let (listed, inherited, changes) = picked.ok_or_else(unsettled)?;
        let listed = match inherited {
            None => listed,
            Some(inherited) => gateway.listed_with_issuer(issuer, &inherited, &listed)?,
        };
        let has_delta = gateway.makes_delta(&authority.issuer);
        Ok(Self { authority, now, number, published, has_delta, latest, listed, changes })
    }

    const fn policy(&self) -> CrlPolicy {
        self.authority.issuer.crl_policy
    }

    /// The CRL before of this scope.
    pub(super) fn before(&self, scope: CrlScope) -> Option<&Arc<PublishedCrl>> {
        self.published.iter().find(|crl| crl.scope == scope)
    }

    /// The entries of the full CRL.
    pub(super) fn entries(&self) -> EntryList<'_> {
        self.listed.entries(|not_after| self.policy().keeps(not_after, self.now, self.latest))
    }

    fn drafts(&self, everything: bool) -> Result<Vec<Draft<'_>>, ServiceError> {
        let mut drafts = Vec::new();
        let full = self.wants_full(everything)?;
        if full {
            drafts.push(self.draft(CrlScope::Full, None, self.entries())?);
        }
        let mut partitions = Vec::new();
        for of in &self.authority.issuer.partitionings {
            for (partition, entries) in self.divided(*of) {
                partitions.extend(self.partition(partition, entries, everything)?);
            }
        }
        if self.has_delta {
            drafts.extend(self.delta(full || !partitions.is_empty())?);
        }
        drafts.append(&mut partitions);
        Ok(drafts)
    }

    /// What is in each of `of` partitions.
    fn divided(&self, of: u16) -> Vec<(Partition, EntryList<'_>)> {
        let mut all: Vec<_> = Partition::all(of).map(|partition| (partition, EntryList::default())).collect();
        let keeps = |not_after| self.policy().keeps(not_after, self.now, self.latest);
        for entry in self.listed.iter().filter(|entry| keeps(entry.not_after)) {
            let Some(magnitude) = entry.magnitude() else { continue };
            let partition = Partition::of_magnitude(magnitude, of);
            if let Some((_, entries)) = all.get_mut(usize::from(partition.index)) {
                entries.push(Cow::Borrowed(entry.der), 1);
            }
        }
        all
    }

    /// Where there are deltas, a full CRL comes by its schedule only; and where numbers were used elsewhere, for gear that knows them takes no
    /// older one.
    fn wants_full(&self, everything: bool) -> Result<bool, ServiceError> {
        let full = self.before(CrlScope::Full);
        let newest = self.published.iter().map(|crl| crl.number).max();
        let by_change = self.policy().delta.is_none()
            || self.before(CrlScope::Delta).is_none()
            || next_number(newest) != self.number;
        match full {
            Some(full) if !everything && !by_change => {
                Ok(self.policy().is_due(Some(full.window()), self.now) || !self.is_on_terms(full)?)
            }
            _ => Ok(true),
        }
    }

    /// None: it would say what the one before says, that one is fresh enough, and nothing else is made `with` it. The full CRL and the
    /// delta to it have every number that was used: whoever has both has the newest of the issuer.
    fn delta(&self, with: bool) -> Result<Option<Draft<'_>>, ServiceError> {
        let before = self.before(CrlScope::Delta);
        // The first one of all starts from the full CRL that is made with it, and is empty.
        let (base_number, base) = match self.before(CrlScope::Full) {
            Some(full) => (full.number, EncodedEntries::of(&full.der)?),
            None => return Ok(Some(self.draft(CrlScope::Delta, Some(self.number), EntryList::default())?)),
        };
        let said = match before.filter(|delta| delta.base_number == Some(base_number)) {
            Some(delta) => EncodedEntries::of(&delta.der)?,
            None => EncodedEntries::none(),
        };
        let entries = delta::changes(base.clone(), self.entries().iter(), said, self.now)?;
        let fresh = !self.policy().is_delta_due(before.map(|crl| crl.window()), self.now);
        if let Some(before) =
            before.filter(|before| fresh && !with && before.base_number == Some(base_number))
            && says(before, &entries)?
            && self.is_on_terms(before)?
        {
            return Ok(None);
        }
        let draft = self.draft(CrlScope::Delta, Some(base_number), entries)?;
        Ok(Some(Draft { base: Some(base), ..draft }))
    }

    /// None: it would say what the one before says, and that one is fresh enough.
    fn partition<'s>(
        &'s self,
        partition: Partition,
        entries: EntryList<'s>,
        everything: bool,
    ) -> Result<Option<Draft<'s>>, ServiceError> {
        let scope = CrlScope::Partition(partition);
        let before = self.before(scope);
        let due = everything || self.policy().is_due(before.map(|crl| crl.window()), self.now);
        if let Some(before) = before.filter(|_| !due)
            && says(before, &entries)?
            && self.is_on_terms(before)?
        {
            return Ok(None);
        }
        self.draft(scope, None, entries).map(Some)
    }

    fn draft<'s>(
        &'s self,
        scope: CrlScope,
        base_number: Option<u64>,
        entries: EntryList<'s>,
    ) -> Result<Draft<'s>, ServiceError> {
        let terms = self.terms(scope, self.now);
        let der = self.sign(base_number, &terms, &entries)?;
        let record = CrlRecord {
            issuer: self.authority.issuer.id.clone(),
            scope,
            base_number,
            number: self.number,
            this_update: self.now,
            next_update: terms.next_update,
            entries: entries.len(),
            der,
        };
        Ok(Draft { record, entries, base: None })
    }

    /// What a CRL of this scope says that is made `at`.
    fn terms(&self, scope: CrlScope, at: Timestamp) -> Terms {
        let Authority { issuer, certificate, .. } = self.authority;
        let Validity { not_before, not_after } = certificate.validity();
        let next_update = match scope {
            CrlScope::Delta => self.policy().next_delta_update(at),
            CrlScope::Full | CrlScope::Partition(_) => self.policy().next_update(at),
        };
        let urls = |wanted: bool, scope| if wanted { issuer.urls_of(scope) } else { Vec::new() };
        Terms {
            next_update: next_update.min(not_after),
            expired_since: self.policy().expired_since(at, not_before),
            distribution_point: urls(matches!(scope, CrlScope::Partition(_)), scope),
            freshest: urls(scope == CrlScope::Full && self.policy().delta.is_some(), CrlScope::Delta),
        }
    }

    /// Whether the CRL says what it would if it had been made under the settings of now.
    fn is_on_terms(&self, crl: &PublishedCrl) -> Result<bool, ServiceError> {
        let head = CrlHead::of(&crl.der)?;
        let said = Terms {
            next_update: crl.next_update,
            expired_since: head.expired_since(),
            distribution_point: head.distribution_point().map(<[String]>::to_vec).unwrap_or_default(),
            freshest: head.freshest().to_vec(),
        };
        Ok(said == self.terms(crl.scope, crl.this_update))
    }

    fn sign(
        &self,
        base_number: Option<u64>,
        terms: &Terms,
        entries: &EntryList<'_>,
    ) -> Result<Bytes, ServiceError> {
        let Authority { certificate, signer, .. } = self.authority;
        let key_identifier = certificate.public_key().key_identifier();
        let authority_key_identifier = certificate.subject_key_identifier().unwrap_or(&key_identifier);
        let algorithm = self.authority.signature_algorithm();
        let spec = CrlSpec {
            expired_since: terms.expired_since,
            base_number,
            distribution_point: &terms.distribution_point,
            freshest: &terms.freshest,
            ..CrlSpec::new(
                certificate.subject(),
                authority_key_identifier,
                self.number,
                self.now,
                terms.next_update,
            )
        };
        let unsigned = spec.unsigned(algorithm, entries.pieces())?;
        let signature = signer.sign(algorithm, unsigned.to_be_signed())?;
        Ok(unsigned.finish(&signature)?.into())
    }
}

/// thisUpdate of the oldest of the CRLs that list everything together.
fn latest(published: &[Arc<PublishedCrl>]) -> Option<Timestamp> {
    let full = published.iter().any(|crl| crl.scope == CrlScope::Full);
    let complete = published.iter().filter(|crl| full && crl.scope != CrlScope::Delta);
    complete.map(|crl| crl.this_update).min()
}

/// Whether the CRL lists exactly these.
pub(super) fn says(crl: &PublishedCrl, entries: &EntryList<'_>) -> Result<bool, ServiceError> {
    Ok(EncodedEntries::of(&crl.der)?.same(entries.iter()))
}

fn unsettled() -> ServiceError {
    ServiceError::Conflict("a status changed and could not be read yet: try again".to_owned())
}
