//! keyUsage (RFC 5280 §4.2.1.3).

use std::fmt;

use crate::wire::der::{
    BerError,
    reader::{BIT_STRING, Element},
    writer,
};

/// The purposes of a key. Text: the names of RFC 5280, joined by commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// digitalSignature.
    pub const DIGITAL_SIGNATURE: Self = Self(1 << 0);
    /// nonRepudiation, now called contentCommitment.
    pub const NON_REPUDIATION: Self = Self(1 << 1);
    /// keyEncipherment.
    pub const KEY_ENCIPHERMENT: Self = Self(1 << 2);
    /// dataEncipherment.
    pub const DATA_ENCIPHERMENT: Self = Self(1 << 3);
    /// keyAgreement.
    pub const KEY_AGREEMENT: Self = Self(1 << 4);
    /// keyCertSign.
    pub const KEY_CERT_SIGN: Self = Self(1 << 5);
    /// cRLSign.
    pub const CRL_SIGN: Self = Self(1 << 6);

    const NAMED: [(Self, &'static str); 7] = [
        (Self::DIGITAL_SIGNATURE, "digitalSignature"),
        (Self::NON_REPUDIATION, "nonRepudiation"),
        (Self::KEY_ENCIPHERMENT, "keyEncipherment"),
        (Self::DATA_ENCIPHERMENT, "dataEncipherment"),
        (Self::KEY_AGREEMENT, "keyAgreement"),
        (Self::KEY_CERT_SIGN, "keyCertSign"),
        (Self::CRL_SIGN, "cRLSign"),
    ];

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` is in this.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The usages of the first octet of the standard's BIT STRING, as Windows writes key usage: 0x80 is digitalSignature.
    pub const fn from_octet(octet: u8) -> Self {
        Self(octet.reverse_bits() as u16 & 0x7f)
    }

    /// The names of what is in it, in the order of RFC 5280.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(usage, _)| self.contains(*usage)).map(|(_, name)| name)
    }

    /// The BIT STRING without trailing zero bits (X.690 §11.2.2).
    pub(super) fn to_der(self) -> Vec<u8> {
        // Bit 0 of the standard is the top bit of the octet.
        let [_, low] = self.0.to_be_bytes();
        let octet = low.reverse_bits();
        let unused = u8::try_from(octet.trailing_zeros()).map_or(7, |zeros| zeros.min(7));
        writer::element(BIT_STRING, &[&[unused, octet]])
    }

    /// encipherOnly and decipherOnly are read over: they mean something only beside keyAgreement.
    pub(in crate::wire) fn read(element: &Element<'_>) -> Result<Self, BerError> {
        match (element.tag, element.content) {
            (BIT_STRING, [_unused]) => Ok(Self::default()),
            (BIT_STRING, [unused, octet, ..]) if *unused < 8 => Ok(Self::from_octet(*octet)),
            _ => Err("unreadable keyUsage".into()),
        }
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.names().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usage_reads_back() {
        for (usage, _) in KeyUsage::NAMED {
            assert_eq!(KeyUsage::read(&Element::only(&usage.to_der()).unwrap()), Ok(usage));
        }
    }

    #[test]
    fn encodes_as_the_standard_says() {
        let ca = KeyUsage::KEY_CERT_SIGN.union(KeyUsage::CRL_SIGN);
        assert_eq!(ca.to_der(), [3, 2, 1, 0x06]);
        assert_eq!(KeyUsage::DIGITAL_SIGNATURE.to_der(), [3, 2, 7, 0x80]);
        assert_eq!(ca.to_string(), "keyCertSign,cRLSign");
    }
}
