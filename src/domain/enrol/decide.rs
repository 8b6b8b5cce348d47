//! The decision itself: the checks in their order.

use super::{IssueOrder, Refusal, TraceStep};
use crate::{
    domain::{
        binding::{Assurance, BoundObject, Evidence},
        certificate::CertificateRecord,
        challenge::{Authorisation, AwaitingApproval},
        device::Device,
        profile::{CheckedProfile, Variables},
        user::User,
    },
    types::{ContentCipher, DigestAlgorithm, Timestamp, Validity},
    wire::{csr::ProvenCsr, x509::Certificate},
};

/// The algorithms of the pkiMessage that brought the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageAlgorithms {
    /// Digest of its signature.
    pub digest: DigestAlgorithm,
    /// Cipher of its envelope.
    pub cipher: ContentCipher,
}

/// A certificate that is being renewed.
#[derive(Clone, Copy, Debug)]
pub struct Renewed<'a> {
    /// Its record.
    pub record: &'a CertificateRecord,
    /// The certificate itself.
    pub certificate: &'a Certificate,
}

/// Everything that the decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct EnrolRequest<'a> {
    /// The profile asked for.
    pub profile: &'a CheckedProfile,
    /// The request.
    pub csr: &'a ProvenCsr,
    /// The message that brought it; none when the request was checked before and waited for approval.
    pub message: Option<MessageAlgorithms>,
    /// The device: the ticket's, the renewed certificate's, or the one that the request names (see
    /// [`CheckedProfile::claimed_identity`]).
    pub device: Option<&'a Device>,
    /// The user: the ticket's, the renewed certificate's, the device's, or the one that the request names.
    pub user: Option<&'a User>,
    /// The certificate that signed the renewal; none for a first enrolment.
    pub renews: Option<Renewed<'a>>,
    /// The validity of the issuer's certificate.
    pub issuer_validity: Validity,
    /// Values for the templates.
    pub variables: &'a Variables,
    /// Now.
    pub now: Timestamp,
}

/// An outcome with the checks that led to it.
#[derive(Clone, Debug)]
pub struct Decision<T> {
    /// What was decided.
    pub outcome: Result<T, Refusal>,
    /// The checks in their order; the last one of a refusal is the one that failed.
    pub trace: Vec<TraceStep>,
}

/// A request that may wait for an operator: every rule but the approval allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    pub(super) evidence: Evidence,
    pub(super) bound: Option<(BoundObject, Assurance)>,
}

impl Deferral {
    /// What the request brought itself.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the certificate would be bound to.
    pub fn bound(&self) -> Option<&(BoundObject, Assurance)> {
        self.bound.as_ref()
    }
}

/// Decides on a request that is authorised.
pub fn authorise(request: &EnrolRequest<'_>, authorisation: &Authorisation) -> Decision<IssueOrder> {
    todo!("{request:?} {authorisation:?}")
}

/// Checks a request that is to wait for an operator's approval.
pub fn defer(request: &EnrolRequest<'_>, awaiting: &AwaitingApproval) -> Decision<Deferral> {
    todo!("{request:?} {awaiting:?}")
}
