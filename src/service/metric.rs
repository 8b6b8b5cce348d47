//! The names of the metrics, their labels and their label values. What they mean is described once, in `app::telemetry`.

use std::collections::BTreeSet;

use crate::types::ProfileName;

/// Counter. SCEP requests by `profile`, `operation`, `result`.
pub const SCEP_REQUESTS: &str = "certgate_scep_requests_total";
/// Counter. Messages of PKIOperation by the family that the `client` looks like; `unknown` where nothing tells.
pub const SCEP_CLIENTS: &str = "certgate_scep_clients_total";
/// Histogram, seconds. SCEP requests from the first byte of the message to the answer, by `operation`.
pub const SCEP_REQUEST_DURATION: &str = "certgate_scep_request_duration_seconds";
/// Counter. Challenges asked for by MDM servers, by `origin` (`ndes-page`, `webhook`) and `result`: `given`, `probe`,
/// `unauthenticated`, `throttled`, `forbidden`, `cache-full`, `refused`, `shed`.
pub const CHALLENGE_REQUESTS: &str = "certgate_challenge_requests_total";
/// Counter. OCSP requests by `result`.
pub const OCSP_REQUESTS: &str = "certgate_ocsp_requests_total";
/// Counter. OCSP answers looked up in the cache, by `outcome`: `hit` or `miss`.
pub const OCSP_CACHE: &str = "certgate_ocsp_cache_total";
/// Counter. OCSP requests by what they look like: `hash` of the CertID (`sha1`, `sha256`, `sha384`, `sha512`, `other`), `method` (`get`,
/// `post`), `nonce` (`yes`, `no`). Requests that cannot be read are not in it.
pub const OCSP_FORMS: &str = "certgate_ocsp_request_forms_total";
/// Counter. OCSP answers signed, by `reason`: `miss`, `single-use` (with a nonce, about several certificates, or by a preferred algorithm),
/// `refresh`, `presign`.
pub const OCSP_SIGNATURES: &str = "certgate_ocsp_signatures_total";
/// Counter. OCSP requests for which no signature was left of those for single-use answers, by `limit`: `address` (its share was used up),
/// `issuer` or `all`.
pub const OCSP_OVER_BUDGET: &str = "certgate_ocsp_over_budget_total";
/// Counter. OCSP requests whose nonce was ignored because no signature was left for it or too many waited for one.
pub const OCSP_NONCES_IGNORED: &str = "certgate_ocsp_nonces_ignored_total";
/// Gauge. The number of the published CRL, by `issuer`.
pub const CRL_NUMBER: &str = "certgate_crl_number";
/// Gauge. The size of the published CRL in bytes, by `issuer`.
pub const CRL_BYTES: &str = "certgate_crl_bytes";
/// Gauge. What that will be in a year, if the year is like the last one, by `issuer`.
pub const CRL_PREDICTED_BYTES: &str = "certgate_crl_predicted_bytes";
/// Gauge, 0 to 1. How much of the life of the published CRL is over (of the oldest, where there are deltas or partitions), by
/// `issuer`: above 0.5 its successor is late.
pub const CRL_LIFE_USED: &str = "certgate_crl_life_used_ratio";
/// Counter. CRLs that had no successor when half, three quarters or all of their life was over, by `issuer`.
pub const CRL_LATE: &str = "certgate_crl_late_total";
/// Gauge. The number of the full CRL that a directory has, by `directory` and `issuer`.
pub const DIRECTORY_CRL_NUMBER: &str = "certgate_directory_crl_number";
/// Gauge, seconds. For how long a directory has not had the newest CRLs, by `directory` and `issuer`; 0: it has them.
pub const DIRECTORY_BEHIND: &str = "certgate_directory_behind_seconds";
/// Counter. Tries to bring a directory up to date, by `directory` and `result`: `written`, `unchanged`, `failed`.
pub const DIRECTORY_PUBLICATIONS: &str = "certgate_directory_publications_total";
/// Counter. Alarms because a directory was behind for too long, by `directory` and `issuer`.
pub const DIRECTORY_LATE: &str = "certgate_directory_late_total";
/// Gauge, seconds since 1970. nextUpdate of the published CRL, by `issuer`.
pub const CRL_NEXT_UPDATE: &str = "certgate_crl_next_update_timestamp_seconds";
/// Gauge. Entries of the published CRL, by `issuer`.
pub const CRL_ENTRIES: &str = "certgate_crl_entries";
/// Counter. Certificates issued, by `profile`.
pub const CERTIFICATES_ISSUED: &str = "certgate_certificates_issued_total";
/// Gauge, seconds since 1970. notAfter of certgate's own certificates, by `purpose` and `issuer`; of the `ocsp-responder` of an external
/// issuer 0 where none may sign, and `+Inf` where none is to.
pub const SYSTEM_CERTIFICATE_NOT_AFTER: &str = "certgate_system_certificate_not_after_timestamp_seconds";
/// Gauge. Where an issuer stands in its line, by `issuer` and `state`: 1 for the state that it is in, else 0.
pub const ISSUER_STATE: &str = "certgate_issuer_state";
/// Gauge. Enrolments that wait for an operator.
pub const ENROLMENTS_PENDING: &str = "certgate_enrolments_pending";
/// Gauge, seconds. How far the clock is ahead of the time that is believed, while it is not believed; else 0.
pub const CLOCK_AHEAD: &str = "certgate_clock_ahead_seconds";
/// Gauge. Jobs that were given up.
pub const JOBS_DEAD: &str = "certgate_jobs_dead";
/// Counter. What time did by itself, by `outcome`: `registration-expired`, `certificate-superseded` or `cut-over`.
pub const TIMERS_FIRED: &str = "certgate_timers_fired_total";
/// Gauge. Registered devices.
pub const DEVICES: &str = "certgate_devices";
/// Gauge, seconds since 1970. When a source last gave a complete listing, by `source`.
pub const SOURCE_LISTED: &str = "certgate_source_last_listing_timestamp_seconds";
/// Gauge. Devices of a source as of its last sync, by `source` and `condition`: `listed`, `absent` or `missing`.
pub const SOURCE_DEVICES: &str = "certgate_source_devices";
/// Gauge, always 1. The `version` that runs.
pub const BUILD_INFO: &str = "certgate_build_info";
/// Gauge. Requests that wait for a thread, by `pool`.
pub const BRIDGE_WAITERS: &str = "certgate_bridge_waiters";
/// Counter. Requests turned away because too many waited, by `pool`.
pub const BRIDGE_SHED: &str = "certgate_bridge_shed_total";
/// Histogram, seconds. From the event that revokes, holds or releases (a call, a sync, a timer, a request of Intune's queue, a ticket used twice)
/// to where it shows: `to` is `ocsp` (it says so; once for each event that moved something) or `crl` (published; of the changes that a CRL brings the
/// oldest is measured).
pub const REVOCATION_PROPAGATION: &str = "certgate_revocation_propagation_seconds";
/// Counter. Uses of an old algorithm that a profile allows, by `profile` and `algorithm`.
pub const LEGACY_ALGORITHM: &str = "certgate_legacy_algorithm_total";
/// Counter. Connections closed at once because their address had enough of them, by `listener`.
pub const CONNECTIONS_REFUSED: &str = "certgate_connections_refused_total";
/// Counter. SCEP requests that came too soon, by `profile` and `limit`: `address`, `profile` or `lock-out`.
pub const THROTTLED: &str = "certgate_throttled_total";
/// Counter. Clients that were locked out of a profile because they guessed challenges, by `profile`.
pub const LOCK_OUTS: &str = "certgate_lock_outs_total";
/// Counter. Refusals that were not recorded because there were too many of them, by `profile`.
pub const REFUSALS_NOT_RECORDED: &str = "certgate_refusals_not_recorded_total";
/// Counter. Used-up tickets that were presented again with another key, by `profile`.
pub const TICKETS_REUSED: &str = "certgate_tickets_reused_total";
/// Gauge, seconds since 1970. When the last backup was complete, since this process started.
pub const BACKUP_LAST_SUCCESS: &str = "certgate_backup_last_success_timestamp_seconds";
/// Counter. Requests of ours to other parties, by `destination` and `result`: `2xx` to `5xx`, or why there is no answer.
pub const OUTBOUND_REQUESTS: &str = "certgate_outbound_requests_total";
/// Histogram, seconds. Requests of ours to other parties, by `destination`.
pub const OUTBOUND_REQUEST_DURATION: &str = "certgate_outbound_request_duration_seconds";
/// Counter. Revocations that other parties asked for, by `destination` and `outcome`.
pub const REVOCATIONS_ASKED: &str = "certgate_revocations_asked_total";

