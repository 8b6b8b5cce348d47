//! Group commit: concurrent writers share one durable redb transaction.
//!
//! A writer announces itself, takes the lock and runs its closure on its own thread against the open batch, or against a
//! new one. Then, still under the lock, it looks whether others have announced themselves. If so, it leaves the commit to
//! them and waits for the batch's fate; if not, or if the batch is full, it commits for all. While it commits it holds
//! the lock, and the writers that pile up behind the lock are the next batch: batches grow with the load, and a writer
//! that is alone never waits for company.
//!
//! Outside the lock a writer can do something while its batch is being committed, so that the processors are not idle meanwhile.
//!
//! **Nobody waits forever.** A batch with waiting members is only ever left open when the number of announced writers is
//! above zero, and an announced writer withdraws only under the lock, where it settles the batch or passes the duty on
//! by the same rule. Its closure cannot get in the way: a refusal and a panic end in the same decision. A batch that is
//! dropped without a decision tells its members that it failed.
//!
//! **Rollback.** redb cannot undo one closure of many. A closure that wrote and then rolls back, or panics, makes the
//! batch's transaction abort, and every member runs its closure again, each in a transaction of its own, so that no
//! closure runs more than twice. A closure that refuses before it writes costs nothing.
//!
//! **Refusals.** A closure that refuses (or only reads) may have seen what a neighbour wrote and has not committed yet. In
//! a batch that has been written to, its answer waits for the batch's fate like any other: it is given when what it saw
//! is durable, and found again when that was undone. The one that wrote, refused and so spoiled its batch runs again
//! too, if the batch had members whose writes it may have seen.
//!
//! Tables are opened by each closure, at the first use of each, since redb's tables borrow the transaction and cannot
//! outlive the lock. That costs about a microsecond per table; a commit costs hundreds.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::{records::Records, rows::WriteRows};
use crate::ports::store::{StoreError, StoreResult, Tx, Verdict};

/// A batch takes at most this many closures: a bound for how long the first of them waits.
const MOST_CLOSURES: usize = 256;

/// The database and its open batch.
pub(super) struct Committer {
    database: Database,
    /// Taken by the writer that is running; `Some` between two writers of the same batch.
    open: Mutex<Option<Batch>>,
    /// Writers that have announced themselves and have not taken the lock yet.
    announced: AtomicUsize,
}

/// A write transaction with members that wait for it.
struct Batch {
    /// `None` once its fate was decided.
    transaction: Option<WriteTransaction>,
    fate: Arc<Fate>,
    /// Closures whose answers depend on the commit.
    members: usize,
}

/// What becomes of a batch; its members wait for it.
#[derive(Default)]
struct Fate {
    outcome: Mutex<Option<Outcome>>,
    decided: Condvar,
}

#[derive(Clone)]
enum Outcome {
    Durable,
    Undone,
    Failed(StoreError),
}

/// What one run of a closure did to the batch's transaction.
struct Ran {
    verdict: Verdict,
    wrote: bool,
}

/// Where a writer stands once its closure ran in a batch.
enum Joined {
    Decided(StoreResult<Answer>),
    Waits(Arc<Fate>),
}

/// Whether the closure's answer stands.
enum Answer {
    Stands,
    RunAgain,
}

impl Committer {
    pub(super) fn new(database: Database) -> Self {
        Self { database, open: Mutex::new(None), announced: AtomicUsize::new(0) }
    }

    /// A consistent, durable state.
    pub(super) fn view(&self) -> StoreResult<ReadTransaction> {
        self.database.begin_read().map_err(unavailable)
    }

    /// Runs `work` in a batch; if that is undone, once more on its own. `meanwhile` runs after each run of `work`, where the batch waits
    /// for others while it does.
    pub(super) fn write(
        &self,
        work: &mut dyn FnMut(&mut dyn Tx) -> Verdict,
        meanwhile: &mut dyn FnMut(),
    ) -> StoreResult<()> {
        let joined = self.join(work)?;
        meanwhile();
        if let Answer::RunAgain = joined.answer()? {
            self.run_alone(work)?;
            meanwhile();
        }
        Ok(())
    }

