//! OCSP over HTTP, as ratios to limits that are measured in the same run:
//!
//! - cached GET and POST over keep-alive, against hyper answering the same bytes from a constant: this program again, with
//!   `--constant FILE`, on the same kind of runtime;
//! - the same with a connection for each request;
//! - with a nonce, so that every answer is signed: against 1 / (1/sign + 1/http);
//! - the slowest answers during an enrolment storm, against those of an idle server;
//! - from a revocation's request to OCSP's answer "revoked", against one durable commit and one signature.
//!
//! `-- --workers N` gives the server other than its usual number of threads for enrolments.
//!
//! The load shares the cores with the server, so that the server's CPU time per request is printed too: it is the sharper ratio.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]
#![allow(clippy::cast_precision_loss, reason = "rates are for people")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../conformance/process/mod.rs"]
mod process;

mod load;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use certgate::{
    adapters::{
        keys::software::{SoftwareSigner, generate_pkcs8},
        store::RedbStore,
    },
    domain::{access::Actor, audit::AuditFact},
    ports::{Signer, Store},
    types::{DigestAlgorithm, KeyAlgorithm, RequestId, Secret, SerialNumber, SignatureAlgorithm, Timestamp},
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse, SingleResponse},
        scep::Degenerate,
        x509::Certificate,
    },
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use load::{
    Report, closed_loop, cores, cpu_time, enrolment_requests, get, is_success, median, post,
    rate_on_all_cores,
    results::{Results, Row},
    revoke,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use process::{Server, http_get, http_post};

/// Certificates that are asked about.
const CERTIFICATES: usize = 200;
/// Requests per load.
const REQUESTS: usize = 60_000;
const SIGNED_REQUESTS: usize = 10_000;
/// With a connection for each: fewer, for every port rests for a while.
const LONE_REQUESTS: usize = 8_000;
const CONNECTIONS: usize = 16;
/// Turns of each server; the median counts.
const TURNS: usize = 3;
/// Enrolments of the storm.
const STORM: usize = 3_000;
const CHALLENGE: &str = "bench-challenge-0123456789";

const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256);

const PROFILE: &str = r#"
[profile.bench]
subject = "CN=$DEVICE_ID$"
match = "claim"
challenge = ["static"]
allow-unregistered = true
static-challenge-files = ["bench.challenge"]
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    if let Some(file) = option("--constant") {
        serve_constant(file);
    } else {
        let workers = option("--workers").map(|number| format!("[limits]\nworkers = {number}\n"));
        measure(&format!("{}{PROFILE}", workers.unwrap_or_default()));
    }
}

fn measure(configuration: &str) {
    let server = started(configuration);
    let subjects = Subjects::enrolled(&server);
    let constant = Constant::start(&server, &subjects);
    let results = Results::of("ocsp");
    println!("{CONNECTIONS} keep-alive connections, {} cores, shared by server and load", cores());
    compare("GET", &server, &constant, &subjects.gets(), &results);
    let http = compare("POST", &server, &constant, &subjects.posts(), &results);
    compare("GET, one connection each", &server, &constant, &subjects.lone_gets(), &results);
    with_nonce(&server, &subjects, http, &results);
    during_a_storm(&server, &subjects, &results);
    revoked(&server, &subjects, &results);
}

fn started(configuration: &str) -> Server {
    let mut server = Server::initialise(&["--key", "rsa-2048"], configuration);
    server.write_secret("bench.challenge", CHALLENGE);
    server.start();
    server
}

/// The certificates that are asked about.
struct Subjects {
    issuer: Certificate,
    serials: Vec<SerialNumber>,
}

