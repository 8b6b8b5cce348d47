//! Answers signed before anybody waits for them: those that are asked for, and all of an issuer on request.

use std::{collections::BTreeMap, time::Duration};

use certgate::{
    service::{
        GatewaySettings, OcspPolicy, ServiceError,
        certificate::RevokeRequest,
        ocsp::{PresignRequest, PresignState, PresignView},
    },
    types::{DigestAlgorithm, IssuerId, RevocationReason},
    wire::{
        ocsp::{CertStatus, OcspResponse},
        x509::Certificate,
    },
};

use super::{
    common::{World, WorldOptions},
    enrolled, question, world,
};

const SHA1: DigestAlgorithm = DigestAlgorithm::Sha1;
const SHA256: DigestAlgorithm = DigestAlgorithm::Sha256;

fn issuing() -> IssuerId {
    "issuing".parse().unwrap()
}

/// A world whose issuing CA has this policy, and a cache of this size.
fn with_policy(policy: OcspPolicy, cache_entries: usize) -> World {
    let mut settings = GatewaySettings::default();
    settings.ocsp.issuers = BTreeMap::from([(issuing(), policy)]);
    settings.ocsp.cache_entries = cache_entries;
    world(WorldOptions { settings, ..WorldOptions::default() })
}

/// Does all that is to be signed by now.
fn work(world: &World) {
    while world.gateway.run_ocsp().is_zero() {}
}

fn presigned(world: &World, hashes: &[DigestAlgorithm]) -> PresignView {
    let wanted = PresignRequest { hashes: hashes.to_vec() };
    world.gateway.presign(&world.authed(), &issuing(), &wanted).unwrap();
    work(world);
    world.gateway.presigned(&world.authed(), &issuing()).unwrap()
}

fn revoke(world: &World, certificate: &Certificate) {
    let id = world.record(certificate).id;
    let request =
        RevokeRequest { reason: RevocationReason::KeyCompromise, note: String::new(), invalidity_date: None };
    world.gateway.revoke_certificate(&world.authed(), &id, &request).unwrap();
}

fn status_of(body: &[u8], issuer: &Certificate) -> CertStatus {
    let OcspResponse::Successful(response) = OcspResponse::from_der(body).unwrap() else {
        panic!("an error")
    };
    response.verify(issuer).unwrap();
    response.responses[0].status
}

#[test]
fn what_is_asked_for_is_signed_anew_before_anybody_has_to_wait() {
    let world = world(WorldOptions::default());
    let (asked, idle) = (enrolled(&world, "SN1").1, enrolled(&world, "SN2").1);
    let [asked, idle] = [asked, idle].map(|it| question(&world, SHA1, it.serial(), None));
    let mut last = world.gateway.ocsp(&asked).body;
    world.gateway.ocsp(&idle);
    for _ in 0..5 {
        assert_eq!(world.ocsp_cached(&asked).unwrap().body, last);
        // The window is 600 s: stale after 281, signed anew after 246 to 264.
        world.clock.advance(Duration::from_secs(244));
        work(&world);
        assert_eq!(world.ocsp_cached(&asked).unwrap().body, last, "not before its time");
        world.clock.advance(Duration::from_secs(20));
        work(&world);
        let new = world.ocsp_cached(&asked).expect("nobody has to wait").body;
        assert_ne!(new, last);
        last = new;
    }
    assert!(world.ocsp_cached(&idle).is_none(), "nobody asked for it again");
}

#[test]
fn an_answer_from_before_a_revocation_is_not_signed_anew() {
    let world = world(WorldOptions::default());
    let certificate = enrolled(&world, "SN1").1;
    let request = question(&world, SHA1, certificate.serial(), None);
    world.gateway.ocsp(&request);
    world.ocsp_cached(&request).unwrap();
    revoke(&world, &certificate);
    world.clock.advance(Duration::from_secs(210));
    work(&world);
    assert!(world.ocsp_cached(&request).is_none());
    let first = world.gateway.ocsp(&request).body;
    world.ocsp_cached(&request).unwrap();
    // The window of revoked is a day: stale after 40,500 s, signed anew after 35,438 to 37,969.
    world.clock.advance(Duration::from_secs(37_970));
    work(&world);
    let body = world.ocsp_cached(&request).unwrap().body;
    assert_ne!(body, first);
    assert!(matches!(status_of(&body, &world.issuer("issuing")), CertStatus::Revoked { .. }));
}

#[test]
fn what_was_signed_while_the_clock_was_ahead_is_not_given_out_when_it_is_right_again() {
    let policy = OcspPolicy { presign: true, ..OcspPolicy::default() };
    let world = with_policy(policy, 10_000);
    let certificate = enrolled(&world, "SN1").1;
    let request = question(&world, SHA1, certificate.serial(), None);
    let hour = Duration::from_secs(3_600);
    world.clock.advance(hour);
    work(&world);
    world.gateway.ocsp(&request);
    world.ocsp_cached(&request).unwrap();
    world.clock.set_back(hour);
    assert!(world.ocsp_cached(&request).is_none(), "clients refuse a thisUpdate in the future");
    let response = super::answered(&world, &request).unwrap();
    assert_eq!(response.responses[0].this_update, world.now());
    assert_eq!(world.ocsp_cached(&request).unwrap().result, "good");
    // Those that nobody has asked for are signed ahead again, at once.
    work(&world);
    let other = question(&world, SHA256, certificate.serial(), None);
    assert!(world.ocsp_cached(&other).is_some());
}

