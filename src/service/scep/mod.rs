//! The SCEP responder (RFC 8894): from the bytes of a pkiMessage to the bytes of a CertRep.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | what a client asks before it enrols: capabilities and certificates |
//! | `operation` | PKIOperation: every check on the way from bytes to a payload, in their order, and the dispatch |
//! | `reply` | the CertRep, fitted to what the request showed that the client can read |
//! | `template` | the NDES-compatible URL, where what is asked for chooses the profile |
//! | `password` | the password that stands in for the client's key where that cannot encrypt |
//! | `locked` | what a client may do that guessed challenges |
//! | `sealed` | the answers that were sealed under one, for whoever asks again |
//! | `query` | CertPoll, GetCert, GetCRL |
//! | `looks` | which client a request looks like |
//! | `shown` | messages as a transcript shows them: readable, without secrets |
//! | `stand_in` | what is read in place of a request that cannot be, for the sake of time |
//! | `trail` | what is noted of an exchange while it goes on |
//!
//! PKCSReq and RenewalReq are decided in [`super::enrol`].
//!
//! Three kinds of answer. A CertRep, always, once there is a transactionID to name in it. [`ScepError::BadRequest`] when
//! there is none. [`ScepError::Unavailable`] when store or keys fail: FAILURE would be final for most clients, and the fault
//! is ours and passes.

mod locked;
mod looks;
mod operation;
mod password;
mod query;
mod reply;
mod sealed;
mod shown;
mod stand_in;
mod template;
mod trail;

pub(super) use operation::{Answer, Request, Stop};
pub(super) use sealed::SealedAnswers;
pub(super) use shown::request as show_request;
pub(super) use stand_in::stand_in;
pub(super) use trail::{SoFar, Trail};

use std::sync::Arc;

use super::{
    Gateway,
    authority::{Authorities, Authority},
    rollover::announcement,
};
use crate::{
    domain::{
        client::behaviour::{Behaviour, CaBundle},
        exchange::{Transcript, Unanswered},
        ndes::Templates,
        profile::CheckedProfile,
    },
    types::{ProfileName, RequestId},
    wire::{scep::Degenerate, x509::Certificate},
};

/// The longest pkiMessage that is read. Real ones have 2 to 6 kB; the longest known (RSA-8192 with attestation) stay below
/// 64 kB.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// Where a request came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Address of the peer, for the audit record.
    pub peer: String,
    /// The request's id, for logs and the audit record; an enrolment that it leads to bears the same.
    pub request: RequestId,
    /// User-Agent; empty where there is none.
    pub user_agent: String,
    /// How it was asked, for the transcript.
    pub http: HttpFacts,
}

/// How a request was asked over HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpFacts {
    /// GET, POST, ..
    pub method: String,
    /// The path, and the names of the query's parameters: their values may hold a message.
    pub target: String,
    /// HTTP/1.0, HTTP/1.1.
    pub version: String,
    /// Content-Type; empty where there is none.
    pub content_type: String,
    /// Content-Length; empty where there is none.
    pub content_length: String,
    /// The CA identifier: `message` of anything but PKIOperation.
    pub ca_identifier: Option<String>,
    /// Whether the `message` of a PKIOperation has line ends in it.
    pub line_ends: bool,
}

impl Origin {
    /// The first lines of a transcript.
    fn transcript(&self) -> Transcript {
        let HttpFacts { method, target, version, content_type, content_length, .. } = &self.http;
        let mut transcript = Transcript::default();
        for (field, value) in [
            ("request line", format!("{method} {target} {version}").as_str()),
            ("User-Agent", &self.user_agent),
            ("Content-Type", content_type),
            ("Content-Length", content_length),
        ] {
            if !value.trim().is_empty() {
                transcript.asked(field, value);
            }
        }
        transcript
    }
}

