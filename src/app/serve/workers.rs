//! What runs beside the listeners: the worker that does what is due, the TLS certificate's renewal, metrics upkeep, the watchdog.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{sync::watch, time};

use crate::{
    adapters::{
        keys::tls::{CertificateResolver, certified_key},
        system::SystemClock,
    },
    app::{
        failure::{Failure, Outcome},
        systemd,
        telemetry::Metrics,
    },
    http::bridge::{Bridge, BridgeError},
    ports::{Clock, Signer},
    service::Gateway,
    types::DirectoryName,
};

/// Between two writes of traces: a flood of requests is one commit in this time.
const TRACE_PERIOD: Duration = Duration::from_millis(500);

/// After a round that failed.
const RETRY: Duration = Duration::from_secs(5);

/// How often the TLS certificate is looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(60);

/// How often histograms are folded.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

/// A worker that has not come round for this long is stuck: rounds wait for at most a minute, and a CRL of a million entries takes seconds.
const STUCK: Duration = Duration::from_secs(600);

/// DER certificates, the server's own first.
type Chain = Vec<Vec<u8>>;

/// When the worker last came round, by the clock that nobody sets: one that jumps says nothing of the worker.
#[derive(Debug)]
pub(super) struct Heartbeat(AtomicU64);

impl Heartbeat {
    fn new(clock: &dyn Clock) -> Self {
        Self(AtomicU64::new(clock.elapsed().as_secs()))
    }

    fn beat(&self, clock: &dyn Clock) {
        self.0.store(clock.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn is_stuck(&self, clock: &dyn Clock) -> bool {
        let last = Duration::from_secs(self.0.load(Ordering::Relaxed));
        clock.elapsed().saturating_sub(last) >= STUCK
    }
}

/// The certificate of the HTTPS listener, exchanged while connections come in.
pub(super) struct ServerCertificate {
    resolver: Arc<CertificateResolver>,
    chain: Mutex<Chain>,
}

impl ServerCertificate {
    /// Loads the newest.
    pub(super) fn load(gateway: &Gateway) -> Outcome<Self> {
        let (chain, signer) = newest(gateway)?;
        let key = certified_key(chain.clone(), signer).map_err(Failure::error)?;
        Ok(Self { resolver: Arc::new(CertificateResolver::new(key)), chain: Mutex::new(chain) })
    }

    /// For the listener.
    pub(super) fn server_config(&self) -> Outcome<Arc<ServerConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::while_doing("TLS"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.resolver) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Takes over a renewed certificate.
    fn refresh(&self, gateway: &Gateway) -> Outcome {
        let (chain, signer) = newest(gateway)?;
        let mut served = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        if *served != chain {
            self.resolver.replace(certified_key(chain.clone(), signer).map_err(Failure::error)?);
            *served = chain;
            tracing::info!("the HTTPS listener serves its renewed certificate");
        }
        Ok(())
    }
}

fn newest(gateway: &Gateway) -> Outcome<(Chain, Arc<dyn Signer>)> {
    gateway.server_tls().map_err(Failure::while_doing("the TLS certificate"))
}

/// The thread that does what time brings.
pub(super) struct Worker {
    gateway: Arc<Gateway>,
    ended: Arc<AtomicBool>,
    heartbeat: Arc<Heartbeat>,
    thread: thread::JoinHandle<()>,
    writer: thread::JoinHandle<()>,
    signer: thread::JoinHandle<()>,
}

impl Worker {
    /// Starts it.
    pub(super) fn start(gateway: Arc<Gateway>, certificate: ServerCertificate) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let heartbeat = Arc::new(Heartbeat::new(&SystemClock));
        let rounds = Rounds {
            gateway: Arc::clone(&gateway),
            certificate,
            ended: Arc::clone(&ended),
            heartbeat: Arc::clone(&heartbeat),
        };
        let thread = thread::Builder::new().name("worker".to_owned()).spawn(move || rounds.run())?;
        let (traced, end) = (Arc::clone(&gateway), Arc::clone(&ended));
        let writer =
            thread::Builder::new().name("traces".to_owned()).spawn(move || write_traces(&traced, &end))?;
        let (signing, end) = (Arc::clone(&gateway), Arc::clone(&ended));
        let signer = thread::Builder::new()
            .name("ocsp-refresh".to_owned())
            .spawn(move || refresh_ocsp(&signing, &end))?;
        Ok(Self { gateway, ended, heartbeat, thread, writer, signer })
    }

    /// For the watchdog.
    pub(super) fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }

    /// Lets it finish its round.
    pub(super) fn stop(self) {
        self.ended.store(true, Ordering::Release);
        self.gateway.wake();
        self.gateway.close_traces();
        if self.thread.join().is_err() {
            tracing::error!("the worker had panicked");
        }
        if self.signer.join().is_err() {
            tracing::error!("the thread that signs OCSP answers ahead had panicked");
        }
        if self.writer.join().is_err() {
            tracing::error!("the writer of traces had panicked");
        }
        self.gateway.checkpoint();
    }
}

/// Writes what waits, at a pace, until the end, and what is left then.
fn write_traces(gateway: &Gateway, ended: &AtomicBool) {
    loop {
        let last = ended.load(Ordering::Acquire);
        if let Err(error) = gateway.write_traces() {
            tracing::error!(%error, "traces could not be written; it will be tried again");
        }
        if last {
            return;
        }
        gateway.wait_for_traces(TRACE_PERIOD);
    }
}

