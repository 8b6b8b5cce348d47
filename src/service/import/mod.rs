//! Imports: the certificates and revocations of another CA, taken over so that a migration keeps their status.
//!
//! The CA becomes an *external issuer*: its certificate is here, its key is not. What it issued is recorded under its name, and has
//! its status from its causes like anything else: it is listed, revoked and put on hold here. OCSP says `unauthorized` of it until
//! somebody gives us the right to sign answers about it ([`super::responder`]): nobody here has it by himself. A CRL of an external issuer
//! can be signed by nobody here; its own last one may be imported and is served. Where the CA is one of our own (same subject, same
//! key) the import fills the records of that issuer, OCSP answers as ever, and the numbers of our CRLs go on above that of the CRL that
//! was imported.
//!
//! Sources come in batches, each one transaction; an import that broke off is repeated, and what is here already is passed over
//! without a write. Whoever reads the sources (the command line) sends a CRL last: its number must not be passed before its
//! entries are here. What a source tells of a certificate, and what comes of it, is [`crate::domain::import`].
//!
//! Everything here works on a store alone, without a gateway on it; [`Gateway`] adds what must follow in a running one.

mod bind;
mod plan;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use bind::BindRule;
use plan::Plan;

use super::{Gateway, ServiceError, audit::Act, certificate::RevocationView};
use crate::{
    domain::{
        access::{Administer, Authed},
        crl::{CrlRecord, CrlScope},
        import::{SourceCrl, Told, ToldStanding},
        issuer::{ExternalIssuer, OcspAuthority},
        queue::JobKind,
        status::Revocation,
    },
    ports::{Store, Tx, View},
    types::{CertificateId, Fingerprint, IssuerId, SerialNumber, Timestamp},
    wire::{crl::CrlHead, x509::Certificate},
};

/// Certificates in one batch at most.
pub const MAX_BATCH: usize = 5_000;

/// Longest subject that is kept, in bytes.
const MAX_SUBJECT: usize = 1_024;

/// The CA that is imported from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewImport {
    /// Its certificate, as PEM text.
    pub issuer_certificate: String,
    /// What it is to be called here; by default after its common name. A CA that is known keeps its name.
    #[serde(default)]
    pub name: Option<IssuerId>,
}

/// Under which name its certificates are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportTarget {
    /// The name.
    pub issuer: IssuerId,
    /// Its key is not here; else it is one of our own issuers.
    pub external: bool,
    /// It was not known before.
    pub created: bool,
    /// Its subject.
    pub subject: String,
}

/// A part of a source.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportBatch {
    /// What it is from, for the record: a file's name.
    pub source: String,
    /// At most [`MAX_BATCH`].
    pub certificates: Vec<ImportLine>,
    /// By what the certificates are bound to devices or users; none: they are not.
    #[serde(default)]
    pub bind: Option<BindRule>,
    /// The CRL whose entries they are; none: they are from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<SourceCrl>,
}

/// What a source tells of one certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// Its place in the source, for messages.
    #[serde(default)]
    pub line: u64,
    /// Its serial number; needed where there is no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SerialNumber>,
    /// The certificate, DER in Base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it is revoked or on hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationView>,
    /// The source says that it is neither revoked nor on hold: not only that it says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub good: bool,
}

/// What came of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Certificates that were not known before.
    pub added: u64,
    /// Certificates of which more is known now.
    pub completed: u64,
    /// Certificates that are revoked now and were not.
    pub revoked: u64,
    /// Certificates that are on hold now and were not.
    pub held: u64,
    /// Certificates whose hold the CA has released.
    pub released: u64,
    /// Certificates of which everything was known.
    pub unchanged: u64,
    /// Holds that were passed over: a newer CRL of the CA was imported before.
    #[serde(default)]
    pub outdated: u64,
    /// Certificates that are bound to a device or user now and were not.
    #[serde(default)]
    pub bound: u64,
    /// Certificates that should be bound and could not be.
    #[serde(default)]
    pub unbound: Vec<RefusedLine>,
    /// What was not taken over.
    pub refused: Vec<RefusedLine>,
}

/// What was not taken over, or not bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLine {
    /// Its place in the source.
    pub line: u64,
    /// Why.
    pub problem: String,
}

