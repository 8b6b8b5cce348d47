//! Certificates as OpenSSL writes them (`fixtures/x509/`), and as they are built here.

use const_oid::{
    ObjectIdentifier,
    db::{rfc5280, rfc5912},
};
use proptest::prelude::*;

use super::{
    testing::{Authority, TestKey, bare_spec, mutations},
    *,
};
use crate::{
    types::{DigestAlgorithm, KeyAlgorithm, KeyTransport, SignatureAlgorithm},
    wire::der::{reader::Element, writer},
};

const CA: &[u8] = include_bytes!("../../../fixtures/x509/ca.der");
const DEVICE: &str = include_str!("../../../fixtures/x509/device.pem");
const OLD_SIGNER: &[u8] = include_bytes!("../../../fixtures/x509/rsa1024-sha1-32-byte-serial.der");
const VERSION_1: &[u8] = include_bytes!("../../../fixtures/x509/version-1.der");
const P384: &[u8] = include_bytes!("../../../fixtures/x509/p384.der");
const ED25519: &[u8] = include_bytes!("../../../fixtures/x509/ed25519.der");

fn read(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

#[test]
fn reads_every_field_of_openssls_certificate() {
    let device = Certificate::from_pem(DEVICE).unwrap();
    assert_eq!(device.serial().to_string(), "4f00ab");
    assert_eq!(device.issuer().to_string(), "CN=Issuing CA,O=Lab,C=CH");
    assert_eq!(device.subject(), &"CN=dev1,OU=computers,O=Lab,C=CH".parse::<Name>().unwrap());
    assert_eq!(device.public_key().kind(), KeyKind::P256);
    assert_eq!(device.signature_algorithm(), Some(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256)));
    assert_eq!(device.key_usage().unwrap(), KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT));
    let ipsec = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.17");
    assert_eq!(device.extended_key_usage(), [rfc5280::ID_KP_CLIENT_AUTH, ipsec]);
    let names: Vec<_> = device.subject_alt_names().iter().map(ToString::to_string).collect();
    let expected = [
        "email:ada@lab.example",
        "dns:dev1.lab.example",
        "uri:urn:dev1",
        "ip:192.0.2.7",
        "ip:2001:db8::7",
        "upn:ada@lab.example",
        "dirname:CN=dir,O=Lab",
        "other:88032a0304",
    ];
    assert_eq!(names, expected);
    let [first, second] =
        ["http://pki.lab.example/crl/issuing.crl", "http://pki2.lab.example/crl/issuing.crl"];
    assert_eq!(device.crl_urls(), [first, second]);
    assert_eq!(device.ocsp_urls(), ["http://pki.lab.example/ocsp"]);
    assert_eq!(device.ca_issuers_urls(), ["http://pki.lab.example/ca/issuing.cer"]);
    assert!(!device.is_ca() && !device.is_self_issued() && !device.has_ocsp_no_check());
    assert_eq!(device.microsoft_sid(), None);

    let ca = read(CA);
    assert_eq!(ca.ca_constraint(), Some(CaConstraint { path_len: Some(0) }));
    assert_eq!(ca.subject_key_identifier(), Some(ca.public_key().key_identifier().as_slice()));
    assert_eq!(device.authority_key_identifier(), ca.subject_key_identifier());
    // 30 years from 2026 are beyond UTCTime.
    assert!(ca.validity().not_after.to_string().starts_with("2056-"));
}

#[test]
fn checks_openssls_signatures() {
    let (ca, device) = (read(CA), Certificate::from_pem(DEVICE).unwrap());
    assert_eq!(device.is_signed_by(&ca), Ok(()));
    assert_eq!(ca.is_signed_by(&device), Err(BadSignature));
    for (der, kind) in [
        (CA, KeyKind::Rsa { bits: 2048 }),
        (OLD_SIGNER, KeyKind::Rsa { bits: 1024 }),
        (VERSION_1, KeyKind::Rsa { bits: 1024 }),
        (P384, KeyKind::P384),
    ] {
        let own = read(der);
        assert_eq!(own.public_key().kind(), kind);
        assert_eq!(own.is_signed_by(&own), Ok(()), "{kind:?}");
    }
}

