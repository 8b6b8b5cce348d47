//! Requests of ours to other parties over HTTP: MDM services, approval webhooks.
//!
//! Who may be asked is configuration, never a peer's word: each [`OutboundRequest`] names a destination, and a destination is
//! a list of hosts with limits. An answer is always bounded in time and size, redirects are never followed.

use std::{fmt, str::FromStr, time::Duration};

use crate::types::Secret;

/// Sends requests to configured destinations.
///
/// Contract: one call is one exchange, without retries; it takes at most the destination's time limit; a destination that is slow or
/// down costs its callers nothing more than its own places ([`OutboundError::Busy`]) and is not asked again for a while
/// ([`OutboundError::Down`]). Nothing of headers or bodies reaches logs or errors.
pub trait Outbound: Send + Sync {
    /// One exchange. An answer is an answer, whatever its status.
    fn send(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError>;
}

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub struct OutboundRequest<'a> {
    /// A configured destination: whose hosts are allowed, whose limits hold, who is counted.
    pub destination: &'a str,
    /// GET, or POST with a body.
    pub method: OutboundMethod,
    /// Absolute: `https://`, or `http://` to a loopback address.
    pub url: &'a str,
    /// Beside Host, Content-Length and User-Agent. The values are secret, for one of them usually is.
    pub headers: &'a [(&'static str, Secret)],
    /// For POST.
    pub body: &'a [u8],
}

/// The methods that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundMethod {
    /// Without a body.
    Get,
    /// With a body.
    Post,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct OutboundAnswer {
    /// The status.
    pub status: u16,
    /// Headers with names in lower case; what is not text is left out.
    pub headers: Vec<(String, String)>,
    /// The body: it may hold a token.
    pub body: Secret,
}

impl OutboundAnswer {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Retry-After, where it is a number of seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Why there is no answer. Says hosts, never paths, queries, headers or bodies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The configuration does not allow this request; nothing was sent.
    #[error("{host} may not be asked: {why}")]
    NotAllowed {
        /// As far as the URL could be read.
        host: String,
        /// Which rule forbids it.
        why: &'static str,
    },
    /// As many requests are under way to this destination as it is allowed; nothing was sent.
    #[error("{destination} has no place free for another request")]
    Busy {
        /// The destination's name.
        destination: String,
    },
    /// It failed just now and is left alone for a while; nothing was sent.
    #[error("{host} failed before and is left alone for {} s", retry_after.as_secs())]
    Down {
        /// Who.
        host: String,
        /// For how long.
        retry_after: Duration,
    },
    /// Nobody answers there.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// Who.
        host: String,
        /// The system's words.
        reason: String,
    },
    /// It took too long; the request may have arrived.
    #[error("{host} did not answer within {} s", limit.as_secs())]
    TimeOut {
        /// Who.
        host: String,
        /// How long it was given.
        limit: Duration,
    },
    /// No trusted connection.
    #[error("no TLS connection to {host}: {reason}")]
    Tls {
        /// Who.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer is longer than anything that is expected.
    #[error("{host} sent more than {limit} bytes")]
    TooLarge {
        /// Who.
        host: String,
        /// Bytes.
        limit: usize,
    },
    /// The connection broke, or what came is no HTTP; the request may have arrived.
    #[error("{host}: {reason}")]
    Broken {
        /// Who.
        host: String,
        /// What happened.
        reason: String,
    },
}

impl OutboundError {
    /// For metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => "not-allowed",
            Self::Busy { .. } => "busy",
            Self::Down { .. } => "down",
            Self::Connect { .. } => "connect",
            Self::TimeOut { .. } => "time-out",
            Self::Tls { .. } => "tls",
            Self::TooLarge { .. } => "too-large",
            Self::Broken { .. } => "broken",
        }
    }

    /// When it is worth another try; none where nothing but another configuration helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotAllowed { .. } => None,
            Self::Down { retry_after, .. } => Some(*retry_after),
            Self::Busy { .. } => Some(Duration::from_secs(2)),
            Self::Connect { .. }
            | Self::TimeOut { .. }
            | Self::Tls { .. }
            | Self::TooLarge { .. }
            | Self::Broken { .. } => Some(Duration::from_secs(10)),
        }
    }
}

/// A host that may be asked: `host`, `host:port`, or `*.domain` for every host below a domain. Without a port: the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    host: String,
    port: Option<u16>,
    below: bool,
}

/// Text that is no [`HostRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not HOST, HOST:PORT or *.DOMAIN")]
pub struct HostRuleError;

impl HostRule {
    /// Exactly this host and port.
    pub fn exact(host: &str, port: Option<u16>) -> Self {
        Self { host: host.to_ascii_lowercase(), port, below: false }
    }

    /// Whether it allows `host` at `port`, where `default` is the port of the scheme.
    pub fn allows(&self, host: &str, port: u16, default: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let named = if self.below {
            host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.host
        };
        named && port == self.port.unwrap_or(default)
    }
}

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        let (text, below) = text.strip_prefix("*.").map_or((text, false), |rest| (rest, true));
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| HostRuleError)?))
            }
            _ => (text, None),
        };
        let name = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_address = bracketed.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
        // A rule for a whole top-level domain would be none.
        if !(is_address && !below || host.split('.').all(name) && (!below || host.contains('.'))) {
            return Err(HostRuleError);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port, below })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(f, "{star}{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Asks nobody: for a gateway whose configuration names no other party.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOutbound;

impl Outbound for NoOutbound {
    fn send(&self, request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
        let why = "no other party is configured";
        Err(OutboundError::NotAllowed { host: request.destination.to_owned(), why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, host: &str, port: u16) -> bool {
        rule.parse::<HostRule>().unwrap().allows(host, port, 443)
    }

    #[test]
    fn a_host_allows_itself_and_nothing_that_looks_like_it() {
        assert!(allows("graph.example.com", "Graph.Example.com", 443));
        for other in
            ["graph.example.com.evil.test", "evil-graph.example.com", "example.com", "a.graph.example.com"]
        {
            assert!(!allows("graph.example.com", other, 443), "{other}");
        }
        assert!(!allows("graph.example.com", "graph.example.com", 8443));
        assert!(allows("graph.example.com:8443", "graph.example.com", 8443));
    }

    #[test]
    fn a_domain_allows_what_is_below_it_only() {
        assert!(allows("*.manage.example.com", "fef.msuc01.manage.example.com", 443));
        for other in [
            "manage.example.com",
            ".manage.example.com",
            "evilmanage.example.com",
            "manage.example.com.evil.test",
        ] {
            assert!(!allows("*.manage.example.com", other, 443), "{other}");
        }
    }

    #[test]
    fn rules_read_back_and_nonsense_is_refused() {
        for rule in ["a.example", "a.example:8443", "*.b.example", "127.0.0.1:9", "[::1]:80", "localhost"] {
            assert_eq!(rule.parse::<HostRule>().unwrap().to_string(), rule);
        }
        for wrong in ["", "*", "*.com", "a..b", "a b", "https://a.example", "a:b", "a@b", "[::1", "*.[::1]"] {
            assert_eq!(wrong.parse::<HostRule>(), Err(HostRuleError), "{wrong}");
        }
    }
}
