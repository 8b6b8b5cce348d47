//! What is taken over from another CA: its certificates, as far as somebody tells of them, and what became of them.
//!
//! An import may be repeated, with the same files or newer ones. What is here already stays, what a later file knows in addition
//! completes it, and what contradicts it is refused. The certificate itself is believed before what a list says of it. A CRL that is older
//! than one that was imported puts nothing on hold: the CA may have released it since. What it revokes is revoked for good, and counts.

use serde::{Deserialize, Serialize};

use super::{
    certificate::{CertificateRecord, Purpose},
    checkpoint::CrlMark,
    status::{Cause, CauseChange, CauseKey, CauseKind, Effect, Revocation},
};
use crate::{
    types::{CertificateId, Fingerprint, IssuerId, RevocationReason, SerialNumber, Timestamp, Validity},
    wire::x509::Certificate,
};

/// What the causes have as their note that an import brought; by it an import knows its own holds again.
const NOTE: &str = "imported from the records of the CA";

/// What a source tells of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its serial number.
    pub serial: SerialNumber,
    /// The certificate itself. That the CA issued it is the caller's to check.
    pub certificate: Option<Box<Certificate>>,
    /// When it expires.
    pub not_after: Option<Timestamp>,
    /// Its subject, as text.
    pub subject: Option<String>,
    /// What became of it.
    pub standing: ToldStanding,
}

/// What a source says of a certificate's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldStanding {
    /// Nothing: it is a file of certificates.
    Untold,
    /// It is neither revoked nor on hold.
    Good,
    /// It is revoked, or on hold.
    Revoked(Revocation),
}

/// The CRL that tells of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCrl {
    /// cRLNumber of one that is about all certificates: a partition has numbers of its own (RFC 5280 §5.2.3).
    pub number: Option<u64>,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// Of one with an issuingDistributionPoint what stands for the URLs in that, so that each partition is compared with itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Fingerprint>,
}

impl SourceCrl {
    /// Whether the CA has said something else since: `known` is its newest CRL that was imported. Number and time must say so both: a CA
    /// that was set up anew may count from 1 again, and a hold that is passed over is a certificate that is good.
    pub fn is_older_than(&self, known: CrlMark) -> bool {
        match self.number {
            Some(number) => number < known.number && self.this_update <= known.this_update,
            None => self.this_update < known.this_update,
        }
    }
}

/// Why something is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefused {
    /// A CA gives a serial number once.
    #[error("another certificate of this CA with the same serial number is known")]
    OtherCertificate,
    /// Two lists contradict one another.
    #[error("it is known to expire at {0}: is this a list of another CA?")]
    OtherEnd(Timestamp),
}

/// What becomes of the record of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// Nothing.
    Keep,
    /// It is new.
    Add(Box<CertificateRecord>),
    /// More is known of it than before.
    Complete(Box<CertificateRecord>),
}

impl RecordChange {
    /// The record afterwards, where `known` is the one before.
    pub fn outcome<'a>(&'a self, known: Option<&'a CertificateRecord>) -> Option<&'a CertificateRecord> {
        match self {
            Self::Keep => known,
            Self::Add(record) | Self::Complete(record) => Some(record),
        }
    }
}

impl Told {
    /// What becomes of the record, where `known` is the one that is there. One that certgate issued itself is never changed.
    pub fn record(
        &self,
        issuer: &IssuerId,
        known: Option<&CertificateRecord>,
        now: Timestamp,
    ) -> Result<RecordChange, ImportRefused> {
        let Some(known) = known else {
            let nothing =
                nothing_known(CertificateId { issuer: issuer.clone(), serial: self.serial.clone() }, now);
            return Ok(RecordChange::Add(Box::new(self.completed(nothing))));
        };
        if let Some(certificate) = &self.certificate
            && known.is_whole()
            && known.der != certificate.as_der()
        {
            return Err(ImportRefused::OtherCertificate);
        }
        if !known.is_imported() {
            return Ok(RecordChange::Keep);
        }
        let end = known.validity.not_after;
        if self.not_after.is_some_and(|told| told != end) && end != Timestamp::MAX {
            return Err(ImportRefused::OtherEnd(end));
        }
        let completed = self.completed(known.clone());
        Ok(if completed == *known { RecordChange::Keep } else { RecordChange::Complete(Box::new(completed)) })
    }

