//! certmonger 0.79: `scep-submit` alone, and the daemon with `getcert` in a private session bus. GET only, `message=0`, decimal
//! transactionIDs; renewal is a PKCSReq signed by the old certificate.

use std::{fs, process::Command};

use super::{assert_enrolled, authority_files, openssl_cms, serial_of, server, succeed, text, workplace};

const SUBMIT: &str = "/usr/lib/certmonger/scep-submit";

#[test]
fn scep_submit_reads_capabilities_and_certificates() {
    let url = server().scep_url("modern");
    let capabilities = text(&succeed(Command::new(SUBMIT).args(["-u", &url, "-c"])));
    for needed in ["AES", "POSTPKIOperation", "Renewal", "SHA-256", "SCEPStandard"] {
        assert!(capabilities.contains(needed), "{needed} in {capabilities}");
    }
    let certificates = text(&succeed(Command::new(SUBMIT).args(["-u", &url, "-C"])));
    assert_eq!(certificates.matches("BEGIN CERTIFICATE").count(), 3, "{certificates}");
}

#[test]
fn scep_submit_delivers_a_request_and_verifies_the_answer() {
    let directory = workplace("scep-submit");
    let (root, issuing, message) = authority_files(&directory, "modern");
    server().register_device("submit-1");
    let (challenge, _) = server().ticket("modern", "submit-1");
    let request = openssl_cms::request(&directory, &message, &challenge, &["-aes256"]);
    let pem = directory.join("request.pem");
    openssl_cms::write_pem(&pem, &request.message);

    let answer = succeed(
        Command::new(SUBMIT)
            .args(["-u", &server().scep_url("modern")])
            .arg("-r")
            .arg(&message)
            .arg("-N")
            .arg(&root)
            .arg("-I")
            .arg(&issuing)
            .arg("-p")
            .arg(&pem),
    );
    // It prints the verified inner envelope; OpenSSL opens it.
    let envelope = directory.join("envelope.pem");
    fs::write(&envelope, answer.stdout).unwrap();
    let certificate = openssl_cms::open_envelope(&directory, &envelope, "PEM", &request);
    assert_enrolled(&certificate, &request.key, "submit-1");
}

#[test]
fn daemon_enrols_and_resubmits() {
    let directory = workplace("certmonger");
    let (root, issuing, message) = authority_files(&directory, "renewing");
    server().register_device("monger-1");
    let (challenge, _) = server().ticket("renewing", "monger-1");
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let script = directory.join("session.sh");
    fs::write(&script, SESSION).unwrap();

    let output = succeed(
        Command::new("dbus-run-session")
            .args(["--", "sh"])
            .arg(&script)
            .current_dir(&directory)
            .env("HOME", &directory)
            .env("XDG_CONFIG_HOME", directory.join("config"))
            .env("SCEP_URL", server().scep_url("renewing"))
            .env("CHALLENGE", &challenge)
            .env("ROOT", &root)
            .env("ISSUING", &issuing)
            .env("MESSAGE", &message)
            .env("CERTIFICATE", &certificate)
            .env("KEY", &key),
    );
    let log = text(&output);
    assert_enrolled(&certificate, &key, "monger-1");
    let first = log
        .lines()
        .find_map(|line| line.strip_prefix("first serial="))
        .expect("the session tells")
        .to_ascii_lowercase();
    assert_ne!(serial_of(&certificate), first, "resubmit renews:\n{log}");
    assert_eq!(server().status_of(&first), "good", "renewal leaves the old certificate as it was");
}

/// The daemon needs a moment to find the bus, to make its key and to talk to us: each step waits for a state, not for a time.
const SESSION: &str = r#"
set -eu
certmonger-session -n -L -p "$PWD/certmonger.pid" >certmonger.log 2>&1 &
for try in $(seq 100); do getcert list-cas -s >/dev/null 2>&1 && break; sleep 0.2; done
status() { getcert list -s -i device | sed -n 's/^[[:space:]]*status: //p'; }
await() {
  for try in $(seq 300); do
    [ "$(status)" = MONITORING ] && [ -s "$CERTIFICATE" ] && [ "$(openssl x509 -noout -serial -in "$CERTIFICATE")" != "$1" ] && return 0
    case "$(status)" in *REJECTED*|*UNREACHABLE*|*GUIDANCE*) break;; esac
    sleep 0.2
  done
  getcert list -s; cat certmonger.log; exit 1
}
getcert add-scep-ca -s -c gateway -u "$SCEP_URL" -N "$ROOT" -r "$MESSAGE" -I "$ISSUING"
getcert request -s -c gateway -I device -k "$KEY" -f "$CERTIFICATE" -G rsa -g 2048 -N CN=whatever -L "$CHALLENGE"
await none
first=$(openssl x509 -noout -serial -in "$CERTIFICATE")
echo "first $first"
getcert resubmit -s -i device
await "$first"
kill "$(cat certmonger.pid)" 2>/dev/null || true
"#;
