//! OCSP over HTTP, as gear, proxies and old clients speak it: raw bytes to the real server. Each entry is a bug that some responder or
//! client had.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use certgate::{
    types::{DigestAlgorithm, SerialNumber},
    wire::{
        ocsp::{BasicResponse, CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse},
        scep::Degenerate,
        x509::Certificate,
    },
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    element,
    process::{Answer, Server, http_get, http_post, parse_answer},
};

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let profile = "[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"ticket\"]\n";
    SERVER.get_or_init(|| Server::started(&["--key", "p-256", "--issuing-key", "p-256"], profile))
}

fn device() -> SocketAddr {
    server().device_address()
}

fn issuing() -> &'static Certificate {
    static ISSUING: OnceLock<Certificate> = OnceLock::new();
    ISSUING
        .get_or_init(|| Certificate::from_der(&http_get(device(), "/ca/issuing.cer").unwrap().body).unwrap())
}

/// A certificate that was issued: the SCEP message certificate.
fn issued() -> SerialNumber {
    let bundle = http_get(device(), "/scep/wifi?operation=GetCACert").unwrap().body;
    Degenerate::from_ber(&bundle).unwrap().certificates[0].serial().clone()
}

fn request(digest: DigestAlgorithm, serial: &SerialNumber, nonce: Option<&[u8]>) -> Vec<u8> {
    let cert_id = CertId::new(digest, issuing(), serial).unwrap();
    OcspRequest::new(vec![cert_id], nonce).to_der().unwrap()
}

fn post(body: &[u8]) -> Answer {
    http_post(device(), "/ocsp", "application/ocsp-request", body).unwrap()
}

