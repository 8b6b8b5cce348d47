//! PKIOperation (RFC 8894 §4.3 ff.): the checks that every message passes, in their order.

use std::{fmt, sync::Arc};

use super::{
    CertRep, Endpoint, MAX_MESSAGE, Origin, ScepError, Trail, looks,
    reply::{Lock, Reply, Seal},
    shown, unavailable,
};
use crate::{
    domain::{
        exchange::{Ending, MAX_DETAIL, Operation, Refused, Unanswered, Unreadable, clipped},
        issuer::{GenerationState, Issuer},
        ndes::Templates,
    },
    ports::NoAnswer,
    service::{
        Gateway, ServiceError,
        authority::{Authority, MessageKey},
        guard::TooSoon,
        metric,
    },
    types::{ContentCipher, DigestAlgorithm, ProfileName, Secret},
    wire::{
        scep::{Envelope, EnvelopeError, MessageCheckError, MessageType, PkiMessage, Recipient, VerifiedPki},
        x509::KeyKind,
    },
};

/// What the answer to a message is.
#[derive(Debug)]
pub(in crate::service) enum Answer {
    /// SUCCESS with the DER of the degenerate SignedData.
    Granted(Vec<u8>),
    /// The CertRep of a SUCCESS, made while the certificate was being recorded.
    Made(Vec<u8>),
    /// PENDING.
    Pending,
    /// FAILURE.
    Refused(Refused),
}

/// Why a message does not get through: the client's doing, or ours.
#[derive(Debug)]
pub(in crate::service) enum Stop {
    /// FAILURE.
    Refused(Refused),
    /// No CertRep; HTTP 503.
    Fault(ServiceError),
    /// No CertRep; HTTP 503: more waits for approval than is good.
    Full,
    /// No CertRep; HTTP 429: the client is locked out, and the request rests on a challenge; or the profile that its key usage chose
    /// is asked too often.
    TurnedAway(TooSoon),
    /// No CertRep; HTTP 503: another party that is needed does not answer. FAILURE would be final for most clients.
    Away(NoAnswer),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Unreadable> for Stop {
    fn from(unreadable: Unreadable) -> Self {
        Self::Refused(unreadable.into())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Fault(error) => error.fmt(f),
            Self::Full => Unanswered::ApprovalsFull.fmt(f),
            Self::TurnedAway(too_soon) => Unanswered::from(*too_soon).fmt(f),
            Self::Away(no_answer) => no_answer.fmt(f),
        }
    }
}

impl<E: Into<ServiceError>> From<E> for Stop {
    fn from(error: E) -> Self {
        match error.into() {
            ServiceError::NoAnswer(no_answer) => Self::Away(no_answer),
            fault => Self::Fault(fault),
        }
    }
}

/// A message that passed every check, with what was in its envelope.
pub(in crate::service) struct Request<'a> {
    pub(in crate::service) endpoint: &'a Endpoint,
    /// The generation that the request is addressed to: whose message key opened it.
    pub(in crate::service) addressed: &'a Issuer,
    pub(in crate::service) origin: &'a Origin,
    /// Where every further check is noted.
    pub(in crate::service) trail: &'a Trail,
    pub(in crate::service) kind: MessageType,
    pub(in crate::service) message: &'a VerifiedPki,
    /// Of the envelope.
    pub(in crate::service) cipher: ContentCipher,
    pub(in crate::service) payload: Secret,
    /// The client is locked out: no challenge is looked at.
    pub(in crate::service) locked_out: Option<TooSoon>,
    /// How to answer.
    pub(in crate::service) reply: &'a Reply,
}

/// What becomes of a pkiMessage.
pub(super) type Answered = Result<CertRep, ScepError>;

impl Gateway {
    /// PKIOperation: answers one pkiMessage, and keeps the trace of it.
    pub fn pki_operation(&self, profile: &ProfileName, message: &[u8], origin: &Origin) -> Answered {
        self.operation(profile, None, message, origin)
    }

    /// [`Gateway::pki_operation`], where `templates` may choose another profile than the one that opens the message.
    pub(super) fn operation(
        &self,
        profile: &ProfileName,
        templates: Option<Templates>,
        message: &[u8],
        origin: &Origin,
    ) -> Answered {
        let trail = self.trail(origin, Some(profile), Operation::PkiOperation);
        let answer = self.answer(profile, templates, message, origin, &trail);
        trail.count_client();
        self.keep(trail);
        answer
    }

