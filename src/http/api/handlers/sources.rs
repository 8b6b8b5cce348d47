//! `/sources`.

use axum::{
    body::Bytes,
    extract::{Path, Request},
};

use super::{
    Answer, Created, created,
    session::{Params, Session, body, named},
};
use crate::{
    domain::{
        access::{Administer, Operate, Read},
        source::entry::{Columns, Target},
    },
    http::api::problem::Failure,
    service::{
        Gateway, Listing,
        source::{
            NewSource, RemovedSource, SourceView,
            sync::{SyncReport, SyncRequest},
        },
    },
    types::SourceId,
};

/// What the parameters that name columns begin with.
const COLUMN: &str = "column.";

pub(in super::super) async fn list(session: Session) -> Answer<Listing<SourceView>> {
    session.run::<Read, _>(Gateway::sources).await
}

pub(in super::super) async fn add(session: Session, bytes: Bytes) -> Created<SourceView> {
    let new: NewSource = body(&bytes)?;
    created(session.run::<Administer, _>(move |gateway, authed| gateway.add_source(authed, &new)).await)
}

pub(in super::super) async fn show(session: Session, Path(id): Path<String>) -> Answer<SourceView> {
    let id: SourceId = named("source", &id)?;
    session.run::<Read, _>(move |gateway, authed| gateway.source(authed, &id)).await
}

pub(in super::super) async fn sync(
    session: Session,
    Path(id): Path<String>,
    params: Params,
    request: Request,
) -> Answer<SyncReport> {
    params.only(&["dry_run", "force", COLUMN])?;
    let id: SourceId = named("source", &id)?;
    let request = SyncRequest {
        columns: columns(&params)?,
        dry_run: params.get("dry_run")?.unwrap_or(false),
        force: params.get("force")?.unwrap_or(false),
        listing: session.body_of::<Operate>(request).await?.into(),
    };
    // Not measured as one revocation: it does many things, some of which revoke.
    session.run::<Operate, _>(move |gateway, authed| gateway.sync_source(authed, &id, &request)).await
}

/// `column.serial=Serial%20number`: an empty name says that no column is that.
fn columns(params: &Params) -> Result<Columns, Failure> {
    let column = |(target, column): (&str, &str)| Ok((named::<Target>("column", target)?, column.to_owned()));
    params.starting_with(COLUMN).map(column).collect()
}

pub(in super::super) async fn remove(session: Session, Path(id): Path<String>) -> Answer<RemovedSource> {
    let id: SourceId = named("source", &id)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.remove_source(authed, &id)).await
}
