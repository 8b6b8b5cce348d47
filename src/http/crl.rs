//! CRLs and CA certificates over HTTP (RFC 5280 §4.2.1.13, §4.2.2.1; RFC 2585).

use bytes::Bytes;
use der::pem::{self, LineEnding};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED},
};

use super::{
    conditional,
    device::{method_not_allowed, not_found, typed},
    ocsp::insert,
};
use crate::{service::Gateway, types::IssuerId};

/// An HTTP cache may keep a CRL this long, in seconds: a revocation must not wait for nextUpdate, which is days away.
const MAX_AGE: u64 = 300;

/// `{issuer}.crl` in DER, `{issuer}.pem` in PEM.
pub(super) fn revocation_list(
    gateway: &Gateway,
    request: &Request<Incoming>,
    file: &str,
) -> Response<Full<Bytes>> {
    if request.method() == Method::POST {
        return method_not_allowed("GET, HEAD");
    }
    let Some((issuer, form)) = named(file) else { return not_found() };
    let Some(crl) = gateway.crl(&issuer) else { return not_found() };
    let (mut response, etag) = match form {
        "crl" => (typed("application/pkix-crl", crl.der.clone()), format!("\"{}\"", crl.etag)),
        "pem" => {
            let Some(text) = to_pem("X509 CRL", &crl.der) else { return not_found() };
            (typed("application/x-pem-file", text), format!("\"{}-pem\"", crl.etag))
        }
        _ => return not_found(),
    };
    let left = crl.next_update.since(gateway.now()).as_secs().min(MAX_AGE);
    let headers = response.headers_mut();
    insert(headers, ETAG, etag.clone());
    insert(headers, LAST_MODIFIED, crl.this_update.to_http_date());
    insert(headers, EXPIRES, crl.next_update.to_http_date());
    insert(headers, CACHE_CONTROL, format!("max-age={left}, public, no-transform, must-revalidate"));
    if conditional::is_known(request.method(), request.headers(), etag.as_bytes(), crl.this_update) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
    }
    response
}

/// `{issuer}.cer` in DER, `{issuer}.pem` in PEM.
pub(super) fn ca_certificate(
    gateway: &Gateway,
    request: &Request<Incoming>,
    file: &str,
) -> Response<Full<Bytes>> {
    if request.method() == Method::POST {
        return method_not_allowed("GET, HEAD");
    }
    let Some((issuer, form)) = named(file) else { return not_found() };
    let authorities = gateway.authorities();
    let Some(authority) = authorities.issuer(&issuer) else { return not_found() };
    let der = authority.certificate.as_der();
    match form {
        "cer" => typed("application/pkix-cert", Bytes::copy_from_slice(der)),
        "pem" => {
            to_pem("CERTIFICATE", der).map_or_else(not_found, |text| typed("application/x-pem-file", text))
        }
        _ => not_found(),
    }
}

fn named(file: &str) -> Option<(IssuerId, &str)> {
    let (issuer, form) = file.rsplit_once('.')?;
    Some((issuer.parse().ok()?, form))
}

fn to_pem(label: &str, der: &[u8]) -> Option<Bytes> {
    pem::encode_string(label, LineEnding::LF, der).ok().map(Bytes::from)
}
