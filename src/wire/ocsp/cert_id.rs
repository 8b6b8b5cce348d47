//! CertID (RFC 6960 §4.1.1).

use crate::{
    types::{DigestAlgorithm, SerialNumber, SerialRef},
    wire::{
        EncodeError, algorithm,
        der::{
            BerError,
            reader::{Element, INTEGER, OCTET_STRING, SEQUENCE},
            writer,
        },
        x509::{Certificate, DecodeError},
    },
};

/// A CertID where it lies in a request: reading it copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertIdRef<'a> {
    der: &'a [u8],
    algorithm: Option<DigestAlgorithm>,
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: SerialRef<'a>,
}

impl<'a> CertIdRef<'a> {
    pub(super) fn read(element: &Element<'a>) -> Result<Self, BerError> {
        let mut fields = element.tagged(SEQUENCE)?.open();
        let identifier = fields.expect(SEQUENCE, "hashAlgorithm")?;
        let name_hash = fields.expect(OCTET_STRING, "issuerNameHash")?;
        let key_hash = fields.expect(OCTET_STRING, "issuerKeyHash")?;
        let serial = fields.expect(INTEGER, "serialNumber")?;
        fields.end()?;
        Ok(Self {
            der: element.encoding,
            algorithm: algorithm::digest_algorithm(&identifier),
            issuer_name_hash: name_hash.content,
            issuer_key_hash: key_hash.content,
            serial: SerialRef::from_der_integer(serial.content).map_err(|_| "unusable serial number")?,
        })
    }

    /// The DER, byte for byte as read.
    pub const fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// None: an algorithm that certgate does not know.
    pub const fn algorithm(&self) -> Option<DigestAlgorithm> {
        self.algorithm
    }

    /// The certificate's serial number.
    pub const fn serial(&self) -> SerialRef<'a> {
        self.serial
    }
}

/// A CertID as the client sent it; the answer repeats its DER byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertId {
    der: Vec<u8>,
    algorithm: Option<DigestAlgorithm>,
    issuer_name_hash: Vec<u8>,
    issuer_key_hash: Vec<u8>,
    serial: SerialNumber,
}

impl From<CertIdRef<'_>> for CertId {
    fn from(id: CertIdRef<'_>) -> Self {
        Self {
            der: id.der.to_vec(),
            algorithm: id.algorithm,
            issuer_name_hash: id.issuer_name_hash.to_vec(),
            issuer_key_hash: id.issuer_key_hash.to_vec(),
            serial: id.serial.into(),
        }
    }
}

impl CertId {
    /// For a client: names `serial` of `issuer`.
    pub fn new(
        algorithm: DigestAlgorithm,
        issuer: &Certificate,
        serial: &SerialNumber,
    ) -> Result<Self, EncodeError> {
        let name_hash = algorithm.digest(issuer.subject().as_der());
        let key_hash = algorithm.digest(issuer.public_key().key_bits());
        let der = writer::sequence(&[
            &algorithm::digest_identifier(algorithm),
            &writer::element(OCTET_STRING, &[&name_hash]),
            &writer::element(OCTET_STRING, &[&key_hash]),
            &writer::element(INTEGER, &[&serial.to_der_integer()]),
        ]);
        Element::only(&der).and_then(|element| Self::read(&element)).map_err(EncodeError::of("CertID"))
    }

    /// Reads one CertID.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        Element::only(der).and_then(|element| Self::read(&element)).map_err(DecodeError::of("CertID"))
    }

    pub(super) fn read(element: &Element<'_>) -> Result<Self, BerError> {
        CertIdRef::read(element).map(Self::from)
    }

    /// The same, borrowed.
    pub fn borrowed(&self) -> CertIdRef<'_> {
        CertIdRef {
            der: &self.der,
            algorithm: self.algorithm,
            issuer_name_hash: &self.issuer_name_hash,
            issuer_key_hash: &self.issuer_key_hash,
            serial: self.serial.borrowed(),
        }
    }

    /// The DER, byte for byte as read.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// None: an algorithm that certgate does not know.
    pub const fn algorithm(&self) -> Option<DigestAlgorithm> {
        self.algorithm
    }

    /// Digest of the DER of the issuer's name.
    pub fn issuer_name_hash(&self) -> &[u8] {
        &self.issuer_name_hash
    }

    /// Digest of the issuer's subjectPublicKey bits.
    pub fn issuer_key_hash(&self) -> &[u8] {
        &self.issuer_key_hash
    }

    /// The certificate's serial number.
    pub const fn serial(&self) -> &SerialNumber {
        &self.serial
    }
}
