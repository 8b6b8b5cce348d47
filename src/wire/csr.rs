//! PKCS#10 certification requests (RFC 2986).

use std::fmt;

use const_oid::{ObjectIdentifier, db::rfc2985};

use super::{
    EncodeError, Unsigned,
    x509::{
        DecodeError, Extension, Extensions, GeneralName, KeyUsage, Name, PublicKey, Signed, first_pem_block,
        subject_alt_name,
        tlv::{self, Element, INTEGER, Reason, SEQUENCE, SET, context},
    },
};
use crate::types::{Fingerprint, Secret, SignatureAlgorithm};

/// Largest request that is read, in bytes.
const MAX_LEN: usize = 64 * 1024;

/// The second is what Netscape and old versions of Windows write.
const PEM_LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// szOID_CERT_EXTENSIONS: extensionRequest as Windows 2000 and later write it, beside PKCS #9's.
const MICROSOFT_CERT_EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14");

/// A request as read; nothing is proven yet.
#[derive(Clone)]
pub struct Csr {
    der: Vec<u8>,
    subject: Name,
    public_key: PublicKey,
    challenge_password: Option<Secret>,
    extensions: Extensions,
    requested_extension_oids: Vec<ObjectIdentifier>,
    signed: Signed,
}

/// A request whose self-signature was checked: the sender holds the private key. Only [`Csr::prove`] makes one.
#[derive(Clone, Debug)]
pub struct ProvenCsr {
    csr: Csr,
    signature_algorithm: SignatureAlgorithm,
}

/// The self-signature does not verify, or its algorithm or key is not one that certgate checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's own signature does not verify")]
pub struct NotProven;

impl Csr {
    /// Reads one DER request of at most 64 KiB.
    ///
    /// Tolerates any version, no attributes at all, and attributes that are not DER-sorted (strongSwan 5.9): the signature
    /// is checked over the bytes as they came.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(der).map_err(tlv::malformed("CertificationRequest"))
    }

    /// Reads the first request of a PEM text; text around it is ignored.
    pub fn from_pem(pem: &str) -> Result<Self, DecodeError> {
        Self::from_der(&first_pem_block(pem, &PEM_LABELS).map_err(tlv::malformed("CertificationRequest"))?)
    }

    fn parse(der: &[u8]) -> Result<Self, Reason> {
        if der.len() > MAX_LEN {
            return Err("larger than 64 KiB");
        }
        let (signed, mut fields) = Signed::read(der)?;
        let _version = fields.expect(INTEGER)?;
        let subject = fields.expect(SEQUENCE)?;
        let public_key = fields.expect(SEQUENCE)?;
        let attributes = fields.optional(context(0))?;
        fields.finish()?;
        let attributes = attributes.map(|set| Attributes::read(&set)).transpose()?.unwrap_or_default();
        Ok(Self {
            subject: Name::parse(subject.encoding)?,
            public_key: PublicKey::parse(public_key.encoding)?,
            challenge_password: attributes.challenge_password,
            requested_extension_oids: attributes.extensions.iter().filter_map(Extension::oid).collect(),
            extensions: Extensions::read(&attributes.extensions)?,
            signed,
            der: der.to_vec(),
        })
    }

    /// Checks the request's own signature (RFC 2986 §4.2).
    pub fn prove(self) -> Result<ProvenCsr, NotProven> {
        let signature_algorithm = self.signed.algorithm.ok_or(NotProven)?;
        self.signed.verify(&self.der, &self.public_key).map_err(|_| NotProven)?;
        Ok(ProvenCsr { csr: self, signature_algorithm })
    }

    /// The algorithm of its own signature, if certgate speaks it.
    pub const fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        self.signed.algorithm
    }
}

