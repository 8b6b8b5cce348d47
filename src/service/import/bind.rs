//! Whose the imported certificates are: bound to devices, so that what happens to a device happens to them.
//!
//! Only what has not expired is bound, and nothing that is bound already. A device that may have no certificates now (lost, wiped ..) gets
//! none by an import either: its certificates are told of, for somebody to revoke.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        binding::{Assurance, Binding, BoundObject, Evidence},
        certificate::CertificateRecord,
    },
    ports::View,
    service::{ServiceError, enrol::device_named},
    types::Timestamp,
    wire::x509::Name,
};

/// By what a certificate says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindRule {
    /// The common name of its subject is the id of a device, or one of its identities.
    #[serde(rename = "subject.cn")]
    SubjectCommonName,
}

/// What becomes of a certificate.
pub(super) enum Bind {
    /// It is bound to this now.
    To(Binding),
    /// Nothing: it is bound, has expired, or was issued here.
    Nothing,
    /// It could not be bound.
    Not(String),
}

impl BindRule {
    /// What becomes of the certificate of this record.
    pub(super) fn find(
        self,
        view: &dyn View,
        record: &CertificateRecord,
        now: Timestamp,
    ) -> Result<Bind, ServiceError> {
        let over = record.validity.not_after < now;
        if over || !record.is_imported() || !view.bindings(&record.id)?.is_empty() {
            return Ok(Bind::Nothing);
        }
        let Some(name) = self.name(record) else {
            return Ok(Bind::Not("its subject has no common name, or nobody told of it".to_owned()));
        };
        let Some(device) = device_named(view, &name)? else {
            return Ok(Bind::Not(format!("there is no device \"{name}\"")));
        };
        if let Err(why) = device.may_enrol() {
            return Ok(Bind::Not(format!("the device \"{}\" may have no certificate: {why}", device.id)));
        }
        Ok(Bind::To(Binding {
            certificate: record.id.clone(),
            object: BoundObject::Device { id: device.id, generation: device.generation },
            evidence: Evidence::Import,
            // A list says what its writer likes; of a certificate the CA's signature was checked.
            assurance: if record.is_whole() { Assurance::Medium } else { Assurance::Low },
            bound_at: now,
        }))
    }

    fn name(self, record: &CertificateRecord) -> Option<String> {
        match self {
            Self::SubjectCommonName => record.subject.parse::<Name>().ok()?.common_name(),
        }
    }
}
