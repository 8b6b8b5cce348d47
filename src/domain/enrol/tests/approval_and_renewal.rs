//! Decisions that rest on an earlier one: an operator's, or an earlier enrolment's.

use std::time::Duration;

use super::*;

#[test]
fn manual_approval_stands_between_the_challenge_and_the_certificate() {
    let scene = Scene::new(&format!("{FILL}\napproval = \"manual\""));
    let request = csr("CN=SN1", &[]);
    let reason = scene.refusal(&request, &by_ticket(Some("SN1")));
    assert!(matches!(reason, RefusalReason::MeansNotTaken(_)), "{reason}");
    assert_eq!(awaiting_approval(&scene.profile, None), Err(ChallengeRefused::Missing));

    let awaiting = awaiting_approval(&scene.profile, Some(by_static())).unwrap();
    let deferral = scene.with(&request, None, |request| defer(request, &awaiting)).outcome.unwrap();
    assert_eq!(deferral.bound().unwrap().1, Assurance::Low);
    let waiting = Enrolment {
        id: EnrolmentId::from_random([5; 16]),
        profile: scene.profile.name().clone(),
        profile_version: scene.profile.version(),
        transaction: "1".parse().unwrap(),
        signer_key: Fingerprint::of(b"signer"),
        request_key: Fingerprint::of(b"request"),
        sealed_csr: request.as_der().to_vec(),
        evidence: deferral.evidence().clone(),
        binding: deferral.bound().cloned(),
        renews: None,
        received_at: NOW,
        state: EnrolmentState::Pending,
        decided_at: None,
        trace: Vec::new(),
    };
    let operator = Caller::system(RequestId::from_random([6; 16])).prove::<Operate>().unwrap();
    let order = scene.authorise(&request, &approved(&waiting, &operator).unwrap()).unwrap();
    assert_eq!((order.evidence(), order.bound().unwrap().1), (&Evidence::Approval, Assurance::Medium));

    let reborn = Scene {
        device: Some(Device { generation: 2, ..device() }),
        ..Scene::new(&format!("{FILL}\napproval = \"manual\""))
    };
    let reason = reborn.refusal(&request, &approved(&waiting, &operator).unwrap());
    assert!(matches!(reason, RefusalReason::OtherObject { .. }), "{reason}");
    let decided = Enrolment { state: EnrolmentState::Rejected { reason: String::new() }, ..waiting };
    assert!(approved(&decided, &operator).is_err());
}

#[test]
fn a_request_that_a_rule_refuses_never_waits_for_an_operator() {
    let scene = Scene { device: None, ..Scene::new(&format!("{FILL}\napproval = \"manual\"")) };
    let awaiting = awaiting_approval(&scene.profile, Some(by_static())).unwrap();
    let decision = scene.with(&csr("CN=SN9", &[]), None, |request| defer(request, &awaiting));
    assert_eq!(decision.outcome.unwrap_err().reason, RefusalReason::NotRegistered { what: "device" });
    assert!(decision.trace.last().is_some_and(|step| !step.passed));
}

#[test]
fn a_renewal_keeps_the_binding_and_its_assurance() {
    let mut scene = Scene::new(FILL);
    let order = scene.authorise(&csr("CN=x", &[]), &by_ticket(Some("SN1"))).unwrap();
    let (certificate, record) = scene.issue(&order);
    let bindings = [order.binding(&record.id, NOW).unwrap()];
    let authorisation = scene.renewal(&record, &bindings).unwrap();
    let renewed = Renewed { record: &record, certificate: &certificate };
    let renew = |scene: &Scene| {
        scene
            .with(&csr("CN=C02XY,O=Lab", &[]), Some(renewed), |request| authorise(request, &authorisation))
            .outcome
    };
    let again = renew(&scene).unwrap();
    assert_eq!(again.renews(), Some(&record.id));
    assert_eq!(again.bound().unwrap().1, Assurance::High);
    assert_eq!(again.evidence(), &Evidence::Renewal { certificate: record.id.clone() });
    // A second life of the device does not inherit the certificates of the first.
    scene.device = Some(Device { generation: 2, ..device() });
    assert!(matches!(renew(&scene).unwrap_err().reason, RefusalReason::OtherObject { .. }));
    scene.device = None;
    assert!(matches!(renew(&scene).unwrap_err().reason, RefusalReason::OtherObject { .. }));
}

