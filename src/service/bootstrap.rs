//! Making a new gateway: root, issuing CA, SCEP message key, OCSP signers, TLS certificate, first profile, owner token.

use super::{Ports, ServiceError, SystemSettings, profile::ConfiguredProfile};
use crate::{domain::crl::CrlPolicy, types::{DigestAlgorithm, Fingerprint, KeyAlgorithm, Secret}};

/// What to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Distinguished name of the root (RFC 4514).
    pub root_name: String,
    /// Distinguished name of the issuing CA.
    pub issuing_name: String,
    pub root_key: KeyAlgorithm, pub issuing_key: KeyAlgorithm, pub digest: DigestAlgorithm,
    /// 1 to 30.
    pub root_years: u32,
    /// The issuing CA's life, at most the root's.
    pub issuing_years: u32,
    /// What devices and gear reach, e.g. `http://pki.lab.example`: goes into CDP, AIA and OCSP URLs.
    pub public_url: String,
    pub crl_policy: CrlPolicy,
    pub system: SystemSettings,
    pub server_names: Vec<String>,
    pub profiles: Vec<ConfiguredProfile>,
}
/// What was made.
#[derive(Debug)]
pub struct Made { pub root: Fingerprint, pub root_sha1: String, pub issuing: Fingerprint, pub message: Fingerprint, /// Shown once; only its MAC is stored.
    pub owner_token: Secret }
/// Makes everything in one transaction. Errors: the store has an issuer already (Conflict); the plan is wrong (Invalid).
pub fn initialise(_ports: &Ports, _plan: &Plan) -> Result<Made, ServiceError> { todo!() }
