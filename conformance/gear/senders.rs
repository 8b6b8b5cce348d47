//! OCSP over HTTP in the shapes in which clients send it and proxies pass it on, sent by curl: every answer is checked by OpenSSL against the
//! question. What is no question is answered too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Credentials, Place,
    programs::{run, said, succeed},
    server,
};

struct Sender {
    place: Place,
    device: Credentials,
    question: PathBuf,
    /// Of the CertID.
    digest: &'static str,
}

impl Sender {
    fn prepared(name: &str) -> Self {
        let place = Place::new(name);
        let device = place.device(&format!("{name}-device"));
        let question = place.file("question.der");
        Self { place, device, question, digest: "-sha1" }
    }

    fn openssl(&self, options: &[&str]) -> Command {
        let mut openssl = Command::new("openssl");
        openssl.args(["ocsp", self.digest]).args(options).arg("-issuer").arg(self.place.file("issuing.pem"));
        openssl.arg("-cert").arg(&self.device.certificate);
        openssl
    }

    /// OpenSSL makes a question; gives it in base64.
    fn ask(&self, options: &[&str]) -> String {
        succeed(self.openssl(options).arg("-reqout").arg(&self.question));
        STANDARD.encode(fs::read(&self.question).unwrap())
    }

    /// With a nonce that makes the base64 form hard to pass on: with `+`, with a single and with a double `/`.
    fn ask_awkwardly(&self) -> String {
        const AWKWARD: &str = "a//bc/de+fgh";
        self.ask(&["-nonce"]);
        // The nonce's bytes are the last ones of a request, and no signature covers them.
        let mut der = fs::read(&self.question).unwrap();
        let end = STANDARD.decode(AWKWARD).unwrap();
        let start = der.len() - end.len();
        der[start..].copy_from_slice(&end);
        fs::write(&self.question, &der).unwrap();
        let text = STANDARD.encode(der);
        assert!(text.ends_with(AWKWARD), "the request's length is a multiple of three: {text}");
        text
    }

    /// curl without a configuration of its own, without clean-up of paths; gives the head and the file with the body.
    fn curl(&self, path: &str, options: &[&str]) -> (String, PathBuf) {
        let answer = self.place.file("answer.der");
        let _ = fs::remove_file(&answer);
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--path-as-is", "--max-time", "20", "--dump-header", "-", "-o"]).arg(&answer);
        let head = said(&succeed(curl.args(options).arg(format!("{}{path}", server().url()))));
        (head, answer)
    }

    /// The answer is about this device and this question, and good.
    #[track_caller]
    fn expect_good(&self, what: &str, path: &str, options: &[&str]) {
        let (head, answer) = self.curl(path, options);
        let head = head.to_ascii_lowercase();
        // After `100 Continue` comes the answer.
        let head = head.split("\r\n\r\n").find(|head| !head.contains(" 100 ")).unwrap();
        assert!(head.contains(" 200 ok\r\ncontent-type: application/ocsp-response\r\n"), "{what}: {head}");
        let length = fs::metadata(&answer).unwrap().len();
        assert!(head.contains(&format!("content-length: {length}")), "{what}: {head}");
        self.verify(what, &answer);
    }

    #[track_caller]
    fn verify(&self, what: &str, answer: &Path) {
        // It would put a nonce of its own in place of the question's.
        let mut openssl = self.openssl(&["-no_nonce"]);
        openssl.arg("-CAfile").arg(self.place.file("chain.pem")).arg("-reqin").arg(&self.question);
        let said = said(&run(openssl.arg("-respin").arg(answer)));
        let line = format!("{}: good", self.device.certificate.display());
        assert!(said.contains("Response verify OK") && said.contains(&line), "{what}: {said}");
        assert!(!said.contains("WARNING") && !said.contains("Nonce Verify error"), "{what}: {said}");
    }
}

#[test]
fn a_question_in_a_path_is_understood_however_it_was_passed_on() {
    let sender = Sender::prepared("senders-get");
    let text = sender.ask_awkwardly();
    let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
    for (what, path) in [
        ("as it is", text.clone()),
        ("all of it percent-encoded", encoded.clone()),
        (
            "in small hexadecimal letters",
            encoded.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
        ),
        ("only slashes percent-encoded, as nginx does", text.replace('/', "%2F")),
        ("plus signs read as spaces", text.replace('+', "%20")),
        ("base64url", text.replace('/', "_").replace('+', "-")),
        ("slashes merged by a proxy", text.replace("//", "/")),
        ("slashes doubled by a proxy", text.replace('/', "//")),
        ("a slash too many before it", format!("/{text}")),
        ("a line feed behind it", format!("{encoded}%0A")),
        ("in lines", text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("%0A")),
    ] {
        sender.expect_good(what, &format!("/ocsp/{path}"), &[]);
        sender.expect_good(what, &format!("/ocsp/issuing/{path}"), &[]);
    }

    let padded = sender.ask(&["-no_nonce"]);
    assert!(padded.ends_with('='), "{padded}");
    sender.expect_good("without padding", &format!("/ocsp/{}", padded.trim_end_matches('=')), &[]);
}

