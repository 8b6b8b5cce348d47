//! Certificates of a CA that certgate took over: made, revoked and listed by `openssl ca`, imported with its index, and asked about with
//! `openssl ocsp`, which must believe certgate, once as the CA's delegate and once as a responder that it is told to trust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    Credentials, Place,
    process::{Server, expect_success},
    programs::{run, said, serial_of, succeed, text},
    server,
};

/// A CA as `openssl ca` keeps it: `ca.pem`, `ca.key`, `index.txt`, `newcerts`.
pub(super) struct OldCa {
    pub(super) place: Place,
    /// What it is called here.
    pub(super) name: &'static str,
}

/// What a request asks for, the certificate gets.
const CONFIGURATION: &str = "
[ca]
default_ca = old
[old]
dir = .
database = index.txt
new_certs_dir = newcerts
serial = serial
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
";

impl OldCa {
    fn new(name: &'static str, key: &[&str]) -> Self {
        let place = Place::new(name);
        fs::create_dir_all(place.file("newcerts")).unwrap();
        place.write("ca.cnf", CONFIGURATION);
        place.write("index.txt", "");
        place.write("serial", "1000\n");
        let it = Self { place, name };
        let subject = format!("/O=Old/CN={name}");
        it.openssl(
            &["req", "-x509", "-nodes", "-days", "60", "-subj", &subject, "-keyout", "ca.key", "-out"],
            "ca.pem",
            key,
        );
        it
    }

    /// `openssl` in the CA's directory; what it writes is `out`.
    fn openssl(&self, arguments: &[&str], out: &str, more: &[&str]) -> PathBuf {
        let mut openssl = Command::new("openssl");
        succeed(openssl.current_dir(&self.place.0).args(arguments).arg(out).args(more));
        self.place.file(out)
    }

    /// Signs a request as the CA does.
    pub(super) fn sign(&self, request: &str, out: &str, more: &[&str]) -> PathBuf {
        self.openssl(&["ca", "-batch", "-notext", "-config", "ca.cnf", "-in", request, "-out"], out, more)
    }

    /// A certificate for a device.
    fn issue(&self, device: &str) -> PathBuf {
        let (key, request) = (format!("{device}.key"), format!("{device}.csr"));
        let subject = format!("/O=Old/CN={device}");
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        self.openssl(
            &["req", "-new", "-nodes", "-subj", &subject, "-keyout", &key, "-out"],
            &request,
            &curve,
        );
        self.sign(&request, &format!("{device}.pem"), &[])
    }

    /// The certificate of `name` that [`OldCa::issue`] made, with its key.
    pub(super) fn credentials(&self, name: &str) -> Credentials {
        let [certificate, key] = ["pem", "key"].map(|kind| self.place.file(&format!("{name}.{kind}")));
        Credentials { device: name.to_owned(), certificate, key }
    }

    fn revoke(&self, certificate: &Path, reason: &str) {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&self.place.0).args([
            "ca",
            "-config",
            "ca.cnf",
            "-crl_reason",
            reason,
            "-revoke",
        ]);
        succeed(openssl.arg(certificate));
    }

    fn import(&self, source: &[&str]) -> Value {
        let ca = self.place.file("ca.pem");
        let arguments = ["import", "--issuer-cert", ca.to_str().unwrap(), "--name", self.name];
        server().json(&[&arguments[..], &["--bind", "subject.cn"], source].concat())
    }

    fn import_index(&self) -> Value {
        self.import(&["--index", self.place.file("index.txt").to_str().unwrap()])
    }

    /// What `openssl ocsp` says; `trust` are the options by which it is to believe the answer.
    fn ask(&self, about: &[&str], trust: &[&str]) -> String {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&self.place.0);
        openssl.args([
            "ocsp",
            "-resp_text",
            "-url",
            &format!("{}/ocsp", server().url()),
            "-issuer",
            "ca.pem",
        ]);
        said(&run(openssl.args(about).args(trust)))
    }

    /// The answer must verify without a warning, under either hash, with and without a nonce, and have this line.
    fn hears(&self, about: [&str; 2], trust: &[&str], line: &str) {
        for options in [&[][..], &["-no_nonce"], &["-sha256"]] {
            // The hash is of the certificate named after it.
            let said = self.ask(&[options, &about].concat(), trust);
            assert!(said.contains("Response verify OK") && !said.contains("WARNING"), "{options:?}: {said}");
            assert!(said.contains(line), "{options:?}, not \"{line}\": {said}");
        }
    }

    pub(super) fn responder(&self, arguments: &[&str]) -> Value {
        server().json(&[&["responder", arguments[0], self.name], &arguments[1..]].concat())
    }

    /// What gear is told to trust, in `responder.pem`.
    pub(super) fn export_responder(&self) -> PathBuf {
        let file = self.place.file("responder.pem");
        let output = server().run(&["responder", "export", self.name, "--out", file.to_str().unwrap()]);
        expect_success(&output, "certgate responder export");
        file
    }
}

