//! Others who are asked whether a request is allowed, and what they say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::scep::FailInfo;

/// Who is asked. Stored by position: a new one goes to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Voucher {
    /// Microsoft Intune: the challenge is a sealed text that only its service can read.
    Intune,
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intune => "intune",
        })
    }
}

/// What was said of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was asked for: challenge, names, key and usages.
    Allowed {
        /// Under which the other side finds the exchange.
        reference: String,
    },
    /// It is not.
    Denied(Denial),
}

/// A request that the other side does not stand up for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{by} refuses with {code}: {hint} (reference {reference}{})", in_its_words(.detail))]
pub struct Denial {
    /// Who.
    pub by: Voucher,
    /// Its code, as it wrote it.
    pub code: String,
    /// Its explanation, cut; empty if there is none.
    pub detail: String,
    /// What that means, and what to do.
    pub hint: &'static str,
    /// What the client is told.
    pub info: FailInfo,
    /// Whether it shows that the challenge was a real one.
    pub once_trusted: bool,
    /// Whether it shows that the challenge is none that the other side ever made, for anybody: somebody's guess.
    pub guessed: bool,
    /// Under which the other side finds the exchange.
    pub reference: String,
}

fn in_its_words(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!("; in its words: {detail}") }
}
