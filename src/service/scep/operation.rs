//! PKIOperation (RFC 8894 §4.3 ff.): the checks that every message passes, in their order.

use super::{
    CertRep, Endpoint, MAX_MESSAGE, Origin, Refusal, ScepError,
    reply::{Reply, Seal},
    unavailable,
};
use crate::{
    service::{Gateway, ServiceError, authority::MessageKey, metric},
    types::{ContentCipher, DigestAlgorithm, ProfileName, Secret},
    wire::{
        scep::{
            Envelope, EnvelopeError, FailInfo, MessageCheckError, MessageType, PkiMessage, Recipient,
            VerifiedPki,
        },
        x509::KeyKind,
    },
};

/// What a client is told when its envelope or what is in it cannot be read: the same for every cause.
pub(super) const UNREADABLE: &str = "the request could not be read";

/// What the answer to a message is.
#[derive(Debug)]
pub(in crate::service) enum Answer {
    /// SUCCESS with the DER of the degenerate SignedData.
    Granted(Vec<u8>),
    /// PENDING.
    Pending,
    /// FAILURE.
    Refused(Refusal),
}

/// Why a message does not get through: the client's doing, or ours.
#[derive(Debug)]
pub(in crate::service) enum Stop {
    /// FAILURE.
    Refused(Refusal),
    /// No CertRep; HTTP 503.
    Fault(ServiceError),
    /// No CertRep; HTTP 503: more waits for approval than is good.
    Full,
}

impl Stop {
    pub(in crate::service) fn refuse(info: FailInfo, text: &'static str, reason: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(info, text, reason))
    }

    /// The uniform answer to whatever cannot be read (no padding oracle). The reason is for the log alone.
    pub(in crate::service) fn unreadable(reason: impl Into<String>) -> Self {
        Self::refuse(FailInfo::BadRequest, UNREADABLE, reason)
    }
}

impl<E: Into<ServiceError>> From<E> for Stop {
    fn from(fault: E) -> Self {
        Self::Fault(fault.into())
    }
}

/// A message that passed every check, with what was in its envelope.
pub(in crate::service) struct Request<'a> {
    pub(in crate::service) endpoint: &'a Endpoint,
    pub(in crate::service) origin: &'a Origin,
    pub(in crate::service) kind: MessageType,
    pub(in crate::service) message: &'a VerifiedPki,
    /// Of the envelope.
    pub(in crate::service) cipher: ContentCipher,
    pub(in crate::service) payload: Secret,
}

impl Gateway {
    /// PKIOperation: answers one pkiMessage.
    pub fn pki_operation(
        &self,
        profile: &ProfileName,
        message: &[u8],
        origin: &Origin,
    ) -> Result<CertRep, ScepError> {
        let endpoint = self.endpoint(profile)?;
        if message.len() > MAX_MESSAGE {
            return Err(ScepError::BadRequest("the message is too long"));
        }
        let message = PkiMessage::from_ber(message).map_err(|error| {
            tracing::info!(request = %origin.request, peer = origin.peer, %error, "not a SCEP message");
            ScepError::BadRequest("not a SCEP message")
        })?;
        let operation = operation_name(message.message_type());
        let transaction = message.transaction_id().clone();
        let mut reply = Reply::to(&message, &endpoint)?;
        let answer = match self.process(&endpoint, origin, message, &mut reply) {
            Ok(answer) => answer,
            Err(Stop::Refused(refusal)) => Answer::Refused(refusal),
            Err(Stop::Fault(error)) => return Err(unavailable(&origin.request, &error)),
            Err(Stop::Full) => {
                tracing::warn!(request = %origin.request, peer = origin.peer, %profile, "too many requests wait for approval");
                return Err(ScepError::Unavailable);
            }
        };
        let result = result_name(&answer);
        let reason = if let Answer::Refused(refusal) = &answer { refusal.reason.as_str() } else { "" };
        tracing::info!(
            request = %origin.request, peer = origin.peer, %profile, operation, %transaction, result, reason,
            "SCEP transaction"
        );
        let body = self.sign_reply(&reply, answer).map_err(|error| unavailable(&origin.request, &error))?;
        Ok(CertRep { body, operation, result })
    }

