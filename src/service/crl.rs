//! CRLs: build from the snapshot, parse back, verify, compare, record, publish.
//!
//! Nothing is published that was not read back and compared with the CRL before: the number is higher, the signature verifies, and no
//! entry has vanished but a released hold or a certificate that expired long enough ago (RFC 5280 §3.3, §5).
//!
//! The CRL of a CA that is itself revoked or on hold lists every certificate that it issued and that is not expired, and is signed as
//! before: `service::status` says why, and what it costs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use der::pem::LineEnding;
use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, Ports, ServiceError,
    audit::Act,
    authority::Authority,
    metric::{self, label},
    status::{Inherited, entry_of},
};
use crate::{
    domain::{
        access::{Authed, Operate, Read},
        checkpoint::CrlMark,
        crl::{CrlRecord, next_number},
        status::Revocation,
    },
    types::{CertificateId, Fingerprint, IssuerId, RevocationReason, SerialNumber, Timestamp},
    wire::{
        crl::{CrlHead, CrlSpec},
        x509::DecodeError,
    },
};

/// A published CRL.
#[derive(Clone, Debug)]
pub struct PublishedCrl {
    /// The CRL.
    pub der: Bytes,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub entries: u64,
    /// Hex SHA-256 of the DER.
    pub etag: String,
}

/// The newest CRL of each issuer, swapped atomically.
#[derive(Debug)]
pub struct PublishedCrls {
    newest: ArcSwap<BTreeMap<IssuerId, Arc<PublishedCrl>>>,
    /// One build at a time per issuer.
    building: Mutex<BTreeMap<IssuerId, Arc<Mutex<()>>>>,
}

/// A CRL as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlView {
    /// Whose.
    pub issuer: IssuerId,
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How many certificates it lists.
    pub entries: u64,
    /// Length of the DER in bytes.
    pub size: usize,
    /// Hex SHA-256 of the DER.
    pub sha256: String,
    /// Where it is published.
    pub urls: Vec<String>,
    /// The CRL as PEM text; absent in listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

impl PublishedCrl {
    pub(super) fn of(record: CrlRecord) -> Arc<Self> {
        Arc::new(Self {
            etag: Fingerprint::of(&record.der).to_string(),
            der: record.der.into(),
            number: record.number,
            this_update: record.this_update,
            next_update: record.next_update,
            entries: record.entries,
        })
    }

    /// The CRL as PEM text.
    pub fn to_pem(&self) -> Result<String, ServiceError> {
        der::pem::encode_string("X509 CRL", LineEnding::LF, &self.der)
            .map_err(|error| ServiceError::Internal(format!("a CRL does not encode as PEM: {error}")))
    }

    /// The record without the CRL itself: what the schedule asks for.
    pub(crate) fn head(&self, issuer: &IssuerId) -> CrlRecord {
        CrlRecord {
            issuer: issuer.clone(),
            number: self.number,
            this_update: self.this_update,
            next_update: self.next_update,
            entries: self.entries,
            der: Vec::new(),
        }
    }
}

impl PublishedCrls {
    pub(crate) fn load(ports: &Ports) -> Result<Self, ServiceError> {
        let newest = ports.store.read(|view| {
            let mut newest = BTreeMap::new();
            let own = view.issuers()?.into_iter().map(|issuer| issuer.id);
            let external = view.external_issuers()?.into_iter().map(|issuer| issuer.id);
            for issuer in own.chain(external) {
                if let Some(record) = view.latest_crl(&issuer)?.filter(CrlRecord::is_published) {
                    newest.insert(issuer, PublishedCrl::of(record));
                }
            }
            Ok::<_, ServiceError>(newest)
        })?;
        Ok(Self { newest: ArcSwap::from_pointee(newest), building: Mutex::default() })
    }

    /// Reads everything again, after the store was changed as a whole.
    pub(super) fn reload(&self, ports: &Ports) -> Result<(), ServiceError> {
        self.newest.store(Self::load(ports)?.newest.load_full());
        Ok(())
    }

