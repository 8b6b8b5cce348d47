//! What changed since a full CRL.
//!
//! A delta starts from the newest full CRL, and where it is made together with one, from the full CRL before: then it has the number of
//! the new one (RFC 5280 §5.2.3) and serves those who hold the old one. It is computed from the lists themselves, so that nothing
//! has to be remembered between two of them, over a restart either.
//!
//! What the delta before said of a certificate is said again until the next full CRL: whoever was on hold in between, and is not
//! any more, has to be listed with removeFromCRL though no full CRL ever had it (RFC 5280 §5.2.4).

use std::{borrow::Cow, cmp::Ordering, iter::Peekable};

use crate::{
    service::ServiceError,
    types::Timestamp,
    wire::crl::{DeltaEntry, EncodedEntries, EncodedEntry, EntryList},
};

/// The entries of the delta, in the order of serials: from the list of the full CRL that it starts from (`base`) to `now`, with what the
/// delta `before` said that started from the same one. What is removed is so since `since`.
pub(super) fn changes<'a>(
    base: EncodedEntries<'a>,
    now: impl Iterator<Item = EncodedEntry<'a>>,
    before: EncodedEntries<'a>,
    since: Timestamp,
) -> Result<EntryList<'static>, ServiceError> {
    let (mut base, mut now, mut before) = (base.peekable(), now.peekable(), before.peekable());
    let (mut changes, mut entries) = (Vec::new(), 0);
    loop {
        let next = [base.peek(), now.peek(), before.peek()];
        let Some(next) = next.into_iter().flatten().min_by(|a, b| a.order().cmp(&b.order())).copied() else {
            let mut list = EntryList::default();
            list.push(Cow::Owned(changes), entries);
            return Ok(list);
        };
        let old = take(&mut base, &next);
        let new = take(&mut now, &next);
        let said = take(&mut before, &next);
        match (old, new) {
            (Some(old), Some(new)) if old.der == new.der && said.is_none() => continue,
            (_, Some(new)) => changes.extend_from_slice(new.der),
            (_, None) => match said.filter(EncodedEntry::is_removal) {
                Some(said) => changes.extend_from_slice(said.der),
                None => changes.extend(DeltaEntry::Removed { serial: next.serial()?, since }.to_der()),
            },
        }
        entries += 1;
    }
}

/// Whether `base` with the changes is `now`: what everybody computes who has both.
pub(super) fn lead_to<'a>(
    base: EncodedEntries<'a>,
    changes: impl Iterator<Item = EncodedEntry<'a>>,
    now: impl Iterator<Item = EncodedEntry<'a>>,
) -> bool {
    applied(base, changes).eq(now)
}

/// `base` with the changes.
pub(super) fn applied<'a>(
    base: EncodedEntries<'a>,
    changes: impl Iterator<Item = EncodedEntry<'a>>,
) -> impl Iterator<Item = EncodedEntry<'a>> {
    Applied { base: base.peekable(), changes: changes.peekable() }
}

/// The next one, if it is about the same certificate as `wanted`.
fn take<'a>(
    list: &mut Peekable<impl Iterator<Item = EncodedEntry<'a>>>,
    wanted: &EncodedEntry<'_>,
) -> Option<EncodedEntry<'a>> {
    list.next_if(|entry| entry.order() == wanted.order())
}

struct Applied<'a, C: Iterator<Item = EncodedEntry<'a>>> {
    base: Peekable<EncodedEntries<'a>>,
    changes: Peekable<C>,
}