/// Answers that are not a CertRep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScepError {
    /// HTTP 404.
    #[error("no such profile")]
    UnknownProfile,
    /// HTTP 400: there is nobody to answer with a CertRep. The text is for the client.
    #[error("{0}")]
    BadRequest(&'static str),
    /// HTTP 501: GetNextCACert where no successor is announced.
    #[error("this CA has no successor yet")]
    NoSuccessor,
    /// HTTP 429 with Retry-After: the client is locked out.
    #[error("too many requests")]
    TooSoon {
        /// When it makes sense to come back.
        retry_after: std::time::Duration,
    },
    /// HTTP 503 with Retry-After: another party that is needed does not answer.
    #[error("another party does not answer")]
    Away {
        /// When it is worth another try.
        retry_after: std::time::Duration,
    },
    /// HTTP 503 with Retry-After: transient.
    #[error("temporarily unavailable")]
    Unavailable,
}

impl From<&Unanswered> for ScepError {
    fn from(why: &Unanswered) -> Self {
        match why {
            Unanswered::Profile(_) => Self::UnknownProfile,
            Unanswered::TooLong { .. } => Self::BadRequest("the message is too long"),
            Unanswered::NotPkiMessage(_) => Self::BadRequest("not a SCEP message"),
            Unanswered::NoMessage => Self::BadRequest("the message is missing"),
            Unanswered::NotBase64 { .. } => Self::BadRequest("the message is not base64"),
            Unanswered::Operation(_)
            | Unanswered::NoSuccessor
            | Unanswered::Method(_)
            | Unanswered::Encoded
            | Unanswered::NotArrived => Self::BadRequest("the request is not understood"),
            Unanswered::Away { retry_after, .. } => Self::Away { retry_after: *retry_after },
            Unanswered::TooSoon { retry_after, .. } => Self::TooSoon { retry_after: *retry_after },
            Unanswered::Overloaded
            | Unanswered::ApprovalsFull
            | Unanswered::Fault(_)
            | Unanswered::Panicked => Self::Unavailable,
        }
    }
}

/// GetCACert's answer.
#[derive(Clone, Debug)]
pub struct CaCertificates {
    /// Exactly what goes into Content-Type: Apple compares it as a whole.
    pub content_type: &'static str,
    /// The degenerate SignedData.
    pub body: Vec<u8>,
}

/// A CertRep with what metrics and logs want to know.
#[derive(Clone, Debug)]
pub struct CertRep {
    /// The pkiMessage.
    pub body: Vec<u8>,
    /// pkcs-req, renewal-req, cert-poll, get-cert, get-crl, unknown.
    pub operation: &'static str,
    /// success, pending, bad-alg, bad-message-check, bad-request, bad-time, bad-cert-id.
    pub result: &'static str,
}

/// One profile's responder.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) profile: Arc<CheckedProfile>,
    /// The CA that issues: the profile's current one, or the announced one where the request is addressed to it.
    pub(super) authority: Arc<Authority>,
    /// All issuers: a renewed certificate may be another issuer's.
    pub(super) authorities: Arc<Authorities>,
    /// The profiles among which the key usage of a request chooses; none: there is no choice.
    pub(super) templates: Option<Templates>,
}

impl Gateway {
    /// GetCACaps (RFC 8894 §3.5.2): LF between the keywords and behind the last, no empty line (strongSwan and Apple compare
    /// whole lines).
    ///
    /// SHA-1 and SHA-384 are named for the clients that miss them ([`Behaviour::sha1_keyword`], [`Behaviour::sha384_keyword`]); a
    /// client that can do better than SHA-1 does. DES3 is named only where the profile allows it: every client that is tested takes
    /// AES, and naming it would invite downgrades.
    pub fn ca_capabilities(&self, profile: &ProfileName) -> Result<String, ScepError> {
        let endpoint = self.endpoint(profile)?;
        let behaviour: &Behaviour = endpoint.profile.behaviour();
        let keywords = [
            ("AES", true),
            ("DES3", behaviour.old_algorithms.triple_des),
            // RFC 8894 §3.5.2: only where there is something to get.
            ("GetNextCACert", announcement(&endpoint.authorities, &endpoint.profile.spec().issuer).is_some()),
            ("POSTPKIOperation", true),
            ("Renewal", true),
            ("SCEPStandard", true),
            ("SHA-1", behaviour.sha1_keyword),
            ("SHA-256", true),
            ("SHA-384", behaviour.sha384_keyword),
            ("SHA-512", true),
        ];
        Ok(keywords
            .into_iter()
            .filter(|(_, named)| *named)
            .flat_map(|(keyword, _)| [keyword, "\n"])
            .collect())
    }

