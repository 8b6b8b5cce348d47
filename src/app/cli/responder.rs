//! `certgate responder`: who signs OCSP answers about the certificates of external issuers.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    admin::{AdminClient, ServerArgs, YesArgs, segment},
    files::{self, read_certificate},
    output::{self, Field, Format, note},
};
use crate::{
    app::failure::{Failure, Outcome},
    types::{IssuerId, KeyAlgorithm},
};

/// Let OCSP answer for certificates of other CAs (see `certgate import`).
#[derive(Args, Debug)]
#[command(
    after_help = "An imported CA is an external issuer. OCSP says `unauthorized` of its certificates until you choose:

delegate: the CA signs a responder's certificate. Gear that asks certgate needs nothing new.
  certgate responder request old-ca --out responder.csr
  certgate responder install old-ca responder.pem      what the CA made of it
  To renew it, do both again: the one before signs until then.
  certgate responder cancel old-ca                     the request is not to be answered any more

trusted: gear is told to trust a responder whose certificate an issuer of certgate's own signed.
  certgate responder use old-ca trusted --by issuing
  certgate responder export old-ca --out responder.pem     for the gear: openssl ocsp -VAfile
  Its successor is in `export` long before it signs; `certgate doctor` says when that is.

A serial number that was not imported is `unknown`: keep importing while the CA still issues."
)]
pub(super) struct ResponderArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List the external issuers, with who answers for each and until when
    List,
    /// Show who answers for an external issuer, with the certificates
    Show {
        /// Name of the external issuer
        issuer: String,
    },
    /// Make a key for a responder, and the PKCS#10 request that the external CA is to sign
    Request(RequestArgs),
    /// Take an unanswered request back: its key is destroyed
    Cancel {
        /// Name of the external issuer
        issuer: String,
        #[command(flatten)]
        yes: YesArgs,
    },
    /// Take the certificate that the external CA signed, and let it answer from now on
    Install {
        /// Name of the external issuer
        issuer: String,
        /// The certificate, PEM or DER
        #[arg(value_name = "FILE")]
        certificate: PathBuf,
    },
    /// Decide who answers
    Use(UseArgs),
    /// Print the certificates of the responders, for gear that is to trust them: the one that signs, and the next one
    Export {
        /// Name of the external issuer
        issuer: String,
        /// Write them to this file instead, replacing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct RequestArgs {
    /// Name of the external issuer
    issuer: String,
    /// Kind of the key: rsa-2048, rsa-3072, rsa-4096, p-256, p-384 [default: rsa-2048 where the CA's own is RSA, else p-256]
    #[arg(long, value_name = "KEY")]
    key: Option<KeyAlgorithm>,
    /// Make a new key, though the last request was not answered yet: that one counts no more
    #[arg(long)]
    new_key: bool,
    /// Write the request to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct UseArgs {
    /// Name of the external issuer
    issuer: String,
    /// Who signs
    #[arg(value_enum)]
    mode: Mode,
    /// With `trusted`: the issuer of certgate's own that signs the responder's certificate
    #[arg(long, value_name = "ISSUER", required_if_eq("mode", "trusted"))]
    by: Option<IssuerId>,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nobody: the answer is `unauthorized`
    None,
    /// A responder whose certificate the external CA signed
    Delegate,
    /// A responder whose certificate one of certgate's own issuers signed, and that the gear is told to trust
    Trusted,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Delegate => "delegate",
            Self::Trusted => "trusted",
        }
    }
}

const COLUMNS: &[Field] = &[
    ("ISSUER", "/id"),
    ("OCSP ANSWERS", "/ocsp"),
    ("UNTIL", "/responder_not_after"),
    ("SUBJECT", "/subject"),
];

const FIELDS: &[Field] = &[
    ("Issuer", "/issuer"),
    ("Mode", "/mode"),
    ("By", "/by"),
    ("Until", "/not_after"),
    ("Open request", "/requested_at"),
];

const CERTIFICATES: &[Field] = &[
    ("CERTIFICATE", "/id"),
    ("STATE", "/state"),
    ("SIGNS SINCE", "/since"),
    ("NOT AFTER", "/not_after"),
    ("KEY", "/key"),
    ("SUBJECT", "/subject"),
    ("SHA-256", "/fingerprint"),
];

