//! The schema version: what the file as a whole looks like (tables, keys, indexes), beside the version of each record.

use redb::{Database, WriteTransaction};

use super::{
    batch::{make_durable, unavailable},
    key, record,
    records::{
        certificates, crls,
        enrolments::{by_device, use_of_4},
        revocations,
    },
    rows::{Flow, Rows, WriteRows},
    table::Table,
};
use crate::{
    domain::{
        certificate::CertificateRecord,
        challenge::Ticket,
        client::{
            Clients,
            behaviour::{CaBundle, ReplyCipher},
        },
        crl::{CrlMirror, CrlPolicy},
        device::LifecyclePolicy,
        issuer::{Generation, IssuerKind},
        profile::{Approval, ChallengeMode, KeyFamily, MatchRule, Scope},
        timer::{Timer, TimerSubject},
    },
    ports::store::{StoreError, StoreResult},
    types::{DigestAlgorithm, IdError, IssuerId, KeyId, ProfileName, Timestamp},
};

/// The schema that this certgate reads and writes.
pub(super) const CURRENT: u32 = 5;

/// Where the version is kept, in the table `meta`. The record is read by every certgate, older ones too: its form never changes.
pub(super) const KEY: &[u8] = b"schema";

/// A step from one schema to the next, in the transaction that also writes the new version.
type Migration = fn(&mut WriteRows<'_>) -> StoreResult<()>;

/// `MIGRATIONS[n]` leads from schema n + 1 to n + 2.
const MIGRATIONS: [Migration; CURRENT as usize - 1] = [
    to_2,
    // To 3: sources of devices. Their tables are new and empty, and no record changed: a device of schema 2 has no source.
    |_| Ok(()),
    to_4,
    to_5,
];

/// Gives an empty file the current schema, brings an older one up to it, and refuses a newer one before anything is touched.
pub(super) fn prepare(database: &Database) -> StoreResult<()> {
    let mut transaction = database.begin_write().map_err(unavailable)?;
    make_durable(&mut transaction)?;
    let found = version(&transaction)?;
    if found == Some(CURRENT) {
        return transaction.abort().map_err(unavailable);
    }
    upgrade(&transaction, found)?;
    transaction.commit().map_err(unavailable)
}

fn upgrade(transaction: &WriteTransaction, found: Option<u32>) -> StoreResult<()> {
    let mut rows = WriteRows::new(transaction);
    if let Some(found) = found {
        migrate(&mut rows, found)?;
    }
    // A view cannot create a table: all of them exist from the start.
    for table in Table::ALL {
        rows.opened(*table)?;
    }
    rows.put_record(Table::Meta, KEY, &CURRENT)
}

/// Brings rows of the schema `found` up to the present one; the version itself is the caller's to write.
pub(super) fn migrate(rows: &mut WriteRows<'_>, found: u32) -> StoreResult<()> {
    if found > CURRENT {
        return Err(StoreError::NewerSchema { found, known: CURRENT });
    }
    let steps = MIGRATIONS.iter().skip(found.saturating_sub(1) as usize);
    steps.into_iter().try_for_each(|migration| migration(rows))
}

/// The version in the file; none in a new one. A file with other tables and without a version is not ours.
fn version(transaction: &WriteTransaction) -> StoreResult<Option<u32>> {
    if transaction.list_tables().map_err(unavailable)?.next().is_none() {
        return Ok(None);
    }
    let version = WriteRows::new(transaction).record(Table::Meta, KEY)?;
    version.map(Some).ok_or_else(|| {
        record::corrupt(Table::Meta, KEY, "the file has tables but no schema version".to_owned())
    })
}

/// Schema 2 knows the tickets of a device, has timers, and profiles that say how long a renewed certificate stays.
fn to_2(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    for (key, value) in profiles_of_1(rows)? {
        rows.put(Table::Profiles, &key, &value)?;
    }
    let mut timers = Vec::new();
    tickets_of_3(rows)?;
    tickets_of_4(rows)?;
    let tickets: Vec<Ticket> = rows.records(Table::Tickets, &key::ALL, usize::MAX)?;
    for ticket in tickets {
        if let Some(row) = by_device(&ticket) {
            rows.put(Table::TicketsByDevice, &row, ticket.id.as_str().as_bytes())?;
        }
        let subject = ticket.device.map(|device| TimerSubject::TicketEnds { device });
        timers.extend(subject.map(|subject| Timer { at: ticket.expires_at, subject }));
    }
    // Millions of them: only what becomes a timer is kept. When it fires, the profile says how long the overlap is.
    rows.scan(Table::Certificates, &key::ALL, |key, bytes| {
        let new: CertificateRecord = record::decode(Table::CertificateRecords, key, bytes)?;
        if new.supersedes.is_some() {
            timers
                .push(Timer { at: new.issued_at, subject: TimerSubject::OverlapEnds { successor: new.id } });
        }
        Ok(Flow::Continue(()))
    })?;
    timers.iter().try_for_each(|timer| rows.put_record(Table::Timers, &key::timer(timer), timer))
}

/// The issuers of schema 3 as records of version 2, which have their generation at the end.
fn issuers_of_3(rows: &WriteRows<'_>) -> StoreResult<Vec<(Vec<u8>, Vec<u8>)>> {
    rows.list(Table::Issuers, &key::ALL, usize::MAX, |key, bytes| {
        let corrupt = |reason: String| record::corrupt(Table::Issuers, key, reason);
        let old =
            bytes.strip_prefix(&[1]).ok_or_else(|| corrupt("its record version is not known".to_owned()))?;
        let line = std::str::from_utf8(key).map_err(|error| corrupt(error.to_string()))?;
        let line: IssuerId = line.parse().map_err(|error: IdError| corrupt(error.to_string()))?;
        let ((.., since), rest): (IssuerOf3, &[u8]) =
            postcard::take_from_bytes(old).map_err(|error| corrupt(error.to_string()))?;
        if !rest.is_empty() {
            return Err(corrupt(format!("{} bytes too many", rest.len())));
        }
        let new = [&[2], old].concat();
        let new = postcard::to_extend(&Generation::first(&line, since), new)
            .map_err(|error| corrupt(error.to_string()))?;
        Ok((key.to_vec(), new))
    })
}

/// The fields of an issuer of schema 3, in their order.
type IssuerOf3 = (
    IssuerId,
    IssuerKind,
    Option<IssuerId>,
    Vec<u8>,
    KeyId,
    DigestAlgorithm,
    Vec<String>,
    Vec<String>,
    Vec<String>,
    CrlPolicyOf4,
    Timestamp,
);

/// Lifetime, period, debounce, and how long expired certificates are kept.
type CrlPolicyOf4 = (u64, u64, u64, u64);

/// The issuers of schema 4 as records of version 3, which know delta CRLs, partitions and mirrors.
fn issuers_of_4(rows: &WriteRows<'_>) -> StoreResult<Vec<(Vec<u8>, Vec<u8>)>> {
    rows.list(Table::Issuers, &key::ALL, usize::MAX, |key, bytes| {
        let corrupt = |reason: String| record::corrupt(Table::Issuers, key, reason);
        let [2, old @ ..] = bytes else { return Err(corrupt("its record version is not known".to_owned())) };
        let (issuer, rest): ((IssuerOf3, Generation), &[u8]) =
            postcard::take_from_bytes(old).map_err(|error| corrupt(error.to_string()))?;
        if !rest.is_empty() {
            return Err(corrupt(format!("{} bytes too many", rest.len())));
        }
        let ((id, kind, parent, certificate, key_id, digest, crl, ocsp, ca, policy, created_at), generation) =
            issuer;
        let (lifetime, period, debounce, keep_expired) = policy;
        let policy = CrlPolicy {
            lifetime,
            period,
            debounce,
            keep_expired: Some(keep_expired),
            delta: None,
            partitions: None,
        };
        let head = (id, kind, parent, certificate, key_id, digest, crl, ocsp, ca, policy, created_at);
        let new = (head, generation, None::<CrlMirror>, Vec::<u16>::new());
        let new = postcard::to_extend(&new, vec![Table::Issuers.record_version()])
            .map_err(|error| corrupt(error.to_string()))?;
        Ok((key.to_vec(), new))
    })
}

/// The profiles of schema 1 as records of version 2. What is new, with its default, is the end of the lifecycle policy, which is
/// followed by the three bytes of the legacy switches.
fn profiles_of_1(rows: &WriteRows<'_>) -> StoreResult<Vec<(Vec<u8>, Vec<u8>)>> {
    const LEGACY: usize = 3;
    let LifecyclePolicy { overlap_days, revoke_superseded, .. } = LifecyclePolicy::DEFAULT;
    rows.list(Table::Profiles, &key::ALL, usize::MAX, |key, bytes| {
        let corrupt = |reason: &str| record::corrupt(Table::Profiles, key, reason.to_owned());
        let old = bytes.strip_prefix(&[1]).ok_or_else(|| corrupt("its record version is not known"))?;
        let (head, legacy) =
            old.split_last_chunk::<LEGACY>().ok_or_else(|| corrupt("it ends within the record"))?;
        let mut new = vec![2];
        new.extend_from_slice(head);
        let new = postcard::to_extend(&(overlap_days, revoke_superseded), new)
            .map_err(|error| corrupt(&error.to_string()))?;
        Ok((key.to_vec(), [new.as_slice(), legacy].concat()))
    })
}

/// The fields of a profile record of version 2 up to its `include_ca`, in their order; only how long they are is of interest.
type HeadOf3 = (
    (ProfileName, u32, Timestamp, String, IssuerId, Scope, String, Vec<String>, MatchRule, String),
    (Vec<ChallengeMode>, Approval, bool, Vec<KeyFamily>, u32, Vec<String>, Vec<String>, u32, u32, u32, bool),
);

/// The profiles of schema 3 as records of version 3. Switches that were no became those that nobody wrote; what is new, with its
/// default, is at the end.
fn profiles_of_3(rows: &WriteRows<'_>) -> StoreResult<Vec<(Vec<u8>, Vec<u8>)>> {
    rows.list(Table::Profiles, &key::ALL, usize::MAX, |key, bytes| {
        let corrupt = |reason: &str| record::corrupt(Table::Profiles, key, reason.to_owned());
        let old = bytes.strip_prefix(&[2]).ok_or_else(|| corrupt("its record version is not known"))?;
        let (_, rest) =
            postcard::take_from_bytes::<HeadOf3>(old).map_err(|error| corrupt(&error.to_string()))?;
        let head = old.get(..old.len() - rest.len()).unwrap_or_default();
        let [include_ca, lifecycle @ .., sha1, triple_des, des] = rest else {
            return Err(corrupt("it ends within the record"));
        };
        let written = |switch: &u8| (*switch != 0).then_some(true);
        let appended = (Clients::default(), CaBundle::default(), None::<ReplyCipher>);
        let mut new = vec![3];
        new.extend_from_slice(head);
        let new = postcard::to_extend(&written(include_ca), new)
            .map(|new| [new.as_slice(), lifecycle].concat())
            .and_then(|new| postcard::to_extend(&([sha1, triple_des, des].map(written), appended), new))
            .map_err(|error| corrupt(&error.to_string()))?;
        Ok((key.to_vec(), new))
    })
}

/// Schema 4 has profiles that name their clients, knows where a ticket was asked for and which other profiles take it, for which
/// profiles a token is, and the generations of a CA: every issuer before it is the first and only one of its line.
fn to_4(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    for (key, value) in profiles_of_3(rows)? {
        rows.put(Table::Profiles, &key, &value)?;
    }
    tickets_of_3(rows)?;
    // No list of profiles: all of them.
    extend(rows, Table::Tokens, 2, &[0])?;
    let issuers = issuers_of_3(rows)?;
    issuers.iter().try_for_each(|(key, value)| rows.put(Table::Issuers, key, value))
}

/// What of a profile record of version 3 comes before the switches of schema 5: up to `include_ca`, that, the lifecycle policy, and the
/// switches for SHA-1, triple DES and DES.
type HeadOf4 = (HeadOf3, Option<bool>, (u32, u32, bool, u32, bool), [Option<bool>; 3]);

/// The profiles of schema 4 as records of version 4, which have a switch for MD5 behind the other old algorithms (nobody wrote it), and at
/// the end how long an expired certificate still renews.
fn profiles_of_4(rows: &WriteRows<'_>) -> StoreResult<Vec<(Vec<u8>, Vec<u8>)>> {
    const MD5: u8 = 0;
    const RENEWAL_GRACE_DAYS: u8 = 30;
    rows.list(Table::Profiles, &key::ALL, usize::MAX, |key, bytes| {
        let corrupt = |reason: &str| record::corrupt(Table::Profiles, key, reason.to_owned());
        let old = bytes.strip_prefix(&[3]).ok_or_else(|| corrupt("its record version is not known"))?;
        let (_, rest) =
            postcard::take_from_bytes::<HeadOf4>(old).map_err(|error| corrupt(&error.to_string()))?;
        let head = old.get(..old.len() - rest.len()).unwrap_or_default();
        let version = Table::Profiles.record_version();
        Ok((key.to_vec(), [&[version], head, &[MD5], rest, &[RENEWAL_GRACE_DAYS]].concat()))
    })
}

/// Schema 5 has external issuers, an index of revocations, and profiles that may take MD5 and say how long an expired certificate still
/// renews; it finds a certificate's notAfter without its record, knows which enrolments used a ticket, and which certificates took another
/// one's place; it has CRLs of several scopes, and issuers that know of them.
///
/// A record that changes here must not change what the steps above write: they write the versions of their own schema.
fn to_5(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    let profiles = profiles_of_4(rows)?;
    profiles.iter().try_for_each(|(key, value)| rows.put(Table::Profiles, key, value))?;
    let issuers = issuers_of_4(rows)?;
    issuers.iter().try_for_each(|(key, value)| rows.put(Table::Issuers, key, value))?;
    certificates::take_over(rows)?;
    crls::take_over(rows)?;
    revocations::index_all(rows)?;
    tickets_of_4(rows)?;
    uses_of_4(rows)
}

/// Notes in each ticket which enrolments used it.
fn uses_of_4(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    let mut uses = Vec::new();
    rows.scan(Table::Enrolments, &key::ALL, |key, bytes| {
        uses.extend(use_of_4(key, bytes)?);
        Ok(Flow::Continue(()))
    })?;
    for (ticket, enrolment) in uses {
        let key = ticket.as_str().as_bytes();
        if let Some(mut ticket) = rows.record::<Ticket>(Table::Tickets, key)? {
            ticket.used_by.push(enrolment);
            rows.put_record(Table::Tickets, key, &ticket)?;
        }
    }
    Ok(())
}

/// The tickets of schema 4 as records of version 3, used by nobody known yet.
fn tickets_of_4(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    extend(rows, Table::Tickets, 3, &[0])
}

/// The tickets of schema 1 to 3 as records of version 2: for no other profile, and from the API.
fn tickets_of_3(rows: &mut WriteRows<'_>) -> StoreResult<()> {
    extend(rows, Table::Tickets, 2, &[0, 0])
}

/// Brings the records of a table from the version before to `version`, which has more fields at its end: `fields` are their values as
/// postcard writes them. Records of that version and later ones stay.
fn extend(rows: &mut WriteRows<'_>, table: Table, version: u8, fields: &[u8]) -> StoreResult<()> {
    let old = rows.list(table, &key::ALL, usize::MAX, |key, bytes| match bytes {
        [found, record @ ..] if *found + 1 == version => {
            Ok(Some((key.to_vec(), [&[version], record, fields].concat())))
        }
        [found, ..] if (version..=table.record_version()).contains(found) => Ok(None),
        _ => Err(record::corrupt(table, key, "its record version is not known".to_owned())),
    })?;
    old.into_iter().flatten().try_for_each(|(key, value)| rows.put(table, &key, &value))
}
