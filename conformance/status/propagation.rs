//! How long what happens takes to show in OCSP is measured, once for each event that moves something.

use certgate::{
    domain::{access::Operate, device::DeviceEvent, source::MissingPolicy},
    types::RevocationReason,
};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::{
    because,
    common::{Client, DAY, World},
    enrolled, id_of, revoke, source, world,
};

/// How many events `work` was.
fn measured(work: impl FnOnce()) -> u64 {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, work);
    let text = recorder.handle().render();
    let count = text.lines().find(|line| {
        line.starts_with("certgate_revocation_propagation_seconds_count{") && line.contains("to=\"ocsp\"")
    });
    count.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[test]
fn a_call_is_measured_once_and_one_that_changes_nothing_is_not() {
    let world = world();
    let (one, _two) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    let (gateway, authed) = (&world.gateway, world.authed::<Operate>());
    let hold = || gateway.hold_certificate(&authed, &id_of(&one), "").is_ok();
    assert_eq!(measured(|| assert!(hold())), 1);
    assert_eq!(measured(|| assert!(!hold())), 0);
    assert_eq!(measured(|| drop(gateway.release_certificate(&authed, &id_of(&one), "").unwrap())), 1);
    assert_eq!(measured(|| revoke(&world, &one, RevocationReason::Superseded)), 1);
    let again = because(RevocationReason::CessationOfOperation);
    assert_eq!(measured(|| drop(gateway.revoke_certificate(&authed, &id_of(&one), &again).unwrap_err())), 0);

    let event = |event| {
        let device = "SN2".parse().unwrap();
        measured(|| drop(gateway.device_event(&authed, &device, event, "").unwrap()))
    };
    assert_eq!([DeviceEvent::Lost, DeviceEvent::Found].map(event), [1, 1]);
}

#[test]
fn what_happens_to_a_ca_is_one_event_for_all_that_it_issued() {
    let world = world();
    let (_one, _two) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    let ca = world.record(&world.issuer("issuing")).id;
    assert_eq!(measured(|| drop(world.gateway.hold_certificate(&world.authed(), &ca, "").unwrap())), 1);
    assert_eq!(measured(|| drop(world.gateway.release_certificate(&world.authed(), &ca, "").unwrap())), 1);
}

#[test]
fn what_a_listing_does_is_measured_and_one_that_does_nothing_is_not() {
    let world = world();
    source::add(&world, MissingPolicy::Hold);
    source::sync(&world, &source::numbered(1..3));
    source::enrol(&world, "SN1");
    let listing = source::numbered(2..3);
    let events: Vec<_> = (0..4).map(|_| measured(|| drop(source::sync(&world, &listing)))).collect();
    assert_eq!(events, [0, 0, 1, 0], "held at the third listing without it");
}

#[test]
fn what_time_brings_is_measured() {
    let world = world();
    let client = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    let old = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let client = client.with_identity(&old).in_transaction("renewal");
    client.renew(&world, "device", &client.csr("CN=SN1,O=Test", None));
    let work = |world: &World| {
        measured(|| {
            world.gateway.run_due().unwrap();
        })
    };
    assert_eq!(work(&world), 0);
    world.clock.advance(DAY * 7);
    assert_eq!(work(&world), 1, "superseded after the overlap");
    assert_eq!(work(&world), 0);
}
