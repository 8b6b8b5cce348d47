//! OCSP responses (RFC 6960 §4.2).

use const_oid::{
    ObjectIdentifier,
    db::{rfc5280, rfc6960},
};

use super::{CertId, request::nonce_extensions};
use crate::{
    types::{RevocationReason, SignatureAlgorithm, Timestamp},
    wire::{
        EncodeError, Unsigned, algorithm, crl,
        der::{
            BerError,
            reader::{
                ENUMERATED, Element, GENERALIZED_TIME, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE,
                context, context_primitive,
            },
            writer,
        },
        x509::{BadSignature, Certificate, DecodeError, Extension, Name, PublicKey, Signed, extension},
    },
};

/// Largest response that is read, in bytes.
const MAX_LEN: usize = 256 * 1024;

/// Status of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertStatus {
    /// Not revoked.
    Good,
    /// Revoked or on hold.
    Revoked {
        /// revocationTime.
        at: Timestamp,
        /// revocationReason.
        reason: RevocationReason,
    },
    /// The responder does not know the certificate.
    Unknown,
}

/// SingleResponse (RFC 6960 §4.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleResponse {
    /// As in the request.
    pub cert_id: CertId,
    /// certStatus.
    pub status: CertStatus,
    /// When the status was known to be right.
    pub this_update: Timestamp,
    /// When newer information will be there.
    pub next_update: Option<Timestamp>,
    /// archiveCutoff (RFC 6960 §4.4.4): the status of certificates that expired since then is kept.
    pub archive_cutoff: Option<Timestamp>,
    /// invalidityDate, as in the CRL entry (RFC 6960 §4.4.5). reasonCode is no extension here: revocationReason says it.
    pub invalidity_date: Option<Timestamp>,
}

impl SingleResponse {
    fn to_der(&self) -> Vec<u8> {
        let status = match self.status {
            CertStatus::Good => writer::element(context_primitive(0), &[]),
            CertStatus::Revoked { at, reason } => revoked_info(at, reason),
            CertStatus::Unknown => writer::element(context_primitive(2), &[]),
        };
        let next_update =
            self.next_update.map(|time| writer::element(context(0), &[&writer::generalized_time(time)]));
        writer::sequence(&[
            self.cert_id.as_der(),
            &status,
            &writer::generalized_time(self.this_update),
            &next_update.unwrap_or_default(),
            &self.single_extensions(),
        ])
    }

    fn read(element: &Element<'_>) -> Result<Self, BerError> {
        let mut fields = element.tagged(SEQUENCE)?.open();
        let cert_id = CertId::read(&fields.any()?)?;
        let status = read_status(&fields.any()?)?;
        let this_update = fields.expect(GENERALIZED_TIME, "thisUpdate")?.time()?;
        let next_update = match fields.optional(context(0))? {
            Some(wrapped) => Some(wrapped.explicit()?.tagged(GENERALIZED_TIME)?.time()?),
            None => None,
        };
        let mut response =
            Self { cert_id, status, this_update, next_update, archive_cutoff: None, invalidity_date: None };
        if let Some(wrapped) = fields.optional(context(1))? {
            for extension in Extension::read_all(&wrapped.explicit()?)? {
                response.take(&extension)?;
            }
        }
        fields.end()?;
        Ok(response)
    }

    fn single_extensions(&self) -> Vec<u8> {
        let times = [
            (rfc6960::ID_PKIX_OCSP_ARCHIVE_CUTOFF, self.archive_cutoff),
            (rfc5280::ID_CE_INVALIDITY_DATE, self.invalidity_date),
        ];
        let all: Vec<u8> = times
            .into_iter()
            .filter_map(|(oid, time)| Some(extension(oid, false, &writer::generalized_time(time?))))
            .flatten()
            .collect();
        if all.is_empty() { all } else { writer::element(context(1), &[&writer::sequence(&[&all])]) }
    }

