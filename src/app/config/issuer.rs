//! `[issuer.NAME]`: what is different with some issuers.

use serde::{Deserialize, Serialize};

use crate::types::KeyAlgorithm;

/// One of them; it holds for every generation of the CA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct IssuerOptions {
    /// Who signs its OCSP answers.
    pub ocsp_signer: Signer,
    /// The kind of a delegate's key; as the issuer's where it is not said.
    pub ocsp_signer_key: Option<KeyAlgorithm>,
    /// Whether OCSP requests have to be signed.
    pub ocsp_require_signed_requests: bool,
    /// Whether the answers for all of its certificates are signed ahead, always.
    pub ocsp_presign: bool,
    /// As `ocsp.single-use-per-second`, for this issuer alone.
    pub ocsp_single_use_per_second: u64,
}

/// Who signs OCSP answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// A delegate.
    #[default]
    Delegate,
    /// The CA itself.
    Ca,
}
