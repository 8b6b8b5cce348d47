//! The challenge webhook, called as Jamf Pro and Fleet call it.

use certgate::{
    domain::{
        access::{Operate, Read, Role},
        binding::Assurance,
        device::{IdentityKind, Registration},
    },
    service::{GatewaySettings, challenge::WebhookSettings, device::NewDevice},
    types::Secret,
    wire::scep::FailInfo,
};
use serde_json::{Value, json};

use super::{
    basic, call,
    common::{Client, World, WorldOptions},
    router, token,
};

const DEVICE: &str = r#"
subject = "CN=$DEVICE_ID$,O=Test"
challenge = ["ticket"]
"#;
const URL: &str = "POST /webhooks/scep-challenge/device";

fn world(register_devices: bool) -> World {
    let settings = GatewaySettings {
        challenge_webhook: WebhookSettings { register_devices, ..WebhookSettings::default() },
        ..GatewaySettings::default()
    };
    World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", DEVICE), ("vpn", DEVICE)])
}

/// A call about this device, with the members that servers send beside it.
fn about(device: &Value) -> String {
    let mut call = json!({
        "webhook": {"id": 1, "name": "certgate", "webhookEvent": "SCEPChallenge", "eventTimestamp": 1_780_000_000_u64},
        "event": {
            "scepServerUrl": "http://pki.test.example/scep/device", "payloadIdentifier": "CDB0BC64",
            "payloadTypes": ["com.apple.security.scep"], "what-comes-next": {"a": [1, 2]},
        },
    });
    if !device.is_null() {
        call["event"]["device"] = device.clone();
    }
    call.to_string()
}

fn register(world: &World, id: &str, kind: IdentityKind, value: &str) {
    let identities = [(kind, value.to_owned())].into();
    let registration = Registration { identities, ..Registration::default() };
    let new = NewDevice { id: id.parse().unwrap(), registration };
    world.gateway.register_device(&world.authed::<Operate>(), new).unwrap();
}

#[test]
fn a_described_device_gets_a_challenge_that_is_bound_to_it() {
    let world = world(false);
    register(&world, "laptop-7", IdentityKind::Serial, "C02XY");
    let (router, token) = (router(&world), token(&world, Role::Challenger, &["device"]));
    let fleet = about(&json!({"uuid": "fleet-host-uuid", "serialNumber": "C02XY"}));
    for authorization in [basic(&token), format!("Bearer {token}")] {
        let answer = call(&router, URL, Some(&authorization), &fleet);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("text/plain")),
            "{}",
            answer.text()
        );
        let secret = Secret::from(answer.text().as_str());
        let client = Client::new();
        let issued = client.enrol(&world, "device", &client.csr("CN=somebody else", Some(&secret)));
        assert_eq!(issued.certificate().subject().to_string(), "CN=laptop-7,O=Test");
        assert_eq!(world.bindings(issued.certificate())[0].assurance, Assurance::High);
        let thief = Client::new();
        let again = thief.enrol(&world, "device", &thief.csr("CN=x", Some(&secret)));
        assert_eq!(again.failure(), FailInfo::BadRequest, "it is used up");
    }
    let elsewhere = call(&router, "POST /webhooks/scep-challenge/vpn", Some(&basic(&token)), &fleet);
    assert_eq!(elsewhere.status, 403, "the token is for another profile");
}

#[test]
fn jamf_may_name_a_device_by_its_udid_or_its_id_as_serial_number() {
    let world = world(false);
    register(&world, "mac", IdentityKind::Udid, "EBBFF74D-C6B7-5599-93A9-19E8BDDEFE32");
    world.register("C02M23PJFH50");
    let (router, credentials) = (router(&world), basic(&token(&world, Role::Challenger, &[])));
    let ask = |event: Value| {
        let body = json!({"webhook": {"webhookEvent": "SCEPChallenge"}, "event": event}).to_string();
        call(&router, URL, Some(&credentials), &body).status
    };
    assert_eq!(ask(json!({"targetDevice": {"udid": "EBBFF74D-C6B7-5599-93A9-19E8BDDEFE32"}})), 200);
    assert_eq!(ask(json!({"serialNumber": "C02M23PJFH50"})), 200);
    let two =
        json!({"device": {"serialNumber": "C02M23PJFH50", "udid": "EBBFF74D-C6B7-5599-93A9-19E8BDDEFE32"}});
    assert_eq!(ask(two), 409, "these are two devices");
}

