//! Approval by an operator (RFC 8894 §2.4, §3.3.2.3, §4.4).

use certgate::{
    domain::{
        access::{Operate, Read},
        binding::{Assurance, BoundObject, Evidence},
        device::{DeviceEvent, LifecyclePolicy},
        enrol::{Enrolment, EnrolmentState},
        user::{UserDetails, UserEvent},
    },
    service::{GatewaySettings, ServiceError, enrol::MAX_PENDING, queue::EnrolmentOutcome},
    types::{DeviceId, EnrolmentId, Fingerprint},
    wire::scep::{FailInfo, IssuerAndSubject, MessageType, PkiStatus},
};

use crate::{
    DEVICE,
    common::{Answer, Client, MessageOptions, World, envelope},
};

const MANUAL: &str = r#"
subject = "CN=$DEVICE_ID$"
approval = "manual"
challenge = []
"#;
const MANUAL_WITH_TICKET: &str = r#"
subject = "CN=$DEVICE_ID$"
approval = "manual"
"#;

fn poll(world: &World, client: &Client) -> Answer {
    let payload = IssuerAndSubject {
        issuer: world.issuer("issuing").subject().clone(),
        subject: "CN=not to be trusted".parse().unwrap(),
    };
    client.ask(world, "manual", MessageType::CertPoll, &payload.to_der().unwrap())
}

fn waiting(world: &World) -> certgate::service::queue::EnrolmentView {
    let pending = world.gateway.pending_enrolments(&world.authed(), 10).unwrap().items;
    let [one] = pending.try_into().unwrap();
    one
}

#[test]
fn s2_4_c_pending_until_approved_then_polled() {
    let world = World::new(&[("manual", MANUAL)]);
    let device = world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=SN1", None);
    assert_eq!(client.enrol(&world, "manual", &csr).status, PkiStatus::Pending);
    assert_eq!(poll(&world, &client).status, PkiStatus::Pending);
    // A repeated request goes on waiting; it is not a second one.
    assert_eq!(client.enrol(&world, "manual", &csr).status, PkiStatus::Pending);

    let view = waiting(&world);
    assert_eq!(view.requested_subject, "CN=SN1");
    assert_eq!(view.public_key, client.public_key().fingerprint());
    assert_eq!(view.bound_to, Some(BoundObject::Device { id: device, generation: 1 }));
    let view =
        world.gateway.approve_enrolment(&world.authed::<Operate>(), &view.id, "seen its label").unwrap();
    assert!(matches!(view.outcome, EnrolmentOutcome::Issued { .. }));
    let facts = world.gateway.audit_tail(&world.authed(), 10).unwrap().items;
    let approved = facts.iter().find(|fact| fact.action == "enrolment.approved").unwrap();
    assert_eq!((approved.object.as_str(), approved.actor.as_str()), (view.id.as_str(), "local uid 0"));
    assert_eq!(approved.detail["note"], "seen its label");

    let answer = poll(&world, &client);
    assert_eq!(answer.certificate().subject().to_string(), "CN=SN1");
    let [binding] = world.bindings(answer.certificate()).try_into().unwrap();
    assert_eq!((binding.evidence, binding.assurance), (Evidence::Approval, Assurance::Medium));
    assert_eq!(client.enrol(&world, "manual", &csr).certificate(), answer.certificate());
    assert_eq!(world.leaves(), 1);
}

#[test]
fn rejected_is_failure_for_poll_and_repeat() {
    let world = World::new(&[("manual", MANUAL)]);
    world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=SN1", None);
    client.enrol(&world, "manual", &csr);
    let id = waiting(&world).id;
    let view = world.gateway.reject_enrolment(&world.authed(), &id, "not ours: ticket 4711").unwrap();
    assert!(matches!(view.outcome, EnrolmentOutcome::Rejected { .. }));
    for answer in [poll(&world, &client), client.enrol(&world, "manual", &csr)] {
        assert_eq!(answer.failure(), FailInfo::BadRequest);
        assert!(!answer.fail_info_text.unwrap().contains("4711"), "the reason is for the record");
    }
    let approved = world.gateway.approve_enrolment(&world.authed(), &id, "");
    assert!(matches!(approved, Err(ServiceError::Conflict(_))));
    assert_eq!(world.leaves(), 0);
}

