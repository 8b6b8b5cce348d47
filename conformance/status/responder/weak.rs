//! A delegate's certificate that its CA signed with SHA-1.

use certgate::{
    adapters::keys::software::{SoftwareSigner, generate_pkcs8},
    ports::Signer,
    service::import::NewImport,
    types::SignatureAlgorithm,
};
use der::{Any, Decode as _};
use rsa::{BoxedUint, Pkcs1v15Sign, PrivateKey};

use super::*;

/// RFC 8017 §9.2: the DigestInfo of a SHA-1 digest, up to the digest.
const SHA1_INFO: [u8; 15] = [0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14];

/// A CA that knows no better. Certgate's own keys sign nothing with SHA-1.
struct OldCa {
    certificate: Certificate,
    key: PrivateKey,
}

impl OldCa {
    fn new(world: &World) -> Self {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
        let signer = SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap();
        let name = "CN=Old CA".parse().unwrap();
        let validity =
            Validity { not_before: world.now().minus(DAY), not_after: world.now().plus(DAY * 900) };
        let specification = CertificateSpec {
            ca: Some(CaConstraint { path_len: None }),
            key_usage: KeyUsage::KEY_CERT_SIGN.union(KeyUsage::CRL_SIGN),
            ..CertificateSpec::self_signed_requester(
                SerialNumber::from_random([7; 16]),
                &name,
                validity,
                signer.public_key().clone(),
            )
        };
        let certificate = crate::common::sign_certificate(&signer, &specification);
        let parts = |der: &[u8]| Vec::<Any>::from_der(der).unwrap();
        let numbers = parts(parts(pkcs8.expose())[2].value());
        let number = |place: usize| BoxedUint::from_be_slice_vartime(numbers[place].value());
        // modulus, publicExponent, privateExponent, prime1, prime2 (RFC 8017 appendix A.1.2).
        let primes = vec![number(4), number(5)];
        let key = PrivateKey::from_components(number(1), number(2), number(3), primes).unwrap();
        Self { certificate, key }
    }

    fn signed(&self, request: &ResponderRequest, validity: Validity) -> Certificate {
        let csr = proven(request);
        let specification = CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            extended_key_usage: vec![ID_KP_OCSP_SIGNING],
            ocsp_no_check: true,
            ..CertificateSpec::new(
                SerialNumber::from_random([8; 16]),
                self.certificate.subject().clone(),
                csr.subject().clone(),
                validity,
                csr.public_key().clone(),
            )
        };
        let unsigned = specification.unsigned(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha1)).unwrap();
        let digest = DigestAlgorithm::Sha1.digest(unsigned.to_be_signed());
        let padding = Pkcs1v15Sign { hash_len: Some(20), prefix: SHA1_INFO.into() };
        let signature = self.key.sign(padding, &digest).unwrap();
        Certificate::from_der(&unsigned.finish(&signature).unwrap()).unwrap()
    }
}

#[test]
fn doctor_warns_of_a_delegate_whose_certificate_newer_gear_refuses() {
    let world = world();
    let ca = OldCa::new(&world);
    let new = NewImport { issuer_certificate: ca.certificate.to_pem(), name: None };
    let issuer = world.gateway.open_import(&world.authed(), &new).unwrap().issuer;
    let wanted = NewResponderRequest::default();
    let request = world.gateway.request_responder(&world.authed(), &issuer, &wanted).unwrap();
    let validity = Validity { not_before: world.now().minus(DAY), not_after: world.now().plus(DAY * 365) };
    let certificate = ca.signed(&request, validity);
    let new = NewResponder { certificate: certificate.to_pem() };
    world.gateway.install_responder(&world.authed(), &issuer, &new).unwrap();
    world.gateway.run_due().unwrap();
    let report = world.gateway.health();
    assert!(report.ready, "{report:?}");
    let check = report.checks.into_iter().find(|check| check.name == format!("ocsp-responder/{issuer}"));
    let check = check.unwrap();
    assert_eq!(check.result, CheckResult::Warn);
    assert!(
        check.detail.contains("it is signed with sha1: newer gear takes no such signature"),
        "{}",
        check.detail
    );
    assert!(check.hint.contains("certgate responder request"), "{}", check.hint);
}
