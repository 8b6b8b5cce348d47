//! The store: one read path, one write path, verbs of the domain.
//!
//! `read(|view| ..)` sees one consistent, durable state. `write(|tx| ..)` commits everything or nothing, durably, before it returns.
//! The closure of a write may run more than once (a conflict, a neighbour's rollback in the same group commit), so it has no effects
//! besides the transaction and its return value, and does nothing slow: no signing, no network. It decides before it writes.
//!
//! A `write` inside a `write` waits for itself forever. A `read` inside a `write` sees the durable state, not what the transaction
//! wrote; [`Tx::as_view`] does.

mod copies;
mod crls;
mod publications;
mod run;

pub use copies::{Copies, CopiesMut, Row};
pub use crls::{Crls, CrlsMut};
pub use publications::{Publications, PublicationsMut};

use crate::{
    domain::{
        access::ApiToken,
        alarm::TicketAlarm,
        audit::{AuditEvent, AuditFact},
        binding::{Binding, BoundObject},
        certificate::{CertificateRecord, Purpose, SystemCertificate},
        challenge::Ticket,
        device::{Device, IdentityKind},
        enrol::Enrolment,
        exchange::{Exchange, Transcript},
        issuer::{ExternalIssuer, Issuer},
        key::SealedKey,
        profile::Profile,
        queue::{Job, JobKind, JobWorker},
        source::{Membership, Source},
        status::{Cause, CauseKey, Revocation},
        timer::Timer,
        user::User,
    },
    types::{
        CertificateId, DeviceId, EnrolmentId, Fingerprint, IssuerId, KeyId, ProfileName, SerialNumber,
        SourceId, TicketId, Timestamp, TokenId, TransactionId, UserId,
    },
};

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A uniqueness or version rule would be broken; nothing was written.
    #[error("{what} {id} {problem}")]
    Conflict {
        /// Kind of record.
        what: &'static str,
        /// Which.
        id: String,
        /// The rule.
        problem: &'static str,
    },
    /// A record cannot be read.
    #[error("the record {table}/{key} cannot be read: {reason}")]
    Corrupt {
        /// Kind of record.
        table: &'static str,
        /// Which.
        key: String,
        /// The decoder's words.
        reason: String,
    },
    /// The store was written by a newer certgate.
    #[error(
        "the store has schema version {found}, this certgate knows up to {known}: use the newer certgate that wrote it"
    )]
    NewerSchema {
        /// In the store.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process has the store open.
    #[error("the store is in use by another process")]
    InUse,
    /// The disk or database failed. What a write was to commit may be there afterwards, wholly or not at all; it was
    /// acknowledged to nobody.
    #[error("the store failed: {0}")]
    Unavailable(String),
}

/// Result of a store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// One page of a listing: at most `limit` records after the key `after`, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<K> {
    /// The last key of the page before.
    pub after: Option<K>,
    /// At most this many.
    pub limit: usize,
}

impl<K> Page<K> {
    /// The first `limit` records.
    pub const fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }
}

/// What a write closure decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Make it durable.
    Commit,
    /// Undo whatever it wrote.
    Rollback,
}

/// The store port. Use the methods `read`, `write` and `write_meanwhile` of `dyn Store`.
pub trait Store: Send + Sync {
    /// Runs `work` once on a consistent, read-only state.
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()>;
    /// Runs `work` in a transaction, again if need be, and returns once its last verdict is durable (or undone).
    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()>;
    /// [`Store::with_tx`]; `meanwhile` runs after each run of `work`, if it can in the time in which the commit is waited for.
    fn with_tx_meanwhile(
        &self,
        work: &mut dyn FnMut(&mut dyn Tx) -> Verdict,
        meanwhile: &mut dyn FnMut(),
    ) -> StoreResult<()> {
        self.with_tx(work)?;
        meanwhile();
        Ok(())
    }
}

/// Everything that can be read.
pub trait View:
    Issuers
    + Externals
    + Keys
    + Profiles
    + Tickets
    + Enrolments
    + Exchanges
    + Certificates
    + Causes
    + Devices
    + Users
    + Sources
    + Jobs
    + Timers
    + Crls
    + Publications
    + Audit
    + Tokens
    + Alarms
    + Copies
{
}

/// Everything that can be read and written.
pub trait Tx:
    View
    + IssuersMut
    + ExternalsMut
    + KeysMut
    + ProfilesMut
    + TicketsMut
    + EnrolmentsMut
    + ExchangesMut
    + CertificatesMut
    + CausesMut
    + DevicesMut
    + UsersMut
    + SourcesMut
    + JobsMut
    + TimersMut
    + CrlsMut
    + PublicationsMut
    + AuditMut
    + TokensMut
    + AlarmsMut
    + CopiesMut
{
    /// This transaction as a view of its own state, written records included.
    fn as_view(&self) -> &dyn View;
}

