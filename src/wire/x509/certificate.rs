//! Reading and checking certificates (RFC 5280 §4).

use std::{ops::Range, sync::Arc};

use const_oid::ObjectIdentifier;
use der::pem::{self, LineEnding};

use super::{
    BadSignature, CaConstraint, DecodeError, GeneralName, KeyUsage, Name, PublicKey,
    extension::{Extension, Extensions},
};
use crate::{
    types::{DigestAlgorithm, Fingerprint, SerialNumber, SignatureAlgorithm, Validity},
    wire::{
        algorithm,
        der::{
            BerError,
            reader::{Element, INTEGER, Reader, SEQUENCE, context, context_primitive},
        },
    },
};

/// Largest certificate that is read, in bytes.
const MAX_LEN: usize = 64 * 1024;

const PEM_LABEL: &str = "CERTIFICATE";

/// A certificate as read: DER kept byte for byte. A clone shares what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    der: Vec<u8>,
    serial: SerialNumber,
    issuer: Name,
    subject: Name,
    validity: Validity,
    public_key: PublicKey,
    extensions: Extensions,
    signed: Signed,
}

/// SIGNED{} of X.509: where the signed message and the signature are, and how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wire) struct Signed {
    message: Range<usize>,
    signature: Range<usize>,
    /// None where certgate does not speak it.
    pub(in crate::wire) algorithm: Option<SignatureAlgorithm>,
    /// The AlgorithmIdentifier's encoding, to be compared with the one inside.
    identifier: Range<usize>,
}

impl Signed {
    /// Splits a signed structure; gives the contents of the part that is signed.
    pub(in crate::wire) fn read(der: &[u8]) -> Result<(Self, Reader<'_>), BerError> {
        let outer = Element::only_tagged(der, SEQUENCE)?;
        let mut fields = outer.open();
        let to_be_signed = fields.expect(SEQUENCE, "the signed part")?;
        let identifier = fields.expect(SEQUENCE, "signatureAlgorithm")?;
        let signature = fields.any()?;
        fields.end()?;
        // The three parts fill the outer element to its end.
        let start = der.len() - outer.content.len();
        let after_tbs = start + to_be_signed.encoding.len();
        let signed = Self {
            message: start..after_tbs,
            signature: der.len() - signature.bits()?.len()..der.len(),
            algorithm: algorithm::signature_algorithm(&identifier),
            identifier: after_tbs..after_tbs + identifier.encoding.len(),
        };
        Ok((signed, to_be_signed.open()))
    }

    /// Whether the AlgorithmIdentifier outside has the same bytes as the one inside (RFC 5280 §4.1.1.2, §5.1.1.2).
    pub(in crate::wire) fn declares(&self, der: &[u8], inner: &Element<'_>) -> bool {
        der.get(self.identifier.clone()) == Some(inner.encoding)
    }

    /// Checks the signature in `der` under `key`. MD5 does not count: a CA that signs with it vouches for two certificates at once.
    pub(in crate::wire) fn verify(&self, der: &[u8], key: &PublicKey) -> Result<(), BadSignature> {
        if self.algorithm.is_some_and(|algorithm| algorithm.digest() == DigestAlgorithm::Md5) {
            return Err(BadSignature);
        }
        self.verify_taking_md5(der, key)
    }

    /// [`Signed::verify`], where MD5 counts too.
    pub(in crate::wire) fn verify_taking_md5(&self, der: &[u8], key: &PublicKey) -> Result<(), BadSignature> {
        let message = der.get(self.message.clone()).ok_or(BadSignature)?;
        let signature = der.get(self.signature.clone()).ok_or(BadSignature)?;
        key.verify(self.algorithm.ok_or(BadSignature)?, message, signature)
    }
}

