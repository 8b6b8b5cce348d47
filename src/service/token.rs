//! API tokens: made, shown, revoked, recognised.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{
    Gateway, Listing, Ports, ServiceError,
    audit::Act,
    health::{Check, CheckResult},
};
use crate::{
    domain::access::{Actor, Administer, ApiToken, Authed, Caller, Role},
    ports::MacPurpose,
    types::{ProfileName, RequestId, Secret, Timestamp, TokenId},
};

/// What every token's text starts with, so that secret scanners find lost ones.
const PREFIX: &str = "cg_";

/// What was made to live as long as this is used by somebody who has to be told when it ends.
const LASTING: Duration = Duration::from_secs(60 * 86_400);

/// For so long before and after its end.
const END_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name, for people: 1 to 100 printable characters.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// How long it lives; none: until it is revoked.
    #[serde(default)]
    pub lifetime_seconds: Option<u64>,
    /// For the role `challenger`: the only profiles for which it gets challenges; empty: all.
    #[serde(default)]
    pub profiles: Vec<ProfileName>,
}

/// A token as operators see it. The secret is never shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its handle.
    pub id: TokenId,
    /// Its name.
    pub name: String,
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

/// A token that was just made, with its secret, this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedToken {
    /// The token.
    pub token: TokenView,
    /// What its bearer presents.
    pub secret: String,
}

impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            role: token.role,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            profiles: token.profiles,
        }
    }
}

/// Makes a token: the record to be stored, and its secret.
pub(super) fn mint(
    ports: &Ports,
    new: &NewToken,
    now: Timestamp,
) -> Result<(ApiToken, Secret), ServiceError> {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(ServiceError::invalid("name", "must be 1 to 100 printable characters"));
    }
    if !new.profiles.is_empty() && new.role != Role::Challenger {
        let problem =
            format_args!("only a challenger's token is for some profiles, not one of the role {}", new.role);
        return Err(ServiceError::invalid("profiles", problem));
    }
    let secret =
        Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(ports.random.bytes::<32>())).into_bytes());
    let token = ApiToken {
        id: TokenId::from_random(ports.random.bytes()),
        name: name.to_owned(),
        secret_mac: ports.keyring.mac(MacPurpose::ApiToken, secret.expose()),
        role: new.role,
        created_at: now,
        expires_at: new.lifetime_seconds.map(|seconds| now.plus(Duration::from_secs(seconds))),
        revoked_at: None,
        profiles: new.profiles.clone(),
    };
    Ok((token, secret))
}

impl Gateway {
    /// Makes a token. Its secret is in the answer and nowhere else.
    pub fn create_token(
        &self,
        authed: &Authed<Administer>,
        new: &NewToken,
    ) -> Result<CreatedToken, ServiceError> {
        let act = Act::of(authed, self.now());
        let authorities = self.authorities();
        if let Some(unknown) = new.profiles.iter().find(|name| authorities.profile(name).is_none()) {
            return Err(ServiceError::not_found("profile", unknown));
        }
        let (token, secret) = mint(&self.ports, new, act.at)?;
        let role = token.role.to_string();
        let profiles = token.profiles.iter().map(ProfileName::as_str).collect::<Vec<_>>().join(", ");
        self.ports.store.write(|tx| {
            tx.put_token(&token)?;
            tx.append_audit(&act.fact(
                "token.created",
                &token.id,
                &[("name", token.name.clone()), ("role", role.clone()), ("profiles", profiles.clone())],
            ))
        })?;
        let secret = String::from_utf8_lossy(secret.expose()).into_owned();
        Ok(CreatedToken { token: token.into(), secret })
    }

    /// All tokens, also revoked ones.
    pub fn tokens(&self, _authed: &Authed<Administer>) -> Result<Listing<TokenView>, ServiceError> {
        let tokens = self.ports.store.read(|view| view.tokens())?;
        Ok(Listing::whole(tokens.into_iter().map(TokenView::from).collect()))
    }

    /// Revokes a token; its bearer is refused from the next request on. Doing it twice changes nothing.
    pub fn revoke_token(&self, authed: &Authed<Administer>, id: &TokenId) -> Result<TokenView, ServiceError> {
        let act = Act::of(authed, self.now());
        self.ports.store.write(|tx| {
            let known = tx.tokens()?.into_iter().find(|token| token.id == *id);
            let mut token = known.ok_or_else(|| ServiceError::not_found("token", id))?;
            if token.revoked_at.is_none() {
                token.revoked_at = Some(act.at);
                tx.put_token(&token)?;
                tx.append_audit(&act.fact("token.revoked", id, &[("name", token.name.clone())]))?;
            }
            Ok(token.into())
        })
    }

    /// Nothing where no token that was to last is about to end, or ended lately: an MDM server would be left without challenges
    /// overnight. Whoever makes tokens of a few weeks makes them all the time, and is told nothing.
    pub(super) fn check_tokens(&self, now: Timestamp) -> Option<Check> {
        let tokens = self.ports.store.read(|view| view.tokens()).unwrap_or_default();
        let ends = |token: &ApiToken| {
            let end = token.expires_at.filter(|end| end.since(token.created_at) >= LASTING)?;
            let is_near = end <= now.plus(END_WARNING) && now <= end.plus(END_WARNING);
            (is_near && token.revoked_at.is_none()).then(|| (end, token.name.clone()))
        };
        let mut ending: Vec<_> = tokens.iter().filter_map(ends).collect();
        ending.sort();
        let (end, name) = ending.first()?;
        let verb = if *end <= now { "ended" } else { "ends" };
        let detail = format!("the API token \"{name}\" {verb} at {end}, first of {}", ending.len());
        let hint = "certgate token create makes another, for who uses it; certgate token list, and token revoke for the old one";
        Some(Check::not_passed("tokens", CheckResult::Warn, detail, hint))
    }

    /// Who bears this secret. None: nobody, or nobody any more.
    pub fn authenticate(&self, secret: &Secret, request: &RequestId) -> Result<Option<Caller>, ServiceError> {
        let mac = self.ports.keyring.mac(MacPurpose::ApiToken, secret.expose());
        let now = self.now();
        let known = self.ports.store.read(|view| view.token_by_mac(&mac))?;
        let living =
            known.filter(|token| token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end));
        Ok(living.map(|token| Caller {
            actor: Actor::Token { id: token.id, name: token.name },
            role: token.role,
            request: request.clone(),
            profiles: token.profiles,
        }))
    }
}
