//! PKCSReq and RenewalReq (RFC 8894 §4.3): find what authorises the request and the records that it concerns, have
//! [`authorise`] decide, and issue, put before an operator, or refuse.
//!
//! **Who authorises.** A RenewalReq: the certificate that signed it, which must be one that we issued, byte for byte, or one of
//! another CA that the profile names in `renewal-issuers`. A PKCSReq: its challenge; failing that, the certificate that signed it, if
//! it is one of those (Cisco IOS and certmonger renew with messageType 19; FortiGate sends its old, spent challenge along); failing that, an operator, where the profile says so
//! and names no challenge.
//!
//! **Repeats** (RFC 8894 §5.2). The same request, by profile, transactionID, key and CSR, gets the same answer within the
//! repeat window, also when its ticket is used up by then. A renewal gets it for as long as its profile is the same: whoever
//! recorded the request cannot have a certificate more issued with it every day. What is not good any more is decided anew. Refusals are always
//! decided anew, because a refusal may be cured; an operator's rejection is not.
//!
//! **Refusals are recorded** only where the request showed that somebody once trusted it: a ticket that we minted, a static
//! challenge, a certificate that we issued; and as many as [`RefusalLimits`] says. Everything else is a line in the log:
//! whoever knows nothing but the URL cannot fill the disk. For the same reason at most [`MAX_PENDING`] requests wait for
//! operators; the rest is told to come back.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | the way of a request: course, outcome, answer |
//! | `standing` | who authorises it |
//! | `approval` | the webhook that is asked before a certificate is issued |
//! | `alternate` | renewal with a certificate of another CA |
//! | `denials` | what it said no to, for a while |
//! | `concerned` | the records that it concerns |
//! | `meter` | how many refusals are recorded |
//! | `refused`, `reused` | what becomes of a refusal; a used-up ticket that comes again |
//! | `vouch` | others who are asked before the decision and told before the certificate leaves |

mod alternate;
mod approval;
mod concerned;
mod denials;
mod meter;
mod refused;
mod reused;
mod standing;
mod vouch;

pub(super) use alternate::barred_here;
pub use approval::ApprovalWebhook;
pub(super) use concerned::{Concerned, concerned, device_named, facts, registered_as, unregistered_names};
pub use denials::Denials;
pub use meter::RefusalLimits;
pub(super) use meter::RefusalMeter;
pub(super) use reused::came_of;

use std::cell::Cell;

use self::{
    alternate::Alternate,
    refused::refuse_challenge,
    standing::{Standing, ticket_of, usable_ticket},
};
use super::{
    Gateway, ServiceError,
    audit::Act,
    issue::{Issuance, NotIssued, RequestOrigin, is_compromised, is_good, trace_step},
    queue::end_of,
    scep::{Answer, Endpoint, Request, Stop, show_request},
};
use crate::{
    domain::{
        access::Actor,
        binding::{Assurance, BoundObject, Evidence},
        certificate::CertificateRecord,
        challenge::{Authorisation, Means},
        enrol::{
            Decision, Deferral, EnrolRequest, Enrolment, EnrolmentState, IssueOrder, MessageAlgorithms,
            Refusal, RefusalReason, TraceStep, authorise, defer, request_key,
        },
        exchange::{MAX_DETAIL, Refused, Unreadable, clipped},
        issuer::GenerationState,
        profile::{Approval, ChallengeMode},
        vouch::{Verdict, Voucher},
    },
    ports::{SealPurpose, View},
    types::{CertificateId, DeviceId, DigestAlgorithm, EnrolmentId, Fingerprint, TicketId, Timestamp},
    wire::{
        csr::ProvenCsr,
        scep::{Degenerate, FailInfo},
        x509::Certificate,
    },
};

/// At most this many requests wait for operators; half of them without a ticket, so that whoever sends requests to a profile that
/// wants no challenge does not keep out those who were given one.
pub const MAX_PENDING: u64 = 1000;

/// The check of a request by somebody else, in traces.
const ASKED: &str = "asked outside";

