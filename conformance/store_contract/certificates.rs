//! Certificates, bindings, causes.

use certgate::{
    domain::{
        binding::BoundObject,
        certificate::{CertificateRecord, Purpose},
        status::{Cause, CauseKind, Effect, Revocation, revocation},
    },
    ports::store::{Page, Store, StoreError, View},
    types::{SerialNumber, Timestamp},
};

use crate::samples::{
    at, binding, certificate, certificate_id, conflicts, device_object, hold, imported, read, revoked, write,
};

pub(crate) fn a_certificate_is_found_by_id_fingerprint_and_serial(store: &dyn Store) {
    let (ours, same_serial) = (certificate("issuing/4f"), certificate("other/4f"));
    write(store, |tx| {
        tx.insert_certificate(&ours)?;
        tx.insert_certificate(&same_serial)?;
        tx.insert_certificate(&certificate("issuing/4f00"))
    });
    assert_eq!(read(store, |view| view.certificate(&ours.id)).as_ref(), Some(&ours));
    assert_eq!(read(store, |view| view.certificate_by_fingerprint(&ours.fingerprint)).as_ref(), Some(&ours));
    assert_eq!(read(store, |view| view.certificates_by_serial(&ours.id.serial)), [ours.clone(), same_serial]);
    assert_eq!(read(store, |view| view.not_after(&ours.id)), Some(ours.validity.not_after));
    assert_eq!(read(store, |view| view.not_after(&certificate_id("issuing/50"))), None);
    assert_eq!(read(store, |view| view.count_certificates()), 3);
}

pub(crate) fn a_serial_is_issued_once_per_issuer(store: &dyn Store) {
    let first = certificate("issuing/01");
    let second = CertificateRecord { fingerprint: certificate("issuing/02").fingerprint, ..first.clone() };
    write(store, |tx| tx.insert_certificate(&first));
    conflicts(store, |tx| tx.insert_certificate(&second));
    assert_eq!(read(store, |view| view.certificate(&first.id)), Some(first));
}

pub(crate) fn a_fingerprint_is_recorded_once(store: &dyn Store) {
    let first = certificate("issuing/01");
    let second = CertificateRecord { id: certificate_id("issuing/02"), ..first.clone() };
    write(store, |tx| tx.insert_certificate(&first));
    conflicts(store, |tx| tx.insert_certificate(&second));
    assert_eq!(read(store, |view| view.count_certificates()), 1);
}

pub(crate) fn certificates_are_paged_in_numeric_order(store: &dyn Store) {
    let sorted = ["a/01", "a/ff", "a/0100", "a/0200", "a-b/01", "b/01"];
    write(store, |tx| sorted.iter().rev().try_for_each(|id| tx.insert_certificate(&certificate(id))));
    let mut page = Page::first(2);
    let mut listed = Vec::new();
    loop {
        let records = read(store, |view| view.certificates(&page));
        let Some(last) = records.last() else { break };
        page.after = Some(last.id.clone());
        listed.extend(records.iter().map(|record| record.id.to_string()));
    }
    assert_eq!(listed, sorted);
}

pub(crate) fn certificates_of_an_issuer_are_visited_in_numeric_order(store: &dyn Store) {
    let sorted = ["a/01", "a/ff", "a/0100", "a/0200", "a-b/01", "b/01"];
    write(store, |tx| sorted.iter().rev().try_for_each(|id| tx.insert_certificate(&certificate(id))));
    let mut visited = Vec::new();
    read(store, |view| {
        view.visit_certificates(&"a".parse().unwrap(), &mut |serial, not_after, purpose| {
            visited.push((serial, not_after, purpose));
            Ok(())
        })
    });
    let expected = sorted[..4].iter().map(|id| {
        let CertificateRecord { id, validity, purpose, .. } = certificate(id);
        (id.serial, validity.not_after, purpose)
    });
    assert_eq!(visited, expected.collect::<Vec<_>>());
    let stopped = store.read(|view| {
        view.visit_certificates(
            &"a".parse().unwrap(),
            &mut |serial, _, _| match serial.to_string().as_str() {
                "01" => Err(StoreError::InUse),
                other => panic!("{other} is visited after an error"),
            },
        )
    });
    assert_eq!(stopped, Err(StoreError::InUse));
}

