//! The process: command line, configuration, wiring, workers, telemetry, systemd.

pub mod config;
mod document;
pub mod settings;
pub mod systemd;
pub mod telemetry;

use std::process::ExitCode;

/// Runs the command line and gives the process's exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
