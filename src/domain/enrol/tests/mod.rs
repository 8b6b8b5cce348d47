//! Decisions on real requests: every test parses what would be signed.

mod approval_and_renewal;

use std::collections::BTreeMap;

use super::*;
use crate::{
    domain::{
        access::{Caller, Operate},
        binding::Binding,
        certificate::{CertificateRecord, Purpose},
        challenge::{
            Authorisation, ChallengeRefused, RenewalFacts, Ticket, TicketOrigin, approved, awaiting_approval,
            check_renewal, check_static, check_ticket,
        },
        device::{Device, DeviceEvent, IdentityKind, Lifecycle, LifecyclePolicy, Registration},
        issuer::CrlLocations,
        profile::{CheckedProfile, Profile, VariableFacts, variables},
        status::Status,
        user::{User, UserDetails, UserEvent},
    },
    types::{ContentCipher, DigestAlgorithm, KeyAlgorithm, RequestId, SerialNumber, TicketId, Validity},
    wire::{
        csr::{Csr, CsrSpec, ProvenCsr},
        x509::{
            Certificate, GeneralName, KeyUsage,
            testing::{Authority, TestKey},
        },
    },
};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const STATIC: [[u8; 32]; 1] = [[9; 32]];
const SID: &str = "S-1-5-21-1-2-3-1001";

