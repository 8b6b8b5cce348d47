//! How many refusals are recorded: in the audit record, which is kept for ever, and as enrolments.
//!
//! Who knows a static challenge, or has a ticket, can be refused as often as he likes. One client must not fill the record, nor many
//! together; and one that tries takes little from the others. What is beyond is in the log and in the trace, both of which are bounded, and is counted
//! (`certgate_refusals_not_recorded_total`). In memory alone: a restart begins the day anew.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use crate::{
    domain::throttle::ClientNetwork,
    types::{ProfileName, Timestamp},
};

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;

/// How many refusals are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalLimits {
    /// In a minute, of all profiles.
    pub per_minute: u32,
    /// Of a profile in a day (UTC).
    pub per_day: u32,
    /// Of one client and profile in a day.
    pub per_client_and_day: u32,
}

impl Default for RefusalLimits {
    fn default() -> Self {
        Self { per_minute: 120, per_day: 10_000, per_client_and_day: 1_000 }
    }
}

/// Which limit a refusal met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// That of all profiles in a minute.
    Minute,
    /// That of the profile in a day.
    Day { first: bool },
    /// That of the client and profile in a day.
    ClientAndDay { first: bool },
}

impl Beyond {
    /// Whether it is the first one of its day: that further ones are not recorded is to be on record, once.
    pub(super) const fn is_first(self) -> bool {
        matches!(self, Self::Day { first: true } | Self::ClientAndDay { first: true })
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "all profiles in a minute",
            Self::Day { .. } => "the profile in a day",
            Self::ClientAndDay { .. } => "the address and profile in a day",
        })
    }
}

/// Counts recorded refusals.
#[derive(Debug, Default)]
pub(crate) struct RefusalMeter {
    limits: RefusalLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The minute, and how many in it.
    minute: (u64, u32),
    day: u64,
    profiles: BTreeMap<ProfileName, OfProfile>,
}

/// Of a day. There are at most as many clients as refusals that were recorded.
#[derive(Debug, Default)]
struct OfProfile {
    count: Count,
    clients: BTreeMap<Option<ClientNetwork>, Count>,
}

#[derive(Debug, Default)]
struct Count {
    recorded: u32,
    /// That it is full is on record.
    told: bool,
}

impl Count {
    /// Some where `limit` is reached: whether that is seen for the first time.
    const fn is_full(&mut self, limit: u32) -> Option<bool> {
        if self.recorded < limit {
            return None;
        }
        let first = !self.told;
        self.told = true;
        Some(first)
    }
}

impl RefusalMeter {
    pub(crate) fn new(limits: RefusalLimits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// Counts one that is to be recorded; no client: its address cannot be read. Errors: it is not to be.
    pub(super) fn admit(
        &self,
        profile: &ProfileName,
        client: Option<ClientNetwork>,
        now: Timestamp,
    ) -> Result<(), Beyond> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.begin(now);
        counts.admit(&self.limits, profile, client)
    }
}

impl Counts {
    /// A clock that was set back begins anew, too.
    fn begin(&mut self, now: Timestamp) {
        let (minute, day) = (now.unix() / MINUTE, now.unix() / DAY);
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        if self.day != day {
            self.day = day;
            self.profiles.clear();
        }
    }

    fn admit(
        &mut self,
        limits: &RefusalLimits,
        profile: &ProfileName,
        client: Option<ClientNetwork>,
    ) -> Result<(), Beyond> {
        let of_profile = self.profiles.entry(profile.clone()).or_default();
        // The client's own limit first: who is beyond it does not hear of that of all.
        if let Some(known) = of_profile.clients.get_mut(&client)
            && let Some(first) = known.is_full(limits.per_client_and_day)
        {
            return Err(Beyond::ClientAndDay { first });
        }
        if let Some(first) = of_profile.count.is_full(limits.per_day) {
            return Err(Beyond::Day { first });
        }
        if self.minute.1 >= limits.per_minute {
            return Err(Beyond::Minute);
        }
        self.minute.1 += 1;
        of_profile.count.recorded += 1;
        of_profile.clients.entry(client).or_default().recorded += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(20_000 * DAY);

    fn meter() -> RefusalMeter {
        RefusalMeter::new(RefusalLimits { per_minute: 100, per_day: 6, per_client_and_day: 4 })
    }

    fn client(address: &str) -> ClientNetwork {
        address.parse::<IpAddr>().unwrap().into()
    }

    /// What becomes of so many refusals of a client.
    fn refused(
        meter: &RefusalMeter,
        number: usize,
        profile: &str,
        address: &str,
        at: Timestamp,
    ) -> Vec<Result<(), Beyond>> {
        let profile = profile.parse().unwrap();
        (0..number).map(|_| meter.admit(&profile, Some(client(address)), at)).collect()
    }

    fn recorded(meter: &RefusalMeter, number: usize, profile: &str, address: &str, at: Timestamp) -> usize {
        refused(meter, number, profile, address, at).into_iter().flatten().count()
    }

    #[test]
    fn one_client_has_its_share_of_a_day_and_no_more() {
        let meter = meter();
        let outcomes = refused(&meter, 7, "wifi", "192.0.2.1", NOW);
        let beyond = |first| Err(Beyond::ClientAndDay { first });
        assert_eq!(outcomes[3..], [Ok(()), beyond(true), beyond(false), beyond(false)]);
        // It takes nothing of another profile's, and not all of its own's.
        assert_eq!(recorded(&meter, 9, "vpn", "192.0.2.1", NOW), 4);
        assert_eq!(recorded(&meter, 9, "wifi", "192.0.2.2", NOW), 2);
        let tomorrow = NOW.plus(Duration::from_secs(DAY));
        assert_eq!(recorded(&meter, 9, "wifi", "192.0.2.1", tomorrow.minus(Duration::from_secs(1))), 0);
        assert_eq!(recorded(&meter, 9, "wifi", "192.0.2.1", tomorrow), 4);
    }

    #[test]
    fn many_clients_together_have_what_the_profile_has_and_it_is_said_once() {
        let meter = meter();
        let addresses = (0..50).map(|host| format!("2001:db8:0:{host:x}::1"));
        let outcomes: Vec<_> = addresses.flat_map(|it| refused(&meter, 2, "wifi", &it, NOW)).collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 6);
        let first = outcomes.iter().filter(|outcome| outcome.is_err_and(Beyond::is_first));
        assert_eq!(first.count(), 1);
        // Of an IPv6 address the network counts.
        assert_eq!(
            recorded(&meter, 3, "vpn", "2001:db8::1", NOW) + recorded(&meter, 3, "vpn", "2001:db8::2", NOW),
            4
        );
    }

    #[test]
    fn a_minute_is_bounded_for_all_profiles_together() {
        let limits = RefusalLimits { per_minute: 3, ..RefusalLimits::default() };
        let meter = RefusalMeter::new(limits);
        assert_eq!(recorded(&meter, 2, "wifi", "192.0.2.1", NOW), 2);
        assert_eq!(refused(&meter, 2, "vpn", "192.0.2.2", NOW), [Ok(()), Err(Beyond::Minute)]);
        let next = NOW.plus(Duration::from_secs(MINUTE));
        assert_eq!(recorded(&meter, 5, "vpn", "192.0.2.2", next), 3);
    }
}
