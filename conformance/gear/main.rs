//! Network gear against the real server: what stands in front of a network and asks whether a certificate is still good. Each program
//! accepts a good certificate, refuses it while it is on hold, accepts it again, and refuses it when it is revoked.
//!
//! The configuration files beside the tests are the ones that the README's recipes are taken from: a test changes addresses and paths in
//! them and nothing else. Run by `conformance/run`, which installs the programs (`cargo test` alone leaves this target out:
//! `test = false`). A program that is missing fails its test; nothing is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]
#![allow(clippy::disallowed_methods, reason = "a test of a real process measures real time")]

#[path = "../process/mod.rs"]
mod process;
#[path = "../programs/mod.rs"]
mod programs;

mod curl;
mod external;
mod freeradius;
mod gnutls;
mod haproxy;
mod nginx;
mod openssl;
mod program;
mod senders;
mod slapd;
mod strongswan;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use process::{Server, http_get};
use programs::{succeed, text};

/// What devices have, and what the gear itself shows them. `HOST` is the name that gear's own certificates have.
const PROFILES: &str = r#"
[profile.device]
subject = "CN=$DEVICE_ID$,O=Gear"
challenge = ["ticket"]

[profile.gear]
subject = "CN=$DEVICE_ID$,O=Gear"
subject-alt-names = ["dns:gear.example"]
extended-key-usage = ["server-auth"]
challenge = ["ticket"]
"#;

/// The name in the certificates of [`Place::host`].
const HOST: &str = "gear.example";

/// One server for all gear, as in life.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::started(&["--name", "Gear", "--key", "rsa-2048", "--issuing-key", "rsa-2048"], PROFILES)
    })
}

/// What a device's certificate is worth when a program looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// On hold: the device is lost.
    Held,
    /// Good again: the device was found.
    Released,
    /// Revoked: the device was wiped.
    Revoked,
}

impl Standing {
    fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::Released)
    }
}

/// Lets a program look at a device's certificate in each standing, once the server's answer to that change is there.
fn through_its_life(device: &str, mut look: impl FnMut(Standing)) {
    look(Standing::Good);
    server().json(&["device", "lost", device]);
    look(Standing::Held);
    server().json(&["device", "found", device]);
    look(Standing::Released);
    server().json(&["device", "wipe", device, "--yes"]);
    server().json(&["device", "force", device, "--yes"]);
    look(Standing::Revoked);
}

/// A certificate with its key.
struct Credentials {
    device: String,
    certificate: PathBuf,
    key: PathBuf,
}

/// Where one program has its files. The CA certificates are there from the start: `root.pem`, `issuing.pem`, and both in `chain.pem`.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(server().scratch().join(name));
        fs::create_dir_all(&place.0).unwrap();
        let [root, issuing] =
            ["root.pem", "issuing.pem"].map(|file| place.fetch(&format!("/ca/{file}"), file));
        place.write("chain.pem", [fs::read(issuing).unwrap(), fs::read(root).unwrap()].concat());
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory, as configuration files have it.
    fn directory(&self) -> &str {
        self.0.to_str().expect("temporary directories have simple names")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, content).unwrap();
        file
    }

    /// What the device listener has at `path`, in a file.
    fn fetch(&self, path: &str, name: &str) -> PathBuf {
        let answer = http_get(server().device_address(), path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        self.write(name, answer.body)
    }

    /// A certificate as one that OpenSSL trusts for `purposes` alone.
    fn marked(&self, name: &str, purposes: &[&str]) -> String {
        let mut openssl = Command::new("openssl");
        openssl.arg("x509").args(purposes.iter().flat_map(|purpose| ["-addtrust", purpose]));
        text(&succeed(openssl.arg("-in").arg(self.file(name))))
    }

    /// Issuing CA and root in this way: programs end the chain at the one or at the other.
    fn marked_chain(&self, purposes: &[&str]) -> String {
        ["issuing.pem", "root.pem"].map(|ca| self.marked(ca, purposes)).concat()
    }

    /// The script of the recipes fetches the CRLs, after the server has published what it knows.
    fn fetch_crls(&self) {
        server().json(&["crl", "publish", "issuing"]);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/gear/fetch-crls");
        succeed(Command::new(script).arg(server().url()).arg(&self.0));
    }

    /// Registers a device and enrols it over SCEP.
    fn enrol(&self, profile: &str, device: &str) -> Credentials {
        server().register_device(device);
        let (_, challenge) = server().ticket(profile, device);
        let (certificate, key) = (self.file(&format!("{device}.pem")), self.file(&format!("{device}.key")));
        let url = server().scep_url(profile);
        let mut enrol = server().command();
        enrol.args(["scep", "enrol", "--subject", "CN=x", "--url", &url, "--challenge-file"]).arg(challenge);
        succeed(enrol.arg("--key").arg(&key).arg("--cert").arg(&certificate));
        Credentials { device: device.to_owned(), certificate, key }
    }

    /// A device with its certificate.
    fn device(&self, device: &str) -> Credentials {
        self.enrol("device", device)
    }

    /// The program's own certificate, which it shows devices with the issuing CA's behind it: `host.pem` and `host.key`.
    fn host(&self, device: &str) -> Credentials {
        let own = self.enrol("gear", device);
        let issuing = fs::read(self.file("issuing.pem")).unwrap();
        let certificate = self.write("host.pem", [fs::read(&own.certificate).unwrap(), issuing].concat());
        let key = self.write("host.key", fs::read(&own.key).unwrap());
        Credentials { certificate, key, ..own }
    }
}

/// A configuration file with other addresses and paths. Each that is changed must be there.
fn configured(file: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(file.to_owned(), |file, (from, to)| {
        assert!(file.contains(from), "the configuration has no {from}");
        file.replace(from, to)
    })
}

/// `curl` as a device: it trusts our root alone, and finds [`HOST`] on this machine.
fn curl(root: &Path, port: u16) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(root);
    curl.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
    curl.arg(format!("https://{HOST}:{port}/"));
    curl
}
