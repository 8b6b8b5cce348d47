//! The SCEP client (RFC 8894) over HTTP: what [`wire::scep::client`](crate::wire::scep::client) says, done with this machine's network, keys
//! and clock. It checks every answer as strictly as the server checks requests.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    error::ClientError,
    http::{HttpClient, Response},
    key::ClientKey,
    persona::{CERTGATE, Exchange, Persona, csr_as, envelope_as, message_as},
};
use crate::{
    app::failure::{Failure, Outcome},
    ports::{Clock, Random},
    types::{DigestAlgorithm, Secret, SerialNumber, Timestamp, TransactionId},
    wire::{
        csr::CsrSpec,
        scep::{
            Degenerate, EnvelopeRandom, IssuerAndSerialNumber, IssuerAndSubject, MessageType, RequestSpec,
            VerifiedPki,
            client::{
                self as scep, AnswerError, Authority, CaCertificates, Discovery, Enrolment, Grant, Meaning,
                Operation, Reply, Sent, Step,
            },
            seal,
        },
        x509::{Certificate, GeneralName, Name},
    },
};

/// Result of an exchange.
type Exchanged<T> = Result<T, ClientError>;

/// What was granted; else a failure of kind "refused".
pub fn granted(reply: Reply) -> Outcome<Degenerate> {
    match reply {
        Reply::Granted(granted) => Ok(granted),
        Reply::Pending => Err(Failure::refused("the request waits for an operator")),
        Reply::Refused { info, text } => Err(ClientError::Refused { info, text }.into()),
    }
}

/// Who asks: the key with the certificate that stands for it in this exchange.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// Signs requests, opens answers.
    pub key: &'a ClientKey,
    /// Self-signed for a first request; the certificate in use for a renewal.
    pub certificate: &'a Certificate,
}

/// What a certificate is asked for with.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The name to ask for.
    pub subject: Name,
    /// Further names.
    pub subject_alt_names: Vec<GeneralName>,
    /// challengePassword; not needed for renewals.
    pub challenge: Option<Secret>,
}

impl CertificateRequest {
    /// The same names again; the certificate in use is the proof.
    pub fn renewal_of(present: &Certificate) -> Self {
        Self {
            subject: present.subject().clone(),
            subject_alt_names: present.subject_alt_names().to_vec(),
            challenge: None,
        }
    }
}

/// One SCEP server, seen from a client.
pub struct ScepClient<'a> {
    http: &'a HttpClient,
    url: String,
    random: &'a dyn Random,
    clock: &'a dyn Clock,
    persona: &'static Persona,
    /// As it stands in a query; else the persona's.
    ca_identifier: Option<String>,
}

impl fmt::Debug for ScepClient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScepClient").field("url", &self.url).finish_non_exhaustive()
    }
}

impl<'a> ScepClient<'a> {
    /// A client of the server at `url` (up to where `?operation=` follows).
    pub fn new(http: &'a HttpClient, url: &str, clock: &'a dyn Clock, random: &'a dyn Random) -> Self {
        Self { http, url: CERTGATE.base(url), random, clock, persona: &CERTGATE, ca_identifier: None }
    }

    /// The same client, speaking like another one.
    #[must_use]
    pub fn speaking_as(self, persona: &'static Persona) -> Self {
        Self { url: persona.base(&self.url), persona, ..self }
    }

