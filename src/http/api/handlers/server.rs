//! `/status`, `/health`, `/health/probe`, `/jobs`, `/clock/accept`.

use super::{
    Answer,
    session::{Params, Session},
};
use crate::{
    domain::access::{Administer, Operate, Read},
    service::{
        Gateway, Listing,
        clock::AcceptedClock,
        health::{GatewayStatus, HealthReport},
        maintain::JobView,
        outside::probe::ProbeReport,
    },
};

pub(in super::super) async fn status(session: Session) -> Answer<GatewayStatus> {
    session.run::<Read, _>(Gateway::overview).await
}

pub(in super::super) async fn health(session: Session) -> Answer<HealthReport> {
    session.run::<Read, _>(|gateway, _| Ok(gateway.health())).await
}

/// Takes as long as those who are asked; one at a time, so that the pool has a thread left.
pub(in super::super) async fn probe(session: Session) -> Answer<ProbeReport> {
    session.run::<Operate, _>(Gateway::probe).await
}

pub(in super::super) async fn accept_clock(session: Session) -> Answer<AcceptedClock> {
    session.run::<Administer, _>(Gateway::accept_clock).await
}

pub(in super::super) async fn jobs(session: Session, params: Params) -> Answer<Listing<JobView>> {
    params.only(&["limit"])?;
    let limit = params.limit()?;
    session.run::<Read, _>(move |gateway, authed| gateway.jobs(authed, limit)).await
}
