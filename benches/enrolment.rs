//! Durable SCEP enrolment over HTTP, as a ratio to the cryptographic limit of this machine, measured in the same run.
//!
//! The limit is what all cores do of three RSA-2048 private operations, two verifications and one encryption per enrolment, with nothing
//! around them; it is measured before and after each load. The load shares the cores with the server: what of the CPU it takes itself is
//! printed too, and so is what share of the server's own the cryptography is.
//!
//! `cargo bench --bench enrolment` measures certgate; `cargo bench --bench enrolment -- --against URL --challenge-file FILE`
//! drives the same load against another SCEP server (see `benches/micromdm`). `--connections N` measures that many alone,
//! `--workers N` gives the server other than its usual number of threads for enrolments. `-- --traces` measures what the trace of each
//! request costs: servers with and without it take turns in the same run.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "../conformance/process/mod.rs"]
mod process;

mod load;

use std::{net::SocketAddr, time::Duration};

use certgate::types::Secret;
use load::{
    closed_loop, cores, cpu_time, cryptography, enrolment_requests, is_success, rate_on_all_cores,
    results::{Results, Row},
};
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
        _ => {
            let connections = connections.unwrap_or_else(|| vec![1, 4, 32, 64]);
            let workers = option("--workers").map(|number| format!("[limits]\nworkers = {number}\n"));
            certgate(enrolments, &connections, &format!("{}{PROFILE}", workers.unwrap_or_default()));
        }
    }
}

/// Drives the load against a server that somebody else started: `http://ADDRESS:PORT/PATH`.
fn against(url: &str, challenge: &Secret, enrolments: usize, connections: &[usize]) {
    let rest = url.strip_prefix("http://").expect("an http:// URL");
    let (address, path) = rest.split_once('/').expect("a URL with a path");
    let address: SocketAddr = address.parse().expect("an address and port");
    let results = Results::of("enrolment");
    for &connections in connections {
        let requests = enrolment_requests(enrolments, address, &format!("/{path}"), challenge);
        let report = closed_loop(address, connections, &requests, is_success);
        println!("{connections:3} connections: {report}");
        add(&results, connections, &report, None);
    }
}

fn certgate(enrolments: usize, connections: &[usize], configuration: &str) {
    println!(
        "limit: 3 private RSA-2048 operations, 2 verifications, 1 encryption for each enrolment, on {} cores",
        cores()
    );
    let server = started(configuration);
    let challenge = Secret::from(CHALLENGE);
    let results = Results::of("enrolment");
    for &connections in connections {
        let requests = enrolment_requests(enrolments, server.device_address(), "/scep/bench", &challenge);
        let before = cryptographic_limit();
        let used = || [cpu_time(server.process_id()), cpu_time(std::process::id())];
        let [server_used, load_used] = used();
        let report = closed_loop(server.device_address(), connections, &requests, is_success);
        let each = |now: Duration, then| now.saturating_sub(then).as_secs_f64() * 1e3 / enrolments as f64;
        let [server_now, load_now] = used();
        let (of_server, of_load) = (each(server_now, server_used), each(load_now, load_used));
        let limit = f64::midpoint(before, cryptographic_limit());
        let cryptography = cores() as f64 * 1e3 / limit;
        println!(
            "{connections:3} connections: {report}   {:3.0} % of the limit of {limit:.0}/s   CPU for each: server {of_server:.3} ms \
             ({:.0} % cryptography), load {of_load:.3} ms",
            report.rate() / limit * 100.0,
            cryptography / of_server * 100.0
        );
        add(&results, connections, &report, Some(limit));
    }
}

fn add(results: &Results, connections: usize, report: &load::Report, limit: Option<f64>) {
    results.add(&Row {
        name: &format!("SCEP enrolment, {connections} connections"),
        value: report.rate(),
        unit: "enrolments/s",
        limit: limit.map(|limit| (limit, "its cryptography alone", 0.8)),
    });
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
            let address = server.device_address();
            let requests = enrolment_requests(enrolments, address, "/scep/bench", &challenge);
            let report = closed_loop(address, connections, &requests, is_success);
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

fn cryptographic_limit() -> f64 {
    rate_on_all_cores(Duration::from_secs(2), cryptography())
}
