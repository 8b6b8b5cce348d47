//! Issuing: the one path from an [`IssueOrder`] to a certificate that leaves.
//!
//! Sign outside the transaction, then in one transaction look again at everything that may have moved since the decision
//! (ticket, device, user, renewed certificate, the same request in another thread) and record certificate, consumed ticket,
//! binding, enrolment, device and audit fact. Only what was recorded is returned.
//!
//! **Superseding.** A renewal records which certificate it takes the place of and leaves that one valid: the device needs it until
//! the new one is installed, and a lost answer must not lock it out. A timer brings it up again when the profile's overlap has
//! passed (`service::timer`).

use super::{
    Gateway, ServiceError,
    audit::Act,
    authority::Authority,
    enrol::{barred_here, registered_as},
    metric,
    outside::TELL_AFTER,
    rollover::rolls_over,
    scep::{SoFar, Trail},
    status::inherited,
};
use crate::{
    domain::{
        alternate::AlternateCertificate,
        audit::AuditFact,
        binding::Evidence,
        certificate::{CertificateRecord, Purpose},
        challenge::{ChallengeRefused, RenewalFacts, check_renewal, check_ticket},
        device::{Device, DeviceEvent, Lifecycle},
        enrol::{Enrolment, EnrolmentState, IssueOrder, IssuerFacts, Refusal, RefusalReason, TraceStep},
        exchange::{MAX_DETAIL, clipped},
        issuer::GenerationState,
        profile::{Approval, CheckedProfile},
        queue::JobKind,
        status,
        timer::{Timer, TimerSubject},
        user::User,
    },
    ports::{Signer, StoreError, Tx, View, store::StoreResult},
    types::{
        CertificateId, DeviceId, DigestAlgorithm, Fingerprint, RevocationReason, SerialNumber, TicketId,
        Timestamp, UserId,
    },
    wire::x509::{Certificate, CertificateSpec, Name},
};

/// A serial of 126 random bits is taken only where randomness is broken: then it is better to stop than to go on.
const SERIAL_ATTEMPTS: usize = 3;

/// A decided enrolment, to be signed and recorded.
pub(super) struct Issuance<'a> {
    pub(super) profile: &'a CheckedProfile,
    pub(super) authority: &'a Authority,
    pub(super) order: IssueOrder,
    /// As it will be recorded, but for its outcome.
    pub(super) enrolment: Enrolment,
    pub(super) origin: RequestOrigin<'a>,
    /// The records that the order was decided with: read again in the transaction.
    pub(super) device: Option<DeviceId>,
    pub(super) user: Option<UserId>,
    /// Of a request that is bound to nobody the names that nobody was registered under when it was decided, or put before an operator.
    pub(super) unregistered: Vec<String>,
    /// The certificate of another CA that signed a renewal: looked at again in the transaction, too.
    pub(super) alternate: Option<&'a AlternateCertificate>,
    pub(super) act: Act,
    /// The notes of the request, which are recorded with the certificate; none for an approval.
    pub(super) trail: Option<&'a Trail>,
}

/// How the request came to be issued.
#[derive(Clone, Copy)]
pub(super) enum RequestOrigin<'a> {
    /// Decided by the rules alone. `repeats_since`: an equal request received after this is the same request.
    Message {
        /// The one-time challenge that is used up by this.
        ticket: Option<&'a TicketId>,
        /// Start of the time in which a repeated request gets the earlier certificate.
        repeats_since: Timestamp,
    },
    /// It waited for an operator, who approved it. Its ticket was consumed when it was put before them.
    Approval {
        /// Why, as they put it.
        note: &'a str,
    },
}

/// Why nothing was issued.
#[derive(Debug)]
pub(super) enum NotIssued {
    /// What was decided does not hold any more.
    Refused(Refusal),
    /// An operator was quicker.
    DecidedAlready,
    /// The store has this serial number: a new one is drawn.
    SerialTaken,
    /// Store or key failed.
    Fault(ServiceError),
}

impl<E: Into<ServiceError>> From<E> for NotIssued {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Refusal> for NotIssued {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ChallengeRefused> for NotIssued {
    fn from(refused: ChallengeRefused) -> Self {
        Self::Refused(refused.into())
    }
}

impl Gateway {
    /// Signs and records. Gives the certificate; for a request that another thread was quicker with, that thread's.
    pub(super) fn issue(&self, issuance: &Issuance<'_>) -> Result<CertificateRecord, NotIssued> {
        self.issue_meanwhile(issuance, |_| ()).map(|(record, ())| record)
    }

