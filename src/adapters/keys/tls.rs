//! The server certificate's key for rustls: signatures go through the [`Signer`] port, so the key stays in its keyring.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    SignatureAlgorithm as KeyFamily, SignatureScheme,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
    server::{ClientHello, ResolvesServerCert},
    sign::{self, CertifiedKey},
};

use crate::{
    ports::{KeyError, Signer},
    types::{DigestAlgorithm, KeyAlgorithm, SignatureAlgorithm},
};

/// A certificate and key that cannot serve TLS together.
#[derive(Debug, thiserror::Error)]
pub enum TlsKeyError {
    /// TLS 1.3 wants RSASSA-PSS of RSA keys (RFC 8446 §4.2.3), which the signing port does not have.
    #[error("the TLS key is {0}: only p-256 and p-384 keys can serve TLS")]
    NotEcdsa(KeyAlgorithm),
    /// The chain is empty, its first certificate is malformed, or it is not of this key.
    #[error("the TLS certificate does not belong to the TLS key: {0}")]
    Mismatch(rustls::Error),
}

/// The chain (DER, the server's own certificate first) with the key that `signer` holds.
pub fn certified_key(chain: Vec<Vec<u8>>, signer: Arc<dyn Signer>) -> Result<Arc<CertifiedKey>, TlsKeyError> {
    let (scheme, algorithm) = match signer.algorithm() {
        KeyAlgorithm::P256 => (SignatureScheme::ECDSA_NISTP256_SHA256, DigestAlgorithm::Sha256),
        KeyAlgorithm::P384 => (SignatureScheme::ECDSA_NISTP384_SHA384, DigestAlgorithm::Sha384),
        rsa => return Err(TlsKeyError::NotEcdsa(rsa)),
    };
    let key = PortKey { signer, scheme, algorithm: SignatureAlgorithm::Ecdsa(algorithm) };
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let certified = CertifiedKey::new(chain, Arc::new(key));
    certified.keys_match().map_err(TlsKeyError::Mismatch)?;
    Ok(Arc::new(certified))
}

/// A key behind the port, as rustls sees it.
#[derive(Clone)]
struct PortKey {
    signer: Arc<dyn Signer>,
    scheme: SignatureScheme,
    algorithm: SignatureAlgorithm,
}

impl fmt::Debug for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortKey").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl sign::SigningKey for PortKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn sign::Signer>> {
        offered.contains(&self.scheme).then(|| Box::new(self.clone()) as Box<dyn sign::Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.signer.public_key().as_spki()))
    }

    fn algorithm(&self) -> KeyFamily {
        KeyFamily::ECDSA
    }
}

