//! `/tickets`.

use std::{fmt, time::Duration};

use axum::{body::Bytes, extract::Path};
use serde::{Deserialize, Serialize};

use super::{
    Answer, Created, created,
    session::{Params, Session, body, named},
};
use crate::{
    domain::access::{Mint, Operate, Read},
    service::{
        Listing,
        ticket::{NewTicket, TicketView},
    },
    types::{DeviceId, ProfileName, TicketId, UserId},
};

/// A ticket to be minted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketRequest {
    profile: ProfileName,
    #[serde(default)]
    device: Option<DeviceId>,
    #[serde(default)]
    user: Option<UserId>,
    #[serde(default)]
    uses: Option<u32>,
    #[serde(default)]
    lifetime_seconds: Option<u64>,
}

/// A ticket that was just minted, with its secret, this once.
#[derive(Serialize)]
pub(in super::super) struct CreatedTicket {
    ticket: TicketView,
    secret: String,
}

impl fmt::Debug for CreatedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedTicket").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

pub(in super::super) async fn create(session: Session, bytes: Bytes) -> Created<CreatedTicket> {
    let request: TicketRequest = body(&bytes)?;
    let wanted = NewTicket {
        profile: request.profile,
        device: request.device,
        user: request.user,
        lifetime: request.lifetime_seconds.map(Duration::from_secs),
        uses: request.uses,
    };
    let minted = session.run::<Mint, _>(move |gateway, authed| {
        let minted = gateway.create_ticket(authed, &wanted)?;
        let secret = String::from_utf8_lossy(minted.secret.expose()).into_owned();
        Ok(CreatedTicket { ticket: minted.ticket, secret })
    });
    created(minted.await)
}

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<TicketView>> {
    params.only(&["after", "limit"])?;
    let page = params.page()?;
    session.run::<Read, _>(move |gateway, authed| gateway.tickets(authed, &page)).await
}

pub(in super::super) async fn show(session: Session, Path(id): Path<String>) -> Answer<TicketView> {
    let id: TicketId = named("ticket", &id)?;
    session.run::<Read, _>(move |gateway, authed| gateway.ticket(authed, &id)).await
}

pub(in super::super) async fn cancel(session: Session, Path(id): Path<String>) -> Answer<TicketView> {
    let id: TicketId = named("ticket", &id)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.cancel_ticket(authed, &id)).await
}
