//! What directories have of the CRLs.

use super::StoreResult;
use crate::{
    domain::directory::Publication,
    types::{DirectoryName, IssuerId},
};

/// Reads what is known of directories.
pub trait Publications {
    /// Of an issuer in a directory; none before the first try.
    fn publication(&self, directory: &DirectoryName, issuer: &IssuerId) -> StoreResult<Option<Publication>>;
}

/// Writes what is known of directories.
pub trait PublicationsMut {
    /// Adds or replaces.
    fn put_publication(&mut self, publication: &Publication) -> StoreResult<()>;
}
