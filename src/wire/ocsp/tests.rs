//! OCSP messages as OpenSSL writes them (`fixtures/x509/`), as they are built here, and as proxies break them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use const_oid::db::{rfc5280, rfc6960};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;
use crate::{
    types::{DigestAlgorithm, KeyAlgorithm, RevocationReason, SignatureAlgorithm, Timestamp},
    wire::{
        algorithm,
        der::{
            reader::{OCTET_STRING, context},
            writer,
        },
        x509::{
            BadSignature, Certificate, CertificateSpec, KeyUsage, extension,
            testing::{Authority, TestKey, mutations},
        },
    },
};

const CA: &[u8] = include_bytes!("../../../fixtures/x509/ca.der");
const REQUEST: &[u8] = include_bytes!("../../../fixtures/x509/ocsp-request.der");
const TWO_WITH_NONCE: &[u8] = include_bytes!("../../../fixtures/x509/ocsp-request-two-nonce.der");
const SIGNED: &[u8] = include_bytes!("../../../fixtures/x509/ocsp-request-signed.der");
const RESPONSE: &[u8] = include_bytes!("../../../fixtures/x509/ocsp-response.der");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn ca() -> Certificate {
    Certificate::from_der(CA).unwrap()
}

fn successful(der: &[u8]) -> BasicResponse {
    match OcspResponse::from_der(der).unwrap() {
        OcspResponse::Successful(basic) => basic,
        OcspResponse::Error(status) => panic!("{status:?}"),
    }
}

/// OCSPRequest with these Requests and requestExtensions.
fn request(requests: &[Vec<u8>], extensions: &[u8]) -> Vec<u8> {
    let extensions = if extensions.is_empty() {
        Vec::new()
    } else {
        writer::element(context(2), &[&writer::sequence(&[extensions])])
    };
    writer::sequence(&[&writer::sequence(&[&writer::sequence(&[&requests.concat()]), &extensions])])
}

fn some_id() -> CertId {
    CertId::new(DigestAlgorithm::Sha1, &ca(), &"4f00ab".parse().unwrap()).unwrap()
}

#[test]
fn reads_openssls_requests() {
    let one = OcspRequest::from_der(REQUEST).unwrap();
    assert_eq!(one.nonce, None);
    let [id] = one.cert_ids.as_slice() else { panic!("one CertID expected") };
    assert_eq!(id.algorithm(), Some(DigestAlgorithm::Sha1));
    assert_eq!(id.serial().to_string(), "4f00ab");
    assert_eq!(id.issuer_key_hash(), ca().public_key().key_identifier());
    assert_eq!(id.issuer_name_hash(), DigestAlgorithm::Sha1.digest(ca().subject().as_der()));
    assert_eq!(id, &some_id(), "made here, byte for byte");

    let two = OcspRequest::from_der(TWO_WITH_NONCE).unwrap();
    let algorithms: Vec<_> = two.cert_ids.iter().map(CertId::algorithm).collect();
    assert_eq!(algorithms, [Some(DigestAlgorithm::Sha256), Some(DigestAlgorithm::Sha1)]);
    let nonce = two.nonce.clone().unwrap();
    assert_eq!(nonce[..2], [OCTET_STRING, 16]);
    assert_eq!(two.to_der().unwrap(), TWO_WITH_NONCE);
    assert_eq!(one.to_der().unwrap(), REQUEST);

    let signed = OcspRequest::from_der(SIGNED).unwrap();
    assert_eq!(signed.cert_ids, one.cert_ids, "signature and requestorName are ignored");
}

#[test]
fn takes_one_to_sixteen_cert_ids() {
    let one = writer::sequence(&[some_id().as_der()]);
    assert_eq!(OcspRequest::from_der(&request(&vec![one.clone(); 16], &[])).unwrap().cert_ids.len(), 16);
    assert_eq!(OcspRequest::from_der(&request(&vec![one; 17], &[])), Err(OcspRequestError::TooMany(16)));
    assert!(matches!(OcspRequest::from_der(&request(&[], &[])), Err(OcspRequestError::Malformed(_))));
    assert!(OcspRequest::new(Vec::new(), None).to_der().is_err());
}

