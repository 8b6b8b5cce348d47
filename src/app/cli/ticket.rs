//! `certgate ticket`: one-time challenges.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    admin::{PageArgs, ServerArgs, for_each, segment},
    duration,
    files::{hand_over, place_for_secret},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Mint one-time challenges for devices and users.
#[derive(Args, Debug)]
#[command(
    after_help = "The secret is shown once, alone on standard output; certgate keeps only a keyed hash of it.

Examples:
  certgate ticket create --profile device --device SN123
  certgate ticket create --profile device --device SN123 --out challenge.txt
  certgate ticket create --profile lab --unbound
  certgate ticket list"
)]
pub(super) struct TicketArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Mint a ticket and show its secret, this once
    Create(CreateArgs),
    /// List tickets
    List(PageArgs),
    /// Withdraw tickets before they are used
    Cancel {
        /// One or more tickets
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// The profile that takes it
    #[arg(long)]
    profile: String,
    /// The device it is for
    #[arg(long, required_unless_present_any = ["user", "unbound"])]
    device: Option<String>,
    /// The user it is for
    #[arg(long)]
    user: Option<String>,
    /// For nobody in particular: whoever has it may enrol as anybody registered, where the profile takes `unbound-ticket`
    #[arg(long, conflicts_with_all = ["device", "user"])]
    unbound: bool,
    /// How often it can be used [default: once]
    #[arg(long)]
    uses: Option<u32>,
    /// How long it can be used, as 90s, 15m, 12h or 7d [default: the server's]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    valid: Option<duration::Seconds>,
    /// Write the secret to a new file with mode 0600 instead of showing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const COLUMNS: &[Field] = &[
    ("TICKET", "/id"),
    ("STATE", "/state"),
    ("PROFILE", "/profile"),
    ("DEVICE", "/device"),
    ("USER", "/user"),
    ("ORIGIN", "/origin"),
    ("LEFT", "/uses_left"),
    ("EXPIRES", "/expires_at"),
];

/// Runs `certgate ticket ..`.
pub(super) fn run(args: TicketArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::Create(new) => {
            place_for_secret(new.out.as_deref())?;
            let request = request(&new);
            let lost = "the ticket exists but its secret is lost: cancel it and mint another";
            let made = hand_over(format, client.post("/tickets", &request)?, new.out.as_deref(), lost)?;
            if format == Format::Table {
                let told =
                    ["/ticket/expires_at", "/expires_at"].iter().find_map(|at| made.pointer(at)?.as_str());
                output::note(&format!("valid until {}", told.unwrap_or("it is used")));
            }
            Ok(())
        }
        Verb::List(page) => {
            output::listing(format, &client.get(&format!("/tickets{}", page.query(&[])))?, COLUMNS);
            Ok(())
        }
        Verb::Cancel { ids } => for_each(&ids, |id| {
            let path = format!("/tickets/{}", segment(id));
            let before = client.get(&path)?;
            let ticket = client.delete(&path)?;
            match format {
                Format::Json => output::json(&ticket),
                Format::Table => output::line(&format!("{id}: {}", cancelled(&before))),
            }
            Ok(())
        }),
    }
}

/// What cancelling comes to, by how the ticket stood.
fn cancelled(before: &Value) -> String {
    let text = |key| before.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("state") {
        "used" => "cancelled; it was used up already, and what came of it stays: certgate cert list, certgate cert revoke".to_owned(),
        "expired" => format!("cancelled; it had run out already, at {}", text("expires_at")),
        "cancelled" => format!("it was cancelled before, at {}", text("cancelled_at")),
        _ => "cancelled".to_owned(),
    }
}

fn request(new: &CreateArgs) -> Value {
    let mut request = json!({ "profile": new.profile });
    let optional: [(&str, Option<Value>); 4] = [
        ("device", new.device.clone().map(Value::from)),
        ("user", new.user.clone().map(Value::from)),
        ("uses", new.uses.map(Value::from)),
        ("lifetime_seconds", new.valid.map(|duration::Seconds(seconds)| seconds.into())),
    ];
    for (key, value) in optional {
        if let (Some(value), Some(request)) = (value, request.as_object_mut()) {
            request.insert(key.to_owned(), value);
        }
    }
    request
}