    /// [`Gateway::issue`], with what `meanwhile` makes of the certificate while it is being recorded. It may be asked about one that is
    /// not recorded in the end.
    pub(super) fn issue_meanwhile<M>(
        &self,
        issuance: &Issuance<'_>,
        meanwhile: impl Fn(&CertificateRecord) -> M,
    ) -> Result<(CertificateRecord, M), NotIssued> {
        // Challenges that were used may be open again, and revocations forgotten: the client is told to come back.
        self.refuse_while_behind()?;
        for _ in 1..SERIAL_ATTEMPTS {
            match self.issue_once(issuance, &meanwhile) {
                Err(NotIssued::SerialTaken) => {
                    tracing::error!("a random serial number is taken: is the random source working?");
                }
                done => return done,
            }
        }
        self.issue_once(issuance, &meanwhile)
    }

    fn issue_once<M>(
        &self,
        issuance: &Issuance<'_>,
        meanwhile: &impl Fn(&CertificateRecord) -> M,
    ) -> Result<(CertificateRecord, M), NotIssued> {
        let authority = issuance.authority;
        let serial = SerialNumber::from_random(self.ports.random.bytes());
        let facts = self.issuer_facts(authority, &serial);
        let specification = issuance.order.specification(serial, &facts);
        let certificate = sign(&specification, authority.signer.as_ref(), authority.issuer.digest)?;
        let record = leaf_record(issuance, &certificate);
        let (recorded, made) = self.recorded(issuance, &record, meanwhile)?;
        if recorded.id == record.id {
            if issuance.end_of_overlap(&record).is_some_and(|timer| timer.at <= issuance.act.at) {
                self.wake();
            }
            let profile = issuance.profile.name().to_string();
            metrics::counter!(metric::CERTIFICATES_ISSUED, metric::label::PROFILE => profile).increment(1);
            tracing::info!(
                request = %issuance.act.request, certificate = %record.id, subject = record.subject,
                enrolment = %issuance.enrolment.id, "certificate issued"
            );
        }
        Ok((recorded, made))
    }

    /// Records it with the notes of its request.
    fn recorded<M>(
        &self,
        issuance: &Issuance<'_>,
        record: &CertificateRecord,
        meanwhile: &impl Fn(&CertificateRecord) -> M,
    ) -> Result<(CertificateRecord, M), NotIssued> {
        let store = &self.ports.store;
        let Some(trail) = issuance.trail else {
            return store.write_meanwhile(|tx| issuance.record(tx, record, None), meanwhile);
        };
        let issued = format_args!("{}, valid to {}", record.id, record.validity.not_after);
        trail.granting(&record.id, trace_step("issuance", true, &issued));
        let so_far = trail.so_far();
        let outcome = store.write_meanwhile(|tx| issuance.record(tx, record, so_far.as_ref()), meanwhile);
        drop(so_far);
        match &outcome {
            Ok((recorded, _)) if recorded.id == record.id => trail.set_recorded(),
            Ok((earlier, _)) => {
                trail.not_granted();
                trail.granted(&earlier.id);
            }
            Err(_) => trail.not_granted(),
        }
        outcome
    }
}

impl Issuance<'_> {
    /// The transaction: decides everything, then writes.
    fn record(
        &self,
        tx: &mut dyn Tx,
        record: &CertificateRecord,
        so_far: Option<&SoFar<'_>>,
    ) -> Result<CertificateRecord, NotIssued> {
        if let Some(earlier) = self.check_still_wanted(tx.as_view())? {
            return Ok(earlier);
        }
        self.check_issuer(tx.as_view())?;
        let ticket = self.check_ticket(tx.as_view())?;
        let (device, user) = self.objects(tx.as_view())?;
        self.order.still_holds(device.as_ref(), user.as_ref())?;
        self.check_unregistered(tx.as_view())?;
        self.check_renewed(tx.as_view())?;
        self.check_alternate(tx.as_view())?;
        if tx.not_after(&record.id)?.is_some() {
            return Err(NotIssued::SerialTaken);
        }
        let device = device.map(|device| self.enrolled(&device)).transpose()?.flatten();

        tx.insert_certificate(record)?;
        if let Evidence::Vouched { by } = self.order.evidence() {
            let tell = JobKind::TellIssued { by: *by, certificate: record.id.clone() };
            tx.enqueue(&tell, self.act.at.plus(TELL_AFTER))?;
        }
        if let Some(timer) = self.end_of_overlap(record) {
            tx.set_timer(&timer)?;
        }
        if let Some(binding) = self.order.binding(&record.id, self.act.at) {
            tx.insert_binding(&binding)?;
        }
        if let Some(ticket) = ticket {
            tx.put_ticket(&ticket.consume(&self.enrolment.id))?;
        }
        if let Some(device) = device {
            tx.put_device(&device)?;
        }
        tx.put_enrolment(&Enrolment {
            state: EnrolmentState::Issued { certificate: record.id.clone() },
            decided_at: Some(self.act.at),
            ..self.enrolment.clone()
        })?;
        if let Some(so_far) = so_far {
            so_far.put(tx)?;
        }
        if let RequestOrigin::Approval { note } = self.origin {
            let note = [("note", note.to_owned())];
            tx.append_audit(&self.act.fact("enrolment.approved", &self.enrolment.id, &note))?;
        }
        let mut fact = issued_fact(&self.act, record);
        if let Evidence::Alternate { issuer, serial, .. } = self.order.evidence() {
            fact.detail.insert("renewal-of".to_owned(), format!("{serial} of {issuer}"));
        }
        if self.profile.spec().approval == Approval::Webhook {
            fact.detail.insert("approved-by".to_owned(), "webhook".to_owned());
        }
        tx.append_audit(&fact)?;
        Ok(record.clone())
    }

