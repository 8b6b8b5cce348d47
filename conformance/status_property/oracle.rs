//! What the status of every certificate should be, computed in the test's own way: from what was done, never from what the gateway
//! stores or says.

use std::{collections::BTreeMap, time::Duration};

use certgate::{
    domain::{device::DeviceEvent, status::Status, user::UserEvent},
    types::{CertificateId, RevocationReason, Timestamp, Validity},
};

/// What OCSP and CRL should say of a certificate that is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) reason: RevocationReason,
    pub(crate) at: Timestamp,
    pub(crate) invalidity_date: Option<Timestamp>,
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Device(usize),
    User(usize),
    /// Of certgate itself.
    Nobody,
}

/// What the profile's policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Holds until a wipe or retire is confirmed, holds while lost.
    Patient,
    /// Revokes when a wipe or retire is asked for; a loss changes nothing.
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Active,
    RetirePending,
    Retired,
    WipePending,
    Wiped,
    Expired,
}

#[expect(clippy::struct_excessive_bools, reason = "circumstances that come and go each by itself")]
struct Device {
    stage: Stage,
    retire_below_wipe: bool,
    lost: bool,
    compromised: bool,
    /// Listings in a row without it; none before the first with it.
    missed: Option<u32>,
    held_as_missing: bool,
    life: u32,
    /// Start of the present life.
    since: Timestamp,
    tickets: Vec<Ticket>,
}

struct Ticket {
    created: Timestamp,
    expires: Timestamp,
    /// Neither used nor withdrawn.
    open: bool,
}

/// A certificate that is to be superseded.
struct Overlap {
    due: Timestamp,
    old: usize,
    new: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UserStage {
    Enabled,
    Disabled,
    Deleted,
}

/// A certificate of the model.
pub(crate) struct Certificate {
    pub(crate) id: CertificateId,
    pub(crate) owner: Owner,
    pub(crate) policy: Policy,
    validity: Validity,
    life: u32,
    /// Every cause by its name. A hold has reason certificateHold.
    causes: BTreeMap<&'static str, Shown>,
}

/// Everything that was done.
pub(crate) struct Oracle {
    pub(crate) certificates: Vec<Certificate>,
    devices: Vec<Device>,
    users: Vec<UserStage>,
    overlaps: Vec<Overlap>,
}

/// Where the certificates of the CAs are.
pub(crate) const ISSUING: usize = 0;
pub(crate) const ROOT: usize = 1;

const DAY: Duration = Duration::from_secs(86_400);
const HOLD: RevocationReason = RevocationReason::CertificateHold;

impl Shown {
    fn new(reason: RevocationReason, at: Timestamp) -> Self {
        Self { reason, at, invalidity_date: None }
    }

    pub(crate) fn is_hold(&self) -> bool {
        self.reason == HOLD
    }
}

impl Certificate {
    /// The strongest cause: permanent ones before holds, a compromise before the rest, the earliest before later ones; of equally
    /// early ones the lower code, then the one that says less.
    fn own(&self) -> Option<Shown> {
        strongest(self.causes.values().copied())
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        self.validity.not_after
    }

    /// A permanent cause stays, but may be raised to keyCompromise; a hold keeps its first time.
    fn put(&mut self, name: &'static str, cause: Shown) {
        let raised = cause.reason == RevocationReason::KeyCompromise;
        match self.causes.get(name) {
            Some(old) if old.is_hold() && cause.is_hold() => {}
            Some(old) if !old.is_hold() && (!raised || is_compromise(old.reason)) => {}
            _ => {
                self.causes.insert(name, cause);
            }
        }
    }

    fn release(&mut self, name: &'static str) {
        if self.causes.get(name).is_some_and(Shown::is_hold) {
            self.causes.remove(name);
        }
    }
}

fn strongest(causes: impl Iterator<Item = Shown>) -> Option<Shown> {
    causes.min_by_key(|it| {
        (it.is_hold(), !is_compromise(it.reason), it.at, it.reason.code(), it.invalidity_date)
    })
}

fn is_compromise(reason: RevocationReason) -> bool {
    matches!(reason, RevocationReason::KeyCompromise | RevocationReason::CaCompromise)
}

impl Oracle {
    pub(crate) fn new(devices: usize, users: usize, now: Timestamp) -> Self {
        let device = || Device {
            stage: Stage::New,
            retire_below_wipe: false,
            lost: false,
            compromised: false,
            missed: None,
            held_as_missing: false,
            life: 1,
            since: now,
            tickets: Vec::new(),
        };
        Self {
            certificates: Vec::new(),
            devices: std::iter::repeat_with(device).take(devices).collect(),
            users: vec![UserStage::Enabled; users],
            overlaps: Vec::new(),
        }
    }

