//! `certgate conformance`: our own server passes, and each kind of fault is seen in a server that has it.

mod meddled;
mod seen;
mod wrong;

use std::{collections::BTreeMap, fs, process::Output, sync::OnceLock};

use serde_json::Value;

use crate::{
    FAST, code,
    process::{Answer, Server, expect_success, free_address, http_get},
    sim::{Between, is_operation},
    stderr, stdout,
};
use wrong::{Careless, CarelessResponder, Fixed, Repeating};

/// One challenge for many, and names from the request.
const OPEN: &str = "[profile.open]\nsubject = \"CN=$DEVICE_ID$\"\nmatch = \"claim\"\nchallenge = [\"static\"]\n\
                    static-challenge-files = [\"shared\"]\nallow-unregistered = true\n";

const CHALLENGE: &str = "a shared challenge";

/// What [`Careless`] is found out by.
const CARELESS_SERVER: [&str; 45] = [
    "8894-3.5.2-media-type",
    "8894-3.5.2-keywords",
    "8894-2.9-algorithms",
    "8894-4.2.1-media-type",
    "8894-2.1.2-key-usage",
    "8894-4.7-getnextcacert",
    "8894-4.7.1-signed",
    "8894-4.1-method",
    "8894-2.7-status",
    "8894-3.2.2-payload",
    "8894-3.3.4-getcrl-unknown",
    "8894-7.6-renewal-self-signature",
    "8894-4.1-unknown-operation",
    "8894-4.1-no-operation",
    "8894-4.3.1-media-type",
    "8894-3.2.1.1-transaction",
    "8894-3.2.1.5-recipient-nonce",
    "8894-3.2.1.5-sender-nonce",
    "8894-3.3.3-unknown-poll",
    "8894-3.3.4-getcert-unknown",
    "8894-2.9-des",
    "8894-2.4-wrong-challenge",
    "8894-2.4-no-challenge",
    "8894-3.2.1.2-update-req",
    "8894-3.3.1.2-renewal-by-a-stranger",
    "2986-4.2-self-signature",
    "5280-4.2.1.9-ca",
    "8894-3.2.1.4-signature",
    "8894-3.2.1.4-content",
    "8894-3.2.1.2-unknown-type",
    "8894-3.2.1.2-certrep",
    "8894-2.9-md5",
    "8894-3.2.1.4-unknown-digest",
    "8894-7-oracle",
    "8894-4.3-empty",
    "8894-4.3-garbage",
    "8894-4.3-truncated",
    "8894-4.3-nested",
    "8894-4.3-oversize",
    "8894-4.1-no-message",
    "8894-4.1-no-base64",
    "8894-3.3.4-getcert",
    "8894-3.3.4-getcrl",
    "8894-3.3.1.2-renewal",
    "8894-4.7.1-content",
];

/// What [`CarelessResponder`] is found out by.
const CARELESS_RESPONDER: [&str; 25] = [
    "6960-A.1-media-type",
    "9654-2.1-nonce-32",
    "9654-2.1-nonce-16",
    "9654-2.1-nonce-1",
    "9654-2.1-nonce-128",
    "9654-2.1-nonce-129",
    "9654-2.1-nonce-0",
    "6960-4.4-critical-extension",
    "6960-2.2-revoked",
    "6960-2.2-never-issued",
    "9919-3.2.3-unknown-issuer",
    "6960-4.2.2.2-signature",
    "6960-4.2.2.1-this-update",
    "9919-3.2.4-next-update",
    "6960-2.4-produced-at",
    "9919-6-cache-control",
    "9919-6-expires",
    "9919-6-last-modified",
    "9919-6-etag",
    "9919-7.2-nonce-caching",
    "6960-2.3-garbage",
    "6960-2.3-empty",
    "6960-2.3-truncated",
    "6960-2.3-get-garbage",
    "9919-7.2-error-caching",
];

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut server = Server::initialise(FAST, OPEN);
        server.write_secret("shared", CHALLENGE);
        server.start();
        server
    })
}

/// The challenge, in a file.
fn challenge() -> String {
    server().data().join("shared").to_str().unwrap().to_owned()
}

fn conformance(arguments: &[&str]) -> Output {
    server().run(&[&["-o", "json", "conformance"], arguments].concat())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

/// Verdict and remark of each check.
fn verdicts(report: &Value) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    checks.map(|check| (text(&check["id"]), (text(&check["verdict"]), text(&check["remark"])))).collect()
}

