//! Which CRLs are made, and how.
//!
//! Without delta CRLs, everything that an issuer publishes is made whenever something changed or is due. With them a change makes a
//! delta alone; the full CRL comes by its schedule, or when an operator wants it. Partitions that would say the same again are left as
//! they are until the schedule asks for them. What is made together has one number and is published at once.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;

use super::{PublishedCrl, delta};
use crate::{
    domain::{
        access::{Authed, Operate},
        crl::{CrlPolicy, CrlRecord, CrlScope, Partition, next_number},
        status::Revocation,
    },
    service::{
        Gateway, ServiceError,
        audit::Act,
        authority::Authority,
        crl::CrlView,
        metric::{self, label},
        status::{Inherited, Listed, entry_of},
    },
    types::{IssuerId, SerialNumber, Timestamp},
    wire::crl::{CrlSpec, EncodedEntries, EncodedEntry},
};

/// What goes into a CRL.
enum Entries {
    /// Certificates with causes of their own: those that [`CrlPolicy::keeps`] of what was listed.
    Own(Listed),
    /// Everything that was issued, in ascending order of the serials.
    All(Vec<Arc<[u8]>>),
}

/// Everything that an issuer's CRLs are made of now.
pub(super) struct Build<'a> {
    pub(super) authority: &'a Authority,
    pub(super) now: Timestamp,
    number: u64,
    /// The CRLs before.
    published: Vec<Arc<PublishedCrl>>,
    /// thisUpdate of the oldest of the CRLs before that list everything.
    pub(super) latest: Option<Timestamp>,
    /// The entries of the full CRL.
    entries: Entries,
    /// How many changes of the snapshot they have.
    changes: u64,
}

