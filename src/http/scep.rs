//! SCEP over HTTP (RFC 8894 §4.1), with the tolerance that real clients need.

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, HeaderValue, USER_AGENT},
};
use percent_encoding::percent_decode_str;

use super::{
    bridge::BridgeError,
    device::{DeviceEdge, away, body_of, method_not_allowed, overloaded, plain, too_soon, typed},
};
use crate::{
    service::{
        Gateway,
        guard::Weight,
        metric::{self, label},
        scep::{CertRep, Origin, ScepError},
    },
    types::{ProfileName, RequestId},
    wire::base64,
};

/// The NDES-compatible paths, which name no profile; compared without regard to case, as IIS does.
const NDES_PATH: &str = "/certsrv/mscep/mscep.dll";

/// What a GET of it without an operation reads.
const NDES_TEXT: &str = "SCEP (RFC 8894) for network devices. The one-time password is at /certsrv/mscep_admin/ on the admin \
                         listener (HTTPS).";

/// The default path of RFC 8894 §4.1.
const CGI_PATH: &str = "/cgi-bin/pkiclient.exe";

const MESSAGE_TYPE: &str = "application/x-pki-message";

/// The profile that a path means, if it is a SCEP path: `/scep/{profile}` and anything below it (clients append `/pkiclient.exe`), or the
/// default profile's paths.
pub(super) fn profile_of_path(gateway: &Gateway, path: &str) -> Option<ProfileName> {
    if let Some(named) = path.strip_prefix("/scep/").filter(|rest| !rest.is_empty()) {
        return named.split('/').next().and_then(|name| name.parse().ok());
    }
    let path = path.to_ascii_lowercase();
    let default = path == "/scep" || path == "/scep/" || is_at(&path, NDES_PATH) || is_at(&path, CGI_PATH);
    if default { gateway.default_profile() } else { None }
}

/// Whether a path is the one that NDES has.
fn is_ndes(path: &str) -> bool {
    is_at(&path.to_ascii_lowercase(), NDES_PATH)
}

/// Whether `path` is `base` or below it.
fn is_at(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One operation, as RFC 8894 §4 names it.
#[expect(clippy::enum_variant_names, reason = "PKIOperation is its name")]
enum Operation {
    GetCaCaps,
    GetCaCert,
    GetNextCaCert,
    PkiOperation,
}

/// Answers a request to a SCEP path.
pub(super) async fn answer(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    profile: ProfileName,
    client: IpAddr,
    id: RequestId,
) -> Response<Full<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    // Some clients leave the operation out of a POST; only PKIOperation is ever posted.
    let operation = match parameter(query, "operation") {
        Some(name) => operation(&name),
        None if request.method() == Method::POST => Some(Operation::PkiOperation),
        None => None,
    };
    let Some(operation) = operation else {
        if parameter(query, "operation").is_none() && is_ndes(request.uri().path()) {
            // What administrators and MDM servers look at to see whether NDES is there.
            return plain(StatusCode::OK, NDES_TEXT);
        }
        return plain(
            StatusCode::BAD_REQUEST,
            "unknown operation: GetCACaps, GetCACert and PKIOperation are served here",
        );
    };
    match operation {
        Operation::GetCaCaps | Operation::GetCaCert if request.method() == Method::POST => {
            method_not_allowed("GET, HEAD")
        }
        // RFC 9110 §9.2.1: HEAD is safe. It would issue a certificate and show it to nobody.
        Operation::PkiOperation if request.method() == Method::HEAD => method_not_allowed("GET, POST"),
        Operation::GetCaCaps => capabilities(&edge.gateway, &named_or(edge, query, profile), client),
        Operation::GetCaCert => ca_certificates(&edge.gateway, &named_or(edge, query, profile), client),
        // RFC 8894 §4.7.1: only when the CA has a successor, which no issuer has.
        Operation::GetNextCaCert => plain(StatusCode::NOT_IMPLEMENTED, "this CA has no successor yet"),
        Operation::PkiOperation => pki_operation(edge, request, profile, client, id).await,
    }
}

fn operation(name: &str) -> Option<Operation> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("GetCACaps") {
        Some(Operation::GetCaCaps)
    } else if is("GetCACert") || is("GetCACertChain") {
        Some(Operation::GetCaCert)
    } else if is("GetNextCACert") {
        Some(Operation::GetNextCaCert)
    } else if is("PKIOperation") {
        Some(Operation::PkiOperation)
    } else {
        None
    }
}

/// The CA identifier in `message` chooses the profile only where it exactly names one: clients send `default`, `ca`, `0`, `CAIdentifier`, the
/// trustpoint's name and other things that mean nothing here.
fn named_or(edge: &DeviceEdge, query: &str, profile: ProfileName) -> ProfileName {
    parameter(query, "message")
        .and_then(|name| name.parse::<ProfileName>().ok())
        .filter(|name| edge.gateway.authorities().profile(name).is_some())
        .unwrap_or(profile)
}

