//! The time by which what nobody can take back is done: see [`crate::domain::clock`].
//!
//! The last time that was believed is noted once an hour, and when it is doubted: so that a clock that is ahead at the next start is found
//! out by it, and one that was doubted before stays so.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Ports, ServiceError,
    audit::Act,
    backup::check_local,
    health::{Check, CheckResult},
};
use crate::{
    domain::{
        access::{Actor, Administer, Authed},
        clock::{ClockDoubt, ClockTrust, Reading},
    },
    ports::Clock,
    types::Timestamp,
};

/// How often the time is noted.
const PERIOD: Duration = Duration::from_secs(3600);

/// The word that the clock is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedClock {
    /// What it showed.
    pub shown: Timestamp,
    /// The time that was believed until then.
    pub believed: Timestamp,
}

/// The clock of one gateway.
#[derive(Debug)]
pub(super) struct WatchedClock(Mutex<Watched>);

#[derive(Debug)]
struct Watched {
    trust: ClockTrust,
    /// What the store has.
    noted: Option<Timestamp>,
    /// Whether the audit record says that the clock is not believed.
    is_recorded: bool,
}

impl WatchedClock {
    pub(super) fn open(ports: &Ports) -> Result<Self, ServiceError> {
        let (noted, event) = ports
            .store
            .read(|view| Ok::<_, ServiceError>((view.believed_time()?, view.last_audit_event()?)))?;
        let known = noted.or(event.map(|event| event.fact.at));
        let trust = ClockTrust::begin(known, reading(ports.clock.as_ref()));
        Ok(Self(Mutex::new(Watched { trust, noted, is_recorded: false })))
    }

    /// What is known after one more look.
    fn looked(&self, clock: &dyn Clock) -> MutexGuard<'_, Watched> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.trust.look(reading(clock));
        watched
    }
}

fn reading(clock: &dyn Clock) -> Reading {
    Reading { time: clock.now(), elapsed: clock.elapsed() }
}

impl Gateway {
    /// Now, as far as that is believed: for what cannot be undone.
    pub(super) fn believed_now(&self) -> Timestamp {
        self.watched_clock.looked(self.ports.clock.as_ref()).trust.believed()
    }

    /// Whether the clock is not believed.
    pub(super) fn clock_doubt(&self) -> Option<ClockDoubt> {
        self.watched_clock.looked(self.ports.clock.as_ref()).trust.doubt()
    }

    /// Notes the time, and records when the clock begins or ceases to be believed.
    pub(super) fn watch_clock(&self) -> Result<(), ServiceError> {
        let (believed, doubt, noted, is_recorded) = {
            let watched = self.watched_clock.looked(self.ports.clock.as_ref());
            (watched.trust.believed(), watched.trust.doubt(), watched.noted, watched.is_recorded)
        };
        let changed = doubt.is_some() != is_recorded;
        let is_due =
            doubt.is_none() && noted.is_none_or(|noted| believed < noted || believed.since(noted) >= PERIOD);
        if !changed && !is_due {
            return Ok(());
        }
        let act = Act { actor: Actor::System, request: self.new_request(), at: self.now() };
        self.ports.store.write(|tx| {
            tx.put_believed_time(believed)?;
            let fact = match doubt {
                Some(doubt) => {
                    let (believed, until) = (doubt.believed.to_string(), doubt.until.to_string());
                    act.fact("clock.doubted", "clock", &[("believed", believed), ("until", until)])
                }
                None => act.fact("clock.believed", "clock", &[]),
            };
            if changed { tx.append_audit(&fact).map(drop) } else { Ok(()) }
        })?;
        match doubt.filter(|_| changed) {
            Some(ClockDoubt { shown, believed, until }) => tracing::warn!(
                %shown, %believed, %until,
                "the clock is further ahead than is believed: what cannot be undone waits until it is set right or has run on for a day"
            ),
            None if changed => tracing::info!("the clock is believed again"),
            None => {}
        }
        let mut watched = self.watched_clock.looked(self.ports.clock.as_ref());
        (watched.noted, watched.is_recorded) = (Some(believed), doubt.is_some());
        Ok(())
    }

    /// Believes the clock as it is, at once and at the next start: somebody looked, and it is right. Only a caller on this machine may.
    /// Refused while it is believed, and while the database is behind, for what follows cannot be undone.
    pub fn accept_clock(&self, authed: &Authed<Administer>) -> Result<AcceptedClock, ServiceError> {
        check_local(authed, "the clock is accepted")?;
        self.refuse_while_behind()?;
        let (right, doubt) = {
            let watched = self.watched_clock.looked(self.ports.clock.as_ref());
            (watched.trust.last(), watched.trust.doubt())
        };
        let ClockDoubt { shown, believed, .. } = doubt.ok_or_else(|| {
            ServiceError::Refused("the clock is believed: there is nothing to accept".to_owned())
        })?;
        let act = Act::of(authed, shown);
        let detail = [("shown", shown.to_string()), ("believed", believed.to_string())];
        self.ports.store.write(|tx| {
            tx.put_believed_time(shown)?;
            tx.append_audit(&act.fact("clock.accepted", "clock", &detail))
        })?;
        self.watched_clock.looked(self.ports.clock.as_ref()).trust.accept(right);
        tracing::info!(%shown, %believed, actor = %act.actor, "the clock is accepted");
        self.wake();
        Ok(AcceptedClock { shown, believed })
    }

    /// Nothing while the clock is believed.
    pub(super) fn check_clock(&self) -> Option<Check> {
        let ClockDoubt { shown, believed, until } = self.clock_doubt()?;
        let detail = format!(
            "it shows {shown}, and from what was known it should be {believed}: until then, or until it is believed at {until}, no renewed \
             certificate is superseded, no registration runs out, no CA is cut over to by its schedule, no record and no key is removed"
        );
        let hint = "compare it with a clock that is right, and set it if it is wrong; if it is right, say so: certgate doctor \
                    --accept-clock; or wait: what cannot wait is done by hand (certgate issuer cutover, certgate cert revoke)";
        Some(Check::not_passed("clock", CheckResult::Warn, detail, hint))
    }
}
