//! Bytes to checked types and back, without I/O.
//!
//! Readers are tolerant where real clients need it (each tolerance names the client), bounded always; writers are strict
//! DER. Signing happens elsewhere: a builder gives the bytes to be signed and takes the signature ([`Unsigned`]).

mod algorithm;
pub(crate) mod base64;
pub mod ca_index;
pub mod cms;
pub mod crl;
pub mod csr;
pub mod der;
pub mod inventory;
pub mod ldap;
pub mod ocsp;
pub mod scep;
pub mod x509;

use std::fmt;

use crate::types::SignatureAlgorithm;

/// A structure that could not be written: a value in it is one that no reader would take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {what}: {reason}")]
pub struct EncodeError {
    /// The structure, in the standard's words.
    pub what: &'static str,
    /// What is wrong with the value.
    pub reason: String,
}

impl EncodeError {
    /// For use with `map_err`.
    pub(crate) fn of<E: fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self { what, reason: error.to_string() }
    }
}

type Assemble = Box<dyn FnOnce(Vec<u8>, &[u8]) -> Result<Vec<u8>, EncodeError> + Send>;

/// A structure that is complete but for its signature.
///
/// Contract: sign [`Unsigned::to_be_signed`] under [`Unsigned::algorithm`] and give the signature (for ECDSA its DER form)
/// to [`Unsigned::finish`], which returns the DER encoding of the signed structure.
pub struct Unsigned {
    /// The signed part, behind `room` bytes for what comes before it.
    buffer: Vec<u8>,
    room: usize,
    algorithm: SignatureAlgorithm,
    assemble: Assemble,
}

impl Unsigned {
    /// `assemble` puts the signature in place.
    pub(crate) fn new(
        to_be_signed: Vec<u8>,
        algorithm: SignatureAlgorithm,
        assemble: impl FnOnce(&[u8]) -> Result<Vec<u8>, EncodeError> + Send + 'static,
    ) -> Self {
        Self::assembled(to_be_signed, algorithm, |_, signature| assemble(signature))
    }

    /// SIGNED{} of X.509: certificates, CRLs and requests.
    pub(crate) fn signed(to_be_signed: Vec<u8>, algorithm: SignatureAlgorithm) -> Self {
        Self::signed_behind(0, to_be_signed, algorithm)
    }

    /// [`Unsigned::signed`], with the signed part in `buffer` behind `room` bytes. The header of the whole goes there: where it fits exactly
    /// and the buffer has room for the signature, nothing is moved or copied.
    pub(crate) fn signed_behind(room: usize, buffer: Vec<u8>, algorithm: SignatureAlgorithm) -> Self {
        let assemble = move |buffer, signature: &[u8]| Ok(x509::sign(buffer, room, algorithm, signature));
        Self { buffer, room, algorithm, assemble: Box::new(assemble) }
    }

    /// As [`Unsigned::new`]; `assemble` gets the signed part back, too.
    pub(crate) fn assembled(
        to_be_signed: Vec<u8>,
        algorithm: SignatureAlgorithm,
        assemble: impl FnOnce(Vec<u8>, &[u8]) -> Result<Vec<u8>, EncodeError> + Send + 'static,
    ) -> Self {
        Self { buffer: to_be_signed, room: 0, algorithm, assemble: Box::new(assemble) }
    }

    /// The same with more around it: `outer` gets what was finished.
    pub(crate) fn within(self, outer: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + 'static) -> Self {
        let Self { buffer, room, algorithm, assemble } = self;
        let assemble = move |buffer, signature: &[u8]| assemble(buffer, signature).map(outer);
        Self { buffer, room, algorithm, assemble: Box::new(assemble) }
    }

    /// The exact bytes that the signature covers.
    pub fn to_be_signed(&self) -> &[u8] {
        self.buffer.get(self.room..).unwrap_or_default()
    }

    /// The algorithm that the structure declares.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Puts `signature` in place.
    pub fn finish(self, signature: &[u8]) -> Result<Vec<u8>, EncodeError> {
        (self.assemble)(self.buffer, signature)
    }
}

impl fmt::Debug for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsigned").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
