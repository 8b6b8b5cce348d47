//! The machine's clock and random source.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::{
    ports::{Clock, Random},
    types::Timestamp,
};

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the ambient clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix(since.as_secs())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the ambient clock")]
    fn elapsed(&self) -> Duration {
        static SINCE: LazyLock<Instant> = LazyLock::new(Instant::now);
        SINCE.elapsed()
    }
}

/// AWS-LC's random source, seeded by the operating system.
#[derive(Debug, Default)]
pub struct SystemRandomSource(SystemRandom);

impl Random for SystemRandomSource {
    #[expect(
        clippy::expect_used,
        reason = "AWS-LC aborts the process rather than fail here; going on without randomness is not an option"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("the system's random source works");
    }
}
