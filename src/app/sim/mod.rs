//! `certgate sim`: a fleet of simulated devices that enrols all at once, and checks every answer as strictly as a real device should.
//!
//! | file | what |
//! |---|---|
//! | `device` | what one device does, from GetCACaps to the wipe |
//! | `fleet` | many of them beside each other, at a rate, until all are done, the time is over or somebody stops it |
//! | `gateway` | the operator's part on the local gateway: devices and tickets before, wipes meanwhile, retirement after |
//! | `tally` | what is counted and measured, and failures by kind |
//! | `report` | the summary |
//!
//! Each device has a transactionID and a connection of its own for each exchange, as real devices have. Private keys come from a pool, because
//! making RSA keys costs this machine more than it costs the server to answer.

mod device;
mod fleet;
mod gateway;
mod report;
mod tally;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use device::{Storm, Worker};
use fleet::{Drive, Stop};
pub use gateway::{check, clean_up};
pub use report::Report;
use tally::Tally;

use super::{
    cli::{
        admin::{AdminClient, ServerArgs},
        output::note,
    },
    client::{http::HttpClient, key::ClientKey},
    failure::{Failure, Outcome},
};
use crate::{
    adapters::system::{SystemClock, SystemRandomSource},
    types::{KeyAlgorithm, Secret},
    wire::{scep::client::Authority, x509::Name},
};

/// What devices prove themselves with.
#[derive(Clone, Debug)]
pub enum Challenges {
    /// Nothing: an operator approves, or the server asks for nothing.
    None,
    /// All know the same.
    Shared(Secret),
    /// Each device is registered on this gateway, and has a ticket of its own.
    Tickets {
        /// The gateway.
        gateway: ServerArgs,
        /// The profile that takes the tickets.
        profile: String,
    },
}

/// Where to ask for the status of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Where the certificate says.
    Certificate,
    /// There, whatever the certificate says.
    Url(String),
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// The SCEP server.
    pub url: String,
    /// Names of devices begin with it; another one in each run.
    pub run: String,
    /// How many devices.
    pub devices: u32,
    /// How many are at work at the same time.
    pub connections: usize,
    /// How many begin in a second; none: as fast as they get through.
    pub rate: Option<f64>,
    /// What they prove themselves with.
    pub challenges: Challenges,
    /// The name they ask for; `$DEVICE$` is the device's.
    pub subject: String,
    /// How many keys they share.
    pub keys: u32,
    /// The kind of the keys; RSA.
    pub key_type: KeyAlgorithm,
    /// Each renews its certificate at once.
    pub renew: bool,
    /// Each asks for its certificate's status, with a nonce.
    pub ocsp: Option<Source>,
    /// Each fetches the CRL.
    pub crl: Option<Source>,
    /// How many of a hundred are wiped.
    pub wipe: u32,
    /// No device begins after this time.
    pub duration: Duration,
    /// That time was asked for: to end by it is no failure.
    pub is_timed: bool,
    /// Longest wait for one answer.
    pub time_out: Duration,
    /// Longest time that a device waits for a busy server, an operator's decision, or for OCSP to say revoked.
    pub patience: Duration,
    /// Registered devices stay as they are.
    pub keep: bool,
}

impl Options {
    /// The name of the device with this number, which counts from 0.
    pub fn device(&self, number: u32) -> String {
        format!("{}{:05}", self.run, u64::from(number) + 1)
    }

    /// The name that the device asks for.
    pub fn subject(&self, device: &str) -> Outcome<Name> {
        self.subject
            .replace("$DEVICE$", device)
            .parse()
            .map_err(|error| Failure::usage(format_args!("--subject {}: {error}", self.subject)))
    }

    /// Whether the device is among those that are wiped: they are spread evenly.
    fn is_wiped(&self, number: u32) -> bool {
        let until = |count: u64| count * u64::from(self.wipe) / 100;
        until(u64::from(number) + 1) > until(u64::from(number))
    }

    /// One of the simulated devices, with what it needs.
    fn worker(&self) -> Outcome<Worker> {
        let operator = match &self.challenges {
            Challenges::Tickets { gateway, .. } => Some(gateway.connect()?),
            Challenges::None | Challenges::Shared(_) => None,
        };
        Ok(Worker {
            http: HttpClient::new().map_err(too_many)?.with_limit(self.time_out),
            operator,
            clock: SystemClock,
            random: SystemRandomSource::default(),
        })
    }
}

