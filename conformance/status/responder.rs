//! OCSP answers about another CA's certificates: the CA is a second gateway, which signs a responder's certificate for the first, or whose
//! certificates a responder answers for that the gear is told to trust.

mod requested;
mod trusted;
mod weak;

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use certgate::{
    domain::{
        access::{Actor, Caller, Operate, Read, Role},
        binding::{Assurance, Evidence},
        certificate::Purpose,
        device::{DeviceEvent, Lifecycle},
        issuer::OcspAuthority,
    },
    ports::{
        Store, Tx, View,
        store::{Page, StoreResult, Verdict},
    },
    service::{
        GatewaySettings, Ports, ServiceError,
        health::CheckResult,
        import::{BindRule, ImportBatch, ImportLine},
        responder::{
            NewResponder, NewResponderMode, NewResponderRequest, ResponderMode, ResponderRequest,
            ResponderState, ResponderView,
        },
    },
    types::{
        CertificateId, DigestAlgorithm, IssuerId, KeyAlgorithm, RequestId, RevocationReason, SerialNumber,
        Validity,
    },
    wire::{
        csr::{Csr, ProvenCsr},
        ocsp::{BasicResponse, CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse},
        x509::{CaConstraint, Certificate, CertificateSpec, KeyUsage},
    },
};
use const_oid::db::{rfc5280::ID_KP_OCSP_SIGNING, rfc6960::ID_PKIX_OCSP_NOCHECK};

use super::{
    common::{DAY, World},
    enrolled,
    import::{because, listed, open, take, whole},
    issuing,
    ocsp::on_faulty_store,
    plain_request, world,
};

/// A gateway that has taken over what the CA of `old` issued: three certificates, good, on hold, and revoked.
struct Takeover {
    old: World,
    world: World,
    issuer: IssuerId,
    certificates: [Certificate; 3],
}

impl Takeover {
    fn new() -> Self {
        let (old, world) = (world(), world());
        let certificates = ["SN1", "SN2", "SN3"].map(|device| enrolled(&old, device));
        let issuer = open(&world, &old).issuer;
        let standings = [None, Some(RevocationReason::CertificateHold), Some(RevocationReason::Superseded)];
        let lines = certificates.iter().zip(standings);
        let lines = lines.map(|(it, reason)| listed(it, reason.map(|reason| because(&old, reason))));
        assert_eq!(take(&world, &issuer, lines.collect()).added, 3);
        Self { old, world, issuer, certificates }
    }

    fn request(&self, wanted: &NewResponderRequest) -> ResponderRequest {
        self.world.gateway.request_responder(&self.world.authed(), &self.issuer, wanted).unwrap()
    }

    fn install(&self, certificate: &Certificate) -> Result<ResponderView, ServiceError> {
        let new = NewResponder { certificate: certificate.to_pem() };
        self.world.gateway.install_responder(&self.world.authed(), &self.issuer, &new)
    }

    fn decide(&self, mode: ResponderMode, by: Option<&str>) -> Result<ResponderView, ServiceError> {
        let new = NewResponderMode { mode, by: by.map(|by| by.parse().unwrap()) };
        self.world.gateway.set_responder_mode(&self.world.authed(), &self.issuer, &new)
    }

    fn shown(&self) -> ResponderView {
        self.world.gateway.responder(&self.world.authed::<Read>(), &self.issuer).unwrap()
    }

    /// Has the old CA sign for a new request, and installs it.
    fn delegated(&self) -> Certificate {
        let certificate = signed(&self.old, &self.request(&NewResponderRequest::default()), |_| ());
        self.install(&certificate).unwrap();
        certificate
    }

    fn cert_id(&self, digest: DigestAlgorithm, serial: &SerialNumber) -> CertId {
        CertId::new(digest, &self.old.issuer("issuing"), serial).unwrap()
    }

    fn asked(&self, cert_ids: Vec<CertId>, nonce: Option<&[u8]>) -> OcspResponse {
        let request = OcspRequest::new(cert_ids, nonce).to_der().unwrap();
        OcspResponse::from_der(&self.world.gateway.ocsp(&request).body).unwrap()
    }

    fn about(&self, serial: &SerialNumber) -> OcspResponse {
        self.asked(vec![self.cert_id(DigestAlgorithm::Sha1, serial)], None)
    }

    fn status(&self, serial: &SerialNumber) -> CertStatus {
        let response = successful(self.about(serial));
        let [single] = response.responses.as_slice() else { panic!("{response:?}") };
        single.status
    }

