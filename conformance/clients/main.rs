//! Real SCEP clients against the real server: programs that certgate's authors did not write. What checks a certificate's status is in
//! `conformance/gear`.
//!
//! Run by `conformance/run`, which installs them (`cargo test` alone leaves this target out: `test = false`). A program that is
//! missing fails its test; nothing is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]
#![allow(clippy::disallowed_methods, reason = "a test of a real process measures real time")]

#[path = "../process/mod.rs"]
mod process;
#[path = "../programs/mod.rs"]
mod programs;

mod certmonger;
mod conformance;
mod crl_parts;
mod ndes;
mod openssl_cms;
mod pkilint;
mod scepclient;
mod strongswan;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use process::Server;
use programs::{describe, serial_of, succeed, text};

/// Profiles for clients of different age and kind. `fill` rewrites the names, so each client's own subject is free.
const PROFILES: &str = r#"
[profile.modern]
subject = "CN=$DEVICE_ID$,O=Clients"
subject-alt-names = ["dns:{{DEVICE_ID}}.clients.example"]
challenge = ["ticket"]

[profile.renewing]
subject = "CN=$DEVICE_ID$,O=Clients"
subject-alt-names = ["dns:{{DEVICE_ID}}.clients.example"]
challenge = ["ticket"]

[profile.everything]
subject = "CN=$DEVICE_ID$,OU=Lint,O=Clients"
subject-alt-names = [
    "dns:{{DEVICE_ID}}.clients.example", "email:{{DEVICE_ID}}@clients.example",
    "uri:https://clients.example/{{DEVICE_ID}}", "ip:192.0.2.7", "ip:2001:db8::7",
    "upn:{{DEVICE_ID}}@clients.example", "dirname:CN={{DEVICE_ID}},O=Clients",
]
extended-key-usage = ["client-auth", "ipsec", "smart-card-logon", "1.3.6.1.5.5.7.3.17"]
microsoft-sid = true
challenge = ["ticket"]

[profile.old-gear]
subject = "CN=$DEVICE_ID$,O=Clients"
challenge = ["ticket"]
legacy = { sha1 = true, des = true, triple-des = true }

[profile.oldest]
subject = "CN=$DEVICE_ID$,O=Clients"
challenge = ["ticket"]
legacy = { sha1 = true, md5 = true }

[profile.sha1-gear]
subject = "CN=$DEVICE_ID$,O=Clients"
challenge = ["ticket"]
legacy = { sha1 = true }

[profile.approved]
subject = "CN=$DEVICE_ID$,O=Clients"
challenge = ["ticket"]
approval = "manual"
"#;

/// One server for all clients; they are strangers to each other, as in life.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        Server::started(&["--name", "Clients", "--key", "rsa-2048", "--issuing-key", "rsa-2048"], PROFILES)
    })
}

/// A directory of its own for one test.
fn workplace(name: &str) -> PathBuf {
    let directory = server().scratch().join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Files with the CA certificates in PEM: (root, issuing CA, SCEP message certificate), fetched as a client would.
fn authority_files(directory: &Path, profile: &str) -> (PathBuf, PathBuf, PathBuf) {
    let bundle =
        process::http_get(server().device_address(), &format!("/scep/{profile}?operation=GetCACert"))
            .unwrap();
    assert_eq!(bundle.header("content-type"), Some("application/x-x509-ca-ra-cert"));
    let der = directory.join("bundle.p7");
    fs::write(&der, bundle.body).unwrap();
    let all = text(&succeed(
        Command::new("openssl").args(["pkcs7", "-inform", "DER", "-print_certs", "-in"]).arg(&der),
    ));
    let certificates: Vec<String> = all
        .split_inclusive("-----END CERTIFICATE-----\n")
        .filter_map(|block| block.find("-----BEGIN").map(|start| block[start..].to_owned()))
        .collect();
    assert_eq!(certificates.len(), 3, "message certificate, issuing CA, root");
    let write = |name: &str, pem: &str| {
        let path = directory.join(name);
        fs::write(&path, pem).unwrap();
        path
    };
    (
        write("root.pem", &certificates[2]),
        write("issuing.pem", &certificates[1]),
        write("message.pem", &certificates[0]),
    )
}

/// How many answers under this profile were signed with an old digest.
fn old_signatures(profile: &str, digest: &str) -> u64 {
    let metrics = process::http_get(server().ops_address(), "/metrics").unwrap().body;
    let metrics = String::from_utf8(metrics).unwrap();
    let named = |line: &&str| {
        line.starts_with("certgate_legacy_algorithm_total{")
            && line.contains(&format!("profile=\"{profile}\""))
            && line.contains(&format!("algorithm=\"{digest}-answer\""))
    };
    metrics.lines().find(named).map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// The certificate names the device, was recorded, and is good; its key is the file's.
#[track_caller]
fn assert_enrolled(certificate: &Path, key: &Path, device: &str) {
    assert!(describe(certificate, "-subject").contains(device), "{}", describe(certificate, "-subject"));
    assert_eq!(server().status_of(&serial_of(certificate)), "good");
    let of_certificate = describe(certificate, "-pubkey");
    let of_key = text(&succeed(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(key)));
    assert_eq!(of_certificate.trim(), of_key.trim(), "the certificate belongs to the client's key");
}
