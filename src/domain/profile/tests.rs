use super::*;
use crate::wire::x509::{KeyKind, KeyUsage};

fn spec(toml: &str) -> ProfileSpec {
    toml::from_str(toml).unwrap()
}

fn minimal(rest: &str) -> ProfileSpec {
    spec(&format!("subject = \"CN=$DEVICE_SN$,O=Lab\"\n{rest}"))
}

fn checked(spec: ProfileSpec) -> Result<CheckedProfile, Vec<ProfileMistake>> {
    Profile { name: "device".parse().unwrap(), version: 3, created_at: Timestamp::EPOCH, spec }.checked()
}

#[test]
fn a_subject_alone_is_a_sound_profile() {
    let spec = minimal("");
    assert_eq!(spec.mistakes(), []);
    assert_eq!(spec.issuer.as_str(), "issuing");
    assert_eq!(
        (spec.match_rule, spec.scope, spec.approval),
        (MatchRule::Fill, Scope::Device, Approval::Auto)
    );
    assert_eq!(spec.challenge, [ChallengeMode::Ticket]);
    let profile = checked(spec).unwrap();
    assert_eq!((profile.name().as_str(), profile.version()), ("device", 3));
    assert_eq!(profile.extended_key_usage(), ["1.3.6.1.5.5.7.3.2".parse().unwrap()]);
}

#[test]
fn every_fatal_mistake_is_named_by_its_key() {
    for (rest, key) in [
        ("subject-alt-names = [\"dns:ok.example\", \"nope:x\"]", "subject-alt-names[1]"),
        ("identify = \"subject.dn\"", "identify"),
        ("identify = \"\"\nchallenge = [\"static\"]", "identify"),
        ("challenge = []", "challenge"),
        ("key-types = []", "key-types"),
        ("min-rsa-bits = 1024", "min-rsa-bits"),
        ("min-rsa-bits = 16384", "min-rsa-bits"),
        ("key-usage = [\"digitalSignature\", \"keyCertSign\"]", "key-usage[1]"),
        ("key-usage = [\"sign\"]", "key-usage[0]"),
        ("key-usage = []", "key-usage"),
        ("key-usage = [\"keyEncipherment\"]", "key-usage"),
        ("extended-key-usage = [\"2.5.29.37.0\"]", "extended-key-usage[0]"),
        ("extended-key-usage = [\"client-auth\", \"1.3.6.1.5.5.7.3.9\"]", "extended-key-usage[1]"),
        ("extended-key-usage = [\"1.3.6.1.4.1.311.20.2.1\"]", "extended-key-usage[0]"),
        ("extended-key-usage = [\"vpn\"]", "extended-key-usage[0]"),
        ("validity-days = 0", "validity-days"),
        ("validity-days = 39501", "validity-days"),
        ("validity-days = 1\nbackdate-minutes = 1440", "backdate-minutes"),
    ] {
        let spec = minimal(rest);
        let mistakes = spec.mistakes();
        assert!(mistakes.iter().any(|m| m.fatal && m.key == key), "{rest}: {mistakes:?}");
        assert!(checked(spec).is_err(), "{rest}");
    }
}

#[test]
fn a_profile_for_encipherment_alone_is_one_for_rsa_keys() {
    let mistakes = minimal("key-usage = [\"keyEncipherment\"]").mistakes();
    assert!(mistakes.iter().any(|m| m.problem.contains("key-types = [\"rsa\"]")), "{mistakes:?}");
    assert_eq!(minimal("key-usage = [\"keyEncipherment\"]\nkey-types = [\"rsa\"]").mistakes(), []);
}

#[test]
fn subjects_that_cannot_be_names_are_refused() {
    for subject in ["", "$DEVICE_SN$", "CN=$NOPE$", "CN=$DEVICE_SN", "XX=$DEVICE_SN$", "C=Switzerland"] {
        let mistakes = spec(&format!("subject = \"{subject}\"")).mistakes();
        assert!(mistakes.iter().any(|m| m.fatal && m.key == "subject"), "{subject}: {mistakes:?}");
    }
    assert_eq!(spec("subject = \"$USER_DN$\"\nscope = \"user\"").mistakes(), []);
}

#[test]
fn an_open_door_is_refused_unless_an_operator_guards_it() {
    let open = minimal("challenge = []").mistakes();
    assert!(open.iter().any(|m| m.fatal && m.problem.starts_with("an open door:")), "{open:?}");
    assert_eq!(minimal("challenge = []\napproval = \"manual\"").mistakes(), []);
}

