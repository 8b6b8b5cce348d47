//! What was published, kept outside the database too: so that an older database is not taken for the present one.
//!
//! A database file that somebody copies back knows nothing of what came after the copy. Served, it would call certificates good that
//! are revoked, and publish CRLs under numbers that were used. A *checkpoint* is a small record in a file of its own: the number of
//! each issuer's newest CRL, and where the audit record stood. A database that does not reach it is *behind*.
//!
//! Where such a database is accepted, the numbers of issuers that it does not know are reserved in it, and stay in the checkpoint: the
//! next copy that is put in its place may be older than that.
//!
//! The number of a CRL is checkpointed before the CRL is published; the audit position with it, and once a minute while things
//! happen. So a copy that lacks a published CRL is always found out, and one that lacks something else if that is older than a
//! minute.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::restore::Restoration;
use crate::types::{Fingerprint, IssuerId, Timestamp};

/// Where things stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// When.
    pub at: Timestamp,
    /// The last audit event.
    pub audit: Option<AuditMark>,
    /// The newest CRL of each issuer; of one that was lost, the number that is reserved for whoever gets its name.
    pub crls: BTreeMap<IssuerId, CrlMark>,
}

/// An event of the audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditMark {
    /// Its sequence number.
    pub sequence: u64,
    /// Its hash: with it, everything before.
    pub hash: Fingerprint,
}

/// A CRL that was published, or is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrlMark {
    /// cRLNumber.
    pub number: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
}

/// What a database has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The hash of the event with the checkpoint's sequence number.
    pub hash_there: Option<Fingerprint>,
    /// The last audit event.
    pub audit: Option<AuditMark>,
    /// The newest CRL of each issuer.
    pub crls: BTreeMap<IssuerId, CrlMark>,
    /// From which backup it was restored last.
    pub restoration: Option<Restoration>,
}

/// How a database is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Shortfall {
    /// A CRL was published that it does not know.
    Crl {
        /// Whose.
        issuer: IssuerId,
        /// The number that was published.
        published: u64,
        /// The highest that it knows.
        known: u64,
    },
    /// Events were recorded that it does not have.
    AuditShort {
        /// The sequence number that was reached.
        reached: u64,
        /// The last that it has.
        known: u64,
    },
    /// Its audit record is another one: it went on from an older state.
    AuditForked {
        /// The sequence number of the event that is another.
        sequence: u64,
    },
    /// The checkpoint cannot be believed: it was changed, it is damaged, or it belongs to another gateway.
    Unbelievable {
        /// What is wrong with it.
        problem: String,
    },
}

impl std::fmt::Display for Shortfall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Crl { issuer, published, known } => {
                write!(f, "CRL number {published} of {issuer} was published, and the database knows {known}")
            }
            Self::AuditShort { reached, known } => {
                write!(f, "the audit record had reached event {reached}, and the database ends with {known}")
            }
            Self::AuditForked { sequence } => {
                write!(f, "event {sequence} of the audit record is not the one that was recorded")
            }
            Self::Unbelievable { problem } => write!(f, "the checkpoint cannot be believed: {problem}"),
        }
    }
}

impl Checkpoint {
    /// How the database is behind; nothing: it is not.
    ///
    /// A restore that came after the checkpoint is no accident: it was told the newest CRLs, or that they are lost, and its audit
    /// record is a new branch. Its CRL numbers are above all that can have been used, or it is behind like any other.
    pub fn shortfalls(&self, present: &Present) -> Vec<Shortfall> {
        let mut found = Vec::new();
        for (issuer, mark) in &self.crls {
            let known = present.crls.get(issuer).map_or(0, |mark| mark.number);
            if known < mark.number {
                found.push(Shortfall::Crl { issuer: issuer.clone(), published: mark.number, known });
            }
        }
        let restored = present.restoration.as_ref().is_some_and(|it| it.restored_at >= self.at);
        if let Some(mark) = self.audit.filter(|_| !restored) {
            let known = present.audit.map_or(0, |mark| mark.sequence);
            match present.hash_there {
                Some(hash) if hash == mark.hash => {}
                Some(_) => found.push(Shortfall::AuditForked { sequence: mark.sequence }),
                None => found.push(Shortfall::AuditShort { reached: mark.sequence, known }),
            }
        }
        found
    }