#[test]
fn takes_old_signers_and_unknown_keys() {
    let old = read(OLD_SIGNER);
    assert_eq!(old.serial().as_bytes().len(), 32);
    assert_eq!(old.signature_algorithm(), Some(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha1)));
    assert_eq!(old.public_key().encrypt(KeyTransport::Pkcs1, &[7; 16]), Err(CannotEncrypt));
    let unknown = read(ED25519);
    assert_eq!(unknown.public_key().kind(), KeyKind::Other);
    assert_eq!(unknown.is_signed_by(&unknown), Err(BadSignature));
}

#[test]
fn rejects_a_changed_certificate() {
    let ca = read(CA);
    let device = Certificate::from_pem(DEVICE).unwrap();
    let forged = mutations(device.as_der())
        .filter(|der| der != device.as_der())
        .filter_map(|der| Certificate::from_der(&der).ok())
        .any(|certificate| certificate.is_signed_by(&ca).is_ok());
    assert!(!forged);
}

#[test]
fn rejects_repeated_extensions_and_differing_algorithms() {
    let key = TestKey::generate(KeyAlgorithm::P256);
    let der = key.issue(&bare_spec("CN=x", "CN=x", key.public_key())).as_der().to_vec();
    let sha256 = writer::oid(rfc5912::ECDSA_WITH_SHA_256);
    let at = der.windows(sha256.len()).rposition(|window| window == sha256).unwrap();
    let mut differing = der;
    differing[at..at + sha256.len()].copy_from_slice(&writer::oid(rfc5912::ECDSA_WITH_SHA_384));
    assert!(Certificate::from_der(&differing).unwrap_err().reason.contains("differs"));

    let extension = build::extension(rfc5280::ID_CE_KEY_USAGE, true, &KeyUsage::CRL_SIGN.to_der());
    let list = writer::sequence(&[&extension, &extension]);
    let read = extension::Extension::read_all(&Element::only(&list).unwrap());
    assert_eq!(read.err(), Some(BerError::Value("an extension comes twice")));

    let many: Vec<u8> = (0..65).flat_map(|arc| writer::sequence(&[&[6, 1, arc], &[4, 0]])).collect();
    let read =
        extension::Extension::read_all(&Element::only(&writer::sequence(&[&many])).unwrap()).map(|_| ());
    assert_eq!(read, Err(BerError::Value("too many extensions")));
}

#[test]
fn rejects_more_than_64_kib() {
    let large = writer::sequence(&[&vec![0; 65 * 1024]]);
    assert!(Certificate::from_der(&large).unwrap_err().reason.contains("64 KiB"));
}

#[test]
fn pem_round_trips_with_text_around_it() {
    let device = Certificate::from_pem(DEVICE).unwrap();
    let text = format!("subject=x\r\n{}trailing", device.to_pem().replace('\n', "\r\n"));
    assert_eq!(Certificate::from_pem(&text).unwrap(), device);
    assert!(Certificate::from_pem("nothing").is_err());
    assert!(Certificate::from_pem(&DEVICE.replace("MII", "M*I")).is_err());
}

#[test]
fn what_is_built_reads_back() {
    for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P256, KeyAlgorithm::P384] {
        let ca = Authority::new(algorithm, "CN=CA,O=Lab");
        assert_eq!(ca.certificate.is_signed_by(&ca.certificate), Ok(()));
        let key = TestKey::generate(KeyAlgorithm::P256);
        let spec = CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            extended_key_usage: vec![rfc5280::ID_KP_CLIENT_AUTH],
            subject_alt_names: vec![
                GeneralName::Upn("ada@lab.example".into()),
                GeneralName::Dns("a.example".into()),
            ],
            crl_urls: vec!["http://a/x.crl".into(), "http://b/x.crl".into()],
            ocsp_urls: vec!["http://a/ocsp".into()],
            ca_issuers_urls: vec!["http://a/x.cer".into()],
            ocsp_no_check: true,
            microsoft_sid: Some("S-1-5-21-1-2-3-500".into()),
            ..ca.spec_for("CN=dev1,O=Lab", key.public_key())
        };
        let made = ca.key.issue(&spec);
        assert_eq!(made.is_signed_by(&ca.certificate), Ok(()));
        assert_eq!(made.serial(), &spec.serial);
        assert_eq!(made.subject(), &spec.subject);
        assert_eq!(made.validity(), spec.validity);
        assert_eq!(made.public_key(), &spec.public_key);
        assert_eq!(made.key_usage(), Some(spec.key_usage));
        assert_eq!(made.extended_key_usage(), spec.extended_key_usage);
        assert_eq!(made.subject_alt_names(), spec.subject_alt_names);
        assert_eq!(made.crl_urls(), spec.crl_urls);
        assert_eq!(made.ocsp_urls(), spec.ocsp_urls);
        assert_eq!(made.ca_issuers_urls(), spec.ca_issuers_urls);
        assert_eq!(made.authority_key_identifier(), ca.certificate.subject_key_identifier());
        assert_eq!(made.subject_key_identifier(), Some(spec.public_key.key_identifier().as_slice()));
        assert_eq!(made.microsoft_sid(), spec.microsoft_sid.as_deref());
        assert!(made.has_ocsp_no_check() && !made.is_ca());
    }
}

