//! Implementations of the ports. Named only by `app`.

pub mod checkpoint;
pub mod crl_files;
pub mod directory;
pub mod intune;
pub mod keys;
pub mod outbound;
pub mod store;
pub mod system;
