//! Who asks too often, and who guesses: decided from memory, before anything costs anything.
//!
//! [`Gateway::admit`] is asked at the edge, before the body of a request is read. Where the URL names no profile and the key usage of the
//! request chooses one, that one's limit counts besides, once the request is open. A lock-out is looked at later, when it is known who
//! signed and before anything is decrypted: it stops those who need a challenge, and them alone. What the guard knows is lost when the process ends,
//! and bounded: where more clients come than it can remember, those that were quiet longest are forgotten.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Gateway,
    enrol::RefusalLimits,
    metric::{self, label},
};
use crate::{
    domain::{
        exchange::Unanswered,
        throttle::{Bucket, ClientNetwork, Guesses, Limit, LockOut, Pace},
    },
    types::{ProfileName, Timestamp},
};

/// Clients that are remembered, and pairs of client and profile with wrong challenges.
const MAX_REMEMBERED: usize = 16_384;

/// GetCACaps and GetCACert cost no cryptography: so many of them weigh as much as one PKIOperation.
const READS_PER_OPERATION: NonZeroU32 = NonZeroU32::new(20).expect("it is not zero");

/// How much of what is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardSettings {
    /// PKIOperations of one client.
    pub per_client: Option<Pace>,
    /// PKIOperations of a profile, from all clients.
    pub per_profile: BTreeMap<ProfileName, Pace>,
    /// What becomes of a client that guesses challenges.
    pub lock_out: Option<LockOut>,
    /// Profiles that hold what came of a one-time challenge when somebody else presents it again.
    pub hold_on_reuse: BTreeSet<ProfileName>,
    /// Refusals that are recorded.
    pub refusals: RefusalLimits,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// GetCACaps, GetCACert.
    Read,
    /// PKIOperation.
    Operation,
}

/// A request that comes too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests")]
pub struct TooSoon {
    /// Which limit it met.
    pub limit: Limit,
    /// When it makes sense to come back: whole seconds, at least one.
    pub retry_after: Duration,
}

impl TooSoon {
    fn new(limit: Limit, wait: Duration) -> Self {
        Self { limit, retry_after: wait.max(Duration::from_secs(1)) }
    }
}

impl From<TooSoon> for Unanswered {
    fn from(TooSoon { limit, retry_after }: TooSoon) -> Self {
        Self::TooSoon { limit, retry_after }
    }
}

/// What is remembered of clients and profiles.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    settings: GuardSettings,
    state: Mutex<State>,
    /// The minute in which a refusal by each limit was last logged.
    logged: [AtomicU64; 3],
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<ClientNetwork, Buckets>,
    profiles: HashMap<ProfileName, Bucket>,
    guesses: HashMap<(ClientNetwork, ProfileName), Guesses>,
}

#[derive(Debug, Default)]
struct Buckets {
    operations: Bucket,
    reads: Bucket,
}

