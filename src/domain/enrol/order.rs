//! The order to issue: the only way to a signature under a profile.

use const_oid::ObjectIdentifier;

use super::refusal::{Refusal, RefusalReason};
use crate::{
    domain::{
        binding::{Assurance, Binding, BoundObject, Evidence},
        device::Device,
        digest::digest_of,
        issuer::CrlLocations,
        user::User,
    },
    types::{CertificateId, Fingerprint, ProfileName, SerialNumber, Timestamp, Validity},
    wire::x509::{CertificateSpec, GeneralName, KeyUsage, Name, PublicKey},
};

/// A decision to issue, with everything that the certificate will say but for what the issuer adds. Only
/// [`super::authorise`] makes one.
#[derive(Clone, Debug)]
pub struct IssueOrder {
    pub(super) profile: ProfileName,
    pub(super) profile_version: u32,
    pub(super) csr: Fingerprint,
    pub(super) public_key: PublicKey,
    pub(super) names: Names,
    pub(super) key_usage: KeyUsage,
    pub(super) extended_key_usage: Vec<ObjectIdentifier>,
    pub(super) validity: Validity,
    pub(super) microsoft_sid: Option<String>,
    pub(super) evidence: Evidence,
    pub(super) bound: Option<(BoundObject, Assurance)>,
    pub(super) renews: Option<CertificateId>,
}

/// Subject and subjectAltName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) subject: Name,
    pub(super) alternatives: Vec<GeneralName>,
}

/// What the issuer puts into the certificates that it issues.
#[derive(Clone, Debug)]
pub struct IssuerFacts {
    /// Its subject.
    pub name: Name,
    /// Its subjectKeyIdentifier.
    pub key_identifier: Option<Vec<u8>>,
    /// cRLDistributionPoints and freshestCRL.
    pub crls: CrlLocations,
    /// OCSP URLs.
    pub ocsp_urls: Vec<String>,
    /// caIssuers URLs.
    pub ca_issuers_urls: Vec<String>,
}

impl IssueOrder {
    /// The profile and the version of it that decided.
    pub fn profile(&self) -> (&ProfileName, u32) {
        (&self.profile, self.profile_version)
    }

    /// SHA-256 of the request that it answers.
    pub fn csr(&self) -> Fingerprint {
        self.csr
    }

    /// The subject; may be empty when there are subjectAltNames.
    pub fn subject(&self) -> &Name {
        &self.names.subject
    }

    /// The subjectAltNames.
    pub fn subject_alt_names(&self) -> &[GeneralName] {
        &self.names.alternatives
    }

    /// notBefore and notAfter, within the issuer's.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The key that the requester has proven to hold.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// On what evidence.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the certificate will be bound to, and how sure that is.
    pub fn bound(&self) -> Option<&(BoundObject, Assurance)> {
        self.bound.as_ref()
    }

    /// Who asks, whatever the key and the transaction: the profile, what authorises the request, and for whom.
    pub fn asker(&self) -> Fingerprint {
        let evidence = serde_json::to_vec(&self.evidence).unwrap_or_default();
        let whom = match &self.bound {
            Some((object, _)) => serde_json::to_vec(object).unwrap_or_default(),
            None => self.subject().as_der().to_vec(),
        };
        digest_of("certgate asker 1", &[self.profile.as_str().as_bytes(), &evidence, &whom])
    }

    /// The certificate whose place it takes.
    pub fn renews(&self) -> Option<&CertificateId> {
        self.renews.as_ref()
    }

    /// The binding of the certificate that was issued under this order.
    pub fn binding(&self, certificate: &CertificateId, now: Timestamp) -> Option<Binding> {
        self.bound.clone().map(|(object, assurance)| Binding {
            certificate: certificate.clone(),
            object,
            evidence: self.evidence.clone(),
            assurance,
            bound_at: now,
        })
    }

    /// Everything that the certificate will say. It is never a CA's (RFC 5280 §4.2.1.9), and nothing in it
    /// was copied from an extension of the request but the names that the profile lets through.
    pub fn specification(&self, serial: SerialNumber, issuer: &IssuerFacts) -> CertificateSpec {
        CertificateSpec {
            serial,
            issuer: issuer.name.clone(),
            subject: self.names.subject.clone(),
            validity: self.validity,
            public_key: self.public_key.clone(),
            authority_key_identifier: issuer.key_identifier.clone(),
            ca: None,
            key_usage: self.key_usage,
            extended_key_usage: self.extended_key_usage.clone(),
            subject_alt_names: self.names.alternatives.clone(),
            crl_urls: issuer.crls.crl_urls.clone(),
            freshest_crl_urls: issuer.crls.freshest_crl_urls.clone(),
            ocsp_urls: issuer.ocsp_urls.clone(),
            ca_issuers_urls: issuer.ca_issuers_urls.clone(),
            ocsp_no_check: false,
            microsoft_sid: self.microsoft_sid.clone(),
        }
    }

    /// Whether the device and user, as they stand in the transaction that records the certificate, still
    /// allow what was decided (and signed) before it. `device` and `user` are the records that the order was
    /// decided with, read again.
    pub fn still_holds(&self, device: Option<&Device>, user: Option<&User>) -> Result<(), Refusal> {
        check_standing(device, user)?;
        let found = match self.bound.as_ref().map(|(object, _)| object) {
            None => return Ok(()),
            Some(BoundObject::Device { .. }) => device.map(bound_device),
            Some(BoundObject::User { .. }) => user.map(bound_user),
        };
        let expected = self.bound.as_ref().map(|(object, _)| object);
        if found.as_ref() == expected { Ok(()) } else { Err(other_object(expected, found.as_ref()).into()) }
    }
}

/// Both, if known, must be in good standing.
pub(super) fn check_standing(device: Option<&Device>, user: Option<&User>) -> Result<(), RefusalReason> {
    if let Some(device) = device {
        let refused = |because| RefusalReason::DeviceStanding { device: device.id.clone(), because };
        device.may_enrol().map_err(refused)?;
    }
    if let Some(user) = user {
        let refused = |because| RefusalReason::UserStanding { user: user.id.clone(), because };
        user.may_enrol().map_err(refused)?;
    }
    Ok(())
}

pub(super) fn bound_device(device: &Device) -> BoundObject {
    BoundObject::Device { id: device.id.clone(), generation: device.generation }
}

pub(super) fn bound_user(user: &User) -> BoundObject {
    BoundObject::User { id: user.id.clone() }
}

pub(super) fn other_object(expected: Option<&BoundObject>, found: Option<&BoundObject>) -> RefusalReason {
    let text = |object: Option<&BoundObject>| match object {
        None => "nothing registered".to_owned(),
        Some(BoundObject::Device { id, generation }) => format!("device {id} (generation {generation})"),
        Some(BoundObject::User { id }) => format!("user {id}"),
    };
    RefusalReason::OtherObject { expected: text(expected), found: text(found) }
}
