//! `certgate quickstart`, `init`, `serve`, `check-config` and `doctor`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    admin::{ServerArgs, YesArgs},
    files::read_list,
    output::{self, Field, Format},
};
use crate::{
    adapters::keys::KekSource,
    app::{
        failure::{Failure, FailureKind, Outcome},
        init::{self, Authorities, CONFIG_FILE, Initialised},
        quickstart, serve as server,
        settings::{self, Settings},
        telemetry,
    },
    types::{DigestAlgorithm, KeyAlgorithm},
};

/// Where packages keep the configuration file.
const PACKAGED_CONFIG: &str = "/etc/certgate/certgate.toml";

/// See the whole job in one command: create everything in an empty directory, serve, enrol a simulated device over SCEP, check it
/// over OCSP and CRL, wipe it, see it revoked.
#[derive(Args, Debug)]
#[command(
    after_help = "Everything is real: the device speaks HTTP to the gateway like any other. Started again on the same
directory, it serves what is there and creates nothing.

Examples:
  certgate quickstart --data ./lab
  certgate quickstart --data /tmp/check --once && echo works"
)]
pub(super) struct QuickstartArgs {
    /// Directory for everything: new, or empty, or one of an earlier quickstart
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// End after the check, with exit code 0, or 1 if a step failed
    #[arg(long)]
    once: bool,
    /// Where devices connect [default: 127.0.0.1:8080, or a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Create a new gateway: root, issuing CA, SCEP message key, OCSP signers, TLS certificate, a first profile, an owner token.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate init --data /var/lib/certgate --name \"Example Lab\" --url http://pki.lab.example
  certgate init --data ./ec --key p-384 --years 20
  certgate init --config /etc/certgate/certgate.toml     fills the data directory that it names

Keys are sealed under a key-encryption key. It is made in the data directory unless you say where it is; keep a copy of it
apart from the backups of the data.")]
pub(super) struct InitArgs {
    /// Directory to create, or an empty one; gets its own certgate.toml
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    data: Option<PathBuf>,
    /// An existing configuration file whose data directory is to be filled
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "url", "listen", "kek_file", "kek_passphrase_file", "server_names"])]
    config: Option<PathBuf>,
    /// Organisation, for the names of the CAs
    #[arg(long, value_name = "NAME", default_value = "certgate")]
    name: String,
    /// What devices and network gear reach: base of the CRL, OCSP and CA URLs in certificates [default: http:// and --listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where devices connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The root's key: rsa-2048, rsa-3072, rsa-4096, p-256 or p-384
    #[arg(long, value_name = "KIND", default_value = "rsa-3072")]
    key: KeyAlgorithm,
    /// The issuing CA's key [default: that of --key]
    #[arg(long, value_name = "KIND")]
    issuing_key: Option<KeyAlgorithm>,
    /// Digest of the CAs' RSA signatures: sha256, sha384 or sha512 (p-256 signs with sha256, p-384 with sha384)
    #[arg(long, value_name = "DIGEST", value_parser = digest, default_value = "sha256")]
    digest: DigestAlgorithm,
    /// Life of the CAs in years, 1 to 30
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=30))]
    years: u32,
    /// File of the key-encryption key; made if it is not there [default: kek.key in the data directory]
    #[arg(long, value_name = "FILE", conflicts_with = "kek_passphrase_file")]
    kek_file: Option<PathBuf>,
    /// File with a passphrase (mode 0600) that the key-encryption key is derived from
    #[arg(long, value_name = "FILE")]
    kek_passphrase_file: Option<PathBuf>,
    /// Host name or address in the TLS certificate, beside 127.0.0.1; may be repeated [default: localhost]
    #[arg(long = "server-name", value_name = "NAME")]
    server_names: Vec<String>,
}

/// Run the gateway.
#[derive(Args, Debug)]
#[command(
    after_help = "Without arguments the configuration is ./certgate.toml, else /etc/certgate/certgate.toml.
