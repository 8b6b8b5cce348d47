//! Jobs: one queue per lane, leased with a fence.

use super::Records;
use crate::{
    adapters::store::{
        key::{self, Key},
        rows::{Flow, Rows, WriteRows},
        table::Table,
    },
    domain::queue::{Job, JobKind, JobWorker},
    ports::store::{Jobs, JobsMut, StoreResult},
    types::Timestamp,
};

impl<R: Rows> Jobs for Records<R> {
    fn jobs(&self, limit: usize) -> StoreResult<Vec<Job>> {
        self.0.records(Table::Jobs, &key::ALL, limit)
    }

    fn job_in_lane(&self, lane: &str) -> StoreResult<Option<Job>> {
        let index = Table::JobsByLane;
        let mut head = None;
        self.0.scan(index, &key::starting_with(&lane_prefix(lane)), |key, target| {
            head = Some(self.0.indexed::<Job>(index, key, Table::Jobs, target)?);
            Ok(Flow::Break(()))
        })?;
        Ok(head)
    }
}

impl JobsMut for Records<WriteRows<'_>> {
    fn enqueue(&mut self, kind: &JobKind, run_at: Timestamp) -> StoreResult<()> {
        let lane = kind.lane();
        if let Some(waiting) = self.waiting_job(&lane, kind)? {
            let run_at = waiting.run_at.min(run_at);
            return if run_at == waiting.run_at { Ok(()) } else { self.put_job(&Job { run_at, ..waiting }) };
        }
        let sequence = self.next_number("jobs")?;
        let job = Job {
            sequence,
            kind: kind.clone(),
            run_at,
            attempts: 0,
            fence: 0,
            leased_until: None,
            last_error: None,
            dead: false,
        };
        self.0.put(Table::JobsByLane, &lane_key(&lane, sequence), &key::number(sequence))?;
        self.put_job(&job)
    }

    fn lease_job(
        &mut self,
        worker: &JobWorker,
        now: Timestamp,
        until: Timestamp,
    ) -> StoreResult<Option<Job>> {
        let free = |job: &Job| {
            job.kind.worker() == *worker && job.run_at <= now && job.leased_until.is_none_or(|end| end <= now)
        };
        let Some(head) = self.heads()?.into_iter().filter(free).min_by_key(|job| job.sequence) else {
            return Ok(None);
        };
        let leased = Job {
            fence: head.fence.saturating_add(1),
            attempts: head.attempts.saturating_add(1),
            leased_until: Some(until),
            ..head
        };
        self.put_job(&leased)?;
        Ok(Some(leased))
    }

    fn end_leases(&mut self) -> StoreResult<()> {
        let leased = self.jobs(usize::MAX)?.into_iter().filter(|job| job.leased_until.is_some());
        for job in leased {
            self.put_job(&Job { leased_until: None, ..job })?;
        }
        Ok(())
    }

    fn complete_job(&mut self, sequence: u64, fence: u64) -> StoreResult<bool> {
        let Some(job) = self.leased_job(sequence, fence)? else { return Ok(false) };
        self.0.remove(Table::JobsByLane, &lane_key(&job.kind.lane(), sequence))?;
        self.0.remove(Table::Jobs, &key::number(sequence))?;
        Ok(true)
    }

    fn remove_job(&mut self, sequence: u64) -> StoreResult<bool> {
        let job: Option<Job> = self.0.record(Table::Jobs, &key::number(sequence))?;
        let Some(job) = job else { return Ok(false) };
        self.0.remove(Table::JobsByLane, &lane_key(&job.kind.lane(), sequence))?;
        self.0.remove(Table::Jobs, &key::number(sequence))?;
        Ok(true)
    }

    fn fail_job(
        &mut self,
        sequence: u64,
        fence: u64,
        error: &str,
        run_at: Timestamp,
        dead: bool,
    ) -> StoreResult<bool> {
        let Some(job) = self.leased_job(sequence, fence)? else { return Ok(false) };
        if dead {
            self.0.remove(Table::JobsByLane, &lane_key(&job.kind.lane(), sequence))?;
        }
        let last_error = Some(error.to_owned());
        self.put_job(&Job { run_at, leased_until: None, last_error, dead, ..job })?;
        Ok(true)
    }
}

impl Records<WriteRows<'_>> {
    fn put_job(&mut self, job: &Job) -> StoreResult<()> {
        self.0.put_record(Table::Jobs, &key::number(job.sequence), job)
    }

    /// The living, unleased job of this kind that waits in its lane.
    fn waiting_job(&self, lane: &str, kind: &JobKind) -> StoreResult<Option<Job>> {
        let index = Table::JobsByLane;
        let mut waiting = None;
        self.0.scan(index, &key::starting_with(&lane_prefix(lane)), |key, target| {
            let job: Job = self.0.indexed(index, key, Table::Jobs, target)?;
            let found = job.leased_until.is_none() && job.kind == *kind;
            waiting = found.then_some(job);
            Ok(if found { Flow::Break(()) } else { Flow::Continue(()) })
        })?;
        Ok(waiting)
    }

    /// The first living job of every lane.
    fn heads(&self) -> StoreResult<Vec<Job>> {
        let index = Table::JobsByLane;
        let mut heads: Vec<Job> = Vec::new();
        let mut range = key::ALL;
        loop {
            let mut head = None;
            self.0.scan(index, &range, |key, target| {
                head = Some(self.0.indexed::<Job>(index, key, Table::Jobs, target)?);
                Ok(Flow::Break(()))
            })?;
            let Some(job) = head else { return Ok(heads) };
            range = key::beyond(&lane_prefix(&job.kind.lane()));
            heads.push(job);
        }
    }

    /// The job, if the lease with this fence still stands: nobody has leased it since, and it was not given back.
    fn leased_job(&self, sequence: u64, fence: u64) -> StoreResult<Option<Job>> {
        let job: Option<Job> = self.0.record(Table::Jobs, &key::number(sequence))?;
        Ok(job.filter(|job| job.fence == fence && job.leased_until.is_some()))
    }
}

fn lane_prefix(lane: &str) -> Vec<u8> {
    Key::default().text(lane).done()
}

fn lane_key(lane: &str, sequence: u64) -> Vec<u8> {
    Key::default().text(lane).number(sequence).done()
}