/// A CRL that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedCrl {
    /// Whose.
    pub issuer: IssuerId,
    /// cRLNumber.
    pub number: Option<u64>,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Option<Timestamp>,
    /// How many certificates it lists.
    pub entries: u64,
    /// It is about a partition of the certificates (issuingDistributionPoint).
    #[serde(default)]
    pub partial: bool,
    /// It is published until a newer one is imported. Only the full one of an external issuer, with a number and a nextUpdate.
    pub published: bool,
}

/// A CRL of `issuer`, of all its certificates or of a partition, checked: its signature verifies under the CA's key.
#[derive(Clone, Debug)]
pub struct CheckedCrl {
    head: CrlHead,
    entries: u64,
}

impl CheckedCrl {
    /// Reads and checks; each entry is handed to `visit`, before the signature is checked.
    pub fn scan(
        der: &[u8],
        issuer: &Certificate,
        mut visit: impl FnMut(crate::wire::crl::CrlEntry),
    ) -> Result<Self, ServiceError> {
        let wrong = |problem: String| ServiceError::invalid("crl", problem);
        let mut entries = 0;
        let head = CrlHead::scan_part(der, |entry| {
            entries += 1;
            visit(entry);
        })
        .map_err(|error| wrong(error.to_string()))?;
        if !head.issuer().matches(issuer.subject()) {
            return Err(wrong(format!("it is one of {}", head.issuer())));
        }
        head.verify(der, issuer)
            .map_err(|_| wrong("its signature does not verify under the key of the CA".to_owned()))?;
        Ok(Self { head, entries })
    }

    /// How many certificates it lists.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Which one it is.
    pub fn source(&self) -> SourceCrl {
        source_of(&self.head)
    }
}

fn source_of(head: &CrlHead) -> SourceCrl {
    let part = head.distribution_point().map(|urls| Fingerprint::of(urls.join("\n").as_bytes()));
    SourceCrl { number: head.number().filter(|_| part.is_none()), this_update: head.this_update(), part }
}

/// Finds the CA among the issuers and external issuers, or records it as an external one.
pub fn open(store: &dyn Store, act: &Act, new: &NewImport) -> Result<ImportTarget, ServiceError> {
    let wrong = |problem: String| ServiceError::invalid("issuer_certificate", problem);
    let certificate =
        Certificate::from_pem(&new.issuer_certificate).map_err(|error| wrong(error.to_string()))?;
    // X.509 version 1 knows no basicConstraints; roots of that age are self-issued.
    if !certificate.is_ca() && !certificate.is_self_issued() {
        return Err(wrong(format!("{} is no CA", certificate.subject())));
    }
    store.write(|tx| open_in(tx, act, new, &certificate))
}

fn open_in(
    tx: &mut dyn Tx,
    act: &Act,
    new: &NewImport,
    certificate: &Certificate,
) -> Result<ImportTarget, ServiceError> {
    let target = |issuer: &IssuerId, external, created| ImportTarget {
        issuer: issuer.clone(),
        external,
        created,
        subject: certificate.subject().to_string(),
    };
    let named_so = |id: &IssuerId| match &new.name {
        Some(name) if name != id => {
            Err(ServiceError::Conflict(format!("this CA is known already, by the name {id}")))
        }
        _ => Ok(()),
    };
    for issuer in tx.issuers()? {
        if is_same_ca(&issuer.certificate, certificate)? {
            named_so(&issuer.id)?;
            return Ok(target(&issuer.id, false, false));
        }
    }
    for mut issuer in tx.external_issuers()? {
        if is_same_ca(&issuer.certificate, certificate)? {
            named_so(&issuer.id)?;
            let known = Certificate::from_der(&issuer.certificate)?;
            if known.validity().not_after < certificate.validity().not_after {
                issuer.certificate = certificate.as_der().to_vec();
                tx.put_external_issuer(&issuer)?;
                tx.append_audit(&recorded(act, "issuer.renewed", &issuer.id, certificate))?;
            }
            return Ok(target(&issuer.id, true, false));
        }
    }
    let id = match &new.name {
        Some(name) if is_taken(tx.as_view(), name)? => {
            return Err(ServiceError::Conflict(format!("another issuer has the name {name}")));
        }
        Some(name) => name.clone(),
        None => free_name(tx.as_view(), certificate)?,
    };
    tx.put_external_issuer(&ExternalIssuer {
        id: id.clone(),
        certificate: certificate.as_der().to_vec(),
        created_at: act.at,
        ocsp: OcspAuthority::None,
        requested: None,
    })?;
    tx.append_audit(&recorded(act, "issuer.recorded", &id, certificate))?;
    Ok(target(&id, true, true))
}

