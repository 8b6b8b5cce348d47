//! What a test's own thread logs.

use std::{cell::RefCell, io, sync::Once};

thread_local! {
    /// What this thread has logged since it began to listen; `None` while it does not.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes into the log of the thread that logs.
struct ThreadLog;

impl io::Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.as_mut().map_or(Ok(bytes.len()), |log| log.write(bytes)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What this thread logs, at every level, while `work` is done.
///
/// The subscriber is the whole program's: of one that is a thread's own, `tracing` forgets events whose place another
/// thread passes first at that moment.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| ThreadLog)
            .init();
    });
    LOG.set(Some(Vec::new()));
    work();
    String::from_utf8(LOG.take().unwrap()).unwrap()
}
