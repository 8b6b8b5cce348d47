//! Who signs, and for whom.

use std::{collections::BTreeMap, sync::mpsc, thread, time::Duration};

use certgate::{
    domain::certificate::Purpose,
    service::{GatewaySettings, OcspPolicy, OcspSigner, certificate::RevokeRequest, health::CheckResult},
    types::{DigestAlgorithm, IssuerId, KeyAlgorithm, RevocationReason, SerialNumber, SignatureAlgorithm},
    wire::{
        ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};

use super::{
    answered,
    common::{Client, DAY, ManualClock, World, WorldOptions},
    element, enrolled, question, world,
};

const SHA256: DigestAlgorithm = DigestAlgorithm::Sha256;

fn issuing() -> IssuerId {
    "issuing".parse().unwrap()
}

fn signed_by(signer: OcspSigner) -> GatewaySettings {
    let mut settings = GatewaySettings::default();
    settings.system.ocsp_signers = BTreeMap::from([(issuing(), signer)]);
    settings
}

#[test]
fn s4_2_2_2_the_ca_itself_signs_where_it_is_set() {
    let settings = signed_by(OcspSigner::Ca);
    let world = world(WorldOptions { settings, ..WorldOptions::default() });
    let certificate = enrolled(&world, "SN1").1;
    for nonce in [None, Some([7; 16].as_slice())] {
        let response = answered(&world, &question(&world, SHA256, certificate.serial(), nonce)).unwrap();
        let issuer = world.issuer("issuing");
        assert_eq!(response.verify(&issuer).as_ref(), Ok(issuer.public_key()));
        assert_eq!(response.responses[0].status, CertStatus::Good);
        // FreeRADIUS looks for the signer nowhere else.
        assert_eq!(response.certificates, std::slice::from_ref(&issuer));
        let key_hash = issuer.public_key().key_identifier();
        assert_eq!(response.responder_key_hash.as_deref(), Some(key_hash.as_slice()));
    }
    let signers = |id: &str| {
        let id: IssuerId = id.parse().unwrap();
        world.read(|view| view.system_certificates(Purpose::OcspSigner, &id)).len()
    };
    assert_eq!((signers("issuing"), signers("root")), (0, 1), "no delegate is made that nobody needs");
    world.gateway.run_due().unwrap();
    assert_eq!(signers("issuing"), 0);
    let health = world.gateway.health();
    let check = health.checks.iter().find(|check| check.name == "ocsp-signer/issuing").unwrap();
    assert_eq!(check.detail, "the CA signs its answers itself");
}

/// A clock that was years ahead, for a minute: every certificate of our own has expired by it, and is made anew.
#[test]
fn signers_that_were_made_while_the_clock_was_ahead_are_replaced_when_it_is_right_again() {
    let world = world(WorldOptions::default());
    let certificate = enrolled(&world, "SN1").1;
    let request = question(&world, SHA256, certificate.serial(), None);
    world.clock.advance(2 * 365 * DAY);
    world.gateway.run_due().unwrap();
    world.clock.set_back(2 * 365 * DAY);
    assert_eq!(answered(&world, &request).err(), Some(ErrorStatus::TryLater), "its signer is not valid yet");
    world.gateway.run_due().unwrap();
    assert_eq!(answered(&world, &request).unwrap().responses[0].status, CertStatus::Good);
    let message = world.message_certificate("device").validity();
    assert!(message.contains(world.now()), "no client takes {message:?}");
    // Once.
    let number =
        |world: &World| world.read(|view| view.system_certificates(Purpose::OcspSigner, &issuing())).len();
    let before = number(&world);
    world.gateway.run_due().unwrap();
    assert_eq!(number(&world), before);
}

/// Five years and a day: nothing that the CA or its delegate signs is believed any more.
#[test]
fn s2_3_of_a_ca_that_has_expired_the_answer_is_unauthorized() {
    for settings in [GatewaySettings::default(), signed_by(OcspSigner::Ca)] {
        let world = world(WorldOptions { settings, ..WorldOptions::default() });
        let certificate = enrolled(&world, "SN1").1;
        let request = |nonce| question(&world, SHA256, certificate.serial(), nonce);
        let nonce = Some([7; 16].as_slice());
        let end = world.issuer("issuing").validity().not_after;
        world.clock.advance(end.since(world.now()));
        world.gateway.run_due().unwrap();
        assert_eq!(answered(&world, &request(None)).unwrap().responses[0].status, CertStatus::Good);
        world.clock.advance(Duration::from_secs(1));
        world.gateway.run_due().unwrap();
        for request in [request(None), request(nonce)] {
            assert_eq!(answered(&world, &request).err(), Some(ErrorStatus::Unauthorized));
            assert_eq!(world.gateway.ocsp(&request).result, "unauthorized");
        }
        // Nothing renews what such a CA signed.
        let checks = world.gateway.health().checks;
        let of_it: Vec<_> = checks.iter().filter(|it| it.name.ends_with("/issuing")).collect();
        assert!(of_it.iter().any(|it| it.name == "scep-message-key/issuing"), "{of_it:?}");
        for check in of_it {
            assert!(!check.hint.contains("renewed by itself"), "{check:?}");
        }
        // Who asks about certificates of two CAs hears of the other one.
        let [root, issuing] = ["root", "issuing"].map(|id| world.issuer(id));
        let both = [(&issuing, certificate.serial()), (&root, issuing.serial())];
        let both = both.map(|(issuer, serial)| CertId::new(SHA256, issuer, serial).unwrap());
        let body = world.gateway.ocsp_answer(&OcspRequest::new(both.to_vec(), None)).body;
        let OcspResponse::Successful(response) = OcspResponse::from_der(&body).unwrap() else { panic!() };
        response.verify(&root).unwrap();
        let statuses: Vec<_> = response.responses.iter().map(|it| it.status).collect();
        assert_eq!(statuses, [CertStatus::Unknown, CertStatus::Good]);
    }
}

/// It may be set right again: whoever comes back then has an answer.
#[test]
fn by_a_clock_that_is_not_believed_no_ca_has_expired() {
    let world = world(WorldOptions::default());
    let request = question(&world, SHA256, enrolled(&world, "SN1").1.serial(), None);
    world.clock.set_ahead(6 * 365 * DAY);
    assert_eq!(answered(&world, &request).err(), Some(ErrorStatus::TryLater));
    world.clock.set_back(6 * 365 * DAY);
    assert_eq!(answered(&world, &request).unwrap().responses[0].status, CertStatus::Good);
}

#[test]
fn a_signer_that_is_revoked_is_replaced_at_once_with_all_that_it_signed() {
    let world = world(WorldOptions::default());
    let certificate = enrolled(&world, "SN1").1;
    let request = question(&world, SHA256, certificate.serial(), None);
    let stolen = answered(&world, &request).unwrap().certificates[0].clone();
    let because =
        RevokeRequest { reason: RevocationReason::KeyCompromise, note: String::new(), invalidity_date: None };
    world.gateway.revoke_certificate(&world.authed(), &world.record(&stolen).id, &because).unwrap();
    world.gateway.run_due().unwrap();
    assert!(world.ocsp_cached(&request).is_none());
    let response = answered(&world, &request).unwrap();
    assert_ne!(response.certificates[0], stolen);
    assert_eq!(response.responses[0].status, CertStatus::Good);
    // Once: the newest is not revoked.
    world.gateway.run_due().unwrap();
    assert_eq!(answered(&world, &request).unwrap().certificates, response.certificates);
}

#[test]
fn another_kind_of_key_takes_effect_with_the_next_round_and_old_answers_stay_good() {
    let world = world(WorldOptions::default());
    let certificate = enrolled(&world, "SN1").1;
    let request = question(&world, SHA256, certificate.serial(), None);
    let kind = |world: &World| {
        let response = answered(world, &request).unwrap();
        response.verify(&world.issuer("issuing")).unwrap().kind().algorithm()
    };
    let old = answered(&world, &request).unwrap();
    assert_eq!(kind(&world), Some(KeyAlgorithm::P256));
    let world = world.restarted(signed_by(OcspSigner::DelegateWith(KeyAlgorithm::Rsa2048)));
    world.gateway.run_due().unwrap();
    assert_eq!(kind(&world), Some(KeyAlgorithm::Rsa2048));
    old.verify(&world.issuer("issuing")).expect("what the old one signed stays good");
    // Once: the newest is of the right kind now.
    world.gateway.run_due().unwrap();
    let signers = world.read(|view| view.system_certificates(Purpose::OcspSigner, &issuing()));
    assert_eq!(signers.len(), 2);
    let world = world.restarted(GatewaySettings::default());
    world.gateway.run_due().unwrap();
    assert_eq!(kind(&world), Some(KeyAlgorithm::P256));
}

#[test]
fn a_section_of_an_issuer_that_is_not_there_is_found_by_the_health_check() {
    let mut settings = GatewaySettings::default();
    settings.ocsp.issuers = BTreeMap::from([("isuing".parse().unwrap(), OcspPolicy::default())]);
    let world = world(WorldOptions { settings, ..WorldOptions::default() });
    let health = world.gateway.health();
    let check = health.checks.iter().find(|check| check.name == "issuer-sections").unwrap();
    assert_eq!(check.result, CheckResult::Warn);
    assert!(check.detail.contains("[issuer.isuing]"), "{}", check.detail);
}

/// The request, signed by a client that shows `certificate` (RFC 6960 §4.1.2).
fn signed(request: &[u8], client: &Client, certificate: &Certificate) -> Vec<u8> {
    const SHA256_WITH_RSA: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 5, 0];
    // The request is one SEQUENCE around tbsRequest; both have short lengths or 0x81 ones.
    let header = if request[1] < 0x80 { 2 } else { 3 };
    let to_be_signed = &request[header..];
    let bits = element(3, &[&[0], &client.sign(to_be_signed)]);
    let certificates = element(0xa0, &[&element(0x30, &[certificate.as_der()])]);
    let signature = element(0x30, &[&SHA256_WITH_RSA, &bits, &certificates]);
    element(0x30, &[to_be_signed, &element(0xa0, &[&signature])])
}

