//! Certificates of other CAs with which a profile lets devices renew (RFC 8894 §2.3): how a fleet moves here from another CA without
//! new challenges.
//!
//! Trusted is each CA certificate that is named, and nothing that one of them issued to another CA: there is no path to build, so none
//! to build wrongly.

use std::{sync::Arc, time::Duration};

use const_oid::ObjectIdentifier;

use super::profile::CheckedProfile;
use crate::{
    types::{DigestAlgorithm, Fingerprint, SerialNumber, SignatureAlgorithm, Timestamp},
    wire::{
        crl::Crl,
        x509::{Certificate, KeyKind, KeyUsage},
    },
};

/// anyExtendedKeyUsage (RFC 5280 §4.2.1.12).
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// The other CAs of a profile.
#[derive(Clone, Debug, Default)]
pub struct AlternateIssuers {
    /// Their certificates.
    pub certificates: Vec<Certificate>,
    /// Names of their CRLs, for whoever fetches them; empty: what the other CA revokes is not asked.
    pub crls: Vec<String>,
    /// How long after it expired a certificate still renews.
    pub grace: Duration,
}

impl AlternateIssuers {
    /// Until when there is a CRL of each CA, by what the CRLs say: their signatures are checked where one is relied upon.
    pub fn asked_until(&self, crls: &[Arc<Crl>], now: Timestamp) -> Result<Timestamp, NoCrl> {
        let until = |ca: &Certificate| {
            in_force(crls.iter().filter(|crl| crl.issuer().matches(ca.subject())), ca, now)
        };
        let mut ends = self.certificates.iter().map(|ca| until(ca).map(|crl| ends(crl)));
        ends.try_fold(Timestamp::MAX, |first, end| Ok(first.min(end?)))
    }
}

/// The newest of these CRLs of the CA, while it is valid.
fn in_force<'c>(
    own: impl Iterator<Item = &'c Arc<Crl>>,
    ca: &Certificate,
    now: Timestamp,
) -> Result<&'c Arc<Crl>, NoCrl> {
    let issuer = || ca.subject().to_string();
    let newest = own.max_by_key(|crl| crl.this_update()).ok_or_else(|| NoCrl::Missing(issuer()))?;
    let until = ends(newest);
    if now > until { Err(NoCrl::Stale { issuer: issuer(), since: until }) } else { Ok(newest) }
}

/// One without nextUpdate is valid for no time (RFC 5280 §5.1.2.5 demands it).
fn ends(crl: &Crl) -> Timestamp {
    crl.next_update().unwrap_or(crl.this_update())
}

/// A certificate that one of them issued and that renews here. Only [`Issued`] gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternateCertificate {
    certificate: Certificate,
    issued_by: Certificate,
}

impl AlternateCertificate {
    /// The certificate.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The CA that issued it.
    pub const fn issued_by(&self) -> &Certificate {
        &self.issued_by
    }

    /// Its issuer's name, as text.
    pub fn issuer(&self) -> String {
        self.certificate.issuer().to_string()
    }

    /// Its serial number.
    pub fn serial(&self) -> &SerialNumber {
        self.certificate.serial()
    }

    /// SHA-256 of it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}

/// Why a certificate of another CA does not renew, for logs and the trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlternateRefused {
    /// Whoever can forge its CA's signature has it.
    #[error(
        "the certificate that signed the renewal is itself signed with {0}: `legacy.{0}` in the profile would allow it"
    )]
    Weak(DigestAlgorithm),
    /// It is a CA's.
    #[error("the certificate that signed the renewal is a CA's")]
    Ca,
    /// Its keyUsage has no digitalSignature (RFC 5280 §4.2.1.3).
    #[error("the certificate that signed the renewal may not sign: its keyUsage lacks digitalSignature")]
    MayNotSign,
    /// Its time has not come.
    #[error("the certificate that signed the renewal is valid from {0} on")]
    NotYetValid(Timestamp),
    /// Its time, and the grace, are over.
    #[error("the certificate that signed the renewal expired at {0}")]
    Expired(Timestamp),
    /// The other CA's time, and the grace, are over.
    #[error("the other CA's certificate expired at {0}")]
    IssuerExpired(Timestamp),
    /// Its holder would gain a purpose.
    #[error("the certificate that signed the renewal is not good for {0}, which the profile gives")]
    MoreRights(ObjectIdentifier),
    /// Its CA says so.
    #[error("the other CA revoked the certificate that signed the renewal")]
    Revoked,
}

/// What is known of a certificate that signed a renewal and is none of ours.
#[derive(Clone, Copy, Debug)]
pub struct AlternateFacts<'a> {
    /// It, as it came: that its key signed was checked.
    pub certificate: &'a Certificate,
    /// Who may have issued it.
    pub issuers: &'a AlternateIssuers,
    /// The profile under which it renews.
    pub profile: &'a CheckedProfile,
    /// Now.
    pub now: Timestamp,
}

/// A certificate that one of the named CAs issued; whether it revoked it is to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    certificate: &'a Certificate,
    issuer: &'a Certificate,
}

