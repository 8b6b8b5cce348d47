//! Challenges for MDM servers, as NDES and as challenge webhooks give them. Each is a ticket: kept over a restart, on record,
//! used once.
//!
//! An NDES password names nobody unless the caller says for whom it is (`?device=`), so whoever has it may enrol as anybody
//! (VU#971035): only a profile that takes `unbound-ticket` gives such. What NDES does by templates, certgate does by profiles: a
//! password is for all of [`Templates`], or for the one that the caller's key usage chooses.
//!
//! | file | what |
//! |---|---|
//! | `mod` (here) | NDES passwords |
//! | `cache` | how many of them may be open |
//! | `webhook` | challenges for devices that an MDM server describes |

mod cache;
mod webhook;

use std::{num::NonZeroUsize, time::Duration};

pub use cache::PasswordCache;
pub use webhook::{DescribedDevice, WebhookChallenge, WebhookSettings};

use super::{
    Gateway, ServiceError,
    enrol::device_named,
    ticket::{Minting, NewTicket},
};
use crate::{
    domain::{
        access::{Authed, Mint},
        challenge::TicketOrigin,
        ndes::Templates,
        profile::Scope,
    },
    types::{DeviceId, DigestAlgorithm, Fingerprint, ProfileName, Secret, TicketId, UserId},
    wire::x509::KeyUsage,
};

/// The NDES-compatible URLs.
#[derive(Clone, Debug)]
pub struct NdesSettings {
    /// The profile for keys that only sign; none: the default profile.
    pub signature: Option<ProfileName>,
    /// The profile for keys that only encipher; none: the default profile.
    pub encryption: Option<ProfileName>,
    /// Random bytes of a password, shown as twice as many hexadecimal digits.
    pub password_bytes: usize,
    /// How long a password lasts.
    pub password_lifetime: Duration,
    /// How many passwords may be open at once; none: any number.
    pub max_passwords: Option<NonZeroUsize>,
}

impl Default for NdesSettings {
    fn default() -> Self {
        Self {
            signature: None,
            encryption: None,
            password_bytes: 8,
            password_lifetime: Duration::from_secs(24 * 3600),
            max_passwords: None,
        }
    }
}

/// A password that is wanted.
#[derive(Clone, Debug, Default)]
pub struct WantedPassword {
    /// The profile that takes it; none: those of the NDES-compatible SCEP URL.
    pub profile: Option<ProfileName>,
    /// The key usage for which it is: chooses one of them.
    pub key_usage: Option<KeyUsage>,
    /// The device that it is for, by its id or one of its identities.
    pub device: Option<String>,
    /// The user that it is for.
    pub user: Option<UserId>,
}

/// A password that was given, this once.
#[derive(Clone, Debug)]
pub struct Password {
    /// The challengePassword.
    pub secret: Secret,
    /// How long it lasts.
    pub lifetime: Duration,
    /// The CA that will issue.
    pub thumbprints: Thumbprints,
}

/// The hashes by which people and profiles know a CA certificate, in upper-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbprints {
    /// What Windows calls the thumbprint.
    pub sha1: String,
    /// The one to compare where there is a choice.
    pub sha256: String,
}

