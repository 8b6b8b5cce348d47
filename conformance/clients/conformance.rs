//! `certgate conformance scep` against a server that certgate's authors did not write: micromdm's `scepserver` 2.1.0 (Debian package `scep`).

use std::{
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
    let verdict = |id: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    // The README shows this column.
    let readme = include_str!("../../README.md");
    for check in report["checks"].as_array().unwrap() {
        let id = check["id"].as_str().unwrap();
        let row = readme.lines().find(|line| line.starts_with(&format!("| {id} |")));
        let theirs = row.and_then(|row| row.split('|').nth(4)).map(str::trim);
        assert_eq!(theirs, check["verdict"].as_str(), "{id} in the README: {row:?}");
    }
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
