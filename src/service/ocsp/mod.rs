//! The OCSP responder (RFC 6960, RFC 9654, RFC 9919).
//!
//! - Issuers are found by their CertID. Where no CertID of a request is of an issuer that is answered for, the answer is `unauthorized`
//!   (RFC 9919 §3.2.3). Those are our own, and external ones once somebody gave us the right ([`super::responder`]); everything after that is
//!   the same for both. A responder of an external issuer whose own certificate is revoked or on hold signs nothing.
//! - Of an issuer that has expired no answer can be believed any more, and trying later never helps: it counts as one that is not
//!   answered for (RFC 6960 §2.3, RFC 9919 §3.2.3), once its end is past by the time that is believed ([`crate::domain::clock`]). Who is
//!   told to trust a responder believes it in any case.
//! - A request may name certificates of several issuers. A delegated responder speaks for one issuer only (RFC 6960 §4.2.2.2), so
//!   the responder of the first issuer that is answered for answers, and says `unknown` of the certificates of others.
//! - A serial that the issuer never issued is `unknown`, never `good`. Such answers are not cached: the serial may be issued later, or
//!   imported: of an external issuer there may be certificates that nobody told us of.
//! - Where store or key cannot be used, a cached answer is given out until its nextUpdate, then `tryLater`; never a guess.
//! - Only answers about one certificate, without a nonce and signed as all are, are cached. When clients come back for a newer one is
//!   spread (RFC 9919 §7.1): see [`pace`].
//! - Who prefers a signature algorithm (RFC 6960 §4.4.7) that the key of the responder can do gets it. Where that is not the one that all
//!   answers are signed with, the answer is for that client alone, as one with a nonce is: the cache has one answer to a question.
//! - What is asked for is signed anew before it is old ([`refresh`]), or ahead of any question ([`presign`]).
//! - Where an issuer wants signed requests, an unsigned one is answered with `sigRequired`, and nothing of it comes from the cache.
//! - A CA that is revoked or on hold still has its delegated responder answer: all that it issued is `revoked` then (RFC 6960 §2.7
//!   allows it where the key is compromised; of the other reasons see [`crate::domain::status`]). The responder's own certificate is
//!   no exception, but nobody asks: it has id-pkix-ocsp-nocheck.

mod answer;
mod budget;
mod cache;
mod pace;
mod presign;
mod refresh;
mod sign;

use std::sync::atomic::{AtomicU64, Ordering};

pub use answer::{OcspAnswer, OcspCaching};
pub use budget::SigningBudget;
pub use cache::AnswerCache;
use cache::Entry;
pub use presign::{PresignRequest, PresignState, PresignView, Presigning};
pub use refresh::Refreshing;
use sign::{Responding, Why};

use super::{
    Gateway, OcspPolicy, OcspSigner, ServiceError,
    authority::{Answered, Authorities},
    status::{Epoch, Standing},
};
use crate::{
    domain::{
        issuer::OcspAuthority,
        status::{self, Revocation},
    },
    types::{CertificateId, IssuerId, SerialNumber, Timestamp},
    wire::ocsp::{CertId, CertIdRef, CertStatus, ErrorStatus, OcspRequest, SingleResponse},
};

/// How often an answer is computed again when the status moves while it is being signed.
const ATTEMPTS: usize = 3;

/// Why there is no signed answer, by what the client is told.
#[derive(Debug)]
enum Refusal {
    /// sigRequired.
    SigRequired,
    /// unauthorized: no issuer that is answered for (any more), or not for this requestor.
    Unauthorized,
    /// tryLater: it may pass.
    TryLater(String),
    /// internalError: it will not pass by itself.
    Internal(String),
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Internal(reason) => Self::Internal(reason),
            other => Self::TryLater(other.to_string()),
        }
    }
}

impl Refusal {
    fn reason(&self) -> &str {
        match self {
            Self::SigRequired => "the request is not signed",
            Self::Unauthorized => "no issuer that is answered for, or not for this requestor",
            Self::TryLater(reason) | Self::Internal(reason) => reason,
        }
    }

