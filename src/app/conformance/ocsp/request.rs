//! What a responder must understand (RFC 6960 §4.1, A.1; RFC 9654), and what is wrong with requests (§2.3).

use base64::prelude::{BASE64_STANDARD, Engine};
use const_oid::ObjectIdentifier;

use super::{OcspSuite, RESPONSE_TYPE, Told, cannot_make, parsed, status_name};
use crate::{
    app::{
        client::{http::Response, key::ClientKey},
        conformance::{
            Check, Checked,
            Level::{May, Must, Should},
            Remark, check, ensure,
        },
    },
    types::{DigestAlgorithm, KeyAlgorithm, SerialNumber},
    wire::{
        der::{
            reader::{BOOLEAN, context},
            writer,
        },
        ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse},
    },
};

pub(super) fn checks<'a>() -> Vec<Check<OcspSuite<'a>>> {
    vec![
        check("6960-A.1-post", Must, "a request by POST is answered with HTTP 200", post),
        check(
            "6960-A.1-media-type",
            Must,
            "the answer has the media type application/ocsp-response",
            media_type,
        ),
        check("6960-A.1-get", Must, "a request by GET, percent-encoded, is answered as by POST", get),
        check(
            "6960-A.1-get-raw",
            Should,
            "a request by GET with raw + and / is answered: many clients do not encode them",
            get_raw,
        ),
        check(
            "6960-A.1-get-line-end",
            May,
            "a request by GET with a line end behind it is answered",
            get_line_end,
        ),
        check("6960-4.1.1-sha-1", Should, "a CertID with SHA-1 is answered under the same CertID", |suite| {
            hash(suite, DigestAlgorithm::Sha1)
        }),
        check(
            "9919-3.1.1-sha-256",
            Must,
            "a CertID with SHA-256 is answered under the same CertID",
            |suite| hash(suite, DigestAlgorithm::Sha256),
        ),
        check("6960-2.1-several", Should, "a request for two certificates is answered for both", several),
        check("9654-2.1-nonce-32", Must, "a nonce of 32 bytes is repeated", |suite| nonce(suite, 32)),
        check("9654-2.1-nonce-16", Must, "a nonce of 16 bytes is repeated", |suite| nonce(suite, 16)),
        check("9654-2.1-nonce-1", Should, "a nonce of 1 byte is repeated or ignored", |suite| {
            nonce(suite, 1)
        }),
        check("9654-2.1-nonce-128", Should, "a nonce of 128 bytes is repeated or ignored", |suite| {
            nonce(suite, 128)
        }),
        check("9654-2.1-nonce-129", Must, "a nonce of 129 bytes is malformedRequest", |suite| {
            wrong_nonce(suite, 129)
        }),
        check("9654-2.1-nonce-0", Must, "an empty nonce is malformedRequest", |suite| wrong_nonce(suite, 0)),
        check(
            "6960-4.4-unknown-extension",
            Must,
            "an unknown extension that is not critical is ignored",
            |suite| unknown_extension(suite, false),
        ),
        check("6960-4.4-critical-extension", Should, "an unknown critical extension is refused", |suite| {
            unknown_extension(suite, true)
        }),
    ]
}

pub(super) fn wrong_requests<'a>() -> Vec<Check<OcspSuite<'a>>> {
    vec![
        check("6960-2.3-garbage", Must, "a body that is no request is malformedRequest", |suite| {
            malformed(suite, b"certgate conformance: this is no OCSPRequest")
        }),
        check("6960-2.3-empty", Must, "an empty body is malformedRequest", |suite| malformed(suite, &[])),
        check("6960-2.3-truncated", Must, "a request that was cut off is malformedRequest", |suite| {
            let request = suite.request(None)?;
            malformed(suite, request.get(..request.len() / 2).unwrap_or_default())
        }),
        check("6960-2.3-get-garbage", Should, "a GET without a request is malformedRequest", get_garbage),
        check("9919-7.2-error-caching", Should, "errors are not to be cached", error_caching),
    ]
}

fn post(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.usual()?;
    let status = told.response.status.as_u16();
    ensure(status == 200, || format!("HTTP {status}"))
}

