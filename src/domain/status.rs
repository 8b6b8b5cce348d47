//! The status of a certificate, from its causes. OCSP, CRL, SCEP GetCRL, API and CLI all read [`effective`].
//!
//! # The state of the issuer
//!
//! What happens to the certificate of a CA happens to every certificate below it: [`inherited`] is that cause. It is computed when
//! a status is read and never stored, so that one act on a CA is one row, whatever the CA has issued.
//!
//! | the CA's certificate | certificates below it | why |
//! |---|---|---|
//! | certificateHold | certificateHold, until it is released | no path through the CA is valid meanwhile |
//! | keyCompromise, cACompromise | cACompromise | the reason that RFC 5280 §5.3.1 has for it; RFC 6960 §2.7 |
//! | anything else | cessationOfOperation | their keys are not suspected, but nobody vouches for them any more |
//!
//! The CA's own reason is not copied: a CA that was superseded has not had each of its certificates replaced, and one whose
//! affiliation changed says nothing of theirs. Since and invalidityDate are the CA's: what was signed after its key was lost is not
//! to be trusted, whoever signed it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{CertificateId, RevocationReason, Timestamp, Validity};

/// Where a cause comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// An operator acted on the certificate itself.
    Manual,
    /// The device's lifecycle (wipe, retire).
    DeviceLifecycle,
    /// A condition of the device (lost, compromised).
    DeviceCondition,
    /// The user's state.
    UserState,
    /// A newer certificate took its place.
    Superseded,
    /// The certificate of its issuer is revoked or on hold: computed ([`inherited`]), never stored.
    Issuer,
    /// Somebody who vouched for the request wants it, or was never told of the certificate.
    Voucher,
}

/// What identifies a cause among those of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CauseKey {
    /// Where it comes from.
    pub kind: CauseKind,
    /// Which one of that kind: `wipe`, `retire`, `lost`, `hold`, `revoke`, a user's id.
    pub reference: String,
}

/// What a cause does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// certificateHold until it is released.
    Hold,
    /// Revoked for good.
    Revoke {
        /// Why (never certificateHold).
        reason: RevocationReason,
    },
}

/// One reason for a certificate not to be good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its key.
    pub key: CauseKey,
    /// What it does.
    pub effect: Effect,
    /// Since when.
    pub since: Timestamp,
    /// When the key was probably lost, if known (RFC 5280 §5.3.2).
    pub invalidity_date: Option<Timestamp>,
    /// Who caused it, as text.
    pub actor: String,
    /// Why, as they put it.
    pub note: String,
}

/// What OCSP and CRL say of a certificate that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revocation {
    /// revocationTime / revocationDate.
    pub at: Timestamp,
    /// CRLReason; `certificateHold` for a hold.
    pub reason: RevocationReason,
    /// invalidityDate.
    pub invalidity_date: Option<Timestamp>,
}

/// The effective status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// In its validity period, with no cause.
    Good,
    /// On hold.
    Hold,
    /// Revoked for good.
    Revoked,
    /// Past notAfter, with no cause.
    Expired,
    /// Before notBefore, with no cause.
    NotYetValid,
}

impl fmt::Display for Status {
    /// In a sentence: "the certificate is on hold".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Hold => "on hold",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
        })
    }
}

/// A change to the causes of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CauseChange {
    /// Add or replace the cause with this key, where [`check_change`] allows it.
    Put(Cause),
    /// Remove the cause with this key, if it is a hold; a permanent cause stays.
    Release(CauseKey),
}

/// The revocation that `causes` amount to, if any: one cause is enough, and none overrides another. The strongest
/// permanent cause is what shows: compromise of a key first, then the earliest (of equally early ones the lower
/// code); else the earliest hold.
pub fn revocation(causes: &[Cause]) -> Option<Revocation> {
    strongest(causes.iter().map(shown))
}

