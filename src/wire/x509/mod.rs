//! X.509 certificates (RFC 5280): names, keys, extensions; reading, checking, building.
//!
//! Readers walk the DER once and keep fields; everything that must be repeated byte for byte (names, keys, the whole
//! certificate) is kept as it came.

mod attribute;
mod build;
mod certificate;
mod extension;
mod general_name;
mod key;
mod key_usage;
mod name;
mod name_text;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use attribute::{COMMON_NAME, DEVICE_SERIAL_NUMBER, EMAIL_ADDRESS};
pub use build::CertificateSpec;
pub(in crate::wire) use build::{
    authority_key_identifier, distribution_point, distribution_point_name, extended_key_usage, extension,
    key_usage, ocsp_no_check, sign, subject_alt_name,
};
pub use certificate::Certificate;
pub(in crate::wire) use certificate::{Signed, first_pem_block};
pub(in crate::wire) use extension::{Extension, Extensions, distribution_points, full_name, key_identifier};
pub use general_name::GeneralName;
pub use key::{BadSignature, CannotEncrypt, KeyKind, PublicKey};
pub use key_usage::KeyUsage;
pub use name::{Name, NameError};
pub(in crate::wire) use name_text::escaped;

use super::der::BerError;

/// Bytes that are not what they should be. Carries the structure and the parser's words, for logs only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}: {reason}")]
pub struct DecodeError {
    /// The structure, in the standard's words.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl DecodeError {
    /// For use with `map_err`.
    pub(in crate::wire) fn of(what: &'static str) -> impl Fn(BerError) -> Self {
        move |error| Self { what, reason: error.to_string() }
    }
}

/// basicConstraints with cA TRUE (RFC 5280 §4.2.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaConstraint {
    /// pathLenConstraint.
    pub path_len: Option<u8>,
}
