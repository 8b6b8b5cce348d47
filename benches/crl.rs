//! A CRL of `--revoked` entries:
//!
//! - from the request of one more revocation to the CRL that lists it, on the device listener, against the least that it takes: copying
//!   the CRL's bytes into a buffer, their SHA-256, and one signature;
//! - how much more memory the server has at most while it makes, publishes and stores it than before, against the CRL's size.
//!
//! The server is the product as it is, but that it waits for no further revocations (`crl.debounce-seconds = 0`). Each of `--turns` turns has
//! its own limit; the medians count. `cargo bench --bench crl` has a million entries; `-- --revoked 20000 --turns 3` is a quick look.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench prints, and stops where it cannot go on"
)]
#![allow(clippy::cast_precision_loss, reason = "ratios are for people")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "load/filled.rs"]
#[allow(unreachable_pub, reason = "a part of the loads that other benches share")]
mod filled;
mod load;
#[path = "../conformance/process/mod.rs"]
mod process;

use std::{
    collections::BTreeSet,
    fs,
    hint::black_box,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use certgate::{
    adapters::keys::software::{SoftwareSigner, generate_pkcs8},
    ports::Signer,
    types::{DigestAlgorithm, KeyAlgorithm, SignatureAlgorithm, sha256},
    wire::{crl::Crl, x509::Certificate},
};
use filled::{fill, serial};
use load::{
    Device, median,
    results::{Results, Row, number},
    revoke,
};
use process::{Server, http_get};

/// The full CRL.
const PATH: &str = "/crl/issuing.crl";
const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256);
/// Bytes that the limit copies at a time: what lies side by side in memory in any store of revocations.
const PIECE: usize = 64 * 1024;

fn main() {
    let revoked = number("--revoked").unwrap_or(1_000_000);
    let turns = number("--turns").unwrap_or(7);
    let mut server = Server::initialise(&["--key", "rsa-2048"], "[crl]\ndebounce-seconds = 0\n");
    let began = Instant::now();
    // One more than the turns: the first fills the store's page cache, and is not counted.
    let der = Device::new().certificate.as_der().to_vec();
    fill(&server.data().join("certgate.redb"), revoked + turns + 1, revoked, &der);
    println!("{revoked} certificates revoked, filled in {:.0} s", began.elapsed().as_secs_f64());
    server.start();
    let listed = published(&server);
    assert_eq!(listed.entries().len() as u64, revoked);
    let key = SoftwareSigner::from_pkcs8(generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap().expose()).unwrap();
    turn(&server, revoked);
    let turns: Vec<_> = (revoked + 1..=revoked + turns)
        .map(|number| (turn(&server, number), limit(&key, listed.as_der())))
        .collect();
    check(&server, revoked + turns.len() as u64 + 1);
    report(revoked, listed.as_der().len(), &turns);
}

/// What one revocation took.
struct Turn {
    /// Until the OCSP answer said so: when the request returned.
    acknowledged: Duration,
    /// Until the CRL did.
    published: Duration,
    /// Bytes that the server had more at its highest than before.
    memory: u64,
}

fn turn(server: &Server, number: u64) -> Turn {
    settle(server);
    let before = entity_tag(server.device_address());
    let resident = reset_peak(server);
    let start = Instant::now();
    revoke(&server.data(), &serial(number));
    let acknowledged = start.elapsed();
    while entity_tag(server.device_address()) == before {
        thread::sleep(Duration::from_micros(500));
    }
    let published = start.elapsed();
    settle(server);
    Turn { acknowledged, published, memory: status(server, "VmHWM:").saturating_sub(resident) }
}

/// Waits until the server has nothing left to do.
fn settle(server: &Server) {
    while server.json(&["queue", "jobs"])["items"].as_array().is_none_or(|jobs| !jobs.is_empty()) {
        thread::sleep(Duration::from_millis(50));
    }
}

/// Makes the highest size of the server the present one, which it gives.
fn reset_peak(server: &Server) -> u64 {
    fs::write(format!("/proc/{}/clear_refs", server.process_id()), "5").expect("Linux, and our own process");
    status(server, "VmRSS:")
}

/// A size from the server's status, in bytes.
fn status(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("Linux");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What tells one CRL from another, without fetching it.
fn entity_tag(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(format!("HEAD {PATH} HTTP/1.0\r\n\r\n").as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    let tag = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("etag:"));
    tag.expect("an entity tag").to_owned()
}

fn published(server: &Server) -> Crl {
    let answer = http_get(server.device_address(), PATH).expect("the server answers");
    Crl::from_der(&answer.body).expect("a CRL")
}

/// The CRL after all of it is a good one that lists every one of them.
fn check(server: &Server, revoked: u64) {
    let crl = published(server);
    let ca = http_get(server.device_address(), "/ca/issuing.cer").expect("the server answers");
    crl.verify(&Certificate::from_der(&ca.body).expect("a certificate")).expect("signed by the CA");
    let listed: BTreeSet<_> = crl.entries().iter().map(|entry| &entry.serial).collect();
    assert_eq!(listed.len() as u64, revoked);
    assert!((0..revoked).all(|number| listed.contains(&serial(number))));
}

/// The least that a CRL of these bytes takes: a new buffer of them, their digest, and a signature of that.
fn limit(key: &SoftwareSigner, crl: &[u8]) -> Duration {
    let start = Instant::now();
    let mut buffer = Vec::with_capacity(crl.len());
    for piece in crl.chunks(PIECE) {
        buffer.extend_from_slice(black_box(piece));
    }
    black_box(key.sign(ALGORITHM, &sha256(&buffer)).expect("signs"));
    start.elapsed()
}

fn report(revoked: u64, size: usize, turns: &[(Turn, Duration)]) {
    let seconds = |of: fn(&(Turn, Duration)) -> Duration| median(turns.iter().map(|it| of(it).as_secs_f64()));
    let published = seconds(|(turn, _)| turn.published);
    let acknowledged = seconds(|(turn, _)| turn.acknowledged);
    let limit = seconds(|(_, limit)| *limit);
    let ratio = median(turns.iter().map(|(turn, limit)| turn.published.as_secs_f64() / limit.as_secs_f64()));
    let worst = turns.iter().map(|(turn, limit)| turn.published.as_secs_f64() / limit.as_secs_f64());
    println!(
        "{} MB of CRL, revocation requested to CRL published: {:.1} ms (acknowledged after {:.1} ms); the bytes, their SHA-256 and a signature \
         {:.1} ms: {ratio:.2} x, at most {:.2} x",
        size / 1_000_000,
        published * 1e3,
        acknowledged * 1e3,
        limit * 1e3,
        worst.fold(0.0, f64::max)
    );
    let memory = median(turns.iter().map(|(turn, _)| turn.memory as f64));
    let size = size as f64;
    println!("memory while it is made and stored: {:.1} MB, {:.2} x the CRL", memory / 1e6, memory / size);
    let results = Results::of("crl");
    results.add(&Row {
        name: &format!("revoked to CRL published, {revoked} entries"),
        value: published * 1e3,
        unit: "ms",
        limit: Some((limit * 1e3, "the bytes, SHA-256, a signature", 2.0)),
    });
    results.add(&Row {
        name: &format!("memory for a CRL, {revoked} entries"),
        value: memory / 1e6,
        unit: "MB",
        limit: Some((size / 1e6, "the CRL itself", 1.5)),
    });
}
