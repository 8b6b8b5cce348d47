//! Signatures with MD5 and SHA-1, for what knows nothing better.
//!
//! AWS-LC makes none. The `rsa` crate does, and does this alone with a private key; everything else goes to AWS-LC. Here the code departs from the
//! design, which has the crate do public operations only, for RUSTSEC-2023-0071, the Marvin attack on the time that private ones take. Release
//! 0.10.0 answers it (exponentiation in constant time; base, exponents and primes blinded), though its docs go on warning of PKCS #1 v1.5. What could
//! still leak is worth little here:
//!
//! - Signatures only. Marvin's oracle is decryption, where the attacker chooses the number that is raised to the private exponent and the outcome is
//!   secret. Here it is the padded digest of attributes with our random senderNonce in them, and the outcome goes over the network.
//! - Always blinded, with the random numbers of AWS-LC. The crate verifies each signature before it gives it away, so a fault betrays no prime.
//! - Never a CA's key. [`SoftwareKeyring`](super::SoftwareKeyring) opens SCEP message keys alone for it, at the first answer that needs it, so only
//!   where a profile opted in.
//!
//! While it is open, the key lies in this process's own memory. The crate wipes exponents and primes when it is dropped, but not every number on the
//! way to a signature.
//!
//! A signature takes three to ten times as long as AWS-LC's: 3 to 8 ms with RSA-2048.

use std::fmt;

use aws_lc_rs::{
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
};
use const_oid::db::rfc5912::RSA_ENCRYPTION;
use rsa::{
    BoxedUint, Pkcs1v15Sign, PrivateKey,
    rand_core::{TryCryptoRng, TryRng},
};

use crate::{
    ports::{KeyError, LegacySigner},
    types::DigestAlgorithm,
    wire::{
        der::{
            BerError,
            reader::{Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE},
        },
        scep::LegacyCertRep,
    },
};

const NOT_RSA: KeyError = KeyError::Unsupported("not an unencrypted PKCS#8 key of RSA");

/// DigestInfo up to the digest (RFC 8017 §9.2, note 1).
const MD5_INFO: &[u8] = b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10";
const SHA1_INFO: &[u8] = b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";

/// An RSA private key that signs with MD5 and SHA-1.
pub struct SoftwareLegacySigner(PrivateKey);

impl SoftwareLegacySigner {
    /// Opens an unencrypted PKCS#8 key. Errors: malformed, inconsistent, or not RSA.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let [modulus, public_exponent, exponent, first, second] =
            rsa_numbers(pkcs8).map_err(|_| NOT_RSA)?.map(without_sign);
        let bits = u32::try_from(modulus.len()).map_err(|_| NOT_RSA)?.saturating_mul(8);
        // Of the modulus' width, not of their own, which is secret.
        let secret = |number: &[u8]| BoxedUint::from_be_slice(number, bits).map_err(|_| NOT_RSA);
        let [modulus, public_exponent] = [modulus, public_exponent].map(BoxedUint::from_be_slice_vartime);
        let primes = vec![secret(first)?, secret(second)?];
        PrivateKey::from_components(modulus, public_exponent, secret(exponent)?, primes)
            .map(Self)
            .map_err(|_| NOT_RSA)
    }

    /// RSASSA-PKCS1-v1_5 over `message` with MD5 or SHA-1. Beside the port, for what a client signs with its own key: a message key is behind
    /// [`LegacySigner`], which signs CertReps alone. Errors: another digest.
    pub fn sign_as_client(&self, digest: DigestAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.signature(digest, message)
    }

    fn signature(&self, digest: DigestAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let info = match digest {
            DigestAlgorithm::Md5 => MD5_INFO,
            DigestAlgorithm::Sha1 => SHA1_INFO,
            DigestAlgorithm::Sha256 | DigestAlgorithm::Sha384 | DigestAlgorithm::Sha512 => {
                return Err(KeyError::Unsupported("this key signs with MD5 and SHA-1 only"));
            }
        };
        let padding = Pkcs1v15Sign { hash_len: Some(digest.output_len().into()), prefix: info.into() };
        self.0
            .sign_with_rng(&mut Blinding(SystemRandom::new()), padding, &digest.digest(message))
            .map_err(|_| KeyError::Unavailable("signing failed".to_owned()))
    }
}

impl LegacySigner for SoftwareLegacySigner {
    fn sign(&self, answer: &LegacyCertRep) -> Result<Vec<u8>, KeyError> {
        self.signature(answer.digest(), answer.to_be_signed())
    }
}

impl fmt::Debug for SoftwareLegacySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareLegacySigner").finish_non_exhaustive()
    }
}