impl Subjects {
    fn enrolled(server: &Server) -> Self {
        let address = server.device_address();
        let requests = enrolment_requests(CERTIFICATES, address, "/scep/bench", &Secret::from(CHALLENGE));
        let report = closed_loop(address, 4, &requests, is_success);
        assert_eq!(report.accepted, CERTIFICATES, "{report}");
        let bundle = http_get(address, "/scep/bench?operation=GetCACert").expect("GetCACert").body;
        let bundle = Degenerate::from_ber(&bundle).expect("a bundle").certificates;
        let listed = server.json(&["cert", "list", "--limit", "1000"]);
        let serials = listed["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|item| item["profile"] == "bench")
            .map(|item| item["serial"].as_str().and_then(|text| text.parse().ok()).expect("a serial number"))
            .collect();
        Self { issuer: bundle.into_iter().nth(1).expect("the issuing CA"), serials }
    }

    fn question(&self, number: usize, nonce: Option<&[u8]>) -> Vec<u8> {
        let serial = &self.serials[number % self.serials.len()];
        let cert_id = CertId::new(DigestAlgorithm::Sha1, &self.issuer, serial).expect("encodes");
        OcspRequest::new(vec![cert_id], nonce).to_der().expect("encodes")
    }

    fn gets(&self) -> Vec<Vec<u8>> {
        self.repeated(|number| get(&ocsp_path(&self.question(number, None))))
    }

    /// Over a connection of its own each, as RADIUS servers and load balancers ask.
    fn lone_gets(&self) -> Vec<Vec<u8>> {
        let path = |number| ocsp_path(&self.question(number, None));
        let get =
            |number| format!("GET {} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", path(number));
        (0..LONE_REQUESTS).map(|number| get(number).into_bytes()).collect()
    }

    fn posts(&self) -> Vec<Vec<u8>> {
        self.repeated(|number| ocsp_post(&self.question(number, None)))
    }

    fn repeated(&self, request: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
        let once: Vec<_> = (0..self.serials.len()).map(request).collect();
        once.iter().cycle().take(REQUESTS).cloned().collect()
    }

    /// Each with a nonce of its own.
    fn with_nonces(&self) -> Vec<Vec<u8>> {
        let nonce = |number: usize| (number as u128).to_be_bytes();
        (0..SIGNED_REQUESTS).map(|number| ocsp_post(&self.question(number, Some(&nonce(number))))).collect()
    }
}

fn ocsp_path(der: &[u8]) -> String {
    format!("/ocsp/{}", utf8_percent_encode(&STANDARD.encode(der), NON_ALPHANUMERIC))
}

fn ocsp_post(der: &[u8]) -> Vec<u8> {
    post("/ocsp", "application/ocsp-request", der)
}

/// Whether an OCSPResponse says successful: its first element is ENUMERATED 0.
fn has_status(body: &[u8]) -> bool {
    body.get(4..7) == Some(&[0x0a, 0x01, 0x00])
}

/// One load against one server, with the CPU time that a request cost the server.
fn load_on(address: SocketAddr, process: u32, requests: &[Vec<u8>]) -> (Report, Duration) {
    let before = cpu_time(process);
    let report = closed_loop(address, CONNECTIONS, requests, has_status);
    assert_eq!(report.accepted, requests.len(), "{report}");
    let used = cpu_time(process).saturating_sub(before);
    (report, used / u32::try_from(requests.len()).expect("few enough"))
}

/// Prints the ratio of cached answers to constant ones; gives the rate of the constant ones.
fn compare(what: &str, server: &Server, constant: &Constant, requests: &[Vec<u8>], results: &Results) -> f64 {
    // Fills the cache.
    closed_loop(server.device_address(), 1, &requests[..CERTIFICATES], has_status);
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        limits.push(load_on(constant.address, constant.process.id(), requests));
        ours.push(load_on(server.device_address(), server.process_id(), requests));
    }
    let rate = |turns: &[(Report, Duration)]| median(turns.iter().map(|(report, _)| report.rate()));
    let cost = |turns: &[(Report, Duration)]| median(turns.iter().map(|(_, cost)| cost.as_secs_f64() * 1e6));
    let (limit, ours_rate) = (rate(&limits), rate(&ours));
    let (limit_cost, our_cost) = (cost(&limits), cost(&ours));
    println!(
        "{what:4} cached: {ours_rate:7.0}/s, constant {limit:7.0}/s: {:3.0} %   server CPU {our_cost:5.1} us, constant {limit_cost:5.1} us: \
         {:3.0} %",
        ours_rate / limit * 100.0,
        limit_cost / our_cost * 100.0
    );
    results.add(&Row {
        name: &format!("OCSP from the cache, {what}"),
        value: ours_rate,
        unit: "answers/s",
        limit: Some((limit, "hyper with one constant answer", 0.8)),
    });
    limit
}

