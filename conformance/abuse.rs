//! What the network does to a server: too many requests, too many connections, slow ones. Through real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]
#![allow(clippy::disallowed_methods, reason = "a test of a real process measures real time")]

mod common;
mod process;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::OnceLock,
    time::{Duration, Instant},
};

use certgate::{
    types::Secret,
    wire::{scep::Degenerate, x509::Certificate},
};
use common::{Client, MessageOptions};
use process::{Answer, Server, http_get, http_post, parse_answer};

const FAST: [&str; 4] = ["--key", "p-256", "--issuing-key", "p-256"];

/// POSTs as a proxy does for somebody.
fn post_for(server: &Server, client: &str, path: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.device_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.0\r\nX-Forwarded-For: 198.51.100.1, {client}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    parse_answer(&answer).expect("a whole answer")
}

fn message_certificate(server: &Server, profile: &str) -> Certificate {
    let answer = http_get(server.device_address(), &format!("/scep/{profile}?operation=GetCACert")).unwrap();
    Degenerate::from_ber(&answer.body).unwrap().certificates.remove(0)
}

fn enrolment(recipient: &Certificate, challenge: &str) -> (Client, Vec<u8>) {
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&Secret::from(challenge)));
    let message = client.message(recipient, &MessageOptions::default(), &csr);
    (client, message)
}

/// Nobody's request makes a line of the log as long as itself.
#[test]
fn what_a_stranger_writes_is_short_in_the_log() {
    let server = Server::started(&FAST, "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n");
    let path = format!("/scep/wifi/{}", "x".repeat(60_000));
    let answer =
        http_post(server.device_address(), &path, "application/x-pki-message", b"no message").unwrap();
    assert_eq!(answer.status, 400);
    let log = server.log();
    let about = log.lines().find(|line| line.contains("not a SCEP message")).expect("it is in the log");
    assert!(about.contains("/scep/wifi/xxx") && about.len() < 1000, "{} characters", about.len());
}

#[test]
fn a_profile_that_is_full_says_when_to_come_back_and_the_rest_goes_on() {
    let profiles = "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\nrequests-per-minute = 2\n[profile.other]\nsubject = \"CN=$DEVICE_ID$\"\n";
    let server = Server::started(&FAST, profiles);
    let device = server.device_address();
    let post = |path: &str| http_post(device, path, "application/x-pki-message", b"no message").unwrap();
    assert_eq!([post("/scep/wifi").status, post("/scep/wifi").status], [400, 400]);
    let refused = post("/scep/wifi");
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");

    assert_eq!(post("/scep/other").status, 400);
    for path in ["/scep/wifi?operation=GetCACaps", "/scep/wifi?operation=GetCACert", "/crl/issuing.crl"] {
        assert_eq!(http_get(device, path).unwrap().status, 200, "{path}");
    }
    assert_eq!(http_post(device, "/ocsp", "application/ocsp-request", b"junk").unwrap().status, 200);
    let metrics = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    let line = "certgate_throttled_total{profile=\"wifi\",limit=\"profile\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(server.log().matches("too many requests").count(), 1);
}

#[test]
fn what_is_fetched_is_limited_too_whether_or_not_there_is_any() {
    let configuration =
        "[limits]\naddress-requests-per-minute = 1\n[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n";
    let server = Server::started(&FAST, configuration);
    let next = |_| http_get(server.device_address(), "/scep/wifi?operation=GetNextCACert").unwrap().status;
    let statuses: Vec<_> = (0..40).map(next).collect();
    assert_eq!((statuses[0], statuses[39]), (501, 429), "{statuses:?}");
}

#[test]
fn who_guesses_behind_a_trusted_proxy_is_locked_out_and_his_neighbours_are_not() {
    let configuration = "[listen]\ntrusted-proxies = [\"127.0.0.0/8\"]\n[limits]\nwrong-challenges = 3\n\
                         [profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n";
    let server = Server::started(&FAST, configuration);
    let recipient = message_certificate(&server, "wifi");
    for number in 0..3 {
        let (_, guess) = enrolment(&recipient, &format!("guess-{number}"));
        assert_eq!(post_for(&server, "203.0.113.5", "/scep/wifi", &guess).status, 200);
    }
    server.register_device("SN1");
    let (secret, _) = server.ticket("wifi", "SN1");
    let (client, request) = enrolment(&recipient, &secret);
    assert_eq!(post_for(&server, "203.0.113.5", "/scep/wifi", &request).status, 429);

    let answer = post_for(&server, "203.0.113.6", "/scep/wifi", &request);
    let rep = certgate::service::scep::CertRep { body: answer.body, operation: "", result: "" };
    client.open(&request, rep).certificate();
    let doctor = server.run(&["doctor"]);
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(said.contains("lock-outs"), "{said}");
    let audit = server.json(&["audit", "tail", "-n", "50"]).to_string();
    assert!(audit.contains("address.locked-out") && audit.contains("203.0.113.5"), "{audit}");
}

