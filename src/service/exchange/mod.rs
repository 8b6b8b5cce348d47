//! The trace of SCEP exchanges: what is kept of each request and its answer.
//!
//! An exchange that writes to the store anyway (a certificate, a pending enrolment, a recorded refusal) is written in the same
//! transaction. Every other one goes through a [`TraceBuffer`], which is written by and by: a flood of junk is no flood of commits. What
//! is in the buffer when the process is killed (a second's worth) is lost; what was issued never is.
//!
//! **Bounds.** At most `scep.trace-entries` are kept, for at most `scep.trace-days`; what comes from strangers (no ticket, device or
//! certificate of ours) has half of the places, so that junk displaces junk. Maintenance removes the oldest in small steps. GetCACaps
//! and GetCACert are counted, and the last thousand are remembered in memory for the listing of an address; they are not written.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | keeping, writing, pruning |
//! | `buffer` | what waits to be written |
//! | `view` | what operators see |

mod buffer;
mod view;

pub use buffer::{ALIKE, TURNED_AWAY, TraceBuffer};
pub use view::{EndingFilter, ExchangeFilter, TraceView};

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    Gateway, ServiceError,
    scep::{Origin, Trail},
};
use crate::{
    domain::exchange::{Exchange, Operation, Transcript, Unanswered},
    ports::{Tx, store::StoreResult},
    types::{ProfileName, Timestamp},
};

/// Removed per transaction.
const PRUNE_BATCH: usize = 500;
/// Transactions per round.
const PRUNE_BATCHES: usize = 64;
/// Between two rounds.
const PRUNE_PERIOD: Duration = Duration::from_secs(60);

/// An exchange with its transcript.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub(super) exchange: Exchange,
    pub(super) transcript: Option<Transcript>,
}

impl Traced {
    /// Of a stranger's transcript only a little is kept.
    pub(super) fn new(exchange: Exchange, transcript: Option<Transcript>) -> Self {
        let known = exchange.is_known();
        let transcript = transcript.map(|it| if known { it } else { it.brief() });
        Self { exchange, transcript }
    }

    /// Writes it.
    pub(super) fn put(&self, tx: &mut dyn Tx) -> StoreResult<()> {
        tx.put_exchange(&self.exchange, self.transcript.as_ref())
    }
}

impl Gateway {
    /// Opens the notes of a request that has just come.
    pub(super) fn trail(
        &self,
        origin: &Origin,
        profile: Option<&ProfileName>,
        operation: Operation,
    ) -> Trail {
        Trail::begin(origin, profile, operation, self.now(), &self.settings.trace)
    }

    /// Keeps what was noted, unless it was written already.
    pub(super) fn keep(&self, trail: Trail) {
        if let Some(traced) = trail.finish() {
            self.traces.add(traced);
        }
    }

    /// Remembers that capabilities or certificates were fetched.
    pub fn fetched(&self, origin: &Origin, profile: &ProfileName, operation: Operation) {
        if let Some(traced) = self.trail(origin, Some(profile), operation).finish() {
            self.traces.fetched(traced.exchange);
        }
    }

    /// Keeps that a request was not answered with a CertRep, or not even read.
    pub fn not_answered(
        &self,
        origin: &Origin,
        profile: Option<&ProfileName>,
        operation: Operation,
        why: &Unanswered,
    ) {
        let trail = self.trail(origin, profile, operation);
        trail.unanswered(why);
        self.keep(trail);
    }

    /// Writes the traces that wait, in one transaction, once those are recorded that somebody else is writing. What cannot be written waits
    /// on, as far as there is room.
    pub fn write_traces(&self) -> Result<(), ServiceError> {
        let _writing = self.traces.writing();
        let taken = self.traces.take(self.now());
        if taken.is_empty() {
            return Ok(());
        }
        let written = self.ports.store.write(|tx| taken.iter().try_for_each(|traced| traced.put(tx)));
        if written.is_err() {
            self.traces.put_back(taken);
        }
        Ok(written?)
    }

    /// Blocks for `pace`, and then until a trace waits to be written; not at all once traces are closed.
    pub fn wait_for_traces(&self, pace: Duration) {
        self.traces.wait(pace);
    }

    /// Nobody is to wait for traces any more: the process ends.
    pub fn close_traces(&self) {
        self.traces.close();
    }

    /// Removes what is too old, by the time that is believed, or too much, once a minute; and writes what waits.
    pub(super) fn prune_traces(&self) -> Result<(), ServiceError> {
        self.write_traces()?;
        let now = self.believed_now();
        let last = Timestamp::from_unix(self.pruned_at.load(Ordering::Relaxed));
        if now >= last && now.since(last) < PRUNE_PERIOD {
            return Ok(());
        }
        self.pruned_at.store(now.unix(), Ordering::Relaxed);
        let trace = &self.settings.trace;
        let (oldest, oldest_transcript) = (now.minus(trace.keep), now.minus(trace.keep_transcripts));
        let most = if trace.is_on() { trace.entries as u64 } else { 0 };
        let most = (most, most / 2);
        for _ in 0..PRUNE_BATCHES {
            let pruned = self.ports.store.write(|tx| {
                let exchanges = tx.prune_exchanges(oldest, most, PRUNE_BATCH)?;
                let transcripts = tx.prune_transcripts(oldest_transcript, PRUNE_BATCH)?;
                Ok::<_, ServiceError>(exchanges + transcripts)
            })?;
            if pruned == 0 {
                break;
            }
        }
        Ok(())
    }
}
