//! Certificate revocation lists (RFC 5280 §5).

mod build;
mod delta;
mod entries;
#[cfg(test)]
mod tests;

pub use build::CrlSpec;
use const_oid::{ObjectIdentifier, db::rfc5280};
pub use delta::{DeltaCrl, DeltaEntry, Unrelated};
pub(crate) use entries::{EncodedEntries, EncodedEntry, EntryList};

use super::{
    der::{
        BerError,
        reader::{ENUMERATED, Element, GENERALIZED_TIME, INTEGER, Reader, SEQUENCE, UTC_TIME, context},
        writer,
    },
    x509::{
        BadSignature, Certificate, DecodeError, Extension, KeyUsage, Name, Signed, distribution_points,
        extension, full_name, key_identifier,
    },
};
use crate::types::{RevocationReason, SerialNumber, Timestamp};

/// expiredCertsOnCRL (X.509 §9.5.2.8): RFC 5280 does not have it.
const EXPIRED_CERTS_ON_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.60");

/// CRLReason removeFromCRL: no reason that a certificate can have, and found in delta CRLs only (RFC 5280 §5.3.1).
const REMOVE_FROM_CRL: u8 = 8;

/// What a CRL is told that lists such an entry and is no delta.
const REMOVED_OUTSIDE_DELTA: &str = "an entry is removeFromCRL, which a delta CRL alone may have (RFC 5280 section 5.3.1): have the CA make a full CRL";

/// One entry of revokedCertificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlEntry {
    /// Whose entry it is.
    pub serial: SerialNumber,
    /// revocationDate.
    pub revoked_at: Timestamp,
    /// reasonCode.
    pub reason: RevocationReason,
    /// When the certificate became invalid, where that is known to be earlier (RFC 5280 §5.3.2).
    pub invalidity_date: Option<Timestamp>,
}

impl CrlEntry {
    /// The DER of the entry; `unspecified` is not encoded (RFC 5280 §5.3.1).
    pub fn to_der(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if self.reason != RevocationReason::Unspecified {
            let code = writer::element(ENUMERATED, &[&[self.reason.code()]]);
            extensions.extend(extension(rfc5280::ID_CE_CRL_REASONS, false, &code));
        }
        if let Some(time) = self.invalidity_date {
            let time = writer::generalized_time(time);
            extensions.extend(extension(rfc5280::ID_CE_INVALIDITY_DATE, false, &time));
        }
        let extensions = if extensions.is_empty() { extensions } else { writer::sequence(&[&extensions]) };
        writer::sequence(&[
            &writer::element(INTEGER, &[&self.serial.to_der_integer()]),
            &writer::time(self.revoked_at),
            &extensions,
        ])
    }
}

/// An entry of any CRL, as it lies there.
struct RawEntry {
    serial: SerialNumber,
    revoked_at: Timestamp,
    /// reasonCode, where there is one.
    reason: Option<u8>,
    invalidity_date: Option<Timestamp>,
}

impl RawEntry {
    fn read(element: &Element<'_>) -> Result<Self, BerError> {
        let mut fields = element.tagged(SEQUENCE)?.open();
        let serial = fields.expect(INTEGER, "userCertificate")?;
        let mut entry = Self {
            serial: SerialNumber::from_der_integer(serial.content).map_err(|_| "unusable serial number")?,
            revoked_at: fields.any()?.time()?,
            reason: None,
            invalidity_date: None,
        };
        if let Some(extensions) = fields.optional(SEQUENCE)? {
            for extension in Extension::read_all(&extensions)? {
                entry.take(&extension)?;
            }
        }
        fields.end()?;
        Ok(entry)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), BerError> {
        if extension.is(rfc5280::ID_CE_CRL_REASONS) {
            self.reason = Some(reason_code(&Element::only_tagged(extension.value, ENUMERATED)?)?);
        } else if extension.is(rfc5280::ID_CE_INVALIDITY_DATE) {
            self.invalidity_date = Some(Element::only_tagged(extension.value, GENERALIZED_TIME)?.time()?);
        } else if extension.critical {
            // RFC 5280 §5.3: such an entry could be another issuer's (certificateIssuer).
            return Err("a critical entry extension that is not understood".into());
        }
        Ok(())
    }

    /// The entry of a full CRL, in which removeFromCRL has no place.
    fn revoked(self) -> Result<CrlEntry, BerError> {
        if self.reason == Some(REMOVE_FROM_CRL) {
            return Err(REMOVED_OUTSIDE_DELTA.into());
        }
        let reason = self.reason.map_or(Ok(RevocationReason::Unspecified), known_reason)?;
        let Self { serial, revoked_at, invalidity_date, .. } = self;
        Ok(CrlEntry { serial, revoked_at, reason, invalidity_date })
    }
}

/// CRLReason (RFC 5280 §5.3.1) in a CRL entry or RevokedInfo.
pub(super) fn read_reason(code: &Element<'_>) -> Result<RevocationReason, BerError> {
    known_reason(reason_code(code)?)
}

