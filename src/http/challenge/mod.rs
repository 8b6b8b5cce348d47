//! Challenges for MDM servers on the admin listener, beside the API: the page of NDES, and the challenge webhook of Jamf Pro.
//!
//! | request | answer |
//! |---|---|
//! | `GET /certsrv/mscep_admin/` (in any case, with or without the slash) | the page with a password, in UTF-16LE ([`page`]) |
//! | `..?operation=NDESGenerateChallenge&keyUsage=0xNN&Params=` | a password alone, plain text |
//! | `..?operation=NDESGetCACertThumbprint` | SHA-1 of the CA certificate, hexadecimal, plain text |
//! | `POST /webhooks/scep-challenge[/PROFILE]` | a challenge for the device that the body describes, plain text ([`webhook`]) |
//!
//! To the page may be said, as query parameters: `device` (id or identity) or `user`, for whom the password is; `keyUsage`, which of
//! the profiles of `[ndes]` it is for; `profile`, another profile. A parameter of another name is refused: a misspelt `device` must not
//! give a password that is good for every device. So is one that is given twice: which of two devices is meant nobody can tell.
//!
//! Callers present an API token with the role challenger (or more), as the password of Basic with any user name, or as a bearer. A
//! realm of NTLM or Negotiate is not offered: clients that can do both, as Fleet, then use Basic.

mod auth;
mod page;
mod webhook;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderValue, Method, Response, StatusCode,
        header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
        request::Parts,
    },
    middleware::{Next, from_fn_with_state},
};
use percent_encoding::percent_decode_str;
use tracing::Instrument;

use self::auth::{Denied, WrongPasswords, as_minter};
use super::{bridge::Bridge, forwarded::TrustedProxies, logged};
use crate::{
    service::{
        Gateway, ServiceError,
        challenge::{ChallengeDenied, WantedPassword},
        metric::{self, label},
    },
    types::RequestId,
    wire::x509::KeyUsage,
};

const PAGE: &str = "/certsrv/mscep_admin";

/// What may be said to the page, in small letters. `params` is what Windows sends, without a value.
const PARAMETERS: [&str; 6] = ["operation", "device", "user", "keyusage", "profile", "params"];

/// So much of a name that is refused is shown.
const MAX_SHOWN: usize = 40;

/// What challenges are answered with.
struct ChallengeEdge {
    gateway: Arc<Gateway>,
    bridge: Arc<Bridge>,
    wrong: WrongPasswords,
    trusted_proxies: TrustedProxies,
}

/// The router with the places of this module beside its own. Of `trusted_proxies` the word is taken for whom they speak.
pub fn beside(
    router: Router,
    gateway: Arc<Gateway>,
    bridge: Arc<Bridge>,
    trusted_proxies: TrustedProxies,
) -> Router {
    let edge = Arc::new(ChallengeEdge { gateway, bridge, wrong: WrongPasswords::default(), trusted_proxies });
    router.layer(from_fn_with_state(edge, answer))
}

/// What a path is of this module.
enum Place {
    Page,
    /// With the profile's name.
    Webhook(Option<String>),
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        let lower = path.to_ascii_lowercase();
        if lower.strip_prefix(PAGE).is_some_and(|rest| rest.trim_matches('/').is_empty()) {
            return Some(Self::Page);
        }
        let rest = path.strip_prefix(webhook::PATH)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        match (rest, rest.strip_prefix('/')) {
            ("", _) => Some(Self::Webhook(None)),
            (_, Some(profile)) if !profile.contains('/') => Some(Self::Webhook(Some(profile.to_owned()))),
            _ => None,
        }
    }
}