#[test]
fn s3_3_3_a_only_the_key_that_asked_may_poll() {
    let world = World::new(&[("manual", MANUAL)]);
    world.register("SN1");
    let client = Client::new();
    client.enrol(&world, "manual", &client.csr("CN=SN1", None));
    let thief = Client::new().in_transaction(client.transaction.as_str());
    assert_eq!(poll(&world, &thief).failure(), FailInfo::BadCertId);
}

#[test]
fn approval_looks_at_the_device_again() {
    let world = World::new(&[("manual", MANUAL)]);
    let device = world.register("SN1");
    let client = Client::new();
    client.enrol(&world, "manual", &client.csr("CN=SN1", None));
    let id = waiting(&world).id;
    let policy = LifecyclePolicy::default();
    world.write(|tx| {
        let lost = tx.device(&device)?.unwrap().apply(DeviceEvent::Lost, &policy, "test", "", world.now());
        tx.put_device(&lost.unwrap().device)
    });
    let refused = world.gateway.approve_enrolment(&world.authed(), &id, "");
    assert!(matches!(refused, Err(ServiceError::Refused(_))), "{refused:?}");
    assert_eq!(world.leaves(), 0);
    assert_eq!(waiting(&world).id, id, "it keeps waiting");
}

#[test]
fn approval_looks_for_who_was_registered_since() {
    let open = format!("{MANUAL}allow-unregistered = true\nidentify = \"subject.cn\"\nmatch = \"claim\"\n");
    let world = World::new(&[("manual", &open)]);
    let client = Client::new();
    let csr = client.csr("CN=SN1", None);
    assert_eq!(client.enrol(&world, "manual", &csr).status, PkiStatus::Pending);
    let view = waiting(&world);
    assert_eq!(view.bound_to, None);
    let device = world.register("SN1");
    let happens = |event| world.gateway.device_event(&world.authed(), &device, event, "").unwrap();
    happens(DeviceEvent::Lost);
    let approve = || world.gateway.approve_enrolment(&world.authed(), &view.id, "");
    let refused = approve().unwrap_err();
    assert!(matches!(refused, ServiceError::Refused(_)) && refused.to_string().contains("lost"), "{refused}");
    assert_eq!(world.leaves(), 0);
    // What was approved is what is issued.
    happens(DeviceEvent::Found);
    approve().unwrap();
    assert!(world.bindings(poll(&world, &client).certificate()).is_empty());
}

#[test]
fn unregistered_device_is_not_put_before_an_operator() {
    let world = World::new(&[("manual", MANUAL)]);
    let client = Client::new();
    let answer = client.enrol(&world, "manual", &client.csr("CN=SN9", None));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
}

#[test]
fn a_profile_with_challenges_bothers_no_operator_without_one() {
    let world = World::new(&[("manual", MANUAL_WITH_TICKET)]);
    let device = world.register("SN1");
    let client = Client::new();
    assert_eq!(client.enrol(&world, "manual", &client.csr("CN=SN1", None)).failure(), FailInfo::BadRequest);

    let ticket = world.ticket("manual", &device);
    let csr = client.csr("CN=SN1", Some(&ticket));
    assert_eq!(client.enrol(&world, "manual", &csr).status, PkiStatus::Pending);
    // The ticket is consumed by waiting: it cannot bring a second request before the operator.
    let other = Client::new();
    let answer = other.enrol(&world, "manual", &other.csr("CN=SN1", Some(&ticket)));
    assert_eq!(answer.failure(), FailInfo::BadRequest);

    let view = world.gateway.approve_enrolment(&world.authed(), &waiting(&world).id, "").unwrap();
    assert!(matches!(view.evidence, Evidence::Ticket { .. }));
    poll(&world, &client).certificate();
    let shown = world.gateway.enrolment_view(&world.authed::<Read>(), &view.id).unwrap();
    let secret = String::from_utf8(ticket.expose().to_vec()).unwrap();
    assert!(!serde_json::to_string(&shown).unwrap().contains(&secret));
}

