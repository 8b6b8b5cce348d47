//! One simulated device. What it is told, it checks: the answer's signature, transactionID and nonce are the client's own checks, here come the
//! certificate's key, issuer, time and serial number, and that status and CRL say of it what is so.

use std::{
    collections::HashSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    Challenges, Options, Source,
    fleet::Stop,
    gateway::{self, Admission},
    operator,
    tally::{Incident, Step, Tally, lock},
};
use crate::{
    adapters::system::{SystemClock, SystemRandomSource},
    app::{
        cli::admin::AdminClient,
        client::{
            crl,
            error::{ClientError, Fault},
            http::HttpClient,
            key::ClientKey,
            ocsp::{Question, ask},
            scep::{CertificateRequest, Requester, ScepClient},
        },
        failure::Failure,
    },
    ports::{Clock, Random},
    types::{DigestAlgorithm, Secret, SerialNumber, Timestamp, TransactionId},
    wire::{
        ocsp::CertStatus,
        scep::{
            Degenerate, MessageType,
            client::{Authority, Reply, issued_to},
        },
        x509::{Certificate, Name},
    },
};

/// A device's first pause between polls, and its shortest before it asks a busy server again; the next ones are longer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Its longest pause between polls.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The first pause while it waits for OCSP to say revoked.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// The longest pause while it waits for that.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// What a worker has for itself.
pub(super) struct Worker {
    pub(super) http: HttpClient,
    pub(super) operator: Option<AdminClient>,
    pub(super) clock: SystemClock,
    pub(super) random: SystemRandomSource,
}

/// What all devices have in common.
pub(super) struct Storm<'a> {
    pub(super) options: &'a Options,
    /// What the server said before it began.
    pub(super) authority: &'a Authority,
    pub(super) keys: &'a [ClientKey],
    /// How far each got on the local gateway.
    pub(super) admissions: Option<&'a [Admission]>,
    pub(super) tally: &'a Tally,
    pub(super) stop: &'a Stop,
    /// Serial numbers of all certificates so far.
    pub(super) serials: Mutex<HashSet<SerialNumber>>,
}

/// The step failed, and is counted.
struct Failed;

/// A certificate with the CA that signed it.
struct Held<'a> {
    certificate: Certificate,
    issuer: &'a Certificate,
}

/// One device at work.
struct Device<'a> {
    storm: &'a Storm<'a>,
    worker: &'a Worker,
    client: ScepClient<'a>,
    name: String,
    key: &'a ClientKey,
}

impl Storm<'_> {
    /// The life of the device with this number; gives whether all of it went right.
    pub(super) fn live(&self, worker: &Worker, number: u32) -> bool {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let key = self.keys.get(index % self.keys.len().max(1));
        let challenge = match (self.admissions, &self.options.challenges) {
            (Some(admissions), _) => match admissions.get(index) {
                Some(Admission::Ticket(ticket)) => Some(ticket.clone()),
                // The gateway said no, and that is counted.
                _ => return false,
            },
            (None, Challenges::Shared(secret)) => Some(secret.clone()),
            (None, _) => None,
        };
        let Some(key) = key else { return false };
        let client = ScepClient::new(&worker.http, &self.options.url, &worker.clock, &worker.random);
        let device = Device { storm: self, worker, client, name: self.options.device(number), key };
        device.live(challenge, self.options.is_wiped(number)).is_ok()
    }
}

impl<'a> Device<'a> {
    fn live(&self, challenge: Option<Secret>, is_wiped: bool) -> Result<(), Failed> {
        self.step(Step::GetCa, || self.greet())?;
        let mut held = self.enrol(challenge)?;
        let options = self.storm.options;
        if options.renew {
            held = self.renew(&held)?;
        }
        // One of these may fail without the others.
        let ocsp = options.ocsp.as_ref().map_or(Ok(()), |source| self.check_status(&held, source));
        let crl = options.crl.as_ref().map_or(Ok(()), |source| self.check_crl(&held, source));
        let wiped = if is_wiped { self.wipe(&held) } else { Ok(()) };
        ocsp.and(crl).and(wiped)
    }

