//! The trace of a request: it arrived, this is what was checked, this is why it was refused, and this is what to do.

use std::{sync::Arc, time::Duration};

use certgate::{
    adapters::store::RedbStore,
    domain::{
        exchange::{Ending, Exchange, Line, Operation, Unanswered},
        throttle::Limit,
    },
    ports::store::Page,
    service::{
        GatewaySettings, TraceSettings,
        exchange::{ALIKE, EndingFilter, ExchangeFilter, TURNED_AWAY, TraceView},
        scep::Origin,
    },
    types::{ContentCipher, KeyAlgorithm, Secret},
    wire::{
        scep::{FailInfo, MessageType},
        x509::GeneralName,
    },
};

use crate::{
    DEVICE, bad_input,
    common::{self, Client, DAY, MessageOptions, World, WorldOptions},
    logged::logged,
};

fn world() -> World {
    World::new(&[("device", DEVICE)])
}

fn listed(world: &World, filter: &ExchangeFilter) -> Vec<Exchange> {
    world.gateway.exchanges(&world.authed(), filter, &Page::first(1000)).unwrap().items
}

/// The newest exchange.
fn newest(world: &World) -> Exchange {
    listed(world, &ExchangeFilter::default()).remove(0)
}

fn shown(world: &World, exchange: &Exchange) -> TraceView {
    world.gateway.traces(&world.authed(), exchange.id.as_str()).unwrap().remove(0)
}

/// The check that failed, which is the last one.
fn failed(exchange: &Exchange) -> &str {
    let last = exchange.steps.last().expect("there are steps");
    assert!(!last.passed && exchange.steps.iter().filter(|step| !step.passed).count() == 1, "{exchange:?}");
    assert_eq!(last.detail, exchange.reason);
    assert!(exchange.hint.len() > 30 && !exchange.hint.contains("  "), "{}", exchange.hint);
    &last.check
}

#[test]
fn a_granted_request_is_traced_from_message_to_certificate() {
    let world = world();
    let client = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    let answer = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket)));
    let id = world.record(answer.certificate()).id;
    // Written with the certificate: nothing waits, and nothing is written when it is looked at.
    let stored = world.read(|view| view.exchange(&world.enrolment_of(answer.certificate()).id)).unwrap();
    let exchange = newest(&world);
    assert_eq!(stored, exchange);
    assert_eq!((exchange.ending, exchange.operation), (Ending::Success, Operation::PkcsReq));
    assert_eq!(
        (exchange.certificate.as_ref(), exchange.transaction.as_ref()),
        (Some(&id), Some(&client.transaction))
    );
    assert_eq!((exchange.address.as_str(), exchange.user_agent.as_str()), ("192.0.2.7", "Test/1.0"));
    assert_eq!(exchange.device, Some("SN1".parse().unwrap()));
    assert_eq!((exchange.reason.as_str(), exchange.hint.as_str()), ("", ""));
    let checks: Vec<_> = exchange.steps.iter().map(|step| step.check.as_ref()).collect();
    assert_eq!(
        checks,
        [
            "message",
            "messageType",
            "signature",
            "digest",
            "key of the signer",
            "envelope",
            "cipher",
            "recipient",
            "decryption",
            "request",
            "self-signature",
            "authorisation",
            "algorithms",
            "key",
            "device or user",
            "standing",
            "names",
            "validity",
            "issuance"
        ]
    );
    assert!(exchange.steps.iter().all(|step| step.passed));
    let enrolment = shown(&world, &exchange).enrolment.unwrap();
    assert_eq!(enrolment.id, exchange.id);
}

#[test]
fn the_same_request_again_is_seen_as_a_repeat() {
    let world = world();
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &world.register("SN1"))));
    let certificate = client.enrol(&world, "device", &csr).certificate().clone();
    assert_eq!(client.enrol(&world, "device", &csr).certificate(), &certificate);
    let exchange = newest(&world);
    assert_eq!(exchange.steps.last().unwrap().check, "repeat");
    assert_eq!(exchange.certificate, Some(world.record(&certificate).id));
    assert_eq!(listed(&world, &ExchangeFilter::default()).len(), 2);
}

