//! An answer, and what HTTP is told of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::pace;
use crate::{
    types::{Fingerprint, Timestamp},
    wire::ocsp::{CertStatus, ErrorStatus, SingleResponse},
};

/// An answer with what HTTP needs to know (RFC 9919 §6).
#[derive(Clone, Debug)]
pub struct OcspAnswer {
    /// DER of the OCSPResponse.
    pub body: Bytes,
    /// Present for answers that HTTP may cache; absent for errors and answers with a nonce.
    pub caching: Option<Arc<OcspCaching>>,
    /// For metrics: good, revoked, unknown, unauthorized, sig-required, malformed, try-later, internal.
    pub result: &'static str,
}

/// What the cache headers say (RFC 9919 §6), as HTTP writes it: made once, when the answer is signed.
#[derive(Clone, Debug)]
pub struct OcspCaching {
    /// thisUpdate, which is also producedAt.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// Whoever has a copy of this date or a later one has this answer, or one that says the same.
    pub modified: Timestamp,
    /// How long others may keep it before they ask again; where less is left until nextUpdate, that.
    pub max_age: Duration,
    /// Cache-Control with this max-age, see [`OcspCaching::cache_control`].
    cache_control: Bytes,
    /// thisUpdate.
    pub last_modified: Bytes,
    /// nextUpdate.
    pub expires: Bytes,
    /// Hex SHA-256 of the body, in quotes.
    pub etag: Bytes,
}

impl OcspAnswer {
    /// tryLater: for an edge that is overloaded.
    pub fn try_later() -> Self {
        Self::error(ErrorStatus::TryLater, "try-later")
    }

    /// malformedRequest: for an edge that cannot even find the request.
    pub fn malformed() -> Self {
        Self::error(ErrorStatus::MalformedRequest, "malformed")
    }

    /// internalError: for an edge whose call did not come back.
    pub fn internal() -> Self {
        Self::error(ErrorStatus::InternalError, "internal")
    }

    pub(super) fn error(status: ErrorStatus, result: &'static str) -> Self {
        Self { body: Bytes::copy_from_slice(&status.to_der()), caching: None, result }
    }

    /// Copies that are not later than `forgotten` may say something else.
    pub(super) fn not_before(&mut self, forgotten: Timestamp) {
        if let Some(caching) = &mut self.caching {
            let modified = caching.this_update.max(forgotten.plus(Duration::from_secs(1)));
            Arc::make_mut(caching).modified = modified;
        }
    }

    /// A signed answer that nobody may keep: made for one client alone.
    pub(super) fn single_use(body: Vec<u8>, first: Option<&SingleResponse>) -> Self {
        Self { body: body.into(), caching: None, result: first.map_or("unknown", |it| word(&it.status)) }
    }

    /// A signed answer about one certificate.
    pub(super) fn of(body: Vec<u8>, response: &SingleResponse) -> Self {
        let next_update = response.next_update.filter(|_| response.status != CertStatus::Unknown);
        let caching = next_update
            .map(|next_update| Arc::new(OcspCaching::new(&body, response.this_update, next_update)));
        Self { body: body.into(), caching, result: word(&response.status) }
    }
}

impl OcspCaching {
    fn new(body: &[u8], this_update: Timestamp, next_update: Timestamp) -> Self {
        let digest = Fingerprint::of(body);
        let max_age = pace::max_age(next_update.since(this_update), &digest);
        Self {
            this_update,
            next_update,
            modified: this_update,
            max_age,
            cache_control: cache_control(max_age).into(),
            last_modified: this_update.to_http_date().into(),
            expires: next_update.to_http_date().into(),
            etag: format!("\"{digest}\"").into(),
        }
    }

    /// Cache-Control at `now`: made beforehand, but for an answer that is given out longer than it should be because no newer one
    /// can be signed.
    pub fn cache_control(&self, now: Timestamp) -> Bytes {
        let left = self.next_update.since(now);
        if left < self.max_age { cache_control(left).into() } else { self.cache_control.clone() }
    }
}

/// Cache-Control of an answer that others may keep for `max_age` (RFC 9919 §6).
fn cache_control(max_age: Duration) -> String {
    format!("max-age={}, public, no-transform, must-revalidate", max_age.as_secs())
}

fn word(status: &CertStatus) -> &'static str {
    match status {
        CertStatus::Good => "good",
        CertStatus::Revoked { .. } => "revoked",
        CertStatus::Unknown => "unknown",
    }
}