/// Runs `certgate responder ..`.
pub(super) fn run(args: ResponderArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::List => output::listing(format, &client.get("/external-issuers")?, COLUMNS),
        Verb::Show { issuer } => show(format, &client.get(&path(&issuer))?),
        Verb::Request(args) => request(&client, &args, format)?,
        Verb::Cancel { issuer, yes } => {
            yes.confirm(&format!(
                "Destroy the key of {issuer}'s open request? No certificate that the CA makes of it can be installed then."
            ))?;
            show(format, &client.delete(&format!("{}/request", path(&issuer)))?);
        }
        Verb::Install { issuer, certificate } => install(&client, &issuer, &certificate, format)?,
        Verb::Use(args) => decide(&client, &args, format)?,
        Verb::Export { issuer, out } => export(&client, &issuer, out, format)?,
    }
    Ok(())
}

fn path(issuer: &str) -> String {
    format!("/external-issuers/{}/responder", segment(issuer))
}

fn show(format: Format, view: &Value) {
    if format == Format::Json {
        return output::json(view);
    }
    output::line(output::record(view, FIELDS).trim_end());
    let certificates = certificates(view);
    if !certificates.is_empty() {
        output::line("");
        output::line(output::table(certificates, CERTIFICATES).trim_end());
    }
    for certificate in certificates.iter().filter(|it| is_of_use(it)) {
        let warnings = certificate.get("warnings").and_then(Value::as_array).into_iter().flatten();
        for warning in warnings.filter_map(Value::as_str) {
            note(&format!("note: {}: {warning}", text(certificate, "id")));
        }
    }
}

fn certificates(view: &Value) -> &[Value] {
    view.get("certificates").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// It signs, or will.
fn is_of_use(certificate: &Value) -> bool {
    matches!(text(certificate, "state"), "signing" | "next")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn request(client: &AdminClient, args: &RequestArgs, format: Format) -> Outcome {
    let wanted = json!({ "key": args.key.map(|key| key.to_string()), "new_key": args.new_key });
    let made = client.post(&format!("{}/request", path(&args.issuer)), &wanted)?;
    let pem = text(&made, "pem");
    if let Some(out) = &args.out {
        files::replace(out, pem.as_bytes())?;
    }
    match format {
        Format::Json => output::json(&made),
        Format::Table if args.out.is_none() => output::line(pem.trim_end()),
        Format::Table => {}
    }
    note(&format!(
        "have the CA sign it, with id-kp-OCSPSigning and id-pkix-ocsp-nocheck; then: certgate responder install {} FILE",
        args.issuer
    ));
    Ok(())
}

fn install(client: &AdminClient, issuer: &str, certificate: &Path, format: Format) -> Outcome {
    let certificate = read_certificate(certificate)?;
    let new = json!({ "certificate": certificate.to_pem() });
    let view = client.post(&format!("{}/certificate", path(issuer)), &new)?;
    show(format, &view);
    Ok(())
}

fn decide(client: &AdminClient, args: &UseArgs, format: Format) -> Outcome {
    if args.mode == Mode::None {
        args.yes.confirm(&format!(
            "Answer OCSP requests for certificates of {} with `unauthorized` from now on?",
            args.issuer
        ))?;
    }
    let by = args.by.as_ref().map(ToString::to_string);
    let view = client.put(&path(&args.issuer), &json!({ "mode": args.mode.name(), "by": by }))?;
    show(format, &view);
    if args.mode == Mode::Trusted && format == Format::Table {
        note(&format!("for the gear: certgate responder export {} --out FILE", args.issuer));
    }
    Ok(())
}

fn export(client: &AdminClient, issuer: &str, out: Option<PathBuf>, format: Format) -> Outcome {
    let view = client.get(&path(issuer))?;
    let pem: String =
        certificates(&view).iter().filter(|it| is_of_use(it)).map(|it| text(it, "pem")).collect();
    if pem.is_empty() {
        return Err(Failure::refused(format_args!("no responder answers for {issuer}"))
            .hint("certgate responder --help says how one is set up"));
    }
    match (out, format) {
        (Some(out), _) => files::replace(&out, pem.as_bytes()),
        (None, Format::Json) => {
            output::json(&json!({ "issuer": issuer, "pem": pem }));
            Ok(())
        }
        (None, Format::Table) => {
            output::line(pem.trim_end());
            Ok(())
        }
    }
}