/// What is to be done with a request.
enum Course {
    /// It was answered before.
    Repeat(EnrolmentState),
    /// Issue.
    Issue { order: IssueOrder, ticket: Option<TicketId>, concerned: Concerned, trace: Vec<TraceStep> },
    /// Put before an operator.
    Defer { deferral: Deferral, ticket: Option<TicketId>, concerned: Concerned, trace: Vec<TraceStep> },
    /// Refuse; with evidence that it once was trusted, on record.
    Refuse { refusal: Refusal, evidence: Option<Evidence>, device: Option<DeviceId>, trace: Vec<TraceStep> },
    /// Refuse a RenewalReq that no certificate of ours signed.
    Stranger,
    /// Ask somebody else, then look again.
    Ask(Voucher),
}

/// A proven request on its way.
struct Candidate<'a> {
    request: &'a Request<'a>,
    csr: ProvenCsr,
    key: Fingerprint,
    now: Timestamp,
    /// The certificate of another CA that signed it, where such a one renews.
    alternate: Option<Alternate>,
    /// What whoever was asked says of it.
    verdict: Option<Verdict>,
    /// Its challenge was given to nobody, though it does not rest on it: a certificate of ours signed.
    guesses: Cell<bool>,
}

/// Who signed, as far as repeats are concerned: a throw-away certificate counts by its key, for a client may make a new one for
/// each try; an issued one by itself, for a renewal with the same key, transactionID and CSR (micromdm's scepclient) is no
/// repeat of the first enrolment.
fn signer_of(signer: &Certificate) -> Fingerprint {
    if signer.is_self_issued() { signer.public_key().fingerprint() } else { signer.fingerprint() }
}

impl Gateway {
    /// PKCSReq and RenewalReq.
    pub(super) fn enrol(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let mut candidate = self.candidate(request)?;
        candidate.check_lock_out()?;
        let mut course = self.ports.store.read(|view| self.course(view, &candidate))?;
        if let Course::Ask(by) = course {
            candidate.verdict = Some(self.ask(&candidate, by)?);
            course = self.ports.store.read(|view| self.course(view, &candidate))?;
        }
        if candidate.guesses.get() {
            self.note_guess(&candidate);
        }
        candidate.note(&course);
        match course {
            Course::Repeat(state) => self.repeat(&candidate, state),
            Course::Issue { order, ticket, concerned, trace } => {
                let evidence = order.evidence().clone();
                let bound = order.bound().cloned();
                let renews = order.renews().cloned();
                let mut enrolment = self.enrolment(&candidate, evidence, bound, renews, trace)?;
                if request.endpoint.profile.spec().approval == Approval::Webhook {
                    enrolment = self.approved_outside(&candidate, &order, &concerned, enrolment)?;
                }
                self.issue_or_refuse(&candidate, order, ticket.as_ref(), &concerned, enrolment)
            }
            Course::Defer { deferral, ticket, concerned, trace } => {
                let renews = concerned.renews.as_ref().map(|(record, _)| record.id.clone());
                let (evidence, bound) = (deferral.evidence().clone(), deferral.bound().cloned());
                let enrolment = self.enrolment(&candidate, evidence, bound, renews, trace)?;
                self.put_before_operator(&candidate, ticket.as_ref(), &enrolment)
            }
            Course::Refuse { refusal, evidence, trace, .. } => {
                self.note_challenge(&candidate, &refusal)?;
                self.tell_refused(&candidate, &refusal);
                if let Some(evidence) = evidence {
                    let enrolment = self.enrolment(&candidate, evidence, None, None, trace)?;
                    self.record_refusal(&candidate, enrolment, &refusal)?;
                }
                Err(stop(&refusal))
            }
            Course::Ask(by) => {
                Err(ServiceError::Internal(format!("{by} was asked, and is to be asked")).into())
            }
            Course::Stranger => {
                request.trail.failed("authorisation", Refused::Stranger);
                Err(Refused::Stranger.into())
            }
        }
    }

