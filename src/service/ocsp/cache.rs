//! The cache of signed OCSP answers.
//!
//! Two indexes over the same answers: by the exact bytes of the request, for the path that must be cheap, and by (issuer, serial,
//! CertID), so that requests that differ only in their encoding, GET and POST, share an answer. The second one is the authority: an
//! answer is put into it while the serial's epoch stands still, and is marked dead when it is taken out. The first one may keep dead
//! answers for a while, but never gives them out.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{OcspAnswer, pace};
use crate::types::{IssuerId, SerialNumber, Timestamp};

/// Locks per index; enough that threads seldom meet.
const SHARDS: usize = 64;
/// Longer requests are answered like all others, but not remembered by their bytes: a plain one has about 80.
const MAX_REQUEST: usize = 512;
/// Answers per serial: four digests, with and without NULL parameters.
const MAX_VARIANTS: usize = 8;

/// Signed answers, each valid until its window ends or the serial's status moves.
#[derive(Debug)]
pub struct AnswerCache {
    hasher: RandomState,
    by_request: Shards<Box<[u8]>, Arc<Entry>>,
    by_serial: Shards<Serial, Vec<Arc<Entry>>>,
    signing: Vec<Mutex<()>>,
    per_shard: usize,
}

type Shards<K, V> = Vec<RwLock<HashMap<K, V>>>;
type Serial = (IssuerId, SerialNumber);

/// An answer in the cache.
#[derive(Debug)]
pub(super) struct Entry {
    cert_id: Box<[u8]>,
    answer: OcspAnswer,
    /// From then on it should be signed anew.
    refresh_at: Timestamp,
    /// From then on it must not be given out.
    expires_at: Timestamp,
    dead: AtomicBool,
}

impl Entry {
    pub(super) fn new(
        cert_id: &[u8],
        answer: OcspAnswer,
        this_update: Timestamp,
        next_update: Timestamp,
    ) -> Arc<Self> {
        Arc::new(Self {
            cert_id: cert_id.into(),
            answer,
            refresh_at: this_update.plus(pace::fresh_for(next_update.since(this_update))),
            expires_at: next_update,
            dead: AtomicBool::new(false),
        })
    }

    /// The answer, if it is not yet time to sign it anew.
    pub(super) fn fresh(&self, now: Timestamp) -> Option<OcspAnswer> {
        (now < self.refresh_at && self.alive()).then(|| self.answer.clone())
    }

    /// The answer, if it is valid at all.
    pub(super) fn valid(&self, now: Timestamp) -> Option<OcspAnswer> {
        (now < self.expires_at && self.alive()).then(|| self.answer.clone())
    }

    fn alive(&self) -> bool {
        !self.dead.load(Ordering::Acquire)
    }

    fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }
}

impl AnswerCache {
    /// A cache of about `entries` answers.
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            by_request: shards(),
            by_serial: shards(),
            signing: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: entries.div_ceil(SHARDS).max(1),
        }
    }

    /// A fresh answer to exactly these bytes.
    pub(super) fn of_request(&self, request: &[u8], now: Timestamp) -> Option<OcspAnswer> {
        let shard = &self.by_request[self.shard(request)];
        shard.read().unwrap_or_else(PoisonError::into_inner).get(request)?.fresh(now)
    }

    /// The answer to this CertID.
    pub(super) fn of_cert_id(
        &self,
        issuer: &IssuerId,
        serial: &SerialNumber,
        cert_id: &[u8],
    ) -> Option<Arc<Entry>> {
        let key = (issuer.clone(), serial.clone());
        let shard = self.by_serial[self.shard(&key)].read().unwrap_or_else(PoisonError::into_inner);
        shard.get(&key)?.iter().find(|entry| *entry.cert_id == *cert_id).cloned()
    }

    /// Remembers `entry`, unless `moved` says that the status moved meanwhile; it is asked where no [`AnswerCache::forget`] can
    /// come between. Gives whether it was remembered.
    pub(super) fn insert(
        &self,
        issuer: &IssuerId,
        serial: &SerialNumber,
        entry: &Arc<Entry>,
        now: Timestamp,
        moved: impl FnOnce() -> bool,
    ) -> bool {
        let key = (issuer.clone(), serial.clone());
        let mut shard = self.by_serial[self.shard(&key)].write().unwrap_or_else(PoisonError::into_inner);
        if moved() {
            return false;
        }
        if shard.len() >= self.per_shard && !shard.contains_key(&key) {
            let useful = |entries: &Vec<Arc<Entry>>| entries.iter().any(|entry| entry.valid(now).is_some());
            make_room(&mut shard, self.per_shard, useful, |entries| {
                for entry in entries {
                    entry.kill();
                }
            });
        }
        let variants = shard.entry(key).or_default();
        variants.retain(|old| old.cert_id != entry.cert_id);
        if variants.len() >= MAX_VARIANTS {
            variants.remove(0);
        }
        variants.push(entry.clone());
        true
    }

    /// Lets the exact bytes `request` find `entry`.
    pub(super) fn remember_request(&self, request: &[u8], entry: &Arc<Entry>, now: Timestamp) {
        if request.len() > MAX_REQUEST {
            return;
        }
        let mut shard = self.by_request[self.shard(request)].write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.per_shard && !shard.contains_key(request) {
            make_room(&mut shard, self.per_shard, |entry| entry.fresh(now).is_some(), |_| ());
        }
        shard.insert(request.into(), entry.clone());
    }

    /// Drops every answer about a serial. When this returns, none of them is given out any more.
    pub(crate) fn forget(&self, issuer: &IssuerId, serial: &SerialNumber) {
        let key = (issuer.clone(), serial.clone());
        let mut shard = self.by_serial[self.shard(&key)].write().unwrap_or_else(PoisonError::into_inner);
        for entry in shard.remove(&key).unwrap_or_default() {
            entry.kill();
        }
    }

    /// Drops every answer about the certificates of an issuer, as [`AnswerCache::forget`] does for one.
    pub(crate) fn forget_issuer(&self, issuer: &IssuerId) {
        for shard in &self.by_serial {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), entries| {
                if of == issuer {
                    for entry in entries {
                        entry.kill();
                    }
                }
                of != issuer
            });
        }
    }

    /// Held while an answer about a serial is signed, so that many who ask at once cost one signature.
    pub(super) fn signing_turn(&self, issuer: &IssuerId, serial: &SerialNumber) -> MutexGuard<'_, ()> {
        let turn = &self.signing[self.shard(&(issuer, serial))];
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard<K: Hash + ?Sized>(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }
}

