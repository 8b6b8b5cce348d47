//! Client profiles: what `client` and the keys beside it change on the wire.

use certgate::{
    types::ContentCipher,
    wire::{
        scep::{Degenerate, FailInfo},
        x509::Certificate,
    },
};

use crate::common::{Answer, Client, MessageOptions, World, WorldOptions};

/// A world with one profile `x` with these lines.
fn world(lines: &str) -> World {
    World::new(&[("x", &format!("subject = \"CN=$DEVICE_ID$\"\n{lines}"))])
}

fn enrol(world: &World, options: &MessageOptions) -> Answer {
    let device = world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("x", &device)));
    client.ask(world, "x", options.clone(), &csr)
}

fn capabilities(world: &World) -> String {
    world.gateway.ca_capabilities(&"x".parse().unwrap()).unwrap()
}

#[test]
fn cisco_vpn_gets_the_cas_in_success_and_juniper_and_apple_do_not() {
    let cisco = world("client = \"cisco-vpn\"");
    let answer = enrol(&cisco, &MessageOptions::default());
    assert_eq!(answer.certificate().subject().to_string(), "CN=SN1");
    assert_eq!(answer.certificates[1..], [cisco.issuer("issuing"), cisco.issuer("root")]);
    for alone in ["client = \"juniper\"", "client = [\"apple\", \"windows\"]", ""] {
        assert_eq!(enrol(&world(alone), &MessageOptions::default()).certificates.len(), 1, "{alone}");
    }
}

#[test]
fn the_key_wins_over_the_client() {
    let world = world("client = \"cisco-vpn\"\ninclude-ca = false");
    assert_eq!(enrol(&world, &MessageOptions::default()).certificates.len(), 1);
}

#[test]
fn old_gear_is_answered_with_its_own_single_des_where_it_is_open() {
    let des = MessageOptions { cipher: ContentCipher::DesCbc, ..Default::default() };
    for (profile, expected) in [
        ("client = \"cisco-ios\"\nlegacy = { des = true }", ContentCipher::DesCbc),
        ("client = \"legacy\"", ContentCipher::DesCbc),
        ("reply-cipher = \"request\"\nlegacy = { des = true }", ContentCipher::DesCbc),
        ("client = \"legacy\"\nreply-cipher = \"strong\"", ContentCipher::TripleDesCbc),
        ("legacy = { des = true }", ContentCipher::TripleDesCbc),
    ] {
        let answer = enrol(&world(profile), &des);
        assert_eq!(answer.certificate().subject().to_string(), "CN=SN1");
        assert_eq!(answer.cipher, Some(expected), "{profile}");
    }
}

#[test]
fn naming_cisco_opens_no_old_algorithm() {
    for cipher in [ContentCipher::DesCbc, ContentCipher::TripleDesCbc] {
        let old = MessageOptions { cipher, ..Default::default() };
        assert_eq!(enrol(&world("client = \"cisco-ios\""), &old).failure(), FailInfo::BadAlg, "{cipher}");
    }
}

#[test]
fn what_legacy_opens_an_explicit_switch_closes() {
    let closed = "client = \"legacy\"\nlegacy = { des = false }";
    let des = MessageOptions { cipher: ContentCipher::DesCbc, ..Default::default() };
    assert_eq!(enrol(&world(closed), &des).failure(), FailInfo::BadAlg);
    let triple = MessageOptions { cipher: ContentCipher::TripleDesCbc, ..Default::default() };
    assert_eq!(enrol(&world(closed), &triple).cipher, Some(ContentCipher::TripleDesCbc));
}

#[test]
fn capabilities_are_those_of_the_client() {
    let any = capabilities(&world(""));
    for keyword in
        ["AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-1", "SHA-256", "SHA-384", "SHA-512"]
    {
        assert!(any.lines().any(|line| line == keyword), "{keyword}");
    }
    let windows = capabilities(&world("client = \"windows\""));
    assert!(!windows.contains("SHA-1\n") && !windows.contains("SHA-384"), "{windows}");
    assert!(capabilities(&world("client = \"apple\"")).contains("SHA-1\n"));
    assert!(capabilities(&world("client = \"strongswan\"")).contains("SHA-384\n"));
    let legacy = capabilities(&world("client = \"legacy\""));
    assert!(legacy.contains("DES3\n") && legacy.contains("SHA-1\n"), "{legacy}");
}

fn shown(world: &World) -> Vec<Certificate> {
    world.ca_certificates("x")
}

#[test]
fn the_bundle_is_full_short_or_of_chosen_files() {
    let full = world("");
    assert_eq!(shown(&full)[1..], [full.issuer("issuing"), full.issuer("root")]);
    let short = world("ca-bundle = \"short\"");
    assert_eq!(shown(&short)[1..], [short.issuer("issuing")]);

    let chosen = Client::new().identity;
    let mut options = WorldOptions::default();
    options.settings.ca_certificates.insert("x".parse().unwrap(), vec![chosen.clone()]);
    let overridden = World::with(options, &[("x", "subject = \"CN=$DEVICE_ID$\"")]);
    let certificates = shown(&overridden);
    assert_eq!(certificates[1..], [chosen]);
    // What clients encrypt to is ours whatever the files say.
    assert_eq!(certificates[0], overridden.message_certificate("x"));
    assert!(certificates[0].is_signed_by(&overridden.issuer("issuing")).is_ok());
}

#[test]
fn the_message_certificate_alone_is_no_bundle() {
    let world = world("ca-bundle = \"message\"");
    let answer = world.gateway.ca_certificates(&"x".parse().unwrap()).unwrap();
    assert_eq!(answer.content_type, "application/x-x509-ca-cert");
    assert!(Degenerate::from_ber(&answer.body).is_err());
    let certificate = Certificate::from_der(&answer.body).unwrap();
    // And it is the one that a client can enrol with.
    let device = world.register("SN1");
    let client = Client::new();
    let csr = client.csr("CN=x", Some(&world.ticket("x", &device)));
    let message = client.message(&certificate, &MessageOptions::default(), &csr);
    assert_eq!(client.send(&world, "x", &message).certificate().subject().to_string(), "CN=SN1");
}