    /// The same client, naming a CA in GetCACaps and GetCACert (RFC 8894 has none; the drafts before it had one).
    #[must_use]
    pub fn asking_for(self, ca_identifier: Option<&str>) -> Self {
        let ca_identifier = ca_identifier.map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string());
        Self { ca_identifier, ..self }
    }

    /// Whose manner of speaking this is.
    pub fn persona(&self) -> &'static Persona {
        self.persona
    }

    /// The time, as this client's clock has it.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Random bytes for names and serial numbers.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        self.random.bytes()
    }

    /// GetCACaps and GetCACert (RFC 8894 §3.5.1, §4.2). A server without GetCACaps can the least.
    pub fn discover(&self) -> Exchanged<Authority> {
        let mut discovery = Discovery::new(self.persona.certificates_first);
        let mut ca_response = None;
        while let Some(operation) = discovery.next() {
            let response = self.fetch_operation(operation)?;
            if operation == Operation::GetCaCaps {
                self.liked(self.persona.check_capabilities(&response))?;
                discovery.has_capabilities(response.status.is_success().then_some(&response.body));
            } else {
                let body = expect_ok(&response, operation.as_str())?;
                discovery.has_certificates(body).map_err(told_of(&response))?;
                ca_response = Some(response);
            }
        }
        let (Some(authority), Some(response)) = (discovery.finish(), ca_response) else {
            return Err(Failure::error("the server was not asked").into());
        };
        self.liked(self.persona.check_ca(&response, &authority))?;
        Ok(authority)
    }

    fn fetch_operation(&self, operation: Operation) -> Exchanged<Response> {
        let identifier = self.ca_identifier.as_deref().or(self.persona.ca_identifier);
        let url = scep::url(&self.url, operation, identifier);
        Ok(self.http.exchange_as(&self.persona.manner, &url, None)?)
    }

    fn liked(&self, looked: Result<(), String>) -> Exchanged<()> {
        looked.map_err(|why| ClientError::Disliked { client: self.persona.client, why })
    }

    /// GetNextCACert (RFC 8894 §4.7): what comes after `present`, and signed by it.
    pub fn next_ca(&self, present: &CaCertificates) -> Exchanged<CaCertificates> {
        let response = self.fetch_operation(Operation::GetNextCaCert)?;
        let body = expect_ok(&response, Operation::GetNextCaCert.as_str())?;
        scep::next_ca(body, present).map_err(told_of(&response))
    }

    /// PKCSReq or RenewalReq (RFC 8894 §3.3.1): asks for a certificate for the requester's key, or for `new_key`.
    pub fn request(
        &self,
        authority: &Authority,
        message_type: MessageType,
        requester: Requester<'_>,
        subject_key: &ClientKey,
        transaction: &TransactionId,
        request: &CertificateRequest,
    ) -> Exchanged<Reply> {
        let csr = CsrSpec {
            subject: request.subject.clone(),
            public_key: subject_key.public_key().clone(),
            subject_alt_names: request.subject_alt_names.clone(),
            challenge_password: request.challenge.clone().or_else(|| self.password_for(requester)),
        };
        let password = csr.challenge_password.clone();
        let algorithm = subject_key.signature_with(self.persona.digest);
        let csr = subject_key.finish(csr.unsigned(algorithm).map_err(Failure::error)?)?;
        let csr = csr_as(self.persona, subject_key, csr)?;
        let reply =
            self.transact(authority, message_type, requester, transaction, &csr, password.as_ref())?;
        if let Reply::Granted(granted) = &reply {
            self.liked(self.persona.check_granted(granted, subject_key.public_key()))?;
        }
        Ok(reply)
    }

    /// The request with a challenge at hand wherever the answer will have to be sealed under one, so that a poll can open it too.
    #[must_use]
    pub fn with_password(
        &self,
        requester: Requester<'_>,
        request: &CertificateRequest,
    ) -> CertificateRequest {
        let challenge = request.challenge.clone().or_else(|| self.password_for(requester));
        CertificateRequest { challenge, ..request.clone() }
    }

    /// A password of our own where the answer cannot be encrypted to the requester's key and no challenge is at hand: at a renewal
    /// (RFC 8894 §3.1).
    fn password_for(&self, requester: Requester<'_>) -> Option<Secret> {
        let random = || Secret::from(hex::encode(self.random::<16>()).as_str());
        requester.key.decrypter().is_none().then(random)
    }

    /// CertPoll (RFC 8894 §3.3.3). `password`: the challenge of the request, under which the answer to a key that cannot encrypt is
    /// sealed.
    pub fn poll(
        &self,
        authority: &Authority,
        requester: Requester<'_>,
        transaction: &TransactionId,
        subject: &Name,
        password: Option<&Secret>,
    ) -> Exchanged<Reply> {
        let payload =
            IssuerAndSubject { issuer: authority.ca.issuer.subject().clone(), subject: subject.clone() };
        let payload = payload.to_der().map_err(Failure::error)?;
        self.transact(authority, MessageType::CertPoll, requester, transaction, &payload, password)
    }

    /// GetCert or GetCRL (RFC 8894 §3.3.4, §3.3.5) for the certificate with this serial number.
    pub fn fetch(
        &self,
        authority: &Authority,
        message_type: MessageType,
        requester: Requester<'_>,
        serial: &SerialNumber,
    ) -> Exchanged<Reply> {
        let payload =
            IssuerAndSerialNumber { issuer: authority.ca.issuer.subject().clone(), serial: serial.clone() };
        let payload = payload.to_der().map_err(Failure::error)?;
        self.transact(authority, message_type, requester, &self.fresh_transaction(), &payload, None)
    }

    /// A transactionID that nobody used before.
    #[expect(clippy::expect_used, reason = "hexadecimal digits are a transactionID")]
    pub fn fresh_transaction(&self) -> TransactionId {
        hex::encode(self.random::<16>()).parse().expect("printable and short")
    }

    /// The transactionID of a first request for `key`: made of the key (RFC 8894 §3.2.1.1), so that a repeated request after a lost answer
    /// is recognised and gets the same certificate.
    pub fn transaction_of(&self, key: &ClientKey) -> TransactionId {
        self.persona.transaction(key.public_key())
    }

    /// The throw-away certificate under which a first request for `subject` is signed.
    pub fn throw_away(&self, key: &ClientKey, subject: &Name) -> Outcome<Certificate> {
        key.self_signed(&self.persona.signer_name(subject, self.random)?, self.random(), self.now())
    }

    fn transact(
        &self,
        authority: &Authority,
        message_type: MessageType,
        requester: Requester<'_>,
        transaction: &TransactionId,
        payload: &[u8],
        password: Option<&Secret>,
    ) -> Exchanged<Reply> {
        let sender_nonce = self.random::<16>();
        let algorithm = requester.key.signature_with(self.persona.digest);
        let spec = RequestSpec {
            message_type,
            transaction_id: transaction,
            sender_nonce,
            content: envelope_as(self.persona, self.seal(authority, payload)?)?,
            signer: requester.certificate,
            digest: algorithm.digest(),
        };
        let message = requester.key.finish(spec.unsigned(algorithm).map_err(Failure::error)?)?;
        let response = self.send(authority, message_as(self.persona, requester.key, message)?)?;
        let md5 = algorithm.digest() == DigestAlgorithm::Md5;
        let sent = Sent { ca: &authority.ca, transaction, sender_nonce: &sender_nonce, md5 };
        match sent.read(&response.body).map_err(told_of(&response))? {
            Meaning::Granted(grant) => {
                self.liked(self.persona.check_answer(&response, self.exchange(authority)))?;
                open_grant(requester, password, &grant).map(Reply::Granted)
            }
            Meaning::Pending => Ok(Reply::Pending),
            Meaning::Refused { info, text } => Ok(Reply::Refused { info, text }),
        }
    }

    fn exchange(&self, authority: &Authority) -> Exchange {
        Exchange { cipher: self.persona.cipher(&authority.capabilities), digest: self.persona.digest }
    }

    fn seal(&self, authority: &Authority, payload: &[u8]) -> Outcome<Vec<u8>> {
        let cipher = self.persona.cipher(&authority.capabilities);
        let mut content_key = vec![0; cipher.key_len()];
        self.random.fill(&mut content_key);
        let random = EnvelopeRandom { content_key: Secret::new(content_key), iv: self.random() };
        seal(payload, &authority.ca.recipient, cipher, self.persona.transport, &random)
            .map_err(Failure::error)
    }

    fn send(&self, authority: &Authority, message: Vec<u8>) -> Exchanged<Response> {
        let manner = &self.persona.manner;
        let response = if self.persona.posts(&authority.capabilities) {
            let url = scep::url(&self.url, Operation::PkiOperation, None);
            self.http.exchange_as(manner, &url, Some((self.persona.post_type, message)))?
        } else {
            let message = self.persona.spelling.of(&message);
            let url = scep::url(&self.url, Operation::PkiOperation, Some(&message));
            self.http.exchange_as(manner, &url, None)?
        };
        expect_ok(&response, Operation::PkiOperation.as_str())?;
        Ok(response)
    }
}

