//! Renewal with certificates of another CA (RFC 8894 §2.3): what moves a fleet here, and what it must not open.

use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use certgate::{
    domain::{
        alternate::AlternateIssuers,
        binding::{Assurance, Evidence},
        device::{DeviceEvent, LifecyclePolicy},
        status::Effect,
    },
    ports::{CrlSource, CrlUnreadable, Signer, store::Page},
    service::{
        GatewaySettings,
        exchange::ExchangeFilter,
        health::CheckResult,
        import::{ImportBatch, ImportLine, NewImport},
        scep::ScepError,
    },
    types::{DigestAlgorithm, KeyAlgorithm, RevocationReason, SerialNumber, Timestamp, Validity},
    wire::{
        crl::{Crl, CrlEntry, CrlSpec},
        scep::{FailInfo, MessageType, PkiStatus},
        x509::{CaConstraint, Certificate, CertificateSpec, GeneralName, KeyUsage},
    },
};
use const_oid::db::rfc5280;

use crate::{
    DEVICE,
    common::{self, Client, DAY, World, WorldOptions},
    race,
};

const BOTH: [MessageType; 2] = [MessageType::RenewalReq, MessageType::PkcsReq];

/// The CA that the fleet comes from.
struct OldCa {
    signer: Arc<dyn Signer>,
    certificate: Certificate,
}

fn start() -> Timestamp {
    common::START.parse().unwrap()
}

impl OldCa {
    fn new(name: &str) -> Self {
        let signer = common::signer(KeyAlgorithm::P256);
        let validity = Validity { not_before: start().minus(DAY * 100), not_after: start().plus(DAY * 200) };
        let name: certgate::wire::x509::Name = name.parse().unwrap();
        let serial = SerialNumber::from_random([1; 16]);
        let specification = CertificateSpec {
            ca: Some(CaConstraint { path_len: None }),
            key_usage: KeyUsage::KEY_CERT_SIGN.union(KeyUsage::CRL_SIGN),
            ..CertificateSpec::new(serial, name.clone(), name, validity, signer.public_key().clone())
        };
        let certificate = common::sign_certificate(signer.as_ref(), &specification);
        Self { signer, certificate }
    }

    /// What it gave to a device: valid for another ten days, for client-auth.
    fn gave(&self, client: &Client, subject: &str) -> Certificate {
        self.gave_with(client, subject, |specification| specification)
    }

    fn gave_with(
        &self,
        client: &Client,
        subject: &str,
        change: impl FnOnce(CertificateSpec) -> CertificateSpec,
    ) -> Certificate {
        let serial = SerialNumber::from_random([7; 16]);
        let validity = Validity { not_before: start().minus(DAY * 90), not_after: start().plus(DAY * 10) };
        let (issuer, subject) = (self.certificate.subject().clone(), subject.parse().unwrap());
        let specification = CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT),
            extended_key_usage: vec![rfc5280::ID_KP_CLIENT_AUTH],
            ..CertificateSpec::new(serial, issuer, subject, validity, client.public_key().clone())
        };
        common::sign_certificate(self.signer.as_ref(), &change(specification))
    }

    /// Its CRL of today with the certificates, until that time.
    fn crl(&self, revoked: &[&Certificate], until: Timestamp) -> Arc<Crl> {
        let entry = |certificate: &&Certificate| {
            let (serial, revoked_at) = (certificate.serial().clone(), start());
            CrlEntry { serial, revoked_at, reason: RevocationReason::Unspecified, invalidity_date: None }
                .to_der()
        };
        let entries: Vec<_> = revoked.iter().map(entry).collect();
        let key_identifier = self.certificate.subject_key_identifier().unwrap();
        let specification =
            CrlSpec::new(self.certificate.subject(), key_identifier, 1, start().minus(DAY), until);
        let algorithm = self.signer.algorithm().signature(DigestAlgorithm::Sha256);
        let unsigned = specification.unsigned(algorithm, entries.iter().map(Vec::as_slice)).unwrap();
        let signature = self.signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
        Arc::new(Crl::from_der(&unsigned.finish(&signature).unwrap()).unwrap())
    }
}

