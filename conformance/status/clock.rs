//! A clock that is ahead: what nobody can take back waits, and everything that somebody asks for is done.

use std::time::Duration;

use certgate::{
    domain::{
        access::{Actor, Caller, Role},
        certificate::Purpose,
        issuer::GenerationState,
        status::Status,
    },
    ports::store::Page,
    service::{
        GatewaySettings, ServiceError,
        health::{Check, CheckResult},
        rollover::NewSuccessor,
    },
    types::RevocationReason,
    wire::x509::Certificate,
};

use super::{
    common::{Client, DAY, World},
    enrolled, id_of, issuing, ocsp_status, revoke, world,
};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn work(world: &World) {
    world.gateway.run_due().unwrap();
}

fn status(world: &World, certificate: &Certificate) -> Status {
    world.gateway.certificate(&world.authed(), &id_of(certificate)).unwrap().status
}

/// What `doctor` says of the clock, if anything.
fn check(world: &World) -> Option<Check> {
    let report = world.gateway.health();
    assert!(report.ready, "{report:?}");
    report.checks.into_iter().find(|check| check.name == "clock")
}

fn actions(world: &World) -> Vec<String> {
    let events = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items;
    let of_clock = events.into_iter().filter(|event| event.object == "clock");
    of_clock.map(|event| event.action).collect()
}

