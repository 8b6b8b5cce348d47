//! Another CA's certificates, taken over: the CA is a second gateway, whose records and CRL are what is imported.

use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use certgate::{
    adapters::store::RedbStore,
    domain::{
        access::Read,
        crl::{CrlPolicy, CrlScope, Partition},
        import::SourceCrl,
        status::Status,
        user::{UserDetails, UserEvent},
    },
    service::{
        GatewaySettings, Ports, ServiceError,
        certificate::{CertificateView, RevocationView},
        crl::PublishedCrl,
        health::CheckResult,
        import::{BindRule, CheckedCrl, ImportBatch, ImportLine, ImportReport, ImportTarget, NewImport},
        rollover::NewSuccessor,
    },
    types::{
        CertificateId, DigestAlgorithm, IssuerId, KeyAlgorithm, RevocationReason, SerialNumber, UserId,
        Validity,
    },
    wire::{
        crl::Crl,
        ocsp::CertId,
        x509::{Certificate, CertificateSpec},
    },
};

use super::{
    common::{DAY, World, WorldOptions, sign_certificate, signer},
    crl_entry,
    crl_policy::{settings, world_with},
    drive::Drive,
    enrolled, id_of, issuing,
    meanwhile::{Meanwhile, When},
    plain_request, revoke, world,
};

/// Begins an import from the issuing CA of `old`.
pub(super) fn open(world: &World, old: &World) -> ImportTarget {
    let new = NewImport { issuer_certificate: old.issuer("issuing").to_pem(), name: None };
    world.gateway.open_import(&world.authed(), &new).unwrap()
}

/// A line that tells of the certificate's serial number only.
fn of_serial(certificate: &Certificate) -> ImportLine {
    ImportLine { serial: Some(certificate.serial().clone()), ..ImportLine::default() }
}

/// A line with the certificate itself.
pub(super) fn whole(certificate: &Certificate) -> ImportLine {
    ImportLine { certificate: Some(BASE64_STANDARD.encode(certificate.as_der())), ..ImportLine::default() }
}

/// A line of an index.
pub(super) fn listed(certificate: &Certificate, revocation: Option<RevocationView>) -> ImportLine {
    ImportLine {
        not_after: Some(certificate.validity().not_after),
        subject: Some(certificate.subject().to_string()),
        good: revocation.is_none(),
        revocation,
        ..of_serial(certificate)
    }
}

pub(super) fn take(world: &World, issuer: &IssuerId, lines: Vec<ImportLine>) -> ImportReport {
    let numbered = lines.into_iter().zip(1..).map(|(line, number)| ImportLine { line: number, ..line });
    let batch = ImportBatch {
        source: "index.txt".to_owned(),
        certificates: numbered.collect(),
        bind: None,
        crl: None,
    };
    world.gateway.import_certificates(&world.authed(), issuer, &batch).unwrap()
}

fn shown(world: &World, issuer: &IssuerId, certificate: &Certificate) -> CertificateView {
    let id = CertificateId { issuer: issuer.clone(), serial: certificate.serial().clone() };
    world.gateway.certificate(&world.authed::<Read>(), &id).unwrap()
}

pub(super) fn because(old: &World, reason: RevocationReason) -> RevocationView {
    RevocationView { reason, at: old.now(), invalidity_date: None }
}

fn audit_length(world: &World) -> u64 {
    world.read(|view| view.last_audit_event()).unwrap().sequence
}

