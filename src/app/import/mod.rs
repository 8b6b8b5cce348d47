//! `certgate import`: the certificates and revocations of another CA, into a running server or a stopped one's store.
//!
//! The sources are read here, a batch at a time, and never as a whole; only a CRL is in memory, because its signature is checked
//! before its entries are believed. What is sent again is passed over by the receiver, so an import that broke off is started
//! again from the beginning, and goes on where it stopped.

mod bar;
mod source;

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{
    backup::{local_act, open_stopped},
    cli::{
        admin::{AdminClient, ServerArgs, segment},
        files::read_certificate,
    },
    failure::{Failure, Outcome},
};
use crate::{
    adapters::store::RedbStore,
    service::{
        ServiceError,
        import::{
            self, BindRule, ImportBatch, ImportReport, ImportTarget, ImportedCrl, NewImport, RefusedLine,
        },
    },
    types::IssuerId,
    wire::x509::Certificate,
};
use bar::Bar;
pub use source::Source;

/// Refused lines that are kept to be told; the others are counted.
const KEPT_REFUSALS: usize = 1_000;

/// Longest wait for the answer to a CRL: the server checks and stores all of it.
const CRL_LIMIT: Duration = Duration::from_secs(600);

/// What to import, and where to.
#[derive(Debug)]
pub struct Request<'a> {
    /// The server, if it runs.
    pub server: &'a AdminClient,
    /// Where its data directory is, if it does not run.
    pub place: &'a ServerArgs,
    /// The certificate of the CA.
    pub issuer_certificate: PathBuf,
    /// What the CA is to be called.
    pub name: Option<IssuerId>,
    /// What is imported.
    pub source: Source,
    /// By what the certificates are bound to devices.
    pub bind: Option<BindRule>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Imported {
    /// The CA.
    pub target: Option<ImportTarget>,
    /// Certificates of which the source tells.
    pub told: u64,
    /// Certificates that were not known before.
    pub added: u64,
    /// Certificates of which more is known now.
    pub completed: u64,
    /// Certificates that are revoked now and were not.
    pub revoked: u64,
    /// Certificates that are on hold now and were not.
    pub held: u64,
    /// Certificates whose hold the CA has released.
    pub released: u64,
    /// Certificates of which everything was known.
    pub unchanged: u64,
    /// Holds that were passed over: a newer CRL of the CA was imported before.
    pub outdated: u64,
    /// Certificates that are bound to a device or user now and were not.
    pub bound: u64,
    /// Certificates that should be bound and could not be.
    pub unbound: u64,
    /// The first thousand of these, each with its reason.
    pub unbound_places: Vec<Refusal>,
    /// What was not taken over.
    pub refused: u64,
    /// The first thousand of these, each with its reason.
    pub refusals: Vec<Refusal>,
    /// The CRL itself.
    pub crl: Option<ImportedCrl>,
}

/// Something in the source that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Where: `line 7`, `entry 7`, or the name of a file.
    pub place: String,
    /// Why.
    pub problem: String,
}

/// Part of a source.
struct Part {
    batch: ImportBatch,
    /// The places of `batch.certificates`, where a number says too little: names of files.
    places: Vec<String>,
    /// What could not even be read.
    unreadable: Vec<Refusal>,
    /// How far the source is read, of `of`.
    done: u64,
    of: u64,
}

/// Who takes what is imported.
enum Receiver<'a> {
    Server(&'a AdminClient),
    Store(Box<RedbStore>),
}