impl Guard {
    pub(crate) fn new(settings: GuardSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(
        &self,
        profile: &ProfileName,
        client: ClientNetwork,
        weight: Weight,
        now: Timestamp,
    ) -> Result<(), (Limit, Duration)> {
        let mut state = self.state();
        if let Some(pace) = self.settings.per_client {
            make_room(&mut state.clients, &client, |it| it.operations.rank().max(it.reads.rank()));
            let buckets = state.clients.entry(client).or_default();
            let (bucket, pace) = match weight {
                Weight::Read => (&mut buckets.reads, pace.times(READS_PER_OPERATION)),
                Weight::Operation => (&mut buckets.operations, pace),
            };
            bucket.take(pace, now).map_err(|wait| (Limit::Client, wait))?;
        }
        drop(state);
        // Last: who is refused for himself takes nothing from the others.
        if weight == Weight::Operation { self.admit_to(profile, now) } else { Ok(()) }
    }

    /// One PKIOperation more of a profile, whoever asks.
    fn admit_to(&self, profile: &ProfileName, now: Timestamp) -> Result<(), (Limit, Duration)> {
        let Some(pace) = self.settings.per_profile.get(profile) else { return Ok(()) };
        let mut state = self.state();
        let bucket = state.profiles.entry(profile.clone()).or_default();
        bucket.take(*pace, now).map_err(|wait| (Limit::Profile, wait))
    }

    /// Counts a wrong challenge, by its digest. True: the client is locked out from now on.
    fn count_guess(&self, profile: &ProfileName, client: ClientNetwork, guess: u64, now: Timestamp) -> bool {
        let Some(rule) = self.settings.lock_out else { return false };
        let mut state = self.state();
        let key = (client, profile.clone());
        make_room(&mut state.guesses, &key, Guesses::rank);
        state.guesses.entry(key).or_insert_with(|| Guesses::new(now)).count(guess, rule, now)
    }

    /// For how long the client is locked out of the profile yet, if it is.
    fn locked(&self, profile: &ProfileName, client: ClientNetwork, now: Timestamp) -> Option<Duration> {
        self.state().guesses.get(&(client, profile.clone()))?.locked(now)
    }

    fn locked_out(&self, now: Timestamp) -> usize {
        self.state().guesses.values().filter(|guesses| guesses.locked(now).is_some()).count()
    }

    /// Whether a refusal by this limit is to be logged: once a minute.
    fn logs(&self, limit: Limit, now: Timestamp) -> bool {
        let minute = now.unix() / 60;
        let last = match limit {
            Limit::Client => &self.logged[0],
            Limit::Profile => &self.logged[1],
            Limit::LockOut => &self.logged[2],
        };
        last.swap(minute, Ordering::Relaxed) != minute
    }
}

/// Forgets the eighth of `map` with the lowest ranks if there is no room for `key`.
fn make_room<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: &K, rank: impl Fn(&V) -> u64) {
    if map.len() < MAX_REMEMBERED || map.contains_key(key) {
        return;
    }
    let mut ranks: Vec<_> = map.values().map(&rank).collect();
    let (_, bound, _) = ranks.select_nth_unstable(MAX_REMEMBERED / 8);
    map.retain(|_, value| rank(value) > *bound);
}

impl Gateway {
    /// Whether a client may ask this of a profile now. To be asked once per request, before its body is read.
    ///
    /// Only profiles that exist: what is remembered of others would be a stranger's to fill.
    pub fn admit(&self, profile: &ProfileName, client: IpAddr, weight: Weight) -> Result<(), TooSoon> {
        let client = ClientNetwork::from(client);
        let admitted = self.guard.admit(profile, client, weight, self.now());
        admitted.map_err(|(limit, wait)| self.turn_away(profile, client, TooSoon::new(limit, wait)))
    }

    /// Whether a request that was admitted to another profile may go on in this one, which its content chose.
    pub(super) fn admit_chosen(&self, profile: &ProfileName) -> Result<(), TooSoon> {
        let admitted = self.guard.admit_to(profile, self.now());
        admitted.map_err(|(limit, wait)| TooSoon::new(limit, wait))
    }

    /// Whether a client is locked out of a profile now. Nothing that rests on a challenge is to be decided for it; what rests on a
    /// certificate of ours or on a known transaction is, or one who guesses would shut out everybody behind the same address.
    pub(super) fn lock_out_of(&self, profile: &ProfileName, client: IpAddr) -> Option<TooSoon> {
        let left = self.guard.locked(profile, client.into(), self.now())?;
        Some(TooSoon::new(Limit::LockOut, left))
    }

    /// Counts a request that is turned away, and logs the first of a minute.
    pub(super) fn turn_away(
        &self,
        profile: &ProfileName,
        client: impl Into<ClientNetwork>,
        too_soon: TooSoon,
    ) -> TooSoon {
        let (client, limit) = (client.into(), too_soon.limit.name());
        metrics::counter!(
            metric::THROTTLED, label::PROFILE => profile.to_string(), label::LIMIT => limit
        )
        .increment(1);
        if self.guard.logs(too_soon.limit, self.now()) {
            tracing::warn!(%client, %profile, limit, "too many requests: told to come back");
        }
        too_soon
    }