/// Sends bytes as they are and gives all that comes back.
fn raw(bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(device()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn whole(bytes: &[u8]) -> Answer {
    parse_answer(bytes).unwrap_or_else(|| panic!("no whole answer: {:?}", String::from_utf8_lossy(bytes)))
}

/// Every answer has a length and comes in one piece, uncompressed (old gear reads nothing else); its body is an OCSPResponse.
#[track_caller]
fn checked(answer: &Answer) -> OcspResponse {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/ocsp-response")));
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-encoding")), (None, None));
    OcspResponse::from_der(&answer.body).unwrap()
}

#[track_caller]
fn signed(answer: &Answer) -> BasicResponse {
    let OcspResponse::Successful(response) = checked(answer) else { panic!("an error: {:?}", answer.body) };
    response.verify(issuing()).unwrap();
    response
}

#[track_caller]
fn assert_good(answer: &Answer) {
    assert_eq!(signed(answer).responses[0].status, CertStatus::Good);
}

fn encoded(base64: &str) -> String {
    utf8_percent_encode(base64, NON_ALPHANUMERIC).to_string()
}

/// A request, about a serial that was never issued, whose base64 has `+`, `/` and padding: what comes back names its CertID, or it was decoded
/// to something else.
fn with_every_digit() -> (CertId, String) {
    let find = |seed: u64| {
        let serial = format!("4f{:016x}", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).parse().unwrap();
        let cert_id = CertId::new(DigestAlgorithm::Sha256, issuing(), &serial).unwrap();
        let base64 = STANDARD.encode(OcspRequest::new(vec![cert_id.clone()], None).to_der().unwrap());
        let has_all = base64.contains('+') && base64.contains('/') && base64.ends_with('=');
        has_all.then_some((cert_id, base64))
    };
    (0..10_000).find_map(find).unwrap()
}

type Spelling = (&'static str, fn(&str) -> String);

/// Slashes that a proxy has merged are a guess where there are several: the reader's own tests make them.
const SPELLINGS: [Spelling; 16] = [
    ("percent-encoded", encoded),
    ("percent-encoded in lower case", |base64| {
        encoded(base64).replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")
    }),
    ("raw", str::to_owned),
    ("raw slashes, the rest encoded", |base64| encoded(base64).replace("%2F", "/")),
    ("encoded twice by a proxy", |base64| encoded(base64).replace('%', "%25")),
    ("the plus as a space", |base64| base64.replace('+', "%20")),
    ("base64url", |base64| URL_SAFE.encode(STANDARD.decode(base64).unwrap())),
    ("without padding", |base64| base64.trim_end_matches('=').to_owned()),
    ("encoded, without padding", |base64| encoded(base64.trim_end_matches('='))),
    ("slashes doubled by a proxy", |base64| base64.replace('/', "//")),
    ("a slash before it", |base64| format!("/{base64}")),
    ("two slashes before it", |base64| format!("//{}", encoded(base64))),
    ("a line feed at the end", |base64| format!("{base64}%0A")),
    ("a line end of DOS at the end", |base64| format!("{}%0D%0A", encoded(base64))),
    ("in lines of 64", |base64| format!("{}%0A{}", &base64[..64], &base64[64..])),
    ("a query behind it", |base64| format!("{base64}?")),
];

#[test]
fn a1_1_a_get_is_read_however_its_base64_was_written() {
    let (cert_id, base64) = with_every_digit();
    for (spelling, written) in SPELLINGS {
        for prefix in ["/ocsp", "/ocsp/issuing", "//ocsp"] {
            let path = format!("{prefix}/{}", written(&base64));
            let answer = http_get(device(), &path).unwrap();
            let OcspResponse::Successful(response) = checked(&answer) else {
                panic!("{spelling}: {path} is answered with an error")
            };
            assert_eq!(response.responses[0].cert_id, cert_id, "{spelling}: {path}");
            assert_eq!(response.responses[0].status, CertStatus::Unknown);
        }
    }
}

#[test]
fn get_and_post_in_every_spelling_share_one_signed_answer() {
    let der = request(DigestAlgorithm::Sha256, &issued(), None);
    let base64 = STANDARD.encode(&der);
    let first = post(&der);
    assert_good(&first);
    for (spelling, written) in SPELLINGS {
        let answer = http_get(device(), &format!("/ocsp/{}", written(&base64))).unwrap();
        assert_eq!(answer.body, first.body, "{spelling}");
        assert_eq!(answer.header("etag"), first.header("etag"), "{spelling}");
    }
    // What is around the CertID makes no difference either: here an explicit version, which DER would leave out.
    let list = &der[der.len() - usize::from(der[3])..];
    let with_version = element(0x30, &[&element(0x30, &[&[0xa0, 3, 2, 1, 0], list])]);
    assert_eq!(post(&with_version).body, first.body);
}

#[test]
fn a1_1_a_post_is_read_whatever_its_content_type() {
    let der = request(DigestAlgorithm::Sha1, &issued(), None);
    for content_type in
        ["application/ocsp-request", "application/octet-stream", "text/html; charset=utf-8", ""]
    {
        let answer = http_post(device(), "/ocsp", content_type, &der).unwrap();
        assert_good(&answer);
    }
    for path in ["/ocsp", "/ocsp/", "/ocsp/issuing", "//ocsp"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            der.len()
        );
        assert_good(&whole(&raw(&[head.as_bytes(), &der].concat())));
    }
    let head = "POST /ocsp HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = [format!("{:x}\r\n", der.len()).as_bytes(), &der, b"\r\n0\r\n\r\n"].concat();
    assert_good(&whole(&raw(&[head.as_bytes(), &chunks].concat())));
}

#[test]
fn http_1_0_is_answered_with_and_without_host() {
    let path =
        format!("/ocsp/{}", encoded(&STANDARD.encode(request(DigestAlgorithm::Sha1, &issued(), None))));
    for host in ["", "Host: pki.lab.example\r\n", "Host: \r\n"] {
        // nginx, for stapling.
        let bytes = raw(format!("GET {path} HTTP/1.0\r\n{host}\r\n").as_bytes());
        assert!(bytes.starts_with(b"HTTP/1.0 200"), "{host:?}");
        assert_good(&whole(&bytes));
    }
    let hostless = raw(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
    assert_good(&whole(&hostless));
    let absolute = format!("GET http://{}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", device());
    assert_good(&whole(&raw(absolute.as_bytes())));
    let head = raw(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let text = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(text.contains("content-length: ") && !text.contains("content-length: 0"), "{text}");
}

#[test]
fn a_connection_serves_one_request_or_many() {
    let der = request(DigestAlgorithm::Sha1, &issued(), None);
    let path = format!("/ocsp/{}", encoded(&STANDARD.encode(&der)));
    // Pipelined, GET and POST; the last says that it was the last.
    let get = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let post = format!("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", der.len());
    let last = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let many = raw(&[get.as_bytes(), post.as_bytes(), &der, get.as_bytes(), last.as_bytes()].concat());
    let answers = many.windows(12).filter(|window| window == b"HTTP/1.1 200").count();
    assert_eq!(answers, 4);
    // HTTP/1.0 keeps the connection where it is asked to.
    let kept = format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let two = raw(format!("{kept}GET {path} HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!(two.windows(12).filter(|window| window == b"HTTP/1.0 200").count(), 2);
    // And closes it where it is not: the second request has nobody to read it.
    let closed = raw(format!("GET {path} HTTP/1.0\r\n\r\nGET {path} HTTP/1.0\r\n\r\n").as_bytes());
    assert_good(&whole(&closed));
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let der = request(DigestAlgorithm::Sha1, &issued(), None);
    let mut stream = TcpStream::connect(device()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /ocsp HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        der.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&der).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_good(&whole(&answer));
}

#[test]
fn who_has_the_answer_is_told_so() {
    let der = request(DigestAlgorithm::Sha384, &issued(), None);
    let path = format!("/ocsp/{}", encoded(&STANDARD.encode(&der)));
    let first = http_get(device(), &path).unwrap();
    assert_good(&first);
    let (etag, modified) = (first.header("etag").unwrap(), first.header("last-modified").unwrap());
    let conditional =
        |condition: &str| whole(&raw(format!("GET {path} HTTP/1.0\r\n{condition}\r\n\r\n").as_bytes()));
    for condition in [
        format!("If-None-Match: {etag}"),
        format!("If-None-Match: \"other\", W/{etag}"),
        format!("If-Modified-Since: {modified}"),
    ] {
        let answer = conditional(&condition);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{condition}");
        for header in ["etag", "cache-control", "expires"] {
            assert_eq!(answer.header(header), first.header(header), "{condition}: {header}");
        }
    }
    for condition in ["If-None-Match: \"other\"", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"] {
        assert_eq!(conditional(condition).body, first.body, "{condition}");
    }
    let head =
        format!("POST /ocsp HTTP/1.0\r\nIf-None-Match: {etag}\r\nContent-Length: {}\r\n\r\n", der.len());
    assert_eq!(whole(&raw(&[head.as_bytes(), &der].concat())).body, first.body, "only a GET is conditional");
}

#[test]
fn errors_and_nonces_are_http_200_and_not_to_be_kept() {
    let nonce = request(DigestAlgorithm::Sha1, &issued(), Some(&[7; 16]));
    // One byte of the issuer's key hash is another: nobody's.
    let mut unauthorized = request(DigestAlgorithm::Sha1, &issued(), None);
    let at = unauthorized.len() - 25;
    unauthorized[at] ^= 1;
    let empty = http_get(device(), "/ocsp").unwrap();
    for (answer, error) in [
        (post(&nonce), None),
        (post(b"junk"), Some(ErrorStatus::MalformedRequest)),
        (post(b""), Some(ErrorStatus::MalformedRequest)),
        (empty, Some(ErrorStatus::MalformedRequest)),
        (post(&unauthorized), Some(ErrorStatus::Unauthorized)),
    ] {
        match (checked(&answer), error) {
            (OcspResponse::Successful(response), None) => {
                assert_eq!(response.responses[0].status, CertStatus::Good);
                assert!(response.nonce.is_some());
            }
            (OcspResponse::Error(found), Some(wanted)) => assert_eq!(found, wanted),
            (found, wanted) => panic!("{found:?}, not {wanted:?}"),
        }
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        for header in ["etag", "expires", "last-modified", "pragma"] {
            assert_eq!(answer.header(header), None);
        }
    }
}

#[test]
fn metrics_say_who_still_needs_sha_1() {
    let serial = issued();
    post(&request(DigestAlgorithm::Sha1, &serial, Some(&[7; 16])));
    let path = STANDARD.encode(request(DigestAlgorithm::Sha512, &serial, None));
    http_get(device(), &format!("/ocsp/{}", encoded(&path))).unwrap();
    let metrics = String::from_utf8(http_get(server().ops_address(), "/metrics").unwrap().body).unwrap();
    let counted = |labels: &str| {
        let name = format!("certgate_ocsp_request_forms_total{{{labels}}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name.as_str()));
        line.unwrap_or_else(|| panic!("{labels} in\n{metrics}")).parse::<u64>().unwrap()
    };
    assert!(counted("hash=\"sha1\",method=\"post\",nonce=\"yes\"") >= 1);
    assert!(counted("hash=\"sha512\",method=\"get\",nonce=\"no\"") >= 1);
    assert_eq!(counted("hash=\"sha512\",method=\"post\",nonce=\"yes\""), 0);
    assert!(metrics.contains("certgate_ocsp_signatures_total{reason=\"single-use\"}"));
}

/// A server that signs one answer a second for a nonce; asks with and without one.
fn with_budget(more: &str) -> (Server, impl Fn(Option<&[u8]>) -> OcspResponse) {
    let server = Server::started(
        &["--key", "p-256", "--issuing-key", "p-256"],
        &format!("[ocsp]\nsingle-use-per-second = 1\n{more}[profile.wifi]\nsubject = \"CN=$DEVICE_ID$\"\n"),
    );
    let address = server.device_address();
    let issuer = Certificate::from_der(&http_get(address, "/ca/issuing.cer").unwrap().body).unwrap();
    let bundle = http_get(address, "/scep/wifi?operation=GetCACert").unwrap().body;
    let own = Degenerate::from_ber(&bundle).unwrap().certificates[0].serial().clone();
    let ask = move |nonce: Option<&[u8]>| {
        let cert_id = CertId::new(DigestAlgorithm::Sha1, &issuer, &own).unwrap();
        let request = OcspRequest::new(vec![cert_id], nonce).to_der().unwrap();
        checked(&http_post(address, "/ocsp", "application/ocsp-request", &request).unwrap())
    };
    (server, ask)
}

#[test]
fn beyond_the_budget_a_nonce_is_ignored_where_that_is_wanted() {
    let (server, ask) = with_budget("nonce-over-budget = \"ignore-nonce\"\n");
    let answers: Vec<_> = (0..40_u8)
        .map(|number| match ask(Some(&[number; 16])) {
            OcspResponse::Successful(response) => (response.nonce.is_some(), response.responses.len()),
            OcspResponse::Error(error) => panic!("{error:?}"),
        })
        .collect();
    assert!(answers.iter().all(|(_, certificates)| *certificates == 1));
    let ignored = answers.iter().filter(|(nonce, _)| !nonce).count();
    assert!((1..40).contains(&ignored), "{ignored}");
    let metrics = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    let counted = format!("certgate_ocsp_nonces_ignored_total {ignored}");
    assert!(metrics.lines().any(|line| line == counted), "{counted} in\n{metrics}");
}

#[test]
fn beyond_the_budget_nonces_are_told_to_try_later_and_nobody_else() {
    let (server, ask) = with_budget("");
    let nonces: Vec<_> = (0..60_u8).map(|number| ask(Some(&[number; 16]))).collect();
    let later = |answer: &&OcspResponse| matches!(answer, OcspResponse::Error(ErrorStatus::TryLater));
    let later = nonces.iter().filter(later).count();
    assert!((1..60).contains(&later), "{later}");
    assert!((0..20).all(|_| matches!(ask(None), OcspResponse::Successful(_))));
    let metrics = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    // By the budget itself, or by the share that is all of it.
    let counted = metrics.lines().filter_map(|line| {
        let (name, count) = line.rsplit_once(' ')?;
        name.starts_with("certgate_ocsp_over_budget_total").then(|| count.parse::<usize>().unwrap())
    });
    assert_eq!(counted.sum::<usize>(), later, "{metrics}");
}

#[test]
fn presign_is_told_to_the_end_on_the_command_line() {
    let view = server().json(&["ocsp", "presign", "issuing", "--hash", "sha256"]);
    assert_eq!((&view["state"], &view["failed"]), (&"done".into(), &0.into()), "{view}");
    assert_eq!(view["hashes"], serde_json::json!(["sha256"]));
    let number = |key: &str| view[key].as_u64().unwrap();
    assert!(number("certificates") >= 3 && number("signed") + number("kept") == number("certificates"));
    assert_eq!(server().json(&["ocsp", "presign", "issuing", "--show"])["started_at"], view["started_at"]);
    let unknown = server().run(&["ocsp", "presign", "nobody"]);
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    // It ended long ago: stopping it changes nothing.
    assert_eq!(server().json(&["ocsp", "presign", "issuing", "--stop"])["state"], "done");
}
