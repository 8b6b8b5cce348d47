//! Messages that were changed on the way, are broken, or never were messages; and what may not be told apart (RFC 8894 §3.2, §7; bad input).

use std::collections::BTreeMap;

use super::{
    ScepSuite,
    answer::Answer,
    craft::{self, changed, flip},
    discovery::client_error,
};
use crate::{
    app::{
        client::{
            http::HttpError,
            tree::{Node, place, set},
        },
        conformance::{
            Check, Checked,
            Level::{Must, Should},
            Remark, check, ensure,
        },
    },
    types::{ContentCipher, KeyTransport},
    wire::scep::{FailInfo, PkiStatus},
};

/// More than any SCEP message has; every server has a limit below it.
const OVERSIZE: usize = 4 * 1024 * 1024;

/// 1.2.840.113549.2.5.
const MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05];

/// 1.3.6.1.4.1.99999.1: nobody's.
const UNKNOWN: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x01];

pub(super) fn checks<'a>() -> Vec<Check<ScepSuite<'a>>> {
    vec![
        check("8894-3.2.1.4-signature", Must, "a wrong signature is refused with badMessageCheck", signature),
        check("8894-3.2.1.4-content", Must, "changed content is refused with badMessageCheck", content),
        check(
            "8894-2.3-no-certificate",
            Must,
            "a message without its signer's certificate is refused",
            no_certificate,
        ),
        check("8894-3.2.1.2-unknown-type", Must, "an unknown messageType is refused", unknown_type),
        check("8894-3.2.1.2-certrep", Must, "CertRep as a request is refused", certrep_request),
        check("8894-2.9-md5", Must, "a message with MD5 is refused", md5),
        check(
            "8894-3.2.1.4-unknown-digest",
            Should,
            "an unknown digest is refused with badAlg",
            unknown_digest,
        ),
        check(
            "8894-3.2.1.4-unknown-cipher",
            Should,
            "an unknown cipher is refused with badAlg",
            unknown_cipher,
        ),
        check(
            "8894-3.2.2-recipient-other",
            Must,
            "an envelope for somebody else is refused",
            wrong_recipient,
        ),
        check(
            "8894-7-oracle",
            Must,
            "envelopes that are broken in different ways get one answer (a padding oracle otherwise; times are not measured)",
            oracle,
        ),
        check("8894-4.3-empty", Should, "an empty body is an HTTP error of the client", |suite| {
            body(suite, &[])
        }),
        check("8894-4.3-garbage", Should, "a body that is no CMS is an HTTP error of the client", |suite| {
            body(suite, b"certgate conformance: this is no pkiMessage")
        }),
        check(
            "8894-4.3-truncated",
            Should,
            "a message that was cut off is an HTTP error of the client",
            truncated,
        ),
        check(
            "8894-4.3-nested",
            Should,
            "ten thousand nested SEQUENCEs are an HTTP error of the client",
            |suite| body(suite, &[0x30, 0x80].repeat(10_000)),
        ),
        check("8894-4.3-oversize", Should, "a body of 4 MiB is refused", oversize),
        check(
            "8894-4.1-no-message",
            Should,
            "PKIOperation by GET without a message is an HTTP error of the client",
            no_message,
        ),
        check(
            "8894-4.1-no-base64",
            Should,
            "PKIOperation by GET with what is no base64 is an HTTP error of the client",
            no_base64,
        ),
        check("8894-4.1-alive", Must, "after all this, GetCACaps is answered as before", alive),
    ]
}

/// A good message of a stranger with a change made to it, sent.
fn try_changed(suite: &mut ScepSuite<'_>, change: impl FnOnce(&mut Node) -> Option<()>) -> Checked<Answer> {
    let stranger = suite.stranger()?;
    let (message, nonce) = suite.usual_message(&stranger, "19")?;
    Ok(suite.trial(&stranger, changed(&message, change)?, nonce)?.answer.clone())
}

