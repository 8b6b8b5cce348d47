//! What a responder says: status (RFC 6960 §2.2), signature and delegate (§4.2.2.2), times (§2.4, §4.2.2.1).

use std::time::Duration;

use const_oid::db::{rfc5280, rfc6960};

use super::{OcspSuite, Told, cannot_make, parsed, request::id_of_a_stranger, status_name};
use crate::{
    app::conformance::{
        Check, Checked,
        Level::{Must, Should},
        Remark, check, ensure,
    },
    types::{DigestAlgorithm, RevocationReason, SerialNumber, Timestamp},
    wire::{
        ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, OcspResponse, SingleResponse},
        x509::Certificate,
    },
};

/// Clocks may differ by this much.
const SKEW: Duration = Duration::from_secs(300);

/// The CA/Browser Forum's bound for the validity of an answer (BR 4.9.10).
const LONGEST: Duration = Duration::from_secs(10 * 86_400);

pub(super) fn checks<'a>() -> Vec<Check<OcspSuite<'a>>> {
    vec![
        check("6960-2.2-good", Must, "the certificate of --cert is good", good),
        check("6960-2.2-revoked", Must, "the certificate of --revoked-cert is revoked", revoked),
        check(
            "6960-2.2-never-issued",
            Must,
            "a serial number that was never issued is not good",
            never_issued,
        ),
        check("6960-2.2-revocation-time", Must, "revocationTime is not in the future", revocation_time),
        check(
            "6960-2.2-extended-revoke",
            Must,
            "a never issued serial number that is revoked is so since 1970, on hold, by id-pkix-ocsp-extended-revoke",
            extended_revoke,
        ),
        check(
            "9919-3.2.3-unknown-issuer",
            Must,
            "a certificate of an unknown issuer is unauthorized or unknown",
            unknown_issuer,
        ),
        check(
            "6960-4.2.2.2-signature",
            Must,
            "the answer is signed by the issuer, or by a delegate that the issuer signed for id-kp-OCSPSigning",
            signature,
        ),
        check("6960-4.2.2.2-valid", Must, "the delegate's certificate is valid now", delegate_is_valid),
        check(
            "6960-4.2.2.2.1-nocheck",
            Should,
            "the delegate's certificate has id-pkix-ocsp-nocheck",
            nocheck,
        ),
        check(
            "9919-3.2.2-delegate-pointers",
            Should,
            "the delegate's certificate names no CRL and no responder",
            delegate_pointers,
        ),
        check("9919-3.2.1-single", Should, "one CertID is answered by one SingleResponse", one_single),
        check(
            "9919-3.2.1-extensions",
            Should,
            "without a nonce there are no responseExtensions",
            no_extensions,
        ),
        check("9919-3.2.2-by-key", Should, "the responder names itself by its key", by_key),
        check("6960-4.2.2.1-this-update", Must, "thisUpdate is not in the future", this_update),
        check("9919-3.2.4-next-update", Must, "nextUpdate is there and in the future", next_update),
        check(
            "6960-2.4-produced-at",
            Must,
            "producedAt is neither in the future nor before thisUpdate",
            produced_at,
        ),
    ]
}

fn good(suite: &mut OcspSuite<'_>) -> Checked {
    let id = suite.usual_id()?;
    let status = suite.usual()?.of(&id)?.status;
    ensure(status == CertStatus::Good, || status_name(status).to_owned())
}

fn revoked(suite: &mut OcspSuite<'_>) -> Checked {
    let status = status_of_revoked(suite)?;
    ensure(matches!(status, CertStatus::Revoked { .. }), || status_name(status).to_owned())
}

fn status_of_revoked(suite: &mut OcspSuite<'_>) -> Checked<CertStatus> {
    let revoked = suite.options.revoked.clone();
    let revoked = revoked.ok_or_else(|| Remark::skipped("needs --revoked-cert"))?;
    let id = suite.cert_id(DigestAlgorithm::Sha1, revoked.serial())?;
    let request = OcspRequest::new(vec![id.clone()], None).to_der().map_err(cannot_make)?;
    let told = Told::read(suite.post(&request)?)?;
    Ok(told.of(&id)?.status)
}

