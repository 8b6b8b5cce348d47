//! OCSP over HTTP (RFC 6960 appendix A, RFC 9919 §6).
//!
//! A plain request (see [`PlainRequest`]) is read where it lies, and what is in the cache goes out from the task that read it: nothing is
//! allocated to find it, nothing is signed, and no other thread is asked. Everything else is read whole here, so that what is no
//! request costs no thread either, and is signed by a thread of the pool.

mod counters;

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        CACHE_CONTROL, ETAG, EXPIRES, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LAST_MODIFIED,
    },
};
use tracing::Instrument;

use counters::Form;
pub use counters::OcspCounters;

use super::{
    bridge::{BridgeError, Lane},
    conditional,
    device::{DeviceEdge, below, body_of, method_not_allowed, typed},
};
use crate::{
    service::{metric, ocsp::OcspAnswer},
    types::IssuerId,
    wire::ocsp::{CertId, GetBuffer, OcspRequest, PlainRequest},
};

/// Path under which OCSP is served.
const PREFIX: &str = "/ocsp";

const RESPONSE_TYPE: &str = "application/ocsp-response";

/// Largest request; the usual one has 70 bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// What follows the responder's path, if `path` is below it. Some proxies write a second slash before it.
pub(super) fn below_responder(path: &str) -> Option<&str> {
    let slashes = path.len() - path.trim_start_matches('/').len();
    below(path.get(slashes.saturating_sub(1)..)?, PREFIX)
}

/// Answers any request to `/ocsp`. The HTTP status is 200 for OCSP errors too: clients read the body.
pub(super) async fn answer(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let method = request.method().clone();
    let client = edge.trusted_proxies.client(peer.ip(), request.headers());
    let asker = Asker { edge, peer, client };
    match method {
        Method::GET | Method::HEAD => {
            let found = asker.look_up_path(below_responder(request.uri().path()).unwrap_or_default());
            let answer = asker.settle(found).await;
            let known = is_known(edge, &request, &answer);
            respond(edge, &answer, known)
        }
        Method::POST => match body_of(edge, request, MAX_REQUEST).await {
            Ok(body) => {
                let found = asker.look_up(&body, true);
                respond(edge, &asker.settle(found).await, false)
            }
            Err(error) => error.answer(),
        },
        _ => method_not_allowed("GET, HEAD, POST"),
    }
}

/// What can be said of a request at once.
enum Found {
    Answer(OcspAnswer),
    /// It has to be signed.
    Nothing(OcspRequest),
}

/// One who asks.
struct Asker<'a> {
    edge: &'a DeviceEdge,
    peer: SocketAddr,
    client: IpAddr,
}