/// From what the CA says of a certificate to what a device's end does to it, in OCSP at once.
fn through_the_life_of_a_device(ca: &OldCa, trust: &[&str]) {
    let device = format!("{}-device", ca.name);
    let file = format!("{device}.pem");
    let about = ["-cert", file.as_str()];
    let good = format!("{file}: good");
    ca.hears(about, trust, &good);
    server().json(&["device", "lost", &device]);
    ca.hears(about, trust, "Reason: certificateHold");
    server().json(&["device", "found", &device]);
    ca.hears(about, trust, &good);
    server().json(&["device", "wipe", &device, "--yes"]);
    ca.hears(about, trust, "Reason: certificateHold");
    server().json(&["device", "force", &device, "--yes"]);
    ca.hears(about, trust, "Reason: cessationOfOperation");

    // By hand.
    let held = format!("{}/{}", ca.name, serial_of(&ca.place.file("good.pem")));
    ca.hears(["-cert", "good.pem"], trust, "good.pem: good");
    server().json(&["cert", "hold", &held]);
    ca.hears(["-cert", "good.pem"], trust, "Reason: certificateHold");
    server().json(&["cert", "release", &held]);
    ca.hears(["-cert", "good.pem"], trust, "good.pem: good");

    // As the CA said.
    ca.hears(["-cert", "revoked.pem"], trust, "Reason: keyCompromise");
    // It exists, and nobody told of it.
    let unheard = ca.issue("unheard");
    ca.hears(["-cert", "unheard.pem"], trust, "unheard.pem: unknown");
    ca.hears(["-serial", "0x7777"], trust, "0x7777: unknown");
    assert!(ca.import_index()["added"].as_u64() >= Some(1));
    ca.hears(["-cert", unheard.to_str().unwrap()], trust, "unheard.pem: good");
}

/// A CA with a device's certificate, a good one and a revoked one, imported; nobody may answer for it yet.
pub(super) fn taken_over(name: &'static str, key: &[&str]) -> OldCa {
    let ca = OldCa::new(name, key);
    let device = format!("{name}-device");
    ca.issue(&device);
    ca.issue("good");
    ca.revoke(&ca.issue("revoked"), "keyCompromise");
    server().json(&["device", "register", &device]);
    let imported = ca.import_index();
    let counts = ["added", "bound", "unbound"].map(|what| imported[what].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 2], "{imported}");
    assert!(imported["unbound_places"][0]["problem"].as_str().unwrap().contains("no device \"good\""));
    assert!(
        ca.ask(&["-cert", "good.pem"], &["-CAfile", "ca.pem"]).contains("Responder Error: unauthorized (6)")
    );
    ca
}

