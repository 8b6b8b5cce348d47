//! An older database in the place of the present one: it is found out, and says nothing good until somebody goes on from it.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use certgate::{
    adapters::store::RedbStore,
    domain::{
        checkpoint::Shortfall,
        crl::{CrlPolicy, CrlScope},
        vouch::Voucher,
    },
    ports::{
        CheckpointError, CheckpointFile, NoAnswer, RevocationQueue, RevocationRequest, RevocationResult,
    },
    service::{
        GatewaySettings, Ports, ServiceError,
        checkpoint::{AcceptRestore, AcceptedRestore},
        health::CheckResult,
        import::NewImport,
        rollover::NewSuccessor,
    },
    types::{IssuerId, RevocationReason, Timestamp},
    wire::{ocsp::CertStatus, ocsp::OcspResponse, scep::PkiStatus, x509::Certificate},
};

use super::{
    common::{Client, DAY, World, WorldOptions},
    crl_entry,
    drive::Drive,
    enrolled, id_of, issuing,
    meanwhile::{Meanwhile, When},
    ocsp_status, plain_request, revoke,
};

/// A checkpoint in memory: what survives beside the database.
#[derive(Default)]
struct Kept {
    content: Mutex<Option<Vec<u8>>>,
    broken: Mutex<bool>,
}

impl CheckpointFile for Kept {
    fn read(&self) -> Result<Option<Vec<u8>>, CheckpointError> {
        Ok(self.content.lock().unwrap().clone())
    }

    fn write(&self, content: &[u8]) -> Result<(), CheckpointError> {
        if *self.broken.lock().unwrap() {
            return Err(CheckpointError("no space".to_owned()));
        }
        *self.content.lock().unwrap() = Some(content.to_vec());
        Ok(())
    }
}

/// A world on a disk that can be copied, with a checkpoint beside it.
struct Copyable {
    world: World,
    drive: Drive,
    kept: Arc<Kept>,
    settings: GatewaySettings,
}

fn successor() -> IssuerId {
    "issuing-2".parse().unwrap()
}

impl Copyable {
    fn new() -> Self {
        Self::set(GatewaySettings::default())
    }

