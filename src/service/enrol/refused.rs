//! What becomes of a refusal: recorded where the request once was trusted, and not too often.

use std::net::IpAddr;

use super::{Candidate, Course};
use crate::{
    domain::{
        binding::Evidence,
        challenge::ChallengeRefused,
        enrol::{Enrolment, EnrolmentState, Refusal, RefusalReason},
        exchange::{MAX_DETAIL, clipped},
        throttle::ClientNetwork,
    },
    ports::{MacPurpose, View},
    service::{
        Gateway, ServiceError,
        issue::trace_step,
        metric::{self, label},
        scep::Stop,
    },
    types::{DeviceId, ProfileName},
};

impl Gateway {
    /// Whether there is room for one more refusal on record. That there is none is on record, once a day.
    pub(super) fn may_record(&self, candidate: &Candidate<'_>) -> Result<bool, ServiceError> {
        let (profile, origin) = (candidate.request.endpoint.profile.name(), &candidate.request.origin);
        let client = origin.peer.parse::<IpAddr>().ok().map(ClientNetwork::from);
        let Err(limit) = self.refusals.admit(profile, client, candidate.now) else { return Ok(true) };
        metrics::counter!(metric::REFUSALS_NOT_RECORDED, label::PROFILE => profile.to_string()).increment(1);
        tracing::warn!(
            request = %origin.request, peer = %origin.peer, %profile, %limit,
            "too many refusals: this one is not recorded"
        );
        if limit.is_first() {
            let detail = [("address", origin.peer.clone()), ("limit", limit.to_string())];
            let fact = candidate.act().fact("refusals.not-recorded", profile, &detail);
            self.ports.store.write(|tx| tx.append_audit(&fact))?;
        }
        Ok(false)
    }

    pub(super) fn record_refusal(
        &self,
        candidate: &Candidate<'_>,
        enrolment: Enrolment,
        refusal: &Refusal,
    ) -> Result<(), Stop> {
        if !self.may_record(candidate)? {
            return Ok(());
        }
        // What a client wrote may be in it, and the audit record is kept for ever.
        let reason = clipped(refusal.reason.to_string(), MAX_DETAIL);
        let fact = candidate.act().fact("enrolment.refused", &enrolment.id, &[("reason", reason.clone())]);
        let enrolment = Enrolment {
            state: EnrolmentState::Refused { info: refusal.info, reason },
            decided_at: Some(candidate.now),
            ..enrolment
        };
        let trail = candidate.request.trail;
        trail.refused(&refusal.clone().into());
        let so_far = trail.so_far();
        self.ports.store.write(|tx| {
            // What was issued or waits under the same key is not to be hidden by a refusal.
            let earlier = tx.enrolment_by_request(&enrolment.request_key)?;
            let stands = |state: &EnrolmentState| {
                matches!(state, EnrolmentState::Pending | EnrolmentState::Issued { .. })
            };
            if !earlier.is_some_and(|earlier| stands(&earlier.state)) {
                tx.put_enrolment(&enrolment)?;
            }
            if let Some(so_far) = &so_far {
                so_far.put(tx)?;
            }
            Ok::<_, Stop>(tx.append_audit(&fact)?)
        })?;
        trail.set_recorded();
        Ok(())
    }
}

