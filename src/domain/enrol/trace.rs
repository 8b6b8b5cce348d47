//! The record of the checks.

use std::fmt::Write as _;

use super::{Decision, Refusal, RefusalReason, TraceStep, order::Names};
use crate::{
    domain::{
        binding::{Assurance, BoundObject},
        exchange::{MAX_DETAIL, clipped},
    },
    types::Validity,
};

/// The checks so far.
#[derive(Default)]
pub(super) struct Trace {
    steps: Vec<TraceStep>,
}

/// What a passed check has found, for the trace.
pub(super) trait Finding {
    /// In a few words, without secrets.
    fn finding(&self) -> String;
}

impl Trace {
    /// Notes the outcome of a check and hands it on.
    pub(super) fn check<T: Finding>(
        &mut self,
        check: &'static str,
        outcome: Result<T, RefusalReason>,
    ) -> Result<T, Refusal> {
        let (passed, detail) = match &outcome {
            Ok(found) => (true, found.finding()),
            Err(reason) => (false, reason.to_string()),
        };
        self.note(check, passed, detail);
        outcome.map_err(Refusal::from)
    }

    /// Notes something that needs no check.
    pub(super) fn pass(&mut self, check: &'static str, detail: String) {
        self.note(check, true, detail);
    }

    /// As much as is kept: names in a request may be as long as the request.
    fn note(&mut self, check: &'static str, passed: bool, detail: String) {
        let detail = clipped(detail, MAX_DETAIL);
        self.steps.push(TraceStep { check: check.into(), passed, detail });
    }

    pub(super) fn conclude<T>(self, outcome: Result<T, Refusal>) -> Decision<T> {
        Decision { outcome, trace: self.steps }
    }
}

impl Finding for &'static str {
    fn finding(&self) -> String {
        (*self).to_owned()
    }
}

impl Finding for String {
    fn finding(&self) -> String {
        self.clone()
    }
}

impl Finding for Option<(BoundObject, Assurance)> {
    fn finding(&self) -> String {
        match self {
            None => "not bound: nothing is registered under this name".to_owned(),
            Some((BoundObject::Device { id, generation }, assurance)) => {
                format!("device {id}, generation {generation}, assurance {assurance}")
            }
            Some((BoundObject::User { id }, assurance)) => format!("user {id}, assurance {assurance}"),
        }
    }
}

impl Finding for Names {
    fn finding(&self) -> String {
        let mut text = format!("subject {}", self.subject);
        for name in &self.alternatives {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {name}");
        }
        text
    }
}

impl Finding for Validity {
    fn finding(&self) -> String {
        format!("{} to {}", self.not_before, self.not_after)
    }
}
