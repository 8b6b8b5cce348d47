//! Servers on the loopback address that do what no server should.

mod ocsp;
mod scep;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use certgate::{
    adapters::{
        keys::{
            secret_file,
            software::{self, SoftwareSigner},
        },
        system::{SystemClock, SystemRandomSource},
    },
    app::client::key::ClientKey,
    ports::{Clock, Random, Signer},
    types::{DigestAlgorithm, KeyAlgorithm, SerialNumber, SignatureAlgorithm, Validity},
    wire::x509::{CaConstraint, Certificate, CertificateSpec, KeyUsage, Name},
};

pub(super) use ocsp::{CarelessResponder, Repeating, Responder, Slip};
pub(super) use scep::{Careless, Vice};

/// What somebody asks.
struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    /// By HTTP/1.0.
    old: bool,
    /// The lines of the head, in lower case.
    head: &'a str,
    body: &'a [u8],
}

impl Asked<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let values = self.head.lines().filter_map(|line| line.split_once(':'));
        values
            .map(|(key, value)| (key.trim(), value.trim()))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

/// Who answers: a whole response. Empty: nothing is answered.
type Handler = dyn Fn(&Asked<'_>) -> Vec<u8> + Send + Sync;

/// Serves until the test program ends; gives the URL.
fn serve(handler: impl Fn(&Asked<'_>) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/scep", listener.local_addr().unwrap());
    let handler: Arc<Handler> = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            thread::spawn(move || converse(stream, handler.as_ref()));
        }
    });
    url
}

fn converse(mut stream: TcpStream, handler: &Handler) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(&mut stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    while bytes.len() < end + length.unwrap_or(0) {
        read_more(&mut stream, &mut bytes)?;
    }
    let line = String::from_utf8_lossy(&bytes[..end]).lines().next()?.to_owned();
    let mut words = line.split(' ');
    let (method, target, old) = (words.next()?, words.next()?, line.ends_with("HTTP/1.0"));
    let answer = handler(&Asked { method, target, old, head: &head, body: &bytes[end..] });
    if answer.is_empty() {
        // It hangs, until the client has had enough.
        let _ = stream.read(&mut [0]);
    }
    stream.write_all(&answer).ok()
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut part = [0; 16 * 1024];
    let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
    bytes.extend_from_slice(&part[..read]);
    Some(())
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn ok(media_type: &str, body: &[u8]) -> Vec<u8> {
    response("200 OK", &format!("Content-Type: {media_type}\r\n"), body)
}

/// A server that gives one answer to everything; an empty one: none.
pub(super) struct Fixed(String);

impl Fixed {
    pub(super) fn start(answer: &'static [u8]) -> Self {
        Self(serve(move |_| answer.to_vec()))
    }

    pub(super) fn url(&self) -> &str {
        &self.0
    }
}

fn random<const N: usize>() -> [u8; N] {
    let source = SystemRandomSource::default();
    let source: &dyn Random = &source;
    source.bytes()
}

fn validity() -> Validity {
    let (now, day) = (SystemClock.now(), Duration::from_secs(86_400));
    Validity { not_before: now.minus(day), not_after: now.plus(day) }
}

/// A CA with its key.
struct Ca {
    key: ClientKey,
    /// The same key, for what no writer of certgate's signs.
    signer: SoftwareSigner,
    certificate: Certificate,
}

impl Ca {
    fn new(name: &str, key_usage: KeyUsage) -> Self {
        Self::valid(name, key_usage, validity())
    }

    fn valid(name: &str, key_usage: KeyUsage, validity: Validity) -> Self {
        let (key, signer) = keys();
        let name: Name = name.parse().unwrap();
        let serial = SerialNumber::from_random(random());
        let spec = CertificateSpec {
            ca: Some(CaConstraint { path_len: None }),
            key_usage,
            ..CertificateSpec::new(serial, name.clone(), name, validity, key.public_key().clone())
        };
        let der = key.finish(spec.unsigned(key.signature_algorithm()).unwrap()).unwrap();
        Self { certificate: Certificate::from_der(&der).unwrap(), key, signer }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256), message).unwrap()
    }
}

/// One key, twice.
fn keys() -> (ClientKey, SoftwareSigner) {
    let pkcs8 = software::generate_pkcs8(KeyAlgorithm::Rsa2048).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    secret_file::create(&path, software::pkcs8_to_pem(&pkcs8).unwrap().as_bytes()).unwrap();
    (ClientKey::load(&path).unwrap(), SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..=0x7f => vec![tag, length.to_be_bytes()[7]],
        0x80..=0xff => vec![tag, 0x81, length.to_be_bytes()[7]],
        _ => [&[tag, 0x82], &length.to_be_bytes()[6..]].concat(),
    };
    [&header, content].concat()
}
