//! Real verifiers: what OpenSSL and GnuTLS say of our certificates, CRLs and OCSP responses, before and after a wipe.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{authority_files, describe, process::http_get, serial_of, server, succeed, text, workplace};

struct Device {
    directory: PathBuf,
    root: PathBuf,
    issuing: PathBuf,
    certificate: PathBuf,
}

/// A device enrolled by certgate's own client.
fn enrolled(id: &str) -> Device {
    let directory = workplace(id);
    let (root, issuing, _) = authority_files(&directory, "modern");
    server().register_device(id);
    let (_, challenge) = server().ticket("modern", id);
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    succeed(
        server()
            .command()
            .args([
                "scep",
                "enroll",
                "--url",
                &server().scep_url("modern"),
                "--subject",
                "CN=x",
                "--challenge-file",
            ])
            .arg(challenge)
            .arg("--key")
            .arg(key)
            .arg("--cert")
            .arg(&certificate),
    );
    Device { directory, root, issuing, certificate }
}

impl Device {
    fn crl(&self) -> PathBuf {
        server().json(&["crl", "publish", "issuing"]);
        let url = self.url_in_certificate("CRL Distribution", ".crl");
        self.fetch(&url, "issuing.crl")
    }

    fn fetch(&self, url: &str, name: &str) -> PathBuf {
        let path = url.strip_prefix(&server().url()).expect("the certificate names this server");
        let answer = http_get(server().device_address(), path).unwrap();
        assert_eq!(answer.status, 200);
        let file = self.directory.join(name);
        fs::write(&file, answer.body).unwrap();
        file
    }

    fn url_in_certificate(&self, section: &str, ending: &str) -> String {
        let dump = describe(&self.certificate, "-text");
        let section = &dump[dump.find(section).expect(section)..];
        let start = section.find("URI:").unwrap() + 4;
        let url = section[start..].lines().next().unwrap().to_owned();
        assert!(url.ends_with(ending), "{url}");
        url
    }

