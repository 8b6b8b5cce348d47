//! `certgate queue`: enrolments that wait for an operator, and the work that certgate itself has still to do.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    admin::{AdminClient, ServerArgs, for_each, segment},
    output::{self, Field, Format},
    sentences,
};
use crate::app::failure::Outcome;

/// Decide on enrolments that wait for approval; see what certgate has still to do.
#[derive(Args, Debug)]
#[command(
    after_help = "Enrolments wait here when their profile says approval = \"manual\". The device polls and gets its
certificate, or the refusal, at its next poll.

Examples:
  certgate queue list
  certgate queue show 0f5c...           compare the key with the one that the device shows
  certgate queue approve 0f5c...
  certgate queue reject 0f5c... --note \"not one of ours\"
  certgate queue jobs                   what certgate does by itself, and what it gave up"
)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List what waits, first come first
    List {
        /// How many at most, 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show an enrolment with every check that it went through
    Show {
        /// The enrolment
        id: String,
    },
    /// Issue the certificates asked for
    Approve {
        /// One or more enrolments
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why; kept in the audit record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Refuse
    Reject {
        /// One or more enrolments
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why; kept in the audit record
        #[arg(long, value_name = "TEXT")]
        note: String,
    },
    /// List the jobs that are not done: CRLs to be built, directories to be brought up to date
    ///
    /// Jobs of a lane run one after another. What fails is tried again, later each time; after 20 tries the build of a CRL is
    /// dead: remove the cause that it names, then publish with `certgate crl publish`. What others must take is tried for ever.
    Jobs {
        /// How many at most, 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

const COLUMNS: &[Field] = &[
    ("ENROLMENT", "/id"),
    ("RECEIVED", "/received_at"),
    ("PROFILE", "/profile"),
    ("SUBJECT", "/requested_subject"),
    ("TRANSACTION", "/transaction"),
];

const JOB_COLUMNS: &[Field] = &[
    ("JOB", "/sequence"),
    ("LANE", "/lane"),
    ("STATE", "/state"),
    ("RUNS AT", "/run_at"),
    ("ATTEMPTS", "/attempts"),
    ("LAST ERROR", "/last_error"),
];

const FIELDS: &[Field] = &[
    ("Enrolment", "/id"),
    ("State", "/state"),
    ("Profile", "/profile"),
    ("Subject", "/requested_subject"),
    ("Key SHA-256", "/public_key"),
    ("Alternative names", "/requested_names"),
    ("Transaction", "/transaction"),
    ("Received", "/received_at"),
    ("Decided", "/decided_at"),
    ("Evidence", "/evidence"),
    ("Bound to", "/bound_to"),
    ("Assurance", "/assurance"),
    ("Renews", "/renews"),
    ("Certificate", "/certificate"),
    ("Reason", "/reason"),
    ("Checks", "/trace"),
];

/// Runs `certgate queue ..`.
pub(super) fn run(args: QueueArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List { limit } => {
            let waiting = client.get(&format!("/queue?limit={limit}"))?;
            output::listing(format, &waiting, COLUMNS);
            // The queue is shown from its head: what was decided makes room for what comes after.
            if is_full(&waiting, limit) {
                output::note("there may be more: decide on these first, or ask for more with --limit");
            }
            Ok(())
        }
        Verb::Show { id } => {
            let enrolment = client.get(&format!("/queue/{}", segment(&id)))?;
            match format {
                Format::Json => output::json(&enrolment),
                Format::Table => output::object(format, &told(&enrolment), FIELDS),
            }
            Ok(())
        }
        Verb::Approve { ids, note } => decide(&client, format, &ids, "approve", &json!({ "note": note })),
        Verb::Reject { ids, note } => decide(&client, format, &ids, "reject", &json!({ "note": note })),
        Verb::Jobs { limit } => {
            let jobs = client.get(&format!("/jobs?limit={limit}"))?;
            match format {
                Format::Json => output::json(&jobs),
                Format::Table => output::listing(format, &with_states(jobs.clone()), JOB_COLUMNS),
            }
            if is_full(&jobs, limit) {
                output::note("there may be more: ask for more with --limit");
            }
            Ok(())
        }
    }
}

/// Whether a listing without an end has as many items as were asked for.
fn is_full(listing: &Value, limit: u32) -> bool {
    listing.get("items").and_then(Value::as_array).is_some_and(|items| items.len() == limit as usize)
}

/// Each job with its state in a word.
fn with_states(mut jobs: Value) -> Value {
    for job in jobs.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        let is_set = |key| job.get(key).is_some_and(|value| !value.is_null() && value != false);
        let state = match (is_set("dead"), is_set("leased_until")) {
            (true, _) => "dead",
            (false, true) => "running",
            (false, false) => "waiting",
        };
        if let Some(job) = job.as_object_mut() {
            job.insert("state".to_owned(), state.into());
        }
    }
    jobs
}

/// The enrolment with its evidence, binding and checks in words.
fn told(enrolment: &Value) -> Value {
    let told = sentences::with(enrolment, "trace", sentences::check);
    let told = sentences::with(&told, "evidence", sentences::evidence);
    sentences::with(&told, "bound_to", sentences::object)
}

fn decide(client: &AdminClient, format: Format, ids: &[String], verb: &str, request: &Value) -> Outcome {
    for_each(ids, |id| {
        let enrolment = client.post(&format!("/queue/{}/{verb}", segment(id)), request)?;
        match format {
            Format::Json => output::json(&enrolment),
            Format::Table => {
                let done = if verb == "approve" { "approved" } else { "rejected" };
                let issued = enrolment.get("certificate").and_then(Value::as_str);
                output::line(
                    &issued.map_or_else(|| format!("{id}: {done}"), |c| format!("{id}: {done}, issued {c}")),
                );
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_runs_or_is_dead() {
        let job = |leased_until: Value, dead| json!({ "leased_until": leased_until, "dead": dead });
        let until = Value::from("2026-11-21T02:04:54Z");
        let jobs = with_states(
            json!({ "items": [job(Value::Null, false), job(until, false), job(Value::Null, true)] }),
        );
        let states: Vec<_> =
            jobs["items"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["waiting", "running", "dead"]);
    }
}
