//! The SCEP client (RFC 8894) over HTTP: what [`wire::scep::client`](crate::wire::scep::client) says, done with this machine's network, keys
//! and clock. It checks every answer as strictly as the server checks requests.

use std::fmt;

use super::{
    error::ClientError,
    http::{HttpClient, Response},
    key::ClientKey,
};
use crate::{
    app::failure::{Failure, Outcome},
    ports::{Clock, Random},
    types::{KeyTransport, Secret, SerialNumber, Timestamp, TransactionId},
    wire::{
        csr::CsrSpec,
        scep::{
            Degenerate, EnvelopeRandom, IssuerAndSerialNumber, IssuerAndSubject, MessageType, RequestSpec,
            VerifiedPki,
            client::{
                self as scep, AnswerError, Authority, CaCertificates, Discovery, Enrolment, Grant, Meaning,
                Operation, Reply, Sent, Spelling, Step,
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
}

impl fmt::Debug for ScepClient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScepClient").field("url", &self.url).finish_non_exhaustive()
    }
}

impl<'a> ScepClient<'a> {
    /// A client of the server at `url` (up to where `?operation=` follows).
    pub fn new(http: &'a HttpClient, url: &str, clock: &'a dyn Clock, random: &'a dyn Random) -> Self {
        Self { http, url: url.trim_end_matches('?').to_owned(), random, clock }
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
        let mut discovery = Discovery::new(false);
        while let Some(operation) = discovery.next() {
            let response = self.http.get(&scep::url(&self.url, operation, None))?;
            if operation == Operation::GetCaCaps {
                discovery.has_capabilities(response.status.is_success().then_some(&response.body));
            } else {
                let body = expect_ok(&response, operation.as_str())?;
                discovery.has_certificates(body).map_err(told_of(&response))?;
            }
        }
        discovery.finish().ok_or_else(|| Failure::error("the server was not asked").into())
    }

    /// GetNextCACert (RFC 8894 §4.7): what comes after `present`, and signed by it.
    pub fn next_ca(&self, present: &CaCertificates) -> Exchanged<CaCertificates> {
        let response = self.http.get(&scep::url(&self.url, Operation::GetNextCaCert, None))?;
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
            challenge_password: request.challenge.clone(),
        };
        let csr =
            subject_key.finish(csr.unsigned(subject_key.signature_algorithm()).map_err(Failure::error)?)?;
        self.transact(authority, message_type, requester, transaction, &csr)
    }

    /// CertPoll (RFC 8894 §3.3.3).
    pub fn poll(
        &self,
        authority: &Authority,
        requester: Requester<'_>,
        transaction: &TransactionId,
        subject: &Name,
    ) -> Exchanged<Reply> {
        let payload =
            IssuerAndSubject { issuer: authority.ca.issuer.subject().clone(), subject: subject.clone() };
        let payload = payload.to_der().map_err(Failure::error)?;
        self.transact(authority, MessageType::CertPoll, requester, transaction, &payload)
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
        self.transact(authority, message_type, requester, &self.fresh_transaction(), &payload)
    }

    /// A transactionID that nobody used before.
    pub fn fresh_transaction(&self) -> TransactionId {
        hexadecimal(&self.random::<16>())
    }

    fn transact(
        &self,
        authority: &Authority,
        message_type: MessageType,
        requester: Requester<'_>,
        transaction: &TransactionId,
        payload: &[u8],
    ) -> Exchanged<Reply> {
        let sender_nonce = self.random::<16>();
        let spec = RequestSpec {
            message_type,
            transaction_id: transaction,
            sender_nonce,
            content: self.seal(authority, payload)?,
            signer: requester.certificate,
            digest: requester.key.signature_algorithm().digest(),
        };
        let unsigned = spec.unsigned(requester.key.signature_algorithm()).map_err(Failure::error)?;
        let response = self.send(authority, requester.key.finish(unsigned)?)?;
        let sent = Sent { ca: &authority.ca, transaction, sender_nonce: &sender_nonce };
        match sent.read(&response.body).map_err(told_of(&response))? {
            Meaning::Granted(grant) => open_grant(requester, &grant).map(Reply::Granted),
            Meaning::Pending => Ok(Reply::Pending),
            Meaning::Refused { info, text } => Ok(Reply::Refused { info, text }),
        }
    }

    fn seal(&self, authority: &Authority, payload: &[u8]) -> Outcome<Vec<u8>> {
        let cipher = authority.capabilities.cipher();
        let mut content_key = vec![0; cipher.key_len()];
        self.random.fill(&mut content_key);
        let random = EnvelopeRandom { content_key: Secret::new(content_key), iv: self.random() };
        seal(payload, &authority.ca.recipient, cipher, KeyTransport::Pkcs1, &random).map_err(Failure::error)
    }

    fn send(&self, authority: &Authority, message: Vec<u8>) -> Exchanged<Response> {
        let response = if authority.capabilities.takes_post() {
            let url = scep::url(&self.url, Operation::PkiOperation, None);
            self.http.post(&url, "application/x-pki-message", message)?
        } else {
            let message = Spelling::Escaped.of(&message);
            self.http.get(&scep::url(&self.url, Operation::PkiOperation, Some(&message)))?
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

/// The transactionID of a first request: the hash of the public key (RFC 8894 §3.2.1.1), so that a repeated request after a lost answer is
/// recognised and gets the same certificate.
pub fn transaction_of_key(key: &ClientKey) -> TransactionId {
    hexadecimal(key.public_key().fingerprint().as_bytes())
}

#[expect(clippy::expect_used, reason = "hexadecimal digits of 16 to 32 bytes are a transactionID")]
fn hexadecimal(bytes: &[u8]) -> TransactionId {
    hex::encode(bytes).parse().expect("printable and short")
}

/// Decrypts what a SUCCESS carries (RFC 8894 §3.3.2.1).
pub fn open(requester: Requester<'_>, answer: &VerifiedPki) -> Exchanged<Degenerate> {
    open_grant(requester, &Grant::of(answer)?)
}

fn open_grant(requester: Requester<'_>, grant: &Grant) -> Exchanged<Degenerate> {
    let recipient = grant.recipient(requester.certificate)?;
    let content_key = requester
        .key
        .decrypter()
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