#[test]
fn openssl_believes_a_delegate_of_the_ca_that_was_taken_over() {
    let ca = taken_over("old-rsa", &["-newkey", "rsa:2048"]);
    takes_a_request_back(&ca);
    let request = ca.place.file("responder.csr");
    let made = ca.responder(&["request", "--out", request.to_str().unwrap()]);
    assert_eq!(made["key"], "rsa-2048");
    let mut openssl = Command::new("openssl");
    let asked = said(&succeed(openssl.args(["req", "-noout", "-verify", "-text", "-in"]).arg(&request)));
    for wanted in ["verify OK", "CN = old-rsa OCSP", "Digital Signature", "OCSP Signing", "OCSP No Check"] {
        assert!(asked.contains(wanted), "{wanted}: {asked}");
    }

    refuses_what_gear_would_refuse(&ca);
    ca.sign("responder.csr", "responder.pem", &[]);
    let view = ca.responder(&["install", ca.place.file("responder.pem").to_str().unwrap()]);
    assert_eq!((&view["mode"], &view["certificates"][0]["state"]), (&"delegate".into(), &"signing".into()));
    assert_eq!(view["certificates"][0]["no_check"], true);
    through_the_life_of_a_device(&ca, &["-CAfile", "ca.pem"]);

    // The next one, with a key on a curve, while the CA has told of the first as of everything that it issued.
    let second = ca.responder(&["request", "--key", "p-256", "--out", request.to_str().unwrap()]);
    assert_eq!(second["key"], "p-256");
    ca.sign("responder.csr", "responder-2.pem", &[]);
    // A second of its own: the newest one signs.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    ca.responder(&["install", ca.place.file("responder-2.pem").to_str().unwrap()]);
    let said = ca.ask(&["-cert", "good.pem"], &["-CAfile", "ca.pem"]);
    assert!(said.contains("Response verify OK") && said.contains("ecdsa-with-SHA256"), "{said}");
    let states: Vec<_> = ca.responder(&["show"])["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["state"].clone())
        .collect();
    assert_eq!(states, ["signing", "former"]);
    let shown = server().json(&["issuer", "show", "old-rsa"]);
    assert_eq!((&shown["ocsp"], &shown["responder_not_after"]), (&"delegate".into(), &view_until(&ca)));
    let doctor = text(&server().run(&["doctor"]));
    assert!(doctor.contains("ocsp-responder/old-rsa"), "{doctor}");

    ca.responder(&["use", "none", "--yes"]);
    assert!(ca.ask(&["-cert", "good.pem"], &["-CAfile", "ca.pem"]).contains("unauthorized (6)"));
    ca.responder(&["use", "delegate"]);
    ca.hears(["-cert", "good.pem"], &["-CAfile", "ca.pem"], "good.pem: good");
    warns_of_sha1(&ca);
}

/// As if it had never been made.
fn takes_a_request_back(ca: &OldCa) {
    let request = ca.place.file("taken-back.csr");
    ca.responder(&["request", "--out", request.to_str().unwrap()]);
    let unconfirmed = server().run(&["responder", "cancel", ca.name]);
    assert_eq!(unconfirmed.status.code(), Some(2), "{}", said(&unconfirmed));
    let view = ca.responder(&["cancel", "--yes"]);
    assert_eq!((&view["mode"], &view["requested_at"]), (&"none".into(), &Value::Null));
    let again = server().run(&["responder", "cancel", ca.name, "--yes"]);
    assert_eq!(again.status.code(), Some(4));
    assert!(said(&again).contains("no request is open: certgate responder request"), "{}", said(&again));
    let late = ca.sign("taken-back.csr", "taken-back.pem", &[]);
    let refused = server().run(&["responder", "install", ca.name, late.to_str().unwrap()]);
    assert!(refused.status.code() == Some(4) && said(&refused).contains("no request is open"));
}

/// The CA of old gear may know nothing better; whoever installs its certificate hears what that means.
fn warns_of_sha1(ca: &OldCa) {
    let request = ca.place.file("responder.csr");
    ca.responder(&["request", "--out", request.to_str().unwrap()]);
    let old = ca.sign("responder.csr", "sha1.pem", &["-md", "sha1"]);
    let installed = server().run(&["responder", "install", ca.name, old.to_str().unwrap()]);
    let shown = server().run(&["responder", "show", ca.name]);
    for output in [installed, shown] {
        expect_success(&output, "install, show");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("it is signed with sha1: newer gear takes no such signature"), "{told}");
        assert_eq!(told.lines().count(), 1, "of those before nothing is said: {told}");
    }
    let view = ca.responder(&["show"]);
    let warnings = |at: usize| view["certificates"][at]["warnings"].as_array().unwrap().len();
    assert_eq!((warnings(0), warnings(1)), (1, 0));
}

fn view_until(ca: &OldCa) -> Value {
    ca.responder(&["show"])["not_after"].clone()
}

