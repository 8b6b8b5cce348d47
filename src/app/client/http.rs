//! A small blocking HTTP/1.1 client: one connection per exchange, over TCP, TLS or a Unix socket, bounded in time and size.

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri, Version,
    body::Incoming,
    client::conn::http1,
    header::{
        ACCEPT, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, USER_AGENT,
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime::Runtime,
    task::JoinHandle,
};

use super::tls::Tls;

/// Longest body that is read: a CRL with a million entries has about 40 MB.
const MAX_BODY: usize = 128 * 1024 * 1024;

/// Longest wait for a whole exchange, unless the caller says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("{url}: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nobody answers there.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// Address or path of the socket.
        target: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The exchange took too long.
    #[error("{target} did not answer within {} seconds", limit.as_secs())]
    TimeOut {
        /// Address or path of the socket.
        target: String,
        /// How long it was given.
        limit: Duration,
    },
    /// The connection broke, or what came is not HTTP, or is too large.
    #[error("{target}: {reason}")]
    Broken {
        /// Address or path of the socket.
        target: String,
        /// What happened.
        reason: String,
    },
}

/// HTTP as a certain client speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// HTTP/1.0, as old network gear speaks it.
    pub old_http: bool,
    /// Whether there is a Host header.
    pub host: bool,
    /// Whether there is `Accept: */*`.
    pub accept: bool,
    /// User-Agent.
    pub user_agent: Option<&'static str>,
    /// Content-Type of a GET, which has nothing to describe.
    pub get_type: Option<&'static str>,
}

/// Where the other side listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Tcp { authority: String, host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A response, read whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Content-Type as sent, or empty.
    pub content_type: String,
    /// Retry-After in seconds, if the server asks to come back.
    pub retry_after: Option<u64>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A response whose body is read as it comes.
pub struct Streamed<'c> {
    /// The status.
    pub status: StatusCode,
    client: &'c HttpClient,
    body: Incoming,
    driver: JoinHandle<hyper::Result<()>>,
    piece: Bytes,
}

impl Read for Streamed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let (body, limit) = (&mut self.body, self.client.limit);
            let next =
                self.client.runtime.block_on(async { tokio::time::timeout(limit, body.frame()).await });
            match next? {
                None => return Ok(0),
                Some(frame) => self.piece = frame.map_err(io::Error::other)?.into_data().unwrap_or_default(),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.split_to(count).copy_to_slice(buffer.split_at_mut(count).0);
        Ok(count)
    }
}

impl Drop for Streamed<'_> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Response {
    /// The value of a header, if it is there and text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Content-Type without its parameters.
    pub fn media_type(&self) -> &str {
        self.content_type.split(';').next().unwrap_or_default().trim()
    }
}

/// The client. Owns the little runtime that its blocking calls run on.
#[derive(Debug)]
pub struct HttpClient {
    runtime: Runtime,
    limit: Duration,
    tls: Tls,
    /// Microseconds in exchanges since they were last taken.
    spent: AtomicU64,
}