    fn set(settings: GatewaySettings) -> Self {
        Self::with_profile(settings, r#"subject = "CN=$DEVICE_ID$,O=Test""#)
    }

    fn with_profile(settings: GatewaySettings, profile: &str) -> Self {
        let drive = Drive::new(Vec::new(), u64::MAX);
        let store = Arc::new(RedbStore::on(drive.clone()).unwrap());
        let options = WorldOptions { store, settings: settings.clone(), ..WorldOptions::default() };
        let world = World::with(options, &[("device", profile)]);
        let kept = Arc::new(Kept::default());
        let ports = Ports { checkpoint: kept.clone(), ..world.ports.clone() };
        let world = world.restarted_on(ports, settings.clone());
        world.gateway.run_due().unwrap();
        Self { world, drive, kept, settings }
    }

    fn copy(&self) -> Vec<u8> {
        self.drive.synced()
    }

    /// The same with this copy of the database in place.
    fn with(self, copy: Vec<u8>) -> Self {
        let drive = Drive::new(copy, u64::MAX);
        let store = Arc::new(RedbStore::on(drive.clone()).unwrap());
        let ports = Ports { store, ..self.world.ports.clone() };
        let world = self.world.restarted_on(ports, self.settings.clone());
        Self { world, drive, ..self }
    }

    fn publish(&self) -> u64 {
        self.world.gateway.publish_crl(&self.world.authed(), &issuing()).unwrap().number
    }

    /// Makes the next CA of the line, [`successor`]; gives the number of a CRL of it.
    fn make_successor(&self) -> u64 {
        self.world.gateway.roll_over(&self.world.authed(), &issuing(), &NewSuccessor::default()).unwrap();
        self.world.gateway.publish_crl(&self.world.authed(), &successor()).unwrap().number
    }

    /// What OCSP says: `None` for tryLater.
    fn ocsp(&self, certificate: &Certificate) -> Option<CertStatus> {
        let body = self.world.gateway.ocsp(&plain_request(&self.world, certificate.serial())).body;
        match OcspResponse::from_der(&body).unwrap() {
            OcspResponse::Successful(response) => Some(response.responses[0].status),
            OcspResponse::Error(_) => None,
        }
    }

    fn accept(&self, request: &AcceptRestore) -> Result<AcceptedRestore, ServiceError> {
        self.world.gateway.accept_restore(&self.world.authed(), request)
    }

    fn check(&self) -> (CheckResult, String) {
        let report = self.world.gateway.health();
        let check = report.checks.into_iter().find(|check| check.name == "checkpoint").unwrap();
        assert_eq!(report.ready, check.result != CheckResult::Fail);
        (check.result, check.detail)
    }
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("X509 CRL", der::pem::LineEnding::LF, der).unwrap()
}

#[test]
fn a_copy_from_before_a_revocation_says_nothing_good() {
    let gateway = Copyable::new();
    let [good, held, gone] = ["SN1", "SN2", "SN3"].map(|device| enrolled(&gateway.world, device));
    gateway.world.gateway.hold_certificate(&gateway.world.authed(), &super::id_of(&held), "").unwrap();
    gateway.publish();
    let copy = gateway.copy();
    gateway.world.clock.advance(DAY);
    revoke(&gateway.world, &gone, RevocationReason::KeyCompromise);
    let published = gateway.publish();
    let newest = ["root", "issuing"].map(|id| {
        let crl = gateway.world.gateway.publish_crl(&gateway.world.authed(), &id.parse().unwrap()).unwrap();
        pem(&crl.der)
    });

    let gateway = gateway.with(copy);
    let behind = gateway.world.gateway.behind().unwrap();
    assert!(
        matches!(&behind.shortfalls[0], Shortfall::Crl { published: number, .. } if *number > published),
        "{behind:?}"
    );
    assert_eq!((gateway.ocsp(&good), gateway.ocsp(&gone)), (None, None), "neither is good, nor unknown");
    let on_hold = gateway.ocsp(&held);
    assert!(matches!(on_hold, Some(CertStatus::Revoked { reason: RevocationReason::CertificateHold, .. })));
    // No CRL that is older than what was published, and no new one.
    assert!(gateway.world.gateway.crl(&issuing()).is_none());
    let refused = gateway.world.gateway.publish_crl(&gateway.world.authed(), &issuing());
    assert!(matches!(refused, Err(ServiceError::Refused(_))));
    gateway.world.gateway.run_due().unwrap();
    assert!(gateway.world.gateway.crl(&issuing()).is_none());
    let (result, detail) = gateway.check();
    assert!(result == CheckResult::Fail && detail.contains("CRL number"), "{detail}");
    // And no certificate.
    let device = gateway.world.register("SN4");
    let secret = gateway.world.ticket("device", &device);
    let client = Client::new();
    let message = client.message(
        &gateway.world.message_certificate("device"),
        &certgate::wire::scep::MessageType::PkcsReq.into(),
        &client.csr("CN=x", Some(&secret)),
    );
    assert!(gateway.world.pki_operation("device", &message).is_err(), "the client is told to come back");

    // Nobody goes on without saying what is lost, or what was published.
    assert!(matches!(gateway.accept(&AcceptRestore::default()), Err(ServiceError::Refused(_))));
    assert!(gateway.world.gateway.behind().is_some());
    let accepted =
        gateway.accept(&AcceptRestore { crls: newest.into(), accept_lost_revocations: false }).unwrap();
    assert!(accepted.lost_events > Some(0) && accepted.settled.tickets == 1, "{accepted:?}");
    assert_eq!(ocsp_status(&gateway.world, good.serial()), CertStatus::Good);
    let revoked = ocsp_status(&gateway.world, gone.serial());
    assert!(matches!(revoked, CertStatus::Revoked { reason: RevocationReason::KeyCompromise, .. }));
    assert!(crl_entry(&gateway.world, gone.serial()).is_some());
    assert!(gateway.publish() > published + 1_000, "above all that can have been published");
    assert_eq!(gateway.check().0, CheckResult::Pass);
    assert!(gateway.world.read(|view| view.restoration()).is_some());
    assert!(
        matches!(gateway.accept(&AcceptRestore::default()), Err(ServiceError::Refused(_))),
        "it is not behind"
    );
    // From now on this database is the present one.
    let copy = gateway.copy();
    assert!(gateway.with(copy).world.gateway.behind().is_none());
}

#[test]
fn a_crl_from_before_the_last_one_that_was_published_does_not_pass_for_the_newest() {
    let gateway = Copyable::new();
    let gone = enrolled(&gateway.world, "SN1");
    let copy = gateway.copy();
    let publish = |id: &str| {
        let crl = gateway.world.gateway.publish_crl(&gateway.world.authed(), &id.parse().unwrap()).unwrap();
        pem(&crl.der)
    };
    let older = ["root", "issuing"].map(publish);
    revoke(&gateway.world, &gone, RevocationReason::KeyCompromise);
    gateway.publish();
    let gateway = gateway.with(copy);
    let request = AcceptRestore { crls: older.to_vec(), accept_lost_revocations: false };
    let Err(ServiceError::Refused(why)) = gateway.accept(&request) else {
        panic!("the revocation is lost, and nobody was told");
    };
    assert!(why.contains("issuing") && !why.contains("root"), "{why}");
    assert!(gateway.world.gateway.behind().is_some());
    // Who has no newer one may go on, and it is on record.
    gateway.accept(&AcceptRestore { accept_lost_revocations: true, ..request }).unwrap();
    assert!(gateway.world.read(|view| view.restoration()).unwrap().revocations_lost);
}

#[test]
fn a_partition_that_was_made_alone_is_no_revocation_that_is_lost() {
    let hour = Duration::from_secs(3_600);
    let policy = CrlPolicy { delta: Some(12 * 3_600), partitions: Some(2), ..CrlPolicy::default() };
    let gateway = Copyable::set(super::crl_policy::settings(policy));
    let gone = enrolled(&gateway.world, "SN1");
    let copy = gateway.copy();
    let work = |after| {
        gateway.world.clock.advance(after);
        gateway.world.gateway.run_due().unwrap();
    };
    // From now on the partition of the certificate comes at other times than the full CRL.
    work(hour * 6);
    revoke(&gateway.world, &gone, RevocationReason::KeyCompromise);
    work(Duration::from_secs(5));
    for _ in 0..12 {
        work(hour * 2);
    }
    let newest = |id: &str| {
        let id = id.parse().unwrap();
        let crl_of = |scope| pem(&gateway.world.gateway.crl_of(&id, scope).unwrap().der);
        [CrlScope::Full, CrlScope::Delta].map(crl_of)
    };
    let crls = ["root", "issuing"].map(newest).concat();
    let gateway = gateway.with(copy);
    assert!(gateway.world.gateway.behind().is_some());
    gateway.accept(&AcceptRestore { crls, accept_lost_revocations: false }).unwrap();
    assert!(!gateway.world.read(|view| view.restoration()).unwrap().revocations_lost);
    assert!(crl_entry(&gateway.world, gone.serial()).is_some());
}

#[test]
fn a_copy_from_before_a_rollover_is_accepted_once() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    let authed = gateway.world.authed();
    gateway.world.gateway.roll_over(&authed, &issuing(), &NewSuccessor::default()).unwrap();
    let gateway = gateway.with(copy);
    let behind = gateway.world.gateway.behind().unwrap();
    let lost = |it: &Shortfall| matches!(it, Shortfall::Crl { issuer, .. } if issuer.as_str() == "issuing-2");
    assert!(behind.shortfalls.iter().any(lost), "{behind:?}");
    gateway.accept(&AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() }).unwrap();
    let copy = gateway.copy();
    let gateway = gateway.with(copy);
    assert!(gateway.world.gateway.behind().is_none(), "the next start knows of it");
}

