//! A device that is on its way out neither enrols nor renews, until it is back.

use certgate::{
    domain::{device::DeviceEvent, status::Effect},
    service::scep::ScepError,
    types::{DeviceId, RevocationReason, Secret},
    wire::{
        scep::{FailInfo, PkiStatus},
        x509::GeneralName,
    },
};

use crate::{
    DEVICE,
    common::{Client, MessageOptions, World, WorldOptions, cause},
};

/// A device in service, with one more ticket and a certificate to renew.
struct Scene {
    world: World,
    device: DeviceId,
    /// With its certificate.
    enrolled: Client,
    renewal: Vec<u8>,
    /// Without one.
    fresh: Client,
    request: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let world = World::new(&[("device", DEVICE)]);
        let device = world.register("SN1");
        let client = Client::new();
        let csr = client.csr("CN=x", Some(&world.ticket("device", &device)));
        let certificate = client.enrol(&world, "device", &csr).certificate().clone();
        let fresh = Client::new();
        let request = fresh.csr("CN=x", Some(&world.ticket("device", &device)));
        let enrolled = client.with_identity(&certificate).in_transaction("renewal");
        let renewal = enrolled.csr("CN=SN1,O=Test", None);
        Self { world, device, enrolled, renewal, fresh, request }
    }

    fn happens(&self, event: DeviceEvent) {
        self.world.gateway.device_event(&self.world.authed(), &self.device, event, "").unwrap();
    }

    fn assert_shut_out(&self, after: DeviceEvent) {
        let leaves = self.world.leaves();
        let answer = self.fresh.enrol(&self.world, "device", &self.request);
        assert_eq!(answer.failure(), FailInfo::BadRequest, "enrols after {after:?}");
        let answer = self.enrolled.renew(&self.world, "device", &self.renewal);
        assert_eq!(answer.failure(), FailInfo::BadRequest, "renews after {after:?}");
        assert_eq!(self.world.leaves(), leaves);
        assert!(
            self.world.gateway.create_ticket(&self.world.authed(), &self.ticket()).is_err(),
            "a ticket is minted after {after:?}"
        );
    }

    fn ticket(&self) -> certgate::service::ticket::NewTicket {
        certgate::service::ticket::NewTicket {
            profile: "device".parse().unwrap(),
            device: Some(self.device.clone()),
            user: None,
            lifetime: None,
            uses: None,
        }
    }
}

#[test]
fn what_is_withdrawn_lets_the_device_back_in() {
    let withdrawn = [
        (DeviceEvent::Retire, DeviceEvent::Unretire),
        (DeviceEvent::Wipe, DeviceEvent::CancelWipe),
        (DeviceEvent::Lost, DeviceEvent::Found),
        (DeviceEvent::Compromised, DeviceEvent::Cleared),
    ];
    for (out, back) in withdrawn {
        let scene = Scene::new();
        scene.happens(out);
        scene.assert_shut_out(out);
        scene.happens(back);
        let answer = scene.enrolled.renew(&scene.world, "device", &scene.renewal);
        assert_eq!(answer.status, PkiStatus::Success, "{back:?}");
        let answer = scene.fresh.enrol(&scene.world, "device", &scene.request);
        assert_eq!(answer.status, PkiStatus::Success, "{back:?}");
    }
}

#[test]
fn a_retired_or_wiped_device_is_out_for_this_life() {
    for event in [DeviceEvent::Retire, DeviceEvent::Wipe] {
        let scene = Scene::new();
        scene.happens(event);
        scene.happens(DeviceEvent::Force);
        scene.assert_shut_out(event);

        // Set up again, it enrols as a new object; the old certificate is no way back.
        scene.happens(DeviceEvent::Reprovision);
        let answer = scene.enrolled.renew(&scene.world, "device", &scene.renewal);
        assert_eq!(answer.failure(), FailInfo::BadRequest);
        let secret =
            scene.world.gateway.create_ticket(&scene.world.authed(), &scene.ticket()).unwrap().secret;
        let client = Client::new();
        let answer = client.enrol(&scene.world, "device", &client.csr("CN=x", Some(&secret)));
        let [binding] = scene.world.bindings(answer.certificate()).try_into().unwrap();
        let object =
            certgate::domain::binding::BoundObject::Device { id: scene.device.clone(), generation: 2 };
        assert_eq!(binding.object, object);
    }
}

#[test]
fn a_ticket_from_the_life_before_is_no_good_in_the_next() {
    let scene = Scene::new();
    scene.happens(DeviceEvent::Wipe);
    scene.happens(DeviceEvent::Force);
    scene.happens(DeviceEvent::Reprovision);
    let answer = scene.fresh.enrol(&scene.world, "device", &scene.request);
    assert_eq!(answer.failure(), FailInfo::BadRequest);
}

#[test]
fn a_ca_whose_own_certificate_is_on_hold_issues_nothing() {
    let scene = Scene::new();
    let leaves = scene.world.leaves();
    let issuing = scene.world.issuer("issuing");
    scene.world.put_cause(&issuing, Effect::Hold);

    let recipient = scene.world.message_certificate("device");
    let message = scene.fresh.message(&recipient, &MessageOptions::default(), &scene.request);
    // Not the client's fault: it is told to come back, and nothing of its challenge is used up.
    assert_eq!(scene.world.pki_operation("device", &message).unwrap_err(), ScepError::Unavailable);
    assert_eq!(scene.world.leaves(), leaves);

    let id = scene.world.record(&issuing).id;
    scene.world.write(|tx| tx.release_cause(&id, &cause(scene.world.now()).key));
    assert_eq!(scene.fresh.enrol(&scene.world, "device", &scene.request).status, PkiStatus::Success);
}

