//! One timer for a connection, which is set anew when it ends and not with each request.
//!
//! hyper bounds the time for the head of each request with a timer of its own, which it drops when the head is there: a moment later,
//! nearly always. Setting a timer in the runtime and taking it out costs more than finding an OCSP answer. Here hyper's timers are only
//! times; the connection has one timer of the runtime for all of them, and who waits looks whether his own time has come when that ends.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::Timer;
use tokio::time::{Instant, Sleep, sleep_until};

/// What hyper takes the time of one connection from.
#[derive(Clone, Default)]
pub(super) struct Patience(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patience")
    }
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Until { end: Instant::now() + duration, patience: self.clone() })
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Until { end: deadline.into(), patience: self.clone() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

/// Ready at its end.
#[derive(Debug)]
struct Until {
    end: Instant,
    patience: Patience,
}

impl hyper::rt::Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.patience.0.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(self.end)));
        if self.end < timer.deadline() {
            timer.as_mut().reset(self.end);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= self.end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_time_ends_no_earlier_because_the_connection_waited_before() {
        let patience = Patience::default();
        let begin = Instant::now();
        assert!(timeout(SHORT, patience.sleep(LONG)).await.is_err(), "the head is there");
        patience.sleep_until((begin + SHORT + LONG).into()).await;
        assert!(begin.elapsed() >= SHORT + LONG, "not when the first one would have ended");
        patience.sleep(SHORT).await;
        assert!(begin.elapsed() >= SHORT * 2 + LONG);
    }

    #[tokio::test]
    async fn the_earlier_of_two_times_ends_first() {
        let patience = Patience::default();
        let mut late = patience.sleep(Duration::from_secs(60));
        assert!(timeout(Duration::ZERO, &mut late).await.is_err());
        tokio::select! {
            biased;
            () = late => panic!("the later one ended first"),
            () = patience.sleep(SHORT) => {}
        }
    }

    #[tokio::test]
    async fn the_later_of_two_times_ends_no_earlier() {
        let patience = Patience::default();
        let begin = Instant::now();
        let mut late = patience.sleep(LONG);
        assert!(timeout(Duration::ZERO, &mut late).await.is_err());
        patience.sleep(SHORT).await;
        late.await;
        assert!(begin.elapsed() >= LONG);
    }
}
