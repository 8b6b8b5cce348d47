//! The whole store at once, for backups.

use super::StoreResult;
use crate::domain::restore::Restoration;

/// One record of a store as a backup keeps it; what the parts mean is the store's own matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Kind of record.
    pub table: String,
    /// Its key.
    pub key: Vec<u8>,
    /// Its content, private keys sealed as they are in the store.
    pub value: Vec<u8>,
}

/// Reads the whole store at once.
pub trait Copies {
    /// The schema that [`Copies::export`] gives rows of.
    fn schema(&self) -> u32;
    /// Visits every row. Stops at the first error.
    fn export(&self, visit: &mut dyn FnMut(Row) -> StoreResult<()>) -> StoreResult<()>;
    /// From which backup the store was restored last, if it ever was.
    fn restoration(&self) -> StoreResult<Option<Restoration>>;
}

/// Fills an empty store.
pub trait CopiesMut {
    /// Takes the rows that `next` gives until it gives none, and brings them from `schema` up to the present one. Gives how many there
    /// were. Errors: [`StoreError::NewerSchema`](super::StoreError::NewerSchema); a [`StoreError::Conflict`](super::StoreError::Conflict) where
    /// the store is not empty or a table is not known.
    fn import(&mut self, schema: u32, next: &mut dyn FnMut() -> StoreResult<Option<Row>>)
    -> StoreResult<u64>;
    /// Replaces.
    fn put_restoration(&mut self, restoration: &Restoration) -> StoreResult<()>;
}