    fn answer(&self, complaints: &Complaints, now: Timestamp) -> OcspAnswer {
        self.log(complaints.is_news(self, now));
        match self {
            Self::SigRequired => OcspAnswer::error(ErrorStatus::SigRequired, "sig-required"),
            Self::Unauthorized => OcspAnswer::error(ErrorStatus::Unauthorized, "unauthorized"),
            Self::TryLater(_) => OcspAnswer::try_later(),
            Self::Internal(_) => OcspAnswer::internal(),
        }
    }

    fn log(&self, is_news: bool) {
        let reason = self.reason();
        match self {
            Self::TryLater(_) if is_news => tracing::warn!(%reason, "ocsp: try later"),
            Self::Internal(_) if is_news => tracing::error!(%reason, "ocsp: internal error"),
            Self::SigRequired | Self::Unauthorized | Self::TryLater(_) | Self::Internal(_) => {
                tracing::debug!(%reason, "ocsp: no signed answer");
            }
        }
    }
}

/// The minute in which a refusal was logged last: while nothing can be signed every request is refused, and the first of a minute is enough for
/// the log.
#[derive(Debug, Default)]
pub struct Complaints {
    try_later: AtomicU64,
    internal: AtomicU64,
}

impl Complaints {
    /// Whether nobody was told of such a refusal in this minute. What is the client's doing is no news.
    fn is_news(&self, refusal: &Refusal, now: Timestamp) -> bool {
        let logged = match refusal {
            Refusal::SigRequired | Refusal::Unauthorized => return false,
            Refusal::TryLater(_) => &self.try_later,
            Refusal::Internal(_) => &self.internal,
        };
        let minute = now.unix() / 60;
        logged.swap(minute, Ordering::Relaxed) != minute
    }
}

/// What is known of a certificate.
struct Found {
    status: CertStatus,
    invalidity_date: Option<Timestamp>,
    /// When it expires; none where it was never issued, or only a CRL told of it.
    not_after: Option<Timestamp>,
}

/// One certificate that is asked about, with what answers.
struct Question<'a> {
    responding: Responding<'a>,
    cert_id: &'a CertId,
}

impl Question<'_> {
    fn issuer(&self) -> &IssuerId {
        self.responding.issuer
    }

    fn serial(&self) -> &SerialNumber {
        self.cert_id.serial()
    }
}

/// Whether an answer is wanted before anybody asks for it again.
#[derive(Clone, Copy)]
struct Wanted {
    always: bool,
    now: bool,
}

impl Gateway {
    /// The cached answer to this CertID, if there is a fresh one. Never blocks, never signs, allocates nothing: for the async edge.
    pub fn ocsp_cached(&self, cert_id: &CertIdRef<'_>) -> Option<OcspAnswer> {
        self.ocsp.fresh(cert_id, self.now())
    }

    /// Answers any message.
    pub fn ocsp(&self, message: &[u8]) -> OcspAnswer {
        match OcspRequest::from_der(message) {
            Ok(request) => self.ocsp_answer(&request),
            Err(error) => {
                tracing::debug!(%error, "ocsp: malformed request");
                OcspAnswer::malformed()
            }
        }
    }

    /// Answers any request.
    pub fn ocsp_answer(&self, request: &OcspRequest) -> OcspAnswer {
        self.ocsp_outcome(request).unwrap_or_else(|refusal| refusal.answer(&self.ocsp_complaints, self.now()))
    }

    fn ocsp_outcome(&self, request: &OcspRequest) -> Result<OcspAnswer, Refusal> {
        let authorities = self.authorities();
        let mut named = request.cert_ids.iter().filter_map(|cert_id| issuer_of(&authorities, cert_id));
        let answered = named.find(|answered| !self.ocsp_is_over(*answered)).ok_or(Refusal::Unauthorized)?;
        let signed_requests = self.ocsp_policy(answered).signed_requests;
        if signed_requests {
            self.check_requestor(request)?;
        }
        match request.cert_ids.as_slice() {
            [cert_id] if !signed_requests && self.ocsp_is_shared(request) => {
                self.cacheable_answer(answered.id(), cert_id)
            }
            _ => self.single_use_answer(answered.id(), request),
        }
    }

