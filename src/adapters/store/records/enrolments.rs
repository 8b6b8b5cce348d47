//! Tickets and enrolments.

use serde::{Deserialize, Serialize};

use super::Records;
use crate::{
    adapters::store::{
        key::{self, Key},
        record,
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::{
        binding::Evidence,
        challenge::Ticket,
        enrol::{Enrolment, EnrolmentState},
    },
    ports::store::{Enrolments, EnrolmentsMut, Page, StoreResult, Tickets, TicketsMut},
    types::{DeviceId, EnrolmentId, Fingerprint, IssuerId, ProfileName, TicketId, TransactionId},
};

impl<R: Rows> Tickets for Records<R> {
    fn ticket(&self, id: &TicketId) -> StoreResult<Option<Ticket>> {
        self.0.record(Table::Tickets, id.as_str().as_bytes())
    }

    fn ticket_by_mac(&self, mac: &[u8; 32]) -> StoreResult<Option<Ticket>> {
        self.0.record_by(Table::TicketsByMac, mac, Table::Tickets)
    }

    fn tickets(&self, page: &Page<TicketId>) -> StoreResult<Vec<Ticket>> {
        let after = page.after.as_ref().map(|id| id.as_str().as_bytes().to_vec());
        self.0.records(Table::Tickets, &key::after(after), page.limit)
    }

    fn tickets_of_device(&self, device: &DeviceId) -> StoreResult<Vec<Ticket>> {
        let index = Table::TicketsByDevice;
        self.0.list(index, &key::starting_with(&key::tickets_of(device)), usize::MAX, |key, ticket| {
            self.0.indexed(index, key, Table::Tickets, ticket)
        })
    }
}

impl TicketsMut for Records<WriteRows<'_>> {
    fn put_ticket(&mut self, ticket: &Ticket) -> StoreResult<()> {
        let key = ticket.id.as_str().as_bytes();
        self.refuse_taken(Table::TicketsByMac, &ticket.secret_mac, key, "ticket", "has another one's MAC")?;
        let old = self.ticket(&ticket.id)?.map(|before| ticket_rows(&before)).unwrap_or_default();
        let new = ticket_rows(ticket);
        for (table, row) in old.iter().filter(|row| !new.contains(row)) {
            self.0.remove(*table, row)?;
        }
        for (table, row) in new.iter().filter(|row| !old.contains(row)) {
            self.0.put(*table, row, key)?;
        }
        self.0.put_record(Table::Tickets, key, ticket)
    }

    fn remove_ticket(&mut self, id: &TicketId) -> StoreResult<()> {
        let Some(ticket) = self.ticket(id)? else { return Ok(()) };
        for (table, row) in ticket_rows(&ticket) {
            self.0.remove(table, &row)?;
        }
        self.0.remove(Table::Tickets, id.as_str().as_bytes())
    }
}

/// The index rows that point to a ticket.
fn ticket_rows(ticket: &Ticket) -> Vec<(Table, Vec<u8>)> {
    let mut rows = vec![(Table::TicketsByMac, ticket.secret_mac.to_vec())];
    rows.extend(by_device(ticket).map(|row| (Table::TicketsByDevice, row)));
    rows
}

/// Its row among the tickets of its device.
pub(in crate::adapters::store) fn by_device(ticket: &Ticket) -> Option<Vec<u8>> {
    let of = Key::default().bytes(&key::tickets_of(ticket.device.as_ref()?));
    Some(of.bytes(ticket.id.as_str().as_bytes()).done())
}

/// An enrolment with its place in the order of arrival: what is newest, and who comes first, does not depend on a clock.
#[derive(Serialize, Deserialize)]
struct Arrived<E = Enrolment> {
    arrival: u64,
    enrolment: E,
}

/// The ticket that an enrolment of schema 4 used up, and the enrolment. Refused ones used none, nor did those that a webhook rejected: these
/// were decided when they came.
pub(in crate::adapters::store) fn use_of_4(
    key: &[u8],
    bytes: &[u8],
) -> StoreResult<Option<(TicketId, EnrolmentId)>> {
    let Arrived { enrolment, .. }: Arrived = record::decode(Table::Enrolments, key, bytes)?;
    let waited = enrolment.decided_at.is_some_and(|at| at > enrolment.received_at);
    let used = match enrolment.state {
        EnrolmentState::Pending | EnrolmentState::Issued { .. } => true,
        EnrolmentState::Rejected { .. } => waited,
        EnrolmentState::Refused { .. } => false,
    };
    Ok(match enrolment.evidence {
        Evidence::Ticket { id } if used => Some((id, enrolment.id)),
        _ => None,
    })
}

impl<R: Rows> Enrolments for Records<R> {
    fn enrolment(&self, id: &EnrolmentId) -> StoreResult<Option<Enrolment>> {
        let arrived: Option<Arrived> = self.0.record(Table::Enrolments, id.as_str().as_bytes())?;
        Ok(arrived.map(|arrived| arrived.enrolment))
    }

