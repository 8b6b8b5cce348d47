//! A gateway that came out of a backup: what published CRLs say holds, and nothing becomes better than it was.

use std::{sync::Arc, time::Duration};

use certgate::{
    adapters::store::RedbStore,
    domain::{
        access::{Actor, Read},
        crl::{CrlPolicy, CrlScope, Partition},
        device::DeviceEvent,
    },
    ports::Store,
    service::{
        GatewaySettings, Ports, ServiceError,
        audit::Act,
        backup::{self, Frame, FrameReader},
        health::CheckResult,
        responder::{NewResponderMode, ResponderMode},
        restore::{self, GivenCrl, Settled},
    },
    types::{CertificateId, IssuerId, RevocationReason, Timestamp},
    wire::{
        crl::{Crl, DeltaCrl},
        ocsp::CertStatus,
        x509::Certificate,
    },
};

use super::{
    because,
    common::{DAY, World},
    crl_entry, enrolled, id_of,
    import::{listed, open, take},
    issuing, ocsp_status, revoke, world,
};

/// A backup as it goes over the wire.
pub(super) fn back_up(world: &World) -> Vec<u8> {
    let mut copied = Vec::new();
    backup::copy(world.ports.store.as_ref(), world.now(), &[], &mut copied).unwrap();
    copied
}

/// The newest CRL of each issuer.
fn published(world: &World) -> Vec<GivenCrl> {
    let newest = |id: &str| {
        let id: IssuerId = id.parse().unwrap();
        let crl = world.gateway.publish_crl(&world.authed(), &id).unwrap();
        GivenCrl { name: id.to_string(), crl: Crl::from_der(&crl.der).unwrap(), delta: None }
    };
    ["root", "issuing"].map(newest).into()
}

/// The store that comes out of a backup.
pub(super) fn filled(
    copied: &[u8],
    crls: &[GivenCrl],
    accept_lost: bool,
    now: Timestamp,
) -> Result<(RedbStore, Settled), ServiceError> {
    let store = RedbStore::in_memory().unwrap();
    let (mut frames, head) = FrameReader::start(copied).unwrap();
    let mut next = || {
        Ok(match frames.next().unwrap() {
            Frame::Row(row) => Some(row),
            _ => None,
        })
    };
    restore::import(&store, head.schema, &mut next).unwrap();
    let request = certgate::types::RequestId::from_random([1; 16]);
    let act = Act { actor: Actor::Local { uid: 0 }, request, at: now };
    let settled = restore::settle(&store, &head, &act, crls, accept_lost)?;
    Ok((store, settled))
}