fn recorded(
    act: &Act,
    action: &str,
    id: &IssuerId,
    certificate: &Certificate,
) -> crate::domain::audit::AuditFact {
    let subject = ("subject", certificate.subject().to_string());
    act.fact(action, id, &[subject, ("fingerprint", certificate.fingerprint().to_string())])
}

/// A CA is its name and its key (RFC 6960 §4.1.1), whatever became of its certificate.
fn is_same_ca(known: &[u8], other: &Certificate) -> Result<bool, ServiceError> {
    let known = Certificate::from_der(known)?;
    Ok(known.subject().matches(other.subject()) && known.public_key() == other.public_key())
}

fn is_taken(view: &dyn View, id: &IssuerId) -> Result<bool, ServiceError> {
    // At `/crl/NAME-delta.crl` is the delta of NAME, which its certificates may name.
    let stem = id.as_str().strip_suffix("-delta").and_then(|stem| stem.parse().ok());
    let has_delta = match stem {
        Some(stem) => view.issuer(&stem)?.is_some(),
        None => false,
    };
    // Nor one whose CRL numbers a CA has used that an accepted older database does not know: they would be in the way of the CRLs that are imported.
    let is_used = view.crl_mark(id)?.is_some();
    Ok(has_delta || is_used || view.issuer(id)?.is_some() || view.external_issuer(id)?.is_some())
}

/// The common name in small letters, with a number where that is taken.
fn free_name(view: &dyn View, certificate: &Certificate) -> Result<IssuerId, ServiceError> {
    const LONGEST: usize = 50;
    let letters = certificate.subject().common_name().unwrap_or_default().to_ascii_lowercase();
    let words = letters.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let joined = words.collect::<Vec<_>>().join("-");
    let cut = joined.get(..LONGEST).unwrap_or(&joined).trim_end_matches('-');
    let stem = if cut.is_empty() { "external" } else { cut };
    for number in 1_u32.. {
        let name = if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") };
        let id: IssuerId = name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        if !is_taken(view, &id)? {
            return Ok(id);
        }
    }
    Err(ServiceError::invalid("name", "every name is taken"))
}

/// Takes a part of a source over, in one transaction. Gives what came of it, and the certificates whose status, or end where they are listed, moved.
pub fn take(
    store: &dyn Store,
    act: &Act,
    issuer: &IssuerId,
    batch: &ImportBatch,
) -> Result<(ImportReport, Vec<CertificateId>), ServiceError> {
    if batch.certificates.len() > MAX_BATCH {
        return Err(ServiceError::invalid("certificates", format_args!("at most {MAX_BATCH} at a time")));
    }
    let ca = store.read(|view| certificate_of(view, issuer))?;
    // Signatures are checked before the transaction: nothing slow happens inside.
    let mut refused = Vec::new();
    let mut told = Vec::new();
    for line in &batch.certificates {
        match line.read(&ca) {
            Ok(read) => told.push((line.line, read)),
            Err(problem) => refused.push(RefusedLine { line: line.line, problem }),
        }
    }
    // Most of an import that is repeated is here already, and costs no commit.
    let plan = store.read(|view| Plan::of(view, act, issuer, &told, batch))?;
    let (mut report, moved) = if plan.is_empty() {
        (plan.report(&[]), Vec::new())
    } else {
        store.write(|tx| {
            let plan = Plan::of(tx.as_view(), act, issuer, &told, batch)?;
            let changed = plan.carry_out(tx, act)?;
            let report = plan.report(&changed);
            tx.append_audit(&taken(act, issuer, batch, &report))?;
            let moved = changed.into_iter().map(|(id, _)| id).chain(plan.listed_with_another_end());
            Ok::<_, ServiceError>((report, moved.collect()))
        })?
    };
    report.refused.append(&mut refused);
    report.refused.sort_by_key(|refused| refused.line);
    Ok((report, moved))
}