/// The percent-decoded value of a query parameter. `+` stays what it is: this is no form.
fn parameter(query: &str, name: &str) -> Option<String> {
    raw_parameter(query, name).map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// The value of a query parameter as it stands in the query.
fn raw_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn capabilities(gateway: &Gateway, profile: &ProfileName, client: IpAddr) -> Response<Full<Bytes>> {
    read(gateway, profile, client, "get-ca-caps", || {
        gateway.ca_capabilities(profile).map(|text| typed("text/plain", text.into()))
    })
}

fn ca_certificates(gateway: &Gateway, profile: &ProfileName, client: IpAddr) -> Response<Full<Bytes>> {
    read(gateway, profile, client, "get-ca-cert", || {
        gateway.ca_certificates(profile).map(|answer| typed(answer.content_type, answer.body.into()))
    })
}

/// What a client asks before it enrols, counted.
fn read(
    gateway: &Gateway,
    profile: &ProfileName,
    client: IpAddr,
    operation: &'static str,
    answer: impl FnOnce() -> Result<Response<Full<Bytes>>, ScepError>,
) -> Response<Full<Bytes>> {
    if gateway.authorities().profile(profile).is_none() {
        return refusal(&ScepError::UnknownProfile);
    }
    if let Err(early) = gateway.admit(profile, client, Weight::Read) {
        count_request(profile, operation, "throttled");
        return too_soon(&early);
    }
    let answer = answer();
    let result = if answer.is_ok() { "success" } else { "refused" };
    count_request(profile, operation, result);
    answer.unwrap_or_else(|error| refusal(&error))
}

fn count_request(profile: &ProfileName, operation: &'static str, result: &'static str) {
    metrics::counter!(
        metric::SCEP_REQUESTS,
        label::PROFILE => profile.to_string(), label::OPERATION => operation, label::RESULT => result
    )
    .increment(1);
}

fn refusal(error: &ScepError) -> Response<Full<Bytes>> {
    match error {
        ScepError::UnknownProfile => plain(StatusCode::NOT_FOUND, "no such profile"),
        ScepError::BadRequest(text) => plain(StatusCode::BAD_REQUEST, text),
        ScepError::Unavailable => overloaded(),
        ScepError::Away { retry_after } => away(*retry_after),
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration of a request is measured at its edge")]
async fn pki_operation(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    profile: ProfileName,
    client: IpAddr,
    id: RequestId,
) -> Response<Full<Bytes>> {
    if edge.gateway.authorities().profile(&profile).is_none() {
        return refusal(&ScepError::UnknownProfile);
    }
    if let Err(early) = edge.gateway.admit(&profile, client, Weight::Operation) {
        count_request(&profile, "pki-operation", "throttled");
        return too_soon(&early);
    }
    let start = Instant::now();
    let user_agent = user_agent(&request);
    let by_key_usage = is_ndes(request.uri().path());
    let message = match message_of(edge, request).await {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let gateway = Arc::clone(&edge.gateway);
    let origin = Origin { peer: client.to_string(), request: id, user_agent };
    let named = profile.clone();
    let outcome = edge.enrolment.call(move || {
        if by_key_usage {
            gateway.ndes_operation(&message, &origin)
        } else {
            gateway.pki_operation(&named, &message, &origin)
        }
    });
    let outcome = outcome.await;
    metrics::histogram!(metric::SCEP_REQUEST_DURATION, label::OPERATION => "pki-operation")
        .record(start.elapsed());
    match outcome {
        Ok(Ok(CertRep { body, operation, result })) => {
            count_request(&profile, operation, result);
            let mut answer = typed(MESSAGE_TYPE, body.into());
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            answer
        }
        Ok(Err(error)) => {
            count_request(&profile, "pki-operation", "refused");
            refusal(&error)
        }
        Err(BridgeError::Shed) => {
            count_request(&profile, "pki-operation", "shed");
            overloaded()
        }
        Err(BridgeError::Panicked) => {
            count_request(&profile, "pki-operation", "internal");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

/// User-Agent as text, whatever its bytes are.
fn user_agent(request: &Request<Incoming>) -> String {
    let header = request.headers().get(USER_AGENT);
    header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// The pkiMessage: the body of a POST (whatever its Content-Type: strongSwan sends none), or base64 in the query of a GET.
async fn message_of(edge: &DeviceEdge, request: Request<Incoming>) -> Result<Bytes, Response<Full<Bytes>>> {
    if request.method() == Method::POST {
        return body_of(edge, request, edge.max_message).await.map_err(|error| error.answer());
    }
    let query = request.uri().query().unwrap_or_default();
    let text = raw_parameter(query, "message")
        .ok_or_else(|| plain(StatusCode::BAD_REQUEST, "the message is missing"))?;
    let message =
        base64::decode(text).ok_or_else(|| plain(StatusCode::BAD_REQUEST, "the message is not base64"))?;
    if message.len() > edge.max_message {
        return Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large"));
    }
    Ok(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_in_the_query_is_not_a_space() {
        assert_eq!(
            parameter("operation=PKIOperation&message=a+b%2Bc%0A", "message").as_deref(),
            Some("a+b+c\n")
        );
        assert_eq!(parameter("Operation=x", "operation").as_deref(), Some("x"));
        assert_eq!(parameter("a=b", "operation"), None);
    }
}
