//! `certgate source`: where device records come from, and the listings that bring them.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    admin::{AdminClient, ServerArgs, YesArgs, segment},
    device::name_and_value,
    output::{self, Field, Format, note},
};
use crate::app::failure::{Failure, Outcome};

/// Problems that are told one by one; all of them are in `-o json`.
const TOLD: usize = 20;

/// How often a running sync is asked how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(2);

/// Longest time for a sync; 50,000 new devices take seconds, but disks differ.
const SYNC_LIMIT: Duration = Duration::from_secs(3600);

/// Let an MDM's inventory say which devices there are, and what becomes of those that it no longer lists.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate source add intune --missing hold
  certgate source sync intune --file devices.csv --dry-run    what would it do?
  certgate source sync intune --file devices.csv \\
      --map serial='Serial number',user='Primary user UPN'
  certgate source show intune

A listing is a whole one: every device of the source that it does not name is absent. After three listings in a row
without it a device is missing. --missing says what becomes of it then: `keep` shows it, `hold` puts its certificates on
hold until it is listed again, `retire` also retires it after the grace. A listing that would hold or retire more than
10 devices and more than 5 % of the source's is refused unless --force says that it is right.")]
pub(super) struct SourceArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Record a source
    Add(AddArgs),
    /// List the sources with their last sync
    List,
    /// Show a source
    Show {
        /// The source
        name: String,
    },
    /// Bring in a listing: registers, updates, and notices who is absent
    Sync(SyncArgs),
    /// Remove a source: its devices stay, and belong to no source
    Remove {
        /// The source
        name: String,
        #[command(flatten)]
        yes: YesArgs,
    },
}

#[derive(Args, Debug)]
struct AddArgs {
    /// Its name: lower-case letters, digits and inner hyphens
    name: String,
    /// Where its listings come from
    #[arg(long, value_enum, default_value_t = Kind::Inventory)]
    kind: Kind,
    /// What becomes of devices that are missing
    #[arg(long, value_enum, default_value_t = Missing::Keep)]
    missing: Missing,
    /// With `--missing retire`: days from the hold to the retirement [default: 30]
    #[arg(long, value_name = "DAYS")]
    grace_days: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Files that somebody hands over with `source sync`
    Inventory,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Missing {
    /// They are shown as missing, and nothing else
    Keep,
    /// Their certificates are on hold until they are listed again
    Hold,
    /// As hold; after the grace they are retired and their certificates revoked
    Retire,
}

#[derive(Args, Debug)]
struct SyncArgs {
    /// The source
    name: String,
    /// The export: CSV with a header line, or a JSON array of objects
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Which column is what: device (the id), name, model, user, sid, state, serial, udid, uuid, imei, imsi, mac, client-id,
    /// attribute.NAME; columns with usual names need no mapping, `user=` leaves one out
    #[arg(long, value_name = "WHAT=COLUMN,..", value_delimiter = ',', value_parser = name_and_value)]
    map: Vec<(String, String)>,
    /// Say what it would do, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Believe a listing that is empty, or that holds or retires many devices at once
    #[arg(long)]
    force: bool,
}

const COLUMNS: &[Field] = &[
    ("SOURCE", "/id"),
    ("KIND", "/kind"),
    ("MISSING", "/missing"),
    ("LAST SYNC", "/last_sync/at"),
    ("OUTCOME", "/last_sync/outcome"),
    ("DEVICES", "/last_sync/counts/devices"),
    ("ABSENT", "/last_sync/counts/absent"),
    ("MISSING NOW", "/last_sync/counts/missing"),
];

const FIELDS: &[Field] = &[
    ("Source", "/id"),
    ("Kind", "/kind"),
    ("Missing devices", "/missing"),
    ("Grace in days", "/grace_days"),
    ("Recorded", "/created_at"),
    ("Complete listings", "/listings"),
    ("Last complete", "/listed_at"),
    ("Unfinished since", "/unfinished_since"),
    ("Running", "/running"),
    ("Last sync", "/last_sync/at"),
    ("By", "/last_sync/by"),
    ("Outcome", "/last_sync/outcome"),
    ("Did", "/last_sync/counts"),
];

const REPORT: &[Field] = &[
    ("Lines", "/counts/lines"),
    ("Devices seen", "/counts/seen"),
    ("Registered", "/counts/registered"),
    ("Updated", "/counts/updated"),
    ("Listed again", "/counts/returned"),
    ("Left alone", "/counts/ignored"),
    ("Refused lines", "/counts/refused"),
    ("Absent", "/counts/absent"),
    ("Missing", "/counts/missing"),
    ("Put on hold", "/counts/held"),
    ("Retired", "/counts/retired"),
    ("Certificates", "/certificates_changed"),
    ("Columns", "/columns"),
];

/// Runs `certgate source ..`.
pub(super) fn run(args: SourceArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::Add(new) => {
            output::object(format, &client.post("/sources", &new_source(&new))?, FIELDS);
            Ok(())
        }
        Verb::List => {
            output::listing(format, &client.get("/sources")?, COLUMNS);
            Ok(())
        }
        Verb::Show { name } => {
            output::object(format, &client.get(&path(&name))?, FIELDS);
            Ok(())
        }
        Verb::Sync(sync) => synchronise(&args.server, &client, format, &sync),
        Verb::Remove { name, yes } => {
            yes.confirm(&format!("Remove the source {name}, and leave its devices to themselves?"))?;
            let removed = client.delete(&path(&name))?;
            match format {
                Format::Json => output::json(&removed),
                Format::Table => output::line(&said_removed(&name, &removed)),
            }
            Ok(())
        }
    }
}

