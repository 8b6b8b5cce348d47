//! Denials of an approval webhook, remembered for a while.
//!
//! A denial uses up no ticket. Who holds one can make a new key, and so a new request, as often as he likes: each would be a question to
//! the webhook and a record. So whoever was denied hears the same again for some minutes, and nobody is asked. In memory alone: a
//! restart asks anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::types::{Fingerprint, Timestamp};

/// So many are remembered; where there are more, those that end first are forgotten.
const MAX_DENIALS: usize = 4096;

/// Who was denied, and why.
#[derive(Debug, Default)]
pub struct Denials(Mutex<HashMap<Fingerprint, Denial>>);

#[derive(Debug)]
struct Denial {
    reason: String,
    since: Timestamp,
    until: Timestamp,
}

impl Denial {
    /// A clock that went back behind the beginning ends it, for nobody knows how far it went.
    fn holds(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.until
    }
}

impl Denials {
    /// Why `who` was denied, if that still holds.
    pub(super) fn of(&self, who: &Fingerprint, now: Timestamp) -> Option<String> {
        let denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denials.get(who).filter(|denial| denial.holds(now)).map(|denial| denial.reason.clone())
    }

    /// Remembers a denial for so long.
    pub(super) fn remember(&self, who: Fingerprint, reason: String, now: Timestamp, time: Duration) {
        let mut denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.len() >= MAX_DENIALS {
            denials.retain(|_, denial| denial.holds(now));
        }
        if denials.len() >= MAX_DENIALS {
            let first = denials.iter().min_by_key(|(_, denial)| denial.until).map(|(who, _)| *who);
            first.and_then(|first| denials.remove(&first));
        }
        if !time.is_zero() {
            denials.insert(who, Denial { reason, since: now, until: now.plus(time) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn who(number: usize) -> Fingerprint {
        Fingerprint::of(&number.to_be_bytes())
    }

    #[test]
    fn a_denial_holds_for_its_time_and_for_whom_it_was() {
        let denials = Denials::default();
        denials.remember(who(1), "stolen".to_owned(), NOW, MINUTE);
        denials.remember(who(2), "never".to_owned(), NOW, Duration::ZERO);
        assert_eq!(denials.of(&who(1), NOW.plus(Duration::from_secs(59))).as_deref(), Some("stolen"));
        assert_eq!(denials.of(&who(1), NOW.plus(MINUTE)), None);
        assert_eq!((denials.of(&who(2), NOW), denials.of(&who(3), NOW)), (None, None));
    }

    #[test]
    fn a_denial_by_a_clock_that_was_ahead_ends_when_it_is_set_right() {
        let denials = Denials::default();
        denials.remember(who(1), "no".to_owned(), NOW.plus(1_000_000 * MINUTE), MINUTE);
        assert_eq!(denials.of(&who(1), NOW), None);
    }

    #[test]
    fn any_number_of_denials_is_remembered_in_bounded_memory_and_the_newest() {
        let denials = Denials::default();
        for number in 0..MAX_DENIALS + 100 {
            let now = NOW.plus(Duration::from_secs(number as u64 / 1000));
            denials.remember(who(number), "no".to_owned(), now, 10 * MINUTE);
        }
        assert_eq!(denials.0.lock().unwrap().len(), MAX_DENIALS);
        assert!(denials.of(&who(MAX_DENIALS + 99), NOW.plus(MINUTE)).is_some());
    }
}
