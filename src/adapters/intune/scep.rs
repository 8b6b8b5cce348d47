//! `ScepActions`: may this request have a certificate; it has got one; it will get none.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ClientCredential, ENROLMENT_DESTINATION, IntuneClient, Service, Session, code::denial};
use crate::{
    domain::vouch::Verdict,
    ports::{IssuedNotice, NoAnswer, OutboundError, ProbeStep, RefusedNotice, VoucherRequest, Vouching},
    types::Timestamp,
};

/// What certgate calls itself (`callerInfo`).
const CALLER: &str = concat!("certgate ", env!("CARGO_PKG_VERSION"));

/// Longest errorDescription.
const MAX_DESCRIPTION: usize = 255;

/// The only good code.
const SUCCESS: &str = "Success";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScepAnswer {
    code: String,
    #[serde(default)]
    error_description: Option<String>,
}

impl IntuneClient {
    /// Takes a place, and one of those that all share who enrol, for as long as `work` lasts: threads that wait for Intune, also for a token
    /// that another one asks for, are bounded.
    fn in_place<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, NoAnswer>) -> Result<T, NoAnswer> {
        let session = self.session(ENROLMENT_DESTINATION);
        let busy = OutboundError::Busy { destination: ENROLMENT_DESTINATION.to_owned() };
        let places = self.places.take().and_then(|own| Some((own, self.shared.take()?)));
        if places.is_none() {
            return Err(session.no_answer(&busy.to_string(), busy.retry_after()));
        }
        work(&session)
    }

    fn scep_action(&self, session: &Session<'_>, action: &str, body: &Value) -> Result<ScepAnswer, NoAnswer> {
        let answer = self.call(session, Service::Validation, &format!("ScepActions/{action}"), body)?;
        serde_json::from_value(answer).map_err(|_| {
            self.forget_endpoints();
            session.no_answer("Intune's answer has no code", None)
        })
    }

    fn notify(&self, action: &str, notification: &Value) -> Result<(), NoAnswer> {
        self.in_place(|session| {
            let answer = self.scep_action(session, action, &json!({ "notification": notification }))?;
            tracing::info!(reference = session.reference, action, code = answer.code, "Intune was told");
            if answer.code == SUCCESS {
                return Ok(());
            }
            let reason = format!(
                "Intune does not take the {action}: {}",
                denial(
                    &answer.code,
                    &answer.error_description.unwrap_or_default(),
                    session.reference.clone()
                )
            );
            Err(session.no_answer(&reason, None))
        })
    }
}

impl Vouching for IntuneClient {
    fn validate(&self, request: &VoucherRequest<'_>) -> Result<Verdict, NoAnswer> {
        self.in_place(|session| {
            let body = json!({ "request": {
                "transactionId": request.transaction,
                "certificateRequest": STANDARD.encode(request.csr),
                "callerInfo": CALLER,
            }});
            let answer = self.scep_action(session, "validateRequest", &body)?;
            let reference = session.reference.clone();
            tracing::info!(
                reference,
                transaction = request.transaction,
                code = answer.code,
                "Intune was asked"
            );
            Ok(if answer.code == SUCCESS {
                Verdict::Allowed { reference }
            } else {
                Verdict::Denied(denial(
                    &answer.code,
                    &answer.error_description.unwrap_or_default(),
                    reference,
                ))
            })
        })
    }

    fn tell_issued(&self, request: &VoucherRequest<'_>, issued: &IssuedNotice) -> Result<(), NoAnswer> {
        self.notify(
            "successNotification",
            &json!({
                "transactionId": request.transaction,
                "certificateRequest": STANDARD.encode(request.csr),
                "certificateThumbprint": hex::encode_upper(issued.thumbprint),
                "certificateSerialNumber": issued.serial,
                "certificateExpirationDateUtc": with_milliseconds(issued.not_after),
                "issuingCertificateAuthority": issued.issuer_name,
                "callerInfo": CALLER,
                "caConfiguration": request.profile,
                "certificateAuthority": issued.issuer,
            }),
        )
    }

    fn tell_refused(&self, request: &VoucherRequest<'_>, refused: &RefusedNotice) -> Result<(), NoAnswer> {
        let description: String = refused.description.chars().take(MAX_DESCRIPTION).collect();
        self.notify(
            "failureNotification",
            &json!({
                "transactionId": request.transaction,
                "certificateRequest": STANDARD.encode(request.csr),
                "hResult": refused.hresult,
                "errorDescription": description,
                "callerInfo": CALLER,
            }),
        )
    }

    fn delivery_waits(&self) -> bool {
        self.settings.wait_for_success_notification
    }

    fn give_up_after(&self) -> std::time::Duration {
        self.settings.give_up_after
    }

    fn credential_ends(&self) -> Option<Timestamp> {
        match &self.settings.credential {
            ClientCredential::Secret(_) => None,
            ClientCredential::Certificate(certificate) => Some(certificate.not_after()),
        }
    }

    fn probe(&self) -> Vec<ProbeStep> {
        self.probe_steps()
    }
}

/// `YYYY-MM-DDThh:mm:ss.sssZ`, as Microsoft's library asks for.
fn with_milliseconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix('Z').map_or_else(|| text.clone(), |seconds| format!("{seconds}.000Z"))
}