#[test]
fn what_another_ca_issued_keeps_its_status() {
    let (old, world) = (world(), world());
    let [good, gone, held] = ["SN1", "SN2", "SN3"].map(|device| enrolled(&old, device));
    let target = open(&world, &old);
    assert_eq!((target.issuer.as_str(), target.external, target.created), ("test-issuing-ca", true, true));
    let issuer = target.issuer;
    let superseded = because(&old, RevocationReason::Superseded);
    let on_hold = because(&old, RevocationReason::CertificateHold);
    let lines = || vec![listed(&good, None), listed(&gone, Some(superseded)), listed(&held, Some(on_hold))];
    let report = take(&world, &issuer, lines());
    assert_eq!((report.added, report.revoked, report.held, report.refused.len()), (3, 1, 1, 0));

    let status = |world: &World| [&good, &gone, &held].map(|it| shown(world, &issuer, it).status);
    assert_eq!(status(&world), [Status::Good, Status::Revoked, Status::Hold]);
    let one = shown(&world, &issuer, &gone);
    assert_eq!((one.revocation, one.fingerprint, one.pem), (Some(superseded), None, None));
    assert_eq!((one.subject, one.not_before), (gone.subject().to_string(), None));
    assert_eq!(one.not_after, Some(gone.validity().not_after));
    // The start finds the CA and what is revoked.
    let cert_id = CertId::new(DigestAlgorithm::Sha1, &old.issuer("issuing"), good.serial()).unwrap();
    let (name, key) = (cert_id.issuer_name_hash(), cert_id.issuer_key_hash());
    let world = world.restarted(GatewaySettings::default());
    let found = world.gateway.authorities();
    assert!(
        found.answered_by_cert_id(DigestAlgorithm::Sha1, name, key).is_none(),
        "nobody gave us the right"
    );
    assert_eq!(found.external(&issuer).unwrap().certificate, old.issuer("issuing"));
    assert_eq!(status(&world), [Status::Good, Status::Revoked, Status::Hold]);

    // The certificates themselves complete the records; nothing is there twice.
    let report = take(&world, &issuer, [&good, &gone, &held].map(whole).into());
    assert_eq!((report.completed, report.added, report.revoked), (3, 0, 0));
    let one = shown(&world, &issuer, &good);
    assert_eq!(
        (one.fingerprint, one.not_before),
        (Some(good.fingerprint()), Some(good.validity().not_before))
    );
    assert!(one.pem.is_some());
    let length = audit_length(&world);
    let report = take(&world, &issuer, lines());
    assert_eq!((report.unchanged, audit_length(&world)), (3, length), "a repeated import writes nothing");
}

#[test]
fn the_successor_of_a_ca_of_ours_takes_no_name_that_an_external_one_has() {
    let (old, world) = (world(), world());
    let gone = enrolled(&old, "SN1");
    let new = NewImport {
        issuer_certificate: old.issuer("issuing").to_pem(),
        name: Some("issuing-2".parse().unwrap()),
    };
    let external = world.gateway.open_import(&world.authed(), &new).unwrap().issuer;
    take(&world, &external, vec![listed(&gone, Some(because(&old, RevocationReason::Superseded)))]);
    let successor = world.gateway.roll_over(&world.authed(), &issuing(), &NewSuccessor::default()).unwrap();
    assert_eq!((successor.id.as_str(), successor.generation.number), ("issuing-3", 3));
    assert_eq!(shown(&world, &external, &gone).status, Status::Revoked);
    let authorities = world.gateway.authorities();
    assert_eq!(authorities.external(&external).unwrap().certificate, old.issuer("issuing"));
    assert!(authorities.issuer(&external).is_none());
}

#[test]
fn an_external_issuer_takes_no_name_whose_crl_would_be_where_a_delta_is() {
    let (old, world) = (world(), world());
    let named = |name: &str| NewImport {
        issuer_certificate: old.issuer("issuing").to_pem(),
        name: Some(name.parse().unwrap()),
    };
    let refused = world.gateway.open_import(&world.authed(), &named("issuing-delta")).unwrap_err();
    assert!(matches!(refused, ServiceError::Conflict(_)), "{refused}");
    world.gateway.open_import(&world.authed(), &named("old-delta")).unwrap();
}

