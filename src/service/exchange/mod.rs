//! The trace of SCEP exchanges: what is kept of each request and its answer.
//!
//! An exchange that writes to the store anyway (a certificate, a pending enrolment, a recorded refusal) is written in the same
//! transaction. Every other one goes through a buffer, which is written by and by: a flood of junk is no flood of commits.

use super::{
    Gateway,
    scep::{Origin, Trail},
};
use crate::{
    domain::exchange::{Operation, Unanswered},
    types::ProfileName,
};

impl Gateway {
    /// Opens the notes of a request that has just come.
    pub(super) fn trail(
        &self,
        origin: &Origin,
        profile: Option<&ProfileName>,
        operation: Operation,
    ) -> Trail {
        Trail::begin(origin, profile, operation, self.now(), self.settings.trace.is_on())
    }

    /// Keeps what was noted, unless it was written already.
    pub(super) fn keep(trail: Trail) {
        if let Some(exchange) = trail.finish() {
            tracing::debug!(?exchange, "SCEP exchange");
        }
    }

    /// Keeps that a request was not answered with a CertRep, or not even read.
    pub fn not_answered(
        &self,
        origin: &Origin,
        profile: Option<&ProfileName>,
        operation: Operation,
        why: &Unanswered,
    ) {
        let trail = self.trail(origin, profile, operation);
        trail.unanswered(why);
        Self::keep(trail);
    }
}
