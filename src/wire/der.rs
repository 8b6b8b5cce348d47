//! BER to DER, bounded.

use std::borrow::Cow;

/// Rewrites BER (indefinite lengths, constructed strings, long-form lengths) as DER; DER passes through untouched.
pub fn normalise(_input: &[u8]) -> Result<Cow<'_, [u8]>, BerError> {
    todo!()
}

/// Bytes that are not well-formed BER or exceed a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// Ends inside an element.
    #[error("truncated")]
    Truncated,
}
