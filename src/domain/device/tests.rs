//! Every pair of state and event, and what the pairs do to certificates.

use proptest::prelude::*;

use super::*;
use crate::{
    domain::status::{Status, effective},
    types::{RevocationReason, Validity},
};

const T0: u64 = 1_800_000_000;

fn device(lifecycle: Lifecycle) -> Device {
    let mut device =
        Device::new("SN1".parse().unwrap(), Registration::default(), Timestamp::from_unix(T0)).unwrap();
    device.lifecycle = lifecycle;
    device
}

fn conditions(mut device: Device, kinds: &[ConditionKind]) -> Device {
    device.conditions = kinds
        .iter()
        .map(|kind| Condition { kind: *kind, since: Timestamp::from_unix(T0), note: String::new() })
        .collect();
    device
}

fn apply(device: &Device, event: DeviceEvent) -> Result<Transition, TransitionRefused> {
    apply_under(device, event, LifecyclePolicy::DEFAULT)
}

fn apply_under(
    device: &Device,
    event: DeviceEvent,
    policy: LifecyclePolicy,
) -> Result<Transition, TransitionRefused> {
    device.apply(event, &policy, "operator", "why", Timestamp::from_unix(T0 + 100))
}

/// What a certificate's causes are after the events, applied as a store would.
fn live_through(events: &[DeviceEvent]) -> (Device, Vec<Cause>) {
    let mut device = device(Lifecycle::Active);
    let mut causes: Vec<Cause> = Vec::new();
    for event in events {
        let transition = apply(&device, *event).unwrap_or_else(|refused| panic!("{refused}"));
        device = transition.device;
        change(&mut causes, transition.causes);
    }
    (device, causes)
}

fn change(causes: &mut Vec<Cause>, changes: Vec<CauseChange>) {
    for change in changes {
        match change {
            CauseChange::Put(cause) => {
                causes.retain(|c| c.key != cause.key);
                causes.push(cause);
            }
            CauseChange::Release(key) => causes.retain(|c| c.key != key || c.effect != Effect::Hold),
        }
    }
}

fn status(causes: &[Cause]) -> Status {
    let validity =
        Validity { not_before: Timestamp::from_unix(T0), not_after: Timestamp::from_unix(T0 + 9999) };
    effective(causes, &validity, Timestamp::from_unix(T0 + 200))
}

/// The table: per state, where each event leads (the same state where only conditions change), or nothing
/// where it is refused. In the order of `DeviceEvent::ALL`.
#[expect(clippy::too_many_lines, reason = "it is the whole table")]
fn table() -> [(Lifecycle, [Option<Lifecycle>; 15]); 8] {
    use Lifecycle::{Active, Expired, Pending, RetirePending, Retired, Verified, WipePending, Wiped};
    let s = Some;
    // Enrolled, Retire, Unretire, Wipe, CancelWipe, Force, Lost, Found, Compromised, Cleared, TicketExpired,
    // Reprovision, SourceMissing, SourceHold, SourceBack
    [
        (
            Pending,
            [
                s(Active),
                s(Retired),
                None,
                None,
                None,
                None,
                s(Pending),
                None,
                s(Pending),
                None,
                s(Expired),
                s(Pending),
                s(Pending),
                s(Pending),
                None,
            ],
        ),
        (
            Verified,
            [
                s(Active),
                s(Retired),
                None,
                None,
                None,
                None,
                s(Verified),
                None,
                s(Verified),
                None,
                s(Expired),
                s(Pending),
                s(Verified),
                s(Verified),
                None,
            ],
        ),
        (
            Active,
            [
                s(Active),
                s(RetirePending),
                None,
                s(WipePending),
                None,
                None,
                s(Active),
                None,
                s(Active),
                None,
                None,
                s(Pending),
                s(Active),
                s(Active),
                None,
            ],
        ),
        (
            RetirePending,
            [
                None,
                None,
                s(Active),
                s(WipePending),
                None,
                s(Retired),
                s(RetirePending),
                None,
                s(RetirePending),
                None,
                None,
                None,
                s(RetirePending),
                s(RetirePending),
                None,
            ],
        ),
        (
            Retired,
            [None, None, None, None, None, None, None, None, None, None, None, s(Pending), None, None, None],
        ),
        (
            WipePending,
            [
                None,
                None,
                None,
                None,
                s(Active),
                s(Wiped),
                s(WipePending),
                None,
                s(WipePending),
                None,
                None,
                None,
                s(WipePending),
                s(WipePending),
                None,
            ],
        ),
        (
            Wiped,
            [None, None, None, None, None, None, None, None, None, None, None, s(Pending), None, None, None],
        ),
        (
            Expired,
            [
                None,
                s(Retired),
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                s(Pending),
                None,
                None,
                None,
            ],
        ),
    ]
}

