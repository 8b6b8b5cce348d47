//! `/imports`.

use axum::{
    body::Bytes,
    extract::{Path, Request},
};

use super::{
    Answer,
    session::{Session, body, named},
};
use crate::{
    domain::access::Administer,
    service::import::{ImportBatch, ImportReport, ImportTarget, ImportedCrl, NewImport},
    types::IssuerId,
};

pub(in super::super) async fn open(session: Session, bytes: Bytes) -> Answer<ImportTarget> {
    let new: NewImport = body(&bytes)?;
    session.run::<Administer, _>(move |gateway, authed| gateway.open_import(authed, &new)).await
}

pub(in super::super) async fn certificates(
    session: Session,
    Path(issuer): Path<String>,
    bytes: Bytes,
) -> Answer<ImportReport> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let batch: ImportBatch = body(&bytes)?;
    // Not measured as one revocation: it does thousands of things.
    session
        .run::<Administer, _>(move |gateway, authed| gateway.import_certificates(authed, &issuer, &batch))
        .await
}

pub(in super::super) async fn crl(
    session: Session,
    Path(issuer): Path<String>,
    request: Request,
) -> Answer<ImportedCrl> {
    let issuer: IssuerId = named("issuer", &issuer)?;
    let der = session.body_of::<Administer>(request).await?;
    session.run::<Administer, _>(move |gateway, authed| gateway.import_crl(authed, &issuer, &der)).await
}
