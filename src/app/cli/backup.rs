//! `certgate backup` and `certgate restore`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{
    admin::ServerArgs,
    output::{self, Field, Format},
};
use crate::{
    adapters::keys::archive::PassphraseSource,
    app::{
        backup::{self, restore},
        failure::{Failure, Outcome},
    },
};

/// Where the passphrase comes from.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct PassphraseArgs {
    /// File with the passphrase, which only its owner can read (mode 0600)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Name of a systemd credential with the passphrase
    #[arg(long, value_name = "NAME")]
    passphrase_credential: Option<String>,
}

impl PassphraseArgs {
    fn source(self) -> Outcome<PassphraseSource> {
        let file = self.passphrase_file.map(PassphraseSource::File);
        let source = file.or_else(|| self.passphrase_credential.map(PassphraseSource::Credential));
        source.ok_or_else(|| Failure::usage("where is the passphrase? Say --passphrase-file FILE"))
    }
}

/// Back up a gateway, running or stopped, into one encrypted file.
#[derive(Args, Debug)]
#[command(
    after_help = "The file holds every record and the files of the data directory, encrypted under the passphrase.
A key-encryption key that lies elsewhere (a systemd credential, another directory) is not in it,
nor is a configuration file elsewhere: keep copies of both. The CRLs are needed for a restore:
keep the newest ones too, apart from the server.

Examples:
  certgate backup --out certgate.backup --passphrase-file passphrase
  certgate restore --in certgate.backup --passphrase-file passphrase --check"
)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The file to write; an older one is replaced when the new one is whole
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Restore a backup into a new or empty directory.
#[derive(Args, Debug)]
#[command(
    after_help = "What was revoked after the backup must stay revoked: give the newest CRL of each issuer, as it
was last published. CRL numbers go on above all that can have been used, and open one-time
challenges are withdrawn.

Examples:
  certgate restore --in certgate.backup --check --passphrase-file passphrase
  certgate restore --in certgate.backup --data /var/lib/certgate --passphrase-file passphrase \\
    --crl root.crl --crl issuing.crl"
)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// The data directory to make: new, or empty
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    data: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// The newest CRL of an issuer, DER or PEM; once for each issuer
    #[arg(long = "crl", value_name = "FILE")]
    crls: Vec<PathBuf>,
    /// Go on without the CRL of an issuer, or with OCSP for an external one: what was revoked after the backup is good again
    #[arg(long)]
    accept_lost_revocations: bool,
    /// Only read the backup to its end, and write nothing
    #[arg(long, conflicts_with_all = ["data", "crls", "accept_lost_revocations"])]
    check: bool,
}

const MADE: &[Field] = &[
    ("Backup", "/file"),
    ("Taken", "/taken_at"),
    ("Bytes", "/bytes"),
    ("SHA-256", "/sha256"),
    ("From", "/way"),
    ("Files", "/files"),
    ("Not inside", "/not_inside"),
];

const CONTENT: &[Field] = &[
    ("Taken", "/taken_at"),
    ("By certgate", "/version"),
    ("Schema", "/schema"),
    ("Records", "/rows"),
    ("Issuers", "/issuers"),
    ("Files", "/files"),
];

const RESTORED: &[Field] = &[
    ("Data", "/data"),
    ("Backup of", "/backup/taken_at"),
    ("Records", "/backup/rows"),
    ("Files", "/backup/files"),
    ("Issuers", "/issuers"),
    ("Tickets withdrawn", "/tickets"),
    ("To do", "/to_do"),
];

/// Runs `certgate backup`.
pub(super) fn backup(args: BackupArgs, format: Format) -> Outcome {
    let request = backup::Request {
        server: &args.server.connect()?,
        data: args.server.directory()?,
        out: args.out,
        passphrase: args.passphrase.source()?,
    };
    let made = backup::make(&request, &mut output::note)?;
    if made.way == backup::Way::Directory {
        output::note("no server runs: the data directory itself was read");
    }
    print(format, &made, MADE)
}

/// Runs `certgate restore`.
pub(super) fn restore(args: RestoreArgs, format: Format) -> Outcome {
    let passphrase = args.passphrase.source()?;
    let Some(data) = args.data.filter(|_| !args.check) else {
        return print(format, &restore::check(&args.input, &passphrase)?, CONTENT);
    };
    let accept_lost = args.accept_lost_revocations;
    let request = restore::Request { input: args.input, data, passphrase, crls: args.crls, accept_lost };
    let restored = restore::restore(&request)?;
    print(format, &restored, RESTORED)?;
    for issuer in restored.settled.issuers.iter().filter(|issuer| issuer.crl_has_run_out) {
        output::note(&format!(
            "note: the CRL of {} has run out: if a newer one was published, what that lists in addition is good again",
            issuer.issuer
        ));
    }
    if restored.settled.tokens > 0 {
        output::note(&format!(
            "note: {} API tokens of the backup work, even those that were revoked after it: see `certgate token list`",
            restored.settled.tokens
        ));
    }
    output::note(
        "note: devices and users are as in the backup: tell it again what was wiped, retired or disabled after it",
    );
    Ok(())
}

fn print(format: Format, result: &impl serde::Serialize, fields: &[Field]) -> Outcome {
    let value: Value = serde_json::to_value(result).map_err(Failure::error)?;
    output::object(format, &value, fields);
    Ok(())
}