fn too_many(error: std::io::Error) -> Failure {
    Failure::error(error)
        .hint("fewer --connections need fewer open files and threads; `ulimit -n` shows the bound")
}

/// Runs it, from registering the devices to retiring them. Errors: it could not begin; what failed later is in the report.
pub fn run(options: &Options, authority: &Authority) -> Outcome<Report> {
    let stop = Arc::new(Stop::default());
    fleet::stop_on_signals(&stop)?;
    let keys = make_keys(options, &stop)?;
    let tally = Tally::default();
    let admissions = gateway::admit(options, &tally, &stop)?;
    let storm = Storm {
        options,
        authority,
        keys: &keys,
        admissions: admissions.as_deref(),
        tally: &tally,
        stop: &stop,
        serials: Mutex::new(HashSet::new()),
    };
    let drive = Drive {
        doing: "devices",
        count: options.devices,
        workers: options.connections,
        rate: options.rate,
        until: Some(options.duration),
        stop: &stop,
    };
    let driven = drive.run(|| options.worker(), |worker, number| storm.live(worker, number));
    // Whatever became of the storm, what was registered for it does not stay behind.
    let registered = gateway::registered(options, admissions.as_deref().unwrap_or_default());
    let count = u32::try_from(registered.len()).unwrap_or(u32::MAX);
    let left =
        if options.keep || count == 0 { count } else { gateway::retire(options, &registered, &tally)? };
    Ok(Report {
        options: options.clone(),
        tally: tally.into_counts(),
        driven: driven?,
        interrupted: stop.is_set(),
        registered: count,
        left,
    })
}

/// The pool of keys, made on all processors.
fn make_keys(options: &Options, stop: &Stop) -> Outcome<Vec<ClientKey>> {
    let count = options.keys.clamp(1, options.devices.max(1));
    note(&format!("making {count} keys ({}) for {} devices", options.key_type, options.devices));
    let keys = Mutex::new(Vec::new());
    let drive = Drive {
        doing: "keys",
        count,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        rate: None,
        until: None,
        stop,
    };
    drive.run(
        || Ok(()),
        |(), _| {
            let made = ClientKey::generate(options.key_type);
            let right = made.is_ok();
            tally::lock(&keys).push(made);
            right
        },
    )?;
    let keys = keys.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if stop.is_set() {
        return Err(Failure::error("stopped before anything was asked for"));
    }
    keys.into_iter().collect()
}

/// The operator of the local gateway.
fn operator(worker: &Worker) -> Outcome<&AdminClient> {
    worker.operator.as_ref().ok_or_else(|| Failure::usage("wiping needs --tickets"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn options() -> Options {
        Options {
            url: "http://pki.example/scep/device".to_owned(),
            run: "sim-1a2b-".to_owned(),
            devices: 20,
            connections: 4,
            rate: None,
            challenges: Challenges::None,
            subject: "CN=$DEVICE$,O=Lab".to_owned(),
            keys: 2,
            key_type: KeyAlgorithm::Rsa2048,
            renew: false,
            ocsp: None,
            crl: None,
            wipe: 0,
            duration: Duration::from_secs(60),
            is_timed: false,
            time_out: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            keep: false,
        }
    }

    #[test]
    fn devices_have_names_that_sort_and_tell_the_run() {
        let options = options();
        assert_eq!(options.device(0), "sim-1a2b-00001");
        assert_eq!(options.subject(&options.device(9)).unwrap().to_string(), "CN=sim-1a2b-00010,O=Lab");
        let wrong = Options { subject: "$DEVICE$".to_owned(), ..options };
        assert!(wrong.subject("x").is_err());
    }

    #[test]
    fn the_wiped_are_a_share_spread_evenly() {
        for (share, wiped) in [(0, 0), (10, 2), (50, 10), (33, 6), (100, 20)] {
            let options = Options { wipe: share, ..options() };
            let numbers: Vec<u32> = (0..20).filter(|number| options.is_wiped(*number)).collect();
            assert_eq!(numbers.len(), wiped, "{share} % of 20: {numbers:?}");
        }
        let half = Options { wipe: 50, ..options() };
        assert!((0..20).all(|number| half.is_wiped(number) == (number % 2 == 1)));
    }
}
