//! The entries of a CRL as they lie there: for comparing lists of a million entries without taking them apart.

use super::{CrlEntry, CrlHead, REMOVE_FROM_CRL, RawEntry};
use crate::{
    types::SerialNumber,
    wire::{
        der::{
            BerError,
            reader::{Element, INTEGER, Reader, SEQUENCE},
        },
        x509::DecodeError,
    },
};

/// The DER of one entry, and where its serial number is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodedEntry<'a> {
    /// The whole entry.
    pub(crate) der: &'a [u8],
    /// The serial number without leading zero bytes, the highest byte first.
    magnitude: &'a [u8],
}

impl<'a> EncodedEntry<'a> {
    /// The entry that `der` is.
    pub(crate) fn of(der: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(der);
        let entry = Self::next(&mut reader).map_err(DecodeError::of("revokedCertificates"))?;
        Ok(entry)
    }

    fn next(list: &mut Reader<'a>) -> Result<Self, BerError> {
        let element = list.expect(SEQUENCE, "an entry")?;
        let serial = element.open().expect(INTEGER, "userCertificate")?.content;
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        Ok(Self { der: element.encoding, magnitude: &serial[zeros..] })
    }

    /// Comparable in the order of the list, which is that of the numbers.
    pub(crate) const fn order(&self) -> (usize, &'a [u8]) {
        (self.magnitude.len(), self.magnitude)
    }

    /// The serial number's bytes as [`SerialNumber::as_bytes`] has them.
    pub(crate) const fn magnitude(&self) -> &'a [u8] {
        self.magnitude
    }

    /// Whether it is a delta CRL's removeFromCRL.
    pub(crate) fn is_removal(&self) -> bool {
        self.raw().is_ok_and(|raw| raw.reason == Some(REMOVE_FROM_CRL))
    }

    /// The entry of a full CRL, taken apart.
    pub(crate) fn revoked(&self) -> Result<CrlEntry, DecodeError> {
        self.raw().and_then(RawEntry::revoked).map_err(DecodeError::of("revokedCertificates"))
    }

    fn raw(&self) -> Result<RawEntry, BerError> {
        RawEntry::read(&Element::only(self.der)?)
    }

    /// The serial number.
    pub(crate) fn serial(&self) -> Result<SerialNumber, DecodeError> {
        SerialNumber::from_magnitude(self.magnitude)
            .map_err(|_| DecodeError::of("revokedCertificates")(BerError::Value("unusable serial number")))
    }
}

/// The entries of a CRL that was checked before, one after the other. Ends early where the list is damaged.
#[derive(Clone, Debug)]
pub(crate) struct EncodedEntries<'a>(Reader<'a>);

impl<'a> EncodedEntries<'a> {
    /// Of a CRL in DER.
    pub(crate) fn of(crl: &'a [u8]) -> Result<Self, DecodeError> {
        CrlHead::parse_fields(crl).map(|(_, list)| Self(list)).map_err(DecodeError::of("CertificateList"))
    }

    /// Of none.
    pub(crate) const fn none() -> Self {
        Self(Reader::new(&[]))
    }
}

impl<'a> Iterator for EncodedEntries<'a> {
    type Item = EncodedEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() { None } else { EncodedEntry::next(&mut self.0).ok() }
    }
}
