//! What the columns of an export mean.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::ReportedState;
use crate::{
    domain::device::{IdentityKind, Registration, fitting_text},
    types::{DeviceId, UserId},
    wire::inventory::{Inventory, Row},
};

/// Characters of the columns' names that a message repeats at most.
const MOST_TOLD: usize = 1000;

/// What a column can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The device's id in certgate. Without it the id is the first identity that can be one.
    Device,
    /// Display name.
    Name,
    /// Model.
    Model,
    /// Its user.
    User,
    /// The computer account's SID.
    Sid,
    /// What the source says of it.
    State,
    /// Serial number, UDID ...
    Identity(IdentityKind),
    /// A further attribute.
    Attribute(String),
}

/// Text that is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is nothing that a column can be: use device, name, model, user, sid, state, serial, udid, uuid, imei, \
     imsi, mac, client-id or attribute.NAME"
)]
pub struct UnknownTarget(String);

/// A column that is to be read and is not there, or a mapping without any column that tells devices apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The export has no such column.
    #[error("there is no column {column:?} for {target}; there are: {present}")]
    NoColumn {
        /// What it was to be.
        target: String,
        /// Its name.
        column: String,
        /// The names that there are.
        present: String,
    },
    /// Nothing tells the devices apart.
    #[error(
        "no column is known to identify a device: say which with --map serial=COLUMN (or udid, uuid, imei, mac, \
         client-id, device); there are: {0}"
    )]
    NoIdentity(String),
}

/// Which column is what.
pub type Columns = BTreeMap<Target, String>;

/// One device as the export has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the export.
    pub line: u64,
    /// Its id, if the export names one.
    pub device: Option<DeviceId>,
    /// What is known of it; empty text = not known.
    pub registration: Registration,
    /// What the source says of it, if it says anything.
    pub state: Option<ReportedState>,
    /// Why it cannot be applied, though it may be clear which device it is about.
    pub fault: Option<String>,
}

/// What columns are called that nobody mapped, without case, spaces, `_` and `-`: the first that is there is taken. From the exports
/// and APIs of Intune (`Serial number`, `userPrincipalName`, `managementState`), Jamf Pro (`serialNumber`, `hardware.serialNumber`), Fleet
/// (`hardware_serial`) and Ivanti (`iosUdid`, `deviceGuid`).
const USUAL_NAMES: &[(Target, &[&str])] = &[
    (Target::Device, &["device"]),
    (Target::Name, &["devicename", "name", "displayname", "computername", "hostname", "general.name"]),
    (Target::Model, &["model", "hardwaremodel", "hardware.model"]),
    (
        Target::User,
        &["user", "userprincipalname", "primaryuserupn", "upn", "username", "userandlocation.username"],
    ),
    (Target::Sid, &["sid", "objectsid", "onpremisessecurityidentifier"]),
    (Target::State, &["state", "managementstate", "enrollmentstatus", "status"]),
    (
        Target::Identity(IdentityKind::Serial),
        &["serial", "serialnumber", "hardwareserial", "hardware.serialnumber"],
    ),
    (Target::Identity(IdentityKind::Udid), &["udid", "iosudid"]),
    (Target::Identity(IdentityKind::Uuid), &["uuid", "deviceid", "deviceguid", "deviceuuid"]),
    (Target::Identity(IdentityKind::Imei), &["imei"]),
    (Target::Identity(IdentityKind::Imsi), &["imsi"]),
    (Target::Identity(IdentityKind::Mac), &["mac", "macaddress", "wifimac", "wifimacaddress"]),
    (Target::Identity(IdentityKind::ClientId), &["clientid"]),
];

/// In this order an identity is taken for a device's id.
const AS_ID: [IdentityKind; 7] = [
    IdentityKind::Serial,
    IdentityKind::Udid,
    IdentityKind::Uuid,
    IdentityKind::Imei,
    IdentityKind::ClientId,
    IdentityKind::Mac,
    IdentityKind::Imsi,
];

impl Target {
    /// Whether it tells devices apart.
    const fn identifies(&self) -> bool {
        matches!(self, Self::Device | Self::Identity(_))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("device"),
            Self::Name => f.write_str("name"),
            Self::Model => f.write_str("model"),
            Self::User => f.write_str("user"),
            Self::Sid => f.write_str("sid"),
            Self::State => f.write_str("state"),
            Self::Identity(kind) => f.write_str(kind.as_str()),
            Self::Attribute(name) => write!(f, "attribute.{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "device" => Self::Device,
            "name" => Self::Name,
            "model" => Self::Model,
            "user" => Self::User,
            "sid" => Self::Sid,
            "state" => Self::State,
            other => match IdentityKind::ALL.into_iter().find(|kind| kind.as_str() == other) {
                Some(kind) => Self::Identity(kind),
                None => match other.strip_prefix("attribute.") {
                    Some(name) if !name.is_empty() => Self::Attribute(name.to_owned()),
                    _ => return Err(UnknownTarget(text.to_owned())),
                },
            },
        })
    }
}

