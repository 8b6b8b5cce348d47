//! The real program at its limits: a store that it cannot read, more requests than it can take, and its end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod common;
mod process;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    thread,
    time::Duration,
};

use certgate::{
    service::scep::CertRep,
    types::{DigestAlgorithm, Secret},
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        scep::{Degenerate, PkiStatus},
        x509::Certificate,
    },
};
use common::{Client, MessageOptions};
use process::{Answer, Server, http_get, http_post, send_signal};
use redb::{Database, TableDefinition};

const KEYS: [&str; 4] = ["--key", "p-256", "--issuing-key", "p-256"];
const PROFILE: &str = "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n";

/// The schema version of this certgate.
const PRESENT: u32 = certgate::adapters::store::SCHEMA;
const LATER: u32 = PRESENT + 1;

/// Writes the schema version as a later certgate would.
fn put_schema(server: &Server, version: u32) {
    let version = u8::try_from(version).unwrap();
    let database = Database::create(server.data().join("certgate.redb")).unwrap();
    let meta: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
    let transaction = database.begin_write().unwrap();
    // The first byte is the version of the record's own form.
    transaction.open_table(meta).unwrap().insert(b"schema".as_slice(), [1, version].as_slice()).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_a_newer_certgate_is_refused_in_plain_words_and_left_alone() {
    let mut server = Server::initialise(&KEYS, PROFILE);
    put_schema(&server, LATER);
    let config = server.data().join("certgate.toml");
    let output = server.command().args(["serve", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains(&format!("schema version {LATER}")) && said.contains("use the newer certgate"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");

    // Nothing was written: with the version put back it serves as before.
    put_schema(&server, PRESENT);
    server.start();
}

/// What a start says that comes to nothing.
fn refused_start(server: &Server) -> String {
    let config = server.data().join("certgate.toml");
    let output = server.command().args(["serve", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn what_a_start_says_of_a_broken_data_directory_can_be_done() {
    let server = Server::initialise(&KEYS, PROFILE);
    let (store, key) = (server.data().join("certgate.redb"), server.data().join("kek.key"));
    let whole = fs::read(&store).unwrap();

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused_start(&server);
    assert!(said.contains("chmod 0600") && !said.contains("put back the right one"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    // A disk that was full, a copy that broke off: `init` would refuse this directory.
    fs::write(&store, b"").unwrap();
    let said = refused_start(&server);
    assert!(said.contains("certgate restore") && !said.contains("certgate init"), "{said}");
    for broken in [&whole[..whole.len() / 2], &[7; 5_000]] {
        fs::write(&store, broken).unwrap();
        let said = refused_start(&server);
        assert!(said.contains("certgate.redb: ") && said.contains("certgate restore"), "{said}");
    }
    fs::write(&store, whole).unwrap();
}

#[test]
fn sighup_leaves_the_gateway_at_work() {
    let mut server = Server::started(&KEYS, PROFILE);
    send_signal("HUP", server.process_id());
    while !server.log().contains("SIGHUP changes nothing") {
        assert_eq!(http_get(server.ops_address(), "/readyz").map(|answer| answer.status), Some(200));
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!bundle(&server).is_empty());
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn an_alarm_can_be_seen_to_ring_for_the_first_time() {
    let server = Server::started(&KEYS, PROFILE);
    let text = http_get(server.ops_address(), "/metrics").unwrap().body;
    let text = String::from_utf8(text).unwrap();
    for counter in [
        "certgate_tickets_reused_total{profile=\"wifi\"} 0",
        "certgate_lock_outs_total{profile=\"wifi\"} 0",
        "certgate_refusals_not_recorded_total{profile=\"wifi\"} 0",
        "certgate_bridge_shed_total{pool=\"enrolment\"} 0",
    ] {
        assert!(text.lines().any(|line| line == counter), "{counter} in\n{text}");
    }
}

fn bundle(server: &Server) -> Vec<Certificate> {
    let answer = http_get(server.device_address(), "/scep/wifi?operation=GetCACert").unwrap();
    Degenerate::from_ber(&answer.body).unwrap().certificates
}

/// An enrolment of a fresh device, ready to be sent.
fn enrolment(server: &Server, device: &str) -> (Client, Vec<u8>) {
    server.register_device(device);
    let (secret, _) = server.ticket("wifi", device);
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&Secret::from(secret.as_str())));
    let message = client.message(&bundle(server)[0], &MessageOptions::default(), &csr);
    (client, message)
}

/// Sends one message 32 times at once, and does `meanwhile` in the meantime.
fn storm(server: &Server, message: &[u8], meanwhile: impl FnOnce()) -> Vec<Answer> {
    let path = "/scep/wifi?operation=PKIOperation";
    let post = || http_post(server.device_address(), path, "application/x-pki-message", message).unwrap();
    thread::scope(|scope| {
        let storm: Vec<_> = (0..32).map(|_| scope.spawn(post)).collect();
        meanwhile();
        storm.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asks for the message certificate, with a nonce each time: no answer comes from the cache.
fn assert_ocsp_is_answered(server: &Server, certificates: &[Certificate]) {
    for number in 0..8_u8 {
        let cert_id =
            CertId::new(DigestAlgorithm::Sha256, &certificates[1], certificates[0].serial()).unwrap();
        let request = OcspRequest::new(vec![cert_id], Some(&[number; 16])).to_der().unwrap();
        let answer =
            http_post(server.device_address(), "/ocsp", "application/ocsp-request", &request).unwrap();
        let OcspResponse::Successful(response) = OcspResponse::from_der(&answer.body).unwrap() else {
            panic!("OCSP suffers from the storm: {:02x?}", answer.body)
        };
        assert_eq!(response.responses[0].status, CertStatus::Good);
    }
}

#[test]
fn a_storm_of_enrolments_is_shed_with_retry_after_while_ocsp_is_answered() {
    let limits = "[limits]\nworkers = 1\nwaiters = 1\nocsp-workers = 1\n";
    let server = Server::started(&KEYS, &format!("{PROFILE}{limits}"));
    let certificates = bundle(&server);
    let (client, message) = enrolment(&server, "SN1");
    // Whether requests meet is up to the machine: some do, in one of the rounds.
    let rounds = (0..20).map(|_| {
        storm(&server, &message, || assert_ocsp_is_answered(&server, &certificates))
            .into_iter()
            .partition::<Vec<_>, _>(|answer| answer.status == 503)
    });
    let (refused, answered) = rounds.into_iter().find(|(shed, _)| !shed.is_empty()).expect("one was shed");
    assert!(!answered.is_empty());
    for answer in refused {
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    }
    // They were one and the same request: all that were served got the same certificate.
    let serials = answered.into_iter().map(|answer| {
        let rep = CertRep { body: answer.body, operation: "", result: "" };
        client.open(&message, rep).certificate().serial().clone()
    });
    assert_eq!(serials.collect::<std::collections::BTreeSet<_>>().len(), 1);
}

#[test]
fn a_request_that_is_under_way_at_sigterm_is_still_answered() {
    let mut server = Server::started(&KEYS, PROFILE);
    let (client, message) = enrolment(&server, "SN1");
    let mut stream = TcpStream::connect(server.device_address()).unwrap();
    let (first, rest) = message.split_at(message.len() / 2);
    let head = format!(
        "POST /scep/wifi?operation=PKIOperation HTTP/1.0\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(first).unwrap();
    let address = server.device_address();
    let ended = thread::scope(|scope| {
        let ending = scope.spawn(|| server.terminate());
        // Until it takes no new connections, it has not noticed.
        while TcpStream::connect(address).is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
        stream.write_all(rest).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let rep = CertRep { body: answer[body..].to_vec(), operation: "", result: "" };
        assert_eq!(client.open(&message, rep).status, PkiStatus::Success);
        ending.join().unwrap()
    });
    assert_eq!(ended, Some(0));
    // And what was answered is there after a new start.
    server.start();
    let shown = server.json(&["device", "show", "SN1"]);
    assert_eq!(shown["certificates"][0]["status"], "good");
}
