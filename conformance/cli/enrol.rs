//! The built-in SCEP and OCSP clients, and the approval queue.

use std::{
    fs,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use certgate::wire::{scep::Degenerate, x509::Certificate};

use crate::{
    FAST, MANUAL, code, enrol,
    process::{Answer, Server, expect_success, http_get},
    rollover::openssl,
    sim::Between,
    stderr, stdout,
};

/// A certificate can be renewed on its first day.
const RENEWABLE: &str = "[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"ticket\"]\nvalidity-days = 90\nrenewal-window-days = 90\n";

fn file(server: &Server, name: &str) -> String {
    server.scratch().join(name).to_str().unwrap().to_owned()
}

fn waiting(server: &Server) -> String {
    server.json(&["queue", "list"])["items"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_could_not_be_written_is_not_asked_for() {
    let server = Server::started(FAST, "");
    let nowhere = file(&server, "no-such-directory/SN1.pending");
    let key = file(&server, "SN2.key");
    for (device, place, said) in [("SN1", &nowhere, "no-such-directory"), ("SN2", &key, "name the same file")]
    {
        let refused = enrol(&server, "device", device, &["--transaction", place]);
        assert!(code(&refused) != 0 && stderr(&refused).contains(said), "{}", stderr(&refused));
    }
    let tickets = server.json(&["ticket", "list"]);
    let states = tickets["items"].as_array().unwrap().iter().map(|ticket| ticket["state"].as_str().unwrap());
    assert_eq!(states.collect::<Vec<_>>(), ["open", "open"], "no ticket is spent");
    let reports = server.run(&[
        "conformance",
        "scep",
        &server.scep_url("device"),
        "--junit",
        &nowhere,
        "--only",
        "8894-3.5",
    ]);
    assert!(code(&reports) == 1 && stderr(&reports).contains("--junit"), "{}", stderr(&reports));
}

#[test]
fn a_request_waits_until_an_operator_decides() {
    let server = Server::started(FAST, MANUAL);
    let asked = enrol(&server, "manual", "SN1", &[]);
    assert_eq!(code(&asked), 5, "a script must not go on: {}", stderr(&asked));
    let poll = ["scep", "poll", "--transaction", &file(&server, "SN1.pem.pending")];
    assert_eq!(code(&server.run(&poll)), 5);
    assert!(!server.scratch().join("SN1.pem").exists());

    let shown = stdout(&server.run(&["queue", "show", &waiting(&server)]));
    for words in
        ["Subject:", "CN=SN1", "Key SHA-256:", "ticket ", "device SN1, generation 1", "passed  key: rsa-2048"]
    {
        assert!(shown.contains(words), "{words} in\n{shown}");
    }
    expect_success(&server.run(&["queue", "approve", &waiting(&server)]), "approve");
    expect_success(&server.run(&poll), "poll");
    assert!(fs::read_to_string(server.scratch().join("SN1.pem")).unwrap().contains("BEGIN CERTIFICATE"));
    assert!(!server.scratch().join("SN1.pem.pending").exists());

    assert_eq!(code(&enrol(&server, "manual", "SN2", &[])), 5);
    expect_success(&server.run(&["queue", "reject", &waiting(&server), "--note", "not ours"]), "reject");
    let refused = server.run(&["scep", "poll", "--transaction", &file(&server, "SN2.pem.pending")]);
    assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    assert!(!stderr(&refused).contains("not ours"), "the reason is for the record, not for the device");
    assert_eq!(code(&server.run(&["queue", "approve", "00000000000000000000000000000000"])), 3);
}

/// A server may show its message certificate alone.
#[test]
fn a_certificate_of_a_ca_that_the_server_does_not_show_is_put_aside() {
    let server = Server::started(FAST, &format!("{RENEWABLE}ca-bundle = \"message\"\n"));
    let enrolled = enrol(&server, "device", "SN1", &[]);
    let aside = file(&server, "SN1.pem.unverified");
    assert_eq!(code(&enrolled), 1, "{}", stderr(&enrolled));
    assert!(stderr(&enrolled).contains(&aside), "{}", stderr(&enrolled));
    assert!(!server.scratch().join("SN1.pem").exists());
    let issued = Certificate::all_from_pem(&fs::read_to_string(aside).unwrap()).unwrap();
    assert_eq!(issued[0].subject().common_name().as_deref(), Some("SN1"));
}

/// Whoever stands in between can show the right CA certificates beside one of his own; the challenge is not for him.
#[test]
fn a_challenge_is_encrypted_to_nobody_that_the_pinned_certificate_does_not_vouch_for() {
    let server = Server::started(FAST, RENEWABLE);
    let (mine, asked) = (file(&server, "mine.der"), Arc::new(AtomicUsize::new(0)));
    let mine_key = file(&server, "mine.key");
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Message"];
    let extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=keyEncipherment"];
    let files = ["-keyout", &mine_key, "-out", &mine, "-outform", "der"];
    openssl(&[&request[..], &extensions, &files].concat());
    let mine = Certificate::from_der(&fs::read(mine).unwrap()).unwrap();
    let counted = Arc::clone(&asked);
    let between = Between::start(&server, move |path, _, answer| {
        counted.fetch_add(usize::from(path.contains("PKIOperation")), Ordering::SeqCst);
        if !path.contains("GetCACert") {
            return answer;
        }
        let mut all = Degenerate::from_ber(&answer.body).unwrap().certificates;
        all.insert(0, mine.clone());
        let all: Vec<_> = all.iter().map(Certificate::as_der).collect();
        Answer { body: Degenerate::to_der(&all, &[]).unwrap(), ..answer }
    });
    server.register_device("SN1");
    let (_, ticket) = server.ticket("device", "SN1");
    let (ticket, key, cert) = (ticket.to_str().unwrap(), file(&server, "SN1.key"), file(&server, "SN1.pem"));
    let ask = |url: &str, pin: &str| {
        let pinned = ["scep", "enrol", "--url", url, "--ca-fingerprint", pin];
        let rest = ["--subject", "CN=SN1", "--challenge-file", ticket, "--key", &key, "--cert", &cert];
        server.run(&[&pinned[..], &rest].concat())
    };
    for issuer in ["issuing", "root"] {
        let pin = server.json(&["issuer", "show", issuer])["fingerprint"].as_str().unwrap().to_owned();
        let refused = ask(&between.scep_url(), &pin);
        assert_eq!(code(&refused), 4, "{}", stderr(&refused));
        assert!(stderr(&refused).contains("somebody stands in between"), "{}", stderr(&refused));
        let all = file(&server, "ca.pem");
        let getca = server.run(&[
            "scep",
            "getca",
            "--url",
            &between.scep_url(),
            "--ca-fingerprint",
            &pin,
            "--out",
            &all,
        ]);
        assert_eq!(code(&getca), 4, "{}", stderr(&getca));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let pin = server.json(&["issuer", "show", "root"])["sha1"].as_str().unwrap().to_owned();
    expect_success(&ask(&server.scep_url("device"), &pin), "enrol");
}

#[test]
fn a_key_on_a_curve_is_polled_for_with_the_challenge_and_in_the_manner_of_the_client() {
    let server = Server::started(FAST, MANUAL);
    let more = ["--key-type", "p-256", "--as", "fortigate"];
    assert_eq!(code(&enrol(&server, "manual", "SN1", &more)), 5);
    let pending = file(&server, "SN1.pem.pending");
    let remembered = fs::read_to_string(&pending).unwrap();
    assert!(remembered.contains("\"as\": \"fortigate\""), "{remembered}");
    expect_success(&server.run(&["queue", "approve", &waiting(&server)]), "approve");
    let moved = file(&server, "moved.challenge");
    let at = remembered.find("\"challenge-file\": \"").unwrap() + "\"challenge-file\": \"".len();
    let challenge = &remembered[at..at + remembered[at..].find('"').unwrap()];
    fs::rename(challenge, &moved).unwrap();
    let poll = ["scep", "poll", "--transaction", &pending];
    assert_eq!(code(&server.run(&poll)), 1);
    expect_success(&server.run(&[&poll[..], &["--challenge-file", &moved]].concat()), "poll");
    assert!(fs::read_to_string(file(&server, "SN1.pem")).unwrap().contains("BEGIN CERTIFICATE"));
    // The poll was as FortiGate's: no contentType, and the MD5 of the key for a transactionID.
    let newest = server.json(&["enrolment", "list"])["items"][0].clone();
    assert_eq!(newest["operation"], "cert-poll", "{newest}");
    assert!(newest["looks_like"].as_str().unwrap().starts_with("fortigate"), "{newest}");
}

#[test]
fn a_client_that_waits_gets_its_certificate() {
    let server = Server::started(FAST, MANUAL);
    server.register_device("SN1");
    let (_, ticket) = server.ticket("manual", "SN1");
    let client = server
        .command()
        .args(["scep", "enrol", "--url", &server.scep_url("manual"), "--subject", "CN=SN1", "--wait", "2m"])
        .args(["--key", &file(&server, "k"), "--cert", &file(&server, "c"), "--challenge-file"])
        .arg(ticket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while server.json(&["queue", "list"])["items"].as_array().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(50));
    }
    expect_success(&server.run(&["queue", "approve", &waiting(&server)]), "approve");
    expect_success(&client.wait_with_output().unwrap(), "enrol --wait");
}

#[test]
fn the_built_in_clients_follow_a_certificate_through_its_life() {
    let server = Server::started(FAST, RENEWABLE);
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let (url, key, cert) = (server.scep_url("device"), file(&server, "SN1.key"), file(&server, "SN1.pem"));
    let renewed = file(&server, "renewed.pem");
    let renewal =
        server.run(&["scep", "renew", "--url", &url, "--key", &key, "--cert", &cert, "--out", &renewed]);
    expect_success(&renewal, "scep renew");
    let listed = server.json(&["cert", "list", "--device", "SN1"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let serial = listed["items"][0]["serial"].as_str().unwrap();

    let chain = file(&server, "all.pem");
    expect_success(&server.run(&["scep", "getca", "--url", &url, "--out", &chain]), "scep getca");
    let own = ["--cert", &cert, "--key", &key];
    let out = file(&server, "again.pem");
    let fetched = server
        .run(&[&["scep", "getcert", "--url", &url, "--serial", serial, "--out", &out], &own[..]].concat());
    expect_success(&fetched, "scep getcert");
    let shown = server.json(&["cert", "show", serial]);
    assert_eq!(fs::read_to_string(&out).unwrap().trim(), shown["pem"].as_str().unwrap().trim());
    let absent = server.run(
        &[&["scep", "getcert", "--url", &url, "--serial", "4f00ab12", "--out", &out], &own[..]].concat(),
    );
    assert_eq!(code(&absent), 4, "{}", stderr(&absent));
    let crl = file(&server, "crl.der");
    expect_success(
        &server.run(&[&["scep", "getcrl", "--url", &url, "--out", &crl], &own[..]].concat()),
        "scep getcrl",
    );
    assert_eq!(fs::read(&crl).unwrap(), http_get(server.device_address(), "/crl/issuing.crl").unwrap().body);

    let issuer = file(&server, "issuing.pem");
    fs::write(&issuer, http_get(server.device_address(), "/ca/issuing.pem").unwrap().body).unwrap();
    let ask = ["ocsp", "check", "--issuer", &issuer, "--cert", &renewed, "--nonce"];
    expect_success(&server.run(&ask), "ocsp check");
    expect_success(&server.run(&["device", "wipe", "SN1", "--yes"]), "wipe");
    let held = server.run(&ask);
    assert_eq!(code(&held), 4);
    assert!(stderr(&held).contains("revoked: certificateHold"), "{}", stderr(&held));
    let refused = server.run(&["scep", "renew", "--url", &url, "--key", &key, "--cert", &cert]);
    assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    let responder = format!("{}/ocsp", server.url());
    let unknown =
        server.run(&["ocsp", "check", "--issuer", &issuer, "--serial", "4f00ab12", "--url", &responder]);
    assert_eq!(code(&unknown), 4);
}

#[test]
fn a_challenge_is_good_once() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let (ticket, url) = (file(&server, "SN1.ticket"), server.scep_url("device"));
    let again = server.run(&[
        "scep",
        "enrol",
        "--url",
        &url,
        "--subject",
        "CN=SN1",
        "--challenge-file",
        &ticket,
        "--key",
        &file(&server, "other.key"),
        "--cert",
        &file(&server, "other.pem"),
    ]);
    assert_eq!(code(&again), 4, "{}", stderr(&again));
    assert!(!server.scratch().join("other.pem").exists());
}

/// Hosted servers, and those behind a proxy, are reached by `https://` alone. certgate's own SCEP is not there: that it says so is read
/// through TLS, once its root is trusted.
#[test]
fn a_server_behind_tls_has_to_prove_its_name() {
    let server = Server::started(FAST, "");
    let root = server.scratch().join("root.pem");
    fs::write(&root, http_get(server.device_address(), "/ca/root.pem").unwrap().body).unwrap();
    let url = format!("https://127.0.0.1:{}/scep/device", server.admin_address().port());
    let ask = |trusted: &std::path::Path| {
        let mut command = server.command();
        stderr(
            &command.env("SSL_CERT_FILE", trusted).args(["scep", "getca", "--url", &url]).output().unwrap(),
        )
    };
    let told = ask(&root);
    assert!(told.contains("HTTP 404"), "{told}");
    let other = server.scratch().join("SN1.pem");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let told = ask(&other);
    assert!(told.contains("cannot connect to 127.0.0.1") && told.contains("certificate"), "{told}");
}
