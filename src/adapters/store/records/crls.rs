//! CRLs: a row with what each says of itself, and the CRL in pieces, so that a large one is never one value.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Records, conflict};
use crate::{
    adapters::store::{
        key::{self, Key},
        record,
        rows::{Flow, Rows, WriteRows},
        table::Table,
    },
    domain::{
        checkpoint::CrlMark,
        crl::{CrlRecord, CrlScope, Partition},
    },
    ports::store::{Crls, CrlsMut, StoreResult},
    types::{Fingerprint, IssuerId, Timestamp},
};

/// Bytes in one piece: with its key and what redb adds a little less than a power of two, which pages have.
const PIECE: usize = 255 * 1024;
/// Pieces of a large CRL that one transaction takes: two megabytes are on the disk within milliseconds.
const PIECES_AT_ONCE: usize = 8;

/// What a CRL says of itself.
#[derive(Serialize, Deserialize)]
struct Head {
    issuer: IssuerId,
    scope: CrlScope,
    base_number: Option<u64>,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    entries: u64,
    /// Bytes in its pieces.
    size: u64,
}

impl Head {
    fn of(crl: &CrlRecord) -> Self {
        Self {
            issuer: crl.issuer.clone(),
            scope: crl.scope,
            base_number: crl.base_number,
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            entries: crl.entries,
            size: crl.der.len() as u64,
        }
    }

    const fn mark(&self) -> CrlMark {
        CrlMark { number: self.number, this_update: self.this_update }
    }

    fn with(self, der: Bytes) -> CrlRecord {
        let Self { issuer, scope, base_number, number, this_update, next_update, entries, size: _ } = self;
        CrlRecord { issuer, scope, base_number, number, this_update, next_update, entries, der }
    }
}

fn of_issuer(issuer: &IssuerId) -> Vec<u8> {
    Key::default().text(issuer.as_str()).done()
}

fn crl(issuer: &IssuerId, scope: CrlScope) -> Key {
    let key = Key::default().text(issuer.as_str());
    match scope {
        CrlScope::Full => key.byte(0),
        CrlScope::Delta => key.byte(1),
        CrlScope::Partition(Partition { of, index }) => {
            key.byte(2).bytes(&of.to_be_bytes()).bytes(&index.to_be_bytes())
        }
    }
}

/// Where the time of an imported CRL is, in the table `meta`.
fn imported(issuer: &IssuerId, part: Option<&Fingerprint>) -> Vec<u8> {
    let part = part.map(Fingerprint::to_string).unwrap_or_default();
    format!("imported-crl/{issuer}/{part}").into_bytes()
}

fn piece(issuer: &IssuerId, scope: CrlScope, place: usize) -> Vec<u8> {
    crl(issuer, scope).number(place as u64).done()
}

fn read_pieces(rows: &impl Rows, key: &[u8], size: u64) -> StoreResult<Bytes> {
    // A reserved one has none, whatever is there of those before.
    if size == 0 {
        return Ok(Bytes::new());
    }
    let mut der = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    rows.scan(Table::CrlPieces, &key::starting_with(key), |_, piece| {
        der.extend_from_slice(piece);
        Ok(Flow::Continue(()))
    })?;
    if der.len() as u64 == size {
        return Ok(der.into());
    }
    Err(record::corrupt(Table::Crls, key, format!("it has {} of {size} bytes", der.len())))
}

impl<R: Rows> Crls for Records<R> {
    fn latest_crl(&self, issuer: &IssuerId, scope: CrlScope) -> StoreResult<Option<CrlRecord>> {
        let key = crl(issuer, scope).done();
        let Some(head) = self.0.record::<Head>(Table::Crls, &key)? else { return Ok(None) };
        let der = read_pieces(&self.0, &key, head.size)?;
        Ok(Some(head.with(der)))
    }

    fn crl_mark(&self, issuer: &IssuerId) -> StoreResult<Option<CrlMark>> {
        let range = key::starting_with(&of_issuer(issuer));
        let heads: Vec<Head> = self.0.records(Table::Crls, &range, usize::MAX)?;
        Ok(heads.iter().map(Head::mark).max())
    }

    fn crl_marks(&self) -> StoreResult<BTreeMap<IssuerId, CrlMark>> {
        let heads: Vec<Head> = self.0.records(Table::Crls, &key::ALL, usize::MAX)?;
        let mut marks = BTreeMap::new();
        for head in heads {
            let mark = head.mark();
            let newest = marks.entry(head.issuer).or_insert(mark);
            *newest = mark.max(*newest);
        }
        Ok(marks)
    }

    fn imported_crl(&self, issuer: &IssuerId, part: Option<&Fingerprint>) -> StoreResult<Option<Timestamp>> {
        self.0.record(Table::Meta, &imported(issuer, part))
    }
}

