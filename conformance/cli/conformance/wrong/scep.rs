//! A SCEP server that does what no server should.

use std::time::Duration;

use certgate::{
    adapters::system::SystemClock,
    app::client::key::ClientKey,
    ports::Clock,
    types::{ContentCipher, DigestAlgorithm, KeyAlgorithm, KeyTransport, Secret, SerialNumber, Validity},
    wire::{
        csr::Csr,
        scep::{CertRepSpec, Degenerate, Envelope, EnvelopeRandom, NextCaSpec, Outcome, PkiMessage, seal},
        x509::{CaConstraint, Certificate, CertificateSpec, KeyUsage},
    },
};

use super::{Asked, Ca, ok, random, response, serve, validity};

/// A fault that most careless servers do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vice {
    /// None but the usual carelessness.
    Usual,
    /// Its CA is out of date.
    Stale,
    /// The transactionID is UTF8String.
    OtherStringType,
    /// It encrypts to itself.
    ForItself,
    /// It encrypts with triple DES whatever the request did.
    TripleDes,
    /// The degenerate SignedData has content.
    Content,
    /// The certificate is for another key.
    OtherKey,
    /// PENDING comes with an envelope.
    Pending,
    /// It offers triple DES and cannot read it.
    EmptyPromise,
    /// It grants what it cannot decrypt.
    AnyCipher,
    /// Where the request is for another key than the signer's it says something that is no CertRep.
    Speechless,
    /// It knows HTTP/1.1 alone.
    ModernHttp,
    /// The next CA is announced by nobody.
    NextUnsigned,
    /// The next CA is announced by itself.
    NextByItself,
    /// The next CA is announced as a certificate alone.
    NextBare,
    /// The next CA is the present one.
    NextIsPresent,
}

/// A SCEP server that checks nothing, issues what is asked for, answers in no transaction, and says what it dislikes about an envelope.
pub(crate) struct Careless(String);

impl Careless {
    pub(crate) fn start() -> Self {
        Self::with(Vice::Usual)
    }

    pub(crate) fn with(vice: Vice) -> Self {
        let usages = KeyUsage::KEY_CERT_SIGN.union(KeyUsage::KEY_ENCIPHERMENT);
        let (now, day) = (SystemClock.now(), Duration::from_secs(86_400));
        let stale = Validity { not_before: now.minus(2 * day), not_after: now.minus(day) };
        let ca = Ca::valid("CN=Careless CA", usages, if vice == Vice::Stale { stale } else { validity() });
        let next = Ca::new("CN=Next CA", usages);
        Self(serve(move |asked| answer(&ca, &next, vice, asked)))
    }

    pub(crate) fn url(&self) -> &str {
        &self.0
    }
}

fn answer(ca: &Ca, next: &Ca, vice: Vice, asked: &Asked<'_>) -> Vec<u8> {
    if vice == Vice::ModernHttp && asked.old {
        return response("505 HTTP Version Not Supported", "", &[]);
    }
    let operation = asked.target.split("operation=").nth(1).unwrap_or_default().split('&').next();
    match operation {
        Some("GetCACaps") if vice == Vice::EmptyPromise => ok("text/plain", b"AES\nDES3\nRenewal\n"),
        Some("GetCACaps") => ok("text/html", b"aes\nRenewal\nGetNextCACert\n"),
        Some("GetCACert") => ok("application/octet-stream", ca.certificate.as_der()),
        Some("GetNextCACert") => match announced(ca, next, vice) {
            Some(body) => ok("application/x-x509-next-ca-cert", &body),
            None => ok("text/html", b"It works!"),
        },
        Some("PKIOperation") if !asked.body.is_empty() => pki_operation(ca, vice, asked.body),
        _ => ok("text/html", b"It works!"),
    }
}

/// GetNextCACert's answer, if there is one.
fn announced(ca: &Ca, next: &Ca, vice: Vice) -> Option<Vec<u8>> {
    let bundle = |ca: &Ca| Degenerate::to_der(&[ca.certificate.as_der()], &[]).unwrap();
    let (content, signer) = match vice {
        Vice::NextUnsigned => (bundle(next), None),
        Vice::NextByItself => (bundle(next), Some(next)),
        Vice::NextBare => (next.certificate.as_der().to_vec(), Some(ca)),
        Vice::NextIsPresent => (bundle(ca), Some(ca)),
        _ => return None,
    };
    let infos = signer.map(|signer| {
        let algorithm = signer.key.signature_algorithm();
        let unsigned = NextCaSpec::signer_info(&content, &signer.certificate, algorithm).unwrap();
        (DigestAlgorithm::Sha256, signer.key.finish(unsigned).unwrap())
    });
    let certificates = [ca.certificate.as_der()];
    Some(NextCaSpec { content: &content, certificates: &certificates }.to_der(infos.into_iter().collect()))
}

