//! The NDES-compatible SCEP URL with its three profiles: the key usage of the request chooses.

use std::time::Duration;

use certgate::{
    domain::{
        access::{Read, Role},
        exchange::Ending,
        throttle::{LockOut, Pace},
    },
    ports::store::Page,
    service::{
        GatewaySettings,
        challenge::NdesSettings,
        exchange::ExchangeFilter,
        guard::GuardSettings,
        scep::{CertRep, ScepError},
    },
    types::{DigestAlgorithm, KeyAlgorithm, Secret},
    wire::{
        scep::{Degenerate, FailInfo, MessageType, PkiMessage, PkiStatus},
        x509::Name,
    },
};

use super::{
    OPEN, basic, call,
    common::{Answer, Client, MessageOptions, World, WorldOptions, envelope, self_signed, sign_as, signer},
    logged::logged,
    router, settings, token,
};

/// Key usage as the octet of the BIT STRING.
const SIGN: u8 = 0x80;
const ENCIPHER: u8 = 0x20;

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match u8::try_from(content.len()) {
        Ok(short @ ..0x80) => vec![short],
        Ok(longer) => vec![0x81, longer],
        _ => [&[0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..]].concat(),
    };
    [&[tag], length.as_slice(), &content].concat()
}

fn oid(hexadecimal: &str) -> Vec<u8> {
    der(6, &[&hex::decode(hexadecimal).unwrap()])
}

/// A request of a P-256 key that asks for a key usage, put together by hand: the built-in client asks for none.
fn request(subject: &str, challenge: &Secret, usage: Option<u8>) -> Vec<u8> {
    let key = signer(KeyAlgorithm::P256);
    let password = der(0x13, &[challenge.expose()]);
    let password = der(0x30, &[&oid("2a864886f70d010907"), &der(0x31, &[&password])]);
    let extensions = usage.map(|usage| {
        let unused = u8::try_from(usage.trailing_zeros()).unwrap();
        let value = der(4, &[&der(3, &[&[unused, usage]])]);
        let extension = der(0x30, &[&oid("551d0f"), &[1, 1, 0xff], &value]);
        der(0x30, &[&oid("2a864886f70d01090e"), &der(0x31, &[&der(0x30, &[&extension])])])
    });
    let name: Name = subject.parse().unwrap();
    let attributes = der(0xa0, &[&password, &extensions.unwrap_or_default()]);
    let info = der(0x30, &[&[2, 1, 0], name.as_der(), key.public_key().as_spki(), &attributes]);
    let algorithm = key.algorithm().signature(DigestAlgorithm::Sha256);
    let signature = key.sign(algorithm, &info).unwrap();
    let ecdsa_with_sha256 = der(0x30, &[&oid("2a8648ce3d040302")]);
    der(0x30, &[&info, &ecdsa_with_sha256, &der(3, &[&[0], &signature])])
}

fn at_ndes(world: &World, client: &Client, options: impl Into<MessageOptions>, payload: &[u8]) -> Answer {
    let options = options.into();
    let message = client.message(&world.message_certificate("device"), &options, payload);
    let rep: CertRep = world.gateway.ndes_operation(&message, &world.origin()).unwrap();
    client.open(&message, rep)
}

fn three() -> World {
    three_with(GuardSettings::default())
}

fn three_with(guard: GuardSettings) -> World {
    three_of(guard, "")
}

/// The same with these lines in the profile of the URL.
fn three_of(guard: GuardSettings, general: &str) -> World {
    let profile = |unit: &str| OPEN.replace("O=Test", &format!("OU={unit}"));
    let (sign, encipher) = (profile("sign"), format!("{}approval = \"manual\"", profile("encipher")));
    let ndes = NdesSettings {
        signature: Some("sign".parse().unwrap()),
        encryption: Some("encipher".parse().unwrap()),
        ..NdesSettings::default()
    };
    let profiles = [
        ("device", profile("general") + general),
        ("sign", sign),
        ("encipher", encipher),
        ("vpn", profile("vpn")),
    ];
    let profiles: Vec<_> = profiles.iter().map(|(name, toml)| (*name, toml.as_str())).collect();
    let settings = GatewaySettings { guard, ..settings(ndes) };
    let world = World::with(WorldOptions { settings, ..WorldOptions::default() }, &profiles);
    world.register("SN1");
    world
}

