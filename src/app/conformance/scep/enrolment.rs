//! PKCSReq and its answer (RFC 8894 §3.2, §3.3.1, §3.3.2), the other requests (§3.3.3, §3.3.4), and renewal (§3.3.1.2).

use std::rc::Rc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Applicant, Granted, ScepSuite, Trial,
    answer::{Answer, CertRep, PKI_MESSAGE},
    craft::{self, Draft, cannot_make},
    discovery::{is_degenerate, next_certificates},
    opened,
};
use crate::{
    app::{
        client::scep::Requester,
        conformance::{
            Check, Checked,
            Level::{May, Must, Should},
            Remark, check, ensure,
        },
    },
    types::{ContentCipher, DigestAlgorithm, KeyTransport, SerialNumber, TransactionId, Validity},
    wire::{
        cms::signed::{Signature, SignedData},
        der::{
            normalise,
            reader::{OCTET_STRING, PRINTABLE_STRING},
        },
        scep::{
            FailInfo, IssuerAndSerialNumber, IssuerAndSubject, MESSAGE_TYPE, PKI_STATUS, PkiStatus,
            RECIPIENT_NONCE, SENDER_NONCE, TRANSACTION_ID,
        },
        x509::Certificate,
    },
};

pub(super) fn checks<'a>() -> Vec<Check<ScepSuite<'a>>> {
    vec![
        check("8894-3.3.1-pkcsreq", Must, "PKCSReq by POST with AES-128 and SHA-256 is granted", granted),
        check(
            "8894-4.3.1-media-type",
            Must,
            "PKIOperation is answered with the media type application/x-pki-message",
            media_type,
        ),
        check(
            "8894-3.2.1-attributes",
            Must,
            "the answer's attributes have the right string types",
            attributes,
        ),
        check("8894-3.2.1.1-transaction", Must, "the answer repeats our transactionID", transaction),
        check(
            "8894-3.2.1.5-recipient-nonce",
            Must,
            "the answer's recipientNonce is our senderNonce",
            recipient_nonce,
        ),
        check(
            "8894-3.2.1.5-sender-nonce",
            Must,
            "each answer has a fresh senderNonce of 16 bytes",
            sender_nonce,
        ),
        check("8894-3.2-signer", Must, "the answer is signed by a certificate of GetCACert", signer),
        check(
            "8894-3.2.2-recipient",
            Must,
            "the answer is encrypted to the key that signed the request",
            recipient,
        ),
        check(
            "8894-3.5.2-answer-algorithms",
            Should,
            "the answer uses AES and SHA-2 as the request did",
            algorithms,
        ),
        check(
            "8894-3.4-answer",
            Must,
            "the envelope holds SignedData without content and signers",
            answer_content,
        ),
        check(
            "8894-3.3.2.1-certificate",
            Must,
            "the first certificate in it is for our key, by a CA of GetCACert",
            leaf,
        ),
        check("8894-3.3.2.1-subject", Should, "the certificate has the subject that was asked for", subject),
        check("8894-5.2-repeat", Should, "the same message again gets the same certificate", repeat),
        check(
            "8894-4.1-get",
            May,
            "PKIOperation by GET, percent-encoded, is answered as by POST",
            get_encoded,
        ),
        check(
            "8894-4.1-get-raw",
            May,
            "PKIOperation by GET with raw + and / and a line end is answered as by POST",
            get_raw,
        ),
        check(
            "8894-3.3.3-unknown-poll",
            Must,
            "CertPoll for an unknown transaction is refused",
            unknown_poll,
        ),
        check("8894-3.3.4-getcert", May, "GetCert gives the certificate that was issued", get_cert),
        check(
            "8894-3.3.4-getcert-unknown",
            May,
            "GetCert of an unknown serial number is badCertId",
            get_cert_unknown,
        ),
        check(
            "8894-3.3.4-getcrl-unknown",
            May,
            "GetCRL for an issuer that nobody knows is badCertId",
            get_crl_unknown,
        ),
        check(
            "8894-2.7-status",
            May,
            "the certificate names a CRL or a responder, or GetCRL gives a CRL",
            status_source,
        ),
        check(
            "8894-3.3.2.3-pending",
            Must,
            "PENDING comes without an envelope and without failInfo",
            pending,
        ),
        check(
            "8894-3.2.2-payload",
            Must,
            "PKCSReq around what is no request is refused with badRequest",
            payload,
        ),
        check(
            "8894-2.3-other-subject",
            Should,
            "the signer's subject need not be the request's: Apple's is a random name",
            other_subject,
        ),
        check("8894-3.3.4-getcrl", May, "GetCRL gives a CRL of the issuing CA that is up to date", get_crl),
    ]
}