    /// When to look at the certificate that this one takes the place of. Never with one of an announced CA: the device keeps it for
    /// the day on which the CA changes, and uses the old one until then (RFC 8894 §5.1).
    fn end_of_overlap(&self, record: &CertificateRecord) -> Option<Timer> {
        record.supersedes.as_ref()?;
        if self.authority.issuer.generation.state == GenerationState::Announced {
            return None;
        }
        let at = self.profile.spec().lifecycle.overlap_end(record.issued_at)?;
        Some(Timer { at, subject: TimerSubject::OverlapEnds { successor: record.id.clone() } })
    }

    /// The same request may have been answered, and the enrolment decided, since this one was read. Gives the certificate
    /// that the same request led to.
    fn check_still_wanted(&self, view: &dyn View) -> Result<Option<CertificateRecord>, NotIssued> {
        match self.origin {
            RequestOrigin::Message { repeats_since, .. } => {
                let earlier = view.enrolment_by_request(&self.enrolment.request_key)?;
                let recent = earlier.filter(|earlier| earlier.received_at >= repeats_since);
                let Some(EnrolmentState::Issued { certificate }) = recent.map(|earlier| earlier.state) else {
                    return Ok(None);
                };
                match view.certificate(&certificate)? {
                    Some(record)
                        if record.public_key == self.order.public_key().fingerprint()
                            && is_compromised(view, &record.id)? =>
                    {
                        Err(Refusal::from(RefusalReason::CompromisedKey { certificate: record.id }).into())
                    }
                    Some(record) if !is_good(view, &record, self.act.at)? => Ok(None),
                    Some(record) if record.public_key == self.order.public_key().fingerprint() => {
                        Ok(Some(record))
                    }
                    // Only with a certificate of another CA, under which two requests may be one.
                    Some(record) => Err(ChallengeRefused::AlternateUsed { certificate: record.id }.into()),
                    None => Ok(None),
                }
            }
            RequestOrigin::Approval { .. } => {
                match view.enrolment(&self.enrolment.id)?.map(|now| now.state) {
                    Some(EnrolmentState::Pending) => Ok(None),
                    _ => Err(NotIssued::DecidedAlready),
                }
            }
        }
    }

