//! What certgate makes for itself: the CAs, its own certificates, their renewal with overlap (RFC 8894 §2.1.2).

use std::{collections::BTreeMap, time::Duration};

use certgate::{
    domain::certificate::Purpose,
    service::{ServiceError, bootstrap, health::CheckResult},
    types::KeyAlgorithm,
    wire::{
        scep::PkiStatus,
        x509::{Certificate, GeneralName, KeyKind, KeyUsage},
    },
};

use crate::{
    DEVICE,
    common::{Client, DAY, MessageOptions, World, WorldOptions, plan_of},
};

fn system_certificates(world: &World, purpose: Purpose, issuer: &str) -> Vec<Certificate> {
    world.read(|view| {
        let all = view.system_certificates(purpose, &issuer.parse().unwrap())?;
        all.iter()
            .map(|system| {
                Ok(Certificate::from_der(&view.certificate(&system.certificate)?.unwrap().der).unwrap())
            })
            .collect()
    })
}

#[test]
fn root_and_issuing_ca_are_what_rfc_5280_asks() {
    let world = World::new(&[("device", DEVICE)]);
    let (root, issuing) = (world.issuer("root"), world.issuer("issuing"));
    root.is_signed_by(&root).unwrap();
    issuing.is_signed_by(&root).unwrap();
    assert_eq!(root.ca_constraint().unwrap().path_len, None);
    assert_eq!(issuing.ca_constraint().unwrap().path_len, Some(0));
    for ca in [&root, &issuing] {
        assert!(ca.extended_key_usage().is_empty());
    }
    let signs_for_cas = KeyUsage::KEY_CERT_SIGN.union(KeyUsage::CRL_SIGN);
    assert_eq!(root.key_usage(), Some(signs_for_cas));
    // It signs the announcement of its successor (RFC 8894 §4.7.1).
    assert_eq!(issuing.key_usage(), Some(signs_for_cas.union(KeyUsage::DIGITAL_SIGNATURE)));
    assert_eq!(issuing.crl_urls(), ["http://pki.test.example/crl/root.crl"]);
    assert!(root.crl_urls().is_empty() && root.ocsp_urls().is_empty());
    assert!(root.validity().not_after > issuing.validity().not_after);
    // Both are in the store, so that OCSP knows their serials.
    assert_eq!(world.record(&root).id.issuer.as_str(), "root");
    assert_eq!(world.record(&issuing).id.issuer.as_str(), "root");
}

#[test]
fn a_public_url_that_certificates_do_not_say_is_pointed_out() {
    for (configured, told) in [("http://pki.test.example", false), ("http://new.example", true)] {
        let mut options = WorldOptions::default();
        options.settings.public_url = Some(configured.to_owned());
        let health = World::with(options, &[("device", DEVICE)]).gateway.health();
        let found = health.checks.iter().find(|check| check.name == "public-url");
        assert_eq!(found.map(|check| check.result), told.then_some(CheckResult::Warn));
    }
}

#[test]
fn ocsp_signers_follow_their_issuers_key_and_need_no_check() {
    for (key, expected) in
        [(KeyAlgorithm::P256, KeyKind::P256), (KeyAlgorithm::Rsa2048, KeyKind::Rsa { bits: 2048 })]
    {
        let world = World::with(WorldOptions { ca_key: key, ..Default::default() }, &[("device", DEVICE)]);
        for issuer in ["root", "issuing"] {
            let [signer] = system_certificates(&world, Purpose::OcspSigner, issuer).try_into().unwrap();
            signer.is_signed_by(&world.issuer(issuer)).unwrap();
            assert_eq!(signer.public_key().kind(), expected);
            assert!(signer.has_ocsp_no_check());
            assert!(signer.ocsp_urls().is_empty() && signer.crl_urls().is_empty());
            let eku: Vec<_> = signer.extended_key_usage().iter().map(ToString::to_string).collect();
            assert_eq!(eku, ["1.3.6.1.5.5.7.3.9"]);
        }
    }
}

