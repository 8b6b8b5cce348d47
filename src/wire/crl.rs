//! Certificate revocation lists (RFC 5280 §5).

use super::{
    EncodeError, Unsigned,
    x509::{BadSignature, Certificate, DecodeError, Name},
};
use crate::types::{RevocationReason, SerialNumber, SignatureAlgorithm, Timestamp};

/// One entry of revokedCertificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlEntry {
    pub serial: SerialNumber,
    pub revoked_at: Timestamp,
    pub reason: RevocationReason,
    pub invalidity_date: Option<Timestamp>,
}
impl CrlEntry {
    /// The DER of the entry; `unspecified` is not encoded (RFC 5280 §5.3.1).
    pub fn to_der(&self) -> Vec<u8> {
        todo!()
    }
}
/// A full CRL to be signed. `entries` are the DER of [`CrlEntry::to_der`], in ascending order of the serial.
#[derive(Clone, Debug)]
pub struct CrlSpec<'a> {
    pub issuer: &'a Name,
    pub authority_key_identifier: &'a [u8],
    pub number: u64,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: &'a [&'a [u8]],
}
impl CrlSpec<'_> {
    pub fn unsigned(&self, _algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        todo!()
    }
}
/// A CRL as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>, /* + parsed fields */
}
impl Crl {
    pub fn from_der(_der: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
    pub fn issuer(&self) -> &Name {
        todo!()
    }
    pub fn number(&self) -> Option<u64> {
        todo!()
    }
    pub fn this_update(&self) -> Timestamp {
        todo!()
    }
    pub fn next_update(&self) -> Option<Timestamp> {
        todo!()
    }
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        todo!()
    }
    pub fn entries(&self) -> &[CrlEntry] {
        todo!()
    }
    pub fn verify(&self, _issuer: &Certificate) -> Result<(), BadSignature> {
        todo!()
    }
}
