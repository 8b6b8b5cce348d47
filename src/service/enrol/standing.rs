//! Who authorises a request: a challenge, a certificate of ours or of another CA, or an operator.

use super::{Candidate, alternate::standing_by_alternate};
use crate::{
    domain::{
        certificate::CertificateRecord,
        challenge::{
            Authorisation, AwaitingApproval, ChallengeRefused, Means, RenewalFacts, Ticket,
            awaiting_approval, check_renewal, check_static, check_ticket, check_verdict,
        },
        profile::Approval,
        status,
        vouch::Voucher,
    },
    ports::{MacPurpose, View, store::StoreResult},
    service::{Gateway, ServiceError, rollover::rolls_over},
    types::{ProfileName, TicketId, Timestamp},
    wire::scep::MessageType,
};

/// What authorises a request.
pub(super) enum Standing {
    /// A challenge or a certificate.
    Authorised(Authorisation),
    /// An operator may.
    Waits(AwaitingApproval),
    /// Somebody else has to be asked first.
    Ask(Voucher),
}

impl Gateway {
    /// Finds what authorises the request. `signer` is the record of the certificate that signed the message.
    pub(super) fn standing(
        &self,
        view: &dyn View,
        candidate: &Candidate<'_>,
        signer: Option<&CertificateRecord>,
    ) -> Result<Result<Standing, ChallengeRefused>, ServiceError> {
        let profile = &candidate.request.endpoint.profile;
        // Whatever they say stands: a challenge that they refuse does not fall through to a weaker way.
        if let Some(by) = self.who_must_vouch(view, candidate)? {
            return Ok(match &candidate.verdict {
                None => Ok(Standing::Ask(by)),
                Some(verdict) => check_verdict(by, verdict, profile.name()).map(Standing::Authorised),
            });
        }
        if candidate.request.kind != MessageType::RenewalReq && candidate.request.locked_out.is_none() {
            let challenge = self.check_challenge(view, candidate)?;
            let waits = profile.spec().approval == Approval::Manual;
            match (challenge, signer) {
                (Ok(first), _) if waits => {
                    return Ok(awaiting_approval(profile, Some(first)).map(Standing::Waits));
                }
                (Ok(authorisation), _) => return Ok(Ok(Standing::Authorised(authorisation))),
                (Err(refused), Some(_)) => candidate.guesses.set(refused == ChallengeRefused::Unknown),
                (Err(refused), None) if candidate.stands_in_for(&refused) => {
                    candidate.guesses.set(refused == ChallengeRefused::Unknown);
                }
                (Err(_), None) if waits && profile.spec().challenge.is_empty() => {
                    return Ok(awaiting_approval(profile, None).map(Standing::Waits));
                }
                (Err(refused), None) => return Ok(Err(refused)),
            }
        }
        let Some(record) = signer else { return standing_by_alternate(view, candidate) };
        // Its own causes: where the issuer is barred, `Issuance::check_issuer` tells the client to come back.
        let causes = view.causes(&record.id)?;
        let bindings = view.bindings(&record.id)?;
        let status = status::effective(&causes, &record.validity, candidate.now);
        let to = &candidate.request.endpoint.authority.issuer;
        let facts = RenewalFacts {
            record,
            status,
            bindings: &bindings,
            profile,
            rolls_over: rolls_over(view, &record.id.issuer, to)?,
            now: candidate.now,
        };
        Ok(check_renewal(&facts).map(Standing::Authorised))
    }

    /// RFC 8894 §2.4. Both kinds are looked for whatever the profile takes: whether it takes what was found is a rule like
    /// the others ([`authorise`](crate::domain::enrol::authorise)).
    pub(super) fn check_challenge(
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
}

pub(super) fn usable_ticket(
    view: &dyn View,
    id: &TicketId,
    profile: &ProfileName,
    now: Timestamp,
) -> StoreResult<Result<Ticket, ChallengeRefused>> {
    let Some(ticket) = view.ticket(id)? else { return Ok(Err(ChallengeRefused::Unknown)) };
    Ok(check_ticket(&ticket, profile, now).map(|_| ticket))
}

pub(super) fn ticket_of(authorisation: &Authorisation) -> Option<TicketId> {
    match authorisation.means() {
        Means::Ticket { id, .. } => Some(id.clone()),
        Means::Static
        | Means::Vouched { .. }
        | Means::Renewal { .. }
        | Means::Alternate(_)
        | Means::Approval { .. } => None,
    }
}
