//! Public keys: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), verification and key transport.

use std::fmt;

use aws_lc_rs::{
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
        Pkcs1PublicEncryptingKey, PublicEncryptingKey,
    },
    signature::{self, UnparsedPublicKey, VerificationAlgorithm},
};
use const_oid::db::rfc5912;
use md5::Md5;
use rsa::BoxedUint;

use super::DecodeError;
use crate::{
    types::{DigestAlgorithm, Fingerprint, KeyAlgorithm, KeyTransport, SignatureAlgorithm, sha1},
    wire::{
        algorithm::AlgorithmIdentifier,
        der::{
            BerError,
            reader::{Element, INTEGER, SEQUENCE},
        },
    },
};

/// A public key: SubjectPublicKeyInfo, kept as DER.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki: Vec<u8>,
    kind: KeyKind,
    /// Where the octets of subjectPublicKey start; they reach to the end.
    key_start: usize,
}

/// What kind of key it is, for policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA (rsaEncryption).
    Rsa {
        /// Length of the modulus.
        bits: u32,
    },
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// A key that certgate can carry but not use.
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "rsa-{bits}"),
            Self::P256 => f.write_str("p-256"),
            Self::P384 => f.write_str("p-384"),
            Self::Other => f.write_str("of an unknown kind"),
        }
    }
}

/// A signature that does not verify, or an algorithm or key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// The key cannot encrypt (not RSA, or an unusable size).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key cannot be used for key transport")]
pub struct CannotEncrypt;

impl KeyKind {
    /// The algorithm, if it is one that certgate makes.
    pub fn algorithm(self) -> Option<KeyAlgorithm> {
        match self {
            Self::Rsa { bits: 2048 } => Some(KeyAlgorithm::Rsa2048),
            Self::Rsa { bits: 3072 } => Some(KeyAlgorithm::Rsa3072),
            Self::Rsa { bits: 4096 } => Some(KeyAlgorithm::Rsa4096),
            Self::P256 => Some(KeyAlgorithm::P256),
            Self::P384 => Some(KeyAlgorithm::P384),
            Self::Rsa { .. } | Self::Other => None,
        }
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo. Keys of unknown algorithms are taken as [`KeyKind::Other`].
    pub fn from_spki(der: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(der).map_err(DecodeError::of("SubjectPublicKeyInfo"))
    }

    pub(in crate::wire) fn parse(der: &[u8]) -> Result<Self, BerError> {
        let mut fields = Element::only_tagged(der, SEQUENCE)?.open();
        let identifier = fields.any()?;
        let key = fields.any()?.bits()?;
        fields.end()?;
        Ok(Self { spki: der.to_vec(), kind: kind(&identifier, key)?, key_start: der.len() - key.len() })
    }

    /// The DER, byte for byte as read.
    pub fn as_spki(&self) -> &[u8] {
        &self.spki
    }

    /// Algorithm and size.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SHA-1 of the subjectPublicKey bits (RFC 5280 §4.2.1.2 method 1; RFC 6960 byKey).
    pub fn key_identifier(&self) -> [u8; 20] {
        sha1(self.key_bits())
    }

    /// SHA-256 of the SPKI.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The octets of subjectPublicKey.
    pub fn key_bits(&self) -> &[u8] {
        self.spki.get(self.key_start..).unwrap_or_default()
    }

    /// Checks `signature` over `message`.
    ///
    /// RSA from 1024 bits (old self-signed SCEP signers; with SHA-384 and RSASSA-PSS from 2048), P-256, P-384. SHA-1 is verified;
    /// whether it is allowed is the caller's policy. So is MD5 with RSA.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if algorithm == SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Md5) {
            return self.verify_md5(message, signature);
        }
        let algorithm = verification(self.kind, algorithm).ok_or(BadSignature)?;
        UnparsedPublicKey::new(algorithm, self.key_bits())
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }

    /// RSASSA-PKCS1-v1_5 with MD5, which aws-lc-rs does not know. Moduli of 1024 to 8192 bits, public exponents of up to 33.
    fn verify_md5(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let KeyKind::Rsa { .. } = self.kind else { return Err(BadSignature) };
        let numbers = rsa_numbers(self.key_bits()).map_err(|_| BadSignature)?;
        let [modulus, exponent] = numbers.map(BoxedUint::from_be_slice_vartime);
        let key = rsa::PublicKey::new(modulus, exponent).map_err(|_| BadSignature)?;
        key.pkcs1v15_verify::<Md5>(message, signature).map_err(|_| BadSignature)
    }

    /// Wraps `content_key` for the holder of the private key. RSA from 2048 bits.
    pub fn encrypt(&self, transport: KeyTransport, content_key: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
        let key = match self.kind {
            KeyKind::Rsa { .. } => PublicEncryptingKey::from_der(&self.spki).map_err(|_| CannotEncrypt)?,
            _ => return Err(CannotEncrypt),
        };
        match transport {
            KeyTransport::Pkcs1 => encrypt_pkcs1(key, content_key),
            KeyTransport::OaepSha1 => encrypt_oaep(key, &OAEP_SHA1_MGF1SHA1, content_key),
            KeyTransport::OaepSha256 => encrypt_oaep(key, &OAEP_SHA256_MGF1SHA256, content_key),
        }
    }
}

