//! The approval webhook: somebody outside is asked before a certificate is issued, where the profile says `approval = "webhook"`.
//!
//! Asked is once every rule allows the request, outside any transaction, with what the certificate will say; never with the challenge.
//! Only `200` with `{"allow": true}` issues. `{"allow": false, "reason": ".."}` rejects, for as long as a repeated request is the same
//! request, and whoever was rejected hears the same for some minutes, whatever he sends ([`super::denials`]). Everything else is no answer, and the client is told to come back: nothing is issued, and no ticket is used up.
//!
//! The receiver proves the sender by `X-Certgate-Signature`: `v1=` and the hexadecimal HMAC-SHA256, under the secret, of the value
//! of `X-Certgate-Timestamp` (seconds since 1970), a full stop, and the body; during a change of the secret one for each, joined by a comma.
//! It should refuse a time that is minutes away, and an `enrolment` that it has answered before.
//!
//! A probe (`certgate doctor --probe`) is a GET with the same headers over no body: it asks nothing, and what comes back decides nothing.

use std::{fmt, time::Duration};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::{Candidate, Concerned, stop};
use crate::{
    domain::{
        binding::{Assurance, BoundObject, Evidence},
        enrol::{Enrolment, EnrolmentState, IssueOrder, Refusal, RefusalReason},
        exchange::{MAX_DETAIL, clipped},
    },
    ports::{NoAnswer, OutboundAnswer, OutboundError, OutboundMethod, OutboundRequest},
    service::{
        Gateway,
        health::{Check, CheckResult},
        issue::trace_step,
        scep::Stop,
    },
    types::{DeviceId, EnrolmentId, Fingerprint, ProfileName, Secret, Timestamp, TransactionId, UserId},
};

/// The check in traces.
const CHECK: &str = "approval webhook";

/// What `certgate doctor` says where there is no answer.
const WEBHOOK_AWAY: &str = "devices are told to come back, and no ticket is used up: look at the webhook and its log, at `approval-webhook` \
                            of the profile, and at [outbound]";

/// The same where the webhook refuses a probe.
const NOT_TAKEN: &str =
    "compare the secret, and the clocks; a webhook that lets no GET in answers it with 405";

/// When a client is told to come back, where nobody says otherwise, and what the webhook may say at most.
const RETRY_AFTER: Duration = Duration::from_secs(10);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Where a profile's requests are approved.
#[derive(Clone, Debug)]
pub struct ApprovalWebhook {
    /// What the outbound port calls it.
    pub destination: String,
    /// `https://`, or `http://` to a loopback address.
    pub url: String,
    /// What signs requests: the current secret, and another one while it is changed.
    pub secrets: Vec<Secret>,
    /// For so long whoever was rejected is not asked about again.
    pub remember_denials: Duration,
}

/// What is asked.
#[derive(Serialize)]
struct Question<'a> {
    version: u8,
    enrolment: &'a EnrolmentId,
    profile: &'a ProfileName,
    transaction: &'a TransactionId,
    received_at: Timestamp,
    client: Client<'a>,
    /// What the certificate will say.
    subject: String,
    subject_alt_names: Vec<String>,
    /// What the request asks for.
    requested: Requested,
    key: Key,
    evidence: &'a Evidence,
    assurance: Option<Assurance>,
    bound_to: Option<&'a BoundObject>,
    device: Option<&'a DeviceId>,
    user: Option<&'a UserId>,
    renews: Option<String>,
}

#[derive(Serialize)]
struct Client<'a> {
    address: &'a str,
    user_agent: &'a str,
}

#[derive(Serialize)]
struct Requested {
    subject: String,
    subject_alt_names: Vec<String>,
}

#[derive(Serialize)]
struct Key {
    kind: String,
    /// Of the SubjectPublicKeyInfo.
    sha256: String,
}

/// The answer.
#[derive(Deserialize)]
struct Decision {
    allow: bool,
    /// Left out or `null` where there is none.
    #[serde(default)]
    reason: Option<String>,
}

