//! The approval webhook, against a socket on this machine that answers as it is told: what it is asked, and what becomes of each
//! answer. The HTTP client is the real one.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use aws_lc_rs::hmac;
use certgate::{
    adapters::outbound::{Destination, HttpOutbound, HttpSettings, RequestLimits},
    domain::{access::Read as MayRead, enrol::EnrolmentState},
    ports::{HostRule, store::Page},
    service::{
        ApprovalWebhook, GatewaySettings, Ports, exchange::ExchangeFilter, health::CheckResult,
        scep::ScepError,
    },
    types::Secret,
    wire::scep::{FailInfo, MessageType, PkiStatus},
};
use serde_json::Value;

use super::common::{Client, MessageOptions, World, WorldOptions};

const PROFILE: &str = r#"
subject = "CN=$DEVICE_ID$,O=Test"
subject-alt-names = ["dns:{{DEVICE_ID}}.test.example"]
challenge = ["ticket"]
approval = "webhook"
"#;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEXT: &str = "fedcba9876543210fedcba9876543210";

/// For so long a denial holds.
const MINUTES: Duration = Duration::from_secs(600);

const ALLOW: &str = r#"{"allow": true}"#;
const DENY: &str = r#"{"allow": false, "reason": "the device is on the list of stolen ones"}"#;

/// One question, as it came.
struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> String {
        let line = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        let line = self.head.lines().find(line).unwrap_or_else(|| panic!("{name} in {}", self.head));
        line.split_once(':').unwrap().1.trim().to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A receiver that answers each question with the same bytes, or, with none, not at all.
struct Receiver {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Receiver {
    fn new(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                noted.lock().unwrap().push(read(&mut stream));
                match &answer {
                    Some(answer) => drop(stream.write_all(answer)),
                    None => thread::sleep(Duration::from_secs(5)),
                }
            }
        });
        Self { address, asked }
    }

    fn says(json: &str) -> Self {
        Self::new(Some(answer("200 OK", "", json.as_bytes())))
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn read(stream: &mut TcpStream) -> Asked {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Asked { head, body }
}

fn outbound(address: SocketAddr) -> Arc<HttpOutbound> {
    let http =
        HttpSettings { authorities: Vec::new(), system_roots: false, proxy: None, enrolment_places: 4 };
    let destination = Destination {
        name: "approval-device".to_owned(),
        hosts: vec![HostRule::exact("127.0.0.1", Some(address.port()))],
        limits: RequestLimits { connect: Duration::from_secs(1), total: Duration::from_secs(1), places: 4 },
        max_answer: 64 * 1024,
        enrols: true,
    };
    Arc::new(HttpOutbound::new(&http, vec![destination], Box::new(|_, _, _| {})).unwrap())
}

fn settings(url: &str, secrets: &[&str]) -> GatewaySettings {
    let webhook = ApprovalWebhook {
        destination: "approval-device".to_owned(),
        url: url.to_owned(),
        secrets: secrets.iter().map(|secret| Secret::from(*secret)).collect(),
        remember_denials: MINUTES,
    };
    GatewaySettings {
        approval_webhooks: [("device".parse().unwrap(), webhook)].into(),
        ..GatewaySettings::default()
    }
}

fn world_asking(receiver: &Receiver, scheme: &str, secrets: &[&str]) -> World {
    let url = format!("{scheme}://{}/approve?for=scep", receiver.address);
    let options = WorldOptions {
        settings: settings(&url, secrets),
        outbound: outbound(receiver.address),
        ..WorldOptions::default()
    };
    World::with(options, &[("device", PROFILE)])
}

/// A request with a ticket for the device SN1, and the ticket.
fn request(world: &World, client: &Client) -> (Vec<u8>, Secret) {
    let ticket = world.ticket("device", &world.register("SN1"));
    let csr = client.csr("CN=as asked", Some(&ticket));
    (client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr), ticket)
}