#[test]
fn a_renewal_is_for_the_same_names() {
    let scene = Scene { device: None, ..Scene::new(CLAIM) };
    let order = scene.authorise(&csr("CN=router-7", &[dns("router-7.lab")]), &by_static()).unwrap();
    let (certificate, record) = scene.issue(&order);
    let authorisation = scene.renewal(&record, &[]).unwrap();
    let renewed = Renewed { record: &record, certificate: &certificate };
    let renew = |csr: &ProvenCsr| {
        scene.with(csr, Some(renewed), |request| authorise(request, &authorisation)).outcome
    };
    for good in [csr("CN=router-7", &[dns("router-7.lab")]), csr("cn=ROUTER-7", &[])] {
        assert_eq!(renew(&good).unwrap().subject_alt_names(), [dns("router-7.lab")]);
    }
    for bad in [
        csr("CN=router-8", &[dns("router-7.lab")]),
        csr("CN=router-7", &[dns("router-8.lab")]),
        csr("CN=router-7", &[dns("router-7.lab"), dns("admin.lab")]),
    ] {
        assert!(matches!(renew(&bad).unwrap_err().reason, RefusalReason::Renewal(_)));
    }
}

#[test]
fn only_a_good_certificate_of_the_profile_renews_and_only_in_its_window() {
    let scene = Scene::new(&format!("{FILL}\nrenewal-window-days = 30"));
    let order = scene.authorise(&csr("CN=x", &[]), &by_ticket(Some("SN1"))).unwrap();
    let (_, record) = scene.issue(&order);
    assert!(matches!(scene.renewal(&record, &[]), Err(ChallengeRefused::TooEarly { .. })));
    let facts = RenewalFacts {
        record: &record,
        status: Status::Good,
        bindings: &[],
        profile: &scene.profile,
        rolls_over: false,
        now: scene.profile.renewal_opens(&record.validity),
    };
    assert!(check_renewal(&facts).is_ok());
    // Whoever moves to another generation of the CA waits for no window.
    let too_early = RenewalFacts { now: record.validity.not_before, ..facts };
    assert!(check_renewal(&too_early).is_err());
    assert!(check_renewal(&RenewalFacts { rolls_over: true, ..too_early }).is_ok());
    let not_good = [
        (Status::Hold, "is on hold"),
        (Status::Revoked, "is revoked"),
        (Status::Expired, "is expired"),
        (Status::NotYetValid, "is not yet valid"),
    ];
    let closes = scene.profile.renewal_closes(&record.validity);
    let late = RenewalFacts { now: closes.plus(Duration::from_secs(1)), ..facts };
    for (status, words) in not_good {
        let refused = check_renewal(&RenewalFacts { status, ..late }).unwrap_err();
        assert!(matches!(refused, ChallengeRefused::NotGood { .. }), "{status:?}");
        assert!(refused.to_string().ends_with(words), "{refused}");
    }
    // Expired within the grace it renews, revoked it never does.
    let in_grace = RenewalFacts { now: closes, status: Status::Expired, ..facts };
    assert!(check_renewal(&in_grace).is_ok());
    assert!(check_renewal(&RenewalFacts { status: Status::Revoked, ..in_grace }).is_err());
    let foreign = CertificateRecord { profile: Some(("vpn".parse().unwrap(), 1)), ..record.clone() };
    let own = CertificateRecord { purpose: Purpose::Issuer, ..record.clone() };
    for record in [&foreign, &own] {
        let refused = check_renewal(&RenewalFacts { record, ..facts });
        assert!(matches!(refused, Err(ChallengeRefused::OtherProfilesCertificate { .. })));
    }
}

#[test]
fn a_certificate_renews_only_itself() {
    let scene = Scene::new(FILL);
    let order = scene.authorise(&csr("CN=x", &[]), &by_ticket(Some("SN1"))).unwrap();
    let (certificate, record) = scene.issue(&order);
    let renewed = Renewed { record: &record, certificate: &certificate };
    let request = csr("CN=C02XY,O=Lab", &[]);
    let with_ticket =
        scene.with(&request, Some(renewed), |request| authorise(request, &by_ticket(Some("SN1"))));
    assert!(matches!(with_ticket.outcome.unwrap_err().reason, RefusalReason::Renewal(_)));
    let bindings = [order.binding(&record.id, NOW).unwrap()];
    let authorisation = scene.renewal(&record, &bindings).unwrap();
    let without = scene.with(&request, None, |request| authorise(request, &authorisation));
    assert!(matches!(without.outcome.unwrap_err().reason, RefusalReason::Renewal(_)));
    let stranger = CertificateRecord {
        id: CertificateId { issuer: record.id.issuer.clone(), serial: SerialNumber::from_random([8; 16]) },
        ..record.clone()
    };
    let renewed = Renewed { record: &stranger, certificate: &certificate };
    let other = scene.with(&request, Some(renewed), |request| authorise(request, &authorisation));
    assert!(matches!(other.outcome.unwrap_err().reason, RefusalReason::Renewal(_)));
}