    /// Reads and proves the request. RFC 8894 §7.6 advises to check the self-signature on renewals too.
    fn candidate<'a>(&self, request: &'a Request<'a>) -> Result<Candidate<'a>, Stop> {
        let (trail, legacy) = (request.trail, request.endpoint.profile.behaviour().old_algorithms);
        let csr = request.endpoint.request(&request.payload);
        let csr = trail
            .check("request", csr, |_| format!("PKCS#10 of {} bytes", request.payload.expose().len()))?;
        let csr = csr.prove().map_err(|_| Unreadable::SelfSignature.into());
        let csr = trail.check("self-signature", csr, |csr| csr.signature_algorithm().digest().to_string())?;
        trail.wire(|transcript| show_request(transcript, &csr));
        trail.learn(|exchange| exchange.subject = clipped(csr.subject().to_string(), MAX_DETAIL));
        let old = match csr.signature_algorithm().digest() {
            DigestAlgorithm::Md5 => Some((legacy.md5, "md5-request", "md5")),
            DigestAlgorithm::Sha1 => Some((legacy.sha1, "sha1-request", "sha1")),
            DigestAlgorithm::Sha256 | DigestAlgorithm::Sha384 | DigestAlgorithm::Sha512 => None,
        };
        if let Some((allowed, algorithm, switch)) = old {
            let allowed = request.endpoint.legacy(allowed, algorithm, switch, request.origin);
            trail.check("digest of the request", allowed, |()| "allowed".to_owned())?;
        }
        let key = request_key(
            request.endpoint.profile.name(),
            request.message.message().transaction_id(),
            signer_of(request.message.signer()),
            csr.fingerprint(),
            request.addressed.later_generation(),
        );
        let now = self.now();
        let alternate = self.alternate(request, now);
        Ok(Candidate { request, csr, key, now, alternate, verdict: None, guesses: Cell::new(false) })
    }

    fn course(&self, view: &dyn View, candidate: &Candidate<'_>) -> Result<Course, ServiceError> {
        if let Some(state) = self.earlier_answer(view, candidate)? {
            return Ok(Course::Repeat(state));
        }
        if let Some(refused) = compromised_before(view, &candidate.key, &candidate.csr)? {
            return Ok(refused);
        }
        let profile = &candidate.request.endpoint.profile;
        let signer = view.certificate_by_fingerprint(&candidate.request.message.signer().fingerprint())?;
        // What was imported is still another CA's.
        let signer = signer.filter(|record| !record.is_imported());
        if candidate.is_strangers_renewal(signer.is_some()) {
            return Ok(Course::Stranger);
        }
        let standing = match self.standing(view, candidate, signer.as_ref())? {
            Ok(Standing::Ask(by)) => return Ok(Course::Ask(by)),
            Ok(standing) => standing,
            Err(refused) => return refuse_challenge(view, refused),
        };
        let authorisation = match &standing {
            Standing::Authorised(authorisation) => Some(authorisation),
            Standing::Waits(awaiting) => awaiting.first(),
            Standing::Ask(_) => None,
        };
        if let Some(Means::Alternate(certificate)) = authorisation.map(Authorisation::means) {
            let key = candidate.alternate_key(certificate.fingerprint());
            if let Some(refused) = compromised_before(view, &key, &candidate.csr)? {
                return Ok(refused);
            }
            match self.led_to(view, candidate, certificate)? {
                Some(Ok(state)) => return Ok(Course::Repeat(state)),
                Some(Err(refused)) => return refuse_challenge(view, refused),
                None => {}
            }
        }
        let ticket = authorisation.and_then(ticket_of);
        let concerned = concerned(view, profile, &candidate.csr, authorisation)?;
        let variables = self.variables(profile, &concerned, candidate.now);
        let facts = EnrolRequest {
            message: Some(MessageAlgorithms {
                digest: candidate.request.message.digest(),
                cipher: candidate.request.cipher,
            }),
            ..facts(
                &candidate.request.endpoint.authority,
                profile,
                &candidate.csr,
                &concerned,
                &variables,
                candidate.now,
            )
        };
        Ok(match standing {
            Standing::Authorised(authorisation) => {
                let Decision { outcome, trace } = authorise(&facts, &authorisation);
                match outcome {
                    Ok(order) => Course::Issue { order, ticket, concerned, trace },
                    Err(refusal) => {
                        let evidence = Some(authorisation.evidence());
                        Course::Refuse { refusal, evidence, device: concerned.device_id(), trace }
                    }
                }
            }
            Standing::Ask(by) => Course::Ask(by),
            Standing::Waits(awaiting) => {
                let Decision { outcome, trace } = defer(&facts, &awaiting);
                match outcome {
                    Ok(deferral) => Course::Defer { deferral, ticket, concerned, trace },
                    Err(refusal) => {
                        let evidence = awaiting.first().map(Authorisation::evidence);
                        Course::Refuse { refusal, evidence, device: concerned.device_id(), trace }
                    }
                }
            }
        })
    }