#[test]
fn server_certificate_has_the_configured_names() {
    let world = World::new(&[("device", DEVICE)]);
    let (chain, signer) = world.gateway.server_tls().unwrap();
    let leaf = Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(leaf.public_key(), signer.public_key());
    let names = [GeneralName::Dns("localhost".to_owned()), GeneralName::Ip("127.0.0.1".parse().unwrap())];
    assert_eq!(leaf.subject_alt_names(), names);
    assert_eq!(chain[1..], [world.issuer("issuing").as_der().to_vec()]);

    // Other names in the configuration: renewed at the next opportunity.
    let mut settings = WorldOptions::default().settings;
    settings.server_names = vec!["pki.test.example".to_owned()];
    let world = world.restarted(settings);
    world.gateway.run_due().unwrap();
    let leaf = Certificate::from_der(&world.gateway.server_tls().unwrap().0[0]).unwrap();
    assert_eq!(leaf.subject_alt_names(), [GeneralName::Dns("pki.test.example".to_owned())]);
}

#[test]
fn initialising_twice_is_a_conflict() {
    let world = World::new(&[("device", DEVICE)]);
    let again = bootstrap::initialise(&world.ports, &plan_of(&WorldOptions::default()));
    assert!(matches!(again, Err(ServiceError::Conflict(_))), "{again:?}");
    assert_eq!(world.read(|view| view.issuers()).len(), 2);
}

#[test]
fn every_object_of_the_initialisation_is_on_record() {
    let world = World::new(&[("device", DEVICE)]);
    let mut counts = BTreeMap::new();
    for event in world.read(|view| view.audit_events(0, 100)) {
        *counts.entry(event.fact.action).or_insert(0) += 1;
    }
    let expected =
        [("certificate.issued", 6), ("issuer.created", 2), ("profile.recorded", 1), ("token.created", 1)];
    assert_eq!(counts, expected.map(|(action, count)| (action.to_owned(), count)).into());
    assert_eq!(world.read(|view| view.jobs(10)).len(), 2, "a first CRL for each issuer");
    let token = String::from_utf8(world.made.owner_token.expose().to_vec()).unwrap();
    assert!(token.starts_with("cg_") && token.len() == 46);
}

#[test]
fn renewed_message_key_leaves_the_old_one_in_use_until_it_expires() {
    let world = World::new(&[("device", DEVICE)]);
    let old = world.message_certificate("device");
    // A third of its life is left.
    world.clock.advance(DAY * 250);
    world.gateway.run_due().unwrap();
    let new = world.message_certificate("device");
    assert_ne!(old, new);
    assert_ne!(old.public_key(), new.public_key());

    for (device, message_certificate) in [("SN1", &old), ("SN2", &new)] {
        let ticket = world.ticket("device", &world.register(device));
        let client = Client::new();
        let csr = client.csr("CN=x", Some(&ticket));
        let message = client.message(message_certificate, &MessageOptions::default(), &csr);
        let answer = client.send(&world, "device", &message);
        assert_eq!(answer.status, PkiStatus::Success);
        // Apple compares the signer of the answer with the certificate that it encrypted to.
        assert_eq!(answer.signer, *message_certificate);
    }

    world.clock.advance(DAY * 120);
    world.gateway.run_due().unwrap();
    assert!(!system_certificates(&world, Purpose::ScepMessage, "issuing").contains(&old));
    assert!(system_certificates(&world, Purpose::ScepMessage, "issuing").contains(&new));
}

#[test]
fn ocsp_signers_are_renewed_and_the_expired_removed() {
    let world = World::new(&[("device", DEVICE)]);
    let [first] = system_certificates(&world, Purpose::OcspSigner, "root").try_into().unwrap();
    world.clock.advance(DAY * 5);
    world.gateway.run_due().unwrap();
    let two = system_certificates(&world, Purpose::OcspSigner, "root");
    assert_eq!((two.len(), two.last()), (2, Some(&first)), "newest first");
    world.clock.advance(DAY * 3);
    world.gateway.run_due().unwrap();
    assert!(!system_certificates(&world, Purpose::OcspSigner, "root").contains(&first));
    // Switched off for a year: everything has expired, and all of it comes back.
    world.clock.advance(DAY * 400);
    world.gateway.run_due().unwrap();
    for issuer in ["root", "issuing"] {
        let [only] = system_certificates(&world, Purpose::OcspSigner, issuer).try_into().unwrap();
        assert!(only.validity().contains(world.now()));
    }
    assert!(world.message_certificate("device").validity().contains(world.now()));
}