fn reason_code(code: &Element<'_>) -> Result<u8, BerError> {
    u8::try_from(code.unsigned()?).map_err(|_| BerError::Value("unknown CRLReason"))
}

fn known_reason(code: u8) -> Result<RevocationReason, BerError> {
    RevocationReason::from_code(code).ok_or(BerError::Value("unknown CRLReason"))
}

/// What a CRL says beside its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlHead {
    issuer: Name,
    number: Option<u64>,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    authority_key_identifier: Option<Vec<u8>>,
    expired_since: Option<Timestamp>,
    base_number: Option<u64>,
    distribution_point: Option<Vec<String>>,
    freshest: Vec<String>,
    signed: Signed,
}

impl CrlHead {
    /// Reads a full CRL as [`Crl::from_der`] does, but hands each entry to `visit` and keeps neither entries nor DER: a list
    /// with a million entries is checked in constant memory.
    pub fn scan(der: &[u8], visit: impl FnMut(CrlEntry)) -> Result<Self, DecodeError> {
        let head = Self::scan_part(der, visit)?;
        if head.distribution_point.is_some() {
            return Err(DecodeError::of("CertificateList")(NOT_FULL));
        }
        Ok(head)
    }

    /// The same, also of a partition: what it lists is revoked, and what it does not list may be on another one.
    pub fn scan_part(der: &[u8], mut visit: impl FnMut(CrlEntry)) -> Result<Self, DecodeError> {
        let head = Self::scan_raw(der, |raw| {
            visit(raw.revoked()?);
            Ok(())
        })?;
        if head.base_number.is_some() {
            return Err(DecodeError::of("CertificateList")(NOT_FULL));
        }
        Ok(head)
    }

    /// Reads what a CRL of any scope that certgate knows says beside its entries, which it leaves alone.
    pub(crate) fn of(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse_fields(der).map(|(head, _)| head).map_err(DecodeError::of("CertificateList"))
    }

    /// Reads a CRL of any scope that certgate knows.
    fn scan_raw(
        der: &[u8],
        visit: impl FnMut(RawEntry) -> Result<(), BerError>,
    ) -> Result<Self, DecodeError> {
        Self::parse(der, visit).map_err(DecodeError::of("CertificateList"))
    }

    fn parse(der: &[u8], visit: impl FnMut(RawEntry) -> Result<(), BerError>) -> Result<Self, BerError> {
        let (head, list) = Self::parse_fields(der)?;
        visit_entries(list, visit)?;
        Ok(head)
    }

    fn parse_fields(der: &[u8]) -> Result<(Self, Reader<'_>), BerError> {
        let (signed, mut fields) = Signed::read(der)?;
        let _version = fields.optional(INTEGER)?;
        let inner_algorithm = fields.expect(SEQUENCE, "signature")?;
        // RFC 5280 §5.1.1.2: both AlgorithmIdentifiers must be the same.
        if !signed.declares(der, &inner_algorithm) {
            return Err("signatureAlgorithm differs from signature".into());
        }
        let issuer = fields.expect(SEQUENCE, "issuer")?;
        let this_update = fields.any()?.time()?;
        let next_update = match fields.optional(UTC_TIME)? {
            Some(time) => Some(time),
            None => fields.optional(GENERALIZED_TIME)?,
        };
        let entries = fields.optional(SEQUENCE)?;
        let extensions = fields.optional(context(0))?;
        fields.end()?;
        let mut head = Self {
            issuer: Name::parse(issuer.encoding)?,
            number: None,
            this_update,
            next_update: next_update.map(|time| time.time()).transpose()?,
            authority_key_identifier: None,
            expired_since: None,
            base_number: None,
            distribution_point: None,
            freshest: Vec::new(),
            signed,
        };
        if let Some(wrapped) = extensions {
            for extension in Extension::read_all(&wrapped.explicit()?)? {
                head.take(&extension)?;
            }
        }
        Ok((head, entries.map_or(Reader::new(&[]), |list| list.open())))
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), BerError> {
        if extension.is(rfc5280::ID_CE_CRL_NUMBER) {
            // Numbers have up to 20 octets (RFC 5280 §5.2.3); what does not fit is somebody else's and not compared.
            self.number = Element::only_tagged(extension.value, INTEGER)?.unsigned().ok();
        } else if extension.is(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER) {
            self.authority_key_identifier = key_identifier(extension.value)?;
        } else if extension.is(rfc5280::ID_CE_DELTA_CRL_INDICATOR) {
            self.base_number = Some(Element::only_tagged(extension.value, INTEGER)?.unsigned()?);
        } else if extension.is(rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT) {
            self.distribution_point = Some(issuing_distribution_point(extension.value)?);
        } else if extension.is(rfc5280::ID_CE_FRESHEST_CRL) {
            self.freshest = distribution_points(extension.value)?;
        } else if extension.is(EXPIRED_CERTS_ON_CRL) {
            self.expired_since = Some(Element::only_tagged(extension.value, GENERALIZED_TIME)?.time()?);
        } else if extension.critical {
            return Err("a critical extension that is not understood".into());
        }
        Ok(())
    }

