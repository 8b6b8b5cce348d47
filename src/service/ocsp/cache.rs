//! The cache of signed OCSP answers.
//!
//! The key is the CertID of the request, byte for byte, because the answer repeats it: so GET and POST, and requests that differ in whatever
//! is around the CertID, share an answer. Answers lie in the shard of their serial number. What is forgotten is forgotten there under
//! the shard's lock, and an answer is put in only while the serial's epoch stands still.
//!
//! Others keep answers, too, and may know no more of theirs than its date, which has whole seconds and is of a clock that may have been set
//! back since. So each answer knows which copies are too old to be compared with it by date ([`OcspCaching::modified`]).
//!
//! [`OcspCaching::modified`]: super::OcspCaching::modified

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{OcspAnswer, pace};
use crate::{
    types::{IssuerId, SerialNumber, Timestamp},
    wire::ocsp::CertIdRef,
};

/// Enough that threads seldom meet at a lock.
const SHARDS: usize = 64;
/// Answers per certificate: four digests, with and without NULL parameters.
const MAX_VARIANTS: usize = 8;
/// When no newer answer could be signed, the old one serves for so long before the next try.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Signed answers, each valid until its window ends or the serial's status moves.
#[derive(Debug)]
pub struct AnswerCache {
    hasher: RandomState,
    shards: Vec<RwLock<Shard>>,
    signing: Vec<Mutex<()>>,
    per_shard: usize,
}

/// The answers of some serial numbers.
#[derive(Debug, Default)]
struct Shard {
    /// By the serial number's bytes; of any issuer.
    by_serial: HashMap<Box<[u8]>, Vec<Arc<Entry>>>,
    answers: usize,
    /// The latest date of all that were put in.
    latest: Option<Timestamp>,
    /// The latest date of an answer that was forgotten, whether it was here yet or not.
    forgotten: Option<Timestamp>,
}

/// An answer in the cache.
#[derive(Debug)]
pub(super) struct Entry {
    issuer: IssuerId,
    cert_id: Box<[u8]>,
    answer: OcspAnswer,
    /// Before that it must not be given out: the clock was set back since it was signed, and whoever has the right time refuses it.
    valid_from: Timestamp,
    /// From then on it is signed anew beforehand, if it is wanted.
    due_at: Timestamp,
    /// From then on whoever asks has it signed anew.
    stale_at: Timestamp,
    /// From then on it must not be given out.
    expires_at: Timestamp,
    /// Kept up to date whether anybody asks or not.
    kept: bool,
    /// Until then it is given out nevertheless, in seconds since 1970: no newer one could be signed.
    put_off_until: AtomicU64,
    /// Whether it was given out since it was signed.
    asked: AtomicBool,
}

impl Entry {
    pub(super) fn new(
        issuer: &IssuerId,
        cert_id: &[u8],
        answer: OcspAnswer,
        (this_update, next_update): (Timestamp, Timestamp),
        spread: u8,
    ) -> Self {
        let window = next_update.since(this_update);
        Self {
            issuer: issuer.clone(),
            cert_id: cert_id.into(),
            answer,
            valid_from: this_update,
            due_at: this_update.plus(pace::refresh_after(window, spread)),
            stale_at: this_update.plus(pace::fresh_for(window)),
            expires_at: next_update,
            kept: false,
            put_off_until: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    /// The same, wanted before anybody has asked; `kept`: for as long as it is in the cache.
    pub(super) fn wanted(self, kept: bool) -> Self {
        Self { kept, asked: AtomicBool::new(true), ..self }
    }

    pub(super) const fn issuer(&self) -> &IssuerId {
        &self.issuer
    }

    pub(super) const fn cert_id(&self) -> &[u8] {
        &self.cert_id
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let put_off = || now.unix() < self.put_off_until.load(Ordering::Relaxed);
        self.is_valid(now) && (now < self.stale_at || put_off())
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.valid_from <= now && now < self.expires_at
    }

    fn is_wanted(&self) -> bool {
        self.kept || self.asked.load(Ordering::Relaxed)
    }

    /// The answer, given out.
    fn give(&self) -> OcspAnswer {
        // Most were asked for before: then the line of memory stays shared between processors.
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        self.answer.clone()
    }
}

impl AnswerCache {
    /// A cache of about `entries` answers.
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            signing: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: entries.div_ceil(SHARDS).max(1),
        }
    }

