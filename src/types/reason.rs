//! CRLReason (RFC 5280 §5.3.1).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a certificate is revoked. The discriminant is the code of RFC 5280 §5.3.1. `removeFromCRL` (8) is no reason that a
/// certificate can have; it exists only in delta CRLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    /// No reason given; not encoded in CRLs.
    Unspecified = 0,
    /// The private key is, or may be, in other hands.
    KeyCompromise = 1,
    /// The issuer's key is, or may be, in other hands.
    #[serde(rename = "cACompromise")]
    CaCompromise = 2,
    /// The subject's name or affiliation changed.
    AffiliationChanged = 3,
    /// Another certificate took its place.
    Superseded = 4,
    /// The certificate is no longer needed for its purpose: a retired or wiped device.
    CessationOfOperation = 5,
    /// On hold: may become good again.
    CertificateHold = 6,
    /// A privilege in the certificate was withdrawn.
    PrivilegeWithdrawn = 9,
    /// The attribute authority's key is, or may be, in other hands.
    #[serde(rename = "aACompromise")]
    AaCompromise = 10,
}

impl RevocationReason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 9] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// The code of RFC 5280 §5.3.1.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with `code`.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name as RFC 5280 spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name or code that RFC 5280 §5.3.1 does not define as a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a revocation reason: use unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation, certificateHold, privilegeWithdrawn or aACompromise"
)]
pub struct UnknownReason(String);

impl FromStr for RevocationReason {
    type Err = UnknownReason;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str().eq_ignore_ascii_case(s))
            .ok_or_else(|| UnknownReason(s.to_owned()))
    }
}
