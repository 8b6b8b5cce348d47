//! A long answer, made on a thread of its own: sync code writes, the connection takes it piece by piece.
//!
//! This is the bridge the other way round. It is not run on the bridge's pools because it may take minutes; whoever uses it sees
//! to it that only a few run.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// Bytes that are handed over together.
const PIECE: usize = 64 * 1024;
/// Pieces that may wait for the peer; the writer waits for the rest.
const WAITING: usize = 4;

/// The body of the answer. It ends with an error where the writer failed: the peer sees a broken connection, not a short answer.
#[derive(Debug)]
pub(super) struct Outflow(mpsc::Receiver<io::Result<Bytes>>);

/// Starts a thread named `name` that runs `work`; what that writes is the body. When nobody reads any more, writing fails.
pub(super) fn outflow(
    name: &'static str,
    work: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> io::Result<Outflow> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let span = tracing::Span::current();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _entered = span.enter();
        let mut pieces = Pieces { sender, buffer: Vec::with_capacity(PIECE) };
        if let Err(error) = work(&mut pieces).and_then(|()| pieces.flush()) {
            tracing::error!(%error, "a long answer broke off");
            // Nobody may be there to be told.
            let _ = pieces.sender.blocking_send(Err(error));
        }
    })?;
    Ok(Outflow(receiver))
}

struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(bytes.split_at(taken).0);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the peer is gone");
        self.sender.blocking_send(Ok(piece.into())).map_err(gone)
    }
}

impl Body for Outflow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_order_whatever_its_size() {
        let content: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let expected = content.clone();
        let body = outflow("test", move |out| out.write_all(&content)).unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
    }

    #[tokio::test]
    async fn a_writer_that_fails_breaks_the_answer() {
        let body = outflow("test", |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("the disk is gone"))
        });
        assert!(body.unwrap().collect().await.is_err());
    }

    #[tokio::test]
    async fn a_writer_ends_when_nobody_reads() {
        let (told, ended) = tokio::sync::oneshot::channel();
        let body = outflow("test", move |out| {
            let endless = (0..).try_for_each(|_: u32| out.write_all(&[0; 4096]));
            told.send(()).unwrap();
            endless
        });
        drop(body);
        ended.await.unwrap();
    }
}
