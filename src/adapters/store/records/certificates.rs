//! Certificates, bindings, causes.
//!
//! A certificate has two rows. Its record, of a kilobyte, stands where it came, beside those that came with it. What is looked up by
//! random serial numbers is small: some seventy of these rows share a page, so that among ten million certificates a status is
//! found as fast as among few, and an enrolment changes few pages.

use serde::{Deserialize, Serialize};

use super::{Records, conflict, revocations};
use crate::{
    adapters::store::{
        key::{self, Key},
        record,
        rows::{Flow, Rows, WriteRows},
        table::Table,
    },
    domain::{
        binding::{Binding, BoundObject},
        certificate::{CertificateRecord, Purpose},
        status::{Cause, CauseKey, Effect, Revocation},
    },
    ports::store::{Causes, CausesMut, Certificates, CertificatesMut, Page, StoreResult},
    types::{CertificateId, Fingerprint, IssuerId, SerialNumber, Timestamp},
};

/// A certificate's row by issuer and serial.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Place {
    /// The key of its record.
    number: u64,
    /// As the record says, in seconds since 1970.
    not_after: u64,
    /// As the record says.
    purpose: Purpose,
}

impl Place {
    fn new(number: u64, certificate: &CertificateRecord) -> Self {
        Self { number, not_after: certificate.validity.not_after.unix(), purpose: certificate.purpose }
    }

    /// notAfter of the certificate.
    pub(super) const fn not_after(self) -> Timestamp {
        Timestamp::from_unix(self.not_after)
    }
}

impl<R: Rows> Certificates for Records<R> {
    fn certificate(&self, id: &CertificateId) -> StoreResult<Option<CertificateRecord>> {
        let key = key::certificate(id);
        let place = self.0.record(Table::Certificates, &key)?;
        place.map(|place| self.record_at(&key, place)).transpose()
    }

    fn not_after(&self, id: &CertificateId) -> StoreResult<Option<Timestamp>> {
        let place: Option<Place> = self.0.record(Table::Certificates, &key::certificate(id))?;
        Ok(place.map(Place::not_after))
    }

    fn certificate_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> StoreResult<Option<CertificateRecord>> {
        let (index, fingerprint) = (Table::CertificatesByFingerprint, fingerprint.as_bytes());
        let Some(key) = self.0.get(index, fingerprint, |key| Ok(key.to_vec()))? else { return Ok(None) };
        let place = self.0.indexed(index, fingerprint, Table::Certificates, &key)?;
        self.record_at(&key, place).map(Some)
    }

    /// One look-up for each issuer that has certificates: there are few issuers, and an index of random serial numbers would
    /// cost every enrolment a page more.
    fn certificates_by_serial(&self, serial: &SerialNumber) -> StoreResult<Vec<CertificateRecord>> {
        let mut found = Vec::new();
        let mut range = key::ALL;
        while let Some(issuer) = self.first_issuer(&range)? {
            range = key::beyond(&Key::default().text(issuer.as_str()).done());
            found.extend(self.certificate(&CertificateId { issuer, serial: serial.clone() })?);
        }
        Ok(found)
    }

    fn certificates(&self, page: &Page<CertificateId>) -> StoreResult<Vec<CertificateRecord>> {
        let after = key::after(page.after.as_ref().map(key::certificate));
        let table = Table::Certificates;
        self.0.list(table, &after, page.limit, |key, bytes| {
            self.record_at(key, record::decode(table, key, bytes)?)
        })
    }

    fn visit_certificates(
        &self,
        issuer: &IssuerId,
        visit: &mut dyn FnMut(SerialNumber, Timestamp, Purpose) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let table = Table::Certificates;
        let range = key::starting_with(&Key::default().text(issuer.as_str()).done());
        self.0.scan(table, &range, |key, bytes| {
            let place: Place = record::decode(table, key, bytes)?;
            visit(read_id(table, key)?.serial, place.not_after(), place.purpose)?;
            Ok(Flow::Continue(()))
        })
    }

    fn successors(&self, id: &CertificateId) -> StoreResult<Vec<CertificateId>> {
        let index = Table::CertificatesBySuperseded;
        self.0.list(index, &key::starting_with(&key::certificate(id)), usize::MAX, read_successor)
    }

    fn count_certificates(&self) -> StoreResult<u64> {
        self.0.count(Table::Certificates)
    }

    fn bindings(&self, id: &CertificateId) -> StoreResult<Vec<Binding>> {
        let range = key::starting_with(&key::certificate(id));
        self.0.records(Table::Bindings, &range, usize::MAX)
    }

