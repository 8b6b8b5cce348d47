//! A disk that loses power, for redb.
//!
//! It keeps what was synced. Each write since the last sync is kept, dropped or torn by a cut, whatever became of the writes before and
//! after it; a torn one is kept in some of its sectors of 512 bytes. The same goes for a change of the length.

use std::{
    io,
    sync::{Arc, Mutex},
};

use redb::StorageBackend;

const SECTOR: usize = 512;

/// What was done since the last sync.
#[derive(Debug)]
enum Unsynced {
    Write { start: usize, data: Vec<u8> },
    SetLen(usize),
}

/// A disk that loses power at its `left`-th write, sync or change of length.
#[derive(Debug)]
struct Disk {
    synced: Vec<u8>,
    written: Vec<u8>,
    unsynced: Vec<Unsynced>,
    left: u64,
}

/// A handle on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Drive(Arc<Mutex<Disk>>);

/// A generator for what a cut keeps (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..sides`.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
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
        for done in &self.unsynced {
            match (done, dice.below(3)) {
                (_, 0) => {}
                (Unsynced::SetLen(len), _) => left.resize(*len, 0),
                (Unsynced::Write { start, data }, 1) => put(&mut left, *start, data),
                (Unsynced::Write { start, data }, _) => tear(&mut left, *start, data, dice),
            }
        }
        left
    }
}

/// What lies behind the end of the file, because a change of its length was dropped, is lost.
fn put(file: &mut [u8], start: usize, data: &[u8]) {
    if let Some(place) = file.get_mut(start..start + data.len()) {
        place.copy_from_slice(data);
    }
}

fn tear(file: &mut [u8], start: usize, data: &[u8], dice: &mut Dice) {
    let mut from = start;
    while from < start + data.len() {
        let to = ((from / SECTOR + 1) * SECTOR).min(start + data.len());
        if dice.flip() {
            put(file, from, &data[from - start..to - start]);
        }
        from = to;
    }
}

impl Drive {
    /// A disk with this content and with power for `left` writes.
    pub(crate) fn new(content: Vec<u8>, left: u64) -> Self {
        let disk = Disk { synced: content.clone(), written: content, unsynced: Vec::new(), left };
        Self(Arc::new(Mutex::new(disk)))
    }

    /// What is on it after a cut.
    pub(crate) fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        self.0.lock().unwrap().after_cut(dice)
    }

    /// What was synced.
    pub(crate) fn synced(&self) -> Vec<u8> {
        self.0.lock().unwrap().synced.clone()
    }

    /// Gives it power for `left` more writes.
    pub(crate) fn power(&self, left: u64) {
        self.0.lock().unwrap().left = left;
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
        let len = usize::try_from(len).unwrap();
        disk.written.resize(len, 0);
        disk.unsynced.push(Unsynced::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        let Disk { synced, written, unsynced, .. } = &mut *disk;
        // What was written is what was synced with each of the changes, and copying only those is faster.
        for done in unsynced.drain(..) {
            match done {
                Unsynced::SetLen(len) => synced.resize(len, 0),
                Unsynced::Write { start, data } => put(synced, start, &data),
            }
        }
        debug_assert_eq!(synced.len(), written.len());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.spend()?;
        let start = usize::try_from(offset).unwrap();
        disk.written[start..start + data.len()].copy_from_slice(data);
        disk.unsynced.push(Unsynced::Write { start, data: data.to_vec() });
        Ok(())
    }
}
