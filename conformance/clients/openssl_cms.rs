//! OpenSSL's own CMS as a SCEP client: `openssl cms -encrypt` makes the envelope, `openssl dgst -sign` the signature, `openssl cms -verify`
//! and `-decrypt` open the answer. Only the SCEP attributes, which the command cannot write, are put together here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{assert_enrolled, authority_files, process::http_post, server, succeed, text, workplace};

/// A pkiMessage with what is needed to open its answer.
pub(super) struct Request {
    pub(super) message: Vec<u8>,
    pub(super) key: PathBuf,
    signer: PathBuf,
}

/// A PKCSReq made by OpenSSL. `encryption` goes to `openssl cms -encrypt`, behind the recipient that `-keyopt` refers to.
pub(super) fn request(directory: &Path, recipient: &Path, challenge: &str, encryption: &[&str]) -> Request {
    request_of(directory, recipient, challenge, encryption, &["rsa:2048"], &SHA256)
}

/// What `openssl req -newkey` makes a P-256 key from.
const EC_KEY: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// The same with this kind of key.
fn request_of(
    directory: &Path,
    recipient: &Path,
    challenge: &str,
    encryption: &[&str],
    kind: &[&str],
    digest: &Digest,
) -> Request {
    let file = |name: &str| directory.join(name);
    let config = file("request.cnf");
    fs::write(
        &config,
        format!("[req]\nprompt=no\ndistinguished_name=dn\nattributes=attributes\n[dn]\nCN=openssl\n[attributes]\nchallengePassword={challenge}\n"),
    )
    .unwrap();
    let (key, csr, signer) = (file("key.pem"), file("csr.der"), file("signer.pem"));
    succeed(
        Command::new("openssl")
            .args(["req", "-new", "-nodes", "-sha256", "-outform", "DER", "-newkey"])
            .args(kind)
            .arg("-config")
            .arg(&config)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&csr),
    );
    succeed(
        Command::new("openssl")
            .args(["req", "-x509", "-new", "-days", "1", "-subj", "/CN=openssl", "-key"])
            .arg(&key)
            .arg("-out")
            .arg(&signer),
    );

    let envelope = file("request-envelope.der");
    succeed(
        Command::new("openssl")
            .args(["cms", "-encrypt", "-binary", "-outform", "DER", "-in"])
            .arg(&csr)
            .arg("-out")
            .arg(&envelope)
            .arg("-recip")
            .arg(recipient)
            .args(encryption),
    );
    let message = signed_message(directory, &fs::read(&envelope).unwrap(), &signer, &key, digest);
    Request { message, key, signer }
}

/// A digest as OpenSSL's commands take it and as its output names it, with its object identifier.
struct Digest {
    name: &'static str,
    oid: &'static [u8],
}

const SHA256: Digest =
    Digest { name: "sha256", oid: &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01] };
const SHA1: Digest = Digest { name: "sha1", oid: &[0x2b, 0x0e, 0x03, 0x02, 0x1a] };
const MD5: Digest = Digest { name: "md5", oid: &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05] };

impl Digest {
    fn option(&self) -> String {
        format!("-{}", self.name)
    }
}

fn signed_message(
    directory: &Path,
    content: &[u8],
    signer: &Path,
    key: &Path,
    algorithm: &Digest,
) -> Vec<u8> {
    let dgst = || {
        let mut command = Command::new("openssl");
        command.arg("dgst").arg(algorithm.option());
        command
    };
    let digest = |bytes: &[u8]| {
        let input = directory.join("digest.in");
        fs::write(&input, bytes).unwrap();
        succeed(dgst().arg("-binary").arg(&input)).stdout
    };
    let printable = |text: &str| tlv(0x13, text.as_bytes());
    let verisign = |last: u8| [0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, last];
    let attribute = |oid: &[u8], value: Vec<u8>| tlv(0x30, &[tlv(0x06, oid), tlv(0x31, &value)].concat());
    let mut attributes = [
        attribute(&PKCS9_CONTENT_TYPE, tlv(0x06, &PKCS7_DATA)),
        attribute(&PKCS9_MESSAGE_DIGEST, tlv(0x04, &digest(content))),
        attribute(&verisign(2), printable("19")),
        attribute(&verisign(5), tlv(0x04, b"sixteen byte non")),
        attribute(&verisign(7), printable("openssl-transaction")),
    ];
    attributes.sort();
    let attributes = attributes.concat();

    let to_sign = directory.join("attributes.der");
    fs::write(&to_sign, tlv(0x31, &attributes)).unwrap();
    let signature = succeed(dgst().arg("-sign").arg(key).arg(&to_sign)).stdout;

    let certificate =
        succeed(Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(signer)).stdout;
    let digest_algorithm = tlv(0x30, &[tlv(0x06, algorithm.oid), tlv(0x05, &[])].concat());
    let key_kind = text(&succeed(Command::new("openssl").args(["pkey", "-noout", "-text", "-in"]).arg(key)));
    let algorithm = if key_kind.contains("NIST CURVE") {
        tlv(0x30, &tlv(0x06, &ECDSA_WITH_SHA256))
    } else {
        tlv(0x30, &[tlv(0x06, &RSA_ENCRYPTION), tlv(0x05, &[])].concat())
    };
    let signer_info = tlv(
        0x30,
        &[
            tlv(0x02, &[1]),
            issuer_and_serial(&certificate),
            digest_algorithm.clone(),
            tlv(0xa0, &attributes),
            algorithm,
            tlv(0x04, &signature),
        ]
        .concat(),
    );
    let encapsulated = tlv(0x30, &[tlv(0x06, &PKCS7_DATA), tlv(0xa0, &tlv(0x04, content))].concat());
    let signed_data = tlv(
        0x30,
        &[
            tlv(0x02, &[1]),
            tlv(0x31, &digest_algorithm),
            encapsulated,
            tlv(0xa0, &certificate),
            tlv(0x31, &signer_info),
        ]
        .concat(),
    );
    tlv(0x30, &[tlv(0x06, &PKCS7_SIGNED_DATA), tlv(0xa0, &signed_data)].concat())
}

