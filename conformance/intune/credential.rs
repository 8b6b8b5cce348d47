//! The application's certificate in place of a secret, and the probe of the whole set-up.

use std::{fs, os::unix::fs::PermissionsExt};

use certgate::{
    adapters::{
        intune::{ClientCertificate, ClientCredential, CredentialError},
        keys::software::{SoftwareSigner, generate_pkcs8, pkcs8_to_pem},
    },
    domain::access::Operate,
    service::health::{Check, CheckResult},
    types::{KeyAlgorithm, Secret},
    wire::x509::Certificate,
};

use crate::{
    PROFILE, challenge,
    common::{Client, World, self_signed},
    fake::{Action, CLIENT_ID, Fake, Fault, TENANT},
    process::Server,
    world, world_with,
};

fn pair(algorithm: KeyAlgorithm) -> (Certificate, Secret) {
    let pkcs8 = generate_pkcs8(algorithm).unwrap();
    let signer = SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap();
    (self_signed(&signer, "CN=certgate for Intune"), pkcs8)
}

/// A gateway with a certificate that the fake trusts.
fn with_certificate() -> (World, Fake) {
    let (certificate, pkcs8) = pair(KeyAlgorithm::Rsa2048);
    let credential = ClientCertificate::new(&certificate, &pkcs8).unwrap();
    let (world, fake) =
        world_with(PROFILE, |settings| settings.credential = ClientCredential::Certificate(credential));
    fake.trust(&certificate);
    (world, fake)
}

fn probe(world: &World) -> Vec<Check> {
    let report = world.gateway.probe(&world.authed::<Operate>()).unwrap();
    assert_eq!(report.works, report.checks.iter().all(|check| check.result == CheckResult::Pass));
    report.checks
}

fn failed(checks: &[Check]) -> Vec<&str> {
    let failed = checks.iter().filter(|check| check.result == CheckResult::Fail);
    failed
        .inspect(|check| assert!(!check.hint.is_empty(), "{check:?}"))
        .map(|check| check.name.as_str())
        .collect()
}

#[test]
fn a_certificate_does_what_a_secret_does() {
    let (world, fake) = with_certificate();
    let client = Client::new();
    client.enrol(&world, "phones", &client.csr("CN=x", Some(&challenge()))).certificate();
    assert_eq!(fake.count(Action::Token), 2, "one assertion for each token");
    assert_eq!(fake.deviations(), Vec::<String>::new());
    let health = world.gateway.health();
    let check = health.checks.iter().find(|check| check.name == "intune/certificate").unwrap();
    assert_eq!(check.result, CheckResult::Pass, "{check:?}");
    world.clock.advance(std::time::Duration::from_secs(10 * 365 * 86_400 - 20 * 86_400));
    let health = world.gateway.health();
    let check = health.checks.iter().find(|check| check.name == "intune/certificate").unwrap();
    assert!(check.result == CheckResult::Warn && check.detail.starts_with("ends at"), "{check:?}");
}

#[test]
fn a_certificate_that_entra_does_not_know_is_named() {
    let (world, fake) = with_certificate();
    fake.trust(&pair(KeyAlgorithm::Rsa2048).0);
    let checks = probe(&world);
    assert_eq!(failed(&checks), ["intune/token-for-graph", "intune/token-for-intune"]);
    assert!(
        checks[0].detail.contains("AADSTS700027") && checks[0].detail.contains("intune.client-certificate")
    );
}

#[test]
fn only_an_rsa_key_with_its_own_certificate_is_taken() {
    let (rsa, pkcs8) = pair(KeyAlgorithm::Rsa2048);
    assert!(ClientCertificate::new(&rsa, &pkcs8).is_ok());
    let (curve, curve_key) = pair(KeyAlgorithm::P256);
    assert_eq!(ClientCertificate::new(&curve, &curve_key).unwrap_err(), CredentialError::NotRsa);
    let (other, _) = pair(KeyAlgorithm::Rsa2048);
    assert_eq!(ClientCertificate::new(&other, &pkcs8).unwrap_err(), CredentialError::OtherKey);
}