/// What several revocations of one certificate amount to: the same rule as [`revocation`]'s.
pub fn strongest(revocations: impl IntoIterator<Item = Revocation>) -> Option<Revocation> {
    revocations.into_iter().min_by_key(strength)
}

/// The cause that a CA's certificate `ca` is for every certificate below it, where `causes` are those of `ca`, the one from
/// above it included. None while the CA is in good standing. Reasons: see the module's words.
pub fn inherited(ca: &CertificateId, causes: &[Cause]) -> Option<Cause> {
    let Revocation { at, reason, invalidity_date } = revocation(causes)?;
    let (effect, state) = match reason {
        RevocationReason::CertificateHold => (Effect::Hold, "on hold".to_owned()),
        _ if is_compromise(reason) => {
            (Effect::Revoke { reason: RevocationReason::CaCompromise }, format!("revoked ({reason})"))
        }
        _ => {
            (Effect::Revoke { reason: RevocationReason::CessationOfOperation }, format!("revoked ({reason})"))
        }
    };
    Some(Cause {
        key: CauseKey { kind: CauseKind::Issuer, reference: ca.to_string() },
        effect,
        since: at,
        invalidity_date,
        actor: "certgate".to_owned(),
        note: format!("the certificate {ca} of the CA is {state}"),
    })
}

/// The effective status of a certificate.
pub fn effective(causes: &[Cause], validity: &Validity, now: Timestamp) -> Status {
    match revocation(causes) {
        Some(Revocation { reason: RevocationReason::CertificateHold, .. }) => Status::Hold,
        Some(_) => Status::Revoked,
        None if now < validity.not_before => Status::NotYetValid,
        None if now > validity.not_after => Status::Expired,
        None => Status::Good,
    }
}

fn shown(cause: &Cause) -> Revocation {
    let reason = match cause.effect {
        Effect::Hold => RevocationReason::CertificateHold,
        // A permanent cause never reads as a hold, whatever was recorded: a hold can be released.
        Effect::Revoke { reason: RevocationReason::CertificateHold } => RevocationReason::Unspecified,
        Effect::Revoke { reason } => reason,
    };
    Revocation { at: cause.since, reason, invalidity_date: cause.invalidity_date }
}

/// Smallest is strongest: permanent before held. The last two fields make the order total, so that the order of the causes
/// never matters.
fn strength(revocation: &Revocation) -> (bool, bool, Timestamp, u8, Option<Timestamp>) {
    let Revocation { at, reason, invalidity_date } = *revocation;
    let held = reason == RevocationReason::CertificateHold;
    (held, !is_compromise(reason), at, reason.code(), invalidity_date)
}

fn is_compromise(reason: RevocationReason) -> bool {
    matches!(reason, RevocationReason::KeyCompromise | RevocationReason::CaCompromise)
}

/// A change to the causes of a certificate that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// certificateHold is not a reason for a permanent revocation.
    #[error("certificateHold is no reason for a permanent revocation: put the certificate on hold instead")]
    HoldIsNotPermanent,
    /// A hold would change nothing.
    #[error("the certificate is already revoked for good ({0}): a hold would change nothing")]
    HoldOnRevoked(RevocationReason),
    /// The certificate is revoked; only a raise to keyCompromise is possible.
    #[error(
        "the certificate is already revoked for good ({0}): the reason can only be raised to keyCompromise"
    )]
    AlreadyRevoked(RevocationReason),
}

/// `new` in the place of the one of `existing` that shows and that it adds an invalidityDate to, or an earlier one: when a key was lost is often
/// found out after it is known that it was. It lasts as long as that one.
pub fn dated(existing: &[Cause], new: &Cause) -> Option<Cause> {
    let Effect::Revoke { reason } = new.effect else { return None };
    let same = |old: &&Cause| old.key == new.key && old.effect == new.effect;
    let old = existing.iter().find(same).filter(|old| revocation(existing) == Some(shown(old)))?;
    let earlier = new.invalidity_date.is_some_and(|new| old.invalidity_date.is_none_or(|old| new < old));
    (is_compromise(reason) && earlier).then(|| Cause { since: old.since, ..new.clone() })
}

