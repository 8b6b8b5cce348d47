//! The listeners as the network sees them: raw bytes to the real server, headers and bodies opened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

mod common;
mod process;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use certgate::{
    service::scep::CertRep,
    types::{ContentCipher, DigestAlgorithm, Secret},
    wire::{
        crl::Crl,
        ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse},
        scep::Degenerate,
        x509::Certificate,
    },
};
use common::{Client, MessageOptions};
use process::{Answer, Server, http_get, http_post};

const PROFILES: &str = r#"
[profile.wifi]
subject = "CN=$DEVICE_ID$"
challenge = ["ticket"]
"#;

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::started(&["--key", "p-256", "--issuing-key", "p-256"], PROFILES))
}

fn device() -> SocketAddr {
    server().device_address()
}

fn get(path: &str) -> Answer {
    http_get(device(), path).unwrap_or_else(|| panic!("no whole answer to GET {path}"))
}

fn post(path: &str, body: &[u8]) -> Answer {
    http_post(device(), path, "application/octet-stream", body)
        .unwrap_or_else(|| panic!("no whole answer to POST {path}"))
}

/// Sends bytes as they are and gives what comes back before the connection closes or falls silent.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn issuing() -> Certificate {
    Certificate::from_der(&get("/ca/issuing.cer").body).unwrap()
}

/// A request about the issuing CA's newest message certificate, which was issued.
fn ocsp_request(nonce: Option<&[u8]>) -> Vec<u8> {
    let bundle = Degenerate::from_ber(&get("/scep/wifi?operation=GetCACert").body).unwrap();
    let cert_id = CertId::new(DigestAlgorithm::Sha1, &issuing(), bundle.certificates[0].serial()).unwrap();
    OcspRequest::new(vec![cert_id], nonce).to_der().unwrap()
}

fn percent_encoded(base64: &str) -> String {
    base64.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D")
}

#[track_caller]
fn assert_good(answer: &Answer) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/ocsp-response")));
    let OcspResponse::Successful(response) = OcspResponse::from_der(&answer.body).unwrap() else {
        panic!("an OCSP error")
    };
    response.verify(&issuing()).unwrap();
    assert_eq!(response.responses[0].status, CertStatus::Good);
}

