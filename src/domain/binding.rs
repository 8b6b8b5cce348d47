//! What a certificate is bound to, on what evidence, and how sure that is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::vouch::Voucher;
use crate::types::{CertificateId, DeviceId, Fingerprint, SerialNumber, TicketId, Timestamp, UserId};

/// The object that a certificate belongs to. Its loss of standing revokes the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoundObject {
    /// A device, in one of its lives.
    Device {
        /// Which device.
        id: DeviceId,
        /// Which life of it (a device that is set up again starts a new generation).
        generation: u32,
    },
    /// A user.
    User {
        /// Which user.
        id: UserId,
    },
}

impl BoundObject {
    /// Whether it is this device, in whichever of its lives.
    pub fn is_device(&self, device: &DeviceId) -> bool {
        matches!(self, Self::Device { id, .. } if id == device)
    }

    /// The device, if it is one.
    pub const fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device { id, .. } => Some(id),
            Self::User { .. } => None,
        }
    }
}

/// Why certgate believes that the certificate belongs to the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A one-time challenge that was minted for the object.
    Ticket {
        /// Which ticket.
        id: TicketId,
    },
    /// The names in the request, under a static challenge.
    Claim,
    /// The renewed certificate's binding.
    Renewal {
        /// The certificate that signed the renewal.
        certificate: CertificateId,
    },
    /// An operator's approval.
    Approval,
    /// Somebody else knows the object, and found the request in order.
    Vouched {
        /// Who.
        by: Voucher,
    },
    /// A certificate that another CA, which the profile trusts for that, had issued to the names in the request.
    Alternate {
        /// The other CA's name.
        issuer: String,
        /// The certificate's serial number there.
        serial: SerialNumber,
        /// SHA-256 of it.
        fingerprint: Fingerprint,
    },
    /// The names in the certificate, which was imported, and an operator who believed them.
    Import,
}

/// How sure the binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// The request said so.
    Low,
    /// Somebody vouched for it.
    Medium,
    /// The device was known before it asked.
    High,
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// A certificate's binding to an object, made in the transaction that records the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The certificate.
    pub certificate: CertificateId,
    /// What it is bound to.
    pub object: BoundObject,
    /// Why.
    pub evidence: Evidence,
    /// How sure.
    pub assurance: Assurance,
    /// Since when.
    pub bound_at: Timestamp,
}