#[test]
fn what_is_revoked_while_a_restore_is_accepted_stays_revoked() {
    let gateway = Copyable::new();
    let certificate = enrolled(&gateway.world, "SN1");
    let copy = gateway.copy();
    gateway.publish();
    let Copyable { world, drive, kept, settings } = gateway.with(copy);
    let (world, store) = Meanwhile::over(world);
    let (done, finished) = mpsc::channel();
    let operator = {
        let (inner, authed, id) = (Arc::clone(&world.gateway), world.authed(), id_of(&certificate));
        let revocation = super::because(RevocationReason::KeyCompromise);
        move || {
            inner.revoke_certificate(&authed, &id, &revocation).unwrap();
            // Whoever waits for it may be gone.
            let _ = done.send(());
        }
    };
    store.let_happen(
        When::Seen,
        Box::new(move || {
            thread::spawn(operator);
            // It may have to wait for whoever reads.
            let _ = finished.recv_timeout(Duration::from_millis(500));
        }),
    );
    let gateway = Copyable { world, drive, kept, settings };
    gateway.accept(&AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() }).unwrap();
    let id = id_of(&certificate);
    while gateway.world.read(|view| view.causes(&id)).is_empty() {
        thread::yield_now();
    }
    // The call of the operator has returned, or is about to.
    let revoked = |status| matches!(status, Some(CertStatus::Revoked { .. }));
    for _ in 0..1_000 {
        if revoked(gateway.ocsp(&certificate)) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(revoked(gateway.ocsp(&certificate)));
    assert!(crl_entry(&gateway.world, certificate.serial()).is_some());
}

