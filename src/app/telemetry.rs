//! Log lines to standard error; metrics in memory, rendered for whoever asks the ops listener.

mod line;

use std::io;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use super::{config::LogFormat, settings::Log};
use crate::service::metric::{self, label};

/// Overrides `log.level` of the configuration.
const LOG_VARIABLE: &str = "CERTGATE_LOG";

/// Upper bounds of the histograms' buckets in seconds: from a cached answer to a request that timed out.
const BUCKETS: [f64; 16] =
    [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0];

/// A text that is no filter of log lines.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] tracing_subscriber::filter::ParseError),
    /// A word that is no level is taken for the name of a part of a program, and of certgate nothing would be logged.
    #[error("it has no level (error, warn, info, debug, trace, off) for everything or for certgate")]
    NoLevel,
}

/// What can go wrong when telemetry starts.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `CERTGATE_LOG` is no filter.
    #[error("{LOG_VARIABLE}: {0}")]
    Filter(#[from] FilterError),
    /// The process logs already.
    #[error("logging: {0}")]
    Logging(#[from] tracing_subscriber::util::TryInitError),
    /// The process counts already.
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Reads a level or a filter.
pub fn log_filter(text: &str) -> Result<EnvFilter, FilterError> {
    let filter = EnvFilter::try_new(text)?;
    let speaks_of_us = |directive: &str| {
        let target = directive.split(['=', '[']).next().unwrap_or_default();
        directive.is_empty()
            || target.is_empty()
            || target.starts_with("certgate")
            || directive.parse::<LevelFilter>().is_ok()
    };
    if text.split(',').map(str::trim).any(speaks_of_us) { Ok(filter) } else { Err(FilterError::NoLevel) }
}

/// Starts logging. Once per process.
pub fn start_logging(log: &Log) -> Result<(), TelemetryError> {
    let filter = log_filter(&std::env::var(LOG_VARIABLE).unwrap_or_else(|_| log.filter.clone()))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| line::OneLine(io::stderr()));
    match log.format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init()?,
        LogFormat::Json => {
            registry.with(lines.json().flatten_event(true).with_current_span(true)).try_init()?;
        }
    }
    Ok(())
}

/// The metrics as they stand.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts counting. Once per process.
    pub fn start() -> Result<Self, TelemetryError> {
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(Self(handle))
    }

    /// The text that Prometheus reads (exposition format 0.0.4).
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what histograms collected; to be called every few seconds, so that nobody scraping does not cost memory.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
}