#[test]
fn what_cannot_be_read_looks_alike_to_the_client_and_is_told_apart_in_the_trace() {
    let world = world();
    let answers = bad_input::unreadable(&world, &Client::new());
    let mut exchanges = listed(&world, &ExchangeFilter::default());
    // Eight of a minute are kept one by one; what came after is counted in the last of them.
    assert_eq!((answers.len(), exchanges.len(), exchanges[0].more), (10, ALIKE as usize, 2));
    exchanges.reverse();
    for (number, ((defect, _), exchange)) in answers.iter().zip(&exchanges).enumerate() {
        // A wrong key leaves a valid padding once in 256 times.
        let expected: &[&str] = match number {
            0 => &["decryption"],
            1 => &["request", "self-signature"],
            2..5 => &["decryption", "request"],
            _ => &["request"],
        };
        assert!(expected.contains(&failed(exchange)), "{defect}: {exchange:?}");
        if *defect == "another recipient" && failed(exchange) == "decryption" {
            assert!(exchange.hint.contains("GetCACert"), "{}", exchange.hint);
        }
    }
}

#[test]
fn each_refusal_names_the_check_that_failed_and_what_to_do() {
    let world = world();
    let device = world.register("SN1");
    let client = Client::new();
    let csr = |ticket: Option<&Secret>| client.csr("CN=x", ticket);
    let ticket = world.ticket("device", &device);
    let ask = |options: MessageOptions, payload: &[u8]| {
        world.clock.advance(Duration::from_secs(60));
        let answer = client.ask(&world, "device", options, payload);
        let exchange = newest(&world);
        assert_eq!(exchange.ending, Ending::Refused(answer.failure()));
        exchange
    };
    let des = ask(MessageOptions { cipher: ContentCipher::TripleDesCbc, ..Default::default() }, b"x");
    assert_eq!(failed(&des), "cipher");
    assert!(des.hint.contains("`triple-des = true` under [profile.device.legacy]"), "{}", des.hint);
    let captured = include_bytes!("../../fixtures/scep/scepclient-des.der");
    assert_eq!(client.send(&world, "device", captured).failure(), FailInfo::BadAlg);
    let sha1 = newest(&world);
    assert_eq!(failed(&sha1), "digest");
    assert!(sha1.hint.contains("`sha1 = true` under [profile.device.legacy]"), "{}", sha1.hint);
    let missing = ask(MessageOptions::default(), &csr(None));
    assert_eq!(failed(&missing), "authorisation");
    assert!(missing.hint.contains("certgate ticket create --profile device"), "{}", missing.hint);
    let unknown = ask(MessageOptions::default(), &csr(Some(&Secret::from("no-such-challenge"))));
    assert_eq!((failed(&unknown), unknown.reason.as_str()), ("authorisation", "the challenge is unknown"));
    let stranger = ask(MessageType::RenewalReq.into(), &csr(None));
    assert_eq!(failed(&stranger), "authorisation");
    let poll = ask(MessageType::CertPoll.into(), b"x");
    assert_eq!(failed(&poll), "content");
    world.clock.advance(DAY);
    let expired = ask(MessageOptions::default(), &csr(Some(&ticket)));
    assert_eq!((failed(&expired), expired.device.as_ref()), ("authorisation", Some(&device)));
    assert!(expired.hint.contains("ran out at") && expired.hint.contains("--device SN1"), "{}", expired.hint);
    let refused = ExchangeFilter { result: Some(EndingFilter::Refused), ..ExchangeFilter::default() };
    assert_eq!(listed(&world, &refused).len(), 7);
    let of_device = ExchangeFilter { device: Some(device), ..refused };
    assert_eq!(listed(&world, &of_device), [expired]);
}

#[test]
fn a_claimed_name_that_no_certificate_may_have_is_refused_and_says_why() {
    let claim = "subject = \"\"\nmatch = \"claim\"\nchallenge = [\"static\"]\nidentify = \"subject.cn\"\nallow-unregistered = true\n";
    let mut options = WorldOptions::default();
    let secret = Secret::from("shared secret");
    options.settings.static_challenges.insert("claim".parse().unwrap(), vec![secret.clone()]);
    let world = World::with(options, &[("claim", claim)]);
    let client = Client::new();
    let asked = |octets: usize| {
        let value = format!("#0c{octets:02x}{}", "78".repeat(octets));
        client.enrol(&world, "claim", &client.csr(&format!("CN={value}"), Some(&secret)))
    };
    assert_eq!(asked(65).failure(), FailInfo::BadRequest);
    let refused = newest(&world);
    assert_eq!(failed(&refused), "names");
    assert!(refused.reason.ends_with("CN: has 65 characters, at most 64 are allowed"), "{}", refused.reason);
    assert!(refused.hint.contains("`match = \"fill\"` under [profile.claim]"), "{}", refused.hint);
    assert_eq!(asked(64).certificate().subject().common_name(), Some("x".repeat(64)));
}