fn path(name: &str) -> String {
    format!("/sources/{}", segment(name))
}

fn new_source(args: &AddArgs) -> Value {
    let kind = match args.kind {
        Kind::Inventory => "inventory",
    };
    let missing = match args.missing {
        Missing::Keep => "keep",
        Missing::Hold => "hold",
        Missing::Retire => "retire",
    };
    json!({ "id": args.name, "kind": kind, "missing": missing, "grace_days": args.grace_days })
}

fn said_removed(name: &str, removed: &Value) -> String {
    let number = |key| removed.get(key).and_then(Value::as_u64).unwrap_or_default();
    format!(
        "{name}: removed; {} devices stay and belong to no source, {} of them are no longer missing",
        number("devices"),
        number("released")
    )
}

fn synchronise(server: &ServerArgs, client: &AdminClient, format: Format, args: &SyncArgs) -> Outcome {
    let listing = std::fs::read(&args.file).map_err(Failure::while_doing(args.file.display()))?;
    let report = std::thread::scope(|threads| {
        let (running, ended) = mpsc::channel();
        threads.spawn(move || tell_progress(server, &args.name, &ended));
        let report = client.upload(&target(args), content_type(&args.file), listing, SYNC_LIMIT);
        drop(running);
        report
    })?;
    match format {
        Format::Json => output::json(&report),
        Format::Table => tell(&report, args.dry_run),
    }
    match report.pointer("/counts/refused").and_then(Value::as_u64).unwrap_or_default() {
        0 => Ok(()),
        refused => {
            Err(Failure::partial(format_args!("{refused} lines of {} were refused", args.file.display())))
        }
    }
}

fn target(args: &SyncArgs) -> String {
    let mut target = format!("{}/sync?dry_run={}&force={}", path(&args.name), args.dry_run, args.force);
    for (what, column) in &args.map {
        target.extend(["&column.", &segment(what), "=", &segment(column)]);
    }
    target
}

/// The server looks at the content; this is for whoever reads along.
fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "application/json",
        _ => "text/csv",
    }
}

/// Says on standard error how far the sync is, until the other end of `ended` is gone.
fn tell_progress(server: &ServerArgs, name: &str, ended: &Receiver<()>) {
    let Ok(client) = server.connect() else { return };
    while ended.recv_timeout(PROGRESS_PERIOD) == Err(RecvTimeoutError::Timeout) {
        let Ok(source) = client.get(&path(name)) else { continue };
        let number = |key| source.pointer(key).and_then(Value::as_u64);
        if let (Some(done), Some(total @ 1..)) = (number("/running/done"), number("/running/total")) {
            note(&format!("{done} of {total} devices .."));
        }
    }
}

fn tell(report: &Value, dry_run: bool) {
    if dry_run {
        note("this is what it would do; nothing was changed");
    }
    output::line(output::record(report, REPORT).trim_end());
    let none = Vec::new();
    let problems = report.get("problems").and_then(Value::as_array).unwrap_or(&none);
    for problem in problems.iter().take(TOLD) {
        let text = problem.get("problem").and_then(Value::as_str).unwrap_or_default();
        match problem.get("line").and_then(Value::as_u64).unwrap_or_default() {
            0 => note(text),
            line => note(&format!("line {line}: {text}")),
        }
    }
    if problems.len() > TOLD {
        note(&format!("and {} more; -o json names them", problems.len() - TOLD));
    }
    if report.get("complete").and_then(Value::as_bool) == Some(false) {
        note("nobody was counted as absent: a line that cannot be read may be about any device");
    }
}
