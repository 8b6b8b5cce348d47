//! Requests that meet between decision and record: each has read and decided before any of them writes.

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use certgate::{
    domain::user::UserDetails,
    domain::{
        device::{Device, DeviceEvent, LifecyclePolicy, Registration},
        status::Status,
        user::UserEvent,
    },
    ports::{
        Store, StoreError, Tx, View,
        store::{Page, StoreResult, Verdict},
    },
    service::{GatewaySettings, Ports, ServiceError, device::NewDevice, exchange::ExchangeFilter},
    types::{Secret, Timestamp, UserId},
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
    let (one, other) = (Client::new(), Client::new());
    let enrol = |client: &Client| client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).status;
    let mut statuses = meet(&gate, || enrol(&one), || enrol(&other));
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
    let approve = || world.gateway.approve_enrolment(&world.authed(), &id, "");
    let results = meet(&gate, approve, approve);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().any(|result| matches!(result, Err(ServiceError::Conflict(_)))), "{results:?}");
    assert_eq!(world.leaves(), 1);
}

/// The listing would miss what its reader has just seen refused.
#[test]
fn a_listing_waits_for_traces_that_are_being_written() {
    let (world, gate) = gated(World::new(&[("device", DEVICE)]));
    assert!(world.pki_operation("device", b"junk").is_err());
    gate.armed.store(1, Ordering::SeqCst);
    let listed = std::thread::scope(|scope| {
        let writing = scope.spawn(|| world.gateway.write_traces().unwrap());
        while gate.armed.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        let list = || {
            world.gateway.exchanges(&world.authed(), &ExchangeFilter::default(), &Page::first(10)).unwrap()
        };
        let listing = scope.spawn(list);
        // Time enough for one that does not wait.
        for _ in 0..100 {
            if listing.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        gate.barrier.wait();
        writing.join().unwrap();
        listing.join().unwrap()
    });
    assert_eq!(listed.items.len(), 1);
}

pub(super) type Act = Box<dyn FnOnce() + Send>;

/// A store before whose next write something else is written.
pub(super) struct Interloper {
    store: Arc<dyn Store>,
    pub(super) act: Mutex<Option<Act>>,
}

impl Store for Interloper {
    fn with_view(&self, work: &mut dyn FnMut(&dyn View)) -> StoreResult<()> {
        self.store.with_view(work)
    }

    fn with_tx(&self, work: &mut dyn FnMut(&mut dyn Tx) -> Verdict) -> StoreResult<()> {
        let act = self.act.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        self.store.with_tx(work)
    }
}

/// The world over a store in which `act` is done before the next write.
pub(super) fn interrupted(world: World, settings: GatewaySettings, act: Act) -> (World, Arc<Interloper>) {
    let store = Arc::new(Interloper { store: world.ports.store.clone(), act: Mutex::new(None) });
    let ports = Ports { store: store.clone(), ..world.ports.clone() };
    let world = world.restarted_on(ports, settings);
    *store.act.lock().unwrap() = Some(act);
    (world, store)
}

/// A device `SN1` that enrols (or renews) while `change` is written between decision and record: nothing is issued.
fn refused_after(renewal: bool, change: fn(&mut dyn Tx, Timestamp)) {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let mut client = Client::new();
    let mut csr = client.csr("CN=x", Some(&ticket));
    if renewal {
        let old = client.enrol(&world, "device", &csr).certificate().clone();
        client = client.with_identity(&old).in_transaction("renewal");
        csr = client.csr("CN=SN1,O=Test", None);
    }
    let (behind, now) = (world.ports.store.clone(), world.now());
    let act: Act = Box::new(move || {
        let written: Result<(), StoreError> = behind.write(|tx| {
            change(tx, now);
            Ok(())
        });
        written.unwrap();
    });
    let (world, store) = interrupted(world, GatewaySettings::default(), act);
    let leaves = world.leaves();
    assert_eq!(client.enrol(&world, "device", &csr).status, PkiStatus::Failure);
    assert_eq!(world.leaves(), leaves);
    assert!(store.act.lock().unwrap().is_none(), "the change was written");
}

fn apply(tx: &mut dyn Tx, now: Timestamp, event: DeviceEvent) {
    let device = tx.device(&"SN1".parse().unwrap()).unwrap().unwrap();
    let policy = LifecyclePolicy::default();
    tx.put_device(&device.apply(event, &policy, "test", "", now).unwrap().device).unwrap();
}

#[test]
fn device_that_is_lost_while_it_enrols_gets_nothing() {
    refused_after(false, |tx, now| apply(tx, now, DeviceEvent::Lost));
}

#[test]
fn device_that_is_wiped_while_it_renews_gets_nothing() {
    refused_after(true, |tx, now| apply(tx, now, DeviceEvent::Wipe));
}

#[test]
fn ticket_that_is_cancelled_while_it_is_used_gives_nothing() {
    refused_after(false, |tx, now| {
        let tickets = tx.tickets(&certgate::ports::store::Page::first(1)).unwrap();
        tx.put_ticket(&tickets[0].cancel(now)).unwrap();
    });
}

#[test]
fn certificate_that_is_revoked_while_it_renews_renews_nothing() {
    refused_after(true, |tx, now| {
        let page = certgate::ports::store::Page::first(100);
        let leaf =
            tx.certificates(&page).unwrap().into_iter().find(|record| record.enrolment.is_some()).unwrap();
        tx.put_cause(&leaf.id, &crate::common::cause(now)).unwrap();
    });
}

#[test]
fn user_of_the_device_who_is_disabled_while_it_enrols_gets_nothing() {
    let world = World::new(&[("device", DEVICE)]);
    let user: UserId = "ada".parse().unwrap();
    world.gateway.put_user(&world.authed(), &user, &UserDetails::default()).unwrap();
    let registration = Registration { user: Some(user.clone()), ..Registration::default() };
    let device = NewDevice { id: "SN1".parse().unwrap(), registration };
    let device = world.gateway.register_device(&world.authed(), device).unwrap().id;
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &device)));
    let (behind, now) = (world.ports.store.clone(), world.now());
    let act: Act = Box::new(move || {
        let written: Result<(), StoreError> = behind.write(|tx| {
            let ada = tx.user(&user)?.unwrap();
            tx.put_user(&ada.apply(UserEvent::Disable, "test", "", now).unwrap().user)
        });
        written.unwrap();
    });
    let (world, store) = interrupted(world, GatewaySettings::default(), act);
    assert_eq!(client.enrol(&world, "device", &csr).status, PkiStatus::Failure);
    assert_eq!(world.leaves(), 0);
    assert!(store.act.lock().unwrap().is_none(), "the change was written");
}

