//! What is over goes, and nothing that somebody may still ask for.

use std::time::Duration;

use certgate::{
    domain::{
        access::Read,
        enrol::{Enrolment, EnrolmentState},
        queue::{JobKind, JobWorker, MAX_ATTEMPTS, retry_after},
        retention::Retention,
        vouch::Voucher,
    },
    ports::store::Page,
    service::{GatewaySettings, ServiceError},
    types::{EnrolmentId, Secret, TicketId},
    wire::{
        scep::{FailInfo, PkiStatus},
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{Client, DAY, World, WorldOptions},
    logged::logged,
};

/// As the defaults are, but that tickets and enrolments can be told apart.
const RETENTION: Retention =
    Retention { enrolments: days(90), refused: days(30), tickets: days(20), jobs: days(30) };

const fn days(number: u64) -> Duration {
    Duration::from_secs(number * 86_400)
}

fn world_of(retention: Retention, profile: &str) -> World {
    let mut settings = GatewaySettings { retention, ..GatewaySettings::default() };
    settings.trace.keep = Duration::ZERO;
    World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", profile)])
}

fn world() -> World {
    world_of(RETENTION, DEVICE)
}

/// Lets time pass, and everything go whose time is over.
fn later(world: &World, time: Duration) {
    world.clock.advance(time);
    world.gateway.run_due().unwrap();
}

fn enrolments(world: &World) -> Vec<Enrolment> {
    world.read(|view| view.enrolments(&Page::first(10_000)))
}

fn tickets(world: &World) -> Vec<TicketId> {
    let tickets = world.read(|view| view.tickets(&Page::first(10_000)));
    tickets.into_iter().map(|ticket| ticket.id).collect()
}

fn is_shown(world: &World, id: &EnrolmentId) -> bool {
    let shown = world.gateway.enrolment_view(&world.authed::<Read>(), id);
    match (shown, world.gateway.traces(&world.authed(), id.as_str())) {
        (Ok(_), Ok(_)) => true,
        (Err(ServiceError::NotFound { .. }), Err(ServiceError::NotFound { .. })) => false,
        other => panic!("{other:?}"),
    }
}

fn enrolled(world: &World, client: &Client) -> (Certificate, Secret) {
    let ticket = world.ticket("device", &world.register("SN1"));
    let csr = client.csr("CN=x", Some(&ticket));
    (client.enrol(world, "device", &csr).certificate().clone(), ticket)
}

/// How much the audit record says was pruned of a kind.
fn pruned(world: &World, kind: &str) -> u64 {
    let events = world.read(|view| view.audit_events(0, 100_000));
    let facts = events.iter().filter(|it| it.fact.action == "records.pruned" && it.fact.object == kind);
    facts.map(|it| it.fact.detail["count"].parse::<u64>().unwrap()).sum()
}

#[test]
fn a_refusal_goes_after_its_time_and_shows_as_not_found() {
    let world = world();
    let (_, ticket) = enrolled(&world, &Client::new());
    let thief = Client::new();
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();
    let refused = |it: &Enrolment| matches!(it.state, EnrolmentState::Refused { .. });
    let id = enrolments(&world).into_iter().find(refused).unwrap().id;
    later(&world, days(30).saturating_sub(Duration::from_secs(1)));
    assert!(is_shown(&world, &id));
    later(&world, Duration::from_secs(3600));
    assert!(!is_shown(&world, &id));
    assert_eq!((enrolments(&world).len(), pruned(&world, "enrolment")), (1, 1));
    // What is gone is gone: the next pass has nothing to say.
    later(&world, DAY);
    assert_eq!(pruned(&world, "enrolment"), 1);
}

#[test]
fn what_led_to_a_certificate_stays_until_long_after_its_end() {
    let world = world();
    let client = Client::new();
    let (certificate, ticket) = enrolled(&world, &client);
    let id = world.enrolment_of(&certificate).id;
    let left = world.record(&certificate).validity.not_after.since(world.now());
    later(&world, (left + days(20)).saturating_sub(Duration::from_secs(60)));
    assert_eq!((is_shown(&world, &id), tickets(&world).len()), (true, 1));
    later(&world, Duration::from_secs(3600));
    assert_eq!((is_shown(&world, &id), tickets(&world).len(), pruned(&world, "ticket")), (true, 0, 1));
    later(&world, days(70));
    assert!(!is_shown(&world, &id));
    // The certificate and all that says whose it was stay; the ticket is like any other wrong challenge.
    assert_eq!(world.bindings(&certificate).len(), 1);
    let other = Client::new();
    assert_eq!(
        other.enrol(&world, "device", &other.csr("CN=x", Some(&ticket))).failure(),
        FailInfo::BadRequest
    );
    assert_eq!(world.gateway.alarms(&world.authed::<Read>()).unwrap().items, []);
}

#[test]
fn a_used_ticket_stays_and_rings_for_as_long_as_its_device_renews() {
    let world = world();
    let client = Client::new();
    let (mut certificate, ticket) = enrolled(&world, &client);
    for number in 0..3 {
        later(&world, days(300));
        let renewing = client.with_identity(&certificate).in_transaction(&format!("renewal-{number}"));
        certificate = renewing.renew(&world, "device", &renewing.csr("CN=x", None)).certificate().clone();
    }
    assert_eq!(tickets(&world).len(), 1);
    let thief = Client::new();
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();
    let alarm = world.gateway.alarms(&world.authed::<Read>()).unwrap().items.remove(0);
    assert!(alarm.certificates.contains(&world.record(&certificate).id), "{alarm:?}");
    assert_eq!(alarm.certificates.len(), 4);
    // Of the enrolments only the one that used the ticket stays beyond its time, and those whose time is not over.
    let renewals = enrolments(&world).iter().filter(|it| it.renews.is_some()).count();
    assert!((2..=3).contains(&renewals), "{renewals}");
}

#[test]
fn what_waits_for_an_operator_waits_on_and_so_does_its_ticket() {
    let world = world_of(RETENTION, &format!("{DEVICE}\napproval = \"manual\""));
    let client = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    let waiting = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket)));
    assert_eq!(waiting.status, PkiStatus::Pending);
    later(&world, days(1000));
    assert_eq!((enrolments(&world).len(), tickets(&world).len()), (1, 1));
}