/// CRLs that a test puts there.
#[derive(Default)]
struct Crls(Mutex<Option<Arc<Crl>>>);

impl CrlSource for Crls {
    fn crl(&self, name: &str) -> Result<Arc<Crl>, CrlUnreadable> {
        let crl = self.0.lock().unwrap().clone();
        crl.ok_or_else(|| CrlUnreadable { name: name.to_owned(), reason: "not there".to_owned() })
    }
}

/// Settings with which the profile `device` trusts the other CA.
fn trusting(ca: &OldCa, change: impl FnOnce(&mut AlternateIssuers)) -> GatewaySettings {
    let mut issuers =
        AlternateIssuers { certificates: vec![ca.certificate.clone()], ..AlternateIssuers::default() };
    change(&mut issuers);
    let mut settings = GatewaySettings::default();
    settings.renewal_issuers.insert("device".parse().unwrap(), issuers);
    settings
}

/// A world whose profile `device` trusts the other CA, and `other` does not.
fn world_with(ca: &OldCa, lines: &str, change: impl FnOnce(&mut AlternateIssuers)) -> World {
    let options = WorldOptions { settings: trusting(ca, change), ..WorldOptions::default() };
    World::with(options, &[("device", &format!("{DEVICE}\n{lines}")), ("other", DEVICE)])
}

fn world(ca: &OldCa) -> World {
    world_with(ca, "", |_| ())
}

/// A device of the old CA's: its client signs with that certificate.
fn device_of(ca: &OldCa, subject: &str) -> Client {
    let client = Client::new();
    client.with_identity(&ca.gave(&client, subject))
}

fn refused(world: &World, client: &Client, profile: &str, csr: &[u8]) {
    let leaves = world.leaves();
    for kind in BOTH {
        assert_eq!(client.ask(world, profile, kind, csr).failure(), FailInfo::BadRequest, "{kind:?}");
    }
    assert_eq!(world.leaves(), leaves);
}

#[test]
fn s2_3_d_a_certificate_of_a_trusted_other_ca_renews() {
    let ca = OldCa::new("CN=Old CA");
    for (number, kind) in BOTH.into_iter().enumerate() {
        let world = world(&ca);
        let name = format!("SN{number}");
        world.register(&name);
        let client = device_of(&ca, &format!("CN={name}"));
        let next = Client::new();
        let answer = client.ask(&world, "device", kind, &next.csr(&format!("CN={name}"), None));
        let certificate = answer.certificate();
        assert_eq!(certificate.public_key(), next.public_key());
        // The names are those that the profile gives to the record.
        assert_eq!(certificate.subject().to_string(), format!("CN={name},O=Test"));
        let [binding] = world.bindings(certificate).try_into().unwrap();
        let Evidence::Alternate { issuer, serial, fingerprint } = binding.evidence else {
            panic!("{:?}", binding.evidence)
        };
        assert_eq!((issuer.as_str(), &serial), ("CN=Old CA", client.identity.serial()));
        assert_eq!((fingerprint, binding.assurance), (client.identity.fingerprint(), Assurance::Medium));
        assert_eq!(world.record(certificate).supersedes, None);
        let fact = world.read(|view| view.last_audit_event()).unwrap().fact;
        assert_eq!(fact.detail["renewal-of"], format!("{serial} of CN=Old CA"));
        let trace = world.enrolment_of(certificate).trace;
        let authorised = trace.iter().find(|step| step.check == "authorisation").unwrap();
        assert_eq!((authorised.passed, authorised.detail.as_str()), (true, "certificate of another CA"));
    }
}

#[test]
fn nobody_is_trusted_who_is_not_named() {
    let (ca, stranger) = (OldCa::new("CN=Old CA"), OldCa::new("CN=Old CA"));
    let world = world(&ca);
    world.register("SN1");
    let csr = Client::new().csr("CN=SN1", None);
    // The same name, another key.
    refused(&world, &device_of(&stranger, "CN=SN1"), "device", &csr);
    refused(&world, &device_of(&ca, "CN=SN1"), "other", &csr);
    // A CA below the one that is named.
    let below = OldCa::new("CN=Below");
    refused(&world, &device_of(&below, "CN=SN1"), "device", &csr);
}

