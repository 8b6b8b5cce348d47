//! OCSP over HTTP (RFC 6960 appendix A, RFC 9919 §6).

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED},
};
use metrics::Counter;
use tracing::Instrument;

use super::{
    bridge::BridgeError,
    device::{DeviceEdge, body_of, method_not_allowed, typed},
};
use crate::{
    service::{
        metric::{self, label},
        ocsp::OcspAnswer,
    },
    types::IssuerId,
    wire::ocsp::{ErrorStatus, OcspRequest},
};

/// Path under which OCSP is served.
pub(super) const PREFIX: &str = "/ocsp";

const RESPONSE_TYPE: &str = "application/ocsp-response";

/// Largest request; the usual one has 70 bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// Handles of the counters that a cached answer moves: looked up once, not with each request.
#[derive(Debug)]
pub struct OcspCounters {
    hit: Counter,
    miss: Counter,
    good: Counter,
    revoked: Counter,
}

impl Default for OcspCounters {
    /// Take it after the recorder of the metrics was installed.
    fn default() -> Self {
        Self {
            hit: metrics::counter!(metric::OCSP_CACHE, label::OUTCOME => "hit"),
            miss: metrics::counter!(metric::OCSP_CACHE, label::OUTCOME => "miss"),
            good: metrics::counter!(metric::OCSP_REQUESTS, label::RESULT => "good"),
            revoked: metrics::counter!(metric::OCSP_REQUESTS, label::RESULT => "revoked"),
        }
    }
}

impl OcspCounters {
    fn answered(&self, result: &'static str) {
        match result {
            "good" => self.good.increment(1),
            "revoked" => self.revoked.increment(1),
            other => metrics::counter!(metric::OCSP_REQUESTS, label::RESULT => other).increment(1),
        }
    }
}

/// Answers any request to `/ocsp`. The HTTP status is 200 for OCSP errors too: clients read the body.
///
/// For what is in the cache nothing is parsed, signed or handed to another thread.
pub(super) async fn answer(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let if_none_match = request.headers().get(IF_NONE_MATCH).cloned();
    let der = match *request.method() {
        Method::GET | Method::HEAD => {
            super::device::below(request.uri().path(), PREFIX).and_then(request_of_path)
        }
        Method::POST => match body_of(edge, request, MAX_REQUEST).await {
            Ok(body) => Some(body),
            Err(error) => return error.answer(),
        },
        _ => return method_not_allowed("GET, HEAD, POST"),
    };
    let answer = match der {
        None => OcspAnswer::malformed(),
        Some(der) => {
            if let Some(answer) = edge.gateway.ocsp_cached(&der) {
                edge.ocsp_counters.hit.increment(1);
                answer
            } else {
                edge.ocsp_counters.miss.increment(1);
                sign(edge, der, peer).await
            }
        }
    };
    respond(edge, &answer, if_none_match.as_ref())
}

async fn sign(edge: &DeviceEdge, der: Bytes, peer: SocketAddr) -> OcspAnswer {
    let gateway = Arc::clone(&edge.gateway);
    let span = tracing::info_span!("request", id = %gateway.new_request(), %peer, path = PREFIX);
    match edge.status.call(move || gateway.ocsp(&der)).instrument(span).await {
        Ok(answer) => answer,
        Err(BridgeError::Shed) => OcspAnswer::try_later(),
        Err(BridgeError::Panicked) => OcspAnswer {
            body: Bytes::copy_from_slice(&ErrorStatus::InternalError.to_der()),
            caching: None,
            result: "internal",
        },
    }
}

/// The request in a path: `{base64}` or `{issuer}/{base64}`. Base64 of a DER SEQUENCE starts with `M`, an issuer's name with a lower-case letter or
/// a digit, so the two cannot be mistaken for each other.
fn request_of_path(path: &str) -> Option<Bytes> {
    let encoded = match path.split_once('/') {
        Some((issuer, rest)) if !path.starts_with('M') && issuer.parse::<IssuerId>().is_ok() => rest,
        _ => path,
    };
    OcspRequest::decode_get(encoded).ok().map(Bytes::from)
}

fn respond(
    edge: &DeviceEdge,
    answer: &OcspAnswer,
    if_none_match: Option<&HeaderValue>,
) -> Response<Full<Bytes>> {
    edge.ocsp_counters.answered(answer.result);
    let mut response = typed(RESPONSE_TYPE, answer.body.clone());
    let headers = response.headers_mut();
    let Some(caching) = &answer.caching else {
        // RFC 9919 §7.2: answers without authority, and those made for one client alone, are not to be kept.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return response;
    };
    insert(headers, CACHE_CONTROL, caching.cache_control(edge.gateway.now()));
    insert(headers, LAST_MODIFIED, caching.last_modified.clone());
    insert(headers, EXPIRES, caching.expires.clone());
    insert(headers, ETAG, caching.etag.clone());
    if if_none_match.is_some_and(|known| known.as_bytes() == caching.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
    }
    response
}

pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl Into<Bytes>) {
    // Dates, digests and numbers are ASCII: the conversion does not fail.
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        headers.insert(name, value);
    }
}
