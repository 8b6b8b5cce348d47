//! `/issuers` and `/profiles`.

use axum::{body::Bytes, extract::Path};

use super::{
    Accepted, Answer, Created, accepted, created,
    session::{Session, body, named},
};
use crate::{
    domain::access::{Administer, Operate, Read},
    service::{
        Gateway, Listing,
        issuer::{ExternalIssuerView, IssuerView, ProfileView},
        ocsp::{PresignRequest, PresignView},
        responder::{NewResponder, NewResponderMode, NewResponderRequest, ResponderRequest, ResponderView},
        rollover::{CutOver, NewSuccessor},
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

pub(in super::super) async fn roll_over(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Created<IssuerView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let wanted: NewSuccessor = body(&bytes)?;
    let announced =
        session.run::<Administer, _>(move |gateway, authed| gateway.roll_over(authed, &issuer, &wanted));
    created(announced.await)
}

pub(in super::super) async fn cancel_rollover(
    session: Session,
    Path(issuer): Path<String>,
) -> Answer<IssuerView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.cancel_rollover(authed, &issuer)).await
}

pub(in super::super) async fn cut_over(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Answer<IssuerView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let wanted: CutOver = body(&bytes)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.cut_over(authed, &issuer, wanted)).await
}

pub(in super::super) async fn externals(session: Session) -> Answer<Listing<ExternalIssuerView>> {
    session.run::<Read, _>(Gateway::external_issuers).await
}

pub(in super::super) async fn external(
    session: Session,
    Path(issuer): Path<String>,
) -> Answer<ExternalIssuerView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Read, _>(move |gateway, authed| gateway.external_issuer(authed, &issuer)).await
}

pub(in super::super) async fn responder(
    session: Session,
    Path(issuer): Path<String>,
) -> Answer<ResponderView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Read, _>(move |gateway, authed| gateway.responder(authed, &issuer)).await
}

pub(in super::super) async fn set_responder_mode(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Answer<ResponderView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let new: NewResponderMode = body(&bytes)?;
    session
        .run::<Administer, _>(move |gateway, authed| gateway.set_responder_mode(authed, &issuer, &new))
        .await
}

pub(in super::super) async fn request_responder(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Answer<ResponderRequest> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let wanted: NewResponderRequest =
        if bytes.is_empty() { NewResponderRequest::default() } else { body(&bytes)? };
    session
        .run::<Administer, _>(move |gateway, authed| gateway.request_responder(authed, &issuer, &wanted))
        .await
}

pub(in super::super) async fn cancel_responder_request(
    session: Session,
    Path(issuer): Path<String>,
) -> Answer<ResponderView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session
        .run::<Administer, _>(move |gateway, authed| gateway.cancel_responder_request(authed, &issuer))
        .await
}

pub(in super::super) async fn install_responder(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Answer<ResponderView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let new: NewResponder = body(&bytes)?;
    session
        .run::<Administer, _>(move |gateway, authed| gateway.install_responder(authed, &issuer, &new))
        .await
}

pub(in super::super) async fn presign(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Accepted<PresignView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let wanted: PresignRequest = if bytes.is_empty() { PresignRequest::default() } else { body(&bytes)? };
    let run = session.run::<Operate, _>(move |gateway, authed| gateway.presign(authed, &issuer, &wanted));
    accepted(run.await)
}

pub(in super::super) async fn presigned(session: Session, Path(issuer): Path<String>) -> Answer<PresignView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Read, _>(move |gateway, authed| gateway.presigned(authed, &issuer)).await
}

pub(in super::super) async fn stop_presign(
    session: Session,
    Path(issuer): Path<String>,
) -> Answer<PresignView> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.stop_presign(authed, &issuer)).await
}

pub(in super::super) async fn profiles(session: Session) -> Answer<Listing<ProfileView>> {
    session.run::<Read, _>(Gateway::profiles).await
}

pub(in super::super) async fn profile(session: Session, Path(name): Path<String>) -> Answer<ProfileView> {
    let name: ProfileName = named("profile", &name)?;
    session.run::<Read, _>(move |gateway, authed| gateway.profile(authed, &name)).await
}