async fn answer(State(edge): State<Arc<ChallengeEdge>>, request: Request, next: Next) -> Response<Body> {
    let Some(place) = Place::of(request.uri().path()) else { return next.run(request).await };
    let id = edge.gateway.new_request();
    let span = tracing::info_span!("challenge", request = %id, method = %logged(request.method().as_str()), path = logged(request.uri().path()));
    let answer = async {
        let (head, body) = request.into_parts();
        match place {
            Place::Page => ndes(&edge, &head, &id).await,
            Place::Webhook(profile) => webhook::answer(&edge, &head, body, profile, &id).await,
        }
    };
    let mut response = answer.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

async fn ndes(edge: &ChallengeEdge, request: &Parts, id: &RequestId) -> Response<Body> {
    // Nothing is minted for a HEAD: nobody would see it.
    if request.method != Method::GET {
        return method_not_allowed("GET");
    }
    let parameters = parameters(request.uri.query().unwrap_or_default());
    let operation = parameters.as_ref().ok().and_then(|given| given.get("operation"));
    match operation.map(|name| name.to_ascii_lowercase()).as_deref() {
        None | Some("") => match password(edge, request, id, parameters).await {
            Ok(password) => page::password(&password),
            Err(denied) => denied_page(&denied),
        },
        Some("ndesgeneratechallenge") => match password(edge, request, id, parameters).await {
            Ok(password) => page::plain(StatusCode::OK, &String::from_utf8_lossy(password.secret.expose())),
            Err(denied) => denied_plain(&denied),
        },
        Some("ndesgetcacertthumbprint") => {
            match as_minter(edge, request, id, Gateway::ndes_thumbprints).await {
                Ok(thumbprints) => page::thumbprint(&thumbprints),
                Err(denied) => denied_plain(&denied),
            }
        }
        Some(_) => page::plain(
            StatusCode::BAD_REQUEST,
            "unknown operation: NDESGenerateChallenge and NDESGetCACertThumbprint are served here",
        ),
    }
}

async fn password(
    edge: &ChallengeEdge,
    request: &Parts,
    id: &RequestId,
    parameters: Result<HashMap<String, String>, ServiceError>,
) -> Result<crate::service::challenge::Password, Denied> {
    let wanted = parameters.and_then(|given| wanted(&given));
    let given =
        as_minter(edge, request, id, move |gateway, authed| gateway.ndes_password(authed, &wanted?)).await;
    count("ndes-page", given.as_ref().map(|_| "given"));
    given
}

/// What the query asks for. The names of its parameters have no case, as on IIS.
fn wanted(parameters: &HashMap<String, String>) -> Result<WantedPassword, ServiceError> {
    let given = |name: &str| parameters.get(name).filter(|text| !text.is_empty());
    let invalid = |name: &str, error: &dyn std::fmt::Display| ServiceError::invalid(name, error);
    if let Some(unknown) = parameters.keys().filter(|name| !PARAMETERS.contains(&name.as_str())).min() {
        return Err(invalid(
            &shown(unknown),
            &"is no parameter of this page: device, user, keyUsage, profile, operation and Params are",
        ));
    }
    // A variable that the MDM server has no value for: a password for nobody in particular would be good for every device.
    for name in ["device", "user"] {
        if parameters.get(name).is_some_and(|text| text.trim().is_empty()) {
            return Err(invalid(name, &"is empty: the MDM server has no value for it"));
        }
    }
    Ok(WantedPassword {
        profile: given("profile")
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| invalid("profile", &error))?,
        key_usage: given("keyusage")
            .map(|text| {
                key_usage(text).ok_or_else(|| invalid("keyUsage", &"is not 0x and two hexadecimal digits"))
            })
            .transpose()?,
        device: given("device").cloned(),
        user: given("user").map(|text| text.parse()).transpose().map_err(|error| invalid("user", &error))?,
    })
}

/// `0x80`, as Windows writes it.
fn key_usage(text: &str) -> Option<KeyUsage> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    u8::from_str_radix(digits, 16).ok().map(KeyUsage::from_octet)
}

/// The query's parameters, names in lower case, each once.
fn parameters(query: &str) -> Result<HashMap<String, String>, ServiceError> {
    let mut given = HashMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = name.to_ascii_lowercase();
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        if given.insert(name.clone(), value).is_some() {
            return Err(ServiceError::invalid(shown(&name), "is given more than once"));
        }
    }
    Ok(given)
}

/// As much of a parameter's name as an error shows.
fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

/// The page in NDES's words, with NDES's status, where it has some: 200, for MDM servers read the words of no other.
fn denied_page(denied: &Denied) -> Response<Body> {
    let detail = denied.to_string();
    match denied {
        Denied::Forbidden(_) | Denied::Challenge(ChallengeDenied::NotPermitted(_)) => {
            tracing::warn!(%detail, "no NDES password is given");
            page::denied(StatusCode::OK, page::NOT_PERMITTED, &detail)
        }
        Denied::Challenge(ChallengeDenied::CacheFull(_)) => {
            tracing::warn!(%detail, "no NDES password is given: see ndes.max-passwords");
            page::denied(StatusCode::OK, page::CACHE_FULL, &detail)
        }
        other => denied_plain(other),
    }
}

fn denied_plain(denied: &Denied) -> Response<Body> {
    let status = status_of(denied);
    let mut response = if status.is_server_error() {
        tracing::error!(error = %denied, "no challenge is given");
        page::plain(status, "temporarily unavailable: the server's log says more under the request id\n")
    } else {
        tracing::warn!(reason = %denied, "no challenge is given");
        page::plain(status, &format!("{denied}\n"))
    };
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, "Basic realm=\"certgate\", charset=\"UTF-8\""),
        StatusCode::TOO_MANY_REQUESTS => (RETRY_AFTER, "60"),
        StatusCode::SERVICE_UNAVAILABLE => (RETRY_AFTER, "5"),
        _ => return response,
    };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

