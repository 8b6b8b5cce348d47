//! Pure decisions: no I/O, no clock, no randomness but what is passed in. The records that the store keeps
//! are defined beside the decisions about them.

pub mod access;
pub mod alarm;
pub mod alternate;
pub mod audit;
pub mod binding;
pub mod certificate;
pub mod challenge;
pub mod checkpoint;
pub mod client;
pub mod clock;
pub mod crl;
pub mod device;
mod digest;
pub mod directory;
pub mod enrol;
pub mod exchange;
pub mod import;
pub mod issuer;
pub mod key;
pub mod ndes;
pub mod profile;
pub mod queue;
pub mod responder;
pub mod restore;
pub mod retention;
pub mod rollover;
pub mod source;
pub mod status;
pub mod throttle;
pub mod timer;
pub mod user;
pub mod vouch;
