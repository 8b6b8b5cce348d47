//! What a profile says is what the certificate is, and nothing of it comes from the request (RFC 8894 §2.3; reference rules of
//! templates, usages, keys and validity).

use std::net::IpAddr;

use certgate::{
    domain::{
        access::Read,
        device::{DeviceEvent, Registration},
        user::UserDetails,
    },
    service::{
        ServiceError,
        device::NewDevice,
        scep::ScepError,
        ticket::{NewTicket, TicketState},
    },
    types::{DeviceId, KeyAlgorithm, Secret},
    wire::{
        scep::{FailInfo, MessageType},
        x509::{Certificate, GeneralName, KeyUsage},
    },
};
use serde_json::json;

use crate::{
    DEVICE,
    common::{self, Client, DAY, World, WorldOptions},
};

pub(crate) const DEVICE_SID: &str = "S-1-5-21-1-2-3-1001";
pub(crate) const USER_SID: &str = "S-1-5-21-1-2-3-500";

/// A world with `profile`, the user `ada` and her device `SN1`, both with everything that a directory knows.
pub(crate) fn office(profile: &str) -> (World, DeviceId) {
    let world = World::new(&[("office", profile)]);
    record_ada(&world);
    let registration: Registration = serde_json::from_value(json!({
        "user": "ada",
        "sid": DEVICE_SID,
        "identities": { "serial": "C02XY", "uuid": "0f0e0d0c-0b0a-0908-0706-050403020100" },
        "attributes": { "address": "192.0.2.17" },
    }))
    .unwrap();
    let id: DeviceId = "SN1".parse().unwrap();
    world.gateway.register_device(&world.authed(), NewDevice { id: id.clone(), registration }).unwrap();
    (world, id)
}

fn record_ada(world: &World) {
    let attributes: UserDetails = serde_json::from_value(json!({
        "upn": "ada@corp.example",
        "email": "ada.l@mail.example",
        "first_name": "Ada",
        "last_name": "Lovelace, Countess",
        "sid": USER_SID,
        "attributes": { "custom1": "Engines" },
    }))
    .unwrap();
    world.gateway.put_user(&world.authed(), &"ada".parse().unwrap(), &attributes).unwrap();
}

/// Enrols the device with a request that asks for nothing of use.
fn issued(world: &World, device: &DeviceId) -> Certificate {
    let client = Client::new();
    let csr = client.csr("CN=ignored", Some(&world.ticket("office", device)));
    client.enrol(world, "office", &csr).certificate().clone()
}

