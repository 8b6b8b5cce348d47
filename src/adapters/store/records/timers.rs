//! Timers, and the time by which they fire.

use super::Records;
use crate::{
    adapters::store::{
        key,
        rows::{Rows, WriteRows},
        table::Table,
    },
    domain::timer::Timer,
    ports::store::{StoreResult, Timers, TimersMut},
    types::Timestamp,
};

/// Where the time is that was believed last, in the table `meta`.
const BELIEVED: &[u8] = b"believed-time";

impl<R: Rows> Timers for Records<R> {
    fn due_timers(&self, now: Timestamp, limit: usize) -> StoreResult<Vec<Timer>> {
        self.0.records(Table::Timers, &key::up_to(now.unix()), limit)
    }

    fn next_timer_at(&self) -> StoreResult<Option<Timestamp>> {
        let first: Vec<Timer> = self.0.records(Table::Timers, &key::ALL, 1)?;
        Ok(first.into_iter().next().map(|timer| timer.at))
    }

    fn believed_time(&self) -> StoreResult<Option<Timestamp>> {
        self.0.record(Table::Meta, BELIEVED)
    }
}

impl TimersMut for Records<WriteRows<'_>> {
    fn set_timer(&mut self, timer: &Timer) -> StoreResult<()> {
        self.0.put_record(Table::Timers, &key::timer(timer), timer)
    }

    fn clear_timer(&mut self, timer: &Timer) -> StoreResult<()> {
        self.0.remove(Table::Timers, &key::timer(timer))
    }

    fn put_believed_time(&mut self, time: Timestamp) -> StoreResult<()> {
        self.0.put_record(Table::Meta, BELIEVED, &time)
    }
}
