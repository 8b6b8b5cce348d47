use super::*;

fn parse(text: &str) -> Config {
    let mut document = Document::parse(text);
    let config = Config::read(&mut document);
    assert!(document.mistakes.is_empty(), "{:#?}", document.mistakes);
    config
}

/// Every key path of a table, arrays and scalars as leaves.
fn leaves(prefix: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                leaves(&format!("{prefix}{key}."), value, into);
            }
        }
        _ => into.push((prefix.trim_end_matches('.').to_owned(), value.to_string())),
    }
}

#[test]
fn empty_file_is_the_defaults() {
    assert_eq!(parse(""), Config::default());
}

#[test]
fn example_gives_every_key_its_default() {
    let mut example = parse(Config::documented_example());
    let device = example.profile.remove(&"device".parse::<ProfileName>().unwrap()).unwrap();
    let issuer = example.issuer.remove(&"issuing".parse::<IssuerId>().unwrap());
    assert_eq!(issuer, Some(IssuerOptions::default()));
    assert!(example.profile.is_empty() && example.challenge_files.is_empty());
    assert!(example.requests_per_minute.is_empty() && example.approval_webhooks.is_empty());
    assert!(example.renewal_issuers.is_empty());
    assert_eq!(example, Config::default());
    let minimal = parse("[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\n");
    assert_eq!(Some(&device), minimal.profile.values().next());
}

#[test]
fn example_names_every_key() {
    let config = Config {
        profile: parse("[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\n").profile,
        issuer: parse("[issuer.issuing]\n").issuer,
        ..Config::default()
    };
    let mut expected = Vec::new();
    leaves("", &Value::try_from(&config).unwrap(), &mut expected);
    let mut written = Vec::new();
    leaves("", &Config::documented_example().parse::<toml::Table>().unwrap().into(), &mut written);
    expected.sort();
    written.sort();
    assert_eq!(written, expected);
    for unset in [
        "public-url",
        "period-hours",
        "secondary-url",
        "default-profile",
        "signature-profile",
        "encryption-profile",
        "static-challenge-files",
        "approval-webhook",
        "ca-certificate-files",
        "ca-file",
        "proxy",
        "tenant",
        "client-id",
        "client-secret",
        "include-ca",
        "reply-cipher",
        "sha1",
        "triple-des",
        "des",
        "md5",
        "requests-per-minute",
        "on-ticket-reuse",
        "ocsp-signer-key",
        "renewal-issuers",
    ] {
        assert!(Config::documented_example().contains(&format!("\n# {unset} = ")), "{unset}");
    }
}

#[test]
fn starter_file_reads_back_whatever_its_paths_hold() {
    let text = Starter {
        data: Path::new("/srv/a \"b\"\\c"),
        public_url: "http://pki.lab.example",
        device: "127.0.0.1:8080".parse().unwrap(),
        admin: "[::1]:8443".parse().unwrap(),
        ops: "127.0.0.1:9090".parse().unwrap(),
        subject: "CN=$DEVICE_ID$,O=\"Lab, Inc\"",
    }
    .render();
    let config = parse(&text);
    assert_eq!(config.data, Path::new("/srv/a \"b\"\\c"));
    assert_eq!(config.listen.admin, "[::1]:8443".into());
    assert_eq!(config.profile.values().next().unwrap().subject, "CN=$DEVICE_ID$,O=\"Lab, Inc\"");
}

#[test]
fn what_is_no_part_of_a_version_is_kept_out_of_the_profile() {
    let config = parse(
        "[profile.a]\nsubject = \"CN=x\"\nstatic-challenge-files = [\"one\", \"two\"]\nrequests-per-minute = 60\n",
    );
    assert_eq!(config.challenge_files["a"], ["one", "two"]);
    assert_eq!(config.requests_per_minute["a"], 60);
    let mut document = Document::parse("[profile.a]\nsubject = \"CN=x\"\nstatic-challenge-files = 7\n");
    Config::read(&mut document);
    assert_eq!(
        document.mistakes[0].to_string(),
        "profile.a.static-challenge-files (line 3): expected a list of strings"
    );
}
