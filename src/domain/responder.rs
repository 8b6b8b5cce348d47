//! OCSP responders for the certificates of external issuers: which certificate an upstream CA may give us, and when a trusted responder's
//! successor begins to sign.
//!
//! A delegate's certificate comes from outside, so everything that a relying party will look at is looked at before
//! (RFC 6960 §4.2.2.2): what fails here would be found out at the gear, as a device that gets no network.
//!
//! A trusted responder is known to the gear by its certificate, or by the CA that issued it. Where it is the certificate, somebody has to
//! put the next one there too. So the next one is made when a third of the life of the present one is left, is shown and exported from then on,
//! and signs only when a sixth is left.

use std::{fmt, time::Duration};

use const_oid::{ObjectIdentifier, db::rfc5280::ID_KP_OCSP_SIGNING};

use crate::{
    types::{DigestAlgorithm, SignatureAlgorithm, Timestamp, Validity},
    wire::x509::{Certificate, KeyUsage, Name, PublicKey},
};

/// A responder's certificate that somebody outside has to renew is mentioned at most this long before it ends.
const LONGEST_WARNING: Duration = Duration::from_secs(30 * 86_400);

/// Why a certificate is not that of a delegated responder of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponderRefused {
    /// RFC 6960 §4.2.2.2: the CA that issued the certificates in question issues it, directly.
    #[error("another CA issued it: \"{0}\"")]
    OtherIssuer(Name),
    /// The name is right, the key is not.
    #[error("its signature does not verify under the key of the CA")]
    BadSignature,
    /// RFC 6151 §2: not acceptable for signatures. Nobody verifies it.
    #[error("it is signed with md5: have the CA sign it with SHA-256")]
    Md5,
    /// It could sign certificates.
    #[error("it is the certificate of a CA (basicConstraints cA)")]
    IsCa,
    /// It is for somebody else.
    #[error("it is for another key than the one that was asked for (SHA-256 {found}, not {wanted})")]
    OtherKey {
        /// SHA-256 of the SubjectPublicKeyInfo in it.
        found: String,
        /// SHA-256 of ours.
        wanted: String,
    },
    /// anyExtendedKeyUsage does not count (RFC 6960 §4.2.2.2: included in the extension).
    #[error("its extKeyUsage lacks id-kp-OCSPSigning ({ID_KP_OCSP_SIGNING}); it has {}", listed(.0))]
    NotForOcsp(Vec<ObjectIdentifier>),
    /// RFC 5280 §4.2.1.12: consistent with OCSPSigning are digitalSignature and nonRepudiation.
    #[error("its keyUsage allows no signatures: neither digitalSignature nor nonRepudiation, but {0}")]
    MayNotSign(KeyUsage),
    /// It is too late.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// It is too early.
    #[error("it is valid only from {0} on")]
    NotYetValid(Timestamp),
}

/// What is allowed, and will trouble some gear nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponderWarning {
    /// Its CA signed with a digest for which a second certificate can be found. For us that is no danger: it is for the key that we made. But
    /// who checks it may take no such signature.
    BrokenDigest(DigestAlgorithm),
    /// It lacks id-pkix-ocsp-nocheck.
    Checked,
}

impl fmt::Display for ResponderWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenDigest(digest) => write!(
                f,
                "it is signed with {digest}: newer gear takes no such signature, and no answer by this responder; have the CA sign it with SHA-256"
            ),
            Self::Checked => f.write_str(
                "it lacks id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1): some clients will ask for its own status each time",
            ),
        }
    }
}

/// What its holder should know of a responder's certificate.
pub fn warnings(certificate: &Certificate) -> Vec<ResponderWarning> {
    let broken = digest_of(certificate).filter(|digest| digest.is_broken());
    let checked = (!certificate.has_ocsp_no_check()).then_some(ResponderWarning::Checked);
    broken.map(ResponderWarning::BrokenDigest).into_iter().chain(checked).collect()
}

fn digest_of(certificate: &Certificate) -> Option<DigestAlgorithm> {
    certificate.signature_algorithm().map(SignatureAlgorithm::digest)
}

fn listed(purposes: &[ObjectIdentifier]) -> String {
    if purposes.is_empty() {
        return "none".to_owned();
    }
    purposes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether `certificate` makes the holder of `key` an authorised responder of `ca` now.
pub fn check_delegate(
    certificate: &Certificate,
    ca: &Certificate,
    key: &PublicKey,
    now: Timestamp,
) -> Result<(), ResponderRefused> {
    if !certificate.issuer().matches(ca.subject()) {
        return Err(ResponderRefused::OtherIssuer(certificate.issuer().clone()));
    }
    if digest_of(certificate) == Some(DigestAlgorithm::Md5) {
        return Err(ResponderRefused::Md5);
    }
    certificate.is_signed_by(ca).map_err(|_| ResponderRefused::BadSignature)?;
    if certificate.is_ca() {
        return Err(ResponderRefused::IsCa);
    }
    if certificate.public_key() != key {
        let [found, wanted] = [certificate.public_key(), key].map(|key| key.fingerprint().to_string());
        return Err(ResponderRefused::OtherKey { found, wanted });
    }
    if !certificate.extended_key_usage().contains(&ID_KP_OCSP_SIGNING) {
        return Err(ResponderRefused::NotForOcsp(certificate.extended_key_usage().to_vec()));
    }
    let signing = KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::NON_REPUDIATION);
    if let Some(usage) = certificate.key_usage().filter(|usage| usage.intersection(signing).is_empty()) {
        return Err(ResponderRefused::MayNotSign(usage));
    }
    let Validity { not_before, not_after } = certificate.validity();
    if not_after < now {
        return Err(ResponderRefused::Expired(not_after));
    }
    if now < not_before {
        return Err(ResponderRefused::NotYetValid(not_before));
    }
    Ok(())
}

