//! What the API tells in objects, as sentences for people: why a certificate is revoked, what it belongs to, what was checked.

use serde_json::Value;

/// `value` with what stands under `key` (an object, or each object of an array) told by `tell`.
pub(super) fn with(value: &Value, key: &str, tell: fn(&Value) -> String) -> Value {
    let mut value = value.clone();
    match value.get_mut(key) {
        None | Some(Value::Null) => {}
        Some(Value::Array(items)) => {
            for item in items {
                *item = tell(item).into();
            }
        }
        Some(one) => *one = tell(one).into(),
    }
    value
}

/// `on hold since 2026-11-21T02:04:54Z: wipe of the device, by local uid 0 ("left in a taxi")`.
pub(super) fn cause(cause: &Value) -> String {
    let (reference, since) = (text(cause, "reference"), text(cause, "since"));
    let effect = if cause.get("permanent").and_then(Value::as_bool) == Some(true) {
        format!("revoked for good ({})", text(cause, "reason"))
    } else {
        "on hold".to_owned()
    };
    let what = match text(cause, "kind") {
        "manual" => format!("{reference} by hand"),
        "device-lifecycle" => format!("{reference} of the device"),
        "device-condition" => format!("the device is {reference}"),
        "user-state" => format!("the standing of the user {reference}"),
        "superseded" => format!("replaced by {reference}"),
        "issuer" => format!("the state of its CA, {reference}"),
        other => format!("{other} {reference}"),
    };
    let lost = match text(cause, "invalidity_date") {
        "" => String::new(),
        date => format!(", key probably lost {date}"),
    };
    format!("{effect} since {since}: {what}, by {}{lost}{}", text(cause, "actor"), note(cause))
}

/// `certificateHold since 2026-11-21T02:04:54Z`.
pub(super) fn revocation(revocation: &Value) -> String {
    format!("{} since {}", text(revocation, "reason"), text(revocation, "at"))
}

/// `device SN123, generation 1 (ticket 4f00ab12, assurance high)`.
pub(super) fn binding(binding: &Value) -> String {
    let object = match (text(binding, "device"), text(binding, "user")) {
        ("", user) => format!("user {user}"),
        (device, _) => format!("device {device}, generation {}", number(binding, "generation")),
    };
    format!("{object} ({}, assurance {})", text(binding, "evidence"), text(binding, "assurance"))
}

/// `device SN123, generation 1`.
pub(super) fn object(object: &Value) -> String {
    match (object.get("device"), object.get("user")) {
        (Some(device), _) => {
            format!("device {}, generation {}", text(device, "id"), number(device, "generation"))
        }
        (_, Some(user)) => format!("user {}", text(user, "id")),
        _ => object.to_string(),
    }
}

/// `ticket 4f00ab12`, `claim`, `renewal of issuing/4f00ab12`, `certificate 4f00ab12 of CN=Old CA`, `approval`.
pub(super) fn evidence(evidence: &Value) -> String {
    if let Some(plain) = evidence.as_str() {
        return plain.to_owned();
    }
    if let Some(other) = evidence.get("alternate") {
        return format!("certificate {} of {}", text(other, "serial"), text(other, "issuer"));
    }
    match (evidence.get("ticket"), evidence.pointer("/renewal/certificate")) {
        (Some(ticket), _) => format!("ticket {}", text(ticket, "id")),
        (_, Some(renewed)) => format!("renewal of {}/{}", text(renewed, "issuer"), text(renewed, "serial")),
        _ => evidence.to_string(),
    }
}

/// `issuing/4f00ab12`.
pub(super) fn certificate(id: &Value) -> String {
    format!("{}/{}", text(id, "issuer"), text(id, "serial"))
}

/// `passed  key: rsa-2048`.
pub(super) fn check(step: &Value) -> String {
    let passed = step.get("passed").and_then(Value::as_bool) == Some(true);
    let result = if passed { "passed" } else { "FAILED" };
    format!("{result}  {}: {}", text(step, "check"), text(step, "detail"))
}

/// `lost since 2026-11-21T02:04:54Z (local uid 0: left in a taxi)`.
pub(super) fn condition(condition: &Value) -> String {
    format!("{} since {} ({})", text(condition, "kind"), text(condition, "since"), text(condition, "note"))
}

fn note(value: &Value) -> String {
    match text(value, "note") {
        "" => String::new(),
        note => format!(" (\"{note}\")"),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_cause_reads_as_a_sentence() {
        let hold = json!({
            "kind": "device-lifecycle", "reference": "wipe", "permanent": false, "reason": "certificateHold",
            "since": "2026-11-21T02:04:54Z", "invalidity_date": null, "actor": "local uid 0", "note": "taxi",
        });
        assert_eq!(
            cause(&json!({
                "kind": "issuer", "reference": "root/4f00", "permanent": true, "reason": "cACompromise",
                "since": "2026-11-21T02:04:54Z", "invalidity_date": null, "actor": "certgate", "note": "",
            })),
            "revoked for good (cACompromise) since 2026-11-21T02:04:54Z: the state of its CA, root/4f00, by certgate"
        );
        assert_eq!(
            cause(&hold),
            "on hold since 2026-11-21T02:04:54Z: wipe of the device, by local uid 0 (\"taxi\")"
        );
        let revoked = json!({
            "kind": "manual", "reference": "revoke", "permanent": true, "reason": "keyCompromise",
            "since": "2026-11-21T02:04:54Z", "invalidity_date": "2026-11-20T00:00:00Z", "actor": "token mdm", "note": "",
        });
        assert_eq!(
            cause(&revoked),
            "revoked for good (keyCompromise) since 2026-11-21T02:04:54Z: revoke by hand, by token mdm, \
             key probably lost 2026-11-20T00:00:00Z"
        );
    }

    #[test]
    fn only_what_is_there_is_told() {
        let certificate = json!({"causes": [], "revocation": null, "id": "issuing/01"});
        assert_eq!(with(&certificate, "causes", cause), certificate);
        assert_eq!(with(&certificate, "revocation", revocation), certificate);
    }

    #[test]
    fn evidence_and_objects_are_told_in_words() {
        assert_eq!(evidence(&json!("approval")), "approval");
        assert_eq!(evidence(&json!({"ticket": {"id": "4f"}})), "ticket 4f");
        let renewed = json!({"renewal": {"certificate": {"issuer": "issuing", "serial": "4f"}}});
        assert_eq!(evidence(&renewed), "renewal of issuing/4f");
        let other = json!({"alternate": {"issuer": "CN=Old CA", "serial": "4f", "fingerprint": "ab"}});
        assert_eq!(evidence(&other), "certificate 4f of CN=Old CA");
        let device = json!({"device": {"id": "SN1", "generation": 2}});
        assert_eq!(object(&device), "device SN1, generation 2");
    }
}