fn media_type(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_answer()?;
    let got = told.response.media_type();
    ensure(got.eq_ignore_ascii_case(RESPONSE_TYPE), || format!("Content-Type \"{got}\""))
}

fn get(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.by_get()?;
    same_status(suite, &told)
}

/// The answer is about the usual certificate and says what the usual answer says.
pub(super) fn same_status(suite: &mut OcspSuite<'_>, told: &Told) -> Checked {
    let id = suite.usual_id()?;
    let got = told.of(&id)?.status;
    let usual = suite.known_answer()?.of(&id)?.status;
    ensure(got == usual, || format!("{} here, {} by POST", status_name(got), status_name(usual)))
}

fn get_raw(suite: &mut OcspSuite<'_>) -> Checked {
    let (id, text) = raw_text(suite)?;
    let url = suite.url_of(&text);
    let told = Told::read(suite.get(&url)?)?;
    let status = told.of(&id)?.status;
    ensure(status == CertStatus::Good, || format!("{} for the certificate of --cert", status_name(status)))
}

/// A request whose text has both characters, and no `//`, which is another question: nonces are tried until there is one, under either hash, for
/// a CertID may have a `//` of its own.
fn raw_text(suite: &OcspSuite<'_>) -> Checked<(CertId, String)> {
    const ATTEMPTS: usize = 200;
    for attempt in 0..ATTEMPTS {
        let hash = if attempt % 2 == 0 { DigestAlgorithm::Sha1 } else { DigestAlgorithm::Sha256 };
        let id = suite.cert_id(hash, suite.options.certificate.serial())?;
        let request = OcspRequest::new(vec![id.clone()], Some(&suite.random.bytes::<32>()));
        let text = BASE64_STANDARD.encode(request.to_der().map_err(cannot_make)?);
        if text.contains('+') && text.contains('/') && !text.contains("//") {
            return Ok((id, text));
        }
    }
    Err(cannot_make("no request has + and / and no //"))
}

fn get_line_end(suite: &mut OcspSuite<'_>) -> Checked {
    let url = suite.get_url(&suite.request(None)?) + "%0A";
    let told = Told::read(suite.get(&url)?)?;
    same_status(suite, &told)
}

fn hash(suite: &mut OcspSuite<'_>, hash: DigestAlgorithm) -> Checked {
    let id = suite.cert_id(hash, suite.options.certificate.serial())?;
    let request = OcspRequest::new(vec![id.clone()], None).to_der().map_err(cannot_make)?;
    let told = Told::read(suite.post(&request)?)?;
    let status = told.of(&id)?.status;
    ensure(status == CertStatus::Good, || format!("{} for the certificate of --cert", status_name(status)))
}

fn several(suite: &mut OcspSuite<'_>) -> Checked {
    let other = suite.options.revoked.as_ref().map(|revoked| revoked.serial().clone());
    let other = other.unwrap_or_else(|| SerialNumber::from_random(suite.random.bytes()));
    let ids = [suite.usual_id()?, suite.cert_id(DigestAlgorithm::Sha1, &other)?];
    let request = OcspRequest::new(ids.to_vec(), None).to_der().map_err(cannot_make)?;
    let told = Told::read(suite.post(&request)?)?;
    ids.iter().try_for_each(|id| told.of(id).map(drop)).map_err(|_| {
        Remark::failed(format_args!("asked for 2 certificates, answered for {}", told.basic.responses.len()))
    })
}

fn ask_with_nonce(suite: &mut OcspSuite<'_>, length: usize) -> Checked<(Option<Vec<u8>>, Response)> {
    let mut nonce = vec![0; length];
    suite.random.fill(&mut nonce);
    let request = OcspRequest::new(vec![suite.usual_id()?], Some(&nonce));
    let response = suite.post(&request.to_der().map_err(cannot_make)?)?;
    Ok((request.nonce, response))
}

fn nonce(suite: &mut OcspSuite<'_>, length: usize) -> Checked {
    let (sent, response) = ask_with_nonce(suite, length)?;
    let told = Told::read(response)?;
    told.of(&suite.usual_id()?)?;
    match &told.basic.nonce {
        // RFC 9654 §2.1: of less than 16 octets it may.
        None if length < 16 => Ok(()),
        // RFC 9919 §3.2.1: a responder may answer with what it made before.
        None => Err(Remark::warning(
            "ignored: clients that insist on their nonce (FreeRADIUS, FortiWeb) refuse the answer",
        )),
        got => ensure(*got == sent, || {
            "the answer has another nonce: clients take it for a replayed one".to_owned()
        }),
    }
}

