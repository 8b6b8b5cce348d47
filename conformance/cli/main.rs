//! The program as operators and scripts meet it: exit codes, tables, JSON, files, signals, the listeners beside the device one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "this is a test; clippy's leave for tests does not reach its helper functions"
)]

#[path = "../process/mod.rs"]
mod process;

mod admin;
mod cert_check;
mod checkpoint;
mod clock;
mod commands;
mod conformance;
mod enrol;
mod import;
mod lifetime;
mod persona;
mod rollover;
mod setup;
mod sim;
mod source;

use std::process::Output;

use process::Server;

/// Elliptic curves for the CAs: made in no time.
const FAST: &[&str] = &["--key", "p-256"];

/// A profile whose requests wait for an operator.
const MANUAL: &str =
    "[profile.manual]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"ticket\"]\napproval = \"manual\"\n";

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Enrols `device` under `profile` with the built-in client; gives what the command printed.
fn enrol(server: &Server, profile: &str, device: &str, more: &[&str]) -> Output {
    server.register_device(device);
    let (_, ticket) = server.ticket(profile, device);
    let file = |kind: &str| server.scratch().join(format!("{device}.{kind}")).to_str().unwrap().to_owned();
    let (subject, url) = (format!("CN={device}"), server.scep_url(profile));
    let (key, cert, chain) = (file("key"), file("pem"), file("chain"));
    let ticket = ticket.to_str().unwrap();
    let mut arguments =
        vec!["scep", "enrol", "--url", &url, "--subject", &subject, "--challenge-file", ticket];
    arguments.extend(["--key", &key, "--cert", &cert, "--chain", &chain]);
    arguments.extend(more);
    server.run(&arguments)
}
