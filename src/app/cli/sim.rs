//! `certgate sim`: a fleet of simulated devices against a SCEP server.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;

use super::{
    admin::{ServerArgs, YesArgs},
    duration,
    files::read_challenge,
    output::{self, Field, Format, note},
    scep::{AuthorityArgs, Session, discover, rsa_algorithm},
    url,
};
use crate::{
    app::{
        failure::{Failure, Outcome},
        sim::{self, Challenges, Options, Source},
    },
    types::{DeviceId, KeyAlgorithm},
};

/// Try the storm before Monday does: many simulated devices enrol at this or any SCEP server, and check every answer.
#[derive(Args, Debug)]
#[command(
    after_help = "Every answer is opened and verified: signature, transactionID, nonce, our key, the CA's
signature, a serial number that no other device has; OCSP answers with their nonce. What is
wrong is counted by kind, the first few are shown in full. Times are those of the exchange, each
over a connection of its own, without what this machine needs for its cryptography. A busy
server's Retry-After is obeyed, PENDING is polled. Ctrl-C lets nothing new begin and shows the
summary.

Examples:
  certgate sim --url http://pki.lab.example/scep/device --devices 500 --challenge-file shared.txt
  certgate sim --url http://127.0.0.1:8080/scep/device --tickets --devices 200 \\
    --rate 50/s --ocsp --crl --wipe 10 --yes
  certgate sim --url http://lb.lab.example/scep/device --tickets \\
    --ocsp=http://lb.lab.example/ocsp -o json --yes
  certgate sim --cleanup sim-1a2b3c4d-

Exit codes: 0 all right, 5 some of it failed, 1 nothing worked."
)]
pub(super) struct SimArgs {
    /// URL of the SCEP server, without `?operation=`
    #[arg(long, value_name = "URL", value_parser = url::scep, required_unless_present = "cleanup")]
    url: Option<String>,
    /// SHA-256 or SHA-1 fingerprint that one of its CA certificates must have
    #[arg(long, value_name = "HEX")]
    ca_fingerprint: Option<String>,
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,
    /// How many of them are at work at the same time
    #[arg(long, value_name = "C", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// How many begin in a second, as 50/s [default: as fast as they get through]
    #[arg(long, value_name = "R/s", value_parser = rate)]
    rate: Option<f64>,
    /// File with the challenge that all devices know, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "tickets")]
    challenge_file: Option<PathBuf>,
    /// Register each device on the local gateway and mint a ticket for it; retire the devices at the end
    #[arg(long)]
    tickets: bool,
    /// The profile that takes the tickets [default: the name after /scep/ in the URL, else device]
    #[arg(long, value_name = "NAME", requires = "tickets")]
    profile: Option<String>,
    /// Name to ask for; $DEVICE$ is the device's
    #[arg(long, value_name = "DN", default_value = "CN=$DEVICE$")]
    subject: String,
    /// How many keys the devices share: making RSA keys costs this machine more than answering costs the server
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: u32,
    /// Kind of the keys: rsa-2048, rsa-3072 or rsa-4096
    #[arg(long, value_name = "KIND", default_value = "rsa-2048", value_parser = rsa_algorithm)]
    key_type: KeyAlgorithm,
    /// Each device renews its certificate at once; the profile's renewal window must allow it
    #[arg(long)]
    renew: bool,
    /// Each device asks OCSP for its certificate's status, with a nonce; where the certificate says, or at this URL
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = IN_CERTIFICATE, value_parser = source)]
    ocsp: Option<Source>,
    /// Each device fetches the CRL; where the certificate says, or at this URL
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = IN_CERTIFICATE, value_parser = source)]
    crl: Option<Source>,
    /// Wipe so many of a hundred devices, and measure how long until OCSP says revoked
    #[arg(long, value_name = "PERCENT", default_value_t = 0, requires = "tickets", value_parser = clap::value_parser!(u32).range(0..=100))]
    wipe: u32,
    /// No device begins after this time, as 90s, 15m or 12h [default: 10m, and then it counts as only partly done]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    duration: Option<duration::Seconds>,
    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    timeout: duration::Seconds,
    /// Longest time that a device waits for a busy server, an operator's decision, or OCSP to say revoked
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    patience: duration::Seconds,
    /// Names of devices begin with this and a number of the run
    #[arg(long, value_name = "TEXT", default_value = "sim-")]
    prefix: String,
    /// Leave the registered devices in service instead of retiring them
    #[arg(long, requires = "tickets")]
    keep: bool,
    /// Only retire the devices that an earlier run registered and whose names begin with this
    #[arg(long, value_name = "RUN", conflicts_with_all = ["url", "tickets", "challenge_file"])]
    cleanup: Option<String>,
    #[command(flatten)]
    yes: YesArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What stands for the URL in the certificate.
const IN_CERTIFICATE: &str = "certificate";

/// How long devices begin unless something else was asked for.
const USUAL_DURATION: Duration = Duration::from_secs(600);

const CLEANED: &[Field] = &[("Retired", "/retired"), ("Failed", "/failed")];

