//! The issuing CA replaced, as an operator and a device live through it, with a restart between the steps.

use std::{fs, path::Path, process::Command};

use crate::{
    FAST, MANUAL, code, enrol,
    process::{Server, expect_success, http_get},
    stderr, stdout,
};

/// A certificate can be renewed in its last thirty days only.
const WINDOWED: &str = "[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"ticket\"]\nvalidity-days = 90\nrenewal-window-days = 30\n";

fn file(server: &Server, name: &str) -> String {
    server.scratch().join(name).to_str().unwrap().to_owned()
}

/// The issuer's certificate, as its AIA URL gives it.
fn issuer(server: &Server, name: &str) -> String {
    let path = file(server, &format!("{name}.ca.pem"));
    fs::write(&path, http_get(server.device_address(), &format!("/ca/{name}.pem")).unwrap().body).unwrap();
    path
}

pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// Whether OpenSSL takes `certificate` below the root and `issuer`, with that issuer's CRL.
fn is_listed(server: &Server, certificate: &str, issuer_name: &str) -> bool {
    expect_success(&server.run(&["crl", "publish", issuer_name]), "crl publish");
    let crl = file(server, &format!("{issuer_name}.crl"));
    fs::write(&crl, http_get(server.device_address(), &format!("/crl/{issuer_name}.crl")).unwrap().body)
        .unwrap();
    let serial = openssl(&["x509", "-in", certificate, "-noout", "-serial"]);
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    let text = openssl(&[
        "crl",
        "-inform",
        "DER",
        "-in",
        &crl,
        "-CAfile",
        &issuer(server, issuer_name),
        "-noout",
        "-text",
    ]);
    text.contains(&serial)
}

fn restart(server: &mut Server) {
    server.kill();
    server.start();
}

