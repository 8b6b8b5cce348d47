//! CRLs: build from the snapshot, parse back, verify, compare, record, publish.

use std::sync::Arc;
use bytes::Bytes;
use super::{Gateway, Ports, ServiceError};
use crate::{domain::access::{Authed, Operate}, types::{IssuerId, Timestamp}};

/// A published CRL.
#[derive(Clone, Debug)]
pub struct PublishedCrl { pub der: Bytes, pub number: u64, pub this_update: Timestamp, pub next_update: Timestamp, pub entries: u64, /// hex SHA-256 of the DER
    pub etag: String }
/// The newest CRL of each issuer, swapped atomically.
#[derive(Debug)]
pub struct PublishedCrls {}
impl PublishedCrls { pub(crate) fn load(_ports: &Ports) -> Result<Self, ServiceError> { todo!() } }
impl Gateway {
    /// The newest published CRL.
    pub fn crl(&self, _issuer: &IssuerId) -> Option<Arc<PublishedCrl>> { todo!() }
    /// Builds and publishes now. Used by the worker and, on demand, by operators.
    pub(crate) fn build_crl(&self, _issuer: &IssuerId) -> Result<Arc<PublishedCrl>, ServiceError> { todo!() }
    /// On demand.
    pub fn publish_crl(&self, _authed: &Authed<Operate>, _issuer: &IssuerId) -> Result<Arc<PublishedCrl>, ServiceError> { todo!() }
}
