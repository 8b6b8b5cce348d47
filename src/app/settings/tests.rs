use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::service::{
    OcspSettings, SystemSettings,
    challenge::{NdesSettings, WebhookSettings},
};

const PROFILE: &str = "[profile.device]\nsubject = \"CN=$DEVICE_ID$\"\n";

fn parse(text: &str) -> Result<(Settings, Vec<Finding>), ConfigErrors> {
    Settings::parse(Path::new("/etc/certgate/certgate.toml"), text)
}

/// The one mistake of `text`.
fn mistake(text: &str) -> String {
    let mistakes = parse(text).unwrap_err().mistakes;
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    mistakes[0].to_string()
}

/// A directory with a configuration file and challenge files: (name, content, mode).
fn with_challenges(
    files: &[(&str, &str, u32)],
    config: &str,
) -> Result<(Settings, Vec<Finding>), ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    for (name, content, mode) in files {
        fs::write(dir.path().join(name), content).unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(*mode)).unwrap();
    }
    let path = dir.path().join("certgate.toml");
    fs::write(&path, config).unwrap();
    Settings::load(&path)
}

#[test]
fn defaults_are_those_that_the_services_have() {
    let (settings, warnings) = parse(PROFILE).unwrap();
    let service = GatewaySettings::default();
    let ocsp = |ocsp: OcspSettings| (ocsp.good, ocsp.hold, ocsp.revoked, ocsp.cache_entries);
    let system = |system: SystemSettings| {
        (system.message, system.ocsp_signer, system.trusted_responder, system.server_tls)
    };
    assert_eq!(ocsp(settings.gateway.ocsp), ocsp(service.ocsp));
    assert_eq!(system(settings.gateway.system), system(service.system));
    assert_eq!(settings.gateway.repeat_window, service.repeat_window);
    let ndes = |ndes: &NdesSettings| (ndes.password_bytes, ndes.password_lifetime, ndes.max_passwords);
    assert_eq!(ndes(&settings.gateway.ndes), ndes(&service.ndes));
    let webhook = |webhook: WebhookSettings| (webhook.ticket_lifetime, webhook.register_devices);
    assert_eq!(webhook(settings.gateway.challenge_webhook), webhook(service.challenge_webhook));
    assert_eq!(settings.gateway.server_names, service.server_names);
    assert_eq!(settings.data, Path::new("/etc/certgate/data"));
    assert_eq!(settings.listen.socket, Path::new("/etc/certgate/data/certgate.sock"));
    assert_eq!(settings.kek, KekSource::File("/etc/certgate/kek.key".into()));
    assert_eq!(settings.public_url, "http://127.0.0.1:8080");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!(warnings[0].key, "public-url");
}

