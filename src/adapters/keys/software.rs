//! Key pairs as PKCS#8 (RFC 5208), outside any keyring: what the keyring seals, and what a SCEP client keeps in its own file.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    error::Unspecified,
    rand::SystemRandom,
    rsa::{
        self, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
        Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
    },
    signature::{
        self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RsaEncoding,
    },
};
use der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use crate::{
    ports::{CannotDecrypt, Decrypter, KeyError, Signer},
    types::{DigestAlgorithm, KeyAlgorithm, KeyTransport, Secret, SignatureAlgorithm},
    wire::x509::PublicKey,
};

/// The label of a PKCS#8 private key in PEM (RFC 7468 §10).
const PEM_LABEL: &str = "PRIVATE KEY";

const NOT_PKCS8: KeyError =
    KeyError::Unsupported("not an unencrypted PKCS#8 key of RSA 2048, 3072 or 4096, P-256 or P-384");

/// Makes a key pair; gives its PKCS#8.
pub fn generate_pkcs8(algorithm: KeyAlgorithm) -> Result<Secret, KeyError> {
    let generated = match algorithm {
        KeyAlgorithm::Rsa2048 => rsa_pkcs8(KeySize::Rsa2048),
        KeyAlgorithm::Rsa3072 => rsa_pkcs8(KeySize::Rsa3072),
        KeyAlgorithm::Rsa4096 => rsa_pkcs8(KeySize::Rsa4096),
        KeyAlgorithm::P256 => ecdsa_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyAlgorithm::P384 => ecdsa_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING),
    };
    generated.map_err(|_| KeyError::Unavailable("key generation failed".to_owned()))
}

fn rsa_pkcs8(size: KeySize) -> Result<Secret, Unspecified> {
    let der: Pkcs8V1Der<'_> = rsa::KeyPair::generate(size)?.as_der()?;
    Ok(Secret::new(der.as_ref().to_vec()))
}

fn ecdsa_pkcs8(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Secret, Unspecified> {
    Ok(Secret::new(EcdsaKeyPair::generate(algorithm)?.to_pkcs8v1()?.as_ref().to_vec()))
}

/// The PEM of a PKCS#8 key, for a file that only its owner can read. Wiped when dropped.
pub fn pkcs8_to_pem(pkcs8: &Secret) -> Result<Zeroizing<String>, KeyError> {
    pem::encode_string(PEM_LABEL, LineEnding::LF, pkcs8.expose()).map(Zeroizing::new).map_err(|_| NOT_PKCS8)
}

/// The PKCS#8 key in `text`: one PEM block labelled `PRIVATE KEY`.
pub fn pkcs8_from_pem(text: &[u8]) -> Result<Secret, KeyError> {
    let (label, pkcs8) = pem::decode_vec(text).map_err(|_| NOT_PKCS8)?;
    let pkcs8 = Secret::new(pkcs8);
    if label == PEM_LABEL { Ok(pkcs8) } else { Err(NOT_PKCS8) }
}

enum SigningKey {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

/// A private key that signs. Its bytes are in AWS-LC's memory alone.
pub struct SoftwareSigner {
    key: SigningKey,
    algorithm: KeyAlgorithm,
    public_key: PublicKey,
}

impl SoftwareSigner {
    /// Opens an unencrypted PKCS#8 key. Errors: malformed, inconsistent, or not one of [`KeyAlgorithm::ALL`].
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let key = rsa::KeyPair::from_pkcs8(pkcs8)
            .map(SigningKey::Rsa)
            .or_else(|_| {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map(SigningKey::P256)
            })
            .or_else(|_| {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8).map(SigningKey::P384)
            })
            .map_err(|_| NOT_PKCS8)?;
        let spki: Result<PublicKeyX509Der<'_>, _> = match &key {
            SigningKey::Rsa(key) => key.public_key().as_der(),
            SigningKey::P256(key) | SigningKey::P384(key) => key.public_key().as_der(),
        };
        let public_key = public_key(spki)?;
        let algorithm = public_key.kind().algorithm().ok_or(NOT_PKCS8)?;
        Ok(Self { key, algorithm, public_key })
    }

    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes: what JOSE calls PS256 (RFC 7518 §3.5). Beside the port, for no
    /// certificate is signed so. Errors: not an RSA key.
    pub fn sign_pss_sha256(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.key {
            SigningKey::Rsa(key) => sign_rsa(key, &signature::RSA_PSS_SHA256, message),
            SigningKey::P256(_) | SigningKey::P384(_) => {
                Err(KeyError::Unsupported("only RSA keys sign with RSASSA-PSS"))
            }
        }
    }
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        use DigestAlgorithm::{Md5, Sha1, Sha256, Sha384, Sha512};
        use SignatureAlgorithm::{Ecdsa, RsaPkcs1, RsaPss};
        match (&self.key, algorithm) {
            (_, RsaPss(_)) => Err(KeyError::Unsupported("nothing is signed with RSASSA-PSS")),
            (_, RsaPkcs1(Md5 | Sha1) | Ecdsa(Md5 | Sha1)) => {
                Err(KeyError::Unsupported("this key signs nothing with MD5 or SHA-1"))
            }
            (SigningKey::Rsa(key), RsaPkcs1(Sha256)) => sign_rsa(key, &signature::RSA_PKCS1_SHA256, message),
            (SigningKey::Rsa(key), RsaPkcs1(Sha384)) => sign_rsa(key, &signature::RSA_PKCS1_SHA384, message),
            (SigningKey::Rsa(key), RsaPkcs1(Sha512)) => sign_rsa(key, &signature::RSA_PKCS1_SHA512, message),
            (SigningKey::P256(key), Ecdsa(Sha256)) | (SigningKey::P384(key), Ecdsa(Sha384)) => {
                sign_ecdsa(key, message)
            }
            // RFC 5758 §3.2 knows the other combinations; each curve with the digest of its own strength is enough to sign.
            (SigningKey::P256(_), Ecdsa(_)) => Err(KeyError::Unsupported("a P-256 key signs with SHA-256")),
            (SigningKey::P384(_), Ecdsa(_)) => Err(KeyError::Unsupported("a P-384 key signs with SHA-384")),
            (SigningKey::Rsa(_), Ecdsa(_)) | (SigningKey::P256(_) | SigningKey::P384(_), RsaPkcs1(_)) => {
                Err(KeyError::Unsupported("the signature algorithm is not one of this key"))
            }
        }
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareSigner").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn sign_rsa(
    key: &rsa::KeyPair,
    encoding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).map_err(signing_failed)?;
    Ok(signature)
}

