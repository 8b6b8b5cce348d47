//! CRLs of other CAs.

use std::{fmt, sync::Arc};

use crate::wire::crl::Crl;

/// Where the CRLs of other CAs are.
///
/// Contract: quick (a local file, kept while it does not change), never called in a transaction. What is there now is given, never an
/// older one that was read before; what a CRL says, and whether it is still valid, is for the caller to look at.
pub trait CrlSource: Send + Sync {
    /// The CRL that the configuration calls `name`. Errors: for the operator; nothing may be taken for not revoked then.
    fn crl(&self, name: &str) -> Result<Arc<Crl>, CrlUnreadable>;
}

/// A CRL that is not there or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CRL {name} cannot be read: {reason}")]
pub struct CrlUnreadable {
    /// Which.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// No CRLs of other CAs.
#[derive(Clone, Copy, Debug)]
pub struct NoCrls;

impl CrlSource for NoCrls {
    fn crl(&self, name: &str) -> Result<Arc<Crl>, CrlUnreadable> {
        Err(CrlUnreadable { name: name.to_owned(), reason: "there is no place for CRLs".to_owned() })
    }
}

impl fmt::Debug for dyn CrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CrlSource")
    }
}