#[test]
fn nonces_keep_to_rfc_9654() {
    let one = [writer::sequence(&[some_id().as_der()])];
    let with = |raw: &[u8]| {
        OcspRequest::from_der(&request(&one, &extension(rfc6960::ID_PKIX_OCSP_NONCE, false, raw)))
    };
    for length in [1, 16, 32, 128] {
        let nested = writer::element(OCTET_STRING, &[&vec![7; length]]);
        assert_eq!(with(&nested).unwrap().nonce, Some(nested));
        let bare = vec![7; length];
        assert_eq!(with(&bare).unwrap().nonce, Some(bare));
    }
    for length in [0, 129] {
        let nested = writer::element(OCTET_STRING, &[&vec![7; length]]);
        assert_eq!(with(&nested), Err(OcspRequestError::NonceLength(length)));
        assert_eq!(with(&vec![7; length]), Err(OcspRequestError::NonceLength(length)));
    }
}

#[test]
fn preferred_signature_algorithms_are_read_in_their_order() {
    let one = OcspRequest::from_der(REQUEST).unwrap();
    let preferred = [
        SignatureAlgorithm::Ecdsa(DigestAlgorithm::Sha384),
        SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha512),
    ];
    for nonce in [None, Some(&[7; 16][..])] {
        let asked = OcspRequest {
            preferred_signatures: preferred.to_vec(),
            ..OcspRequest::new(one.cert_ids.clone(), nonce)
        };
        let der = asked.to_der().unwrap();
        assert_eq!(OcspRequest::from_der(&der), Ok(asked));
        assert_eq!(PlainRequest::read(&der), None, "it says more than a plain one");
    }
    let of = |critical, value: &[u8]| {
        let asked = extension(rfc6960::ID_PKIX_OCSP_PREF_SIG_ALGS, critical, value);
        let single = writer::sequence(&[one.cert_ids[0].as_der()]);
        OcspRequest::from_der(&request(&[single], &asked)).map(|request| request.preferred_signatures)
    };
    // An unknown one, and one with the kind of key that the client would like.
    let unknown = writer::sequence(&[&writer::sequence(&[&writer::oid(rfc6960::ID_PKIX_OCSP_NONCE)])]);
    let identifier = algorithm::signature_identifier(preferred[1]);
    let known = writer::sequence(&[&identifier, &writer::sequence(&[&writer::oid(rfc6960::ID_PKIX_OCSP)])]);
    assert_eq!(of(true, &writer::sequence(&[&unknown, &known])), Ok(vec![preferred[1]]));
    assert_eq!(of(false, &writer::sequence(&[&known.repeat(40)])).unwrap().len(), 16);
    assert!(matches!(of(false, &writer::sequence(&[&identifier])), Err(OcspRequestError::Malformed(_))));
    assert!(matches!(of(false, &[5, 0]), Err(OcspRequestError::Malformed(_))));
}

#[test]
fn refuses_only_critical_unknown_extensions() {
    let one = [writer::sequence(&[some_id().as_der()])];
    for (critical, expected) in [(false, None), (true, Some(OcspRequestError::CriticalExtension))] {
        let unknown = extension(rfc6960::ID_PKIX_OCSP_SERVICE_LOCATOR, critical, &[5, 0]);
        assert_eq!(OcspRequest::from_der(&request(&one, &unknown)).err(), expected);
        let single = writer::element(context(0), &[&writer::sequence(&[&unknown])]);
        let single = [writer::sequence(&[some_id().as_der(), &single])];
        assert_eq!(OcspRequest::from_der(&request(&single, &[])).err(), expected);
    }
}

#[test]
fn refuses_more_than_8_kib() {
    let large = writer::sequence(&[&vec![0; 8 * 1024]]);
    assert!(matches!(OcspRequest::from_der(&large), Err(OcspRequestError::Malformed(_))));
}

/// A request whose base64 has `+` and `/`, also doubled.
fn request_with_slashes() -> Vec<u8> {
    let find = |seed: u64| {
        let serial = format!("4f{:016x}", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).parse().unwrap();
        let id = CertId::new(DigestAlgorithm::Sha256, &ca(), &serial).unwrap();
        let der = OcspRequest::new(vec![id], None).to_der().unwrap();
        let text = STANDARD.encode(&der);
        // One run of slashes only, so that the repair is not a guess.
        let runs = text.split("//").count() == 2 && !text.replacen("//", "", 1).contains('/');
        (runs && text.contains('+') && text.ends_with('=')).then_some(der)
    };
    (0..1_000_000).find_map(find).unwrap()
}

