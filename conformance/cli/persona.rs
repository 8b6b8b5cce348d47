//! `certgate scep enrol --as CLIENT`: what goes over the wire, and what each client would refuse.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use certgate::{
    app::client::persona::PERSONAS,
    types::DigestAlgorithm,
    wire::{
        der::normalise,
        scep::{MessageType, PkiMessage},
    },
};

use crate::{
    FAST, code, enrol,
    process::{Server, expect_success, http_get},
    stderr, stdout,
};

/// A default profile, one with the switches for old gear, one with all of them, and one whose answers hold the CA certificates.
const PROFILES: &str = r#"
[profile.device]
subject = "CN=$DEVICE_ID$"

[profile.old]
subject = "CN=$DEVICE_ID$"
legacy = { triple-des = true, sha1 = true }

[profile.oldest]
subject = "CN=$DEVICE_ID$"
client = "legacy"
renewal-window-days = 365

[profile.chain]
subject = "CN=$DEVICE_ID$"
include-ca = true
legacy = { triple-des = true, sha1 = true }
"#;

/// Those that cannot do better than triple DES, and the profile that they need.
const OLD: [(&str, &str); 3] = [("cisco-ios", "old"), ("juniper", "old"), ("cisco-ios-12", "oldest")];

#[test]
fn each_client_enrols_with_the_default_profile_or_with_its_switch() {
    let server = Server::started(FAST, PROFILES);
    for persona in &PERSONAS {
        let name = persona.name;
        let asked = enrol(&server, "device", &format!("{name}-1"), &["--as", name]);
        if let Some((_, profile)) = OLD.iter().find(|(old, _)| *old == name) {
            assert_eq!(code(&asked), 4, "{name}: {}", stderr(&asked));
            assert!(stderr(&asked).contains("badAlg"), "{name}: {}", stderr(&asked));
            expect_success(&enrol(&server, profile, &format!("{name}-2"), &["--as", name]), name);
        } else {
            expect_success(&asked, name);
        }
        assert!(stderr(&asked).contains(&format!("speaking as {}", persona.client)), "{}", stderr(&asked));
    }
}

#[test]
fn a_renewal_is_the_clients_own_kind() {
    let server = Server::started(
        FAST,
        "[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\nvalidity-days = 90\nrenewal-window-days = 90\n",
    );
    let file = |name: &str| server.scratch().join(name).to_str().unwrap().to_owned();
    expect_success(&enrol(&server, "device", "SN1", &["--as", "certmonger"]), "enrol");
    let relay = Relay::start(&server, |answer| answer);
    let (url, key, cert) = (relay.url("device"), file("SN1.key"), file("SN1.pem"));
    let renew = |name: &str| {
        server.run(&["scep", "renew", "--as", name, "--url", &url, "--key", &key, "--cert", &cert])
    };
    expect_success(&renew("certmonger"), "renew");
    let sent = relay.sent().pop().unwrap();
    assert_eq!(sent.message.as_ref().unwrap().message_type(), Some(MessageType::PkcsReq));
    expect_success(&renew("windows"), "renew");
    let sent = relay.sent().pop().unwrap();
    assert_eq!(sent.message.as_ref().unwrap().message_type(), Some(MessageType::RenewalReq));
    let apple = renew("apple");
    assert_eq!(code(&apple), 2, "{}", stderr(&apple));
}

/// What is seen of a client.
struct Expected {
    name: &'static str,
    /// Of each exchange, in order: the beginning of its request line.
    lines: [&'static str; 3],
    /// The end of the last request line.
    version: &'static str,
    /// In the heads of all.
    headers: &'static [&'static str],
    /// In the head of none.
    absent: &'static [&'static str],
    /// Whether the message is BER.
    indefinite: bool,
    transaction: fn(&str) -> bool,
    uuid: bool,
}

const fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

const fn is_upper(c: char) -> bool {
    matches!(c, '0'..='9' | 'A'..='F')
}

