//! The OCSP responder (RFC 6960, RFC 9654, RFC 9919).
//!
//! - Issuers are found by their CertID. Where no CertID of a request is of an issuer of ours, the answer is `unauthorized`
//!   (RFC 9919 §3.2.3).
//! - A request may name certificates of several issuers. A delegated responder speaks for one issuer only (RFC 6960 §4.2.2.2), so
//!   the responder of the first issuer that is ours answers, and says `unknown` of the certificates of others.
//! - A serial that the issuer never issued is `unknown`, never `good`. Such answers are not cached: the serial may be issued later.
//! - Where store or key cannot be used, a cached answer is given out until its nextUpdate, then `tryLater`; never a guess.
//! - Only answers about one certificate and without a nonce are cached. When clients come back for a newer one is spread
//!   (RFC 9919 §7.1): see [`pace`].
//! - A CA that is revoked or on hold still has its delegated responder answer: all that it issued is `revoked` then (RFC 6960 §2.7
//!   allows it where the key is compromised; of the other reasons see [`crate::domain::status`]). The responder's own certificate is
//!   no exception, but nobody asks: it has id-pkix-ocsp-nocheck.

mod cache;
mod pace;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

pub use cache::AnswerCache;
use cache::Entry;

use super::{
    Gateway, OcspSettings, ServiceError,
    authority::{Authorities, Authority, Responder},
    status::{Epoch, Standing},
};
use crate::{
    domain::status::Revocation,
    types::{CertificateId, Fingerprint, RevocationReason, SerialNumber, Timestamp},
    wire::ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, ResponseSpec, SingleResponse},
};

/// How often an answer is computed again when the status moves while it is being signed.
const ATTEMPTS: usize = 3;

/// An answer with what HTTP needs to know (RFC 9919 §6).
#[derive(Clone, Debug)]
pub struct OcspAnswer {
    /// DER of the OCSPResponse.
    pub body: Bytes,
    /// Present for answers that HTTP may cache; absent for errors and answers with a nonce.
    pub caching: Option<Arc<OcspCaching>>,
    /// For metrics: good, revoked, unknown, unauthorized, malformed, try-later, internal.
    pub result: &'static str,
}

/// What the cache headers say (RFC 9919 §6), as HTTP writes it: made once, when the answer is signed.
#[derive(Clone, Debug)]
pub struct OcspCaching {
    /// nextUpdate.
    pub next_update: Timestamp,
    /// How long others may keep it before they ask again; where less is left until nextUpdate, that.
    pub max_age: Duration,
    /// Cache-Control with this max-age, see [`OcspCaching::cache_control`].
    cache_control: Bytes,
    /// thisUpdate, which is also producedAt.
    pub last_modified: Bytes,
    /// nextUpdate.
    pub expires: Bytes,
    /// Hex SHA-256 of the body, in quotes.
    pub etag: Bytes,
}

/// Why there is no signed answer, by what the client is told.
#[derive(Debug)]
enum Refusal {
    /// malformedRequest.
    Malformed,
    /// unauthorized: no issuer of ours.
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
    fn answer(&self) -> OcspAnswer {
        let (status, result) = match self {
            Self::Malformed => (ErrorStatus::MalformedRequest, "malformed"),
            Self::Unauthorized => (ErrorStatus::Unauthorized, "unauthorized"),
            Self::TryLater(reason) => {
                tracing::warn!(%reason, "ocsp: try later");
                (ErrorStatus::TryLater, "try-later")
            }
            Self::Internal(reason) => {
                tracing::error!(%reason, "ocsp: internal error");
                (ErrorStatus::InternalError, "internal")
            }
        };
        OcspAnswer { body: Bytes::copy_from_slice(&status.to_der()), caching: None, result }
    }
}

/// Cache-Control of an answer that others may keep for `max_age` (RFC 9919 §6).
fn cache_control(max_age: Duration) -> String {
    format!("max-age={}, public, no-transform, must-revalidate", max_age.as_secs())
}

impl OcspCaching {
    /// Cache-Control at `now`: made beforehand, but for an answer that is given out longer than it should be because no newer one
    /// can be signed.
    pub fn cache_control(&self, now: Timestamp) -> Bytes {
        let left = self.next_update.since(now);
        if left < self.max_age { cache_control(left).into() } else { self.cache_control.clone() }
    }
}

impl OcspAnswer {
    /// tryLater: for an edge that is overloaded.
    pub fn try_later() -> Self {
        Self {
            body: Bytes::copy_from_slice(&ErrorStatus::TryLater.to_der()),
            caching: None,
            result: "try-later",
        }
    }

    /// malformedRequest: for an edge that cannot even find the request.
    pub fn malformed() -> Self {
        Refusal::Malformed.answer()
    }
}

/// One certificate that is asked about, with the issuer that answers.
struct Question<'a> {
    authority: &'a Authority,
    cert_id: &'a CertId,
}

impl Question<'_> {
    fn serial(&self) -> &SerialNumber {
        self.cert_id.serial()
    }
}