#[test]
fn what_to_do_is_something_that_the_profile_takes() {
    const SUBJECT: &str = "subject = \"CN=x\"";
    let profiles = [
        ("static", format!("{SUBJECT}\nchallenge = [\"static\"]")),
        ("unbound", format!("{SUBJECT}\nchallenge = [\"unbound-ticket\"]")),
        ("user", format!("{SUBJECT}\nscope = \"user\"")),
        ("intune", format!("{SUBJECT}\nmatch = \"claim\"\nchallenge = [\"intune\"]")),
    ];
    let world = World::new(&profiles.each_ref().map(|(name, spec)| (*name, spec.as_str())));
    let client = Client::new();
    let hint = |profile, options: MessageOptions| {
        client.ask(&world, profile, options, &client.csr("CN=x", None)).failure();
        newest(&world).hint
    };
    for (profile, expected) in [
        ("static", "the static challenge (`static-challenge-files` under [profile.static])"),
        ("unbound", "`certgate ticket create --profile unbound --unbound`"),
        ("user", "`certgate ticket create --profile user --user USER`"),
        ("intune", "let Intune send its SCEP profile"),
    ] {
        for options in [MessageOptions::default(), MessageType::RenewalReq.into()] {
            let hint = hint(profile, options);
            assert!(hint.contains(expected), "{hint}");
        }
    }
}

#[test]
fn a_broken_signature_and_an_answer_that_nothing_can_seal_are_told_apart() {
    let world = world();
    let client = Client::new();
    let mut message = client.message(&world.message_certificate("device"), &MessageOptions::default(), b"x");
    *message.last_mut().unwrap() ^= 1;
    assert_eq!(client.send(&world, "device", &message).failure(), FailInfo::BadMessageCheck);
    assert_eq!(failed(&newest(&world)), "signature");
    let signer = common::signer(KeyAlgorithm::P256);
    let identity = common::self_signed(signer.as_ref(), "CN=EC");
    let options = MessageOptions::default();
    let csr = client.csr("CN=x", None);
    let content = common::envelope(&csr, &world.message_certificate("device"), &options);
    let message = common::sign_as(signer.as_ref(), &identity, &client.transaction, &options, content);
    client.send(&world, "device", &message);
    // An EC key encrypts nothing, and there is no challenge to seal the answer under.
    assert_eq!(failed(&newest(&world)), "password");
}

#[test]
fn what_gets_no_certrep_is_traced_too() {
    let world = world();
    assert!(world.pki_operation("device", b"hello").is_err());
    let exchange = newest(&world);
    assert_eq!((exchange.ending, exchange.operation), (Ending::Http(400), Operation::PkiOperation));
    assert_eq!(failed(&exchange), "message");
    assert!(world.pki_operation("nowhere", b"hello").is_err());
    let exchange = newest(&world);
    assert_eq!(
        (exchange.ending, exchange.reason.as_str()),
        (Ending::Http(404), "there is no profile \"nowhere\"")
    );
    let why = Unanswered::NotBase64 { characters: 7 };
    world.gateway.not_answered(&world.origin(), None, Operation::PkiOperation, &why);
    assert!(newest(&world).hint.contains("POST"));
}

#[test]
fn a_flood_of_junk_leaves_few_traces_and_counts_the_rest() {
    let world = world();
    for _ in 0..10_000 {
        assert!(world.pki_operation("device", b"junk").is_err());
    }
    let kept = listed(&world, &ExchangeFilter::default());
    assert_eq!((kept.len(), kept[0].more), (ALIKE as usize, 10_000 - ALIKE));
    // From everywhere at once: what does not fit between two writes is dropped.
    for number in 0..10_000_u32 {
        let peer = std::net::Ipv4Addr::from(number).to_string();
        let origin = Origin { peer, ..world.origin() };
        world.gateway.not_answered(&origin, None, Operation::NoOperation, &Unanswered::NoMessage);
    }
    let kept = listed(&world, &ExchangeFilter::default());
    assert!(kept.len() <= 256 + ALIKE as usize, "{}", kept.len());
}

#[test]
fn the_addresses_of_one_ipv6_network_are_one_flood() {
    let world = world();
    for host in 0..100 {
        let origin = Origin { peer: format!("2001:db8::{host:x}"), ..world.origin() };
        world.gateway.not_answered(&origin, None, Operation::NoOperation, &Unanswered::NoMessage);
    }
    let kept = listed(&world, &ExchangeFilter::default());
    assert_eq!((kept.len(), kept[0].more), (ALIKE as usize, 100 - ALIKE));
}

/// Turns a request of `address` to `profile` away, as the edge does.
fn turn_away(world: &World, address: &str, profile: &str, limit: Limit) {
    let origin = Origin { peer: address.to_owned(), ..world.origin() };
    let why = Unanswered::TooSoon { limit, retry_after: Duration::from_secs(7) };
    world.gateway.not_answered(&origin, Some(&profile.parse().unwrap()), Operation::PkiOperation, &why);
}