#[test]
fn every_state_and_event_is_a_transition_or_a_refusal_with_a_hint() {
    for (from, row) in table() {
        for (event, to) in DeviceEvent::ALL.into_iter().zip(row) {
            match (apply(&device(from), event), to) {
                (Ok(transition), Some(to)) => {
                    assert_eq!(transition.device.lifecycle, to, "{from} {event}");
                    assert_eq!(transition.device.version, 2, "{from} {event}");
                }
                (Err(refused), None) => {
                    assert!(refused.hint.len() > 10, "{refused}");
                    assert!(refused.to_string().contains(event.as_str()), "{refused}");
                }
                (outcome, expected) => panic!("{from} {event}: {outcome:?}, expected {expected:?}"),
            }
        }
    }
}

#[test]
fn pending_acts_hold_and_confirmed_acts_revoke() {
    use DeviceEvent::{CancelWipe, Force, Retire, Unretire, Wipe};
    for (events, expected) in [
        (&[Wipe][..], Status::Hold),
        (&[Wipe, CancelWipe], Status::Good),
        (&[Wipe, Force], Status::Revoked),
        (&[Retire], Status::Hold),
        (&[Retire, Unretire], Status::Good),
        (&[Retire, Force], Status::Revoked),
        (&[Retire, Wipe, Force], Status::Revoked),
    ] {
        assert_eq!(status(&live_through(events).1), expected, "{events:?}");
    }
}

#[test]
fn a_withdrawn_wipe_leaves_the_outstanding_retire() {
    use DeviceEvent::{CancelWipe, Retire, Unretire, Wipe};
    let (device, causes) = live_through(&[Retire, Wipe, CancelWipe]);
    assert_eq!((device.lifecycle, status(&causes)), (Lifecycle::RetirePending, Status::Hold));
    assert!(device.conditions.is_empty());
    let (device, causes) = live_through(&[Retire, Wipe, CancelWipe, Unretire]);
    assert_eq!((device.lifecycle, status(&causes)), (Lifecycle::Active, Status::Good));
}

#[test]
fn releasing_a_wipe_never_releases_a_loss() {
    use DeviceEvent::{CancelWipe, Found, Lost, Wipe};
    let (_, causes) = live_through(&[Lost, Wipe, CancelWipe]);
    assert_eq!(status(&causes), Status::Hold);
    assert_eq!(status(&live_through(&[Lost, Wipe, CancelWipe, Found]).1), Status::Good);
    assert_eq!(status(&live_through(&[Lost, Wipe, Found]).1), Status::Hold);
}

#[test]
fn a_lost_or_compromised_device_is_revoked_for_key_compromise() {
    use DeviceEvent::{Compromised, Force, Lost, Retire, Wipe};
    let reason =
        |events: &[DeviceEvent]| crate::domain::status::revocation(&live_through(events).1).unwrap().reason;
    assert_eq!(reason(&[Wipe, Force]), RevocationReason::CessationOfOperation);
    assert_eq!(reason(&[Lost, Wipe, Force]), RevocationReason::KeyCompromise);
    assert_eq!(reason(&[Wipe, Compromised, Force]), RevocationReason::KeyCompromise);
    assert_eq!(reason(&[Lost, Retire, Force]), RevocationReason::KeyCompromise);
}

#[test]
fn found_changes_nothing_of_a_confirmed_wipe() {
    use DeviceEvent::{Force, Found, Lost, Wipe};
    let (device, causes) = live_through(&[Lost, Wipe, Force, Found]);
    assert_eq!((device.badge(), status(&causes)), ("wiped", Status::Revoked));
}

#[test]
fn revoking_at_request_cannot_be_withdrawn() {
    let policy = LifecyclePolicy {
        on_wipe_requested: PendingEffect::Revoke,
        on_retire_requested: PendingEffect::Revoke,
        ..LifecyclePolicy::DEFAULT
    };
    for (ask, withdraw) in
        [(DeviceEvent::Wipe, DeviceEvent::CancelWipe), (DeviceEvent::Retire, DeviceEvent::Unretire)]
    {
        let asked = apply_under(&device(Lifecycle::Active), ask, policy).unwrap();
        let [CauseChange::Put(cause)] = &asked.causes[..] else { panic!("{:?}", asked.causes) };
        assert_eq!(cause.effect, Effect::Revoke { reason: RevocationReason::CessationOfOperation });
        let refused = apply_under(&asked.device, withdraw, policy).unwrap_err();
        assert!(refused.hint.contains("reprovision"), "{refused}");
    }
}

