//! `certgate enrolment`: did the request arrive, and why was it refused?

use std::{collections::BTreeSet, thread, time::Duration};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    admin::{AdminClient, PageArgs, ServerArgs, segment},
    output::{self, Field, Format},
    sentences,
};
use crate::{
    app::failure::{Failure, Outcome},
    service::exchange::EndingFilter,
    types::Timestamp,
};

/// Between two looks of `watch`.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// See which SCEP requests came, what was checked, and why one was refused.
#[derive(Args, Debug)]
#[command(
    after_help = "Every request is kept for scep.trace-days, refused ones and junk too. The answer to a device has the id
in its header x-request-id; the log and the audit record name it as request.

Examples:
  certgate enrolment list --result refused
  certgate enrolment list --address 192.0.2.7     with its GetCACaps and GetCACert
  certgate enrolment show 006ac1e0f60000012f0c4f5ab8d1e377
  certgate enrolment show 006ac1e0f60000012f0c4f5ab8d1e377 --transcript
  certgate enrolment watch --profile device"
)]
pub(super) struct EnrolmentArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List requests, the newest first
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// Only since this time: 2026-11-21T02:04:54Z
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a request with every check, the reason of a refusal, and what to do about it
    Show {
        /// The enrolment, or a transactionID
        name: String,
        /// Also what went over the wire, without secrets
        #[arg(long)]
        transcript: bool,
    },
    /// Print requests as they come, until interrupted
    Watch {
        #[command(flatten)]
        filter: FilterArgs,
    },
}

#[derive(Args, Debug)]
struct FilterArgs {
    /// Only those for this device
    #[arg(long)]
    device: Option<String>,
    /// Only those under this profile
    #[arg(long)]
    profile: Option<String>,
    /// Only those from this address
    #[arg(long)]
    address: Option<String>,
    /// Only those that ended so: refused (anything but success and pending), success, pending, bad-alg, bad-message-check,
    /// bad-request, bad-time, bad-cert-id, http-400 ..
    #[arg(long, value_name = "RESULT", value_parser = result)]
    result: Option<String>,
    /// Only those with this transactionID
    #[arg(long, value_name = "ID")]
    transaction: Option<String>,
}

impl FilterArgs {
    fn pairs(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("device", self.device.as_deref()),
            ("profile", self.profile.as_deref()),
            ("address", self.address.as_deref()),
            ("result", self.result.as_deref()),
            ("transaction", self.transaction.as_deref()),
        ]
    }
}

fn result(text: &str) -> Result<String, String> {
    let known: Result<EndingFilter, _> = text.parse();
    known.map(|_| text.to_owned()).map_err(|error| format!("{error}, or refused"))
}

const COLUMNS: &[Field] = &[
    ("ENROLMENT", "/id"),
    ("AT", "/at"),
    ("ADDRESS", "/address"),
    ("PROFILE", "/profile"),
    ("OPERATION", "/operation"),
    ("RESULT", "/ending"),
    ("DEVICE", "/device"),
    ("WHY", "/reason"),
];

const FIELDS: &[Field] = &[
    ("Enrolment", "/id"),
    ("Received", "/at"),
    ("Address", "/address"),
    ("User-Agent", "/user_agent"),
    ("Looks like", "/looks_like"),
    ("Profile", "/profile"),
    ("Operation", "/operation"),
    ("Transaction", "/transaction"),
    ("Subject", "/subject"),
    ("Device", "/device"),
    ("Result", "/ending"),
    ("Why", "/reason"),
    ("What to do", "/hint"),
    ("Certificate", "/certificate"),
    ("Polls", "/polls"),
    ("State now", "/enrolment/state"),
    ("Checks", "/steps"),
    ("More like this", "/more"),
];

/// Runs `certgate enrolment ..`.
pub(super) fn run(args: EnrolmentArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List { filter, since, page } => {
            let since = since.map(|since| since.to_string());
            let pairs: Vec<_> = filter.pairs().into_iter().chain([("since", since.as_deref())]).collect();
            let answer = client.get(&format!("/enrolments{}", page.query(&pairs)))?;
            output::listing(format, &shown(format, answer), COLUMNS);
            Ok(())
        }
        Verb::Show { name, transcript } => show(&client, format, &name, transcript),
        Verb::Watch { filter } => watch(&client, format, &filter),
    }
}

/// The listing with each certificate as it is known.
fn shown(format: Format, mut answer: Value) -> Value {
    if let (Format::Table, Some(items)) = (format, answer.get_mut("items").and_then(Value::as_array_mut)) {
        for item in items {
            *item = sentences::with(item, "certificate", sentences::certificate);
        }
    }
    answer
}

fn show(client: &AdminClient, format: Format, name: &str, transcript: bool) -> Outcome {
    let traces = client.get(&format!("/enrolments/{}", segment(name)))?;
    let Format::Table = format else {
        output::json(&traces);
        return Ok(());
    };
    let newest = traces.get(0).ok_or_else(|| Failure::not_found(format_args!("no enrolment \"{name}\"")))?;
    let told = sentences::with(newest, "steps", sentences::check);
    let mut told = sentences::with(&told, "certificate", sentences::certificate);
    if let Some(told) = told.as_object_mut().filter(|told| told.get("more") == Some(&0.into())) {
        told.remove("more");
    }
    output::object(format, &told, FIELDS);
    if transcript {
        print_transcript(newest);
    }
    let others: Vec<_> = traces.as_array().into_iter().flatten().skip(1).collect();
    if !others.is_empty() {
        output::line("\nEarlier, with the same transactionID:");
        let others: Vec<Value> = others.into_iter().cloned().collect();
        output::line(output::table(&others, COLUMNS).trim_end());
    }
    Ok(())
}

fn print_transcript(trace: &Value) {
    let Some(transcript) = trace.get("transcript").filter(|transcript| !transcript.is_null()) else {
        output::note("the transcript is not kept any more (scep.transcript-days)");
        return;
    };
    for (half, sign) in [("request", "->"), ("answer", "<-")] {
        for line in transcript.get(half).and_then(Value::as_array).into_iter().flatten() {
            output::line(&format!("{sign} {}: {}", text(line, "field"), text(line, "value")));
        }
    }
}

/// Looks again and again, and prints what is new.
fn watch(client: &AdminClient, format: Format, filter: &FilterArgs) -> Outcome {
    let page = PageArgs { limit: 1000, after: None };
    let mut seen: Option<BTreeSet<String>> = None;
    let mut since = None;
    loop {
        let pairs: Vec<_> = filter.pairs().into_iter().chain([("since", since.as_deref())]).collect();
        let answer = shown(format, client.get(&format!("/enrolments{}", page.query(&pairs)))?);
        let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        // What was there at the start is not new.
        if let Some(seen) = &seen {
            items
                .iter()
                .rev()
                .filter(|item| !seen.contains(text(item, "id")))
                .for_each(|item| print_one(format, item));
        }
        let newest = items.first().map(|item| text(item, "at").to_owned());
        since = newest.or(since);
        seen.get_or_insert_default().extend(items.iter().map(|item| text(item, "id").to_owned()));
        thread::sleep(WATCH_PERIOD);
    }
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn print_one(format: Format, item: &Value) {
    match format {
        Format::Json => output::line(&item.to_string()),
        Format::Table => {
            let row = output::table(std::slice::from_ref(item), COLUMNS);
            output::line(row.lines().nth(1).unwrap_or_default());
        }
    }
}
