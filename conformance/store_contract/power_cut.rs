//! The power fails at some write: what was acknowledged is there afterwards, and what is there is whole. The same for a whole gateway
//! is `conformance/power_cuts.rs`.

use std::thread;

use certgate::{
    adapters::store::RedbStore,
    ports::store::{Store, StoreError},
};

use crate::{
    drive::{Dice, Drive},
    samples::{certificate, fact, read, user},
};

/// Issues the next certificate, whose number is the count of all so far.
fn issue(store: &dyn Store) -> Result<u64, StoreError> {
    store.write(|tx| {
        let next = tx.user(&"counter".parse().unwrap())?.map_or(1, |counter| counter.version + 1);
        tx.put_user(&user("counter", next))?;
        tx.insert_certificate(&certificate(&format!("issuing/{next:04x}")))?;
        tx.append_audit(&fact(&next.to_string()))?;
        Ok(next)
    })
}

/// Issues certificates until the power fails, or enough of them; gives the last acknowledged number, 0 if there is none.
fn issue_until_the_cut(store: &dyn Store) -> u64 {
    (0..200).map_while(|_| issue(store).ok()).last().unwrap_or(0)
}

/// How many certificates are there, after making sure that every record agrees.
fn issued(store: &dyn Store) -> u64 {
    let count = read(store, |view| view.count_certificates());
    for number in 1..=count {
        let expected = certificate(&format!("issuing/{number:04x}"));
        let found = read(store, |view| view.certificate_by_fingerprint(&expected.fingerprint));
        assert_eq!(found, Some(expected));
    }
    let counter = read(store, |view| view.user(&"counter".parse().unwrap()));
    assert_eq!(counter.map_or(0, |counter| counter.version), count);
    let events = read(store, |view| view.audit_events(0, usize::MAX));
    assert_eq!(events.len() as u64, count);
    assert!(events.windows(2).all(|pair| pair[1].previous == pair[0].hash()));
    count
}

/// Runs to a cut at write `cut`, then to a second one at write `second` (in the repair or after it), then opens for good.
fn survives(cut: u64, second: u64, made: &[u8]) {
    let mut dice = Dice(cut << 32 | second);
    let mut content = made.to_vec();
    let mut acknowledged = 0;
    for left in [cut, second] {
        let drive = Drive::new(content, left);
        if let Ok(store) = RedbStore::on(drive.clone()) {
            let found = issued(&store);
            assert!(found >= acknowledged, "cut {cut}, {second}: {found} of {acknowledged} are left");
            acknowledged = found.max(issue_until_the_cut(&store));
        }
        content = drive.after_cut(&mut dice);
    }
    let store = RedbStore::on(Drive::new(content, u64::MAX));
    let store = store.unwrap_or_else(|error| panic!("cut {cut}, {second}: {error}"));
    let found = issued(&store);
    assert!(
        (acknowledged..=acknowledged + 1).contains(&found),
        "cut {cut}, {second}: {found} of {acknowledged} are left"
    );
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let drive = Drive::new(Vec::new(), u64::MAX);
    drop(RedbStore::on(drive.clone()).unwrap());
    let made = drive.synced();
    for cut in 0..200 {
        survives(cut, cut % 37, &made);
    }
    for cut in (200..2000).step_by(97) {
        survives(cut, cut % 37, &made);
    }
}

#[test]
fn a_cut_answers_every_writer_of_the_batch() {
    for cut in (0..400).step_by(29) {
        let drive = Drive::new(Vec::new(), u64::MAX);
        let store = RedbStore::on(drive.clone()).unwrap();
        drive.power(cut);
        let acknowledged = thread::scope(|scope| {
            let writers: Vec<_> = (0..12).map(|_| scope.spawn(|| issue_until_the_cut(&store))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap()
        });
        let refused = issue(&store).unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
        let content = drive.after_cut(&mut Dice(cut));
        assert!(issued(&RedbStore::on(Drive::new(content, u64::MAX)).unwrap()) >= acknowledged);
    }
}
