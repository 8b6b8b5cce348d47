//! What the use cases need from outside, as small traits that state their contract.

pub mod clock;
pub mod keys;
pub mod outbound;
pub mod random;
pub mod store;

pub use clock::Clock;
pub use keys::{CannotDecrypt, Decrypter, KeyError, Keyring, MacPurpose, SealPurpose, Signer};
pub use outbound::{
    HostRule, NoOutbound, Outbound, OutboundAnswer, OutboundError, OutboundMethod, OutboundRequest,
};
pub use random::Random;
pub use store::{Store, StoreError, Tx, View};
