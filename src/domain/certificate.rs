//! The record of an issued certificate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    binding::BoundObject,
    device::LifecyclePolicy,
    status::{Cause, CauseKey, CauseKind, Effect, Status, effective},
};
use crate::types::{
    CertificateId, EnrolmentId, Fingerprint, KeyId, ProfileName, RevocationReason, Timestamp, Validity,
    octets,
};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A device's or user's certificate.
    Leaf,
    /// The certificate of an issuer of ours.
    Issuer,
    /// The SCEP message key's certificate (RFC 8894 §2.1.2).
    ScepMessage,
    /// A delegated OCSP responder (RFC 6960 §4.2.2.2).
    OcspSigner,
    /// The TLS certificate of our own listeners.
    ServerTls,
    /// Issued elsewhere and imported: certgate answers for it, and does not know what it is for.
    Imported,
    /// An OCSP responder that relying parties are configured to trust (RFC 6960 §2.2), for certificates of other CAs.
    TrustedResponder,
}

/// One certificate that certgate answers for. Its status is computed from its causes. What certgate issued is never changed after it
/// was recorded; an imported one ([`Purpose::Imported`]) is completed by later imports that know more of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// Issuer and serial.
    pub id: CertificateId,
    /// The certificate. Empty for an imported one of which only a list told: see [`CertificateRecord::is_whole`].
    #[serde(with = "octets")]
    pub der: Vec<u8>,
    /// SHA-256 of `der`; zeros where that is empty.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its SubjectPublicKeyInfo; zeros where `der` is empty.
    pub public_key: Fingerprint,
    /// Its subject, as text; empty where nobody told.
    pub subject: String,
    /// notBefore and notAfter. Of an imported one that nobody told: 1970 and 9999 (RFC 5280 §4.1.2.5: no well-defined end).
    pub validity: Validity,
    /// What it is for.
    pub purpose: Purpose,
    /// The profile and version under which it was issued; none for certgate's own certificates.
    pub profile: Option<(ProfileName, u32)>,
    /// The enrolment that led to it.
    pub enrolment: Option<EnrolmentId>,
    /// The certificate whose place it takes.
    pub supersedes: Option<CertificateId>,
    /// When it was recorded.
    pub issued_at: Timestamp,
}

impl CertificateRecord {
    /// Whether the certificate itself is here, and not only what a list said of it.
    pub const fn is_whole(&self) -> bool {
        !self.der.is_empty()
    }

    /// Issued elsewhere, and imported.
    pub fn is_imported(&self) -> bool {
        self.purpose == Purpose::Imported
    }
}

/// A certificate with what its standing rests on.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The certificate.
    pub record: CertificateRecord,
    /// Every cause, the one of its issuer included.
    pub causes: Vec<Cause>,
    /// What it is bound to, in order.
    pub objects: Vec<BoundObject>,
}

impl Standing {
    fn status(&self, now: Timestamp) -> Status {
        effective(&self.causes, &self.record.validity, now)
    }

    /// Expired, whatever else it is: one that is on hold is not asked after for ever.
    fn is_over(&self, now: Timestamp) -> bool {
        now > self.record.validity.not_after
    }

    fn was_superseded(&self) -> bool {
        self.causes.iter().any(|cause| cause.key == superseded_by_renewal())
    }
}

/// A certificate and the one that a renewal put in its place.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The one that was renewed.
    pub old: Standing,
    /// The one that came of it.
    pub new: Standing,
}

/// What becomes of the old certificate when its overlap may have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndOfOverlap {
    /// It is revoked (superseded).
    Supersede(Cause),
    /// It is too early to say: ask again then.
    AskAgain(Timestamp),
    /// Nothing, now or later.
    Keep,
}