fn profile(toml: &str) -> CheckedProfile {
    let spec = toml::from_str(toml).unwrap();
    let profile = Profile { name: "device".parse().unwrap(), version: 2, created_at: NOW, spec };
    profile.checked().unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn device() -> Device {
    let registration = Registration {
        identities: BTreeMap::from([(IdentityKind::Serial, "C02XY".to_owned())]),
        sid: Some(SID.to_owned()),
        ..Registration::default()
    };
    Device::new("SN1".parse().unwrap(), registration, NOW).unwrap()
}

fn user() -> User {
    let details = UserDetails { upn: "ada@lab.example".to_owned(), ..UserDetails::default() };
    User::new("ada".parse().unwrap(), details, NOW).unwrap()
}

fn csr_from(key: &TestKey, subject: &str, names: &[GeneralName]) -> ProvenCsr {
    let spec = CsrSpec {
        subject: subject.parse().unwrap(),
        public_key: key.public_key(),
        subject_alt_names: names.to_vec(),
        challenge_password: None,
    };
    let der = key.finish(spec.unsigned(key.algorithm()).unwrap());
    Csr::from_der(&der).unwrap().prove().unwrap()
}

fn csr(subject: &str, names: &[GeneralName]) -> ProvenCsr {
    csr_from(&TestKey::generate(KeyAlgorithm::P256), subject, names)
}

fn dns(name: &str) -> GeneralName {
    GeneralName::Dns(name.to_owned())
}

fn uri(text: &str) -> GeneralName {
    GeneralName::Uri(text.to_owned())
}

/// Everything but the request and how it was authorised.
struct Scene {
    profile: CheckedProfile,
    device: Option<Device>,
    user: Option<User>,
    issuer: Authority,
    issuer_validity: Option<Validity>,
    message: Option<MessageAlgorithms>,
}

impl Scene {
    fn new(toml: &str) -> Self {
        Self {
            profile: profile(toml),
            device: Some(device()),
            user: None,
            issuer: Authority::new(KeyAlgorithm::P256, "CN=Issuing"),
            issuer_validity: None,
            message: None,
        }
    }

    fn with<R>(
        &self,
        csr: &ProvenCsr,
        renews: Option<Renewed<'_>>,
        run: impl FnOnce(&EnrolRequest<'_>) -> R,
    ) -> R {
        let variables = variables(&VariableFacts {
            device: self.device.as_ref(),
            user: self.user.as_ref(),
            realm: "lab",
            config_uuid: &self.profile.uuid(),
            random: &[7; 56],
            now: NOW,
        });
        run(&EnrolRequest {
            profile: &self.profile,
            csr,
            message: self.message,
            device: self.device.as_ref(),
            user: self.user.as_ref(),
            several: None,
            renews,
            issuer_validity: self.issuer_validity.unwrap_or(self.issuer.certificate.validity()),
            variables: &variables,
            now: NOW,
        })
    }

    fn authorise(&self, csr: &ProvenCsr, authorisation: &Authorisation) -> Result<IssueOrder, Refusal> {
        let decision = self.with(csr, None, |request| authorise(request, authorisation));
        let failed = decision.trace.iter().position(|step| !step.passed);
        match &decision.outcome {
            Ok(_) => assert_eq!(failed, None, "{:?}", decision.trace),
            Err(_) => assert_eq!(failed, decision.trace.len().checked_sub(1), "{:?}", decision.trace),
        }
        decision.outcome
    }

    fn refusal(&self, csr: &ProvenCsr, authorisation: &Authorisation) -> RefusalReason {
        self.authorise(csr, authorisation).map(|order| order.subject().to_string()).unwrap_err().reason
    }

    /// Signs the order and reads the certificate back.
    fn issue(&self, order: &IssueOrder) -> (Certificate, CertificateRecord) {
        let serial = SerialNumber::from_random([3; 16]);
        let facts = IssuerFacts {
            name: self.issuer.certificate.subject().clone(),
            key_identifier: self.issuer.certificate.subject_key_identifier().map(<[u8]>::to_vec),
            crls: CrlLocations {
                crl_urls: vec!["http://pki.example/crl/issuing.crl".to_owned()],
                freshest_crl_urls: Vec::new(),
            },
            ocsp_urls: Vec::new(),
            ca_issuers_urls: Vec::new(),
        };
        let certificate = self.issuer.key.issue(&order.specification(serial.clone(), &facts));
        let (profile, version) = order.profile();
        let record = CertificateRecord {
            id: CertificateId { issuer: "issuing".parse().unwrap(), serial },
            der: certificate.as_der().to_vec(),
            fingerprint: certificate.fingerprint(),
            public_key: certificate.public_key().fingerprint(),
            subject: certificate.subject().to_string(),
            validity: certificate.validity(),
            purpose: Purpose::Leaf,
            profile: Some((profile.clone(), version)),
            enrolment: None,
            supersedes: order.renews().cloned(),
            issued_at: NOW,
        };
        (certificate, record)
    }

    fn renewal(
        &self,
        record: &CertificateRecord,
        bindings: &[Binding],
    ) -> Result<Authorisation, ChallengeRefused> {
        check_renewal(&RenewalFacts {
            record,
            status: Status::Good,
            bindings,
            profile: &self.profile,
            rolls_over: false,
            now: NOW,
        })
    }
}

fn ticket(device: Option<&str>) -> Ticket {
    Ticket {
        id: TicketId::from_random([1; 16]),
        secret_mac: [7; 32],
        profile: "device".parse().unwrap(),
        device: device.map(|id| id.parse().unwrap()),
        user: None,
        uses_left: 1,
        expires_at: Timestamp::MAX,
        created_at: NOW,
        created_by: "operator".to_owned(),
        cancelled_at: None,
        also_for: Vec::new(),
        origin: TicketOrigin::Api,
        used_by: Vec::new(),
    }
}

fn by_ticket(device: Option<&str>) -> Authorisation {
    check_ticket(&ticket(device), &"device".parse().unwrap(), NOW).unwrap()
}

fn by_static() -> Authorisation {
    check_static(&STATIC[0], &STATIC, &"device".parse().unwrap()).unwrap()
}

const FILL: &str = r#"
subject = "CN=$DEVICE_SN$,O=Lab"
subject-alt-names = ["dns:{{DEVICE_ID}}.lab.example", "upn:$USER_UPN$"]
challenge = ["ticket", "unbound-ticket", "static"]
"#;

const STRICT: &str = r#"
subject = "CN=$DEVICE_SN$,O=Lab"
subject-alt-names = ["dns:{{DEVICE_ID}}.lab.example"]
match = "strict"
"#;

const CLAIM: &str = r#"
subject = "CN=$DEVICE_SN$"
match = "claim"
challenge = ["ticket", "static"]
allow-unregistered = true
"#;

#[test]
fn a_filled_certificate_has_the_records_names_and_the_profiles_usages() {
    let scene = Scene::new(FILL);
    let asked =
        csr("CN=Administrator,O=Evil", &[dns("evil.example"), GeneralName::Upn("root@lab".to_owned())]);
    let order = scene.authorise(&asked, &by_ticket(Some("SN1"))).unwrap();
    let (certificate, _) = scene.issue(&order);
    assert_eq!(certificate.subject().to_string(), "CN=C02XY,O=Lab");
    assert_eq!(certificate.subject_alt_names(), [dns("SN1.lab.example")]);
    assert!(!certificate.is_ca());
    assert_eq!(certificate.extended_key_usage(), ["1.3.6.1.5.5.7.3.2".parse().unwrap()]);
    // keyEncipherment is nothing that an EC key can do.
    assert_eq!(certificate.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE));
    assert_eq!(certificate.public_key(), asked.public_key());
    assert_eq!(certificate.microsoft_sid(), None);
    assert_eq!(certificate.is_signed_by(&scene.issuer.certificate), Ok(()));
}

#[test]
fn a_ticket_for_the_device_binds_with_high_assurance() {
    let scene = Scene::new(FILL);
    let order = scene.authorise(&csr("", &[]), &by_ticket(Some("SN1"))).unwrap();
    let (_, record) = scene.issue(&order);
    let binding = order.binding(&record.id, NOW).unwrap();
    assert_eq!(binding.object, BoundObject::Device { id: "SN1".parse().unwrap(), generation: 1 });
    assert_eq!(
        (binding.assurance, &binding.evidence),
        (Assurance::High, &Evidence::Ticket { id: ticket(None).id })
    );
    let unbound = scene.authorise(&csr("CN=SN1", &[]), &by_ticket(None)).unwrap();
    assert_eq!(unbound.bound().unwrap().1, Assurance::Medium);
    let claimed = scene.authorise(&csr("CN=SN1", &[]), &by_static()).unwrap();
    assert_eq!((claimed.bound().unwrap().1, claimed.evidence()), (Assurance::Low, &Evidence::Claim));
}

#[test]
fn a_ticket_for_another_device_is_refused() {
    let reason = Scene::new(FILL).refusal(&csr("CN=SN1", &[]), &by_ticket(Some("SN2")));
    assert!(matches!(reason, RefusalReason::OtherObject { .. }), "{reason}");
}

#[test]
fn strict_takes_exactly_the_records_names() {
    let scene = Scene::new(STRICT);
    let authorisation = by_ticket(Some("SN1"));
    let good = csr("cn=c02xy,O=LAB", &[dns("sn1.LAB.example")]);
    let order = scene.authorise(&good, &authorisation).unwrap();
    assert_eq!(order.subject().to_string(), "CN=C02XY,O=Lab");
    for bad in [
        csr("CN=C02XZ,O=Lab", &[dns("SN1.lab.example")]),
        csr("CN=C02XY,O=Lab,OU=x", &[dns("SN1.lab.example")]),
        csr("CN=C02XY,O=Lab", &[]),
        csr("CN=C02XY,O=Lab", &[dns("SN1.lab.example"), dns("other.example")]),
        csr("CN=C02XY,O=Lab", &[GeneralName::Email("SN1@lab.example".to_owned())]),
    ] {
        let refusal = scene.authorise(&bad, &authorisation).unwrap_err();
        assert!(matches!(refusal.reason, RefusalReason::NamesDiffer(_)), "{refusal}");
        assert_eq!(refusal.info, FailInfo::BadRequest);
    }
}

#[test]
fn a_claim_takes_the_requests_names_but_only_known_kinds() {
    let scene = Scene { device: None, ..Scene::new(CLAIM) };
    let order = scene
        .authorise(&csr("CN=router-7", &[dns("router-7.lab"), dns("ROUTER-7.lab")]), &by_static())
        .unwrap();
    assert_eq!(order.subject().to_string(), "CN=router-7");
    assert_eq!(order.subject_alt_names(), [dns("router-7.lab")]);
    assert_eq!(order.bound(), None);
    // [8] registeredID 1.2.3
    let other = GeneralName::Other(vec![0x88, 2, 0x2a, 3]);
    let order = scene.authorise(&csr("CN=router-7", &[other]), &by_static()).unwrap();
    assert_eq!(order.subject_alt_names(), []);
    let reason = scene.refusal(&csr("", &[]), &by_static());
    assert_eq!(reason, RefusalReason::NoName);
}

#[test]
fn a_claimed_value_is_held_to_the_limits_of_a_template() {
    let scene = Scene { device: None, ..Scene::new(CLAIM) };
    // DER in hexadecimal digits passes by the limits of text, as a request of somebody else's making does.
    let utf8 = |value: &str| format!("#0c{:02x}{}", value.len(), hex::encode(value));
    let ask = |subject: &str, names: &[GeneralName]| scene.authorise(&csr(subject, names), &by_static());
    assert!(ask(&format!("CN={}", utf8(&"x".repeat(64))), &[]).is_ok());
    let long = format!("CN={}", utf8(&"x".repeat(65)));
    let inside = GeneralName::DirName(long.parse().unwrap());
    let bell = format!("CN=router-7,OU={}", utf8("a\u{7}b"));
    for (subject, names, problem) in [
        (long.as_str(), &[][..], "CN: has 65 characters, at most 64 are allowed"),
        ("CN=router-7", &[inside], "CN: has 65 characters, at most 64 are allowed"),
        (bell.as_str(), &[], "OU: character '\\u{7}' is not allowed"),
        ("CN=router-7,C=#130343484e", &[], "C: \"CHN\" is not a country code of exactly two letters"),
    ] {
        let refusal = ask(subject, names).unwrap_err();
        assert_eq!(refusal.info, FailInfo::BadRequest, "{subject}");
        assert_eq!(refusal.text, "The names in the request are not accepted.");
        assert!(refusal.to_string().ends_with(problem), "{refusal}");
    }
}

#[test]
fn a_ticket_for_a_device_never_yields_claimed_names() {
    let order = Scene::new(CLAIM).authorise(&csr("CN=Administrator", &[]), &by_ticket(Some("SN1"))).unwrap();
    assert_eq!(order.subject().to_string(), "CN=C02XY");
}

#[test]
fn a_sid_in_a_name_must_be_the_records() {
    let scene = Scene::new(CLAIM);
    let asks = |sid: &str| csr("CN=SN1", &[uri(&format!("TAG:microsoft.com,2022-09-14:sid:{sid}"))]);
    assert!(scene.authorise(&asks(SID), &by_static()).is_ok());
    for bad in ["S-1-5-21-1-2-3-500", "", &format!("{SID}0")] {
        let reason = scene.refusal(&asks(bad), &by_static());
        assert!(matches!(reason, RefusalReason::Sid { .. }), "{bad}: {reason}");
    }
    let nobody = Scene { device: None, ..Scene::new(CLAIM) };
    assert!(matches!(nobody.refusal(&asks(SID), &by_static()), RefusalReason::Sid { .. }));
}

#[test]
fn the_sid_extension_comes_from_the_record() {
    let scene = Scene::new(&format!("{FILL}\nmicrosoft-sid = true"));
    let order = scene.authorise(&csr("CN=x", &[]), &by_ticket(Some("SN1"))).unwrap();
    assert_eq!(scene.issue(&order).0.microsoft_sid(), Some(SID));
}

#[test]
fn an_unregistered_device_needs_the_profiles_leave() {
    let scene = Scene { device: None, ..Scene::new(FILL) };
    let reason = scene.refusal(&csr("CN=SN9", &[]), &by_static());
    assert_eq!(reason, RefusalReason::NotRegistered { what: "device" });
}

#[test]
fn a_variable_without_a_value_is_named() {
    let mut nameless = device();
    nameless.identities.clear();
    let scene = Scene { device: Some(nameless), ..Scene::new(FILL) };
    let reason = scene.refusal(&csr("CN=SN1", &[]), &by_ticket(Some("SN1")));
    assert_eq!(reason, RefusalReason::Template("subject: $DEVICE_SN$ has no value".to_owned()));
}

#[test]
fn nobody_out_of_standing_is_given_a_certificate() {
    let lost = device().apply(DeviceEvent::Lost, &LifecyclePolicy::DEFAULT, "a", "", NOW).unwrap().device;
    let wiped = Device { lifecycle: Lifecycle::Wiped, ..device() };
    for device in [lost, wiped] {
        let scene = Scene { device: Some(device), ..Scene::new(FILL) };
        let reason = scene.refusal(&csr("CN=SN1", &[]), &by_ticket(Some("SN1")));
        assert!(matches!(reason, RefusalReason::DeviceStanding { .. }), "{reason}");
    }
    let disabled = user().apply(UserEvent::Disable, "a", "", NOW).unwrap().user;
    let scene = Scene { user: Some(disabled), ..Scene::new(FILL) };
    let reason = scene.refusal(&csr("CN=SN1", &[]), &by_ticket(Some("SN1")));
    assert!(matches!(reason, RefusalReason::UserStanding { .. }), "{reason}");
}

#[test]
fn an_order_dies_with_the_standing_that_it_rests_on() {
    let scene = Scene { user: Some(user()), ..Scene::new(FILL) };
    let order = scene.authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).unwrap();
    assert!(order.still_holds(scene.device.as_ref(), scene.user.as_ref()).is_ok());
    let wipe = DeviceEvent::Wipe;
    let active = Device { lifecycle: Lifecycle::Active, ..device() };
    let wiping = active.apply(wipe, &LifecyclePolicy::DEFAULT, "a", "", NOW).unwrap().device;
    let reborn = Device { generation: 2, ..device() };
    for now in [Some(&wiping), Some(&reborn), None] {
        assert!(order.still_holds(now, None).is_err(), "{now:?}");
    }
}

