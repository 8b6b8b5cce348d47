//! Whose the imported certificates are: bound to devices or users, so that what happens to those happens to them.
//!
//! Only what has not expired is bound, and nothing that is bound already. A device or user who may have no certificates now (lost, wiped,
//! disabled ..) gets none by an import either: its certificates are told of, for somebody to revoke.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        binding::{Assurance, Binding, BoundObject, Evidence},
        certificate::CertificateRecord,
    },
    ports::{View, store::StoreResult},
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
    /// The common name of its subject is the id of a user.
    #[serde(rename = "user:subject.cn")]
    UserCommonName,
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
        let Some(name) = record.subject.parse::<Name>().ok().and_then(|subject| subject.common_name()) else {
            return Ok(Bind::Not("its subject has no common name, or nobody told of it".to_owned()));
        };
        let object = match self {
            Self::SubjectCommonName => device(view, &name)?,
            Self::UserCommonName => user(view, &name)?,
        };
        let object = match object {
            Ok(object) => object,
            Err(problem) => return Ok(Bind::Not(problem)),
        };
        Ok(Bind::To(Binding {
            certificate: record.id.clone(),
            object,
            evidence: Evidence::Import,
            // A list says what its writer likes; of a certificate the CA's signature was checked.
            assurance: if record.is_whole() { Assurance::Medium } else { Assurance::Low },
            bound_at: now,
        }))
    }
}

/// The device of this name, or why there is none that may have certificates.
fn device(view: &dyn View, name: &str) -> StoreResult<Result<BoundObject, String>> {
    let Some(device) = device_named(view, name)? else {
        return Ok(Err(format!("there is no device \"{name}\"")));
    };
    Ok(match device.may_enrol() {
        Ok(()) => Ok(BoundObject::Device { id: device.id, generation: device.generation }),
        Err(why) => Err(format!("the device \"{}\" may have no certificate: {why}", device.id)),
    })
}

/// The user of this id, or why there is none who may have certificates.
fn user(view: &dyn View, name: &str) -> StoreResult<Result<BoundObject, String>> {
    let user = name.parse().ok().map(|id| view.user(&id)).transpose()?.flatten();
    let Some(user) = user else { return Ok(Err(format!("there is no user \"{name}\""))) };
    Ok(match user.may_enrol() {
        Ok(()) => Ok(BoundObject::User { id: user.id }),
        Err(why) => Err(format!("the user \"{}\" may have no certificate: {why}", user.id)),
    })
}
