//! Answers that were sealed under a password (RFC 8894 §3.1), kept for the repeat window.
//!
//! Sealing counts 100,000 rounds of PBKDF2. Whoever has enrolled a key that cannot encrypt may ask for the same answer again and again
//! (§4.4, §5.2): it is the same envelope then, so a certificate costs one derivation and not one for each message. The memory of it is
//! bounded, and lost when the process ends.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::types::{ContentCipher, Fingerprint, Secret, Timestamp};

/// Answers that are kept; each has some 2 kB. The oldest makes room.
const MAX_KEPT: usize = 2048;

/// What is sealed under what. Holds no secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SealKey {
    payload: Fingerprint,
    password: Fingerprint,
    cipher: ContentCipher,
}

impl SealKey {
    pub(super) fn of(payload: &[u8], password: &Secret, cipher: ContentCipher) -> Self {
        let (payload, password) = (Fingerprint::of(payload), Fingerprint::of(password.expose()));
        Self { payload, password, cipher }
    }
}

/// The DER of the envelopes, by what is in them.
#[derive(Default)]
pub(in crate::service) struct SealedAnswers(Mutex<Kept>);

impl fmt::Debug for SealedAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedAnswers")
    }
}

#[derive(Default)]
struct Kept {
    answers: HashMap<SealKey, (Timestamp, Vec<u8>)>,
    /// The oldest first.
    order: VecDeque<SealKey>,
}

impl SealedAnswers {
    /// The envelope that was made for `key` at most `window` ago, or what `seal` makes of it now.
    pub(super) fn get_or_seal<E>(
        &self,
        key: SealKey,
        now: Timestamp,
        window: Duration,
        seal: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let since = now.minus(window);
        if let Some((at, answer)) = self.kept().answers.get(&key)
            && *at >= since
        {
            return Ok(answer.clone());
        }
        // Without the lock: it takes long.
        let answer = seal()?;
        self.kept().put(key, now, answer.clone());
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn put(&mut self, key: SealKey, now: Timestamp, answer: Vec<u8>) {
        if self.answers.insert(key, (now, answer)).is_some() {
            self.order.retain(|other| *other != key);
        }
        self.order.push_back(key);
        if self.order.len() > MAX_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(100);

    /// How often something is sealed while these are asked for, each at its time.
    fn sealed(sealed: &SealedAnswers, asked: impl IntoIterator<Item = (u32, u64)>) -> u32 {
        let mut count = 0;
        for (payload, at) in asked {
            let password = Secret::from("0123456789abcdef");
            let key = SealKey::of(&payload.to_be_bytes(), &password, ContentCipher::Aes128Cbc);
            let seal = || {
                count += 1;
                Ok::<_, ()>(payload.to_be_bytes().to_vec())
            };
            let answer = sealed.get_or_seal(key, Timestamp::from_unix(at), WINDOW, seal).unwrap();
            assert_eq!(answer, payload.to_be_bytes());
        }
        count
    }

    #[test]
    fn an_answer_is_sealed_once_in_the_window() {
        let answers = SealedAnswers::default();
        assert_eq!(sealed(&answers, [(1, 1000), (1, 1050), (1, 1100), (2, 1100)]), 2);
        assert_eq!(sealed(&answers, [(1, 1101), (1, 1201)]), 1);
    }

    #[test]
    fn the_oldest_makes_room() {
        let answers = SealedAnswers::default();
        let many = u32::try_from(MAX_KEPT).unwrap() + 1;
        assert_eq!(sealed(&answers, (0..many).map(|payload| (payload, 1000))), many);
        assert_eq!(answers.kept().answers.len(), MAX_KEPT);
        assert_eq!(answers.kept().order.len(), MAX_KEPT);
        assert_eq!(sealed(&answers, [(1, 1000), (0, 1000), (1, 1000)]), 2, "1 made room for 0");
    }

    #[test]
    fn another_password_or_cipher_is_another_answer() {
        let [one, other] = ["0123456789abcdef", "0123456789abcdeF"].map(Secret::from);
        let key = |password, cipher| SealKey::of(b"x", password, cipher);
        let first = key(&one, ContentCipher::Aes128Cbc);
        assert_ne!(first, key(&other, ContentCipher::Aes128Cbc));
        assert_ne!(first, key(&one, ContentCipher::Aes256Cbc));
    }
}
