//! Building certificates (RFC 5280 §4.1, §4.2).

use const_oid::{
    ObjectIdentifier,
    db::{rfc5280, rfc6960},
};

use super::{
    CaConstraint, GeneralName, KeyUsage, Name, PublicKey,
    extension::{MICROSOFT_OBJECT_SID, MICROSOFT_SID},
    general_name,
};
use crate::{
    types::{SerialNumber, SignatureAlgorithm, Validity},
    wire::{
        EncodeError, Unsigned, algorithm,
        der::{
            reader::{BOOLEAN, INTEGER, NULL, OCTET_STRING, SEQUENCE, context, context_primitive},
            writer,
        },
    },
};

/// Longest serialNumber that is written, in octets of its INTEGER (RFC 5280 §4.1.2.2).
const MAX_SERIAL_LEN: usize = 20;

/// Everything that a certificate will say. Extensions are written in a fixed order; criticality as RFC 5280 asks.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// At most 20 octets.
    pub serial: SerialNumber,
    /// The issuer's subject, byte for byte.
    pub issuer: Name,
    /// Empty only together with a subjectAltName (RFC 5280 §4.1.2.6).
    pub subject: Name,
    /// Both ends are included.
    pub validity: Validity,
    /// The subject's key; its SHA-1 becomes the subjectKeyIdentifier.
    pub public_key: PublicKey,
    /// The issuer's key identifier (its SKI), for authorityKeyIdentifier; None for a self-signed certificate.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// basicConstraints; critical. None: no CA, and no such extension.
    pub ca: Option<CaConstraint>,
    /// Critical.
    pub key_usage: KeyUsage,
    /// Purposes; empty: no such extension.
    pub extended_key_usage: Vec<ObjectIdentifier>,
    /// Critical only when the subject is empty.
    pub subject_alt_names: Vec<GeneralName>,
    /// Locations of the same CRL, the most available first: one DistributionPoint.
    pub crl_urls: Vec<String>,
    /// Locations of the delta to that CRL (RFC 5280 §4.2.1.15); empty: no such extension.
    pub freshest_crl_urls: Vec<String>,
    /// id-ad-ocsp of authorityInfoAccess.
    pub ocsp_urls: Vec<String>,
    /// id-ad-caIssuers of authorityInfoAccess.
    pub ca_issuers_urls: Vec<String>,
    /// id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1).
    pub ocsp_no_check: bool,
    /// szOID_NTDS_CA_SECURITY_EXT 1.3.6.1.4.1.311.25.2: the account's SID as text (`S-1-5-21-..`).
    pub microsoft_sid: Option<String>,
}

impl CertificateSpec {
    /// An end entity's certificate with no extension but the subjectKeyIdentifier: what a certificate says beyond that is set
    /// on top of this.
    pub fn new(
        serial: SerialNumber,
        issuer: Name,
        subject: Name,
        validity: Validity,
        public_key: PublicKey,
    ) -> Self {
        Self {
            serial,
            issuer,
            subject,
            validity,
            public_key,
            authority_key_identifier: None,
            ca: None,
            key_usage: KeyUsage::default(),
            extended_key_usage: Vec::new(),
            subject_alt_names: Vec::new(),
            crl_urls: Vec::new(),
            freshest_crl_urls: Vec::new(),
            ocsp_urls: Vec::new(),
            ca_issuers_urls: Vec::new(),
            ocsp_no_check: false,
            microsoft_sid: None,
        }
    }