/// Renewal supersedes the certificate that other checks use.
pub(super) fn last_checks<'a>() -> Vec<Check<ScepSuite<'a>>> {
    vec![
        check(
            "8894-7.6-renewal-self-signature",
            Must,
            "a renewal whose request is not signed by its key is refused",
            forged_renewal,
        ),
        check("8894-5.1-rollover", Should, "a request to the next CA of GetNextCACert is read", rollover),
        check(
            "8894-3.3.1.2-renewal",
            Should,
            "RenewalReq, signed by the certificate, renews it for a new key without a challenge",
            renewal,
        ),
    ]
}

fn granted(suite: &mut ScepSuite<'_>) -> Checked {
    let trial = suite.first()?;
    match trial.answer.cert_rep()?.reply.status {
        PkiStatus::Success => Ok(()),
        PkiStatus::Pending => {
            Err(Remark::warning("PENDING: an operator decides; checks that need a certificate are skipped"))
        }
        PkiStatus::Failure => Err(Remark::failed(format_args!(
            "{}; is the challenge right and not yet used, does the profile allow this subject and RSA-2048?",
            trial.answer
        ))),
    }
}

/// The answer to the first request, if it is a CertRep; of any status.
fn first_rep(suite: &mut ScepSuite<'_>) -> Checked<(Rc<Trial>, CertRep)> {
    let trial = suite.first()?;
    let rep =
        trial.answer.cert_rep().map_err(|_| Remark::skipped("the first request had no CertRep"))?.clone();
    Ok((trial, rep))
}

fn media_type(suite: &mut ScepSuite<'_>) -> Checked {
    let (_, rep) = first_rep(suite)?;
    let got = &rep.media_type;
    ensure(got.eq_ignore_ascii_case(PKI_MESSAGE), || format!("Content-Type \"{got}\""))
}

fn attributes(suite: &mut ScepSuite<'_>) -> Checked {
    let (_, rep) = first_rep(suite)?;
    let der = normalise(&rep.body).map_err(Remark::failed)?;
    let data = SignedData::read(&der).map_err(Remark::failed)?;
    let signature = data.signers.first().and_then(|signer| Signature::of(&data, signer));
    let signature = signature.ok_or_else(|| Remark::failed("there are no signed attributes"))?;
    for (name, oid, tag, kind) in [
        ("messageType", MESSAGE_TYPE, PRINTABLE_STRING, "PrintableString"),
        ("pkiStatus", PKI_STATUS, PRINTABLE_STRING, "PrintableString"),
        ("transactionID", TRANSACTION_ID, PRINTABLE_STRING, "PrintableString"),
        ("senderNonce", SENDER_NONCE, OCTET_STRING, "OCTET STRING"),
        ("recipientNonce", RECIPIENT_NONCE, OCTET_STRING, "OCTET STRING"),
    ] {
        let value = signature.attributes().value(oid).map_err(Remark::failed)?;
        let value = value.ok_or_else(|| Remark::failed(format_args!("{name} is missing")))?;
        ensure(value.tag == tag, || format!("{name} is no {kind} (its tag is {:#04x})", value.tag))?;
    }
    Ok(())
}

fn transaction(suite: &mut ScepSuite<'_>) -> Checked {
    let (trial, rep) = first_rep(suite)?;
    let (sent, got) = (&trial.applicant.transaction, rep.verified.message().transaction_id());
    ensure(sent == got, || format!("sent {sent}, got {got}"))
}

