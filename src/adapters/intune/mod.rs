//! Microsoft Intune as the one who vouches for SCEP requests and asks for revocations.
//!
//! After Microsoft's public description and library of its API for third-party CAs (microsoft/Intune-Resource-Access):
//! a token from Entra ID for Graph, Graph says where the tenant's services are, a token for Intune, then
//! `ScepActions` (api-version 2018-02-20) and `CertificateAuthorityRequests` (5019-05-05). Tokens and places of services are
//! kept; a 401 drops the token once, any other failure the places.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | settings, one call of the API with its token, place, headers |
//! | `credential` | how the application proves who it is |
//! | `login` | tokens |
//! | `probe` | whether tokens and places of services can be had, for operators |
//! | `scep` | validate, tell of success and failure |
//! | `revocation` | the queue of revocations |
//! | `code` | what Intune's codes mean |

mod code;
mod credential;
mod login;
mod probe;
mod revocation;
mod scep;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

pub use self::credential::{ClientCertificate, ClientCredential, CredentialError};
use self::login::{Scope, Tokens};
use super::outbound::Places;
use crate::{
    ports::{
        Clock, NoAnswer, Outbound, OutboundAnswer, OutboundError, OutboundMethod, OutboundRequest, Random,
    },
    types::Secret,
};

/// Intune's application in every tenant.
const INTUNE_APP: &str = "0000000a-0000-0000-c000-000000000000";

/// The destination of requests that enrolment makes.
pub const ENROLMENT_DESTINATION: &str = "intune";

/// The destination of requests that nobody waits for.
pub const BACKGROUND_DESTINATION: &str = "intune-background";

/// Where nothing else is said, it is worth another try after this.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Longest part of an answer's words that is repeated in errors.
const MAX_WORDS: usize = 300;

/// What `[intune]` says.
#[derive(Clone, Debug)]
pub struct IntuneSettings {
    /// The tenant: its id, or one of its domains.
    pub tenant: String,
    /// The registered application.
    pub client_id: String,
    /// How it proves who it is.
    pub credential: ClientCredential,
    /// Of Entra ID, without a slash at the end.
    pub login_url: String,
    /// Of Microsoft Graph, without a slash at the end.
    pub graph_url: String,
    /// The resource that Intune's token is for, without a slash at the end.
    pub resource_url: String,
    /// Whether a certificate is handed out only after Intune was told.
    pub wait_for_success_notification: bool,
    /// When a certificate that could not be handed out for that is revoked.
    pub give_up_after: Duration,
    /// Between two looks at the revocation queue.
    pub poll_interval: Duration,
    /// Whether the queue is asked by issuer name.
    pub by_issuer: bool,
    /// Enrolments that may wait for Intune at a time.
    pub places: usize,
}

/// The two services, as Graph calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Validation,
    Revocation,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Validation => "ScepRequestValidationFEService",
            Self::Revocation => "PkiConnectorFEService",
        }
    }

    const fn api_version(self) -> &'static str {
        match self {
            Self::Validation => "2018-02-20",
            Self::Revocation => "5019-05-05",
        }
    }

    fn not_named(self) -> String {
        format!(
            "Graph names no {} for this tenant: is Intune licensed, and is the service principal of Intune there?",
            self.name()
        )
    }
}

/// Where the services are.
#[derive(Clone, Debug, Default)]
struct Endpoints {
    validation: Option<String>,
    revocation: Option<String>,
}

impl Endpoints {
    fn of(&self, service: Service) -> Option<String> {
        match service {
            Service::Validation => self.validation.clone(),
            Service::Revocation => self.revocation.clone(),
        }
    }
}

/// Graph's list of them.
#[derive(Deserialize)]
struct EndpointList {
    value: Vec<EndpointEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointEntry {
    #[serde(default)]
    provider_name: Option<String>,
    #[serde(default)]
    service_name: Option<String>,
    uri: String,
}

/// The client.
pub struct IntuneClient {
    settings: IntuneSettings,
    outbound: Arc<dyn Outbound>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    tokens: Tokens,
    endpoints: Mutex<Option<Endpoints>>,
    places: Places,
    /// Of all who wait for somebody while they enrol.
    shared: Arc<Places>,
}

impl std::fmt::Debug for IntuneClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntuneClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl IntuneClient {
    /// A client that has asked nobody yet. `outbound` knows [`ENROLMENT_DESTINATION`] and [`BACKGROUND_DESTINATION`]; `shared` are the
    /// places of all who wait for somebody while they enrol.
    pub fn new(
        settings: IntuneSettings,
        outbound: Arc<dyn Outbound>,
        shared: Arc<Places>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let places = Places::new(settings.places);
        Self {
            settings,
            outbound,
            clock,
            random,
            tokens: Tokens::default(),
            endpoints: Mutex::default(),
            places,
            shared,
        }
    }