    /// What OCSP and CRL should say: its own causes, and what it has from its issuer.
    pub(crate) fn shown(&self, certificate: usize) -> Option<Shown> {
        let from_above = match certificate {
            ROOT => None,
            ISSUING => self.inherited(ROOT),
            _ => self.inherited(ISSUING),
        };
        strongest(self.certificates[certificate].own().into_iter().chain(from_above))
    }

    /// What everything below this CA has from it.
    pub(crate) fn inherited(&self, ca: usize) -> Option<Shown> {
        let above = self.shown(ca)?;
        let reason = match above.reason {
            HOLD => HOLD,
            reason if is_compromise(reason) => RevocationReason::CaCompromise,
            _ => RevocationReason::CessationOfOperation,
        };
        Some(Shown { reason, ..above })
    }

    pub(crate) fn status(&self, certificate: usize, now: Timestamp) -> Status {
        self.status_as(certificate, self.shown(certificate), now)
    }

    fn status_as(&self, certificate: usize, shown: Option<Shown>, now: Timestamp) -> Status {
        match shown {
            Some(shown) if shown.is_hold() => Status::Hold,
            Some(_) => Status::Revoked,
            None if now > self.certificates[certificate].not_after() => Status::Expired,
            None => Status::Good,
        }
    }

    pub(crate) fn ticket_minted(&mut self, device: usize, now: Timestamp) {
        self.devices[device].tickets.push(Ticket { created: now, expires: now.plus(DAY), open: true });
    }

    /// The last one.
    pub(crate) fn ticket_used(&mut self, device: usize) {
        self.devices[device].tickets.last_mut().expect("one was minted").open = false;
    }

    /// The worker comes round. Gives whether that changed the status of a certificate.
    pub(crate) fn time_passes(&mut self, now: Timestamp) -> bool {
        for device in self.devices.iter_mut().filter(|it| it.stage == Stage::New) {
            let mut open = device.tickets.iter().filter(|it| it.open);
            let ran_out = open.clone().any(|it| it.created >= device.since && it.expires <= now);
            if ran_out && open.all(|it| it.expires <= now) {
                device.stage = Stage::Expired;
            }
        }
        let mut overlaps = std::mem::take(&mut self.overlaps);
        overlaps.sort_by_key(|it| (it.due, self.certificates[it.new].id.clone()));
        let mut changed = false;
        for overlap in overlaps {
            if overlap.due > now {
                self.overlaps.push(overlap);
            } else {
                changed |= self.overlap_ended(overlap, now);
            }
        }
        changed
    }

    /// The device keeps the old one while the new one is no good.
    fn overlap_ended(&mut self, Overlap { old, new, .. }: Overlap, now: Timestamp) -> bool {
        let over = |index: usize| now > self.certificates[index].not_after();
        if over(old) || self.status(old, now) == Status::Revoked {
            return false;
        }
        let replaced = self.certificates[new].causes.contains_key("renewal");
        match self.status(new, now) {
            Status::Good => {}
            _ if replaced => {}
            Status::Hold if !over(new) => {
                self.overlaps.push(Overlap { due: now.plus(DAY), old, new });
                return false;
            }
            _ => return false,
        }
        self.certificates[old].put("renewal", Shown::new(RevocationReason::Superseded, now));
        true
    }

    /// Whether the owner may be given a certificate.
    pub(crate) fn may_enrol(&self, owner: Owner) -> bool {
        match owner {
            Owner::Device(index) => {
                let Device { stage, lost, compromised, held_as_missing, .. } = self.devices[index];
                matches!(stage, Stage::New | Stage::Active) && !lost && !compromised && !held_as_missing
            }
            Owner::User(index) => self.users[index] == UserStage::Enabled,
            Owner::Nobody => false,
        }
    }

    pub(crate) fn may_renew(&self, certificate: usize, now: Timestamp) -> bool {
        let Certificate { owner, .. } = self.certificates[certificate];
        let by_itself = self.status_as(certificate, self.certificates[certificate].own(), now);
        by_itself == Status::Good && self.may_enrol(owner)
    }

