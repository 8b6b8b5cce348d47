//! `certgate ocsp presign`: the answers for all certificates of an issuer, signed before anybody asks.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};

use super::Hash;
use crate::app::{
    cli::{
        admin::{AdminClient, ServerArgs, segment},
        output::{self, Field, Format, note},
    },
    failure::{Failure, Outcome},
};

#[derive(Args, Debug)]
pub(super) struct PresignArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Name of the issuer
    issuer: String,
    /// Hash of the CertIDs; may be given more than once [default: sha1 and sha256]
    #[arg(long, value_enum)]
    hash: Vec<Hash>,
    /// Return at once instead of waiting for the end
    #[arg(long, conflicts_with_all = ["show", "stop"])]
    no_wait: bool,
    /// Show how far the last run is
    #[arg(long, conflicts_with_all = ["stop", "hash"])]
    show: bool,
    /// End the run; what is signed stays
    #[arg(long, conflicts_with = "hash")]
    stop: bool,
}

const FIELDS: &[Field] = &[
    ("Issuer", "/issuer"),
    ("State", "/state"),
    ("Hashes", "/hashes"),
    ("Certificates", "/certificates"),
    ("Looked at", "/seen"),
    ("Signed", "/signed"),
    ("There already", "/kept"),
    ("Failed", "/failed"),
    ("Started", "/started_at"),
    ("Ended", "/ended_at"),
    ("Detail", "/detail"),
];

/// Between two looks at how far it is.
const PERIOD: Duration = Duration::from_millis(500);

pub(super) fn run(args: &PresignArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    let path = format!("/issuers/{}/presign", segment(&args.issuer));
    let view = if args.show {
        client.get(&path)?
    } else if args.stop {
        client.delete(&path)?
    } else {
        let hashes: Vec<_> = args.hash.iter().map(|hash| hash.algorithm().to_string()).collect();
        let started = client.post(&path, &json!({ "hashes": hashes }))?;
        if args.no_wait { started } else { followed(&client, &path, started)? }
    };
    output::object(format, &view, FIELDS);
    outcome(&view)
}

/// Waits for the end, and says on standard error how far it is.
fn followed(client: &AdminClient, path: &str, mut view: Value) -> Outcome<Value> {
    let is_terminal = io::stderr().is_terminal();
    let mut told = String::new();
    while matches!(state(&view), "counting" | "signing") {
        let text = progress(&view);
        if is_terminal {
            // Nothing depends on whether it is seen.
            let _ = write!(io::stderr().lock(), "\r{text:<78}");
        } else if told.is_empty() {
            note(&text);
        }
        told = text;
        thread::sleep(PERIOD);
        view = client.get(path)?;
    }
    if is_terminal && !told.is_empty() {
        let _ = write!(io::stderr().lock(), "\r{:<78}\r", "");
    }
    Ok(view)
}

fn progress(view: &Value) -> String {
    let number = |key: &str| view.get(key).and_then(Value::as_u64).unwrap_or_default();
    match state(view) {
        "counting" => format!("{} certificates counted ..", number("certificates")),
        _ => format!(
            "{} of {} certificates, {} answers signed ..",
            number("seen"),
            number("certificates"),
            number("signed")
        ),
    }
}

fn state(view: &Value) -> &str {
    view.get("state").and_then(Value::as_str).unwrap_or_default()
}

fn outcome(view: &Value) -> Outcome {
    let failed = view.get("failed").and_then(Value::as_u64).unwrap_or_default();
    match state(view) {
        "failed" => {
            let detail = view.get("detail").and_then(Value::as_str).unwrap_or("the log says why");
            Err(Failure::refused(detail))
        }
        "done" if failed > 0 => Err(Failure::partial(format_args!("{failed} answers could not be signed"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_said_in_words() {
        let view = json!({"state": "counting", "certificates": 200});
        assert_eq!(progress(&view), "200 certificates counted ..");
        let view = json!({"state": "signing", "certificates": 300, "seen": 10, "signed": 20});
        assert_eq!(progress(&view), "10 of 300 certificates, 20 answers signed ..");
    }

    #[test]
    fn what_did_not_work_is_no_success() {
        assert!(outcome(&json!({"state": "done", "failed": 0})).is_ok());
        assert!(outcome(&json!({"state": "done", "failed": 2})).is_err());
        assert!(outcome(&json!({"state": "failed", "detail": "no room"})).is_err());
        assert!(outcome(&json!({"state": "signing"})).is_ok());
    }
}
