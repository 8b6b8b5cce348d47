//! The audit record: a hash chain of facts, each written in the transaction of the act that it records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{access::Actor, digest::digest_of};
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
        let fact = &self.fact;
        let sequence = self.sequence.to_be_bytes();
        let at = fact.at.unix().to_be_bytes();
        let actor = actor_fields(&fact.actor);
        let mut parts: Vec<&[u8]> = vec![&sequence, self.previous.as_bytes(), &at];
        parts.extend(actor.iter().map(String::as_bytes));
        parts.extend([fact.request.as_str(), &fact.action, &fact.object].map(str::as_bytes));
        for (key, value) in &fact.detail {
            parts.extend([key.as_bytes(), value.as_bytes()]);
        }
        digest_of("certgate audit event 1", &parts)
    }

    /// Whether this event directly follows `before` in the chain.
    pub fn follows(&self, before: &Self) -> bool {
        before.sequence.checked_add(1) == Some(self.sequence) && self.previous == before.hash()
    }
}

/// The actor as three texts: kind, handle, name. Its own encoding, so that a change of the stored format
/// leaves old hashes valid.
fn actor_fields(actor: &Actor) -> [String; 3] {
    let (kind, handle, name) = match actor {
        Actor::Local { uid } => ("local", uid.to_string(), String::new()),
        Actor::Token { id, name } => ("token", id.to_string(), name.clone()),
        Actor::System => ("system", String::new(), String::new()),
        Actor::Device { peer } => ("device", peer.clone(), String::new()),
        Actor::Voucher { by } => ("voucher", by.to_string(), String::new()),
    };
    [kind.to_owned(), handle, name]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AuditEvent {
        AuditEvent {
            sequence: 1,
            previous: Fingerprint::from_bytes([0; 32]),
            fact: AuditFact {
                at: Timestamp::from_unix(1_800_000_000),
                actor: Actor::Local { uid: 0 },
                request: RequestId::from_random([7; 16]),
                action: "device.wiped".to_owned(),
                object: "SN1".to_owned(),
                detail: BTreeMap::from([("note".to_owned(), "left in a taxi".to_owned())]),
            },
        }
    }

    #[test]
    fn every_field_is_under_the_hash() {
        let original = event();
        let changes: [fn(&mut AuditEvent); 9] = [
            |e| e.sequence = 2,
            |e| e.previous = Fingerprint::from_bytes([1; 32]),
            |e| e.fact.at = Timestamp::from_unix(1_800_000_001),
            |e| e.fact.actor = Actor::Local { uid: 1 },
            |e| e.fact.actor = Actor::Device { peer: "0".to_owned() },
            |e| e.fact.request = RequestId::from_random([8; 16]),
            |e| e.fact.action = "device.retired".to_owned(),
            |e| e.fact.object = "SN2".to_owned(),
            |e| drop(e.fact.detail.insert("note".to_owned(), String::new())),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut other = event();
            change(&mut other);
            assert_ne!(other.hash(), original.hash(), "change {index}");
        }
    }

    #[test]
    fn a_chain_breaks_where_an_event_was_altered() {
        let first = event();
        let second = AuditEvent { sequence: 2, previous: first.hash(), fact: event().fact };
        assert!(second.follows(&first));
        let mut altered = first.clone();
        altered.fact.object = "SN9".to_owned();
        assert!(!second.follows(&altered));
        assert!(!first.follows(&second));
    }
}
