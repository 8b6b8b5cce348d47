//! Servers on the loopback address that do what no server should.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use certgate::{
    adapters::system::{SystemClock, SystemRandomSource},
    app::client::key::ClientKey,
    ports::{Clock, Random},
    types::{DigestAlgorithm, KeyAlgorithm, Secret, SerialNumber, Timestamp, Validity},
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, ResponseSpec, SingleResponse},
        scep::{CertRepSpec, Degenerate, Envelope, EnvelopeRandom, Outcome, PkiMessage, seal},
        x509::{CaConstraint, Certificate, CertificateSpec, KeyUsage, Name},
    },
};

/// Who answers: target and body in, a whole response out. Empty: nothing is answered.
type Handler = dyn Fn(&str, &[u8]) -> Vec<u8> + Send + Sync;

/// Serves until the test program ends; gives the URL.
fn serve(handler: impl Fn(&str, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> String {
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
    let target = String::from_utf8_lossy(&bytes[..end]).split(' ').nth(1)?.to_owned();
    let answer = handler(&target, &bytes[end..]);
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
        Self(serve(move |_, _| answer.to_vec()))
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
    certificate: Certificate,
}

impl Ca {
    fn new(name: &str, key_usage: KeyUsage) -> Self {
        let key = ClientKey::generate(KeyAlgorithm::Rsa2048).unwrap();
        let name: Name = name.parse().unwrap();
        let serial = SerialNumber::from_random(random());
        let spec = CertificateSpec {
            ca: Some(CaConstraint { path_len: None }),
            key_usage,
            ..CertificateSpec::new(serial, name.clone(), name, validity(), key.public_key().clone())
        };
        let der = key.finish(spec.unsigned(key.signature_algorithm()).unwrap()).unwrap();
        Self { certificate: Certificate::from_der(&der).unwrap(), key }
    }
}

/// A SCEP server that checks nothing, issues what is asked for, answers in no transaction, and says what it dislikes about an envelope.
pub(super) struct Careless(String);

impl Careless {
    pub(super) fn start() -> Self {
        let ca = Ca::new("CN=Careless CA", KeyUsage::KEY_CERT_SIGN.union(KeyUsage::KEY_ENCIPHERMENT));
        Self(serve(move |target, body| answer(&ca, target, body)))
    }

    pub(super) fn url(&self) -> &str {
        &self.0
    }
}

fn answer(ca: &Ca, target: &str, body: &[u8]) -> Vec<u8> {
    let operation = target.split("operation=").nth(1).unwrap_or_default().split('&').next();
    match operation {
        Some("GetCACaps") => ok("text/html", b"aes\nRenewal\nGetNextCACert\n"),
        Some("GetCACert") => ok("application/octet-stream", ca.certificate.as_der()),
        Some("PKIOperation") if !body.is_empty() => pki_operation(ca, body),
        _ => ok("text/html", b"It works!"),
    }
}

fn pki_operation(ca: &Ca, body: &[u8]) -> Vec<u8> {
    let Ok(message) = PkiMessage::from_ber(body) else { return ok("text/html", b"It works!") };
    let payload = match open(ca, body) {
        Ok(payload) => payload,
        Err(reason) => return response("500 Internal Server Error", "", reason.as_bytes()),
    };
    let Some(recipient) = message.signer_certificate() else {
        return response("500 Internal Server Error", "", b"no signer");
    };
    let certificate = issue(ca, recipient, payload.expose());
    let cipher = certgate::types::ContentCipher::Aes128Cbc;
    let randomness = EnvelopeRandom { content_key: Secret::new(random::<16>().to_vec()), iv: random() };
    let content = Degenerate::to_der(&[certificate.as_der()], &[]).unwrap();
    let transport = certgate::types::KeyTransport::Pkcs1;
    let envelope = seal(&content, recipient, cipher, transport, &randomness).unwrap();
    let spec = CertRepSpec {
        outcome: Outcome::Success(envelope),
        transaction_id: &"always-the-same".parse().unwrap(),
        recipient_nonce: &[7; 16],
        sender_nonce: [7; 16],
        signer: &ca.certificate,
        digest: DigestAlgorithm::Sha256,
        signing_time: None,
    };
    ok("text/html", &ca.key.finish(spec.unsigned(ca.key.signature_algorithm()).unwrap()).unwrap())
}

/// Decrypts, and tells one fault from the other.
fn open(ca: &Ca, body: &[u8]) -> Result<Secret, &'static str> {
    let content = content_of(body).ok_or("no content")?;
    let envelope = Envelope::from_ber(&content).map_err(|_| "no envelope")?;
    let recipient = envelope.recipients.first().ok_or("no recipient")?;
    let key = ca.key.decrypter().unwrap().decrypt(recipient.transport, &recipient.encrypted_key);
    let key = key.map_err(|_| "the content key does not unwrap")?;
    let payload = envelope.open(&key).map_err(|_| "the padding is wrong")?;
    // Good certificates, requests and names begin like this.
    if payload.expose().first() == Some(&0x30) { Ok(payload) } else { Err("the content is nonsense") }
}

/// The EnvelopedData in a message, signed or not: from its object identifier on.
fn content_of(body: &[u8]) -> Option<Vec<u8>> {
    const ENVELOPED_DATA: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
    let body = certgate::wire::der::normalise(body).ok()?;
    let at = body.windows(11).position(|window| window == ENVELOPED_DATA)?;
    // ContentInfo's header before it has a length of two octets.
    let start = at.checked_sub(4)?;
    let length = usize::from(u16::from_be_bytes([body[start + 2], body[start + 3]])) + 4;
    body.get(start..start + length).map(<[u8]>::to_vec)
}

/// For whoever signed the message, whatever the request says, but for its wish to be a CA.
fn issue(ca: &Ca, requester: &Certificate, request: &[u8]) -> Certificate {
    const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];
    let wants_ca = request.windows(5).any(|window| window == BASIC_CONSTRAINTS);
    let spec = CertificateSpec {
        ca: wants_ca.then_some(CaConstraint { path_len: None }),
        key_usage: if wants_ca { KeyUsage::KEY_CERT_SIGN } else { KeyUsage::DIGITAL_SIGNATURE },
        ..CertificateSpec::new(
            SerialNumber::from_random(random()),
            ca.certificate.subject().clone(),
            requester.subject().clone(),
            validity(),
            requester.public_key().clone(),
        )
    };
    let der = ca.key.finish(spec.unsigned(ca.key.signature_algorithm()).unwrap()).unwrap();
    Certificate::from_der(&der).unwrap()
}