/// Everybody who knows the static challenge, registered or not, under the names that they ask for.
fn open_world(identify: &str) -> (World, Secret) {
    let open = format!(
        "subject = \"\"\nmatch = \"claim\"\nchallenge = [\"static\"]\nidentify = \"{identify}\"\nallow-unregistered = true\n\
         renewal-window-days = 0\n"
    );
    let secret = Secret::from("static-0123456789");
    let mut options = WorldOptions::default();
    options.settings.static_challenges.insert("open".parse().unwrap(), vec![secret.clone()]);
    (World::with(options, &[("open", &open)]), secret)
}

fn lost(world: &World, id: &str) -> DeviceId {
    let device = world.register(id);
    world.gateway.device_event(&world.authed(), &device, DeviceEvent::Lost, "").unwrap();
    device
}

#[test]
fn a_lost_device_does_not_hide_behind_a_second_name() {
    let (world, secret) = open_world("subject.cn");
    lost(&world, "SN1");
    for subject in ["CN=SN1", "CN=SN1,CN=x", "CN=x,CN=SN1", "CN=SN1+CN=x,O=Lab"] {
        let client = Client::new();
        let answer = client.enrol(&world, "open", &client.csr(subject, Some(&secret)));
        assert_eq!(answer.status, PkiStatus::Failure, "{subject}");
    }
    assert_eq!(world.leaves(), 0);

    let (world, secret) = open_world("san.dns");
    lost(&world, "sn1.example");
    let dns = |host: &str| GeneralName::Dns(host.to_owned());
    for names in [[dns("x.example"), dns("sn1.example")], [dns("sn1.example"), dns("x.example")]] {
        let client = Client::new();
        let answer = client.enrol(&world, "open", &client.csr_with("CN=x", &names, Some(&secret)));
        assert_eq!(answer.status, PkiStatus::Failure, "{names:?}");
    }
    assert_eq!(world.leaves(), 0);
}

#[test]
fn a_request_is_for_the_registered_one_of_its_names_and_never_for_two() {
    let (world, secret) = open_world("subject.cn");
    let device = world.register("SN1");
    // As a directory names a user or computer: the container has a common name, too.
    for subject in ["CN=SN1,CN=Computers,DC=lab", "CN=x,CN=SN1"] {
        let client = Client::new();
        let answer = client.enrol(&world, "open", &client.csr(subject, Some(&secret)));
        let [binding] = world.bindings(answer.certificate()).try_into().unwrap();
        assert!(binding.object.is_device(&device), "{subject}");
    }
    world.register("SN2");
    let client = Client::new();
    let answer = client.enrol(&world, "open", &client.csr("CN=SN1,CN=SN2", Some(&secret)));
    assert_eq!(answer.status, PkiStatus::Failure);
}

/// Each is looked up, and whoever asks chooses how many there are.
#[test]
fn a_request_with_very_many_names_is_for_nobody() {
    let (world, secret) = open_world("san.dns");
    for (count, status) in [(64, PkiStatus::Success), (65, PkiStatus::Failure)] {
        let names: Vec<_> = (0..count).map(|it| GeneralName::Dns(format!("h{it}.example"))).collect();
        let client = Client::new();
        let answer = client.enrol(&world, "open", &client.csr_with("CN=x", &names, Some(&secret)));
        assert_eq!(answer.status, status, "{count}");
    }
}

/// Its certificate is bound to nobody, for nobody was registered when it enrolled.
#[test]
fn a_device_that_was_registered_and_lost_since_renews_nothing() {
    let (world, secret) = open_world("subject.cn");
    let client = Client::new();
    let answer = client.enrol(&world, "open", &client.csr("CN=SN1", Some(&secret)));
    let enrolled = client.with_identity(answer.certificate());
    let renew = |transaction: &str| {
        let enrolled = enrolled.in_transaction(transaction);
        enrolled.renew(&world, "open", &enrolled.csr("CN=SN1", None)).status
    };
    let device = lost(&world, "SN1");
    assert_eq!(renew("lost"), PkiStatus::Failure);
    assert_eq!(world.leaves(), 1);
    world.gateway.device_event(&world.authed(), &device, DeviceEvent::Found, "").unwrap();
    assert_eq!(renew("found"), PkiStatus::Success);
}

/// Somebody recorded it and has the key: the challenge in it is right for as long as it stands.
#[test]
fn a_recorded_request_gets_no_certificate_for_a_key_that_was_compromised() {
    for reason in [RevocationReason::Superseded, RevocationReason::KeyCompromise] {
        let (world, secret) = open_world("subject.cn");
        let client = Client::new();
        let csr = client.csr("CN=SN1", Some(&secret));
        let certificate = client.enrol(&world, "open", &csr).certificate().clone();
        world.put_cause(&certificate, Effect::Revoke { reason });
        let again = client.enrol(&world, "open", &csr).status;
        assert_eq!(again == PkiStatus::Failure, reason == RevocationReason::KeyCompromise, "{reason:?}");
    }
}