#[test]
fn old_algorithms_are_taken_only_where_the_profile_says_so() {
    let message = |digest, cipher| Some(MessageAlgorithms { digest, cipher });
    for (message, switch) in [
        (message(DigestAlgorithm::Sha1, ContentCipher::Aes128Cbc), "sha1"),
        (message(DigestAlgorithm::Md5, ContentCipher::Aes128Cbc), "md5"),
        (message(DigestAlgorithm::Sha256, ContentCipher::TripleDesCbc), "triple-des"),
        (message(DigestAlgorithm::Sha256, ContentCipher::DesCbc), "des"),
    ] {
        let closed = Scene { message, ..Scene::new(FILL) };
        let refusal = closed.authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).unwrap_err();
        assert_eq!(refusal.info, FailInfo::BadAlg, "{refusal}");
        assert!(refusal.to_string().contains(&format!("legacy.{switch}")), "{refusal}");
        let open = Scene { message, ..Scene::new(&format!("{FILL}\n[legacy]\n{switch} = true")) };
        assert!(open.authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).is_ok(), "{switch}");
    }
    let modern = message(DigestAlgorithm::Sha512, ContentCipher::Aes256Cbc);
    let scene = Scene { message: modern, ..Scene::new(FILL) };
    assert!(scene.authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).is_ok());
}