fn usages(certificate: &Certificate) -> Vec<String> {
    certificate.extended_key_usage().iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_name_is_filled_from_the_records_in_both_spellings() {
    let (world, device) = office(
        r#"
        subject = "CN=$DEVICE_SN$,OU={{ USER_CUSTOM1 }},O=$LAST_NAME$"
        subject-alt-names = [
            "email:$EMAIL$",
            "dns:{{DEVICE_ID}}.lab.example",
            "uri:urn:uuid:$DEVICE_UUID$",
            "ip:{{device.attr.address}}",
            "upn:{{UserPrincipalName}}",
            "dirname:CN=$DEVICE_ID$,O={{FIRST_NAME}}",
            "dns:$DEVICE_IMEI$.nowhere.example",
        ]
        "#,
    );
    let certificate = issued(&world, &device);
    assert_eq!(certificate.subject().to_string(), "CN=C02XY,OU=Engines,O=Lovelace\\, Countess");
    let text = |text: &str| text.to_owned();
    let address: IpAddr = "192.0.2.17".parse().unwrap();
    // The last one has no value: it is left out.
    let expected = [
        GeneralName::Email(text("ada.l@mail.example")),
        GeneralName::Dns(text("SN1.lab.example")),
        GeneralName::Uri(text("urn:uuid:0f0e0d0c-0b0a-0908-0706-050403020100")),
        GeneralName::Ip(address),
        GeneralName::Upn(text("ada@corp.example")),
        GeneralName::DirName("CN=SN1,O=Ada".parse().unwrap()),
    ];
    assert_eq!(certificate.subject_alt_names(), expected);
}

#[test]
fn a_subject_without_a_value_is_refused_and_leaves_the_ticket() {
    let (world, device) = office("subject = \"CN=$DEVICE_IMEI$\"\n");
    let wanted = NewTicket {
        profile: "office".parse().unwrap(),
        device: Some(device),
        user: None,
        lifetime: None,
        uses: None,
    };
    let minted = world.gateway.create_ticket(&world.authed(), &wanted).unwrap();
    let client = Client::new();
    let csr = client.csr("CN=C02XY", Some(&minted.secret));
    assert_eq!(client.enrol(&world, "office", &csr).failure(), FailInfo::BadRequest);
    let ticket = world.gateway.ticket(&world.authed::<Read>(), &minted.ticket.id).unwrap();
    assert_eq!((ticket.state, ticket.uses_left), (TicketState::Open, 1));

    // Once the cause is gone, the same ticket is good.
    let world = world.reconfigured(&[("office", "subject = \"CN=$DEVICE_SN$\"\n")]);
    client.enrol(&world, "office", &csr).certificate();
}

/// Whoever takes a profile out of the configuration closes it: for those who have tickets, and for those who have certificates.
#[test]
fn nothing_is_issued_under_a_profile_that_was_taken_out_of_the_configuration() {
    let both = [("device", DEVICE), ("guest", DEVICE)];
    let world = World::new(&both);
    let device = world.register("SN1");
    let open = world.ticket("guest", &device);
    let client = Client::new();
    let first = client.enrol(&world, "guest", &client.csr("CN=x", Some(&world.ticket("guest", &device))));
    let first = first.certificate().clone();
    let renewing = client.with_identity(&first).in_transaction("renewal");
    let recipient = world.message_certificate("guest");
    let messages =
        [(Client::new(), MessageType::PkcsReq, Some(&open)), (renewing, MessageType::RenewalReq, None)].map(
            |(client, kind, ticket)| {
                client.message(&recipient, &kind.into(), &client.csr("CN=SN1,O=Test", ticket))
            },
        );
    let world = world.reconfigured(&[("device", DEVICE)]);
    for message in &messages {
        assert_eq!(world.pki_operation("guest", message).unwrap_err(), ScepError::UnknownProfile);
    }
    let ticket = NewTicket {
        profile: "guest".parse().unwrap(),
        device: Some(device.clone()),
        user: None,
        lifetime: None,
        uses: None,
    };
    let refused = world.gateway.create_ticket(&world.authed(), &ticket).unwrap_err();
    assert!(matches!(refused, ServiceError::NotFound { .. }), "{refused}");
    assert_eq!(world.gateway.default_profile(), Some("device".parse().unwrap()), "the only one");
    let shown = world.gateway.profile(&world.authed(), &"guest".parse().unwrap()).unwrap();
    assert!(!shown.in_force);
    assert_eq!(world.leaves(), 1);
    // What was issued under it is answered for as before.
    world.gateway.device_event(&world.authed(), &device, DeviceEvent::Retire, "").unwrap();
    let id = world.record(&first).id;
    assert!(!world.read(|view| view.causes(&id)).is_empty(), "the lifecycle of its profile goes on");
    // It comes back with the configuration.
    let world = world.reconfigured(&both);
    assert!(world.gateway.profile(&world.authed(), &"guest".parse().unwrap()).unwrap().in_force);
}

#[test]
fn usages_are_those_of_the_profile() {
    let (world, device) = office(
        r#"
        subject = "CN=$DEVICE_ID$"
        key-usage = ["digitalSignature", "nonRepudiation"]
        extended-key-usage = ["client-auth", "ipsec", "smart-card-logon", "1.3.6.1.4.1.32473.1"]
        "#,
    );
    let certificate = issued(&world, &device);
    assert_eq!(certificate.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::NON_REPUDIATION)));
    let expected =
        ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.17", "1.3.6.1.4.1.311.20.2.2", "1.3.6.1.4.1.32473.1"];
    assert_eq!(usages(&certificate), expected);
}

#[test]
fn client_authentication_is_the_usage_unless_the_profile_says_otherwise() {
    let (world, device) = office("subject = \"CN=$DEVICE_ID$\"\n");
    let certificate = issued(&world, &device);
    assert_eq!(usages(&certificate), ["1.3.6.1.5.5.7.3.2"]);
    let both = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT);
    assert_eq!(certificate.key_usage(), Some(both));
}