#[test]
fn what_is_turned_away_is_kept_once_a_minute_by_address_and_profile_with_its_hint() {
    let world = world();
    for _ in 0..50 {
        turn_away(&world, "192.0.2.1", "device", Limit::Client);
    }
    turn_away(&world, "192.0.2.1", "other", Limit::LockOut);
    turn_away(&world, "192.0.2.2", "device", Limit::Profile);
    let mut kept = listed(&world, &ExchangeFilter::default());
    kept.reverse();
    let counts: Vec<_> = kept.iter().map(|it| (it.ending, it.more)).collect();
    assert_eq!(counts, [49, 0, 0].map(|more| (Ending::Http(429), more)));
    for (exchange, (reason, hint)) in kept.iter().zip([
        ("address-requests-per-minute", "trusted-proxies"),
        ("locked out", "wrong-challenges"),
        ("the profile was asked", "`requests-per-minute`"),
    ]) {
        assert!(exchange.reason.contains(reason) && exchange.reason.ends_with("after 7 s"), "{exchange:?}");
        assert!(exchange.hint.contains(hint) && !exchange.hint.contains("  "), "{exchange:?}");
    }
    world.clock.advance(Duration::from_secs(60));
    turn_away(&world, "192.0.2.1", "device", Limit::Client);
    assert_eq!(listed(&world, &ExchangeFilter::default()).len(), 4);
}

#[test]
fn a_flood_that_is_turned_away_leaves_room_for_everything_else() {
    let world = world();
    for number in 0..10_000_u32 {
        turn_away(&world, &std::net::Ipv4Addr::from(number).to_string(), "device", Limit::Profile);
    }
    assert!(world.pki_operation("device", b"junk").is_err());
    let kept = listed(&world, &ExchangeFilter::default());
    assert_eq!((kept.len(), kept[0].ending), (TURNED_AWAY as usize + 1, Ending::Http(400)));
}

#[test]
fn a_strangers_transcript_is_short_and_its_device_is_not() {
    let world = world();
    let names: Vec<_> =
        (0..40).map(|number| GeneralName::Dns(format!("{number}.{}.example", "x".repeat(50)))).collect();
    let size = |challenge: Option<&Secret>| {
        let client = Client::new();
        client.enrol(&world, "device", &client.csr_with("CN=x", &names, challenge));
        let transcript = shown(&world, &newest(&world)).transcript.unwrap();
        let lines = transcript.request.iter().chain(&transcript.answer);
        (lines.map(|it| it.field.len() + it.value.len()).sum::<usize>(), transcript)
    };
    let (stranger, transcript) = size(None);
    assert!(stranger <= 2500, "{stranger}");
    assert!(transcript.request.iter().any(|line| line.field == "PKCS#10 subject"), "{transcript:?}");
    let (known, _) = size(Some(&world.ticket("device", &world.register("SN1"))));
    assert!(known > 2500, "{known}");
}

#[test]
fn a_transcript_has_the_nonces_that_were_on_the_wire() {
    let world = world();
    let client = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    for (challenge, ending) in
        [(None, Ending::Refused(FailInfo::BadRequest)), (Some(&ticket), Ending::Success)]
    {
        let csr = client.csr("CN=x", challenge);
        let message = client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr);
        let answer = client.send(&world, "device", &message);
        let exchange = newest(&world);
        assert_eq!(exchange.ending, ending);
        let transcript = shown(&world, &exchange).transcript.unwrap();
        let line = |lines: &[Line], field: &str| {
            lines.iter().find(|line| line.field == field).unwrap_or_else(|| panic!("{field}")).value.clone()
        };
        assert_eq!(line(&transcript.answer, "senderNonce"), hex::encode(&answer.sender_nonce));
        assert_eq!(line(&transcript.answer, "recipientNonce"), line(&transcript.request, "senderNonce"));
    }
}

fn settings(entries: usize) -> GatewaySettings {
    let trace = TraceSettings { entries, ..GatewaySettings::default().trace };
    GatewaySettings { trace, ..GatewaySettings::default() }
}

#[test]
fn junk_displaces_junk_alone() {
    let world = World::with(
        WorldOptions { settings: settings(20), ..WorldOptions::default() },
        &[("device", DEVICE)],
    );
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &world.register("SN1"))));
    client.enrol(&world, "device", &csr).certificate();
    let good = newest(&world);
    for number in 0..50_u32 {
        let origin = Origin { peer: number.to_string(), ..world.origin() };
        world.gateway.not_answered(&origin, None, Operation::NoOperation, &Unanswered::NoMessage);
    }
    world.gateway.run_due().unwrap();
    let kept = listed(&world, &ExchangeFilter::default());
    assert_eq!((kept.len(), kept.last()), (11, Some(&good)));
    assert_eq!(kept[0].address, "49");
}

