//! `/tokens`.

use axum::{body::Bytes, extract::Path};

use super::{
    Answer, Created, created,
    session::{Session, body, named},
};
use crate::{
    domain::access::Administer,
    service::{
        Gateway, Listing,
        token::{CreatedToken, NewToken, TokenView},
    },
    types::TokenId,
};

pub(in super::super) async fn list(session: Session) -> Answer<Listing<TokenView>> {
    session.run::<Administer, _>(Gateway::tokens).await
}

pub(in super::super) async fn create(session: Session, bytes: Bytes) -> Created<CreatedToken> {
    let new: NewToken = body(&bytes)?;
    created(session.run::<Administer, _>(move |gateway, authed| gateway.create_token(authed, &new)).await)
}

pub(in super::super) async fn revoke(session: Session, Path(id): Path<String>) -> Answer<TokenView> {
    let id: TokenId = named("token", &id)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.revoke_token(authed, &id)).await
}
