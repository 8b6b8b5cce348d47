//! `certgate conformance scep|ocsp URL`: asks a server, this one or anybody's, what the RFCs ask of it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    duration,
    files::{read_certificate, read_certificates, read_challenge, replace, writable},
    output::{self, Format},
    url,
};
use crate::{
    adapters::system::{SystemClock, SystemRandomSource},
    app::{
        client::http::HttpClient,
        conformance::{
            self, About, Level, Line, Outcome as CheckOutcome, Report, Suite,
            column::{self, Column},
            junit,
            ocsp::{self, OcspSuite},
            scep::{self, Issued, ScepSuite},
        },
        failure::{Failure, Outcome},
    },
    wire::x509::Name,
};

/// Check any SCEP server or OCSP responder against the RFCs.
#[derive(Args, Debug)]
pub(super) struct ConformanceArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Check a SCEP server (RFC 8894); with a challenge it enrols real certificates
    #[command(after_help = "Examples:
  certgate conformance scep --list
  certgate conformance scep http://ndes.lab.example/certsrv/mscep/mscep.dll
  certgate conformance scep http://pki.lab.example/scep/device --challenge-file challenge.txt
  certgate conformance scep http://pki.lab.example/scep/device --challenge-file challenge.txt \\
    --only 8894-3.5 --only 8894-7

The challenge should be good for about 20 certificates: a static one, or a ticket with
--uses 30. With a one-time challenge, and without any, the checks that need more are skipped.

It sends hostile messages, too, and asks for certificates that it must not get. Certificates
that were issued are named at the end, to be revoked.

Exit codes: 0 no MUST failed, 1 a MUST failed, 2 wrong usage, 5 the server could not be asked,
or not to the end.")]
    Scep(Box<ScepArgs>),
    /// Check an OCSP responder (RFC 6960, RFC 9654, RFC 9919)
    #[command(after_help = "Examples:
  certgate conformance ocsp --list
  certgate conformance ocsp http://pki.lab.example/ocsp --issuer ca.pem --cert device.pem \\
    --revoked-cert old.pem

Exit codes: 0 no MUST failed, 1 a MUST failed, 2 wrong usage, 5 the responder could not be
asked, or not to the end.")]
    Ocsp(Box<OcspArgs>),
    /// Put reports of several servers side by side, as a Markdown table
    #[command(after_help = "Example:
  certgate -o json conformance scep http://pki.lab.example/scep/device \\
    --challenge-file challenge.txt > ours.json
  certgate -o json conformance scep http://ndes.lab.example/certsrv/mscep/mscep.dll > ndes.json
  certgate conformance table ours=ours.json NDES=ndes.json")]
    Table(TableArgs),
}

#[derive(Args, Debug)]
struct TableArgs {
    /// A report that `-o json` printed, and the heading of its column
    #[arg(value_name = "NAME=FILE", required = true, value_parser = named_file)]
    reports: Vec<(String, PathBuf)>,
}

fn named_file(text: &str) -> Result<(String, PathBuf), Failure> {
    let (name, file) = text.split_once('=').ok_or_else(|| Failure::usage("expected NAME=FILE"))?;
    Ok((name.to_owned(), file.into()))
}

/// What both suites take.
#[derive(Args, Debug)]
struct Common {
    /// Make these checks alone: an id, or its beginning, as 8894-3.5.1 or 6960-2.2; may be repeated
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Name all checks, and ask nobody
    #[arg(long)]
    list: bool,
    /// Also write the report here as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How long each exchange may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "20s")]
    timeout: duration::Seconds,
}

impl Common {
    fn write_junit(&self, suite: &str, url: &str, report: &Report) -> Outcome {
        match &self.junit {
            Some(path) => replace(path, junit::junit(suite, url, report).as_bytes()),
            None => Ok(()),
        }
    }

    /// The connection to the server. Errors: the report of some minutes could not be written in the end.
    fn line(&self) -> Outcome<Line> {
        if let Some(path) = &self.junit {
            writable(path).map_err(Failure::while_doing(format_args!("--junit {}", path.display())))?;
        }
        let http = HttpClient::new().map_err(Failure::error)?;
        Ok(Line::new(http.with_limit(Duration::from_secs(self.timeout.0))))
    }
}