    fn answer(
        &self,
        profile: &ProfileName,
        templates: Option<Templates>,
        message: &[u8],
        origin: &Origin,
        trail: &Trail,
    ) -> Answered {
        let (endpoint, message) = self.read_message(profile, message, origin, trail).map_err(|why| {
            trail.unanswered(&why);
            ScepError::from(&why)
        })?;
        let endpoint = Endpoint { templates, ..endpoint };
        trail.served_by(&endpoint.profile);
        let operation = Operation::of(message.message_type());
        let transaction = message.transaction_id().clone();
        trail.learn(|exchange| {
            exchange.operation = operation;
            exchange.transaction = Some(transaction.clone());
        });
        trail.looks(&endpoint.profile.spec().client, &looks::of_message(origin, &message, None));
        let mut reply = Reply::to(&message, &endpoint, self.ports.random.bytes())
            .inspect_err(|error| trail.unanswered(&Unanswered::Fault(error.to_string())))?;
        trail.nonces(&reply.sender_nonce, &reply.recipient_nonce);
        let answer = self.process(&endpoint, origin, message, &mut reply, trail);
        // The one that the key usage chose, where it chose another.
        let profile = trail.served().map_or_else(|| profile.clone(), |profile| profile.name().clone());
        let answer = match answer {
            Ok(answer) => answer,
            Err(Stop::Refused(refused)) => Answer::Refused(refused),
            Err(Stop::Fault(error)) => return Err(fault(trail, origin, &error)),
            Err(Stop::Away(no_answer)) => {
                tracing::warn!(request = %origin.request, peer = origin.peer, %profile, %transaction, error = %no_answer, "another party is needed and does not answer");
                let why = Unanswered::Away { reason: no_answer.reason, retry_after: no_answer.retry_after };
                trail.unanswered(&why);
                return Err(ScepError::from(&why));
            }
            Err(Stop::TurnedAway(too_soon)) => {
                let why = Unanswered::from(self.turn_away_opened(&profile, origin, too_soon));
                trail.unanswered(&why);
                return Err(ScepError::from(&why));
            }
            Err(Stop::Full) => {
                tracing::warn!(request = %origin.request, peer = origin.peer, %profile, "too many requests wait for approval");
                trail.unanswered(&Unanswered::ApprovalsFull);
                return Err(ScepError::Unavailable);
            }
        };
        let (operation, result) = (operation.as_str(), ending(&answer).as_str());
        let reason = match &answer {
            Answer::Refused(refused) => {
                trail.refused(refused);
                clipped(refused.to_string(), MAX_DETAIL)
            }
            Answer::Granted(_) | Answer::Made(_) | Answer::Pending => String::new(),
        };
        tracing::info!(
            request = %origin.request, peer = origin.peer, %profile, operation, %transaction, result, reason,
            looks_like = trail.client(), "SCEP transaction"
        );
        let body = self
            .sign_reply(&reply, answer, &profile, origin)
            .map_err(|error| fault(trail, origin, &error))?;
        Ok(CertRep { body, operation, result })
    }

    /// The responder and the message that is for it.
    fn read_message(
        &self,
        profile: &ProfileName,
        message: &[u8],
        origin: &Origin,
        trail: &Trail,
    ) -> Result<(Endpoint, PkiMessage), Unanswered> {
        let endpoint = self.endpoint(profile).map_err(|error| match error {
            ScepError::UnknownProfile => Unanswered::Profile(profile.to_string()),
            ScepError::BadRequest(_)
            | ScepError::NoSuccessor
            | ScepError::TooSoon { .. }
            | ScepError::Away { .. }
            | ScepError::Unavailable => {
                Unanswered::Fault(format!("the issuer of the profile {profile} is not there"))
            }
        })?;
        if message.len() > MAX_MESSAGE {
            return Err(Unanswered::TooLong { limit: MAX_MESSAGE });
        }
        let length = message.len();
        let message = PkiMessage::from_ber(message).map_err(|error| {
            tracing::info!(request = %origin.request, peer = origin.peer, %error, "not a SCEP message");
            trail.failed("message", &error);
            Unanswered::NotPkiMessage(error.to_string())
        })?;
        trail.passed("message", format_args!("{length} bytes of CMS"));
        Ok((endpoint, message))
    }

