//! The keyring port in software.

use std::{fmt, sync::Arc};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::{
    KeyEncryptionKey,
    legacy::SoftwareLegacySigner,
    seal::{Label, Sealer},
    software::{SoftwareDecrypter, SoftwareSigner, generate_pkcs8},
};
use crate::{
    domain::key::{KeyPurpose, SealedKey},
    ports::{Decrypter, KeyError, Keyring, LegacySigner, MacPurpose, SealPurpose, Signer},
    types::{KeyAlgorithm, KeyId, Secret, Timestamp},
};

/// Keys in this process's memory, sealed at rest under one key-encryption key.
pub struct SoftwareKeyring {
    sealer: Sealer,
    /// Where the key-encryption key came from, for the log line of a key that does not open.
    source: String,
    random: SystemRandom,
}

impl SoftwareKeyring {
    /// A keyring under `kek`.
    pub fn new(kek: KeyEncryptionKey) -> Self {
        let sealer = Sealer::new(&kek);
        Self { sealer, source: kek.into_source(), random: SystemRandom::new() }
    }

    fn open(&self, key: &SealedKey) -> Result<Secret, KeyError> {
        self.sealer.open_key(&Label::from(key), &key.sealed).inspect_err(|_| {
            tracing::error!(
                key = %key.id, purpose = ?key.purpose, kek = %self.source,
                "a sealed key does not open: another key-encryption key, or damaged data"
            );
        })
    }
}

impl fmt::Debug for SoftwareKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftwareKeyring").field("kek", &self.source).finish_non_exhaustive()
    }
}

impl Keyring for SoftwareKeyring {
    fn generate(
        &self,
        algorithm: KeyAlgorithm,
        purpose: KeyPurpose,
        now: Timestamp,
    ) -> Result<SealedKey, KeyError> {
        let mut id = [0; 16];
        self.random.fill(&mut id).map_err(|_| KeyError::Unavailable("no random bytes".to_owned()))?;
        let id = KeyId::from_random(id);
        let pkcs8 = generate_pkcs8(algorithm)?;
        let public_key = SoftwareSigner::from_pkcs8(pkcs8.expose())?.public_key().as_spki().to_vec();
        let sealed = self.sealer.seal_key(&Label { id: &id, purpose, algorithm }, &pkcs8)?;
        Ok(SealedKey { id, purpose, algorithm, public_key, sealed, created_at: now })
    }

    fn signer(&self, key: &SealedKey) -> Result<Arc<dyn Signer>, KeyError> {
        let signer = SoftwareSigner::from_pkcs8(self.open(key)?.expose())?;
        check_public_key(key, signer.public_key().as_spki())?;
        Ok(Arc::new(signer))
    }

    fn decrypter(&self, key: &SealedKey) -> Result<Arc<dyn Decrypter>, KeyError> {
        if key.purpose != KeyPurpose::ScepMessage {
            return Err(KeyError::Unsupported("only a SCEP message key opens envelopes"));
        }
        if !key.algorithm.is_rsa() {
            return Err(KeyError::Unsupported("only an RSA key opens envelopes"));
        }
        let decrypter = SoftwareDecrypter::from_pkcs8(self.open(key)?.expose())?;
        check_public_key(key, decrypter.public_key().as_spki())?;
        Ok(Arc::new(decrypter))
    }

    fn legacy_signer(&self, key: &SealedKey) -> Result<Arc<dyn LegacySigner>, KeyError> {
        if key.purpose != KeyPurpose::ScepMessage {
            return Err(KeyError::Unsupported("only a SCEP message key signs with MD5 or SHA-1"));
        }
        if !key.algorithm.is_rsa() {
            return Err(KeyError::Unsupported("only an RSA key signs with MD5 or SHA-1"));
        }
        let pkcs8 = self.open(key)?;
        check_public_key(key, SoftwareSigner::from_pkcs8(pkcs8.expose())?.public_key().as_spki())?;
        Ok(Arc::new(SoftwareLegacySigner::from_pkcs8(pkcs8.expose())?))
    }

    fn mac(&self, purpose: MacPurpose, data: &[u8]) -> [u8; 32] {
        self.sealer.mac(purpose, data)
    }

