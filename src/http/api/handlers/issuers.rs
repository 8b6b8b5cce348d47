//! `/issuers` and `/profiles`.

use axum::extract::Path;

use super::{
    Answer,
    session::{Session, named},
};
use crate::{
    domain::access::Read,
    service::{
        Gateway, Listing,
        issuer::{IssuerView, ProfileView},
    },
    types::{IssuerId, ProfileName},
};

pub(in super::super) async fn list(session: Session) -> Answer<Listing<IssuerView>> {
    session.run::<Read, _>(Gateway::issuers).await
}

pub(in super::super) async fn show(session: Session, Path(issuer): Path<String>) -> Answer<IssuerView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Read, _>(move |gateway, authed| gateway.issuer(authed, &issuer)).await
}

pub(in super::super) async fn profiles(session: Session) -> Answer<Listing<ProfileView>> {
    session.run::<Read, _>(Gateway::profiles).await
}

pub(in super::super) async fn profile(session: Session, Path(name): Path<String>) -> Answer<ProfileView> {
    let name: ProfileName = named("profile", &name)?;
    session.run::<Read, _>(move |gateway, authed| gateway.profile(authed, &name)).await
}
