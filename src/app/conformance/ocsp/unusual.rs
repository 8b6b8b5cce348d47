//! What proxies, old clients and attackers make of requests: RFC 6960 A.1 and RFC 9110 as gear speaks them, requests that say more than they need
//! (RFC 9919 §3.1.2), and more than anybody needs.

use const_oid::db::rfc6960;

use super::{OcspSuite, REQUEST_TYPE, Told, cannot_make, parsed, request::same_status, status_name};
use crate::{
    app::{
        client::{
            http::{HttpError, Manner, Response},
            key::ClientKey,
        },
        conformance::{
            Check, Checked,
            Level::{May, Must, Should},
            Remark, check, ensure,
        },
    },
    types::{DigestAlgorithm, KeyAlgorithm, SerialNumber},
    wire::{
        Unsigned,
        der::{
            reader::{Element, context},
            writer,
        },
        ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse},
    },
};

/// More certificates than anybody asks for at once.
const MANY: usize = 200;

/// A body of which a responder should read no more than a part.
const HUGE: usize = 1024 * 1024;

/// HTTP of 1996, without a Host header.
const OLD: Manner = Manner { old_http: true, host: false, accept: false, user_agent: None, get_type: None };

pub(super) fn checks<'a>() -> Vec<Check<OcspSuite<'a>>> {
    vec![
        check("6960-A.1-get-base64url", May, "a request by GET in base64url is answered", get_base64url),
        check(
            "6960-A.1-get-unpadded",
            May,
            "a request by GET without the padding of base64 is answered",
            get_unpadded,
        ),
        check(
            "6960-A.1-get-space",
            May,
            "a request by GET whose + became a space on its way is answered",
            get_space,
        ),
        check(
            "6960-A.1-get-slashes",
            May,
            "a request by GET with a second slash before it is answered",
            get_slashes,
        ),
        check(
            "6960-A.1-post-media-type",
            May,
            "a request by POST without Content-Type is answered",
            post_untyped,
        ),
        check(
            "6960-A.1-post-http-1.0",
            May,
            "a request by POST over HTTP/1.0 without Host is answered",
            post_old,
        ),
        check(
            "9110-10.1.1-continue",
            Should,
            "a request by POST with Expect: 100-continue is answered",
            post_expecting,
        ),
        check("9110-9.3.2-head", May, "HEAD is answered as GET, without a body", head),
        check(
            "9110-15.5.6-method",
            Should,
            "a method that is neither GET nor POST is refused with an HTTP error of the client",
            method,
        ),
        check(
            "6960-4.2.1-cert-id",
            Must,
            "a CertID whose hash has no parameters is repeated as it came",
            bare_hash,
        ),
        check(
            "6960-4.4.1-bare-nonce",
            May,
            "a nonce without an OCTET STRING in it, as clients before RFC 8954 send it, is repeated or ignored",
            bare_nonce,
        ),
        check(
            "9919-3.1.2-requestor-name",
            Must,
            "requestorName in a request that is not signed is treated as absent",
            requestor_name,
        ),
        check("9919-3.1.2-signed", May, "a signed request is answered, whoever signed it", signed),
        check("6960-2.1-many", Should, "a request for 200 certificates has a defined answer", many),
        check(
            "6960-2.3-no-certificate",
            Should,
            "a request for no certificate is malformedRequest",
            no_certificate,
        ),
        check(
            "6960-2.3-trailing",
            Should,
            "a request with something behind it is malformedRequest",
            trailing,
        ),
        check("6960-2.3-oversize", Should, "a body of a megabyte is refused", oversize),
        check("6960-4.2.1-error-body", Must, "an error has no responseBytes", error_body),
    ]
}

// By GET.

fn text_of(request: &OcspRequest) -> Checked<String> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    Ok(BASE64_STANDARD.encode(request.to_der().map_err(cannot_make)?))
}

/// A request for the good certificate whose text is as wanted: nonces of several lengths are tried.
fn text_that(suite: &OcspSuite<'_>, wanted: impl Fn(&str) -> bool) -> Checked<String> {
    for attempt in 0..200 {
        let nonce = suite.random.bytes::<32>();
        let nonce = nonce.get(..16 + attempt % 16).unwrap_or(&nonce);
        let text = text_of(&OcspRequest::new(vec![suite.usual_id()?], Some(nonce)))?;
        if wanted(&text) {
            return Ok(text);
        }
    }
    Err(cannot_make("no request has such a text"))
}

/// Passes where `text` by GET is answered for the good certificate.
fn answered(suite: &mut OcspSuite<'_>, text: &str) -> Checked {
    let url = suite.url_of(text);
    let told = Told::read(suite.get(&url)?)?;
    good(suite, &told)
}