    fn seal(&self, purpose: SealPurpose, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sealer.seal_data(purpose, context, plain)
    }

    fn unseal(&self, purpose: SealPurpose, context: &[u8], sealed: &[u8]) -> Result<Secret, KeyError> {
        self.sealer.open_data(purpose, context, sealed)
    }
}

/// The record's public key is not part of the sealing, so it is compared with the private key's own.
fn check_public_key(key: &SealedKey, own: &[u8]) -> Result<(), KeyError> {
    if key.public_key == own { Ok(()) } else { Err(KeyError::CannotUnseal) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::{DigestAlgorithm, KeyTransport, SignatureAlgorithm},
        wire::{
            scep::{CertRepSpec, LegacyCertRep, Outcome},
            x509::{Certificate, PublicKey},
        },
    };

    fn keyring(byte: u8) -> SoftwareKeyring {
        SoftwareKeyring::new(KeyEncryptionKey::new([byte; 32], "test".to_owned()))
    }

    fn make(algorithm: KeyAlgorithm, purpose: KeyPurpose) -> SealedKey {
        keyring(7).generate(algorithm, purpose, Timestamp::EPOCH).unwrap()
    }

    #[test]
    fn every_algorithm_signs_what_its_public_key_verifies() {
        for algorithm in KeyAlgorithm::ALL {
            let key = make(algorithm, KeyPurpose::Issuer);
            let signer = keyring(7).signer(&key).unwrap();
            assert_eq!(signer.algorithm(), algorithm);
            assert_eq!(signer.public_key().as_spki(), key.public_key);
            assert_eq!(signer.public_key().kind().algorithm(), Some(algorithm));
            let signature_algorithm = algorithm.signature(algorithm.digest(DigestAlgorithm::Sha256));
            let signature = signer.sign(signature_algorithm, b"message").unwrap();
            assert!(signer.public_key().verify(signature_algorithm, b"message", &signature).is_ok());
            assert!(signer.public_key().verify(signature_algorithm, b"massage", &signature).is_err());
        }
    }

    #[test]
    fn rsa_signs_with_each_sha2() {
        let signer = keyring(7).signer(&make(KeyAlgorithm::Rsa2048, KeyPurpose::ScepMessage)).unwrap();
        for digest in [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512] {
            let algorithm = SignatureAlgorithm::RsaPkcs1(digest);
            let signature = signer.sign(algorithm, b"message").unwrap();
            assert!(signer.public_key().verify(algorithm, b"message", &signature).is_ok(), "{digest}");
        }
    }

    #[test]
    fn never_signs_with_sha1_or_with_another_familys_algorithm() {
        use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
        use SignatureAlgorithm::{Ecdsa, RsaPkcs1};
        let refused = [
            (KeyAlgorithm::Rsa2048, vec![RsaPkcs1(Sha1), Ecdsa(Sha256)]),
            (KeyAlgorithm::P256, vec![Ecdsa(Sha1), Ecdsa(Sha384), Ecdsa(Sha512), RsaPkcs1(Sha256)]),
            (KeyAlgorithm::P384, vec![Ecdsa(Sha1), Ecdsa(Sha256), Ecdsa(Sha512), RsaPkcs1(Sha384)]),
        ];
        for (key, algorithms) in refused {
            let signer = keyring(7).signer(&make(key, KeyPurpose::OcspSigner)).unwrap();
            for algorithm in algorithms {
                let result = signer.sign(algorithm, b"message");
                assert!(matches!(result, Err(KeyError::Unsupported(_))), "{key} {algorithm:?}");
            }
        }
    }

    #[test]
    fn message_key_opens_every_transport() {
        let key = make(KeyAlgorithm::Rsa2048, KeyPurpose::ScepMessage);
        let decrypter = keyring(7).decrypter(&key).unwrap();
        for transport in [KeyTransport::Pkcs1, KeyTransport::OaepSha1, KeyTransport::OaepSha256] {
            let wrapped = decrypter.public_key().encrypt(transport, b"0123456789abcdef").unwrap();
            assert_eq!(decrypter.decrypt(transport, &wrapped).unwrap().expose(), b"0123456789abcdef");
        }
    }

    #[test]
    fn every_broken_envelope_key_gives_the_same_error() {
        let key = make(KeyAlgorithm::Rsa2048, KeyPurpose::ScepMessage);
        let decrypter = keyring(7).decrypter(&key).unwrap();
        for transport in [KeyTransport::Pkcs1, KeyTransport::OaepSha1, KeyTransport::OaepSha256] {
            for broken in [vec![], vec![0; 255], vec![1; 256], vec![255; 256], vec![0; 257]] {
                assert!(decrypter.decrypt(transport, &broken).is_err(), "{transport:?}");
            }
        }
    }

    #[test]
    fn only_an_rsa_message_key_decrypts() {
        for (algorithm, purpose) in
            [(KeyAlgorithm::Rsa2048, KeyPurpose::Issuer), (KeyAlgorithm::P256, KeyPurpose::ScepMessage)]
        {
            let result = keyring(7).decrypter(&make(algorithm, purpose));
            assert!(matches!(result, Err(KeyError::Unsupported(_))));
        }
    }

    /// A CertRep to be signed with `digest`.
    fn legacy_answer(digest: DigestAlgorithm) -> LegacyCertRep {
        let signer = Certificate::from_der(include_bytes!("../../../fixtures/scep/message-ca.cer")).unwrap();
        let specification = CertRepSpec {
            outcome: Outcome::Pending,
            transaction_id: &"0123456789ABCDEF".parse().unwrap(),
            recipient_nonce: &[],
            sender_nonce: [7; 16],
            signer: &signer,
            digest,
            signing_time: None,
        };
        specification.legacy().unwrap().unwrap()
    }

    #[test]
    fn an_rsa_message_key_of_each_length_signs_answers_with_sha1_and_md5() {
        for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096] {
            let key = make(algorithm, KeyPurpose::ScepMessage);
            let signer = keyring(7).legacy_signer(&key).unwrap();
            for digest in [DigestAlgorithm::Sha1, DigestAlgorithm::Md5] {
                let answer = legacy_answer(digest);
                let signature = signer.sign(&answer).unwrap();
                let public_key = PublicKey::from_spki(&key.public_key).unwrap();
                let verify = |message: &[u8]| {
                    public_key.verify(SignatureAlgorithm::RsaPkcs1(digest), message, &signature)
                };
                assert!(verify(answer.to_be_signed()).is_ok(), "{algorithm} {digest}");
                assert!(verify(b"another").is_err(), "{algorithm} {digest}");
            }
        }
    }

    #[test]
    fn no_key_but_a_message_key_signs_with_sha1_or_md5() {
        let purposes =
            [KeyPurpose::Issuer, KeyPurpose::OcspSigner, KeyPurpose::ServerTls, KeyPurpose::ScepMessage];
        for purpose in purposes {
            let algorithm =
                if purpose == KeyPurpose::ScepMessage { KeyAlgorithm::P256 } else { KeyAlgorithm::Rsa2048 };
            let key = make(algorithm, purpose);
            let refused = |key: &SealedKey| keyring(7).legacy_signer(key).err();
            assert!(matches!(refused(&key), Some(KeyError::Unsupported(_))), "{purpose:?}");
            // Nor does the record of a CA's key that was changed to say it was one.
            let renamed =
                SealedKey { purpose: KeyPurpose::ScepMessage, algorithm: KeyAlgorithm::Rsa2048, ..key };
            assert_eq!(refused(&renamed), Some(KeyError::CannotUnseal), "{purpose:?}");
            let ordinary = keyring(7).signer(&make(KeyAlgorithm::Rsa2048, purpose)).unwrap();
            for digest in [DigestAlgorithm::Sha1, DigestAlgorithm::Md5] {
                let signed = ordinary.sign(SignatureAlgorithm::RsaPkcs1(digest), b"message");
                assert!(matches!(signed, Err(KeyError::Unsupported(_))), "{purpose:?} {digest}");
            }
        }
    }

    #[test]
    fn sealing_is_bound_to_everything_in_its_label() {
        let key = make(KeyAlgorithm::P256, KeyPurpose::OcspSigner);
        let moved = [
            SealedKey { purpose: KeyPurpose::Issuer, ..key.clone() },
            SealedKey { id: KeyId::from_random([1; 16]), ..key.clone() },
            SealedKey { algorithm: KeyAlgorithm::P384, ..key.clone() },
            SealedKey { public_key: make(KeyAlgorithm::P256, KeyPurpose::Issuer).public_key, ..key.clone() },
        ];
        assert!(keyring(7).signer(&key).is_ok());
        for key in moved {
            assert_eq!(keyring(7).signer(&key).err(), Some(KeyError::CannotUnseal), "{key:?}");
        }
    }

    #[test]
    fn sealing_notices_every_flipped_bit_and_every_cut() {
        let key = make(KeyAlgorithm::P256, KeyPurpose::ServerTls);
        for at in 0..key.sealed.len() {
            let mut flipped = key.clone();
            flipped.sealed[at] ^= 1 << (at % 8);
            assert_eq!(keyring(7).signer(&flipped).err(), Some(KeyError::CannotUnseal), "byte {at}");
            let cut = SealedKey { sealed: key.sealed[..at].to_vec(), ..key.clone() };
            assert_eq!(keyring(7).signer(&cut).err(), Some(KeyError::CannotUnseal), "length {at}");
        }
    }

    #[test]
    fn another_key_encryption_key_opens_nothing() {
        let key = make(KeyAlgorithm::P256, KeyPurpose::ServerTls);
        assert_eq!(keyring(8).signer(&key).err(), Some(KeyError::CannotUnseal));
    }

    #[test]
    fn sealed_key_does_not_contain_the_plain_one() {
        let sealed = |byte| keyring(byte).sealer;
        let label = Label {
            id: &KeyId::from_random([0; 16]),
            purpose: KeyPurpose::Issuer,
            algorithm: KeyAlgorithm::P256,
        };
        let secret = Secret::new(vec![0x42; 64]);
        let (one, two) =
            (sealed(7).seal_key(&label, &secret).unwrap(), sealed(7).seal_key(&label, &secret).unwrap());
        assert!(!one.windows(8).any(|window| window == [0x42; 8]));
        assert_ne!(one, two, "the nonce is random");
    }

    #[test]
    fn sealed_data_opens_in_its_context_alone_and_only_whole() {
        const PURPOSE: SealPurpose = SealPurpose::CertificationRequest;
        let sealed = keyring(7).seal(PURPOSE, b"one", b"challenge").unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"challenge"));
        assert_ne!(keyring(7).seal(PURPOSE, b"one", b"challenge").unwrap(), sealed, "the nonce is random");
        let opened = |keyring: SoftwareKeyring, context: &[u8], sealed: &[u8]| {
            keyring.unseal(PURPOSE, context, sealed).map(|plain| plain.expose().to_vec())
        };
        assert_eq!(opened(keyring(7), b"one", &sealed), Ok(b"challenge".to_vec()));
        assert_eq!(opened(keyring(7), b"two", &sealed), Err(KeyError::CannotUnseal));
        assert_eq!(opened(keyring(8), b"one", &sealed), Err(KeyError::CannotUnseal));
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(opened(keyring(7), b"one", &flipped), Err(KeyError::CannotUnseal), "byte {at}");
            assert_eq!(opened(keyring(7), b"one", &sealed[..at]), Err(KeyError::CannotUnseal), "length {at}");
        }
    }

    #[test]
    fn macs_differ_by_purpose_key_and_data_and_repeat_otherwise() {
        let purposes =
            [MacPurpose::Ticket, MacPurpose::StaticChallenge, MacPurpose::ApiToken, MacPurpose::Checkpoint];
        let mut all: Vec<_> = purposes.iter().map(|purpose| keyring(7).mac(*purpose, b"x")).collect();
        all.push(keyring(8).mac(MacPurpose::Ticket, b"x"));
        all.push(keyring(7).mac(MacPurpose::Ticket, b"y"));
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert_eq!(keyring(7).mac(MacPurpose::Ticket, b"x"), all[0]);
    }

    #[test]
    fn debug_shows_the_source_and_nothing_else() {
        assert_eq!(format!("{:?}", keyring(7)), "SoftwareKeyring { kek: \"test\", .. }");
    }
}
