//! Delta CRLs (RFC 5280 §5.2.4) and partitions (§5.2.5).

use std::{collections::BTreeMap, time::Duration};

use certgate::{
    domain::crl::{CrlMirror, CrlPolicy, CrlScope, Partition},
    service::{GatewaySettings, crl::CrlSettings},
    types::{RevocationReason, SerialNumber},
    wire::{
        crl::{Crl, CrlEntry, DeltaCrl, DeltaEntry},
        x509::Certificate,
    },
};

use super::{
    common::{DAY, World},
    crl_policy::{settings, world_with},
    enrolled, id_of, issuing, revoke,
};

const DEBOUNCE: Duration = Duration::from_secs(5);

fn with_delta() -> GatewaySettings {
    settings(CrlPolicy { delta: Some(6 * 3_600), ..CrlPolicy::default() })
}

fn with_partitions(number: u16) -> GatewaySettings {
    settings(CrlPolicy { partitions: Some(number), ..CrlPolicy::default() })
}

/// Lets the worker come round after the debounce.
fn work(world: &World) {
    world.clock.advance(DEBOUNCE);
    world.gateway.run_due().unwrap();
}

fn full(world: &World) -> Crl {
    let crl = Crl::from_der(&world.gateway.crl(&issuing()).unwrap().der).unwrap();
    crl.verify(&world.issuer("issuing")).unwrap();
    crl
}

fn delta(world: &World) -> DeltaCrl {
    let delta = DeltaCrl::from_der(&world.gateway.crl_of(&issuing(), CrlScope::Delta).unwrap().der).unwrap();
    delta.verify(&world.issuer("issuing")).unwrap();
    delta
}

/// What somebody knows who has both.
fn together(world: &World) -> BTreeMap<SerialNumber, CrlEntry> {
    delta(world).applied_to(&full(world)).unwrap()
}

fn numbers(world: &World) -> (u64, u64) {
    (full(world).number().unwrap(), delta(world).head().number().unwrap())
}

#[test]
fn a_change_is_on_the_delta_and_the_full_crl_comes_by_its_schedule() {
    let world = world_with(with_delta());
    world.gateway.run_due().unwrap();
    let certificate = enrolled(&world, "SN1");
    let url = "http://pki.test.example/crl/issuing-delta.crl";
    assert_eq!(certificate.freshest_crl_urls(), [url]);
    let base = full(&world);
    assert_eq!(base.head().freshest(), [url]);
    assert_eq!(numbers(&world), (1, 1), "made together");
    assert!(delta(&world).entries().is_empty());

    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    work(&world);
    assert_eq!(full(&world), base);
    let first = delta(&world);
    assert_eq!((first.head().number(), first.head().base_number()), (Some(2), Some(1)));
    assert_eq!(together(&world)[certificate.serial()].reason, RevocationReason::KeyCompromise);
    assert_eq!(
        first.head().next_update().unwrap().since(first.head().this_update()),
        Duration::from_secs(6 * 3_600)
    );

    // Nothing changes: a new one comes when a third of its life is over.
    work(&world);
    assert_eq!(delta(&world), first);
    world.clock.advance(Duration::from_secs(2 * 3_600));
    world.gateway.run_due().unwrap();
    assert_eq!((numbers(&world), delta(&world).entries()), ((1, 3), first.entries()));

    // The schedule brings a full one, with its number a delta for those who have the one before.
    world.clock.advance(DAY);
    world.gateway.run_due().unwrap();
    let (number, _) = numbers(&world);
    assert_eq!(numbers(&world), (number, number));
    assert!(number > 3);
    assert_eq!(delta(&world).head().base_number(), Some(1));
    let listed: BTreeMap<_, _> =
        full(&world).entries().iter().map(|entry| (entry.serial.clone(), entry.clone())).collect();
    assert_eq!(delta(&world).applied_to(&base).unwrap(), listed);
    let second = enrolled(&world, "SN2");
    revoke(&world, &second, RevocationReason::Superseded);
    work(&world);
    assert_eq!(delta(&world).head().base_number(), Some(number));
    assert_eq!(delta(&world).entries().len(), 1, "the first is on the full one now");
    assert_eq!(together(&world).len(), 2);
}