#[test]
fn a_move_changes_no_name() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    for name in ["SN1", "SN2"] {
        world.register(name);
    }
    let client = device_of(&ca, "CN=SN1");
    refused(&world, &client, "device", &Client::new().csr("CN=SN2", None));
    let other = GeneralName::Dns("sn2.example".to_owned());
    refused(&world, &client, "device", &Client::new().csr_with("CN=SN1", &[other], None));
}

#[test]
fn who_is_not_registered_moves_only_where_the_profile_lets_it_and_keeps_its_names() {
    let ca = OldCa::new("CN=Old CA");
    let csr = Client::new().csr("CN=SN1,O=Old", None);
    refused(&world(&ca), &device_of(&ca, "CN=SN1,O=Old"), "device", &csr);
    let world = world_with(&ca, "allow-unregistered = true", |_| ());
    let client = Client::new();
    let names = vec![GeneralName::Dns("sn1.example".to_owned())];
    let old = ca.gave_with(&client, "CN=SN1,O=Old", |specification| CertificateSpec {
        subject_alt_names: names.clone(),
        ..specification
    });
    let answer = client.with_identity(&old).renew(&world, "device", &csr);
    let certificate = answer.certificate();
    assert_eq!(certificate.subject().to_string(), "CN=SN1,O=Old");
    assert_eq!(certificate.subject_alt_names(), names);
    assert!(world.bindings(certificate).is_empty());
}

/// Its names are kept, also those that the request leaves out: they say whose it is.
#[test]
fn a_retired_device_does_not_come_back_by_leaving_its_name_out_of_the_request() {
    let ca = OldCa::new("CN=Old CA");
    let world = world_with(&ca, "allow-unregistered = true\nidentify = \"san.dns\"", |_| ());
    let device = world.register("sn1.example");
    let client = Client::new();
    let old = ca.gave_with(&client, "CN=x", |specification| CertificateSpec {
        subject_alt_names: vec![GeneralName::Dns("sn1.example".to_owned())],
        ..specification
    });
    let event = |event| world.gateway.device_event(&world.authed(), &device, event, "").unwrap();
    event(DeviceEvent::Lost);
    let csr = Client::new().csr("CN=x", None);
    refused(&world, &client.with_identity(&old), "device", &csr);
    event(DeviceEvent::Found);
    let answer = client.with_identity(&old).renew(&world, "device", &csr);
    let [binding] = world.bindings(answer.certificate()).try_into().unwrap();
    assert!(binding.object.is_device(&device));
}

/// The other CA does not know that the key is in other hands.
#[test]
fn a_key_that_was_compromised_here_does_not_move_here_again() {
    let ca = OldCa::new("CN=Old CA");
    for reason in [RevocationReason::Superseded, RevocationReason::KeyCompromise] {
        let world = world(&ca);
        world.register("SN1");
        let client = device_of(&ca, "CN=SN1");
        let csr = Client::new().csr("CN=SN1", None);
        let answer = client.renew(&world, "device", &csr);
        world.put_cause(answer.certificate(), Effect::Revoke { reason });
        let again = client.in_transaction("again").renew(&world, "device", &csr).status;
        let compromised = reason == RevocationReason::KeyCompromise;
        assert_eq!(again == PkiStatus::Failure, compromised, "{reason:?}");
    }
}

#[test]
fn a_retired_device_does_not_come_back_by_its_old_certificate() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    world.register("SN1");
    world.write(|tx| {
        let device = tx.device(&"SN1".parse().unwrap())?.unwrap();
        let policy = LifecyclePolicy::default();
        let retired = device.apply(DeviceEvent::Retire, &policy, "test", "", world.now()).unwrap();
        tx.put_device(&retired.device)
    });
    refused(&world, &device_of(&ca, "CN=SN1"), "device", &Client::new().csr("CN=SN1", None));
}

