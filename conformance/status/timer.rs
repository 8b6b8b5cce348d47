//! What time does by itself: registrations that ran out, certificates that a renewal has superseded.

use certgate::{
    domain::{
        device::{DeviceEvent, Lifecycle},
        status::{CauseKind, Effect, Status},
        timer::{Timer, TimerSubject},
    },
    service::{GatewaySettings, ServiceError, ticket::NewTicket},
    types::{DeviceId, RevocationReason},
    wire::{ocsp::CertStatus, scep::PkiStatus, x509::Certificate},
};

use super::{
    common::{Client, DAY, World},
    crl_entry, id_of, ocsp_status, revoke, world,
};

fn lifecycle(world: &World, device: &DeviceId) -> Lifecycle {
    world.gateway.device(&world.authed(), device).unwrap().lifecycle
}

fn work(world: &World) {
    world.gateway.run_due().unwrap();
}

fn actions(world: &World, object: &str) -> Vec<String> {
    let events = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items;
    events.into_iter().filter(|event| event.object == object).map(|event| event.action).collect()
}

#[test]
fn a_device_whose_tickets_ran_out_is_expired_and_comes_back_with_reprovision() {
    let world = world();
    let device = world.register("SN1");
    world.ticket("device", &device);
    world.clock.advance(DAY - std::time::Duration::from_secs(1));
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Pending);
    world.clock.advance(std::time::Duration::from_secs(1));
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Expired);
    assert_eq!(actions(&world, "SN1"), ["device.ticket-expired"]);
    assert_eq!(world.gateway.device(&world.authed(), &device).unwrap().badge, "registration expired");

    let wanted = NewTicket {
        profile: "device".parse().unwrap(),
        device: Some(device.clone()),
        user: None,
        lifetime: None,
        uses: None,
    };
    let refused = world.gateway.create_ticket(&world.authed(), &wanted).unwrap_err();
    assert!(matches!(&refused, ServiceError::Refused(why) if why.contains("reprovision")), "{refused:?}");
    world.gateway.device_event(&world.authed(), &device, DeviceEvent::Reprovision, "").unwrap();
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Pending);
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", Some(&world.ticket("device", &device)))).certificate();
    world.clock.advance(DAY * 2);
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Active);
}

#[test]
fn a_ticket_that_was_minted_anew_wins() {
    let world = world();
    let device = world.register("SN1");
    world.ticket("device", &device);
    world.clock.advance(DAY / 2);
    world.ticket("device", &device);
    // Both the first timer and nobody at work until the second ticket is the only one.
    world.clock.advance(DAY / 2);
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Pending);
    world.clock.advance(DAY / 2);
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Expired);
}

#[test]
fn a_restart_loses_no_timer_and_what_piled_up_is_caught_up() {
    let world = world();
    let devices: Vec<DeviceId> = (0..250).map(|number| world.register(&format!("SN{number}"))).collect();
    for device in &devices {
        world.ticket("device", device);
    }
    world.clock.advance(DAY * 9);
    let world = world.restarted(GatewaySettings::default());
    // That it was away for so long is believed after a day.
    world.clock.advance(DAY);
    work(&world);
    for device in &devices {
        assert_eq!(lifecycle(&world, device), Lifecycle::Expired, "{device}");
    }
    assert_eq!(world.read(|view| view.next_timer_at()), None);
}

#[test]
fn a_device_that_waits_for_an_operator_does_not_run_out() {
    let spec = "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\n";
    let world = World::new(&[("device", spec)]);
    let device = world.register("SN1");
    let (first, _unused) = (world.ticket("device", &device), world.ticket("device", &device));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&first));
    assert_eq!(client.enrol(&world, "device", &csr).status, PkiStatus::Pending);
    world.clock.advance(DAY * 2);
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Pending);
    let waiting = world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items.remove(0).id;
    world.gateway.reject_enrolment(&world.authed(), &waiting, "not ours").unwrap();
    world.clock.advance(DAY);
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Expired);
}

#[test]
fn a_timer_that_fails_does_not_hold_up_the_others() {
    let world = world();
    let device = world.register("SN1");
    world.ticket("device", &device);
    // A certificate whose CA has vanished with its record, as after damage.
    let broken = Timer {
        at: world.now(),
        subject: TimerSubject::OverlapEnds { successor: broken_certificate(&world) },
    };
    world.write(|tx| tx.set_timer(&broken));
    world.clock.advance(DAY);
    work(&world);
    assert_eq!(lifecycle(&world, &device), Lifecycle::Expired);
    let next = world.read(|view| view.next_timer_at());
    assert_eq!(next, Some(world.now().plus(std::time::Duration::from_secs(3600))));
}

/// A renewal by an issuer whose certificate cannot be read.
fn broken_certificate(world: &World) -> certgate::types::CertificateId {
    let mut issuer = world.read(|view| view.issuer(&"issuing".parse().unwrap())).unwrap();
    issuer.id = "broken".parse().unwrap();
    issuer.certificate = vec![0];
    let (_, old) = enrolled(world, "device", "SN9");
    let mut record = world.record(&old);
    record.supersedes = Some(record.id.clone());
    record.id.issuer = issuer.id.clone();
    record.fingerprint = certgate::types::Fingerprint::of(b"broken");
    world.write(|tx| {
        tx.put_issuer(&issuer)?;
        tx.insert_certificate(&record)
    });
    record.id
}