#[test]
fn s4_1_a_scep_is_served_under_every_path_that_clients_use() {
    let wanted = get("/scep/wifi?operation=GetCACaps").body;
    assert!(wanted.starts_with(b"AES\n"));
    for path in ["/scep/wifi/", "/scep/wifi/pkiclient.exe", "/scep/wifi/cgi-bin/pkiclient.exe"] {
        let answer = get(&format!("{path}?operation=GetCACaps&message=anything"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")), "{path}");
        assert_eq!(answer.body, wanted, "{path}");
    }
}

#[test]
fn ndes_paths_mean_the_default_profile_whatever_their_case() {
    let server = Server::started(
        &["--key", "p-256", "--issuing-key", "p-256"],
        "[scep]\ndefault-profile = \"wifi\"\n[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n\
         [profile.default]\nsubject = \"CN=$DEVICE_ID$\"\nca-bundle = \"message\"\nlegacy = { triple-des = true }\n",
    );
    // `default` is what Windows calls every CA. PKIOperation goes to the profile of the URL, so its capabilities are the ones to show.
    for path in ["/certsrv/mscep/mscep.dll", "/scep/wifi"] {
        let answer =
            http_get(server.device_address(), &format!("{path}?operation=GetCACaps&message=default"))
                .unwrap();
        assert!(!String::from_utf8(answer.body).unwrap().contains("DES3"), "{path}");
    }
    for path in
        ["/certsrv/mscep/mscep.dll", "/CertSrv/mscep/MSCEP.dll/pkiclient.exe", "/cgi-bin/pkiclient.exe"]
    {
        let answer =
            http_get(server.device_address(), &format!("{path}?operation=GetCACert&message=default"))
                .unwrap();
        assert_eq!(answer.header("content-type"), Some("application/x-x509-ca-ra-cert"), "{path}");
        assert_eq!(Degenerate::from_ber(&answer.body).unwrap().certificates.len(), 3);
    }
    for path in
        ["/certsrv/mscep/mscep.dll", "/CertSrv/mscep/mscep.dll/", "/certsrv/mscep/mscep.dll/pkiclient.exe"]
    {
        let answer = http_get(server.device_address(), path).unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain")), "{path}");
        let head = raw(server.device_address(), format!("HEAD {path} HTTP/1.0\r\n\r\n").as_bytes());
        assert!(head.starts_with("HTTP/1.0 200") && head.ends_with("\r\n\r\n"), "{head}");
    }
    let unknown = http_get(server.device_address(), "/certsrv/mscep/mscep.dll?operation=Nonsense").unwrap();
    assert_eq!(unknown.status, 400);
    for path in ["/certsrv/mscep/mscep.dllX", "/cgi-bin/pkiclient.exe.bak", "/certsrv/mscep/"] {
        let answer = http_get(server.device_address(), &format!("{path}?operation=GetCACert")).unwrap();
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[test]
fn bad_scep_requests_get_the_answers_of_the_table() {
    assert_eq!(get("/scep/wifi").status, 400);
    assert_eq!(get("/scep/wifi?operation=Nonsense").status, 400);
    assert_eq!(get("/scep/nobody?operation=GetCACaps").status, 404);
    assert_eq!(get("/scep/wifi?operation=GetNextCACert").status, 501);
    assert_eq!(get("/scep/wifi?operation=PKIOperation").status, 400);
    assert_eq!(get("/scep/wifi?operation=PKIOperation&message=%%%").status, 400);
    assert_eq!(get("/scep/wifi?operation=PKIOperation&message=AAAA").status, 400);
    assert_eq!(post("/scep/wifi?operation=PKIOperation", b"not CMS").status, 400);
    assert_eq!(post("/scep/wifi", b"not CMS, and no operation").status, 400);
    assert_eq!(post("/scep/wifi?operation=PKIOperation", &vec![0; 300_000]).status, 413);
    let answer = raw(device(), b"DELETE /scep/wifi HTTP/1.0\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.0 405") && answer.to_ascii_lowercase().contains("allow: get"),
        "{answer}"
    );
    let answer = raw(device(), b"HEAD /scep/wifi?operation=PKIOperation&message=AAAA HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 405"), "nothing is issued to a HEAD: {answer}");
}

#[test]
fn nothing_else_is_served_on_the_device_listener() {
    for path in [
        "/",
        "/api/v1/status",
        "/metrics",
        "/readyz",
        "/crl/",
        "/crl/..%2f..%2fcertgate.toml",
        "/ca/issuing.key",
        "/ocspx",
    ] {
        let answer = get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.header("location").is_none());
    }
}

#[test]
fn old_http_is_spoken() {
    // HTTP/1.0 without Host closes; HTTP/1.1 without Host is answered too.
    let old = raw(device(), b"GET /scep/wifi?operation=GetCACaps HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200") && old.to_ascii_lowercase().contains("content-length:"), "{old}");
    let hostless = raw(device(), b"GET /scep/wifi?operation=GetCACaps HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(
        hostless.starts_with("HTTP/1.1 200") && !hostless.to_ascii_lowercase().contains("chunked"),
        "{hostless}"
    );
    let head = raw(device(), b"HEAD /crl/issuing.crl HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(head.ends_with("\r\n\r\n") && head.to_ascii_lowercase().contains("content-length:"), "{head}");
    let garbage = raw(device(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "TLS on the plain port: {garbage}");
}

#[test]
fn a_long_get_enrolment_url_is_read() {
    let message = "A".repeat(60_000);
    let answer = get(&format!("/scep/wifi?operation=PKIOperation&message={message}"));
    assert_eq!(answer.status, 400, "read whole, and found to be no pkiMessage");
}

#[test]
fn s2_9_a_what_every_server_must_speak_is_spoken() {
    let capabilities = String::from_utf8(get("/scep/wifi?operation=GetCACaps").body.clone()).unwrap();
    for keyword in ["AES", "POSTPKIOperation", "SHA-256"] {
        assert!(capabilities.lines().any(|line| line == keyword), "{keyword}");
    }
    let bundle = Degenerate::from_ber(&get("/scep/wifi?operation=GetCACert").body).unwrap();
    server().register_device("must");
    let (secret, _) = server().ticket("wifi", "must");
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&Secret::from(secret.as_str())));
    // AES-128-CBC and SHA-256.
    let message = client.message(&bundle.certificates[0], &MessageOptions::default(), &csr);
    let answer = post("/scep/wifi?operation=PKIOperation", &message);
    let issued = client.open(&message, CertRep { body: answer.body, operation: "", result: "" });
    assert_eq!(issued.certificate().subject().to_string(), "CN=must");
    assert_eq!((issued.cipher, issued.digest), (Some(ContentCipher::Aes128Cbc), DigestAlgorithm::Sha256));
}

/// A name, and what becomes of base64.
type Spelling = (&'static str, fn(&str) -> String);

/// What clients and what is between make of base64 in a query.
const SPELLINGS: [Spelling; 6] = [
    ("percent-encoded", percent_encoded),
    ("as it is", str::to_owned),
    ("only the plus encoded", |base64| base64.replace('+', "%2B")),
    ("the plus as a space", |base64| base64.replace('+', "%20")),
    ("in lines", |base64| in_lines(base64, "%0A")),
    ("in lines of DOS, without padding", |base64| in_lines(base64.trim_end_matches('='), "%0D%0A")),
];

fn in_lines(base64: &str, end: &str) -> String {
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap());
    lines.map(|line| line + end).collect()
}