fn pki_operation(ca: &Ca, vice: Vice, body: &[u8]) -> Vec<u8> {
    let Ok(message) = PkiMessage::from_ber(body) else { return ok("text/html", b"It works!") };
    let refused = |reason: &str| response("500 Internal Server Error", "", reason.as_bytes());
    let payload = match open(ca, vice, body) {
        Ok(payload) => payload,
        Err("no envelope") if vice == Vice::AnyCipher => Secret::new(vec![0x30, 0]),
        Err(reason) => return refused(reason),
    };
    let Some(recipient) = message.signer_certificate() else { return refused("no signer") };
    if vice == Vice::Speechless
        && Csr::from_der(payload.expose())
            .is_ok_and(|csr| csr.prove().is_ok_and(|csr| csr.public_key() != recipient.public_key()))
    {
        return ok("text/html", b"It works!");
    }
    let certificate = issue(ca, vice, recipient, payload.expose());
    let recipient = if vice == Vice::ForItself { &ca.certificate } else { recipient };
    let spec = CertRepSpec {
        outcome: Outcome::Success(envelope(vice, &certificate, recipient)),
        transaction_id: &"always-the-same".parse().unwrap(),
        recipient_nonce: &[7; 16],
        sender_nonce: [7; 16],
        signer: &ca.certificate,
        digest: DigestAlgorithm::Sha256,
        signing_time: None,
    };
    let unsigned = spec.unsigned(ca.key.signature_algorithm()).unwrap();
    let attributes = unsigned.to_be_signed().to_vec();
    let rep = ca.key.finish(unsigned).unwrap();
    ok("text/html", &spoilt(ca, vice, &attributes, rep))
}

fn envelope(vice: Vice, certificate: &Certificate, recipient: &Certificate) -> Vec<u8> {
    let cipher = if vice == Vice::TripleDes { ContentCipher::TripleDesCbc } else { ContentCipher::Aes128Cbc };
    let content_key = Secret::new(random::<24>()[..cipher.key_len()].to_vec());
    let randomness = EnvelopeRandom { content_key, iv: random() };
    let content = match vice {
        Vice::Content => {
            NextCaSpec { content: b"content", certificates: &[certificate.as_der()] }.to_der(Vec::new())
        }
        _ => Degenerate::to_der(&[certificate.as_der()], &[]).unwrap(),
    };
    seal(&content, recipient, cipher, KeyTransport::Pkcs1, &randomness).unwrap()
}

/// The CertRep with other signed attributes than a writer of certgate's makes, signed again.
fn spoilt(ca: &Ca, vice: Vice, attributes: &[u8], mut rep: Vec<u8>) -> Vec<u8> {
    const PKI_STATUS: &[u8] =
        &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x03, 0x31, 0x03, 0x13, 0x01];
    let (what, by): (&[u8], &[u8]) = match vice {
        Vice::OtherStringType => (b"\x13\x0falways", b"\x0c\x0falways"),
        Vice::Pending => (&[PKI_STATUS, b"0"].concat(), &[PKI_STATUS, b"3"].concat()),
        _ => return rep,
    };
    let place = |all: &[u8], part: &[u8]| all.windows(part.len()).position(|it| it == part).unwrap();
    let mut changed = attributes.to_vec();
    let at = place(&changed, what);
    changed[at..at + by.len()].copy_from_slice(by);
    // In the message their SET OF has an implicit tag.
    let at = place(&rep, &attributes[1..]);
    rep[at..at + changed.len() - 1].copy_from_slice(&changed[1..]);
    let signature = ca.sign(&changed);
    let end = rep.len() - signature.len();
    rep[end..].copy_from_slice(&signature);
    rep
}

/// Decrypts, and tells one fault from the other.
fn open(ca: &Ca, vice: Vice, body: &[u8]) -> Result<Secret, &'static str> {
    let content = content_of(body).ok_or("no content")?;
    let envelope = Envelope::from_ber(&content).map_err(|_| "no envelope")?;
    if vice == Vice::EmptyPromise && envelope.cipher == ContentCipher::TripleDesCbc {
        return Err("no envelope");
    }
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
fn issue(ca: &Ca, vice: Vice, requester: &Certificate, request: &[u8]) -> Certificate {
    const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];
    let other = (vice == Vice::OtherKey).then(|| ClientKey::generate(KeyAlgorithm::P256).unwrap());
    let wants_ca = request.windows(5).any(|window| window == BASIC_CONSTRAINTS);
    let spec = CertificateSpec {
        ca: wants_ca.then_some(CaConstraint { path_len: None }),
        key_usage: if wants_ca { KeyUsage::KEY_CERT_SIGN } else { KeyUsage::DIGITAL_SIGNATURE },
        ..CertificateSpec::new(
            SerialNumber::from_random(random()),
            ca.certificate.subject().clone(),
            requester.subject().clone(),
            validity(),
            other.as_ref().map_or(requester.public_key(), ClientKey::public_key).clone(),
        )
    };
    let der = ca.key.finish(spec.unsigned(ca.key.signature_algorithm()).unwrap()).unwrap();
    Certificate::from_der(&der).unwrap()
}