    /// Does a step, again while a busy server asks to come back later; counts and measures it.
    fn step<T>(&self, step: Step, mut act: impl FnMut() -> Result<T, ClientError>) -> Result<T, Failed> {
        let mut left = self.storm.options.patience;
        loop {
            let begun = now();
            self.worker.http.take_spent();
            let outcome = act();
            let spent = self.worker.http.take_spent();
            let error = match outcome {
                Ok(value) => {
                    self.storm.tally.done(step, begun, spent);
                    return Ok(value);
                }
                Err(error) => error,
            };
            // A Retry-After of 0 must not become a loop without end.
            let pause = error.retry_after().map(|asked| asked.max(FIRST_PAUSE));
            let Some(pause) = pause.filter(|pause| *pause <= left) else {
                return Err(self.failed(step, &Incident::of(&error)));
            };
            self.storm.tally.busy(step);
            left -= pause;
            if !self.storm.stop.sleep(pause) {
                return Err(self.failed(step, &Incident::of(&error)));
            }
        }
    }

    fn failed(&self, step: Step, incident: &Incident) -> Failed {
        self.storm.tally.failed(step, &self.name, incident);
        Failed
    }

    /// GetCACaps and GetCACert. Behind a load balancer, every server has to be the same CA.
    fn greet(&self) -> Result<(), ClientError> {
        let found = self.client.discover()?;
        let known = &self.storm.authority.ca.all;
        if found.ca.all.iter().any(|certificate| !known.contains(certificate)) {
            let issuer = found.ca.issuer.subject();
            let detail =
                format_args!("GetCACert gives other certificates than when this began: \"{issuer}\"");
            return Err(ClientError::wrong(Fault::Authority, detail));
        }
        Ok(())
    }