const fn is_lower(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

const EXPECTED: [Expected; 6] = [
    Expected {
        name: "apple",
        lines: [
            "GET /scep/device?operation=GetCACert&message=SCEP%20Authority ",
            "GET /scep/device?operation=GetCACaps&message=SCEP%20Authority ",
            "POST /scep/device?operation=PKIOperation ",
        ],
        version: "HTTP/1.1",
        headers: &["user-agent: profiled/"],
        absent: &["certgate"],
        indefinite: true,
        transaction: |id| id.len() == 40 && id.chars().all(is_upper),
        uuid: true,
    },
    Expected {
        name: "windows",
        lines: [
            "GET /scep/device/pkiclient.exe?operation=GetCACaps&message=default ",
            "GET /scep/device/pkiclient.exe?operation=GetCACert&message=default ",
            "POST /scep/device/pkiclient.exe?operation=PKIOperation ",
        ],
        version: "HTTP/1.1",
        headers: &[
            "user-agent: mozilla/4.0 (compatible; win32; ndes client)",
            "content-type: application/x-pki-message",
        ],
        absent: &["certgate"],
        indefinite: false,
        transaction: |id| id.len() == 64,
        uuid: false,
    },
    Expected {
        name: "android-jscep",
        lines: [
            "GET /scep/device?operation=GetCACaps&message=ca ",
            "GET /scep/device?operation=GetCACert&message=ca ",
            "POST /scep/device?operation=PKIOperation ",
        ],
        version: "HTTP/1.1",
        headers: &["user-agent: dalvik/"],
        absent: &["certgate"],
        indefinite: true,
        transaction: |id| id.len() == 40 && id.chars().all(is_lower),
        uuid: false,
    },
    Expected {
        name: "fortigate",
        lines: [
            "GET /scep/device?operation=GetCACaps ",
            "GET /scep/device?operation=GetCACert ",
            "POST /scep/device?operation=PKIOperation ",
        ],
        version: "HTTP/1.1",
        headers: &[],
        absent: &[],
        indefinite: false,
        transaction: |id| id.len() == 32 && id.chars().all(is_lower),
        uuid: false,
    },
    Expected {
        name: "certmonger",
        lines: [
            "GET /scep/device?operation=GetCACaps&message=0 ",
            "GET /scep/device?operation=GetCACert&message=0 ",
            "GET /scep/device?operation=PKIOperation&message=",
        ],
        version: "HTTP/1.1",
        headers: &[],
        absent: &["content-type"],
        indefinite: false,
        transaction: |id| (70..79).contains(&id.len()) && id.chars().all(is_digit),
        uuid: false,
    },
    Expected {
        name: "strongswan",
        lines: [
            "GET /scep/device?operation=GetCACaps ",
            "GET /scep/device?operation=GetCACert ",
            "POST /scep/device?operation=PKIOperation ",
        ],
        version: "HTTP/1.1",
        headers: &[],
        absent: &["content-type", "host:", "accept:", "user-agent"],
        indefinite: false,
        transaction: |id| id.len() == 40 && id.chars().all(is_lower),
        uuid: false,
    },
];

#[test]
fn each_client_is_seen_on_the_wire_as_it_is_known() {
    let server = Server::started(FAST, PROFILES);
    for expected in &EXPECTED {
        let name = expected.name;
        let relay = Relay::start(&server, |answer| answer);
        expect_success(&ask(&server, &relay.url("device"), "device", name, &["--as", name]), name);
        let sent = relay.sent();
        assert_eq!(sent.len(), 3, "{name}");
        for (sent, line) in sent.iter().zip(expected.lines) {
            assert!(sent.head.starts_with(line), "{name}: {}", sent.head);
            let head = sent.head.to_ascii_lowercase();
            for header in expected.headers {
                assert!(head.contains(header), "{name}: {head}");
            }
            for header in expected.absent {
                assert!(!head.contains(header), "{name}: {head}");
            }
            assert!(sent.head.lines().next().unwrap().ends_with(expected.version), "{name}");
        }
        let last = &sent[2];
        assert_eq!(last.bytes.starts_with(&[0x30, 0x80]), expected.indefinite, "{name}");
        let message = last.message.as_ref().unwrap();
        let id = message.transaction_id().as_str();
        assert!((expected.transaction)(id), "{name}: {id}");
        let signer = message.signer_certificate().unwrap().subject().to_string();
        assert_eq!(signer != format!("CN={name}"), expected.uuid, "{name}: {signer}");
    }
}

#[test]
fn cisco_speaks_old_http_and_breaks_its_base64_into_lines() {
    let server = Server::started(FAST, PROFILES);
    let relay = Relay::start(&server, |answer| answer);
    expect_success(&ask(&server, &relay.url("old"), "old", "router", &["--as", "cisco-ios"]), "cisco-ios");
    let sent = relay.sent();
    assert!(
        sent[0]
            .head
            .starts_with("GET /scep/old/pkiclient.exe?operation=GetCACaps&message=trustpoint HTTP/1.0\r\n")
    );
    for sent in &sent {
        assert!(!sent.head.to_ascii_lowercase().contains("host:"), "{}", sent.head);
        assert!(sent.head.contains("Cisco PKI"), "{}", sent.head);
    }
    let value = sent[2].head.split("message=").nth(1).unwrap().split(' ').next().unwrap();
    let lines: Vec<_> = value.split("%0A").collect();
    assert!(lines.len() > 30 && lines.last() == Some(&""), "{value}");
}

#[test]
fn old_clients_sign_with_what_they_know_and_verify_an_answer_with_the_same() {
    let server = Server::started(FAST, PROFILES);
    for (name, profile, digest) in
        [("juniper", "old", DigestAlgorithm::Sha1), ("cisco-ios-12", "oldest", DigestAlgorithm::Md5)]
    {
        let relay = Relay::start(&server, |answer| answer);
        let url = relay.url(profile);
        // Each wants the digest of its request in the answer, or could not check it.
        expect_success(&ask(&server, &url, profile, name, &["--as", name]), name);
        let file = |kind: &str| server.scratch().join(format!("{name}.{kind}")).to_str().unwrap().to_owned();
        let (key, cert) = (file("key"), file("pem"));
        expect_success(
            &server.run(&["scep", "renew", "--as", name, "--url", &url, "--key", &key, "--cert", &cert]),
            name,
        );
        let messages: Vec<_> = relay.sent().into_iter().filter_map(|sent| sent.message).collect();
        assert_eq!(messages.len(), 2, "{name}");
        for message in messages {
            assert_eq!(message.verify_taking(true).unwrap().digest(), digest, "{name}");
        }
        let metrics = http_get(server.ops_address(), "/metrics").unwrap().body;
        let metrics = String::from_utf8(metrics).unwrap();
        let counted = format!(
            "certgate_legacy_algorithm_total{{profile=\"{profile}\",algorithm=\"{digest}-answer\"}} 2"
        );
        assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    }
}

#[test]
fn the_trace_says_which_client_it_looks_like() {
    // Line ends, HTTP/1.0 and the User-Agent, all as they came over HTTP.
    const CISCO: &str = "cisco-ios: User-Agent Cisco PKI, GET over HTTP/1.0 with line ends in the base64";
    const ADVICE: &str = "; if it is one, set client = \"cisco-ios\" in the profile";
    let server = Server::started(FAST, PROFILES);
    assert_eq!(code(&enrol(&server, "device", "router", &["--as", "cisco-ios"])), 4);
    let listed = server.json(&["enrolment", "list", "--result", "bad-alg"]);
    let id = listed["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}"));
    let shown = server.json(&["enrolment", "show", id]);
    let looks_like = shown[0]["looks_like"].as_str().unwrap();
    assert!(looks_like.starts_with(CISCO) && looks_like.ends_with(ADVICE), "{looks_like}");
    let table = stdout(&server.run(&["enrolment", "show", id]));
    let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(table.contains(&format!("Looks like: {looks_like}")), "{table}");
    let metrics = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    let counted = "certgate_scep_clients_total{client=\"cisco-ios\"} 1";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[test]
fn the_signed_attributes_are_the_clients() {
    const CONTENT_TYPE: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
    const SHA256_WITH_RSA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    let server = Server::started(FAST, PROFILES);
    for (name, content_type, in_signer_info) in
        [("fortigate", false, false), ("strongswan", true, true), ("sscep", true, false)]
    {
        let relay = Relay::start(&server, |answer| answer);
        expect_success(&ask(&server, &relay.url("device"), "device", name, &["--as", name]), name);
        let sent = relay.sent();
        let der = normalise(&sent[2].bytes).unwrap();
        let has = |part: &[u8]| der.windows(11).any(|window| window == part);
        assert_eq!(has(&CONTENT_TYPE), content_type, "{name}");
        let end = &der[der.len() - 290..];
        assert_eq!(end.windows(11).any(|window| window == SHA256_WITH_RSA), in_signer_info, "{name}");
    }
}

/// The header line `Content-Type: FROM` of an answer, changed.
fn retyped(answer: &[u8], from: &str, to: &str) -> Vec<u8> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    [head.replace(from, to).as_bytes(), &answer[end..]].concat()
}

