//! The whole store as rows, and back.

use super::{Records, conflict};
use crate::{
    adapters::store::{
        key,
        rows::{Flow, Rows, WriteRows},
        schema,
        table::Table,
    },
    domain::restore::Restoration,
    ports::store::{Copies, CopiesMut, Row, StoreError, StoreResult},
};

/// Where the last restoration is noted, in the table `meta`.
const RESTORATION: &[u8] = b"restoration";

impl<R: Rows> Copies for Records<R> {
    fn schema(&self) -> u32 {
        schema::CURRENT
    }

    fn export(&self, visit: &mut dyn FnMut(Row) -> StoreResult<()>) -> StoreResult<()> {
        for table in Table::ALL {
            self.0.scan(*table, &key::ALL, |key, value| {
                visit(Row { table: table.name().to_owned(), key: key.to_vec(), value: value.to_vec() })?;
                Ok(Flow::Continue(()))
            })?;
        }
        Ok(())
    }

    fn restoration(&self) -> StoreResult<Option<Restoration>> {
        self.0.record(Table::Meta, RESTORATION)
    }
}

impl CopiesMut for Records<WriteRows<'_>> {
    fn import(
        &mut self,
        schema: u32,
        next: &mut dyn FnMut() -> StoreResult<Option<Row>>,
    ) -> StoreResult<u64> {
        if schema > schema::CURRENT {
            return Err(StoreError::NewerSchema { found: schema, known: schema::CURRENT });
        }
        self.refuse_filled()?;
        let mut rows = 0;
        while let Some(Row { table, key, value }) = next()? {
            let known = Table::ALL.iter().find(|known| known.name() == table);
            let table = known.ok_or_else(|| conflict("table", &table, "is not known"))?;
            self.0.put(*table, &key, &value)?;
            rows += 1;
        }
        schema::migrate(&mut self.0, schema)?;
        self.0.put_record(Table::Meta, schema::KEY, &schema::CURRENT)?;
        Ok(rows)
    }

    fn put_restoration(&mut self, restoration: &Restoration) -> StoreResult<()> {
        self.0.put_record(Table::Meta, RESTORATION, restoration)
    }
}

impl Records<WriteRows<'_>> {
    /// Nothing but the schema version is in an empty store.
    fn refuse_filled(&self) -> StoreResult<()> {
        for table in Table::ALL {
            let own = u64::from(*table == Table::Meta);
            if self.0.count(*table)? > own {
                return Err(conflict("table", &table.name(), "is not empty"));
            }
        }
        Ok(())
    }
}
