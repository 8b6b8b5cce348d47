//! Who guesses challenges is locked out; who is merely many is not.

use std::{
    net::IpAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use certgate::{
    domain::{
        access::{Operate, Read},
        alarm::{MAX_ALARMS, OPEN_FOR, TicketAlarm},
        status::Status,
        throttle::{LockOut, Pace},
    },
    ports::store::Page,
    service::{
        GatewaySettings,
        enrol::RefusalLimits,
        exchange::ExchangeFilter,
        guard::{GuardSettings, Weight},
        scep::{Origin, ScepError},
        ticket::NewTicket,
    },
    types::{Secret, TicketId},
    wire::{
        scep::{IssuerAndSubject, MessageType, PkiStatus},
        x509::{Certificate, GeneralName},
    },
};

use crate::{
    DEVICE,
    common::{Client, MessageOptions, World, WorldOptions},
    race,
};

/// The address from which a [`World`] is asked.
const PEER: &str = "192.0.2.7";

fn world() -> World {
    let lock_out = Some(LockOut { guesses: 5, time: Duration::from_secs(600) });
    let guard = GuardSettings { lock_out, ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", DEVICE)])
}

/// Whether the address may enrol with a challenge now.
fn enrols(world: &World, address: &str) -> bool {
    let client = Client::new();
    let csr = client.csr("CN=x", None);
    let message = client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr);
    !is_turned_away(world, address, &message)
}

fn is_turned_away(world: &World, address: &str, message: &[u8]) -> bool {
    let origin = Origin { peer: address.to_owned(), ..world.origin() };
    let answer = world.gateway.pki_operation(&"device".parse().unwrap(), message, &origin);
    matches!(answer, Err(ScepError::TooSoon { retry_after }) if retry_after <= Duration::from_secs(600))
}

/// Whether the address may ask now, as the edge does.
fn admitted(world: &World, address: &str) -> bool {
    let client: IpAddr = address.parse().unwrap();
    world.gateway.admit(&"device".parse().unwrap(), client, Weight::Operation).is_ok()
}

fn try_challenge(world: &World, challenge: &str) {
    let client = Client::new();
    client.enrol(world, "device", &client.csr("CN=x", Some(&Secret::from(challenge)))).failure();
}

/// The audit record is kept for ever, and who knows a static challenge chooses what the names in his requests are.
#[test]
fn what_is_on_record_of_a_refusal_does_not_grow_with_the_request() {
    let secret = Secret::from("correct horse");
    let mut options = WorldOptions::default();
    options.settings.static_challenges.insert("device".parse().unwrap(), vec![secret.clone()]);
    let strict = format!("{DEVICE}\nmatch = \"strict\"\nchallenge = [\"static\"]\nidentify = \"san.dns\"");
    let world = World::with(options, &[("device", &strict)]);
    world.register("SN1");
    let client = Client::new();
    let subject = vec![format!("OU={}", "x".repeat(64)); 100].join(",");
    let csr = client.csr_with(&subject, &[GeneralName::Dns("SN1".to_owned())], Some(&secret));
    let answer = client.enrol(&world, "device", &csr);
    assert_eq!(answer.fail_info_text.as_deref(), Some("The names in the request are not accepted."));
    let event = world.read(|view| view.last_audit_event()).unwrap();
    assert_eq!(event.fact.action, "enrolment.refused");
    let enrolment = world.read(|view| view.enrolment(&event.fact.object.parse().unwrap())).unwrap();
    let length = |value: serde_json::Value| value.to_string().len();
    assert!(length(serde_json::to_value(&event).unwrap()) < 1500);
    assert!(length(serde_json::to_value(&enrolment.trace).unwrap()) < 2500);
    assert!(length(serde_json::to_value(&enrolment.state).unwrap()) < 1000);
}

#[test]
fn different_wrong_challenges_lock_an_address_out_for_a_while() {
    let world = world();
    for number in 0..5 {
        assert!(enrols(&world, PEER), "after {number} guesses");
        try_challenge(&world, &format!("guess-{number}"));
    }
    assert!(!enrols(&world, PEER));
    assert!(enrols(&world, "192.0.2.8"), "others are not concerned");
    let event = world.read(|view| view.last_audit_event()).unwrap();
    assert_eq!((event.fact.action.as_str(), event.fact.object.as_str()), ("address.locked-out", PEER));
    let health = world.gateway.health();
    assert!(health.checks.iter().any(|check| check.name == "lock-outs"));
    world.clock.advance(Duration::from_secs(600));
    assert!(enrols(&world, PEER));
    assert!(!world.gateway.health().checks.iter().any(|check| check.name == "lock-outs"));
}

#[test]
fn whoever_has_a_certificate_that_does_not_renew_guesses_no_more_freely() {
    let world = world();
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let old = client.enrol(&world, "device", &client.csr("CN=SN1", Some(&ticket))).certificate().clone();
    world.revoke(&old);
    let client = client.with_identity(&old);
    for number in 0..5 {
        assert!(enrols(&world, PEER), "after {number} guesses");
        let guess = Secret::from(format!("guess-{number}").as_str());
        client.enrol(&world, "device", &client.csr("CN=SN1", Some(&guess))).failure();
    }
    assert!(!enrols(&world, PEER));
}

#[test]
fn a_fleet_behind_one_address_with_one_wrong_challenge_locks_nobody_out() {
    let world = world();
    for _ in 0..20 {
        try_challenge(&world, "last-years-challenge");
    }
    assert!(enrols(&world, PEER));
}

#[test]
fn tickets_that_once_were_right_are_no_guesses() {
    let world = world();
    for number in 0..8 {
        let ticket = world.ticket("device", &world.register(&format!("SN{number}")));
        let (first, second) = (Client::new(), Client::new());
        first.enrol(&world, "device", &first.csr("CN=x", Some(&ticket))).certificate();
        let again = second.enrol(&world, "device", &second.csr("CN=x", Some(&ticket)));
        assert_eq!(again.status, PkiStatus::Failure);
        let without = second.enrol(&world, "device", &second.csr("CN=x", None));
        assert_eq!(without.status, PkiStatus::Failure);
    }
    assert!(enrols(&world, PEER));
}

/// From now on the address of a [`World`] is locked out.
fn guess(world: &World) {
    (0..5).for_each(|number| try_challenge(world, &format!("guess-{number}")));
    assert!(!enrols(world, PEER));
}

#[test]
fn who_guesses_shuts_out_no_renewal_and_no_poll_behind_the_same_address() {
    let world = world();
    let (renewing, polling) = (Client::new(), Client::new());
    let (certificate, _) = enrolled(&world, &renewing);
    let ticket = world.ticket("device", &world.register("SN2"));
    polling.enrol(&world, "device", &polling.csr("CN=x", Some(&ticket))).certificate();
    guess(&world);

    let renewing = renewing.with_identity(&certificate);
    let csr = renewing.csr("CN=x", None);
    renewing.renew(&world, "device", &csr).certificate();
    // Cisco renews with a PKCSReq, FortiGate sends its old challenge along.
    let other = renewing.in_transaction("another").enrol(&world, "device", &csr);
    other.certificate();
    let names = IssuerAndSubject {
        issuer: world.issuer("issuing").subject().clone(),
        subject: "CN=x".parse().unwrap(),
    };
    let poll = |client: &Client| {
        client.message(
            &world.message_certificate("device"),
            &MessageType::CertPoll.into(),
            &names.to_der().unwrap(),
        )
    };
    polling.send(&world, "device", &poll(&polling)).certificate();
    assert!(is_turned_away(&world, PEER, &poll(&Client::new())), "nobody began this transaction");
}

#[test]
fn a_lock_out_is_none_for_certificates_that_are_not_good_or_not_ours() {
    let world = world();
    let client = Client::new();
    let (certificate, _) = enrolled(&world, &client);
    guess(&world);
    let renewal = |identity: &Certificate| {
        let client = client.with_identity(identity).in_transaction("renewal");
        let recipient = world.message_certificate("device");
        client.message(&recipient, &MessageType::RenewalReq.into(), &client.csr("CN=x", None))
    };
    assert!(is_turned_away(&world, PEER, &renewal(&client.identity)));
    world.revoke(&certificate);
    assert!(is_turned_away(&world, PEER, &renewal(&certificate)));
}

#[test]
fn behind_a_lock_out_no_challenge_is_looked_at() {
    let world = world();
    let client = Client::new();
    let (certificate, _) = enrolled(&world, &client);
    let ticket = world.ticket("device", &world.register("SN2"));
    guess(&world);
    // A holder of one certificate who now guesses right gets what a renewal gives, and nothing else.
    let insider = client.with_identity(&certificate).in_transaction("insider");
    let renewed = insider.enrol(&world, "device", &insider.csr("CN=x", Some(&ticket)));
    assert_eq!(renewed.certificate().subject().to_string(), "CN=SN1,O=Test");
}

#[test]
fn who_guesses_with_a_certificate_of_ours_is_locked_out_like_everybody() {
    let world = world();
    let client = Client::new();
    let (certificate, _) = enrolled(&world, &client);
    let insider = client.with_identity(&certificate);
    for number in 0..5 {
        assert!(enrols(&world, PEER), "after {number} guesses");
        let insider = insider.in_transaction(&format!("guess-{number}"));
        let csr = insider.csr("CN=x", Some(&Secret::from(format!("guess-{number}").as_str())));
        insider.enrol(&world, "device", &csr).certificate();
    }
    assert!(!enrols(&world, PEER));
}

#[test]
fn a_stranger_who_is_locked_out_costs_no_private_key() {
    let world = world();
    guess(&world);
    let client = Client::new();
    let csr = client.csr("CN=x", None);
    let message = client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr);
    assert!(is_turned_away(&world, PEER, &message));
    let filter = ExchangeFilter::default();
    let exchange =
        world.gateway.exchanges(&world.authed(), &filter, &Page::first(1)).unwrap().items.remove(0);
    let checks: Vec<_> = exchange.steps.iter().map(|step| (step.check.as_ref(), step.passed)).collect();
    assert_eq!(checks.last(), Some(&("lock-out", false)));
    assert!(!checks.iter().any(|(check, _)| matches!(*check, "envelope" | "decryption")), "{checks:?}");
    assert!(exchange.hint.contains("Renewals and polls go on"), "{}", exchange.hint);
}

