//! What becomes of a refusal: recorded where the request once was trusted, and not too often.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Candidate, Course};
use crate::{
    domain::{
        binding::{BoundObject, Evidence},
        challenge::ChallengeRefused,
        enrol::{Enrolment, EnrolmentState, Refusal, RefusalReason},
    },
    ports::{MacPurpose, View},
    service::{
        Gateway, ServiceError,
        issue::trace_step,
        metric::{self, label},
        scep::Stop,
    },
    types::{DeviceId, ProfileName, Timestamp},
};

/// At most this many refusals are recorded in one minute; the rest is logged only.
pub const REFUSALS_PER_MINUTE: u64 = 120;

/// Counts recorded refusals by the minute.
#[derive(Debug, Default)]
pub struct RefusalMeter {
    /// The minute in the upper 32 bits, the count in the lower.
    state: AtomicU64,
}

impl RefusalMeter {
    /// Whether one more may be recorded in this minute.
    pub(super) fn admits(&self, now: Timestamp) -> bool {
        let minute = (now.unix() / 60) << 32;
        let counted = |state: u64| if state & !0xffff_ffff == minute { state + 1 } else { minute + 1 };
        let full = |state: u64| state & !0xffff_ffff == minute && state & 0xffff_ffff >= REFUSALS_PER_MINUTE;
        let update = |state: u64| (!full(state)).then(|| counted(state));
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update).is_ok()
    }
}

impl Gateway {
    pub(super) fn record_refusal(
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
        if self.refusals.admits(candidate.now) {
            let fact = candidate.act().fact("address.locked-out", peer, &[("profile", profile.to_string())]);
            if let Err(error) = self.ports.store.write(|tx| tx.append_audit(&fact)) {
                tracing::error!(%error, "a lock-out is not on record");
            }
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
            view.bindings(certificate)?.into_iter().find_map(|binding| match binding.object {
                BoundObject::Device { id, .. } => Some(id),
                BoundObject::User { .. } => None,
            })
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