fn certificate_of(view: &dyn View, issuer: &IssuerId) -> Result<Certificate, ServiceError> {
    let own = view.issuer(issuer)?.map(|issuer| issuer.certificate);
    let der = match own {
        Some(der) => Some(der),
        None => view.external_issuer(issuer)?.map(|issuer| issuer.certificate),
    };
    Ok(Certificate::from_der(&der.ok_or_else(|| ServiceError::not_found("issuer", issuer))?)?)
}

fn taken(
    act: &Act,
    issuer: &IssuerId,
    batch: &ImportBatch,
    report: &ImportReport,
) -> crate::domain::audit::AuditFact {
    let line = |line: Option<&ImportLine>| line.map_or_else(String::new, |line| line.line.to_string());
    act.fact(
        "certificates.imported",
        issuer,
        &[
            ("source", batch.source.clone()),
            ("first-line", line(batch.certificates.first())),
            ("last-line", line(batch.certificates.last())),
            ("added", report.added.to_string()),
            ("completed", report.completed.to_string()),
            ("revoked", report.revoked.to_string()),
            ("held", report.held.to_string()),
            ("released", report.released.to_string()),
            ("outdated", report.outdated.to_string()),
            ("bound", report.bound.to_string()),
            ("refused", report.refused.len().to_string()),
        ],
    )
}

impl ImportLine {
    /// What it tells, checked as far as that needs no store; or what is wrong with it.
    fn read(&self, ca: &Certificate) -> Result<Told, String> {
        let certificate = self.certificate.as_ref().map(|text| issued_by(ca, text)).transpose()?;
        let serial = match (&self.serial, &certificate) {
            (Some(serial), Some(certificate)) if serial != certificate.serial() => {
                return Err(format!("its serial number is {}, not {serial}", certificate.serial()));
            }
            (_, Some(certificate)) => certificate.serial().clone(),
            (Some(serial), None) => serial.clone(),
            (None, None) => return Err("it has no serial number".to_owned()),
        };
        if self.subject.as_ref().is_some_and(|subject| subject.len() > MAX_SUBJECT) {
            return Err(format!("its subject is longer than {MAX_SUBJECT} bytes"));
        }
        let standing = match &self.revocation {
            Some(it) => ToldStanding::Revoked(Revocation {
                at: it.at,
                reason: it.reason,
                invalidity_date: it.invalidity_date,
            }),
            None if self.good => ToldStanding::Good,
            None => ToldStanding::Untold,
        };
        let (not_after, subject) = (self.not_after, self.subject.clone());
        Ok(Told { serial, certificate: certificate.map(Box::new), not_after, subject, standing })
    }
}

fn issued_by(ca: &Certificate, text: &str) -> Result<Certificate, String> {
    let der = BASE64_STANDARD.decode(text).map_err(|_| "its certificate is not Base64")?;
    let certificate = Certificate::from_der(&der).map_err(|error| error.to_string())?;
    if !certificate.issuer().matches(ca.subject()) {
        return Err(format!("another CA issued it: {}", certificate.issuer()));
    }
    if certificate.signature_algorithm().is_none() {
        return Err("its signature is of a kind that cannot be checked".to_owned());
    }
    certificate
        .is_signed_by(ca)
        .map_err(|_| "its signature does not verify under the key of the CA".to_owned())?;
    Ok(certificate)
}