impl CrlsMut for Records<WriteRows<'_>> {
    fn put_crl(&mut self, new: &CrlRecord) -> StoreResult<()> {
        self.check_number(new)?;
        self.put_pieces(new, 0, usize::MAX)?;
        self.finish(new)
    }

    fn reserve_crl(&mut self, new: &CrlRecord) -> StoreResult<()> {
        self.check_number(new)?;
        let head = Head { size: 0, entries: 0, ..Head::of(new) };
        self.0.put_record(Table::Crls, &crl(&new.issuer, new.scope).done(), &head)
    }

    fn keep_crl(&mut self, new: &CrlRecord, from: usize) -> StoreResult<usize> {
        let reserved: Option<Head> = self.0.record(Table::Crls, &crl(&new.issuer, new.scope).done())?;
        if reserved.is_none_or(|head| head.number != new.number || head.size != 0) {
            return Err(conflict("CRL of", &new.issuer, "is not the one that was reserved"));
        }
        let kept = self.put_pieces(new, from / PIECE, PIECES_AT_ONCE)?;
        if kept == new.der.len() {
            self.finish(new)?;
        }
        Ok(kept)
    }

    fn remove_crl(&mut self, issuer: &IssuerId, scope: CrlScope) -> StoreResult<()> {
        let key = crl(issuer, scope).done();
        let Some(head) = self.0.record::<Head>(Table::Crls, &key)? else { return Ok(()) };
        self.remove_pieces(issuer, scope, 0)?;
        // The row stays: its number was used.
        self.0.put_record(Table::Crls, &key, &Head { size: 0, entries: 0, ..head })
    }

    fn put_imported_crl(
        &mut self,
        issuer: &IssuerId,
        part: Option<&Fingerprint>,
        this_update: Timestamp,
    ) -> StoreResult<()> {
        self.0.put_record(Table::Meta, &imported(issuer, part), &this_update)
    }
}

impl Records<WriteRows<'_>> {
    fn check_number(&self, new: &CrlRecord) -> StoreResult<()> {
        let before: Option<Head> = self.0.record(Table::Crls, &crl(&new.issuer, new.scope).done())?;
        if before.is_some_and(|before| before.number >= new.number) {
            return Err(conflict("CRL of", &new.issuer, "has this number or a higher one already"));
        }
        Ok(())
    }

    /// Puts at most `limit` pieces from the place `first` on; gives how many bytes are there then.
    fn put_pieces(&mut self, new: &CrlRecord, first: usize, limit: usize) -> StoreResult<usize> {
        let mut kept = new.der.len().min(first.saturating_mul(PIECE));
        for (place, bytes) in new.der.chunks(PIECE).enumerate().skip(first).take(limit) {
            self.0.put(Table::CrlPieces, &piece(&new.issuer, new.scope, place), bytes)?;
            kept += bytes.len();
        }
        Ok(kept)
    }

    /// All pieces are there: it is the newest.
    fn finish(&mut self, new: &CrlRecord) -> StoreResult<()> {
        self.remove_pieces(&new.issuer, new.scope, new.der.len().div_ceil(PIECE))?;
        self.0.put_record(Table::Crls, &crl(&new.issuer, new.scope).done(), &Head::of(new))
    }

    /// Removes the pieces from the place `first` on, of whatever CRL before.
    fn remove_pieces(&mut self, issuer: &IssuerId, scope: CrlScope, first: usize) -> StoreResult<()> {
        let (_, end) = key::starting_with(&crl(issuer, scope).done());
        let range = (Bound::Included(piece(issuer, scope, first)), end);
        let old = self.0.list(Table::CrlPieces, &range, usize::MAX, |key, _| Ok(key.to_vec()))?;
        old.iter().try_for_each(|key| self.0.remove(Table::CrlPieces, key))
    }
}

/// A CRL as schema 4 had it: one row by issuer.
type CrlOf4 = (IssuerId, u64, Timestamp, Timestamp, u64, Vec<u8>);

/// Takes the CRLs of schema 4 over.
pub(in crate::adapters::store) fn take_over(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    let old = rows.list(Table::Crls, &key::ALL, usize::MAX, |key, bytes| {
        let corrupt = |reason: String| record::corrupt(Table::Crls, key, reason);
        let [1, body @ ..] = bytes else { return Err(corrupt("its record version is not known".to_owned())) };
        let (old, rest): (CrlOf4, &[u8]) =
            postcard::take_from_bytes(body).map_err(|error| corrupt(error.to_string()))?;
        if rest.is_empty() { Ok((key.to_vec(), old)) } else { Err(corrupt("bytes too many".to_owned())) }
    })?;
    for (key, (issuer, number, this_update, next_update, entries, der)) in old {
        rows.remove(Table::Crls, &key)?;
        let key = crl(&issuer, CrlScope::Full).done();
        for (place, bytes) in der.chunks(PIECE).enumerate() {
            rows.put(Table::CrlPieces, &piece(&issuer, CrlScope::Full, place), bytes)?;
        }
        let size = der.len() as u64;
        let (scope, base_number) = (CrlScope::Full, None);
        let head = Head { issuer, scope, base_number, number, this_update, next_update, entries, size };
        rows.put_record(Table::Crls, &key, &head)?;
    }
    Ok(())
}