    fn process(
        &self,
        endpoint: &Endpoint,
        origin: &Origin,
        message: PkiMessage,
        reply: &mut Reply,
    ) -> Result<Answer, Stop> {
        let kind = message_type(&message)?;
        let message = message.verify().map_err(|error| message_check(&error))?;
        endpoint.check_digest(message.digest(), origin)?;
        check_reply_key(&message)?;
        // From here on the digest is one that the profile allows and the key one that an answer can be encrypted to.
        reply.digest = reply_digest(message.digest());
        let envelope = message.envelope().map_err(envelope_error)?;
        endpoint.check_cipher(envelope.cipher, origin)?;
        let (message_key, recipient) = endpoint.recipient(&envelope)?;
        reply.message_key = message_key.clone();
        reply.seal = Some(Seal {
            recipient: message.signer().clone(),
            cipher: reply_cipher(envelope.cipher),
            transport: recipient.transport,
        });
        let payload = self.open_envelope(message_key, &envelope, recipient)?;
        self.dispatch(&Request {
            endpoint,
            origin,
            kind,
            message: &message,
            cipher: envelope.cipher,
            payload,
        })
    }

    fn dispatch(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        match request.kind {
            MessageType::PkcsReq | MessageType::RenewalReq => self.enrol(request),
            MessageType::CertPoll => self.cert_poll(request),
            MessageType::GetCert => self.get_cert(request),
            MessageType::GetCrl => self.get_crl(request),
            MessageType::CertRep => Err(unknown_message_type("3")),
        }
    }

    /// Opens the envelope. Where the content key does not unwrap, or has the wrong length, a random one takes its place
    /// (implicit rejection): the client learns from one uniform answer only that nothing readable came out.
    fn open_envelope(
        &self,
        key: &MessageKey,
        envelope: &Envelope,
        recipient: &Recipient,
    ) -> Result<Secret, Stop> {
        let mut random = vec![0; envelope.cipher.key_len()];
        self.ports.random.fill(&mut random);
        let random = Secret::new(random);
        let content_key = key
            .decrypter
            .decrypt(recipient.transport, &recipient.encrypted_key)
            .ok()
            .filter(|unwrapped| unwrapped.expose().len() == envelope.cipher.key_len())
            .unwrap_or(random);
        envelope.open(&content_key).map_err(|error| Stop::unreadable(error.to_string()))
    }
}

impl Endpoint {
    /// RFC 8894 §2.9: SHA-1 is a MAY, and off unless the profile says otherwise. MD5 is not spoken at all.
    fn check_digest(&self, digest: DigestAlgorithm, origin: &Origin) -> Result<(), Stop> {
        match digest {
            DigestAlgorithm::Sha1 => self.legacy(self.profile.spec().legacy.sha1, "sha1", origin),
            DigestAlgorithm::Sha256 | DigestAlgorithm::Sha384 | DigestAlgorithm::Sha512 => Ok(()),
        }
    }

    /// RFC 8894 §2.9: AES always; 3DES is a MAY, single DES a MUST NOT, so both need the profile's leave.
    fn check_cipher(&self, cipher: ContentCipher, origin: &Origin) -> Result<(), Stop> {
        let legacy = self.profile.spec().legacy;
        match cipher {
            ContentCipher::Aes128Cbc | ContentCipher::Aes192Cbc | ContentCipher::Aes256Cbc => Ok(()),
            ContentCipher::TripleDesCbc => self.legacy(legacy.triple_des, "3des", origin),
            ContentCipher::DesCbc => self.legacy(legacy.des, "des", origin),
        }
    }

    /// Lets an old algorithm pass where the profile allows it, visibly.
    pub(in crate::service) fn legacy(
        &self,
        allowed: bool,
        algorithm: &'static str,
        origin: &Origin,
    ) -> Result<(), Stop> {
        let profile = self.profile.name();
        if !allowed {
            let reason = format!("the profile {profile} does not allow {algorithm}");
            return Err(Stop::refuse(FailInfo::BadAlg, "the algorithm is not allowed", reason));
        }
        tracing::warn!(request = %origin.request, peer = origin.peer, %profile, algorithm, "legacy algorithm used");
        metrics::counter!(metric::LEGACY_ALGORITHM, metric::label::PROFILE => profile.to_string(), metric::label::ALGORITHM => algorithm)
            .increment(1);
        Ok(())
    }

