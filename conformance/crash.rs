//! Invariants 2 and 3 against the real server: it is killed with SIGKILL under an enrolment load, twenty times on the same data, and
//! started again. Whatever a client or an operator was told before the kill still holds after it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold panics"
)]
#![allow(clippy::print_stdout, reason = "the times are for the reader")]
#![allow(clippy::disallowed_methods, reason = "a test of a real process measures real time")]

mod common;
mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use certgate::{
    adapters::system::SystemRandomSource,
    ports::Random,
    service::scep::CertRep,
    types::{DigestAlgorithm, RevocationReason, Secret, SerialNumber},
    wire::{
        crl::Crl,
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        scep::{Degenerate, PkiStatus},
        x509::Certificate,
    },
};
use common::{Client, MessageOptions};
use process::{Server, http_get, http_post};
use serde_json::Value;

const ROUNDS: usize = 20;
const THREADS: usize = 8;
/// More than the server can do before it is killed, so that the kill always hits requests in flight.
const REQUESTS_PER_ROUND: usize = 120;
const TICKETS_PER_ROUND: usize = 6;
const KILL_AFTER_MS: std::ops::Range<u64> = 50..400;
const CHALLENGE: &str = "crash-challenge-0123456789";
/// As many as a request may have.
const CERTIDS_PER_REQUEST: usize = 16;

const PROFILES: &str = r#"
[profile.fleet]
subject = "CN=$DEVICE_ID$"
match = "claim"
challenge = ["static"]
allow-unregistered = true
static-challenge-files = ["fleet.challenge"]

[profile.owned]
subject = "CN=$DEVICE_ID$"
[profile.owned.lifecycle]
on-wipe-requested = "revoke"
"#;

/// A message that a client sends, and sends again if no answer comes.
struct Attempt {
    profile: &'static str,
    client: usize,
    message: Vec<u8>,
    /// Its subject is its own, but for attempts with a ticket: those have the device's.
    subject: String,
    /// Which of the round's tickets it brings.
    ticket: Option<usize>,
}

/// What is known of the certificates that clients hold, over all rounds.
#[derive(Default)]
struct Held {
    by_serial: BTreeMap<SerialNumber, Certificate>,
    /// Of acknowledged wipes and revocations.
    revoked: BTreeSet<SerialNumber>,
    crl_number: u64,
}

struct Crash {
    server: Server,
    clients: Vec<Client>,
    /// Where requests are encrypted to.
    recipient: Certificate,
    issuer: Certificate,
    held: Held,
    /// A device with its certificate, from the round before: to be wiped in this one.
    to_wipe: Option<(String, SerialNumber)>,
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let mut crash = Crash::new();
    let mut slowest = Duration::ZERO;
    let (mut answered, mut lost) = (0, 0);
    for round in 0..ROUNDS {
        let outcome = crash.round(round);
        println!(
            "round {round:2}: killed after {:3} ms, {:3} answered, {:3} not; ready again after {:?}",
            outcome.killed_after.as_millis(),
            outcome.answered,
            outcome.unanswered,
            outcome.ready_after
        );
        slowest = slowest.max(outcome.ready_after);
        answered += outcome.answered;
        lost += outcome.unanswered;
    }
    println!(
        "{answered} answered, {lost} not; slowest start {slowest:?}; {} certificates, {} revoked",
        crash.held.by_serial.len(),
        crash.held.revoked.len()
    );
    assert!(answered > 0 && lost > 0, "the kills hit a load: {answered} answered, {lost} not");
    assert!(!crash.held.revoked.is_empty(), "something was revoked under load");
}

struct Outcome {
    killed_after: Duration,
    answered: usize,
    unanswered: usize,
    ready_after: Duration,
}

impl Crash {
    fn new() -> Self {
        let mut server = Server::initialise(&["--key", "p-256"], PROFILES);
        server.write_secret("fleet.challenge", CHALLENGE);
        server.start();
        let answer = http_get(server.device_address(), "/scep/fleet?operation=GetCACert").unwrap();
        let mut bundle = Degenerate::from_ber(&answer.body).unwrap().certificates.into_iter();
        let (recipient, issuer) = (bundle.next().unwrap(), bundle.next().unwrap());
        let clients = (0..4).map(|_| Client::new()).collect();
        Self { server, clients, recipient, issuer, held: Held::default(), to_wipe: None }
    }