fn good(suite: &OcspSuite<'_>, told: &Told) -> Checked {
    let status = told.of(&suite.usual_id()?)?.status;
    ensure(status == CertStatus::Good, || format!("{} for the certificate of --cert", status_name(status)))
}

/// Percent-encoded, so that the letters of base64 alone differ.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn get_base64url(suite: &mut OcspSuite<'_>) -> Checked {
    let text = text_that(suite, |text| text.contains('+') && text.contains('/'))?;
    let text = text.replace('+', "-").replace('/', "_");
    answered(suite, &text)
}

fn get_unpadded(suite: &mut OcspSuite<'_>) -> Checked {
    let text = text_that(suite, |text| text.ends_with('='))?;
    answered(suite, &encoded(text.trim_end_matches('=')))
}

fn get_space(suite: &mut OcspSuite<'_>) -> Checked {
    let text = text_that(suite, |text| text.contains('+'))?;
    answered(suite, &encoded(&text.replace('+', " ")))
}

fn get_slashes(suite: &mut OcspSuite<'_>) -> Checked {
    let text = text_of(&OcspRequest::new(vec![suite.usual_id()?], None))?;
    answered(suite, &format!("/{}", encoded(&text)))
}

// HTTP.

fn post_untyped(suite: &mut OcspSuite<'_>) -> Checked {
    let manner = Manner { old_http: false, host: true, ..OLD };
    post_as(suite, manner, None)
}

fn post_old(suite: &mut OcspSuite<'_>) -> Checked {
    post_as(suite, OLD, Some(REQUEST_TYPE))
}

fn post_as(suite: &mut OcspSuite<'_>, manner: Manner, media_type: Option<&str>) -> Checked {
    let (url, request) = (suite.options.url.clone(), suite.request(None)?);
    let response =
        suite.line.exchange(|http| http.exchange_as(&manner, &url, Some((media_type, request))))?;
    let told = Told::read(response)?;
    good(suite, &told)
}

fn post_expecting(suite: &mut OcspSuite<'_>) -> Checked {
    let (url, request) = (suite.options.url.clone(), suite.request(None)?);
    let response = suite.line.exchange(|http| http.post_expecting(&url, REQUEST_TYPE, request))?;
    let told = Told::read(response)?;
    good(suite, &told)
}

fn head(suite: &mut OcspSuite<'_>) -> Checked {
    let url = suite.get_url(&suite.request(None)?);
    let response = suite.line.exchange(|http| http.head(&url))?;
    let (status, media_type) = (response.status.as_u16(), response.media_type());
    ensure(status == 200 && media_type.eq_ignore_ascii_case(super::RESPONSE_TYPE), || {
        format!("HTTP {status}, Content-Type \"{media_type}\"")
    })
}

/// RFC 9110 §15.5.6.
fn method(suite: &mut OcspSuite<'_>) -> Checked {
    let url = suite.get_url(&suite.request(None)?);
    let status = suite.line.exchange(|http| http.delete(&url))?.status.as_u16();
    ensure(matches!(status, 400..=499 | 501), || format!("HTTP {status} to DELETE"))
}

// Requests that say less or more.

/// RFC 3370 §2.1: the parameters of SHA-1 are NULL or absent.
fn bare_hash(suite: &mut OcspSuite<'_>) -> Checked {
    let usual = suite.usual_id()?;
    let bare =
        without_parameters(&usual).ok_or_else(|| cannot_make("the CertID is not in the usual form"))?;
    let told = Told::read(suite.post(&asking(&[bare.as_der()], &[], &[]))?)?;
    let status = told.of(&bare)?.status;
    ensure(status == CertStatus::Good, || format!("{} for the certificate of --cert", status_name(status)))
}

