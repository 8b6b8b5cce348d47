//! Devices: registered, shown, and what happens to them, with its effect on their certificates in one transaction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, ServiceError,
    audit::Act,
    certificate::{CertificateView, ChangedCertificate, change_certificate, records_of},
    queue::refuse_of_ended,
    ticket::{open_tickets_of, withdraw},
};
use crate::{
    domain::{
        access::{Authed, Operate, Read},
        binding::BoundObject,
        certificate::CertificateRecord,
        device::{
            ConditionKind, Device, DeviceEvent, IdentityKind, InvalidRecord, Lifecycle, LifecyclePolicy,
            Registration,
        },
    },
    ports::{Tx, View, store::Page},
    types::{DeviceId, SourceId, Timestamp, UserId},
};

/// A device to be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// Its name in certgate.
    pub id: DeviceId,
    /// What is known of it.
    #[serde(flatten)]
    pub registration: Registration,
}

/// A device as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its name in certgate.
    pub id: DeviceId,
    /// Which life of it.
    pub generation: u32,
    /// Where it stands.
    pub lifecycle: Lifecycle,
    /// Since when.
    pub lifecycle_since: Timestamp,
    /// Where it stands with its circumstances, in a few words.
    pub badge: String,
    /// Circumstances.
    pub conditions: Vec<ConditionView>,
    /// Serial number, UDID, IMEI, MAC ...
    pub identities: BTreeMap<IdentityKind, String>,
    /// Its user.
    pub user: Option<UserId>,
    /// The source that it belongs to; none for one that was registered by hand.
    pub source: Option<SourceId>,
    /// When that source last listed it.
    pub last_seen: Option<Timestamp>,
    /// Display name.
    pub name: String,
    /// Model.
    pub model: String,
    /// The computer account's SID.
    pub sid: Option<String>,
    /// Further attributes.
    pub attributes: BTreeMap<String, String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it first got a certificate in this life.
    pub enrolled_at: Option<Timestamp>,
    /// Grows with each change.
    pub version: u64,
    /// Its certificates in this life; empty in listings.
    pub certificates: Vec<CertificateView>,
}

/// A circumstance of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionView {
    /// Which.
    pub kind: ConditionKind,
    /// Since when.
    pub since: Timestamp,
    /// Who said so, and why.
    pub note: String,
}

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOutcome {
    /// The device now.
    pub device: DeviceView,
    /// The certificates whose status it changed; OCSP says so from now on.
    pub certificates: Vec<ChangedCertificate>,
}

impl From<InvalidRecord> for ServiceError {
    fn from(invalid: InvalidRecord) -> Self {
        Self::invalid(invalid.field, invalid.problem)
    }
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        let badge = device.badge().to_owned();
        let conditions = device.conditions.into_iter();
        Self {
            id: device.id,
            generation: device.generation,
            lifecycle: device.lifecycle,
            lifecycle_since: device.lifecycle_since,
            badge,
            conditions: conditions
                .map(|it| ConditionView { kind: it.kind, since: it.since, note: it.note })
                .collect(),
            identities: device.identities,
            user: device.user,
            source: None,
            last_seen: None,
            name: device.name,
            model: device.model,
            sid: device.sid,
            attributes: device.attributes,
            created_at: device.created_at,
            enrolled_at: device.enrolled_at,
            version: device.version,
            certificates: Vec::new(),
        }
    }
}

/// Devices read at a time while a listing is filtered, and how many at most.
const SCAN: usize = 1000;

impl Gateway {
    /// Registers a device: pending, without certificates.
    pub fn register_device(
        &self,
        authed: &Authed<Operate>,
        new: NewDevice,
    ) -> Result<DeviceView, ServiceError> {
        let act = Act::of(authed, self.now());
        let device = Device::new(new.id, new.registration, act.at)?;
        self.ports.store.write(|tx| insert_device(tx, &device, &act))?;
        Ok(device.into())
    }

