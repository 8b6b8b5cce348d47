//! The running gateway: ports made, listeners bound, workers started, everything drained at the end.
//!
//! [`Server::start`] is the only way to a running gateway: `certgate serve` and `certgate quickstart` both go through it.

mod local;
mod watched;
mod workers;

use std::{
    io::{self, IsTerminal as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{
    failure::{Failure, Outcome},
    settings::{Endpoint, OutboundSettings, Settings},
    systemd::{self, Sockets},
    telemetry::Metrics,
};
use crate::{
    adapters::{
        checkpoint::FileCheckpoint,
        crl_files::CrlFiles,
        directory::LdapDirectory,
        intune::{IntuneClient, IntuneSettings},
        keys::{KekError, SoftwareKeyring, secret_file::SecretFileError},
        outbound::HttpOutbound,
        store::RedbStore,
        system::{SystemClock, SystemRandomSource},
    },
    domain::vouch::Voucher,
    http::{
        api,
        bridge::Bridge,
        challenge,
        device::DeviceEdge,
        ocsp::OcspCounters,
        ops::{OpsEdge, Readiness},
        serve::{ConnectionLimits, serve_api_socket, serve_api_tls, serve_device, serve_ops},
    },
    ports::{Clock, Directories, Directory, NoOutbound, Random, StoreError, Vouchers},
    service::{
        Gateway, Ports, ServiceError,
        metric::{self, label},
    },
};
use local::LocalSocket;
use watched::{StoreFailure, WatchedStore};
use workers::{DirectoryWorkers, OutsideWorker, ServerCertificate, Worker};

/// The store's file in the data directory.
pub const STORE_FILE: &str = "certgate.redb";

/// How long requests in flight may take after the end was asked for. Below the 30 s that the systemd unit gives.
const DRAIN: Duration = Duration::from_secs(20);

/// Threads for health checks and for the API, which people and MDM servers use: few, and apart from enrolment.
const API_WORKERS: usize = 2;
const API_WAITERS: usize = 64;

/// Where a running gateway listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Plain HTTP for devices and gear.
    pub device: Vec<SocketAddr>,
    /// HTTPS for operators and MDM servers.
    pub admin: Vec<SocketAddr>,
    /// Metrics and health.
    pub ops: Vec<SocketAddr>,
    /// The CLI's Unix socket.
    pub socket: PathBuf,
}

/// A running gateway. [`Server::stop`] ends it in order.
pub struct Server {
    runtime: Runtime,
    shutdown: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    worker: Worker,
    outside: OutsideWorker,
    directories: DirectoryWorkers,
    addresses: Addresses,
    store_failure: StoreFailure,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Opens the ports that the gateway stands on. Nobody else is asked before [`outbound`] takes
/// its place.
fn open_ports(settings: &Settings) -> Outcome<Ports> {
    let data = &settings.data;
    let kek = settings.kek.open(data).map_err(|error| cannot_open_keys(data, &error))?;
    let store = RedbStore::open_with_cache(&data.join(STORE_FILE), settings.limits.store_cache_bytes)
        .map_err(|error| cannot_open_store(data, &error))?;
    Ok(Ports {
        store: Arc::new(store),
        keyring: Arc::new(SoftwareKeyring::new(kek)),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandomSource::default()),
        outbound: Arc::new(NoOutbound),
        vouchers: Vouchers::default(),
        checkpoint: Arc::new(FileCheckpoint::new(settings.checkpoint.clone())),
        crls: Arc::new(CrlFiles::default()),
        directories: Directories::default(),
    })
}

/// The client for other parties, whose requests are counted; none where there are none.
fn outbound(settings: &OutboundSettings) -> Outcome<Option<Arc<HttpOutbound>>> {
    if settings.destinations.is_empty() {
        return Ok(None);
    }
    let observer = |destination: &str, result: &str, took: Duration| {
        let (destination, result) = (destination.to_owned(), result.to_owned());
        metrics::histogram!(metric::OUTBOUND_REQUEST_DURATION, label::DESTINATION => destination.clone())
            .record(took);
        metrics::counter!(metric::OUTBOUND_REQUESTS, label::DESTINATION => destination, label::RESULT => result)
            .increment(1);
    };
    let client = HttpOutbound::new(&settings.http, settings.destinations.clone(), Box::new(observer));
    Ok(Some(Arc::new(client.map_err(Failure::while_doing("outbound"))?)))
}

/// Microsoft Intune as the one who vouches for requests.
fn intune(
    settings: &IntuneSettings,
    outbound: Arc<HttpOutbound>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Vouchers {
    let places = outbound.enrolment_places();
    let client = Arc::new(IntuneClient::new(settings.clone(), outbound, places, clock, random));
    let mut vouchers = Vouchers::default();
    vouchers.vouching.insert(Voucher::Intune, client.clone());
    if !settings.poll_interval.is_zero() {
        vouchers.revocations.insert(Voucher::Intune, client);
    }
    vouchers
}

/// The directory servers that CRLs are published to.
fn directories(settings: &Settings) -> Outcome<Directories> {
    let mut directories = Directories::default();
    for (name, configured) in &settings.directories {
        let directory = LdapDirectory::new(configured.server.clone())
            .map_err(Failure::while_doing(format_args!("directory.{name}")))?;
        let directory: Arc<dyn Directory> = Arc::new(directory);
        directories.0.insert(name.clone(), directory);
    }
    Ok(directories)
}

fn cannot_open_keys(data: &Path, error: &KekError) -> Failure {
    let failure = Failure::error(error);
    if !data.join(STORE_FILE).exists() {
        return failure
            .hint(format_args!("{} is not initialised: run `certgate init` first", data.display()));
    }
    match error {
        // It is there, and the error says what to do about it.
        KekError::Secret(SecretFileError::Exposed { .. }) => failure,
        _ => failure.hint("without this key the data cannot be used: put back the right one"),
    }
}

fn cannot_open_store(data: &Path, error: &StoreError) -> Failure {
    match error {
        StoreError::InUse => {
            Failure::error(format_args!("{} is in use: another certgate serves from it", data.display()))
                .hint("stop that one first, or talk to it with the other commands")
        }
        StoreError::Unavailable(_) | StoreError::Corrupt { .. } => {
            Failure::error(format_args!("{}: {error}", data.join(STORE_FILE).display())).hint(BROKEN_STORE)
        }
        StoreError::NewerSchema { .. } | StoreError::Conflict { .. } => Failure::error(error),
    }
}

/// What is left to do when a database cannot be read.
const BROKEN_STORE: &str = "look at the disk: space, permissions, errors in the system log; if the file itself is broken, keep it \
     aside and take a backup: `certgate restore` into a new directory";

impl Server {
    /// Opens the gateway and listens. When this returns, every listener accepts and every issuer has a CRL.
    pub fn start(settings: &Settings, sockets: &mut Sockets, metrics: &Metrics) -> Outcome<Self> {
        let store = settings.data.join(STORE_FILE);
        if !store.exists() {
            return Err(Failure::error(format_args!("{} holds no gateway", settings.data.display()))
                .hint("run `certgate init` first, or `certgate quickstart` to see one at work"));
        }
        let mut ports = open_ports(settings)?;
        let (store, store_failure) = WatchedStore::new(ports.store);
        ports.store = Arc::new(store);
        if let Some(outbound) = outbound(&settings.outbound)? {
            if let Some(settings) = &settings.intune {
                let (clock, random) = (Arc::clone(&ports.clock), Arc::clone(&ports.random));
                ports.vouchers = intune(settings, Arc::clone(&outbound), clock, random);
            }
            ports.outbound = outbound;
        }
        ports.directories = directories(settings)?;
        let gateway =
            Gateway::open(ports, settings.gateway.clone(), &settings.profiles).map_err(cannot_start)?;
        let gateway = Arc::new(gateway);
        publish_first_crls(&gateway)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("certgate-io")
            .build()
            .map_err(Failure::while_doing("starting the runtime"))?;
        let certificate = ServerCertificate::load(&gateway)?;
        let edges = Edges::new(&gateway, settings, metrics, &store_failure)?;
        let (shutdown, ended) = watch::channel(false);
        let entered = runtime.enter();
        let mut binder =
            Binder { sockets, edges: &edges, ended, listeners: Vec::new(), addresses: Addresses::default() };
        binder.bind(settings, &certificate)?;
        let Binder { listeners, addresses, ended, .. } = binder;
        drop(entered);
        runtime.spawn(workers::upkeep(metrics.clone(), ended.clone()));
        let outside = OutsideWorker::start(Arc::clone(&gateway))
            .map_err(Failure::while_doing("starting the worker for other parties"))?;
        let directories = DirectoryWorkers::start(&gateway)
            .map_err(Failure::while_doing("starting the workers for directories"))?;
        let worker =
            Worker::start(gateway, certificate).map_err(Failure::while_doing("starting the worker"))?;
        if let Some(interval) = systemd::watchdog_interval() {
            runtime.spawn(workers::watchdog(interval, Arc::clone(&edges.api), worker.heartbeat(), ended));
        }
        Ok(Self { runtime, shutdown, listeners, worker, outside, directories, addresses, store_failure })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Blocks until it is told to end ([`next_signal`]). Errors: the store failed, and only a new process can write to it again.
    pub fn wait_for_end(&self) -> Outcome {
        let mut store_failure = self.store_failure.clone();
        self.runtime.block_on(async {
            tokio::select! {
                signal = next_signal() => signal.map_err(Failure::while_doing("waiting for signals")),
                failure = watched::failed(&mut store_failure) => {
                    tracing::error!(%failure, "the store takes no more writes: ending, to be started again");
                    Err(Failure::error(failure).hint("start it again once the data directory's disk is well: space, permissions, \
                        errors in the system log"))
                }
            }
        })
    }

    /// Stops accepting, finishes the requests in flight within a bound, ends the worker. A second signal meanwhile ends the process at once.
    pub fn stop(self) {
        systemd::stopping();
        tracing::info!("stopping");
        self.outside.stop();
        self.directories.stop();
        self.runtime.spawn(async {
            if next_signal().await.is_ok() {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(1);
            }
        });
        // Nobody listens any more only if every listener is gone already.
        let _ = self.shutdown.send(true);
        self.runtime.block_on(async {
            for listener in self.listeners {
                let _ = listener.await;
            }
        });
        self.worker.stop();
        LocalSocket::remove(&self.addresses.socket);
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        tracing::info!("stopped");
    }
}

/// Waits for SIGTERM or SIGINT. SIGHUP ends what was started at a terminal, which is gone then; elsewhere somebody sends it who wants the
/// configuration read again, and must not be left without a gateway.
pub(super) async fn next_signal() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A terminal that is gone says that it is none.
    let at_terminal = io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => {
                if at_terminal {
                    return Ok(());
                }
                tracing::warn!("SIGHUP changes nothing: the configuration is read at the start; `certgate check-config`, then restart");
            }
        }
    }
}

