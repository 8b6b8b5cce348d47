//! Certificate revocation lists (RFC 5280 §5).

use const_oid::db::rfc5280;

use super::{
    EncodeError, Unsigned, algorithm,
    der::{
        BerError,
        reader::{ENUMERATED, Element, GENERALIZED_TIME, INTEGER, Reader, SEQUENCE, UTC_TIME, context},
        writer,
    },
    x509::{
        BadSignature, Certificate, DecodeError, Extension, KeyUsage, Name, Signed, authority_key_identifier,
        extension, key_identifier,
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

    fn read(element: &Element<'_>) -> Result<Self, BerError> {
        let mut fields = element.tagged(SEQUENCE)?.open();
        let serial = fields.expect(INTEGER, "userCertificate")?;
        let mut entry = Self {
            serial: SerialNumber::from_der_integer(serial.content).map_err(|_| "unusable serial number")?,
            revoked_at: fields.any()?.time()?,
            reason: RevocationReason::Unspecified,
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
            self.reason = read_reason(&Element::only_tagged(extension.value, ENUMERATED)?)?;
        } else if extension.is(rfc5280::ID_CE_INVALIDITY_DATE) {
            self.invalidity_date = Some(Element::only_tagged(extension.value, GENERALIZED_TIME)?.time()?);
        } else if extension.critical {
            // RFC 5280 §5.3: such an entry could be another issuer's (certificateIssuer).
            return Err("a critical entry extension that is not understood".into());
        }
        Ok(())
    }
}

/// CRLReason (RFC 5280 §5.3.1) in a CRL entry or RevokedInfo.
pub(super) fn read_reason(code: &Element<'_>) -> Result<RevocationReason, BerError> {
    let code = u8::try_from(code.unsigned()?).map_err(|_| "unknown CRLReason")?;
    RevocationReason::from_code(code).ok_or(BerError::Value("unknown CRLReason"))
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
            &writer::unsigned(1),
            algorithm::signature_identifier(algorithm).as_slice(),
            self.issuer.as_der(),
            &writer::time(self.this_update),
            &writer::time(self.next_update),
        ]
        .concat();
        let after = writer::element(context(0), &[&writer::sequence(&[&self.extensions()])]);
        let entries_len: usize = self.entries.iter().map(|entry| entry.len()).sum();
        let list_len = if entries_len == 0 { 0 } else { writer::header_len(entries_len) + entries_len };
        let content_len = before.len() + list_len + after.len();

        let mut to_be_signed = Vec::with_capacity(content_len + ROOM_FOR_SIGNATURE);
        writer::push_header(&mut to_be_signed, SEQUENCE, content_len);
        to_be_signed.extend_from_slice(&before);
        if entries_len > 0 {
            writer::push_header(&mut to_be_signed, SEQUENCE, entries_len);
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
        all.extend(extension(rfc5280::ID_CE_CRL_NUMBER, false, &writer::unsigned(self.number)));
        all
    }
}

/// What a CRL says beside its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlHead {
    issuer: Name,
    number: Option<u64>,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    authority_key_identifier: Option<Vec<u8>>,
    signed: Signed,
}

impl CrlHead {
    /// Reads a CRL as [`Crl::from_der`] does, but hands each entry to `visit` and keeps neither entries nor DER: a list
    /// with a million entries is checked in constant memory.
    pub fn scan(der: &[u8], visit: impl FnMut(CrlEntry)) -> Result<Self, DecodeError> {
        Self::parse(der, visit).map_err(DecodeError::of("CertificateList"))
    }

