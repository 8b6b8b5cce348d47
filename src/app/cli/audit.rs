//! `certgate audit`: who did what, and proof that nothing was changed afterwards.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    admin::ServerArgs,
    output::{self, Field, Format},
};
use crate::app::failure::{Failure, Outcome};

/// Read and verify the audit record.
#[derive(Args, Debug)]
#[command(
    after_help = "Each event carries the hash of the one before, so that a change or a gap is found by `verify`.

Examples:
  certgate audit tail -n 20
  certgate audit verify"
)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Show the last events, oldest first
    Tail {
        /// How many, 1 to 1000
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Check the whole chain of hashes
    Verify,
}

const COLUMNS: &[Field] = &[
    ("NO", "/sequence"),
    ("AT", "/at"),
    ("WHO", "/actor"),
    ("WHAT", "/action"),
    ("ON", "/object"),
    ("REQUEST", "/request"),
    ("DETAIL", "/detail"),
];

const FIELDS: &[Field] =
    &[("Intact", "/intact"), ("Events", "/events"), ("Last hash", "/head"), ("Broken at", "/broken_at")];

/// Runs `certgate audit ..`.
pub(super) fn run(args: &AuditArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::Tail { count } => {
            output::listing(format, &client.get(&format!("/audit?tail={count}"))?, COLUMNS);
            Ok(())
        }
        Verb::Verify => {
            let report = client.get("/audit/verify")?;
            output::object(format, &report, FIELDS);
            let intact = report.get("intact").and_then(Value::as_bool) == Some(true);
            if intact { Ok(()) } else { Err(Failure::error("the audit record was changed or is damaged")) }
        }
    }
}
