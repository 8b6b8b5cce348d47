//! Delta CRLs and partitions (RFC 5280 §5.2.4, §5.2.5) with OpenSSL, which follows both, and pkilint.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use super::{
    PROFILES, describe,
    pkilint::lint,
    process::{Server, http_get},
    programs::{run, said},
    succeed,
};

/// A gateway with a device, and what a relying party has fetched from it.
struct World {
    server: Server,
    certificate: PathBuf,
}

impl World {
    fn new(crl_settings: &str) -> Self {
        let settings = format!("[crl]\n{crl_settings}\ndebounce-seconds = 0\n{PROFILES}");
        let server = Server::started(&["--key", "p-256", "--issuing-key", "p-256"], &settings);
        server.register_device("parts");
        let (_, challenge) = server.ticket("modern", "parts");
        let certificate = server.scratch().join("parts.pem");
        let url = server.scep_url("modern");
        let mut enrol = server.command();
        enrol.args(["scep", "enrol", "--url", &url, "--subject", "CN=x", "--challenge-file"]).arg(challenge);
        succeed(enrol.arg("--key").arg(server.scratch().join("parts.key")).arg("--cert").arg(&certificate));
        Self { server, certificate }
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let answer = http_get(self.server.device_address(), path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.server.scratch().join(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// A CRL, once it is another one than `before`; pkilint has nothing to say against it.
    fn crl_after(&self, path: &str, before: &[u8]) -> Vec<u8> {
        let changed = (0..100).find_map(|_| {
            let now = self.get(path);
            if now != before {
                return Some(now);
            }
            sleep(Duration::from_millis(100));
            None
        });
        let changed = changed.unwrap_or_else(|| panic!("{path} stays as it was"));
        lint("lint_crl", &["-t", "CRL", "-p", "PKIX"], &[&self.write("changed.crl", &changed)]);
        changed
    }

    /// Whether `openssl verify` takes the device's certificate with these CRLs of its issuer.
    fn verifies(&self, options: &[&str], crls: &[&[u8]]) -> bool {
        let mut all = self.get("/crl/root.pem");
        for crl in crls {
            let mut openssl = Command::new("openssl");
            openssl.args(["crl", "-inform", "DER", "-in"]).arg(self.write("one.crl", crl));
            all.extend(succeed(&mut openssl).stdout);
        }
        let [root, issuing] =
            ["root.pem", "issuing.pem"].map(|name| self.write(name, &self.get(&format!("/ca/{name}"))));
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-x509_strict", "-crl_check", "-extended_crl"]).args(options);
        openssl.arg("-CAfile").arg(root).arg("-untrusted").arg(issuing);
        let output = run(openssl.arg("-CRLfile").arg(self.write("all.pem", &all)).arg(&self.certificate));
        let verified = output.status.success();
        assert!(verified || said(&output).contains("certificate revoked"), "{}", said(&output));
        verified
    }

    fn device(&self, verb: &str) {
        let yes: &[&str] = if matches!(verb, "wipe" | "force") { &["--yes"] } else { &[] };
        self.server.json(&[&["device", verb, "parts"], yes].concat());
    }
}

/// What `openssl x509` says of the certificate's extensions.
fn extensions(certificate: &Path) -> String {
    describe(certificate, "-text")
}

#[test]
fn openssl_follows_deltas_from_a_full_crl_that_stays() {
    const DELTA: &str = "/crl/issuing-delta.crl";

    let world = World::new("delta-lifetime-hours = 24");
    assert!(extensions(&world.certificate).contains("Freshest CRL"));
    let full = world.get("/crl/issuing.crl");
    let mut delta = world.get(DELTA);
    for (verb, good) in [("lost", false), ("found", true), ("wipe", false), ("force", false)] {
        world.device(verb);
        delta = world.crl_after(DELTA, &delta);
        assert_eq!(world.verifies(&["-use_deltas"], &[&full, &delta]), good, "{verb}");
        assert!(world.verifies(&[], &[&full]), "the full CRL is older than the change");
    }
    world.server.json(&["crl", "publish", "issuing"]);
    assert!(!world.verifies(&[], &[&world.get("/crl/issuing.crl")]));
}

#[test]
fn openssl_finds_a_certificate_in_the_partition_that_it_names() {
    let world = World::new("partitions = 4");
    let text = extensions(&world.certificate);
    let place = text.find("/crl/issuing/4/").expect("the certificate names its partition");
    let path = text[place..].lines().next().unwrap();
    let before = world.get(path);
    assert!(world.verifies(&[], &[&before]));
    world.device("lost");
    let after = world.crl_after(path, &before);
    assert!(!world.verifies(&[], &[&after]));
    world.device("found");
    assert!(world.verifies(&[], &[&world.crl_after(path, &after)]));
}

/// `pki --verify` by CRLs alone, which it fetches: the full one, and the delta that it names. It keeps none of them.
fn strongswan_takes(world: &World) -> (bool, String) {
    let settings = "pki {\n plugins {\n  revocation {\n   enable_ocsp = no\n  }\n }\n}\n";
    let settings = world.write("strongswan.conf", settings.as_bytes());
    let mut pki = Command::new("pki");
    pki.env("STRONGSWAN_CONF", settings).args(["--verify", "--online", "--in"]).arg(&world.certificate);
    for ca in ["issuing.pem", "root.pem"] {
        pki.arg("--cacert").arg(world.write(ca, &world.get(&format!("/ca/{ca}"))));
    }
    let output = run(&mut pki);
    (output.status.success(), said(&output))
}

/// strongSwan 5.9 takes every entry of a delta for a revocation, one with removeFromCRL too (its `revocation` plugin looks for the serial
/// number alone): whoever was on hold waits for the next full CRL there.
#[test]
fn strongswan_follows_deltas_and_takes_a_release_for_a_revocation() {
    const DELTA: &str = "/crl/issuing-delta.crl";

    let world = World::new("delta-lifetime-hours = 24");
    let mut delta = world.get(DELTA);
    let (good, words) = strongswan_takes(&world);
    assert!(good && words.contains("certificate status is good") && words.contains(DELTA), "{words}");
    for (verb, reason) in [("lost", "certificate hold"), ("found", "remove from crl")] {
        world.device(verb);
        delta = world.crl_after(DELTA, &delta);
        let (good, words) = strongswan_takes(&world);
        assert!(!good && words.contains(&format!("reason: {reason}")), "{verb}: {words}");
    }
    world.server.json(&["crl", "publish", "issuing"]);
    let (good, words) = strongswan_takes(&world);
    assert!(good && words.contains("certificate status is good"), "{words}");
}