    /// The message key that the envelope names, newest first. Where it names none of ours, the newest is tried on the only
    /// (or first) recipient: clients re-encode and shorten issuer names, and an envelope for somebody else fails on the
    /// same path as a broken one.
    fn recipient<'a>(&'a self, envelope: &'a Envelope) -> Result<(&'a MessageKey, &'a Recipient), Stop> {
        let keys = &self.authority.message_keys;
        let named = keys.iter().find_map(|key| {
            let recipient = envelope.recipients.iter().find(|recipient| recipient.is(&key.certificate))?;
            Some((key, recipient))
        });
        named
            .or_else(|| keys.first().zip(envelope.recipients.first()))
            .ok_or_else(|| Stop::unreadable("no recipient"))
    }
}

/// RFC 8894 §3.2.1.2: the closed set, before any other logic (CVE-2026-30836: an UpdateReq that skipped the challenge).
fn message_type(message: &PkiMessage) -> Result<MessageType, Stop> {
    match message.message_type() {
        Some(MessageType::CertRep) | None => {
            Err(unknown_message_type(message.message_type_text().unwrap_or("none")))
        }
        Some(kind) => Ok(kind),
    }
}

fn unknown_message_type(text: &str) -> Stop {
    let shown: String = text.chars().take(8).collect();
    Stop::refuse(FailInfo::BadRequest, "unknown messageType", format!("messageType {shown:?}"))
}

fn message_check(error: &MessageCheckError) -> Stop {
    match *error {
        MessageCheckError::BadMessageCheck(why) => {
            Stop::refuse(FailInfo::BadMessageCheck, "the signature does not verify", why)
        }
        MessageCheckError::BadAlg(why) => Stop::refuse(FailInfo::BadAlg, "the algorithm is not spoken", why),
    }
}

/// RFC 8894 §2.3: the answer is encrypted to the key that signed; checked before anything is done for that client. The
/// password variant of §3.1 for other keys is not spoken: no client of the matrix sends it.
fn check_reply_key(message: &VerifiedPki) -> Result<(), Stop> {
    match message.signer().public_key().kind() {
        KeyKind::Rsa { bits } if bits >= 2048 => Ok(()),
        kind => Err(Stop::refuse(
            FailInfo::BadAlg,
            "the signer's key must be RSA with at least 2048 bits",
            format!("the signer's key is {kind}"),
        )),
    }
}

fn envelope_error(error: EnvelopeError) -> Stop {
    match error {
        EnvelopeError::Algorithm(why) => Stop::refuse(FailInfo::BadAlg, "the algorithm is not spoken", why),
        EnvelopeError::Missing => Stop::unreadable("no envelope"),
        EnvelopeError::Malformed(why) => Stop::unreadable(why),
    }
}

/// The request's, for a client that can sign with a digest can check it. SHA-1 requests are answered with SHA-256 (invariant:
/// no signature is made with SHA-1); scepclient 2.1.0, which sends them, takes that.
const fn reply_digest(request: DigestAlgorithm) -> DigestAlgorithm {
    match request {
        DigestAlgorithm::Sha1 | DigestAlgorithm::Sha256 => DigestAlgorithm::Sha256,
        DigestAlgorithm::Sha384 => DigestAlgorithm::Sha384,
        DigestAlgorithm::Sha512 => DigestAlgorithm::Sha512,
    }
}

/// The request's; single DES is answered with triple DES, which every client that sends DES can read.
const fn reply_cipher(request: ContentCipher) -> ContentCipher {
    match request {
        ContentCipher::Aes128Cbc => ContentCipher::Aes128Cbc,
        ContentCipher::Aes192Cbc => ContentCipher::Aes192Cbc,
        ContentCipher::Aes256Cbc => ContentCipher::Aes256Cbc,
        ContentCipher::TripleDesCbc | ContentCipher::DesCbc => ContentCipher::TripleDesCbc,
    }
}

const fn operation_name(kind: Option<MessageType>) -> &'static str {
    match kind {
        Some(MessageType::PkcsReq) => "pkcs-req",
        Some(MessageType::RenewalReq) => "renewal-req",
        Some(MessageType::CertPoll) => "cert-poll",
        Some(MessageType::GetCert) => "get-cert",
        Some(MessageType::GetCrl) => "get-crl",
        Some(MessageType::CertRep) | None => "unknown",
    }
}

const fn result_name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Granted(_) => "success",
        Answer::Pending => "pending",
        Answer::Refused(refusal) => match refusal.info {
            FailInfo::BadAlg => "bad-alg",
            FailInfo::BadMessageCheck => "bad-message-check",
            FailInfo::BadRequest => "bad-request",
            FailInfo::BadTime => "bad-time",
            FailInfo::BadCertId => "bad-cert-id",
        },
    }
}
