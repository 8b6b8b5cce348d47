//! Writers that were announced share a commit: seen by the syncs that reach the disk.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use certgate::{adapters::store::RedbStore, ports::store::Store};
use redb::{StorageBackend, backends::InMemoryBackend};

use crate::samples::{fact, write};

/// A disk that counts its syncs.
#[derive(Debug, Default)]
struct CountingDisk {
    content: InMemoryBackend,
    syncs: Arc<AtomicU64>,
}

impl StorageBackend for CountingDisk {
    fn len(&self) -> io::Result<u64> {
        self.content.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.content.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.content.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.content.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.content.write(offset, data)
    }
}

const WRITERS: u32 = 8;

/// Eight writers, a millisecond after each other; gives the syncs that they cost together.
fn staggered(store: &dyn Store, syncs: &AtomicU64, announced: bool) -> u64 {
    let before = syncs.load(Ordering::SeqCst);
    let announcements: Vec<_> = (0..WRITERS).map(|_| announced.then(|| store.announce())).collect();
    thread::scope(|scope| {
        for (number, announcement) in (0..).zip(announcements) {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(1) * number);
                drop(announcement);
                write(store, |tx| tx.append_audit(&fact("SN1")));
            });
        }
    });
    syncs.load(Ordering::SeqCst) - before
}

#[test]
fn announced_writers_share_a_commit() {
    let disk = CountingDisk::default();
    let syncs = Arc::clone(&disk.syncs);
    let store = RedbStore::on(disk).unwrap();
    // Many rounds of each, side by side: a busy machine makes writers meet at the door, announced or not.
    let (mut announced, mut unannounced) = (0, 0);
    for _ in 0..40 {
        announced += staggered(&store, &syncs, true);
        unannounced += staggered(&store, &syncs, false);
    }
    assert!(announced * 10 < unannounced * 8, "{announced} syncs announced, {unannounced} not");
}