#[test]
fn a_rejection_stays_while_a_repeated_request_hears_it_again() {
    let retention = Retention { refused: days(1), tickets: days(1), ..RETENTION };
    let mut settings = GatewaySettings { retention, ..GatewaySettings::default() };
    settings.repeat_window = days(10);
    settings.trace.keep = Duration::ZERO;
    let profile = format!("{DEVICE}\nchallenge = []\napproval = \"manual\"");
    let world = World::with(WorldOptions { settings, ..WorldOptions::default() }, &[("device", &profile)]);
    let client = Client::new();
    world.register("SN1");
    let csr = client.csr("CN=SN1", None);
    client.enrol(&world, "device", &csr);
    let id = enrolments(&world).remove(0).id;
    world.gateway.reject_enrolment(&world.authed(), &id, "not ours").unwrap();
    later(&world, days(9));
    assert_eq!(client.enrol(&world, "device", &csr).failure(), FailInfo::BadRequest);
    later(&world, days(2));
    assert!(!is_shown(&world, &id));
}

#[test]
fn of_many_a_bounded_number_goes_in_a_round_and_a_restart_goes_on() {
    let world = world();
    let (certificate, _) = enrolled(&world, &Client::new());
    let model = world.enrolment_of(&certificate);
    let refused = EnrolmentState::Refused { info: FailInfo::BadRequest, reason: "no".to_owned() };
    let make = |number: u128| Enrolment {
        id: EnrolmentId::from_random(number.to_be_bytes()),
        state: refused.clone(),
        decided_at: Some(world.now()),
        ..model.clone()
    };
    world.write(|tx| (1..=6000).try_for_each(|number| tx.put_enrolment(&make(number))));
    later(&world, days(31));
    let left = enrolments(&world).len();
    assert!((1500..4500).contains(&left), "{left}");
    let world = world.restarted(GatewaySettings { retention: RETENTION, ..GatewaySettings::default() });
    for _ in 0..2 {
        later(&world, Duration::from_secs(60));
    }
    assert_eq!((enrolments(&world).len(), pruned(&world, "enrolment")), (1, 6000));
}

