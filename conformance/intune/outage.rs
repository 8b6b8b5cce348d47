//! Intune is slow, down or broken: the client is told to come back, nothing is handed out that was not told, nothing is lost.

use std::time::Duration;

use certgate::{
    domain::{queue::JobKind, status::CauseKind, vouch::Voucher},
    service::{GatewaySettings, scep::ScepError},
    wire::scep::{FailInfo, IssuerAndSerialNumber, IssuerAndSubject, MessageType},
};

use crate::{
    PROFILE, asking, asking_from, challenge,
    common::{Client, World},
    fake::{Action, Fake, Fault},
    settings, world, world_with,
};

fn enrol(world: &World, client: &Client) -> Result<(), ScepError> {
    let csr = client.csr("CN=x", Some(&challenge()));
    let message = client.message(&world.message_certificate("phones"), &MessageType::PkcsReq.into(), &csr);
    world.pki_operation("phones", &message).map(|rep| {
        client.open(&message, rep).certificate();
    })
}

fn waits(world: &World, client: &Client) -> Duration {
    match enrol(world, client) {
        Err(ScepError::Away { retry_after }) => retry_after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_answer_is_no_refusal_whatever_is_wrong() {
    for (action, fault) in [
        (Action::Validate, Fault::Status(500, None)),
        (Action::Validate, Fault::Status(403, None)),
        (Action::Validate, Fault::Garbage),
        (Action::Validate, Fault::Huge),
        (Action::Validate, Fault::Redirect),
        (Action::Validate, Fault::Close),
        (Action::Validate, Fault::Slow(Duration::from_secs(3))),
        (Action::Discovery, Fault::Status(500, None)),
        (Action::Discovery, Fault::Garbage),
        (Action::Token, Fault::Status(500, None)),
        (Action::Token, Fault::Garbage),
    ] {
        let (world, fake) = world();
        fake.fail(action, [fault.clone()]);
        let client = Client::new();
        waits(&world, &client);
        assert_eq!(world.leaves(), 0, "{action:?} {fault:?}");
        world.clock.advance(Duration::from_secs(20));
        enrol(&world, &client).unwrap();
        assert_eq!(fake.deviations(), Vec::<String>::new());
    }
}

#[test]
fn the_client_is_told_to_come_back_when_intune_says_so() {
    for status in [429, 503] {
        let (world, fake) = world();
        fake.fail(Action::Validate, [Fault::Status(status, Some(7))]);
        let client = Client::new();
        assert_eq!(waits(&world, &client), Duration::from_secs(7));
        let asked = fake.count(Action::Validate);
        assert!(waits(&world, &client) <= Duration::from_secs(7));
        assert_eq!(fake.count(Action::Validate), asked, "it is left alone meanwhile");
    }
}

#[test]
fn a_token_that_is_refused_is_replaced_once() {
    let (world, fake) = world();
    enrol(&world, &Client::new()).unwrap();
    fake.expire_tokens();
    enrol(&world, &Client::new()).unwrap();
    assert_eq!(fake.count(Action::Token), 3);
    fake.fail(Action::Validate, [Fault::Status(401, None), Fault::Status(401, None)]);
    waits(&world, &Client::new());
    assert_eq!(fake.count(Action::Token), 4, "not a second time");
}

/// A clock that is wrong is the usual reason why Entra ID refuses an assertion, and why TLS fails.
#[test]
fn a_refusal_is_forgotten_when_the_clock_is_set_right() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let (world, fake) = world();
    world.clock.advance(YEAR);
    fake.fail(Action::Token, [Fault::Status(401, None)]);
    let client = Client::new();
    waits(&world, &client);
    world.clock.set_back(YEAR);
    enrol(&world, &client).unwrap();
}

#[test]
fn where_the_services_are_is_asked_again_after_a_failure() {
    let (world, fake) = world();
    fake.fail(Action::Validate, [Fault::Status(404, None)]);
    let client = Client::new();
    waits(&world, &client);
    enrol(&world, &client).unwrap();
    assert_eq!(fake.count(Action::Discovery), 2);
}

/// Recorded, and Intune could not be told of it.
fn undelivered(world: &World, fake: &Fake) -> Client {
    fake.fail(Action::Success, [Fault::Status(500, None)]);
    let client = Client::new();
    waits(world, &client);
    assert_eq!(world.leaves(), 1, "it is recorded");
    client
}

fn leaf(world: &World) -> certgate::domain::certificate::CertificateRecord {
    let page = certgate::ports::store::Page::first(100);
    world.read(|view| view.certificates(&page)).into_iter().find(|record| record.enrolment.is_some()).unwrap()
}

fn get_cert(world: &World, client: &Client) -> Vec<u8> {
    let asked = IssuerAndSerialNumber {
        issuer: world.issuer("issuing").subject().clone(),
        serial: leaf(world).id.serial,
    };
    let payload = asked.to_der().unwrap();
    client.message(&world.message_certificate("phones"), &MessageType::GetCert.into(), &payload)
}

#[test]
fn nothing_is_handed_out_before_intune_was_told() {
    let (world, fake) = world();
    let client = undelivered(&world, &fake);
    fake.fail(Action::Success, vec![Fault::Code("Unknown"); 2]);
    waits(&world, &client);
    let message = get_cert(&world, &client);
    assert!(matches!(world.pki_operation("phones", &message), Err(ScepError::Away { .. })), "GetCert");
    enrol(&world, &client).unwrap();
    assert_eq!(world.leaves(), 1, "the same certificate");
    assert_eq!(fake.count(Action::Validate), 1);
}

#[test]
fn a_crash_between_the_commit_and_the_telling_loses_nothing() {
    let (world, fake) = world();
    let client = undelivered(&world, &fake);
    let ports = asking(&world, &fake, settings(&fake));
    let world = world.restarted_on(ports, GatewaySettings::default());
    enrol(&world, &client).unwrap();
    assert_eq!((world.leaves(), fake.count(Action::Validate)), (1, 1));
    let lane = JobKind::TellIssued { by: Voucher::Intune, certificate: leaf(&world).id }.lane();
    assert_eq!(world.read(|view| view.job_in_lane(&lane)), None, "it is told");
}

#[test]
fn the_worker_tells_too_and_the_next_try_gets_the_certificate_at_once() {
    let (world, fake) = world();
    let client = undelivered(&world, &fake);
    world.clock.advance(Duration::from_secs(61));
    world.gateway.run_outside().unwrap();
    assert_eq!(fake.count(Action::Success), 2);
    enrol(&world, &client).unwrap();
    assert_eq!(fake.count(Action::Success), 2);
}

#[test]
fn what_could_not_be_handed_out_for_a_day_is_revoked_with_its_cause() {
    let (world, fake) = world();
    let client = undelivered(&world, &fake);
    let id = leaf(&world).id;
    fake.fail(Action::Success, vec![Fault::Status(500, None); 100]);
    for _ in 0..24 {
        world.clock.advance(Duration::from_secs(59 * 60));
        world.gateway.run_outside().unwrap();
    }
    assert!(world.read(|view| view.causes(&id)).is_empty());
    world.clock.advance(Duration::from_secs(3600));
    world.gateway.run_outside().unwrap();
    let cause = world.read(|view| view.causes(&id)).remove(0);
    assert_eq!((cause.key.kind, cause.key.reference.as_str()), (CauseKind::Voucher, "intune/undelivered"));
    assert!(cause.note.contains("could not be told"), "{}", cause.note);
    let lane = JobKind::TellIssued { by: Voucher::Intune, certificate: id }.lane();
    assert_eq!(world.read(|view| view.job_in_lane(&lane)), None);
    let answer = client.send(&world, "phones", &get_cert(&world, &client));
    assert_eq!(answer.failure(), FailInfo::BadCertId, "never handed out, now neither");
    let poll = IssuerAndSubject {
        issuer: world.issuer("issuing").subject().clone(),
        subject: "CN=x".parse().unwrap(),
    };
    let poll = poll.to_der().unwrap();
    assert_eq!(client.ask(&world, "phones", MessageType::CertPoll, &poll).failure(), FailInfo::BadCertId);
}

#[test]
fn without_waiting_it_is_handed_out_at_once_and_told_of_later() {
    let (world, fake) = world_with(PROFILE, |settings| settings.wait_for_success_notification = false);
    fake.fail(Action::Success, [Fault::Status(500, None)]);
    enrol(&world, &Client::new()).unwrap();
    world.clock.advance(Duration::from_secs(61));
    world.gateway.run_outside().unwrap();
    assert_eq!(fake.count(Action::Success), 2);
    let jobs = world.gateway.jobs(&world.authed(), 100).unwrap().items;
    assert!(jobs.iter().all(|job| !job.lane.starts_with("intune/issued")), "{jobs:?}");
}

#[test]
fn requests_that_need_nobody_else_are_answered_while_intune_is_down() {
    let (world, fake) = world();
    fake.fail(Action::Validate, vec![Fault::Close; 10]);
    let client = Client::new();
    for _ in 0..4 {
        waits(&world, &client);
    }
    let plain = Client::new();
    let answer = plain.enrol(&world, "phones", &plain.csr("CN=x", None));
    assert_eq!(answer.failure(), FailInfo::BadRequest, "no challenge, nobody is asked");
}

#[test]
fn a_slow_intune_holds_no_more_threads_than_it_may() {
    let (world, fake) = world_with(PROFILE, |settings| settings.places = 1);
    enrol(&world, &Client::new()).unwrap();
    let next = refused_a_place(&world, &fake, Action::Validate, 2);
    enrol(&world, &next).unwrap();
}

/// One client waits, as the `asked`th of all, for what is slow; the next one, which is given back, is told at once that there is no
/// place, and asks nobody.
fn refused_a_place(world: &World, fake: &Fake, what: Action, asked: usize) -> Client {
    fake.fail(what, [Fault::Slow(Duration::from_secs(1))]);
    let (slow, next) = (Client::new(), Client::new());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waits(world, &slow));
        while fake.count(what) < asked {
            std::thread::yield_now();
        }
        assert_eq!(waits(world, &next), Duration::from_secs(2), "told at once that there is no place");
        assert_eq!(fake.count(what), asked);
        waiting.join().unwrap();
    });
    next
}

