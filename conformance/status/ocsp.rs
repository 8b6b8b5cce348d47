//! The OCSP responder (RFC 6960, RFC 9654, RFC 9919).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use certgate::{
    ports::{
        Store, StoreError, Tx, View,
        store::{StoreResult, Verdict},
    },
    service::{GatewaySettings, Ports, ServiceError},
    types::{DigestAlgorithm, KeyAlgorithm, RevocationReason, SerialNumber, SignatureAlgorithm, Timestamp},
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};

use super::{
    answered, because,
    common::{DAY, World, WorldOptions},
    crl::head_of,
    crl_entry, enrolled, id_of,
    meanwhile::{Meanwhile, When},
    ocsp_status, plain_request, request, revoke, world,
};

const TRY_LATER: [u8; 5] = [0x30, 3, 0x0a, 1, 3];
const UNAUTHORIZED: [u8; 5] = [0x30, 3, 0x0a, 1, 6];
const MALFORMED: [u8; 5] = [0x30, 3, 0x0a, 1, 1];

/// A store that can be out of order.
pub(super) struct FaultyStore {
    inner: Arc<dyn Store>,
    reads_fail: AtomicBool,
}

impl FaultyStore {
    pub(super) fn break_reads(&self, broken: bool) {
        self.reads_fail.store(broken, Ordering::SeqCst);
    }
}

impl Store for FaultyStore {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        if self.reads_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("on purpose".to_owned()));
        }
        self.inner.with_view(work)
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        self.inner.with_tx(work)
    }
}

pub(super) fn on_faulty_store(world: World) -> (World, Arc<FaultyStore>) {
    let store =
        Arc::new(FaultyStore { inner: world.ports.store.clone(), reads_fail: AtomicBool::new(false) });
    let ports = Ports { store: store.clone(), ..world.ports.clone() };
    (world.restarted_on(ports, GatewaySettings::default()), store)
}

#[test]
fn no_old_answer_leaves_after_the_revoking_call_returned() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let request = plain_request(&world, certificate.serial());
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
    assert!(world.ocsp_cached(&request).is_some());

    revoke(&world, &certificate, RevocationReason::KeyCompromise);

    assert!(world.ocsp_cached(&request).is_none());
    let revoked = CertStatus::Revoked { at: world.now(), reason: RevocationReason::KeyCompromise };
    assert_eq!(ocsp_status(&world, certificate.serial()), revoked);
    assert_eq!(world.ocsp_cached(&request).unwrap().result, "revoked");
}

#[test]
fn no_old_answer_leaves_while_many_ask_and_the_status_moves() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let id = id_of(&certificate);
    let request = plain_request(&world, certificate.serial());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    world.gateway.ocsp(&request);
                }
            });
        }
        let says = |wanted: &str| {
            for _ in 0..3 {
                assert_eq!(world.gateway.ocsp(&request).result, wanted);
                assert!(world.ocsp_cached(&request).is_none_or(|cached| cached.result == wanted));
            }
        };
        for _ in 0..100 {
            world.gateway.hold_certificate(&world.authed(), &id, "").unwrap();
            says("revoked");
            world.gateway.release_certificate(&world.authed(), &id, "").unwrap();
            says("good");
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn ocsp_crl_and_api_agree_on_status_reason_and_time() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    revoke(&world, &certificate, RevocationReason::Superseded);
    world.clock.advance(Duration::from_secs(60));
    let CertStatus::Revoked { at, reason } = ocsp_status(&world, certificate.serial()) else {
        panic!("not revoked")
    };
    let entry = crl_entry(&world, certificate.serial()).unwrap();
    let shown = world.gateway.certificate(&world.authed(), &id_of(&certificate)).unwrap().revocation.unwrap();
    assert_eq!((at, reason), (entry.revoked_at, entry.reason));
    assert_eq!((at, reason), (shown.at, shown.reason));
}