#[test]
fn imported_certificates_are_acted_on_like_others() {
    let (old, world) = (world(), world());
    let [good, held] = ["SN1", "SN2"].map(|device| enrolled(&old, device));
    let issuer = open(&world, &old).issuer;
    let on_hold = because(&old, RevocationReason::CertificateHold);
    take(&world, &issuer, vec![listed(&good, None), listed(&held, Some(on_hold))]);
    let id = |it: &Certificate| CertificateId { issuer: issuer.clone(), serial: it.serial().clone() };
    let authed = world.authed();
    let revoked = super::because(RevocationReason::KeyCompromise);
    world.gateway.revoke_certificate(&authed, &id(&good), &revoked).unwrap();
    assert_eq!(shown(&world, &issuer, &good).status, Status::Revoked);
    world.gateway.release_certificate(&authed, &id(&held), "").unwrap();
    assert_eq!(shown(&world, &issuer, &held).status, Status::Good);
    // The old CA's files do not undo what was done here.
    take(&world, &issuer, vec![listed(&good, None)]);
    assert_eq!(shown(&world, &issuer, &good).status, Status::Revoked);
    // A hold that it brought ends when it says so.
    take(&world, &issuer, vec![listed(&held, Some(on_hold))]);
    assert_eq!(shown(&world, &issuer, &held).status, Status::Hold);
    let report = take(&world, &issuer, vec![listed(&held, None)]);
    assert_eq!((report.released, shown(&world, &issuer, &held).status), (1, Status::Good));
}

#[test]
fn the_ca_does_not_release_what_an_operator_holds_too() {
    let (old, world) = (world(), world());
    let held = enrolled(&old, "SN1");
    let issuer = open(&world, &old).issuer;
    take(&world, &issuer, vec![listed(&held, Some(because(&old, RevocationReason::CertificateHold)))]);
    let since = shown(&world, &issuer, &held).revocation.unwrap().at;
    world.clock.advance(DAY);
    let id = CertificateId { issuer: issuer.clone(), serial: held.serial().clone() };
    world.gateway.hold_certificate(&world.authed(), &id, "reported stolen").unwrap();
    let report = take(&world, &issuer, vec![listed(&held, None)]);
    let now = shown(&world, &issuer, &held);
    assert_eq!((report.released, now.status), (0, Status::Hold));
    assert_eq!(now.revocation.unwrap().at, since, "it was on hold all the time");
    assert_eq!(now.causes[0].note, "reported stolen");
    world.gateway.release_certificate(&world.authed(), &id, "").unwrap();
    assert_eq!(shown(&world, &issuer, &held).status, Status::Good);
}

#[test]
fn the_last_crl_of_the_old_ca_is_served_and_none_is_signed_for_it() {
    let (old, world) = (world(), world());
    let gone = enrolled(&old, "SN1");
    revoke(&old, &gone, RevocationReason::KeyCompromise);
    let first = old.gateway.publish_crl(&old.authed(), &issuing()).unwrap();
    let second = old.gateway.publish_crl(&old.authed(), &issuing()).unwrap();
    let issuer = open(&world, &old).issuer;
    let entry = Crl::from_der(&second.der).unwrap().entries()[0].clone();
    let line = ImportLine { revocation: Some(because(&old, entry.reason)), ..of_serial(&gone) };
    take(&world, &issuer, vec![line]);
    let imported = world.gateway.import_crl(&world.authed(), &issuer, &second.der).unwrap();
    assert_eq!((imported.number, imported.entries, imported.published), (Some(second.number), 1, true));
    assert_eq!(world.gateway.crl(&issuer).unwrap().der, second.der);
    let again = world.gateway.import_crl(&world.authed(), &issuer, &second.der).unwrap();
    assert_eq!(again, imported);
    // An older one does not take its place.
    let older = world.gateway.import_crl(&world.authed(), &issuer, &first.der).unwrap();
    assert!(!older.published);
    let world = world.restarted(GatewaySettings::default());
    assert_eq!(world.gateway.crl(&issuer).unwrap().der, second.der);
    let stale = || {
        let mut checks = world.gateway.health().checks.into_iter();
        checks.find(|check| check.name == format!("crl/{issuer}")).unwrap().result
    };
    assert_eq!(stale(), CheckResult::Pass);
    world.clock.advance(8 * DAY);
    assert_eq!(stale(), CheckResult::Warn, "nobody imported the next one");
    let refused = world.gateway.publish_crl(&world.authed(), &issuer).unwrap_err();
    assert!(
        matches!(&refused, ServiceError::Refused(words) if words.contains("key of test-issuing-ca is not here"))
    );
    // Without an end nobody knows when it may be forgotten: it stays listed.
    let one = shown(&world, &issuer, &gone);
    assert_eq!((one.status, one.not_after), (Status::Revoked, None));
}

