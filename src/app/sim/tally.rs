//! What is counted and measured: steps that went well with their times, and failures by kind.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::app::client::{error::ClientError, http::HttpError};

/// How many wrong answers are kept in full.
const SHOWN: usize = 5;

/// How many different words of the server are told apart; further ones are counted under their kind alone.
const MOST_WORDS: usize = 100;

/// What devices and operator do, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Register the device and mint its ticket.
    Ticket,
    /// GetCACaps and GetCACert.
    GetCa,
    /// PKCSReq.
    Enrol,
    /// CertPoll.
    Poll,
    /// RenewalReq.
    Renew,
    /// The status, with a nonce.
    Ocsp,
    /// The CRL.
    Crl,
    /// From asking for the wipe to the OCSP answer that says revoked.
    Wipe,
    /// Retire the device.
    Retire,
}

impl Step {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Ticket,
        Self::GetCa,
        Self::Enrol,
        Self::Poll,
        Self::Renew,
        Self::Ocsp,
        Self::Crl,
        Self::Wipe,
        Self::Retire,
    ];

    /// The name in results, which stays.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::GetCa => "getca",
            Self::Enrol => "enrol",
            Self::Poll => "poll",
            Self::Renew => "renew",
            Self::Ocsp => "ocsp",
            Self::Crl => "crl",
            Self::Wipe => "wipe-to-revoked",
            Self::Retire => "retire",
        }
    }

    /// Whether it shows that the server does its work: GetCACert alone gives nobody a certificate.
    pub(super) const fn is_work(self) -> bool {
        !matches!(self, Self::Ticket | Self::GetCa | Self::Retire)
    }
}

/// A failure, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    /// The name of its kind, which stays: a failInfo, `http-503`, `timeout`, a [`Fault`](crate::app::client::error::Fault).
    pub(super) kind: String,
    /// The server's words that belong to the kind.
    pub(super) words: String,
    /// All of it.
    pub(super) detail: String,
    /// An answer came, and it is wrong.
    pub(super) is_wrong: bool,
}

impl Incident {
    /// A failure without words.
    pub(super) fn new(kind: &str, detail: &impl ToString) -> Self {
        Self { kind: kind.to_owned(), words: String::new(), detail: detail.to_string(), is_wrong: false }
    }

    /// Sorts an error of the client.
    pub(super) fn of(error: &ClientError) -> Self {
        let sorted = |kind: &str| Self::new(kind, &error);
        match error {
            ClientError::Http(error) => sorted(kind_of_http(error)),
            ClientError::Status { status, .. } => sorted(&format!("http-{status}")),
            ClientError::Refused { info, text } => {
                Self { words: text.clone().unwrap_or_default(), ..sorted(info.as_str()) }
            }
            ClientError::Responder(status) => sorted(status.as_str()),
            ClientError::Wrong { fault, .. } => Self { is_wrong: true, ..sorted(fault.as_str()) },
            ClientError::Disliked { why, .. } => {
                Self { words: why.clone(), is_wrong: true, ..sorted("disliked") }
            }
            ClientError::Own(failure) => Self { words: failure.message.clone(), ..sorted("local") },
        }
    }
}

fn kind_of_http(error: &HttpError) -> &'static str {
    match error {
        HttpError::Url { .. } => "bad-url",
        HttpError::TimeOut { .. } => "timeout",
        HttpError::Broken { .. } => "broken-connection",
        HttpError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => "refused-connection",
            io::ErrorKind::TimedOut => "timeout",
            // This machine has used up its ports towards that address: closed connections hold theirs for a minute.
            io::ErrorKind::AddrNotAvailable => "no-free-port",
            _ => "cannot-connect",
        },
    }
}

/// One step of the whole fleet.
#[derive(Clone, Debug, Default)]
pub(super) struct StepCounts {
    /// Times of those that went well.
    pub(super) times: Vec<Duration>,
    /// How many failed.
    pub(super) failed: u64,
    /// How often the server asked to come back later, and was obeyed.
    pub(super) busy: u64,
    /// How often it answered PENDING.
    pub(super) pending: u64,
    span: Option<(Instant, Instant)>,
}

impl StepCounts {
    /// How many went well in a second, from the begin of the first to the end of the last.
    pub(super) fn per_second(&self) -> f64 {
        let count = f64::from(u32::try_from(self.times.len()).unwrap_or(u32::MAX));
        let span = self.span.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first));
        if span.is_zero() { 0.0 } else { count / span.as_secs_f64() }
    }

    /// The time within which `percent` of a hundred were done (nearest rank); `times` are sorted.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).copied()
    }

    fn cover(&mut self, begun: Instant, ended: Instant) {
        let (first, last) = self.span.unwrap_or((begun, ended));
        self.span = Some((first.min(begun), last.max(ended)));
    }
}

/// A kind of failure of one step, with the server's words.
pub(super) type FailureKey = (Step, String, String);