#[test]
fn a_loss_holds_only_where_the_policy_says_so() {
    let policy = LifecyclePolicy { hold_when_lost: false, ..LifecyclePolicy::DEFAULT };
    let lost = apply_under(&device(Lifecycle::Active), DeviceEvent::Lost, policy).unwrap();
    assert_eq!(lost.causes, []);
    assert_eq!(lost.device.badge(), "lost");
}

#[test]
fn a_second_report_and_a_needless_all_clear_are_refused() {
    let lost = conditions(device(Lifecycle::Active), &[ConditionKind::Lost]);
    let compromised = conditions(device(Lifecycle::Active), &[ConditionKind::Compromised]);
    assert!(apply(&lost, DeviceEvent::Lost).is_err());
    assert!(apply(&compromised, DeviceEvent::Compromised).is_err());
    assert!(apply(&lost, DeviceEvent::Cleared).is_err());
    assert!(apply(&compromised, DeviceEvent::Found).is_err());
}

#[test]
fn a_new_life_supersedes_what_was_in_use_and_clears_nothing_else() {
    let before = device(Lifecycle::Active);
    let again = apply(&before, DeviceEvent::Reprovision).unwrap();
    assert_eq!((again.device.generation, again.device.lifecycle), (2, Lifecycle::Pending));
    assert_eq!(again.device.enrolled_at, None);
    let [CauseChange::Put(cause)] = &again.causes[..] else { panic!("{:?}", again.causes) };
    assert_eq!(cause.effect, Effect::Revoke { reason: RevocationReason::Superseded });
    for dead in [Lifecycle::Retired, Lifecycle::Wiped, Lifecycle::Expired] {
        assert_eq!(apply(&device(dead), DeviceEvent::Reprovision).unwrap().causes, [], "{dead}");
    }
    for kind in [ConditionKind::Lost, ConditionKind::Compromised] {
        assert!(apply(&conditions(device(Lifecycle::Wiped), &[kind]), DeviceEvent::Reprovision).is_err());
    }
}

#[test]
fn enrolling_puts_in_service_once() {
    let first = apply(&device(Lifecycle::Pending), DeviceEvent::Enrolled).unwrap().device;
    assert_eq!(first.enrolled_at, Some(Timestamp::from_unix(T0 + 100)));
    let again = first
        .apply(DeviceEvent::Enrolled, &LifecyclePolicy::DEFAULT, "a", "", Timestamp::from_unix(T0 + 500))
        .unwrap()
        .device;
    assert_eq!((again.enrolled_at, again.lifecycle_since), (first.enrolled_at, first.lifecycle_since));
}

#[test]
fn only_devices_in_good_standing_enrol_and_they_start_without_causes() {
    for lifecycle in Lifecycle::ALL {
        let may = matches!(lifecycle, Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Active);
        let device = device(lifecycle);
        assert_eq!(device.may_enrol().is_ok(), may, "{lifecycle}");
        if may {
            assert_eq!(device.standing_causes(), [], "{lifecycle}");
        }
        for kind in [ConditionKind::Lost, ConditionKind::Compromised] {
            let device = conditions(device.clone(), &[kind]);
            assert!(device.may_enrol().is_err(), "{lifecycle} {kind:?}");
            assert!(!device.standing_causes().is_empty(), "{lifecycle} {kind:?}");
        }
    }
}

#[test]
fn standing_causes_are_those_that_the_events_put() {
    use DeviceEvent::{Compromised, Force, Lost, Retire, Wipe};
    for events in [
        &[Wipe][..],
        &[Retire],
        &[Retire, Wipe],
        &[Lost, Compromised],
        &[Wipe, Force],
        &[Lost, Retire, Force],
    ] {
        let (device, causes) = live_through(events);
        let keys = |causes: &[Cause]| {
            let mut keys: Vec<_> =
                causes.iter().map(|c| (c.key.clone(), format!("{:?}", c.effect))).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&device.standing_causes()), keys(&causes), "{events:?}");
    }
}

#[test]
fn the_badge_shows_the_gravest() {
    let both = [ConditionKind::Lost, ConditionKind::Compromised];
    assert_eq!(conditions(device(Lifecycle::Active), &both).badge(), "compromised");
    assert_eq!(conditions(device(Lifecycle::WipePending), &both).badge(), "wipe pending");
    assert_eq!(device(Lifecycle::Active).badge(), "active");
}