/// A client, the profile that it asks, what happens to answers on the way, and its words if it refuses.
type Case = (&'static str, &'static str, fn(Vec<u8>) -> Vec<u8>, Option<&'static str>);

#[test]
fn each_client_says_in_its_words_what_it_refuses() {
    let server = Server::started(FAST, PROFILES);
    let with_charset = |answer: Vec<u8>| retyped(&answer, "-ra-cert", "-ra-cert; charset=utf-8");
    let as_text = |answer: Vec<u8>| retyped(&answer, "application/x-pki-message", "text/plain");
    let without_sha384 = |answer: Vec<u8>| {
        let text = String::from_utf8_lossy(&answer);
        if text.contains("SHA-384") { text.replace("SHA-384", "SHA-999").into_bytes() } else { answer }
    };
    let as_it_is = |answer: Vec<u8>| answer;
    let cases: [Case; 10] = [
        ("apple", "device", with_charset, Some("22004")),
        ("sscep", "device", with_charset, None),
        ("certmonger", "device", as_text, Some("unexpected MIME type")),
        ("android-jscep", "device", as_text, Some("Invalid content type")),
        ("windows", "device", as_text, None),
        ("strongswan", "device", without_sha384, Some("AES_CBC encryption algorithm not supported")),
        ("mikrotik", "device", without_sha384, None),
        ("juniper", "old", as_it_is, None),
        ("juniper", "chain", as_it_is, Some("holds 3 certificates")),
        ("apple", "chain", as_it_is, None),
    ];
    for (number, (name, profile, change, refusal)) in cases.into_iter().enumerate() {
        let relay = Relay::start(&server, change);
        let device = format!("{name}-{number}");
        let asked = ask(&server, &relay.url(profile), profile, &device, &["--as", name]);
        match refusal {
            None => expect_success(&asked, name),
            Some(words) => {
                assert_eq!(code(&asked), 4, "{name}: {}", stderr(&asked));
                assert!(stderr(&asked).contains(words), "{name}: {}", stderr(&asked));
            }
        }
    }
}

#[test]
fn an_unknown_client_is_wrong_usage() {
    let server = Server::started(FAST, "");
    let asked = enrol(&server, "device", "SN1", &["--as", "nokia"]);
    assert_eq!(code(&asked), 2);
    assert!(stderr(&asked).contains("apple, windows, android-jscep"), "{}", stderr(&asked));
}

/// [`enrol`] at another URL.
fn ask(server: &Server, url: &str, profile: &str, device: &str, more: &[&str]) -> std::process::Output {
    server.register_device(device);
    let (_, ticket) = server.ticket(profile, device);
    let file = |kind: &str| server.scratch().join(format!("{device}.{kind}")).to_str().unwrap().to_owned();
    let (subject, key, cert) = (format!("CN={device}"), file("key"), file("pem"));
    let ticket = ticket.to_str().unwrap();
    let mut arguments =
        vec!["scep", "enrol", "--url", url, "--subject", &subject, "--challenge-file", ticket];
    arguments.extend(["--key", &key, "--cert", &cert]);
    arguments.extend(more);
    server.run(&arguments)
}

/// A request that went by.
struct Sent {
    head: String,
    /// The pkiMessage as it was sent; empty for other operations.
    bytes: Vec<u8>,
    message: Option<PkiMessage>,
}

/// Head and body of each request, in order.
type Seen = Vec<(String, Vec<u8>)>;

/// Stands between client and server, keeps what goes by, and may change answers.
struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    fn start(server: &Server, change: fn(Vec<u8>) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, target) = (listener.local_addr().unwrap(), server.device_address());
        let seen = Arc::new(Mutex::new(Seen::new()));
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (head, body) = read_request(&mut stream);
                let mut onward = TcpStream::connect(target).unwrap();
                let closing = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                onward.write_all(&[closing.as_bytes(), &body].concat()).unwrap();
                let mut answer = Vec::new();
                onward.read_to_end(&mut answer).unwrap();
                kept.lock().unwrap().push((head, body));
                stream.write_all(&change(answer)).unwrap();
            }
        });
        Self { address, seen }
    }

    fn url(&self, profile: &str) -> String {
        format!("http://{}/scep/{profile}", self.address)
    }

    fn sent(&self) -> Vec<Sent> {
        let seen = self.seen.lock().unwrap();
        let sent = seen.iter().map(|(head, body)| {
            let in_query = || {
                let value = head.split("PKIOperation&message=").nth(1)?.split(' ').next()?;
                let base64 =
                    value.replace("%0A", "").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
                STANDARD.decode(base64).ok()
            };
            let bytes = if body.is_empty() { in_query().unwrap_or_default() } else { body.clone() };
            Sent { head: head.clone(), message: PkiMessage::from_ber(&bytes).ok(), bytes }
        });
        sent.collect()
    }
}

/// Head and body.
fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..read]);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let Some(end) = end else {
            assert!(read > 0, "the request was cut off");
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
        if bytes.len() >= end + length {
            return (head, bytes.split_off(end));
        }
    }
}