    /// The issuer's name.
    pub const fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// cRLNumber, if it is there and below 2^64.
    pub const fn number(&self) -> Option<u64> {
        self.number
    }

    /// thisUpdate.
    pub const fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// nextUpdate.
    pub const fn next_update(&self) -> Option<Timestamp> {
        self.next_update
    }

    /// keyIdentifier of authorityKeyIdentifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.authority_key_identifier.as_deref()
    }

    /// expiredCertsOnCRL.
    pub const fn expired_since(&self) -> Option<Timestamp> {
        self.expired_since
    }

    /// BaseCRLNumber: only a delta CRL has it.
    pub const fn base_number(&self) -> Option<u64> {
        self.base_number
    }

    /// The URLs of the partition that it is about.
    pub fn distribution_point(&self) -> Option<&[String]> {
        self.distribution_point.as_deref()
    }

    /// Where the delta to it is.
    pub fn freshest(&self) -> &[String] {
        &self.freshest
    }

    /// As [`Crl::verify`]; `der` is what was scanned.
    pub fn verify(&self, der: &[u8], issuer: &Certificate) -> Result<(), BadSignature> {
        let may_sign = issuer.key_usage().is_none_or(|usage| usage.contains(KeyUsage::CRL_SIGN));
        if self.issuer != *issuer.subject() || !may_sign {
            return Err(BadSignature);
        }
        self.signed.verify(der, issuer.public_key())
    }
}

const NOT_FULL: BerError = BerError::Value("a critical extension: it is no full CRL");

fn visit_entries(
    mut list: Reader<'_>,
    mut visit: impl FnMut(RawEntry) -> Result<(), BerError>,
) -> Result<(), BerError> {
    while !list.is_empty() {
        visit(RawEntry::read(&list.any()?)?)?;
    }
    Ok(())
}

/// IssuingDistributionPoint with nothing but a fullName (RFC 5280 §5.2.5): anything else leaves certificates or reasons out.
fn issuing_distribution_point(value: &[u8]) -> Result<Vec<String>, BerError> {
    let mut fields = Element::only_tagged(value, SEQUENCE)?.open();
    let urls = match fields.optional(context(0))? {
        Some(name) => full_name(&name)?,
        None => Vec::new(),
    };
    fields.end().map_err(|_| {
        BerError::Value("a critical extension: an issuingDistributionPoint that leaves something out")
    })?;
    Ok(urls)
}

/// A CRL as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    head: CrlHead,
    entries: Vec<CrlEntry>,
}

impl Crl {
    /// Reads one full CRL in DER. Delta, partitioned and indirect CRLs are refused: their critical extensions change what an
    /// absent serial means (RFC 5280 §5.2).
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        let mut entries = Vec::new();
        let head = CrlHead::scan(der, |entry| entries.push(entry))?;
        Ok(Self { der: der.to_vec(), head, entries })
    }

    /// Reads the CRL of the partition that certificates with `url` in their cRLDistributionPoints are in (RFC 5280 §6.3.3 (b)(2)(i)).
    pub fn of_partition(der: &[u8], url: &str) -> Result<Self, DecodeError> {
        let mut entries = Vec::new();
        let head = CrlHead::scan_raw(der, |raw| {
            entries.push(raw.revoked()?);
            Ok(())
        })?;
        let named = head.distribution_point.as_ref().is_some_and(|urls| urls.iter().any(|own| own == url));
        if !named || head.base_number.is_some() {
            return Err(DecodeError::of("CertificateList")(BerError::Value(
                "it is not about this distribution point",
            )));
        }
        Ok(Self { der: der.to_vec(), head, entries })
    }

    /// What it says beside its entries.
    pub const fn head(&self) -> &CrlHead {
        &self.head
    }

    /// The DER, byte for byte as read.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The issuer's name.
    pub const fn issuer(&self) -> &Name {
        &self.head.issuer
    }

    /// cRLNumber, if it is there and below 2^64.
    pub const fn number(&self) -> Option<u64> {
        self.head.number
    }

    /// thisUpdate.
    pub const fn this_update(&self) -> Timestamp {
        self.head.this_update
    }

    /// nextUpdate.
    pub const fn next_update(&self) -> Option<Timestamp> {
        self.head.next_update
    }

    /// keyIdentifier of authorityKeyIdentifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.head.authority_key_identifier()
    }

    /// The entries in the order of the list.
    pub fn entries(&self) -> &[CrlEntry] {
        &self.entries
    }

    /// Whether `issuer` signed it: its subject is the CRL's issuer byte for byte, its keyUsage allows cRLSign (RFC 5280
    /// §6.3.3 f), its key made the signature. Says nothing of times.
    pub fn verify(&self, issuer: &Certificate) -> Result<(), BadSignature> {
        self.head.verify(&self.der, issuer)
    }
}