/// Imports. Errors: the receiver or the source failed; what was taken until then stays, and is passed over the next time.
pub fn run(request: &Request<'_>) -> Outcome<Imported> {
    let certificate = read_certificate(&request.issuer_certificate)?;
    let receiver = if request.server.is_answered()? {
        Receiver::Server(request.server)
    } else {
        Receiver::Store(Box::new(open_stopped(&request.place.directory()?)?))
    };
    let reading = request.source.open(&certificate)?;
    let target = receiver.open(&certificate, request.name.clone())?;
    let mut imported = Imported { target: Some(target.clone()), ..Imported::default() };
    let mut bar = Bar::new(request.source.unit());
    let taken = reading.for_each_part(&mut |mut part| {
        part.batch.bind = request.bind;
        let report = if part.batch.certificates.is_empty() {
            ImportReport::default()
        } else {
            receiver.take(&target.issuer, &part.batch)?
        };
        imported.add(&report, &part, request.source.unit());
        bar.show(part.done, part.of, imported.told);
        Ok(())
    });
    bar.end();
    taken.map_err(|failure| {
        let hint = failure.hint.clone().unwrap_or_default();
        failure
            .hint(format!("{hint}\nwhat was taken over until then stays: run it again to go on").trim_start())
    })?;
    if let Some(der) = reading.crl() {
        imported.crl = Some(receiver.take_crl(&target.issuer, der)?);
    }
    Ok(imported)
}

impl Imported {
    fn add(&mut self, report: &ImportReport, part: &Part, unit: &str) {
        self.told += part.batch.certificates.len() as u64 + part.unreadable.len() as u64;
        self.added += report.added;
        self.completed += report.completed;
        self.revoked += report.revoked;
        self.held += report.held;
        self.released += report.released;
        self.unchanged += report.unchanged;
        self.outdated += report.outdated;
        self.bound += report.bound;
        self.unbound += report.unbound.len() as u64;
        let place = |line: &RefusedLine| {
            let named = part.batch.certificates.iter().position(|it| it.line == line.line);
            let named = named.and_then(|index| part.places.get(index));
            named.map_or_else(|| format!("{unit} {}", line.line), Clone::clone)
        };
        let refusal = |line: &RefusedLine| Refusal { place: place(line), problem: line.problem.clone() };
        let room = KEPT_REFUSALS.saturating_sub(self.unbound_places.len());
        self.unbound_places.extend(report.unbound.iter().take(room).map(refusal));
        let refused = report.refused.iter().map(refusal);
        for refusal in part.unreadable.iter().cloned().chain(refused) {
            self.refused += 1;
            if self.refusals.len() < KEPT_REFUSALS {
                self.refusals.push(refusal);
            }
        }
    }
}

impl Receiver<'_> {
    fn open(&self, certificate: &Certificate, name: Option<IssuerId>) -> Outcome<ImportTarget> {
        let new = NewImport { issuer_certificate: certificate.to_pem(), name };
        match self {
            Self::Server(server) => read(server.post("/imports", &json(&new)?)?),
            Self::Store(store) => import::open(store.as_ref(), &local_act(), &new).map_err(not_taken),
        }
    }

    fn take(&self, issuer: &IssuerId, batch: &ImportBatch) -> Outcome<ImportReport> {
        match self {
            Self::Server(server) => {
                let path = format!("/imports/{}/certificates", segment(issuer.as_str()));
                read(server.post(&path, &json(batch)?)?)
            }
            Self::Store(store) => {
                let taken = import::take(store.as_ref(), &local_act(), issuer, batch);
                taken.map(|(report, _)| report).map_err(not_taken)
            }
        }
    }

    fn take_crl(&self, issuer: &IssuerId, der: &[u8]) -> Outcome<ImportedCrl> {
        match self {
            Self::Server(server) => {
                let path = format!("/imports/{}/crl", segment(issuer.as_str()));
                read(server.upload(&path, "application/pkix-crl", der.to_vec(), CRL_LIMIT)?)
            }
            Self::Store(store) => {
                let taken = import::take_crl(store.as_ref(), &local_act(), issuer, der);
                taken.map(|(imported, _)| imported).map_err(not_taken)
            }
        }
    }
}

fn json(value: &impl Serialize) -> Outcome<Value> {
    serde_json::to_value(value).map_err(Failure::error)
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Outcome<T> {
    serde_json::from_value(answer).map_err(Failure::while_doing("the server's answer"))
}

fn not_taken(error: ServiceError) -> Failure {
    match error {
        ServiceError::Invalid { .. } => Failure::usage(error),
        ServiceError::NotFound { .. } => Failure::not_found(error),
        ServiceError::Conflict(_) | ServiceError::Refused(_) => Failure::refused(error),
        other => Failure::error(other),
    }
}
