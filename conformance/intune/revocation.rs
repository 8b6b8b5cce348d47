//! The revocation queue: asked, done, reported.

use std::time::Duration;

use serde_json::json;

use certgate::{
    domain::{
        access::Actor,
        status::{CauseKind, Status},
        vouch::Voucher,
    },
    service::rollover::{CutOver, NewSuccessor},
    types::RevocationReason,
    wire::x509::Certificate,
};

use crate::{
    PROFILE, challenge,
    common::{Client, World},
    fake::{Action, Fake, Fault},
    world, world_with,
};

fn enrol(world: &World) -> Certificate {
    let client = Client::new();
    client.enrol(world, "phones", &client.csr("CN=x", Some(&challenge()))).certificate().clone()
}

/// Asks the queue once more.
fn poll(world: &World) {
    world.clock.advance(Duration::from_secs(6 * 60));
    world.gateway.run_outside().unwrap();
}

fn want(fake: &Fake, context: &str, certificate: &Certificate) {
    let issuer = certificate.issuer().to_string();
    fake.want_revoked(context, &certificate.serial().to_string(), Some(&issuer));
}

fn status(world: &World, certificate: &Certificate) -> Status {
    let found = world.gateway.find_certificates(&world.authed(), &certificate.serial().to_string()).unwrap();
    found[0].status
}

#[test]
fn what_intune_wants_revoked_is_revoked_and_reported() {
    let (world, fake) = world();
    let certificate = enrol(&world);
    want(&fake, "c1", &certificate);
    poll(&world);
    assert_eq!(status(&world, &certificate), Status::Revoked);
    let record = world.record(&certificate);
    let cause = world.read(|view| view.causes(&record.id)).remove(0);
    assert_eq!((cause.key.kind, cause.key.reference.as_str()), (CauseKind::Voucher, "intune/revoke"));
    let facts = world.read(|view| view.audit_events(0, 1000));
    let fact = facts.iter().find(|event| event.fact.actor == Actor::Voucher { by: Voucher::Intune });
    assert_eq!(fact.expect("it is on record").fact.object, record.id.to_string());
    let reported = fake.reported("c1").unwrap();
    assert_eq!((&reported["succeeded"], &reported["errorCode"]), (&true.into(), &"None".into()));
    assert_eq!(fake.wanted(), 0);
    assert_eq!(
        fake.last(Action::Download)["downloadParameters"]["issuerName"],
        certificate.issuer().to_string()
    );
    assert_eq!(fake.deviations(), Vec::<String>::new());
}

/// The next look at the queue was put off by a clock that was a year ahead: it does not wait for that year.
#[test]
fn a_clock_that_is_set_back_stops_no_revocations() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let (world, fake) = world();
    world.clock.advance(YEAR);
    poll(&world);
    world.clock.set_back(YEAR);
    let certificate = enrol(&world);
    want(&fake, "c1", &certificate);
    poll(&world);
    assert_eq!(status(&world, &certificate), Status::Revoked);
    let asked = fake.count(Action::Download);
    world.gateway.run_outside().unwrap();
    assert_eq!(fake.count(Action::Download), asked, "not before it is due again");
}

#[test]
fn certificates_of_every_generation_of_the_ca_are_revoked_and_its_name_is_asked_for_once() {
    let (world, fake) = world();
    let issuing = "issuing".parse().unwrap();
    let first = enrol(&world);
    world.gateway.roll_over(&world.authed(), &issuing, &NewSuccessor::default()).unwrap();
    world.gateway.cut_over(&world.authed(), &issuing, CutOver::default()).unwrap();
    let second = enrol(&world);
    assert_ne!(world.record(&first).id.issuer, world.record(&second).id.issuer);
    want(&fake, "first", &first);
    want(&fake, "second", &second);
    let asked = fake.count(Action::Download);
    poll(&world);
    for (context, certificate) in [("first", &first), ("second", &second)] {
        assert_eq!(status(&world, certificate), Status::Revoked, "{context}");
        assert_eq!(fake.reported(context).unwrap()["succeeded"], true, "{context}");
    }
    // What there is, and that nothing is left.
    assert_eq!(fake.count(Action::Download) - asked, 2);
}

#[test]
fn serials_are_found_however_they_are_written() {
    let (world, fake) = world();
    let forms: [fn(&str) -> String; 4] = [
        |hex| hex.to_uppercase(),
        |hex| format!("0x{hex}"),
        |hex| format!("00{hex}"),
        |hex| {
            hex.as_bytes()
                .chunks(2)
                .map(|pair| std::str::from_utf8(pair).unwrap())
                .collect::<Vec<_>>()
                .join(":")
        },
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let certificate = enrol(&world);
        let issuer = certificate.issuer().to_string();
        fake.want_revoked(&number.to_string(), &form(&certificate.serial().to_string()), Some(&issuer));
        poll(&world);
        assert_eq!(status(&world, &certificate), Status::Revoked, "{number}");
    }
}

#[test]
fn what_is_revoked_already_is_a_success() {
    let (world, fake) = world();
    let certificate = enrol(&world);
    world.revoke(&certificate);
    want(&fake, "c1", &certificate);
    poll(&world);
    assert_eq!(fake.reported("c1").unwrap()["succeeded"], true);
    let causes = world.read(|view| view.causes(&world.record(&certificate).id));
    assert_eq!(causes.len(), 1, "it says who revoked it");
}