fn revocation_time(suite: &mut OcspSuite<'_>) -> Checked {
    let CertStatus::Revoked { at, .. } = status_of_revoked(suite)? else {
        return Err(Remark::skipped("the certificate of --revoked-cert is not revoked"));
    };
    let now = suite.now();
    ensure(at <= now.plus(SKEW), || format!("{at}; now is {now}"))
}

/// RFC 6960 §2.2: so that nobody takes it for the revocation of a certificate that there is.
fn extended_revoke(suite: &mut OcspSuite<'_>) -> Checked {
    let id = suite.cert_id(DigestAlgorithm::Sha1, &SerialNumber::from_random(suite.random.bytes()))?;
    let request = OcspRequest::new(vec![id.clone()], None).to_der().map_err(cannot_make)?;
    let response = suite.post(&request)?;
    let OcspResponse::Successful(basic) = parsed(&response)? else {
        return Err(Remark::not_applicable("the responder is not authorized to answer"));
    };
    let told = Told { response, basic };
    let CertStatus::Revoked { at, reason } = told.of(&id)?.status else {
        return Err(Remark::not_applicable("it is not revoked"));
    };
    ensure(at == Timestamp::EPOCH && reason == RevocationReason::CertificateHold, || {
        format!("revoked since {at}, {reason}")
    })?;
    ensure(told.basic.extensions.contains(&rfc6960::ID_PKIX_OCSP_EXTENDED_REVOKE), || {
        "the extension is missing".to_owned()
    })
}

/// RFC 6960 §2.2; CA/Browser Forum BR 4.9.10 forbids it, too.
fn never_issued(suite: &mut OcspSuite<'_>) -> Checked {
    let id = suite.cert_id(DigestAlgorithm::Sha1, &SerialNumber::from_random(suite.random.bytes()))?;
    let request = OcspRequest::new(vec![id.clone()], None).to_der().map_err(cannot_make)?;
    match status_unless_unauthorized(suite, &id, &request)? {
        Some(CertStatus::Good) => Err(Remark::failed(
            "good: whoever forges a certificate with a serial number of their own has it confirmed",
        )),
        Some(CertStatus::Revoked { .. } | CertStatus::Unknown) | None => Ok(()),
    }
}

/// The status of a certificate for which a responder may also be unauthorized to answer.
fn status_unless_unauthorized(
    suite: &mut OcspSuite<'_>,
    id: &CertId,
    request: &[u8],
) -> Checked<Option<CertStatus>> {
    let response = suite.post(request)?;
    match parsed(&response)? {
        OcspResponse::Error(ErrorStatus::Unauthorized) => Ok(None),
        OcspResponse::Error(other) => Err(Remark::failed(other.as_str())),
        OcspResponse::Successful(basic) => Ok(Some(Told { response, basic }.of(id)?.status)),
    }
}

fn unknown_issuer(suite: &mut OcspSuite<'_>) -> Checked {
    let id = id_of_a_stranger(suite)?;
    let request = OcspRequest::new(vec![id.clone()], None).to_der().map_err(cannot_make)?;
    match status_unless_unauthorized(suite, &id, &request)? {
        Some(CertStatus::Unknown) | None => Ok(()),
        Some(other) => Err(Remark::failed(status_name(other))),
    }
}

fn signature(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_answer()?;
    let issuer = suite.options.issuer.clone();
    if told.basic.verify(&issuer).is_ok() || trusted(suite, &told).is_some() {
        return Ok(());
    }
    let faults: Vec<_> =
        told.basic.certificates.iter().map(|candidate| fault_of(candidate, &issuer)).collect();
    let carried = if faults.is_empty() {
        "; it carries no delegate's certificate".to_owned()
    } else {
        format!("; of the certificates that it carries, {}", faults.join(", "))
    };
    Err(Remark::failed(format!("the issuer's key does not verify it, and no delegate's either{carried}")))
}

/// Why a certificate cannot be the delegate's.
fn fault_of(candidate: &Certificate, issuer: &Certificate) -> String {
    let subject = candidate.subject();
    if candidate.is_signed_by(issuer).is_err() {
        format!("\"{subject}\" was not signed by the issuer")
    } else if candidate.extended_key_usage().contains(&rfc5280::ID_KP_OCSP_SIGNING) {
        format!("\"{subject}\" is a delegate's, and did not sign this")
    } else {
        format!("\"{subject}\" does not have the extended key usage id-kp-OCSPSigning")
    }
}