#[test]
fn s4_1_a_an_enrolment_by_get_is_read_however_it_is_encoded() {
    let bundle = Degenerate::from_ber(&get("/scep/wifi?operation=GetCACert").body).unwrap();
    for (number, (spelling, encoded)) in SPELLINGS.into_iter().enumerate() {
        let device = format!("get-{number}");
        server().register_device(&device);
        let (secret, _) = server().ticket("wifi", &device);
        let client = Client::new();
        let csr = client.csr("CN=x", Some(&Secret::from(secret.as_str())));
        let message = client.message(&bundle.certificates[0], &MessageOptions::default(), &csr);
        let base64 = STANDARD.encode(&message);
        assert!(base64.contains('+') && base64.contains('/'));
        let answer = get(&format!("/scep/wifi?operation=PKIOperation&message={}", encoded(&base64)));
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/x-pki-message")),
            "{spelling}"
        );
        let rep = CertRep { body: answer.body, operation: "", result: "" };
        let issued = client.open(&message, rep);
        assert_eq!(issued.certificate().subject().to_string(), format!("CN={device}"), "{spelling}");
    }
}

#[test]
fn ocsp_answers_are_cacheable_as_rfc_9919_says_unless_they_have_a_nonce() {
    let answer = get(&format!("/ocsp/{}", percent_encoded(&STANDARD.encode(ocsp_request(None)))));
    assert_good(&answer);
    let cache_control = answer.header("cache-control").unwrap();
    for part in ["max-age=", "public", "no-transform", "must-revalidate"] {
        assert!(cache_control.contains(part), "{cache_control}");
    }
    let max_age: u64 = cache_control.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    assert!((1..=600).contains(&max_age));
    let expires = httpdate::parse_http_date(answer.header("expires").unwrap()).unwrap();
    let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
    assert!(date + Duration::from_secs(max_age) <= expires, "kept beyond nextUpdate");
    for header in ["etag", "expires", "last-modified", "date"] {
        assert!(answer.header(header).is_some(), "{header}");
    }

    let nonce = [0x5a; 32];
    let answer = post("/ocsp", &ocsp_request(Some(&nonce)));
    assert_good(&answer);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let OcspResponse::Successful(response) = OcspResponse::from_der(&answer.body).unwrap() else {
        unreachable!()
    };
    assert!(response.nonce.unwrap().ends_with(&nonce), "the nonce is echoed");
}

