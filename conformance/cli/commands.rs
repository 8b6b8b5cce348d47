//! What commands print and how they end.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::{
    FAST, MANUAL, code, enrol,
    process::{Server, expect_success, http_get},
    stderr, stdout,
};

#[test]
fn each_ending_has_its_exit_code() {
    let server = Server::started(FAST, "");
    server.register_device("SN1");
    let cases: &[(i32, &[&str], &str)] = &[
        (0, &["device", "list"], ""),
        (1, &["device", "list", "--data", "/nonexistent"], "no server at /nonexistent/certgate.sock"),
        (2, &["device", "paint", "SN1"], "unrecognized subcommand"),
        (2, &["device", "wipe", "SN1"], "say --yes"),
        (3, &["device", "show", "SN2"], "no device \"SN2\""),
        (3, &["cert", "show", "4f00ab12"], "no certificate"),
        (4, &["device", "cancel-wipe", "SN1"], "cancel-wipe is not possible for a device that is pending"),
        (5, &["device", "lost", "SN1", "SN2"], "1 of 2 failed"),
    ];
    for (expected, arguments, said) in cases {
        let output = server.run(arguments);
        assert_eq!(code(&output), *expected, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_name_that_is_empty_is_said_to_be_so() {
    let server = Server::started(FAST, "");
    for arguments in [["device", "show", ""], ["cert", "show", ""], ["enrolment", "show", ""]] {
        let output = server.run(&arguments);
        assert!(code(&output) == 3 && stderr(&output).contains("is a name empty"), "{}", stderr(&output));
    }
}

#[test]
fn every_event_of_a_device_has_its_verb() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let steps = [
        ("lost", "active"),
        ("found", "active"),
        ("retire", "retire-pending"),
        ("unretire", "active"),
        ("wipe", "wipe-pending"),
        ("cancel-wipe", "active"),
        ("compromised", "active"),
        ("cleared", "active"),
        ("wipe", "wipe-pending"),
        ("force", "wiped"),
        ("reprovision", "pending"),
    ];
    for (verb, state) in steps {
        let yes: &[&str] = if ["retire", "wipe", "compromised", "force", "reprovision"].contains(&verb) {
            &["--yes"]
        } else {
            &[]
        };
        let outcome = server.json(&[&["device", verb, "SN1"], yes].concat());
        assert_eq!(outcome["device"]["lifecycle"], state, "{verb}");
    }
}

#[test]
fn what_cannot_be_taken_back_is_asked_about() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    server.json(&["user", "add", "ada"]);
    let shown = server.json(&["device", "show", "SN1"]);
    let certificate = shown["certificates"][0]["id"].as_str().unwrap();
    let acts: [&[&str]; 4] = [
        &["device", "reprovision", "SN1"],
        &["device", "wipe", "SN1"],
        &["cert", "revoke", certificate],
        &["user", "delete", "ada"],
    ];
    for act in acts {
        let output = server.run(act);
        assert!(code(&output) == 2 && stderr(&output).contains("--yes"), "{act:?}: {}", stderr(&output));
    }
    assert_eq!(server.json(&["device", "show", "SN1"]), shown);
}

#[test]
fn every_reading_command_prints_json_that_parses() {
    let server = Server::started(FAST, MANUAL);
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    assert_eq!(code(&enrol(&server, "manual", "SN2", &[])), 5);
    server.json(&["user", "add", "ada"]);
    server.json(&["source", "add", "mdm"]);
    let first = |listing: &Value| listing["items"][0]["id"].as_str().unwrap().to_owned();
    let certificate = first(&server.json(&["cert", "list", "--device", "SN1"]));
    let enrolment = first(&server.json(&["queue", "list"]));
    let commands: &[&[&str]] = &[
        &["issuer", "list"],
        &["issuer", "show", "issuing"],
        &["profile", "list"],
        &["profile", "show", "device"],
        &["profile", "clients"],
        &["ticket", "list"],
        &["device", "list"],
        &["device", "show", "SN1"],
        &["source", "list"],
        &["source", "show", "mdm"],
        &["user", "list"],
        &["user", "show", "ada"],
        &["cert", "list"],
        &["cert", "show", &certificate],
        &["crl", "list"],
        &["crl", "show", "issuing"],
        &["queue", "list"],
        &["queue", "show", &enrolment],
        &["audit", "tail"],
        &["audit", "verify"],
        &["token", "list"],
        &["doctor"],
    ];
    for command in commands {
        let value = server.json(command);
        let items = value.get("items").and_then(Value::as_array);
        assert!(items.is_none_or(|items| !items.is_empty()), "{command:?} listed nothing: {value}");
        let table = server.run(command);
        expect_success(&table, &command.join(" "));
        let text = stdout(&table);
        assert!(
            !text.trim().is_empty() && !text.contains('{') && !text.contains("kind="),
            "{command:?}: {text}"
        );
    }
    assert!(server.json(&["cert", "list"])["items"][0].get("pem").is_none(), "listings are without PEM");
}

#[test]
fn what_certgate_has_still_to_do_is_listed() {
    let server = Server::started(FAST, "[crl]\ndebounce-seconds = 59\n");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    expect_success(&server.run(&["device", "lost", "SN1"]), "lost");
    let job = &server.json(&["queue", "jobs"])["items"][0];
    assert_eq!((&job["lane"], &job["dead"]), (&"crl/issuing".into(), &false.into()), "{job}");
    let table = stdout(&server.run(&["queue", "jobs"]));
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[1], row[2], row[4]), ("crl/issuing", "waiting", "0"), "{table}");
    expect_success(&server.run(&["crl", "publish", "issuing"]), "publish");
}