    /// Others are read over, critical or not: a client that must know of them asks for them.
    fn take(&mut self, extension: &Extension<'_>) -> Result<(), BerError> {
        let time = || Element::only_tagged(extension.value, GENERALIZED_TIME)?.time().map(Some);
        if extension.is(rfc6960::ID_PKIX_OCSP_ARCHIVE_CUTOFF) {
            self.archive_cutoff = time()?;
        } else if extension.is(rfc5280::ID_CE_INVALIDITY_DATE) {
            self.invalidity_date = time()?;
        }
        Ok(())
    }
}

/// RevokedInfo; `unspecified` is not written, as in CRLs.
fn revoked_info(at: Timestamp, reason: RevocationReason) -> Vec<u8> {
    let code = match reason {
        RevocationReason::Unspecified => Vec::new(),
        other => writer::element(context(0), &[&writer::element(ENUMERATED, &[&[other.code()]])]),
    };
    writer::element(context(1), &[&writer::generalized_time(at), &code])
}

fn read_status(element: &Element<'_>) -> Result<CertStatus, BerError> {
    const GOOD: u8 = context_primitive(0);
    const REVOKED: u8 = context(1);
    const UNKNOWN: u8 = context_primitive(2);
    match element.tag {
        GOOD => Ok(CertStatus::Good),
        UNKNOWN => Ok(CertStatus::Unknown),
        REVOKED => {
            let mut fields = element.open();
            let at = fields.expect(GENERALIZED_TIME, "revocationTime")?.time()?;
            let reason = match fields.optional(context(0))? {
                Some(wrapped) => crl::read_reason(&wrapped.explicit()?.tagged(ENUMERATED)?)?,
                None => RevocationReason::Unspecified,
            };
            fields.end()?;
            Ok(CertStatus::Revoked { at, reason })
        }
        _ => Err("unknown certStatus".into()),
    }
}

/// A response to be signed: byKey ResponderID; the responder's certificate in certs.
#[derive(Clone, Debug)]
pub struct ResponseSpec<'a> {
    /// Whose key signs: a delegate (RFC 6960 §4.2.2.2) or the issuer.
    pub responder: &'a Certificate,
    /// producedAt.
    pub produced_at: Timestamp,
    /// One for each CertID of the request.
    pub responses: &'a [SingleResponse],
    /// The request's nonce: raw extnValue content octets.
    pub nonce: Option<&'a [u8]>,
}

impl ResponseSpec<'_> {
    /// The whole OCSPResponse (successful).
    pub fn unsigned(&self, algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        if self.responses.is_empty() {
            return Err(EncodeError { what: "ResponseData", reason: "no responses".to_owned() });
        }
        let key_hash = writer::element(OCTET_STRING, &[&self.responder.public_key().key_identifier()]);
        let responses: Vec<u8> = self.responses.iter().flat_map(SingleResponse::to_der).collect();
        let extensions = self.nonce.map(|nonce| writer::element(context(1), &[&nonce_extensions(nonce)]));
        let to_be_signed = writer::sequence(&[
            &writer::element(context(2), &[&key_hash]),
            &writer::generalized_time(self.produced_at),
            &writer::sequence(&[&responses]),
            &extensions.unwrap_or_default(),
        ]);
        let certificates = writer::element(context(0), &[&writer::sequence(&[self.responder.as_der()])]);
        Ok(Unsigned::assembled(to_be_signed, algorithm, move |to_be_signed, signature| {
            let identifier = algorithm::signature_identifier(algorithm);
            let parts = [&to_be_signed, &identifier, &writer::bit_string(signature), &certificates];
            Ok(successful(&writer::sequence(&parts.map(Vec::as_slice))))
        }))
    }
}

/// OCSPResponse with responseStatus successful around a BasicOCSPResponse.
fn successful(basic: &[u8]) -> Vec<u8> {
    let kind = writer::oid(rfc6960::ID_PKIX_OCSP_BASIC);
    let bytes = writer::sequence(&[&kind, &writer::element(OCTET_STRING, &[basic])]);
    writer::sequence(&[&[ENUMERATED, 1, 0], &writer::element(context(0), &[&bytes])])
}

