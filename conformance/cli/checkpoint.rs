//! A copy of the database that somebody puts back, as the operator sees it.

use std::fs;

use certgate::{
    types::DigestAlgorithm,
    wire::{
        ocsp::{CertId, ErrorStatus, OcspRequest},
        x509::Certificate,
    },
};

use crate::{
    FAST, code,
    process::{Server, expect_success, http_get, http_post},
    stderr, stdout,
};

#[test]
fn a_database_put_back_by_hand_is_found_out_and_accepted_on_purpose() {
    let mut server = Server::started(FAST, "");
    let store = server.data().join("certgate.redb");
    let copy = server.scratch().join("copy.redb");
    server.kill();
    fs::copy(&store, &copy).unwrap();
    server.start();
    for _ in 0..3 {
        expect_success(&server.run(&["crl", "publish", "issuing"]), "publish");
    }
    let newest = ["root", "issuing"].map(|issuer| {
        let path = server.scratch().join(format!("{issuer}.crl"));
        let answer = http_get(server.device_address(), &format!("/crl/{issuer}.crl")).unwrap();
        fs::write(&path, answer.body).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let number = server.json(&["crl", "show", "issuing"])["number"].as_u64().unwrap();
    server.kill();
    fs::copy(&copy, &store).unwrap();

    server.start_unready();
    let doctor = server.run(&["doctor"]);
    assert_eq!(code(&doctor), 1);
    assert!(stdout(&doctor).contains("certgate doctor --accept-restore"), "{}", stdout(&doctor));
    assert!(stdout(&doctor).contains("not served (503)"), "{}", stdout(&doctor));
    let shown = server.run(&["crl", "show", "issuing"]);
    assert_eq!(code(&shown), 4);
    assert!(stderr(&shown).contains("is not served"), "{}", stderr(&shown));
    // One that it has, and one that it may have had.
    for path in ["/crl/issuing.crl", "/crl/issuing.crl.pem", "/crl/unheard-of.crl"] {
        let answer = http_get(server.device_address(), path).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("300")), "{path}");
    }
    let issuer = http_get(server.device_address(), "/ca/issuing.cer").unwrap().body;
    let issuer = Certificate::from_der(&issuer).unwrap();
    let cert_id = CertId::new(DigestAlgorithm::Sha1, &issuer, &"4f".parse().unwrap()).unwrap();
    let question = OcspRequest::new(vec![cert_id], None).to_der().unwrap();
    for _ in 0..50 {
        let answer =
            http_post(server.device_address(), "/ocsp", "application/ocsp-request", &question).unwrap();
        assert_eq!(answer.body, ErrorStatus::TryLater.to_der());
    }
    let complaints = server.log().matches("ocsp: try later").count();
    assert!((1..10).contains(&complaints), "one a minute: {complaints}");
    let bare = server.run(&["doctor", "--accept-restore", "--yes"]);
    assert_eq!(code(&bare), 4);
    assert!(stderr(&bare).contains("--accept-lost-revocations"), "{}", stderr(&bare));
    let [root, issuing] = &newest;
    let accepted = server.run(&["doctor", "--accept-restore", "--yes", "--crl", root, "--crl", issuing]);
    expect_success(&accepted, "accept");
    assert!(stdout(&accepted).contains("Audit events lost"), "{}", stdout(&accepted));
    assert!(server.json(&["crl", "show", "issuing"])["number"].as_u64().unwrap() > number);
    assert_eq!(http_get(server.device_address(), "/crl/issuing.crl").unwrap().status, 200);
    assert_eq!(http_get(server.device_address(), "/crl/unheard-of.crl").unwrap().status, 404);
    expect_success(&server.run(&["doctor"]), "doctor");
    server.kill();
    server.start();
}