#[test]
fn s2_3_where_requests_have_to_be_signed_only_the_good_certificates_of_ours_are_answered() {
    let mut settings = GatewaySettings::default();
    let policy = OcspPolicy { signed_requests: true, ..OcspPolicy::default() };
    settings.ocsp.issuers = BTreeMap::from([(issuing(), policy)]);
    let world = world(WorldOptions { settings, ..WorldOptions::default() });
    let ((client, own), (_, other)) = (enrolled(&world, "SN1"), enrolled(&world, "SN2"));
    for nonce in [None, Some([7; 16].as_slice())] {
        let request = question(&world, SHA256, other.serial(), nonce);
        assert_eq!(answered(&world, &request).err(), Some(ErrorStatus::SigRequired));
        let response = answered(&world, &signed(&request, &client, &own)).unwrap();
        assert_eq!(response.responses[0].status, CertStatus::Good);
        assert!(world.gateway.ocsp(&signed(&request, &client, &own)).caching.is_none());

        let stranger = Client::new();
        for (client, certificate) in
            [(&stranger, &stranger.identity), (&stranger, &own), (&client, &client.identity)]
        {
            let refused = answered(&world, &signed(&request, client, certificate));
            assert_eq!(refused.err(), Some(ErrorStatus::Unauthorized));
        }
    }
    let request = question(&world, SHA256, other.serial(), None);
    assert!(world.ocsp_cached(&request).is_none());
    let wanted = certgate::service::ocsp::PresignRequest::default();
    assert!(world.gateway.presign(&world.authed(), &issuing(), &wanted).is_err());
    let id = world.record(&own).id;
    world.gateway.hold_certificate(&world.authed(), &id, "").unwrap();
    let refused = answered(&world, &signed(&request, &client, &own));
    assert_eq!(refused.err(), Some(ErrorStatus::Unauthorized));
}