const PKCS7_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const PKCS7_SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const PKCS9_CONTENT_TYPE: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const PKCS9_MESSAGE_DIGEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ECDSA_WITH_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap());
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap()..];
        out.push(0x80 | u8::try_from(significant.len()).unwrap());
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

/// IssuerAndSerialNumber of a certificate: its TBSCertificate is version, serialNumber, signature, issuer ...
fn issuer_and_serial(certificate: &[u8]) -> Vec<u8> {
    let tbs = elements(content(content(certificate)));
    tlv(0x30, &[tbs[3], tbs[1]].concat())
}

/// The content octets of the element at the start of `der`.
fn content(der: &[u8]) -> &[u8] {
    let (header, length) = header(der);
    &der[header..header + length]
}

fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (header, length) = header(der);
        let (element, rest) = der.split_at(header + length);
        found.push(element);
        der = rest;
    }
    found
}

fn header(der: &[u8]) -> (usize, usize) {
    let first = usize::from(der[1]);
    if first < 0x80 {
        return (2, first);
    }
    let count = first & 0x7f;
    (2 + count, der[2..2 + count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

/// Writes a pkiMessage as certmonger's scep-submit reads it.
pub(super) fn write_pem(path: &Path, message: &[u8]) {
    let base64 = STANDARD.encode(message);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    fs::write(path, format!("-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n", lines.join("\n"))).unwrap();
}

/// Verifies a CertRep with OpenSSL against the message certificate and gives the certificate in it.
fn open_reply(
    directory: &Path,
    reply: &[u8],
    message: &Path,
    root: &Path,
    issuing: &Path,
    request: &Request,
) -> PathBuf {
    let (file, envelope, chain) =
        (directory.join("reply.der"), directory.join("reply-envelope.der"), directory.join("chain.pem"));
    fs::write(&file, reply).unwrap();
    fs::write(
        &chain,
        [fs::read(root).unwrap(), fs::read(issuing).unwrap(), fs::read(message).unwrap()].concat(),
    )
    .unwrap();
    // The message certificate has the EKU of a request agent, not of S/MIME: the purpose is checked by SCEP clients, not by `cms`.
    succeed(
        Command::new("openssl")
            .args(["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-in"])
            .arg(&file)
            .arg("-CAfile")
            .arg(&chain)
            .arg("-out")
            .arg(&envelope),
    );
    open_envelope(directory, &envelope, "DER", request)
}

/// Decrypts an envelope with OpenSSL and gives the one certificate in it.
pub(super) fn open_envelope(directory: &Path, envelope: &Path, form: &str, request: &Request) -> PathBuf {
    let (inner, certificate) = (directory.join("inner.der"), directory.join("issued.pem"));
    succeed(
        Command::new("openssl")
            .args(["cms", "-decrypt", "-binary", "-inform", form, "-in"])
            .arg(envelope)
            .arg("-recip")
            .arg(&request.signer)
            .arg("-inkey")
            .arg(&request.key)
            .arg("-out")
            .arg(&inner),
    );
    let printed = text(&succeed(
        Command::new("openssl").args(["pkcs7", "-inform", "DER", "-print_certs", "-in"]).arg(&inner),
    ));
    assert_eq!(printed.matches("BEGIN CERTIFICATE").count(), 1, "the issued certificate comes alone");
    fs::write(&certificate, printed).unwrap();
    certificate
}

fn enrols(name: &str, encryption: &[&str]) {
    let directory = workplace(name);
    let (root, issuing, message) = authority_files(&directory, "modern");
    server().register_device(name);
    let (challenge, _) = server().ticket("modern", name);
    let request = request(&directory, &message, &challenge, encryption);

    let answer = http_post(
        server().device_address(),
        "/scep/modern?operation=PKIOperation",
        "application/x-pki-message",
        &request.message,
    )
    .unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-pki-message")));
    let certificate = open_reply(&directory, &answer.body, &message, &root, &issuing, &request);
    assert_enrolled(&certificate, &request.key, name);

    // The reply was lost: the same message again brings the same certificate, though the ticket is used up.
    let again =
        http_post(server().device_address(), "/scep/modern?operation=PKIOperation", "", &request.message)
            .unwrap();
    let first = fs::read(&certificate).unwrap();
    assert_eq!(
        fs::read(open_reply(&directory, &again.body, &message, &root, &issuing, &request)).unwrap(),
        first
    );
}

/// What OpenSSL reads in the SignerInfo of a CertRep: (digestAlgorithm, signatureAlgorithm).
fn algorithms(reply: &Path) -> (String, String) {
    let printed = text(&succeed(
        Command::new("openssl").args(["cms", "-cmsout", "-print", "-inform", "DER", "-in"]).arg(reply),
    ));
    let (_, signer_info) = printed.split_once("signerInfos:").unwrap();
    let behind = |field: &str| {
        let (_, rest) = signer_info.split_once(field).unwrap();
        let line = rest.lines().find(|line| line.contains("algorithm:")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    (behind("digestAlgorithm:"), behind("signatureAlgorithm:"))
}

#[test]
fn verifies_an_answer_with_the_digest_of_the_request() {
    for digest in [&SHA1, &MD5] {
        let name = format!("openssl-{}", digest.name);
        let directory = workplace(&name);
        let (root, issuing, message) = authority_files(&directory, "oldest");
        server().register_device(&name);
        let (challenge, _) = server().ticket("oldest", &name);
        let request = request_of(&directory, &message, &challenge, &["-aes128"], &["rsa:2048"], digest);
        let ask = |profile: &str| {
            let path = format!("/scep/{profile}?operation=PKIOperation");
            http_post(server().device_address(), &path, "", &request.message).unwrap().body
        };
        let certificate = open_reply(&directory, &ask("oldest"), &message, &root, &issuing, &request);
        assert_enrolled(&certificate, &request.key, &name);
        let signed = algorithms(&directory.join("reply.der"));
        assert_eq!(signed, (digest.name.to_owned(), "rsaEncryption".to_owned()));

        // A refusal has no content.
        let refused = directory.join("refused.der");
        fs::write(&refused, ask("modern")).unwrap();
        succeed(
            Command::new("openssl")
                .args(["cms", "-verify", "-noverify", "-inform", "DER", "-content", "/dev/null", "-in"])
                .arg(&refused),
        );
        assert_eq!(algorithms(&refused), ("sha256".to_owned(), "rsaEncryption".to_owned()));
    }
}

#[test]
fn a_key_on_a_curve_opens_its_answer_with_the_challenge() {
    let name = "openssl-password";
    let directory = workplace(name);
    let (_, _, message) = authority_files(&directory, "modern");
    server().register_device(name);
    let (challenge, _) = server().ticket("modern", name);
    let request = request_of(&directory, &message, &challenge, &["-aes256"], &EC_KEY, &SHA256);
    let address = server().device_address();
    let answer = http_post(address, "/scep/modern?operation=PKIOperation", "", &request.message).unwrap();

    let file = |name: &str| directory.join(name);
    let (reply, envelope, inner) = (file("reply.der"), file("reply-envelope.der"), file("inner.der"));
    fs::write(&reply, &answer.body).unwrap();
    succeed(
        Command::new("openssl")
            .args(["cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in"])
            .arg(&reply)
            .arg("-out")
            .arg(&envelope),
    );
    succeed(
        Command::new("openssl")
            .args(["cms", "-decrypt", "-binary", "-inform", "DER", "-pwri_password", &challenge, "-in"])
            .arg(&envelope)
            .arg("-out")
            .arg(&inner),
    );
    let printed = text(&succeed(
        Command::new("openssl").args(["pkcs7", "-inform", "DER", "-print_certs", "-in"]).arg(&inner),
    ));
    let certificate = file("issued.pem");
    fs::write(&certificate, printed).unwrap();
    assert_enrolled(&certificate, &request.key, name);
}

#[test]
fn enrols_with_aes_128() {
    enrols("openssl-aes128", &["-aes128"]);
}

#[test]
fn enrols_with_aes_192() {
    enrols("openssl-aes192", &["-aes192"]);
}

#[test]
fn enrols_with_ber_of_indefinite_length() {
    enrols("openssl-stream", &["-aes256", "-stream"]);
}

#[test]
fn enrols_with_a_subject_key_identifier_recipient() {
    enrols("openssl-keyid", &["-aes256", "-keyid"]);
}

#[test]
fn enrols_with_oaep_sha1() {
    enrols("openssl-oaep-sha1", &["-aes256", "-keyopt", "rsa_padding_mode:oaep"]);
}

#[test]
fn enrols_with_oaep_sha256() {
    let padding = [
        "-keyopt",
        "rsa_padding_mode:oaep",
        "-keyopt",
        "rsa_oaep_md:sha256",
        "-keyopt",
        "rsa_mgf1_md:sha256",
    ];
    enrols("openssl-oaep-sha256", &[&["-aes256"][..], &padding].concat());
}