#[test]
fn a_copy_that_went_on_elsewhere_is_found_out() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    gateway.publish();
    let taken = std::mem::take(&mut *gateway.kept.content.lock().unwrap());
    let gateway = gateway.with(copy);
    assert!(gateway.world.gateway.behind().is_none(), "there is nothing to compare with");
    // Else it would be the very same history.
    gateway.world.clock.advance(DAY);
    for _ in 0..5 {
        gateway.publish();
    }
    *gateway.kept.content.lock().unwrap() = taken;
    let copy = gateway.copy();
    let present = gateway.with(copy).world;
    let behind = present.gateway.behind().unwrap();
    assert!(matches!(behind.shortfalls[..], [Shortfall::AuditForked { .. }]), "{behind:?}");
    let number = |view: &dyn certgate::ports::View| view.crl_mark(&issuing());
    assert!(
        present.read(number).unwrap().number > behind.published[&issuing()].number,
        "higher, and another"
    );
    assert!(present.gateway.crl(&issuing()).is_none());
}

#[test]
fn what_happens_is_checkpointed_within_a_minute() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    let _ = enrolled(&gateway.world, "SN1");
    gateway.world.gateway.run_due().unwrap();
    assert!(gateway.world.gateway.behind().is_none());
    gateway.world.clock.advance(std::time::Duration::from_secs(61));
    gateway.world.gateway.run_due().unwrap();
    let published = gateway.world.gateway.crl(&issuing()).unwrap().number;
    let present = gateway.with(copy).world;
    let behind = present.gateway.behind().unwrap();
    assert!(matches!(behind.shortfalls[..], [Shortfall::AuditShort { .. }]), "{behind:?}");
    // Something is missing, but no CRL: this one is the last that was published.
    assert_eq!(present.gateway.crl(&issuing()).unwrap().number, published);
}

