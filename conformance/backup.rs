//! Backups of the real server, taken under load, and what comes out of them: a restore never makes a revoked certificate good again,
//! never uses a CRL number twice, and never takes a one-time challenge twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold panics"
)]

mod process;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use certgate::{
    types::{RevocationReason, SerialNumber},
    wire::crl::Crl,
};
use process::{Server, expect_success, http_get};
use serde_json::{Value, json};

/// Elliptic curves for the CAs: made in no time.
const FAST: &[&str] = &["--key", "p-256"];

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn file(server: &Server, name: &str) -> String {
    server.scratch().join(name).to_str().unwrap().to_owned()
}

/// Enrols a device; gives the serial number of its certificate.
fn enrol(server: &Server, device: &str) -> String {
    server.register_device(device);
    server.ticket("device", device);
    expect_success(&redeem(server, device), "enrol");
    serial_of(server, device)
}

/// Enrols a device that has its ticket.
fn redeem(server: &Server, device: &str) -> Output {
    let path = |kind: &str| file(server, &format!("{device}.{kind}"));
    let (subject, url) = (format!("CN={device}"), server.scep_url("device"));
    let (ticket, key, cert) = (path("ticket"), path("key"), path("pem"));
    server.run(&[
        "scep",
        "enrol",
        "--url",
        &url,
        "--subject",
        &subject,
        "--challenge-file",
        &ticket,
        "--key",
        &key,
        "--cert",
        &cert,
    ])
}

fn serial_of(server: &Server, device: &str) -> String {
    let listed = server.json(&["cert", "list", "--device", device]);
    listed["items"][0]["serial"].as_str().unwrap().to_owned()
}