#[test]
fn what_is_no_certificate_for_signing_requests_or_for_less_renews_nothing() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    world.register("SN1");
    let csr = Client::new().csr("CN=SN1", None);
    let with = |change: fn(CertificateSpec) -> CertificateSpec| {
        let client = Client::new();
        client.with_identity(&ca.gave_with(&client, "CN=SN1", change))
    };
    let is_ca = with(|it| CertificateSpec { ca: Some(CaConstraint { path_len: None }), ..it });
    let signs_certificates = with(|it| CertificateSpec {
        key_usage: KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_CERT_SIGN),
        ..it
    });
    let encrypts_only = with(|it| CertificateSpec { key_usage: KeyUsage::KEY_ENCIPHERMENT, ..it });
    let other_purpose =
        with(|it| CertificateSpec { extended_key_usage: vec![rfc5280::ID_KP_SERVER_AUTH], ..it });
    for client in [is_ca, signs_certificates, encrypts_only, other_purpose] {
        refused(&world, &client, "device", &csr);
    }
    // No purposes at all are every purpose.
    let any = with(|it| CertificateSpec { extended_key_usage: Vec::new(), ..it });
    any.renew(&world, "device", &csr).certificate();
}

#[test]
fn an_expired_certificate_renews_within_the_grace_that_is_given() {
    let ca = OldCa::new("CN=Old CA");
    let csr = Client::new().csr("CN=SN1", None);
    let at = |grace: u32, days: u32| {
        let world = world_with(&ca, "", |issuers| issuers.grace = DAY * grace);
        world.register("SN1");
        world.clock.advance(DAY * days);
        world
    };
    let client = device_of(&ca, "CN=SN1");
    client.renew(&at(0, 10), "device", &csr).certificate();
    refused(&at(0, 11), &client, "device", &csr);
    client.renew(&at(5, 15), "device", &csr).certificate();
    refused(&at(5, 16), &client, "device", &csr);
    let early = Client::new();
    let early = early.with_identity(&ca.gave_with(&early, "CN=SN1", |it| CertificateSpec {
        validity: Validity { not_before: start().plus(DAY), ..it.validity },
        ..it
    }));
    refused(&at(0, 0), &early, "device", &csr);
    // The old CA's own end, in two hundred days.
    let longer = Client::new();
    let longer = longer.with_identity(&ca.gave_with(&longer, "CN=SN1", |it| CertificateSpec {
        validity: Validity { not_after: start().plus(DAY * 300), ..it.validity },
        ..it
    }));
    refused(&at(0, 201), &longer, "device", &csr);
}

