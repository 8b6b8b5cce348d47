//! The SCEP responder (RFC 8894): from the bytes of a pkiMessage to the bytes of a CertRep.

use super::Gateway;
use crate::types::{ProfileName, RequestId};

/// Where a request came from.
#[derive(Clone, Debug)]
pub struct Origin { /// Address of the peer, for the audit record.
    pub peer: String, pub request: RequestId }
/// Answers that are not a CertRep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScepError {
    /// HTTP 404.
    #[error("no such profile")] UnknownProfile,
    /// HTTP 400: there is nobody to answer with a CertRep. The text is for the client.
    #[error("{0}")] BadRequest(&'static str),
    /// HTTP 503 with Retry-After: transient.
    #[error("temporarily unavailable")] Unavailable,
}
/// GetCACert's answer.
#[derive(Clone, Debug)]
pub struct CaCertificates { pub content_type: &'static str, pub body: Vec<u8> }
/// A CertRep with what metrics and logs want to know.
#[derive(Clone, Debug)]
pub struct CertRep { pub body: Vec<u8>, /// lower-case operation (pkcs-req, renewal-req, cert-poll, get-cert, get-crl, unknown)
    pub operation: &'static str, /// success, pending, or the failInfo in lower case (bad-request ..)
    pub result: &'static str }
impl Gateway {
    /// GetCACaps (RFC 8894 §3.5.2).
    pub fn ca_capabilities(&self, _profile: &ProfileName) -> Result<String, ScepError> { todo!() }
    /// GetCACert (RFC 8894 §4.2).
    pub fn ca_certificates(&self, _profile: &ProfileName) -> Result<CaCertificates, ScepError> { todo!() }
    /// PKIOperation (RFC 8894 §4.3 ff.).
    pub fn pki_operation(&self, _profile: &ProfileName, _message: &[u8], _origin: &Origin) -> Result<CertRep, ScepError> { todo!() }
    /// The profile that an NDES-compatible URL or an unknown CA identifier means.
    pub fn default_profile(&self) -> Option<ProfileName> { todo!() }
}
