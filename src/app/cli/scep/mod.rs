//! `certgate scep`: a SCEP client for any RFC 8894 server, this one or another.

mod enrol;
mod fetch;
mod pending;
mod places;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    output::{self, Field, Format},
    url,
};
use crate::{
    adapters::system::{SystemClock, SystemRandomSource},
    app::{
        client::{http::HttpClient, scep::ScepClient},
        failure::{Failure, Outcome},
    },
    types::{DigestAlgorithm, KeyAlgorithm},
    wire::{
        scep::client::{Authority, CaCertificates},
        x509::Certificate,
    },
};

/// Enrol, renew and fetch certificates as a SCEP client.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate ticket create --profile device --device SN123 --out challenge.txt
  certgate scep enrol --url http://pki.lab.example/scep/device --subject CN=SN123 \\
      --challenge-file challenge.txt --key device.key --cert device.pem --chain ca.pem
  certgate scep renew --url http://pki.lab.example/scep/device --key device.key --cert device.pem
  certgate scep enrol --as apple --url http://pki.lab.example/scep/device --subject CN=SN124 \\
      --challenge-file challenge.txt --key try.key --cert try.pem
  certgate scep getca --url http://pki.lab.example/scep/device --out ca.pem
  certgate scep getnextca --url http://pki.lab.example/scep/device \\
      --ca-fingerprint 5f3c.. --out next.pem
  certgate scep renew --next --url http://pki.lab.example/scep/device --key device.key \\
      --cert device.pem --out next.pem")]
pub(super) struct ScepArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Ask for a first certificate
    #[command(visible_alias = "enroll")]
    Enrol(Box<enrol::EnrolArgs>),
    /// Ask for the next certificate, proving oneself with the present one
    Renew(Box<enrol::RenewArgs>),
    /// Ask again for a certificate that waits for an operator
    Poll(pending::PollArgs),
    /// Fetch an issued certificate by its serial number
    Getcert(fetch::GetCertArgs),
    /// Fetch the CRL that answers for a certificate
    Getcrl(fetch::GetCrlArgs),
    /// Fetch the CA certificates and show their fingerprints
    Getca(fetch::GetCaArgs),
    /// Fetch the certificates of the CA's announced successor: the same as getca --next
    Getnextca(fetch::GetCaArgs),
}

/// Which server, and how it is recognised.
#[derive(Args, Clone, Debug)]
pub(super) struct AuthorityArgs {
    /// URL of the SCEP server, without `?operation=`
    #[arg(long, value_name = "URL", value_parser = url::scep)]
    pub(super) url: String,
    /// SHA-256 or SHA-1 fingerprint of one of its CA certificates: it, or one below it, must be the one that requests are encrypted to
    #[arg(long, value_name = "HEX")]
    pub(super) ca_fingerprint: Option<String>,
    /// CA identifier for GetCACaps and GetCACert, where one URL serves several CAs
    #[arg(long, value_name = "NAME")]
    pub(super) ca_identifier: Option<String>,
    /// Turn to the CA's announced successor (GetNextCACert), for which the present CA vouches
    #[arg(long)]
    pub(super) next: bool,
}

/// What a fingerprint that is not there means.
const ANOTHER_CA: &str =
    "this is another CA, or somebody stands in between; `certgate scep getca` shows what it offers";

/// What every SCEP command stands on.
pub(super) struct Session {
    http: HttpClient,
    clock: SystemClock,
    random: SystemRandomSource,
}

impl Session {
    pub(super) fn new() -> Outcome<Self> {
        let http = HttpClient::new().map_err(Failure::error)?;
        Ok(Self { http, clock: SystemClock, random: SystemRandomSource::default() })
    }

    pub(super) fn client(&self, authority: &AuthorityArgs) -> ScepClient<'_> {
        ScepClient::new(&self.http, &authority.url, &self.clock, &self.random)
            .asking_for(authority.ca_identifier.as_deref())
    }
}