/// Checks everything but revocation. None: none of the named CAs issued it.
pub fn check_alternate<'a>(facts: &AlternateFacts<'a>) -> Option<Result<Issued<'a>, AlternateRefused>> {
    let AlternateFacts { certificate, issuers, .. } = *facts;
    let issued_by = |issuer: &&Certificate| certificate.is_signed_by(issuer).is_ok();
    let issuer = issuers.certificates.iter().find(issued_by)?;
    Some(check_issued(facts, issuer).map(|()| Issued { certificate, issuer }))
}

fn check_issued(facts: &AlternateFacts<'_>, issuer: &Certificate) -> Result<(), AlternateRefused> {
    let AlternateFacts { certificate, issuers, profile, now } = *facts;
    let digest = certificate.signature_algorithm().map(SignatureAlgorithm::digest);
    if let Some(digest) = digest.filter(|digest| digest.is_broken())
        && !profile.behaviour().old_algorithms.sha1
    {
        return Err(AlternateRefused::Weak(digest));
    }
    let usage = certificate.key_usage();
    if certificate.is_ca() || usage.is_some_and(|usage| usage.contains(KeyUsage::KEY_CERT_SIGN)) {
        return Err(AlternateRefused::Ca);
    }
    if usage.is_some_and(|usage| !usage.contains(KeyUsage::DIGITAL_SIGNATURE)) {
        return Err(AlternateRefused::MayNotSign);
    }
    check_time(certificate, issuer, issuers.grace, now)?;
    check_purposes(certificate, profile)
}

fn check_time(
    certificate: &Certificate,
    issuer: &Certificate,
    grace: Duration,
    now: Timestamp,
) -> Result<(), AlternateRefused> {
    let (own, above) = (certificate.validity(), issuer.validity());
    if now < own.not_before {
        return Err(AlternateRefused::NotYetValid(own.not_before));
    }
    if now > own.not_after.plus(grace) {
        return Err(AlternateRefused::Expired(own.not_after));
    }
    if now > above.not_after.plus(grace) {
        return Err(AlternateRefused::IssuerExpired(above.not_after));
    }
    Ok(())
}

/// Nobody gains a purpose by moving. No extKeyUsage, and anyExtendedKeyUsage, mean every purpose (RFC 5280 §4.2.1.12).
fn check_purposes(certificate: &Certificate, profile: &CheckedProfile) -> Result<(), AlternateRefused> {
    let purposes = certificate.extended_key_usage();
    if purposes.is_empty() || purposes.contains(&ANY_EXTENDED_KEY_USAGE) {
        return Ok(());
    }
    let gained = profile.extended_key_usage().iter().find(|purpose| !purposes.contains(purpose));
    gained.map_or(Ok(()), |purpose| Err(AlternateRefused::MoreRights(*purpose)))
}

/// Why the other CA's CRL cannot be believed. Nobody's fault but ours or the other CA's: the client is told to come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCrl {
    /// None of the CRLs is this CA's.
    #[error("no CRL of \"{0}\" is at hand, and renewal-issuers names CRLs")]
    Missing(String),
    /// A newer one should be there.
    #[error("the CRL of \"{issuer}\" is not valid any more since {since}: fetch the newest")]
    Stale {
        /// Whose.
        issuer: String,
        /// nextUpdate.
        since: Timestamp,
    },
}

impl Issued<'_> {
    /// Where no CRLs are named: nothing is asked.
    pub fn unasked(self) -> AlternateCertificate {
        AlternateCertificate { certificate: self.certificate.clone(), issued_by: self.issuer.clone() }
    }

    /// Asks the newest CRL of the CA among `crls`.
    pub fn not_revoked(
        self,
        crls: &[Arc<Crl>],
        now: Timestamp,
    ) -> Result<Result<AlternateCertificate, AlternateRefused>, NoCrl> {
        let own = crls.iter().filter(|crl| crl.verify(self.issuer).is_ok());
        let newest = in_force(own, self.issuer, now)?;
        let listed = newest.entries().iter().any(|entry| entry.serial == *self.certificate.serial());
        Ok(if listed { Err(AlternateRefused::Revoked) } else { Ok(self.unasked()) })
    }
}

/// What is wrong with a certificate that shall be trusted as another CA's.
pub fn unfit_as_issuer(certificate: &Certificate) -> Option<&'static str> {
    let usage = certificate.key_usage();
    if !certificate.is_ca() {
        return Some("is no CA's: its basicConstraints do not say CA");
    }
    if usage.is_some_and(|usage| !usage.contains(KeyUsage::KEY_CERT_SIGN)) {
        return Some("signs no certificates: its keyUsage lacks keyCertSign");
    }
    match certificate.public_key().kind() {
        KeyKind::P256 | KeyKind::P384 => None,
        KeyKind::Rsa { bits } if bits >= 2048 => None,
        KeyKind::Rsa { .. } => Some("has an RSA key of less than 2048 bits, whose signatures can be forged"),
        KeyKind::Other => Some("has a key of a kind that certgate cannot verify with"),
    }
}