/// The trusted responder that signed.
fn trusted<'s>(suite: &'s OcspSuite<'_>, told: &Told) -> Option<&'s Certificate> {
    suite.options.trusted.iter().find(|responder| told.basic.is_signed_by(responder))
}

/// The certificate of the delegate that signed, or of the trusted responder.
fn delegate(suite: &mut OcspSuite<'_>) -> Checked<Certificate> {
    let told = suite.known_answer()?;
    if let Some(responder) = trusted(suite, &told) {
        return Ok(responder.clone());
    }
    let key = told.basic.verify(&suite.options.issuer);
    let key = key.map_err(|_| Remark::skipped("the signature does not verify"))?;
    if key == *suite.options.issuer.public_key() {
        return Err(Remark::skipped("the issuer signs itself, without a delegate"));
    }
    let carried = told.basic.certificates.iter().find(|certificate| *certificate.public_key() == key);
    carried.cloned().ok_or_else(|| Remark::failed("the answer does not carry the delegate's certificate"))
}

fn delegate_is_valid(suite: &mut OcspSuite<'_>) -> Checked {
    let validity = delegate(suite)?.validity();
    ensure(validity.contains(suite.now()), || {
        format!("it is valid from {} to {} (now is {})", validity.not_before, validity.not_after, suite.now())
    })
}

fn nocheck(suite: &mut OcspSuite<'_>) -> Checked {
    let delegate = delegate(suite)?;
    ensure(delegate.has_ocsp_no_check(), || {
        "without it a client must ask for the delegate's own status, and there is nobody else to ask"
            .to_owned()
    })
}

/// RFC 9919 §3.2.2: with nocheck nobody looks there, and without it a client would ask in circles.
fn delegate_pointers(suite: &mut OcspSuite<'_>) -> Checked {
    let delegate = delegate(suite)?;
    let pointers = [delegate.ocsp_urls(), delegate.crl_urls()].concat();
    ensure(pointers.is_empty(), || format!("it names {}", pointers.join(", ")))
}

/// HAProxy refuses an answer with several.
fn one_single(suite: &mut OcspSuite<'_>) -> Checked {
    let count = suite.known_answer()?.basic.responses.len();
    ensure(count == 1, || format!("{count} of them"))
}

fn no_extensions(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_answer()?;
    let extensions: Vec<_> = told.basic.extensions.iter().map(ToString::to_string).collect();
    ensure(extensions.is_empty(), || format!("there are {}", extensions.join(", ")))
}

fn by_key(suite: &mut OcspSuite<'_>) -> Checked {
    let told = suite.known_answer()?;
    ensure(told.basic.responder_key_hash.is_some(), || "it names itself by its subject".to_owned())
}

fn single(suite: &mut OcspSuite<'_>) -> Checked<SingleResponse> {
    let id = suite.usual_id()?;
    Ok(suite.known_answer()?.of(&id)?.clone())
}

fn this_update(suite: &mut OcspSuite<'_>) -> Checked {
    let (at, now) = (single(suite)?.this_update, suite.now());
    ensure(at <= now.plus(SKEW), || format!("{at}; now is {now}"))
}

fn next_update(suite: &mut OcspSuite<'_>) -> Checked {
    let (single, now) = (single(suite)?, suite.now());
    let next = single.next_update.ok_or_else(|| {
        Remark::failed("it is missing: HAProxy and others refuse the answer, and nobody can cache it")
    })?;
    ensure(next.plus(SKEW) > now, || format!("{next}; now is {now}"))?;
    if next.since(single.this_update) > LONGEST {
        let days = next.since(single.this_update).as_secs() / 86_400;
        return Err(Remark::warning(format_args!(
            "the answer is valid for {days} days: a revocation shows that late"
        )));
    }
    Ok(())
}

fn produced_at(suite: &mut OcspSuite<'_>) -> Checked {
    let (this_update, now) = (single(suite)?.this_update, suite.now());
    let at = suite.known_answer()?.basic.produced_at;
    ensure(at <= now.plus(SKEW), || format!("{at}; now is {now}"))?;
    ensure(at.plus(SKEW) >= this_update, || format!("{at}, before thisUpdate {this_update}"))
}
