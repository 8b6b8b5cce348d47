//! RFC 8894 section 4: one test or more for each transaction, and §5.2, repeated requests.

use std::time::Duration;

use certgate::{
    domain::{
        binding::{Assurance, BoundObject, Evidence},
        certificate::CertificateRecord,
        device::Lifecycle,
        enrol::EnrolmentState,
    },
    service::{GatewaySettings, scep::ScepError},
    types::{CertificateId, Fingerprint},
    wire::{
        scep::{FailInfo, IssuerAndSerialNumber, IssuerAndSubject, MessageType, PkiStatus},
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{self, Client, DAY, MessageOptions, World},
};

fn issuer_and_serial(certificate: &Certificate) -> Vec<u8> {
    let asked =
        IssuerAndSerialNumber { issuer: certificate.issuer().clone(), serial: certificate.serial().clone() };
    asked.to_der().unwrap()
}

#[test]
fn s4_3_enrolment_records_certificate_binding_device_and_fact() {
    let world = World::new(&[("device", DEVICE)]);
    let device = world.register("SN1");
    let ticket = world.ticket("device", &device);
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=whatever", Some(&ticket)));
    let certificate = answer.certificate();
    assert_eq!(certificate.public_key(), client.public_key());

    let record = world.record(certificate);
    assert_eq!(record.der, certificate.as_der());
    assert_eq!(record.profile, Some(("device".parse().unwrap(), 1)));
    let [binding] = world.bindings(certificate).try_into().unwrap();
    assert_eq!(binding.object, BoundObject::Device { id: device.clone(), generation: 1 });
    assert_eq!(binding.assurance, Assurance::High);
    assert!(matches!(binding.evidence, Evidence::Ticket { .. }));
    let enrolled = world.read(|view| view.device(&device)).unwrap();
    assert_eq!(enrolled.lifecycle, Lifecycle::Active);
    assert_eq!(enrolled.enrolled_at, Some(world.now()));
    let enrolment = world.enrolment_of(certificate);
    assert_eq!(enrolment.state, EnrolmentState::Issued { certificate: record.id.clone() });
    assert!(enrolment.trace.iter().all(|step| step.passed) && !enrolment.trace.is_empty());
    let fact = world.read(|view| view.last_audit_event()).unwrap().fact;
    assert_eq!((fact.action.as_str(), fact.object), ("certificate.issued", record.id.to_string()));
}

#[test]
fn s4_4_a_poll_of_an_unknown_transaction_is_bad_cert_id() {
    let world = World::new(&[("device", DEVICE)]);
    let client = Client::new();
    let payload = IssuerAndSubject {
        issuer: world.issuer("issuing").subject().clone(),
        subject: "CN=x".parse().unwrap(),
    };
    let answer = client.ask(&world, "device", MessageType::CertPoll, &payload.to_der().unwrap());
    assert_eq!(answer.failure(), FailInfo::BadCertId);
    assert_eq!((answer.rep.operation, answer.rep.result), ("cert-poll", "bad-cert-id"));
}

#[test]
fn s3_3_4_a_get_cert_finds_by_issuer_and_serial() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let issued = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();

    let other = Client::new();
    let found = other.ask(&world, "device", MessageType::GetCert, &issuer_and_serial(&issued));
    assert_eq!(found.certificates, [issued]);
}

#[test]
fn s3_3_4_a_get_cert_without_match_is_bad_cert_id() {
    let world = World::new(&[("device", DEVICE)]);
    let client = Client::new();
    let ours_by_name = IssuerAndSerialNumber {
        issuer: world.issuer("issuing").subject().clone(),
        serial: client.identity.serial().clone(),
    };
    let message_certificate = world.message_certificate("device");
    for payload in [
        issuer_and_serial(&client.identity),
        ours_by_name.to_der().unwrap(),
        issuer_and_serial(&message_certificate),
    ] {
        let answer = client.ask(&world, "device", MessageType::GetCert, &payload);
        assert_eq!(answer.failure(), FailInfo::BadCertId);
    }
}