fn wrong_nonce(suite: &mut OcspSuite<'_>, length: usize) -> Checked {
    let (_, response) = ask_with_nonce(suite, length)?;
    let refused = expect_error(&response, &[ErrorStatus::MalformedRequest]);
    let was_ignored = matches!(parsed(&response)?, OcspResponse::Successful(basic) if basic.nonce.is_none());
    // RFC 9919 §3.2.1: to a responder that ignores all nonces their length is nothing.
    if was_ignored && Told::read(ask_with_nonce(suite, 32)?.1)?.basic.nonce.is_none() {
        return Err(Remark::warning("ignored, as one of the right length"));
    }
    refused
}

/// The request for the usual certificate with an extension that nobody knows.
fn unknown_extension(suite: &mut OcspSuite<'_>, critical: bool) -> Checked {
    const NOBODYS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1");
    let flag = if critical { writer::element(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    let extension = writer::sequence(&[&writer::oid(NOBODYS), &flag, &writer::octets(b"\x05\x00")]);
    let list = writer::sequence(&[&writer::sequence(&[suite.usual_id()?.as_der()])]);
    let extensions = writer::element(context(2), &[&writer::sequence(&[&extension])]);
    let request = writer::sequence(&[&writer::sequence(&[&list, &extensions])]);
    let response = suite.post(&request)?;
    if critical {
        let refused = [ErrorStatus::MalformedRequest, ErrorStatus::Unauthorized, ErrorStatus::InternalError];
        return expect_error(&response, &refused);
    }
    let told = Told::read(response)?;
    same_status(suite, &told)
}

/// Passes where the answer is one of these errors.
fn expect_error(response: &Response, expected: &[ErrorStatus]) -> Checked {
    let status = response.status.as_u16();
    match parsed(response)? {
        OcspResponse::Error(error) if !expected.contains(&error) => Err(Remark::failed(error.as_str())),
        OcspResponse::Error(_) if status != 200 => Err(Remark::warning(format_args!(
            "HTTP {status} with the right body: many clients do not read it then"
        ))),
        OcspResponse::Error(_) => Ok(()),
        OcspResponse::Successful(_) => Err(Remark::failed("answered as if nothing were wrong")),
    }
}

pub(super) fn malformed(suite: &mut OcspSuite<'_>, body: &[u8]) -> Checked {
    expect_error(&suite.post(body)?, &[ErrorStatus::MalformedRequest])
}

fn get_garbage(suite: &mut OcspSuite<'_>) -> Checked {
    let url = suite.url_of("certgate-conformance");
    expect_error(&suite.get(&url)?, &[ErrorStatus::MalformedRequest])
}

fn error_caching(suite: &mut OcspSuite<'_>) -> Checked {
    let url = suite.url_of("certgate-conformance");
    let response = suite.get(&url)?;
    let age = super::cache::max_age(&response);
    ensure(age.unwrap_or(0) == 0, || format!("max-age={} on an error", age.unwrap_or(0)))?;
    match OcspResponse::from_der(&response.body) {
        Ok(OcspResponse::Error(_)) => Ok(()),
        _ => Err(Remark::skipped("a GET without a request was not answered by an OCSP error")),
    }
}

/// The CertID of a certificate whose issuer the responder cannot know.
pub(super) fn id_of_a_stranger(suite: &OcspSuite<'_>) -> Checked<CertId> {
    let key = ClientKey::generate(KeyAlgorithm::Rsa2048).map_err(cannot_make)?;
    let subject = "CN=certgate-conformance unknown CA".parse().map_err(cannot_make)?;
    let issuer = key.self_signed(&subject, suite.random.bytes(), suite.now()).map_err(cannot_make)?;
    let serial = SerialNumber::from_random(suite.random.bytes());
    CertId::new(DigestAlgorithm::Sha1, &issuer, &serial).map_err(cannot_make)
}
