//! Whether everything that a request needs can be had now: tokens and places of services. Nothing is validated, nothing is consumed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{BACKGROUND_DESTINATION, IntuneClient, Service, Session, login::Scope};
use crate::{ports::ProbeStep, types::Secret};

/// The application permission without which Intune validates nothing.
const PERMISSION: &str = "scep_challenge_provider";

const LET_IT_IN: &str = "in Azure, check tenant, application, its credential, and that [outbound] leads to Entra ID: the README says what is set up where";

const LICENSE: &str = "license Intune, or ask Microsoft's support with the client-request-id";

const PERMIT: &str = "in Azure, under API permissions: add scep_challenge_provider (Intune) and Application.Read.All (Graph) as application \
                      permissions, then grant an administrator's consent";

impl IntuneClient {
    /// The steps in the order in which a request takes them, until one fails.
    pub(super) fn probe_steps(&self) -> Vec<ProbeStep> {
        // Nobody's enrolment waits for a place that this takes.
        let session = self.session(BACKGROUND_DESTINATION);
        let mut steps = Vec::new();
        let graph = self.probe_token(&session, Scope::Graph, "Microsoft Graph", &mut steps);
        if let Some(token) = graph {
            self.probe_services(&session, &token, &mut steps);
        }
        if let Some(token) = self.probe_token(&session, Scope::Intune, "Intune", &mut steps) {
            steps.extend(permission(&token));
        }
        steps
    }

    fn probe_token(
        &self,
        session: &Session<'_>,
        scope: Scope,
        of: &str,
        steps: &mut Vec<ProbeStep>,
    ) -> Option<Secret> {
        let what = match scope {
            Scope::Graph => "token-for-graph",
            Scope::Intune => "token-for-intune",
        };
        match self.tokens.fresh(session, scope) {
            Ok(token) => {
                let (application, how) = (&self.settings.client_id, self.settings.credential.named());
                let found = format!("Entra ID lets the application {application} into {of} {how}");
                steps.push(ProbeStep::works(what, found));
                Some(token)
            }
            Err(error) => {
                steps.push(ProbeStep::fails(what, error, LET_IT_IN));
                None
            }
        }
    }

    fn probe_services(&self, session: &Session<'_>, token: &Secret, steps: &mut Vec<ProbeStep>) {
        let endpoints = match self.discover(session, token) {
            Ok(endpoints) => endpoints,
            Err(error) => return steps.push(ProbeStep::fails("services", error, PERMIT)),
        };
        for (service, use_of) in [
            (Service::Validation, "requests are validated at"),
            (Service::Revocation, "revocations are asked for at"),
        ] {
            let place = endpoints.of(service).map(|place| format!("{use_of} {place}"));
            let not_named = || session.no_answer(&service.not_named(), None);
            steps.push(place.map_or_else(
                || ProbeStep::fails("services", not_named(), LICENSE),
                |found| ProbeStep::works("services", found),
            ));
        }
    }
}

/// Whether the token carries the permission. Tokens are Microsoft's own business: where it cannot be read, nothing is said.
fn permission(token: &Secret) -> Option<ProbeStep> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        roles: Vec<String>,
    }
    let payload = token.expose().split(|byte| *byte == b'.').nth(1)?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let granted = claims.roles.iter().any(|role| role == PERMISSION);
    Some(if granted {
        ProbeStep::works("permission", format!("the application has {PERMISSION}"))
    } else {
        ProbeStep::fails(
            "permission",
            format!("the application has no {PERMISSION}: Intune will refuse it"),
            PERMIT,
        )
    })
}
