//! What operators do and see: certificates by hand, tokens, audit, health.

use std::time::Duration;

use certgate::{
    domain::{
        access::{Caller, Role},
        status::Status,
    },
    service::{ServiceError, health::CheckResult, token::NewToken},
    types::{RequestId, RevocationReason, Secret},
};

use super::{
    because,
    common::{DAY, World},
    enrolled, id_of, revoke, world,
};

fn recognised(world: &World, secret: &str) -> Option<Caller> {
    world.gateway.authenticate(&Secret::from(secret), &RequestId::from_random([2; 16])).unwrap()
}

#[test]
fn a_certificate_is_found_by_serial_and_by_fingerprint() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    for name in [certificate.serial().to_string(), certificate.fingerprint().to_string()] {
        let found = world.gateway.find_certificates(&world.authed(), &name).unwrap();
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].fingerprint, Some(certificate.fingerprint()));
        assert_eq!(
            certgate::wire::x509::Certificate::from_pem(found[0].pem.as_deref().unwrap()).unwrap(),
            certificate
        );
        assert_eq!(found[0].bindings[0].device.as_ref().unwrap().as_str(), "SN1");
    }
    let missing = world.gateway.find_certificates(&world.authed(), "4fabcdef");
    assert!(matches!(missing, Err(ServiceError::NotFound { .. })));
    let nonsense = world.gateway.find_certificates(&world.authed(), "laptop");
    assert!(matches!(nonsense, Err(ServiceError::Invalid { .. })));
}

#[test]
fn a_revocation_is_for_good() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let id = id_of(&certificate);
    revoke(&world, &certificate, RevocationReason::Superseded);
    let refusals = [
        world.gateway.hold_certificate(&world.authed(), &id, ""),
        world.gateway.release_certificate(&world.authed(), &id, ""),
        world.gateway.revoke_certificate(
            &world.authed(),
            &id,
            &because(RevocationReason::CessationOfOperation),
        ),
        world.gateway.revoke_certificate(&world.authed(), &id, &because(RevocationReason::CertificateHold)),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(ServiceError::Refused(_))), "{refusal:?}");
    }
    assert_eq!(world.gateway.certificate(&world.authed(), &id).unwrap().status, Status::Revoked);
}

#[test]
fn a_token_works_until_it_is_revoked_or_expires() {
    let world = world();
    let new = NewToken {
        name: "mdm".to_owned(),
        role: Role::Operator,
        lifetime_seconds: Some(60),
        profiles: Vec::new(),
    };
    let (one, two) = (
        world.gateway.create_token(&world.authed(), &new).unwrap(),
        world.gateway.create_token(&world.authed(), &new).unwrap(),
    );
    assert_eq!(recognised(&world, &one.secret).unwrap().role, Role::Operator);
    assert!(recognised(&world, "cg_guess").is_none());
    assert!(!format!("{one:?}").contains(&one.secret));

    world.gateway.revoke_token(&world.authed(), &one.token.id).unwrap();
    assert!(recognised(&world, &one.secret).is_none());
    assert!(recognised(&world, &two.secret).is_some());
    world.clock.advance(Duration::from_secs(60));
    assert!(recognised(&world, &two.secret).is_none());
}

#[test]
fn an_api_token_does_not_end_unannounced() {
    let world = world();
    let token = |name: &str, days: u32| {
        let lifetime_seconds = Some(u64::from(days) * DAY.as_secs());
        let new = NewToken {
            name: name.to_owned(),
            role: Role::Challenger,
            lifetime_seconds,
            profiles: Vec::new(),
        };
        world.gateway.create_token(&world.authed(), &new).unwrap().token.id
    };
    let (fleet, _script) = (token("fleet", 365), token("nightly script", 20));
    let warning = || {
        let mut checks = world.gateway.health().checks.into_iter();
        checks.find(|check| check.name == "tokens").map(|check| check.detail)
    };
    world.clock.advance(334 * DAY);
    assert_eq!(warning(), None);
    world.clock.advance(2 * DAY);
    assert!(warning().unwrap().contains("\"fleet\" ends at "), "{warning:?}", warning = warning());
    world.clock.advance(30 * DAY);
    assert!(warning().unwrap().contains("\"fleet\" ended at "), "{warning:?}", warning = warning());
    world.gateway.revoke_token(&world.authed(), &fleet).unwrap();
    assert_eq!(warning(), None, "somebody has seen to it");
}

#[test]
fn every_act_is_in_an_unbroken_record() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    let report = world.gateway.verify_audit(&world.authed()).unwrap();
    assert!(report.intact, "{report:?}");
    let tail = world.gateway.audit_tail(&world.authed(), 1).unwrap().items;
    assert_eq!((tail[0].action.as_str(), tail[0].sequence), ("certificate.revoked", report.events));
    assert_eq!(report.head, Some(tail[0].hash));
    assert_eq!(tail[0].detail["before"], "good");
}

#[test]
fn health_turns_bad_when_nobody_renews() {
    let world = world();
    world.gateway.run_due().unwrap();
    let report = world.gateway.health();
    assert!(report.ready, "{report:?}");
    world.clock.advance(8 * DAY);
    let report = world.gateway.health();
    assert!(!report.ready);
    let failed =
        |name: &str| report.checks.iter().any(|it| it.name == name && it.result == CheckResult::Fail);
    assert!(failed("crl/issuing") && failed("ocsp-signer/issuing"), "{report:?}");
    world.gateway.run_due().unwrap();
    assert!(world.gateway.health().ready);
}