#[test]
fn what_the_other_ca_revoked_renews_nothing_and_an_unknown_status_decides_nothing() {
    let ca = OldCa::new("CN=Old CA");
    let crls = Arc::new(Crls::default());
    let mut options = WorldOptions { crls: crls.clone(), ..WorldOptions::default() };
    let certificates = vec![ca.certificate.clone()];
    let issuers =
        AlternateIssuers { certificates, crls: vec!["old.crl".to_owned()], ..AlternateIssuers::default() };
    options.settings.renewal_issuers.insert("device".parse().unwrap(), issuers);
    let world = World::with(options, &[("device", DEVICE)]);
    world.register("SN1");
    let client = device_of(&ca, "CN=SN1");
    let csr = Client::new().csr("CN=SN1", None);
    let options = common::MessageOptions::from(MessageType::RenewalReq);
    let message = client.message(&world.message_certificate("device"), &options, &csr);
    let ask = |crl: Option<Arc<Crl>>| {
        *crls.0.lock().unwrap() = crl;
        world.pki_operation("device", &message)
    };
    let impostor = OldCa::new("CN=Old CA");
    // Not there, too old, another's: the client is told to come back.
    for crl in [None, Some(ca.crl(&[], start().minus(DAY / 2))), Some(impostor.crl(&[], start().plus(DAY)))] {
        assert!(matches!(ask(crl).unwrap_err(), ScepError::Away { .. }));
    }
    let traced =
        world.gateway.exchanges(&world.authed(), &ExchangeFilter::default(), &Page::first(1)).unwrap();
    assert!(traced.items[0].hint.contains("CRL of `renewal-issuers`"), "{}", traced.items[0].hint);
    let health = |crl: Option<Arc<Crl>>| {
        *crls.0.lock().unwrap() = crl;
        let checks = world.gateway.health().checks;
        checks.into_iter().find(|check| check.name == "renewal-crl/device").unwrap()
    };
    for crl in [None, Some(ca.crl(&[], start().minus(DAY / 2)))] {
        assert_eq!(health(crl).result, CheckResult::Warn);
    }
    assert_eq!(health(Some(ca.crl(&[], start().plus(DAY)))).result, CheckResult::Pass);
    let revoked = ca.crl(&[&client.identity], start().plus(DAY));
    assert_eq!(client.open(&message, ask(Some(revoked)).unwrap()).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
    let good = ask(Some(ca.crl(&[], start().plus(DAY)))).unwrap();
    client.open(&message, good).certificate();
}

/// Takes over the certificate that a client of the other CA has.
fn import(world: &World, ca: &OldCa, client: &Client) {
    let new = NewImport { issuer_certificate: ca.certificate.to_pem(), name: None };
    let target = world.gateway.open_import(&world.authed(), &new).unwrap();
    let certificate = Some(BASE64_STANDARD.encode(client.identity.as_der()));
    let line = ImportLine { line: 1, certificate, ..ImportLine::default() };
    let batch = ImportBatch { source: "certs".to_owned(), certificates: vec![line], bind: None, crl: None };
    world.gateway.import_certificates(&world.authed(), &target.issuer, &batch).unwrap();
}

#[test]
fn what_is_revoked_here_while_it_renews_renews_nothing() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    world.register("SN1");
    let client = device_of(&ca, "CN=SN1");
    import(&world, &ca, &client);
    let (behind, id) = (world.ports.store.clone(), world.record(&client.identity).id);
    let cause = common::cause(world.now());
    let revoke: race::Act = Box::new(move || {
        behind.write(|tx| tx.put_cause(&id, &cause)).unwrap();
    });
    let (world, store) = race::interrupted(world, trusting(&ca, |_| ()), revoke);
    let answer = client.renew(&world, "device", &Client::new().csr("CN=SN1", None));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
    assert!(store.act.lock().unwrap().is_none(), "it was revoked meanwhile");
}

#[test]
fn what_was_imported_of_the_other_ca_moves_too_unless_it_is_revoked_or_on_hold_here() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    let csr = Client::new().csr("CN=SN1", None);
    world.register("SN1");
    let client = device_of(&ca, "CN=SN1");
    import(&world, &ca, &client);
    client.renew(&world, "device", &csr).certificate();
    world.put_cause(&client.identity, Effect::Hold);
    refused(&world, &client, "device", &csr);
    world.revoke(&client.identity);
    refused(&world, &client, "device", &csr);
    // Under a profile that names no other CA it is nobody's.
    refused(&world, &client, "other", &csr);
}

#[test]
fn one_certificate_of_another_ca_leads_to_one_of_ours() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    world.register("SN1");
    let client = device_of(&ca, "CN=SN1");
    let next = Client::new();
    let renew = |transaction: &str, key: &Client| {
        client.in_transaction(transaction).renew(&world, "device", &key.csr("CN=SN1", None))
    };
    let first = renew("one", &next).certificate().clone();
    assert_eq!(renew("one", &next).certificate(), &first);
    assert_eq!(renew("two", &next).certificate(), &first, "another transaction is no other device");
    assert_eq!(renew("three", &Client::new()).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 1);
    // A device that lost its new key comes again on another day, or after the first was revoked.
    world.clock.advance(DAY * 2);
    assert_eq!(renew("four", &next).certificate(), &first);
    let second = renew("five", &Client::new()).certificate().clone();
    world.revoke(&second);
    renew("six", &Client::new()).certificate();
    assert_eq!(world.leaves(), 3);
}

#[test]
fn a_ticket_goes_before_the_old_certificate() {
    let ca = OldCa::new("CN=Old CA");
    let world = world(&ca);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = device_of(&ca, "CN=SN1");
    let answer = client.enrol(&world, "device", &Client::new().csr("CN=SN1", Some(&ticket)));
    let [binding] = world.bindings(answer.certificate()).try_into().unwrap();
    assert!(matches!(binding.evidence, Evidence::Ticket { .. }), "{:?}", binding.evidence);
}
