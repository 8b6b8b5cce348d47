//! `certgate device`: the devices that certificates are bound to, and what becomes of them.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    admin::{AdminClient, PageArgs, ServerArgs, YesArgs, for_each, segment},
    output::{self, Field, Format},
    sentences,
};
use crate::app::failure::{Failure, Outcome};

/// Register devices, follow them, retire or wipe them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate device register SN123 --serial C02XK1 --user ada@lab.example
  certgate device wipe SN123          its certificates are on hold from now on
  certgate device force SN123         the wipe is confirmed: they are revoked for good
  certgate device cancel-wipe SN123   the wipe did not happen: they are good again")]
pub(super) struct DeviceArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Record a device before it enrols
    Register(Box<RegisterArgs>),
    /// List devices
    List(ListArgs),
    /// Show a device with its certificates
    Show {
        /// The device
        id: String,
    },
    /// Ask for a retirement: certificates go on hold until it is confirmed (see `force`)
    Retire(RiskyEventArgs),
    /// Withdraw a retirement that is not confirmed yet: the hold is released
    Unretire(EventArgs),
    /// Ask for a wipe: certificates go on hold until it is confirmed (see `force`)
    Wipe(RiskyEventArgs),
    /// Withdraw a wipe that is not confirmed yet: the hold is released
    CancelWipe(EventArgs),
    /// Confirm the pending retirement or wipe: certificates are revoked for good
    Force(RiskyEventArgs),
    /// The device is lost: certificates go on hold
    Lost(EventArgs),
    /// The device was found: the hold for the loss is released
    Found(EventArgs),
    /// The device is in other hands: certificates go on hold; a wipe then revokes them as keyCompromise
    Compromised(RiskyEventArgs),
    /// The suspicion was unfounded: the hold for it is released
    Cleared(EventArgs),
    /// Begin a new life, after a wipe or retirement or in service: the device may enrol again, with a new ticket (open ones are
    /// withdrawn); what certificates it still has are revoked for good, as superseded
    Reprovision(RiskyEventArgs),
}

#[derive(Args, Debug)]
struct RegisterArgs {
    /// Name of the device in certgate, often its serial number
    id: String,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// Whose device it is
    #[arg(long)]
    user: Option<String>,
    /// Hardware serial number
    #[arg(long)]
    serial: Option<String>,
    /// Apple UDID
    #[arg(long)]
    udid: Option<String>,
    /// UUID given by the MDM
    #[arg(long)]
    uuid: Option<String>,
    /// IMEI
    #[arg(long)]
    imei: Option<String>,
    /// IMSI
    #[arg(long)]
    imsi: Option<String>,
    /// MAC address
    #[arg(long)]
    mac: Option<String>,
    /// The MDM client's id
    #[arg(long)]
    client_id: Option<String>,
    /// Model
    #[arg(long)]
    model: Option<String>,
    /// Security identifier of the computer account, S-1-5-..
    #[arg(long)]
    sid: Option<String>,
    /// Further value for templates; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = name_and_value)]
    attributes: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Only those in this state: pending, verified, active, retire-pending, retired, wipe-pending, wiped, expired
    #[arg(long, value_name = "STATE")]
    lifecycle: Option<String>,
    /// Only those of this source
    #[arg(long, value_name = "SOURCE", conflicts_with = "lifecycle")]
    source: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args, Debug)]
struct EventArgs {
    /// One or more devices
    #[arg(required = true)]
    ids: Vec<String>,
    /// Why; kept in the audit record and shown with the certificates' status
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Args, Debug)]
struct RiskyEventArgs {
    #[command(flatten)]
    event: EventArgs,
    #[command(flatten)]
    yes: YesArgs,
}

const COLUMNS: &[Field] = &[
    ("DEVICE", "/id"),
    ("STATE", "/lifecycle"),
    ("SINCE", "/lifecycle_since"),
    ("GEN", "/generation"),
    ("USER", "/user"),
    ("NAME", "/name"),
    ("IDENTITIES", "/identities"),
];

const FIELDS: &[Field] = &[
    ("Device", "/id"),
    ("Name", "/name"),
    ("Model", "/model"),
    ("State", "/lifecycle"),
    ("Since", "/lifecycle_since"),
    ("Conditions", "/conditions"),
    ("Generation", "/generation"),
    ("User", "/user"),
    ("Source", "/source"),
    ("Last listed", "/last_seen"),
    ("Identities", "/identities"),
    ("SID", "/sid"),
    ("Attributes", "/attributes"),
    ("Registered", "/created_at"),
    ("Enrolled", "/enrolled_at"),
];