/// What is put on hold with it is everything that it issued.
#[test]
fn the_certificate_of_a_ca_is_not_put_on_hold_unasked() {
    let server = Server::started(FAST, "");
    let listed = server.json(&["cert", "list", "--limit", "100"]);
    let is_issuing =
        |it: &&Value| it["purpose"] == "issuer" && it["subject"].as_str().unwrap().contains("Issuing CA");
    let ca = listed["items"].as_array().unwrap().iter().find(is_issuing).unwrap()["id"].as_str().unwrap();
    let unasked = server.run(&["cert", "hold", ca]);
    assert_eq!(code(&unasked), 2, "{}", stderr(&unasked));
    let words = stderr(&unasked);
    assert!(words.contains("all that it issued") && words.contains("--yes"), "{words}");
    assert_eq!(server.json(&["cert", "show", ca])["status"], "good");
    let unasked = server.run(&["cert", "revoke", ca]);
    assert!(code(&unasked) == 2 && stderr(&unasked).contains("all that it issued"), "{}", stderr(&unasked));
    expect_success(&server.run(&["cert", "hold", ca, "--yes"]), "hold");
    assert_eq!(server.json(&["cert", "show", ca])["status"], "hold");
    expect_success(&server.run(&["cert", "release", ca]), "release");
}

#[test]
fn cancelling_a_ticket_says_when_that_comes_to_nothing() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let used = server.json(&["ticket", "list"])["items"][0].clone();
    assert_eq!(used["state"], "used", "{used}");
    let id = used["id"].as_str().unwrap();
    let cancelled = server.run(&["ticket", "cancel", id]);
    expect_success(&cancelled, "cancel");
    let words = stdout(&cancelled);
    assert!(words.contains("used up") && words.contains("certgate cert revoke"), "{words}");
    let made = server.json(&[
        "ticket",
        "create",
        "--profile",
        "device",
        "--device",
        "SN1",
        "--out",
        server.scratch().join("t").to_str().unwrap(),
    ]);
    let open = made["ticket"]["id"].as_str().unwrap();
    assert_eq!(stdout(&server.run(&["ticket", "cancel", open])), format!("{open}: cancelled\n"));
    let again = stdout(&server.run(&["ticket", "cancel", open]));
    assert!(again.contains("was cancelled before, at 20"), "{again}");
}

#[test]
fn a_certificate_tells_every_cause_of_its_status_in_words() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    let id = server.json(&["cert", "list", "--device", "SN1"])["items"][0]["id"].as_str().unwrap().to_owned();
    expect_success(&server.run(&["device", "lost", "SN1", "--note", "left in a taxi"]), "lost");
    expect_success(&server.run(&["cert", "hold", &id]), "hold");
    let text = stdout(&server.run(&["cert", "show", &id]));
    for words in [
        "Status:",
        "hold",
        ": the device is lost, by local uid ",
        "(\"left in a taxi\")",
        ": hold by hand, by local uid ",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    expect_success(&server.run(&["cert", "release", &id]), "release");
    assert_eq!(server.json(&["cert", "show", &id])["status"], "hold", "the loss holds it still");
    expect_success(&server.run(&["cert", "revoke", &id, "--reason", "keyCompromise", "--yes"]), "revoke");
    let text = stdout(&server.run(&["cert", "show", &id]));
    assert!(text.contains("revoked for good (keyCompromise) since"), "{text}");
}