#[test]
fn of_two_crls_that_are_imported_at_once_the_newer_is_served() {
    let (old, world) = (world(), world());
    let [first, second] = [(); 2].map(|()| old.gateway.publish_crl(&old.authed(), &issuing()).unwrap());
    let (world, store) = Meanwhile::over(world);
    let issuer = open(&world, &old).issuer;
    let newer = {
        let (inner, authed, issuer) = (world.gateway.clone(), world.authed(), issuer.clone());
        let der = second.der.clone();
        move || drop(inner.import_crl(&authed, &issuer, &der).unwrap())
    };
    store.let_happen(When::Written, Box::new(newer));
    let imported = world.gateway.import_crl(&world.authed(), &issuer, &first.der).unwrap();
    assert!(imported.published);
    assert_eq!(world.gateway.crl(&issuer).unwrap().der, second.der);
}

/// The CA released it since, or an operator did; what is revoked for good is so whatever the newer one lists.
#[test]
fn a_crl_that_is_older_than_one_that_was_imported_puts_nothing_on_hold() {
    let (old, world) = (world(), world());
    let [held, gone] = ["SN1", "SN2"].map(|device| enrolled(&old, device));
    let crls = [(); 2].map(|()| old.gateway.publish_crl(&old.authed(), &issuing()).unwrap());
    let [older, newer] = crls.map(|crl| crl.der.clone());
    let issuer = open(&world, &old).issuer;
    let source = |der: &[u8]| CheckedCrl::scan(der, &old.issuer("issuing"), drop).unwrap().source();
    let take = |crl: SourceCrl| {
        let line = |(it, reason)| ImportLine { revocation: Some(because(&old, reason)), ..of_serial(it) };
        let lines =
            [(&held, RevocationReason::CertificateHold), (&gone, RevocationReason::Superseded)].map(line);
        let batch = ImportBatch {
            source: "old.crl".to_owned(),
            certificates: lines.into(),
            bind: None,
            crl: Some(crl),
        };
        world.gateway.import_certificates(&world.authed(), &issuer, &batch).unwrap()
    };
    let status = || [&held, &gone].map(|it| shown(&world, &issuer, it).status);
    world.gateway.import_crl(&world.authed(), &issuer, &newer).unwrap();
    let length = audit_length(&world);
    let report = take(source(&older));
    assert_eq!((report.added, report.revoked, report.held, report.outdated), (2, 1, 0, 1));
    assert_eq!((status(), audit_length(&world)), ([Status::Good, Status::Revoked], length + 1));
    let by_time = SourceCrl { number: None, this_update: old.now().minus(DAY), part: None };
    assert_eq!((take(by_time).outdated, audit_length(&world)), (1, length + 1), "nothing is written");
    // The newest itself, once more, is what the CA says.
    let report = take(source(&newer));
    assert_eq!((report.held, report.outdated, status()), (1, 0, [Status::Hold, Status::Revoked]));
    // It is on hold already, so that nothing was passed over.
    let report = take(source(&older));
    assert_eq!((report.unchanged, report.outdated), (2, 0));
}

/// Nothing of it is published, so that its time alone is remembered; each partition is for itself.
#[test]
fn a_partitions_crl_that_is_older_than_one_that_was_imported_puts_nothing_on_hold() {
    let old = world_with(settings(CrlPolicy { partitions: Some(2), ..CrlPolicy::default() }));
    let world = world();
    let held = enrolled(&old, "SN1");
    let own = Partition::holding(held.serial(), 2);
    let other = Partition { of: 2, index: 1 - own.index };
    let publish = || {
        old.clock.advance(DAY);
        world.clock.advance(DAY);
        old.gateway.publish_crl(&old.authed(), &issuing()).unwrap();
        let crl_of = |partition| old.gateway.crl_of(&issuing(), CrlScope::Partition(partition)).unwrap();
        [own, other].map(|partition| crl_of(partition).der.clone())
    };
    old.gateway.hold_certificate(&old.authed(), &id_of(&held), "").unwrap();
    let [older, _] = publish();
    old.gateway.release_certificate(&old.authed(), &id_of(&held), "").unwrap();
    let [newer, of_others] = publish();
    let issuer = open(&world, &old).issuer;
    let take_older = || {
        let crl = CheckedCrl::scan(&older, &old.issuer("issuing"), drop).unwrap().source();
        let revocation = Some(because(&old, RevocationReason::CertificateHold));
        let batch = ImportBatch {
            source: "old.crl".to_owned(),
            certificates: vec![ImportLine { revocation, ..of_serial(&held) }],
            bind: None,
            crl: Some(crl),
        };
        let report = world.gateway.import_certificates(&world.authed(), &issuer, &batch).unwrap();
        (report.held, report.outdated, shown(&world, &issuer, &held).status)
    };
    let import = |der: &[u8]| world.gateway.import_crl(&world.authed(), &issuer, der).unwrap();
    assert!(!import(&of_others).published);
    assert_eq!(take_older(), (1, 0, Status::Hold), "the other one says nothing of this certificate");
    let id = CertificateId { issuer: issuer.clone(), serial: held.serial().clone() };
    world.gateway.release_certificate(&world.authed(), &id, "").unwrap();
    import(&newer);
    let length = audit_length(&world);
    assert_eq!(take_older(), (0, 1, Status::Good));
    import(&newer);
    import(&older);
    assert_eq!(audit_length(&world), length, "nothing is news");
    assert_eq!(take_older(), (0, 1, Status::Good));
}