    fn bound_to(&self, object: &BoundObject) -> StoreResult<Vec<Binding>> {
        let index = Table::BindingsByObject;
        let range = key::starting_with(&key::object(object));
        self.0.list(index, &range, usize::MAX, |key, target| {
            self.0.indexed(index, key, Table::Bindings, target)
        })
    }
}

impl<R: Rows> Records<R> {
    /// The record that the row `key` points to.
    fn record_at(&self, key: &[u8], place: Place) -> StoreResult<CertificateRecord> {
        let (table, records) = (Table::Certificates, Table::CertificateRecords);
        self.0.indexed(table, key, records, &key::number(place.number))
    }

    /// The issuer of the first certificate in `range`.
    fn first_issuer(&self, range: &key::KeyRange) -> StoreResult<Option<IssuerId>> {
        let table = Table::Certificates;
        let mut first = None;
        self.0.scan(table, range, |key, _| {
            first = Some(read_id(table, key)?.issuer);
            Ok(Flow::Break(()))
        })?;
        Ok(first)
    }
}

/// The certificate that a key starts with.
pub(super) fn read_id(table: Table, key: &[u8]) -> StoreResult<CertificateId> {
    key::read_certificate(key)
        .ok_or_else(|| record::corrupt(table, key, "its key names no certificate".to_owned()))
}

/// The number of the next new record. No record is ever removed.
fn next_record(rows: &impl Rows) -> StoreResult<u64> {
    let table = Table::CertificateRecords;
    let number = |key: &[u8]| key::read_number(key)?.checked_add(1);
    let next = rows.last(table, &key::ALL, |key, _| {
        number(key).ok_or_else(|| record::corrupt(table, key, "no number can follow its key".to_owned()))
    })?;
    Ok(next.unwrap_or(1))
}

/// Gives the certificates of schema 4, whose records stand by issuer and serial, the two rows that they have since, and fills the index of
/// those that took another one's place. There may be ten millions: each is read once, and few are in memory.
pub(in crate::adapters::store) fn take_over(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    const AT_A_TIME: usize = 1_000;
    let table = Table::Certificates;
    let mut range = key::ALL;
    loop {
        let old = rows.list(table, &range, AT_A_TIME, |key, bytes| Ok((key.to_vec(), bytes.to_vec())))?;
        let Some((last, _)) = old.last() else { return Ok(()) };
        range = key::after(Some(last.clone()));
        for (key, bytes) in old {
            let record: CertificateRecord = record::decode(Table::CertificateRecords, &key, &bytes)?;
            let place = Place::new(next_record(rows)?, &record);
            rows.put(Table::CertificateRecords, &key::number(place.number), &bytes)?;
            rows.put_record(table, &key, &place)?;
            if let Some(row) = by_superseded(&record) {
                rows.put(Table::CertificatesBySuperseded, &row, &key)?;
            }
        }
    }
}

fn read_successor(row: &[u8], target: &[u8]) -> StoreResult<CertificateId> {
    key::read_certificate(target).ok_or_else(|| {
        let problem = "its value names no certificate".to_owned();
        record::corrupt(Table::CertificatesBySuperseded, row, problem)
    })
}

/// The row of a certificate that takes another one's place.
fn by_superseded(certificate: &CertificateRecord) -> Option<Vec<u8>> {
    let superseded = key::certificate(certificate.supersedes.as_ref()?);
    Some(Key::default().bytes(&superseded).bytes(&key::certificate(&certificate.id)).done())
}

