//! `certgate crl`: the published revocation lists.

use clap::{Args, Subcommand};

use super::{
    admin::{ServerArgs, segment},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Look at CRLs, publish a new one now.
#[derive(Args, Debug)]
#[command(
    after_help = "A new CRL is published by itself within a minute after each revocation, and on schedule.
IN A YEAR is its size in a year, if that is like the last one. Much gear takes no CRL above 10 MB.
BEHIND IN names the directories ([directory.NAME] in the configuration) that do not have the newest yet; `crl show` says why.

Example:
  certgate crl publish issuing    now, without waiting"
)]
pub(super) struct CrlArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List the newest CRL of each issuer
    List,
    /// Show the newest CRL of an issuer
    Show {
        /// Name of the issuer
        issuer: String,
    },
    /// Build and publish a CRL now
    Publish {
        /// Name of the issuer
        issuer: String,
    },
}

const COLUMNS: &[Field] = &[
    ("ISSUER", "/issuer"),
    ("NUMBER", "/number"),
    ("ENTRIES", "/entries"),
    ("BYTES", "/size"),
    ("IN A YEAR", "/predicted_size"),
    ("THIS UPDATE", "/this_update"),
    ("NEXT UPDATE", "/next_update"),
    ("BEHIND IN", "/behind_in"),
];

const FIELDS: &[Field] = &[
    ("Issuer", "/issuer"),
    ("Number", "/number"),
    ("Entries", "/entries"),
    ("This update", "/this_update"),
    ("Next update", "/next_update"),
    ("SHA-256", "/sha256"),
    ("Bytes", "/size"),
    ("In a year", "/predicted_size"),
    ("Entries then", "/predicted_entries"),
    ("URLs", "/urls"),
    ("Directories", "/directories"),
    ("Beside it", "/parts"),
];

/// Runs `certgate crl ..`.
pub(super) fn run(args: CrlArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List => output::listing(format, &client.get("/crls")?, COLUMNS),
        Verb::Show { issuer } => {
            output::object(format, &client.get(&format!("/crls/{}", segment(&issuer)))?, FIELDS);
        }
        Verb::Publish { issuer } => {
            let path = format!("/crls/{}/publish", segment(&issuer));
            output::object(format, &client.post(&path, &serde_json::json!({}))?, FIELDS);
        }
    }
    Ok(())
}