/// A certificate that a renewal has taken the place of, at once.
fn renewed(world: &World) -> Certificate {
    let client = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    let old = client.enrol(world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let client = client.with_identity(&old).in_transaction("renewal");
    client.renew(world, "device", &client.csr("CN=SN1,O=Test", None)).certificate();
    old
}

#[test]
fn nothing_is_superseded_while_the_clock_is_ahead_and_everything_when_it_is_time() {
    let world = world();
    let (old, other) = (renewed(&world), enrolled(&world, "SN2"));
    world.clock.advance(DAY);
    work(&world);
    assert_eq!((check(&world), actions(&world)), (None, Vec::new()));
    world.clock.set_ahead(DAY * 30);
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
    let said = check(&world).unwrap();
    assert_eq!(said.result, CheckResult::Warn);
    assert!(said.detail.contains(&world.now().minus(DAY * 30).to_string()), "{}", said.detail);
    assert_eq!(actions(&world), ["clock.doubted"]);
    // What somebody asks for does not wait.
    revoke(&world, &other, RevocationReason::KeyCompromise);
    assert_eq!(status(&world, &other), Status::Revoked);

    world.clock.set_back(DAY * 30);
    work(&world);
    assert_eq!((check(&world), status(&world, &old)), (None, Status::Good));
    assert_eq!(actions(&world), ["clock.doubted", "clock.believed"]);
    world.clock.advance(DAY * 6);
    work(&world);
    assert_eq!(status(&world, &old), Status::Revoked);
}

#[test]
fn what_was_due_before_the_jump_is_done_and_the_rest_a_day_later() {
    let world = world();
    let old = renewed(&world);
    world.clock.advance(DAY * 6);
    work(&world);
    world.clock.set_ahead(DAY * 30);
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
    // The overlap ends by the time that is believed, and that is the time of the revocation.
    world.clock.advance(DAY - Duration::from_secs(1));
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
    world.clock.advance(Duration::from_secs(1));
    work(&world);
    assert_eq!(status(&world, &old), Status::Revoked);
    assert!(check(&world).is_none(), "it has run on for a day");
}

#[test]
fn no_ca_is_cut_over_to_and_no_key_goes_while_the_clock_is_ahead() {
    let world = world();
    let wanted = NewSuccessor { cutover_at: Some(world.now().plus(DAY * 90)), ..NewSuccessor::default() };
    world.gateway.roll_over(&world.authed(), &issuing(), &wanted).unwrap();
    work(&world);
    let state = |world: &World| {
        let shown = world.gateway.issuer(&world.authed(), &"issuing-2".parse().unwrap()).unwrap();
        shown.generation.state
    };
    let keys = |world: &World| world.read(|view| view.system_certificates(Purpose::ScepMessage, &issuing()));
    let before = keys(&world);
    world.clock.set_ahead(YEAR * 2);
    work(&world);
    assert_eq!(state(&world), GenerationState::Announced);
    assert!(before.iter().all(|key| keys(&world).contains(key)), "devices encrypt to it");
    // What it made is replaced, and the old one opens what devices encrypted meanwhile.
    world.clock.set_back(YEAR * 2);
    work(&world);
    assert_eq!(state(&world), GenerationState::Announced);
    assert!(before.iter().all(|key| keys(&world).contains(key)));
    world.clock.advance(DAY * 90);
    work(&world);
    assert_eq!(state(&world), GenerationState::Current);
}

#[test]
fn what_is_kept_for_a_while_is_kept_while_the_clock_is_ahead() {
    let world = world();
    world.ticket("device", &world.register("SN1"));
    let tickets =
        |world: &World| world.gateway.tickets(&world.authed(), &Page::first(10)).unwrap().items.len();
    work(&world);
    world.clock.set_ahead(YEAR);
    work(&world);
    assert_eq!(tickets(&world), 1);
    world.clock.set_back(YEAR);
    work(&world);
    assert_eq!(tickets(&world), 1);
    world.clock.advance(YEAR);
    work(&world);
    assert_eq!(tickets(&world), 0);
}

#[test]
fn a_clock_that_is_ahead_at_the_start_is_found_out_and_stays_so() {
    let world = world();
    let old = renewed(&world);
    work(&world);
    world.clock.set_ahead(DAY * 30);
    let mut world = world.restarted(GatewaySettings::default());
    for _ in 0..2 {
        work(&world);
        assert_eq!((status(&world, &old), check(&world).is_some()), (Status::Good, true));
        // Something was recorded meanwhile, by the same clock.
        enrolled(&world, &format!("SN{}", world.leaves()));
        world.clock.advance(DAY / 2);
        world = world.restarted(GatewaySettings::default());
    }
    world.clock.set_back(DAY * 30);
    let world = world.restarted(GatewaySettings::default());
    work(&world);
    assert!(check(&world).is_none());
    assert_eq!(ocsp_status(&world, old.serial()), certgate::wire::ocsp::CertStatus::Good);
}

/// What is due is done at once, and a restart changes nothing about that.
#[test]
fn a_clock_that_the_operator_accepts_is_believed_at_once_and_after_a_restart() {
    let world = world();
    let old = renewed(&world);
    work(&world);
    world.clock.set_ahead(DAY * 30);
    let world = world.restarted(GatewaySettings::default());
    work(&world);
    let said = check(&world).unwrap();
    assert!(said.hint.contains("certgate doctor --accept-clock"), "{}", said.hint);
    let accepted = world.gateway.accept_clock(&world.authed()).unwrap();
    assert_eq!((accepted.shown, accepted.believed), (world.now(), world.now().minus(DAY * 30)));
    assert!(check(&world).is_none());
    let last = world.gateway.audit_tail(&world.authed(), 1).unwrap().items.remove(0);
    assert_eq!((&*last.action, &*last.actor), ("clock.accepted", "local uid 0"));
    assert_eq!(last.detail["believed"], accepted.believed.to_string());

    let world = world.restarted(GatewaySettings::default());
    work(&world);
    assert_eq!((check(&world), status(&world, &old)), (None, Status::Revoked));
}

#[test]
fn a_clock_that_is_believed_is_not_accepted_nor_one_from_afar() {
    let world = world();
    let refused = |world: &World| match world.gateway.accept_clock(&world.authed()) {
        Err(ServiceError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&world), "the clock is believed: there is nothing to accept");
    world.clock.set_ahead(DAY * 30);
    work(&world);
    let actor = Actor::Token { id: "00".repeat(16).parse().unwrap(), name: "owner".to_owned() };
    let request = world.gateway.new_request();
    let afar = Caller { actor, role: Role::Owner, request, profiles: Vec::new() }.prove().unwrap();
    let Err(ServiceError::Refused(why)) = world.gateway.accept_clock(&afar) else { panic!("accepted") };
    assert_eq!(why, "the clock is accepted on the server itself, over its socket");
    assert!(check(&world).is_some());
    world.gateway.accept_clock(&world.authed()).unwrap();
    assert_eq!(refused(&world), "the clock is believed: there is nothing to accept");
    // That it was right once says nothing of the next jump.
    world.clock.set_ahead(DAY);
    work(&world);
    assert!(check(&world).is_some());
}
