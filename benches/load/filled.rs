//! A store that has many certificates, so many of them revoked.

use std::{path::Path, time::Duration};

use certgate::{
    adapters::{store::RedbStore, system::SystemClock},
    domain::{
        certificate::{CertificateRecord, Purpose},
        status::{Cause, CauseKey, CauseKind, Effect},
    },
    ports::{Clock as _, Store},
    types::{CertificateId, Fingerprint, RevocationReason, SerialNumber, Timestamp, Validity},
};

/// Certificates of one transaction while the store is filled: each of them changes pages all over the indexes.
const BATCH: u64 = 50_000;
/// Page cache meanwhile, in bytes.
const CACHE: usize = 2 << 30;

/// The serial number of a certificate: spread, and always the same.
pub fn serial(number: u64) -> SerialNumber {
    let digest = *Fingerprint::of(&number.to_be_bytes()).as_bytes();
    SerialNumber::from_random(*digest.first_chunk().unwrap())
}

/// The certificate of this number.
pub fn id(number: u64) -> CertificateId {
    CertificateId { issuer: "issuing".parse().unwrap(), serial: serial(number) }
}

fn record(number: u64, now: Timestamp, der: &[u8]) -> CertificateRecord {
    CertificateRecord {
        id: id(number),
        fingerprint: Fingerprint::of(&number.to_be_bytes()),
        der: der.to_vec(),
        public_key: Fingerprint::of(&number.to_le_bytes()),
        subject: format!("CN=device-{number},O=Example"),
        validity: Validity { not_before: now, not_after: now.plus(Duration::from_secs(365 * 86_400)) },
        purpose: Purpose::Leaf,
        profile: Some(("device".parse().unwrap(), 1)),
        enrolment: None,
        supersedes: None,
        issued_at: now,
    }
}

/// Puts `issued` certificates of the issuer `issuing` there, each with this DER, and revokes the first of them.
pub fn fill(path: &Path, issued: u64, revoked: u64, der: &[u8]) {
    let store: &dyn Store = &RedbStore::open_with_cache(path, CACHE).expect("the store opens");
    let now = SystemClock.now();
    let cause = Cause {
        key: CauseKey { kind: CauseKind::Manual, reference: "revoke".to_owned() },
        effect: Effect::Revoke { reason: RevocationReason::CessationOfOperation },
        since: now,
        invalidity_date: None,
        actor: "local uid 0".to_owned(),
        note: "a bench".to_owned(),
    };
    for from in (0..issued).step_by(usize::try_from(BATCH).unwrap()) {
        let filled = store.write(|tx| {
            for number in from..(from + BATCH).min(issued) {
                tx.insert_certificate(&record(number, now, der))?;
                if number < revoked {
                    tx.put_cause(&id(number), &cause)?;
                }
            }
            Ok::<_, certgate::ports::StoreError>(())
        });
        filled.expect("the store takes them");
    }
}
