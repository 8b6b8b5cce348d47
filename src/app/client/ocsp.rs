//! The OCSP client (RFC 6960): asks for one certificate and believes only an answer that proves itself.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    error::{ClientError, Fault},
    http::HttpClient,
};
use crate::{
    app::failure::Failure,
    types::{DigestAlgorithm, SerialNumber, Timestamp},
    wire::{
        ocsp::{BasicResponse, CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};

/// Clocks of client and responder may differ by this much.
const SKEW: Duration = Duration::from_secs(300);

/// How to ask.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The responder.
    pub url: &'a str,
    /// Who issued the certificate.
    pub issuer: &'a Certificate,
    /// Which certificate.
    pub serial: &'a SerialNumber,
    /// Responders that are believed whoever issued their certificates (RFC 6960 §2.2).
    pub trusted: &'a [Certificate],
    /// The hash of the CertID: SHA-1 is what RFC 9919 §3.1.1 and most responders know.
    pub hash: DigestAlgorithm,
    /// 1 to 128 random bytes, to be echoed (RFC 9654); none allows cached answers.
    pub nonce: Option<Vec<u8>>,
    /// GET instead of POST (RFC 6960 A.1).
    pub get: bool,
}

/// What a verified answer says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Good, revoked or unknown.
    pub status: CertStatus,
    /// When the status was known to be right.
    pub this_update: Timestamp,
    /// When newer information will be there.
    pub next_update: Option<Timestamp>,
    /// When it was signed.
    pub produced_at: Timestamp,
    /// When the key was probably lost, of a revoked one (RFC 5280 §5.3.2).
    pub invalidity_date: Option<Timestamp>,
    /// Since when the responder keeps the status of certificates that have expired (RFC 6960 §4.4.4).
    pub archive_cutoff: Option<Timestamp>,
    /// The subject of the delegate that signed, or of the issuer.
    pub signed_by: String,
}

/// Asks, and checks the answer: signature, delegate, times, nonce, and that it speaks of this certificate.
pub fn ask(http: &HttpClient, question: &Question<'_>, now: Timestamp) -> Result<Answer, ClientError> {
    let cert_id = CertId::new(question.hash, question.issuer, question.serial).map_err(Failure::error)?;
    let request = OcspRequest::new(vec![cert_id.clone()], question.nonce.as_deref());
    let basic = match exchange(http, question, request.to_der().map_err(Failure::error)?)? {
        OcspResponse::Successful(basic) => basic,
        OcspResponse::Error(status) => return Err(ClientError::Responder(status)),
    };
    if request.nonce.is_some() && basic.nonce != request.nonce {
        return Err(ClientError::wrong(
            Fault::Nonce,
            "the answer does not repeat our nonce: it may be an old one (RFC 9654 section 2.1)",
        ));
    }
    let signed_by = check_signature(&basic, question, now)?;
    let single = basic
        .responses
        .iter()
        .find(|single| single.cert_id == cert_id)
        .ok_or_else(|| ClientError::wrong(Fault::Subject, "the answer speaks of another certificate"))?;
    check_times(single.this_update, single.next_update, now)?;
    Ok(Answer {
        status: single.status,
        this_update: single.this_update,
        next_update: single.next_update,
        produced_at: basic.produced_at,
        invalidity_date: single.invalidity_date,
        archive_cutoff: single.archive_cutoff,
        signed_by,
    })
}

fn exchange(
    http: &HttpClient,
    question: &Question<'_>,
    request: Vec<u8>,
) -> Result<OcspResponse, ClientError> {
    let response = if question.get {
        let text = BASE64_STANDARD.encode(request);
        let path = utf8_percent_encode(&text, NON_ALPHANUMERIC);
        http.get(&format!("{}/{path}", question.url.trim_end_matches('/')))?
    } else {
        http.post(question.url, "application/ocsp-request", request)?
    };
    if !response.status.is_success() {
        return Err(ClientError::status(question.url, &response));
    }
    OcspResponse::from_der(&response.body)
        .map_err(ClientError::unreadable("the responder's answer", &response))
}

