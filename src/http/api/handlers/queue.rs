//! `/queue`.

use axum::{body::Bytes, extract::Path};

use super::{
    Answer, NoteRequest,
    session::{Params, Session, body, named},
};
use crate::{
    domain::access::{Operate, Read},
    service::{Listing, queue::EnrolmentView},
    types::EnrolmentId,
};

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<EnrolmentView>> {
    params.only(&["limit"])?;
    let limit = params.limit()?;
    session.run::<Read, _>(move |gateway, authed| gateway.pending_enrolments(authed, limit)).await
}

pub(in super::super) async fn show(session: Session, Path(id): Path<String>) -> Answer<EnrolmentView> {
    let id: EnrolmentId = named("enrolment", &id)?;
    session.run::<Read, _>(move |gateway, authed| gateway.enrolment_view(authed, &id)).await
}

pub(in super::super) async fn approve(
    session: Session,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<EnrolmentView> {
    let id: EnrolmentId = named("enrolment", &id)?;
    let NoteRequest { note } = body(&bytes)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.approve_enrolment(authed, &id, &note)).await
}

pub(in super::super) async fn reject(
    session: Session,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<EnrolmentView> {
    let id: EnrolmentId = named("enrolment", &id)?;
    let NoteRequest { note } = body(&bytes)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.reject_enrolment(authed, &id, &note)).await
}