fn with_nonce(server: &Server, subjects: &Subjects, http: f64, results: &Results) {
    let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).expect("an RSA key can be made");
    let signer = SoftwareSigner::from_pkcs8(pkcs8.expose()).expect("a fresh key opens");
    let sign = rate_on_all_cores(Duration::from_secs(3), || {
        || {
            signer.sign(ALGORITHM, &[0x5a; 300]).expect("signs");
        }
    });
    let limit = 1.0 / (1.0 / sign + 1.0 / http);
    let requests = subjects.with_nonces();
    let rate =
        median((0..TURNS).map(|_| load_on(server.device_address(), server.process_id(), &requests).0.rate()));
    println!(
        "POST with nonce: {rate:7.0}/s, limit {limit:7.0}/s (RSA-2048 {sign:.0}/s, http {http:.0}/s): {:3.0} %",
        rate / limit * 100.0
    );
    results.add(&Row {
        name: "OCSP with a nonce",
        value: rate,
        unit: "answers/s",
        limit: Some((limit, "one RSA-2048 signature and one HTTP request", 0.85)),
    });
}

/// One client that asks as fast as it is answered, beside enrolments on 32 connections.
fn during_a_storm(server: &Server, subjects: &Subjects, results: &Results) {
    let address = server.device_address();
    let requests = subjects.gets();
    let storm = enrolment_requests(STORM, address, "/scep/bench", &Secret::from(CHALLENGE));
    let idle = closed_loop(address, 1, &requests[..REQUESTS / 4], has_status);
    let storming = std::thread::scope(|scope| {
        let storm = scope.spawn(|| closed_loop(address, 32, &storm, is_success));
        let mut reports = Vec::new();
        while !storm.is_finished() {
            reports.push(closed_loop(address, 1, &requests[..1_000], has_status));
        }
        println!("storm: {}", storm.join().expect("the load does not panic"));
        // The last one outlived the storm.
        reports.pop();
        median(reports.iter().map(|report| report.latency(0.99).as_secs_f64()))
    });
    let idle = idle.latency(0.99).as_secs_f64();
    println!(
        "p99 of cached GET: idle {:.2} ms, in the storm {:.2} ms: {:.1} x",
        idle * 1e3,
        storming * 1e3,
        storming / idle
    );
    results.add(&Row {
        name: "OCSP in an enrolment storm, p99",
        value: storming * 1e3,
        unit: "ms",
        limit: Some((idle * 1e3, "the same with nothing else to do", 3.0)),
    });
}

/// Revokes over the local socket, one after the other, and asks as gear does that had a cached `good` just before.
fn revoked(server: &Server, subjects: &Subjects, results: &Results) {
    let mut durations: Vec<Duration> = (0..CERTIFICATES)
        .map(|number| {
            let question = get(&ocsp_path(&subjects.question(number, None)));
            let ask = || closed_loop(server.device_address(), 1, std::slice::from_ref(&question), has_status);
            ask();
            let start = Instant::now();
            revoke(&server.data(), &subjects.serials[number]);
            let answer = http_get(server.device_address(), &ocsp_path(&subjects.question(number, None)));
            let took = start.elapsed();
            assert!(
                is_revoked(&answer.expect("OCSP answers").body),
                "not revoked when the call had returned"
            );
            took
        })
        .collect();
    durations.sort_unstable();
    let slowest = durations[CERTIFICATES * 99 / 100];
    let limit = commit_and_signature(server);
    println!(
        "revocation requested to OCSP revoked: p50 {:.2} ms, p99 {:.2} ms; a durable commit and a signature {:.2} ms: p99 {:.1} x",
        durations[CERTIFICATES / 2].as_secs_f64() * 1e3,
        slowest.as_secs_f64() * 1e3,
        limit.as_secs_f64() * 1e3,
        slowest.as_secs_f64() / limit.as_secs_f64()
    );
    results.add(&Row {
        name: "revoked to OCSP says so, p99",
        value: slowest.as_secs_f64() * 1e3,
        unit: "ms",
        limit: Some((limit.as_secs_f64() * 1e3, "one durable commit and one signature", 5.0)),
    });
}

