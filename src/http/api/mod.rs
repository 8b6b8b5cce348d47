//! The API below `/api/v1`: JSON for the command line and for programs.
//!
//! Served over HTTPS to bearers of API tokens (`Authorization: Bearer ..`), and over the local socket to root and to the server's
//! own user (as owner, by peer credentials). Each handler proves its permission; *R*ead needs the role auditor, *O*perate operator,
//! *A*dminister owner. Bodies have at most 1 MiB. Every answer carries `x-request-id`.
//!
//! Errors are `application/problem+json` ([`Problem`]): `{type, title, status, detail, request_id}` with `type` one of
//! `urn:certgate:problem:` `not-found` (404), `invalid` (400), `conflict` (409), `refused` (409), `forbidden` (403), `unauthenticated` (401),
//! `not-initialised` (503), `unavailable` (503), `overloaded` (503), `internal` (500), `method-not-allowed` (405), `too-large` (413).
//!
//! Times are `2026-11-21T02:04:54Z`. A listing is `{"items": [..], "next": "KEY" | null}`
//! ([`Listing`](crate::service::Listing)); ask for more with `?after=KEY`; `?limit=` is 1 to 1000, default 100.
//!
//! | method and path | | request | answer |
//! |---|---|---|---|
//! | `GET /status` | R | | [`GatewayStatus`](crate::service::health::GatewayStatus) |
//! | `GET /health` | R | | [`HealthReport`](crate::service::health::HealthReport) |
//! | `GET /issuers` | R | | listing of [`IssuerView`](crate::service::issuer::IssuerView) |
//! | `GET /issuers/{issuer}` | R | | `IssuerView` |
//! | `GET /profiles` | R | | listing of [`ProfileView`] |
//! | `GET /profiles/{profile}` | R | | `ProfileView` |
//! | `GET /devices?limit&after&lifecycle` | R | | listing of [`DeviceView`](crate::service::device::DeviceView) |
//! | `POST /devices` | O | [`NewDevice`](crate::service::device::NewDevice) | 201 `DeviceView` |
//! | `GET /devices/{device}` | R | | `DeviceView` with its certificates |
//! | `POST /devices/{device}/events` | O | [`EventRequest`] `{event, note?}`; events: `retire unretire wipe cancel-wipe force lost found compromised reprovision` | [`DeviceOutcome`](crate::service::device::DeviceOutcome) |
//! | `GET /users?limit&after` | R | | listing of [`UserView`](crate::service::user::UserView) |
//! | `PUT /users/{user}` | O | [`UserAttributes`](crate::service::user::UserAttributes) | `UserView` |
//! | `GET /users/{user}` | R | | `UserView` with devices and certificates |
//! | `POST /users/{user}/enable`, `/disable` | O | [`NoteRequest`] `{note?}` or nothing | [`UserOutcome`](crate::service::user::UserOutcome) |
//! | `DELETE /users/{user}` | O | | `UserOutcome` |
//! | `GET /certificates?limit&after&device&user` | R | `after` is `ISSUER/SERIAL` | listing of [`CertificateView`](crate::service::certificate::CertificateView) |
//! | `GET /certificates/{name}` | R | a serial in hexadecimal, or the SHA-256 fingerprint | array of `CertificateView`, with PEM (several issuers may have used the serial); 404 if none |
//! | `GET /certificates/{issuer}/{serial}` | R | | `CertificateView`, with PEM |
//! | `POST /certificates/{issuer}/{serial}/revoke` | O | [`RevokeRequest`](crate::service::certificate::RevokeRequest) `{reason, note?, invalidity_date?}` | `CertificateView` |
//! | `POST /certificates/{issuer}/{serial}/hold` | O | `{note?}` | `CertificateView` |
//! | `POST /certificates/{issuer}/{serial}/release` | O | `{note?}` | `CertificateView` |
//! | `GET /crls` | R | | listing of [`CrlView`](crate::service::crl::CrlView) |
//! | `GET /crls/{issuer}` | R | | `CrlView` with the PEM |
//! | `POST /crls/{issuer}/publish` | O | | `CrlView` with the PEM |
//! | `POST /tickets` | O | `{profile, device?, user?, uses?, lifetime_seconds?}` | 201, the ticket with its secret (this once) |
//! | `GET /tickets?limit&after` | R | | listing of tickets |
//! | `GET /tickets/{ticket}` | R | | the ticket |
//! | `DELETE /tickets/{ticket}` | O | | the cancelled ticket |
//! | `GET /queue?limit` | R | | listing of enrolments that wait for approval |
//! | `GET /queue/{enrolment}` | R | | the enrolment |
//! | `POST /queue/{enrolment}/approve` | O | `{note?}` or nothing | the enrolment |
//! | `POST /queue/{enrolment}/reject` | O | `{note}` | the enrolment |
//! | `GET /jobs?limit` | R | | listing of [`JobView`](crate::service::maintain::JobView) |
//! | `GET /audit?after&limit` | R | events after sequence number `after`, oldest first | listing of [`AuditView`](crate::service::audit::AuditView) |
//! | `GET /audit?tail=N` | R | the last N, oldest first | listing of `AuditView` |
//! | `GET /audit/verify` | R | | [`ChainReport`](crate::service::audit::ChainReport) |
//! | `GET /tokens` | A | | listing of [`TokenView`](crate::service::token::TokenView) |
//! | `POST /tokens` | A | [`NewToken`](crate::service::token::NewToken) `{name, role, lifetime_seconds?}` | 201 [`CreatedToken`](crate::service::token::CreatedToken) with its secret (this once) |
//! | `DELETE /tokens/{token}` | A | | `TokenView` |
