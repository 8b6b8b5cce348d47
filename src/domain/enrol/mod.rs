//! The enrolment decision: from a proven request and its evidence to the only thing that can be signed.

mod decide;
mod names;
mod order;
mod refusal;
mod trace;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use decide::{Decision, Deferral, EnrolRequest, MessageAlgorithms, Renewed, authorise, defer};
pub use order::{IssueOrder, IssuerFacts};
pub use refusal::{Refusal, RefusalReason};

use super::{
    binding::{Assurance, BoundObject, Evidence},
    digest::digest_of,
};
use crate::{
    types::{
        CertificateId, EnrolmentId, Fingerprint, IssuerId, ProfileName, Timestamp, TransactionId, octets,
    },
    wire::scep::FailInfo,
};

/// Where an enrolment stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolmentState {
    /// Waits for an operator.
    Pending,
    /// A certificate was issued.
    Issued {
        /// Which.
        certificate: CertificateId,
    },
    /// Refused by a rule.
    Refused {
        /// What the client was told.
        info: FailInfo,
        /// Why, for the operator.
        reason: String,
    },
    /// Refused by an operator.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// One check that an enrolment went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// The check, in a few words.
    pub check: Cow<'static, str>,
    /// Whether it passed.
    pub passed: bool,
    /// What was found; never a secret.
    pub detail: String,
}

/// One enrolment transaction, kept from the request to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Its handle.
    pub id: EnrolmentId,
    /// The profile and the version of it that decided.
    pub profile: ProfileName,
    /// Version of the profile.
    pub profile_version: u32,
    /// The client's transactionID.
    pub transaction: TransactionId,
    /// SHA-256 of the SPKI that signed the pkiMessage: only that key may poll.
    pub signer_key: Fingerprint,
    /// What makes a repeated request the same request: see [`request_key`].
    pub request_key: Fingerprint,
    /// The certification request, sealed by the keyring: it holds the challengePassword, which a copy of the store must not
    /// give away.
    #[serde(with = "octets")]
    pub sealed_csr: Vec<u8>,
    /// What the evidence was.
    pub evidence: Evidence,
    /// What the certificate will be bound to.
    pub binding: Option<(BoundObject, Assurance)>,
    /// The certificate that is being renewed.
    pub renews: Option<CertificateId>,
    /// When the request came.
    pub received_at: Timestamp,
    /// Where it stands.
    pub state: EnrolmentState,
    /// When it got there.
    pub decided_at: Option<Timestamp>,
    /// The checks.
    pub trace: Vec<TraceStep>,
}

/// The key under which a repeated request finds its earlier answer: profile, transactionID, signer key and
/// CSR digest (RFC 8894 §5.2; the transactionID alone is no key, for Apple derives it from the public key and
/// uses it again at re-enrolment). And the CA that it is addressed to, where that is a
/// `later` generation than the first: the same request to another generation asks for another certificate (RFC 8894 §5.1).
pub fn request_key(
    profile: &ProfileName,
    transaction: &TransactionId,
    signer_key: Fingerprint,
    csr: Fingerprint,
    later: Option<&IssuerId>,
) -> Fingerprint {
    let mut parts = vec![
        profile.as_str().as_bytes(),
        transaction.as_str().as_bytes(),
        signer_key.as_bytes(),
        csr.as_bytes(),
    ];
    parts.extend(later.map(|issuer| issuer.as_str().as_bytes()));
    digest_of("certgate scep request 1", &parts)
}

/// The key of a renewal with a certificate of another CA: whatever the request says, so that such a certificate leads to one of ours
/// and not to one for each request that its holder thinks of.
pub fn alternate_request_key(
    profile: &ProfileName,
    certificate: Fingerprint,
    later: Option<&IssuerId>,
) -> Fingerprint {
    let mut parts = vec![profile.as_str().as_bytes(), certificate.as_bytes()];
    parts.extend(later.map(|issuer| issuer.as_str().as_bytes()));
    digest_of("certgate scep renewal from elsewhere 1", &parts)
}

#[cfg(test)]
mod tests;