const CERTIFICATES: &[Field] = &[
    ("CERTIFICATE", "/id"),
    ("STATUS", "/status"),
    ("REASON", "/revocation/reason"),
    ("NOT AFTER", "/not_after"),
    ("SUBJECT", "/subject"),
];

/// Runs `certgate device ..`.
pub(super) fn run(args: DeviceArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::Register(device) => {
            let made = client.post("/devices", &new_device(*device))?;
            output::object(format, &made, FIELDS);
            Ok(())
        }
        Verb::List(list) => {
            let query = list
                .page
                .query(&[("lifecycle", list.lifecycle.as_deref()), ("source", list.source.as_deref())]);
            output::listing(format, &client.get(&format!("/devices{query}"))?, COLUMNS);
            Ok(())
        }
        Verb::Show { id } => {
            show(format, &client.get(&format!("/devices/{}", segment(&id)))?, FIELDS);
            Ok(())
        }
        Verb::Retire(risky) => risk(&client, format, "retire", "Retire", &risky),
        Verb::Wipe(risky) => risk(&client, format, "wipe", "Wipe", &risky),
        Verb::Force(risky) => risk(&client, format, "force", "Revoke for good the certificates of", &risky),
        Verb::Compromised(risky) => {
            risk(&client, format, "compromised", "Put on hold, as compromised, the certificates of", &risky)
        }
        Verb::Unretire(event) => happen(&client, format, "unretire", &event),
        Verb::CancelWipe(event) => happen(&client, format, "cancel-wipe", &event),
        Verb::Lost(event) => happen(&client, format, "lost", &event),
        Verb::Found(event) => happen(&client, format, "found", &event),
        Verb::Cleared(event) => happen(&client, format, "cleared", &event),
        Verb::Reprovision(risky) => {
            risk(&client, format, "reprovision", "Revoke for good, and set up anew,", &risky)
        }
    }
}

/// Shows a device or user, with its certificates below.
pub(super) fn show(format: Format, owner: &Value, fields: &[Field]) {
    let told = sentences::with(owner, "conditions", sentences::condition);
    output::object(format, if format == Format::Table { &told } else { owner }, fields);
    let none = Vec::new();
    let certificates = owner.get("certificates").and_then(Value::as_array).unwrap_or(&none);
    if format == Format::Table && !certificates.is_empty() {
        output::line("");
        output::line(output::table(certificates, CERTIFICATES).trim_end());
    }
}

fn risk(client: &AdminClient, format: Format, event: &str, act: &str, args: &RiskyEventArgs) -> Outcome {
    args.yes.confirm(&format!("{act} {}?", args.event.ids.join(", ")))?;
    happen(client, format, event, &args.event)
}

fn happen(client: &AdminClient, format: Format, event: &str, args: &EventArgs) -> Outcome {
    for_each(&args.ids, |id| {
        let request = json!({ "event": event, "note": args.note.as_deref().unwrap_or_default() });
        let outcome = client.post(&format!("/devices/{}/events", segment(id)), &request)?;
        match format {
            Format::Json => output::json(&outcome),
            Format::Table => output::line(&said(id, &outcome)),
        }
        Ok(())
    })
}

/// `SN123: wipe-pending, 2 certificates changed`.
fn said(id: &str, outcome: &Value) -> String {
    let state = outcome.pointer("/device/lifecycle").and_then(Value::as_str).unwrap_or("done");
    let changed = outcome.pointer("/certificates").and_then(Value::as_array).map_or(0, Vec::len);
    let certificates = if changed == 1 { "certificate" } else { "certificates" };
    format!("{id}: {state}, status of {changed} {certificates} changed")
}

fn new_device(args: RegisterArgs) -> Value {
    let identities = [
        ("serial", args.serial),
        ("udid", args.udid),
        ("uuid", args.uuid),
        ("imei", args.imei),
        ("imsi", args.imsi),
        ("mac", args.mac),
        ("client-id", args.client_id),
    ];
    let identities: Map<String, Value> =
        identities.into_iter().filter_map(|(kind, value)| Some((kind.to_owned(), value?.into()))).collect();
    let attributes: Map<String, Value> =
        args.attributes.into_iter().map(|(name, value)| (name, value.into())).collect();
    let mut device = json!({ "id": args.id, "identities": identities, "attributes": attributes });
    let optional = [("name", args.name), ("user", args.user), ("model", args.model), ("sid", args.sid)];
    for (key, value) in optional {
        if let (Some(value), Some(device)) = (value, device.as_object_mut()) {
            device.insert(key.to_owned(), value.into());
        }
    }
    device
}

/// Takes `NAME=VALUE` apart.
pub(super) fn name_and_value(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::usage("expected NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_a_name() {
        assert_eq!(name_and_value("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(name_and_value("=b").is_err());
        assert!(name_and_value("b").is_err());
    }
}