#[test]
fn a_serial_that_was_never_issued_is_unknown_and_not_cached() {
    let world = world();
    let serial: SerialNumber = "4fabcdef".parse().unwrap();
    let request = plain_request(&world, &serial);
    assert_eq!(ocsp_status(&world, &serial), CertStatus::Unknown);
    assert!(world.gateway.ocsp(&request).caching.is_none());
    assert!(world.ocsp_cached(&request).is_none());
}

#[test]
fn a_foreign_issuer_is_answered_with_unauthorized() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    // The device's certificate is no issuer.
    let cert_id = CertId::new(DigestAlgorithm::Sha256, &certificate, certificate.serial()).unwrap();
    let request = OcspRequest::new(vec![cert_id], None).to_der().unwrap();
    assert_eq!(world.gateway.ocsp(&request).body, UNAUTHORIZED.as_slice());
}

#[test]
fn what_is_no_request_is_answered_with_malformed_request() {
    let world = world();
    for bytes in [b"".as_slice(), b"GET / HTTP/1.0", &[0x30, 0x80], &[0x30, 0x00]] {
        assert_eq!(world.gateway.ocsp(bytes).body, MALFORMED.as_slice(), "{bytes:02x?}");
    }
}

#[test]
fn a_delegate_speaks_for_its_own_issuer_only() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let issuing = world.issuer("issuing");
    let ours = CertId::new(DigestAlgorithm::Sha256, &issuing, certificate.serial()).unwrap();
    let roots = CertId::new(DigestAlgorithm::Sha256, &world.issuer("root"), issuing.serial()).unwrap();
    let request = OcspRequest::new(vec![ours.clone(), roots.clone()], None).to_der().unwrap();
    let responses = answered(&world, &request).responses;
    assert_eq!(responses.iter().map(|it| &it.cert_id).collect::<Vec<_>>(), [&ours, &roots]);
    assert_eq!(responses[0].status, CertStatus::Good);
    assert_eq!(responses[1].status, CertStatus::Unknown);
}

#[test]
fn every_digest_is_answered_in_kind() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    for digest in
        [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512]
    {
        let response = answered(&world, &request(&world, certificate.serial(), digest, None));
        assert_eq!(response.responses[0].cert_id.algorithm(), Some(digest));
        assert_eq!(response.responses[0].status, CertStatus::Good);
    }
}

#[test]
fn a_nonce_is_echoed_and_its_answer_not_cached() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let nonce = [9; 32];
    let request = request(&world, certificate.serial(), DigestAlgorithm::Sha1, Some(&nonce));
    let asked = OcspRequest::from_der(&request).unwrap();
    assert_eq!(answered(&world, &request).nonce, asked.nonce);
    assert!(world.gateway.ocsp(&request).caching.is_none());
    assert!(world.ocsp_cached(&request).is_none());
}

#[test]
fn windows_are_those_of_the_settings_and_end_with_the_responder() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let window = |world: &World| {
        let response = answered(world, &plain_request(world, certificate.serial()));
        assert_eq!(response.produced_at, response.responses[0].this_update);
        response.responses[0].next_update.unwrap().since(response.produced_at)
    };
    let settings = GatewaySettings::default().ocsp;
    assert_eq!(window(&world), settings.good);
    world.gateway.hold_certificate(&world.authed(), &id_of(&certificate), "").unwrap();
    assert_eq!(window(&world), settings.hold);
    revoke(&world, &certificate, RevocationReason::CessationOfOperation);
    assert_eq!(window(&world), settings.revoked);

    let authorities = world.gateway.authorities();
    let signer = authorities.issuer(&super::issuing()).unwrap().ocsp.clone().unwrap();
    let end = signer.certificate.validity().not_after;
    world.clock.advance(end.since(world.now()) - Duration::from_secs(100));
    assert_eq!(window(&world), Duration::from_secs(100));
}

