//! What a source's listings do to devices, and what OCSP, CRL and API then say of their certificates.

use std::time::Duration;

use certgate::{
    domain::{
        access::{Caller, Operate},
        device::{ConditionKind, DeviceEvent, Lifecycle},
        source::{MissingPolicy, SourceKind, SyncOutcome},
        status::Status,
    },
    ports::store::Page,
    service::{
        ServiceError,
        source::{
            NewSource,
            sync::{SyncReport, SyncRequest},
        },
    },
    types::{DeviceId, RevocationReason, SourceId},
    wire::{ocsp::CertStatus, x509::Certificate},
};

use super::{
    common::{Client, World},
    crl_entry, id_of, ocsp_status, world,
};

fn mdm() -> SourceId {
    "mdm".parse().unwrap()
}

pub(super) fn add(world: &World, missing: MissingPolicy) {
    let new = NewSource { id: mdm(), kind: SourceKind::Inventory, missing, grace_days: Some(7) };
    world.gateway.add_source(&world.authed(), &new).unwrap();
}

fn request(listing: &str) -> SyncRequest {
    SyncRequest { listing: listing.as_bytes().to_vec(), ..SyncRequest::default() }
}

fn try_sync(world: &World, request: &SyncRequest) -> Result<SyncReport, ServiceError> {
    world.gateway.sync_source(&world.authed::<Operate>(), &mdm(), request)
}

pub(super) fn sync(world: &World, listing: &str) -> SyncReport {
    try_sync(world, &request(listing)).unwrap()
}

/// A listing of these devices.
fn listing(ids: impl IntoIterator<Item = String>) -> String {
    ids.into_iter()
        .fold("Serial number,Device name\n".to_owned(), |text, id| text + &format!("{id},The {id}\n"))
}

pub(super) fn numbered(numbers: std::ops::Range<usize>) -> String {
    listing(numbers.map(|number| format!("SN{number}")))
}

/// Enrols a device that the source registered.
pub(super) fn enrol(world: &World, id: &str) -> Certificate {
    let secret = world.ticket("device", &id.parse().unwrap());
    let client = Client::new();
    client.enrol(world, "device", &client.csr("CN=x", Some(&secret))).certificate().clone()
}

fn device(world: &World, id: &str) -> certgate::service::device::DeviceView {
    world.gateway.device(&world.authed(), &id.parse().unwrap()).unwrap()
}

fn audited(world: &World) -> usize {
    world.gateway.audit_tail(&world.authed(), 10_000).unwrap().items.len()
}

fn on_hold(world: &World, certificate: &Certificate) -> bool {
    let held = matches!(
        ocsp_status(world, certificate.serial()),
        CertStatus::Revoked { reason: RevocationReason::CertificateHold, .. }
    );
    let entry = crl_entry(world, certificate.serial());
    assert_eq!(held, entry.is_some_and(|entry| entry.reason == RevocationReason::CertificateHold));
    held
}

#[test]
fn a_listing_registers_and_the_same_again_changes_nothing() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    let text = "Serial number,Device name,Primary user UPN,Model,Asset\nSN1,One,ada@lab.example,X1,7\nSN2,Two,,X2,8\n";
    let report = sync(&world, text);
    assert_eq!(
        (report.counts.registered, report.counts.devices, report.outcome),
        (2, 2, SyncOutcome::Complete)
    );
    let one = device(&world, "SN1");
    assert_eq!((one.source, one.last_seen), (Some(mdm()), Some(world.now())));
    assert_eq!((one.name.as_str(), one.model.as_str()), ("One", "X1"));
    assert_eq!(one.user.as_ref().unwrap().as_str(), "ada@lab.example");
    assert_eq!(world.gateway.user(&world.authed(), &one.user.unwrap()).unwrap().devices.len(), 1);

    let (before, audit) = (device(&world, "SN2"), audited(&world));
    world.clock.advance(Duration::from_secs(60));
    let again = sync(&world, text);
    assert_eq!((again.counts.registered, again.counts.updated, again.counts.seen), (0, 0, 2));
    let after = device(&world, "SN2");
    assert_eq!((after.version, after.last_seen), (before.version, Some(world.now())));
    assert_eq!(audited(&world), audit + 1, "the sync itself, and nothing else");
    let listed = world.gateway.devices_of_source(&world.authed(), &mdm(), &Page::first(10)).unwrap();
    assert_eq!(listed.items.len(), 2);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let world = world();
    add(&world, MissingPolicy::Keep);
    let before = world.gateway.source(&world.authed(), &mdm()).unwrap();
    let report = try_sync(&world, &SyncRequest { dry_run: true, ..request(&numbered(0..3)) }).unwrap();
    assert_eq!((report.dry_run, report.counts.registered), (true, 3));
    assert_eq!(world.read(|view| view.count_devices()), 0);
    assert_eq!(world.gateway.source(&world.authed(), &mdm()).unwrap(), before);
}

