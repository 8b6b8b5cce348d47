//! certgate's own certificates: made at init, renewed by themselves.

use super::{Gateway, ServiceError};
use crate::types::Timestamp;

impl Gateway {
    /// Renews whatever has a third or less of its life left; removes what has expired. Gives whether anything changed. The old message key still opens envelopes.
    pub(crate) fn renew_system_certificates(&self) -> Result<bool, ServiceError> { todo!() }
    /// The TLS certificate chain and key for the listeners: (DER chain leaf first, signer).
    pub fn server_tls(&self) -> Result<(Vec<Vec<u8>>, std::sync::Arc<dyn crate::ports::Signer>), ServiceError> { todo!() }
    /// When the next renewal is due.
    pub(crate) fn next_system_renewal(&self) -> Result<Timestamp, ServiceError> { todo!() }
}
