//! Issuers as operators see them.

use serde::{Deserialize, Serialize};

use super::{Gateway, Listing, ServiceError, authority::Authority};
use crate::{
    domain::{
        access::{Authed, Read},
        issuer::IssuerKind,
    },
    types::{DigestAlgorithm, Fingerprint, IssuerId, KeyAlgorithm, SerialNumber, Timestamp},
};

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerView {
    /// Its name.
    pub id: IssuerId,
    /// What kind it is.
    pub kind: IssuerKind,
    /// The issuer above.
    pub parent: Option<IssuerId>,
    /// Its subject.
    pub subject: String,
    /// The serial number of its certificate.
    pub serial: SerialNumber,
    /// notBefore of its certificate.
    pub not_before: Timestamp,
    /// notAfter of its certificate.
    pub not_after: Timestamp,
    /// Its key.
    pub key_algorithm: KeyAlgorithm,
    /// The digest of its signatures.
    pub digest: DigestAlgorithm,
    /// SHA-256 of its certificate.
    pub sha256: Fingerprint,
    /// SHA-1 of its certificate in hexadecimal: what Apple's and older Cisco's dialogs show.
    pub sha1: String,
    /// Where its CRL is published.
    pub crl_urls: Vec<String>,
    /// Where its OCSP responder is.
    pub ocsp_urls: Vec<String>,
    /// Where its certificate is published.
    pub ca_issuers_urls: Vec<String>,
    /// When its OCSP signer expires.
    pub ocsp_signer_not_after: Option<Timestamp>,
    /// When its newest SCEP message key expires.
    pub message_key_not_after: Option<Timestamp>,
    /// Number of its newest CRL.
    pub crl_number: Option<u64>,
    /// Its certificate and those above it, as PEM text; empty in listings.
    pub pem: String,
}

impl Gateway {
    /// All issuers, by name.
    pub fn issuers(&self, _authed: &Authed<Read>) -> Listing<IssuerView> {
        Listing::whole(self.authorities().issuers().map(|authority| self.issuer_view(authority)).collect())
    }

    /// One issuer, with its chain.
    pub fn issuer(&self, _authed: &Authed<Read>, id: &IssuerId) -> Result<IssuerView, ServiceError> {
        let authorities = self.authorities();
        let authority = authorities.issuer(id).ok_or_else(|| ServiceError::not_found("issuer", id))?;
        let chain = std::iter::once(&authority.certificate).chain(&authority.chain);
        let pem = chain.map(crate::wire::x509::Certificate::to_pem).collect();
        Ok(IssuerView { pem, ..self.issuer_view(authority) })
    }

    fn issuer_view(&self, authority: &Authority) -> IssuerView {
        let (issuer, certificate) = (&authority.issuer, &authority.certificate);
        IssuerView {
            id: issuer.id.clone(),
            kind: issuer.kind,
            parent: issuer.parent.clone(),
            subject: certificate.subject().to_string(),
            serial: certificate.serial().clone(),
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
            key_algorithm: authority.signer.algorithm(),
            digest: issuer.digest,
            sha256: certificate.fingerprint(),
            sha1: hex::encode(crate::types::sha1(certificate.as_der())),
            crl_urls: issuer.crl_urls.clone(),
            ocsp_urls: issuer.ocsp_urls.clone(),
            ca_issuers_urls: issuer.ca_issuers_urls.clone(),
            ocsp_signer_not_after: authority.ocsp.as_ref().map(|it| it.certificate.validity().not_after),
            message_key_not_after: authority
                .message_keys
                .first()
                .map(|key| key.certificate.validity().not_after),
            crl_number: self.crl(&issuer.id).map(|crl| crl.number),
            pem: String::new(),
        }
    }
}
