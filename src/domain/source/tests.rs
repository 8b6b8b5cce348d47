//! Listing and known devices to changes, without a store.

use std::collections::BTreeMap;

use super::{
    change::{Known, LineRefused, of_absence, of_entry, of_refused_line},
    entry::{Columns, Entry, MappingError, Target, columns},
    plan::Plan,
    *,
};
use crate::{
    domain::device::{
        Condition, ConditionKind, Device, DeviceEvent, IdentityKind, Lifecycle, LifecyclePolicy, Registration,
    },
    wire::inventory::Inventory,
};

const T0: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(T0 + seconds)
}

fn source(missing: MissingPolicy) -> Source {
    Source::new("mdm".parse().unwrap(), SourceKind::Inventory, missing, 7, at(0))
}

fn entries(text: &str) -> Vec<Entry> {
    let inventory = Inventory::read(text.as_bytes()).unwrap();
    let columns = columns(&inventory, &Columns::new()).unwrap();
    entries_of(&inventory, &columns)
}

fn entries_of(inventory: &Inventory<'_>, columns: &Columns) -> Vec<Entry> {
    let mut entries = Vec::new();
    inventory.each_row(&mut |row| entries.push(Entry::read(&row, columns)));
    entries
}

fn entry(text: &str) -> Entry {
    entries(text).remove(0)
}

fn device(id: &str, lifecycle: Lifecycle) -> Device {
    let identities = BTreeMap::from([(IdentityKind::Serial, id.to_owned())]);
    let registration = Registration { identities, ..Registration::default() };
    Device { lifecycle, ..Device::new(id.parse().unwrap(), registration, at(0)).unwrap() }
}

fn member(id: &str, reported: ReportedState) -> Membership {
    let (device, source) = (id.parse().unwrap(), "mdm".parse().unwrap());
    Membership { device, source, since: at(0), reported, absence: None }
}

fn known(id: &str, lifecycle: Lifecycle, reported: ReportedState) -> Known {
    Known { device: device(id, lifecycle), membership: Some(member(id, reported)) }
}

fn absent_since(first: u64) -> Membership {
    let absence = Some(Absence { first, last_seen: at(0) });
    Membership { absence, ..member("SN1", ReportedState::Managed) }
}

#[test]
fn usual_column_names_are_known_and_a_mapping_goes_before_them() {
    let text = "Device name,Serial number,Device ID,Primary user UPN,managementState,Asset\n\
                Ada's Mac,C02X,6f1c,ada@lab.example,managed,A-7\n";
    let entry = entry(text);
    assert_eq!(entry.device.as_ref().unwrap().as_str(), "C02X");
    assert_eq!(entry.registration.name, "Ada's Mac");
    assert_eq!(entry.registration.user.as_ref().unwrap().as_str(), "ada@lab.example");
    assert_eq!(entry.registration.identities[&IdentityKind::Uuid], "6f1c");
    assert_eq!(entry.state, Some(ReportedState::Managed));

    let inventory = Inventory::read(text.as_bytes()).unwrap();
    let wanted = [("device", "Asset"), ("user", ""), ("attribute.asset", "Asset")]
        .map(|(target, column)| (target.parse::<Target>().unwrap(), column.to_owned()));
    let mapped = columns(&inventory, &wanted.into()).unwrap();
    let entry = entries_of(&inventory, &mapped).remove(0);
    assert_eq!(entry.device.unwrap().as_str(), "A-7");
    assert_eq!((entry.registration.user, entry.registration.attributes["asset"].as_str()), (None, "A-7"));
}

#[test]
fn a_mapping_that_cannot_be_meant_is_refused() {
    let inventory = Inventory::read(b"colour,size\nred,L\n").unwrap();
    let refused = columns(&inventory, &Columns::new()).unwrap_err();
    assert_eq!(refused, MappingError::NoIdentity("colour, size".to_owned()));
    let wanted = Columns::from([(Target::Identity(IdentityKind::Serial), "Serial".to_owned())]);
    assert!(matches!(columns(&inventory, &wanted), Err(MappingError::NoColumn { .. })));
    assert!("attribute.".parse::<Target>().is_err());
    assert!("colour".parse::<Target>().unwrap_err().to_string().contains("client-id"));
}