/// When the successor of a trusted responder begins to sign: when a sixth of the life of the present one is left.
pub fn successor_signs_at(present: &Validity) -> Timestamp {
    present.not_after.minus(present.not_after.since(present.not_before) / 6)
}

/// From when on a delegate's certificate is to be renewed: a third of its life before it ends, or thirty days where that is less.
pub fn renew_at(validity: &Validity) -> Timestamp {
    let third = validity.not_after.since(validity.not_before) / 3;
    validity.not_after.minus(third.min(LONGEST_WARNING))
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

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    /// What `ca` makes of a request by `key`, once `change` had its way with it.
    fn issued(ca: &Authority, key: &TestKey, change: impl FnOnce(&mut CertificateSpec)) -> Certificate {
        let validity = Validity { not_before: NOW.minus(DAY), not_after: NOW.plus(90 * DAY) };
        let mut spec = CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            extended_key_usage: vec![ID_KP_OCSP_SIGNING],
            ..CertificateSpec::new(
                "4f".parse().unwrap(),
                ca.certificate.subject().clone(),
                "CN=Responder".parse().unwrap(),
                validity,
                key.public_key(),
            )
        };
        change(&mut spec);
        ca.key.issue(&spec)
    }

    #[test]
    fn what_a_relying_party_would_refuse_is_refused() {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=Old CA");
        let key = TestKey::generate(KeyAlgorithm::P256);
        let check =
            |certificate: &Certificate| check_delegate(certificate, &ca.certificate, &key.public_key(), NOW);
        let changed = |change: fn(&mut CertificateSpec)| check(&issued(&ca, &key, change)).unwrap_err();

        assert_eq!(check(&issued(&ca, &key, |_| ())), Ok(()));
        let plain = issued(&ca, &key, |spec| spec.key_usage = KeyUsage::default());
        assert_eq!(check(&plain), Ok(()), "without keyUsage every use is allowed");
        let stranger = Authority::new(KeyAlgorithm::P256, "CN=Other CA");
        let foreign = check(&issued(&stranger, &key, |_| ())).unwrap_err();
        assert_eq!(foreign.to_string(), "another CA issued it: \"CN=Other CA\"");
        let namesake = Authority::new(KeyAlgorithm::P256, "CN=Old CA");
        assert_eq!(check(&issued(&namesake, &key, |_| ())), Err(ResponderRefused::BadSignature));
        let is_ca = changed(|spec| spec.ca = Some(CaConstraint { path_len: None }));
        assert_eq!(is_ca, ResponderRefused::IsCa);
        let other = TestKey::generate(KeyAlgorithm::P256);
        let of_other = check(&issued(&ca, &other, |_| ())).unwrap_err();
        assert!(matches!(of_other, ResponderRefused::OtherKey { .. }), "{of_other}");
        let bare = changed(|spec| spec.extended_key_usage.clear());
        assert!(bare.to_string().ends_with("lacks id-kp-OCSPSigning (1.3.6.1.5.5.7.3.9); it has none"));
        let any =
            changed(|spec| spec.extended_key_usage = vec![const_oid::db::rfc5280::ANY_EXTENDED_KEY_USAGE]);
        assert!(matches!(any, ResponderRefused::NotForOcsp(_)));
        let encrypts = changed(|spec| spec.key_usage = KeyUsage::KEY_ENCIPHERMENT);
        assert_eq!(encrypts, ResponderRefused::MayNotSign(KeyUsage::KEY_ENCIPHERMENT));
        let old = changed(|spec| spec.validity.not_after = NOW.minus(Duration::from_secs(1)));
        assert_eq!(old, ResponderRefused::Expired(NOW.minus(Duration::from_secs(1))));
        let early = changed(|spec| spec.validity.not_before = NOW.plus(DAY));
        assert_eq!(early, ResponderRefused::NotYetValid(NOW.plus(DAY)));
    }

    #[test]
    fn what_some_gear_will_not_like_is_told() {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=Old CA");
        let key = TestKey::generate(KeyAlgorithm::P256);
        let of = |no_check| warnings(&issued(&ca, &key, |spec| spec.ocsp_no_check = no_check));
        assert_eq!((of(true), of(false)), (vec![], vec![ResponderWarning::Checked]));
        let old = include_bytes!("../../fixtures/x509/rsa1024-sha1-32-byte-serial.der");
        let told = warnings(&Certificate::from_der(old).unwrap());
        assert_eq!(told, [ResponderWarning::BrokenDigest(DigestAlgorithm::Sha1), ResponderWarning::Checked]);
    }

    #[test]
    fn there_is_time_to_hand_the_next_one_out_and_to_have_one_renewed() {
        let life = |days: u32| Validity { not_before: NOW, not_after: NOW.plus(days * DAY) };
        assert_eq!(successor_signs_at(&life(900)), NOW.plus(750 * DAY));
        assert_eq!(renew_at(&life(900)), NOW.plus(870 * DAY));
        assert_eq!(renew_at(&life(30)), NOW.plus(20 * DAY));
    }
}