    /// PKCSReq, and CertPoll until there is a decision.
    fn enrol(&self, challenge: Option<Secret>) -> Result<Held<'a>, Failed> {
        let own = |failure: Failure| self.failed(Step::Enrol, &Incident::of(&failure.into()));
        let subject = self.storm.options.subject(&self.name).map_err(own)?;
        let signer = self.key.self_signed(&subject, self.client.random(), self.client.now()).map_err(own)?;
        let request =
            CertificateRequest { subject: subject.clone(), subject_alt_names: Vec::new(), challenge };
        // Not the key's hash: devices share keys, and each is a transaction of its own.
        let transaction = self.client.fresh_transaction();
        let held = self.step(Step::Enrol, || {
            self.decided(self.ask(MessageType::PkcsReq, &signer, &transaction, &request)?)
        })?;
        match held {
            Some(held) => Ok(held),
            None => self.poll(Step::Enrol, &signer, &transaction, &subject),
        }
    }

    /// RenewalReq with the same key, signed by the certificate in use.
    fn renew(&self, held: &Held<'a>) -> Result<Held<'a>, Failed> {
        let present = &held.certificate;
        let request = CertificateRequest::renewal_of(present);
        let message_type = self.storm.authority.capabilities.renewal_type();
        let transaction = self.client.fresh_transaction();
        let next = self
            .step(Step::Renew, || self.decided(self.ask(message_type, present, &transaction, &request)?))?;
        match next {
            Some(next) => Ok(next),
            None => self.poll(Step::Renew, present, &transaction, present.subject()),
        }
    }

    fn ask(
        &self,
        message_type: MessageType,
        signer: &Certificate,
        transaction: &TransactionId,
        request: &CertificateRequest,
    ) -> Result<Reply, ClientError> {
        let requester = Requester { key: self.key, certificate: signer };
        self.client.request(self.storm.authority, message_type, requester, self.key, transaction, request)
    }

    /// Asks until there is a decision or patience ends (RFC 8894 §3.3.3).
    fn poll(
        &self,
        after: Step,
        signer: &Certificate,
        transaction: &TransactionId,
        subject: &Name,
    ) -> Result<Held<'a>, Failed> {
        self.storm.tally.pending(after);
        let requester = Requester { key: self.key, certificate: signer };
        let (mut left, mut pause) = (self.storm.options.patience, FIRST_PAUSE);
        while pause <= left && self.storm.stop.sleep(pause) {
            left -= pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let held = self.step(Step::Poll, || {
                // The keys are RSA: no answer is sealed under a password.
                self.decided(self.client.poll(self.storm.authority, requester, transaction, subject, None)?)
            })?;
            match held {
                Some(held) => return Ok(held),
                None => self.storm.tally.pending(Step::Poll),
            }
        }
        Err(self
            .failed(Step::Poll, &Incident::new("still-pending", &"the request still waits for an operator")))
    }

    /// The certificate of an answer, or none if it waits for an operator.
    fn decided(&self, reply: Reply) -> Result<Option<Held<'a>>, ClientError> {
        match reply {
            Reply::Granted(granted) => self.accept(granted).map(Some),
            Reply::Pending => Ok(None),
            Reply::Refused { info, text } => Err(ClientError::Refused { info, text }),
        }
    }

    /// A certificate for our key, by the server's CA, valid now, with a serial number of its own.
    fn accept(&self, granted: Degenerate) -> Result<Held<'a>, ClientError> {
        let (certificate, _) = issued_to(self.key.public_key(), granted)?;
        let issuer = check_chain(&certificate, &self.storm.authority.ca.all, self.worker.clock.now())?;
        check_serial(&certificate, &self.storm.serials)?;
        Ok(Held { certificate, issuer })
    }

    /// A new certificate is good, and the answer is fresh: it repeats our nonce (RFC 9654).
    fn check_status(&self, held: &Held<'_>, source: &Source) -> Result<(), Failed> {
        self.step(Step::Ocsp, || {
            let url = place(source, &held.certificate.ocsp_urls(), "OCSP responder")?;
            let random: &dyn Random = &self.worker.random;
            // 32 bytes are what RFC 9654 §2.1 asks of clients.
            let nonce = Some(random.bytes::<32>().to_vec());
            match self.status(&url, held, nonce)? {
                CertStatus::Good => Ok(()),
                other => Err(wrong_status("OCSP", other, "good")),
            }
        })
    }

    fn status(&self, url: &str, held: &Held<'_>, nonce: Option<Vec<u8>>) -> Result<CertStatus, ClientError> {
        // Gear asks without a nonce and, where it can, with GET (RFC 9919 §3.1.1): what caches in between may answer.
        let get = nonce.is_none();
        let question = Question {
            url,
            issuer: held.issuer,
            serial: held.certificate.serial(),
            trusted: &[],
            hash: DigestAlgorithm::Sha1,
            nonce,
            get,
        };
        ask(&self.worker.http, &question, self.worker.clock.now()).map(|answer| answer.status)
    }

    /// The CRL is the CA's, not stale, and does not list a certificate that is good.
    fn check_crl(&self, held: &Held<'_>, source: &Source) -> Result<(), Failed> {
        self.step(Step::Crl, || {
            let url = place(source, &held.certificate.crl_urls(), "CRL")?;
            let crl =
                crl::fetch(&self.worker.http, &url, &held.certificate, held.issuer, self.worker.clock.now())?;
            match crl.entries().iter().find(|entry| entry.serial == *held.certificate.serial()) {
                None => Ok(()),
                Some(entry) => Err(ClientError::wrong(
                    Fault::Status,
                    format_args!("the CRL lists the certificate ({}), but it is good", entry.reason),
                )),
            }
        })
    }

    /// Wipes the device and asks as gear does until OCSP says revoked; measures from the order to that answer.
    fn wipe(&self, held: &Held<'_>) -> Result<(), Failed> {
        let begun = now();
        match self.wiped(held, &begun) {
            Ok(took) => {
                self.storm.tally.done(Step::Wipe, begun, took);
                Ok(())
            }
            Err(error) => Err(self.failed(Step::Wipe, &Incident::of(&error))),
        }
    }

    fn wiped(&self, held: &Held<'_>, begun: &Instant) -> Result<Duration, ClientError> {
        let source = self.storm.options.ocsp.as_ref().unwrap_or(&Source::Certificate);
        let url = place(source, &held.certificate.ocsp_urls(), "OCSP responder")?;
        // Whoever keeps answers in between has the old one from now on.
        match self.status(&url, held, None)? {
            CertStatus::Good => {}
            other => return Err(wrong_status("before the wipe OCSP", other, "good")),
        }
        let asked = begun.elapsed();
        gateway::event(operator(self.worker)?, &self.name, "wipe")?;
        let mut pause = FIRST_LOOK;
        loop {
            let status = self.status(&url, held, None)?;
            let took = begun.elapsed().saturating_sub(asked);
            match status {
                CertStatus::Revoked { .. } => return Ok(took),
                other if took >= self.storm.options.patience || !self.storm.stop.sleep(pause) => {
                    let when = format!("{:.1} s after the wipe OCSP still", took.as_secs_f64());
                    return Err(wrong_status(&when, other, "revoked"));
                }
                _ => pause = (pause * 2).min(LONGEST_LOOK),
            }
        }
    }
}

