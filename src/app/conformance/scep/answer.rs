//! What a server says to a PKIOperation, whatever it is.

use std::fmt;

use bytes::Bytes;

use crate::{
    app::{
        client::{error::Said, http::Response},
        conformance::{Checked, Remark},
    },
    wire::scep::{FailInfo, MessageType, PkiMessage, PkiStatus, ReplyAttributes, VerifiedPki},
};

/// Media type of a PKIOperation's answer (RFC 8894 §4.3.1).
pub(super) const PKI_MESSAGE: &str = "application/x-pki-message";

/// An answer to a PKIOperation.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A CertRep whose signature verifies.
    CertRep(Box<CertRep>),
    /// No CertRep, and no HTTP success.
    Http { status: u16, words: String },
    /// HTTP success with something that is no CertRep.
    Unreadable(String),
}

/// A CertRep whose signature verifies under the certificate that it carries.
#[derive(Clone, Debug)]
pub(super) struct CertRep {
    pub(super) body: Bytes,
    pub(super) media_type: String,
    pub(super) http_status: u16,
    pub(super) verified: VerifiedPki,
    pub(super) reply: ReplyAttributes,
}

impl Answer {
    /// Reads a response. A CertRep counts whatever the HTTP status is: some servers send refusals with 400.
    pub(super) fn read(response: &Response) -> Self {
        let status = response.status.as_u16();
        match read_cert_rep(response) {
            Ok(rep) => Self::CertRep(Box::new(rep)),
            Err(_) if !response.status.is_success() => {
                let words = String::from_utf8_lossy(&response.body);
                Self::Http { status, words: Said(Some(words.trim())).to_string() }
            }
            Err(why) => Self::Unreadable(why),
        }
    }

    /// The CertRep, or what came instead of one.
    pub(super) fn cert_rep(&self) -> Checked<&CertRep> {
        match self {
            Self::CertRep(rep) => Ok(rep),
            other => Err(Remark::failed(format_args!("no CertRep: {other}"))),
        }
    }

    /// pkiStatus, where there is one.
    pub(super) fn status(&self) -> Option<PkiStatus> {
        match self {
            Self::CertRep(rep) => Some(rep.reply.status),
            _ => None,
        }
    }

    /// Passes where the server refused by one of `expected` (none: any failInfo) or by an HTTP client error.
    pub(super) fn expect_refusal(&self, expected: &[FailInfo]) -> Checked {
        match self {
            Self::CertRep(rep) => expect_failure(&rep.reply, expected),
            Self::Http { status: 400..=499 | 501, .. } => Ok(()),
            Self::Http { status: 500.., .. } => Err(Remark::warning(format_args!(
                "refused, but as if the server were at fault, so a client cannot tell what is wrong: {self}"
            ))),
            Self::Http { .. } | Self::Unreadable(_) => Err(Remark::failed(self)),
        }
    }

    /// [`Answer::observable`] without the words.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::CertRep(rep) => {
                let info = rep.reply.fail_info.map_or("", FailInfo::as_str);
                format!("HTTP {}, {}, {:?} {info}", rep.http_status, rep.media_type, rep.reply.status)
            }
            Self::Http { status, .. } => format!("HTTP {status}"),
            Self::Unreadable(_) => "no CertRep".to_owned(),
        }
    }

    /// What somebody who probes can see: equal for whatever must not be told apart.
    pub(super) fn observable(&self) -> String {
        match self {
            Self::CertRep(rep) => format!("HTTP {}, {}, {self}", rep.http_status, rep.media_type),
            other => other.to_string(),
        }
    }
}

fn expect_failure(reply: &ReplyAttributes, expected: &[FailInfo]) -> Checked {
    match (reply.status, reply.fail_info) {
        (PkiStatus::Success, _) => Err(Remark::failed("the server granted it (SUCCESS)")),
        (PkiStatus::Pending, _) => {
            Err(Remark::warning("the server took it for an operator to decide (PENDING)"))
        }
        (PkiStatus::Failure, Some(info)) if expected.is_empty() || expected.contains(&info) => Ok(()),
        (PkiStatus::Failure, info) => {
            let expected: Vec<_> = expected.iter().map(|info| info.as_str()).collect();
            let got = info.map_or("no failInfo", FailInfo::as_str);
            Err(Remark::warning(format_args!("refused with {got}; expected {}", expected.join(" or "))))
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertRep(rep) => match rep.reply.status {
                PkiStatus::Success => f.write_str("SUCCESS"),
                PkiStatus::Pending => f.write_str("PENDING"),
                PkiStatus::Failure => {
                    let info = rep.reply.fail_info.map_or("without failInfo", FailInfo::as_str);
                    write!(f, "FAILURE {info}{}", Said(rep.reply.fail_info_text.as_deref()))
                }
            },
            Self::Http { status, words } => write!(f, "HTTP {status}{words}"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

fn read_cert_rep(response: &Response) -> Result<CertRep, String> {
    let message = PkiMessage::from_ber(&response.body).map_err(|error| {
        format!("HTTP {} with a body that cannot be read: {error}", response.status.as_u16())
    })?;
    if message.message_type() != Some(MessageType::CertRep) {
        let kind = message.message_type_text().unwrap_or("none").to_owned();
        return Err(format!("the answer's messageType is {kind}, not 3 (CertRep)"));
    }
    let verified =
        message.verify().map_err(|error| format!("the answer's signature is not valid: {error}"))?;
    let reply = verified.reply().ok_or("the answer lacks pkiStatus or recipientNonce")?;
    Ok(CertRep {
        body: response.body.clone(),
        media_type: response.media_type().to_owned(),
        http_status: response.status.as_u16(),
        verified,
        reply,
    })
}