/// Runs `certgate sim`.
pub(super) fn run(args: &SimArgs, format: Format) -> Outcome {
    if let Some(prefix) = &args.cleanup {
        return clean_up(args, prefix, format);
    }
    let url = args.url.clone().ok_or_else(|| Failure::usage("which server? Say --url URL"))?;
    let session = Session::new()?;
    let ca_fingerprint = args.ca_fingerprint.clone();
    let server = AuthorityArgs { url, ca_fingerprint, ca_identifier: None, next: false };
    let client = session.client(&server);
    let run = format!("{}{}-", args.prefix, hex::encode(client.random::<4>()));
    let options = options(args, &server.url, run)?;
    let authority = discover(&client, &server)?;
    sim::check(&options)?;
    announce(&options, args.yes)?;
    let report = sim::run(&options, &authority)?;
    report.print(format);
    if report.is_kept() {
        note(&format!(
            "the devices stay in service; retire them with `certgate sim --cleanup {}`",
            options.run
        ));
    }
    report.verdict()
}

fn options(args: &SimArgs, url: &str, run: String) -> Outcome<Options> {
    let challenges = match &args.challenge_file {
        Some(path) => Challenges::Shared(read_challenge(path)?),
        None if args.tickets => Challenges::Tickets {
            gateway: args.server.clone(),
            profile: args.profile.clone().unwrap_or_else(|| profile_of(url)),
        },
        None => Challenges::None,
    };
    let seconds = |duration::Seconds(seconds)| Duration::from_secs(seconds);
    let options = Options {
        url: url.to_owned(),
        run,
        devices: args.devices,
        connections: usize::from(args.connections),
        rate: args.rate,
        challenges,
        subject: args.subject.clone(),
        keys: args.keys,
        key_type: args.key_type,
        renew: args.renew,
        ocsp: args.ocsp.clone(),
        crl: args.crl.clone(),
        wipe: args.wipe,
        duration: args.duration.map_or(USUAL_DURATION, seconds),
        is_timed: args.duration.is_some(),
        time_out: seconds(args.timeout),
        patience: seconds(args.patience),
        keep: args.keep,
    };
    let first = options.device(0);
    first.parse::<DeviceId>().map_err(|error| Failure::usage(format_args!("--prefix: {error}")))?;
    options.subject(&first)?;
    Ok(options)
}

/// Says what will be there afterwards that is not there now. On a gateway of one's own it needs a yes.
fn announce(options: &Options, yes: YesArgs) -> Outcome {
    let (count, first, last) = (options.devices, options.device(0), options.device(options.devices - 1));
    let certificates = u64::from(count) * if options.renew { 2 } else { 1 };
    note(&format!("asks {} for {certificates} certificates, for devices {first} to {last}", options.url));
    let Challenges::Tickets { profile, .. } = &options.challenges else {
        note("they stay valid: this server's operator has to revoke them");
        return Ok(());
    };
    let after = if options.keep {
        "They stay in service afterwards."
    } else {
        "Afterwards they are retired, and their certificates are revoked for good: they stay on the CRL until they expire."
    };
    note(&format!(
        "registers these devices on the gateway, and mints a ticket of profile \"{profile}\" for each. {after}"
    ));
    yes.confirm("Go on?")
}

fn clean_up(args: &SimArgs, prefix: &str, format: Format) -> Outcome {
    if prefix.is_empty() {
        return Err(Failure::usage("--cleanup needs the name of a run, as sim-1a2b3c4d-"));
    }
    args.yes.confirm(&format!(
        "Retire all simulated devices whose names begin with {prefix}, and revoke their certificates for good?"
    ))?;
    let (retired, failed) = sim::clean_up(&args.server, prefix)?;
    output::object(format, &json!({ "retired": retired, "failed": failed }), CLEANED);
    match (retired, failed) {
        (_, 0) => Ok(()),
        (0, _) => Err(Failure::error("no device could be retired")),
        _ => Err(Failure::partial(format_args!("{failed} devices could not be retired"))),
    }
}

/// Where to ask.
#[expect(clippy::unnecessary_wraps, reason = "the form that clap wants of a parser")]
fn source(text: &str) -> Result<Source, Failure> {
    Ok(if text == IN_CERTIFICATE { Source::Certificate } else { Source::Url(text.to_owned()) })
}

/// `/scep/NAME` names the profile.
fn profile_of(url: &str) -> String {
    let name = url.split_once("/scep/").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    name.filter(|name| !name.is_empty()).unwrap_or("device").to_owned()
}

/// Reads `50/s`, or the number alone.
fn rate(text: &str) -> Result<f64, Failure> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    number
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| Failure::usage("expected a number of devices per second, as 50/s or 0.5/s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_so_many_in_a_second() {
        for (text, expected) in [("50/s", Some(50.0)), ("0.5", Some(0.5)), ("0/s", None), ("-1", None)] {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
        for text in ["", "/s", "x/s", "50/m", "inf", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_url_names_the_profile() {
        for (url, profile) in [
            ("http://a/scep/wifi", "wifi"),
            ("http://a/scep/wifi/pkiclient.exe", "wifi"),
            ("http://a/certsrv/mscep/mscep.dll", "device"),
            ("http://a/scep/", "device"),
        ] {
            assert_eq!(profile_of(url), profile, "{url}");
        }
    }
}
