//! Devices and users.

use certgate::{
    domain::device::{Device, IdentityKind},
    ports::store::{Page, Store},
    types::DeviceId,
};

use crate::samples::{conflicts, device, read, user, write};

pub(crate) fn a_device_needs_the_next_version(store: &dyn Store) {
    conflicts(store, |tx| tx.put_device(&device("SN1", 2, &[])));
    write(store, |tx| tx.put_device(&device("SN1", 1, &[])));
    conflicts(store, |tx| tx.put_device(&device("SN1", 1, &[])));
    conflicts(store, |tx| tx.put_device(&device("SN1", 3, &[])));
    write(store, |tx| tx.put_device(&device("SN1", 2, &[])));
    let id = "SN1".parse().unwrap();
    assert_eq!(read(store, |view| view.device(&id)), Some(device("SN1", 2, &[])));
    assert_eq!(read(store, |view| view.count_devices()), 1);
}

pub(crate) fn an_identity_belongs_to_one_device(store: &dyn Store) {
    let mac = (IdentityKind::Mac, "02:00:5e:10:00:01");
    write(store, |tx| tx.put_device(&device("SN1", 1, &[mac])));
    conflicts(store, |tx| tx.put_device(&device("SN2", 1, &[(IdentityKind::Imei, "1"), mac])));
    assert_eq!(read(store, |view| view.device_by_identity(IdentityKind::Imei, "1")), None);
    // The same text as another kind of identity is another identity.
    write(store, |tx| tx.put_device(&device("SN2", 1, &[(IdentityKind::Serial, mac.1)])));
}

pub(crate) fn a_device_is_found_by_its_present_identities_only(store: &dyn Store) {
    let (old, kept, new) =
        ((IdentityKind::Imei, "1"), (IdentityKind::Serial, "SN1"), (IdentityKind::Udid, "u"));
    write(store, |tx| tx.put_device(&device("SN1", 1, &[old, kept])));
    let changed = device("SN1", 2, &[kept, new]);
    write(store, |tx| tx.put_device(&changed));
    let find = |(kind, value)| read(store, |view| view.device_by_identity(kind, value));
    assert_eq!(find(old), None);
    assert_eq!(find(kept).as_ref(), Some(&changed));
    assert_eq!(find(new).as_ref(), Some(&changed));
    // What it gave up is free for another.
    write(store, |tx| tx.put_device(&device("SN2", 1, &[old])));
}

pub(crate) fn devices_are_paged_by_id(store: &dyn Store) {
    write(store, |tx| ["c", "a", "b"].iter().try_for_each(|id| tx.put_device(&device(id, 1, &[]))));
    assert_eq!(read(store, |view| view.devices(&Page::first(2))), [device("a", 1, &[]), device("b", 1, &[])]);
    let rest = Page { after: Some("b".parse().unwrap()), limit: 2 };
    assert_eq!(read(store, |view| view.devices(&rest)), [device("c", 1, &[])]);
}

pub(crate) fn devices_of_a_user_follow_the_device(store: &dyn Store) {
    let of =
        |user: &str, version| Device { user: Some(user.parse().unwrap()), ..device("SN1", version, &[]) };
    let devices = |user: &str| {
        let user = user.parse().unwrap();
        read(store, |view| view.devices_of_user(&user))
    };
    write(store, |tx| tx.put_device(&of("ada", 1)));
    write(store, |tx| tx.put_device(&Device { id: "SN2".parse().unwrap(), ..of("ada2", 1) }));
    let expected: Vec<DeviceId> = vec!["SN1".parse().unwrap()];
    assert_eq!(devices("ada"), expected);
    write(store, |tx| tx.put_device(&of("grace", 2)));
    assert_eq!(devices("ada"), []);
    assert_eq!(devices("grace"), expected);
}

pub(crate) fn a_user_needs_the_next_version(store: &dyn Store) {
    conflicts(store, |tx| tx.put_user(&user("ada", 2)));
    write(store, |tx| tx.put_user(&user("ada", 1)));
    conflicts(store, |tx| tx.put_user(&user("ada", 1)));
    let mut changed = user("ada", 2);
    "Countess".clone_into(&mut changed.details.display_name);
    write(store, |tx| tx.put_user(&changed));
    assert_eq!(read(store, |view| view.user(&changed.id)), Some(changed));
}

pub(crate) fn users_are_paged_by_id(store: &dyn Store) {
    write(store, |tx| ["grace", "ada"].iter().try_for_each(|id| tx.put_user(&user(id, 1))));
    assert_eq!(read(store, |view| view.users(&Page::first(1))), [user("ada", 1)]);
    let rest = Page { after: Some("ada".parse().unwrap()), limit: 5 };
    assert_eq!(read(store, |view| view.users(&rest)), [user("grace", 1)]);
}
