//! What happens to devices, and what that does to their certificates.

use certgate::{
    domain::{
        device::{DeviceEvent, Lifecycle, Registration},
        status::Status,
        user::{UserEvent, UserState},
    },
    ports::store::Page,
    service::{ServiceError, device::NewDevice, user::UserAttributes},
    types::{DeviceId, RevocationReason, UserId},
    wire::ocsp::CertStatus,
};

use super::{common::World, crl_entry, enrolled, ocsp_status, world};

fn happens(world: &World, event: DeviceEvent) -> Vec<(Status, Status)> {
    let id: DeviceId = "SN1".parse().unwrap();
    let outcome = world.gateway.device_event(&world.authed(), &id, event, "in the test").unwrap();
    outcome.certificates.iter().map(|it| (it.before, it.after)).collect()
}

#[test]
fn a_wipe_holds_its_withdrawal_releases_and_its_confirmation_revokes() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let hold = CertStatus::Revoked { at: world.now(), reason: RevocationReason::CertificateHold };

    assert_eq!(happens(&world, DeviceEvent::Wipe), [(Status::Good, Status::Hold)]);
    assert_eq!(ocsp_status(&world, certificate.serial()), hold);
    assert_eq!(happens(&world, DeviceEvent::CancelWipe), [(Status::Hold, Status::Good)]);
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
    happens(&world, DeviceEvent::Wipe);
    assert_eq!(happens(&world, DeviceEvent::Force), [(Status::Hold, Status::Revoked)]);

    let gone = CertStatus::Revoked { at: world.now(), reason: RevocationReason::CessationOfOperation };
    assert_eq!(ocsp_status(&world, certificate.serial()), gone);
    let entry = crl_entry(&world, certificate.serial()).unwrap();
    assert_eq!(entry.reason, RevocationReason::CessationOfOperation);
}

#[test]
fn releasing_one_hold_leaves_the_other() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    happens(&world, DeviceEvent::Lost);
    happens(&world, DeviceEvent::Retire);
    assert_eq!(happens(&world, DeviceEvent::Unretire), []);
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
    assert_eq!(happens(&world, DeviceEvent::Found), [(Status::Hold, Status::Good)]);
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
}

#[test]
fn a_hold_of_the_device_is_not_released_by_hand() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    happens(&world, DeviceEvent::Wipe);
    let id = super::id_of(&certificate);
    let refused = world.gateway.release_certificate(&world.authed(), &id, "").unwrap_err();
    assert!(matches!(&refused, ServiceError::Refused(text) if text.contains("not set by hand")), "{refused}");
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
}

#[test]
fn the_answer_shows_the_device_with_every_cause() {
    let world = world();
    enrolled(&world, "SN1");
    happens(&world, DeviceEvent::Lost);
    happens(&world, DeviceEvent::Wipe);
    let device = world.gateway.device(&world.authed(), &"SN1".parse().unwrap()).unwrap();
    assert_eq!(device.lifecycle, Lifecycle::WipePending);
    let [certificate] = &device.certificates[..] else { panic!("{:?}", device.certificates) };
    assert_eq!(certificate.status, Status::Hold);
    assert_eq!(certificate.causes.len(), 2);
    assert!(
        certificate
            .causes
            .iter()
            .all(|cause| cause.note.contains("in the test") && cause.actor == "local uid 0")
    );
}

#[test]
fn an_impossible_event_changes_nothing() {
    let world = world();
    let certificate = enrolled(&world, "SN1");
    let id: DeviceId = "SN1".parse().unwrap();
    let before = world.gateway.audit_tail(&world.authed(), 1000).unwrap().items.len();
    let refused = world.gateway.device_event(&world.authed(), &id, DeviceEvent::CancelWipe, "");
    assert!(matches!(refused, Err(ServiceError::Refused(_))), "{refused:?}");
    let asked = world.gateway.device_event(&world.authed(), &id, DeviceEvent::Enrolled, "");
    assert!(matches!(asked, Err(ServiceError::Invalid { .. })), "{asked:?}");
    assert_eq!(ocsp_status(&world, certificate.serial()), CertStatus::Good);
    assert_eq!(world.gateway.audit_tail(&world.authed(), 1000).unwrap().items.len(), before);
}

#[test]
fn two_devices_cannot_have_one_identity() {
    let world = world();
    let new = |id: &str| {
        let registration: Registration =
            serde_json::from_value(serde_json::json!({ "identities": { "serial": "C02X" } })).unwrap();
        NewDevice { id: id.parse().unwrap(), registration }
    };
    world.gateway.register_device(&world.authed(), new("one")).unwrap();
    let refused = world.gateway.register_device(&world.authed(), new("two")).unwrap_err();
    assert!(matches!(&refused, ServiceError::Conflict(text) if text.contains("\"one\"")), "{refused}");
    let again = world.gateway.register_device(&world.authed(), new("one")).unwrap_err();
    assert!(matches!(again, ServiceError::Conflict(_)));
}

#[test]
fn a_listing_filters_by_lifecycle_over_its_pages() {
    let world = world();
    for number in 0..5 {
        enrolled(&world, &format!("SN{number}"));
        world.register(&format!("new{number}"));
    }
    let active = Some(world.gateway.device(&world.authed(), &"SN1".parse().unwrap()).unwrap().lifecycle);
    let mut page = Page::first(2);
    let mut seen = Vec::new();
    loop {
        let listing = world.gateway.devices(&world.authed(), active, &page).unwrap();
        seen.extend(listing.items.into_iter().map(|device| device.id.to_string()));
        let Some(next) = listing.next else { break };
        page.after = Some(next.parse().unwrap());
    }
    assert_eq!(seen, ["SN0", "SN1", "SN2", "SN3", "SN4"]);
}

#[test]
fn a_user_that_is_described_anew_keeps_their_state() {
    let world = world();
    let id: UserId = "ada@lab.example".parse().unwrap();
    let attributes = UserAttributes { email: "ada@lab.example".to_owned(), ..UserAttributes::default() };
    world.gateway.put_user(&world.authed(), &id, &attributes).unwrap();
    world.gateway.user_event(&world.authed(), &id, UserEvent::Disable, "").unwrap();
    let changed = UserAttributes { display_name: "Ada".to_owned(), ..attributes };
    let user = world.gateway.put_user(&world.authed(), &id, &changed).unwrap();
    assert_eq!((user.state, user.details.display_name.as_str()), (UserState::Disabled, "Ada"));
    world.gateway.user_event(&world.authed(), &id, UserEvent::Delete, "").unwrap();
    let again = world.gateway.user_event(&world.authed(), &id, UserEvent::Enable, "");
    assert!(matches!(again, Err(ServiceError::Refused(_))));
}
