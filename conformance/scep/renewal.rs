//! Renewal (RFC 8894 §2.5, §3.2.1.2, §4.3): the old certificate authorises, and only for what it was itself.

use certgate::{
    domain::{
        binding::Evidence,
        device::{DeviceEvent, LifecyclePolicy},
        status::Effect,
    },
    types::RevocationReason,
    wire::{
        scep::{FailInfo, MessageType},
        x509::Certificate,
    },
};

use crate::{
    DEVICE,
    common::{self, Client, DAY, MessageOptions, World},
};

/// A device that has enrolled: its client, with the certificate as identity, and the certificate.
fn enrolled(world: &World, profile: &str, device: &str) -> (Client, Certificate) {
    let ticket = world.ticket(profile, &world.register(device));
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&ticket));
    let certificate = client.enrol(world, profile, &csr).certificate().clone();
    (client.with_identity(&certificate).in_transaction("renewal-1"), certificate)
}

/// A request with a new key and the names of `certificate`.
fn request(certificate: &Certificate, key: &Client) -> Vec<u8> {
    key.csr(&certificate.subject().to_string(), None)
}

#[test]
fn s2_5_a_renews_with_a_new_key_and_keeps_the_binding() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let next = Client::new();
    let answer = client.renew(&world, "device", &request(&old, &next));
    let new = answer.certificate();
    assert_eq!(new.public_key(), next.public_key());
    assert_eq!(new.subject(), old.subject());
    assert_eq!(world.record(new).supersedes, Some(world.record(&old).id));
    let ([before], [after]): ([_; 1], [_; 1]) =
        (world.bindings(&old).try_into().unwrap(), world.bindings(new).try_into().unwrap());
    assert_eq!((after.object, after.assurance), (before.object, before.assurance));
    assert_eq!(after.evidence, Evidence::Renewal { certificate: world.record(&old).id });
    // The old one stays good: the device may need it until the new one is installed.
    assert!(world.read(|view| view.causes(&world.record(&old).id)).is_empty());
}

#[test]
fn s2_5_a_renews_with_the_same_key() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let answer = client.renew(&world, "device", &request(&old, &client));
    assert_eq!(answer.certificate().public_key(), old.public_key());
    assert_ne!(answer.certificate().serial(), old.serial());
}

#[test]
fn pkcs_req_signed_by_the_old_certificate_is_a_renewal() {
    // Cisco IOS and certmonger 0.79.
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let answer = client.enrol(&world, "device", &request(&old, &Client::new()));
    assert_eq!(world.record(answer.certificate()).supersedes, Some(world.record(&old).id));
}

#[test]
fn spent_challenge_does_not_spoil_a_renewal() {
    // FortiGate sends the challenge of the first enrolment along.
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let old = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let client = client.with_identity(&old).in_transaction("again");
    let answer = client.enrol(&world, "device", &client.csr("CN=SN1,O=Test", Some(&ticket)));
    assert_eq!(world.record(answer.certificate()).supersedes, Some(world.record(&old).id));
}

#[test]
fn lost_answer_to_a_renewal_is_repeated() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let csr = request(&old, &Client::new());
    let first = client.renew(&world, "device", &csr);
    assert_eq!(first.certificate(), client.renew(&world, "device", &csr).certificate());
    assert_eq!(world.leaves(), 2);
}

#[test]
fn recorded_renewal_issues_nothing_more_until_its_certificate_is_revoked_or_the_profile_changes() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let csr = request(&old, &Client::new());
    let first = client.renew(&world, "device", &csr).certificate().clone();
    world.clock.advance(DAY * 3);
    assert_eq!(client.renew(&world, "device", &csr).certificate(), &first);
    assert_eq!(world.leaves(), 2);
    // A compromised key gets none: `standing`.
    world.put_cause(&first, Effect::Revoke { reason: RevocationReason::Superseded });
    let second = client.renew(&world, "device", &csr).certificate().clone();
    assert_eq!(world.leaves(), 3);

    let world = world.reconfigured(&[("device", &format!("{DEVICE}\nvalidity-days = 30"))]);
    world.clock.advance(DAY * 3);
    assert_ne!(client.renew(&world, "device", &csr).certificate(), &second);
}

fn refused(world: &World, client: &Client, profile: &str, certificate: &Certificate) {
    let leaves = world.leaves();
    for kind in [MessageType::RenewalReq, MessageType::PkcsReq] {
        let csr = request(certificate, &Client::new());
        let answer = client.ask(world, profile, kind, &csr);
        assert_eq!(answer.failure(), FailInfo::BadRequest, "{kind:?}");
    }
    assert_eq!(world.leaves(), leaves);
}