    /// The answer to the same request, where it still stands.
    fn earlier_answer(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
    ) -> Result<Option<EnrolmentState>, ServiceError> {
        let Some(earlier) = view.enrolment_by_request(&candidate.key)? else { return Ok(None) };
        let recent = earlier.received_at >= self.repeats_since(candidate.now);
        let profile = &candidate.request.endpoint.profile;
        let same_renewal = earlier.renews.is_some() && earlier.profile_version == profile.version();
        Ok(match earlier.state {
            EnrolmentState::Pending => Some(EnrolmentState::Pending),
            EnrolmentState::Issued { certificate } if recent || same_renewal => {
                let record = view.certificate(&certificate)?;
                let good = record.map(|record| is_good(view, &record, candidate.now)).transpose()?;
                good.unwrap_or(false).then_some(EnrolmentState::Issued { certificate })
            }
            EnrolmentState::Rejected { reason } if recent => Some(EnrolmentState::Rejected { reason }),
            EnrolmentState::Issued { .. }
            | EnrolmentState::Rejected { .. }
            | EnrolmentState::Refused { .. } => None,
        })
    }

    fn repeats_since(&self, now: Timestamp) -> Timestamp {
        now.minus(self.settings.repeat_window)
    }

    /// The record of this request, waiting for its outcome.
    fn enrolment(
        &self,
        candidate: &Candidate<'_>,
        evidence: Evidence,
        binding: Option<(BoundObject, Assurance)>,
        renews: Option<CertificateId>,
        trace: Vec<TraceStep>,
    ) -> Result<Enrolment, ServiceError> {
        let message = candidate.request.message;
        let profile = &candidate.request.endpoint.profile;
        let id = EnrolmentId::from(&candidate.request.origin.request);
        let (purpose, csr) = (SealPurpose::CertificationRequest, candidate.csr.as_der());
        let sealed_csr = self.ports.keyring.seal(purpose, id.as_str().as_bytes(), csr)?;
        Ok(Enrolment {
            id,
            profile: profile.name().clone(),
            profile_version: profile.version(),
            transaction: message.message().transaction_id().clone(),
            signer_key: message.signer().public_key().fingerprint(),
            request_key: candidate.key_under(&evidence),
            sealed_csr,
            evidence,
            binding,
            renews,
            received_at: candidate.now,
            state: EnrolmentState::Pending,
            decided_at: None,
            trace: candidate.asked().into_iter().chain(trace).collect(),
        })
    }

    fn issue_or_refuse(
        &self,
        candidate: &Candidate<'_>,
        order: IssueOrder,
        ticket: Option<&TicketId>,
        concerned: &Concerned,
        enrolment: Enrolment,
    ) -> Result<Answer, Stop> {
        let endpoint = candidate.request.endpoint;
        let evidence = order.evidence().clone();
        let issuance = Issuance {
            profile: &endpoint.profile,
            authority: &endpoint.authority,
            unregistered: unregistered_names(&order, &endpoint.profile, &candidate.csr),
            order,
            enrolment,
            origin: RequestOrigin::Message { ticket, repeats_since: self.repeats_since(candidate.now) },
            device: concerned.device_id(),
            user: concerned.user.as_ref().map(|user| user.id.clone()),
            alternate: candidate.alternate_behind(&evidence),
            act: candidate.act(),
            trail: Some(candidate.request.trail),
        };
        // A signature and an encryption: while the record is being committed.
        let answer = |record: &CertificateRecord| {
            let granted = granted(endpoint, record)?;
            let Request { endpoint, origin, reply, .. } = candidate.request;
            self.sign_reply(reply, granted, endpoint.profile.name(), origin)
        };
        match self.issue_meanwhile(&issuance, answer) {
            Ok((record, answer)) => {
                self.tell_before_delivery(&record.id)?;
                Ok(Answer::Made(answer?))
            }
            Err(NotIssued::Refused(refusal)) => {
                self.note_challenge(candidate, &refusal)?;
                self.tell_refused(candidate, &refusal);
                let mut enrolment = issuance.enrolment;
                enrolment.trace.push(trace_step("still holds when recorded", false, &refusal.reason));
                candidate.request.trail.failed("still holds when recorded", &refusal.reason);
                self.record_refusal(candidate, enrolment, &refusal)?;
                Err(stop(&refusal))
            }
            Err(NotIssued::DecidedAlready) => {
                Err(ServiceError::Conflict("the enrolment was decided meanwhile".to_owned()).into())
            }
            Err(NotIssued::SerialTaken) => {
                Err(ServiceError::Internal("every random serial number is taken".to_owned()).into())
            }
            Err(NotIssued::Fault(error)) => Err(Stop::Fault(error)),
        }
    }

