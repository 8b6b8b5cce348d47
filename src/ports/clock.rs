//! The time of day.

use crate::types::Timestamp;

/// Tells the time. It need not be monotonic: an operator may set it back.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