#[test]
fn three_listings_without_a_device_hold_it_and_its_return_releases_it() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(1..3));
    let (gone, there) = (enrol(&world, "SN1"), enrol(&world, "SN2"));
    let last_seen = device(&world, "SN1").last_seen;
    for listing in 1..=3 {
        world.clock.advance(Duration::from_secs(3600));
        assert!(!on_hold(&world, &gone), "before listing {listing}");
        let report = sync(&world, &numbered(2..3));
        assert_eq!((report.counts.absent, report.counts.held), (1, u64::from(listing == 3)));
    }
    assert!(on_hold(&world, &gone) && !on_hold(&world, &there));
    let missing = device(&world, "SN1");
    assert_eq!((missing.badge.as_str(), missing.last_seen), ("missing", last_seen));
    assert_eq!(missing.conditions[0].kind, ConditionKind::SourceHold);
    let [cause] = &world.gateway.certificate(&world.authed(), &id_of(&gone)).unwrap().causes[..] else {
        panic!("one cause")
    };
    assert_eq!((cause.reference.as_str(), cause.note.as_str()), ("missing", "source mdm"));

    let report = sync(&world, &numbered(1..3));
    assert_eq!((report.counts.returned, report.certificates_changed), (1, 1));
    assert!(!on_hold(&world, &gone));
    assert_eq!(device(&world, "SN1").conditions, []);
}

#[test]
fn a_return_releases_only_the_hold_of_the_absence() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(1..3));
    let certificate = enrol(&world, "SN1");
    (0..3).for_each(|_| drop(sync(&world, &numbered(2..3))));
    let id: DeviceId = "SN1".parse().unwrap();
    world.gateway.device_event(&world.authed(), &id, DeviceEvent::Lost, "").unwrap();
    sync(&world, &numbered(1..3));
    assert!(on_hold(&world, &certificate), "the loss holds it still");
}

#[test]
fn a_missing_device_gets_no_new_certificate_while_it_is_held() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(1..3));
    let secret = world.ticket("device", &"SN1".parse().unwrap());
    (0..3).for_each(|_| drop(sync(&world, &numbered(2..3))));
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("CN=x", Some(&secret)));
    answer.failure();
    assert_eq!(world.leaves(), 0);
}

#[test]
fn a_source_that_keeps_only_shows_what_is_missing() {
    let world = world();
    add(&world, MissingPolicy::Keep);
    sync(&world, &numbered(1..3));
    let certificate = enrol(&world, "SN1");
    (0..4).for_each(|_| drop(sync(&world, &numbered(2..3))));
    assert_eq!(device(&world, "SN1").conditions[0].kind, ConditionKind::SourceMissing);
    assert!(!on_hold(&world, &certificate));
}

#[test]
fn a_device_that_stays_away_is_retired_after_the_grace() {
    let world = world();
    add(&world, MissingPolicy::Retire);
    sync(&world, &numbered(1..3));
    let certificate = enrol(&world, "SN1");
    (0..3).for_each(|_| drop(sync(&world, &numbered(2..3))));
    world.clock.advance(Duration::from_secs(6 * 86_400));
    sync(&world, &numbered(2..3));
    assert!(on_hold(&world, &certificate));
    world.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(sync(&world, &numbered(2..3)).counts.retired, 1);
    assert_eq!(device(&world, "SN1").lifecycle, Lifecycle::Retired);
    let status = world.gateway.certificate(&world.authed(), &id_of(&certificate)).unwrap().status;
    assert_eq!(status, Status::Revoked);
    sync(&world, &numbered(1..3));
    assert_eq!(device(&world, "SN1").lifecycle, Lifecycle::Retired, "a return revives nobody");
}