#[test]
fn nothing_is_renewed_that_would_not_outlive_what_there_is() {
    let world = World::new(&[("device", DEVICE)]);
    let made = || {
        let of = |purpose| system_certificates(&world, purpose, "issuing").remove(0).fingerprint();
        [Purpose::ScepMessage, Purpose::OcspSigner, Purpose::ServerTls].map(of)
    };
    let end = world.issuer("issuing").validity().not_after;
    world.clock.advance(end.minus(Duration::from_secs(600)).since(world.now()));
    world.gateway.run_due().unwrap();
    let last = made();
    for wait in [60, 120, 1200] {
        world.clock.advance(Duration::from_secs(wait));
        world.gateway.run_due().unwrap();
        assert_eq!(made(), last, "at {} of an issuer that ends at {end}", world.now());
    }
}

#[test]
fn an_issuer_that_expired_keeps_nobody_busy() {
    let world = World::new(&[("device", DEVICE)]);
    world.gateway.run_due().unwrap();
    let end = world.issuer("issuing").validity().not_after;
    world.clock.advance(end.since(world.now()) + Duration::from_secs(1800));
    let before = system_certificates(&world, Purpose::ScepMessage, "issuing").len();
    // The root is renewed what it needs; then there is nothing left to do.
    world.gateway.run_due().unwrap();
    assert_eq!(world.gateway.run_due().unwrap(), Duration::from_secs(60));
    assert_eq!(system_certificates(&world, Purpose::ScepMessage, "issuing").len(), before);
}

#[test]
fn plans_that_make_no_sense_are_refused_by_field() {
    let ports = World::new(&[("device", DEVICE)]).ports;
    let store = certgate::adapters::store::RedbStore::in_memory().unwrap();
    let ports = certgate::service::Ports { store: std::sync::Arc::new(store), ..ports };
    let field = |change: fn(&mut bootstrap::Plan)| {
        let mut plan = plan_of(&WorldOptions::default());
        change(&mut plan);
        match bootstrap::initialise(&ports, &plan) {
            Err(ServiceError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(|plan| plan.root_years = 31), "root-years");
    assert_eq!(field(|plan| plan.issuing_years = 11), "issuing-years");
    assert_eq!(field(|plan| plan.public_url = "https://pki.example".to_owned()), "public-url");
    assert_eq!(field(|plan| plan.public_url = "http://".to_owned()), "public-url");
    assert_eq!(field(|plan| plan.root_name = "O=Lab".to_owned()), "root-name");
    assert_eq!(field(|plan| plan.issuing_name = plan.root_name.to_lowercase()), "issuing-name");
    assert_eq!(field(|plan| plan.crl.general.lifetime = 1), "crl");
    let empty = ports.store.read(|view| view.issuers()).map(|issuers: Vec<_>| issuers.is_empty());
    assert_eq!(empty, Ok::<_, certgate::ports::StoreError>(true), "nothing was written");
}

#[test]
fn changed_profile_becomes_a_new_version_and_old_certificates_keep_theirs() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let old = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let world = world.reconfigured(&[("device", r#"subject = "CN=$DEVICE_ID$,OU=New""#)]);
    let ticket = world.ticket("device", &world.register("SN2"));
    let client = Client::new();
    let new = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    assert_eq!(new.subject().to_string(), "CN=SN2,OU=New");
    let version = |certificate| world.record(certificate).profile.unwrap().1;
    assert_eq!((version(&old), version(&new)), (1, 2));
    // The same configuration again changes nothing.
    let world = world.restarted(WorldOptions::default().settings);
    assert_eq!(world.read(|view| view.profile(&"device".parse().unwrap())).unwrap().version, 2);
}
