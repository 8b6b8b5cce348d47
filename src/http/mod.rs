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
mod patience;
pub mod scep;
pub mod serve;
mod stall;

/// So much of what a client wrote stands in a line of the log.
const MAX_LOGGED: usize = 200;

/// The beginning of `text`, as much as is logged of it.
fn logged(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_LOGGED).map(|(end, _)| end);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}