#[test]
fn keys_that_the_profile_does_not_take_are_refused() {
    let large = "subject = \"CN=$DEVICE_ID$\"\nmin-rsa-bits = 3072\n";
    let rsa = "subject = \"CN=$DEVICE_ID$\"\nkey-types = [\"rsa\"]\n";
    let ec = "subject = \"CN=$DEVICE_ID$\"\nkey-types = [\"ec\"]\n";
    let world = World::new(&[("large", large), ("rsa", rsa), ("ec", ec)]);
    let device = world.register("SN1");
    let client = Client::new();
    let curve = common::signer(KeyAlgorithm::P256);
    let rsa_csr = |profile: &str| client.csr("CN=x", Some(&world.ticket(profile, &device)));
    let ec_csr = |profile: &str| {
        common::request_for(curve.as_ref(), "CN=x", &[], Some(&world.ticket(profile, &device)))
    };
    for (profile, csr) in [("large", rsa_csr("large")), ("rsa", ec_csr("rsa")), ("ec", rsa_csr("ec"))] {
        assert_eq!(client.enrol(&world, profile, &csr).failure(), FailInfo::BadRequest, "{profile}");
    }
    assert_eq!(world.leaves(), 0);
    client.enrol(&world, "rsa", &rsa_csr("rsa")).certificate();
    client.enrol(&world, "ec", &ec_csr("ec")).certificate();
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let (world, device) = office("subject = \"CN=$DEVICE_ID$\"\nvalidity-days = 3650\n");
    let end = world.issuer("issuing").validity().not_after;
    assert!(end < world.now().plus(DAY * 3650));
    assert_eq!(issued(&world, &device).validity().not_after, end);
}

#[test]
fn validity_is_the_profiles() {
    let (world, device) = office("subject = \"CN=$DEVICE_ID$\"\nvalidity-days = 30\nbackdate-minutes = 5\n");
    let validity = issued(&world, &device).validity();
    assert_eq!(validity.not_after, world.now().plus(DAY * 30));
    assert_eq!(validity.not_before, world.now().minus(std::time::Duration::from_secs(300)));
}

/// One DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut element = match content.len() {
        0..=0x7f => vec![tag, length[1]],
        0x80..=0xff => vec![tag, 0x81, length[1]],
        _ => vec![tag, 0x82, length[0], length[1]],
    };
    element.extend(content);
    element
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der(0x30, &[&der(0x06, &[oid]), &der(0x04, &[value])])
}

/// 1.2.840.113556.1.8000.2554.4711: an extension that nobody knows.
const UNLISTED: [u8; 13] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x14, 0x01, 0xbe, 0x40, 0x93, 0x7a, 0xa4, 0x67];
const SID_EXTENSION: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19, 0x02];

/// A request for everything that a device must not have: to be a CA, to sign certificates and CRLs, every extended key usage and
/// OCSPSigning, the administrator's SID, and an extension that no profile lists.
fn greedy_csr(signer: &dyn certgate::ports::Signer, subject: &str, challenge: &Secret) -> Vec<u8> {
    let sid = der(0x04, &[b"S-1-5-21-1-2-3-500"]);
    let sid_oid = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x19, 0x02, 0x01];
    let other_name = der(0xa0, &[&der(0x06, &[&sid_oid]), &der(0xa0, &[&sid])]);
    let any = der(0x06, &[&[0x55, 0x1d, 0x25, 0x00]]);
    let ocsp_signing = der(0x06, &[&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09]]);
    let extensions = [
        extension(&[0x55, 0x1d, 0x13], &der(0x30, &[&[0x01, 0x01, 0xff]])),
        extension(&[0x55, 0x1d, 0x0f], &[0x03, 0x02, 0x01, 0x06]),
        extension(&[0x55, 0x1d, 0x25], &der(0x30, &[&any, &ocsp_signing])),
        extension(&SID_EXTENSION, &der(0x30, &[&other_name])),
        extension(&UNLISTED, b"\x05\x00"),
    ]
    .concat();
    let extension_request = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
    let challenge_password = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07];
    let attributes = [
        der(0x30, &[&der(0x06, &[&challenge_password]), &der(0x31, &[&der(0x13, &[challenge.expose()])])]),
        der(0x30, &[&der(0x06, &[&extension_request]), &der(0x31, &[&der(0x30, &[&extensions])])]),
    ]
    .concat();
    let name: certgate::wire::x509::Name = subject.parse().unwrap();
    let info = der(
        0x30,
        &[&[0x02, 0x01, 0x00], name.as_der(), signer.public_key().as_spki(), &der(0xa0, &[&attributes])],
    );
    let algorithm = certgate::types::SignatureAlgorithm::Ecdsa(certgate::types::DigestAlgorithm::Sha256);
    let signature = signer.sign(algorithm, &info).unwrap();
    let ecdsa_with_sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    der(0x30, &[&info, &der(0x30, &[&der(0x06, &[&ecdsa_with_sha256])]), &der(0x03, &[&[0], &signature])])
}