/// Why no challenge is given.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChallengeDenied {
    /// The caller is for other profiles.
    #[error("the token gets no challenges for the profile {0}")]
    NotPermitted(ProfileName),
    /// As many passwords are open as may be.
    #[error("{0} passwords are open, and no more may be")]
    CacheFull(usize),
    /// As for any use case.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Gateway {
    /// The profiles of the NDES-compatible SCEP URL; none where there is no default profile.
    pub(super) fn templates(&self) -> Option<Templates> {
        let general_purpose = self.default_profile()?;
        let or_default =
            |named: &Option<ProfileName>| named.clone().unwrap_or_else(|| general_purpose.clone());
        Some(Templates {
            signature: or_default(&self.settings.ndes.signature),
            encryption: or_default(&self.settings.ndes.encryption),
            general_purpose: general_purpose.clone(),
        })
    }

    /// A one-time password as NDES's page gives it. Errors: the caller's profiles, the number of open passwords, and those of
    /// tickets.
    pub fn ndes_password(
        &self,
        authed: &Authed<Mint>,
        wanted: &WantedPassword,
    ) -> Result<Password, ChallengeDenied> {
        let (profile, others) = self.profiles_of(wanted)?;
        let new = self.new_ticket(authed, profile, wanted, self.settings.ndes.password_lifetime)?;
        let takes = |name: &ProfileName| {
            let ticket = NewTicket { profile: name.clone(), ..new.clone() };
            authed.may_mint_for(name) && self.check_profile_takes(&ticket).is_ok()
        };
        let minting = Minting {
            id: TicketId::from_random(self.ports.random.bytes()),
            secret: self.hexadecimal(self.settings.ndes.password_bytes),
            origin: TicketOrigin::NdesPage,
            also_for: others.into_iter().filter(takes).collect(),
        };
        let thumbprints = self.thumbprints(&new.profile)?;
        let secret = self.reserved(&minting.id.clone(), || Ok(self.mint(authed, &new, minting)?.secret))?;
        Ok(Password { secret, lifetime: self.settings.ndes.password_lifetime, thumbprints })
    }

    /// The hashes of the certificate of the CA that issues for the NDES-compatible SCEP URL.
    pub fn ndes_thumbprints(&self, _authed: &Authed<Mint>) -> Result<Thumbprints, ChallengeDenied> {
        let templates = self.templates().ok_or_else(no_default_profile)?;
        Ok(self.thumbprints(&templates.general_purpose)?)
    }

    /// The profile that takes the password, and the others that take it too.
    fn profiles_of(&self, wanted: &WantedPassword) -> Result<(ProfileName, Vec<ProfileName>), ServiceError> {
        if let Some(named) = &wanted.profile {
            return Ok((named.clone(), Vec::new()));
        }
        let templates = self.templates().ok_or_else(no_default_profile)?;
        // Windows asks with 0x00 where it wants no certain usage.
        if let Some(usage) = wanted.key_usage.filter(|usage| !usage.is_empty()) {
            return Ok((templates.choose(Some(usage)).clone(), Vec::new()));
        }
        let others = templates.all().into_iter().skip(1).cloned().collect();
        Ok((templates.general_purpose, others))
    }

    fn new_ticket(
        &self,
        authed: &Authed<Mint>,
        profile: ProfileName,
        wanted: &WantedPassword,
        lifetime: Duration,
    ) -> Result<NewTicket, ChallengeDenied> {
        check_permitted(authed, &profile)?;
        let device = wanted.device.as_deref().map(|named| self.device_id(named)).transpose()?;
        self.ticket_for(profile, device, wanted.user.clone(), lifetime)
    }

    fn device_id(&self, named: &str) -> Result<DeviceId, ServiceError> {
        let device = self.ports.store.read(|view| Ok::<_, ServiceError>(device_named(view, named)?))?;
        device.map(|device| device.id).ok_or_else(|| ServiceError::not_found("device", named))
    }

    /// A ticket for what the profile's certificates are bound to: in a profile for users, a device stands for its user.
    fn ticket_for(
        &self,
        profile: ProfileName,
        device: Option<DeviceId>,
        user: Option<UserId>,
        lifetime: Duration,
    ) -> Result<NewTicket, ChallengeDenied> {
        let authorities = self.authorities();
        let scope =
            authorities.profile(&profile).ok_or_else(|| ServiceError::not_found("profile", &profile))?;
        let (device, user) = match (scope.spec().scope, device, user) {
            (Scope::User, Some(device), None) => (None, Some(self.user_of(&device)?)),
            (Scope::User, _, user) => (None, user),
            (Scope::Device, device, user) => (device, user),
        };
        Ok(NewTicket { profile, device, user, lifetime: Some(lifetime), uses: None })
    }

    fn user_of(&self, device: &DeviceId) -> Result<UserId, ServiceError> {
        let record = self.ports.store.read(|view| Ok::<_, ServiceError>(view.device(device)?))?;
        let user = record.and_then(|record| record.user);
        user.ok_or_else(|| ServiceError::Refused(format!("the device {device} has no user")))
    }

    fn thumbprints(&self, profile: &ProfileName) -> Result<Thumbprints, ServiceError> {
        let authorities = self.authorities();
        let profile =
            authorities.profile(profile).ok_or_else(|| ServiceError::not_found("profile", profile))?;
        let issuer = &profile.spec().issuer;
        let authority =
            authorities.current(issuer).ok_or_else(|| ServiceError::not_found("issuer", issuer))?;
        let der = authority.certificate.as_der();
        Ok(Thumbprints {
            sha1: hex::encode_upper(DigestAlgorithm::Sha1.digest(der)),
            sha256: Fingerprint::of(der).to_string().to_ascii_uppercase(),
        })
    }

    fn hexadecimal(&self, bytes: usize) -> Secret {
        let mut random = vec![0; bytes];
        self.ports.random.fill(&mut random);
        let random = Secret::new(random);
        Secret::new(hex::encode_upper(random.expose()).into_bytes())
    }
}

fn check_permitted(authed: &Authed<Mint>, profile: &ProfileName) -> Result<(), ChallengeDenied> {
    if authed.may_mint_for(profile) { Ok(()) } else { Err(ChallengeDenied::NotPermitted(profile.clone())) }
}

fn no_default_profile() -> ServiceError {
    ServiceError::Refused("there is no default profile: set scep.default-profile".to_owned())
}