fn password(world: &World, query: &str) -> Secret {
    let credentials = basic(&token(world, Role::Challenger, &[]));
    let path = format!("GET /certsrv/mscep_admin?operation=NDESGenerateChallenge{query}");
    let answer = call(&router(world), &path, Some(&credentials), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    Secret::from(answer.text().as_str())
}

#[test]
fn the_key_usage_of_the_request_chooses_the_profile() {
    let world = three();
    for (usage, unit) in [(Some(SIGN), "sign"), (Some(SIGN | ENCIPHER), "general"), (None, "general")] {
        let client = Client::new();
        let csr = request("CN=SN1", &password(&world, ""), usage);
        let answer = at_ndes(&world, &client, MessageType::PkcsReq, &csr);
        assert_eq!(answer.certificate().subject().to_string(), format!("CN=SN1,OU={unit}"), "{usage:?}");
    }
}

#[test]
fn a_digest_that_only_the_profile_of_the_url_takes_signs_no_answer_of_another() {
    let world = three_of(GuardSettings::default(), "legacy = { md5 = true }\n");
    let md5 = MessageOptions { digest: DigestAlgorithm::Md5, ..MessageOptions::default() };
    let ask = |usage| {
        let csr = request("CN=SN1", &password(&world, ""), usage);
        at_ndes(&world, &Client::new(), md5.clone(), &csr)
    };
    let answer = ask(None);
    assert_eq!((answer.status, answer.digest), (PkiStatus::Success, DigestAlgorithm::Md5));
    let answer = ask(Some(SIGN));
    assert_eq!((answer.failure(), answer.digest), (FailInfo::BadAlg, DigestAlgorithm::Sha256));
}

#[test]
fn a_transaction_is_polled_in_the_profile_in_which_it_was_begun() {
    let world = three();
    let client = Client::new();
    let csr = request("CN=SN1", &password(&world, ""), Some(ENCIPHER));
    let pending = at_ndes(&world, &client, MessageType::PkcsReq, &csr);
    assert_eq!(pending.status, PkiStatus::Pending, "encipher needs an approval");
    let issuing = world.issuer("issuing");
    let names = [issuing.subject().as_der(), client.identity.subject().as_der()];
    let polled = at_ndes(&world, &client, MessageType::CertPoll, &der(0x30, &names));
    assert_eq!(polled.status, PkiStatus::Pending);
    let stranger = Client::new();
    let polled = at_ndes(&world, &stranger, MessageType::CertPoll, &der(0x30, &names));
    assert_eq!(polled.failure(), FailInfo::BadCertId);
}

/// RFC 8894 §3.1: the challenge is in the request, which is on record under the profile that the key usage chose.
#[test]
fn a_key_that_cannot_encrypt_polls_under_the_challenge_of_its_request() {
    let world = three();
    let secret = password(&world, "");
    let key = signer(KeyAlgorithm::P256);
    let identity = self_signed(key.as_ref(), "CN=EC");
    let ask = |kind: MessageType, payload: &[u8]| {
        let options = MessageOptions::from(kind);
        let content = envelope(payload, &world.message_certificate("device"), &options);
        let message = sign_as(key.as_ref(), &identity, &"ec-1".parse().unwrap(), &options, content);
        let rep = world.gateway.ndes_operation(&message, &world.origin()).unwrap();
        PkiMessage::from_ber(&rep.body).unwrap().verify().unwrap()
    };
    let csr = request("CN=SN1", &secret, Some(ENCIPHER));
    assert_eq!(ask(MessageType::PkcsReq, &csr).reply().unwrap().status, PkiStatus::Pending);
    let names = der(0x30, &[world.issuer("issuing").subject().as_der(), identity.subject().as_der()]);
    assert_eq!(ask(MessageType::CertPoll, &names).reply().unwrap().status, PkiStatus::Pending);
    let waiting = world.read(|view| view.pending_enrolments(10)).remove(0);
    world.gateway.approve_enrolment(&world.authed(), &waiting.id, "").unwrap();
    let answer = ask(MessageType::CertPoll, &names);
    assert_eq!(answer.reply().unwrap().status, PkiStatus::Success);
    let envelope = answer.envelope().unwrap();
    let content = envelope.open(&envelope.passwords[0].unwrap(&secret).unwrap()).unwrap();
    let certificate = Degenerate::from_ber(content.expose()).unwrap().certificates.remove(0);
    assert_eq!(certificate.subject().to_string(), "CN=SN1,OU=encipher");
}

#[test]
fn a_password_for_one_key_usage_opens_no_other_profile() {
    let world = three();
    let signing = password(&world, "&keyUsage=0x80&Params=");
    let client = Client::new();
    let both = request("CN=SN1", &signing, Some(SIGN | ENCIPHER));
    assert_eq!(at_ndes(&world, &client, MessageType::PkcsReq, &both).failure(), FailInfo::BadRequest);
    let sign = request("CN=SN1", &signing, Some(SIGN));
    at_ndes(&world, &client, MessageType::PkcsReq, &sign).certificate();
}

#[test]
fn a_password_of_the_page_opens_the_profiles_of_ndes_and_no_other() {
    let world = three();
    let secret = password(&world, "");
    let client = Client::new();
    let csr = request("CN=SN1", &secret, Some(SIGN));
    assert_eq!(client.enrol(&world, "vpn", &csr).failure(), FailInfo::BadRequest);
    // At a URL that names a profile the key usage chooses nothing.
    let answer = client.enrol(&world, "device", &csr);
    assert_eq!(answer.certificate().subject().to_string(), "CN=SN1,OU=general");
}

#[test]
fn who_guesses_under_another_key_usage_is_locked_out_of_the_url_too() {
    let lock_out = Some(LockOut { guesses: 3, time: Duration::from_secs(600) });
    let world = three_with(GuardSettings { lock_out, ..GuardSettings::default() });
    let admitted = |profile: &str| {
        let client = Client::new();
        let csr = request("CN=SN1", &Secret::from("one"), Some(SIGN));
        let message = client.message(&world.message_certificate(profile), &MessageOptions::default(), &csr);
        !matches!(world.pki_operation(profile, &message), Err(ScepError::TooSoon { .. }))
    };
    for guess in ["one", "two", "three"] {
        assert!(admitted("device"));
        let csr = request("CN=SN1", &Secret::from(guess), Some(SIGN));
        at_ndes(&world, &Client::new(), MessageType::PkcsReq, &csr).failure();
    }
    // The URL has the limits of the profile for general purposes.
    assert_eq!([admitted("device"), admitted("sign"), admitted("vpn")], [false, false, true]);
}

#[test]
fn a_password_for_nobody_in_particular_rings_only_for_another_key() {
    let world = three();
    let secret = password(&world, "");
    let alarms = || world.gateway.alarms(&world.authed::<Read>()).unwrap().items.len();
    let csr = request("CN=SN1", &secret, Some(SIGN));
    at_ndes(&world, &Client::new(), MessageType::PkcsReq, &csr).certificate();
    at_ndes(&world, &Client::new(), MessageType::PkcsReq, &csr).failure();
    assert_eq!(alarms(), 0, "the answer was lost, or somebody sent the envelope again");
    let other = Client::new().csr("CN=SN1", Some(&secret));
    at_ndes(&world, &Client::new(), MessageType::PkcsReq, &other).failure();
    assert_eq!(alarms(), 1);
}

#[test]
fn what_is_turned_away_and_what_is_logged_goes_by_the_profile_that_the_key_usage_chose() {
    let per_profile = Pace::per_minute(1).map(|pace| ("sign".parse().unwrap(), pace)).into_iter().collect();
    let world = three_with(GuardSettings { per_profile, ..GuardSettings::default() });
    let ask = |usage| {
        let csr = request("CN=SN1", &password(&world, ""), usage);
        let client = Client::new();
        let message = client.message(&world.message_certificate("device"), &MessageOptions::default(), &csr);
        world.gateway.ndes_operation(&message, &world.origin()).map(|rep| rep.result)
    };
    let log = logged(|| assert_eq!(ask(Some(SIGN)), Ok("success")));
    let line = log.lines().find(|line| line.contains("SCEP transaction")).unwrap();
    assert!(line.contains("profile=sign "), "{line}");
    let log = logged(|| {
        let refused = ask(Some(SIGN));
        assert!(matches!(refused, Err(ScepError::TooSoon { retry_after }) if retry_after.as_secs() == 60));
    });
    assert!(log.contains("profile=sign limit=\"profile\""), "{log}");
    assert_eq!(ask(None), Ok("success"), "another profile has its own limit");
    let turned_away = world.gateway.exchanges(
        &world.authed::<Read>(),
        &ExchangeFilter { profile: Some("sign".parse().unwrap()), ..ExchangeFilter::default() },
        &Page::first(1),
    );
    let turned_away = turned_away.unwrap().items.remove(0);
    assert_eq!(turned_away.ending, Ending::Http(429));
    assert!(turned_away.reason.contains("requests-per-minute"), "{}", turned_away.reason);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(Some(SIGN)), Ok("success"));
}
