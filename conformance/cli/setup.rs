//! `init`, `quickstart`, `check-config`: what they make, and what they leave alone.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{
    code,
    process::{expect_success, free_address, http_get},
    stderr, stdout,
};

fn certgate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certgate"));
    command.stdin(Stdio::null()).env_remove("CERTGATE_DATA").args(arguments).output().unwrap()
}

/// Every file below `path` with its content.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = contents(&entry.path()).into_iter();
            found.extend(below.map(|(file, bytes)| (format!("{name}/{file}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let foreign = root.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let data = foreign.to_str().unwrap();
    for arguments in
        [&["init", "--key", "p-256", "--data", data][..], &["quickstart", "--once", "--data", data]]
    {
        let before = contents(&foreign);
        let output = certgate(arguments);
        assert_eq!(code(&output), 4, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("is not empty: it holds \"thesis.txt\""), "{}", stderr(&output));
        assert_eq!(contents(&foreign), before);
    }
    let gateway = root.path().join("gateway");
    let init = ["init", "--key", "p-256", "--data", gateway.to_str().unwrap()];
    expect_success(&certgate(&init), "init");
    let before = contents(&gateway);
    let again = certgate(&init);
    assert_eq!(code(&again), 4);
    assert!(stderr(&again).contains("holds a gateway already"), "{}", stderr(&again));
    assert_eq!(contents(&gateway), before);
}

#[test]
fn quickstart_does_the_whole_job_and_makes_nothing_twice() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("lab");
    let listen = free_address().to_string();
    let arguments = ["quickstart", "--once", "--data", data.to_str().unwrap(), "--listen", &listen];
    let first = certgate(&arguments);
    expect_success(&first, "quickstart");
    let told = stdout(&first);
    assert!(told.contains("all 15 steps passed"), "{told}");
    assert!(!told.contains("FAILED"), "{told}");
    let before = contents(&data);
    let second = certgate(&arguments);
    expect_success(&second, "quickstart again");
    assert!(stdout(&second).contains("nothing was created"), "{}", stdout(&second));
    let after = contents(&data);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, bytes) in before.iter().filter(|(name, _)| *name != "certgate.checkpoint") {
        // The store writes down that it was opened.
        assert!(name == "certgate.redb" || after[name] == *bytes, "{name} changed");
    }
    // The CRL that follows the last revocation by seconds may be the second one's to make; nothing else is done.
    let [before, after] = [&before, &after].map(checkpoint);
    assert_eq!(before["audit"], after["audit"]);
    let number = |it: &serde_json::Value, issuer| it["crls"][issuer]["number"].as_u64().unwrap();
    assert_eq!(number(&before, "root"), number(&after, "root"));
    let made = number(&after, "issuing") - number(&before, "issuing");
    assert!(made == 0 && before == after || made == 1, "{before} {after}");
}

/// What the checkpoint says, without its MAC.
fn checkpoint(files: &BTreeMap<String, Vec<u8>>) -> serde_json::Value {
    let line = files["certgate.checkpoint"].split(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice(line).unwrap()
}

#[test]
fn init_fills_the_directory_that_a_configuration_names() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("certgate.toml");
    fs::write(
        &config,
        "data = \"state/here\"\npublic-url = \"http://pki.example\"\n[keys]\nkek = { file = \"keys/kek.key\" }\n\
         [profile.device]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"ticket\"]\n",
    )
    .unwrap();
    fs::create_dir(root.path().join("keys")).unwrap();
    let config = config.to_str().unwrap();
    let made = certgate(&["-o", "json", "init", "--key", "p-256", "--config", config]);
    expect_success(&made, "init --config");
    let told: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(told["data"], root.path().join("state/here").to_str().unwrap());
    assert!(!stderr(&made).contains("lies in the data directory"), "{}", stderr(&made));
    assert!(
        root.path().join("state/here/certgate.redb").exists() && root.path().join("keys/kek.key").exists()
    );
    assert!(!root.path().join("state/here/kek.key").exists());
    assert_eq!(code(&certgate(&["init", "--key", "p-256", "--config", config])), 4);
}

#[test]
fn a_profile_under_the_root_is_refused_before_it_could_serve_nobody() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("certgate.toml");
    let text = "public-url = \"http://pki.example\"\n[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\nissuer = \"root\"\n";
    fs::write(&config, text).unwrap();
    let made = certgate(&["init", "--key", "p-256", "--config", config.to_str().unwrap()]);
    assert_ne!(code(&made), 0);
    assert!(stderr(&made).contains("profile.device.issuer: \"root\" is a root"), "{}", stderr(&made));
}