/// Signs OCSP answers before they are asked for, until the end.
fn refresh_ocsp(gateway: &Gateway, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        let pause = gateway.run_ocsp();
        if !pause.is_zero() {
            gateway.wait_for_ocsp(pause);
        }
    }
}

/// The thread that waits for other parties; there is none where nobody is asked.
pub(super) struct OutsideWorker {
    gateway: Arc<Gateway>,
    ended: Arc<AtomicBool>,
}

impl OutsideWorker {
    /// Starts it.
    pub(super) fn start(gateway: Arc<Gateway>) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let worker = Self { gateway, ended };
        if worker.gateway.asks_others() {
            let (gateway, ended) = (Arc::clone(&worker.gateway), Arc::clone(&worker.ended));
            let rounds = move || outside_rounds(&gateway, &ended);
            thread::Builder::new().name("outside".to_owned()).spawn(rounds)?;
        }
        Ok(worker)
    }

    /// Ends it, without waiting for an answer that another party owes: what is cut off is a job that comes again.
    pub(super) fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.gateway.wake();
    }
}

fn outside_rounds(gateway: &Gateway, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        let pause = gateway.run_outside().unwrap_or_else(|error| {
            tracing::error!(%error, "what other parties are to be asked could not be done");
            RETRY
        });
        if !ended.load(Ordering::Acquire) {
            gateway.wait_outside(pause);
        }
    }
}

/// The threads that wait for directory servers: one for each.
pub(super) struct DirectoryWorkers {
    gateway: Arc<Gateway>,
    ended: Arc<AtomicBool>,
}

impl DirectoryWorkers {
    /// Starts them.
    pub(super) fn start(gateway: &Arc<Gateway>) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        for name in gateway.directories() {
            let (gateway, ended, name) = (Arc::clone(gateway), Arc::clone(&ended), name.clone());
            let rounds = move || directory_rounds(&gateway, &name, &ended);
            thread::Builder::new().name("directory".to_owned()).spawn(rounds)?;
        }
        Ok(Self { gateway: Arc::clone(gateway), ended })
    }

    /// Ends them, without waiting for what a directory owes: what is cut off is a job that comes again.
    pub(super) fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.gateway.wake();
    }
}

fn directory_rounds(gateway: &Gateway, name: &DirectoryName, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        let pause = gateway.run_directory(name).unwrap_or_else(|error| {
            tracing::error!(directory = %name, %error, "nothing could be done for the directory");
            RETRY
        });
        if !ended.load(Ordering::Acquire) {
            gateway.wait_for_directory(name, pause);
        }
    }
}

struct Rounds {
    gateway: Arc<Gateway>,
    certificate: ServerCertificate,
    ended: Arc<AtomicBool>,
    heartbeat: Arc<Heartbeat>,
}

impl Rounds {
    fn run(self) {
        let mut looked_at = SystemClock.now();
        while !self.ended.load(Ordering::Acquire) {
            let pause = self.gateway.run_due().unwrap_or_else(|error| {
                tracing::error!(%error, "what is due could not be done");
                RETRY
            });
            self.heartbeat.beat(&SystemClock);
            let now = SystemClock.now();
            // A clock that was set back must not stop this.
            if now.since(looked_at) >= CERTIFICATE_PERIOD || now < looked_at {
                looked_at = now;
                if let Err(failure) = self.certificate.refresh(&self.gateway) {
                    tracing::error!(%failure, "the HTTPS listener keeps its certificate");
                }
            }
            if !self.ended.load(Ordering::Acquire) {
                self.gateway.wait_for_work(pause);
            }
        }
    }
}

/// Folds histograms, so that metrics nobody reads cost no memory.
pub(super) async fn upkeep(metrics: Metrics, mut ended: watch::Receiver<bool>) {
    let mut ticks = time::interval(UPKEEP_PERIOD);
    loop {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            _ = ticks.tick() => metrics.upkeep(),
        }
    }
}

/// Tells the service manager that the process works, while it does: threads take work and the worker comes round.
pub(super) async fn watchdog(
    interval: Duration,
    bridge: Arc<Bridge>,
    heartbeat: Arc<Heartbeat>,
    mut ended: watch::Receiver<bool>,
) {
    let mut ticks = time::interval(interval);
    loop {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return,
            _ = ticks.tick() => {}
        }
        // Shed means busy, not broken.
        let works =
            matches!(time::timeout(interval, bridge.call(|| ())).await, Ok(Ok(()) | Err(BridgeError::Shed)));
        if works && !heartbeat.is_stuck(&SystemClock) {
            systemd::alive();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    /// What the wall says, and what has passed.
    struct Clocks(u64, u64);

    impl Clock for Clocks {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix(self.0)
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.1)
        }
    }

    #[test]
    fn a_worker_is_stuck_when_time_has_passed_and_not_when_a_clock_was_set() {
        const YEAR: u64 = 31_557_600;
        let heartbeat = Heartbeat::new(&Clocks(YEAR, 0));
        assert!(!heartbeat.is_stuck(&Clocks(2 * YEAR, 30)), "it was set ahead");
        assert!(heartbeat.is_stuck(&Clocks(YEAR / 2, STUCK.as_secs())), "it was set back");
        heartbeat.beat(&Clocks(YEAR, STUCK.as_secs()));
        assert!(!heartbeat.is_stuck(&Clocks(YEAR, STUCK.as_secs() + 1)));
    }
}
