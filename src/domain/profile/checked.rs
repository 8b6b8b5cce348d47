//! A profile that was checked: nothing in it needs parsing again, and nothing in it can be a mistake.

use std::time::Duration;

use const_oid::ObjectIdentifier;

use super::{Profile, ProfileSpec};
use crate::{
    types::{ProfileName, Timestamp, Validity},
    wire::{
        csr::ProvenCsr,
        x509::{KeyKind, KeyUsage},
    },
};

/// A profile version, parsed. Only [`Profile::checked`] makes one; services keep it.
#[derive(Clone, Debug)]
pub struct CheckedProfile {
    pub(super) profile: Profile,
    pub(super) identify: Option<IdentityField>,
    pub(super) key_usage: KeyUsage,
    pub(super) extended_key_usage: Vec<ObjectIdentifier>,
}

/// Where a request names its device or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// `subject.cn`.
    SubjectCn,
    /// `subject.serialnumber`.
    SubjectSerialNumber,
    /// `subject.ou`.
    SubjectOu,
    /// `san.email`.
    SanEmail,
    /// `san.dns`.
    SanDns,
    /// `san.uri`.
    SanUri,
    /// `san.upn`.
    SanUpn,
}

impl CheckedProfile {
    /// Its name.
    pub fn name(&self) -> &ProfileName {
        &self.profile.name
    }

    /// Which version.
    pub fn version(&self) -> u32 {
        self.profile.version
    }

    /// As it was written.
    pub fn spec(&self) -> &ProfileSpec {
        &self.profile.spec
    }

    /// extendedKeyUsage of the certificates.
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.extended_key_usage
    }

    /// keyUsage of a certificate for a key of this kind: only what such a key can do (RFC 3279 §2.3.1, RFC 5480 §3).
    pub fn key_usage(&self, _kind: KeyKind) -> KeyUsage {
        todo!()
    }

    /// From when on a certificate can be renewed.
    pub fn renewal_opens(&self, validity: &Validity) -> Timestamp {
        match self.spec().renewal_window_days {
            0 => validity.not_before,
            days => validity.not_after.minus(Duration::from_secs(u64::from(days) * 86_400)),
        }
    }

    /// The device or user that the request names, in the place where the profile looks: to be looked up among ids and identities.
    pub fn claimed_identity(&self, _csr: &ProvenCsr) -> Option<String> {
        todo!()
    }
}
