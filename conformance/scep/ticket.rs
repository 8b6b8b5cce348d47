//! Challenges (RFC 8894 §2.4, §7.3): a ticket is for one device, one profile, one certificate.

use std::{collections::BTreeSet, time::Duration};

use certgate::{
    domain::{
        access::{Operate, Read},
        binding::{Assurance, BoundObject},
        enrol::EnrolmentState,
    },
    ports::store::Page,
    service::{
        GatewaySettings, ServiceError,
        enrol::RefusalLimits,
        guard::GuardSettings,
        ticket::{MAX_LIFETIME, NewTicket, TicketState},
    },
    wire::scep::{FailInfo, PkiStatus},
};

use crate::{
    DEVICE,
    common::{Client, DAY, World, WorldOptions},
};

fn wanted(profile: &str, device: &str) -> NewTicket {
    NewTicket {
        profile: profile.parse().unwrap(),
        device: Some(device.parse().unwrap()),
        user: None,
        lifetime: None,
        uses: None,
    }
}

#[test]
fn one_ticket_gives_one_certificate_to_eight_racing_devices() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let clients: Vec<_> = (0..8).map(|_| Client::new()).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let enrol = |client: &Client| client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket)));
        let running: Vec<_> = clients.iter().map(|client| scope.spawn(move || enrol(client))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let granted = answers.iter().filter(|answer| answer.status == PkiStatus::Success).count();
    assert_eq!(granted, 1);
    assert_eq!(world.leaves(), 1);
}

#[test]
fn one_request_sent_eight_times_at_once_gives_one_certificate_to_all() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let serials: BTreeSet<_> = std::thread::scope(|scope| {
        let enrol = || client.enrol(&world, "device", &csr).certificate().serial().to_string();
        let running: Vec<_> = (0..8).map(|_| scope.spawn(enrol)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(serials.len(), 1);
    assert_eq!(world.leaves(), 1);
}

#[test]
fn used_expired_cancelled_foreign_wrong_and_missing_challenges_look_alike() {
    let world = World::new(&[("device", DEVICE), ("other", DEVICE)]);
    let device = world.register("SN1");
    let used = world.ticket("device", &device);
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", Some(&used))).certificate();
    let expired = world.ticket("device", &device);
    world.clock.advance(DAY);
    let cancelled = world.gateway.create_ticket(&world.authed(), &wanted("device", "SN1")).unwrap();
    let view = world.gateway.cancel_ticket(&world.authed::<Operate>(), &cancelled.ticket.id).unwrap();
    assert_eq!(view.state, TicketState::Cancelled);
    let foreign = world.ticket("other", &device);
    let wrong = certgate::types::Secret::from("0000");
    let challenges = [Some(used), Some(expired), Some(cancelled.secret), Some(foreign), Some(wrong), None];
    let texts: BTreeSet<_> = challenges
        .iter()
        .map(|challenge| {
            let client = Client::new();
            let answer = client.enrol(&world, "device", &client.csr("CN=x", challenge.as_ref()));
            (answer.failure().code(), answer.fail_info_text)
        })
        .collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(texts.first().unwrap().0, FailInfo::BadRequest.code());
    assert_eq!(world.leaves(), 1);
}

#[test]
fn s7_3_a_a_reused_ticket_is_on_record_and_a_guess_is_not() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate();
    let events = || world.read(|view| view.last_audit_event()).unwrap();
    let before = events().sequence;

    let junk = Client::new();
    let guess = certgate::types::Secret::from("guess");
    junk.enrol(&world, "device", &junk.csr("CN=x", Some(&guess))).failure();
    assert_eq!(events().sequence, before, "a guess leaves no record");

    let again = Client::new();
    again.enrol(&world, "device", &again.csr("CN=x", Some(&ticket))).failure();
    let event = events();
    // The alarm before it.
    assert_eq!((event.sequence, event.fact.action.as_str()), (before + 2, "enrolment.refused"));
    let enrolment = world.read(|view| view.enrolment(&event.fact.object.parse().unwrap())).unwrap();
    let EnrolmentState::Refused { info, reason } = enrolment.state else { panic!("{:?}", enrolment.state) };
    assert_eq!(info, FailInfo::BadRequest);
    assert!(reason.contains("used up"), "{reason}");
    assert!(enrolment.trace.iter().any(|step| !step.passed));
}

#[test]
fn a_flood_of_refusals_does_not_fill_the_disk() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate();
    let sequence = || world.read(|view| view.last_audit_event()).unwrap().sequence;
    let before = sequence();
    let thief = Client::new();
    let csr = thief.csr("CN=x", Some(&ticket));
    let limit = u64::from(RefusalLimits::default().per_minute);
    for _ in 0..limit + 20 {
        thief.enrol(&world, "device", &csr).failure();
    }
    // And the alarm, once.
    assert_eq!(sequence(), before + limit + 1);
    world.clock.advance(Duration::from_secs(60));
    thief.enrol(&world, "device", &csr).failure();
    assert_eq!(sequence(), before + limit + 2);
}