    /// A CA whose own certificate (or one above it) is revoked or on hold issues nothing: no verifier would take it. The client is told to come back, for
    /// this is not its fault, and a hold may be released.
    ///
    /// The same goes for a CA that was cut over from, or taken back, since the decision.
    fn check_issuer(&self, view: &dyn View) -> Result<(), NotIssued> {
        let id = &self.authority.issuer.id;
        if !view.issuer(id)?.is_some_and(|issuer| issuer.generation.state.issues()) {
            let reason = format!("the issuer {id} was retired or taken back meanwhile");
            return Err(NotIssued::Fault(ServiceError::Conflict(reason)));
        }
        if inherited(view, &self.authority.lineage)?.is_some() {
            let issuer = &self.authority.issuer.id;
            let reason = format!("the certificate of the issuer {issuer} is revoked or on hold");
            return Err(NotIssued::Fault(ServiceError::Refused(reason)));
        }
        Ok(())
    }

    /// RFC 8894 §7.3: one-time means that this transaction is the only one that consumes it.
    fn check_ticket(&self, view: &dyn View) -> Result<Option<crate::domain::challenge::Ticket>, NotIssued> {
        let RequestOrigin::Message { ticket: Some(id), .. } = self.origin else {
            return Ok(None);
        };
        let ticket = view.ticket(id)?.ok_or(ChallengeRefused::Unknown)?;
        check_ticket(&ticket, self.profile.name(), self.act.at)?;
        Ok(Some(ticket))
    }

    fn objects(&self, view: &dyn View) -> StoreResult<(Option<Device>, Option<User>)> {
        let device = self.device.as_ref().map(|id| view.device(id)).transpose()?.flatten();
        let user = self.user.as_ref().map(|id| view.user(id)).transpose()?.flatten();
        Ok((device, user))
    }

    /// Whoever was registered meanwhile under a name that nobody had must be in good standing, although nothing is bound to them.
    fn check_unregistered(&self, view: &dyn View) -> Result<(), NotIssued> {
        for name in &self.unregistered {
            let now = registered_as(view, self.profile, name)?;
            self.order.still_holds(now.device.as_ref(), now.user.as_ref())?;
        }
        Ok(())
    }

    /// The certificate that signed a renewal must be good by its own causes when the new one is recorded, too. The issuer's state is
    /// [`Issuance::check_issuer`]'s: that is no failure of the client's.
    fn check_renewed(&self, view: &dyn View) -> Result<(), NotIssued> {
        let Some(id) = self.order.renews() else { return Ok(()) };
        let record = view.certificate(id)?.ok_or(ChallengeRefused::Unknown)?;
        let causes = view.causes(id)?;
        check_renewal(&RenewalFacts {
            record: &record,
            status: status::effective(&causes, &record.validity, self.act.at),
            bindings: &view.bindings(id)?,
            profile: self.profile,
            rolls_over: rolls_over(view, &id.issuer, &self.authority.issuer)?,
            now: self.act.at,
        })?;
        Ok(())
    }

    /// The same for the certificate of another CA: what is known here of its revocation may be new.
    fn check_alternate(&self, view: &dyn View) -> Result<(), NotIssued> {
        let Some(alternate) = self.alternate else { return Ok(()) };
        match barred_here(view, alternate, self.act.at)? {
            Some(barred) => Err(barred.into()),
            None => Ok(()),
        }
    }

