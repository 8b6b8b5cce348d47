//! What the state of a CA does to everything that it issued.

use std::sync::Arc;

use certgate::{
    domain::{
        device::DeviceEvent,
        issuer::GenerationState,
        status::{CauseKind, Status},
    },
    service::{
        GatewaySettings,
        health::CheckResult,
        rollover::{CutOver, NewSuccessor},
        scep::ScepError,
    },
    types::{CertificateId, DigestAlgorithm, RevocationReason, SerialNumber, Timestamp},
    wire::{
        crl::Crl,
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};

use super::{
    because,
    common::{Client, DAY, MessageOptions, World},
    crl_entry, enrolled, id_of, issuing,
    meanwhile::{Meanwhile, When},
    ocsp_status, plain_request, revoke, world,
};

fn own(world: &World, issuer: &str) -> CertificateId {
    world.record(&world.issuer(issuer)).id
}

fn hold(world: &World, id: &CertificateId) {
    world.gateway.hold_certificate(&world.authed(), id, "suspected").unwrap();
}

fn release(world: &World, id: &CertificateId) {
    world.gateway.release_certificate(&world.authed(), id, "unfounded").unwrap();
}

fn revoke_ca(world: &World, id: &CertificateId, reason: RevocationReason) {
    world.gateway.revoke_certificate(&world.authed(), id, &because(reason)).unwrap();
}

fn revoked(world: &World, reason: RevocationReason) -> CertStatus {
    CertStatus::Revoked { at: world.now(), reason }
}

#[test]
fn a_hold_of_the_ca_holds_all_that_it_issued_and_its_release_leaves_nothing() {
    let world = world();
    let (one, other) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    let question = plain_request(&world, one.serial());
    assert_eq!(ocsp_status(&world, one.serial()), CertStatus::Good);
    assert!(world.ocsp_cached(&question).is_some());

    hold(&world, &own(&world, "issuing"));
    // No answer from before survives the call.
    assert!(world.ocsp_cached(&question).is_none());
    for certificate in [&one, &other] {
        assert_eq!(
            ocsp_status(&world, certificate.serial()),
            revoked(&world, RevocationReason::CertificateHold)
        );
        let entry = crl_entry(&world, certificate.serial()).unwrap();
        assert_eq!((entry.reason, entry.revoked_at), (RevocationReason::CertificateHold, world.now()));
    }
    let view = world.gateway.certificate(&world.authed(), &id_of(&one)).unwrap();
    assert_eq!(view.status, Status::Hold);
    let [cause] = view.causes.as_slice() else { panic!("one cause: {:?}", view.causes) };
    assert_eq!((cause.kind, cause.permanent), (CauseKind::Issuer, false));
    assert_eq!(cause.reference, own(&world, "issuing").to_string());
    assert!(world.read(|view| view.causes(&id_of(&one))).is_empty(), "nothing is written for it");

    let issuers = || world.gateway.issuers(&world.authed()).unwrap().items;
    let statuses = || issuers().into_iter().map(|it| it.status).collect::<Vec<_>>();
    assert_eq!(statuses(), [Status::Hold, Status::Good]);
    release(&world, &own(&world, "issuing"));
    assert_eq!(statuses(), [Status::Good, Status::Good]);
    assert_eq!(ocsp_status(&world, one.serial()), CertStatus::Good);
    assert_eq!(crl_entry(&world, one.serial()), None);
    assert_eq!(world.gateway.certificate(&world.authed(), &id_of(&one)).unwrap().status, Status::Good);
}

#[test]
fn the_reason_of_the_ca_decides_that_of_its_certificates() {
    for (of_ca, below) in [
        (RevocationReason::KeyCompromise, RevocationReason::CaCompromise),
        (RevocationReason::CaCompromise, RevocationReason::CaCompromise),
        (RevocationReason::Superseded, RevocationReason::CessationOfOperation),
        (RevocationReason::Unspecified, RevocationReason::CessationOfOperation),
    ] {
        let world = world();
        let certificate = enrolled(&world, "SN1");
        revoke_ca(&world, &own(&world, "issuing"), of_ca);
        assert_eq!(ocsp_status(&world, certificate.serial()), revoked(&world, below), "{of_ca}");
        assert_eq!(crl_entry(&world, certificate.serial()).unwrap().reason, below);
    }
}

#[test]
fn a_compromised_ca_comes_before_an_earlier_cause_and_survives_a_restart() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::Superseded);
    world.clock.advance(DAY);
    revoke_ca(&world, &own(&world, "issuing"), RevocationReason::KeyCompromise);
    let expected = revoked(&world, RevocationReason::CaCompromise);
    assert_eq!(ocsp_status(&world, certificate.serial()), expected);
    let world = world.restarted(GatewaySettings::default());
    assert_eq!(ocsp_status(&world, certificate.serial()), expected);
    assert_eq!(world.gateway.certificate(&world.authed(), &id_of(&certificate)).unwrap().causes.len(), 2);
    assert_eq!(crl_entry(&world, certificate.serial()).unwrap().reason, RevocationReason::CaCompromise);
}