    pub(crate) fn issued(&mut self, id: CertificateId, owner: Owner, policy: Policy, validity: Validity) {
        let mut life = 0;
        if let Owner::Device(index) = owner {
            let device = &mut self.devices[index];
            device.stage = Stage::Active;
            life = device.life;
        }
        self.certificates.push(Certificate { id, owner, policy, validity, life, causes: BTreeMap::new() });
    }

    /// The last certificate took the place of `old`.
    pub(crate) fn renewed(&mut self, old: usize, now: Timestamp) {
        let Certificate { owner, policy, .. } = self.certificates[old];
        let days = match (owner, policy) {
            (Owner::User(_), _) => 0,
            (_, Policy::Strict) => 1,
            (_, Policy::Patient) => 7,
        };
        self.overlaps.push(Overlap { due: now.plus(DAY * days), old, new: self.certificates.len() - 1 });
    }

    /// Whether it is possible; done if so. The same for all that follow.
    pub(crate) fn hold(&mut self, certificate: usize, now: Timestamp) -> bool {
        let shown = self.shown(certificate);
        let certificate = &mut self.certificates[certificate];
        let possible = shown.is_none_or(|it| it.is_hold()) && !certificate.causes.contains_key("by hand");
        if possible {
            certificate.put("by hand", Shown::new(HOLD, now));
        }
        possible
    }

    pub(crate) fn release(&mut self, certificate: usize) -> bool {
        self.certificates[certificate].causes.remove("by hand").is_some()
    }

    pub(crate) fn revoke(&mut self, certificate: usize, cause: Shown) -> bool {
        let shown = self.shown(certificate);
        let certificate = &mut self.certificates[certificate];
        let raised = cause.reason == RevocationReason::KeyCompromise;
        let possible =
            !cause.is_hold() && shown.is_none_or(|it| it.is_hold() || (raised && !is_compromise(it.reason)));
        if possible {
            certificate.causes.insert("revoked by hand", cause);
            return true;
        }
        // When the key was lost may be said later, or corrected to an earlier time, as long as that is what shows.
        let known = certificate.causes.get_mut("revoked by hand");
        let known =
            known.filter(|it| Some(**it) == shown && it.reason == cause.reason && is_compromise(it.reason));
        let Some(known) = known else { return false };
        let dates = [cause.invalidity_date, known.invalidity_date].map(|date| date.unwrap_or(Timestamp::MAX));
        let earlier = dates[0] < dates[1];
        known.invalidity_date = dates.into_iter().min().filter(|date| *date != Timestamp::MAX);
        earlier
    }

    pub(crate) fn user_event(&mut self, user: usize, event: UserEvent, now: Timestamp) -> bool {
        let (stage, cause) = match (self.users[user], event) {
            (UserStage::Enabled, UserEvent::Disable) => (UserStage::Disabled, Some(HOLD)),
            (UserStage::Disabled, UserEvent::Enable) => (UserStage::Enabled, None),
            (UserStage::Enabled | UserStage::Disabled, UserEvent::Delete) => {
                (UserStage::Deleted, Some(RevocationReason::AffiliationChanged))
            }
            _ => return false,
        };
        self.users[user] = stage;
        for certificate in self.certificates.iter_mut().filter(|it| it.owner == Owner::User(user)) {
            match cause {
                Some(reason) => certificate.put("user", Shown::new(reason, now)),
                None => certificate.release("user"),
            }
        }
        true
    }

