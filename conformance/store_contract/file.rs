//! What only a file can show: that it is kept, private, locked, versioned, and that damage is named.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use certgate::{
    adapters::store::RedbStore,
    domain::{
        access::{ApiToken, Role},
        binding::BoundObject,
        certificate::CertificateRecord,
        challenge::{Ticket, TicketOrigin},
        crl::{CrlPolicy, CrlRecord, CrlScope, Partition},
        device::{Condition, ConditionKind, Device, IdentityKind},
        enrol::{Enrolment, EnrolmentState},
        exchange::Transcript,
        issuer::Issuer,
        profile::{Legacy, ProfileSpec},
        queue::JobKind,
        restore::Restoration,
        source::{Absence, Membership, ReportedState, SyncCounts, SyncOutcome, SyncRecord},
        status::CauseKind,
        timer::{Timer, TimerSubject},
    },
    ports::store::{Page, Store, StoreError, Tx},
    types::{Fingerprint, Validity},
    wire::scep::FailInfo,
};
use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};
use tempfile::TempDir;

use crate::samples::{
    at, binding, certificate, certificate_id, crl, device, device_object, enrolment, exchange, external,
    fact, hold, imported, issuer, job, key, mac, membership, profile, publication, read, revoked, source,
    successor, system_certificate, ticket, ticket_id, ticket_timer, token, user, write,
};

fn new_file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    (folder, path)
}

/// Every row of every table: table, key and value on one line each.
fn dump(path: &Path) -> String {
    let transaction = Database::open(path).unwrap().begin_read().unwrap();
    let mut lines = Vec::new();
    for table in transaction.list_tables().unwrap() {
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table.name());
        for row in transaction.open_table(definition).unwrap().range::<&[u8]>(..).unwrap() {
            let (key, value) = row.unwrap();
            let (key, value) = (hex::encode(key.value()), hex::encode(value.value()));
            lines.push(format!("{} {key} {value}\n", table.name()));
        }
    }
    lines.sort();
    lines.concat()
}

/// Reads a row below the store.
fn raw_row(path: &Path, table: &str, key: &[u8]) -> Vec<u8> {
    let database = Database::open(path).unwrap();
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let table = database.begin_read().unwrap().open_table(definition).unwrap();
    table.get(key).unwrap().unwrap().value().to_vec()
}

/// Writes a row below the store.
fn put_raw_row(path: &Path, table: &str, key: &[u8], value: &[u8]) {
    let database = Database::create(path).unwrap();
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let transaction = database.begin_write().unwrap();
    transaction.open_table(definition).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}

/// The rows of a store as schemas before 5 had them, which kept the records of certificates by issuer and serial.
fn with_certificates_of_4(rows: &str) -> String {
    let cells = |row: &str, table: &str| {
        let (key, value) = row.strip_prefix(table)?.strip_prefix(' ')?.split_once(' ')?;
        Some((key.to_owned(), value.to_owned()))
    };
    let records: HashMap<_, _> = rows.lines().filter_map(|row| cells(row, "certificate_records")).collect();
    let older = rows.lines().filter(|row| !row.starts_with("certificate_records ")).map(|row| {
        let Some((key, place)) = cells(row, "certificates") else { return row.to_owned() };
        // Behind the record version.
        let number: u64 = postcard::take_from_bytes(&hex::decode(&place[2..]).unwrap()).unwrap().0;
        format!("certificates {key} {}", records[&format!("{number:016x}")])
    });
    older.map(|row| row + "\n").collect()
}

/// Writes with a store that is closed afterwards.
fn filled(path: &Path, work: impl FnMut(&mut dyn Tx) -> Result<(), StoreError>) {
    write(&RedbStore::open(path).unwrap(), work);
}

