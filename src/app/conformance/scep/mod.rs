//! The checks of a SCEP server (RFC 8894).
//!
//! | file | what |
//! |---|---|
//! | this one | what is known of the server so far, and the list of all checks |
//! | `discovery` | GetCACaps, GetCACert, HTTP |
//! | `enrolment` | PKCSReq and what its answer must be; GetCert, GetCRL, CertPoll, RenewalReq |
//! | `authorisation` | who must not get a certificate, and what nobody must get |
//! | `integrity` | messages that were changed, broken or never were messages; the padding oracle |
//! | `variant` | the same request under other algorithms and encodings |
//! | `answer`, `craft` | reading answers, making messages |
//!
//! Much is found out when the first check needs it and then kept: `--only` works with any check. Variants of a request need a request that is
//! granted more than once: the repetition of the first one where the server answers that again, else a further one with the same challenge.

mod answer;
mod authorisation;
mod craft;
mod discovery;
mod enrolment;
mod integrity;
mod variant;

use std::rc::Rc;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Check, Checked, Line, Remark, Suite};
use crate::{
    app::client::{
        http::Response,
        key::ClientKey,
        scep::{Requester, open},
    },
    ports::{Clock, Random},
    types::{ContentCipher, DigestAlgorithm, KeyAlgorithm, KeyTransport, Secret, Timestamp, TransactionId},
    wire::{
        scep::{
            Degenerate, FailInfo, PkiStatus,
            client::{CaCertificates, Capabilities},
        },
        x509::{Certificate, Name},
    },
};
use answer::{Answer, PKI_MESSAGE};
use craft::{Draft, cannot_make};

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct Options {
    /// URL of the server, without `?operation=`.
    pub url: String,
    /// `message` of GetCACaps and GetCACert, where the server has several CAs under one URL.
    pub ca_identifier: Option<String>,
    /// challengePassword; without one nothing is enrolled.
    pub challenge: Option<Secret>,
    /// The name to ask for; else each request has one of its own that begins with `CN=certgate-conformance-`.
    pub subject: Option<Name>,
}

/// A certificate that the server issued to the suite, to be revoked by whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its serial number.
    pub serial: String,
    /// Its subject.
    pub subject: String,
}

/// The state of a run.
pub struct ScepSuite<'a> {
    options: Options,
    line: Line,
    clock: &'a dyn Clock,
    random: &'a dyn Random,
    /// Of this run, in all subjects.
    label: String,
    capabilities: Option<Checked<Rc<(Response, Capabilities)>>>,
    ca: Option<Checked<Rc<Ca>>>,
    first: Option<Checked<Rc<Trial>>>,
    second: Option<Checked<Rc<Trial>>>,
    carrier: Option<Checked<Carrier>>,
    talks: Option<Checked<bool>>,
    stranger: Option<Rc<Applicant>>,
    applicants: u32,
    issued: Vec<Issued>,
}

impl std::fmt::Debug for ScepSuite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScepSuite").field("options", &self.options).finish_non_exhaustive()
    }
}

/// GetCACert's answer.
#[derive(Debug)]
struct Ca {
    response: Response,
    certificates: CaCertificates,
    /// Several, as degenerate SignedData; else one certificate alone.
    is_bundle: bool,
}

/// Somebody who asks for a certificate: a key of its own, a self-signed certificate, a transaction, a request.
#[derive(Debug)]
struct Applicant {
    key: ClientKey,
    certificate: Certificate,
    subject: Name,
    transaction: TransactionId,
    csr: Vec<u8>,
}

impl Applicant {
    fn requester(&self) -> Requester<'_> {
        Requester { key: &self.key, certificate: &self.certificate }
    }
}

/// A request that was sent, and what came back.
#[derive(Debug)]
struct Trial {
    applicant: Rc<Applicant>,
    message: Vec<u8>,
    nonce: [u8; 16],
    answer: Answer,
}

/// A granted request, opened.
struct Granted {
    trial: Rc<Trial>,
    certificate: Certificate,
}

