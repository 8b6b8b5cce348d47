//! `certgate issuer`: the CAs that certgate issues from and answers for.

use clap::{Args, Subcommand};

use super::{
    admin::{ServerArgs, segment},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Look at the issuers.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate issuer list
  certgate issuer show issuing -o json")]
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
}

const COLUMNS: &[Field] = &[
    ("ISSUER", "/id"),
    ("KIND", "/kind"),
    ("STATUS", "/status"),
    ("KEY", "/key_algorithm"),
    ("NOT AFTER", "/not_after"),
    ("SUBJECT", "/subject"),
];

const FIELDS: &[Field] = &[
    ("Issuer", "/id"),
    ("Kind", "/kind"),
    ("Parent", "/parent"),
    ("Status", "/status"),
    ("Subject", "/subject"),
    ("Serial", "/serial"),
    ("Key", "/key_algorithm"),
    ("Not before", "/not_before"),
    ("Not after", "/not_after"),
    ("Digest", "/digest"),
    ("SHA-256", "/fingerprint"),
    ("SHA-1", "/sha1"),
    ("CRL", "/crl_urls"),
    ("OCSP", "/ocsp_urls"),
    ("CA certificate", "/ca_issuers_urls"),
    ("CRL number", "/crl_number"),
    ("Own certificates", "/system_certificates"),
    ("PEM", "/pem"),
];

/// Runs `certgate issuer ..`.
pub(super) fn run(args: IssuerArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List => output::listing(format, &client.get("/issuers")?, COLUMNS),
        Verb::Show { issuer } => {
            output::object(format, &client.get(&format!("/issuers/{}", segment(&issuer)))?, FIELDS);
        }
    }
    Ok(())
}
