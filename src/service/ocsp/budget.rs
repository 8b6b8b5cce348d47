//! How many answers may be signed for one client alone.
//!
//! Whoever sends a nonce, asks for several certificates at once, or prefers another signature algorithm than the usual one, costs a
//! signature with each request, which no cache saves. So there are two bounds, and `tryLater` beyond each unless something can be left
//! out ([`Gateway::ocsp_made_shared`]): how many such requests may wait for a thread (the edge's), and, where it is set, how many
//! signatures a second they may cost, of one issuer and of all together: for a key in a token that signs slowly, or one of many issuers that must not take what the others need. Answers that
//! many can share are never counted.
//!
//! What may be spent is shared among the clients that ask, so that one of them cannot use it up: see [`Shares`].

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::issuer_of;
use crate::{
    domain::throttle::{Bucket, ClientNetwork, Pace, Shares},
    service::{
        Gateway, OverBudget,
        authority::Answered,
        metric::{self, label},
    },
    types::{IssuerId, Timestamp},
    wire::ocsp::OcspRequest,
};

/// What was spent lately: of all issuers together under no name, and of those that have a budget of their own. In memory: a
/// restart begins anew.
#[derive(Debug, Default)]
pub struct SigningBudget(Mutex<BTreeMap<Option<IssuerId>, Spent>>);

#[derive(Debug, Default)]
struct Spent {
    bucket: Bucket,
    shares: Shares,
}

impl SigningBudget {
    fn take(
        &self,
        whose: Option<&IssuerId>,
        client: Option<ClientNetwork>,
        pace: Pace,
        now: Timestamp,
    ) -> bool {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Spent { bucket, shares } = budgets.entry(whose.cloned()).or_default();
        let limit = if !shares.ask(client, pace.number(), now) {
            "address"
        } else if bucket.take(pace, now).is_ok() {
            return true;
        } else if whose.is_some() {
            "issuer"
        } else {
            "all"
        };
        metrics::counter!(metric::OCSP_OVER_BUDGET, label::LIMIT => limit).increment(1);
        false
    }
}

impl Gateway {
    /// Whether a signature may be spent on this request of `client`, whose answer nobody else can use. Counts it if so. Never blocks.
    pub fn ocsp_may_spend(&self, request: &OcspRequest, client: IpAddr) -> bool {
        let client = Some(ClientNetwork::from(client));
        let (settings, now) = (&self.settings.ocsp, self.now());
        if settings.issuers.values().any(|policy| policy.single_use.is_some()) {
            let authorities = self.authorities();
            let answered = request.cert_ids.iter().find_map(|cert_id| issuer_of(&authorities, cert_id));
            let line = answered.map(Answered::line);
            let pace = line.and_then(|line| Some((line, settings.issuers.get(line)?.single_use?)));
            if let Some((line, pace)) = pace
                && !self.ocsp_budget.take(Some(line), client, pace, now)
            {
                return false;
            }
        }
        settings.single_use.is_none_or(|pace| self.ocsp_budget.take(None, client, pace, now))
    }

    /// What a request about one certificate becomes when no signature can be spent on it: a preferred signature algorithm is a preference
    /// (RFC 6960 §4.4.7.2), and the nonce is left out where that is wanted. A responder may do so (RFC 9654 §2.1, RFC 9919 §3.2.1), and the
    /// answer that all share is signed and fresh. None: there is nothing that could be left out.
    pub fn ocsp_made_shared(&self, request: &OcspRequest) -> Option<OcspRequest> {
        let ignores = self.settings.ocsp.over_budget == OverBudget::IgnoreNonce;
        let can = request.cert_ids.len() == 1 && (ignores || request.nonce.is_none());
        can.then(|| OcspRequest { nonce: None, preferred_signatures: Vec::new(), ..request.clone() })
    }
}
