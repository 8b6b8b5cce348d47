//! OpenLDAP 2.5: a directory that certgate publishes CRLs and CA certificates to, read back with `ldapsearch`. It is stopped, started and set
//! up wrongly; certgate is restarted in between.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    PROFILES, Place, configured,
    process::{Server, free_address, http_get},
    program::{Program, eventually},
    programs::{run, said, succeed, text},
};

const PASSWORD: &str = "S3cret of certgate";
const BELOW: &str = "ou=pki,dc=lab,dc=example";

/// slapd with its files. It listens for LDAP with StartTLS, and for LDAP over TLS.
struct Slapd {
    place: Place,
    ldap: SocketAddr,
    ldaps: SocketAddr,
}

impl Slapd {
    fn new(directory: PathBuf) -> Self {
        fs::create_dir_all(directory.join("db")).unwrap();
        let place = Place(directory);
        let configuration = configured(include_str!("slapd/slapd.conf"), &[("DIRECTORY", place.directory())]);
        place.write("slapd.conf", configuration);
        place.write(
            "directory.ldif",
            configured(include_str!("slapd/directory.ldif"), &[("PASSWORD", PASSWORD)]),
        );
        for ca in ["ca", "other-ca"] {
            succeed(
                openssl(&place, &["req", "-x509", "-nodes", "-subj", "/CN=LDAP CA", "-days", "2"])
                    .args(KEY)
                    .args(["-keyout", &format!("{ca}.key"), "-out", &format!("{ca}.pem")]),
            );
        }
        place.write("names", "subjectAltName=IP:127.0.0.1");
        let own =
            ["req", "-nodes", "-subj", "/CN=ldap.lab.example", "-keyout", "slapd.key", "-out", "slapd.csr"];
        succeed(openssl(&place, &own).args(KEY));
        let signed = [
            "x509",
            "-req",
            "-in",
            "slapd.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
        ];
        succeed(openssl(&place, &signed).args(["-extfile", "names", "-out", "slapd.pem"]));
        let mut add = Command::new("slapadd");
        succeed(add.arg("-f").arg(place.file("slapd.conf")).arg("-l").arg(place.file("directory.ldif")));
        Self { place, ldap: free_address(), ldaps: free_address() }
    }

    fn start(&self) -> Program {
        let listeners = format!("ldap://{}/ ldaps://{}/", self.ldap, self.ldaps);
        let configuration = self.place.file("slapd.conf");
        let command = ["slapd", "-d", "0", "-f", configuration.to_str().unwrap(), "-h", &listeners];
        Program::listening(&self.place, &command, self.ldaps)
    }

    /// The values of an attribute of an entry below `ou=pki`, as `ldapsearch` gives them to everybody.
    fn values(&self, entry: &str, attribute: &str) -> Vec<Vec<u8>> {
        let mut search = Command::new("ldapsearch");
        search.args(["-LLL", "-x", "-o", "ldif-wrap=no", "-H", &format!("ldap://{}", self.ldap)]);
        let output = run(search.args(["-s", "base", "-b", &format!("{entry},{BELOW}"), attribute]));
        assert!(output.status.success() || said(&output).contains("No such object"), "{}", said(&output));
        let found = text(&output);
        let values = found.lines().filter_map(|line| line.strip_prefix(&format!("{attribute}:: ")));
        values.map(|value| STANDARD.decode(value).unwrap()).collect()
    }
}

const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn openssl(place: &Place, arguments: &[&str]) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(place.directory()).args(arguments);
    openssl
}

/// A section of certgate's configuration: over TLS, for the issuing CA alone.
fn section(slapd: &Slapd, name: &str, ca: &str, bind: &str, password: &str, entry: &str) -> String {
    let (ldaps, place) = (slapd.ldaps, slapd.place.directory());
    format!(
        r#"
[directory.{name}]
url = "ldaps://{ldaps}"
ca-file = "{place}/{ca}.pem"
bind-dn = "cn={bind},ou=services,dc=lab,dc=example"
password = "{password}"
entries = {{ issuing = "{entry},{BELOW}" }}
"#
    )
}

/// Two directories that work, and five that cannot. All of them are this one slapd.
fn configuration(slapd: &Slapd) -> String {
    let (ldap, place) = (slapd.ldap, slapd.place.directory());
    let main = format!(
        r#"
[crl]
debounce-seconds = 0
delta-lifetime-hours = 24

[directory.main]
url = "ldap://{ldap}"
start-tls = true
ca-file = "{place}/ca.pem"
bind-dn = "cn=certgate,ou=services,dc=lab,dc=example"
password = "ldap.password"
dn = "cn=$ISSUER$,{BELOW}"
create-entries = true
certificate-url = "ldap://{ldap}"
"#
    );
    let others = [
        ("prepared", "ca", "certgate", "ldap.password", "cn=Lab Issuing"),
        ("missing", "ca", "certgate", "ldap.password", "cn=nobody"),
        ("bare", "ca", "certgate", "ldap.password", "cn=bare"),
        ("wrong-password", "ca", "certgate", "wrong.password", "cn=issuing"),
        ("reader", "ca", "reader", "ldap.password", "cn=Read Only"),
        ("other-ca", "other-ca", "certgate", "ldap.password", "cn=issuing"),
    ];
    let others =
        others.map(|(name, ca, bind, password, entry)| section(slapd, name, ca, bind, password, entry));
    main + &others.concat() + PROFILES
}