#[test]
fn opening_again_finds_everything() {
    let (_folder, path) = new_file();
    let id = certificate_id("issuing/01");
    filled(&path, |tx| {
        tx.insert_certificate(&certificate("issuing/01"))?;
        tx.put_cause(&id, &hold(CauseKind::Manual, "hold"))?;
        tx.put_ticket(&ticket(1))?;
        tx.insert_profile_version(&profile("device", 1))?;
        tx.enqueue(&job("issuing"), at(0))?;
        tx.append_audit(&fact("SN1"))
    });
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    assert_eq!(read(store, |view| view.certificates_by_serial(&id.serial)), [certificate("issuing/01")]);
    assert_eq!(read(store, |view| view.causes(&id)), [hold(CauseKind::Manual, "hold")]);
    assert_eq!(read(store, |view| view.ticket_by_mac(&mac(1))), Some(ticket(1)));
    assert_eq!(read(store, |view| view.profiles()), [profile("device", 1)]);
    assert_eq!(read(store, |view| view.jobs(10)).len(), 1);
    // Numbers go on where they were.
    write(store, |tx| tx.append_audit(&fact("SN2")));
    let events = read(store, |view| view.audit_events(0, 10));
    assert_eq!((events.len(), events[1].previous), (2, events[0].hash()));
}

#[test]
fn a_new_file_is_private() {
    let (_folder, path) = new_file();
    RedbStore::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_store_is_open_once() {
    let (_folder, path) = new_file();
    let first = RedbStore::open(&path).unwrap();
    assert_eq!(RedbStore::open(&path).unwrap_err(), StoreError::InUse);
    drop(first);
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_folder, path) = new_file();
    drop(RedbStore::open(&path).unwrap());
    put_raw_row(&path, "meta", b"schema", &[1, 6]);
    let refused = RedbStore::open(&path).unwrap_err();
    assert_eq!(refused, StoreError::NewerSchema { found: 6, known: 5 });
    assert_eq!(raw_row(&path, "meta", b"schema"), [1, 6]);
}

#[test]
fn a_database_of_something_else_is_refused() {
    let (_folder, path) = new_file();
    put_raw_row(&path, "recipes", b"cake", b"flour");
    let refused = RedbStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { table: "meta", .. }), "{refused}");
    assert_eq!(raw_row(&path, "recipes", b"cake"), b"flour");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (_folder, path) = new_file();
    let text = "not a database\n".repeat(1000);
    fs::write(&path, &text).unwrap();
    let refused = RedbStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// The error of reading the user `ada`, after the record's bytes were changed.
fn damaged(change: impl Fn(&mut Vec<u8>)) -> StoreError {
    let (_folder, path) = new_file();
    filled(&path, |tx| tx.put_user(&user("ada", 1)));
    let mut bytes = raw_row(&path, "users", b"ada");
    change(&mut bytes);
    put_raw_row(&path, "users", b"ada", &bytes);
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    store.read(|view| view.user(&"ada".parse().unwrap())).unwrap_err()
}

#[test]
fn a_record_that_cannot_be_read_is_named() {
    let names_it = |found: StoreError, words: &str| {
        let StoreError::Corrupt { table, key, reason } = found else { panic!("{words}: {found}") };
        assert_eq!((table, key.as_str()), ("users", "ada"));
        assert!(reason.contains(words), "{reason}");
    };
    names_it(damaged(|bytes| bytes[0] = 2), "record version 2");
    names_it(damaged(Vec::clear), "empty");
    names_it(damaged(|bytes| bytes.truncate(bytes.len() / 2)), "end of buffer");
    names_it(damaged(|bytes| bytes.push(0)), "1 bytes too many");
    // The user's id becomes one that no user can have.
    names_it(damaged(|bytes| bytes[2] = b'/'), "");
}

#[test]
fn an_index_that_points_nowhere_is_named() {
    let (_folder, path) = new_file();
    drop(RedbStore::open(&path).unwrap());
    put_raw_row(&path, "tickets_by_mac", &mac(1), b"lost");
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    let found = store.read(|view| view.ticket_by_mac(&mac(1))).unwrap_err();
    let StoreError::Corrupt { table, key, reason } = found else { panic!("{found}") };
    assert_eq!((table, key), ("tickets_by_mac", "01".repeat(32)));
    assert!(reason.contains("tickets/lost"), "{reason}");
}