#[test]
fn s4_6_a_get_crl_gives_the_newest_crl_alone() {
    let world = World::new(&[("device", DEVICE)]);
    world.gateway.run_due().unwrap();
    let client = Client::new();
    for issuer in ["issuing", "root"] {
        // Any certificate of the issuer names it.
        let named =
            if issuer == "root" { world.issuer("issuing") } else { world.message_certificate("device") };
        let answer = client.ask(&world, "device", MessageType::GetCrl, &issuer_and_serial(&named));
        assert_eq!(answer.status, PkiStatus::Success);
        assert!(answer.certificates.is_empty());
        let [crl] = answer.crls.as_slice() else { panic!("{} CRLs", answer.crls.len()) };
        crl.verify(&world.issuer(issuer)).unwrap();
        assert_eq!(crl.number(), Some(1));
    }
}

/// FAILURE would be final for most clients, and the first CRL is a moment away.
#[test]
fn s4_6_a_get_crl_before_the_first_crl_is_unavailable() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, recipient) = (Client::new(), world.message_certificate("device"));
    let payload = issuer_and_serial(&recipient);
    let options = MessageOptions { kind: MessageType::GetCrl, ..MessageOptions::default() };
    let message = client.sign_message(&options, common::envelope(&payload, &recipient, &options));
    assert_eq!(world.pki_operation("device", &message).unwrap_err(), ScepError::Unavailable);
    world.gateway.run_due().unwrap();
    world.pki_operation("device", &message).unwrap();
}

/// Anybody may ask for it, as often as he likes, and each answer is a copy of its own.
#[test]
fn s4_6_a_crl_that_is_longer_than_a_message_is_left_to_http() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let first = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let (model, revoked) = (world.record(&first), common::cause(world.now()));
    world.write(|tx| {
        for number in 0..7_000_u32 {
            let serial = format!("4{number:031x}").parse().unwrap();
            let id = CertificateId { issuer: model.id.issuer.clone(), serial };
            let fingerprint = Fingerprint::of(&number.to_be_bytes());
            tx.insert_certificate(&CertificateRecord { id: id.clone(), fingerprint, ..model.clone() })?;
            tx.put_cause(&id, &revoked)?;
        }
        Ok(())
    });
    let world = world.restarted(GatewaySettings::default());
    world.gateway.publish_crl(&world.authed(), &model.id.issuer).unwrap();
    assert!(world.gateway.crl(&model.id.issuer).unwrap().der.len() > 256 * 1024);
    let answer = client.ask(&world, "device", MessageType::GetCrl, &issuer_and_serial(&first));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    assert!(answer.fail_info_text.unwrap().contains("too long for SCEP"));
}

#[test]
fn s3_3_4_a_get_crl_of_another_issuer_is_bad_cert_id() {
    let world = World::new(&[("device", DEVICE)]);
    world.gateway.run_due().unwrap();
    let client = Client::new();
    let payload = issuer_and_serial(&client.identity);
    let answer = client.ask(&world, "device", MessageType::GetCrl, &payload);
    assert_eq!(answer.failure(), FailInfo::BadCertId);
}

#[test]
fn s5_2_a_repeated_request_gets_the_same_certificate_though_the_ticket_is_used_up() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let first = client.enrol(&world, "device", &csr);
    world.clock.advance(Duration::from_secs(3600));
    let second = client.enrol(&world, "device", &csr);
    assert_eq!(first.certificate(), second.certificate());
    assert_eq!(world.leaves(), 1);
}

#[test]
fn s5_2_repeated_request_after_a_restart_gets_the_same_certificate() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let first = client.enrol(&world, "device", &csr);
    let world = world.restarted(GatewaySettings::default());
    assert_eq!(first.certificate(), client.enrol(&world, "device", &csr).certificate());
}

#[test]
fn s5_2_after_the_window_a_repeated_request_is_a_new_one() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    client.enrol(&world, "device", &csr).certificate();
    world.clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(client.enrol(&world, "device", &csr).failure(), FailInfo::BadRequest);
}

#[test]
fn s5_2_a_revoked_certificate_is_not_handed_out_again() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    world.revoke(client.enrol(&world, "device", &csr).certificate());
    assert_eq!(client.enrol(&world, "device", &csr).failure(), FailInfo::BadRequest);
}

#[test]
fn s5_2_same_transaction_of_another_key_is_another_request() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate();
    let thief = Client::new().in_transaction(client.transaction.as_str());
    let answer = thief.enrol(&world, "device", &client.csr("CN=x", Some(&ticket)));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
}