impl Gateway {
    /// Asks the webhook of the profile about a request that every rule allows. Gives the enrolment with what it said. A rejection is
    /// recorded.
    pub(super) fn approved_outside(
        &self,
        candidate: &Candidate<'_>,
        order: &IssueOrder,
        concerned: &Concerned,
        mut enrolment: Enrolment,
    ) -> Result<Enrolment, Stop> {
        let who = order.asker();
        if let Some(reason) = self.denials.of(&who, candidate.now) {
            return Err(self.denied_again(candidate, reason));
        }
        let question = question(candidate, order, concerned, &enrolment);
        let trail = candidate.request.trail;
        match self.ask_webhook(&enrolment.profile, &question) {
            Ok(Decision { allow: true, .. }) => {
                trail.passed(CHECK, "allowed");
                enrolment.trace.push(trace_step(CHECK, true, &"allowed"));
                Ok(enrolment)
            }
            Ok(Decision { reason, .. }) => {
                let reason = clipped(reason.unwrap_or_default(), MAX_DETAIL);
                self.remember_denial(&enrolment.profile, who, &reason, candidate.now);
                let refusal = Refusal::from(RefusalReason::Denied(reason));
                trail.failed(CHECK, &refusal);
                enrolment.trace.push(trace_step(CHECK, false, &refusal));
                self.tell_refused(candidate, &refusal);
                self.reject(candidate, enrolment, refusal.to_string())?;
                Err(stop(&refusal))
            }
            Err(no_answer) => {
                trail.failed(CHECK, &no_answer);
                Err(Stop::Away(no_answer))
            }
        }
    }

    /// The denial of a moment ago: not put to the webhook, and not recorded a second time.
    fn denied_again(&self, candidate: &Candidate<'_>, reason: String) -> Stop {
        let refusal = Refusal::from(RefusalReason::Denied(reason));
        candidate.request.trail.failed(CHECK, format_args!("{refusal} (as a moment ago; not asked again)"));
        self.tell_refused(candidate, &refusal);
        stop(&refusal)
    }

    fn remember_denial(&self, profile: &ProfileName, who: Fingerprint, reason: &str, now: Timestamp) {
        let webhook = self.settings.approval_webhooks.get(profile);
        let time = webhook.map(|webhook| webhook.remember_denials).unwrap_or_default();
        self.denials.remember(who, reason.to_owned(), now, time);
    }

    /// How the last exchange with each webhook ended.
    pub(in crate::service) fn check_approval_webhooks(&self) -> Vec<Check> {
        let check = |profile| self.outside.check(check_name(profile), WEBHOOK_AWAY);
        self.settings.approval_webhooks.keys().map(check).collect()
    }

    /// The decision, or why there is none; either is what `certgate doctor` says of the webhook.
    fn ask_webhook(&self, profile: &ProfileName, question: &Question<'_>) -> Result<Decision, NoAnswer> {
        let decided = self.decision_of_webhook(profile, question);
        self.outside.heard(check_name(profile), self.now(), decided.as_ref().err());
        decided
    }

    fn decision_of_webhook(
        &self,
        profile: &ProfileName,
        question: &Question<'_>,
    ) -> Result<Decision, NoAnswer> {
        let webhook = self.settings.approval_webhooks.get(profile);
        let webhook =
            webhook.ok_or_else(|| away("approval is \"webhook\", and there is no approval-webhook"))?;
        let body = serde_json::to_vec(question).map_err(away)?;
        let answer = self.send_signed(webhook, OutboundMethod::Post, &body).map_err(|error| NoAnswer {
            retry_after: error.retry_after().unwrap_or(RETRY_AFTER),
            reason: error.to_string(),
        })?;
        if answer.status != 200 {
            let retry_after = answer.retry_after().unwrap_or(RETRY_AFTER).clamp(RETRY_AFTER, MAX_RETRY_AFTER);
            let reason = format!("the approval webhook answers with status {}", answer.status);
            return Err(NoAnswer { reason, retry_after });
        }
        serde_json::from_slice(answer.body.expose())
            .map_err(|_| away("the approval webhook's answer is not {\"allow\": true} or {\"allow\": false}"))
    }

    /// One exchange, signed as the module's words say.
    fn send_signed(
        &self,
        webhook: &ApprovalWebhook,
        method: OutboundMethod,
        body: &[u8],
    ) -> Result<OutboundAnswer, OutboundError> {
        let timestamp = self.now().unix().to_string();
        let signature = signatures(&webhook.secrets, &timestamp, body);
        let headers = [
            ("content-type", Secret::from("application/json")),
            ("x-certgate-timestamp", Secret::from(timestamp.as_str())),
            ("x-certgate-signature", Secret::from(signature.as_str())),
        ];
        let (destination, url) = (&webhook.destination, &webhook.url);
        self.ports.outbound.send(&OutboundRequest { destination, method, url, headers: &headers, body })
    }

