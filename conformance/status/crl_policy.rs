//! What stays on a CRL, what it says of that, how it is located, and what is said when none comes.

use std::time::Duration;

use certgate::{
    domain::crl::{CrlMirror, CrlPolicy},
    service::{GatewaySettings, certificate::RevokeRequest, crl::CrlSettings},
    types::RevocationReason,
    wire::{crl::Crl, ocsp::SingleResponse, x509::Certificate},
};

use super::{
    answered,
    common::{DAY, World, WorldOptions},
    crl::number_of_unstored,
    crl_entry, enrolled, id_of, issuing, plain_request, revoke, world,
};

pub(super) fn settings(general: CrlPolicy) -> GatewaySettings {
    GatewaySettings { crl: CrlSettings { general, ..CrlSettings::default() }, ..GatewaySettings::default() }
}

pub(super) fn world_with(settings: GatewaySettings) -> World {
    let options = WorldOptions { settings, ..WorldOptions::default() };
    World::with(options, &[("device", r#"subject = "CN=$DEVICE_ID$,O=Test""#)])
}

fn single(world: &World, certificate: &Certificate) -> SingleResponse {
    answered(world, &plain_request(world, certificate.serial())).responses[0].clone()
}

#[test]
fn an_entry_is_on_a_crl_made_after_its_expiry_even_if_the_gateway_was_away() {
    let world = world_with(settings(CrlPolicy { keep_expired: Some(0), ..CrlPolicy::default() }));
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::CessationOfOperation);
    assert!(crl_entry(&world, certificate.serial()).is_some());
    world.clock.advance(certificate.validity().not_after.since(world.now()) + 90 * DAY);
    assert!(crl_entry(&world, certificate.serial()).is_some(), "RFC 5280 section 3.3");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(crl_entry(&world, certificate.serial()), None);
    let crl = Crl::from_der(&world.gateway.crl(&issuing()).unwrap().der).unwrap();
    assert_eq!(crl.head().expired_since(), None, "nothing that expired is kept");
    world.gateway.run_due().unwrap();
    assert_eq!(single(&world, &certificate).archive_cutoff, None);
}

#[test]
fn an_entry_is_on_a_crl_made_after_its_expiry_even_if_the_last_one_is_not_in_the_store() {
    let policy = settings(CrlPolicy { keep_expired: Some(0), ..CrlPolicy::default() });
    let world = world_with(policy.clone());
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::CessationOfOperation);
    let older = world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    number_of_unstored(&world, &older);
    let world = world.restarted(policy);
    world.clock.advance(certificate.validity().not_after.since(world.now()) + DAY);
    assert!(crl_entry(&world, certificate.serial()).is_some(), "RFC 5280 section 3.3");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(crl_entry(&world, certificate.serial()), None);
}

#[test]
fn crl_and_ocsp_say_the_same_of_how_long_expired_certificates_are_kept() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    world.gateway.run_due().unwrap();
    let since = |world: &World| {
        let published = world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
        Crl::from_der(&published.der).unwrap().head().expired_since()
    };
    assert_eq!(since(&world), Some(world.issuer("issuing").validity().not_before));
    assert_eq!(single(&world, &certificate).archive_cutoff, None, "it has not expired");
    for _ in 0..2 {
        world.clock.advance(300 * DAY);
        world.gateway.run_due().unwrap();
    }
    let expected = Some(world.now().minus(365 * DAY));
    assert_eq!(since(&world), expected);
    assert_eq!(single(&world, &certificate).archive_cutoff, expected);
}

