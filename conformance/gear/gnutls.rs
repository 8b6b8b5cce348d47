//! GnuTLS 3.7: `ocsptool` and `certtool --verify-crl`.

use std::process::Command;

use super::{
    Credentials, Place,
    programs::{describe, run, said, serial_of, succeed},
    server, through_its_life,
};

fn ask(place: &Place, device: &Credentials, option: &str) -> String {
    let url = describe(&device.certificate, "-ocsp_uri");
    let mut ocsptool = Command::new("ocsptool");
    ocsptool.arg(format!("--ask={url}")).arg(option).arg("--load-cert").arg(&device.certificate);
    ocsptool.arg("--load-issuer").arg(place.file("issuing.pem"));
    said(&run(ocsptool.arg("--load-trust").arg(place.file("chain.pem"))))
}

#[test]
fn gnutls_asks_with_and_without_a_nonce() {
    let place = Place::new("gnutls-ocsp");
    let device = place.device("gnutls-ocsp-device");
    through_its_life(&device.device, |standing| {
        for option in ["--nonce", "--no-nonce"] {
            let said = ask(&place, &device, option);
            let status = if standing.is_good() { "good" } else { "revoked" };
            assert!(said.contains(&format!("Certificate Status: {status}")), "{standing:?}: {said}");
            assert!(said.contains("Verifying OCSP Response: Success"), "{said}");
        }
    });
}

#[test]
fn gnutls_verifies_and_lists_the_crl() {
    let place = Place::new("gnutls-crl");
    let device = place.device("gnutls-crl-device");
    let serial = serial_of(&device.certificate);
    through_its_life(&device.device, |standing| {
        place.fetch_crls();
        let mut certtool = Command::new("certtool");
        certtool.arg("--verify-crl").arg("--infile").arg(place.file("issuing.crl.pem"));
        let verified = said(&succeed(certtool.arg("--load-ca-certificate").arg(place.file("issuing.pem"))));
        assert!(verified.contains("Verified"), "{verified}");
        let mut certtool = Command::new("certtool");
        certtool.arg("--crl-info").arg("--infile").arg(place.file("issuing.crl.pem"));
        let listed = said(&succeed(&mut certtool));
        assert_eq!(listed.contains(&serial), !standing.is_good(), "{standing:?}: {listed}");
    });
}

#[test]
fn a_revocation_by_hand_has_its_reason_in_the_crl() {
    let place = Place::new("gnutls-reason");
    let device = place.device("gnutls-reason-device");
    let serial = serial_of(&device.certificate);
    server().json(&["cert", "revoke", &serial, "--reason", "keyCompromise", "--yes"]);
    place.fetch_crls();
    let mut openssl = Command::new("openssl");
    openssl.args(["crl", "-noout", "-text", "-in"]).arg(place.file("issuing.crl.pem"));
    let listed = said(&succeed(&mut openssl)).to_ascii_lowercase();
    let entry = &listed[listed.find(&serial).expect("the CRL lists it")..];
    let entry = entry.split("serial number:").next().unwrap();
    assert!(entry.contains("key compromise"), "{listed}");
}
