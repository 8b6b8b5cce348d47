//! SCEP over HTTP (RFC 8894 §4.1), with the tolerance that real clients need.

use std::{fmt::Write as _, net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use percent_encoding::percent_decode_str;

use super::{
    bridge::BridgeError,
    device::{BodyError, DeviceEdge, away, body_of, method_not_allowed, overloaded, plain, too_soon, typed},
};
use crate::{
    domain::exchange::{MAX_CLIENT_TEXT, Operation as Asked, Unanswered},
    service::{
        Gateway,
        guard::Weight,
        metric::{self, label},
        scep::{CertRep, HttpFacts, Origin, ScepError},
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

/// Whether a path is one of SCEP's, whatever profile it means.
pub(super) fn is_path(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    is_at(&path, "/scep") || is_at(&path, NDES_PATH) || is_at(&path, CGI_PATH)
}

/// The profile that a SCEP path means: `/scep/{profile}` and anything below it (clients append `/pkiclient.exe`), or the
/// default profile's paths.
fn profile_of_path(gateway: &Gateway, path: &str) -> Option<ProfileName> {
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

/// Answers a request to a SCEP path. Whatever becomes of it, its id is in the answer's header: `certgate enrolment show ID`.
pub(super) async fn exchange(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    client: IpAddr,
    id: RequestId,
) -> Response<Full<Bytes>> {
    let header = HeaderValue::from_str(id.as_str());
    let origin = origin(&request, client, id);
    let mut response = if let Some(profile) = profile_of_path(&edge.gateway, request.uri().path()) {
        answer(edge, request, profile, client, &origin).await
    } else {
        let named = request.uri().path().to_owned();
        refused(edge, &origin, None, Asked::NoOperation, &Unanswered::Profile(named))
    };
    if let Ok(id) = header {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

fn origin(request: &Request<Incoming>, client: IpAddr, id: RequestId) -> Origin {
    let header = |name| {
        let value = request.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
    };
    let query = request.uri().query().unwrap_or_default();
    Origin {
        peer: client.to_string(),
        request: id,
        user_agent: header(USER_AGENT),
        http: HttpFacts {
            method: request.method().to_string(),
            target: target(request.uri()),
            version: format!("{:?}", request.version()),
            content_type: header(CONTENT_TYPE),
            content_length: header(CONTENT_LENGTH),
            ca_identifier: ca_identifier(query),
            line_ends: has_line_ends(query),
        },
    }
}

/// `message` where it is no pkiMessage.
fn ca_identifier(query: &str) -> Option<String> {
    let fetches = parameter(query, "operation").is_some_and(|name| {
        operation(&name).is_some_and(|operation| !matches!(operation, Operation::PkiOperation))
    });
    let identifier = fetches.then(|| parameter(query, "message")).flatten()?;
    Some(identifier.chars().take(MAX_CLIENT_TEXT).collect())
}

/// Whether the `message` has line ends in it, behind the first 64 or 76 characters: no more of it is looked at.
fn has_line_ends(query: &str) -> bool {
    let text = raw_parameter(query, "message").unwrap_or_default().as_bytes();
    let mut beginning = text.windows(3).take(80);
    beginning.any(|it| it.eq_ignore_ascii_case(b"%0a") || it.eq_ignore_ascii_case(b"%0d"))
}

/// The path, and the query without the message: of that, the length.
fn target(uri: &Uri) -> String {
    let mut target = uri.path().to_owned();
    for (index, pair) in uri.query().into_iter().flat_map(|query| query.split('&')).take(8).enumerate() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        target.push(if index == 0 { '?' } else { '&' });
        if name.eq_ignore_ascii_case("operation") {
            target.extend(pair.chars().take(60));
        } else {
            let name: String = name.chars().take(24).collect();
            // Writing to a String cannot fail.
            let _ = write!(target, "{name}=({} characters)", value.len());
        }
    }
    target
}

/// Keeps that a request is not answered with a CertRep, and answers it.
fn refused(
    edge: &DeviceEdge,
    origin: &Origin,
    profile: Option<&ProfileName>,
    asked: Asked,
    why: &Unanswered,
) -> Response<Full<Bytes>> {
    edge.gateway.not_answered(origin, profile, asked, why);
    match why {
        Unanswered::Operation(_) => plain(
            StatusCode::BAD_REQUEST,
            "unknown operation: GetCACaps, GetCACert, GetNextCACert and PKIOperation are served here",
        ),
        Unanswered::NoSuccessor => plain(StatusCode::NOT_IMPLEMENTED, "this CA has no successor yet"),
        Unanswered::Method(_) if asked == Asked::PkiOperation => method_not_allowed("GET, POST"),
        Unanswered::Method(_) => method_not_allowed("GET, HEAD"),
        Unanswered::TooSoon { retry_after, .. } => too_soon(*retry_after),
        Unanswered::Encoded => BodyError::Encoded.answer(),
        Unanswered::NotArrived => BodyError::Broken.answer(),
        Unanswered::TooLong { .. } => BodyError::TooLarge.answer(),
        Unanswered::Panicked => plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        Unanswered::Profile(_)
        | Unanswered::NoMessage
        | Unanswered::NotBase64 { .. }
        | Unanswered::NotPkiMessage(_)
        | Unanswered::Overloaded
        | Unanswered::ApprovalsFull
        | Unanswered::Away { .. }
        | Unanswered::Fault(_) => refusal(&ScepError::from(why)),
    }
}

async fn answer(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    profile: ProfileName,
    client: IpAddr,
    origin: &Origin,
) -> Response<Full<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    // Some clients leave the operation out of a POST; only PKIOperation is ever posted.
    let operation = match parameter(query, "operation") {
        Some(name) => operation(&name),
        None if request.method() == Method::POST => Some(Operation::PkiOperation),
        None => None,
    };
    let named = parameter(query, "operation");
    let refuse = |asked, why| refused(edge, origin, Some(&profile), asked, &why);
    let Some(operation) = operation else {
        if named.is_none() && is_ndes(request.uri().path()) {
            // What administrators and MDM servers look at to see whether NDES is there.
            return plain(StatusCode::OK, NDES_TEXT);
        }
        return refuse(
            Asked::NoOperation,
            Unanswered::Operation(named.map(|name| name.chars().take(40).collect())),
        );
    };
    let wrong_method = || Unanswered::Method(request.method().to_string());
    // The CA identifier of the drafts, which clients put into `message` (`default`, `ca`, `0`, `CAIdentifier`, the trustpoint's name), chooses
    // nothing: PKIOperation has none, and whoever had been shown the capabilities of another profile would be refused under this one.
    match operation {
        Operation::GetCaCaps if request.method() == Method::POST => refuse(Asked::GetCaCaps, wrong_method()),
        Operation::GetCaCert if request.method() == Method::POST => refuse(Asked::GetCaCert, wrong_method()),
        // RFC 9110 §9.2.1: HEAD is safe. It would issue a certificate and show it to nobody.
        Operation::PkiOperation if request.method() == Method::HEAD => {
            refuse(Asked::PkiOperation, wrong_method())
        }
        Operation::GetCaCaps => capabilities(edge, &profile, client, origin),
        Operation::GetCaCert => ca_certificates(edge, &profile, client, origin),
        Operation::GetNextCaCert if request.method() == Method::POST => {
            refuse(Asked::GetNextCaCert, wrong_method())
        }
        Operation::GetNextCaCert => next_ca(edge, &profile, client, origin).await,
        Operation::PkiOperation => pki_operation(edge, request, profile, client, origin).await,
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

/// The percent-decoded value of a query parameter. `+` stays what it is: this is no form.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    raw_parameter(query, name).map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// The pkiMessage in the query of a GET. Errors: there is none, or it is not base64.
pub fn message_of_query(query: &str) -> Result<Vec<u8>, Unanswered> {
    let text = raw_parameter(query, "message").ok_or(Unanswered::NoMessage)?;
    base64::decode(text).ok_or(Unanswered::NotBase64 { characters: text.len() })
}

/// The value of a query parameter as it stands in the query.
fn raw_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn capabilities(
    edge: &DeviceEdge,
    profile: &ProfileName,
    client: IpAddr,
    origin: &Origin,
) -> Response<Full<Bytes>> {
    fetched(edge, profile, client, origin, Asked::GetCaCaps, || {
        edge.gateway.ca_capabilities(profile).map(|text| typed("text/plain", text.into()))
    })
}

fn ca_certificates(
    edge: &DeviceEdge,
    profile: &ProfileName,
    client: IpAddr,
    origin: &Origin,
) -> Response<Full<Bytes>> {
    fetched(edge, profile, client, origin, Asked::GetCaCert, || {
        edge.gateway.ca_certificates(profile).map(|answer| typed(answer.content_type, answer.body.into()))
    })
}

/// GetNextCACert. Over the bridge, because the first one after a change is signed.
async fn next_ca(
    edge: &DeviceEdge,
    profile: &ProfileName,
    client: IpAddr,
    origin: &Origin,
) -> Response<Full<Bytes>> {
    const ASKED: Asked = Asked::GetNextCaCert;
    if let Err(refused) = admitted(edge, profile, client, origin, ASKED) {
        return *refused;
    }
    let (gateway, named) = (Arc::clone(&edge.gateway), profile.clone());
    match edge.enrolment.call(move || gateway.next_ca(&named)).await.unwrap_or(Err(ScepError::Unavailable)) {
        Err(ScepError::NoSuccessor) => refused(edge, origin, Some(profile), ASKED, &Unanswered::NoSuccessor),
        answer => {
            let answer = answer.map(|answer| typed(answer.content_type, answer.body.into()));
            counted(edge, profile, origin, ASKED, answer)
        }
    }
}

/// What a client asks before it enrols, counted.
fn fetched(
    edge: &DeviceEdge,
    profile: &ProfileName,
    client: IpAddr,
    origin: &Origin,
    asked: Asked,
    answer: impl FnOnce() -> Result<Response<Full<Bytes>>, ScepError>,
) -> Response<Full<Bytes>> {
    match admitted(edge, profile, client, origin, asked) {
        Ok(()) => counted(edge, profile, origin, asked, answer()),
        Err(refused) => *refused,
    }
}

/// The rate limit, before any work is done for the client.
fn admitted(
    edge: &DeviceEdge,
    profile: &ProfileName,
    client: IpAddr,
    origin: &Origin,
    asked: Asked,
) -> Result<(), Box<Response<Full<Bytes>>>> {
    let refuse = |why| Err(Box::new(refused(edge, origin, Some(profile), asked, &why)));
    if edge.gateway.authorities().profile(profile).is_none() {
        return refuse(Unanswered::Profile(profile.to_string()));
    }
    if let Err(too_soon) = edge.gateway.admit(profile, client, Weight::Read) {
        count_request(profile, asked.as_str(), "throttled");
        return refuse(too_soon.into());
    }
    Ok(())
}

fn counted(
    edge: &DeviceEdge,
    profile: &ProfileName,
    origin: &Origin,
    asked: Asked,
    answer: Result<Response<Full<Bytes>>, ScepError>,
) -> Response<Full<Bytes>> {
    let result = if answer.is_ok() { "success" } else { "refused" };
    count_request(profile, asked.as_str(), result);
    match answer {
        Ok(answer) => {
            edge.gateway.fetched(origin, profile, asked);
            answer
        }
        Err(error) => refused(edge, origin, Some(profile), asked, &Unanswered::Fault(error.to_string())),
    }
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
        ScepError::NoSuccessor => plain(StatusCode::NOT_IMPLEMENTED, "this CA has no successor yet"),
        ScepError::Unavailable => overloaded(),
        ScepError::TooSoon { retry_after } => too_soon(*retry_after),
        ScepError::Away { retry_after } => away(*retry_after),
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration of a request is measured at its edge")]
async fn pki_operation(
    edge: &DeviceEdge,
    request: Request<Incoming>,
    profile: ProfileName,
    client: IpAddr,
    origin: &Origin,
) -> Response<Full<Bytes>> {
    let refuse = |why| refused(edge, origin, Some(&profile), Asked::PkiOperation, &why);
    if edge.gateway.authorities().profile(&profile).is_none() {
        return refuse(Unanswered::Profile(profile.to_string()));
    }
    if let Err(too_soon) = edge.gateway.admit(&profile, client, Weight::Operation) {
        count_request(&profile, "pki-operation", "throttled");
        return refuse(too_soon.into());
    }
    let start = Instant::now();
    let by_key_usage = is_ndes(request.uri().path());
    let message = match message_of(edge, request).await {
        Ok(message) => message,
        Err(why) => return refuse(why),
    };
    let (gateway, named, asking) = (Arc::clone(&edge.gateway), profile.clone(), origin.clone());
    let outcome = edge.enrolment.call(move || {
        if by_key_usage {
            gateway.ndes_operation(&message, &asking)
        } else {
            gateway.pki_operation(&named, &message, &asking)
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
            let turned_away = matches!(error, ScepError::TooSoon { .. });
            count_request(&profile, "pki-operation", if turned_away { "throttled" } else { "refused" });
            refusal(&error)
        }
        Err(BridgeError::Shed) => {
            count_request(&profile, "pki-operation", "shed");
            refuse(Unanswered::Overloaded)
        }
        Err(BridgeError::Panicked) => {
            count_request(&profile, "pki-operation", "internal");
            refuse(Unanswered::Panicked)
        }
    }
}

/// The pkiMessage: the body of a POST (whatever its Content-Type: strongSwan sends none), or base64 in the query of a GET.
async fn message_of(edge: &DeviceEdge, request: Request<Incoming>) -> Result<Bytes, Unanswered> {
    let too_long = || Unanswered::TooLong { limit: edge.max_message };
    if request.method() == Method::POST {
        return body_of(edge, request, edge.max_message).await.map_err(|error| match error {
            BodyError::TooLarge => too_long(),
            BodyError::Encoded => Unanswered::Encoded,
            BodyError::Broken => Unanswered::NotArrived,
        });
    }
    let query = request.uri().query().unwrap_or_default();
    let message = message_of_query(query)?;
    if message.len() > edge.max_message {
        return Err(too_long());
    }
    Ok(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_a_client_is_found_in_the_query() {
        let line = "A".repeat(76);
        for end in ["%0A", "%0d%0a"] {
            assert!(has_line_ends(&format!("operation=PKIOperation&message={line}{end}{line}")), "{end}");
        }
        assert!(!has_line_ends(&format!("operation=PKIOperation&message={line}{line}")));
        assert_eq!(ca_identifier("operation=GetCACert&message=my%20CA").as_deref(), Some("my CA"));
        assert_eq!(ca_identifier("operation=PKIOperation&message=MIIB"), None);
    }

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
