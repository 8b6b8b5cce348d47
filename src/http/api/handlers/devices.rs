//! `/devices`.

use axum::{body::Bytes, extract::Path};
use serde::Deserialize;

use super::{
    Answer, Created, created,
    session::{Params, Session, body, named},
};
use crate::{
    domain::{
        access::{Operate, Read},
        device::{DeviceEvent, Lifecycle},
    },
    service::{
        Listing, ServiceError,
        device::{DeviceOutcome, DeviceView, NewDevice},
    },
    types::{DeviceId, SourceId},
};

/// Something that happened to a device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventRequest {
    event: DeviceEvent,
    #[serde(default)]
    note: String,
}

pub(in super::super) async fn list(session: Session, params: Params) -> Answer<Listing<DeviceView>> {
    params.only(&["after", "limit", "lifecycle", "source"])?;
    let (page, wanted) = (params.page()?, params.get::<String>("lifecycle")?);
    let lifecycle = wanted.map(|text| lifecycle(&text)).transpose()?;
    if let Some(source) = params.get::<SourceId>("source")? {
        if lifecycle.is_some() {
            return Err(ServiceError::invalid("source", "cannot be combined with lifecycle").into());
        }
        return session
            .run::<Read, _>(move |gateway, authed| gateway.devices_of_source(authed, &source, &page))
            .await;
    }
    session.run::<Read, _>(move |gateway, authed| gateway.devices(authed, lifecycle, &page)).await
}

fn lifecycle(text: &str) -> Result<Lifecycle, ServiceError> {
    let all = Lifecycle::ALL.map(Lifecycle::as_str).join(", ");
    Lifecycle::ALL
        .into_iter()
        .find(|lifecycle| lifecycle.as_str() == text)
        .ok_or_else(|| ServiceError::invalid("lifecycle", format_args!("is not one of {all}")))
}

pub(in super::super) async fn register(session: Session, bytes: Bytes) -> Created<DeviceView> {
    let new: NewDevice = body(&bytes)?;
    created(session.run::<Operate, _>(move |gateway, authed| gateway.register_device(authed, new)).await)
}

pub(in super::super) async fn show(session: Session, Path(id): Path<String>) -> Answer<DeviceView> {
    let id: DeviceId = named("device", &id)?;
    session.run::<Read, _>(move |gateway, authed| gateway.device(authed, &id)).await
}

pub(in super::super) async fn event(
    session: Session,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<DeviceOutcome> {
    let id: DeviceId = named("device", &id)?;
    let EventRequest { event, note } = body(&bytes)?;
    session.run::<Operate, _>(move |gateway, authed| gateway.device_event(authed, &id, event, &note)).await
}