#[test]
fn every_mistake_is_named_by_its_key() {
    for (text, start) in [
        ("[listen]\ndevice = \"localhost\"", "listen.device (line 2): \"localhost\" is not ADDRESS:PORT"),
        ("[listen]\ndevice = \"off\"", "listen.device (line 2): cannot be off"),
        ("[ndes]\npassword-bytes = 4", "ndes.password-bytes (line 2): 4 is not in 8 to 32"),
        ("[ndes]\nmax-passwords = 10001", "ndes.max-passwords (line 2): 10001 is not in 0 to 10000"),
        (
            "[issuer.issuing]\nocsp-signer = \"ca\"\nocsp-signer-key = \"p-256\"",
            "issuer.issuing.ocsp-signer-key (line 3): is a delegate's, and ocsp-signer is \"ca\"",
        ),
        (
            "[issuer.issuing]\nocsp-presign = true\nocsp-require-signed-requests = true",
            "issuer.issuing.ocsp-presign (line 2): and ocsp-require-signed-requests exclude each other",
        ),
        (
            "[issuer.issuing]\nocsp-signer = \"nobody\"",
            "issuer.issuing.ocsp-signer (line 2): unknown variant",
        ),
        (
            "[challenge-webhook]\nticket-minutes = 0",
            "challenge-webhook.ticket-minutes (line 2): 0 is not in 1",
        ),
        (
            "[listen]\ntrusted-proxies = [\"proxy.example\"]",
            "listen.trusted-proxies (line 2): \"proxy.example\" is no address",
        ),
        ("[limits]\nlock-out-minutes = 0", "limits.lock-out-minutes (line 2): 0 is not in 1 to 1440"),
        (
            "[profile.a]\nsubject = \"CN=x\"\nrequests-per-minute = \"many\"",
            "profile.a.requests-per-minute (line 3): expected a number",
        ),
        (
            "[profile.a]\nsubject = \"CN=x\"\nrequests-per-minute = 99999999",
            "profile.a.requests-per-minute (line 3): 99999999 is not in 0 to 10000000",
        ),
        ("[listen]\nadmin = [\"127.0.0.1:1\", \"fd:\"]", "listen.admin (line 2): \"fd:\""),
        (
            "[listen]\nops = \"127.0.0.1:8443\"",
            "listen.ops (line 2): 127.0.0.1:8443 is taken by listen.admin",
        ),
        (
            "public-url = \"https://pki.example\"",
            "public-url (line 1): \"https://pki.example\" must be http://",
        ),
        ("public-url = \"pki.example\"", "public-url (line 1):"),
        ("public-url = \"http://pki.example/?x\"", "public-url (line 1):"),
        ("[listen]\ndevice = \"0.0.0.0:80\"", "public-url: must be set"),
        ("[listen]\ndevice = \"fd:device\"", "public-url: must be set"),
        ("[tls]\nnames = []", "tls.names (line 2):"),
        ("[tls]\nnames = [\"a b\"]", "tls.names (line 2): \"a b\""),
        ("[tls]\ncertificate-days = 400", "tls.certificate-days (line 2): 400 is not in 1 to 397"),
        (
            "[keys]\nkek = { hsm = \"x\" }",
            "keys.kek.hsm (line 2): expected { file = \"PATH\" }, { credential =",
        ),
        ("[keys]\nkek = \"file\"", "keys.kek (line 2): expected { file = \"PATH\" }, { credential ="),
        ("[keys]\nkek = \"kek.key\"", "keys.kek (line 2): expected { file = \"PATH\" }, { credential ="),
        ("[keys]\nkek = {}", "keys.kek (line 2): expected { file = \"PATH\" }, { credential ="),
        (
            "[keys]\nkek = { file = \"a\", credential = \"b\" }",
            "keys.kek (line 2): expected { file = \"PATH\" }, { credential =",
        ),
        ("[keys]\nkek = { file = 3 }", "keys.kek.file (line 2): invalid type: integer `3`"),
        ("[keys]\nkek = { file = \"\" }", "keys.kek (line 2): names nothing"),
        ("[keys]\nkek = { passphrase-credential = \"\" }", "keys.kek (line 2): names nothing"),
        (
            "[scep]\ndefault-profile = \"device\"",
            "scep.default-profile (line 2): there is no profile \"device\"",
        ),
        ("[scep]\nmax-message-bytes = 1000", "scep.max-message-bytes (line 2):"),
        ("[scep]\nmax-message-bytes = 262145", "scep.max-message-bytes (line 2):"),
        ("[scep]\nmessage-key-days = 0", "scep.message-key-days (line 2):"),
        ("[scep]\nrepeat-window-hours = 0", "scep.repeat-window-hours (line 2):"),
        ("[ocsp]\ngood-validity-seconds = 700000", "ocsp.good-validity-seconds (line 2):"),
        ("[ocsp]\nhold-validity-seconds = 601", "ocsp.hold-validity-seconds (line 2): is over"),
        ("[ocsp]\nrevoked-validity-seconds = 1", "ocsp.revoked-validity-seconds (line 2):"),
        ("[ocsp]\nsigner-days = 91", "ocsp.signer-days (line 2):"),
        ("[ocsp]\ncache-entries = 1", "ocsp.cache-entries (line 2):"),
        ("[crl]\nlifetime-hours = 23", "crl.lifetime-hours (line 2): 23 is not in 24 to 10950"),
        ("[crl]\nlifetime-hours = 24\nperiod-hours = 24", "crl.period-hours (line 3): must be less"),
        ("[crl]\npartitions = 1", "crl.partitions (line 2): one partition divides nothing"),
        ("[crl]\ndelta-lifetime-hours = 169", "crl.delta-lifetime-hours (line 2): must not be over"),
        ("[crl]\nsecondary-url = \"https://a\"", "crl.secondary-url (line 2): \"https://a\" must be http://"),
        ("[crl.issuer.root]\nlifetime-hours = 1", "crl.issuer.root.lifetime-hours (line 2): 1 is not in"),
        ("[crl.issuer.Root]\nlifetime-hours = 24", "crl.issuer.Root (line 1): "),
        ("[crl]\ndebounce-seconds = 60", "crl.debounce-seconds (line 2): 60 is not in 0 to 59"),
        ("[limits]\nworkers = 2000", "limits.workers (line 2):"),
        ("[limits]\nconnections = 1", "limits.connections (line 2):"),
        ("[limits]\nheader-timeout-seconds = 0", "limits.header-timeout-seconds (line 2):"),
        ("[limits]\nbody-timeout-seconds = -1", "limits.body-timeout-seconds (line 2):"),
        ("[log]\nlevel = \"certgate=loud\"", "log.level (line 2):"),
        ("[log]\nlevel = \"warning\"", "log.level (line 2):"),
        ("[log]\nlevel = \"inof,hyper=debug\"", "log.level (line 2):"),
        ("[log]\nformat = \"xml\"", "log.format (line 2):"),
        (
            "[profile.Device]\nsubject = \"CN=x\"",
            "profile.Device (line 1): \"Device\" is not a valid profile name",
        ),
        ("[profile.a]\nchallenge = []\nsubject = \"CN=x\"", "profile.a.challenge (line 2):"),
        ("[profile.a]\nsubject = \"CN=x\"\nvalidity = 7", "profile.a.validity (line 3): unknown field"),
        ("[profile.a]\nsubject = 7\nvalidity-days = 7", "profile.a.subject (line 2): invalid type"),
        ("[profile.a]\nvalidity-days = 7", "profile.a (line 1): missing field `subject`"),
        (
            "[profile.a]\nchallenge = [\"static\"]\nsubject = \"CN=x\"",
            "profile.a.static-challenge-files (line 1): is missing",
        ),
    ] {
        let found = mistake(text);
        assert!(found.starts_with(start), "{text}\n  gives    {found}\n  expected {start}");
    }
}

