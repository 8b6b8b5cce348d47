//! Tokens of Entra ID: client credentials (RFC 6749 §4.4) with a secret or an assertion (RFC 7523 §2.2), cached until shortly before they end.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{ClientCredential, IntuneSettings, Session, body_text};
use crate::{
    ports::{NoAnswer, OutboundMethod, OutboundRequest},
    types::{Secret, Timestamp},
};

/// A token is renewed this long before it ends, so that none ends on its way.
const MARGIN: Duration = Duration::from_secs(300);

/// After a refusal Entra ID is not asked again for this long.
const AFTER_REFUSAL: Duration = Duration::from_secs(15);

/// Unreserved characters of RFC 3986 stay as they are.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// client_assertion_type (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Where Intune's services are.
    Graph,
    /// Intune's services themselves.
    Intune,
}

/// The answer of the token endpoint.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

/// The error answer (RFC 6749 §5.2).
#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Default)]
struct Kept {
    /// With its end.
    token: Option<(Secret, Timestamp)>,
    /// With its time.
    refused: Option<(NoAnswer, Timestamp)>,
}

impl Kept {
    fn granted(token: Secret, lives: Duration, now: Timestamp) -> Self {
        let until = now.plus(lives.saturating_sub(MARGIN).max(lives / 2));
        Self { token: Some((token, until)), refused: None }
    }

    /// The refusal of a moment ago. One of a time to come is of a clock that was ahead, which may be why there was a refusal.
    fn refusal(&self, now: Timestamp) -> Option<&NoAnswer> {
        let recent = |at: Timestamp| at <= now && now < at.plus(AFTER_REFUSAL);
        self.refused.as_ref().filter(|(_, at)| recent(*at)).map(|(refused, _)| refused)
    }
}

/// The tokens, one for each scope. Whoever needs one while it is being asked for waits for it.
#[derive(Default)]
pub(super) struct Tokens {
    graph: Mutex<Kept>,
    intune: Mutex<Kept>,
}

impl Tokens {
    fn of(&self, scope: Scope) -> &Mutex<Kept> {
        match scope {
            Scope::Graph => &self.graph,
            Scope::Intune => &self.intune,
        }
    }

    /// A token that is good for a while.
    pub(super) fn token(&self, session: &Session<'_>, scope: Scope) -> Result<Secret, NoAnswer> {
        let mut kept = self.of(scope).lock().unwrap_or_else(PoisonError::into_inner);
        let now = session.clock.now();
        if let Some((token, _)) = kept.token.as_ref().filter(|(_, until)| now < *until) {
            return Ok(token.clone());
        }
        if let Some(refused) = kept.refusal(now) {
            return Err(refused.clone());
        }
        match request(session, scope) {
            Ok((token, lives)) => {
                *kept = Kept::granted(token.clone(), lives, now);
                Ok(token)
            }
            Err(refused) => {
                *kept = Kept { token: None, refused: Some((refused.clone(), now)) };
                Err(refused)
            }
        }
    }

    /// A token that was asked for now, whatever is kept; it is kept in its turn. A refusal leaves what is kept.
    pub(super) fn fresh(&self, session: &Session<'_>, scope: Scope) -> Result<Secret, NoAnswer> {
        let (token, lives) = request(session, scope)?;
        let mut kept = self.of(scope).lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept::granted(token.clone(), lives, session.clock.now());
        Ok(token)
    }

    /// Forgets a token that was refused, unless another one has taken its place.
    pub(super) fn drop_token(&self, scope: Scope, token: &Secret) {
        let mut kept = self.of(scope).lock().unwrap_or_else(PoisonError::into_inner);
        if kept.token.as_ref().is_some_and(|(known, _)| known == token) {
            kept.token = None;
        }
    }
}

fn request(session: &Session<'_>, scope: Scope) -> Result<(Secret, Duration), NoAnswer> {
    let IntuneSettings { tenant, client_id, credential, login_url, graph_url, resource_url, .. } =
        session.settings;
    let scope = match scope {
        Scope::Graph => format!("{graph_url}/.default"),
        // The resource's identifier ends with a slash, hence two of them (as in Microsoft's library).
        Scope::Intune => format!("{resource_url}//.default"),
    };
    let url = format!("{login_url}/{tenant}/oauth2/v2.0/token");
    let proof = proof(session, &url)?;
    let mut body = format!(
        "grant_type=client_credentials&client_id={}&scope={}",
        utf8_percent_encode(client_id, FORM),
        utf8_percent_encode(&scope, FORM),
    );
    for (name, value) in &proof {
        let value = percent_encoding::percent_encode(value.expose(), FORM);
        body.extend(["&", name, "="].into_iter().chain(value));
    }
    let body = Secret::new(body.into_bytes());
    let answer = session.send(&OutboundRequest {
        destination: session.destination,
        method: OutboundMethod::Post,
        url: &url,
        headers: &[
            ("content-type", "application/x-www-form-urlencoded".into()),
            ("accept", "application/json".into()),
        ],
        body: body.expose(),
    })?;
    if answer.status == 200 {
        let granted: Granted = serde_json::from_slice(answer.body.expose())
            .map_err(|_| session.no_answer("Entra ID granted a token in a form that is not known", None))?;
        return Ok((Secret::from(granted.access_token.as_str()), Duration::from_secs(granted.expires_in)));
    }
    let sent = proof.iter().map(|(_, value)| value);
    let said = match serde_json::from_slice::<Refused>(answer.body.expose()) {
        Ok(refused) => format!("{}: {}", refused.error, body_text(sent, &refused.error_description)),
        Err(_) => "no reason given".to_owned(),
    };
    let reason = format!(
        "Entra ID gives no token (HTTP {}, {said}): check intune.tenant, intune.client-id and {}",
        answer.status,
        credential.what_to_check(),
    );
    Err(session.no_answer(&reason, answer.retry_after()))
}

/// The fields of the form that prove who asks at `url`.
fn proof(session: &Session<'_>, url: &str) -> Result<Vec<(&'static str, Secret)>, NoAnswer> {
    match &session.settings.credential {
        ClientCredential::Secret(secret) => Ok(vec![("client_secret", secret.clone())]),
        ClientCredential::Certificate(certificate) => {
            let assertion = certificate
                .assertion(&session.settings.client_id, url, &session.new_guid(), session.clock.now())
                .map_err(|error| session.no_answer(&format!("intune.client-key: {error}"), None))?;
            Ok(vec![("client_assertion_type", JWT_BEARER.into()), ("client_assertion", assertion)])
        }
    }
}
