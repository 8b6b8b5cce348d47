//! What each event does to a device and its certificates.

use super::{
    Cause, CauseChange, CauseKey, CauseKind, Condition, ConditionKind, Device, DeviceEvent, Effect,
    Lifecycle, LifecyclePolicy, PendingEffect, Transition, TransitionRefused,
};
use crate::types::{RevocationReason, Timestamp};

const WIPE: &str = "wipe";
const RETIRE: &str = "retire";
const LOST: &str = "lost";
const COMPROMISED: &str = "compromised";
const REPROVISION: &str = "reprovision";
const MISSING: &str = "missing";

const REVOKED_ON_REQUEST: &str = "the policy revokes for good on request: confirm with force, then set it up \
    again with reprovision";

/// Who does it, why and when: what every cause and condition is stamped with.
struct Act<'a> {
    policy: &'a LifecyclePolicy,
    actor: &'a str,
    note: &'a str,
    now: Timestamp,
}

type Decided = Result<Transition, &'static str>;

impl Device {
    /// Decides what `event` does. `actor` and `note` are written into the causes.
    ///
    /// The causes concern the certificates bound to the generation that the device had before. A retire that
    /// is outstanding when a wipe is asked for keeps its hold and comes back when the wipe is withdrawn.
    pub fn apply(
        &self,
        event: DeviceEvent,
        policy: &LifecyclePolicy,
        actor: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<Transition, TransitionRefused> {
        let act = Act { policy, actor, note, now };
        let decided = match event {
            DeviceEvent::Enrolled => self.enrolled(&act),
            DeviceEvent::Retire => self.retire(&act),
            DeviceEvent::Unretire => self.unretire(&act),
            DeviceEvent::Wipe => self.wipe(&act),
            DeviceEvent::CancelWipe => self.cancel_wipe(&act),
            DeviceEvent::Force => self.force(&act),
            DeviceEvent::Lost => self.lost(&act),
            DeviceEvent::Found => self.found(&act),
            DeviceEvent::Compromised => self.compromised(&act),
            DeviceEvent::Cleared => self.cleared(&act),
            DeviceEvent::TicketExpired => self.ticket_expired(&act),
            DeviceEvent::Reprovision => self.reprovision(&act),
            DeviceEvent::SourceMissing => self.source_missing(&act),
            DeviceEvent::SourceHold => self.source_hold(&act),
            DeviceEvent::SourceBack => self.source_back(&act),
        };
        decided.map_err(|hint| TransitionRefused { lifecycle: self.lifecycle, event, hint })
    }

    /// The first certificate puts the device in service; further ones change nothing.
    fn enrolled(&self, act: &Act<'_>) -> Decided {
        self.may_enrol()?;
        let mut device = self.moved(Lifecycle::Active, act);
        device.enrolled_at = self.enrolled_at.or(Some(act.now));
        Ok(Transition { device, causes: Vec::new() })
    }

    /// Its ticket ran out before it enrolled: registered in vain.
    fn ticket_expired(&self, act: &Act<'_>) -> Decided {
        match self.lifecycle {
            Lifecycle::Pending | Lifecycle::Verified => {
                Ok(Transition { device: self.moved(Lifecycle::Expired, act), causes: Vec::new() })
            }
            _ => Err("only a device that has not enrolled can run out of time"),
        }
    }

    /// A device in service goes on hold until the retire is confirmed; one that never enrolled has nothing to wait for and is retired at once.
    fn retire(&self, act: &Act<'_>) -> Decided {
        match self.lifecycle {
            Lifecycle::Active => Ok(Transition {
                device: self.moved(Lifecycle::RetirePending, act),
                causes: vec![CauseChange::Put(self.pending_cause(
                    act.policy.on_retire_requested,
                    RETIRE,
                    act,
                ))],
            }),
            Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Expired => {
                Ok(self.confirmed(Lifecycle::Retired, RETIRE, act))
            }
            Lifecycle::RetirePending => {
                Err("a retire is pending already: confirm it with force or withdraw it with unretire")
            }
            Lifecycle::WipePending => Err(
                "a wipe is pending, which does more: confirm it with force or withdraw it with cancel-wipe",
            ),
            Lifecycle::Retired => Err("it is retired already"),
            Lifecycle::Wiped => Err("it is wiped, and its certificates are revoked for good"),
        }
    }

    /// Back to active: the hold goes with the retire.
    fn unretire(&self, act: &Act<'_>) -> Decided {
        match self.lifecycle {
            Lifecycle::RetirePending if act.policy.on_retire_requested == PendingEffect::Revoke => {
                Err(REVOKED_ON_REQUEST)
            }
            Lifecycle::RetirePending => Ok(Transition {
                device: self.moved(Lifecycle::Active, act),
                causes: vec![CauseChange::Release(lifecycle_key(RETIRE))],
            }),
            Lifecycle::WipePending if self.has(ConditionKind::RetireOutstanding) => {
                Err("a wipe is pending on top: withdraw it with cancel-wipe first")
            }
            Lifecycle::Retired => Err("it is retired for good: set it up again with reprovision"),
            _ => Err("no retire is pending"),
        }
    }

    /// Certificates go on hold until the wipe is confirmed. An outstanding retire keeps its hold beside the wipe's.
    fn wipe(&self, act: &Act<'_>) -> Decided {
        let mut device = match self.lifecycle {
            Lifecycle::Active => self.moved(Lifecycle::WipePending, act),
            Lifecycle::RetirePending => self.moved(Lifecycle::WipePending, act).with(
                ConditionKind::RetireOutstanding,
                self.lifecycle_since,
                "",
            ),
            Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Expired => {
                return Err("it has not enrolled, so there is nothing to wipe: use retire");
            }
            Lifecycle::WipePending => {
                return Err(
                    "a wipe is pending already: confirm it with force or withdraw it with cancel-wipe",
                );
            }
            Lifecycle::Retired => return Err("it is retired, and its certificates are revoked for good"),
            Lifecycle::Wiped => return Err("it is wiped already"),
        };
        device.lifecycle_since = act.now;
        let cause = self.pending_cause(act.policy.on_wipe_requested, WIPE, act);
        Ok(Transition { device, causes: vec![CauseChange::Put(cause)] })
    }

    /// Back to active, or to the retire that was pending before.
    fn cancel_wipe(&self, act: &Act<'_>) -> Decided {
        match self.lifecycle {
            Lifecycle::WipePending if act.policy.on_wipe_requested == PendingEffect::Revoke => {
                Err(REVOKED_ON_REQUEST)
            }
            Lifecycle::WipePending => {
                let before = if self.has(ConditionKind::RetireOutstanding) {
                    Lifecycle::RetirePending
                } else {
                    Lifecycle::Active
                };
                let device = self.moved(before, act).without(ConditionKind::RetireOutstanding);
                Ok(Transition { device, causes: vec![CauseChange::Release(lifecycle_key(WIPE))] })
            }
            Lifecycle::Wiped => Err("it is wiped for good: set it up again with reprovision"),
            _ => Err("no wipe is pending"),
        }
    }

    /// What was pending is confirmed.
    fn force(&self, act: &Act<'_>) -> Decided {
        match self.lifecycle {
            Lifecycle::RetirePending => Ok(self.confirmed(Lifecycle::Retired, RETIRE, act)),
            Lifecycle::WipePending => Ok(self.confirmed(Lifecycle::Wiped, WIPE, act)),
            Lifecycle::Retired | Lifecycle::Wiped => Err("it is confirmed already"),
            _ => Err("nothing is pending: ask for retire or wipe first"),
        }
    }

    /// A hold beside the lifecycle, where the policy has one.
    fn lost(&self, act: &Act<'_>) -> Decided {
        self.must_be_live()?;
        if self.has(ConditionKind::Lost) {
            return Err("it is reported lost already: use found when it is back");
        }
        let hold = CauseChange::Put(act.hold(CauseKind::DeviceCondition, LOST));
        Ok(Transition {
            device: self.changed().with(ConditionKind::Lost, act.now, &act.signed_note()),
            causes: if act.policy.hold_when_lost { vec![hold] } else { Vec::new() },
        })
    }

    /// Possible in every lifecycle: a wiped device can be found too. The hold is released whatever the
    /// policy is now.
    fn found(&self, _act: &Act<'_>) -> Decided {
        if !self.has(ConditionKind::Lost) {
            return Err("it is not reported lost");
        }
        Ok(Transition {
            device: self.changed().without(ConditionKind::Lost),
            causes: vec![CauseChange::Release(condition_key(LOST))],
        })
    }

    /// A hold beside the lifecycle, whatever the policy: revoking for good is the wipe's.
    fn compromised(&self, act: &Act<'_>) -> Decided {
        self.must_be_live()?;
        if self.has(ConditionKind::Compromised) {
            return Err("it is marked as compromised already: use wipe, or cleared if it was not");
        }
        Ok(Transition {
            device: self.changed().with(ConditionKind::Compromised, act.now, &act.signed_note()),
            causes: vec![CauseChange::Put(act.hold(CauseKind::DeviceCondition, COMPROMISED))],
        })
    }

    fn cleared(&self, _act: &Act<'_>) -> Decided {
        if !self.has(ConditionKind::Compromised) {
            return Err("it is not marked as compromised");
        }
        Ok(Transition {
            device: self.changed().without(ConditionKind::Compromised),
            causes: vec![CauseChange::Release(condition_key(COMPROMISED))],
        })
    }

    /// A new life. What the old one still held is superseded; what was revoked stays revoked.
    fn reprovision(&self, act: &Act<'_>) -> Decided {
        if self.has(ConditionKind::Lost) {
            return Err("it is reported lost: use found first");
        }
        if self.has(ConditionKind::Compromised) {
            return Err("it is marked as compromised: use cleared first");
        }
        if self.has(ConditionKind::SourceHold) {
            return Err("its source no longer lists it: it can be set up when it is listed again");
        }
        let superseded = act.revoke(CauseKind::Superseded, REPROVISION, RevocationReason::Superseded);
        let causes = match self.lifecycle {
            Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Active => {
                vec![CauseChange::Put(superseded)]
            }
            Lifecycle::Retired | Lifecycle::Wiped | Lifecycle::Expired => Vec::new(),
            Lifecycle::RetirePending => {
                return Err("a retire is pending: confirm it with force or withdraw it with unretire first");
            }
            Lifecycle::WipePending => {
                return Err("a wipe is pending: confirm it with force or withdraw it with cancel-wipe first");
            }
        };
        let mut device = self.moved(Lifecycle::Pending, act);
        device.generation = self.generation.saturating_add(1);
        device.lifecycle_since = act.now;
        device.enrolled_at = None;
        Ok(Transition { device, causes })
    }

    /// Shown, and nothing else.
    fn source_missing(&self, act: &Act<'_>) -> Decided {
        self.must_be_live()?;
        if self.is_missing() {
            return Err("it is known already that its source does not list it");
        }
        let device = self.changed().with(ConditionKind::SourceMissing, act.now, &act.signed_note());
        Ok(Transition { device, causes: Vec::new() })
    }

    /// A hold beside the lifecycle; in the place of the mere remark, where that was made before.
    fn source_hold(&self, act: &Act<'_>) -> Decided {
        self.must_be_live()?;
        if self.has(ConditionKind::SourceHold) {
            return Err("its certificates are on hold already because its source does not list it");
        }
        let device = self.changed().without(ConditionKind::SourceMissing);
        Ok(Transition {
            device: device.with(ConditionKind::SourceHold, act.now, &act.signed_note()),
            causes: vec![CauseChange::Put(act.hold(CauseKind::DeviceCondition, MISSING))],
        })
    }

    /// Possible in every lifecycle, as for a device that is found. What was retired meanwhile stays retired.
    fn source_back(&self, _act: &Act<'_>) -> Decided {
        if !self.is_missing() {
            return Err("its source has not missed it");
        }
        let device = self.changed().without(ConditionKind::SourceMissing);
        Ok(Transition {
            device: device.without(ConditionKind::SourceHold),
            causes: vec![CauseChange::Release(condition_key(MISSING))],
        })
    }

    /// The pending act became real: permanent, under the key of the hold that it replaces.
    fn confirmed(&self, to: Lifecycle, key: &str, act: &Act<'_>) -> Transition {
        let cause = act.revoke(CauseKind::DeviceLifecycle, key, self.final_reason());
        let device = self.moved(to, act).without(ConditionKind::RetireOutstanding);
        Transition { device, causes: vec![CauseChange::Put(cause)] }
    }

    fn pending_cause(&self, effect: PendingEffect, key: &str, act: &Act<'_>) -> Cause {
        match effect {
            PendingEffect::Hold => act.hold(CauseKind::DeviceLifecycle, key),
            PendingEffect::Revoke => act.revoke(CauseKind::DeviceLifecycle, key, self.final_reason()),
        }
    }

    /// keyCompromise where the device may be in other hands.
    fn final_reason(&self) -> RevocationReason {
        if self.has(ConditionKind::Lost) || self.has(ConditionKind::Compromised) {
            RevocationReason::KeyCompromise
        } else {
            RevocationReason::CessationOfOperation
        }
    }

    fn must_be_live(&self) -> Result<(), &'static str> {
        match self.lifecycle {
            Lifecycle::Retired => Err("it is retired, and its certificates are revoked for good"),
            Lifecycle::Wiped => Err("it is wiped, and its certificates are revoked for good"),
            Lifecycle::Expired => {
                Err("its registration expired before it enrolled: set it up again with reprovision")
            }
            _ => Ok(()),
        }
    }

