//! OCSP load on any responder: what `benches/status-peers` drives certgate and its peers with.
//!
//! `cargo bench --bench responder -- --against URL --issuer FILE --statuses FILE` asks about every certificate of the list, one line for each with its
//! serial number in hexadecimal and what must be said of it (`good` or `revoked`), and stops if a responder says otherwise. Then it asks as fast as it is
//! answered.
//!
//! `--nonce`: each question with a nonce of its own. `--close`: one connection for each question, as gear asks. `--connections N`,
//! `--requests N`. `--name TEXT`, `--who NAME` and `--json FILE` are for the result's line.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

mod load;

use std::{fs, net::SocketAddr, str::FromStr};

use certgate::{
    types::{DigestAlgorithm, SerialNumber},
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};
use load::{
    closed_loop,
    results::{Results, Row},
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` without this target's own arguments measures nothing here.
    let Some(url) = option(&arguments, "--against") else {
        return println!("--against URL --issuer FILE --statuses FILE: see benches/status-peers");
    };
    let questions = Questions::read(&arguments);
    let (address, path) = parts(url);
    let connections = number(&arguments, "--connections", 16);
    let count = number(&arguments, "--requests", 20_000);

    questions.expect_answers(address, path);
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let requests = questions.requests(path, count, flag("--nonce"), flag("--close"));
    let report = closed_loop(address, connections, &requests, is_successful);
    println!("{report}");
    assert_eq!(report.accepted, requests.len(), "every question is answered");
    let name = option(&arguments, "--name").unwrap_or("OCSP");
    Results::of("status-peers").add(&Row { name, value: report.rate(), unit: "answers/s", limit: None });
}

fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments
        .iter()
        .position(|argument| argument == name)
        .and_then(|at| arguments.get(at + 1))
        .map(String::as_str)
}

fn number(arguments: &[String], name: &str, default: usize) -> usize {
    option(arguments, name).map_or(default, |text| text.parse().expect("a number"))
}

/// `http://ADDRESS:PORT/PATH`.
fn parts(url: &str) -> (SocketAddr, &str) {
    let rest = url.strip_prefix("http://").expect("an http:// URL");
    let slash = rest.find('/').expect("a URL with a path");
    (rest[..slash].parse().expect("an address and port"), &rest[slash..])
}

/// What is asked, and what must be answered.
struct Questions {
    issuer: Certificate,
    certificates: Vec<(SerialNumber, bool)>,
}

impl Questions {
    fn read(arguments: &[String]) -> Self {
        let file = |name: &str| fs::read_to_string(option(arguments, name).expect(name)).expect(name);
        let (_, der) = der::pem::decode_vec(file("--issuer").as_bytes()).expect("a certificate in PEM");
        let statuses = file("--statuses");
        let certificates = statuses.lines().map(|line| {
            let (serial, status) = line.split_once(' ').expect("serial number and status");
            (SerialNumber::from_str(serial).expect("a serial number"), status == "revoked")
        });
        Self {
            issuer: Certificate::from_der(&der).expect("a certificate"),
            certificates: certificates.collect(),
        }
    }

    fn question(&self, number: usize, nonce: Option<&[u8]>) -> Vec<u8> {
        let (serial, _) = &self.certificates[number % self.certificates.len()];
        let cert_id = CertId::new(DigestAlgorithm::Sha1, &self.issuer, serial).expect("encodes");
        OcspRequest::new(vec![cert_id], nonce).to_der().expect("encodes")
    }

    fn requests(&self, path: &str, count: usize, nonce: bool, close: bool) -> Vec<Vec<u8>> {
        let make = |number: usize| {
            let bytes = (number as u128).to_be_bytes();
            post(path, close, &self.question(number, nonce.then_some(&bytes)))
        };
        (0..count).map(make).collect()
    }

    /// A fast wrong answer is worth nothing: each certificate once, and each answer read.
    fn expect_answers(&self, address: SocketAddr, path: &str) {
        for (number, (serial, revoked)) in self.certificates.iter().enumerate() {
            let request = post(path, true, &self.question(number, None));
            let is_right = |body: &[u8]| is_revoked(body) == Some(*revoked);
            let report = closed_loop(address, 1, &[request], is_right);
            assert_eq!(report.accepted, 1, "the answer about {serial}: {report}");
        }
    }
}

fn is_revoked(body: &[u8]) -> Option<bool> {
    let OcspResponse::Successful(response) = OcspResponse::from_der(body).ok()? else { return None };
    match response.responses.as_slice() {
        [one] => match one.status {
            CertStatus::Good => Some(false),
            CertStatus::Revoked { .. } => Some(true),
            CertStatus::Unknown => None,
        },
        _ => None,
    }
}

/// Whether an OCSPResponse says successful: its first element is ENUMERATED 0. Cheap, because the load shares the cores.
fn is_successful(body: &[u8]) -> bool {
    body.get(4..7) == Some(&[0x0a, 0x01, 0x00])
}

fn post(path: &str, close: bool, body: &[u8]) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\n{connection}Content-Type: application/ocsp-request\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