/// Whoever knows the name of a device can ask in as many transactions as he likes, where no challenge is wanted.
#[test]
fn strangers_leave_places_in_the_queue_to_those_who_were_invited() {
    let world = World::new(&[("manual", MANUAL), ("invited", MANUAL_WITH_TICKET)]);
    let device = world.register("SN1");
    let stranger = Client::new();
    let csr = stranger.csr("CN=SN1", None);
    assert_eq!(stranger.enrol(&world, "manual", &csr).status, PkiStatus::Pending);
    let first = world.read(|view| view.pending_enrolments(1)).remove(0);
    world.write(|tx| {
        (1..MAX_PENDING).try_for_each(|number| {
            let mut random = [0; 16];
            random[8..].copy_from_slice(&number.to_be_bytes());
            let id = EnrolmentId::from_random(random);
            let request_key = Fingerprint::of(&random);
            let transaction = format!("t{number}").parse().unwrap();
            tx.put_enrolment(&Enrolment { id, request_key, transaction, ..first.clone() })
        })
    });
    let message = stranger.in_transaction("one-more").sign_message(
        &MessageOptions::default(),
        envelope(&csr, &world.message_certificate("manual"), &MessageOptions::default()),
    );
    assert!(world.pki_operation("manual", &message).is_err(), "it is told to come back");
    world.write(|tx| {
        let half = usize::try_from(MAX_PENDING / 2).unwrap();
        for mut waiting in tx.pending_enrolments(usize::MAX)?.into_iter().skip(half) {
            waiting.state = EnrolmentState::Rejected { reason: String::new() };
            tx.put_enrolment(&waiting)?;
        }
        Ok(())
    });
    assert!(world.pki_operation("manual", &message).is_err(), "half of the places are for others");
    let (client, ticket) = (Client::new(), world.ticket("invited", &device));
    let answer = client.enrol(&world, "invited", &client.csr("CN=SN1", Some(&ticket)));
    assert_eq!(answer.status, PkiStatus::Pending);
}

#[test]
fn eight_operators_approve_one_certificate() {
    let world = World::new(&[("manual", MANUAL)]);
    world.register("SN1");
    let client = Client::new();
    client.enrol(&world, "manual", &client.csr("CN=SN1", None));
    let id = waiting(&world).id;
    let approved = std::thread::scope(|scope| {
        let approve = || world.gateway.approve_enrolment(&world.authed(), &id, "").is_ok();
        let running: Vec<_> = (0..8).map(|_| scope.spawn(approve)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).filter(|ok| *ok).count()
    });
    assert_eq!((approved, world.leaves()), (1, 1));
}

/// The device `SN1` in service, with a request that waits; what happens to it, and what its client hears then.
fn after(events: &[DeviceEvent]) -> (World, Client) {
    let world = World::new(&[("device", DEVICE), ("manual", MANUAL)]);
    let device = world.register("SN1");
    let first = Client::new();
    first.enrol(&world, "device", &first.csr("CN=x", Some(&world.ticket("device", &device)))).certificate();
    let client = Client::new();
    client.enrol(&world, "manual", &client.csr("CN=SN1", None));
    for event in events {
        world.gateway.device_event(&world.authed(), &device, *event, "").unwrap();
    }
    (world, client)
}

#[test]
fn a_request_that_waits_is_refused_with_the_wipe_of_its_device() {
    let (world, client) = after(&[DeviceEvent::Wipe]);
    let id = waiting(&world).id;
    world.register("SN2");
    let other = Client::new();
    other.enrol(&world, "manual", &other.csr("CN=SN2", None));
    assert_eq!(poll(&world, &client).status, PkiStatus::Pending, "a wipe can be withdrawn");
    let sn1 = "SN1".parse().unwrap();
    world.gateway.device_event(&world.authed(), &sn1, DeviceEvent::Force, "").unwrap();
    assert_eq!(poll(&world, &client).failure(), FailInfo::BadRequest);
    assert_eq!(poll(&world, &other).status, PkiStatus::Pending);

    let view = world.gateway.enrolment_view(&world.authed::<Read>(), &id).unwrap();
    let EnrolmentOutcome::Refused { reason } = &view.outcome else { panic!("{view:?}") };
    assert!(reason.contains("SN1 may not enrol: it is wiped"), "{reason}");
    let last = view.trace.last().unwrap();
    assert!(!last.passed && last.detail == *reason, "{last:?}");
    assert_eq!(view.decided_at, Some(world.now()));
    let facts = world.gateway.audit_tail(&world.authed(), 10).unwrap().items;
    let of = |action: &str| facts.iter().find(|fact| fact.action == action).unwrap();
    assert_eq!(
        (&of("enrolment.refused").object, &of("enrolment.refused").detail["reason"]),
        (&id.to_string(), reason)
    );
    assert_eq!(of("enrolment.refused").request, of("device.forced").request);
    let approved = world.gateway.approve_enrolment(&world.authed(), &id, "");
    assert!(matches!(approved, Err(ServiceError::Conflict(_))));
}

