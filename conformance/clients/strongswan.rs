//! strongSwan 5.9.8 `pki --scepca` and `pki --scep`: POST without Content-Type, unsorted CSR attributes, AES only if SHA-384 is advertised
//! (strongSwan bug 1607), CertReps only with signatureAlgorithm rsaEncryption.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{assert_enrolled, authority_files, old_signatures, serial_of, server, succeed, workplace};

struct Files {
    directory: PathBuf,
    root: PathBuf,
    issuing: PathBuf,
    message: PathBuf,
    key: PathBuf,
}

fn prepare(name: &str, profile: &str) -> Files {
    let directory = workplace(name);
    let (root, issuing, message) = authority_files(&directory, profile);
    let key = new_key(&directory, "key.pem");
    Files { directory, root, issuing, message, key }
}

fn new_key(directory: &Path, name: &str) -> PathBuf {
    let key = directory.join(name);
    let pem =
        succeed(Command::new("pki").args(["--gen", "--type", "rsa", "--size", "2048", "--outform", "pem"]))
            .stdout;
    fs::write(&key, pem).unwrap();
    key
}

fn scep(files: &Files, profile: &str) -> Command {
    let mut command = Command::new("pki");
    command.args(["--scep", "--url", &server().scep_url(profile), "--dn", "C=CH, O=strongSwan, CN=whatever"]);
    command.arg("--cacert-enc").arg(&files.message).arg("--cacert-sig").arg(&files.message);
    command.arg("--cacert").arg(&files.issuing).arg("--cacert").arg(&files.root).args(["--outform", "pem"]);
    command
}

#[test]
fn fetches_ca_and_ra_certificates() {
    let directory = workplace("strongswan-ca");
    succeed(
        Command::new("pki")
            .current_dir(&directory)
            .args(["--scepca", "--url", &server().scep_url("modern")])
            .args(["--caout", "ca.pem", "--raout", "ra.pem", "--outform", "pem", "--force"]),
    );
    let written = fs::read_dir(&directory).unwrap().count();
    assert!(written >= 3, "root, issuing CA and message certificate in {written} files");
}

#[test]
fn enrols_with_aes_and_renews_with_a_new_key() {
    let files = prepare("strongswan", "modern");
    server().register_device("swan-1");
    let (challenge, _) = server().ticket("modern", "swan-1");
    let certificate = files.directory.join("cert.pem");
    let output = succeed(scep(&files, "modern").arg("--in").arg(&files.key).args(["--password", &challenge]));
    fs::write(&certificate, output.stdout).unwrap();
    assert_enrolled(&certificate, &files.key, "swan-1");

    let new_key = new_key(&files.directory, "new-key.pem");
    let renewed = files.directory.join("renewed.pem");
    let output = succeed(
        scep(&files, "modern")
            .arg("--in")
            .arg(&new_key)
            .arg("--cert")
            .arg(&certificate)
            .arg("--key")
            .arg(&files.key),
    );
    fs::write(&renewed, output.stdout).unwrap();
    assert_enrolled(&renewed, &new_key, "swan-1");
    assert_ne!(serial_of(&renewed), serial_of(&certificate));
}

#[test]
fn enrols_and_renews_with_rsassa_pss() {
    for digest in ["sha256", "sha384", "sha512"] {
        let name = format!("strongswan-pss-{digest}");
        let files = prepare(&name, "modern");
        let device = format!("swan-{digest}");
        server().register_device(&device);
        let (challenge, _) = server().ticket("modern", &device);
        let pss = ["--rsa-padding", "pss", "--digest", digest];
        let certificate = files.directory.join("cert.pem");
        let mut enrol = scep(&files, "modern");
        enrol.arg("--in").arg(&files.key).args(["--password", &challenge]).args(pss);
        fs::write(&certificate, succeed(&mut enrol).stdout).unwrap();
        assert_enrolled(&certificate, &files.key, &device);

        let new_key = new_key(&files.directory, "new-key.pem");
        let renewed = files.directory.join("renewed.pem");
        let mut renew = scep(&files, "modern");
        renew
            .arg("--in")
            .arg(&new_key)
            .arg("--cert")
            .arg(&certificate)
            .arg("--key")
            .arg(&files.key)
            .args(pss);
        fs::write(&renewed, succeed(&mut renew).stdout).unwrap();
        assert_enrolled(&renewed, &new_key, &device);
    }
}

#[test]
fn enrols_with_sha1_and_verifies_an_answer_with_sha1() {
    let files = prepare("strongswan-sha1", "sha1-gear");
    server().register_device("swan-sha1");
    let (challenge, _) = server().ticket("sha1-gear", "swan-sha1");
    let certificate = files.directory.join("cert.pem");
    let mut enrol = scep(&files, "sha1-gear");
    enrol.arg("--in").arg(&files.key).args(["--password", &challenge, "--digest", "sha1"]);
    fs::write(&certificate, succeed(&mut enrol).stdout).unwrap();
    assert_enrolled(&certificate, &files.key, "swan-sha1");
    assert_eq!(old_signatures("sha1-gear", "sha1"), 1);
}

#[test]
fn enrols_with_triple_des_where_the_profile_allows_it() {
    let files = prepare("strongswan-3des", "old-gear");
    server().register_device("swan-2");
    let (challenge, _) = server().ticket("old-gear", "swan-2");
    let certificate = files.directory.join("cert.pem");
    let output = succeed(scep(&files, "old-gear").arg("--in").arg(&files.key).args([
        "--password",
        &challenge,
        "--cipher",
        "des3",
    ]));
    fs::write(&certificate, output.stdout).unwrap();
    assert_enrolled(&certificate, &files.key, "swan-2");
}

#[test]
fn polls_until_an_operator_approves() {
    let files = prepare("strongswan-poll", "approved");
    server().register_device("swan-3");
    let (challenge, _) = server().ticket("approved", "swan-3");
    let client = scep(&files, "approved")
        .arg("--in")
        .arg(&files.key)
        .args(["--password", &challenge, "--interval", "1", "--maxpolltime", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let enrolment = wait_for_pending("swan-3");
    server().json(&["queue", "approve", &enrolment]);

    let output = client.wait_with_output().unwrap();
    super::process::expect_success(&output, "pki --scep with polling");
    let certificate = files.directory.join("cert.pem");
    fs::write(&certificate, output.stdout).unwrap();
    assert_enrolled(&certificate, &files.key, "swan-3");
}

fn wait_for_pending(device: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let pending = server().json(&["queue", "list"]);
        let found = pending["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry.to_string().contains(device))
            .cloned();
        if let Some(entry) = found {
            return entry["id"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "no enrolment of {device} waits: {pending}");
        thread::sleep(Duration::from_millis(100));
    }
}