/// OCSPResponseStatus other than successful: unsigned, without responseBytes (RFC 6960 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorStatus {
    /// The request does not conform to the syntax.
    MalformedRequest = 1,
    /// The responder is in an inconsistent state.
    InternalError = 2,
    /// Temporarily unable to answer.
    TryLater = 3,
    /// The request must be signed.
    SigRequired = 5,
    /// Not for this client, or no authoritative record (RFC 9919 §3.2.3).
    Unauthorized = 6,
}

impl ErrorStatus {
    const ALL: [Self; 5] =
        [Self::MalformedRequest, Self::InternalError, Self::TryLater, Self::SigRequired, Self::Unauthorized];

    /// The name of RFC 6960 §4.2.1.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformedRequest",
            Self::InternalError => "internalError",
            Self::TryLater => "tryLater",
            Self::SigRequired => "sigRequired",
            Self::Unauthorized => "unauthorized",
        }
    }

    /// The whole OCSPResponse.
    pub const fn to_der(self) -> [u8; 5] {
        [SEQUENCE, 0x03, ENUMERATED, 0x01, self as u8]
    }
}

/// A response as read (the client and the tests).
#[derive(Clone, Debug)]
pub enum OcspResponse {
    /// No status was given.
    Error(ErrorStatus),
    /// A basic response, not yet verified.
    Successful(BasicResponse),
}

/// BasicOCSPResponse (RFC 6960 §4.2.1).
#[derive(Clone, Debug)]
pub struct BasicResponse {
    /// When it was signed.
    pub produced_at: Timestamp,
    /// In the order of the response.
    pub responses: Vec<SingleResponse>,
    /// Raw extnValue content octets.
    pub nonce: Option<Vec<u8>>,
    /// What its responseExtensions are.
    pub extensions: Vec<ObjectIdentifier>,
    /// Certificates that came with it.
    pub certificates: Vec<Certificate>,
    /// byKey hash, if so identified.
    pub responder_key_hash: Option<Vec<u8>>,
    responder_name: Option<Name>,
    /// The signed structure without the certificates.
    signed_der: Vec<u8>,
    signed: Signed,
}

impl BasicResponse {
    /// signatureAlgorithm, if certgate speaks it.
    pub const fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        self.signed.algorithm
    }
}

impl OcspResponse {
    /// Reads one DER response of at most 256 KiB.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(der).map_err(DecodeError::of("OCSPResponse"))
    }

    fn parse(der: &[u8]) -> Result<Self, BerError> {
        if der.len() > MAX_LEN {
            return Err("larger than 256 KiB".into());
        }
        let mut fields = Element::only_tagged(der, SEQUENCE)?.open();
        let status = fields.expect(ENUMERATED, "responseStatus")?.unsigned()?;
        let bytes = fields.optional(context(0))?;
        fields.end()?;
        if status != 0 {
            let known = ErrorStatus::ALL.into_iter().find(|known| *known as u64 == status);
            return known.map(Self::Error).ok_or(BerError::Value("unknown responseStatus"));
        }
        let mut fields = bytes.ok_or("no responseBytes")?.explicit()?.tagged(SEQUENCE)?.open();
        if fields.expect(OBJECT_IDENTIFIER, "responseType")?.content != rfc6960::ID_PKIX_OCSP_BASIC.as_bytes()
        {
            return Err("not a basic response".into());
        }
        let basic = fields.expect(OCTET_STRING, "response")?;
        fields.end()?;
        BasicResponse::read(basic.content).map(Self::Successful)
    }
}