    /// The answer to this CertID, if it is not yet time to sign it anew. Allocates nothing.
    pub(super) fn fresh(&self, id: &CertIdRef<'_>, now: Timestamp) -> Option<OcspAnswer> {
        let shard = self.read(id.serial().as_bytes());
        shard.find(id).filter(|entry| entry.is_fresh(now)).map(|entry| entry.give())
    }

    /// Whether there is an answer to this CertID that needs not be signed anew yet.
    pub(super) fn has_fresh(&self, id: &CertIdRef<'_>, now: Timestamp) -> bool {
        self.read(id.serial().as_bytes())
            .find(id)
            .is_some_and(|entry| entry.is_valid(now) && now < entry.due_at)
    }

    /// The wanted answers of a part of the cache that are due to be signed anew; `part` counts from 0, none when there is no such part.
    pub(super) fn due(&self, part: usize, now: Timestamp) -> Option<Vec<Arc<Entry>>> {
        let shard = self.shards.get(part)?.read().unwrap_or_else(PoisonError::into_inner);
        let due = |entry: &&Arc<Entry>| entry.due_at <= now && entry.is_valid(now) && entry.is_wanted();
        Some(shard.by_serial.values().flatten().filter(due).map(Arc::clone).collect())
    }

    /// Whether nothing took the place of `entry` meanwhile.
    pub(super) fn is_current(&self, entry: &Arc<Entry>, serial: &SerialNumber) -> bool {
        let shard = self.read(serial.as_bytes());
        let mut entries = shard.by_serial.get(serial.as_bytes()).into_iter().flatten();
        entries.any(|current| Arc::ptr_eq(current, entry))
    }

    /// How many answers there are.
    pub(super) fn answers(&self) -> usize {
        let answers = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).answers;
        self.shards.iter().map(answers).sum()
    }

    /// The answer to this CertID, if it is valid at all: no newer one could be signed. It passes for fresh until the next try.
    pub(super) fn put_off(&self, id: &CertIdRef<'_>, now: Timestamp) -> Option<OcspAnswer> {
        let shard = self.read(id.serial().as_bytes());
        let entry = shard.find(id).filter(|entry| entry.is_valid(now))?;
        entry.put_off_until.store(now.plus(PUT_OFF).unix(), Ordering::Relaxed);
        Some(entry.give())
    }

    /// Remembers `entry`, unless `moved` says that the status moved meanwhile; it is asked where no [`AnswerCache::forget`] can
    /// come between. Gives it as it is given out from now on; none where it was not remembered.
    pub(super) fn insert(
        &self,
        serial: &SerialNumber,
        mut entry: Entry,
        now: Timestamp,
        moved: impl FnOnce() -> bool,
    ) -> Option<OcspAnswer> {
        let mut shard = self.write(serial.as_bytes());
        if moved() {
            return None;
        }
        if shard.answers >= self.per_shard {
            shard.make_room(self.per_shard, now);
        }
        if let Some(forgotten) = shard.forgotten {
            entry.answer.not_before(forgotten);
        }
        let answer = entry.answer.clone();
        shard.put(serial, entry);
        Some(answer)
    }

    /// Drops every answer about a serial. When this returns, none of them is given out any more.
    pub(crate) fn forget(&self, issuer: &IssuerId, serial: &SerialNumber, now: Timestamp) {
        let mut shard = self.write(serial.as_bytes());
        shard.forget_dates(now);
        let Some(entries) = shard.by_serial.get_mut(serial.as_bytes()) else { return };
        let before = entries.len();
        entries.retain(|entry| entry.issuer != *issuer);
        let (dropped, empty) = (before - entries.len(), entries.is_empty());
        shard.answers -= dropped;
        if empty {
            shard.by_serial.remove(serial.as_bytes());
        }
    }

    /// Drops every answer about the certificates of an issuer, as [`AnswerCache::forget`] does for one.
    pub(crate) fn forget_issuer(&self, issuer: &IssuerId, now: Timestamp) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.forget_dates(now);
            shard.retain(|entry| entry.issuer != *issuer);
        }
    }

    /// Held while an answer about a serial is signed, so that many who ask at once cost one signature.
    pub(super) fn signing_turn(&self, serial: &SerialNumber) -> MutexGuard<'_, ()> {
        let turn = &self.signing[self.place(serial.as_bytes())];
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, serial: &[u8]) -> RwLockReadGuard<'_, Shard> {
        self.shards[self.place(serial)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, serial: &[u8]) -> RwLockWriteGuard<'_, Shard> {
        self.shards[self.place(serial)].write().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, serial: &[u8]) -> usize {
        usize::try_from(self.hasher.hash_one(serial) % SHARDS as u64).unwrap_or_default()
    }
}