SIGTERM finishes the requests in flight and ends; a second signal ends at once. The configuration is
read at the start: `certgate check-config`, then restart (SIGHUP changes nothing)."
)]
pub(super) struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// A data directory that `certgate init` made: its certgate.toml
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Check a configuration file and name every mistake by its key.
#[derive(Args, Debug)]
#[command(
    after_help = "Files and credentials that it names are read, too: run it as the server's own user. Exit codes: 0 ok, 2 a mistake."
)]
pub(super) struct CheckConfigArgs {
    /// The configuration file [default: ./certgate.toml, else /etc/certgate/certgate.toml]
    file: Option<PathBuf>,
}

/// Ask a running gateway what works and what does not.
#[derive(Args, Debug)]
#[command(
    after_help = "Without --probe nobody outside is asked: what is known of Intune, approval webhooks and
directories is how the last exchange ended. With it the gateway asks Entra ID for tokens and Graph
for Intune's services, sends each approval webhook a signed GET, reads the CRLs in each directory
back and compares them, now, and tells what works; no request is validated or decided, and nothing
is written.

A database that is older than what was published (a copy was put back) is found out at the start,
and the gateway then signs nothing that could be wrong. Put the present database back if there is
one. If there is none, --accept-restore goes on from the older one: give the newest CRL of each
issuer, so that what was revoked stays revoked.

While the clock is further ahead than is believed (check \"clock\": a machine slept, a backup of
last week was restored), what cannot be undone waits for a day. --accept-clock says that the clock
is right: then it is done at once.

Examples:
  certgate doctor
  certgate doctor --probe
  certgate doctor --accept-restore --crl root.crl --crl issuing.crl
  certgate doctor --accept-clock

Exit codes: 0 ready, 1 not ready, or what was probed does not work."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Also ask those whom the gateway depends on (Intune, approval webhooks, directories): takes as long as they take
    #[arg(long, conflicts_with_all = ["accept_restore", "accept_clock"])]
    probe: bool,
    /// Go on from a database that is older than what was published
    #[arg(long)]
    accept_restore: bool,
    /// The newest CRL of an issuer, DER or PEM; once for each issuer
    #[arg(long = "crl", value_name = "FILE", requires = "accept_restore")]
    crls: Vec<PathBuf>,
    /// Go on without the CRL of an issuer, or with OCSP for an external one: what was revoked since the copy is good again
    #[arg(long, requires = "accept_restore")]
    accept_lost_revocations: bool,
    /// Believe the gateway's clock as it is: what waits because the clock may be ahead is done
    #[arg(long, conflicts_with = "accept_restore")]
    accept_clock: bool,
    #[command(flatten)]
    yes: YesArgs,
}

/// Three exchanges of at most two minutes each (outbound.timeout-seconds).
const PROBE_LIMIT: Duration = Duration::from_secs(400);

const MADE: &[Field] = &[
    ("Configuration", "/config"),
    ("Data", "/data"),
    ("Root SHA-256", "/root_sha256"),
    ("Root SHA-1", "/root_sha1"),
    ("Issuing CA SHA-256", "/issuing_sha256"),
    ("SCEP key SHA-256", "/message_sha256"),
    ("Owner token in", "/owner_token"),
    ("URLs begin with", "/public_url"),
];

const CHECKS: &[Field] =
    &[("CHECK", "/name"), ("RESULT", "/result"), ("FOUND", "/detail"), ("WHAT TO DO", "/hint")];

/// Runs `certgate quickstart`.
pub(super) fn quickstart(args: QuickstartArgs) -> Outcome {
    quickstart::run(&quickstart::Options { data: args.data, once: args.once, listen: args.listen })
}

/// Runs `certgate init`.
pub(super) fn init(args: InitArgs, format: Format) -> Outcome {
    let authorities = Authorities {
        organisation: args.name.clone(),
        root_key: args.key,
        issuing_key: args.issuing_key.unwrap_or(args.key),
        digest: args.digest,
        years: args.years,
    };
    output::note("making keys; RSA takes a few seconds ..");
    let made = match args.config {
        Some(config) => init::create_configured(&config, &authorities)?,
        None => init::create(&request(args, authorities)?)?,
    };
    tell(&made, format);
    Ok(())
}