#[test]
fn a_request_that_waits_is_of_one_life_of_its_device() {
    let poll_after = |events: &[DeviceEvent]| {
        let (world, client) = after(events);
        poll(&world, &client).status
    };
    let (retire, force) = (DeviceEvent::Retire, DeviceEvent::Force);
    assert_eq!(poll_after(&[retire, force]), PkiStatus::Failure);
    for may_pass in [&[retire][..], &[DeviceEvent::Lost], &[DeviceEvent::Compromised]] {
        assert_eq!(poll_after(may_pass), PkiStatus::Pending, "{may_pass:?}");
    }
    let (world, client) = after(&[]);
    let id = waiting(&world).id;
    let sn1 = "SN1".parse().unwrap();
    world.gateway.device_event(&world.authed(), &sn1, DeviceEvent::Reprovision, "").unwrap();
    assert_eq!(poll(&world, &client).failure(), FailInfo::BadRequest);
    let view = world.gateway.enrolment_view(&world.authed::<Read>(), &id).unwrap();
    assert!(view.trace.last().unwrap().detail.contains("it was set up again"), "{:?}", view.trace);
}

#[test]
fn a_request_that_waits_is_refused_with_the_deletion_of_its_user() {
    let manual = "scope = \"user\"\nsubject = \"CN=$USERID$\"\napproval = \"manual\"\nchallenge = []\n";
    let world = World::new(&[("manual", manual)]);
    let ada = "ada".parse().unwrap();
    world.gateway.put_user(&world.authed(), &ada, &UserDetails::default()).unwrap();
    let client = Client::new();
    client.enrol(&world, "manual", &client.csr("CN=ada", None));
    assert_eq!(waiting(&world).bound_to, Some(BoundObject::User { id: ada.clone() }));
    world.gateway.user_event(&world.authed(), &ada, UserEvent::Disable, "").unwrap();
    assert_eq!(poll(&world, &client).status, PkiStatus::Pending, "they may be enabled again");
    world.gateway.user_event(&world.authed(), &ada, UserEvent::Delete, "").unwrap();
    assert_eq!(poll(&world, &client).failure(), FailInfo::BadRequest);
}

/// A wipe did not always end them, and whoever upgrades has them in the store.
#[test]
fn a_request_that_waits_for_nothing_any_more_is_refused_at_the_next_start() {
    let (world, gone) = after(&[]);
    world.register("SN2");
    let waits = Client::new();
    waits.enrol(&world, "manual", &waits.csr("CN=SN2", None));
    let ended: DeviceId = "SN1".parse().unwrap();
    let policy = LifecyclePolicy::default();
    world.write(|tx| {
        [DeviceEvent::Wipe, DeviceEvent::Force].into_iter().try_for_each(|event| {
            let device = tx.device(&ended)?.unwrap().apply(event, &policy, "test", "", world.now());
            tx.put_device(&device.unwrap().device)
        })
    });
    assert_eq!(poll(&world, &gone).status, PkiStatus::Pending);
    let world = world.restarted(GatewaySettings::default());
    assert_eq!(poll(&world, &gone).failure(), FailInfo::BadRequest);
    assert_eq!(poll(&world, &waits).status, PkiStatus::Pending);
    assert_eq!(waiting(&world).requested_subject, "CN=SN2");
    let facts = world.gateway.audit_tail(&world.authed(), 10).unwrap().items;
    let refused = facts.iter().find(|fact| fact.action == "enrolment.refused").unwrap();
    assert!(refused.actor == "certgate" && refused.detail["reason"].contains("it is wiped"), "{refused:?}");
    // Once.
    let recorded = |world: &World| world.gateway.audit_tail(&world.authed(), 1).unwrap().items[0].sequence;
    let before = recorded(&world);
    assert_eq!(recorded(&world.restarted(GatewaySettings::default())), before);
}
