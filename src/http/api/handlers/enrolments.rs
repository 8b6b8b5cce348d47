//! `/enrolments`: the trace of SCEP requests.

use axum::extract::Path;

use super::{
    Answer,
    session::{Params, Session},
};
use crate::{
    domain::{access::Read, exchange::Exchange},
    service::{
        Listing,
        exchange::{ExchangeFilter, TraceView},
    },
};

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<Exchange>> {
    params.only(&["after", "limit", "device", "profile", "address", "result", "since", "transaction"])?;
    let page = params.page()?;
    let filter = ExchangeFilter {
        device: params.get("device")?,
        profile: params.get("profile")?,
        address: params.get("address")?,
        result: params.get("result")?,
        since: params.get("since")?,
        transaction: params.get("transaction")?,
    };
    session.run::<Read, _>(move |gateway, authed| gateway.exchanges(authed, &filter, &page)).await
}

pub(in super::super) async fn show(session: Session, Path(name): Path<String>) -> Answer<Vec<TraceView>> {
    session.run::<Read, _>(move |gateway, authed| gateway.traces(authed, &name)).await
}
