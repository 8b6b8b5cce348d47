//! The edges: what the network sees. Async here, synchronous below; [`bridge`] is the only crossing.
//!
//! | file | listener |
//! |---|---|
//! | [`device`] | devices and network gear: routes to [`scep`], [`ocsp`], [`crl`] |
//! | [`api`] | administration, over HTTPS and the local socket |
//! | [`challenge`] | NDES's page and the challenge webhook, beside the API |
//! | [`ops`] | metrics and health |
//! | [`forwarded`] | whose request it is when a proxy stands between |
//! | [`crowd`] | how many connections one client may have |
//! | [`conditional`] | 304 for who has it already |
//! | [`serve`] | accepting, limiting and draining connections, the same for all |
//! | [`outflow`] | long answers, written by a thread and sent piece by piece |
//! | [`stall`] | gives up answers that the peer does not read |

pub mod api;
pub mod bridge;
pub mod challenge;
mod conditional;
pub mod crl;
mod crowd;
pub mod device;
pub mod forwarded;
pub mod ocsp;
pub mod ops;
mod outflow;
mod partial;
pub mod scep;
pub mod serve;
mod stall;