pub(crate) fn an_imported_certificate_is_completed_and_one_of_ours_is_not(store: &dyn Store) {
    let told = imported("old/01");
    write(store, |tx| tx.put_imported(&told));
    assert_eq!(read(store, |view| view.certificate(&told.id)).as_ref(), Some(&told));
    assert_eq!(read(store, |view| view.certificate_by_fingerprint(&told.fingerprint)), None);
    // Two of which nothing is known are not the same.
    write(store, |tx| tx.put_imported(&imported("old/02")));
    let whole = CertificateRecord { purpose: Purpose::Imported, ..certificate("old/01") };
    write(store, |tx| tx.put_imported(&whole));
    write(store, |tx| tx.put_imported(&whole));
    assert_eq!(read(store, |view| view.certificate_by_fingerprint(&whole.fingerprint)), Some(whole.clone()));
    assert_eq!(read(store, |view| view.count_certificates()), 2);
    conflicts(store, |tx| {
        tx.put_imported(&CertificateRecord { id: certificate_id("old/03"), ..whole.clone() })
    });
    write(store, |tx| tx.insert_certificate(&certificate("issuing/01")));
    conflicts(store, |tx| tx.put_imported(&imported("issuing/01")));
}

pub(crate) fn bindings_are_found_from_both_sides(store: &dyn Store) {
    let user = BoundObject::User { id: "ada".parse().unwrap() };
    let namesake = BoundObject::User { id: "ada2".parse().unwrap() };
    let to_user = binding("issuing/01", user.clone());
    let to_device = binding("issuing/01", device_object("ada", 1));
    let other = binding("issuing/0100", user.clone());
    write(store, |tx| {
        tx.insert_binding(&to_user)?;
        tx.insert_binding(&to_device)?;
        tx.insert_binding(&other)
    });
    let mut found = read(store, |view| view.bindings(&certificate_id("issuing/01")));
    found.sort_by(|a, b| a.object.cmp(&b.object));
    assert_eq!(found, [to_device.clone(), to_user.clone()]);
    assert_eq!(read(store, |view| view.bound_to(&user)), [to_user.clone(), other]);
    assert_eq!(read(store, |view| view.bound_to(&device_object("ada", 1))), [to_device]);
    assert_eq!(read(store, |view| view.bound_to(&namesake)), []);
    conflicts(store, |tx| tx.insert_binding(&to_user));
}

pub(crate) fn a_binding_belongs_to_one_generation(store: &dyn Store) {
    let second_life = binding("issuing/02", device_object("SN1", 2));
    write(store, |tx| {
        tx.insert_binding(&binding("issuing/01", device_object("SN1", 1)))?;
        tx.insert_binding(&second_life)
    });
    assert_eq!(read(store, |view| view.bound_to(&device_object("SN1", 2))), [second_life]);
    assert_eq!(read(store, |view| view.bound_to(&device_object("SN1", 3))), []);
}

pub(crate) fn causes_are_replaced_by_key_and_listed_in_order(store: &dyn Store) {
    let id = certificate_id("issuing/01");
    let wipe = revoked(CauseKind::DeviceLifecycle, "wipe");
    write(store, |tx| {
        tx.put_cause(&id, &hold(CauseKind::UserState, "ada"))?;
        tx.put_cause(&id, &hold(CauseKind::DeviceLifecycle, "wipe"))?;
        tx.put_cause(&id, &hold(CauseKind::Manual, "hold"))
    });
    write(store, |tx| tx.put_cause(&id, &wipe));
    let expected = [hold(CauseKind::Manual, "hold"), wipe, hold(CauseKind::UserState, "ada")];
    assert_eq!(read(store, |view| view.causes(&id)), expected);
}

