//! certgate: a standalone PKI and SCEP gateway.
//!
//! The folders are the architecture. Each layer may use the ones above it in this list and never one below; a test
//! (`conformance/layering.rs`) reads the `use crate::` lines and fails on an upward import.
//!
//! | layer | what lives there |
//! |---|---|
//! | [`types`] | vocabulary: serial numbers, identifiers, timestamps, reasons, secrets |
//! | [`wire`] | bytes to checked types and back, without I/O: BER/DER, CMS, X.509, PKCS#10, SCEP, OCSP, CRL |
//! | [`domain`] | pure decisions: profile, challenge, enrolment, device lifecycle, the status rule, audit facts |
//! | [`ports`] | what the use cases need from outside, as small traits: store, keys, clock, random |
//! | [`service`] | use cases: load, decide, write in one transaction, answer |
//! | [`http`] | edges: device listener (SCEP, OCSP, CRL, CA certificates), API, ops, and the bridge from async to sync |
//! | [`app`] | the process: command line, configuration, wiring, workers, telemetry, systemd |
//!
//! [`adapters`] implement the ports (redb store, software keys) and are named only by `app`.
//!
//! The core is synchronous. `http::bridge` is the one place where async code hands work to threads and awaits the answer.

pub mod adapters;
pub mod app;
pub mod domain;
pub mod http;
pub mod ports;
pub mod service;
pub mod types;
pub mod wire;
