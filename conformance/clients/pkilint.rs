//! Digital linting: every kind of certificate, CRL and OCSP response that the server makes passes `pkilint` (PyPI) with zero findings of
//! severity ERROR or worse. `conformance/run` installs it and names its directory in `CERTGATE_PKILINT`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    PROFILES,
    process::{Server, http_get},
    succeed,
};

fn lint(tool: &str, options: &[&str], files: &[&Path]) {
    let directory = std::env::var("CERTGATE_PKILINT").expect("conformance/run sets CERTGATE_PKILINT");
    let output = Command::new(PathBuf::from(directory).join(tool))
        .arg("lint")
        .args(options)
        .args(["-s", "ERROR", "-f", "JSON"])
        .args(files)
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tool} on {files:?}: {said}");
}

/// OCSP response to a request that OpenSSL makes.
fn ocsp_response(
    directory: &Path,
    issuer: &Path,
    certificate: &[&str],
    options: &[&str],
    address: &str,
    name: &str,
) -> PathBuf {
    let file = directory.join(name);
    succeed(
        Command::new("openssl")
            .args(["ocsp", "-noverify", "-url", &format!("{address}/ocsp"), "-respout"])
            .arg(&file)
            .args(options)
            .arg("-issuer")
            .arg(issuer)
            .args(certificate),
    );
    file
}

/// One server per kind of CA key, so that every signature algorithm is linted.
fn lint_everything(server: &Server, directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let enrol = |profile: &str, id: &str| {
        server.json(&[
            "device",
            "register",
            id,
            "--serial",
            id,
            "--sid",
            "S-1-5-21-1004336348-1177238915-682003330-1001",
        ]);
        let (_, challenge) = server.ticket(profile, id);
        let certificate = directory.join(format!("{id}.pem"));
        let url = server.scep_url(profile);
        succeed(
            server
                .command()
                .args(["scep", "enroll", "--url", &url, "--subject", "CN=x", "--challenge-file"])
                .arg(challenge)
                .arg("--key")
                .arg(directory.join(format!("{id}.key")))
                .arg("--cert")
                .arg(&certificate),
        );
        certificate
    };
    let fetch = |path: &str, name: &str| {
        let file = directory.join(name);
        fs::write(&file, http_get(server.device_address(), path).unwrap().body).unwrap();
        file
    };
    let pem = |der: PathBuf| {
        let file = der.with_extension("pem");
        succeed(
            Command::new("openssl").args(["x509", "-inform", "DER", "-in"]).arg(der).arg("-out").arg(&file),
        );
        file
    };

    let issuing = pem(fetch("/ca/issuing.cer", "issuing.cer"));
    let root = pem(fetch("/ca/root.cer", "root.cer"));
    lint("lint_crl", &["-t", "CRL", "-p", "PKIX"], &[&fetch("/crl/issuing.crl", "empty.crl")]);
    lint("lint_crl", &["-t", "ARL", "-p", "PKIX"], &[&fetch("/crl/root.crl", "root.crl")]);

    let (good, held, revoked) =
        (enrol("modern", "lint-good"), enrol("modern", "lint-held"), enrol("modern", "lint-revoked"));
    let everything = enrol("everything", "lint-everything");
    server.json(&["device", "lost", "lint-held"]);
    server.json(&["device", "wipe", "lint-revoked", "--yes"]);
    server.json(&["device", "force", "lint-revoked", "--yes"]);
    server.json(&["crl", "publish", "issuing"]);
    lint("lint_crl", &["-t", "CRL", "-p", "PKIX"], &[&fetch("/crl/issuing.crl", "full.crl")]);

    for certificate in own_certificates(server, directory).iter().chain([
        &root,
        &issuing,
        &good,
        &held,
        &revoked,
        &everything,
    ]) {
        lint("lint_pkix_cert", &[], &[certificate]);
    }
    for certificate in [&good, &held, &revoked, &everything] {
        lint("lint_pkix_signer_signee_cert_chain", &[], &[&issuing, certificate]);
    }
    for (name, certificate, options) in [
        ("good", vec!["-cert", good.to_str().unwrap()], vec![]),
        ("good-no-nonce", vec!["-cert", good.to_str().unwrap()], vec!["-no_nonce"]),
        ("held", vec!["-cert", held.to_str().unwrap()], vec![]),
        ("revoked", vec!["-cert", revoked.to_str().unwrap()], vec!["-no_nonce"]),
        ("unknown", vec!["-serial", "0x77"], vec![]),
        ("several", vec!["-cert", good.to_str().unwrap(), "-cert", held.to_str().unwrap()], vec![]),
    ] {
        let file = ocsp_response(
            directory,
            &issuing,
            &certificate,
            &options,
            &server.url(),
            &format!("{name}.ocsp"),
        );
        lint("lint_ocsp_response", &[], &[&file]);
    }
}

/// Certificates that certgate made for itself, from its own records: SCEP message, OCSP signers, server TLS.
fn own_certificates(server: &Server, directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for record in server.json(&["cert", "list"])["items"].as_array().unwrap() {
        if record["purpose"] == "leaf" {
            continue;
        }
        let (issuer, serial) = (record["issuer"].as_str().unwrap(), record["serial"].as_str().unwrap());
        let shown = server.json(&["cert", "show", &format!("{issuer}/{serial}")]);
        let file = directory.join(format!("own-{issuer}-{serial}.pem"));
        fs::write(&file, shown["pem"].as_str().unwrap()).unwrap();
        files.push(file);
    }
    assert!(files.len() >= 6, "root, issuing, message, two OCSP signers, TLS: {files:?}");
    files
}

/// The TLS certificate gets a name of several labels: pkilint takes `localhost`, the default, for a mistake of syntax.
fn lint_with_keys(options: &[&str]) {
    let server =
        Server::started(&[options, &["--server-name", "gateway.clients.example"]].concat(), PROFILES);
    lint_everything(&server, &server.scratch().join("lint"));
}

#[test]
fn everything_made_with_rsa_keys_passes() {
    lint_with_keys(&["--key", "rsa-3072", "--issuing-key", "rsa-2048", "--digest", "sha512"]);
}

#[test]
fn everything_made_with_p384_keys_passes() {
    lint_with_keys(&["--key", "p-384"]);
}

#[test]
fn everything_made_with_p256_keys_passes() {
    lint_with_keys(&["--key", "p-256"]);
}