pub(crate) fn causes_of_neighbouring_serials_stay_apart(store: &dyn Store) {
    let cause = hold(CauseKind::Manual, "hold");
    write(store, |tx| tx.put_cause(&certificate_id("issuing/01"), &cause));
    for other in ["issuing/0100", "issuing/02", "issuin/01", "issuing2/01"] {
        assert_eq!(read(store, |view| view.causes(&certificate_id(other))), [], "{other}");
    }
}

pub(crate) fn causes_are_visited_in_numeric_order_of_serials(store: &dyn Store) {
    let both = [hold(CauseKind::Manual, "hold"), hold(CauseKind::DeviceCondition, "lost")];
    write(store, |tx| {
        for id in ["a/0100", "a/ff", "a/02", "a-b/01", "b/03"] {
            both.iter().try_for_each(|cause| tx.put_cause(&certificate_id(id), cause))?;
        }
        Ok(())
    });
    let mut visited: Vec<(SerialNumber, Vec<Cause>)> = Vec::new();
    let issuer = "a".parse().unwrap();
    read(store, |view| {
        view.visit_causes(&issuer, &mut |serial, causes| {
            // A visitor may read on, the same records too.
            assert_eq!(view.causes(&certificate_id(&format!("a/{serial}")))?, causes);
            visited.push((serial.clone(), causes));
            Ok(())
        })
    });
    let expected = ["02", "ff", "0100"].map(|serial| (serial.parse().unwrap(), both.to_vec()));
    assert_eq!(visited, expected);
    write(store, |tx| count_visits(tx.as_view()).map(|visits| assert_eq!(visits, 3)));
}

fn count_visits(view: &dyn View) -> Result<usize, StoreError> {
    let mut visits = 0;
    view.visit_causes(&"a".parse().unwrap(), &mut |serial, causes| {
        assert_eq!(view.causes(&certificate_id(&format!("a/{serial}")))?, causes);
        visits += 1;
        Ok(())
    })?;
    Ok(visits)
}

pub(crate) fn a_visit_stops_at_the_first_error(store: &dyn Store) {
    write(store, |tx| {
        let cause = hold(CauseKind::Manual, "hold");
        ["a/01", "a/02", "a/03"].iter().try_for_each(|id| tx.put_cause(&certificate_id(id), &cause))
    });
    let mut visits = 0;
    let stop = StoreError::Unavailable("enough".to_owned());
    let stopped = store.read(|view| {
        view.visit_causes(&"a".parse().unwrap(), &mut |_, _| {
            visits += 1;
            if visits == 2 { Err(stop.clone()) } else { Ok(()) }
        })
    });
    assert_eq!((stopped, visits), (Err(stop), 2));
}

fn revocations(view: &dyn View, issuer: &str) -> Result<Vec<(String, Revocation, Timestamp)>, StoreError> {
    let mut found = Vec::new();
    view.visit_revocations(&issuer.parse().unwrap(), &mut |serial, revocation, not_after| {
        found.push((serial.to_string(), revocation, not_after));
        Ok(())
    })?;
    Ok(found)
}

pub(crate) fn revocations_are_what_the_causes_amount_to(store: &dyn Store) {
    let held = hold(CauseKind::Manual, "hold");
    let lost = Cause { invalidity_date: Some(at(1)), since: at(9), ..revoked(CauseKind::Manual, "revoke") };
    write(store, |tx| {
        for id in ["a/0100", "a/ff", "a-b/01", "b/01"] {
            tx.insert_certificate(&certificate(id))?;
            tx.put_cause(&certificate_id(id), &held)?;
        }
        tx.put_cause(&certificate_id("a/0100"), &lost)?;
        tx.put_cause(&certificate_id("a/0100"), &hold(CauseKind::DeviceCondition, "lost"))
    });
    let end = certificate("a/ff").validity.not_after;
    let row = |serial: &str, causes: &[Cause]| (serial.to_owned(), revocation(causes).unwrap(), end);
    let expected = [row("ff", std::slice::from_ref(&held)), row("0100", &[lost, held.clone()])];
    assert_eq!(read(store, |view| revocations(view, "a")), expected);
    assert_eq!(expected[1].1.invalidity_date, Some(at(1)));
    // A transaction sees its own; what is no longer a revocation is gone.
    write(store, |tx| {
        tx.release_cause(&certificate_id("a/ff"), &held.key)?;
        assert_eq!(revocations(tx.as_view(), "a")?, expected[1..]);
        tx.release_cause(&certificate_id("a/0100"), &held.key)
    });
    assert_eq!(read(store, |view| revocations(view, "a")), expected[1..]);
    let mut visited = 0;
    let stopped = store.read(|view| {
        view.visit_revocations(&"b".parse().unwrap(), &mut |_, _, _| {
            visited += 1;
            Err(StoreError::InUse)
        })
    });
    assert_eq!((stopped, visited), (Err(StoreError::InUse), 1));
}

