//! Digital linting: every kind of certificate and CRL that the server makes passes `pkilint` (PyPI) with zero findings of severity ERROR or
//! worse, every kind of OCSP response with no finding at all. `conformance/run` installs it and names its directory in `CERTGATE_PKILINT`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    PROFILES,
    process::{Server, http_get, http_post},
    programs::{run, said},
    serial_of, succeed,
};

pub(super) fn lint(tool: &str, options: &[&str], files: &[&Path]) {
    let output = run(Command::new(pkilint(tool))
        .arg("lint")
        .args(options)
        .args(["-s", "ERROR", "-f", "JSON"])
        .args(files));
    assert!(output.status.success(), "{tool} on {files:?}: {}", said(&output));
}

fn pkilint(program: &str) -> PathBuf {
    let directory = std::env::var("CERTGATE_PKILINT").expect("conformance/run sets CERTGATE_PKILINT");
    PathBuf::from(directory).join(program)
}

/// The lint of OCSP responses for many files in one process: most of its time goes into starting.
fn lint_ocsp_responses(files: &[PathBuf]) {
    const EACH: &str = "\
import sys
from pkilint.bin.lint_ocsp_response import main
def lint(file):
    print(file, flush=True)
    return main(['lint', '-s', 'NOTICE', '-f', 'JSON', file])
sys.exit(1 if sum(map(lint, sys.argv[1:])) else 0)";
    let output = run(Command::new(pkilint("python")).args(["-c", EACH]).args(files));
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("\"results\": []").count(), files.len(), "each was linted: {said}");
}

/// OCSP responses of every kind, each an answer to a question that OpenSSL makes.
struct Responses<'a> {
    server: &'a Server,
    directory: &'a Path,
    issuing: &'a Path,
    files: Vec<PathBuf>,
}

impl Responses<'_> {
    /// About a certificate, to each kind of question.
    fn about(&mut self, name: &str, certificate: &Path) {
        let (issuing, certificate) = (self.issuing, ["-cert", certificate.to_str().unwrap()]);
        for (kind, options) in
            [("", &[][..]), ("-no-nonce", &["-no_nonce"]), ("-sha256", &["-no_nonce", "-sha256"])]
        {
            self.ask(&format!("{name}{kind}"), issuing, options, &certificate, 0);
        }
    }

    /// To a question about an issuer's certificates; the answer must have this status (RFC 6960 §4.2.1).
    fn ask(&mut self, name: &str, issuer: &Path, options: &[&str], certificates: &[&str], status: u8) {
        let question = self.directory.join(format!("{name}.question"));
        let mut openssl = Command::new("openssl");
        openssl.arg("ocsp").args(options).arg("-issuer").arg(issuer).args(certificates);
        succeed(openssl.arg("-reqout").arg(&question));
        self.send(name, &fs::read(question).unwrap(), status);
    }

    fn send(&mut self, name: &str, question: &[u8], status: u8) {
        let address = self.server.device_address();
        let answer = http_post(address, "/ocsp", "application/ocsp-request", question).unwrap().body;
        // OCSPResponse begins with its status; only successful has more than 127 bytes behind it.
        let told = if status == 0 { answer[6] } else { answer[4] };
        assert_eq!(told, status, "{name}: {answer:02x?}");
        let file = self.directory.join(format!("{name}.ocsp"));
        fs::write(&file, answer).unwrap();
        self.files.push(file);
    }
}

/// One server per kind of CA key, so that every signature algorithm is linted.
fn lint_everything(server: &Server, directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let enrol = |profile: &str, id: &str| {
        server.json(&[
            "device",
            "register",
            id,
            "--serial",
            id,
            "--sid",
            "S-1-5-21-1004336348-1177238915-682003330-1001",
        ]);
        let (_, challenge) = server.ticket(profile, id);
        let certificate = directory.join(format!("{id}.pem"));
        let url = server.scep_url(profile);
        succeed(
            server
                .command()
                .args(["scep", "enroll", "--url", &url, "--subject", "CN=x", "--challenge-file"])
                .arg(challenge)
                .arg("--key")
                .arg(directory.join(format!("{id}.key")))
                .arg("--cert")
                .arg(&certificate),
        );
        certificate
    };
    let fetch = |path: &str, name: &str| {
        let file = directory.join(name);
        fs::write(&file, http_get(server.device_address(), path).unwrap().body).unwrap();
        file
    };
    let pem = |der: PathBuf| {
        let file = der.with_extension("pem");
        succeed(
            Command::new("openssl").args(["x509", "-inform", "DER", "-in"]).arg(der).arg("-out").arg(&file),
        );
        file
    };

    let issuing = pem(fetch("/ca/issuing.cer", "issuing.cer"));
    let root = pem(fetch("/ca/root.cer", "root.cer"));
    lint("lint_crl", &["-t", "CRL", "-p", "PKIX"], &[&fetch("/crl/issuing.crl", "empty.crl")]);
    lint("lint_crl", &["-t", "ARL", "-p", "PKIX"], &[&fetch("/crl/root.crl", "root.crl")]);

    let (good, held, revoked) =
        (enrol("modern", "lint-good"), enrol("modern", "lint-held"), enrol("modern", "lint-revoked"));
    let everything = enrol("everything", "lint-everything");
    server.json(&["device", "lost", "lint-held"]);
    server.json(&["device", "wipe", "lint-revoked", "--yes"]);
    server.json(&["device", "force", "lint-revoked", "--yes"]);
    server.json(&["crl", "publish", "issuing"]);
    lint("lint_crl", &["-t", "CRL", "-p", "PKIX"], &[&fetch("/crl/issuing.crl", "full.crl")]);

    for certificate in own_certificates(server, directory).iter().chain([
        &root,
        &issuing,
        &good,
        &held,
        &revoked,
        &everything,
    ]) {
        lint("lint_pkix_cert", &[], &[certificate]);
    }
    for certificate in [&good, &held, &revoked, &everything] {
        lint("lint_pkix_signer_signee_cert_chain", &[], &[&issuing, certificate]);
    }
    lint_responses(server, directory, [&root, &issuing], [&good, &held, &revoked, &everything]);
}

