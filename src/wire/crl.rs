//! Certificate revocation lists (RFC 5280 §5).

use const_oid::db::rfc5280;

use super::{
    EncodeError, Unsigned,
    x509::{
        BadSignature, Certificate, DecodeError, Extension, KeyUsage, Name, Signed, algorithm,
        authority_key_identifier, extension, key_identifier,
        tlv::{self, ENUMERATED, Element, GENERALIZED_TIME, INTEGER, Reason, SEQUENCE, UTC_TIME, context},
    },
};
use crate::types::{RevocationReason, SerialNumber, SignatureAlgorithm, Timestamp};

/// Room for AlgorithmIdentifier, signature and header, so that a large list is not moved to a larger buffer for them.
const ROOM_FOR_SIGNATURE: usize = 1024;

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
            let code = tlv::element(ENUMERATED, &[&[self.reason.code()]]);
            extensions.extend(extension(rfc5280::ID_CE_CRL_REASONS, false, &code));
        }
        if let Some(time) = self.invalidity_date {
            let time = tlv::generalized_time(time);
            extensions.extend(extension(rfc5280::ID_CE_INVALIDITY_DATE, false, &time));
        }
        let extensions = if extensions.is_empty() { extensions } else { tlv::sequence(&[&extensions]) };
        tlv::sequence(&[
            &tlv::element(INTEGER, &[&self.serial.to_der_integer()]),
            &tlv::time(self.revoked_at),
            &extensions,
        ])
    }

    fn read(element: &Element<'_>) -> Result<Self, Reason> {
        let mut fields = element.tagged(SEQUENCE)?.inside();
        let serial = fields.expect(INTEGER)?;
        let mut entry = Self {
            serial: SerialNumber::from_der_integer(serial.content).map_err(|_| "unusable serial number")?,
            revoked_at: fields.next()?.time()?,
            reason: RevocationReason::Unspecified,
            invalidity_date: None,
        };
        if let Some(extensions) = fields.optional(SEQUENCE)? {
            for extension in Extension::read_all(&extensions)? {
                entry.take(&extension)?;
            }
        }
        fields.finish()?;
        Ok(entry)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), Reason> {
        if extension.is(rfc5280::ID_CE_CRL_REASONS) {
            self.reason = read_reason(&Element::only_tagged(extension.value, ENUMERATED)?)?;
        } else if extension.is(rfc5280::ID_CE_INVALIDITY_DATE) {
            self.invalidity_date = Some(Element::only_tagged(extension.value, GENERALIZED_TIME)?.time()?);
        } else if extension.critical {
            // RFC 5280 §5.3: such an entry could be another issuer's (certificateIssuer).
            return Err("a critical entry extension that is not understood");
        }
        Ok(())
    }
}

/// CRLReason (RFC 5280 §5.3.1) in a CRL entry or RevokedInfo.
pub(super) fn read_reason(code: &Element<'_>) -> Result<RevocationReason, Reason> {
    let code = u8::try_from(code.unsigned()?).map_err(|_| "unknown CRLReason")?;
    RevocationReason::from_code(code).ok_or("unknown CRLReason")
}

/// A full CRL to be signed. `entries` are the DER of [`CrlEntry::to_der`], in ascending order of the serial.
#[derive(Clone, Debug)]
pub struct CrlSpec<'a> {
    /// The issuer's subject, byte for byte.
    pub issuer: &'a Name,
    /// The issuer's subjectKeyIdentifier.
    pub authority_key_identifier: &'a [u8],
    /// cRLNumber: greater than that of every CRL before.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// Copied as they are; none: the list is absent (RFC 5280 §5.1.2.6).
    pub entries: &'a [&'a [u8]],
}