/// [`ScepSuite::refused`], of what the server cannot have verified or read: no operator could decide on it either.
fn not_taken(suite: &mut ScepSuite<'_>, answer: &Answer, expected: &[FailInfo]) -> Checked {
    if answer.status() == Some(PkiStatus::Pending) {
        return Err(Remark::failed("the server took it for an operator to decide (PENDING)"));
    }
    suite.refused(answer, expected)
}

fn signature(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_changed(suite, |tree| flip(tree, place::SIGNATURE, 1))?;
    not_taken(suite, &answer, &[FailInfo::BadMessageCheck])
}

/// The same request in another envelope: only messageDigest tells that it is not what was signed.
fn content(suite: &mut ScepSuite<'_>) -> Checked {
    let stranger = suite.stranger()?;
    let other = suite.usual_envelope(&stranger.csr)?;
    let answer = try_changed(suite, |tree| set(tree, place::CONTENT, &other))?;
    not_taken(suite, &answer, &[FailInfo::BadMessageCheck])
}

fn no_certificate(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_changed(suite, |tree| {
        let members = tree.at(place::SIGNED_DATA)?.members()?;
        (members.len() > place::CERTIFICATES).then(|| drop(members.remove(place::CERTIFICATES)))
    })?;
    not_taken(suite, &answer, &[FailInfo::BadMessageCheck, FailInfo::BadRequest])
}

fn try_type(suite: &mut ScepSuite<'_>, kind: &str) -> Checked {
    let stranger = suite.stranger()?;
    let envelope = suite.usual_envelope(&stranger.csr)?;
    let answer = suite.try_content(&stranger, kind, &envelope)?;
    suite.refused(&answer, &[FailInfo::BadRequest])
}

fn unknown_type(suite: &mut ScepSuite<'_>) -> Checked {
    try_type(suite, "99")
}

fn certrep_request(suite: &mut ScepSuite<'_>) -> Checked {
    try_type(suite, "3")
}

/// The signature is no longer right under MD5 either: a server that would take MD5 says badMessageCheck.
fn md5(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_changed(suite, |tree| set(tree, place::DIGEST_OID, MD5))?;
    not_taken(suite, &answer, &[FailInfo::BadAlg])
}

fn unknown_digest(suite: &mut ScepSuite<'_>) -> Checked {
    let answer = try_changed(suite, |tree| set(tree, place::DIGEST_OID, UNKNOWN))?;
    not_taken(suite, &answer, &[FailInfo::BadAlg])
}

fn unknown_cipher(suite: &mut ScepSuite<'_>) -> Checked {
    let stranger = suite.stranger()?;
    let envelope = suite.usual_envelope(&stranger.csr)?;
    let envelope = changed(&envelope, |tree| set(tree, place::CIPHER_OID, UNKNOWN))?;
    let answer = suite.try_content(&stranger, "19", &envelope)?;
    not_taken(suite, &answer, &[FailInfo::BadAlg])
}

fn wrong_recipient(suite: &mut ScepSuite<'_>) -> Checked {
    let stranger = suite.stranger()?;
    let (cipher, transport) = (ContentCipher::Aes128Cbc, KeyTransport::Pkcs1);
    let envelope = craft::envelope(suite.random, &stranger.certificate, &stranger.csr, cipher, transport)?;
    let refused = [FailInfo::BadRequest, FailInfo::BadMessageCheck, FailInfo::BadCertId];
    let answer = suite.try_content(&stranger, "19", &envelope)?;
    not_taken(suite, &answer, &refused)
}