/// At least one record of each kind, and every variant of what a record chooses from in its bytes.
fn one_of_each(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let id = certificate_id("issuing/4f00ab");
    tx.put_issuer(&issuer("issuing"))?;
    tx.insert_key(&key(1))?;
    tx.insert_system_certificate(&system_certificate("issuing/02", 20))?;
    tx.insert_profile_version(&profile("device", 1))?;
    tx.put_ticket(&ticket(1))?;
    tx.set_timer(&ticket_timer(1))?;
    for (number, state) in (1..).zip([
        EnrolmentState::Pending,
        EnrolmentState::Issued { certificate: id.clone() },
        EnrolmentState::Refused { info: FailInfo::BadRequest, reason: "no ticket".to_owned() },
        EnrolmentState::Rejected { reason: "not ours".to_owned() },
    ]) {
        tx.put_enrolment(&Enrolment { state, ..enrolment(number) })?;
    }
    tx.insert_certificate(&certificate("issuing/4f00ab"))?;
    tx.insert_binding(&binding("issuing/4f00ab", device_object("SN1", 2)))?;
    tx.insert_binding(&binding("issuing/4f00ab", BoundObject::User { id: "ada".parse().unwrap() }))?;
    for kind in [
        CauseKind::Manual,
        CauseKind::DeviceLifecycle,
        CauseKind::DeviceCondition,
        CauseKind::UserState,
        CauseKind::Superseded,
    ] {
        tx.put_cause(&id, &hold(kind, "hold"))?;
        tx.put_cause(&id, &revoked(kind, "revoke"))?;
    }
    let identities = [(IdentityKind::Serial, "SN1"), (IdentityKind::ClientId, "c")];
    tx.put_device(&Device { user: Some("ada".parse().unwrap()), ..device("SN1", 1, &identities) })?;
    tx.put_user(&user("ada", 1))?;
    tx.enqueue(&job("issuing"), at(0))?;
    tx.put_crl(&crl(7))?;
    let partition = CrlScope::Partition(Partition { of: 16, index: 3 });
    tx.put_crl(&CrlRecord { scope: CrlScope::Delta, base_number: Some(7), ..crl(8) })?;
    tx.put_crl(&CrlRecord { scope: partition, ..crl(8) })?;
    tx.append_audit(&fact("SN1"))?;
    tx.put_token(&token(1))?;
    tx.put_restoration(&Restoration { backup_of: at(0), restored_at: at(1), revocations_lost: true })
}

/// What schema 3 has beside the records of schema 2.
fn sources(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let counts = SyncCounts { lines: 2, devices: 1, seen: 1, refused: 1, ..SyncCounts::default() };
    let record =
        SyncRecord { at: at(5), by: "local uid 0".to_owned(), outcome: SyncOutcome::Partial, counts };
    tx.put_source(&source("mdm", 1))?;
    tx.put_source(&source("mdm", 1).ended(record, true))?;
    let absence = Some(Absence { first: 2, last_seen: at(5) });
    let member = Membership { reported: ReportedState::WipePending, absence, ..membership("SN1", "mdm") };
    tx.put_membership(&member)?;
    let identities = [(IdentityKind::Serial, "SN1"), (IdentityKind::ClientId, "c")];
    let mut device = Device { user: Some("ada".parse().unwrap()), ..device("SN1", 2, &identities) };
    device.conditions = [ConditionKind::SourceMissing, ConditionKind::SourceHold]
        .map(|kind| Condition { kind, since: at(9), note: "source mdm".to_owned() })
        .into();
    tx.put_device(&device)
}

/// What schema 4 has beside the records of schema 3.
fn tickets_and_tokens_for_profiles(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let also_for = vec!["signing".parse().unwrap(), "encryption".parse().unwrap()];
    let unbound = Ticket { device: None, also_for, origin: TicketOrigin::NdesPage, ..ticket(2) };
    tx.put_ticket(&unbound)?;
    let profiles = vec!["device".parse().unwrap()];
    tx.put_token(&ApiToken { role: Role::Challenger, profiles, ..token(2) })
}

/// The same for CA rollover.
fn generations(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let next = successor();
    tx.put_issuer(&next)?;
    tx.put_enrolment_issuer(&enrolment(1).id, &next.id)?;
    tx.set_timer(&Timer { at: at(9), subject: TimerSubject::CutOver { successor: next.id } })
}