const fn status_of(denied: &Denied) -> StatusCode {
    match denied {
        Denied::Unauthenticated | Denied::UnknownToken => StatusCode::UNAUTHORIZED,
        Denied::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Denied::Forbidden(_) | Denied::Challenge(ChallengeDenied::NotPermitted(_)) => StatusCode::FORBIDDEN,
        Denied::Challenge(ChallengeDenied::CacheFull(_)) | Denied::Bridge(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Denied::Challenge(ChallengeDenied::Service(error)) => match error {
            ServiceError::NotFound { .. } => StatusCode::NOT_FOUND,
            ServiceError::Invalid { .. } => StatusCode::BAD_REQUEST,
            ServiceError::Conflict(_) | ServiceError::Refused(_) => StatusCode::CONFLICT,
            ServiceError::Forbidden(_) => StatusCode::FORBIDDEN,
            ServiceError::NotInitialised
            | ServiceError::Key(_)
            | ServiceError::NoAnswer(_)
            | ServiceError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            ServiceError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = page::plain(StatusCode::METHOD_NOT_ALLOWED, "this method is not served here\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Counts an answer by where it was asked for and how it ended.
fn count(origin: &'static str, answer: Result<&'static str, &Denied>) {
    let result = answer.unwrap_or_else(|denied| match denied {
        Denied::Unauthenticated | Denied::UnknownToken => "unauthenticated",
        Denied::Throttled => "throttled",
        Denied::Forbidden(_) | Denied::Challenge(ChallengeDenied::NotPermitted(_)) => "forbidden",
        Denied::Challenge(ChallengeDenied::CacheFull(_)) => "cache-full",
        Denied::Challenge(ChallengeDenied::Service(_)) => "refused",
        Denied::Bridge(_) => "shed",
    });
    metrics::counter!(metric::CHALLENGE_REQUESTS, label::ORIGIN => origin, label::RESULT => result)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_found_however_it_is_written() {
        for path in ["/certsrv/mscep_admin", "/certsrv/mscep_admin/", "/CertSrv/MSCEP_Admin//"] {
            assert!(matches!(Place::of(path), Some(Place::Page)), "{path}");
        }
        for path in
            ["/certsrv/mscep_adminX", "/certsrv/mscep_admin/x", "/webhooks/scep-challengeX", "/api/v1/status"]
        {
            assert!(Place::of(path).is_none(), "{path}");
        }
        assert!(matches!(Place::of("/webhooks/scep-challenge/"), Some(Place::Webhook(None))));
        for path in ["/webhooks/scep-challenge/a", "/webhooks/scep-challenge/a/"] {
            assert!(matches!(Place::of(path), Some(Place::Webhook(Some(name))) if name == "a"), "{path}");
        }
        assert!(Place::of("/webhooks/scep-challenge/a/b").is_none());
    }

    #[test]
    fn a_password_for_a_device_without_a_value_is_none_for_anybody() {
        let wanted = |query: &str| parameters(query).and_then(|given| wanted(&given));
        assert_eq!(wanted("device=SN1").unwrap().device.as_deref(), Some("SN1"));
        assert!(wanted("keyUsage=&profile=&Params=").unwrap().device.is_none());
        for empty in ["device=", "device", "Device=%20", "user=&device=SN1"] {
            assert!(matches!(wanted(empty), Err(ServiceError::Invalid { .. })), "{empty}");
        }
    }

    #[test]
    fn a_parameter_that_is_misspelt_gives_no_password() {
        let wanted = |query: &str| parameters(query).and_then(|given| wanted(&given));
        for known in ["", "&", "operation=NDESGenerateChallenge&KeyUsage=0xa0&Params=", "DEVICE=SN1&"] {
            assert!(wanted(known).is_ok(), "{known}");
        }
        for misspelt in ["devise=SN1", "device=SN1&usr=ada", "%64evice=SN1", "=SN1", "_=1700000000"] {
            assert!(matches!(wanted(misspelt), Err(ServiceError::Invalid { .. })), "{misspelt}");
        }
        let long = wanted(&"x".repeat(1000)).unwrap_err().to_string();
        assert!(long.contains(&"x".repeat(40)) && !long.contains(&"x".repeat(41)), "{long}");
    }

    #[test]
    fn a_parameter_that_is_given_twice_gives_no_password() {
        let queries =
            ["device=A&device=B", "device=A&Device=A", "params&device=A&Params=", "operation=&operation="];
        for query in queries {
            let refused = parameters(query).unwrap_err().to_string();
            assert!(refused.ends_with("is given more than once"), "{refused}");
        }
        assert!(parameters("device=device&user=device").is_ok());
    }

    #[test]
    fn key_usage_is_read_as_windows_writes_it() {
        assert_eq!(key_usage("0x80"), Some(KeyUsage::DIGITAL_SIGNATURE));
        assert_eq!(key_usage("0xa0"), Some(KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT)));
        assert_eq!(key_usage("0x00"), Some(KeyUsage::default()));
        assert_eq!(key_usage("0x100"), None);
        assert_eq!(key_usage("80"), None);
    }
}