/// A wrong answer, in full.
#[derive(Clone, Debug)]
pub(super) struct WrongAnswer {
    /// Where.
    pub(super) step: Step,
    /// To whom.
    pub(super) device: String,
    /// What.
    pub(super) incident: Incident,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// By step.
    pub(super) steps: BTreeMap<Step, StepCounts>,
    /// By step, kind and words: how many, and the first in full.
    pub(super) failures: BTreeMap<FailureKey, (u64, String)>,
    /// The first wrong answers.
    pub(super) wrong: Vec<WrongAnswer>,
}

/// The counts while many add to them.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

impl Tally {
    /// The step went well and took `took`, of the time since `begun`.
    #[expect(clippy::disallowed_methods, reason = "only the process measures, and this is it")]
    pub(super) fn done(&self, step: Step, begun: Instant, took: Duration) {
        let mut counts = lock(&self.0);
        let counts = counts.steps.entry(step).or_default();
        counts.times.push(took);
        counts.cover(begun, Instant::now());
    }

    /// The server asked to come back later.
    pub(super) fn busy(&self, step: Step) {
        lock(&self.0).steps.entry(step).or_default().busy += 1;
    }

    /// The server answered PENDING.
    pub(super) fn pending(&self, step: Step) {
        lock(&self.0).steps.entry(step).or_default().pending += 1;
    }

    /// The step failed for `device`.
    pub(super) fn failed(&self, step: Step, device: &str, incident: &Incident) {
        let mut counts = lock(&self.0);
        counts.steps.entry(step).or_default().failed += 1;
        let mut key = (step, incident.kind.clone(), incident.words.clone());
        if counts.failures.len() >= MOST_WORDS && !counts.failures.contains_key(&key) {
            key.2 = String::new();
        }
        counts.failures.entry(key).or_insert_with(|| (0, incident.detail.clone())).0 += 1;
        if incident.is_wrong && counts.wrong.len() < SHOWN {
            counts.wrong.push(WrongAnswer { step, device: device.to_owned(), incident: incident.clone() });
        }
    }

    /// The counts, times sorted.
    pub(super) fn into_counts(self) -> Counts {
        let mut counts = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        counts.steps.values_mut().for_each(|step| step.times.sort_unstable());
        counts
    }
}

/// Counters stay usable whoever held them.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::client::error::Fault, wire::scep::FailInfo};

    fn milliseconds(times: impl IntoIterator<Item = u64>) -> StepCounts {
        StepCounts { times: times.into_iter().map(Duration::from_millis).collect(), ..StepCounts::default() }
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let hundred = milliseconds(1..=100);
        for percent in [50, 90, 99, 100] {
            let expected = Duration::from_millis(u64::try_from(percent).unwrap());
            assert_eq!(hundred.percentile(percent), Some(expected), "p{percent}");
        }
        let three = milliseconds([10, 20, 90]);
        assert_eq!(three.percentile(50), Some(Duration::from_millis(20)));
        assert_eq!(three.percentile(99), Some(Duration::from_millis(90)));
        assert_eq!(milliseconds([7]).percentile(50), Some(Duration::from_millis(7)));
        assert_eq!(milliseconds([]).percentile(50), None);
    }

    #[test]
    fn failures_are_sorted_by_what_went_wrong() {
        let connect = |kind: io::ErrorKind| {
            ClientError::Http(HttpError::Connect { target: "a:1".to_owned(), source: kind.into() })
        };
        let cases = [
            (connect(io::ErrorKind::ConnectionRefused), "refused-connection", false),
            (connect(io::ErrorKind::TimedOut), "timeout", false),
            (connect(io::ErrorKind::AddrNotAvailable), "no-free-port", false),
            (connect(io::ErrorKind::HostUnreachable), "cannot-connect", false),
            (ClientError::Refused { info: FailInfo::BadTime, text: None }, "badTime", false),
            (ClientError::wrong(Fault::Nonce, "x"), "wrong-nonce", true),
        ];
        for (error, kind, is_wrong) in cases {
            let incident = Incident::of(&error);
            assert_eq!((incident.kind.as_str(), incident.is_wrong), (kind, is_wrong), "{error}");
        }
    }

    #[test]
    fn a_server_with_ever_new_words_does_not_fill_the_memory() {
        let tally = Tally::default();
        for number in 0..1000 {
            let text = Some(format!("no {number}"));
            let error = ClientError::Refused { info: FailInfo::BadRequest, text };
            tally.failed(Step::Enrol, "d", &Incident::of(&error));
        }
        let counts = tally.into_counts();
        assert!(counts.failures.len() <= MOST_WORDS + 1);
        assert_eq!(counts.failures.values().map(|(count, _)| count).sum::<u64>(), 1000);
    }

    #[test]
    fn the_first_wrong_answers_are_kept_in_full() {
        let tally = Tally::default();
        for number in 0..20 {
            let error = ClientError::wrong(Fault::Chain, format!("answer {number}"));
            tally.failed(Step::Enrol, "d", &Incident::of(&error));
        }
        let counts = tally.into_counts();
        assert_eq!(counts.wrong.len(), SHOWN);
        assert_eq!(counts.wrong[0].incident.detail, "answer 0");
        assert_eq!(counts.failures.len(), 1, "one kind");
    }
}
