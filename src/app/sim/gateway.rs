//! The operator's part on the local gateway: registers devices and mints their tickets before the storm, retires the devices after it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Challenges, Options,
    device::{Worker, now},
    fleet::{Drive, Stop},
    operator,
    tally::{Incident, Step, Tally, lock},
};
use crate::{
    app::{
        cli::{
            admin::{AdminClient, ServerArgs, segment},
            output::note,
        },
        failure::{Failure, FailureKind, Outcome},
    },
    types::Secret,
};

/// What the audit record says of every act, and the name of every device.
const NOTE: &str = "certgate sim";

/// How many administrative requests run beside each other: enough to share the store's commits.
const HANDS: usize = 8;

/// How long a ticket lasts beyond the time in which devices begin.
const TICKET_REST: Duration = Duration::from_secs(3600);

/// How far a device got on the gateway.
#[derive(Clone, Debug)]
pub(super) enum Admission {
    /// It is not there.
    Absent,
    /// It is registered, and has no ticket.
    Registered,
    /// It is registered, and has this ticket.
    Ticket(Secret),
}

/// Whether the gateway is there and has the profile: asked before anything is made.
pub fn check(options: &Options) -> Outcome {
    let Challenges::Tickets { gateway, profile } = &options.challenges else { return Ok(()) };
    let found = gateway.connect()?.get(&format!("/profiles/{}", segment(profile)));
    found.map(|_| ()).map_err(|failure| match failure.kind {
        FailureKind::NotFound => failure.hint("name the profile that takes the tickets with --profile"),
        _ => failure,
    })
}

/// Registers all devices and mints a ticket for each. None: these devices have no tickets.
pub(super) fn admit(options: &Options, tally: &Tally, stop: &Stop) -> Outcome<Option<Vec<Admission>>> {
    let Challenges::Tickets { profile, .. } = &options.challenges else { return Ok(None) };
    let count = usize::try_from(options.devices).unwrap_or(usize::MAX);
    let admissions = Mutex::new(vec![Admission::Absent; count]);
    let drive = Drive { doing: "devices registered", ..hands(options.devices, stop) };
    drive.run(
        || options.worker(),
        |worker, number| {
            let device = options.device(number);
            let begun = now();
            let (admission, outcome) = admit_one(worker, options, &device, profile);
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            if let Some(place) = lock(&admissions).get_mut(index) {
                *place = admission;
            }
            counted(tally, Step::Ticket, &device, begun, outcome)
        },
    )?;
    Ok(Some(admissions.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Counts an act of the operator; gives whether it went right.
fn counted(tally: &Tally, step: Step, device: &str, begun: Instant, outcome: Outcome) -> bool {
    match outcome {
        Ok(()) => tally.done(step, begun, begun.elapsed()),
        Err(failure) => {
            tally.failed(step, device, &Incident::of(&failure.into()));
            return false;
        }
    }
    true
}

fn hands(count: u32, stop: &Stop) -> Drive<'_> {
    Drive { doing: "devices retired", count, workers: HANDS, rate: None, until: None, stop }
}

fn admit_one(worker: &Worker, options: &Options, device: &str, profile: &str) -> (Admission, Outcome) {
    if let Err(failure) = register(worker, device) {
        return (Admission::Absent, Err(failure));
    }
    // The last devices begin when the time is nearly over.
    match ticket(worker, device, profile, options.duration + TICKET_REST) {
        Ok(ticket) => (Admission::Ticket(ticket), Ok(())),
        Err(failure) => (Admission::Registered, Err(failure)),
    }
}

fn register(worker: &Worker, device: &str) -> Outcome {
    let new = json!({ "id": device, "name": NOTE, "identities": { "serial": device } });
    operator(worker)?.post("/devices", &new).map(|_| ())
}

fn ticket(worker: &Worker, device: &str, profile: &str, lifetime: Duration) -> Outcome<Secret> {
    let new = json!({ "profile": profile, "device": device, "lifetime_seconds": lifetime.as_secs() });
    let made = operator(worker)?.post("/tickets", &new)?;
    let secret = made.get("secret").and_then(Value::as_str);
    secret.map(Secret::from).ok_or_else(|| Failure::error("the server's answer holds no secret"))
}

/// The names of the devices that are on the gateway.
pub(super) fn registered(options: &Options, admissions: &[Admission]) -> Vec<String> {
    let there = (0..).zip(admissions).filter(|(_, admission)| !matches!(admission, Admission::Absent));
    there.map(|(number, _)| options.device(number)).collect()
}

/// Tells the gateway what became of a device; gives its state afterwards.
pub(super) fn event(operator: &AdminClient, device: &str, event: &str) -> Outcome<String> {
    let request = json!({ "event": event, "note": NOTE });
    let outcome = operator.post(&format!("/devices/{}/events", segment(device)), &request)?;
    Ok(lifecycle(outcome.get("device").unwrap_or(&Value::Null)))
}

fn lifecycle(device: &Value) -> String {
    device.get("lifecycle").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Retires these devices; gives how many are left. A signal does not stop it: who wants that, sends two.
pub(super) fn retire(options: &Options, names: &[String], tally: &Tally) -> Outcome<u32> {
    let never = Stop::default();
    let driven = hands(u32::try_from(names.len()).unwrap_or(u32::MAX), &never).run(
        || options.worker(),
        |worker, number| {
            let Some(name) = usize::try_from(number).ok().and_then(|index| names.get(index)) else {
                return false;
            };
            let begun = now();
            let outcome = operator(worker).and_then(|operator| retire_one(operator, name));
            counted(tally, Step::Retire, name, begun, outcome)
        },
    )?;
    Ok(driven.begun - driven.right)
}

fn retire_one(operator: &AdminClient, device: &str) -> Outcome {
    let found = operator.get(&format!("/devices/{}", segment(device)))?;
    end_life(operator, device, &lifecycle(&found))
}

fn is_over(state: &str) -> bool {
    matches!(state, "retired" | "wiped")
}

/// From any state to retired or wiped, so that its certificates are revoked for good.
fn end_life(operator: &AdminClient, device: &str, state: &str) -> Outcome {
    let state = match state {
        over if is_over(over) => return Ok(()),
        "retire-pending" | "wipe-pending" => state.to_owned(),
        _ => event(operator, device, "retire")?,
    };
    if state.ends_with("-pending") {
        event(operator, device, "force")?;
    }
    Ok(())
}

/// Retires the devices that an earlier run left: those whose names begin with `prefix` and that a simulation registered. Gives how many,
/// and how many could not be.
pub fn clean_up(gateway: &ServerArgs, prefix: &str) -> Outcome<(u32, u32)> {
    let operator = gateway.connect()?;
    let (mut retired, mut failed) = (0, 0);
    // Names sort: those with the prefix follow it.
    let mut after = prefix.to_owned();
    loop {
        let page = operator.get(&format!("/devices?limit=1000&after={}", segment(&after)))?;
        let none = Vec::new();
        let items = page.get("items").and_then(Value::as_array).unwrap_or(&none);
        for device in items {
            let id = device.get("id").and_then(Value::as_str).unwrap_or_default();
            if !id.starts_with(prefix) {
                return Ok((retired, failed));
            }
            let (state, name) = (lifecycle(device), device.get("name").and_then(Value::as_str));
            if name != Some(NOTE) || is_over(&state) {
                continue;
            }
            match end_life(&operator, id, &state) {
                Ok(()) => retired += 1,
                Err(failure) => {
                    note(&format!("{id}: {failure}"));
                    failed += 1;
                }
            }
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut after),
            None => return Ok((retired, failed)),
        }
    }
}