    /// Whether the answer is one that others can use, too: about one certificate, without a nonce, and signed as all are.
    pub fn ocsp_is_shared(&self, request: &OcspRequest) -> bool {
        let ([cert_id], None) = (request.cert_ids.as_slice(), &request.nonce) else { return false };
        let preferred = &request.preferred_signatures;
        if preferred.is_empty() {
            return true;
        }
        let authorities = self.authorities();
        let Some(answered) = issuer_of(&authorities, cert_id) else { return true };
        // Where nothing can sign, what is in the cache is better than nothing.
        self.responding(answered, self.now()).map_or(true, |responding| responding.suits(preferred))
    }

    /// An answer about one certificate without a nonce: from the cache, or signed and remembered.
    fn cacheable_answer(&self, issuer: &IssuerId, cert_id: &CertId) -> Result<OcspAnswer, Refusal> {
        let _turn = self.ocsp.signing_turn(cert_id.serial());
        if let Some(answer) = self.ocsp.fresh(&cert_id.borrowed(), self.now()) {
            return Ok(answer);
        }
        match self.signed_and_remembered(issuer, cert_id, Why::Miss) {
            Err(Refusal::TryLater(reason)) => {
                // The status has not moved, or there would be none: what the old answer says still holds until its nextUpdate.
                let Some(still_valid) = self.ocsp.put_off(&cert_id.borrowed(), self.now()) else {
                    return Err(Refusal::TryLater(reason));
                };
                tracing::debug!(%reason, "ocsp: no newer answer can be signed, the old one serves");
                Ok(still_valid)
            }
            outcome => outcome,
        }
    }

    fn signed_and_remembered(
        &self,
        issuer: &IssuerId,
        cert_id: &CertId,
        why: Why,
    ) -> Result<OcspAnswer, Refusal> {
        for _ in 0..ATTEMPTS {
            // Who may sign is read after the epoch, as the status is: see `Gateway::responders_moved`.
            let epoch = self.status.epoch(issuer, cert_id.serial());
            let authorities = self.authorities();
            let answered = authorities.answered(issuer).ok_or(Refusal::Unauthorized)?;
            let now = self.now();
            let question = Question { responding: self.responding(answered, now)?, cert_id };
            let response = self.single_response(&question, now)?;
            let signed = question.responding.sign(std::slice::from_ref(&response), None, now, why)?;
            let answer = OcspAnswer::of(signed, &response);
            let wanted = Wanted { always: self.ocsp_policy(answered).presign, now: why == Why::Presign };
            if let Some(answer) = self.remember(&question, &response, answer, (epoch, wanted)) {
                return Ok(answer);
            }
        }
        Err(Refusal::TryLater("the status keeps moving while the answer is signed".to_owned()))
    }

    /// None: the status moved since `epoch`, and the answer must not leave.
    fn remember(
        &self,
        question: &Question<'_>,
        response: &SingleResponse,
        answer: OcspAnswer,
        (epoch, wanted): (Epoch, Wanted),
    ) -> Option<OcspAnswer> {
        let (issuer, serial) = (question.issuer(), question.serial());
        let moved = || self.status.epoch(issuer, serial) != epoch;
        let Some(next_update) = response.next_update.filter(|_| answer.caching.is_some()) else {
            return (!moved()).then_some(answer);
        };
        let window = (response.this_update, next_update);
        let [spread] = self.ports.random.bytes();
        let mut entry = Entry::new(issuer, question.cert_id.as_der(), answer, window, spread);
        if wanted.always || wanted.now {
            entry = entry.wanted(wanted.always);
        }
        self.ocsp.insert(serial, entry, response.this_update, moved)
    }

