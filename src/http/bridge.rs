//! The bridge from async to sync: a bounded pool of threads with a bounded line of waiters.
//!
//! Sync code waits (for the store's shared commit, for a signature); async code must not. [`Bridge::call`] hands a closure to the
//! pool and awaits its answer. When the line is full the call is shed at once, so that a storm ends in quick refusals and not
//! in time-outs. Enrolment and status have pools of their own: a storm of the one never slows the other.
//!
//! **Turns.** A pool may have fewer turns than threads: then no more than that compute at a time, and [`aside`] gives a thread's turn to
//! another while it waits, for a commit that it shares or for another party.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

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

/// A pool of threads for one kind of work. Dropping it lets the threads finish their jobs and end.
pub struct Bridge {
    line: Arc<Line>,
}

/// The jobs that wait for a thread.
struct Line {
    name: &'static str,
    bound: usize,
    /// How many threads may compute at the same time.
    turns: usize,
    state: Mutex<LineState>,
    /// A job can be begun.
    arrived: Condvar,
    /// A thread that was [`aside`] can go on.
    returned: Condvar,
}

#[derive(Default)]
struct LineState {
    waiting: VecDeque<Job>,
    /// Threads that have a turn.
    running: usize,
    /// Threads that were [`aside`] and want a turn again. They come before jobs that have not begun.
    returning: usize,
    closed: bool,
}

thread_local! {
    /// The pool that this thread is one of.
    static POOL: RefCell<Option<Arc<Line>>> = const { RefCell::new(None) };
}

/// Does what mostly waits (a commit), and meanwhile lets another thread of this one's pool compute. On a thread of no pool it is just done.
pub fn aside<T>(wait: impl FnOnce() -> T) -> T {
    /// Also where `wait` panics: the turn is counted again before the thread goes on unwinding.
    struct Return(Arc<Line>);
    impl Drop for Return {
        fn drop(&mut self) {
            self.0.rejoin();
        }
    }
    let Some(line) = POOL.with_borrow(Clone::clone) else { return wait() };
    line.leave();
    let _return = Return(line);
    wait()
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("name", &self.line.name).finish_non_exhaustive()
    }
}

impl Bridge {
    /// A pool named `name` (in metrics and thread names) of `workers` threads, of which at most `turns` compute at a time, with at
    /// most `waiters` calls in line.
    pub fn start(name: &'static str, workers: usize, turns: usize, waiters: usize) -> std::io::Result<Self> {
        let line = Arc::new(Line {
            name,
            bound: waiters,
            turns: turns.max(1),
            state: Mutex::default(),
            arrived: Condvar::new(),
            returned: Condvar::new(),
        });
        for number in 0..workers.max(1) {
            let line = Arc::clone(&line);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || Line::work(&line))?;
        }
        Ok(Self { line })
    }

    /// Runs `work` on the pool, in the current tracing span, and gives its answer.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BridgeError> {
        let (answer, answered) = oneshot::channel();
        let span = Span::current();
        let job = Box::new(move || {
            let outcome = span.in_scope(|| catch_unwind(AssertUnwindSafe(work)));
            // The caller may have hung up; the work was done all the same.
            drop(answer.send(outcome.map_err(|_| BridgeError::Panicked)));
        });
        self.line.enter(job)?;
        answered.await.unwrap_or(Err(BridgeError::Panicked))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.line.lock().closed = true;
        self.line.arrived.notify_all();
    }
}

impl Line {
    fn enter(&self, job: Job) -> Result<(), BridgeError> {
        let mut state = self.lock();
        if state.waiting.len() >= self.bound {
            metrics::counter!(metric::BRIDGE_SHED, label::POOL => self.name).increment(1);
            return Err(BridgeError::Shed);
        }
        state.waiting.push_back(job);
        self.pass_on(&state);
        drop(state);
        metrics::gauge!(metric::BRIDGE_WAITERS, label::POOL => self.name).increment(1.0);
        Ok(())
    }

    fn work(line: &Arc<Self>) {
        POOL.set(Some(Arc::clone(line)));
        while let Some(job) = line.begin() {
            metrics::gauge!(metric::BRIDGE_WAITERS, label::POOL => line.name).decrement(1.0);
            job();
            line.leave();
        }
    }

