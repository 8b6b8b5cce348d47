//! PKCS#10 certification requests (RFC 2986).

use std::fmt;

use const_oid::{
    ObjectIdentifier,
    db::{rfc2985, rfc5280},
};
use der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use super::{
    EncodeError, Unsigned,
    der::{
        BerError,
        reader::{
            Element, INTEGER, OBJECT_IDENTIFIER, PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING, context,
        },
        writer,
    },
    x509::{
        DecodeError, Extension, Extensions, GeneralName, KeyUsage, Name, PublicKey, Signed,
        extended_key_usage, first_pem_block, key_usage, ocsp_no_check, subject_alt_name,
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
    /// Wiped when it goes: it holds the challenge password.
    der: Zeroizing<Vec<u8>>,
    subject: Name,
    public_key: PublicKey,
    challenge_password: Option<Secret>,
    extensions: Extensions,
    /// subjectAltName stands where everybody looks for it.
    has_plain_alternatives: bool,
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
        Self::parse(der).map_err(DecodeError::of("CertificationRequest"))
    }

    /// Reads the first request of a PEM text; text around it is ignored.
    pub fn from_pem(pem: &str) -> Result<Self, DecodeError> {
        Self::from_der(&first_pem_block(pem, &PEM_LABELS).map_err(DecodeError::of("CertificationRequest"))?)
    }

    fn parse(der: &[u8]) -> Result<Self, BerError> {
        if der.len() > MAX_LEN {
            return Err("larger than 64 KiB".into());
        }
        let (signed, mut fields) = Signed::read(der)?;
        let _version = fields.expect(INTEGER, "version")?;
        let subject = fields.expect(SEQUENCE, "subject")?;
        let public_key = fields.expect(SEQUENCE, "subjectPKInfo")?;
        let attributes = fields.optional(context(0))?;
        fields.end()?;
        let attributes = attributes.map(|set| Attributes::read(&set)).transpose()?.unwrap_or_default();
        Ok(Self {
            subject: Name::parse(subject.encoding)?,
            public_key: PublicKey::parse(public_key.encoding)?,
            challenge_password: attributes.challenge_password,
            requested_extension_oids: attributes.extensions.iter().filter_map(Extension::oid).collect(),
            extensions: Extensions::read(&attributes.extensions)?,
            has_plain_alternatives: attributes.extension_requests == 1 && attributes.plain_alternatives,
            signed,
            der: Zeroizing::new(der.to_vec()),
        })
    }

    /// Checks the request's own signature (RFC 2986 §4.2). SHA-1 and MD5 are verified; whether they are allowed is the caller's policy.
    pub fn prove(self) -> Result<ProvenCsr, NotProven> {
        let signature_algorithm = self.signed.algorithm.ok_or(NotProven)?;
        self.signed.verify_taking_md5(&self.der, &self.public_key).map_err(|_| NotProven)?;
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
    /// How many there are of PKCS #9's extensionRequest.
    extension_requests: usize,
    /// One of those asks for a subjectAltName.
    plain_alternatives: bool,
}

impl<'a> Attributes<'a> {
    /// Both attributes have one value (RFC 2985 §5.4), and an extension comes once (RFC 5280 §4.2). Of two that differ, whoever else
    /// judges the request (Microsoft's API) may read the other one.
    fn read(set: &Element<'a>) -> Result<Self, BerError> {
        let mut list = set.open();
        let mut all = Self::default();
        while !list.is_empty() {
            let mut fields = list.expect(SEQUENCE, "Attribute")?.open();
            let oid = fields.expect(OBJECT_IDENTIFIER, "type")?.content;
            let mut values = fields.expect(SET, "values")?.open();
            fields.end()?;
            if oid == rfc2985::PKCS_9_AT_CHALLENGE_PASSWORD.as_bytes() {
                let password = values.any()?.text().ok_or("challengePassword is no string")?;
                let password = Secret::new(password.into_bytes());
                if all.challenge_password.as_ref().is_some_and(|other| *other != password) {
                    return Err("two challengePasswords".into());
                }
                all.challenge_password = Some(password);
                values.end()?;
            } else if oid == rfc2985::PKCS_9_AT_EXTENSION_REQUEST.as_bytes() {
                let asked = all.ask_for(&values.any()?)?;
                values.end()?;
                all.extension_requests += 1;
                all.plain_alternatives |= asked.contains(&rfc5280::ID_CE_SUBJECT_ALT_NAME);
            } else if oid == MICROSOFT_CERT_EXTENSIONS.as_bytes() {
                all.ask_for(&values.any()?)?;
                values.end()?;
            }
        }
        Ok(all)
    }

    /// Takes up a list of extensions; gives what they are.
    fn ask_for(&mut self, list: &Element<'a>) -> Result<Vec<ObjectIdentifier>, BerError> {
        let extensions = Extension::read_all(list)?;
        for extension in &extensions {
            if self.extensions.iter().any(|other| other.contradicts(extension)) {
                return Err("an extension is asked for twice".into());
            }
        }
        let asked = extensions.iter().filter_map(Extension::oid).collect();
        self.extensions.extend(extensions);
        Ok(asked)
    }
}

impl ProvenCsr {
    /// The DER, byte for byte as read. It holds the challenge password.
    pub fn as_der(&self) -> &[u8] {
        &self.csr.der
    }

    /// The PEM text, with a line feed at the end. It holds the challenge password.
    pub fn to_pem(&self) -> String {
        // Fails only for labels or sizes that a request of 64 KiB does not have.
        pem::encode_string(PEM_LABELS[0], LineEnding::LF, self.as_der()).unwrap_or_default()
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.as_der())
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

    /// Whether the requested subjectAltName stands in PKCS #9's extensionRequest (RFC 2985 §5.4.2), of which there is one: where everybody
    /// finds it who reads requests. certgate reads Microsoft's attribute too; somebody else who judges the request may not.
    pub const fn has_plain_alternatives(&self) -> bool {
        self.csr.has_plain_alternatives
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
            let extensions = writer::sequence(&[&subject_alt_name(&self.subject_alt_names, false)?]);
            attributes.push(attribute(rfc2985::PKCS_9_AT_EXTENSION_REQUEST, &extensions));
        }
        // DER: the elements of a SET OF are sorted (X.690 §11.6).
        attributes.sort();
        Ok(unsigned(&self.subject, &self.public_key, &attributes.concat(), algorithm))
    }
}

