//! CRLs (RFC 5280 §5) and the worker that makes them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use certgate::{
    domain::crl::{CrlPolicy, CrlRecord, CrlScope},
    http::{bridge::Bridge, device::DeviceEdge, forwarded::TrustedProxies, ocsp::OcspCounters},
    service::{GatewaySettings, crl::PublishedCrl},
    types::{CertificateId, IssuerId, RevocationReason, SerialNumber},
    wire::{crl::Crl, ocsp::CertStatus},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    because,
    common::{DAY, World, cause},
    crl_entry,
    crl_policy::{settings, world_with},
    enrolled, id_of, issuing,
    meanwhile::{Meanwhile, When},
    ocsp_status, revoke, world,
};

fn number(world: &World) -> u64 {
    world.gateway.crl(&issuing()).unwrap().number
}

#[test]
fn a_revocation_is_on_the_crl_within_the_debounce() {
    let world = world();
    world.gateway.run_due().unwrap();
    let before = number(&world);
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    let wait = world.gateway.run_due().unwrap();
    assert_eq!(number(&world), before);
    assert!(wait <= Duration::from_secs(5), "{wait:?}");

    world.clock.advance(wait);
    world.gateway.run_due().unwrap();

    let published = world.gateway.crl(&issuing()).unwrap();
    assert_eq!(published.number, before + 1);
    let crl = Crl::from_der(&published.der).unwrap();
    assert_eq!(crl.number(), Some(published.number));
    assert_eq!(crl.entries()[0].serial, *certificate.serial());
    assert_eq!(crl.entries()[0].reason, RevocationReason::KeyCompromise);
    assert_eq!(crl.authority_key_identifier(), world.issuer("issuing").subject_key_identifier());
}

#[test]
fn what_was_revoked_while_the_clock_was_ahead_does_not_wait_for_that_time() {
    let world = world();
    world.gateway.run_due().unwrap();
    let certificate = enrolled(&world, "SN1");
    world.clock.advance(DAY / 2);
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    world.clock.set_back(DAY / 2);
    world.gateway.run_due().unwrap();
    let published = world.gateway.crl(&issuing()).unwrap();
    let crl = Crl::from_der(&published.der).unwrap();
    assert_eq!(crl.entries().len(), 1);
    // And once.
    world.gateway.run_due().unwrap();
    assert_eq!(number(&world), published.number);
}

#[test]
fn a_released_hold_leaves_the_crl_and_a_revocation_stays() {
    let world = world();
    let (held, revoked) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    world.gateway.hold_certificate(&world.authed(), &id_of(&held), "").unwrap();
    revoke(&world, &revoked, RevocationReason::CessationOfOperation);
    assert_eq!(crl_entry(&world, held.serial()).unwrap().reason, RevocationReason::CertificateHold);
    world.gateway.release_certificate(&world.authed(), &id_of(&held), "").unwrap();
    assert_eq!(crl_entry(&world, held.serial()), None);
    assert!(crl_entry(&world, revoked.serial()).is_some());
}

#[test]
fn an_expired_certificate_leaves_the_crl_but_never_becomes_good() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::CessationOfOperation);
    world.clock.advance(certificate.validity().not_after.since(world.now()));
    world.gateway.run_due().unwrap();
    assert!(crl_entry(&world, certificate.serial()).is_some(), "it must be on a CRL issued after it expired");
    world.clock.advance(366 * DAY);
    world.gateway.run_due().unwrap();
    assert_eq!(crl_entry(&world, certificate.serial()), None);
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
}

#[test]
fn a_new_crl_comes_with_its_schedule_and_never_outlives_its_issuer() {
    let world = world();
    world.gateway.run_due().unwrap();
    let before = number(&world);
    world.clock.advance(DAY);
    world.gateway.run_due().unwrap();
    assert_eq!(number(&world), before + 1);

    let end = world.issuer("issuing").validity().not_after;
    world.clock.advance(end.since(world.now()) - DAY);
    let published = world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    assert_eq!(published.next_update, end);
}

#[test]
fn a_revocation_after_the_issuer_expired_leaves_no_job_behind() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    world.gateway.run_due().unwrap();
    let end = world.issuer("issuing").validity().not_after;
    world.clock.advance(end.since(world.now()));
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    assert_eq!(world.gateway.jobs(&world.authed(), 10).unwrap().items.len(), 1);
    world.clock.advance(Duration::from_secs(60));
    world.gateway.run_due().unwrap();
    assert!(world.gateway.jobs(&world.authed(), 10).unwrap().items.is_empty());
    world.gateway.publish_crl(&world.authed(), &issuing()).unwrap_err();
}

