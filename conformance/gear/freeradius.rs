//! FreeRADIUS 3.2: EAP-TLS with wpa_supplicant's `eapol_test` as the device, by OCSP with a nonce and by CRL.

use std::process::Command;

use super::{
    Credentials, HOST, Place, Standing, configured,
    process::free_address,
    program::Program,
    programs::{run, said, succeed},
    through_its_life,
};

const RADIUSD: &str = include_str!("freeradius/radiusd.conf");
const WPA_SUPPLICANT: &str = include_str!("freeradius/wpa_supplicant.conf");

struct Radius {
    place: Place,
    port: u16,
    device: Credentials,
}

impl Radius {
    fn prepared(name: &str, eap: &str) -> Self {
        let place = Place::new(name);
        let port = free_address().port();
        let directory = place.directory();
        place.host(&format!("{name}-host"));
        place.write("eap", configured(eap, &[("/etc/freeradius/3.0/certs", directory)]));
        let changes = [
            ("/var/log/freeradius", directory),
            ("/run/freeradius", directory),
            ("port = 1812", &format!("port = {port}")),
        ];
        place.write("radiusd.conf", configured(RADIUSD, &changes));
        let device = place.device(&format!("{name}-device"));
        Self { place, port, device }
    }

    fn start(&self) -> Program {
        let command = ["freeradius", "-f", "-l", "stdout", "-d", self.place.directory()];
        Program::start(&self.place, &command, |radius| radius.log().contains("Ready to process requests"))
    }

    /// What `eapol_test` says of a whole authentication.
    fn authenticates(&self) -> bool {
        let changes = [
            ("/etc/wpa_supplicant/root.pem", self.place.file("root.pem")),
            ("/etc/wpa_supplicant/sn123.pem", self.device.certificate.clone()),
            ("/etc/wpa_supplicant/sn123.key", self.device.key.clone()),
            ("SN123", self.device.device.clone().into()),
            ("gear.example", HOST.into()),
        ];
        let changes = changes.each_ref().map(|(from, to)| (*from, to.to_str().unwrap()));
        let network = self.place.write("wpa_supplicant.conf", configured(WPA_SUPPLICANT, &changes));
        let output = run(Command::new("eapol_test").arg("-c").arg(network).args([
            "-a",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-s",
            "testing123",
            "-t",
            "20",
        ]));
        let said = said(&output);
        let verdict = said.lines().last().unwrap_or_default();
        assert!(matches!(verdict, "SUCCESS" | "FAILURE"), "{said}");
        verdict == "SUCCESS"
    }

    /// One authentication, and the line that an operator finds in FreeRADIUS's log.
    fn expect(&self, radius: &Program, standing: Standing, refusal: &str) {
        let line = if standing.is_good() { "Login OK" } else { refusal };
        radius.says(line, || assert_eq!(self.authenticates(), standing.is_good(), "{standing:?}"));
    }
}

#[test]
fn freeradius_asks_ocsp_with_a_nonce_in_each_authentication() {
    let gear = Radius::prepared("radius-ocsp", include_str!("freeradius/eap-ocsp"));
    let radius = gear.start();
    through_its_life(&gear.device.device, |standing| {
        gear.expect(&radius, standing, "Login incorrect (eap_tls: ocsp: Cert status: revoked)");
    });
}

#[test]
fn freeradius_lets_nobody_in_while_the_responder_does_not_answer() {
    let nobody = format!("url = \"http://{}/ocsp\"", free_address());
    let silent = configured(
        include_str!("freeradius/eap-ocsp"),
        &[("override_cert_url = no", &format!("override_cert_url = yes\n\t\t\t{nobody}"))],
    );
    let gear = Radius::prepared("radius-silent", &silent);
    let radius = gear.start();
    radius.says("Couldn't get OCSP response", || assert!(!gear.authenticates()));
}

#[test]
fn freeradius_reads_crls_when_it_starts() {
    let gear = Radius::prepared("radius-crl", include_str!("freeradius/eap-crl"));
    let authorities = Place::new("radius-crl/ca");
    through_its_life(&gear.device.device, |standing| {
        authorities.fetch_crls();
        succeed(Command::new("openssl").args(["rehash", authorities.directory()]));
        let radius = gear.start();
        gear.expect(
            &radius,
            standing,
            "Login incorrect (eap_tls: (TLS) OpenSSL says error 23 : certificate revoked)",
        );
    });
}