    /// The checks in the order of RFC 8894 §3: what is on the outside first.
    fn process(
        &self,
        endpoint: &Endpoint,
        origin: &Origin,
        message: PkiMessage,
        reply: &mut Reply,
        trail: &Trail,
    ) -> Result<Answer, Stop> {
        let kind = trail.check("messageType", message_type(&message), |kind| format!("{kind:?}"))?;
        let md5 = endpoint.profile.behaviour().old_algorithms.md5;
        let verified = message.verify_taking(md5).map_err(|error| message_check(&error));
        let message = trail.check("signature", verified, |message| {
            format!("{} by {}", message.digest(), message.signer().subject())
        })?;
        trail.wire(|transcript| shown::message(transcript, &message));
        let digest = endpoint.check_digest(message.digest(), origin);
        trail.check("digest", digest, |()| message.digest().to_string())?;
        // From here on the digest is one that the profile allows. A refusal, too, is read only where its signature can be checked.
        reply.digest = message.digest();
        trail.check("key of the signer", check_reply_key(&message), KeyKind::to_string)?;
        let locked_out = self.check_lock_out(endpoint, kind, &message, origin, trail)?;
        let envelope = trail.check("envelope", message.envelope().map_err(envelope_error), |envelope| {
            format!("recipients: {}", envelope.recipients.len())
        })?;
        trail.wire(|transcript| shown::envelope(transcript, &envelope));
        let looks = looks::of_message(origin, message.message(), Some(envelope.cipher));
        trail.looks(&endpoint.profile.spec().client, &looks);
        let cipher = endpoint.check_cipher(envelope.cipher, origin);
        trail.check("cipher", cipher, |()| envelope.cipher.to_string())?;
        let addressed = trail.check("recipient", endpoint.recipient(&envelope), |addressed| {
            if addressed.by_name {
                let Addressed { authority, key, .. } = addressed;
                format!("the message certificate {} of {}", key.certificate.serial(), authority.issuer.id)
            } else {
                "names no message certificate of ours: the newest is tried".to_owned()
            }
        })?;
        reply.message_key = addressed.key.clone();
        let lock =
            |payload: &Secret, trail: &Trail| self.lock(endpoint, kind, &message, &addressed, payload, trail);
        // Settled before the envelope is opened wherever its content has no say in it: who cannot be answered must not learn whether
        // it would have opened.
        let enrols = matches!(kind, MessageType::PkcsReq | MessageType::RenewalReq);
        let settled = if enrols { None } else { Some(lock(&Secret::new(Vec::new()), trail)?) };
        let opened = self.open_envelope(&envelope, &addressed);
        let opened = trail.check("decryption", opened, |payload| format!("{} bytes", payload.expose().len()));
        let cipher = envelope.cipher;
        let read = |payload, reply: &mut Reply, trail: &Trail| {
            let authority = addressed.authority;
            self.read(endpoint, authority, origin, trail, kind, &message, cipher, payload, locked_out, reply)
        };
        match opened {
            Ok(payload) => {
                let lock = settled.map_or_else(|| lock(&payload, trail), Ok)?;
                let cipher = endpoint.profile.behaviour().cipher_of_reply(envelope.cipher);
                reply.seal = Some(Seal { cipher, lock });
                read(payload, reply, trail)
            }
            Err(closed) => {
                // What does not open is read on as if it had: the time of the answer must not tell whether the padding of the
                // content was right. Zeros are no request of any kind.
                let (zeros, silent) = (Secret::new(vec![0; envelope.content_len()]), trail.silent());
                if settled.is_some() || lock(&zeros, &silent).is_ok() {
                    drop(read(zeros, reply, &silent));
                }
                Err(closed)
            }
        }
    }

    /// Who will be able to open the answer.
    fn lock(
        &self,
        endpoint: &Endpoint,
        kind: MessageType,
        message: &VerifiedPki,
        addressed: &Addressed<'_>,
        payload: &Secret,
        trail: &Trail,
    ) -> Result<Lock, Stop> {
        if let KeyKind::Rsa { .. } = message.signer().public_key().kind() {
            return Ok(Lock::Key(message.signer().clone(), addressed.recipient.transport));
        }
        let password = self.reply_password(endpoint, kind, message, payload);
        Ok(Lock::Password(trail.check("password", password, |_| "seals the answer".to_owned())?))
    }

