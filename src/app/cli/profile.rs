//! `certgate profile`: what the configured profiles say. They are changed in the configuration file.

use clap::{Args, Subcommand};

use super::{
    admin::{ServerArgs, segment},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Look at the profiles in force.
#[derive(Args, Debug)]
#[command(
    after_help = "Profiles are written in the configuration file, under [profile.NAME]; `certgate serve` takes
changes over when it starts, as a new version. Certificates keep the version that issued them."
)]
pub(super) struct ProfileArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List the profiles
    List,
    /// Show a profile
    Show {
        /// Name of the profile
        profile: String,
    },
}

const COLUMNS: &[Field] = &[
    ("PROFILE", "/name"),
    ("VERSION", "/version"),
    ("ISSUER", "/spec/issuer"),
    ("CHALLENGE", "/spec/challenge"),
    ("APPROVAL", "/spec/approval"),
    ("DAYS", "/spec/validity-days"),
    ("SUBJECT", "/spec/subject"),
];

const FIELDS: &[Field] = &[
    ("Profile", "/name"),
    ("Version", "/version"),
    ("Since", "/created_at"),
    ("SCEP URL", "/scep_url"),
    ("Description", "/spec/description"),
    ("Issuer", "/spec/issuer"),
    ("Scope", "/spec/scope"),
    ("Subject", "/spec/subject"),
    ("Alternative names", "/spec/subject-alt-names"),
    ("Match", "/spec/match"),
    ("Identify", "/spec/identify"),
    ("Challenge", "/spec/challenge"),
    ("Approval", "/spec/approval"),
    ("Key types", "/spec/key-types"),
    ("Least RSA bits", "/spec/min-rsa-bits"),
    ("Key usage", "/spec/key-usage"),
    ("Extended key usage", "/spec/extended-key-usage"),
    ("Validity in days", "/spec/validity-days"),
    ("Renewal window", "/spec/renewal-window-days"),
    ("Lifecycle", "/spec/lifecycle"),
    ("Old algorithms", "/spec/legacy"),
];

/// Runs `certgate profile ..`.
pub(super) fn run(args: ProfileArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List => output::listing(format, &client.get("/profiles")?, COLUMNS),
        Verb::Show { profile } => {
            output::object(format, &client.get(&format!("/profiles/{}", segment(&profile)))?, FIELDS);
        }
    }
    Ok(())
}
