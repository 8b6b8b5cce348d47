//! Users: recorded, shown, disabled, enabled, deleted, with the effect on their certificates in one transaction.

use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, ServiceError,
    audit::Act,
    certificate::{CertificateView, ChangedCertificate, change_certificate, records_of},
    queue::refuse_of_ended,
};
use crate::{
    domain::{
        access::{Authed, Operate, Read},
        binding::BoundObject,
        user::{User, UserDetails, UserEvent, UserEventRefused, UserState},
    },
    ports::{Tx, store::Page},
    types::{DeviceId, Timestamp, UserId},
};

/// A user as operators see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Name in certgate.
    pub id: UserId,
    /// Where they stand.
    pub state: UserState,
    /// When they were recorded.
    pub created_at: Timestamp,
    /// Grows with each change.
    pub version: u64,
    /// What is known of them.
    #[serde(flatten)]
    pub details: UserDetails,
    /// Their devices; empty in listings.
    pub devices: Vec<DeviceId>,
    /// The certificates bound to them; empty in listings.
    pub certificates: Vec<CertificateView>,
}

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserOutcome {
    /// The user now.
    pub user: UserView,
    /// The certificates whose status it changed; OCSP says so from now on.
    pub certificates: Vec<ChangedCertificate>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            state: user.state,
            created_at: user.created_at,
            version: user.version,
            details: user.details,
            devices: Vec::new(),
            certificates: Vec::new(),
        }
    }
}

impl From<UserEventRefused> for ServiceError {
    fn from(refused: UserEventRefused) -> Self {
        Self::Refused(refused.to_string())
    }
}

impl Gateway {
    /// Records a user, or replaces what is known of them; where they stand is not touched.
    pub fn put_user(
        &self,
        authed: &Authed<Operate>,
        id: &UserId,
        details: &UserDetails,
    ) -> Result<UserView, ServiceError> {
        let act = Act::of(authed, self.now());
        let fresh = User::new(id.clone(), details.clone(), act.at)?;
        self.ports.store.write(|tx| {
            let (user, action) = match tx.user(id)? {
                None => (fresh.clone(), "user.recorded"),
                Some(known) => (described_anew(&fresh, &known), "user.changed"),
            };
            tx.put_user(&user)?;
            tx.append_audit(&act.fact(action, id, &[("name", user.details.display_name.clone())]))?;
            Ok::<_, ServiceError>(())
        })?;
        self.read_user(id)
    }

    /// One user, with devices and certificates.
    pub fn user(&self, _authed: &Authed<Read>, id: &UserId) -> Result<UserView, ServiceError> {
        self.read_user(id)
    }

    /// Users, paged by id.
    pub fn users(
        &self,
        _authed: &Authed<Read>,
        page: &Page<UserId>,
    ) -> Result<Listing<UserView>, ServiceError> {
        let users = self.ports.store.read(|view| view.users(page))?;
        let views = users.into_iter().map(UserView::from).collect();
        Ok(Listing::page(views, page.limit, |user: &UserView| user.id.to_string()))
    }

    /// Disables, enables or deletes a user. When this returns, OCSP says what it did to the certificates.
    pub fn user_event(
        &self,
        authed: &Authed<Operate>,
        id: &UserId,
        event: UserEvent,
        note: &str,
    ) -> Result<UserOutcome, ServiceError> {
        let (act, accepted) = (Act::of(authed, self.now()), self.accepted());
        let changed = self.ports.store.write(|tx| apply_event(tx, id, event, note, &act))?;
        self.certificates_moved(&changed, accepted)?;
        Ok(UserOutcome { user: self.read_user(id)?, certificates: changed })
    }

    fn read_user(&self, id: &UserId) -> Result<UserView, ServiceError> {
        let now = self.now();
        self.ports.store.read(|view| {
            let user = view.user(id)?.ok_or_else(|| ServiceError::not_found("user", id))?;
            let certificates = self.views_bound_to(view, &BoundObject::User { id: id.clone() }, now)?;
            let devices = view.devices_of_user(id)?;
            Ok::<_, ServiceError>(UserView { devices, certificates, ..user.into() })
        })
    }
}

/// Records a user whom a device's record names and nobody recorded yet; nothing else is known of them.
pub(super) fn record_if_unknown(tx: &mut dyn Tx, id: &UserId, act: &Act) -> Result<(), ServiceError> {
    if tx.user(id)?.is_some() {
        return Ok(());
    }
    tx.put_user(&User::new(id.clone(), UserDetails::default(), act.at)?)?;
    tx.append_audit(&act.fact("user.recorded", id, &[("name", String::new())]))?;
    Ok(())
}

fn described_anew(fresh: &User, known: &User) -> User {
    User {
        state: known.state,
        created_at: known.created_at,
        version: known.version.saturating_add(1),
        ..fresh.clone()
    }
}

fn apply_event(
    tx: &mut dyn Tx,
    id: &UserId,
    event: UserEvent,
    note: &str,
    act: &Act,
) -> Result<Vec<ChangedCertificate>, ServiceError> {
    let user = tx.user(id)?.ok_or_else(|| ServiceError::not_found("user", id))?;
    let transition = user.apply(event, &act.actor.to_string(), note, act.at)?;
    let mut changed = Vec::new();
    for record in records_of(tx.as_view(), &BoundObject::User { id: id.clone() })? {
        changed.extend(change_certificate(tx, &record.id, &transition.causes, act)?);
    }
    tx.put_user(&transition.user)?;
    if event == UserEvent::Delete {
        let object = BoundObject::User { id: id.clone() };
        refuse_of_ended(tx, |concerned| *concerned == object, act)?;
    }
    let detail = [("certificates-changed", changed.len().to_string()), ("note", note.to_owned())];
    tx.append_audit(&act.fact(fact_name(event), id, &detail))?;
    Ok(changed)
}

const fn fact_name(event: UserEvent) -> &'static str {
    match event {
        UserEvent::Disable => "user.disabled",
        UserEvent::Enable => "user.enabled",
        UserEvent::Delete => "user.deleted",
    }
}