impl Asker<'_> {
    fn look_up_path(&self, path: &str) -> Found {
        let mut buffer = GetBuffer::default();
        match request_of_path(path, &mut buffer) {
            Some(der) => self.look_up(&der, false),
            None => Found::Answer(OcspAnswer::malformed()),
        }
    }

    fn look_up(&self, der: &[u8], post: bool) -> Found {
        if let Some(plain) = PlainRequest::read(der) {
            let form = Form { hash: plain.cert_id.algorithm(), post, nonce: plain.nonce.is_some() };
            self.count(form);
            if !form.nonce
                && let Some(answer) = self.cached(&plain)
            {
                return Found::Answer(answer);
            }
            return Found::Nothing(plain.into());
        }
        match OcspRequest::from_der(der) {
            Ok(request) => self.look_up_odd(request, post),
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "ocsp: malformed request");
                Found::Answer(OcspAnswer::malformed())
            }
        }
    }

    /// One that says more than its CertID, or asks for several.
    fn look_up_odd(&self, request: OcspRequest, post: bool) -> Found {
        let hash = request.cert_ids.first().and_then(CertId::algorithm);
        self.count(Form { hash, post, nonce: request.nonce.is_some() });
        let cached = match request.cert_ids.as_slice() {
            [cert_id] if self.edge.gateway.ocsp_is_shared(&request) => {
                self.cached(&PlainRequest { cert_id: cert_id.borrowed(), nonce: None })
            }
            _ => None,
        };
        cached.map_or(Found::Nothing(request), Found::Answer)
    }

    fn cached(&self, plain: &PlainRequest<'_>) -> Option<OcspAnswer> {
        let cached = self.edge.gateway.ocsp_cached(&plain.cert_id);
        self.edge.ocsp_counters.looked_up(cached.is_some());
        cached
    }

    fn count(&self, form: Form) {
        self.edge.ocsp_counters.asked(form);
        tracing::debug!(client = %self.client, hash = form.hash(), method = form.method(), nonce = form.nonce, "ocsp");
    }

    async fn settle(&self, found: Found) -> OcspAnswer {
        match found {
            Found::Answer(answer) => answer,
            // In a box: it is large, and most questions do without it.
            Found::Nothing(request) => Box::pin(self.sign(request)).await,
        }
    }

    async fn sign(&self, request: OcspRequest) -> OcspAnswer {
        if self.edge.gateway.ocsp_is_shared(&request) {
            return self.call(Lane::Main, request).await.unwrap_or_else(OcspAnswer::try_later);
        }
        // What only this client can use stands in a line of its own: nonces never keep the others waiting.
        let ignores_nonce = request.nonce.is_some();
        let shared = self.edge.gateway.ocsp_made_shared(&request);
        let signed = if self.edge.gateway.ocsp_may_spend(&request, self.client) {
            self.call(Lane::Side, request).await
        } else {
            None
        };
        match (signed, shared) {
            (Some(answer), _) => answer,
            (None, Some(request)) => {
                if ignores_nonce {
                    metrics::counter!(metric::OCSP_NONCES_IGNORED).increment(1);
                }
                self.share(request).await
            }
            (None, None) => OcspAnswer::try_later(),
        }
    }

    /// What everybody gets who sends no nonce.
    async fn share(&self, request: OcspRequest) -> OcspAnswer {
        let cert_id = request.cert_ids.first().map(CertId::borrowed);
        let cached = cert_id.and_then(|cert_id| self.cached(&PlainRequest { cert_id, nonce: None }));
        match cached {
            Some(answer) => answer,
            None => self.call(Lane::Main, request).await.unwrap_or_else(OcspAnswer::try_later),
        }
    }

    /// None: too many wait.
    async fn call(&self, lane: Lane, request: OcspRequest) -> Option<OcspAnswer> {
        let gateway = Arc::clone(&self.edge.gateway);
        let span =
            tracing::info_span!("request", id = %gateway.new_request(), peer = %self.peer, path = PREFIX);
        match self.edge.status.call_in(lane, move || gateway.ocsp_answer(&request)).instrument(span).await {
            Ok(answer) => Some(answer),
            Err(BridgeError::Shed) => None,
            Err(BridgeError::Panicked) => Some(OcspAnswer::internal()),
        }
    }
}

/// The request in a path: `{base64}` or `{issuer}/{base64}`. Base64 of a DER SEQUENCE starts with `M`, an issuer's name with a lower-case letter or
/// a digit, so the two cannot be mistaken for each other.
fn request_of_path<'b>(path: &str, buffer: &'b mut GetBuffer) -> Option<Cow<'b, [u8]>> {
    let encoded = match path.split_once('/') {
        Some((issuer, rest)) if !path.starts_with('M') && issuer.parse::<IssuerId>().is_ok() => rest,
        _ => path,
    };
    match PlainRequest::decode_get(encoded, buffer) {
        Some(der) => Some(Cow::Borrowed(der)),
        None => OcspRequest::decode_get(encoded).ok().map(Cow::Owned),
    }
}

fn is_known(edge: &DeviceEdge, request: &Request<Incoming>, answer: &OcspAnswer) -> bool {
    let headers = request.headers();
    let asks = headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE);
    asks && answer.caching.as_ref().is_some_and(|caching| {
        let (modified, now) = (Some(caching.modified), edge.gateway.now());
        conditional::is_known(request.method(), headers, &caching.etag, modified, now)
    })
}

fn respond(edge: &DeviceEdge, answer: &OcspAnswer, known: bool) -> Response<Full<Bytes>> {
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
    if known {
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
