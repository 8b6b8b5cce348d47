//! What a client may do that is locked out of a profile: everything that needs no challenge.
//!
//! Asked once the signature is verified, so that nobody passes under another's name, and before the envelope is opened: who is stopped
//! costs no private key. Nothing in an envelope has a say in it, so the answer tells nothing of what is in one.

use super::{Endpoint, Origin, Trail, operation::Stop};
use crate::{
    domain::certificate::Purpose,
    ports::View,
    service::{Gateway, ServiceError, guard::TooSoon, issue::is_good},
    types::ProfileName,
    wire::scep::{MessageType, VerifiedPki},
};

impl Gateway {
    /// Whether the client is locked out. Stops a request that can rest on nothing but a challenge.
    pub(super) fn check_lock_out(
        &self,
        endpoint: &Endpoint,
        kind: MessageType,
        message: &VerifiedPki,
        origin: &Origin,
        trail: &Trail,
    ) -> Result<Option<TooSoon>, Stop> {
        let Some(too_soon) = self.lock_out(endpoint, origin) else { return Ok(None) };
        let passes = match kind {
            MessageType::PkcsReq | MessageType::RenewalReq => self.is_signed_by_ours(message)?,
            MessageType::CertPoll => self.knows_transaction(endpoint, message)?,
            MessageType::GetCert | MessageType::GetCrl | MessageType::CertRep => true,
        };
        let passes = if passes { Ok(()) } else { Err(Stop::TurnedAway(too_soon)) };
        trail.check("lock-out", passes, |()| {
            "the address is locked out, and this needs no challenge".to_owned()
        })?;
        Ok(Some(too_soon))
    }

    /// Counts a request that is turned away although it was admitted.
    pub(super) fn turn_away_opened(
        &self,
        profile: &ProfileName,
        origin: &Origin,
        too_soon: TooSoon,
    ) -> TooSoon {
        match origin.peer.parse::<std::net::IpAddr>() {
            Ok(client) => self.turn_away(profile, client, too_soon),
            Err(_) => too_soon,
        }
    }

    /// Where a profile takes no challenge, there is none to guess.
    fn lock_out(&self, endpoint: &Endpoint, origin: &Origin) -> Option<TooSoon> {
        let client = origin.peer.parse().ok()?;
        let takes_challenges = !endpoint.profile.spec().challenge.is_empty();
        self.lock_out_of(endpoint.profile.name(), client).filter(|_| takes_challenges)
    }

    /// Whether a certificate that we issued, and that is good, signed the message.
    fn is_signed_by_ours(&self, message: &VerifiedPki) -> Result<bool, ServiceError> {
        let now = self.now();
        self.ports.store.read(|view| {
            let signer = view.certificate_by_fingerprint(&message.signer().fingerprint())?;
            let Some(signer) = signer.filter(|record| record.purpose == Purpose::Leaf) else {
                return Ok(false);
            };
            Ok(is_good(view, &signer, now)?)
        })
    }

    /// Whether the key that signed began the transaction, under the profile or one of those among which the key usage chooses.
    fn knows_transaction(&self, endpoint: &Endpoint, message: &VerifiedPki) -> Result<bool, ServiceError> {
        let own = [endpoint.profile.name()];
        let templates = endpoint.templates.as_ref().map(|templates| templates.all()).unwrap_or_default();
        self.ports.store.read(|view| {
            for profile in own.into_iter().chain(templates) {
                if began(view, profile, message)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

fn began(view: &dyn View, profile: &ProfileName, message: &VerifiedPki) -> Result<bool, ServiceError> {
    let signer_key = message.signer().public_key().fingerprint();
    let transaction = message.message().transaction_id();
    Ok(view.enrolment_by_transaction(profile, transaction, &signer_key)?.is_some())
}
