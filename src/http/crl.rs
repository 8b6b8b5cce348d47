//! CRLs and CA certificates over HTTP (RFC 5280 §4.2.1.13, §4.2.2.1; RFC 2585).

use std::time::Duration;

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
    device::{method_not_allowed, not_found, typed, withheld},
    ocsp::insert,
    partial::{Validators, partial, precondition_failed, precondition_fails},
};
use crate::{
    domain::crl::{CrlScope, Partition},
    service::Gateway,
    types::IssuerId,
};

/// An HTTP cache may keep a CRL this long, in seconds: a revocation must not wait for nextUpdate, which is days away.
const MAX_AGE: u64 = 300;

/// Gear asks again after this time while no CRL can be given: an operator has to do something.
const WITHHELD: Duration = Duration::from_secs(300);

/// The same where the worker is about to make one.
const TO_COME: Duration = Duration::from_secs(10);

/// `{issuer}.crl` in DER, `{issuer}.pem` or `{issuer}.crl.pem` in PEM; `{issuer}-delta` the delta to it, `{issuer}/{of}/{index}` a
/// partition. Whole or a part; conditional or not: checks in the order of RFC 9110 §13.2.2.
pub(super) fn revocation_list(
    gateway: &Gateway,
    request: &Request<Incoming>,
    file: &str,
) -> Response<Full<Bytes>> {
    if request.method() == Method::POST {
        return method_not_allowed("GET, HEAD");
    }
    let (is_pem, meant) = lists_named(file);
    let Some(crl) = meant.iter().find_map(|(issuer, scope)| gateway.crl_of(issuer, *scope)) else {
        // Nobody is to remember that there is no such CRL: an older database does not know what there is, and the last one may not
        // have reached the store before a crash.
        return if gateway.behind().is_some() {
            withheld(WITHHELD)
        } else if meant.iter().any(|(issuer, scope)| gateway.has_crl(issuer, *scope)) {
            withheld(TO_COME)
        } else {
            not_found()
        };
    };
    let (kind, body, etag) = if is_pem {
        let Ok(text) = crl.to_pem() else { return not_found() };
        ("application/x-pem-file", text, format!("\"{}-pem\"", crl.etag))
    } else {
        ("application/pkix-crl", crl.der.clone(), format!("\"{}\"", crl.etag))
    };
    let (now, last_modified) = (gateway.now(), crl.last_modified());
    let validators = Validators { etag: &etag, last_modified };
    if precondition_fails(request.headers(), &validators) {
        return precondition_failed();
    }
    let mut response = typed(kind, body.clone());
    let left = crl.next_update.since(now).as_secs().min(MAX_AGE);
    let headers = response.headers_mut();
    insert(headers, ETAG, etag.clone());
    insert(headers, LAST_MODIFIED, crl.this_update.to_http_date());
    insert(headers, EXPIRES, crl.next_update.to_http_date());
    insert(headers, CACHE_CONTROL, format!("max-age={left}, public, no-transform, must-revalidate"));
    if conditional::is_known(request.method(), request.headers(), etag.as_bytes(), last_modified, now) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
        return response;
    }
    partial(request.method(), request.headers(), &validators, response, &body)
}

/// Whether a file name wants a CRL as PEM, and the CRLs that it may mean: an issuer's name may end in `-delta`, too.
fn lists_named(file: &str) -> (bool, Vec<(IssuerId, CrlScope)>) {
    let pem = file.strip_suffix(".crl.pem").or_else(|| file.strip_suffix(".pem"));
    let Some(stem) = pem.or_else(|| file.strip_suffix(".crl")) else { return (false, Vec::new()) };
    let of = |issuer: &str, scope| issuer.parse().ok().map(|issuer| (issuer, scope));
    let meant: Vec<_> = if let Some((issuer, place)) = stem.split_once('/') {
        partition(place).and_then(|it| of(issuer, CrlScope::Partition(it))).into_iter().collect()
    } else {
        let delta = stem.strip_suffix("-delta").and_then(|issuer| of(issuer, CrlScope::Delta));
        of(stem, CrlScope::Full).into_iter().chain(delta).collect()
    };
    (pem.is_some(), meant)
}

/// `{of}/{index}`.
fn partition(place: &str) -> Option<Partition> {
    let (of, index) = place.split_once('/')?;
    Some(Partition { of: number(of)?, index: number(index)? })
}

/// Written in one way only: a URL in a certificate is compared byte for byte.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|number: &u16| number.to_string() == text)
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