#[test]
fn get_takes_what_clients_and_proxies_make_of_base64() {
    let der = request_with_slashes();
    let text = STANDARD.encode(&der);
    let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
    for path in [
        text.clone(),
        encoded.clone(),
        encoded.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d"),
        encoded.replace('%', "%25"),
        format!("/{text}"),
        format!("//{encoded}"),
        text.trim_end_matches('=').to_owned(),
        text.replace('+', " "),
        text.replace('+', "-").replace('/', "_"),
        text.replace("//", "/"),
        text.replace("//", "////"),
        text.replace("//", "///"),
        format!("{text}\n"),
        format!("{encoded}%0D%0A"),
        format!("{}\r\n{}", &text[..64], &text[64..]),
    ] {
        assert_eq!(OcspRequest::decode_get(&path).as_deref(), Ok(der.as_slice()), "{path}");
    }
}

#[test]
fn get_refuses_what_is_no_request() {
    // Two characters short of the length in its header: there is no end of places to put them.
    let slashes = format!("MIIf/DCC{}", "/".repeat(10_913));
    for path in ["", "/", "MEQ", "!!!!!!!!", "AAAAAAAAAAAA", "MIIBIjANBg", &"M".repeat(50_000), &slashes] {
        assert!(OcspRequest::decode_get(path).is_err(), "{path}");
    }
}

#[test]
fn reads_openssls_response() {
    let basic = successful(RESPONSE);
    assert_eq!(basic.verify(&ca()), Ok(ca().public_key().clone()));
    assert_eq!(basic.responder_key_hash, None, "OpenSSL says byName by default");
    let sent = OcspRequest::from_der(TWO_WITH_NONCE).unwrap();
    assert_eq!(basic.nonce, sent.nonce);
    let ids: Vec<_> = basic.responses.iter().map(|single| single.cert_id.clone()).collect();
    assert_eq!(ids, sent.cert_ids);
    let statuses: Vec<_> = basic.responses.iter().map(|single| single.status).collect();
    let revoked = |text, reason| CertStatus::Revoked { at: at(text), reason };
    assert_eq!(
        statuses,
        [
            revoked("2026-01-01T00:00:00Z", RevocationReason::KeyCompromise),
            revoked("2026-01-02T00:00:00Z", RevocationReason::CertificateHold),
        ]
    );
    assert!(basic.responses.iter().all(|single| single.next_update > Some(single.this_update)));
}

struct Responder {
    issuer: Authority,
    key: TestKey,
    certificate: Certificate,
}

impl Responder {
    fn new(algorithm: KeyAlgorithm, extended_key_usage: Vec<const_oid::ObjectIdentifier>) -> Self {
        let issuer = Authority::new(KeyAlgorithm::P256, "CN=CA");
        let key = TestKey::generate(algorithm);
        let certificate = issuer.key.issue(&CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            extended_key_usage,
            ocsp_no_check: true,
            ..issuer.spec_for("CN=OCSP", key.public_key())
        });
        Self { issuer, key, certificate }
    }

    fn answer(&self, responses: &[SingleResponse], nonce: Option<&[u8]>) -> Vec<u8> {
        let produced_at = at("2026-11-21T00:00:00Z");
        let spec = ResponseSpec { responder: &self.certificate, produced_at, responses, nonce };
        self.key.finish(spec.unsigned(self.key.algorithm()).unwrap())
    }
}

fn single(status: CertStatus) -> SingleResponse {
    SingleResponse {
        cert_id: some_id(),
        status,
        this_update: at("2026-11-21T00:00:00Z"),
        next_update: Some(at("2026-11-22T00:00:00Z")),
        archive_cutoff: None,
        invalidity_date: None,
    }
}

