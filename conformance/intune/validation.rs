//! Validate, sign and record, tell, hand out; and what each of Intune's refusals becomes.

use std::time::Duration;

use certgate::{
    adapters::intune::ClientCredential,
    domain::{
        binding::{Assurance, BoundObject, Evidence},
        throttle::LockOut,
        vouch::Voucher,
    },
    service::{GatewaySettings, guard::GuardSettings, scep::ScepError},
    types::{Secret, sha1},
    wire::scep::{FailInfo, MessageType, PkiStatus},
};

use crate::{
    PROFILE, challenge,
    common::Client,
    fake::{Action, CLIENT_SECRET, Fault, TOKEN_LIVES},
    world, world_with,
};

#[test]
fn a_request_is_validated_recorded_told_and_handed_out_in_this_order() {
    let (world, fake) = world();
    let device = world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=SN1", Some(&challenge()));
    let answer = client.enrol(&world, "phones", &csr);
    let certificate = answer.certificate();

    assert_eq!(
        fake.actions(),
        [Action::Token, Action::Discovery, Action::Token, Action::Validate, Action::Success]
    );
    assert_eq!(fake.deviations(), Vec::<String>::new());
    let asked = fake.last(Action::Validate);
    assert_eq!(asked["request"]["transactionId"], client.transaction.as_str());
    let told = fake.last(Action::Success)["notification"].clone();
    assert_eq!(told["certificateThumbprint"], hex::encode_upper(sha1(certificate.as_der())));
    assert_eq!(told["certificateSerialNumber"], certificate.serial().to_string());
    assert_eq!(told["issuingCertificateAuthority"], certificate.issuer().to_string());
    assert_eq!(told["certificateRequest"], asked["request"]["certificateRequest"]);
    assert_eq!(
        (&told["caConfiguration"], &told["certificateAuthority"]),
        (&"phones".into(), &"issuing".into())
    );

    let binding = world.bindings(certificate).remove(0);
    assert_eq!(binding.object, BoundObject::Device { id: device, generation: 1 });
    assert_eq!(
        (binding.assurance, binding.evidence),
        (Assurance::High, Evidence::Vouched { by: Voucher::Intune })
    );
    let trace = world.enrolment_of(certificate).trace;
    assert!(trace[0].passed && trace[0].detail.contains("reference"), "{trace:?}");
    assert_eq!((trace[1].passed, trace[1].detail.as_str()), (true, "Intune validated the request"));
}

#[test]
fn tokens_and_places_of_services_are_kept_until_shortly_before_they_end() {
    let (world, fake) = world();
    let enrol = || {
        let client = Client::new();
        client.enrol(&world, "phones", &client.csr("CN=x", Some(&challenge()))).certificate().clone()
    };
    (0..3).for_each(|_| drop(enrol()));
    let counts = || (fake.count(Action::Token), fake.count(Action::Discovery), fake.count(Action::Validate));
    assert_eq!(counts(), (2, 1, 3));
    world.clock.advance(Duration::from_secs(TOKEN_LIVES - 301));
    enrol();
    assert_eq!(counts(), (2, 1, 4));
    world.clock.advance(Duration::from_secs(1));
    enrol();
    assert_eq!(counts(), (3, 1, 5), "Intune's token is renewed; Graph is not needed");
}

#[test]
fn a_repeated_request_is_not_asked_about_again() {
    let (world, fake) = world();
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&challenge()));
    let first = client.enrol(&world, "phones", &csr).certificate().clone();
    let second = client.enrol(&world, "phones", &csr).certificate().clone();
    assert_eq!(first, second);
    assert_eq!((fake.count(Action::Validate), fake.count(Action::Success)), (1, 1));
}

