//! The checks of an OCSP responder (RFC 6960, RFC 9654, RFC 9919).
//!
//! | file | what |
//! |---|---|
//! | this one | how a responder is asked, and the list of all checks |
//! | `request` | what it must understand: GET and POST, hashes, nonces, several certificates, and what is wrong |
//! | `unusual` | what proxies, old clients and attackers make of requests |
//! | `answer` | what it says: status, signature, delegate, times |
//! | `cache` | HTTP: headers, conditional requests, old gear |

mod answer;
mod cache;
mod request;
mod unusual;

use std::rc::Rc;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Check, Checked, Line, Remark, Suite};
use crate::{
    app::client::http::Response,
    ports::{Clock, Random},
    types::{DigestAlgorithm, SerialNumber, Timestamp},
    wire::{
        ocsp::{BasicResponse, CertId, CertStatus, OcspRequest, OcspResponse, SingleResponse},
        x509::Certificate,
    },
};

const REQUEST_TYPE: &str = "application/ocsp-request";
const RESPONSE_TYPE: &str = "application/ocsp-response";

/// Whom and what to ask.
#[derive(Clone, Debug)]
pub struct Options {
    /// URL of the responder.
    pub url: String,
    /// Who issued the certificates.
    pub issuer: Certificate,
    /// A certificate that is good.
    pub certificate: Certificate,
    /// One that is revoked.
    pub revoked: Option<Certificate>,
    /// Responders that are believed without a delegation (RFC 6960 §4.2.2.2, 1).
    pub trusted: Vec<Certificate>,
}

/// The state of a run.
pub struct OcspSuite<'a> {
    options: Options,
    line: Line,
    clock: &'a dyn Clock,
    random: &'a dyn Random,
    usual: Option<Checked<Rc<Told>>>,
    by_get: Option<Checked<Rc<Told>>>,
}

impl std::fmt::Debug for OcspSuite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OcspSuite").field("url", &self.options.url).finish_non_exhaustive()
    }
}

/// A successful response, with how HTTP brought it.
#[derive(Debug)]
struct Told {
    response: Response,
    basic: BasicResponse,
}

impl Told {
    fn read(response: Response) -> Checked<Self> {
        match parsed(&response)? {
            OcspResponse::Successful(basic) => Ok(Self { response, basic }),
            OcspResponse::Error(status) => {
                Err(Remark::failed(format_args!("the answer is {}", status.as_str())))
            }
        }
    }

    /// What it says of the certificate, under the CertID that was asked with.
    fn of(&self, cert_id: &CertId) -> Checked<&SingleResponse> {
        let found = self.basic.responses.iter().find(|single| single.cert_id == *cert_id);
        found.ok_or_else(|| Remark::failed("the answer does not repeat the CertID that was asked with"))
    }
}

/// The OCSPResponse in a response: the HTTP status does not matter for reading it.
fn parsed(response: &Response) -> Checked<OcspResponse> {
    OcspResponse::from_der(&response.body).map_err(|error| {
        Remark::failed(format_args!("HTTP {} without an OCSPResponse: {error}", response.status.as_u16()))
    })
}

fn status_name(status: CertStatus) -> &'static str {
    match status {
        CertStatus::Good => "good",
        CertStatus::Revoked { .. } => "revoked",
        CertStatus::Unknown => "unknown",
    }
}

/// For `map_err`: a request that could not be made is no fault of the responder.
fn cannot_make<E: std::fmt::Display>(error: E) -> Remark {
    Remark::skipped(format_args!("the request could not be made: {error}"))
}

impl<'a> OcspSuite<'a> {
    /// A suite that has not asked anything yet.
    pub fn new(options: Options, line: Line, clock: &'a dyn Clock, random: &'a dyn Random) -> Self {
        Self { options, line, clock, random, usual: None, by_get: None }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn cert_id(&self, hash: DigestAlgorithm, serial: &SerialNumber) -> Checked<CertId> {
        CertId::new(hash, &self.options.issuer, serial).map_err(cannot_make)
    }

    /// The CertID of the good certificate, with SHA-1: what every responder knows.
    fn usual_id(&self) -> Checked<CertId> {
        self.cert_id(DigestAlgorithm::Sha1, self.options.certificate.serial())
    }

    /// The request for the good certificate with a nonce or without one.
    fn request(&self, nonce: Option<&[u8]>) -> Checked<Vec<u8>> {
        OcspRequest::new(vec![self.usual_id()?], nonce).to_der().map_err(cannot_make)
    }

    fn post(&mut self, request: &[u8]) -> Checked<Response> {
        let url = self.options.url.clone();
        self.line.exchange(|http| http.post(&url, REQUEST_TYPE, request.to_vec()))
    }

    fn url_of(&self, text: &str) -> String {
        format!("{}/{text}", self.options.url.trim_end_matches('/'))
    }

    /// The URL of a GET as RFC 6960 A.1 has it.
    fn get_url(&self, request: &[u8]) -> String {
        self.url_of(&utf8_percent_encode(&BASE64_STANDARD.encode(request), NON_ALPHANUMERIC).to_string())
    }

    fn get(&mut self, url: &str) -> Checked<Response> {
        self.line.exchange(|http| http.get(url))
    }

    /// The answer to the usual request by POST.
    fn usual(&mut self) -> Checked<Rc<Told>> {
        if self.usual.is_none() {
            let request = self.request(None)?;
            self.usual = Some(self.post(&request).and_then(Told::read).map(Rc::new));
        }
        self.usual.clone().unwrap_or_else(|| Err(Remark::skipped("nothing was asked")))
    }

    /// [`OcspSuite::usual`] for checks that look at another property of it.
    fn known_answer(&mut self) -> Checked<Rc<Told>> {
        self.usual().map_err(|_| Remark::skipped("the usual request by POST had no answer to look at"))
    }

    /// The answer to the usual request by GET.
    fn by_get(&mut self) -> Checked<Rc<Told>> {
        if self.by_get.is_none() {
            let url = self.get_url(&self.request(None)?);
            self.by_get = Some(self.get(&url).and_then(Told::read).map(Rc::new));
        }
        self.by_get.clone().unwrap_or_else(|| Err(Remark::skipped("nothing was asked")))
    }

    /// [`OcspSuite::by_get`] for checks that look at another property of it.
    fn known_by_get(&mut self) -> Checked<Rc<Told>> {
        self.by_get().map_err(|_| Remark::skipped("the request by GET had no answer to look at"))
    }
}

impl Suite for OcspSuite<'_> {
    fn checks() -> Vec<Check<Self>> {
        [request::checks(), unusual::checks(), answer::checks(), cache::checks(), request::wrong_requests()]
            .concat()
    }

    fn line(&self) -> &Line {
        &self.line
    }
}