#[test]
fn a_released_hold_is_removed_whether_a_full_crl_had_it_or_not() {
    let world = world_with(with_delta());
    let (early, late) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    let (hold, release) = (
        |it: &Certificate| world.gateway.hold_certificate(&world.authed(), &id_of(it), "").unwrap(),
        |it: &Certificate| world.gateway.release_certificate(&world.authed(), &id_of(it), "").unwrap(),
    );
    hold(&early);
    work(&world);
    world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    assert_eq!(full(&world).entries().len(), 1);
    hold(&late);
    work(&world);
    assert_eq!(together(&world).len(), 2);
    release(&early);
    release(&late);
    work(&world);
    let delta = delta(&world);
    let mut removed: Vec<_> = delta.entries().iter().map(DeltaEntry::serial).collect();
    removed.sort();
    let mut expected = [early.serial(), late.serial()];
    expected.sort();
    assert_eq!(removed, expected);
    assert!(delta.entries().iter().all(|entry| matches!(entry, DeltaEntry::Removed { .. })));
    assert!(together(&world).is_empty());
}

#[test]
fn deltas_go_on_over_a_restart_and_beside_full_crls_when_they_are_switched_off() {
    let world = world_with(with_delta());
    world.gateway.run_due().unwrap();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::Superseded);
    work(&world);
    let before = delta(&world);
    let world = world.restarted(with_delta());
    assert_eq!(delta(&world), before);
    let other = enrolled(&world, "SN2");
    revoke(&world, &other, RevocationReason::Superseded);
    work(&world);
    assert_eq!(numbers(&world), (1, 3));
    assert_eq!(together(&world).len(), 2);

    // Nothing new names the delta; those that do find one that leads to the newest full CRL and lives as long.
    let world = world.restarted(settings(CrlPolicy::default()));
    work(&world);
    let last = full(&world);
    assert!(last.head().freshest().is_empty());
    assert_eq!((last.number(), last.entries().len()), (Some(4), 2));
    assert_eq!(numbers(&world), (4, 4));
    assert_eq!((delta(&world).head().base_number(), together(&world).len()), (Some(1), 2));
    let third = enrolled(&world, "SN3");
    assert!(third.freshest_crl_urls().is_empty());
    revoke(&world, &third, RevocationReason::Superseded);
    work(&world);
    assert_eq!((numbers(&world), delta(&world).head().base_number()), ((5, 5), Some(4)));
    assert_eq!(delta(&world).head().next_update(), full(&world).head().next_update());
    assert_eq!((full(&world).entries().len(), together(&world).len()), (3, 3));

    let world = world.restarted(with_delta());
    work(&world);
    assert_eq!(numbers(&world), (6, 6), "no number is used twice");
    assert!(!full(&world).head().freshest().is_empty());
}

#[test]
fn an_expired_certificate_leaves_by_the_delta_after_it_was_on_a_full_crl() {
    let policy = CrlPolicy { delta: Some(3_600), keep_expired: Some(0), ..CrlPolicy::default() };
    let world = world_with(settings(policy));
    let certificate = enrolled(&world, "SN1");
    let hour = Duration::from_secs(3_600);
    world.clock.advance(certificate.validity().not_after.since(world.now()) - 12 * hour);
    world.gateway.run_due().unwrap();
    let base = full(&world);
    world.clock.advance(11 * hour);
    revoke(&world, &certificate, RevocationReason::Superseded);
    work(&world);
    // It expires between two full CRLs, and stays on the deltas until one has had it (RFC 5280 section 5.2.4).
    for _ in 0..6 {
        world.clock.advance(hour);
        world.gateway.run_due().unwrap();
        assert!(together(&world).contains_key(certificate.serial()));
    }
    assert_eq!(full(&world), base);
    world.clock.advance(7 * hour);
    world.gateway.run_due().unwrap();
    assert_eq!(full(&world).entries().len(), 1, "on one that was made after it expired");
    world.clock.advance(Duration::from_secs(3_600));
    world.gateway.run_due().unwrap();
    assert!(matches!(delta(&world).entries(), [DeltaEntry::Removed { .. }]));
    assert!(together(&world).is_empty());
}