#[test]
fn keys_are_taken_by_kind_and_size() {
    let rsa = csr_from(&TestKey::generate(KeyAlgorithm::Rsa2048), "CN=SN1", &[]);
    let ticket = by_ticket(Some("SN1"));
    let order = Scene::new(FILL).authorise(&rsa, &ticket).unwrap();
    let (certificate, _) = Scene::new(FILL).issue(&order);
    assert_eq!(certificate.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT)));
    for (scene, csr) in [
        (Scene::new(&format!("{FILL}\nmin-rsa-bits = 3072")), &rsa),
        (Scene::new(&format!("{FILL}\nkey-types = [\"ec\"]")), &rsa),
        (Scene::new(&format!("{FILL}\nkey-types = [\"rsa\"]")), &csr("CN=SN1", &[])),
    ] {
        assert!(matches!(scene.refusal(csr, &ticket), RefusalReason::Key { .. }));
    }
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let issuer = Validity {
        not_before: Timestamp::from_unix(NOW.unix() - 60),
        not_after: Timestamp::from_unix(NOW.unix() + 86_400),
    };
    let capped = Scene { issuer_validity: Some(issuer), ..Scene::new(FILL) };
    let order = capped.authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).unwrap();
    assert_eq!(order.validity(), issuer);
    let full = Scene::new(FILL).authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).unwrap();
    assert_eq!(full.validity().not_before.unix(), NOW.unix() - 600);
    assert_eq!(full.validity().not_after.unix(), NOW.unix() + 365 * 86_400);
    let expired = Validity { not_after: Timestamp::from_unix(NOW.unix() - 1), ..issuer };
    let dead = Scene { issuer_validity: Some(expired), ..Scene::new(FILL) };
    assert_eq!(dead.refusal(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))), RefusalReason::IssuerNotValid);
}

