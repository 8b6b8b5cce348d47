//! strongSwan 5.9: `pki --verify --online` asks as charon does, by the plugin `revocation`: OCSP with a nonce, for every certificate of the
//! chain.

use std::process::Command;

use super::{
    Credentials, Place,
    programs::{run, said},
    through_its_life,
};

fn verify(place: &Place, device: &Credentials) -> (bool, String) {
    let output = run(Command::new("pki")
        .args(["--verify", "--online", "--in"])
        .arg(&device.certificate)
        .arg("--cacert")
        .arg(place.file("issuing.pem"))
        .arg("--cacert")
        .arg(place.file("root.pem")));
    (output.status.success(), said(&output))
}

#[test]
fn strongswan_asks_ocsp_for_the_whole_chain() {
    let place = Place::new("strongswan");
    let device = place.device("strongswan-device");
    through_its_life(&device.device, |standing| {
        let (trusted, said) = verify(&place, &device);
        assert_eq!(trusted, standing.is_good(), "{standing:?}: {said}");
        assert!(said.contains("ocsp response correctly signed by"), "{said}");
        if standing.is_good() {
            assert_eq!(
                said.matches("certificate status is good").count(),
                2,
                "device and issuing CA: {said}"
            );
        } else {
            assert!(said.contains("certificate was revoked on"), "{said}");
        }
    });
}
