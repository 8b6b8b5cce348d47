//! How the application proves to Entra ID who it is: by a secret, or by a certificate's key that signs an assertion for each token.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    adapters::keys::software::SoftwareSigner,
    ports::{KeyError, Signer},
    types::{Fingerprint, Secret, Timestamp},
    wire::x509::Certificate,
};

/// An assertion is good for this long: 5 to 10 minutes at most, says Microsoft's description of it.
const ASSERTION_LIVES: Duration = Duration::from_secs(10 * 60);

/// What the application has.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// A text that both sides know.
    Secret(Secret),
    /// A key whose certificate Entra ID knows.
    Certificate(ClientCertificate),
}

impl ClientCredential {
    /// What is wrong where Entra ID does not believe it.
    pub(super) const fn what_to_check(&self) -> &'static str {
        match self {
            Self::Secret(_) => "the client secret",
            Self::Certificate(_) => {
                "whether the certificate of intune.client-certificate is uploaded to the application and valid"
            }
        }
    }

    /// What it is, for people.
    pub(super) fn named(&self) -> String {
        match self {
            Self::Secret(_) => "by its client secret".to_owned(),
            Self::Certificate(certificate) => {
                format!("by its certificate, SHA-256 {}", certificate.fingerprint)
            }
        }
    }
}

/// A certificate with its key.
#[derive(Clone)]
pub struct ClientCertificate {
    signer: Arc<SoftwareSigner>,
    fingerprint: Fingerprint,
    not_after: Timestamp,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// A certificate and key that prove nothing together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The key cannot be read, or is none of RSA.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Entra ID takes RSASSA-PSS alone.
    #[error("is a key on a curve: Entra ID takes RSA keys only")]
    NotRsa,
    /// The certificate is of another key.
    #[error("is not the key of intune.client-certificate")]
    OtherKey,
}

impl ClientCertificate {
    /// From a certificate and the PKCS#8 of its key. Errors: not RSA, or the key is another one.
    pub fn new(certificate: &Certificate, pkcs8: &Secret) -> Result<Self, CredentialError> {
        let signer = SoftwareSigner::from_pkcs8(pkcs8.expose())?;
        if !signer.algorithm().is_rsa() {
            return Err(CredentialError::NotRsa);
        }
        if signer.public_key() != certificate.public_key() {
            return Err(CredentialError::OtherKey);
        }
        Ok(Self {
            signer: Arc::new(signer),
            fingerprint: certificate.fingerprint(),
            not_after: certificate.validity().not_after,
        })
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// A JWT (RFC 7519) that says to `audience` that `client` asks: PS256 with `x5t#S256`, as Microsoft describes it under
    /// "application authentication certificate credentials". `id` comes once.
    pub(super) fn assertion(
        &self,
        client: &str,
        audience: &str,
        id: &str,
        now: Timestamp,
    ) -> Result<Secret, KeyError> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": URL_SAFE_NO_PAD.encode(self.fingerprint.as_bytes()),
        });
        let claims = json!({
            "aud": audience,
            "iss": client,
            "sub": client,
            "jti": id,
            "iat": now.unix(),
            "nbf": now.unix(),
            "exp": now.plus(ASSERTION_LIVES).unix(),
        });
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.signer.sign_pss_sha256(signed.as_bytes())?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()))
    }
}