    fn error(&self, serial: &SerialNumber) -> Option<ErrorStatus> {
        match self.about(serial) {
            OcspResponse::Error(status) => Some(status),
            OcspResponse::Successful(_) => None,
        }
    }

    fn id(&self, certificate: &Certificate) -> CertificateId {
        CertificateId { issuer: self.issuer.clone(), serial: certificate.serial().clone() }
    }

    fn check(&self) -> Option<(CheckResult, String)> {
        let name = format!("ocsp-responder/{}", self.issuer);
        let checks = self.world.gateway.health().checks;
        checks.into_iter().find(|check| check.name == name).map(|check| (check.result, check.detail))
    }
}

fn successful(response: OcspResponse) -> BasicResponse {
    match response {
        OcspResponse::Successful(basic) => basic,
        OcspResponse::Error(status) => panic!("{status:?}"),
    }
}

fn proven(request: &ResponderRequest) -> ProvenCsr {
    Csr::from_pem(&request.pem).unwrap().prove().unwrap()
}

/// What the issuing CA of `ca` makes of a responder's request, after `change`.
fn signed(ca: &World, request: &ResponderRequest, change: impl FnOnce(&mut CertificateSpec)) -> Certificate {
    let csr = proven(request);
    let authorities = ca.gateway.authorities();
    let authority = authorities.issuer(&issuing()).unwrap();
    let validity = Validity { not_before: ca.now().minus(DAY), not_after: ca.now().plus(90 * DAY) };
    let serial = SerialNumber::from_random(csr.public_key().key_identifier()[..16].try_into().unwrap());
    let mut spec = CertificateSpec {
        key_usage: csr.key_usage().unwrap(),
        extended_key_usage: csr.extended_key_usage().to_vec(),
        ocsp_no_check: csr.requested_extension_oids().contains(&ID_PKIX_OCSP_NOCHECK),
        ..CertificateSpec::new(
            serial,
            authority.certificate.subject().clone(),
            csr.subject().clone(),
            validity,
            csr.public_key().clone(),
        )
    };
    change(&mut spec);
    let algorithm = authority.signature_algorithm();
    let unsigned = spec.unsigned(algorithm).unwrap();
    let signature = authority.signer.sign(algorithm, unsigned.to_be_signed()).unwrap();
    Certificate::from_der(&unsigned.finish(&signature).unwrap()).unwrap()
}

/// Whether an answer says of the certificates what the old CA knew of them, under either hash, with and without a nonce.
fn assert_statuses(it: &Takeover, is_signed: impl Fn(&BasicResponse) -> bool) {
    let never = SerialNumber::from_random([7; 16]);
    let at = it.old.now();
    let revoked = |reason| CertStatus::Revoked { at, reason };
    let [good, held, gone] = &it.certificates;
    for (serial, wanted) in [
        (good.serial(), CertStatus::Good),
        (held.serial(), revoked(RevocationReason::CertificateHold)),
        (gone.serial(), revoked(RevocationReason::Superseded)),
        (&never, CertStatus::Unknown),
    ] {
        for digest in [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256] {
            for nonce in [None, Some([9; 16].as_slice())] {
                let response = successful(it.asked(vec![it.cert_id(digest, serial)], nonce));
                assert!(is_signed(&response), "{response:?}");
                assert_eq!(response.nonce.as_deref().map(|value| &value[value.len() - 16..]), nonce);
                assert_eq!(response.responses[0].status, wanted, "{digest}");
            }
        }
    }
}

