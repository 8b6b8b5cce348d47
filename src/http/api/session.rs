//! Who asks, and how a use case is run for them.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Query, Request, State},
    http::{HeaderValue, Response, header::AUTHORIZATION, request::Parts},
    middleware::Next,
};
use serde::{Serialize, de::DeserializeOwned};
use tracing::Instrument;

use super::problem::{Failure, finish};
use crate::{
    domain::access::{Actor, Authed, Caller, Permission, Role},
    http::{bridge::Bridge, logged, serve::Peer},
    ports::store::Page,
    service::{Gateway, ServiceError},
    types::{RequestId, Secret},
};

/// Records per page, unless asked for otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Records per page at most.
const MAX_LIMIT: usize = 1000;

/// What the handlers stand on.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) gateway: Arc<Gateway>,
    pub(super) bridge: Arc<Bridge>,
    /// The user that the server runs as; none where it cannot be told.
    pub(super) own_uid: Option<u32>,
}

/// What the caller presented.
#[derive(Clone, Debug)]
enum Credential {
    Local(u32),
    Bearer(Secret),
    Nothing,
}

/// One request of somebody who is yet to be recognised.
#[derive(Clone, Debug)]
pub(super) struct Session {
    api: Api,
    credential: Credential,
    request: RequestId,
}

impl FromRequestParts<Api> for Session {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Self::Rejection> {
        let request = parts.extensions.get::<RequestId>().cloned();
        let request = request.unwrap_or_else(|| api.gateway.new_request());
        let credential = match parts.extensions.get::<Peer>() {
            Some(Peer::Local { uid }) => Credential::Local(*uid),
            Some(Peer::Network(_)) => bearer(parts),
            None => Credential::Nothing,
        };
        let session = Self { api: api.clone(), credential, request };
        // A stranger must not make the server keep and read a body. What the role is enough for is proven later.
        if !parts.method.is_safe() {
            session.recognised().await?;
        }
        Ok(session)
    }
}

fn bearer(parts: &Parts) -> Credential {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match header.and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => {
            Credential::Bearer(Secret::from(token.trim()))
        }
        _ => Credential::Nothing,
    }
}

impl Session {
    /// Recognises the caller, and no more.
    async fn recognised(&self) -> Result<(), Failure> {
        let Self { api, credential, request } = self.clone();
        let gateway = Arc::clone(&api.gateway);
        let known = api.bridge.call(move || recognise(&gateway, api.own_uid, &credential, &request));
        known.await?.map(drop)
    }

    /// The gateway that is asked.
    pub(super) fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.api.gateway)
    }

    /// Recognises the caller, proves permission `P`, and runs `work`: all of it on the pool. Gives the answer as JSON.
    pub(super) async fn run<P: Permission, T: Serialize + Send + 'static>(
        self,
        work: impl FnOnce(&Gateway, &Authed<P>) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<Json<T>, Failure> {
        self.call(work).await.map(Json)
    }

    /// As [`Session::run`], without JSON.
    pub(super) async fn call<P: Permission, T: Send + 'static>(
        self,
        work: impl FnOnce(&Gateway, &Authed<P>) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, Failure> {
        let Self { api, credential, request } = self;
        let gateway = Arc::clone(&api.gateway);
        let own_uid = api.own_uid;
        let answer = api.bridge.call(move || {
            let caller = recognise(&gateway, own_uid, &credential, &request)?;
            let authed = caller.prove::<P>().map_err(ServiceError::from)?;
            Ok::<_, Failure>(work(&gateway, &authed)?)
        });
        answer.await?
    }
}

impl Session {
    /// The body of a request, read only once permission `P` is proven: a stranger must not make the server keep a large one.
    pub(super) async fn body_of<P: Permission>(&self, request: Request) -> Result<Bytes, Failure> {
        self.clone().call::<P, _>(|_, _| Ok(())).await?;
        Ok(Bytes::from_request(request, &()).await?)
    }
}

fn recognise(
    gateway: &Gateway,
    own_uid: Option<u32>,
    credential: &Credential,
    request: &RequestId,
) -> Result<Caller, Failure> {
    match credential {
        // Whoever is root or the server's own user can read the server's keys anyway.
        Credential::Local(uid) if *uid == 0 || Some(*uid) == own_uid => Ok(Caller {
            actor: Actor::Local { uid: *uid },
            role: Role::Owner,
            request: request.clone(),
            profiles: Vec::new(),
        }),
        Credential::Local(uid) => Err(Failure::StrangeUid(*uid)),
        Credential::Bearer(secret) => gateway.authenticate(secret, request)?.ok_or(Failure::UnknownToken),
        Credential::Nothing => Err(Failure::Unauthenticated),
    }
}

/// Gives every request an id: in the span, for the handlers, in the answer; and writes errors out as problems.
pub(super) async fn observe(State(api): State<Api>, mut request: Request, next: Next) -> Response<Body> {
    let id = api.gateway.new_request();
    request.extensions_mut().insert(id.clone());
    let reads = request.method().is_safe();
    let span = tracing::info_span!("api", request = %id, method = %logged(request.method().as_str()), path = logged(request.uri().path()));
    let path = request.uri().path().to_owned();
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = span.in_scope(|| finish(response, &id, &path));
    // Reading is too frequent to be told of; every act has its audit record under the same id.
    let (status, acts) = (response.status().as_u16(), !reads);
    span.in_scope(|| {
        if acts { tracing::info!(status, "API request") } else { tracing::debug!(status, "API request") }
    });
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// The query's parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = query.map_err(|error| ServiceError::invalid("query", error))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            let shown = shown(&name);
            if parameters.insert(name, value).is_some() {
                return Err(ServiceError::invalid(shown, "is given more than once").into());
            }
        }
        Ok(Self(parameters))
    }
}

/// As much of a parameter's name as an error shows.
fn shown(name: &str) -> String {
    const MAX_SHOWN: usize = 40;
    name.chars().take(MAX_SHOWN).collect()
}

impl Params {
    /// Refuses a parameter of another name: who misspells `dry_run` or a filter must not get what they did not ask for. A name that ends
    /// with a full stop stands for all that begin with it.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Failure> {
        let is_known = |given: &str| {
            names
                .iter()
                .any(|name| if name.ends_with('.') { given.starts_with(name) } else { given == *name })
        };
        match self.0.keys().find(|given| !is_known(given)) {
            None => Ok(()),
            Some(unknown) => {
                let known = format_args!("is no parameter here: {} are", names.join(", "));
                Err(ServiceError::invalid(shown(unknown), known).into())
            }
        }
    }

    /// The parameter, if it is there and not empty.
    pub(super) fn get<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        self.0.get(name).filter(|text| !text.is_empty()).map(|text| named(name, text)).transpose()
    }

    /// The parameters whose names start with `prefix`: the rest of the name, and the value.
    pub(super) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// `limit`, within its bounds.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        let limit = self.get::<usize>("limit")?.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(ServiceError::invalid("limit", format_args!("must be 1 to {MAX_LIMIT}")).into())
    }

    /// `after` and `limit`.
    pub(super) fn page<K: FromStr<Err: fmt::Display>>(&self) -> Result<Page<K>, Failure> {
        Ok(Page { after: self.get("after")?, limit: self.limit()? })
    }
}

/// Reads an id of the path or query.
pub(super) fn named<T: FromStr<Err: fmt::Display>>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| ServiceError::invalid(what, error).into())
}

/// Reads a JSON body, whatever its Content-Type says. An empty one is `{}`.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Failure> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text).map_err(|error| ServiceError::invalid("body", error).into())
}
