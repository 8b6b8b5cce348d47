//! `/backups`, and what comes after a copy was put back.

use std::io;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::header::CONTENT_TYPE,
    response::Response,
};

use super::{
    Answer,
    session::{Session, body},
};
use crate::{
    domain::access::Administer,
    http::{api::problem::Failure, outflow::outflow},
    service::{
        Gateway, ServiceError,
        backup::{CopyError, WrittenBackup},
        checkpoint::{AcceptRestore, AcceptedRestore},
    },
};

/// The copy is written by a thread of its own; there is at most one, for a turn is one.
pub(in super::super) async fn copy(session: Session) -> Result<Response, Failure> {
    let gateway = session.gateway();
    let turn = session.call::<Administer, _>(Gateway::begin_backup).await?;
    let copied = outflow("backup", move |out| {
        gateway.copy_store(&turn, out).map_err(|error| match error {
            CopyError::Write(error) => error,
            CopyError::Store(error) => io::Error::other(error),
        })
    });
    let copied =
        copied.map_err(|error| ServiceError::Internal(format!("no thread for a backup: {error}")))?;
    let mut response = Response::new(Body::new(copied));
    let octets = axum::http::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    Ok(response)
}

pub(in super::super) async fn written(session: Session, bytes: Bytes) -> Answer<WrittenBackup> {
    let written: WrittenBackup = body(&bytes)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.backup_written(authed, &written)).await
}

pub(in super::super) async fn accept_restore(session: Session, request: Request) -> Answer<AcceptedRestore> {
    let request: AcceptRestore = body(&session.body_of::<Administer>(request).await?)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.accept_restore(authed, &request)).await
}
