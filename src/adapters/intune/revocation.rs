//! `CertificateAuthorityRequests`: certificates that Intune wants revoked.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{BACKGROUND_DESTINATION, IntuneClient, Service};
use crate::ports::{NoAnswer, RevocationFailure, RevocationQueue, RevocationRequest, RevocationResult};

/// The most that Intune gives at a time.
const MAX_REQUESTS: usize = 500;

#[derive(Deserialize)]
struct Downloaded {
    /// Read one by one: an entry that is wrong keeps no other from being worked off.
    value: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    request_context: String,
    /// Without one the entry is reported back as invalid.
    #[serde(default)]
    serial_number: Option<String>,
    #[serde(default)]
    issuer_name: Option<String>,
}

impl RevocationQueue for IntuneClient {
    fn requests(&self, issuer_name: Option<&str>) -> Result<Vec<RevocationRequest>, NoAnswer> {
        let session = self.session(BACKGROUND_DESTINATION);
        let body =
            json!({ "downloadParameters": { "maxRequests": MAX_REQUESTS, "issuerName": issuer_name } });
        let action = "CertificateAuthorityRequests/downloadRevocationRequests";
        let answer = self.call(&session, Service::Revocation, action, &body)?;
        let downloaded: Downloaded = serde_json::from_value(answer).map_err(|_| {
            session.no_answer("Intune's list of revocations is not in the form that is known", None)
        })?;
        Ok(downloaded.value.into_iter().take(MAX_REQUESTS).filter_map(request).collect())
    }

    fn report(&self, results: &[RevocationResult]) -> Result<(), NoAnswer> {
        let session = self.session(BACKGROUND_DESTINATION);
        let results: Vec<Value> = results.iter().map(result).collect();
        let action = "CertificateAuthorityRequests/uploadRevocationResults";
        let answer = self.call(&session, Service::Revocation, action, &json!({ "results": results }))?;
        // A boolean, or as a text: Microsoft's library takes both.
        let taken = match answer.get("value") {
            Some(Value::Bool(taken)) => *taken,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        };
        if taken { Ok(()) } else { Err(session.no_answer("Intune did not record the results", None)) }
    }

    fn interval(&self) -> Duration {
        self.settings.poll_interval
    }

    fn by_issuer(&self) -> bool {
        self.settings.by_issuer
    }
}

/// What an entry asks for; none where nothing can be reported about it, because its context cannot be read.
fn request(entry: Value) -> Option<RevocationRequest> {
    let Ok(entry) = serde_json::from_value::<Entry>(entry) else {
        tracing::warn!("one of Intune's requests for revocation cannot be read and is left out");
        return None;
    };
    Some(RevocationRequest {
        context: entry.request_context,
        serial: entry.serial_number.unwrap_or_default(),
        issuer_name: entry.issuer_name.filter(|name| !name.is_empty()),
    })
}

/// The errorCode is the name of one of `CARequestErrorCode`; a success has neither a code but None nor a message.
fn result(result: &RevocationResult) -> Value {
    let failed = |code: &str, message: &str| json!({ "requestContext": result.context, "succeeded": false, "errorCode": code, "errorMessage": message });
    match &result.outcome {
        Ok(()) => {
            json!({ "requestContext": result.context, "succeeded": true, "errorCode": "None", "errorMessage": null })
        }
        Err(RevocationFailure::Invalid(why)) => failed("ParameterDataInvalidError", why),
        Err(RevocationFailure::NotFound) => {
            failed("CertificateNotFoundError", "this CA issued no certificate with this serial number")
        }
        Err(RevocationFailure::Refused(why)) => failed("ConflictError", why),
        Err(RevocationFailure::Passing(why)) => failed("RetryableServiceException", why),
    }
}