/// Reads issuers.
pub trait Issuers {
    /// The issuer, if there is one of this name.
    fn issuer(&self, id: &IssuerId) -> StoreResult<Option<Issuer>>;
    /// All, by name.
    fn issuers(&self) -> StoreResult<Vec<Issuer>>;
}

/// Writes issuers.
pub trait IssuersMut {
    /// Adds or replaces; the name of an external issuer is a [`StoreError::Conflict`].
    fn put_issuer(&mut self, issuer: &Issuer) -> StoreResult<()>;
}

/// Reads external issuers.
pub trait Externals {
    /// By name.
    fn external_issuer(&self, id: &IssuerId) -> StoreResult<Option<ExternalIssuer>>;
    /// All, by name.
    fn external_issuers(&self) -> StoreResult<Vec<ExternalIssuer>>;
}

/// Writes external issuers.
pub trait ExternalsMut {
    /// Adds or replaces; the name of an issuer of ours is a [`StoreError::Conflict`].
    fn put_external_issuer(&mut self, issuer: &ExternalIssuer) -> StoreResult<()>;
}

/// Reads sealed keys and which system certificate uses them.
pub trait Keys {
    /// The sealed key.
    fn key(&self, id: &KeyId) -> StoreResult<Option<SealedKey>>;
    /// The certificates for `purpose` of `issuer`, newest first.
    fn system_certificates(&self, purpose: Purpose, issuer: &IssuerId)
    -> StoreResult<Vec<SystemCertificate>>;
    /// All, of every purpose and issuer.
    fn all_system_certificates(&self) -> StoreResult<Vec<SystemCertificate>>;
}

/// Writes sealed keys and system certificates.
pub trait KeysMut {
    /// Adds a key; a key of the same id is a [`StoreError::Conflict`].
    fn insert_key(&mut self, key: &SealedKey) -> StoreResult<()>;
    /// Removes a key that no system certificate uses; absent is fine.
    fn remove_key(&mut self, id: &KeyId) -> StoreResult<()>;
    /// Adds a system certificate; one that is there already is a [`StoreError::Conflict`].
    fn insert_system_certificate(&mut self, certificate: &SystemCertificate) -> StoreResult<()>;
    /// Removes a system certificate and its key; absent is fine.
    fn remove_system_certificate(&mut self, certificate: &SystemCertificate) -> StoreResult<()>;
}

/// Reads profiles.
pub trait Profiles {
    /// The newest version.
    fn profile(&self, name: &ProfileName) -> StoreResult<Option<Profile>>;
    /// One version.
    fn profile_version(&self, name: &ProfileName, version: u32) -> StoreResult<Option<Profile>>;
    /// The newest version of each, by name.
    fn profiles(&self) -> StoreResult<Vec<Profile>>;
}

/// Writes profiles.
pub trait ProfilesMut {
    /// Adds a version, which must be the newest plus one (the first is 1); else [`StoreError::Conflict`].
    fn insert_profile_version(&mut self, profile: &Profile) -> StoreResult<()>;
}

/// Reads tickets.
pub trait Tickets {
    /// By handle.
    fn ticket(&self, id: &TicketId) -> StoreResult<Option<Ticket>>;
    /// By the MAC of its secret.
    fn ticket_by_mac(&self, mac: &[u8; 32]) -> StoreResult<Option<Ticket>>;
    /// By handle, paged.
    fn tickets(&self, page: &Page<TicketId>) -> StoreResult<Vec<Ticket>>;
    /// Those of a device, of all its lives, by handle.
    fn tickets_of_device(&self, device: &DeviceId) -> StoreResult<Vec<Ticket>>;
}

/// Writes tickets.
pub trait TicketsMut {
    /// Adds or replaces; another ticket with the same MAC is a [`StoreError::Conflict`].
    fn put_ticket(&mut self, ticket: &Ticket) -> StoreResult<()>;
    /// Removes, and nothing finds it any more; absent is fine.
    fn remove_ticket(&mut self, id: &TicketId) -> StoreResult<()>;
}

