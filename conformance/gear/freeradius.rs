//! FreeRADIUS 3.2: EAP-TLS with wpa_supplicant's `eapol_test` as the device, by OCSP with a nonce and by CRL; of certgate's own issuers, and of
//! a CA that it took over.

use std::{fs, process::Command};

use super::{
    Credentials, HOST, Place, Standing, configured,
    external::{OldCa, taken_over},
    process::free_address,
    program::Program,
    programs::{run, said, serial_of, succeed},
    server, through_its_life,
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

    fn authenticates(&self) -> bool {
        self.lets_in(&self.device)
    }

    /// What `eapol_test` says of a whole authentication.
    fn lets_in(&self, device: &Credentials) -> bool {
        let changes = [
            ("/etc/wpa_supplicant/root.pem", self.place.file("root.pem")),
            ("/etc/wpa_supplicant/sn123.pem", device.certificate.clone()),
            ("/etc/wpa_supplicant/sn123.key", device.key.clone()),
            ("SN123", device.device.clone().into()),
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

const REVOKED: &str = "Login incorrect (eap_tls: ocsp: Cert status: revoked)";

/// For certificates of `ca`, which certgate took over; `trusted` is what FreeRADIUS trusts.
fn of_another_ca(ca: &OldCa, name: &str, nonce: &str, trusted: &str) -> Radius {
    let url = format!("{}/ocsp", server().url());
    let changes =
        [("http://pki.lab.example/ocsp", &*url), ("use_nonce = yes", &format!("use_nonce = {nonce}"))];
    let gear = Radius::prepared(name, &configured(include_str!("freeradius/eap-ocsp-old-ca"), &changes));
    gear.place.write("trusted.pem", trusted);
    Radius { device: ca.credentials(&format!("{}-device", ca.name)), ..gear }
}

fn certificate_of(ca: &OldCa) -> String {
    fs::read_to_string(ca.place.file("ca.pem")).unwrap()
}

#[test]
fn freeradius_asks_ocsp_with_a_nonce_in_each_authentication() {
    let gear = Radius::prepared("radius-ocsp", include_str!("freeradius/eap-ocsp"));
    let radius = gear.start();
    through_its_life(&gear.device.device, |standing| {
        gear.expect(&radius, standing, REVOKED);
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

#[test]
fn freeradius_believes_a_delegate_of_a_ca_that_was_taken_over() {
    let ca = taken_over("radius-delegate", &["-newkey", "rsa:2048"]);
    let request = ca.place.file("responder.csr");
    ca.responder(&["request", "--out", request.to_str().unwrap()]);
    let certificate = ca.sign("responder.csr", "responder.pem", &[]);
    ca.responder(&["install", certificate.to_str().unwrap()]);
    // It trusts the old CA as it always did, and nothing of certgate's.
    let gear = of_another_ca(&ca, "radius-delegated", "yes", &certificate_of(&ca));
    let radius = gear.start();
    through_its_life(&gear.device.device, |standing| gear.expect(&radius, standing, REVOKED));
}

#[test]
fn freeradius_believes_a_responder_that_it_trusts_for_a_ca_that_was_taken_over() {
    let ca = taken_over("radius-trusted", &["-newkey", "rsa:2048"]);
    ca.responder(&["use", "trusted", "--by", "issuing"]);
    let trusted = certificate_of(&ca) + &ca.place.marked_chain(&["OCSPSigning"]);
    let gear = of_another_ca(&ca, "radius-trusting", "yes", &trusted);
    let radius = gear.start();
    through_its_life(&gear.device.device, |standing| gear.expect(&radius, standing, REVOKED));
    // A root that is trusted for answers alone lets none of its own devices in.
    let own = gear.place.device("radius-trusting-own");
    radius.says("Login incorrect", || assert!(!gear.lets_in(&own)));
    drop(radius);

    // Without a nonce, by hand, and with the root that lets its own devices in, too.
    let both = certificate_of(&ca) + &ca.place.marked_chain(&["OCSPSigning", "clientAuth"]);
    let gear = of_another_ca(&ca, "radius-trusting-both", "no", &both);
    let radius = gear.start();
    let [good, revoked] = ["good", "revoked"].map(|name| ca.credentials(name));
    let id = format!("{}/{}", ca.name, serial_of(&good.certificate));
    radius.says("Login OK", || assert!(gear.lets_in(&good)));
    server().json(&["cert", "hold", &id]);
    radius.says(REVOKED, || assert!(!gear.lets_in(&good)));
    server().json(&["cert", "release", &id]);
    radius.says("Login OK", || assert!(gear.lets_in(&good)));
    radius.says(REVOKED, || assert!(!gear.lets_in(&revoked)));
    radius.says("Login OK", || assert!(gear.lets_in(&own)));
}

#[test]
fn freeradius_believes_no_responder_that_is_not_marked() {
    let ca = taken_over("radius-unmarked", &["-newkey", "rsa:2048"]);
    ca.responder(&["use", "trusted", "--by", "issuing"]);
    let responder = fs::read_to_string(ca.export_responder()).unwrap();
    let [chain, issuing] =
        ["chain.pem", "issuing.pem"].map(|it| fs::read_to_string(ca.place.file(it)).unwrap());
    let root = ca.place.marked("root.pem", &["OCSPSigning"]);
    // FreeRADIUS ends the chain at the first certificate that it has, so a mark on the root above it comes too late.
    for (name, trusted) in [("chain", chain), ("responder", responder), ("root", issuing + &root)] {
        let gear = of_another_ca(&ca, &format!("radius-{name}"), "yes", &(certificate_of(&ca) + &trusted));
        let radius = gear.start();
        radius.says("Couldn't verify OCSP basic response", || assert!(!gear.authenticates(), "{name}"));
    }
    // With the mark on the responder's certificate nothing else of certgate's is needed.
    let marked = ca.place.marked("responder.pem", &["OCSPSigning"]);
    let gear = of_another_ca(&ca, "radius-marked", "yes", &(certificate_of(&ca) + &marked));
    let radius = gear.start();
    through_its_life(&gear.device.device, |standing| gear.expect(&radius, standing, REVOKED));
}