#[test]
fn a_message_does_not_repeat_what_nobody_would_read() {
    let names: Vec<String> = (0..5000).map(|n| format!("colour{n}")).collect();
    let text = names.join(",") + "\n" + &names.join(",") + "\n";
    let refused =
        columns(&Inventory::read(text.as_bytes()).unwrap(), &Columns::new()).unwrap_err().to_string();
    assert!(refused.len() < 1200 && refused.contains("colour1, "), "{refused}");
}

#[test]
fn an_unknown_device_is_registered_unless_it_is_on_its_way_out() {
    let source = source(MissingPolicy::Keep);
    let change = of_entry(&source, &entry("serial,name\nSN1,One\n"), &[], at(5)).unwrap();
    let record = change.record.unwrap();
    assert_eq!((record.id.as_str(), record.name.as_str(), record.version), ("SN1", "One", 1));
    assert_eq!(change.membership.unwrap().source, source.id);
    let gone = of_entry(&source, &entry("serial,state\nSN1,retired\n"), &[], at(5)).unwrap();
    assert!(gone.is_nothing());
    assert_eq!(gone.counts.ignored, 1);
}

#[test]
fn the_same_line_again_changes_nothing() {
    let source = source(MissingPolicy::Hold);
    let line = entry("serial,name,model,state\nSN1,One,X1,managed\n");
    let change = of_entry(&source, &line, &[], at(5)).unwrap();
    let known = Known { device: change.record.unwrap(), membership: change.membership };
    assert!(of_entry(&source, &line, &[known], at(9)).unwrap().is_nothing());
}

#[test]
fn what_a_line_does_not_say_stays() {
    let mut before = known("SN1", Lifecycle::Active, ReportedState::Managed);
    before.device.model = "X1".to_owned();
    before.device.user = Some("ada".parse().unwrap());
    let line = entry("serial,name,model,user,imei\nSN1,Renamed,,,7\n");
    let record = of_entry(&source(MissingPolicy::Keep), &line, &[before], at(5)).unwrap().record.unwrap();
    assert_eq!((record.name.as_str(), record.model.as_str(), record.version), ("Renamed", "X1", 2));
    assert_eq!(record.user.unwrap().as_str(), "ada");
    assert_eq!(record.identities.len(), 2);
}

#[test]
fn a_device_of_nobody_joins_and_one_of_another_source_is_refused() {
    let source = source(MissingPolicy::Keep);
    let line = entry("serial\nSN1\n");
    let by_hand = Known { device: device("SN1", Lifecycle::Active), membership: None };
    let joined = of_entry(&source, &line, &[by_hand], at(5)).unwrap();
    assert_eq!((joined.counts.updated, joined.membership.unwrap().source), (1, source.id.clone()));
    let mut others = known("SN1", Lifecycle::Active, ReportedState::Managed);
    others.membership.as_mut().unwrap().source = "other".parse().unwrap();
    let refused = of_entry(&source, &line, &[others], at(5)).unwrap_err();
    assert_eq!(refused.to_string(), "the device \"SN1\" belongs to the source \"other\"");
}

#[test]
fn identities_of_two_devices_are_refused() {
    let two = ["SN1", "SN2"].map(|id| known(id, Lifecycle::Active, ReportedState::Managed));
    let refused = of_entry(&source(MissingPolicy::Keep), &entry("serial,imei\nSN1,2\n"), &two, at(5));
    assert_eq!(refused, Err(LineRefused::Several("SN1, SN2".to_owned())));
}