    /// Takes back those that are older than what was `published`.
    pub(super) fn withdraw_below(&self, published: &BTreeMap<IssuerId, CrlMark>) {
        self.newest.rcu(|newest| {
            let mut newest = BTreeMap::clone(newest);
            newest.retain(|issuer, crl| published.get(issuer).is_none_or(|mark| mark.number <= crl.number));
            newest
        });
    }

    pub(super) fn publish(&self, issuer: &IssuerId, crl: &Arc<PublishedCrl>) {
        self.newest.rcu(|newest| {
            let mut newest = BTreeMap::clone(newest);
            newest.insert(issuer.clone(), crl.clone());
            newest
        });
    }

    fn turn(&self, issuer: &IssuerId) -> Arc<Mutex<()>> {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        building.entry(issuer.clone()).or_default().clone()
    }
}

/// What goes into a CRL, as taken from the snapshot.
enum Picked {
    /// The entries of certificates with causes of their own.
    Own(Vec<Arc<[u8]>>),
    /// Everything that was issued.
    All { inherited: Inherited, own: BTreeMap<SerialNumber, Revocation> },
}

/// A CRL that was signed but not yet checked.
struct Draft {
    record: CrlRecord,
    /// How many changes of the snapshot it has.
    changes: u64,
}

impl Gateway {
    /// The newest published CRL.
    pub fn crl(&self, issuer: &IssuerId) -> Option<Arc<PublishedCrl>> {
        self.crls.newest.load().get(issuer).cloned()
    }

    /// Builds and publishes what is due.
    pub(crate) fn build_crl(&self, issuer: &IssuerId) -> Result<Arc<PublishedCrl>, ServiceError> {
        self.build_crl_for(None, issuer)
    }

