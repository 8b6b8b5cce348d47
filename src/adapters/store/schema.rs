//! The schema version: what the file as a whole looks like (tables, keys, indexes), beside the version of each record.

use redb::{Database, WriteTransaction};

use super::{
    batch::{make_durable, unavailable},
    record,
    rows::{Rows, WriteRows},
    table::Table,
};
use crate::ports::store::{StoreError, StoreResult};

/// The schema that this certgate reads and writes.
pub(super) const CURRENT: u32 = 1;

/// Where the version is kept, in the table `meta`. The record is read by every certgate, older ones too: its form never changes.
pub(super) const KEY: &[u8] = b"schema";

/// A step from one schema to the next, in the transaction that also writes the new version.
type Migration = fn(&mut WriteRows<'_>) -> StoreResult<()>;

/// `MIGRATIONS[n]` leads from schema n + 1 to n + 2.
const MIGRATIONS: [Migration; CURRENT as usize - 1] = [];

/// Gives an empty file the current schema, brings an older one up to it, and refuses a newer one before anything is touched.
pub(super) fn prepare(database: &Database) -> StoreResult<()> {
    let mut transaction = database.begin_write().map_err(unavailable)?;
    make_durable(&mut transaction)?;
    let found = version(&transaction)?;
    if found == Some(CURRENT) {
        return transaction.abort().map_err(unavailable);
    }
    upgrade(&transaction, found)?;
    transaction.commit().map_err(unavailable)
}

fn upgrade(transaction: &WriteTransaction, found: Option<u32>) -> StoreResult<()> {
    let mut rows = WriteRows::new(transaction);
    if let Some(found) = found {
        migrate(&mut rows, found)?;
    }
    // A view cannot create a table: all of them exist from the start.
    for table in Table::ALL {
        rows.opened(*table)?;
    }
    rows.put_record(Table::Meta, KEY, &CURRENT)
}

/// Brings rows of the schema `found` up to the present one; the version itself is the caller's to write.
pub(super) fn migrate(rows: &mut WriteRows<'_>, found: u32) -> StoreResult<()> {
    if found > CURRENT {
        return Err(StoreError::NewerSchema { found, known: CURRENT });
    }
    let steps = MIGRATIONS.iter().skip(found.saturating_sub(1) as usize);
    steps.into_iter().try_for_each(|migration| migration(rows))
}

/// The version in the file; none in a new one. A file with other tables and without a version is not ours.
fn version(transaction: &WriteTransaction) -> StoreResult<Option<u32>> {
    if transaction.list_tables().map_err(unavailable)?.next().is_none() {
        return Ok(None);
    }
    let version = WriteRows::new(transaction).record(Table::Meta, KEY)?;
    version.map(Some).ok_or_else(|| {
        record::corrupt(Table::Meta, KEY, "the file has tables but no schema version".to_owned())
    })
}