struct World {
    server: Server,
    slapd: Slapd,
}

impl World {
    fn new() -> Self {
        let server = Server::initialise(&["--key", "p-256", "--issuing-key", "p-256"], "");
        let slapd = Slapd::new(server.scratch().join("slapd"));
        server.configure(&configuration(&slapd));
        server.write_secret("ldap.password", &format!("{PASSWORD}\n"));
        server.write_secret("wrong.password", "not it");
        Self { server, slapd }
    }

    fn get(&self, path: &str) -> Vec<u8> {
        http_get(self.server.device_address(), path).unwrap().body
    }

    /// What `certgate crl show` says of an issuing CA's CRL in a directory.
    fn shown(&self, directory: &str) -> Value {
        let shown = self.server.json(&["crl", "show", "issuing"]);
        let all = shown["directories"].as_array().unwrap();
        all.iter().find(|it| it["directory"] == directory).unwrap().clone()
    }

    fn problem(&self, directory: &str) -> String {
        self.shown(directory)["problem"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a directory says of the issuing CA what HTTP says, byte for byte.
    fn agree(&self, entry: &str) {
        for (attribute, path) in [
            ("certificateRevocationList;binary", "/crl/issuing.crl"),
            ("deltaRevocationList;binary", "/crl/issuing-delta.crl"),
            ("cACertificate;binary", "/ca/issuing.cer"),
        ] {
            let what = format!("{attribute} of {entry} is {path}");
            eventually(&what, || self.slapd.values(entry, attribute) == [self.get(path)]);
        }
    }

    /// The number of a CRL whose signature OpenSSL has verified.
    fn number(&self, crl: &[u8], issuer: &str) -> u64 {
        let place = &self.slapd.place;
        place.write("issuer.pem", self.get(&format!("/ca/{issuer}.pem")));
        place.write("found.crl", crl);
        let look =
            ["crl", "-inform", "DER", "-in", "found.crl", "-CAfile", "issuer.pem", "-noout", "-crlnumber"];
        let output = succeed(&mut openssl(place, &look));
        assert!(said(&output).contains("verify OK"), "{}", said(&output));
        let number = text(&output).trim().trim_start_matches("crlNumber=0x").to_owned();
        u64::from_str_radix(&number, 16).unwrap()
    }

    fn full_number(&self) -> u64 {
        let [crl] = self.slapd.values("cn=issuing", "certificateRevocationList;binary").try_into().unwrap();
        self.number(&crl, "issuing")
    }

    fn metric(&self, line: &str) -> bool {
        let metrics = http_get(self.server.ops_address(), "/metrics").unwrap().body;
        String::from_utf8_lossy(&metrics).contains(line)
    }
}

#[test]
fn openldap_has_what_http_has_through_revocations_outages_and_restarts() {
    let mut world = World::new();
    let slapd = world.slapd.start();
    world.server.start();
    for entry in ["cn=issuing", "cn=Lab Issuing"] {
        world.agree(entry);
    }
    // A root has the list for CAs too.
    for attribute in ["certificateRevocationList;binary", "authorityRevocationList;binary"] {
        eventually(attribute, || world.slapd.values("cn=root", attribute) == [world.get("/crl/root.crl")]);
    }
    let [of_root] = world.slapd.values("cn=root", "authorityRevocationList;binary").try_into().unwrap();
    assert!(world.number(&of_root, "root") > 0);

    // A revocation is on the delta at once, and on the next full CRL.
    let delta = || world.slapd.values("cn=issuing", "deltaRevocationList;binary").pop().unwrap();
    let before = world.number(&delta(), "issuing");
    enrol_and_wipe(&world);
    looks_up_what_the_certificate_names(&world);
    eventually("a new delta", || world.number(&delta(), "issuing") > before);
    world.agree("cn=issuing");
    let full = world.full_number();
    world.server.json(&["crl", "publish", "issuing"]);
    world.agree("cn=issuing");
    let published = world.full_number();
    assert!(published > full);
    eventually("the metric", || {
        world.metric(&format!(
            "certgate_directory_crl_number{{directory=\"main\",issuer=\"issuing\"}} {published}"
        ))
    });

    // While it is down, HTTP goes on, and afterwards it gets what it missed.
    drop(slapd);
    world.server.json(&["crl", "publish", "issuing"]);
    eventually("it is noticed", || world.problem("main").contains("cannot be reached"));
    let shown = world.shown("main");
    assert!(shown["number"] == published && shown["behind_since"].is_string(), "{shown}");
    assert!(world.number(&world.get("/crl/issuing.crl"), "issuing") > published);
    let doctor = world.server.run(&["doctor"]);
    assert!(doctor.status.success(), "gear that reads HTTP misses nothing: {}", said(&doctor));
    assert!(said(&doctor).contains("directory/main/issuing"), "{}", said(&doctor));
    let slapd = world.slapd.start();
    world.agree("cn=issuing");

    // The same over a restart.
    drop(slapd);
    world.server.json(&["crl", "publish", "issuing"]);
    world.server.kill();
    let _slapd = world.slapd.start();
    world.server.start();
    world.agree("cn=issuing");
    assert!(world.full_number() > published);
    eventually("nothing is behind", || world.shown("main")["behind_since"].is_null());
    assert!(!world.server.log().contains(PASSWORD));
}

#[test]
fn what_openldap_refuses_is_said_in_plain_words() {
    let mut world = World::new();
    let _slapd = world.slapd.start();
    world.server.start();
    world.agree("cn=Lab Issuing");
    for (directory, words) in [
        ("missing", "there is no entry cn=nobody,"),
        ("bare", "objectClassViolation (65); the entry's object classes do not allow it"),
        ("wrong-password", "refuses the bind: invalidCredentials (49); bind-dn or the password is wrong"),
        ("reader", "insufficientAccessRights (50); bind-dn may not do that"),
        ("other-ca", "invalid peer certificate"),
    ] {
        eventually(directory, || world.problem(directory).contains(words));
    }
    let probe = world.server.run(&["doctor", "--probe"]);
    let told = text(&probe);
    assert_eq!(probe.status.code(), Some(1), "{told}");
    for (check, result) in [
        ("directory/main ", "pass"),
        ("directory/main/issuing ", "pass"),
        ("directory/missing ", "pass"),
        ("directory/missing/issuing", "fail"),
        ("directory/wrong-password", "fail"),
        ("directory/other-ca", "fail"),
    ] {
        let mut lines = told.lines().filter(|line| line.starts_with(check));
        assert!(lines.any(|line| line.contains(result)), "{check} {result}: {told}");
    }
    let log = world.server.log();
    assert!(!log.contains(PASSWORD) && !log.contains("not it"), "no password is in the log");
}

/// By LDAP, behind HTTP: curl finds what HTTP has by the URLs alone, as OpenSSL reads them out of the certificate.
fn looks_up_what_the_certificate_names(world: &World) {
    let certificate = world.server.scratch().join("device.pem");
    for (extension, path) in
        [("crlDistributionPoints", "/crl/issuing.crl"), ("freshestCRL", "/crl/issuing-delta.crl")]
    {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-ext", extension, "-in"]).arg(&certificate);
        let said = text(&succeed(&mut openssl));
        assert_eq!(said.matches("Full Name").count(), 1, "one DistributionPoint: {said}");
        let urls: Vec<_> = said.lines().filter_map(|line| line.trim().strip_prefix("URI:")).collect();
        let [http, ldap] = urls[..] else { panic!("{said}") };
        assert!(http.starts_with("http://") && http.ends_with(path), "{said}");
        assert!(ldap.starts_with(&format!("ldap://{}/cn=issuing,{BELOW}?", world.slapd.ldap)), "{said}");
        eventually(ldap, || {
            let found = text(&run(Command::new("curl").args(["-sS", "--max-time", "20", ldap])));
            let value = found.lines().find_map(|line| line.split_once(";binary:: "));
            value.is_some_and(|(_, base64)| STANDARD.decode(base64.trim()).unwrap() == world.get(path))
        });
    }
}

/// A device with a certificate, which is revoked.
fn enrol_and_wipe(world: &World) {
    let server = &world.server;
    server.register_device("ldap-device");
    let (_, challenge) = server.ticket("device", "ldap-device");
    let file = |name: &str| -> PathBuf { Path::new(server.scratch()).join(name) };
    let mut enrol = server.command();
    enrol.args([
        "scep",
        "enrol",
        "--subject",
        "CN=x",
        "--url",
        &server.scep_url("device"),
        "--challenge-file",
    ]);
    succeed(enrol.arg(challenge).arg("--key").arg(file("device.key")).arg("--cert").arg(file("device.pem")));
    server.json(&["device", "wipe", "ldap-device", "--yes"]);
    server.json(&["device", "force", "ldap-device", "--yes"]);
}
