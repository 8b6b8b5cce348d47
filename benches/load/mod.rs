//! Loads for the benches: SCEP enrolments and keep-alive HTTP requests in a closed loop, bounded by their number.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its own part of this module")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::expect_used, reason = "a bench stops where it cannot go on")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and percentiles are for people"
)]

pub mod results;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey},
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use certgate::{
    adapters::keys::software::{SoftwareDecrypter, SoftwareSigner, generate_pkcs8},
    ports::{Decrypter, Signer},
    types::{
        ContentCipher, DigestAlgorithm, KeyAlgorithm, KeyTransport, Secret, SerialNumber, Timestamp, Validity,
    },
    wire::{
        csr::CsrSpec,
        scep::{Degenerate, EnvelopeRandom, MessageType, RequestSpec, seal},
        x509::{Certificate, CertificateSpec, KeyUsage, Name},
    },
};

const SHA256_RSA: certgate::types::SignatureAlgorithm =
    certgate::types::SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256);

/// How many workers run beside each other on this machine.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A device's RSA-2048 key with its self-signed SCEP signer certificate.
pub struct Device {
    pub signer: SoftwareSigner,
    pub certificate: Certificate,
}

impl Device {
    pub fn new() -> Self {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).expect("an RSA key can be made");
        let signer = SoftwareSigner::from_pkcs8(pkcs8.expose()).expect("a fresh key opens");
        let now = Timestamp::from_unix(
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs(),
        );
        let name: Name = "CN=load".parse().expect("a name");
        let unsigned = CertificateSpec {
            serial: SerialNumber::from_random([7; 16]),
            issuer: name.clone(),
            subject: name,
            validity: Validity { not_before: now, not_after: now.plus(Duration::from_secs(86_400)) },
            public_key: signer.public_key().clone(),
            authority_key_identifier: None,
            ca: None,
            key_usage: KeyUsage::DIGITAL_SIGNATURE.union(KeyUsage::KEY_ENCIPHERMENT),
            extended_key_usage: Vec::new(),
            subject_alt_names: Vec::new(),
            crl_urls: Vec::new(),
            freshest_crl_urls: Vec::new(),
            ocsp_urls: Vec::new(),
            ca_issuers_urls: Vec::new(),
            ocsp_no_check: false,
            microsoft_sid: None,
        }
        .unsigned(SHA256_RSA)
        .expect("encodes");
        let signature = signer.sign(SHA256_RSA, unsigned.to_be_signed()).expect("signs");
        let der = unsigned.finish(&signature).expect("encodes");
        Self { certificate: Certificate::from_der(&der).expect("reads its own certificate"), signer }
    }

    /// A PKCSReq that differs from every other by its number.
    pub fn request(&self, number: usize, recipient: &Certificate, challenge: &Secret) -> Vec<u8> {
        let csr = CsrSpec {
            subject: format!("CN=load-{number},O=Bench").parse().expect("a name"),
            public_key: self.signer.public_key().clone(),
            subject_alt_names: Vec::new(),
            challenge_password: Some(challenge.clone()),
        }
        .unsigned(SHA256_RSA)
        .expect("encodes");
        let signature = self.signer.sign(SHA256_RSA, csr.to_be_signed()).expect("signs");
        let csr = csr.finish(&signature).expect("encodes");

        let fill = u8::try_from(number % 251).expect("below 256");
        let random = EnvelopeRandom { content_key: Secret::new(vec![fill; 16]), iv: [fill; 16] };
        let content = seal(&csr, recipient, ContentCipher::Aes128Cbc, KeyTransport::Pkcs1, &random)
            .expect("the recipient's key is RSA");
        let message = RequestSpec {
            message_type: MessageType::PkcsReq,
            transaction_id: &format!("bench-{number}").parse().expect("printable"),
            sender_nonce: [fill; 16],
            content,
            signer: &self.certificate,
            digest: DigestAlgorithm::Sha256,
        }
        .unsigned(SHA256_RSA)
        .expect("encodes");
        let signature = self.signer.sign(SHA256_RSA, message.to_be_signed()).expect("signs");
        message.finish(&signature).expect("encodes")
    }
}

