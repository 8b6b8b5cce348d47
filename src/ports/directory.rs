//! Directory servers that CRLs and CA certificates are written to.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    domain::directory::{DirectoryAttribute, EntryName},
    types::DirectoryName,
    wire::ldap::ResultCode,
};

/// A directory server.
///
/// Contract: slow (requests over the network), so never called in a transaction; each request is bounded in time.
pub trait Directory: Send + Sync {
    /// Connects and proves who asks. Nothing is sent to a server that did not prove who it is, where that is asked for.
    fn open(&self) -> Result<Box<dyn DirectorySession>, DirectoryError>;
}

/// A connection to a directory server; it ends when it is dropped.
pub trait DirectorySession {
    /// What an entry has of these attributes; none where there is no such entry.
    fn read(
        &mut self,
        entry: &EntryName,
        attributes: &[DirectoryAttribute],
    ) -> Result<Option<EntryValues>, DirectoryError>;
    /// Replaces these attributes, all or none. Without values an attribute goes away. The same twice is fine.
    fn replace(&mut self, entry: &EntryName, values: &[NewValues<'_>]) -> Result<(), DirectoryError>;
    /// Makes an entry that is not there, with these attributes: a cRLDistributionPoint, and a pkiCA if there is a CA certificate among them
    /// (RFC 4523 §3).
    fn create(&mut self, entry: &EntryName, values: &[NewValues<'_>]) -> Result<(), DirectoryError>;
}

/// An attribute with all the values that it shall have.
pub type NewValues<'a> = (DirectoryAttribute, Vec<&'a [u8]>);

/// What an entry has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryValues(pub Vec<(DirectoryAttribute, Vec<Vec<u8>>)>);

impl EntryValues {
    /// The values of an attribute.
    pub fn of(&self, attribute: DirectoryAttribute) -> Vec<&[u8]> {
        let own = self.0.iter().filter(|(found, _)| *found == attribute);
        own.flat_map(|(_, values)| values.iter().map(Vec::as_slice)).collect()
    }
}

/// Why a directory server did not do it, for operators; no secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Nobody answers.
    #[error("{server} cannot be reached: {reason}")]
    Connect {
        /// HOST:PORT.
        server: String,
        /// Why.
        reason: String,
    },
    /// It did not prove who it is, or speaks no TLS that we speak.
    #[error("no TLS with {server}: {reason}")]
    Tls {
        /// HOST:PORT.
        server: String,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("{server} did not answer within {} s", limit.as_secs())]
    TimeOut {
        /// HOST:PORT.
        server: String,
        /// How long it had.
        limit: Duration,
    },
    /// The connection broke, or what came is no LDAP.
    #[error("the connection to {server} broke: {reason}")]
    Broken {
        /// HOST:PORT.
        server: String,
        /// Why.
        reason: String,
    },
    /// It answered, and will not.
    #[error("{server} refuses {what}: {code}{}{}", meaning(*.code), in_its_words(.text))]
    Refused {
        /// HOST:PORT.
        server: String,
        /// What it was asked for.
        what: String,
        /// Its code.
        code: ResultCode,
        /// Its explanation, cut; empty if there is none.
        text: String,
    },
}

/// What a code means for whoever set it up, where that can be said.
const fn meaning(code: ResultCode) -> &'static str {
    match code.0 {
        8 | 13 => "; it wants TLS first: url = \"ldaps://..\", or start-tls",
        10 => "; it refers to another server: name the one that takes changes",
        17 => "; its schema does not have the attribute or object class: it needs those of RFC 4523",
        32 => "; the entry, or the one above it, is not there",
        34 => "; it does not take the entry's name",
        49 => "; bind-dn or the password is wrong",
        50 => "; bind-dn may not do that",
        51 | 52 => "; it cannot do so just now",
        65 => {
            "; the entry's object classes do not allow it: pkiCA, cRLDistributionPoint, or deltaCRL for a delta"
        }
        _ => "",
    }
}

fn in_its_words(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("; in its words: {text}") }
}

/// The directory servers, by name.
#[derive(Clone, Default)]
pub struct Directories(pub BTreeMap<DirectoryName, Arc<dyn Directory>>);

impl fmt::Debug for Directories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let refused = |code, text: &str| {
            let (server, what) = ("ldap.example:636".to_owned(), "the bind".to_owned());
            DirectoryError::Refused { server, what, code: ResultCode(code), text: text.to_owned() }
                .to_string()
        };
        assert_eq!(
            refused(49, ""),
            "ldap.example:636 refuses the bind: invalidCredentials (49); bind-dn or the password is wrong"
        );
        assert!(refused(80, "no space").ends_with("other (80); in its words: no space"));
    }
}