    fn round(&mut self, round: usize) -> Outcome {
        let attempts = self.prepare(round);
        let (answers, killed_after) = self.load_until_killed(&attempts);
        let ready_after = self.start_again();

        self.check_what_survived(&attempts, &answers);
        self.check_revocations();
        self.repeat_everything(&attempts, &answers);
        self.check_tickets(round);
        self.check_audit();
        self.choose_whom_to_wipe(round);
        let answered = answers.iter().flatten().count();
        Outcome { killed_after, answered, unanswered: attempts.len() - answered, ready_after }
    }

    /// Requests with the static challenge, and for each ticket two clients that race for it, all mixed.
    fn prepare(&self, round: usize) -> Vec<Attempt> {
        let tickets: Vec<(String, Secret)> = (0..TICKETS_PER_ROUND)
            .map(|number| {
                let device = device_id(round, number);
                self.server.register_device(&device);
                let (secret, _) = self.server.ticket("owned", &device);
                (device, Secret::from(secret.as_str()))
            })
            .collect();
        let challenge = Secret::from(CHALLENGE);
        let mut attempts = Vec::new();
        for number in 0..REQUESTS_PER_ROUND {
            let subject = format!("CN=fleet-{round}-{number}");
            attempts.push(self.attempt("fleet", number, subject, &challenge, None));
        }
        for (number, (device, secret)) in tickets.iter().enumerate() {
            for racer in 0..2 {
                let attempt = self.attempt("owned", racer, format!("CN={device}"), secret, Some(number));
                // Somewhere in the first half, side by side.
                attempts.insert(number * REQUESTS_PER_ROUND / (2 * TICKETS_PER_ROUND), attempt);
            }
        }
        attempts
    }

    fn attempt(
        &self,
        profile: &'static str,
        number: usize,
        subject: String,
        challenge: &Secret,
        ticket: Option<usize>,
    ) -> Attempt {
        let index = number % self.clients.len();
        let client = self.clients[index].in_transaction(&format!("{}-{number}", &subject[3..]));
        let csr = client.csr(&subject, Some(challenge));
        let message = client.message(&self.recipient, &MessageOptions::default(), &csr);
        Attempt { profile, client: index, message, subject, ticket }
    }