    /// What the envelope held.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    fn read(
        &self,
        endpoint: &Endpoint,
        addressed: &Arc<Authority>,
        origin: &Origin,
        trail: &Trail,
        kind: MessageType,
        message: &VerifiedPki,
        cipher: ContentCipher,
        payload: Secret,
        locked_out: Option<TooSoon>,
        reply: &mut Reply,
    ) -> Result<Answer, Stop> {
        let chosen = self.chosen(endpoint, kind, message, &payload, trail)?;
        if let Some(chosen) = &chosen
            && !chosen.takes(message.digest())
        {
            reply.digest = DigestAlgorithm::Sha256;
        }
        let locked_out = match &chosen {
            Some(chosen) => self.check_lock_out(chosen, kind, message, origin, trail)?.or(locked_out),
            None => locked_out,
        };
        let endpoint = &chosen.as_ref().unwrap_or(endpoint).issuing(addressed);
        let addressed = &addressed.issuer;
        let request =
            Request { endpoint, addressed, origin, trail, kind, message, cipher, payload, locked_out, reply };
        self.dispatch(&request)
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
    fn open_envelope(&self, envelope: &Envelope, addressed: &Addressed<'_>) -> Result<Secret, Stop> {
        let Addressed { key, recipient, by_name, .. } = addressed;
        let mut random = vec![0; envelope.cipher.key_len()];
        self.ports.random.fill(&mut random);
        let random = Secret::new(random);
        let content_key = key
            .decrypter
            .decrypt(recipient.transport, &recipient.encrypted_key)
            .ok()
            .filter(|unwrapped| unwrapped.expose().len() == envelope.cipher.key_len())
            .unwrap_or(random);
        envelope.open(&content_key).map_err(|_| Stop::from(Unreadable::DoesNotOpen { addressed: *by_name }))
    }
}

impl Endpoint {
    /// RFC 8894 §2.9: SHA-1 is a MAY, MD5 a MUST NOT, so both need the profile's leave.
    fn check_digest(&self, digest: DigestAlgorithm, origin: &Origin) -> Result<(), Stop> {
        let allowed = self.takes(digest);
        match digest {
            DigestAlgorithm::Md5 => self.legacy(allowed, "md5", "md5", origin),
            DigestAlgorithm::Sha1 => self.legacy(allowed, "sha1", "sha1", origin),
            DigestAlgorithm::Sha256 | DigestAlgorithm::Sha384 | DigestAlgorithm::Sha512 => Ok(()),
        }
    }

    /// Whether requests may be signed with it, and so answers.
    fn takes(&self, digest: DigestAlgorithm) -> bool {
        let legacy = self.profile.behaviour().old_algorithms;
        match digest {
            DigestAlgorithm::Md5 => legacy.md5,
            DigestAlgorithm::Sha1 => legacy.sha1,
            DigestAlgorithm::Sha256 | DigestAlgorithm::Sha384 | DigestAlgorithm::Sha512 => true,
        }
    }

    /// RFC 8894 §2.9: AES always; 3DES is a MAY, single DES a MUST NOT, so both need the profile's leave.
    fn check_cipher(&self, cipher: ContentCipher, origin: &Origin) -> Result<(), Stop> {
        let legacy = self.profile.behaviour().old_algorithms;
        match cipher {
            ContentCipher::Aes128Cbc | ContentCipher::Aes192Cbc | ContentCipher::Aes256Cbc => Ok(()),
            ContentCipher::TripleDesCbc => self.legacy(legacy.triple_des, "3des", "triple-des", origin),
            ContentCipher::DesCbc => self.legacy(legacy.des, "des", "des", origin),
        }
    }

    /// Lets an old algorithm pass where the profile allows it with `switch`, visibly.
    pub(in crate::service) fn legacy(
        &self,
        allowed: bool,
        algorithm: &'static str,
        switch: &'static str,
        origin: &Origin,
    ) -> Result<(), Stop> {
        if !allowed {
            return Err(Refused::Legacy { algorithm, switch }.into());
        }
        tell_of_legacy(algorithm, self.profile.name(), origin);
        Ok(())
    }

