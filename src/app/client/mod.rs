//! certgate as a client: HTTP/1.1 over TCP, TLS and the Unix socket, SCEP (RFC 8894), OCSP (RFC 6960), CRLs (RFC 5280).
//!
//! These are blocking: a command does one thing after another. They share the wire layer with the server, and nothing else.

pub mod crl;
pub mod error;
pub mod http;
pub mod key;
pub mod ocsp;
pub mod persona;
pub mod scep;
mod tls;
pub(in crate::app) mod tree;
