//! What is noted of an exchange while it goes on.
//!
//! One [`Trail`] goes with each request through all its checks; whoever makes a check notes it there, with what was found. Notes are
//! shown to operators: never a secret, never a key, never what an envelope holds but for the names in it.

use std::{
    borrow::Cow,
    cell::{Cell, Ref, RefCell},
    fmt,
    sync::Arc,
};

use super::{Origin, Stop, looks, shown};
use crate::{
    domain::{
        client::{
            ClientFamily, Clients,
            suggest::{Features, suggest},
        },
        enrol::TraceStep,
        exchange::{
            Ending, Exchange, HintFacts, MAX_CLIENT_TEXT, MAX_DETAIL, MAX_STEPS, Operation, Refused,
            Transcript, Unanswered, clipped,
        },
        profile::CheckedProfile,
    },
    ports::{Tx, store::StoreResult},
    service::{TraceSettings, exchange::Traced, metric},
    types::{CertificateId, EnrolmentId, ProfileName, Timestamp},
};

/// The notes of one exchange. It belongs to the thread that answers.
#[derive(Debug)]
pub(in crate::service) struct Trail {
    exchange: RefCell<Exchange>,
    /// The profile that serves it, once it is found.
    profile: RefCell<Option<Arc<CheckedProfile>>>,
    /// What the client looks like, whether that is kept or not.
    family: Cell<Option<ClientFamily>>,
    /// None where none is kept.
    transcript: Option<RefCell<Transcript>>,
    /// senderNonce and recipientNonce of the answer, in hexadecimal, once they are known.
    nonces: RefCell<Option<(String, String)>>,
    /// Written already, with what it led to.
    recorded: Cell<bool>,
    /// Whether anything is noted at all.
    on: bool,
}

/// The notes as they stand.
pub(in crate::service) struct SoFar<'a> {
    exchange: Ref<'a, Exchange>,
    transcript: Option<Ref<'a, Transcript>>,
}

impl SoFar<'_> {
    /// Writes them.
    pub(in crate::service) fn put(&self, tx: &mut dyn Tx) -> StoreResult<()> {
        tx.put_exchange(&self.exchange, self.transcript.as_deref())
    }
}

impl Trail {
    /// The notes of a request that has just come.
    pub(in crate::service) fn begin(
        origin: &Origin,
        profile: Option<&ProfileName>,
        operation: Operation,
        at: Timestamp,
        settings: &TraceSettings,
    ) -> Self {
        let suggestion = suggest(&looks::of_origin(origin));
        let exchange = Exchange {
            looks_like: suggestion.as_ref().map(ToString::to_string).unwrap_or_default(),
            address: origin.peer.clone(),
            user_agent: clipped(origin.user_agent.as_str(), MAX_CLIENT_TEXT),
            profile: profile.cloned(),
            ..Exchange::begun(EnrolmentId::from(&origin.request), at, operation)
        };
        let on = settings.is_on();
        let transcript = on && !settings.keep_transcripts.is_zero();
        Self {
            exchange: RefCell::new(exchange),
            profile: RefCell::default(),
            family: Cell::new(suggestion.map(|it| it.family)),
            transcript: transcript.then(|| RefCell::new(origin.transcript())),
            nonces: RefCell::default(),
            recorded: Cell::new(false),
            on,
        }
    }

    /// One beside it that notes nothing.
    pub(super) fn silent(&self) -> Self {
        Self {
            exchange: self.exchange.clone(),
            profile: self.profile.clone(),
            family: self.family.clone(),
            transcript: None,
            nonces: RefCell::default(),
            recorded: Cell::new(false),
            on: false,
        }
    }

    /// Notes a check that passed.
    pub(in crate::service) fn passed(&self, check: &'static str, found: impl fmt::Display) {
        self.step(check.into(), true, found);
    }

    /// Notes a check that did not.
    pub(in crate::service) fn failed(&self, check: &'static str, why: impl fmt::Display) {
        self.step(check.into(), false, why);
    }

