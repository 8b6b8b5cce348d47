//! Approval by an operator (RFC 8894 §2.4, §3.3.2.3, §4.4).

use certgate::{
    domain::{
        access::{Operate, Read},
        binding::{Assurance, BoundObject, Evidence},
        device::{DeviceEvent, LifecyclePolicy},
        enrol::{Enrolment, EnrolmentState},
    },
    service::{ServiceError, enrol::MAX_PENDING, queue::EnrolmentOutcome},
    types::{EnrolmentId, Fingerprint},
    wire::scep::{FailInfo, IssuerAndSubject, MessageType, PkiStatus},
};

use crate::common::{Answer, Client, MessageOptions, World, envelope};

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