impl HttpClient {
    /// A client that gives each exchange a minute.
    pub fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, limit: TIME_LIMIT, tls: Tls::default(), spent: AtomicU64::new(0) })
    }

    /// The same client with another limit for a whole exchange.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The time that exchanges took, from connecting to the last byte, since this was last asked: of the network and the server,
    /// without what the caller does before and after. Of use where one thread uses this client.
    pub fn take_spent(&self) -> Duration {
        Duration::from_micros(self.spent.swap(0, Ordering::Relaxed))
    }

    /// Fetches `url`.
    pub fn get(&self, url: &str) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        self.exchange(&target, request(&target, Method::GET, &path, None)?)
    }

    /// Fetches `url` by HTTP/1.0 and without a Host header, as old network gear does.
    pub fn get_as_old_gear(&self, url: &str) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        let mut request = request(&target, Method::GET, &path, None)?;
        *request.version_mut() = Version::HTTP_10;
        request.headers_mut().remove(HOST);
        self.exchange(&target, request)
    }

    /// One exchange in the manner of another client; `body` with its Content-Type is posted.
    pub fn exchange_as(
        &self,
        manner: &Manner,
        url: &str,
        body: Option<(Option<&str>, Vec<u8>)>,
    ) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        let (method, media_type, body) = match body {
            Some((media_type, body)) => (Method::POST, media_type, Full::from(body)),
            None => (Method::GET, manner.get_type, Full::default()),
        };
        let version = if manner.old_http { Version::HTTP_10 } else { Version::HTTP_11 };
        let mut builder = Request::builder().method(method).uri(path).version(version);
        if let (true, Target::Tcp { authority, .. }) = (manner.host, &target) {
            builder = builder.header(HOST, authority);
        }
        if manner.accept {
            builder = builder.header(ACCEPT, "*/*");
        }
        for (name, value) in [(USER_AGENT, manner.user_agent), (CONTENT_TYPE, media_type)] {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        self.exchange(&target, builder.body(body).map_err(|error| broken(&target, error))?)
    }

    /// Fetches `url` unless it still has the entity tag `etag` (RFC 9110 §13.1.2).
    pub fn get_unless(&self, url: &str, etag: &str) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        let mut request = request(&target, Method::GET, &path, None)?;
        let etag = etag.parse().map_err(|error| broken(&target, error))?;
        request.headers_mut().insert(IF_NONE_MATCH, etag);
        self.exchange(&target, request)
    }

    /// HEAD of `url`: as [`HttpClient::get`], without a body.
    pub fn head(&self, url: &str) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        self.exchange(&target, request(&target, Method::HEAD, &path, None)?)
    }

    /// [`HttpClient::post`] with `Expect: 100-continue` (RFC 9110 §10.1.1), as curl sends it with large bodies. Does not wait for 100.
    pub fn post_expecting(
        &self,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        let mut request = request(&target, Method::POST, &path, Some((content_type, body)))?;
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        self.exchange(&target, request)
    }

    /// DELETE of `url`: what servers that know GET and POST must refuse.
    pub fn delete(&self, url: &str) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        self.exchange(&target, request(&target, Method::DELETE, &path, None)?)
    }

    /// Posts `body` to `url`.
    pub fn post(&self, url: &str, content_type: &str, body: Vec<u8>) -> Result<Response, HttpError> {
        let (target, path) = locate(url)?;
        self.exchange(&target, request(&target, Method::POST, &path, Some((content_type, body)))?)
    }

    /// One exchange over the Unix socket at `socket`; `body` is JSON.
    pub fn over_socket(
        &self,
        socket: PathBuf,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response, HttpError> {
        let target = Target::Unix(socket);
        let request = request(&target, method, path, body.map(|body| ("application/json", body)))?;
        self.exchange(&target, request)
    }

    /// Posts `body` over the Unix socket at `socket`.
    pub fn upload_over_socket(
        &self,
        socket: PathBuf,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Response, HttpError> {
        let target = Target::Unix(socket);
        let request = request(&target, Method::POST, path, Some((content_type, body)))?;
        self.exchange(&target, request)
    }

    /// One exchange over the Unix socket at `socket` whose answer may be of any length: each part of it may take as long as
    /// another exchange as a whole.
    pub fn stream_over_socket(
        &self,
        socket: PathBuf,
        method: Method,
        path: &str,
    ) -> Result<Streamed<'_>, HttpError> {
        let target = Target::Unix(socket.clone());
        let request = request(&target, method, path, None)?;
        let work = async {
            let stream = UnixStream::connect(socket).await.map_err(|error| cannot_connect(&target, error))?;
            begin(&target, stream, request).await
        };
        let limited = async { tokio::time::timeout(self.limit, work).await };
        let begun = self.runtime.block_on(limited);
        let (response, driver) = begun
            .unwrap_or_else(|_| Err(HttpError::TimeOut { target: target.to_string(), limit: self.limit }))?;
        let (head, body) = response.into_parts();
        Ok(Streamed { status: head.status, client: self, body, driver, piece: Bytes::new() })
    }

    fn exchange(&self, target: &Target, request: Request<Full<Bytes>>) -> Result<Response, HttpError> {
        let work = async {
            match target {
                Target::Tcp { host, port, tls, .. } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await;
                    let stream = stream.map_err(|source| cannot_connect(target, source))?;
                    if !tls {
                        return speak(target, stream, request).await;
                    }
                    let stream = self.tls.connect(host, stream).await;
                    speak(target, stream.map_err(|source| cannot_connect(target, source))?, request).await
                }
                Target::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await;
                    speak(target, stream.map_err(|source| cannot_connect(target, source))?, request).await
                }
            }
        };
        let limited = async { tokio::time::timeout(self.limit, work).await };
        #[expect(clippy::disallowed_methods, reason = "only the process measures, and this is it")]
        let begun = Instant::now();
        let outcome = self.runtime.block_on(limited);
        let spent = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.spent.fetch_add(spent, Ordering::Relaxed);
        outcome.unwrap_or_else(|_| Err(HttpError::TimeOut { target: target.to_string(), limit: self.limit }))
    }
}

/// Whether this client can ask there at all, whoever answers.
pub fn check_url(url: &str) -> Result<(), HttpError> {
    locate(url).map(drop)
}

