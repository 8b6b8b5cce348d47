//! Tickets and enrolments.

use certgate::{
    domain::{
        challenge::Ticket,
        enrol::{Enrolment, EnrolmentState},
    },
    ports::store::{Page, Store},
    types::Fingerprint,
};

use crate::samples::{certificate_id, conflicts, enrolment, mac, read, ticket, ticket_id, write};

pub(crate) fn a_ticket_is_found_by_its_present_mac(store: &dyn Store) {
    let changed = Ticket { secret_mac: mac(9), uses_left: 0, ..ticket(1) };
    write(store, |tx| tx.put_ticket(&ticket(1)));
    assert_eq!(read(store, |view| view.ticket_by_mac(&mac(1))), Some(ticket(1)));
    write(store, |tx| tx.put_ticket(&changed));
    assert_eq!(read(store, |view| view.ticket_by_mac(&mac(1))), None);
    assert_eq!(read(store, |view| view.ticket_by_mac(&mac(9))), Some(changed.clone()));
    assert_eq!(read(store, |view| view.ticket(&changed.id)), Some(changed));
}

pub(crate) fn two_tickets_never_share_a_mac(store: &dyn Store) {
    write(store, |tx| tx.put_ticket(&ticket(1)));
    conflicts(store, |tx| tx.put_ticket(&Ticket { secret_mac: mac(1), ..ticket(2) }));
    assert_eq!(read(store, |view| view.ticket(&ticket_id(2))), None);
}

pub(crate) fn tickets_are_paged_by_id(store: &dyn Store) {
    write(store, |tx| [3, 1, 2].iter().try_for_each(|number| tx.put_ticket(&ticket(*number))));
    let first = read(store, |view| view.tickets(&Page::first(2)));
    assert_eq!(first, [ticket(1), ticket(2)]);
    let rest = Page { after: Some(ticket_id(2)), limit: 2 };
    assert_eq!(read(store, |view| view.tickets(&rest)), [ticket(3)]);
}

pub(crate) fn tickets_of_a_device_are_its_own(store: &dyn Store) {
    let of = |device: &str, number| Ticket { device: Some(device.parse().unwrap()), ..ticket(number) };
    let found = |device: &str| read(store, |view| view.tickets_of_device(&device.parse().unwrap()));
    let of_nobody = Ticket { device: None, user: Some("ada".parse().unwrap()), ..ticket(4) };
    let all = [of("SN1", 3), of("SN11", 2), of("SN1", 1), of_nobody];
    write(store, |tx| all.iter().try_for_each(|ticket| tx.put_ticket(ticket)));
    assert_eq!(found("SN1"), [of("SN1", 1), of("SN1", 3)]);
    // A change is found, and moves with the device.
    write(store, |tx| tx.put_ticket(&of("SN11", 1).consume(&enrolment(1).id)));
    assert_eq!(found("SN1"), [of("SN1", 3)]);
    assert_eq!(found("SN11"), [of("SN11", 1).consume(&enrolment(1).id), of("SN11", 2)]);
}

pub(crate) fn the_newest_enrolment_of_a_request_is_found(store: &dyn Store) {
    // The later one has the lesser id and the same second: neither decides.
    write(store, |tx| tx.put_enrolment(&enrolment(2)));
    write(store, |tx| tx.put_enrolment(&enrolment(1)));
    let sample = enrolment(1);
    assert_eq!(read(store, |view| view.enrolment_by_request(&sample.request_key)), Some(enrolment(1)));
    let found = read(store, |view| {
        view.enrolment_by_transaction(&sample.profile, &sample.transaction, &sample.signer_key)
    });
    assert_eq!(found, Some(enrolment(1)));
}

pub(crate) fn a_change_to_an_old_enrolment_does_not_make_it_the_newest(store: &dyn Store) {
    write(store, |tx| tx.put_enrolment(&enrolment(1)));
    write(store, |tx| tx.put_enrolment(&enrolment(2)));
    let issued = EnrolmentState::Issued { certificate: certificate_id("issuing/01") };
    let changed = Enrolment { state: issued, ..enrolment(1) };
    write(store, |tx| tx.put_enrolment(&changed));
    assert_eq!(read(store, |view| view.enrolment_by_request(&changed.request_key)), Some(enrolment(2)));
    assert_eq!(read(store, |view| view.enrolment(&changed.id)), Some(changed));
}

