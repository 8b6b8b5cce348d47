//! CertID (RFC 6960 §4.1.1).

use std::ops::Range;

use crate::{
    types::{DigestAlgorithm, SerialNumber},
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

/// CertID (RFC 6960 §4.1.1) as the client sent it; the answer repeats its DER byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertId {
    der: Vec<u8>,
    algorithm: Option<DigestAlgorithm>,
    issuer_name_hash: Range<usize>,
    issuer_key_hash: Range<usize>,
    serial: SerialNumber,
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
        let mut fields = element.tagged(SEQUENCE)?.open();
        let identifier = fields.expect(SEQUENCE, "hashAlgorithm")?;
        let name_hash = fields.expect(OCTET_STRING, "issuerNameHash")?;
        let key_hash = fields.expect(OCTET_STRING, "issuerKeyHash")?;
        let serial = fields.expect(INTEGER, "serialNumber")?;
        fields.end()?;
        // The four fields fill the element to its end.
        let key_hash_end = element.encoding.len() - serial.encoding.len();
        let name_hash_end = key_hash_end - key_hash.encoding.len();
        Ok(Self {
            der: element.encoding.to_vec(),
            algorithm: algorithm::digest_algorithm(&identifier),
            issuer_name_hash: name_hash_end - name_hash.content.len()..name_hash_end,
            issuer_key_hash: key_hash_end - key_hash.content.len()..key_hash_end,
            serial: SerialNumber::from_der_integer(serial.content).map_err(|_| "unusable serial number")?,
        })
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
        self.der.get(self.issuer_name_hash.clone()).unwrap_or_default()
    }

    /// Digest of the issuer's subjectPublicKey bits.
    pub fn issuer_key_hash(&self) -> &[u8] {
        self.der.get(self.issuer_key_hash.clone()).unwrap_or_default()
    }

    /// The certificate's serial number.
    pub const fn serial(&self) -> &SerialNumber {
        &self.serial
    }
}