/// A server whose time-outs are short.
fn impatient() -> SocketAddr {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let configuration = "[limits]\nheader-timeout-seconds = 1\nbody-timeout-seconds = 1\nconnections = 64\n\
                         connections-per-address = 20\n[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n";
    SERVER.get_or_init(|| Server::started(&FAST, configuration)).device_address()
}

fn connection(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What comes until the server closes. A reset is a way to close, too.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer to these bytes.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connection(address);
    // The server may close before it has read everything.
    let _ = stream.write_all(request);
    rest(&mut stream)
}

#[test]
fn a_head_that_does_not_end_and_a_body_that_does_not_come_are_cut_off() {
    let start = Instant::now();
    let mut head = connection(impatient());
    head.write_all(b"GET /scep/wifi?operation=GetCACaps HTTP/1.1\r\nHost: x\r\nX-").unwrap();
    assert!(!rest(&mut head).starts_with("HTTP/1.1 200"));
    let mut body = connection(impatient());
    body.write_all(b"POST /scep/wifi HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun").unwrap();
    assert!(rest(&mut body).starts_with("HTTP/1.1 408"));
    let mut silent = connection(impatient());
    assert_eq!(rest(&mut silent), "", "nothing was asked");
    assert!(start.elapsed() < Duration::from_secs(25));
}

#[test]
fn a_body_that_trickles_is_cut_off_though_it_moves() {
    let mut stream = connection(impatient());
    stream.write_all(b"POST /scep/wifi HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let start = Instant::now();
    while stream.write_all(b"1\r\nx\r\n").is_ok() && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "it would have gone on for ever");
}

#[test]
fn sizes_of_urls_heads_and_bodies_are_bounded_with_an_answer_for_each() {
    let url = |length: usize| {
        let message = "A".repeat(length);
        format!("GET /scep/wifi?operation=PKIOperation&message={message} HTTP/1.0\r\n\r\n")
    };
    let headers = |number: usize, length: usize| {
        let value = "v".repeat(length);
        let lines: Vec<_> = (0..number).map(|n| format!("X-{n}: {value}\r\n")).collect();
        format!("GET /scep/wifi?operation=GetCACaps HTTP/1.0\r\n{}\r\n", lines.concat())
    };
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(5);
    let chunked = format!("POST /scep/wifi HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
    for (request, status) in [
        (url(16_000), "400"),
        (url(65_000), "400"),
        (url(66_000), "414"),
        (headers(99, 10), "200"),
        (headers(101, 10), "431"),
        (headers(90, 4000), "431"),
        (chunked, "413"),
    ] {
        let answer = ask(impatient(), request.as_bytes());
        let line = answer.lines().next().unwrap_or_default();
        assert_eq!(line.split(' ').nth(1), Some(status), "{line} to {} bytes", request.len());
    }
}

#[test]
fn nothing_is_decompressed() {
    let bomb = [b"\x1f\x8b\x08".as_slice(), &[0; 100]].concat();
    for path in ["/scep/wifi?operation=PKIOperation", "/ocsp"] {
        let head = |coding: &str| {
            let length = bomb.len();
            format!("POST {path} HTTP/1.0\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n")
        };
        let answer = ask(impatient(), &[head("gzip").as_bytes(), &bomb].concat());
        assert!(answer.starts_with("HTTP/1.0 415"), "{answer}");
        let answer = ask(impatient(), &[head("identity").as_bytes(), &bomb].concat());
        assert!(!answer.starts_with("HTTP/1.0 415"), "{answer}");
    }
}

#[test]
fn requests_in_one_piece_are_answered_in_their_order() {
    let request = |path, more| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let requests = [
        request("/ca/root.cer", ""),
        request("/nothing", ""),
        request("/scep/wifi?operation=GetCACaps", "Connection: close\r\n"),
    ];
    let answers = ask(impatient(), requests.concat().as_bytes());
    let statuses: Vec<_> =
        answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404", "200"]);
    assert!(answers.ends_with("SHA-512\n"));
}

#[test]
fn one_address_cannot_take_all_connections() {
    let configuration = "[limits]\nconnections = 64\nconnections-per-address = 20\n\
                         [profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n";
    let server = Server::started(&FAST, configuration);
    let mut open: Vec<_> = (0..20).map(|_| connection(server.device_address())).collect();
    // Accepted in the order in which they came: the last is one too many.
    let mut surplus = connection(server.device_address());
    assert_eq!(rest(&mut surplus), "");
    let metrics = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    assert!(metrics.contains("certgate_connections_refused_total{listener=\"device\"} 1"), "{metrics}");

    let mut first = open.remove(0);
    first.write_all(b"GET /scep/wifi?operation=GetCACaps HTTP/1.0\r\n\r\n").unwrap();
    assert!(rest(&mut first).starts_with("HTTP/1.0 200"), "those that were there are served");
    drop((first, open));
    let answered = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        http_get(server.device_address(), "/scep/wifi?operation=GetCACaps").is_some()
    });
    assert!(answered, "places are given back");
}
