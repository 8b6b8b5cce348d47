//! Directory servers to which CRLs and CA certificates are published (RFC 4523): which entry, which attribute, and what may be written over
//! what.
//!
//! Every issuer has an entry of its own. The generations of a CA have one name and different keys, and clients take the first value of an
//! attribute: two CRLs in one entry would be one too many.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::{
    crl::{CrlScope, Partition},
    issuer::IssuerKind,
};
use crate::{
    types::{DirectoryName, IssuerId, Timestamp},
    wire::x509::Name,
};

/// What a name keeps in a URL: the letters of `unreserved`, and those of `reserved` that RFC 4514 names need and that separate nothing
/// here (RFC 4516 §2.1, RFC 3986 §2.2).
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b',')
    .remove(b'=')
    .remove(b'+');

/// What stands for an issuer's name in [`Placement::template`].
const ISSUER: &str = "$ISSUER$";

/// The name of an entry: text of RFC 4514.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryName(String);

/// Text that names no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no distinguished name: {1}")]
pub struct EntryNameError(String, String);

impl FromStr for EntryName {
    type Err = EntryNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| EntryNameError(text.to_owned(), why);
        let name: Name = text.parse().map_err(|error| wrong(format!("{error}")))?;
        if name.is_empty() { Err(wrong("it is empty".to_owned())) } else { Ok(Self(text.trim().to_owned())) }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl EntryName {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commonName that its first RDN has: what an entry needs to be made as a cRLDistributionPoint.
    pub fn common_name(&self) -> Option<String> {
        let (keyword, _) = self.0.split_once('=')?;
        let named = ["cn", "commonName", "2.5.4.3"].iter().any(|it| it.eq_ignore_ascii_case(keyword.trim()));
        if named { self.0.parse::<Name>().ok()?.common_name() } else { None }
    }

    /// The entry of a partition, below that of its issuer. Digits and letters need no escaping (RFC 4514 §2.4).
    #[must_use]
    pub fn of_partition(&self, Partition { of, index }: Partition) -> Self {
        Self(format!("cn={index} of {of},{}", self.0))
    }

    /// Whether both are the same entry, however they are spelt.
    pub fn matches(&self, other: &Self) -> bool {
        match (self.0.parse::<Name>(), other.0.parse::<Name>()) {
            (Ok(one), Ok(other)) => one.matches(&other),
            _ => self.0.eq_ignore_ascii_case(&other.0),
        }
    }
}

/// Where an issuer's CRLs and its certificate go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The entry of every issuer that [`Placement::entries`] does not name, with `$ISSUER$` for its name.
    pub template: Option<String>,
    /// Entries of some issuers.
    pub entries: BTreeMap<IssuerId, EntryName>,
    /// Which issuers are published, by the name of their line or their own; empty: all.
    pub issuers: Vec<IssuerId>,
}

impl Placement {
    /// The entry of an issuer of this line; none: it is not published here.
    pub fn entry_of(&self, issuer: &IssuerId, line: &IssuerId) -> Option<EntryName> {
        let wanted = |named: &IssuerId| named == issuer || named == line;
        if let Some(entry) = self.entries.get(issuer) {
            return Some(entry.clone());
        }
        if !self.issuers.is_empty() && !self.issuers.iter().any(wanted) {
            return None;
        }
        self.template.as_ref()?.replace(ISSUER, issuer.as_str()).parse().ok()
    }

    /// Whether a template gives every issuer an entry of its own.
    pub fn check_template(text: &str) -> Result<(), EntryNameError> {
        text.replace(ISSUER, "issuing").parse::<EntryName>()?;
        if text.contains(ISSUER) {
            return Ok(());
        }
        let why = format!("it has no {ISSUER}, and every issuer needs an entry of its own");
        Err(EntryNameError(text.to_owned(), why))
    }
}

/// What certgate does with a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPolicy {
    /// Where things go.
    pub placement: Placement,
    /// Whether the certificates of the CAs are published too.
    pub ca_certificates: bool,
    /// Whether entries are made that are not there.
    pub create_entries: bool,
    /// The directory may be behind for so long before it is an alarm.
    pub alarm_after: Duration,
    /// `ldap://HOST[:PORT]`, where certificates are to name the CRLs in this directory.
    pub certificate_url: Option<String>,
}