#[test]
fn a_sync_that_retires_devices_refuses_their_requests_that_wait() {
    let manual = "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\nchallenge = []\n";
    let world = World::new(&[("manual", manual)]);
    add(&world, MissingPolicy::Keep);
    sync(&world, &numbered(1..4));
    for id in ["SN1", "SN2", "SN3"] {
        let client = Client::new();
        client.enrol(&world, "manual", &client.csr(&format!("CN={id}"), None));
    }
    sync(&world, "Serial number,Device name,State\nSN1,The SN1,retired\nSN2,The SN2,retired\nSN3,The SN3,\n");
    let waiting = world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items;
    let waiting: Vec<_> = waiting.iter().map(|it| it.requested_subject.as_str()).collect();
    assert_eq!(waiting, ["CN=SN3"]);
}

#[test]
fn a_state_in_the_listing_acts_on_certificates() {
    let world = world();
    add(&world, MissingPolicy::Keep);
    sync(&world, &numbered(1..3));
    let (wiped, waiting) = (enrol(&world, "SN1"), enrol(&world, "SN2"));
    let report = sync(&world, "serial,managementState\nSN1,wiped\nSN2,retirePending\n");
    assert_eq!((report.counts.retired, report.counts.held), (1, 1));
    assert_eq!(
        ocsp_status(&world, wiped.serial()),
        CertStatus::Revoked { at: world.now(), reason: RevocationReason::CessationOfOperation }
    );
    assert!(on_hold(&world, &waiting));
    sync(&world, "serial,managementState\nSN1,wiped\nSN2,retireCanceled\n");
    assert!(!on_hold(&world, &waiting));
}

#[test]
fn a_truncated_listing_is_refused_and_changes_nothing_unless_forced() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(0..14));
    let certificate = enrol(&world, "SN13");
    let truncated = numbered(0..2);
    (0..2).for_each(|_| drop(sync(&world, &truncated)));
    let before = audited(&world);
    let refused = try_sync(&world, &request(&truncated)).unwrap_err();
    assert!(
        matches!(&refused, ServiceError::Refused(text) if text.contains("12 devices on hold")),
        "{refused}"
    );
    assert_eq!(audited(&world), before + 1, "that it was refused");
    assert!(!on_hold(&world, &certificate));
    let shown = world.gateway.source(&world.authed(), &mdm()).unwrap().source.last_sync.unwrap();
    assert_eq!((shown.outcome, shown.counts.held), (SyncOutcome::Refused, 12));
    let forced = try_sync(&world, &SyncRequest { force: true, ..request(&truncated) }).unwrap();
    assert_eq!(forced.counts.held, 12);
    assert!(on_hold(&world, &certificate));
}

#[test]
fn an_empty_listing_and_one_without_a_valid_line_are_refused() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(0..2));
    for (text, reason) in [
        ("serial\n", "no device at all"),
        ("[]", "no device at all"),
        ("serial\n/\n//\n", "none of the 2 lines"),
    ] {
        let refused = try_sync(&world, &request(text)).unwrap_err();
        assert!(matches!(&refused, ServiceError::Refused(words) if words.contains(reason)), "{refused}");
    }
    let nothing = try_sync(&world, &SyncRequest { force: true, ..request("[]") }).unwrap();
    assert_eq!((nothing.counts.absent, nothing.complete), (2, true));
}

#[test]
fn bad_lines_are_named_and_the_others_applied() {
    let world = world();
    add(&world, MissingPolicy::Keep);
    let report = sync(&world, "serial,user\nSN1,ada\nSN2,not a user\nSN1,eve\nSN3\nSN4,\n");
    let lines: Vec<u64> = report.problems.iter().map(|problem| problem.line).collect();
    assert_eq!((lines, report.counts.registered, report.outcome), (vec![3, 4, 5], 2, SyncOutcome::Partial));
    assert!(!report.complete, "line 5 may be about anybody");
    assert_eq!(world.gateway.source(&world.authed(), &mdm()).unwrap().source.listings, 0);
}

