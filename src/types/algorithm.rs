//! The algorithms that certgate speaks, as closed sets: what is not here is refused.

use std::{fmt, str::FromStr};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// A kind of key pair that certgate can make for a CA, a message key or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// RSA with a modulus of 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// ECDSA on NIST P-256 (secp256r1).
    #[serde(rename = "p-256")]
    P256,
    /// ECDSA on NIST P-384 (secp384r1).
    #[serde(rename = "p-384")]
    P384,
}

impl KeyAlgorithm {
    /// Every supported algorithm, in the order in which help texts list them.
    pub const ALL: [Self; 5] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384];

    /// The textual form, as in the configuration file and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::P256 => "p-256",
            Self::P384 => "p-384",
        }
    }

    /// Whether the key is an RSA key.
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }

    /// The digest that this key signs with where `preferred` is asked for: RSA takes any, each curve has the one of its own strength
    /// (FIPS 186-5; other pairs are not signed).
    pub const fn digest(self, preferred: DigestAlgorithm) -> DigestAlgorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => preferred,
            Self::P256 => DigestAlgorithm::Sha256,
            Self::P384 => DigestAlgorithm::Sha384,
        }
    }

    /// The signature algorithm of this key with `digest`.
    pub const fn signature(self, digest: DigestAlgorithm) -> SignatureAlgorithm {
        if self.is_rsa() { SignatureAlgorithm::RsaPkcs1(digest) } else { SignatureAlgorithm::Ecdsa(digest) }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is not one of the supported algorithms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not one of {allowed}")]
pub struct UnknownAlgorithm {
    found: String,
    allowed: &'static str,
}

impl FromStr for KeyAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|a| a.as_str().eq_ignore_ascii_case(s)).ok_or_else(|| UnknownAlgorithm {
            found: s.to_owned(),
            allowed: "rsa-2048, rsa-3072, rsa-4096, p-256, p-384",
        })
    }
}

/// A message digest. SHA-1 is here for old requests and for the identifiers that the RFCs define with it; MD5 for the oldest
/// requests alone. Nothing is signed with either but the answers to such requests, and requests in the manner of an old client. Stored by
/// position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestAlgorithm {
    /// SHA-1: signatures of requests and answers only where a profile allows them; CertID and key identifiers.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// MD5: signatures of requests and answers only where a profile allows them, and the thumbprints that old gear shows.
    Md5,
}

impl DigestAlgorithm {
    /// The textual form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
        }
    }

    /// Octets of a digest.
    pub const fn output_len(self) -> u8 {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `data`.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        use aws_lc_rs::digest;
        let algorithm = match self {
            Self::Md5 => return Md5::digest(data).to_vec(),
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// Whether two texts with the same digest can be made: whatever is signed with it can be forged.
    pub const fn is_broken(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1)
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signature algorithm of a certificate, CRL, OCSP response or CMS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2).
    RsaPkcs1(DigestAlgorithm),
    /// ECDSA with a DER-encoded signature (RFC 5480, RFC 5758).
    Ecdsa(DigestAlgorithm),
    /// RSASSA-PSS (RFC 8017 §8.1) with the same digest for MGF1 and a salt as long as the digest (RFC 4055 §3.1): read, never written.
    RsaPss(DigestAlgorithm),
}

impl SignatureAlgorithm {
    /// The digest that the signature covers.
    pub const fn digest(self) -> DigestAlgorithm {
        match self {
            Self::RsaPkcs1(digest) | Self::Ecdsa(digest) | Self::RsaPss(digest) => digest,
        }
    }
}

/// The content-encryption algorithm of a CMS EnvelopedData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentCipher {
    /// AES-128 in CBC mode.
    Aes128Cbc,
    /// AES-192 in CBC mode.
    Aes192Cbc,
    /// AES-256 in CBC mode.
    Aes256Cbc,
    /// Three-key triple DES in CBC mode: where a profile allows it.
    TripleDesCbc,
    /// Single DES in CBC mode: read where a profile allows it, and written only in answer to it.
    DesCbc,
}

impl ContentCipher {
    /// Length of the content-encryption key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Cbc => 16,
            Self::Aes192Cbc | Self::TripleDesCbc => 24,
            Self::Aes256Cbc => 32,
            Self::DesCbc => 8,
        }
    }

    /// Length of a block and of the initialisation vector, in bytes.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Aes128Cbc | Self::Aes192Cbc | Self::Aes256Cbc => 16,
            Self::TripleDesCbc | Self::DesCbc => 8,
        }
    }
}

impl fmt::Display for ContentCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128Cbc => "aes128-cbc",
            Self::Aes192Cbc => "aes192-cbc",
            Self::Aes256Cbc => "aes256-cbc",
            Self::TripleDesCbc => "triple-des-cbc",
            Self::DesCbc => "des-cbc",
        })
    }
}

/// How the content-encryption key was wrapped for the recipient's RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyTransport {
    /// RSAES-PKCS1-v1_5.
    Pkcs1,
    /// RSAES-OAEP with SHA-1 for both the hash and MGF1 (the default parameters of RFC 4055).
    OaepSha1,
    /// RSAES-OAEP with SHA-256 for both the hash and MGF1.
    OaepSha256,
}