#[test]
fn a_claim_by_static_challenge_that_can_log_on_as_anybody_is_warned_of() {
    let warned = |rest: &str| {
        let mistakes = minimal(&format!("challenge = [\"static\"]\n{rest}")).mistakes();
        assert!(mistakes.iter().all(|mistake| !mistake.fatal), "{rest}: {mistakes:?}");
        mistakes.iter().any(|mistake| mistake.key == "match" && mistake.problem.contains("name any user"))
    };
    assert!(warned("match = \"claim\""));
    assert!(warned("match = \"claim\"\nextended-key-usage = []"));
    assert!(warned("match = \"claim\"\nextended-key-usage = [\"server-auth\", \"client-auth\"]"));
    assert!(!warned("match = \"claim\"\nextended-key-usage = [\"server-auth\"]"));
    assert!(!warned("match = \"claim\"\napproval = \"manual\""));
    assert!(!warned("match = \"strict\""));
}

#[test]
fn weak_but_allowed_choices_are_warnings() {
    for (rest, key) in [
        ("match = \"claim\"", "match"),
        (
            "match = \"claim\"\nchallenge = [\"static\"]\nextended-key-usage = [\"smart-card-logon\"]",
            "extended-key-usage[0]",
        ),
        ("challenge = [\"static\"]\nallow-unregistered = true", "allow-unregistered"),
        ("validity-days = 30\nrenewal-window-days = 20", "renewal-window-days"),
        ("[legacy]\nsha1 = true", "legacy.sha1"),
        ("[legacy]\ntriple-des = true", "legacy.triple-des"),
        ("[legacy]\nmd5 = true", "legacy.md5"),
        ("[legacy]\ndes = true", "legacy.des"),
    ] {
        let mistakes = minimal(rest).mistakes();
        assert!(mistakes.iter().any(|m| m.key == key), "{rest}: {mistakes:?}");
        assert!(mistakes.iter().all(|m| !m.fatal), "{rest}: {mistakes:?}");
    }
}

#[test]
fn a_claim_with_the_static_challenge_needs_no_subject() {
    let claim = "subject = \"\"\nmatch = \"claim\"\nchallenge = [\"static\"]";
    assert!(spec(claim).mistakes().iter().all(|mistake| !mistake.fatal));
    let with_tickets =
        spec("subject = \"\"\nmatch = \"claim\"\nchallenge = [\"static\", \"ticket\"]").mistakes();
    assert!(with_tickets.iter().any(|m| m.fatal && m.key == "subject"), "{with_tickets:?}");
}

#[test]
fn unknown_keys_are_refused() {
    for bad in [
        "subjekt = \"CN=x\"",
        "subject = \"CN=x\"\nmatch-rule = \"fill\"",
        "subject = \"CN=x\"\n[legacy]\nmd4 = true",
    ] {
        assert!(toml::from_str::<ProfileSpec>(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_gets_only_the_usage_that_it_can_have() {
    let profile =
        checked(minimal("key-usage = [\"digitalSignature\", \"keyEncipherment\", \"keyAgreement\"]"))
            .unwrap();
    let both = KeyUsage::DIGITAL_SIGNATURE;
    assert_eq!(profile.key_usage(KeyKind::Rsa { bits: 2048 }), both.union(KeyUsage::KEY_ENCIPHERMENT));
    assert_eq!(profile.key_usage(KeyKind::P256), both.union(KeyUsage::KEY_AGREEMENT));
    assert!(profile.key_usage(KeyKind::Other).is_empty());
}

#[test]
fn the_uuid_is_a_uuid_and_follows_the_name() {
    let uuid = checked(minimal("")).unwrap().uuid();
    let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert_eq!((&uuid[14..15], &uuid[19..20]), ("8", "a"));
    let other = Profile {
        name: "other".parse().unwrap(),
        version: 3,
        created_at: Timestamp::EPOCH,
        spec: minimal(""),
    };
    assert_ne!(other.checked().unwrap().uuid(), uuid);
}

#[test]
fn the_renewal_window_opens_before_the_end() {
    let validity = crate::types::Validity {
        not_before: Timestamp::from_unix(1_800_000_000),
        not_after: Timestamp::from_unix(1_800_000_000 + 365 * 86_400),
    };
    assert_eq!(checked(minimal("")).unwrap().renewal_opens(&validity), validity.not_before);
    let opens = checked(minimal("renewal-window-days = 30")).unwrap().renewal_opens(&validity);
    assert_eq!(opens, Timestamp::from_unix(1_800_000_000 + 335 * 86_400));
}