fn signature(secret: &str, asked: &Asked) -> String {
    let signed = [asked.header("x-certgate-timestamp").as_bytes(), b".", &asked.body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("v1={}", hex::encode(hmac::sign(&key, &signed)))
}

#[test]
fn a_request_that_is_allowed_is_issued_and_not_asked_about_again() {
    let receiver = Receiver::says(ALLOW);
    let world = world_asking(&receiver, "http", &[SECRET]);
    let client = Client::new();
    let (message, ticket) = request(&world, &client);
    let issued = client.send(&world, "device", &message);
    assert_eq!(issued.certificate().subject().to_string(), "CN=SN1,O=Test");
    let again = client.send(&world, "device", &message);
    assert_eq!(again.certificate(), issued.certificate());
    assert_eq!(receiver.count(), 1, "the same request is not put to it again");

    let asked = receiver.asked.lock().unwrap().remove(0);
    assert!(asked.head.starts_with("POST /approve?for=scep HTTP/1.1\r\n"), "{}", asked.head);
    assert_eq!(asked.header("content-type"), "application/json");
    assert_eq!(asked.header("x-certgate-timestamp"), world.now().unix().to_string());
    assert_eq!(asked.header("x-certgate-signature"), signature(SECRET, &asked));
    let ticket = String::from_utf8(ticket.expose().to_vec()).unwrap();
    assert!(!String::from_utf8_lossy(&asked.body).contains(&ticket), "never the challenge");
    let json = asked.json();
    let enrolment = world.enrolment_of(issued.certificate());
    for (pointer, wanted) in [
        ("/enrolment", enrolment.id.as_str()),
        ("/profile", "device"),
        ("/transaction", enrolment.transaction.as_str()),
        ("/client/address", "192.0.2.7"),
        ("/subject", "CN=SN1,O=Test"),
        ("/requested/subject", "CN=as asked"),
        ("/device", "SN1"),
        ("/assurance", "high"),
        ("/key/sha256", &client.public_key().fingerprint().to_string()),
    ] {
        assert_eq!(json.pointer(pointer).and_then(Value::as_str), Some(wanted), "{pointer} in {json}");
    }
    assert!(json["subject_alt_names"][0].as_str().unwrap().contains("SN1.test.example"), "{json}");
    assert!(enrolment.trace.iter().any(|step| step.check == "approval webhook" && step.passed));
    let events = world.gateway.audit_tail(&world.authed::<MayRead>(), 5).unwrap().items;
    let fact = events.iter().rfind(|event| event.action == "certificate.issued").unwrap();
    assert_eq!(fact.detail["approved-by"], "webhook");
}

#[test]
fn a_request_that_is_denied_is_rejected_on_record_and_not_asked_about_again() {
    let receiver = Receiver::says(DENY);
    let world = world_asking(&receiver, "http", &[SECRET]);
    let client = Client::new();
    let (message, ticket) = request(&world, &client);
    for _ in 0..2 {
        let refused = client.send(&world, "device", &message);
        assert_eq!(refused.failure(), FailInfo::BadRequest);
        assert_eq!(refused.fail_info_text.as_deref(), Some("The request is refused."), "no inside is told");
    }
    assert_eq!((receiver.count(), world.leaves()), (1, 0));
    let id = receiver.asked.lock().unwrap()[0].json()["enrolment"].as_str().unwrap().parse().unwrap();
    let enrolment = world.read(|view| view.enrolment(&id)).unwrap();
    let EnrolmentState::Rejected { reason } = &enrolment.state else { panic!("{:?}", enrolment.state) };
    assert!(reason.contains("list of stolen ones"), "{reason}");
    let events = world.gateway.audit_tail(&world.authed::<MayRead>(), 5).unwrap().items;
    assert!(
        events.iter().any(|event| event.action == "enrolment.rejected" && event.object == id.to_string())
    );

    // The ticket is unused: after a while another request is another question.
    world.clock.advance(MINUTES);
    let other = client.in_transaction("another");
    let csr = other.csr("CN=again", Some(&ticket));
    assert_eq!(other.enrol(&world, "device", &csr).status, PkiStatus::Failure);
    assert_eq!(receiver.count(), 2);
}

#[test]
fn a_denial_may_give_no_reason() {
    for denial in [r#"{"allow": false}"#, r#"{"allow": false, "reason": null}"#] {
        let world = world_asking(&Receiver::says(denial), "http", &[SECRET]);
        let client = Client::new();
        let (message, _) = request(&world, &client);
        client.send(&world, "device", &message).failure();
        let exchanges = world.gateway.exchanges(&world.authed(), &ExchangeFilter::default(), &Page::first(1));
        let exchange = exchanges.unwrap().items.remove(0);
        assert_eq!(exchange.reason, "the approval webhook says no", "{denial}");
        assert!(exchange.hint.contains("`denial-minutes`"), "{}", exchange.hint);
    }
}

#[test]
fn who_was_denied_hears_it_again_whatever_he_sends_and_nobody_is_asked_and_nothing_recorded() {
    let receiver = Receiver::says(DENY);
    let world = world_asking(&receiver, "http", &[SECRET]);
    let client = Client::new();
    let (message, ticket) = request(&world, &client);
    client.send(&world, "device", &message).failure();
    let rejected = || {
        let events = world.read(|view| view.audit_events(0, 10_000));
        events.iter().filter(|event| event.fact.action == "enrolment.rejected").count()
    };
    assert_eq!((receiver.count(), rejected()), (1, 1));
    for number in 0..20 {
        let client = Client::new().in_transaction(&format!("try-{number}"));
        let refused = client.enrol(&world, "device", &client.csr("CN=another key", Some(&ticket)));
        assert_eq!(refused.failure(), FailInfo::BadRequest);
        assert_eq!(refused.fail_info_text.as_deref(), Some("The request is refused."));
    }
    assert_eq!((receiver.count(), rejected(), world.leaves()), (1, 1, 0));

    // Somebody else is another question.
    let other = Client::new();
    let csr = other.csr("CN=x", Some(&world.ticket("device", &world.register("SN2"))));
    other.enrol(&world, "device", &csr).failure();
    assert_eq!(receiver.count(), 2);
}

/// Nothing is issued, nothing recorded, nothing used up: the client is told to come back, and with a webhook that answers it gets its
/// certificate.
#[track_caller]
fn comes_back(broken: &Receiver, scheme: &str) {
    let world = world_asking(broken, scheme, &[SECRET]);
    let client = Client::new();
    let (message, _) = request(&world, &client);
    assert!(matches!(world.pki_operation("device", &message), Err(ScepError::Away { .. })));
    assert_eq!(world.leaves(), 0);
    let (result, detail) = health(&world);
    assert_eq!(result, CheckResult::Warn, "an operator is told");
    assert!(detail.starts_with("did not answer at "), "{detail}");

    let well = Receiver::says(ALLOW);
    let ports = Ports { outbound: outbound(well.address), ..world.ports.clone() };
    let world = world.restarted_on(ports, settings(&format!("http://{}/", well.address), &[SECRET]));
    assert_eq!(health(&world), (CheckResult::Pass, "was not asked yet".to_owned()));
    client.send(&world, "device", &message).certificate();
    assert_eq!(well.count(), 1);
    assert_eq!(health(&world).0, CheckResult::Pass);
}

/// What `certgate doctor` says of the webhook.
fn health(world: &World) -> (CheckResult, String) {
    let mut checks = world.gateway.health().checks.into_iter();
    let check = checks.find(|check| check.name == "approval-webhook/device").unwrap();
    (check.result, check.detail)
}

#[test]
fn no_answer_in_time_is_no_answer() {
    comes_back(&Receiver::new(None), "http");
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::says(ALLOW);
    let location = format!("Location: http://{}/\r\n", elsewhere.address);
    for status in ["302 Found", "307 Temporary Redirect"] {
        comes_back(&Receiver::new(Some(answer(status, &location, ALLOW.as_bytes()))), "http");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[test]
fn an_answer_that_is_none_issues_nothing() {
    let huge = format!(r#"{{"allow": true, "reason": "{}"}}"#, "x".repeat(100_000));
    for broken in [
        answer("200 OK", "", b"yes"),
        answer("200 OK", "", b"{}"),
        answer("200 OK", "", br#"{"allow": "true"}"#),
        answer("200 OK", "", huge.as_bytes()),
        answer("201 Created", "", ALLOW.as_bytes()),
        answer("500 Internal Server Error", "", ALLOW.as_bytes()),
        b"no HTTP at all".to_vec(),
        Vec::new(),
    ] {
        comes_back(&Receiver::new(Some(broken)), "http");
    }
}

#[test]
fn a_receiver_that_cannot_prove_itself_is_not_asked() {
    let receiver = Receiver::says(ALLOW);
    comes_back(&receiver, "https");
    let asked = receiver.asked.lock().unwrap();
    assert!(asked.iter().all(|asked| asked.body.is_empty()), "the question never went out");
}

#[test]
fn requests_are_signed_with_both_secrets_while_they_change() {
    let receiver = Receiver::says(ALLOW);
    let world = world_asking(&receiver, "http", &[SECRET, NEXT]);
    let client = Client::new();
    let (message, _) = request(&world, &client);
    client.send(&world, "device", &message).certificate();
    let asked = receiver.asked.lock().unwrap().remove(0);
    let both = format!("{},{}", signature(SECRET, &asked), signature(NEXT, &asked));
    assert_eq!(asked.header("x-certgate-signature"), both);
}

#[test]
fn a_renewal_is_asked_about_too_and_a_wrong_challenge_never() {
    let receiver = Receiver::says(ALLOW);
    let world = world_asking(&receiver, "http", &[SECRET]);
    let client = Client::new();
    let wrong = client.csr("CN=x", Some(&Secret::from("no such challenge")));
    assert_eq!(client.enrol(&world, "device", &wrong).failure(), FailInfo::BadRequest);
    assert_eq!(receiver.count(), 0, "nobody is asked about what the rules refuse");
    let (message, _) = request(&world, &client);
    let issued = client.send(&world, "device", &message);
    let old = client.with_identity(issued.certificate());
    let renewed = old.ask(&world, "device", MessageType::RenewalReq, &old.csr("CN=SN1,O=Test", None));
    renewed.certificate();
    let asked = receiver.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].json()["renews"].as_str().unwrap().starts_with("issuing/"));
}

#[test]
fn a_profile_whose_webhook_is_not_configured_issues_nothing() {
    let world = World::new(&[("device", PROFILE)]);
    let client = Client::new();
    let (message, _) = request(&world, &client);
    assert!(matches!(world.pki_operation("device", &message), Err(ScepError::Away { .. })));
}

/// A probe is no question: it is a GET, which changes nothing (RFC 9110 section 9.2.1), and proves the secret.
#[test]
fn a_probe_asks_the_webhook_nothing_and_says_whether_it_takes_the_signature() {
    let probed = |receiver: &Receiver| {
        let world = world_asking(receiver, "http", &[SECRET]);
        let mut report = world.gateway.probe(&world.authed()).unwrap();
        assert_eq!(report.checks.len(), 1, "{report:?}");
        let check = report.checks.remove(0);
        assert_eq!(
            (check.name.as_str(), check.result == CheckResult::Pass),
            ("approval-webhook/device", report.works)
        );
        (report.works, check.detail, check.hint)
    };
    for (status, works, words) in [
        ("200 OK", true, "status 200"),
        ("405 Method Not Allowed", true, "status 405"),
        ("501 Not Implemented", true, "status 501"),
        ("403 Forbidden", false, "signature"),
        ("302 Found", false, "redirects"),
        ("502 Bad Gateway", false, "status 502"),
    ] {
        let receiver = Receiver::new(Some(answer(status, "Location: /elsewhere\r\n", b"")));
        let (found, detail, _) = probed(&receiver);
        assert!(found == works && detail.contains(words), "{status}: {detail}");
        let asked = receiver.asked.lock().unwrap().remove(0);
        assert!(asked.head.starts_with("GET /approve?for=scep HTTP/1.1\r\n"), "{}", asked.head);
        assert_eq!((asked.body.len(), asked.header("x-certgate-signature")), (0, signature(SECRET, &asked)));
    }
    let nobody = Receiver { address: "127.0.0.1:1".parse().unwrap(), asked: Arc::default() };
    let (works, detail, hint) = probed(&nobody);
    assert!(
        !works && detail.contains("cannot connect") && hint.contains("approval-webhook"),
        "{detail} {hint}"
    );
}
