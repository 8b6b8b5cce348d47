//! PKCSReq and RenewalReq (RFC 8894 §4.3): find what authorises the request and the records that it concerns, have
//! [`authorise`] decide, and issue, put before an operator, or refuse.
//!
//! **Who authorises.** A RenewalReq: the certificate that signed it, which must be one that we issued, byte for byte. A
//! PKCSReq: its challenge; failing that, the certificate that signed it, if it is one of ours (Cisco IOS and certmonger renew
//! with messageType 19; FortiGate sends its old, spent challenge along); failing that, an operator, where the profile says so
//! and names no challenge.
//!
//! **Repeats** (RFC 8894 §5.2). The same request, by profile, transactionID, key and CSR, gets the same answer within the
//! repeat window, also when its ticket is used up by then. What is not good any more is decided anew. Refusals are always
//! decided anew, because a refusal may be cured; an operator's rejection is not.
//!
//! **Refusals are recorded** only where the request showed that somebody once trusted it: a ticket that we minted, a static
//! challenge, a certificate that we issued; and at most [`REFUSALS_PER_MINUTE`] of them. Everything else is a line in the log:
//! whoever knows nothing but the URL cannot fill the disk. For the same reason at most [`MAX_PENDING`] requests wait for
//! operators; the rest is told to come back.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Gateway, ServiceError,
    audit::Act,
    authority::Authority,
    issue::{Issuance, NotIssued, RequestOrigin, is_good, trace_step},
    scep::{Answer, Endpoint, Request, Stop},
};
use crate::{
    domain::{
        access::Actor,
        binding::{Assurance, BoundObject, Evidence},
        certificate::CertificateRecord,
        challenge::{
            Authorisation, AwaitingApproval, ChallengeRefused, Means, RENEWAL_REFUSED, RenewalFacts, Ticket,
            awaiting_approval, check_renewal, check_static, check_ticket,
        },
        device::{Device, IdentityKind},
        enrol::{
            Decision, Deferral, EnrolRequest, Enrolment, EnrolmentState, IssueOrder, MessageAlgorithms,
            Refusal, Renewed, TraceStep, authorise, defer, request_key,
        },
        profile::{Approval, CheckedProfile, Scope, VariableFacts, Variables, variables},
        status,
        user::User,
    },
    ports::{MacPurpose, View, store::StoreResult},
    types::{CertificateId, DigestAlgorithm, EnrolmentId, Fingerprint, ProfileName, TicketId, Timestamp},
    wire::{
        csr::{Csr, ProvenCsr},
        scep::{Degenerate, FailInfo, MessageType},
        x509::Certificate,
    },
};

/// At most this many refusals are recorded in one minute; the rest is logged only.
pub const REFUSALS_PER_MINUTE: u64 = 120;
/// At most this many requests wait for operators.
pub const MAX_PENDING: u64 = 1000;

/// failInfoText of an enrolment that was decided against.
pub(super) const REFUSED: &str = "The request is refused.";

/// Counts recorded refusals by the minute.
#[derive(Debug, Default)]
pub struct RefusalMeter {
    /// The minute in the upper 32 bits, the count in the lower.
    state: AtomicU64,
}

impl RefusalMeter {
    /// Whether one more may be recorded in this minute.
    fn admits(&self, now: Timestamp) -> bool {
        let minute = (now.unix() / 60) << 32;
        let counted = |state: u64| if state & !0xffff_ffff == minute { state + 1 } else { minute + 1 };
        let full = |state: u64| state & !0xffff_ffff == minute && state & 0xffff_ffff >= REFUSALS_PER_MINUTE;
        let update = |state: u64| (!full(state)).then(|| counted(state));
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }
}

/// What authorises a request.
enum Standing {
    /// A challenge or a certificate.
    Authorised(Authorisation),
    /// An operator may.
    Waits(AwaitingApproval),
}