/// The next CA of the line gets the name and the URLs of the one that is lost.
#[test]
fn a_ca_that_is_made_anew_goes_on_above_the_numbers_of_the_one_that_is_lost() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    let successor = successor();
    gateway.make_successor();
    let published = gateway.world.gateway.publish_crl(&gateway.world.authed(), &successor).unwrap().number;
    let gateway = gateway.with(copy);
    let lost = Shortfall::Crl { issuer: successor.clone(), published, known: 0 };
    assert!(gateway.world.gateway.behind().unwrap().shortfalls.contains(&lost));
    gateway.accept(&AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() }).unwrap();
    let open = NewImport {
        issuer_certificate: World::new(&[]).issuer("issuing").to_pem(),
        name: Some(successor.clone()),
    };
    let taken = gateway.world.gateway.open_import(&gateway.world.authed(), &open);
    assert!(matches!(taken, Err(ServiceError::Conflict(_))), "{taken:?}");
    let restarted = |it: Copyable| Copyable { world: it.world.restarted(it.settings.clone()), ..it };
    // The present database has no such CA, and nothing is missing.
    let gateway = restarted(gateway);
    assert_eq!(gateway.check().0, CheckResult::Pass);
    assert!(gateway.make_successor() > published + 1_000, "above all that can have been published");
    assert_eq!(restarted(gateway).check().0, CheckResult::Pass);
}

/// The database that was accepted first reserved them, and the one that is put in its place does not know that.
#[test]
fn a_second_copy_does_not_lose_the_numbers_that_the_first_reserved() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    let successor = successor();
    let published = gateway.make_successor();
    let accept_lost = AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() };
    let gateway = gateway.with(copy.clone());
    gateway.accept(&accept_lost).unwrap();
    let reserved = gateway.world.read(|view| view.crl_mark(&successor)).unwrap().number;
    assert!(reserved > published);
    let gateway = gateway.with(copy);
    assert!(gateway.world.gateway.behind().is_some());
    gateway.accept(&accept_lost).unwrap();
    assert!(gateway.make_successor() > reserved);
    let copy = gateway.copy();
    assert!(gateway.with(copy).world.gateway.behind().is_none());
}

/// As the first start after the file was lost, or after one that could not be believed.
#[test]
fn what_a_database_reserved_is_in_a_checkpoint_that_begins_anew() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    let successor = successor();
    gateway.make_successor();
    let accept_lost = AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() };
    let gateway = gateway.with(copy.clone());
    gateway.accept(&accept_lost).unwrap();
    let reserved = gateway.world.read(|view| view.crl_mark(&successor)).unwrap().number;
    *gateway.kept.content.lock().unwrap() = None;
    let present = gateway.copy();
    let gateway = gateway.with(present);
    gateway.world.gateway.run_due().unwrap();
    let gateway = gateway.with(copy);
    let behind = gateway.world.gateway.behind().unwrap();
    assert_eq!(behind.published.get(&successor).map(|mark| mark.number), Some(reserved), "{behind:?}");
}

#[test]
fn what_says_nothing_new_is_not_written_again() {
    let gateway = Copyable::new();
    gateway.publish();
    let written = || gateway.kept.content.lock().unwrap().clone();
    let before = written();
    gateway.world.clock.advance(DAY);
    gateway.world.gateway.checkpoint();
    assert_eq!(written(), before, "as at the end of a process in which nothing happened");
    let _ = enrolled(&gateway.world, "SN1");
    gateway.world.gateway.checkpoint();
    assert_ne!(written(), before);
}

#[test]
fn a_checkpoint_that_was_edited_is_not_believed() {
    let gateway = Copyable::new();
    gateway.publish();
    let copy = gateway.copy();
    let text = String::from_utf8(gateway.kept.content.lock().unwrap().clone().unwrap()).unwrap();
    assert!(text.contains("\"number\":"), "{text}");
    *gateway.kept.content.lock().unwrap() = Some(text.replace("\"number\":", "\"number\":0").into_bytes());
    let gateway = gateway.with(copy);
    let behind = gateway.world.gateway.behind().unwrap();
    assert!(matches!(behind.shortfalls[..], [Shortfall::Unbelievable { .. }]), "{behind:?}");
    // Who knows what was published last.
    let served = ["root", "issuing"].map(|id| gateway.world.gateway.crl(&id.parse().unwrap()).is_some());
    assert_eq!(served, [false, false]);
    let crl = gateway.world.gateway.health().checks.into_iter().find(|check| check.name == "crl/issuing");
    assert!(crl.unwrap().detail.contains("not served"));
    let accepted =
        gateway.accept(&AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() });
    assert_eq!(accepted.unwrap().behind.reached_at, None::<Timestamp>);
    assert!(gateway.world.gateway.behind().is_none());
    assert!(gateway.world.gateway.crl(&issuing()).is_some());
}

