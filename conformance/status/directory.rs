//! CRLs and CA certificates in directories, with one that lives in memory; OpenLDAP's slapd is in `conformance/gear`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use certgate::{
    domain::{
        access::{Operate, Read},
        crl::{CrlPolicy, CrlScope, Partition},
        directory::{DirectoryAttribute, DirectoryPolicy, EntryName, Placement},
    },
    ports::{Directories, Directory, DirectoryError, DirectorySession, EntryValues, NewValues},
    service::{
        GatewaySettings, Ports,
        health::{Check, CheckResult},
    },
    types::{DirectoryName, RevocationReason},
    wire::crl::CrlHead,
};

use super::{
    common::{World, WorldOptions},
    crl_policy::settings,
    enrolled, issuing,
    restore::{back_up, filled},
    revoke,
};

const HOUR: Duration = Duration::from_secs(3_600);
const ENTRY: &str = "cn=issuing,ou=pki,o=Test";
const PROFILE: (&str, &str) = ("device", r#"subject = "CN=$DEVICE_ID$,O=Test""#);

/// What a directory in memory has, and what was done to it.
#[derive(Default)]
struct Tree {
    entries: BTreeMap<String, BTreeMap<&'static str, Vec<Vec<u8>>>>,
    down: bool,
    writes: usize,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Tree>>);

impl Fake {
    fn tree<R>(&self, work: impl FnOnce(&mut Tree) -> R) -> R {
        work(&mut self.0.lock().unwrap())
    }

    fn values(&self, entry: &str, attribute: DirectoryAttribute) -> Vec<Vec<u8>> {
        let found =
            self.tree(|tree| tree.entries.get(entry).and_then(|it| it.get(attribute.description()).cloned()));
        found.unwrap_or_default()
    }

    fn set(&self, entry: &str, attribute: DirectoryAttribute, values: Vec<Vec<u8>>) {
        self.tree(|tree| {
            tree.entries.entry(entry.to_owned()).or_default().insert(attribute.description(), values)
        });
    }

    /// The number of the one CRL that is there.
    fn number(&self) -> u64 {
        let [crl] = self.values(ENTRY, FULL).try_into().unwrap();
        CrlHead::scan(&crl, |_| {}).unwrap().number().unwrap()
    }

    fn writes(&self) -> usize {
        self.tree(|tree| std::mem::take(&mut tree.writes))
    }

    fn directories(&self) -> Directories {
        let directory: Arc<dyn Directory> = Arc::new(self.clone());
        Directories(BTreeMap::from([(name(), directory)]))
    }
}

const FULL: DirectoryAttribute = DirectoryAttribute::CertificateRevocationList;
const DELTA: DirectoryAttribute = DirectoryAttribute::DeltaRevocationList;

impl Directory for Fake {
    fn open(&self) -> Result<Box<dyn DirectorySession>, DirectoryError> {
        if self.tree(|tree| tree.down) {
            return Err(DirectoryError::Connect {
                server: "ldap.test:636".to_owned(),
                reason: "refused".to_owned(),
            });
        }
        Ok(Box::new(self.clone()))
    }
}

impl DirectorySession for Fake {
    fn read(
        &mut self,
        entry: &EntryName,
        attributes: &[DirectoryAttribute],
    ) -> Result<Option<EntryValues>, DirectoryError> {
        let has = |found: &BTreeMap<&str, Vec<Vec<u8>>>| {
            let of = |wanted: &DirectoryAttribute| Some((*wanted, found.get(wanted.description())?.clone()));
            EntryValues(attributes.iter().filter_map(of).collect())
        };
        Ok(self.tree(|tree| tree.entries.get(entry.as_str()).map(has)))
    }

    fn replace(&mut self, entry: &EntryName, values: &[NewValues<'_>]) -> Result<(), DirectoryError> {
        self.tree(|tree| tree.writes += 1);
        for (attribute, new) in values {
            self.set(entry.as_str(), *attribute, new.iter().map(|value| value.to_vec()).collect());
        }
        Ok(())
    }

    fn create(&mut self, entry: &EntryName, values: &[NewValues<'_>]) -> Result<(), DirectoryError> {
        assert!(!self.tree(|tree| tree.entries.contains_key(entry.as_str())));
        self.replace(entry, values)
    }
}

fn name() -> DirectoryName {
    "main".parse().unwrap()
}

fn with_directory(policy: CrlPolicy, create_entries: bool) -> GatewaySettings {
    let placement = Placement {
        template: Some("cn=$ISSUER$,ou=pki,o=Test".to_owned()),
        issuers: vec![issuing()],
        ..Placement::default()
    };
    let policy_there = DirectoryPolicy {
        placement,
        ca_certificates: true,
        create_entries,
        alarm_after: HOUR,
        certificate_url: None,
    };
    GatewaySettings { directories: BTreeMap::from([(name(), policy_there)]), ..settings(policy) }
}

fn world_with(settings: GatewaySettings) -> (World, Fake) {
    let fake = Fake::default();
    let options = WorldOptions { settings, directories: fake.directories(), ..WorldOptions::default() };
    let world = World::with(options, &[PROFILE]);
    world.gateway.run_due().unwrap();
    (world, fake)
}

fn world() -> (World, Fake) {
    world_with(with_directory(CrlPolicy::default(), true))
}

/// The directory's thread comes round.
fn bring(world: &World) {
    world.gateway.run_directory(&name()).unwrap();
}

fn publish(world: &World) -> u64 {
    world.gateway.publish_crl(&world.authed::<Operate>(), &issuing()).unwrap().number
}

fn jobs(world: &World) -> Vec<String> {
    let jobs = world.gateway.jobs(&world.authed::<Read>(), 100).unwrap().items;
    jobs.into_iter().map(|job| job.lane).filter(|lane| lane.starts_with("directory")).collect()
}

fn check(world: &World) -> Check {
    let checks = world.gateway.health().checks;
    checks.into_iter().find(|check| check.name == "directory/main/issuing").unwrap()
}

fn alarms(world: &World) -> usize {
    let events = world.read(|view| view.audit_events(0, 10_000));
    events.iter().filter(|event| event.fact.action == "crl.directory-behind").count()
}

#[test]
fn what_is_published_is_in_the_directory_byte_for_byte_and_written_once() {
    let (world, fake) = world();
    bring(&world);
    let crl = world.gateway.crl(&issuing()).unwrap();
    assert_eq!(fake.values(ENTRY, FULL), std::slice::from_ref(&crl.der.to_vec()));
    let certificate = world.issuer("issuing").as_der().to_vec();
    assert_eq!(fake.values(ENTRY, DirectoryAttribute::CaCertificate), [certificate]);
    assert_eq!(fake.tree(|tree| tree.entries.len()), 1, "only this issuer is published");
    assert_eq!((fake.writes(), jobs(&world).len()), (1, 0));
    bring(&world);
    assert_eq!(fake.writes(), 0);
    let shown = world.gateway.show_crl(&world.authed::<Read>(), &issuing()).unwrap();
    let [there] = shown.directories.try_into().unwrap();
    assert_eq!((there.number, there.behind_since, there.problem), (Some(crl.number), None, None));
    assert_eq!(check(&world).result, CheckResult::Pass);

    let revoked = enrolled(&world, "SN1");
    revoke(&world, &revoked, RevocationReason::KeyCompromise);
    world.clock.advance(Duration::from_secs(10));
    world.gateway.run_due().unwrap();
    bring(&world);
    let [der] = fake.values(ENTRY, FULL).try_into().unwrap();
    let mut listed = Vec::new();
    CrlHead::scan(&der, |entry| listed.push(entry.serial)).unwrap();
    assert_eq!(listed, [revoked.serial().clone()]);
}

#[test]
fn while_a_directory_is_down_http_goes_on_and_afterwards_it_gets_the_newest_alone() {
    let (world, fake) = world();
    bring(&world);
    fake.writes();
    fake.tree(|tree| tree.down = true);
    for _ in 0..3 {
        publish(&world);
        bring(&world);
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(jobs(&world), ["directory/main/issuing"], "jobs that wait collapse into one");
    let newest = world.gateway.crl(&issuing()).unwrap().number;
    assert_eq!((newest, fake.number()), (4, 1));
    let shown = world.gateway.crls(&world.authed::<Read>()).unwrap().items;
    let behind: Vec<_> = shown.iter().filter(|crl| !crl.behind_in.is_empty()).collect();
    assert_eq!((behind.len(), &behind[0].issuer), (1, &issuing()));
    let problem = behind[0].directories[0].problem.as_deref().unwrap();
    assert_eq!(problem, "ldap.test:636 cannot be reached: refused");
    let found = check(&world);
    assert!(found.result == CheckResult::Warn && found.detail.contains("number 1"), "{found:?}");
    assert!(world.gateway.health().ready, "gear that reads HTTP misses nothing");

    fake.tree(|tree| tree.down = false);
    world.clock.advance(HOUR);
    bring(&world);
    assert_eq!((fake.number(), fake.writes(), jobs(&world).len()), (newest, 1, 0));
    assert_eq!(check(&world).result, CheckResult::Pass);
}

#[test]
fn a_directory_that_stays_behind_is_an_alarm_once_each_time() {
    let (world, fake) = world();
    for outage in 1..3 {
        world.clock.advance(Duration::from_secs(1));
        bring(&world);
        fake.tree(|tree| tree.down = true);
        publish(&world);
        bring(&world);
        world.clock.advance(HOUR - Duration::from_secs(1));
        world.gateway.run_due().unwrap();
        assert_eq!(alarms(&world), outage - 1);
        world.clock.advance(Duration::from_secs(1));
        world.gateway.run_due().unwrap();
        world.gateway.run_due().unwrap();
        assert_eq!(alarms(&world), outage);
        publish(&world);
        bring(&world);
        world.clock.advance(HOUR);
        world.gateway.run_due().unwrap();
        assert_eq!(alarms(&world), outage, "another CRL that it does not get is the same outage");
        fake.tree(|tree| tree.down = false);
        bring(&world);
        world.gateway.run_due().unwrap();
    }
    // One whose thread does not come round has no problem on record, and is behind all the same.
    publish(&world);
    world.clock.advance(HOUR);
    world.gateway.run_due().unwrap();
    assert_eq!(alarms(&world), 3);
}

#[test]
fn an_older_crl_is_never_written_over_a_newer_one() {
    let (world, fake) = world();
    // Another gateway on the same records, which does not learn of what this one publishes.
    let older = world.opened_on(world.ports.clone(), with_directory(CrlPolicy::default(), true)).unwrap();
    let newest = publish(&world);
    bring(&world);
    older.run_directory(&name()).unwrap();
    assert_eq!(fake.number(), newest);
    let problem = older.show_crl(&world.authed::<Read>(), &issuing()).unwrap().directories.remove(0).problem;
    let problem = problem.unwrap();
    assert!(problem.contains("has a newer CRL, number 2, and ours is 1"), "{problem}");
}

#[test]
fn the_crl_of_another_ca_is_left_alone_and_a_placeholder_is_not() {
    let (other, elsewhere) = world();
    bring(&other);
    let foreign = elsewhere.values(ENTRY, FULL);
    let (world, fake) = world();
    fake.set(ENTRY, FULL, foreign.clone());
    bring(&world);
    assert_eq!(fake.values(ENTRY, FULL), foreign);
    assert!(check(&world).detail.contains("a CRL of another CA"), "{:?}", check(&world));
    fake.set(ENTRY, FULL, vec![vec![0x30; 40]]);
    world.clock.advance(HOUR);
    bring(&world);
    assert!(check(&world).detail.contains("a CRL of another CA"), "what cannot be read may be one");

    fake.set(ENTRY, FULL, vec![vec![0]]);
    let previous = other.issuer("issuing").as_der().to_vec();
    fake.set(ENTRY, DirectoryAttribute::CaCertificate, vec![vec![0], previous.clone()]);
    world.clock.advance(HOUR);
    bring(&world);
    assert_eq!(fake.number(), world.gateway.crl(&issuing()).unwrap().number);
    let own = world.issuer("issuing").as_der().to_vec();
    assert_eq!(fake.values(ENTRY, DirectoryAttribute::CaCertificate), [previous, own]);
}

#[test]
fn an_entry_that_is_not_there_is_made_only_where_that_is_allowed() {
    let (world, fake) = world_with(with_directory(CrlPolicy::default(), false));
    bring(&world);
    assert_eq!(fake.tree(|tree| tree.entries.len()), 0);
    let detail = check(&world).detail;
    assert!(detail.contains("there is no entry cn=issuing,ou=pki,o=Test: make it, or allow"), "{detail}");
    fake.tree(|tree| tree.entries.insert(ENTRY.to_owned(), BTreeMap::new()));
    world.clock.advance(HOUR);
    bring(&world);
    assert_eq!(fake.number(), 1);
}

#[test]
fn a_restart_goes_on_and_finds_an_old_copy_of_the_directory() {
    let (world, fake) = world();
    fake.tree(|tree| tree.down = true);
    let newest = publish(&world);
    bring(&world);
    let again = || with_directory(CrlPolicy::default(), true);
    let world = world.restarted(again());
    fake.tree(|tree| tree.down = false);
    world.clock.advance(HOUR);
    bring(&world);
    assert_eq!(fake.number(), newest);
    let (old, newer) = (fake.values(ENTRY, FULL), publish(&world));
    bring(&world);
    fake.set(ENTRY, FULL, old);
    let world = world.restarted(again());
    bring(&world);
    assert_eq!(fake.number(), newer);
    assert!(jobs(&world).is_empty());
}

#[test]
fn a_restored_gateway_takes_no_crl_away_before_it_has_a_newer_one() {
    let (world, fake) = world();
    bring(&world);
    let (store, _) = filled(&back_up(&world), &[], true, world.now()).unwrap();
    let ports = Ports { store: Arc::new(store), ..world.ports.clone() };
    let world = world.restarted_on(ports, with_directory(CrlPolicy::default(), true));
    assert!(world.gateway.crl(&issuing()).is_none());
    let there = fake.values(ENTRY, FULL);
    bring(&world);
    assert_eq!(fake.values(ENTRY, FULL), there);
    world.gateway.run_due().unwrap();
    bring(&world);
    assert_eq!(fake.number(), world.gateway.crl(&issuing()).unwrap().number);
}

#[test]
fn jobs_of_a_directory_that_is_no_more_go() {
    let (world, fake) = world();
    fake.tree(|tree| tree.down = true);
    bring(&world);
    assert_eq!(jobs(&world).len(), 1);
    let ports = Ports { directories: Directories::default(), ..world.ports.clone() };
    let world = world.restarted_on(ports, GatewaySettings::default());
    world.gateway.run_due().unwrap();
    assert!(jobs(&world).is_empty());
    publish(&world);
    assert!(jobs(&world).is_empty());
}

#[test]
fn deltas_and_partitions_have_their_places_also_when_they_are_switched_off() {
    let policy = CrlPolicy { delta: Some(6 * 3_600), partitions: Some(2), ..CrlPolicy::default() };
    let (world, fake) = world_with(with_directory(policy, true));
    bring(&world);
    let published = |world: &World, scope| world.gateway.crl_of(&issuing(), scope).unwrap().der.to_vec();
    assert_eq!(fake.values(ENTRY, DELTA), [published(&world, CrlScope::Delta)]);
    for partition in Partition::all(2) {
        let entry = format!("cn={} of 2,{ENTRY}", partition.index);
        assert_eq!(fake.values(&entry, FULL), [published(&world, CrlScope::Partition(partition))]);
        assert!(fake.values(&entry, DirectoryAttribute::CaCertificate).is_empty());
    }
    let revoked = enrolled(&world, "SN1");
    revoke(&world, &revoked, RevocationReason::Superseded);
    world.clock.advance(Duration::from_secs(10));
    world.gateway.run_due().unwrap();
    let full = fake.values(ENTRY, FULL);
    bring(&world);
    assert_eq!(fake.values(ENTRY, FULL), full, "with deltas the full one waits for its schedule");
    assert_eq!(fake.values(ENTRY, DELTA), [published(&world, CrlScope::Delta)]);

    let without = CrlPolicy { delta: None, ..policy };
    let world = world.restarted(with_directory(without, true));
    world.gateway.run_due().unwrap();
    bring(&world);
    assert!(fake.values(ENTRY, FULL) != full);
    assert_eq!(fake.values(ENTRY, FULL), [published(&world, CrlScope::Full)]);
    assert_eq!(fake.values(ENTRY, DELTA), [published(&world, CrlScope::Delta)]);
}

#[test]
fn beside_a_newer_full_crl_no_older_delta_is_written_or_taken_away() {
    let policy = CrlPolicy { delta: Some(6 * 3_600), ..CrlPolicy::default() };
    let (world, fake) = world_with(with_directory(policy, true));
    bring(&world);
    let old_delta = fake.values(ENTRY, DELTA);
    // Another gateway on the same records, which does not learn of what this one publishes.
    let older = world.opened_on(world.ports.clone(), with_directory(policy, true)).unwrap();
    let newest = publish(&world);
    bring(&world);
    let (full, delta) = (fake.values(ENTRY, FULL), fake.values(ENTRY, DELTA));
    assert!(newest == 2 && delta != old_delta);

    fake.set(ENTRY, DELTA, Vec::new());
    older.run_directory(&name()).unwrap();
    assert_eq!(fake.values(ENTRY, FULL), full);
    assert!(fake.values(ENTRY, DELTA).is_empty(), "what it releases from a hold may be on hold again");
    let problem = older.show_crl(&world.authed::<Read>(), &issuing()).unwrap().directories.remove(0).problem;
    assert!(problem.unwrap().contains("has a newer CRL, number 2, and ours is 1"));
}

#[test]
fn a_newer_delta_is_not_taken_away_by_whoever_made_none_yet() {
    let (world, fake) = world_with(with_directory(CrlPolicy::default(), true));
    let older = world.opened_on(world.ports.clone(), with_directory(CrlPolicy::default(), true)).unwrap();
    let policy = CrlPolicy { delta: Some(6 * 3_600), ..CrlPolicy::default() };
    let world = world.restarted(with_directory(policy, true));
    publish(&world);
    bring(&world);
    let there = || (fake.values(ENTRY, FULL), fake.values(ENTRY, DELTA));
    let newest = there();
    assert_eq!((newest.0.len(), newest.1.len()), (1, 1));
    older.run_directory(&name()).unwrap();
    assert_eq!(there(), newest);
}

#[test]
fn a_probe_reads_back_and_compares() {
    let (world, fake) = world();
    let probed = || world.gateway.probe(&world.authed::<Operate>()).unwrap();
    let report = probed();
    assert!(!report.works);
    assert!(report.checks[1].detail.contains("there is no entry"), "{report:?}");
    bring(&world);
    let report = probed();
    assert!(report.works, "{report:?}");
    let names: Vec<_> = report.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["directory/main", "directory/main/issuing"]);
    publish(&world);
    let report = probed();
    assert!(report.checks[1].detail.ends_with("has number 1, and the newest CRL is number 2"), "{report:?}");
    fake.tree(|tree| tree.down = true);
    let report = probed();
    assert_eq!(report.checks.len(), 1);
    assert!(report.checks[0].detail.contains("cannot be reached"), "{report:?}");
    assert_eq!(fake.writes(), 1, "a probe writes nothing");
}
