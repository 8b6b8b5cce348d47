//! Messages as a transcript shows them: readable, without what is encrypted, without the challenge.
//!
//! The envelope is left out though it is encrypted: whoever copies the store may have, or get, the message key, and the challenge is
//! in it.

use crate::{
    domain::exchange::{Ending, Transcript},
    types::CertificateId,
    wire::{
        csr::ProvenCsr,
        scep::{Envelope, RecipientId, VerifiedPki},
    },
};

/// The outside of a pkiMessage (RFC 8894 §3.2).
pub(super) fn message(transcript: &mut Transcript, verified: &VerifiedPki) {
    let (message, signer) = (verified.message(), verified.signer());
    let kind = match message.message_type() {
        Some(kind) => format!("{} ({kind:?})", message.message_type_text().unwrap_or_default()),
        None => message.message_type_text().unwrap_or("none").to_owned(),
    };
    transcript.asked("messageType", kind);
    transcript.asked("transactionID", message.transaction_id().as_str());
    transcript.asked("senderNonce", hex::encode(message.sender_nonce()));
    transcript.asked("digestAlgorithm", verified.digest().to_string());
    if let Some(at) = verified.signing_time() {
        transcript.asked("signingTime", at.to_string());
    }
    transcript.asked("signer subject", signer.subject().to_string());
    transcript.asked("signer issuer", signer.issuer().to_string());
    transcript.asked("signer serialNumber", signer.serial().to_string());
    transcript.asked("signer key", signer.public_key().kind().to_string());
    let validity = signer.validity();
    transcript.asked("signer validity", format!("{} to {}", validity.not_before, validity.not_after));
}

/// The outside of an EnvelopedData (RFC 5652 §6).
pub(super) fn envelope(transcript: &mut Transcript, envelope: &Envelope) {
    for recipient in &envelope.recipients {
        let id = match &recipient.id {
            RecipientId::IssuerAndSerial { issuer, serial } => format!("serialNumber {serial} of {issuer}"),
            RecipientId::SubjectKeyIdentifier(id) => format!("subjectKeyIdentifier {}", hex::encode(id)),
        };
        transcript.asked("recipient", id);
        transcript.asked("keyEncryptionAlgorithm", format!("{:?}", recipient.transport));
    }
    transcript.asked("contentEncryptionAlgorithm", envelope.cipher.to_string());
    transcript.asked("encryptedContent", "not kept");
}

/// A certification request (RFC 2986) without its challenge.
pub(in crate::service) fn request(transcript: &mut Transcript, csr: &ProvenCsr) {
    transcript.asked("PKCS#10 subject", csr.subject().to_string());
    for name in csr.subject_alt_names() {
        transcript.asked("PKCS#10 subjectAltName", name.to_string());
    }
    transcript.asked("PKCS#10 key", csr.public_key().kind().to_string());
    transcript.asked("PKCS#10 key SHA-256", csr.public_key().fingerprint().to_string());
    transcript.asked("PKCS#10 signature", csr.signature_algorithm().digest().to_string());
    let challenge = if csr.challenge_password().is_some() { "sent, not kept" } else { "none" };
    transcript.asked("PKCS#10 challengePassword", challenge);
    let extensions: Vec<_> = csr.requested_extension_oids().iter().map(ToString::to_string).collect();
    if !extensions.is_empty() {
        transcript.asked("PKCS#10 extensionRequest", extensions.join(", "));
    }
}

/// A CertRep (RFC 8894 §3.3.2), or the HTTP status in place of one.
pub(super) fn answer(
    transcript: &mut Transcript,
    ending: Ending,
    fail_info_text: Option<&str>,
    certificate: Option<&CertificateId>,
) {
    transcript.answer.clear();
    match ending {
        Ending::Success => transcript.answered("pkiStatus", "0 (SUCCESS)"),
        Ending::Pending => transcript.answered("pkiStatus", "3 (PENDING)"),
        Ending::Refused(info) => {
            transcript.answered("pkiStatus", "2 (FAILURE)");
            transcript.answered("failInfo", format!("{} ({})", info.code(), info.as_str()));
        }
        Ending::Http(status) => transcript.answered("HTTP status", status.to_string()),
    }
    if let Some(text) = fail_info_text {
        transcript.answered("failInfoText", text);
    }
    if let Some(certificate) = certificate {
        transcript.answered("certificate", certificate.to_string());
    }
}