#[test]
fn a_removed_source_leaves_its_devices_in_peace() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(1..4));
    let certificate = enrol(&world, "SN1");
    (0..3).for_each(|_| drop(sync(&world, &numbered(2..4))));
    assert!(on_hold(&world, &certificate));
    let removed = world.gateway.remove_source(&world.authed(), &mdm()).unwrap();
    assert_eq!((removed.devices, removed.released, removed.certificates.len()), (3, 1, 1));
    assert!(!on_hold(&world, &certificate));
    let device = device(&world, "SN1");
    assert_eq!((device.lifecycle, device.source, device.conditions.len()), (Lifecycle::Active, None, 0));
    assert!(matches!(try_sync(&world, &request("[]")), Err(ServiceError::NotFound { .. })));
}

#[test]
fn a_device_registered_by_hand_joins_the_source_that_lists_it() {
    let world = world();
    world.register("SN1");
    assert_eq!(device(&world, "SN1").source, None);
    add(&world, MissingPolicy::Keep);
    let report = sync(&world, &numbered(1..2));
    assert_eq!((report.counts.registered, report.counts.updated), (0, 1));
    assert_eq!(device(&world, "SN1").source, Some(mdm()));
    let facts = world.gateway.audit_tail(&world.authed(), 100).unwrap().items;
    let of_it = facts.iter().filter(|fact| fact.object == "SN1").map(|fact| fact.action.as_str());
    assert!(of_it.eq(["device.changed", "device.joined-source"]), "{facts:?}");
    let other = NewSource { id: "other".parse().unwrap(), ..new_source() };
    world.gateway.add_source(&world.authed(), &other).unwrap();
    let refused = world.gateway.sync_source(&world.authed(), &other.id, &request(&numbered(1..2)));
    assert!(
        matches!(&refused, Err(ServiceError::Refused(text)) if text.contains("source \"mdm\"")),
        "{refused:?}"
    );
}

fn new_source() -> NewSource {
    NewSource { id: mdm(), kind: SourceKind::Inventory, missing: MissingPolicy::Keep, grace_days: None }
}

#[test]
fn only_sources_may_say_that_a_device_is_missing() {
    let world = world();
    let id = world.register("SN1");
    for event in [DeviceEvent::SourceMissing, DeviceEvent::SourceHold, DeviceEvent::SourceBack] {
        let refused = world.gateway.device_event(&world.authed(), &id, event, "");
        assert!(matches!(refused, Err(ServiceError::Invalid { .. })), "{refused:?}");
    }
}

#[test]
fn adding_a_source_needs_an_owner() {
    use certgate::domain::access::{Actor, Administer, Role};
    let world = world();
    let request = world.gateway.new_request();
    let operator =
        Caller { actor: Actor::Local { uid: 7 }, role: Role::Operator, request, profiles: Vec::new() };
    assert!(operator.prove::<Administer>().is_err());
    add(&world, MissingPolicy::Keep);
    let again = world.gateway.add_source(&world.authed(), &new_source());
    assert!(matches!(again, Err(ServiceError::Conflict(_))));
}

#[test]
fn an_absence_is_in_a_row_also_where_a_line_is_refused() {
    let world = world();
    add(&world, MissingPolicy::Hold);
    sync(&world, &numbered(1..3));
    let certificate = enrol(&world, "SN1");
    let refused = "Serial number,User\nSN1,no user\nSN2,ada\n";
    for listing in [&numbered(2..3), refused, &numbered(2..3), &numbered(2..3)] {
        sync(&world, listing);
        assert!(!on_hold(&world, &certificate), "{listing}");
    }
    sync(&world, &numbered(2..3));
    assert!(on_hold(&world, &certificate), "the third in a row");
    sync(&world, refused);
    assert!(on_hold(&world, &certificate), "a refused line releases nothing");
}

#[test]
fn a_certificate_counts_once_however_often_it_changes() {
    let world = world();
    add(&world, MissingPolicy::Keep);
    sync(&world, &numbered(1..2));
    let certificate = enrol(&world, "SN1");
    let report = sync(&world, "serial,state\nSN1,wiped\n");
    assert_eq!((report.counts.retired, report.certificates_changed), (1, 1));
    assert!(matches!(ocsp_status(&world, certificate.serial()), CertStatus::Revoked { .. }));
}
