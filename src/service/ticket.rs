//! Tickets: one-time challenges, minted for one device or user, or for nobody in particular where the profile takes such.
//!
//! The secret is shown once, to whoever mints it, and stored only as a keyed MAC; it is consumed by the transaction that
//! records the certificate ([`super::issue`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Gateway, Listing, ServiceError, audit::Act};
use crate::{
    domain::{
        access::{Authed, Mint, Operate, Read},
        challenge::{Ticket, TicketOrigin},
        profile::{ChallengeMode, Scope},
        timer::{Timer, TimerSubject},
    },
    ports::{MacPurpose, Store, Tx, View, store::Page},
    types::{DeviceId, ProfileName, Secret, TicketId, Timestamp, UserId},
};

/// How long a ticket lasts unless said otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest that a ticket may last.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// The most uses of one ticket.
pub const MAX_USES: u32 = 100;

/// Crockford's base 32: no I, L, O, U. 24 characters carry 120 bits, and keyboards and telephones carry them unharmed.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SECRET_LEN: usize = 24;

/// A ticket that is wanted.
#[derive(Clone, Debug)]
pub struct NewTicket {
    /// The only profile that will take it.
    pub profile: ProfileName,
    /// For a profile of scope `device`: which device. Neither a device nor a user: an unbound ticket.
    pub device: Option<DeviceId>,
    /// For a profile of scope `user`: which user.
    pub user: Option<UserId>,
    /// How long it lasts; [`DEFAULT_LIFETIME`] where nothing is said, at most [`MAX_LIFETIME`].
    pub lifetime: Option<Duration>,
    /// How many certificates it is good for; 1 where nothing is said, at most [`MAX_USES`].
    pub uses: Option<u32>,
}

/// A ticket that was minted, with its secret: the only time that the secret is shown.
#[derive(Clone, Debug)]
pub struct MintedTicket {
    /// What is recorded of it.
    pub ticket: TicketView,
    /// The challengePassword: ASCII letters and digits.
    pub secret: Secret,
}

/// Where a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketState {
    /// It can be used.
    Open,
    /// All of its uses are used.
    Used,
    /// It ran out.
    Expired,
    /// It was withdrawn.
    Cancelled,
}

/// A ticket as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketView {
    /// Its handle.
    pub id: TicketId,
    /// The profile that takes it.
    pub profile: ProfileName,
    /// The device that it is for.
    pub device: Option<DeviceId>,
    /// The user that it is for.
    pub user: Option<UserId>,
    /// Where it stands.
    pub state: TicketState,
    /// How often it can still be used.
    pub uses_left: u32,
    /// When it was minted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was withdrawn.
    pub cancelled_at: Option<Timestamp>,
    /// Other profiles that take it too.
    pub also_for: Vec<ProfileName>,
    /// Where it was asked for.
    pub origin: TicketOrigin,
}

/// How a ticket is minted: what depends on where it was asked for.
pub(super) struct Minting {
    pub(super) id: TicketId,
    pub(super) secret: Secret,
    pub(super) origin: TicketOrigin,
    pub(super) also_for: Vec<ProfileName>,
}

impl TicketView {
    fn of(ticket: Ticket, now: Timestamp) -> Self {
        let state = if ticket.cancelled_at.is_some() {
            TicketState::Cancelled
        } else if ticket.uses_left == 0 {
            TicketState::Used
        } else if ticket.expires_at <= now {
            TicketState::Expired
        } else {
            TicketState::Open
        };
        Self {
            id: ticket.id,
            profile: ticket.profile,
            device: ticket.device,
            user: ticket.user,
            state,
            uses_left: ticket.uses_left,
            created_at: ticket.created_at,
            created_by: ticket.created_by,
            expires_at: ticket.expires_at,
            cancelled_at: ticket.cancelled_at,
            also_for: ticket.also_for,
            origin: ticket.origin,
        }
    }
}

impl Gateway {
    /// Mints a ticket. Errors: no such profile, device or user; the profile takes no such tickets or is for the other kind of
    /// object; the caller is for other profiles; the object is not in standing to enrol; lifetime or uses out of bounds.
    pub fn create_ticket(
        &self,
        authed: &Authed<Mint>,
        wanted: &NewTicket,
    ) -> Result<MintedTicket, ServiceError> {
        let id = TicketId::from_random(self.ports.random.bytes());
        let minting =
            Minting { id, secret: self.ticket_secret(), origin: TicketOrigin::Api, also_for: Vec::new() };
        self.mint(authed, wanted, minting)
    }

