//! Fetching CRLs as network gear does (RFC 5280 §6.3): over HTTP, believed only when the CA signed them and they are not stale.

use super::{
    error::{ClientError, Fault},
    http::HttpClient,
    ocsp::check_times,
};
use crate::{
    types::Timestamp,
    wire::{crl::Crl, x509::Certificate},
};

/// Fetches the CRL of `issuer` from `url`: the full one, or the partition of the certificates that name this URL.
pub fn fetch(http: &HttpClient, url: &str, issuer: &Certificate, now: Timestamp) -> Result<Crl, ClientError> {
    let response = http.get(url)?;
    if !response.status.is_success() {
        return Err(ClientError::status(url, &response));
    }
    // Where the certificate names a partition, that is what is there.
    let crl = Crl::from_der(&response.body)
        .or_else(|error| Crl::of_partition(&response.body, url).map_err(|_| error))
        .map_err(ClientError::unreadable("the CRL", &response))?;
    crl.verify(issuer).map_err(ClientError::because(Fault::Signer, "the CRL"))?;
    check_times(crl.this_update(), crl.next_update(), now)?;
    Ok(crl)
}
