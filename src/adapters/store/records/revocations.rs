//! The index of revocations: what the causes of a certificate amount to, with its notAfter, in one small row.
//!
//! The start reads every revocation. Causes have texts in them and certificates are large: a million of each takes half a minute to
//! read, the rows of this index less than a second. They are written with the causes, and only from them.
//!
//! A row: the version, the time and the code of the reason, whether there is an invalidityDate, that date or zero, notAfter; times
//! as seconds since 1970 in 8 bytes, the greatest first.

use super::{
    Records,
    certificates::{Place, read_id},
};
use crate::{
    adapters::store::{
        key, record,
        rows::{Flow, Rows, WriteRows},
        table::Table,
    },
    domain::status::{Cause, Revocation, revocation},
    ports::store::{Causes, StoreResult},
    types::{CertificateId, RevocationReason, Timestamp},
};

const TABLE: Table = Table::Revocations;

/// The bytes of a row.
type Row = [u8; 27];

fn encode(revocation: &Revocation, not_after: Timestamp) -> Row {
    let Revocation { at, reason, invalidity_date } = *revocation;
    let mut row = [0; 27];
    row[0] = TABLE.record_version();
    row[1..9].copy_from_slice(&at.unix().to_be_bytes());
    row[9] = reason.code();
    row[10] = u8::from(invalidity_date.is_some());
    row[11..19].copy_from_slice(&invalidity_date.map_or(0, Timestamp::unix).to_be_bytes());
    row[19..].copy_from_slice(&not_after.unix().to_be_bytes());
    row
}

/// What a row says: the revocation, and notAfter.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> StoreResult<(Revocation, Timestamp)> {
    let row: Option<&Row> = bytes.try_into().ok();
    let read = row.filter(|row| row[0] == TABLE.record_version()).and_then(|row| {
        let time = |from: usize| {
            let bytes = row.get(from..)?.first_chunk()?;
            Some(Timestamp::from_unix(u64::from_be_bytes(*bytes)))
        };
        let invalidity_date = time(11)?;
        let revocation = Revocation {
            at: time(1)?,
            reason: RevocationReason::from_code(row[9])?,
            invalidity_date: (row[10] != 0).then_some(invalidity_date),
        };
        Some((revocation, time(19)?))
    });
    read.ok_or_else(|| record::corrupt(TABLE, key, "it is no row of this index".to_owned()))
}

impl Records<WriteRows<'_>> {
    /// Brings the row of a certificate up to date, after its causes changed.
    pub(super) fn index_revocation(&mut self, id: &CertificateId) -> StoreResult<()> {
        let key = key::certificate(id);
        let Some(revocation) = revocation(&self.causes(id)?) else { return self.0.remove(TABLE, &key) };
        let not_after = match self.0.get(TABLE, &key, |bytes| decode(&key, bytes))? {
            Some((_, not_after)) => not_after,
            None => not_after(&self.0, &key)?,
        };
        self.0.put(TABLE, &key, &encode(&revocation, not_after))
    }

    /// Brings the row of a certificate up to date, if it has one, after its record came.
    pub(super) fn revocation_ends(&mut self, key: &[u8], not_after: Timestamp) -> StoreResult<()> {
        match self.0.get(TABLE, key, |bytes| decode(key, bytes))? {
            Some((revocation, before)) if before != not_after => {
                self.0.put(TABLE, key, &encode(&revocation, not_after))
            }
            _ => Ok(()),
        }
    }
}

fn not_after(rows: &impl Rows, key: &[u8]) -> StoreResult<Timestamp> {
    let place: Option<Place> = rows.record(Table::Certificates, key)?;
    Ok(place.map_or(Timestamp::MAX, Place::not_after))
}

/// Makes the index for a store that has causes and does not have it yet.
pub(in crate::adapters::store) fn index_all(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    let mut index: Vec<(Vec<u8>, Row)> = Vec::new();
    let mut causes: Vec<Cause> = Vec::new();
    let mut current: Option<Vec<u8>> = None;
    let mut end = |certificate: Option<Vec<u8>>, causes: &[Cause]| {
        if let (Some(key), Some(revocation)) = (certificate, revocation(causes)) {
            index.push((key.clone(), encode(&revocation, not_after(rows, &key)?)));
        }
        Ok(())
    };
    rows.scan(Table::Causes, &key::ALL, |key, bytes| {
        let certificate = key::certificate(&read_id(Table::Causes, key)?);
        if current.as_ref() != Some(&certificate) {
            end(current.replace(certificate), &causes)?;
            causes.clear();
        }
        causes.push(record::decode(Table::Causes, key, bytes)?);
        Ok(Flow::Continue(()))
    })?;
    end(current, &causes)?;
    index.iter().try_for_each(|(key, row)| rows.put(TABLE, key, row))
}
