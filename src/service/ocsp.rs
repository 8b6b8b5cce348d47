//! The OCSP responder (RFC 6960, RFC 9654, RFC 9919).

use bytes::Bytes;
use super::Gateway;
use crate::types::Timestamp;

/// An answer with what HTTP needs to know (RFC 9919 §6).
#[derive(Clone, Debug)]
pub struct OcspAnswer {
    /// DER of the OCSPResponse.
    pub body: Bytes,
    /// Present for answers that HTTP may cache; absent for errors and answers with a nonce.
    pub caching: Option<OcspCaching>,
    /// For metrics: good, revoked, unknown, unauthorized, malformed, try-later, internal.
    pub result: &'static str,
}
/// What the cache headers say.
#[derive(Clone, Debug)]
pub struct OcspCaching { pub this_update: Timestamp, pub next_update: Timestamp, /// hex SHA-256 of the body
    pub etag: String }
/// Signed answers, each valid until its window ends or the serial's status moves.
#[derive(Debug)]
pub struct AnswerCache {}
impl AnswerCache { pub(crate) fn new(_entries: usize) -> Self { todo!() } }
impl Gateway {
    /// The cached answer to exactly these request bytes, if there is a fresh one. Never blocks, never signs: for the async edge.
    pub fn ocsp_cached(&self, _request: &[u8]) -> Option<OcspAnswer> { todo!() }
    /// Answers any request.
    pub fn ocsp(&self, _request: &[u8]) -> OcspAnswer { todo!() }
}
