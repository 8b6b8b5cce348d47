//! OCSP (RFC 6960, RFC 9654 nonces, RFC 9919 lightweight profile).

use super::{
    EncodeError, Unsigned,
    x509::{BadSignature, Certificate, DecodeError, PublicKey},
};
use crate::types::{DigestAlgorithm, RevocationReason, SerialNumber, SignatureAlgorithm, Timestamp};

/// CertID (RFC 6960 §4.1.1) as the client sent it; the answer repeats `der` byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertId {
    der: Vec<u8>,
    /* hash algorithm, issuerNameHash, issuerKeyHash, serial */
}
impl CertId {
    /// For a client: names `serial` of `issuer`.
    pub fn new(
        _algorithm: DigestAlgorithm,
        _issuer: &Certificate,
        _serial: &SerialNumber,
    ) -> Result<Self, EncodeError> {
        todo!()
    }
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
    /// None: an algorithm that certgate does not know.
    pub fn algorithm(&self) -> Option<DigestAlgorithm> {
        todo!()
    }
    pub fn issuer_name_hash(&self) -> &[u8] {
        todo!()
    }
    pub fn issuer_key_hash(&self) -> &[u8] {
        todo!()
    }
    pub fn serial(&self) -> &SerialNumber {
        todo!()
    }
}
/// What is wrong with a request; each is answered with malformedRequest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspRequestError {
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// RFC 9654 §2.1: empty or above 128 bytes.
    #[error("nonce of {0} bytes")]
    NonceLength(usize),
    #[error("more than {0} requests")]
    TooMany(usize),
    #[error("a critical extension that is not understood")]
    CriticalExtension,
}
/// A request: 1 to 16 CertIDs. A signature, requestorName and unknown non-critical extensions are ignored (RFC 9919 §3.1.2).
#[derive(Clone, Debug)]
pub struct OcspRequest {
    pub cert_ids: Vec<CertId>,
    /// raw extnValue content octets, echoed byte for byte
    pub nonce: Option<Vec<u8>>,
}
impl OcspRequest {
    pub fn from_der(_der: &[u8]) -> Result<Self, OcspRequestError> {
        todo!()
    }
    pub fn to_der(&self) -> Result<Vec<u8>, EncodeError> {
        todo!()
    }
    /// RFC 6960 A.1.1 path segment(s) after the prefix: percent-decoded or not, base64 or base64url, missing padding, '+' turned to ' ',
    /// merged or doubled slashes, trailing newline.
    pub fn decode_get(_path: &str) -> Result<Vec<u8>, OcspRequestError> {
        todo!()
    }
}
/// Status of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertStatus {
    Good,
    Revoked { at: Timestamp, reason: RevocationReason },
    Unknown,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleResponse {
    pub cert_id: CertId,
    pub status: CertStatus,
    pub this_update: Timestamp,
    pub next_update: Option<Timestamp>,
}
/// A response to be signed: byKey ResponderID; the responder's certificate in certs.
#[derive(Clone, Debug)]
pub struct ResponseSpec<'a> {
    pub responder: &'a Certificate,
    pub produced_at: Timestamp,
    pub responses: &'a [SingleResponse],
    pub nonce: Option<&'a [u8]>,
}
impl ResponseSpec<'_> {
    /// The whole OCSPResponse (successful).
    pub fn unsigned(&self, _algorithm: SignatureAlgorithm) -> Result<Unsigned, EncodeError> {
        todo!()
    }
}
/// OCSPResponseStatus other than successful: unsigned, without responseBytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorStatus {
    MalformedRequest = 1,
    InternalError = 2,
    TryLater = 3,
    SigRequired = 5,
    Unauthorized = 6,
}
impl ErrorStatus {
    pub const fn to_der(self) -> [u8; 5] {
        [0x30, 0x03, 0x0a, 0x01, self as u8]
    }
}
/// A response as read (the client and the tests).
#[derive(Clone, Debug)]
pub enum OcspResponse {
    Error(ErrorStatus),
    Successful(BasicResponse),
}
#[derive(Clone, Debug)]
pub struct BasicResponse {
    pub produced_at: Timestamp,
    pub responses: Vec<SingleResponse>,
    pub nonce: Option<Vec<u8>>,
    pub certificates: Vec<Certificate>,
    /// byKey hash, if so identified
    pub responder_key_hash: Option<Vec<u8>>, /* tbs, algorithm, signature */
}
impl OcspResponse {
    pub fn from_der(_der: &[u8]) -> Result<Self, DecodeError> {
        todo!()
    }
}
impl BasicResponse {
    /// Signed by `issuer` itself or by a delegate in `certificates` that `issuer` signed directly and that has id-kp-OCSPSigning (RFC 6960 §4.2.2.2).
    /// Gives the key that signed.
    pub fn verify(&self, _issuer: &Certificate) -> Result<PublicKey, BadSignature> {
        todo!()
    }
}