pub(crate) fn a_revocation_ends_with_its_certificate_whichever_came_first(store: &dyn Store) {
    let end = |id: &str| {
        let (issuer, _) = id.split_once('/').unwrap();
        read(store, |view| revocations(view, issuer)).pop().unwrap().2
    };
    let cause = revoked(CauseKind::Manual, "revoke");
    write(store, |tx| tx.put_cause(&certificate_id("a/01"), &cause));
    write(store, |tx| tx.put_cause(&certificate_id("old/01"), &cause));
    assert_eq!((end("a/01"), end("old/01")), (Timestamp::MAX, Timestamp::MAX));
    write(store, |tx| tx.insert_certificate(&certificate("a/01")));
    write(store, |tx| tx.put_imported(&imported("old/01")));
    assert_eq!((end("a/01"), end("old/01")), (certificate("a/01").validity.not_after, Timestamp::MAX));
    let whole = CertificateRecord { purpose: Purpose::Imported, ..certificate("old/01") };
    write(store, |tx| tx.put_imported(&whole));
    assert_eq!(end("old/01"), whole.validity.not_after);
}

pub(crate) fn a_permanent_cause_cannot_be_released(store: &dyn Store) {
    let id = certificate_id("issuing/01");
    let cause = revoked(CauseKind::Manual, "revoke");
    write(store, |tx| tx.put_cause(&id, &cause));
    conflicts(store, |tx| tx.release_cause(&id, &cause.key));
    assert_eq!(read(store, |view| view.causes(&id)), [cause]);
}

pub(crate) fn a_permanent_cause_cannot_become_a_hold(store: &dyn Store) {
    let id = certificate_id("issuing/01");
    let cause = revoked(CauseKind::DeviceLifecycle, "wipe");
    write(store, |tx| tx.put_cause(&id, &cause));
    conflicts(store, |tx| tx.put_cause(&id, &Cause { effect: Effect::Hold, ..cause.clone() }));
    assert_eq!(read(store, |view| view.causes(&id)), [cause]);
}

pub(crate) fn releasing_an_absent_cause_is_fine(store: &dyn Store) {
    let id = certificate_id("issuing/01");
    let (lost, manual) = (hold(CauseKind::DeviceCondition, "lost"), hold(CauseKind::Manual, "hold"));
    write(store, |tx| {
        tx.put_cause(&id, &lost)?;
        tx.put_cause(&id, &manual)
    });
    write(store, |tx| tx.release_cause(&id, &lost.key));
    write(store, |tx| tx.release_cause(&id, &lost.key));
    assert_eq!(read(store, |view| view.causes(&id)), [manual]);
}

pub(crate) fn successors_are_found_by_what_they_supersede(store: &dyn Store) {
    let of = |id: &str, superseded: &str| CertificateRecord {
        supersedes: Some(certificate_id(superseded)),
        ..certificate(id)
    };
    write(store, |tx| {
        tx.insert_certificate(&certificate("a/01"))?;
        tx.insert_certificate(&of("b/02", "a/01"))?;
        tx.insert_certificate(&of("a/ff", "a/01"))?;
        tx.insert_certificate(&of("a/03", "a/0100"))
    });
    let found = |id: &str| read(store, |view| view.successors(&certificate_id(id)));
    assert_eq!(found("a/01"), ["a/ff", "b/02"].map(certificate_id));
    assert_eq!((found("a/0100"), found("a/ff")), (vec![certificate_id("a/03")], Vec::new()));
}
