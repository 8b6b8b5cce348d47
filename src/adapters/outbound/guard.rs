//! What keeps one slow or dead party from costing more than its share: places, and a pause after failures.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// This many failures in a row open the pause.
const FAILURES: u32 = 3;

/// The first pause; it doubles with each failed try after it.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause, also where the other side asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Hosts that are remembered per destination; the rule `*.domain` allows many.
const MAX_HOSTS: usize = 64;

/// A number of places.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    limit: usize,
}

/// A place, free again when dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Places);

impl Places {
    /// So many.
    pub const fn new(limit: usize) -> Self {
        Self { taken: AtomicUsize::new(0), limit }
    }

    /// Takes one if there is one; never waits, for who waits holds a thread.
    pub fn take(&self) -> Option<Place<'_>> {
        let more = |taken: usize| (taken < self.limit).then(|| taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How a host did lately.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    failures: u32,
    pause_until: Option<Instant>,
    /// One request tries whether the host is back.
    trying: bool,
}

/// Which hosts of a destination are left alone, and until when.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<HashMap<String, Record>>);

impl Breaker {
    /// Whether `host` may be asked now. Errors: for how long not. After a pause one request goes first.
    pub(super) fn admit(&self, host: &str, now: Instant) -> Result<(), Duration> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = hosts.get_mut(host) else { return Ok(()) };
        let Some(until) = record.pause_until else { return Ok(()) };
        if now < until {
            return Err(until - now);
        }
        if record.trying {
            return Err(FIRST_PAUSE);
        }
        record.trying = true;
        Ok(())
    }

    /// `host` answered; with `pause`, it asks to be left alone that long.
    pub(super) fn answered(&self, host: &str, pause: Option<Duration>, now: Instant) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pause {
            None => {
                hosts.remove(host);
            }
            Some(pause) => {
                let pause_until = Some(now + pause.min(LONGEST_PAUSE));
                remember(&mut hosts, host, Record { failures: 0, pause_until, trying: false });
            }
        }
    }

    /// `host` did not answer.
    pub(super) fn failed(&self, host: &str, now: Instant) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = hosts.get(host).map_or(0, |record| record.failures).saturating_add(1);
        let pause = failures
            .checked_sub(FAILURES)
            .map(|more| FIRST_PAUSE.saturating_mul(1 << more.min(8)).min(LONGEST_PAUSE));
        let record = Record { failures, pause_until: pause.map(|pause| now + pause), trying: false };
        remember(&mut hosts, host, record);
    }
}

fn remember(hosts: &mut HashMap<String, Record>, host: &str, record: Record) {
    if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
        hosts.clear();
    }
    hosts.insert(host.to_owned(), record);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let places = Places::new(2);
        let first = places.take();
        let second = places.take();
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }

    #[expect(clippy::disallowed_methods, reason = "any instant does")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn three_failures_pause_a_host_and_one_try_goes_first_after_it() {
        let (breaker, now) = (Breaker::default(), now());
        for _ in 0..2 {
            breaker.failed("a", now);
            assert_eq!(breaker.admit("a", now), Ok(()));
        }
        breaker.failed("a", now);
        assert_eq!(breaker.admit("a", now), Err(FIRST_PAUSE));
        assert_eq!(breaker.admit("b", now), Ok(()), "another host is not concerned");
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit("a", later), Ok(()));
        assert!(breaker.admit("a", later).is_err(), "one try at a time");
        breaker.failed("a", later);
        assert_eq!(breaker.admit("a", later), Err(2 * FIRST_PAUSE), "the pause grows");
        let much_later = later + 2 * FIRST_PAUSE;
        assert_eq!(breaker.admit("a", much_later), Ok(()));
        breaker.answered("a", None, much_later);
        assert_eq!(breaker.admit("a", much_later), Ok(()));
        assert_eq!(breaker.admit("a", much_later), Ok(()));
    }

    #[test]
    fn who_asks_to_be_left_alone_is_but_not_for_ever() {
        let (breaker, now) = (Breaker::default(), now());
        breaker.answered("a", Some(Duration::from_secs(5)), now);
        assert_eq!(breaker.admit("a", now), Err(Duration::from_secs(5)));
        breaker.answered("a", Some(Duration::from_secs(24 * 3600)), now);
        assert_eq!(breaker.admit("a", now), Err(LONGEST_PAUSE));
    }

    #[test]
    fn pauses_have_a_longest() {
        let (breaker, now) = (Breaker::default(), now());
        for _ in 0..100 {
            breaker.failed("a", now);
        }
        assert_eq!(breaker.admit("a", now), Err(LONGEST_PAUSE));
    }
}