#[test]
fn without_configured_limits_a_company_enrols_from_one_address() {
    let world = World::new(&[("device", DEVICE)]);
    assert!((0..10_000).all(|_| admitted(&world, PEER)));
}

#[test]
fn the_limit_of_an_address_counts_a_network_of_ipv6_once() {
    let guard = GuardSettings { per_client: Pace::per_minute(3), ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    let world = World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", DEVICE)]);
    assert!((1..=3).all(|host| admitted(&world, &format!("2001:db8::{host}"))));
    assert!(!admitted(&world, "2001:db8::4"));
    assert!(admitted(&world, "2001:db8:0:1::4"));
    world.clock.advance(Duration::from_secs(20));
    assert!(admitted(&world, "2001:db8::5"));
    assert!(!admitted(&world, "2001:db8::6"));
}

/// What `doctor` says of alarms.
fn alarm_check(world: &World) -> Option<String> {
    world.gateway.health().checks.into_iter().find(|check| check.name == "alarms").map(|check| check.detail)
}

fn alarms(world: &World) -> Vec<TicketAlarm> {
    world.gateway.alarms(&world.authed::<Read>()).unwrap().items
}

fn status(world: &World, certificate: &Certificate) -> Status {
    let id = world.record(certificate).id;
    world.gateway.certificate(&world.authed::<Read>(), &id).unwrap().status
}

/// A certificate by a ticket, and the ticket.
fn enrolled(world: &World, client: &Client) -> (Certificate, Secret) {
    let ticket = world.ticket("device", &world.register("SN1"));
    let csr = client.csr("CN=x", Some(&ticket));
    (client.enrol(world, "device", &csr).certificate().clone(), ticket)
}

#[test]
fn s7_3_a_used_up_ticket_from_another_key_rings_until_it_is_acknowledged() {
    let world = world();
    let (device, thief) = (Client::new(), Client::new());
    let (certificate, ticket) = enrolled(&world, &device);
    assert_eq!(alarm_check(&world), None);
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();

    let alarm = alarms(&world).remove(0);
    assert_eq!((alarm.times, alarm.held, alarm.peer.as_str()), (1, false, PEER));
    let told = alarm_check(&world).unwrap();
    assert!(told.starts_with("a used-up ticket came again with another key ("), "{told}");
    assert_eq!(alarm.certificates, [world.record(&certificate).id]);
    assert_eq!(alarm.device.as_ref().unwrap().as_str(), "SN1");
    assert!(alarm_check(&world).unwrap().contains(alarm.ticket.as_str()));
    assert_eq!(status(&world, &certificate), Status::Good, "an alarm alone harms nobody");
    let world = world.restarted(GatewaySettings::default());
    assert!(alarm_check(&world).is_some(), "it outlasts the process");

    world.gateway.acknowledge_alarm(&world.authed::<Operate>(), &alarm.ticket).unwrap();
    assert_eq!(alarm_check(&world), None);
    thief.enrol(&world, "device", &thief.csr("CN=y", Some(&ticket))).failure();
    assert!(alarm_check(&world).is_some(), "again is news");
    assert_eq!(alarms(&world)[0].times, 2);
}

#[test]
fn s7_3_the_device_itself_rings_no_alarm() {
    let world = world();
    let device = Client::new();
    let (_, ticket) = enrolled(&world, &device);
    let again = device.in_transaction("another-transaction");
    again.enrol(&world, "device", &again.csr("CN=another", Some(&ticket))).failure();
    assert_eq!(alarms(&world), []);
}

#[test]
fn s7_3_an_envelope_that_somebody_else_sends_again_rings_no_alarm_while_it_waits() {
    let manual = format!("{DEVICE}\napproval = \"manual\"");
    let world = World::new(&[("device", &manual)]);
    let (device, thief) = (Client::new(), Client::new());
    let ticket = world.ticket("device", &world.register("SN1"));
    let csr = device.csr("CN=x", Some(&ticket));
    assert_eq!(device.enrol(&world, "device", &csr).status, PkiStatus::Pending);
    // What was on the wire, under another signature: nobody has read the ticket.
    thief.enrol(&world, "device", &csr).failure();
    assert_eq!(alarms(&world), []);
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();
    assert_eq!(alarms(&world).len(), 1);
}

#[test]
fn s7_3_ringing_on_fills_no_disk() {
    let world = world();
    let (device, thief) = (Client::new(), Client::new());
    let (_, ticket) = enrolled(&world, &device);
    let csr = thief.csr("CN=x", Some(&ticket));
    let rings = |times: u32| {
        for _ in 0..times {
            thief.enrol(&world, "device", &csr).failure();
        }
        (on_record(&world), alarms(&world)[0].times)
    };
    assert_eq!(rings(10), (1, 1));
    // It goes on for ever, and is counted once a minute.
    for minute in 2..=5 {
        world.clock.advance(Duration::from_secs(60));
        assert_eq!(rings(2), (1, minute));
    }
    // What somebody has seen is news when it comes again, and so is what was quiet for long.
    world.gateway.acknowledge_alarm(&world.authed::<Operate>(), &alarms(&world)[0].ticket).unwrap();
    assert_eq!(rings(2), (2, 6));
    world.clock.advance(OPEN_FOR);
    assert_eq!(rings(2), (3, 7));
}

/// How many alarms the audit record has.
fn on_record(world: &World) -> usize {
    let events = world.read(|view| view.audit_events(0, 10_000));
    events.iter().filter(|event| event.fact.action == "ticket.reused").count()
}

#[test]
fn s7_3_more_tickets_than_there_are_alarms_fill_no_disk_either() {
    let refusals = RefusalLimits { per_client_and_day: 5, ..RefusalLimits::default() };
    let guard = GuardSettings { refusals, ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    let world = World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", DEVICE)]);
    let (device, thief) = (Client::new(), Client::new());
    let (_, ticket) = enrolled(&world, &device);
    let csr = thief.csr("CN=x", Some(&ticket));
    for _ in 0..10 {
        thief.enrol(&world, "device", &csr).failure();
        world.clock.advance(Duration::from_secs(60));
        let own = alarms(&world).pop().unwrap();
        // Others rang, and this one gave way.
        let other = |number| TicketAlarm { ticket: TicketId::from_random([number; 16]), ..own.clone() };
        let others: Vec<_> = (0..).map(other).take(MAX_ALARMS).collect();
        world.write(|tx| tx.put_alarms(&others));
    }
    assert_eq!(on_record(&world), 3, "each beside the refusal itself, of five in a day");
}

#[test]
fn s7_3_where_the_profile_says_so_what_came_of_the_ticket_is_on_hold() {
    let hold_on_reuse = ["device".parse().unwrap()].into();
    let guard = GuardSettings { hold_on_reuse, ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    let world = World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", DEVICE)]);
    let (device, thief) = (Client::new(), Client::new());
    let (certificate, ticket) = enrolled(&world, &device);
    let renewing = device.with_identity(&certificate);
    let renewed = renewing.enrol(&world, "device", &renewing.csr("CN=x", None));
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();
    for held in [&certificate, renewed.certificate()] {
        assert_eq!(status(&world, held), Status::Hold);
    }
    assert!(alarms(&world)[0].held);
    let id = world.record(&certificate).id;
    let released = world.gateway.release_certificate(&world.authed(), &id, "it was the device").unwrap();
    assert_eq!(released.status, Status::Good);
}

#[test]
fn s7_3_what_is_renewed_while_the_alarm_rings_is_on_hold_too() {
    let hold_on_reuse = ["device".parse().unwrap()].into();
    let guard = GuardSettings { hold_on_reuse, ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    let world = World::new(&[("device", DEVICE)]);
    let (device, thief) = (Client::new(), Client::new());
    let (certificate, ticket) = enrolled(&world, &device);
    let (world, store) = race::interrupted(world, settings, Box::new(|| ()));
    let world = Arc::new(world);
    let renewing = device.with_identity(&certificate).in_transaction("renewal");
    let (inner, (told, renewed)) = (world.clone(), mpsc::channel());
    *store.act.lock().unwrap() = Some(Box::new(move || {
        let answer = renewing.renew(&inner, "device", &renewing.csr("CN=x", None));
        told.send(answer.certificate().clone()).unwrap();
    }));
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();
    for held in [&certificate, &renewed.recv().unwrap()] {
        assert_eq!(status(&world, held), Status::Hold);
    }
    assert_eq!(alarms(&world)[0].certificates.len(), 2);
}

/// A profile under which whoever has a ticket for nobody in particular enrols, also as somebody whom nobody has registered.
const OPEN: &str = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"claim\"\nchallenge = [\"unbound-ticket\"]\nallow-unregistered = true";

fn open_world() -> (World, Secret) {
    let hold_on_reuse = ["device".parse().unwrap()].into();
    let guard = GuardSettings { hold_on_reuse, ..GuardSettings::default() };
    let settings = GatewaySettings { guard, ..GatewaySettings::default() };
    let world = World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", OPEN)]);
    let wanted = NewTicket {
        profile: "device".parse().unwrap(),
        device: None,
        user: None,
        lifetime: None,
        uses: None,
    };
    let ticket = world.gateway.create_ticket(&world.authed(), &wanted).unwrap().secret;
    (world, ticket)
}

#[test]
fn s7_3_a_device_that_nobody_registered_rings_no_alarm_when_it_asks_again() {
    let (world, ticket) = open_world();
    let device = Client::new();
    let first = device.enrol(&world, "device", &device.csr("CN=phone", Some(&ticket)));
    assert_eq!(world.bindings(first.certificate()), [], "bound to nobody");
    let again = device.in_transaction("another");
    again.enrol(&world, "device", &again.csr("CN=phone", Some(&ticket))).failure();
    again.enrol(&world, "device", &again.csr("CN=another name", Some(&ticket))).failure();
    assert_eq!(alarms(&world), []);
}

#[test]
fn s7_3_what_came_of_a_ticket_for_nobody_is_found_without_a_binding_renewals_included() {
    let (world, ticket) = open_world();
    let (device, thief) = (Client::new(), Client::new());
    let first = device.enrol(&world, "device", &device.csr("CN=phone", Some(&ticket)));
    let renewing = device.with_identity(first.certificate()).in_transaction("renewal");
    let renewed = renewing.renew(&world, "device", &renewing.csr("CN=phone", None));
    thief.enrol(&world, "device", &thief.csr("CN=phone", Some(&ticket))).failure();
    assert_eq!(alarms(&world)[0].certificates.len(), 2);
    for held in [first.certificate(), renewed.certificate()] {
        assert_eq!(status(&world, held), Status::Hold);
    }
}

#[test]
fn s7_3_who_was_rejected_by_an_operator_and_asks_again_is_no_thief() {
    let manual = format!("{DEVICE}\napproval = \"manual\"");
    let world = World::new(&[("device", &manual)]);
    let device = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    device.enrol(&world, "device", &device.csr("CN=x", Some(&ticket)));
    let waiting = world.read(|view| view.pending_enrolments(1)).remove(0).id;
    world.gateway.reject_enrolment(&world.authed(), &waiting, "not yet").unwrap();
    let again = device.in_transaction("another");
    again.enrol(&world, "device", &again.csr("CN=x", Some(&ticket))).failure();
    assert_eq!(alarms(&world), []);
}

/// Each is looked up, not compared with every other, which took seconds for twenty kilobytes: comparing them allocates.
#[test]
fn twice_as_many_names_cost_twice_as_much() {
    let open = "subject = \"\"\nmatch = \"claim\"\napproval = \"manual\"\nchallenge = []\nidentify = \"subject.cn\"\nallow-unregistered = true";
    let world = World::with(WorldOptions::default(), &[("device", open)]);
    let name = |number| GeneralName::DirName(format!("CN=host-{number}").parse().unwrap());
    let allocations = |names: usize| {
        let client = Client::new();
        let csr = client.csr_with("CN=x", &(0..names).map(name).collect::<Vec<_>>(), None);
        let enrolled = || assert_eq!(client.enrol(&world, "device", &csr).status, PkiStatus::Pending);
        allocation_counter::measure(enrolled).count_total
    };
    let (few, many) = (allocations(250), allocations(500));
    assert!(many < 3 * few, "{few} allocations for 250 names, {many} for 500");
}
