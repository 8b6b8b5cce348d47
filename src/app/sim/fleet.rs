//! Many workers beside each other: at a rate, until everything is done, the time is over, or somebody stops it.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{tally::lock, too_many};
use crate::app::{
    cli::output::note,
    failure::{Failure, Outcome},
    serve::next_signal,
};

/// Exit code after a second Ctrl-C: what shells give a process that a SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Somebody wants it to end. Whoever waits wakes up.
#[derive(Debug, Default)]
pub(super) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *lock(&self.set) = true;
        self.changed.notify_all();
    }

    /// Whether it is to end.
    pub(super) fn is_set(&self) -> bool {
        *lock(&self.set)
    }

    /// Waits. False: it is to end.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let guard = lock(&self.set);
        let waited = self.changed.wait_timeout_while(guard, time, |set| !*set);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The first signal lets nothing new begin; the second ends the process.
pub(super) fn stop_on_signals(stop: &Arc<Stop>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::error)?;
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        runtime.block_on(async {
            if next_signal().await.is_ok() {
                stop.set();
                note("\nending: what has begun is finished, then comes the summary. Once more ends at once.");
                if next_signal().await.is_ok() {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    });
    Ok(())
}

/// Work for numbers from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drive<'a> {
    /// What the numbers count, for people.
    pub(super) doing: &'static str,
    /// How many numbers.
    pub(super) count: u32,
    /// How many are at work at the same time.
    pub(super) workers: usize,
    /// How many begin in a second.
    pub(super) rate: Option<f64>,
    /// None begins after this time.
    pub(super) until: Option<Duration>,
    /// None begins after this was set.
    pub(super) stop: &'a Stop,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Driven {
    /// How many began.
    pub(super) begun: u32,
    /// How many went all right.
    pub(super) right: u32,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// How long after its time the latest began: the rate was more than the workers could do.
    pub(super) late: Duration,
}

/// What the workers share.
struct Shared {
    since: Instant,
    next: AtomicU32,
    late: AtomicU64,
}

