//! Rows: get, scan, put and remove on redb's tables, the same for a view and for a transaction.

use std::{
    cell::{Cell, OnceCell},
    ops::{Bound, ControlFlow},
};

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, StorageError, TableError,
    WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    key::{self, KeyRange},
    record,
    table::Table,
};
use crate::ports::store::{StoreError, StoreResult};

type Bytes = &'static [u8];

/// Whether a scan goes on.
pub(super) type Flow = ControlFlow<()>;

/// Readable rows.
pub(super) trait Rows {
    /// redb's table for this kind of transaction.
    type Opened: ReadableTable<Bytes, Bytes>;

    /// The table, opened at its first use: a transaction opens each table once.
    fn opened(&self, table: Table) -> StoreResult<&Self::Opened>;

    /// Reads the value of `key` with `read`.
    fn get<T>(
        &self,
        table: Table,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        let value = self.opened(table)?.get(key).map_err(|error| failed_at(table, key, error))?;
        value.map(|value| read(value.value())).transpose()
    }

    /// Whether there is a row of this key.
    fn contains(&self, table: Table, key: &[u8]) -> StoreResult<bool> {
        Ok(self.get(table, key, |_| Ok(()))?.is_some())
    }

    /// The record of `key`.
    fn record<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> StoreResult<Option<T>> {
        self.get(table, key, |bytes| record::decode(table, key, bytes))
    }

    /// The record in `table` whose key is the value of `key` in `index`. An index that points nowhere is
    /// [`StoreError::Corrupt`].
    fn record_by<T: DeserializeOwned>(
        &self,
        index: Table,
        key: &[u8],
        table: Table,
    ) -> StoreResult<Option<T>> {
        let Some(target) = self.get(index, key, |bytes| Ok(bytes.to_vec()))? else { return Ok(None) };
        self.indexed(index, key, table, &target).map(Some)
    }

    /// The record in `table` that the row `key` of `index` points to.
    fn indexed<T: DeserializeOwned>(
        &self,
        index: Table,
        key: &[u8],
        table: Table,
        target: &[u8],
    ) -> StoreResult<T> {
        self.record(table, target)?.ok_or_else(|| {
            let target = key::describe(table, target);
            record::corrupt(
                index,
                key,
                format!("it points to {}/{target}, which does not exist", table.name()),
            )
        })
    }

    /// Visits the rows of `range` in order of their keys until told to stop.
    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8], &[u8]) -> StoreResult<Flow>,
    ) -> StoreResult<()> {
        let failed = |error| failed_at(table, b"", error);
        for row in self.opened(table)?.range::<&[u8]>(borrowed(range)).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// [`Rows::scan`] from the end.
    fn scan_down(
        &self,
        table: Table,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8], &[u8]) -> StoreResult<Flow>,
    ) -> StoreResult<()> {
        let failed = |error| failed_at(table, b"", error);
        for row in self.opened(table)?.range::<&[u8]>(borrowed(range)).map_err(failed)?.rev() {
            let (key, value) = row.map_err(failed)?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The last row of `range`, read with `read`.
    fn last<T>(
        &self,
        table: Table,
        range: &KeyRange,
        read: impl FnOnce(&[u8], &[u8]) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        let failed = |error| failed_at(table, b"", error);
        let row = self.opened(table)?.range::<&[u8]>(borrowed(range)).map_err(failed)?.next_back();
        match row.transpose().map_err(failed)? {
            Some((key, value)) => read(key.value(), value.value()).map(Some),
            None => Ok(None),
        }
    }

    /// At most `limit` of what `read` makes of the rows of `range`.
    fn list<T>(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
        mut read: impl FnMut(&[u8], &[u8]) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.scan(table, range, |key, value| {
            found.push(read(key, value)?);
            Ok(if found.len() < limit { Flow::Continue(()) } else { Flow::Break(()) })
        })?;
        Ok(found)
    }

    /// At most `limit` records of `range`.
    fn records<T: DeserializeOwned>(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
    ) -> StoreResult<Vec<T>> {
        self.list(table, range, limit, |key, bytes| record::decode(table, key, bytes))
    }

    /// How many rows the table has.
    fn count(&self, table: Table) -> StoreResult<u64> {
        self.opened(table)?.len().map_err(|error| failed_at(table, b"", error))
    }
}

/// The rows of one consistent state.
pub(super) struct ReadRows {
    transaction: ReadTransaction,
    tables: [OnceCell<ReadOnlyTable<Bytes, Bytes>>; Table::COUNT],
}

impl ReadRows {
    /// The rows that `transaction` sees.
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction, tables: [const { OnceCell::new() }; Table::COUNT] }
    }
}