#[test]
fn the_ca_delegates_and_gear_believes_what_certgate_says() {
    let it = Takeover::new();
    assert_eq!(it.error(it.certificates[0].serial()), Some(ErrorStatus::Unauthorized));
    assert_eq!((it.shown().mode, it.check()), (ResponderMode::None, None));

    let request = it.request(&NewResponderRequest::default());
    let csr = proven(&request);
    assert_eq!(csr.extended_key_usage(), [ID_KP_OCSP_SIGNING]);
    assert_eq!(csr.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE));
    assert!(csr.requested_extension_oids().contains(&ID_PKIX_OCSP_NOCHECK));
    assert_eq!((request.key, request.subject.as_str()), (KeyAlgorithm::P256, "CN=Test Issuing CA OCSP"));
    assert_eq!(it.error(it.certificates[0].serial()), Some(ErrorStatus::Unauthorized), "asked is not given");

    let certificate = signed(&it.old, &request, |_| ());
    let view = it.install(&certificate).unwrap();
    assert_eq!(
        (view.mode, view.not_after),
        (ResponderMode::Delegate, Some(certificate.validity().not_after))
    );
    assert_eq!((view.requested_at, view.certificates[0].state), (None, ResponderState::Signing));
    let by_the_ca = |it: &Takeover| {
        let ca = it.old.issuer("issuing");
        assert_statuses(it, |response| {
            response.verify(&ca).is_ok_and(|key| key == *certificate.public_key())
        });
    };
    by_the_ca(&it);
    assert_eq!(it.check().unwrap().0, CheckResult::Pass);
    // Once more is no error, and changes nothing.
    assert_eq!(it.install(&certificate).unwrap(), it.shown());
    // A restart keeps it all; what the CA signed for itself is certgate's to answer for, too.
    let it = Takeover { world: it.world.restarted(GatewaySettings::default()), ..it };
    by_the_ca(&it);
    assert_eq!(it.status(certificate.serial()), CertStatus::Good);
    let recorded = it.world.record(&certificate);
    assert_eq!((recorded.purpose, recorded.id), (Purpose::OcspSigner, it.id(&certificate)));
}

#[test]
fn what_the_ca_sends_back_is_looked_at_before_gear_sees_it() {
    let it = Takeover::new();
    let request = it.request(&NewResponderRequest { key: Some(KeyAlgorithm::Rsa2048), new_key: false });
    assert_eq!(request.key, KeyAlgorithm::Rsa2048);
    let refused = |certificate: &Certificate| match it.install(certificate) {
        Err(ServiceError::Refused(words)) => words,
        other => panic!("{other:?}"),
    };
    let stranger = world();
    for (certificate, words) in [
        (signed(&stranger, &request, |_| ()), "signature does not verify under the key of the CA"),
        (
            signed(&it.old, &request, |spec| spec.ca = Some(CaConstraint { path_len: None })),
            "certificate of a CA",
        ),
        (signed(&it.old, &request, |spec| spec.extended_key_usage.clear()), "lacks id-kp-OCSPSigning"),
        (
            signed(&it.old, &request, |spec| spec.key_usage = KeyUsage::KEY_ENCIPHERMENT),
            "allows no signatures",
        ),
        (
            signed(&it.old, &request, |spec| spec.validity.not_after = it.world.now().minus(DAY)),
            "it expired at",
        ),
        (
            signed(&it.old, &request, |spec| spec.validity.not_before = it.world.now().plus(DAY)),
            "valid only from",
        ),
        (enrolled(&it.old, "SN9"), "another key than the one that was asked for"),
    ] {
        let told = refused(&certificate);
        assert!(told.contains(words), "{told}");
        assert_eq!(it.shown().mode, ResponderMode::None);
    }
    assert!(matches!(
        it.world.gateway.install_responder(
            &it.world.authed(),
            &it.issuer,
            &NewResponder { certificate: "no PEM".to_owned() }
        ),
        Err(ServiceError::Invalid { .. })
    ));

    // The same request again has the same key; a new one ends it.
    assert_eq!(it.request(&NewResponderRequest::default()).public_key, request.public_key);
    let late = signed(&it.old, &request, |_| ());
    let renewed = it.request(&NewResponderRequest { key: None, new_key: true });
    assert!(renewed.key == KeyAlgorithm::Rsa2048 && renewed.public_key != request.public_key);
    assert!(refused(&late).contains("another key"));
    it.install(&signed(&it.old, &renewed, |_| ())).unwrap();
    assert!(refused(&late).contains("no request is open: certgate responder request"), "{late:?}");
    // Of an unanswered request nothing is left.
    let keys = it.world.read(|view| view.all_system_certificates());
    assert_eq!(keys.iter().filter(|it| it.purpose == Purpose::OcspSigner).count(), 3, "root, issuing, this");
}