#[test]
fn a_flood_of_refusals_fills_no_disk_in_a_year_either() {
    let refusals = RefusalLimits { per_client_and_day: 3, ..RefusalLimits::default() };
    let guard = GuardSettings { refusals, ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    let options = WorldOptions { settings, ..WorldOptions::default() };
    // Each refusal has another reason, so that none is like the one before.
    let profile = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"strict\"\n";
    let world = World::with(options, &[("device", profile)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let events = || world.read(|view| view.audit_events(0, 1000));
    let refused = |world: &World, number: u32| {
        for name in 0..number {
            let thief = Client::new();
            thief.enrol(world, "device", &thief.csr(&format!("CN=SN{name}0"), Some(&ticket))).failure();
        }
    };
    let before = events().len();
    refused(&world, 6);
    let actions: Vec<_> = events()[before..].iter().map(|event| event.fact.action.clone()).collect();
    let refusal = "enrolment.refused";
    assert_eq!(actions, [refusal, refusal, refusal, "refusals.not-recorded"]);
    let last = events().pop().unwrap().fact;
    assert_eq!((&*last.object, &*last.detail["limit"]), ("device", "the address and profile in a day"));
    // The next day there is room again.
    world.clock.advance(DAY);
    refused(&world, 5);
    assert_eq!(events().len(), before + 8);
}

#[test]
fn a_ticket_with_three_uses_gives_three_certificates() {
    let world = World::new(&[("device", DEVICE)]);
    world.register("SN1");
    let request = NewTicket { uses: Some(3), ..wanted("device", "SN1") };
    let minted = world.gateway.create_ticket(&world.authed(), &request).unwrap();
    for left in [2, 1, 0] {
        let client = Client::new();
        client.enrol(&world, "device", &client.csr("CN=x", Some(&minted.secret))).certificate();
        let view = world.gateway.ticket(&world.authed::<Read>(), &minted.ticket.id).unwrap();
        assert_eq!(view.uses_left, left);
    }
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", Some(&minted.secret))).failure();
}

#[test]
fn a_ticket_ends_on_the_second() {
    let world = World::new(&[("device", DEVICE)]);
    world.register("SN1");
    let request =
        NewTicket { uses: Some(2), lifetime: Some(Duration::from_secs(60)), ..wanted("device", "SN1") };
    let minted = world.gateway.create_ticket(&world.authed(), &request).unwrap();
    let enrol = || {
        let client = Client::new();
        client.enrol(&world, "device", &client.csr("CN=x", Some(&minted.secret))).status
    };
    world.clock.advance(Duration::from_secs(59));
    assert_eq!(enrol(), PkiStatus::Success);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(enrol(), PkiStatus::Failure);
    let state = |id| world.gateway.ticket(&world.authed::<Read>(), id).unwrap().state;
    assert_eq!(state(&minted.ticket.id), TicketState::Expired);
}

#[test]
fn a_refusal_leaves_the_ticket_whole() {
    let strict = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"strict\"\n";
    let world = World::new(&[("strict", strict)]);
    world.register("SN1");
    let minted = world.gateway.create_ticket(&world.authed(), &wanted("strict", "SN1")).unwrap();
    let client = Client::new();
    client.enrol(&world, "strict", &client.csr("CN=SN2", Some(&minted.secret))).failure();
    let view = world.gateway.ticket(&world.authed::<Read>(), &minted.ticket.id).unwrap();
    assert_eq!((view.state, view.uses_left), (TicketState::Open, 1));
    client.enrol(&world, "strict", &client.csr("CN=SN1", Some(&minted.secret))).certificate();
}

#[test]
fn strict_refuses_another_devices_name_and_fill_overrules_it() {
    let strict = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"strict\"\n";
    let world = World::new(&[("fill", DEVICE), ("strict", strict)]);
    let ours = world.register("SN1");
    world.register("SN2");
    let client = Client::new();
    let csr = client.csr("CN=SN2", Some(&world.ticket("strict", &ours)));
    assert_eq!(client.enrol(&world, "strict", &csr).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
    let csr = client.csr("CN=SN2", Some(&world.ticket("fill", &ours)));
    let answer = client.enrol(&world, "fill", &csr);
    assert_eq!(answer.certificate().subject().common_name().as_deref(), Some("SN1"));
}

#[test]
fn tickets_are_refused_where_they_could_not_be_used() {
    let closed = "subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]\n";
    let world = World::new(&[("device", DEVICE), ("closed", closed)]);
    world.register("SN1");
    let create = |wanted: &NewTicket| world.gateway.create_ticket(&world.authed(), wanted).map(drop);
    assert!(matches!(create(&wanted("closed", "SN1")), Err(ServiceError::Refused(_))));
    assert!(matches!(create(&wanted("nowhere", "SN1")), Err(ServiceError::NotFound { what: "profile", .. })));
    assert!(matches!(create(&wanted("device", "SN9")), Err(ServiceError::NotFound { what: "device", .. })));
    let long = NewTicket { lifetime: Some(MAX_LIFETIME + DAY), ..wanted("device", "SN1") };
    assert!(matches!(create(&long), Err(ServiceError::Invalid { .. })));
    let none = NewTicket { device: None, ..wanted("device", "SN1") };
    assert!(matches!(create(&none), Err(ServiceError::Invalid { .. })));
    assert!(world.gateway.tickets(&world.authed(), &Page::first(10)).unwrap().items.is_empty());
}

#[test]
fn ticket_secrets_are_long_unambiguous_and_never_stored() {
    let world = World::new(&[("device", DEVICE)]);
    world.register("SN1");
    let minted = world.gateway.create_ticket(&world.authed(), &wanted("device", "SN1")).unwrap();
    let secret = String::from_utf8(minted.secret.expose().to_vec()).unwrap();
    assert_eq!(secret.len(), 24);
    assert!(secret.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()));
    assert!(!secret.contains(['I', 'L', 'O', 'U']));
    let stored = world.read(|view| view.ticket(&minted.ticket.id)).unwrap();
    assert!(!format!("{stored:?}").contains(&secret));
    assert!(!serde_json::to_string(&minted.ticket).unwrap().contains(&secret));
}

#[test]
fn an_unbound_ticket_binds_the_device_that_the_request_names_with_medium_assurance() {
    const UNBOUND: &str = r#"
        subject = "CN=$DEVICE_ID$"
        challenge = ["unbound-ticket"]
    "#;
    let world = World::new(&[("device", DEVICE), ("lab", UNBOUND)]);
    world.register("SN1");
    let unbound = |profile| {
        let wanted = NewTicket { device: None, ..wanted(profile, "SN1") };
        world.gateway.create_ticket(&world.authed(), &wanted).map(|minted| minted.secret)
    };
    assert!(unbound("device").is_err(), "a profile that does not name unbound-ticket takes none");
    let bound = world.gateway.create_ticket(&world.authed(), &wanted("lab", "SN1"));
    assert!(bound.is_err(), "a profile that names only unbound-ticket takes no others");

    let ticket = unbound("lab").unwrap();
    let stranger = Client::new();
    let refused = stranger.enrol(&world, "lab", &stranger.csr("CN=SN2", Some(&ticket)));
    assert_eq!(refused.failure(), FailInfo::BadRequest, "SN2 is not registered");
    let client = Client::new();
    let answer = client.enrol(&world, "lab", &client.csr("CN=SN1", Some(&ticket)));
    let binding = world.bindings(answer.certificate()).remove(0);
    assert_eq!(binding.assurance, Assurance::Medium);
    assert!(matches!(binding.object, BoundObject::Device { id, .. } if id.as_str() == "SN1"));
    let again = Client::new();
    let refused = again.enrol(&world, "lab", &again.csr("CN=SN1", Some(&ticket)));
    assert_eq!(refused.failure(), FailInfo::BadRequest, "it is used up");
}
