//! Who asks for a challenge: an API token, as the password of Basic (RFC 7617; any user name) or as a bearer.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use axum::http::{header::AUTHORIZATION, request::Parts};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::ChallengeEdge;
use crate::{
    domain::{
        access::{Authed, Forbidden, Mint},
        throttle::ClientNetwork,
    },
    http::{bridge::BridgeError, forwarded::TrustedProxies, serve::Peer},
    service::{Gateway, challenge::ChallengeDenied},
    types::{RequestId, Secret, Timestamp},
};

/// Why no challenge was given.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    #[error("present an API token with the role challenger, as the password")]
    Unauthenticated,
    #[error("the password is no API token, or one that has expired or was revoked")]
    UnknownToken,
    #[error("too many wrong passwords from this address: try again in a minute")]
    Throttled,
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Challenge(#[from] ChallengeDenied),
    #[error(transparent)]
    Bridge(#[from] BridgeError),
}

/// Recognises the caller and runs `work` for them, on the pool.
///
/// An address that guesses is told to wait. A right token passes there all the same: it has 256 random bits, so none is found by guessing,
/// and whoever guesses behind the address of an MDM server (a NAT, a proxy that nobody named) must not keep that out.
pub(super) async fn as_minter<T: Send + 'static>(
    edge: &ChallengeEdge,
    request: &Parts,
    id: &RequestId,
    work: impl FnOnce(&Gateway, &Authed<Mint>) -> Result<T, ChallengeDenied> + Send + 'static,
) -> Result<T, Denied> {
    let address = address_of(request, &edge.trusted_proxies);
    let presented = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = presented.and_then(token).ok_or(Denied::Unauthenticated)?;
    let (gateway, id) = (edge.gateway.clone(), id.clone());
    let answer = edge.bridge.call(move || {
        let caller = gateway.authenticate(&secret, &id).map_err(ChallengeDenied::from)?;
        let authed = caller.ok_or(Denied::UnknownToken)?.prove::<Mint>()?;
        Ok(work(&gateway, &authed)?)
    });
    let answer = answer.await?;
    if matches!(answer, Err(Denied::UnknownToken)) && edge.wrong.count(address, edge.gateway.now()) {
        return Err(Denied::Throttled);
    }
    answer
}

/// The API token in an Authorization header. It is looked up by its keyed MAC: how long that takes says nothing about it.
fn token(header: &str) -> Option<Secret> {
    let (scheme, credentials) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Some(Secret::from(credentials.trim()));
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let pair = Secret::new(STANDARD.decode(credentials.trim()).ok()?);
    // RFC 7617 §2: the first colon ends the user name.
    let colon = pair.expose().iter().position(|byte| *byte == b':')?;
    Some(Secret::new(pair.expose().get(colon + 1..)?.to_vec()))
}

/// Whose request it is, as on the device listener.
fn address_of(request: &Parts, trusted_proxies: &TrustedProxies) -> Option<ClientNetwork> {
    match request.extensions.get::<Peer>() {
        Some(Peer::Network(peer)) => Some(trusted_proxies.client(peer.ip(), &request.headers).into()),
        Some(Peer::Local { .. }) | None => None,
    }
}

/// Wrong passwords by address in the present minute.
#[derive(Debug, Default)]
pub(super) struct WrongPasswords(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    number: u64,
    counts: HashMap<ClientNetwork, u32>,
}

impl WrongPasswords {
    /// So many in a minute, and an address has to wait for the next one.
    const MOST: u32 = 20;
    /// More addresses than this are not told apart within a minute: together they are an attack on the memory.
    const ADDRESSES: usize = 10_000;

    /// Counts one. True: there were as many before as may be.
    fn count(&self, address: Option<ClientNetwork>, now: Timestamp) -> bool {
        let Some(address) = address else { return false };
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.number != now.unix() / 60 {
            *minute = Minute { number: now.unix() / 60, counts: HashMap::new() };
        }
        if minute.counts.len() >= Self::ADDRESSES && !minute.counts.contains_key(&address) {
            return false;
        }
        let count = minute.counts.entry(address).or_default();
        *count = count.saturating_add(1);
        *count > Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_token_is_the_password_of_any_user() {
        let basic = |pair: &str| token(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(basic("svc@example:cg_abc"), Some(Secret::from("cg_abc")));
        assert_eq!(basic("DOMAIN\\fleet:a:b"), Some(Secret::from("a:b")));
        assert_eq!(basic("no colon"), None);
        assert_eq!(token("bearer cg_abc "), Some(Secret::from("cg_abc")));
        assert_eq!(token("Basic %%%"), None);
        assert_eq!(token("NTLM TlRMTVNTUAABAAAA"), None);
        assert_eq!(token("Basic"), None);
    }

    #[test]
    fn a_guesser_on_a_listener_for_both_protocols_keeps_nobody_else_out() {
        let (wrong, now) = (WrongPasswords::default(), Timestamp::from_unix(1_800_000_000));
        let address = |text: &str| Some(ClientNetwork::from(text.parse::<IpAddr>().unwrap()));
        for _ in 0..WrongPasswords::MOST {
            wrong.count(address("::ffff:192.0.2.1"), now);
        }
        assert!(wrong.count(address("::ffff:192.0.2.1"), now));
        assert!(!wrong.count(address("::ffff:192.0.2.2"), now));
    }

    #[test]
    fn an_address_that_guesses_waits_for_the_next_minute() {
        let (wrong, now) = (WrongPasswords::default(), Timestamp::from_unix(1_800_000_000));
        let address = |text: &str| Some(ClientNetwork::from(text.parse::<IpAddr>().unwrap()));
        for _ in 0..WrongPasswords::MOST {
            assert!(!wrong.count(address("2001:db8::1"), now));
        }
        assert!(wrong.count(address("2001:db8::2"), now), "the same /64");
        assert!(!wrong.count(address("192.0.2.1"), now));
        assert!(!wrong.count(address("2001:db8::1"), Timestamp::from_unix(1_800_000_060)));
    }
}
