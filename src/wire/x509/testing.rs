//! Keys and certificates for the unit tests of the wire layer.

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};

use super::{CaConstraint, Certificate, CertificateSpec, KeyUsage, PublicKey};
use crate::{
    types::{DigestAlgorithm, KeyAlgorithm, SignatureAlgorithm, Validity},
    wire::Unsigned,
};

pub(crate) enum TestKey {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

impl TestKey {
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::P256 => {
                Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
            }
            KeyAlgorithm::P384 => {
                Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap())
            }
            _ => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        let spki = match self {
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_der().unwrap(),
        };
        PublicKey::from_spki(spki.as_ref()).unwrap()
    }

    pub(crate) fn algorithm(&self) -> SignatureAlgorithm {
        match self {
            Self::Rsa(_) => SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256),
            Self::P256(_) => SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha256),
            Self::P384(_) => SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha384),
        }
    }

    pub(crate) fn finish(&self, unsigned: Unsigned) -> Vec<u8> {
        let message = unsigned.to_be_signed();
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::P256(key) | Self::P384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        };
        unsigned.finish(&signature).unwrap()
    }

    /// Signs `spec` as it is.
    pub(crate) fn issue(&self, spec: &CertificateSpec) -> Certificate {
        Certificate::from_der(&self.finish(spec.unsigned(self.algorithm()).unwrap())).unwrap()
    }
}

/// A certificate without any extension but the key's identifier.
pub(crate) fn bare_spec(issuer: &str, subject: &str, public_key: PublicKey) -> CertificateSpec {
    let validity = Validity {
        not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2056-01-01T00:00:00Z".parse().unwrap(),
    };
    let (issuer, subject) = (issuer.parse().unwrap(), subject.parse().unwrap());
    CertificateSpec::new("4f00ab".parse().unwrap(), issuer, subject, validity, public_key)
}

/// A self-signed CA.
pub(crate) struct Authority {
    pub(crate) key: TestKey,
    pub(crate) certificate: Certificate,
}

impl Authority {
    pub(crate) fn new(algorithm: KeyAlgorithm, name: &str) -> Self {
        let key = TestKey::generate(algorithm);
        let spec = CertificateSpec {
            serial: "51".parse().unwrap(),
            ca: Some(CaConstraint { path_len: None }),
            key_usage: KeyUsage::KEY_CERT_SIGN.union(KeyUsage::CRL_SIGN),
            ..bare_spec(name, name, key.public_key())
        };
        let certificate = key.issue(&spec);
        Self { key, certificate }
    }

    /// What the authority puts into every certificate.
    pub(crate) fn spec_for(&self, subject: &str, public_key: PublicKey) -> CertificateSpec {
        CertificateSpec {
            issuer: self.certificate.subject().clone(),
            authority_key_identifier: self.certificate.subject_key_identifier().map(<[u8]>::to_vec),
            ..bare_spec("", subject, public_key)
        }
    }
}

/// Each truncation and a changed byte at each place: what no reader may panic on.
pub(crate) fn mutations(der: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let truncated = (0..der.len()).map(|end| der[..end].to_vec());
    let changed = (0..der.len()).flat_map(move |at| {
        [0x00, 0x01, 0x7f, 0x80, 0xff].map(|value| {
            let mut copy = der.to_vec();
            copy[at] ^= value;
            copy
        })
    });
    truncated.chain(changed)
}
