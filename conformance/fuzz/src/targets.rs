//! One function for each reader of what a stranger wrote.

use std::io::Read as _;

use certgate::{
    adapters::keys::archive::{ArchiveReader, MAGIC},
    domain::{
        challenge::check_static,
        enrol::{EnrolRequest, authorise},
        profile::{Profile, ProfileSpec, Variables},
        source::entry::{Columns, Entry, columns},
    },
    http::scep::{message_of_query, parameter},
    service::backup::{Frame, FrameReader},
    types::{ProfileName, Secret, Timestamp, Validity},
    wire::{
        ca_index::IndexLine,
        crl::Crl,
        csr::Csr,
        der::normalise,
        inventory::Inventory,
        ldap::{Message, message_len},
        ocsp::{OcspRequest, OcspResponse},
        scep::{Degenerate, Envelope, IssuerAndSerialNumber, IssuerAndSubject, PkiMessage},
        x509::{Certificate, Name},
    },
};

/// A target: its name, the fixtures to begin with (folders and ends of names below `fixtures/`), its function.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What to begin with: beginnings and ends of paths below `fixtures/`.
    pub seeds: &'static [(&'static str, &'static str)],
    /// What else to begin with.
    pub texts: &'static [&'static str],
    /// Takes one input.
    pub run: fn(&[u8]),
}

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: &'static [(&'static str, &'static str)],
) -> Target {
    Target { name, seeds, texts: &[], run }
}

/// Every target.
pub const ALL: &[Target] = &[
    target("ber", ber, &[("scep/", ".der"), ("x509/", ".der")]),
    target("scep_message", scep_message, &[("scep/", ".der")]),
    target("envelope", envelope, &[("scep/openssl-", ".der")]),
    target("scep_payload", scep_payload, &[("scep/openssl-degenerate", ".der")]),
    target("csr", csr, &[("x509/request", ".der")]),
    target("x509", x509, &[("x509/", ".der")]),
    target("pem", pem, &[("x509/", ".pem")]),
    target("ocsp_request", ocsp_request, &[("x509/ocsp-request", ".der")]),
    target("ocsp_response", ocsp_response, &[("x509/ocsp-response", ".der")]),
    target("crl", crl, &[("x509/", ".crl")]),
    target("ldap", ldap, &[("ldap/", ".ber")]),
    target("backup_frames", backup_frames, &[]),
    target("archive", archive, &[]),
    Target { texts: &["CN=SN1,O=Lab\\, Inc,C=CH", "1.2.3=#0c0141+CN=\"x\""], ..target("name", name, &[]) },
    Target {
        texts: &["serial,user\nSN1,ada\n", "[{\"device\": {\"serialNumber\": \"SN1\"}}]"],
        ..target("inventory", inventory, &[])
    },
    Target {
        texts: &[
            "V\t301231235959Z\t\t4F00AB\tunknown\t/C=DE/O=Lab, Inc./CN=host\n",
            "R\t301231235959Z\t260301120000Z,CAkeyTime,20260227030000Z\t0A\tunknown\t/O=K\\xC3\\xA4se/CN=x\n",
        ],
        ..target("ca_index", ca_index, &[])
    },
    Target {
        texts: &[
            "operation=PKIOperation&message=MIAGCSqGSIb3DQEHAqCAMIACAQExDzANBg%3D%3D",
            "message=a+b%2Bc%0A&x",
        ],
        ..target("query", query, &[])
    },
    Target {
        texts: &[
            "CN=$DEVICE_ID$,O=Lab\0dns:{{DEVICE_ID}}.example\0subject.cn\0SN1",
            "$USER_DN$\0upn:$USER_UPN$\0san.upn\0CN=a",
        ],
        ..target("template", template, &[])
    },
    target("responder", responder, &[("scep/", ".der")]),
];

/// BER to DER, and again: nothing changes.
pub fn ber(bytes: &[u8]) {
    if let Ok(once) = normalise(bytes) {
        assert_eq!(normalise(&once).as_ref(), Ok(&once));
    }
}

/// A pkiMessage, its signature, attributes and envelope.
pub fn scep_message(bytes: &[u8]) {
    if let Ok(message) = PkiMessage::from_ber(bytes) {
        let _ =
            message.verify().map(|verified| (verified.reply(), verified.signing_time(), verified.envelope()));
    }
}

/// EnvelopedData, opened with a wrong key.
pub fn envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::from_ber(bytes) {
        let _ = envelope.open(&Secret::new(vec![1; envelope.cipher.key_len()]));
    }
}

/// Degenerate SignedData, IssuerAndSubject, IssuerAndSerialNumber, written and read again.
pub fn scep_payload(bytes: &[u8]) {
    let _ = Degenerate::from_ber(bytes);
    if let Ok(poll) = IssuerAndSubject::from_ber(bytes) {
        let der = poll.to_der().expect("what was read can be written");
        assert_eq!(IssuerAndSubject::from_ber(&der), Ok(poll));
    }
    if let Ok(get) = IssuerAndSerialNumber::from_ber(bytes) {
        let der = get.to_der().expect("what was read can be written");
        assert_eq!(IssuerAndSerialNumber::from_ber(&der), Ok(get));
    }
}

/// PKCS#10 with its own signature.
pub fn csr(bytes: &[u8]) {
    let Ok(csr) = Csr::from_der(bytes) else { return };
    if let Ok(proven) = csr.prove() {
        let _ = (proven.subject().to_string(), proven.subject_alt_names(), proven.requested_extension_oids());
    }
}