    /// Whether each webhook can be reached, and takes the signature: a GET, which asks nothing.
    pub(in crate::service) fn probe_approval_webhooks(&self) -> Vec<Check> {
        let probe = |(profile, webhook)| self.probe_webhook(&check_name(profile), webhook);
        self.settings.approval_webhooks.iter().map(probe).collect()
    }

    fn probe_webhook(&self, name: &str, webhook: &ApprovalWebhook) -> Check {
        let fail = |detail: String, hint: &str| Check::not_passed(name, CheckResult::Fail, detail, hint);
        let status = match self.send_signed(webhook, OutboundMethod::Get, &[]) {
            Ok(answer) => answer.status,
            Err(error) => return fail(error.to_string(), WEBHOOK_AWAY),
        };
        match status {
            300..=399 => fail(format!("it redirects (status {status}), which is not followed"), WEBHOOK_AWAY),
            401 | 403 => fail(format!("it does not take the signature (status {status})"), NOT_TAKEN),
            // 501: it has no GET.
            500 | 502..=599 => fail(format!("it answers with status {status}"), WEBHOOK_AWAY),
            _ => Check::pass(name, format!("it answers: status {status} to a probe, which asks nothing")),
        }
    }

    /// On record: the same request is not put to the webhook again.
    fn reject(&self, candidate: &Candidate<'_>, enrolment: Enrolment, reason: String) -> Result<(), Stop> {
        if !self.may_record(candidate)? {
            return Ok(());
        }
        let fact = candidate.act().fact("enrolment.rejected", &enrolment.id, &[("reason", reason.clone())]);
        let enrolment = Enrolment {
            state: EnrolmentState::Rejected { reason },
            decided_at: Some(candidate.now),
            ..enrolment
        };
        self.ports.store.write(|tx| {
            // What another thread had issued meanwhile is not to be hidden.
            let earlier = tx.enrolment_by_request(&enrolment.request_key)?;
            if !earlier.is_some_and(|earlier| matches!(earlier.state, EnrolmentState::Issued { .. })) {
                tx.put_enrolment(&enrolment)?;
            }
            Ok::<_, Stop>(tx.append_audit(&fact)?)
        })
    }
}

fn check_name(profile: &ProfileName) -> String {
    format!("approval-webhook/{profile}")
}

fn away(reason: impl fmt::Display) -> NoAnswer {
    NoAnswer { reason: reason.to_string(), retry_after: RETRY_AFTER }
}

fn question<'a>(
    candidate: &'a Candidate<'_>,
    order: &'a IssueOrder,
    concerned: &'a Concerned,
    enrolment: &'a Enrolment,
) -> Question<'a> {
    let (origin, csr) = (candidate.request.origin, &candidate.csr);
    let key = order.public_key();
    Question {
        version: 1,
        enrolment: &enrolment.id,
        profile: &enrolment.profile,
        transaction: &enrolment.transaction,
        received_at: candidate.now,
        client: Client { address: &origin.peer, user_agent: &origin.user_agent },
        subject: order.subject().to_string(),
        subject_alt_names: texts(order.subject_alt_names()),
        requested: Requested {
            subject: csr.subject().to_string(),
            subject_alt_names: texts(csr.subject_alt_names()),
        },
        key: Key { kind: key.kind().to_string(), sha256: key.fingerprint().to_string() },
        evidence: order.evidence(),
        assurance: order.bound().map(|(_, assurance)| *assurance),
        bound_to: order.bound().map(|(object, _)| object),
        device: concerned.device.as_ref().map(|device| &device.id),
        user: concerned.user.as_ref().map(|user| &user.id),
        renews: order.renews().map(ToString::to_string),
    }
}

fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The value of `X-Certgate-Signature`.
fn signatures(secrets: &[Secret], timestamp: &str, body: &[u8]) -> String {
    let one = |secret: &Secret| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()));
        context.update(timestamp.as_bytes());
        context.update(b".");
        context.update(body);
        format!("v1={}", hex::encode(context.sign()))
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_makes_of_time_and_body() {
        // printf '1800000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let secret = Secret::from("0123456789abcdef0123456789abcdef");
        let one = signatures(std::slice::from_ref(&secret), "1800000000", b"{}");
        assert_eq!(one, "v1=a8471f58daa469f8073cbebd823830f85e8942f4bbc0acd2ef47c28edc8c488e");
        let two =
            signatures(&[secret, Secret::from("another secret, just as long as that")], "1800000000", b"{}");
        assert!(two.starts_with(&format!("{one},v1=")) && two.len() == 2 * one.len() + 1);
    }
}
