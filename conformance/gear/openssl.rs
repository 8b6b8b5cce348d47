//! OpenSSL 3: `openssl ocsp` with every kind of question, `openssl verify` with our CRLs, those that it fetches by itself too.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Credentials, Place, Standing,
    programs::{describe, run, said, succeed, text},
    server, through_its_life,
};

/// `openssl ocsp` with the URL in the device's certificate; the answer must verify without a warning, as one about a nonce would be.
fn ask(place: &Place, device: &Credentials, options: &[&str]) -> String {
    let url = describe(&device.certificate, "-ocsp_uri");
    let mut openssl = Command::new("openssl");
    openssl.args(["ocsp", "-url", &url, "-resp_text"]).args(options);
    openssl.arg("-issuer").arg(place.file("issuing.pem")).arg("-cert").arg(&device.certificate);
    let said = said(&succeed(openssl.arg("-CAfile").arg(place.file("chain.pem"))));
    assert!(said.contains("Response verify OK") && !said.contains("WARNING"), "{said}");
    said
}

fn verdict(standing: Standing, device: &Credentials) -> (String, &'static str) {
    let (word, reason) = match standing {
        Standing::Good | Standing::Released => ("good", "Cert Status: good"),
        Standing::Held => ("revoked", "Reason: certificateHold"),
        Standing::Revoked => ("revoked", "Reason: cessationOfOperation"),
    };
    (format!("{}: {word}", device.certificate.display()), reason)
}

#[test]
fn openssl_asks_with_and_without_a_nonce_by_either_digest() {
    let place = Place::new("openssl-ocsp");
    let device = place.device("openssl-ocsp-device");
    through_its_life(&device.device, |standing| {
        let (line, reason) = verdict(standing, &device);
        for options in [&[][..], &["-no_nonce"], &["-sha256"]] {
            let said = ask(&place, &device, options);
            assert!(said.contains(&line) && said.contains(reason), "{standing:?}, {options:?}: {said}");
        }
    });
}

#[test]
fn openssl_hears_unknown_of_a_serial_that_was_never_issued() {
    let place = Place::new("openssl-unknown");
    let mut openssl = Command::new("openssl");
    // Serials belong to the issuer named before them.
    openssl.args(["ocsp", "-url", &format!("{}/ocsp", server().url()), "-issuer"]);
    openssl.arg(place.file("issuing.pem")).args(["-serial", "0x1234567890abcdef"]);
    let said = said(&succeed(openssl.arg("-CAfile").arg(place.file("chain.pem"))));
    assert!(said.contains("0x1234567890abcdef: unknown") && said.contains("Response verify OK"), "{said}");
}

/// `openssl verify` of a chain of three.
fn verify(place: &Place, certificate: &Path, options: &[&str], crls: Option<&Path>) -> (bool, String) {
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict"]).args(options).arg("-CAfile").arg(place.file("root.pem"));
    openssl.arg("-untrusted").arg(place.file("issuing.pem"));
    openssl.args(crls.iter().flat_map(|file| [Path::new("-CRLfile"), file]));
    let output = run(openssl.arg(certificate));
    (output.status.success(), said(&output))
}

#[test]
fn openssl_verifies_with_the_crls_of_the_whole_chain() {
    let place = Place::new("openssl-crl");
    let device = place.device("openssl-crl-device");
    through_its_life(&device.device, |standing| {
        place.fetch_crls();
        let given = Some(place.file("crls.pem"));
        let fetched: Option<PathBuf> = None;
        for (options, crls) in [
            (&["-crl_check"][..], &given),
            (&["-crl_check_all"], &given),
            (&["-crl_check_all", "-extended_crl", "-use_deltas"], &given),
            // Over HTTP, from the URL in the certificate.
            (&["-crl_check", "-crl_download"], &fetched),
        ] {
            let (verified, said) = verify(&place, &device.certificate, options, crls.as_deref());
            assert_eq!(verified, standing.is_good(), "{standing:?}, {options:?}: {said}");
            assert!(verified || said.contains("certificate revoked"), "{options:?}: {said}");
        }
    });
}

#[test]
fn the_script_that_fetches_crls_takes_none_that_its_ca_did_not_sign() {
    let place = Place::new("openssl-fetch");
    place.fetch_crls();
    let [old, root] = ["crls.pem", "root.pem"].map(|file| std::fs::read(place.file(file)).unwrap());
    place.write("issuing.pem", &root);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/gear/fetch-crls");
    let fetch = |url: &str| run(Command::new(script).arg(url).arg(place.directory()));
    let output = fetch(&server().url());
    assert!(!output.status.success() && said(&output).contains("is not signed by"), "{output:?}");

    // One bit of the signature is wrong.
    let place_of_crls = Place::new("openssl-fetch/crl");
    place.fetch("/ca/issuing.pem", "issuing.pem");
    let crl = place_of_crls.fetch("/crl/issuing.crl", "issuing.der");
    place_of_crls.fetch("/crl/root.pem", "root.pem");
    let mut der = std::fs::read(&crl).unwrap();
    *der.last_mut().unwrap() ^= 1;
    place_of_crls.write("issuing.der", der);
    let mut convert = Command::new("openssl");
    convert
        .args(["crl", "-inform", "DER", "-in"])
        .arg(&crl)
        .arg("-out")
        .arg(place_of_crls.file("issuing.pem"));
    succeed(&mut convert);
    let output = fetch(&format!("file://{}", place.directory()));
    assert!(!output.status.success() && said(&output).contains("is not signed by"), "{output:?}");
    assert_eq!(std::fs::read(place.file("crls.pem")).unwrap(), old, "what was there stays");
    let left: Vec<_> = std::fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("fetch.")), "{left:?}");
}

#[test]
fn the_chain_of_certgates_own_certificates_verifies_strictly() {
    let place = Place::new("openssl-own-chain");
    let bundle = place.fetch("/scep/device?operation=GetCACert", "bundle.p7");
    let mut openssl = Command::new("openssl");
    let all = text(&succeed(openssl.args(["pkcs7", "-inform", "DER", "-print_certs", "-in"]).arg(bundle)));
    let certificates: Vec<_> = all.split_inclusive("-----END CERTIFICATE-----\n").collect();
    assert!(certificates.len() >= 3, "message certificate, issuing CA, root: {all}");
    for certificate in certificates.iter().filter(|block| block.contains("-----BEGIN")) {
        let (verified, said) = verify(&place, &place.write("own.pem", certificate), &[], None);
        assert!(verified, "{said}");
    }
}