#[test]
fn a_newcomer_is_told_once_where_the_key_lies() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let made = certgate(&[
        "init",
        "--key",
        "p-256",
        "--data",
        data.to_str().unwrap(),
        "--url",
        "http://pki.example",
    ]);
    expect_success(&made, "init");
    assert!(stderr(&made).contains("the key-encryption key lies in the data directory"), "{}", stderr(&made));
    let checked = certgate(&["check-config", data.join("certgate.toml").to_str().unwrap()]);
    expect_success(&checked, "check-config");
    assert!(!stdout(&checked).contains("warning:"), "{}", stdout(&checked));
}

#[test]
fn check_config_names_the_key_of_each_mistake() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("certgate.toml");
    let cases = [
        ("[profile.a]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = []\n", "profile.a.challenge"),
        ("[crl]\nlife-time = 3\n", "crl.life-time"),
        ("[profile.a]\nsubject = \"CN=$NO_SUCH$\"\nchallenge = [\"ticket\"]\n", "profile.a.subject"),
        ("[scep]\ndefault-profile = \"nobody\"\n", "scep.default-profile"),
    ];
    for (text, key) in cases {
        fs::write(&config, format!("public-url = \"http://pki.example\"\n{text}")).unwrap();
        let output = certgate(&["check-config", config.to_str().unwrap()]);
        assert_eq!(code(&output), 2, "{text}");
        assert!(stderr(&output).contains(key), "{key} in {}", stderr(&output));
    }
    assert_eq!(code(&certgate(&["check-config", "/nonexistent.toml"])), 2);
}

#[test]
fn init_makes_no_certificates_that_lead_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let init = |options: &[&str]| {
        let output =
            certgate(&[&["init", "--key", "p-256", "--data", data.to_str().unwrap()], options].concat());
        (code(&output), stderr(&output))
    };
    for options in
        [&["--listen", "0.0.0.0:80"][..], &["--listen", "[::]:80"], &["--url", "http://0.0.0.0:8080"]]
    {
        let (code, said) = init(options);
        assert!(code == 2 && said.contains("--url http://NAME"), "{options:?}: {said}");
    }
    let (code, said) = init(&["--url", "https://pki.example"]);
    assert!(code == 2 && said.contains("public-url: \"https://pki.example\""), "{said}");
    assert!(!said.contains("(line"), "nobody wrote that file: {said}");
    assert!(!data.exists());
    assert_eq!(init(&["--listen", "0.0.0.0:80", "--url", "http://pki.example"]).0, 0);
}

#[test]
fn check_config_prints_its_findings_as_json() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("certgate.toml");
    let report = |text: &str| {
        fs::write(&config, format!("public-url = \"http://pki.example\"\n{text}")).unwrap();
        let output = certgate(&["-o", "json", "check-config", config.to_str().unwrap()]);
        (code(&output), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let profile = "[profile.a]\nsubject = \"CN=$DEVICE_ID$\"\nchallenge = [\"unbound-ticket\"]\n";
    let (code, usable) = report(profile);
    assert_eq!((code, &usable["usable"], &usable["profiles"]), (0, &json!(true), &json!(["a"])));
    assert_eq!(
        (&usable["mistakes"], &usable["warnings"][0]["key"]),
        (&json!([]), &json!("profile.a.challenge"))
    );
    let (code, broken) = report("[crl]\nlife-time = 3\n");
    assert_eq!((code, &broken["usable"]), (2, &json!(false)));
    let mistake = &broken["mistakes"][0];
    assert_eq!((&mistake["key"], &mistake["line"]), (&json!("crl.life-time"), &json!(3)));
    assert!(mistake["problem"].as_str().unwrap().contains("lifetime-hours"), "{mistake}");
}

#[test]
fn a_directory_without_a_gateway_is_not_served() {
    let root = tempfile::tempdir().unwrap();
    let output = certgate(&["serve", "--data", root.path().to_str().unwrap()]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("certgate init --data"), "{}", stderr(&output));
    assert!(http_get(free_address(), "/livez").is_none());
}

#[test]
fn manual_pages_are_written_to_a_directory_that_is_made() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("share/man/man1");
    expect_success(&certgate(&["man", "--out", directory.to_str().unwrap()]), "man");
    assert!(contents(&directory)["certgate-scep-enrol.1"].starts_with(b".ie"));
}