/// Reads enrolments.
pub trait Enrolments {
    /// By handle.
    fn enrolment(&self, id: &EnrolmentId) -> StoreResult<Option<Enrolment>>;
    /// By handle, which is by arrival, paged.
    fn enrolments(&self, page: &Page<EnrolmentId>) -> StoreResult<Vec<Enrolment>>;
    /// The last that was added with this request key (see [`crate::domain::enrol::request_key`]), whatever its times say.
    fn enrolment_by_request(&self, request_key: &Fingerprint) -> StoreResult<Option<Enrolment>>;
    /// The last that was added with this transactionID in this profile, signed by this key.
    fn enrolment_by_transaction(
        &self,
        profile: &ProfileName,
        transaction: &TransactionId,
        signer_key: &Fingerprint,
    ) -> StoreResult<Option<Enrolment>>;
    /// Those that wait for approval, in the order in which they were added.
    fn pending_enrolments(&self, limit: usize) -> StoreResult<Vec<Enrolment>>;
    /// How many wait for approval.
    fn count_pending_enrolments(&self) -> StoreResult<u64>;
    /// The issuer that the enrolment asked for; none where it takes the one that is current.
    fn enrolment_issuer(&self, id: &EnrolmentId) -> StoreResult<Option<IssuerId>>;
}

/// Writes enrolments.
pub trait EnrolmentsMut {
    /// Adds or replaces.
    fn put_enrolment(&mut self, enrolment: &Enrolment) -> StoreResult<()>;
    /// Removes, with the issuer that it asked for, and nothing finds it any more; absent is fine.
    fn remove_enrolment(&mut self, id: &EnrolmentId) -> StoreResult<()>;
    /// Records which issuer it asked for; adds or replaces.
    fn put_enrolment_issuer(&mut self, id: &EnrolmentId, issuer: &IssuerId) -> StoreResult<()>;
}

/// Reads the trace of SCEP requests.
pub trait Exchanges {
    /// By handle.
    fn exchange(&self, id: &EnrolmentId) -> StoreResult<Option<Exchange>>;
    /// Visits those whose handles sort below `before` (all, without one), the newest first, until told with `false` to stop.
    fn visit_exchanges(
        &self,
        before: Option<&EnrolmentId>,
        visit: &mut dyn FnMut(Exchange) -> StoreResult<bool>,
    ) -> StoreResult<()>;
    /// How many there are: known ones ([`Exchange::is_known`]), and strangers'.
    fn count_exchanges(&self) -> StoreResult<(u64, u64)>;
    /// The transcript of an exchange, while it is kept.
    fn transcript(&self, id: &EnrolmentId) -> StoreResult<Option<Transcript>>;
}

/// Writes the trace of SCEP requests.
pub trait ExchangesMut {
    /// Adds or replaces; without a transcript the one that is there stays. A stranger's exchange stays one, and no other becomes one.
    fn put_exchange(&mut self, exchange: &Exchange, transcript: Option<&Transcript>) -> StoreResult<()>;
    /// Removes at most `limit`, with transcripts: the oldest above `most` (known, strangers'), else from before `before`. Gives how many.
    fn prune_exchanges(&mut self, before: Timestamp, most: (u64, u64), limit: usize) -> StoreResult<usize>;
    /// Removes at most `limit` transcripts of what came before `before`. Gives how many.
    fn prune_transcripts(&mut self, before: Timestamp, limit: usize) -> StoreResult<usize>;
}

/// Reads certificates and bindings.
pub trait Certificates {
    /// By issuer and serial.
    fn certificate(&self, id: &CertificateId) -> StoreResult<Option<CertificateRecord>>;
    /// Its notAfter: `None` if it was never issued.
    fn not_after(&self, id: &CertificateId) -> StoreResult<Option<Timestamp>>;
    /// By SHA-256 of the DER.
    fn certificate_by_fingerprint(&self, fingerprint: &Fingerprint)
    -> StoreResult<Option<CertificateRecord>>;
    /// By serial alone, over all issuers (the operator at three in the morning has only that).
    fn certificates_by_serial(&self, serial: &SerialNumber) -> StoreResult<Vec<CertificateRecord>>;
    /// By (issuer, serial), paged.
    fn certificates(&self, page: &Page<CertificateId>) -> StoreResult<Vec<CertificateRecord>>;
    /// Visits the serials of `issuer`'s certificates, in ascending numeric order, with notAfter and purpose. Stops at the first error.
    fn visit_certificates(
        &self,
        issuer: &IssuerId,
        visit: &mut dyn FnMut(SerialNumber, Timestamp, Purpose) -> StoreResult<()>,
    ) -> StoreResult<()>;
    /// The certificates that were issued in its place (`supersedes`), by (issuer, serial).
    fn successors(&self, id: &CertificateId) -> StoreResult<Vec<CertificateId>>;
    /// How many were ever issued.
    fn count_certificates(&self) -> StoreResult<u64>;
    /// What a certificate is bound to.
    fn bindings(&self, id: &CertificateId) -> StoreResult<Vec<Binding>>;
    /// What is bound to an object: for a device, to exactly that generation.
    fn bound_to(&self, object: &BoundObject) -> StoreResult<Vec<Binding>>;
}