fn kind(identifier: &Element<'_>, key: &[u8]) -> Result<KeyKind, BerError> {
    let identifier = AlgorithmIdentifier::of(identifier)?;
    if identifier.is(rfc5912::RSA_ENCRYPTION) {
        return Ok(KeyKind::Rsa { bits: modulus_bits(key)? });
    }
    if !identifier.is(rfc5912::ID_EC_PUBLIC_KEY) {
        return Ok(KeyKind::Other);
    }
    let curve = identifier.parameters.ok_or("EC key without a curve")?;
    Ok(match curve.content {
        content if content == rfc5912::SECP_256_R_1.as_bytes() => KeyKind::P256,
        content if content == rfc5912::SECP_384_R_1.as_bytes() => KeyKind::P384,
        _ => KeyKind::Other,
    })
}

/// Modulus and public exponent of an RSAPublicKey (RFC 8017 A.1.1).
fn rsa_numbers(key: &[u8]) -> Result<[&[u8]; 2], BerError> {
    let mut fields = Element::only_tagged(key, SEQUENCE)?.open();
    let modulus = fields.expect(INTEGER, "modulus")?.content;
    let exponent = fields.expect(INTEGER, "publicExponent")?.content;
    fields.end()?;
    Ok([modulus, exponent])
}

/// Length of the modulus of an RSAPublicKey.
fn modulus_bits(key: &[u8]) -> Result<u32, BerError> {
    let [modulus, _] = rsa_numbers(key)?;
    let start = modulus.iter().position(|byte| *byte != 0).ok_or("RSA modulus is zero")?;
    let magnitude = modulus.get(start..).unwrap_or_default();
    let zeros = magnitude.first().map_or(0, |byte| byte.leading_zeros());
    let octets = u32::try_from(magnitude.len()).map_err(|_| "oversize RSA modulus")?;
    Ok(octets.saturating_mul(8) - zeros)
}

fn verification(kind: KeyKind, algorithm: SignatureAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    use SignatureAlgorithm::{Ecdsa, RsaPkcs1, RsaPss};
    Some(match (kind, algorithm) {
        (KeyKind::Rsa { .. }, RsaPkcs1(Sha1)) => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (KeyKind::Rsa { .. }, RsaPkcs1(Sha256)) => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (KeyKind::Rsa { .. }, RsaPkcs1(Sha384)) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa { .. }, RsaPkcs1(Sha512)) => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (KeyKind::Rsa { .. }, RsaPss(Sha256)) => &signature::RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa { .. }, RsaPss(Sha384)) => &signature::RSA_PSS_2048_8192_SHA384,
        (KeyKind::Rsa { .. }, RsaPss(Sha512)) => &signature::RSA_PSS_2048_8192_SHA512,
        (KeyKind::P256, Ecdsa(Sha1)) => &signature::ECDSA_P256_SHA1_ASN1,
        (KeyKind::P256, Ecdsa(Sha256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, Ecdsa(Sha384)) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, Ecdsa(Sha512)) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, Ecdsa(Sha256)) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, Ecdsa(Sha384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, Ecdsa(Sha512)) => &signature::ECDSA_P384_SHA512_ASN1,
        _ => return None,
    })
}

fn encrypt_pkcs1(key: PublicEncryptingKey, content_key: &[u8]) -> Result<Vec<u8>, CannotEncrypt> {
    let key = Pkcs1PublicEncryptingKey::new(key).map_err(|_| CannotEncrypt)?;
    let mut out = vec![0; key.ciphertext_size()];
    let length = key.encrypt(content_key, &mut out).map_err(|_| CannotEncrypt)?.len();
    out.truncate(length);
    Ok(out)
}

fn encrypt_oaep(
    key: PublicEncryptingKey,
    algorithm: &'static OaepAlgorithm,
    content_key: &[u8],
) -> Result<Vec<u8>, CannotEncrypt> {
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CannotEncrypt)?;
    let mut out = vec![0; key.ciphertext_size()];
    let length = key.encrypt(algorithm, content_key, &mut out, None).map_err(|_| CannotEncrypt)?.len();
    out.truncate(length);
    Ok(out)
}