#[test]
fn each_of_intunes_refusals_is_a_failure_with_its_code_in_the_record() {
    const TRUSTED: bool = true;
    let (world, fake) = world();
    let codes: [(&str, FailInfo, bool); 24] = [
        ("CertificateRequestDecodingFailed", FailInfo::BadRequest, false),
        ("ChallengePasswordMissing", FailInfo::BadRequest, false),
        ("ChallengeDeserializationError", FailInfo::BadRequest, false),
        ("ChallengeDecryptionError", FailInfo::BadRequest, false),
        ("ChallengeDecodingError", FailInfo::BadRequest, false),
        ("ChallengeInvalidTimestamp", FailInfo::BadRequest, TRUSTED),
        ("ChallengeExpired", FailInfo::BadRequest, TRUSTED),
        ("SubjectNameMissing", FailInfo::BadRequest, TRUSTED),
        ("SubjectNameMismatch", FailInfo::BadRequest, TRUSTED),
        ("SubjectAltNameMissing", FailInfo::BadRequest, TRUSTED),
        ("SubjectAltNameMismatch", FailInfo::BadRequest, TRUSTED),
        ("KeyUsageMismatch", FailInfo::BadRequest, TRUSTED),
        ("KeyLengthMismatch", FailInfo::BadAlg, TRUSTED),
        ("EnhancedKeyUsageMissing", FailInfo::BadRequest, TRUSTED),
        ("EnhancedKeyUsageMismatch", FailInfo::BadRequest, TRUSTED),
        ("AadKeyIdentifierListMissing", FailInfo::BadRequest, TRUSTED),
        ("RegisteredKeyMismatch", FailInfo::BadRequest, TRUSTED),
        ("SigningCertThumbprintMismatch", FailInfo::BadRequest, TRUSTED),
        ("ScepProfileNoLongerTargetedToTheClient", FailInfo::BadRequest, TRUSTED),
        ("SignatureValidationFailed", FailInfo::BadMessageCheck, false),
        ("BadCertificateRequestIdInChallenge", FailInfo::BadRequest, TRUSTED),
        ("BadDeviceIdInChallenge", FailInfo::BadRequest, TRUSTED),
        ("BadUserIdInChallenge", FailInfo::BadRequest, TRUSTED),
        ("ACodeOfTomorrow", FailInfo::BadRequest, false),
    ];
    let client = Client::new();
    for (number, (code, info, once_trusted)) in codes.into_iter().enumerate() {
        fake.fail(Action::Validate, [Fault::Code(code)]);
        let client = client.in_transaction(&format!("T{number}"));
        let before = world.read(|view| view.last_audit_event()).unwrap().sequence;
        let answer = client.enrol(&world, "phones", &client.csr("CN=x", Some(&challenge())));
        assert_eq!(answer.failure(), info, "{code}");
        assert_eq!(
            answer.fail_info_text.as_deref(),
            Some("The challenge is missing or not valid."),
            "{code}"
        );
        let event = world.read(|view| view.last_audit_event()).unwrap();
        assert_eq!(event.sequence - before, u64::from(once_trusted), "{code}");
        if once_trusted {
            let enrolment = world.read(|view| view.enrolment(&event.fact.object.parse().unwrap())).unwrap();
            let step = enrolment.trace.last().unwrap();
            assert!(!step.passed && step.detail.contains(code), "{step:?}");
            assert!(
                step.detail.contains("Words of Microsoft's") && step.detail.contains("reference"),
                "{step:?}"
            );
        }
    }
    assert_eq!(world.leaves(), 0);
    assert_eq!(fake.count(Action::Failure), 0, "it knows what it refused itself");
    assert_eq!(fake.deviations(), Vec::<String>::new());
}