#[test]
fn other_settings_are_on_crls_of_every_scope_at_once() {
    let before = CrlPolicy { delta: Some(48 * 3_600), partitions: Some(2), ..CrlPolicy::default() };
    let world = world_with(settings(before));
    work(&world);
    let numbers = |world: &World| -> Vec<u64> {
        world.gateway.crls_of(&issuing()).iter().map(|crl| crl.number).collect()
    };
    assert_eq!(numbers(&world), [1; 4]);
    let world = world.restarted(settings(before));
    work(&world);
    assert_eq!(numbers(&world), [1; 4], "nothing changed");

    let hours = |hours: u64| hours * 3_600;
    let after = CrlPolicy {
        lifetime: hours(24),
        period: hours(8),
        delta: Some(hours(3)),
        keep_expired: Some(0),
        ..before
    };
    let mirror = Some(CrlMirror { base: "http://mirror.test.example".to_owned(), first: true });
    let crl = CrlSettings { mirror, ..settings(after).crl };
    let world = world.restarted(GatewaySettings { crl, ..GatewaySettings::default() });
    work(&world);
    assert_eq!(numbers(&world), [2; 4]);
    for crl in world.gateway.crls_of(&issuing()) {
        let life = if crl.scope == CrlScope::Delta { hours(3) } else { hours(24) };
        assert_eq!(crl.next_update.since(crl.this_update).as_secs(), life, "{:?}", crl.scope);
    }
    assert_eq!(full(&world).head().expired_since(), None, "as the archiveCutoff of OCSP");
    assert_eq!(full(&world).head().freshest().len(), 2);
    let certificate = enrolled(&world, "SN1");
    let partition = CrlScope::Partition(Partition::holding(certificate.serial(), 2));
    let partition = world.gateway.crl_of(&issuing(), partition).unwrap();
    for url in certificate.crl_urls() {
        Crl::of_partition(&partition.der, &url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

/// The partition that a certificate names, as its readers find it.
fn partition_of(world: &World, certificate: &Certificate) -> (Partition, Crl) {
    let [url] = &certificate.crl_urls()[..] else { panic!("{:?}", certificate.crl_urls()) };
    let path = url.strip_prefix("http://pki.test.example/crl/issuing/").unwrap();
    let (of, index) = path.strip_suffix(".crl").unwrap().split_once('/').unwrap();
    let partition = Partition { of: of.parse().unwrap(), index: index.parse().unwrap() };
    let published = world.gateway.crl_of(&issuing(), CrlScope::Partition(partition)).unwrap();
    // The issuingDistributionPoint has the URL of the certificate byte for byte.
    let crl = Crl::of_partition(&published.der, url).unwrap();
    crl.verify(&world.issuer("issuing")).unwrap();
    (partition, crl)
}

#[test]
fn certificates_name_their_partition_and_older_ones_stay_on_the_full_crl() {
    let world = world_with(settings(CrlPolicy::default()));
    let old = enrolled(&world, "SN0");
    assert_eq!(old.crl_urls(), ["http://pki.test.example/crl/issuing.crl"]);
    let world = world.restarted(with_partitions(4));
    work(&world);
    let new: Vec<_> = (1..9).map(|number| enrolled(&world, &format!("SN{number}"))).collect();
    for certificate in &new {
        let (partition, crl) = partition_of(&world, certificate);
        assert_eq!(partition, Partition::holding(certificate.serial(), 4));
        assert!(crl.entries().is_empty());
    }
    let numbers = |world: &World| -> BTreeMap<CrlScope, u64> {
        world.gateway.crls_of(&issuing()).iter().map(|crl| (crl.scope, crl.number)).collect()
    };
    let before = numbers(&world);
    revoke(&world, &new[0], RevocationReason::KeyCompromise);
    revoke(&world, &old, RevocationReason::Superseded);
    work(&world);
    let (own, crl) = partition_of(&world, &new[0]);
    assert!(crl.entries().iter().any(|entry| entry.serial == *new[0].serial()));
    assert_eq!(full(&world).entries().len(), 2, "the full one has everything");
    let after = numbers(&world);
    let elsewhere = Partition::holding(old.serial(), 4);
    for (scope, number) in &before {
        let changed =
            [CrlScope::Full, CrlScope::Partition(own), CrlScope::Partition(elsewhere)].contains(scope);
        assert_eq!(after[scope] > *number, changed, "{scope:?}");
    }
    // Every revoked certificate is in exactly one of them.
    let listed: u64 = Partition::all(4)
        .map(|it| world.gateway.crl_of(&issuing(), CrlScope::Partition(it)).unwrap().entries)
        .sum();
    assert_eq!(listed, 2);
    // The schedule brings new ones of all.
    world.clock.advance(DAY);
    world.gateway.run_due().unwrap();
    assert!(numbers(&world).values().all(|number| numbers(&world).values().max() == Some(number)));
}

#[test]
fn partitions_that_certificates_name_stay_whole_when_their_number_changes() {
    let world = world_with(with_partitions(4));
    work(&world);
    let first = enrolled(&world, "SN1");
    let world = world.restarted(with_partitions(3));
    work(&world);
    let second = enrolled(&world, "SN2");
    let world = world.restarted(settings(CrlPolicy::default()));
    let third = enrolled(&world, "SN3");
    assert_eq!(third.crl_urls(), ["http://pki.test.example/crl/issuing.crl"]);
    for certificate in [&first, &second, &third] {
        revoke(&world, certificate, RevocationReason::Superseded);
    }
    work(&world);
    for (certificate, of) in [(&first, 4), (&second, 3)] {
        let (partition, crl) = partition_of(&world, certificate);
        assert_eq!(partition.of, of);
        assert!(crl.entries().iter().any(|entry| entry.serial == *certificate.serial()));
    }
    assert_eq!(full(&world).entries().len(), 3);
}