    /// A certificate for and by one key, with which a device signs its first request: digitalSignature and keyEncipherment,
    /// because the answer is encrypted to it (RFC 8894 §2.3).
    pub fn self_signed_requester(
        serial: SerialNumber,
        name: &Name,
        validity: Validity,
        public_key: PublicKey,
    ) -> Self {
        Self {
            key_usage: KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT),
            ..Self::new(serial, name.clone(), name.clone(), validity, public_key)
        }
    }

    /// The version 3 certificate, to be signed by the issuer under `algorithm`.
    ///
    /// Errors: a serial above 20 octets, a name or URL that is no printable ASCII, a subject and SAN that are both empty.
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        let error = |reason: &str| EncodeError { what: "Certificate", reason: reason.to_owned() };
        let serial = self.serial.to_der_integer();
        if serial.len() > MAX_SERIAL_LEN {
            return Err(error("the serial number has more than 20 octets"));
        }
        if self.subject.is_empty() && self.subject_alt_names.is_empty() {
            return Err(error("neither a subject nor a subjectAltName"));
        }
        let validity = [writer::time(self.validity.not_before), writer::time(self.validity.not_after)];
        let to_be_signed = writer::sequence(&[
            &writer::element(context(0), &[&writer::unsigned(2)]),
            &writer::element(INTEGER, &[&serial]),
            &algorithm::signature_identifier(algorithm),
            self.issuer.as_der(),
            &writer::sequence(&[&validity.concat()]),
            self.subject.as_der(),
            self.public_key.as_spki(),
            &writer::element(context(3), &[&writer::sequence(&[&self.extensions()?])]),
        ]);
        Ok(Unsigned::signed(to_be_signed, algorithm))
    }

    fn extensions(&self) -> Result<Vec<u8>, EncodeError> {
        let mut all = Vec::new();
        if let Some(identifier) = &self.authority_key_identifier {
            let value = authority_key_identifier(identifier);
            all.extend(extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &value));
        }
        let identifier = writer::element(OCTET_STRING, &[&self.public_key.key_identifier()]);
        all.extend(extension(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, false, &identifier));
        if !self.key_usage.is_empty() {
            all.extend(key_usage(self.key_usage));
        }
        if let Some(ca) = self.ca {
            all.extend(extension(rfc5280::ID_CE_BASIC_CONSTRAINTS, true, &basic_constraints(ca)));
        }
        all.extend(extended_key_usage(&self.extended_key_usage));
        all.extend(subject_alt_name(&self.subject_alt_names, self.subject.is_empty())?);
        if !self.crl_urls.is_empty() {
            let value = distribution_point(&self.crl_urls)?;
            all.extend(extension(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, false, &value));
        }
        if !self.freshest_crl_urls.is_empty() {
            let value = distribution_point(&self.freshest_crl_urls)?;
            all.extend(extension(rfc5280::ID_CE_FRESHEST_CRL, false, &value));
        }
        if !(self.ocsp_urls.is_empty() && self.ca_issuers_urls.is_empty()) {
            let ocsp = access_descriptions(rfc5280::ID_AD_OCSP, &self.ocsp_urls)?;
            let ca_issuers = access_descriptions(rfc5280::ID_AD_CA_ISSUERS, &self.ca_issuers_urls)?;
            let value = writer::sequence(&[&ocsp, &ca_issuers]);
            all.extend(extension(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS, false, &value));
        }
        if self.ocsp_no_check {
            all.extend(ocsp_no_check());
        }
        if let Some(sid) = &self.microsoft_sid {
            all.extend(extension(MICROSOFT_SID, false, &microsoft_sid(sid)));
        }
        Ok(all)
    }
}

/// Extension; critical FALSE is the default and not written.
pub(in crate::wire) fn extension(oid: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[BOOLEAN, 1, 0xff] } else { &[] };
    writer::sequence(&[&writer::oid(oid), critical, &writer::element(OCTET_STRING, &[value])])
}

/// AuthorityKeyIdentifier with keyIdentifier alone (RFC 5280 §4.2.1.1).
pub(in crate::wire) fn authority_key_identifier(identifier: &[u8]) -> Vec<u8> {
    writer::sequence(&[&writer::element(context_primitive(0), &[identifier])])
}

/// The keyUsage extension (RFC 5280 §4.2.1.3).
pub(in crate::wire) fn key_usage(usage: KeyUsage) -> Vec<u8> {
    extension(rfc5280::ID_CE_KEY_USAGE, true, &usage.to_der())
}

