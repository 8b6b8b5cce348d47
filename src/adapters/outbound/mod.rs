//! HTTP requests of ours, by `ureq` with rustls and AWS-LC.
//!
//! No redirects, no proxy from the environment, no cookies, no compression; TLS except to loopback addresses; only hosts that
//! the destination lists.

mod guard;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::crypto::aws_lc_rs;
use ureq::{
    Agent, Proxy, ProxyProtocol,
    http::{HeaderMap, HeaderValue, Method, Request, Uri},
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::{
    ports::{HostRule, Outbound, OutboundAnswer, OutboundError, OutboundMethod, OutboundRequest},
    types::Secret,
};
use guard::Breaker;
pub use guard::Places;

/// Longest head of an answer.
const MAX_HEAD: usize = 32 * 1024;

/// A party that may be asked.
#[derive(Clone, Debug)]
pub struct Destination {
    /// What requests call it, and metrics.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<HostRule>,
    /// How long and how many.
    pub limits: RequestLimits,
    /// Longest body of an answer, in bytes.
    pub max_answer: usize,
    /// Asked by threads that enrol devices, so that it shares what [`HttpSettings::enrolment_places`] leaves.
    pub enrols: bool,
}

/// How long a request to a destination may take, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// For the connection with its handshake.
    pub connect: Duration,
    /// For the whole exchange.
    pub total: Duration,
    /// Requests at a time.
    pub places: usize,
}

/// What all destinations have in common.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// DER certificates of authorities to trust beside the system's.
    pub authorities: Vec<Vec<u8>>,
    /// Whether the system's authorities are trusted.
    pub system_roots: bool,
    /// HOST and PORT of an HTTP proxy for everything but loopback addresses.
    pub proxy: Option<(String, u16)>,
    /// Requests at a time that enrolment makes, to all destinations together: fewer than there are threads, so that those who need nobody else go on.
    pub enrolment_places: usize,
}

/// Told of each request that ended: destination, result, how long it took.
pub type Observer = Box<dyn Fn(&str, &str, Duration) + Send + Sync>;

struct Party {
    destination: Destination,
    agent: Agent,
    places: Places,
    breaker: Breaker,
}

/// The HTTP client.
pub struct HttpOutbound {
    parties: BTreeMap<String, Party>,
    enrolment: Arc<Places>,
    observer: Observer,
}

impl std::fmt::Debug for HttpOutbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpOutbound").field("parties", &self.parties.keys()).finish_non_exhaustive()
    }
}

impl HttpOutbound {
    /// A client for these destinations. Nothing is sent yet. Errors: the proxy's address is none.
    pub fn new(
        settings: &HttpSettings,
        destinations: Vec<Destination>,
        observer: Observer,
    ) -> Result<Self, OutboundError> {
        let tls = tls(settings);
        let proxy = settings.proxy.as_ref().map(|(host, port)| proxy(host, *port)).transpose()?;
        let party = |destination: Destination| {
            let agent = agent(&destination, tls.clone(), proxy.clone());
            let places = Places::new(destination.limits.places);
            (destination.name.clone(), Party { destination, agent, places, breaker: Breaker::default() })
        };
        Ok(Self {
            parties: destinations.into_iter().map(party).collect(),
            enrolment: Arc::new(Places::new(settings.enrolment_places)),
            observer,
        })
    }

    /// The places of [`HttpSettings::enrolment_places`], for whoever holds one over more than a request: a thread that waits until
    /// another one has the answer waits as well. Its destination must not be one that [`enrols`](Destination::enrols).
    pub fn enrolment_places(&self) -> Arc<Places> {
        Arc::clone(&self.enrolment)
    }
}

/// The system's authorities as far as they can be read, and the configured ones.
fn tls(settings: &HttpSettings) -> TlsConfig {
    let mut roots = Vec::new();
    if settings.system_roots {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "an authority of the system cannot be read");
        }
        roots.extend(native.certs.iter().map(|der| Certificate::from_der(der).to_owned()));
    }
    roots.extend(settings.authorities.iter().map(|der| Certificate::from_der(der).to_owned()));
    if roots.is_empty() {
        tracing::warn!("no authority is trusted: nobody can be asked over TLS");
    }
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build()
}

fn proxy(host: &str, port: u16) -> Result<Proxy, OutboundError> {
    let builder = Proxy::builder(ProxyProtocol::Http).host(host).port(port);
    let direct = ["localhost", "127.0.0.1", "[::1]", "::1"];
    direct
        .into_iter()
        .fold(builder, ureq::ProxyBuilder::no_proxy)
        .build()
        .map_err(|_| OutboundError::NotAllowed { host: host.to_owned(), why: "the proxy's address is none" })
}

