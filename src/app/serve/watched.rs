//! The store under watch: after a write that the disk refused, it takes no more until it is opened again, so the process must end.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    ports::{
        StoreError, Tx, View,
        store::{Store, StoreResult, Verdict},
    },
    service::health::{Check, CheckResult},
};

/// What became of the store: nothing yet, or the first failure of a write.
pub(super) type StoreFailure = watch::Receiver<Option<StoreError>>;

/// Passes everything on, and tells of the first write that failed as [`StoreError::Unavailable`].
pub(super) struct WatchedStore {
    store: Arc<dyn Store>,
    failure: watch::Sender<Option<StoreError>>,
}

impl WatchedStore {
    pub(super) fn new(store: Arc<dyn Store>) -> (Self, StoreFailure) {
        let (failure, told) = watch::channel(None);
        (Self { store, failure }, told)
    }

    fn watched(&self, outcome: StoreResult<()>) -> StoreResult<()> {
        if let Err(error @ StoreError::Unavailable(_)) = &outcome {
            self.failure.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| error.clone());
                is_first
            });
        }
        outcome
    }
}

impl Store for WatchedStore {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        self.store.with_view(work)
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        self.watched(self.store.with_tx(work))
    }

    fn with_tx_meanwhile(
        &self,
        work: &mut dyn FnMut(&mut dyn Tx) -> Verdict,
        meanwhile: &mut dyn FnMut(),
    ) -> StoreResult<()> {
        self.watched(self.store.with_tx_meanwhile(work, meanwhile))
    }
}

/// Waits for the store to fail.
pub(super) async fn failed(told: &mut StoreFailure) -> StoreError {
    match told.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
        Ok(Some(failure)) => failure,
        // The store is gone, and with it whatever could fail.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// What `/readyz` says of it.
pub(super) fn failed_check(failure: &StoreError) -> Check {
    Check {
        name: "store".to_owned(),
        result: CheckResult::Fail,
        detail: failure.to_string(),
        hint: "look at the disk of the data directory; this process ends, so that it is started again"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails as it is told to.
    struct Broken(StoreError);

    impl Store for Broken {
        fn with_view(&self, _: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
            Err(self.0.clone())
        }

        fn with_tx(&self, _: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
            Err(self.0.clone())
        }
    }

    #[tokio::test]
    async fn the_first_write_that_the_disk_refuses_is_told() {
        let error = StoreError::Unavailable("no space".to_owned());
        let (store, mut told) = WatchedStore::new(Arc::new(Broken(error.clone())));
        assert_eq!(store.with_view(&mut |_| {}), Err(error.clone()));
        assert_eq!(*told.borrow(), None, "reading goes on");
        assert_eq!(store.with_tx(&mut |_| Verdict::Commit), Err(error.clone()));
        assert_eq!(failed(&mut told).await, error);
    }

    #[test]
    fn a_conflict_is_no_failure_of_the_store() {
        let conflict = StoreError::Conflict { what: "crl", id: "root".to_owned(), problem: "is old" };
        let (store, told) = WatchedStore::new(Arc::new(Broken(conflict)));
        assert!(store.with_tx(&mut |_| Verdict::Commit).is_err());
        assert_eq!(*told.borrow(), None);
    }
}