/// Writes certificates and bindings.
pub trait CertificatesMut {
    /// Adds; an (issuer, serial) or fingerprint that exists is a [`StoreError::Conflict`].
    fn insert_certificate(&mut self, certificate: &CertificateRecord) -> StoreResult<()>;
    /// Adds or completes an imported certificate. One issued here, or another's fingerprint, is a [`StoreError::Conflict`].
    fn put_imported(&mut self, certificate: &CertificateRecord) -> StoreResult<()>;
    /// Adds; a second binding of the certificate to the same object is a [`StoreError::Conflict`].
    fn insert_binding(&mut self, binding: &Binding) -> StoreResult<()>;
}

/// Reads status causes.
pub trait Causes {
    /// Those of one certificate, by key.
    fn causes(&self, id: &CertificateId) -> StoreResult<Vec<Cause>>;
    /// Visits the serials of `issuer` that have causes, in ascending numeric order, with their causes. Stops at the first error.
    fn visit_causes(
        &self,
        issuer: &IssuerId,
        visit: &mut dyn FnMut(&SerialNumber, Vec<Cause>) -> StoreResult<()>,
    ) -> StoreResult<()>;
    /// Visits the serials of `issuer` that are revoked or held, in ascending numeric order, with notAfter of the certificate
    /// ([`Timestamp::MAX`] where there is none). It reads neither causes nor certificates. Stops at the first error.
    fn visit_revocations(
        &self,
        issuer: &IssuerId,
        visit: &mut dyn FnMut(SerialNumber, Revocation, Timestamp) -> StoreResult<()>,
    ) -> StoreResult<()>;
}

/// Writes status causes.
pub trait CausesMut {
    /// Adds or replaces the cause with this key. A permanent cause is never replaced by a hold: a [`StoreError::Conflict`].
    fn put_cause(&mut self, id: &CertificateId, cause: &Cause) -> StoreResult<()>;
    /// Removes the cause with this key; absent is fine. Never call it for a permanent cause: a [`StoreError::Conflict`].
    fn release_cause(&mut self, id: &CertificateId, key: &CauseKey) -> StoreResult<()>;
}

/// Reads devices.
pub trait Devices {
    /// By id.
    fn device(&self, id: &DeviceId) -> StoreResult<Option<Device>>;
    /// By one of its identities.
    fn device_by_identity(&self, kind: IdentityKind, value: &str) -> StoreResult<Option<Device>>;
    /// By id, paged.
    fn devices(&self, page: &Page<DeviceId>) -> StoreResult<Vec<Device>>;
    /// How many there are.
    fn count_devices(&self) -> StoreResult<u64>;
}

/// Writes devices.
pub trait DevicesMut {
    /// Adds (version 1) or replaces (version = stored + 1); any other version, or an identity that another device has, is a
    /// [`StoreError::Conflict`].
    fn put_device(&mut self, device: &Device) -> StoreResult<()>;
}

/// Reads users.
pub trait Users {
    /// By id.
    fn user(&self, id: &UserId) -> StoreResult<Option<User>>;
    /// By id, paged.
    fn users(&self, page: &Page<UserId>) -> StoreResult<Vec<User>>;
    /// Devices whose user this is.
    fn devices_of_user(&self, id: &UserId) -> StoreResult<Vec<DeviceId>>;
}

/// Writes users.
pub trait UsersMut {
    /// Adds (version 1) or replaces (version = stored + 1); any other version is a [`StoreError::Conflict`].
    fn put_user(&mut self, user: &User) -> StoreResult<()>;
}

/// Reads sources and which devices are theirs.
pub trait Sources {
    /// By name.
    fn source(&self, id: &SourceId) -> StoreResult<Option<Source>>;
    /// All, by name.
    fn sources(&self) -> StoreResult<Vec<Source>>;
    /// The source that a device belongs to, if it belongs to one.
    fn membership(&self, device: &DeviceId) -> StoreResult<Option<Membership>>;
    /// The members of a source, paged by device.
    fn members(&self, source: &SourceId, page: &Page<DeviceId>) -> StoreResult<Vec<Membership>>;
}