fn sign_ecdsa(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    Ok(key.sign(&SystemRandom::new(), message).map_err(signing_failed)?.as_ref().to_vec())
}

fn signing_failed(_: Unspecified) -> KeyError {
    KeyError::Unavailable("signing failed".to_owned())
}

fn public_key(spki: Result<PublicKeyX509Der<'_>, Unspecified>) -> Result<PublicKey, KeyError> {
    let spki = spki.map_err(|_| NOT_PKCS8)?;
    PublicKey::from_spki(spki.as_ref()).map_err(|_| NOT_PKCS8)
}

/// An RSA private key that unwraps content-encryption keys.
pub struct SoftwareDecrypter {
    pkcs1: Pkcs1PrivateDecryptingKey,
    oaep: OaepPrivateDecryptingKey,
    public_key: PublicKey,
}

impl SoftwareDecrypter {
    /// Opens an unencrypted PKCS#8 key. Errors: malformed, or not RSA.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let open = || PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| NOT_PKCS8);
        let key = open()?;
        let public_key = public_key(key.public_key().as_der())?;
        Ok(Self {
            pkcs1: Pkcs1PrivateDecryptingKey::new(key).map_err(|_| NOT_PKCS8)?,
            oaep: OaepPrivateDecryptingKey::new(open()?).map_err(|_| NOT_PKCS8)?,
            public_key,
        })
    }

    fn decrypt_oaep(
        &self,
        algorithm: &'static OaepAlgorithm,
        encrypted_key: &[u8],
    ) -> Result<Secret, Unspecified> {
        let mut plain = Zeroizing::new(vec![0; self.oaep.min_output_size()]);
        Ok(Secret::new(self.oaep.decrypt(algorithm, encrypted_key, &mut plain, None)?.to_vec()))
    }

    fn decrypt_pkcs1(&self, encrypted_key: &[u8]) -> Result<Secret, Unspecified> {
        let mut plain = Zeroizing::new(vec![0; self.pkcs1.min_output_size()]);
        Ok(Secret::new(self.pkcs1.decrypt(encrypted_key, &mut plain)?.to_vec()))
    }
}

impl Decrypter for SoftwareDecrypter {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn decrypt(&self, transport: KeyTransport, encrypted_key: &[u8]) -> Result<Secret, CannotDecrypt> {
        let opened = match transport {
            KeyTransport::Pkcs1 => self.decrypt_pkcs1(encrypted_key),
            KeyTransport::OaepSha1 => self.decrypt_oaep(&OAEP_SHA1_MGF1SHA1, encrypted_key),
            KeyTransport::OaepSha256 => self.decrypt_oaep(&OAEP_SHA256_MGF1SHA256, encrypted_key),
        };
        opened.map_err(|_| CannotDecrypt)
    }
}

impl fmt::Debug for SoftwareDecrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareDecrypter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_its_pem() {
        for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P256, KeyAlgorithm::P384] {
            let pkcs8 = generate_pkcs8(algorithm).unwrap();
            let pem = pkcs8_to_pem(&pkcs8).unwrap();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
            let read = pkcs8_from_pem(pem.as_bytes()).unwrap();
            assert!(read == pkcs8);
            assert_eq!(SoftwareSigner::from_pkcs8(read.expose()).unwrap().algorithm(), algorithm);
        }
    }

    #[test]
    fn refuses_what_is_not_a_plain_pkcs8_key() {
        let pem = pkcs8_to_pem(&generate_pkcs8(KeyAlgorithm::P256).unwrap()).unwrap();
        for label in ["ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "CERTIFICATE"] {
            assert!(pkcs8_from_pem(pem.replace(PEM_LABEL, label).as_bytes()).is_err(), "{label}");
        }
        assert!(pkcs8_from_pem(b"").is_err());
        assert!(SoftwareSigner::from_pkcs8(b"").is_err());
        assert!(SoftwareSigner::from_pkcs8(&[0x30, 0x03, 0x02, 0x01, 0x00]).is_err());
    }

    #[test]
    fn refuses_curves_that_certgate_does_not_make() {
        let p521 = EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_ASN1_SIGNING).unwrap();
        let p521 = p521.to_pkcs8v1().unwrap();
        assert_eq!(SoftwareSigner::from_pkcs8(p521.as_ref()).unwrap_err(), NOT_PKCS8);
    }
}
