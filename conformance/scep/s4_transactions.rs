use certgate::wire::scep::PkiStatus;

use crate::{
    DEVICE,
    common::{Client, World},
};

#[test]
fn s4_3_enrols_a_device_with_a_ticket() {
    let world = World::new(&[("device", DEVICE)]);
    let device = world.register("SN1");
    let client = Client::new();
    let ticket = world.ticket("device", &device);
    let answer = client.enrol(&world, "device", &client.csr("CN=whatever", Some(&ticket)));
    assert_eq!(answer.status, PkiStatus::Success);
    let certificate = answer.certificate();
    assert_eq!(certificate.subject().common_name().as_deref(), Some("SN1"));
}
