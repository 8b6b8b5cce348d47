//! `certgate token`: what programs authenticate to the API with.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{
    admin::{ServerArgs, YesArgs, for_each, segment},
    duration,
    files::{hand_over, place_for_secret},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Make and revoke API tokens.
#[derive(Args, Debug)]
#[command(
    after_help = "A token is shown once; certgate keeps only a keyed hash of it. Send it as `Authorization: Bearer TOKEN`.

Example:
  certgate token create mdm --role operator --valid 365d --out mdm.token
  certgate token create fleet --role challenger --profile wifi --out fleet.token"
)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Make a token and show it, this once
    Create(CreateArgs),
    /// List tokens
    List,
    /// Revoke tokens
    Revoke {
        /// One or more tokens, by id
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        yes: YesArgs,
    },
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// What it is for
    name: String,
    /// What its bearer may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// With the role challenger: only for challenges of this profile; may be repeated [default: every profile]
    #[arg(long = "profile", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// How long it can be used, as 12h or 365d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    valid: Option<duration::Seconds>,
    /// Write the token to a new file with mode 0600 instead of showing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    /// Reads everything but secrets
    Auditor,
    /// Also acts on devices, certificates, tickets and the approval queue
    Operator,
    /// Also changes issuers, tokens and everything else
    Owner,
    /// Only asks for challenges: for an MDM server
    Challenger,
}

const COLUMNS: &[Field] = &[
    ("TOKEN", "/id"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("PROFILES", "/profiles"),
    ("CREATED", "/created_at"),
    ("EXPIRES", "/expires_at"),
    ("REVOKED", "/revoked_at"),
];

/// Runs `certgate token ..`.
pub(super) fn run(args: TokenArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::Create(new) => {
            place_for_secret(new.out.as_deref())?;
            let role =
                new.role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            let mut request = json!({ "name": new.name, "role": role, "profiles": new.profiles });
            if let (Some(duration::Seconds(seconds)), Some(request)) = (new.valid, request.as_object_mut()) {
                request.insert("lifetime_seconds".to_owned(), seconds.into());
            }
            let lost = "the token exists but is lost: revoke it and make another";
            hand_over(format, client.post("/tokens", &request)?, new.out.as_deref(), lost)?;
            if let (Format::Table, Some(path)) = (format, &new.out) {
                output::note(&format!("written to {}", path.display()));
            }
            Ok(())
        }
        Verb::List => {
            output::listing(format, &client.get("/tokens")?, COLUMNS);
            Ok(())
        }
        Verb::Revoke { ids, yes } => {
            yes.confirm(&format!("Revoke {}?", ids.join(", ")))?;
            for_each(&ids, |id| {
                let token = client.delete(&format!("/tokens/{}", segment(id)))?;
                match format {
                    Format::Json => output::json(&token),
                    Format::Table => output::line(&format!("{id}: revoked")),
                }
                Ok(())
            })
        }
    }
}
