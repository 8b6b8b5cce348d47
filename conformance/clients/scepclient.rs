//! micromdm's `scepclient` 2.1.0 (Debian package `scep`): SHA-1 signatures and single DES, so a profile for old gear.

use std::{fs, process::Command};

use super::{
    assert_enrolled, old_signatures, process::expect_success, serial_of, server, succeed, workplace,
};

pub(super) fn scepclient(directory: &std::path::Path, url: &str, challenge: &str) -> Command {
    let mut command = Command::new("scepclient");
    command.current_dir(directory).args([
        "-private-key",
        "key.pem",
        "-certificate",
        "client.pem",
        "-server-url",
        url,
    ]);
    command.args(["-challenge", challenge, "-cn", "whatever.example"]);
    command
}

#[test]
fn enrols_and_renews_under_a_legacy_profile() {
    let directory = workplace("scepclient");
    server().register_device("micromdm-1");
    let (challenge, _) = server().ticket("old-gear", "micromdm-1");
    let url = server().scep_url("old-gear");

    succeed(&mut scepclient(&directory, &url, &challenge));
    assert!(old_signatures("old-gear", "sha1") > 0, "it is answered with SHA-1, as it asks");
    let (certificate, key) = (directory.join("client.pem"), directory.join("key.pem"));
    assert_enrolled(&certificate, &key, "micromdm-1");
    let first = serial_of(&certificate);

    // With the certificate in place and the request gone, it sends RenewalReq, signed by the old certificate.
    fs::remove_file(directory.join("csr.pem")).unwrap();
    succeed(&mut scepclient(&directory, &url, &challenge));
    assert_enrolled(&certificate, &key, "micromdm-1");
    assert_ne!(serial_of(&certificate), first, "renewal gives a new certificate");
}

#[test]
fn is_refused_where_old_algorithms_are_not_allowed() {
    let directory = workplace("scepclient-refused");
    server().register_device("micromdm-2");
    let (challenge, _) = server().ticket("modern", "micromdm-2");
    let output = scepclient(&directory, &server().scep_url("modern"), &challenge).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    assert!(!output.status.success() && said.contains("badAlg"), "{said}");
    assert!(!directory.join("client.pem").exists());
    // The ticket is not used up by the refusal.
    let again = workplace("scepclient-after-refusal");
    let output = scepclient(&again, &server().scep_url("old-gear"), &challenge).output().unwrap();
    assert!(!output.status.success(), "a ticket of another profile opens no door");
    expect_success(&server().run(&["device", "show", "micromdm-2"]), "device show");
}
