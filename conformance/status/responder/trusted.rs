//! A responder of ours that gear is told to trust: made, renewed, revoked.

use super::*;

#[test]
fn gear_that_is_told_to_trusts_a_responder_of_ours() {
    let it = Takeover::new();
    let good = &it.certificates[0].serial().clone();
    let view = it.decide(ResponderMode::Trusted, Some("issuing")).unwrap();
    assert_eq!((view.mode, view.by), (ResponderMode::Trusted, Some(issuing())));
    let responder = Certificate::from_pem(&view.certificates[0].pem).unwrap();
    responder.is_signed_by(&it.world.issuer("issuing")).unwrap();
    assert_eq!(responder.extended_key_usage(), [ID_KP_OCSP_SIGNING]);
    assert!(
        responder.has_ocsp_no_check() && responder.ocsp_urls().is_empty() && responder.crl_urls().is_empty()
    );
    let life = responder.validity().not_after.since(it.world.now());
    assert_eq!(life, 1095 * DAY);
    assert_statuses(&it, |response| response.is_signed_by(&responder));
    // It is not the one that answers for our own certificates: that is renewed every week.
    let own = plain_request(&it.world, good);
    let own = successful(OcspResponse::from_der(&it.world.gateway.ocsp(&own).body).unwrap());
    assert!(own.verify(&it.world.issuer("issuing")).is_ok() && !own.is_signed_by(&responder));
    let it = Takeover { world: it.world.restarted(GatewaySettings::default()), ..it };
    assert_statuses(&it, |response| response.is_signed_by(&responder));

    for (mode, by, problem) in [
        (ResponderMode::Trusted, None, "which issuer of ours"),
        (ResponderMode::None, Some("issuing"), "trusted alone"),
        (ResponderMode::Trusted, Some("nobody"), "no issuer \"nobody\""),
        (ResponderMode::Trusted, Some("test-issuing-ca"), "no issuer \"test-issuing-ca\""),
        (ResponderMode::Delegate, None, "no certificate for a responder is installed"),
    ] {
        let refused = it.decide(mode, by).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    // Nobody any more: at once, whatever is in the cache.
    assert_eq!(it.decide(ResponderMode::None, None).unwrap().certificates, []);
    assert_eq!(it.error(good), Some(ErrorStatus::Unauthorized));
    // The second CA that is answered for so has the same responder: the gear needs one certificate.
    let again = it.decide(ResponderMode::Trusted, Some("issuing")).unwrap();
    assert_eq!(again.certificates[0].fingerprint, responder.fingerprint());
}

#[test]
fn the_next_trusted_responder_is_there_long_before_it_signs() {
    let it = Takeover::new();
    let good = &it.certificates[0].serial().clone();
    let mut settings = GatewaySettings::default();
    settings.system.trusted_responder = 360 * DAY;
    let it = Takeover { world: it.world.restarted(settings), ..it };
    it.decide(ResponderMode::Trusted, Some("issuing")).unwrap();
    let states = |it: &Takeover| it.shown().certificates.iter().map(|it| it.state).collect::<Vec<_>>();
    let signer = |it: &Takeover| {
        let basic = successful(it.about(good));
        let all = it.shown().certificates;
        all.iter().position(|one| basic.is_signed_by(&Certificate::from_pem(&one.pem).unwrap())).unwrap()
    };
    it.world.clock.advance(239 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!((states(&it), signer(&it)), (vec![ResponderState::Signing], 0));
    it.world.clock.advance(2 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!((states(&it), signer(&it)), (vec![ResponderState::Next, ResponderState::Signing], 1));
    let (result, detail) = it.check().unwrap();
    assert!(result == CheckResult::Pass && detail.contains("can be exported"), "{detail}");
    it.world.clock.advance(35 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!((signer(&it), it.check().unwrap().0), (1, CheckResult::Warn));
    it.world.clock.advance(25 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!((states(&it), signer(&it)), (vec![ResponderState::Signing, ResponderState::Former], 0));
    assert_eq!(it.check().unwrap().0, CheckResult::Pass);
    it.world.clock.advance(60 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!((states(&it), signer(&it)), (vec![ResponderState::Signing], 0));
}

#[test]
fn a_trusted_responder_that_is_revoked_gives_way_at_once() {
    let it = Takeover::new();
    let good = it.certificates[0].serial();
    let first = it.decide(ResponderMode::Trusted, Some("issuing")).unwrap().certificates.remove(0);
    assert_eq!(it.status(good), CertStatus::Good);
    let authed = it.world.authed::<Operate>();
    let id = first.id.parse().unwrap();
    it.world
        .gateway
        .revoke_certificate(&authed, &id, &crate::because(RevocationReason::KeyCompromise))
        .unwrap();
    assert_eq!(it.error(good), Some(ErrorStatus::TryLater), "its key may be somebody else's");
    it.world.clock.advance(Duration::from_secs(5));
    it.world.gateway.run_due().unwrap();
    let second = it.shown().certificates.remove(0);
    assert_eq!((second.state, it.status(good)), (ResponderState::Signing, CertStatus::Good));
    assert_ne!(second.fingerprint, first.fingerprint);

    // And with its CA: what that signed counts no more.
    let ca = it.world.record(&it.world.issuer("issuing")).id;
    it.world.gateway.hold_certificate(&authed, &ca, "").unwrap();
    assert_eq!(it.error(good), Some(ErrorStatus::TryLater));
    let refused =
        it.decide(ResponderMode::None, None).and_then(|_| it.decide(ResponderMode::Trusted, Some("issuing")));
    assert!(refused.unwrap_err().to_string().contains("revoked or on hold"));
    it.decide(ResponderMode::Trusted, Some("root")).unwrap();
    assert_eq!(it.status(good), CertStatus::Good);
}

/// Its CA signs no delegate any more; who trusts a responder of ours needs no CA for that.
#[test]
fn of_a_ca_that_has_expired_only_a_trusted_responder_answers() {
    let it = Takeover::new();
    let good = it.certificates[0].serial();
    it.delegated();
    let end = it.old.issuer("issuing").validity().not_after;
    it.world.clock.advance(end.since(it.world.now()) + Duration::from_secs(1));
    it.world.gateway.run_due().unwrap();
    assert_eq!(it.error(good), Some(ErrorStatus::Unauthorized));
    let (result, detail) = it.check().unwrap();
    assert!(result == CheckResult::Pass && detail.contains("OCSP says unauthorized"), "{detail}");
    it.decide(ResponderMode::Trusted, Some("root")).unwrap();
    assert_eq!(it.status(good), CertStatus::Good);
}