    /// Gives the body of each answer that came, and when the kill was.
    fn load_until_killed(&mut self, attempts: &[Attempt]) -> (Vec<Option<Vec<u8>>>, Duration) {
        let answers = Mutex::new(vec![None; attempts.len()]);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let kill_after = random_in(KILL_AFTER_MS);
        let to_wipe = self.to_wipe.take();
        let to_revoke =
            self.held.by_serial.keys().find(|serial| !self.held.revoked.contains(*serial)).cloned();
        let server = &self.server;
        let address = server.device_address();
        let killer = server.killer();
        let acknowledged = thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(attempt) = attempts.get(index) else { break };
                        let path = format!("/scep/{}?operation=PKIOperation", attempt.profile);
                        let answer = http_post(address, &path, "application/x-pki-message", &attempt.message);
                        answers.lock().unwrap()[index] =
                            answer.filter(|it| it.status == 200).map(|it| it.body);
                    }
                });
            }
            let operator = scope.spawn(|| operate(server, to_wipe, to_revoke));
            thread::sleep(kill_after);
            killer.kill();
            stop.store(true, Ordering::Relaxed);
            operator.join().unwrap()
        });
        self.server.kill();
        self.held.revoked.extend(acknowledged);
        (answers.into_inner().unwrap(), kill_after)
    }

    fn start_again(&mut self) -> Duration {
        let start = Instant::now();
        self.server.start();
        start.elapsed()
    }

    /// Invariant 2: every certificate that left is recorded, byte for byte, and has a serial of its own.
    fn check_what_survived(&mut self, attempts: &[Attempt], answers: &[Option<Vec<u8>>]) {
        for (attempt, answer) in attempts.iter().zip(answers) {
            let Some(certificate) = answer.as_ref().and_then(|body| self.open(attempt, body)) else {
                continue;
            };
            self.hold(&certificate);
        }
        let recorded = self.recorded();
        for (serial, certificate) in &self.held.by_serial {
            let fingerprint = recorded.get(serial).map(|it| it.fingerprint.as_str());
            assert_eq!(
                fingerprint,
                Some(certificate.fingerprint().to_string().as_str()),
                "{serial} is recorded"
            );
        }
        // The whole certificate of a few; the fingerprints above are of all.
        for serial in self.held.by_serial.keys().rev().take(2) {
            let shown = self.server.json(&["cert", "show", &format!("issuing/{serial}")]);
            assert_eq!(shown["pem"].as_str(), Some(self.held.by_serial[serial].to_pem().as_str()));
        }
    }

    fn hold(&mut self, certificate: &Certificate) {
        let serial = certificate.serial().clone();
        let before = self.held.by_serial.insert(serial, certificate.clone());
        let same = before.is_none_or(|before| before.as_der() == certificate.as_der());
        assert!(same, "two certificates have the serial number {}", certificate.serial());
    }

    /// The certificate of a SUCCESS; none of a FAILURE.
    fn open(&self, attempt: &Attempt, body: &[u8]) -> Option<Certificate> {
        let rep = CertRep { body: body.to_vec(), operation: "", result: "" };
        let answer = self.clients[attempt.client].open(&attempt.message, rep);
        match answer.status {
            PkiStatus::Success => Some(answer.certificate().clone()),
            PkiStatus::Failure => {
                assert!(attempt.ticket.is_some(), "a static challenge is refused: {answer:?}");
                None
            }
            PkiStatus::Pending => panic!("nobody has to approve anything: {answer:?}"),
        }
    }

    /// Invariants 1 and 3: acknowledged revocations hold, OCSP and CRL agree on every serial, the CRL number never goes back.
    fn check_revocations(&mut self) {
        let before = self.crl();
        assert!(before.number().unwrap() >= self.held.crl_number, "the CRL number went back");
        self.server.json(&["crl", "publish", "issuing"]);
        let crl = self.crl();
        assert!(crl.number() > before.number(), "a published CRL has a number of its own");
        self.held.crl_number = crl.number().unwrap();

        let listed: BTreeMap<SerialNumber, _> = crl
            .entries()
            .iter()
            .map(|entry| (entry.serial.clone(), (entry.reason, entry.revoked_at)))
            .collect();
        let recorded: Vec<SerialNumber> = self.recorded().into_keys().collect();
        for serials in recorded.chunks(CERTIDS_PER_REQUEST) {
            for (serial, status) in self.ocsp(serials) {
                let revoked = match status {
                    CertStatus::Good => None,
                    CertStatus::Revoked { at, reason } => Some((reason, at)),
                    CertStatus::Unknown => panic!("{serial} is recorded, and OCSP does not know it"),
                };
                assert_eq!(
                    revoked,
                    listed.get(&serial).copied(),
                    "OCSP and CRL {:?} of {serial}",
                    crl.number()
                );
            }
        }
        for serial in &self.held.revoked {
            let permanent =
                listed.get(serial).is_some_and(|(reason, _)| *reason != RevocationReason::CertificateHold);
            assert!(permanent, "the revocation of {serial} was acknowledged and is lost");
        }
    }

    /// Invariant 3: whoever got no answer asks again, and gets the certificate that was issued then, if it was; and whoever
    /// got one and asks again gets the same.
    fn repeat_everything(&mut self, attempts: &[Attempt], answers: &[Option<Vec<u8>>]) {
        let before: BTreeMap<String, String> =
            self.recorded().into_values().map(|it| (it.subject, it.fingerprint)).collect();
        let mut winners: BTreeMap<usize, Certificate> = BTreeMap::new();
        for (index, (attempt, answer)) in attempts.iter().zip(answers).enumerate() {
            let lost = answer.is_none();
            if attempt.ticket.is_none() && !lost && index % 16 != 0 {
                continue;
            }
            let path = format!("/scep/{}?operation=PKIOperation", attempt.profile);
            let address = self.server.device_address();
            let again = http_post(address, &path, "application/x-pki-message", &attempt.message).unwrap();
            assert_eq!(again.status, 200, "{}", String::from_utf8_lossy(&again.body));
            let now = self.open(attempt, &again.body);
            if let Some(first) = answer.as_ref().and_then(|body| self.open(attempt, body)) {
                let same = now.as_ref().is_some_and(|now| now.as_der() == first.as_der());
                assert!(same, "{} was answered with a certificate, and now with {now:?}", attempt.subject);
            }
            let Some(now) = now else { continue };
            let earlier = before.get(&attempt.subject);
            let same = earlier.is_none_or(|fingerprint| *fingerprint == now.fingerprint().to_string());
            assert!(same, "{} has a certificate already and got another", attempt.subject);
            if let Some(other) = attempt.ticket.and_then(|ticket| winners.insert(ticket, now.clone())) {
                assert_eq!(other.as_der(), now.as_der(), "one ticket, two certificates");
            }
            self.hold(&now);
        }
        assert_eq!(winners.len(), TICKETS_PER_ROUND, "every ticket leads to a certificate in the end");
    }

    /// Invariant 2: by what the server recorded, too.
    fn check_tickets(&self, round: usize) {
        for number in 0..TICKETS_PER_ROUND {
            let device = device_id(round, number);
            let listed = self.server.json(&["cert", "list", "--device", &device]);
            assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{device} had one ticket: {listed}");
        }
    }

    fn check_audit(&self) {
        let verified = self.server.json(&["audit", "verify"]);
        assert_eq!(verified["intact"], true, "{verified}");
    }

    fn choose_whom_to_wipe(&mut self, round: usize) {
        let device = device_id(round, 0);
        let listed = self.server.json(&["cert", "list", "--device", &device]);
        let serial = listed["items"][0]["serial"].as_str().unwrap().parse().unwrap();
        self.to_wipe = Some((device, serial));
    }

    /// Every certificate of the issuing CA that the server has on record.
    fn recorded(&self) -> BTreeMap<SerialNumber, Recorded> {
        let mut recorded = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let mut arguments = vec!["cert", "list", "--limit", "1000"];
            arguments.extend(after.iter().flat_map(|key| ["--after", key.as_str()]));
            let page = self.server.json(&arguments);
            for item in page["items"].as_array().unwrap().iter().filter(|item| item["issuer"] == "issuing") {
                let serial: SerialNumber = text(item, "serial").parse().unwrap();
                let certificate =
                    Recorded { fingerprint: text(item, "fingerprint"), subject: text(item, "subject") };
                assert!(recorded.insert(serial, certificate).is_none(), "a serial number twice: {item}");
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return recorded,
            }
        }
    }

    fn crl(&self) -> Crl {
        let answer = http_get(self.server.device_address(), "/crl/issuing.crl").unwrap();
        assert_eq!(answer.status, 200);
        let crl = Crl::from_der(&answer.body).unwrap();
        crl.verify(&self.issuer).unwrap();
        crl
    }

    fn ocsp(&self, serials: &[SerialNumber]) -> Vec<(SerialNumber, CertStatus)> {
        let cert_id = |serial| CertId::new(DigestAlgorithm::Sha256, &self.issuer, serial).unwrap();
        let request = OcspRequest::new(serials.iter().map(cert_id).collect(), None).to_der().unwrap();
        let answer =
            http_post(self.server.device_address(), "/ocsp", "application/ocsp-request", &request).unwrap();
        let Ok(OcspResponse::Successful(response)) = OcspResponse::from_der(&answer.body) else {
            panic!("OCSP gives no status: {:?}", answer.body)
        };
        response.verify(&self.issuer).unwrap();
        assert_eq!(response.responses.len(), serials.len());
        response.responses.into_iter().map(|it| (it.cert_id.serial().clone(), it.status)).collect()
    }
}

