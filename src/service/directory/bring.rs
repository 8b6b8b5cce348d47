//! What is written into a directory, over what.

use std::sync::Arc;

use super::Target;
use crate::{
    domain::{
        crl::CrlScope,
        directory::{
            DirectoryAttribute, EntryName, Held, NotWritten, PublishedThere, Step, entry_of_scope, step,
        },
    },
    ports::{DirectoryError, DirectorySession, EntryValues, NewValues},
    service::{Gateway, crl::PublishedCrl},
    wire::{crl::CrlHead, x509::Certificate},
};

/// What stands in for a value where a schema asks for one is shorter than any CRL or certificate (Active Directory has one zero byte).
const LONGEST_PLACEHOLDER: usize = 16;

/// What an entry shall have.
struct Wanted<'a> {
    entry: EntryName,
    crls: Vec<&'a PublishedCrl>,
    certificate: Option<&'a [u8]>,
}

impl Gateway {
    /// Brings everything that is newer than what is there. What is there afterwards is noted in `there`. Gives whether anything was
    /// written. Errors: the first problem, in plain words; the other entries are brought up to date nevertheless.
    pub(super) fn bring(&self, target: &Target<'_>, there: &mut Vec<PublishedThere>) -> Result<bool, String> {
        let crls = self.crls.settled(&target.authority.issuer.id);
        let wanted = wanted(target, &crls);
        let mut session = target.server.open().map_err(|error| error.to_string())?;
        there.retain(|known| crls.iter().any(|crl| crl.scope == known.scope));
        let (mut written, mut problem) = (false, None);
        for wanted in &wanted {
            match bring_entry(target, session.as_mut(), wanted, there) {
                Ok(wrote) => written |= wrote,
                Err(error) => {
                    problem.get_or_insert(error);
                }
            }
        }
        problem.map_or(Ok(written), Err)
    }
}

fn wanted<'a>(target: &'a Target<'_>, crls: &'a [Arc<PublishedCrl>]) -> Vec<Wanted<'a>> {
    let whole = |crl: &&PublishedCrl| !matches!(crl.scope, CrlScope::Partition(_));
    let all = || crls.iter().map(AsRef::as_ref);
    let certificate = target.policy.ca_certificates.then(|| target.authority.certificate.as_der());
    let own = Wanted { entry: target.entry.clone(), crls: all().filter(whole).collect(), certificate };
    let partitions = all().filter(|crl| !whole(crl)).map(|crl| Wanted {
        entry: entry_of_scope(&target.entry, crl.scope),
        crls: vec![crl],
        certificate: None,
    });
    std::iter::once(own).chain(partitions).collect()
}

/// Gives whether anything was written.
fn bring_entry(
    target: &Target<'_>,
    session: &mut dyn DirectorySession,
    wanted: &Wanted<'_>,
    there: &mut Vec<PublishedThere>,
) -> Result<bool, String> {
    let said = |error: DirectoryError| error.to_string();
    let found = session.read(&wanted.entry, &attributes(target, wanted)).map_err(said)?;
    if found.is_none() && !target.policy.create_entries {
        return Err(format!("there is no entry {}: make it, or allow create-entries", wanted.entry));
    }
    let is_new = found.is_none();
    let held = found.unwrap_or_default();
    let changes = changes(target, wanted, &held);
    if is_new {
        session.create(&wanted.entry, &changes.writes).map_err(said)?;
    } else if !changes.writes.is_empty() {
        session.replace(&wanted.entry, &changes.writes).map_err(said)?;
    }
    for now in changes.there {
        there.retain(|known| known.scope != now.scope);
        there.push(now);
    }
    there.sort_by_key(|known| known.scope);
    changes.problem.map_or(Ok(!changes.writes.is_empty()), Err)
}

fn attributes(target: &Target<'_>, wanted: &Wanted<'_>) -> Vec<DirectoryAttribute> {
    let kind = target.authority.issuer.kind;
    let mut all: Vec<_> =
        wanted.scopes().flat_map(|it| DirectoryAttribute::of_crl(it, kind)).copied().collect();
    all.extend(wanted.certificate.map(|_| DirectoryAttribute::CaCertificate));
    all
}

