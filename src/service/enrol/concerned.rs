//! The records that a request concerns, and the facts that the decision is made from.

use std::collections::HashSet;

use crate::{
    domain::{
        binding::{Assurance, BoundObject},
        certificate::CertificateRecord,
        challenge::{Authorisation, Means},
        device::{Device, IdentityKind},
        enrol::{EnrolRequest, IssueOrder, Renewed},
        profile::{CheckedProfile, Scope, VariableFacts, Variables, variables},
        user::User,
    },
    ports::{View, store::StoreResult},
    service::{Gateway, ServiceError, authority::Authority},
    types::{DeviceId, Timestamp},
    wire::{csr::ProvenCsr, x509::Certificate},
};

/// Names that are looked up of one request, each in several places: a stranger chooses how many there are.
const MAX_CLAIMED: usize = 64;

/// The records that a request concerns.
#[derive(Default)]
pub(in crate::service) struct Concerned {
    pub(in crate::service) device: Option<Device>,
    pub(in crate::service) user: Option<User>,
    /// Two who are registered and whom the request names, where it does.
    several: Option<String>,
    pub(in crate::service) renews: Option<(CertificateRecord, Certificate)>,
}

impl Gateway {
    /// The template variables, with fresh random values.
    pub(in crate::service) fn variables(
        &self,
        profile: &CheckedProfile,
        concerned: &Concerned,
        now: Timestamp,
    ) -> Variables {
        variables(&VariableFacts {
            device: concerned.device.as_ref(),
            user: concerned.user.as_ref(),
            realm: &self.settings.realm,
            config_uuid: &profile.uuid(),
            random: &self.ports.random.bytes(),
            now,
        })
    }
}

/// What [`authorise`](crate::domain::enrol::authorise) decides from, but for the message.
pub(in crate::service) fn facts<'a>(
    authority: &Authority,
    profile: &'a CheckedProfile,
    csr: &'a ProvenCsr,
    concerned: &'a Concerned,
    variables: &'a Variables,
    now: Timestamp,
) -> EnrolRequest<'a> {
    EnrolRequest {
        profile,
        csr,
        message: None,
        device: concerned.device.as_ref(),
        user: concerned.user.as_ref(),
        several: concerned.several.as_deref(),
        renews: concerned.renews.as_ref().map(|(record, certificate)| Renewed { record, certificate }),
        issuer_validity: authority.certificate.validity(),
        variables,
        now,
    }
}

/// Reads the records that a request concerns: those that its authorisation names, else those that the request itself names.
/// What is not found is left out; whether that is allowed is for [`authorise`](crate::domain::enrol::authorise) to say.
pub(in crate::service) fn concerned(
    view: &dyn View,
    profile: &CheckedProfile,
    csr: &ProvenCsr,
    authorisation: Option<&Authorisation>,
) -> Result<Concerned, ServiceError> {
    let mut concerned = Concerned::default();
    match authorisation.map(Authorisation::means) {
        Some(
            Means::Static
            | Means::Vouched { .. }
            | Means::Alternate(_)
            | Means::Ticket { device: None, user: None, .. },
        )
        | None => {
            let mut claimed = profile.claimed_identities(csr.subject(), csr.subject_alt_names());
            // Its names are kept, also those that the request leaves out.
            if let Some(Means::Alternate(renewed)) = authorisation.map(Authorisation::means) {
                add(&mut claimed, names_in(profile, renewed.certificate()));
            }
            concerned.look_up(view, profile.spec().scope, &claimed)?;
        }
        Some(Means::Ticket { device, user, .. }) => {
            concerned.device = device.as_ref().map(|id| view.device(id)).transpose()?.flatten();
            concerned.user = user.as_ref().map(|id| view.user(id)).transpose()?.flatten();
        }
        Some(Means::Renewal { certificate, bound }) => {
            let record = view.certificate(certificate)?;
            let record = record.ok_or_else(|| ServiceError::not_found("certificate", certificate))?;
            let renewed = Certificate::from_der(&record.der)?;
            concerned.renews = Some((record, renewed));
            concerned.fill(view, bound.as_ref())?;
        }
        // What was approved is what is issued: somebody who was registered since then asks again.
        Some(Means::Approval { bound, .. }) => concerned.fill(view, bound.as_ref())?,
    }
    if let (Some(device), None) = (&concerned.device, &concerned.user) {
        concerned.user = device.user.as_ref().map(|id| view.user(id)).transpose()?.flatten();
    }
    Ok(concerned)
}

