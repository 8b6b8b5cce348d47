//! Use cases: load, decide, write in one transaction, answer.
