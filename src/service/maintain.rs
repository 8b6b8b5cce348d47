//! What time brings: due jobs, renewals, scheduled CRLs.

use super::{Gateway, ServiceError};
use std::time::Duration;

/// Wakes the worker when there is something to do.
#[derive(Debug, Default)]
pub struct WorkSignal {}
impl Gateway {
    /// Does everything that is due: leased jobs, renewal of certgate's own certificates, scheduled CRLs. Gives how long until something is due next (at most 60 s).
    pub fn run_due(&self) -> Result<Duration, ServiceError> { todo!() }
    /// Blocks until woken by a change or for `at_most`.
    pub fn wait_for_work(&self, _at_most: Duration) { todo!() }
    /// Wakes [`Gateway::wait_for_work`] (also used at shutdown).
    pub fn wake(&self) { todo!() }
}
