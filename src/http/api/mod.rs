//! The API below `/api/v1`: JSON for the command line and for programs.
//!
//! Served over HTTPS to bearers of API tokens (`Authorization: Bearer ..`), and over the local socket to root and to the server's
//! own user (as owner, by peer credentials). Each handler proves its permission; *R*ead needs the role auditor, *O*perate operator,
//! *A*dminister owner; *M*int operator or challenger, a role that can do nothing else. Bodies have at most 1 MiB (a listing of devices 64 MiB, a CRL 256 MiB). Every answer carries `x-request-id`.
//!
//! Errors are `application/problem+json` ([`Problem`]): `{type, title, status, detail, request_id}` with `type` one of
//! `urn:certgate:problem:` `not-found` (404), `invalid` (400), `conflict` (409), `refused` (409), `forbidden` (403), `unauthenticated` (401),
//! `not-initialised` (503), `unavailable` (503), `overloaded` (503), `internal` (500), `method-not-allowed` (405), `too-large` (413).
//!
//! Times are `2026-11-21T02:04:54Z`. A listing is `{"items": [..], "next": "KEY" | null}`
//! ([`Listing`](crate::service::Listing)); ask for more with `?after=KEY`; `?limit=` is 1 to 1000, default 100.
//! A parameter or a member of a body that is not known is refused (400), and so is one that is given twice.
//!
//! | method and path | | request | answer |
//! |---|---|---|---|
//! | `GET /status` | R | | [`GatewayStatus`](crate::service::health::GatewayStatus) |
//! | `GET /health` | R | | [`HealthReport`](crate::service::health::HealthReport) |
//! | `POST /health/probe` | O | | [`ProbeReport`](crate::service::outside::probe::ProbeReport): others are asked now; 409 `conflict` while that goes on |
//! | `GET /issuers` | R | | listing of [`IssuerView`](crate::service::issuer::IssuerView) |
//! | `GET /issuers/{issuer}` | R | | `IssuerView` |
//! | `POST /issuers/{issuer}/rollover` | A | [`NewSuccessor`](crate::service::rollover::NewSuccessor) `{key?, years?, cutover_at?}` | 201 `IssuerView` of the successor, announced |
//! | `DELETE /issuers/{issuer}/rollover` | A | | `IssuerView` of the successor, withdrawn; 409 `refused` once it has issued |
//! | `POST /issuers/{issuer}/cutover` | A | [`CutOver`](crate::service::rollover::CutOver) `{at?}` | `IssuerView` of the successor, current now or then |
//! | `POST /issuers/{issuer}/presign` | O | [`PresignRequest`](crate::service::ocsp::PresignRequest) `{hashes?}` or nothing | 202 [`PresignView`](crate::service::ocsp::PresignView): OCSP answers are being signed ahead |
//! | `GET /issuers/{issuer}/presign` | R | | `PresignView` of the last run; 404 if there was none |
//! | `DELETE /issuers/{issuer}/presign` | O | | `PresignView` of the run, ended |
//! | `GET /external-issuers` | R | | listing of [`ExternalIssuerView`](crate::service::issuer::ExternalIssuerView) |
//! | `GET /external-issuers/{issuer}` | R | | `ExternalIssuerView` |
//! | `GET /external-issuers/{issuer}/responder` | R | | [`ResponderView`](crate::service::responder::ResponderView): who signs OCSP answers about its certificates |
//! | `PUT /external-issuers/{issuer}/responder` | A | [`NewResponderMode`](crate::service::responder::NewResponderMode) `{mode, by?}` | `ResponderView` |
//! | `POST /external-issuers/{issuer}/responder/request` | A | [`NewResponderRequest`](crate::service::responder::NewResponderRequest) `{key?, new_key?}` or nothing | [`ResponderRequest`](crate::service::responder::ResponderRequest) with the PKCS#10 request |
//! | `DELETE /external-issuers/{issuer}/responder/request` | A | | `ResponderView`: the request is taken back and its key is gone; 409 `refused` where none is open |
//! | `POST /external-issuers/{issuer}/responder/certificate` | A | [`NewResponder`](crate::service::responder::NewResponder) `{certificate}` | `ResponderView`; 409 `refused` with what is wrong with it |
//! | `POST /imports` | A | [`NewImport`](crate::service::import::NewImport) `{issuer_certificate, name?}` | [`ImportTarget`](crate::service::import::ImportTarget) |
//! | `POST /imports/{issuer}/certificates` | A | [`ImportBatch`](crate::service::import::ImportBatch) `{source, certificates, bind?}` | [`ImportReport`](crate::service::import::ImportReport) |
//! | `POST /imports/{issuer}/crl` | A | the CRL in DER, once its entries are imported | [`ImportedCrl`](crate::service::import::ImportedCrl) |
//! | `GET /profiles` | R | | listing of [`ProfileView`](crate::service::issuer::ProfileView) |
//! | `GET /profiles/{profile}` | R | | `ProfileView` |
//! | `GET /devices?limit&after`, with `lifecycle` or `source` | R | | listing of [`DeviceView`](crate::service::device::DeviceView) |
//! | `POST /devices` | O | [`NewDevice`](crate::service::device::NewDevice) | 201 `DeviceView` |
//! | `GET /devices/{device}` | R | | `DeviceView` with its certificates |
//! | `POST /devices/{device}/events` | O | `{event, note?}`; events: `retire unretire wipe cancel-wipe force lost found compromised cleared reprovision` | [`DeviceOutcome`](crate::service::device::DeviceOutcome) |
//! | `GET /users?limit&after` | R | | listing of [`UserView`](crate::service::user::UserView) |
//! | `PUT /users/{user}` | O | [`UserDetails`](crate::domain::user::UserDetails) | `UserView` |
//! | `GET /users/{user}` | R | | `UserView` with devices and certificates |
//! | `POST /users/{user}/enable`, `/disable` | O | `{note?}` or nothing | [`UserOutcome`](crate::service::user::UserOutcome) |
//! | `DELETE /users/{user}` | O | | `UserOutcome` |
//! | `GET /sources` | R | | listing of [`SourceView`](crate::service::source::SourceView) |
//! | `POST /sources` | A | [`NewSource`](crate::service::source::NewSource) `{id, kind?, missing?, grace_days?}` | 201 `SourceView` |
//! | `GET /sources/{source}` | R | | `SourceView` |
//! | `POST /sources/{source}/sync?dry_run&force&column.WHAT` | O | the export itself, CSV or JSON | [`SyncReport`](crate::service::source::sync::SyncReport); 409 `refused` by the brake |
//! | `DELETE /sources/{source}` | A | | [`RemovedSource`](crate::service::source::RemovedSource) |
//! | `GET /certificates?limit&after&device&user` | R | `after` is `ISSUER/SERIAL` | listing of [`CertificateView`](crate::service::certificate::CertificateView) |
//! | `GET /certificates/{name}` | R | a serial in hexadecimal, or the SHA-256 fingerprint | array of `CertificateView`, with PEM (several issuers may have used the serial); 404 if none |
//! | `GET /certificates/{issuer}/{serial}` | R | | `CertificateView`, with PEM |
//! | `POST /certificates/{issuer}/{serial}/revoke` | O | [`RevokeRequest`](crate::service::certificate::RevokeRequest) `{reason, note?, invalidity_date?}` | `CertificateView` |
//! | `POST /certificates/{issuer}/{serial}/hold` | O | `{note?}` | `CertificateView` |
//! | `POST /certificates/{issuer}/{serial}/release` | O | `{note?}` | `CertificateView` |
//! | `GET /crls` | R | | listing of [`CrlView`](crate::service::crl::CrlView) |
//! | `GET /crls/{issuer}` | R | | `CrlView` with the PEM |
//! | `POST /crls/{issuer}/publish` | O | | `CrlView` with the PEM |
//! | `POST /tickets` | M | `{profile, device?, user?, uses?, lifetime_seconds?}` | 201 `{ticket, secret}`: a [`TicketView`](crate::service::ticket::TicketView), and the secret, this once |
//! | `GET /tickets?limit&after` | R | | listing of `TicketView` |
//! | `GET /tickets/{ticket}` | R | | `TicketView` |
//! | `DELETE /tickets/{ticket}` | O | | `TicketView` |
//! | `GET /alarms` | R | | listing of [`TicketAlarm`](crate::domain::alarm::TicketAlarm) |
//! | `POST /alarms/{ticket}/acknowledge` | O | | `TicketAlarm` |
//! | `GET /queue?limit` | R | | listing of [`EnrolmentView`](crate::service::queue::EnrolmentView), first come first |
//! | `GET /queue/{enrolment}` | R | | `EnrolmentView` |
//! | `POST /queue/{enrolment}/approve` | O | `{note?}` or nothing | `EnrolmentView` |
//! | `POST /queue/{enrolment}/reject` | O | `{note}` | `EnrolmentView` |
//! | `GET /enrolments?limit&after&device&profile&address&result&since&transaction` | R | `result` is an ending or `refused`, `since` a time | listing of [`Exchange`](crate::domain::exchange::Exchange), newest first |
//! | `GET /enrolments/{name}` | R | an enrolment's id or a transactionID | array of [`TraceView`](crate::service::exchange::TraceView), newest first; 404 if none |
//! | `GET /jobs?limit` | R | | listing of [`JobView`](crate::service::maintain::JobView) |
//! | `GET /audit?after&limit` | R | events after sequence number `after`, oldest first | listing of [`AuditView`](crate::service::audit::AuditView) |
//! | `GET /audit?tail=N` | R | the last N, oldest first | listing of `AuditView` |
//! | `GET /audit/verify` | R | | [`ChainReport`](crate::service::audit::ChainReport) |
//! | `POST /restore/accept` | A, local socket only | [`AcceptRestore`](crate::service::checkpoint::AcceptRestore) `{crls?, accept_lost_revocations?}` | [`AcceptedRestore`](crate::service::checkpoint::AcceptedRestore) |
//! | `POST /clock/accept` | A, local socket only | | [`AcceptedClock`](crate::service::clock::AcceptedClock) `{shown, believed}` |
//! | `POST /backups` | A, local socket only | | the whole store as frames ([`FrameReader`](crate::service::backup::FrameReader)), one at a time |
//! | `POST /backups/written` | A, local socket only | [`WrittenBackup`](crate::service::backup::WrittenBackup) | the same: it is complete, on record |
//! | `GET /tokens` | A | | listing of [`TokenView`](crate::service::token::TokenView) |
//! | `POST /tokens` | A | [`NewToken`](crate::service::token::NewToken) `{name, role, lifetime_seconds?, profiles?}` | 201 [`CreatedToken`](crate::service::token::CreatedToken) with its secret (this once) |
//! | `DELETE /tokens/{token}` | A | | `TokenView` |

