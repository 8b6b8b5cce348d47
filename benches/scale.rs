//! What a large store costs:
//!
//! - the start after SIGKILL, with `--issued` certificates of which `--revoked` are revoked, until `/readyz` says so: against the 2
//!   seconds of the budget, and against the same start on an empty store;
//! - memory per revoked entry of the status snapshot: what the process has more of than without any;
//! - looking up whether a certificate was issued, and the certificate itself, among `--issued` and among a hundredth of them: p50 and
//!   p99, and their ratios.
//!
//! Look-ups have the page cache that `limits.store-cache-megabytes` is documented to need.
//!
//! `cargo bench --bench scale` has a million of each; `-- --issued 10000000 --revoked 1000000` is the budget's size and takes some
//! 15 GB of disk and half an hour; `-- --issued 20000 --revoked 20000` is a quick look.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench prints, and stops where it cannot go on"
)]
#![allow(clippy::cast_precision_loss, reason = "rates are for people")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../conformance/process/mod.rs"]
mod process;

#[path = "load/filled.rs"]
#[allow(unreachable_pub, reason = "a part of the loads that other benches share")]
mod filled;
#[path = "load/results.rs"]
#[allow(unreachable_pub, reason = "a part of the loads that other benches share")]
mod results;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use certgate::{
    adapters::{
        keys::{KekSource, SoftwareKeyring},
        store::{DEFAULT_CACHE_BYTES, RedbStore},
        system::{SystemClock, SystemRandomSource},
    },
    ports::{Directories, NoCheckpoint, NoCrls, NoOutbound, Store, Vouchers},
    service::{Gateway, GatewaySettings, Ports},
    types::Fingerprint,
};
use filled::{fill, id};
use process::Server;
use results::{Results, Row, number};

/// As long as a P-256 leaf with the usual extensions.
const DER: [u8; 640] = [0x30; 640];
/// Look-ups of each kind.
const LOOKUPS: u64 = 200_000;
/// Page cache while memory is measured, so that it does not count.
const SMALL_CACHE: usize = 4 * 1024 * 1024;
/// Page cache for look-ups where it is more than the default: what `limits.store-cache-megabytes` is documented to need.
const CACHE_PER_CERTIFICATE: u64 = 107;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--memory-of") {
        return memory(Path::new(arguments.get(at + 1).expect("a directory")));
    }
    let issued = number("--issued").unwrap_or(1_000_000);
    let revoked = number("--revoked").unwrap_or(1_000_000).min(issued);
    println!("{issued} certificates, {revoked} of them revoked");
    let empty = Server::initialise(&["--key", "p-256"], "");
    let mut large = Server::initialise(&["--key", "p-256"], "");
    let began = Instant::now();
    fill(&store_of(&large), issued, revoked, &DER);
    println!("filled in {:.0} s, {} MB", began.elapsed().as_secs_f64(), megabytes(&large));
    let results = Results::of("scale");
    start_after_kill(empty, &mut large, issued, &results);
    // In a process of its own: this one has had memory that it would use again.
    let this = std::env::current_exe().expect("this program");
    let ended = Command::new(this).arg("--memory-of").arg(large.data()).status().expect("it starts");
    assert!(ended.success(), "{ended}");
    lookups(&large, issued, &results);
}

fn store_of(server: &Server) -> std::path::PathBuf {
    server.data().join("certgate.redb")
}

fn megabytes(server: &Server) -> u64 {
    fs::metadata(store_of(server)).unwrap().len() / 1_000_000
}

/// From the start of the process to `/readyz`.
fn started(server: &mut Server) -> Duration {
    let began = Instant::now();
    server.start();
    began.elapsed()
}

fn start_after_kill(mut empty: Server, large: &mut Server, issued: u64, results: &Results) {
    // The first start publishes a CRL, which is no part of the others.
    let first = started(large);
    let mut times: Vec<_> = (0..3)
        .map(|_| {
            large.kill();
            started(large)
        })
        .collect();
    times.sort();
    large.kill();
    started(&mut empty);
    empty.kill();
    let limit = started(&mut empty);
    empty.kill();
    let median = times[1];
    println!(
        "start after SIGKILL: {median:.2?} (first, with a CRL to build: {first:.2?}); an empty store: {limit:.2?}, {:.1} x; of the budget's 2 s: {:.0} %",
        median.as_secs_f64() / limit.as_secs_f64(),
        100.0 * median.as_secs_f64() / 2.0
    );
    results.add(&Row {
        name: &format!("start after SIGKILL, {issued} certificates"),
        value: median.as_secs_f64(),
        unit: "s",
        limit: Some((2.0, "the budget of two seconds", 1.0)),
    });
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn ports(data: &Path, store: RedbStore) -> Ports {
    let kek = KekSource::File(data.join("kek.key")).open(data).expect("the key");
    Ports {
        store: Arc::new(store),
        keyring: Arc::new(SoftwareKeyring::new(kek)),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandomSource::default()),
        outbound: Arc::new(NoOutbound),
        vouchers: Vouchers::default(),
        checkpoint: Arc::new(NoCheckpoint),
        crls: Arc::new(NoCrls),
        directories: Directories::default(),
    }
}