    /// Builds and publishes now; that `operator` wanted it is recorded with the CRL.
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
        let now = self.now();
        let previous = self.ports.store.read(|view| view.latest_crl(issuer))?;
        let draft = self.draft_crl(authority, previous.as_ref(), now)?;
        self.check_draft(authority, previous.as_ref(), &draft.record, now)?;
        let number = ("number", draft.record.number.to_string());
        let fact = operator.map(|act| act.fact("crl.published", issuer, &[number]));
        self.ports.store.write(|tx| {
            tx.put_crl(&draft.record)?;
            fact.iter().try_for_each(|fact| tx.append_audit(fact).map(drop))
        })?;
        // First where a copy of the database cannot take it back, then to the world.
        self.checkpoint_crl(&draft.record);
        let published = PublishedCrl::of(draft.record);
        self.crls.publish(issuer, &published);
        if let Some(since) = self.status.published(issuer, draft.changes, now) {
            let waited = self.now().since(since);
            metrics::histogram!(metric::REVOCATION_PROPAGATION, label::TO => "crl").record(waited);
        }
        tracing::info!(%issuer, number = published.number, entries = published.entries, "CRL published");
        Ok(published)
    }

    fn draft_crl(
        &self,
        authority: &Authority,
        previous: Option<&CrlRecord>,
        now: Timestamp,
    ) -> Result<Draft, ServiceError> {
        let (issuer, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        let not_after = authority.certificate.validity().not_after;
        if now >= not_after {
            return Err(ServiceError::Refused(format!(
                "issuer {issuer} expired at {not_after}: it signs no CRL"
            )));
        }
        let (number, next_update) = (next_number(previous), policy.next_update(now).min(not_after));
        let algorithm = authority.signature_algorithm();
        let key_identifier = authority.certificate.public_key().key_identifier();
        let authority_key_identifier =
            authority.certificate.subject_key_identifier().unwrap_or(&key_identifier);
        let picked = self.status.with_snapshot(issuer, |snapshot| {
            let kept = snapshot.listed.iter().filter(|(_, it)| policy.keeps(it.not_after, now));
            if let Some(inherited) = snapshot.inherited.clone() {
                let own = kept.map(|(serial, it)| (serial.clone(), it.revocation)).collect();
                return (Picked::All { inherited, own }, snapshot.changes);
            }
            (Picked::Own(kept.map(|(_, it)| Arc::clone(&it.entry)).collect()), snapshot.changes)
        });
        let (picked, changes) = picked.ok_or_else(unsettled)?;
        let entries = match picked {
            Picked::Own(entries) => entries,
            Picked::All { inherited, own } => self.entries_of_all(authority, &inherited, own, now)?,
        };
        let spec = CrlSpec {
            issuer: authority.certificate.subject(),
            authority_key_identifier,
            number,
            this_update: now,
            next_update,
            entries: &entries.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        };
        let unsigned = spec.unsigned(algorithm)?;
        let signature = authority.signer.sign(algorithm, unsigned.to_be_signed())?;
        let der = unsigned.finish(&signature)?;
        let record = CrlRecord {
            issuer: issuer.clone(),
            number,
            this_update: now,
            next_update,
            entries: entries.len() as u64,
            der,
        };
        Ok(Draft { record, changes })
    }

    /// The entries of every certificate that the issuer has issued, for they are revoked or held with it.
    fn entries_of_all(
        &self,
        authority: &Authority,
        inherited: &Inherited,
        own: BTreeMap<SerialNumber, Revocation>,
        now: Timestamp,
    ) -> Result<Vec<Arc<[u8]>>, ServiceError> {
        let (issuer, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        // One that a restore knows from a CRL only has no record to be visited.
        let both = |(serial, own)| {
            let revocation = inherited.beside(&serial, own);
            (serial, revocation)
        };
        let mut revoked: BTreeMap<_, _> = own.into_iter().map(both).collect();
        self.ports.store.read(|view| {
            view.visit_certificates(issuer, &mut |record| {
                let serial = record.id.serial;
                if let Some(revocation) = inherited.of(&serial)
                    && policy.keeps(record.validity.not_after, now)
                {
                    revoked.entry(serial).or_insert(revocation);
                }
                Ok(())
            })
        })?;
        Ok(revoked.into_iter().map(|(serial, revocation)| entry_of(serial, &revocation)).collect())
    }

    /// Reads the CRL back and compares it with what it should be and with the one before.
    fn check_draft(
        &self,
        authority: &Authority,
        previous: Option<&CrlRecord>,
        record: &CrlRecord,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        let issuer = &record.issuer;
        let wrong = |what: String| ServiceError::Internal(format!("the new CRL of {issuer} {what}"));
        let mut serials = Vec::new();
        let head = CrlHead::scan(&record.der, |entry| serials.push(entry.serial))?;
        head.verify(&record.der, &authority.certificate)
            .map_err(|_| wrong("has a signature that does not verify".to_owned()))?;
        if head.number() != Some(record.number) || serials.len() as u64 != record.entries {
            return Err(wrong("does not read back as it was written".to_owned()));
        }
        let Some(previous) = previous else { return Ok(()) };
        if record.number <= previous.number {
            return Err(wrong(format!("would have number {} after {}", record.number, previous.number)));
        }
        if record.this_update < previous.this_update {
            // Clients with the right time refuse the CRL before as not yet valid: the new one must go out.
            tracing::warn!(%issuer, before = %previous.this_update, now = %record.this_update, "the clock went back");
        }
        if previous.der.is_empty() {
            return Ok(());
        }
        let gone = no_longer_listed(&previous.der, &serials)?;
        match self.vanished(authority, &gone, now)? {
            None => Ok(()),
            Some(serial) => Err(wrong(format!("would no longer list {serial}, which is revoked for good"))),
        }
    }

    /// The first of the serials that are `gone` though they did not expire long enough ago.
    fn vanished<'a>(
        &self,
        authority: &Authority,
        gone: &'a [SerialNumber],
        now: Timestamp,
    ) -> Result<Option<&'a SerialNumber>, ServiceError> {
        let (issuer, policy) = (&authority.issuer.id, authority.issuer.crl_policy);
        self.ports.store.read(|view| {
            for serial in gone {
                let id = CertificateId { issuer: issuer.clone(), serial: serial.clone() };
                let not_after = view.certificate(&id)?.map(|record| record.validity.not_after);
                if not_after.is_none_or(|not_after| policy.keeps(not_after, now)) {
                    return Ok(Some(serial));
                }
            }
            Ok(None)
        })
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

    /// The newest CRL of every issuer.
    pub fn crls(&self, _authed: &Authed<Read>) -> Result<Listing<CrlView>, ServiceError> {
        let authorities = self.authorities();
        let view = |authority: &Arc<Authority>| {
            self.crl(&authority.issuer.id).map(|crl| view_of(authority, &crl, None))
        };
        Ok(Listing::whole(authorities.issuers().filter_map(view).collect()))
    }

    /// The newest CRL of an issuer, with the CRL itself.
    pub fn show_crl(&self, _authed: &Authed<Read>, issuer: &IssuerId) -> Result<CrlView, ServiceError> {
        self.crl_view(issuer)
    }

    fn crl_view(&self, issuer: &IssuerId) -> Result<CrlView, ServiceError> {
        let authorities = self.authorities();
        let authority =
            authorities.issuer(issuer).ok_or_else(|| ServiceError::not_found("issuer", issuer))?;
        let crl = self.crl(issuer).ok_or_else(|| ServiceError::not_found("CRL of issuer", issuer))?;
        Ok(view_of(authority, &crl, Some(crl.to_pem()?)))
    }
}