/// Takes a URL apart: where to connect, and path with query.
fn locate(url: &str) -> Result<(Target, String), HttpError> {
    let wrong = |problem| HttpError::Url { url: url.to_owned(), problem };
    let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong("a URL starts with http:// or https://")),
    };
    let authority = uri.authority().ok_or_else(|| wrong("the URL names no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok((Target::Tcp { authority: authority.to_string(), host, port, tls }, path))
}

fn request(
    target: &Target,
    method: Method,
    path: &str,
    body: Option<(&str, Vec<u8>)>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let host = match target {
        Target::Tcp { authority, .. } => authority.as_str(),
        Target::Unix(_) => "localhost",
    };
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(ACCEPT, "*/*")
        .header(USER_AGENT, concat!("certgate/", env!("CARGO_PKG_VERSION")));
    let body = match body {
        Some((content_type, body)) => {
            builder = builder.header(CONTENT_TYPE, content_type);
            Full::from(body)
        }
        None => Full::default(),
    };
    builder.body(body).map_err(|error| broken(target, error))
}

async fn speak<S>(target: &Target, stream: S, request: Request<Full<Bytes>>) -> Result<Response, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (response, driver) = begin(target, stream, request).await?;
    let (head, body) = response.into_parts();
    let body =
        Limited::new(body, MAX_BODY).collect().await.map_err(|error| broken(target, error))?.to_bytes();
    driver.abort();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Response {
        status: head.status,
        content_type: text(CONTENT_TYPE).to_owned(),
        retry_after: text(RETRY_AFTER).parse().ok(),
        headers: head.headers,
        body,
    })
}

/// Sends the request and reads the head of its answer. The task given back drives the connection.
async fn begin<S>(
    target: &Target,
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(hyper::Response<Incoming>, JoinHandle<hyper::Result<()>>), HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(target, error))?;
    // The connection's own errors come out of the exchange; the task only drives it.
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| broken(target, error))?;
    Ok((response, driver))
}

fn cannot_connect(target: &Target, source: std::io::Error) -> HttpError {
    HttpError::Connect { target: target.to_string(), source }
}

fn broken(target: &Target, reason: impl std::fmt::Display) -> HttpError {
    HttpError::Broken { target: target.to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A server that gives `answer` to one connection; gives back what it was sent.
    fn serve_once(answer: &'static [u8]) -> (String, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request.truncate(read);
            request
        });
        (url, server)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let (target, path) = locate("http://pki.example:8080/scep/device?operation=GetCACaps").unwrap();
        assert_eq!(target.to_string(), "pki.example:8080");
        assert_eq!(path, "/scep/device?operation=GetCACaps");
        let (target, path) = locate("http://[::1]").unwrap();
        assert_eq!((target.to_string().as_str(), path.as_str()), ("::1:80", "/"));
        assert_eq!(locate("https://pki.example/scep").unwrap().0.to_string(), "pki.example:443");
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["ftp://pki.example/", "pki.example/scep", ""] {
            assert!(matches!(locate(url), Err(HttpError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn an_exchange_gives_status_type_and_body() {
        let (url, server) = serve_once(
            b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
        );
        let response = HttpClient::new().unwrap().get(&format!("{url}/a?b=c")).unwrap();
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((response.content_type.as_str(), response.retry_after), ("text/plain", Some(7)));
        assert_eq!(&response.body[..], b"busy");
        let request = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\nhost: 127.0.0.1"), "{request}");
    }

    #[test]
    fn old_gear_sends_no_host() {
        let (url, server) = serve_once(b"HTTP/1.0 200 OK\r\n\r\nok");
        let response = HttpClient::new().unwrap().get_as_old_gear(&format!("{url}/a")).unwrap();
        assert_eq!(&response.body[..], b"ok");
        let request = String::from_utf8(server.join().unwrap()).unwrap().to_ascii_lowercase();
        assert!(request.starts_with("get /a http/1.0\r\n") && !request.contains("host:"), "{request}");
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let limit = Duration::from_millis(50);
        let client = HttpClient::new().unwrap().with_limit(limit);
        assert!(matches!(client.get(&url), Err(HttpError::TimeOut { .. })));
        assert!(client.take_spent() >= limit);
        assert_eq!(client.take_spent(), Duration::ZERO, "it was taken");
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        let (url, _server) = serve_once(b"220 mail.example ESMTP\r\n");
        assert!(matches!(HttpClient::new().unwrap().get(&url), Err(HttpError::Broken { .. })));
    }

    #[test]
    fn a_missing_socket_names_its_path() {
        let error = HttpClient::new()
            .unwrap()
            .over_socket("/nonexistent/certgate.sock".into(), Method::GET, "/", None)
            .unwrap_err();
        assert!(error.to_string().starts_with("cannot connect to /nonexistent/certgate.sock: "), "{error}");
    }
}
