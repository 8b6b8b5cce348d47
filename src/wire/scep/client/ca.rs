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

    /// What the certificate with this SHA-256 or SHA-1 fingerprint (hexadecimal, colons allowed) vouches for: itself, what it or a CA below
    /// it signed, and the CAs above it. The others are left out: whoever stands between client and server can put any certificate beside
    /// the right one. None: no certificate has the fingerprint.
    ///
    /// Errors: requests would be encrypted to one that it does not vouch for.
    pub fn vouched_for_by(&self, fingerprint: &str) -> Option<Result<Self, AnswerError>> {
        let pinned: Vec<_> = self.all.iter().filter(|it| has_fingerprint(it, fingerprint)).collect();
        if pinned.is_empty() {
            return None;
        }
        let signed = |ca: &Certificate, it: &Certificate| ca.is_ca() && it.is_signed_by(ca).is_ok();
        let below = reached(&self.all, pinned.clone(), |from, it| signed(from, it));
        let above = reached(&self.all, pinned, |from, it| signed(it, from));
        if !below.contains(&&self.recipient) {
            let problem = format!(
                "requests would be encrypted to \"{}\", which neither has the fingerprint nor stands below the certificate that has it",
                self.recipient.subject()
            );
            return Some(Err(AnswerError::Recipient(problem)));
        }
        let is_known = |it: &&Certificate| below.contains(it) || above.contains(it);
        let all: Vec<_> = self.all.iter().filter(is_known).cloned().collect();
        let issuer = pick_issuer(&all, &self.recipient).clone();
        Some(Ok(Self { all, recipient: self.recipient.clone(), issuer }))
    }

    /// The last of the CAs above the issuer, or the issuer itself: it is still there when the issuer has a successor.
    pub fn top(&self) -> &Certificate {
        let above =
            reached(&self.all, vec![&self.issuer], |from, it| it.is_ca() && from.is_signed_by(it).is_ok());
        above.last().copied().unwrap_or(&self.issuer)
    }

    /// Whether `certificate` is one of them, byte for byte.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.all.iter().any(|known| known.as_der() == certificate.as_der())
    }
}

/// Whether this is its SHA-256 or SHA-1 fingerprint.
fn has_fingerprint(certificate: &Certificate, fingerprint: &str) -> bool {
    let digits = fingerprint.chars().filter(char::is_ascii_hexdigit);
    let wanted: String = digits.map(|digit| digit.to_ascii_lowercase()).collect();
    let is_by = |digest: DigestAlgorithm| hex::encode(digest.digest(certificate.as_der())) == wanted;
    [DigestAlgorithm::Sha256, DigestAlgorithm::Sha1].into_iter().any(is_by)
}

/// `from`, and whatever `leads` there, step by step.
fn reached<'a>(
    all: &'a [Certificate],
    from: Vec<&'a Certificate>,
    leads: impl Fn(&Certificate, &Certificate) -> bool,
) -> Vec<&'a Certificate> {
    let mut found = from;
    let mut looked_at = 0;
    while let Some(member) = found.get(looked_at).copied() {
        looked_at += 1;
        for other in all {
            if !found.contains(&other) && leads(member, other) {
                found.push(other);
            }
        }
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::x509::{
            CaConstraint, CertificateSpec,
            testing::{Authority, TestKey},
        },
    };

    /// A CA below another one.
    fn below(above: &Authority, name: &str) -> Authority {
        let key = TestKey::generate(KeyAlgorithm::P256);
        let spec = CertificateSpec {
            ca: Some(CaConstraint { path_len: None }),
            key_usage: KeyUsage::KEY_CERT_SIGN,
            ..above.spec_for(name, key.public_key())
        };
        Authority { certificate: above.key.issue(&spec), key }
    }

    /// A certificate for messages.
    fn message(ca: &Authority, name: &str) -> Certificate {
        let key = TestKey::generate(KeyAlgorithm::Rsa2048);
        let key_usage = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT);
        ca.key.issue(&CertificateSpec { key_usage, ..ca.spec_for(name, key.public_key()) })
    }

    /// Message certificate, issuing CA and root, with the same of somebody else under the same names.
    fn two() -> [Vec<Certificate>; 2] {
        [(); 2].map(|()| {
            let root = Authority::new(KeyAlgorithm::P256, "CN=Root");
            let issuing = below(&root, "CN=Issuing");
            vec![message(&issuing, "CN=Message"), issuing.certificate, root.certificate]
        })
    }

    fn vouched(all: Vec<Certificate>, by: &Certificate) -> Option<Result<CaCertificates, AnswerError>> {
        CaCertificates::new(all).unwrap().vouched_for_by(&by.fingerprint().to_string())
    }

    #[test]
    fn each_of_a_chain_vouches_for_the_message_certificate() {
        let [ours, theirs] = two();
        for pinned in &ours {
            let known = vouched(ours.clone(), pinned).unwrap().unwrap();
            assert_eq!((&known.all, &known.recipient, &known.issuer), (&ours, &ours[0], &ours[1]));
        }
        assert!(vouched(ours, &theirs[1]).is_none());
    }

    #[test]
    fn a_certificate_that_was_put_beside_the_pinned_one_gets_no_request_and_signs_no_answer() {
        let [ours, theirs] = two();
        for pinned in &ours {
            let before = [theirs.clone(), ours.clone()].concat();
            assert!(matches!(vouched(before, pinned), Some(Err(AnswerError::Recipient(_)))));
            let behind = [ours.clone(), theirs.clone()].concat();
            assert_eq!(vouched(behind, pinned).unwrap().unwrap().all, ours);
        }
    }

    #[test]
    fn what_a_ca_above_the_pinned_one_signed_besides_is_not_vouched_for() {
        let root = Authority::new(KeyAlgorithm::P256, "CN=Root");
        let [ours, other] = ["CN=Issuing", "CN=Other"].map(|name| below(&root, name));
        let [right, wrong] = [&ours, &other].map(|ca| message(ca, "CN=Message"));
        let all = vec![wrong, right, ours.certificate.clone(), other.certificate, root.certificate.clone()];
        assert!(matches!(vouched(all.clone(), &ours.certificate), Some(Err(_))));
        assert!(matches!(vouched(all, &root.certificate), Some(Ok(_))), "the root vouches for both");
    }
}