#[test]
fn revoked_and_held_certificates_renew_nothing() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    world.put_cause(&old, Effect::Hold);
    refused(&world, &client, "device", &old);
    let (client, old) = enrolled(&world, "device", "SN2");
    world.revoke(&old);
    refused(&world, &client, "device", &old);
}

#[test]
fn expired_certificate_renews_nothing() {
    let spec = "subject = \"CN=$DEVICE_ID$\"\nvalidity-days = 30\nrenewal-grace-days = 0\n";
    let world = World::new(&[("device", spec)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    world.clock.advance(DAY * 31);
    refused(&world, &client, "device", &old);
}

#[test]
fn expired_certificate_renews_within_the_grace() {
    let world = World::new(&[("device", "subject = \"CN=$DEVICE_ID$\"\nvalidity-days = 30\n")]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let (revoked_client, revoked) = enrolled(&world, "device", "SN2");
    world.revoke(&revoked);
    world.clock.advance(DAY * 60);
    // What was revoked stays so beyond its end.
    refused(&world, &revoked_client, "device", &revoked);
    let renewed = client.renew(&world, "device", &request(&old, &Client::new()));
    assert_eq!(world.record(renewed.certificate()).supersedes, Some(world.record(&old).id));

    let (client, old) = enrolled(&world, "device", "SN3");
    world.clock.advance(DAY * 60 + std::time::Duration::from_secs(1));
    refused(&world, &client, "device", &old);
}

#[test]
fn renewal_window_is_kept() {
    let spec = "subject = \"CN=$DEVICE_ID$\"\nvalidity-days = 30\nrenewal-window-days = 10\n";
    let world = World::new(&[("device", spec)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    world.clock.advance(DAY * 19);
    refused(&world, &client, "device", &old);
    world.clock.advance(DAY * 2);
    client.renew(&world, "device", &request(&old, &Client::new())).certificate();
}

#[test]
fn wiped_device_renews_nothing() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    let policy = LifecyclePolicy::default();
    // Only the device is changed, so that its own standing is what refuses.
    world.write(|tx| {
        let device = tx.device(&"SN1".parse().unwrap())?.unwrap();
        let wiped = device.apply(DeviceEvent::Wipe, &policy, "test", "", world.now()).unwrap();
        tx.put_device(&wiped.device)
    });
    refused(&world, &client, "device", &old);
}

#[test]
fn certificate_of_another_profile_renews_nothing() {
    let world = World::new(&[("device", DEVICE), ("other", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    refused(&world, &client, "other", &old);
}

#[test]
fn certificate_that_only_bears_the_names_renews_nothing() {
    let world = World::new(&[("device", DEVICE)]);
    let (client, old) = enrolled(&world, "device", "SN1");
    // Self-made, with issuer, serial and subject of the real one (micromdm/scep 235).
    let thief = common::signer(certgate::types::KeyAlgorithm::Rsa2048);
    let forged = common::self_signed_like(thief.as_ref(), &old);
    let content = common::envelope(
        &request(&old, &Client::new()),
        &world.message_certificate("device"),
        &MessageOptions::default(),
    );
    for kind in [MessageType::RenewalReq, MessageType::PkcsReq] {
        let options = MessageOptions::from(kind);
        let message =
            common::sign_as(thief.as_ref(), &forged, &client.transaction, &options, content.clone());
        assert_eq!(client.send(&world, "device", &message).failure(), FailInfo::BadRequest);
    }
    assert_eq!(world.leaves(), 1);
}

#[test]
fn renewal_req_of_a_self_signed_stranger_is_refused_though_its_challenge_is_good() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let answer = client.renew(&world, "device", &client.csr("CN=x", Some(&ticket)));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 0);
}

#[test]
fn renewal_for_another_name_is_refused_or_overruled() {
    let strict = "subject = \"CN=$DEVICE_ID$\"\nmatch = \"strict\"\n";
    let world = World::new(&[("strict", strict)]);
    let ticket = world.ticket("strict", &world.register("SN1"));
    world.register("SN2");
    let client = Client::new();
    let old = client.enrol(&world, "strict", &client.csr("CN=SN1", Some(&ticket))).certificate().clone();
    let client = client.with_identity(&old).in_transaction("other name");
    let answer = client.renew(&world, "strict", &client.csr("CN=SN2", None));
    assert_eq!(answer.failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 1);
}