#[test]
fn a_signature_is_ignored_where_nobody_asks_for_one() {
    let world = world(WorldOptions::default());
    let (client, own) = enrolled(&world, "SN1");
    let request = question(&world, SHA256, own.serial(), None);
    let signed = signed(&request, &client, &client.identity);
    assert_eq!(world.gateway.ocsp(&signed).body, world.gateway.ocsp(&request).body, "RFC 9919 §3.1.2");
}

/// What signs the answer to who prefers these, and whether all share it.
fn preferring(
    world: &World,
    serial: &SerialNumber,
    preferred: &[SignatureAlgorithm],
) -> (Option<SignatureAlgorithm>, bool) {
    let cert_id = CertId::new(SHA256, &world.issuer("issuing"), serial).unwrap();
    let request =
        OcspRequest { preferred_signatures: preferred.to_vec(), ..OcspRequest::new(vec![cert_id], None) };
    let der = request.to_der().unwrap();
    let response = answered(world, &der).unwrap();
    assert_eq!(response.responses[0].status, CertStatus::Good);
    let shared = world.gateway.ocsp(&der).caching.is_some();
    assert_eq!(shared, world.gateway.ocsp_is_shared(&request));
    (response.signature_algorithm(), shared)
}

#[test]
fn s4_4_7_a_preferred_algorithm_that_the_key_can_do_signs_the_answer() {
    use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    use SignatureAlgorithm::{Ecdsa, RsaPkcs1, RsaPss};
    let rsa = world(WorldOptions { ca_key: KeyAlgorithm::Rsa2048, ..WorldOptions::default() });
    let serial = enrolled(&rsa, "SN1").1.serial().clone();
    let usual = (Some(RsaPkcs1(Sha256)), true);
    for (preferred, expected) in [
        (&[][..], usual),
        (&[RsaPkcs1(Sha512)], (Some(RsaPkcs1(Sha512)), false)),
        (&[Ecdsa(Sha256), RsaPkcs1(Sha384), RsaPkcs1(Sha256)], (Some(RsaPkcs1(Sha384)), false)),
        (&[RsaPkcs1(Sha256), RsaPkcs1(Sha512)], usual),
        // What it cannot do, and what nobody should.
        (&[Ecdsa(Sha256), RsaPss(Sha512), RsaPkcs1(Sha1)], usual),
        (&[RsaPkcs1(Sha1), RsaPkcs1(Sha512)], (Some(RsaPkcs1(Sha512)), false)),
    ] {
        assert_eq!(preferring(&rsa, &serial, preferred), expected, "{preferred:?}");
    }
    let curve = world(WorldOptions { ca_key: KeyAlgorithm::P256, ..WorldOptions::default() });
    let serial = enrolled(&curve, "SN1").1.serial().clone();
    for preferred in [[RsaPkcs1(Sha256), Ecdsa(Sha384)], [Ecdsa(Sha512), Ecdsa(Sha256)]] {
        assert_eq!(preferring(&curve, &serial, &preferred), (Some(Ecdsa(Sha256)), true));
    }
}

#[test]
fn a_clock_that_jumps_wakes_the_worker_that_renews_the_signers() {
    let world = world(WorldOptions::default());
    let gateway = &world.gateway;
    for jump in [ManualClock::advance, ManualClock::set_back] {
        gateway.run_ocsp();
        // What woke it until now.
        gateway.wait_for_work(Duration::ZERO);
        jump(&world.clock, 8 * DAY);
        let (woken, wakes) = mpsc::channel();
        thread::scope(|threads| {
            threads.spawn(|| {
                gateway.wait_for_work(Duration::from_secs(3_600));
                woken.send(()).unwrap();
            });
            gateway.run_ocsp();
            let outcome = wakes.recv_timeout(Duration::from_secs(60));
            gateway.wake();
            assert!(outcome.is_ok(), "it would have slept on");
        });
    }
}