impl DirectoryPolicy {
    /// The URL by which certificates name the CRL of this scope; none: they do not.
    ///
    /// With the entry, one attribute and the host (RFC 5280 §4.2.1.13). Scope and filter are the defaults of RFC 4516 §2: this entry, whatever its
    /// object classes are, for an operator may have made it.
    pub fn crl_url(&self, issuer: &IssuerId, line: &IssuerId, scope: CrlScope) -> Option<String> {
        let base = self.certificate_url.as_ref()?;
        let entry = entry_of_scope(&self.placement.entry_of(issuer, line)?, scope);
        let [attribute, ..] = DirectoryAttribute::of_crl(scope, IssuerKind::Subordinate) else { return None };
        let name = utf8_percent_encode(entry.as_str(), IN_URL);
        Some(format!("{base}/{name}?{}", attribute.description()))
    }
}

/// Attributes of RFC 4523, with the option that says how their values travel (§2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryAttribute {
    /// The certificates of a CA.
    CaCertificate,
    /// A full CRL, or that of a partition.
    CertificateRevocationList,
    /// The same, where CAs are what it is about.
    AuthorityRevocationList,
    /// A delta CRL.
    DeltaRevocationList,
}

impl DirectoryAttribute {
    /// Its description in LDAP.
    pub const fn description(self) -> &'static str {
        match self {
            Self::CaCertificate => "cACertificate;binary",
            Self::CertificateRevocationList => "certificateRevocationList;binary",
            Self::AuthorityRevocationList => "authorityRevocationList;binary",
            Self::DeltaRevocationList => "deltaRevocationList;binary",
        }
    }

    /// Whether a directory that writes `description` means this one: case does not count, nor does the option, which some leave out.
    pub fn is(self, description: &str) -> bool {
        let bare = |text: &'static str| text.trim_end_matches(";binary");
        let found = description.split(';').next().unwrap_or_default();
        bare(self.description()).eq_ignore_ascii_case(found)
    }

    /// The attributes that hold the CRL of this scope. The CRL of a root is about CAs: clients that check a CA look into
    /// authorityRevocationList first, others know certificateRevocationList alone.
    pub const fn of_crl(scope: CrlScope, kind: IssuerKind) -> &'static [Self] {
        match (scope, kind) {
            (CrlScope::Delta, _) => &[Self::DeltaRevocationList],
            (CrlScope::Full, IssuerKind::Root) => {
                &[Self::CertificateRevocationList, Self::AuthorityRevocationList]
            }
            (CrlScope::Full | CrlScope::Partition(_), _) => &[Self::CertificateRevocationList],
        }
    }
}

/// The entry of an issuer's CRL of this scope: partitions have entries below the issuer's.
pub fn entry_of_scope(issuer: &EntryName, scope: CrlScope) -> EntryName {
    match scope {
        CrlScope::Full | CrlScope::Delta => issuer.clone(),
        CrlScope::Partition(partition) => issuer.of_partition(partition),
    }
}

/// What a directory has in the place of a CRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing that is a CRL.
    Nothing,
    /// A CRL that this issuer signed, with its number.
    Own(u64),
    /// The very CRL that is to be there.
    Same,
    /// A CRL of somebody else.
    Foreign,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is as it should be.
    Leave,
    /// It is written.
    Write,
}

/// Why a CRL is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// An older CRL never takes the place of a newer one.
    #[error("the directory has a newer CRL, number {held}, and ours is {ours}: it is left as it is")]
    Newer {
        /// The number of the one that is there.
        held: u64,
        /// Of the one that was to be written.
        ours: u64,
    },
    /// The entry is another CA's.
    #[error("the entry has a CRL of another CA: it is left as it is")]
    Foreign,
}

/// Whether the CRL with the number `ours` is written over what is there.
pub fn step(held: Held, ours: u64) -> Result<Step, NotWritten> {
    match held {
        Held::Same => Ok(Step::Leave),
        Held::Nothing => Ok(Step::Write),
        // One with the same number that reads otherwise was signed by an issuer that lost its memory: ours is the one on HTTP.
        Held::Own(held) if held <= ours => Ok(Step::Write),
        Held::Own(held) => Err(NotWritten::Newer { held, ours }),
        Held::Foreign => Err(NotWritten::Foreign),
    }
}

/// A CRL that is in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedThere {
    /// What it is about.
    pub scope: CrlScope,
    /// cRLNumber.
    pub number: u64,
}

/// What is known of an issuer in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The directory.
    pub directory: DirectoryName,
    /// Whose.
    pub issuer: IssuerId,
    /// In which entry.
    pub entry: EntryName,
    /// The CRLs that are there.
    pub crls: Vec<PublishedThere>,
    /// When they were seen or written there last.
    pub published_at: Option<Timestamp>,
    /// The first failure since.
    pub failing_since: Option<Timestamp>,
    /// Why the last try failed.
    pub problem: Option<String>,
}

