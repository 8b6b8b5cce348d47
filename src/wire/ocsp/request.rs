//! OCSP requests (RFC 6960 §4.1).

use const_oid::db::rfc6960;

use super::{CertId, get};
use crate::{
    types::SignatureAlgorithm,
    wire::{
        EncodeError, algorithm,
        der::{
            BerError,
            reader::{Element, INTEGER, OCTET_STRING, Reader, SEQUENCE, context},
            writer,
        },
        x509::{BadSignature, Certificate, DecodeError, Extension, Signed, extension},
    },
};

/// Most CertIDs in one request.
const MAX_REQUESTS: usize = 16;

/// Largest request that is read, in bytes.
pub(super) const MAX_LEN: usize = 8 * 1024;

/// Certificates of a signature that are looked at.
const MAX_CERTIFICATES: usize = 4;

/// Longest nonce, in bytes (RFC 9654 §2.1).
pub(super) const MAX_NONCE_LEN: usize = 128;

/// Preferred signature algorithms that are looked at.
const MAX_PREFERRED: usize = 16;

/// What is wrong with a request; each is answered with malformedRequest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspRequestError {
    /// No OCSPRequest, or one without a CertID.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// RFC 9654 §2.1: empty or above 128 bytes.
    #[error("nonce of {0} bytes")]
    NonceLength(usize),
    /// More CertIDs than the limit.
    #[error("more than {0} requests")]
    TooMany(usize),
    /// An extension of the request or of one of its parts.
    #[error("a critical extension that is not understood")]
    CriticalExtension,
}

impl From<BerError> for OcspRequestError {
    fn from(error: BerError) -> Self {
        Self::Malformed(DecodeError::of("OCSPRequest")(error))
    }
}

/// A request: 1 to 16 CertIDs. requestorName and unknown non-critical extensions are ignored (RFC 9919 §3.1.2), and the signature is for
/// whoever wants one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspRequest {
    /// In the order of the request.
    pub cert_ids: Vec<CertId>,
    /// Raw extnValue content octets, echoed byte for byte.
    pub nonce: Option<Vec<u8>>,
    /// preferredSignatureAlgorithms (RFC 6960 §4.4.7.1): of the first [`MAX_PREFERRED`] those that certgate knows, in the order of the
    /// request. What it says of keys is not read: an issuer's responder has one.
    pub preferred_signatures: Vec<SignatureAlgorithm>,
    /// optionalSignature.
    pub signature: Option<RequestSignature>,
}

impl OcspRequest {
    /// For a client: asks for `cert_ids` with a nonce of 1 to 128 bytes, if any.
    pub fn new(cert_ids: Vec<CertId>, nonce: Option<&[u8]>) -> Self {
        let nonce = nonce.map(|nonce| writer::element(OCTET_STRING, &[nonce]));
        Self { cert_ids, nonce, preferred_signatures: Vec::new(), signature: None }
    }

    /// Reads one DER request of at most 8 KiB.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspRequestError> {
        if der.len() > MAX_LEN {
            return Err(BerError::Value("larger than 8 KiB").into());
        }
        let mut outer = Element::only_tagged(der, SEQUENCE)?.open();
        let to_be_signed = outer.expect(SEQUENCE, "tbsRequest")?;
        let signature = outer.optional(context(0))?.map(|signature| RequestSignature {
            to_be_signed: to_be_signed.encoding.to_vec(),
            signature: signature.content.to_vec(),
        });
        outer.end()?;
        let mut fields = to_be_signed.open();
        if let Some(version) = fields.optional(context(0))?
            && version.explicit()?.tagged(INTEGER)?.unsigned()? != 0
        {
            return Err(BerError::Value("unknown version").into());
        }
        let _requestor_name = fields.optional(context(1))?;
        let cert_ids = read_requests(fields.expect(SEQUENCE, "requestList")?.open())?;
        let extensions = fields.optional(context(2))?;
        fields.end()?;
        let read = extensions.map(|wrapped| read_extensions(&wrapped)).transpose()?;
        let (nonce, preferred_signatures) = read.unwrap_or_default();
        Ok(Self { cert_ids, nonce, preferred_signatures, signature })
    }

    /// The DER of an unsigned request.
    pub fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        if !(1..=MAX_REQUESTS).contains(&self.cert_ids.len()) {
            let reason = format!("{} CertIDs", self.cert_ids.len());
            return Err(EncodeError { what: "OCSPRequest", reason });
        }
        let requests: Vec<u8> =
            self.cert_ids.iter().flat_map(|id| writer::sequence(&[id.as_der()])).collect();
        let to_be_signed = writer::sequence(&[&writer::sequence(&[&requests]), &self.extensions()]);
        Ok(writer::sequence(&[&to_be_signed]))
    }

    /// requestExtensions with their tag, or nothing.
    fn extensions(&self) -> Vec<u8> {
        let nonce = self.nonce.as_deref().map(|raw| extension(rfc6960::ID_PKIX_OCSP_NONCE, false, raw));
        let mut all = nonce.unwrap_or_default();
        if !self.preferred_signatures.is_empty() {
            let preferred = self.preferred_signatures.iter();
            let preferred =
                preferred.flat_map(|it| writer::sequence(&[&algorithm::signature_identifier(*it)]));
            let value = writer::sequence(&[&preferred.collect::<Vec<u8>>()]);
            all.extend(extension(rfc6960::ID_PKIX_OCSP_PREF_SIG_ALGS, false, &value));
        }
        if all.is_empty() { all } else { writer::element(context(2), &[&writer::sequence(&[&all])]) }
    }

    /// Decodes what comes after the responder's URL in a GET (RFC 6960 A.1.1).
    ///
    /// Takes it percent-decoded or not, as base64 or base64url, without padding, with `+` turned into a space, with
    /// slashes that a proxy merged or doubled, and with a line feed at the end. Where slashes were merged and several
    /// places are possible, the first that gives a request is taken: a wrong guess names another CertID in the
    /// answer, which the client refuses.
    pub fn decode_get(path: &str) -> Result<Vec<u8>, OcspRequestError> {
        get::decode(path).map_err(OcspRequestError::from)
    }
}

