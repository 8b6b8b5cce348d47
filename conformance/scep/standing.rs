//! A device that is on its way out neither enrols nor renews, until it is back.

use certgate::{
    domain::{device::DeviceEvent, status::Effect},
    service::scep::ScepError,
    types::DeviceId,
    wire::scep::{FailInfo, PkiStatus},
};

use crate::{
    DEVICE,
    common::{Client, MessageOptions, World, cause},
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