/// The serials that the CRL `before` lists as revoked for good and that are not in `after`; both in the order of serials.
fn no_longer_listed(before: &[u8], after: &[SerialNumber]) -> Result<Vec<SerialNumber>, DecodeError> {
    let mut remaining = after.iter().peekable();
    let mut gone = Vec::new();
    CrlHead::scan(before, |old| {
        while remaining.next_if(|new| **new < old.serial).is_some() {}
        let kept = remaining.peek().is_some_and(|new| **new == old.serial);
        if !kept && old.reason != RevocationReason::CertificateHold {
            gone.push(old.serial);
        }
    })?;
    Ok(gone)
}

fn view_of(authority: &Authority, crl: &PublishedCrl, pem: Option<String>) -> CrlView {
    CrlView {
        issuer: authority.issuer.id.clone(),
        number: crl.number,
        this_update: crl.this_update,
        next_update: crl.next_update,
        entries: crl.entries,
        size: crl.der.len(),
        sha256: crl.etag.clone(),
        urls: authority.issuer.crl_urls.clone(),
        pem,
    }
}

fn unsettled() -> ServiceError {
    ServiceError::Conflict("a status changed and could not be read yet: try again".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::{crl::CrlEntry, x509::testing::Authority},
    };

    const NOW: Timestamp = Timestamp::from_unix(1_767_225_600);

    fn crl_of(entries: &[(&str, RevocationReason)]) -> Vec<u8> {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
        let entry = |(serial, reason): &(&str, RevocationReason)| CrlEntry {
            serial: serial.parse().unwrap(),
            revoked_at: NOW,
            reason: *reason,
            invalidity_date: None,
        };
        let entries: Vec<_> = entries.iter().map(|it| entry(it).to_der()).collect();
        let spec = CrlSpec {
            issuer: ca.certificate.subject(),
            authority_key_identifier: &[1; 20],
            number: 1,
            this_update: NOW,
            next_update: NOW,
            entries: &entries.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        };
        ca.key.finish(spec.unsigned(ca.key.algorithm()).unwrap())
    }

    #[test]
    fn what_is_revoked_for_good_is_missed_and_a_released_hold_is_not() {
        let revoked = RevocationReason::Superseded;
        let hold = RevocationReason::CertificateHold;
        let before = crl_of(&[("02", revoked), ("04", hold), ("06", revoked), ("0100", revoked)]);
        let gone = |after: &[&str]| -> Vec<String> {
            let after: Vec<_> = after.iter().map(|serial| serial.parse().unwrap()).collect();
            no_longer_listed(&before, &after).unwrap().iter().map(ToString::to_string).collect()
        };
        assert!(gone(&["01", "02", "03", "04", "06", "07", "0100", "0101"]).is_empty());
        assert!(gone(&["02", "06", "0100"]).is_empty());
        assert_eq!(gone(&["02", "03", "0100"]), ["06"]);
        assert_eq!(gone(&["05"]), ["02", "06", "0100"]);
        assert_eq!(gone(&[]), ["02", "06", "0100"]);
        assert!(no_longer_listed(&before[1..], &[]).is_err());
    }
}