    /// Counts a challenge that nobody was given. True: the client is locked out of the profile from now on.
    pub(super) fn count_guess(&self, profile: &ProfileName, client: IpAddr, mac: &[u8; 32]) -> bool {
        let digest = mac.first_chunk().map_or(0, |digest| u64::from_be_bytes(*digest));
        self.guard.count_guess(profile, client.into(), digest, self.now())
    }

    /// How many clients are locked out of some profile.
    pub(super) fn locked_out(&self) -> usize {
        self.guard.locked_out(self.now())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn profile() -> ProfileName {
        "device".parse().unwrap()
    }

    fn client(number: u32) -> ClientNetwork {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    fn guard(per_client: u32, per_profile: u32, guesses: usize) -> Guard {
        Guard::new(GuardSettings {
            per_client: Pace::per_minute(per_client),
            per_profile: Pace::per_minute(per_profile).map(|pace| (profile(), pace)).into_iter().collect(),
            lock_out: Some(LockOut { guesses, time: Duration::from_secs(60) }),
            ..GuardSettings::default()
        })
    }

    #[test]
    fn a_client_that_is_refused_takes_nothing_from_the_profile() {
        let guard = guard(2, 3, 9);
        let ask = |number| guard.admit(&profile(), client(number), Weight::Operation, NOW);
        assert_eq!([ask(1), ask(1)], [Ok(()), Ok(())]);
        for _ in 0..10 {
            assert_eq!(ask(1), Err((Limit::Client, Duration::from_secs(30))));
        }
        assert_eq!(ask(2), Ok(()));
        assert_eq!(ask(2), Err((Limit::Profile, Duration::from_secs(20))));
    }

    #[test]
    fn reading_has_a_bucket_of_its_own_and_a_larger_one() {
        let guard = guard(1, 0, 9);
        let ask = |weight| guard.admit(&profile(), client(1), weight, NOW);
        for _ in 0..20 {
            assert_eq!(ask(Weight::Read), Ok(()));
        }
        assert!(ask(Weight::Read).is_err());
        assert_eq!(ask(Weight::Operation), Ok(()));
    }

    #[test]
    fn who_guesses_is_locked_out_of_that_profile_alone() {
        let guard = guard(0, 0, 2);
        assert!(!guard.count_guess(&profile(), client(1), 1, NOW));
        assert!(guard.count_guess(&profile(), client(1), 2, NOW));
        let locked = |profile: &str, number| guard.locked(&profile.parse().unwrap(), client(number), NOW);
        assert_eq!(locked("device", 1), Some(Duration::from_secs(60)));
        assert_eq!((locked("device", 2), locked("other", 1)), (None, None));
        assert_eq!((guard.locked_out(NOW), guard.locked_out(NOW.plus(Duration::from_secs(60)))), (1, 0));
    }

    #[test]
    fn any_number_of_clients_is_remembered_in_bounded_memory_and_the_locked_out_longest() {
        let guard = guard(10, 0, 1);
        let locked = client(u32::MAX);
        assert!(guard.count_guess(&profile(), locked, 1, NOW.plus(Duration::from_secs(1000))));
        for number in 0..40_000 {
            assert_eq!(guard.admit(&profile(), client(number), Weight::Operation, NOW), Ok(()));
            guard.count_guess(&profile(), client(number), 1, NOW);
        }
        let state = guard.state();
        assert!(state.clients.len() <= MAX_REMEMBERED && state.guesses.len() <= MAX_REMEMBERED);
        assert!(state.guesses.contains_key(&(locked, profile())));
    }

    #[test]
    fn a_limit_is_logged_once_a_minute() {
        let guard = guard(1, 1, 1);
        assert!(guard.logs(Limit::Client, NOW));
        assert!(!guard.logs(Limit::Client, NOW));
        assert!(guard.logs(Limit::LockOut, NOW));
        assert!(guard.logs(Limit::Client, NOW.plus(Duration::from_secs(60))));
    }
}
