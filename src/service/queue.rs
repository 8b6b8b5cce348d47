//! What waits for an operator: enrolments under a profile with manual approval.

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, Ports, ServiceError,
    audit::Act,
    enrol::{self, Concerned},
    issue::{Issuance, NotIssued, RequestOrigin, trace_step},
};
use crate::{
    domain::{
        access::{Actor, Authed, Operate, Read},
        binding::{Assurance, BoundObject, Evidence},
        challenge::approved,
        enrol::{
            Decision, Enrolment, EnrolmentState, IssueOrder, Refusal, RefusalReason, TraceStep, authorise,
        },
        user::UserState,
    },
    ports::{SealPurpose, Tx, View, store::StoreResult},
    types::{EnrolmentId, Fingerprint, ProfileName, RequestId, Timestamp, TransactionId},
    wire::csr::{Csr, ProvenCsr},
};

/// Where an enrolment stands, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum EnrolmentOutcome {
    /// Waits for an operator.
    Pending,
    /// A certificate was issued.
    Issued {
        /// Which, as ISSUER/SERIAL.
        certificate: String,
    },
    /// Refused by a rule.
    Refused {
        /// Which.
        reason: String,
    },
    /// Refused by an operator.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// An enrolment as operators see it. The challenge in its request is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentView {
    /// Its handle.
    pub id: EnrolmentId,
    /// The profile.
    pub profile: ProfileName,
    /// The version of it that decided.
    pub profile_version: u32,
    /// The client's transactionID.
    pub transaction: TransactionId,
    /// Where it stands.
    #[serde(flatten)]
    pub outcome: EnrolmentOutcome,
    /// The subject that the request asks for.
    pub requested_subject: String,
    /// The subjectAltNames that the request asks for.
    pub requested_names: Vec<String>,
    /// SHA-256 of the request's public key: what an operator compares with what the device shows.
    pub public_key: Fingerprint,
    /// What the request was authorised with.
    pub evidence: Evidence,
    /// What the certificate is or would be bound to.
    pub bound_to: Option<BoundObject>,
    /// How sure that is.
    pub assurance: Option<Assurance>,
    /// The certificate that is being renewed, as ISSUER/SERIAL.
    pub renews: Option<String>,
    /// When the request came.
    pub received_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// The checks that it went through.
    pub trace: Vec<TraceStep>,
}

impl EnrolmentView {
    fn of(enrolment: Enrolment, csr: &ProvenCsr) -> Self {
        let (bound_to, assurance) = enrolment.binding.unzip();
        Self {
            id: enrolment.id,
            profile: enrolment.profile,
            profile_version: enrolment.profile_version,
            transaction: enrolment.transaction,
            outcome: match enrolment.state {
                EnrolmentState::Pending => EnrolmentOutcome::Pending,
                EnrolmentState::Issued { certificate } => {
                    EnrolmentOutcome::Issued { certificate: certificate.to_string() }
                }
                EnrolmentState::Refused { reason, .. } => EnrolmentOutcome::Refused { reason },
                EnrolmentState::Rejected { reason } => EnrolmentOutcome::Rejected { reason },
            },
            requested_subject: csr.subject().to_string(),
            requested_names: csr.subject_alt_names().iter().map(ToString::to_string).collect(),
            public_key: csr.public_key().fingerprint(),
            evidence: enrolment.evidence,
            bound_to,
            assurance,
            renews: enrolment.renews.map(|certificate| certificate.to_string()),
            received_at: enrolment.received_at,
            decided_at: enrolment.decided_at,
            trace: enrolment.trace,
        }
    }
}

impl Gateway {
    /// Enrolments that wait for an operator, first come first.
    pub fn pending_enrolments(
        &self,
        _authed: &Authed<Read>,
        limit: usize,
    ) -> Result<Listing<EnrolmentView>, ServiceError> {
        let pending = self.ports.store.read(|view| Ok::<_, ServiceError>(view.pending_enrolments(limit)?))?;
        Ok(Listing::whole(
            pending.into_iter().map(|enrolment| self.view_of(enrolment)).collect::<Result<_, _>>()?,
        ))
    }

    /// One enrolment, decided or not, with the trace of its checks.
    pub fn enrolment_view(
        &self,
        _authed: &Authed<Read>,
        id: &EnrolmentId,
    ) -> Result<EnrolmentView, ServiceError> {
        self.view_of(self.stored_enrolment(id)?)
    }