pub(crate) fn a_transaction_is_found_under_its_profile_and_signer_only(store: &dyn Store) {
    let stored = enrolment(1);
    write(store, |tx| tx.put_enrolment(&stored));
    let find = |profile: &str, transaction: &str, signer: &Fingerprint| {
        let (profile, transaction) = (profile.parse().unwrap(), transaction.parse().unwrap());
        read(store, |view| view.enrolment_by_transaction(&profile, &transaction, signer))
    };
    assert_eq!(find("device", "4A6F", &stored.signer_key).as_ref(), Some(&stored));
    assert_eq!(find("devic", "4A6F", &stored.signer_key), None);
    assert_eq!(find("device", "4A6", &stored.signer_key), None);
    assert_eq!(find("device", "4A6F", &Fingerprint::of(b"another")), None);
    assert_eq!(read(store, |view| view.enrolment_by_request(&Fingerprint::of(b"another"))), None);
}

pub(crate) fn pending_enrolments_come_in_order_of_arrival(store: &dyn Store) {
    for number in [3, 1, 2] {
        write(store, |tx| tx.put_enrolment(&enrolment(number)));
    }
    let rejected = EnrolmentState::Rejected { reason: "not ours".to_owned() };
    write(store, |tx| tx.put_enrolment(&Enrolment { state: rejected.clone(), ..enrolment(1) }));
    assert_eq!(read(store, |view| view.pending_enrolments(10)), [enrolment(3), enrolment(2)]);
    assert_eq!(read(store, |view| view.pending_enrolments(1)), [enrolment(3)]);
    assert_eq!(read(store, |view| view.count_pending_enrolments()), 2);
}

pub(crate) fn enrolments_are_paged_by_id(store: &dyn Store) {
    write(store, |tx| [3, 1, 2].iter().try_for_each(|number| tx.put_enrolment(&enrolment(*number))));
    assert_eq!(read(store, |view| view.enrolments(&Page::first(2))), [enrolment(1), enrolment(2)]);
    let rest = Page { after: Some(enrolment(2).id), limit: 2 };
    assert_eq!(read(store, |view| view.enrolments(&rest)), [enrolment(3)]);
}

pub(crate) fn a_removed_enrolment_is_found_by_nothing(store: &dyn Store) {
    let other = enrolment(1);
    let issuer = "issuing".parse().unwrap();
    write(store, |tx| tx.put_enrolment(&other));
    write(store, |tx| {
        tx.put_enrolment(&enrolment(2))?;
        tx.put_enrolment_issuer(&enrolment(2).id, &issuer)
    });
    for _ in 0..2 {
        write(store, |tx| tx.remove_enrolment(&enrolment(2).id));
        assert_eq!(read(store, |view| view.enrolment(&enrolment(2).id)), None);
        assert_eq!(read(store, |view| view.enrolment_issuer(&enrolment(2).id)), None);
        // The one before is the newest again.
        assert_eq!(read(store, |view| view.enrolment_by_request(&other.request_key)).as_ref(), Some(&other));
        let found = read(store, |view| {
            view.enrolment_by_transaction(&other.profile, &other.transaction, &other.signer_key)
        });
        assert_eq!(found.as_ref(), Some(&other));
        assert_eq!(read(store, |view| view.pending_enrolments(10)), std::slice::from_ref(&other));
        assert_eq!(read(store, |view| view.count_pending_enrolments()), 1);
    }
}

pub(crate) fn a_removed_ticket_is_found_by_nothing_and_its_mac_is_free(store: &dyn Store) {
    write(store, |tx| tx.put_ticket(&ticket(1)));
    write(store, |tx| tx.put_ticket(&ticket(2)));
    for _ in 0..2 {
        write(store, |tx| tx.remove_ticket(&ticket_id(1)));
        assert_eq!(read(store, |view| view.ticket(&ticket_id(1))), None);
        assert_eq!(read(store, |view| view.ticket_by_mac(&mac(1))), None);
        assert_eq!(read(store, |view| view.tickets_of_device(&"SN1".parse().unwrap())), [ticket(2)]);
    }
    write(store, |tx| tx.put_ticket(&Ticket { secret_mac: mac(1), ..ticket(3) }));
}
