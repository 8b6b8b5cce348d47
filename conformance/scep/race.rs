//! Requests that meet between decision and record: each has read and decided before any of them writes.

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicUsize, Ordering},
};

use certgate::{
    ports::{
        Store, Tx, View,
        store::{StoreResult, Verdict},
    },
    service::{GatewaySettings, Ports, ServiceError},
    wire::scep::PkiStatus,
};

use crate::{
    DEVICE,
    common::{Client, World},
};

/// A store whose next two writes wait for each other.
struct Gate {
    store: Arc<dyn Store>,
    armed: AtomicUsize,
    barrier: Barrier,
}

impl Store for Gate {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        self.store.with_view(work)
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        let one_less = |armed: usize| armed.checked_sub(1);
        if self.armed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            self.barrier.wait();
        }
        self.store.with_tx(work)
    }
}

fn gated(world: World) -> (World, Arc<Gate>) {
    let store = world.ports.store.clone();
    let gate = Arc::new(Gate { store, armed: AtomicUsize::new(0), barrier: Barrier::new(2) });
    let ports = Ports { store: gate.clone(), ..world.ports.clone() };
    (world.restarted_on(ports, GatewaySettings::default()), gate)
}

/// Runs both with their first writes side by side.
fn meet<R: Send>(gate: &Gate, one: impl FnOnce() -> R + Send, other: impl FnOnce() -> R + Send) -> [R; 2] {
    gate.armed.store(2, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        [one, other.join().unwrap()]
    })
}

#[test]
fn one_request_sent_twice_gets_one_certificate() {
    let (world, gate) = gated(World::new(&[("device", DEVICE)]));
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let enrol = || client.enrol(&world, "device", &csr);
    let [one, other] = meet(&gate, enrol, enrol);
    assert_eq!(one.certificate(), other.certificate());
    assert_eq!(world.leaves(), 1);
}

#[test]
fn one_ticket_in_two_hands_gives_one_certificate() {
    let (world, gate) = gated(World::new(&[("device", DEVICE)]));
    let ticket = world.ticket("device", &world.register("SN1"));
    let enrol = || {
        let client = Client::new();
        client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).status
    };
    let mut statuses = meet(&gate, enrol, enrol);
    statuses.sort_by_key(|status| status.code());
    assert_eq!(statuses, [PkiStatus::Success, PkiStatus::Failure]);
    assert_eq!(world.leaves(), 1);
}

#[test]
fn two_operators_approve_one_certificate() {
    let manual = "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\nchallenge = []\n";
    let (world, gate) = gated(World::new(&[("manual", manual)]));
    world.register("SN1");
    let client = Client::new();
    client.enrol(&world, "manual", &client.csr("CN=SN1", None));
    let id = world.gateway.pending_enrolments(&world.authed(), 1).unwrap().items.remove(0).id;
    let approve = || world.gateway.approve_enrolment(&world.authed(), &id);
    let results = meet(&gate, approve, approve);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().any(|result| matches!(result, Err(ServiceError::Conflict(_)))), "{results:?}");
    assert_eq!(world.leaves(), 1);
}
