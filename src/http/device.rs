//! The device listener: SCEP, OCSP, CRLs and CA certificates over plain HTTP, and nothing else.
//!
//! It never redirects, never asks for a client certificate, needs no `Host` header, and answers with a `Content-Length`: phones, 15-year-old
//! routers and RADIUS servers all have to get along with it.

use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use tokio::time::timeout;
use tracing::Instrument;

use super::{bridge::Bridge, crl, forwarded::TrustedProxies, logged, ocsp, scep};
use crate::service::Gateway;

/// What the device listener answers with.
pub struct DeviceEdge {
    /// The use cases.
    pub gateway: Arc<Gateway>,
    /// Where enrolments run.
    pub enrolment: Arc<Bridge>,
    /// Where OCSP answers are made that are not in the cache.
    pub status: Arc<Bridge>,
    /// Largest SCEP message, in bytes.
    pub max_message: usize,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// Whose word is taken for whom they speak.
    pub trusted_proxies: TrustedProxies,
    /// What is counted of OCSP.
    pub ocsp_counters: ocsp::OcspCounters,
}

impl fmt::Debug for DeviceEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceEdge")
    }
}

impl DeviceEdge {
    /// Answers one request.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(if ocsp::below_responder(request.uri().path()).is_some() {
            ocsp::answer(&self, request, peer).await
        } else {
            // In a box: what is large in it would be moved with each question to OCSP otherwise.
            Box::pin(self.answer_in_span(request, peer)).await
        })
    }

    async fn answer_in_span(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let id = self.gateway.new_request();
        // The query is left out: it can carry a whole pkiMessage with its challenge.
        let span = tracing::info_span!("device", request = %id, %peer, method = %logged(request.method().as_str()), path = logged(request.uri().path()));
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
                return method_not_allowed("GET, HEAD, POST");
            }
            let path = request.uri().path().to_owned();
            if let Some(file) = path.strip_prefix("/crl/") {
                crl::revocation_list(&self.gateway, &request, file)
            } else if let Some(file) = path.strip_prefix("/ca/") {
                crl::ca_certificate(&self.gateway, &request, file)
            } else if scep::is_path(&path) {
                let client = self.trusted_proxies.client(peer.ip(), request.headers());
                scep::exchange(self, request, client, id).await
            } else {
                elsewhere(&path)
            }
        }
        .instrument(span)
        .await
    }
}

/// What follows `prefix` as a path segment, without the slash between.
pub(super) fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// Why a request's body could not be had.
pub(super) enum BodyError {
    /// Longer than allowed.
    TooLarge,
    /// The client went away or took too long.
    Broken,
    /// Compressed: nothing that devices send is, and what a few bytes grow to is nobody's to choose.
    Encoded,
}

impl BodyError {
    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        match self {
            Self::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large"),
            Self::Encoded => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no Content-Encoding is taken"),
            Self::Broken => plain(StatusCode::REQUEST_TIMEOUT, "the message did not arrive"),
        }
    }
}

/// The whole body, of at most `limit` bytes, within the edge's time.
pub(super) async fn body_of(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    limit: usize,
) -> Result<Bytes, BodyError> {
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(BodyError::Encoded);
    }
    match timeout(edge.body_timeout, Limited::new(request.into_body(), limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BodyError::Broken),
    }
}

/// An answer of one line of text.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

/// An answer with a body of exactly this content type: clients compare it as a whole string.
pub(super) fn typed(content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn not_found() -> Response<Full<Bytes>> {
    plain(StatusCode::NOT_FOUND, "nothing is served here")
}

/// For a path of no protocol of devices.
fn elsewhere(path: &str) -> Response<Full<Bytes>> {
    let lower = path.to_ascii_lowercase();
    if ["/certsrv/mscep_admin", "/webhooks/", "/api/"].iter().any(|place| lower.starts_with(place)) {
        return plain(StatusCode::NOT_FOUND, "this is on the admin listener, over HTTPS");
    }
    not_found()
}

pub(super) fn method_not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "this method is not served here");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// 429 with the time after which it makes sense to come back.
pub(super) fn too_soon(retry_after: Duration) -> Response<Full<Bytes>> {
    let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "too many requests, try again later");
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after.as_secs().into());
    answer
}

/// 503 where another party that is needed does not answer, with when it may again: at least a second, at most ten minutes.
pub(super) fn away(retry_after: Duration) -> Response<Full<Bytes>> {
    let mut answer =
        plain(StatusCode::SERVICE_UNAVAILABLE, "a party that has to be asked does not answer, try again");
    let seconds = HeaderValue::from(retry_after.as_secs().clamp(1, 600));
    answer.headers_mut().insert(header::RETRY_AFTER, seconds);
    answer
}

/// 503 where there may be something newer than what could be given.
pub(super) fn withheld(retry_after: Duration) -> Response<Full<Bytes>> {
    let mut answer =
        plain(StatusCode::SERVICE_UNAVAILABLE, "what is here may not be the newest, try again later");
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after.as_secs().into());
    answer
}

/// 503 with the time after which it makes sense to come back.
pub(super) fn overloaded() -> Response<Full<Bytes>> {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "busy, try again");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}