#[test]
fn profiles_by_key_usage_must_be_there_and_of_one_issuer() {
    let other = "[profile.s]\nsubject = \"CN=x\"\nissuer = \"other\"\n";
    let default = "[scep]\ndefault-profile = \"device\"\n";
    for (scep, named, problem) in [
        ("", "device", "needs scep.default-profile"),
        (default, "no", "there is no profile \"no\""),
        (default, "s", "\"s\" has the issuer \"other\", and \"device\" has \"issuing\""),
    ] {
        for key in ["signature-profile", "encryption-profile"] {
            let found = mistake(&format!("{PROFILE}{other}{scep}[ndes]\n{key} = \"{named}\"\n"));
            assert!(found.starts_with(&format!("ndes.{key} (line ")) && found.contains(problem), "{found}");
        }
    }
}

#[test]
fn an_approval_webhook_needs_its_profile_its_url_and_its_secret() {
    const LONG: (&str, &str, u32) = ("long", "0123456789abcdef\n", 0o600);
    const SHORT: (&str, &str, u32) = ("short", "12345678\n", 0o600);
    let profile = |rest: &str| format!("[profile.a]\nsubject = \"CN=$DEVICE_ID$\"\n{rest}\n");
    let asking_with = |url: &str, files: &str, rest: &str| {
        let webhook = format!("approval-webhook = {{ url = \"{url}\", secret-files = [{files}]{rest} }}");
        with_challenges(&[LONG, SHORT], &profile(&format!("approval = \"webhook\"\n{webhook}")))
    };
    let asking = |url: &str, files: &str| asking_with(url, files, "");
    let limited = |rest: &str| asking_with("https://approve.example/x", "\"long\"", rest);
    let (settings, _) = asking("https://approve.example/x", "\"long\"").unwrap();
    let webhook = settings.gateway.approval_webhooks.values().next().unwrap();
    assert_eq!((webhook.destination.as_str(), webhook.secrets.len()), ("approval-a", 1));
    let destination = &settings.outbound.destinations[0];
    assert_eq!(
        (destination.name.as_str(), destination.limits.total),
        ("approval-a", settings.outbound.limits.total)
    );
    assert_eq!(webhook.remember_denials, Duration::from_secs(600));
    let (settings, _) = limited(", timeout-seconds = 2, denial-minutes = 0").unwrap();
    let limits = settings.outbound.destinations[0].limits;
    assert_eq!((limits.total, limits.connect), (Duration::from_secs(2), Duration::from_secs(2)));
    assert!(settings.gateway.approval_webhooks.values().next().unwrap().remember_denials.is_zero());
    for (loaded, problem) in [
        (asking("http://approve.example/x", "\"long\""), "url is not https://"),
        (asking("https://approve.example/x", ""), "secret-files names one file"),
        (asking("https://approve.example/x", "\"short\""), "a secret has at least 16"),
        (with_challenges(&[], &profile("approval = \"webhook\"")), "is missing, and approval is \"webhook\""),
        (with_challenges(&[], &profile("approval-webhook = 7")), "expected { url ="),
        (limited(", timeout-seconds = 0"), "timeout-seconds: 0 is not in 1 to 120"),
        (limited(", denial-minutes = 1441"), "denial-minutes: 1441 is not in 0 to 1440"),
        (limited(", time-out = 2"), "expected { url ="),
        (limited(", timeout-seconds = \"2\""), "expected { url ="),
    ] {
        let errors = loaded.unwrap_err().to_string();
        assert!(errors.contains("profile.a.approval-webhook") && errors.contains(problem), "{errors}");
    }
    let unused = "approval-webhook = { url = \"https://a.example\", secret-files = [\"long\"] }";
    let (_, warnings) = with_challenges(&[LONG], &profile(unused)).unwrap();
    assert!(warnings.iter().any(|warning| warning.key == "profile.a.approval-webhook"), "{warnings:?}");
}