/// The first certificate of GetCACert, or the only one.
pub fn message_certificate(address: SocketAddr, path: &str) -> Certificate {
    let request = get(&format!("{path}?operation=GetCACert"));
    let answer = Connection::open(address).and_then(|mut connection| connection.exchange(&request));
    let (body, _) = answer.expect("the server answers GetCACert");
    Certificate::from_der(&body).unwrap_or_else(|_| {
        let bundle = Degenerate::from_ber(&body).expect("a certificate or a bundle");
        bundle.certificates.into_iter().next().expect("the bundle has a certificate")
    })
}

/// `count` different PKCSReq messages from a few devices, made on all cores.
pub fn enrolments(count: usize, recipient: &Certificate, challenge: &Secret) -> Vec<Vec<u8>> {
    let messages = Mutex::new(Vec::with_capacity(count));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                let device = Device::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let message = device.request(number, recipient, challenge);
                    messages.lock().expect("no panic holds it").push(message);
                }
            });
        }
    });
    messages.into_inner().expect("no panic holds it")
}

/// What a load achieved.
pub struct Report {
    pub accepted: usize,
    pub refused: usize,
    pub broken: usize,
    pub elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Report {
    /// Accepted requests per second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency below which the fraction `part` of the accepted requests stayed.
    pub fn latency(&self, part: f64) -> Duration {
        let index = ((self.latencies.len() as f64 - 1.0) * part).max(0.0) as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:8.0}/s   p50 {:7.2} ms   p99 {:7.2} ms   accepted {}, refused {}, broken {}",
            self.rate(),
            self.latency(0.5).as_secs_f64() * 1e3,
            self.latency(0.99).as_secs_f64() * 1e3,
            self.accepted,
            self.refused,
            self.broken
        )
    }
}

/// Sends each of `requests` once, over `connections` keep-alive connections, and judges every answer's body.
pub fn closed_loop(
    address: SocketAddr,
    connections: usize,
    requests: &[Vec<u8>],
    accepts: impl Fn(&[u8]) -> bool + Sync,
) -> Report {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let outcomes: Vec<(usize, usize, usize, Vec<Duration>)> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| drain(address, requests, &next, &accepts))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a load worker does not panic")).collect()
    });
    let elapsed = start.elapsed();
    let mut report = Report { accepted: 0, refused: 0, broken: 0, elapsed, latencies: Vec::new() };
    for (accepted, refused, broken, latencies) in outcomes {
        report.accepted += accepted;
        report.refused += refused;
        report.broken += broken;
        report.latencies.extend(latencies);
    }
    report.latencies.sort_unstable();
    report
}

fn drain(
    address: SocketAddr,
    requests: &[Vec<u8>],
    next: &AtomicUsize,
    accepts: &(impl Fn(&[u8]) -> bool + Sync),
) -> (usize, usize, usize, Vec<Duration>) {
    let (mut accepted, mut refused, mut broken, mut latencies) = (0, 0, 0, Vec::new());
    let mut connection = None;
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let start = Instant::now();
        let Some(mut open) = connection.take().or_else(|| Connection::open(address)) else {
            broken += 1;
            continue;
        };
        match open.exchange(request) {
            Some((body, keep)) => {
                if accepts(&body) {
                    accepted += 1;
                    latencies.push(start.elapsed());
                } else {
                    refused += 1;
                }
                connection = keep.then_some(open);
            }
            None => broken += 1,
        }
    }
    (accepted, refused, broken, latencies)
}

struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        Some(Self { reader: BufReader::new(stream) })
    }

    /// Sends the bytes of a whole request; gives the body and whether the connection stays open.
    fn exchange(&mut self, request: &[u8]) -> Option<(Vec<u8>, bool)> {
        self.reader.get_mut().write_all(request).ok()?;
        let (mut length, mut keep, mut chunked) = (0, true, false);
        let mut line = String::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            // RFC 9112 §9.3: HTTP/1.0 closes unless it says otherwise; nobody here does.
            keep &= !header.starts_with("http/1.0 ");
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            } else if header == "connection: close" {
                keep = false;
            } else if header == "transfer-encoding: chunked" {
                chunked = true;
            }
        }
        let body = if chunked { self.chunks()? } else { self.bytes(length)? };
        Some((body, keep))
    }

    fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A body in chunks (RFC 9112 §7.1): what Go's servers send.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
            body.extend(self.bytes(size)?);
            self.bytes(2)?;
            if size == 0 {
                return Some(body);
            }
        }
    }
}

