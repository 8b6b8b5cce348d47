//! The API over HTTPS, as an MDM server or a script uses it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::Value;

use crate::{
    FAST,
    process::{Server, http_get},
};

/// An answer: status, the id under which the log and the audit record have it, body.
struct Answer {
    status: u16,
    request: String,
    body: Value,
}

/// One request over TLS that trusts the gateway's root and nothing else.
fn ask(server: &Server, token: Option<&str>, method: &str, path: &str, body: &str) -> Answer {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(http_get(server.device_address(), "/ca/root.cer").unwrap().body)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection =
        ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(server.admin_address()).unwrap());
    let authorization =
        token.map(|token| format!("Authorization: Bearer {}\r\n", token.trim())).unwrap_or_default();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}Content-Length: {length}\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let request =
        head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("every answer has an id");
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        request: request.to_owned(),
        body: serde_json::from_str(body).unwrap(),
    }
}

#[test]
fn the_api_serves_bearers_of_tokens_over_tls() {
    let server = Server::started(FAST, "");
    let owner = fs::read_to_string(server.data().join("owner.token")).unwrap();
    let status = ask(&server, Some(&owner), "GET", "/api/v1/status", "");
    assert_eq!((status.status, status.body["ready"].as_bool()), (200, Some(true)));
    for wrong in [None, Some("no-such-token")] {
        let refused = ask(&server, wrong, "GET", "/api/v1/status", "");
        assert_eq!(refused.status, 401);
        assert_eq!(refused.body["type"], "urn:certgate:problem:unauthenticated");
        assert_eq!(refused.body["request_id"], refused.request.as_str());
    }
    let absent = ask(&server, Some(&owner), "GET", "/api/v1/nothing", "");
    assert_eq!(absent.status, 404);
}

#[test]
fn who_writes_http_instead_of_https_is_told_so() {
    let server = Server::started(FAST, "");
    let answer = http_get(server.admin_address(), "/certsrv/mscep_admin/").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert!(answer.status == 400 && text.contains("https://"), "{text}");
    let answer = http_get(server.device_address(), "/certsrv/mscep_admin/").unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert!(answer.status == 404 && text.contains("admin listener, over HTTPS"), "{text}");
}

#[test]
fn a_role_bounds_what_a_token_can_do() {
    let server = Server::started(FAST, "");
    server.register_device("SN1");
    let token = |role: &str| {
        server.json(&["token", "create", role, "--role", role])["secret"].as_str().unwrap().to_owned()
    };
    let (auditor, operator) = (token("auditor"), token("operator"));
    let wipe =
        |token: &str| ask(&server, Some(token), "POST", "/api/v1/devices/SN1/events", "{\"event\":\"lost\"}");
    let refused = wipe(&auditor);
    assert_eq!((refused.status, &refused.body["type"]), (403, &"urn:certgate:problem:forbidden".into()));
    assert_eq!(ask(&server, Some(&auditor), "GET", "/api/v1/devices/SN1", "").status, 200);
    assert_eq!(wipe(&operator).status, 200);
    assert_eq!(ask(&server, Some(&operator), "GET", "/api/v1/tokens", "").status, 403);
    let id = server.json(&["token", "list"])["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "operator")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    server.json(&["token", "revoke", &id, "--yes"]);
    assert_eq!(wipe(&operator).status, 401, "a revoked token is nobody's");
}

#[test]
fn one_id_leads_from_the_answer_to_the_log_and_the_audit_record() {
    for format in ["text", "json"] {
        let server = Server::started(FAST, &format!("[log]\nformat = \"{format}\"\n"));
        server.register_device("SN1");
        let owner = fs::read_to_string(server.data().join("owner.token")).unwrap();
        let answer = ask(&server, Some(&owner), "POST", "/api/v1/devices/SN1/events", "{\"event\":\"lost\"}");
        assert_eq!(answer.status, 200);
        let last = server.json(&["audit", "tail", "-n", "1"])["items"][0].clone();
        assert_eq!(last["request"], answer.request.as_str());
        assert!(server.log().contains(&answer.request), "{}", server.log());

        // The device's own request: the certificate's audit record and the lines about it.
        assert!(crate::enrol(&server, "device", "SN2", &[]).status.success());
        let events = server.json(&["audit", "tail", "-n", "10"]);
        let issued =
            events["items"].as_array().unwrap().iter().rfind(|event| event["action"] == "certificate.issued");
        let request = issued.unwrap()["request"].as_str().unwrap().to_owned();
        let log = server.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&request)).collect();
        for words in ["certificate issued", "SCEP transaction"] {
            assert!(lines.iter().any(|line| line.contains(words)), "{words} in {lines:#?}");
        }
        if format == "json" {
            for line in log.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}
