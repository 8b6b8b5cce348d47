//! Programs that certgate's authors did not write: they run, and what they say of certificates is read.

#![allow(dead_code, unreachable_pub, reason = "each test target uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a program that is missing fails its test")]

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::process::expect_success;

/// Runs a program to its end, however it ends.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let what = format!("{command:?}");
    command.output().unwrap_or_else(|error| panic!("{what}: {error} (conformance/run installs it)"))
}

/// Runs a program that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = run(command);
    expect_success(&output, &format!("{command:?}"));
    output
}

/// Standard output as text.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both streams as text.
pub fn said(output: &Output) -> String {
    text(output) + &String::from_utf8_lossy(&output.stderr)
}

/// What `openssl x509` says of a certificate.
pub fn describe(certificate: &Path, what: &str) -> String {
    text(&succeed(Command::new("openssl").args(["x509", "-noout", what, "-in"]).arg(certificate)))
        .trim()
        .to_owned()
}

/// The serial number of a certificate in hexadecimal.
pub fn serial_of(certificate: &Path) -> String {
    describe(certificate, "-serial").trim_start_matches("serial=").to_ascii_lowercase()
}
