//! The challenge webhook: Jamf Pro's event SCEPChallenge, which Fleet sends too.
//!
//! `{"webhook": {"webhookEvent": "SCEPChallenge", ..}, "event": {.., "device": {"serialNumber": .., "udid": ..}}}`. The device is
//! in `event.device`, `event.targetDevice`, `event.computer` or `event.mobileDevice`, or its members are those of `event` itself, as in
//! Jamf's other events; what else is in there is ignored. The answer is the challenge alone. A call that names no device is a
//! server's try whether anybody answers: it gets a text that no challenge is.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Response, StatusCode, request::Parts},
};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{
    ChallengeEdge,
    auth::{Denied, as_minter},
    count, denied_plain, method_not_allowed, page,
};
use crate::{
    domain::device::IdentityKind,
    service::{
        ServiceError,
        challenge::{ChallengeDenied, DescribedDevice, WebhookChallenge},
    },
    types::{ProfileName, RequestId},
};

pub(super) const PATH: &str = "/webhooks/scep-challenge";

/// Real calls have less than 2 kB.
const MAX_BODY: usize = 64 * 1024;

/// Time for the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

const EVENT: &str = "SCEPChallenge";

pub(super) async fn answer(
    edge: &ChallengeEdge,
    request: &Parts,
    body: Body,
    profile: Option<String>,
    id: &RequestId,
) -> Response<Body> {
    if request.method != Method::POST {
        return method_not_allowed("POST");
    }
    let challenge = challenge(edge, request, body, profile, id).await;
    count(
        "webhook",
        challenge.as_ref().map(|challenge| match challenge {
            WebhookChallenge::Bound(_) => "given",
            WebhookChallenge::Unusable(_) => "probe",
        }),
    );
    match challenge {
        Ok(WebhookChallenge::Bound(secret) | WebhookChallenge::Unusable(secret)) => {
            page::plain(StatusCode::OK, &String::from_utf8_lossy(secret.expose()))
        }
        Err(denied) => denied_plain(&denied),
    }
}

async fn challenge(
    edge: &ChallengeEdge,
    request: &Parts,
    body: Body,
    profile: Option<String>,
    id: &RequestId,
) -> Result<WebhookChallenge, Denied> {
    // Who may not ask is not read either.
    as_minter(edge, request, id, |_, _| Ok(())).await?;
    let described = read(body).await;
    as_minter(edge, request, id, move |gateway, authed| {
        let profile: Option<ProfileName> = profile
            .map(|name| name.parse())
            .transpose()
            .map_err(|_| ServiceError::not_found("profile", "of this URL"))?;
        gateway.webhook_challenge(authed, profile.as_ref(), &described?)
    })
    .await
}

async fn read(body: Body) -> Result<DescribedDevice, ChallengeDenied> {
    let invalid = |problem: &str| ServiceError::invalid("body", problem);
    let bytes = timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY))
        .await
        .map_err(|_| invalid("did not arrive"))?
        .map_err(|_| invalid("is too large or broken"))?;
    let call: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(&format!("is not the JSON of a webhook: {error}")))?;
    let event = call.get("webhook").and_then(|webhook| webhook.get("webhookEvent")?.as_str());
    if event.is_some_and(|event| event != EVENT) {
        return Err(invalid("is of another event than SCEPChallenge").into());
    }
    Ok(call.get("event").and_then(Value::as_object).map(described).unwrap_or_default())
}

/// Where the device is, and the names of its identities there.
const DEVICES: [&str; 4] = ["device", "targetDevice", "computer", "mobileDevice"];
const IDENTITIES: [(IdentityKind, &str); 5] = [
    (IdentityKind::Serial, "serialNumber"),
    (IdentityKind::Udid, "udid"),
    (IdentityKind::Uuid, "uuid"),
    (IdentityKind::Imei, "imei"),
    (IdentityKind::ClientId, "managementId"),
];

fn described(event: &Map<String, Value>) -> DescribedDevice {
    let device = DEVICES.iter().find_map(|name| event.get(*name)?.as_object()).unwrap_or(event);
    let text = |name: &str| device.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let identities = IDENTITIES.iter().filter(|(_, name)| !text(name).is_empty());
    DescribedDevice {
        identities: identities.map(|(kind, name)| (*kind, text(name).to_owned())).collect::<BTreeMap<_, _>>(),
        name: text("deviceName").to_owned(),
        model: text("model").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(event: &str) -> DescribedDevice {
        described(serde_json::from_str::<Value>(event).unwrap().as_object().unwrap())
    }

    #[test]
    fn the_device_is_found_where_jamf_and_fleet_put_it() {
        let serial = |device: &DescribedDevice| device.identities.get(&IdentityKind::Serial).cloned();
        let fleet = device(r#"{"scepServerUrl": "x", "device": {"uuid": "U1", "serialNumber": " C02 "}}"#);
        assert_eq!(serial(&fleet).as_deref(), Some("C02"));
        assert_eq!(fleet.identities.get(&IdentityKind::Uuid).map(String::as_str), Some("U1"));
        let jamf = device(
            r#"{"targetDevice": {"udid": "D", "serialNumber": "C03", "deviceName": "mac", "jssID": 7}}"#,
        );
        assert_eq!((serial(&jamf).as_deref(), jamf.name.as_str()), (Some("C03"), "mac"));
        assert_eq!(serial(&device(r#"{"serialNumber": "C04", "udid": ""}"#)).as_deref(), Some("C04"));
    }

    #[test]
    fn a_probe_describes_no_device() {
        let probe = r#"{"scepServerUrl": "x", "payloadIdentifier": "y", "payloadTypes": ["com.apple.security.scep"]}"#;
        assert_eq!(device(probe), DescribedDevice::default());
        assert_eq!(device(r#"{"device": {"serialNumber": 7}}"#), DescribedDevice::default());
    }
}
