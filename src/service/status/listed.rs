//! The revoked and held serials of one issuer, in little room: sorted, in chunks, each entry as the CRL has it.
//!
//! An entry is kept as the DER that goes into the CRL, which says everything but notAfter: 49 bytes for a serial number of 16 bytes
//! with a reason, and 12 beside it. That is a third of what a tree of decoded entries with their encodings takes.
//!
//! Chunks are shared: a copy of the whole list is a copy of a pointer for each thousand entries, so that whoever builds a CRL does so
//! from a copy, with no lock held. A change copies the chunk that it concerns if a copy of the list is about.

use std::{borrow::Cow, cmp::Ordering, ops::Range, sync::Arc};

use crate::{
    domain::status::Revocation,
    types::{SerialNumber, Timestamp},
    wire::crl::{EncodedEntry, EntryList},
};

/// Entries of one chunk at most.
const CHUNK: usize = 1_024;

/// A list of entries in ascending order of the serials.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// None is empty.
    chunks: Vec<Arc<Chunk>>,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    /// The entries, one behind the other.
    der: Vec<u8>,
    /// Where each starts.
    starts: Vec<u32>,
    /// notAfter of each.
    not_after: Vec<Timestamp>,
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListedEntry<'a> {
    /// DER of its CRL entry.
    pub(crate) der: &'a [u8],
    /// When the certificate expires.
    pub(crate) not_after: Timestamp,
}

impl<'a> ListedEntry<'a> {
    /// Read from the DER. None would be damage of our own encoding.
    fn encoded(&self) -> Option<EncodedEntry<'a>> {
        EncodedEntry::of(self.der).ok()
    }

    /// What its own causes amount to.
    pub(crate) fn revocation(&self) -> Option<Revocation> {
        let entry = self.encoded()?.revoked().ok()?;
        Some(Revocation {
            at: entry.revoked_at,
            reason: entry.reason,
            invalidity_date: entry.invalidity_date,
        })
    }

    /// Its serial's bytes as [`SerialNumber::as_bytes`] has them.
    pub(crate) fn magnitude(&self) -> Option<&'a [u8]> {
        self.encoded().map(|entry| entry.magnitude())
    }

    /// Its serial.
    pub(crate) fn serial(&self) -> Option<SerialNumber> {
        self.encoded()?.serial().ok()
    }

    /// How its serial compares to this one.
    pub(crate) fn compare(&self, serial: &SerialNumber) -> Ordering {
        let magnitude = serial.as_bytes();
        self.encoded().map_or(Ordering::Less, |entry| entry.order().cmp(&(magnitude.len(), magnitude)))
    }
}

impl Chunk {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn entry(&self, index: usize) -> Option<ListedEntry<'_>> {
        Some(ListedEntry { der: self.der.get(self.place(index)?)?, not_after: *self.not_after.get(index)? })
    }

    /// Where an entry lies.
    fn place(&self, index: usize) -> Option<Range<usize>> {
        let start = *self.starts.get(index)? as usize;
        Some(start..self.starts.get(index + 1).map_or(self.der.len(), |end| *end as usize))
    }

    /// Appends the wanted entries to `list`, those that lie side by side as one piece.
    fn append_to<'a>(&'a self, list: &mut EntryList<'a>, wanted: impl Fn(Timestamp) -> bool) {
        let mut append = |place: Range<usize>, entries| {
            if let Some(piece) = self.der.get(place).filter(|piece| !piece.is_empty()) {
                list.push(Cow::Borrowed(piece), entries);
            }
        };
        if self.not_after.iter().min().is_some_and(|first| wanted(*first)) {
            return append(0..self.der.len(), self.len() as u64);
        }
        let (mut piece, mut entries) = (0..0, 0);
        for (index, not_after) in self.not_after.iter().enumerate() {
            let Some(place) = self.place(index).filter(|_| wanted(*not_after)) else { continue };
            if piece.end != place.start {
                append(std::mem::replace(&mut piece, place.start..place.start), std::mem::take(&mut entries));
            }
            piece.end = place.end;
            entries += 1;
        }
        append(piece, entries);
    }

    /// Where the serial is, or where it belongs.
    fn find(&self, serial: &SerialNumber) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.entry(middle).map_or(Ordering::Less, |entry| entry.compare(serial)) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(from)
    }

    fn push(&mut self, der: &[u8], not_after: Timestamp) {
        self.starts.push(offset(self.der.len()));
        self.der.extend_from_slice(der);
        self.not_after.push(not_after);
    }

    fn insert(&mut self, index: usize, der: &[u8], not_after: Timestamp) {
        let start = self.starts.get(index).map_or(self.der.len(), |start| *start as usize);
        self.der.reserve_exact(der.len());
        self.der.splice(start..start, der.iter().copied());
        self.starts.insert(index, offset(start));
        self.not_after.insert(index, not_after);
        for later in self.starts.iter_mut().skip(index + 1) {
            *later += offset(der.len());
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(length) = self.entry(index).map(|entry| entry.der.len()) else { return };
        let start = self.starts.remove(index) as usize;
        self.der.drain(start..start + length);
        self.not_after.remove(index);
        for later in self.starts.iter_mut().skip(index) {
            *later -= offset(length);
        }
    }

    /// Gives the second half away.
    fn split(&mut self) -> Self {
        let half = self.len() / 2;
        let start = self.starts.get(half).copied().unwrap_or_default();
        let starts = self.starts.split_off(half).into_iter().map(|later| later - start).collect();
        let second = Self {
            der: self.der.split_off(start as usize),
            starts,
            not_after: self.not_after.split_off(half),
        };
        self.shrink();
        second
    }

    fn shrink(&mut self) {
        self.der.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.not_after.shrink_to_fit();
    }
}

