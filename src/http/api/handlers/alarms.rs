//! `/alarms`.

use axum::extract::Path;

use super::{
    Answer,
    session::{Session, named},
};
use crate::{
    domain::{
        access::{Operate, Read},
        alarm::TicketAlarm,
    },
    service::{Gateway, Listing},
    types::TicketId,
};

pub(in super::super) async fn list(session: Session) -> Answer<Listing<TicketAlarm>> {
    session.run::<Read, _>(Gateway::alarms).await
}

pub(in super::super) async fn acknowledge(session: Session, Path(id): Path<String>) -> Answer<TicketAlarm> {
    let id: TicketId = named("ticket", &id)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.acknowledge_alarm(authed, &id)).await
}
