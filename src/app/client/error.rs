//! Why an exchange with a server did not give what was asked for: nobody answered, the server said no, or its answer is wrong.

use std::{fmt, time::Duration};

use super::http::{HttpError, Response};
use crate::{
    app::failure::Failure,
    wire::{
        ocsp::ErrorStatus,
        scep::{FailInfo, client::AnswerError},
    },
};

/// What is wrong with an answer that came. A device that believed it would be deceived, or left without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Not a message of the protocol: a web page of somebody in between, a message cut off.
    Unreadable,
    /// The signature does not verify.
    Signature,
    /// Signed by somebody who has no right to.
    Signer,
    /// The answer to another transaction.
    Transaction,
    /// The nonce is not ours: an old answer, or somebody else's.
    Nonce,
    /// Encrypted to somebody else.
    Recipient,
    /// The certificate is not for our key.
    Key,
    /// The certificate is not signed by the server's CA, or is not valid now.
    Chain,
    /// Another certificate has this serial number.
    Serial,
    /// The answer speaks of another certificate.
    Subject,
    /// Out of date, or from the future.
    Time,
    /// Another status than the certificate has.
    Status,
    /// Other CA certificates than a moment ago.
    Authority,
    /// The certificate does not say where to ask.
    NoUrl,
}

impl Fault {
    /// The name in results, which stays.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Signature => "bad-signature",
            Self::Signer => "wrong-signer",
            Self::Transaction => "wrong-transaction",
            Self::Nonce => "wrong-nonce",
            Self::Recipient => "wrong-recipient",
            Self::Key => "wrong-key",
            Self::Chain => "wrong-chain",
            Self::Serial => "duplicate-serial",
            Self::Subject => "wrong-subject",
            Self::Time => "wrong-time",
            Self::Status => "wrong-status",
            Self::Authority => "other-ca",
            Self::NoUrl => "no-url",
        }
    }
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No HTTP response.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An HTTP response other than success.
    #[error("{operation}: HTTP {status}{}", Said(Some(words)))]
    Status {
        /// What was asked for.
        operation: String,
        /// The status.
        status: u16,
        /// How long the server asks to stay away.
        retry_after: Option<Duration>,
        /// The body, if it is short text.
        words: String,
    },
    /// The SCEP server refused the request.
    #[error("the server refused: {}{}", info.as_str(), Said(text.as_deref()))]
    Refused {
        /// The code.
        info: FailInfo,
        /// The server's words, if it said any.
        text: Option<String>,
    },
    /// The OCSP responder answered with an error.
    #[error("the responder answered {}", .0.as_str())]
    Responder(ErrorStatus),
    /// An answer came, and it is wrong.
    #[error("{detail}")]
    Wrong {
        /// In which way.
        fault: Fault,
        /// The whole of it.
        detail: String,
    },
    /// An answer came that certgate believes, and the client that is spoken like would not.
    #[error("{client} refuses this answer: {why}")]
    Disliked {
        /// Whose client.
        client: &'static str,
        /// In its words.
        why: String,
    },
    /// Our own side failed: a key, an encoding, a file.
    #[error(transparent)]
    Own(#[from] Failure),
}

impl ClientError {
    /// A response other than success.
    pub(super) fn status(operation: impl fmt::Display, response: &Response) -> Self {
        Self::Status {
            operation: operation.to_string(),
            status: response.status.as_u16(),
            retry_after: response.retry_after.map(Duration::from_secs),
            words: String::from_utf8_lossy(&response.body).trim().to_owned(),
        }
    }

    /// A wrong answer.
    pub fn wrong(fault: Fault, detail: impl fmt::Display) -> Self {
        Self::Wrong { fault, detail: detail.to_string() }
    }

    /// For `map_err`: a wrong answer, what it was, and the cause.
    pub(super) fn because<E: fmt::Display>(fault: Fault, what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |cause| Self::wrong(fault, format_args!("{what}: {cause}"))
    }

    /// For `map_err`: a body that is no message of the protocol, with what it is instead.
    pub(super) fn unreadable<E: fmt::Display>(what: &str, response: &Response) -> impl FnOnce(E) -> Self {
        move |cause| Self::unreadable_body(format_args!("{what}: {cause}"), response)
    }

    /// A body that is no message of the protocol, with what it is instead.
    pub(super) fn unreadable_body(what: impl fmt::Display, response: &Response) -> Self {
        // Another message of the protocol is nothing to be read on a terminal.
        let is_text = response.body.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
        let body = String::from_utf8_lossy(&response.body);
        let said = Said(is_text.then_some(&*body));
        let (length, media_type) = (response.body.len(), &response.content_type);
        Self::wrong(
            Fault::Unreadable,
            format_args!("{what} ({length} bytes, Content-Type \"{media_type}\"{said})"),
        )
    }

