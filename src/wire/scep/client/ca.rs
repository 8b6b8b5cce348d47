//! GetCACert (RFC 8894 §4.2) and GetNextCACert (§4.7): which of the certificates is for what.

use super::AnswerError;
use crate::{
    types::DigestAlgorithm,
    wire::{
        cms::signed::{Signature, SignedData, SignerInfo},
        der::normalise,
        scep::Degenerate,
        x509::{Certificate, KeyKind, KeyUsage},
    },
};

/// The certificates of GetCACert, each in its role.
#[derive(Clone, Debug)]
pub struct CaCertificates {
    /// All, in the order of the answer.
    pub all: Vec<Certificate>,
    /// Requests are encrypted to it.
    pub recipient: Certificate,
    /// The CA that will sign the device's certificate.
    pub issuer: Certificate,
}

impl CaCertificates {
    /// Sorts the certificates of an answer into their roles. Errors: none has an RSA key.
    pub fn new(all: Vec<Certificate>) -> Result<Self, AnswerError> {
        let recipient = pick_recipient(&all).cloned().ok_or_else(|| {
            AnswerError::Recipient(
                "GetCACert gave no RSA certificate that requests could be encrypted to".to_owned(),
            )
        })?;
        let issuer = pick_issuer(&all, &recipient).clone();
        Ok(Self { all, recipient, issuer })
    }

    /// The body of GetCACert's answer: one certificate, or a degenerate SignedData with several (RFC 8894 §4.2.1). It says itself which
    /// of the two it is: servers are known for odd media types, and some send PEM.
    pub fn read(body: &[u8]) -> Result<Self, AnswerError> {
        let one = Certificate::from_der(body).ok();
        let one = one.or_else(|| Certificate::from_pem(std::str::from_utf8(body).ok()?).ok());
        match one {
            Some(one) => Self::new(vec![one]),
            None => Self::new(bundle(body, "the answer to GetCACert")?),
        }
    }

    /// Whether one of them has this SHA-256 or SHA-1 fingerprint (hexadecimal, colons allowed).
    pub fn has_fingerprint(&self, fingerprint: &str) -> bool {
        let wanted: String =
            fingerprint.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect();
        self.all.iter().any(|certificate| {
            let der = certificate.as_der();
            [DigestAlgorithm::Sha256, DigestAlgorithm::Sha1]
                .iter()
                .any(|d| hex::encode(d.digest(der)) == wanted)
        })
    }

    /// Whether `certificate` is one of them, byte for byte.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.all.iter().any(|known| known.as_der() == certificate.as_der())
    }
}

/// The body of GetNextCACert's answer (RFC 8894 §4.7.1): the next CA's certificates, under a signature of the present CA, or of the RA that
/// its GetCACert names (the drafts before the RFC allowed for both, and certgate makes both).
pub fn next_ca(body: &[u8], present: &CaCertificates) -> Result<CaCertificates, AnswerError> {
    const WHAT: &str = "the answer to GetNextCACert";
    let der = normalise(body).map_err(AnswerError::unreadable(WHAT))?;
    let data = SignedData::read(&der).map_err(AnswerError::unreadable(WHAT))?;
    let known = |signer: &SignerInfo<'_>| present.all.iter().position(|it| signer.names(it));
    let signed_by = data.signers.iter().find_map(|signer| Some((signer, present.all.get(known(signer)?)?)));
    let (signer, signed_by) = signed_by.ok_or_else(|| {
        AnswerError::Signer(format!("{WHAT} is signed by none of the present CA certificates"))
    })?;
    let signature = Signature::of(&data, signer)
        .ok_or_else(|| AnswerError::Signature(format!("{WHAT} has no signed attributes")))?;
    signature
        .check(signed_by.public_key())
        .map_err(|_| AnswerError::Signature(format!("{WHAT} does not verify")))?;
    CaCertificates::new(bundle(signature.content().unwrap_or_default(), WHAT)?)
}

fn bundle(body: &[u8], what: &str) -> Result<Vec<Certificate>, AnswerError> {
    Ok(Degenerate::from_ber(body).map_err(AnswerError::unreadable(what))?.certificates)
}

/// The message certificate if there is one, else the CA's own: the rule of RFC 8894 §2.1.2 by key usage. Servers whose certificates lack
/// the usage (micromdm 2.1.0) are spoken to as every client does it: with any RSA key.
fn pick_recipient(all: &[Certificate]) -> Option<&Certificate> {
    let rsa = |certificate: &&Certificate| matches!(certificate.public_key().kind(), KeyKind::Rsa { .. });
    let enciphers = |certificate: &&Certificate| {
        certificate.key_usage().is_none_or(|usage| usage.contains(KeyUsage::KEY_ENCIPHERMENT))
    };
    let usable = || all.iter().filter(rsa).filter(enciphers);
    let message = usable().find(|certificate| !certificate.is_ca());
    message.or_else(|| usable().next()).or_else(|| all.iter().find(rsa))
}

/// The CA below which the message certificate stands, or which it is.
fn pick_issuer<'a>(all: &'a [Certificate], recipient: &'a Certificate) -> &'a Certificate {
    if recipient.is_ca() {
        return recipient;
    }
    all.iter()
        .find(|certificate| certificate.is_ca() && recipient.is_signed_by(certificate).is_ok())
        .unwrap_or(recipient)
}
