//! CertPoll, GetCert, GetCRL (RFC 8894 §4.4 to §4.6).
//!
//! GetCert and GetCRL ask for no standing: a CRL is public, and a certificate is given to whoever knows its issuer and its
//! serial number of 126 random bits (§4.5). What is found is encrypted to the one who asks, like everything else.

use super::operation::{Answer, Request, Stop};
use crate::{
    domain::{certificate::Purpose, enrol::EnrolmentState},
    service::{Gateway, authority::Authority, enrol::REFUSED},
    types::CertificateId,
    wire::scep::{Degenerate, FailInfo, IssuerAndSerialNumber, IssuerAndSubject},
};

/// What a client is told when what it asks for is not there.
const NOT_FOUND: &str = "no such certificate or transaction";

impl Gateway {
    /// CertPoll (RFC 8894 §4.4): found by profile, transactionID and the key that signed; the names in the payload are read
    /// and not trusted.
    pub(super) fn cert_poll(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        IssuerAndSubject::from_ber(request.payload.expose())
            .map_err(|error| Stop::unreadable(error.to_string()))?;
        let profile = request.endpoint.profile.name();
        let transaction = request.message.message().transaction_id();
        let signer_key = request.message.signer().public_key().fingerprint();
        let enrolment = self.ports.store.read(|view| {
            Ok::<_, Stop>(view.enrolment_by_transaction(profile, transaction, &signer_key)?)
        })?;
        match enrolment.map(|enrolment| enrolment.state) {
            None => Err(not_found("no such transaction of this key")),
            Some(EnrolmentState::Pending) => Ok(Answer::Pending),
            Some(EnrolmentState::Issued { certificate }) => self.granted(request.endpoint, &certificate),
            Some(EnrolmentState::Refused { info, reason }) => Err(Stop::refuse(info, REFUSED, reason)),
            Some(EnrolmentState::Rejected { reason }) => {
                Err(Stop::refuse(FailInfo::BadRequest, REFUSED, reason))
            }
        }
    }

    /// GetCert (RFC 8894 §4.5): a certificate that a client was given.
    pub(super) fn get_cert(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let asked = IssuerAndSerialNumber::from_ber(request.payload.expose())
            .map_err(|error| Stop::unreadable(error.to_string()))?;
        let authority = &request.endpoint.authority;
        if !asked.issuer.matches(authority.certificate.subject()) {
            return Err(not_found("another issuer"));
        }
        let id = CertificateId { issuer: authority.issuer.id.clone(), serial: asked.serial };
        let record = self.ports.store.read(|view| Ok::<_, Stop>(view.certificate(&id)?))?;
        match record {
            Some(record) if record.purpose == Purpose::Leaf => self.granted(request.endpoint, &id),
            Some(_) => Err(not_found("a certificate of our own")),
            None => Err(not_found("no such serial number")),
        }
    }

    /// GetCRL (RFC 8894 §4.6): the newest CRL of the issuer of the certificate that is named, and only that. The issuer may
    /// be any of the profile's chain.
    pub(super) fn get_crl(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let asked = IssuerAndSerialNumber::from_ber(request.payload.expose())
            .map_err(|error| Stop::unreadable(error.to_string()))?;
        let named =
            |authority: &&std::sync::Arc<Authority>| asked.issuer.matches(authority.certificate.subject());
        let authority =
            request.endpoint.authorities.issuers().find(named).ok_or_else(|| not_found("another issuer"))?;
        let id = CertificateId { issuer: authority.issuer.id.clone(), serial: asked.serial.clone() };
        if !self.ports.store.read(|view| Ok::<_, Stop>(view.is_issued(&id)?))? {
            return Err(not_found("no such serial number"));
        }
        // Built when the gateway opens: a missing one is a fault that passes, not an answer.
        let crl = self
            .crl(&authority.issuer.id)
            .ok_or_else(|| crate::service::ServiceError::not_found("CRL", &authority.issuer.id))?;
        Ok(Answer::Granted(Degenerate::to_der(&[], &[&crl.der])?))
    }
}

fn not_found(reason: &str) -> Stop {
    Stop::refuse(FailInfo::BadCertId, NOT_FOUND, reason)
}