#[test]
fn other_cas_are_named_by_files_that_hold_cas() {
    const KEY: &str = "profile.a.renewal-issuers";
    let pem = |der: &[u8]| crate::wire::x509::Certificate::from_der(der).unwrap().to_pem();
    let ca = pem(include_bytes!("../../../fixtures/x509/ca.der"));
    let leaf = include_str!("../../../fixtures/x509/device.pem");
    let files = [("ca.pem", ca.as_str(), 0o644), ("leaf.pem", leaf, 0o644)];
    let with = |value: &str| {
        let profile = format!("[profile.a]\nsubject = \"CN=$DEVICE_ID$\"\nrenewal-issuers = {value}\n");
        with_challenges(&files, &profile)
    };
    let (settings, warnings) = with("{ files = [\"ca.pem\"], grace-days = 3 }").unwrap();
    let issuers = settings.gateway.renewal_issuers.values().next().unwrap();
    assert_eq!((issuers.certificates.len(), issuers.grace.as_secs()), (1, 3 * 86_400));
    let warned = |warnings: &[Finding], text: &str| {
        warnings.iter().any(|warning| warning.key == KEY && warning.to_string().contains(text))
    };
    assert!(warned(&warnings, "names no crl-files"), "{warnings:?}");
    let (settings, warnings) = with("{ files = [\"ca.pem\"], crl-files = [\"old.crl\"] }").unwrap();
    assert!(settings.gateway.renewal_issuers.values().next().unwrap().crls[0].ends_with("/old.crl"));
    assert!(
        warned(&warnings, "old.crl cannot be read") && warned(&warnings, "none of crl-files"),
        "{warnings:?}"
    );
    for (value, problem) in [
        ("{ files = [\"leaf.pem\"] }", "is no CA's"),
        ("{ files = [\"gone.pem\"] }", "cannot read gone.pem"),
        ("{ files = [] }", "files names no file"),
        ("{ files = [\"ca.pem\"], grace-days = 366 }", "366 is not in 0 to 365"),
        ("{ files = [\"ca.pem\"], crls = [\"x\"] }", "expected { files ="),
        ("[\"ca.pem\"]", "expected { files ="),
    ] {
        let errors = with(value).unwrap_err().to_string();
        assert!(errors.contains(KEY) && errors.contains(problem), "{value}: {errors}");
    }
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let errors =
        parse("nonsense = 1\n[listen]\ndevice = 7\nops = \"x\"\n[crl]\ndebounce-seconds = 99\n").unwrap_err();
    let keys: Vec<_> = errors.mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
    for key in ["nonsense", "listen.device", "listen.ops", "crl.debounce-seconds"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert!(
        errors.to_string().contains("\n  listen.device (line 3): expected a string or a list of strings")
    );
}

#[test]
fn domain_mistakes_have_the_whole_key_path() {
    let found = parse("[profile.a]\nsubject = \"\"\n").unwrap_err().mistakes;
    assert!(found.iter().any(|finding| finding.key == "profile.a.subject"), "{found:#?}");
}

#[test]
fn the_proxy_and_the_authorities_are_checked() {
    for (line, problem) in [
        ("proxy = \"https://proxy.example\"", "outbound.proxy (line 2): is not a URL of the form"),
        ("proxy = \"http://user:pass@proxy.example\"", "outbound.proxy (line 2): is not a URL of the form"),
        ("ca-file = \"there-is-none.pem\"", "outbound.ca-file (line 2): "),
        ("timeout-seconds = 0", "outbound.timeout-seconds (line 2): 0 is not in 1 to 120"),
    ] {
        let found = mistake(&format!("[outbound]\n{line}\n"));
        assert!(found.starts_with(problem) && !found.contains("pass@"), "{found}");
    }
    let (settings, _) =
        parse("[outbound]\nproxy = \"http://proxy.example\"\n[limits]\nworkers = 8\n").unwrap();
    assert_eq!(settings.outbound.http.proxy, Some(("proxy.example".to_owned(), 3128)));
    assert_eq!((settings.outbound.limits.places, settings.outbound.http.enrolment_places), (4, 6));
}

#[test]
fn unknown_keys_are_refused_in_every_section() {
    for section in ["listen", "tls", "keys", "scep", "ocsp", "crl", "limits", "outbound", "intune", "log"] {
        let found = mistake(&format!("[{section}]\nsurprise = 1\n"));
        assert!(found.starts_with(&format!("{section}.surprise (line 2): unknown field")), "{found}");
    }
    let found = mistake(&format!("{PROFILE}[profile.device.legacy]\nmd4 = true\n"));
    assert!(found.starts_with("profile.device.legacy.md4 (line 4): unknown field"), "{found}");
}

#[test]
fn file_that_is_not_there_is_a_mistake_of_the_file() {
    let errors = Settings::load(Path::new("/nonexistent/certgate.toml")).unwrap_err();
    assert!(errors.to_string().starts_with("/nonexistent/certgate.toml cannot be used:\n  "), "{errors}");
}

#[test]
fn endpoints_are_lists_inherited_sockets_or_off() {
    let (settings, _) = parse(&format!(
        "public-url = \"http://pki.example/\"\n[listen]\ndevice = [\"fd:device\", \"[::]:80\"]\nadmin = \"off\"\nops = \"off\"\n{PROFILE}"
    ))
    .unwrap();
    let expected = [Endpoint::Inherited("device".to_owned()), Endpoint::Address("[::]:80".parse().unwrap())];
    assert_eq!(settings.listen.device, expected);
    assert!(settings.listen.admin.is_empty() && settings.listen.ops.is_empty());
    assert_eq!(settings.public_url, "http://pki.example");
}

#[test]
fn open_metrics_are_warned_of_and_a_key_beside_the_data_is_noticed() {
    let text =
        format!("data = \".\"\npublic-url = \"http://x\"\n[listen]\nops = \"0.0.0.0:9090\"\n{PROFILE}");
    let (settings, warnings) = parse(&text).unwrap();
    let keys: Vec<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["listen.ops"]);
    assert!(settings.gateway.key_beside_store);
    let elsewhere = format!("{text}\n[keys]\nkek = {{ credential = \"kek\" }}\n");
    assert!(!parse(&elsewhere).unwrap().0.gateway.key_beside_store);
}