fn recipient_nonce(suite: &mut ScepSuite<'_>) -> Checked {
    let (trial, rep) = first_rep(suite)?;
    let (sent, got) = (hex::encode(trial.nonce), hex::encode(&rep.reply.recipient_nonce));
    ensure(sent == got, || format!("sent {sent}, got {got}: clients take this for a replayed answer"))
}

fn sender_nonce(suite: &mut ScepSuite<'_>) -> Checked {
    let (trial, rep) = first_rep(suite)?;
    let nonce = rep.verified.message().sender_nonce();
    ensure(nonce.len() == 16, || format!("{} bytes", nonce.len()))?;
    ensure(nonce != trial.nonce, || "it is our own nonce again".to_owned())?;
    let again = Answer::read(&suite.post(&trial.message)?);
    let same = again.cert_rep().is_ok_and(|other| other.verified.message().sender_nonce() == nonce);
    ensure(!same, || "two answers have the same senderNonce".to_owned())
}

fn signer(suite: &mut ScepSuite<'_>) -> Checked {
    let (_, rep) = first_rep(suite)?;
    let ca = suite.known_ca()?;
    let signer = rep.verified.signer();
    ensure(ca.certificates.all.iter().any(|known| known.as_der() == signer.as_der()), || {
        format!("signed by \"{}\", which is none of them", signer.subject())
    })
}

fn recipient(suite: &mut ScepSuite<'_>) -> Checked {
    let trial = suite.first()?;
    if trial.answer.status() != Some(PkiStatus::Success) {
        return Err(Remark::skipped(format_args!("the first request was not granted: {}", trial.answer)));
    }
    opened(&trial).map(drop)
}

fn algorithms(suite: &mut ScepSuite<'_>) -> Checked {
    let granted = suite.granted()?;
    let rep = granted.trial.answer.cert_rep()?;
    let envelope = rep.verified.envelope().map_err(Remark::failed)?;
    let is_aes = matches!(
        envelope.cipher,
        ContentCipher::Aes128Cbc | ContentCipher::Aes192Cbc | ContentCipher::Aes256Cbc
    );
    ensure(is_aes, || format!("encrypted with {}", envelope.cipher))?;
    ensure(rep.verified.digest() != DigestAlgorithm::Sha1, || "signed with SHA-1".to_owned())
}

fn answer_content(suite: &mut ScepSuite<'_>) -> Checked {
    let granted = suite.granted()?;
    let rep = granted.trial.answer.cert_rep()?;
    let envelope = rep.verified.envelope().map_err(Remark::failed)?;
    let applicant = &granted.trial.applicant;
    let for_us = envelope.recipient_for(&applicant.certificate);
    let for_us = for_us.ok_or_else(|| Remark::failed("encrypted to somebody else"))?;
    let decrypter = applicant.key.decrypter().ok_or_else(|| Remark::failed("our key cannot decrypt"))?;
    let key = decrypter.decrypt(for_us.transport, &for_us.encrypted_key).map_err(Remark::failed)?;
    let content = envelope.open(&key).map_err(Remark::failed)?;
    let der = normalise(content.expose()).map_err(Remark::failed)?;
    is_degenerate(&SignedData::read(&der).map_err(Remark::failed)?)
}

fn leaf(suite: &mut ScepSuite<'_>) -> Checked {
    let trial = suite.first()?;
    let content = opened(&trial).map_err(|_| Remark::skipped("the first request's answer does not open"))?;
    let first = content.certificates.first();
    let first = first.ok_or_else(|| Remark::failed("SUCCESS carries no certificate"))?;
    let is_ours = |certificate: &Certificate| certificate.public_key() == trial.applicant.key.public_key();
    ensure(content.certificates.iter().any(is_ours), || "no certificate in it is for our key".to_owned())?;
    let ca = suite.known_ca()?;
    let issued = content.certificates.iter().find(|certificate| is_ours(certificate)).unwrap_or(first);
    let by_them = ca.certificates.all.iter().any(|ca| issued.is_signed_by(ca).is_ok());
    ensure(by_them, || {
        format!("no certificate of GetCACert verifies it; its issuer is \"{}\"", issued.issuer())
    })?;
    ensure(issued.validity().contains(suite.now()), || {
        let Validity { not_before, not_after } = issued.validity();
        format!("it is not valid now, but from {not_before} to {not_after}")
    })?;
    if is_ours(first) {
        return Ok(());
    }
    Err(Remark::warning("another certificate comes first; Apple's clients take the first"))
}

