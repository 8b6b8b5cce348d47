//! CA rollover (RFC 8894 §4.7, §5.1): announced, asked for by the envelope, cut over to, and the old one kept.

use std::time::Duration;

use certgate::{
    domain::{issuer::GenerationState, status::Status},
    service::{
        GatewaySettings, ServiceError,
        health::CheckResult,
        rollover::{CutOver, NewSuccessor},
        scep::ScepError,
    },
    types::{CertificateId, DigestAlgorithm, KeyAlgorithm},
    wire::{
        crl::Crl,
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        scep::{
            FailInfo, IssuerAndSerialNumber, IssuerAndSubject, MessageType, PkiStatus,
            client::{CaCertificates, next_ca},
        },
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{Answer, Client, DAY, MessageOptions, World},
};

const YEAR: Duration = Duration::from_secs(31_557_600);

fn announce(world: &World, wanted: &NewSuccessor) {
    world.gateway.roll_over(&world.authed(), &"issuing".parse().unwrap(), wanted).unwrap();
}

fn cut_over(world: &World) {
    world.gateway.cut_over(&world.authed(), &"issuing".parse().unwrap(), CutOver::default()).unwrap();
}

fn state(world: &World, issuer: &str) -> GenerationState {
    world.gateway.issuer(&world.authed(), &issuer.parse().unwrap()).unwrap().generation.state
}

fn capabilities(world: &World) -> Vec<String> {
    let text = world.gateway.ca_capabilities(&"device".parse().unwrap()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What GetNextCACert shows a client that knows what GetCACert shows.
fn next(world: &World) -> CaCertificates {
    let answer = world.gateway.next_ca(&"device".parse().unwrap()).unwrap();
    assert_eq!(answer.content_type, "application/x-x509-next-ca-cert");
    next_ca(&answer.body, &CaCertificates::new(world.ca_certificates("device")).unwrap()).unwrap()
}

/// Sends a payload to whoever has `recipient`.
fn ask(world: &World, client: &Client, recipient: &Certificate, kind: MessageType, payload: &[u8]) -> Answer {
    let message = client.message(recipient, &MessageOptions::from(kind), payload);
    client.send(world, "device", &message)
}

/// A new device enrols with the CA whose message certificate is `recipient`.
fn enrol(world: &World, name: &str, recipient: &Certificate) -> (Client, Certificate) {
    let ticket = world.ticket("device", &world.register(name));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let answer = ask(world, &client, recipient, MessageType::PkcsReq, &csr);
    assert_eq!(
        answer.signer, *recipient,
        "the answer is signed by the key that the request was encrypted to"
    );
    let certificate = answer.certificate().clone();
    (client.with_identity(&certificate).in_transaction("second"), certificate)
}

fn ocsp(world: &World, certificate: &Certificate, issuer: &Certificate) -> CertStatus {
    let cert_id = CertId::new(DigestAlgorithm::Sha1, issuer, certificate.serial()).unwrap();
    let body = world.gateway.ocsp(&OcspRequest::new(vec![cert_id], None).to_der().unwrap()).body;
    let OcspResponse::Successful(response) = OcspResponse::from_der(&body).unwrap() else {
        panic!("{body:02x?}")
    };
    response.verify(issuer).unwrap();
    response.responses[0].status
}

/// Whether the published CRL of the CA that issued it lists a certificate.
fn is_listed(world: &World, certificate: &Certificate, issuer: &Certificate) -> bool {
    let id = world.record(certificate).id.issuer;
    assert_eq!(certificate.crl_urls(), [format!("http://pki.test.example/crl/{id}.crl")]);
    assert_eq!(certificate.ca_issuers_urls(), [format!("http://pki.test.example/ca/{id}.cer")]);
    world.gateway.publish_crl(&world.authed(), &id).unwrap();
    let crl = Crl::from_der(&world.gateway.crl(&id).unwrap().der).unwrap();
    crl.verify(issuer).unwrap();
    crl.entries().iter().any(|entry| entry.serial == *certificate.serial())
}

fn worlds() -> [World; 2] {
    [KeyAlgorithm::P256, KeyAlgorithm::Rsa2048].map(|ca_key| {
        World::with(crate::common::WorldOptions { ca_key, ..Default::default() }, &[("device", DEVICE)])
    })
}

#[test]
fn s3_5_2_a_get_next_ca_cert_is_a_capability_only_while_there_is_a_successor() {
    let world = World::new(&[("device", DEVICE)]);
    let offered = |world: &World| capabilities(world).contains(&"GetNextCACert".to_owned());
    let refused = |world: &World| world.gateway.next_ca(&"device".parse().unwrap()).unwrap_err();
    assert!(!offered(&world));
    assert_eq!(refused(&world), ScepError::NoSuccessor);
    announce(&world, &NewSuccessor::default());
    assert!(offered(&world));
    cut_over(&world);
    assert!(!offered(&world));
    assert_eq!(refused(&world), ScepError::NoSuccessor);
}

#[test]
fn s4_7_1_a_the_next_ca_is_vouched_for_by_the_current_ca_and_by_its_message_key() {
    for world in worlds() {
        let before = world.ca_certificates("device");
        announce(&world, &NewSuccessor::default());
        // What GetCACert shows is as before.
        assert_eq!(world.ca_certificates("device"), before);
        let body = world.gateway.next_ca(&"device".parse().unwrap()).unwrap().body;
        // Clients that know the CA alone (RFC 8894 §4.7.1), and those that look at the RA (jscep 2.5).
        let present = CaCertificates::new(before.clone()).unwrap();
        for signer in [&before[0], &before[1]] {
            let trusted = CaCertificates { all: vec![signer.clone()], ..present.clone() };
            assert_eq!(next_ca(&body, &trusted).unwrap().all, next(&world).all);
        }
        let root = CaCertificates { all: vec![before[2].clone()], ..present };
        assert!(next_ca(&body, &root).is_err(), "the root did not sign it");
        // The successor: another key under the same name and the same root.
        let [message, ca, root] = next(&world).all.try_into().unwrap();
        assert_eq!((&root, ca.subject()), (&before[2], before[1].subject()));
        assert_ne!(ca.public_key(), before[1].public_key());
        ca.is_signed_by(&root).unwrap();
        message.is_signed_by(&ca).unwrap();
        cut_over(&world);
        assert_eq!(world.ca_certificates("device"), [message, ca, root]);
    }
}

#[test]
fn s5_1_a_the_envelope_determines_which_generation_issues() {
    let windowed = format!("{DEVICE}\nrenewal-window-days = 30");
    let world = World::new(&[("device", &windowed)]);
    announce(&world, &NewSuccessor::default());
    let (old, new) = (world.issuer("issuing"), world.issuer("issuing-2"));
    let (message, next_message) = (world.message_certificate("device"), next(&world).recipient);
    let (client, current) = enrol(&world, "SN1", &message);
    let (_, shadow) = enrol(&world, "SN2", &next_message);
    current.is_signed_by(&old).unwrap();
    shadow.is_signed_by(&new).unwrap();
    // A device in service gets its shadow certificate long before its renewal window, and keeps what it has.
    let csr = client.csr(&current.subject().to_string(), None);
    let early = ask(&world, &client, &message, MessageType::RenewalReq, &csr);
    assert_eq!(early.failure(), FailInfo::BadRequest);
    let answer = ask(&world, &client, &next_message, MessageType::RenewalReq, &csr);
    let renewed = answer.certificate();
    renewed.is_signed_by(&new).unwrap();
    assert_eq!(world.record(renewed).supersedes, Some(world.record(&current).id));
    world.clock.advance(DAY * 60);
    world.gateway.run_due().unwrap();
    assert_eq!(
        ocsp(&world, &current, &old),
        CertStatus::Good,
        "the shadow takes no place before the cut-over"
    );
    assert_eq!(ocsp(&world, renewed, &new), CertStatus::Good);
    for (certificate, issuer) in [(&current, &old), (&shadow, &new)] {
        assert!(!is_listed(&world, certificate, issuer));
    }
}

#[test]
fn s5_2_a_the_same_request_to_another_generation_is_another_request() {
    let world = World::new(&[("device", DEVICE)]);
    announce(&world, &NewSuccessor::default());
    let (client, current) = enrol(&world, "SN1", &world.message_certificate("device"));
    let csr = client.csr(&current.subject().to_string(), None);
    let to_next = client.message(&next(&world).recipient, &MessageType::RenewalReq.into(), &csr);
    let shadow = client.send(&world, "device", &to_next).certificate().clone();
    // A lost answer: the same bytes lead to the same certificate, before the cut-over and after it.
    assert_eq!(*client.send(&world, "device", &to_next).certificate(), shadow);
    cut_over(&world);
    assert_eq!(*client.send(&world, "device", &to_next).certificate(), shadow);
    assert_eq!(world.leaves(), 2);
}

#[test]
fn a_repeated_request_gets_the_certificate_of_before_the_cut_over() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let message = client.message(&world.message_certificate("device"), &MessageType::PkcsReq.into(), &csr);
    let first = client.send(&world, "device", &message).certificate().clone();
    announce(&world, &NewSuccessor::default());
    cut_over(&world);
    assert_eq!(*client.send(&world, "device", &message).certificate(), first);
}

#[test]
fn after_the_cut_over_old_envelopes_open_and_old_certificates_are_renewed_by_the_new_ca() {
    let world = World::new(&[("device", DEVICE)]);
    let old_message = world.message_certificate("device");
    let (client, old_certificate) = enrol(&world, "SN1", &old_message);
    announce(&world, &NewSuccessor::default());
    cut_over(&world);
    assert_eq!(
        (state(&world, "issuing"), state(&world, "issuing-2")),
        (GenerationState::Retired, GenerationState::Current)
    );
    let (old, new) = (world.issuer("issuing"), world.issuer("issuing-2"));
    // Who asked GetCACert before the cut-over.
    let (_, late) = enrol(&world, "SN2", &old_message);
    late.is_signed_by(&new).unwrap();
    // At once: nobody waits for the window of a CA that is on its way out.
    let csr = client.csr(&old_certificate.subject().to_string(), None);
    let renewed = client.renew(&world, "device", &csr);
    renewed.certificate().is_signed_by(&new).unwrap();
    assert_eq!(world.bindings(renewed.certificate())[0].object, world.bindings(&old_certificate)[0].object);
    // GetCert and GetCRL by the name that both CAs have.
    for (certificate, issuer) in [(&old_certificate, &old), (&late, &new)] {
        let (name, serial) = (issuer.subject().clone(), certificate.serial().clone());
        let asked = IssuerAndSerialNumber { issuer: name, serial }.to_der().unwrap();
        assert_eq!(client.ask(&world, "device", MessageType::GetCert, &asked).certificate(), certificate);
        world.gateway.run_due().unwrap();
        client.ask(&world, "device", MessageType::GetCrl, &asked).crls[0].verify(issuer).unwrap();
    }
    // The old message key is not renewed, and is gone with its certificate.
    world.clock.advance(YEAR + DAY);
    world.gateway.run_due().unwrap();
    let csr = client.csr("CN=x", None);
    let gone = ask(&world, &client, &old_message, MessageType::PkcsReq, &csr);
    assert_eq!(
        (gone.failure(), gone.fail_info_text.as_deref()),
        (FailInfo::BadRequest, Some("the request could not be read"))
    );
}

#[test]
fn both_generations_are_answered_for_until_the_old_one_expires() {
    let mut world = World::new(&[("device", DEVICE)]);
    let (_, of_old) = enrol(&world, "SN1", &world.message_certificate("device"));
    world.clock.advance(YEAR * 4);
    world.gateway.run_due().unwrap();
    let (_, of_old_too) = enrol(&world, "SN2", &world.message_certificate("device"));
    announce(&world, &NewSuccessor::default());
    world = world.restarted(GatewaySettings::default());
    let (_, shadow) = enrol(&world, "SN3", &next(&world).recipient);
    cut_over(&world);
    world = world.restarted(GatewaySettings::default());
    let (_, of_new) = enrol(&world, "SN4", &world.message_certificate("device"));
    let (old, new) = (world.issuer("issuing"), world.issuer("issuing-2"));
    world.revoke(&of_old_too);
    world.revoke(&shadow);
    world = world.restarted(GatewaySettings::default());
    for (certificate, issuer, revoked) in
        [(&of_old_too, &old, true), (&shadow, &new, true), (&of_new, &new, false)]
    {
        assert_eq!(matches!(ocsp(&world, certificate, issuer), CertStatus::Revoked { .. }), revoked);
        assert_eq!(is_listed(&world, certificate, issuer), revoked);
    }
    assert!(of_old.validity().not_after < world.now());
    // The old one expires; the gateway is healthy all the same, and the new one goes on.
    world.clock.advance(YEAR + DAY * 2);
    world.gateway.run_due().unwrap();
    world = world.restarted(GatewaySettings::default());
    world.gateway.run_due().unwrap();
    let health = world.gateway.health();
    assert!(health.ready, "{health:?}");
    enrol(&world, "SN5", &world.message_certificate("device"));
}

#[test]
fn it_cuts_over_by_itself_when_its_time_comes() {
    let world = World::new(&[("device", DEVICE)]);
    let at = world.now().plus(DAY * 30);
    announce(&world, &NewSuccessor { cutover_at: Some(at), ..NewSuccessor::default() });
    world.clock.advance(DAY * 29);
    world.gateway.run_due().unwrap();
    assert_eq!(state(&world, "issuing-2"), GenerationState::Announced);
    // Another time is asked for: the old one's timer does nothing.
    let later = CutOver { at: Some(world.now().plus(DAY * 10)) };
    world.gateway.cut_over(&world.authed(), &"issuing".parse().unwrap(), later).unwrap();
    world.clock.advance(DAY * 2);
    world.gateway.run_due().unwrap();
    assert_eq!(state(&world, "issuing-2"), GenerationState::Announced);
    world.clock.advance(DAY * 8);
    world.gateway.run_due().unwrap();
    assert_eq!(state(&world, "issuing-2"), GenerationState::Current);
    assert_eq!(world.ca_certificates("device")[1], world.issuer("issuing-2"));
}

#[test]
fn a_ca_that_expires_is_followed_by_the_announced_one() {
    let world = World::new(&[("device", DEVICE)]);
    world.clock.advance(YEAR * 4);
    world.gateway.run_due().unwrap();
    announce(&world, &NewSuccessor::default());
    world.clock.advance(YEAR + DAY);
    world.gateway.run_due().unwrap();
    assert_eq!(state(&world, "issuing-2"), GenerationState::Current);
    enrol(&world, "SN1", &world.message_certificate("device"));
}

#[test]
fn a_rollover_is_taken_back_only_while_it_has_issued_nothing() {
    let world = World::new(&[("device", DEVICE)]);
    let line = "issuing".parse().unwrap();
    let cancel = |world: &World| world.gateway.cancel_rollover(&world.authed(), &line);
    assert!(matches!(cancel(&world), Err(ServiceError::Refused(_))));
    announce(&world, &NewSuccessor::default());
    let first = next(&world);
    let withdrawn = cancel(&world).unwrap();
    assert_eq!((withdrawn.generation.state, withdrawn.status), (GenerationState::Withdrawn, Status::Revoked));
    let root = world.issuer("root");
    assert!(matches!(ocsp(&world, &first.issuer, &root), CertStatus::Revoked { .. }));
    assert!(world.gateway.next_ca(&"device".parse().unwrap()).is_err());
    // Nobody gets anything by its key any more.
    let client = Client::new();
    let refused = ask(&world, &client, &first.recipient, MessageType::PkcsReq, &client.csr("CN=x", None));
    assert_eq!(refused.fail_info_text.as_deref(), Some("the request could not be read"));
    world.gateway.run_due().unwrap();
    assert!(world.gateway.health().ready, "{:?}", world.gateway.health());
    // The next one has a number of its own, and stays once somebody relies on it.
    announce(&world, &NewSuccessor { key: Some(KeyAlgorithm::P384), ..NewSuccessor::default() });
    assert_eq!(state(&world, "issuing-3"), GenerationState::Announced);
    enrol(&world, "SN1", &next(&world).recipient);
    let refused = cancel(&world).unwrap_err();
    assert!(refused.to_string().contains("issuing-3 has issued 1 certificates"), "{refused}");
    let twice = world.gateway.roll_over(&world.authed(), &line, &NewSuccessor::default());
    assert!(matches!(twice, Err(ServiceError::Refused(_))));
    let root = world.gateway.roll_over(&world.authed(), &"root".parse().unwrap(), &NewSuccessor::default());
    assert!(root.unwrap_err().to_string().contains("is a root"));
}

#[test]
fn s3_3_3_a_a_request_to_the_announced_ca_that_waits_is_issued_by_it() {
    let manual = "subject = \"CN=$DEVICE_ID$,O=Test\"\nchallenge = []\napproval = \"manual\"\nallow-unregistered = true\n";
    let world = World::new(&[("device", manual)]);
    announce(&world, &NewSuccessor::default());
    world.register("SN1");
    let (client, recipient) = (Client::new(), next(&world).recipient);
    let answer = ask(&world, &client, &recipient, MessageType::PkcsReq, &client.csr("CN=SN1", None));
    assert_eq!(answer.status, PkiStatus::Pending);
    let waiting = world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items.remove(0);
    world.gateway.approve_enrolment(&world.authed(), &waiting.id, "").unwrap();
    let issuer = world.issuer("issuing-2");
    let poll = IssuerAndSubject { issuer: issuer.subject().clone(), subject: "CN=SN1".parse().unwrap() };
    let polled = ask(&world, &client, &recipient, MessageType::CertPoll, &poll.to_der().unwrap());
    polled.certificate().is_signed_by(&issuer).unwrap();
}

#[test]
fn a_ca_that_ends_before_its_certificates_would_is_pointed_out() {
    let world = World::new(&[("device", DEVICE)]);
    let check = |world: &World, name: &str| {
        let health = world.gateway.health();
        health.checks.into_iter().find(|check| check.name == format!("issuer/{name}")).unwrap()
    };
    assert_eq!(check(&world, "issuing").result, CheckResult::Pass);
    world.clock.advance(YEAR * 4 + DAY);
    let warned = check(&world, "issuing");
    assert_eq!(
        (warned.result, warned.hint.as_str()),
        (CheckResult::Warn, "certgate issuer rollover issuing")
    );
    announce(&world, &NewSuccessor::default());
    assert_eq!(check(&world, "issuing").hint, "certgate issuer cutover issuing");
    cut_over(&world);
    for name in ["issuing", "issuing-2"] {
        assert_eq!(check(&world, name).result, CheckResult::Pass, "{name}");
    }
    let unexpired =
        |name: &str| world.gateway.issuer(&world.authed(), &name.parse().unwrap()).unwrap().unexpired;
    enrol(&world, "SN1", &world.message_certificate("device"));
    assert_eq!((unexpired("issuing"), unexpired("issuing-2")), (Some(0), Some(1)));
}

#[test]
fn no_successor_is_advised_that_would_end_with_the_root() {
    let world = World::new(&[("device", DEVICE)]);
    announce(&world, &NewSuccessor { years: Some(10), ..NewSuccessor::default() });
    cut_over(&world);
    world.clock.advance(YEAR * 9 + DAY);
    let health = world.gateway.health();
    let hint = |name: &str| health.checks.iter().find(|check| check.name == name).unwrap().hint.as_str();
    assert!(hint("issuer/issuing-2").contains("a new gateway"), "{}", hint("issuer/issuing-2"));
}

#[test]
fn every_step_is_on_record() {
    let world = World::new(&[("device", DEVICE)]);
    announce(&world, &NewSuccessor::default());
    cut_over(&world);
    let own =
        CertificateId { issuer: "root".parse().unwrap(), serial: world.issuer("issuing-2").serial().clone() };
    let actions: Vec<_> = world
        .gateway
        .audit_tail(&world.authed(), 100)
        .unwrap()
        .items
        .into_iter()
        .filter(|event| event.object == "issuing-2" || event.object == own.to_string())
        .map(|event| event.action)
        .collect();
    assert_eq!(actions, ["certificate.issued", "issuer.created", "issuer.announced", "issuer.cut-over"]);
}