#[test]
fn a_cached_answer_is_signed_anew_just_before_half_life() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let request = plain_request(&world, certificate.serial());
    let first = world.gateway.ocsp(&request).body;
    world.clock.advance(Duration::from_secs(280));
    assert_eq!(world.ocsp_cached(&request).unwrap().body, first);
    world.clock.advance(Duration::from_secs(1));
    assert!(world.ocsp_cached(&request).is_none());
    assert_ne!(world.gateway.ocsp(&request).body, first);
}

#[test]
fn without_the_store_a_cached_answer_serves_until_its_next_update_then_try_later() {
    let (world, store) = on_faulty_store(world());
    let (known, other) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    let request = plain_request(&world, known.serial());
    let first = world.gateway.ocsp(&request).body;
    store.break_reads(true);
    assert_eq!(world.gateway.ocsp(&plain_request(&world, other.serial())).body, TRY_LATER.as_slice());
    world.clock.advance(Duration::from_secs(599));
    assert_eq!(world.gateway.ocsp(&request).body, first);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.gateway.ocsp(&request).body, TRY_LATER.as_slice());
}

#[test]
fn what_a_revoked_signer_signed_is_given_out_no_more_though_the_store_failed_when_it_was_replaced() {
    let (world, faulty) = on_faulty_store(world());
    let (world, store) = Meanwhile::over(world);
    world.gateway.run_due().unwrap();
    let certificate = enrolled(&world, "SN1");
    let request = plain_request(&world, certificate.serial());
    let signer = || world.gateway.authorities().issuer(&super::issuing()).unwrap().ocsp.clone().unwrap();
    let stolen = signer();
    assert_eq!(world.gateway.ocsp(&request).result, "good");
    let compromised = because(RevocationReason::KeyCompromise);
    world.gateway.revoke_certificate(&world.authed(), &stolen.id, &compromised).unwrap();
    let breaks = faulty.clone();
    store.let_happen(When::Written, Box::new(move || breaks.break_reads(true)));
    world.gateway.run_due().unwrap_err();
    assert!(world.ocsp_cached(&request).is_none());
    faulty.break_reads(false);
    // Its successor is recorded, and not in use yet.
    assert_eq!(world.gateway.ocsp(&request).result, "good");
    world.gateway.run_due().unwrap();
    assert!(world.ocsp_cached(&request).is_none());
    assert_ne!(signer().id, stolen.id);
    assert!(answered(&world, &request).certificates.contains(&signer().certificate));
}

#[test]
fn health_names_the_ca_whose_standing_cannot_be_read() {
    let (world, store) = on_faulty_store(world());
    let certificate = enrolled(&world, "SN1");
    let ca = world.record(&world.issuer("issuing")).id;
    store.break_reads(true);
    assert!(world.gateway.hold_certificate(&world.authed(), &ca, "").is_err());
    store.break_reads(false);
    assert_eq!(world.gateway.ocsp(&plain_request(&world, certificate.serial())).body, TRY_LATER.as_slice());
    let status = || world.gateway.health().checks.into_iter().find(|check| check.name == "status").unwrap();
    assert!(status().detail.contains("the first is issuing"), "{}", status().detail);
    world.gateway.run_due().unwrap();
    assert_eq!(status().detail, "every change is in force");
}

#[test]
fn a_change_that_cannot_be_read_is_never_answered_with_the_old_status() {
    let (world, store) = on_faulty_store(world());
    let certificate = enrolled(&world, "SN1");
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
    store.break_reads(true);
    let authed = world.authed();
    let outcome = world.gateway.revoke_certificate(
        &authed,
        &id_of(&certificate),
        &because(RevocationReason::Superseded),
    );
    assert!(matches!(outcome, Err(ServiceError::Store(_))), "{outcome:?}");
    let request = plain_request(&world, certificate.serial());
    assert_eq!(world.gateway.ocsp(&request).body, TRY_LATER.as_slice());

    store.break_reads(false);
    assert_eq!(world.gateway.ocsp(&request).body, TRY_LATER.as_slice());
    assert!(!world.gateway.health().ready);
    world.gateway.run_due().unwrap();
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
}