fn restored(world: World, copied: &[u8], crls: &[GivenCrl]) -> (World, Settled) {
    let (store, settled) = filled(copied, crls, crls.is_empty(), world.now()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let ports = Ports { store, ..world.ports.clone() };
    (world.restarted_on(ports, GatewaySettings::default()), settled)
}

fn reason(world: &World, certificate: &Certificate) -> Option<RevocationReason> {
    let listed = crl_entry(world, certificate.serial()).map(|entry| entry.reason);
    let answered = match ocsp_status(world, certificate.serial()) {
        CertStatus::Revoked { reason, .. } => Some(reason),
        CertStatus::Good => None,
        CertStatus::Unknown => panic!("{} is not known", certificate.serial()),
    };
    let shown = world.gateway.certificate(&world.authed::<Read>(), &id_of(certificate)).unwrap();
    assert_eq!((listed, shown.revocation.map(|it| it.reason)), (answered, answered));
    answered
}

#[test]
fn what_only_a_delta_says_survives_a_restore() {
    let crl = CrlPolicy { delta: Some(3_600), ..CrlPolicy::default() };
    let world = super::crl_policy::world_with(super::crl_policy::settings(crl));
    let [revoked, released] = ["SN1", "SN2"].map(|device| enrolled(&world, device));
    world.gateway.hold_certificate(&world.authed(), &id_of(&released), "").unwrap();
    world.gateway.run_due().unwrap();
    let copied = back_up(&world);
    let mut crls = published(&world);
    revoke(&world, &revoked, RevocationReason::KeyCompromise);
    world.gateway.release_certificate(&world.authed(), &id_of(&released), "").unwrap();
    world.clock.advance(Duration::from_secs(5));
    world.gateway.run_due().unwrap();
    let delta = world.gateway.crl_of(&issuing(), CrlScope::Delta).unwrap();
    crls[1].delta = Some(DeltaCrl::from_der(&delta.der).unwrap());

    let (world, settled) = restored(world, &copied, &crls);
    let done = settled.issuers.iter().find(|it| it.issuer == issuing()).unwrap();
    assert_eq!((done.crl_number, done.revocations), (Some(delta.number), 1));
    assert_eq!(reason(&world, &revoked), Some(RevocationReason::KeyCompromise));
    // A hold in the backup stays: releasing it again is safe, the other way round is not.
    assert_eq!(reason(&world, &released), Some(RevocationReason::CertificateHold));
    assert!(world.gateway.crl(&issuing()).unwrap().number > delta.number);
}

/// Certificates name it: Windows takes its absence for an unknown status.
#[test]
fn a_delta_that_was_switched_off_goes_on_after_a_restore() {
    let with_deltas = super::crl_policy::settings(CrlPolicy { delta: Some(3_600), ..CrlPolicy::default() });
    let world = super::crl_policy::world_with(with_deltas);
    world.gateway.run_due().unwrap();
    let world = world.restarted(GatewaySettings::default());
    world.gateway.run_due().unwrap();
    let copied = back_up(&world);
    let crls = published(&world);
    let before = world.gateway.crl_of(&issuing(), CrlScope::Delta).unwrap().number;

    let (world, _) = restored(world, &copied, &crls);
    assert!(world.gateway.crl_of(&issuing(), CrlScope::Delta).is_none());
    assert!(
        world.gateway.has_crl(&issuing(), CrlScope::Delta),
        "it is about to be made: nobody is told that there is none"
    );
    world.gateway.run_due().unwrap();
    let number = |world: &World, scope| world.gateway.crl_of(&issuing(), scope).map(|crl| crl.number);
    let first = number(&world, CrlScope::Delta).unwrap();
    assert!(first > before && number(&world, CrlScope::Full) == Some(first));
    // And with the next full CRL, in the next process too.
    let world = world.restarted(GatewaySettings::default());
    world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    assert_eq!(number(&world, CrlScope::Delta), number(&world, CrlScope::Full));
    assert!(
        !world.gateway.has_crl(&"root".parse().unwrap(), CrlScope::Partition(Partition { of: 2, index: 0 }))
    );
}

#[test]
fn what_was_revoked_here_of_an_external_issuer_is_not_lost_without_a_word() {
    let (old, world) = (world(), world());
    let theirs = enrolled(&old, "SN1");
    let external = open(&world, &old).issuer;
    take(&world, &external, vec![listed(&theirs, None)]);
    let unanswered = back_up(&world);
    let mode = NewResponderMode { mode: ResponderMode::Trusted, by: Some(issuing()) };
    world.gateway.set_responder_mode(&world.authed(), &external, &mode).unwrap();
    let copied = back_up(&world);
    let id = CertificateId { issuer: external, serial: theirs.serial().clone() };
    let because = because(RevocationReason::KeyCompromise);
    world.gateway.revoke_certificate(&world.authed(), &id, &because).unwrap();
    let crls = published(&world);

    let refused = filled(&copied, &crls, false, world.now()).err().unwrap().to_string();
    assert!(refused.contains("is missing of test-issuing-ca (an external issuer: no CRL says"), "{refused}");
    let (store, _) = filled(&copied, &crls, true, world.now()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let restoration = store.read(|view| Ok::<_, ServiceError>(view.restoration()?)).unwrap().unwrap();
    assert!(restoration.revocations_lost, "and it is remembered");
    filled(&unanswered, &crls, false, world.now()).map(drop).expect("nobody is told anything of it");
}

#[test]
fn the_stronger_of_backup_and_crl_holds() {
    let world = world();
    let [good, held, worse, released, raised] =
        ["SN1", "SN2", "SN3", "SN4", "SN5"].map(|device| enrolled(&world, device));
    let pause = |world: &World, it: &Certificate| {
        world.gateway.hold_certificate(&world.authed(), &id_of(it), "").unwrap();
    };
    pause(&world, &worse);
    pause(&world, &released);
    revoke(&world, &raised, RevocationReason::Superseded);
    let copied = back_up(&world);
    world.clock.advance(DAY);
    pause(&world, &held);
    revoke(&world, &worse, RevocationReason::CessationOfOperation);
    world.gateway.release_certificate(&world.authed(), &id_of(&released), "").unwrap();
    revoke(&world, &raised, RevocationReason::KeyCompromise);
    let crls = published(&world);
    let before = ocsp_status(&world, worse.serial());

    let (world, settled) = restored(world, &copied, &crls);
    let done = settled.issuers.iter().find(|it| it.issuer == issuing()).unwrap();
    assert_eq!((done.revocations, done.unknown), (3, 0));
    let reasons = [&good, &held, &worse, &released, &raised].map(|it| reason(&world, it));
    let [paused, gone, stolen] = [
        RevocationReason::CertificateHold,
        RevocationReason::CessationOfOperation,
        RevocationReason::KeyCompromise,
    ];
    assert_eq!(reasons, [None, Some(paused), Some(gone), Some(paused), Some(stolen)]);
    assert_eq!(ocsp_status(&world, worse.serial()), before, "with its first time");
    // Holds can be released as ever.
    world.gateway.release_certificate(&world.authed(), &id_of(&held), "").unwrap();
    assert_eq!(reason(&world, &held), None);
}

#[test]
fn what_was_issued_after_the_backup_is_never_good() {
    let world = world();
    let copied = back_up(&world);
    let (late, revoked) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    revoke(&world, &revoked, RevocationReason::KeyCompromise);
    let crls = published(&world);
    let (world, settled) = restored(world, &copied, &crls);
    assert_eq!(settled.issuers.iter().map(|it| it.unknown).sum::<u64>(), 1);
    assert_eq!(ocsp_status(&world, late.serial()), CertStatus::Unknown);
    let listed = CertStatus::Revoked { at: world.now(), reason: RevocationReason::KeyCompromise };
    assert_eq!(ocsp_status(&world, revoked.serial()), listed);
    // Nobody knows when it expires: it stays.
    world.clock.advance(400 * DAY);
    assert!(crl_entry(&world, revoked.serial()).is_some());
    let id = CertificateId { issuer: issuing(), serial: revoked.serial().clone() };
    assert!(world.gateway.certificate(&world.authed::<Read>(), &id).is_err(), "there is no record to show");
}

#[test]
fn a_barred_ca_bars_what_was_issued_after_the_backup_too() {
    let world = world();
    let copied = back_up(&world);
    let later = enrolled(&world, "SN1");
    world.gateway.hold_certificate(&world.authed(), &id_of(&later), "").unwrap();
    let crls = published(&world);
    let (world, _) = restored(world, &copied, &crls);
    world.clock.advance(DAY);
    let ca = world.record(&world.issuer("issuing")).id;
    let because = because(RevocationReason::KeyCompromise);
    world.gateway.revoke_certificate(&world.authed(), &ca, &because).unwrap();
    let expected = CertStatus::Revoked { at: world.now(), reason: RevocationReason::CaCompromise };
    assert_eq!(ocsp_status(&world, later.serial()), expected);
    let entry = crl_entry(&world, later.serial()).unwrap();
    assert_eq!((entry.reason, entry.revoked_at), (RevocationReason::CaCompromise, world.now()));
}

#[test]
fn nothing_is_served_before_a_new_crl_and_its_number_is_above_every_other() {
    let world = world();
    let copied = back_up(&world);
    world.clock.advance(DAY);
    (0..20).for_each(|_| drop(published(&world)));
    let number = world.gateway.crl(&issuing()).unwrap().number;
    let (world, _) = restored(world, &copied, &[]);
    assert!(world.gateway.crl(&issuing()).is_none());
    world.gateway.run_due().unwrap();
    let crl = world.gateway.crl(&issuing()).unwrap();
    assert!(crl.number > number, "{} after {number}", crl.number);
    let check = world.gateway.health().checks.into_iter().find(|check| check.name == "restored").unwrap();
    assert_eq!(check.result, CheckResult::Warn);
}

#[test]
fn a_crl_that_has_run_out_is_taken_and_named() {
    let world = world();
    let copied = back_up(&world);
    let crls = published(&world);
    let run_out = |now| {
        let (_, settled) = filled(&copied, &crls, false, now).unwrap();
        settled.issuers.into_iter().map(|it| it.crl_has_run_out).collect::<Vec<_>>()
    };
    assert_eq!(run_out(world.now()), [false, false]);
    assert_eq!(run_out(crls[0].crl.next_update().unwrap().plus(DAY)), [true, true]);
}

#[test]
fn a_changed_crl_and_a_missing_one_are_refused() {
    let world = world();
    let copied = back_up(&world);
    let crls = published(&world);
    let refused = filled(&copied, &crls[..1], false, world.now()).unwrap_err();
    assert!(matches!(&refused, ServiceError::Refused(words) if words.contains("issuing")), "{refused}");
    let mut der = crls[1].crl.as_der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let forged = [GivenCrl { name: "forged".to_owned(), crl: Crl::from_der(&der).unwrap(), delta: None }];
    let refused = filled(&copied, &forged, true, world.now()).unwrap_err();
    assert!(matches!(&refused, ServiceError::Invalid { field, .. } if field == "forged"), "{refused}");
    filled(&copied, &crls, false, world.now()).unwrap();
}

#[test]
fn a_hold_by_something_else_does_not_become_one_of_the_certificate() {
    let world = world();
    let below = enrolled(&world, "SN1");
    let copied = back_up(&world);
    // The CA's hold is on the root's list, and the CA's own list shows it for each certificate.
    let ca = world.record(&world.issuer("issuing")).id;
    world.gateway.hold_certificate(&world.authed(), &ca, "").unwrap();
    let crls = published(&world);
    assert_eq!(reason(&world, &below), Some(RevocationReason::CertificateHold));

    let (world, settled) = restored(world, &copied, &crls);
    let done = |id: &str| settled.issuers.iter().find(|it| it.issuer.as_str() == id).unwrap().revocations;
    assert_eq!((done("root"), done("issuing")), (1, 0));
    assert_eq!(reason(&world, &below), Some(RevocationReason::CertificateHold));
    assert!(world.read(|view| view.causes(&id_of(&below))).is_empty(), "it has no hold of its own");
    world.gateway.release_certificate(&world.authed(), &ca, "").unwrap();
    assert_eq!(reason(&world, &below), None);
}

#[test]
fn what_the_backup_knows_already_gets_no_second_cause() {
    let world = world();
    let lost = enrolled(&world, "SN1");
    let device = "SN1".parse().unwrap();
    world.gateway.device_event(&world.authed(), &device, DeviceEvent::Lost, "").unwrap();
    let copied = back_up(&world);
    let crls = published(&world);
    let causes = |world: &World| world.read(|view| view.causes(&id_of(&lost)));
    let before = causes(&world);
    assert_eq!(before.len(), 1);
    let (world, settled) = restored(world, &copied, &crls);
    assert_eq!(settled.issuers.iter().map(|it| it.revocations).sum::<u64>(), 0);
    assert_eq!(causes(&world), before);
}

#[test]
fn a_restored_gateway_that_never_ran_is_restored_with_the_same_crls() {
    let world = world();
    let late = enrolled(&world, "SN1");
    let copied = back_up(&world);
    revoke(&world, &late, RevocationReason::KeyCompromise);
    let crls = published(&world);
    let (world, first) = restored(world, &copied, &crls);
    let again = back_up(&world);
    let (_, head) = FrameReader::start(&again[..]).unwrap();
    assert!(head.issuers.iter().all(|it| it.crl_number.is_none()), "no CRL was published: {head:?}");
    world.clock.advance(DAY);
    let (world, second) = restored(world, &again, &crls);
    for (one, other) in first.issuers.iter().zip(&second.issuers) {
        assert!(other.numbers_above > one.numbers_above, "{one:?} {other:?}");
    }
    assert_eq!(reason(&world, &late), Some(RevocationReason::KeyCompromise));
}