fn agent(destination: &Destination, tls: TlsConfig, proxy: Option<Proxy>) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // The default takes a proxy from the environment.
        .proxy(proxy)
        .timeout_global(Some(destination.limits.total))
        .timeout_resolve(Some(destination.limits.connect))
        .timeout_connect(Some(destination.limits.connect))
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections_per_host(destination.limits.places)
        .user_agent(concat!("certgate/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .tls_config(tls)
        .build()
        .new_agent()
}

#[expect(clippy::disallowed_methods, reason = "what a peer takes is measured where it is asked")]
fn instant() -> Instant {
    Instant::now()
}

impl Outbound for HttpOutbound {
    fn send(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
        let begun = instant();
        let answer = self.exchange(request);
        let result = match &answer {
            Ok(answer) => status_class(answer.status),
            Err(error) => error.label(),
        };
        (self.observer)(request.destination, result, instant() - begun);
        answer
    }
}

const fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

impl HttpOutbound {
    fn exchange(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
        let party = self.parties.get(request.destination).ok_or_else(|| OutboundError::NotAllowed {
            host: request.destination.to_owned(),
            why: "no such destination is configured",
        })?;
        let (uri, host) = party.destination.allowed(request.url)?;
        let busy = || OutboundError::Busy { destination: request.destination.to_owned() };
        let _place = party.places.take().ok_or_else(busy)?;
        let _shared =
            if party.destination.enrols { Some(self.enrolment.take().ok_or_else(busy)?) } else { None };
        party
            .breaker
            .admit(&host, instant())
            .map_err(|retry_after| OutboundError::Down { host: host.clone(), retry_after })?;
        let answer = party.ask(request, uri, &host);
        match &answer {
            Ok(answer) if matches!(answer.status, 429 | 503) => {
                party.breaker.answered(&host, answer.retry_after(), instant());
            }
            Ok(_) | Err(OutboundError::TooLarge { .. }) => party.breaker.answered(&host, None, instant()),
            Err(_) => party.breaker.failed(&host, instant()),
        }
        answer
    }
}

impl Destination {
    /// The rule that allows the host of `url` and no other. None: no URL, a password in it, or neither https nor a loopback
    /// address.
    pub fn host_of(url: &str) -> Option<HostRule> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let spoken = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => is_loopback(&authority.host().to_ascii_lowercase()),
            _ => false,
        };
        spoken.then(|| HostRule::exact(authority.host(), authority.port_u16()))
    }

    /// The URL and its host, if it may be asked.
    fn allowed(&self, url: &str) -> Result<(Uri, String), OutboundError> {
        let refuse = |host: &str, why| OutboundError::NotAllowed { host: host.to_owned(), why };
        let uri: Uri = url.parse().map_err(|_| refuse(&self.name, "its URL is none"))?;
        let authority = uri.authority().ok_or_else(|| refuse(&self.name, "its URL names no host"))?;
        let host = authority.host().to_ascii_lowercase();
        if authority.as_str().contains('@') {
            return Err(refuse(&host, "a URL must not hold a password"));
        }
        let default = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") if is_loopback(&host) => 80,
            _ => return Err(refuse(&host, "only https is spoken, except to loopback addresses")),
        };
        let port = authority.port_u16().unwrap_or(default);
        if !self.hosts.iter().any(|rule| rule.allows(&host, port, default)) {
            return Err(refuse(&host, "the configuration does not name this host"));
        }
        Ok((uri, format!("{host}:{port}")))
    }
}

/// Whether `host`, as a URL names it, is this machine. Only what cannot be anything else: a name that resolves to a loopback
/// address today may not tomorrow.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Party {
    fn ask(
        &self,
        request: &OutboundRequest<'_>,
        uri: Uri,
        host: &str,
    ) -> Result<OutboundAnswer, OutboundError> {
        let failed = |error| self.failure(host, &error);
        let message = http_request(request, uri).map_err(|error| failed(error.into()))?;
        let mut response = self.agent.run(message).map_err(failed)?;
        let limit = self.destination.max_answer;
        let body = response.body_mut().with_config().limit(limit as u64).read_to_vec().map_err(failed)?;
        Ok(OutboundAnswer {
            status: response.status().as_u16(),
            headers: texts(response.headers()),
            body: Secret::new(body),
        })
    }

    fn failure(&self, host: &str, error: &ureq::Error) -> OutboundError {
        use ureq::Error;
        let (host, reason) = (host.to_owned(), error.to_string());
        match error {
            Error::Timeout(_) => OutboundError::TimeOut { host, limit: self.destination.limits.total },
            Error::BodyExceedsLimit(_) => {
                OutboundError::TooLarge { host, limit: self.destination.max_answer }
            }
            Error::LargeResponseHeader(..) => OutboundError::TooLarge { host, limit: MAX_HEAD },
            Error::Rustls(_) | Error::Tls(_) | Error::Pem(_) | Error::TlsRequired => {
                OutboundError::Tls { host, reason }
            }
            Error::Io(io) if is_tls(io) => OutboundError::Tls { host, reason },
            Error::HostNotFound | Error::ConnectionFailed => OutboundError::Connect { host, reason },
            // The text of a failed CONNECT is the proxy's.
            Error::ConnectProxyFailed(_) => {
                OutboundError::Connect { host, reason: "the proxy refuses".to_owned() }
            }
            Error::Io(io) if is_no_connection(io) => OutboundError::Connect { host, reason },
            _ => OutboundError::Broken { host, reason },
        }
    }
}

fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
}

fn is_no_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable, NotFound,
    };
    let kinds =
        [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable, NotFound];
    // The standard library has no kind of its own for names that do not resolve.
    kinds.contains(&error.kind()) || error.to_string().contains("lookup address")
}

fn http_request(request: &OutboundRequest<'_>, uri: Uri) -> Result<Request<Vec<u8>>, ureq::http::Error> {
    let mut message = Request::builder().uri(uri).method(match request.method {
        OutboundMethod::Get => Method::GET,
        OutboundMethod::Post => Method::POST,
    });
    for (name, value) in request.headers {
        let mut value = HeaderValue::from_bytes(value.expose())?;
        value.set_sensitive(true);
        message = message.header(*name, value);
    }
    message.body(request.body.to_vec())
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&ureq::http::HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests;