    /// PENDING (RFC 8894 §2.4, §3.3.2.3). A ticket that the request brought is consumed now: it has done its part.
    fn put_before_operator(
        &self,
        candidate: &Candidate<'_>,
        ticket: Option<&TicketId>,
        enrolment: &Enrolment,
    ) -> Result<Answer, Stop> {
        // Its ticket may have been used before.
        self.refuse_while_behind()?;
        let profile = enrolment.profile.clone();
        let fact =
            candidate.act().fact("enrolment.pending", &enrolment.id, &[("profile", profile.to_string())]);
        let trail = candidate.request.trail;
        trail.pending();
        let so_far = trail.so_far();
        let recorded = self.ports.store.write(|tx| {
            let earlier = tx.enrolment_by_request(&enrolment.request_key)?;
            if earlier.is_some_and(|earlier| earlier.state == EnrolmentState::Pending) {
                return Ok(false);
            }
            let places = if ticket.is_some() { MAX_PENDING } else { MAX_PENDING / 2 };
            if tx.count_pending_enrolments()? >= places {
                return Err(Stop::Full);
            }
            // What is over by now lets go of the requests that wait, and would not of one that comes after that.
            if let Some((object, _)) = &enrolment.binding
                && let Some(ended) = end_of(tx.as_view(), object)?
            {
                return Err(stop(&ended.into()));
            }
            if let Some(id) = ticket {
                let ticket = usable_ticket(tx.as_view(), id, &profile, candidate.now)?;
                match ticket {
                    Ok(ticket) => tx.put_ticket(&ticket.consume(&enrolment.id))?,
                    Err(refused) => return Err(stop(&refused.into())),
                }
            }
            tx.put_enrolment(enrolment)?;
            let asked = &candidate.request.endpoint.authority.issuer;
            if asked.generation.state == GenerationState::Announced {
                tx.put_enrolment_issuer(&enrolment.id, &asked.id)?;
            }
            if let Some(so_far) = &so_far {
                so_far.put(tx)?;
            }
            tx.append_audit(&fact)?;
            Ok(true)
        })?;
        if recorded {
            trail.set_recorded();
        }
        Ok(Answer::Pending)
    }

    fn repeat(&self, candidate: &Candidate<'_>, state: EnrolmentState) -> Result<Answer, Stop> {
        match state {
            EnrolmentState::Pending => {
                candidate.request.trail.pending();
                Ok(Answer::Pending)
            }
            EnrolmentState::Issued { certificate } => {
                candidate.request.trail.granted(&certificate);
                self.granted(candidate.request.endpoint, &certificate)
            }
            EnrolmentState::Refused { info, reason } => Err(decided_before(Some(info), reason)),
            EnrolmentState::Rejected { reason } => Err(decided_before(None, reason)),
        }
    }

    /// SUCCESS with a recorded certificate, once those who vouched for it were told.
    pub(super) fn granted(&self, endpoint: &Endpoint, id: &CertificateId) -> Result<Answer, Stop> {
        let record = self.ports.store.read(|view| Ok::<_, ServiceError>(view.certificate(id)?))?;
        let record = record.ok_or_else(|| ServiceError::not_found("certificate", id))?;
        self.tell_before_delivery(id)?;
        Ok(granted(endpoint, &record)?)
    }
}