#[test]
fn traces_and_transcripts_go_when_their_time_is_over() {
    let world = world();
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", None));
    let exchange = newest(&world);
    assert!(shown(&world, &exchange).transcript.is_some());
    world.clock.advance(DAY * 4);
    world.gateway.run_due().unwrap();
    assert_eq!(shown(&world, &exchange).transcript, None);
    world.clock.advance(DAY * 11);
    world.gateway.run_due().unwrap();
    assert!(listed(&world, &ExchangeFilter::default()).is_empty());
    assert!(world.gateway.traces(&world.authed(), exchange.id.as_str()).is_err());
}

#[test]
fn without_traces_nothing_is_kept_but_the_enrolment() {
    let mut options = WorldOptions { settings: settings(0), ..WorldOptions::default() };
    options.settings.trace.keep = Duration::ZERO;
    let world = World::with(options, &[("device", DEVICE)]);
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("device", &world.register("SN1"))));
    let certificate = client.enrol(&world, "device", &csr).certificate().clone();
    assert!(world.pki_operation("device", b"junk").is_err());
    assert!(listed(&world, &ExchangeFilter::default()).is_empty());
    let id = world.enrolment_of(&certificate).id;
    let [view] = world.gateway.traces(&world.authed(), id.as_str()).unwrap().try_into().unwrap();
    assert_eq!(view.exchange.certificate, Some(world.record(&certificate).id));
}

#[test]
fn a_restart_keeps_the_traces() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(RedbStore::open(&folder.path().join("store.redb")).unwrap());
    let world = World::with(WorldOptions { store, ..WorldOptions::default() }, &[("device", DEVICE)]);
    let client = Client::new();
    client.enrol(&world, "device", &client.csr("CN=x", None));
    world.gateway.write_traces().unwrap();
    let world = world.restarted(GatewaySettings::default());
    let exchange = newest(&world);
    assert_eq!(failed(&exchange), "authorisation");
    let found = world.gateway.traces(&world.authed(), client.transaction.as_str()).unwrap();
    assert_eq!(found[0].exchange, exchange);
}

#[test]
fn a_transcript_shows_the_message_and_neither_challenge_nor_ciphertext() {
    let world = World::new(&[("device", DEVICE)]);
    let client = Client::new();
    let ticket = world.ticket("device", &world.register("SN1"));
    let secret = std::str::from_utf8(ticket.expose()).unwrap().to_owned();
    let log = logged(|| {
        client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate();
    });
    let view = shown(&world, &newest(&world));
    let text = serde_json::to_string(&view).unwrap();
    assert!(!text.contains(&secret) && !text.contains(&hex::encode(&secret)) && !log.contains(&secret));
    let transcript = view.transcript.unwrap();
    let value = |field: &str| {
        let lines = transcript.request.iter().chain(&transcript.answer);
        lines.into_iter().find(|line| line.field == field).map(|line| line.value.as_str())
    };
    assert_eq!(value("messageType"), Some("19 (PkcsReq)"));
    assert_eq!(value("transactionID"), Some(client.transaction.as_str()));
    assert_eq!(value("contentEncryptionAlgorithm"), Some(ContentCipher::Aes128Cbc.to_string().as_str()));
    assert_eq!(value("encryptedContent"), Some("not kept"));
    assert_eq!(value("PKCS#10 subject"), Some("CN=x"));
    assert_eq!(value("PKCS#10 challengePassword"), Some("sent, not kept"));
    assert_eq!(value("pkiStatus"), Some("0 (SUCCESS)"));
    assert!(text.len() < 6_000, "{}", text.len());
}

#[test]
fn fetches_of_an_address_are_shown_in_its_timeline() {
    let world = world();
    let profile = "device".parse().unwrap();
    world.gateway.fetched(&world.origin(), &profile, Operation::GetCaCaps);
    assert!(world.pki_operation("device", b"junk").is_err());
    assert_eq!(listed(&world, &ExchangeFilter::default()).len(), 1);
    let address = ExchangeFilter { address: Some("192.0.2.7".to_owned()), ..ExchangeFilter::default() };
    let operations: Vec<_> = listed(&world, &address).iter().map(|it| it.operation).collect();
    assert_eq!(operations, [Operation::PkiOperation, Operation::GetCaCaps]);
}