fn is_revoked(response: &[u8]) -> bool {
    let Ok(OcspResponse::Successful(response)) = OcspResponse::from_der(response) else { return false };
    matches!(response.responses[..], [SingleResponse { status: CertStatus::Revoked { .. }, .. }])
}

/// The median of a durable commit of one small record on the server's disk, and of one RSA-2048 signature.
fn commit_and_signature(server: &Server) -> Duration {
    let store = RedbStore::open(&server.scratch().join("commit.redb")).expect("a store opens");
    let store: &dyn Store = &store;
    let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).expect("an RSA key can be made");
    let signer = SoftwareSigner::from_pkcs8(pkcs8.expose()).expect("a fresh key opens");
    let fact = AuditFact {
        at: Timestamp::from_unix(0),
        actor: Actor::Local { uid: 0 },
        request: RequestId::from_random([7; 16]),
        action: "certificate.revoked".to_owned(),
        object: "issuing/01".to_owned(),
        detail: BTreeMap::new(),
    };
    let seconds = median((0..CERTIFICATES).map(|_| {
        let start = Instant::now();
        store.write(|tx| tx.append_audit(&fact)).expect("the disk takes it");
        signer.sign(ALGORITHM, &[0x5a; 300]).expect("signs");
        start.elapsed().as_secs_f64()
    }));
    Duration::from_secs_f64(seconds)
}

/// hyper with one answer, in a process of its own.
struct Constant {
    process: Child,
    address: SocketAddr,
}

impl Constant {
    /// Starts it with the answer that the server gives, headers and all.
    fn start(server: &Server, subjects: &Subjects) -> Self {
        let question = subjects.question(0, None);
        let answer = http_post(server.device_address(), "/ocsp", "application/ocsp-request", &question)
            .expect("the server answers");
        let mut file = Vec::new();
        for (name, value) in &answer.headers {
            // These hyper writes itself.
            if !matches!(name.as_str(), "date" | "content-length" | "connection") {
                file.extend_from_slice(format!("{name}: {value}\n").as_bytes());
            }
        }
        file.push(b'\n');
        file.extend_from_slice(&answer.body);
        let path = server.scratch().join("constant");
        fs::write(&path, file).expect("writable");
        let mut process = Command::new(std::env::current_exe().expect("this program has a file"))
            .arg("--constant")
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let mut line = String::new();
        let output = process.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        Self { process, address: line.trim().parse().expect("an address") }
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        // It may have ended already; nothing is lost.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve_constant(file: &str) {
    let answer = Arc::new(read_constant(&fs::read(file).expect("readable")));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            stream.set_nodelay(true).expect("a TCP stream");
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let service = service_fn(move |request| constant(request, Arc::clone(&answer)));
                // A client that goes away is no error here.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

async fn constant(
    request: Request<Incoming>,
    answer: Arc<Response<Bytes>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // The body of a POST must be read before the next request; what it says does not matter.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(answer.body().clone()));
    *response.headers_mut() = answer.headers().clone();
    Ok(response)
}

/// `name: value` lines, an empty line, the body.
fn read_constant(file: &[u8]) -> Response<Bytes> {
    let end = file.windows(2).position(|window| window == b"\n\n").expect("an empty line");
    let mut response = Response::new(Bytes::copy_from_slice(&file[end + 2..]));
    for line in std::str::from_utf8(&file[..end]).expect("text").lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        let name = header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        response.headers_mut().insert(name, header::HeaderValue::from_str(value).expect("a value"));
    }
    response
}