/// An OCSP responder for which everything is good from the day after tomorrow to yesterday, by the signature of a stranger.
pub(super) struct CarelessResponder {
    url: String,
    issuer: Certificate,
}

impl CarelessResponder {
    pub(super) fn start() -> Self {
        let issuer = Ca::new("CN=Careless CA", KeyUsage::KEY_CERT_SIGN).certificate;
        let stranger = Ca::new("CN=Stranger", KeyUsage::DIGITAL_SIGNATURE);
        let usual = CertId::new(DigestAlgorithm::Sha1, &issuer, issuer.serial()).unwrap();
        let url = serve(move |target, body| {
            let by_get = OcspRequest::decode_get(target.trim_start_matches("/scep/")).unwrap_or_default();
            let asked = OcspRequest::from_der(if body.is_empty() { &by_get } else { body });
            let (id, nonce) =
                asked.map_or((usual.clone(), None), |asked| (asked.cert_ids[0].clone(), asked.nonce));
            all_is_good(&stranger, id, nonce.is_some())
        });
        Self { url, issuer }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn issuer_pem(&self) -> String {
        self.issuer.to_pem()
    }
}

/// An OCSP responder that always says the same: its own certificate is good. It knows no nonces, which RFC 9919 allows.
pub(super) struct Repeating {
    url: String,
    issuer: Certificate,
}

impl Repeating {
    pub(super) fn start() -> Self {
        let ca = Ca::new("CN=Repeating CA", KeyUsage::KEY_CERT_SIGN.union(KeyUsage::DIGITAL_SIGNATURE));
        let issuer = ca.certificate.clone();
        let cert_id = CertId::new(DigestAlgorithm::Sha1, &issuer, issuer.serial()).unwrap();
        let now = SystemClock.now();
        let next_update = Some(now.plus(Duration::from_secs(3_600)));
        let single = SingleResponse { cert_id, status: CertStatus::Good, this_update: now, next_update };
        let body = signed(&ca, now, &[single], None);
        Self { url: serve(move |_, _| ok("application/ocsp-response", &body)), issuer }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn issuer_pem(&self) -> String {
        self.issuer.to_pem()
    }
}

fn signed(
    signer: &Ca,
    produced_at: Timestamp,
    responses: &[SingleResponse],
    nonce: Option<&[u8]>,
) -> Vec<u8> {
    let spec = ResponseSpec { responder: &signer.certificate, produced_at, responses, nonce };
    signer.key.finish(spec.unsigned(signer.key.signature_algorithm()).unwrap()).unwrap()
}

fn all_is_good(signer: &Ca, cert_id: CertId, nonce: bool) -> Vec<u8> {
    let (now, day) = (SystemClock.now(), Duration::from_secs(86_400));
    let responses = [SingleResponse {
        cert_id,
        status: CertStatus::Good,
        this_update: now.plus(2 * day),
        next_update: Some(now.minus(day)),
    }];
    let body = signed(signer, now.plus(day), &responses, nonce.then_some(&[0x04, 0x02, 1, 2]));
    let headers = "Content-Type: text/html\r\nCache-Control: public, max-age=31536000\r\n";
    response("200 OK", headers, &body)
}
