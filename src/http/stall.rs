//! A bound on peers that ask and then do not read, or read so slowly that their answer never ends.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// The slowest that an answer may be read, in bytes a second: what the slowest mobile networks still manage.
const LEAST_RATE: u64 = 2048;

/// A stream on which a write fails with `TimedOut` when the peer takes nothing for `limit`, or when the time that it let us wait is
/// more than `limit` and what [`LEAST_RATE`] allows for the bytes that it took: the answer is given up and the connection's slot is
/// free again. Only waiting counts, so an answer that is made slowly is nobody's fault. Reading is not bounded here.
#[derive(Debug)]
pub(super) struct StallBound<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits for the peer.
    stalled: Option<Stall>,
    /// How long writes have waited since the last flush.
    waited: Duration,
    /// Bytes that were taken since the last flush.
    taken: u64,
}

#[derive(Debug)]
struct Stall {
    since: Instant,
    ends: Pin<Box<Sleep>>,
}

impl<S> StallBound<S> {
    pub(super) const fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, stalled: None, waited: Duration::ZERO, taken: 0 }
    }

    fn bound<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            if let Some(stall) = self.stalled.take() {
                self.waited += stall.since.elapsed();
            }
            return progress;
        }
        let patience = self.patience();
        let stall = self
            .stalled
            .get_or_insert_with(|| Stall { since: Instant::now(), ends: Box::pin(sleep(patience)) });
        let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer");
        stall.ends.as_mut().poll(context).map(|()| Err(too_slow()))
    }

    /// How long the next write may wait.
    fn patience(&self) -> Duration {
        let allowed = self.limit + Duration::from_millis(self.taken.saturating_mul(1000) / LEAST_RATE);
        allowed.saturating_sub(self.waited).min(self.limit)
    }

    fn took(&mut self, progress: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = progress {
            self.taken = self.taken.saturating_add(*bytes as u64);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallBound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallBound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.took(&progress);
        self.bound(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.took(&progress);
        self.bound(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        let progress = self.bound(context, progress);
        if progress.is_ready() {
            // The answer, or the piece of one that was ready, is on its way: the next one has its own time.
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
        progress
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bound(context, progress)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(400);

    /// What becomes of an answer of `size` bytes that is read `piece` bytes at a time, with a pause before each.
    async fn answer(size: usize, piece: usize, pause: Duration) -> io::Result<()> {
        let (ours, mut theirs) = duplex(1024);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; piece];
            while theirs.read(&mut buffer).await.unwrap() > 0 {
                sleep(pause).await;
            }
        });
        let mut stream = StallBound::new(ours, LIMIT);
        let written = stream.write_all(&vec![0; size]).await;
        drop(stream);
        reader.abort();
        written
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything_and_a_hopeless_one_is_given_up() {
        let pause = Duration::from_millis(50);
        let (slow, hopeless, silent) = tokio::join!(
            answer(12_000, 500, pause),
            answer(12_000, 5, pause),
            answer(12_000, 500, LIMIT * 3)
        );
        assert!(slow.is_ok(), "10 kB a second: {slow:?}");
        assert_eq!(hopeless.unwrap_err().kind(), io::ErrorKind::TimedOut, "it moves, at 100 bytes a second");
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