/// Counter. Exchanges whose trace was not kept one by one, by `outcome`: `merged` with one like it, or `dropped`.
pub const TRACES_NOT_KEPT: &str = "certgate_scep_traces_not_kept_total";

/// Counter. Records whose time was over and that were removed, by `kind`: `ticket`, `enrolment` or `job`.
pub const RECORDS_PRUNED: &str = "certgate_records_pruned_total";

/// Shows what rings for a profile before it does: that a counter moved is seen only from a value that was read before.
pub(super) fn begin_alarms(profiles: &BTreeSet<ProfileName>) {
    for profile in profiles {
        for name in [TICKETS_REUSED, LOCK_OUTS, REFUSALS_NOT_RECORDED] {
            metrics::counter!(name, label::PROFILE => profile.to_string()).increment(0);
        }
    }
}

/// Names of labels.
pub mod label {
    /// A profile's name; `-` where none is known.
    pub const PROFILE: &str = "profile";
    /// A SCEP operation.
    pub const OPERATION: &str = "operation";
    /// How it ended.
    pub const RESULT: &str = "result";
    /// `hit` or `miss`; what a timer did; what became of a trace.
    pub const OUTCOME: &str = "outcome";
    /// Where a challenge was asked for.
    pub const ORIGIN: &str = "origin";
    /// An issuer's name.
    pub const ISSUER: &str = "issuer";
    /// Where an issuer stands.
    pub const STATE: &str = "state";
    /// What a system certificate is for.
    pub const PURPOSE: &str = "purpose";
    /// A source's name.
    pub const SOURCE: &str = "source";
    /// Where devices of a source stand.
    pub const CONDITION: &str = "condition";
    /// Another party, as the configuration calls it.
    pub const DESTINATION: &str = "destination";
    /// A directory server, as the configuration calls it.
    pub const DIRECTORY: &str = "directory";
    /// A pool of the bridge.
    pub const POOL: &str = "pool";
    /// A listener's name.
    pub const LISTENER: &str = "listener";
    /// A kind of record.
    pub const KIND: &str = "kind";
    /// Which limit was reached.
    pub const LIMIT: &str = "limit";
    /// Where a change shows.
    pub const TO: &str = "to";
    /// A family of clients.
    pub const CLIENT: &str = "client";
    /// An algorithm's name.
    pub const ALGORITHM: &str = "algorithm";
    /// Why something was done.
    pub const REASON: &str = "reason";
    /// The hash of a CertID.
    pub const HASH: &str = "hash";
    /// An HTTP method.
    pub const METHOD: &str = "method";
    /// Whether there was a nonce.
    pub const NONCE: &str = "nonce";
    /// A version.
    pub const VERSION: &str = "version";
}
