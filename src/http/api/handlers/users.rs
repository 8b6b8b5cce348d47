//! `/users`.

use axum::{body::Bytes, extract::Path};

use super::{
    Answer, NoteRequest,
    session::{Params, Session, body, named},
};
use crate::{
    domain::{
        access::{Operate, Read},
        user::{UserDetails, UserEvent},
    },
    service::{
        Listing,
        user::{UserOutcome, UserView},
    },
    types::UserId,
};

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<UserView>> {
    params.only(&["after", "limit"])?;
    let page = params.page()?;
    session.run::<Read, _>(move |gateway, authed| gateway.users(authed, &page)).await
}

pub(in super::super) async fn show(session: Session, Path(id): Path<String>) -> Answer<UserView> {
    let id: UserId = named("user", &id)?;
    session.run::<Read, _>(move |gateway, authed| gateway.user(authed, &id)).await
}

pub(in super::super) async fn put(
    session: Session,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<UserView> {
    let id: UserId = named("user", &id)?;
    let details: UserDetails = body(&bytes)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.put_user(authed, &id, &details)).await
}

pub(in super::super) async fn enable(
    session: Session,
    id: Path<String>,
    bytes: Bytes,
) -> Answer<UserOutcome> {
    happen(session, id, &bytes, UserEvent::Enable).await
}

pub(in super::super) async fn disable(
    session: Session,
    id: Path<String>,
    bytes: Bytes,
) -> Answer<UserOutcome> {
    happen(session, id, &bytes, UserEvent::Disable).await
}

pub(in super::super) async fn delete(
    session: Session,
    id: Path<String>,
    bytes: Bytes,
) -> Answer<UserOutcome> {
    happen(session, id, &bytes, UserEvent::Delete).await
}

async fn happen(
    session: Session,
    Path(id): Path<String>,
    bytes: &Bytes,
    event: UserEvent,
) -> Answer<UserOutcome> {
    let id: UserId = named("user", &id)?;
    let NoteRequest { note } = body(bytes)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.user_event(authed, &id, event, &note)).await
}