    fn completed(&self, mut record: CertificateRecord) -> CertificateRecord {
        if let Some(certificate) = &self.certificate {
            record.der = certificate.as_der().to_vec();
            record.fingerprint = certificate.fingerprint();
            record.public_key = certificate.public_key().fingerprint();
            record.subject = certificate.subject().to_string();
            record.validity = certificate.validity();
            return record;
        }
        if record.is_whole() {
            return record;
        }
        if let Some(not_after) = self.not_after {
            record.validity.not_after = not_after;
        }
        if let Some(subject) = self.subject.as_ref().filter(|_| record.subject.is_empty()) {
            record.subject.clone_from(subject);
        }
        record
    }

    /// Whether it is said to be on hold, which may have ended since.
    pub fn is_hold(&self) -> bool {
        matches!(&self.standing, ToldStanding::Revoked(it) if it.reason == RevocationReason::CertificateHold)
    }

    /// What becomes of the certificate's causes, which are `existing` now. A hold that an import brought ends when the CA says that
    /// the certificate is good; everything that happened here stays.
    pub fn change(&self, existing: &[Cause], actor: &str) -> Option<CauseChange> {
        match &self.standing {
            ToldStanding::Untold => None,
            ToldStanding::Good => {
                let imported = existing.iter().find(|cause| is_brought(cause));
                imported.map(|hold| CauseChange::Release(hold.key.clone()))
            }
            ToldStanding::Revoked(revocation) => Some(CauseChange::Put(cause_of(revocation, actor))),
        }
    }
}

/// Whether it is a hold that an import brought, and that ends when the CA says so.
fn is_brought(cause: &Cause) -> bool {
    cause.effect == Effect::Hold && cause.note == NOTE
}

/// The hold `cause` of an operator in the place of one that an import brought, and that it has the key of: it lasts as long as that, and
/// the CA releases it no more.
pub fn taken_over(existing: &[Cause], cause: &Cause) -> Option<Cause> {
    let brought = existing.iter().find(|old| is_brought(old) && old.key == cause.key)?;
    (cause.effect == Effect::Hold).then(|| Cause { since: brought.since, ..cause.clone() })
}

/// It has the key of an operator's act, so that an operator can release a hold: the CA is no longer there to do it.
fn cause_of(revocation: &Revocation, actor: &str) -> Cause {
    let (reference, effect) = match revocation.reason {
        RevocationReason::CertificateHold => ("hold", Effect::Hold),
        reason => ("revoke", Effect::Revoke { reason }),
    };
    Cause {
        key: CauseKey { kind: CauseKind::Manual, reference: reference.to_owned() },
        effect,
        since: revocation.at,
        invalidity_date: revocation.invalidity_date,
        actor: actor.to_owned(),
        note: NOTE.to_owned(),
    }
}