/// Signed by a CA of GetCACert, and valid now; gives that CA.
fn check_chain<'c>(
    certificate: &Certificate,
    authorities: &'c [Certificate],
    now: Timestamp,
) -> Result<&'c Certificate, ClientError> {
    let signed = |authority: &&Certificate| authority.is_ca() && certificate.is_signed_by(authority).is_ok();
    let Some(issuer) = authorities.iter().find(signed) else {
        let detail = format_args!(
            "no CA of GetCACert signed the certificate that \"{}\" issued",
            certificate.issuer()
        );
        return Err(ClientError::wrong(Fault::Chain, detail));
    };
    let validity = certificate.validity();
    if !validity.contains(now) {
        let (from, until) = (validity.not_before, validity.not_after);
        let detail = format_args!("the certificate is valid from {from} to {until}, and it is {now}");
        return Err(ClientError::wrong(Fault::Time, detail));
    }
    Ok(issuer)
}

/// RFC 5280 §4.1.2.2: an issuer gives a serial number once.
fn check_serial(
    certificate: &Certificate,
    serials: &Mutex<HashSet<SerialNumber>>,
) -> Result<(), ClientError> {
    let serial = certificate.serial();
    if lock(serials).insert(serial.clone()) {
        Ok(())
    } else {
        let detail = format_args!("another certificate of this run has the serial number {serial}");
        Err(ClientError::wrong(Fault::Serial, detail))
    }
}

/// Where to ask.
fn place(source: &Source, named: &[String], what: &str) -> Result<String, ClientError> {
    match source {
        Source::Url(url) => Ok(url.clone()),
        Source::Certificate => named
            .first()
            .cloned()
            .ok_or_else(|| ClientError::wrong(Fault::NoUrl, format_args!("the certificate names no {what}"))),
    }
}

fn wrong_status(who: &str, found: CertStatus, expected: &str) -> ClientError {
    let found = match found {
        CertStatus::Good => "good".to_owned(),
        CertStatus::Revoked { reason, .. } => format!("revoked ({reason})"),
        CertStatus::Unknown => "unknown".to_owned(),
    };
    ClientError::wrong(Fault::Status, format_args!("{who} says {found}, but it should be {expected}"))
}

#[expect(clippy::disallowed_methods, reason = "only the process measures, and this is it")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::x509::{
            CertificateSpec,
            testing::{Authority as TestCa, TestKey},
        },
    };

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn issue(ca: &TestCa) -> (CertificateSpec, Certificate) {
        let spec = ca.spec_for("CN=sim-1", TestKey::generate(KeyAlgorithm::P256).public_key());
        let certificate = ca.key.issue(&spec);
        (spec, certificate)
    }

    fn fault<T>(outcome: &Result<T, ClientError>) -> Option<Fault> {
        match outcome {
            Err(ClientError::Wrong { fault, .. }) => Some(*fault),
            _ => None,
        }
    }

    #[test]
    fn a_certificate_of_another_ca_with_the_same_name_is_found() {
        let [ours, stranger] = [(); 2].map(|()| TestCa::new(KeyAlgorithm::P256, "CN=CA"));
        let (_, certificate) = issue(&ours);
        let authorities = [certificate.clone(), ours.certificate.clone()];
        assert_eq!(check_chain(&certificate, &authorities, NOW).unwrap(), &ours.certificate);
        assert_eq!(fault(&check_chain(&certificate, &[stranger.certificate], NOW)), Some(Fault::Chain));
        assert_eq!(fault(&check_chain(&certificate, &[], NOW)), Some(Fault::Chain));
    }

    #[test]
    fn a_certificate_that_is_not_valid_now_is_found() {
        let ca = TestCa::new(KeyAlgorithm::P256, "CN=CA");
        let (spec, certificate) = issue(&ca);
        let before = spec.validity.not_before.minus(Duration::from_secs(1));
        let authorities = [ca.certificate];
        assert_eq!(fault(&check_chain(&certificate, &authorities, before)), Some(Fault::Time));
    }

    #[test]
    fn a_serial_number_that_comes_twice_is_found() {
        let ca = TestCa::new(KeyAlgorithm::P256, "CN=CA");
        let (spec, first) = issue(&ca);
        let second = ca.key.issue(&CertificateSpec { serial: "4f00ac".parse().unwrap(), ..spec.clone() });
        let again = ca.key.issue(&CertificateSpec { subject: "CN=sim-2".parse().unwrap(), ..spec });
        let serials = Mutex::default();
        assert!(check_serial(&first, &serials).is_ok() && check_serial(&second, &serials).is_ok());
        assert_eq!(fault(&check_serial(&again, &serials)), Some(Fault::Serial));
    }
}
