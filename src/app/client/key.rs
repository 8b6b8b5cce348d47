//! The device's own key pair: an unencrypted PKCS#8 PEM file that only its owner can read, as network gear and supplicants want it.

use std::{fmt, path::Path};

use crate::{
    adapters::keys::{
        legacy::SoftwareLegacySigner,
        secret_file,
        software::{self, SoftwareDecrypter, SoftwareSigner},
    },
    app::failure::{Failure, Outcome},
    ports::{Decrypter, Signer},
    types::{DigestAlgorithm, KeyAlgorithm, Secret, SerialNumber, SignatureAlgorithm, Timestamp, Validity},
    wire::{
        Unsigned,
        x509::{Certificate, CertificateSpec, Name, PublicKey},
    },
};

/// The digest of everything that the client signs.
const DIGEST: DigestAlgorithm = DigestAlgorithm::Sha256;

/// A key pair. SCEP answers are encrypted to the requester's key, or, where that cannot encrypt, under the challenge (RFC 8894 §3.1).
pub struct ClientKey {
    signer: SoftwareSigner,
    decrypter: Option<SoftwareDecrypter>,
    pkcs8: Secret,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("algorithm", &self.signer.algorithm()).finish_non_exhaustive()
    }
}

impl ClientKey {
    /// Makes a key pair that is kept nowhere.
    pub fn generate(algorithm: KeyAlgorithm) -> Outcome<Self> {
        Self::from_pkcs8(&software::generate_pkcs8(algorithm).map_err(Failure::error)?)
    }

    /// Makes a key pair and writes it to `path` with mode 0600. Errors: the file exists.
    pub fn create(path: &Path, algorithm: KeyAlgorithm) -> Outcome<Self> {
        let pkcs8 = software::generate_pkcs8(algorithm).map_err(Failure::error)?;
        let key = Self::from_pkcs8(&pkcs8)?;
        let pem = software::pkcs8_to_pem(&pkcs8).map_err(Failure::error)?;
        secret_file::create(path, pem.as_bytes()).map_err(Failure::error)?;
        Ok(key)
    }

    /// Reads a key that nobody but its owner can read.
    pub fn load(path: &Path) -> Outcome<Self> {
        let pem = secret_file::read_private(path).map_err(Failure::error)?;
        let in_file = Failure::while_doing::<crate::ports::KeyError>;
        let pkcs8 = software::pkcs8_from_pem(pem.expose()).map_err(in_file(path.display()))?;
        Self::from_pkcs8(&pkcs8).map_err(|failure| Failure {
            message: format!("{}: {}", path.display(), failure.message),
            ..failure
        })
    }

    fn from_pkcs8(pkcs8: &Secret) -> Outcome<Self> {
        let signer = SoftwareSigner::from_pkcs8(pkcs8.expose()).map_err(Failure::error)?;
        let rsa = signer.algorithm().is_rsa();
        let decrypter =
            rsa.then(|| SoftwareDecrypter::from_pkcs8(pkcs8.expose())).transpose().map_err(Failure::error)?;
        Ok(Self { signer, decrypter, pkcs8: pkcs8.clone() })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// Opens what was encrypted to this key; none for a key that cannot encrypt.
    pub fn decrypter(&self) -> Option<&dyn Decrypter> {
        self.decrypter.as_ref().map(|decrypter| -> &dyn Decrypter { decrypter })
    }

    /// How this key signs.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_with(DIGEST)
    }

    /// How this key signs with another digest than the usual one; a key on a curve has its own.
    pub fn signature_with(&self, digest: DigestAlgorithm) -> SignatureAlgorithm {
        let key = self.signer.algorithm();
        key.signature(key.digest(digest))
    }

    /// Signs a structure; with MD5 or SHA-1 what an old client signs so.
    pub fn finish(&self, unsigned: Unsigned) -> Outcome<Vec<u8>> {
        let (algorithm, message) = (unsigned.algorithm(), unsigned.to_be_signed());
        let signature = if algorithm.digest().is_broken() {
            SoftwareLegacySigner::from_pkcs8(self.pkcs8.expose())
                .and_then(|signer| signer.sign_as_client(algorithm.digest(), message))
        } else {
            self.signer.sign(algorithm, message)
        };
        unsigned.finish(&signature.map_err(Failure::error)?).map_err(Failure::error)
    }

    /// The throw-away self-signed certificate under which a first request is signed (RFC 8894 §2.3).
    pub fn self_signed(&self, subject: &Name, serial: [u8; 16], now: Timestamp) -> Outcome<Certificate> {
        const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
        let serial = SerialNumber::from_random(serial);
        let validity = Validity { not_before: now.minus(HOUR), not_after: now.plus(24 * HOUR) };
        let spec =
            CertificateSpec::self_signed_requester(serial, subject, validity, self.public_key().clone());
        let der = self.finish(spec.unsigned(self.signature_algorithm()).map_err(Failure::error)?)?;
        Certificate::from_der(&der).map_err(Failure::error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_created_key_is_private_and_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.key");
        let made = ClientKey::create(&path, KeyAlgorithm::Rsa2048).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ClientKey::load(&path).unwrap().public_key(), made.public_key());
        assert!(ClientKey::create(&path, KeyAlgorithm::Rsa2048).is_err(), "a key is never overwritten");
    }

    #[test]
    fn a_key_on_a_curve_signs_with_its_own_digest_and_opens_nothing() {
        for (algorithm, digest) in
            [(KeyAlgorithm::P256, DigestAlgorithm::Sha256), (KeyAlgorithm::P384, DigestAlgorithm::Sha384)]
        {
            let key = ClientKey::generate(algorithm).unwrap();
            assert_eq!(key.signature_algorithm(), SignatureAlgorithm::Ecdsa(digest));
            assert!(key.decrypter().is_none());
        }
    }

    #[test]
    fn the_throw_away_certificate_is_signed_by_its_own_key() {
        let key = ClientKey::generate(KeyAlgorithm::Rsa2048).unwrap();
        let name = "CN=dev-1".parse().unwrap();
        let certificate = key.self_signed(&name, [7; 16], Timestamp::from_unix(1_800_000_000)).unwrap();
        certificate.is_signed_by(&certificate).unwrap();
        assert_eq!(certificate.public_key(), key.public_key());
    }
}