    /// Whether `present` has nothing beyond it.
    pub fn has(&self, present: &Present) -> bool {
        self.clone().advanced(present, self.at) == *self
    }

    /// The same with what `present` has beyond it: numbers never go back.
    #[must_use]
    pub fn advanced(mut self, present: &Present, at: Timestamp) -> Self {
        for (issuer, mark) in &present.crls {
            let known = self.crls.entry(issuer.clone()).or_insert(*mark);
            *known = (*known).max(*mark);
        }
        Self { at, audit: present.audit, crls: self.crls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn mark(sequence: u64) -> AuditMark {
        AuditMark { sequence, hash: Fingerprint::of(&sequence.to_be_bytes()) }
    }

    fn crls(number: u64) -> BTreeMap<IssuerId, CrlMark> {
        BTreeMap::from([("issuing".parse().unwrap(), CrlMark { number, this_update: NOW })])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { at: NOW, audit: Some(mark(7)), crls: crls(41) }
    }

    fn present(sequence: u64, number: u64) -> Present {
        let hash_there = (sequence >= 7).then(|| mark(7).hash);
        Present { hash_there, audit: Some(mark(sequence)), crls: crls(number), restoration: None }
    }

    #[test]
    fn a_database_that_reaches_it_is_not_behind() {
        assert_eq!(checkpoint().shortfalls(&present(7, 41)), []);
        assert_eq!(checkpoint().shortfalls(&present(9, 50)), []);
    }

    #[test]
    fn a_copy_from_before_is_behind() {
        let issuer = "issuing".parse().unwrap();
        let crl = Shortfall::Crl { issuer, published: 41, known: 40 };
        let short = Shortfall::AuditShort { reached: 7, known: 6 };
        assert_eq!(checkpoint().shortfalls(&present(6, 40)), [crl, short.clone()]);
        assert_eq!(checkpoint().shortfalls(&present(6, 41)), [short]);
        let nothing = Present { audit: None, crls: BTreeMap::new(), ..present(0, 0) };
        assert_eq!(checkpoint().shortfalls(&nothing).len(), 2);
    }

    #[test]
    fn a_copy_that_went_on_is_behind_however_far_it_came() {
        let other = Present { hash_there: Some(Fingerprint::of(b"other")), ..present(900, 900) };
        assert_eq!(checkpoint().shortfalls(&other), [Shortfall::AuditForked { sequence: 7 }]);
    }

    #[test]
    fn a_restore_after_it_is_no_accident_but_its_numbers_count() {
        let restored = |restored_at: Timestamp, number| Present {
            restoration: Some(Restoration { backup_of: NOW, restored_at, revocations_lost: false }),
            ..present(3, number)
        };
        assert_eq!(checkpoint().shortfalls(&restored(NOW, 90_000)), []);
        assert_eq!(checkpoint().shortfalls(&restored(NOW, 40)).len(), 1);
        // One before it says nothing of what was lost since.
        let before = NOW.minus(std::time::Duration::from_secs(1));
        assert_eq!(checkpoint().shortfalls(&restored(before, 90_000)).len(), 1);
    }

    #[test]
    fn numbers_never_go_back() {
        let later = NOW.plus(std::time::Duration::from_secs(9));
        let advanced = checkpoint().advanced(&present(9, 40), later);
        assert_eq!((advanced.at, advanced.audit, &advanced.crls), (later, Some(mark(9)), &crls(41)));
        assert_eq!(advanced.advanced(&present(9, 42), later).crls, crls(42));
    }

    #[test]
    fn what_it_has_is_nothing_new() {
        assert!(checkpoint().has(&present(7, 41)) && checkpoint().has(&present(7, 40)));
        assert!(!checkpoint().has(&present(8, 41)) && !checkpoint().has(&present(7, 42)));
    }
}
