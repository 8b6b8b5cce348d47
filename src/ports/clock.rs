//! The time of day.

use std::time::Duration;

use crate::types::Timestamp;

/// Tells the time. It need not be monotonic: an operator may set it back.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// The time since some moment in the past, by a clock that nobody sets: for how long something takes.
    fn elapsed(&self) -> Duration;
}