#[test]
fn a_device_that_its_source_misses_is_held_only_where_the_source_says_so() {
    use DeviceEvent::{Force, Lost, Retire, SourceBack, SourceHold, SourceMissing};
    for (events, expected, badge) in [
        (&[SourceMissing][..], Status::Good, "missing"),
        (&[SourceMissing, SourceHold], Status::Hold, "missing"),
        (&[SourceMissing, SourceHold, SourceBack], Status::Good, "active"),
        (&[SourceHold, Lost, SourceBack], Status::Hold, "lost"),
        (&[SourceHold, Retire, Force, SourceBack], Status::Revoked, "retired"),
    ] {
        let (device, causes) = live_through(events);
        assert_eq!((status(&causes), device.badge()), (expected, badge), "{events:?}");
    }
}

#[test]
fn a_missing_device_enrols_unless_it_is_held_for_that() {
    let missing = conditions(device(Lifecycle::Active), &[ConditionKind::SourceMissing]);
    let held = conditions(device(Lifecycle::Active), &[ConditionKind::SourceHold]);
    assert_eq!((missing.may_enrol().is_ok(), held.may_enrol().is_ok()), (true, false));
    assert!(apply(&missing, DeviceEvent::SourceMissing).is_err());
    assert!(apply(&held, DeviceEvent::SourceMissing).is_err());
    assert!(apply(&held, DeviceEvent::SourceHold).is_err());
    assert!(apply(&held, DeviceEvent::Reprovision).is_err());
    assert!(apply(&device(Lifecycle::Active), DeviceEvent::SourceBack).is_err());
}

fn register(registration: Registration) -> Result<Device, InvalidRecord> {
    Device::new("SN1".parse().unwrap(), registration, Timestamp::from_unix(1_800_000_000))
}

fn with_serial(serial: &str) -> Registration {
    let identities = BTreeMap::from([(IdentityKind::Serial, serial.to_owned())]);
    Registration { identities, ..Registration::default() }
}

#[test]
fn registers_pending_with_trimmed_identities() {
    let device = register(with_serial(" C02XY ")).unwrap();
    assert_eq!(device.identities[&IdentityKind::Serial], "C02XY");
    assert_eq!((device.lifecycle, device.generation, device.version), (Lifecycle::Pending, 1, 1));
    assert_eq!(device.name, "SN1");
}

#[test]
fn refuses_values_that_cannot_be_shown_or_matched() {
    for bad in ["", "  ", "a\nb", "a\u{0}b", &"x".repeat(129)] {
        assert_eq!(register(with_serial(bad)).unwrap_err().field, "identities.serial", "{bad:?}");
    }
    let sid = |sid: &str| register(Registration { sid: Some(sid.to_owned()), ..Registration::default() });
    assert!(sid("S-1-5-21-1-2-3-1001").is_ok());
    for bad in ["", "S-1-", "S-1-5", "S-1-5-x", "S-1-5--1", "500"] {
        assert!(sid(bad).is_err(), "{bad}");
    }
    let attributes = BTreeMap::from([("a b".to_owned(), String::new())]);
    assert!(register(Registration { attributes, ..Registration::default() }).is_err());
}

#[test]
fn texts_are_those_of_the_stored_form() {
    for lifecycle in Lifecycle::ALL {
        assert_eq!(serde_json::to_value(lifecycle).unwrap(), lifecycle.as_str());
    }
    for event in DeviceEvent::ALL {
        assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
    }
    for kind in IdentityKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

proptest! {
    /// Whatever happens to a device, its record alone tells what its certificates are.
    #[test]
    fn the_record_and_the_causes_agree_after_any_history(
        events in prop::collection::vec(prop::sample::select(DeviceEvent::ALL.to_vec()), 0..24)
    ) {
        let mut device = device(Lifecycle::Active);
        let mut causes: Vec<Cause> = Vec::new();
        let mut revoked = false;
        for event in events.into_iter().filter(|event| *event != DeviceEvent::Reprovision) {
            let Ok(transition) = apply(&device, event) else { continue };
            device = transition.device;
            change(&mut causes, transition.causes);
            prop_assert_eq!(status(&causes), status(&device.standing_causes()), "{}", event);
            prop_assert!(!revoked || status(&causes) == Status::Revoked);
            revoked = status(&causes) == Status::Revoked;
            prop_assert_eq!(device.may_enrol().is_ok(), causes.is_empty());
        }
    }
}
