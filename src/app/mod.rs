//! The process: command line, configuration, wiring, workers, telemetry, systemd.

pub mod client;
pub mod failure;

use std::process::ExitCode;

/// Runs the command line and gives the process's exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