/// Asks the server who it is. Without a pin there is nothing to compare with: the fingerprint is shown for a person to compare.
pub(super) fn discover(client: &ScepClient<'_>, args: &AuthorityArgs) -> Outcome<Authority> {
    let mut authority = client.discover()?;
    match &args.ca_fingerprint {
        Some(pin) => {
            if let Some(present) = vouched_for(&authority.ca, pin)? {
                authority.ca = present;
            } else if authority.capabilities.has("GetNextCACert")
                && let Ok(next) = client.next_ca(&authority.ca)
                && let Some(next) = vouched_for(&next, pin)?
            {
                // Who enrolled with the announced successor knows that one, and asks for it before the cut-over and after.
                authority.ca = next;
                return Ok(authority);
            } else {
                let problem = format_args!("none of the server's CA certificates has the fingerprint {pin}");
                return Err(Failure::refused(problem).hint(ANOTHER_CA));
            }
        }
        None => output::note(&format!(
            "warning: the CA is not verified; pin it with --ca-fingerprint {}",
            authority.ca.issuer.fingerprint()
        )),
    }
    if args.next {
        authority.ca = client.next_ca(&authority.ca)?;
    }
    Ok(authority)
}

/// The certificates that the one with the fingerprint `pin` vouches for; none where no certificate has it.
fn vouched_for(ca: &CaCertificates, pin: &str) -> Outcome<Option<CaCertificates>> {
    let vouched = ca.vouched_for_by(pin).transpose();
    vouched.map_err(|error| Failure::refused(error).hint(ANOTHER_CA))
}

/// The kinds of key that every SCEP server can encrypt an answer to.
pub(super) fn rsa_algorithm(text: &str) -> Result<KeyAlgorithm, Failure> {
    match text.parse::<KeyAlgorithm>() {
        Ok(algorithm) if algorithm.is_rsa() => Ok(algorithm),
        _ => Err(Failure::usage(
            "expected rsa-2048, rsa-3072 or rsa-4096: not every SCEP server answers other keys",
        )),
    }
}

/// What is told of a certificate.
fn describe(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject().to_string(),
        "issuer": certificate.issuer().to_string(),
        "serial": certificate.serial().to_string(),
        "not_before": certificate.validity().not_before.to_string(),
        "not_after": certificate.validity().not_after.to_string(),
        "sha256": certificate.fingerprint().to_string(),
        "sha1": hex::encode(DigestAlgorithm::Sha1.digest(certificate.as_der())),
        "md5": hex::encode(DigestAlgorithm::Md5.digest(certificate.as_der())),
    })
}

const ISSUED: &[Field] = &[
    ("Status", "/status"),
    ("Subject", "/certificate/subject"),
    ("Issuer", "/certificate/issuer"),
    ("Serial", "/certificate/serial"),
    ("Valid until", "/certificate/not_after"),
    ("SHA-256", "/certificate/sha256"),
    ("Certificate in", "/cert"),
    ("Chain in", "/chain"),
    ("Key in", "/key"),
    ("Transaction in", "/transaction"),
    ("Next", "/next"),
];

/// Paths as results name them.
fn shown(path: Option<&PathBuf>) -> Value {
    path.map_or(Value::Null, |path| path.display().to_string().into())
}

/// Runs `certgate scep ..`.
pub(super) fn run(args: ScepArgs, format: Format) -> Outcome {
    match args.verb {
        Verb::Enrol(args) => enrol::enrol(&args, format),
        Verb::Renew(args) => enrol::renew(&args, format),
        Verb::Poll(args) => pending::poll(&args, format),
        Verb::Getcert(args) => fetch::get_cert(&args, format),
        Verb::Getcrl(args) => fetch::get_crl(&args, format),
        Verb::Getca(args) => fetch::get_ca(&args, format),
        Verb::Getnextca(args) => fetch::get_ca(&args.of_the_next(), format),
    }
}