impl Publication {
    /// Nothing is known yet.
    pub const fn new(directory: DirectoryName, issuer: IssuerId, entry: EntryName) -> Self {
        Self {
            directory,
            issuer,
            entry,
            crls: Vec::new(),
            published_at: None,
            failing_since: None,
            problem: None,
        }
    }

    /// After a try that wrote, or found there, all of these.
    #[must_use]
    pub fn succeeded(self, crls: Vec<PublishedThere>, now: Timestamp) -> Self {
        Self { crls, published_at: Some(now), failing_since: None, problem: None, ..self }
    }

    /// After a try that failed; these are there nevertheless.
    #[must_use]
    pub fn failed(self, crls: Vec<PublishedThere>, why: String, now: Timestamp) -> Self {
        let failing_since = self.failing_since.or(Some(now));
        Self { crls, failing_since, problem: Some(why), ..self }
    }

    /// The number of the CRL of this scope that is there.
    pub fn number_of(&self, scope: CrlScope) -> Option<u64> {
        self.crls.iter().find(|crl| crl.scope == scope).map(|crl| crl.number)
    }

    /// Since when the directory does not have the newest CRLs, each with its scope, number and thisUpdate.
    pub fn behind_since(
        &self,
        newest: impl IntoIterator<Item = (CrlScope, u64, Timestamp)>,
    ) -> Option<Timestamp> {
        let missing = newest.into_iter().filter(|(scope, number, _)| self.number_of(*scope) < Some(*number));
        let oldest = missing.map(|(_, _, this_update)| this_update).min();
        match (self.failing_since, oldest) {
            (Some(failing), Some(missing)) => Some(failing.min(missing)),
            (failing, missing) => failing.or(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> EntryName {
        text.parse().unwrap()
    }

    #[test]
    fn an_older_crl_never_takes_the_place_of_a_newer_one() {
        assert_eq!(step(Held::Nothing, 1), Ok(Step::Write));
        assert_eq!(step(Held::Own(6), 7), Ok(Step::Write));
        assert_eq!(step(Held::Own(7), 7), Ok(Step::Write));
        assert_eq!(step(Held::Own(8), 7), Err(NotWritten::Newer { held: 8, ours: 7 }));
        assert_eq!(step(Held::Same, 7), Ok(Step::Leave));
        assert_eq!(step(Held::Foreign, 7), Err(NotWritten::Foreign));
    }

    #[test]
    fn each_issuer_has_an_entry_of_its_own() {
        let id = |text: &str| text.parse::<IssuerId>().unwrap();
        let own = BTreeMap::from([(id("root"), entry("cn=Root,o=Lab"))]);
        let all = Placement {
            template: Some("cn=$ISSUER$,ou=pki,o=Lab".to_owned()),
            entries: own.clone(),
            issuers: Vec::new(),
        };
        let of = |placement: &Placement, issuer: &str, line: &str| {
            placement.entry_of(&id(issuer), &id(line)).map(|entry| entry.to_string())
        };
        assert_eq!(of(&all, "issuing-2", "issuing").unwrap(), "cn=issuing-2,ou=pki,o=Lab");
        assert_eq!(of(&all, "root", "root").unwrap(), "cn=Root,o=Lab");
        let some = Placement { issuers: vec![id("issuing")], ..all.clone() };
        assert_eq!(of(&some, "issuing-2", "issuing").unwrap(), "cn=issuing-2,ou=pki,o=Lab");
        assert_eq!(of(&some, "vpn", "vpn"), None);
        assert_eq!(of(&some, "root", "root").unwrap(), "cn=Root,o=Lab", "it is named");
        let named = Placement { template: None, ..all };
        assert_eq!(of(&named, "issuing", "issuing"), None);
    }

    #[test]
    fn a_template_must_tell_issuers_apart() {
        assert!(Placement::check_template("cn=$ISSUER$,dc=lab,dc=example").is_ok());
        let error = |text| Placement::check_template(text).unwrap_err().to_string();
        assert!(error("cn=CA,dc=lab").contains("$ISSUER$"));
        assert!(error("$ISSUER$").contains("is no distinguished name"));
        assert!(error("cn=$ISSUER$,nonsense").contains("ATTRIBUTE=value"));
    }

    #[test]
    fn escapes_are_read_and_names_compared_by_what_they_mean() {
        let parent = entry("cn=Lab\\, \\22CA\\22 \\+ Co,o=Lab");
        assert_eq!(parent.common_name().unwrap(), "Lab, \"CA\" + Co");
        let partition = parent.of_partition(Partition { of: 16, index: 3 });
        assert_eq!(partition.as_str(), "cn=3 of 16,cn=Lab\\, \\22CA\\22 \\+ Co,o=Lab");
        assert_eq!(entry(partition.as_str()).common_name().unwrap(), "3 of 16", "it reads back");
        assert!(entry("cn=Lab\\2C \\\"CA\\\" \\2b Co , O=LAB").matches(&parent));
        assert!(entry("CN=Root,O=Lab").matches(&entry("cn=root , o=lab")));
        assert!(!entry("CN=Root,O=Lab").matches(&entry("cn=root 2,o=lab")));
        assert_eq!(entry("ou=crl,o=Lab").common_name(), None);
        for bad in ["", "cn", "cn=a,,o=b", "cn=a;b"] {
            assert!(bad.parse::<EntryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn certificates_name_entries_by_urls_that_read_back() {
        let id = |text: &str| text.parse::<IssuerId>().unwrap();
        let named = BTreeMap::from([(id("vpn"), entry("cn=Büro\\, 100%?#\\22,o=Lab"))]);
        let template = Some("cn=$ISSUER$,ou=Key Store,o=Lab".to_owned());
        let policy = DirectoryPolicy {
            placement: Placement { template, entries: named, issuers: Vec::new() },
            ca_certificates: true,
            create_entries: false,
            alarm_after: Duration::from_secs(60),
            certificate_url: Some("ldap://ldap.lab.example".to_owned()),
        };
        let url = |issuer: &str, scope| policy.crl_url(&id(issuer), &id(issuer), scope).unwrap();
        let base = "ldap://ldap.lab.example";
        assert_eq!(
            url("issuing", CrlScope::Full),
            format!("{base}/cn=issuing,ou=Key%20Store,o=Lab?certificateRevocationList;binary")
        );
        assert_eq!(
            url("issuing", CrlScope::Partition(Partition { of: 16, index: 3 })),
            format!("{base}/cn=3%20of%2016,cn=issuing,ou=Key%20Store,o=Lab?certificateRevocationList;binary")
        );
        assert!(url("issuing", CrlScope::Delta).ends_with("o=Lab?deltaRevocationList;binary"));
        let special = "cn=B%C3%BCro%5C,%20100%25%3F%23%5C22,o=Lab";
        assert_eq!(url("vpn", CrlScope::Full), format!("{base}/{special}?certificateRevocationList;binary"));
        let silent = DirectoryPolicy { certificate_url: None, ..policy };
        assert_eq!(silent.crl_url(&id("vpn"), &id("vpn"), CrlScope::Full), None);
    }

    #[test]
    fn partitions_have_entries_of_their_own_and_roots_two_attributes() {
        let issuer = entry("cn=issuing,o=Lab");
        let partition = CrlScope::Partition(Partition { of: 16, index: 3 });
        assert_eq!(entry_of_scope(&issuer, partition).as_str(), "cn=3 of 16,cn=issuing,o=Lab");
        assert_eq!(entry_of_scope(&issuer, CrlScope::Delta), issuer);
        assert_eq!(DirectoryAttribute::of_crl(CrlScope::Full, IssuerKind::Root).len(), 2);
        assert_eq!(DirectoryAttribute::of_crl(partition, IssuerKind::Subordinate).len(), 1);
        let crl = DirectoryAttribute::CertificateRevocationList;
        assert!(crl.is("certificaterevocationlist") && crl.is("certificateRevocationList;binary"));
        assert!(!crl.is("authorityRevocationList;binary"));
    }

    #[test]
    fn a_directory_is_behind_since_the_first_crl_that_it_missed() {
        let at = |seconds: u64| Timestamp::from_unix(1_800_000_000 + seconds);
        let there = |number| vec![PublishedThere { scope: CrlScope::Full, number }];
        let newest = |number, time| [(CrlScope::Full, number, at(time))];
        let fresh = Publication::new("main".parse().unwrap(), "issuing".parse().unwrap(), entry("cn=a,o=b"));
        assert_eq!(fresh.behind_since(newest(1, 5)), Some(at(5)));
        let done = fresh.succeeded(there(1), at(6));
        assert_eq!(done.behind_since(newest(1, 5)), None);
        let failed =
            done.failed(there(1), "down".to_owned(), at(10)).failed(there(1), "down".to_owned(), at(20));
        assert_eq!(failed.behind_since(newest(2, 9)), Some(at(9)));
        assert_eq!(failed.behind_since(newest(1, 5)), Some(at(10)), "it could not even be looked at");
        assert_eq!(failed.succeeded(there(2), at(30)).behind_since(newest(2, 9)), None);
    }
}