    /// Notes the outcome of a check and hands it on.
    pub(in crate::service) fn check<T>(
        &self,
        check: &'static str,
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
            self.step(check.clone(), *passed, detail);
        }
    }

    /// Notes which profile serves it.
    pub(super) fn served_by(&self, profile: &Arc<CheckedProfile>) {
        self.learn(|exchange| exchange.profile = Some(profile.name().clone()));
        self.profile.replace(Some(Arc::clone(profile)));
    }

    /// The profile that serves it, as far as it is known.
    pub(super) fn served(&self) -> Option<Arc<CheckedProfile>> {
        self.profile.borrow().clone()
    }

    /// Notes what the client looks like to a profile with these clients.
    pub(super) fn looks(&self, clients: &Clients, features: &Features<'_>) {
        let suggestion = suggest(features);
        self.family.set(suggestion.as_ref().map(|it| it.family));
        self.learn(|exchange| {
            exchange.looks_like = suggestion.map(|it| it.with_advice(clients)).unwrap_or_default();
        });
    }

    /// The name of the family that the client looks like; `unknown` for none.
    pub(super) fn client(&self) -> &'static str {
        self.family.get().map_or("unknown", ClientFamily::as_str)
    }

    /// Counts the client; once for each message.
    pub(super) fn count_client(&self) {
        metrics::counter!(metric::SCEP_CLIENTS, metric::label::CLIENT => self.client()).increment(1);
    }

    /// Notes facts of the exchange itself.
    pub(in crate::service) fn learn(&self, note: impl FnOnce(&mut Exchange)) {
        if self.on {
            note(&mut self.exchange.borrow_mut());
        }
    }

    fn step(&self, check: Cow<'static, str>, passed: bool, detail: impl fmt::Display) {
        let mut exchange = self.exchange.borrow_mut();
        if self.on && exchange.steps.len() < MAX_STEPS {
            let detail = clipped(detail.to_string(), MAX_DETAIL);
            exchange.steps.push(TraceStep { check, passed, detail });
        }
    }

    /// It ends with this certificate.
    pub(in crate::service) fn granted(&self, certificate: &CertificateId) {
        self.learn(|exchange| {
            exchange.ending = Ending::Success;
            exchange.certificate = Some(certificate.clone());
        });
        self.wire(|transcript| self.show_answer(transcript, Ending::Success, None, Some(certificate)));
    }

    /// It ends with PENDING.
    pub(in crate::service) fn pending(&self) {
        self.learn(|exchange| exchange.ending = Ending::Pending);
        self.wire(|transcript| self.show_answer(transcript, Ending::Pending, None, None));
    }

    /// It ends with FAILURE.
    pub(in crate::service) fn refused(&self, refused: &Refused) {
        let (info, text) = refused.answer();
        self.wire(|transcript| self.show_answer(transcript, Ending::Refused(info), Some(text), None));
        self.learn(|exchange| {
            exchange.ending = Ending::Refused(info);
            exchange.reason = clipped(refused.to_string(), MAX_DETAIL);
            if let Some(profile) = &*self.profile.borrow() {
                let (profile, spec) = (profile.name(), profile.spec());
                exchange.hint = refused.hint(HintFacts { profile, spec, device: exchange.device.as_ref() });
            }
        });
    }

    /// It ends without a CertRep.
    pub(in crate::service) fn unanswered(&self, why: &Unanswered) {
        // What was recorded is written again, with the end that it really had; its certificate is there all the same.
        self.recorded.set(false);
        self.wire(|transcript| self.show_answer(transcript, Ending::Http(why.status()), None, None));
        self.learn(|exchange| {
            exchange.ending = Ending::Http(why.status());
            exchange.reason = clipped(why.to_string(), MAX_DETAIL);
            why.hint().clone_into(&mut exchange.hint);
        });
    }

    /// The nonces that the CertRep has (RFC 8894 §3.2.1.5).
    pub(super) fn nonces(&self, sender: &[u8], recipient: &[u8]) {
        if self.transcript.is_some() {
            self.nonces.replace(Some((hex::encode(sender), hex::encode(recipient))));
        }
    }

    fn show_answer(
        &self,
        transcript: &mut Transcript,
        ending: Ending,
        fail_info_text: Option<&str>,
        certificate: Option<&CertificateId>,
    ) {
        shown::answer(transcript, ending, fail_info_text, certificate);
        if let (Some((sender, recipient)), false) =
            (&*self.nonces.borrow(), matches!(ending, Ending::Http(_)))
        {
            transcript.answered("senderNonce", sender);
            transcript.answered("recipientNonce", recipient);
        }
    }

    /// Adds to the transcript; `note` is not called where none is kept.
    pub(in crate::service) fn wire(&self, note: impl FnOnce(&mut Transcript)) {
        if let Some(transcript) = &self.transcript {
            note(&mut transcript.borrow_mut());
        }
    }

    /// Notes this as the last step before the certificate is recorded; [`Trail::not_granted`] takes it back.
    pub(in crate::service) fn granting(&self, certificate: &CertificateId, step: TraceStep) {
        self.granted(certificate);
        self.learn(|exchange| exchange.steps.push(step));
    }

    /// The certificate of [`Trail::granting`] was not recorded.
    pub(in crate::service) fn not_granted(&self) {
        self.learn(|exchange| {
            exchange.steps.pop();
            exchange.certificate = None;
        });
        self.wire(|transcript| transcript.answer.clear());
    }

    /// How it stands now; none where nothing is kept. Nothing can be noted while this lives.
    pub(in crate::service) fn so_far(&self) -> Option<SoFar<'_>> {
        self.on.then(|| SoFar {
            exchange: self.exchange.borrow(),
            transcript: self.transcript.as_ref().map(RefCell::borrow),
        })
    }

    /// It was written with what it led to.
    pub(in crate::service) fn set_recorded(&self) {
        self.recorded.set(true);
    }

    /// What is still to be written at the end.
    pub(in crate::service) fn finish(self) -> Option<Traced> {
        (self.on && !self.recorded.get())
            .then(|| Traced::new(self.exchange.into_inner(), self.transcript.map(RefCell::into_inner)))
    }
}