/// Writes sources and which devices are theirs.
pub trait SourcesMut {
    /// Adds (version 1) or replaces (version = stored + 1); any other version is a [`StoreError::Conflict`].
    fn put_source(&mut self, source: &Source) -> StoreResult<()>;
    /// Removes; absent is fine. While it has members: a [`StoreError::Conflict`].
    fn remove_source(&mut self, id: &SourceId) -> StoreResult<()>;
    /// Adds or replaces the membership of its device.
    fn put_membership(&mut self, membership: &Membership) -> StoreResult<()>;
    /// Removes the membership of a device; absent is fine.
    fn remove_membership(&mut self, device: &DeviceId) -> StoreResult<()>;
}

/// Reads jobs.
pub trait Jobs {
    /// All that are not done, in order of their sequence.
    fn jobs(&self, limit: usize) -> StoreResult<Vec<Job>>;
    /// The first living job of a lane.
    fn job_in_lane(&self, lane: &str) -> StoreResult<Option<Job>>;
}

/// Writes jobs.
pub trait JobsMut {
    /// Adds a job at the end of its lane. When an equal, unleased, living job already waits, that one's `run_at` becomes the earlier of the two instead.
    fn enqueue(&mut self, kind: &JobKind, run_at: Timestamp) -> StoreResult<()>;
    /// Leases the head of some lane that is due, not leased and for this worker (dead jobs are skipped): first sequence first.
    fn lease_job(&mut self, worker: &JobWorker, now: Timestamp, until: Timestamp)
    -> StoreResult<Option<Job>>;
    /// Ends all leases: for the start of a process, which has the store alone, so that whoever held them is gone.
    fn end_leases(&mut self) -> StoreResult<()>;
    /// Removes a job whose matter is settled, leased or not. False: it is gone already.
    fn remove_job(&mut self, sequence: u64) -> StoreResult<bool>;
    /// Removes a job that was done. False: the fence has moved, somebody else has it.
    fn complete_job(&mut self, sequence: u64, fence: u64) -> StoreResult<bool>;
    /// Gives a lease back after a failure; `dead` puts it aside for people.
    fn fail_job(
        &mut self,
        sequence: u64,
        fence: u64,
        error: &str,
        run_at: Timestamp,
        dead: bool,
    ) -> StoreResult<bool>;
}

/// Reads timers.
pub trait Timers {
    /// At most `limit` of those that are due `now`, the earliest first.
    fn due_timers(&self, now: Timestamp, limit: usize) -> StoreResult<Vec<Timer>>;
    /// When the first one is due.
    fn next_timer_at(&self) -> StoreResult<Option<Timestamp>>;
    /// The last time that was believed and noted.
    fn believed_time(&self) -> StoreResult<Option<Timestamp>>;
}

/// Writes timers.
pub trait TimersMut {
    /// Sets; setting one twice is fine, and the same subject may have several at different times.
    fn set_timer(&mut self, timer: &Timer) -> StoreResult<()>;
    /// Clears the one with this time and subject; absent is fine.
    fn clear_timer(&mut self, timer: &Timer) -> StoreResult<()>;
    /// Notes the time that is believed, in the place of the one before.
    fn put_believed_time(&mut self, time: Timestamp) -> StoreResult<()>;
}

/// Reads the audit record.
pub trait Audit {
    /// Events after sequence number `after`, oldest first.
    fn audit_events(&self, after: u64, limit: usize) -> StoreResult<Vec<AuditEvent>>;
    /// The newest event.
    fn last_audit_event(&self) -> StoreResult<Option<AuditEvent>>;
}

/// Writes the audit record.
pub trait AuditMut {
    /// Appends, with the next sequence number and the hash of the event before.
    fn append_audit(&mut self, fact: &AuditFact) -> StoreResult<()>;
}

/// Reads API tokens.
pub trait Tokens {
    /// By the MAC of its secret.
    fn token_by_mac(&self, mac: &[u8; 32]) -> StoreResult<Option<ApiToken>>;
    /// All.
    fn tokens(&self) -> StoreResult<Vec<ApiToken>>;
}

/// Writes API tokens.
pub trait TokensMut {
    /// Adds or replaces; another token with the same MAC is a [`StoreError::Conflict`].
    fn put_token(&mut self, token: &ApiToken) -> StoreResult<()>;
    /// Removes; absent is fine.
    fn remove_token(&mut self, id: &TokenId) -> StoreResult<()>;
}

/// Reads alarms.
pub trait Alarms {
    /// All that are kept, in the order in which they were put; none in a new store.
    fn alarms(&self) -> StoreResult<Vec<TicketAlarm>>;
}

/// Writes alarms.
pub trait AlarmsMut {
    /// Replaces all.
    fn put_alarms(&mut self, alarms: &[TicketAlarm]) -> StoreResult<()>;
}