    /// Approves a waiting enrolment: every rule is applied again, to the records as they are now, and the certificate is
    /// issued. The client gets it with its next CertPoll. `note` is for the record.
    ///
    /// Errors: not waiting (Conflict), a rule refuses it now (Refused; it keeps waiting).
    pub fn approve_enrolment(
        &self,
        authed: &Authed<Operate>,
        id: &EnrolmentId,
        note: &str,
    ) -> Result<EnrolmentView, ServiceError> {
        let act = Act::of(authed, self.now());
        let enrolment = self.stored_enrolment(id)?;
        let authorisation =
            approved(&enrolment, authed).map_err(|error| ServiceError::Conflict(error.to_string()))?;
        let endpoint = self.endpoint(&enrolment.profile).map_err(|error| {
            ServiceError::Refused(format!("the profile {} cannot issue: {error}", enrolment.profile))
        })?;
        // RFC 8894 §5.1: the generation that was asked for, while it issues.
        let asked = self.ports.store.read(|view| view.enrolment_issuer(id))?;
        let asked = asked.and_then(|issuer| endpoint.authorities.issuer(&issuer).cloned());
        let endpoint = match asked {
            Some(asked) => endpoint.issuing(&asked),
            None => endpoint,
        };
        let csr = self.proven(&enrolment)?;
        let concerned = self
            .ports
            .store
            .read(|view| enrol::concerned(view, &endpoint.profile, &csr, Some(&authorisation)))?;
        let variables = self.variables(&endpoint.profile, &concerned, act.at);
        let facts =
            enrol::facts(&endpoint.authority, &endpoint.profile, &csr, &concerned, &variables, act.at);
        let Decision { outcome, trace } = authorise(&facts, &authorisation);
        let order = outcome.map_err(|refusal| ServiceError::Refused(refusal.reason.to_string()))?;
        let record = approved_record(enrolment, &order, trace);
        let Concerned { device, user, .. } = concerned;
        let issuance = Issuance {
            profile: &endpoint.profile,
            authority: &endpoint.authority,
            unregistered: enrol::unregistered_names(&order, &endpoint.profile, &csr),
            order,
            enrolment: record,
            origin: RequestOrigin::Approval { note },
            device: device.map(|device| device.id),
            user: user.map(|user| user.id),
            alternate: None,
            act,
            trail: None,
        };
        self.issue(&issuance).map_err(not_issued)?;
        self.view_of(self.stored_enrolment(id)?)
    }

    /// Rejects a waiting enrolment; the client hears FAILURE at its next CertPoll. `reason` is for the record.
    ///
    /// Errors: not waiting (Conflict).
    pub fn reject_enrolment(
        &self,
        authed: &Authed<Operate>,
        id: &EnrolmentId,
        reason: &str,
    ) -> Result<EnrolmentView, ServiceError> {
        let act = Act::of(authed, self.now());
        let rejected = self.ports.store.write(|tx| {
            let enrolment = tx.enrolment(id)?.ok_or_else(|| ServiceError::not_found("enrolment", id))?;
            if enrolment.state != EnrolmentState::Pending {
                return Err(ServiceError::Conflict(format!("the enrolment {id} was decided already")));
            }
            let rejected = Enrolment {
                state: EnrolmentState::Rejected { reason: reason.to_owned() },
                decided_at: Some(act.at),
                ..enrolment
            };
            tx.put_enrolment(&rejected)?;
            tx.append_audit(&act.fact("enrolment.rejected", id, &[("reason", reason.to_owned())]))?;
            Ok(rejected)
        })?;
        self.view_of(rejected)
    }

    fn stored_enrolment(&self, id: &EnrolmentId) -> Result<Enrolment, ServiceError> {
        let enrolment = self.ports.store.read(|view| Ok::<_, ServiceError>(view.enrolment(id)?))?;
        enrolment.ok_or_else(|| ServiceError::not_found("enrolment", id))
    }

    fn view_of(&self, enrolment: Enrolment) -> Result<EnrolmentView, ServiceError> {
        let csr = self.proven(&enrolment)?;
        Ok(EnrolmentView::of(enrolment, &csr))
    }

