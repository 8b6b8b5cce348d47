//! `certgate profile`: what the configured profiles say. They are changed in the configuration file.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    admin::{ServerArgs, segment},
    output::{self, Field, Format},
};
use crate::{
    app::failure::{Failure, Outcome},
    domain::client::{
        ClientFamily,
        quirk::{self, Quirk},
    },
};

/// Look at the profiles.
#[derive(Args, Debug)]
#[command(
    after_help = "Profiles are written in the configuration file, under [profile.NAME]; `certgate serve` takes
changes over when it starts, as a new version. Certificates keep the version that issued them.
Under a profile that is taken out of the file nothing is issued any more (in force: no)."
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
    /// What each SCEP client wants and what is done about it: the names for `client` in a profile. Asks no server
    Clients {
        /// Only this client's
        client: Option<String>,
    },
}

const COLUMNS: &[Field] = &[
    ("PROFILE", "/name"),
    ("VERSION", "/version"),
    ("IN FORCE", "/in_force"),
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
    ("In force", "/in_force"),
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
    ("Clients", "/spec/client"),
    ("GetCACert shows", "/behaviour/ca-bundle"),
    ("CA in SUCCESS", "/behaviour/include-ca"),
    ("Cipher of answers", "/behaviour/reply-cipher"),
    ("Old algorithms", "/behaviour/old-algorithms"),
];

const QUIRKS: &[Field] =
    &[("QUIRK", "/name"), ("CLIENTS", "/clients"), ("FOR", "/for"), ("WHAT", "/says"), ("SOURCE", "/source")];

/// Runs `certgate profile ..`.
pub(super) fn run(args: ProfileArgs, format: Format) -> Outcome {
    let connect = || args.server.connect();
    match args.verb {
        Verb::List => output::listing(format, &connect()?.get("/profiles")?, COLUMNS),
        Verb::Show { profile } => {
            output::object(format, &connect()?.get(&format!("/profiles/{}", segment(&profile)))?, FIELDS);
        }
        Verb::Clients { client } => output::listing(format, &quirks(client.as_deref())?, QUIRKS),
    }
    Ok(())
}

/// The table of quirks as a listing.
fn quirks(client: Option<&str>) -> Outcome<Value> {
    let only = client.map(str::parse::<ClientFamily>).transpose().map_err(Failure::usage)?;
    let concerned =
        quirk::ALL.iter().filter(|quirk| only.is_none_or(|client| quirk.clients.contains(&client)));
    let row = |quirk: &&Quirk| {
        let reach = if quirk.always { "every client" } else { "this client" };
        json!({
            "name": quirk.name, "clients": quirk.clients, "for": reach, "says": quirk.says, "source": quirk.source,
        })
    };
    Ok(json!({ "items": concerned.map(row).collect::<Vec<_>>() }))
}
