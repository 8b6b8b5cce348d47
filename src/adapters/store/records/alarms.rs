//! Alarms: few, read and written together.

use super::Records;
use crate::{
    adapters::store::{
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::alarm::TicketAlarm,
    ports::store::{Alarms, AlarmsMut, StoreResult},
};

/// Where they are, in the table `meta`.
const KEY: &[u8] = b"alarms";

impl<R: Rows> Alarms for Records<R> {
    fn alarms(&self) -> StoreResult<Vec<TicketAlarm>> {
        Ok(self.0.record(Table::Meta, KEY)?.unwrap_or_default())
    }
}

impl AlarmsMut for Records<WriteRows<'_>> {
    fn put_alarms(&mut self, alarms: &[TicketAlarm]) -> StoreResult<()> {
        self.0.put_record(Table::Meta, KEY, &alarms)
    }
}