fn names_in(profile: &CheckedProfile, certificate: &Certificate) -> Vec<String> {
    profile.claimed_identities(certificate.subject(), certificate.subject_alt_names())
}

/// The names that a certificate is asked for with, and those that it will say, where it is to be bound to nobody, because nobody was
/// registered under them: when it was decided, or, of a renewal, when its first one was.
pub(in crate::service) fn unregistered_names(
    order: &IssueOrder,
    profile: &CheckedProfile,
    csr: &ProvenCsr,
) -> Vec<String> {
    if order.bound().is_some() {
        return Vec::new();
    }
    let mut names = profile.claimed_identities(csr.subject(), csr.subject_alt_names());
    add(&mut names, profile.claimed_identities(order.subject(), order.subject_alt_names()));
    names
}

/// Adds those that are not there yet.
fn add(names: &mut Vec<String>, more: Vec<String>) {
    let known: HashSet<String> = names.iter().cloned().collect();
    names.extend(more.into_iter().filter(|name| !known.contains(name)));
}

/// Whoever is registered under a name that a request under the profile claims.
pub(in crate::service) fn registered_as(
    view: &dyn View,
    profile: &CheckedProfile,
    claimed: &str,
) -> StoreResult<Concerned> {
    let mut concerned = Concerned::default();
    concerned.look_up(view, profile.spec().scope, &[claimed.to_owned()])?;
    Ok(concerned)
}

impl Concerned {
    pub(in crate::service) fn device_id(&self) -> Option<DeviceId> {
        self.device.as_ref().map(|device| device.id.clone())
    }

    fn fill(&mut self, view: &dyn View, bound: Option<&(BoundObject, Assurance)>) -> StoreResult<()> {
        match bound.map(|(object, _)| object) {
            Some(BoundObject::Device { id, .. }) => self.device = view.device(id)?,
            Some(BoundObject::User { id }) => self.user = view.user(id)?,
            None => {}
        }
        Ok(())
    }

    /// Looks claimed names up among ids, then, for devices, among identities: the one who is registered counts, also behind names that
    /// nobody has.
    fn look_up(&mut self, view: &dyn View, scope: Scope, claimed: &[String]) -> StoreResult<()> {
        if claimed.len() > MAX_CLAIMED {
            self.several = Some(format!("more than {MAX_CLAIMED} devices or users"));
            return Ok(());
        }
        for name in claimed {
            match scope {
                Scope::Device => {
                    let Some(found) = device_named(view, name)? else { continue };
                    let known = self.device.get_or_insert_with(|| found.clone());
                    if known.id != found.id {
                        self.several = Some(format!("the devices {} and {}", known.id, found.id));
                    }
                }
                Scope::User => {
                    let found = name.parse().ok().map(|id| view.user(&id)).transpose()?.flatten();
                    let Some(found) = found else { continue };
                    let known = self.user.get_or_insert_with(|| found.clone());
                    if known.id != found.id {
                        self.several = Some(format!("the users {} and {}", known.id, found.id));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The device of this id, or with this identity of any kind.
pub(in crate::service) fn device_named(view: &dyn View, claimed: &str) -> StoreResult<Option<Device>> {
    if let Some(device) = claimed.parse().ok().map(|id| view.device(&id)).transpose()?.flatten() {
        return Ok(Some(device));
    }
    for kind in IdentityKind::ALL {
        if let Some(device) = view.device_by_identity(kind, claimed)? {
            return Ok(Some(device));
        }
    }
    Ok(None)
}
