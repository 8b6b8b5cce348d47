//! Sources and their members.

use super::{Records, conflict, refuse_version};
use crate::{
    adapters::store::{
        key::{self, Key},
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::source::{Membership, Source},
    ports::store::{Page, Sources, SourcesMut, StoreResult},
    types::{DeviceId, SourceId},
};

impl<R: Rows> Sources for Records<R> {
    fn source(&self, id: &SourceId) -> StoreResult<Option<Source>> {
        self.0.record(Table::Sources, id.as_str().as_bytes())
    }

    fn sources(&self) -> StoreResult<Vec<Source>> {
        self.0.records(Table::Sources, &key::ALL, usize::MAX)
    }

    fn membership(&self, device: &DeviceId) -> StoreResult<Option<Membership>> {
        self.0.record(Table::Members, device.as_str().as_bytes())
    }

    fn members(&self, source: &SourceId, page: &Page<DeviceId>) -> StoreResult<Vec<Membership>> {
        let (start, end) = key::starting_with(&key::source(source));
        let start = match &page.after {
            Some(device) => key::after(Some(index_row(source, device))).0,
            None => start,
        };
        let devices = self.0.list(Table::MembersBySource, &(start, end), page.limit, |key, device| {
            Ok((key.to_vec(), device.to_vec()))
        })?;
        devices
            .iter()
            .map(|(key, device)| self.0.indexed(Table::MembersBySource, key, Table::Members, device))
            .collect()
    }
}

impl SourcesMut for Records<WriteRows<'_>> {
    fn put_source(&mut self, source: &Source) -> StoreResult<()> {
        let before = self.source(&source.id)?.map(|before| before.version);
        refuse_version("source", &source.id, source.version, before)?;
        self.0.put_record(Table::Sources, source.id.as_str().as_bytes(), source)
    }

    fn remove_source(&mut self, id: &SourceId) -> StoreResult<()> {
        if !self.members(id, &Page::first(1))?.is_empty() {
            return Err(conflict("source", id, "still has devices"));
        }
        self.0.remove(Table::Sources, id.as_str().as_bytes())
    }

    fn put_membership(&mut self, membership: &Membership) -> StoreResult<()> {
        let key = membership.device.as_str().as_bytes();
        let before = self.membership(&membership.device)?.map(|before| before.source);
        if before.as_ref() != Some(&membership.source) {
            if let Some(before) = before {
                self.0.remove(Table::MembersBySource, &index_row(&before, &membership.device))?;
            }
            self.0.put(Table::MembersBySource, &index_row(&membership.source, &membership.device), key)?;
        }
        self.0.put_record(Table::Members, key, membership)
    }

    fn remove_membership(&mut self, device: &DeviceId) -> StoreResult<()> {
        let Some(before) = self.membership(device)? else { return Ok(()) };
        self.0.remove(Table::MembersBySource, &index_row(&before.source, device))?;
        self.0.remove(Table::Members, device.as_str().as_bytes())
    }
}

fn index_row(source: &SourceId, device: &DeviceId) -> Vec<u8> {
    Key::default().bytes(&key::source(source)).bytes(device.as_str().as_bytes()).done()
}