#[test]
fn device_that_is_registered_and_retired_while_a_request_claims_its_name_gets_nothing() {
    let open = "subject = \"\"\nmatch = \"claim\"\nchallenge = [\"static\"]\nidentify = \"subject.cn\"\nallow-unregistered = true\n";
    let mut settings = GatewaySettings::default();
    settings.static_challenges.insert("device".parse().unwrap(), vec![Secret::from("static-0123456789")]);
    let world = World::new(&[("device", open)]);
    let (behind, now) = (world.ports.store.clone(), world.now());
    let act: Act = Box::new(move || {
        let written: Result<(), StoreError> = behind.write(|tx| {
            let device = Device::new("SN1".parse().unwrap(), Registration::default(), now).unwrap();
            tx.put_device(&device)?;
            apply(tx, now, DeviceEvent::Retire);
            Ok(())
        });
        written.unwrap();
    });
    let (world, store) = interrupted(world, settings, act);
    let client = Client::new();
    let csr = client.csr("CN=SN1", Some(&Secret::from("static-0123456789")));
    assert_eq!(client.enrol(&world, "device", &csr).status, PkiStatus::Failure);
    assert_eq!(world.leaves(), 0);
    assert!(store.act.lock().unwrap().is_none(), "the change was written");
}

/// It would wait in vain: nobody could approve it.
#[test]
fn a_request_does_not_wait_for_a_device_that_is_retired_meanwhile() {
    let manual = "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\nchallenge = []\n";
    let world = World::new(&[("manual", manual)]);
    world.register("SN1");
    let (behind, now) = (world.ports.store.clone(), world.now());
    let act: Act = Box::new(move || {
        let written: Result<(), StoreError> = behind.write(|tx| {
            apply(tx, now, DeviceEvent::Retire);
            Ok(())
        });
        written.unwrap();
    });
    let (world, _store) = interrupted(world, GatewaySettings::default(), act);
    let client = Client::new();
    let csr = client.csr("CN=SN1", None);
    assert_eq!(client.enrol(&world, "manual", &csr).status, PkiStatus::Failure);
    assert!(world.gateway.pending_enrolments(&world.authed(), 1).unwrap().items.is_empty());
}

#[test]
fn certificate_that_is_recorded_just_before_its_devices_wipe_falls_with_it() {
    let world = World::new(&[("device", DEVICE)]);
    let device = world.register("SN1");
    let (first, second) = (Client::new(), Client::new());
    first.enrol(&world, "device", &first.csr("CN=x", Some(&world.ticket("device", &device)))).certificate();
    let csr = second.csr("CN=x", Some(&world.ticket("device", &device)));
    let (world, store) = interrupted(world, GatewaySettings::default(), Box::new(|| {}));
    let world = Arc::new(world);
    // The wipe has been asked for, and before it is written the device enrols once more.
    let enrolling = world.clone();
    *store.act.lock().unwrap() = Some(Box::new(move || {
        second.enrol(&enrolling, "device", &csr).certificate();
    }));
    let wipe = |event| world.gateway.device_event(&world.authed(), &device, event, "").unwrap();
    assert_eq!(wipe(DeviceEvent::Wipe).certificates.len(), 2);
    let forced = wipe(DeviceEvent::Force);
    assert!(forced.device.certificates.iter().all(|certificate| certificate.status == Status::Revoked));
    assert_eq!((forced.device.certificates.len(), world.leaves()), (2, 2));
}
