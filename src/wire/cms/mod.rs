//! CMS (RFC 5652) as far as SCEP needs it: SignedData with one signer, degenerate SignedData, EnvelopedData for RSA keys and for
//! passwords.
//!
//! Reading takes normalised DER and tolerates what deployed clients send (each tolerance names the client); writing is
//! strict DER. A signature is checked over the octets as received, so nothing here re-encodes what somebody else signed.

mod algorithm;
mod enveloped;
mod password;
pub(crate) mod signed;

pub use enveloped::{
    CannotOpen, Envelope, EnvelopeError, EnvelopeRandom, MAX_RECIPIENTS, Recipient, RecipientId, SealError,
    seal, seal_with_password,
};
pub use password::{PasswordRandom, PasswordRecipient};
