//! What must hold before a CRL is published.

use super::{
    build::{Build, Draft},
    delta,
};
use crate::{
    domain::crl::{CrlRecord, CrlScope},
    service::{Gateway, ServiceError},
    types::{CertificateId, RevocationReason, SerialNumber},
    wire::{
        crl::{CrlHead, EncodedEntries, EncodedEntry},
        x509::DecodeError,
    },
};

impl Gateway {
    /// Reads the CRL back and compares it with what it should be and with the one before.
    pub(super) fn check_draft(&self, build: &Build<'_>, draft: &Draft<'_>) -> Result<(), ServiceError> {
        let CrlRecord { issuer, scope, .. } = &draft.record;
        let wrong = |what: String| {
            ServiceError::Internal(format!("the new CRL ({}) of {issuer} {what}", scope.label()))
        };
        let head = CrlHead::of(&draft.record.der)?;
        head.verify(&draft.record.der, &build.authority.certificate)
            .map_err(|_| wrong("has a signature that does not verify".to_owned()))?;
        if !reads_back(&head, draft)? {
            return Err(wrong("does not read back as it was written".to_owned()));
        }
        if let Some(base) = &draft.base
            && !delta::lead_to(
                base.clone(),
                EncodedEntries::of(&draft.record.der)?,
                build.encoded()?.into_iter(),
            )
        {
            return Err(wrong("does not lead from its base to the present".to_owned()));
        }
        let Some(previous) = build.before(*scope) else { return Ok(()) };
        let CrlRecord { number, this_update, .. } = draft.record;
        if number <= previous.number {
            return Err(wrong(format!("would have number {number} after {}", previous.number)));
        }
        if this_update < previous.this_update {
            // Clients with the right time refuse the CRL before as not yet valid: the new one must go out.
            tracing::warn!(%issuer, before = %previous.this_update, now = %this_update, "the clock went back");
        }
        if *scope == CrlScope::Delta {
            return Ok(());
        }
        let gone =
            no_longer_listed(EncodedEntries::of(&previous.der)?, EncodedEntries::of(&draft.record.der)?)?;
        match self.vanished(build, &gone)? {
            None => Ok(()),
            Some(serial) => Err(wrong(format!("would no longer list {serial}, which is revoked for good"))),
        }
    }

    /// The first of the serials that are `gone` though they did not expire long enough ago.
    fn vanished<'a>(
        &self,
        build: &Build<'_>,
        gone: &'a [SerialNumber],
    ) -> Result<Option<&'a SerialNumber>, ServiceError> {
        let issuer = &build.authority.issuer;
        let keeps = |not_after| issuer.crl_policy.keeps(not_after, build.now, build.latest);
        self.ports.store.read(|view| {
            for serial in gone {
                let id = CertificateId { issuer: issuer.id.clone(), serial: serial.clone() };
                let not_after = view.certificate(&id)?.map(|record| record.validity.not_after);
                if not_after.is_none_or(keeps) {
                    return Ok(Some(serial));
                }
            }
            Ok(None)
        })
    }
}

/// Whether a CRL says what its draft wanted, entry by entry.
fn reads_back(head: &CrlHead, draft: &Draft<'_>) -> Result<bool, ServiceError> {
    let record = &draft.record;
    let listed = EncodedEntries::of(&record.der)?.map(|entry| entry.der);
    Ok(head.number() == Some(record.number)
        && head.this_update() == record.this_update
        && head.next_update() == Some(record.next_update)
        && head.base_number() == record.base_number
        && head.distribution_point().is_some() == matches!(record.scope, CrlScope::Partition(_))
        && listed.eq(draft.entries.iter().map(AsRef::as_ref)))
}

/// The serials that are listed as revoked for good `before` and not `after`; both in the order of serials.
fn no_longer_listed<'a>(
    before: impl Iterator<Item = EncodedEntry<'a>>,
    after: impl Iterator<Item = EncodedEntry<'a>>,
) -> Result<Vec<SerialNumber>, DecodeError> {
    let mut remaining = after.peekable();
    let mut gone = Vec::new();
    for old in before {
        while remaining.next_if(|new| new.order() < old.order()).is_some() {}
        if remaining.peek().is_some_and(|new| new.order() == old.order()) {
            continue;
        }
        let entry = old.revoked()?;
        if entry.reason != RevocationReason::CertificateHold {
            gone.push(entry.serial);
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{types::Timestamp, wire::crl::CrlEntry};

    fn encoded(all: &[Vec<u8>]) -> Vec<EncodedEntry<'_>> {
        all.iter().map(|der| EncodedEntry::of(der).unwrap()).collect()
    }

    #[test]
    fn what_is_revoked_for_good_is_missed_and_a_released_hold_is_not() {
        let (revoked, hold) = (RevocationReason::Superseded, RevocationReason::CertificateHold);
        let der = |(serial, reason): (&str, RevocationReason)| {
            let serial = serial.parse().unwrap();
            let revoked_at = Timestamp::from_unix(1_767_225_600);
            CrlEntry { serial, revoked_at, reason, invalidity_date: None }.to_der()
        };
        let before = [("02", revoked), ("04", hold), ("06", revoked), ("0100", revoked)].map(der);
        let of = |entries: &'static str| -> Vec<Vec<u8>> {
            entries.split_whitespace().map(|serial| der((serial, revoked))).collect()
        };
        let gone = |after: &'static str| -> Vec<String> {
            let after = of(after);
            let gone = no_longer_listed(encoded(&before).into_iter(), encoded(&after).into_iter()).unwrap();
            gone.iter().map(ToString::to_string).collect()
        };
        assert!(gone("01 02 03 04 06 07 0100 0101").is_empty());
        assert!(gone("02 06 0100").is_empty());
        assert_eq!(gone("02 03 0100"), ["06"]);
        assert_eq!(gone("05"), ["02", "06", "0100"]);
        assert_eq!(gone(""), ["02", "06", "0100"]);
    }
}
