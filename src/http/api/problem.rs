//! Errors as `application/problem+json` (RFC 9457): one map from [`ServiceError`], without a catch-all arm.

use axum::{
    body::Body,
    extract::rejection::BytesRejection,
    http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};

use crate::{http::bridge::BridgeError, service::ServiceError, types::RequestId};

/// What every `type` starts with.
const TYPE: &str = "urn:certgate:problem:";
/// What callers are told of faults that are ours: the rest is in the log, under the request id.
const SEE_LOG: &str = "the server's log says more under the request id";

/// An error as a program reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:certgate:problem:` and the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// Where to look in the log.
    pub request_id: String,
}

/// Why a request was not answered as asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The use case said so.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// It never ran.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
    /// Nobody knows who asks.
    #[error("present an API token: Authorization: Bearer ..")]
    Unauthenticated,
    /// What is presented opens nothing.
    #[error("the API token is not known, has expired or was revoked")]
    UnknownToken,
    /// The process at the other end of the local socket is somebody else's.
    #[error("the local socket serves root and the server's own user, not uid {0}")]
    StrangeUid(u32),
    /// The body is too large, or ended early.
    #[error("the body cannot be read: {problem}")]
    Body {
        /// What that is in HTTP.
        status: StatusCode,
        /// What is wrong.
        problem: String,
    },
}

impl From<BytesRejection> for Failure {
    fn from(rejected: BytesRejection) -> Self {
        Self::Body { status: rejected.status(), problem: rejected.body_text() }
    }
}

/// The kinds of problem: name, title, status.
type Kind = (&'static str, &'static str, StatusCode);

const NOT_FOUND: Kind = ("not-found", "Not found", StatusCode::NOT_FOUND);
const INVALID: Kind = ("invalid", "The request is wrong", StatusCode::BAD_REQUEST);
const CONFLICT: Kind = ("conflict", "It exists already or has changed", StatusCode::CONFLICT);
const REFUSED: Kind = ("refused", "A rule forbids it", StatusCode::CONFLICT);
const FORBIDDEN: Kind = ("forbidden", "Not allowed", StatusCode::FORBIDDEN);
const UNAUTHENTICATED: Kind = ("unauthenticated", "Who are you?", StatusCode::UNAUTHORIZED);
const NOT_INITIALISED: Kind = ("not-initialised", "Not initialised", StatusCode::SERVICE_UNAVAILABLE);
const UNAVAILABLE: Kind = ("unavailable", "Temporarily unavailable", StatusCode::SERVICE_UNAVAILABLE);
const OVERLOADED: Kind = ("overloaded", "Too many requests at once", StatusCode::SERVICE_UNAVAILABLE);
const INTERNAL: Kind = ("internal", "Internal error", StatusCode::INTERNAL_SERVER_ERROR);
const METHOD: Kind = ("method-not-allowed", "Method not allowed", StatusCode::METHOD_NOT_ALLOWED);
const TOO_LARGE: Kind = ("too-large", "The body is too large", StatusCode::PAYLOAD_TOO_LARGE);

impl Failure {
    fn kind(&self) -> Kind {
        match self {
            Self::Service(error) => kind_of(error),
            Self::Bridge(BridgeError::Shed) => OVERLOADED,
            Self::Bridge(BridgeError::Panicked) => INTERNAL,
            Self::Unauthenticated | Self::UnknownToken => UNAUTHENTICATED,
            Self::StrangeUid(_) => FORBIDDEN,
            Self::Body { status, .. } => kind_of_status(*status),
        }
    }
}

const fn kind_of(error: &ServiceError) -> Kind {
    match error {
        ServiceError::NotFound { .. } => NOT_FOUND,
        ServiceError::Invalid { .. } => INVALID,
        ServiceError::Conflict(_) => CONFLICT,
        ServiceError::Refused(_) => REFUSED,
        ServiceError::Forbidden(_) => FORBIDDEN,
        ServiceError::NotInitialised => NOT_INITIALISED,
        ServiceError::Key(_) | ServiceError::NoAnswer(_) | ServiceError::Store(_) => UNAVAILABLE,
        ServiceError::Internal(_) => INTERNAL,
    }
}

/// The kind of an answer that the router gave without a handler of ours.
fn kind_of_status(status: StatusCode) -> Kind {
    match status {
        StatusCode::NOT_FOUND => NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => METHOD,
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        other if other.is_client_error() => INVALID,
        _ => INTERNAL,
    }
}