#[test]
fn a_certificate_that_its_ca_has_revoked_is_not_installed_and_signs_no_more() {
    let it = Takeover::new();
    let certificate = signed(&it.old, &it.request(&NewResponderRequest::default()), |_| ());
    let good = it.certificates[0].serial();
    let on_hold = because(&it.old, RevocationReason::CertificateHold);
    take(&it.world, &it.issuer, vec![listed(&certificate, Some(on_hold))]);
    let refused = it.install(&certificate).unwrap_err();
    assert!(refused.to_string().contains("revoked or on hold"), "{refused}");
    take(&it.world, &it.issuer, vec![listed(&certificate, None)]);
    it.install(&certificate).unwrap();
    assert_eq!(it.status(good), CertStatus::Good);
    assert_eq!(it.world.record(&certificate).purpose, Purpose::Imported, "an import told of it before");

    let authed = it.world.authed::<Operate>();
    it.world
        .gateway
        .revoke_certificate(&authed, &it.id(&certificate), &super::because(RevocationReason::KeyCompromise))
        .unwrap();
    // Not even from the cache.
    assert_eq!(it.error(good), Some(ErrorStatus::TryLater));
    assert_eq!((it.shown().not_after, it.shown().certificates[0].state), (None, ResponderState::Over));
    let (result, detail) = it.check().unwrap();
    assert!(result == CheckResult::Warn && detail.contains("OCSP says tryLater"), "{detail}");
    it.world.clock.advance(DAY);
    it.delegated();
    assert_eq!(it.status(good), CertStatus::Good);
}

#[test]
fn a_delegate_that_may_be_revoked_signs_nothing_until_that_is_known() {
    let it = Takeover::new();
    let certificate = it.delegated();
    let (world, store) = on_faulty_store(it.world);
    let it = Takeover { world, ..it };
    let [good, _, gone] = &it.certificates;
    assert_eq!(it.status(good.serial()), CertStatus::Good);
    store.break_reads(true);
    let revoked = it.world.gateway.revoke_certificate(
        &it.world.authed::<Operate>(),
        &it.id(&certificate),
        &super::because(RevocationReason::KeyCompromise),
    );
    assert!(matches!(revoked, Err(ServiceError::Store(_))), "{revoked:?}");
    store.break_reads(false);
    for serial in [good.serial(), gone.serial()] {
        assert_eq!(it.error(serial), Some(ErrorStatus::TryLater));
    }
    it.world.gateway.run_due().unwrap();
    assert_eq!(it.shown().certificates[0].state, ResponderState::Over);
}

#[test]
fn a_right_that_was_taken_back_ends_although_the_issuers_could_not_be_read_again() {
    let it = Takeover::new();
    it.delegated();
    let (world, store) = on_faulty_store(it.world);
    let it = Takeover { world, ..it };
    let good = it.certificates[0].serial();
    assert_eq!(it.status(good), CertStatus::Good);
    store.break_reads(true);
    let outcome = it.decide(ResponderMode::None, None);
    assert!(matches!(outcome, Err(ServiceError::Store(_))), "{outcome:?}");
    assert_eq!(it.error(good), Some(ErrorStatus::TryLater), "no cached answer leaves");
    store.break_reads(false);
    it.world.gateway.run_due().unwrap();
    assert_eq!(it.error(good), Some(ErrorStatus::Unauthorized));
    assert_eq!(it.shown().mode, ResponderMode::None);
}

/// A store of which one read, once that is armed, gives what it found only when it is let go.
struct SlowStore {
    inner: Arc<dyn Store>,
    armed: AtomicBool,
    has_read: Barrier,
    goes_on: Barrier,
}

impl Store for SlowStore {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        let done = self.inner.with_view(work);
        if self.armed.swap(false, Ordering::SeqCst) {
            self.has_read.wait();
            self.goes_on.wait();
        }
        done
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        self.inner.with_tx(work)
    }
}

