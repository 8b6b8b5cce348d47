//! Reads and writes with a closure, on any store.

use std::cell::RefCell;

use super::{Store, StoreError, Tx, Verdict, View};

impl dyn Store + '_ {
    /// Reads from one consistent state.
    pub fn read<R, E: From<StoreError>>(&self, work: impl FnOnce(&dyn View) -> Result<R, E>) -> Result<R, E> {
        let mut work = Some(work);
        let mut outcome = None;
        self.with_view(&mut |view| {
            if let Some(work) = work.take() {
                outcome = Some(work(view));
            }
        })?;
        outcome.unwrap_or_else(|| Err(StoreError::Unavailable("the read did not run".to_owned()).into()))
    }

    /// Writes in one transaction: commits if `work` gives `Ok`, undoes if it gives `Err`.
    pub fn write<R, E: From<StoreError>>(
        &self,
        work: impl FnMut(&mut dyn Tx) -> Result<R, E>,
    ) -> Result<R, E> {
        self.write_meanwhile(work, |_| ()).map(|(result, ())| result)
    }

    /// `write`, with something to do for the time in which the commit is waited for: it makes of what `work` gave what is
    /// needed once that is durable. As `work` may run again, so may `meanwhile`, and what it makes must not leave before this returns.
    pub fn write_meanwhile<R, M, E: From<StoreError>>(
        &self,
        mut work: impl FnMut(&mut dyn Tx) -> Result<R, E>,
        mut meanwhile: impl FnMut(&R) -> M,
    ) -> Result<(R, M), E> {
        let outcome = RefCell::new(None);
        let mut made = None;
        self.with_tx_meanwhile(
            &mut |tx| {
                let result = work(tx);
                let verdict = if result.is_ok() { Verdict::Commit } else { Verdict::Rollback };
                *outcome.borrow_mut() = Some(result);
                verdict
            },
            &mut || {
                if let Some(Ok(result)) = &*outcome.borrow() {
                    made = Some(meanwhile(result));
                }
            },
        )?;
        match (outcome.into_inner(), made) {
            (Some(Ok(result)), Some(made)) => Ok((result, made)),
            (Some(Err(error)), _) => Err(error),
            _ => Err(StoreError::Unavailable("the write did not run".to_owned()).into()),
        }
    }
}
