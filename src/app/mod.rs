//! The process: command line, configuration, wiring, workers, telemetry, systemd.
//!
//! | file | what |
//! |---|---|
//! | [`cli`] | the command line, one file per noun |
//! | [`client`] | certgate as a client: HTTP, SCEP, OCSP |
//! | [`conformance`] | black-box checks of any SCEP server or OCSP responder, by RFC section |
//! | [`config`], `document` | the configuration file as written, and where in it each mistake is |
//! | [`settings`] | the configuration as checked |
//! | [`backup`] | backups, and what comes out of them |
//! | [`import`] | what another CA issued and revoked, taken over |
//! | [`init`] | a new data directory |
//! | [`serve`] | wiring, listeners, workers, shutdown |
//! | [`quickstart`] | all of it in one command |
//! | [`sim`] | a fleet of simulated devices |
//! | [`telemetry`], [`systemd`] | logs and metrics; sockets, readiness, watchdog |
//! | [`failure`] | how a command ends when it does not succeed |

pub mod backup;
pub mod cli;
pub mod client;
pub mod config;
pub mod conformance;
mod document;
pub mod failure;
pub mod import;
pub mod init;
pub mod quickstart;
pub mod serve;
pub mod settings;
pub mod sim;
pub mod systemd;
pub mod telemetry;

pub use cli::main;