/// Else all that the CA makes until then would be passed over.
#[test]
fn a_crl_of_a_clock_that_is_ahead_makes_no_other_outdated() {
    let old = world_with(settings(CrlPolicy { partitions: Some(2), ..CrlPolicy::default() }));
    let world = world();
    let held = enrolled(&old, "SN1");
    let own = CrlScope::Partition(Partition::holding(held.serial(), 2));
    let publish = || {
        old.gateway.publish_crl(&old.authed(), &issuing()).unwrap();
        old.gateway.crl_of(&issuing(), own).unwrap().der.clone()
    };
    let of_now = publish();
    old.clock.advance(DAY);
    let of_tomorrow = publish();
    let issuer = open(&world, &old).issuer;
    world.gateway.import_crl(&world.authed(), &issuer, &of_tomorrow).unwrap();
    let revocation = Some(because(&old, RevocationReason::CertificateHold));
    let batch = ImportBatch {
        source: "old.crl".to_owned(),
        certificates: vec![ImportLine { revocation, ..of_serial(&held) }],
        bind: None,
        crl: Some(CheckedCrl::scan(&of_now, &old.issuer("issuing"), drop).unwrap().source()),
    };
    let report = world.gateway.import_certificates(&world.authed(), &issuer, &batch).unwrap();
    assert_eq!((report.held, report.outdated), (1, 0));
}

/// Certificates of people, as for mail: what happens to the user happens to them.
#[test]
fn imported_certificates_are_bound_to_users() {
    let (old, world) = (world(), world());
    let [hers, nobodys, gone] = ["ada", "SN2", "eve"].map(|name| enrolled(&old, name));
    let issuer = open(&world, &old).issuer;
    let [ada, eve] = ["ada", "eve"].map(|id| id.parse().unwrap());
    for user in [&ada, &eve] {
        world.gateway.put_user(&world.authed(), user, &UserDetails::default()).unwrap();
    }
    world.gateway.user_event(&world.authed(), &eve, UserEvent::Disable, "").unwrap();
    let batch = ImportBatch {
        source: "newcerts".to_owned(),
        certificates: [&hers, &nobodys, &gone].map(whole).into(),
        bind: Some(BindRule::UserCommonName),
        crl: None,
    };
    let bind = || world.gateway.import_certificates(&world.authed(), &issuer, &batch).unwrap();
    let report = bind();
    assert_eq!((report.bound, report.unbound.len()), (1, 2), "{report:?}");
    let why: Vec<_> = report.unbound.iter().map(|line| line.problem.as_str()).collect();
    assert!(why[0].contains("no user \"SN2\"") && why[1].contains("the user is disabled"), "{why:?}");
    let of_ada = |user: &UserId| shown(&world, &issuer, &hers).bindings[0].user.as_ref() == Some(user);
    assert!(of_ada(&ada));
    let again = bind();
    assert_eq!((again.bound, again.unchanged), (0, 3), "{again:?}");
    world.gateway.user_event(&world.authed(), &ada, UserEvent::Disable, "").unwrap();
    assert_eq!(shown(&world, &issuer, &hers).status, Status::Hold);
    world.gateway.user_event(&world.authed(), &ada, UserEvent::Delete, "").unwrap();
    assert_eq!(shown(&world, &issuer, &hers).status, Status::Revoked);
}

