//! CRLs in the store.

use std::collections::BTreeMap;

use super::StoreResult;
use crate::{
    domain::{
        checkpoint::CrlMark,
        crl::{CrlRecord, CrlScope},
    },
    types::{Fingerprint, IssuerId, Timestamp},
};

/// Reads CRLs.
pub trait Crls {
    /// The newest of the issuer that is of this scope.
    fn latest_crl(&self, issuer: &IssuerId, scope: CrlScope) -> StoreResult<Option<CrlRecord>>;
    /// Number and thisUpdate of the newest of the issuer, of whatever scope. Reads no CRL.
    fn crl_mark(&self, issuer: &IssuerId) -> StoreResult<Option<CrlMark>>;
    /// The same of everybody whose numbers were used, of issuers too that are not there any more. Reads no CRL.
    fn crl_marks(&self) -> StoreResult<BTreeMap<IssuerId, CrlMark>>;
    /// thisUpdate of the newest CRL of an external issuer that was imported and cannot be published: of one that is about this `part`
    /// of its certificates, or about all.
    fn imported_crl(&self, issuer: &IssuerId, part: Option<&Fingerprint>) -> StoreResult<Option<Timestamp>>;
}

/// Writes CRLs.
pub trait CrlsMut {
    /// Replaces the newest of its scope; a number that is not higher than that one's is a [`super::StoreError::Conflict`].
    fn put_crl(&mut self, crl: &CrlRecord) -> StoreResult<()>;
    /// As [`CrlsMut::put_crl`], but without the bytes, which [`CrlsMut::keep_crl`] brings: until it has brought all of them the newest of
    /// this scope has none.
    fn reserve_crl(&mut self, crl: &CrlRecord) -> StoreResult<()>;
    /// Puts bytes of a reserved CRL, those from `from` on, as many as hold no other transaction up, and gives how far it came: that is
    /// where the next call goes on, until nothing is left. A [`super::StoreError::Conflict`] if it is not the one that was reserved last.
    fn keep_crl(&mut self, crl: &CrlRecord, from: usize) -> StoreResult<usize>;
    /// Takes the newest of this scope away: there will be no further ones. Absent is fine. The numbers of its issuer stay used.
    fn remove_crl(&mut self, issuer: &IssuerId, scope: CrlScope) -> StoreResult<()>;
    /// Replaces what [`Crls::imported_crl`] gives.
    fn put_imported_crl(
        &mut self,
        issuer: &IssuerId,
        part: Option<&Fingerprint>,
        this_update: Timestamp,
    ) -> StoreResult<()>;
}