#[derive(Args, Debug)]
struct ScepArgs {
    /// URL of the SCEP server, without `?operation=`
    #[arg(value_name = "URL", value_parser = url::scep, required_unless_present = "list")]
    url: Option<String>,
    /// File with a challenge that is good for several certificates, or - for standard input
    #[arg(long, value_name = "FILE")]
    challenge_file: Option<PathBuf>,
    /// Name to ask for [default: CN=certgate-conformance-.., another one each time]
    #[arg(long, value_name = "DN")]
    subject: Option<Name>,
    /// CA identifier for GetCACaps and GetCACert, where one URL serves several CAs
    #[arg(long, value_name = "NAME")]
    ca_identifier: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct OcspArgs {
    /// URL of the responder
    #[arg(value_name = "URL", value_parser = url::http, required_unless_present = "list")]
    url: Option<String>,
    /// Certificate of the CA that issued the certificates
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    issuer: Option<PathBuf>,
    /// A certificate that is good
    #[arg(long, value_name = "FILE", required_unless_present = "list")]
    cert: Option<PathBuf>,
    /// A certificate that is revoked
    #[arg(long, value_name = "FILE")]
    revoked_cert: Option<PathBuf>,
    /// Believe this responder, whoever issued its certificate (a trusted responder); several in a PEM file may be named
    #[arg(long, value_name = "FILE")]
    responder: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs `certgate conformance ..`.
pub(super) fn run(args: ConformanceArgs, format: Format) -> Outcome {
    match args.verb {
        Verb::Scep(args) => run_scep(&args, format),
        Verb::Ocsp(args) => run_ocsp(&args, format),
        Verb::Table(args) => print_table(&args),
    }
}

fn print_table(args: &TableArgs) -> Outcome {
    let columns: Vec<Column> = args.reports.iter().map(read_column).collect::<Outcome<_>>()?;
    output::line(column::table(&columns).trim_end());
    Ok(())
}

fn read_column((name, path): &(String, PathBuf)) -> Outcome<Column> {
    let text = std::fs::read_to_string(path).map_err(Failure::while_doing(path.display()))?;
    let report = serde_json::from_str(&text).map_err(Failure::while_doing(path.display()))?;
    Ok(Column { name: name.clone(), report })
}

fn run_scep(args: &ScepArgs, format: Format) -> Outcome {
    let abouts = selected::<ScepSuite<'_>>(&args.common.only)?;
    let Some(url) = args.url.as_ref().filter(|_| !args.common.list) else {
        list(&abouts, format);
        return Ok(());
    };
    let (clock, random) = (SystemClock, SystemRandomSource::default());
    let options = scep::Options {
        url: url.clone(),
        ca_identifier: args.ca_identifier.clone(),
        challenge: args.challenge_file.as_deref().map(read_challenge).transpose()?,
        subject: args.subject.clone(),
    };
    let enrols = options.challenge.is_some();
    let mut suite = ScepSuite::new(options, args.common.line()?, &clock, &random);
    announce_scep(&abouts, url, enrols, args.subject.as_ref(), suite.label());
    let report = conformance::run(&mut suite, &args.common.only, &mut |outcome| show(format, outcome));
    args.common.write_junit("scep", url, &report)?;
    conclude(format, url, &report, suite.issued())
}

fn announce_scep(abouts: &[About], url: &str, enrols: bool, subject: Option<&Name>, label: &str) {
    let count = abouts.len();
    output::note(&format!("{count} checks of {url}; some send what is wrong on purpose"));
    if enrols {
        let subject =
            subject.map_or_else(|| format!("CN=certgate-conformance-{label}-.."), ToString::to_string);
        output::note(&format!(
            "asks for up to 20 real certificates as {subject}; those issued are named at the end"
        ));
    } else {
        output::note("without --challenge-file nothing is enrolled, and what needs a certificate is skipped");
    }
}

fn run_ocsp(args: &OcspArgs, format: Format) -> Outcome {
    let abouts = selected::<OcspSuite<'_>>(&args.common.only)?;
    let given = (args.url.as_ref(), args.issuer.as_ref(), args.cert.as_ref());
    let (false, (Some(url), Some(issuer), Some(cert))) = (args.common.list, given) else {
        list(&abouts, format);
        return Ok(());
    };
    let options = ocsp::Options {
        url: url.clone(),
        issuer: read_certificate(issuer)?,
        certificate: read_certificate(cert)?,
        revoked: args.revoked_cert.as_deref().map(read_certificate).transpose()?,
        trusted: args.responder.as_deref().map(read_certificates).transpose()?.unwrap_or_default(),
    };
    for certificate in std::iter::once(&options.certificate).chain(&options.revoked) {
        if certificate.is_signed_by(&options.issuer).is_err() {
            let (issuer, subject) = (issuer.display(), certificate.subject());
            return Err(Failure::usage(format_args!("{issuer} did not sign \"{subject}\""))
                .hint(format_args!("its issuer is \"{}\"", certificate.issuer())));
        }
    }
    let (clock, random) = (SystemClock, SystemRandomSource::default());
    let mut suite = OcspSuite::new(options, args.common.line()?, &clock, &random);
    output::note(&format!("{} checks of {url}; some send what is wrong on purpose", abouts.len()));
    let report = conformance::run(&mut suite, &args.common.only, &mut |outcome| show(format, outcome));
    args.common.write_junit("ocsp", url, &report)?;
    conclude(format, url, &report, &[])
}

/// The checks that `only` names. Errors: one of them names none.
fn selected<S: Suite>(only: &[String]) -> Outcome<Vec<About>> {
    let all: Vec<About> = S::checks().iter().map(|check| check.about).collect();
    if let Some(stray) = only.iter().find(|wanted| !all.iter().any(|about| about.is_selected_by(wanted))) {
        return Err(
            Failure::usage(format_args!("no check is named {stray}")).hint("--list names all of them")
        );
    }
    Ok(conformance::selected::<S>(only).iter().map(|check| check.about).collect())
}

fn list(abouts: &[About], format: Format) {
    match format {
        Format::Json => output::json(&json!({ "items": abouts.iter().map(described).collect::<Vec<_>>() })),
        Format::Table => {
            let items: Vec<Value> = abouts.iter().map(described).collect();
            let columns = [("LEVEL", "/level"), ("ID", "/id"), ("WHAT IS ASKED", "/claim")];
            output::line(output::table(&items, &columns).trim_end());
        }
    }
}

fn described(about: &About) -> Value {
    json!({
        "id": about.id,
        "section": about.section(),
        "level": about.level.to_string(),
        "claim": about.claim,
    })
}

/// One check as it ends; JSON comes whole at the end.
fn show(format: Format, outcome: &CheckOutcome) {
    if format == Format::Json {
        return;
    }
    let about = &outcome.about;
    output::line(&format!("{:<8} {:<6} {:<38} {}", outcome.verdict(), about.level, about.id, about.claim));
    if let Some(remark) = outcome.remark().or(outcome.seen.as_deref()) {
        let what = if matches!(outcome.verdict(), "skipped" | "n/a") { "why" } else { "seen" };
        let remark: String = remark.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        output::line(&format!("{:>15} {what}: {remark}", ""));
    }
}

/// The sum, and what it means for the exit code.
fn conclude(format: Format, url: &str, report: &Report, issued: &[Issued]) -> Outcome {
    match format {
        Format::Json => output::json(&told(url, report, issued)),
        Format::Table => {
            for issued in issued {
                output::line(&format!("issued: serial {} \"{}\"", issued.serial, issued.subject));
            }
            output::line(&sum(report));
        }
    }
    if let Some(reason) = &report.given_up {
        return Err(Failure::partial(format_args!("{url} could not be asked to the end: {reason}"))
            .hint("is the URL right, and does the server run? --timeout gives it more time"));
    }
    match report.failed(Level::Must) {
        0 => Ok(()),
        1 => Err(Failure::error("1 MUST failed")),
        count => Err(Failure::error(format_args!("{count} MUSTs failed"))),
    }
}

fn sum(report: &Report) -> String {
    let count = |verdict| report.count(verdict);
    format!(
        "{} checks: {} passed, {} with a warning, {} failed ({} MUST, {} SHOULD, {} MAY), {} skipped, {} not applicable",
        report.outcomes.len(),
        count("pass"),
        count("warning"),
        count("fail"),
        report.failed(Level::Must),
        report.failed(Level::Should),
        report.failed(Level::May),
        count("skipped"),
        count("n/a"),
    )
}

fn told(url: &str, report: &Report, issued: &[Issued]) -> Value {
    let checks = report.outcomes.iter().map(|outcome| {
        let mut check = described(&outcome.about);
        if let Some(fields) = check.as_object_mut() {
            fields.insert("verdict".to_owned(), outcome.verdict().into());
            fields.insert("remark".to_owned(), outcome.remark().into());
            fields.insert("seen".to_owned(), outcome.seen.as_deref().into());
        }
        check
    });
    json!({
        "url": url,
        "checks": checks.collect::<Vec<_>>(),
        "passed": report.count("pass"),
        "warnings": report.count("warning"),
        "failed": {
            "must": report.failed(Level::Must),
            "should": report.failed(Level::Should),
            "may": report.failed(Level::May),
        },
        "skipped": report.count("skipped"),
        "not_applicable": report.count("n/a"),
        "given_up": report.given_up,
        "issued": issued.iter().map(|it| json!({"serial": it.serial, "subject": it.subject})).collect::<Vec<_>>(),
    })
}