impl Certificate {
    /// Reads one DER certificate of at most 64 KiB, of any version, with any extensions.
    ///
    /// Serial numbers have up to 32 bytes (micromdm scepclient 2.1 signs with such); zero and negative ones are refused.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(der).map_err(DecodeError::of("Certificate"))
    }

    pub(in crate::wire) fn parse(der: &[u8]) -> Result<Self, BerError> {
        if der.len() > MAX_LEN {
            return Err("larger than 64 KiB".into());
        }
        let (signed, mut fields) = Signed::read(der)?;
        let _version = fields.optional(context(0))?;
        let serial = fields.expect(INTEGER, "serialNumber")?;
        let inner_algorithm = fields.expect(SEQUENCE, "signature")?;
        // RFC 5280 §4.1.1.2: both AlgorithmIdentifiers must be the same.
        if !signed.declares(der, &inner_algorithm) {
            return Err("signatureAlgorithm differs from signature".into());
        }
        let issuer = fields.expect(SEQUENCE, "issuer")?;
        let validity = fields.expect(SEQUENCE, "validity")?;
        let subject = fields.expect(SEQUENCE, "subject")?;
        let public_key = fields.expect(SEQUENCE, "subjectPublicKeyInfo")?;
        Ok(Self(Arc::new(Parts {
            serial: SerialNumber::from_der_integer(serial.content).map_err(|_| "unusable serial number")?,
            issuer: Name::parse(issuer.encoding)?,
            subject: Name::parse(subject.encoding)?,
            validity: read_validity(&validity)?,
            public_key: PublicKey::parse(public_key.encoding)?,
            extensions: read_extensions(fields)?,
            signed,
            der: der.to_vec(),
        })))
    }

    /// Reads the first certificate of a PEM text; text around it is ignored.
    pub fn from_pem(pem: &str) -> Result<Self, DecodeError> {
        Self::from_der(&first_pem_block(pem, &[PEM_LABEL]).map_err(DecodeError::of("Certificate"))?)
    }

    /// Reads every certificate of a PEM text, in its order; other blocks and text around them are ignored.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, DecodeError> {
        let end = format!("-----END {PEM_LABEL}-----");
        let blocks = pem.split_inclusive(&end).filter(|block| block.ends_with(&end));
        blocks.map(Self::from_pem).collect()
    }

    /// The PEM text, with a line feed at the end.
    pub fn to_pem(&self) -> String {
        // Fails only for labels or sizes that a certificate of 64 KiB does not have.
        pem::encode_string(PEM_LABEL, LineEnding::LF, &self.0.der).unwrap_or_default()
    }

    /// The DER, byte for byte as read.
    pub fn as_der(&self) -> &[u8] {
        &self.0.der
    }

    /// serialNumber.
    pub fn serial(&self) -> &SerialNumber {
        &self.0.serial
    }

    /// The issuer's name.
    pub fn issuer(&self) -> &Name {
        &self.0.issuer
    }

    /// The subject's name.
    pub fn subject(&self) -> &Name {
        &self.0.subject
    }

    /// notBefore and notAfter.
    pub fn validity(&self) -> Validity {
        self.0.validity
    }

    /// The subject's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.der)
    }

    /// The algorithm of the issuer's signature, if certgate speaks it.
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        self.0.signed.algorithm
    }

    /// subjectKeyIdentifier.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_identifier.as_deref()
    }

    /// keyIdentifier of authorityKeyIdentifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_identifier.as_deref()
    }

    /// keyUsage; None: any use.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.extensions.key_usage
    }

    /// extKeyUsage; empty: any purpose.
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.0.extensions.extended_key_usage
    }

    /// subjectAltName.
    pub fn subject_alt_names(&self) -> &[GeneralName] {
        &self.0.extensions.subject_alt_names
    }

    /// Whether basicConstraints says cA.
    pub fn is_ca(&self) -> bool {
        self.0.extensions.ca.is_some()
    }

    /// basicConstraints with cA TRUE.
    pub fn ca_constraint(&self) -> Option<CaConstraint> {
        self.0.extensions.ca
    }

    /// OCSP URLs of authorityInfoAccess.
    pub fn ocsp_urls(&self) -> Vec<String> {
        self.0.extensions.ocsp_urls.clone()
    }

    /// caIssuers URLs of authorityInfoAccess.
    pub fn ca_issuers_urls(&self) -> Vec<String> {
        self.0.extensions.ca_issuers_urls.clone()
    }

    /// CRL URLs of cRLDistributionPoints.
    pub fn crl_urls(&self) -> Vec<String> {
        self.0.extensions.crl_urls.clone()
    }

    /// URLs of freshestCRL.
    pub fn freshest_crl_urls(&self) -> &[String] {
        &self.0.extensions.freshest_crl_urls
    }

    /// Whether id-pkix-ocsp-nocheck is there (RFC 6960 §4.2.2.2.1).
    pub fn has_ocsp_no_check(&self) -> bool {
        self.0.extensions.ocsp_no_check
    }

    /// The account's SID in szOID_NTDS_CA_SECURITY_EXT.
    pub fn microsoft_sid(&self) -> Option<&str> {
        self.0.extensions.microsoft_sid.as_deref()
    }

    /// Whether subject and issuer are the same name (RFC 5280 §3.2).
    pub fn is_self_issued(&self) -> bool {
        self.0.subject.matches(&self.0.issuer)
    }

    /// Whether `issuer`'s key signed this certificate and the names chain. Says nothing of validity or status.
    pub fn is_signed_by(&self, issuer: &Self) -> Result<(), BadSignature> {
        if !self.0.issuer.matches(&issuer.0.subject) {
            return Err(BadSignature);
        }
        self.0.signed.verify(&self.0.der, &issuer.0.public_key)
    }
}

fn read_validity(validity: &Element<'_>) -> Result<Validity, BerError> {
    let mut times = validity.open();
    let validity = Validity { not_before: times.any()?.time()?, not_after: times.any()?.time()? };
    times.end()?;
    Ok(validity)
}

fn read_extensions(mut fields: Reader<'_>) -> Result<Extensions, BerError> {
    let _issuer_unique_id = fields.optional(context_primitive(1))?;
    let _subject_unique_id = fields.optional(context_primitive(2))?;
    let extensions = fields.optional(context(3))?;
    fields.end()?;
    match extensions {
        Some(wrapped) => Extensions::read(&Extension::read_all(&wrapped.explicit()?)?),
        None => Ok(Extensions::default()),
    }
}

/// The DER in the first PEM block with one of `labels` (RFC 7468).
pub(in crate::wire) fn first_pem_block(text: &str, labels: &[&str]) -> Result<Vec<u8>, BerError> {
    let block = labels.iter().find_map(|label| {
        let end_line = format!("-----END {label}-----");
        let start = text.find(&format!("-----BEGIN {label}-----"))?;
        let from_start = text.get(start..)?;
        let end = from_start.find(&end_line)? + end_line.len();
        from_start.get(..end)
    });
    let (_, der) = pem::decode_vec(block.ok_or("no PEM block")?.as_bytes()).map_err(|_| "unreadable PEM")?;
    Ok(der)
}