    /// One device, with its certificates.
    pub fn device(&self, _authed: &Authed<Read>, id: &DeviceId) -> Result<DeviceView, ServiceError> {
        self.read_device(id)
    }

    /// Devices, paged by id.
    pub fn devices(
        &self,
        _authed: &Authed<Read>,
        lifecycle: Option<Lifecycle>,
        page: &Page<DeviceId>,
    ) -> Result<Listing<DeviceView>, ServiceError> {
        let views = self.ports.store.read(|view| {
            let devices = match lifecycle {
                None => view.devices(page)?,
                Some(lifecycle) => devices_in(view, lifecycle, page)?,
            };
            devices.into_iter().map(|device| with_source(view, device)).collect::<Result<_, ServiceError>>()
        })?;
        Ok(Listing::page(views, page.limit, |device: &DeviceView| device.id.to_string()))
    }

    /// Something happened to a device, or is to happen. When this returns, OCSP says what it did to the certificates.
    pub fn device_event(
        &self,
        authed: &Authed<Operate>,
        id: &DeviceId,
        event: DeviceEvent,
        note: &str,
    ) -> Result<DeviceOutcome, ServiceError> {
        if event.is_automatic() {
            return Err(ServiceError::invalid("event", "happens by itself and cannot be asked for"));
        }
        let (act, accepted) = (Act::of(authed, self.now()), self.accepted());
        let changed = self.ports.store.write(|tx| {
            let changed = apply_event(tx, id, event, note, &act)?;
            if event == DeviceEvent::Reprovision {
                // A ticket was minted for one life of the device: whoever took it along must not enter the next with it.
                for ticket in open_tickets_of(tx.as_view(), id, act.at)? {
                    withdraw(tx, &ticket, &act)?;
                }
            }
            if event.may_end_life() {
                refuse_of_ended(tx, |object| object.is_device(id), &act)?;
            }
            Ok::<_, ServiceError>(changed)
        })?;
        self.certificates_moved(&changed, accepted)?;
        Ok(DeviceOutcome { device: self.read_device(id)?, certificates: changed })
    }

    fn read_device(&self, id: &DeviceId) -> Result<DeviceView, ServiceError> {
        let now = self.now();
        self.ports.store.read(|view| {
            let device = view.device(id)?.ok_or_else(|| ServiceError::not_found("device", id))?;
            let object = BoundObject::Device { id: id.clone(), generation: device.generation };
            let certificates = self.views_bound_to(view, &object, now)?;
            Ok::<_, ServiceError>(DeviceView { certificates, ..with_source(view, device)? })
        })
    }
}

/// The device with the source that it belongs to, without certificates.
pub(super) fn with_source(view: &dyn View, device: Device) -> Result<DeviceView, ServiceError> {
    let Some(membership) = view.membership(&device.id)? else { return Ok(device.into()) };
    let listed_at = view.source(&membership.source)?.and_then(|source| source.listed_at);
    let last_seen = Some(membership.last_seen(listed_at));
    Ok(DeviceView { source: Some(membership.source), last_seen, ..device.into() })
}

/// Adds a device, on record.
pub(super) fn insert_device(tx: &mut dyn Tx, device: &Device, act: &Act) -> Result<(), ServiceError> {
    check_references(tx.as_view(), device)?;
    tx.put_device(device)?;
    Ok(tx.append_audit(&act.fact("device.registered", &device.id, &[("name", device.name.clone())]))?)
}

/// Refuses what the store would only call a conflict, in words that help.
fn check_references(view: &dyn View, device: &Device) -> Result<(), ServiceError> {
    if view.device(&device.id)?.is_some() {
        return Err(ServiceError::Conflict(format!("the device \"{}\" exists already", device.id)));
    }
    for (kind, value) in &device.identities {
        if let Some(other) = view.device_by_identity(*kind, value)? {
            let problem = format!("the {} {value} belongs to the device \"{}\"", kind.as_str(), other.id);
            return Err(ServiceError::Conflict(problem));
        }
    }
    match &device.user {
        Some(user) if view.user(user)?.is_none() => Err(ServiceError::not_found("user", user)),
        _ => Ok(()),
    }
}