/// Whether `new` may be recorded beside, or in the place of, `existing` (RFC 5280 §5.3.1).
///
/// A permanent cause is never replaced, but for one that raises the reason to keyCompromise or says when the key was lost ([`dated`]). An operator's
/// own act (kind [`CauseKind::Manual`]) is refused where it would change nothing; causes from devices and
/// users are recorded beside whatever is there. For those a refusal means that the certificate has the same
/// cause already, and nothing needs to be written.
pub fn check_change(existing: &[Cause], new: &Cause) -> Result<(), ChangeRefused> {
    if new.effect == (Effect::Revoke { reason: RevocationReason::CertificateHold }) {
        return Err(ChangeRefused::HoldIsNotPermanent);
    }
    let by_hand = new.key.kind == CauseKind::Manual;
    let concerned: Vec<Cause> = existing.iter().filter(|c| by_hand || c.key == new.key).cloned().collect();
    let Some(before) = revocation(&concerned).filter(|r| r.reason != RevocationReason::CertificateHold)
    else {
        return Ok(());
    };
    if dated(existing, new).is_some() {
        return Ok(());
    }
    match new.effect {
        Effect::Hold => Err(ChangeRefused::HoldOnRevoked(before.reason)),
        Effect::Revoke { reason: RevocationReason::KeyCompromise } if !is_compromise(before.reason) => Ok(()),
        Effect::Revoke { .. } => Err(ChangeRefused::AlreadyRevoked(before.reason)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: u64 = 1_800_000_000;

    fn cause(kind: CauseKind, reference: &str, effect: Effect, since: u64) -> Cause {
        Cause {
            key: CauseKey { kind, reference: reference.to_owned() },
            effect,
            since: Timestamp::from_unix(since),
            invalidity_date: None,
            actor: "test".to_owned(),
            note: String::new(),
        }
    }

    fn revoke(reason: RevocationReason) -> Effect {
        Effect::Revoke { reason }
    }

    fn validity() -> Validity {
        Validity { not_before: Timestamp::from_unix(T0), not_after: Timestamp::from_unix(T0 + 1000) }
    }

    #[test]
    fn without_causes_only_time_counts() {
        let status = |at| effective(&[], &validity(), Timestamp::from_unix(at));
        assert_eq!(status(T0 - 1), Status::NotYetValid);
        assert_eq!(status(T0), Status::Good);
        assert_eq!(status(T0 + 1000), Status::Good);
        assert_eq!(status(T0 + 1001), Status::Expired);
    }

    #[test]
    fn key_compromise_beats_an_earlier_cause() {
        let causes = [
            cause(CauseKind::DeviceLifecycle, "wipe", revoke(RevocationReason::CessationOfOperation), T0),
            cause(CauseKind::Manual, "revoke", revoke(RevocationReason::KeyCompromise), T0 + 9),
            cause(CauseKind::DeviceCondition, "lost", Effect::Hold, T0 - 9),
        ];
        let shown = revocation(&causes).unwrap();
        assert_eq!((shown.reason, shown.at.unix()), (RevocationReason::KeyCompromise, T0 + 9));
    }

    #[test]
    fn the_earliest_of_equals_is_shown() {
        let causes = [
            cause(CauseKind::DeviceLifecycle, "wipe", Effect::Hold, T0 + 5),
            cause(CauseKind::DeviceCondition, "lost", Effect::Hold, T0 + 2),
        ];
        assert_eq!(revocation(&causes).unwrap().at.unix(), T0 + 2);
        assert_eq!(effective(&causes, &validity(), Timestamp::from_unix(T0 + 2000)), Status::Hold);
    }

    #[test]
    fn when_a_key_was_lost_may_be_found_out_later() {
        let lost = |reason, since, date: Option<u64>| Cause {
            invalidity_date: date.map(Timestamp::from_unix),
            ..cause(CauseKind::Manual, "revoke", revoke(reason), since)
        };
        let key = RevocationReason::KeyCompromise;
        let known = lost(key, T0, None);
        let existing = std::slice::from_ref(&known);
        assert_eq!(dated(existing, &lost(key, T0 + 9, Some(T0 - 5))), Some(lost(key, T0, Some(T0 - 5))));
        assert_eq!(check_change(existing, &lost(key, T0 + 9, Some(T0 - 5))), Ok(()));
        let known = [lost(key, T0, Some(T0 - 5))];
        assert!(dated(&known, &lost(key, T0 + 9, Some(T0 - 6))).is_some());
        for later in [None, Some(T0 - 5), Some(T0 - 4)] {
            assert_eq!(dated(&known, &lost(key, T0 + 9, later)), None);
            assert!(check_change(&known, &lost(key, T0 + 9, later)).is_err());
        }
        let superseded = RevocationReason::Superseded;
        assert_eq!(dated(&[lost(superseded, T0, None)], &lost(superseded, T0 + 9, Some(T0))), None);
        let before = cause(CauseKind::DeviceCondition, "compromised", revoke(key), T0 - 1);
        let hidden = [before, lost(key, T0, None)];
        assert_eq!(dated(&hidden, &lost(key, T0 + 9, Some(T0 - 5))), None, "nobody would see it");
    }

    #[test]
    fn a_manual_revocation_is_only_raised_to_key_compromise() {
        let superseded = cause(CauseKind::Manual, "revoke", revoke(RevocationReason::Superseded), T0);
        let again = |effect| cause(CauseKind::Manual, "revoke", effect, T0 + 1);
        let existing = std::slice::from_ref(&superseded);
        assert_eq!(check_change(existing, &again(revoke(RevocationReason::KeyCompromise))), Ok(()));
        assert_eq!(
            check_change(existing, &again(revoke(RevocationReason::CessationOfOperation))),
            Err(ChangeRefused::AlreadyRevoked(RevocationReason::Superseded))
        );
        assert_eq!(
            check_change(existing, &cause(CauseKind::Manual, "hold", Effect::Hold, T0 + 1)),
            Err(ChangeRefused::HoldOnRevoked(RevocationReason::Superseded))
        );
        let compromised = again(revoke(RevocationReason::KeyCompromise));
        assert_eq!(
            check_change(std::slice::from_ref(&compromised), &compromised),
            Err(ChangeRefused::AlreadyRevoked(RevocationReason::KeyCompromise))
        );
    }

    #[test]
    fn a_device_cause_is_recorded_beside_a_manual_revocation() {
        let manual = cause(CauseKind::Manual, "revoke", revoke(RevocationReason::Superseded), T0);
        let wipe = cause(CauseKind::DeviceLifecycle, "wipe", Effect::Hold, T0 + 1);
        assert_eq!(check_change(&[manual], &wipe), Ok(()));
    }

    #[test]
    fn a_permanent_cause_is_never_replaced_by_a_hold() {
        let wiped =
            cause(CauseKind::DeviceLifecycle, "wipe", revoke(RevocationReason::CessationOfOperation), T0);
        let hold = Cause { effect: Effect::Hold, ..wiped.clone() };
        assert!(check_change(&[wiped], &hold).is_err());
    }

    #[test]
    fn certificate_hold_is_no_permanent_reason() {
        let odd = cause(CauseKind::Manual, "revoke", revoke(RevocationReason::CertificateHold), T0);
        assert_eq!(check_change(&[], &odd), Err(ChangeRefused::HoldIsNotPermanent));
        assert_eq!(effective(&[odd], &validity(), Timestamp::from_unix(T0)), Status::Revoked);
    }

    #[test]
    fn what_happens_to_a_ca_happens_below_it() {
        let ca = "root/4f".parse().unwrap();
        let below = |effect| {
            let lost = Some(Timestamp::from_unix(T0 - 9));
            let of_ca = Cause { invalidity_date: lost, ..cause(CauseKind::Manual, "x", effect, T0) };
            let inherited = inherited(&ca, &[of_ca]).unwrap();
            assert_eq!((inherited.since.unix(), inherited.invalidity_date), (T0, lost));
            assert_eq!(
                (inherited.key.kind, inherited.key.reference.as_str()),
                (CauseKind::Issuer, "root/4f")
            );
            inherited.effect
        };
        assert_eq!(below(Effect::Hold), Effect::Hold);
        for compromise in [RevocationReason::KeyCompromise, RevocationReason::CaCompromise] {
            assert_eq!(below(revoke(compromise)), revoke(RevocationReason::CaCompromise));
        }
        for other in [RevocationReason::Superseded, RevocationReason::Unspecified] {
            assert_eq!(below(revoke(other)), revoke(RevocationReason::CessationOfOperation));
        }
        assert_eq!(inherited(&ca, &[]), None);
    }

    fn any_cause() -> impl Strategy<Value = Cause> {
        let kind = prop::sample::select(vec![
            CauseKind::Manual,
            CauseKind::DeviceLifecycle,
            CauseKind::DeviceCondition,
            CauseKind::UserState,
            CauseKind::Superseded,
            CauseKind::Issuer,
            CauseKind::Voucher,
        ]);
        let effect = prop_oneof![
            Just(Effect::Hold),
            prop::sample::select(RevocationReason::ALL.to_vec())
                .prop_filter("not a permanent reason", |r| *r != RevocationReason::CertificateHold)
                .prop_map(revoke),
        ];
        let date = prop::option::of(T0..T0 + 4).prop_map(|t| t.map(Timestamp::from_unix));
        (kind, "[a-c]", effect, T0..T0 + 8, date).prop_map(
            |(kind, reference, effect, since, invalidity_date)| Cause {
                invalidity_date,
                ..cause(kind, &reference, effect, since)
            },
        )
    }

    proptest! {
        /// What the snapshot does: own causes and the inherited one are put together after each was evaluated.
        #[test]
        fn the_strongest_of_parts_is_the_strongest_of_all(
            own in prop::collection::vec(any_cause(), 0..4), other in prop::collection::vec(any_cause(), 0..4)
        ) {
            let parts = revocation(&own).into_iter().chain(revocation(&other));
            prop_assert_eq!(strongest(parts), revocation(&[own.clone(), other.clone()].concat()));
        }

        #[test]
        fn the_order_of_causes_never_matters(
            (causes, shuffled) in prop::collection::vec(any_cause(), 0..6)
                .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
        ) {
            prop_assert_eq!(revocation(&causes), revocation(&shuffled));
        }

        #[test]
        fn releasing_one_hold_leaves_the_others(
            causes in prop::collection::vec(any_cause(), 1..6), pick in any::<prop::sample::Index>()
        ) {
            let mut left = causes.clone();
            let released = left.remove(pick.index(causes.len()));
            prop_assume!(released.effect == Effect::Hold);
            prop_assert_eq!(revocation(&left).is_none(), left.is_empty());
            if left.iter().any(|c| c.effect != Effect::Hold) {
                prop_assert_eq!(revocation(&left), revocation(&causes));
            }
        }

        #[test]
        fn a_permanent_revocation_never_becomes_good(
            changes in prop::collection::vec((any_cause(), any::<bool>()), 1..12), at in T0 - 5..T0 + 2000
        ) {
            let mut causes: Vec<Cause> = Vec::new();
            let mut revoked = false;
            for (new, release) in changes {
                if release {
                    causes.retain(|c| c.key != new.key || c.effect != Effect::Hold);
                } else if check_change(&causes, &new).is_ok() {
                    causes.retain(|c| c.key != new.key);
                    causes.push(new);
                }
                let status = effective(&causes, &validity(), Timestamp::from_unix(at));
                prop_assert!(!revoked || status == Status::Revoked);
                revoked = status == Status::Revoked;
            }
        }
    }
}
