//! GetCACaps (RFC 8894 §3.5), GetCACert (§4.2), GetNextCACert (§4.7), and HTTP as gear speaks it (§4.1).

use super::ScepSuite;
use crate::{
    app::{
        client::http::Response,
        conformance::{
            Check, Checked,
            Level::{May, Must, Should},
            Remark, check, ensure,
        },
    },
    wire::{
        cms::signed::{Signature, SignedData},
        der::normalise,
        scep::{Degenerate, client::CaCertificates},
        x509::{Certificate, KeyUsage},
    },
};

/// RFC 8894 §3.5.2; the last two are in no RFC and widely used.
const KEYWORDS: [&str; 11] = [
    "AES",
    "DES3",
    "GetNextCACert",
    "POSTPKIOperation",
    "Renewal",
    "SHA-1",
    "SHA-256",
    "SHA-512",
    "SCEPStandard",
    "SHA-384",
    "Update",
];

pub(super) fn checks<'a>() -> Vec<Check<ScepSuite<'a>>> {
    vec![
        check("8894-3.5.1-getcacaps", Must, "GetCACaps is answered with HTTP 200 and keywords", answered),
        check("8894-3.5.2-media-type", Should, "GetCACaps has the media type text/plain", caps_media_type),
        check(
            "8894-3.5.2-keywords",
            Should,
            "GetCACaps has known keywords alone, in their exact case",
            keywords,
        ),
        check("8894-2.9-algorithms", Should, "AES, SHA-256 and POSTPKIOperation are offered", mandatory),
        check(
            "8894-4.2-getcacert",
            Must,
            "GetCACert gives readable certificates, one of them with an RSA key",
            ca,
        ),
        check(
            "8894-4.2.1-media-type",
            Must,
            "one certificate comes as application/x-x509-ca-cert, several as application/x-x509-ca-ra-cert",
            ca_media_type,
        ),
        check("8894-3.4-degenerate", Must, "a bundle is SignedData without content and signers", degenerate),
        check(
            "8894-2.1.2-key-usage",
            Must,
            "the certificates for messages allow digitalSignature and keyEncipherment",
            key_usage,
        ),
        check("8894-4.2-valid", Must, "the certificates of GetCACert are valid now", valid_now),
        check("8894-4.2-chain", Should, "the message certificate is signed by a CA of GetCACert", chain),
        check("8894-4.7-getnextcacert", May, "GetNextCACert is answered as GetCACaps announces it", next_ca),
        check(
            "8894-4.7.1-signed",
            Must,
            "GetNextCACert's answer is SignedData that the present CA signed",
            next_ca_signed,
        ),
        check(
            "8894-4.7.1-content",
            Must,
            "its content is degenerate SignedData with a CA certificate that GetCACert does not have",
            next_ca_content,
        ),
        check("8894-4.1-path", Should, "pkiclient.exe behind the path is answered as the path alone", path),
        check(
            "8894-4.1-method",
            Should,
            "a method that is neither GET nor POST is refused with an HTTP error of the client",
            method,
        ),
        check(
            "8894-4.1-http-1.0",
            May,
            "HTTP/1.0 without Host is answered: old network gear sends it",
            old_http,
        ),
        check(
            "8894-4.1-unknown-operation",
            Should,
            "an unknown operation is refused with an HTTP error that does not blame the server",
            unknown_operation,
        ),
        check(
            "8894-4.1-no-operation",
            Should,
            "a request without operation is refused in the same way",
            no_operation,
        ),
    ]
}

fn answered(suite: &mut ScepSuite<'_>) -> Checked {
    let capabilities = suite.capabilities()?;
    let (response, keywords) = (&capabilities.0, capabilities.1.keywords());
    ensure(response.status.is_success(), || format!("HTTP {}", response.status.as_u16()))?;
    ensure(keywords.iter().any(|keyword| KEYWORDS.contains(&keyword.as_str())), || {
        "the answer holds none of the keywords of RFC 8894; clients will use triple DES, SHA-1 and GET"
            .to_owned()
    })
}

/// The answer to GetCACaps, where there is one.
fn caps(
    suite: &mut ScepSuite<'_>,
) -> Checked<std::rc::Rc<(Response, crate::wire::scep::client::Capabilities)>> {
    let capabilities = suite.capabilities();
    let usable = capabilities.ok().filter(|capabilities| capabilities.0.status.is_success());
    usable.ok_or_else(|| Remark::skipped("GetCACaps was not answered"))
}

fn caps_media_type(suite: &mut ScepSuite<'_>) -> Checked {
    let capabilities = caps(suite)?;
    let media_type = capabilities.0.media_type();
    ensure(media_type.eq_ignore_ascii_case("text/plain"), || format!("Content-Type \"{media_type}\""))
}

