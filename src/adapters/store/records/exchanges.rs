//! Exchanges and their transcripts. Their ids sort by arrival.
//!
//! Those of strangers are apart from those of whom certgate knows, so that a flood of junk displaces junk alone.

use std::{collections::VecDeque, ops::Bound};

use super::Records;
use crate::{
    adapters::store::{
        key, record,
        rows::{Flow, Rows, WriteRows},
        table::Table,
    },
    domain::exchange::{Exchange, Transcript},
    ports::store::{Exchanges, ExchangesMut, StoreResult},
    types::{EnrolmentId, Timestamp},
};

const TABLES: [Table; 2] = [Table::Exchanges, Table::StrangeExchanges];

/// Records that are read at a time.
const CHUNK: usize = 64;

impl<R: Rows> Exchanges for Records<R> {
    fn exchange(&self, id: &EnrolmentId) -> StoreResult<Option<Exchange>> {
        let key = id.as_str().as_bytes();
        match self.0.record(Table::Exchanges, key)? {
            Some(exchange) => Ok(Some(exchange)),
            None => self.0.record(Table::StrangeExchanges, key),
        }
    }

    fn visit_exchanges(
        &self,
        before: Option<&EnrolmentId>,
        visit: &mut dyn FnMut(Exchange) -> StoreResult<bool>,
    ) -> StoreResult<()> {
        let mut sources = TABLES.map(|table| Downward::new(table, before));
        loop {
            for source in &mut sources {
                source.fill(&self.0)?;
            }
            let newest = sources.iter_mut().max_by(|a, b| a.id().cmp(&b.id()));
            let Some(exchange) = newest.and_then(|source| source.read.pop_front()) else { return Ok(()) };
            if !visit(exchange)? {
                return Ok(());
            }
        }
    }

    fn count_exchanges(&self) -> StoreResult<(u64, u64)> {
        Ok((self.0.count(Table::Exchanges)?, self.0.count(Table::StrangeExchanges)?))
    }

    fn transcript(&self, id: &EnrolmentId) -> StoreResult<Option<Transcript>> {
        self.0.record(Table::Transcripts, id.as_str().as_bytes())
    }
}

/// A table read from its end, a chunk at a time.
struct Downward {
    table: Table,
    before: Bound<Vec<u8>>,
    read: VecDeque<Exchange>,
    ended: bool,
}

impl Downward {
    fn new(table: Table, before: Option<&EnrolmentId>) -> Self {
        let before = before.map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_str().as_bytes().to_vec()));
        Self { table, before, read: VecDeque::new(), ended: false }
    }

    fn id(&self) -> Option<&EnrolmentId> {
        self.read.front().map(|exchange| &exchange.id)
    }

    fn fill(&mut self, rows: &impl Rows) -> StoreResult<()> {
        if self.ended || !self.read.is_empty() {
            return Ok(());
        }
        let (table, read) = (self.table, &mut self.read);
        rows.scan_down(table, &(Bound::Unbounded, self.before.clone()), |key, bytes| {
            read.push_back(record::decode(table, key, bytes)?);
            Ok(if read.len() < CHUNK { Flow::Continue(()) } else { Flow::Break(()) })
        })?;
        self.ended = self.read.len() < CHUNK;
        if let Some(last) = self.read.back() {
            self.before = Bound::Excluded(last.id.as_str().as_bytes().to_vec());
        }
        Ok(())
    }
}

impl ExchangesMut for Records<WriteRows<'_>> {
    fn put_exchange(&mut self, exchange: &Exchange, transcript: Option<&Transcript>) -> StoreResult<()> {
        let key = exchange.id.as_str().as_bytes();
        let table = if exchange.is_known() { Table::Exchanges } else { Table::StrangeExchanges };
        if let Some(transcript) = transcript {
            self.0.put_record(Table::Transcripts, key, transcript)?;
        }
        self.0.put_record(table, key, exchange)
    }

    fn prune_exchanges(&mut self, before: Timestamp, most: (u64, u64), limit: usize) -> StoreResult<usize> {
        let mut pruned = 0;
        for (table, most) in TABLES.into_iter().zip([most.0, most.1]) {
            let surplus = usize::try_from(self.0.count(table)?.saturating_sub(most)).unwrap_or(usize::MAX);
            let mut keys = self.oldest(table, key::ALL, surplus.min(limit - pruned))?;
            if keys.is_empty() {
                keys = self.oldest(table, older_than(before), limit - pruned)?;
            }
            for key in &keys {
                self.0.remove(table, key)?;
                self.0.remove(Table::Transcripts, key)?;
            }
            pruned += keys.len();
        }
        Ok(pruned)
    }

    fn prune_transcripts(&mut self, before: Timestamp, limit: usize) -> StoreResult<usize> {
        let keys = self.oldest(Table::Transcripts, older_than(before), limit)?;
        for key in &keys {
            self.0.remove(Table::Transcripts, key)?;
        }
        Ok(keys.len())
    }
}

impl Records<WriteRows<'_>> {
    fn oldest(&self, table: Table, range: key::KeyRange, limit: usize) -> StoreResult<Vec<Vec<u8>>> {
        self.0.list(table, &range, limit, |key, _| Ok(key.to_vec()))
    }
}

/// The keys of what came before this second.
fn older_than(before: Timestamp) -> key::KeyRange {
    (Bound::Unbounded, Bound::Excluded(EnrolmentId::first_of(before).as_str().as_bytes().to_vec()))
}