fn cannot_start(error: ServiceError) -> Failure {
    match error {
        // `init` makes a gateway whole or not at all.
        ServiceError::NotInitialised => Failure::error(format_args!(
            "{STORE_FILE} in the data directory is there, and empty"
        ))
        .hint(
            "a gateway was here: put its database back, or `certgate restore` a backup into a new directory",
        ),
        ServiceError::Key(_) => {
            Failure::error(error).hint("is this the key-encryption key that the gateway was made with?")
        }
        other => Failure::while_doing("the gateway cannot be opened")(other),
    }
}

/// Gear that finds no CRL refuses everybody: nothing listens before each issuer has one.
fn publish_first_crls(gateway: &Gateway) -> Outcome {
    gateway.run_due().map_err(cannot_start)?;
    if gateway.behind().is_some() {
        // It starts, so that an operator can see and accept it.
        return Ok(());
    }
    for authority in gateway.authorities().issuers() {
        if gateway.crl(&authority.issuer.id).is_none() {
            return Err(Failure::error(format_args!(
                "no CRL could be published for {}",
                authority.issuer.id
            ))
            .hint("the log says why"));
        }
    }
    Ok(())
}

/// What the listeners answer with.
struct Edges {
    device: Arc<DeviceEdge>,
    ops: Arc<OpsEdge>,
    router: axum::Router,
    /// The router with what only the admin listener serves.
    admin: axum::Router,
    api: Arc<Bridge>,
}