/// Says what each metric is, and sets the one that never changes.
fn describe() {
    describe_counter!(metric::SCEP_REQUESTS, "SCEP requests by profile, operation and result");
    describe_histogram!(metric::SCEP_REQUEST_DURATION, Unit::Seconds, "Time to answer a SCEP request");
    describe_counter!(
        metric::CHALLENGE_REQUESTS,
        "Challenges asked for by MDM servers, by origin and result"
    );
    describe_counter!(metric::OCSP_REQUESTS, "OCSP requests by result");
    describe_counter!(metric::OCSP_CACHE, "OCSP answers looked up in the cache, by outcome");
    describe_counter!(
        metric::OCSP_FORMS,
        "OCSP requests by hash of the CertID, HTTP method and whether they have a nonce"
    );
    describe_counter!(metric::OCSP_SIGNATURES, "OCSP answers signed, by reason");
    describe_counter!(
        metric::OCSP_OVER_BUDGET,
        "OCSP requests for which no signature was left of those for single-use answers, by limit"
    );
    describe_counter!(
        metric::OCSP_NONCES_IGNORED,
        "OCSP requests whose nonce was ignored because no signature was left for it"
    );
    describe_crls();
    describe_counter!(metric::CERTIFICATES_ISSUED, "Certificates issued, by profile");
    describe_gauge!(
        metric::SYSTEM_CERTIFICATE_NOT_AFTER,
        Unit::Seconds,
        "notAfter of certgate's own certificates, since 1970"
    );
    describe_gauge!(
        metric::ISSUER_STATE,
        "1 for where an issuer stands in its line (announced, current, retired, withdrawn), else 0"
    );
    describe_gauge!(metric::ENROLMENTS_PENDING, "Enrolments that wait for an operator");
    describe_gauge!(metric::JOBS_DEAD, "Jobs that were given up");
    describe_gauge!(
        metric::CLOCK_AHEAD,
        Unit::Seconds,
        "How far the clock is ahead of the time that is believed"
    );
    describe_counter!(
        metric::TIMERS_FIRED,
        "Registrations that expired, certificates superseded by their renewal, and CAs cut over to"
    );
    describe_counter!(
        metric::TRACES_NOT_KEPT,
        "SCEP requests whose trace was counted with one like it (merged) or not kept at all (dropped)"
    );
    describe_counter!(
        metric::RECORDS_PRUNED,
        "Tickets, enrolments and jobs removed because their time was over"
    );
    describe_gauge!(metric::DEVICES, "Registered devices");
    describe_gauge!(
        metric::SOURCE_LISTED,
        Unit::Seconds,
        "When a source last gave a complete listing, since 1970"
    );
    describe_gauge!(
        metric::SOURCE_DEVICES,
        "Devices of a source as of its last sync: listed, absent or missing (after three listings)"
    );
    describe_gauge!(metric::BUILD_INFO, "1, labelled with the version that runs");
    describe_gauge!(metric::BRIDGE_WAITERS, "Requests that wait for a thread, by pool");
    describe_counter!(metric::BRIDGE_SHED, "Requests turned away because too many waited, by pool");
    describe_histogram!(
        metric::REVOCATION_PROPAGATION,
        Unit::Seconds,
        "From the event that revokes, holds or releases until it shows in OCSP, and in a published CRL"
    );
    describe_counter!(
        metric::SCEP_CLIENTS,
        "Messages of PKIOperation by what the client looks like: a guess"
    );
    describe_counter!(metric::LEGACY_ALGORITHM, "Uses of an old algorithm that a profile allows");
    describe_counter!(
        metric::CONNECTIONS_REFUSED,
        "Connections closed because their address had enough of them, by listener"
    );
    describe_counter!(metric::THROTTLED, "SCEP requests that came too soon, by profile and limit");
    describe_counter!(
        metric::TICKETS_REUSED,
        "Used-up tickets presented again with another key: somebody else has the secret"
    );
    describe_counter!(
        metric::REFUSALS_NOT_RECORDED,
        "Refusals that are not in the audit record because there were too many, by profile"
    );
    describe_counter!(metric::LOCK_OUTS, "Addresses locked out of a profile for guessing challenges");
    describe_gauge!(
        metric::BACKUP_LAST_SUCCESS,
        Unit::Seconds,
        "When the last backup was complete, since 1970; absent until this process has seen one"
    );
    describe_counter!(metric::OUTBOUND_REQUESTS, "Requests to other parties by destination and result");
    describe_counter!(metric::REVOCATIONS_ASKED, "Revocations that other parties asked for, by outcome");
    describe_histogram!(
        metric::OUTBOUND_REQUEST_DURATION,
        Unit::Seconds,
        "Time that other parties took to answer, by destination"
    );
    gauge!(metric::BUILD_INFO, label::VERSION => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// The same of what is published of CRLs, and where.
fn describe_crls() {
    describe_gauge!(metric::CRL_NUMBER, "Number of the published CRL");
    describe_gauge!(metric::CRL_NEXT_UPDATE, Unit::Seconds, "nextUpdate of the published CRL, since 1970");
    describe_gauge!(metric::CRL_BYTES, Unit::Bytes, "size of the published CRL");
    describe_gauge!(
        metric::CRL_PREDICTED_BYTES,
        Unit::Bytes,
        "size of the CRL in a year, if it is like the last"
    );
    describe_gauge!(metric::CRL_LIFE_USED, "how much of the life of the published CRL is over");
    describe_counter!(
        metric::CRL_LATE,
        "CRLs without a successor at half, three quarters and the end of their life"
    );
    describe_gauge!(metric::DIRECTORY_CRL_NUMBER, "Number of the full CRL that a directory has");
    describe_gauge!(
        metric::DIRECTORY_BEHIND,
        Unit::Seconds,
        "For how long a directory has not had the newest CRLs"
    );
    describe_counter!(
        metric::DIRECTORY_PUBLICATIONS,
        "Tries to bring a directory up to date: written, unchanged, failed"
    );
    describe_counter!(metric::DIRECTORY_LATE, "Alarms because a directory was behind for too long");
    describe_gauge!(metric::CRL_ENTRIES, "Certificates listed in the published CRL");
}

#[cfg(test)]
mod tests {
    use metrics::{counter, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn a_filter_says_a_level_for_everything_or_for_certgate() {
        for text in ["info", "WARN", "off", "", "hyper=debug, info", "certgate::http=debug", "[device]=trace"]
        {
            assert!(log_filter(text).is_ok(), "{text}");
        }
        for text in ["warning", "verbose", "inof,hyper=debug", "certgate=loud"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn metrics_render_with_help_type_and_labels() {
        let recorder = builder().unwrap().build_recorder();
        let text = with_local_recorder(&recorder, || {
            describe();
            counter!(metric::OCSP_CACHE, label::OUTCOME => "hit").increment(2);
            histogram!(metric::REVOCATION_PROPAGATION, label::TO => "ocsp").record(0.003);
            recorder.handle().render()
        });
        for line in [
            "# HELP certgate_ocsp_cache_total OCSP answers looked up in the cache, by outcome",
            "# TYPE certgate_ocsp_cache_total counter",
            "certgate_ocsp_cache_total{outcome=\"hit\"} 2",
            "# TYPE certgate_revocation_propagation_seconds histogram",
            "certgate_revocation_propagation_seconds_bucket{to=\"ocsp\",le=\"0.0025\"} 0",
            "certgate_revocation_propagation_seconds_bucket{to=\"ocsp\",le=\"0.005\"} 1",
            concat!("certgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
