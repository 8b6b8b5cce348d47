//! Accepting, limiting and draining connections: the same for every listener.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower_service::Service;

use super::{
    crowd::{Crowd, Place},
    device::{DeviceEdge, plain},
    forwarded::TrustedProxies,
    ops::OpsEdge,
    patience::Patience,
    stall::StallBound,
};
use crate::service::metric::{self, label};

/// Largest request head: a GET enrolment has 4 to 16 kB in its URL, and NDES administrators know limits of 64 kB.
const MAX_HEAD: usize = 128 * 1024;

/// Pause after `accept` failed (usually: out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of a listener.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Open connections of one address (of IPv6: one /64); more are closed at once.
    pub per_address: usize,
    /// Proxies, which may have any number.
    pub trusted_proxies: TrustedProxies,
    /// Time for the TLS handshake and for the head of a request; also how long an idle connection is kept, and
    /// one whose peer takes nothing of its answer or next to nothing.
    pub head_timeout: Duration,
    /// Time for the connections to finish their requests after shutdown was asked for.
    pub drain_timeout: Duration,
}

/// Who is at the other end: an extension of every API request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A network peer.
    Network(SocketAddr),
    /// A process on this machine, by the credentials of its socket.
    Local {
        /// Its user id.
        uid: u32,
    },
}

/// Becomes true when the process should end.
pub type Shutdown = watch::Receiver<bool>;

/// The listener of devices and gear: plain HTTP/1.0 and 1.1.
pub async fn serve_device(
    listener: TcpListener,
    edge: Arc<DeviceEdge>,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) {
    accept_loop("device", listener, limits, shutdown, move |stream, peer, connection| {
        let edge = Arc::clone(&edge);
        connection.serve(stream, move |request| Arc::clone(&edge).answer(request, peer))
    })
    .await;
}

/// The listener of monitoring: metrics and health.
pub async fn serve_ops(
    listener: TcpListener,
    edge: Arc<OpsEdge>,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) {
    accept_loop("ops", listener, limits, shutdown, move |stream, _, connection| {
        let edge = Arc::clone(&edge);
        let answer = move |request| {
            let edge = Arc::clone(&edge);
            async move { Ok(edge.answer(&request).await) }
        };
        connection.serve(stream, answer)
    })
    .await;
}

/// The API over HTTPS.
pub async fn serve_api_tls(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: axum::Router,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) {
    let head_timeout = limits.head_timeout;
    accept_loop("admin", listener, limits, shutdown, move |stream, peer, connection| {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        async move {
            match timeout(head_timeout, opened(&acceptor, stream)).await {
                Ok(Ok(Opened::Tls(stream))) => {
                    connection.serve_router(*stream, Peer::Network(peer), router).await;
                }
                Ok(Ok(Opened::Plain(stream))) => connection.serve(stream, async |_| Ok(wants_https())).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
            }
        }
    })
    .await;
}

/// What a connection to the HTTPS listener turned out to be.
enum Opened {
    Tls(Box<TlsStream<TcpStream>>),
    /// HTTP without TLS.
    Plain(TcpStream),
}

/// The TLS handshake, unless the first octet is that of an HTTP method: the record of a ClientHello begins with 22 (RFC 8446 §5.1).
async fn opened(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        return Ok(Opened::Plain(stream));
    }
    Ok(Opened::Tls(Box::new(acceptor.accept(stream).await?)))
}

/// For who wrote `http://` where `https://` belongs, and would see but noise.
fn wants_https() -> Response<Full<Bytes>> {
    let mut answer =
        plain(StatusCode::BAD_REQUEST, "this port speaks HTTPS: the URL has to begin with https://");
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The API over the local socket, for the command line.
pub async fn serve_api_socket(
    listener: UnixListener,
    router: axum::Router,
    limits: ConnectionLimits,
    shutdown: Shutdown,
) {
    accept_loop("local", listener, limits, shutdown, move |stream, uid, connection| {
        connection.serve_router(stream, Peer::Local { uid }, router.clone())
    })
    .await;
}

/// What connections come from.
trait Listener: Send + Sync {
    type Stream: Send;
    type Peer: Send;

    /// The peer's network address, if it has one.
    fn address(peer: &Self::Peer) -> Option<IpAddr>;

    /// The next connection, and who is at its other end.
    fn connection(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    fn address(peer: &SocketAddr) -> Option<IpAddr> {
        Some(peer.ip())
    }

    async fn connection(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept().await?;
        // Answers are written whole; waiting for more to send would only delay them.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    /// The user id.
    type Peer = u32;

    fn address(_: &u32) -> Option<IpAddr> {
        None
    }

    async fn connection(&self) -> io::Result<(UnixStream, u32)> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, uid))
    }
}

