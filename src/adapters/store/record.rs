//! Records as bytes: a version byte, then postcard.
//!
//! postcard writes fields and variants by position, not by name. A record type that gains, loses or reorders a field or
//! a variant therefore needs a new version in `table`, a reader for the old one here, and a fixture of the old bytes;
//! `fixtures/store/schema-5.txt` holds the bytes of every kind of record, and the contract suite compares them.

use serde::{Serialize, de::DeserializeOwned};

use super::{key, table::Table};
use crate::ports::store::{StoreError, StoreResult};

/// The bytes of `record` in `table`.
pub(super) fn encode<T: Serialize>(table: Table, key: &[u8], record: &T) -> StoreResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(table.record_version());
    postcard::to_extend(record, bytes).map_err(|error| corrupt(table, key, error.to_string()))
}

/// The record that `bytes` are in `table`.
pub(super) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], bytes: &[u8]) -> StoreResult<T> {
    let (version, body) = bytes.split_first().ok_or_else(|| corrupt(table, key, "it is empty".to_owned()))?;
    if *version != table.record_version() {
        return Err(corrupt(table, key, format!("record version {version} is not known")));
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(corrupt(table, key, format!("{} bytes too many", rest.len()))),
        Err(error) => Err(corrupt(table, key, error.to_string())),
    }
}

/// The error that names the record.
pub(super) fn corrupt(table: Table, key: &[u8], reason: String) -> StoreError {
    StoreError::Corrupt { table: table.name(), key: key::describe(table, key), reason }
}