fn keywords(suite: &mut ScepSuite<'_>) -> Checked {
    let capabilities = caps(suite)?;
    let unknown: Vec<_> =
        capabilities.1.keywords().iter().filter(|known| !KEYWORDS.contains(&known.as_str())).collect();
    let other_case =
        unknown.iter().find(|word| KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(word)));
    if let Some(word) = other_case {
        return Err(Remark::failed(format_args!("\"{word}\": clients compare the case, too")));
    }
    let text = String::from_utf8_lossy(&capabilities.0.body);
    if text.trim_end_matches(['\r', '\n']).lines().any(|line| line.trim() != line || line.is_empty()) {
        return Err(Remark::warning(
            "blank lines or spaces around keywords: some clients compare whole lines",
        ));
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown: Vec<_> = unknown.iter().map(|word| word.chars().take(40).collect::<String>()).collect();
    Err(Remark::warning(format_args!("keywords that RFC 8894 does not have: {}", unknown.join(", "))))
}

fn mandatory(suite: &mut ScepSuite<'_>) -> Checked {
    let capabilities = caps(suite)?;
    let missing: Vec<_> = ["AES", "SHA-256", "POSTPKIOperation"]
        .into_iter()
        .filter(|keyword| !capabilities.1.has(keyword))
        .collect();
    ensure(missing.is_empty(), || {
        format!("not offered, so clients use something weaker: {}", missing.join(", "))
    })
}

fn ca(suite: &mut ScepSuite<'_>) -> Checked {
    suite.ca().map(drop)
}

fn ca_media_type(suite: &mut ScepSuite<'_>) -> Checked {
    let ca = suite.known_ca()?;
    let expected = if ca.is_bundle { "application/x-x509-ca-ra-cert" } else { "application/x-x509-ca-cert" };
    let got = ca.response.media_type();
    ensure(got.eq_ignore_ascii_case(expected), || format!("Content-Type \"{got}\" where {expected} belongs"))
}

fn degenerate(suite: &mut ScepSuite<'_>) -> Checked {
    let ca = suite.known_ca()?;
    if !ca.is_bundle {
        return Err(Remark::not_applicable("GetCACert gives one certificate alone"));
    }
    let der = normalise(&ca.response.body).map_err(Remark::failed)?;
    is_degenerate(&SignedData::read(&der).map_err(Remark::failed)?)
}

/// RFC 8894 §3.4.
pub(super) fn is_degenerate(data: &SignedData<'_>) -> Checked {
    ensure(data.signers.is_empty(), || "there is a signer".to_owned())?;
    match data.content {
        None => Ok(()),
        Some([]) => Err(Remark::warning("the content is there and empty; it must be left out")),
        Some(_) => Err(Remark::failed("there is content; it must be left out")),
    }
}

fn key_usage(suite: &mut ScepSuite<'_>) -> Checked {
    let ca = suite.known_ca()?;
    let recipient = &ca.certificates.recipient;
    // A pair of RA certificates shares the two usages (Microsoft's NDES has two of them).
    let for_messages: Vec<&Certificate> = if recipient.is_ca() {
        vec![recipient]
    } else {
        ca.certificates.all.iter().filter(|certificate| !certificate.is_ca()).collect()
    };
    if for_messages.iter().any(|certificate| certificate.key_usage().is_none()) {
        return Err(Remark::warning("there is no keyUsage extension, which allows everything"));
    }
    let usage = for_messages
        .iter()
        .filter_map(|certificate| certificate.key_usage())
        .reduce(KeyUsage::union)
        .ok_or_else(|| Remark::failed("there is no certificate for messages"))?;
    let needed = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT);
    ensure(usage.contains(needed), || {
        format!("\"{}\" allows {} only", recipient.subject(), usage.names().collect::<Vec<_>>().join(", "))
    })
}

fn valid_now(suite: &mut ScepSuite<'_>) -> Checked {
    let now = suite.now();
    let ca = suite.known_ca()?;
    let stale = ca.certificates.all.iter().find(|certificate| !certificate.validity().contains(now));
    stale.map_or(Ok(()), |certificate| {
        let validity = certificate.validity();
        let (subject, from, to) = (certificate.subject(), validity.not_before, validity.not_after);
        Err(Remark::failed(format_args!("\"{subject}\" is valid from {from} to {to} (now is {now})")))
    })
}

fn chain(suite: &mut ScepSuite<'_>) -> Checked {
    let ca = suite.known_ca()?;
    let recipient = &ca.certificates.recipient;
    let known = |ca: &Certificate| ca.is_ca() && recipient.is_signed_by(ca).is_ok();
    ensure(recipient.is_ca() || ca.certificates.all.iter().any(known), || {
        format!("no CA certificate in the answer signed \"{}\"", recipient.subject())
    })
}

fn next_ca(suite: &mut ScepSuite<'_>) -> Checked {
    let announced = suite.offers("GetNextCACert");
    let url = suite.discovery("GetNextCACert");
    let response = suite.line.exchange(|http| http.get(&url))?;
    let (status, media_type) = (response.status, response.media_type());
    let is_answer = status.is_success() && media_type == "application/x-x509-next-ca-cert";
    match (announced, is_answer) {
        (true, true) => Ok(()),
        (false, true) => Err(Remark::warning("it is answered, but GetCACaps does not announce it")),
        (true, false) => Err(Remark::failed(format_args!(
            "GetCACaps announces it, but the answer is HTTP {} with Content-Type \"{media_type}\"",
            status.as_u16()
        ))),
        (false, false) => ensure(!status.is_success(), || {
            format!("HTTP {} with Content-Type \"{media_type}\" for what is not offered", status.as_u16())
        }),
    }
}