    /// The stored request, which was proven before it was stored.
    pub(super) fn proven(&self, enrolment: &Enrolment) -> Result<ProvenCsr, ServiceError> {
        let (purpose, context) = (SealPurpose::CertificationRequest, enrolment.id.as_str().as_bytes());
        let csr = self.ports.keyring.unseal(purpose, context, &enrolment.sealed_csr)?;
        Csr::from_der(csr.expose())?.prove().map_err(|error| ServiceError::Internal(error.to_string()))
    }
}

/// [`refuse_of_ended`] of all that wait, at the start of a process: earlier versions left them waiting when their device or user ended.
/// Most starts find none: those cost no write.
pub(super) fn refuse_left_waiting(ports: &Ports) -> Result<(), ServiceError> {
    let is_over = |view: &dyn View| {
        let waiting = view.pending_enrolments(usize::MAX)?;
        let mut objects = waiting.iter().filter_map(|it| it.binding.as_ref());
        objects
            .try_fold(false, |any, (object, _)| Ok::<_, ServiceError>(any || end_of(view, object)?.is_some()))
    };
    if !ports.store.read(is_over)? {
        return Ok(());
    }
    let request = RequestId::from_random(ports.random.bytes());
    let act = Act { actor: Actor::System, request, at: ports.clock.now() };
    ports.store.write(|tx| refuse_of_ended(tx, |_| true, &act))
}

/// Refuses the requests that wait and that `concern` says are about something that is over: a device that is retired or wiped, or was set up
/// again (a request is of one life, as a ticket is), a user who is deleted. Nobody could approve them, and their clients would ask on.
pub(super) fn refuse_of_ended(
    tx: &mut dyn Tx,
    concern: impl Fn(&BoundObject) -> bool,
    act: &Act,
) -> Result<(), ServiceError> {
    for enrolment in tx.pending_enrolments(usize::MAX)? {
        let Some((object, _)) = enrolment.binding.as_ref().filter(|(object, _)| concern(object)) else {
            continue;
        };
        let Some(ended) = end_of(tx.as_view(), object)? else { continue };
        let refusal = Refusal::from(ended);
        let reason = refusal.reason.to_string();
        let mut refused = Enrolment {
            state: EnrolmentState::Refused { info: refusal.info, reason: reason.clone() },
            decided_at: Some(act.at),
            ..enrolment
        };
        refused.trace.push(trace_step("still holds while it waits", false, &reason));
        tx.put_enrolment(&refused)?;
        tx.append_audit(&act.fact("enrolment.refused", &refused.id, &[("reason", reason)]))?;
    }
    Ok(())
}

/// Why nothing will ever be issued again to this life of a device, or to this user; none where that may be.
pub(super) fn end_of(view: &dyn View, object: &BoundObject) -> StoreResult<Option<RefusalReason>> {
    Ok(match object {
        BoundObject::Device { id, generation } => view.device(id)?.and_then(|device| {
            let because = if device.generation == *generation {
                device.may_enrol().err().filter(|_| device.lifecycle.is_over())?
            } else {
                "it was set up again since it asked"
            };
            Some(RefusalReason::DeviceStanding { device: id.clone(), because })
        }),
        BoundObject::User { id } => view.user(id)?.and_then(|user| {
            let because = user.may_enrol().err().filter(|_| user.state == UserState::Deleted)?;
            Some(RefusalReason::UserStanding { user: id.clone(), because })
        }),
    })
}

/// The enrolment as it will be recorded: what was decided now, and how.
fn approved_record(enrolment: Enrolment, order: &IssueOrder, trace: Vec<TraceStep>) -> Enrolment {
    Enrolment {
        profile_version: order.profile().1,
        binding: order.bound().cloned(),
        trace: enrolment.trace.into_iter().chain(trace).collect(),
        ..enrolment
    }
}

fn not_issued(why: NotIssued) -> ServiceError {
    match why {
        NotIssued::Refused(refusal) => ServiceError::Refused(refusal.reason.to_string()),
        NotIssued::DecidedAlready => ServiceError::Conflict("the enrolment was decided already".to_owned()),
        NotIssued::SerialTaken => ServiceError::Internal("every random serial number is taken".to_owned()),
        NotIssued::Fault(error) => error,
    }
}