#[test]
fn a_restart_keeps_every_status() {
    let world = world();
    let (revoked, held, good) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"), enrolled(&world, "SN3"));
    revoke(&world, &revoked, RevocationReason::KeyCompromise);
    world.gateway.hold_certificate(&world.authed(), &id_of(&held), "").unwrap();
    let before = [&revoked, &held, &good].map(|it| ocsp_status(&world, it.serial()));
    let world = world.restarted(GatewaySettings::default());
    assert_eq!([&revoked, &held, &good].map(|it| ocsp_status(&world, it.serial())), before);
}

#[test]
fn nonces_of_1_to_128_bytes_are_echoed_and_others_malformed() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let with =
        |length| request(&world, certificate.serial(), DigestAlgorithm::Sha256, Some(&vec![0x5a; length]));
    for length in [1, 16, 32, 128] {
        let asked = OcspRequest::from_der(&with(length)).unwrap();
        assert_eq!(answered(&world, &with(length)).nonce, asked.nonce, "{length}");
    }
    for length in [0, 129] {
        assert_eq!(world.gateway.ocsp(&with(length)).body, MALFORMED.as_slice(), "{length}");
    }
}

#[test]
fn several_certificates_are_answered_in_order_each_with_its_own_status() {
    let world = world();
    let issuing = world.issuer("issuing");
    let (good, held, gone) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"), enrolled(&world, "SN3"));
    world.gateway.hold_certificate(&world.authed(), &id_of(&held), "").unwrap();
    revoke(&world, &gone, RevocationReason::KeyCompromise);
    let never: SerialNumber = "4fabcdef".parse().unwrap();
    let serials = [gone.serial(), good.serial(), &never, held.serial()];
    let ids: Vec<_> =
        serials.iter().map(|serial| CertId::new(DigestAlgorithm::Sha1, &issuing, serial).unwrap()).collect();
    let response = answered(&world, &OcspRequest::new(ids.clone(), Some(&[1; 16])).to_der().unwrap());
    assert_eq!(response.responses.iter().map(|it| it.cert_id.clone()).collect::<Vec<_>>(), ids);
    let revoked = |reason| CertStatus::Revoked { at: world.now(), reason };
    let statuses: Vec<_> = response.responses.iter().map(|it| it.status).collect();
    let expected = [
        revoked(RevocationReason::KeyCompromise),
        CertStatus::Good,
        CertStatus::Unknown,
        revoked(RevocationReason::CertificateHold),
    ];
    assert_eq!(statuses, expected);
}

#[test]
fn the_root_answers_for_the_issuing_ca() {
    let world = world();
    let (root, issuing) = (world.issuer("root"), world.issuer("issuing"));
    let cert_id = CertId::new(DigestAlgorithm::Sha256, &root, issuing.serial()).unwrap();
    let body = world.gateway.ocsp(&OcspRequest::new(vec![cert_id], None).to_der().unwrap()).body;
    let OcspResponse::Successful(response) = OcspResponse::from_der(&body).unwrap() else {
        panic!("{body:?}")
    };
    response.verify(&root).unwrap();
    assert_eq!(response.responses[0].status, CertStatus::Good);
}

#[test]
fn a_renewed_signer_signs_what_is_new_and_old_answers_stay_good() {
    let world = world();
    let (asked, other) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    let request = plain_request(&world, asked.serial());
    let before = answered(&world, &request);
    // A third of its seven days is left: the worker makes a new one. Nobody asks anew about the first certificate before its
    // answer is old, so that the cached one still goes out.
    world.clock.advance(5 * DAY - Duration::from_secs(60));
    let cached = answered(&world, &request);
    world.clock.advance(Duration::from_secs(60));
    world.gateway.run_due().unwrap();
    let still = answered(&world, &request);
    assert_eq!(still.produced_at, cached.produced_at);
    assert_eq!(still.certificates, before.certificates);

    let new = answered(&world, &plain_request(&world, other.serial()));
    assert_ne!(new.certificates, before.certificates);
    assert_eq!(new.responses[0].status, CertStatus::Good);
    // The old signer's last answer verifies until it expires, and a revocation is signed by the new one at once.
    revoke(&world, &asked, RevocationReason::KeyCompromise);
    let after = answered(&world, &request);
    assert_eq!(after.certificates, new.certificates);
    assert!(matches!(after.responses[0].status, CertStatus::Revoked { .. }));
}