fn shards<K, V>() -> Shards<K, V> {
    (0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect()
}

/// Drops what is of no use any more, and if that is not enough, an arbitrary eighth: asked again, it costs one signature.
fn make_room<K, V>(
    shard: &mut HashMap<K, V>,
    capacity: usize,
    useful: impl Fn(&V) -> bool,
    dropped: impl Fn(&V),
) {
    shard.retain(|_, value| useful(value));
    let keep = capacity - capacity.div_ceil(8);
    let mut kept = 0;
    shard.retain(|_, value| {
        kept += 1;
        if kept > keep {
            dropped(value);
        }
        kept <= keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cert_id: &[u8]) -> Arc<Entry> {
        let answer = OcspAnswer { body: bytes::Bytes::new(), caching: None, result: "good" };
        Entry::new(cert_id, answer, Timestamp::from_unix(1000), Timestamp::from_unix(1600))
    }

    fn key() -> Serial {
        ("issuing".parse().unwrap(), "4f".parse().unwrap())
    }

    #[test]
    fn an_answer_is_fresh_for_three_eighths_of_its_window() {
        let entry = entry(b"id");
        assert!(entry.fresh(Timestamp::from_unix(1224)).is_some());
        assert!(entry.fresh(Timestamp::from_unix(1225)).is_none());
        assert!(entry.valid(Timestamp::from_unix(1599)).is_some());
        assert!(entry.valid(Timestamp::from_unix(1600)).is_none());
    }

    #[test]
    fn forgetting_a_serial_kills_the_answer_by_request_bytes_too() {
        let (cache, now, (issuer, serial)) = (AnswerCache::new(100), Timestamp::from_unix(1000), key());
        let entry = entry(b"id");
        assert!(cache.insert(&issuer, &serial, &entry, now, || false));
        cache.remember_request(b"request", &entry, now);
        assert!(cache.of_request(b"request", now).is_some());
        cache.forget(&issuer, &serial);
        assert!(cache.of_request(b"request", now).is_none());
        assert!(cache.of_cert_id(&issuer, &serial, b"id").is_none());
    }

    #[test]
    fn forgetting_an_issuer_leaves_the_others() {
        let (cache, now, (issuer, _)) = (AnswerCache::new(1000), Timestamp::from_unix(1000), key());
        let other: IssuerId = "root".parse().unwrap();
        let serials: Vec<SerialNumber> =
            (1..50_u8).map(|number| SerialNumber::from_magnitude(&[number]).unwrap()).collect();
        for serial in &serials {
            for issuer in [&issuer, &other] {
                let (entry, request) = (entry(b"id"), format!("{issuer}/{serial}"));
                assert!(cache.insert(issuer, serial, &entry, now, || false));
                cache.remember_request(request.as_bytes(), &entry, now);
            }
        }
        cache.forget_issuer(&issuer);
        for serial in &serials {
            let left = |issuer: &IssuerId| {
                cache.of_cert_id(issuer, serial, b"id").is_some()
                    || cache.of_request(format!("{issuer}/{serial}").as_bytes(), now).is_some()
            };
            assert!(!left(&issuer) && left(&other), "{serial}");
        }
    }

    #[test]
    fn an_answer_from_before_a_move_is_not_remembered() {
        let (cache, now, (issuer, serial)) = (AnswerCache::new(100), Timestamp::from_unix(1000), key());
        assert!(!cache.insert(&issuer, &serial, &entry(b"id"), now, || true));
        assert!(cache.of_cert_id(&issuer, &serial, b"id").is_none());
    }

    #[test]
    fn stays_within_its_bound() {
        let (cache, now, (issuer, _)) = (AnswerCache::new(SHARDS * 8), Timestamp::from_unix(1000), key());
        for number in 1..5000_u32 {
            let serial = SerialNumber::from_magnitude(&number.to_be_bytes()).unwrap();
            let entry = entry(&number.to_be_bytes());
            cache.insert(&issuer, &serial, &entry, now, || false);
            cache.remember_request(&number.to_be_bytes(), &entry, now);
        }
        let by_serial: usize = cache.by_serial.iter().map(|shard| shard.read().unwrap().len()).sum();
        let by_request: usize = cache.by_request.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!(by_serial <= SHARDS * 8 && by_request <= SHARDS * 8, "{by_serial} {by_request}");
        assert!(by_serial > SHARDS * 4);
    }
}