#[test]
fn revoking_an_expired_certificate_is_recorded_and_shown_while_expired_ones_are_kept() {
    let world = world();
    let (recent, old) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    world.clock.advance(recent.validity().not_after.since(world.now()) + DAY);
    world.gateway.run_due().unwrap();
    revoke(&world, &recent, RevocationReason::KeyCompromise);
    assert_eq!(crl_entry(&world, recent.serial()).unwrap().reason, RevocationReason::KeyCompromise);

    world.clock.advance(366 * DAY);
    world.gateway.run_due().unwrap();
    revoke(&world, &old, RevocationReason::KeyCompromise);
    assert_eq!(crl_entry(&world, old.serial()), None, "it would have left the CRL long ago");
    let view = world.gateway.certificate(&world.authed(), &id_of(&old)).unwrap();
    assert_eq!(view.revocation.unwrap().reason, RevocationReason::KeyCompromise);
}

#[test]
fn a_compromise_that_comes_out_later_shows_with_its_date_in_ocsp_and_crl_alike() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::Superseded);
    assert_eq!(single(&world, &certificate).invalidity_date, None);
    world.clock.advance(DAY);
    world.gateway.run_due().unwrap();
    let lost = Some(world.now().minus(Duration::from_secs(7_200)));
    let request = RevokeRequest {
        reason: RevocationReason::KeyCompromise,
        note: "found on a forum".to_owned(),
        invalidity_date: lost,
    };
    world.gateway.revoke_certificate(&world.authed(), &id_of(&certificate), &request).unwrap();
    let entry = crl_entry(&world, certificate.serial()).unwrap();
    assert_eq!((entry.reason, entry.invalidity_date), (RevocationReason::KeyCompromise, lost));
    let answer = single(&world, &certificate);
    assert_eq!(answer.invalidity_date, lost);
    let expected = certgate::wire::ocsp::CertStatus::Revoked { at: entry.revoked_at, reason: entry.reason };
    assert_eq!(answer.status, expected);
}

#[test]
fn when_the_key_was_lost_may_be_found_out_later() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    let revoked_at = crl_entry(&world, certificate.serial()).unwrap().revoked_at;
    let lost_at = |lost| {
        let reason = RevocationReason::KeyCompromise;
        let request = RevokeRequest { reason, note: String::new(), invalidity_date: Some(lost) };
        world.gateway.revoke_certificate(&world.authed(), &id_of(&certificate), &request)
    };
    for days in [1, 3] {
        world.clock.advance(DAY);
        let lost = revoked_at.minus(days * DAY);
        lost_at(lost).unwrap();
        assert_eq!(single(&world, &certificate).invalidity_date, Some(lost));
        let entry = crl_entry(&world, certificate.serial()).unwrap();
        assert_eq!((entry.invalidity_date, entry.revoked_at), (Some(lost), revoked_at));
    }
    lost_at(revoked_at.minus(2 * DAY)).unwrap_err();
}

#[test]
fn the_configuration_is_taken_over_at_the_next_start_and_on_record() {
    let world = world();
    world.gateway.run_due().unwrap();
    let published = || world.gateway.crl(&issuing()).unwrap();
    assert_eq!(published().next_update.since(published().this_update), 7 * DAY);
    let month = CrlPolicy { lifetime: 30 * 86_400, ..CrlPolicy::default() };
    let own = [("root".parse().unwrap(), month)].into();
    let crl = CrlSettings { issuers: own, ..CrlSettings::default() };
    let world = world.restarted(GatewaySettings { crl, ..GatewaySettings::default() });
    world.clock.advance(Duration::from_secs(1));
    world.gateway.run_due().unwrap();
    let life = |issuer: &str| {
        let crl = world.gateway.crl(&issuer.parse().unwrap()).unwrap();
        crl.next_update.since(crl.this_update)
    };
    assert_eq!((life("root"), life("issuing")), (30 * DAY, 7 * DAY));
    let tail = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items;
    let recorded: Vec<_> = tail.iter().filter(|event| event.action == "issuer.crl-settings").collect();
    assert_eq!(recorded.len(), 1, "of the root alone, and once");
    assert_eq!((recorded[0].object.as_str(), recorded[0].detail["lifetime"].as_str()), ("root", "2592000"));
}