fn nothing_known(id: CertificateId, now: Timestamp) -> CertificateRecord {
    CertificateRecord {
        id,
        der: Vec::new(),
        fingerprint: Fingerprint::from_bytes([0; 32]),
        public_key: Fingerprint::from_bytes([0; 32]),
        subject: String::new(),
        validity: Validity { not_before: Timestamp::EPOCH, not_after: Timestamp::MAX },
        purpose: Purpose::Imported,
        profile: None,
        enrolment: None,
        supersedes: None,
        issued_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::x509::{CertificateSpec, testing::Authority},
    };

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
    const END: Timestamp = Timestamp::from_unix(1_900_000_000);

    fn told(serial: &str) -> Told {
        let serial = serial.parse().unwrap();
        Told { serial, certificate: None, not_after: None, subject: None, standing: ToldStanding::Untold }
    }

    fn of_list() -> Told {
        Told { not_after: Some(END), subject: Some("CN=x".to_owned()), ..told("4f") }
    }

    fn whole(subject: &str) -> Told {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=Old CA");
        let spec = CertificateSpec {
            issuer: ca.certificate.subject().clone(),
            ..CertificateSpec::new(
                "4f".parse().unwrap(),
                ca.certificate.subject().clone(),
                subject.parse().unwrap(),
                Validity { not_before: NOW, not_after: END },
                ca.key.public_key(),
            )
        };
        Told { certificate: Some(Box::new(ca.key.issue(&spec))), ..told("4f") }
    }

    fn record(told: &Told, known: Option<&CertificateRecord>) -> CertificateRecord {
        match told.record(&"old".parse().unwrap(), known, NOW).unwrap() {
            RecordChange::Add(record) | RecordChange::Complete(record) => *record,
            RecordChange::Keep => known.unwrap().clone(),
        }
    }

    fn revoked(reason: RevocationReason) -> ToldStanding {
        ToldStanding::Revoked(Revocation { at: NOW, reason, invalidity_date: None })
    }

    #[test]
    fn a_serial_alone_has_no_end_and_is_completed_by_what_knows_more() {
        let of_crl = record(&told("4f"), None);
        assert_eq!(of_crl.validity, Validity { not_before: Timestamp::EPOCH, not_after: Timestamp::MAX });
        assert!(of_crl.is_imported() && !of_crl.is_whole());
        let listed = record(&of_list(), Some(&of_crl));
        assert_eq!((listed.subject.as_str(), listed.validity.not_after), ("CN=x", END));
        let filed = record(&whole("CN=x,O=Lab"), Some(&listed));
        assert_eq!((filed.subject.as_str(), filed.is_whole()), ("CN=x,O=Lab", true));
        // What a list says in other words does not matter any more.
        for later in [told("4f"), of_list(), whole("CN=x,O=Lab")] {
            let id = "old".parse().unwrap();
            // The certificate is made anew with another signature each time.
            let later = Told {
                certificate: later.certificate.map(|_| Box::new(Certificate::from_der(&filed.der).unwrap())),
                ..later
            };
            assert_eq!(later.record(&id, Some(&filed), NOW), Ok(RecordChange::Keep));
        }
    }

    #[test]
    fn a_contradiction_is_refused() {
        let listed = record(&of_list(), None);
        let id = "old".parse().unwrap();
        let later = Told { not_after: Some(NOW), ..of_list() };
        assert_eq!(later.record(&id, Some(&listed), NOW), Err(ImportRefused::OtherEnd(END)));
        let filed = record(&whole("CN=x"), None);
        assert_eq!(whole("CN=y").record(&id, Some(&filed), NOW), Err(ImportRefused::OtherCertificate));
    }

    #[test]
    fn what_was_issued_here_is_left_as_it_is() {
        let ours = CertificateRecord { purpose: Purpose::Leaf, ..record(&whole("CN=x"), None) };
        let id = "old".parse().unwrap();
        assert_eq!(of_list().record(&id, Some(&ours), NOW), Ok(RecordChange::Keep));
        assert_eq!(whole("CN=y").record(&id, Some(&ours), NOW), Err(ImportRefused::OtherCertificate));
    }

    #[test]
    fn the_ca_releases_only_the_hold_that_it_brought() {
        let brought = Told { standing: revoked(RevocationReason::CertificateHold), ..told("4f") };
        let Some(CauseChange::Put(held)) = brought.change(&[], "certgate") else { panic!("no cause") };
        assert_eq!((held.effect, held.since), (Effect::Hold, NOW));
        let good = Told { standing: ToldStanding::Good, ..told("4f") };
        let released = Some(CauseChange::Release(held.key.clone()));
        assert_eq!(good.change(std::slice::from_ref(&held), "certgate"), released);
        let by_hand = Cause { note: "lost".to_owned(), ..held.clone() };
        assert_eq!(good.change(&[by_hand], "certgate"), None);
        assert_eq!(told("4f").change(&[held], "certgate"), None);
    }

    #[test]
    fn a_crl_is_older_by_its_number_and_its_time() {
        let known = CrlMark { number: 7, this_update: NOW };
        let older = |number, this_update| SourceCrl { number, this_update, part: None }.is_older_than(known);
        let before = NOW.minus(std::time::Duration::from_secs(1));
        assert!(older(Some(6), before) && older(Some(6), NOW) && older(None, before));
        assert!(!older(Some(7), before) && !older(Some(8), before) && !older(None, NOW));
        assert!(!older(Some(1), END), "it counts anew");
    }

    #[test]
    fn a_revocation_keeps_its_time_and_reason() {
        let reason = RevocationReason::KeyCompromise;
        let revoked = Told { standing: revoked(reason), ..told("4f") };
        let Some(CauseChange::Put(cause)) = revoked.change(&[], "certgate") else { panic!("no cause") };
        assert_eq!((cause.effect, cause.since), (Effect::Revoke { reason }, NOW));
        // Nobody releases it.
        let good = Told { standing: ToldStanding::Good, ..told("4f") };
        assert_eq!(good.change(&[cause], "certgate"), None);
    }
}
