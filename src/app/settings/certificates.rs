//! Certificates in files that a profile names.

use std::{fs, io, path::Path};

use crate::wire::x509::{Certificate, DecodeError};

/// Most certificates in one file.
const MAX_CERTIFICATES: usize = 16;

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateFileError {
    #[error("cannot read {name}: {error}")]
    File { name: String, error: io::Error },
    #[error("{name}: {error}")]
    Malformed { name: String, error: DecodeError },
    #[error("{name} holds no certificate, or more than {MAX_CERTIFICATES}: it must be PEM or DER")]
    Count { name: String },
}

/// Reads every certificate of a file: several as PEM, or one as DER. The path is relative to `directory`.
pub(super) fn read(directory: &Path, name: &str) -> Result<Vec<Certificate>, CertificateFileError> {
    let named = || name.to_owned();
    let bytes = fs::read(directory.join(name))
        .map_err(|error| CertificateFileError::File { name: named(), error })?;
    let certificates = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Certificate::all_from_pem(text),
        _ => Certificate::from_der(&bytes).map(|certificate| vec![certificate]),
    }
    .map_err(|error| CertificateFileError::Malformed { name: named(), error })?;
    if (1..=MAX_CERTIFICATES).contains(&certificates.len()) {
        Ok(certificates)
    } else {
        Err(CertificateFileError::Count { name: named() })
    }
}
