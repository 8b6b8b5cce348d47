//! All or nothing, and consistent views.

use std::panic::{AssertUnwindSafe, catch_unwind};

use certgate::{
    domain::crl::CrlScope,
    ports::store::{Store, StoreError, Tx},
};

use crate::samples::{certificate, certificate_id, crl, device, fact, hold, job, read, ticket, user, write};

/// One record of several kinds each.
fn write_much(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.insert_certificate(&certificate("issuing/01"))?;
    tx.put_cause(&certificate_id("issuing/01"), &hold(certgate::domain::status::CauseKind::Manual, "hold"))?;
    tx.put_ticket(&ticket(1))?;
    tx.put_device(&device("SN1", 1, &[]))?;
    tx.put_crl(&crl(1))?;
    tx.enqueue(&job("issuing"), certgate::types::Timestamp::EPOCH)?;
    tx.append_audit(&fact("SN1"))
}

fn assert_empty(store: &dyn Store) {
    read(store, |view| {
        assert_eq!(view.count_certificates()?, 0);
        assert_eq!(view.causes(&certificate_id("issuing/01"))?, []);
        assert_eq!(view.ticket(&ticket(1).id)?, None);
        assert_eq!(view.ticket_by_mac(&ticket(1).secret_mac)?, None);
        assert_eq!(view.count_devices()?, 0);
        assert_eq!(view.latest_crl(&"issuing".parse().unwrap(), CrlScope::Full)?, None);
        assert_eq!(view.jobs(10)?, []);
        assert_eq!(view.last_audit_event()?, None);
        Ok(())
    });
}

pub(crate) fn a_refusal_leaves_nothing(store: &dyn Store) {
    let reason = StoreError::Unavailable("the rule says no".to_owned());
    let refused: Result<(), StoreError> = store.write(|tx| {
        write_much(tx)?;
        Err(reason.clone())
    });
    assert_eq!(refused, Err(reason));
    assert_empty(store);
}

pub(crate) fn a_panic_leaves_nothing_and_the_store_goes_on(store: &dyn Store) {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.write::<(), StoreError>(|tx| {
            write_much(tx)?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_empty(store);
    write(store, write_much);
    assert_eq!(read(store, |view| view.count_certificates()), 1);
}

pub(crate) fn a_conflict_inside_leaves_the_rest_to_the_closure(store: &dyn Store) {
    write(store, |tx| {
        tx.put_user(&user("ada", 1))?;
        assert!(tx.put_user(&user("ada", 1)).is_err());
        tx.put_user(&user("grace", 1))
    });
    assert!(read(store, |view| view.user(&"grace".parse().unwrap())).is_some());
}

pub(crate) fn a_transaction_reads_its_own_writes(store: &dyn Store) {
    write(store, |tx| {
        write_much(tx)?;
        assert!(tx.not_after(&certificate_id("issuing/01"))?.is_some());
        assert_eq!(tx.as_view().certificates_by_serial(&"01".parse().unwrap())?, [certificate("issuing/01")]);
        assert_eq!(tx.count_devices()?, 1);
        assert_eq!(tx.ticket_by_mac(&ticket(1).secret_mac)?, Some(ticket(1)));
        assert_eq!(tx.last_audit_event()?.map(|event| event.sequence), Some(1));
        Ok(())
    });
}

pub(crate) fn a_view_does_not_see_later_writes(store: &dyn Store) {
    read(store, |view| {
        assert_eq!(view.count_certificates()?, 0);
        write(store, write_much);
        assert_eq!(view.count_certificates()?, 0);
        assert_eq!(view.device(&"SN1".parse().unwrap())?, None);
        assert_eq!(view.jobs(10)?, []);
        Ok(())
    });
    assert_eq!(read(store, |view| view.count_certificates()), 1);
}

pub(crate) fn a_read_inside_a_write_sees_the_state_before(store: &dyn Store) {
    write(store, |tx| {
        write_much(tx)?;
        assert_eq!(read(store, |view| view.count_certificates()), 0);
        Ok(())
    });
}