/// What a request for the certificate of a delegated OCSP responder says (RFC 6960 §4.2.2.2): it asks for digitalSignature,
/// id-kp-OCSPSigning and id-pkix-ocsp-nocheck.
#[derive(Clone, Debug)]
pub struct ResponderCsrSpec {
    /// The name to ask for.
    pub subject: Name,
    /// The key to be certified, which also signs.
    pub public_key: PublicKey,
}

impl ResponderCsrSpec {
    /// The request, to be signed by its own key under `algorithm`.
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Unsigned {
        let usage = key_usage(KeyUsage::DIGITAL_SIGNATURE);
        let purpose = extended_key_usage(&[rfc5280::ID_KP_OCSP_SIGNING]);
        let extensions = writer::sequence(&[&usage, &purpose, &ocsp_no_check()]);
        let attributes = attribute(rfc2985::PKCS_9_AT_EXTENSION_REQUEST, &extensions);
        unsigned(&self.subject, &self.public_key, &attributes, algorithm)
    }
}

/// CertificationRequestInfo with these attributes, sorted.
fn unsigned(
    subject: &Name,
    public_key: &PublicKey,
    attributes: &[u8],
    algorithm: SignatureAlgorithm,
) -> Unsigned {
    let to_be_signed = writer::sequence(&[
        &writer::unsigned(0),
        subject.as_der(),
        public_key.as_spki(),
        &writer::element(context(0), &[attributes]),
    ]);
    Unsigned::signed(to_be_signed, algorithm)
}

fn attribute(oid: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    writer::sequence(&[&writer::oid(oid), &writer::element(SET, &[value])])
}

