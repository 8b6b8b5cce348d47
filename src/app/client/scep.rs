//! The SCEP client (RFC 8894): what a device does. It checks every answer as strictly as the server checks requests.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    error::{ClientError, Fault},
    http::{HttpClient, Response},
    key::ClientKey,
};
use crate::{
    app::failure::{Failure, Outcome},
    ports::{Clock, Random},
    types::{
        ContentCipher, DigestAlgorithm, Fingerprint, KeyTransport, Secret, SerialNumber, Timestamp,
        TransactionId,
    },
    wire::{
        csr::CsrSpec,
        scep::{
            Degenerate, EnvelopeRandom, FailInfo, IssuerAndSerialNumber, IssuerAndSubject, MessageType,
            PkiMessage, PkiStatus, RequestSpec, VerifiedPki, seal,
        },
        x509::{Certificate, GeneralName, KeyKind, KeyUsage, Name},
    },
};

/// Result of an exchange.
type Exchanged<T> = Result<T, ClientError>;

/// What the server says it can (RFC 8894 §3.5.2). Nothing said means the least: GET, triple DES, SHA-1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(Vec<String>);

impl Capabilities {
    /// One keyword per line.
    pub fn from_text(text: &str) -> Self {
        Self(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Whether `keyword` is advertised, itself or by SCEPStandard (RFC 8894 §3.5.2).
    pub fn has(&self, keyword: &str) -> bool {
        let standard = matches!(keyword, "AES" | "POSTPKIOperation" | "SHA-256");
        self.0.iter().any(|line| line == keyword || (standard && line == "SCEPStandard"))
    }

    /// What asks for a renewal. RFC 8894 §3.3.1.2: servers without "Renewal" take a PKCSReq that the present certificate signs.
    pub fn renewal_type(&self) -> MessageType {
        if self.has("Renewal") { MessageType::RenewalReq } else { MessageType::PkcsReq }
    }

    /// The keywords.
    pub fn keywords(&self) -> &[String] {
        &self.0
    }
}

/// The certificates of GetCACert, each in its role.
#[derive(Clone, Debug)]
pub struct CaCertificates {
    /// All, in the order of the answer.
    pub all: Vec<Certificate>,
    /// Requests are encrypted to it.
    pub recipient: Certificate,
    /// The CA that will sign the device's certificate.
    pub issuer: Certificate,
}

impl CaCertificates {
    /// Sorts the certificates of an answer into their roles.
    pub fn new(all: Vec<Certificate>) -> Exchanged<Self> {
        let recipient = pick_recipient(&all).cloned().ok_or_else(|| {
            ClientError::wrong(
                Fault::Recipient,
                "GetCACert gave no RSA certificate that requests could be encrypted to",
            )
        })?;
        let issuer = pick_issuer(&all, &recipient).clone();
        Ok(Self { all, recipient, issuer })
    }

    /// Whether one of them has this SHA-256 or SHA-1 fingerprint (hexadecimal, colons allowed).
    pub fn has_fingerprint(&self, fingerprint: &str) -> bool {
        let wanted: String =
            fingerprint.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect();
        self.all.iter().any(|certificate| {
            let der = certificate.as_der();
            [DigestAlgorithm::Sha256, DigestAlgorithm::Sha1]
                .iter()
                .any(|d| hex::encode(d.digest(der)) == wanted)
        })
    }
}

/// The message certificate if there is one, else the CA's own: the rule of RFC 8894 §2.1.2 by key usage.
fn pick_recipient(all: &[Certificate]) -> Option<&Certificate> {
    let usable = |certificate: &&Certificate| {
        let rsa = matches!(certificate.public_key().kind(), KeyKind::Rsa { .. });
        rsa && certificate.key_usage().is_none_or(|usage| usage.contains(KeyUsage::KEY_ENCIPHERMENT))
    };
    all.iter().filter(usable).find(|certificate| !certificate.is_ca()).or_else(|| all.iter().find(usable))
}

/// The CA below which the message certificate stands, or which it is.
fn pick_issuer<'a>(all: &'a [Certificate], recipient: &'a Certificate) -> &'a Certificate {
    if recipient.is_ca() {
        return recipient;
    }
    all.iter()
        .find(|certificate| certificate.is_ca() && recipient.is_signed_by(certificate).is_ok())
        .unwrap_or(recipient)
}

/// What a request asked for came to.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The certificates or the CRL.
    Granted(Degenerate),
    /// An operator decides; poll with the same transactionID.
    Pending,
    /// Refused.
    Refused {
        /// The code.
        info: FailInfo,
        /// The server's words, if it said any.
        text: Option<String>,
    },
}

impl Reply {
    /// What was granted; else a failure of kind "refused".
    pub fn granted(self) -> Outcome<Degenerate> {
        match self {
            Self::Granted(granted) => Ok(granted),
            Self::Pending => Err(Failure::refused("the request waits for an operator")),
            Self::Refused { info, text } => Err(ClientError::Refused { info, text }.into()),
        }
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

    /// GetCACaps (RFC 8894 §3.5.1). A server without it can the least.
    pub fn capabilities(&self) -> Exchanged<Capabilities> {
        let response = self.http.get(&format!("{}?operation=GetCACaps", self.url))?;
        let text =
            if response.status.is_success() { String::from_utf8_lossy(&response.body) } else { "".into() };
        Ok(Capabilities::from_text(&text))
    }

    /// GetCACert (RFC 8894 §4.2): one certificate, or a degenerate SignedData with several.
    pub fn ca_certificates(&self) -> Exchanged<CaCertificates> {
        const WHAT: &str = "the answer to GetCACert";
        let response = self.http.get(&format!("{}?operation=GetCACert", self.url))?;
        let body = expect_ok(&response, "GetCACert")?;
        let all = match response.content_type.split(';').next().unwrap_or_default().trim() {
            "application/x-x509-ca-cert" => {
                vec![Certificate::from_der(body).map_err(ClientError::unreadable(WHAT, &response))?]
            }
            "application/x-x509-ca-ra-cert" => {
                Degenerate::from_ber(body).map_err(ClientError::unreadable(WHAT, &response))?.certificates
            }
            _ => return Err(ClientError::unreadable(WHAT, &response)("neither a certificate nor a bundle")),
        };
        CaCertificates::new(all)
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
        read_answer(authority, requester, transaction, &sender_nonce, &response)
    }

    fn seal(&self, authority: &Authority, payload: &[u8]) -> Outcome<Vec<u8>> {
        // RFC 8894 §3.5.2: AES only where the server says so. Nothing weaker than triple DES is ever sent.
        let cipher = if authority.capabilities.has("AES") {
            ContentCipher::Aes128Cbc
        } else {
            ContentCipher::TripleDesCbc
        };
        let mut content_key = vec![0; cipher.key_len()];
        self.random.fill(&mut content_key);
        let random = EnvelopeRandom { content_key: Secret::new(content_key), iv: self.random() };
        seal(payload, &authority.ca.recipient, cipher, KeyTransport::Pkcs1, &random).map_err(Failure::error)
    }

    fn send(&self, authority: &Authority, message: Vec<u8>) -> Exchanged<Response> {
        let url = format!("{}?operation=PKIOperation", self.url);
        let response = if authority.capabilities.has("POSTPKIOperation") {
            self.http.post(&url, "application/x-pki-message", message)?
        } else {
            let text = BASE64_STANDARD.encode(message);
            self.http.get(&format!("{url}&message={}", utf8_percent_encode(&text, NON_ALPHANUMERIC)))?
        };
        expect_ok(&response, "PKIOperation")?;
        Ok(response)
    }
}

/// What was learnt of the server before the first PKIOperation.
#[derive(Clone, Debug)]
pub struct Authority {
    /// GetCACaps.
    pub capabilities: Capabilities,
    /// GetCACert.
    pub ca: CaCertificates,
}

impl Authority {
    /// Asks `client`'s server.
    pub fn discover(client: &ScepClient<'_>) -> Exchanged<Self> {
        Ok(Self { capabilities: client.capabilities()?, ca: client.ca_certificates()? })
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

/// The certificate for `key` among those granted (RFC 8894 §3.3.2.1), with those above it.
pub fn issued_to(key: &ClientKey, granted: Degenerate) -> Exchanged<(Certificate, Vec<Certificate>)> {
    let (mine, others): (Vec<_>, Vec<_>) = granted
        .certificates
        .into_iter()
        .partition(|certificate| certificate.public_key() == key.public_key());
    let mine = mine.into_iter().next();
    mine.map(|mine| (mine, others))
        .ok_or_else(|| ClientError::wrong(Fault::Key, "the answer holds no certificate for our key"))
}

fn read_answer(
    authority: &Authority,
    requester: Requester<'_>,
    transaction: &TransactionId,
    sender_nonce: &[u8],
    response: &Response,
) -> Exchanged<Reply> {
    let wrong = |fault, detail: &str| Err(ClientError::wrong(fault, detail));
    let verified = PkiMessage::from_ber(&response.body)
        .map_err(ClientError::unreadable("the server's answer", response))?
        .verify()
        .map_err(ClientError::because(Fault::Signature, "the server's answer does not verify"))?;
    check_origin(authority, &verified)?;
    let message = verified.message();
    if message.message_type() != Some(MessageType::CertRep) {
        return wrong(Fault::Unreadable, "the server's answer is no CertRep");
    }
    // RFC 8894 §3.2.1.1, §3.2.1.5: the answer to this request and to no other.
    if message.transaction_id() != transaction {
        return wrong(Fault::Transaction, "the answer belongs to another transaction");
    }
    let Some(reply) = verified.reply() else {
        return wrong(Fault::Unreadable, "the answer has no pkiStatus");
    };
    if reply.recipient_nonce != sender_nonce {
        return wrong(Fault::Nonce, "the answer's recipientNonce is not our senderNonce: a replayed answer");
    }
    match (reply.status, reply.fail_info) {
        (PkiStatus::Pending, _) => Ok(Reply::Pending),
        (PkiStatus::Failure, Some(info)) => Ok(Reply::Refused { info, text: reply.fail_info_text }),
        (PkiStatus::Failure, None) => wrong(Fault::Unreadable, "the server refused without a failInfo"),
        (PkiStatus::Success, _) => open(requester, &verified).map(Reply::Granted),
    }
}

/// RFC 8894 §3.2: signed by a certificate of GetCACert, not just by one that came along.
fn check_origin(authority: &Authority, answer: &VerifiedPki) -> Exchanged<()> {
    let signer = answer.signer();
    if authority.ca.all.iter().any(|certificate| certificate.as_der() == signer.as_der()) {
        Ok(())
    } else {
        Err(ClientError::wrong(
            Fault::Signer,
            format_args!(
                "the answer is signed by \"{}\" ({}), which is none of the server's CA certificates",
                signer.subject(),
                Fingerprint::of(signer.as_der())
            ),
        ))
    }
}

/// Decrypts what a SUCCESS carries (RFC 8894 §3.3.2.1).
pub fn open(requester: Requester<'_>, answer: &VerifiedPki) -> Exchanged<Degenerate> {
    const WHAT: &str = "the content of the answer";
    let envelope = answer.envelope().map_err(ClientError::because(Fault::Unreadable, WHAT))?;
    let recipient = envelope
        .recipient_for(requester.certificate)
        .ok_or_else(|| ClientError::wrong(Fault::Recipient, "the answer is encrypted to somebody else"))?;
    let content_key = requester
        .key
        .decrypter()
        .decrypt(recipient.transport, &recipient.encrypted_key)
        .map_err(ClientError::because(Fault::Recipient, WHAT))?;
    let content = envelope.open(&content_key).map_err(ClientError::because(Fault::Unreadable, WHAT))?;
    Degenerate::from_ber(content.expose()).map_err(ClientError::because(Fault::Unreadable, WHAT))
}

fn expect_ok<'r>(response: &'r Response, operation: &str) -> Exchanged<&'r [u8]> {
    if response.status.is_success() {
        Ok(&response.body)
    } else {
        Err(ClientError::status(operation, response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scep_standard_means_aes_post_and_sha_256() {
        let capabilities = Capabilities::from_text("SCEPStandard\r\nRenewal\r\n");
        for keyword in ["AES", "POSTPKIOperation", "SHA-256", "Renewal"] {
            assert!(capabilities.has(keyword), "{keyword}");
        }
        assert!(!capabilities.has("GetNextCACert"));
        assert!(!Capabilities::from_text("").has("AES"));
    }

    #[test]
    fn keywords_are_compared_whole() {
        assert!(!Capabilities::from_text("AESCBC\nPOSTPKIOperationX").has("AES"));
    }
}
