//! How many answers may be signed for one client alone.
//!
//! Whoever sends a nonce, or asks for several certificates at once, costs a signature with each request, which no cache saves. So there
//! are two bounds, and `tryLater` beyond each: how many such requests may wait for a thread (the edge's), and, where it is set, how many signatures a second they may cost, of one issuer and of
//! all together: for a key in a token that signs slowly, or one of many issuers that must not take what the others need. Answers that
//! many can share are never counted.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::issuer_of;
use crate::{
    domain::throttle::{Bucket, Pace},
    service::{
        Gateway,
        authority::Answered,
        metric::{self, label},
    },
    types::{IssuerId, Timestamp},
    wire::ocsp::OcspRequest,
};

/// What was spent lately: of all issuers together under no name, and of those that have a budget of their own. In memory: a
/// restart begins anew.
#[derive(Debug, Default)]
pub struct SigningBudget(Mutex<BTreeMap<Option<IssuerId>, Bucket>>);

impl SigningBudget {
    fn take(&self, whose: Option<&IssuerId>, pace: Pace, now: Timestamp) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = buckets.entry(whose.cloned()).or_default().take(pace, now).is_ok();
        if !taken {
            let limit = if whose.is_some() { "issuer" } else { "all" };
            metrics::counter!(metric::OCSP_OVER_BUDGET, label::LIMIT => limit).increment(1);
        }
        taken
    }
}

impl Gateway {
    /// Whether a signature may be spent on this request, whose answer nobody else can use. Counts it if so. Never blocks.
    pub fn ocsp_may_spend(&self, request: &OcspRequest) -> bool {
        let (settings, now) = (&self.settings.ocsp, self.now());
        if settings.issuers.values().any(|policy| policy.single_use.is_some()) {
            let authorities = self.authorities();
            let answered = request.cert_ids.iter().find_map(|cert_id| issuer_of(&authorities, cert_id));
            let line = answered.map(Answered::line);
            let pace = line.and_then(|line| Some((line, settings.issuers.get(line)?.single_use?)));
            if let Some((line, pace)) = pace
                && !self.ocsp_budget.take(Some(line), pace, now)
            {
                return false;
            }
        }
        settings.single_use.is_none_or(|pace| self.ocsp_budget.take(None, pace, now))
    }
}
