//! Users: whom devices and certificates belong to.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    device::{InvalidRecord, checked_attributes, checked_sid, checked_text},
    status::{Cause, CauseChange, CauseKey, CauseKind, Effect},
};
use crate::types::{RevocationReason, Timestamp, UserId};

/// Where a user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserState {
    /// In good standing.
    Enabled,
    /// Disabled: certificates are on hold.
    Disabled,
    /// Deleted: certificates are revoked (affiliationChanged).
    Deleted,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name in certgate.
    pub id: UserId,
    /// What is known of them.
    pub details: UserDetails,
    /// Where they stand.
    pub state: UserState,
    /// When they were recorded.
    pub created_at: Timestamp,
    /// Grows with each change.
    pub version: u64,
}

/// What is known of a user, as the directory or the operator described them. Empty text = not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserDetails {
    /// userPrincipalName.
    pub upn: String,
    /// E-mail address.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Display name.
    pub display_name: String,
    /// Distinguished name in the directory (RFC 4514).
    pub dn: String,
    /// Security identifier `S-1-5-..` from the directory.
    pub sid: Option<String>,
    /// Locale.
    pub locale: String,
    /// Further attributes for templates: `USER_CUSTOM1` is `custom1`.
    pub attributes: BTreeMap<String, String>,
}

/// What can happen to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserEvent {
    /// Disabled in the directory or by an operator.
    Disable,
    /// Enabled again.
    Enable,
    /// Deleted, for good.
    Delete,
}

impl fmt::Display for UserState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        })
    }
}

impl fmt::Display for UserEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
        })
    }
}

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTransition {
    /// The user afterwards.
    pub user: User,
    /// What happens to every certificate that is bound to the user.
    pub causes: Vec<CauseChange>,
}

/// An event that cannot happen where the user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible for a user who is {state}: {hint}")]
pub struct UserEventRefused {
    /// Where they stand.
    pub state: UserState,
    /// What was asked.
    pub event: UserEvent,
    /// What would be possible.
    pub hint: &'static str,
}

impl User {
    /// A newly recorded user: enabled, version 1. White space around values is dropped; values must be
    /// printable and at most 128 characters long (the distinguished name: 1024).
    pub fn new(id: UserId, details: UserDetails, now: Timestamp) -> Result<Self, InvalidRecord> {
        Ok(Self { id, details: details.checked()?, state: UserState::Enabled, created_at: now, version: 1 })
    }

    /// Decides what `event` does. `actor` and `note` are written into the cause.
    pub fn apply(
        &self,
        event: UserEvent,
        actor: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<UserTransition, UserEventRefused> {
        let refused = |hint| Err(UserEventRefused { state: self.state, event, hint });
        let key = CauseKey { kind: CauseKind::UserState, reference: self.id.to_string() };
        let put = |effect| {
            CauseChange::Put(Cause {
                key: key.clone(),
                effect,
                since: now,
                invalidity_date: None,
                actor: actor.to_owned(),
                note: note.to_owned(),
            })
        };
        let gone = Effect::Revoke { reason: RevocationReason::AffiliationChanged };
        let (state, change) = match (self.state, event) {
            (UserState::Enabled, UserEvent::Disable) => (UserState::Disabled, put(Effect::Hold)),
            (UserState::Disabled, UserEvent::Enable) => {
                (UserState::Enabled, CauseChange::Release(key.clone()))
            }
            (UserState::Enabled | UserState::Disabled, UserEvent::Delete) => (UserState::Deleted, put(gone)),
            (UserState::Enabled, UserEvent::Enable) => return refused("they are enabled already"),
            (UserState::Disabled, UserEvent::Disable) => return refused("they are disabled already"),
            (UserState::Deleted, _) => {
                return refused("their certificates are revoked for good: record them under a new id");
            }
        };
        let user = Self { state, version: self.version.saturating_add(1), ..self.clone() };
        Ok(UserTransition { user, causes: vec![change] })
    }

    /// Whether they may be given a certificate now; the refusal's words are for logs and the operator.
    pub fn may_enrol(&self) -> Result<(), &'static str> {
        match self.state {
            UserState::Enabled => Ok(()),
            UserState::Disabled => Err("the user is disabled"),
            UserState::Deleted => Err("the user is deleted"),
        }
    }
}

impl UserDetails {
    fn checked(self) -> Result<Self, InvalidRecord> {
        Ok(Self {
            upn: checked_text("upn", &self.upn)?,
            email: checked_text("email", &self.email)?,
            first_name: checked_text("first_name", &self.first_name)?,
            last_name: checked_text("last_name", &self.last_name)?,
            display_name: checked_text("display_name", &self.display_name)?,
            dn: checked_dn(&self.dn)?,
            sid: self.sid.as_deref().map(checked_sid).transpose()?,
            locale: checked_text("locale", &self.locale)?,
            attributes: checked_attributes(self.attributes)?,
        })
    }
}

fn checked_dn(dn: &str) -> Result<String, InvalidRecord> {
    let dn = dn.trim();
    if dn.len() <= 1024 && !dn.chars().any(char::is_control) {
        Ok(dn.to_owned())
    } else {
        Err(InvalidRecord {
            field: "dn".to_owned(),
            problem: "must be printable and have at most 1024 bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User::new(
            "ada@lab.example".parse().unwrap(),
            UserDetails::default(),
            Timestamp::from_unix(1_800_000_000),
        )
        .unwrap()
    }

    fn after(user: &User, event: UserEvent) -> UserTransition {
        user.apply(event, "test", "note", Timestamp::from_unix(1_800_000_100)).unwrap()
    }

    #[test]
    fn disabling_holds_and_enabling_releases_the_same_cause() {
        let disabled = after(&user(), UserEvent::Disable);
        let [CauseChange::Put(hold)] = &disabled.causes[..] else { panic!("{:?}", disabled.causes) };
        assert_eq!(hold.effect, Effect::Hold);
        assert!(disabled.user.may_enrol().is_err());
        let enabled = after(&disabled.user, UserEvent::Enable);
        assert_eq!(enabled.causes, [CauseChange::Release(hold.key.clone())]);
        assert_eq!(enabled.user.may_enrol(), Ok(()));
        assert_eq!(enabled.user.version, 3);
    }

    #[test]
    fn deletion_is_for_good() {
        let deleted = after(&user(), UserEvent::Delete);
        let [CauseChange::Put(cause)] = &deleted.causes[..] else { panic!("{:?}", deleted.causes) };
        assert_eq!(cause.effect, Effect::Revoke { reason: RevocationReason::AffiliationChanged });
        for event in [UserEvent::Enable, UserEvent::Disable, UserEvent::Delete] {
            assert!(deleted.user.apply(event, "test", "", Timestamp::EPOCH).is_err(), "{event:?}");
        }
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let deleted = after(&user(), UserEvent::Delete).user;
        let refused = deleted.apply(UserEvent::Enable, "test", "", Timestamp::EPOCH).unwrap_err().to_string();
        assert!(refused.starts_with("enable is not possible for a user who is deleted: "), "{refused}");
    }
}
