//! The bridge from async to sync: a bounded pool of threads with a bounded line of waiters.
//!
//! Sync code waits (for the store's shared commit, for a signature); async code must not. [`Bridge::call`] hands a closure to the
//! pool and awaits its answer. When the line is full the call is shed at once, so that a storm ends in quick refusals and not
//! in time-outs. Enrolment and status have pools of their own: a storm of the one never slows the other.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
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
    state: Mutex<LineState>,
    arrived: Condvar,
}

#[derive(Default)]
struct LineState {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("name", &self.line.name).finish_non_exhaustive()
    }
}

impl Bridge {
    /// A pool named `name` (in metrics and thread names) of `workers` threads, with at most `waiters` calls in line.
    pub fn start(name: &'static str, workers: usize, waiters: usize) -> std::io::Result<Self> {
        let line = Arc::new(Line { name, bound: waiters, state: Mutex::default(), arrived: Condvar::new() });
        for number in 0..workers.max(1) {
            let line = Arc::clone(&line);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || line.work())?;
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
        self.line.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.line.arrived.notify_all();
    }
}

impl Line {
    fn enter(&self, job: Job) -> Result<(), BridgeError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() >= self.bound {
            metrics::counter!(metric::BRIDGE_SHED, label::POOL => self.name).increment(1);
            return Err(BridgeError::Shed);
        }
        state.waiting.push_back(job);
        drop(state);
        metrics::gauge!(metric::BRIDGE_WAITERS, label::POOL => self.name).increment(1.0);
        self.arrived.notify_one();
        Ok(())
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            metrics::gauge!(metric::BRIDGE_WAITERS, label::POOL => self.name).decrement(1.0);
            job();
        }
    }

    /// The next job; none once the pool is closed and the line is empty.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
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
        while bridge.line.state.lock().unwrap().waiting.is_empty() {
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
}
