//! Audit: writing facts with the acts they record, and reading them back.

use std::collections::BTreeMap;

use crate::{
    domain::{access::Actor, audit::AuditFact},
    types::{RequestId, Timestamp},
};

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
    /// The fact that this act did `action` (`object.verb`, past tense) to `object`.
    pub fn fact(&self, action: &str, object: impl ToString, detail: &[(&str, String)]) -> AuditFact {
        AuditFact {
            at: self.at,
            actor: self.actor.clone(),
            request: self.request.clone(),
            action: action.to_owned(),
            object: object.to_string(),
            detail: detail.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>(),
        }
    }
}