#[test]
fn the_issuing_ca_is_replaced_while_devices_go_on() {
    let mut server = Server::started(FAST, WINDOWED);
    let url = server.scep_url("device");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let (key, old) = (file(&server, "SN1.key"), file(&server, "SN1.pem"));
    let none = server.run(&["scep", "getnextca", "--url", &url]);
    assert_eq!(code(&none), 1, "{}", stderr(&none));
    assert_eq!(code(&server.run(&["issuer", "cutover", "issuing", "--yes"])), 4);
    assert_eq!(code(&server.run(&["issuer", "rollover", "root"])), 4);
    assert_eq!(code(&server.run(&["issuer", "rollover", "nobody"])), 3);

    // Announced.
    let announced = server.run(&["issuer", "rollover", "issuing"]);
    expect_success(&announced, "issuer rollover");
    assert!(stdout(&announced).starts_with("issuing-2: announced"), "{}", stdout(&announced));
    restart(&mut server);
    assert_eq!(server.json(&["issuer", "show", "issuing-2"])["generation"]["state"], "announced");
    let present = server.json(&["issuer", "show", "issuing"])["fingerprint"].as_str().unwrap().to_owned();
    let next = file(&server, "next.pem");
    let fetched =
        server.run(&["scep", "getnextca", "--url", &url, "--ca-fingerprint", &present, "--out", &next]);
    expect_success(&fetched, "scep getnextca");
    verified_by_openssl(&server, &next);

    // A shadow certificate, before the renewal window opens.
    let (shadow, renewal) =
        (file(&server, "shadow.pem"), ["scep", "renew", "--url", &url, "--key", &key, "--cert", &old]);
    let early = server.run(&[&renewal[..], &["--out", &shadow]].concat());
    assert_eq!(code(&early), 4, "{}", stderr(&early));
    expect_success(&server.run(&[&renewal[..], &["--out", &shadow, "--next"]].concat()), "renew --next");
    openssl(&["verify", "-CAfile", &next, "-untrusted", &next, &shadow]);
    restart(&mut server);
    let used = server.run(&["issuer", "rollover", "issuing", "--cancel", "--yes"]);
    assert_eq!(code(&used), 4, "{}", stderr(&used));

    // Cut over. A time that is past is a mistake, and this cannot be taken back.
    let past = server.run(&["issuer", "cutover", "issuing", "--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(code(&past), 4, "{}", stderr(&past));
    assert_eq!(server.json(&["issuer", "show", "issuing-2"])["generation"]["state"], "announced");
    expect_success(&server.run(&["issuer", "cutover", "issuing", "--yes"]), "issuer cutover");
    restart(&mut server);
    // The CRL of the old certificate is signed by a CA that the server shows no more.
    let crl = ["scep", "getcrl", "--url", &url, "--key", &key, "--cert", &old];
    let unknown = server.run(&crl);
    assert_eq!(code(&unknown), 1);
    assert!(stderr(&unknown).contains("give its certificate with --issuer"), "{}", stderr(&unknown));
    let replaced = issuer(&server, "issuing");
    expect_success(&server.run(&[&crl[..], &["--issuer", &replaced]].concat()), "getcrl of the old CA");
    let renewed = file(&server, "renewed.pem");
    expect_success(&server.run(&[&renewal[..], &["--out", &renewed]].concat()), "renewal across");
    expect_success(&enrol(&server, "device", "SN2", &[]), "enrol with the new CA");
    let new = file(&server, "SN2.pem");

    // Both are answered for, good and revoked.
    let ocsp = |server: &Server, certificate: &str, name: &str| {
        code(&server.run(&["ocsp", "check", "--issuer", &issuer(server, name), "--cert", certificate]))
    };
    for (certificate, name) in
        [(&old, "issuing"), (&shadow, "issuing-2"), (&renewed, "issuing-2"), (&new, "issuing-2")]
    {
        assert_eq!(ocsp(&server, certificate, name), 0, "{certificate}");
        assert!(!is_listed(&server, certificate, name), "{certificate}");
    }
    expect_success(&server.run(&["device", "wipe", "SN1", "--yes"]), "wipe");
    restart(&mut server);
    for (certificate, name) in [(&old, "issuing"), (&shadow, "issuing-2"), (&renewed, "issuing-2")] {
        assert_eq!(ocsp(&server, certificate, name), 4, "{certificate}");
        assert!(is_listed(&server, certificate, name), "{certificate}");
    }
    assert_eq!(ocsp(&server, &new, "issuing-2"), 0);
    let states: Vec<_> = server.json(&["issuer", "list"])["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|issuer| {
            format!("{} {}", issuer["id"].as_str().unwrap(), issuer["generation"]["state"].as_str().unwrap())
        })
        .collect();
    assert_eq!(states, ["issuing retired", "issuing-2 current", "root current"]);
}

/// GetNextCACert as a client without any of our code sees it: `openssl cms -verify`, which checks both signatures and their chains,
/// and the certificates inside. Its default purpose is e-mail, which neither signer is for.
fn verified_by_openssl(server: &Server, next: &str) {
    let [answer, content, root] = ["next.der", "content.der", "root.pem"].map(|name| file(server, name));
    let got = http_get(server.device_address(), "/scep/device?operation=GetNextCACert").unwrap();
    assert_eq!(got.status, 200);
    fs::write(&answer, got.body).unwrap();
    fs::write(&root, fs::read(issuer(server, "root")).unwrap()).unwrap();
    openssl(&[
        "cms", "-verify", "-inform", "DER", "-in", &answer, "-CAfile", &root, "-purpose", "any", "-binary",
        "-out", &content,
    ]);
    let inside = openssl(&["pkcs7", "-inform", "DER", "-in", &content, "-print_certs"]);
    for pem in fs::read_to_string(Path::new(next)).unwrap().split("-----BEGIN CERTIFICATE-----").skip(1) {
        let body = pem.split("-----END").next().unwrap().trim();
        assert!(inside.contains(body), "{inside}");
    }
}

/// Who waits for an operator while the CA is replaced gets what the new one issues, and what the old one issued before.
#[test]
fn a_request_that_waits_outlives_a_cut_over() {
    let server = Server::started(FAST, MANUAL);
    let pending = |device: &str| file(&server, &format!("{device}.pem.pending"));
    let decide = || {
        let waiting = server.json(&["queue", "list"])["items"][0]["id"].as_str().unwrap().to_owned();
        expect_success(&server.run(&["queue", "approve", &waiting]), "queue approve");
    };
    assert_eq!(code(&enrol(&server, "manual", "SN1", &[])), 5);
    decide();
    assert_eq!(code(&enrol(&server, "manual", "SN2", &[])), 5);
    expect_success(&server.run(&["issuer", "rollover", "issuing"]), "issuer rollover");
    expect_success(&server.run(&["issuer", "cutover", "issuing", "--yes"]), "issuer cutover");
    decide();
    for (device, ca) in [("SN1", "issuing"), ("SN2", "issuing-2")] {
        let polled = server.run(&["scep", "poll", "--transaction", &pending(device)]);
        expect_success(&polled, "scep poll");
        let certificate = file(&server, &format!("{device}.pem"));
        openssl(&["verify", "-partial_chain", "-CAfile", &issuer(&server, ca), &certificate]);
    }
}
