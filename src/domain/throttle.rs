//! How often is too often: buckets of requests, and wrong challenges told apart.
//!
//! A fleet behind one address is no attack: hundreds of devices with one wrong challenge are one mistake, sent again and again. Who
//! guesses has to send *different* challenges, so only those count.

mod shares;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

pub use shares::Shares;

use crate::types::Timestamp;

const MICROS_PER_SECOND: u64 = 1_000_000;
const MICROS_PER_MINUTE: u64 = 60 * MICROS_PER_SECOND;

/// Who counts as one client: an IPv4 address, or the /64 of an IPv6 address, because whoever has one address of it has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientNetwork(IpAddr);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Which limit a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// What one client may ask.
    Client,
    /// What a profile may be asked, by all together.
    Profile,
    /// The client guessed challenges.
    LockOut,
}

impl Limit {
    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "address",
            Self::Profile => "profile",
            Self::LockOut => "lock-out",
        }
    }
}

/// So many in a time: as many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    number: NonZeroU32,
    /// The time, in microseconds.
    micros: u64,
}

impl Pace {
    /// None for 0: no limit.
    pub fn per_minute(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(|number| Self { number, micros: MICROS_PER_MINUTE })
    }

    /// None for 0: no limit.
    pub fn per_second(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(|number| Self { number, micros: MICROS_PER_SECOND })
    }

    /// `times` as many.
    #[must_use]
    pub const fn times(self, times: NonZeroU32) -> Self {
        Self { number: self.number.saturating_mul(times), ..self }
    }

    /// How many in its time.
    pub const fn number(self) -> u32 {
        self.number.get()
    }

    /// What one request costs, in microseconds of refilling.
    fn cost(self) -> u64 {
        (self.micros / u64::from(self.number.get())).max(1)
    }
}

/// A token bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full again, in microseconds since 1970: all that needs to be known of it.
    full_at: u64,
}

impl Bucket {
    /// Takes one. Errors: it is empty, and has one again after this time.
    pub fn take(&mut self, pace: Pace, now: Timestamp) -> Result<(), Duration> {
        let now = now.unix().saturating_mul(MICROS_PER_SECOND);
        // Emptier than empty only where the clock went back: then it fills from here on, not from when the clock is there again.
        self.full_at = self.full_at.clamp(now, now.saturating_add(pace.micros));
        let full_at = self.full_at.saturating_add(pace.cost());
        match full_at.saturating_sub(now).checked_sub(pace.micros) {
            None | Some(0) => {
                self.full_at = full_at;
                Ok(())
            }
            Some(wait) => Err(Duration::from_secs(wait.div_ceil(MICROS_PER_SECOND))),
        }
    }

    /// When it was used last, for comparison with others: the smaller, the longer ago.
    pub const fn rank(&self) -> u64 {
        self.full_at
    }
}

/// When guessing ends, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// So many different wrong challenges ..
    pub guesses: usize,
    /// .. within this time lock out for this time.
    pub time: Duration,
}

/// The wrong challenges that one client has sent to one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guesses {
    /// Digests of those that differ.
    seen: Vec<u64>,
    /// When the first of them came, or when it was locked out.
    since: Timestamp,
    locked_until: Option<Timestamp>,
}

impl Guesses {
    /// None yet.
    pub const fn new(now: Timestamp) -> Self {
        Self { seen: Vec::new(), since: now, locked_until: None }
    }

    /// Counts a wrong challenge, given by its digest. True: it was the one that locks out.
    pub fn count(&mut self, guess: u64, rule: LockOut, now: Timestamp) -> bool {
        if self.locked(now).is_some() {
            return false;
        }
        if self.locked_until.is_some() || now >= self.since.plus(rule.time) {
            *self = Self::new(now);
        }
        if !self.seen.contains(&guess) {
            self.seen.push(guess);
        }
        let locks = self.seen.len() >= rule.guesses;
        if locks {
            *self = Self { seen: Vec::new(), since: now, locked_until: Some(now.plus(rule.time)) };
        }
        locks
    }

    /// For how long the client is locked out yet, if it is. A clock that went back behind the beginning sets it free, for nobody knows
    /// how far it went.
    pub fn locked(&self, now: Timestamp) -> Option<Duration> {
        let until = self.locked_until.filter(|until| self.since <= now && now < *until);
        until.map(|until| until.since(now))
    }

    /// When it began or ends, for comparison with others: the smaller, the sooner it can be forgotten.
    pub fn rank(&self) -> u64 {
        self.locked_until.unwrap_or(self.since).unix()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    fn network(address: &str) -> ClientNetwork {
        ClientNetwork::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
    }

    #[test]
    fn a_minutes_worth_comes_at_once_and_then_it_drips() {
        let pace = Pace::per_minute(6).unwrap();
        let mut bucket = Bucket::default();
        for _ in 0..6 {
            assert_eq!(bucket.take(pace, at(0)), Ok(()));
        }
        assert_eq!(bucket.take(pace, at(0)), Err(Duration::from_secs(10)));
        assert_eq!(bucket.take(pace, at(9)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(pace, at(10)), Ok(()));
        assert_eq!(bucket.take(pace, at(10)), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_seconds_worth_comes_at_once_in_each_second() {
        let pace = Pace::per_second(100).unwrap();
        let mut bucket = Bucket::default();
        for second in 0..3 {
            let taken = (0..1000).filter(|_| bucket.take(pace, at(second)).is_ok()).count();
            assert_eq!(taken, 100);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let pace = Pace::per_minute(1).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(pace, at(100)), Ok(()));
        assert!(bucket.take(pace, at(0)).is_err());
    }

    #[test]
    fn a_clock_that_was_far_ahead_shuts_nobody_out_for_longer_than_the_rule() {
        const DECADE: u64 = 315_000_000;
        let pace = Pace::per_minute(1).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(pace, at(DECADE)), Ok(()));
        assert_eq!(bucket.take(pace, at(0)), Err(Duration::from_secs(60)));
        assert_eq!(bucket.take(pace, at(60)), Ok(()));
        let mut guesses = Guesses::new(at(DECADE));
        assert!((1..=3).any(|guess| guesses.count(guess, RULE, at(DECADE))));
        assert_eq!(guesses.locked(at(0)), None);
    }

    const RULE: LockOut = LockOut { guesses: 3, time: Duration::from_secs(60) };

    #[test]
    fn different_wrong_challenges_lock_out_and_the_same_one_does_not() {
        let mut guesses = Guesses::new(at(0));
        for _ in 0..100 {
            assert!(!guesses.count(7, RULE, at(1)));
        }
        assert!(!guesses.count(8, RULE, at(2)));
        assert!(guesses.count(9, RULE, at(3)));
        assert_eq!(guesses.locked(at(3)), Some(Duration::from_secs(60)));
        assert_eq!(guesses.locked(at(62)), Some(Duration::from_secs(1)));
        assert_eq!(guesses.locked(at(63)), None);
        assert!(!guesses.count(10, RULE, at(63)), "counting begins again");
    }

    #[test]
    fn old_guesses_are_forgotten() {
        let mut guesses = Guesses::new(at(0));
        assert!(!guesses.count(1, RULE, at(0)));
        assert!(!guesses.count(2, RULE, at(59)));
        assert!(!guesses.count(3, RULE, at(60)));
        assert_eq!(guesses.locked(at(60)), None);
    }
}
