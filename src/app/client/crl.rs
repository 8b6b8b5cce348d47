//! Fetching CRLs as network gear does (RFC 5280 §6.3): over HTTP, believed only when the CA signed them and they are not stale.

use super::{
    error::{ClientError, Fault},
    http::HttpClient,
    ocsp::check_times,
};
use crate::{
    types::Timestamp,
    wire::{
        crl::{Crl, CrlEntry, DeltaCrl},
        x509::Certificate,
    },
};

/// What a CRL says of one certificate, together with the delta to it.
pub struct Listing {
    /// Its entry, where it is listed.
    pub entry: Option<CrlEntry>,
    /// thisUpdate of the delta, or of the CRL where there is none to it.
    pub this_update: Timestamp,
    /// Where the delta is.
    pub delta_url: Option<String>,
}

/// Fetches the CRL of `issuer` from `url`: the full one, or the partition that `certificate` is in by its cRLDistributionPoints, wherever
/// it was fetched (RFC 5280 §6.3.3 (b)(2)(i)): any other one says nothing of it.
pub fn fetch(
    http: &HttpClient,
    url: &str,
    certificate: &Certificate,
    issuer: &Certificate,
    now: Timestamp,
) -> Result<Crl, ClientError> {
    let response = http.get(url)?;
    if !response.status.is_success() {
        return Err(ClientError::status(url, &response));
    }
    let named = certificate.crl_urls();
    let partition = || named.iter().find_map(|url| Crl::of_partition(&response.body, url).ok());
    let crl = Crl::from_der(&response.body)
        .or_else(|error| partition().ok_or(error))
        .map_err(ClientError::unreadable("the CRL", &response))?;
    crl.verify(issuer).map_err(ClientError::because(Fault::Signer, "the CRL"))?;
    check_times(crl.this_update(), crl.next_update(), now)?;
    Ok(crl)
}

/// Looks a certificate up in the CRL at `url`, and in the delta to it where it names one (RFC 5280 §5.2.6).
pub fn look_up(
    http: &HttpClient,
    url: &str,
    certificate: &Certificate,
    issuer: &Certificate,
    now: Timestamp,
) -> Result<Listing, ClientError> {
    let (full, serial) = (fetch(http, url, certificate, issuer, now)?, certificate.serial());
    let delta_url = first_over_http(full.head().freshest()).filter(|url| is_http(url));
    let delta = delta_url.map(|url| Ok::<_, ClientError>((url, fetch_delta(http, url, issuer, now)?)));
    // Where it does not belong to this CRL (that is older than the one that it changes), the CRL is all that there is.
    let together =
        delta.transpose()?.and_then(|(url, delta)| Some((url, delta.applied_to(&full).ok()?, delta)));
    Ok(match together {
        Some((url, mut entries, delta)) => Listing {
            entry: entries.remove(serial),
            this_update: delta.head().this_update(),
            delta_url: Some(url.clone()),
        },
        None => Listing {
            entry: full.entries().iter().find(|entry| entry.serial == *serial).cloned(),
            this_update: full.this_update(),
            delta_url: None,
        },
    })
}

fn fetch_delta(
    http: &HttpClient,
    url: &str,
    issuer: &Certificate,
    now: Timestamp,
) -> Result<DeltaCrl, ClientError> {
    let response = http.get(url)?;
    if !response.status.is_success() {
        return Err(ClientError::status(url, &response));
    }
    let delta =
        DeltaCrl::from_der(&response.body).map_err(ClientError::unreadable("the delta CRL", &response))?;
    delta.verify(issuer).map_err(ClientError::because(Fault::Signer, "the delta CRL"))?;
    check_times(delta.head().this_update(), delta.head().next_update(), now)?;
    Ok(delta)
}

/// The first place that is asked over HTTP; where there is none, the first of all. Windows CAs name a directory in front.
pub fn first_over_http(urls: &[String]) -> Option<&String> {
    urls.iter().find(|url| is_http(url)).or(urls.first())
}

fn is_http(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_front_does_not_hide_what_is_asked_over_http() {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let windows =
            urls(&["ldap:///CN=CA,CN=CDP?certificateRevocationList?base", "http://pki.example/ca.crl"]);
        assert_eq!(first_over_http(&windows), Some(&windows[1]));
        let both = urls(&["HTTP://a/ca.crl", "http://b/ca.crl"]);
        assert_eq!(first_over_http(&both), Some(&both[0]));
        let directory = urls(&["ldap://pki.example/cn=CA"]);
        assert_eq!(first_over_http(&directory), Some(&directory[0]));
        assert_eq!(first_over_http(&[]), None);
    }
}