/// Where a static challenge is taken too, it can be guessed; and each guess is a question to Microsoft.
#[test]
fn what_intune_never_made_is_a_guess_and_what_it_made_is_none() {
    let profile = PROFILE.replace("[\"intune\"]", "[\"intune\", \"static\"]");
    let (world, fake) = world_with(&profile, |_| {});
    let lock_out = Some(LockOut { guesses: 3, time: Duration::from_secs(600) });
    let guard = GuardSettings { lock_out, ..GuardSettings::default() };
    let static_challenges = [("phones".parse().unwrap(), vec![Secret::from("correct horse")])].into();
    let ports = world.ports.clone();
    let settings = GatewaySettings { guard, static_challenges, ..GatewaySettings::default() };
    let world = world.restarted_on(ports, settings);
    let client = Client::new();
    let ask = |challenge: &str, code| {
        fake.fail(Action::Validate, [Fault::Code(code)]);
        let client = client.in_transaction(challenge);
        let csr = client.csr("CN=x", Some(&Secret::from(challenge)));
        let message =
            client.message(&world.message_certificate("phones"), &MessageType::PkcsReq.into(), &csr);
        world.pki_operation("phones", &message).map(|rep| client.open(&message, rep).failure())
    };
    // Of another tenant, damaged, too old, or for a reason of tomorrow: a fleet with a wrong setting guesses nothing.
    for (number, code) in ["ChallengeDecryptionError", "ChallengeExpired", "Unknown", "SubjectNameMismatch"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(ask(&format!("sealed-{number}"), code), Ok(FailInfo::BadRequest), "{code}");
    }
    for guess in ["one", "two", "three"] {
        assert_eq!(ask(guess, "ChallengeDecodingError"), Ok(FailInfo::BadRequest), "{guess}");
    }
    assert!(matches!(ask("correct horse", "Unknown"), Err(ScepError::TooSoon { .. })));
    assert_eq!(fake.count(Action::Validate), 7);
}

#[test]
fn what_intune_allows_and_certgate_refuses_is_told() {
    let strict = PROFILE.replace("allow-unregistered = true", "");
    let (world, fake) = world_with(&strict, |_| {});
    let client = Client::new();
    let answer = client.enrol(&world, "phones", &client.csr("CN=unknown", Some(&challenge())));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    let told = fake.last(Action::Failure)["notification"].clone();
    assert_eq!(told["hResult"], i64::from(0x8007_0005_u32.cast_signed()));
    assert!(told["errorDescription"].as_str().unwrap().contains("not registered"), "{told}");
    assert_eq!(fake.deviations(), Vec::<String>::new());
    assert_eq!(fake.count(Action::Success), 0);
}

#[test]
fn a_wiped_device_is_refused_whatever_intune_says() {
    let (world, fake) = world();
    let id = world.register("SN1");
    world.write(|tx| {
        let device = tx.device(&id)?.unwrap();
        tx.put_device(&certgate::domain::device::Device {
            lifecycle: certgate::domain::device::Lifecycle::WipePending,
            version: device.version + 1,
            ..device
        })
    });
    let client = Client::new();
    client.enrol(&world, "phones", &client.csr("CN=SN1", Some(&challenge()))).failure();
    assert_eq!(fake.count(Action::Failure), 1);
}

#[test]
fn a_refused_challenge_does_not_fall_through_to_the_certificate_that_signed() {
    let (world, fake) = world();
    let client = Client::new();
    let first = client.enrol(&world, "phones", &client.csr("CN=x", Some(&challenge()))).certificate().clone();
    let renewing = client.with_identity(&first);
    fake.fail(Action::Validate, vec![Fault::Code("ScepProfileNoLongerTargetedToTheClient"); 2]);
    let csr = client.csr("CN=x", Some(&challenge()));
    renewing.enrol(&world, "phones", &csr).failure();
    renewing.renew(&world, "phones", &csr).failure();
    assert_eq!(renewing.renew(&world, "phones", &client.csr("CN=x", None)).status, PkiStatus::Success);
}

#[test]
fn a_wrong_client_secret_is_named_and_never_shown() {
    let (world, fake) = world_with(PROFILE, |settings| {
        settings.credential = ClientCredential::Secret("wrong-secret".into());
    });
    let client = Client::new();
    let message = client.message(
        &world.message_certificate("phones"),
        &certgate::wire::scep::MessageType::PkcsReq.into(),
        &client.csr("CN=x", Some(&challenge())),
    );
    let error = world.pki_operation("phones", &message).unwrap_err();
    assert!(matches!(error, certgate::service::scep::ScepError::Away { .. }), "{error}");
    let check = world.gateway.health().checks.into_iter().find(|check| check.name == "intune").unwrap();
    assert!(check.detail.contains("AADSTS7000215") && check.detail.contains("intune.client-id"), "{check:?}");
    assert!(!format!("{check:?}").contains("wrong-secret") && !format!("{check:?}").contains(CLIENT_SECRET));
    world.pki_operation("phones", &message).unwrap_err();
    assert_eq!(fake.count(Action::Token), 1, "Entra ID is not asked again at once");
}
