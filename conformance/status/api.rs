//! The API's own duties: who may, what errors look like, request ids. The router is called directly; sockets are the listeners' subject.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::{Request, Response},
};
use certgate::{
    domain::access::Role,
    http::{api, bridge::Bridge, serve::Peer},
    service::token::NewToken,
};
use serde_json::{Value, json};
use tower_service::Service;

use super::{
    common::{DAY, World},
    enrolled, world,
};

const NETWORK: &str = "192.0.2.7:4711";
const DEVICE: &str = r#"subject = "CN=$DEVICE_ID$""#;

fn router(world: &World) -> axum::Router {
    api::router(Arc::clone(&world.gateway), Arc::new(Bridge::start("test", 1, 8).unwrap()))
}

fn call(
    router: &axum::Router,
    peer: Option<Peer>,
    request: &str,
    token: Option<&str>,
    body: &str,
) -> (Response<()>, Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(format!("/api/v1{path}"));
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    let mut request = builder.body(Body::from(body.to_owned())).unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let response = router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    })
}

fn as_root(router: &axum::Router, request: &str, body: &str) -> (u16, Value) {
    let (response, body) = call(router, Some(Peer::Local { uid: 0 }), request, None, body);
    (response.status().as_u16(), body)
}

fn problem(answer: &(u16, Value)) -> (u16, &str) {
    let kind = answer.1["type"].as_str().unwrap_or_default();
    (answer.0, kind.strip_prefix("urn:certgate:problem:").unwrap_or_default())
}

#[test]
fn only_root_and_the_own_user_are_served_without_a_token() {
    let world = world();
    let router = router(&world);
    let status = |peer, token| {
        let (response, body) = call(&router, peer, "GET /status", token, "");
        (response.status().as_u16(), body)
    };
    assert_eq!(status(Some(Peer::Local { uid: 0 }), None).0, 200);
    assert_eq!(problem(&status(Some(Peer::Local { uid: 4_000_000 }), None)), (403, "forbidden"));
    assert_eq!(
        problem(&status(Some(Peer::Network(NETWORK.parse().unwrap())), None)),
        (401, "unauthenticated")
    );
    assert_eq!(
        problem(&status(Some(Peer::Network(NETWORK.parse().unwrap())), Some("cg_guess"))),
        (401, "unauthenticated")
    );
    assert_eq!(problem(&status(None, None)), (401, "unauthenticated"));
}

