//! TLS for servers that are behind `https://`: hosted ones, and those behind a proxy.
//!
//! It hides who asks for what; what counts is signed in SCEP, OCSP and CRLs. No client certificate is shown.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What is trusted: the system's authorities, read when the first connection needs them.
#[derive(Debug, Default)]
pub(super) struct Tls(OnceLock<Arc<ClientConfig>>);

impl Tls {
    /// Shakes hands on `stream` with a server that has to prove that it is `host`.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = match self.0.get() {
            Some(config) => Arc::clone(config),
            None => Arc::clone(self.0.get_or_init({
                let config = config()?;
                move || config
            })),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }
}

/// `SSL_CERT_FILE` and `SSL_CERT_DIR` are respected, as by other programs.
fn config() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "an authority of the system cannot be read");
    }
    let _ = roots.add_parsable_certificates(native.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
