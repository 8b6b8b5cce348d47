//! The passwords that are open, where their number is limited.

use std::sync::{Mutex, PoisonError};

use super::ChallengeDenied;
use crate::{
    domain::challenge::TicketOrigin,
    ports::store::{Page, StoreResult},
    service::{Gateway, ServiceError},
    types::{TicketId, Timestamp},
};

/// The open passwords with their ends; none: not counted yet.
///
/// The tickets are what counts. This remembers which of them to look at, so that giving a password does not read them all.
#[derive(Debug, Default)]
pub struct PasswordCache(Mutex<Option<Vec<(TicketId, Timestamp)>>>);

impl Gateway {
    /// Runs `mint` if one more password may be open.
    pub(super) fn reserved<T>(
        &self,
        id: &TicketId,
        mint: impl FnOnce() -> Result<T, ServiceError>,
    ) -> Result<T, ChallengeDenied> {
        let Some(most) = self.settings.ndes.max_passwords else { return Ok(mint()?) };
        if !self.reserve(id, most.get())? {
            return Err(ChallengeDenied::CacheFull(most.get()));
        }
        let minted = mint();
        if minted.is_err() {
            self.release(id);
        }
        Ok(minted?)
    }

    /// Takes a place for a password that is about to be given. Used and withdrawn ones are looked for when no place is left.
    fn reserve(&self, id: &TicketId, most: usize) -> Result<bool, ServiceError> {
        let now = self.now();
        let mut places = self.passwords.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = match places.take() {
            Some(open) => open,
            None => self.open_passwords(now)?,
        };
        open.retain(|(_, ends)| *ends > now);
        if open.len() >= most {
            open = self.still_open(&open, now)?;
        }
        let free = open.len() < most;
        if free {
            open.push((id.clone(), now.plus(self.settings.ndes.password_lifetime)));
        }
        *places = Some(open);
        Ok(free)
    }

    fn release(&self, id: &TicketId) {
        let mut places = self.passwords.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = places.as_mut() {
            open.retain(|(other, _)| other != id);
        }
    }

    /// What was open when the process started.
    fn open_passwords(&self, now: Timestamp) -> Result<Vec<(TicketId, Timestamp)>, ServiceError> {
        const AT_A_TIME: usize = 1000;
        let found = self.ports.store.read(|view| -> StoreResult<_> {
            let (mut found, mut page) = (Vec::new(), Page::first(AT_A_TIME));
            loop {
                let tickets = view.tickets(&page)?;
                let Some(last) = tickets.last() else { break Ok(found) };
                page.after = Some(last.id.clone());
                let passwords = tickets
                    .into_iter()
                    .filter(|ticket| ticket.origin == TicketOrigin::NdesPage && ticket.usable(now).is_ok());
                found.extend(passwords.map(|ticket| (ticket.id, ticket.expires_at)));
            }
        });
        Ok(found?)
    }

    fn still_open(
        &self,
        open: &[(TicketId, Timestamp)],
        now: Timestamp,
    ) -> Result<Vec<(TicketId, Timestamp)>, ServiceError> {
        let still = self.ports.store.read(|view| -> StoreResult<_> {
            let mut still = Vec::new();
            for place in open {
                // One that is not there yet is being given right now.
                if view.ticket(&place.0)?.is_none_or(|ticket| ticket.usable(now).is_ok()) {
                    still.push(place.clone());
                }
            }
            Ok(still)
        });
        Ok(still?)
    }
}