/// The records that a request concerns.
#[derive(Default)]
pub(super) struct Concerned {
    pub(super) device: Option<Device>,
    pub(super) user: Option<User>,
    pub(super) renews: Option<(CertificateRecord, Certificate)>,
}

/// What is to be done with a request.
enum Course {
    /// It was answered before.
    Repeat(EnrolmentState),
    /// Issue.
    Issue { order: IssueOrder, ticket: Option<TicketId>, concerned: Concerned, trace: Vec<TraceStep> },
    /// Put before an operator.
    Defer { deferral: Deferral, ticket: Option<TicketId>, concerned: Concerned, trace: Vec<TraceStep> },
    /// Refuse; with evidence that it once was trusted, on record.
    Refuse { refusal: Refusal, evidence: Option<Evidence>, trace: Vec<TraceStep> },
    /// Refuse a RenewalReq that no certificate of ours signed.
    Stranger,
}

/// A proven request on its way.
struct Candidate<'a> {
    request: &'a Request<'a>,
    csr: ProvenCsr,
    key: Fingerprint,
    now: Timestamp,
}

impl Gateway {
    /// PKCSReq and RenewalReq.
    pub(super) fn enrol(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let candidate = self.candidate(request)?;
        let course = self.ports.store.read(|view| self.course(view, &candidate))?;
        match course {
            Course::Repeat(state) => self.repeat(&candidate, state),
            Course::Issue { order, ticket, concerned, trace } => {
                let evidence = order.evidence().clone();
                let bound = order.bound().cloned();
                let renews = order.renews().cloned();
                let enrolment = self.enrolment(&candidate, evidence, bound, renews, trace);
                self.issue_or_refuse(&candidate, order, ticket.as_ref(), &concerned, enrolment)
            }
            Course::Defer { deferral, ticket, concerned, trace } => {
                let renews = concerned.renews.as_ref().map(|(record, _)| record.id.clone());
                let (evidence, bound) = (deferral.evidence().clone(), deferral.bound().cloned());
                let enrolment = self.enrolment(&candidate, evidence, bound, renews, trace);
                self.put_before_operator(&candidate, ticket.as_ref(), enrolment)
            }
            Course::Refuse { refusal, evidence, trace } => {
                if let Some(evidence) = evidence {
                    let enrolment = self.enrolment(&candidate, evidence, None, None, trace);
                    self.record_refusal(&candidate, enrolment, &refusal)?;
                }
                Err(stop(&refusal))
            }
            Course::Stranger => Err(Stop::refuse(
                FailInfo::BadRequest,
                RENEWAL_REFUSED,
                "the certificate that signed the renewal is not one of ours",
            )),
        }
    }

    /// Reads and proves the request. RFC 8894 §7.6 advises to check the self-signature on renewals too.
    fn candidate<'a>(&self, request: &'a Request<'a>) -> Result<Candidate<'a>, Stop> {
        let csr =
            Csr::from_der(request.payload.expose()).map_err(|error| Stop::unreadable(error.to_string()))?;
        let csr = csr.prove().map_err(|error| Stop::unreadable(error.to_string()))?;
        if csr.signature_algorithm().digest() == DigestAlgorithm::Sha1 {
            let allowed = request.endpoint.profile.spec().legacy.sha1;
            request.endpoint.legacy(allowed, "sha1-request", request.origin)?;
        }
        let key = request_key(
            request.endpoint.profile.name(),
            request.message.message().transaction_id(),
            request.message.signer().public_key().fingerprint(),
            csr.fingerprint(),
        );
        Ok(Candidate { request, csr, key, now: self.now() })
    }

