//! The store port on redb.