/// The published CRLs are in memory too, and are taken off.
fn memory(data: &Path) {
    let store = RedbStore::open_with_cache(&data.join("certgate.redb"), SMALL_CACHE).expect("it opens");
    let ports = ports(data, store);
    let before = resident();
    let began = Instant::now();
    let gateway = Gateway::open(ports, GatewaySettings::default(), &[]).expect("it opens");
    let opened = began.elapsed();
    let grown = resident().saturating_sub(before);
    let authorities = gateway.authorities();
    let crls: Vec<_> = authorities.issuers().filter_map(|it| gateway.crl(&it.issuer.id)).collect();
    let bytes: u64 = crls.iter().map(|crl| crl.der.len() as u64).sum();
    let entries = crls.iter().map(|crl| crl.entries).sum::<u64>().max(1);
    println!(
        "memory: {:.0} bytes per revoked entry ({} MB, beside {} MB of published CRLs); a CRL's entry has {:.0} bytes; opened in {opened:.2?}",
        grown.saturating_sub(bytes) as f64 / entries as f64,
        grown.saturating_sub(bytes) / 1_000_000,
        bytes / 1_000_000,
        bytes as f64 / entries as f64
    );
}

/// p50 and p99.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [50, 99].map(|percent| times[(times.len() - 1) * percent / 100])
}

/// Looks up those that exist and those that never did, in turns.
fn looked_up(store: &dyn Store, issued: u64, whole: bool) -> [Duration; 2] {
    let pick = |turn: u64| {
        let random =
            u64::from_be_bytes(*Fingerprint::of(&turn.to_le_bytes()).as_bytes().first_chunk().unwrap());
        if turn.is_multiple_of(2) { random % issued } else { issued + random % issued }
    };
    let look = |turn: u64| {
        let id = id(pick(turn));
        let began = Instant::now();
        let found = store.read(|view| {
            if whole {
                Ok::<_, certgate::ports::StoreError>(view.certificate(&id)?.is_some())
            } else {
                view.not_after(&id).map(|it| it.is_some())
            }
        });
        let took = began.elapsed();
        assert_eq!(found, Ok(turn.is_multiple_of(2)));
        took
    };
    // As in a process that has been asked for a while: each page of the index has been read some times.
    let warm = (issued / 10).max(LOOKUPS / 2);
    for turn in 0..warm {
        let _ = look(turn);
    }
    percentiles((warm..warm + LOOKUPS).map(look).collect())
}

fn lookups(large: &Server, issued: u64, results: &Results) {
    let few = (issued / 100).max(1_000);
    let folder = tempfile::tempdir().expect("a place");
    let path = folder.path().join("few.redb");
    fill(&path, few, 0, &DER);
    let cache = DEFAULT_CACHE_BYTES.max(usize::try_from(issued * CACHE_PER_CERTIFICATE).expect("64 bits"));
    let open = |path: &Path| RedbStore::open_with_cache(path, cache).expect("the store opens");
    let (few_store, many_store) = (open(&path), open(&store_of(large)));
    println!("page cache of {} MB", cache >> 20);
    for (what, whole) in [("whether one was issued", false), ("look-up of a certificate", true)] {
        let few_times = looked_up(&few_store, few, whole);
        let many_times = looked_up(&many_store, issued, whole);
        for (name, few_time, many_time) in
            [("p50", few_times[0], many_times[0]), ("p99", few_times[1], many_times[1])]
        {
            println!(
                "{what}, {name}: {few_time:.1?} among {few}, {many_time:.1?} among {issued}: {:.1} x",
                many_time.as_secs_f64() / few_time.as_secs_f64()
            );
            if name == "p99" {
                results.add(&Row {
                    name: &format!("{what}, among {issued}, p99"),
                    value: many_time.as_secs_f64() * 1e3,
                    unit: "ms",
                    limit: Some((few_time.as_secs_f64() * 1e3, "the same among a hundredth of them", 2.0)),
                });
            }
        }
    }
}