    fn session(&self, destination: &'static str) -> Session<'_> {
        Session {
            settings: &self.settings,
            outbound: self.outbound.as_ref(),
            clock: self.clock.as_ref(),
            random: self.random.as_ref(),
            destination,
            reference: guid(self.random.bytes()),
        }
    }

    /// One call of a service; gives its answer and the session under which it was made. A token that is refused is replaced once.
    fn call(
        &self,
        session: &Session<'_>,
        service: Service,
        action: &str,
        body: &Value,
    ) -> Result<Value, NoAnswer> {
        let body = Secret::new(body.to_string().into_bytes());
        let mut replaced = false;
        loop {
            let url = format!("{}/{action}", self.endpoint(session, service)?);
            let token = self.tokens.token(session, Scope::Intune)?;
            let answer = session.send_json(&url, &token, Some(service.api_version()), body.expose());
            match answer {
                Ok(answer) if answer.status == 401 && !replaced => {
                    self.tokens.drop_token(Scope::Intune, &token);
                    replaced = true;
                }
                Ok(answer) if (200..300).contains(&answer.status) => {
                    return serde_json::from_slice(answer.body.expose()).map_err(|_| {
                        self.forget_endpoints();
                        session.no_answer("Intune's answer is not JSON", None)
                    });
                }
                Ok(answer) => {
                    self.tokens.drop_token(Scope::Intune, &token);
                    self.forget_endpoints();
                    return Err(session.refused("Intune", &answer));
                }
                Err(error) => {
                    self.forget_endpoints();
                    return Err(error);
                }
            }
        }
    }

    /// Where the service is, from Graph if need be.
    fn endpoint(&self, session: &Session<'_>, service: Service) -> Result<String, NoAnswer> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.is_none() {
            let token = self.tokens.token(session, Scope::Graph)?;
            *endpoints = Some(self.discover(session, &token)?);
        }
        let found = endpoints.as_ref().and_then(|found| found.of(service));
        if found.is_none() {
            *endpoints = None;
        }
        found.ok_or_else(|| session.no_answer(&service.not_named(), None))
    }

    fn discover(&self, session: &Session<'_>, token: &Secret) -> Result<Endpoints, NoAnswer> {
        let url = format!("{}/v1.0/servicePrincipals/appId={INTUNE_APP}/endpoints", self.settings.graph_url);
        let answer = session.get_json(&url, token)?;
        if answer.status != 200 {
            self.tokens.drop_token(Scope::Graph, token);
            return Err(session.refused("Graph", &answer));
        }
        let list: EndpointList = serde_json::from_slice(answer.body.expose()).map_err(|_| {
            session.no_answer("Graph's list of services is not in the form that is known", None)
        })?;
        let find = |service: Service| {
            let is = |name: &Option<String>| {
                name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(service.name()))
            };
            let entry = list.value.iter().find(|entry| is(&entry.provider_name) || is(&entry.service_name));
            entry.map(|entry| entry.uri.trim_end_matches('/').to_owned())
        };
        Ok(Endpoints { validation: find(Service::Validation), revocation: find(Service::Revocation) })
    }

    fn forget_endpoints(&self) {
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What the requests of one call have in common.
struct Session<'a> {
    settings: &'a IntuneSettings,
    outbound: &'a dyn Outbound,
    clock: &'a dyn Clock,
    random: &'a dyn Random,
    destination: &'static str,
    /// client-request-id: under which Microsoft finds them.
    reference: String,
}

impl Session<'_> {
    fn new_guid(&self) -> String {
        guid(self.random.bytes())
    }

    fn send(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, NoAnswer> {
        self.outbound.send(request).map_err(|error| {
            let hint = match &error {
                OutboundError::NotAllowed { .. } => " (see intune.service-hosts)",
                _ => "",
            };
            self.no_answer(&format!("{error}{hint}"), error.retry_after())
        })
    }

    fn get_json(&self, url: &str, token: &Secret) -> Result<OutboundAnswer, NoAnswer> {
        self.send(&OutboundRequest {
            destination: self.destination,
            method: OutboundMethod::Get,
            url,
            headers: &self.headers(token, None),
            body: &[],
        })
    }

    fn send_json(
        &self,
        url: &str,
        token: &Secret,
        api_version: Option<&str>,
        body: &[u8],
    ) -> Result<OutboundAnswer, NoAnswer> {
        let mut headers = self.headers(token, api_version);
        headers.push(("content-type", "application/json; charset=utf-8".into()));
        let (destination, method) = (self.destination, OutboundMethod::Post);
        self.send(&OutboundRequest { destination, method, url, headers: &headers, body })
    }

    fn headers(&self, token: &Secret, api_version: Option<&str>) -> Vec<(&'static str, Secret)> {
        let mut headers = vec![
            ("authorization", Secret::new([b"Bearer ", token.expose()].concat())),
            ("client-request-id", self.reference.as_str().into()),
            ("accept", "application/json".into()),
        ];
        headers.extend(api_version.map(|version| ("api-version", version.into())));
        headers
    }

    fn no_answer(&self, reason: &str, retry_after: Option<Duration>) -> NoAnswer {
        NoAnswer {
            reason: format!("{reason} [client-request-id {}]", self.reference),
            retry_after: retry_after.unwrap_or(RETRY_AFTER),
        }
    }

    fn refused(&self, who: &str, answer: &OutboundAnswer) -> NoAnswer {
        let hint = match answer.status {
            401 | 403 => {
                ": has the application the permissions scep_challenge_provider (Intune) and Application.Read.All (Graph), with an administrator's consent?"
            }
            300..=399 => ": redirects are not followed",
            _ => "",
        };
        self.no_answer(&format!("{who} answers HTTP {}{hint}", answer.status), answer.retry_after())
    }
}

/// Words of the other side, cut, on one line, without what was sent as a proof should they repeat it.
fn body_text<'a>(sent: impl Iterator<Item = &'a Secret>, words: &str) -> String {
    let without = |words: String, secret: &Secret| {
        let secret = String::from_utf8_lossy(secret.expose());
        if secret.is_empty() { words } else { words.replace(secret.as_ref(), "...") }
    };
    let words = sent.fold(words.to_owned(), without);
    words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

/// A random UUID (RFC 9562 §5.4).
fn guid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}