    fn course(&self, view: &dyn View, candidate: &Candidate<'_>) -> Result<Course, ServiceError> {
        if let Some(state) = self.earlier_answer(view, candidate)? {
            return Ok(Course::Repeat(state));
        }
        let profile = &candidate.request.endpoint.profile;
        let signer = view.certificate_by_fingerprint(&candidate.request.message.signer().fingerprint())?;
        if candidate.request.kind == MessageType::RenewalReq && signer.is_none() {
            return Ok(Course::Stranger);
        }
        let standing = match self.standing(view, candidate, signer.as_ref())? {
            Ok(standing) => standing,
            Err(refused) => return Ok(refuse_challenge(refused)),
        };
        let authorisation = match &standing {
            Standing::Authorised(authorisation) => Some(authorisation),
            Standing::Waits(awaiting) => awaiting.first(),
        };
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
                        Course::Refuse { refusal, evidence: Some(authorisation.evidence()), trace }
                    }
                }
            }
            Standing::Waits(awaiting) => {
                let Decision { outcome, trace } = defer(&facts, &awaiting);
                match outcome {
                    Ok(deferral) => Course::Defer { deferral, ticket, concerned, trace },
                    Err(refusal) => {
                        let evidence = awaiting.first().map(Authorisation::evidence);
                        Course::Refuse { refusal, evidence, trace }
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
        Ok(match earlier.state {
            EnrolmentState::Pending => Some(EnrolmentState::Pending),
            EnrolmentState::Issued { certificate } if recent => {
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

    /// Finds what authorises the request. `signer` is the record of the certificate that signed the message.
    fn standing(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
        signer: Option<&CertificateRecord>,
    ) -> Result<Result<Standing, ChallengeRefused>, ServiceError> {
        let profile = &candidate.request.endpoint.profile;
        if candidate.request.kind != MessageType::RenewalReq {
            let challenge = self.check_challenge(view, candidate)?;
            let waits = profile.spec().approval == Approval::Manual;
            match (challenge, signer) {
                (Ok(first), _) if waits => {
                    return Ok(awaiting_approval(profile, Some(first)).map(Standing::Waits));
                }
                (Ok(authorisation), _) => return Ok(Ok(Standing::Authorised(authorisation))),
                (Err(_), Some(_)) => {}
                (Err(_), None) if waits && profile.spec().challenge.is_empty() => {
                    return Ok(awaiting_approval(profile, None).map(Standing::Waits));
                }
                (Err(refused), None) => return Ok(Err(refused)),
            }
        }
        let Some(record) = signer else { return Ok(Err(ChallengeRefused::Missing)) };
        let causes = view.causes(&record.id)?;
        let bindings = view.bindings(&record.id)?;
        let status = status::effective(&causes, &record.validity, candidate.now);
        let facts = RenewalFacts { record, status, bindings: &bindings, profile, now: candidate.now };
        Ok(check_renewal(&facts).map(Standing::Authorised))
    }

    /// RFC 8894 §2.4. Both kinds are looked for whatever the profile takes: whether it takes what was found is a rule like
    /// the others ([`authorise`]).
    fn check_challenge(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
    ) -> Result<Result<Authorisation, ChallengeRefused>, ServiceError> {
        let profile = candidate.request.endpoint.profile.name();
        let presented = candidate.csr.challenge_password().filter(|presented| !presented.expose().is_empty());
        let Some(presented) = presented else { return Ok(Err(ChallengeRefused::Missing)) };
        let mac = self.ports.keyring.mac(MacPurpose::Ticket, presented.expose());
        if let Some(ticket) = view.ticket_by_mac(&mac)? {
            return Ok(check_ticket(&ticket, profile, candidate.now));
        }
        let mac = |secret: &[u8]| self.ports.keyring.mac(MacPurpose::StaticChallenge, secret);
        let configured = self.settings.static_challenges.get(profile).map(Vec::as_slice).unwrap_or_default();
        // An empty secret in the configuration is no open door.
        let valid: Vec<_> = configured
            .iter()
            .filter(|secret| !secret.expose().is_empty())
            .map(|secret| mac(secret.expose()))
            .collect();
        Ok(check_static(&mac(presented.expose()), &valid, profile))
    }

    /// The template variables, with fresh random values.
    pub(super) fn variables(
        &self,
        profile: &CheckedProfile,
        concerned: &Concerned,
        now: Timestamp,
    ) -> Variables {
        variables(&VariableFacts {
            device: concerned.device.as_ref(),
            user: concerned.user.as_ref(),
            realm: &self.settings.realm,
            config_uuid: &profile.uuid(),
            random: &self.ports.random.bytes(),
            now,
        })
    }

    /// The record of this request, waiting for its outcome.
    fn enrolment(
        &self,
        candidate: &Candidate<'_>,
        evidence: Evidence,
        binding: Option<(BoundObject, Assurance)>,
        renews: Option<CertificateId>,
        trace: Vec<TraceStep>,
    ) -> Enrolment {
        let message = candidate.request.message;
        let profile = &candidate.request.endpoint.profile;
        Enrolment {
            id: EnrolmentId::from_random(self.ports.random.bytes()),
            profile: profile.name().clone(),
            profile_version: profile.version(),
            transaction: message.message().transaction_id().clone(),
            signer_key: message.signer().public_key().fingerprint(),
            request_key: candidate.key,
            csr: candidate.csr.as_der().to_vec(),
            evidence,
            binding,
            renews,
            received_at: candidate.now,
            state: EnrolmentState::Pending,
            decided_at: None,
            trace,
        }
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
        let issuance = Issuance {
            profile: &endpoint.profile,
            authority: &endpoint.authority,
            order,
            enrolment,
            origin: RequestOrigin::Message { ticket, repeats_since: self.repeats_since(candidate.now) },
            device: concerned.device.as_ref().map(|device| device.id.clone()),
            user: concerned.user.as_ref().map(|user| user.id.clone()),
            act: candidate.act(),
        };
        match self.issue(&issuance) {
            Ok(record) => self.granted_record(endpoint, &record),
            Err(NotIssued::Refused(refusal)) => {
                let mut enrolment = issuance.enrolment;
                enrolment.trace.push(trace_step("still holds when recorded", false, &refusal.reason));
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
        enrolment: Enrolment,
    ) -> Result<Answer, Stop> {
        let profile = enrolment.profile.clone();
        let fact =
            candidate.act().fact("enrolment.pending", &enrolment.id, &[("profile", profile.to_string())]);
        self.ports.store.write(|tx| {
            let earlier = tx.enrolment_by_request(&enrolment.request_key)?;
            if earlier.is_some_and(|earlier| earlier.state == EnrolmentState::Pending) {
                return Ok(());
            }
            if tx.count_pending_enrolments()? >= MAX_PENDING {
                return Err(Stop::Full);
            }
            if let Some(id) = ticket {
                let ticket = usable_ticket(tx.as_view(), id, &profile, candidate.now)?;
                match ticket {
                    Ok(ticket) => tx.put_ticket(&ticket.consume())?,
                    Err(refused) => return Err(stop(&refused.into())),
                }
            }
            tx.put_enrolment(&enrolment)?;
            Ok(tx.append_audit(&fact)?)
        })?;
        Ok(Answer::Pending)
    }

    fn record_refusal(
        &self,
        candidate: &Candidate<'_>,
        enrolment: Enrolment,
        refusal: &Refusal,
    ) -> Result<(), Stop> {
        if !self.refusals.admits(candidate.now) {
            tracing::warn!(request = %candidate.request.origin.request, "too many refusals: this one is not recorded");
            return Ok(());
        }
        let reason = refusal.reason.to_string();
        let fact = candidate.act().fact("enrolment.refused", &enrolment.id, &[("reason", reason.clone())]);
        let enrolment = Enrolment {
            state: EnrolmentState::Refused { info: refusal.info, reason },
            decided_at: Some(candidate.now),
            ..enrolment
        };
        self.ports.store.write(|tx| {
            // What was issued or waits under the same key is not to be hidden by a refusal.
            let earlier = tx.enrolment_by_request(&enrolment.request_key)?;
            let stands = |state: &EnrolmentState| {
                matches!(state, EnrolmentState::Pending | EnrolmentState::Issued { .. })
            };
            if !earlier.is_some_and(|earlier| stands(&earlier.state)) {
                tx.put_enrolment(&enrolment)?;
            }
            Ok::<_, Stop>(tx.append_audit(&fact)?)
        })
    }

    fn repeat(&self, candidate: &Candidate<'_>, state: EnrolmentState) -> Result<Answer, Stop> {
        match state {
            EnrolmentState::Pending => Ok(Answer::Pending),
            EnrolmentState::Issued { certificate } => self.granted(candidate.request.endpoint, &certificate),
            EnrolmentState::Refused { info, reason } => Err(Stop::refuse(info, REFUSED, reason)),
            EnrolmentState::Rejected { reason } => Err(Stop::refuse(FailInfo::BadRequest, REFUSED, reason)),
        }
    }

    /// SUCCESS with a recorded certificate.
    pub(super) fn granted(&self, endpoint: &Endpoint, id: &CertificateId) -> Result<Answer, Stop> {
        let record = self.ports.store.read(|view| Ok::<_, ServiceError>(view.certificate(id)?))?;
        let record = record.ok_or_else(|| ServiceError::not_found("certificate", id))?;
        self.granted_record(endpoint, &record)
    }

    /// RFC 8894 §3.3.2.1: the issued certificate is the first; alone unless the profile says otherwise (Apple and Juniper
    /// refuse company, Cisco VPN clients want it).
    fn granted_record(&self, endpoint: &Endpoint, record: &CertificateRecord) -> Result<Answer, Stop> {
        let mut certificates = vec![record.der.as_slice()];
        if let Some(authority) = endpoint.authorities.issuer(&record.id.issuer)
            && endpoint.profile.spec().include_ca
        {
            certificates.push(authority.certificate.as_der());
            certificates.extend(authority.chain.iter().map(Certificate::as_der));
        }
        Ok(Answer::Granted(Degenerate::to_der(&certificates, &[])?))
    }
}

impl Candidate<'_> {
    fn act(&self) -> Act {
        let origin = self.request.origin;
        Act {
            actor: Actor::Device { peer: origin.peer.clone() },
            request: origin.request.clone(),
            at: self.now,
        }
    }
}

/// What [`authorise`] decides from, but for the message.
pub(super) fn facts<'a>(
    authority: &Authority,
    profile: &'a CheckedProfile,
    csr: &'a ProvenCsr,
    concerned: &'a Concerned,
    variables: &'a Variables,
    now: Timestamp,
) -> EnrolRequest<'a> {
    EnrolRequest {
        profile,
        csr,
        message: None,
        device: concerned.device.as_ref(),
        user: concerned.user.as_ref(),
        renews: concerned.renews.as_ref().map(|(record, certificate)| Renewed { record, certificate }),
        issuer_validity: authority.certificate.validity(),
        variables,
        now,
    }
}

/// Reads the records that a request concerns: those that its authorisation names, else those that the request itself names.
/// What is not found is left out; whether that is allowed is for [`authorise`] to say.
pub(super) fn concerned(
    view: &dyn View,
    profile: &CheckedProfile,
    csr: &ProvenCsr,
    authorisation: Option<&Authorisation>,
) -> Result<Concerned, ServiceError> {
    let mut concerned = Concerned::default();
    match authorisation.map(Authorisation::means) {
        Some(Means::Ticket { device, user, .. }) => {
            concerned.device = device.as_ref().map(|id| view.device(id)).transpose()?.flatten();
            concerned.user = user.as_ref().map(|id| view.user(id)).transpose()?.flatten();
        }
        Some(Means::Renewal { certificate, bound }) => {
            let record = view.certificate(certificate)?;
            let record = record.ok_or_else(|| ServiceError::not_found("certificate", certificate))?;
            let renewed = Certificate::from_der(&record.der)?;
            concerned.renews = Some((record, renewed));
            concerned.fill(view, bound.as_ref())?;
        }
        // What was approved is what is issued: somebody who was registered since then asks again.
        Some(Means::Approval { bound, .. }) => concerned.fill(view, bound.as_ref())?,
        Some(Means::Static) | None => {
            if let Some(claimed) = profile.claimed_identity(csr) {
                concerned.look_up(view, profile.spec().scope, &claimed)?;
            }
        }
    }
    if let (Some(device), None) = (&concerned.device, &concerned.user) {
        concerned.user = device.user.as_ref().map(|id| view.user(id)).transpose()?.flatten();
    }
    Ok(concerned)
}

impl Concerned {
    fn fill(&mut self, view: &dyn View, bound: Option<&(BoundObject, Assurance)>) -> StoreResult<()> {
        match bound.map(|(object, _)| object) {
            Some(BoundObject::Device { id, .. }) => self.device = view.device(id)?,
            Some(BoundObject::User { id }) => self.user = view.user(id)?,
            None => {}
        }
        Ok(())
    }

    /// Looks a claimed name up among ids, then, for devices, among identities.
    fn look_up(&mut self, view: &dyn View, scope: Scope, claimed: &str) -> StoreResult<()> {
        match scope {
            Scope::Device => self.device = device_named(view, claimed)?,
            Scope::User => {
                self.user = claimed.parse().ok().map(|id| view.user(&id)).transpose()?.flatten();
            }
        }
        Ok(())
    }
}

fn device_named(view: &dyn View, claimed: &str) -> StoreResult<Option<Device>> {
    if let Some(device) = claimed.parse().ok().map(|id| view.device(&id)).transpose()?.flatten() {
        return Ok(Some(device));
    }
    for kind in IdentityKind::ALL {
        if let Some(device) = view.device_by_identity(kind, claimed)? {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

fn usable_ticket(
    view: &dyn View,
    id: &TicketId,
    profile: &ProfileName,
    now: Timestamp,
) -> StoreResult<Result<Ticket, ChallengeRefused>> {
    let Some(ticket) = view.ticket(id)? else { return Ok(Err(ChallengeRefused::Unknown)) };
    Ok(check_ticket(&ticket, profile, now).map(|_| ticket))
}

fn ticket_of(authorisation: &Authorisation) -> Option<TicketId> {
    match authorisation.means() {
        Means::Ticket { id, .. } => Some(id.clone()),
        Means::Static | Means::Renewal { .. } | Means::Approval { .. } => None,
    }
}

fn refuse_challenge(refused: ChallengeRefused) -> Course {
    // RFC 8894 §7.3: a used one-time challenge that is presented again may be a stolen one.
    if let ChallengeRefused::UsedUp { ticket } = &refused {
        tracing::warn!(%ticket, "a ticket that is used up was presented again");
    }
    let evidence = evidence_of(&refused);
    let trace = vec![trace_step("authorisation", false, &refused)];
    Course::Refuse { refusal: refused.into(), evidence, trace }
}

/// What a refused challenge proves nevertheless: that we minted the ticket, or issued the certificate.
fn evidence_of(refused: &ChallengeRefused) -> Option<Evidence> {
    match refused {
        ChallengeRefused::Missing | ChallengeRefused::Unknown => None,
        ChallengeRefused::Expired { ticket, .. }
        | ChallengeRefused::UsedUp { ticket }
        | ChallengeRefused::Cancelled { ticket }
        | ChallengeRefused::OtherProfile { ticket, .. } => Some(Evidence::Ticket { id: ticket.clone() }),
        ChallengeRefused::NotGood { certificate, .. }
        | ChallengeRefused::OtherProfilesCertificate { certificate }
        | ChallengeRefused::TooEarly { certificate, .. } => {
            Some(Evidence::Renewal { certificate: certificate.clone() })
        }
    }
}

fn stop(refusal: &Refusal) -> Stop {
    Stop::refuse(refusal.info, refusal.text, refusal.reason.to_string())
}