/// A chunk has some hundred kilobytes at most.
fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Listed {
    /// All, in ascending order of the serials.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ListedEntry<'_>> {
        self.chunks.iter().flat_map(|chunk| (0..chunk.len()).filter_map(|index| chunk.entry(index)))
    }

    /// Those whose notAfter is `wanted`, in ascending order of the serials. Where a time is wanted, all later ones are.
    pub(crate) fn entries(&self, wanted: impl Fn(Timestamp) -> bool) -> EntryList<'_> {
        let mut list = EntryList::default();
        for chunk in &self.chunks {
            chunk.append_to(&mut list, &wanted);
        }
        list
    }

    /// What is listed of a serial.
    pub(crate) fn get(&self, serial: &SerialNumber) -> Option<ListedEntry<'_>> {
        let chunk = self.chunks.get(self.chunk_of(serial)?)?;
        chunk.entry(chunk.find(serial).ok()?)
    }

    /// Appends one whose serial is above all others: what the start does.
    pub(crate) fn push(&mut self, der: &[u8], not_after: Timestamp) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(der, not_after),
            full => {
                if let Some(full) = full {
                    Arc::make_mut(full).shrink();
                }
                let mut chunk = Chunk::default();
                chunk.push(der, not_after);
                self.chunks.push(Arc::new(chunk));
            }
        }
    }

    /// Adds or replaces.
    pub(super) fn insert(&mut self, serial: &SerialNumber, der: &[u8], not_after: Timestamp) {
        let Some(index) = self.chunk_of(serial) else { return self.push(der, not_after) };
        let Some(chunk) = self.chunks.get_mut(index).map(Arc::make_mut) else { return };
        match chunk.find(serial) {
            Ok(place) => {
                chunk.remove(place);
                chunk.insert(place, der, not_after);
            }
            Err(place) => chunk.insert(place, der, not_after),
        }
        if chunk.len() > CHUNK {
            let second = chunk.split();
            self.chunks.insert(index + 1, Arc::new(second));
        }
    }

    /// Removes; absent is fine.
    pub(super) fn remove(&mut self, serial: &SerialNumber) {
        let Some(index) = self.chunk_of(serial) else { return };
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        let Ok(place) = chunk.find(serial) else { return };
        Arc::make_mut(chunk).remove(place);
        if chunk.len() == 0 {
            self.chunks.remove(index);
        }
    }

    /// The chunk that the serial is in or belongs into; none in an empty list.
    fn chunk_of(&self, serial: &SerialNumber) -> Option<usize> {
        let begins_after = |chunk: &Arc<Chunk>| {
            chunk.entry(0).is_some_and(|first| first.compare(serial) == Ordering::Greater)
        };
        let after = self.chunks.partition_point(|chunk| !begins_after(chunk));
        (!self.chunks.is_empty()).then(|| after.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{service::status::entry_of, types::RevocationReason};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn revocation(number: u64) -> Revocation {
        let reason = RevocationReason::ALL[usize::try_from(number % 9).unwrap()];
        let invalidity_date = number.is_multiple_of(5).then_some(NOW);
        Revocation { at: Timestamp::from_unix(number), reason, invalidity_date }
    }

    fn serial(number: u64) -> SerialNumber {
        SerialNumber::from_magnitude(&(number + 1).to_be_bytes()).unwrap()
    }

    /// A list beside what it should be.
    #[derive(Default)]
    struct Both {
        listed: Listed,
        model: BTreeMap<SerialNumber, (Revocation, Timestamp)>,
    }

    impl Both {
        fn insert(&mut self, number: u64, value: u64) {
            let (serial, revocation) = (serial(number), revocation(value));
            let end = NOW.plus(std::time::Duration::from_secs(value));
            self.listed.insert(&serial, &entry_of(serial.clone(), &revocation), end);
            self.model.insert(serial, (revocation, end));
        }

        fn remove(&mut self, number: u64) {
            self.listed.remove(&serial(number));
            self.model.remove(&serial(number));
        }

        fn check(&self) {
            let listed: Vec<_> = self
                .listed
                .iter()
                .map(|entry| {
                    (
                        entry.encoded().unwrap().serial().unwrap(),
                        (entry.revocation().unwrap(), entry.not_after),
                    )
                })
                .collect();
            let model: Vec<_> = self.model.iter().map(|(serial, it)| (serial.clone(), *it)).collect();
            assert_eq!(listed, model);
            assert!(self.listed.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
            for since in
                [0, 1, 7, 500, 6_000].map(|seconds| NOW.plus(std::time::Duration::from_secs(seconds)))
            {
                self.check_entries(since);
            }
        }

        /// Those that expire then or later, whose pieces are whole entries.
        fn check_entries(&self, since: Timestamp) {
            let wanted = self.listed.iter().filter(|entry| entry.not_after >= since);
            let wanted: Vec<_> = wanted.map(|entry| entry.der).collect();
            let list = self.listed.entries(|not_after| not_after >= since);
            assert_eq!(list.iter().map(|entry| entry.der).collect::<Vec<_>>(), wanted);
            assert_eq!(list.len(), wanted.len() as u64);
            assert!(list.pieces().count() <= wanted.len(), "none is empty");
            assert_eq!(list.pieces().collect::<Vec<_>>().concat(), wanted.concat());
        }
    }

    #[test]
    fn it_is_sorted_whatever_the_order_of_changes() {
        let mut both = Both::default();
        // Every residue once, far from in order.
        for turn in 0..5_000_u64 {
            both.insert(turn * 2_503 % 5_000, turn);
        }
        both.check();
        for turn in (0..5_000).step_by(3) {
            both.insert(turn, turn + 7);
        }
        let before = both.listed.clone();
        for turn in (0..5_000).filter(|turn| turn % 7 != 0) {
            both.remove(turn);
        }
        both.check();
        assert_eq!(before.iter().count(), 5_000, "a copy stays as it was");
        assert!(both.listed.get(&serial(7)).is_some() && both.listed.get(&serial(8)).is_none());
        (0..5_000).for_each(|turn| both.remove(turn));
        both.check();
        assert!(both.listed.get(&serial(7)).is_none());
    }

    #[test]
    fn what_is_loaded_in_order_is_found() {
        let mut listed = Listed::default();
        for number in 0..3_000 {
            let entry = entry_of(serial(number * 2), &revocation(number));
            listed.push(&entry, NOW);
        }
        for number in 0..3_000 {
            assert_eq!(listed.get(&serial(number * 2)).unwrap().revocation(), Some(revocation(number)));
            assert!(listed.get(&serial(number * 2 + 1)).is_none());
        }
        assert_eq!(listed.iter().count(), 3_000);
    }

    proptest! {
        #[test]
        fn it_is_what_a_map_is(changes in prop::collection::vec((0..40_u64, 0..1000_u64, any::<bool>()), 0..200)) {
            let mut both = Both::default();
            for (number, value, removal) in changes {
                if removal { both.remove(number) } else { both.insert(number, value) }
            }
            both.check();
        }
    }
}