#[test]
fn listings_go_on_where_the_page_before_ended() {
    let server = Server::started(FAST, "");
    for number in 0..250 {
        server.register_device(&format!("SN{number:03}"));
    }
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["device", "list", "--limit", "100"];
        arguments.extend(after.iter().flat_map(|key| ["--after", key.as_str()]));
        let page = server.json(&arguments);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|device| device["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(key) => after = Some(key.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, (0..250).map(|number| format!("SN{number:03}")).collect::<Vec<_>>());
    let first = server.run(&["device", "list"]);
    assert!(stderr(&first).contains("there is more: --after SN099"), "{}", stderr(&first));
    let pending = server.json(&["device", "list", "--lifecycle", "active", "--limit", "10"]);
    assert_eq!(pending["items"].as_array().unwrap().len(), 0);
}

#[test]
fn secrets_appear_where_they_were_asked_for_and_nowhere_else() {
    let server = Server::started(FAST, "");
    server.register_device("SN1");
    let out = server.scratch().join("challenge.txt");
    let minted = server.run(&[
        "ticket",
        "create",
        "--profile",
        "device",
        "--device",
        "SN1",
        "--out",
        out.to_str().unwrap(),
    ]);
    expect_success(&minted, "ticket create");
    let challenge = fs::read_to_string(&out).unwrap();
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    // Where the secret could not be kept nothing is made.
    let again = ["--out", out.to_str().unwrap()];
    for command in [
        &["ticket", "create", "--profile", "device", "--device", "SN1"][..],
        &["token", "create", "x", "--role", "auditor"],
    ] {
        let refused = server.run(&[command, &again[..]].concat());
        assert_eq!(code(&refused), 1);
        assert!(stderr(&refused).contains("nothing was made"), "{}", stderr(&refused));
    }
    let count = |noun| server.json(&[noun, "list"])["items"].as_array().unwrap().len();
    assert_eq!((count("ticket"), count("token")), (1, 1), "the owner's token alone");
    let token_file = server.scratch().join("api.token");
    let made =
        server.run(&["token", "create", "mdm", "--role", "auditor", "--out", token_file.to_str().unwrap()]);
    expect_success(&made, "token create");
    let token = fs::read_to_string(&token_file).unwrap();
    let enrolled = enrol(&server, "device", "SN2", &[]);
    expect_success(&enrolled, "enrol");
    let used = fs::read_to_string(server.scratch().join("SN2.ticket")).unwrap();
    let url = format!("/scep/device?operation=PKIOperation&message={challenge}");
    http_get(server.device_address(), &url).expect("an answer");
    let owner = fs::read_to_string(server.data().join("owner.token")).unwrap();

    let mut shown = vec![
        server.log(),
        stdout(&minted),
        stderr(&minted),
        stdout(&made),
        stdout(&enrolled),
        stderr(&enrolled),
    ];
    for command in [&["ticket", "list"], &["token", "list"], &["audit", "tail"], &["cert", "list"]] {
        for format in ["table", "json"] {
            shown.push(stdout(&server.run(&[&["-o", format], command.as_slice()].concat())));
        }
    }
    for secret in [&challenge, &token, &used, &owner] {
        assert!(secret.trim().len() >= 16);
        for text in &shown {
            assert!(!text.contains(secret.trim()), "{text}");
        }
    }
    assert!(!server.log().contains("message="), "queries stay out of the log: {}", server.log());
}

#[test]
fn every_metric_that_is_named_is_counted() {
    let server = Server::started(FAST, "");
    expect_success(&enrol(&server, "device", "SN1", &[]), "enrol");
    expect_success(&server.run(&["device", "wipe", "SN1", "--yes"]), "wipe");
    let file = |kind: &str| server.scratch().join(format!("SN1.{kind}")).to_str().unwrap().to_owned();
    let chain = issuing_certificate(&server);
    assert_eq!(code(&server.run(&["ocsp", "check", "--issuer", &chain, "--cert", &file("pem")])), 4);
    expect_success(&server.run(&["crl", "publish", "issuing"]), "publish");
    let text = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    // Those that count what did not happen here (a line that was full, an old algorithm) have no value yet.
    for metric in [
        "certgate_scep_requests_total{",
        "certgate_scep_request_duration_seconds_count{",
        "certgate_ocsp_requests_total{",
        "certgate_crl_number{",
        "certgate_crl_next_update_timestamp_seconds{",
        "certgate_crl_entries{",
        "certgate_certificates_issued_total{",
        "certgate_system_certificate_not_after_timestamp_seconds{",
        "certgate_enrolments_pending ",
        "certgate_jobs_dead ",
        "certgate_devices ",
        "certgate_build_info{",
        "certgate_bridge_waiters{",
        "certgate_revocation_propagation_seconds_count{to=\"ocsp\"} 1",
        "certgate_revocation_propagation_seconds_count{to=\"crl\"} 1",
    ] {
        assert!(text.lines().any(|line| line.starts_with(metric)), "{metric} in\n{text}");
    }
}

/// The issuing CA's certificate in a file.
fn issuing_certificate(server: &Server) -> String {
    let path = server.scratch().join("issuing.pem");
    fs::write(&path, http_get(server.device_address(), "/ca/issuing.pem").unwrap().body).unwrap();
    path.to_str().unwrap().to_owned()
}