impl Shard {
    fn find(&self, id: &CertIdRef<'_>) -> Option<&Arc<Entry>> {
        let entries = self.by_serial.get(id.serial().as_bytes())?;
        entries.iter().find(|entry| *entry.cert_id == *id.as_der())
    }

    /// Copies of what was given out until now do not count by their dates any more.
    fn forget_dates(&mut self, now: Timestamp) {
        self.forgotten = self.forgotten.max(self.latest).max(Some(now));
    }

    fn put(&mut self, serial: &SerialNumber, entry: Entry) {
        self.latest = self.latest.max(Some(entry.valid_from));
        let entries = self.by_serial.entry(serial.as_bytes().into()).or_default();
        let before = entries.len();
        entries.retain(|old| old.cert_id != entry.cert_id);
        let variants = entries.iter().filter(|old| old.issuer == entry.issuer).count();
        if variants >= MAX_VARIANTS
            && let Some(oldest) = entries.iter().position(|old| old.issuer == entry.issuer)
        {
            entries.remove(oldest);
        }
        entries.push(Arc::new(entry));
        self.answers = self.answers + entries.len() - before;
    }

    fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let mut answers = 0;
        self.by_serial.retain(|_, entries| {
            entries.retain(|entry| keep(entry));
            answers += entries.len();
            !entries.is_empty()
        });
        self.answers = answers;
    }

    /// Drops what is of no use any more, and if that is not enough, up to an eighth: first what nobody wants. Asked again, it costs one
    /// signature.
    fn make_room(&mut self, capacity: usize, now: Timestamp) {
        self.retain(|entry| entry.is_valid(now));
        let mut excess = (self.answers + capacity.div_ceil(8)).saturating_sub(capacity);
        for wanted in [false, true] {
            self.retain(|entry| {
                let goes = excess > 0 && (wanted || !entry.is_wanted());
                excess -= usize::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::DigestAlgorithm,
        wire::{ocsp::CertId, x509::Certificate},
    };

    const NOW: Timestamp = Timestamp::from_unix(1000);

    fn cert_id(digest: DigestAlgorithm, number: u32) -> CertId {
        let ca = Certificate::from_der(include_bytes!("../../../fixtures/x509/ca.der")).unwrap();
        CertId::new(digest, &ca, &SerialNumber::from_magnitude(&number.to_be_bytes()).unwrap()).unwrap()
    }

    fn issuer() -> IssuerId {
        "issuing".parse().unwrap()
    }

    fn put_for(cache: &AnswerCache, issuer: &IssuerId, id: &CertId, moved: bool) -> bool {
        let answer = OcspAnswer { body: bytes::Bytes::new(), caching: None, result: "good" };
        let entry = Entry::new(issuer, id.as_der(), answer, (NOW, Timestamp::from_unix(1600)), 255);
        cache.insert(id.serial(), entry, NOW, || moved).is_some()
    }

    fn put(cache: &AnswerCache, id: &CertId) {
        assert!(put_for(cache, &issuer(), id, false));
    }

    fn has(cache: &AnswerCache, id: &CertId, at: u64) -> bool {
        cache.fresh(&id.borrowed(), Timestamp::from_unix(at)).is_some()
    }

    #[test]
    fn an_answer_is_fresh_for_almost_half_of_its_window() {
        let (cache, id) = (AnswerCache::new(100), cert_id(DigestAlgorithm::Sha1, 7));
        put(&cache, &id);
        assert!(has(&cache, &id, 1280) && !has(&cache, &id, 1281));
    }

    #[test]
    fn what_cannot_be_signed_anew_is_put_off_until_its_window_ends() {
        let (cache, id) = (AnswerCache::new(100), cert_id(DigestAlgorithm::Sha1, 7));
        put(&cache, &id);
        let put_off = |at| cache.put_off(&id.borrowed(), Timestamp::from_unix(at)).is_some();
        assert!(put_off(1300));
        assert!(has(&cache, &id, 1304) && !has(&cache, &id, 1305));
        assert!(put_off(1598) && has(&cache, &id, 1599));
        assert!(!has(&cache, &id, 1600) && !put_off(1600));
    }

    #[test]
    fn forgetting_a_serial_forgets_every_form_of_the_question_and_no_other_issuer() {
        let cache = AnswerCache::new(100);
        let [sha1, sha256] =
            [DigestAlgorithm::Sha1, DigestAlgorithm::Sha256].map(|digest| cert_id(digest, 7));
        put(&cache, &sha1);
        assert!(put_for(&cache, &"root".parse().unwrap(), &sha256, false));
        cache.forget(&issuer(), sha1.serial(), NOW);
        assert!(!has(&cache, &sha1, 1000) && has(&cache, &sha256, 1000));
        put(&cache, &sha1);
        cache.forget_issuer(&"root".parse().unwrap(), NOW);
        assert!(has(&cache, &sha1, 1000) && !has(&cache, &sha256, 1000));
    }

    #[test]
    fn an_answer_from_before_a_move_is_not_remembered() {
        let (cache, id) = (AnswerCache::new(100), cert_id(DigestAlgorithm::Sha1, 7));
        assert!(!put_for(&cache, &issuer(), &id, true));
        assert!(!has(&cache, &id, 1000));
    }

    #[test]
    fn stays_within_its_bound_and_keeps_what_is_asked_for() {
        let cache = AnswerCache::new(SHARDS * 8);
        let wanted: Vec<_> = (1..=64).map(|number| cert_id(DigestAlgorithm::Sha1, number)).collect();
        for id in &wanted {
            put(&cache, id);
            assert!(has(&cache, id, 1000));
        }
        for number in 1000..5000 {
            put(&cache, &cert_id(DigestAlgorithm::Sha1, number));
        }
        let kept = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap();
            let counted: usize = shard.by_serial.values().map(Vec::len).sum();
            assert_eq!(counted, shard.answers);
            counted
        };
        let answers: usize = cache.shards.iter().map(kept).sum();
        assert!(answers <= SHARDS * 8 && answers > SHARDS * 4, "{answers}");
        assert!(wanted.iter().filter(|id| has(&cache, id, 1000)).count() >= 60, "others were dropped first");
    }

    #[test]
    fn what_was_asked_for_is_due_before_it_is_stale_and_nothing_else() {
        let cache = AnswerCache::new(1000);
        let [asked, idle] = [7, 8].map(|number| cert_id(DigestAlgorithm::Sha1, number));
        put(&cache, &asked);
        put(&cache, &idle);
        assert!(has(&cache, &asked, 1001));
        let due = |at| -> Vec<_> {
            let parts = (0..).map_while(|part| cache.due(part, Timestamp::from_unix(at)));
            parts.flatten().map(|entry| entry.cert_id().to_vec()).collect()
        };
        // 15/32 of 600 s less an eighth of that.
        assert!(due(1244).is_empty());
        assert_eq!(due(1245), [asked.as_der()]);
        assert!(cache.has_fresh(&asked.borrowed(), Timestamp::from_unix(1244)));
        assert!(!cache.has_fresh(&asked.borrowed(), Timestamp::from_unix(1245)));
        assert!(due(1600).is_empty(), "what has ended is not signed anew");
        assert_eq!(cache.answers(), 2);
    }

    #[test]
    fn the_forms_of_one_question_are_bounded() {
        let cache = AnswerCache::new(100_000);
        let id = cert_id(DigestAlgorithm::Sha1, 7);
        for form in 0..20_u8 {
            let answer = OcspAnswer { body: bytes::Bytes::new(), caching: None, result: "good" };
            let entry = Entry::new(&issuer(), &[form], answer, (NOW, Timestamp::from_unix(1600)), 0);
            assert!(cache.insert(id.serial(), entry, NOW, || false).is_some());
        }
        assert_eq!(cache.read(id.serial().as_bytes()).answers, MAX_VARIANTS);
    }
}
