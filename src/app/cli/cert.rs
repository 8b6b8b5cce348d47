//! `certgate cert`: issued certificates, their status with all its causes, and manual revocation.

mod check;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    admin::{AdminClient, PageArgs, ServerArgs, YesArgs, for_each, segment},
    output::{self, Field, Format},
    sentences,
};
use crate::{
    app::failure::{Failure, Outcome},
    types::{CertificateId, RevocationReason, Timestamp},
};

/// Look at certificates, revoke them, put them on hold.
#[derive(Args, Debug)]
#[command(
    after_help = "A certificate is named by ISSUER/SERIAL, by its serial number alone, or by its SHA-256 fingerprint.

Examples:
  certgate cert list --device SN123
  certgate cert show 4f00ab12                     why is it revoked? all causes are shown
  certgate cert check 4f00ab12                    do store, OCSP and CRL say the same?
  certgate cert revoke issuing/4f00ab12 --reason keyCompromise
  certgate cert hold 4f00ab12 && certgate cert release 4f00ab12
  certgate cert hold root/6f83c21b --yes          a CA: with it all that it issued"
)]
pub(super) struct CertArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List certificates
    List(ListArgs),
    /// Show a certificate with its status and every cause of it
    Show {
        /// ISSUER/SERIAL, serial number or SHA-256 fingerprint
        certificate: String,
    },
    /// Compare what the store, the OCSP responder and the CRL say
    #[command(
        after_help = "The responder and the CRL are asked over the network, where the certificate names them, as gear asks them; their answers are
verified. The causes behind the store's status are shown.

Examples:
  certgate cert check issuing/4f00ab12
  certgate cert check --cert device.pem
  certgate cert check --cert other.pem --issuer other-ca.pem     of another CA: no store is asked