/// Each of these is a certificate that OpenSSL made, and that it would not believe.
fn refuses_what_gear_would_refuse(ca: &OldCa) {
    let purpose = "extendedKeyUsage=OCSPSigning\n";
    ca.place.write("purpose.cnf", purpose);
    ca.place.write("of-a-ca.cnf", format!("{purpose}basicConstraints=critical,CA:TRUE\n"));
    let self_made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/O=Old/CN=old-rsa",
        "-keyout",
        "other.key",
        "-out",
    ];
    ca.openssl(&self_made, "other.pem", &[]);
    let by = |certificate, key, out, more: &[&str]| {
        let arguments = [
            "x509",
            "-req",
            "-in",
            "responder.csr",
            "-CA",
            certificate,
            "-CAkey",
            key,
            "-set_serial",
            "0x99",
            "-out",
        ];
        ca.openssl(&arguments, out, more)
    };
    let stranger = by("other.pem", "other.key", "by-another.pem", &["-extfile", "purpose.cnf"]);
    let bare = by("ca.pem", "ca.key", "without-purpose.pem", &[]);
    let of_a_ca = by("ca.pem", "ca.key", "of-a-ca.pem", &["-extfile", "of-a-ca.cnf"]);
    let dates = ["-startdate", "20250101000000Z", "-enddate", "20250201000000Z"];
    let expired = ca.sign("responder.csr", "expired.pem", &dates);
    let other_key = ca.openssl(
        &[
            "req",
            "-new",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-subj",
            "/O=Old/CN=x",
            "-addext",
            "extendedKeyUsage=OCSPSigning",
            "-keyout",
            "x.key",
            "-out",
        ],
        "x.csr",
        &[],
    );
    assert!(other_key.exists());
    let other_key = ca.sign("x.csr", "other-key.pem", &[]);
    for (certificate, words) in [
        (stranger, "its signature does not verify under the key of the CA"),
        (bare, "its extKeyUsage lacks id-kp-OCSPSigning (1.3.6.1.5.5.7.3.9); it has none"),
        (of_a_ca, "it is the certificate of a CA"),
        (expired, "it expired at 2025-02-01T00:00:00Z"),
        (other_key, "it is for another key than the one that was asked for"),
        (ca.sign("responder.csr", "md5.pem", &["-md", "md5"]), "it is signed with md5"),
    ] {
        let output = server().run(&["responder", "install", ca.name, certificate.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert!(ca.ask(&["-cert", "good.pem"], &["-CAfile", "ca.pem"]).contains("unauthorized (6)"));
}

#[test]
fn openssl_believes_a_responder_that_it_is_told_to_trust() {
    let ca = taken_over("old-ec", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    ca.responder(&["use", "trusted", "--by", "issuing"]);
    let exported = ca.export_responder();
    let printed = server().run(&["responder", "export", "old-ec"]);
    assert_eq!(text(&printed), fs::read_to_string(&exported).unwrap());

    through_the_life_of_a_device(&ca, &["-VAfile", "responder.pem"]);
    ca.hears(
        ["-cert", "good.pem"],
        &["-verify_other", "responder.pem", "-trust_other", "-CAfile", "ca.pem"],
        "good.pem: good",
    );
    // Gear that has only a file of CAs: the CAs above the responder are marked for it.
    ca.place.write("marked.pem", ca.place.marked_chain(&["OCSPSigning"]));
    ca.hears(["-cert", "good.pem"], &["-CAfile", "marked.pem"], "good.pem: good");
    // Whoever was told nothing believes nothing.
    for trust in [["-CAfile", "ca.pem"], ["-CAfile", "chain.pem"]] {
        let said = ca.ask(&["-cert", "good.pem"], &trust);
        assert!(said.contains("Response Verify Failure"), "{said}");
    }

    asks_itself(&ca, server());
}

/// certgate's own client, with the responder and without.
fn asks_itself(ca: &OldCa, server: &Server) {
    let file = |name: &str| ca.place.file(name).to_str().unwrap().to_owned();
    let url = format!("{}/ocsp", server.url());
    let [issuer, good, revoked, responder] = ["ca.pem", "good.pem", "revoked.pem", "responder.pem"].map(file);
    let check = |certificate: &str, more: &[&str]| {
        let arguments = ["ocsp", "check", "--issuer", &issuer, "--cert", certificate, "--url", &url];
        server.run(&[&arguments[..], more].concat())
    };
    assert_eq!(check(&good, &["--responder", &responder]).status.code(), Some(0));
    assert_eq!(check(&revoked, &["--responder", &responder, "--nonce"]).status.code(), Some(4));
    let stranger = check(&good, &[]);
    assert!(
        stranger.status.code() == Some(1) && said(&stranger).contains("nor by a responder that is trusted"),
        "{stranger:?}"
    );
    // Store and OCSP side by side; nobody publishes a CRL.
    ca.import(&["--certs", &file("newcerts")]);
    let name = format!("{}/{}", ca.name, serial_of(&ca.place.file("revoked.pem")));
    let output = server.run(&["cert", "check", &name, "--ocsp-url", &url]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(said(&output).contains("no answer from CRL; the others agree"), "{output:?}");
}
