//! Delta CRLs (RFC 5280 §5.2.4): what changed since a full one.

use std::collections::BTreeMap;

use const_oid::db::rfc5280;

use super::{Crl, CrlEntry, CrlHead, REMOVE_FROM_CRL, RawEntry};
use crate::{
    types::{SerialNumber, Timestamp},
    wire::{
        der::{
            BerError,
            reader::{ENUMERATED, INTEGER},
            writer,
        },
        x509::{BadSignature, Certificate, DecodeError, extension},
    },
};

/// One entry of a delta CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeltaEntry {
    /// It is revoked or on hold, as this says.
    Listed(CrlEntry),
    /// It is not listed any more (removeFromCRL): released, or expired.
    Removed {
        /// Which one.
        serial: SerialNumber,
        /// revocationDate: since when.
        since: Timestamp,
    },
}

impl DeltaEntry {
    /// Whose entry it is.
    pub const fn serial(&self) -> &SerialNumber {
        match self {
            Self::Listed(entry) => &entry.serial,
            Self::Removed { serial, .. } => serial,
        }
    }

    /// The DER of the entry.
    pub fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Listed(entry) => entry.to_der(),
            Self::Removed { serial, since } => {
                let code = writer::element(ENUMERATED, &[&[REMOVE_FROM_CRL]]);
                let reason = extension(rfc5280::ID_CE_CRL_REASONS, false, &code);
                writer::sequence(&[
                    &writer::element(INTEGER, &[&serial.to_der_integer()]),
                    &writer::time(*since),
                    &writer::sequence(&[&reason]),
                ])
            }
        }
    }

    fn of(raw: RawEntry) -> Result<Self, BerError> {
        if raw.reason == Some(REMOVE_FROM_CRL) {
            return Ok(Self::Removed { serial: raw.serial, since: raw.revoked_at });
        }
        raw.revoked().map(Self::Listed)
    }
}

/// A delta CRL as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaCrl {
    der: Vec<u8>,
    head: CrlHead,
    entries: Vec<DeltaEntry>,
}

/// A delta CRL and a full one that do not belong together (RFC 5280 §5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delta CRL does not change this full CRL")]
pub struct Unrelated;

impl DeltaCrl {
    /// Reads one delta CRL in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        let mut entries = Vec::new();
        let head = CrlHead::scan_raw(der, |raw| {
            entries.push(DeltaEntry::of(raw)?);
            Ok(())
        })?;
        let refused = |reason| Err(DecodeError::of("CertificateList")(BerError::Value(reason)));
        if head.base_number.is_none() {
            return refused("it is no delta CRL");
        }
        if head.distribution_point.is_some() {
            return refused("a delta CRL of a partition");
        }
        Ok(Self { der: der.to_vec(), head, entries })
    }

    /// What it says beside its entries.
    pub const fn head(&self) -> &CrlHead {
        &self.head
    }

    /// The entries in the order of the list.
    pub fn entries(&self) -> &[DeltaEntry] {
        &self.entries
    }

    /// As [`Crl::verify`].
    pub fn verify(&self, issuer: &Certificate) -> Result<(), BadSignature> {
        self.head.verify(&self.der, issuer)
    }

    /// The entries of the full CRL that `base` becomes with this delta, by serial (RFC 5280 §5.2.4 (a) to (d)).
    pub fn applied_to(&self, base: &Crl) -> Result<BTreeMap<SerialNumber, CrlEntry>, Unrelated> {
        let same_issuer = base.issuer() == self.head.issuer()
            && base.authority_key_identifier() == self.head.authority_key_identifier();
        let numbers = base.number().zip(self.head.base_number).zip(self.head.number);
        let in_sequence = numbers.is_some_and(|((base, from), delta)| from <= base && base <= delta);
        if !(same_issuer && in_sequence) {
            return Err(Unrelated);
        }
        let mut entries: BTreeMap<_, _> =
            base.entries().iter().map(|entry| (entry.serial.clone(), entry.clone())).collect();
        for change in &self.entries {
            match change {
                DeltaEntry::Listed(entry) => entries.insert(entry.serial.clone(), entry.clone()),
                DeltaEntry::Removed { serial, .. } => entries.remove(serial),
            };
        }
        Ok(entries)
    }
}
