//! What MDM servers speak: NDES's page and the challenge webhook, through the router that the admin listener has, and what devices
//! make of the challenges, over SCEP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../logged.rs"]
mod logged;

mod approval;
mod ndes;
mod templates;
mod webhook;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use certgate::{
    domain::access::Role,
    http::{api, bridge::Bridge, challenge, forwarded::TrustedProxies, serve::Peer},
    service::{GatewaySettings, challenge::NdesSettings, token::NewToken},
};
use common::{World, WorldOptions};
use tower_service::Service;

const NETWORK: &str = "192.0.2.7:4711";

/// A profile that takes every kind of ticket.
const OPEN: &str = r#"
subject = "CN=$DEVICE_ID$,O=Test"
challenge = ["ticket", "unbound-ticket"]
"#;

/// A world whose NDES is the profile `device`.
fn world_with(ndes: NdesSettings, profiles: &[(&str, &str)]) -> World {
    World::with(WorldOptions { settings: settings(ndes), ..WorldOptions::default() }, profiles)
}

fn settings(ndes: NdesSettings) -> GatewaySettings {
    GatewaySettings { default_profile: Some("device".parse().unwrap()), ndes, ..GatewaySettings::default() }
}

/// The router of the admin listener, the same for all requests of a test.
fn router(world: &World) -> Router {
    router_behind(world, TrustedProxies::default())
}

/// The same behind proxies that are believed.
fn router_behind(world: &World, proxies: TrustedProxies) -> Router {
    let bridge = Arc::new(Bridge::start("test", 1, 8).unwrap());
    challenge::beside(
        api::router(Arc::clone(&world.gateway), Arc::clone(&bridge)),
        Arc::clone(&world.gateway),
        bridge,
        proxies,
    )
}

/// A fresh token.
fn token(world: &World, role: Role, profiles: &[&str]) -> String {
    let profiles = profiles.iter().map(|name| name.parse().unwrap()).collect();
    let new = NewToken { name: "mdm".to_owned(), role, lifetime_seconds: None, profiles };
    world.gateway.create_token(&world.authed(), &new).unwrap().secret
}

fn basic(token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("svc-scep@example:{token}")))
}

/// An answer with its body.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Asks as a network peer: `request` is a method and a path.
fn call(router: &Router, request: &str, authorization: Option<&str>, body: &str) -> Answer {
    call_for(router, request, authorization, body, None)
}

/// The same for a client whose address the peer names.
fn call_for(
    router: &Router,
    request: &str,
    authorization: Option<&str>,
    body: &str,
    client: Option<&str>,
) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    if let Some(authorization) = authorization {
        builder = builder.header("authorization", authorization);
    }
    if let Some(client) = client {
        builder = builder.header("x-forwarded-for", client);
    }
    let mut request = builder.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Peer::Network(NETWORK.parse().unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (parts, body) = router.clone().call(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    })
}