fn request(args: InitArgs, authorities: Authorities) -> Outcome<init::Request> {
    let data = args.data.ok_or_else(|| Failure::usage("which directory? Say --data DIR"))?;
    // The configuration file is read from wherever certgate is started: only whole paths mean the same everywhere.
    let whole = |path: PathBuf| std::path::absolute(&path).map_err(Failure::while_doing(path.display()));
    let kek = match (args.kek_file, args.kek_passphrase_file) {
        (Some(file), _) => Some(KekSource::File(whole(file)?)),
        (None, Some(file)) => Some(KekSource::PassphraseFile(whole(file)?)),
        (None, None) => None,
    };
    // In every certificate, and never to be changed: it has to lead somewhere.
    let url = args.url.clone().unwrap_or_else(|| format!("http://{}", args.listen));
    if ["http://0.0.0.0", "http://[::]"].iter().any(|nowhere| url.starts_with(nowhere)) {
        return Err(Failure::usage(format_args!("devices and network gear cannot reach {url}"))
            .hint("say --url http://NAME: it goes into every certificate"));
    }
    let port = |port| SocketAddr::new(args.listen.ip(), port);
    Ok(init::Request {
        data,
        authorities,
        public_url: args.url,
        device: args.listen,
        admin: port(8443),
        ops: SocketAddr::from(([127, 0, 0, 1], 9090)),
        kek,
        server_names: args.server_names,
    })
}

fn tell(made: &Initialised, format: Format) {
    let told = json!({
        "config": made.config.display().to_string(),
        "data": made.data.display().to_string(),
        "root_sha256": made.made.root.to_string(),
        "root_sha1": made.made.root_sha1,
        "issuing_sha256": made.made.issuing.to_string(),
        "message_sha256": made.made.message.to_string(),
        "owner_token": made.token.display().to_string(),
        "public_url": made.public_url,
    });
    output::object(format, &told, MADE);
    if made.public_url.contains("//127.") || made.public_url.contains("//localhost") {
        output::note(
            "warning: every certificate will point at this machine only; for use by others, start again with --url http://NAME",
        );
    }
    if made.key_beside_store {
        output::note(
            "note: the key-encryption key lies in the data directory: whoever copies the data has the key too. For more than a \
             trial, start again with --kek-file FILE or --kek-passphrase-file FILE elsewhere, or move it and set keys.kek",
        );
    }
    if format == Format::Table {
        output::line(&format!(
            "\nNext:\n  certgate serve --config {}\n  keep a copy of the key-encryption key apart from the data: \
             without it the data cannot be opened",
            made.config.display()
        ));
    }
}

/// Runs `certgate serve`.
pub(super) fn serve(args: &ServeArgs) -> Outcome {
    let config = match (&args.config, &args.data) {
        (Some(config), _) => config.clone(),
        (None, Some(data)) => data.join(CONFIG_FILE),
        (None, None) => usual_config()?,
    };
    let (settings, warnings) = Settings::load(&config).map_err(|errors| {
        let failure = Failure::usage(&errors);
        if config.exists() { failure } else { failure.hint("make one with `certgate init --data DIR`") }
    })?;
    telemetry::start_logging(&settings.log).map_err(Failure::error)?;
    for warning in warnings {
        tracing::warn!(%warning, "configuration");
    }
    server::run(&settings)
}

/// Runs `certgate check-config`.
pub(super) fn check_config(args: &CheckConfigArgs, format: Format) -> Outcome {
    let config = args.file.clone().map_or_else(usual_config, Ok)?;
    let report = settings::check(&config);
    match format {
        Format::Json => output::json(&json!(report)),
        Format::Table if report.usable => output::line(&report.to_string()),
        Format::Table => return Err(Failure::usage(report)),
    }
    if report.usable { Ok(()) } else { Err(Failure::usage("the configuration file cannot be used")) }
}

fn usual_config() -> Outcome<PathBuf> {
    let candidates = [Path::new(CONFIG_FILE), Path::new(PACKAGED_CONFIG)];
    let found = candidates.into_iter().find(|path| path.exists()).map(Path::to_owned);
    found.ok_or_else(|| {
        Failure::usage(format_args!("there is no ./{CONFIG_FILE} and no {PACKAGED_CONFIG}"))
            .hint("say --config FILE or --data DIR, or make a gateway with `certgate init --data DIR`")
    })
}