/// Whoever recorded the request, and has its key, must not get out of it what was taken from them: with a static challenge in it, it
/// could be sent again for as long as that stands. The same goes for a key that was certified on the word of another CA, which knows
/// nothing of it.
fn compromised_before(
    view: &dyn View,
    request: &Fingerprint,
    csr: &ProvenCsr,
) -> Result<Option<Course>, ServiceError> {
    let Some(earlier) = view.enrolment_by_request(request)? else { return Ok(None) };
    let EnrolmentState::Issued { certificate } = earlier.state else { return Ok(None) };
    let Some(record) = view.certificate(&certificate)? else { return Ok(None) };
    if record.public_key != csr.public_key().fingerprint() || !is_compromised(view, &certificate)? {
        return Ok(None);
    }
    let refusal = Refusal::from(RefusalReason::CompromisedKey { certificate });
    let trace = vec![trace_step("repeat", false, &refusal)];
    let device = earlier.binding.as_ref().and_then(|(object, _)| object.device().cloned());
    Ok(Some(Course::Refuse { refusal, evidence: Some(earlier.evidence), device, trace }))
}

impl Candidate<'_> {
    /// Of a client that is locked out only a renewal passes, and its challenge is not looked at. Where others judge challenges it has
    /// to do without one: their word must not be missed.
    fn check_lock_out(&self) -> Result<(), Stop> {
        let others_judge = self.request.endpoint.profile.spec().challenge.contains(&ChallengeMode::Intune);
        match self.request.locked_out {
            Some(too_soon) if others_judge && self.csr.challenge_password().is_some() => {
                let stop = Stop::TurnedAway(too_soon);
                self.request.trail.failed("lock-out", &stop);
                Err(stop)
            }
            _ => Ok(()),
        }
    }

    /// That somebody else was asked, with what to look it up by there.
    fn asked(&self) -> Option<TraceStep> {
        let Some(Verdict::Allowed { reference }) = &self.verdict else { return None };
        Some(trace_step(ASKED, true, &format_args!("allowed, reference {reference}")))
    }

    /// Notes what is to be done, and whom it concerns.
    fn note(&self, course: &Course) {
        let trail = self.request.trail;
        trail.decided(self.asked().as_slice());
        match course {
            Course::Repeat(_) => {
                trail.passed("repeat", "the same request was answered before: the same answer");
            }
            Course::Issue { trace, concerned, .. } | Course::Defer { trace, concerned, .. } => {
                trail.learn(|exchange| exchange.device = concerned.device_id());
                trail.decided(trace);
            }
            Course::Refuse { trace, device, .. } => {
                trail.learn(|exchange| exchange.device.clone_from(device));
                trail.decided(trace);
            }
            Course::Stranger | Course::Ask(_) => {}
        }
    }

    fn act(&self) -> Act {
        let origin = self.request.origin;
        Act {
            actor: Actor::Device { peer: origin.peer.clone() },
            request: origin.request.clone(),
            at: self.now,
        }
    }
}

fn stop(refusal: &Refusal) -> Stop {
    Refused::from(refusal.clone()).into()
}

/// What was decided against stays so; `info` where a rule did, none where an operator did.
pub(super) fn decided_before(info: Option<FailInfo>, reason: String) -> Stop {
    let by_operator = info.is_none();
    Refused::Decided { info: info.unwrap_or(FailInfo::BadRequest), reason, by_operator }.into()
}

/// RFC 8894 §3.3.2.1: the issued certificate is the first; alone unless the profile says otherwise (Apple and Juniper
/// refuse company, Cisco VPN clients want it).
fn granted(endpoint: &Endpoint, record: &CertificateRecord) -> Result<Answer, ServiceError> {
    let mut certificates = vec![record.der.as_slice()];
    if let Some(authority) = endpoint.authorities.issuer(&record.id.issuer)
        && endpoint.profile.behaviour().include_ca
    {
        certificates.push(authority.certificate.as_der());
        certificates.extend(authority.chain.iter().map(Certificate::as_der));
    }
    Ok(Answer::Granted(Degenerate::to_der(&certificates, &[])?))
}