#[test]
fn nothing_is_given_out_beyond_its_next_update() {
    let world = world(WorldOptions::default());
    let request = question(&world, SHA1, enrolled(&world, "SN1").1.serial(), None);
    let first = world.gateway.ocsp(&request).body;
    world.ocsp_cached(&request).unwrap();
    world.clock.advance(Duration::from_secs(600));
    assert!(world.ocsp_cached(&request).is_none());
    work(&world);
    assert!(world.ocsp_cached(&request).is_none(), "what has ended is not signed anew");
    assert_ne!(world.gateway.ocsp(&request).body, first);
}

#[test]
fn all_certificates_of_an_issuer_are_signed_ahead_on_request() {
    let world = with_policy(OcspPolicy::default(), 10_000);
    let certificates: Vec<_> = (0..5).map(|n| enrolled(&world, &format!("SN{n}")).1).collect();
    world.revoke(&certificates[0]);
    let world = world.restarted(GatewaySettings::default());
    let view = presigned(&world, &[]);
    assert_eq!((view.state, view.detail.as_deref()), (PresignState::Done, None));
    assert_eq!(view.hashes, [SHA1, SHA256]);
    // Five devices, and certgate's own: message key, OCSP signer, TLS.
    assert_eq!((view.certificates, view.seen, view.signed, view.failed), (8, 8, 16, 0));
    for (number, certificate) in certificates.iter().enumerate() {
        for hash in [SHA1, SHA256] {
            let answer = world.ocsp_cached(&question(&world, hash, certificate.serial(), None)).unwrap();
            let status = status_of(&answer.body, &world.issuer("issuing"));
            assert_eq!(matches!(status, CertStatus::Revoked { .. }), number == 0);
        }
    }
    let again = presigned(&world, &[SHA1]);
    assert_eq!((again.signed, again.kept), (0, 8), "what is there is not signed again");
}

#[test]
fn what_has_expired_is_not_signed_ahead() {
    let world = with_policy(OcspPolicy::default(), 10_000);
    enrolled(&world, "SN1");
    // Certificates of devices live for a year.
    world.clock.advance(Duration::from_secs(366 * 86_400));
    world.gateway.run_due().unwrap();
    let view = presigned(&world, &[SHA1]);
    assert_eq!((view.state, view.failed), (PresignState::Done, 0));
    assert_eq!(view.certificates, 3, "certgate's own, renewed");
}

#[test]
fn a_run_that_does_not_fit_is_not_begun() {
    let world = with_policy(OcspPolicy::default(), 3);
    enrolled(&world, "SN1");
    let view = presigned(&world, &[]);
    assert_eq!((view.state, view.signed), (PresignState::Failed, 0));
    assert_eq!(view.detail.as_deref(), Some("8 answers do not fit: ocsp.cache-entries is 3"));
}

#[test]
fn a_run_is_shown_and_can_be_stopped() {
    let world = with_policy(OcspPolicy::default(), 10_000);
    let unknown = world.gateway.presigned(&world.authed(), &issuing());
    assert!(matches!(unknown, Err(ServiceError::NotFound { .. })));
    let nobody =
        world.gateway.presign(&world.authed(), &"nobody".parse().unwrap(), &PresignRequest::default());
    assert!(matches!(nobody, Err(ServiceError::NotFound { .. })));
    let started = world.gateway.presign(&world.authed(), &issuing(), &PresignRequest::default()).unwrap();
    assert_eq!(started.state, PresignState::Counting);
    assert_eq!(world.gateway.stop_presign(&world.authed(), &issuing()).unwrap().state, PresignState::Stopped);
    work(&world);
    let view = world.gateway.presigned(&world.authed(), &issuing()).unwrap();
    assert_eq!((view.state, view.signed), (PresignState::Stopped, 0));
}

#[test]
fn where_it_is_set_all_answers_are_there_always() {
    let world = with_policy(OcspPolicy { presign: true, ..OcspPolicy::default() }, 10_000);
    let first = enrolled(&world, "SN1").1;
    work(&world);
    let mut known = vec![first];
    for step in 0..40 {
        if step == 10 {
            known.push(enrolled(&world, "SN2").1);
        }
        world.clock.advance(Duration::from_secs(31));
        work(&world);
        for certificate in known.iter().take(if step < 14 { 1 } else { 2 }) {
            for hash in [SHA1, SHA256] {
                let request = question(&world, hash, certificate.serial(), None);
                assert!(world.ocsp_cached(&request).is_some(), "step {step}: {hash}");
            }
        }
    }
    revoke(&world, &known[0]);
    let request = question(&world, SHA1, known[0].serial(), None);
    assert!(world.ocsp_cached(&request).is_none(), "the old answer is gone at once");
    world.clock.advance(Duration::from_secs(300));
    work(&world);
    let body = world.ocsp_cached(&request).unwrap().body;
    assert!(matches!(status_of(&body, &world.issuer("issuing")), CertStatus::Revoked { .. }));
}
