//! The power fails at some write: what was acknowledged is there afterwards, and what is there is whole.
//!
//! The disk of this model keeps what was synced. Of what was written since the last sync, a cut keeps any part, in any
//! order, in sectors of 512 bytes: each sector either as written or as it was.

use std::{
    io,
    sync::{Arc, Mutex},
    thread,
};

use certgate::{
    adapters::store::RedbStore,
    ports::store::{Store, StoreError},
};
use redb::StorageBackend;

use crate::samples::{certificate, fact, read, user};

const SECTOR: usize = 512;

/// A disk that loses power at its `left`-th write or sync.
#[derive(Debug)]
struct Disk {
    synced: Vec<u8>,
    written: Vec<u8>,
    /// Where it was written since the last sync.
    dirty: Vec<(usize, usize)>,
    left: u64,
}

#[derive(Clone, Debug)]
struct Drive(Arc<Mutex<Disk>>);

/// A generator for the parts that a cut keeps (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn flip(&mut self) -> bool {
        self.roll().is_multiple_of(2)
    }
}

impl Disk {
    fn spend(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(())
    }

    /// What a cut leaves.
    fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut left = self.synced.clone();
        if left.len() != self.written.len() && dice.flip() {
            left.resize(self.written.len(), 0);
        }
        for (start, end) in &self.dirty {
            for sector in (start / SECTOR)..end.div_ceil(SECTOR) {
                let (from, to) = ((sector * SECTOR).max(*start), ((sector + 1) * SECTOR).min(*end));
                if to <= left.len() && to <= self.written.len() && dice.flip() {
                    left[from..to].copy_from_slice(&self.written[from..to]);
                }
            }
        }
        left
    }
}

impl Drive {
    fn new(content: Vec<u8>, left: u64) -> Self {
        let disk = Disk { synced: content.clone(), written: content, dirty: Vec::new(), left };
        Self(Arc::new(Mutex::new(disk)))
    }

    fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        self.0.lock().unwrap().after_cut(dice)
    }
}

impl StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let bytes = disk.written.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        disk.written.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        let Disk { synced, written, dirty, .. } = &mut *disk;
        synced.resize(written.len(), 0);
        for (start, end) in dirty.drain(..) {
            let end = end.min(written.len());
            if start < end {
                synced[start..end].copy_from_slice(&written[start..end]);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        let start = usize::try_from(offset).unwrap();
        disk.written[start..start + data.len()].copy_from_slice(data);
        disk.dirty.push((start, start + data.len()));
        Ok(())
    }
}

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
    let made = drive.0.lock().unwrap().synced.clone();
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
        drive.0.lock().unwrap().left = cut;
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
