//! Audit: writing facts with the acts they record, and reading them back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Gateway, Listing, ServiceError};
use crate::{
    domain::{
        access::{Actor, Authed, Read},
        audit::{AuditEvent, AuditFact},
    },
    types::{Fingerprint, RequestId, Timestamp},
};

/// Events that are read at a time while the chain is verified.
const CHUNK: usize = 1000;

/// Who acts, in which request, when: what every fact of one use case shares.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who.
    pub actor: Actor,
    /// In which request.
    pub request: RequestId,
    /// When.
    pub at: Timestamp,
}

impl Act {
    /// An act of the caller that was checked.
    pub fn of<P>(authed: &Authed<P>, at: Timestamp) -> Self {
        let caller = authed.caller();
        Self { actor: caller.actor.clone(), request: caller.request.clone(), at }
    }

    /// The fact that this act did `action` (`object.verb`, past tense) to `object`.
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids, references and text alike")]
    pub fn fact(&self, action: &str, object: impl ToString, detail: &[(&str, String)]) -> AuditFact {
        let detail = detail.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        AuditFact {
            at: self.at,
            actor: self.actor.clone(),
            request: self.request.clone(),
            action: action.to_owned(),
            object: object.to_string(),
            detail: detail.collect::<BTreeMap<_, _>>(),
        }
    }
}

/// An event as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// 1, 2, 3 ... without gaps.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who, as text.
    pub actor: String,
    /// In which request.
    pub request: RequestId,
    /// What: `object.verb`.
    pub action: String,
    /// On what.
    pub object: String,
    /// Further facts.
    pub detail: BTreeMap<String, String>,
    /// Hash of this event.
    pub hash: Fingerprint,
}

impl From<AuditEvent> for AuditView {
    fn from(event: AuditEvent) -> Self {
        let hash = event.hash();
        Self {
            sequence: event.sequence,
            at: event.fact.at,
            actor: event.fact.actor.to_string(),
            request: event.fact.request,
            action: event.fact.action,
            object: event.fact.object,
            detail: event.fact.detail,
            hash,
        }
    }
}

/// Whether the record is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Every event follows the one before.
    pub intact: bool,
    /// How many events were checked.
    pub events: u64,
    /// Sequence number of the first event that does not follow the one before.
    pub broken_at: Option<u64>,
    /// Hash of the last event that was checked: write it down elsewhere, and a cut-off end shows too.
    pub head: Option<Fingerprint>,
}

impl Gateway {
    /// Events after sequence number `after`, oldest first.
    pub fn audit_events(
        &self,
        _authed: &Authed<Read>,
        after: u64,
        limit: usize,
    ) -> Result<Listing<AuditView>, ServiceError> {
        let events = self.ports.store.read(|view| view.audit_events(after, limit))?;
        let views = events.into_iter().map(AuditView::from).collect();
        Ok(Listing::page(views, limit, |event: &AuditView| event.sequence.to_string()))
    }

    /// The last `count` events, oldest first.
    pub fn audit_tail(
        &self,
        _authed: &Authed<Read>,
        count: usize,
    ) -> Result<Listing<AuditView>, ServiceError> {
        let events = self.ports.store.read(|view| {
            let last = view.last_audit_event()?.map_or(0, |event| event.sequence);
            view.audit_events(last.saturating_sub(count as u64), count)
        })?;
        Ok(Listing::whole(events.into_iter().map(AuditView::from).collect()))
    }

    /// Follows the hash chain from the first event to the last.
    pub fn verify_audit(&self, _authed: &Authed<Read>) -> Result<ChainReport, ServiceError> {
        let mut report = ChainReport { intact: true, events: 0, broken_at: None, head: None };
        let mut before: Option<AuditEvent> = None;
        loop {
            let after = before.as_ref().map_or(0, |event| event.sequence);
            let events = self.ports.store.read(|view| view.audit_events(after, CHUNK))?;
            if events.is_empty() {
                report.head = before.map(|event| event.hash());
                return Ok(report);
            }
            for event in events {
                if !continues(before.as_ref(), &event) {
                    (report.intact, report.broken_at) = (false, Some(event.sequence));
                    report.head = before.map(|event| event.hash());
                    return Ok(report);
                }
                report.events += 1;
                before = Some(event);
            }
        }
    }
}

fn continues(before: Option<&AuditEvent>, event: &AuditEvent) -> bool {
    match before {
        Some(before) => event.follows(before),
        None => event.sequence == 1 && event.previous == Fingerprint::from_bytes([0; 32]),
    }
}
