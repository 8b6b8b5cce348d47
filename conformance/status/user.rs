//! What happens to users, and what that does to their certificates: in OCSP, in the CRL, and shown.

use certgate::{
    domain::user::UserDetails,
    domain::{
        device::Registration,
        status::{CauseKind, Status},
        user::UserEvent,
    },
    service::{device::NewDevice, ticket::NewTicket},
    types::{RevocationReason, UserId},
    wire::{ocsp::CertStatus, x509::Certificate},
};

use super::{
    common::{Client, World},
    crl_entry, enrolled, id_of, ocsp_status,
};

const PROFILES: [(&str, &str); 2] = [
    ("device", r#"subject = "CN=$DEVICE_ID$,O=Test""#),
    ("person", "scope = \"user\"\nsubject = \"CN=$USERID$\"\n"),
];

fn ada() -> UserId {
    "ada".parse().unwrap()
}

/// A world with the user `ada` and a certificate of hers.
fn world() -> (World, Certificate) {
    let world = World::new(&PROFILES);
    world.gateway.put_user(&world.authed(), &ada(), &UserDetails::default()).unwrap();
    let certificate = enrolled_user(&world);
    (world, certificate)
}

fn enrolled_user(world: &World) -> Certificate {
    let wanted = NewTicket {
        profile: "person".parse().unwrap(),
        device: None,
        user: Some(ada()),
        lifetime: None,
        uses: None,
    };
    let minted = world.gateway.create_ticket(&world.authed(), &wanted).unwrap();
    let client = Client::new();
    client.enrol(world, "person", &client.csr("CN=x", Some(&minted.secret))).certificate().clone()
}

fn happens(world: &World, event: UserEvent) -> Vec<(Status, Status)> {
    let outcome = world.gateway.user_event(&world.authed(), &ada(), event, "in the test").unwrap();
    outcome.certificates.iter().map(|it| (it.before, it.after)).collect()
}

fn shown(world: &World, certificate: &Certificate) -> certgate::service::certificate::CertificateView {
    world.gateway.certificate(&world.authed(), &id_of(certificate)).unwrap()
}

#[test]
fn disabling_holds_enabling_releases_and_deleting_revokes_for_good() {
    let (world, certificate) = world();
    assert_eq!(shown(&world, &certificate).bindings[0].user, Some(ada()));
    let serial = certificate.serial();
    assert_eq!(ocsp_status(&world, serial), CertStatus::Good);

    assert_eq!(happens(&world, UserEvent::Disable), [(Status::Good, Status::Hold)]);
    let held = CertStatus::Revoked { at: world.now(), reason: RevocationReason::CertificateHold };
    assert_eq!(ocsp_status(&world, serial), held);
    let entry = crl_entry(&world, serial).unwrap();
    assert_eq!((entry.reason, entry.revoked_at), (RevocationReason::CertificateHold, world.now()));
    let view = shown(&world, &certificate);
    assert_eq!((view.status, view.causes[0].kind), (Status::Hold, CauseKind::UserState));
    assert!(!view.causes[0].permanent);

    assert_eq!(happens(&world, UserEvent::Enable), [(Status::Hold, Status::Good)]);
    assert_eq!(ocsp_status(&world, serial), CertStatus::Good);
    assert_eq!(crl_entry(&world, serial), None);
    assert!(shown(&world, &certificate).causes.is_empty());

    happens(&world, UserEvent::Disable);
    assert_eq!(happens(&world, UserEvent::Delete), [(Status::Hold, Status::Revoked)]);
    let gone = CertStatus::Revoked { at: world.now(), reason: RevocationReason::AffiliationChanged };
    assert_eq!(ocsp_status(&world, serial), gone);
    assert_eq!(crl_entry(&world, serial).unwrap().reason, RevocationReason::AffiliationChanged);
    let view = shown(&world, &certificate);
    assert_eq!(view.revocation.unwrap().reason, RevocationReason::AffiliationChanged);
    assert!(view.causes[0].permanent);
}

#[test]
fn every_certificate_of_the_user_moves_and_no_other() {
    let (world, one) = world();
    let two = enrolled_user(&world);
    let registration = Registration { user: Some(ada()), ..Registration::default() };
    world
        .gateway
        .register_device(&world.authed(), NewDevice { id: "laptop".parse().unwrap(), registration })
        .unwrap();
    let secret = world.ticket("device", &"laptop".parse().unwrap());
    let client = Client::new();
    let laptop = client.enrol(&world, "device", &client.csr("CN=x", Some(&secret))).certificate().clone();
    let stranger = enrolled(&world, "SN9");

    assert_eq!(happens(&world, UserEvent::Delete).len(), 2);
    for certificate in [&one, &two] {
        assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
    }
    // A device's certificate is the device's: it stands while its user may not have another.
    for certificate in [&laptop, &stranger] {
        assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
    }
}

#[test]
fn a_users_hold_and_an_operators_hold_are_released_apart() {
    let (world, certificate) = world();
    world.gateway.hold_certificate(&world.authed(), &id_of(&certificate), "").unwrap();
    happens(&world, UserEvent::Disable);
    assert!(happens(&world, UserEvent::Enable).is_empty());
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
    world.gateway.release_certificate(&world.authed(), &id_of(&certificate), "").unwrap();
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
}