/// Does what `enrolment` says until it is over; gives the last reply. `send` asks with a message of that type, `rest` stays away.
pub fn conduct<E>(
    enrolment: &mut Enrolment,
    mut send: impl FnMut(MessageType) -> Result<Reply, E>,
    mut rest: impl FnMut(std::time::Duration),
) -> Result<Reply, E> {
    let mut last = Reply::Pending;
    loop {
        match enrolment.next() {
            Step::Send(kind) => {
                last = send(kind)?;
                enrolment.answered(&last);
            }
            Step::Rest(pause) => {
                rest(pause);
                enrolment.rested();
            }
            Step::Over => return Ok(last),
        }
    }
}

/// Decrypts what a SUCCESS carries (RFC 8894 §3.3.2.1).
pub fn open(requester: Requester<'_>, answer: &VerifiedPki) -> Exchanged<Degenerate> {
    open_grant(requester, None, &Grant::of(answer)?)
}

fn open_grant(requester: Requester<'_>, password: Option<&Secret>, grant: &Grant) -> Exchanged<Degenerate> {
    let Some(decrypter) = requester.key.decrypter() else {
        // RFC 8894 §3.1: the challenge of the request stands in for the key.
        let content_key = grant.content_key_under(password)?;
        return Ok(grant.open(&content_key)?);
    };
    let recipient = grant.recipient(requester.certificate)?;
    let content_key = decrypter
        .decrypt(recipient.transport, &recipient.encrypted_key)
        .map_err(|error| AnswerError::Recipient(format!("the content of the answer: {error}")))?;
    Ok(grant.open(&content_key)?)
}

/// For `map_err`: what is wrong with an answer; of one that cannot be read, what came instead.
fn told_of(response: &Response) -> impl FnOnce(AnswerError) -> ClientError {
    move |error| match error {
        AnswerError::Unreadable(what) => ClientError::unreadable_body(&what, response),
        other => other.into(),
    }
}

fn expect_ok<'r>(response: &'r Response, operation: &str) -> Exchanged<&'r [u8]> {
    if response.status.is_success() {
        Ok(&response.body)
    } else {
        Err(ClientError::status(operation, response))
    }
}
