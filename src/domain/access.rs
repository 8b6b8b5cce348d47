//! Who may do what: actors, roles, permissions, and the proof that a permission was checked.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};

use super::vouch::Voucher;
use crate::types::{ProfileName, RequestId, Timestamp, TokenId};

/// Who acts. Written into every audit event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// A process on this machine that may open the local socket, by its peer credentials.
    Local {
        /// User id of the peer.
        uid: u32,
    },
    /// An API token.
    Token {
        /// Which token.
        id: TokenId,
        /// Its name, for people.
        name: String,
    },
    /// certgate itself: timers, renewals.
    System,
    /// A device, over SCEP.
    Device {
        /// Its address as seen by the listener, or empty.
        peer: String,
    },
    /// Another party that vouches for requests.
    Voucher {
        /// Which.
        by: Voucher,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "local uid {uid}"),
            Self::Token { name, .. } => write!(f, "token {name}"),
            Self::System => f.write_str("certgate"),
            Self::Device { peer } => write!(f, "device at {peer}"),
            Self::Voucher { by } => by.fmt(f),
        }
    }
}

/// What an actor may do. Stored by position: a new role goes to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads everything but secrets.
    Auditor,
    /// Also acts on devices, certificates, tickets and the approval queue.
    Operator,
    /// Also changes issuers, tokens and everything else.
    Owner,
    /// Asks for challenges and does nothing else: an MDM server's role.
    Challenger,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::Challenger => "challenger",
        })
    }
}

/// A permission as a type, so that a use case can demand it.
pub trait Permission {
    /// The roles that have it, the least first.
    const ROLES: &'static [Role];
}

/// May read.
#[derive(Debug)]
pub enum Read {}
/// May ask for challenges: one-time tickets for devices and users.
#[derive(Debug)]
pub enum Mint {}
/// May operate: devices, certificates, tickets, approvals.
#[derive(Debug)]
pub enum Operate {}
/// May administer: tokens, issuers.
#[derive(Debug)]
pub enum Administer {}

impl Permission for Read {
    const ROLES: &'static [Role] = &[Role::Auditor, Role::Operator, Role::Owner];
}
impl Permission for Mint {
    const ROLES: &'static [Role] = &[Role::Challenger, Role::Operator, Role::Owner];
}
impl Permission for Operate {
    const ROLES: &'static [Role] = &[Role::Operator, Role::Owner];
}
impl Permission for Administer {
    const ROLES: &'static [Role] = &[Role::Owner];
}

/// Somebody whose identity was established, with the role that they have.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// Their role.
    pub role: Role,
    /// The request in which they act.
    pub request: RequestId,
    /// The only profiles for which they may ask for challenges; empty: all.
    pub profiles: Vec<ProfileName>,
}

impl Caller {
    /// certgate itself, as owner.
    pub fn system(request: RequestId) -> Self {
        Self { actor: Actor::System, role: Role::Owner, request, profiles: Vec::new() }
    }

    /// Proves that the caller has permission `P`.
    pub fn prove<P: Permission>(&self) -> Result<Authed<P>, Forbidden> {
        if P::ROLES.contains(&self.role) {
            return Ok(Authed { caller: self.clone(), permission: PhantomData });
        }
        let needs = P::ROLES.first().copied().unwrap_or(Role::Owner);
        Err(Forbidden { has: self.role, needs })
    }
}

/// The caller's role is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this needs the role {needs}; the caller has {has}")]
pub struct Forbidden {
    /// The caller's role.
    pub has: Role,
    /// The least role that suffices.
    pub needs: Role,
}

/// Proof that a caller was checked for permission `P`. Only [`Caller::prove`] makes one; every administrative
/// use case takes one.
#[derive(Debug)]
pub struct Authed<P> {
    caller: Caller,
    permission: PhantomData<P>,
}

impl<P> Authed<P> {
    /// Who was checked.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Authed<Mint> {
    /// Whether the caller may ask for challenges of this profile.
    pub fn may_mint_for(&self, profile: &ProfileName) -> bool {
        self.caller.profiles.is_empty() || self.caller.profiles.contains(profile)
    }
}

/// A stored API token. The secret itself is never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its handle.
    pub id: TokenId,
    /// Its name, for people.
    pub name: String,
    /// Keyed MAC of the secret.
    pub secret_mac: [u8; 32],
    /// What its bearer may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The only profiles for which it gets challenges; empty: all.
    pub profiles: Vec<ProfileName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller { role, ..Caller::system(RequestId::from_random([1; 16])) }
    }

    #[test]
    fn a_challenger_asks_for_challenges_and_reads_nothing() {
        let challenger = caller(Role::Challenger);
        assert!(challenger.prove::<Mint>().is_ok());
        let refused = challenger.prove::<Read>().unwrap_err();
        assert_eq!(refused, Forbidden { has: Role::Challenger, needs: Role::Auditor });
        assert!(challenger.prove::<Operate>().is_err() && challenger.prove::<Administer>().is_err());
    }

    #[test]
    fn an_auditor_reads_and_gets_no_challenges() {
        assert!(caller(Role::Auditor).prove::<Read>().is_ok());
        assert!(caller(Role::Auditor).prove::<Mint>().is_err());
        assert!(caller(Role::Operator).prove::<Mint>().is_ok());
    }

    #[test]
    fn a_caller_for_some_profiles_gets_challenges_for_those() {
        let wifi: ProfileName = "wifi".parse().unwrap();
        let some = Caller { profiles: vec![wifi.clone()], ..caller(Role::Challenger) };
        let some = some.prove::<Mint>().unwrap();
        assert!(some.may_mint_for(&wifi) && !some.may_mint_for(&"vpn".parse().unwrap()));
        assert!(caller(Role::Challenger).prove::<Mint>().unwrap().may_mint_for(&wifi));
    }
}