#[test]
fn a_reported_state_acts_once_and_where_it_can() {
    use DeviceEvent::{CancelWipe, Force, Retire, Unretire, Wipe};
    use Lifecycle::{Active, Pending, RetirePending, Retired, WipePending};
    use ReportedState::{Managed, RetirePending as Leaving, Retired as Left, WipePending as Wiping, Wiped};
    type Held = u64;
    type Gone = u64;
    type Case = (Lifecycle, ReportedState, &'static str, &'static [DeviceEvent], (Held, Gone));
    let cases: &[Case] = &[
        (Active, Managed, "retired", &[Retire, Force], (0, 1)),
        (Active, Left, "retired", &[], (0, 0)),
        (Active, Managed, "wiped", &[Wipe, Force], (0, 1)),
        (Pending, Managed, "wiped", &[Retire], (0, 1)),
        (RetirePending, Managed, "Retired", &[Force], (0, 1)),
        (WipePending, Wiping, "device_wiped", &[Force], (0, 1)),
        (WipePending, Managed, "retired", &[], (0, 0)),
        (Active, Managed, "wipeIssued", &[Wipe], (1, 0)),
        (Active, Managed, "retirePending", &[Retire], (1, 0)),
        (WipePending, Wiping, "wipeCanceled", &[CancelWipe], (0, 0)),
        (RetirePending, Leaving, "managed", &[Unretire], (0, 0)),
        (WipePending, Managed, "managed", &[], (0, 0)),
        (WipePending, Wiping, "wipeFailed", &[], (0, 0)),
        (Active, Managed, "online", &[], (0, 0)),
        (Retired, Managed, "wiped", &[], (0, 0)),
        (Active, Wiped, "managed", &[], (0, 0)),
    ];
    for (lifecycle, before, word, events, effect) in cases {
        let line = entry(&format!("serial,state\nSN1,{word}\n"));
        let known = known("SN1", *lifecycle, *before);
        let change = of_entry(&source(MissingPolicy::Keep), &line, &[known], at(5)).unwrap();
        assert_eq!(change.events, *events, "{lifecycle} {before:?} {word}");
        assert_eq!((change.counts.held, change.counts.retired), *effect, "{lifecycle} {before:?} {word}");
    }
}

/// The events of the listings that say `words` of a device, one after the other; `acts` come between them, by hand.
fn told(lifecycle: Lifecycle, words: &[(&str, &[DeviceEvent])]) -> Vec<Vec<DeviceEvent>> {
    let mut known = known("SN1", lifecycle, ReportedState::Managed);
    let mut told = Vec::new();
    for (word, acts) in words {
        let line = entry(&format!("serial,state\nSN1,{word}\n"));
        let of_source = of_entry(&source(MissingPolicy::Keep), &line, &[known.clone()], at(5)).unwrap();
        for event in of_source.events.iter().chain(*acts) {
            let policy = LifecyclePolicy::default();
            known.device = known.device.apply(*event, &policy, "", "", at(5)).unwrap().device;
        }
        known.membership = of_source.membership.or(known.membership);
        told.push(of_source.events);
    }
    told
}

#[test]
fn a_source_withdraws_only_what_it_began() {
    use DeviceEvent::{CancelWipe, Force, Retire, Unretire, Wipe};
    let none = Vec::new;
    assert_eq!(told(Lifecycle::WipePending, &[("wipePending", &[]), ("managed", &[])]), [none(), none()]);
    assert_eq!(told(Lifecycle::RetirePending, &[("retirePending", &[]), ("managed", &[])]), [none(), none()]);
    // What it said meanwhile is still so when the operator withdraws theirs.
    assert_eq!(
        told(Lifecycle::RetirePending, &[("retirePending", &[Unretire]), ("retirePending", &[])]),
        [none(), vec![Retire]]
    );
    assert_eq!(
        told(Lifecycle::WipePending, &[("retired", &[CancelWipe]), ("retired", &[])]),
        [none(), vec![Retire, Force]]
    );
    // An operator who withdraws what the source began is not overruled by its repeating itself.
    assert_eq!(
        told(Lifecycle::Active, &[("wipePending", &[CancelWipe]), ("wipePending", &[])]),
        [vec![Wipe], none()]
    );
}

#[test]
fn what_is_said_of_a_device_before_it_enrols_counts_once_it_has() {
    use DeviceEvent::{Enrolled, Retire, Wipe};
    for (word, event) in [("wipePending", Wipe), ("retirePending", Retire)] {
        let told = told(Lifecycle::Pending, &[(word, &[Enrolled]), (word, &[]), (word, &[])]);
        assert_eq!(told, [vec![], vec![event], vec![]], "{word}");
    }
}

