//! The audit record and API tokens.

use super::Records;
use crate::{
    adapters::store::{
        key, record,
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::{
        access::ApiToken,
        audit::{AuditEvent, AuditFact},
    },
    ports::store::{Audit, AuditMut, StoreResult, Tokens, TokensMut},
    types::{Fingerprint, TokenId},
};

impl<R: Rows> Audit for Records<R> {
    fn audit_events(&self, after: u64, limit: usize) -> StoreResult<Vec<AuditEvent>> {
        self.0.records(Table::Audit, &key::after(Some(key::number(after))), limit)
    }

    fn last_audit_event(&self) -> StoreResult<Option<AuditEvent>> {
        self.0.last(Table::Audit, &key::ALL, |key, bytes| record::decode(Table::Audit, key, bytes))
    }
}

impl AuditMut for Records<WriteRows<'_>> {
    fn append_audit(&mut self, fact: &AuditFact) -> StoreResult<()> {
        let last = self.last_audit_event()?;
        let (sequence, previous) = match &last {
            Some(last) => (last.sequence.saturating_add(1), last.hash()),
            None => (1, Fingerprint::from_bytes([0; 32])),
        };
        let event = AuditEvent { sequence, previous, fact: fact.clone() };
        self.0.put_record(Table::Audit, &key::number(sequence), &event)
    }
}

impl<R: Rows> Tokens for Records<R> {
    fn token_by_mac(&self, mac: &[u8; 32]) -> StoreResult<Option<ApiToken>> {
        self.0.record_by(Table::TokensByMac, mac, Table::Tokens)
    }

    fn tokens(&self) -> StoreResult<Vec<ApiToken>> {
        self.0.records(Table::Tokens, &key::ALL, usize::MAX)
    }
}

impl TokensMut for Records<WriteRows<'_>> {
    fn put_token(&mut self, token: &ApiToken) -> StoreResult<()> {
        let key = token.id.as_str().as_bytes();
        self.refuse_taken(Table::TokensByMac, &token.secret_mac, key, "token", "has another one's MAC")?;
        let before: Option<ApiToken> = self.0.record(Table::Tokens, key)?;
        if let Some(before) = before.filter(|before| before.secret_mac != token.secret_mac) {
            self.0.remove(Table::TokensByMac, &before.secret_mac)?;
        }
        self.0.put(Table::TokensByMac, &token.secret_mac, key)?;
        self.0.put_record(Table::Tokens, key, token)
    }

    fn remove_token(&mut self, id: &TokenId) -> StoreResult<()> {
        let key = id.as_str().as_bytes();
        let before: Option<ApiToken> = self.0.record(Table::Tokens, key)?;
        if let Some(before) = before {
            self.0.remove(Table::TokensByMac, &before.secret_mac)?;
            self.0.remove(Table::Tokens, key)?;
        }
        Ok(())
    }
}