    /// Mints a ticket in one of its ways.
    pub(super) fn mint(
        &self,
        authed: &Authed<Mint>,
        wanted: &NewTicket,
        minting: Minting,
    ) -> Result<MintedTicket, ServiceError> {
        self.check_profile_takes(wanted)?;
        if !authed.may_mint_for(&wanted.profile) {
            let problem = format!("the token gets no challenges for the profile {}", wanted.profile);
            return Err(ServiceError::Refused(problem));
        }
        let act = Act::of(authed, self.now());
        let Minting { id, secret, origin, also_for } = minting;
        let ticket = Ticket {
            id,
            secret_mac: self.ports.keyring.mac(MacPurpose::Ticket, secret.expose()),
            profile: wanted.profile.clone(),
            device: wanted.device.clone(),
            user: wanted.user.clone(),
            uses_left: uses(wanted.uses)?,
            expires_at: act.at.plus(lifetime(wanted.lifetime)?),
            created_at: act.at,
            created_by: act.actor.to_string(),
            cancelled_at: None,
            also_for,
            origin,
            used_by: Vec::new(),
        };
        let detail = [
            ("profile", ticket.profile.to_string()),
            ("for", object_text(&ticket)),
            ("expires", ticket.expires_at.to_string()),
            ("origin", origin_name(origin).to_owned()),
        ];
        let subject = ticket.device.clone().map(|device| TimerSubject::TicketEnds { device });
        let timer = subject.map(|subject| Timer { at: ticket.expires_at, subject });
        self.ports.store.write(|tx| {
            check_standing(tx.as_view(), &ticket)?;
            tx.put_ticket(&ticket)?;
            if let Some(timer) = &timer {
                tx.set_timer(timer)?;
            }
            Ok::<_, ServiceError>(tx.append_audit(&act.fact("ticket.created", &ticket.id, &detail))?)
        })?;
        Ok(MintedTicket { ticket: TicketView::of(ticket, act.at), secret })
    }

    /// Tickets by handle, paged.
    pub fn tickets(
        &self,
        _authed: &Authed<Read>,
        page: &Page<TicketId>,
    ) -> Result<Listing<TicketView>, ServiceError> {
        let now = self.now();
        let tickets = self.ports.store.read(|view| Ok::<_, ServiceError>(view.tickets(page)?))?;
        let views = tickets.into_iter().map(|ticket| TicketView::of(ticket, now)).collect();
        Ok(Listing::page(views, page.limit, |ticket: &TicketView| ticket.id.to_string()))
    }

    /// One ticket.
    pub fn ticket(&self, _authed: &Authed<Read>, id: &TicketId) -> Result<TicketView, ServiceError> {
        let ticket = self.ports.store.read(|view| Ok::<_, ServiceError>(view.ticket(id)?))?;
        let ticket = ticket.ok_or_else(|| ServiceError::not_found("ticket", id))?;
        Ok(TicketView::of(ticket, self.now()))
    }

    /// Withdraws a ticket; what it was used for stays. Withdrawing twice is fine.
    pub fn cancel_ticket(&self, authed: &Authed<Operate>, id: &TicketId) -> Result<TicketView, ServiceError> {
        let act = Act::of(authed, self.now());
        let ticket = self.ports.store.write(|tx| withdraw(tx, id, &act))?;
        Ok(TicketView::of(ticket, act.at))
    }

    /// Whether a profile takes tickets like this one.
    pub(super) fn check_profile_takes(&self, wanted: &NewTicket) -> Result<(), ServiceError> {
        let authorities = self.authorities();
        let profile = authorities
            .profile(&wanted.profile)
            .ok_or_else(|| ServiceError::not_found("profile", &wanted.profile))?;
        let spec = profile.spec();
        let takes = |mode| spec.challenge.contains(&mode);
        if wanted.device.is_none() && wanted.user.is_none() && takes(ChallengeMode::UnboundTicket) {
            return Ok(());
        }
        if !takes(ChallengeMode::Ticket) {
            return Err(ServiceError::Refused(format!("the profile {} takes no tickets", wanted.profile)));
        }
        let unbound = match (&wanted.device, &wanted.user) {
            (None, None) => {
                ", or let the profile's `challenge` have \"unbound-ticket\" for one that names nobody"
            }
            _ => "",
        };
        match (spec.scope, &wanted.device, &wanted.user) {
            (Scope::Device, Some(_), None) | (Scope::User, None, Some(_)) => Ok(()),
            (Scope::Device, ..) => Err(ServiceError::invalid(
                "device",
                format_args!("a ticket of this profile is for one device: name it{unbound}"),
            )),
            (Scope::User, ..) => Err(ServiceError::invalid(
                "user",
                format_args!("a ticket of this profile is for one user: name it{unbound}"),
            )),
        }
    }