fn enrolled(world: &World, profile: &str, device: &str) -> (Client, Certificate) {
    let client = Client::new();
    let ticket = world.ticket(profile, &world.register(device));
    let certificate = client.enrol(world, profile, &client.csr("CN=x", Some(&ticket))).certificate().clone();
    (client.with_identity(&certificate).in_transaction("renewal"), certificate)
}

/// A device that enrolled and renewed at once: its old and its new certificate.
fn renewed(world: &World) -> (Certificate, Certificate) {
    let (client, old) = enrolled(world, "device", "SN1");
    let new = client.renew(world, "device", &client.csr("CN=SN1,O=Test", None)).certificate().clone();
    (old, new)
}

fn status(world: &World, certificate: &Certificate) -> Status {
    world.gateway.certificate(&world.authed(), &id_of(certificate)).unwrap().status
}

#[test]
fn a_renewed_certificate_is_superseded_after_the_overlap() {
    let world = world();
    let (old, new) = renewed(&world);
    work(&world);
    world.clock.advance(DAY * 6);
    work(&world);
    assert_eq!(ocsp_status(&world, old.serial()), CertStatus::Good);
    world.clock.advance(DAY);
    work(&world);
    let superseded = CertStatus::Revoked { at: world.now(), reason: RevocationReason::Superseded };
    assert_eq!(ocsp_status(&world, old.serial()), superseded);
    assert_eq!(ocsp_status(&world, new.serial()), CertStatus::Good);
    assert_eq!(crl_entry(&world, old.serial()).unwrap().reason, RevocationReason::Superseded);
    let view = world.gateway.certificate(&world.authed(), &id_of(&old)).unwrap();
    let [cause] = view.causes.as_slice() else { panic!("one cause: {:?}", view.causes) };
    assert_eq!(
        (cause.kind, cause.permanent, cause.actor.as_str()),
        (CauseKind::Superseded, true, "certgate")
    );
    assert!(cause.note.contains(&new.serial().to_string()), "{}", cause.note);
    assert_eq!(actions(&world, &view.id).last().unwrap(), "certificate.revoked");
}

#[test]
fn the_profile_says_when_and_whether() {
    let with = |keys: &str| {
        let world =
            World::new(&[("device", &format!("subject = \"CN=$DEVICE_ID$,O=Test\"\n[lifecycle]\n{keys}"))]);
        let (old, _) = renewed(&world);
        (world, old)
    };
    let (world, old) = with("overlap-days = 0");
    assert_eq!(status(&world, &old), Status::Good);
    work(&world);
    assert_eq!(status(&world, &old), Status::Revoked);

    let (world, old) = with("revoke-superseded = false");
    world.clock.advance(DAY * 30);
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
}

#[test]
fn the_newest_version_of_the_profile_is_asked() {
    let spec = "subject = \"CN=$DEVICE_ID$,O=Test\"\n";
    let world = World::new(&[("device", spec)]);
    let (old, _) = renewed(&world);
    let world = world.reconfigured(&[("device", &format!("{spec}[lifecycle]\noverlap-days = 20"))]);
    world.clock.advance(DAY * 19);
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
    world.clock.advance(DAY);
    work(&world);
    assert_eq!(status(&world, &old), Status::Revoked);
}

#[test]
fn a_device_keeps_the_old_one_while_the_new_one_is_no_good() {
    let world = world();
    let (old, new) = renewed(&world);
    world.gateway.hold_certificate(&world.authed(), &id_of(&new), "").unwrap();
    world.clock.advance(DAY * 8);
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
    world.gateway.release_certificate(&world.authed(), &id_of(&new), "").unwrap();
    world.clock.advance(DAY);
    work(&world);
    assert_eq!(status(&world, &old), Status::Revoked);

    let world = super::world();
    let (old, new) = renewed(&world);
    revoke(&world, &new, RevocationReason::KeyCompromise);
    world.clock.advance(DAY * 8);
    work(&world);
    assert_eq!(status(&world, &old), Status::Good);
    assert_eq!(world.read(|view| view.next_timer_at()).map(|_| ()), None);
}

#[test]
fn a_chain_of_renewals_is_superseded_link_by_link() {
    let world = world();
    let (client, first) = enrolled(&world, "device", "SN1");
    let csr = client.csr("CN=SN1,O=Test", None);
    let second = client.renew(&world, "device", &csr).certificate().clone();
    let client = client.with_identity(&second).in_transaction("again");
    let third = client.renew(&world, "device", &csr).certificate().clone();
    // Nobody is at work for a year: both ends of overlap are caught up at once.
    world.clock.advance(DAY * 20);
    let world = world.restarted(GatewaySettings::default());
    world.clock.advance(DAY);
    work(&world);
    assert_eq!(
        [&first, &second, &third].map(|it| status(&world, it)),
        [Status::Revoked, Status::Revoked, Status::Good]
    );
}

#[test]
fn while_the_ca_is_on_hold_nothing_is_superseded() {
    let world = world();
    let (old, _) = renewed(&world);
    let issuing = world.record(&world.issuer("issuing")).id;
    world.gateway.hold_certificate(&world.authed(), &issuing, "").unwrap();
    world.clock.advance(DAY * 8);
    work(&world);
    assert!(world.read(|view| view.causes(&id_of(&old))).is_empty());
    world.gateway.release_certificate(&world.authed(), &issuing, "").unwrap();
    world.clock.advance(DAY);
    work(&world);
    let causes = world.read(|view| view.causes(&id_of(&old)));
    assert_eq!(causes[0].effect, Effect::Revoke { reason: RevocationReason::Superseded });
}
