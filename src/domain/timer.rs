//! Timers: what is to be looked at once its time has come.
//!
//! A timer is set by the transaction that makes it necessary and decides nothing: when it fires, the rule is asked anew, in the
//! transaction that writes what follows. So a timer may come too early, twice, or for something that is gone.

use serde::{Deserialize, Serialize};

use crate::types::{CertificateId, DeviceId, IssuerId, Timestamp};

/// Something to look at, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Not before.
    pub at: Timestamp,
    /// What.
    pub subject: TimerSubject,
}

/// What a timer is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerSubject {
    /// A ticket of the device ends: it may be the last ([`super::challenge::has_run_out`]).
    TicketEnds {
        /// Whose.
        device: DeviceId,
    },
    /// The certificate that a renewal took the place of has been kept long enough beside the new one
    /// ([`super::certificate::Renewal::end_of_overlap`]).
    OverlapEnds {
        /// The new one.
        successor: CertificateId,
    },
    /// An announced CA takes the place of the one before it ([`super::rollover::Line::cut_over`]).
    CutOver {
        /// The announced one.
        successor: IssuerId,
    },
}