    pub(super) fn ticket_secret(&self) -> Secret {
        let random: [u8; SECRET_LEN] = self.ports.random.bytes();
        // 256 is a multiple of 32, so every character is equally likely.
        Secret::new(random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)).copied()).collect())
    }
}

/// The tickets that can be used. Reads every ticket.
pub(super) fn open_tickets(store: &dyn Store, now: Timestamp) -> Result<Vec<TicketId>, ServiceError> {
    const AT_A_TIME: usize = 1000;
    store.read(|view| {
        let mut found = Vec::new();
        let mut page = Page::first(AT_A_TIME);
        loop {
            let tickets = view.tickets(&page)?;
            found.extend(
                tickets.iter().filter(|ticket| ticket.usable(now).is_ok()).map(|ticket| ticket.id.clone()),
            );
            let Some(last) = tickets.last() else { break Ok(found) };
            page.after = Some(last.id.clone());
        }
    })
}

/// The tickets of a device that can be used now.
pub(super) fn open_tickets_of(
    view: &dyn View,
    device: &DeviceId,
    now: Timestamp,
) -> Result<Vec<TicketId>, ServiceError> {
    let tickets = view.tickets_of_device(device)?.into_iter();
    Ok(tickets.filter(|ticket| ticket.usable(now).is_ok()).map(|ticket| ticket.id).collect())
}

/// Withdraws a ticket, on record; one that was withdrawn before stays as it is.
pub(super) fn withdraw(tx: &mut dyn Tx, id: &TicketId, act: &Act) -> Result<Ticket, ServiceError> {
    let ticket = tx.ticket(id)?.ok_or_else(|| ServiceError::not_found("ticket", id))?;
    if ticket.cancelled_at.is_some() {
        return Ok(ticket);
    }
    let ticket = ticket.cancel(act.at);
    tx.put_ticket(&ticket)?;
    tx.append_audit(&act.fact("ticket.cancelled", id, &[]))?;
    Ok(ticket)
}

fn lifetime(wanted: Option<Duration>) -> Result<Duration, ServiceError> {
    let lifetime = wanted.unwrap_or(DEFAULT_LIFETIME);
    if lifetime.as_secs() == 0 || lifetime > MAX_LIFETIME {
        return Err(ServiceError::invalid(
            "lifetime_seconds",
            "a ticket lasts between one second and 30 days",
        ));
    }
    Ok(lifetime)
}

fn uses(wanted: Option<u32>) -> Result<u32, ServiceError> {
    let uses = wanted.unwrap_or(1);
    if (1..=MAX_USES).contains(&uses) {
        Ok(uses)
    } else {
        Err(ServiceError::invalid("uses", format!("a ticket has between 1 and {MAX_USES} uses")))
    }
}

/// A ticket for something that cannot enrol would only fail later, in front of the device.
fn check_standing(view: &dyn View, ticket: &Ticket) -> Result<(), ServiceError> {
    if let Some(id) = &ticket.device {
        let device = view.device(id)?.ok_or_else(|| ServiceError::not_found("device", id))?;
        device
            .may_enrol()
            .map_err(|why| ServiceError::Refused(format!("the device {id} cannot enrol: {why}")))?;
    }
    if let Some(id) = &ticket.user {
        let user = view.user(id)?.ok_or_else(|| ServiceError::not_found("user", id))?;
        user.may_enrol().map_err(|why| ServiceError::Refused(format!("{id} cannot enrol: {why}")))?;
    }
    Ok(())
}

fn object_text(ticket: &Ticket) -> String {
    match (&ticket.device, &ticket.user) {
        (Some(device), _) => format!("device {device}"),
        (None, Some(user)) => format!("user {user}"),
        (None, None) => "whoever has it".to_owned(),
    }
}

/// As in the audit record and in metrics.
const fn origin_name(origin: TicketOrigin) -> &'static str {
    match origin {
        TicketOrigin::Api => "api",
        TicketOrigin::NdesPage => "ndes-page",
        TicketOrigin::Webhook => "webhook",
    }
}