/// AWS-LC's random numbers, as the `rsa` crate takes them.
struct Blinding(SystemRandom);

impl Blinding {
    fn bytes<const N: usize>(&self) -> Result<[u8; N], Unspecified> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes)?;
        Ok(bytes)
    }
}

impl TryRng for Blinding {
    type Error = Unspecified;

    fn try_next_u32(&mut self) -> Result<u32, Unspecified> {
        self.bytes().map(u32::from_ne_bytes)
    }

    fn try_next_u64(&mut self) -> Result<u64, Unspecified> {
        self.bytes().map(u64::from_ne_bytes)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Unspecified> {
        self.0.fill(bytes)
    }
}

impl TryCryptoRng for Blinding {}

/// Modulus, public exponent, private exponent and the two primes of an RSAPrivateKey (RFC 8017 A.1.2) in a PrivateKeyInfo (RFC 5208 §5).
fn rsa_numbers(pkcs8: &[u8]) -> Result<[&[u8]; 5], BerError> {
    let mut fields = Element::only_tagged(pkcs8, SEQUENCE)?.open();
    fields.expect(INTEGER, "version")?;
    let mut algorithm = fields.expect(SEQUENCE, "privateKeyAlgorithm")?.open();
    if algorithm.expect(OBJECT_IDENTIFIER, "algorithm")?.content != RSA_ENCRYPTION.as_bytes() {
        return Err(BerError::Unexpected { wanted: "rsaEncryption" });
    }
    let key = fields.expect(OCTET_STRING, "privateKey")?.content;
    let mut fields = Element::only_tagged(key, SEQUENCE)?.open();
    fields.expect(INTEGER, "version")?;
    let mut number = |name| fields.expect(INTEGER, name).map(|number| number.content);
    Ok([
        number("modulus")?,
        number("publicExponent")?,
        number("privateExponent")?,
        number("prime1")?,
        number("prime2")?,
    ])
}

/// A positive INTEGER without the zero octet that keeps it positive.
fn without_sign(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::keys::software::{SoftwareSigner, generate_pkcs8},
        ports::Signer,
        types::{KeyAlgorithm, SignatureAlgorithm},
    };

    const OLD: [DigestAlgorithm; 2] = [DigestAlgorithm::Md5, DigestAlgorithm::Sha1];

    /// `printf message | openssl dgst -DIGEST -sign message-ca.p8 -keyform DER | sha256sum`, OpenSSL 3.0: the padding leaves no choice.
    #[test]
    fn signs_what_openssl_signs() {
        let key =
            SoftwareLegacySigner::from_pkcs8(include_bytes!("../../../fixtures/scep/message-ca.p8")).unwrap();
        for (digest, expected) in OLD.into_iter().zip([
            "0a4d9e47b3748d12fe19af5fe2eebd999366903e250f1978b401e732c7abbb31",
            "20e15aa96285b0eb75b0f1cb88da63dbcee77e077ff5e54318bd660b7a0cfedd",
        ]) {
            let signature = key.sign_as_client(digest, b"message").unwrap();
            assert_eq!(hex::encode(DigestAlgorithm::Sha256.digest(&signature)), expected, "{digest}");
        }
    }

    #[test]
    fn signs_with_no_good_digest_and_no_key_on_a_curve() {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
        let key = SoftwareLegacySigner::from_pkcs8(pkcs8.expose()).unwrap();
        for digest in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
            assert!(
                matches!(key.sign_as_client(digest, b"message"), Err(KeyError::Unsupported(_))),
                "{digest}"
            );
        }
        let curve = generate_pkcs8(KeyAlgorithm::P256).unwrap();
        for broken in [curve.expose(), &pkcs8.expose()[..pkcs8.expose().len() - 1], b""] {
            assert_eq!(SoftwareLegacySigner::from_pkcs8(broken).unwrap_err(), NOT_RSA);
        }
    }

    #[test]
    fn is_the_same_key_as_the_one_that_signs_with_sha2() {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
        let public_key = SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap().public_key().clone();
        let key = SoftwareLegacySigner::from_pkcs8(pkcs8.expose()).unwrap();
        for digest in OLD {
            let signature = key.sign_as_client(digest, b"message").unwrap();
            let verify =
                |message: &[u8]| public_key.verify(SignatureAlgorithm::RsaPkcs1(digest), message, &signature);
            assert!(verify(b"message").is_ok() && verify(b"massage").is_err(), "{digest}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
        let key = SoftwareLegacySigner::from_pkcs8(pkcs8.expose()).unwrap();
        assert_eq!(format!("{key:?}"), "SoftwareLegacySigner { .. }");
    }
}
