//! What the state of a CA means for the certificates below it.
//!
//! A CA's standing rests on its own certificate and on those above it, up to the root's own: its *lineage*. The cause that follows
//! ([`status::inherited`]) is read from there whenever a status is read. Nothing is written for the certificates below, and a release
//! of the CA's hold undoes nothing but itself.
//!
//! **A compromised CA still signs its CRL and its OCSP answers.** Whoever stole the key can sign good news, so nobody should rely
//! on what that key says; what counts is the CRL and the OCSP answer of the CA above, which say that the CA's certificate is
//! revoked, and path validation asks for them (RFC 5280 §6.1.3 (a)(3)). But clients that look at the end certificate alone are many,
//! and stopping would leave them with the last good news until it runs out, or for ever where they fail open. So CRL, delegated OCSP
//! signer and its renewal go on: bad news by a key in doubt does no harm. New certificates for devices and users do
//! (`service::issue` gives none).
//!
//! **Size.** While a CA is revoked or on hold its CRL lists all that it ever issued and that is not expired: some 40 bytes for each,
//! 40 MB for a million, read from the store for each CRL. That is what invariant 1 asks for (OCSP == CRL == API) and it ends with
//! the hold, or with the expiry of the certificates. Where that is too large for the gear that fetches it, revoke the CA and let
//! the gear check the chain.

use crate::{
    domain::{
        issuer::Issuer,
        status::{self, Cause},
    },
    ports::{StoreError, View, store::StoreResult},
    service::Gateway,
    types::{CertificateId, IssuerId},
    wire::x509::Certificate,
};

/// The certificates on which the standing of `issuer` rests, nearest first: its own, the one of the issuer above ...
pub(crate) fn lineage(view: &dyn View, issuer: &IssuerId) -> StoreResult<Vec<CertificateId>> {
    let mut lineage = Vec::new();
    let mut next = Some(issuer.clone());
    while let Some(issuer) = next.map(|id| view.issuer(&id)).transpose()?.flatten() {
        let own = own_certificate(&issuer)?;
        // A damaged store must not make this loop for ever.
        if lineage.contains(&own) {
            break;
        }
        lineage.push(own);
        next = issuer.parent;
    }
    Ok(lineage)
}

/// Whether a change to the status of `certificate` may be one for all certificates of an issuer: gives those issuers.
pub(super) fn issuers_resting_on(view: &dyn View, certificate: &CertificateId) -> StoreResult<Vec<IssuerId>> {
    let issuers = view.issuers()?;
    // Almost every certificate is of an issuer that has no CA below it: that is told without reading one.
    let above = |issuer: &Issuer| *issuer.parent.as_ref().unwrap_or(&issuer.id) == certificate.issuer;
    if !issuers.iter().any(above) {
        return Ok(Vec::new());
    }
    let mut resting = Vec::new();
    for issuer in issuers {
        if lineage(view, &issuer.id)?.contains(certificate) {
            resting.push(issuer.id);
        }
    }
    Ok(resting)
}

/// The cause that a CA of this lineage is for what it has issued.
pub(crate) fn inherited(view: &dyn View, lineage: &[CertificateId]) -> StoreResult<Option<Cause>> {
    let mut from_above = None;
    for own in lineage.iter().rev() {
        let mut causes = view.causes(own)?;
        causes.extend(from_above);
        from_above = status::inherited(own, &causes);
    }
    Ok(from_above)
}

/// Every cause of a certificate: its own, and the one of its issuer. The certificate that a root gave itself has its own only.
pub(crate) fn causes_of(view: &dyn View, id: &CertificateId) -> StoreResult<Vec<Cause>> {
    causes_under(view, id, &lineage(view, &id.issuer)?)
}

fn causes_under(view: &dyn View, id: &CertificateId, lineage: &[CertificateId]) -> StoreResult<Vec<Cause>> {
    let mut causes = view.causes(id)?;
    if lineage.first() != Some(id) {
        causes.extend(inherited(view, lineage)?);
    }
    Ok(causes)
}

impl Gateway {
    /// [`causes_of`] without reading the certificates of CAs: the lineage of an issuer that is loaded is known, and never another. Where the
    /// issuer is not loaded yet, or its key is not here, it is read.
    pub(in crate::service) fn causes_of(
        &self,
        view: &dyn View,
        id: &CertificateId,
    ) -> StoreResult<Vec<Cause>> {
        match self.authorities().issuer(&id.issuer) {
            Some(authority) => causes_under(view, id, &authority.lineage),
            None => causes_of(view, id),
        }
    }
}

/// Of a root the certificate that it gave itself, of a subordinate one of the issuer above.
fn own_certificate(issuer: &Issuer) -> StoreResult<CertificateId> {
    let certificate = Certificate::from_der(&issuer.certificate).map_err(|error| StoreError::Corrupt {
        table: "issuers",
        key: issuer.id.to_string(),
        reason: error.to_string(),
    })?;
    let above = issuer.parent.as_ref().unwrap_or(&issuer.id);
    Ok(CertificateId { issuer: above.clone(), serial: certificate.serial().clone() })
}