impl Edges {
    fn new(
        gateway: &Arc<Gateway>,
        settings: &Settings,
        metrics: &Metrics,
        store_failure: &StoreFailure,
    ) -> Outcome<Self> {
        let (limits, enrolment, ocsp) = (settings.limits, settings.limits.enrolment, settings.limits.ocsp);
        let started =
            |pool: io::Result<Bridge>| pool.map(Arc::new).map_err(Failure::while_doing("starting threads"));
        let api = started(Bridge::start("api", API_WORKERS, API_WAITERS))?;
        let device = DeviceEdge {
            gateway: Arc::clone(gateway),
            enrolment: started(Bridge::start_giving_way(
                "enrolment",
                enrolment.workers.get(),
                enrolment.waiters,
            ))?,
            status: started(Bridge::start_with_side(
                "ocsp",
                ocsp.workers.get(),
                ocsp.waiters,
                ("ocsp-single-use", limits.ocsp_single_use_waiters),
            ))?,
            max_message: settings.max_message_bytes,
            body_timeout: limits.body_timeout,
            trusted_proxies: settings.listen.trusted_proxies.clone(),
            ocsp_counters: OcspCounters::default(),
        };
        let (metrics, health, store_failure) = (metrics.clone(), Arc::clone(gateway), store_failure.clone());
        let ops = OpsEdge {
            metrics: Box::new(move || metrics.render()),
            readiness: Arc::new(move || readiness(&health, &store_failure)),
            bridge: Arc::clone(&api),
        };
        let router = api::router(Arc::clone(gateway), Arc::clone(&api));
        Ok(Self {
            device: Arc::new(device),
            ops: Arc::new(ops),
            admin: challenge::beside(
                router.clone(),
                Arc::clone(gateway),
                Arc::clone(&api),
                settings.listen.trusted_proxies.clone(),
            ),
            router,
            api,
        })
    }
}