mod handlers;
mod problem;
mod session;

use std::{os::unix::fs::MetadataExt, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{delete, get, post},
};

pub use problem::Problem;

use super::bridge::Bridge;
use crate::service::Gateway;
use handlers::{
    alarms, audit, backups, certificates, crls, devices, enrolments, imports, issuers, queue, server,
    sources, tickets, tokens, users,
};
use session::{Api, observe};

/// Largest body.
const MAX_BODY: usize = 1024 * 1024;

/// Largest listing of a source: some 200,000 devices.
const MAX_LISTING: usize = 64 * 1024 * 1024;

/// Largest CRL that is imported: some five million entries.
const MAX_CRL: usize = 256 * 1024 * 1024;

/// The API, to be served with a [`Peer`](super::serve::Peer) in every request's extensions: without one nobody is recognised.
pub fn router(gateway: Arc<Gateway>, bridge: Arc<Bridge>) -> Router {
    let api = Api { gateway, bridge, own_uid: own_uid() };
    let below = objects().merge(certificate_routes()).merge(server_routes());
    Router::new()
        .nest("/api/v1", below)
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(api.clone(), observe))
        .with_state(api)
}

fn objects() -> Router<Api> {
    Router::new()
        .route("/devices", get(devices::list).post(devices::register))
        .route("/devices/{device}", get(devices::show))
        .route("/devices/{device}/events", post(devices::event))
        .route("/users", get(users::list))
        .route("/users/{user}", get(users::show).put(users::put).delete(users::delete))
        .route("/users/{user}/enable", post(users::enable))
        .route("/users/{user}/disable", post(users::disable))
        .route("/sources", get(sources::list).post(sources::add))
        .route("/sources/{source}", get(sources::show).delete(sources::remove))
        .route("/sources/{source}/sync", post(sources::sync).layer(DefaultBodyLimit::max(MAX_LISTING)))
        .route("/tickets", get(tickets::list).post(tickets::create))
        .route("/tickets/{ticket}", get(tickets::show).delete(tickets::cancel))
        .route("/alarms", get(alarms::list))
        .route("/alarms/{ticket}/acknowledge", post(alarms::acknowledge))
        .route("/enrolments", get(enrolments::list))
        .route("/enrolments/{name}", get(enrolments::show))
        .route("/queue", get(queue::list))
        .route("/queue/{enrolment}", get(queue::show))
        .route("/queue/{enrolment}/approve", post(queue::approve))
        .route("/queue/{enrolment}/reject", post(queue::reject))
}

