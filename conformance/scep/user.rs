//! Certificates of users: bound to the user, whatever device asks.

use certgate::{
    domain::{
        binding::{Assurance, BoundObject, Evidence},
        user::UserEvent,
    },
    service::{ServiceError, ticket::NewTicket},
    types::{Secret, UserId},
    wire::{
        scep::{FailInfo, PkiStatus},
        x509::GeneralName,
    },
};

use crate::{
    common::{Client, World},
    profile::{USER_SID, office},
};

const USER: &str = r#"
scope = "user"
subject = "CN=$EMAIL$"
microsoft-sid = true
subject-alt-names = ["upn:$USER_UPN$"]
"#;

fn ada() -> UserId {
    "ada".parse().unwrap()
}

fn wanted() -> NewTicket {
    NewTicket {
        profile: "office".parse().unwrap(),
        device: None,
        user: Some(ada()),
        lifetime: None,
        uses: None,
    }
}

fn ticket(world: &World) -> Secret {
    world.gateway.create_ticket(&world.authed(), &wanted()).unwrap().secret
}

fn happens(world: &World, event: UserEvent) {
    world.gateway.user_event(&world.authed(), &ada(), event, "").unwrap();
}

#[test]
fn a_ticket_for_a_user_gives_a_certificate_of_the_user() {
    let (world, _) = office(USER);
    let client = Client::new();
    let answer = client.enrol(&world, "office", &client.csr("CN=somebody else", Some(&ticket(&world))));
    let certificate = answer.certificate();
    assert_eq!(certificate.subject().to_string(), "CN=ada.l@mail.example");
    assert_eq!(certificate.subject_alt_names(), [GeneralName::Upn("ada@corp.example".to_owned())]);
    assert_eq!(certificate.microsoft_sid(), Some(USER_SID));
    let [binding] = world.bindings(certificate).try_into().unwrap();
    assert_eq!((binding.object, binding.assurance), (BoundObject::User { id: ada() }, Assurance::High));
    assert!(matches!(binding.evidence, Evidence::Ticket { .. }));
    // Every device of the user may have one of its own key.
    let other = Client::new();
    let again = other.enrol(&world, "office", &other.csr("CN=x", Some(&ticket(&world))));
    assert_eq!(again.certificate().subject(), certificate.subject());
    let user = world.gateway.user(&world.authed(), &ada()).unwrap();
    assert_eq!(user.certificates.len(), 2);
}

#[test]
fn a_renewal_keeps_the_user() {
    let (world, _) = office(USER);
    let client = Client::new();
    let old =
        client.enrol(&world, "office", &client.csr("CN=x", Some(&ticket(&world)))).certificate().clone();
    let client = client.with_identity(&old).in_transaction("renewal");
    let csr = Client::new().csr(&old.subject().to_string(), None);
    let answer = client.renew(&world, "office", &csr);
    let [binding] = world.bindings(answer.certificate()).try_into().unwrap();
    assert_eq!(binding.object, BoundObject::User { id: ada() });
    assert_eq!(answer.certificate().microsoft_sid(), Some(USER_SID));
}

#[test]
fn a_user_out_of_standing_neither_enrols_nor_renews() {
    let (world, _) = office(USER);
    let client = Client::new();
    let old =
        client.enrol(&world, "office", &client.csr("CN=x", Some(&ticket(&world)))).certificate().clone();
    let renewing = client.with_identity(&old).in_transaction("renewal");
    let renewal = Client::new().csr(&old.subject().to_string(), None);
    let other = Client::new();
    let first = other.csr("CN=x", Some(&ticket(&world)));

    happens(&world, UserEvent::Disable);
    assert_eq!(other.enrol(&world, "office", &first).failure(), FailInfo::BadRequest);
    assert_eq!(renewing.renew(&world, "office", &renewal).failure(), FailInfo::BadRequest);
    let refused = world.gateway.create_ticket(&world.authed(), &wanted());
    assert!(matches!(refused, Err(ServiceError::Refused(_))), "{refused:?}");
    assert_eq!(world.leaves(), 1);

    happens(&world, UserEvent::Enable);
    assert_eq!(other.enrol(&world, "office", &first).status, PkiStatus::Success);
    assert_eq!(renewing.renew(&world, "office", &renewal).status, PkiStatus::Success);

    happens(&world, UserEvent::Delete);
    let leaves = world.leaves();
    let late = Client::new().csr(&old.subject().to_string(), None);
    assert_eq!(renewing.renew(&world, "office", &late).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), leaves);
}

#[test]
fn tickets_of_one_kind_do_not_open_profiles_of_the_other() {
    let (world, device) = office(USER);
    let wrong = NewTicket { device: Some(device), user: None, ..wanted() };
    let both = NewTicket { user: Some(ada()), ..wrong.clone() };
    let nobody = NewTicket { user: Some("bob".parse().unwrap()), ..wanted() };
    let create = |wanted: &NewTicket| world.gateway.create_ticket(&world.authed(), wanted).map(drop);
    assert!(matches!(create(&wrong), Err(ServiceError::Invalid { .. })));
    assert!(matches!(create(&both), Err(ServiceError::Invalid { .. })));
    assert!(matches!(create(&nobody), Err(ServiceError::NotFound { what: "user", .. })));
}

#[test]
fn a_sid_in_a_uri_is_the_records_whoever_asks() {
    let uri = |sid: &str| GeneralName::Uri(format!("tag:microsoft.com,2022-09-14:sid:{sid}"));
    let (world, _) = office(
        r#"
        scope = "user"
        subject = "CN=$USERID$"
        subject-alt-names = ["uri:tag:microsoft.com,2022-09-14:sid:$USER_SID$"]
        match = "strict"
        "#,
    );
    let client = Client::new();
    let secret = ticket(&world);
    let csr = client.csr_with("CN=ada", &[uri("S-1-5-21-1-2-3-512")], Some(&secret));
    assert_eq!(client.enrol(&world, "office", &csr).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
    let csr = client.csr_with("CN=ada", &[uri(USER_SID)], Some(&secret));
    assert_eq!(client.enrol(&world, "office", &csr).certificate().subject_alt_names(), [uri(USER_SID)]);
}