impl Rows for ReadRows {
    type Opened = ReadOnlyTable<Bytes, Bytes>;

    fn opened(&self, table: Table) -> StoreResult<&Self::Opened> {
        let cell = &self.tables[table as usize];
        if let Some(opened) = cell.get() {
            return Ok(opened);
        }
        let opened = self.transaction.open_table(table.definition()).map_err(|e| unopened(table, e))?;
        Ok(cell.get_or_init(|| opened))
    }
}

/// The rows of a write transaction, as one closure sees and changes them.
pub(super) struct WriteRows<'t> {
    transaction: &'t WriteTransaction,
    tables: [OnceCell<redb::Table<'t, Bytes, Bytes>>; Table::COUNT],
    wrote: Cell<bool>,
}

impl<'t> WriteRows<'t> {
    /// The rows of `transaction`; its tables must not be open elsewhere.
    pub(super) fn new(transaction: &'t WriteTransaction) -> Self {
        Self { transaction, tables: [const { OnceCell::new() }; Table::COUNT], wrote: Cell::new(false) }
    }

    /// Whether anything was changed, or tried to.
    pub(super) fn wrote(&self) -> bool {
        self.wrote.get()
    }

    /// Writes a row.
    pub(super) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> StoreResult<()> {
        self.changing(table)?.insert(key, value).map(|_| ()).map_err(|error| failed_at(table, key, error))
    }

    /// Writes a record.
    pub(super) fn put_record<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        record: &T,
    ) -> StoreResult<()> {
        let bytes = record::encode(table, key, record)?;
        self.put(table, key, &bytes)
    }

    /// Removes a row; absent is fine.
    pub(super) fn remove(&mut self, table: Table, key: &[u8]) -> StoreResult<()> {
        self.changing(table)?.remove(key).map(|_| ()).map_err(|error| failed_at(table, key, error))
    }

    fn changing(&mut self, table: Table) -> StoreResult<&mut redb::Table<'t, Bytes, Bytes>> {
        self.wrote.set(true);
        self.opened(table)?;
        self.tables[table as usize]
            .get_mut()
            .ok_or_else(|| StoreError::Unavailable(format!("table {} is not open", table.name())))
    }
}

impl<'t> Rows for WriteRows<'t> {
    type Opened = redb::Table<'t, Bytes, Bytes>;

    fn opened(&self, table: Table) -> StoreResult<&Self::Opened> {
        let cell = &self.tables[table as usize];
        if let Some(opened) = cell.get() {
            return Ok(opened);
        }
        let opened = self.transaction.open_table(table.definition()).map_err(|e| unopened(table, e))?;
        Ok(cell.get_or_init(|| opened))
    }
}

fn borrowed(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice))
}

fn unopened(table: Table, error: TableError) -> StoreError {
    match error {
        TableError::Storage(error) => failed_at(table, b"", error),
        error => StoreError::Unavailable(format!("table {}: {error}", table.name())),
    }
}

fn failed_at(table: Table, key: &[u8], error: StorageError) -> StoreError {
    match error {
        StorageError::Corrupted(reason) => record::corrupt(table, key, reason),
        error => StoreError::Unavailable(error.to_string()),
    }
}
