//! `certgate source`, from the file to what OCSP says.

use std::{fs, process::Stdio};

use serde_json::Value;

use crate::{
    FAST, code, enrol,
    process::{Server, expect_success, http_get},
    stderr, stdout,
};

/// Writes a listing of these lines.
fn file(server: &Server, name: &str, lines: &[String]) -> String {
    let path = server.scratch().join(name);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path.to_str().unwrap().to_owned()
}

fn listing(server: &Server, numbers: std::ops::Range<usize>) -> String {
    let mut lines = vec!["Serial,Owner".to_owned()];
    lines.extend(numbers.map(|number| format!("SN{number},ada@lab.example")));
    file(server, "listing.csv", &lines)
}

/// The exit code of `certgate ocsp check` for the device's certificate: 0 good, 4 not.
fn ocsp(server: &Server, device: &str) -> i32 {
    let issuing = server.scratch().join("issuing.pem");
    fs::write(&issuing, http_get(server.device_address(), "/ca/issuing.pem").unwrap().body).unwrap();
    let certificate = server.scratch().join(format!("{device}.pem"));
    let (issuing, certificate) = (issuing.to_str().unwrap(), certificate.to_str().unwrap());
    code(&server.run(&["ocsp", "check", "--issuer", issuing, "--cert", certificate]))
}

