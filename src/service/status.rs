//! Status: causes are written here and nowhere else, and what follows a change follows from here.
//!
//! A use case calls [`change_causes`] inside its transaction (it writes the causes, the audit facts and the CRL job) and, after the commit,
//! [`Gateway::status_moved`] with what it returned; only then does it answer its caller. From then on no OCSP answer with the old status leaves.

use super::{Gateway, Ports, ServiceError, audit::Act};
use crate::{domain::device::CauseChange, ports::{Tx, store::StoreResult}, types::{CertificateId, IssuerId, SerialNumber}, domain::status::Revocation};

/// Per issuer, the revoked and held serials with their pre-encoded CRL entries, as of the last commit.
#[derive(Debug)]
pub struct StatusBoard {}

impl StatusBoard {
    pub(crate) fn load(_ports: &Ports) -> Result<Self, ServiceError> { todo!() }
    /// What the snapshot says of a serial.
    pub fn revocation(&self, _issuer: &IssuerId, _serial: &SerialNumber) -> Option<Revocation> { todo!() }
}

/// Applies `changes` to one certificate, with an audit fact for each change of its effective revocation, and enqueues the issuer's CRL job. Gives whether the effective
/// revocation changed. A permanent cause is never removed.
pub(crate) fn change_causes(_tx: &mut dyn Tx, _certificate: &CertificateId, _changes: &[CauseChange], _act: &Act) -> StoreResult<bool> { todo!() }

impl Gateway {
    /// After the commit: brings the snapshot up to date for these certificates and drops their cached OCSP answers; wakes the CRL worker.
    pub(crate) fn status_moved(&self, _certificates: &[CertificateId]) -> Result<(), ServiceError> { todo!() }
}