    /// GetCACert (RFC 8894 §4.2): the message certificate first, then the issuing CA, then what is above it, the root
    /// last. Apple takes the first with both key usages and wants the chain to end in a root; Windows looks for the CA
    /// whose thumbprint its profile names. A profile can have less shown ([`CaBundle`]), or the certificates of chosen files
    /// behind the message certificate.
    pub fn ca_certificates(&self, profile: &ProfileName) -> Result<CaCertificates, ScepError> {
        let Endpoint { profile, authority, .. } = self.endpoint(profile)?;
        let message = authority.message_keys.first().ok_or(ScepError::Unavailable)?.certificate.as_der();
        let bundle = profile.behaviour().ca_bundle;
        if bundle == CaBundle::Message {
            return Ok(CaCertificates { content_type: "application/x-x509-ca-cert", body: message.to_vec() });
        }
        let above = if bundle == CaBundle::Full { authority.chain.as_slice() } else { &[] };
        let mut certificates = vec![message];
        if let Some(chosen) = self.settings.ca_certificates.get(profile.name()) {
            certificates.extend(chosen.iter().map(Certificate::as_der));
        } else {
            let chain = std::iter::once(&authority.certificate).chain(above);
            certificates.extend(chain.map(Certificate::as_der));
        }
        let body = Degenerate::to_der(&certificates, &[])
            .map_err(|error| unavailable(&self.new_request(), &error.into()))?;
        Ok(CaCertificates { content_type: "application/x-x509-ca-ra-cert", body })
    }

    /// GetNextCACert (RFC 8894 §4.7): see [`super::rollover`].
    pub fn next_ca(&self, profile: &ProfileName) -> Result<CaCertificates, ScepError> {
        let line = self.endpoint(profile)?.profile.spec().issuer.clone();
        let next = self
            .next_ca_certificates(&line)
            .map_err(|error| unavailable(&self.new_request(), &error))?
            .ok_or(ScepError::NoSuccessor)?;
        Ok(CaCertificates { content_type: "application/x-x509-next-ca-cert", body: next.to_vec() })
    }

    /// The profile that a URL means that names none, as the NDES-compatible one: the configured one, else the only one there is.
    pub fn default_profile(&self) -> Option<ProfileName> {
        let authorities = self.authorities();
        if let Some(configured) = &self.settings.default_profile {
            return authorities.profile(configured).map(|_| configured.clone());
        }
        let mut profiles = authorities.profiles();
        match (profiles.next(), profiles.next()) {
            (Some(only), None) => Some(only.name().clone()),
            _ => None,
        }
    }

    pub(super) fn endpoint(&self, profile: &ProfileName) -> Result<Endpoint, ScepError> {
        let authorities = self.authorities();
        let profile = authorities.profile(profile).ok_or(ScepError::UnknownProfile)?.clone();
        let authority = authorities.current(&profile.spec().issuer).ok_or(ScepError::Unavailable)?.clone();
        Ok(Endpoint { profile, authority, authorities, templates: None })
    }
}

/// A fault of ours: logged with its cause, which the client is not told.
fn unavailable(request: &RequestId, error: &super::ServiceError) -> ScepError {
    tracing::error!(%request, %error, "SCEP request not answered");
    ScepError::Unavailable
}