/// Runs `certgate doctor`.
pub(super) fn doctor(args: &DoctorArgs, format: Format) -> Outcome {
    if args.accept_restore {
        return accept_restore(args, format);
    }
    if args.accept_clock {
        return accept_clock(args, format);
    }
    let server = args.server.connect()?;
    let mut report = server.get("/health")?;
    let probe = if args.probe {
        Some(server.upload("/health/probe", "application/json", b"{}".to_vec(), PROBE_LIMIT)?)
    } else {
        None
    };
    if let (Some(all), Some(probe)) = (report.as_object_mut(), &probe) {
        all.insert("probe".to_owned(), probe.clone());
    }
    match format {
        Format::Json => output::json(&report),
        Format::Table => output::line(output::table_to_read(&all_checks(&report), CHECKS).trim_end()),
    }
    let holds = |pointer: &str| report.pointer(pointer).and_then(Value::as_bool);
    if holds("/ready") != Some(true) {
        return Err(Failure::error("the gateway is not ready"));
    }
    match holds("/probe/works") {
        Some(false) => {
            Err(Failure::error("the gateway is ready, and not all whom it depends on can be asked"))
        }
        Some(true) | None => Ok(()),
    }
}

/// Those of the gateway, then those of the probe.
fn all_checks(report: &Value) -> Vec<Value> {
    let checks =
        |pointer: &str| report.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = checks("/checks");
    if report.get("probe").is_some() {
        match checks("/probe/checks") {
            probed if probed.is_empty() => {
                all.push(json!({"name": "probe", "result": "pass", "detail": "nobody else is asked: there is no [intune], no approval-webhook and no [directory.NAME]"}));
            }
            probed => all.extend(probed),
        }
    }
    all
}

const ACCEPTED: &[Field] = &[
    ("The database ended", "/database_ends_at"),
    ("Checkpoint of", "/reached_at"),
    ("It was behind by", "/shortfalls"),
    ("Audit events lost", "/lost_events"),
    ("Issuers", "/issuers"),
    ("Tickets withdrawn", "/tickets"),
    ("Tokens that work", "/tokens"),
];

fn accept_restore(args: &DoctorArgs, format: Format) -> Outcome {
    let pem = |path: &PathBuf| {
        let crl = read_list(path)?;
        let pem = der::pem::encode_string("X509 CRL", der::pem::LineEnding::LF, &crl);
        pem.map_err(Failure::while_doing(path.display()))
    };
    let crls = args.crls.iter().map(pem).collect::<Outcome<Vec<_>>>()?;
    let client = args.server.connect()?;
    args.yes.confirm("Go on from this older database? What happened after it was copied is lost.")?;
    let wanted = json!({ "crls": crls, "accept_lost_revocations": args.accept_lost_revocations });
    let accepted = client.post("/restore/accept", &wanted).map_err(|failure| {
        if failure.kind != FailureKind::Refused || !failure.message.contains("CRL is missing") {
            return failure;
        }
        failure.hint(
            "give each with --crl FILE, as it was last published: from a cache, a device, another machine; or say \
             --accept-lost-revocations",
        )
    })?;
    output::object(format, &accepted, ACCEPTED);
    if format == Format::Table {
        output::note(
            "revoke, wipe and disable again what you did after the copy; your MDM and your logs know",
        );
    }
    Ok(())
}

const CLOCK: &[Field] = &[("The clock shows", "/shown"), ("Believed until now", "/believed")];

fn accept_clock(args: &DoctorArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    let status = client.get("/status")?;
    let now = status["now"].as_str().unwrap_or_default();
    args.yes.confirm(&format!(
        "The gateway's clock shows {now}. Is that right? What is due by it is done, and cannot be undone."
    ))?;
    let accepted = client.post("/clock/accept", &json!({}))?;
    output::object(format, &accepted, CLOCK);
    Ok(())
}

/// The digests that a CA may sign with.
fn digest(text: &str) -> Result<DigestAlgorithm, Failure> {
    [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512]
        .into_iter()
        .find(|digest| digest.as_str() == text)
        .ok_or_else(|| Failure::usage("expected sha256, sha384 or sha512"))
}