struct Recorded {
    fingerprint: String,
    subject: String,
}

/// What the operator does while the server is under load; gives the serials of what was acknowledged.
fn operate(
    server: &Server,
    to_wipe: Option<(String, SerialNumber)>,
    to_revoke: Option<SerialNumber>,
) -> Vec<SerialNumber> {
    let mut acknowledged = Vec::new();
    if let Some((device, serial)) = to_wipe
        && server.run(&["device", "wipe", "--yes", &device]).status.success()
    {
        acknowledged.push(serial);
    }
    if let Some(serial) = to_revoke {
        let id = format!("issuing/{serial}");
        if server.run(&["cert", "revoke", "--yes", "--reason", "superseded", &id]).status.success() {
            acknowledged.push(serial);
        }
    }
    acknowledged
}

fn device_id(round: usize, number: usize) -> String {
    format!("SN-{round}-{number}")
}

fn text(item: &Value, key: &str) -> String {
    item[key].as_str().unwrap_or_else(|| panic!("{item} has {key}")).to_owned()
}

fn random_in(range: std::ops::Range<u64>) -> Duration {
    let random: &dyn Random = &SystemRandomSource::default();
    let span = range.end - range.start;
    Duration::from_millis(range.start + u64::from_be_bytes(random.bytes()) % span)
}