impl IntoResponse for Failure {
    /// An empty answer that carries the failure; [`finish`] writes it out, because only there the request id is known.
    fn into_response(self) -> axum::response::Response {
        let mut response = self.kind().2.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Turns every error answer into a problem; leaves the others alone. `path` is what was asked for.
pub(super) fn finish(response: Response<Body>, request: &RequestId, path: &str) -> Response<Body> {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let failure = parts.extensions.remove::<Failure>();
    let ((kind, title, status), detail) = match &failure {
        Some(failure) => (failure.kind(), shown(failure)),
        None => (kind_of_status(parts.status), of_router(parts.status, path)),
    };
    let problem = Problem {
        kind: format!("{TYPE}{kind}"),
        title: title.to_owned(),
        status: status.as_u16(),
        detail,
        request_id: request.to_string(),
    };
    parts.status = status;
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    // The length of the body that is replaced.
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    if status == StatusCode::UNAUTHORIZED {
        parts.headers.insert(axum::http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Response::from_parts(parts, Body::from(serde_json::to_vec(&problem).unwrap_or_default()))
}

/// What is said where the router answered without a handler of ours.
fn of_router(status: StatusCode, path: &str) -> String {
    let of_devices = ["/scep", "/certsrv/mscep/", "/ocsp", "/crl/", "/ca/"];
    let lower = path.to_ascii_lowercase();
    match status {
        StatusCode::NOT_FOUND if of_devices.iter().any(|place| lower.starts_with(place)) => {
            "SCEP, OCSP, CRLs and CA certificates are on the device listener, over plain HTTP".to_owned()
        }
        StatusCode::NOT_FOUND => {
            "nothing is served at this path; the API is below /api/v1, for MDM servers there are \
            /certsrv/mscep_admin/ and /webhooks/scep-challenge/PROFILE"
                .to_owned()
        }
        StatusCode::METHOD_NOT_ALLOWED => "the header Allow names what is taken at this path".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => "it has more bytes than are taken here".to_owned(),
        _ => String::new(),
    }
}

/// What the caller reads. Faults of ours are logged in full and told in general.
fn shown(failure: &Failure) -> String {
    if failure.kind().2.is_server_error() {
        tracing::error!(error = %failure, "a request failed");
        return SEE_LOG.to_owned();
    }
    failure.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::access::{Forbidden, Role},
        ports::{KeyError, StoreError},
    };

    #[test]
    fn every_error_has_its_type_and_status() {
        let text = || "x".to_owned();
        let cases: [(Failure, &str, u16); 13] = [
            (ServiceError::not_found("device", "SN1").into(), "not-found", 404),
            (ServiceError::invalid("name", "empty").into(), "invalid", 400),
            (ServiceError::Conflict(text()).into(), "conflict", 409),
            (ServiceError::Refused(text()).into(), "refused", 409),
            (
                ServiceError::from(Forbidden { has: Role::Auditor, needs: Role::Owner }).into(),
                "forbidden",
                403,
            ),
            (ServiceError::NotInitialised.into(), "not-initialised", 503),
            (ServiceError::from(KeyError::CannotUnseal).into(), "unavailable", 503),
            (ServiceError::from(StoreError::InUse).into(), "unavailable", 503),
            (ServiceError::Internal(text()).into(), "internal", 500),
            (BridgeError::Shed.into(), "overloaded", 503),
            (BridgeError::Panicked.into(), "internal", 500),
            (Failure::Unauthenticated, "unauthenticated", 401),
            (Failure::StrangeUid(1000), "forbidden", 403),
        ];
        for (failure, name, status) in cases {
            let (kind, _, code) = failure.kind();
            assert_eq!((kind, code.as_u16()), (name, status), "{failure}");
        }
    }

    #[test]
    fn the_words_of_our_faults_stay_in_the_log() {
        let failure = Failure::from(ServiceError::Internal("the key of issuing is at 0x7f".to_owned()));
        assert_eq!(shown(&failure), SEE_LOG);
        let failure = Failure::from(ServiceError::not_found("device", "SN1"));
        assert_eq!(shown(&failure), "no device \"SN1\"");
    }

    #[test]
    fn a_refusal_names_roles_as_they_are_given() {
        let failure =
            Failure::from(ServiceError::from(Forbidden { has: Role::Auditor, needs: Role::Operator }));
        assert_eq!(shown(&failure), "this needs the role operator; the caller has auditor");
    }
}
