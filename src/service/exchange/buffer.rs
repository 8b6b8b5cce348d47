//! What waits to be written: bounded, and fair to addresses.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Traced;
use crate::{
    domain::{
        exchange::{Ending, Exchange},
        throttle::ClientNetwork,
    },
    service::metric::{self, label},
    types::{ProfileName, Timestamp, TransactionId},
};

/// So many exchanges wait at most: some 1 MB.
const CAPACITY: usize = 256;
/// So many that are alike are kept one by one in a minute; the next are counted in the last of these.
pub const ALIKE: u32 = 8;
/// So many that were turned away at the door (429) are kept in a minute, of all addresses together: one for each address and profile.
pub const TURNED_AWAY: u32 = 8;
/// The ending of those.
const TOO_SOON: Ending = Ending::Http(429);
/// Kinds of exchanges that are told apart in a minute.
const KINDS: usize = 1024;
/// Fetches of capabilities and certificates that are remembered.
const FETCHES: usize = 1000;

/// Exchanges that wait to be written, and the last fetches of capabilities and CA certificates, which never are.
///
/// An address that sends the same again and again fills a few places a minute: what is beyond is counted in the last of them. Who is
/// turned away for asking too often sends much, and it costs nothing: of those few are kept. When the buffer is full, what comes is counted as dropped, for what came first tells how it began.
#[derive(Debug, Default)]
pub struct TraceBuffer {
    state: Mutex<State>,
    arrived: Condvar,
    /// One write at a time: what another one has taken and not recorded yet is in neither place.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Traced>,
    alike: BTreeMap<Kind, Tally>,
    fetches: VecDeque<Exchange>,
    /// The minute, and how many were turned away in it and kept.
    turned_away: (u64, u32),
    closed: bool,
}

/// What is alike: client, ending, for those that certgate knows the transaction, and for those that were turned away the profile.
type Kind = (String, &'static str, Option<TransactionId>, Option<ProfileName>);

#[derive(Debug)]
struct Tally {
    minute: u64,
    kept: u32,
    /// The last that was kept, with the number of those that were not.
    last: Exchange,
    /// Whether that number is to be written.
    changed: bool,
}

impl TraceBuffer {
    /// Adds one, or counts it.
    pub(in crate::service) fn add(&self, traced: Traced) {
        let mut state = self.lock();
        let outcome = state.add(traced);
        if let Some(outcome) = outcome {
            metrics::counter!(metric::TRACES_NOT_KEPT, label::OUTCOME => outcome).increment(1);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Remembers a fetch of capabilities or certificates.
    pub(in crate::service) fn fetched(&self, exchange: Exchange) {
        let mut state = self.lock();
        if state.fetches.len() >= FETCHES {
            state.fetches.pop_front();
        }
        state.fetches.push_back(exchange);
    }

    /// What was fetched, the newest first.
    pub(in crate::service) fn fetches(&self) -> Vec<Exchange> {
        self.lock().fetches.iter().rev().cloned().collect()
    }

    /// The right to [`TraceBuffer::take`] and to write what is taken, once nobody else is about it.
    pub(in crate::service) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that wait, with the counts that changed.
    pub(in crate::service) fn take(&self, now: Timestamp) -> Vec<Traced> {
        let mut state = self.lock();
        let mut taken: Vec<_> = std::mem::take(&mut state.waiting).into();
        for tally in state.alike.values_mut().filter(|tally| tally.changed) {
            tally.changed = false;
            // In place of the same exchange, which may be among those taken or written long since.
            taken.push(Traced { exchange: tally.last.clone(), transcript: None });
        }
        let minute = minute_of(now);
        state.alike.retain(|_, tally| tally.minute == minute);
        taken
    }

    /// Puts back what could not be written, as far as there is room.
    pub(in crate::service) fn put_back(&self, failed: Vec<Traced>) {
        let mut state = self.lock();
        for traced in failed.into_iter().rev() {
            if state.waiting.len() < CAPACITY {
                state.waiting.push_front(traced);
            } else {
                metrics::counter!(metric::TRACES_NOT_KEPT, label::OUTCOME => "dropped").increment(1);
            }
        }
    }

    /// Blocks for `pace`, and then until something waits; not at all once it is closed.
    pub(in crate::service) fn wait(&self, pace: Duration) {
        let state = self.lock();
        let (state, _) = self
            .arrived
            .wait_timeout_while(state, pace, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut State| {
            !state.closed && state.waiting.is_empty() && !state.alike.values().any(|tally| tally.changed)
        };
        drop(self.arrived.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends [`TraceBuffer::wait`], now and from now on.
    pub(in crate::service) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives what became of it, if it is not kept one by one.
    fn add(&mut self, traced: Traced) -> Option<&'static str> {
        let exchange = &traced.exchange;
        let minute = minute_of(exchange.at);
        let kind = kind_of(exchange);
        let turned_away = exchange.ending == TOO_SOON;
        let full = self.waiting.len() >= CAPACITY || (turned_away && !self.may_turn_away(minute));
        let alike = if turned_away { 1 } else { ALIKE };
        match self.alike.get_mut(&kind) {
            Some(tally) if tally.minute == minute && (tally.kept >= alike || full) => {
                tally.last.more = tally.last.more.saturating_add(1);
                tally.changed = true;
                return Some("merged");
            }
            _ if full => return Some("dropped"),
            Some(tally) => {
                if tally.changed {
                    self.waiting.push_back(Traced { exchange: tally.last.clone(), transcript: None });
                }
                let kept = if tally.minute == minute { tally.kept + 1 } else { 1 };
                *tally = Tally { minute, kept, last: exchange.clone(), changed: false };
            }
            None => {
                if self.alike.len() >= KINDS {
                    self.alike.retain(|_, tally| tally.changed || tally.minute == minute);
                }
                if self.alike.len() < KINDS {
                    let tally = Tally { minute, kept: 1, last: exchange.clone(), changed: false };
                    self.alike.insert(kind, tally);
                }
            }
        }
        if turned_away {
            self.turned_away.1 += 1;
        }
        self.waiting.push_back(traced);
        None
    }

    /// Whether one more of those that were turned away is kept in this minute.
    fn may_turn_away(&mut self, minute: u64) -> bool {
        if self.turned_away.0 != minute {
            self.turned_away = (minute, 0);
        }
        self.turned_away.1 < TURNED_AWAY
    }
}

fn kind_of(exchange: &Exchange) -> Kind {
    let transaction = exchange.transaction.clone().filter(|_| exchange.is_known());
    // Whoever has one address of an IPv6 network has them all.
    let address = exchange.address.parse::<IpAddr>();
    let client = address.map_or_else(|_| exchange.address.clone(), |it| ClientNetwork::from(it).to_string());
    let profile = exchange.profile.clone().filter(|_| exchange.ending == TOO_SOON);
    (client, Ending::as_str(exchange.ending), transaction, profile)
}

const fn minute_of(at: Timestamp) -> u64 {
    at.unix() / 60
}
