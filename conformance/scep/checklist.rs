//! The checklist of RFC 8894's requirements: each row has a test that is named by its id, here or in the file of its subject; and the form
//! of answers, looked at below what `wire` reads.

use std::{fs, path::Path};

use certgate::{
    types::{DigestAlgorithm, Fingerprint},
    wire::{
        scep::{Envelope, FailInfo, IssuerAndSubject, MessageType, PkiMessage, PkiStatus},
        x509::Certificate,
    },
};
use der::{
    Decode, Reader, SliceReader,
    asn1::{AnyRef, ObjectIdentifier},
};

use crate::{
    DEVICE,
    common::{Answer, Client, World},
};

/// The rows: a section of RFC 8894 and a letter.
const ROWS: &str = "2.1.2-a 2.2-a 2.3-a 2.3-b 2.3-c 2.3-d 2.4-a 2.4-b 2.4-c 2.5-a 2.7-a 2.9-a 2.9-b 2.9-c 3.1-a 3.2-a 3.2.1-a 3.2.1.2-a \
    3.2.1.5-a 3.2.2-a 3.3.1-a 3.3.2.1-a 3.3.2.2-a 3.3.2.3-a 3.3.3-a 3.3.4-a 3.4-a 3.5.2-a 4.1-a 4.2.1-a 4.4-a 4.6-a 4.7.1-a 5.1-a 5.2-a 7.3-a 7.6-a";

#[test]
fn every_row_of_the_checklist_has_a_test_named_by_it() {
    let mut sources = String::new();
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance"), &mut sources);
    let named = |row: &&str| sources.contains(&format!("#[test]\nfn s{}_", row.replace(['.', '-'], "_")));
    let without: Vec<_> = ROWS.split(' ').filter(|row| !named(row)).collect();
    assert!(without.is_empty(), "no test is named by {without:?}");
    assert!(!named(&"9.9-z"));
}

fn read_all(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

const MANUAL: &str = "subject = \"CN=$DEVICE_ID$\"\napproval = \"manual\"\nchallenge = []\n";

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// What a constructed element holds, each whole.
fn members(element: &[u8]) -> Vec<&[u8]> {
    let mut content = SliceReader::new(AnyRef::from_der(element).unwrap().value()).unwrap();
    let mut members = Vec::new();
    while !content.is_finished() {
        members.push(content.tlv_bytes().unwrap());
    }
    members
}

/// The element at `path`: indexes of members, from the outside.
fn at<'a>(element: &'a [u8], path: &[usize]) -> &'a [u8] {
    path.iter().fold(element, |element, index| members(element)[*index])
}

fn oid_of(element: &[u8]) -> ObjectIdentifier {
    ObjectIdentifier::from_der(element).unwrap()
}

/// Tag and content of each signed attribute's one value.
fn attributes(message: &[u8]) -> Vec<(String, u8, Vec<u8>)> {
    let signer = at(message, &[1, 0]);
    let signer = at(members(signer).last().unwrap(), &[0]);
    members(members(signer)[3])
        .into_iter()
        .map(|attribute| {
            let [oid, values] = members(attribute).try_into().unwrap();
            let [value] = members(values).try_into().unwrap();
            let content = AnyRef::from_der(value).unwrap().value().to_vec();
            (oid_of(oid).to_string(), value[0], content)
        })
        .collect()
}

/// One answer of each status, in the order SUCCESS, FAILURE, PENDING.
fn one_of_each() -> [Answer; 3] {
    let world = World::new(&[("device", DEVICE), ("manual", MANUAL)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let granted = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket)));
    let refused = client.enrol(&world, "device", &client.csr("CN=x", None));
    let pending = client.enrol(&world, "manual", &client.csr("CN=SN1", None));
    let all = [granted, refused, pending];
    let statuses = all.each_ref().map(|answer| answer.status);
    assert_eq!(statuses, [PkiStatus::Success, PkiStatus::Failure, PkiStatus::Pending]);
    all
}

#[test]
fn s2_2_a_fingerprints_are_shown_to_the_admin() {
    let world = World::new(&[("device", DEVICE)]);
    for view in world.gateway.issuers(&world.authed()).unwrap().items {
        let certificate = world.issuer(view.id.as_str());
        assert_eq!(view.fingerprint, Fingerprint::of(certificate.as_der()));
        assert_eq!(view.sha1, hex::encode(DigestAlgorithm::Sha1.digest(certificate.as_der())));
        assert_eq!(view.md5, hex::encode(DigestAlgorithm::Md5.digest(certificate.as_der())));
    }
    assert_eq!(world.made.message, world.message_certificate("device").fingerprint());
}

#[test]
fn s2_3_c_a_renewal_for_a_new_key_is_answered_to_the_old_one() {
    let (world, client, old) = enrolled();
    let next = Client::new();
    let csr = next.csr(&old.subject().to_string(), None);
    let answer = client.renew(&world, "device", &csr);
    let verified = PkiMessage::from_ber(&answer.rep.body).unwrap().verify().unwrap();
    let envelope = verified.envelope().unwrap();
    assert_eq!(envelope.recipients.len(), 1);
    assert!(envelope.recipients[0].is(&old) && !envelope.recipients[0].is(answer.certificate()));
}

/// A device that has enrolled: a world, its client with the certificate as identity, the certificate.
fn enrolled() -> (World, Client, Certificate) {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let issued = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let client = client.with_identity(&issued).in_transaction("renewal-1");
    (world, client, issued)
}