#[test]
fn a_probe_asks_anew_and_consumes_nothing() {
    let (world, fake) = world();
    let client = Client::new();
    client.enrol(&world, "phones", &client.csr("CN=x", Some(&challenge()))).certificate();
    let before = fake.actions().len();
    let checks = probe(&world);
    assert_eq!(fake.actions()[before..], [Action::Token, Action::Discovery, Action::Token]);
    assert_eq!(failed(&checks), Vec::<&str>::new(), "{checks:#?}");
    let told = checks.iter().map(|check| check.detail.as_str()).collect::<Vec<_>>().join("\n");
    for part in [
        CLIENT_ID,
        "by its client secret",
        "StatelessScepRequestValidationService",
        "StatelessPkiConnectorService",
        "scep_challenge_provider",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(fake.deviations(), Vec::<String>::new());
}

#[test]
fn a_probe_says_what_does_not_work() {
    let (world, fake) = world();
    fake.forbid();
    assert_eq!(failed(&probe(&world)), ["intune/permission"]);
    fake.fail(Action::Discovery, [Fault::Status(403, None)]);
    let checks = probe(&world);
    assert_eq!(failed(&checks), ["intune/services", "intune/permission"]);
    assert!(
        checks[1].detail.contains("HTTP 403") && checks[1].detail.contains("client-request-id"),
        "{checks:#?}"
    );
    fake.fail(Action::Token, [Fault::Close, Fault::Status(401, None)]);
    assert_eq!(failed(&probe(&world)), ["intune/token-for-graph", "intune/token-for-intune"]);
}

#[test]
fn a_failed_probe_leaves_the_tokens_that_are_kept() {
    let (world, fake) = world();
    let client = Client::new();
    client.enrol(&world, "phones", &client.csr("CN=x", Some(&challenge()))).certificate();
    fake.fail(Action::Token, [Fault::Status(500, None), Fault::Status(500, None)]);
    assert_eq!(failed(&probe(&world)).len(), 2);
    let other = Client::new();
    other.enrol(&world, "phones", &other.csr("CN=y", Some(&challenge()))).certificate();
}

#[test]
fn a_served_gateway_is_probed_by_its_doctor() {
    let (fake, (certificate, pkcs8)) = (Fake::start(), pair(KeyAlgorithm::Rsa2048));
    fake.trust(&certificate);
    let configuration = format!(
        "[intune]\ntenant = \"{TENANT}\"\nclient-id = \"{CLIENT_ID}\"\n\
         client-certificate = \"intune.pem\"\nclient-key = \"intune.key\"\n\
         login-url = \"{0}\"\ngraph-url = \"{0}\"\nresource-url = \"https://api.example\"\nservice-hosts = [\"{1}\"]\n\
         [profile.phones]\nsubject = \"CN=$DEVICE_ID$\"\nmatch = \"claim\"\nchallenge = [\"intune\"]\n",
        fake.url(),
        fake.address(),
    );
    let mut server = Server::initialise(&["--key", "p-256"], &configuration);
    fs::write(server.data().join("intune.pem"), certificate.to_pem()).unwrap();
    let key = server.data().join("intune.key");
    fs::write(&key, pkcs8_to_pem(&pkcs8).unwrap().as_bytes()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    server.start();
    let output = server.run(&["doctor", "--probe"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("intune/token-for-intune") && told.contains("requests are validated at"), "{told}");
    assert!(told.contains("intune/certificate") && told.contains("valid until"), "{told}");
    assert_eq!(fake.count(Action::Validate), 0);
    fake.forbid();
    let output = server.run(&["doctor", "--probe"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("no scep_challenge_provider"));
    assert!(server.run(&["doctor"]).status.success(), "without it nobody is asked");
    assert_eq!(fake.deviations(), Vec::<String>::new());
}
