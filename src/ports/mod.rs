//! What the use cases need from outside, as small traits that state their contract.

pub mod checkpoint;
pub mod clock;
pub mod crl_source;
pub mod directory;
pub mod keys;
pub mod outbound;
pub mod random;
pub mod store;
pub mod voucher;

pub use checkpoint::{CheckpointError, CheckpointFile, NoCheckpoint};
pub use clock::Clock;
pub use crl_source::{CrlSource, CrlUnreadable, NoCrls};
pub use directory::{Directories, Directory, DirectoryError, DirectorySession, EntryValues, NewValues};
pub use keys::{CannotDecrypt, Decrypter, KeyError, Keyring, LegacySigner, MacPurpose, SealPurpose, Signer};
pub use outbound::{
    HostRule, NoOutbound, Outbound, OutboundAnswer, OutboundError, OutboundMethod, OutboundRequest,
};
pub use random::Random;
pub use store::{Store, StoreError, Tx, View};
pub use voucher::{
    IssuedNotice, NoAnswer, ProbeStep, RefusedNotice, RevocationFailure, RevocationQueue, RevocationRequest,
    RevocationResult, VoucherRequest, Vouchers, Vouching,
};