#[test]
fn what_is_built_reads_back_and_verifies() {
    for algorithm in [KeyAlgorithm::Rsa2048, KeyAlgorithm::P256] {
        let responder = Responder::new(algorithm, vec![rfc5280::ID_KP_OCSP_SIGNING]);
        let revoked = |reason| CertStatus::Revoked { at: at("2026-11-20T00:00:00Z"), reason };
        let mut responses = vec![single(CertStatus::Good), single(CertStatus::Unknown)];
        responses.extend(RevocationReason::ALL.map(|reason| single(revoked(reason))));
        responses.push(SingleResponse { next_update: None, ..single(CertStatus::Good) });
        let archive_cutoff = Some(at("2025-11-21T00:00:00Z"));
        let invalidity_date = Some(at("2026-11-19T00:00:00Z"));
        let compromised = single(revoked(RevocationReason::KeyCompromise));
        responses.push(SingleResponse { archive_cutoff, ..single(CertStatus::Good) });
        responses.push(SingleResponse { invalidity_date, ..compromised.clone() });
        responses.push(SingleResponse { archive_cutoff, invalidity_date, ..compromised });
        let nonce = [OCTET_STRING, 2, 1, 2];
        let basic = successful(&responder.answer(&responses, Some(&nonce)));
        assert_eq!(
            basic.verify(&responder.issuer.certificate).as_ref(),
            Ok(responder.certificate.public_key())
        );
        assert_eq!(basic.responses, responses);
        assert_eq!(basic.nonce.as_deref(), Some(&nonce[..]));
        assert_eq!(basic.produced_at, at("2026-11-21T00:00:00Z"));
        assert_eq!(basic.certificates.as_slice(), std::slice::from_ref(&responder.certificate));
        let hash = responder.certificate.public_key().key_identifier();
        assert_eq!(basic.responder_key_hash.as_deref(), Some(&hash[..]));
    }
}

#[test]
fn without_a_nonce_there_are_no_response_extensions() {
    let responder = Responder::new(KeyAlgorithm::P256, vec![rfc5280::ID_KP_OCSP_SIGNING]);
    let der = responder.answer(&[single(CertStatus::Good)], None);
    assert_eq!(successful(&der).nonce, None);
    let nonce = writer::oid(rfc6960::ID_PKIX_OCSP_NONCE);
    assert!(!der.windows(nonce.len()).any(|window| window == nonce));
}

#[test]
fn only_the_issuers_own_delegate_is_believed() {
    let good = [single(CertStatus::Good)];
    let no_eku = Responder::new(KeyAlgorithm::P256, vec![rfc5280::ID_KP_CLIENT_AUTH]);
    let basic = successful(&no_eku.answer(&good, None));
    assert_eq!(basic.verify(&no_eku.issuer.certificate), Err(BadSignature));

    let foreign = Responder::new(KeyAlgorithm::P256, vec![rfc5280::ID_KP_OCSP_SIGNING]);
    let basic = successful(&foreign.answer(&good, None));
    assert_eq!(basic.verify(&no_eku.issuer.certificate), Err(BadSignature));

    let mut other_key = basic.clone();
    other_key.responder_key_hash = Some(vec![0; 20]);
    assert_eq!(other_key.verify(&foreign.issuer.certificate), Err(BadSignature));
}

#[test]
fn an_empty_response_is_not_built() {
    let responder = Responder::new(KeyAlgorithm::P256, Vec::new());
    let spec = ResponseSpec {
        responder: &responder.certificate,
        produced_at: at("2026-11-21T00:00:00Z"),
        responses: &[],
        nonce: None,
    };
    assert!(spec.unsigned(responder.key.algorithm()).is_err());
}

#[test]
fn errors_read_back() {
    for status in [
        ErrorStatus::MalformedRequest,
        ErrorStatus::InternalError,
        ErrorStatus::TryLater,
        ErrorStatus::SigRequired,
        ErrorStatus::Unauthorized,
    ] {
        let read = OcspResponse::from_der(&status.to_der()).unwrap();
        assert!(matches!(read, OcspResponse::Error(found) if found == status));
    }
    // 4 is not used (RFC 6960 §4.2.1).
    assert!(OcspResponse::from_der(&[0x30, 3, 0x0a, 1, 4]).is_err());
    assert!(OcspResponse::from_der(&[0x30, 3, 0x0a, 1, 0]).is_err());
}

#[test]
fn truncations_and_changed_bytes_are_answered() {
    for der in [REQUEST, TWO_WITH_NONCE, SIGNED] {
        for mutated in mutations(der) {
            let _ = OcspRequest::from_der(&mutated);
        }
    }
    for mutated in mutations(RESPONSE) {
        let _ = OcspResponse::from_der(&mutated);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = OcspRequest::from_der(&bytes);
        let _ = OcspRequest::from_der(&writer::sequence(&[&writer::sequence(&[&bytes])]));
        let _ = OcspResponse::from_der(&bytes);
        let _ = OcspResponse::from_der(&writer::sequence(&[&bytes]));
    }

    #[test]
    fn any_path_is_answered(path in "\\PC*") {
        let _ = OcspRequest::decode_get(&path);
        let _ = OcspRequest::decode_get(&format!("MEQwQjBA{path}"));
    }
}
