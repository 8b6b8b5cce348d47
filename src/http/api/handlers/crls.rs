//! `/crls`.

use axum::extract::Path;

use super::{
    Answer,
    session::{Session, named},
};
use crate::{
    domain::access::{Operate, Read},
    service::{Gateway, Listing, crl::CrlView},
    types::IssuerId,
};

pub(in super::super) async fn list(session: Session) -> Answer<Listing<CrlView>> {
    session.run::<Read, _>(Gateway::crls).await
}

pub(in super::super) async fn show(session: Session, Path(issuer): Path<String>) -> Answer<CrlView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Read, _>(move |gateway, authed| gateway.show_crl(authed, &issuer)).await
}

pub(in super::super) async fn publish(session: Session, Path(issuer): Path<String>) -> Answer<CrlView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.publish_crl_view(authed, &issuer)).await
}