/// Certificates, names, own signature, PEM and back.
pub fn x509(bytes: &[u8]) {
    let Ok(certificate) = Certificate::from_der(bytes) else { return };
    let _ = (certificate.subject().to_string(), certificate.issuer().to_string());
    let _ = (certificate.is_self_issued(), certificate.is_signed_by(&certificate));
    let again = Certificate::from_pem(&certificate.to_pem()).expect("what was read can be read as PEM");
    assert_eq!(again, certificate);
}

/// PEM text of certificates and requests.
pub fn pem(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (Certificate::from_pem(text), Csr::from_pem(text));
    }
}

/// A distinguished name as text. What it is shown as is read as the same name, or not at all (`C=#..` may hold what `C=..` may not).
pub fn name(bytes: &[u8]) {
    let Some(name) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Name>().ok()) else {
        return;
    };
    if let Ok(again) = name.to_string().parse::<Name>() {
        assert!(again.matches(&name), "{name} is not {again}");
    }
}

/// OCSP requests, by POST and GET.
pub fn ocsp_request(bytes: &[u8]) {
    let _ = OcspRequest::from_der(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = OcspRequest::decode_get(text);
    }
}

fn ca() -> Certificate {
    const ISSUER: &[u8] = include_bytes!("../../../fixtures/x509/ca.der");
    Certificate::from_der(ISSUER).expect("the fixture is a certificate")
}

/// OCSP responses and their signature.
pub fn ocsp_response(bytes: &[u8]) {
    if let Ok(OcspResponse::Successful(response)) = OcspResponse::from_der(bytes) {
        let _ = response.verify(&ca());
    }
}

/// CRLs and their signature.
pub fn crl(bytes: &[u8]) {
    let Ok(crl) = Crl::from_der(bytes) else { return };
    let _ = crl.issuer().to_string();
    let _ = crl.verify(&ca());
}

/// What a directory server answers.
pub fn ldap(bytes: &[u8]) {
    let length = message_len(bytes);
    if Message::read(bytes).is_ok() {
        assert!(matches!(length, Ok(Some(_))), "a message has a length");
    }
}

/// The database of `openssl ca`.
pub fn ca_index(bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let _ = IndexLine::read(line);
    }
}

/// CSV and JSON of an MDM, columns, entries.
pub fn inventory(bytes: &[u8]) {
    let Ok(inventory) = Inventory::read(bytes) else { return };
    let Ok(columns) = columns(&inventory, &Columns::new()) else { return };
    let mut rows = 0;
    inventory.each_row(&mut |row| {
        rows += 1;
        assert_eq!(Entry::read(&row, &columns).line, row.line);
    });
    assert_eq!(inventory.rows, rows);
}

/// The content of a backup.
pub fn backup_frames(bytes: &[u8]) {
    let Ok((mut frames, _head)) = FrameReader::start(bytes) else { return };
    while let Ok(frame) = frames.next() {
        if frame == Frame::End {
            break;
        }
    }
}

/// The encryption of a backup, at the least cost of Argon2id: what a header may cost is a limit of its own, with a test.
pub fn archive(bytes: &[u8]) {
    // 8 KiB of memory, one pass, one lane.
    const CHEAP: [u8; 12] = [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1];
    let mut bytes = bytes.to_vec();
    if let Some(cost) = bytes.get_mut(MAGIC.len() + 1..MAGIC.len() + 13) {
        cost.copy_from_slice(&CHEAP);
    }
    let passphrase = Secret::from("correct horse battery staple");
    if let Ok(mut archive) = ArchiveReader::open(bytes.as_slice(), &passphrase) {
        let _ = archive.read_to_end(&mut Vec::new());
    }
}

/// The query of a GET: its parameters, and the message in one of the many spellings of base64.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for name in ["operation", "message"] {
        let _ = parameter(text, name);
    }
    if let Ok(message) = message_of_query(text) {
        assert!(message.len() <= text.len());
        scep_message(&message);
    }
}

/// Templates of subject and SAN, and values for them: what is checked can be filled, or is refused.
pub fn template(bytes: &[u8]) {
    const REQUEST: &[u8] = include_bytes!("../../../fixtures/x509/request.der");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.split('\0');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let mut spec: ProfileSpec =
        toml::from_str("subject = \"CN=x\"\nchallenge = [\"static\"]").expect("a profile");
    (spec.subject, spec.subject_alt_names, spec.identify) = (part(), vec![part()], part());
    spec.allow_unregistered = true;
    let _ = spec.mistakes();
    let (name, now): (ProfileName, _) =
        ("device".parse().expect("a name"), Timestamp::from_unix(1_800_000_000));
    let profile = Profile { name: name.clone(), version: 1, created_at: now, spec };
    let Ok(profile) = profile.checked() else { return };
    let value = part();
    let variables: Variables = ["DEVICE_ID", "DEVICE_SN", "USER_UPN", "USER_DN", "USER_CN", "REALM"]
        .map(|key| (key.to_owned(), value.clone()))
        .into();
    let csr = Csr::from_der(REQUEST).expect("the fixture is a request").prove().expect("it is signed");
    let _ = profile.claimed_identities(csr.subject(), csr.subject_alt_names());
    let authorisation = check_static(&[0; 32], &[[0; 32]], &name).expect("the same challenge");
    let request = EnrolRequest {
        profile: &profile,
        csr: &csr,
        message: None,
        device: None,
        user: None,
        several: None,
        renews: None,
        issuer_validity: Validity { not_before: Timestamp::EPOCH, not_after: Timestamp::MAX },
        variables: &variables,
        now,
    };
    let _ = authorise(&request, &authorisation);
}

/// The whole responder: see [`crate::responder`].
pub fn responder(bytes: &[u8]) {
    crate::responder::run(bytes);
}