    /// The device as it is once enrolled; none when it is in service already.
    fn enrolled(&self, device: &Device) -> Result<Option<Device>, NotIssued> {
        if device.lifecycle == Lifecycle::Active {
            return Ok(None);
        }
        let policy = &self.profile.spec().lifecycle;
        let actor = self.act.actor.to_string();
        let transition = device.apply(DeviceEvent::Enrolled, policy, &actor, "enrolled", self.act.at)?;
        Ok(Some(transition.device))
    }
}

fn leaf_record(issuance: &Issuance<'_>, certificate: &Certificate) -> CertificateRecord {
    let (profile, version) = issuance.order.profile();
    let id =
        CertificateId { issuer: issuance.authority.issuer.id.clone(), serial: certificate.serial().clone() };
    CertificateRecord {
        profile: Some((profile.clone(), version)),
        enrolment: Some(issuance.enrolment.id.clone()),
        supersedes: issuance.order.renews().cloned(),
        ..own_record(id, certificate, Purpose::Leaf, issuance.act.at)
    }
}

impl Gateway {
    fn issuer_facts(&self, authority: &Authority, serial: &SerialNumber) -> IssuerFacts {
        let issuer = &authority.issuer;
        IssuerFacts {
            name: authority.certificate.subject().clone(),
            key_identifier: key_identifier(&authority.certificate),
            crls: issuer.locations_for(serial, |scope| self.directory_urls(issuer, scope)),
            ocsp_urls: issuer.ocsp_urls.clone(),
            ca_issuers_urls: issuer.ca_issuers_urls.clone(),
        }
    }
}

/// Whether a certificate is in its validity period and without a cause of its own: worth handing out again. What its issuer does to it
/// is not its device's fault, and may be released.
pub(super) fn is_good(
    view: &dyn View,
    record: &CertificateRecord,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let causes = view.causes(&record.id)?;
    Ok(status::effective(&causes, &record.validity, now) == status::Status::Good)
}

/// Whether a certificate was revoked because its key is in other hands.
pub(super) fn is_compromised(view: &dyn View, certificate: &CertificateId) -> StoreResult<bool> {
    let revoked = status::revocation(&view.causes(certificate)?);
    Ok(revoked.is_some_and(|revoked| revoked.reason == RevocationReason::KeyCompromise))
}

/// Has a certificate signed, with `digest` where the key leaves a choice, and reads it back.
pub(super) fn sign(
    specification: &CertificateSpec,
    signer: &dyn Signer,
    digest: DigestAlgorithm,
) -> Result<Certificate, ServiceError> {
    let key = signer.algorithm();
    let unsigned = specification.unsigned(key.signature(key.digest(digest)))?;
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed())?;
    Ok(Certificate::from_der(&unsigned.finish(&signature)?)?)
}

/// The record of a certificate that no enrolment led to.
pub(super) fn own_record(
    id: CertificateId,
    certificate: &Certificate,
    purpose: Purpose,
    now: Timestamp,
) -> CertificateRecord {
    CertificateRecord {
        id,
        der: certificate.as_der().to_vec(),
        fingerprint: Fingerprint::of(certificate.as_der()),
        public_key: certificate.public_key().fingerprint(),
        subject: certificate.subject().to_string(),
        validity: certificate.validity(),
        purpose,
        profile: None,
        enrolment: None,
        supersedes: None,
        issued_at: now,
    }
}

/// The fact that a certificate was recorded.
pub(super) fn issued_fact(act: &Act, record: &CertificateRecord) -> AuditFact {
    let mut detail = vec![
        ("subject", record.subject.clone()),
        ("purpose", purpose_name(record.purpose).to_owned()),
        ("fingerprint", record.fingerprint.to_string()),
        ("not-after", record.validity.not_after.to_string()),
    ];
    if let Some((profile, version)) = &record.profile {
        detail.push(("profile", format!("{profile}/{version}")));
    }
    detail.extend(record.enrolment.iter().map(|enrolment| ("enrolment", enrolment.to_string())));
    detail.extend(record.supersedes.iter().map(|old| ("supersedes", old.to_string())));
    act.fact("certificate.issued", &record.id, &detail)
}

const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Leaf => "leaf",
        Purpose::Issuer => "issuer",
        Purpose::ScepMessage => "scep-message",
        Purpose::OcspSigner => "ocsp-signer",
        Purpose::ServerTls => "server-tls",
        Purpose::Imported => "imported",
        Purpose::TrustedResponder => "trusted-responder",
    }
}

/// authorityKeyIdentifier of what this certificate's key signs.
pub(super) fn key_identifier(issuer: &Certificate) -> Option<Vec<u8>> {
    issuer.subject_key_identifier().map(<[u8]>::to_vec)
}

/// `CN={the issuer's common name} {label}`, cut to the 64 characters that a common name has (RFC 5280 appendix A.1).
pub(super) fn common_name(issuer: &Certificate, label: &str) -> Result<Name, ServiceError> {
    const UB_COMMON_NAME: usize = 64;
    let above = issuer.subject().common_name().unwrap_or_default();
    let room = UB_COMMON_NAME.saturating_sub(label.len() + 1);
    let shortened: String = above.chars().take(room).collect();
    let text = format!("{shortened} {label}");
    Name::from_attributes(&[(const_oid::db::rfc4519::CN, text.trim())])
        .map_err(|error| ServiceError::Internal(error.to_string()))
}

/// One line of an enrolment's trace, where the service decides something itself.
pub(super) fn trace_step(check: &'static str, passed: bool, detail: &impl ToString) -> TraceStep {
    TraceStep { check: check.into(), passed, detail: clipped(detail.to_string(), MAX_DETAIL) }
}
