//! `/status`, `/health`, `/jobs`.

use super::{
    Answer,
    session::{Params, Session},
};
use crate::{
    domain::access::Read,
    service::{
        Gateway, Listing,
        health::{GatewayStatus, HealthReport},
        maintain::JobView,
    },
};

pub(in super::super) async fn status(session: Session) -> Answer<GatewayStatus> {
    session.run::<Read, _>(Gateway::overview).await
}

pub(in super::super) async fn health(session: Session) -> Answer<HealthReport> {
    session.run::<Read, _>(|gateway, _| Ok(gateway.health())).await
}

pub(in super::super) async fn jobs(session: Session, params: Params) -> Answer<Listing<JobView>> {
    let limit = params.limit()?;
    session.run::<Read, _>(move |gateway, authed| gateway.jobs(authed, limit)).await
}