    fn changed(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.clone() }
    }

    fn moved(&self, lifecycle: Lifecycle, act: &Act<'_>) -> Self {
        let lifecycle_since = if lifecycle == self.lifecycle { self.lifecycle_since } else { act.now };
        Self { lifecycle, lifecycle_since, ..self.changed() }
    }

    fn with(mut self, kind: ConditionKind, since: Timestamp, note: &str) -> Self {
        self.conditions.push(Condition { kind, since, note: note.to_owned() });
        self
    }

    fn without(mut self, kind: ConditionKind) -> Self {
        self.conditions.retain(|condition| condition.kind != kind);
        self
    }
}

/// What the tests compare the events' effects with.
#[cfg(test)]
impl Device {
    /// The causes that a device's record stands for: what the events that led there must have put.
    pub(super) fn standing_causes(&self) -> Vec<Cause> {
        let mut causes = self.lifecycle_causes();
        for condition in &self.conditions {
            let act = Act::replayed(&condition.note, condition.since);
            match condition.kind {
                ConditionKind::Lost => causes.push(act.hold(CauseKind::DeviceCondition, LOST)),
                ConditionKind::Compromised => causes.push(act.hold(CauseKind::DeviceCondition, COMPROMISED)),
                ConditionKind::RetireOutstanding => causes.push(act.hold(CauseKind::DeviceLifecycle, RETIRE)),
                ConditionKind::SourceHold => causes.push(act.hold(CauseKind::DeviceCondition, MISSING)),
                ConditionKind::SourceMissing => {}
            }
        }
        causes
    }

