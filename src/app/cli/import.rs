//! `certgate import`: what another CA issued and revoked, taken over.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    admin::ServerArgs,
    output::{self, Field, Format, note},
};
use crate::{
    app::{
        failure::{Failure, Outcome},
        import::{self, Imported, Refusal, Source},
    },
    service::import::BindRule,
    types::IssuerId,
};

/// Refused lines that are told one by one; up to a thousand are in `-o json`.
const TOLD: usize = 20;

/// Take over what another CA issued and revoked: those certificates are shown, held and revoked here from then on.
#[derive(Args, Debug)]
#[command(
    after_help = "The certificates are listed, shown, revoked and put on hold like any other. The CA is an external issuer:
its key is not here, so certgate signs no CRL for it; of the CRLs that are imported the newest is
published at /crl/NAME.crl. Who signs OCSP answers about it you decide with `certgate responder`. Where the CA is one of certgate's own (same name, same key), its records
are filled. Import the index first if there is one: a CRL does not say when certificates expire.

It may be interrupted and run again, and repeated with newer files: what is known is passed over.
Without a running server it works on the data directory itself.

Examples:
  certgate import --issuer-cert ca.pem --index demoCA/index.txt
  certgate import --issuer-cert ca.pem --certs demoCA/newcerts --bind subject.cn
  certgate import --issuer-cert ca.pem --name old-ca --crl old-ca.crl"
)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Certificate of the CA, PEM or DER
    #[arg(long, value_name = "FILE")]
    issuer_cert: PathBuf,
    /// What the CA is to be called here [default: after its common name]
    #[arg(long, value_name = "NAME")]
    name: Option<IssuerId>,
    /// Bind each certificate that has not expired to the device or user that it names: what happens to those happens to it
    #[arg(long, value_enum, value_name = "BY")]
    bind: Option<Bind>,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bind {
    /// The common name of its subject is a device's id, or one of its identities (serial, UDID ..)
    #[value(name = "subject.cn")]
    SubjectCommonName,
    /// The common name of its subject is a user's id
    #[value(name = "user:subject.cn")]
    UserCommonName,
}

impl Bind {
    const fn rule(self) -> BindRule {
        match self {
            Self::SubjectCommonName => BindRule::SubjectCommonName,
            Self::UserCommonName => BindRule::UserCommonName,
        }
    }
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SourceArgs {
    /// The database of `openssl ca`, easy-rsa and the like: index.txt
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// A CRL of the CA, DER or PEM; its signature is checked
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// A directory of certificates, DER or PEM; their signatures are checked
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
}

impl SourceArgs {
    fn source(self) -> Outcome<Source> {
        let source = self.index.map(Source::Index);
        let source = source.or_else(|| self.crl.map(Source::Crl));
        let source = source.or_else(|| self.certs.map(Source::Certificates));
        source.ok_or_else(|| Failure::usage("say what to import: --index, --crl or --certs"))
    }
}

const FIELDS: &[Field] = &[
    ("Issuer", "/target/issuer"),
    ("Subject", "/target/subject"),
    ("External", "/target/external"),
    ("Told of", "/told"),
    ("New", "/added"),
    ("Completed", "/completed"),
    ("Revoked", "/revoked"),
    ("On hold", "/held"),
    ("Released", "/released"),
    ("Known before", "/unchanged"),
    ("Outdated", "/outdated"),
    ("Bound", "/bound"),
    ("Not bound", "/unbound"),
    ("Refused", "/refused"),
    ("CRL", "/crl"),
];

/// Runs `certgate import`.
pub(super) fn run(args: ImportArgs, format: Format) -> Outcome {
    let request = import::Request {
        server: &args.server.connect()?,
        place: &args.server,
        issuer_certificate: args.issuer_cert,
        name: args.name,
        source: args.source.source()?,
        bind: args.bind.map(Bind::rule),
    };
    let imported = import::run(&request)?;
    let value: Value = serde_json::to_value(&imported).map_err(Failure::error)?;
    output::object(format, &value, FIELDS);
    if format == Format::Table {
        tell(&imported);
    }
    match imported.refused {
        0 => Ok(()),
        refused => Err(Failure::partial(format_args!("{refused} of {} were refused", imported.told))),
    }
}

fn tell(imported: &Imported) {
    tell_some(&imported.refusals, imported.refused, "");
    tell_some(&imported.unbound_places, imported.unbound, "not bound: ");
    if imported.outdated > 0 {
        let number = imported.outdated;
        note(&format!(
            "note: a newer CRL of that CA was imported before: {number} that this one says are on hold were left as they are"
        ));
    }
    let external = imported.target.as_ref().is_some_and(|target| target.external);
    if let Some(crl) = imported.crl.as_ref().filter(|crl| external && !crl.published) {
        note(if crl.partial {
            "note: the CRL is about a partition of the certificates; it is not published"
        } else if crl.number.is_some() && crl.next_update.is_some() {
            "note: a newer CRL of that CA was imported before, and stays published"
        } else {
            "note: the CRL has no nextUpdate, or no number below 2^64; it is not published"
        });
    }
}

fn tell_some(refusals: &[Refusal], all: u64, what: &str) {
    for refusal in refusals.iter().take(TOLD) {
        note(&format!("{}: {what}{}", refusal.place, refusal.problem));
    }
    if all > TOLD as u64 {
        note(&format!("and {} more; -o json names up to a thousand", all - TOLD as u64));
    }
}