/// The events of a device that is absent since listing 1, at listing 1, 2, 3 ...
fn missed(policy: MissingPolicy, mut device: Device, listings: u64, step: u64) -> Vec<Vec<DeviceEvent>> {
    let mut source = source(policy);
    let mut membership = member("SN1", ReportedState::Managed);
    let mut told = Vec::new();
    for listing in 0..listings {
        source.listings = listing;
        let change = of_absence(&source, &device, &membership, at(listing * step));
        membership = change.membership.unwrap_or(membership);
        for event in &change.events {
            let policy = LifecyclePolicy::default();
            device = device.apply(*event, &policy, "", "", at(listing * step)).unwrap().device;
        }
        told.push(change.events);
    }
    told
}

#[test]
fn the_third_listing_without_a_device_makes_it_missing_once() {
    let active = || device("SN1", Lifecycle::Active);
    let none = Vec::new;
    assert_eq!(
        missed(MissingPolicy::Keep, active(), 5, 1),
        [none(), none(), vec![DeviceEvent::SourceMissing], none(), none()]
    );
    assert_eq!(
        missed(MissingPolicy::Hold, active(), 5, 100 * DAY),
        [none(), none(), vec![DeviceEvent::SourceHold], none(), none()]
    );
}

#[test]
fn a_missing_device_is_retired_after_the_grace_and_never_without_a_hold_before() {
    let active = device("SN1", Lifecycle::Active);
    let told = missed(MissingPolicy::Retire, active, 7, 3 * DAY);
    assert_eq!(told[2], [DeviceEvent::SourceHold]);
    assert_eq!([told[3].len(), told[4].len()], [0, 0], "3 and 6 days after the hold");
    assert_eq!(told[5], [DeviceEvent::Retire, DeviceEvent::Force], "9 days after the hold");
    assert_eq!(told[6], [], "what is retired is missed by nobody");
}

#[test]
fn an_interrupted_sync_that_runs_again_counts_nobody_twice() {
    let source = source(MissingPolicy::Hold);
    let device = device("SN1", Lifecycle::Active);
    let first = of_absence(&source, &device, &member("SN1", ReportedState::Managed), at(1));
    let again = of_absence(&source, &device, &first.membership.unwrap(), at(2));
    assert!(again.is_nothing());
}

#[test]
fn a_device_that_is_listed_again_is_no_longer_missing() {
    let source = Source { listings: 4, ..source(MissingPolicy::Hold) };
    let mut device = device("SN1", Lifecycle::Active);
    device.conditions =
        vec![Condition { kind: ConditionKind::SourceHold, since: at(3), note: String::new() }];
    let known = Known { device, membership: Some(absent_since(1)) };
    let change = of_entry(&source, &entry("serial\nSN1\n"), &[known], at(9)).unwrap();
    assert_eq!((change.events, change.counts.returned), (vec![DeviceEvent::SourceBack], 1));
    assert_eq!(change.membership.unwrap().absence, None);
}

#[test]
fn an_absence_remembers_when_the_device_was_last_listed() {
    let source = Source { listings: 2, listed_at: Some(at(50)), ..source(MissingPolicy::Keep) };
    let membership = member("SN1", ReportedState::Managed);
    assert_eq!(membership.last_seen(source.listed_at), at(50));
    let absent = of_absence(&source, &device("SN1", Lifecycle::Active), &membership, at(90));
    assert_eq!(absent.membership.unwrap().last_seen(Some(at(90))), at(50));
}

/// The plan of `text` for `devices` active members, the first of which were absent for two listings before.
fn plan<'a>(source: &'a Source, text: &str, devices: u64) -> Plan<'a> {
    let entries = entries(text);
    let mut plan = Plan::new(source, entries.len(), at(9));
    let all: Vec<Known> = (0..devices)
        .map(|number| {
            let id = format!("SN{number}");
            let membership = Membership { device: id.parse().unwrap(), ..absent_since(source.listings - 1) };
            Known { device: device(&id, Lifecycle::Active), membership: Some(membership) }
        })
        .collect();
    for (index, entry) in entries.iter().enumerate() {
        let matches: Vec<Known> =
            all.iter().filter(|known| Some(&known.device.id) == entry.device.as_ref()).cloned().collect();
        plan.entry(index, entry, &matches);
    }
    for known in &all {
        plan.member(&known.device, known.membership.as_ref().unwrap());
    }
    plan
}

