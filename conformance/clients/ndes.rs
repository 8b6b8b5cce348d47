//! NDES replaced: `curl` fetches the password from the page over HTTPS, as an MDM server does, and micromdm's `scepclient` enrols with
//! it at NDES's SCEP URL.

use std::{fs, process::Command};

use serde_json::Value;

use super::{process::Server, scepclient::scepclient, serial_of, succeed, text};

/// `scepclient` knows old algorithms only.
const PROFILES: &str = r#"
[scep]
default-profile = "ndes"

[ndes]
password-minutes = 60
max-passwords = 5

[profile.ndes]
subject = "CN=$DEVICE_ID$,O=Clients"
challenge = ["ticket", "unbound-ticket"]
legacy = { sha1 = true, des = true, triple-des = true }
"#;

/// The page as `iconv` decodes it; curl checks the server's certificate against the root.
fn page(server: &Server, query: &str) -> String {
    let (root, credentials) = (server.scratch().join("root.pem"), server.scratch().join("netrc"));
    let raw = server.scratch().join("page.html");
    let url = format!("https://{}/certsrv/mscep_admin/{query}", server.admin_address());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail-with-body", "--anyauth", "--cacert"]).arg(root);
    succeed(curl.arg("--netrc-file").arg(credentials).arg("-o").arg(&raw).arg(url));
    text(&succeed(Command::new("iconv").args(["-f", "UTF-16", "-t", "UTF-8"]).arg(raw)))
}

fn password(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("The enrollment challenge password is: <B> ")?;
    rest.split_once(" </B> <P> This password can be used only once").map(|(password, _)| password.to_owned())
}

fn prepared() -> Server {
    let server =
        Server::started(&["--name", "Clients", "--key", "rsa-2048", "--issuing-key", "rsa-2048"], PROFILES);
    let token = server.json(&["token", "create", "mdm", "--role", "challenger", "--profile", "ndes"]);
    let host = server.admin_address().ip();
    let netrc = format!("machine {host} login svc-scep password {}\n", token["secret"].as_str().unwrap());
    fs::write(server.scratch().join("netrc"), netrc).unwrap();
    let root = super::process::http_get(server.device_address(), "/ca/root.pem").unwrap();
    fs::write(server.scratch().join("root.pem"), root.body).unwrap();
    server
}

#[test]
fn a_password_from_the_page_enrols_once_at_the_ndes_url() {
    let mut server = prepared();
    server.register_device("ndes-1");
    let password = password(&page(&server, "?device=ndes-1")).expect("a password");
    assert_eq!(password.len(), 16);
    // NDES loses its passwords when it is started again.
    server.terminate();
    server.start();

    let url = format!("{}/CertSrv/mscep/mscep.dll", server.url());
    let directory = server.scratch().join("enrols");
    fs::create_dir(&directory).unwrap();
    succeed(&mut scepclient(&directory, &url, &password));
    let serial = serial_of(&directory.join("client.pem"));
    let shown: Value = server.json(&["cert", "show", &serial]);
    assert!(shown["subject"].as_str().unwrap().contains("CN=ndes-1"), "{shown}");

    let again = server.scratch().join("again");
    fs::create_dir(&again).unwrap();
    let refused = scepclient(&again, &url, &password).output().unwrap();
    assert!(!refused.status.success(), "the password is used up");
}

#[test]
fn five_passwords_fill_the_cache_as_in_ndes() {
    let server = prepared();
    for _ in 0..5 {
        assert!(password(&page(&server, "")).is_some());
    }
    let sixth = page(&server, "");
    assert!(sixth.contains("The password cache is full.") && password(&sixth).is_none(), "{sixth}");
}