/// Every kind of answer; at the end the CA itself is on hold, and with it all that it issued.
fn lint_responses(
    server: &Server,
    directory: &Path,
    [root, issuing]: [&Path; 2],
    [good, held, revoked, other]: [&Path; 4],
) {
    const MALFORMED: u8 = 1;
    const UNAUTHORIZED: u8 = 6;

    let mut responses = Responses { server, directory, issuing, files: Vec::new() };
    responses.about("good", good);
    responses.about("held", held);
    responses.about("revoked", revoked);
    for (name, reason) in [("compromised", "keyCompromise"), ("no-reason", "unspecified")] {
        let certificate = if name == "compromised" { other } else { good };
        let serial = serial_of(certificate);
        server.json(&["cert", "revoke", &serial, "--reason", reason, "--yes"]);
        responses.about(name, certificate);
    }
    let [one, another] = [held, revoked].map(|file| file.to_str().unwrap());
    let of_ca = ["-cert", issuing.to_str().unwrap()];
    for (kind, options) in [("", &[][..]), ("-no-nonce", &["-no_nonce"])] {
        let mut ask = |name: &str, issuer, certificates: &[&str]| {
            responses.ask(&format!("{name}{kind}"), issuer, options, certificates, 0);
        };
        ask("unknown", issuing, &["-serial", "0x77"]);
        ask("several", issuing, &["-cert", one, "-cert", another]);
        ask("several-one-unknown", issuing, &["-cert", one, "-serial", "0x77"]);
        ask("of-the-issuing-ca", root, &of_ca);
    }
    // The question is about an issuer that is not here.
    let stranger = directory.join("stranger.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Stranger", "-days", "1"]);
    succeed(openssl.arg("-keyout").arg(directory.join("stranger.key")).arg("-out").arg(&stranger));
    responses.ask("unauthorized", &stranger, &[], &["-serial", "0x77"], UNAUTHORIZED);
    responses.send("malformed", b"not a request", MALFORMED);
    // The same issuer, once somebody said that it is to be answered for.
    let index = directory.join("index.txt");
    fs::write(&index, "V\t361121000000Z\t\t77\tunknown\t/CN=x\n").unwrap();
    let file = |path: &Path| path.to_str().unwrap().to_owned();
    server.json(&[
        "import",
        "--issuer-cert",
        &file(&stranger),
        "--name",
        "stranger",
        "--index",
        &file(&index),
    ]);
    server.json(&["responder", "use", "stranger", "trusted", "--by", "issuing"]);
    for (name, serial) in [("of-another-ca", "0x77"), ("of-another-ca-unknown", "0x78")] {
        responses.ask(name, &stranger, &["-no_nonce", "-sha256"], &["-serial", serial], 0);
    }
    let trusted = directory.join("trusted-responder.pem");
    fs::write(&trusted, server.run(&["responder", "export", "stranger"]).stdout).unwrap();
    lint("lint_pkix_cert", &[], &[&trusted]);

    server.json(&["cert", "hold", &format!("root/{}", serial_of(issuing)), "--yes"]);
    responses.ask("of-a-ca-on-hold", root, &["-no_nonce"], &of_ca, 0);
    responses.about("issued-by-a-ca-on-hold", held);
    lint_ocsp_responses(&responses.files);
}

/// Certificates that certgate made for itself, from its own records: SCEP message, OCSP signers, server TLS.
fn own_certificates(server: &Server, directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for record in server.json(&["cert", "list"])["items"].as_array().unwrap() {
        if record["purpose"] == "leaf" {
            continue;
        }
        let (issuer, serial) = (record["issuer"].as_str().unwrap(), record["serial"].as_str().unwrap());
        let shown = server.json(&["cert", "show", &format!("{issuer}/{serial}")]);
        let file = directory.join(format!("own-{issuer}-{serial}.pem"));
        fs::write(&file, shown["pem"].as_str().unwrap()).unwrap();
        files.push(file);
    }
    assert!(files.len() >= 6, "root, issuing, message, two OCSP signers, TLS: {files:?}");
    files
}

/// The TLS certificate gets a name of several labels: pkilint takes `localhost`, the default, for a mistake of syntax.
fn lint_with_keys(options: &[&str]) {
    let server =
        Server::started(&[options, &["--server-name", "gateway.clients.example"]].concat(), PROFILES);
    lint_everything(&server, &server.scratch().join("lint"));
}

#[test]
fn everything_made_with_rsa_keys_passes() {
    lint_with_keys(&["--key", "rsa-3072", "--issuing-key", "rsa-2048", "--digest", "sha512"]);
}

#[test]
fn everything_made_with_p384_keys_passes() {
    lint_with_keys(&["--key", "p-384"]);
}

#[test]
fn everything_made_with_p256_keys_passes() {
    lint_with_keys(&["--key", "p-256"]);
}