impl Gateway {
    /// The cached answer to exactly these request bytes, if there is a fresh one. Never blocks, never signs: for the async edge.
    pub fn ocsp_cached(&self, request: &[u8]) -> Option<OcspAnswer> {
        self.ocsp.of_request(request, self.now())
    }

    /// Answers any request.
    pub fn ocsp(&self, request: &[u8]) -> OcspAnswer {
        self.ocsp_answer(request).unwrap_or_else(|refusal| refusal.answer())
    }

    fn ocsp_answer(&self, bytes: &[u8]) -> Result<OcspAnswer, Refusal> {
        let request = OcspRequest::from_der(bytes).map_err(|error| {
            tracing::debug!(%error, "ocsp: malformed request");
            Refusal::Malformed
        })?;
        let authorities = self.authorities();
        let authority = request
            .cert_ids
            .iter()
            .find_map(|cert_id| issuer_of(&authorities, cert_id))
            .ok_or(Refusal::Unauthorized)?;
        match (request.cert_ids.as_slice(), &request.nonce) {
            ([cert_id], None) => self.cacheable_answer(bytes, &Question { authority, cert_id }),
            (cert_ids, nonce) => self.single_use_answer(&authorities, authority, cert_ids, nonce.as_deref()),
        }
    }

    /// An answer about one certificate without a nonce: from the cache, or signed and remembered.
    fn cacheable_answer(&self, bytes: &[u8], question: &Question<'_>) -> Result<OcspAnswer, Refusal> {
        let (issuer, serial) = (&question.authority.issuer.id, question.serial());
        let _turn = self.ocsp.signing_turn(issuer, serial);
        let cached = self.ocsp.of_cert_id(issuer, serial, question.cert_id.as_der());
        if let Some(entry) = &cached
            && let Some(answer) = entry.fresh(self.now())
        {
            self.ocsp.remember_request(bytes, entry, self.now());
            return Ok(answer);
        }
        match self.signed_and_remembered(bytes, question) {
            Err(Refusal::TryLater(reason)) => {
                // The status has not moved, or the entry would be dead: what it says still holds until its nextUpdate.
                let still_valid = cached.and_then(|entry| entry.valid(self.now()));
                still_valid.ok_or(Refusal::TryLater(reason))
            }
            outcome => outcome,
        }
    }

    fn signed_and_remembered(&self, bytes: &[u8], question: &Question<'_>) -> Result<OcspAnswer, Refusal> {
        let (issuer, serial) = (&question.authority.issuer.id, question.serial());
        for _ in 0..ATTEMPTS {
            let epoch = self.status.epoch(issuer, serial);
            let now = self.now();
            let responder = responder_of(question.authority, now)?;
            let response = self.single_response(question, responder, now)?;
            let signed = sign(question.authority, responder, std::slice::from_ref(&response), None, now)?;
            let answer = answer_of(signed, &response);
            if self.remember(bytes, question, &response, &answer, epoch) {
                return Ok(answer);
            }
        }
        Err(Refusal::TryLater("the status keeps moving while the answer is signed".to_owned()))
    }

    /// False: the status moved since `epoch`, and the answer must not leave.
    fn remember(
        &self,
        bytes: &[u8],
        question: &Question<'_>,
        response: &SingleResponse,
        answer: &OcspAnswer,
        epoch: Epoch,
    ) -> bool {
        let (issuer, serial) = (&question.authority.issuer.id, question.serial());
        let moved = || self.status.epoch(issuer, serial) != epoch;
        let Some(next_update) = response.next_update.filter(|_| answer.caching.is_some()) else {
            return !moved();
        };
        let (cert_id, now) = (question.cert_id.as_der(), response.this_update);
        let entry = Entry::new(cert_id, answer.clone(), now, next_update);
        let remembered = self.ocsp.insert(issuer, serial, &entry, now, moved);
        if remembered {
            self.ocsp.remember_request(bytes, &entry, now);
        }
        remembered
    }

    /// An answer that is not cached: with a nonce, or about several certificates.
    fn single_use_answer(
        &self,
        authorities: &Authorities,
        authority: &Arc<Authority>,
        cert_ids: &[CertId],
        nonce: Option<&[u8]>,
    ) -> Result<OcspAnswer, Refusal> {
        let epochs = || {
            cert_ids.iter().map(|id| self.status.epoch(&authority.issuer.id, id.serial())).collect::<Vec<_>>()
        };
        for _ in 0..ATTEMPTS {
            let before = epochs();
            let now = self.now();
            let responder = responder_of(authority, now)?;
            let responses = cert_ids
                .iter()
                .map(|cert_id| self.response_for(authorities, authority, responder, cert_id, now))
                .collect::<Result<Vec<_>, _>>()?;
            let body = sign(authority, responder, &responses, nonce, now)?;
            if epochs() == before {
                let result = responses.first().map_or("unknown", |response| word(&response.status));
                return Ok(OcspAnswer { body: body.into(), caching: None, result });
            }
        }
        Err(Refusal::TryLater("the status keeps moving while the answer is signed".to_owned()))
    }

