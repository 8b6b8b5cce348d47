//! The SCEP transactionID (RFC 8894 §3.2.1.1).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest transactionID that is read. Real ones have 16 to 77 characters (hexadecimal digests, decimal numbers, base64).
const MAX_LEN: usize = 256;

/// A transactionID as the client sent it: 1 to 256 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TransactionId(String);

/// Text that is no transactionID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a transactionID has 1 to {MAX_LEN} printable ASCII characters")]
pub struct TransactionIdError;

impl TransactionId {
    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TransactionId {
    type Err = TransactionIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let valid = (1..=MAX_LEN).contains(&s.len()) && s.bytes().all(|b| (0x20..0x7f).contains(&b));
        if valid { Ok(Self(s.to_owned())) } else { Err(TransactionIdError) }
    }
}

impl TryFrom<String> for TransactionId {
    type Error = TransactionIdError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<TransactionId> for String {
    fn from(id: TransactionId) -> Self {
        id.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