#[test]
fn san_is_critical_only_without_a_subject() {
    let key = TestKey::generate(KeyAlgorithm::P256);
    for (subject, critical) in [("", true), ("CN=x", false)] {
        let spec = CertificateSpec {
            subject_alt_names: vec![GeneralName::Dns("a.example".into())],
            ..bare_spec("CN=CA", subject, key.public_key())
        };
        let der = key.issue(&spec).as_der().to_vec();
        let flagged = [&writer::oid(rfc5280::ID_CE_SUBJECT_ALT_NAME)[..], &[1, 1, 0xff]].concat();
        assert_eq!(der.windows(flagged.len()).any(|window| window == flagged), critical);
    }
}

#[test]
fn refuses_to_build_what_no_reader_takes() {
    let key = TestKey::generate(KeyAlgorithm::P256);
    let good = bare_spec("CN=x", "CN=x", key.public_key());
    assert!(good.unsigned(key.algorithm()).is_ok());
    for bad in [
        CertificateSpec { serial: "ff".repeat(20).parse().unwrap(), ..good.clone() },
        CertificateSpec { subject: Name::default(), ..good.clone() },
        CertificateSpec { crl_urls: vec!["http://zürich".into()], ..good.clone() },
        CertificateSpec { ocsp_urls: vec![String::new()], ..good.clone() },
    ] {
        assert!(bad.unsigned(key.algorithm()).is_err());
    }
    assert!(
        CertificateSpec { serial: "7f".repeat(20).parse().unwrap(), ..good }
            .unsigned(key.algorithm())
            .is_ok()
    );
}

#[test]
fn content_keys_open_with_the_private_key() {
    use aws_lc_rs::{
        encoding::AsDer as _,
        rsa::{
            KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
            Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
        },
    };
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let public = PublicKey::from_spki(private.public_key().as_der().unwrap().as_ref()).unwrap();
    let mut out = vec![0; 256];
    let pkcs1 = Pkcs1PrivateDecryptingKey::new(private.clone()).unwrap();
    let sealed = public.encrypt(KeyTransport::Pkcs1, b"content key").unwrap();
    assert_eq!(pkcs1.decrypt(&sealed, &mut out).unwrap(), b"content key");
    let oaep = OaepPrivateDecryptingKey::new(private).unwrap();
    for (transport, algorithm) in
        [(KeyTransport::OaepSha1, &OAEP_SHA1_MGF1SHA1), (KeyTransport::OaepSha256, &OAEP_SHA256_MGF1SHA256)]
    {
        let sealed = public.encrypt(transport, b"content key").unwrap();
        assert_eq!(oaep.decrypt(algorithm, &sealed, &mut out, None).unwrap(), b"content key");
    }
    let elliptic = read(P384);
    assert_eq!(elliptic.public_key().encrypt(KeyTransport::Pkcs1, b"content key"), Err(CannotEncrypt));
}

#[test]
fn truncations_and_changed_bytes_are_answered() {
    for der in [CA, OLD_SIGNER, P384, Certificate::from_pem(DEVICE).unwrap().as_der()] {
        for mutated in mutations(der) {
            let _ = Certificate::from_der(&mutated);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Certificate::from_der(&bytes);
        let _ = PublicKey::from_spki(&bytes);
        let inside = writer::sequence(&[&bytes]);
        let _ = Certificate::from_der(&inside);
    }
}