fn without_parameters(id: &CertId) -> Option<CertId> {
    let mut fields = Element::only(id.as_der()).ok()?.open();
    let algorithm = fields.any().ok()?.open().any().ok()?.encoding;
    let mut parts = vec![writer::sequence(&[algorithm])];
    while !fields.is_empty() {
        parts.push(fields.any().ok()?.encoding.to_vec());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    CertId::from_der(&writer::sequence(&parts)).ok()
}

/// A request for these CertIDs with other fields before the list and behind it.
fn asking(ids: &[&[u8]], before: &[u8], behind: &[u8]) -> Vec<u8> {
    writer::sequence(&[&to_be_asked(ids, before, behind)])
}

fn to_be_asked(ids: &[&[u8]], before: &[u8], behind: &[u8]) -> Vec<u8> {
    let list: Vec<u8> = ids.iter().flat_map(|id| writer::sequence(&[id])).collect();
    writer::sequence(&[before, &writer::sequence(&[&list]), behind])
}

fn bare_nonce(suite: &mut OcspSuite<'_>) -> Checked {
    // No OCTET STRING begins so.
    let raw = [&[0xaa], &suite.random.bytes::<15>()[..]].concat();
    let nonce = writer::sequence(&[&writer::oid(rfc6960::ID_PKIX_OCSP_NONCE), &writer::octets(&raw)]);
    let extensions = writer::sequence(&[&nonce]);
    let extensions = writer::element(context(2), &[&extensions]);
    let told = Told::read(suite.post(&asking(&[suite.usual_id()?.as_der()], &[], &extensions))?)?;
    good(suite, &told)?;
    match &told.basic.nonce {
        None => Ok(()),
        Some(got) => ensure(*got == raw, || "the answer has another nonce".to_owned()),
    }
}

/// `[1] EXPLICIT GeneralName`, a directoryName.
fn requestor(suite: &OcspSuite<'_>) -> Vec<u8> {
    let name = suite.options.certificate.subject().as_der();
    writer::element(context(1), &[&writer::element(context(4), &[name])])
}

fn requestor_name(suite: &mut OcspSuite<'_>) -> Checked {
    let request = asking(&[suite.usual_id()?.as_der()], &requestor(suite), &[]);
    let told = Told::read(suite.post(&request)?)?;
    same_status(suite, &told)
}

/// RFC 9919 §3.1.2: a responder may ignore the signature.
fn signed(suite: &mut OcspSuite<'_>) -> Checked {
    let key = ClientKey::generate(KeyAlgorithm::P256).map_err(cannot_make)?;
    let asked = to_be_asked(&[suite.usual_id()?.as_der()], &requestor(suite), &[]);
    let whole =
        key.finish(Unsigned::signed(asked.clone(), key.signature_algorithm())).map_err(cannot_make)?;
    // What was signed, then algorithm and bits.
    let content = Element::only(&whole).map_err(cannot_make)?.content;
    let signature = writer::sequence(&[content.get(asked.len()..).unwrap_or_default()]);
    let request = writer::sequence(&[&asked, &writer::element(context(0), &[&signature])]);
    let told = Told::read(suite.post(&request)?)?;
    same_status(suite, &told)
}

fn many(suite: &mut OcspSuite<'_>) -> Checked {
    let serials = (0..MANY).map(|_| SerialNumber::from_random(suite.random.bytes()));
    let serials: Vec<_> = serials.collect();
    let ids: Checked<Vec<_>> =
        serials.iter().map(|serial| suite.cert_id(DigestAlgorithm::Sha1, serial)).collect();
    let ids = ids?;
    let request = asking(&ids.iter().map(CertId::as_der).collect::<Vec<_>>(), &[], &[]);
    let response = suite.post(&request)?;
    if matches!(response.status.as_u16(), 400..=499) {
        return Ok(());
    }
    match parsed(&response)? {
        OcspResponse::Error(_) => Ok(()),
        OcspResponse::Successful(basic) => ensure(basic.responses.len() == MANY, || {
            format!("asked for {MANY} certificates, answered for {}", basic.responses.len())
        }),
    }
}

fn no_certificate(suite: &mut OcspSuite<'_>) -> Checked {
    super::request::malformed(suite, &asking(&[], &[], &[]))
}

fn trailing(suite: &mut OcspSuite<'_>) -> Checked {
    let request = [&suite.request(None)?[..], b"\x05\x00"].concat();
    super::request::malformed(suite, &request)
}

/// Whoever hangs up has refused, too.
fn oversize(suite: &mut OcspSuite<'_>) -> Checked {
    let (url, body) = (suite.options.url.clone(), vec![0x30; HUGE]);
    let response = match suite.line.attempt(|http| http.post(&url, REQUEST_TYPE, body)) {
        Ok(response) => response,
        Err(HttpError::Broken { .. }) => return Ok(()),
        Err(error) => return Err(Remark::failed(format_args!("no answer: {error}"))),
    };
    refused(&response)
}

fn refused(response: &Response) -> Checked {
    let status = response.status.as_u16();
    let error = OcspResponse::from_der(&response.body);
    ensure(matches!(status, 400..=499) || matches!(error, Ok(OcspResponse::Error(_))), || {
        format!("HTTP {status}, {} octets", response.body.len())
    })
}

/// RFC 6960 §4.2.1: responseBytes come with successful alone.
fn error_body(suite: &mut OcspSuite<'_>) -> Checked {
    let response = suite.post(b"certgate conformance: this is no OCSPRequest")?;
    let OcspResponse::Error(error) = parsed(&response)? else {
        return Err(Remark::skipped("what is no request was answered without an error"));
    };
    let expected: [u8; 5] = ErrorStatus::to_der(error);
    ensure(response.body == expected[..], || {
        format!(
            "{} with {} octets; the status alone has {}",
            error.as_str(),
            response.body.len(),
            expected.len()
        )
    })
}