#[test]
fn publishing_on_demand_is_recorded_and_on_schedule_is_not() {
    let world = world();
    world.gateway.run_due().unwrap();
    let recorded = || {
        let mut tail = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items;
        tail.retain(|event| event.action == "crl.published");
        tail.iter().map(|event| event.detail["number"].clone()).collect::<Vec<_>>()
    };
    assert!(recorded().is_empty());
    world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    assert_eq!(recorded(), [number(&world).to_string()]);
}

#[test]
fn the_number_grows_over_a_restart() {
    let world = world();
    world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    let before = number(&world);
    let world = world.restarted(certgate::service::GatewaySettings::default());
    assert_eq!(number(&world), before);
    world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    assert_eq!(number(&world), before + 1);
}

/// The number of the CRL after `older`, whose process died between publishing it and having it in the store.
pub(super) fn number_of_unstored(world: &World, older: &PublishedCrl) -> u64 {
    let published = CrlRecord {
        issuer: issuing(),
        scope: CrlScope::Full,
        base_number: None,
        number: older.number + 1,
        this_update: world.now(),
        next_update: older.next_update,
        entries: 1,
        der: older.der.clone(),
    };
    world.write(|tx| tx.reserve_crl(&published));
    published.number
}

/// The head of what the device listener answers to a GET of a CRL, in small letters.
fn fetched(world: &World, file: &str) -> String {
    head_of(world, &format!("/crl/{file}"), "")
}

/// The head of what the device listener answers to a GET with these headers, in small letters.
pub(super) fn head_of(world: &World, path: &str, headers: &str) -> String {
    let bridge = || Arc::new(Bridge::start("test", 1, 1).unwrap());
    let edge = Arc::new(DeviceEdge {
        gateway: world.gateway.clone(),
        enrolment: bridge(),
        status: bridge(),
        max_message: 65_536,
        body_timeout: Duration::from_secs(10),
        trusted_proxies: TrustedProxies::default(),
        ocsp_counters: OcspCounters::default(),
    });
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    let answer = async move {
        let (mut client, server) = tokio::io::duplex(1024 * 1024);
        let peer = "192.0.2.7:4711".parse().unwrap();
        let answer = service_fn(move |request| edge.clone().answer(request, peer));
        client.write_all(request.as_bytes()).await.unwrap();
        http1::Builder::new().serve_connection(TokioIo::new(server), answer).await.unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let bytes = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer);
    let text = String::from_utf8_lossy(&bytes);
    text.split_inclusive("\r\n\r\n").next().unwrap().to_ascii_lowercase()
}

#[test]
fn nothing_older_than_what_was_published_is_served_after_a_crash() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let older = world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    let published = number_of_unstored(&world, &older);
    let world = world.restarted(certgate::service::GatewaySettings::default());
    assert!(world.gateway.crl(&issuing()).is_none());
    // Gear is told to come back, and nobody remembers that there is no CRL.
    for path in ["issuing.crl", "issuing.crl.pem"] {
        let head = fetched(&world, path);
        assert!(head.starts_with("http/1.1 503") && head.contains("\r\nretry-after: 10\r\n"), "{head}");
    }
    for path in ["nobody.crl", "issuing-delta.crl", "issuing/2/0.crl", "issuing.cer"] {
        assert!(fetched(&world, path).starts_with("http/1.1 404"), "{path}");
    }
    world.gateway.run_due().unwrap();
    assert!(fetched(&world, "issuing.crl").starts_with("http/1.1 200"));
    assert_eq!(number(&world), published + 1);
    assert!(crl_entry(&world, certificate.serial()).is_some());
}