#[test]
fn nothing_goes_where_everything_is_kept() {
    let ever = Retention {
        enrolments: Duration::ZERO,
        refused: Duration::ZERO,
        tickets: Duration::ZERO,
        jobs: Duration::ZERO,
    };
    let world = world_of(ever, DEVICE);
    let (_, ticket) = enrolled(&world, &Client::new());
    let thief = Client::new();
    thief.enrol(&world, "device", &thief.csr("CN=x", Some(&ticket))).failure();
    later(&world, days(1000));
    assert_eq!((enrolments(&world).len(), tickets(&world).len()), (2, 1));
}

#[test]
fn work_that_fails_is_a_warning_until_it_is_given_up() {
    let world = world();
    let (now, crl) = (world.now(), JobKind::BuildCrl { issuer: "gone".parse().unwrap() });
    world.write(|tx| tx.enqueue(&crl, now));
    let round = |_| {
        world.clock.advance(retry_after(u32::MAX));
        let log = logged(|| {
            world.gateway.run_due().unwrap();
        });
        let [line] =
            log.lines().filter(|line| line.contains("crl/gone")).collect::<Vec<_>>().try_into().unwrap();
        (line.to_owned(), world.now())
    };
    let mut rounds: Vec<_> = (0..MAX_ATTEMPTS).map(round).collect();
    let (given_up, _) = rounds.pop().unwrap();
    for (attempts, (line, at)) in (1..).zip(rounds) {
        let again_at = at.plus(retry_after(attempts));
        for said in ["WARN", "it will be tried again", "gives_up_after=20", "no issuer \"gone\""] {
            assert!(line.contains(said), "{line}");
        }
        assert!(line.contains(&format!("attempts={attempts} ")), "{line}");
        assert!(line.contains(&format!("again_at={again_at} ")), "{line}");
    }
    for said in ["ERROR", "given up", "attempts=20", "certgate queue jobs"] {
        assert!(given_up.contains(said), "{given_up}");
    }
    assert!(world.read(|view| view.jobs(10)).iter().any(|job| job.dead && job.kind == crl));
}

#[test]
fn work_that_was_given_up_goes_and_what_is_still_to_be_told_keeps_its_request() {
    let world = world();
    let (certificate, _) = enrolled(&world, &Client::new());
    let (id, enrolment) = (world.record(&certificate).id, world.enrolment_of(&certificate));
    let evidence = certgate::domain::binding::Evidence::Vouched { by: Voucher::Intune };
    let tell = JobKind::TellIssued { by: Voucher::Intune, certificate: id };
    world.gateway.run_due().unwrap();
    let (now, crl) = (world.now(), JobKind::BuildCrl { issuer: "gone".parse().unwrap() });
    world.write(|tx| {
        tx.put_enrolment(&Enrolment { evidence: evidence.clone(), ..enrolment.clone() })?;
        tx.enqueue(&tell, now)?;
        tx.enqueue(&crl, now)?;
        while let Some(job) = tx.lease_job(&JobWorker::Maintenance, now, now.plus(DAY))? {
            tx.fail_job(job.sequence, job.fence, "no such issuer", now, true)?;
        }
        Ok(())
    });
    let dead = |world: &World| world.read(|view| view.jobs(100)).iter().filter(|job| job.dead).count();
    assert_eq!(dead(&world), 1);
    later(&world, days(29));
    assert_eq!(dead(&world), 1);
    later(&world, days(2));
    assert_eq!((dead(&world), pruned(&world, "job")), (0, 1));
    later(&world, days(1000));
    assert!(is_shown(&world, &enrolment.id), "it is needed to tell");
    let job = world.read(|view| view.job_in_lane(&tell.lane())).unwrap();
    world.write(|tx| tx.remove_job(job.sequence));
    later(&world, DAY);
    assert!(!is_shown(&world, &enrolment.id));
}