/// A CRL that was signed but not yet checked.
pub(super) struct Draft<'a> {
    pub(super) record: CrlRecord,
    /// What it lists.
    pub(super) entries: Vec<Cow<'a, [u8]>>,
    /// Of a delta the list that it starts from.
    pub(super) base: Option<EncodedEntries<'a>>,
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
        let gone = build.gone();
        self.ports.store.write(|tx| {
            drafts.iter().try_for_each(|draft| tx.put_crl(&draft.record))?;
            gone.iter().try_for_each(|scope| tx.remove_crl(issuer, *scope))?;
            self.enqueue_publications(tx, authority, build.now)?;
            fact.iter().try_for_each(|fact| tx.append_audit(fact).map(drop))
        })?;
        // First where a copy of the database cannot take it back, then to the world.
        if let Some(newest) = drafts.first() {
            self.checkpoint_crl(&newest.record);
        }
        let published: Vec<_> = drafts.into_iter().map(|draft| PublishedCrl::of(draft.record)).collect();
        self.crls.publish(issuer, &published, &gone);
        self.directories.wake();
        if let Some(since) = self.status.published(issuer, build.changes, build.now) {
            let waited = self.now().since(since);
            metrics::histogram!(metric::REVOCATION_PROPAGATION, label::TO => "crl").record(waited);
        }
        for crl in &published {
            let (scope, number, entries) = (crl.scope.label(), crl.number, crl.entries);
            tracing::info!(%issuer, scope, number, entries, "CRL published");
        }
        self.crl(issuer).ok_or_else(|| ServiceError::not_found("CRL of issuer", issuer))
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

    /// The entries of every certificate that the issuer has issued, for they are revoked or held with it.
    fn entries_of_all(
        &self,
        authority: &Authority,
        inherited: &Inherited,
        listed: &Listed,
        (now, latest): (Timestamp, Option<Timestamp>),
    ) -> Result<Vec<Arc<[u8]>>, ServiceError> {
        let (issuer, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        // One that a restore knows from a CRL only has no record to be visited.
        let mut revoked: BTreeMap<SerialNumber, Revocation> = BTreeMap::new();
        for entry in listed.iter().filter(|entry| policy.keeps(entry.not_after, now, latest)) {
            let own = EncodedEntry::of(entry.der)?.revoked()?;
            let revocation =
                Revocation { at: own.revoked_at, reason: own.reason, invalidity_date: own.invalidity_date };
            let revocation = inherited.beside(&own.serial, revocation);
            revoked.insert(own.serial, revocation);
        }
        self.ports.store.read(|view| {
            view.visit_certificates(issuer, &mut |record| {
                let serial = record.id.serial;
                if let Some(revocation) = inherited.of(&serial)
                    && policy.keeps(record.validity.not_after, now, latest)
                {
                    revoked.entry(serial).or_insert(revocation);
                }
                Ok(())
            })
        })?;
        Ok(revoked.into_iter().map(|(serial, revocation)| entry_of(serial, &revocation)).collect())
    }
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
        let latest = latest(&published);
        // A copy of the list is a few pointers: nobody waits while the CRL is made of it.
        let picked = gateway.status.with_snapshot(issuer, |snapshot| {
            (snapshot.listed.clone(), snapshot.inherited.clone(), snapshot.changes)
        });
        let (listed, inherited, changes) = picked.ok_or_else(unsettled)?;
        let entries = match inherited {
            None => Entries::Own(listed),
            Some(inherited) => {
                Entries::All(gateway.entries_of_all(authority, &inherited, &listed, (now, latest))?)
            }
        };
        Ok(Self { authority, now, number, published, latest, entries, changes })
    }

    const fn policy(&self) -> CrlPolicy {
        self.authority.issuer.crl_policy
    }

    /// The CRL before of this scope.
    pub(super) fn before(&self, scope: CrlScope) -> Option<&Arc<PublishedCrl>> {
        self.published.iter().find(|crl| crl.scope == scope)
    }

    /// The scopes that are published and will not be any more.
    fn gone(&self) -> Vec<CrlScope> {
        let over = self.policy().delta.is_none() && self.before(CrlScope::Delta).is_some();
        over.then_some(CrlScope::Delta).into_iter().collect()
    }

    /// The entries of the full CRL.
    pub(super) fn encoded(&self) -> Result<Vec<EncodedEntry<'_>>, ServiceError> {
        let keeps = |not_after| self.policy().keeps(not_after, self.now, self.latest);
        Ok(match &self.entries {
            Entries::Own(listed) => {
                let kept = listed.iter().filter(|entry| keeps(entry.not_after));
                kept.map(|entry| EncodedEntry::of(entry.der)).collect::<Result<_, _>>()?
            }
            Entries::All(entries) => {
                entries.iter().map(|der| EncodedEntry::of(der)).collect::<Result<_, _>>()?
            }
        })
    }

    fn drafts(&self, everything: bool) -> Result<Vec<Draft<'_>>, ServiceError> {
        let encoded = self.encoded()?;
        let mut drafts = Vec::new();
        let full = self.wants_full(everything);
        if full {
            let entries = encoded.iter().map(|entry| Cow::Borrowed(entry.der)).collect();
            drafts.push(self.draft(CrlScope::Full, None, entries)?);
        }
        if self.policy().delta.is_some() {
            drafts.extend(self.delta(&encoded, full)?);
        }
        for of in &self.authority.issuer.partitionings {
            for (partition, entries) in divided(&encoded, *of) {
                drafts.extend(self.partition(partition, entries, everything)?);
            }
        }
        Ok(drafts)
    }

    /// Where there are deltas, a full CRL comes by its schedule only.
    fn wants_full(&self, everything: bool) -> bool {
        let full = self.before(CrlScope::Full).map(|crl| crl.window());
        let by_change = self.policy().delta.is_none() || self.before(CrlScope::Delta).is_none();
        everything || by_change || self.policy().is_due(full, self.now)
    }

    /// None: it would say what the one before says, and that one is fresh enough.
    fn delta<'s>(
        &'s self,
        encoded: &[EncodedEntry<'s>],
        with_full: bool,
    ) -> Result<Option<Draft<'s>>, ServiceError> {
        let before = self.before(CrlScope::Delta);
        // The first one of all starts from the full CRL that is made with it, and is empty.
        let (base_number, base) = match self.before(CrlScope::Full) {
            Some(full) => (full.number, EncodedEntries::of(&full.der)?),
            None => return Ok(Some(self.draft(CrlScope::Delta, Some(self.number), Vec::new())?)),
        };
        let said = match before.filter(|delta| delta.base_number == Some(base_number)) {
            Some(delta) => EncodedEntries::of(&delta.der)?,
            None => EncodedEntries::none(),
        };
        let entries = delta::changes(base.clone(), encoded.iter().copied(), said, self.now)?;
        let fresh = !self.policy().is_delta_due(before.map(|crl| crl.window()), self.now);
        if let Some(before) =
            before.filter(|before| fresh && !with_full && before.base_number == Some(base_number))
            && says(before, &entries)?
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
        entries: Vec<Cow<'s, [u8]>>,
        everything: bool,
    ) -> Result<Option<Draft<'s>>, ServiceError> {
        let scope = CrlScope::Partition(partition);
        let before = self.before(scope);
        let due = everything || self.policy().is_due(before.map(|crl| crl.window()), self.now);
        if let Some(before) = before.filter(|_| !due)
            && says(before, &entries)?
        {
            return Ok(None);
        }
        self.draft(scope, None, entries).map(Some)
    }

    fn draft<'s>(
        &'s self,
        scope: CrlScope,
        base_number: Option<u64>,
        entries: Vec<Cow<'s, [u8]>>,
    ) -> Result<Draft<'s>, ServiceError> {
        let (issuer, validity) = (&self.authority.issuer, self.authority.certificate.validity());
        let wanted = match scope {
            CrlScope::Delta => self.policy().next_delta_update(self.now),
            CrlScope::Full | CrlScope::Partition(_) => self.policy().next_update(self.now),
        };
        let next_update = wanted.min(validity.not_after);
        let der = self.sign(scope, base_number, next_update, &entries)?;
        let record = CrlRecord {
            issuer: issuer.id.clone(),
            scope,
            base_number,
            number: self.number,
            this_update: self.now,
            next_update,
            entries: entries.len() as u64,
            der,
        };
        Ok(Draft { record, entries, base: None })
    }

    fn sign(
        &self,
        scope: CrlScope,
        base_number: Option<u64>,
        next_update: Timestamp,
        entries: &[Cow<'_, [u8]>],
    ) -> Result<Bytes, ServiceError> {
        let Authority { issuer, certificate, signer, .. } = self.authority;
        let key_identifier = certificate.public_key().key_identifier();
        let authority_key_identifier = certificate.subject_key_identifier().unwrap_or(&key_identifier);
        let urls = |wanted: bool, scope| if wanted { issuer.urls_of(scope) } else { Vec::new() };
        let algorithm = self.authority.signature_algorithm();
        let spec = CrlSpec {
            expired_since: self.policy().expired_since(self.now, certificate.validity().not_before),
            base_number,
            distribution_point: &urls(matches!(scope, CrlScope::Partition(_)), scope),
            freshest: &urls(scope == CrlScope::Full && self.policy().delta.is_some(), CrlScope::Delta),
            ..CrlSpec::new(
                certificate.subject(),
                authority_key_identifier,
                self.number,
                self.now,
                next_update,
            )
        };
        let unsigned = spec.unsigned(algorithm, entries.iter().map(AsRef::as_ref))?;
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
fn says(crl: &PublishedCrl, entries: &[Cow<'_, [u8]>]) -> Result<bool, ServiceError> {
    let listed = EncodedEntries::of(&crl.der)?.map(|entry| entry.der);
    Ok(listed.eq(entries.iter().map(AsRef::as_ref)))
}

/// What is in each of `of` partitions.
fn divided<'s>(entries: &[EncodedEntry<'s>], of: u16) -> Vec<(Partition, Vec<Cow<'s, [u8]>>)> {
    let mut all: Vec<_> = Partition::all(of).map(|partition| (partition, Vec::new())).collect();
    for entry in entries {
        let partition = Partition::of_magnitude(entry.magnitude(), of);
        if let Some((_, entries)) = all.get_mut(usize::from(partition.index)) {
            entries.push(Cow::Borrowed(entry.der));
        }
    }
    all
}

fn unsettled() -> ServiceError {
    ServiceError::Conflict("a status changed and could not be read yet: try again".to_owned())
}