    fn response_for(
        &self,
        authorities: &Authorities,
        authority: &Arc<Authority>,
        responder: &Responder,
        cert_id: &CertId,
        now: Timestamp,
    ) -> Result<SingleResponse, Refusal> {
        let ours =
            issuer_of(authorities, cert_id).is_some_and(|other| other.issuer.id == authority.issuer.id);
        if ours {
            return self.single_response(&Question { authority, cert_id }, responder, now);
        }
        Ok(response_of(cert_id, CertStatus::Unknown, &self.settings.ocsp, responder, now))
    }

    fn single_response(
        &self,
        question: &Question<'_>,
        responder: &Responder,
        now: Timestamp,
    ) -> Result<SingleResponse, Refusal> {
        let status = self.cert_status(question)?;
        Ok(response_of(question.cert_id, status, &self.settings.ocsp, responder, now))
    }

    fn cert_status(&self, question: &Question<'_>) -> Result<CertStatus, Refusal> {
        let issuer = &question.authority.issuer.id;
        match self.status.standing(issuer, question.serial()) {
            Standing::Listed(revocation) => {
                Ok(CertStatus::Revoked { at: revocation.at, reason: revocation.reason })
            }
            Standing::Unsettled => {
                Err(Refusal::TryLater("the causes could not be read after they changed".to_owned()))
            }
            Standing::Inherited(Revocation { at, reason, .. }) => {
                let known = self.is_issued(question)?;
                Ok(if known { CertStatus::Revoked { at, reason } } else { CertStatus::Unknown })
            }
            Standing::NotListed => {
                Ok(if self.is_issued(question)? { CertStatus::Good } else { CertStatus::Unknown })
            }
        }
    }

    fn is_issued(&self, question: &Question<'_>) -> Result<bool, ServiceError> {
        let issuer = question.authority.issuer.id.clone();
        let id = CertificateId { issuer, serial: question.serial().clone() };
        self.ports.store.read(|view| Ok(view.is_issued(&id)?))
    }
}

fn issuer_of<'a>(authorities: &'a Authorities, cert_id: &CertId) -> Option<&'a Arc<Authority>> {
    authorities.issuer_by_cert_id(cert_id.algorithm()?, cert_id.issuer_name_hash(), cert_id.issuer_key_hash())
}

/// The delegated responder, if its certificate is valid now.
fn responder_of(authority: &Authority, now: Timestamp) -> Result<&Responder, Refusal> {
    let responder = authority.ocsp.as_ref().filter(|it| it.certificate.validity().contains(now));
    responder
        .ok_or_else(|| Refusal::TryLater(format!("issuer {} has no valid OCSP signer", authority.issuer.id)))
}

fn response_of(
    cert_id: &CertId,
    status: CertStatus,
    settings: &OcspSettings,
    responder: &Responder,
    now: Timestamp,
) -> SingleResponse {
    let next_update = now.plus(window(&status, settings)).min(responder.certificate.validity().not_after);
    SingleResponse { cert_id: cert_id.clone(), status, this_update: now, next_update: Some(next_update) }
}

fn window(status: &CertStatus, settings: &OcspSettings) -> Duration {
    match status {
        CertStatus::Good | CertStatus::Unknown => settings.good,
        CertStatus::Revoked { reason: RevocationReason::CertificateHold, .. } => settings.hold,
        CertStatus::Revoked { .. } => settings.revoked,
    }
}

fn sign(
    authority: &Authority,
    responder: &Responder,
    responses: &[SingleResponse],
    nonce: Option<&[u8]>,
    now: Timestamp,
) -> Result<Vec<u8>, Refusal> {
    // producedAt == thisUpdate: then RFC 9919 §6 and §7.2 agree on Last-Modified.
    let spec = ResponseSpec { responder: &responder.certificate, produced_at: now, responses, nonce };
    // The responder's key may be of another kind than its issuer's: a P-384 issuer has a P-256 responder.
    let key = responder.signer.algorithm();
    let algorithm = key.signature(key.digest(authority.issuer.digest));
    let unsigned = spec.unsigned(algorithm).map_err(ServiceError::from)?;
    let signature = responder.signer.sign(algorithm, unsigned.to_be_signed()).map_err(ServiceError::from)?;
    Ok(unsigned.finish(&signature).map_err(ServiceError::from)?)
}

fn answer_of(body: Vec<u8>, response: &SingleResponse) -> OcspAnswer {
    let caching =
        response.next_update.filter(|_| response.status != CertStatus::Unknown).map(|next_update| {
            let digest = Fingerprint::of(&body);
            let max_age = pace::max_age(next_update.since(response.this_update), &digest);
            Arc::new(OcspCaching {
                next_update,
                max_age,
                cache_control: cache_control(max_age).into(),
                last_modified: response.this_update.to_http_date().into(),
                expires: next_update.to_http_date().into(),
                etag: format!("\"{digest}\"").into(),
            })
        });
    OcspAnswer { body: body.into(), caching, result: word(&response.status) }
}

fn word(status: &CertStatus) -> &'static str {
    match status {
        CertStatus::Good => "good",
        CertStatus::Revoked { .. } => "revoked",
        CertStatus::Unknown => "unknown",
    }
}