impl Renewal {
    /// Whether the old certificate is superseded now, under the present `policy` of its profile.
    ///
    /// The device must not be left with nothing. So the old one goes only while the new one is good, or has itself been
    /// superseded by one that was. While the new one is on hold nothing is decided, for the hold may be released; when it was
    /// revoked or has expired the old one stays as it is until it expires itself, or somebody revokes it. Nothing is done to one
    /// that is revoked or expired already, nor where the two are not of one profile and bound to the same.
    pub fn end_of_overlap(&self, policy: &LifecyclePolicy, now: Timestamp) -> EndOfOverlap {
        const ASK_AGAIN_AFTER: Duration = Duration::from_secs(86_400);
        let Some(end) = policy.overlap_end(self.new.record.issued_at) else { return EndOfOverlap::Keep };
        let is_renewal = self.new.record.supersedes.as_ref() == Some(&self.old.record.id);
        let profile = |standing: &Standing| standing.record.profile.clone().map(|(name, _)| name);
        let alike = profile(&self.old) == profile(&self.new) && self.old.objects == self.new.objects;
        if !is_renewal || !alike || self.old.is_over(now) || self.old.status(now) == Status::Revoked {
            return EndOfOverlap::Keep;
        }
        if now < end {
            return EndOfOverlap::AskAgain(end);
        }
        match self.new.status(now) {
            Status::Good => EndOfOverlap::Supersede(self.superseded(now)),
            _ if self.new.was_superseded() => EndOfOverlap::Supersede(self.superseded(now)),
            Status::Hold | Status::NotYetValid if !self.new.is_over(now) => {
                EndOfOverlap::AskAgain(now.plus(ASK_AGAIN_AFTER))
            }
            _ => EndOfOverlap::Keep,
        }
    }

    fn superseded(&self, now: Timestamp) -> Cause {
        Cause {
            key: superseded_by_renewal(),
            effect: Effect::Revoke { reason: RevocationReason::Superseded },
            since: now,
            invalidity_date: None,
            actor: "certgate".to_owned(),
            note: format!("renewed by {}", self.new.record.id),
        }
    }
}

fn superseded_by_renewal() -> CauseKey {
    CauseKey { kind: CauseKind::Superseded, reference: "renewal".to_owned() }
}