#[test]
fn ocsp_errors_are_bodies_of_http_200() {
    for (answer, wanted) in [
        (post("/ocsp", b"junk"), ErrorStatus::MalformedRequest),
        (get("/ocsp/junk"), ErrorStatus::MalformedRequest),
        (get("/ocsp"), ErrorStatus::MalformedRequest),
    ] {
        assert_eq!((answer.status, answer.body.as_slice()), (200, wanted.to_der().as_slice()));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(post("/ocsp", &[0x30; 9000]).status, 413);
}

#[test]
fn crls_are_served_with_validators() {
    let answer = get("/crl/issuing.crl");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/pkix-crl")));
    let crl = Crl::from_der(&answer.body).unwrap();
    crl.verify(&issuing()).unwrap();
    let etag = answer.header("etag").unwrap();
    let conditional = format!("GET /crl/issuing.crl HTTP/1.0\r\nIf-None-Match: {etag}\r\n\r\n");
    assert!(raw(device(), conditional.as_bytes()).starts_with("HTTP/1.0 304"));
    let modified = answer.header("last-modified").unwrap();
    let conditional = format!("GET /crl/issuing.crl HTTP/1.0\r\nIf-Modified-Since: {modified}\r\n\r\n");
    assert!(raw(device(), conditional.as_bytes()).starts_with("HTTP/1.0 304"));
    assert!(get("/crl/issuing.pem").body.starts_with(b"-----BEGIN X509 CRL-----\n"));
    assert!(get("/ca/root.pem").body.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(post("/crl/issuing.crl", b"").status, 405);
    assert_eq!(get("/crl/nobody.crl").status, 404);
}

/// What comes back for a CRL as PEM: head and body.
fn crl_with(method: &str, headers: &str) -> (String, String) {
    let request = format!("{method} /crl/root.crl.pem HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    let answer = raw(device(), request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn a_crl_is_fetched_in_parts_that_fit_together() {
    let (head, whole) = crl_with("GET", "");
    assert!(head.starts_with("http/1.1 200") && head.contains("accept-ranges: bytes"), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let modified = get("/crl/root.crl.pem").header("last-modified").unwrap().to_owned();
    let length = whole.len();

    let (head, first) = crl_with("GET", "Range: bytes=0-99\r\n");
    assert!(head.starts_with("http/1.1 206"), "{head}");
    assert!(head.contains(&format!("content-range: bytes 0-99/{length}")), "{head}");
    assert!(
        head.contains("content-length: 100") && head.contains("content-type: application/x-pem-file"),
        "{head}"
    );
    let (head, rest) = crl_with("GET", &format!("Range: bytes=100-\r\nIf-Range: {etag}\r\n"));
    assert!(head.starts_with("http/1.1 206"), "{head}");
    assert_eq!(first + &rest, whole);
    let (head, end) = crl_with("GET", &format!("Range: bytes=-27\r\nIf-Range: {modified}\r\n"));
    assert!(head.starts_with("http/1.1 206"), "{head}");
    assert!(whole.ends_with(&end) && end.len() == 27);

    let (head, body) = crl_with("GET", "Range: bytes=100-\r\nIf-Range: \"of another crl\"\r\n");
    assert!(head.starts_with("http/1.1 200") && body == whole, "{head}");
    let (head, _) = crl_with("GET", &format!("Range: bytes={length}-\r\n"));
    assert!(
        head.starts_with("http/1.1 416") && head.contains(&format!("content-range: bytes */{length}")),
        "{head}"
    );
    let (head, body) = crl_with("GET", "Range: bytes=0-1,5-6\r\n");
    assert!(head.starts_with("http/1.1 200") && body == whole, "{head}");
}

#[test]
fn crls_are_conditional_and_have_heads() {
    let (head, body) = crl_with("HEAD", "");
    let whole = get("/crl/root.crl.pem");
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    assert!(head.contains(&format!("content-length: {}", whole.body.len())), "{head}");
    for name in ["etag", "last-modified", "expires", "cache-control", "accept-ranges", "content-type"] {
        assert!(head.contains(&format!("\n{name}: ")), "{name}: {head}");
    }
    assert_eq!(get("/crl/root.pem").body, whole.body);
    let etag = whole.header("etag").unwrap();
    assert_ne!(Some(etag), get("/crl/root.crl").header("etag"), "another body has another one");
    for (headers, expected) in [
        (format!("If-None-Match: \"x\", W/{etag}\r\n"), "304"),
        ("If-None-Match: *\r\n".to_owned(), "304"),
        (format!("If-None-Match: {etag}\r\nRange: bytes=0-1\r\n"), "304"),
        ("If-None-Match: \"x\"\r\n".to_owned(), "200"),
        ("If-None-Match: \"x\"\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n".to_owned(), "200"),
        // Of a clock that was wrong: it says nothing of what the client has.
        ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n".to_owned(), "200"),
        ("If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n".to_owned(), "200"),
        (format!("If-Match: {etag}\r\n"), "200"),
        ("If-Match: \"x\"\r\n".to_owned(), "412"),
        ("If-Unmodified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n".to_owned(), "412"),
    ] {
        let (head, _) = crl_with("GET", &headers);
        assert!(head.starts_with(&format!("http/1.1 {expected}")), "{headers}: {head}");
    }
    for nothing in ["/crl/root-delta.crl", "/crl/root/4/0.crl", "/crl/root/04/0.crl", "/crl/root.crl.crl"] {
        assert_eq!(get(nothing).status, 404, "{nothing}");
    }
}

#[test]
fn a_date_that_two_crls_share_keeps_nobody_from_the_newer_one() {
    let server = Server::started(&["--key", "p-256", "--issuing-key", "p-256"], PROFILES);
    let publish = || {
        server.json(&["crl", "publish", "issuing"]);
        let answer = http_get(server.device_address(), "/crl/issuing.crl").unwrap();
        answer.header("last-modified").unwrap().to_owned()
    };
    let within_a_second = |_| {
        let (one, other) = (publish(), publish());
        (one == other).then_some(other)
    };
    let shared = (0..50).find_map(within_a_second).expect("two are made within a second");
    let conditional = format!("GET /crl/issuing.crl HTTP/1.0\r\nIf-Modified-Since: {shared}\r\n\r\n");
    let answer = raw(server.device_address(), conditional.as_bytes());
    assert!(answer.starts_with("HTTP/1.0 200"), "who has the first of them would keep it");
}

#[test]
fn ops_shows_metrics_and_health_and_no_secrets() {
    get("/scep/wifi?operation=GetCACaps");
    let ops = server().ops_address();
    assert_eq!(http_get(ops, "/livez").unwrap().status, 200);
    let ready = http_get(ops, "/readyz").unwrap();
    assert_eq!(ready.status, 200);
    let report: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    assert!(report.to_string().contains("crl"), "{report}");
    let metrics = String::from_utf8(http_get(ops, "/metrics").unwrap().body).unwrap();
    for name in ["certgate_scep_requests_total", "certgate_crl_number", "certgate_build_info"] {
        assert!(metrics.contains(name), "{name} in\n{metrics}");
    }
}
