//! Microsoft Intune: what is said to its services, in which order, and what becomes of each answer, by real SCEP messages against a
//! labelled fake of those services ([`fake`]).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "../common/mod.rs"]
mod common;
mod credential;
mod fake;
mod hidden;
mod outage;
#[path = "../process/mod.rs"]
mod process;
mod revocation;
mod served;
mod tls;
mod validation;

use std::{sync::Arc, time::Duration};

use certgate::{
    adapters::{
        intune::{
            BACKGROUND_DESTINATION, ClientCredential, ENROLMENT_DESTINATION, IntuneClient, IntuneSettings,
        },
        outbound::{Destination, HttpOutbound, HttpSettings, RequestLimits},
        system::SystemRandomSource,
    },
    domain::vouch::Voucher,
    ports::{HostRule, Vouchers},
    service::{GatewaySettings, Ports},
    types::Secret,
};

use common::World;
use fake::{CLIENT_ID, CLIENT_SECRET, Fake, TENANT};

/// A profile whose challenges are Intune's and whose names are the request's.
pub(crate) const PROFILE: &str = r#"
subject = "CN=$DEVICE_ID$"
match = "claim"
challenge = ["intune"]
allow-unregistered = true
"#;

/// The challenge that Intune puts into its profile: sealed, so anything.
pub(crate) fn challenge() -> Secret {
    Secret::from("MIICsealedByIntuneAndReadableByItAlone==")
}

pub(crate) fn settings(fake: &Fake) -> IntuneSettings {
    IntuneSettings {
        tenant: TENANT.to_owned(),
        client_id: CLIENT_ID.to_owned(),
        credential: ClientCredential::Secret(Secret::from(CLIENT_SECRET)),
        login_url: fake.url(),
        graph_url: fake.url(),
        resource_url: "https://api.example".to_owned(),
        wait_for_success_notification: true,
        give_up_after: Duration::from_secs(24 * 3600),
        poll_interval: Duration::from_secs(5 * 60),
        by_issuer: true,
        places: 8,
    }
}

/// A gateway whose only profile is [`PROFILE`], and the fake that it asks.
pub(crate) fn world() -> (World, Fake) {
    world_with(PROFILE, |_| {})
}

pub(crate) fn world_with(profile: &str, change: impl FnOnce(&mut IntuneSettings)) -> (World, Fake) {
    let fake = Fake::start();
    let mut settings = settings(&fake);
    change(&mut settings);
    let world = World::new(&[("phones", profile)]);
    let ports = asking(&world, &fake, settings);
    (world.restarted_on(ports, GatewaySettings::default()), fake)
}

/// The world's ports with a new client, as after a restart.
pub(crate) fn asking(world: &World, fake: &Fake, settings: IntuneSettings) -> Ports {
    asking_from(world, fake, settings, 8)
}

/// [`asking`], where so many threads may wait for others while they enrol.
pub(crate) fn asking_from(
    world: &World,
    fake: &Fake,
    settings: IntuneSettings,
    enrolment_places: usize,
) -> Ports {
    let destination = |name: &str| Destination {
        name: name.to_owned(),
        hosts: vec![HostRule::exact("127.0.0.1", Some(fake.address().port()))],
        limits: RequestLimits { connect: Duration::from_secs(2), total: Duration::from_secs(2), places: 8 },
        max_answer: 2 * 1024 * 1024,
        enrols: false,
    };
    let http = HttpSettings { authorities: Vec::new(), system_roots: false, proxy: None, enrolment_places };
    let destinations = vec![destination(ENROLMENT_DESTINATION), destination(BACKGROUND_DESTINATION)];
    let outbound = Arc::new(HttpOutbound::new(&http, destinations, Box::new(|_, _, _| {})).unwrap());
    let client = Arc::new(IntuneClient::new(
        settings,
        outbound.clone(),
        outbound.enrolment_places(),
        world.clock.clone(),
        Arc::new(SystemRandomSource::default()),
    ));
    let mut vouchers = Vouchers::default();
    vouchers.vouching.insert(Voucher::Intune, client.clone());
    vouchers.revocations.insert(Voucher::Intune, client);
    Ports { outbound, vouchers, ..world.ports.clone() }
}