#[test]
fn a_right_that_was_taken_back_does_not_come_back_with_what_another_thread_had_read() {
    let it = Takeover::new();
    it.delegated();
    let store = Arc::new(SlowStore {
        inner: it.world.ports.store.clone(),
        armed: AtomicBool::new(false),
        has_read: Barrier::new(2),
        goes_on: Barrier::new(2),
    });
    let ports = Ports { store: store.clone(), ..it.world.ports.clone() };
    let it = Takeover { world: it.world.restarted_on(ports, GatewaySettings::default()), ..it };
    let good = it.certificates[0].serial();
    assert_eq!(it.status(good), CertStatus::Good);
    let third = world();
    std::thread::scope(|scope| {
        store.armed.store(true, Ordering::SeqCst);
        // The issuers are read again, with the right as it was.
        scope.spawn(|| open(&it.world, &third));
        store.has_read.wait();
        let taken_back = scope.spawn(|| it.decide(ResponderMode::None, None).unwrap());
        while it.world.read(|view| view.external_issuer(&it.issuer)).unwrap().ocsp != OcspAuthority::None {
            std::thread::yield_now();
        }
        // Whoever waits for nobody is through by then.
        for _ in 0..200 {
            if taken_back.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        store.goes_on.wait();
    });
    assert_eq!(it.error(good), Some(ErrorStatus::Unauthorized));
}

#[test]
fn a_delegate_is_renewed_before_it_ends() {
    let it = Takeover::new();
    let good = it.certificates[0].serial();
    let first = it.delegated();
    it.world.clock.advance(59 * DAY);
    assert_eq!(it.check().unwrap().0, CheckResult::Pass);
    it.world.clock.advance(2 * DAY);
    let (result, detail) = it.check().unwrap();
    assert_eq!(
        (result, detail),
        (CheckResult::Warn, format!("delegate, valid until {}", first.validity().not_after))
    );
    it.old.clock.advance(61 * DAY);
    let second = it.delegated();
    let states: Vec<_> = it.shown().certificates.iter().map(|it| it.state).collect();
    assert_eq!(states, [ResponderState::Signing, ResponderState::Former]);
    assert_eq!(successful(it.about(good)).verify(&it.old.issuer("issuing")).unwrap(), *second.public_key());
    // The expired one goes with its key; the last one stays, to say what ended.
    it.world.clock.advance(60 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!(it.shown().certificates.len(), 1);
    it.world.clock.advance(60 * DAY);
    it.world.gateway.run_due().unwrap();
    assert_eq!(it.shown().certificates[0].state, ResponderState::Over);
    assert_eq!(it.error(good), Some(ErrorStatus::TryLater));
}

#[test]
fn one_request_may_name_certificates_of_both() {
    let it = Takeover::new();
    let ours = enrolled(&it.world, "SN7");
    let own = CertId::new(DigestAlgorithm::Sha1, &it.world.issuer("issuing"), ours.serial()).unwrap();
    let theirs = it.cert_id(DigestAlgorithm::Sha1, it.certificates[0].serial());
    let statuses = |cert_ids: Vec<CertId>| {
        let response = successful(it.asked(cert_ids, None));
        response.responses.iter().map(|single| single.status).collect::<Vec<_>>()
    };
    let (good, unknown) = (CertStatus::Good, CertStatus::Unknown);
    assert_eq!(statuses(vec![theirs.clone(), own.clone()]), [unknown, good], "nobody answers for theirs");
    it.delegated();
    // A delegated responder speaks for one issuer: the first that is named.
    assert_eq!(statuses(vec![theirs.clone(), own.clone()]), [good, unknown]);
    assert_eq!(statuses(vec![own, theirs]), [good, unknown]);
}

#[test]
fn answers_for_an_external_issuer_are_signed_ahead_and_cached() {
    let it = Takeover::new();
    let refused = it.world.gateway.presign(
        &it.world.authed(),
        &it.issuer,
        &certgate::service::ocsp::PresignRequest::default(),
    );
    assert!(matches!(refused, Err(ServiceError::Refused(_))), "nobody answers for it");
    it.delegated();
    it.world
        .gateway
        .presign(&it.world.authed(), &it.issuer, &certgate::service::ocsp::PresignRequest::default())
        .unwrap();
    while it.world.gateway.run_ocsp().is_zero() {}
    let run = it.world.gateway.presigned(&it.world.authed::<Read>(), &it.issuer).unwrap();
    // The responder's own, too.
    assert_eq!((run.certificates, run.signed, run.failed), (4, 8, 0));
    let request =
        |serial| OcspRequest::new(vec![it.cert_id(DigestAlgorithm::Sha256, serial)], None).to_der().unwrap();
    let good = it.certificates[0].serial();
    assert!(it.world.ocsp_cached(&request(good)).is_some());
    // What moves is forgotten before the call returns.
    it.world
        .gateway
        .hold_certificate(&it.world.authed::<Operate>(), &it.id(&it.certificates[0]), "")
        .unwrap();
    assert!(it.world.ocsp_cached(&request(good)).is_none());
    assert!(matches!(it.status(good), CertStatus::Revoked { reason: RevocationReason::CertificateHold, .. }));
}

#[test]
fn what_happens_to_a_device_happens_to_its_imported_certificate() {
    let it = Takeover::new();
    let [good, held, _] = &it.certificates;
    let bind = |lines: Vec<ImportLine>| {
        let batch = ImportBatch {
            source: "index.txt".to_owned(),
            certificates: lines,
            bind: Some(BindRule::SubjectCommonName),
            crl: None,
        };
        it.world.gateway.import_certificates(&it.world.authed(), &it.issuer, &batch).unwrap()
    };
    it.world.register("SN1");
    it.world.register("SN2");
    it.world
        .gateway
        .device_event(&it.world.authed(), &"SN2".parse().unwrap(), DeviceEvent::Lost, "")
        .unwrap();
    let lines = || [good, held, &it.certificates[2]].map(|it| ImportLine { line: 7, ..whole(it) }).into();
    let report = bind(lines());
    assert_eq!((report.completed, report.bound, report.unbound.len()), (3, 1, 2));
    assert!(
        report.unbound[0].problem.contains("the device \"SN2\" may have no certificate: it is reported lost")
    );
    assert!(report.unbound[1].problem.contains("there is no device \"SN3\""), "{report:?}");
    let [binding] = it.world.bindings(good).try_into().unwrap();
    assert_eq!((binding.evidence, binding.assurance), (Evidence::Import, Assurance::Medium));
    let again = bind(lines());
    assert_eq!((again.unchanged, again.bound, again.unbound.len()), (3, 0, 2), "it is bound once");
    it.world.register("SN3");
    assert_eq!(bind(lines()).bound, 1);
    let lifecycle = |id: &str| it.world.read(|view| view.device(&id.parse().unwrap())).unwrap().lifecycle;
    assert_eq!(lifecycle("SN1"), Lifecycle::Active);
    assert_ne!(lifecycle("SN3"), Lifecycle::Active, "what it has is revoked");

    it.delegated();
    let happens = |event| {
        let device = "SN1".parse().unwrap();
        it.world.gateway.device_event(&it.world.authed(), &device, event, "").unwrap();
        // Asked twice: the second answer comes from the cache.
        assert_eq!(it.status(good.serial()), it.status(good.serial()));
        match it.status(good.serial()) {
            CertStatus::Revoked { reason, .. } => Some(reason),
            CertStatus::Good => None,
            CertStatus::Unknown => panic!("it is known"),
        }
    };
    assert_eq!(it.status(good.serial()), CertStatus::Good);
    assert_eq!(happens(DeviceEvent::Lost), Some(RevocationReason::CertificateHold));
    assert_eq!(happens(DeviceEvent::Found), None);
    assert_eq!(happens(DeviceEvent::Wipe), Some(RevocationReason::CertificateHold));
    assert_eq!(happens(DeviceEvent::CancelWipe), None);
    assert_eq!(happens(DeviceEvent::Wipe), Some(RevocationReason::CertificateHold));
    assert_eq!(happens(DeviceEvent::Force), Some(RevocationReason::CessationOfOperation));
}

#[test]
fn what_is_done_is_on_record_and_only_owners_do_it() {
    let it = Takeover::new();
    it.delegated();
    it.decide(ResponderMode::Trusted, Some("issuing")).unwrap();
    it.decide(ResponderMode::Delegate, None).unwrap();
    assert_eq!(it.status(it.certificates[0].serial()), CertStatus::Good);
    let events = it.world.gateway.audit_tail(&it.world.authed::<Read>(), 10).unwrap().items;
    let of_responders: Vec<_> = events
        .iter()
        .filter(|event| event.action.starts_with("responder."))
        .map(|event| event.action.as_str())
        .collect();
    assert_eq!(
        of_responders,
        ["responder.requested", "responder.installed", "responder.mode-changed", "responder.mode-changed"]
    );
    let last = events.last().unwrap();
    assert_eq!(
        (last.detail["before"].as_str(), last.detail["after"].as_str()),
        ("trusted by issuing", "delegate")
    );
    let shown = it.world.gateway.external_issuer(&it.world.authed::<Read>(), &it.issuer).unwrap();
    assert_eq!((shown.ocsp.as_str(), shown.responder_not_after), ("delegate", it.shown().not_after));

    let request = RequestId::from_random([1; 16]);
    let operator =
        Caller { actor: Actor::Local { uid: 0 }, role: Role::Operator, request, profiles: Vec::new() };
    assert!(operator.prove::<certgate::domain::access::Administer>().is_err());
    // The store has the certificates of both, and one of them is the external CA's.
    let page = Page::<CertificateId>::first(1_000);
    let all = it.world.read(|view| view.certificates(&page));
    let of = |purpose| all.iter().filter(|record| record.purpose == purpose).count();
    assert_eq!((of(Purpose::TrustedResponder), of(Purpose::OcspSigner)), (1, 3));
}
