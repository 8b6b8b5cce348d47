//! `certgate cert check`: store, responder and CRL side by side, when they agree and when one is old, away or wrong.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    FAST, code, enrol,
    process::{Server, expect_success, free_address, http_get},
    stderr, stdout,
};

fn said(report: &Value) -> Vec<(&str, &str)> {
    let voices = report["said"].as_array().unwrap().iter();
    voices.map(|voice| (voice["who"].as_str().unwrap(), voice["status"].as_str().unwrap())).collect()
}

/// Serves these bytes, whatever is asked.
fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/old.crl", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

fn check(server: &Server, arguments: &[&str]) -> (i32, Value, String) {
    let output = server.run(&[&["-o", "json", "cert", "check"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (code(&output), report, stderr(&output))
}

#[test]
fn store_responder_and_crl_are_compared() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let file = |name: &str| server.scratch().join(name).to_str().unwrap().to_owned();
    let pem = file("SN1.pem");
    let serial = server.json(&["cert", "list"])["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|certificate| certificate["subject"].as_str().unwrap().starts_with("CN=SN1"))
        .map(|certificate| certificate["id"].as_str().unwrap().to_owned())
        .unwrap();

    let (exit, report, _) = check(&server, &[&serial]);
    assert_eq!((exit, &report["agreement"]), (0, &"agree".into()), "{report}");
    assert_eq!(said(&report), [("store", "good"), ("OCSP", "good"), ("CRL", "good")]);

    // The CRL of before the hold, from a cache that nobody told.
    let old = serve(http_get(server.device_address(), "/crl/issuing.crl").unwrap().body);
    expect_success(&server.run(&["cert", "hold", &serial]), "hold");
    let (exit, report, words) = check(&server, &[&serial, "--crl-url", &old]);
    assert_eq!((exit, &report["agreement"]), (1, &"differ".into()), "{report}");
    assert_eq!(said(&report), [("store", "hold"), ("OCSP", "hold"), ("CRL", "good")]);
    assert!(words.contains("CRL says good") && words.contains("certgate crl publish issuing"), "{words}");
    assert_eq!(report["causes"][0]["permanent"], false, "the causes are shown: {report}");

    expect_success(&server.run(&["crl", "publish", "issuing"]), "publish");
    let (exit, report, _) = check(&server, &["--cert", &pem]);
    assert_eq!((exit, &report["agreement"]), (0, &"agree".into()), "{report}");
    let since: Vec<_> = report["said"].as_array().unwrap().iter().map(|voice| &voice["since"]).collect();
    assert!(since.iter().all(|at| *at == since[0] && at.is_string()), "{since:?}");

    expect_success(&server.run(&["cert", "revoke", &serial, "--reason", "keyCompromise", "--yes"]), "revoke");
    expect_success(&server.run(&["crl", "publish", "issuing"]), "publish");
    let told = server.run(&["cert", "check", &serial]);
    expect_success(&told, "cert check");
    let lines = stdout(&told);
    assert_eq!(lines.matches("keyCompromise").count(), 4, "three voices and the cause: {lines}");

    // Nobody there, a list of somebody else, nobody of that name.
    let nowhere = format!("http://{}/ocsp", free_address());
    let (exit, report, words) = check(&server, &[&serial, "--ocsp-url", &nowhere]);
    assert_eq!((exit, &report["agreement"]), (5, &"partial".into()), "{report}");
    assert!(words.contains("no answer from OCSP"), "{words}");
    let root = serve(http_get(server.device_address(), "/crl/root.crl").unwrap().body);
    let (exit, report, _) = check(&server, &[&serial, "--crl-url", &root]);
    assert_eq!((exit, said(&report)[2]), (5, ("CRL", "no answer")), "{report}");
    assert_eq!(check(&server, &["4f00ab12"]).0, 3);
    assert_eq!(check(&server, &[]).0, 2);

    // As if it were another CA's: nobody's store is asked.
    let issuer = file("issuing.pem");
    std::fs::write(&issuer, http_get(server.device_address(), "/ca/issuing.pem").unwrap().body).unwrap();
    let (exit, report, _) = check(&server, &["--cert", &pem, "--issuer", &issuer]);
    assert_eq!((exit, said(&report)), (0, vec![("OCSP", "revoked"), ("CRL", "revoked")]), "{report}");
    assert_eq!(check(&server, &["--cert", &issuer, "--issuer", &issuer]).0, 2);

    let since = "2026-11-01T00:00:00Z";
    let again = ["cert", "revoke", &serial, "--reason", "keyCompromise", "--invalid-since", since, "--yes"];
    expect_success(&server.run(&again), "when the key was lost");
    let asked = server.run(&["ocsp", "check", "--issuer", &issuer, "--cert", &pem]);
    let shown = stdout(&asked);
    assert_eq!(code(&asked), 4, "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("Invalid since:") && line.ends_with(since)), "{shown}");
}

#[test]
fn what_the_ca_of_an_imported_certificate_says_stands_beside() {
    let (old, new) = (Server::started(FAST, ""), Server::started(FAST, ""));
    expect_success(&enrol(&old, "device", "SN1", &[]), "enrol");
    let file = |server: &Server, name: &str| server.scratch().join(name).to_str().unwrap().to_owned();
    let (ca, crl) = (file(&new, "old-ca.pem"), file(&new, "old-ca.crl"));
    let fetched = |path: &str| http_get(old.device_address(), path).unwrap().body;
    std::fs::write(&ca, fetched("/ca/issuing.pem")).unwrap();
    std::fs::write(&crl, fetched("/crl/issuing.crl")).unwrap();
    let certs = file(&new, "newcerts");
    std::fs::create_dir(&certs).unwrap();
    let pem = file(&old, "SN1.pem");
    std::fs::copy(&pem, format!("{certs}/SN1.pem")).unwrap();
    for source in [["--certs", &certs], ["--crl", &crl]] {
        new.json(&[&["import", "--issuer-cert", &ca, "--name", "old-ca"][..], &source].concat());
    }

    let (exit, report, words) = check(&new, &["--cert", &pem]);
    let upstream = [("upstream OCSP", "good"), ("upstream CRL", "good")];
    let expected = [&[("store", "good"), ("OCSP", "no answer"), ("CRL", "good")][..], &upstream].concat();
    assert_eq!((exit, said(&report)), (5, expected), "{report}");
    assert!(report["said"][1]["reason"].as_str().unwrap().contains("certgate responder"), "{report} {words}");

    expect_success(&new.run(&["responder", "use", "old-ca", "trusted", "--by", "issuing"]), "use");
    let (exit, report, _) = check(&new, &["--cert", &pem]);
    let expected = [&[("store", "good"), ("OCSP", "good"), ("CRL", "good")][..], &upstream].concat();
    assert_eq!((exit, said(&report)), (0, expected), "{report}");
    let places: Vec<_> =
        report["said"].as_array().unwrap()[1..].iter().map(|it| it["where"].as_str().unwrap()).collect();
    let expected = [
        format!("{}/ocsp", new.url()),
        format!("{}/crl/old-ca.crl", new.url()),
        format!("{}/ocsp", old.url()),
        format!("{}/crl/issuing.crl", old.url()),
    ];
    assert_eq!(places, expected);

    let id = one_of(&new, "old-ca");
    expect_success(&new.run(&["cert", "hold", &id]), "hold");
    let (exit, report, words) = check(&new, &["--cert", &pem]);
    let expected = [&[("store", "hold"), ("OCSP", "hold"), ("CRL", "good")][..], &upstream].concat();
    assert_eq!((exit, said(&report)), (1, expected), "{report}");
    assert!(words.contains("that CA does not hear") && !words.contains("crl publish"), "{words}");
}

#[test]
fn a_delta_is_read_with_the_crl_that_names_it() {
    let server = Server::started(FAST, "[crl]\ndelta-lifetime-hours = 6\ndebounce-seconds = 0\n");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let pem = server.scratch().join("SN1.pem").to_str().unwrap().to_owned();
    let serial = check(&server, &["--cert", &pem]).1["serial"].as_str().unwrap().to_owned();
    let fetched = |path: &str| http_get(server.device_address(), path).unwrap().body;
    let full = fetched("/crl/issuing.crl");
    for (verb, status) in [("hold", "hold"), ("release", "good")] {
        let before = fetched("/crl/issuing-delta.crl");
        expect_success(&server.run(&["cert", verb, &serial]), verb);
        // The worker is woken for it.
        while fetched("/crl/issuing-delta.crl") == before {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(fetched("/crl/issuing.crl"), full, "it comes by the schedule");
        let (exit, report, words) = check(&server, &[&serial]);
        assert_eq!((exit, said(&report)[2]), (0, ("CRL", status)), "{report} {words}");
        let place = format!("{0}/crl/issuing.crl + {0}/crl/issuing-delta.crl", server.url());
        assert_eq!(report["said"][2]["where"], place);
    }
}

#[test]
fn another_partition_says_nothing_of_a_certificate() {
    let server = Server::started(FAST, "[crl]\npartitions = 2\n");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let pem = server.scratch().join("SN1.pem").to_str().unwrap().to_owned();
    let (_, report, _) = check(&server, &["--cert", &pem]);
    let own = report["said"][2]["where"].as_str().unwrap().to_owned();
    let serial = report["serial"].as_str().unwrap();
    expect_success(&server.run(&["cert", "revoke", serial, "--reason", "superseded", "--yes"]), "revoke");
    expect_success(&server.run(&["crl", "publish", "issuing"]), "publish");
    let (stem, index) = own.split_at(own.len() - "0.crl".len());
    let other = format!("{stem}{}", if index == "0.crl" { "1.crl" } else { "0.crl" });
    let (exit, report, words) = check(&server, &["--cert", &pem, "--crl-url", &other]);
    assert_eq!((exit, said(&report)[2]), (5, ("CRL", "no answer")), "{report}");
    let reason = report["said"][2]["reason"].as_str().unwrap();
    assert!(reason.ends_with("\"application/pkix-crl\")"), "no bytes of it are shown: {reason} {words}");
    // The right one, by another name of the host.
    let here = own.replace("127.0.0.1", "localhost");
    let (exit, report, _) = check(&server, &["--cert", &pem, "--crl-url", &here]);
    assert_eq!((exit, said(&report)[2]), (0, ("CRL", "revoked")), "{report}");
}

/// The certificate of this issuer.
fn one_of(server: &Server, issuer: &str) -> String {
    let all = server.json(&["cert", "list"]);
    let mut ids = all["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap());
    ids.find(|id| id.starts_with(issuer)).unwrap().to_owned()
}