/// RFC 2985 §5.4.1: PrintableString where its alphabet suffices, else UTF8String.
fn challenge_password(password: &Secret) -> Result<Vec<u8>, EncodeError> {
    let text = std::str::from_utf8(password.expose()).map_err(EncodeError::of("challengePassword"))?;
    let printable = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let tag = if printable { PRINTABLE_STRING } else { UTF8_STRING };
    Ok(writer::element(tag, &[text.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        types::{DigestAlgorithm, KeyAlgorithm},
        wire::{
            algorithm,
            der::reader::IA5_STRING,
            x509::{
                KeyKind,
                testing::{TestKey, mutations},
            },
        },
    };

    const REQUEST: &[u8] = include_bytes!("../../fixtures/x509/request.der");
    const OLD: &str = include_str!("../../fixtures/x509/request-rsa1024-sha1.pem");
    const ED25519: &[u8] = include_bytes!("../../fixtures/x509/request-ed25519.der");

    fn signed(key: &TestKey, attributes: &[u8]) -> Vec<u8> {
        let subject: Name = "CN=dev1".parse().unwrap();
        let to_be_signed = writer::sequence(&[
            &writer::unsigned(0),
            subject.as_der(),
            key.public_key().as_spki(),
            attributes,
        ]);
        key.finish(Unsigned::signed(to_be_signed, key.algorithm()))
    }

    fn password(csr: Csr) -> Vec<u8> {
        csr.prove().unwrap().challenge_password().unwrap().expose().to_vec()
    }

    #[test]
    fn what_is_asked_for_twice_is_the_same_or_refused() {
        let key = TestKey::generate(KeyAlgorithm::P256);
        let read = |all: &[Vec<u8>]| {
            Csr::from_der(&signed(&key, &writer::element(context(0), &[&all.concat()]))).is_ok()
        };
        let names = |oid, host: &str| {
            let names = subject_alt_name(&[GeneralName::Dns(host.to_owned())], false).unwrap();
            attribute(oid, &writer::sequence(&[&names]))
        };
        let (ours, windows) = (rfc2985::PKCS_9_AT_EXTENSION_REQUEST, MICROSOFT_CERT_EXTENSIONS);
        let password = |text: &str| {
            let value = challenge_password(&Secret::from(text)).unwrap();
            attribute(rfc2985::PKCS_9_AT_CHALLENGE_PASSWORD, &value)
        };
        assert!(read(&[names(ours, "a.example"), names(windows, "a.example"), password("a"), password("a")]));
        for other in [ours, windows] {
            assert!(!read(&[names(ours, "a.example"), names(other, "b.example")]));
        }
        assert!(!read(&[password("a"), password("b")]));
    }

    #[test]
    fn reads_openssls_request() {
        let csr = Csr::from_der(REQUEST).unwrap().prove().unwrap();
        assert_eq!(csr.as_der(), REQUEST);
        assert_eq!(csr.fingerprint(), Fingerprint::of(REQUEST));
        assert_eq!(csr.subject().to_string(), "CN=dev1");
        assert_eq!(csr.public_key().kind(), KeyKind::P256);
        assert_eq!(csr.signature_algorithm(), SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha256));
        assert_eq!(csr.challenge_password().unwrap().expose(), b"secret 123");
        let names: Vec<_> = csr.subject_alt_names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["dns:dev1.lab.example", "email:ada@lab.example"]);
        assert_eq!(csr.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE));
        assert_eq!(csr.extended_key_usage().len(), 1);
        let oids: Vec<_> = csr.requested_extension_oids().iter().map(ToString::to_string).collect();
        assert_eq!(oids, ["2.5.29.17", "2.5.29.15", "2.5.29.37", "1.2.3.4.5"]);
    }

    #[test]
    fn reads_old_and_unknown_requests_but_proves_only_what_verifies() {
        let old = Csr::from_pem(OLD).unwrap();
        assert_eq!(old.signature_algorithm(), Some(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha1)));
        assert!(old.prove().is_ok());
        assert!(Csr::from_pem(&OLD.replace(" CERTIFICATE", " NEW CERTIFICATE")).is_ok());
        let unknown = Csr::from_der(ED25519).unwrap();
        assert_eq!(unknown.signature_algorithm(), None);
        assert_eq!(unknown.prove().unwrap_err(), NotProven);
    }

    #[test]
    fn proves_no_changed_request() {
        let forged = mutations(REQUEST)
            .filter(|der| der != REQUEST)
            .filter_map(|der| Csr::from_der(&der).ok())
            .any(|csr| csr.prove().is_ok());
        assert!(!forged);
    }

    #[test]
    fn takes_unsorted_attributes_of_strongswan() {
        let key = TestKey::generate(KeyAlgorithm::P256);
        let dns = subject_alt_name(&[GeneralName::Dns("a.example".into())], false).unwrap();
        let extensions = attribute(rfc2985::PKCS_9_AT_EXTENSION_REQUEST, &writer::sequence(&[&dns]));
        let challenge =
            attribute(rfc2985::PKCS_9_AT_CHALLENGE_PASSWORD, &writer::element(PRINTABLE_STRING, &[b"x"]));
        for order in [[&extensions, &challenge], [&challenge, &extensions]] {
            let attributes = writer::element(context(0), &[order[0], order[1]]);
            let csr = Csr::from_der(&signed(&key, &attributes)).unwrap().prove().unwrap();
            assert_eq!(csr.subject_alt_names(), [GeneralName::Dns("a.example".into())]);
            assert_eq!(csr.challenge_password().unwrap().expose(), b"x");
        }
    }

    #[test]
    fn takes_a_challenge_of_any_string_type() {
        let key = TestKey::generate(KeyAlgorithm::P256);
        for (tag, content) in [
            (PRINTABLE_STRING, b"pass_1@".as_slice()),
            (UTF8_STRING, b"pass_1@"),
            (IA5_STRING, b"pass_1@"),
            (0x14, b"pass_1@"),
            (0x1e, b"\0p\0a\0s\0s\0_\x001\0@"),
        ] {
            let value = writer::element(tag, &[content]);
            let attribute = attribute(rfc2985::PKCS_9_AT_CHALLENGE_PASSWORD, &value);
            let csr = Csr::from_der(&signed(&key, &writer::element(context(0), &[&attribute]))).unwrap();
            assert_eq!(password(csr), b"pass_1@", "{tag:#x}");
        }
    }

    #[test]
    fn takes_no_attributes_and_microsofts_extension_request() {
        let key = TestKey::generate(KeyAlgorithm::P256);
        for none in [&[][..], &[0xa0, 0]] {
            let csr = Csr::from_der(&signed(&key, none)).unwrap().prove().unwrap();
            assert!(csr.challenge_password().is_none() && csr.subject_alt_names().is_empty());
        }
        let dns = subject_alt_name(&[GeneralName::Dns("a.example".into())], false).unwrap();
        let attribute = attribute(MICROSOFT_CERT_EXTENSIONS, &writer::sequence(&[&dns]));
        let csr = Csr::from_der(&signed(&key, &writer::element(context(0), &[&attribute]))).unwrap();
        assert_eq!(csr.prove().unwrap().subject_alt_names().len(), 1);
    }

    #[test]
    fn what_is_built_reads_back() {
        for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P384] {
            let key = TestKey::generate(algorithm);
            for challenge in ["secret 123", "pass_wörd"] {
                let spec = CsrSpec {
                    subject: "CN=dev1,O=Lab".parse().unwrap(),
                    public_key: key.public_key(),
                    subject_alt_names: vec![GeneralName::Upn("ada@lab.example".into())],
                    challenge_password: Some(Secret::from(challenge)),
                };
                let der = key.finish(spec.unsigned(key.algorithm()).unwrap());
                let csr = Csr::from_der(&der).unwrap().prove().unwrap();
                assert_eq!(csr.subject(), &spec.subject);
                assert_eq!(csr.public_key(), &spec.public_key);
                assert_eq!(csr.subject_alt_names(), spec.subject_alt_names);
                assert_eq!(csr.challenge_password(), spec.challenge_password.as_ref());
            }
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let csr = Csr::from_der(REQUEST).unwrap();
        let bytes = format!("{:?}", b"secret 123");
        let shown = format!("{csr:?} {:?}", csr.clone().prove().unwrap());
        assert!(!shown.contains("secret 123") && !shown.contains(bytes.trim_matches(['[', ']'])));
    }

    #[test]
    fn refuses_unknown_signatures_and_oversize() {
        let key = TestKey::generate(KeyAlgorithm::P256);
        let mut der = signed(&key, &[]);
        let known = algorithm::signature_identifier(key.algorithm());
        let at = der.windows(known.len()).position(|window| window == known).unwrap();
        der[at + known.len() - 1] = 0x7f;
        assert_eq!(Csr::from_der(&der).unwrap().prove().unwrap_err(), NotProven);
        assert!(
            Csr::from_der(&writer::sequence(&[&vec![0; 65 * 1024]])).unwrap_err().reason.contains("64 KiB")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Csr::from_der(&bytes);
            let _ = Csr::from_der(&writer::sequence(&[&bytes]));
        }
    }
}
