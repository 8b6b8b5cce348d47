//! The entries of a CRL as they lie there: for making and comparing lists of a million entries without taking them apart.

use std::{borrow::Cow, slice};

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

/// Entries that are to be listed, in ascending order of the serial, in the pieces that they lie in: the entries of a large list lie one
/// behind the other, a thousand and more in a piece.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryList<'a> {
    pieces: Vec<Cow<'a, [u8]>>,
    entries: u64,
}

impl<'a> EntryList<'a> {
    /// Appends a piece of so many `entries`, whole ones.
    pub(crate) fn push(&mut self, piece: Cow<'a, [u8]>, entries: u64) {
        self.pieces.push(piece);
        self.entries += entries;
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> u64 {
        self.entries
    }

    /// Their DER, one or many in each piece.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.pieces.iter().map(AsRef::as_ref)
    }

    /// One after the other.
    pub(crate) fn iter(&self) -> EncodedEntries<'_> {
        EncodedEntries { rest: &[], pieces: self.pieces.iter() }
    }
}

/// Bytes that are compared at a time.
const STRIDE: usize = 4096;

/// The entries of a CRL that was checked before, or those that are to be listed, one after the other. Ends early where the list is
/// damaged.
#[derive(Clone, Debug)]
pub(crate) struct EncodedEntries<'a> {
    /// What is left of the piece that is being read.
    rest: &'a [u8],
    /// Those after it.
    pieces: slice::Iter<'a, Cow<'a, [u8]>>,
}

impl<'a> EncodedEntries<'a> {
    /// Of a CRL in DER.
    pub(crate) fn of(crl: &'a [u8]) -> Result<Self, DecodeError> {
        let (_, list) = CrlHead::parse_fields(crl).map_err(DecodeError::of("CertificateList"))?;
        Ok(Self { rest: list.rest(), ..Self::none() })
    }

    /// Of none.
    pub(crate) fn none() -> Self {
        Self { rest: &[], pieces: [].iter() }
    }

    /// Whether both are the same, byte for byte.
    pub(crate) fn same(mut self, mut other: Self) -> bool {
        loop {
            let common = self.piece().len().min(other.piece().len());
            if common == 0 {
                return self.rest.is_empty() && other.rest.is_empty();
            }
            if self.cut(common) != other.cut(common) {
                return false;
            }
        }
    }

    /// Passes over entries that both have next, byte for byte the same, many at a time; there may be some left.
    pub(crate) fn skip_common(&mut self, other: &mut Self) {
        loop {
            let most = self.piece().len().min(other.piece().len()).min(STRIDE);
            // Where the next ones differ it is not worth while to look at those behind them.
            let differ = self.rest.first_chunk::<64>() != other.rest.first_chunk::<64>();
            let whole = if differ { 0 } else { whole_entries(self.rest, most) };
            if whole == 0 || self.rest.get(..whole) != other.rest.get(..whole) {
                return;
            }
            self.cut(whole);
            other.cut(whole);
        }
    }

    /// What is left of the piece that is being read, or the next one; empty at the end.
    fn piece(&mut self) -> &'a [u8] {
        while self.rest.is_empty()
            && let Some(next) = self.pieces.next()
        {
            self.rest = next;
        }
        self.rest
    }

    /// The next `length` bytes of the piece, which has as many.
    fn cut(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }
}

/// How many of the first `most` bytes of `list` are whole entries. Those that are longer than any of ours are left to others.
fn whole_entries(list: &[u8], most: usize) -> usize {
    let mut end = 0;
    while let Some(length @ 0..0x80) = list.get(end + 1)
        && end + 2 + usize::from(*length) <= most
    {
        end += 2 + usize::from(*length);
    }
    end
}

impl<'a> Iterator for EncodedEntries<'a> {
    type Item = EncodedEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Reader::new(self.piece());
        if piece.is_empty() {
            return None;
        }
        let entry = EncodedEntry::next(&mut piece).ok();
        match &entry {
            Some(entry) => {
                self.cut(entry.der.len());
            }
            None => *self = Self::none(),
        }
        entry
    }
}