#[test]
fn a_slash_at_the_end_of_the_url_changes_nothing() {
    let world = world(false);
    register(&world, "laptop-7", IdentityKind::Serial, "C02XY");
    let (router, credentials) = (router(&world), basic(&token(&world, Role::Challenger, &[])));
    let call =
        |path: &str| call(&router, path, Some(&credentials), &about(&json!({"serialNumber": "C02XY"})));
    assert_eq!(call("POST /webhooks/scep-challenge/device/").status, 200);
    let elsewhere = call("POST /certsrv/mscep/mscep.dll");
    assert!(elsewhere.status == 404 && elsewhere.text().contains("device listener"), "{}", elsewhere.text());
}

#[test]
fn a_probe_without_a_device_gets_a_text_that_opens_nothing() {
    let world = world(true);
    let (router, credentials) = (router(&world), basic(&token(&world, Role::Challenger, &[])));
    let answer = call(&router, URL, Some(&credentials), &about(&Value::Null));
    assert_eq!(answer.status, 200, "the test button is content");
    assert!(!answer.body.is_empty());
    world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=SN1", Some(&Secret::from(answer.text().as_str())));
    assert_eq!(client.enrol(&world, "device", &csr).failure(), FailInfo::BadRequest);
    let page = certgate::ports::store::Page::first(10);
    assert!(world.gateway.tickets(&world.authed::<Read>(), &page).unwrap().items.is_empty());
}

#[test]
fn an_unknown_device_is_registered_where_that_is_wanted() {
    let described =
        about(&json!({"serialNumber": "C09", "udid": "U-9", "deviceName": "front desk", "model": "Mac"}));
    let strict = world(false);
    let credentials = basic(&token(&strict, Role::Challenger, &[]));
    let refused = call(&router(&strict), URL, Some(&credentials), &described);
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("challenge-webhook.register-devices"), "{}", refused.text());

    let world = world(true);
    let (router, credentials) = (router(&world), basic(&token(&world, Role::Challenger, &[])));
    for _ in 0..2 {
        assert_eq!(call(&router, URL, Some(&credentials), &described).status, 200);
    }
    let device = world.gateway.device(&world.authed::<Read>(), &"C09".parse().unwrap()).unwrap();
    assert_eq!((device.name.as_str(), device.model.as_str()), ("front desk", "Mac"));
    assert_eq!(device.identities[&IdentityKind::Udid], "U-9");
    let named =
        about(&json!({"serialNumber": "C10", "deviceName": format!("Gerät\n漢字 {}", "x".repeat(300))}));
    assert_eq!(call(&router, URL, Some(&credentials), &named).status, 200, "its name is for people");
    let device = world.gateway.device(&world.authed::<Read>(), &"C10".parse().unwrap()).unwrap();
    assert!(
        device.name.starts_with("Gerät漢字 xxx") && device.name.chars().count() == 128,
        "{}",
        device.name
    );
    let events = world.gateway.audit_tail(&world.authed::<Read>(), 50).unwrap().items;
    let registered = events.iter().filter(|event| event.action == "device.registered");
    assert_eq!(registered.map(|event| event.actor.as_str()).collect::<Vec<_>>(), ["token mdm", "token mdm"]);
}

#[test]
fn what_is_no_call_is_refused_and_strangers_are_not_read() {
    let world = world(true);
    let (router, credentials) = (router(&world), basic(&token(&world, Role::Challenger, &[])));
    let status = |body: &str| call(&router, URL, Some(&credentials), body).status;
    assert_eq!(status("<xml/>"), 400);
    assert_eq!(status("[]"), 400);
    assert_eq!(
        status(r#"{"webhook": {"webhookEvent": "ComputerAdded"}, "event": {"serialNumber": "C1"}}"#),
        400
    );
    assert_eq!(status(&about(&json!({"serialNumber": "x".repeat(70_000)}))), 400);
    assert_eq!(status(&about(&json!({"serialNumber": "a\u{7}b"}))), 400);
    assert_eq!(call(&router, URL, None, "not even JSON").status, 401);
    let unknown = call(&router, URL, Some(&basic("cg_of-last-year")), "x");
    assert!(unknown.status == 401 && unknown.text().contains("expired or was revoked"), "{}", unknown.text());
    assert_eq!(call(&router, URL, Some(&basic(&token(&world, Role::Auditor, &[]))), "x").status, 403);
    assert_eq!(call(&router, "GET /webhooks/scep-challenge/device", Some(&credentials), "").status, 405);
    assert_eq!(
        call(&router, "POST /webhooks/scep-challenge/no", Some(&credentials), &about(&Value::Null)).status,
        404
    );
}
