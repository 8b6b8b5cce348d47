//! strongSwan 5.9: a VPN gateway and a device, both charon on this machine, and `pki --verify --online`. Both ask by the plugin `revocation`:
//! OCSP with a nonce, for every certificate of the chain. charon needs root, for the kernel's interface.

use std::{fs, os::unix::net::UnixStream, process::Command};

use super::{
    Credentials, HOST, Place, configured,
    process::free_address,
    program::Program,
    programs::{run, said, succeed},
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

/// One charon with its configuration, and the ports that it has instead of 500 and 4500.
struct Charon {
    place: Place,
    ports: [u16; 2],
}

impl Charon {
    fn new(name: &str) -> Self {
        let place = Place::new(&format!("charon/{name}"));
        let ports = [(); 2].map(|()| free_address().port());
        let [port, nat_port] = ports.map(|port| port.to_string());
        let changes = [("NAT_PORT", nat_port.as_str()), ("PORT", &port), ("DIRECTORY", place.directory())];
        place.write("strongswan.conf", configured(include_str!("strongswan/strongswan.conf"), &changes));
        for directory in ["x509", "x509ca", "private"] {
            fs::create_dir_all(place.file(directory)).unwrap();
        }
        for ca in ["issuing.pem", "root.pem"] {
            fs::copy(place.file(ca), place.file("x509ca").join(ca)).unwrap();
        }
        Self { place, ports }
    }

    /// Its own certificate and key, named as its configuration names them.
    fn has(&self, own: &Credentials, name: &str) {
        fs::copy(&own.certificate, self.place.file("x509").join(format!("{name}.pem"))).unwrap();
        fs::copy(&own.key, self.place.file("private").join(format!("{name}.key"))).unwrap();
    }

    fn start(&self, swanctl_conf: &str) -> Program {
        self.place.write("swanctl.conf", swanctl_conf);
        let configuration = format!("STRONGSWAN_CONF={}", self.place.file("strongswan.conf").display());
        let command = ["env", &configuration, "charon-systemd"];
        let charon = Program::start(&self.place, &command, |_| UnixStream::connect(self.vici()).is_ok());
        succeed(&mut self.swanctl(&["--load-all"]));
        charon
    }

    fn vici(&self) -> std::path::PathBuf {
        self.place.file("vici")
    }

    fn swanctl(&self, verb: &[&str]) -> Command {
        let mut swanctl = Command::new("swanctl");
        swanctl.env("SWANCTL_DIR", self.place.directory()).args(verb);
        swanctl.args(["--uri", &format!("unix://{}", self.vici().display())]);
        swanctl
    }

    /// Whether the gateway lets it in. What was known from before is forgotten first, and the connection ends with the look.
    fn connects(&self, gateway: &Self) -> bool {
        for charon in [self, gateway] {
            succeed(&mut charon.swanctl(&["--flush-certs", "--type", "ocsp_response"]));
        }
        let output = run(&mut self.swanctl(&["--initiate", "--ike", "gateway", "--timeout", "20"]));
        let connected = said(&output).contains("initiate completed successfully");
        assert!(connected || said(&output).contains("AUTHENTICATION_FAILED"), "{}", said(&output));
        if connected {
            succeed(&mut self.swanctl(&["--terminate", "--ike", "gateway"]));
        }
        connected
    }
}

#[test]
fn a_strongswan_gateway_asks_ocsp_for_the_devices_that_connect() {
    let [gateway, device] = ["gateway", "device"].map(Charon::new);
    gateway.has(&gateway.place.enrol("gear", "charon-gateway"), "host");
    let own = device.place.device("charon-device");
    device.has(&own, "sn123");

    // Both are on one machine, and make no tunnel: the peer is let in or not before that.
    let here = "version = 2\n        childless = force\n        local_addrs = 127.0.0.1";
    let changes = [("version = 2", here), ("gear.example", HOST)];
    let at_gateway = gateway.start(&configured(include_str!("strongswan/gateway.conf"), &changes));
    let there = format!(
        "remote_addrs = 127.0.0.1\n        remote_port = {}\n        local_port = {}",
        gateway.ports[1], device.ports[1]
    );
    let changes = [("version = 2", here), ("remote_addrs = gear.example", &there), ("gear.example", HOST)];
    let _at_device = device.start(&configured(include_str!("strongswan/device.conf"), &changes));

    through_its_life(&own.device, |standing| {
        let look = || assert_eq!(device.connects(&gateway), standing.is_good(), "{standing:?}");
        at_gateway.says(
            if standing.is_good() { "certificate status is good" } else { "certificate was revoked on" },
            look,
        );
    });
}
