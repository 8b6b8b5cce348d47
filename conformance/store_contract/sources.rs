//! Sources and their members.

use certgate::{
    ports::store::{Page, Store},
    types::DeviceId,
};

use crate::samples::{conflicts, membership, read, source, write};

fn members(store: &dyn Store, name: &str, page: &Page<DeviceId>) -> Vec<String> {
    let id = name.parse().unwrap();
    let members = read(store, |view| view.members(&id, page));
    members.into_iter().map(|member| member.device.to_string()).collect()
}

pub(crate) fn a_source_needs_the_next_version(store: &dyn Store) {
    conflicts(store, |tx| tx.put_source(&source("mdm", 2)));
    write(store, |tx| tx.put_source(&source("mdm", 1)));
    conflicts(store, |tx| tx.put_source(&source("mdm", 1)));
    let begun = source("mdm", 1).begun(crate::samples::at(7));
    write(store, |tx| tx.put_source(&begun));
    assert_eq!(read(store, |view| view.source(&begun.id)), Some(begun));
}

pub(crate) fn sources_are_listed_by_name(store: &dyn Store) {
    write(store, |tx| ["jamf", "fleet"].iter().try_for_each(|name| tx.put_source(&source(name, 1))));
    assert_eq!(read(store, |view| view.sources()), [source("fleet", 1), source("jamf", 1)]);
}

pub(crate) fn a_device_belongs_to_one_source(store: &dyn Store) {
    write(store, |tx| tx.put_membership(&membership("SN1", "jamf")));
    write(store, |tx| tx.put_membership(&membership("SN1", "fleet")));
    let id = "SN1".parse().unwrap();
    assert_eq!(read(store, |view| view.membership(&id)), Some(membership("SN1", "fleet")));
    assert!(members(store, "jamf", &Page::first(9)).is_empty());
    assert_eq!(members(store, "fleet", &Page::first(9)), ["SN1"]);
    write(store, |tx| tx.remove_membership(&id));
    write(store, |tx| tx.remove_membership(&id));
    assert_eq!(read(store, |view| view.membership(&id)), None);
    assert!(members(store, "fleet", &Page::first(9)).is_empty());
}

pub(crate) fn members_are_paged_by_device(store: &dyn Store) {
    write(store, |tx| {
        let mut put = |device, source| tx.put_membership(&membership(device, source));
        ["c", "a", "b"].iter().try_for_each(|device| put(device, "mdm"))?;
        // Names that begin alike stay apart.
        put("z", "mdm-2")?;
        put("y", "md")
    });
    assert_eq!(members(store, "mdm", &Page::first(2)), ["a", "b"]);
    let rest = Page { after: Some("b".parse().unwrap()), limit: 2 };
    assert_eq!(members(store, "mdm", &rest), ["c"]);
    let end = Page { after: Some("c".parse().unwrap()), limit: 2 };
    assert!(members(store, "mdm", &end).is_empty());
}

pub(crate) fn a_source_with_members_stays(store: &dyn Store) {
    write(store, |tx| tx.put_source(&source("mdm", 1)));
    write(store, |tx| tx.put_membership(&membership("SN1", "mdm")));
    let id = "mdm".parse().unwrap();
    conflicts(store, |tx| tx.remove_source(&id));
    write(store, |tx| tx.remove_membership(&"SN1".parse().unwrap()));
    write(store, |tx| tx.remove_source(&id));
    write(store, |tx| tx.remove_source(&id));
    assert_eq!(read(store, |view| view.source(&id)), None);
}
