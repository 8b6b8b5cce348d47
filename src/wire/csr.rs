//! PKCS#10 certification requests (RFC 2986).

use super::{
    EncodeError, Unsigned,
    x509::{DecodeError, GeneralName, KeyUsage, Name, PublicKey},
};
use crate::types::{Fingerprint, Secret, SignatureAlgorithm};
use const_oid::ObjectIdentifier;

/// A request as read; nothing is proven yet.
#[derive(Clone, Debug)]
pub struct Csr {
    der: Vec<u8>, /* + parsed fields */
}
/// A request whose self-signature was checked: the sender holds the private key. Only [`Csr::prove`] makes one.
#[derive(Clone, Debug)]
pub struct ProvenCsr(Csr);
/// The self-signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's own signature does not verify")]
pub struct NotProven;

impl Csr {
    /// Tolerates attributes that are not DER-sorted (strongSwan 5.9).
    pub fn from_der(_der: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn from_pem(_pem: &str) -> Result<Self, DecodeError> {
        todo!()
    }
    pub fn prove(self) -> Result<ProvenCsr, NotProven> {
        todo!()
    }
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        todo!()
    }
}
impl ProvenCsr {
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }
    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        todo!()
    }
    pub fn subject(&self) -> &Name {
        todo!()
    }
    pub fn public_key(&self) -> &PublicKey {
        todo!()
    }
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        todo!()
    }
    pub fn challenge_password(&self) -> Option<&Secret> {
        todo!()
    }
    pub fn subject_alt_names(&self) -> &[GeneralName] {
        todo!()
    }
    pub fn key_usage(&self) -> Option<KeyUsage> {
        todo!()
    }
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        todo!()
    }
}
/// What a request will say (the built-in client).
#[derive(Clone, Debug)]
pub struct CsrSpec {
    pub subject: Name,
    pub public_key: PublicKey,
    pub subject_alt_names: Vec<GeneralName>,
    pub challenge_password: Option<Secret>,
}
impl CsrSpec {
    pub fn unsigned(&self, _algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        todo!()
    }
}