fn passphrase(server: &Server) -> String {
    let path = server.scratch().join("passphrase");
    if !path.exists() {
        fs::write(&path, "correct horse battery staple\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

fn back_up(server: &Server, name: &str) -> (String, Value) {
    let out = file(server, name);
    let made = server.json(&["backup", "--out", &out, "--passphrase-file", &passphrase(server)]);
    (out, made)
}

/// Puts the data directory aside, as a broken disk would.
fn lose_data(server: &mut Server) {
    server.kill();
    fs::rename(server.data(), server.scratch().join("lost")).unwrap();
}

/// Restores into the place of the data directory.
fn restore(server: &Server, backup: &str, more: &[&str]) -> Output {
    let (data, passphrase) = (server.data(), passphrase(server));
    let data = data.to_str().unwrap();
    let arguments =
        ["-o", "json", "restore", "--in", backup, "--data", data, "--passphrase-file", &passphrase];
    server.run(&[&arguments, more].concat())
}

/// Fetches the published CRL of an issuer as network gear does, and keeps it.
fn fetch_crl(server: &Server, issuer: &str) -> (Crl, String) {
    let der = http_get(server.device_address(), &format!("/crl/{issuer}.crl")).unwrap().body;
    let path = file(server, &format!("{issuer}.crl"));
    fs::write(&path, &der).unwrap();
    (Crl::from_der(&der).unwrap(), path)
}

fn reason_in(crl: &Crl, serial: &str) -> Option<RevocationReason> {
    let serial: SerialNumber = serial.parse().unwrap();
    crl.entries().iter().find(|entry| entry.serial == serial).map(|entry| entry.reason)
}

/// What OCSP says, over HTTP.
fn ocsp(server: &Server, serial: &str) -> String {
    let issuer = file(server, "issuing.pem");
    fs::write(&issuer, http_get(server.device_address(), "/ca/issuing.pem").unwrap().body).unwrap();
    let responder = format!("{}/ocsp", server.url());
    let asked = server
        .run(&["-o", "json", "ocsp", "check", "--issuer", &issuer, "--serial", serial, "--url", &responder]);
    let answer: Value = serde_json::from_slice(&asked.stdout).unwrap_or_else(|_| panic!("{asked:?}"));
    answer["status"].as_str().unwrap().to_owned()
}

fn revoke(server: &Server, serial: &str, reason: &str) {
    let revoked = server.run(&["cert", "revoke", serial, "--reason", reason, "--yes"]);
    expect_success(&revoked, "revoke");
}

#[test]
fn a_restore_revokes_what_was_revoked_after_the_backup() {
    let mut server = Server::started(FAST, "");
    let [good, before, after] = ["GOOD", "BEFORE", "AFTER"].map(|device| enrol(&server, device));
    revoke(&server, &before, "superseded");
    server.register_device("OPEN");
    server.ticket("device", "OPEN");
    let (backup, made) = back_up(&server, "night.backup");
    assert_eq!(made["way"], "server");

    revoke(&server, &after, "keyCompromise");
    let late = enrol(&server, "LATE");
    revoke(&server, &late, "cessationOfOperation");
    let later = enrol(&server, "LATER");
    for issuer in ["root", "issuing"] {
        server.json(&["crl", "publish", issuer]);
    }
    let (published, issuing) = fetch_crl(&server, "issuing");
    let (_, root) = fetch_crl(&server, "root");
    lose_data(&mut server);

    let refused = restore(&server, &backup, &["--crl", &issuing]);
    assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("CRL is missing of root"), "{}", stderr(&refused));
    assert!(!server.data().exists(), "nothing is left behind");
    let restored = restore(&server, &backup, &["--crl", &issuing, "--crl", &root]);
    expect_success(&restored, "restore");
    let told: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!((&told["tickets"], &told["to_do"]), (&json!(1), &json!([])));
    let of_issuing = told["issuers"].as_array().unwrap().iter().find(|it| it["issuer"] == "issuing").unwrap();
    assert_eq!((&of_issuing["revocations"], &of_issuing["unknown"]), (&json!(2), &json!(1)));

    server.start();
    assert_eq!(server.status_of(&good), "good");
    assert_eq!(server.status_of(&before), "revoked");
    assert_eq!(server.status_of(&after), "revoked");
    let statuses = [&good, &before, &after, &late, &later].map(|serial| ocsp(&server, serial));
    assert_eq!(statuses, ["good", "revoked", "revoked", "revoked", "unknown"]);
    let (now, _) = fetch_crl(&server, "issuing");
    assert!(now.number().unwrap() > published.number().unwrap());
    assert!(now.this_update() >= published.this_update());
    for (serial, reason) in [
        (&good, None),
        (&before, Some(RevocationReason::Superseded)),
        (&after, Some(RevocationReason::KeyCompromise)),
        (&late, Some(RevocationReason::CessationOfOperation)),
    ] {
        assert_eq!(reason_in(&now, serial), reason, "{serial}");
    }

    let spent = redeem(&server, "OPEN");
    assert_eq!(code(&spent), 4, "{}", stderr(&spent));
    enrol(&server, "NEW");
    expect_success(&server.run(&["audit", "verify"]), "audit verify");
    let audit = server.json(&["audit", "tail", "--count", "100"]).to_string();
    assert!(audit.contains("gateway.restored"), "{audit}");
    let doctor = server.json(&["doctor"]);
    let check = doctor["checks"].as_array().unwrap().iter().find(|it| it["name"] == "restored").unwrap();
    assert_eq!(check["result"], "pass");
    assert!(check["detail"].as_str().unwrap().contains(made["taken_at"].as_str().unwrap()), "{check}");
}

#[test]
fn a_backup_under_load_holds_whatever_was_acknowledged_before_it() {
    let mut server = Server::started(FAST, "");
    let ended = AtomicBool::new(false);
    let (acknowledged, backup) = thread::scope(|scope| {
        let load: Vec<_> = (0..2)
            .map(|worker| {
                let (server, ended) = (&server, &ended);
                scope.spawn(move || {
                    let mut serials = Vec::new();
                    while !ended.load(Ordering::SeqCst) {
                        serials.push(enrol(server, &format!("W{worker}-{}", serials.len())));
                    }
                    serials
                })
            })
            .collect();
        while server.json(&["cert", "list", "--limit", "1000"])["items"].as_array().unwrap().len() < 12 {}
        let listed = server.json(&["cert", "list", "--limit", "1000"]);
        let (backup, _) = back_up(&server, "load.backup");
        let more = server.json(&["cert", "list", "--limit", "1000"])["items"].as_array().unwrap().len();
        assert!(more > listed["items"].as_array().unwrap().len(), "enrolment went on");
        ended.store(true, Ordering::SeqCst);
        assert!(load.into_iter().all(|worker| !worker.join().unwrap().is_empty()));
        (listed, backup)
    });
    lose_data(&mut server);
    expect_success(&restore(&server, &backup, &["--accept-lost-revocations"]), "restore");
    server.start();
    for certificate in acknowledged["items"].as_array().unwrap() {
        assert_eq!(server.status_of(certificate["serial"].as_str().unwrap()), "good");
    }
    expect_success(&server.run(&["audit", "verify"]), "audit verify");
}

#[test]
fn without_crls_the_loss_must_be_accepted_and_is_shown() {
    let mut server = Server::started(FAST, "");
    let serial = enrol(&server, "SN1");
    let (backup, _) = back_up(&server, "night.backup");
    revoke(&server, &serial, "keyCompromise");
    server.json(&["crl", "publish", "issuing"]);
    let (published, _) = fetch_crl(&server, "issuing");
    lose_data(&mut server);

    let refused = restore(&server, &backup, &[]);
    assert_eq!(code(&refused), 4);
    let words = stderr(&refused);
    assert!(words.contains("--accept-lost-revocations") && words.contains("/crl/issuing.crl"), "{words}");
    expect_success(&restore(&server, &backup, &["--accept-lost-revocations"]), "restore");
    server.start();
    assert_eq!(ocsp(&server, &serial), "good", "this is what was accepted");
    assert!(fetch_crl(&server, "issuing").0.number().unwrap() > published.number().unwrap());
    let doctor = server.json(&["doctor"]);
    let check = doctor["checks"].as_array().unwrap().iter().find(|it| it["name"] == "restored").unwrap();
    assert_eq!(check["result"], "warn");
    assert!(check["hint"].as_str().unwrap().contains("revoke again"), "{check}");
}

#[test]
fn crls_that_are_older_or_foreign_are_refused() {
    let mut server = Server::started(FAST, "");
    let (_, root) = fetch_crl(&server, "root");
    let old = file(&server, "old.crl");
    fs::rename(fetch_crl(&server, "issuing").1, &old).unwrap();
    server.json(&["crl", "publish", "issuing"]);
    let (backup, _) = back_up(&server, "night.backup");
    let (_, issuing) = fetch_crl(&server, "issuing");
    let other = Server::started(FAST, "");
    let (_, foreign) = fetch_crl(&other, "issuing");
    lose_data(&mut server);

    for (crl, words) in [(&old, "the backup knows number"), (&foreign, "no issuer in the backup signed")] {
        let refused = restore(&server, &backup, &["--crl", &root, "--crl", crl]);
        assert_eq!(code(&refused), 2, "{}", stderr(&refused));
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
        assert!(!server.data().exists());
    }
    expect_success(&restore(&server, &backup, &["--crl", &root, "--crl", &issuing]), "restore");
}

#[test]
fn a_stopped_gateway_is_backed_up_from_its_directory() {
    let mut server = Server::started(FAST, "");
    let serial = enrol(&server, "SN1");
    assert_eq!(server.terminate(), Some(0));
    let (backup, made) = back_up(&server, "stopped.backup");
    assert_eq!(made["way"], "directory");
    let files: Vec<_> = made["files"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(files, ["certgate.toml", "kek.key", "kek.toml", "owner.token"]);
    assert_eq!(made["not_inside"], json!([]));
    fs::rename(server.data(), server.scratch().join("lost")).unwrap();
    expect_success(&restore(&server, &backup, &["--accept-lost-revocations"]), "restore");
    for name in files.into_iter().chain(["certgate.redb"]) {
        let permissions = fs::metadata(server.data().join(name)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600, "{name}");
    }
    server.start();
    assert_eq!(server.status_of(&serial), "good");
}

#[test]
fn a_backup_can_be_tested_and_damage_is_named() {
    let server = Server::started(FAST, "");
    enrol(&server, "SN1");
    let (backup, made) = back_up(&server, "night.backup");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let metrics = http_get(server.ops_address(), "/metrics").unwrap().body;
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("\ncertgate_backup_last_success_timestamp_seconds 1"), "{metrics}");
    let audit = server.json(&["audit", "tail", "--count", "100"]).to_string();
    for words in ["backup.started", "backup.completed", made["sha256"].as_str().unwrap()] {
        assert!(audit.contains(words), "{words} in {audit}");
    }

    let check = |path: &str, passphrase: &str| {
        server.run(&["-o", "json", "restore", "--check", "--in", path, "--passphrase-file", passphrase])
    };
    let right = passphrase(&server);
    let checked = check(&backup, &right);
    expect_success(&checked, "restore --check");
    let content: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(content["taken_at"], made["taken_at"]);
    assert!(content["rows"].as_u64().unwrap() > 10);

    let wrong = file(&server, "wrong");
    fs::write(&wrong, "incorrect horse").unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = check(&backup, &wrong);
    assert_eq!(code(&refused), 4);
    assert!(stderr(&refused).contains("passphrase is not the one"), "{}", stderr(&refused));

    let bytes = fs::read(&backup).unwrap();
    let header = 61;
    let damaged = file(&server, "damaged");
    let mut changed = bytes.clone();
    changed[header + 100] ^= 1;
    for (content, words) in [
        (&changed[..], "was changed, cut off or is damaged"),
        (&bytes[..bytes.len() - 1], "was changed, cut off or is damaged"),
        (&bytes[..header], "was cut off"),
        (&b"PK\x03\x04 something else altogether"[..], "no backup of certgate"),
    ] {
        fs::write(&damaged, content).unwrap();
        let refused = check(&damaged, &right);
        assert_eq!(code(&refused), 1, "{words}");
        assert!(stderr(&refused).contains(words), "{words} in {}", stderr(&refused));
        let data = file(&server, "elsewhere");
        let refused = server.run(&[
            "restore",
            "--in",
            &damaged,
            "--data",
            &data,
            "--passphrase-file",
            &right,
            "--accept-lost-revocations",
        ]);
        assert_eq!(code(&refused), 1, "{}", stderr(&refused));
        assert!(!PathBuf::from(data).exists(), "nothing is left behind");
    }
}

#[test]
fn a_restore_touches_no_directory_that_holds_something() {
    let server = Server::started(FAST, "");
    let (backup, _) = back_up(&server, "night.backup");
    let refused = restore(&server, &backup, &["--accept-lost-revocations"]);
    assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("holds a gateway already"), "{}", stderr(&refused));
    let folder = server.scratch().join("thesis");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("thesis.tex"), "precious").unwrap();
    let refused = server.run(&[
        "restore",
        "--in",
        &backup,
        "--passphrase-file",
        &passphrase(&server),
        "--accept-lost-revocations",
        "--data",
        folder.to_str().unwrap(),
    ]);
    assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn a_backup_that_nobody_takes_ends_and_the_next_one_begins() {
    let server = Server::started(FAST, "");
    for _ in 0..3 {
        let mut socket = UnixStream::connect(server.data().join("certgate.sock")).unwrap();
        socket.write_all(b"POST /api/v1/backups HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        socket.read_exact(&mut [0; 16]).unwrap();
    }
    // The last of them may still be on its way out.
    let (out, passphrase) = (file(&server, "night.backup"), passphrase(&server));
    let again = ["backup", "--out", &out, "--passphrase-file", &passphrase];
    assert!((0..50).any(|_| server.run(&again).status.success()));
}

/// What certgate answers for another CA with is in the backup, and the key that this CA was asked to certify.
#[test]
fn a_restored_gateway_goes_on_answering_for_another_ca() {
    const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/x509/ca.der");
    let mut server = Server::started(FAST, "");
    let index = file(&server, "index.txt");
    fs::write(
        &index,
        "V\t361121000000Z\t\t1000\tunknown\t/CN=x\nR\t361121000000Z\t260101000000Z\t1001\tunknown\t/CN=y\n",
    )
    .unwrap();
    server.json(&["import", "--issuer-cert", CA, "--name", "old", "--index", &index]);
    server.json(&["responder", "use", "old", "trusted", "--by", "issuing"]);
    let responder = file(&server, "responder.pem");
    expect_success(&server.run(&["responder", "export", "old", "--out", &responder]), "export");
    let requested = server.json(&["responder", "request", "old"])["public_key"].clone();
    let says = |server: &Server, serial: &str| {
        let url = format!("{}/ocsp", server.url());
        let asked = server.run(&[
            "-o",
            "json",
            "ocsp",
            "check",
            "--issuer",
            CA,
            "--serial",
            serial,
            "--url",
            &url,
            "--responder",
            &responder,
        ]);
        let answer: Value = serde_json::from_slice(&asked.stdout).unwrap_or_else(|_| panic!("{asked:?}"));
        answer["status"].as_str().unwrap().to_owned()
    };
    let all = |server: &Server| ["1000", "1001", "1002"].map(|serial| says(server, serial));
    assert_eq!(all(&server), ["good", "revoked", "unknown"]);
    let (backup, _) = back_up(&server, "other-ca.backup");
    lose_data(&mut server);
    expect_success(&restore(&server, &backup, &["--accept-lost-revocations"]), "restore");
    server.start();
    assert_eq!(all(&server), ["good", "revoked", "unknown"], "the same responder's key");
    assert_eq!(server.json(&["responder", "request", "old"])["public_key"], requested);
}