impl<'a, C: Iterator<Item = EncodedEntry<'a>>> Iterator for Applied<'a, C> {
    type Item = EncodedEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(change) = self.changes.peek() else { return self.base.next() };
            let order = self.base.peek().map_or(Ordering::Greater, |base| base.order().cmp(&change.order()));
            if order == Ordering::Less {
                return self.base.next();
            }
            if order == Ordering::Equal {
                self.base.next();
            }
            let change = self.changes.next()?;
            if !change.is_removal() {
                return Some(change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        types::{KeyAlgorithm, RevocationReason},
        wire::{
            crl::{CrlEntry, CrlSpec},
            x509::testing::Authority,
        },
    };

    const T0: u64 = 1_767_225_600;

    /// The state of ten serials: none, or revoked or held at a time.
    type State = [Option<(u64, bool)>; 10];

    fn listed(state: &State) -> Vec<Vec<u8>> {
        let entry = |(index, cause): (usize, &Option<(u64, bool)>)| {
            let (at, held) = (*cause)?;
            let reason = if held { RevocationReason::CertificateHold } else { RevocationReason::Superseded };
            let serial = format!("{:x}", 0x7c + index).parse().unwrap();
            let entry =
                CrlEntry { serial, revoked_at: Timestamp::from_unix(T0 + at), reason, invalidity_date: None };
            Some(entry.to_der())
        };
        state.iter().enumerate().filter_map(entry).collect()
    }

    fn crl(entries: &[Vec<u8>]) -> Vec<u8> {
        let ca = Authority::new(KeyAlgorithm::P256, "CN=CA");
        let now = Timestamp::from_unix(T0);
        let spec = CrlSpec::new(ca.certificate.subject(), &[1; 20], 1, now, now);
        ca.key.finish(spec.unsigned(ca.key.algorithm(), entries.iter().map(Vec::as_slice)).unwrap())
    }

    fn encoded(entries: &[Vec<u8>]) -> impl Iterator<Item = EncodedEntry<'_>> {
        entries.iter().map(|der| EncodedEntry::of(der).unwrap())
    }

    /// Gives the delta as entries.
    fn delta(base: &[u8], now: &[Vec<u8>], before: &[u8], since: u64) -> Vec<Vec<u8>> {
        let lists = [base, before].map(|der| EncodedEntries::of(der).unwrap());
        let [base, before] = lists;
        let changes = changes(base, encoded(now), before, Timestamp::from_unix(T0 + since)).unwrap();
        let entries: Vec<_> = changes.iter().map(|entry| entry.der.to_vec()).collect();
        assert_eq!(changes.len(), entries.len() as u64);
        entries
    }

    #[test]
    fn a_hold_that_came_and_went_is_removed_though_no_full_crl_had_it() {
        let mut state: State = [None; 10];
        let (base, none) = (crl(&[]), crl(&[]));
        state[3] = Some((1, true));
        let held = delta(&base, &listed(&state), &none, 1);
        assert_eq!(held, listed(&state));
        state[3] = None;
        let released = delta(&base, &listed(&state), &crl(&held), 2);
        assert_eq!(released.len(), 1);
        assert!(encoded(&released).all(|entry| entry.is_removal()));
        let again = delta(&base, &listed(&state), &crl(&released), 3);
        assert_eq!(again, released, "and stays so since the same time");
        assert!(delta(&crl(&[]), &[], &none, 4).is_empty(), "until the next full CRL");
    }

    #[test]
    fn what_does_not_lead_to_the_full_list_is_noticed() {
        let mut state: State = [None; 10];
        state[0] = Some((1, true));
        let (base, now) = (crl(&listed(&state)), listed(&[None; 10]));
        let wrong: Vec<Vec<u8>> = Vec::new();
        assert!(!lead_to(EncodedEntries::of(&base).unwrap(), encoded(&wrong), encoded(&now)));
    }

    fn state() -> impl Strategy<Value = State> {
        std::array::from_fn(|_| prop::option::weighted(0.5, (0..3_u64, any::<bool>())))
    }

    proptest! {
        /// Through any history, each delta leads from the full CRL that it starts from to the list of its own time, and says
        /// something of every certificate that a delta since then has spoken of.
        #[test]
        fn a_delta_leads_from_its_base_to_the_present(history in prop::collection::vec(state(), 2..6)) {
            let base = crl(&listed(&history[0]));
            let mut before = crl(&[]);
            let mut spoken: Vec<Vec<u8>> = Vec::new();
            for (time, state) in (0..).zip(&history[1..]) {
                let now = listed(state);
                let delta = delta(&base, &now, &before, time);
                prop_assert!(lead_to(EncodedEntries::of(&base).unwrap(), encoded(&delta), encoded(&now)));
                let serials: Vec<_> = encoded(&delta).map(|entry| entry.magnitude().to_vec()).collect();
                prop_assert!(serials.is_sorted());
                prop_assert!(spoken.iter().all(|serial| serials.contains(serial)));
                spoken = serials;
                before = crl(&delta);
            }
        }
    }
}