    fn lifecycle_causes(&self) -> Vec<Cause> {
        let act = Act::replayed("", self.lifecycle_since);
        match self.lifecycle {
            Lifecycle::Pending | Lifecycle::Verified | Lifecycle::Active | Lifecycle::Expired => Vec::new(),
            Lifecycle::RetirePending => vec![act.hold(CauseKind::DeviceLifecycle, RETIRE)],
            Lifecycle::WipePending => vec![act.hold(CauseKind::DeviceLifecycle, WIPE)],
            Lifecycle::Retired => vec![act.revoke(CauseKind::DeviceLifecycle, RETIRE, self.final_reason())],
            Lifecycle::Wiped => vec![act.revoke(CauseKind::DeviceLifecycle, WIPE, self.final_reason())],
        }
    }
}

#[cfg(test)]
impl Act<'_> {
    /// An act read back from the record: the policy and the actor of then are not known.
    fn replayed(note: &str, since: Timestamp) -> Act<'_> {
        const DEFAULT: &LifecyclePolicy = &LifecyclePolicy::DEFAULT;
        Act { policy: DEFAULT, actor: "device record", note, now: since }
    }
}

impl Act<'_> {
    fn hold(&self, kind: CauseKind, reference: &str) -> Cause {
        self.cause(CauseKey { kind, reference: reference.to_owned() }, Effect::Hold)
    }

    fn revoke(&self, kind: CauseKind, reference: &str, reason: RevocationReason) -> Cause {
        self.cause(CauseKey { kind, reference: reference.to_owned() }, Effect::Revoke { reason })
    }

    fn cause(&self, key: CauseKey, effect: Effect) -> Cause {
        Cause {
            key,
            effect,
            since: self.now,
            invalidity_date: None,
            actor: self.actor.to_owned(),
            note: self.note.to_owned(),
        }
    }

    fn signed_note(&self) -> String {
        if self.note.is_empty() { self.actor.to_owned() } else { format!("{}: {}", self.actor, self.note) }
    }
}

fn lifecycle_key(reference: &str) -> CauseKey {
    CauseKey { kind: CauseKind::DeviceLifecycle, reference: reference.to_owned() }
}

fn condition_key(reference: &str) -> CauseKey {
    CauseKey { kind: CauseKind::DeviceCondition, reference: reference.to_owned() }
}