fn certificate_routes() -> Router<Api> {
    Router::new()
        .route("/certificates", get(certificates::list))
        .route("/certificates/{name}", get(certificates::find))
        .route("/certificates/{issuer}/{serial}", get(certificates::show))
        .route("/certificates/{issuer}/{serial}/revoke", post(certificates::revoke))
        .route("/certificates/{issuer}/{serial}/hold", post(certificates::hold))
        .route("/certificates/{issuer}/{serial}/release", post(certificates::release))
        .route("/crls", get(crls::list))
        .route("/crls/{issuer}", get(crls::show))
        .route("/crls/{issuer}/publish", post(crls::publish))
        .route("/issuers", get(issuers::list))
        .route("/issuers/{issuer}", get(issuers::show))
        .route("/issuers/{issuer}/rollover", post(issuers::roll_over).delete(issuers::cancel_rollover))
        .route("/issuers/{issuer}/cutover", post(issuers::cut_over))
        .route(
            "/issuers/{issuer}/presign",
            get(issuers::presigned).post(issuers::presign).delete(issuers::stop_presign),
        )
        .route("/external-issuers", get(issuers::externals))
        .route("/external-issuers/{issuer}", get(issuers::external))
        .route(
            "/external-issuers/{issuer}/responder",
            get(issuers::responder).put(issuers::set_responder_mode),
        )
        .route(
            "/external-issuers/{issuer}/responder/request",
            post(issuers::request_responder).delete(issuers::cancel_responder_request),
        )
        .route("/external-issuers/{issuer}/responder/certificate", post(issuers::install_responder))
        .route("/imports", post(imports::open))
        .route("/imports/{issuer}/certificates", post(imports::certificates))
        .route("/imports/{issuer}/crl", post(imports::crl).layer(DefaultBodyLimit::max(MAX_CRL)))
        .route("/profiles", get(issuers::profiles))
        .route("/profiles/{profile}", get(issuers::profile))
}

fn server_routes() -> Router<Api> {
    Router::new()
        .route("/status", get(server::status))
        .route("/health", get(server::health))
        .route("/health/probe", post(server::probe))
        .route("/jobs", get(server::jobs))
        .route("/audit", get(audit::list))
        .route("/audit/verify", get(audit::verify))
        .route("/restore/accept", post(backups::accept_restore).layer(DefaultBodyLimit::max(MAX_CRL)))
        .route("/clock/accept", post(server::accept_clock))
        .route("/backups", post(backups::copy))
        .route("/backups/written", post(backups::written))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{token}", delete(tokens::revoke))
}

/// The user that this process runs as: the owner of its own directory in /proc.
pub fn own_uid() -> Option<u32> {
    std::fs::metadata("/proc/self").map(|process| process.uid()).ok()
}