#[test]
fn a_release_of_the_ca_leaves_the_holds_of_devices() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    hold(&world, &own(&world, "issuing"));
    let since = world.now();
    world.clock.advance(DAY);
    let wiped =
        world.gateway.device_event(&world.authed(), &"SN1".parse().unwrap(), DeviceEvent::Wipe, "").unwrap();
    assert_eq!(wiped.certificates[0].after, Status::Hold);
    assert_eq!(
        ocsp_status(&world, certificate.serial()),
        CertStatus::Revoked { at: since, reason: RevocationReason::CertificateHold }
    );
    release(&world, &own(&world, "issuing"));
    assert_eq!(ocsp_status(&world, certificate.serial()), revoked(&world, RevocationReason::CertificateHold));
}

#[test]
fn the_root_takes_everything_below_with_it_but_is_not_below_itself() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let (root, issuing_ca) = (own(&world, "root"), own(&world, "issuing"));
    revoke_ca(&world, &root, RevocationReason::KeyCompromise);
    assert_eq!(ocsp_status(&world, certificate.serial()), revoked(&world, RevocationReason::CaCompromise));
    let view = |id: &CertificateId| world.gateway.certificate(&world.authed(), id).unwrap();
    assert_eq!(view(&issuing_ca).revocation.unwrap().reason, RevocationReason::CaCompromise);
    assert_eq!(view(&root).revocation.unwrap().reason, RevocationReason::KeyCompromise);
    assert_eq!(view(&root).causes.len(), 1);
    let published = world.gateway.publish_crl(&world.authed(), &"root".parse().unwrap()).unwrap();
    let crl = Crl::from_der(&published.der).unwrap();
    let reason = |serial: &SerialNumber| crl.entries().iter().find(|it| it.serial == *serial).unwrap().reason;
    assert_eq!(reason(&root.serial), RevocationReason::KeyCompromise);
    assert_eq!(reason(&issuing_ca.serial), RevocationReason::CaCompromise);
}

#[test]
fn health_says_that_a_ca_is_barred_and_the_gateway_stays_ready() {
    let world = world();
    world.gateway.run_due().unwrap();
    let of = |name: &str| {
        let health = world.gateway.health();
        (health.ready, health.checks.into_iter().find(|check| check.name == name).unwrap())
    };
    assert_eq!(of("issuer/issuing").1.result, CheckResult::Pass);
    hold(&world, &own(&world, "issuing"));
    let (ready, check) = of("issuer/issuing");
    assert_eq!((ready, check.result), (true, CheckResult::Warn));
    assert!(check.detail.contains("revoked or on hold"), "{}", check.detail);
    assert_eq!(of("issuer/root").1.result, CheckResult::Pass);
}

#[test]
fn a_serial_that_a_revoked_ca_never_issued_is_still_unknown() {
    let world = world();
    revoke_ca(&world, &own(&world, "issuing"), RevocationReason::KeyCompromise);
    assert_eq!(ocsp_status(&world, &SerialNumber::from_random([0x42; 16])), CertStatus::Unknown);
}

#[test]
fn a_revoked_ca_goes_on_answering_and_issues_nothing() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    world.gateway.run_due().unwrap();
    revoke_ca(&world, &own(&world, "issuing"), RevocationReason::KeyCompromise);
    let expected = revoked(&world, RevocationReason::CaCompromise);
    // Past the life of its OCSP signer, of its message certificates' CRL, and of the first CRL.
    for _ in 0..4 {
        world.clock.advance(DAY * 6);
        world.gateway.run_due().unwrap();
        assert_eq!(ocsp_status(&world, certificate.serial()), expected);
    }
    let crl = world.gateway.crl(&issuing()).unwrap();
    assert!(crl.next_update > world.now());
    let listed = Crl::from_der(&crl.der).unwrap().entries().len();
    let issued = world.read(|view| {
        let mut issued = 0;
        view.visit_certificates(&issuing(), &mut |_, _, _| {
            issued += 1;
            Ok(())
        })?;
        Ok(issued)
    });
    // Its new OCSP signers too; all but those that expired a while ago.
    assert!(listed > 1 && listed <= issued, "{listed} of {issued}");

    let device = world.register("SN2");
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &device)));
    let message = client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr);
    assert_eq!(world.pki_operation("device", &message).unwrap_err(), ScepError::Unavailable);
}

/// What OCSP, CRL and API say of a certificate of the CA `issuing`, which is the same.
fn said_by_all(world: &World, certificate: &Certificate) -> Option<(RevocationReason, Timestamp)> {
    let by_ocsp = match ocsp_status(world, certificate.serial()) {
        CertStatus::Good => None,
        CertStatus::Revoked { at, reason } => Some((reason, at)),
        CertStatus::Unknown => panic!("it was issued"),
    };
    let by_crl = crl_entry(world, certificate.serial()).map(|entry| (entry.reason, entry.revoked_at));
    let view = world.gateway.certificate(&world.authed(), &id_of(certificate)).unwrap();
    let by_api = view.revocation.map(|it| (it.reason, it.at));
    assert_eq!([by_crl, by_api], [by_ocsp; 2], "CRL, API, and OCSP");
    by_ocsp
}