#[test]
fn a_crl_of_many_entries_is_in_the_store_too_and_lists_them_all() {
    let world = world();
    let serial =
        |number: u32| SerialNumber::from_random([number.to_be_bytes(); 4].concat().try_into().unwrap());
    let many: BTreeSet<_> = (1..=24_000).map(serial).collect();
    let cause = cause(world.now());
    world.write(|tx| {
        many.iter().try_for_each(|serial| {
            tx.put_cause(&CertificateId { issuer: issuing(), serial: serial.clone() }, &cause)
        })
    });
    let world = world.restarted(certgate::service::GatewaySettings::default());
    let certificate = enrolled(&world, "SN1");
    for revoked in [0, 1] {
        let published = world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
        assert!(published.der.len() > 1024 * 1024, "{}", published.der.len());
        let crl = Crl::from_der(&published.der).unwrap();
        crl.verify(&world.issuer("issuing")).unwrap();
        assert!(crl.entries().is_sorted_by(|a, b| a.serial < b.serial));
        let listed: BTreeSet<_> = crl.entries().iter().map(|entry| entry.serial.clone()).collect();
        assert_eq!(listed.intersection(&many).count(), many.len());
        assert_eq!(listed.len(), many.len() + revoked);
        let kept = world.read(|view| view.latest_crl(&issuing(), CrlScope::Full)).unwrap();
        assert_eq!((kept.number, kept.der), (published.number, published.der.clone()));
        if revoked == 0 {
            revoke(&world, &certificate, RevocationReason::KeyCompromise);
        }
    }
    assert_eq!(
        world
            .restarted(certgate::service::GatewaySettings::default())
            .gateway
            .crl(&issuing())
            .unwrap()
            .number,
        2
    );
}

#[test]
fn a_reason_that_was_raised_to_key_compromise_reaches_the_crl() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::Superseded);
    assert_eq!(crl_entry(&world, certificate.serial()).unwrap().reason, RevocationReason::Superseded);
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    assert_eq!(crl_entry(&world, certificate.serial()).unwrap().reason, RevocationReason::KeyCompromise);
}

#[test]
fn a_hold_and_its_release_each_reach_the_crl_by_the_worker() {
    let world = world();
    world.gateway.run_due().unwrap();
    let certificate = enrolled(&world, "SN1");
    let reasons = |world: &World| {
        world.clock.advance(Duration::from_secs(5));
        world.gateway.run_due().unwrap();
        let crl = Crl::from_der(&world.gateway.crl(&issuing()).unwrap().der).unwrap();
        crl.verify(&world.issuer("issuing")).unwrap();
        crl.entries().iter().map(|entry| (entry.serial.clone(), entry.reason)).collect::<Vec<_>>()
    };
    let first = number(&world);
    world.gateway.hold_certificate(&world.authed(), &id_of(&certificate), "").unwrap();
    assert_eq!(reasons(&world), [(certificate.serial().clone(), RevocationReason::CertificateHold)]);
    assert_eq!(number(&world), first + 1);
    world.gateway.release_certificate(&world.authed(), &id_of(&certificate), "").unwrap();
    assert_eq!(reasons(&world), []);
    assert_eq!(number(&world), first + 2);
    // Nothing changed: nothing is made before the schedule asks for it.
    assert_eq!(reasons(&world), []);
    assert_eq!(number(&world), first + 2);
}

#[test]
fn many_revocations_within_the_debounce_make_one_crl() {
    let world = world();
    world.gateway.run_due().unwrap();
    let first = number(&world);
    for device in ["SN1", "SN2", "SN3"] {
        let certificate = enrolled(&world, device);
        revoke(&world, &certificate, RevocationReason::CessationOfOperation);
        world.clock.advance(Duration::from_secs(1));
        world.gateway.run_due().unwrap();
    }
    world.clock.advance(Duration::from_secs(5));
    world.gateway.run_due().unwrap();
    let published = world.gateway.crl(&issuing()).unwrap();
    assert_eq!((published.number, published.entries), (first + 1, 3));
}

#[test]
fn the_root_has_a_crl_of_its_own_and_a_revoked_ca_is_on_it() {
    let world = world();
    world.gateway.run_due().unwrap();
    let root: IssuerId = "root".parse().unwrap();
    let certificate = world.issuer("root");
    let published = world.gateway.crl(&root).unwrap();
    let crl = Crl::from_der(&published.der).unwrap();
    crl.verify(&certificate).unwrap();
    assert_eq!(crl.authority_key_identifier(), certificate.subject_key_identifier());
    assert!(crl.entries().is_empty());
    assert!(crl.verify(&world.issuer("issuing")).is_err());

    world.clock.advance(DAY);
    world.gateway.run_due().unwrap();
    assert_eq!(world.gateway.crl(&root).unwrap().number, published.number + 1);

    let ca = CertificateId { issuer: root.clone(), serial: world.issuer("issuing").serial().clone() };
    let because = because(RevocationReason::CaCompromise);
    world.gateway.revoke_certificate(&world.authed(), &ca, &because).unwrap();
    world.clock.advance(Duration::from_secs(5));
    world.gateway.run_due().unwrap();
    let crl = Crl::from_der(&world.gateway.crl(&root).unwrap().der).unwrap();
    let [entry] = crl.entries() else { panic!("{:?}", crl.entries()) };
    assert_eq!((&entry.serial, entry.reason), (&ca.serial, RevocationReason::CaCompromise));
}

