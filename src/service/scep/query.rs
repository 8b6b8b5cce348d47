//! CertPoll, GetCert, GetCRL (RFC 8894 §4.4 to §4.6).
//!
//! GetCert and GetCRL ask for no standing: a CRL is public, and a certificate is given to whoever knows its issuer and its
//! serial number of 126 random bits (§4.5). What is found is encrypted to the one who asks, like everything else.

use super::{
    MAX_MESSAGE,
    operation::{Answer, Request, Stop},
};
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
        let endpoint = request.endpoint;
        // The generations of a CA have one name.
        let mut named = endpoint.authorities.generations(&endpoint.profile.spec().issuer);
        named.retain(|authority| asked.issuer.matches(authority.certificate.subject()));
        if named.is_empty() {
            return Err(not_found(NotFound::Issuer));
        }
        let record = self.ports.store.read(|view| {
            let id = |authority: &Authority| CertificateId {
                issuer: authority.issuer.id.clone(),
                serial: asked.serial.clone(),
            };
            let found = named.iter().map(|authority| view.certificate(&id(authority)));
            Ok::<_, Stop>(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().next())
        })?;
        match record {
            Some(record) if record.purpose == Purpose::Leaf => {
                request.trail.granted(&record.id);
                self.granted(endpoint, &record.id)
            }
            Some(_) => Err(not_found(NotFound::Own)),
            None => Err(not_found(NotFound::Serial)),
        }
    }

    /// GetCRL (RFC 8894 §4.6): the newest CRL of the issuer of the certificate that is named, and only that. The issuer may
    /// be any of the profile's chain.
    ///
    /// Not a long one: anybody may ask, and each answer is a copy that was encrypted for him alone and waits until he has read it. Over HTTP
    /// all have the same.
    pub(super) fn get_crl(&self, request: &Request<'_>) -> Result<Answer, Stop> {
        let asked = asked(request)?;
        let issuers = request.endpoint.authorities.issuers();
        let named: Vec<_> = issuers
            .filter(|authority| asked.issuer.matches(authority.certificate.subject()))
            .map(|authority| &authority.issuer.id)
            .collect();
        if named.is_empty() {
            return Err(not_found(NotFound::Issuer));
        }
        let issuer = self.ports.store.read(|view| {
            for issuer in named {
                let id = CertificateId { issuer: issuer.clone(), serial: asked.serial.clone() };
                if view.not_after(&id)?.is_some() {
                    return Ok(issuer);
                }
            }
            Err(not_found(NotFound::Serial))
        })?;
        // Built when the gateway opens: a missing one is a fault that passes, not an answer.
        let crl = self.crl(issuer).ok_or_else(|| crate::service::ServiceError::not_found("CRL", issuer))?;
        if crl.der.len() > MAX_MESSAGE {
            return Err(Refused::LongCrl { length: crl.der.len(), limit: MAX_MESSAGE }.into());
        }
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
