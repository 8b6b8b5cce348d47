//! A store in which something else happens between two steps of a use case.

use std::sync::{Arc, Mutex};

use certgate::{
    ports::{
        Store, Tx, View,
        store::{StoreResult, Verdict},
    },
    service::{GatewaySettings, Ports},
};

use super::common::World;

/// What happens.
pub(super) type Act = Box<dyn FnOnce() + Send>;

/// When it happens.
pub(super) enum When {
    /// After the next write.
    Written,
    /// After the first view of what the next write left.
    Seen,
}

enum Waiting {
    ForWrite(When, Act),
    ForView(Act),
}

/// The store.
pub(super) struct Meanwhile {
    store: Arc<dyn Store>,
    waiting: Mutex<Option<Waiting>>,
}

impl Meanwhile {
    /// The world over such a store.
    pub(super) fn over(world: World) -> (World, Arc<Self>) {
        let store = Arc::new(Self { store: world.ports.store.clone(), waiting: Mutex::new(None) });
        let ports = Ports { store: store.clone(), ..world.ports.clone() };
        (world.restarted_on(ports, GatewaySettings::default()), store)
    }

    /// Lets `act` happen then, once.
    pub(super) fn let_happen(&self, when: When, act: Act) {
        *self.waiting.lock().unwrap() = Some(Waiting::ForWrite(when, act));
    }
}

impl Store for Meanwhile {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        self.store.with_view(work)?;
        let waiting = self.waiting.lock().unwrap().take_if(|it| matches!(it, Waiting::ForView(_)));
        if let Some(Waiting::ForView(act)) = waiting {
            act();
        }
        Ok(())
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        self.store.with_tx(work)?;
        let waiting = self.waiting.lock().unwrap().take_if(|it| matches!(it, Waiting::ForWrite(..)));
        match waiting {
            Some(Waiting::ForWrite(When::Written, act)) => act(),
            Some(Waiting::ForWrite(When::Seen, act)) => {
                *self.waiting.lock().unwrap() = Some(Waiting::ForView(act));
            }
            Some(Waiting::ForView(_)) | None => {}
        }
        Ok(())
    }
}
