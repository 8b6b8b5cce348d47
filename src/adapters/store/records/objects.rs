//! Devices and users.

use super::{Records, conflict, refuse_version};
use crate::{
    adapters::store::{
        key::{self, Key},
        record,
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::{
        device::{Device, IdentityKind},
        user::User,
    },
    ports::store::{Devices, DevicesMut, Page, StoreResult, Users, UsersMut},
    types::{DeviceId, UserId},
};

impl<R: Rows> Devices for Records<R> {
    fn device(&self, id: &DeviceId) -> StoreResult<Option<Device>> {
        self.0.record(Table::Devices, id.as_str().as_bytes())
    }

    fn device_by_identity(&self, kind: IdentityKind, value: &str) -> StoreResult<Option<Device>> {
        self.0.record_by(Table::DevicesByIdentity, &key::identity(kind, value), Table::Devices)
    }

    fn devices(&self, page: &Page<DeviceId>) -> StoreResult<Vec<Device>> {
        let after = page.after.as_ref().map(|id| id.as_str().as_bytes().to_vec());
        self.0.records(Table::Devices, &key::after(after), page.limit)
    }

    fn count_devices(&self) -> StoreResult<u64> {
        self.0.count(Table::Devices)
    }
}

impl DevicesMut for Records<WriteRows<'_>> {
    fn put_device(&mut self, device: &Device) -> StoreResult<()> {
        let before = self.device(&device.id)?;
        refuse_version("device", &device.id, device.version, before.as_ref().map(|before| before.version))?;
        let key = device.id.as_str().as_bytes();
        let new = index_rows(device);
        for (table, row) in &new {
            if self.0.get(*table, row, |owner| Ok(owner != key))? == Some(true) {
                return Err(conflict("device", &device.id, "has an identity of another device"));
            }
        }
        let old = before.as_ref().map(index_rows).unwrap_or_default();
        for (table, row) in old.iter().filter(|row| !new.contains(row)) {
            self.0.remove(*table, row)?;
        }
        for (table, row) in new.iter().filter(|row| !old.contains(row)) {
            self.0.put(*table, row, key)?;
        }
        self.0.put_record(Table::Devices, key, device)
    }
}

/// The index rows that point to a device.
fn index_rows(device: &Device) -> Vec<(Table, Vec<u8>)> {
    let identity =
        |(kind, value): (&IdentityKind, &String)| (Table::DevicesByIdentity, key::identity(*kind, value));
    let mut rows: Vec<_> = device.identities.iter().map(identity).collect();
    if let Some(user) = &device.user {
        let row = Key::default().bytes(&key::user(user)).bytes(device.id.as_str().as_bytes());
        rows.push((Table::DevicesByUser, row.done()));
    }
    rows
}

impl<R: Rows> Users for Records<R> {
    fn user(&self, id: &UserId) -> StoreResult<Option<User>> {
        self.0.record(Table::Users, id.as_str().as_bytes())
    }

    fn users(&self, page: &Page<UserId>) -> StoreResult<Vec<User>> {
        let after = page.after.as_ref().map(|id| id.as_str().as_bytes().to_vec());
        self.0.records(Table::Users, &key::after(after), page.limit)
    }

    fn devices_of_user(&self, id: &UserId) -> StoreResult<Vec<DeviceId>> {
        let table = Table::DevicesByUser;
        self.0.list(table, &key::starting_with(&key::user(id)), usize::MAX, |key, device| {
            String::from_utf8_lossy(device)
                .parse()
                .map_err(|error: crate::types::IdError| record::corrupt(table, key, error.to_string()))
        })
    }
}

impl UsersMut for Records<WriteRows<'_>> {
    fn put_user(&mut self, user: &User) -> StoreResult<()> {
        let before = self.user(&user.id)?.map(|before| before.version);
        refuse_version("user", &user.id, user.version, before)?;
        self.0.put_record(Table::Users, user.id.as_str().as_bytes(), user)
    }
}
