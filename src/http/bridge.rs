//! The bridge from async to sync: a bounded pool of threads with a bounded line of waiters.
//!
//! Sync code waits (for the store's shared commit, for a signature); async code must not. [`Bridge::call`] hands a closure to the
//! pool and awaits its answer. When the line is full the call is shed at once, so that a storm ends in quick refusals and not
//! in time-outs. Enrolment and status have pools of their own, so that nobody waits in the other's line, and the threads of enrolment
//! give way on the processors ([`Bridge::start_giving_way`]): a storm of enrolments does not slow the answers that gear waits for.
//!
//! A pool can have a second line ([`Lane::Side`]), with a bound of its own, for work that may come in any amount. While both have
//! waiters the threads take from them in turns, so that neither keeps the other waiting for longer than its own work takes.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::oneshot;
use tracing::Span;

use crate::service::metric::{self, label};

/// Why a call came back without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// The line of waiters is full: try again later.
    #[error("overloaded")]
    Shed,
    /// The closure panicked; the panic is in the log, the pool goes on.
    #[error("internal error")]
    Panicked,
}

type Job = Box<dyn FnOnce() + Send>;

/// How much nicer the threads that give way are than the process. Below 5 they keep a processor to the end of their slice, whoever
/// wakes; with 32 of them it takes 8. More would make whoever waits for the store's lock wait for one of them that does not get to run:
/// with 8 one alone has a seventh of a processor beside a thread that never waits.
const NICER: i32 = 8;

/// Where a call stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The line that every pool has.
    Main,
    /// The second one; where there is none, all of its calls are shed.
    Side,
}

/// A pool of threads for one kind of work. Dropping it lets the threads finish their jobs and end.
pub struct Bridge {
    pool: Arc<Pool>,
}

/// The jobs that wait for a thread.
struct Pool {
    /// Main and side line.
    lines: [Line; 2],
    state: Mutex<PoolState>,
    arrived: Condvar,
}

/// Who may wait in one.
#[derive(Clone, Copy)]
struct Line {
    /// In metrics.
    name: &'static str,
    bound: usize,
}

#[derive(Default)]
struct PoolState {
    waiting: [VecDeque<Job>; 2],
    /// The line whose turn it is while both have waiters.
    turn: usize,
    closed: bool,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("name", &self.pool.lines[0].name).finish_non_exhaustive()
    }
}

impl Bridge {
    /// A pool named `name` (in metrics and thread names) of `workers` threads, with at most `waiters` calls in line.
    pub fn start(name: &'static str, workers: usize, waiters: usize) -> std::io::Result<Self> {
        Self::start_with_side(name, workers, waiters, (name, 0))
    }

    /// The same with a second line, which has a name for metrics and a bound of its own.
    pub fn start_with_side(
        name: &'static str,
        workers: usize,
        waiters: usize,
        (side_name, side_waiters): (&'static str, usize),
    ) -> std::io::Result<Self> {
        let lines = [Line { name, bound: waiters }, Line { name: side_name, bound: side_waiters }];
        Self::spawn(lines, workers, || Ok(()))
    }

    /// [`Bridge::start`] for long computations: every other thread of the process goes first. Where the system forbids it, the pool
    /// works all the same, and a warning says so.
    pub fn start_giving_way(name: &'static str, workers: usize, waiters: usize) -> std::io::Result<Self> {
        let lines = [Line { name, bound: waiters }, Line { name, bound: 0 }];
        Self::spawn(lines, workers, give_way)
    }

    /// `prepare` runs first on each thread.
    fn spawn(
        lines: [Line; 2],
        workers: usize,
        prepare: fn() -> rustix::io::Result<()>,
    ) -> std::io::Result<Self> {
        let name = lines[0].name;
        for line in &lines {
            metrics::counter!(metric::BRIDGE_SHED, label::POOL => line.name).increment(0);
        }
        let pool = Arc::new(Pool { lines, state: Mutex::default(), arrived: Condvar::new() });
        for number in 0..workers.max(1) {
            let pool = Arc::clone(&pool);
            let work = move || {
                if let Err(error) = prepare()
                    && number == 0
                {
                    tracing::warn!(pool = name, %error, "its threads cannot give way to others: allow setpriority");
                }
                pool.work();
            };
            thread::Builder::new().name(format!("{name}-{number}")).spawn(work)?;
        }
        Ok(Self { pool })
    }

    /// Runs `work` on the pool, in the current tracing span, and gives its answer.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BridgeError> {
        self.call_in(Lane::Main, work).await
    }

    /// [`Bridge::call`], from this line.
    pub async fn call_in<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BridgeError> {
        let (answer, answered) = oneshot::channel();
        let span = Span::current();
        let job = Box::new(move || {
            let outcome = span.in_scope(|| catch_unwind(AssertUnwindSafe(work)));
            // The caller may have hung up; the work was done all the same.
            drop(answer.send(outcome.map_err(|_| BridgeError::Panicked)));
        });
        self.pool.enter(lane, job)?;
        answered.await.unwrap_or(Err(BridgeError::Panicked))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.pool.lock().closed = true;
        self.pool.arrived.notify_all();
    }
}