fn subject(suite: &mut ScepSuite<'_>) -> Checked {
    let Granted { trial, certificate } = suite.granted()?;
    let (asked, got) = (&trial.applicant.subject, certificate.subject());
    if asked.matches(got) {
        return Ok(());
    }
    Err(Remark::warning(format_args!("asked for \"{asked}\", got \"{got}\": the server decides names")))
}

fn repeat(suite: &mut ScepSuite<'_>) -> Checked {
    let Granted { trial, certificate } = suite.granted()?;
    let again = suite.trial(&trial.applicant, trial.message.clone(), trial.nonce)?;
    same_certificate(&again, &certificate)
}

fn same_certificate(again: &Trial, certificate: &Certificate) -> Checked {
    let content = opened(again).map_err(|_| {
        Remark::failed(format_args!(
            "{}: a device whose answer got lost cannot get its certificate",
            again.answer
        ))
    })?;
    if content.certificates.iter().any(|got| got.as_der() == certificate.as_der()) {
        return Ok(());
    }
    Err(Remark::warning("another certificate was issued: a lost answer leaves a certificate that nobody has"))
}

fn get_encoded(suite: &mut ScepSuite<'_>) -> Checked {
    by_get(suite, |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string())
}

/// As iOS, and as clients that break the line after 64 characters, send it.
fn get_raw(suite: &mut ScepSuite<'_>) -> Checked {
    by_get(suite, |text| text.to_owned() + "%0A")
}

/// CertPoll of the first transaction, or its repetition, by GET.
fn by_get(suite: &mut ScepSuite<'_>, encode: impl FnOnce(&str) -> String) -> Checked {
    let trial = suite.first()?;
    let usual = Answer::read(&suite.post(&trial.message)?);
    let response = suite.get(&trial.message, encode)?;
    let answer = Answer::read(&response);
    answer.cert_rep()?;
    ensure(answer.status() == usual.status(), || format!("by GET {answer}, by POST {usual}"))
}

fn unknown_poll(suite: &mut ScepSuite<'_>) -> Checked {
    let ca = suite.known_ca()?;
    let applicant = Rc::new(suite.applicant(None)?);
    let issuer = ca.certificates.issuer.subject().clone();
    let payload = IssuerAndSubject { issuer, subject: applicant.subject.clone() };
    let envelope = suite.usual_envelope(&payload.to_der().map_err(cannot_make)?)?;
    let answer = suite.try_content(&applicant, "20", &envelope)?;
    suite.refused(&answer, &[FailInfo::BadCertId, FailInfo::BadRequest])
}

/// Asks for something by issuer and serial number, as the holder of the certificate that was issued.
fn fetch(suite: &mut ScepSuite<'_>, kind: &str, serial: &SerialNumber) -> Checked<(Granted, Trial)> {
    let granted = suite.granted()?;
    let issuer = granted.certificate.issuer().clone();
    let payload = IssuerAndSerialNumber { issuer, serial: serial.clone() };
    let envelope = suite.usual_envelope(&payload.to_der().map_err(cannot_make)?)?;
    let applicant = &granted.trial.applicant;
    let transaction = suite.fresh_transaction()?;
    let draft = Draft {
        message_type: kind,
        transaction: &transaction,
        nonce: suite.random.bytes(),
        digest: DigestAlgorithm::Sha256,
    };
    let message = draft.sign(applicant.requester(), &envelope)?;
    let answer = Answer::read(&suite.post(&message)?);
    let trial = Trial { applicant: Rc::clone(applicant), message, nonce: draft.nonce, answer };
    Ok((granted, trial))
}

/// RFC 8894 §2.9: GetCert and GetCRL are optional.
fn not_offered(answer: &Answer) -> Remark {
    Remark::not_applicable(format_args!("the server does not seem to offer it: {answer}"))
}