    /// The next job, with a turn; none once the pool is closed and the line is empty.
    fn begin(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.running < self.turns
                && state.returning == 0
                && let Some(job) = state.waiting.pop_front()
            {
                state.running += 1;
                self.pass_on(&state);
                return Some(job);
            }
            if state.closed && state.waiting.is_empty() {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the turn back.
    fn leave(&self) {
        let mut state = self.lock();
        state.running -= 1;
        self.pass_on(&state);
    }

    /// Waits for a turn to go on.
    fn rejoin(&self) {
        let mut state = self.lock();
        state.returning += 1;
        while state.running >= self.turns {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.returning -= 1;
        state.running += 1;
        self.pass_on(&state);
    }

    /// Wakes whoever a free turn is for. Every change of the state ends here, so that no turn stays free beside somebody who waits.
    fn pass_on(&self, state: &LineState) {
        if state.closed && state.waiting.is_empty() {
            self.arrived.notify_all();
        }
        if state.running >= self.turns {
            return;
        }
        if state.returning > 0 {
            self.returned.notify_one();
        } else if !state.waiting.is_empty() {
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    #[tokio::test]
    async fn gives_the_answer_of_the_closure() {
        let bridge = Bridge::start("test", 2, 2, 8).unwrap();
        assert_eq!(bridge.call(|| 6 * 7).await, Ok(42));
    }

    #[tokio::test]
    async fn sheds_when_the_line_is_full() {
        let bridge = Arc::new(Bridge::start("test", 1, 1, 1).unwrap());
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
        while bridge.line.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bridge.call(|| "too many").await, Err(BridgeError::Shed));
        release.send(()).unwrap();
        assert_eq!(busy.await.unwrap(), Ok(()));
        assert_eq!(waiting.await.unwrap(), Ok("waited"));
    }

    #[tokio::test]
    async fn survives_a_panic_in_a_closure() {
        let bridge = Bridge::start("test", 1, 1, 8).unwrap();
        assert_eq!(bridge.call(|| panic!("on purpose")).await, Err(BridgeError::Panicked));
        assert_eq!(bridge.call(|| "still here").await, Ok("still here"));
    }

    /// A job that says that it began, waits for leave to go on, and says so.
    fn meeting() -> (mpsc::Receiver<()>, mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (began, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        (has_begun, go_on, move || {
            began.send(()).unwrap();
            may_go_on.recv().unwrap();
        })
    }

    fn spawn(bridge: &Arc<Bridge>, work: impl FnOnce() + Send + 'static) -> tokio::task::JoinHandle<()> {
        let bridge = Arc::clone(bridge);
        tokio::spawn(async move { bridge.call(work).await.unwrap() })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_threads_compute_than_there_are_turns() {
        let bridge = Arc::new(Bridge::start("test", 8, 2, 64).unwrap());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs: Vec<_> = (0..64)
            .map(|_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                spawn(&bridge, move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    aside(thread::yield_now);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    now.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for job in jobs {
            job.await.unwrap();
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_aside_leaves_the_turn_to_another_and_comes_before_those_that_have_not_begun() {
        let bridge = Arc::new(Bridge::start("test", 4, 1, 8).unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let (waits, come_back, wait) = meeting();
        let first = spawn(&bridge, {
            let order = Arc::clone(&order);
            move || {
                aside(wait);
                order.lock().unwrap().push("first");
            }
        });
        waits.recv().unwrap();
        let (computes, finish, compute) = meeting();
        let second = spawn(&bridge, compute);
        computes.recv().expect("the turn of the first is free");
        let third = spawn(&bridge, {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push("third")
        });
        come_back.send(()).unwrap();
        while bridge.line.lock().returning == 0 || bridge.line.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(order.lock().unwrap().is_empty(), "the only turn is taken");
        finish.send(()).unwrap();
        for job in [first, second, third] {
            job.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["first", "third"]);
    }

    #[tokio::test]
    async fn a_panic_aside_costs_no_turn() {
        let bridge = Bridge::start("test", 2, 1, 8).unwrap();
        for _ in 0..3 {
            assert_eq!(bridge.call(|| aside(|| panic!("on purpose"))).await, Err(BridgeError::Panicked));
        }
        assert_eq!(bridge.call(|| aside(|| "still here")).await, Ok("still here"));
    }

    #[test]
    fn a_thread_of_no_pool_has_no_turn_to_give() {
        assert_eq!(aside(|| 42), 42);
    }
}