#[test]
fn a_role_opens_what_it_should_and_nothing_more() {
    let world = world();
    let router = router(&world);
    let token = |role| {
        let new = NewToken { name: "t".to_owned(), role, lifetime_seconds: None, profiles: Vec::new() };
        world.gateway.create_token(&world.authed(), &new).unwrap().secret
    };
    let status = |role, request, body| {
        let peer = Peer::Network(NETWORK.parse().unwrap());
        call(&router, Some(peer), request, Some(&token(role)), body).0.status().as_u16()
    };
    assert_eq!(status(Role::Auditor, "GET /devices", ""), 200);
    assert_eq!(status(Role::Auditor, "POST /devices", r#"{"id": "a"}"#), 403);
    assert_eq!(status(Role::Operator, "POST /devices", r#"{"id": "b"}"#), 201);
    assert_eq!(status(Role::Operator, "GET /tokens", ""), 403);
    assert_eq!(status(Role::Owner, "GET /tokens", ""), 200);
    let ticket = r#"{"profile": "device", "device": "b"}"#;
    assert_eq!(status(Role::Challenger, "POST /tickets", ticket), 201);
    assert_eq!(status(Role::Challenger, "GET /tickets", ""), 403);
    assert_eq!(status(Role::Challenger, "GET /status", ""), 403);
    assert_eq!(status(Role::Auditor, "POST /tickets", ticket), 403);
    // Who answers for another CA is the owner's to decide; that it does not exist is what those hear who may ask.
    let none = r#"{"mode": "none"}"#;
    assert_eq!(status(Role::Auditor, "GET /external-issuers/old/responder", ""), 404);
    for (request, body) in [
        ("PUT /external-issuers/old/responder", none),
        ("POST /external-issuers/old/responder/request", ""),
        ("POST /external-issuers/old/responder/certificate", r#"{"certificate": ""}"#),
    ] {
        assert_eq!(status(Role::Operator, request, body), 403, "{request}");
        assert_eq!(status(Role::Owner, request, body), 404, "{request}");
    }
    assert_eq!(status(Role::Owner, "PUT /external-issuers/old/responder", r#"{"mode": "some"}"#), 400);
}

#[test]
fn a_challengers_token_gets_tickets_of_its_profiles_alone() {
    let world = World::new(&[("device", DEVICE), ("vpn", DEVICE)]);
    let router = router(&world);
    world.register("SN1");
    let token = |profile: &str, role| {
        let profiles = vec![profile.parse().unwrap()];
        let new = NewToken { name: "mdm".to_owned(), role, lifetime_seconds: None, profiles };
        world.gateway.create_token(&world.authed(), &new)
    };
    let vpn = token("vpn", Role::Challenger).unwrap().secret;
    let mint = |profile| {
        let peer = Peer::Network(NETWORK.parse().unwrap());
        let body = json!({"profile": profile, "device": "SN1"}).to_string();
        call(&router, Some(peer), "POST /tickets", Some(&vpn), &body).0.status().as_u16()
    };
    assert_eq!((mint("vpn"), mint("device")), (201, 409));
    assert!(token("nobody", Role::Challenger).is_err() && token("vpn", Role::Operator).is_err());
}

#[test]
fn a_copy_of_everything_is_given_on_this_machine_alone_and_once_at_a_time() {
    let world = world();
    let router = router(&world);
    let new =
        NewToken { name: "t".to_owned(), role: Role::Owner, lifetime_seconds: None, profiles: Vec::new() };
    let token = world.gateway.create_token(&world.authed(), &new).unwrap().secret;
    let peer = Some(Peer::Network(NETWORK.parse().unwrap()));
    for request in ["POST /backups", "POST /backups/written"] {
        let body =
            json!({"file": "b", "bytes": 1, "sha256": "00".repeat(32), "taken_at": "2027-01-15T08:00:00Z"});
        let (response, body) = call(&router, peer.clone(), request, Some(&token), &body.to_string());
        assert_eq!(problem(&(response.status().as_u16(), body)), (409, "refused"), "{request}");
    }
    let turn = world.gateway.begin_backup(&world.authed()).unwrap();
    assert_eq!(problem(&as_root(&router, "POST /backups", "")), (409, "conflict"));
    drop(turn);
    assert_eq!(as_root(&router, "POST /backups", "").0, 200);
}

#[test]
fn the_clock_is_accepted_on_this_machine_alone_and_while_it_is_doubted() {
    let world = world();
    let router = router(&world);
    let new =
        NewToken { name: "t".to_owned(), role: Role::Owner, lifetime_seconds: None, profiles: Vec::new() };
    let token = world.gateway.create_token(&world.authed(), &new).unwrap().secret;
    world.clock.set_ahead(DAY);
    let (request, peer) = ("POST /clock/accept", Some(Peer::Network(NETWORK.parse().unwrap())));
    let (response, body) = call(&router, peer, request, Some(&token), "");
    assert_eq!(problem(&(response.status().as_u16(), body)), (409, "refused"));
    let accepted = as_root(&router, request, "");
    assert_eq!((accepted.0, &accepted.1["shown"]), (200, &json!("2027-01-16T08:00:00Z")));
    assert_eq!(problem(&as_root(&router, request, "")), (409, "refused"));
}

#[test]
fn errors_are_problems_with_the_request_id() {
    let world = world();
    let router = router(&world);
    let (response, body) = call(&router, Some(Peer::Local { uid: 0 }), "GET /devices/nobody", None, "");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["x-request-id"], body["request_id"].as_str().unwrap());
    assert_eq!(body["detail"], "no device \"nobody\"");

    let cases = [
        ("GET /devices/nobody", "", (404, "not-found")),
        ("GET /nowhere", "", (404, "not-found")),
        ("DELETE /devices", "", (405, "method-not-allowed")),
        ("GET /devices?limit=0", "", (400, "invalid")),
        ("GET /devices?lifecycle=sleeping", "", (400, "invalid")),
        ("POST /devices", "{", (400, "invalid")),
        ("POST /devices", r#"{"id": "../x"}"#, (400, "invalid")),
        ("GET /certificates/issuing/zz", "", (400, "invalid")),
    ];
    for (request, body, expected) in cases {
        assert_eq!(problem(&as_root(&router, request, body)), expected, "{request}");
    }
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(problem(&as_root(&router, "POST /devices", &large)), (413, "too-large"));
}

#[test]
fn what_is_served_nowhere_is_told_where_it_would_be() {
    let world = world();
    let router = router(&world);
    let network = Some(Peer::Network(NETWORK.parse().unwrap()));
    let cases = [
        ("GET /nowhere", None, "API is below /api/v1"),
        ("DELETE /devices", None, "the header Allow"),
        ("GET /status", None, "present an API token"),
        ("GET /status", Some("cg_expired"), "has expired or was revoked"),
    ];
    for (request, token, detail) in cases {
        let (response, body) = call(&router, network.clone(), request, token, "");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{request}: {body}");
        assert_eq!(response.headers().contains_key("allow"), response.status() == 405, "{request}");
    }
}

#[test]
fn a_listing_is_read_only_for_those_who_may_bring_one() {
    let world = world();
    let router = router(&world);
    let large = "x".repeat(64 * 1024 * 1024 + 1);
    let sync = "POST /sources/mdm/sync";
    let (response, body) = call(&router, None, sync, None, &large);
    assert_eq!(problem(&(response.status().as_u16(), body)), (401, "unauthenticated"));
    let refused = as_root(&router, sync, &large);
    assert_eq!(problem(&refused), (413, "too-large"));
    assert!(refused.1["detail"].as_str().unwrap().starts_with("the body cannot be read: "), "{refused:?}");
    let listing = format!("serial\n{}\n", "x".repeat(2 * 1024 * 1024));
    assert_eq!(problem(&as_root(&router, sync, &listing)), (404, "not-found"), "more than other routes take");
}

#[test]
fn a_device_is_registered_wiped_and_shown_revoked() {
    let world = world();
    let router = router(&world);
    let certificate = enrolled(&world, "SN1");
    let (status, outcome) =
        as_root(&router, "POST /devices/SN1/events", r#"{"event": "wipe", "note": "lost in a taxi"}"#);
    assert_eq!(status, 200, "{outcome}");
    assert_eq!(outcome["device"]["lifecycle"], "wipe-pending");
    assert_eq!(outcome["certificates"][0]["after"], "hold");
    let (_, shown) = as_root(&router, &format!("GET /certificates/issuing/{}", certificate.serial()), "");
    assert_eq!(shown["status"], "hold");
    assert_eq!(shown["causes"][0]["reason"], "certificateHold");
    assert_eq!(shown["causes"][0]["note"], "lost in a taxi");
    assert!(shown["pem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn everything_that_can_be_read_is_read() {
    let world = world();
    let router = router(&world);
    world.gateway.run_due().unwrap();
    let created = as_root(&router, "PUT /users/ada@lab.example", r#"{"display_name": "Ada"}"#);
    assert_eq!((created.0, &created.1["display_name"]), (200, &json!("Ada")));
    enrolled(&world, "SN1");
    let paths = [
        "/status",
        "/health",
        "/issuers",
        "/issuers/issuing",
        "/profiles",
        "/profiles/device",
        "/devices",
        "/devices/SN1",
        "/users",
        "/users/ada@lab.example",
        "/certificates",
        "/certificates?device=SN1",
        "/crls",
        "/crls/issuing",
        "/tickets",
        "/queue",
        "/jobs",
        "/audit?tail=5",
        "/audit?after=1&limit=2",
        "/audit/verify",
        "/tokens",
    ];
    for path in paths {
        let (status, body) = as_root(&router, &format!("GET {path}"), "");
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert_eq!(
        as_root(&router, "GET /issuers/issuing", "").1["fingerprint"],
        world.issuer("issuing").fingerprint().to_string()
    );
    assert_eq!(as_root(&router, "GET /certificates?device=SN1", "").1["items"].as_array().unwrap().len(), 1);
}

/// A stranger must not make the server keep and read what they send.
#[test]
fn who_is_nobody_is_told_so_before_the_body_is_read() {
    let world = world();
    let router = router(&world);
    for request in [
        "POST /devices",
        "POST /tokens",
        "POST /tickets",
        "PUT /users/ada",
        "POST /imports",
        "POST /backups/written",
    ] {
        for (token, body) in [(None, "no JSON"), (Some("cg_guess"), "{}")] {
            let peer = Peer::Network(NETWORK.parse().unwrap());
            let (response, body) = call(&router, Some(peer), request, token, body);
            let answer = (response.status().as_u16(), body);
            assert_eq!(problem(&answer), (401, "unauthenticated"), "{request}");
        }
    }
}

/// `dry-run` for `dry_run` would be a sync that acts, and `serial` in the wrong place a device without its serial number.
#[test]
fn what_is_misspelt_or_said_twice_is_refused() {
    let world = world();
    let router = router(&world);
    for request in [
        "GET /devices?lifecyle=lost",
        "GET /devices?limit=1&limit=2",
        "GET /certificates?devise=SN1",
        "GET /enrolments?profil=wifi",
        "GET /audit?last=1",
        "GET /users?a",
        "GET /queue?after=x",
        "GET /jobs?after=x",
        "GET /tickets?device=SN1",
        "POST /sources/intune/sync?dry-run=true",
        "POST /sources/intune/sync?dry_run=true&dry_run=false",
    ] {
        assert_eq!(problem(&as_root(&router, request, "")), (400, "invalid"), "{request}");
    }
    for known in
        ["GET /devices?limit=1&after=a&lifecycle=active", "GET /audit?tail=1", "GET /certificates?limit=1"]
    {
        assert_eq!(as_root(&router, known, "").0, 200, "{known}");
    }
    let columns = "POST /sources/intune/sync?dry_run=true&force=false&column.serial=x";
    assert_eq!(problem(&as_root(&router, columns, "")), (404, "not-found"));
    assert_eq!(
        problem(&as_root(&router, "POST /devices", r#"{"id": "a", "serial": "b"}"#)),
        (400, "invalid")
    );
    assert_eq!(as_root(&router, "POST /devices", r#"{"id": "a", "identities": {"serial": "b"}}"#).0, 201);
}
