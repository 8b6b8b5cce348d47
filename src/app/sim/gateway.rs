//! The operator's part on the local gateway: registers devices and mints their tickets before the storm, retires the devices after it.

use std::sync::Mutex;

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
        client::error::ClientError,
        failure::{Failure, Outcome},
    },
    types::Secret,
};

/// What the audit record says of every act.
const NOTE: &str = "certgate sim";

/// How many administrative requests run beside each other: enough to share the store's commits.
const HANDS: usize = 8;

/// The tickets by number of the device; none where the gateway said no.
type Tickets = Vec<Option<Secret>>;

/// Registers all devices and mints a ticket for each. None: these devices have no tickets.
pub(super) fn admit(options: &Options, tally: &Tally, stop: &Stop) -> Outcome<Option<Tickets>> {
    let Challenges::Tickets { profile, .. } = &options.challenges else { return Ok(None) };
    let tickets = Mutex::new(vec![None; usize::try_from(options.devices).unwrap_or(usize::MAX)]);
    let drive = Drive { doing: "devices registered", ..hands(options.devices, stop) };
    drive.run(
        || options.worker(),
        |worker, number| {
            let device = options.device(number);
            let begun = now();
            match ticket(worker, &device, profile) {
                Ok(ticket) => {
                    tally.done(Step::Ticket, begun, begun.elapsed());
                    let index = usize::try_from(number).unwrap_or(usize::MAX);
                    if let Some(place) = lock(&tickets).get_mut(index) {
                        *place = Some(ticket);
                    }
                    true
                }
                Err(failure) => {
                    tally.failed(Step::Ticket, &device, &Incident::of(&ClientError::from(failure)));
                    false
                }
            }
        },
    )?;
    Ok(Some(tickets.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)))
}

fn hands(count: u32, stop: &Stop) -> Drive<'_> {
    Drive { doing: "devices retired", count, workers: HANDS, rate: None, until: None, stop }
}

fn ticket(worker: &Worker, device: &str, profile: &str) -> Outcome<Secret> {
    let operator = operator(worker)?;
    operator.post("/devices", &json!({ "id": device, "name": NOTE, "identities": { "serial": device } }))?;
    let made = operator.post("/tickets", &json!({ "profile": profile, "device": device }))?;
    let secret = made.get("secret").and_then(Value::as_str);
    secret.map(Secret::from).ok_or_else(|| Failure::error("the server's answer holds no secret"))
}

/// How many devices have a ticket, and so are on the gateway.
pub(super) fn registered(tickets: &[Option<Secret>]) -> u32 {
    u32::try_from(tickets.iter().flatten().count()).unwrap_or(u32::MAX)
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

/// Retires the devices that were registered; gives how many are left. A signal does not stop it: who wants that, sends two.
pub(super) fn retire(options: &Options, tickets: Option<&[Option<Secret>]>, tally: &Tally) -> Outcome<u32> {
    let Some(tickets) = tickets else { return Ok(0) };
    let (never, names) = (Stop::default(), names(options, tickets));
    let driven = hands(u32::try_from(names.len()).unwrap_or(u32::MAX), &never).run(
        || options.worker(),
        |worker, number| {
            let Some(name) = usize::try_from(number).ok().and_then(|index| names.get(index)) else {
                return false;
            };
            let begun = now();
            match operator(worker).and_then(|operator| retire_one(operator, name)) {
                Ok(()) => {
                    tally.done(Step::Retire, begun, begun.elapsed());
                    true
                }
                Err(failure) => {
                    tally.failed(Step::Retire, name, &Incident::of(&ClientError::from(failure)));
                    false
                }
            }
        },
    )?;
    Ok(driven.begun - driven.right)
}

fn names(options: &Options, tickets: &[Option<Secret>]) -> Vec<String> {
    let numbered = (0..).zip(tickets).filter(|(_, ticket)| ticket.is_some());
    numbered.map(|(number, _)| options.device(number)).collect()
}

fn retire_one(operator: &AdminClient, device: &str) -> Outcome {
    let found = operator.get(&format!("/devices/{}", segment(device)))?;
    end_life(operator, device, &lifecycle(&found))
}

/// From any state to retired or wiped, so that its certificates are revoked for good.
fn end_life(operator: &AdminClient, device: &str, state: &str) -> Outcome {
    let state = match state {
        "retired" | "wiped" => return Ok(()),
        "retire-pending" | "wipe-pending" => state.to_owned(),
        _ => event(operator, device, "retire")?,
    };
    if state.ends_with("-pending") {
        event(operator, device, "force")?;
    }
    Ok(())
}

/// Retires the devices whose names begin with `prefix`, which an earlier run left; gives how many, and how many could not be.
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
            match end_life(&operator, id, &lifecycle(device)) {
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
