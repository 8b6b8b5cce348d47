//! Private keys in software: AWS-LC does the arithmetic, AES-256-GCM seals what is stored.
//!
//! - [`kek`]: where the key-encryption key comes from (file, systemd credential, passphrase) and how a wrong one is noticed.
//! - `seal`: what is derived from it: the sealing of private keys, the MACs of challenges and tokens.
//! - [`archive`]: files under a passphrase, sealed chunk by chunk: backups.
//! - [`software`]: key pairs outside any keyring, as PKCS#8: generation, signing, unwrapping, PEM.
//! - [`legacy`]: signatures with MD5 and SHA-1, which AWS-LC does not make.
//! - [`tls`]: the server certificate's key for rustls, without it leaving the keyring.
//! - [`SoftwareKeyring`]: the port, made of these.
//!
//! An opened private key lives in AWS-LC's memory alone, but for those in [`legacy`]; every buffer of ours that held one is wiped.

pub mod archive;
pub mod kek;
mod keyring;
pub mod legacy;
mod seal;
pub mod secret_file;
pub mod software;
pub mod tls;

pub use kek::{KekError, KekSource, KeyEncryptionKey};
pub use keyring::SoftwareKeyring;