#[test]
fn what_another_ca_signed_is_refused() {
    let (old, other, world) = (world(), world(), world());
    let [ours, foreign] = [&old, &other].map(|it| enrolled(it, "SN1"));
    let issuer = open(&world, &old).issuer;
    let broken = ImportLine { certificate: Some("AAAA".to_owned()), ..ImportLine::default() };
    let wrong_serial = ImportLine { serial: Some(SerialNumber::from_random([1; 16])), ..whole(&ours) };
    let report = take(
        &world,
        &issuer,
        vec![whole(&foreign), whole(&ours), broken, wrong_serial, ImportLine::default()],
    );
    assert_eq!(report.added, 1);
    let lines: Vec<_> = report.refused.iter().map(|refused| refused.line).collect();
    assert_eq!(lines, [1, 3, 4, 5], "{:?}", report.refused);
    // Its name is the same, its key is not.
    assert!(report.refused[0].problem.contains("signature does not verify"), "{:?}", report.refused);
    let crl = other.gateway.publish_crl(&other.authed(), &issuing()).unwrap();
    let refused = world.gateway.import_crl(&world.authed(), &issuer, &crl.der).unwrap_err();
    assert!(refused.to_string().contains("signature does not verify"), "{refused}");
    let leaf = NewImport { issuer_certificate: ours.to_pem(), name: None };
    assert!(world.gateway.open_import(&world.authed(), &leaf).unwrap_err().to_string().contains("is no CA"));
    // The third CA of this name gets another one here.
    assert_eq!(open(&world, &other).issuer.as_str(), "test-issuing-ca-2");
    assert_eq!(open(&world, &old).issuer, issuer);
}

#[test]
fn a_ca_of_our_own_gets_its_records_back() {
    let world = world();
    let [kept, gone] = ["SN1", "SN2"].map(|device| enrolled(&world, device));
    // What another responder of the same CA revoked and published, under a number far above ours.
    let (target, serial) = (open(&world, &world), SerialNumber::from_random([9; 16]));
    assert_eq!((target.issuer, target.external), (issuing(), false));
    let elsewhere = ImportLine {
        serial: Some(serial.clone()),
        not_after: Some(world.now().plus(DAY * 30)),
        revocation: Some(because(&world, RevocationReason::Superseded)),
        ..ImportLine::default()
    };
    let revoked = listed(&gone, Some(because(&world, RevocationReason::KeyCompromise)));
    let report = take(&world, &issuing(), vec![elsewhere, revoked, whole(&kept)]);
    assert_eq!((report.added, report.revoked, report.unchanged), (1, 2, 1));
    for serial in [&serial, gone.serial()] {
        assert!(crl_entry(&world, serial).is_some());
    }
    assert!(crl_entry(&world, kept.serial()).is_none());
    assert_eq!(shown(&world, &issuing(), &kept).id, id_of(&kept).to_string());
    let authed = world.authed();
    let unknown = world.gateway.import_certificates(
        &authed,
        &"nobody".parse().unwrap(),
        &ImportBatch { source: String::new(), certificates: Vec::new(), bind: None, crl: None },
    );
    assert!(matches!(unknown, Err(ServiceError::NotFound { .. })));
}

/// A line about a serial number that nobody here issued: revoked, and expiring then.
fn revoked_elsewhere(world: &World, serial: &SerialNumber, days: u32) -> ImportLine {
    ImportLine {
        serial: Some(serial.clone()),
        not_after: Some(world.now().plus(DAY * days)),
        revocation: Some(because(world, RevocationReason::KeyCompromise)),
        ..ImportLine::default()
    }
}

