//! What a CRL is about, and where it is.

use serde::{Deserialize, Serialize};

use crate::types::{IssuerId, SerialNumber};

/// What a CRL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrlScope {
    /// Every certificate of the issuer. It has no issuingDistributionPoint, because many readers take none (OpenSSL for a
    /// certificate without cRLDistributionPoints, Mbed TLS at all).
    Full,
    /// What changed since a full one (RFC 5280 §5.2.4).
    Delta,
    /// The certificates of one partition, which name it; with a critical issuingDistributionPoint (RFC 5280 §5.2.5).
    Partition(Partition),
}

/// One of `of` partitions. The serial number says which one a certificate is in, so that nothing else has to be kept, and a partition
/// stays whole when the number of partitions is changed: certificates that name the old ones find them complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// How many there are.
    pub of: u16,
    /// Which one: below `of`.
    pub index: u16,
}

impl Partition {
    /// The one of `of` partitions that the certificate with this serial number is in.
    pub fn holding(serial: &SerialNumber, of: u16) -> Self {
        Self::of_magnitude(serial.as_bytes(), of)
    }

    /// The same of the big-endian magnitude. 32 random bits: no partition is noticeably larger than another.
    pub(crate) fn of_magnitude(magnitude: &[u8], of: u16) -> Self {
        let low = magnitude.iter().rev().take(4).rev().fold(0_u32, |low, byte| low << 8 | u32::from(*byte));
        let index = low % u32::from(of.max(1));
        // Below `of`, which is a u16.
        Self { of, index: u16::try_from(index).unwrap_or_default() }
    }

    /// All of `of` partitions.
    pub fn all(of: u16) -> impl Iterator<Item = Self> {
        (0..of).map(move |index| Self { of, index })
    }
}

impl CrlScope {
    /// The path of the issuer's CRL of this scope, on whatever host.
    pub fn path(&self, issuer: &IssuerId) -> String {
        match self {
            Self::Full => format!("/crl/{issuer}.crl"),
            Self::Delta => format!("/crl/{issuer}-delta.crl"),
            Self::Partition(Partition { of, index }) => format!("/crl/{issuer}/{of}/{index}.crl"),
        }
    }

    /// Its name among the issuer's CRLs: `full`, `delta`, `3 of 16`.
    pub fn label(&self) -> String {
        match self {
            Self::Full => "full".to_owned(),
            Self::Delta => "delta".to_owned(),
            Self::Partition(Partition { of, index }) => format!("{index} of {of}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_in_one_partition_of_each_division() {
        for serial in ["01", "ff", "0100", "deadbeefdeadbeef", "4f00000000000000000000000000000f"] {
            let serial: SerialNumber = serial.parse().unwrap();
            for of in [2, 3, 16, 256] {
                let own = Partition::holding(&serial, of);
                assert_eq!(Partition::all(of).filter(|it| *it == own).count(), 1);
            }
        }
        let index = |serial: &str| Partition::holding(&serial.parse().unwrap(), 16).index;
        assert_eq!([index("0e"), index("4f00000000000000000000000000001f")], [14, 15]);
    }

    #[test]
    fn each_scope_has_its_own_path() {
        let issuer: IssuerId = "issuing-2".parse().unwrap();
        let path = |scope: CrlScope| scope.path(&issuer);
        assert_eq!(path(CrlScope::Full), "/crl/issuing-2.crl");
        assert_eq!(path(CrlScope::Delta), "/crl/issuing-2-delta.crl");
        assert_eq!(path(CrlScope::Partition(Partition { of: 16, index: 3 })), "/crl/issuing-2/16/3.crl");
    }
}
