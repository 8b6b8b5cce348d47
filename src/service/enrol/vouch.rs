//! Those who vouch: asked before anything is decided, told before anything is handed out.
//!
//! The order is theirs (Microsoft's description of its API for third-party CAs): validate, sign and record, tell, hand out.
//! Nothing of it happens in a transaction. A certificate is recorded with the job [`JobKind::TellIssued`]; until that is gone it is not
//! handed out, neither to a repeated request nor to CertPoll or GetCert. So a crash between the commit and the telling, or a
//! voucher that is down, costs a repeated request: it gets the same certificate once the telling succeeds. The worker tries too, and revokes
//! what could not be told for too long (`service::outside`).

use super::{ASKED, Candidate};
use crate::{
    domain::{
        challenge::ChallengeRefused,
        enrol::Refusal,
        exchange::{NotFound, Refused},
        profile::ChallengeMode,
        queue::{Job, JobKind},
        vouch::{Verdict, Voucher},
    },
    ports::{IssuedNotice, RefusedNotice, View, VoucherRequest, Vouching},
    service::{Gateway, ServiceError, issue::is_good, outside::undelivered, scep::Stop},
    types::{CertificateId, sha1},
    wire::x509::Certificate,
};

impl Gateway {
    /// Whom the profile makes certgate ask about the challenge: nobody where it is one of our own, or where there is none.
    pub(super) fn who_must_vouch(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
    ) -> Result<Option<Voucher>, ServiceError> {
        let spec = candidate.request.endpoint.profile.spec();
        if !spec.challenge.contains(&ChallengeMode::Intune) {
            return Ok(None);
        }
        let foreign = matches!(self.check_challenge(view, candidate)?, Err(ChallengeRefused::Unknown));
        Ok(foreign.then_some(Voucher::Intune))
    }

    /// Asks. No answer is no refusal: the client is told to come back.
    pub(super) fn ask(&self, candidate: &Candidate<'_>, by: Voucher) -> Result<Verdict, Stop> {
        let answer = self.vouching(by)?.validate(&voucher_request(candidate));
        self.outside.heard(by.to_string(), self.now(), answer.as_ref().err());
        answer.map_err(|no_answer| {
            candidate.request.trail.failed(ASKED, &no_answer);
            Stop::Away(no_answer)
        })
    }

    /// Tells whoever allowed the request that it is refused nevertheless. Best effort: the refusal stands either way.
    pub(super) fn tell_refused(&self, candidate: &Candidate<'_>, refusal: &Refusal) {
        let Some(Verdict::Allowed { .. }) = &candidate.verdict else { return };
        let refused = RefusedNotice { hresult: refusal.hresult(), description: refusal.reason.to_string() };
        for (by, vouching) in &self.ports.vouchers.vouching {
            let told = vouching.tell_refused(&voucher_request(candidate), &refused);
            self.outside.heard(by.to_string(), self.now(), told.as_ref().err());
            if let Err(error) = told {
                tracing::warn!(request = %candidate.request.origin.request, %by, %error, "could not be told of the refusal");
            }
        }
    }

    /// Tells whoever vouched for the request of a certificate, unless that was done. Stops where the certificate must not leave before it is.
    pub(in crate::service) fn tell_before_delivery(&self, id: &CertificateId) -> Result<(), Stop> {
        for (by, vouching) in &self.ports.vouchers.vouching {
            let lane = JobKind::TellIssued { by: *by, certificate: id.clone() }.lane();
            let Some(job) = self.ports.store.read(|view| view.job_in_lane(&lane))? else {
                self.check_told(*by, id)?;
                continue;
            };
            match self.tell_issued(*by, id) {
                Ok(()) => {
                    if !self.ports.store.write(|tx| tx.remove_job(job.sequence))? {
                        self.check_not_given_up(id)?;
                    }
                }
                Err(ServiceError::NoAnswer(no_answer)) if vouching.delivery_waits() && !has_it(&job) => {
                    return Err(Stop::Away(no_answer));
                }
                Err(ServiceError::NoAnswer(error)) => {
                    if !has_it(&job) && !self.note_handed_out(&job, *by, id)? {
                        self.check_not_given_up(id)?;
                    }
                    tracing::warn!(certificate = %id, %by, %error, "could not be told of the certificate; it will be tried again");
                }
                Err(fault) => return Err(Stop::Fault(fault)),
            }
        }
        Ok(())
    }

    /// Nothing is left to be told; also where the worker gave up, and of that certificate nobody ever hears.
    fn check_told(&self, by: Voucher, id: &CertificateId) -> Result<(), Stop> {
        let causes = self.ports.store.read(|view| view.causes(id))?;
        if causes.iter().any(|cause| cause.key == undelivered(by)) {
            return Err(Refused::from(NotFound::Serial).into());
        }
        Ok(())
    }

    /// The worker may have told it at the same time, or revoked the certificate.
    fn check_not_given_up(&self, id: &CertificateId) -> Result<(), Stop> {
        let now = self.now();
        let good = self.ports.store.read(|view| {
            let record = view.certificate(id)?.ok_or_else(|| ServiceError::not_found("certificate", id))?;
            Ok::<_, ServiceError>(is_good(view, &record, now)?)
        })?;
        if good {
            return Ok(());
        }
        Err(ServiceError::Conflict("the certificate was revoked before it could be handed out".to_owned())
            .into())
    }

    /// Tells that the certificate was issued.
    pub(in crate::service) fn tell_issued(
        &self,
        by: Voucher,
        id: &CertificateId,
    ) -> Result<(), ServiceError> {
        let (record, enrolment) = self.ports.store.read(|view| {
            let record = view.certificate(id)?.ok_or_else(|| ServiceError::not_found("certificate", id))?;
            let enrolment = record.enrolment.as_ref().map(|id| view.enrolment(id)).transpose()?.flatten();
            Ok::<_, ServiceError>((record, enrolment))
        })?;
        let enrolment = enrolment.ok_or_else(|| ServiceError::not_found("enrolment of", id))?;
        let csr = self.proven(&enrolment)?;
        let certificate = Certificate::from_der(&record.der)?;
        let request = VoucherRequest {
            profile: enrolment.profile.as_str(),
            transaction: enrolment.transaction.as_str(),
            csr: csr.as_der(),
        };
        let issued = IssuedNotice {
            thumbprint: sha1(&record.der),
            serial: record.id.serial.to_string(),
            not_after: record.validity.not_after,
            issuer_name: certificate.issuer().to_string(),
            issuer: record.id.issuer.to_string(),
        };
        let told = self.vouching(by)?.tell_issued(&request, &issued);
        self.outside.heard(by.to_string(), self.now(), told.as_ref().err());
        Ok(told?)
    }

    fn vouching(&self, by: Voucher) -> Result<&dyn Vouching, ServiceError> {
        let vouching = self.ports.vouchers.vouching.get(&by);
        vouching.map(AsRef::as_ref).ok_or_else(|| ServiceError::not_found("configuration section", by))
    }
}

/// Whether the device has the certificate already.
const fn has_it(job: &Job) -> bool {
    matches!(job.kind, JobKind::TellHandedOut { .. })
}

fn voucher_request<'a>(candidate: &'a Candidate<'_>) -> VoucherRequest<'a> {
    VoucherRequest {
        profile: candidate.request.endpoint.profile.name().as_str(),
        transaction: candidate.request.message.message().transaction_id().as_str(),
        csr: candidate.csr.as_der(),
    }
}