/// The id-pkix-ocsp-nocheck extension (RFC 6960 §4.2.2.2.1).
pub(in crate::wire) fn ocsp_no_check() -> Vec<u8> {
    extension(rfc6960::ID_PKIX_OCSP_NOCHECK, false, &[NULL, 0])
}

/// The extKeyUsage extension, or nothing (RFC 5280 §4.2.1.12).
pub(in crate::wire) fn extended_key_usage(purposes: &[ObjectIdentifier]) -> Vec<u8> {
    if purposes.is_empty() {
        return Vec::new();
    }
    let purposes: Vec<u8> = purposes.iter().flat_map(|purpose| writer::oid(*purpose)).collect();
    extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, &writer::sequence(&[&purposes]))
}

/// The subjectAltName extension, or nothing.
pub(in crate::wire) fn subject_alt_name(
    names: &[GeneralName],
    critical: bool,
) -> Result<Vec<u8>, EncodeError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let value = writer::sequence(&[&general_name::write_all(names)?]);
    Ok(extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, critical, &value))
}

fn basic_constraints(ca: CaConstraint) -> Vec<u8> {
    let path_len = ca.path_len.map(|length| writer::unsigned(length.into())).unwrap_or_default();
    writer::sequence(&[&[BOOLEAN, 1, 0xff], &path_len])
}

/// One DistributionPoint with every URL in its fullName: several locations of one CRL. Two DistributionPoints would be
/// two CRLs, and some readers look only at the first (RUSTSEC-2026-0049).
pub(in crate::wire) fn distribution_point(urls: &[String]) -> Result<Vec<u8>, EncodeError> {
    Ok(writer::sequence(&[&writer::sequence(&[&distribution_point_name(urls)?])]))
}

/// DistributionPointName with a fullName, under the tag that both DistributionPoint and IssuingDistributionPoint give it.
pub(in crate::wire) fn distribution_point_name(urls: &[String]) -> Result<Vec<u8>, EncodeError> {
    let full_name = writer::element(context(0), &[&uris(urls)?.concat()]);
    Ok(writer::element(context(0), &[&full_name]))
}

fn access_descriptions(method: ObjectIdentifier, urls: &[String]) -> Result<Vec<u8>, EncodeError> {
    let method = writer::oid(method);
    Ok(uris(urls)?.iter().flat_map(|uri| writer::sequence(&[&method, uri])).collect())
}

fn uris(urls: &[String]) -> Result<Vec<Vec<u8>>, EncodeError> {
    urls.iter().map(|url| GeneralName::Uri(url.clone()).to_der()).collect()
}

fn microsoft_sid(sid: &str) -> Vec<u8> {
    let value = writer::element(context(0), &[&writer::element(OCTET_STRING, &[sid.as_bytes()])]);
    let other_name = writer::element(context(0), &[&writer::oid(MICROSOFT_OBJECT_SID), &value]);
    writer::sequence(&[&other_name])
}

/// SIGNED{}: `buffer` has the signed part behind `room` bytes. Puts algorithm and signature behind it and the header of the SEQUENCE
/// before it, in the same buffer; the signed part is moved only if the header does not fit the room exactly.
pub(in crate::wire) fn sign(
    mut buffer: Vec<u8>,
    room: usize,
    algorithm: SignatureAlgorithm,
    signature: &[u8],
) -> Vec<u8> {
    let signature = writer::bit_string(signature);
    let identifier = algorithm::signature_identifier(algorithm);
    let content_len = buffer.len() - room + identifier.len() + signature.len();
    let mut header = Vec::new();
    writer::push_header(&mut header, SEQUENCE, content_len);
    buffer.reserve_exact(header.len() + identifier.len() + signature.len());
    buffer.splice(..room, header);
    buffer.extend_from_slice(&identifier);
    buffer.extend_from_slice(&signature);
    buffer
}
