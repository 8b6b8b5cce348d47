//! `certgate issuer`: the CAs that certgate issues from and answers for.

use clap::{Args, Subcommand};

use serde_json::{Value, json};

use super::{
    admin::{AdminClient, ServerArgs, YesArgs, segment},
    output::{self, Field, Format},
};
use crate::{
    app::failure::{FailureKind, Outcome},
    types::{KeyAlgorithm, Timestamp},
};

/// Look at the issuers, and let one follow another.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate issuer list
  certgate issuer show issuing -o json
  certgate issuer rollover issuing                       makes and announces issuing-2
  certgate issuer cutover issuing --at 2027-06-01T02:00:00Z
  certgate issuer cutover issuing                        now: issuing-2 issues, issuing retires
  certgate issuer rollover issuing --cancel              while issuing-2 has issued nothing")]
pub(super) struct IssuerArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List the issuers
    List,
    /// Show an issuer with its URLs and its own certificates
    Show {
        /// Name of the issuer
        issuer: String,
    },
    /// Make and announce the next generation of a CA: GetNextCACert shows it, and it issues to those who ask for it
    Rollover(RolloverArgs),
    /// Let the announced generation take the place of the present one
    Cutover {
        /// Name of the issuer, of any generation
        issuer: String,
        /// When, in UTC, as 2027-06-01T02:00:00Z [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
        #[command(flatten)]
        yes: YesArgs,
    },
}

#[derive(Args, Debug)]
struct RolloverArgs {
    /// Name of the issuer, of any generation
    issuer: String,
    /// Kind of its key: rsa-2048, rsa-3072, rsa-4096, p-256, p-384 [default: that of the present one]
    #[arg(long, value_name = "KEY")]
    key: Option<KeyAlgorithm>,
    /// How long it lives, within the life of the CA above [default: as the present one]
    #[arg(long)]
    years: Option<u32>,
    /// When it takes over by itself, as 2027-06-01T02:00:00Z [default: when the present one expires]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Take the announced one back: its certificate is revoked
    #[arg(long, conflicts_with_all = ["key", "years", "at"])]
    cancel: bool,
    #[command(flatten)]
    yes: YesArgs,
}

const COLUMNS: &[Field] = &[
    ("ISSUER", "/id"),
    ("KIND", "/kind"),
    ("STATUS", "/status"),
    ("STATE", "/generation/state"),
    ("KEY", "/key_algorithm"),
    ("NOT AFTER", "/not_after"),
    ("SUBJECT", "/subject"),
];

const FIELDS: &[Field] = &[
    ("Issuer", "/id"),
    ("Kind", "/kind"),
    ("Parent", "/parent"),
    ("Status", "/status"),
    ("Line", "/generation/line"),
    ("Generation", "/generation/number"),
    ("State", "/generation/state"),
    ("In it since", "/generation/since"),
    ("Cut-over", "/generation/cutover_at"),
    ("Unexpired", "/unexpired"),
    ("Subject", "/subject"),
    ("Serial", "/serial"),
    ("Key", "/key_algorithm"),
    ("Not before", "/not_before"),
    ("Not after", "/not_after"),
    ("Digest", "/digest"),
    ("SHA-256", "/fingerprint"),
    ("SHA-1", "/sha1"),
    ("MD5 (old gear)", "/md5"),
    ("CRL", "/crl_urls"),
    ("OCSP", "/ocsp_urls"),
    ("CA certificate", "/ca_issuers_urls"),
    ("CRL number", "/crl_number"),
    ("OCSP signer", "/ocsp_signer"),
    ("OCSP answers", "/ocsp"),
    ("Responder until", "/responder_not_after"),
    ("CRL nextUpdate", "/crl_next_update"),
    ("Certificates", "/certificates"),
    ("Recorded", "/created_at"),
    ("Own certificates", "/system_certificates"),
    ("PEM", "/pem"),
];

/// Runs `certgate issuer ..`.
pub(super) fn run(args: IssuerArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List => output::listing(format, &list(&client)?, COLUMNS),
        Verb::Show { issuer } => output::object(format, &show(&client, &issuer)?, FIELDS),
        Verb::Rollover(args) if args.cancel => {
            args.yes.confirm(&format!(
                "Take the announced successor of {} back and revoke its certificate?",
                args.issuer
            ))?;
            said(format, &client.delete(&format!("{}/rollover", path(&args.issuer)))?);
        }
        Verb::Rollover(args) => {
            let at = args.at.map(|at| at.to_string());
            let wanted = json!({
                "key": args.key.map(|key| key.to_string()),
                "years": args.years,
                "cutover_at": at,
            });
            said(format, &client.post(&format!("{}/rollover", path(&args.issuer)), &wanted)?);
        }
        Verb::Cutover { issuer, at, yes } => {
            if at.is_none() {
                yes.confirm(&format!("Retire {issuer} and let its announced successor issue from now on?"))?;
            }
            let wanted = json!({ "at": at.map(|at| at.to_string()) });
            said(format, &client.post(&format!("{}/cutover", path(&issuer)), &wanted)?);
        }
    }
    Ok(())
}

/// Our own, then the external ones.
fn list(client: &AdminClient) -> Outcome<Value> {
    let mut all = client.get("/issuers")?;
    let mut external = client.get("/external-issuers")?;
    if let (Some(Value::Array(all)), Some(Value::Array(external))) =
        (all.get_mut("items"), external.get_mut("items"))
    {
        all.append(external);
    }
    Ok(all)
}

fn show(client: &AdminClient, issuer: &str) -> Outcome<Value> {
    match client.get(&path(issuer)) {
        Err(failure) if failure.kind == FailureKind::NotFound => {
            // If it is no external issuer either, the first answer is the right one.
            client.get(&format!("/external-issuers/{}", segment(issuer))).map_err(|_| failure)
        }
        answer => answer,
    }
}

fn path(issuer: &str) -> String {
    format!("/issuers/{}", segment(issuer))
}

/// Where the successor stands now, and what comes next.
fn said(format: Format, issuer: &Value) {
    if format == Format::Json {
        return output::json(issuer);
    }
    let text = |pointer| issuer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (id, line) = (text("/id"), text("/generation/line"));
    output::line(&match text("/generation/state") {
        "announced" => format!(
            "{id}: announced; it takes over at {}\nSHA-256 {}\nnext: certgate issuer cutover {line}, when the devices have it",
            text("/generation/cutover_at"),
            text("/fingerprint")
        ),
        "current" => format!(
            "{id}: current; the one before it is retired, its CRL and OCSP answers go on until it expires"
        ),
        state => format!("{id}: {state}"),
    });
}