/// Which of certgate's own certificates is in use: the newest per (purpose, issuer) signs, older ones stay
/// usable for opening envelopes until they expire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCertificate {
    /// The certificate.
    pub certificate: CertificateId,
    /// What it is for: never [`Purpose::Leaf`].
    pub purpose: Purpose,
    /// Its private key.
    pub key: KeyId,
    /// Since when it is in use.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_unix(1_800_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn standing(serial: &str, supersedes: Option<&str>, issued_at: Timestamp) -> Standing {
        let id: CertificateId = serial.parse().unwrap();
        let record = CertificateRecord {
            id,
            der: Vec::new(),
            fingerprint: Fingerprint::of(serial.as_bytes()),
            public_key: Fingerprint::of(b"key"),
            subject: "CN=SN1".to_owned(),
            validity: Validity { not_before: issued_at, not_after: issued_at.plus(DAY * 30) },
            purpose: Purpose::Leaf,
            profile: Some(("device".parse().unwrap(), 1)),
            enrolment: None,
            supersedes: supersedes.map(|id| id.parse().unwrap()),
            issued_at,
        };
        let object = BoundObject::Device { id: "SN1".parse().unwrap(), generation: 1 };
        Standing { record, causes: Vec::new(), objects: vec![object] }
    }

    fn renewal() -> Renewal {
        Renewal { old: standing("a/01", None, T0), new: standing("a/02", Some("a/01"), T0.plus(DAY)) }
    }

    fn cause(kind: CauseKind, reference: &str, effect: Effect) -> Cause {
        let key = CauseKey { kind, reference: reference.to_owned() };
        Cause { key, effect, since: T0, invalidity_date: None, actor: String::new(), note: String::new() }
    }

    fn end(renewal: &Renewal, day: u32) -> EndOfOverlap {
        renewal.end_of_overlap(&LifecyclePolicy::DEFAULT, T0.plus(DAY * day))
    }

    const REVOKE: Effect = Effect::Revoke { reason: RevocationReason::KeyCompromise };

    #[test]
    fn the_old_one_goes_a_week_after_the_new_one_came() {
        assert_eq!(end(&renewal(), 7), EndOfOverlap::AskAgain(T0.plus(DAY * 8)));
        let EndOfOverlap::Supersede(cause) = end(&renewal(), 8) else { panic!("it stays") };
        assert_eq!(cause.effect, Effect::Revoke { reason: RevocationReason::Superseded });
        assert_eq!((cause.since, cause.note.as_str()), (T0.plus(DAY * 8), "renewed by a/02"));
    }

    #[test]
    fn the_policy_says_when_and_whether() {
        let at = |overlap_days, revoke_superseded| {
            let policy = LifecyclePolicy { overlap_days, revoke_superseded, ..LifecyclePolicy::DEFAULT };
            renewal().end_of_overlap(&policy, T0.plus(DAY))
        };
        assert!(matches!(at(0, true), EndOfOverlap::Supersede(_)));
        assert_eq!(at(2, true), EndOfOverlap::AskAgain(T0.plus(DAY * 3)));
        assert_eq!(at(0, false), EndOfOverlap::Keep);
    }

    #[test]
    fn a_device_is_never_left_with_nothing() {
        let mut renewal = renewal();
        renewal.new.causes = vec![cause(CauseKind::DeviceCondition, "lost", Effect::Hold)];
        assert_eq!(end(&renewal, 9), EndOfOverlap::AskAgain(T0.plus(DAY * 10)));
        renewal.new.causes = vec![cause(CauseKind::Manual, "revoke", REVOKE)];
        assert_eq!(end(&renewal, 9), EndOfOverlap::Keep);
        // Replaced in its turn: the device has the next one.
        renewal.new.causes.push(cause(CauseKind::Superseded, "renewal", REVOKE));
        assert!(matches!(end(&renewal, 9), EndOfOverlap::Supersede(_)));
        // Superseded by a new life of the device is not that.
        renewal.new.causes = vec![cause(CauseKind::Superseded, "reprovision", REVOKE)];
        assert_eq!(end(&renewal, 9), EndOfOverlap::Keep);
        renewal.new.causes.clear();
        renewal.new.record.validity.not_after = T0.plus(DAY * 8);
        assert_eq!(end(&renewal, 9), EndOfOverlap::Keep);
        renewal.new.causes = vec![cause(CauseKind::Manual, "hold", Effect::Hold)];
        assert_eq!(end(&renewal, 9), EndOfOverlap::Keep);
    }

    #[test]
    fn what_is_over_or_not_a_renewal_is_left_alone() {
        let mut expired = renewal();
        expired.old.record.validity.not_after = T0.plus(DAY * 8);
        assert_eq!(end(&expired, 9), EndOfOverlap::Keep);
        expired.old.causes = vec![cause(CauseKind::Manual, "hold", Effect::Hold)];
        assert_eq!(end(&expired, 9), EndOfOverlap::Keep);
        let mut revoked = renewal();
        revoked.old.causes = vec![cause(CauseKind::Manual, "revoke", REVOKE)];
        assert_eq!(end(&revoked, 9), EndOfOverlap::Keep);
        let mut other_profile = renewal();
        other_profile.new.record.profile = None;
        assert_eq!(end(&other_profile, 9), EndOfOverlap::Keep);
        let mut other_device = renewal();
        other_device.new.objects.clear();
        assert_eq!(end(&other_device, 9), EndOfOverlap::Keep);
        let mut no_renewal = renewal();
        no_renewal.new.record.supersedes = None;
        assert_eq!(end(&no_renewal, 9), EndOfOverlap::Keep);
    }

    #[test]
    fn an_old_one_on_hold_is_superseded_all_the_same() {
        let mut renewal = renewal();
        renewal.old.causes = vec![cause(CauseKind::Manual, "hold", Effect::Hold)];
        assert!(matches!(end(&renewal, 8), EndOfOverlap::Supersede(_)));
    }
}