#[test]
fn an_authorisation_is_good_for_what_the_profile_takes() {
    let tickets_only = Scene::new(STRICT);
    let reason = tickets_only.refusal(&csr("CN=C02XY,O=Lab", &[]), &by_static());
    assert_eq!(reason, RefusalReason::MeansNotTaken("the static challenge"));
    let elsewhere = check_static(&STATIC[0], &STATIC, &"vpn".parse().unwrap()).unwrap();
    let reason = Scene::new(FILL).refusal(&csr("CN=SN1", &[]), &elsewhere);
    assert_eq!(reason, RefusalReason::AuthorisedElsewhere("vpn".parse().unwrap()));
}

#[test]
fn texts_for_the_client_hold_no_internals() {
    let refusal = Scene::new(FILL).authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN2"))).unwrap_err();
    assert!(!refusal.text.contains("SN2"), "{}", refusal.text);
    let challenge = Refusal::from(ChallengeRefused::UsedUp { ticket: ticket(None).id });
    assert_eq!(challenge.text, Refusal::from(ChallengeRefused::Unknown).text);
    assert_eq!(challenge.info, FailInfo::BadRequest);
}

#[test]
fn the_request_names_its_device_where_the_profile_looks() {
    let claimed = |identify: &str, csr: &ProvenCsr| {
        let profile = profile(&format!("{FILL}\nidentify = \"{identify}\""));
        profile.claimed_identities(csr.subject(), csr.subject_alt_names())
    };
    let request = csr(
        "CN=SN1,serialNumber=C02XY,OU=computers",
        &[
            GeneralName::Email("a@b.c".to_owned()),
            dns("h.lab"),
            uri("urn:x:1"),
            GeneralName::Upn("ada@lab".to_owned()),
        ],
    );
    for (identify, value) in [
        ("subject.cn", "SN1"),
        ("subject.serialNumber", "C02XY"),
        ("subject.ou", "computers"),
        ("san.email", "a@b.c"),
        ("san.dns", "h.lab"),
        ("san.uri", "urn:x:1"),
        ("san.upn", "ada@lab"),
    ] {
        assert_eq!(claimed(identify, &request), [value], "{identify}");
        assert!(claimed(identify, &csr("", &[])).is_empty(), "{identify}");
    }
}

