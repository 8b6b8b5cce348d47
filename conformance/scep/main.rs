//! SCEP (RFC 8894) through the use cases: every answer is opened and looked into. Tests are named by the section of the RFC
//! that they hold to (`s3_2_1_2_..`), with a letter (`s3_2_1_2_a_..`) by the row of the checklist in `checklist`; `table_..` are the rows of the answer table for bad input in the README.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../logged.rs"]
mod logged;

mod abuse;
mod alternate;
mod approval;
mod at_rest;
mod bad_input;
mod captured;
mod checklist;
mod client;
mod keyrings;
mod old_digest;
mod password;
mod profile;
mod race;
mod renewal;
mod retention;
mod rollover;
mod s2_operation;
mod s3_messages;
mod s4_transactions;
mod standing;
mod system;
mod ticket;
mod trace;
mod uniform;
mod user;

/// A device profile with one-time tickets and names from the record.
pub(crate) const DEVICE: &str = r#"subject = "CN=$DEVICE_ID$,O=Test""#;