#[test]
fn s2_4_a_a_challenge_is_good_once_and_a_renewal_needs_none() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let issued = client.enrol(&world, "device", &client.csr("CN=x", Some(&ticket))).certificate().clone();
    let other = Client::new();
    let again = other.enrol(&world, "device", &other.csr("CN=x", Some(&ticket)));
    assert_eq!(again.failure(), FailInfo::BadRequest);
    let client = client.with_identity(&issued).in_transaction("renewal-1");
    let renewed = client.renew(&world, "device", &client.csr(&issued.subject().to_string(), None));
    assert_eq!(renewed.certificate().subject(), issued.subject());
}

#[test]
fn s3_2_a_content_is_data_and_absent_from_failure_and_pending() {
    for answer in one_of_each() {
        let encapsulated = members(at(&answer.rep.body, &[1, 0, 2]));
        assert_eq!(oid_of(encapsulated[0]), DATA);
        assert_eq!(encapsulated.len() == 2, answer.status == PkiStatus::Success, "{:?}", answer.status);
    }
}

#[test]
fn s3_2_1_a_the_attributes_of_a_cert_rep_are_there_in_their_types() {
    const PRINTABLE: u8 = 0x13;
    const OCTETS: u8 = 0x04;
    const ARC: &str = "2.16.840.1.113733.1.9.";
    for answer in one_of_each() {
        let attributes = attributes(&answer.rep.body);
        let value = |oid: &str| {
            attributes.iter().find(|(got, ..)| got == oid).map(|(_, tag, value)| (*tag, value.as_slice()))
        };
        assert_eq!(value(&format!("{ARC}2")), Some((PRINTABLE, &b"3"[..])));
        let status = answer.status.code().to_string();
        assert_eq!(value(&format!("{ARC}3")), Some((PRINTABLE, status.as_bytes())));
        for nonce in ["5", "6"] {
            let (tag, value) = value(&format!("{ARC}{nonce}")).unwrap();
            assert_eq!((tag, value.len()), (OCTETS, 16), "{nonce}");
        }
        assert_eq!(value(&format!("{ARC}7")).unwrap().0, PRINTABLE);
        for cms in ["1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"] {
            assert!(value(cms).is_some(), "{cms}");
        }
        let failed = answer.status == PkiStatus::Failure;
        assert_eq!(value(&format!("{ARC}4")), failed.then_some((PRINTABLE, &b"2"[..])));
        assert_eq!(value("1.3.6.1.5.5.7.24.1").map(|(tag, _)| tag), failed.then_some(0x0c));
    }
}

#[test]
fn s3_2_2_a_envelopes_hold_data_and_a_payload_that_fits_the_message_type() {
    let [granted, ..] = one_of_each();
    let content = at(&granted.rep.body, &[1, 0, 2, 1, 0]);
    let envelope = AnyRef::from_der(content).unwrap().value();
    Envelope::from_ber(envelope).unwrap();
    assert_eq!(oid_of(at(envelope, &[1, 0, 2, 0])), DATA);

    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let poll = IssuerAndSubject {
        issuer: world.issuer("issuing").subject().clone(),
        subject: "CN=SN1".parse().unwrap(),
    };
    let csr = client.csr("CN=SN1", Some(&ticket));
    for (kind, payload) in [
        (MessageType::PkcsReq, poll.to_der().unwrap()),
        (MessageType::GetCert, csr.clone()),
        (MessageType::GetCrl, csr),
    ] {
        let answer = client.ask(&world, "device", kind, &payload);
        assert_eq!(answer.failure(), FailInfo::BadRequest, "{kind:?}");
    }
    assert_eq!(world.leaves(), 0);
}

#[test]
fn s3_3_1_a_a_request_with_an_empty_subject_is_read() {
    let world = World::new(&[("device", DEVICE)]);
    let ticket = world.ticket("device", &world.register("SN1"));
    let client = Client::new();
    let answer = client.enrol(&world, "device", &client.csr("", Some(&ticket)));
    assert_eq!(answer.certificate().subject().to_string(), "CN=SN1,O=Test");
}

#[test]
fn s3_3_2_2_a_failure_has_a_fail_info_and_no_envelope() {
    let [_, refused, _] = one_of_each();
    assert_eq!(refused.fail_info, Some(FailInfo::BadRequest));
    assert!(refused.fail_info_text.is_some());
    assert!(PkiMessage::from_ber(&refused.rep.body).unwrap().verify().unwrap().envelope().is_err());
}

#[test]
fn s3_3_2_3_a_pending_has_neither_envelope_nor_fail_info() {
    let [.., pending] = one_of_each();
    assert_eq!((pending.fail_info, pending.fail_info_text), (None, None));
    assert!(PkiMessage::from_ber(&pending.rep.body).unwrap().verify().unwrap().envelope().is_err());
}

#[test]
fn s3_4_a_degenerate_signed_data_has_neither_content_nor_signers() {
    let world = World::new(&[("device", DEVICE)]);
    let bundle = world.gateway.ca_certificates(&"device".parse().unwrap()).unwrap().body;
    let [granted, ..] = one_of_each();
    for degenerate in [bundle, granted.payload] {
        let data = members(at(&degenerate, &[1, 0]));
        let content_info = members(data[2]);
        assert_eq!(content_info.len(), 1, "the content is left out");
        assert_eq!(oid_of(content_info[0]), DATA);
        assert!(members(data.last().unwrap()).is_empty(), "no signers");
    }
}

#[test]
fn s7_6_a_a_renewal_whose_request_is_not_signed_by_its_key_is_refused() {
    let (world, client, old) = enrolled();
    let mut csr = Client::new().csr(&old.subject().to_string(), None);
    *csr.last_mut().unwrap() ^= 1;
    assert_eq!(client.renew(&world, "device", &csr).failure(), FailInfo::BadRequest);
    assert_eq!(world.leaves(), 1);
}