#[test]
fn a_retired_ca_answers_alike_everywhere_and_what_becomes_of_its_certificates_still_counts() {
    let world = world();
    let [good, held, gone] = ["SN1", "SN2", "SN3"].map(|device| enrolled(&world, device));
    revoke(&world, &gone, RevocationReason::Superseded);
    let before = (RevocationReason::Superseded, world.now());
    world.gateway.roll_over(&world.authed(), &issuing(), &NewSuccessor::default()).unwrap();
    world.gateway.cut_over(&world.authed(), &issuing(), CutOver::default()).unwrap();
    let state = |world: &World| world.gateway.issuer(&world.authed(), &issuing()).unwrap().generation.state;
    assert_eq!(state(&world), GenerationState::Retired);
    let say = |world: &World| [&good, &held, &gone].map(|it| said_by_all(world, it));
    assert_eq!(say(&world), [None, None, Some(before)]);
    // Past the life of the OCSP signers and CRLs that it had when it retired, and through a restart.
    for _ in 0..3 {
        world.clock.advance(DAY * 8);
        world.gateway.run_due().unwrap();
    }
    let world = world.restarted(GatewaySettings::default());
    assert_eq!(say(&world), [None, None, Some(before)]);
    assert_eq!(ocsp_status(&world, &SerialNumber::from_random([0x42; 16])), CertStatus::Unknown);

    hold(&world, &id_of(&held));
    let on_hold = Some((RevocationReason::CertificateHold, world.now()));
    assert_eq!(say(&world), [None, on_hold, Some(before)]);
    release(&world, &id_of(&held));
    world.gateway.device_event(&world.authed(), &"SN2".parse().unwrap(), DeviceEvent::Wipe, "").unwrap();
    assert_eq!(said_by_all(&world, &held), on_hold);
    world.gateway.device_event(&world.authed(), &"SN2".parse().unwrap(), DeviceEvent::Force, "").unwrap();
    let ended = Some((RevocationReason::CessationOfOperation, world.now()));
    assert_eq!(say(&world), [None, ended, Some(before)]);

    // Retired and revoked: with all that it issued, and nothing of its successor's.
    world.clock.advance(DAY);
    let device = world.register("SN4");
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &device)));
    let next = client.enrol(&world, "device", &csr).certificate().clone();
    revoke_ca(&world, &own(&world, "issuing"), RevocationReason::KeyCompromise);
    let compromised = Some((RevocationReason::CaCompromise, world.now()));
    assert_eq!(said_by_all(&world, &good), compromised);
    assert_eq!(state(&world), GenerationState::Retired);
    let successor = world.record(&next).id;
    assert_eq!(successor.issuer.as_str(), "issuing-2");
    assert_eq!(world.gateway.certificate(&world.authed(), &successor).unwrap().status, Status::Good);
}

#[test]
fn the_crl_of_the_ca_follows_by_itself_also_after_a_crash() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    world.gateway.run_due().unwrap();
    hold(&world, &own(&world, "issuing"));
    // The process dies before the worker comes round; the job is there.
    let world = world.restarted(GatewaySettings::default());
    world.clock.advance(std::time::Duration::from_secs(6));
    world.gateway.run_due().unwrap();
    let crl = Crl::from_der(&world.gateway.crl(&issuing()).unwrap().der).unwrap();
    assert!(crl.entries().iter().any(|entry| entry.serial == *certificate.serial()));
}

/// What `id`'s OCSP says of one of its own certificates.
fn status_under(world: &World, id: &str, serial: &SerialNumber) -> CertStatus {
    let issuer = world.issuer(id);
    let cert_id = CertId::new(DigestAlgorithm::Sha256, &issuer, serial).unwrap();
    let request = OcspRequest::new(vec![cert_id], None).to_der().unwrap();
    let OcspResponse::Successful(response) =
        OcspResponse::from_der(&world.gateway.ocsp(&request).body).unwrap()
    else {
        panic!("an error");
    };
    response.verify(&issuer).unwrap();
    response.responses[0].status
}

#[test]
fn a_root_that_is_revoked_while_a_successor_is_made_is_revoked_for_the_successor_too() {
    let (world, store) = Meanwhile::over(world());
    let root = own(&world, "root");
    let gateway = Arc::clone(&world.gateway);
    let authed = world.authed();
    store.let_happen(
        When::Written,
        Box::new(move || {
            gateway.revoke_certificate(&authed, &root, &because(RevocationReason::CaCompromise)).unwrap();
        }),
    );
    world.gateway.roll_over(&world.authed(), &issuing(), &NewSuccessor::default()).unwrap();
    let message =
        world.gateway.authorities().issuer(&"issuing-2".parse().unwrap()).unwrap().message_keys[0].clone();
    let said = status_under(&world, "issuing-2", message.certificate.serial());
    assert_eq!(said, revoked(&world, RevocationReason::CaCompromise));
    let crl = world.gateway.publish_crl(&world.authed(), &"issuing-2".parse().unwrap()).unwrap();
    let crl = Crl::from_der(&crl.der).unwrap();
    assert!(crl.entries().iter().any(|entry| entry.serial == *message.certificate.serial()));
}
