//! What a copy of the store and the logs give away of challenges: nothing.

use std::sync::Arc;

use certgate::{adapters::store::RedbStore, domain::access::Operate, types::Secret, wire::scep::PkiStatus};

use crate::{
    common::{Client, World, WorldOptions},
    logged::logged,
};

const STATIC: &str = "static challenge of everybody";

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn s7_3_a_challenges_are_neither_in_the_store_nor_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut options =
        WorldOptions { store: Arc::new(RedbStore::open(&path).unwrap()), ..WorldOptions::default() };
    options.settings.static_challenges.insert("shared".parse().unwrap(), vec![Secret::from(STATIC)]);
    let shared = "subject = \"CN=$DEVICE_ID$\"\nchallenge = [\"static\"]\n";
    let manual = "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\n";
    let world = World::with(options, &[("shared", shared), ("manual", manual)]);
    let device = world.register("SN1");
    let ticket = world.ticket("manual", &device);

    let log = logged(|| {
        let client = Client::new();
        let csr = client.csr("CN=SN1", Some(&Secret::from(STATIC)));
        client.enrol(&world, "shared", &csr).certificate();
        let waiting = Client::new();
        let csr = waiting.csr("CN=SN1", Some(&ticket));
        assert_eq!(waiting.enrol(&world, "manual", &csr).status, PkiStatus::Pending);
        tracing::info!("the log is kept");
    });

    let ticket = std::str::from_utf8(ticket.expose()).unwrap();
    let store = std::fs::read(&path).unwrap();
    assert!(holds(&store, "enrolment.pending") && holds(&store, "SN1"), "what is no secret is readable");
    assert!(log.contains("the log is kept"));
    for secret in [STATIC, ticket] {
        assert!(!holds(&store, secret) && !log.contains(secret));
    }
    let [view] = world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items.try_into().unwrap();
    let view_text = serde_json::to_vec(&view).unwrap();
    assert!(!holds(&view_text, ticket));
    // What was sealed still serves its purpose.
    assert_eq!(view.requested_subject, "CN=SN1");
    world.gateway.approve_enrolment(&world.authed::<Operate>(), &view.id, "").unwrap();
    assert!(!holds(&std::fs::read(&path).unwrap(), ticket));
}

#[test]
fn a_sealed_request_opens_for_its_own_enrolment_alone() {
    let world =
        World::new(&[("manual", "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\nchallenge = []\n")]);
    let [one, two] = ["SN1", "SN2"].map(|id| {
        world.register(id);
        let client = Client::new();
        client.enrol(&world, "manual", &client.csr(&format!("CN={id}"), None));
        let pending = world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items;
        let id = pending.last().unwrap().id.clone();
        world.read(|view| view.enrolment(&id)).unwrap()
    });
    let moved = certgate::domain::enrol::Enrolment { sealed_csr: one.sealed_csr.clone(), ..two.clone() };
    world.write(|tx| tx.put_enrolment(&moved));
    assert!(world.gateway.approve_enrolment(&world.authed::<Operate>(), &two.id, "").is_err());
    world.gateway.approve_enrolment(&world.authed::<Operate>(), &one.id, "").unwrap();
}

#[test]
fn log_and_audit_record_bear_the_same_request_id_from_edge_to_record() {
    let world = World::new(&[("device", crate::DEVICE)]);
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &world.register("SN1"))));
    let log = logged(|| {
        client.enrol(&world, "device", &csr).certificate();
    });
    let id_in = |message: &str| {
        let line =
            log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("{message}: {log}"));
        line.split_once("request=").unwrap().1.split_whitespace().next().unwrap().to_owned()
    };
    let id = id_in("SCEP transaction");
    assert_eq!(id_in("certificate issued"), id);
    assert_eq!(world.read(|view| view.last_audit_event()).unwrap().fact.request.to_string(), id);
}
