//! Who must not get a certificate (RFC 8894 §2.4, §7), and what nobody must get.

use std::rc::Rc;

use super::{Applicant, ScepSuite, answer::Answer, craft, opened};
use crate::{
    app::conformance::{
        Check, Checked,
        Level::{May, Must},
        Remark, check, ensure,
    },
    types::Secret,
    wire::{
        scep::{FailInfo, PkiStatus},
        x509::Certificate,
    },
};

pub(super) fn checks<'a>() -> Vec<Check<ScepSuite<'a>>> {
    vec![
        check(
            "8894-2.4-wrong-challenge",
            Must,
            "a wrong challenge is refused with badRequest",
            wrong_challenge,
        ),
        check(
            "8894-3.3.2.2-failure",
            Must,
            "a refusal is a CertRep with failInfo and without envelope",
            failure,
        ),
        check(
            "8894-2.4-no-challenge",
            Must,
            "a request without a challenge is not granted by itself",
            no_challenge,
        ),
        check(
            "8894-3.2.1.2-update-req",
            Must,
            "messageType 18 (UpdateReq of old drafts) is no way around the challenge",
            update_req,
        ),
        check(
            "8894-3.3.1.2-renewal-by-a-stranger",
            Must,
            "RenewalReq signed by a self-signed certificate is refused",
            renewal_by_a_stranger,
        ),
        check(
            "2986-4.2-self-signature",
            Must,
            "a request whose own signature is wrong is refused",
            self_signature,
        ),
        check(
            "8894-2.3-foreign-key",
            May,
            "a first request for another key than the one that signs the message is refused",
            foreign_key,
        ),
        check(
            "5280-4.2.1.9-ca",
            Must,
            "a request that asks for a CA certificate does not get one",
            ca_request,
        ),
    ]
}

/// PKCSReq of somebody new with this challenge.
fn try_challenge(suite: &mut ScepSuite<'_>, challenge: Option<&Secret>) -> Checked<Answer> {
    let applicant = Rc::new(suite.applicant(challenge)?);
    let (message, nonce) = suite.usual_message(&applicant, "19")?;
    Ok(suite.trial(&applicant, message, nonce)?.answer.clone())
}

/// PKCSReq of somebody new with a challenge that nobody knows.
pub(super) fn try_wrong_challenge(suite: &mut ScepSuite<'_>) -> Checked<Answer> {
    let wrong = Secret::new(format!("wrong-{}", hex::encode(suite.random.bytes::<12>())).into_bytes());
    try_challenge(suite, Some(&wrong))
}

fn wrong_challenge(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_wrong_challenge(suite)?;
    suite.refused(&answer, &[FailInfo::BadRequest])
}

fn failure(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_wrong_challenge(suite)?;
    let rep = answer.cert_rep()?;
    if rep.reply.status != PkiStatus::Failure {
        return Err(Remark::skipped("a wrong challenge was not refused"));
    }
    ensure(rep.reply.fail_info.is_some(), || "FAILURE without failInfo".to_owned())?;
    ensure(rep.verified.envelope().is_err(), || "FAILURE with an envelope".to_owned())?;
    if rep.http_status == 200 {
        return Ok(());
    }
    // RFC 8894 does not say which; AWS Private CA sends 400.
    Err(Remark::warning(format_args!("HTTP {}: many clients do not read the reason then", rep.http_status)))
}

fn no_challenge(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_challenge(suite, None)?;
    match answer.status() {
        // RFC 8894 §2.4: manual authorisation.
        Some(PkiStatus::Pending) => Ok(()),
        _ => suite.refused(&answer, &[FailInfo::BadRequest]),
    }
}

/// CVE-2026-30836: a server looked at the challenge of types that it knew, and issued for this one too.
fn update_req(suite: &mut ScepSuite<'_>) -> Checked {
    let applicant = Rc::new(suite.applicant(None)?);
    let envelope = suite.usual_envelope(&applicant.csr)?;
    let answer = suite.try_content(&applicant, "18", &envelope)?;
    suite.refused(&answer, &[FailInfo::BadRequest])
}

fn renewal_by_a_stranger(suite: &mut ScepSuite<'_>) -> Checked {
    let applicant = Rc::new(suite.applicant(None)?);
    let envelope = suite.usual_envelope(&applicant.csr)?;
    let refused = [FailInfo::BadRequest, FailInfo::BadMessageCheck, FailInfo::BadCertId];
    let answer = suite.try_content(&applicant, "17", &envelope)?;
    suite.refused(&answer, &refused)
}

fn self_signature(suite: &mut ScepSuite<'_>) -> Checked {
    suite.challenge_lasts()?;
    let challenge = suite.options.challenge.clone();
    let applicant = Rc::new(suite.applicant(challenge.as_ref())?);
    let mut broken = applicant.csr.clone();
    if let Some(last) = broken.last_mut() {
        *last ^= 1;
    }
    let envelope = suite.usual_envelope(&broken)?;
    suite
        .try_content(&applicant, "19", &envelope)?
        .expect_refusal(&[FailInfo::BadRequest, FailInfo::BadMessageCheck])
}

/// RFC 8894 §2.3 asks it of clients (SHOULD), and says nothing of servers.
fn foreign_key(suite: &mut ScepSuite<'_>) -> Checked {
    suite.challenge_lasts()?;
    let challenge = suite.options.challenge.clone();
    let applicant = Rc::new(suite.applicant(challenge.as_ref())?);
    let other = suite.applicant(challenge.as_ref())?;
    let envelope = suite.usual_envelope(&other.csr)?;
    let answer = suite.try_content(&applicant, "19", &envelope)?;
    if answer.status() == Some(PkiStatus::Success) {
        return Err(Remark::warning(
            "granted; the answer goes to the key that signed, not to the one that is certified",
        ));
    }
    answer.expect_refusal(&[FailInfo::BadRequest, FailInfo::BadMessageCheck])
}

fn ca_request(suite: &mut ScepSuite<'_>) -> Checked {
    suite.challenge_lasts()?;
    let challenge = suite.options.challenge.clone();
    let applicant = suite.applicant(challenge.as_ref())?;
    let csr = craft::csr_for_a_ca(&applicant.key, &applicant.subject, challenge.as_ref())?;
    let applicant = Rc::new(Applicant { csr, ..applicant });
    let (message, nonce) = suite.usual_message(&applicant, "19")?;
    let trial = suite.trial(&applicant, message, nonce)?;
    if trial.answer.status() != Some(PkiStatus::Success) {
        return trial.answer.expect_refusal(&[]);
    }
    let content = opened(&trial)?;
    let ours = |certificate: &&Certificate| certificate.public_key() == applicant.key.public_key();
    let is_ca = content.certificates.iter().filter(ours).any(Certificate::is_ca);
    ensure(!is_ca, || "whoever has a challenge gets a CA certificate, and can issue anything".to_owned())
}
