//! One function per route: read the request, prove the permission, call the use case.

use axum::{Json, http::StatusCode};
use serde::Deserialize;

use super::{problem::Failure, session};

pub(super) mod alarms;
pub(super) mod audit;
pub(super) mod backups;
pub(super) mod certificates;
pub(super) mod crls;
pub(super) mod devices;
pub(super) mod enrolments;
pub(super) mod imports;
pub(super) mod issuers;
pub(super) mod queue;
pub(super) mod server;
pub(super) mod sources;
pub(super) mod tickets;
pub(super) mod tokens;
pub(super) mod users;

/// The usual answer.
type Answer<T> = Result<Json<T>, Failure>;
/// The answer where something was made.
type Created<T> = Result<(StatusCode, Json<T>), Failure>;

fn created<T>(answer: Answer<T>) -> Created<T> {
    Ok((StatusCode::CREATED, answer?))
}

/// The answer where something was begun.
type Accepted<T> = Result<(StatusCode, Json<T>), Failure>;

fn accepted<T>(answer: Answer<T>) -> Accepted<T> {
    Ok((StatusCode::ACCEPTED, answer?))
}

/// A remark for the record.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteRequest {
    #[serde(default)]
    note: String,
}
