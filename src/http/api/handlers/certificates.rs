//! `/certificates`.

use axum::{body::Bytes, extract::Path};

use super::{
    Answer, NoteRequest,
    session::{Params, Session, body, named},
};
use crate::{
    domain::access::{Operate, Read},
    http::api::problem::Failure,
    service::{
        Listing, ServiceError,
        certificate::{CertificateFilter, CertificateView, RevokeRequest},
    },
    types::CertificateId,
};

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<CertificateView>> {
    params.only(&["after", "limit", "device", "user"])?;
    let page = params.page()?;
    let filter = match (params.get("device")?, params.get("user")?) {
        (None, None) => CertificateFilter::All,
        (Some(device), None) => CertificateFilter::Device(device),
        (None, Some(user)) => CertificateFilter::User(user),
        (Some(_), Some(_)) => {
            return Err(ServiceError::invalid("user", "cannot be combined with device").into());
        }
    };
    session.run::<Read, _>(move |gateway, authed| gateway.certificates(authed, &filter, &page)).await
}

pub(in super::super) async fn find(
    session: Session,
    Path(name): Path<String>,
) -> Answer<Vec<CertificateView>> {
    session.run::<Read, _>(move |gateway, authed| gateway.find_certificates(authed, &name)).await
}

pub(in super::super) async fn show(
    session: Session,
    Path(id): Path<(String, String)>,
) -> Answer<CertificateView> {
    let id = certificate_id(&id)?;
    session.run::<Read, _>(move |gateway, authed| gateway.certificate(authed, &id)).await
}

pub(in super::super) async fn revoke(
    session: Session,
    Path(id): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<CertificateView> {
    let (id, request) = (certificate_id(&id)?, body::<RevokeRequest>(&bytes)?);
    session.run::<Operate, _>(move |gateway, authed| gateway.revoke_certificate(authed, &id, &request)).await
}

pub(in super::super) async fn hold(
    session: Session,
    Path(id): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<CertificateView> {
    let (id, NoteRequest { note }) = (certificate_id(&id)?, body(&bytes)?);
    session.run::<Operate, _>(move |gateway, authed| gateway.hold_certificate(authed, &id, &note)).await
}

pub(in super::super) async fn release(
    session: Session,
    Path(id): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<CertificateView> {
    let (id, NoteRequest { note }) = (certificate_id(&id)?, body(&bytes)?);
    session.run::<Operate, _>(move |gateway, authed| gateway.release_certificate(authed, &id, &note)).await
}

fn certificate_id((issuer, serial): &(String, String)) -> Result<CertificateId, Failure> {
    Ok(CertificateId { issuer: named("issuer", issuer)?, serial: named("serial", serial)? })
}