fn devices_in(
    view: &dyn View,
    lifecycle: Lifecycle,
    page: &Page<DeviceId>,
) -> crate::ports::store::StoreResult<Vec<Device>> {
    let mut found = Vec::new();
    let mut scan = Page { after: page.after.clone(), limit: SCAN };
    while found.len() < page.limit {
        let devices = view.devices(&scan)?;
        let Some(last) = devices.last() else { break };
        scan.after = Some(last.id.clone());
        found.extend(devices.into_iter().filter(|device| device.lifecycle == lifecycle));
    }
    found.truncate(page.limit);
    Ok(found)
}

/// The device's state, the causes of its certificates and the audit record, decided and written together.
pub(super) fn apply_event(
    tx: &mut dyn Tx,
    id: &DeviceId,
    event: DeviceEvent,
    note: &str,
    act: &Act,
) -> Result<Vec<ChangedCertificate>, ServiceError> {
    let device = tx.device(id)?.ok_or_else(|| ServiceError::not_found("device", id))?;
    let actor = act.actor.to_string();
    let apply = |policy: &LifecyclePolicy| device.apply(event, policy, &actor, note, act.at);
    let after = apply(&LifecyclePolicy::default())?.device;
    let object = BoundObject::Device { id: id.clone(), generation: device.generation };
    let mut changed = Vec::new();
    let mut unchanged = 0_usize;
    for record in records_of(tx.as_view(), &object)? {
        // Where the device stands afterwards is the same under every policy; what it does to a certificate is its profile's.
        let causes = apply(&policy_of(tx.as_view(), &record)?)?.causes;
        match change_certificate(tx, &record.id, &causes, act)? {
            Some(change) => changed.push(change),
            None => unchanged += 1,
        }
    }
    tx.put_device(&after)?;
    let detail = [
        ("event", event.as_str().to_owned()),
        ("before", device.lifecycle.as_str().to_owned()),
        ("after", after.lifecycle.as_str().to_owned()),
        ("certificates-changed", changed.len().to_string()),
        ("certificates-unchanged", unchanged.to_string()),
        ("note", note.to_owned()),
    ];
    tx.append_audit(&act.fact(fact_name(event), id, &detail))?;
    Ok(changed)
}

pub(super) fn policy_of(
    view: &dyn View,
    record: &CertificateRecord,
) -> Result<LifecyclePolicy, ServiceError> {
    let Some((name, _)) = &record.profile else { return Ok(LifecyclePolicy::default()) };
    Ok(view.profile(name)?.map(|profile| profile.spec.lifecycle).unwrap_or_default())
}

const fn fact_name(event: DeviceEvent) -> &'static str {
    match event {
        DeviceEvent::Enrolled => "device.enrolled",
        DeviceEvent::Retire => "device.retire-requested",
        DeviceEvent::Unretire => "device.retire-withdrawn",
        DeviceEvent::Wipe => "device.wipe-requested",
        DeviceEvent::CancelWipe => "device.wipe-withdrawn",
        DeviceEvent::Force => "device.forced",
        DeviceEvent::Lost => "device.lost",
        DeviceEvent::Found => "device.found",
        DeviceEvent::Compromised => "device.compromised",
        DeviceEvent::Cleared => "device.cleared",
        DeviceEvent::TicketExpired => "device.ticket-expired",
        DeviceEvent::Reprovision => "device.reprovisioned",
        DeviceEvent::SourceMissing => "device.missing",
        DeviceEvent::SourceHold => "device.missing-held",
        DeviceEvent::SourceBack => "device.listed-again",
    }
}
