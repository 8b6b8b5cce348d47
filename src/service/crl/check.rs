//! What must hold before a CRL is published.

use std::thread;

use super::{
    build::{Build, Draft},
    delta,
};
use crate::{
    domain::crl::{CrlRecord, CrlScope},
    service::{Gateway, ServiceError},
    types::{CertificateId, RevocationReason, SerialNumber},
    wire::{
        crl::{CrlHead, EncodedEntries},
        x509::{BadSignature, DecodeError},
    },
};

impl Gateway {
    /// Reads the CRL back and compares it with what it should be and with the one before.
    pub(super) fn check_draft(&self, build: &Build<'_>, draft: &Draft<'_>) -> Result<(), ServiceError> {
        let der = &draft.record.der;
        let head = CrlHead::of(der)?;
        let verify = || head.verify(der, &build.authority.certificate);
        let (verified, compared) = if draft.is_large() {
            // Half of the time goes into the digest of the signed bytes.
            thread::scope(|threads| {
                let verified = threads.spawn(verify);
                let compared = self.compare_draft(build, draft, &head);
                (verified.join().unwrap_or(Err(BadSignature)), compared)
            })
        } else {
            (verify(), self.compare_draft(build, draft, &head))
        };
        compared?;
        verified.map_err(|_| draft.wrong("has a signature that does not verify"))
    }

    fn compare_draft(
        &self,
        build: &Build<'_>,
        draft: &Draft<'_>,
        head: &CrlHead,
    ) -> Result<(), ServiceError> {
        let CrlRecord { issuer, scope, der, .. } = &draft.record;
        let wrong = |what: &str| Err(draft.wrong(what));
        if !reads_back(head, draft)? {
            return wrong("does not read back as it was written");
        }
        if let Some(base) = &draft.base
            && !delta::lead_to(base.clone(), EncodedEntries::of(der)?, build.entries().iter())
        {
            return wrong("does not lead from its base to the present");
        }
        let Some(previous) = build.before(*scope) else { return Ok(()) };
        let CrlRecord { number, this_update, .. } = draft.record;
        if number <= previous.number {
            return wrong(&format!("would have number {number} after {}", previous.number));
        }
        if this_update < previous.this_update {
            // Clients with the right time refuse the CRL before as not yet valid: the new one must go out.
            tracing::warn!(%issuer, before = %previous.this_update, now = %this_update, "the clock went back");
        }
        if *scope == CrlScope::Delta {
            return Ok(());
        }
        let gone = no_longer_listed(EncodedEntries::of(&previous.der)?, EncodedEntries::of(der)?)?;
        match self.vanished(build, &gone)? {
            None => Ok(()),
            Some(serial) => wrong(&format!("would no longer list {serial}, which is revoked for good")),
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

impl Draft<'_> {
    fn wrong(&self, what: &str) -> ServiceError {
        let CrlRecord { issuer, scope, .. } = &self.record;
        ServiceError::Internal(format!("the new CRL ({}) of {issuer} {what}", scope.label()))
    }
}

/// Whether a CRL says what its draft wanted, to the last byte of the list.
fn reads_back(head: &CrlHead, draft: &Draft<'_>) -> Result<bool, ServiceError> {
    let record = &draft.record;
    Ok(head.number() == Some(record.number)
        && head.this_update() == record.this_update
        && head.next_update() == Some(record.next_update)
        && head.base_number() == record.base_number
        && head.distribution_point().is_some() == matches!(record.scope, CrlScope::Partition(_))
        && EncodedEntries::of(&record.der)?.same(draft.entries.iter()))
}

/// The serials that are listed as revoked for good `before` and not `after`; both in the order of serials.
fn no_longer_listed<'a>(
    mut before: EncodedEntries<'a>,
    mut after: EncodedEntries<'a>,
) -> Result<Vec<SerialNumber>, DecodeError> {
    let mut gone = Vec::new();
    // Nearly everything is in both, unchanged.
    before.skip_common(&mut after);
    let mut new = after.next();
    while let Some(old) = before.next() {
        while new.is_some_and(|new| new.order() < old.order()) {
            new = after.next();
        }
        if new.is_some_and(|new| new.order() == old.order()) {
            before.skip_common(&mut after);
            new = after.next();
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
    use std::{borrow::Cow, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        types::Timestamp,
        wire::crl::{CrlEntry, EntryList},
    };

    fn list(all: &[Vec<u8>]) -> EntryList<'_> {
        let mut list = EntryList::default();
        for der in all {
            list.push(Cow::Borrowed(der), 1);
        }
        list
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
            let gone = no_longer_listed(list(&before).iter(), list(&after).iter()).unwrap();
            gone.iter().map(ToString::to_string).collect()
        };
        assert!(gone("01 02 03 04 06 07 0100 0101").is_empty());
        assert!(gone("02 06 0100").is_empty());
        assert_eq!(gone("02 03 0100"), ["06"]);
        assert_eq!(gone("05"), ["02", "06", "0100"]);
        assert_eq!(gone(""), ["02", "06", "0100"]);
    }

    /// Of 400 serials those that are listed, each with the time of its revocation.
    fn listed(state: &BTreeMap<u32, u64>) -> Vec<Vec<u8>> {
        let entry = |(serial, at): (&u32, &u64)| CrlEntry {
            serial: format!("{:x}", serial + 1).parse().unwrap(),
            revoked_at: Timestamp::from_unix(1_767_225_600 + at),
            reason: RevocationReason::Superseded,
            invalidity_date: None,
        };
        state.iter().map(|it| entry(it).to_der()).collect()
    }

    proptest! {
        /// However many are the same side by side, and in whatever pieces they lie.
        #[test]
        fn exactly_what_has_left_is_missed(
            before in prop::collection::btree_map(0..400_u32, 0..2_u64, 0..400),
            changes in prop::collection::btree_map(0..400_u32, prop::option::of(0..2_u64), 0..6),
            piece in 1..100_usize,
        ) {
            let mut after = before.clone();
            for (serial, change) in &changes {
                match change {
                    Some(at) => after.insert(*serial, *at),
                    None => after.remove(serial),
                };
            }
            let gone = before.keys().filter(|serial| !after.contains_key(serial));
            let gone: Vec<_> = gone.map(|serial| format!("{:x}", serial + 1).parse().unwrap()).collect();
            let (before, after) = (listed(&before), listed(&after));
            let mut pieces = EntryList::default();
            for some in after.chunks(piece) {
                pieces.push(Cow::Owned(some.concat()), some.len() as u64);
            }
            let whole = [before.concat()];
            let found = no_longer_listed(list(&whole).iter(), pieces.iter()).unwrap();
            prop_assert_eq!(found, gone);
        }
    }
}