    fn parse(der: &[u8], visit: impl FnMut(CrlEntry)) -> Result<Self, BerError> {
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
            signed,
        };
        if let Some(wrapped) = extensions {
            for extension in Extension::read_all(&wrapped.explicit()?)? {
                head.take(&extension)?;
            }
        }
        if let Some(list) = entries {
            visit_entries(list.open(), visit)?;
        }
        Ok(head)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), BerError> {
        if extension.is(rfc5280::ID_CE_CRL_NUMBER) {
            // Numbers have up to 20 octets (RFC 5280 §5.2.3); what does not fit is somebody else's and not compared.
            self.number = Element::only_tagged(extension.value, INTEGER)?.unsigned().ok();
        } else if extension.is(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER) {
            self.authority_key_identifier = key_identifier(extension.value)?;
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

    /// As [`Crl::verify`]; `der` is what was scanned.
    pub fn verify(&self, der: &[u8], issuer: &Certificate) -> Result<(), BadSignature> {
        let may_sign = issuer.key_usage().is_none_or(|usage| usage.contains(KeyUsage::CRL_SIGN));
        if self.issuer != *issuer.subject() || !may_sign {
            return Err(BadSignature);
        }
        self.signed.verify(der, issuer.public_key())
    }
}

fn visit_entries(mut list: Reader<'_>, mut visit: impl FnMut(CrlEntry)) -> Result<(), BerError> {
    while !list.is_empty() {
        visit(CrlEntry::read(&list.any()?)?);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::x509::{
            CaConstraint, CertificateSpec,
            testing::{Authority, mutations},
        },
    };

    const CA: &[u8] = include_bytes!("../../fixtures/x509/ca.der");
    const EMPTY: &[u8] = include_bytes!("../../fixtures/x509/empty.crl");
    const ENTRIES: &[u8] = include_bytes!("../../fixtures/x509/entries.crl");

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(serial: &str, reason: RevocationReason) -> CrlEntry {
        CrlEntry {
            serial: serial.parse().unwrap(),
            revoked_at: at("2026-01-03T00:00:00Z"),
            reason,
            invalidity_date: None,
        }
    }

    fn build(ca: &Authority, entries: &[CrlEntry]) -> Vec<u8> {
        let entries: Vec<_> = entries.iter().map(CrlEntry::to_der).collect();
        let spec = CrlSpec {
            issuer: ca.certificate.subject(),
            authority_key_identifier: ca.certificate.subject_key_identifier().unwrap(),
            number: u64::MAX,
            this_update: at("2026-11-21T00:00:00Z"),
            next_update: at("2050-01-01T00:00:00Z"),
            entries: &entries.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        };
        ca.key.finish(spec.unsigned(ca.key.algorithm()).unwrap())
    }

    #[test]
    fn reads_openssls_lists() {
        let ca = Certificate::from_der(CA).unwrap();
        let empty = Crl::from_der(EMPTY).unwrap();
        assert_eq!(empty.verify(&ca), Ok(()));
        assert_eq!((empty.number(), empty.entries()), (Some(0x1001), &[][..]));
        let crl = Crl::from_der(ENTRIES).unwrap();
        assert_eq!(crl.verify(&ca), Ok(()));
        assert_eq!(crl.as_der(), ENTRIES);
        assert_eq!(crl.issuer(), ca.subject());
        assert_eq!(crl.number(), Some(0x1002));
        assert_eq!(crl.authority_key_identifier(), ca.subject_key_identifier());
        assert!(crl.next_update().unwrap() > crl.this_update());
        let expected = [
            CrlEntry {
                revoked_at: at("2026-01-01T00:00:00Z"),
                invalidity_date: Some(at("2025-12-31T00:00:00Z")),
                ..entry("4f00ab", RevocationReason::KeyCompromise)
            },
            CrlEntry {
                revoked_at: at("2026-01-02T00:00:00Z"),
                ..entry("4f00ac", RevocationReason::CertificateHold)
            },
            entry("4f00ad", RevocationReason::Unspecified),
        ];
        assert_eq!(crl.entries(), expected);
    }

    #[test]
    fn writes_entries_as_openssl_does() {
        for entry in Crl::from_der(ENTRIES).unwrap().entries() {
            let der = entry.to_der();
            assert!(ENTRIES.windows(der.len()).any(|window| window == der), "{entry:?}");
        }
    }

    #[test]
    fn what_is_built_reads_back_and_verifies() {
        for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P384] {
            let ca = Authority::new(algorithm, "CN=CA,O=Lab");
            for count in [0, 1, 9, 500] {
                let entries: Vec<_> = (0..count)
                    .map(|index| {
                        let reason = RevocationReason::ALL[index % 9];
                        let invalidity_date = (index % 2 == 1).then(|| at("2025-12-31T00:00:00Z"));
                        CrlEntry { invalidity_date, ..entry(&format!("{:x}", index + 1), reason) }
                    })
                    .collect();
                let crl = Crl::from_der(&build(&ca, &entries)).unwrap();
                assert_eq!(crl.verify(&ca.certificate), Ok(()));
                assert_eq!(crl.entries(), entries);
                assert_eq!(crl.number(), Some(u64::MAX));
                assert_eq!(crl.this_update(), at("2026-11-21T00:00:00Z"));
                assert_eq!(crl.next_update(), Some(at("2050-01-01T00:00:00Z")));
                assert_eq!(crl.authority_key_identifier(), ca.certificate.subject_key_identifier());
            }
        }
    }

    #[test]
    fn a_scan_sees_what_reading_keeps() {
        let ca = Certificate::from_der(CA).unwrap();
        let crl = Crl::from_der(ENTRIES).unwrap();
        let mut seen = Vec::new();
        let head = CrlHead::scan(ENTRIES, |entry| seen.push(entry)).unwrap();
        assert_eq!(seen, crl.entries());
        assert_eq!((head.number(), head.issuer()), (crl.number(), crl.issuer()));
        assert_eq!((head.this_update(), head.next_update()), (crl.this_update(), crl.next_update()));
        assert_eq!(head.authority_key_identifier(), crl.authority_key_identifier());
        assert_eq!(head.verify(ENTRIES, &ca), Ok(()));
        assert_eq!(head.verify(EMPTY, &ca), Err(BadSignature));
    }

    #[test]
    fn verifies_only_under_the_issuer_that_may_sign() {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
        let crl = Crl::from_der(&build(&ca, &[])).unwrap();
        let same_name = Authority::new(KeyAlgorithm::P256, "CN=CA");
        assert_eq!(crl.verify(&same_name.certificate), Err(BadSignature));

        let spec = ca.spec_for("CN=CA", ca.key.public_key());
        let other_case = ca.key.issue(&CertificateSpec { subject: "CN=ca".parse().unwrap(), ..spec.clone() });
        assert_eq!(crl.verify(&other_case), Err(BadSignature), "the issuer is compared byte for byte");
        let no_crl_sign = CertificateSpec {
            ca: Some(CaConstraint { path_len: None }),
            key_usage: KeyUsage::KEY_CERT_SIGN,
            ..spec
        };
        assert_eq!(crl.verify(&ca.key.issue(&no_crl_sign)), Err(BadSignature));
    }

    #[test]
    fn refuses_lists_whose_scope_is_not_understood() {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
        let partition = extension(rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT, true, &writer::sequence(&[]));
        let to_be_signed = writer::sequence(&[
            &writer::unsigned(1),
            &algorithm::signature_identifier(ca.key.algorithm()),
            ca.certificate.subject().as_der(),
            &writer::time(at("2026-11-21T00:00:00Z")),
            &writer::element(context(0), &[&writer::sequence(&[&partition])]),
        ]);
        let der = ca.key.finish(Unsigned::signed(to_be_signed, ca.key.algorithm()));
        assert!(Crl::from_der(&der).unwrap_err().reason.contains("critical"));
    }

    #[test]
    fn truncations_and_changed_bytes_are_answered() {
        let ca = Certificate::from_der(CA).unwrap();
        let forged = mutations(ENTRIES)
            .filter(|der| der != ENTRIES)
            .filter_map(|der| Crl::from_der(&der).ok())
            .any(|crl| crl.verify(&ca).is_ok());
        assert!(!forged);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Crl::from_der(&bytes);
            let _ = Crl::from_der(&writer::sequence(&[&bytes]));
        }
    }
}