/// The signature of a request, with what it is over: as it came, looked at only where it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSignature {
    to_be_signed: Vec<u8>,
    /// The content of `[0] EXPLICIT Signature`.
    signature: Vec<u8>,
}

impl RequestSignature {
    /// The certificate among those that came with it whose key made the signature. Says nothing of whose certificate it is.
    pub fn verify(&self) -> Result<Certificate, BadSignature> {
        self.signer().ok().flatten().ok_or(BadSignature)
    }

    fn signer(&self) -> Result<Option<Certificate>, BerError> {
        let mut fields = Element::only_tagged(&self.signature, SEQUENCE)?.open();
        let parts = [fields.any()?.encoding, fields.any()?.encoding];
        let certificates = fields.optional(context(0))?.ok_or("no certificate")?;
        fields.end()?;
        let signed_der = writer::sequence(&[&self.to_be_signed, parts[0], parts[1]]);
        let (signed, _) = Signed::read(&signed_der)?;
        let mut list = certificates.explicit()?.tagged(SEQUENCE)?.open();
        for _ in 0..MAX_CERTIFICATES {
            if list.is_empty() {
                break;
            }
            let certificate = Certificate::parse(list.any()?.encoding)?;
            if signed.verify(&signed_der, certificate.public_key()).is_ok() {
                return Ok(Some(certificate));
            }
        }
        Ok(None)
    }
}

fn read_requests(mut list: Reader<'_>) -> Result<Vec<CertId>, OcspRequestError> {
    let mut cert_ids = Vec::with_capacity(1);
    while !list.is_empty() {
        if cert_ids.len() == MAX_REQUESTS {
            return Err(OcspRequestError::TooMany(MAX_REQUESTS));
        }
        let mut fields = list.expect(SEQUENCE, "Request")?.open();
        cert_ids.push(CertId::read(&fields.any()?)?);
        if let Some(extensions) = fields.optional(context(0))?
            && Extension::read_all(&extensions.explicit()?)?.iter().any(|extension| extension.critical)
        {
            return Err(OcspRequestError::CriticalExtension);
        }
        fields.end()?;
    }
    if cert_ids.is_empty() { Err(BerError::Value("no CertID").into()) } else { Ok(cert_ids) }
}

/// The nonce among the requestExtensions, within the lengths of RFC 9654 §2.1, and the preferred signature algorithms.
fn read_extensions(
    extensions: &Element<'_>,
) -> Result<(Option<Vec<u8>>, Vec<SignatureAlgorithm>), OcspRequestError> {
    let (mut nonce, mut preferred) = (None, Vec::new());
    for extension in Extension::read_all(&extensions.explicit()?)? {
        if extension.is(rfc6960::ID_PKIX_OCSP_NONCE) {
            nonce = Some(extension.value);
        } else if extension.is(rfc6960::ID_PKIX_OCSP_PREF_SIG_ALGS) {
            preferred = read_preferred(extension.value)?;
        } else if extension.critical {
            return Err(OcspRequestError::CriticalExtension);
        }
    }
    match nonce.map(nonce_len) {
        Some(length) if !(1..=MAX_NONCE_LEN).contains(&length) => Err(OcspRequestError::NonceLength(length)),
        _ => Ok((nonce.map(<[u8]>::to_vec), preferred)),
    }
}

/// `PreferredSignatureAlgorithms ::= SEQUENCE OF PreferredSignatureAlgorithm`.
fn read_preferred(value: &[u8]) -> Result<Vec<SignatureAlgorithm>, BerError> {
    let mut preferred = Vec::new();
    for element in Element::only_tagged(value, SEQUENCE)?.open().take(MAX_PREFERRED) {
        let identifier = element?.tagged(SEQUENCE)?.open().expect(SEQUENCE, "sigIdentifier")?;
        preferred.extend(algorithm::signature_algorithm(&identifier));
    }
    Ok(preferred)
}

/// Old clients (before RFC 8954) put the bare value into extnValue, without an OCTET STRING around it.
pub(super) fn nonce_len(value: &[u8]) -> usize {
    Element::only_tagged(value, OCTET_STRING).map_or(value.len(), |nested| nested.content.len())
}

/// Extensions with a nonce whose extnValue is `raw`.
pub(super) fn nonce_extensions(raw: &[u8]) -> Vec<u8> {
    writer::sequence(&[&extension(rfc6960::ID_PKIX_OCSP_NONCE, false, raw)])
}
