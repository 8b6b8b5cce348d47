//! The audit record: a hash chain of facts, each written in the transaction of the act that it records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::access::Actor;
use crate::types::{Fingerprint, RequestId, Timestamp};

/// A fact to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditFact {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// In which request.
    pub request: RequestId,
    /// What, as `object.verb` in the past tense: `certificate.issued`, `device.wiped`.
    pub action: String,
    /// On what: the object's textual id.
    pub object: String,
    /// Further facts, never a secret.
    pub detail: BTreeMap<String, String>,
}

/// A recorded fact with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// 1, 2, 3 ... without gaps.
    pub sequence: u64,
    /// [`AuditEvent::hash`] of the event before; zeros for the first.
    pub previous: Fingerprint,
    /// The fact.
    pub fact: AuditFact,
}

impl AuditEvent {
    /// SHA-256 over the sequence number, the previous hash and the fact, each length-prefixed.
    pub fn hash(&self) -> Fingerprint {
        todo!()
    }
}