/// Which column of `inventory` is what: as `wanted` says, and by their usual names where it says nothing. An empty name in `wanted`: no
/// column is that. An inventory without rows may lack columns: JSON has none then.
pub fn columns(inventory: &Inventory<'_>, wanted: &Columns) -> Result<Columns, MappingError> {
    let present = || shortened(&inventory.columns.join(", "));
    let mut columns = Columns::new();
    for (target, usual) in USUAL_NAMES.iter().filter(|(target, _)| !wanted.contains_key(target)) {
        let found = usual.iter().find_map(|name| inventory.columns.iter().find(|it| plain(it) == *name));
        columns.extend(found.map(|column| (target.clone(), column.clone())));
    }
    for (target, column) in wanted.iter().filter(|(_, column)| !column.is_empty()) {
        if inventory.rows > 0 && !inventory.columns.contains(column) {
            let (target, column) = (target.to_string(), column.clone());
            return Err(MappingError::NoColumn { target, column, present: present() });
        }
        columns.insert(target.clone(), column.clone());
    }
    if inventory.rows == 0 || columns.keys().any(Target::identifies) {
        Ok(columns)
    } else {
        Err(MappingError::NoIdentity(present()))
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

impl Entry {
    /// Reads a row. Never fails: what is wrong with the row is its [`Entry::fault`].
    pub fn read(row: &Row, columns: &Columns) -> Self {
        let mut entry = Self { line: row.line, ..Self::default() };
        let cells = match &row.cells {
            Ok(cells) => cells,
            Err(problem) => return Self { fault: Some(problem.clone()), ..entry },
        };
        for (target, column) in columns {
            let value = cells.get(column).map_or("", String::as_str);
            if !value.is_empty() {
                entry.take(target, value);
            }
        }
        let named = columns.get(&Target::Device).and_then(|column| cells.get(column));
        if named.is_none_or(String::is_empty) {
            entry.device = id_of_an_identity(&entry.registration);
        }
        entry
    }

    fn take(&mut self, target: &Target, value: &str) {
        let registration = &mut self.registration;
        match target {
            Target::Device => match value.parse() {
                Ok(id) => self.device = Some(id),
                Err(problem) => self.find_fault(&problem),
            },
            Target::User => match value.parse::<UserId>() {
                Ok(id) => registration.user = Some(id),
                Err(problem) => self.find_fault(&problem),
            },
            Target::State => self.state = ReportedState::read(value),
            // What people type must not cost the device its place: as at the challenge webhook.
            Target::Name => registration.name = fitting_text(value),
            Target::Model => value.clone_into(&mut registration.model),
            Target::Sid => registration.sid = Some(value.to_owned()),
            Target::Identity(kind) => drop(registration.identities.insert(*kind, value.to_owned())),
            Target::Attribute(name) => drop(registration.attributes.insert(name.clone(), value.to_owned())),
        }
    }

    fn find_fault(&mut self, problem: &dyn fmt::Display) {
        self.fault.get_or_insert_with(|| problem.to_string());
    }
}

/// The names of an export's columns, as far as a person would read them.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TOLD) {
        Some((end, _)) => format!("{} ..", text.split_at(end).0),
        None => text.to_owned(),
    }
}

/// The id of a device that is known by its identities only.
fn id_of_an_identity(registration: &Registration) -> Option<DeviceId> {
    AS_ID.into_iter().find_map(|kind| registration.identities.get(&kind)?.parse().ok())
}

impl ReportedState {
    /// What a word means, in any case: the states of Intune's `managementState`, of Workspace ONE's enrolment status, of Ivanti's and
    /// Google's device states. None: it says nothing of a wipe or retirement, and nothing of its end (`wipeFailed`, `unhealthy`).
    pub fn read(word: &str) -> Option<Self> {
        Some(match plain(word).as_str() {
            "managed" | "active" | "enrolled" | "registered" | "wipecanceled" | "retirecanceled" => {
                Self::Managed
            }
            "retirepending" | "retireissued" | "deletepending" | "enterprisewipepending" => {
                Self::RetirePending
            }
            "retired" | "unenrolled" | "deleted" | "enterprisewiped" => Self::Retired,
            "wipepending" | "wipeissued" | "devicewipepending" => Self::WipePending,
            "wiped" | "devicewiped" => Self::Wiped,
            _ => return None,
        })
    }
}
