//! OCSP over HTTP (RFC 6960 appendix A, RFC 9919 §6).

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED},
};

use super::{
    bridge::BridgeError,
    device::{DeviceEdge, below, body_of, typed},
};
use crate::{
    service::{metric, ocsp::OcspAnswer},
    types::{IssuerId, Timestamp},
    wire::ocsp::{ErrorStatus, OcspRequest},
};

const RESPONSE_TYPE: &str = "application/ocsp-response";

/// Largest request; the usual one has 70 bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// The answer to a GET that is in the cache: on this path nothing is parsed, signed or handed to another thread.
pub(super) fn from_cache(edge: &DeviceEdge, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    if request.method() != Method::GET {
        return None;
    }
    let der = request_of_path(below(request.uri().path(), "/ocsp")?)?;
    let answer = edge.gateway.ocsp_cached(&der)?;
    Some(respond(edge, &answer, request.headers().get(IF_NONE_MATCH)))
}

/// Answers any request to `/ocsp`; `below` is the path behind it. The HTTP status is 200 for OCSP errors too: clients read the body.
pub(super) async fn answer(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    below: &str,
) -> Response<Full<Bytes>> {
    let if_none_match = request.headers().get(IF_NONE_MATCH).cloned();
    let der = if request.method() == Method::POST {
        match body_of(edge, request, MAX_REQUEST).await {
            Ok(body) => Some(body),
            Err(error) => return error.answer(),
        }
    } else {
        request_of_path(below).map(Bytes::from)
    };
    let answer = match der {
        None => OcspAnswer::malformed(),
        Some(der) => match edge.gateway.ocsp_cached(&der) {
            Some(answer) => answer,
            None => sign(edge, der).await,
        },
    };
    respond(edge, &answer, if_none_match.as_ref())
}

async fn sign(edge: &DeviceEdge, der: Bytes) -> OcspAnswer {
    let gateway = Arc::clone(&edge.gateway);
    match edge.status.call(move || gateway.ocsp(&der)).await {
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
fn request_of_path(path: &str) -> Option<Vec<u8>> {
    let encoded = match path.split_once('/') {
        Some((issuer, rest)) if issuer.parse::<IssuerId>().is_ok() => rest,
        _ => path,
    };
    OcspRequest::decode_get(encoded).ok()
}

fn respond(
    edge: &DeviceEdge,
    answer: &OcspAnswer,
    if_none_match: Option<&HeaderValue>,
) -> Response<Full<Bytes>> {
    metrics::counter!(metric::OCSP_REQUESTS, "result" => answer.result).increment(1);
    let mut response = typed(RESPONSE_TYPE, answer.body.clone());
    let headers = response.headers_mut();
    match &answer.caching {
        // RFC 9919 §7.2: answers without authority, and those made for one client alone, are not to be kept.
        None => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Some(caching) => {
            let left = caching.next_update.since(edge.gateway.now()).as_secs();
            let cache_control = format!("max-age={left}, public, no-transform, must-revalidate");
            insert(headers, CACHE_CONTROL, &cache_control);
            insert(headers, LAST_MODIFIED, &http_date(caching.this_update));
            insert(headers, EXPIRES, &http_date(caching.next_update));
            let etag = format!("\"{}\"", caching.etag);
            insert(headers, ETAG, &etag);
            if if_none_match.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = Full::default();
            }
        }
    }
    response
}

pub(super) fn insert(headers: &mut hyper::HeaderMap, name: hyper::header::HeaderName, value: &str) {
    // Dates, digests and numbers are ASCII: the conversion does not fail.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The date as HTTP writes it.
pub(super) fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time.unix()))
}