    /// How long a server that is merely busy asks to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { status: 429 | 503, retry_after, .. } => *retry_after,
            // RFC 6960 §2.3 gives no time.
            Self::Responder(ErrorStatus::TryLater) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<AnswerError> for ClientError {
    fn from(error: AnswerError) -> Self {
        let fault = match &error {
            AnswerError::Unreadable(_) => Fault::Unreadable,
            AnswerError::Signature(_) => Fault::Signature,
            AnswerError::Signer(_) => Fault::Signer,
            AnswerError::Transaction => Fault::Transaction,
            AnswerError::Nonce => Fault::Nonce,
            AnswerError::Recipient(_) => Fault::Recipient,
            AnswerError::Key => Fault::Key,
        };
        Self::wrong(fault, error)
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Own(failure) => failure,
            ClientError::Refused { .. } | ClientError::Disliked { .. } => Self::refused(error),
            // A request of SCEP has its name, and one to a URL of OCSP or of a CRL that URL.
            ClientError::Status { status: 404, ref operation, .. } => {
                let scep = if operation.contains("://") {
                    ""
                } else {
                    " In the SCEP URLs of certgate it names the profile"
                };
                let hint = format!("is the path of the URL right?{scep}");
                Self::not_found(error).hint(hint)
            }
            ClientError::Http(HttpError::Connect { ref source, .. }) => {
                let hint = tls_hint(&source.to_string());
                let failure = Self::error(error);
                if let Some(hint) = hint { failure.hint(hint) } else { failure }
            }
            ClientError::Status { retry_after: Some(pause), .. } => {
                Self::error(error).hint(format_args!("come back in {} seconds", pause.as_secs()))
            }
            ClientError::Responder(ErrorStatus::TryLater) => {
                Self::error(error).hint("it is overloaded: ask again")
            }
            ClientError::Responder(ErrorStatus::Unauthorized) => Self::refused(error)
                .hint("it does not answer for this issuer: is --issuer the certificate that signed --cert?"),
            ClientError::Wrong { fault: Fault::Time, .. } => Self::error(error).hint("are the clocks right?"),
            other => Self::error(other),
        }
    }
}

/// What helps where TLS does not come about, by the words of rustls.
fn tls_hint(problem: &str) -> Option<&'static str> {
    if problem.contains("InvalidContentType") {
        return Some("there is no TLS at that port: does the URL begin with http://?");
    }
    problem.contains("UnknownIssuer").then_some("name a PEM file with its authority in SSL_CERT_FILE")
}

/// The other side's words, fit for a terminal.
pub(crate) struct Said<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(text) = self.0.filter(|text| !text.is_empty()) else { return Ok(()) };
        f.write_str(": ")?;
        text.chars().filter(|c| !c.is_control()).take(300).try_for_each(|c| write!(f, "{c}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::failure::FailureKind;

    #[test]
    fn refusals_carry_the_servers_words_without_control_characters() {
        let text = Some("challenge\u{1b}[31m expired".to_owned());
        let failure = Failure::from(ClientError::Refused { info: FailInfo::BadRequest, text });
        assert_eq!(failure.message, "the server refused: badRequest: challenge[31m expired");
        assert_eq!(failure.kind, FailureKind::Refused);
    }

    #[test]
    fn the_hint_is_one_for_what_was_asked() {
        let not_found = |operation: &str| {
            let (operation, words) = (operation.to_owned(), String::new());
            Failure::from(ClientError::Status { operation, status: 404, retry_after: None, words })
                .hint
                .unwrap()
        };
        assert!(not_found("GetCACert").contains("profile"));
        assert!(!not_found("http://pki.example/ocsp").contains("profile"));
        let tls = |words: &str| {
            let (target, source) = ("pki.example:80".to_owned(), std::io::Error::other(words.to_owned()));
            Failure::from(ClientError::Http(HttpError::Connect { target, source })).hint
        };
        assert!(tls("received corrupt message of type InvalidContentType").unwrap().contains("http://"));
        assert!(tls("invalid peer certificate: UnknownIssuer").unwrap().contains("SSL_CERT_FILE"));
        assert_eq!(tls("Connection refused (os error 111)"), None);
    }

    #[test]
    fn only_a_busy_server_is_asked_again() {
        let status = |status, retry_after| ClientError::Status {
            operation: "PKIOperation".to_owned(),
            status,
            retry_after,
            words: String::new(),
        };
        let pause = Some(Duration::from_secs(7));
        assert_eq!(status(503, pause).retry_after(), pause);
        assert_eq!(status(503, None).retry_after(), None);
        assert_eq!(status(429, pause).retry_after(), pause);
        assert_eq!(status(500, pause).retry_after(), None);
        assert!(ClientError::Responder(ErrorStatus::TryLater).retry_after().is_some());
        assert!(ClientError::wrong(Fault::Nonce, "x").retry_after().is_none());
    }
}
