//! The vocabulary: small checked values that every layer shares.
//!
//! A value of these types was validated once, at its one door (`TryFrom`, `FromStr` or a named constructor), and has one
//! textual form. Nothing here does I/O, reads a clock or knows an encoding beyond its own text.

mod algorithm;
mod fingerprint;
mod ids;
pub mod octets;
mod reason;
mod secret;
mod serial;
mod time;
mod transaction;

pub use algorithm::{
    ContentCipher, DigestAlgorithm, KeyAlgorithm, KeyTransport, SignatureAlgorithm, UnknownAlgorithm,
};
pub use fingerprint::{Fingerprint, sha1, sha256};
pub use ids::{
    CertificateId, DeviceId, DirectoryName, EnrolmentId, IdError, IssuerId, KeyId, ProfileName, RequestId,
    SourceId, TicketId, TokenId, UserId,
};
pub use reason::{RevocationReason, UnknownReason};
pub use secret::Secret;
pub use serial::{SerialError, SerialNumber, SerialRef};
pub use time::{TimeError, Timestamp, Validity};
pub use transaction::{TransactionId, TransactionIdError};
