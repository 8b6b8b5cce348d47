//! Who may do what: actors, roles, permissions, and the proof that a permission was checked.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};

use crate::types::{RequestId, Timestamp, TokenId};

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
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "local uid {uid}"),
            Self::Token { name, .. } => write!(f, "token {name}"),
            Self::System => f.write_str("certgate"),
            Self::Device { peer } => write!(f, "device at {peer}"),
        }
    }
}

/// What an actor may do, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads everything but secrets.
    Auditor,
    /// Also acts on devices, certificates, tickets and the approval queue.
    Operator,
    /// Also changes issuers, tokens and everything else.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Owner => "owner",
        })
    }
}

/// A permission as a type, so that a use case can demand it.
pub trait Permission {
    /// The least role that has it.
    const ROLE: Role;
}

/// May read.
#[derive(Debug)]
pub enum Read {}
/// May operate: devices, certificates, tickets, approvals.
#[derive(Debug)]
pub enum Operate {}
/// May administer: tokens, issuers.
#[derive(Debug)]
pub enum Administer {}

impl Permission for Read {
    const ROLE: Role = Role::Auditor;
}
impl Permission for Operate {
    const ROLE: Role = Role::Operator;
}
impl Permission for Administer {
    const ROLE: Role = Role::Owner;
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
}

impl Caller {
    /// certgate itself, as owner.
    pub fn system(request: RequestId) -> Self {
        Self { actor: Actor::System, role: Role::Owner, request }
    }

    /// Proves that the caller has permission `P`.
    pub fn prove<P: Permission>(&self) -> Result<Authed<P>, Forbidden> {
        if self.role >= P::ROLE {
            Ok(Authed { caller: self.clone(), permission: PhantomData })
        } else {
            Err(Forbidden { has: self.role, needs: P::ROLE })
        }
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
}