#[test]
fn every_kind_of_ca_signs_certificates_crls_and_its_responder() {
    let kinds = [
        (
            KeyAlgorithm::Rsa2048,
            DigestAlgorithm::Sha512,
            SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha512),
        ),
        (
            KeyAlgorithm::Rsa3072,
            DigestAlgorithm::Sha384,
            SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha384),
        ),
        (KeyAlgorithm::P256, DigestAlgorithm::Sha512, SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha256)),
        (KeyAlgorithm::P384, DigestAlgorithm::Sha256, SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha384)),
    ];
    for (ca_key, digest, expected) in kinds {
        let options = WorldOptions { ca_key, digest, ..WorldOptions::default() };
        let world = World::with(options, &[("device", "subject = \"CN=$DEVICE_ID$\"\n")]);
        let issuing = world.issuer("issuing");
        assert_eq!(issuing.public_key().kind().algorithm(), Some(ca_key));
        let certificate = enrolled(&world, "SN1");
        for (issued, issuer) in [(&certificate, &issuing), (&issuing, &world.issuer("root"))] {
            issued.is_signed_by(issuer).unwrap();
            assert_eq!(issued.signature_algorithm(), Some(expected), "{ca_key} {digest}");
        }
        // RFC 6960 §4.2.2.3: by key, the responder's.
        let response = answered(&world, &plain_request(&world, certificate.serial()));
        let responder = response.certificates[0].public_key().key_identifier();
        assert_eq!(response.responder_key_hash.as_deref(), Some(responder.as_slice()));
        revoke(&world, &certificate, RevocationReason::KeyCompromise);
        assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
        assert!(crl_entry(&world, certificate.serial()).is_some());
    }
}

/// The status line of what is answered to who asks of a certificate and has an answer of that date.
fn asked_again(world: &World, certificate: &Certificate, date: Timestamp) -> String {
    let path = format!("/ocsp/{}", BASE64_STANDARD.encode(plain_request(world, certificate.serial())));
    let path = path.replace('+', "%2B").replace('=', "%3D");
    let headers = format!("If-Modified-Since: {}\r\n", date.to_http_date());
    head_of(world, &path, &headers).lines().next().unwrap().to_owned()
}

#[test]
fn nobody_keeps_an_old_answer_because_the_new_one_has_its_date() {
    let world = world();
    let (certificate, other) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    for it in [&certificate, &other] {
        assert_eq!(ocsp_status(&world, it.serial()), CertStatus::Good);
        assert_eq!(asked_again(&world, it, world.now()), "http/1.1 304 not modified");
    }
    let good_at = world.now();
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    for _ in 0..2 {
        assert_eq!(asked_again(&world, &certificate, good_at), "http/1.1 200 ok", "made within a second");
    }
    // Once it is signed anew its date is its own.
    world.clock.advance(DAY);
    world.gateway.run_due().unwrap();
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
    assert_eq!(asked_again(&world, &certificate, world.now()), "http/1.1 304 not modified");
    assert_eq!(asked_again(&world, &certificate, good_at), "http/1.1 200 ok");
}

#[test]
fn nobody_keeps_an_old_answer_of_a_clock_that_was_ahead() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let hour = Duration::from_secs(3_600);
    world.clock.set_ahead(hour);
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
    let good_at = world.now();
    world.clock.set_back(hour);
    revoke(&world, &certificate, RevocationReason::KeyCompromise);
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
    // The time of that answer has come, and this one is given out still.
    world.clock.advance(hour + Duration::from_secs(60));
    assert_eq!(asked_again(&world, &certificate, good_at), "http/1.1 200 ok");
}