/// RFC 8894 §4.7.1: nothing else says that the next CA is the present one's successor.
fn next_ca_signed(suite: &mut ScepSuite<'_>) -> Checked {
    let (body, ca) = next_ca_answer(suite)?;
    let der = normalise(&body).map_err(Remark::failed)?;
    let data = SignedData::read(&der).map_err(Remark::failed)?;
    ensure(!data.signers.is_empty(), || {
        "nobody signed it: whoever is on the way can name a next CA".to_owned()
    })?;
    let signed_by = |certificate: &&Certificate| {
        data.signers.iter().filter(|signer| signer.names(certificate)).any(|signer| {
            let signature = Signature::of(&data, signer);
            signature.is_some_and(|signature| signature.check(certificate.public_key()).is_ok())
        })
    };
    let signers: Vec<_> = ca.certificates.all.iter().filter(signed_by).collect();
    if signers.iter().any(|signer| signer.is_ca()) {
        return Ok(());
    }
    match signers.first() {
        // The drafts before the RFC let the RA do it.
        Some(ra) => {
            Err(Remark::warning(format_args!("signed by \"{}\", which is no CA certificate", ra.subject())))
        }
        None => Err(Remark::failed("no certificate of GetCACert verifies its signature")),
    }
}

fn next_ca_content(suite: &mut ScepSuite<'_>) -> Checked {
    let (body, ca) = next_ca_answer(suite)?;
    let der = normalise(&body).map_err(Remark::failed)?;
    let content = SignedData::read(&der).map_err(Remark::failed)?.content;
    let content = content.ok_or_else(|| Remark::failed("there is no content"))?;
    let inner = normalise(content).map_err(Remark::failed)?;
    is_degenerate(
        &SignedData::read(&inner)
            .map_err(|error| Remark::failed(format_args!("the content is no SignedData: {error}")))?,
    )?;
    let next = Degenerate::from_ber(content).map_err(Remark::failed)?.certificates;
    let is_new = |certificate: &Certificate| certificate.is_ca() && !ca.certificates.has(certificate);
    ensure(next.iter().any(is_new), || {
        format!("{} certificates in it, and none is a CA's that GetCACert does not have", next.len())
    })
}

fn next_ca_answer(suite: &mut ScepSuite<'_>) -> Checked<(bytes::Bytes, std::rc::Rc<super::Ca>)> {
    if !suite.offers("GetNextCACert") {
        return Err(Remark::not_applicable("GetCACaps does not announce GetNextCACert"));
    }
    let url = suite.discovery("GetNextCACert");
    let response = suite.line.exchange(|http| http.get(&url))?;
    Ok((response.body, suite.known_ca()?))
}

/// RFC 8894 §4.7: the CA's certificates after its rollover.
pub(super) fn next_certificates(suite: &mut ScepSuite<'_>) -> Checked<CaCertificates> {
    let (body, ca) = next_ca_answer(suite)?;
    crate::wire::scep::client::next_ca(&body, &ca.certificates).map_err(Remark::failed)
}

fn path(suite: &mut ScepSuite<'_>) -> Checked {
    let usual = caps(suite)?;
    let (url, query) = (suite.options.url.clone(), suite.discovery("GetCACaps"));
    let query = query.strip_prefix(url.trim_end_matches('?')).unwrap_or_default();
    let url = format!("{}/pkiclient.exe{query}", url.trim_end_matches(['?', '/']));
    let response = suite.line.exchange(|http| http.get(&url))?;
    ensure(response.body == usual.0.body, || {
        format!("HTTP {}: Cisco and Windows append it", response.status.as_u16())
    })
}

/// RFC 9110 §15.5.6.
fn method(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.discovery("GetCACaps");
    let response = suite.line.exchange(|http| http.delete(&url))?;
    client_error(&response)
}

fn old_http(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.discovery("GetCACaps");
    let response = suite.line.exchange(|http| http.get_as_old_gear(&url))?;
    let same = suite.capabilities().is_ok_and(|usual| usual.0.body == response.body);
    ensure(response.status.is_success() && same, || {
        format!("HTTP {}, another answer than to HTTP/1.1 with Host", response.status.as_u16())
    })
}

fn unknown_operation(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.operation("ConformanceNoSuchOperation");
    let response = suite.line.exchange(|http| http.get(&url))?;
    client_error(&response)
}

fn no_operation(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.options.url.clone();
    let response = suite.line.exchange(|http| http.get(&url))?;
    client_error(&response)
}

/// A refusal that says that the request is wrong, and not that the server is.
pub(super) fn client_error(response: &Response) -> Checked {
    match response.status.as_u16() {
        400..=499 | 501 => Ok(()),
        status => {
            Err(Remark::failed(format_args!("HTTP {status}; an HTTP error of the client (4xx) belongs here")))
        }
    }
}