    /// An answer that is not cached: see [`Gateway::ocsp_is_shared`].
    fn single_use_answer(&self, issuer: &IssuerId, request: &OcspRequest) -> Result<OcspAnswer, Refusal> {
        let cert_ids = &request.cert_ids;
        let epochs = || cert_ids.iter().map(|id| self.status.epoch(issuer, id.serial())).collect::<Vec<_>>();
        for _ in 0..ATTEMPTS {
            let before = epochs();
            let authorities = self.authorities();
            let answered = authorities.answered(issuer).ok_or(Refusal::Unauthorized)?;
            let now = self.now();
            let responding = self.responding(answered, now)?;
            let responses = cert_ids
                .iter()
                .map(|cert_id| self.response_for(&authorities, responding, cert_id, now))
                .collect::<Result<Vec<_>, _>>()?;
            let body = responding.sign(&responses, Some(request), now, Why::SingleUse)?;
            if epochs() == before {
                return Ok(OcspAnswer::single_use(body, responses.first()));
            }
        }
        Err(Refusal::TryLater("the status keeps moving while the answer is signed".to_owned()))
    }

    fn response_for(
        &self,
        authorities: &Authorities,
        responding: Responding<'_>,
        cert_id: &CertId,
        now: Timestamp,
    ) -> Result<SingleResponse, Refusal> {
        let ours = issuer_of(authorities, cert_id).is_some_and(|other| other.id() == responding.issuer);
        if ours {
            return self.single_response(&Question { responding, cert_id }, now);
        }
        Ok(responding.response(cert_id, CertStatus::Unknown, &self.settings.ocsp, now))
    }

    fn single_response(&self, question: &Question<'_>, now: Timestamp) -> Result<SingleResponse, Refusal> {
        let Found { status, invalidity_date, not_after } = self.find(question)?;
        let responding = &question.responding;
        let expired = not_after.is_some_and(|not_after| not_after < now);
        let response = responding.response(question.cert_id, status, &self.settings.ocsp, now);
        let archive_cutoff = responding.archive_cutoff(now).filter(|_| expired);
        Ok(SingleResponse { archive_cutoff, invalidity_date, ..response })
    }

    fn find(&self, question: &Question<'_>) -> Result<Found, Refusal> {
        let (revocation, listed) = match self.status.standing(question.issuer(), question.serial()) {
            Standing::Listed(revocation) => (Some(revocation), true),
            Standing::Inherited(revocation) => (Some(revocation), false),
            Standing::NotListed => (None, false),
            Standing::Unsettled => {
                let reason = "the causes could not be read after they changed";
                return Err(Refusal::TryLater(reason.to_owned()));
            }
        };
        let not_after = match self.not_after_of(question) {
            Ok(not_after) => not_after,
            // It is revoked, whatever else could be said of it.
            Err(_) if listed => None,
            Err(error) => return Err(error.into()),
        };
        let revocation = match (revocation, not_after) {
            (None, Some(_)) => self.imported_meanwhile(question)?,
            (known, _) => known,
        };
        let status = match revocation {
            _ if not_after.is_none() && !listed => CertStatus::Unknown,
            Some(Revocation { at, reason, .. }) => CertStatus::Revoked { at, reason },
            None => CertStatus::Good,
        };
        let is_revoked = matches!(status, CertStatus::Revoked { .. });
        let invalidity_date = revocation.filter(|_| is_revoked).and_then(|it| it.invalidity_date);
        Ok(Found { status, invalidity_date, not_after })
    }

    /// None: it was never issued.
    fn not_after_of(&self, question: &Question<'_>) -> Result<Option<Timestamp>, ServiceError> {
        let id = CertificateId { issuer: question.issuer().clone(), serial: question.serial().clone() };
        Ok(self.ports.store.read(|view| view.not_after(&id))?)
    }