/// The same for traces.
fn traces(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let [known, strange] = [exchange(1, true), exchange(2, false)];
    let mut transcript = Transcript::default();
    transcript.asked("messageType", "19 (PkcsReq)");
    transcript.answered("pkiStatus", "2 (FAILURE)");
    tx.put_exchange(&known, Some(&transcript))?;
    tx.put_exchange(&strange, None)
}

/// What schema 5 has beside the records of schema 4.
fn externals(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.put_external_issuer(&external("old"))?;
    tx.put_imported(&imported("old/07"))?;
    tx.put_cause(&certificate_id("old/07"), &revoked(CauseKind::Manual, "revoke"))
}

/// The same for tickets and renewals.
fn uses_and_successors(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.put_ticket(&ticket(3).consume(&enrolment(1).id).consume(&enrolment(2).id))?;
    let supersedes = Some(certificate_id("issuing/4f00ab"));
    tx.insert_certificate(&CertificateRecord { supersedes, ..certificate("issuing/4f00ac") })
}

/// The first ticket, as enrolments of schemas before 5 say that it was used.
fn used_ticket() -> Ticket {
    Ticket { used_by: vec![enrolment(1).id, enrolment(2).id], ..ticket(1) }
}

/// The same for directories.
fn directories(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let known = publication("main", "issuing", 7);
    let (directory, issuer) = (known.directory.clone(), known.issuer.clone());
    tx.put_publication(&known)?;
    tx.enqueue(&JobKind::PublishToDirectory { directory, issuer }, at(3))
}

#[test]
fn the_bytes_of_schema_5_stay() {
    let (_folder, path) = new_file();
    filled(&path, |tx| {
        one_of_each(tx)?;
        sources(tx)?;
        tickets_and_tokens_for_profiles(tx)?;
        generations(tx)?;
        traces(tx)?;
        externals(tx)?;
        uses_and_successors(tx)?;
        directories(tx)
    });
    let written = dump(&path);
    // What this certgate writes, for a look at what changed and for a new schema's own fixture.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("store-schema-5.txt"), &written).unwrap();
    assert!(written == include_str!("../../fixtures/store/schema-5.txt"), "{written}");
}

/// The switches of schema 3 were yes or no; what was yes stays, and what was no is what nobody wrote.
#[test]
fn switches_of_schema_3_keep_what_was_open() {
    let (_folder, path) = new_file();
    let rows = include_str!("../../fixtures/store/schema-3.txt");
    let row = rows.lines().find(|line| line.starts_with("profiles ")).unwrap();
    // The record ends with include-ca, the lifecycle policy of five bytes, and the switches sha1, triple-des and des.
    let (head, lifecycle) = (&row[..row.len() - 18], &row[row.len() - 16..row.len() - 6]);
    assert_eq!(&row[row.len() - 18..], format!("00{lifecycle}000000"));
    restored(&path, &rows.replace(row, &format!("{head}01{lifecycle}010001")));
    let store = RedbStore::open(&path).unwrap();
    let [found] = read(&store, |view| view.profiles()).try_into().unwrap();
    assert_eq!(found.spec.include_ca, Some(true));
    let legacy = Legacy { sha1: Some(true), des: Some(true), ..Legacy::default() };
    let expected = ProfileSpec { include_ca: Some(true), legacy, ..profile("device", 1).spec };
    assert_eq!(found.spec, expected);
}

