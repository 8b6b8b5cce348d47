//! Answers that are asked for are signed anew before they are old, so that nobody waits for it; and others ahead of any question
//! ([`super::presign`]). One thread does both, so that they never take more than one processor; where it cannot keep up, whoever asks
//! has the answer signed, as ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Refusal, Why, cache::Entry};
use crate::{
    service::{Gateway, maintain::WorkSignal},
    types::Timestamp,
    wire::ocsp::CertId,
};

/// Between two looks at the cache, for a cache of this many answers; a larger one is looked at less often.
const SWEEP: Duration = Duration::from_secs(1);
const ANSWERS_PER_SWEEP: usize = 500_000;

/// After a sweep that comes so late, or before the last one, the clock was set or the machine slept.
const JUMP: Duration = Duration::from_secs(60);

/// Failures after which a sweep ends.
const MOST_FAILURES: usize = 10;

/// The worker's signal, and when it looked at the cache last.
#[derive(Debug, Default)]
pub struct Refreshing {
    signal: WorkSignal,
    swept_at: AtomicU64,
}

impl Gateway {
    /// Signs anew what is due, then some of what is to be signed ahead. Gives how long there is nothing to do.
    pub fn run_ocsp(&self) -> Duration {
        let now = self.now();
        let swept_at = Timestamp::from_unix(self.ocsp_refreshing.swept_at.load(Ordering::Relaxed));
        // A clock that was set back must not stop this.
        if now.since(swept_at) >= self.sweep_period() || now < swept_at {
            // Signers and CRLs may be due, and whoever renews them sleeps for a minute by another clock: until then it is tryLater.
            if now.since(swept_at) >= JUMP || now < swept_at {
                self.wake();
            }
            self.ocsp_refreshing.swept_at.store(now.unix(), Ordering::Relaxed);
            self.refresh_due(now);
        }
        if self.presign_some() { Duration::ZERO } else { SWEEP }
    }

    /// Blocks until woken or for `at_most`.
    pub fn wait_for_ocsp(&self, at_most: Duration) {
        self.ocsp_refreshing.signal.wait(at_most);
    }

    /// Wakes [`Gateway::wait_for_ocsp`].
    pub(in crate::service) fn wake_ocsp(&self) {
        self.ocsp_refreshing.signal.wake();
    }

    fn sweep_period(&self) -> Duration {
        let times = 1 + self.ocsp.answers() / ANSWERS_PER_SWEEP;
        SWEEP * u32::try_from(times).unwrap_or(u32::MAX)
    }

    /// What fails is left to whoever asks next: the old answer serves until then. Where much fails, so would the rest.
    fn refresh_due(&self, now: Timestamp) {
        let parts = (0..).map_while(|part| self.ocsp.due(part, now));
        let mut failures = Vec::new();
        for entry in parts.flatten() {
            failures.extend(self.refresh(&entry).err());
            if failures.len() >= MOST_FAILURES {
                break;
            }
        }
        if let Some(first) = failures.first() {
            let (number, reason) = (failures.len(), first.reason());
            tracing::warn!(number, reason, "ocsp: answers could not be signed anew yet; the old ones serve");
        }
    }

    fn refresh(&self, entry: &Arc<Entry>) -> Result<(), Refusal> {
        let Ok(cert_id) = CertId::from_der(entry.cert_id()) else {
            return Ok(());
        };
        let _turn = self.ocsp.signing_turn(cert_id.serial());
        if !self.ocsp.is_current(entry, cert_id.serial()) {
            return Ok(());
        }
        self.signed_and_remembered(entry.issuer(), &cert_id, Why::Refresh).map(drop)
    }
}