Exit codes: 0 all say the same, 1 they differ, 3 not found, 5 somebody could not be asked and the others say the same."
    )]
    Check(Box<check::CheckArgs>),
    /// Revoke for good
    Revoke(RevokeArgs),
    /// Put on hold
    Hold(HoldArgs),
    /// Release a hold that was put on by hand; other causes stay
    Release(NoteArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Only those bound to this device
    #[arg(long, conflicts_with = "user")]
    device: Option<String>,
    /// Only those bound to this user
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args, Debug)]
struct RevokeArgs {
    /// One or more certificates
    #[arg(required = true)]
    certificates: Vec<String>,
    /// Why, as in RFC 5280: keyCompromise, superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn, unspecified
    #[arg(long, default_value = "unspecified")]
    reason: RevocationReason,
    /// When the key was probably lost, as far as it is known now; it can be said again later: 2026-11-21T02:04:54Z
    #[arg(long, value_name = "TIME")]
    invalid_since: Option<Timestamp>,
    /// Why, in words; kept in the audit record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Args, Debug)]
struct HoldArgs {
    #[command(flatten)]
    noted: NoteArgs,
    #[command(flatten)]
    yes: YesArgs,
}

#[derive(Args, Debug)]
struct NoteArgs {
    /// One or more certificates
    #[arg(required = true)]
    certificates: Vec<String>,
    /// Why, in words; kept in the audit record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

const COLUMNS: &[Field] = &[
    ("CERTIFICATE", "/id"),
    ("STATUS", "/status"),
    ("REASON", "/revocation/reason"),
    ("PROFILE", "/profile"),
    ("NOT AFTER", "/not_after"),
    ("SUBJECT", "/subject"),
];

const FIELDS: &[Field] = &[
    ("Certificate", "/id"),
    ("Subject", "/subject"),
    ("Status", "/status"),
    ("OCSP and CRL", "/revocation"),
    ("OCSP answers", "/ocsp"),
    ("Causes", "/causes"),
    ("Not before", "/not_before"),
    ("Not after", "/not_after"),
    ("Purpose", "/purpose"),
    ("Profile", "/profile"),
    ("Bound to", "/bindings"),
    ("Issued", "/issued_at"),
    ("Enrolment", "/enrolment"),
    ("Supersedes", "/supersedes"),
    ("SHA-256", "/fingerprint"),
    ("PEM", "/pem"),
];

/// Runs `certgate cert ..`.
pub(super) fn run(args: CertArgs, format: Format) -> Outcome {
    if let Verb::Check(check) = &args.verb {
        return check::run(&args.server, check, format);
    }
    let client = args.server.connect()?;
    match args.verb {
        Verb::Check(_) => Ok(()),
        Verb::List(list) => {
            let owner = [("device", list.device.as_deref()), ("user", list.user.as_deref())];
            output::listing(
                format,
                &client.get(&format!("/certificates{}", list.page.query(&owner)))?,
                COLUMNS,
            );
            Ok(())
        }
        Verb::Show { certificate } => {
            let found = find(&client, &certificate)?;
            match (format, found.as_slice()) {
                (Format::Json, [only]) => output::json(only),
                (Format::Json, several) => output::json(&several.to_vec().into()),
                (Format::Table, several) => {
                    for one in several {
                        output::object(format, &told(one), FIELDS);
                    }
                }
            }
            Ok(())
        }
        Verb::Revoke(revoke) => {
            if revoke.reason == RevocationReason::CertificateHold {
                return Err(
                    Failure::usage("certificateHold is not for good").hint("use `certgate cert hold`")
                );
            }
            let also = with_cas(&client, &revoke.certificates, revoke.yes, "revoked");
            let question = format!("Revoke {} for good?", revoke.certificates.join(", "));
            revoke.yes.confirm(&also.map_or(question.clone(), |also| format!("{question} {also}")))?;
            let mut request = json!({ "reason": revoke.reason, "note": revoke.note.unwrap_or_default() });
            if let (Some(since), Some(request)) = (revoke.invalid_since, request.as_object_mut()) {
                request.insert("invalidity_date".to_owned(), since.to_string().into());
            }
            act(&client, format, &revoke.certificates, "revoke", &request)
        }
        Verb::Hold(HoldArgs { noted, yes }) => {
            if let Some(also) = with_cas(&client, &noted.certificates, yes, "on hold") {
                yes.confirm(&format!("Put {} on hold? {also}", noted.certificates.join(", ")))?;
            }
            act(&client, format, &noted.certificates, "hold", &note(noted.note))
        }
        Verb::Release(release) => act(&client, format, &release.certificates, "release", &note(release.note)),
    }
}

/// What follows where some of the certificates are those of CAs, for who is to be asked. One that is not found is none: what is done
/// with it says so.
fn with_cas(client: &AdminClient, names: &[String], yes: YesArgs, becomes: &str) -> Option<String> {
    if yes.yes {
        return None;
    }
    let is_ca = |one: &Value| one.get("purpose").and_then(Value::as_str) == Some("issuer");
    let of_ca = |name: &&String| find(client, name.as_str()).is_ok_and(|found| found.iter().any(is_ca));
    let cas: Vec<&str> = names.iter().filter(of_ca).map(String::as_str).collect();
    let (are, they) = if cas.len() == 1 {
        ("is the certificate of a CA", "it")
    } else {
        ("are certificates of CAs", "they")
    };
    (!cas.is_empty()).then(|| format!("{} {are}: all that {they} issued is {becomes} too.", cas.join(", ")))
}

/// The certificate with what explains its status in words.
fn told(certificate: &Value) -> Value {
    let told = sentences::with(certificate, "causes", sentences::cause);
    let told = sentences::with(&told, "bindings", sentences::binding);
    sentences::with(&told, "revocation", sentences::revocation)
}

fn note(note: Option<String>) -> Value {
    json!({ "note": note.unwrap_or_default() })
}

fn act(client: &AdminClient, format: Format, names: &[String], verb: &str, request: &Value) -> Outcome {
    for_each(names, |name| {
        let id = identify(client, name)?;
        let path = format!("/certificates/{}/{}/{verb}", segment(id.issuer.as_str()), id.serial);
        let certificate = client.post(&path, request)?;
        match format {
            Format::Json => output::json(&certificate),
            Format::Table => {
                let status = certificate.get("status").and_then(Value::as_str).unwrap_or("done");
                output::line(&format!("{id}: {status}"));
                if certificate.get("ocsp").is_some_and(|ocsp| ocsp == "none") {
                    output::note(&format!(
                        "note: gear does not hear of it: nobody answers OCSP for {} here (see certgate responder)",
                        id.issuer
                    ));
                }
            }
        }
        Ok(())
    })
}

/// All certificates of this name: a serial number alone may be that of several issuers.
fn find(client: &AdminClient, name: &str) -> Outcome<Vec<Value>> {
    if let Ok(id) = name.parse::<CertificateId>() {
        let path = format!("/certificates/{}/{}", segment(id.issuer.as_str()), id.serial);
        return Ok(vec![client.get(&path)?]);
    }
    match client.get(&format!("/certificates/{}", segment(name)))? {
        Value::Array(found) => Ok(found),
        one => Ok(vec![one]),
    }
}

fn identify(client: &AdminClient, name: &str) -> Outcome<CertificateId> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let found = find(client, name)?;
    let ids: Vec<&str> = found.iter().filter_map(|one| one.get("id")?.as_str()).collect();
    match ids.as_slice() {
        [only] => only.parse().map_err(Failure::error),
        _ => Err(Failure::usage(format_args!("{name} could be any of {}", ids.join(", ")))
            .hint("name it as ISSUER/SERIAL")),
    }
}