/// Accepts until shutdown, then closes the listener and drains: who comes later is refused at once and goes to whoever listens
/// next, instead of waiting for nobody.
async fn accept_loop<L: Listener, F>(
    name: &'static str,
    listener: L,
    limits: ConnectionLimits,
    mut shutdown: Shutdown,
    mut handle: impl FnMut(L::Stream, L::Peer, Connection) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let crowd = Crowd::new(limits.per_address, limits.trusted_proxies);
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait_for(|ended| *ended) => break,
            accepted = admit(&slots, &listener) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let Some(place) = crowd.enter(L::address(&peer)) else {
                    metrics::counter!(metric::CONNECTIONS_REFUSED, label::LISTENER => name).increment(1);
                    continue;
                };
                let connection =
                    Connection { watcher: graceful.watcher(), head_timeout: limits.head_timeout };
                let work = handle(stream, peer, connection);
                tokio::spawn(async move {
                    work.await;
                    drop::<(OwnedSemaphorePermit, Place)>((slot, place));
                });
            }
            Err(error) => {
                tracing::warn!(listener = name, %error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(listener = name, "connections were still open when the time for draining ended");
    }
}

/// Waits for a free slot, then for a connection.
async fn admit<L: Listener>(
    slots: &Arc<Semaphore>,
    listener: &L,
) -> io::Result<(L::Stream, L::Peer, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.connection().await?;
    Ok((stream, peer, slot))
}

/// What a connection needs of its listener.
struct Connection {
    watcher: Watcher,
    head_timeout: Duration,
}

impl Connection {
    async fn serve<S, H, F>(self, stream: S, answer: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
    {
        let connection = self.builder().serve_connection(self.io(stream), service_fn(answer));
        finished(self.watcher.watch(connection).await);
    }

    async fn serve_router<S>(self, stream: S, peer: Peer, router: axum::Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            router.clone().call(request)
        });
        let connection = self.builder().serve_connection(self.io(stream), service);
        finished(self.watcher.watch(connection).await);
    }

    fn io<S>(&self, stream: S) -> TokioIo<StallBound<S>> {
        TokioIo::new(StallBound::new(stream, self.head_timeout))
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(Patience::default())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(MAX_HEAD)
            // Old clients close their sending half after the request and still want the answer.
            .half_close(true);
        builder
    }
}

fn finished(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// More than the kernel's buffers of a connection hold.
    const LARGE: usize = 64 * 1024 * 1024;
    const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

    /// A listener with a single slot that answers everything with `LARGE` bytes.
    async fn listener_of_one(shutdown: Shutdown) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = ConnectionLimits {
            connections: 1,
            per_address: 1,
            trusted_proxies: TrustedProxies::default(),
            head_timeout: Duration::from_millis(500),
            drain_timeout: Duration::ZERO,
        };
        tokio::spawn(async move {
            let body = Bytes::from(vec![0; LARGE]);
            accept_loop("test", listener, limits, shutdown, move |stream, _, connection| {
                let body = body.clone();
                connection.serve(stream, move |_| {
                    let answer = Response::new(Full::new(body.clone()));
                    async move { Ok(answer) }
                })
            })
            .await;
        });
        address
    }

    #[tokio::test]
    async fn a_client_that_never_reads_loses_its_slot_and_a_reading_one_gets_everything() {
        let (_end, shutdown) = watch::channel(false);
        let address = listener_of_one(shutdown).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(REQUEST).await.unwrap();

        let mut reading = TcpStream::connect(address).await.unwrap();
        reading.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(60), reading.read_to_end(&mut answer)).await.unwrap().unwrap();

        assert!(answer.len() > LARGE);
        let mut rest = Vec::new();
        let read = silent.read_to_end(&mut rest).await;
        assert!(read.is_err() || rest.len() < LARGE, "the first answer was given up");
    }
}