    /// Runs `work` as a member of the open batch.
    fn join(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<Joined> {
        let mut open = self.announce();
        let mut batch = match open.take() {
            Some(batch) => batch,
            None => self.begin()?,
        };
        let ran = batch.run(work);
        let alone = batch.members == 0;
        match ran {
            Ran { verdict: Verdict::Rollback, wrote: true } => {
                batch.undo();
                let answer = if alone { Answer::Stands } else { Answer::RunAgain };
                return Ok(Joined::Decided(Ok(answer)));
            }
            Ran { wrote: false, .. } if alone => {
                batch.undo();
                return Ok(Joined::Decided(Ok(Answer::Stands)));
            }
            _ => batch.members += 1,
        }
        if self.announced.load(Ordering::SeqCst) == 0 || batch.members >= MOST_CLOSURES {
            return Ok(Joined::Decided(batch.commit().answer()));
        }
        let fate = Arc::clone(&batch.fate);
        *open = Some(batch);
        Ok(Joined::Waits(fate))
    }

    /// Runs `work` in a transaction of its own, which nobody can spoil.
    fn run_alone(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        let mut open = self.announce();
        if let Some(mut batch) = open.take() {
            batch.commit();
        }
        let mut batch = self.begin()?;
        if let Ran { verdict: Verdict::Commit, wrote: true } = batch.run(work) {
            return batch.commit().answer().map(|_| ());
        }
        batch.undo();
        Ok(())
    }

    /// Counts this writer among those to come until it has the lock.
    fn announce(&self) -> MutexGuard<'_, Option<Batch>> {
        self.announced.fetch_add(1, Ordering::SeqCst);
        let open = lock(&self.open);
        self.announced.fetch_sub(1, Ordering::SeqCst);
        open
    }

    fn begin(&self) -> StoreResult<Batch> {
        let mut transaction = self.database.begin_write().map_err(unavailable)?;
        make_durable(&mut transaction)?;
        Ok(Batch { transaction: Some(transaction), fate: Arc::default(), members: 0 })
    }
}

/// Sets how every transaction of the store commits; why, is in the documentation of the store.
pub(super) fn make_durable(transaction: &mut WriteTransaction) -> StoreResult<()> {
    transaction.set_durability(Durability::Immediate).map_err(unavailable)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(())
}

impl Batch {
    /// Runs `work`; if it panics, undoes the batch and passes the panic on.
    fn run(&mut self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> Ran {
        let Some(transaction) = &self.transaction else {
            return Ran { verdict: Verdict::Rollback, wrote: false };
        };
        // The unwinding stops here and goes on after the transaction was aborted: redb leaves an abort out while a thread
        // unwinds. What `work` captured is its caller's business; the transaction is thrown away.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut tx = Records(WriteRows::new(transaction));
            let verdict = work(&mut tx);
            Ran { verdict, wrote: tx.0.wrote() }
        }));
        ran.unwrap_or_else(|panic| {
            self.undo();
            resume_unwind(panic)
        })
    }

    fn commit(&mut self) -> Outcome {
        let outcome = match self.transaction.take().map(WriteTransaction::commit) {
            Some(Ok(())) => Outcome::Durable,
            Some(Err(error)) => Outcome::Failed(unavailable(error)),
            None => Outcome::Undone,
        };
        self.fate.decide(outcome.clone());
        outcome
    }

    fn undo(&mut self) {
        // An abort that fails leaves redb refusing the next transaction: the members learn it there.
        drop(self.transaction.take().map(WriteTransaction::abort));
        self.fate.decide(Outcome::Undone);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.fate.decide(Outcome::Failed(StoreError::Unavailable("the transaction was given up".to_owned())));
    }
}

impl Fate {
    /// The first decision stands.
    fn decide(&self, outcome: Outcome) {
        lock(&self.outcome).get_or_insert(outcome);
        self.decided.notify_all();
    }

    fn wait(&self) -> Outcome {
        let mut outcome = lock(&self.outcome);
        loop {
            if let Some(outcome) = outcome.as_ref() {
                return outcome.clone();
            }
            outcome = self.decided.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Joined {
    fn answer(self) -> StoreResult<Answer> {
        match self {
            Self::Decided(answer) => answer,
            Self::Waits(fate) => fate.wait().answer(),
        }
    }
}

impl Outcome {
    fn answer(self) -> StoreResult<Answer> {
        match self {
            Self::Durable => Ok(Answer::Stands),
            Self::Undone => Ok(Answer::RunAgain),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Takes a lock. Poison says that a thread panicked with the lock; what it guards is valid at every point.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
