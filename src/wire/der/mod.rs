//! DER, and the way from BER to it.
//!
//! [`normalise()`] is the first thing that touches a message from outside that may be BER: CMS and what is in it. It bounds
//! size, depth and number of elements, so that everything behind it works on small, definite, well-formed DER. Certificates,
//! requests, CRLs and OCSP are DER already. [`reader`] takes elements apart, `value` reads what is in them, and [`writer`]
//! puts them together, for all of them.

mod normalise;
pub(crate) mod reader;
mod value;
pub(crate) mod writer;

pub use normalise::{MAX_DEPTH, MAX_ELEMENTS, MAX_INPUT, normalise};

/// Bytes that are not well-formed, exceed a limit, or are not what the structure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// Ends inside an element, or an element reaches beyond the one that contains it.
    #[error("truncated")]
    Truncated,
    /// More bytes follow the outermost element.
    #[error("bytes after the end")]
    TrailingBytes,
    /// Longer than [`MAX_INPUT`], as received or rewritten.
    #[error("longer than {MAX_INPUT} bytes")]
    TooLong,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More elements than [`MAX_ELEMENTS`].
    #[error("more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// A tag number that is longer than it needs to be (X.690 §8.1.2.4) or greater than anything in use.
    #[error("malformed tag")]
    Tag,
    /// A length that is reserved, an indefinite length on a primitive element (X.690 §8.1.3), or a length that is not DER
    /// where only DER is read (X.690 §10.1).
    #[error("malformed length")]
    Length,
    /// End-of-contents octets outside an indefinite length, or with content (X.690 §8.1.5).
    #[error("end-of-contents where none belongs")]
    EndOfContents,
    /// A constructed string whose segments are not strings of the right kind (X.690 §8.6.4, §8.7.3, §8.23).
    #[error("malformed constructed string")]
    StringSegment,
    /// A reader met another element than the structure asks for.
    #[error("unexpected element: wanted {wanted}")]
    Unexpected {
        /// What the structure asks for.
        wanted: &'static str,
    },
    /// An element whose content breaks a rule of its structure.
    #[error("{0}")]
    Value(&'static str),
}

impl From<&'static str> for BerError {
    fn from(problem: &'static str) -> Self {
        Self::Value(problem)
    }
}