/// Envelopes that do not open, or open to nonsense, each in its way. Bleichenbacher's attack needs to tell the first two apart, Vaudenay's the
/// last three.
fn broken_envelopes(suite: &mut ScepSuite<'_>) -> Checked<Vec<(&'static str, Vec<u8>)>> {
    let stranger = suite.stranger()?;
    let ca = suite.known_ca()?;
    let recipient = ca.certificates.recipient.public_key();
    let good = suite.usual_envelope(&stranger.csr)?;
    let mut random_key = vec![0; wrapped_key_len(&good)?];
    suite.random.fill(&mut random_key);
    // Below any modulus of this length.
    if let Some(first) = random_key.first_mut() {
        *first = 0;
    }
    let short = suite.random.bytes::<5>();
    let short_key = recipient.encrypt(KeyTransport::Pkcs1, &short).map_err(craft::cannot_make)?;
    // Of the last block but one: CBC carries the change into the last octet of the padding, which is then above the length of a block.
    let padding = changed(&good, |tree| flip(tree, place::CIPHERTEXT, 17))?;
    let inner = changed(&good, |tree| {
        let ciphertext = tree.at(place::CIPHERTEXT)?.content()?;
        *ciphertext.get_mut(2)? ^= 0x40;
        Some(())
    })?;
    Ok(vec![
        ("PKCS#1 padding", changed(&good, |tree| set(tree, place::ENCRYPTED_KEY, &random_key))?),
        ("length of the content key", changed(&good, |tree| set(tree, place::ENCRYPTED_KEY, &short_key))?),
        ("CBC padding", padding),
        ("content that is garbled", inner),
        ("content that is no request", suite.usual_envelope(b"certgate conformance")?),
    ])
}

fn wrapped_key_len(envelope: &[u8]) -> Checked<usize> {
    let mut length = 0;
    changed(envelope, |tree| {
        length = tree.at(place::ENCRYPTED_KEY)?.content()?.len();
        Some(())
    })?;
    Ok(length)
}

fn oracle(suite: &mut ScepSuite<'_>) -> Checked {
    let stranger = suite.stranger()?;
    if !suite.talks()? {
        return Err(Remark::skipped("no message gets a CertRep, so that all are answered in one way"));
    }
    let broken = broken_envelopes(suite)?;
    let mut answers = Vec::new();
    // One of them comes twice: words that differ then (a time, a number in a log) tell nothing of an envelope.
    for (defect, envelope) in broken.iter().chain(broken.last()) {
        answers.push((*defect, suite.try_content(&stranger, "19", envelope)?));
    }
    let repeated = answers.pop().map(|(_, answer)| answer.observable());
    let is_steady = answers.last().map(|(_, answer)| answer.observable()) == repeated;
    let visible = if is_steady { Answer::observable } else { Answer::kind };
    let mut told = BTreeMap::<String, Vec<&str>>::new();
    for (defect, answer) in &answers {
        told.entry(visible(answer)).or_default().push(defect);
    }
    let described: Vec<_> =
        told.iter().map(|(answer, defects)| format!("{}: {answer}", defects.join(", "))).collect();
    ensure(told.len() == 1, || {
        format!(
            "who sends changed copies of a recorded message can learn what is in it; {}",
            described.join("; ")
        )
    })
}

fn body(suite: &mut ScepSuite<'_>, body: &[u8]) -> Checked {
    let response = suite.post(body)?;
    match Answer::read(&response) {
        answer @ Answer::CertRep(_) => answer.expect_refusal(&[]),
        _ => client_error(&response),
    }
}

fn truncated(suite: &mut ScepSuite<'_>) -> Checked {
    let stranger = suite.stranger()?;
    let (message, _) = suite.usual_message(&stranger, "19")?;
    body(suite, message.get(..message.len() / 2).unwrap_or_default())
}

/// A server may hang up before it has read all of it.
fn oversize(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.operation("PKIOperation");
    let sent = vec![0x30; OVERSIZE];
    match suite.line.attempt(|http| http.post(&url, super::PKI_MESSAGE, sent)) {
        Ok(response) => client_error(&response),
        Err(HttpError::Broken { .. }) => Ok(()),
        Err(error) => Err(Remark::failed(error)),
    }
}

fn no_message(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.operation("PKIOperation");
    client_error(&suite.line.exchange(|http| http.get(&url))?)
}

fn no_base64(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.operation("PKIOperation") + "&message=%21%21%21";
    client_error(&suite.line.exchange(|http| http.get(&url))?)
}

fn alive(suite: &mut ScepSuite<'_>) -> Checked {
    let url = suite.discovery("GetCACaps");
    let response = suite.line.exchange(|http| http.get(&url))?;
    let before = suite.capabilities()?;
    ensure(response.status == before.0.status && response.body == before.0.body, || {
        format!("HTTP {}, another answer than at first", response.status.as_u16())
    })
}