fn get_cert(suite: &mut ScepSuite<'_>) -> Checked {
    let serial = suite.granted()?.certificate.serial().clone();
    let (granted, trial) = fetch(suite, "21", &serial)?;
    if trial.answer.status() != Some(PkiStatus::Success) {
        return Err(not_offered(&trial.answer));
    }
    let content = opened(&trial)?;
    ensure(content.certificates.contains(&granted.certificate), || {
        "SUCCESS without the certificate that was asked for".to_owned()
    })
}

fn get_cert_unknown(suite: &mut ScepSuite<'_>) -> Checked {
    let serial = SerialNumber::from_random(suite.random.bytes());
    let (_, trial) = fetch(suite, "21", &serial)?;
    trial.answer.expect_refusal(&[FailInfo::BadCertId])
}

fn get_crl(suite: &mut ScepSuite<'_>) -> Checked {
    let serial = suite.granted()?.certificate.serial().clone();
    let (granted, trial) = fetch(suite, "22", &serial)?;
    if trial.answer.status() != Some(PkiStatus::Success) {
        return Err(not_offered(&trial.answer));
    }
    let content = opened(&trial)?;
    let crl = content.crls.first().ok_or_else(|| Remark::failed("SUCCESS without a CRL"))?;
    let ca = suite.known_ca()?;
    ensure(crl.issuer().matches(granted.certificate.issuer()), || format!("a CRL of \"{}\"", crl.issuer()))?;
    let signed = ca.certificates.all.iter().any(|ca| crl.verify(ca).is_ok());
    ensure(signed, || "no certificate of GetCACert verifies the CRL".to_owned())?;
    let now = suite.now();
    ensure(crl.next_update().is_none_or(|next| next > now), || "the CRL is out of date".to_owned())?;
    ensure(crl.entries().iter().all(|entry| entry.serial != serial), || {
        "the CRL lists the certificate that was just issued".to_owned()
    })
}

/// Whoever holds the certificate that was issued.
fn holder(granted: &Granted) -> Requester<'_> {
    Requester { key: &granted.trial.applicant.key, certificate: &granted.certificate }
}

/// RenewalReq for `csr`, signed by the certificate that was issued.
fn renew(
    suite: &mut ScepSuite<'_>,
    granted: &Granted,
    transaction: &TransactionId,
    csr: &[u8],
) -> Checked<Answer> {
    let envelope = suite.usual_envelope(csr)?;
    let nonce = suite.random.bytes();
    let draft = Draft { message_type: "17", transaction, nonce, digest: DigestAlgorithm::Sha256 };
    let message = draft.sign(holder(granted), &envelope)?;
    Ok(Answer::read(&suite.post(&message)?))
}

fn forged_renewal(suite: &mut ScepSuite<'_>) -> Checked {
    let offered = suite.offers("Renewal");
    let granted = suite.granted()?;
    if !offered {
        return Err(Remark::not_applicable("GetCACaps does not offer Renewal"));
    }
    let next = suite.applicant(None)?;
    let mut csr = craft::csr(&next.key, granted.certificate.subject(), None)?;
    if let Some(last) = csr.last_mut() {
        *last ^= 1;
    }
    let answer = renew(suite, &granted, &next.transaction, &csr)?;
    suite.refused(&answer, &[FailInfo::BadRequest, FailInfo::BadMessageCheck])
}

/// RFC 8894 §5.1: the recipient of the envelope says which CA is meant.
fn rollover(suite: &mut ScepSuite<'_>) -> Checked {
    let next = next_certificates(suite)?;
    suite.challenge_lasts()?;
    let applicant = Rc::new(suite.applicant(suite.options.challenge.clone().as_ref())?);
    let (cipher, transport) = (ContentCipher::Aes128Cbc, KeyTransport::Pkcs1);
    let envelope = craft::envelope(suite.random, &next.recipient, &applicant.csr, cipher, transport)?;
    let (message, nonce) = suite.sign(&applicant, "19", &envelope)?;
    let trial = suite.trial(&applicant, message, nonce)?;
    let content = opened(&trial)?;
    let by_next =
        content.certificates.iter().any(|issued| next.all.iter().any(|ca| issued.is_signed_by(ca).is_ok()));
    ensure(by_next, || "the certificate is not the next CA's".to_owned())
}