impl Drive<'_> {
    /// Does `work` for each number, on workers that `worker` makes; it gives whether all went right.
    pub(super) fn run<W: Send>(
        &self,
        worker: impl Fn() -> Outcome<W>,
        work: impl Fn(&W, u32) -> bool + Sync,
    ) -> Outcome<Driven> {
        let workers = self.workers.clamp(1, usize::try_from(self.count.max(1)).unwrap_or(usize::MAX));
        let workers = (0..workers).map(|_| worker()).collect::<Outcome<Vec<W>>>()?;
        #[expect(clippy::disallowed_methods, reason = "only the process measures, and this is it")]
        let shared = Shared { since: Instant::now(), next: AtomicU32::new(0), late: AtomicU64::new(0) };
        let (sender, results) = mpsc::channel();
        let (right, begun) = thread::scope(|scope| -> Outcome<(u32, u32)> {
            for worker in workers {
                let (sender, shared, work) = (sender.clone(), &shared, &work);
                thread::Builder::new()
                    .spawn_scoped(scope, move || self.labour(shared, &sender, |number| work(&worker, number)))
                    .map_err(|error| {
                        // Those that are there already begin nothing more.
                        shared.next.store(self.count, Ordering::Relaxed);
                        too_many(error)
                    })?;
            }
            drop(sender);
            Ok(self.watch(&results, shared.since))
        })?;
        let late = Duration::from_micros(shared.late.into_inner());
        Ok(Driven { begun, right, elapsed: shared.since.elapsed(), late })
    }

    fn labour(&self, shared: &Shared, results: &Sender<bool>, work: impl Fn(u32) -> bool) {
        loop {
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count || !self.wait_for_turn(shared, number) {
                return;
            }
            if results.send(work(number)).is_err() {
                return;
            }
        }
    }

    /// False: it is not to begin any more.
    fn wait_for_turn(&self, shared: &Shared, number: u32) -> bool {
        let due = self.rate.map_or(Duration::ZERO, |rate| due(number, rate));
        let now = shared.since.elapsed();
        if self.until.is_some_and(|until| due.max(now) >= until) {
            return false;
        }
        if self.rate.is_some() {
            let late = u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX);
            shared.late.fetch_max(late, Ordering::Relaxed);
        }
        match due.checked_sub(now) {
            Some(wait) if !wait.is_zero() => self.stop.sleep(wait),
            _ => !self.stop.is_set(),
        }
    }

    /// Counts the results until the last worker has gone, and shows how far it is.
    fn watch(&self, results: &Receiver<bool>, since: Instant) -> (u32, u32) {
        let mut progress = Progress::new(self.doing, self.count);
        let (mut right, mut done) = (0, 0);
        loop {
            match results.recv_timeout(Duration::from_millis(200)) {
                Ok(went_right) => {
                    done += 1;
                    right += u32::from(went_right);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show(done, done - right, since.elapsed());
        }
        progress.end();
        (right, done)
    }
}

/// When the number's turn is, at so many in a second.
fn due(number: u32, rate: f64) -> Duration {
    Duration::try_from_secs_f64(f64::from(number) / rate).unwrap_or(Duration::MAX)
}

/// How far it is: one line that is written over on a terminal, else a line now and then.
struct Progress {
    doing: &'static str,
    count: u32,
    is_terminal: bool,
    shown: Duration,
}

impl Progress {
    fn new(doing: &'static str, count: u32) -> Self {
        Self { doing, count, is_terminal: io::stderr().is_terminal(), shown: Duration::ZERO }
    }

    fn show(&mut self, done: u32, failed: u32, elapsed: Duration) {
        let pause = if self.is_terminal { Duration::from_millis(200) } else { Duration::from_secs(5) };
        if elapsed.saturating_sub(self.shown) < pause {
            return;
        }
        self.shown = elapsed;
        let rate = f64::from(done) / elapsed.as_secs_f64();
        let text = format!("{done} of {} {}, {rate:.0}/s, {failed} with a failure", self.count, self.doing);
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r{text:<70}");
        } else {
            note(&text);
        }
    }

    /// Takes the line away.
    fn end(&self) {
        if self.is_terminal && !self.shown.is_zero() {
            let _ = write!(io::stderr().lock(), "\r{:<70}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(count: u32, stop: &Stop) -> Drive<'_> {
        Drive { doing: "tests", count, workers: 3, rate: None, until: None, stop }
    }

    #[test]
    fn every_number_has_its_turn_once() {
        let (seen, stop) = (Mutex::new(Vec::new()), Stop::default());
        let driven = drive(100, &stop)
            .run(
                || Ok(()),
                |(), number| {
                    lock(&seen).push(number);
                    number % 10 != 0
                },
            )
            .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!((driven.begun, driven.right), (100, 90));
    }

    #[test]
    fn turns_come_at_the_rate() {
        assert_eq!(due(0, 50.0), Duration::ZERO);
        assert_eq!(due(100, 50.0), Duration::from_secs(2));
        assert_eq!(due(u32::MAX, f64::MIN_POSITIVE), Duration::MAX);
        let stop = Stop::default();
        let driven = Drive { rate: Some(100.0), ..drive(11, &stop) }.run(|| Ok(()), |(), _| true).unwrap();
        assert!(
            driven.elapsed >= Duration::from_millis(100),
            "the eleventh begins after a tenth of a second"
        );
        assert_eq!(driven.begun, 11);
    }

    #[test]
    fn nothing_begins_after_its_time() {
        let stop = Stop::default();
        let until = Some(Duration::from_millis(50));
        let driven =
            Drive { rate: Some(100.0), until, ..drive(1000, &stop) }.run(|| Ok(()), |(), _| true).unwrap();
        assert!(driven.begun <= 5, "{driven:?}");
    }

    #[test]
    fn a_stop_wakes_those_who_wait_and_lets_nothing_begin() {
        let stop = Stop::default();
        let driven = Drive { rate: Some(0.01), ..drive(10, &stop) }
            .run(
                || Ok(()),
                |(), _| {
                    stop.set();
                    true
                },
            )
            .unwrap();
        assert_eq!(driven.begun, 1, "the second would begin after 100 seconds");
        assert!(driven.elapsed < Duration::from_secs(50));
        assert!(!stop.sleep(Duration::from_secs(50)));
    }
}
