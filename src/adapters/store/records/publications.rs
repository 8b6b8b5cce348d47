//! What directories have of the CRLs.

use super::Records;
use crate::{
    adapters::store::{
        key::Key,
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::directory::Publication,
    ports::store::{Publications, PublicationsMut, StoreResult},
    types::{DirectoryName, IssuerId},
};

impl<R: Rows> Publications for Records<R> {
    fn publication(&self, directory: &DirectoryName, issuer: &IssuerId) -> StoreResult<Option<Publication>> {
        self.0.record(Table::Publications, &key(directory, issuer))
    }
}

impl PublicationsMut for Records<WriteRows<'_>> {
    fn put_publication(&mut self, publication: &Publication) -> StoreResult<()> {
        let key = key(&publication.directory, &publication.issuer);
        self.0.put_record(Table::Publications, &key, publication)
    }
}

fn key(directory: &DirectoryName, issuer: &IssuerId) -> Vec<u8> {
    Key::default().text(directory.as_str()).bytes(issuer.as_str().as_bytes()).done()
}