#[test]
fn one_that_cannot_be_written_is_shown_and_stops_nothing() {
    let gateway = Copyable::new();
    *gateway.kept.broken.lock().unwrap() = true;
    gateway.publish();
    let (result, detail) = gateway.check();
    assert!(result == CheckResult::Warn && detail.contains("no space"), "{detail}");
    *gateway.kept.broken.lock().unwrap() = false;
    gateway.publish();
    assert_eq!(gateway.check().0, CheckResult::Pass);
}

/// Somebody who wants a certificate revoked.
struct Wanted(String, Mutex<Vec<RevocationResult>>);

impl RevocationQueue for Wanted {
    fn requests(&self, _: Option<&str>) -> Result<Vec<RevocationRequest>, NoAnswer> {
        let request =
            RevocationRequest { context: "c1".to_owned(), serial: self.0.clone(), issuer_name: None };
        Ok(if self.1.lock().unwrap().is_empty() { vec![request] } else { Vec::new() })
    }

    fn report(&self, results: &[RevocationResult]) -> Result<(), NoAnswer> {
        self.1.lock().unwrap().extend(results.iter().cloned());
        Ok(())
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn by_issuer(&self) -> bool {
        false
    }
}

#[test]
fn a_copy_does_not_say_that_what_it_does_not_know_cannot_be_revoked() {
    let gateway = Copyable::new();
    let copy = gateway.copy();
    let certificate = enrolled(&gateway.world, "SN1");
    gateway.publish();
    let present = gateway.copy();
    let wanted = Arc::new(Wanted(certificate.serial().to_string(), Mutex::default()));
    let mut gateway = gateway.with(copy);
    gateway.world.ports.vouchers.revocations = [(Voucher::Intune, wanted.clone() as _)].into();
    let ask = |gateway: Copyable, database| {
        let gateway = gateway.with(database);
        gateway.world.gateway.run_outside().unwrap();
        gateway
    };
    let database = gateway.copy();
    let gateway = ask(gateway, database);
    assert!(gateway.world.gateway.behind().is_some());
    assert_eq!(*wanted.1.lock().unwrap(), []);
    // The right one is put back.
    let gateway = ask(gateway, present);
    assert_eq!(wanted.1.lock().unwrap()[0].outcome, Ok(()));
    assert!(matches!(gateway.ocsp(&certificate), Some(CertStatus::Revoked { .. })));
}

#[test]
fn a_copy_puts_nothing_before_an_operator() {
    let manual = r#"subject = "CN=$DEVICE_ID$,O=Test"
approval = "manual""#;
    let gateway = Copyable::with_profile(GatewaySettings::default(), manual);
    let device = gateway.world.register("SN1");
    let secret = gateway.world.ticket("device", &device);
    let copy = gateway.copy();
    let (first, second) = (Client::new(), Client::new());
    let enrol = |client: &Client| client.csr("CN=SN1", Some(&secret));
    assert_eq!(first.enrol(&gateway.world, "device", &enrol(&first)).status, PkiStatus::Pending);
    gateway.publish();
    // The ticket was used, and the copy does not know it.
    let gateway = gateway.with(copy);
    let message = second.message(
        &gateway.world.message_certificate("device"),
        &certgate::wire::scep::MessageType::PkcsReq.into(),
        &enrol(&second),
    );
    assert!(gateway.world.pki_operation("device", &message).is_err(), "the client is told to come back");
    gateway.accept(&AcceptRestore { accept_lost_revocations: true, ..AcceptRestore::default() }).unwrap();
    let waiting = gateway.world.gateway.pending_enrolments(&gateway.world.authed(), 10).unwrap();
    assert!(waiting.items.is_empty());
    assert_eq!(second.enrol(&gateway.world, "device", &enrol(&second)).status, PkiStatus::Failure);
}