#[test]
fn who_waits_for_a_token_that_another_one_asks_for_has_one_of_the_places_of_all() {
    let (world, fake) = world();
    let ports = asking_from(&world, &fake, settings(&fake), 1);
    let world = world.restarted_on(ports, GatewaySettings::default());
    // Without a place of its own the next one would wait for the token, and hear what became of that.
    refused_a_place(&world, &fake, Action::Token, 1);
}

#[test]
fn what_was_handed_out_untold_is_never_revoked_for_that_whatever_is_configured_later() {
    let without = |settings: &mut certgate::adapters::intune::IntuneSettings| {
        settings.wait_for_success_notification = false;
    };
    let (world, fake) = world_with(PROFILE, without);
    fake.fail(Action::Success, vec![Fault::Status(500, None); 1000]);
    let client = Client::new();
    enrol(&world, &client).unwrap();
    let id = leaf(&world).id;
    let ports = asking(&world, &fake, settings(&fake));
    let world = world.restarted_on(ports, GatewaySettings::default());
    for _ in 0..30 {
        world.clock.advance(Duration::from_secs(3600));
        world.gateway.run_outside().unwrap();
    }
    assert!(world.read(|view| view.causes(&id)).is_empty());
    // The device lost it: it is given again, for it was out already.
    let answer = client.send(&world, "phones", &get_cert(&world, &client));
    assert_eq!(world.record(answer.certificate()).id, id);
    fake.recover();
    world.clock.advance(Duration::from_secs(3600));
    world.gateway.run_outside().unwrap();
    let lane = JobKind::TellIssued { by: Voucher::Intune, certificate: id }.lane();
    assert_eq!(world.read(|view| view.job_in_lane(&lane)), None, "told in the end");
}

#[test]
fn what_waited_and_is_handed_out_after_a_change_is_not_revoked_after_the_next() {
    let (world, fake) = world();
    let client = undelivered(&world, &fake);
    let id = leaf(&world).id;
    fake.fail(Action::Success, vec![Fault::Status(500, None); 1000]);
    let mut without = settings(&fake);
    without.wait_for_success_notification = false;
    let ports = asking(&world, &fake, without);
    let world = world.restarted_on(ports, GatewaySettings::default());
    enrol(&world, &client).unwrap();
    let ports = asking(&world, &fake, settings(&fake));
    let world = world.restarted_on(ports, GatewaySettings::default());
    for _ in 0..30 {
        world.clock.advance(Duration::from_secs(3600));
        world.gateway.run_outside().unwrap();
    }
    assert!(world.read(|view| view.causes(&id)).is_empty());
}