/// A request that is granted however often it comes.
#[derive(Clone, Debug)]
enum Carrier {
    /// The first request, again.
    Repeat(Rc<Applicant>),
    /// One more request with the same challenge.
    Another,
}

impl<'a> ScepSuite<'a> {
    /// A suite that has not asked anything yet.
    pub fn new(options: Options, line: Line, clock: &'a dyn Clock, random: &'a dyn Random) -> Self {
        Self {
            options,
            line,
            clock,
            random,
            label: hex::encode(random.bytes::<4>()),
            capabilities: None,
            ca: None,
            first: None,
            second: None,
            carrier: None,
            talks: None,
            stranger: None,
            applicants: 0,
            issued: Vec::new(),
        }
    }

    /// The certificates that the server issued, as far as they could be read.
    pub fn issued(&self) -> &[Issued] {
        &self.issued
    }

    /// What stands in the subjects of this run.
    pub fn label(&self) -> &str {
        &self.label
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    // The URL of an operation.

    fn operation(&self, name: &str) -> String {
        format!("{}?operation={name}", self.options.url.trim_end_matches('?'))
    }

    fn discovery(&self, name: &str) -> String {
        let identifier = self
            .options
            .ca_identifier
            .as_deref()
            .map(|identifier| format!("&message={}", utf8_percent_encode(identifier, NON_ALPHANUMERIC)));
        self.operation(name) + &identifier.unwrap_or_default()
    }

    // What is found out once.

    /// GetCACaps, whatever it says.
    fn capabilities(&mut self) -> Checked<Rc<(Response, Capabilities)>> {
        if self.capabilities.is_none() {
            self.capabilities = Some(self.ask_capabilities());
        }
        self.capabilities.clone().unwrap_or_else(|| Err(Remark::skipped("GetCACaps was not asked")))
    }

    fn ask_capabilities(&mut self) -> Checked<Rc<(Response, Capabilities)>> {
        let url = self.discovery("GetCACaps");
        let response = self.line.exchange(|http| http.get(&url))?;
        let text =
            if response.status.is_success() { String::from_utf8_lossy(&response.body) } else { "".into() };
        let capabilities = Capabilities::from_text(&text);
        Ok(Rc::new((response, capabilities)))
    }

    /// Whether GetCACaps names `keyword`.
    fn offers(&mut self, keyword: &str) -> bool {
        self.capabilities().is_ok_and(|capabilities| capabilities.1.has(keyword))
    }

    /// GetCACert, readable.
    fn ca(&mut self) -> Checked<Rc<Ca>> {
        if self.ca.is_none() {
            self.ca = Some(self.ask_ca());
        }
        self.ca.clone().unwrap_or_else(|| Err(Remark::skipped("GetCACert was not asked")))
    }

    fn ask_ca(&mut self) -> Checked<Rc<Ca>> {
        let url = self.discovery("GetCACert");
        let response = self.line.exchange(|http| http.get(&url))?;
        if !response.status.is_success() {
            return Err(Remark::failed(format_args!("HTTP {}", response.status.as_u16())));
        }
        let certificates = CaCertificates::read(&response.body).map_err(Remark::failed)?;
        let is_bundle = Certificate::from_der(&response.body).is_err();
        Ok(Rc::new(Ca { response, certificates, is_bundle }))
    }

    /// [`ScepSuite::ca`] for checks that are not about GetCACert itself.
    fn known_ca(&mut self) -> Checked<Rc<Ca>> {
        self.ca().map_err(|_| Remark::skipped("GetCACert gave no certificate to encrypt to"))
    }

    /// The first request of the run, granted or not.
    fn first(&mut self) -> Checked<Rc<Trial>> {
        if self.first.is_none() {
            self.first = Some(self.enrol_afresh());
        }
        self.first.clone().unwrap_or_else(|| Err(Remark::skipped("nothing was enrolled")))
    }

    /// A second request with the same challenge, granted or not.
    fn second(&mut self) -> Checked<Rc<Trial>> {
        self.granted()?;
        if self.second.is_none() {
            self.second = Some(self.enrol_afresh());
        }
        self.second.clone().unwrap_or_else(|| Err(Remark::skipped("nothing was enrolled")))
    }

    fn enrol_afresh(&mut self) -> Checked<Rc<Trial>> {
        if self.options.challenge.is_none() {
            return Err(Remark::skipped("enrolling needs a challenge: --challenge-file"));
        }
        let applicant = Rc::new(self.applicant(self.options.challenge.clone().as_ref())?);
        let (message, nonce) = self.usual_message(&applicant, "19")?;
        self.trial(&applicant, message, nonce)
    }

    /// The first request's certificate, or that there is none.
    fn granted(&mut self) -> Checked<Granted> {
        let trial = self.first()?;
        let why = format!("the first request was not granted: {}", trial.answer);
        let content = opened(&trial).map_err(|_| Remark::Skipped(why.clone()))?;
        let mine = |certificate: &&Certificate| certificate.public_key() == trial.applicant.key.public_key();
        let certificate = content.certificates.iter().find(mine).cloned().ok_or(Remark::Skipped(why))?;
        Ok(Granted { trial, certificate })
    }

    /// Passes where the challenge is good for more than one certificate: only then does a refusal of something else say anything.
    fn challenge_lasts(&mut self) -> Checked {
        if self.second()?.answer.status() == Some(PkiStatus::Success) {
            return Ok(());
        }
        Err(Remark::skipped(
            "the challenge is spent, so that a refusal would prove nothing: give one that can be used several times",
        ))
    }

    /// Whether a request as any client makes it gets a CertRep; one with a wrong challenge does it.
    fn talks(&mut self) -> Checked<bool> {
        if let Some(Ok(trial)) = &self.first
            && trial.answer.cert_rep().is_ok()
        {
            return Ok(true);
        }
        if self.talks.is_none() {
            self.talks =
                Some(authorisation::try_wrong_challenge(self).map(|answer| answer.cert_rep().is_ok()));
        }
        self.talks.clone().unwrap_or(Ok(false))
    }

    /// Passes where the server refused as [`Answer::expect_refusal`] has it. An HTTP error says something only where other messages get
    /// a CertRep: else it may be a proxy that lets no message through, or a URL that is nothing.
    fn refused(&mut self, answer: &Answer, expected: &[FailInfo]) -> Checked {
        if matches!(answer, Answer::Http { .. }) && !self.talks()? {
            return Err(Remark::skipped(format_args!(
                "no message gets a CertRep, so this proves nothing: {answer}"
            )));
        }
        answer.expect_refusal(expected)
    }

    // Messages.

    /// Somebody new, who asks with `challenge`.
    fn applicant(&mut self, challenge: Option<&Secret>) -> Checked<Applicant> {
        self.applicants += 1;
        let subject = match &self.options.subject {
            Some(subject) => subject.clone(),
            None => format!("CN=certgate-conformance-{}-{}", self.label, self.applicants)
                .parse()
                .map_err(cannot_make)?,
        };
        let key = ClientKey::generate(KeyAlgorithm::Rsa2048).map_err(cannot_make)?;
        let certificate = key.self_signed(&subject, self.random.bytes(), self.now()).map_err(cannot_make)?;
        let csr = craft::csr(&key, &subject, challenge)?;
        Ok(Applicant { key, certificate, subject, transaction: self.fresh_transaction()?, csr })
    }

    /// Somebody for messages that must not be granted; makes no key for each of them.
    fn stranger(&mut self) -> Checked<Rc<Applicant>> {
        if self.stranger.is_none() {
            let challenge = self.options.challenge.clone();
            self.stranger = Some(Rc::new(self.applicant(challenge.as_ref())?));
        }
        let made = self.stranger.clone();
        made.ok_or_else(|| Remark::skipped("nobody is there to ask"))
    }

    fn fresh_transaction(&self) -> Checked<TransactionId> {
        hex::encode(self.random.bytes::<16>()).parse().map_err(cannot_make)
    }

    /// An envelope to the server as any client makes it.
    fn usual_envelope(&mut self, payload: &[u8]) -> Checked<Vec<u8>> {
        self.envelope(payload, ContentCipher::Aes128Cbc, KeyTransport::Pkcs1)
    }

    fn envelope(
        &mut self,
        payload: &[u8],
        cipher: ContentCipher,
        transport: KeyTransport,
    ) -> Checked<Vec<u8>> {
        let ca = self.known_ca()?;
        craft::envelope(self.random, &ca.certificates.recipient, payload, cipher, transport)
    }

    /// `content` in a message of `applicant`, with the nonce that is in it.
    fn sign(&self, applicant: &Applicant, kind: &str, content: &[u8]) -> Checked<(Vec<u8>, [u8; 16])> {
        let draft = Draft {
            message_type: kind,
            transaction: &applicant.transaction,
            nonce: self.random.bytes(),
            digest: DigestAlgorithm::Sha256,
        };
        Ok((draft.sign(applicant.requester(), content)?, draft.nonce))
    }

    /// The applicant's request in a message of the type `kind`.
    fn usual_message(&mut self, applicant: &Applicant, kind: &str) -> Checked<(Vec<u8>, [u8; 16])> {
        let envelope = self.usual_envelope(&applicant.csr)?;
        self.sign(applicant, kind, &envelope)
    }

    // Exchanges.

    /// Posts `message`.
    fn post(&mut self, message: &[u8]) -> Checked<Response> {
        let url = self.operation("PKIOperation");
        self.line.exchange(|http| http.post(&url, PKI_MESSAGE, message.to_vec()))
    }

    /// Sends `message` by GET, its base64 encoded by `encode`.
    fn get(&mut self, message: &[u8], encode: impl FnOnce(&str) -> String) -> Checked<Response> {
        let url = self.operation("PKIOperation");
        let url = format!("{url}&message={}", encode(&BASE64_STANDARD.encode(message)));
        self.line.exchange(|http| http.get(&url))
    }

    /// Posts `message` and reads the answer. What was granted is noted, wanted or not.
    fn trial(&mut self, applicant: &Rc<Applicant>, message: Vec<u8>, nonce: [u8; 16]) -> Checked<Rc<Trial>> {
        let answer = Answer::read(&self.post(&message)?);
        self.line.note_seen(answer.to_string());
        let trial = Trial { applicant: Rc::clone(applicant), message, nonce, answer };
        if let Ok(content) = opened(&trial) {
            self.note_issued(&content);
        }
        Ok(Rc::new(trial))
    }

    /// [`ScepSuite::trial`] of the `content` in a message of the type `kind`; only the answer matters.
    fn try_content(&mut self, applicant: &Rc<Applicant>, kind: &str, content: &[u8]) -> Checked<Answer> {
        let (message, nonce) = self.sign(applicant, kind, content)?;
        Ok(self.trial(applicant, message, nonce)?.answer.clone())
    }

    fn note_issued(&mut self, content: &Degenerate) {
        for certificate in content.certificates.iter().filter(|certificate| !certificate.is_self_issued()) {
            let (serial, subject) = (certificate.serial().to_string(), certificate.subject().to_string());
            let issued = Issued { serial, subject };
            let is_theirs = self.ca.as_ref().and_then(|ca| ca.as_ref().ok()).is_some_and(|ca| {
                ca.certificates.all.iter().any(|theirs| theirs.as_der() == certificate.as_der())
            });
            if !is_theirs && !self.issued.contains(&issued) {
                self.issued.push(issued);
            }
        }
    }
}

/// What a granted request's answer carries.
fn opened(trial: &Trial) -> Checked<Degenerate> {
    let rep = trial.answer.cert_rep()?;
    if rep.reply.status != PkiStatus::Success {
        return Err(Remark::failed(&trial.answer));
    }
    open(trial.applicant.requester(), &rep.verified)
        .map_err(|error| Remark::failed(format_args!("SUCCESS does not open: {error}")))
}

impl Suite for ScepSuite<'_> {
    fn checks() -> Vec<Check<Self>> {
        [
            discovery::checks(),
            enrolment::checks(),
            variant::checks(),
            authorisation::checks(),
            integrity::checks(),
            enrolment::last_checks(),
        ]
        .concat()
    }

    fn line(&self) -> &Line {
        &self.line
    }
}
