//! What is noted of an exchange while it goes on.
//!
//! One [`Trail`] goes with each request through all its checks; whoever makes a check notes it there, with what was found. Notes are
//! shown to operators: never a secret, never a key, never what an envelope holds but for the names in it.

use std::{cell::RefCell, fmt};

use super::{Origin, Stop};
use crate::{
    domain::{
        enrol::TraceStep,
        exchange::{
            Ending, Exchange, HintFacts, MAX_CLIENT_TEXT, MAX_DETAIL, MAX_STEPS, Operation, Refused,
            Unanswered, clipped,
        },
    },
    types::{CertificateId, EnrolmentId, ProfileName, Timestamp},
};

/// The notes of one exchange. It belongs to the thread that answers.
#[derive(Debug)]
pub(in crate::service) struct Trail {
    exchange: RefCell<Exchange>,
    /// Whether anything is noted at all.
    on: bool,
}

impl Trail {
    /// The notes of a request that has just come.
    pub(in crate::service) fn begin(
        origin: &Origin,
        profile: Option<&ProfileName>,
        operation: Operation,
        at: Timestamp,
        on: bool,
    ) -> Self {
        let exchange = Exchange {
            id: EnrolmentId::from(&origin.request),
            at,
            address: origin.peer.clone(),
            user_agent: clipped(&origin.user_agent, MAX_CLIENT_TEXT),
            looks_like: String::new(),
            profile: profile.cloned(),
            operation,
            transaction: None,
            ending: Ending::Success,
            subject: String::new(),
            device: None,
            certificate: None,
            polls: None,
            steps: Vec::new(),
            reason: String::new(),
            hint: String::new(),
            more: 0,
        };
        Self { exchange: RefCell::new(exchange), on }
    }

    /// One beside it that notes nothing.
    pub(super) fn silent(&self) -> Self {
        Self { exchange: self.exchange.clone(), on: false }
    }

    /// Notes a check that passed.
    pub(in crate::service) fn passed(&self, check: &str, found: impl fmt::Display) {
        self.step(check, true, found);
    }

    /// Notes a check that did not.
    pub(in crate::service) fn failed(&self, check: &str, why: impl fmt::Display) {
        self.step(check, false, why);
    }

    /// Notes the outcome of a check and hands it on.
    pub(in crate::service) fn check<T>(
        &self,
        check: &str,
        outcome: Result<T, Stop>,
        found: impl FnOnce(&T) -> String,
    ) -> Result<T, Stop> {
        if self.on {
            match &outcome {
                Ok(value) => self.passed(check, found(value)),
                Err(stop) => self.failed(check, stop),
            }
        }
        outcome
    }

    /// Notes the steps of a decision.
    pub(in crate::service) fn decided(&self, steps: &[TraceStep]) {
        for TraceStep { check, passed, detail } in steps {
            self.step(check, *passed, detail);
        }
    }

    /// Notes facts of the exchange itself.
    pub(in crate::service) fn learn(&self, note: impl FnOnce(&mut Exchange)) {
        if self.on {
            note(&mut self.exchange.borrow_mut());
        }
    }

    fn step(&self, check: &str, passed: bool, detail: impl fmt::Display) {
        let mut exchange = self.exchange.borrow_mut();
        if self.on && exchange.steps.len() < MAX_STEPS {
            let detail = clipped(&detail.to_string(), MAX_DETAIL);
            exchange.steps.push(TraceStep { check: check.to_owned(), passed, detail });
        }
    }

    /// It ends with this certificate.
    pub(in crate::service) fn granted(&self, certificate: &CertificateId) {
        self.learn(|exchange| {
            exchange.ending = Ending::Success;
            exchange.certificate = Some(certificate.clone());
        });
    }

    /// It ends with PENDING.
    pub(in crate::service) fn pending(&self) {
        self.learn(|exchange| exchange.ending = Ending::Pending);
    }

    /// It ends with FAILURE.
    pub(in crate::service) fn refused(&self, refused: &Refused) {
        self.learn(|exchange| {
            exchange.ending = Ending::Refused(refused.answer().0);
            exchange.reason = clipped(&refused.to_string(), MAX_DETAIL);
            if let Some(profile) = &exchange.profile {
                exchange.hint = refused.hint(HintFacts { profile, device: exchange.device.as_ref() });
            }
        });
    }

    /// It ends without a CertRep.
    pub(in crate::service) fn unanswered(&self, why: &Unanswered) {
        self.learn(|exchange| {
            exchange.ending = Ending::Http(why.status());
            exchange.certificate = None;
            exchange.reason = clipped(&why.to_string(), MAX_DETAIL);
            why.hint().clone_into(&mut exchange.hint);
        });
    }

    /// What is still to be kept at the end.
    pub(in crate::service) fn finish(self) -> Option<Exchange> {
        self.on.then(|| self.exchange.into_inner())
    }
}