impl CrlSpec<'_> {
    /// The version 2 CRL, to be signed by the issuer under `algorithm`.
    ///
    /// The entries are copied once, into a buffer that also has room for the signature.
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        let before = [
            &tlv::unsigned(1),
            algorithm::signature_identifier(algorithm).as_slice(),
            self.issuer.as_der(),
            &tlv::time(self.this_update),
            &tlv::time(self.next_update),
        ]
        .concat();
        let after = tlv::element(context(0), &[&tlv::sequence(&[&self.extensions()])]);
        let entries_len: usize = self.entries.iter().map(|entry| entry.len()).sum();
        let list_len = if entries_len == 0 { 0 } else { tlv::header_len(entries_len) + entries_len };
        let content_len = before.len() + list_len + after.len();

        let mut to_be_signed = Vec::with_capacity(content_len + ROOM_FOR_SIGNATURE);
        tlv::push_header(&mut to_be_signed, SEQUENCE, content_len);
        to_be_signed.extend_from_slice(&before);
        if entries_len > 0 {
            tlv::push_header(&mut to_be_signed, SEQUENCE, entries_len);
            for entry in self.entries {
                to_be_signed.extend_from_slice(entry);
            }
        }
        to_be_signed.extend_from_slice(&after);
        Ok(Unsigned::signed(to_be_signed, algorithm))
    }

    fn extensions(&self) -> Vec<u8> {
        let key = authority_key_identifier(self.authority_key_identifier);
        let mut all = extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &key);
        all.extend(extension(rfc5280::ID_CE_CRL_NUMBER, false, &tlv::unsigned(self.number)));
        all
    }
}

/// A CRL as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    issuer: Name,
    number: Option<u64>,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    authority_key_identifier: Option<Vec<u8>>,
    entries: Vec<CrlEntry>,
    signed: Signed,
}

impl Crl {
    /// Reads one full CRL in DER. Delta, partitioned and indirect CRLs are refused: their critical extensions change what an
    /// absent serial means (RFC 5280 §5.2).
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(der).map_err(tlv::malformed("CertificateList"))
    }

    fn parse(der: &[u8]) -> Result<Self, Reason> {
        let (signed, mut fields) = Signed::read(der)?;
        let _version = fields.optional(INTEGER)?;
        let inner_algorithm = fields.expect(SEQUENCE)?;
        // RFC 5280 §5.1.1.2: both AlgorithmIdentifiers must be the same.
        if !signed.declares(der, &inner_algorithm) {
            return Err("signatureAlgorithm differs from signature");
        }
        let issuer = fields.expect(SEQUENCE)?;
        let this_update = fields.next()?.time()?;
        let next_update = match fields.optional(UTC_TIME)? {
            Some(time) => Some(time),
            None => fields.optional(GENERALIZED_TIME)?,
        };
        let entries = fields.optional(SEQUENCE)?;
        let extensions = fields.optional(context(0))?;
        fields.finish()?;
        let mut crl = Self {
            issuer: Name::parse(issuer.encoding)?,
            number: None,
            this_update,
            next_update: next_update.map(|time| time.time()).transpose()?,
            authority_key_identifier: None,
            entries: entries.map(|list| read_entries(&list)).transpose()?.unwrap_or_default(),
            signed,
            der: Vec::new(),
        };
        if let Some(wrapped) = extensions {
            for extension in Extension::read_all(&wrapped.explicit()?)? {
                crl.take(&extension)?;
            }
        }
        crl.der = der.to_vec();
        Ok(crl)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), Reason> {
        if extension.is(rfc5280::ID_CE_CRL_NUMBER) {
            // Numbers have up to 20 octets (RFC 5280 §5.2.3); what does not fit is somebody else's and not compared.
            self.number = Element::only_tagged(extension.value, INTEGER)?.unsigned().ok();
        } else if extension.is(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER) {
            self.authority_key_identifier = key_identifier(extension.value)?;
        } else if extension.critical {
            return Err("a critical extension that is not understood");
        }
        Ok(())
    }

    /// The DER, byte for byte as read.
    pub fn as_der(&self) -> &[u8] {
        &self.der
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

    /// The entries in the order of the list.
    pub fn entries(&self) -> &[CrlEntry] {
        &self.entries
    }

    /// Whether `issuer` signed it: its subject is the CRL's issuer byte for byte, its keyUsage allows cRLSign (RFC 5280
    /// §6.3.3 f), its key made the signature. Says nothing of times.
    pub fn verify(&self, issuer: &Certificate) -> Result<(), BadSignature> {
        let may_sign = issuer.key_usage().is_none_or(|usage| usage.contains(KeyUsage::CRL_SIGN));
        if self.issuer != *issuer.subject() || !may_sign {
            return Err(BadSignature);
        }
        self.signed.verify(&self.der, issuer.public_key())
    }
}

fn read_entries(list: &Element<'_>) -> Result<Vec<CrlEntry>, Reason> {
    /// Octets of the shortest entry that has a reason, as an estimate.
    const SHORT_ENTRY: usize = 36;
    let mut entries = Vec::with_capacity(list.content.len() / SHORT_ENTRY);
    let mut elements = list.inside();
    while !elements.is_finished() {
        entries.push(CrlEntry::read(&elements.next()?)?);
    }
    Ok(entries)
}