/// Makes the calling thread nicer: Linux knows a niceness for each.
fn give_way() -> rustix::io::Result<()> {
    setpriority_process(None, getpriority_process(None)? + NICER)
}

impl Pool {
    fn enter(&self, lane: Lane, job: Job) -> Result<(), BridgeError> {
        let Line { name, bound } = self.lines[lane as usize];
        let mut state = self.lock();
        if state.waiting[lane as usize].len() >= bound {
            metrics::counter!(metric::BRIDGE_SHED, label::POOL => name).increment(1);
            return Err(BridgeError::Shed);
        }
        state.waiting[lane as usize].push_back(job);
        drop(state);
        metrics::gauge!(metric::BRIDGE_WAITERS, label::POOL => name).increment(1.0);
        self.arrived.notify_one();
        Ok(())
    }

    fn work(&self) {
        while let Some((line, job)) = self.next() {
            metrics::gauge!(metric::BRIDGE_WAITERS, label::POOL => self.lines[line].name).decrement(1.0);
            job();
        }
    }

    /// The next job with its line; none once the pool is closed and the lines are empty.
    fn next(&self) -> Option<(usize, Job)> {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.next() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn next(&mut self) -> Option<(usize, Job)> {
        let line = if self.waiting[self.turn].is_empty() { 1 - self.turn } else { self.turn };
        let job = self.waiting[line].pop_front()?;
        self.turn = 1 - line;
        Some((line, job))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn gives_the_answer_of_the_closure() {
        let bridge = Bridge::start("test", 2, 8).unwrap();
        assert_eq!(bridge.call(|| 6 * 7).await, Ok(42));
    }

    #[tokio::test]
    async fn sheds_when_the_line_is_full() {
        let bridge = Arc::new(Bridge::start("test", 1, 1).unwrap());
        let (release, hold) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let busy = tokio::spawn({
            let bridge = Arc::clone(&bridge);
            async move {
                bridge
                    .call(move || {
                        started.send(()).unwrap();
                        hold.recv().unwrap();
                    })
                    .await
            }
        });
        has_started.await.unwrap();
        let waiting = tokio::spawn({
            let bridge = Arc::clone(&bridge);
            async move { bridge.call(|| "waited").await }
        });
        while bridge.pool.lock().waiting[0].is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bridge.call(|| "too many").await, Err(BridgeError::Shed));
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(()));
        assert_eq!(waiting.await.unwrap(), Ok("waited"));
    }

    #[tokio::test]
    async fn survives_a_panic_in_a_closure() {
        let bridge = Bridge::start("test", 1, 8).unwrap();
        assert_eq!(bridge.call(|| panic!("on purpose")).await, Err(BridgeError::Panicked));
        assert_eq!(bridge.call(|| "still here").await, Ok("still here"));
    }

    #[tokio::test]
    async fn threads_of_a_pool_that_gives_way_are_nicer_than_others() {
        let niceness = || getpriority_process(None).unwrap();
        let usual = Bridge::start("test", 1, 8).unwrap().call(niceness).await.unwrap();
        let nicer = Bridge::start_giving_way("test", 1, 8).unwrap().call(niceness).await.unwrap();
        assert_eq!((usual, nicer), (niceness(), (niceness() + NICER).min(19)));
    }

    /// A pool of one thread that is busy until the sender is dropped.
    async fn busy() -> (Arc<Bridge>, mpsc::Sender<()>) {
        let bridge = Arc::new(Bridge::start_with_side("test", 1, 100, ("side", 100)).unwrap());
        let (release, hold) = mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let holder = Arc::clone(&bridge);
        tokio::spawn(async move {
            let hold = move || {
                started.send(()).unwrap();
                assert!(hold.recv().is_err(), "the sender was dropped");
            };
            holder.call_in(Lane::Side, hold).await
        });
        has_started.await.unwrap();
        (bridge, release)
    }

    #[tokio::test]
    async fn neither_line_keeps_the_other_waiting() {
        let (bridge, release) = busy().await;
        let (done, order) = mpsc::channel();
        let call = |lane, what| {
            let (bridge, done) = (Arc::clone(&bridge), done.clone());
            tokio::spawn(async move { bridge.call_in(lane, move || done.send(what).unwrap()).await })
        };
        let mut calls: Vec<_> = (0..6).map(|_| call(Lane::Side, "side")).collect();
        while bridge.pool.lock().waiting[1].len() < 6 {
            tokio::task::yield_now().await;
        }
        calls.extend((0..2).map(|_| call(Lane::Main, "main")));
        while bridge.pool.lock().waiting[0].len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(release);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        drop(done);
        let order: Vec<_> = order.try_iter().collect();
        assert_eq!(order, ["main", "side", "main", "side", "side", "side", "side", "side"]);
    }

    #[tokio::test]
    async fn a_full_side_line_sheds_and_the_main_line_is_open() {
        let bridge = Bridge::start("test", 1, 8).unwrap();
        assert_eq!(bridge.call_in(Lane::Side, || "never").await, Err(BridgeError::Shed));
        assert_eq!(bridge.call(|| "served").await, Ok("served"));
    }
}
