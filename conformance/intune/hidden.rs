//! Names that certgate reads in a request and Intune may not: they are not certified on Intune's word.

use certgate::{
    domain::enrol::RefusalReason,
    types::{DigestAlgorithm, SignatureAlgorithm},
    wire::{
        csr::Csr,
        scep::FailInfo,
        x509::{GeneralName, Name},
    },
};

use crate::{PROFILE, challenge, common::Client, fake::Action, world_with};

/// PKCS #9's extensionRequest and challengePassword; what Windows 2000 wrote in place of the first.
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
const CHALLENGE_PASSWORD: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07];
const MICROSOFT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0e];
const SHA256_WITH_RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut all = vec![tag];
    match length {
        0..=0x7f => all.push(length.to_be_bytes()[7]),
        0x80..=0xff => all.extend([0x81, length.to_be_bytes()[7]]),
        _ => all.extend([&[0x82], &length.to_be_bytes()[6..]].concat()),
    }
    all.extend(content);
    all
}

fn attribute(oid: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x06, oid), tlv(0x31, &values.concat())].concat())
}

/// A list of extensions with a subjectAltName for this host, or, with none, with a keyUsage.
fn extensions(host: Option<&str>) -> Vec<u8> {
    let (oid, value) = match host {
        Some(host) => ([0x55, 0x1d, 0x11], tlv(0x30, &tlv(0x82, host.as_bytes()))),
        None => ([0x55, 0x1d, 0x0f], vec![0x03, 0x02, 0x05, 0xa0]),
    };
    tlv(0x30, &tlv(0x30, &[tlv(0x06, &oid), tlv(0x04, &value)].concat()))
}

fn csr(client: &Client, attributes: &[Vec<u8>]) -> Vec<u8> {
    let subject: Name = "CN=x".parse().unwrap();
    let password = tlv(0x13, challenge().expose());
    let attributes = [attributes, &[attribute(CHALLENGE_PASSWORD, &[password])]].concat().concat();
    let parts = [&[2, 1, 0][..], subject.as_der(), client.public_key().as_spki(), &tlv(0xa0, &attributes)];
    let to_be_signed = tlv(0x30, &parts.concat());
    let signature =
        client.signer().sign(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256), &to_be_signed).unwrap();
    let signature = tlv(0x03, &[&[0], &signature[..]].concat());
    tlv(0x30, &[&to_be_signed[..], SHA256_WITH_RSA, &signature].concat())
}

#[test]
fn a_name_that_stands_where_everybody_looks_is_certified() {
    let (world, _fake) = world_with(PROFILE, |_| {});
    for second in [None, Some(attribute(MICROSOFT, &[extensions(Some("a.example"))]))] {
        let client = Client::new();
        let plain = attribute(EXTENSION_REQUEST, &[extensions(Some("a.example"))]);
        let csr = csr(&client, &[vec![plain], Vec::from_iter(second)].concat());
        let certificate = client.enrol(&world, "phones", &csr).certificate().clone();
        assert_eq!(certificate.subject_alt_names(), [GeneralName::Dns("a.example".to_owned())]);
    }
}

#[test]
fn a_name_that_intune_may_not_have_seen_is_not_certified() {
    for rule in ["claim", "fill"] {
        let profile = PROFILE.replace("claim", rule);
        let (world, fake) = world_with(&profile, |_| {});
        world.register("x");
        let name = || extensions(Some("b.example"));
        for hidden in [
            vec![attribute(MICROSOFT, &[name()])],
            vec![attribute(EXTENSION_REQUEST, &[extensions(None)]), attribute(MICROSOFT, &[name()])],
            vec![attribute(EXTENSION_REQUEST, &[extensions(None)]), attribute(EXTENSION_REQUEST, &[name()])],
        ] {
            let client = Client::new();
            let told = fake.count(Action::Failure);
            let answer = client.enrol(&world, "phones", &csr(&client, &hidden));
            assert_eq!(answer.failure(), FailInfo::BadRequest);
            assert_eq!(fake.count(Action::Failure), told + 1, "Intune is told that it was refused");
            let why = fake.last(Action::Failure)["notification"]["errorDescription"].to_string();
            assert!(RefusalReason::HiddenAlternatives.to_string().starts_with(&why[1..60]), "{why}");
        }
        assert_eq!(world.leaves(), 0);
    }
}

#[test]
fn an_attribute_has_one_value() {
    let client = Client::new();
    let two = [extensions(Some("a.example")), extensions(Some("b.example"))];
    for oid in [EXTENSION_REQUEST, MICROSOFT] {
        assert!(Csr::from_der(&csr(&client, &[attribute(oid, &two)])).is_err());
        assert!(Csr::from_der(&csr(&client, &[attribute(oid, &two[..1])])).is_ok());
    }
}