/// Revokes a certificate of the issuer `issuing` over the local socket of the server with this data directory.
pub fn revoke(data: &Path, serial: &SerialNumber) {
    let body = r#"{"reason": "superseded"}"#;
    let mut socket = UnixStream::connect(data.join("certgate.sock")).expect("the server has a socket");
    let head = format!(
        "POST /api/v1/certificates/issuing/{serial}/revoke HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + body).as_bytes()).expect("the server reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("the server answers");
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The PKCSReq messages as requests to the SCEP server at `path`.
pub fn enrolment_requests(count: usize, address: SocketAddr, path: &str, challenge: &Secret) -> Vec<Vec<u8>> {
    let recipient = message_certificate(address, path);
    let post = |message: &Vec<u8>| {
        post(&format!("{path}?operation=PKIOperation"), "application/x-pki-message", message)
    };
    enrolments(count, &recipient, challenge).iter().map(post).collect()
}

/// The bytes of a POST request.
pub fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The bytes of a GET request.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

/// Whether a CertRep says SUCCESS: looks for the attribute pkiStatus with the value "0", so that the load costs little itself.
pub fn is_success(cert_rep: &[u8]) -> bool {
    const PKI_STATUS_SUCCESS: &[u8] =
        &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x03, 0x31, 0x03, 0x13, 0x01, b'0'];
    cert_rep.windows(PKI_STATUS_SUCCESS.len()).any(|window| window == PKI_STATUS_SUCCESS)
}

/// The one in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Operations per second that all cores achieve together within `period`; `work` makes one worker's loop body.
pub fn rate_on_all_cores<W: FnMut()>(period: Duration, work: impl Fn() -> W + Sync) -> f64 {
    let done = AtomicUsize::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                let mut work = work();
                while start.elapsed() < period {
                    work();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// CPU time that a process has used, from `/proc`.
pub fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields after the command name, which may hold spaces: utime and stime are the 14th and 15th of all, in ticks of 10 ms.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let ticks = fields.get(11).copied().unwrap_or_default() + fields.get(12).copied().unwrap_or_default();
    Duration::from_millis(ticks * 10)
}

/// The cryptography of an enrolment with RSA-2048 everywhere, and nothing around it: makes one worker's loop body of three private
/// operations, two verifications and one encryption.
pub fn cryptography() -> impl Fn() -> Box<dyn FnMut()> + Sync {
    let pkcs8 = generate_pkcs8(KeyAlgorithm::Rsa2048).expect("an RSA key can be made");
    let signer = Arc::new(SoftwareSigner::from_pkcs8(pkcs8.expose()).expect("a fresh key opens"));
    let decrypter = Arc::new(SoftwareDecrypter::from_pkcs8(pkcs8.expose()).expect("a fresh key opens"));
    let message = [0x5a; 1200];
    let signature = signer.sign(SHA256_RSA, &message).expect("signs");
    move || {
        let encrypting = PublicEncryptingKey::from_der(signer.public_key().as_spki()).expect("reads");
        let encrypting = Pkcs1PublicEncryptingKey::new(encrypting).expect("encrypts");
        let public_key = signer.public_key().key_bits().to_vec();
        let verifying = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key);
        let mut wrapped = vec![0; 256];
        encrypting.encrypt(&[7; 16], &mut wrapped).expect("encrypts");
        let (signer, decrypter, signature) = (signer.clone(), decrypter.clone(), signature.clone());
        Box::new(move || {
            for _ in 0..2 {
                verifying.verify(&message, &signature).expect("verifies");
                signer.sign(SHA256_RSA, &message).expect("signs");
            }
            decrypter.decrypt(KeyTransport::Pkcs1, &wrapped).expect("opens");
            let mut out = [0; 256];
            encrypting.encrypt(&[7; 16], &mut out).expect("encrypts");
        })
    }
}