impl fmt::Debug for Csr {
    /// Without the DER, which holds the challenge password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr")
            .field("subject", &self.subject)
            .field("public_key", &self.public_key.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The attributes that matter; the others are read over.
#[derive(Default)]
struct Attributes<'a> {
    challenge_password: Option<Secret>,
    extensions: Vec<Extension<'a>>,
}

impl<'a> Attributes<'a> {
    fn read(set: &Element<'a>) -> Result<Self, Reason> {
        let mut list = set.inside();
        let mut all = Self::default();
        while !list.is_finished() {
            let mut fields = list.expect(SEQUENCE)?.inside();
            let oid = fields.expect(tlv::OID)?.content;
            let mut values = fields.expect(SET)?.inside();
            fields.finish()?;
            if oid == rfc2985::PKCS_9_AT_CHALLENGE_PASSWORD.as_bytes() {
                let password = values.next()?.text().ok_or("challengePassword is no string")?;
                all.challenge_password = Some(Secret::new(password.into_bytes()));
            } else if oid == rfc2985::PKCS_9_AT_EXTENSION_REQUEST.as_bytes()
                || oid == MICROSOFT_CERT_EXTENSIONS.as_bytes()
            {
                all.extensions.extend(Extension::read_all(&values.next()?)?);
            }
        }
        Ok(all)
    }
}

impl ProvenCsr {
    /// The DER, byte for byte as read. It holds the challenge password.
    pub fn as_der(&self) -> &[u8] {
        &self.csr.der
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.csr.der)
    }

    /// The name that is asked for.
    pub const fn subject(&self) -> &Name {
        &self.csr.subject
    }

    /// The key whose holder signed the request.
    pub const fn public_key(&self) -> &PublicKey {
        &self.csr.public_key
    }

    /// The algorithm of the checked signature.
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// challengePassword (RFC 2985 §5.4.1) as UTF-8, whatever its string type was.
    pub const fn challenge_password(&self) -> Option<&Secret> {
        self.csr.challenge_password.as_ref()
    }

    /// Names of the requested subjectAltName.
    pub fn subject_alt_names(&self) -> &[GeneralName] {
        &self.csr.extensions.subject_alt_names
    }

    /// The requested keyUsage.
    pub const fn key_usage(&self) -> Option<KeyUsage> {
        self.csr.extensions.key_usage
    }

    /// The requested extKeyUsage.
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.csr.extensions.extended_key_usage
    }

    /// Every extension that is asked for, also those that certgate does not know.
    pub fn requested_extension_oids(&self) -> &[ObjectIdentifier] {
        &self.csr.requested_extension_oids
    }
}

/// What a request will say (the built-in client).
#[derive(Clone, Debug)]
pub struct CsrSpec {
    /// The name to ask for.
    pub subject: Name,
    /// The key to be certified, which also signs.
    pub public_key: PublicKey,
    /// Names to ask for.
    pub subject_alt_names: Vec<GeneralName>,
    /// UTF-8 text.
    pub challenge_password: Option<Secret>,
}

impl CsrSpec {
    /// The request, to be signed by its own key under `algorithm`.
    ///
    /// Errors: a challenge that is no UTF-8 text, a name that is no printable ASCII.
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        let mut attributes = Vec::new();
        if let Some(password) = &self.challenge_password {
            let value = challenge_password(password)?;
            attributes.push(attribute(rfc2985::PKCS_9_AT_CHALLENGE_PASSWORD, &value));
        }
        if !self.subject_alt_names.is_empty() {
            let extensions = tlv::sequence(&[&subject_alt_name(&self.subject_alt_names, false)?]);
            attributes.push(attribute(rfc2985::PKCS_9_AT_EXTENSION_REQUEST, &extensions));
        }
        // DER: the elements of a SET OF are sorted (X.690 §11.6).
        attributes.sort();
        let to_be_signed = tlv::sequence(&[
            &tlv::unsigned(0),
            self.subject.as_der(),
            self.public_key.as_spki(),
            &tlv::element(context(0), &[&attributes.concat()]),
        ]);
        Ok(Unsigned::signed(to_be_signed, algorithm))
    }
}

fn attribute(oid: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    tlv::sequence(&[&tlv::oid(oid), &tlv::element(SET, &[value])])
}

/// RFC 2985 §5.4.1: PrintableString where its alphabet suffices, else UTF8String.
fn challenge_password(password: &Secret) -> Result<Vec<u8>, EncodeError> {
    let text = std::str::from_utf8(password.expose()).map_err(EncodeError::of("challengePassword"))?;
    let printable = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let tag = if printable { tlv::PRINTABLE_STRING } else { tlv::UTF8_STRING };
    Ok(tlv::element(tag, &[text.as_bytes()]))
}
