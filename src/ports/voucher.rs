//! Others who are asked before a certificate is signed, and told of it before it is handed out; and who ask for revocations.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    domain::vouch::{Verdict, Voucher},
    types::Timestamp,
};

/// Somebody else who knows whether a request is allowed.
///
/// Contract: slow (a request over the network), so never called in a transaction; bounded in time and in the number of callers
/// that it holds; safe to call again for the same request.
pub trait Vouching: Send + Sync {
    /// Whether the request is allowed.
    fn validate(&self, request: &VoucherRequest<'_>) -> Result<Verdict, NoAnswer>;
    /// Tells that the certificate was issued and recorded. Telling it twice is fine.
    fn tell_issued(&self, request: &VoucherRequest<'_>, issued: &IssuedNotice) -> Result<(), NoAnswer>;
    /// Tells that a request that was allowed is refused for reasons of our own.
    fn tell_refused(&self, request: &VoucherRequest<'_>, refused: &RefusedNotice) -> Result<(), NoAnswer>;
    /// Whether a certificate may be handed out only after [`Vouching::tell_issued`] succeeded.
    fn delivery_waits(&self) -> bool;
    /// How long a certificate may stay undelivered for that before it is revoked.
    fn give_up_after(&self) -> Duration;
    /// When what certgate proves itself with ends, where that is known.
    fn credential_ends(&self) -> Option<Timestamp>;
    /// Asks anew for what every request needs, for an operator: nothing is validated, consumed or changed on the other side.
    fn probe(&self) -> Vec<ProbeStep>;
}

/// One thing that a [probe](Vouching::probe) tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStep {
    /// What it is about.
    pub what: &'static str,
    /// What works, or why it does not, and what to do about that; no secret is in it.
    pub result: Result<String, (String, &'static str)>,
}

impl ProbeStep {
    /// It works.
    pub fn works(what: &'static str, found: String) -> Self {
        Self { what, result: Ok(found) }
    }

    /// It does not work.
    pub fn fails(what: &'static str, why: impl fmt::Display, hint: &'static str) -> Self {
        Self { what, result: Err((why.to_string(), hint)) }
    }
}

/// A certification request with its circumstances.
#[derive(Clone, Copy, Debug)]
pub struct VoucherRequest<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// The client's transactionID.
    pub transaction: &'a str,
    /// PKCS#10, DER; its challenge is for the other side. A secret: it goes into no log.
    pub csr: &'a [u8],
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedNotice {
    /// SHA-1 of the DER: what Windows calls the thumbprint.
    pub thumbprint: [u8; 20],
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// notAfter.
    pub not_after: Timestamp,
    /// The issuer's name.
    pub issuer_name: String,
    /// What certgate calls the issuer.
    pub issuer: String,
}

/// A refusal of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedNotice {
    /// A Windows error code (HRESULT).
    pub hresult: i32,
    /// Why, without internals.
    pub description: String,
}

/// The other side did not answer, or not with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoAnswer {
    /// What happened, for operators; no secret is in it.
    pub reason: String,
    /// When it is worth another try.
    pub retry_after: Duration,
}

/// Somebody else who wants certificates revoked.
pub trait RevocationQueue: Send + Sync {
    /// What is asked for; with `issuer_name` only for certificates of that issuer. At most a few hundred at a time; the same ones
    /// again until they are [reported](RevocationQueue::report).
    fn requests(&self, issuer_name: Option<&str>) -> Result<Vec<RevocationRequest>, NoAnswer>;
    /// Says what became of them.
    fn report(&self, results: &[RevocationResult]) -> Result<(), NoAnswer>;
    /// How long to wait between two looks.
    fn interval(&self) -> Duration;
    /// Whether requests are asked for by issuer, because other CAs share the queue.
    fn by_issuer(&self) -> bool;
}

/// A certificate that is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRequest {
    /// The other side's name for the request.
    pub context: String,
    /// The serial number as it has it.
    pub serial: String,
    /// The issuer's name, if it says so.
    pub issuer_name: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationResult {
    /// The other side's name for the request.
    pub context: String,
    /// How it ended.
    pub outcome: Result<(), RevocationFailure>,
}

/// Why a certificate was not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationFailure {
    /// The serial number is none.
    Invalid(String),
    /// There is no such certificate.
    NotFound,
    /// A rule forbids it.
    Refused(String),
    /// It may work later.
    Passing(String),
}

/// Those who are configured.
#[derive(Clone, Default)]
pub struct Vouchers {
    /// Who is asked, by name.
    pub vouching: BTreeMap<Voucher, Arc<dyn Vouching>>,
    /// Who asks for revocations, by name.
    pub revocations: BTreeMap<Voucher, Arc<dyn RevocationQueue>>,
}

impl fmt::Debug for Vouchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.vouching.keys()).finish()
    }
}
