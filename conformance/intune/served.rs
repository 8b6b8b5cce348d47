//! The whole of it in the real process, as its configuration file says; and what its log says of it.

use crate::{
    fake::{Action, CLIENT_ID, CLIENT_SECRET, Fake, TENANT},
    process::Server,
};

const CHALLENGE: &str = "MIICsealedByIntuneAndReadableByItAlone==";

#[test]
fn a_device_enrols_by_intune_and_no_secret_is_in_the_log() {
    let fake = Fake::start();
    let configuration = format!(
        "[intune]\ntenant = \"{TENANT}\"\nclient-id = \"{CLIENT_ID}\"\nclient-secret = \"intune.secret\"\n\
         login-url = \"{0}/\"\ngraph-url = \"{0}\"\nresource-url = \"https://api.example\"\n\
         service-hosts = [\"{1}\"]\n\
         [log]\nlevel = \"trace\"\n\
         [profile.phones]\nsubject = \"CN=$DEVICE_ID$\"\nmatch = \"claim\"\nchallenge = [\"intune\"]\nallow-unregistered = true\n",
        fake.url(),
        fake.address(),
    );
    let mut server = Server::initialise(&["--key", "p-256"], &configuration);
    server.write_secret("intune.secret", CLIENT_SECRET);
    server.write_secret("challenge", CHALLENGE);
    server.start();
    let challenge = server.data().join("challenge");
    let url = server.scep_url("phones");
    let file = |name: &str| server.scratch().join(name).to_str().unwrap().to_owned();
    let arguments = [
        "scep",
        "enrol",
        "--url",
        &url,
        "--subject",
        "CN=phone-1",
        "--challenge-file",
        challenge.to_str().unwrap(),
    ];
    let (key, certificate) = (file("phone.key"), file("phone.pem"));
    server.json(&[&arguments[..], &["--key", &key, "--cert", &certificate]].concat());
    assert_eq!((fake.count(Action::Validate), fake.count(Action::Success)), (1, 1));
    assert_eq!(fake.deviations(), Vec::<String>::new());

    let text = |arguments: &[&str]| String::from_utf8(server.run(arguments).stdout).unwrap();
    let doctor = text(&["doctor"]);
    assert!(doctor.contains("intune") && doctor.contains("answered at"), "{doctor}");
    let jobs = text(&["queue", "jobs"]);
    assert!(jobs.contains("intune/revocations"), "{jobs}");

    let log = server.log();
    assert!(log.contains("Intune was asked"), "{log}");
    let tokens = fake.tokens();
    assert!(!tokens.is_empty());
    for secret in tokens.iter().map(String::as_str).chain([CLIENT_SECRET, CHALLENGE, "s3cr3t"]) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
