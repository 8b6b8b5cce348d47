//! The password under which an answer is sealed where the signer's key cannot encrypt (RFC 8894 §3.1): the challengePassword, which
//! the client sent in a request that was encrypted to us.
//!
//! Only answers are sealed so. A request under a password is not opened: our message key is RSA, so no client needs that, and trying
//! would let strangers have us count PBKDF2 and guess static challenges. It is answered like any envelope that is not for us.

use super::{Endpoint, operation::Stop};
use crate::{
    domain::exchange::{NotFound, Refused, Unreadable},
    service::Gateway,
    types::Secret,
    wire::{
        csr::ProvenCsr,
        scep::{MessageType, VerifiedPki},
    },
};

/// A shorter password is not used. Whoever records the answer can try passwords for as long as they like: what they would learn is the
/// challenge, and with a static one they could enrol. Sixteen characters are the one-time passwords of NDES, 64 bits at random.
pub(super) const MIN_PASSWORD: usize = 16;

impl Gateway {
    /// The challengePassword of the request, or of the one that is polled for. Fails closed: without one of [`MIN_PASSWORD`] octets
    /// there is no answer that only the client can read, so nothing is decided. GetCert and GetCRL have none. `payload` is looked at in
    /// a PKCSReq and a RenewalReq alone.
    pub(super) fn reply_password(
        &self,
        endpoint: &Endpoint,
        kind: MessageType,
        message: &VerifiedPki,
        payload: &Secret,
    ) -> Result<Secret, Stop> {
        let csr = match kind {
            MessageType::PkcsReq | MessageType::RenewalReq => {
                let csr = endpoint.request(payload)?;
                Some(csr.prove().map_err(|_| Unreadable::SelfSignature)?)
            }
            MessageType::CertPoll => Some(self.request_polled_for(endpoint, message)?),
            MessageType::GetCert | MessageType::GetCrl | MessageType::CertRep => None,
        };
        let password = csr.as_ref().and_then(ProvenCsr::challenge_password);
        let password = password.filter(|password| password.expose().len() >= MIN_PASSWORD);
        password.cloned().ok_or_else(|| Refused::ReplyPassword(message.signer().public_key().kind()).into())
    }

    /// Under the profile in which it was begun: the poll itself is not opened yet.
    fn request_polled_for(&self, endpoint: &Endpoint, message: &VerifiedPki) -> Result<ProvenCsr, Stop> {
        let signer_key = message.signer().public_key().fingerprint();
        let transaction = message.message().transaction_id();
        let profile = match &endpoint.templates {
            Some(templates) => self.of_transaction(templates, message)?,
            None => endpoint.profile.name().clone(),
        };
        let enrolment = self.ports.store.read(|view| {
            Ok::<_, Stop>(view.enrolment_by_transaction(&profile, transaction, &signer_key)?)
        })?;
        // RFC 8894 §4.4: as to everybody, and FAILURE needs no password.
        let enrolment = enrolment.ok_or(Refused::NotFound(NotFound::Transaction))?;
        Ok(self.proven(&enrolment)?)
    }
}
