//! What a restore must not undo: revocations that were published, and CRL numbers that were used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    crl::CrlRecord,
    status::{Cause, CauseKey, CauseKind, Effect},
};
use crate::{
    types::{RevocationReason, Timestamp},
    wire::crl::{Crl, CrlEntry},
};

/// That a gateway came out of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// When the backup was taken.
    pub backup_of: Timestamp,
    /// When it was restored.
    pub restored_at: Timestamp,
    /// For some issuer no CRL was given: its revocations after the backup are lost.
    pub revocations_lost: bool,
}

/// A CRL that does not say what happened after the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlRefused {
    /// Without a number nobody knows whether it is newer (RFC 5280 §5.2.3).
    #[error("has no cRLNumber below 2^64, so that nobody knows whether it is the newest")]
    NoNumber,
    /// The backup knows a newer one.
    #[error("has number {given}, and the backup knows number {known} already: fetch the newest one")]
    OlderNumber {
        /// Of the CRL.
        given: u64,
        /// In the backup.
        known: u64,
    },
    /// The backup knows a newer one.
    #[error("is of {given}, and the backup knows one of {known} already: fetch the newest one")]
    OlderTime {
        /// thisUpdate of the CRL.
        given: Timestamp,
        /// thisUpdate of the backup's.
        known: Timestamp,
    },
}

/// The number of a CRL that is at least as new as what the backup knows. Its signature is the caller's to check.
pub fn check_crl(crl: &Crl, known: Option<&CrlRecord>) -> Result<u64, CrlRefused> {
    let given = crl.number().ok_or(CrlRefused::NoNumber)?;
    match known {
        Some(known) if given < known.number => Err(CrlRefused::OlderNumber { given, known: known.number }),
        Some(known) if crl.this_update() < known.this_update => {
            Err(CrlRefused::OlderTime { given: crl.this_update(), known: known.this_update })
        }
        _ => Ok(given),
    }
}

/// A CRL takes a durable commit, which is never done in less than a millisecond.
const NUMBERS_PER_SECOND: u64 = 1_000;
/// How far the clocks of the old and the new machine may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(3_600);

/// A number that no CRL can have had: the newest known CRL has `number` and was made at `this_update`, and from then until `now`
/// others may have been published that nobody kept.
pub fn reserved_number(number: u64, this_update: Timestamp, now: Timestamp) -> u64 {
    let elapsed = now.since(this_update).saturating_add(CLOCK_SKEW).as_secs();
    number.saturating_add(elapsed.saturating_mul(NUMBERS_PER_SECOND))
}

/// The cause that stands for an entry of a published CRL. It has the key of an operator's act, so that an operator can release a hold.
pub fn cause_of(entry: &CrlEntry, actor: String, number: u64) -> Cause {
    let (reference, effect) = match entry.reason {
        RevocationReason::CertificateHold => ("hold", Effect::Hold),
        reason => ("revoke", Effect::Revoke { reason }),
    };
    Cause {
        key: CauseKey { kind: CauseKind::Manual, reference: reference.to_owned() },
        effect,
        since: entry.revoked_at,
        invalidity_date: entry.invalidity_date,
        actor,
        note: format!("listed in CRL number {number}, which a restore was given"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        types::KeyAlgorithm,
        wire::{crl::CrlSpec, x509::testing::Authority},
    };

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn crl(number: u64, this_update: Timestamp) -> Crl {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
        let next_update = this_update.plus(Duration::from_secs(60));
        let spec = CrlSpec::new(ca.certificate.subject(), &[1; 20], number, this_update, next_update);
        let unsigned = spec.unsigned(ca.key.algorithm(), std::iter::empty()).unwrap();
        Crl::from_der(&ca.key.finish(unsigned)).unwrap()
    }

    fn known(number: u64, this_update: Timestamp) -> CrlRecord {
        CrlRecord::reserved("issuing".parse().unwrap(), number, this_update)
    }

    #[test]
    fn a_crl_is_at_least_as_new_as_the_backup() {
        let later = NOW.plus(Duration::from_secs(1));
        let backup = known(7, NOW);
        assert_eq!(check_crl(&crl(7, NOW), Some(&backup)), Ok(7));
        assert_eq!(check_crl(&crl(8, later), Some(&backup)), Ok(8));
        assert_eq!(check_crl(&crl(1, NOW), None), Ok(1));
        let older = check_crl(&crl(6, later), Some(&backup));
        assert_eq!(older, Err(CrlRefused::OlderNumber { given: 6, known: 7 }));
        let words = CrlRefused::NoNumber.to_string();
        assert!(words.contains("below 2^64"), "a CRL with a number of 20 octets has one: {words}");
        let older = check_crl(&crl(8, NOW), Some(&known(7, later)));
        assert_eq!(older, Err(CrlRefused::OlderTime { given: NOW, known: later }));
    }

    #[test]
    fn reserved_numbers_are_above_what_time_allowed() {
        let day = Duration::from_secs(86_400);
        assert_eq!(reserved_number(41, NOW, NOW.plus(day)), 41 + (86_400 + 3_600) * 1_000);
        assert_eq!(reserved_number(41, NOW.plus(day), NOW), 41 + 3_600 * 1_000, "the clock went back");
        assert_eq!(reserved_number(u64::MAX - 1, NOW, NOW), u64::MAX);
    }

    #[test]
    fn a_hold_stays_a_hold() {
        let entry = |reason| CrlEntry {
            serial: "0a".parse().unwrap(),
            revoked_at: NOW,
            reason,
            invalidity_date: None,
        };
        let hold = cause_of(&entry(RevocationReason::CertificateHold), String::new(), 9);
        assert_eq!((hold.effect, hold.key.reference.as_str()), (Effect::Hold, "hold"));
        let reason = RevocationReason::KeyCompromise;
        let revoked = cause_of(&entry(reason), String::new(), 9);
        assert_eq!((revoked.effect, revoked.since), (Effect::Revoke { reason }, NOW));
    }
}