#[test]
fn unknown_serials_and_nonsense_are_reported_as_such() {
    let (world, fake) = world();
    let issuer = world.issuer("issuing").subject().to_string();
    fake.want_revoked("unknown", "0123456789abcdef", Some(&issuer));
    fake.want_revoked("nonsense", "no serial", Some(&issuer));
    poll(&world);
    assert_eq!(fake.reported("unknown").unwrap()["errorCode"], "CertificateNotFoundError");
    assert_eq!(fake.reported("nonsense").unwrap()["errorCode"], "ParameterDataInvalidError");
    assert_eq!(fake.wanted(), 0);
}

#[test]
fn an_entry_that_is_wrong_keeps_no_other_from_being_revoked() {
    let (world, fake) = world();
    let certificate = enrol(&world);
    let issuer = world.issuer("issuing").subject().to_string();
    fake.want(json!({ "requestContext": null, "serialNumber": "01", "issuerName": issuer }));
    fake.want(json!({ "requestContext": "no serial", "serialNumber": null, "issuerName": issuer }));
    want(&fake, "right", &certificate);
    poll(&world);
    assert_eq!(fake.reported("right").unwrap()["succeeded"], true);
    assert_eq!(status(&world, &certificate), Status::Revoked);
    assert_eq!(fake.reported("no serial").unwrap()["errorCode"], "ParameterDataInvalidError");
    assert_eq!(fake.wanted(), 1, "nothing can be said about an entry without a context");
}

#[test]
fn certificates_of_another_ca_are_left_for_it() {
    let (world, fake) = world_with(PROFILE, |settings| settings.by_issuer = false);
    let certificate = enrol(&world);
    fake.want_revoked("other", &certificate.serial().to_string(), Some("CN=Another CA"));
    poll(&world);
    // The whole list, and because it has others' requests, ours by name.
    assert_eq!((fake.count(Action::Download), fake.count(Action::Upload)), (2, 0));
    assert_eq!(status(&world, &certificate), Status::Good);
    assert_eq!(fake.wanted(), 1);
}

#[test]
fn what_was_done_and_not_reported_comes_again_and_is_a_success() {
    let (world, fake) = world();
    let certificate = enrol(&world);
    want(&fake, "c1", &certificate);
    fake.fail(Action::Upload, [Fault::Close]);
    poll(&world);
    assert_eq!(status(&world, &certificate), Status::Revoked);
    assert_eq!(fake.wanted(), 1);
    poll(&world);
    assert_eq!(fake.reported("c1").unwrap()["succeeded"], true);
    assert_eq!(fake.wanted(), 0);
}

#[test]
fn a_queue_that_is_down_shows_among_the_jobs_and_is_asked_for_ever() {
    let (world, fake) = world();
    world.gateway.run_outside().unwrap();
    fake.fail(Action::Download, vec![Fault::Status(500, None); 30]);
    for _ in 0..30 {
        world.clock.advance(Duration::from_secs(11 * 60));
        world.gateway.run_outside().unwrap();
    }
    let jobs = world.gateway.jobs(&world.authed(), 100).unwrap().items;
    let job = jobs.iter().find(|job| job.lane == "intune/revocations").unwrap();
    assert!(!job.dead && job.attempts >= 20, "{job:?}");
    assert!(job.last_error.as_ref().unwrap().contains("HTTP 500"), "{job:?}");
    fake.recover();
    let certificate = enrol(&world);
    want(&fake, "c1", &certificate);
    poll(&world);
    poll(&world);
    assert_eq!(status(&world, &certificate), Status::Revoked);
}

#[test]
fn long_lists_are_worked_off_in_one_round() {
    let (world, fake) = world();
    let certificate = enrol(&world);
    for number in 0..501 {
        want(&fake, &format!("c{number}"), &certificate);
    }
    poll(&world);
    assert_eq!(fake.wanted(), 0);
    assert_eq!(fake.count(Action::Upload), 2);
    let cause = world.read(|view| view.causes(&world.record(&certificate).id)).remove(0);
    assert!(matches!(
        cause.effect,
        certgate::domain::status::Effect::Revoke { reason: RevocationReason::CessationOfOperation }
    ));
}

/// What is refused for good is reported, and gone: the rest does not wait for the next look.
#[test]
fn one_that_cannot_be_revoked_does_not_hold_up_the_next_list() {
    let (world, fake) = world();
    let issuer = world.issuer("issuing").subject().to_string();
    for number in 0..500 {
        fake.want_revoked(&format!("unknown-{number}"), "0badcafe", Some(&issuer));
    }
    let certificate = enrol(&world);
    want(&fake, "ours", &certificate);
    poll(&world);
    assert_eq!(status(&world, &certificate), Status::Revoked);
    assert_eq!(fake.wanted(), 0);
}

#[test]
fn requests_of_other_cas_before_ours_starve_nobody_and_are_left_for_them() {
    let (world, fake) = world_with(PROFILE, |settings| settings.by_issuer = false);
    let certificate = enrol(&world);
    for number in 0..600 {
        fake.want_revoked(&format!("theirs-{number}"), "0badcafe", Some("CN=Another CA"));
    }
    want(&fake, "ours", &certificate);
    poll(&world);
    assert_eq!(status(&world, &certificate), Status::Revoked);
    assert_eq!(fake.reported("ours").unwrap()["succeeded"], true);
    assert_eq!((fake.reported("theirs-0"), fake.wanted()), (None, 600));
    assert_eq!(fake.deviations(), Vec::<String>::new());
}