impl Gateway {
    /// What a refused challenge says of whoever sent it.
    pub(super) fn note_challenge(
        &self,
        candidate: &Candidate<'_>,
        refusal: &Refusal,
    ) -> Result<(), ServiceError> {
        match &refusal.reason {
            RefusalReason::Challenge(ChallengeRefused::Unknown) => self.note_guess(candidate),
            RefusalReason::Challenge(ChallengeRefused::Denied(denial)) if denial.guessed => {
                self.note_guess(candidate);
            }
            RefusalReason::Challenge(ChallengeRefused::UsedUp { ticket }) => {
                self.note_reuse(candidate, ticket)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts a challenge that nobody was given against the address that it came from.
    pub(super) fn note_guess(&self, candidate: &Candidate<'_>) {
        let (Some(presented), Ok(client)) =
            (candidate.csr.challenge_password(), candidate.request.origin.peer.parse())
        else {
            return;
        };
        let endpoint = candidate.request.endpoint;
        let profile = endpoint.profile.name();
        // Never the challenge itself, not even for minutes: a wrong one may be right elsewhere.
        let mac = self.ports.keyring.mac(MacPurpose::Ticket, presented.expose());
        // Where the key usage chose the profile, the limits are those of the profile that stands at the URL.
        let entrance = endpoint.templates.as_ref().map(|templates| &templates.general_purpose);
        let entrance = entrance.filter(|entrance| *entrance != profile);
        let locks = [Some(profile), entrance]
            .map(|profile| profile.filter(|profile| self.count_guess(profile, client, &mac)));
        for profile in locks.into_iter().flatten() {
            self.note_lock_out(candidate, profile);
        }
    }

    fn note_lock_out(&self, candidate: &Candidate<'_>, profile: &ProfileName) {
        let peer = &candidate.request.origin.peer;
        metrics::counter!(metric::LOCK_OUTS, label::PROFILE => profile.to_string()).increment(1);
        tracing::warn!(%peer, %profile, "too many different wrong challenges: the address is locked out");
        let fact = candidate.act().fact("address.locked-out", peer, &[("profile", profile.to_string())]);
        let recorded = self.may_record(candidate).and_then(|may| {
            if may {
                self.ports.store.write(|tx| tx.append_audit(&fact))?;
            }
            Ok(())
        });
        if let Err(error) = recorded {
            tracing::error!(%error, "a lock-out is not on record");
        }
    }
}

pub(super) fn refuse_challenge(view: &dyn View, refused: ChallengeRefused) -> Result<Course, ServiceError> {
    let evidence = evidence_of(&refused);
    let device = evidence.as_ref().map(|evidence| device_of(view, evidence)).transpose()?.flatten();
    let trace = vec![trace_step("authorisation", false, &refused)];
    Ok(Course::Refuse { refusal: refused.into(), evidence, device, trace })
}

/// The device that the ticket was minted for, or that the certificate is bound to.
fn device_of(view: &dyn View, evidence: &Evidence) -> Result<Option<DeviceId>, ServiceError> {
    Ok(match evidence {
        Evidence::Ticket { id } => view.ticket(id)?.and_then(|ticket| ticket.device),
        Evidence::Renewal { certificate } => {
            view.bindings(certificate)?.iter().find_map(|binding| binding.object.device().cloned())
        }
        Evidence::Claim
        | Evidence::Vouched { .. }
        | Evidence::Alternate { .. }
        | Evidence::Approval
        | Evidence::Import => None,
    })
}

/// What a refused challenge proves nevertheless: that we minted the ticket, or issued the certificate.
fn evidence_of(refused: &ChallengeRefused) -> Option<Evidence> {
    match refused {
        ChallengeRefused::Missing | ChallengeRefused::Unknown | ChallengeRefused::Alternate(_) => None,
        ChallengeRefused::Denied(denial) => {
            denial.once_trusted.then_some(Evidence::Vouched { by: denial.by })
        }
        ChallengeRefused::Expired { ticket, .. }
        | ChallengeRefused::UsedUp { ticket }
        | ChallengeRefused::Cancelled { ticket }
        | ChallengeRefused::OtherProfile { ticket, .. } => Some(Evidence::Ticket { id: ticket.clone() }),
        ChallengeRefused::NotGood { certificate, .. }
        | ChallengeRefused::OtherProfilesCertificate { certificate }
        | ChallengeRefused::TooEarly { certificate, .. }
        | ChallengeRefused::AlternateUsed { certificate } => {
            Some(Evidence::Renewal { certificate: certificate.clone() })
        }
    }
}
