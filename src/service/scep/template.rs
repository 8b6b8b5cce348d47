//! The NDES-compatible URL, which names no profile: what is asked for chooses it.

use super::{
    Endpoint, Origin, Trail,
    operation::{Answered, Stop},
};
use crate::{
    domain::{exchange::Unreadable, ndes::Templates},
    ports::store::StoreResult,
    service::{Gateway, ServiceError},
    types::{ProfileName, Secret},
    wire::scep::{MessageType, VerifiedPki},
};

impl Gateway {
    /// PKIOperation at the NDES-compatible URL: as in NDES, the key usage that a request asks for chooses among the profiles that stand
    /// for its templates.
    pub fn ndes_operation(&self, message: &[u8], origin: &Origin) -> Answered {
        let templates = self.templates().ok_or(super::ScepError::UnknownProfile)?;
        let profile = templates.general_purpose.clone();
        let choice = Some(templates).filter(|templates| templates.all().len() > 1);
        self.operation(&profile, choice, message, origin)
    }

    /// The endpoint that an opened message means; none: the one that it came to. The three have the same issuer.
    pub(super) fn chosen(
        &self,
        endpoint: &Endpoint,
        kind: MessageType,
        message: &VerifiedPki,
        payload: &Secret,
        trail: &Trail,
    ) -> Result<Option<Endpoint>, Stop> {
        let Some(templates) = &endpoint.templates else { return Ok(None) };
        let name = match kind {
            MessageType::PkcsReq | MessageType::RenewalReq => of_request(endpoint, templates, payload),
            MessageType::CertPoll => self.of_transaction(templates, message).map_err(Stop::from),
            MessageType::GetCert | MessageType::GetCrl | MessageType::CertRep => return Ok(None),
        };
        let name = trail.check("profile by key usage", name, ToString::to_string)?;
        if name == *endpoint.profile.name() {
            return Ok(None);
        }
        trail.learn(|exchange| exchange.profile = Some(name.clone()));
        let chosen = self.endpoint(&name).map_err(|_| ServiceError::not_found("profile", &name))?;
        trail.served_by(&chosen.profile);
        // That of the URL counted before anything was read; what this one may bear is known only now.
        self.admit_chosen(&name).map_err(Stop::TurnedAway).inspect_err(|why| trail.failed("rate", why))?;
        Ok(Some(Endpoint { templates: endpoint.templates.clone(), ..chosen }))
    }

    /// The profile in which the transaction that is polled was begun.
    pub(super) fn of_transaction(
        &self,
        templates: &Templates,
        message: &VerifiedPki,
    ) -> StoreResult<ProfileName> {
        let transaction = message.message().transaction_id();
        let signer_key = message.signer().public_key().fingerprint();
        self.ports.store.read(|view| {
            for name in templates.all() {
                if view.enrolment_by_transaction(name, transaction, &signer_key)?.is_some() {
                    return Ok(name.clone());
                }
            }
            Ok(templates.general_purpose.clone())
        })
    }
}

fn of_request(endpoint: &Endpoint, templates: &Templates, payload: &Secret) -> Result<ProfileName, Stop> {
    let csr = endpoint.request(payload)?;
    let csr = csr.prove().map_err(|_| Unreadable::SelfSignature)?;
    Ok(templates.choose(csr.key_usage()).clone())
}