    pub(crate) fn device_event(&mut self, device: usize, event: DeviceEvent, now: Timestamp) -> bool {
        use {DeviceEvent as On, Stage as At};
        let any_strict = self.of_device(device).any(|it| it.policy == Policy::Strict);
        let Device { stage, lost, compromised, retire_below_wipe, held_as_missing, .. } =
            self.devices[device];
        let live = !matches!(stage, At::Retired | At::Wiped | At::Expired);
        let stage_after = match (event, stage) {
            (On::Retire, At::Active) => self.pending(device, "retire", At::RetirePending, now),
            (On::Retire, At::New | At::Expired) | (On::Force, At::RetirePending) => {
                self.confirmed(device, "retire", At::Retired, now)
            }
            (On::Unretire, At::RetirePending) if !any_strict => self.withdrawn(device, "retire", At::Active),
            (On::Wipe, At::Active | At::RetirePending) => {
                self.devices[device].retire_below_wipe = stage == At::RetirePending;
                self.pending(device, "wipe", At::WipePending, now)
            }
            (On::CancelWipe, At::WipePending) if !any_strict => {
                self.withdrawn(device, "wipe", if retire_below_wipe { At::RetirePending } else { At::Active })
            }
            (On::Force, At::WipePending) => self.confirmed(device, "wipe", At::Wiped, now),
            (On::Lost, _) if live && !lost => {
                self.devices[device].lost = true;
                self.of_device_mut(device)
                    .filter(|it| it.policy == Policy::Patient)
                    .for_each(|it| it.put("lost", Shown::new(HOLD, now)));
                stage
            }
            (On::Found, _) if lost => {
                self.devices[device].lost = false;
                self.withdrawn(device, "lost", stage)
            }
            (On::Compromised, _) if live && !compromised => {
                self.devices[device].compromised = true;
                self.of_device_mut(device).for_each(|it| it.put("compromised", Shown::new(HOLD, now)));
                stage
            }
            (On::Cleared, _) if compromised => {
                self.devices[device].compromised = false;
                self.withdrawn(device, "compromised", stage)
            }
            (On::Reprovision, At::New | At::Active | At::Retired | At::Wiped | At::Expired)
                if !lost && !compromised && !held_as_missing =>
            {
                let superseded = Shown::new(RevocationReason::Superseded, now);
                if live {
                    self.of_device_mut(device).for_each(|it| it.put("reprovision", superseded));
                }
                let device = &mut self.devices[device];
                device.life += 1;
                device.since = now;
                device.tickets.clear();
                At::New
            }
            _ => return false,
        };
        self.devices[device].stage = stage_after;
        true
    }

    /// A listing of a source that puts its devices on hold after three listings without them. Always possible.
    pub(crate) fn listing(&mut self, listed: &[bool], now: Timestamp) -> bool {
        for (index, listed) in listed.iter().enumerate() {
            let Device { stage, missed, held_as_missing, .. } = self.devices[index];
            let live = !matches!(stage, Stage::Retired | Stage::Wiped | Stage::Expired);
            let missed = if *listed { Some(0) } else { missed.map(|times| times + 1) };
            self.devices[index].missed = missed;
            if *listed && held_as_missing {
                self.devices[index].held_as_missing = false;
                self.of_device_mut(index).for_each(|it| it.release("missing"));
            } else if missed >= Some(3) && live && !held_as_missing {
                self.devices[index].held_as_missing = true;
                self.of_device_mut(index).for_each(|it| it.put("missing", Shown::new(HOLD, now)));
            }
        }
        true
    }

    /// What was bound to the device in its present life.
    fn of_device(&self, device: usize) -> impl Iterator<Item = &Certificate> {
        let life = self.devices[device].life;
        self.certificates.iter().filter(move |it| it.owner == Owner::Device(device) && it.life == life)
    }

    fn of_device_mut(&mut self, device: usize) -> impl Iterator<Item = &mut Certificate> {
        let life = self.devices[device].life;
        self.certificates.iter_mut().filter(move |it| it.owner == Owner::Device(device) && it.life == life)
    }

    fn final_reason(&self, device: usize) -> RevocationReason {
        let Device { lost, compromised, .. } = self.devices[device];
        if lost || compromised {
            RevocationReason::KeyCompromise
        } else {
            RevocationReason::CessationOfOperation
        }
    }

    fn pending(&mut self, device: usize, name: &'static str, after: Stage, now: Timestamp) -> Stage {
        let reason = self.final_reason(device);
        for certificate in self.of_device_mut(device) {
            let effect = if certificate.policy == Policy::Patient { HOLD } else { reason };
            certificate.put(name, Shown::new(effect, now));
        }
        after
    }

    fn confirmed(&mut self, device: usize, name: &'static str, after: Stage, now: Timestamp) -> Stage {
        let cause = Shown::new(self.final_reason(device), now);
        self.of_device_mut(device).for_each(|it| it.put(name, cause));
        after
    }

    fn withdrawn(&mut self, device: usize, name: &'static str, after: Stage) -> Stage {
        self.of_device_mut(device).for_each(|it| it.release(name));
        after
    }
}
