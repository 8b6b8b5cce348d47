//! `certgate conformance` against servers that certgate's authors did not write: micromdm's `scepserver` 2.1.0 (Debian package `scep`), and `openssl ocsp`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    process::{free_address, http_get},
    server, succeed, workplace,
};

/// Ends the server with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn verdict(report: &Value, id: &str) -> String {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap()["verdict"].as_str().unwrap().to_owned()
}

/// The README shows the report as its second column.
fn assert_is_shown(report: &Value) {
    let readme = include_str!("../../README.md");
    let wrong = report["checks"].as_array().unwrap().iter().filter_map(|check| {
        let id = check["id"].as_str().unwrap();
        let row = readme.lines().find(|line| line.starts_with(&format!("| {id} |")));
        let theirs = row.and_then(|row| row.split('|').nth(4)).map(str::trim);
        (theirs != check["verdict"].as_str()).then(|| format!("{check} in the README: {row:?}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_suite_ends_and_names_the_faults_of_scepserver() {
    let directory = workplace("scepserver");
    succeed(Command::new("scepserver").current_dir(&directory).args(["ca", "-init", "-depot", "depot"]));
    let (address, challenge) = (free_address(), directory.join("challenge"));
    std::fs::write(&challenge, "a shared challenge").unwrap();
    let mut command = Command::new("scepserver");
    command.current_dir(&directory).args(["-depot", "depot", "-challenge", "a shared challenge"]);
    command.args(["-port", &address.port().to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while http_get(address, "/scep?operation=GetCACaps").is_none() {
        assert!(Instant::now() < deadline, "scepserver is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    let url = format!("http://{address}/scep");
    let challenge = challenge.to_str().unwrap();
    let output = server().run(&["-o", "json", "conformance", "scep", &url, "--challenge-file", challenge]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["given_up"], Value::Null);
    let verdict = |id: &str| verdict(&report, id);
    assert_is_shown(&report);
    for passed in [
        "8894-3.5.1-getcacaps",
        "8894-4.2.1-media-type",
        "8894-3.3.1-pkcsreq",
        "8894-3.2.1.5-recipient-nonce",
    ] {
        assert_eq!(verdict(passed), "pass", "{passed}");
    }
    for failed in [
        "8894-2.1.2-key-usage",
        "8894-2.9-des",
        "8894-3.2.1.5-sender-nonce",
        "8894-5.2-repeat",
        "8894-7-oracle",
        "2986-4.2-self-signature",
        "8894-4.3-garbage",
        "8894-4.1-unknown-operation",
    ] {
        assert_eq!(verdict(failed), "fail", "{failed}");
    }
}

/// A CA, a good certificate (serial 1001), a revoked one (1002) and a delegate, all by OpenSSL, with the index that its responder reads.
fn openssl_pki(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        succeed(Command::new("openssl").current_dir(directory).args(arguments));
    };
    let request = ["req", "-newkey", "rsa:2048", "-nodes"];
    let ca = ["-x509", "-days", "30", "-subj", "/CN=OpenSSL CA", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&request[..], &ca].concat());
    std::fs::write(directory.join("leaf.ext"), "keyUsage=digitalSignature\n").unwrap();
    std::fs::write(directory.join("ocsp.ext"), "extendedKeyUsage=OCSPSigning\nnoCheck=ignored\n").unwrap();
    for (name, serial, extensions) in
        [("good", "0x1001", "leaf.ext"), ("revoked", "0x1002", "leaf.ext"), ("ocsp", "0x1003", "ocsp.ext")]
    {
        let [subject, key, csr, certificate] =
            [format!("/CN={name}"), format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem")];
        openssl(&[&request[..], &["-subj", &subject, "-keyout", &key, "-out", &csr]].concat());
        let sign =
            ["x509", "-req", "-days", "30", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", serial];
        openssl(&[&sign[..], &["-extfile", extensions, "-in", &csr, "-out", &certificate]].concat());
    }
    let index = "V\t491231235959Z\t\t1001\tunknown\t/CN=good\n\
                 R\t491231235959Z\t260101000000Z,keyCompromise\t1002\tunknown\t/CN=revoked\n";
    std::fs::write(directory.join("index.txt"), index).unwrap();
}

#[test]
fn the_suite_ends_and_names_the_faults_of_openssls_responder() {
    let directory = workplace("openssl-ocsp");
    openssl_pki(&directory);
    let address = free_address();
    let mut command = Command::new("openssl");
    command.current_dir(&directory).args(["ocsp", "-index", "index.txt", "-CA", "ca.pem", "-ignore_err"]);
    command.args(["-rsigner", "ocsp.pem", "-rkey", "ocsp.key", "-nmin", "60", "-port"]);
    command.arg(address.port().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while http_get(address, "/").is_none() {
        assert!(Instant::now() < deadline, "openssl ocsp is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let [issuer, good, revoked] = ["ca.pem", "good.pem", "revoked.pem"].map(file);
    let url = format!("http://{address}/");
    let whom = ["ocsp", &url, "--issuer", &issuer, "--cert", &good, "--revoked-cert", &revoked];
    let patience = ["--timeout", "5s"];
    let output = server().run(&[&["-o", "json", "conformance"], &whom[..], &patience].concat());
    // To what it cannot read it says nothing, three times in a row at the end.
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["given_up"].as_str().unwrap().contains("did not answer"), "{report}");
    assert_is_shown(&report);
    for passed in
        ["6960-A.1-post", "6960-A.1-get", "6960-2.2-good", "6960-2.2-revoked", "6960-4.2.2.2-signature"]
    {
        assert_eq!(verdict(&report, passed), "pass", "{passed}");
    }
    for failed in ["9919-6-cache-control", "9919-3.2.2-by-key"] {
        assert_eq!(verdict(&report, failed), "fail", "{failed}");
    }
}