#[track_caller]
fn assert_failed(report: &Value, expected: &[&str]) {
    let verdicts = verdicts(report);
    for id in expected {
        let (verdict, remark) = &verdicts[*id];
        assert_eq!(verdict, "fail", "{id}: {remark}");
        assert!(!remark.is_empty(), "{id} says what was seen");
    }
}

fn not_passed(report: &Value) -> Vec<(String, (String, String))> {
    verdicts(report).into_iter().filter(|(_, (verdict, _))| verdict != "pass").collect()
}

/// The README shows the report as its first column.
#[track_caller]
fn assert_is_shown(report: &Value) {
    let readme = include_str!("../../../README.md");
    let wrong = verdicts(report).into_iter().filter_map(|(id, (verdict, _))| {
        let row = readme.lines().find(|line| line.starts_with(&format!("| {id} |")));
        let ours = row.and_then(|row| row.split('|').nth(3)).map(str::trim);
        (ours != Some(verdict.as_str())).then(|| format!("{id}: {verdict}, in the README: {row:?}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn our_scep_server_passes_everything() {
    let url = server().scep_url("open");
    let output = conformance(&["scep", &url, "--challenge-file", &challenge()]);
    expect_success(&output, "conformance scep");
    let report = report(&output);
    let left: Vec<_> = not_passed(&report).into_iter().map(|(id, (verdict, _))| (id, verdict)).collect();
    let expected = [
        ("8894-2.3-foreign-key", "warning"),
        ("8894-3.3.2.3-pending", "n/a"),
        ("8894-4.7.1-content", "n/a"),
        ("8894-4.7.1-signed", "n/a"),
        ("8894-5.1-rollover", "n/a"),
    ];
    let expected = expected.map(|(id, verdict)| (id.to_owned(), verdict.to_owned()));
    assert_eq!(left, expected, "{:#?}", not_passed(&report));
    assert_is_shown(&report);
    let issued = report["issued"].as_array().unwrap();
    assert!(!issued.is_empty());
    for issued in issued {
        let serial = issued["serial"].as_str().unwrap();
        assert_eq!(server().status_of(serial), "good", "what is named as issued was issued");
        assert!(issued["subject"].as_str().unwrap().contains("CN=certgate-conformance-"), "{issued}");
    }
}

#[test]
fn a_next_ca_that_is_announced_passes() {
    let mut announcing = Server::initialise(FAST, OPEN);
    announcing.write_secret("shared", CHALLENGE);
    announcing.start();
    expect_success(&announcing.run(&["issuer", "rollover", "issuing"]), "issuer rollover");
    let url = announcing.scep_url("open");
    let ids = ["8894-4.7-getnextcacert", "8894-4.7.1-signed", "8894-4.7.1-content", "8894-5.1-rollover"];
    let only: Vec<&str> = ids.iter().flat_map(|id| ["--only", id]).collect();
    let challenge = challenge();
    let output = conformance(&[&["scep", &url, "--challenge-file", &challenge], &only[..]].concat());
    expect_success(&output, "conformance scep");
    let passed = verdicts(&report(&output)).into_iter().filter(|(_, (verdict, _))| verdict == "pass");
    assert_eq!(passed.count(), ids.len(), "{:#?}", report(&output));
}

#[test]
fn a_one_time_challenge_is_enough_for_most() {
    server().register_device("CONF1");
    let (_, ticket) = server().ticket("device", "CONF1");
    let url = server().scep_url("device");
    let output =
        conformance(&["scep", &url, "--challenge-file", ticket.to_str().unwrap(), "--subject", "CN=CONF1"]);
    expect_success(&output, "conformance scep");
    let report = report(&output);
    let skipped = verdicts(&report).into_iter().filter(|(_, (verdict, _))| verdict == "skipped");
    let skipped: Vec<_> = skipped.map(|(id, (_, why))| (id, why.contains("several times"))).collect();
    let expected =
        ["2986-4.2-self-signature", "5280-4.2.1.9-ca", "8894-2.3-foreign-key", "8894-2.3-other-subject"];
    assert_eq!(skipped, expected.map(|id| (id.to_owned(), true)));
    assert_eq!(report["failed"], serde_json::json!({"must": 0, "should": 0, "may": 0}));
    // The name of the record, not of the request.
    assert_eq!(verdicts(&report)["8894-3.3.2.1-subject"].0, "warning");
}

#[test]
fn without_a_challenge_nothing_is_issued() {
    let output = conformance(&["scep", &server().scep_url("open")]);
    expect_success(&output, "conformance scep");
    let report = report(&output);
    assert_eq!(report["issued"], serde_json::json!([]));
    let verdicts = verdicts(&report);
    assert_eq!(verdicts["8894-3.3.1-pkcsreq"].0, "skipped");
    assert_eq!(verdicts["8894-7-oracle"].0, "pass", "what must be refused needs no challenge");
}

#[test]
fn the_report_is_junit_too_and_stands_beside_another() {
    let careless = Careless::start();
    let path = |name: &str| server().scratch().join(name).to_str().unwrap().to_owned();
    let (xml, json) = (path("report.xml"), path("careless.json"));
    let only = [
        "--only",
        "8894-4.1-method",
        "--only",
        "8894-2.1.2",
        "--only",
        "8894-3.4-degenerate",
        "--junit",
        &xml,
    ];
    let output = conformance(&[&["scep", careless.url()], &only[..]].concat());
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    fs::write(&json, &output.stdout).unwrap();
    let xml = fs::read_to_string(&xml).unwrap();
    assert!(
        xml.contains("<testsuite name=\"scep\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\">"),
        "{xml}"
    );
    assert!(xml.contains("<failure type=\"MUST\" message=\"&quot;CN=Careless CA&quot; allows"), "{xml}");
    let table =
        server().run(&["conformance", "table", &format!("careless={json}"), &format!("again={json}")]);
    expect_success(&table, "conformance table");
    assert_eq!(
        stdout(&table),
        "| check | level | careless | again |\n|---|---|---|---|\n\
         | 8894-3.4-degenerate | MUST | n/a | n/a |\n| 8894-2.1.2-key-usage | MUST | fail | fail |\n\
         | 8894-4.1-method | SHOULD | fail | fail |\n"
    );
    assert_eq!(code(&server().run(&["conformance", "table", "x=/nonexistent"])), 1);
}

/// Files with the issuing CA's certificate, a good one, and a revoked one.
fn ocsp_files(name: &str) -> [String; 3] {
    let path = |file: &str| server().scratch().join(format!("{name}.{file}")).to_str().unwrap().to_owned();
    let url = server().scep_url("open");
    let enrol = |device: &str| {
        let (key, cert, subject) =
            (path(&format!("{device}.key")), path(&format!("{device}.pem")), format!("CN={device}"));
        let arguments = [
            "scep",
            "enrol",
            "--url",
            &url,
            "--subject",
            &subject,
            "--challenge-file",
            &challenge(),
            "--key",
            &key,
            "--cert",
            &cert,
        ];
        (server().json(&arguments)["certificate"]["serial"].as_str().unwrap().to_owned(), cert)
    };
    let (_, good) = enrol(&format!("{name}-good"));
    let (serial, revoked) = enrol(&format!("{name}-revoked"));
    server().json(&["cert", "revoke", &serial, "--reason", "keyCompromise", "--yes"]);
    let issuer = path("ca.cer");
    let ca = http_get(server().device_address(), "/ca/issuing.cer").unwrap();
    fs::write(&issuer, ca.body).unwrap();
    [issuer, good, revoked]
}

#[test]
fn our_ocsp_responder_passes_everything() {
    let [issuer, good, revoked] = ocsp_files("ours");
    let url = format!("{}/ocsp", server().url());
    let arguments = ["ocsp", &url, "--issuer", &issuer, "--cert", &good];
    let output = conformance(&[&arguments[..], &["--revoked-cert", &revoked]].concat());
    expect_success(&output, "conformance ocsp");
    assert_is_shown(&report(&output));
    let left = |output: &Output| -> Vec<_> {
        not_passed(&report(output)).into_iter().map(|(id, (verdict, _))| (id, verdict)).collect()
    };
    let never_issued = ("6960-2.2-extended-revoke".to_owned(), "n/a".to_owned());
    assert_eq!(left(&output), std::slice::from_ref(&never_issued), "{:#?}", not_passed(&report(&output)));
    let output = conformance(&arguments);
    expect_success(&output, "conformance ocsp without a revoked certificate");
    let skipped = |id: &str| (id.to_owned(), "skipped".to_owned());
    assert_eq!(
        left(&output),
        [never_issued, skipped("6960-2.2-revocation-time"), skipped("6960-2.2-revoked")]
    );
    // The two the wrong way round.
    let output =
        conformance(&["ocsp", &url, "--issuer", &issuer, "--cert", &revoked, "--revoked-cert", &good]);
    assert_eq!(code(&output), 1);
    assert_failed(&report(&output), &["6960-2.2-good", "6960-2.2-revoked"]);
}

#[test]
fn a_trusted_responder_passes_where_it_is_named() {
    let [ca, good, revoked] = ocsp_files("taken-over");
    let other = Server::started(FAST, "");
    let certs = other.scratch().join("certs");
    fs::create_dir(&certs).unwrap();
    for (name, file) in [("good", &good), ("revoked", &revoked)] {
        fs::copy(file, certs.join(name)).unwrap();
    }
    let import = ["import", "--issuer-cert", &ca, "--name", "old", "--certs", certs.to_str().unwrap()];
    other.json(&import);
    let serial = other.json(&["cert", "list"])["items"].as_array().unwrap().iter().find_map(|it| {
        let subject = it["subject"].as_str()?.starts_with("CN=taken-over-revoked");
        subject.then(|| it["id"].as_str().unwrap().to_owned())
    });
    other.json(&["cert", "revoke", &serial.unwrap(), "--reason", "keyCompromise", "--yes"]);
    other.json(&["responder", "use", "old", "trusted", "--by", "issuing"]);
    let responder = other.scratch().join("responder.pem").to_str().unwrap().to_owned();
    expect_success(&other.run(&["responder", "export", "old", "--out", &responder]), "export");

    let url = format!("{}/ocsp", other.url());
    let arguments = ["ocsp", &url, "--issuer", &ca, "--cert", &good, "--revoked-cert", &revoked];
    let output = conformance(&arguments);
    assert_eq!(code(&output), 1);
    assert_failed(&report(&output), &["6960-4.2.2.2-signature"]);
    let output = conformance(&[&arguments[..], &["--responder", &responder]].concat());
    expect_success(&output, "conformance ocsp");
    let left: Vec<_> = not_passed(&report(&output)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, ["6960-2.2-extended-revoke"]);
}

#[test]
fn a_careless_scep_server_is_found_out() {
    let careless = Careless::start();
    let output = conformance(&["scep", careless.url(), "--challenge-file", &challenge()]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report = report(&output);
    assert_failed(&report, &CARELESS_SERVER);
    let verdicts = verdicts(&report);
    let (verdict, remark) = &verdicts["8894-5.2-repeat"];
    assert_eq!(verdict, "warning");
    assert!(remark.contains("another certificate"), "{remark}");
    let oracle = &verdicts["8894-7-oracle"].1;
    assert!(oracle.contains("CBC padding") && oracle.contains("content that is garbled"), "{oracle}");
    assert!(report["issued"].as_array().unwrap().len() > 3);
}

#[test]
fn a_careless_ocsp_responder_is_found_out() {
    let careless = CarelessResponder::start();
    let file = server().scratch().join("careless-ca.pem");
    fs::write(&file, careless.issuer_pem()).unwrap();
    let file = file.to_str().unwrap();
    let output =
        conformance(&["ocsp", careless.url(), "--issuer", file, "--cert", file, "--revoked-cert", file]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report = report(&output);
    assert_failed(&report, &CARELESS_RESPONDER);
    let (_, why) = &verdicts(&report)["6960-4.2.2.2-signature"];
    assert!(why.contains("was not signed by the issuer"), "{why}");
    let several = ["ocsp", careless.url(), "--issuer", file, "--cert", file, "--only", "6960-2.1"];
    let output = conformance(&several);
    assert_eq!(code(&output), 0, "a SHOULD that failed is no error");
    assert_failed(&self::report(&output), &["6960-2.1-several"]);
}

#[test]
fn an_answer_about_something_else_proves_nothing() {
    let repeating = Repeating::start();
    let file = server().scratch().join("repeating-ca.pem");
    fs::write(&file, repeating.issuer_pem()).unwrap();
    let file = file.to_str().unwrap();
    let output = conformance(&["ocsp", repeating.url(), "--issuer", file, "--cert", file]);
    let report = report(&output);
    assert_failed(&report, &["6960-2.2-never-issued", "9919-3.2.3-unknown-issuer"]);
    assert_eq!(verdicts(&report)["9919-7.2-error-caching"].0, "skipped", "there is no error");
}

#[test]
fn a_responder_that_knows_no_nonces_breaks_no_must() {
    let repeating = Repeating::start();
    let file = server().scratch().join("without-nonces-ca.pem");
    fs::write(&file, repeating.issuer_pem()).unwrap();
    let file = file.to_str().unwrap();
    let output = conformance(&["ocsp", repeating.url(), "--issuer", file, "--cert", file, "--only", "9654"]);
    expect_success(&output, "--only 9654");
    let verdicts = verdicts(&report(&output));
    for (length, verdict) in [(0, "warning"), (1, "pass"), (16, "warning"), (32, "warning"), (129, "warning")]
    {
        assert_eq!(verdicts[&format!("9654-2.1-nonce-{length}")].0, verdict, "{length}");
    }
}

/// What stands in front of our server and refuses each message from the `first` on, each time in other words.
fn refusing_from(first: usize) -> Between {
    Between::start(server(), move |path, number, answer| {
        if !is_operation(path) || number < first {
            return answer;
        }
        let body = format!("refused, see request {number} in the log").into_bytes();
        Answer { status: 400, headers: Vec::new(), body }
    })
}

#[test]
fn a_server_that_takes_no_message_proves_nothing_by_refusing_bad_ones() {
    let between = refusing_from(0);
    let report = report(&conformance(&["scep", &between.scep_url()]));
    let verdicts = verdicts(&report);
    for id in [
        "8894-3.2.1.4-signature",
        "8894-2.9-md5",
        "8894-2.9-des",
        "8894-7-oracle",
        "8894-2.4-wrong-challenge",
    ] {
        assert_eq!(verdicts[id].0, "skipped", "{id}: {}", verdicts[id].1);
    }
    assert_failed(&report, &["8894-3.3.2.2-failure"]);
}

#[test]
fn words_that_change_each_time_are_no_oracle() {
    let between = refusing_from(2);
    let report = report(&conformance(&["scep", &between.scep_url(), "--only", "8894-7-oracle"]));
    assert_eq!(verdicts(&report)["8894-7-oracle"], ("pass".to_owned(), String::new()));
}

#[test]
fn a_server_that_speaks_of_something_else_fails_and_the_suite_ends() {
    let hello = Fixed::start(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let output = conformance(&["scep", hello.url(), "--challenge-file", &challenge()]);
    assert_eq!(code(&output), 1);
    let report = report(&output);
    assert_failed(&report, &["8894-3.5.1-getcacaps", "8894-4.2-getcacert", "8894-4.1-unknown-operation"]);
    let (verdict, why) = &verdicts(&report)["8894-3.3.1-pkcsreq"];
    assert_eq!((verdict.as_str(), why.as_str()), ("skipped", "GetCACert gave no certificate to encrypt to"));
}

#[test]
fn a_server_that_is_not_there_or_hangs_is_exit_code_5() {
    let nobody = format!("http://{}/scep", free_address());
    let output = conformance(&["scep", &nobody]);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(stderr(&output).contains("could not be asked to the end"), "{}", stderr(&output));
    let report = report(&output);
    let skipped = report["skipped"].as_u64().unwrap();
    assert_eq!(usize::try_from(skipped).unwrap() + 1, report["checks"].as_array().unwrap().len());
    let hung = Fixed::start(b"");
    let output = conformance(&["scep", hung.url(), "--timeout", "1s"]);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(stderr(&output).contains("did not answer within 1 seconds"), "{}", stderr(&output));
}

#[test]
fn a_run_names_its_checks_and_takes_a_part_of_them() {
    let output = server().run(&["conformance", "scep", "--list"]);
    expect_success(&output, "--list");
    assert!(stdout(&output).contains("8894-3.5.2-media-type"), "{}", stdout(&output));
    let listed = server().json(&["conformance", "ocsp", "--list", "--only", "9654"]);
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.len(), 6);
    assert!(listed.iter().all(|check| check["section"] == "RFC 9654 section 2.1"), "{listed:?}");
    let url = server().scep_url("open");
    let output =
        server().run(&["conformance", "scep", &url, "--only", "8894-3.5.2-media-type", "--only", "8894-4.2"]);
    expect_success(&output, "--only");
    let told = stdout(&output);
    assert!(told.contains("pass     SHOULD 8894-3.5.2-media-type"), "{told}");
    assert!(
        told.ends_with(
            "5 checks: 5 passed, 0 with a warning, 0 failed (0 MUST, 0 SHOULD, 0 MAY), 0 skipped, 0 not applicable\n"
        ),
        "{told}"
    );
    for wrong in [
        &["conformance", "scep", &url, "--only", "8894-9.9"][..],
        &["conformance", "scep"],
        &["conformance", "ocsp", &url],
        &["conformance", "scep", "ftp://127.0.0.1:1/scep"],
        &["conformance", "scep", "pki.lab.example"],
    ] {
        assert_eq!(code(&server().run(wrong)), 2, "{wrong:?}");
    }
}
