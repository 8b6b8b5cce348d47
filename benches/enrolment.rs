//! Durable SCEP enrolment over HTTP, as a ratio to the cryptographic limit of this machine, measured in the same run.
//!
//! The limit is what all cores do of three RSA-2048 private operations, two verifications and one encryption per enrolment, with nothing
//! around them. The load shares the cores with the server.
//!
//! `cargo bench --bench enrolment` measures certgate; `cargo bench --bench enrolment -- --against URL --challenge-file FILE`
//! drives the same load against another SCEP server (see `benches/micromdm`). `--connections N` measures that many alone. `-- --traces` measures
//! what the trace of each request costs: servers with and without it take turns in the same run.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "../conformance/process/mod.rs"]
mod process;

mod load;

use std::{net::SocketAddr, time::Duration};

use certgate::types::Secret;
use load::{closed_loop, cores, cryptography, enrolment_requests, is_success, rate_on_all_cores};
use process::Server;

/// How many enrolments each load has, unless `--enrolments` says otherwise.
const ENROLMENTS: usize = 6_000;

const PROFILE: &str = r#"
[profile.bench]
subject = "CN=$DEVICE_ID$"
match = "claim"
challenge = ["static"]
allow-unregistered = true
static-challenge-files = ["bench.challenge"]
"#;

/// The same without traces.
const NO_TRACES: &str = "[scep]\ntrace-days = 0\ntranscript-days = 0\n";

/// Turns of each of the two servers.
const TURNS: usize = 4;

const CHALLENGE: &str = "bench-challenge-0123456789";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    let enrolments = option("--enrolments").map_or(ENROLMENTS, |text| text.parse().expect("a number"));
    let connections = option("--connections").map(|text| vec![text.parse().expect("a number")]);
    match (option("--against"), option("--challenge-file")) {
        (Some(url), Some(file)) => {
            let challenge = std::fs::read_to_string(file).expect("the challenge file can be read");
            let connections = connections.unwrap_or_else(|| vec![1, 4, 32]);
            against(url, &Secret::from(challenge.trim_end()), enrolments, &connections);
        }
        _ if arguments.iter().any(|argument| argument == "--traces") => {
            traces(enrolments, connections.unwrap_or_else(|| vec![32])[0]);
        }
        _ => certgate(enrolments, &connections.unwrap_or_else(|| vec![1, 4, 32, 64])),
    }
}

/// Drives the load against a server that somebody else started: `http://ADDRESS:PORT/PATH`.
fn against(url: &str, challenge: &Secret, enrolments: usize, connections: &[usize]) {
    let rest = url.strip_prefix("http://").expect("an http:// URL");
    let (address, path) = rest.split_once('/').expect("a URL with a path");
    let address: SocketAddr = address.parse().expect("an address and port");
    for &connections in connections {
        let report = run(address, &format!("/{path}"), challenge, connections, enrolments);
        println!("{connections:3} connections: {report}");
    }
}

fn certgate(enrolments: usize, connections: &[usize]) {
    let limit = cryptographic_limit();
    println!(
        "limit: {limit:.0}/s (3 private RSA-2048 operations, 2 verifications, 1 encryption, on {} cores)",
        cores()
    );

    let server = started(PROFILE);
    let challenge = Secret::from(CHALLENGE);
    for &connections in connections {
        let report = run(server.device_address(), "/scep/bench", &challenge, connections, enrolments);
        println!(
            "{connections:3} connections: {report}   {:3.0} % of the limit",
            report.rate() / limit * 100.0
        );
    }
}

fn started(configuration: &str) -> Server {
    let mut server = Server::initialise(&["--key", "rsa-2048", "--issuing-key", "rsa-2048"], configuration);
    server.write_secret("bench.challenge", CHALLENGE);
    server.start();
    server
}

/// The rate with traces as a share of that without, each the median of its turns.
fn traces(enrolments: usize, connections: usize) {
    let servers = [started(PROFILE), started(&format!("{NO_TRACES}{PROFILE}"))];
    let challenge = Secret::from(CHALLENGE);
    let mut rates = [Vec::new(), Vec::new()];
    for turn in 1..=TURNS {
        for ((server, rates), traces) in servers.iter().zip(&mut rates).zip(["with", "without"]) {
            let report = run(server.device_address(), "/scep/bench", &challenge, connections, enrolments);
            println!("turn {turn}, {traces:>7} traces: {report}");
            rates.push(report.rate());
        }
    }
    let [with, without] = rates.map(median);
    println!("with traces: {:.1} % of the rate without (at least 95 %)", with / without * 100.0);
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    f64::midpoint(rates[middle - 1], rates[middle])
}

fn run(
    address: SocketAddr,
    path: &str,
    challenge: &Secret,
    connections: usize,
    enrolments: usize,
) -> load::Report {
    let requests = enrolment_requests(enrolments, address, path, challenge);
    closed_loop(address, connections, &requests, is_success)
}

fn cryptographic_limit() -> f64 {
    rate_on_all_cores(Duration::from_secs(4), cryptography())
}