fn get_crl_unknown(suite: &mut ScepSuite<'_>) -> Checked {
    let stranger = suite.stranger()?;
    let asked = IssuerAndSerialNumber {
        issuer: stranger.certificate.subject().clone(),
        serial: stranger.certificate.serial().clone(),
    };
    let envelope = suite.usual_envelope(&asked.to_der().map_err(cannot_make)?)?;
    let answer = suite.try_content(&stranger, "22", &envelope)?;
    suite.refused(&answer, &[FailInfo::BadCertId])
}

fn status_source(suite: &mut ScepSuite<'_>) -> Checked {
    let certificate = suite.granted()?.certificate;
    if !certificate.crl_urls().is_empty() || !certificate.ocsp_urls().is_empty() {
        return Ok(());
    }
    let serial = certificate.serial().clone();
    let (_, trial) = fetch(suite, "22", &serial)?;
    let has_crl = opened(&trial).is_ok_and(|content| !content.crls.is_empty());
    ensure(has_crl, || {
        "no CRL, no responder: whoever relies on the certificate cannot know that it was revoked".to_owned()
    })
}

fn pending(suite: &mut ScepSuite<'_>) -> Checked {
    let (trial, rep) = first_rep(suite)?;
    if rep.reply.status != PkiStatus::Pending {
        return Err(Remark::not_applicable(format_args!("no operator decides: {}", trial.answer)));
    }
    ensure(rep.verified.envelope().is_err(), || "PENDING with an envelope".to_owned())?;
    ensure(rep.reply.fail_info.is_none(), || "PENDING with failInfo".to_owned())
}

fn payload(suite: &mut ScepSuite<'_>) -> Checked {
    let ca = suite.known_ca()?;
    let stranger = suite.stranger()?;
    let issuer = ca.certificates.issuer.subject().clone();
    let payload = IssuerAndSubject { issuer, subject: stranger.subject.clone() };
    let envelope = suite.usual_envelope(&payload.to_der().map_err(cannot_make)?)?;
    let answer = suite.try_content(&stranger, "19", &envelope)?;
    suite.refused(&answer, &[FailInfo::BadRequest])
}

fn other_subject(suite: &mut ScepSuite<'_>) -> Checked {
    suite.challenge_lasts()?;
    let applicant = suite.applicant(suite.options.challenge.clone().as_ref())?;
    let uuid = format!("CN={}", hex::encode(suite.random.bytes::<16>())).parse().map_err(cannot_make)?;
    let certificate =
        applicant.key.self_signed(&uuid, suite.random.bytes(), suite.now()).map_err(cannot_make)?;
    let applicant = Rc::new(Applicant { certificate, ..applicant });
    let (message, nonce) = suite.usual_message(&applicant, "19")?;
    let trial = suite.trial(&applicant, message, nonce)?;
    ensure(trial.answer.status() == Some(PkiStatus::Success), || trial.answer.to_string())
}

fn renewal(suite: &mut ScepSuite<'_>) -> Checked {
    let offered = suite.offers("Renewal");
    let granted = suite.granted()?;
    if !offered {
        return Err(Remark::not_applicable("GetCACaps does not offer Renewal"));
    }
    let next = suite.applicant(None)?;
    let csr = craft::csr(&next.key, granted.certificate.subject(), None)?;
    let answer = renew(suite, &granted, &next.transaction, &csr)?;
    let requester = holder(&granted);
    let rep = answer.cert_rep()?;
    if rep.reply.status != PkiStatus::Success {
        return Err(Remark::warning(format_args!(
            "{answer}: many servers renew near the end of validity alone"
        )));
    }
    let opened = crate::app::client::scep::open(requester, &rep.verified);
    let content = opened
        .map_err(|error| Remark::failed(format_args!("the answer must open with the old key: {error}")))?;
    suite.note_issued(&content);
    ensure(content.certificates.iter().any(|got| got.public_key() == next.key.public_key()), || {
        "SUCCESS without a certificate for the new key".to_owned()
    })
}