    fn enrolments(&self, page: &Page<EnrolmentId>) -> StoreResult<Vec<Enrolment>> {
        let after = page.after.as_ref().map(|id| id.as_str().as_bytes().to_vec());
        let arrived: Vec<Arrived> = self.0.records(Table::Enrolments, &key::after(after), page.limit)?;
        Ok(arrived.into_iter().map(|arrived| arrived.enrolment).collect())
    }

    fn enrolment_by_request(&self, request_key: &Fingerprint) -> StoreResult<Option<Enrolment>> {
        self.newest_enrolment(Table::EnrolmentsByRequest, request_key.as_bytes())
    }

    fn enrolment_by_transaction(
        &self,
        profile: &ProfileName,
        transaction: &TransactionId,
        signer_key: &Fingerprint,
    ) -> StoreResult<Option<Enrolment>> {
        let key = by_transaction(profile, transaction, signer_key).done();
        self.newest_enrolment(Table::EnrolmentsByTransaction, &key)
    }

    fn pending_enrolments(&self, limit: usize) -> StoreResult<Vec<Enrolment>> {
        let index = Table::EnrolmentsPending;
        self.0.list(index, &key::ALL, limit, |key, id| {
            let arrived: Arrived = self.0.indexed(index, key, Table::Enrolments, id)?;
            Ok(arrived.enrolment)
        })
    }

    fn count_pending_enrolments(&self) -> StoreResult<u64> {
        self.0.count(Table::EnrolmentsPending)
    }

    fn enrolment_issuer(&self, id: &EnrolmentId) -> StoreResult<Option<IssuerId>> {
        self.0.record(Table::EnrolmentIssuers, id.as_str().as_bytes())
    }
}

impl<R: Rows> Records<R> {
    /// The last to arrive of those that `index` has under `prefix`.
    fn newest_enrolment(&self, index: Table, prefix: &[u8]) -> StoreResult<Option<Enrolment>> {
        let newest = self.0.last(index, &key::starting_with(prefix), |key, id| {
            self.0.indexed::<Arrived>(index, key, Table::Enrolments, id)
        })?;
        Ok(newest.map(|arrived| arrived.enrolment))
    }
}

impl EnrolmentsMut for Records<WriteRows<'_>> {
    fn put_enrolment(&mut self, enrolment: &Enrolment) -> StoreResult<()> {
        let key = enrolment.id.as_str().as_bytes();
        let before: Option<Arrived> = self.0.record(Table::Enrolments, key)?;
        let arrival = match &before {
            Some(before) => before.arrival,
            None => self.next_number("enrolments")?,
        };
        let old = before.map(|before| index_rows(arrival, &before.enrolment)).unwrap_or_default();
        let new = index_rows(arrival, enrolment);
        for (table, row) in old.iter().filter(|row| !new.contains(row)) {
            self.0.remove(*table, row)?;
        }
        for (table, row) in new.iter().filter(|row| !old.contains(row)) {
            self.0.put(*table, row, key)?;
        }
        self.0.put_record(Table::Enrolments, key, &Arrived { arrival, enrolment })
    }

    fn remove_enrolment(&mut self, id: &EnrolmentId) -> StoreResult<()> {
        let key = id.as_str().as_bytes();
        let Some(Arrived { arrival, enrolment }) = self.0.record(Table::Enrolments, key)? else {
            return Ok(());
        };
        for (table, row) in index_rows(arrival, &enrolment) {
            self.0.remove(table, &row)?;
        }
        self.0.remove(Table::EnrolmentIssuers, key)?;
        self.0.remove(Table::Enrolments, key)
    }

    fn put_enrolment_issuer(&mut self, id: &EnrolmentId, issuer: &IssuerId) -> StoreResult<()> {
        self.0.put_record(Table::EnrolmentIssuers, id.as_str().as_bytes(), issuer)
    }
}

/// The index rows that point to an enrolment.
fn index_rows(arrival: u64, enrolment: &Enrolment) -> Vec<(Table, Vec<u8>)> {
    let request = Key::default().bytes(enrolment.request_key.as_bytes()).number(arrival);
    let transaction =
        by_transaction(&enrolment.profile, &enrolment.transaction, &enrolment.signer_key).number(arrival);
    let mut rows = vec![
        (Table::EnrolmentsByRequest, request.done()),
        (Table::EnrolmentsByTransaction, transaction.done()),
    ];
    if enrolment.state == EnrolmentState::Pending {
        rows.push((Table::EnrolmentsPending, key::number(arrival)));
    }
    rows
}

fn by_transaction(profile: &ProfileName, transaction: &TransactionId, signer_key: &Fingerprint) -> Key {
    Key::default().text(profile.as_str()).text(transaction.as_str()).bytes(signer_key.as_bytes())
}