fn readiness(gateway: &Gateway, store_failure: &StoreFailure) -> Readiness {
    let mut report = gateway.health();
    if let Some(failure) = store_failure.borrow().as_ref() {
        report.ready = false;
        report.checks.retain(|check| check.name != "store");
        report.checks.insert(0, watched::failed_check(failure));
    }
    Readiness { ready: report.ready, report: serde_json::to_vec(&report).unwrap_or_default() }
}

/// Binds what the settings name and starts a task for each listener.
struct Binder<'a> {
    sockets: &'a mut Sockets,
    edges: &'a Edges,
    ended: watch::Receiver<bool>,
    listeners: Vec<JoinHandle<()>>,
    addresses: Addresses,
}

impl Binder<'_> {
    fn bind(&mut self, settings: &Settings, certificate: &ServerCertificate) -> Outcome {
        let limits = ConnectionLimits {
            connections: settings.limits.connections,
            per_address: settings.limits.connections_per_address,
            trusted_proxies: settings.listen.trusted_proxies.clone(),
            head_timeout: settings.limits.header_timeout,
            drain_timeout: DRAIN,
        };
        let acceptor = TlsAcceptor::from(certificate.server_config()?);
        for endpoint in &settings.listen.device {
            for listener in self.open("listen.device", endpoint)? {
                self.addresses.device.push(address(&listener)?);
                let (listener, ended) = (registered(listener)?, self.ended.clone());
                self.spawn(serve_device(listener, Arc::clone(&self.edges.device), limits.clone(), ended));
            }
        }
        for endpoint in &settings.listen.admin {
            for listener in self.open("listen.admin", endpoint)? {
                self.addresses.admin.push(address(&listener)?);
                let (listener, ended) = (registered(listener)?, self.ended.clone());
                let (acceptor, router) = (acceptor.clone(), self.edges.admin.clone());
                self.spawn(serve_api_tls(listener, acceptor, router, limits.clone(), ended));
            }
        }
        for endpoint in &settings.listen.ops {
            for listener in self.open("listen.ops", endpoint)? {
                self.addresses.ops.push(address(&listener)?);
                let (listener, ended) = (registered(listener)?, self.ended.clone());
                self.spawn(serve_ops(listener, Arc::clone(&self.edges.ops), limits.clone(), ended));
            }
        }
        // Last: who finds the socket finds a server that is whole.
        let local = LocalSocket::bind(&settings.listen.socket)?;
        self.addresses.socket.clone_from(&settings.listen.socket);
        self.spawn(serve_api_socket(
            local.into_listener(),
            self.edges.router.clone(),
            limits,
            self.ended.clone(),
        ));
        Ok(())
    }

    fn open(&mut self, key: &str, endpoint: &Endpoint) -> Outcome<Vec<TcpListener>> {
        match endpoint {
            Endpoint::Inherited(name) => self.sockets.take(name).map_err(Failure::while_doing(key)),
            Endpoint::Address(address) => {
                let listener =
                    TcpListener::bind(address).map_err(|error| cannot_bind(key, *address, &error))?;
                Ok(vec![listener])
            }
        }
    }

    fn spawn(&mut self, listener: impl Future<Output = ()> + Send + 'static) {
        self.listeners.push(tokio::spawn(listener));
    }
}

fn cannot_bind(key: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    let failure = Failure::error(format_args!("{key}: cannot listen on {address}: {error}"));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => failure.hint("another process has this port: stop it or choose another"),
        std::io::ErrorKind::PermissionDenied => failure.hint(
            "ports below 1024 need systemd's socket (\"fd:device\", see systemd/certgate.socket) or CAP_NET_BIND_SERVICE",
        ),
        _ => failure,
    }
}

fn address(listener: &TcpListener) -> Outcome<SocketAddr> {
    listener.local_addr().map_err(Failure::error)
}

/// Hands a listener over to the runtime.
fn registered(listener: TcpListener) -> Outcome<tokio::net::TcpListener> {
    listener.set_nonblocking(true).map_err(Failure::error)?;
    tokio::net::TcpListener::from_std(listener).map_err(Failure::error)
}

/// Runs the gateway until a signal ends it.
pub fn run(settings: &Settings) -> Outcome {
    let metrics = Metrics::start().map_err(Failure::error)?;
    let server = Server::start(settings, &mut Sockets::from_environment(), &metrics)?;
    let addresses = server.addresses();
    let list =
        |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        device = list(&addresses.device),
        admin = list(&addresses.admin),
        ops = list(&addresses.ops),
        socket = %addresses.socket.display(),
        "serving"
    );
    systemd::ready(&format!("serving devices on {}", list(&addresses.device)));
    let waited = server.wait_for_end();
    server.stop();
    waited
}