/// RFC 6960 §4.2.2.2: one that is trusted by configuration, the issuer itself, or a delegate of it, valid now. Gives its name.
fn check_signature(
    basic: &BasicResponse,
    question: &Question<'_>,
    now: Timestamp,
) -> Result<String, ClientError> {
    if let Some(trusted) = question.trusted.iter().find(|trusted| basic.is_signed_by(trusted)) {
        return valid_now(trusted, now);
    }
    let issuer = question.issuer;
    let key = basic.verify(issuer).map_err(|_| {
        ClientError::wrong(
            Fault::Signer,
            "the answer is signed neither by the issuer nor by a delegate of the issuer, nor by a responder that is trusted",
        )
    })?;
    if key == *issuer.public_key() {
        return Ok(issuer.subject().to_string());
    }
    let delegate = basic.certificates.iter().find(|certificate| *certificate.public_key() == key);
    let unnamed = "the answer does not carry its signer's certificate";
    valid_now(delegate.ok_or_else(|| ClientError::wrong(Fault::Signer, unnamed))?, now)
}

fn valid_now(signer: &Certificate, now: Timestamp) -> Result<String, ClientError> {
    let validity = signer.validity();
    if validity.contains(now) {
        return Ok(signer.subject().to_string());
    }
    let (from, to) = (validity.not_before, validity.not_after);
    Err(ClientError::wrong(
        Fault::Signer,
        format_args!("the answer's signer was valid from {from} to {to} only"),
    ))
}

/// RFC 6960 §3.2 (5) and (6), RFC 5280 §6.3.3.
pub(super) fn check_times(
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), ClientError> {
    if this_update > now.plus(SKEW) {
        return Err(ClientError::wrong(
            Fault::Time,
            format_args!("the answer is from the future: thisUpdate {this_update}"),
        ));
    }
    match next_update {
        Some(next_update) if next_update.plus(SKEW) < now => Err(ClientError::wrong(
            Fault::Time,
            format_args!("the answer is out of date: nextUpdate {next_update}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::client::key::ClientKey,
        types::KeyAlgorithm,
        wire::ocsp::{ResponseSpec, SingleResponse},
    };

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn issuer() -> (ClientKey, Certificate) {
        let key = ClientKey::generate(KeyAlgorithm::Rsa2048).unwrap();
        let certificate = key.self_signed(&"CN=Test CA".parse().unwrap(), [1; 16], NOW).unwrap();
        (key, certificate)
    }

    fn single(issuer: &Certificate, this_update: Timestamp, next_update: Timestamp) -> SingleResponse {
        SingleResponse {
            cert_id: CertId::new(DigestAlgorithm::Sha1, issuer, issuer.serial()).unwrap(),
            status: CertStatus::Good,
            this_update,
            next_update: Some(next_update),
            archive_cutoff: None,
            invalidity_date: None,
        }
    }

    #[test]
    fn an_answer_by_a_stranger_is_not_believed() {
        let ((key, ours), (_, stranger)) = (issuer(), issuer());
        let responses = [single(&ours, NOW, NOW)];
        let spec = ResponseSpec { responder: &ours, produced_at: NOW, responses: &responses, nonce: None };
        let der = key.finish(spec.unsigned(key.signature_algorithm()).unwrap()).unwrap();
        let OcspResponse::Successful(basic) = OcspResponse::from_der(&der).unwrap() else {
            panic!("an error")
        };
        let check = |issuer, trusted| {
            let (url, serial, hash) = ("", ours.serial(), DigestAlgorithm::Sha1);
            let question = Question { url, issuer, serial, trusted, hash, nonce: None, get: false };
            check_signature(&basic, &question, NOW)
        };
        assert_eq!(check(&ours, &[]).unwrap(), "CN=Test CA");
        assert!(check(&stranger, &[]).is_err());
        assert!(check(&stranger, std::slice::from_ref(&stranger)).is_err());
        // Unless somebody says so.
        assert_eq!(check(&stranger, std::slice::from_ref(&ours)).unwrap(), "CN=Test CA");
    }

    #[test]
    fn stale_and_future_answers_are_not_believed() {
        let hour = Duration::from_secs(3600);
        let check = |this_update, next_update| check_times(this_update, Some(next_update), NOW);
        assert!(check(NOW, NOW.plus(hour)).is_ok());
        assert!(check(NOW.minus(hour), NOW.minus(hour)).is_err());
        assert!(check(NOW.plus(hour), NOW.plus(2 * hour)).is_err());
    }
}