fn listing(numbers: std::ops::Range<u64>) -> String {
    numbers.fold("serial\n".to_owned(), |text, number| text + &format!("SN{number}\n"))
}

#[test]
fn the_brake_stops_what_is_more_than_ten_and_more_than_a_twentieth() {
    let source = Source { listings: 2, ..source(MissingPolicy::Hold) };
    for (devices, listed, stopped) in [(20, 10, false), (20, 9, true), (400, 380, false), (400, 379, true)] {
        let plan = plan(&source, &listing(0..listed), devices);
        assert_eq!(plan.counts.held, devices - listed);
        assert_eq!(plan.check().is_err(), stopped, "{listed} of {devices}");
    }
    let keep = Source { missing: MissingPolicy::Keep, ..source.clone() };
    assert!(plan(&keep, &listing(0..1), 400).check().is_ok(), "what is only shown needs no brake");
    let braked = plan(&source, &listing(0..1), 20).check().unwrap_err();
    let words = braked.to_string();
    assert!(words.contains("put 19 devices on hold and retire 0, of 20"), "{words}");
}

#[test]
fn the_brake_counts_what_the_lines_say_too() {
    let source = Source { listings: 2, ..source(MissingPolicy::Keep) };
    let text = (0..11).fold("serial,state\n".to_owned(), |text, n| text + &format!("SN{n},wiped\n"));
    let plan = plan(&source, &text, 11);
    assert_eq!(plan.counts.retired, 11);
    assert!(plan.check().is_err());
}

#[test]
fn a_line_that_may_be_about_anybody_makes_nobody_absent() {
    let source = Source { listings: 2, ..source(MissingPolicy::Hold) };
    let unreadable = plan(&source, "serial,name\nSN0,a\nSN1\n", 3);
    assert!(!unreadable.complete);
    assert_eq!((unreadable.counts.absent, unreadable.counts.refused), (0, 1));
    let bad_value = plan(&source, "serial,user\nSN0,a\nSN1,not a user\n", 3);
    assert!(bad_value.complete, "it is clear whom the line is about");
    assert_eq!((bad_value.counts.absent, bad_value.counts.refused), (1, 1));
}

#[test]
fn a_refused_line_ends_an_absence_and_no_hold() {
    let source = Source { listings: 2, ..source(MissingPolicy::Hold) };
    let plan = plan(&source, "serial,user\nSN0,a\nSN1,not a user\n", 3);
    assert_eq!(plan.to_notice, ["SN1".parse().unwrap()]);
    let change = of_refused_line(&absent_since(1));
    assert_eq!(change.membership.as_ref().map(|membership| membership.absence), Some(None));
    assert_eq!(change.events, []);
    assert!(of_refused_line(&member("SN1", ReportedState::Managed)).is_nothing());
}

#[test]
fn devices_that_are_gone_do_not_loosen_the_brake() {
    let source = Source { listings: 2, ..source(MissingPolicy::Hold) };
    let mut plan = plan(&source, &listing(0..9), 20);
    for number in 0..400 {
        let gone = device(&format!("GONE{number}"), Lifecycle::Retired);
        plan.member(&gone, &absent_since(1));
    }
    assert!(plan.check().is_err(), "{:?}", plan.counts);
}

#[test]
fn a_device_is_listed_once() {
    let source = Source { listings: 2, ..source(MissingPolicy::Keep) };
    let plan = plan(&source, "serial,imei\nSN0,1\nSN0,2\nSN8,3\nSN9,3\n", 1);
    let lines: Vec<_> = plan.refused.iter().map(|(line, refused)| (*line, refused.clone())).collect();
    assert_eq!(lines, [(3, LineRefused::Again(2)), (5, LineRefused::Again(4))]);
}

/// Somebody types it into the MDM, and it must not cost the device its place here. As at the webhook.
#[test]
fn a_name_that_is_too_long_is_shortened() {
    let long = entry(&format!("device,name,serial\nSN1,{}\u{7},S1\n", "x".repeat(200)));
    assert_eq!(long.registration.name, "x".repeat(128));
    let change = of_entry(&source(MissingPolicy::Keep), &long, &[], at(0));
    assert!(change.is_ok(), "{change:?}");
}