/// A file with these rows, each as [`dump`] writes it.
fn restored(path: &Path, rows: &str) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    for row in rows.lines() {
        let [table, key, value] = row.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
        let (key, value) = (hex::decode(key).unwrap(), hex::decode(value).unwrap());
        transaction.open_table(definition).unwrap().insert(key.as_slice(), value.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_schema_1_becomes_one_of_today() {
    let (_folder, path) = new_file();
    restored(&path, include_str!("../../fixtures/store/schema-1.txt"));
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(read(&store, |view| view.profiles()), [profile("device", 1)]);
    assert_eq!(read(&store, |view| view.tickets_of_device(&"SN1".parse().unwrap())), [used_ticket()]);
    assert_eq!(read(&store, |view| view.due_timers(at(1_000_000), 10)), [ticket_timer(1)]);
    drop(store);
    let (_folder, of_2) = new_file();
    restored(&of_2, include_str!("../../fixtures/store/schema-2.txt"));
    drop(RedbStore::open(&of_2).unwrap());
    assert_eq!(dump(&path), dump(&of_2));
}

#[test]
fn a_store_of_schema_3_keeps_its_tickets_and_tokens() {
    let (_folder, path) = new_file();
    restored(&path, include_str!("../../fixtures/store/schema-3.txt"));
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    assert_eq!(read(store, |view| view.ticket_by_mac(&mac(1))), Some(used_ticket()));
    assert_eq!(read(store, |view| view.token_by_mac(&mac(1))), Some(token(1)));
    write(store, tickets_and_tokens_for_profiles);
    assert_eq!(read(store, |view| view.tokens()).len(), 2);
}

#[test]
fn a_store_of_schema_2_has_its_devices_without_source_and_takes_sources() {
    let (_folder, path) = new_file();
    restored(&path, include_str!("../../fixtures/store/schema-2.txt"));
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    let id = "SN1".parse().unwrap();
    assert!(read(store, |view| view.device(&id)).is_some());
    assert_eq!(read(store, |view| view.membership(&id)), None);
    write(store, sources);
    assert_eq!(read(store, |view| view.sources()).len(), 1);
}

#[test]
fn an_issuer_of_schema_3_is_the_first_of_its_line_and_takes_a_successor() {
    let (_folder, path) = new_file();
    restored(&path, include_str!("../../fixtures/store/schema-3.txt"));
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    assert_eq!(read(store, |view| view.issuers()), [of_schema_4(issuer("issuing"))]);
    write(store, generations);
    assert_eq!(read(store, |view| view.issuers()), [of_schema_4(issuer("issuing")), successor()]);
    assert_eq!(read(store, |view| view.enrolment_issuer(&enrolment(1).id)), Some(successor().id));
    assert_eq!(read(store, |view| view.enrolment_issuer(&enrolment(2).id)), None);
}

/// As schema 4 knew it: without delta CRLs, partitions and mirror.
fn of_schema_4(issuer: Issuer) -> Issuer {
    let crl_policy = CrlPolicy { delta: None, partitions: None, ..issuer.crl_policy };
    Issuer { crl_policy, crl_mirror: None, partitionings: Vec::new(), ..issuer }
}

#[test]
fn a_store_of_schema_4_keeps_what_it_has() {
    let (_folder, path) = new_file();
    restored(&path, include_str!("../../fixtures/store/schema-4.txt"));
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    assert_eq!(read(store, |view| view.profiles()), [profile("device", 1)]);
    let issuers = [issuer("issuing"), successor()].map(of_schema_4);
    assert_eq!(read(store, |view| view.issuers()), issuers);
    let issuing = "issuing".parse().unwrap();
    assert_eq!(read(store, |view| view.latest_crl(&issuing, CrlScope::Full)), Some(crl(7)));
    assert_eq!(read(store, |view| view.latest_crl(&issuing, CrlScope::Delta)), None);
    assert_eq!(read(store, |view| view.crl_mark(&issuing)).map(|mark| mark.number), Some(7));
    write(store, |tx| tx.put_crl(&crl(8)));
    assert_eq!(read(store, |view| view.ticket_by_mac(&mac(1))), Some(used_ticket()));
    assert_eq!(read(store, |view| view.enrolment_issuer(&enrolment(1).id)), Some(successor().id));
    assert_eq!(read(store, |view| view.sources()).len(), 1);
}

#[test]
fn renewals_of_schema_1_get_their_timer() {
    let (_folder, path) = new_file();
    let renewed =
        CertificateRecord { supersedes: Some(certificate_id("issuing/01")), ..certificate("issuing/02") };
    filled(&path, |tx| tx.insert_certificate(&certificate("issuing/01")));
    filled(&path, |tx| tx.insert_certificate(&renewed));
    let rows = with_certificates_of_4(&dump(&path));
    let (_folder, path) = new_file();
    restored(&path, &rows);
    put_raw_row(&path, "meta", b"schema", &[1, 1]);
    let store = RedbStore::open(&path).unwrap();
    let subject = TimerSubject::OverlapEnds { successor: renewed.id.clone() };
    assert_eq!(read(&store, |view| view.due_timers(at(0), 10)), [Timer { at: renewed.issued_at, subject }]);
}

/// Refused requests used no ticket; nor did one that a webhook rejected, at once.
#[test]
fn uses_and_successors_of_schema_4_are_found_in_enrolments_and_certificates() {
    let (_folder, path) = new_file();
    let rejected = |number, decided| Enrolment {
        state: EnrolmentState::Rejected { reason: "not ours".to_owned() },
        decided_at: Some(at(decided)),
        ..enrolment(number)
    };
    let (first, id) = (certificate("issuing/01"), certificate_id("issuing/01"));
    let renewed = CertificateRecord { supersedes: Some(id.clone()), ..certificate("issuing/02") };
    filled(&path, |tx| {
        tx.put_enrolment(&rejected(7, 0))?;
        tx.put_enrolment(&rejected(8, 9))?;
        tx.insert_certificate(&first)?;
        tx.insert_certificate(&renewed)
    });
    let rows = with_certificates_of_4(&dump(&path));
    let is_new =
        |row: &&str| row.starts_with("meta 736368656d61") || row.starts_with("certificates_by_superseded");
    let ticket_row = format!("tickets {}", hex::encode(ticket_id(1).as_str()));
    let mut of_4 = include_str!("../../fixtures/store/schema-4.txt").lines();
    let ticket_row = of_4.find(|line| line.starts_with(&ticket_row)).unwrap();
    let rows: Vec<_> =
        rows.lines().filter(|row| !is_new(row)).chain([ticket_row, "meta 736368656d61 0104"]).collect();
    let (_folder, path) = new_file();
    restored(&path, &rows.join("\n"));
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    assert_eq!(read(store, |view| view.ticket(&ticket_id(1))).unwrap().used_by, [enrolment(8).id]);
    assert_eq!(read(store, |view| view.successors(&id)), std::slice::from_ref(&renewed.id));
    assert_eq!(read(store, |view| view.not_after(&id)), Some(first.validity.not_after));
    assert_eq!(read(store, |view| view.certificates(&Page::first(10))), [first.clone(), renewed.clone()]);
    assert_eq!(read(store, |view| view.certificate_by_fingerprint(&renewed.fingerprint)), Some(renewed));
    // What comes next does not take their places.
    let next = certificate("issuing/03");
    write(store, |tx| tx.insert_certificate(&next));
    assert_eq!(read(store, |view| view.certificate(&first.id)), Some(first));
    assert_eq!(read(store, |view| view.certificate(&next.id)), Some(next));
}

/// More of them than one step of the upgrade takes at a time, each with a notAfter of its own.
#[test]
fn many_certificates_of_schema_4_all_keep_their_records() {
    let (_folder, path) = new_file();
    let many: Vec<_> = (0..2_500_u32)
        .map(|number| {
            let of = certificate(&format!("issuing/01{number:06x}"));
            let not_after = at(1_000 + u64::from(number));
            let validity = Validity { not_after, ..of.validity };
            CertificateRecord { fingerprint: Fingerprint::of(&number.to_be_bytes()), validity, ..of }
        })
        .collect();
    filled(&path, |tx| many.iter().try_for_each(|it| tx.insert_certificate(it)));
    let of_5 = dump(&path);
    let (_folder, path) = new_file();
    restored(&path, &with_certificates_of_4(&of_5));
    put_raw_row(&path, "meta", b"schema", &[1, 4]);
    let store: &dyn Store = &RedbStore::open(&path).unwrap();
    assert_eq!(read(store, |view| view.certificates(&Page::first(10_000))), many);
    for it in &many {
        assert_eq!(read(store, |view| view.not_after(&it.id)), Some(it.validity.not_after));
    }
}
