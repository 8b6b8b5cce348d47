//! `certgate alarm`: signs of a breach, until somebody has seen them.

use clap::{Args, Subcommand};

use super::{
    admin::{ServerArgs, for_each, segment},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Signs of a breach: used-up tickets that came again with another key.
#[derive(Args, Debug)]
#[command(
    after_help = "Somebody other than the device has the ticket's secret. Find out how it got out, and which of the two the device is:
compare the key of its certificate. Then acknowledge the alarm; `certgate doctor` warns until then, for 30 days.

Examples:
  certgate alarm list
  certgate cert list --device SN123
  certgate alarm acknowledge 0f5c..."
)]
pub(super) struct AlarmArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List alarms, the newest last
    List,
    /// Say that alarms were seen; what is on hold stays on hold
    Acknowledge {
        /// One or more tickets
        #[arg(required = true, value_name = "TICKET")]
        tickets: Vec<String>,
    },
}

const COLUMNS: &[Field] = &[
    ("TICKET", "/ticket"),
    ("PROFILE", "/profile"),
    ("DEVICE", "/device"),
    ("USER", "/user"),
    ("TIMES", "/times"),
    ("LAST", "/last_at"),
    ("FROM", "/peer"),
    ("HELD", "/held"),
    ("ACKNOWLEDGED", "/acknowledged_at"),
];

/// Runs `certgate alarm ..`.
pub(super) fn run(args: AlarmArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List => {
            output::listing(format, &client.get("/alarms")?, COLUMNS);
            Ok(())
        }
        Verb::Acknowledge { tickets } => for_each(&tickets, |ticket| {
            let path = format!("/alarms/{}/acknowledge", segment(ticket));
            let alarm = client.post(&path, &serde_json::json!({}))?;
            match format {
                Format::Json => output::json(&alarm),
                Format::Table => output::line(&format!("{ticket}: acknowledged")),
            }
            Ok(())
        }),
    }
}
