//! HAProxy 2.6: devices' certificates by CRLs that are changed while it runs, and the status of its own certificate stapled from answers
//! that OpenSSL fetches.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Credentials, Place, Standing, configured, curl,
    process::free_address,
    program::Program,
    programs::{run, said, succeed},
    server, through_its_life,
};

struct Balancer {
    place: Place,
    host: Credentials,
    devices: SocketAddr,
    site: SocketAddr,
}

impl Balancer {
    fn prepared(name: &str) -> Self {
        let place = Place::new(name);
        let host = place.host(&format!("{name}-host"));
        let [devices, site] = [free_address(), free_address()];
        let parts = [&host.certificate, &host.key].map(|file| fs::read(file).unwrap());
        place.write("site.pem", parts.concat());
        let changes = [
            ("/etc/haproxy/pki", place.directory()),
            ("/run/haproxy", place.directory()),
            ("127.0.0.1:8451", &devices.to_string()),
            ("127.0.0.1:8452", &site.to_string()),
        ];
        place.write("haproxy.cfg", configured(include_str!("haproxy.cfg"), &changes));
        let gear = Self { place, host, devices, site };
        gear.place.fetch_crls();
        gear.fetch_staple();
        gear
    }

    fn start(&self) -> Program {
        let configuration = self.place.file("haproxy.cfg");
        let command = ["haproxy", "-db", "-f", configuration.to_str().unwrap()];
        Program::listening(&self.place, &command, self.devices)
    }

    fn fetch_staple(&self) {
        let file = |name| self.place.file(name);
        let mut openssl = Command::new("openssl");
        openssl.args(["ocsp", "-url", &format!("{}/ocsp", server().url()), "-no_nonce"]);
        openssl.arg("-issuer").arg(file("issuing.pem")).arg("-cert").arg(&self.host.certificate);
        openssl.arg("-CAfile").arg(file("chain.pem"));
        succeed(openssl.arg("-respout").arg(file("site.pem.ocsp")));
    }

    /// A command of HAProxy's runtime API, with its payload.
    fn command(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.place.file("admin.sock")).unwrap();
        socket.write_all(command.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn take_new_crls(&self) {
        self.place.fetch_crls();
        let file = self.place.file("crls.pem");
        let (name, content) = (file.display(), fs::read_to_string(&file).unwrap());
        let answer = self.command(&format!("set ssl crl-file {name} <<\n{content}\n\n"));
        assert!(answer.contains("transaction created"), "{answer}");
        let answer = self.command(&format!("commit ssl crl-file {name}\n"));
        assert!(answer.contains("Success!"), "{answer}");
    }

    fn take_new_staple(&self) {
        self.fetch_staple();
        let response = STANDARD.encode(fs::read(self.place.file("site.pem.ocsp")).unwrap());
        let answer = self.command(&format!("set ssl ocsp-response <<\n{response}\n\n"));
        assert!(answer.contains("OCSP Response updated!"), "{answer}");
    }

    fn lets_in(&self, device: &Credentials) -> bool {
        let mut curl = curl(&self.place.file("root.pem"), self.devices.port());
        let output = run(curl.arg("--cert").arg(&device.certificate).arg("--key").arg(&device.key));
        let said = said(&output);
        let is_in = said.contains(&format!("CN={}", device.device));
        assert!(is_in || said.contains("alert certificate revoked"), "{said}");
        is_in
    }
}

#[test]
fn haproxy_takes_new_crls_while_it_runs() {
    let gear = Balancer::prepared("haproxy");
    let device = gear.place.device("haproxy-device");
    let haproxy = gear.start();
    through_its_life(&device.device, |standing| {
        gear.take_new_crls();
        let look = || assert_eq!(gear.lets_in(&device), standing.is_good(), "{standing:?}");
        let refusal = "SSL client certificate not trusted \"/O=Gear/CN=haproxy-device\" [23]";
        if standing.is_good() { look() } else { haproxy.says(refusal, look) }
    });
}

#[test]
fn haproxy_staples_the_status_of_its_own_certificate() {
    let gear = Balancer::prepared("haproxy-staple");
    let _haproxy = gear.start();
    through_its_life(&gear.host.device, |standing| {
        if standing != Standing::Good {
            // The first is the file beside the certificate.
            gear.take_new_staple();
        }
        let root = gear.place.file("root.pem");
        let output = run(curl(&root, gear.site.port()).args(["--cert-status", "--verbose"]));
        assert_eq!(output.status.success(), standing.is_good(), "{standing:?}: {}", said(&output));
        let said = said(&output);
        match standing {
            Standing::Good | Standing::Released => {
                assert!(said.contains("SSL certificate status: good"), "{said}");
            }
            // An answer about a hold lasts 5 minutes, and HAProxy staples none that has so little left.
            Standing::Held => assert!(said.contains("status: revoked") || said.contains("No OCSP"), "{said}"),
            Standing::Revoked => assert!(said.contains("SSL certificate status: revoked"), "{said}"),
        }
    });
}
