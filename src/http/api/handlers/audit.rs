//! `/audit`.

use super::{
    Answer,
    session::{Params, Session},
};
use crate::{
    domain::access::Read,
    service::{
        Gateway, Listing, ServiceError,
        audit::{AuditView, ChainReport},
    },
};

/// Events of a tail at most.
const MAX_TAIL: usize = 10_000;

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<AuditView>> {
    params.only(&["after", "limit", "tail"])?;
    if let Some(count) = params.get::<usize>("tail")? {
        if count > MAX_TAIL {
            return Err(ServiceError::invalid("tail", format_args!("must be at most {MAX_TAIL}")).into());
        }
        return session.run::<Read, _>(move |gateway, authed| gateway.audit_tail(authed, count)).await;
    }
    let (after, limit) = (params.get::<u64>("after")?.unwrap_or(0), params.limit()?);
    session.run::<Read, _>(move |gateway, authed| gateway.audit_events(authed, after, limit)).await
}

pub(in super::super) async fn verify(session: Session) -> Answer<ChainReport> {
    session.run::<Read, _>(Gateway::verify_audit).await
}