    /// What a certificate is revoked or on hold for that is not listed, and that is being imported perhaps.
    fn imported_meanwhile(&self, question: &Question<'_>) -> Result<Option<Revocation>, ServiceError> {
        if !self.status.is_importing() {
            return Ok(None);
        }
        let id = CertificateId { issuer: question.issuer().clone(), serial: question.serial().clone() };
        Ok(status::revocation(&self.ports.store.read(|view| view.causes(&id))?))
    }

    /// What answers for an issuer now.
    fn responding<'a>(&self, answered: Answered<'a>, now: Timestamp) -> Result<Responding<'a>, Refusal> {
        match answered {
            Answered::Own(authority) => {
                let signer = self.settings.system.ocsp_signer_of(answered.line());
                Responding::of(authority, signer == OcspSigner::Ca, now)
            }
            Answered::External(external) => {
                Responding::for_external(external, self.signing_responder(external))
            }
        }
    }

    /// Whether nobody can answer for an issuer any more: it has expired, and with it whom it delegates.
    pub(super) fn ocsp_is_over(&self, answered: Answered<'_>) -> bool {
        let end = answered.certificate().validity().not_after;
        let is_delegated = match answered {
            Answered::Own(_) => true,
            Answered::External(external) => external.issuer.ocsp == OcspAuthority::Delegate,
        };
        is_delegated && end < self.now() && end < self.believed_now()
    }

    /// Whether it is known of a responder's certificate that it is revoked or on hold.
    pub(super) fn is_barred(&self, issuer: &IssuerId, serial: &SerialNumber) -> bool {
        matches!(self.status.standing(issuer, serial), Standing::Listed(_) | Standing::Inherited(_))
    }

    /// The same, by causes of its own.
    pub(super) fn is_listed(&self, issuer: &IssuerId, serial: &SerialNumber) -> bool {
        matches!(self.status.standing(issuer, serial), Standing::Listed(_))
    }

    /// What is different with an issuer.
    pub(super) fn ocsp_policy(&self, answered: Answered<'_>) -> OcspPolicy {
        self.settings.ocsp.issuers.get(answered.line()).copied().unwrap_or_default()
    }

    /// RFC 6960 §4.1.2: where requests have to be signed, only by somebody whose certificate is one of ours and good.
    fn check_requestor(&self, request: &OcspRequest) -> Result<(), Refusal> {
        let signature = request.signature.as_ref().ok_or(Refusal::SigRequired)?;
        let signer = signature.verify().map_err(|_| Refusal::Unauthorized)?;
        let fingerprint = signer.fingerprint();
        let record = self
            .ports
            .store
            .read(|view| Ok::<_, ServiceError>(view.certificate_by_fingerprint(&fingerprint)?))?;
        let good = record.is_some_and(|record| {
            record.validity.contains(self.now())
                && self.status.standing(&record.id.issuer, &record.id.serial) == Standing::NotListed
        });
        if good { Ok(()) } else { Err(Refusal::Unauthorized) }
    }
}

fn issuer_of<'a>(authorities: &'a Authorities, cert_id: &CertId) -> Option<Answered<'a>> {
    authorities.answered_by_cert_id(
        cert_id.algorithm()?,
        cert_id.issuer_name_hash(),
        cert_id.issuer_key_hash(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_of_its_kind_in_a_minute_is_news_unless_it_is_the_clients_doing() {
        let complaints = Complaints::default();
        let is_news = |refusal: &Refusal, second| complaints.is_news(refusal, Timestamp::from_unix(second));
        let [later, internal] =
            [Refusal::TryLater("no key".to_owned()), Refusal::Internal("defect".to_owned())];
        assert_eq!([is_news(&later, 6_000), is_news(&later, 6_059)], [true, false]);
        assert!(is_news(&internal, 6_059), "another kind");
        assert!(is_news(&later, 6_060));
        assert!(!is_news(&Refusal::Unauthorized, 9_000) && !is_news(&Refusal::SigRequired, 9_000));
    }
}