#[test]
fn a_request_key_depends_on_each_of_its_parts() {
    let key_to = |later: Option<&str>, profile: &str, transaction: &str, signer: &[u8], csr: &[u8]| {
        request_key(
            &profile.parse().unwrap(),
            &transaction.parse().unwrap(),
            Fingerprint::of(signer),
            Fingerprint::of(csr),
            later.map(|issuer| issuer.parse().unwrap()).as_ref(),
        )
    };
    let key = |profile: &str, transaction: &str, signer: &[u8], csr: &[u8]| {
        key_to(None, profile, transaction, signer, csr)
    };
    let base = key("device", "1", b"a", b"b");
    assert_eq!(key("device", "1", b"a", b"b"), base);
    for other in [
        key("vpn", "1", b"a", b"b"),
        key("device", "2", b"a", b"b"),
        key("device", "1", b"x", b"b"),
        key("device", "1", b"a", b"x"),
        key_to(Some("issuing-2"), "device", "1", b"a", b"b"),
    ] {
        assert_ne!(other, base);
    }
}

#[test]
fn a_ticket_that_names_nobody_needs_the_profiles_leave() {
    let unbound = by_ticket(None);
    let scene = Scene::new(&FILL.replace(r#""unbound-ticket", "#, ""));
    let refusal = scene.authorise(&csr("CN=SN1", &[]), &unbound).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::MeansNotTaken("tickets that name nobody"));
    let scene = Scene::new(&FILL.replace(r#""ticket", "#, ""));
    assert!(scene.authorise(&csr("CN=SN1", &[]), &unbound).is_ok());
    let refusal = scene.authorise(&csr("CN=SN1", &[]), &by_ticket(Some("SN1"))).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::MeansNotTaken("tickets"));
}
