//! Challenges for devices that an MDM server describes (Jamf Pro's SCEPChallenge, which Fleet speaks too).

use std::{collections::BTreeMap, time::Duration};

use super::{ChallengeDenied, check_permitted, no_default_profile};
use crate::{
    domain::{
        access::{Authed, Mint},
        challenge::TicketOrigin,
        device::{Device, IdentityKind, Registration, fitting_text},
    },
    ports::View,
    service::{Gateway, ServiceError, audit::Act, device::insert_device, ticket::Minting},
    types::{DeviceId, ProfileName, Secret, TicketId},
};

/// The challenge webhook.
#[derive(Clone, Copy, Debug)]
pub struct WebhookSettings {
    /// How long its tickets last.
    pub ticket_lifetime: Duration,
    /// Whether a device that it describes, and nobody knows, is registered.
    pub register_devices: bool,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { ticket_lifetime: Duration::from_secs(3600), register_devices: false }
    }
}

/// What an MDM server says of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedDevice {
    /// Serial number, UDID ...; nothing: no device is meant.
    pub identities: BTreeMap<IdentityKind, String>,
    /// Its name, or nothing.
    pub name: String,
    /// Its model, or nothing.
    pub model: String,
}

/// The answer to an MDM server.
#[derive(Clone, Debug)]
pub enum WebhookChallenge {
    /// A challenge for the device.
    Bound(Secret),
    /// A text that no challenge is: for a server that tries whether somebody answers, and names no device.
    Unusable(Secret),
}

impl Gateway {
    /// A one-time challenge for the device that an MDM server describes. `profile`: none means the default profile.
    ///
    /// Errors: nobody knows the device, and it may not be registered; its identities are of several devices; those of tickets.
    pub fn webhook_challenge(
        &self,
        authed: &Authed<Mint>,
        profile: Option<&ProfileName>,
        described: &DescribedDevice,
    ) -> Result<WebhookChallenge, ChallengeDenied> {
        let profile = profile.cloned().or_else(|| self.default_profile()).ok_or_else(no_default_profile)?;
        check_permitted(authed, &profile)?;
        if self.authorities().profile(&profile).is_none() {
            return Err(ServiceError::not_found("profile", &profile).into());
        }
        if described.identities.is_empty() {
            let mut text = b"unusable-".to_vec();
            text.extend_from_slice(self.hexadecimal(16).expose());
            tracing::warn!(
                "the call names no device by serial number or UDID: it gets a text that no challenge is, as a server that tries the \
                 URL does; a device that is given it is refused"
            );
            return Ok(WebhookChallenge::Unusable(Secret::new(text)));
        }
        let device = self.known_or_registered(authed, described)?;
        let new =
            self.ticket_for(profile, Some(device), None, self.settings.challenge_webhook.ticket_lifetime)?;
        let minting = Minting {
            id: TicketId::from_random(self.ports.random.bytes()),
            secret: self.ticket_secret(),
            origin: TicketOrigin::Webhook,
            also_for: Vec::new(),
        };
        Ok(WebhookChallenge::Bound(self.mint(authed, &new, minting)?.secret))
    }

    fn known_or_registered(
        &self,
        authed: &Authed<Mint>,
        described: &DescribedDevice,
    ) -> Result<DeviceId, ServiceError> {
        if let Some(known) = self.ports.store.read(|view| known(view, described))? {
            return Ok(known);
        }
        if !self.settings.challenge_webhook.register_devices {
            let problem = format!(
                "no device is registered with {}: register it, bring it in by a source, or set \
                 challenge-webhook.register-devices",
                identities_text(described)
            );
            return Err(ServiceError::Refused(problem));
        }
        let act = Act::of(authed, self.now());
        let device = Device::new(id_for(described)?, registration(described), act.at)?;
        self.ports.store.write(|tx| {
            // Somebody else may have registered it since.
            if let Some(known) = known(tx.as_view(), described)? {
                return Ok(known);
            }
            insert_device(tx, &device, &act)?;
            Ok(device.id.clone())
        })
    }
}

/// The one device that all identities which anybody knows belong to. MDM servers call Apple's UDID also UUID, and a device that was
/// registered by hand often has its serial number as its id.
fn known(view: &dyn View, described: &DescribedDevice) -> Result<Option<DeviceId>, ServiceError> {
    let mut found: Option<DeviceId> = None;
    for (kind, value) in &described.identities {
        let kinds: &[IdentityKind] = match kind {
            IdentityKind::Udid | IdentityKind::Uuid => &[IdentityKind::Udid, IdentityKind::Uuid],
            other => std::slice::from_ref(other),
        };
        let mut devices = Vec::new();
        for kind in kinds {
            devices.extend(view.device_by_identity(*kind, value)?.map(|device| device.id));
        }
        if let (IdentityKind::Serial, true, Ok(id)) = (kind, devices.is_empty(), value.parse()) {
            devices.extend(view.device(&id)?.map(|device| device.id));
        }
        for id in devices {
            if found.as_ref().is_some_and(|other| *other != id) {
                let text = identities_text(described);
                return Err(ServiceError::Conflict(format!("{text} belong to several devices")));
            }
            found = Some(id);
        }
    }
    Ok(found)
}

/// The id of a device that is registered by what is known of it: its serial number, else another identity.
fn id_for(described: &DescribedDevice) -> Result<DeviceId, ServiceError> {
    let first = described
        .identities
        .values()
        .next()
        .ok_or_else(|| ServiceError::invalid("device", "has no identity"))?;
    first.parse().map_err(|error| ServiceError::invalid("device", error))
}

/// A name that somebody gave the device, however long, must not cost it its challenge.
fn registration(described: &DescribedDevice) -> Registration {
    Registration {
        name: fitting_text(&described.name),
        model: fitting_text(&described.model),
        identities: described.identities.clone(),
        ..Registration::default()
    }
}

fn identities_text(described: &DescribedDevice) -> String {
    let all: Vec<_> =
        described.identities.iter().map(|(kind, value)| format!("{} {value}", kind.as_str())).collect();
    all.join(", ")
}