impl Wanted<'_> {
    /// The scopes that the entry is about: a delta that is there no more has to go.
    fn scopes(&self) -> impl Iterator<Item = CrlScope> {
        let partition = self.crls.iter().map(|crl| crl.scope).find(|it| matches!(it, CrlScope::Partition(_)));
        let whole = [CrlScope::Full, CrlScope::Delta].into_iter().filter(move |_| partition.is_none());
        whole.chain(partition)
    }
}

/// What has to be written, and what is there then.
#[derive(Default)]
struct Changes<'a> {
    writes: Vec<NewValues<'a>>,
    there: Vec<PublishedThere>,
    problem: Option<String>,
}

fn changes<'a>(target: &Target<'_>, wanted: &Wanted<'a>, held: &'a EntryValues) -> Changes<'a> {
    let (kind, certificate) = (target.authority.issuer.kind, &target.authority.certificate);
    let mut changes = Changes::default();
    let of_scope = |scope| wanted.crls.iter().find(|crl| crl.scope == scope).copied();
    for scope in wanted.scopes() {
        // The full CRL comes first. Where it stays as it is, so does the delta: an older one beside a newer full CRL could release what is
        // on hold again.
        if scope == CrlScope::Delta && changes.problem.is_some() {
            break;
        }
        for attribute in DirectoryAttribute::of_crl(scope, kind) {
            let values = held.of(*attribute);
            match (of_scope(scope), of_scope(CrlScope::Full)) {
                (Some(crl), _) => {
                    changes.crl(*attribute, crl, held_crl(&values, &crl.der, certificate), &wanted.entry);
                }
                (None, Some(full)) if scope == CrlScope::Delta => {
                    changes.no_delta(*attribute, full, held_crl(&values, &[], certificate), &wanted.entry);
                }
                (None, _) => {}
            }
        }
    }
    if let Some(own) = wanted.certificate {
        changes.certificate(own, &held.of(DirectoryAttribute::CaCertificate));
    }
    changes
}

impl<'a> Changes<'a> {
    fn crl(&mut self, attribute: DirectoryAttribute, crl: &'a PublishedCrl, held: Held, entry: &EntryName) {
        match step(held, crl.number) {
            Ok(done) => {
                if done == Step::Write {
                    self.writes.push((attribute, vec![&crl.der[..]]));
                }
                let now = PublishedThere { scope: crl.scope, number: crl.number };
                if !self.there.contains(&now) {
                    self.there.push(now);
                }
            }
            Err(why) => self.left(attribute, entry, why),
        }
    }

    /// A delta where there is none any more (a restore takes it away) goes, if it is not newer than its `full` CRL.
    fn no_delta(
        &mut self,
        attribute: DirectoryAttribute,
        full: &PublishedCrl,
        held: Held,
        entry: &EntryName,
    ) {
        match (held, step(held, full.number)) {
            (Held::Own(_), Ok(_)) => self.writes.push((attribute, Vec::new())),
            (Held::Own(_), Err(why)) => self.left(attribute, entry, why),
            (Held::Nothing | Held::Same | Held::Foreign, _) => {}
        }
    }

    fn left(&mut self, attribute: DirectoryAttribute, entry: &EntryName, why: NotWritten) {
        let why = format!("{} of {entry}: {why}", attribute.description());
        self.problem.get_or_insert(why);
    }

    /// Other certificates stay: a CA has had several.
    fn certificate(&mut self, own: &'a [u8], held: &[&'a [u8]]) {
        if held.contains(&own) {
            return;
        }
        let others = held.iter().copied().filter(|value| value.len() >= LONGEST_PLACEHOLDER);
        self.writes.push((DirectoryAttribute::CaCertificate, others.chain([own]).collect()));
    }
}

/// What these values are for an issuer whose newest CRL is `newest`.
fn held_crl(values: &[&[u8]], newest: &[u8], issuer: &Certificate) -> Held {
    if values == [newest] {
        return Held::Same;
    }
    let mut own = None;
    for value in values {
        match CrlHead::of(value) {
            Ok(head) if head.verify(value, issuer).is_ok() => own = own.max(Some(head.number().unwrap_or(0))),
            Err(_) if value.len() < LONGEST_PLACEHOLDER => {}
            _ => return Held::Foreign,
        }
    }
    own.map_or(Held::Nothing, Held::Own)
}