#[test]
fn listings_register_hold_release_and_survive_a_restart() {
    let mut server = Server::started(FAST, "");
    server.json(&["source", "add", "mdm", "--missing", "hold"]);
    expect_success(&enrol(&server, "device", "SN0", &[]), "enrol");
    let sync = |server: &Server, numbers| {
        let path = listing(server, numbers);
        server.json(&["source", "sync", "mdm", "--file", &path, "--map", "serial=Serial,user=Owner"])
    };
    let first = sync(&server, 0..3);
    assert_eq!(
        (&first["counts"]["registered"], &first["counts"]["updated"]),
        (&2.into(), &1.into()),
        "{first}"
    );
    let again = sync(&server, 0..3);
    assert_eq!(
        (&again["counts"]["registered"], &again["counts"]["updated"]),
        (&0.into(), &0.into()),
        "{again}"
    );
    assert_eq!(server.json(&["device", "show", "SN1"])["user"], "ada@lab.example");
    assert_eq!(server.json(&["device", "list", "--source", "mdm"])["items"].as_array().unwrap().len(), 3);

    for expected in [0, 0] {
        sync(&server, 1..3);
        assert_eq!(ocsp(&server, "SN0"), expected);
    }
    server.kill();
    server.start();
    sync(&server, 1..3);
    assert_eq!(ocsp(&server, "SN0"), 4, "the third listing without it, over a restart");
    let certificate =
        server.json(&["cert", "list", "--device", "SN0"])["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = stdout(&server.run(&["cert", "show", &certificate]));
    assert!(shown.contains("the device is missing, by local uid") && shown.contains("source mdm"), "{shown}");
    server.kill();
    server.start();
    assert_eq!(ocsp(&server, "SN0"), 4);
    let source = server.json(&["source", "show", "mdm"]);
    assert_eq!((&source["listings"], &source["last_sync"]["counts"]["missing"]), (&5.into(), &1.into()));
    let back = sync(&server, 0..3);
    assert_eq!(back["counts"]["returned"], 1);
    assert_eq!(ocsp(&server, "SN0"), 0);
}

#[test]
fn each_ending_of_a_sync_has_its_exit_code() {
    let server = Server::started(FAST, "");
    let run =
        |path: &str, more: &[&str]| server.run(&[&["source", "sync", "mdm", "--file", path], more].concat());
    let all = listing(&server, 0..14);
    assert_eq!(code(&run(&all, &[])), 3, "no such source");
    server.json(&["source", "add", "mdm", "--missing", "hold"]);
    assert_eq!(code(&server.run(&["source", "add", "mdm"])), 4, "it exists");
    assert_eq!(code(&run("/nonexistent.csv", &[])), 1);
    assert_eq!(code(&run(&all, &["--map", "serial=Nothing"])), 2);
    assert_eq!(code(&run(&all, &["--map", "colour=Serial"])), 2);
    let tried = run(&all, &["--dry-run"]);
    assert_eq!(code(&tried), 0, "{}", stderr(&tried));
    assert!(stdout(&tried).contains("Registered:    14"), "{}", stdout(&tried));
    assert_eq!(server.json(&["device", "list"])["items"].as_array().unwrap().len(), 0);
    expect_success(&run(&all, &[]), "sync");

    let bad = ["serial", "SN0", "//", "SN1", "SN0"].map(str::to_owned);
    let partial = run(&file(&server, "bad.csv", &bad), &[]);
    assert_eq!(code(&partial), 5, "{}", stderr(&partial));
    for words in ["line 3: ", "line 5: line 2 is about the same device", "2 lines of"] {
        assert!(stderr(&partial).contains(words), "{words} in\n{}", stderr(&partial));
    }

    let truncated = listing(&server, 0..2);
    expect_success(&run(&truncated, &[]), "first");
    let braked = loop {
        let output = run(&truncated, &[]);
        if code(&output) != 0 {
            break output;
        }
    };
    assert_eq!(code(&braked), 4);
    assert!(stderr(&braked).contains("put 12 devices on hold") && stderr(&braked).contains("--force"));
    let empty = file(&server, "empty.csv", &["serial".to_owned()]);
    assert_eq!(code(&run(&empty, &[])), 4);
    assert_eq!(server.json(&["source", "list"])["items"][0]["last_sync"]["outcome"], "refused");
    expect_success(&run(&truncated, &["--force"]), "forced");
    let removed = server.json(&["source", "remove", "mdm", "--yes"]);
    assert_eq!((&removed["devices"], &removed["released"]), (&14.into(), &12.into()));
    assert_eq!(server.json(&["device", "list"])["items"].as_array().unwrap().len(), 14);
}

#[test]
fn a_listing_may_be_json_and_larger_than_other_requests() {
    let server = Server::started(FAST, "");
    server.json(&["source", "add", "fleet"]);
    let padding = "x".repeat(1000);
    let hosts: Vec<Value> = (0..1500)
        .map(|number| {
            serde_json::json!({
                "id": number, "hardware_serial": format!("SN{number}"), "hostname": format!("host-{number}"), "notes": padding,
            })
        })
        .collect();
    let path = server.scratch().join("hosts.json");
    fs::write(&path, serde_json::to_vec(&hosts).unwrap()).unwrap();
    let report = server.json(&["source", "sync", "fleet", "--file", path.to_str().unwrap()]);
    assert_eq!(report["counts"]["registered"], 1500, "{report}");
    assert_eq!(server.json(&["device", "show", "SN7"])["name"], "host-7");
    assert_eq!(report["columns"]["serial"], "hardware_serial");
}

/// One value of the ops listener.
fn metric(server: &Server, name: &str) -> Option<String> {
    let text = String::from_utf8(http_get(server.ops_address(), "/metrics").unwrap().body).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

#[test]
fn a_sync_that_was_cut_off_is_seen_and_ends_when_it_runs_again() {
    let mut server = Server::started(FAST, "");
    server.json(&["source", "add", "mdm"]);
    let path = listing(&server, 0..3000);
    let arguments = ["source", "sync", "mdm", "--file", &path, "--map", "serial=Serial,user=Owner"];
    let mut client = server.command();
    client.env("CERTGATE_DATA", server.data()).args(arguments).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    while server.json(&["device", "list", "--limit", "1"])["items"].as_array().unwrap().is_empty() {}
    server.kill();
    assert_eq!(client.wait().unwrap().code(), Some(1));
    server.start();
    let cut_off = server.json(&["source", "show", "mdm"]);
    assert!(cut_off["unfinished_since"].is_string() && cut_off["running"].is_null(), "{cut_off}");
    let report = server.json(&arguments);
    let registered = report["counts"]["registered"].as_u64().unwrap();
    assert!((1..3000).contains(&registered), "the first sync did the rest: {report}");
    assert_eq!(report["counts"]["devices"], 3000);
    let ended = server.json(&["source", "show", "mdm"]);
    assert!(ended["unfinished_since"].is_null() && ended["listings"] == 1, "{ended}");
    server.kill();
    server.start();
    assert_eq!(
        metric(&server, "certgate_source_devices{source=\"mdm\",condition=\"listed\"}").unwrap(),
        "3000"
    );
    assert!(metric(&server, "certgate_source_last_listing_timestamp_seconds{source=\"mdm\"}").is_some());
}