    /// The message key that the envelope names, the current CA's newest first. Where it names none of ours, that one is tried on the
    /// only (or first) recipient: clients re-encode and shorten issuer names, and an envelope for somebody else fails on the
    /// same path as a broken one.
    fn recipient<'a>(&'a self, envelope: &'a Envelope) -> Result<Addressed<'a>, Stop> {
        let keys = || self.recipients().flat_map(|it| it.message_keys.iter().map(move |key| (it, key)));
        let named = keys().find_map(|(authority, key)| {
            let recipient = envelope.recipients.iter().find(|recipient| recipient.is(&key.certificate))?;
            Some(Addressed { authority, key, recipient, by_name: true })
        });
        let first = || {
            let ((authority, key), recipient) = keys().next().zip(envelope.recipients.first())?;
            Some(Addressed { authority, key, recipient, by_name: false })
        };
        named.or_else(first).ok_or_else(|| Unreadable::NoRecipient.into())
    }

    /// The generations whose message keys open envelopes: the current one, then the announced and the retired ones.
    fn recipients(&self) -> impl Iterator<Item = &Arc<Authority>> {
        let all = self.authorities.generations(&self.profile.spec().issuer).into_iter();
        let others = all.filter(|it| {
            it.issuer.id != self.authority.issuer.id
                && it.issuer.generation.state != GenerationState::Withdrawn
        });
        std::iter::once(&self.authority).chain(others)
    }

    /// RFC 8894 §5.1: the envelope determines which key issues. A retired CA issues no more; the current one does in its place.
    pub(in crate::service) fn issuing(&self, addressed: &Arc<Authority>) -> Self {
        let generation = &addressed.issuer.generation;
        let issues = generation.state.issues() && generation.line == self.profile.spec().issuer;
        let authority = if issues { addressed } else { &self.authority };
        Self { authority: Arc::clone(authority), ..self.clone() }
    }
}

/// Logs and counts the use of an old algorithm.
pub(super) fn tell_of_legacy(algorithm: &'static str, profile: &ProfileName, origin: &Origin) {
    tracing::warn!(request = %origin.request, peer = origin.peer, %profile, algorithm, "legacy algorithm used");
    metrics::counter!(metric::LEGACY_ALGORITHM, metric::label::PROFILE => profile.to_string(), metric::label::ALGORITHM => algorithm)
        .increment(1);
}

/// The key that an envelope is opened with.
struct Addressed<'a> {
    /// The generation whose key it is.
    authority: &'a Arc<Authority>,
    key: &'a MessageKey,
    recipient: &'a Recipient,
    /// Whether the envelope names it.
    by_name: bool,
}

/// Notes and logs a fault of ours.
fn fault(trail: &Trail, origin: &Origin, error: &ServiceError) -> ScepError {
    trail.unanswered(&Unanswered::Fault(error.to_string()));
    unavailable(&origin.request, error)
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
    Refused::MessageType(text.chars().take(8).collect()).into()
}

fn message_check(error: &MessageCheckError) -> Stop {
    match *error {
        MessageCheckError::BadMessageCheck(why) => Refused::Signature(why).into(),
        MessageCheckError::BadAlg(why) => Refused::NotSpoken(why.to_owned()).into(),
        MessageCheckError::Md5 => Refused::Legacy { algorithm: "md5", switch: "md5" }.into(),
    }
}

/// RFC 8894 §2.3: the answer is encrypted to the key that signed; checked before anything is done for that client. For keys on curves
/// the password of §3.1 stands in.
fn check_reply_key(message: &VerifiedPki) -> Result<KeyKind, Stop> {
    match message.signer().public_key().kind() {
        kind @ (KeyKind::P256 | KeyKind::P384) => Ok(kind),
        kind @ KeyKind::Rsa { bits } if bits >= 2048 => Ok(kind),
        kind => Err(Refused::ReplyKey(kind).into()),
    }
}

fn envelope_error(error: EnvelopeError) -> Stop {
    match error {
        EnvelopeError::Algorithm(why) => Refused::NotSpoken(why).into(),
        EnvelopeError::Missing => Unreadable::NoEnvelope.into(),
        EnvelopeError::Malformed(why) => Unreadable::Envelope(why).into(),
    }
}

fn ending(answer: &Answer) -> Ending {
    match answer {
        Answer::Granted(_) | Answer::Made(_) => Ending::Success,
        Answer::Pending => Ending::Pending,
        Answer::Refused(refused) => Ending::Refused(refused.answer().0),
    }
}