#[test]
fn a_data_directory_that_holds_its_own_configuration_has_a_plain_name() {
    let text = format!("data = \".\"\npublic-url = \"http://x\"\n{PROFILE}");
    let (settings, _) = Settings::parse(Path::new("/srv/certgate/certgate.toml"), &text).unwrap();
    assert_eq!(settings.data.as_os_str(), "/srv/certgate");
    assert_eq!(settings.listen.socket.as_os_str(), "/srv/certgate/certgate.sock");
}

#[test]
fn static_challenges_are_read_current_one_first() {
    let config = "[profile.a]\nsubject = \"CN=x\"\nchallenge = [\"static\"]\nstatic-challenge-files = [\"new\", \"old\"]\n";
    let files = [("new", "correct horse\n", 0o600), ("old", "battery staple\r\n", 0o640)];
    let (settings, warnings) = with_challenges(&files, config).unwrap();
    let secrets = settings.gateway.static_challenges.values().next().unwrap();
    assert_eq!(secrets[0].expose(), b"correct horse");
    assert_eq!(secrets[1].expose(), b"battery staple");
    assert!(warnings.iter().any(|warning| warning.problem == "old can be read by its group (mode 0640)"));
    assert!(!format!("{settings:?}").contains("horse"));
}

#[test]
fn refuses_weak_exposed_missing_and_doubled_challenges_without_showing_them() {
    let config = |files: &str| {
        format!(
            "[profile.a]\nsubject = \"CN=x\"\nchallenge = [\"static\"]\nstatic-challenge-files = [{files}]\n"
        )
    };
    let files = [
        ("short", "hunter2\n", 0o600),
        ("lines", "hunter22\nhunter22\n", 0o600),
        ("exposed", "hunter22hunter22", 0o604),
        ("one", "hunter22hunter22", 0o600),
        ("same", "hunter22hunter22\n", 0o600),
        ("other", "hunter33hunter33\n", 0o600),
    ];
    for (named, problem) in [
        ("\"short\"", "short must hold 8 to 255 characters"),
        ("\"lines\"", "lines must hold"),
        ("\"exposed\"", "exposed can be read by everybody (mode 0604)"),
        ("\"absent\"", "cannot access"),
        ("\"credential:absent\"", "systemd credential \"absent\" was not passed"),
        ("\"one\", \"same\"", "same holds the same challenge as another"),
        ("\"one\", \"other\", \"short\"", "holds more than two"),
    ] {
        let errors = with_challenges(&files, &config(named)).unwrap_err();
        let text = errors.to_string();
        assert!(
            text.contains("profile.a.static-challenge-files (line 4): ") && text.contains(problem),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[test]
fn check_reports_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("certgate.toml");
    fs::write(&path, format!("public-url = \"http://x\"\n{PROFILE}")).unwrap();
    assert!(check(&path).to_string().ends_with("certgate.toml: ok (0 warnings; profiles: device)"));
    fs::write(&path, "data = 7\n[log]\nlevel = \"x=y\"\n").unwrap();
    let report = check(&path).to_string();
    assert!(
        report.contains("\nerror: data (line 1): ") && report.contains("\nerror: log.level (line 3): "),
        "{report}"
    );
    assert!(report.lines().next().unwrap().ends_with("certgate.toml: 2 mistakes"), "{report}");
    assert!(check(&dir.path().join("none.toml")).to_string().contains("none.toml: 1 mistake\n"));
}

#[test]
fn a_checkpoint_is_a_file() {
    for path in ["", "."] {
        let text = format!("{PROFILE}[restore]\ncheckpoint = \"{path}\"\n");
        assert!(mistake(&text).starts_with("restore.checkpoint (line "), "{path}");
    }
}

#[test]
fn a_misspelt_key_of_a_profile_is_told_every_key_of_profiles() {
    let text = "[profile.a]\nsubject = \"CN=x\"\nstatic-challenge-file = [\"x\"]\n";
    let found = parse(text).unwrap_err().mistakes[0].to_string();
    for key in ["`subject`", "`static-challenge-files`", "`renewal-issuers`", "`approval-webhook`"] {
        assert!(found.contains(key), "{key} in {found}");
    }
}

#[test]
fn documented_example_is_a_usable_file() {
    let (settings, warnings) = parse(Config::documented_example()).unwrap();
    assert_eq!(settings.profiles.len(), 1);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
}
