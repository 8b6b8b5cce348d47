//! nginx 1.22 as what asks devices for certificates: by OCSP for the whole chain (GET over HTTP/1.0, no nonce), from its cache, by CRLs.

use std::{net::SocketAddr, process::Command};

use super::{
    Credentials, Place, configured, curl,
    process::free_address,
    program::{Program, eventually},
    programs::{said, succeed},
    through_its_life,
};

const CONFIGURATION: &str = include_str!("nginx.conf");

/// nginx with all servers of the configuration.
pub(super) struct Nginx {
    pub(super) place: Place,
    /// Of nginx's own certificate.
    pub(super) host: Credentials,
    asking: SocketAddr,
    caching: SocketAddr,
    by_crl: SocketAddr,
    pub(super) stapling: SocketAddr,
    pub(super) stapling_file: SocketAddr,
}

impl Nginx {
    pub(super) fn prepared(name: &str) -> Self {
        let place = Place::new(name);
        let host = place.host(&format!("{name}-host"));
        let [asking, caching, by_crl, stapling, stapling_file] = [(); 5].map(|()| free_address());
        let gear = Self { place, host, asking, caching, by_crl, stapling, stapling_file };
        gear.configure();
        gear.place.fetch_crls();
        gear.fetch_staple();
        gear
    }

    fn configure(&self) {
        let directory = self.place.directory();
        let addresses = [self.asking, self.caching, self.by_crl, self.stapling, self.stapling_file];
        let addresses = addresses.map(|address| address.to_string());
        let mut changes = vec![
            ("/run/nginx.pid", self.place.file("nginx.pid").to_str().unwrap().to_owned()),
            ("/etc/nginx/pki", directory.to_owned()),
            ("/var/lib/nginx", directory.to_owned()),
        ];
        for (from, to) in ["8441", "8442", "8443", "8444", "8445"].into_iter().zip(&addresses) {
            changes.push((from, to.rsplit(':').next().unwrap().to_owned()));
        }
        let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, to.as_str())).collect();
        self.place.write("nginx.conf", configured(CONFIGURATION, &changes));
    }

    /// The command of the recipe: OpenSSL asks for the status of nginx's own certificate.
    pub(super) fn fetch_staple(&self) {
        let file = |name| self.place.file(name);
        let url = format!("{}/ocsp", super::server().url());
        let mut openssl = Command::new("openssl");
        openssl.args(["ocsp", "-url", &url, "-no_nonce", "-issuer"]).arg(file("issuing.pem"));
        openssl.arg("-cert").arg(file("host.pem")).arg("-CAfile").arg(file("chain.pem"));
        succeed(openssl.arg("-respout").arg(file("host.ocsp")));
    }

    pub(super) fn start(&self) -> Program {
        let configuration = self.place.file("nginx.conf");
        let command = ["nginx", "-e", "stderr", "-c", configuration.to_str().unwrap(), "-g", "daemon off;"];
        Program::listening(&self.place, &command, self.asking)
    }

    /// Whether a device gets its page; nginx names it there.
    fn lets_in(&self, address: SocketAddr, device: &Credentials) -> bool {
        let mut curl = curl(&self.place.file("root.pem"), address.port());
        let output = succeed(curl.arg("--cert").arg(&device.certificate).arg("--key").arg(&device.key));
        let page = said(&output);
        let is_in = page.contains(&format!("CN={}", device.device));
        assert!(is_in || page.contains("400 The SSL certificate error"), "{page}");
        is_in
    }
}

#[test]
fn nginx_asks_ocsp_for_each_connection() {
    let gear = Nginx::prepared("nginx-ocsp");
    let device = gear.place.device("nginx-ocsp-device");
    let nginx = gear.start();
    through_its_life(&device.device, |standing| {
        let look = || assert_eq!(gear.lets_in(gear.asking, &device), standing.is_good(), "{standing:?}");
        let refusal = "client SSL certificate verify error: certificate revoked";
        if standing.is_good() { look() } else { nginx.says(refusal, look) }
    });
}

#[test]
fn nginx_trusts_its_cache_until_it_is_started_again() {
    let gear = Nginx::prepared("nginx-cache");
    let device = gear.place.device("nginx-cache-device");
    let nginx = gear.start();
    assert!(gear.lets_in(gear.caching, &device));
    super::server().json(&["device", "lost", &device.device]);
    assert!(gear.lets_in(gear.caching, &device), "as its configuration says, until nextUpdate");
    assert!(!gear.lets_in(gear.asking, &device), "the server without a cache knows");
    drop(nginx);
    let _nginx = gear.start();
    assert!(!gear.lets_in(gear.caching, &device));
}

#[test]
fn nginx_reads_new_crls_when_it_reloads() {
    let gear = Nginx::prepared("nginx-crl");
    let device = gear.place.device("nginx-crl-device");
    let nginx = gear.start();
    through_its_life(&device.device, |standing| {
        gear.place.fetch_crls();
        let reload_and_look = || {
            nginx.signal("HUP");
            // The old worker may still take a connection or two.
            eventually("nginx has the new CRL", || gear.lets_in(gear.by_crl, &device) == standing.is_good());
        };
        let refusal = "client SSL certificate verify error: (23:certificate revoked)";
        if standing.is_good() { reload_and_look() } else { nginx.says(refusal, reload_and_look) }
    });
}