    fn openssl_ocsp(&self, options: &[&str]) -> String {
        let url = describe(&self.certificate, "-ocsp_uri");
        let output = succeed(
            Command::new("openssl")
                .args(["ocsp", "-url", &url, "-resp_text"])
                .args(options)
                .arg("-issuer")
                .arg(&self.issuing)
                .arg("-cert")
                .arg(&self.certificate)
                .arg("-CAfile")
                .arg(self.chain()),
        );
        let said = format!("{}{}", text(&output), String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
        said
    }

    fn chain(&self) -> PathBuf {
        let chain = self.directory.join("chain.pem");
        fs::write(&chain, [fs::read(&self.root).unwrap(), fs::read(&self.issuing).unwrap()].concat())
            .unwrap();
        chain
    }

    fn openssl_verify(&self) -> (bool, String) {
        let crl = self.crl();
        let pem = self.directory.join("issuing.crl.pem");
        succeed(
            Command::new("openssl").args(["crl", "-inform", "DER", "-in"]).arg(crl).arg("-out").arg(&pem),
        );
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-crl_check", "-CAfile"])
            .arg(&self.root)
            .arg("-untrusted")
            .arg(&self.issuing)
            .arg("-CRLfile")
            .arg(&pem)
            .arg(&self.certificate)
            .output()
            .unwrap();
        (output.status.success(), format!("{}{}", text(&output), String::from_utf8_lossy(&output.stderr)))
    }

    fn gnutls_ocsp(&self, options: &[&str]) -> String {
        let url = describe(&self.certificate, "-ocsp_uri");
        let output = Command::new("ocsptool")
            .arg(format!("--ask={url}"))
            .args(options)
            .arg("--load-cert")
            .arg(&self.certificate)
            .arg("--load-issuer")
            .arg(&self.issuing)
            .arg("--load-trust")
            .arg(self.chain())
            .output()
            .unwrap();
        format!("{}{}", text(&output), String::from_utf8_lossy(&output.stderr))
    }
}

#[test]
fn openssl_and_gnutls_see_a_device_good_then_held_then_revoked() {
    let device = enrolled("verified-1");
    let path = device.certificate.to_str().unwrap();

    for options in [&[][..], &["-no_nonce"], &["-sha256"]] {
        assert!(device.openssl_ocsp(options).contains(&format!("{path}: good")));
    }
    for options in [&["--nonce"][..], &["--no-nonce"]] {
        let said = device.gnutls_ocsp(options);
        assert!(
            said.contains("Certificate Status: good") && said.contains("Verifying OCSP Response: Success"),
            "{said}"
        );
    }
    let (verified, said) = device.openssl_verify();
    assert!(verified, "{said}");

    server().json(&["device", "wipe", "verified-1", "--yes"]);
    let said = device.openssl_ocsp(&[]);
    assert!(said.contains(&format!("{path}: revoked")) && said.contains("certificateHold"), "{said}");
    assert!(device.gnutls_ocsp(&["--no-nonce"]).contains("Certificate Status: revoked"));
    let (verified, said) = device.openssl_verify();
    assert!(!verified && said.contains("revoked"), "{said}");

    server().json(&["device", "force", "verified-1", "--yes"]);
    let said = device.openssl_ocsp(&["-no_nonce"]);
    assert!(said.contains(&format!("{path}: revoked")) && said.contains("cessationOfOperation"), "{said}");
}

#[test]
fn a_cancelled_wipe_makes_the_certificate_good_again_everywhere() {
    let device = enrolled("verified-2");
    server().json(&["device", "wipe", "verified-2", "--yes"]);
    assert!(!device.openssl_verify().0);
    server().json(&["device", "cancel-wipe", "verified-2"]);
    assert!(device.openssl_ocsp(&[]).contains(": good"));
    let (verified, said) = device.openssl_verify();
    assert!(verified, "{said}");
}

#[test]
fn gnutls_verifies_the_crl() {
    let device = enrolled("verified-3");
    server().json(&["cert", "revoke", &serial_of(&device.certificate), "--reason", "keyCompromise", "--yes"]);
    let crl = device.crl();
    // With `--inder` it would want the CA certificate in DER too.
    let pem = device.fetch(&format!("{}/crl/issuing.pem", server().url()), "issuing.crl.pem");
    let output = succeed(
        Command::new("certtool")
            .args(["--verify-crl", "--infile"])
            .arg(pem)
            .arg("--load-ca-certificate")
            .arg(&device.issuing),
    );
    let said = format!("{}{}", text(&output), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Verified"), "{said}");
    let listed = text(&succeed(
        Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(&crl),
    ));
    assert!(
        listed.to_ascii_lowercase().contains(&serial_of(&device.certificate))
            && listed.contains("Key Compromise"),
        "{listed}"
    );
}

#[test]
fn a_serial_that_was_never_issued_is_not_good() {
    let device = enrolled("verified-4");
    let url = describe(&device.certificate, "-ocsp_uri");
    let output = succeed(
        Command::new("openssl")
            .args(["ocsp", "-url", &url, "-issuer"])
            .arg(&device.issuing)
            // Serials belong to the issuer named before them.
            .args(["-serial", "0x1234567890abcdef"])
            .arg("-CAfile")
            .arg(device.chain()),
    );
    assert!(text(&output).contains("unknown"), "{}", text(&output));
}

#[test]
fn the_chain_of_certgates_own_certificates_verifies_strictly() {
    let directory = workplace("own-chain");
    let (root, issuing, message) = authority_files(&directory, "modern");
    let verify = |certificate: &Path| {
        succeed(
            Command::new("openssl")
                .args(["verify", "-x509_strict", "-CAfile"])
                .arg(&root)
                .arg("-untrusted")
                .arg(&issuing)
                .arg(certificate),
        )
    };
    verify(&issuing);
    verify(&message);
}