/// Takes over what a CRL is beside its entries, which come first. Gives the record that is to be published now, too.
pub fn take_crl(
    store: &dyn Store,
    act: &Act,
    issuer: &IssuerId,
    der: &[u8],
) -> Result<(ImportedCrl, Option<CrlRecord>), ServiceError> {
    let (ca, external) = store.read(|view| {
        Ok::<_, ServiceError>((certificate_of(view, issuer)?, view.external_issuer(issuer)?.is_some()))
    })?;
    let CheckedCrl { head, entries } = CheckedCrl::scan(der, &ca, drop)?;
    let mut imported = ImportedCrl {
        issuer: issuer.clone(),
        number: head.number(),
        this_update: head.this_update(),
        next_update: head.next_update(),
        entries,
        partial: head.distribution_point().is_some(),
        published: false,
    };
    // No CRL will follow the last one of a CA of ours that has expired: that one stays.
    if !external && ca.validity().not_after <= act.at {
        return Ok((imported, None));
    }
    let next_update = head.next_update().filter(|_| external).or((!external).then_some(act.at));
    // One of a partition would call good what is on another.
    let is_part = external && head.distribution_point().is_some();
    let (Some(number), Some(next_update)) = (head.number().filter(|_| !is_part), next_update) else {
        if external {
            remember(store, act, issuer, &source_of(&head))?;
        }
        return Ok((imported, None));
    };
    let record = CrlRecord {
        issuer: issuer.clone(),
        scope: CrlScope::Full,
        base_number: None,
        number,
        this_update: head.this_update(),
        next_update,
        entries: if external { entries } else { 0 },
        // Of a CA of ours only the number is of use: the next CRL is ours again.
        der: if external { Bytes::copy_from_slice(der) } else { Bytes::new() },
    };
    let fact = act.fact("crl.imported", issuer, &[("number", number.to_string())]);
    let known = store.write(|tx| {
        let known = tx.crl_mark(issuer)?.map(|known| known.number);
        if known.is_none_or(|known| known < number) {
            tx.put_crl(&record)?;
            if !external {
                tx.enqueue(&JobKind::BuildCrl { issuer: issuer.clone() }, act.at)?;
            }
            tx.append_audit(&fact)?;
        }
        Ok::<_, ServiceError>(known)
    })?;
    // A newer one that was imported before stays.
    imported.published = external && known.is_none_or(|known| known <= number);
    let newer = known.is_none_or(|known| known < number);
    Ok((imported, (newer && external).then_some(record)))
}

/// Keeps the time of an external issuer's CRL that is not published, so that one that is older is known to be. Not of one from the future:
/// what the CA says until then would be older, for good.
fn remember(store: &dyn Store, act: &Act, issuer: &IssuerId, crl: &SourceCrl) -> Result<(), ServiceError> {
    let is_news = |view: &dyn View| {
        let known = view.imported_crl(issuer, crl.part.as_ref())?;
        Ok::<_, ServiceError>(crl.this_update <= act.at && known.is_none_or(|known| known < crl.this_update))
    };
    if !store.read(is_news)? {
        return Ok(());
    }
    store.write(|tx| {
        if is_news(tx.as_view())? {
            tx.put_imported_crl(issuer, crl.part.as_ref(), crl.this_update)?;
            let this_update = ("this-update", crl.this_update.to_string());
            tx.append_audit(&act.fact("crl.imported", issuer, &[this_update]))?;
        }
        Ok(())
    })
}

impl Gateway {
    /// Begins an import: see [`open`].
    pub fn open_import(
        &self,
        authed: &Authed<Administer>,
        new: &NewImport,
    ) -> Result<ImportTarget, ServiceError> {
        let target = open(self.ports.store.as_ref(), &Act::of(authed, self.now()), new)?;
        self.reload_authorities()?;
        Ok(target)
    }

    /// Takes a part of a source over: see [`take`]. When it returns, the snapshot has it, and with it OCSP.
    pub fn import_certificates(
        &self,
        authed: &Authed<Administer>,
        issuer: &IssuerId,
        batch: &ImportBatch,
    ) -> Result<ImportReport, ServiceError> {
        let (act, accepted) = (Act::of(authed, self.now()), self.accepted());
        let _importing = self.status.importing();
        let (report, moved) = take(self.ports.store.as_ref(), &act, issuer, batch)?;
        self.status_moved(&moved, accepted)?;
        Ok(report)
    }

    /// Takes a CRL over, after its entries: see [`take_crl`].
    pub fn import_crl(
        &self,
        authed: &Authed<Administer>,
        issuer: &IssuerId,
        der: &[u8],
    ) -> Result<ImportedCrl, ServiceError> {
        let act = Act::of(authed, self.now());
        let (imported, published) = take_crl(self.ports.store.as_ref(), &act, issuer, der)?;
        if let Some(record) = published {
            self.crls.publish_imported(&record);
        }
        self.wake();
        Ok(imported)
    }
}