#[test]
fn what_a_crl_missed_is_on_the_next_one_though_the_process_died_in_between() {
    let (world, store) = Meanwhile::over(world());
    world.gateway.run_due().unwrap();
    let (first, second) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    revoke(&world, &first, RevocationReason::KeyCompromise);
    world.clock.advance(Duration::from_secs(5));
    // The CRL for the first one is made while the second one is in the store and not yet in the snapshot.
    let worker = Arc::clone(&world.gateway);
    let work = move || {
        worker.run_due().unwrap();
    };
    store.let_happen(When::Written, Box::new(work));
    revoke(&world, &second, RevocationReason::KeyCompromise);
    let listed = |world: &World| Crl::from_der(&world.gateway.crl(&issuing()).unwrap().der).unwrap();
    assert_eq!(listed(&world).entries().len(), 1);
    assert!(world.gateway.jobs(&world.authed(), 10).unwrap().items.is_empty());
    let world = world.restarted(GatewaySettings::default());
    world.clock.advance(Duration::from_secs(6));
    world.gateway.run_due().unwrap();
    assert_eq!(listed(&world).entries().len(), 2, "it does not wait for the schedule");
}

/// A world whose changes since the last CRLs have no job, as after one that was given up; begun anew.
fn without_jobs(world: World, settings: &GatewaySettings) -> World {
    let jobs = world.read(|view| view.jobs(10));
    assert_eq!(jobs.len(), 1);
    world.write(|tx| jobs.iter().try_for_each(|job| tx.remove_job(job.sequence).map(drop)));
    let world = world.restarted(settings.clone());
    world.clock.advance(Duration::from_secs(6));
    world.gateway.run_due().unwrap();
    world
}

#[test]
fn a_start_makes_the_crl_that_is_missing_and_none_that_says_nothing_new() {
    let without = CrlPolicy { keep_expired: Some(0), ..CrlPolicy::default() };
    let with_deltas = CrlPolicy { delta: Some(6 * 3_600), ..without };
    for settings in [without, with_deltas].map(settings) {
        let mut world = world_with(settings.clone());
        let [gone, held, raised] = ["SN1", "SN2", "SN3"].map(|device| enrolled(&world, device));
        world.gateway.hold_certificate(&world.authed(), &id_of(&held), "").unwrap();
        revoke(&world, &raised, RevocationReason::Superseded);
        world.gateway.publish_crl(&world.authed(), &issuing()).unwrap();
        world.gateway.run_due().unwrap();
        let newest = |world: &World| {
            let all = world.gateway.crls_of(&issuing()).into_iter().map(|crl| crl.number);
            all.max().unwrap()
        };
        let mut number = newest(&world);
        world.clock.advance(Duration::from_secs(5));
        world.gateway.run_due().unwrap();
        number = number.max(newest(&world));
        let changes: [&dyn Fn(&World); 3] = [
            &|world| revoke(world, &gone, RevocationReason::KeyCompromise),
            &|world| drop(world.gateway.release_certificate(&world.authed(), &id_of(&held), "").unwrap()),
            &|world| revoke(world, &raised, RevocationReason::KeyCompromise),
        ];
        for change in changes {
            change(&world);
            world = without_jobs(world, &settings);
            assert_eq!(newest(&world), number + 1);
            number += 1;
            for _ in 0..2 {
                world = world.restarted(settings.clone());
                world.clock.advance(Duration::from_secs(6));
                world.gateway.run_due().unwrap();
                assert_eq!(newest(&world), number, "there is nothing new");
            }
        }
        // Nor is what left the CRL when it had expired.
        world.clock.advance(gone.validity().not_after.since(world.now()) + DAY);
        for _ in 0..2 {
            world.clock.advance(DAY);
            world.gateway.run_due().unwrap();
        }
        let number = newest(&world);
        let full = Crl::from_der(&world.gateway.crl(&issuing()).unwrap().der).unwrap();
        assert!(full.entries().is_empty());
        let world = world.restarted(settings.clone());
        world.clock.advance(Duration::from_secs(6));
        world.gateway.run_due().unwrap();
        assert_eq!(newest(&world), number);
    }
}
