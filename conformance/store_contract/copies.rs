//! The whole store as rows, and an empty store filled with them.

use certgate::{
    adapters::store::RedbStore,
    domain::{alarm::TicketAlarm, restore::Restoration, status::CauseKind},
    ports::store::{Row, Store, StoreError, StoreResult},
};

use crate::samples::{
    at, certificate, certificate_id, device, fact, job, read, revoked, ticket, token, user, write,
};

fn fill(store: &dyn Store) {
    write(store, |tx| {
        tx.insert_certificate(&certificate("issuing/4f00ab"))?;
        tx.put_cause(&certificate_id("issuing/4f00ab"), &revoked(CauseKind::Manual, "revoke"))?;
        tx.put_ticket(&ticket(1))?;
        tx.put_device(&device("SN1", 1, &[]))?;
        tx.put_user(&user("ada", 1))?;
        tx.enqueue(&job("issuing"), at(0))?;
        tx.put_token(&token(1))?;
        tx.append_audit(&fact("SN1"))
    });
}

fn rows_of(store: &dyn Store) -> Vec<Row> {
    read(store, |view| {
        let mut rows = Vec::new();
        view.export(&mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    })
}

/// Rows of a store that was filled.
fn sample() -> (u32, Vec<Row>) {
    let other = RedbStore::in_memory().unwrap();
    fill(&other);
    (read(&other, |view| Ok(view.schema())), rows_of(&other))
}

fn import(store: &dyn Store, schema: u32, rows: Vec<Row>) -> StoreResult<u64> {
    let mut rows = rows.into_iter().map(|row| Ok(Some(row)));
    store.write(|tx| tx.import(schema, &mut || rows.next().unwrap_or(Ok(None))))
}

pub(crate) fn an_import_gives_what_was_exported(store: &dyn Store) {
    let (schema, rows) = sample();
    assert_eq!(import(store, schema, rows.clone()), Ok(rows.len() as u64));
    assert_eq!(rows_of(store), rows);
    let id = certificate_id("issuing/4f00ab");
    assert_eq!(read(store, |view| view.certificates_by_serial(&id.serial)).len(), 1);
    assert_eq!(read(store, |view| view.ticket_by_mac(&ticket(1).secret_mac)), Some(ticket(1)));
    // Numbers go on where they were.
    write(store, |tx| tx.append_audit(&fact("SN2")));
    let events = read(store, |view| view.audit_events(0, 10));
    assert!(events.len() == 2 && events[1].follows(&events[0]));
}

pub(crate) fn a_store_that_holds_something_takes_no_import(store: &dyn Store) {
    write(store, |tx| tx.put_user(&user("ada", 1)));
    let before = rows_of(store);
    let (schema, rows) = sample();
    assert!(matches!(import(store, schema, rows), Err(StoreError::Conflict { .. })));
    assert_eq!(rows_of(store), before);
}

pub(crate) fn an_import_of_a_newer_schema_is_refused(store: &dyn Store) {
    let (schema, rows) = sample();
    let before = rows_of(store);
    let refused = import(store, schema + 1, rows);
    assert_eq!(refused, Err(StoreError::NewerSchema { found: schema + 1, known: schema }));
    assert_eq!(rows_of(store), before);
}

pub(crate) fn an_import_that_breaks_off_leaves_nothing(store: &dyn Store) {
    let (schema, rows) = sample();
    let before = rows_of(store);
    let broken = StoreError::Unavailable("the file ends here".to_owned());
    let mut half = rows.clone().into_iter().take(rows.len() / 2).map(|row| Ok(Some(row)));
    let refused =
        store.write(|tx| tx.import(schema, &mut || half.next().unwrap_or_else(|| Err(broken.clone()))));
    assert_eq!(refused, Err(broken));
    assert_eq!(rows_of(store), before);
    let unknown = Row { table: "recipes".to_owned(), key: b"cake".to_vec(), value: Vec::new() };
    assert!(matches!(import(store, schema, vec![unknown]), Err(StoreError::Conflict { .. })));
    assert_eq!(import(store, schema, rows.clone()), Ok(rows.len() as u64));
}

pub(crate) fn an_export_is_of_one_state_and_holds_nobody_up(store: &dyn Store) {
    fill(store);
    let before = rows_of(store);
    let mut rows = Vec::new();
    read(store, |view| {
        view.export(&mut |row| {
            if rows.is_empty() {
                write(store, |tx| tx.append_audit(&fact("meanwhile")));
            }
            rows.push(row);
            Ok(())
        })
    });
    assert_eq!(rows, before);
    assert_ne!(rows_of(store), before);
}

pub(crate) fn an_export_stops_at_the_first_error(store: &dyn Store) {
    fill(store);
    let full = StoreError::Unavailable("the disk is full".to_owned());
    let mut visited = 0;
    let stopped = store.read(|view| {
        view.export(&mut |_| {
            visited += 1;
            Err(full.clone())
        })
    });
    assert_eq!((stopped, visited), (Err(full), 1));
}

pub(crate) fn the_last_restoration_is_kept(store: &dyn Store) {
    assert_eq!(read(store, |view| view.restoration()), None);
    for day in [1, 2] {
        let restoration =
            Restoration { backup_of: at(0), restored_at: at(day * 86_400), revocations_lost: day == 1 };
        write(store, |tx| tx.put_restoration(&restoration));
        assert_eq!(read(store, |view| view.restoration()), Some(restoration));
    }
}

pub(crate) fn alarms_are_replaced_together(store: &dyn Store) {
    assert_eq!(read(store, |view| view.alarms()), []);
    let alarm = |number: u8| TicketAlarm {
        ticket: ticket(number).id,
        profile: ticket(number).profile,
        device: None,
        user: None,
        certificates: vec![certificate_id("issuing/4f00ab")],
        held: true,
        peer: "192.0.2.7".to_owned(),
        first_at: at(0),
        last_at: at(1),
        times: 2,
        acknowledged_at: None,
        acknowledged_by: None,
    };
    write(store, |tx| tx.put_alarms(&[alarm(1), alarm(2)]));
    assert_eq!(read(store, |view| view.alarms()), [alarm(1), alarm(2)]);
    write(store, |tx| tx.put_alarms(&[alarm(2)]));
    assert_eq!(read(store, |view| view.alarms()), [alarm(2)]);
}
