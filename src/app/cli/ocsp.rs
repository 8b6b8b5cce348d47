//! `certgate ocsp`: `check` asks a responder as network gear does, and believes only what it can verify; `presign` has answers signed ahead.

mod presign;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    files::{read_certificate, read_certificates},
    output::{self, Field, Format},
    url,
};
use crate::{
    adapters::system::{SystemClock, SystemRandomSource},
    app::{
        client::{
            http::HttpClient,
            ocsp::{Answer, Question, ask},
        },
        failure::{Failure, Outcome},
    },
    ports::{Clock, Random},
    types::{DigestAlgorithm, SerialNumber},
    wire::ocsp::CertStatus,
};

/// Ask an OCSP responder, and have answers signed ahead.
#[derive(Args, Debug)]
pub(super) struct OcspArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Ask for the status of one certificate; exit code 0 good, 4 revoked or unknown
    #[command(after_help = "Examples:
  certgate ocsp check --issuer ca.pem --cert device.pem
  certgate ocsp check --issuer ca.pem --cert device.pem --nonce --hash sha256 --get
  certgate ocsp check --issuer old-ca.pem --cert device.pem \\
      --url http://pki.lab.example/ocsp --responder responder.pem")]
    Check(Box<CheckArgs>),
    /// Have the answers for all unexpired certificates of an issuer signed before anybody asks
    #[command(after_help = "Examples:
  certgate ocsp presign issuing
  certgate ocsp presign issuing --hash sha1 --no-wait
  certgate ocsp presign issuing --show
  certgate ocsp presign issuing --stop

[issuer.issuing] ocsp-presign = true does it always.")]
    Presign(presign::PresignArgs),
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// Certificate of the CA that issued it
    #[arg(long, value_name = "FILE")]
    issuer: PathBuf,
    /// The certificate
    #[arg(long, value_name = "FILE", required_unless_present = "serial")]
    cert: Option<PathBuf>,
    /// Its serial number in hexadecimal, where the certificate is not at hand
    #[arg(long, value_name = "HEX", conflicts_with = "cert", requires = "url")]
    serial: Option<SerialNumber>,
    /// The responder [default: the certificate's own OCSP URL]
    #[arg(long, value_name = "URL", value_parser = url::http)]
    url: Option<String>,
    /// Believe this responder, whoever issued its certificate (a trusted responder); several in a PEM file may be named
    #[arg(long, value_name = "FILE")]
    responder: Option<PathBuf>,
    /// Send a nonce and insist on its return: a fresh answer, not a cached one
    #[arg(long)]
    nonce: bool,
    /// Hash of the CertID
    #[arg(long, value_enum, default_value_t = Hash::Sha1)]
    hash: Hash,
    /// Ask with GET instead of POST
    #[arg(long)]
    get: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hash {
    /// What every responder knows
    Sha1,
    /// RFC 6960's newer form
    Sha256,
}

impl Hash {
    const fn algorithm(self) -> DigestAlgorithm {
        match self {
            Self::Sha1 => DigestAlgorithm::Sha1,
            Self::Sha256 => DigestAlgorithm::Sha256,
        }
    }
}

const FIELDS: &[Field] = &[
    ("Status", "/status"),
    ("Reason", "/reason"),
    ("Revoked at", "/revoked_at"),
    ("Invalid since", "/invalidity_date"),
    ("Serial", "/serial"),
    ("This update", "/this_update"),
    ("Next update", "/next_update"),
    ("Produced at", "/produced_at"),
    ("Archive cutoff", "/archive_cutoff"),
    ("Signed by", "/signed_by"),
    ("Responder", "/responder"),
];

/// Runs `certgate ocsp ..`.
pub(super) fn run(args: OcspArgs, format: Format) -> Outcome {
    match args.verb {
        Verb::Check(args) => check(&args, format),
        Verb::Presign(args) => presign::run(&args, format),
    }
}

fn check(args: &CheckArgs, format: Format) -> Outcome {
    let issuer = read_certificate(&args.issuer)?;
    let certificate = args.cert.as_deref().map(read_certificate).transpose()?;
    if let Some(certificate) = &certificate
        && certificate.is_signed_by(&issuer).is_err()
    {
        return Err(Failure::usage(format_args!("{} did not sign that certificate", args.issuer.display()))
            .hint(format_args!("its issuer is \"{}\"", certificate.issuer())));
    }
    let own_url = certificate.as_ref().and_then(|certificate| certificate.ocsp_urls().into_iter().next());
    let url = args.url.clone().or(own_url).ok_or_else(|| {
        Failure::usage("the certificate names no OCSP responder").hint("say which one with --url URL")
    })?;
    let serial = args.serial.as_ref().or(certificate.as_ref().map(crate::wire::x509::Certificate::serial));
    let serial =
        serial.ok_or_else(|| Failure::usage("which certificate? Say --cert FILE or --serial HEX"))?;
    let trusted = args.responder.as_deref().map(read_certificates).transpose()?.unwrap_or_default();
    let random = SystemRandomSource::default();
    let random: &dyn Random = &random;
    let question = Question {
        url: &url,
        issuer: &issuer,
        serial,
        trusted: &trusted,
        hash: args.hash.algorithm(),
        // 32 bytes are what RFC 9654 §2.1 asks of clients.
        nonce: args.nonce.then(|| random.bytes::<32>().to_vec()),
        get: args.get,
    };
    let http = HttpClient::new().map_err(Failure::error)?;
    let answer = ask(&http, &question, SystemClock.now())?;
    output::object(format, &told(&answer, serial, &url), FIELDS);
    match answer.status {
        CertStatus::Good => Ok(()),
        CertStatus::Revoked { reason, .. } => Err(Failure::refused(format_args!("revoked: {reason}"))),
        CertStatus::Unknown => Err(Failure::refused("the responder does not know this certificate")),
    }
}

fn told(answer: &Answer, serial: &SerialNumber, url: &str) -> Value {
    let (status, reason, revoked_at) = match answer.status {
        CertStatus::Good => ("good", None, None),
        CertStatus::Revoked { at, reason } => ("revoked", Some(reason.to_string()), Some(at.to_string())),
        CertStatus::Unknown => ("unknown", None, None),
    };
    json!({
        "status": status,
        "reason": reason,
        "revoked_at": revoked_at,
        "invalidity_date": answer.invalidity_date.map(|time| time.to_string()),
        "serial": serial.to_string(),
        "this_update": answer.this_update.to_string(),
        "next_update": answer.next_update.map(|time| time.to_string()),
        "produced_at": answer.produced_at.to_string(),
        "archive_cutoff": answer.archive_cutoff.map(|time| time.to_string()),
        "signed_by": answer.signed_by,
        "responder": url,
    })
}
