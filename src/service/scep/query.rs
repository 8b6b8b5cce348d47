//! CertPoll, GetCert, GetCRL (RFC 8894 §4.4 to §4.6).
//!
//! GetCert and GetCRL ask for no standing: a CRL is public, and a certificate is given to whoever knows its issuer and its
//! serial number of 126 random bits (§4.5). What is found is encrypted to the one who asks, like everything else.

use super::operation::{Answer, Request, Stop};
use crate::{
    domain::{
        certificate::Purpose,
        enrol::EnrolmentState,
        exchange::{NotFound, Refused, Unreadable},
    },
    service::{Gateway, authority::Authority, enrol::decided_before},
    types::CertificateId,
    wire::{
        scep::{Degenerate, IssuerAndSerialNumber, IssuerAndSubject},
        x509::DecodeError,
    },
};

impl Gateway {
    /// CertPoll (RFC 8894 §4.4): found by profile, transactionID and the key that signed; the names in the payload are read
    /// and not trusted.
    pub(super) fn cert_poll(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let names = IssuerAndSubject::from_ber(request.payload.expose()).map_err(|error| unreadable(&error));
        request.trail.check("content", names, |_| "issuerAndSubject".to_owned())?;
        let profile = request.endpoint.profile.name();
        let transaction = request.message.message().transaction_id();
        let signer_key = request.message.signer().public_key().fingerprint();
        let enrolment = self.ports.store.read(|view| {
            Ok::<_, Stop>(view.enrolment_by_transaction(profile, transaction, &signer_key)?)
        })?;
        let found = enrolment.ok_or(NotFound::Transaction).map_err(not_found);
        let enrolment = request.trail.check("enrolment", found, |enrolment| enrolment.id.to_string())?;
        request.trail.learn(|exchange| exchange.polls = Some(enrolment.id.clone()));
        match enrolment.state {
            EnrolmentState::Pending => {
                request.trail.pending();
                Ok(Answer::Pending)
            }
            EnrolmentState::Issued { certificate } => {
                request.trail.granted(&certificate);
                self.granted(request.endpoint, &certificate)
            }
            EnrolmentState::Refused { info, reason } => Err(decided_before(Some(info), reason)),
            EnrolmentState::Rejected { reason } => Err(decided_before(None, reason)),
        }
    }

    /// GetCert (RFC 8894 §4.5): a certificate that a client was given.
    pub(super) fn get_cert(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let asked = asked(request)?;
        let authority = &request.endpoint.authority;
        if !asked.issuer.matches(authority.certificate.subject()) {
            return Err(not_found(NotFound::Issuer));
        }
        let id = CertificateId { issuer: authority.issuer.id.clone(), serial: asked.serial };
        let record = self.ports.store.read(|view| Ok::<_, Stop>(view.certificate(&id)?))?;
        match record {
            Some(record) if record.purpose == Purpose::Leaf => {
                request.trail.granted(&id);
                self.granted(request.endpoint, &id)
            }
            Some(_) => Err(not_found(NotFound::Own)),
            None => Err(not_found(NotFound::Serial)),
        }
    }

    /// GetCRL (RFC 8894 §4.6): the newest CRL of the issuer of the certificate that is named, and only that. The issuer may
    /// be any of the profile's chain.
    pub(super) fn get_crl(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let asked = asked(request)?;
        let named =
            |authority: &&std::sync::Arc<Authority>| asked.issuer.matches(authority.certificate.subject());
        let authority =
            request.endpoint.authorities.issuers().find(named).ok_or_else(|| not_found(NotFound::Issuer))?;
        let id = CertificateId { issuer: authority.issuer.id.clone(), serial: asked.serial.clone() };
        if !self.ports.store.read(|view| Ok::<_, Stop>(view.is_issued(&id)?))? {
            return Err(not_found(NotFound::Serial));
        }
        // Built when the gateway opens: a missing one is a fault that passes, not an answer.
        let crl = self
            .crl(&authority.issuer.id)
            .ok_or_else(|| crate::service::ServiceError::not_found("CRL", &authority.issuer.id))?;
        Ok(Answer::Granted(Degenerate::to_der(&[], &[&crl.der])?))
    }
}

fn asked(request: &Request<'_>) -> Result<IssuerAndSerialNumber, Stop> {
    let asked = IssuerAndSerialNumber::from_ber(request.payload.expose()).map_err(|error| unreadable(&error));
    request.trail.check("content", asked, |asked| format!("serial number {}", asked.serial))
}

fn unreadable(error: &DecodeError) -> Stop {
    Unreadable::Request(error.to_string()).into()
}

fn not_found(what: NotFound) -> Stop {
    Refused::from(what).into()
}
