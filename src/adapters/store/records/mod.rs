//! The verbs of the port over rows: one file for each group of records.
//!
//! Every verb that writes checks first, so that a refusal leaves the transaction as it was.

mod alarms;
mod audit;
mod ca;
pub(super) mod certificates;
mod copies;
pub(in crate::adapters::store) mod crls;
pub(super) mod enrolments;
mod exchanges;
mod jobs;
mod objects;
mod publications;
pub(super) mod revocations;
mod sources;
mod timers;

use std::fmt::Display;

use super::{
    record,
    rows::{Rows, WriteRows},
    table::Table,
};
use crate::ports::store::{StoreError, StoreResult, Tx, View};

/// Records on rows of some kind.
pub(super) struct Records<R>(pub(super) R);

impl<R: Rows> View for Records<R> {}

impl Tx for Records<WriteRows<'_>> {
    fn as_view(&self) -> &dyn View {
        self
    }
}

impl Records<WriteRows<'_>> {
    /// The next number of a counter that starts at 1 and never goes back.
    fn next_number(&mut self, counter: &str) -> StoreResult<u64> {
        let key = counter.as_bytes();
        let last: u64 = self.0.record(Table::Meta, key)?.unwrap_or(0);
        let next = last
            .checked_add(1)
            .ok_or_else(|| record::corrupt(Table::Meta, key, "the counter is at its end".to_owned()))?;
        self.0.put_record(Table::Meta, key, &next)?;
        Ok(next)
    }

    /// A [`StoreError::Conflict`] if `index` has `key` with another target than `target`.
    fn refuse_taken(
        &self,
        index: Table,
        key: &[u8],
        target: &[u8],
        what: &'static str,
        problem: &'static str,
    ) -> StoreResult<()> {
        let taken = self.0.get(index, key, |found| Ok(found != target))?;
        if taken == Some(true) { Err(conflict(what, &target.escape_ascii(), problem)) } else { Ok(()) }
    }
}

/// The error for a broken rule.
fn conflict(what: &'static str, id: &dyn Display, problem: &'static str) -> StoreError {
    StoreError::Conflict { what, id: id.to_string(), problem }
}

/// The error for a `version` that does not follow the stored one.
fn refuse_version(
    what: &'static str,
    id: &dyn Display,
    version: u64,
    stored: Option<u64>,
) -> StoreResult<()> {
    let expected = stored.map_or(Some(1), |stored| stored.checked_add(1));
    if expected == Some(version) {
        return Ok(());
    }
    Err(conflict(what, id, if stored.is_some() { "was changed meanwhile" } else { "does not exist yet" }))
}