#[test]
fn nothing_that_a_request_asks_for_beyond_names_is_in_the_certificate() {
    let claim = "subject = \"\"\nmatch = \"claim\"\nchallenge = [\"static\"]\nallow-unregistered = true\n";
    let mut options = WorldOptions::default();
    let secret = Secret::from("shared secret");
    options.settings.static_challenges.insert("claim".parse().unwrap(), vec![secret.clone()]);
    let fill = format!("{DEVICE}\nmicrosoft-sid = true\n");
    let world = World::with(options, &[("fill", &fill), ("claim", claim)]);
    let ticket = world.ticket("fill", &world.register("SN1"));
    let signer = common::signer(KeyAlgorithm::P256);
    for (profile, challenge, subject) in
        [("fill", &ticket, "CN=SN1,O=Test"), ("claim", &secret, "CN=router-7")]
    {
        let csr = greedy_csr(signer.as_ref(), subject, challenge);
        let read = certgate::wire::csr::Csr::from_der(&csr).unwrap().prove().unwrap();
        assert_eq!(read.requested_extension_oids().len(), 5, "the request is what it should be");
        let answer = Client::new().enrol(&world, profile, &csr);
        let certificate = answer.certificate();
        assert_eq!(certificate.subject().to_string(), subject);
        assert!(!certificate.is_ca());
        assert_eq!(certificate.key_usage(), Some(KeyUsage::DIGITAL_SIGNATURE));
        assert_eq!(usages(certificate), ["1.3.6.1.5.5.7.3.2"]);
        assert_eq!(certificate.microsoft_sid(), None);
        for foreign in [&UNLISTED[..], &SID_EXTENSION] {
            assert!(
                !certificate.as_der().windows(foreign.len()).any(|window| window == foreign),
                "{profile}"
            );
        }
    }
}

#[test]
fn the_sid_is_the_records_or_there_is_none() {
    let spec = "subject = \"CN=$DEVICE_ID$\"\nmicrosoft-sid = true\n";
    let (world, device) = office(spec);
    let signer = common::signer(KeyAlgorithm::P256);
    let csr = greedy_csr(signer.as_ref(), "CN=SN1", &world.ticket("office", &device));
    let answer = Client::new().enrol(&world, "office", &csr);
    assert_eq!(answer.certificate().microsoft_sid(), Some(DEVICE_SID));
    assert_eq!(issued(&world, &world.register("no-sid")).microsoft_sid(), None);

    let (world, device) = office("subject = \"CN=$DEVICE_ID$\"\n");
    assert_eq!(issued(&world, &device).microsoft_sid(), None, "the profile does not ask for it");
}

#[test]
fn a_static_challenge_admits_the_unregistered_only_where_the_profile_says_so() {
    let closed = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"claim\"\nchallenge = [\"static\"]\n";
    let open = format!("{closed}allow-unregistered = true\n");
    let mut options = WorldOptions::default();
    let secret = Secret::from("shared secret");
    for profile in ["closed", "open"] {
        options.settings.static_challenges.insert(profile.parse().unwrap(), vec![secret.clone()]);
    }
    let world = World::with(options, &[("closed", closed), ("open", &open)]);
    let client = Client::new();
    let csr = client.csr("CN=router-7,O=Lab", Some(&secret));
    assert_eq!(client.enrol(&world, "closed", &csr).failure(), FailInfo::BadRequest);
    let answer = client.enrol(&world, "open", &csr);
    assert_eq!(answer.certificate().subject().to_string(), "CN=router-7,O=Lab");
    assert!(world.bindings(answer.certificate()).is_empty());
    // Without the secret the door is shut there too.
    for challenge in [None, Some(Secret::from("guess"))] {
        let client = Client::new();
        let csr = client.csr("CN=router-8", challenge.as_ref());
        assert_eq!(client.enrol(&world, "open", &csr).failure(), FailInfo::BadRequest);
    }
    assert_eq!(world.leaves(), 1);
}

#[test]
fn a_static_challenge_that_is_not_configured_admits_nobody() {
    let spec = "subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]\nallow-unregistered = true\n";
    let world = World::new(&[("device", spec)]);
    world.register("SN1");
    let client = Client::new();
    for challenge in [None, Some(Secret::from("")), Some(Secret::from("anything"))] {
        let csr = client.csr("CN=SN1", challenge.as_ref());
        assert_eq!(client.enrol(&world, "device", &csr).failure(), FailInfo::BadRequest);
    }
    assert_eq!(world.leaves(), 0);
}