#[test]
fn what_is_imported_as_revoked_is_not_good_for_a_moment() {
    let (world, store) = Meanwhile::over(world());
    let serial = SerialNumber::from_random([9; 16]);
    let request = plain_request(&world, &serial);
    let nonce = request_with_nonce(&world, &serial);
    assert_eq!(world.gateway.ocsp(&request).result, "unknown");
    let said = Arc::new(Mutex::new(Vec::new()));
    // Its record is there, and the snapshot does not have its causes yet.
    let asks = {
        let (gateway, said) = (world.gateway.clone(), said.clone());
        move || {
            let answers = [&request, &nonce].map(|request| gateway.ocsp(request).result);
            said.lock().unwrap().extend(answers);
        }
    };
    store.let_happen(When::Written, Box::new(asks));
    take(&world, &issuing(), vec![revoked_elsewhere(&world, &serial, 30)]);
    assert_eq!(*said.lock().unwrap(), ["revoked"; 2]);
}

#[test]
fn what_expires_later_than_a_list_said_stays_on_the_crl_until_then() {
    let policy = CrlPolicy { keep_expired: Some(0), ..CrlPolicy::default() };
    let world = world_with(settings(policy));
    let ca = world.gateway.authorities().issuer(&issuing()).unwrap().clone();
    let serial = SerialNumber::from_random([9; 16]);
    take(&world, &issuing(), vec![revoked_elsewhere(&world, &serial, 1)]);
    assert!(crl_entry(&world, &serial).is_some());
    let key = signer(KeyAlgorithm::P256);
    let validity = Validity { not_before: world.now(), not_after: world.now().plus(DAY * 30) };
    let (issuer, subject) = (ca.certificate.subject().clone(), "CN=SN1".parse().unwrap());
    let spec = CertificateSpec::new(serial.clone(), issuer, subject, validity, key.public_key().clone());
    let report = take(&world, &issuing(), vec![whole(&sign_certificate(ca.signer.as_ref(), &spec))]);
    assert_eq!(report.completed, 1);
    for _ in 0..3 {
        world.clock.advance(DAY);
        assert!(crl_entry(&world, &serial).is_some());
    }
}

fn request_with_nonce(world: &World, serial: &SerialNumber) -> Vec<u8> {
    super::request(world, serial, DigestAlgorithm::Sha1, Some(&[7; 16]))
}

/// A world with delta CRLs, and a later CRL of the same CA, which was made elsewhere.
fn with_a_crl_from_elsewhere() -> (World, GatewaySettings, Arc<PublishedCrl>) {
    let settings = settings(CrlPolicy { delta: Some(6 * 3_600), ..CrlPolicy::default() });
    let drive = Drive::new(Vec::new(), u64::MAX);
    let store = Arc::new(RedbStore::on(drive.clone()).unwrap());
    let options = WorldOptions { store, settings: settings.clone(), ..WorldOptions::default() };
    let world = World::with(options, &[("device", r#"subject = "CN=$DEVICE_ID$,O=Test""#)]);
    world.gateway.run_due().unwrap();
    let copy = Arc::new(RedbStore::on(Drive::new(drive.synced(), u64::MAX)).unwrap());
    let ports = Ports { store: copy, ..world.ports.clone() };
    let elsewhere = world.opened_on(ports, settings.clone()).unwrap();
    let newest = (0..9).map(|_| elsewhere.publish_crl(&world.authed(), &issuing()).unwrap()).last();
    (world, settings, newest.unwrap())
}

#[test]
fn the_full_crl_has_a_number_above_an_imported_one_where_there_are_deltas_too() {
    let (world, _, newest) = with_a_crl_from_elsewhere();
    world.gateway.import_crl(&world.authed(), &issuing(), &newest.der).unwrap();
    world.gateway.run_due().unwrap();
    assert!(world.gateway.crl(&issuing()).unwrap().number > newest.number);
}

#[test]
fn the_last_crl_of_a_ca_of_ours_that_has_expired_stays() {
    let (world, settings, newest) = with_a_crl_from_elsewhere();
    world.clock.advance(world.issuer("issuing").validity().not_after.since(world.now()));
    let last = world.gateway.crl(&issuing()).unwrap();
    world.gateway.import_crl(&world.authed(), &issuing(), &newest.der).unwrap();
    let world = world.restarted(settings);
    world.gateway.run_due().unwrap();
    assert_eq!(world.gateway.crl(&issuing()).unwrap().der, last.der, "nobody can make another");
}