impl sign::Signer for PortKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signer
            .sign(self.algorithm, message)
            .map_err(|error: KeyError| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// Serves one certificate to everybody and can be given its successor while connections come in.
#[derive(Debug)]
pub struct CertificateResolver(ArcSwap<CertifiedKey>);

impl CertificateResolver {
    /// Serves `key`.
    pub fn new(key: Arc<CertifiedKey>) -> Self {
        Self(ArcSwap::new(key))
    }

    /// Serves `key` from the next handshake on.
    pub fn replace(&self, key: Arc<CertifiedKey>) {
        self.0.store(key);
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use rustls::{
        ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
        SupportedProtocolVersion,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms},
        pki_types::{ServerName, UnixTime},
        version::{TLS12, TLS13},
    };

    use super::*;
    use crate::{
        adapters::keys::software::{SoftwareSigner, generate_pkcs8},
        types::{SerialNumber, Timestamp, Validity},
        wire::x509::{CertificateSpec, GeneralName, KeyUsage, Name},
    };

    fn signer(algorithm: KeyAlgorithm) -> Arc<dyn Signer> {
        Arc::new(SoftwareSigner::from_pkcs8(generate_pkcs8(algorithm).unwrap().expose()).unwrap())
    }

    fn certificate(signer: &dyn Signer) -> Vec<u8> {
        let name: Name = "CN=localhost".parse().unwrap();
        let serial = "01".parse::<SerialNumber>().unwrap();
        let validity = Validity {
            not_before: Timestamp::EPOCH,
            not_after: Timestamp::EPOCH.plus(Duration::from_secs(86_400)),
        };
        let spec = CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            subject_alt_names: vec![GeneralName::Dns("localhost".to_owned())],
            ..CertificateSpec::new(serial, name.clone(), name, validity, signer.public_key().clone())
        };
        let digest = match signer.algorithm() {
            KeyAlgorithm::P384 => DigestAlgorithm::Sha384,
            _ => DigestAlgorithm::Sha256,
        };
        let unsigned = spec.unsigned(signer.algorithm().signature(digest)).unwrap();
        let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
        unsigned.finish(&signature).unwrap()
    }

    fn certified(signer: &Arc<dyn Signer>) -> Arc<CertifiedKey> {
        certified_key(vec![certificate(signer.as_ref())], Arc::clone(signer)).unwrap()
    }

    /// Takes any certificate, but only a handshake signature of its key.
    #[derive(Debug)]
    struct AnyCertificate(WebPkiSupportedAlgorithms);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            crypto::verify_tls12_signature(message, cert, dss, &self.0)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            crypto::verify_tls13_signature(message, cert, dss, &self.0)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_schemes()
        }
    }

    fn handshake(
        resolver: &Arc<CertificateResolver>,
        version: &'static SupportedProtocolVersion,
    ) -> Result<Vec<u8>, rustls::Error> {
        let provider: Arc<CryptoProvider> = Arc::new(crypto::aws_lc_rs::default_provider());
        let verifier = AnyCertificate(provider.signature_verification_algorithms);
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(resolver) as Arc<dyn ResolvesServerCert>);
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap())?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).unwrap();
            server.read_tls(&mut io::Cursor::new(&flight)).unwrap();
            server.process_new_packets()?;
            flight.clear();
            server.write_tls(&mut flight).unwrap();
            client.read_tls(&mut io::Cursor::new(&flight)).unwrap();
            client.process_new_packets()?;
        }
        Ok(client.peer_certificates().unwrap()[0].to_vec())
    }

    #[test]
    fn ecdsa_keys_serve_tls_12_and_13() {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384] {
            let key = certified(&signer(algorithm));
            let resolver = Arc::new(CertificateResolver::new(Arc::clone(&key)));
            for version in [&TLS12, &TLS13] {
                assert_eq!(handshake(&resolver, version).unwrap(), key.cert[0].as_ref(), "{algorithm}");
            }
        }
    }

    #[test]
    fn replaced_certificate_is_served_from_the_next_handshake_on() {
        let (old, new) = (certified(&signer(KeyAlgorithm::P256)), certified(&signer(KeyAlgorithm::P384)));
        let resolver = Arc::new(CertificateResolver::new(Arc::clone(&old)));
        assert_eq!(handshake(&resolver, &TLS13).unwrap(), old.cert[0].as_ref());
        resolver.replace(Arc::clone(&new));
        assert_eq!(handshake(&resolver, &TLS13).unwrap(), new.cert[0].as_ref());
    }

    #[test]
    fn refuses_rsa_keys_and_foreign_certificates() {
        let rsa = signer(KeyAlgorithm::Rsa2048);
        let result = certified_key(vec![certificate(rsa.as_ref())], rsa);
        assert!(matches!(result, Err(TlsKeyError::NotEcdsa(KeyAlgorithm::Rsa2048))));
        let (one, two) = (signer(KeyAlgorithm::P256), signer(KeyAlgorithm::P256));
        let foreign = certified_key(vec![certificate(one.as_ref())], Arc::clone(&two));
        assert!(matches!(foreign, Err(TlsKeyError::Mismatch(_))));
        assert!(matches!(certified_key(Vec::new(), two), Err(TlsKeyError::Mismatch(_))));
    }
}