#[test]
fn certificates_name_a_second_place_in_one_distribution_point() {
    let (ours, other) =
        ("http://pki.test.example/crl/issuing.crl", "http://mirror.test.example/x/crl/issuing.crl");
    for first in [false, true] {
        let mirror = Some(CrlMirror { base: "http://mirror.test.example/x".to_owned(), first });
        let crl = CrlSettings { mirror, ..CrlSettings::default() };
        let world = world_with(GatewaySettings { crl, ..GatewaySettings::default() });
        let expected = if first { [other, ours] } else { [ours, other] };
        assert_eq!(enrolled(&world, "SN1").crl_urls(), expected);
        // The CA's own certificate too, and those of certgate itself.
        assert_eq!(world.issuer("issuing").crl_urls().len(), 2);
    }
}

#[test]
fn a_crl_without_a_successor_is_reported_at_half_and_at_three_quarters_of_its_life() {
    let hour = Duration::from_secs(3_600);
    let policy = CrlPolicy { lifetime: 24 * 3_600, period: 20 * 3_600, ..CrlPolicy::default() };
    let world = world_with(settings(policy));
    let reported = || {
        let tail = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items;
        let late = tail.iter().filter(|event| event.action == "crl.late" && event.object == "issuing");
        late.map(|event| event.detail["over"].clone()).collect::<Vec<_>>()
    };
    let check = || {
        let report = world.gateway.health();
        report.checks.into_iter().find(|check| check.name == "crl/issuing").unwrap()
    };
    world.gateway.run_due().unwrap();
    assert_eq!((reported(), check().hint.as_str()), (Vec::new(), ""));
    for _ in 0..13 {
        world.clock.advance(hour);
        world.gateway.run_due().unwrap();
    }
    assert_eq!(reported(), ["half"], "once, however often the worker comes round");
    assert!(check().detail.contains("more than half"), "{}", check().detail);
    world.clock.advance(5 * hour);
    world.gateway.run_due().unwrap();
    assert_eq!(reported(), ["half", "three quarters"]);
    assert!(check().detail.contains("three quarters"), "{}", check().detail);
    world.clock.advance(2 * hour);
    world.gateway.run_due().unwrap();
    assert_eq!((reported().len(), check().hint.as_str()), (2, ""), "the schedule brought a new one");
}

#[test]
fn the_last_crl_of_an_issuer_is_not_reported_for_having_no_successor() {
    let world = world();
    let hour = Duration::from_secs(3_600);
    let end = world.issuer("issuing").validity().not_after;
    world.clock.advance(end.since(world.now()) - 30 * hour);
    for _ in 0..29 {
        world.gateway.run_due().unwrap();
        let report = world.gateway.health();
        let check = report.checks.into_iter().find(|check| check.name == "crl/issuing").unwrap();
        assert_eq!(check.hint, "", "{} before the end: {}", end.since(world.now()).as_secs(), check.detail);
        world.clock.advance(hour);
    }
    let crl = world.gateway.crl(&issuing()).unwrap();
    assert_eq!((crl.next_update, end.since(crl.this_update)), (end, 6 * hour), "the schedule went on");
    let tail = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items;
    assert!(tail.iter().all(|event| event.action != "crl.late" || event.object != "issuing"));
}

#[test]
fn operators_see_how_large_the_crl_will_be() {
    let world = world();
    for name in ["SN1", "SN2"] {
        let certificate = enrolled(&world, name);
        revoke(&world, &certificate, RevocationReason::Superseded);
    }
    let view = world.gateway.publish_crl_view(&world.authed(), &issuing()).unwrap();
    assert_eq!(view.entries, 2);
    // Two on the first day: twelve times as many in a year of months like this, and the two themselves, which are kept.
    assert_eq!(view.predicted_entries, 2 + 2 * 365 / 30);
    assert_eq!(view.predicted_size, 2 * 49 + 2 * 49 * 365 / 30);
}