impl BasicResponse {
    fn read(der: &[u8]) -> Result<Self, BerError> {
        let mut fields = Element::only_tagged(der, SEQUENCE)?.open();
        let parts = [fields.any()?.encoding, fields.any()?.encoding, fields.any()?.encoding];
        let certificates = fields.optional(context(0))?;
        fields.end()?;
        let signed_der = writer::sequence(&parts);
        let (signed, mut data) = Signed::read(&signed_der)?;
        let _version = data.optional(context(0))?;
        let (responder_name, responder_key_hash) = read_responder_id(&data.any()?)?;
        let produced_at = data.expect(GENERALIZED_TIME, "producedAt")?.time()?;
        let responses = read_responses(data.expect(SEQUENCE, "responses")?.open())?;
        let extensions = data.optional(context(1))?;
        let extensions = extensions.map(|wrapped| Extension::read_all(&wrapped.explicit()?)).transpose()?;
        let extensions = extensions.unwrap_or_default();
        data.end()?;
        Ok(Self {
            produced_at,
            responses,
            nonce: nonce_among(&extensions),
            extensions: extensions.iter().filter_map(Extension::oid).collect(),
            certificates: certificates.map(|list| read_certificates(&list)).transpose()?.unwrap_or_default(),
            responder_key_hash,
            responder_name,
            signed,
            signed_der,
        })
    }

    /// Signed by `issuer` itself or by a delegate in `certificates` that `issuer` signed directly and that has
    /// id-kp-OCSPSigning (RFC 6960 §4.2.2.2). Gives the key that signed. Says nothing of times.
    pub fn verify(&self, issuer: &Certificate) -> Result<PublicKey, BadSignature> {
        let is_delegate = |candidate: &&Certificate| {
            candidate.extended_key_usage().contains(&rfc5280::ID_KP_OCSP_SIGNING)
                && candidate.is_signed_by(issuer).is_ok()
        };
        let delegates = self.certificates.iter().filter(is_delegate);
        std::iter::once(issuer)
            .chain(delegates)
            .find(|candidate| self.is_signed_by(candidate))
            .map(|signer| signer.public_key().clone())
            .ok_or(BadSignature)
    }

    /// Whether it says that `responder` signed it, and `responder`'s key did: for one that is trusted by configuration. Says nothing of times.
    pub fn is_signed_by(&self, responder: &Certificate) -> bool {
        self.is_responder(responder) && self.signed.verify(&self.signed_der, responder.public_key()).is_ok()
    }

    fn is_responder(&self, candidate: &Certificate) -> bool {
        match (&self.responder_key_hash, &self.responder_name) {
            (Some(hash), _) => candidate.public_key().key_identifier() == hash.as_slice(),
            (None, Some(name)) => candidate.subject().matches(name),
            (None, None) => false,
        }
    }
}

/// byName or byKey (RFC 6960 §4.2.1).
fn read_responder_id(element: &Element<'_>) -> Result<(Option<Name>, Option<Vec<u8>>), BerError> {
    const BY_NAME: u8 = context(1);
    const BY_KEY: u8 = context(2);
    match element.tag {
        BY_NAME => Ok((Some(Name::parse(element.content)?), None)),
        BY_KEY => Ok((None, Some(element.explicit()?.tagged(OCTET_STRING)?.content.to_vec()))),
        _ => Err("unknown ResponderID".into()),
    }
}

fn read_responses(mut list: Reader<'_>) -> Result<Vec<SingleResponse>, BerError> {
    let mut all = Vec::new();
    while !list.is_empty() {
        all.push(SingleResponse::read(&list.any()?)?);
    }
    Ok(all)
}

fn nonce_among(extensions: &[Extension<'_>]) -> Option<Vec<u8>> {
    let nonce = extensions.iter().find(|extension| extension.is(rfc6960::ID_PKIX_OCSP_NONCE));
    nonce.map(|extension| extension.value.to_vec())
}

fn read_certificates(wrapped: &Element<'_>) -> Result<Vec<Certificate>, BerError> {
    let mut list = wrapped.explicit()?.tagged(SEQUENCE)?.open();
    let mut all = Vec::new();
    while !list.is_empty() {
        all.push(Certificate::parse(list.any()?.encoding)?);
    }
    Ok(all)
}