impl CertificatesMut for Records<WriteRows<'_>> {
    fn insert_certificate(&mut self, certificate: &CertificateRecord) -> StoreResult<()> {
        let id = &certificate.id;
        let key = key::certificate(id);
        let fingerprint = certificate.fingerprint.as_bytes();
        if self.0.contains(Table::Certificates, &key)? {
            return Err(conflict("certificate", id, "exists already"));
        }
        if self.0.contains(Table::CertificatesByFingerprint, fingerprint)? {
            return Err(conflict("certificate", id, "has the fingerprint of another"));
        }
        self.0.put(Table::CertificatesByFingerprint, fingerprint, &key)?;
        if let Some(row) = by_superseded(certificate) {
            self.0.put(Table::CertificatesBySuperseded, &row, &key)?;
        }
        self.put_certificate(&key, certificate, None)
    }

    fn put_imported(&mut self, certificate: &CertificateRecord) -> StoreResult<()> {
        let id = &certificate.id;
        let key = key::certificate(id);
        let fingerprint = certificate.fingerprint.as_bytes();
        let place: Option<Place> = self.0.record(Table::Certificates, &key)?;
        if place.is_some_and(|known| known.purpose != Purpose::Imported) {
            return Err(conflict("certificate", id, "was issued here"));
        }
        if certificate.is_whole() {
            let problem = "has the fingerprint of another";
            self.refuse_taken(Table::CertificatesByFingerprint, fingerprint, &key, "certificate", problem)?;
            self.0.put(Table::CertificatesByFingerprint, fingerprint, &key)?;
        }
        self.put_certificate(&key, certificate, place)
    }

    fn insert_binding(&mut self, binding: &Binding) -> StoreResult<()> {
        let certificate = key::certificate(&binding.certificate);
        let object = key::object(&binding.object);
        let key = Key::default().bytes(&certificate).bytes(&object).done();
        if self.0.contains(Table::Bindings, &key)? {
            return Err(conflict("binding of", &binding.certificate, "to this object exists already"));
        }
        let by_object = Key::default().bytes(&object).bytes(&certificate).done();
        self.0.put(Table::BindingsByObject, &by_object, &key)?;
        self.0.put_record(Table::Bindings, &key, binding)
    }
}

impl<R: Rows> Causes for Records<R> {
    fn causes(&self, id: &CertificateId) -> StoreResult<Vec<Cause>> {
        let range = key::starting_with(&key::certificate(id));
        self.0.records(Table::Causes, &range, usize::MAX)
    }

    fn visit_causes(
        &self,
        issuer: &IssuerId,
        visit: &mut dyn FnMut(&SerialNumber, Vec<Cause>) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let table = Table::Causes;
        let mut current: Option<(SerialNumber, Vec<Cause>)> = None;
        let range = key::starting_with(&Key::default().text(issuer.as_str()).done());
        self.0.scan(table, &range, |key, bytes| {
            let cause = record::decode(table, key, bytes)?;
            let serial = read_id(table, key)?.serial;
            match &mut current {
                Some((last, causes)) if *last == serial => causes.push(cause),
                _ => {
                    if let Some((done, causes)) = current.replace((serial, vec![cause])) {
                        visit(&done, causes)?;
                    }
                }
            }
            Ok(Flow::Continue(()))
        })?;
        current.map_or(Ok(()), |(last, causes)| visit(&last, causes))
    }

    fn visit_revocations(
        &self,
        issuer: &IssuerId,
        visit: &mut dyn FnMut(SerialNumber, Revocation, Timestamp) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let table = Table::Revocations;
        let range = key::starting_with(&Key::default().text(issuer.as_str()).done());
        self.0.scan(table, &range, |key, bytes| {
            let (revocation, not_after) = revocations::decode(key, bytes)?;
            visit(read_id(table, key)?.serial, revocation, not_after)?;
            Ok(Flow::Continue(()))
        })
    }
}

impl CausesMut for Records<WriteRows<'_>> {
    fn put_cause(&mut self, id: &CertificateId, cause: &Cause) -> StoreResult<()> {
        let key = key::cause(id, &cause.key);
        if cause.effect == Effect::Hold && self.is_permanent(&key)? {
            return Err(conflict("cause of", id, "is permanent and cannot become a hold"));
        }
        self.0.put_record(Table::Causes, &key, cause)?;
        self.index_revocation(id)
    }

    fn release_cause(&mut self, id: &CertificateId, cause: &CauseKey) -> StoreResult<()> {
        let key = key::cause(id, cause);
        if self.is_permanent(&key)? {
            return Err(conflict("cause of", id, "is permanent and cannot be released"));
        }
        self.0.remove(Table::Causes, &key)?;
        self.index_revocation(id)
    }
}

impl Records<WriteRows<'_>> {
    /// Writes both rows: the record in the place that it has, or behind all others.
    fn put_certificate(
        &mut self,
        key: &[u8],
        certificate: &CertificateRecord,
        place: Option<Place>,
    ) -> StoreResult<()> {
        let number = place.map_or_else(|| next_record(&self.0), |place| Ok(place.number))?;
        self.0.put_record(Table::CertificateRecords, &key::number(number), certificate)?;
        self.0.put_record(Table::Certificates, key, &Place::new(number, certificate))?;
        self.revocation_ends(key, certificate.validity.not_after)
    }

    fn is_permanent(&self, key: &[u8]) -> StoreResult<bool> {
        let stored: Option<Cause> = self.0.record(Table::Causes, key)?;
        Ok(stored.is_some_and(|cause| matches!(cause.effect, Effect::Revoke { .. })))
    }
}