#[test]
fn a_question_is_understood_over_every_kind_of_http() {
    let mut sender = Sender::prepared("senders-http");
    for (digest, nonce) in [("-sha1", "-no_nonce"), ("-sha256", "-no_nonce"), ("-sha1", "-nonce")] {
        sender.digest = digest;
        let get = format!("/ocsp/{}", utf8_percent_encode(&sender.ask(&[nonce]), NON_ALPHANUMERIC));
        let body = format!("@{}", sender.question.display());
        let post = |more| posting(&body, more);
        let request_type = "Content-Type: application/ocsp-request";
        for (what, path, options) in [
            ("GET", get.as_str(), vec![]),
            ("GET by HTTP/1.0", &get, vec!["--http1.0"]),
            ("GET by HTTP/1.0 without Host", &get, vec!["--http1.0", "-H", "Host:"]),
            ("GET without Host", &get, vec!["-H", "Host:"]),
            ("GET with Connection: close", &get, vec!["-H", "Connection: close"]),
            ("GET where compression is welcome", &get, vec!["-H", "Accept-Encoding: gzip, deflate, br"]),
            ("GET that wants another type", &get, vec!["-H", "Accept: text/html"]),
            ("POST", "/ocsp", post(&["-H", request_type])),
            ("POST to the path with a slash", "/ocsp/", post(&["-H", request_type])),
            ("POST to the issuer", "/ocsp/issuing", post(&["-H", request_type])),
            ("POST by HTTP/1.0", "/ocsp", post(&["--http1.0", "-H", request_type])),
            ("POST with curl's own type", "/ocsp", post(&[])),
            ("POST without a type", "/ocsp", post(&["-H", "Content-Type:"])),
            ("POST that waits for 100", "/ocsp", post(&["-H", request_type, "-H", "Expect: 100-continue"])),
            ("POST in chunks", "/ocsp", post(&["-H", request_type, "-H", "Transfer-Encoding: chunked"])),
        ] {
            sender.expect_good(what, path, &options);
        }
    }
}

/// curl's options for a body from a file.
fn posting<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--data-binary", file], more].concat()
}

#[test]
fn a_cache_learns_that_nothing_has_changed() {
    let sender = Sender::prepared("senders-cache");
    let path = format!("/ocsp/{}", utf8_percent_encode(&sender.ask(&["-no_nonce"]), NON_ALPHANUMERIC));
    let etag = sender.place.file("etag");
    let options = ["--etag-save", etag.to_str().unwrap(), "--etag-compare", etag.to_str().unwrap()];
    let (first, answer) = sender.curl(&path, &options);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    sender.verify("the first answer", &answer);
    let (second, _) = sender.curl(&path, &options);
    assert!(second.starts_with("HTTP/1.1 304"), "{second}");

    server().json(&["device", "lost", &sender.device.device]);
    let (third, _) = sender.curl(&path, &options);
    assert!(third.starts_with("HTTP/1.1 200"), "the status has changed: {third}");
}

#[test]
fn what_is_no_question_is_answered_in_ocsp() {
    let sender = Sender::prepared("senders-errors");
    let mine = sender.ask(&["-no_nonce"]);
    let garbage = sender.place.write("garbage", b"not a request");
    let garbage = format!("@{}", garbage.display());
    for (what, path, options) in [
        ("no base64", "/ocsp/%21%21%21", vec![]),
        ("half a request", &format!("/ocsp/{}", &mine[..mine.len() / 2]), vec![]),
        ("garbage by POST", "/ocsp", vec!["--data-binary", garbage.as_str()]),
        ("nothing by POST", "/ocsp", vec!["--data-binary", ""]),
    ] {
        let (head, answer) = sender.curl(path, &options);
        assert!(
            head.starts_with("HTTP/1.1 200") && head.to_ascii_lowercase().contains("no-store"),
            "{what}: {head}"
        );
        let said = said(&run(Command::new("openssl").args(["ocsp", "-noverify", "-respin"]).arg(answer)));
        assert!(said.contains("Responder Error: malformedrequest (1)"), "{what}: {said}");
    }
}
