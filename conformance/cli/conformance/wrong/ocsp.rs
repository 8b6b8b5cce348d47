//! OCSP responders: one that does everything right but for one thing, one that does nothing right, and one that says one thing.

use std::time::Duration;

use certgate::{
    adapters::system::SystemClock,
    ports::Clock,
    types::{DigestAlgorithm, RevocationReason, SerialNumber, Timestamp, Validity},
    wire::{
        ocsp::{CertId, CertStatus, ErrorStatus, OcspRequest, ResponseSpec, SingleResponse},
        x509::{Certificate, CertificateSpec, KeyUsage, Name},
    },
};
use const_oid::db::rfc5280;

use super::{Asked, Ca, ok, random, response, serve, tlv, validity};

/// How long an answer is good.
const LIFE: Duration = Duration::from_secs(3_600);

/// The one thing that an otherwise good responder does not do as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// There is none.
    None,
    /// It knows no GET.
    PostAlone,
    /// It takes a GET as RFC 6960 has it, to the letter.
    ToTheLetter,
    /// HTTP 500 with the right body.
    ServerError,
    /// It wants its media type.
    Typed,
    /// It knows HTTP/1.1 alone.
    ModernHttp,
    /// It fulfils no expectation.
    NoExpectation,
    /// Any method is GET.
    AnyMethod,
    /// CertIDs have SHA-1.
    Sha1,
    /// CertIDs have SHA-256.
    Sha256,
    /// CertIDs are written anew.
    Rewritten,
    /// It knows all extensions.
    NoExtensions,
    /// A nonce is an OCTET STRING.
    NestedNonce,
    /// Nobody has a name.
    NoNames,
    /// Nobody signs.
    NoSignatures,
    /// It is at a loss with many.
    FewAlone,
    /// No certificate is the usual one.
    NothingIsSomething,
    /// What is behind a request is not looked at.
    Trailing,
    /// Whatever is large is the usual request.
    Huge,
    /// Errors have responseBytes.
    WordyErrors,
    /// Each answer comes twice.
    Twice,
    /// Each answer has a nonce.
    OwnNonce,
    /// Revocations are of tomorrow.
    Tomorrow,
    /// What was never issued is revoked.
    RevokedNow,
    /// It is revoked as RFC 6960 has it, but for the extension.
    RevokedUnmarked,
    /// The delegate is out of date.
    ExpiredDelegate,
    /// The delegate may be revoked.
    PlainDelegate,
    /// The delegate names a responder.
    PointingDelegate,
    /// It goes by its name.
    ByName,
    /// It has no clock.
    NoDate,
    /// Caches may do as they like.
    NoDirectives,
    /// Nobody may keep anything.
    NoStore,
    /// Its answers are said to be compressed.
    Compressed,
    /// Nobody knows how long its answers are.
    NoLength,
    /// It never saw an entity tag.
    NoCondition,
    /// Of several certificates it answers for the first.
    OnceOfTwo,
    /// It is out of everything.
    Nothing,
}

/// The responder, and whom to ask it about.
pub(crate) struct Responder {
    url: String,
    pub(crate) issuer: Certificate,
    pub(crate) good: Certificate,
    pub(crate) revoked: Certificate,
}

struct World {
    ca: Ca,
    delegate: Ca,
    good: SerialNumber,
    revoked: SerialNumber,
    slip: Slip,
    started: Timestamp,
}

impl Responder {
    pub(crate) fn with(slip: Slip) -> Self {
        let ca = Ca::new("CN=Tidy CA", KeyUsage::KEY_CERT_SIGN);
        let mut delegate = Ca::new("CN=Delegate", KeyUsage::DIGITAL_SIGNATURE);
        delegate.certificate = delegate_of(&ca, &delegate, slip);
        let [good, revoked] = ["CN=good", "CN=revoked"].map(|name| device(&ca, name));
        let issuer = ca.certificate.clone();
        let world = World {
            ca,
            delegate,
            good: good.serial().clone(),
            revoked: revoked.serial().clone(),
            slip,
            started: SystemClock.now(),
        };
        Self { url: serve(move |asked| answer(&world, asked)), issuer, good, revoked }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn issued(ca: &Ca, spec: &CertificateSpec) -> Certificate {
    let der = ca.key.finish(spec.unsigned(ca.key.signature_algorithm()).unwrap()).unwrap();
    Certificate::from_der(&der).unwrap()
}

fn device(ca: &Ca, name: &str) -> Certificate {
    let (name, serial): (Name, _) = (name.parse().unwrap(), SerialNumber::from_random(random()));
    let key = ca.key.public_key().clone();
    issued(ca, &CertificateSpec::new(serial, ca.certificate.subject().clone(), name, validity(), key))
}

fn delegate_of(ca: &Ca, delegate: &Ca, slip: Slip) -> Certificate {
    let (now, day) = (SystemClock.now(), Duration::from_secs(86_400));
    let over = Validity { not_before: now.minus(2 * day), not_after: now.minus(day) };
    let pointing = slip == Slip::PointingDelegate;
    issued(
        ca,
        &CertificateSpec {
            key_usage: KeyUsage::DIGITAL_SIGNATURE,
            extended_key_usage: vec![rfc5280::ID_KP_OCSP_SIGNING],
            ocsp_no_check: slip != Slip::PlainDelegate,
            ocsp_urls: if pointing { vec!["http://127.0.0.1:1/ocsp".to_owned()] } else { Vec::new() },
            ..CertificateSpec::new(
                SerialNumber::from_random(random()),
                ca.certificate.subject().clone(),
                delegate.certificate.subject().clone(),
                if slip == Slip::ExpiredDelegate { over } else { validity() },
                delegate.key.public_key().clone(),
            )
        },
    )
}

fn answer(world: &World, asked: &Asked<'_>) -> Vec<u8> {
    let slip = world.slip;
    match asked.method {
        _ if slip == Slip::ModernHttp && asked.old => response("505 HTTP Version Not Supported", "", &[]),
        _ if slip == Slip::NoExpectation && asked.header("expect").is_some() => {
            response("417 Expectation Failed", "", &[])
        }
        "GET" | "HEAD" if slip == Slip::PostAlone => response("404 Not Found", "", &[]),
        "DELETE" if slip != Slip::AnyMethod => {
            response("405 Method Not Allowed", "Allow: GET, POST\r\n", &[])
        }
        "POST" if slip == Slip::Typed && asked.header("content-type") != Some("application/ocsp-request") => {
            response("415 Unsupported Media Type", "", &[])
        }
        "POST" if asked.body.len() > 100_000 && slip != Slip::Huge => {
            response("413 Content Too Large", "", &[])
        }
        "POST" => told(world, asked, asked.body),
        _ => match by_get(slip, asked.target) {
            Some(der) => told(world, asked, &der),
            None => error(slip, ErrorStatus::MalformedRequest),
        },
    }
}

fn by_get(slip: Slip, target: &str) -> Option<Vec<u8>> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let text = target.strip_prefix("/scep/")?;
    let der = OcspRequest::decode_get(text).ok()?;
    let plain = BASE64_STANDARD.encode(&der);
    let exact = percent_encoding::utf8_percent_encode(&plain, percent_encoding::NON_ALPHANUMERIC);
    (slip != Slip::ToTheLetter || text == exact.to_string()).then_some(der)
}

fn error(slip: Slip, status: ErrorStatus) -> Vec<u8> {
    let body = match slip {
        Slip::WordyErrors => tlv(0x30, &[&status.to_der()[2..], &tlv(0xa0, &tlv(0x30, &[]))].concat()),
        _ => status.to_der().to_vec(),
    };
    response("200 OK", "Content-Type: application/ocsp-response\r\nCache-Control: no-store\r\n", &body)
}

/// What is said to a request, or what is wrong with it.
fn told(world: &World, asked: &Asked<'_>, der: &[u8]) -> Vec<u8> {
    let slip = world.slip;
    let usual = || usual(world);
    let request = match OcspRequest::from_der(der) {
        _ if slip == Slip::Nothing => return error(slip, ErrorStatus::TryLater),
        _ if slip == Slip::Huge && der.len() > 100_000 => usual(),
        _ if refuses(slip, der) => return error(slip, ErrorStatus::MalformedRequest),
        Err(_) if slip == Slip::NothingIsSomething && der.len() == 6 => usual(),
        Err(_) if slip == Slip::Trailing && der.ends_with(&[5, 0]) => usual(),
        Err(_) if slip == Slip::FewAlone && der.len() > 8_192 => return ok("text/html", b"out of memory"),
        Err(_) => return error(slip, ErrorStatus::MalformedRequest),
        Ok(request) => request,
    };
    let now = SystemClock.now();
    let mut singles = Vec::new();
    let answered = if slip == Slip::OnceOfTwo { 1 } else { usize::MAX };
    for id in request.cert_ids.iter().take(answered) {
        match status_of(world, id) {
            Some(status) => singles.push(single(world, id, status)),
            None => return error(slip, ErrorStatus::Unauthorized),
        }
    }
    if slip == Slip::Twice {
        singles.extend(singles.clone());
    }
    let own = (slip == Slip::OwnNonce).then_some(&[4, 2, 1, 1][..]);
    let nonce = request.nonce.as_deref().or(own);
    // The same answer as long as it lasts, so that its entity tag is the same.
    let produced_at = if nonce.is_none() { world.started } else { now };
    let body = match slip {
        Slip::ByName => by_name(world, produced_at, &singles),
        _ => signed(&world.delegate, produced_at, &singles, nonce),
    };
    head_and_body(world, asked, &body, nonce.is_some())
}

fn refuses(slip: Slip, der: &[u8]) -> bool {
    const NOBODYS: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x01];
    let has = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
    let inner = |der: &[u8]| match der.get(1) {
        Some(0x81) => der.get(3..).map(<[u8]>::to_vec),
        Some(0x82) => der.get(4..).map(<[u8]>::to_vec),
        _ => der.get(2..).map(<[u8]>::to_vec),
    };
    let first = inner(der).and_then(|tbs| inner(&tbs)).and_then(|fields| fields.first().copied());
    match slip {
        Slip::NoExtensions => has(NOBODYS),
        Slip::NestedNonce => OcspRequest::from_der(der)
            .is_ok_and(|request| request.nonce.is_some_and(|nonce| nonce.first() != Some(&0x04))),
        Slip::NoNames => first == Some(0xa1),
        // ecdsa-with-SHA256
        Slip::NoSignatures => has(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]),
        _ => false,
    }
}

fn usual(world: &World) -> OcspRequest {
    let id = CertId::new(DigestAlgorithm::Sha1, &world.ca.certificate, &world.good).unwrap();
    OcspRequest::new(vec![id], None)
}

fn status_of(world: &World, id: &CertId) -> Option<CertStatus> {
    let known = id.algorithm().and_then(|hash| CertId::new(hash, &world.ca.certificate, id.serial()).ok());
    if known.is_none_or(|known| known.issuer_key_hash() != id.issuer_key_hash()) {
        return None;
    }
    let (now, hour) = (SystemClock.now(), Duration::from_secs(3_600));
    let revoked = |at, reason| Some(CertStatus::Revoked { at, reason });
    match world.slip {
        _ if *id.serial() == world.good => Some(CertStatus::Good),
        Slip::Tomorrow if *id.serial() == world.revoked => {
            revoked(now.plus(24 * hour), RevocationReason::KeyCompromise)
        }
        _ if *id.serial() == world.revoked => revoked(now.minus(hour), RevocationReason::KeyCompromise),
        Slip::RevokedNow => revoked(now, RevocationReason::Unspecified),
        Slip::RevokedUnmarked => revoked(Timestamp::EPOCH, RevocationReason::CertificateHold),
        // For the check that asks for two: what is not known is said of each.
        _ => Some(CertStatus::Unknown),
    }
}

fn single(world: &World, id: &CertId, status: CertStatus) -> SingleResponse {
    let written = |hash| CertId::new(hash, &world.ca.certificate, id.serial()).unwrap();
    let cert_id = match world.slip {
        Slip::Sha1 => written(DigestAlgorithm::Sha1),
        Slip::Sha256 => written(DigestAlgorithm::Sha256),
        Slip::Rewritten => written(id.algorithm().unwrap()),
        _ => id.clone(),
    };
    let (this_update, next_update) = (world.started, Some(world.started.plus(LIFE)));
    SingleResponse { cert_id, status, this_update, next_update, archive_cutoff: None, invalidity_date: None }
}

fn head_and_body(world: &World, asked: &Asked<'_>, body: &[u8], nonce: bool) -> Vec<u8> {
    let slip = world.slip;
    let etag = format!("\"{}\"", hex::encode(certgate::types::sha256(body)));
    let date = SystemClock.now().to_http_date();
    let mut headers = String::from("Content-Type: application/ocsp-response\r\n");
    if slip != Slip::NoDate {
        headers.extend(["Date: ", &date, "\r\n"]);
    }
    if slip == Slip::Compressed {
        headers += "Content-Encoding: x-none\r\n";
    }
    let caching = match slip {
        _ if nonce => "Cache-Control: no-store\r\n".to_owned(),
        Slip::NoStore => "Cache-Control: no-store\r\n".to_owned(),
        _ => {
            let rest =
                if slip == Slip::NoDirectives { "" } else { ", public, no-transform, must-revalidate" };
            let (modified, expires) = (world.started.to_http_date(), world.started.plus(LIFE).to_http_date());
            format!(
                "Cache-Control: max-age=60{rest}\r\nETag: {etag}\r\nLast-Modified: {modified}\r\nExpires: {expires}\r\n"
            )
        }
    };
    headers += &caching;
    if slip != Slip::NoCondition && asked.header("if-none-match") == Some(etag.as_str()) {
        return format!("HTTP/1.1 304 Not Modified\r\n{headers}Connection: close\r\n\r\n").into();
    }
    match (asked.method, slip) {
        ("HEAD", _) => response("200 OK", &headers, &[]),
        ("POST", Slip::ServerError) => response("500 Internal Server Error", &headers, body),
        (_, Slip::NoLength) => {
            let head = format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n");
            [head.as_bytes(), body].concat()
        }
        _ => response("200 OK", &headers, body),
    }
}

/// A response in which the responder goes by its name, which no writer of certgate's makes.
fn by_name(world: &World, produced_at: Timestamp, singles: &[SingleResponse]) -> Vec<u8> {
    const OCSP_BASIC: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
    const SHA256_WITH_RSA: &[u8] =
        &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
    let delegate = &world.delegate;
    let spec =
        ResponseSpec { responder: &delegate.certificate, produced_at, responses: singles, nonce: None };
    let by_key = spec.unsigned(delegate.key.signature_algorithm()).unwrap();
    // ResponseData: a header of up to four octets, then [2] { OCTET STRING of 20 }.
    let data = by_key.to_be_signed();
    let at = data.windows(4).position(|window| window == [0xa2, 0x16, 0x04, 0x14]).unwrap();
    let name = tlv(0xa1, delegate.certificate.subject().as_der());
    let data = tlv(0x30, &[&name, &data[at + 0x18..]].concat());
    let signature = tlv(0x03, &[&[0], &delegate.sign(&data)[..]].concat());
    let certificates = tlv(0xa0, &tlv(0x30, delegate.certificate.as_der()));
    let basic = tlv(0x30, &[&data, SHA256_WITH_RSA, &signature, &certificates].concat());
    let bytes = tlv(0x30, &[OCSP_BASIC, &tlv(0x04, &basic)].concat());
    tlv(0x30, &[&[0x0a, 1, 0], &tlv(0xa0, &bytes)[..]].concat())
}

/// An OCSP responder for which everything is good from the day after tomorrow to yesterday, by the signature of a stranger.
pub(crate) struct CarelessResponder {
    url: String,
    issuer: Certificate,
}

impl CarelessResponder {
    pub(crate) fn start() -> Self {
        let issuer = Ca::new("CN=Careless CA", KeyUsage::KEY_CERT_SIGN).certificate;
        let stranger = Ca::new("CN=Stranger", KeyUsage::DIGITAL_SIGNATURE);
        let usual = CertId::new(DigestAlgorithm::Sha1, &issuer, issuer.serial()).unwrap();
        let url = serve(move |asked| {
            let by_get =
                OcspRequest::decode_get(asked.target.trim_start_matches("/scep/")).unwrap_or_default();
            let request = OcspRequest::from_der(if asked.body.is_empty() { &by_get } else { asked.body });
            let (id, nonce) =
                request.map_or((usual.clone(), None), |asked| (asked.cert_ids[0].clone(), asked.nonce));
            all_is_good(&stranger, id, nonce.is_some())
        });
        Self { url, issuer }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn issuer_pem(&self) -> String {
        self.issuer.to_pem()
    }
}

/// An OCSP responder that always says the same: its own certificate is good. It knows no nonces, which RFC 9919 allows.
pub(crate) struct Repeating {
    url: String,
    issuer: Certificate,
}

impl Repeating {
    pub(crate) fn start() -> Self {
        let ca = Ca::new("CN=Repeating CA", KeyUsage::KEY_CERT_SIGN.union(KeyUsage::DIGITAL_SIGNATURE));
        let issuer = ca.certificate.clone();
        let cert_id = CertId::new(DigestAlgorithm::Sha1, &issuer, issuer.serial()).unwrap();
        let now = SystemClock.now();
        let next_update = Some(now.plus(Duration::from_secs(3_600)));
        let single = SingleResponse {
            cert_id,
            status: CertStatus::Good,
            this_update: now,
            next_update,
            archive_cutoff: None,
            invalidity_date: None,
        };
        let body = signed(&ca, now, &[single], None);
        Self { url: serve(move |_| ok("application/ocsp-response", &body)), issuer }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn issuer_pem(&self) -> String {
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
        archive_cutoff: None,
        invalidity_date: None,
    }];
    let body = signed(signer, now.plus(day), &responses, nonce.then_some(&[0x04, 0x02, 1, 2]));
    let headers = "Content-Type: text/html\r\nCache-Control: public, max-age=31536000\r\n";
    response("200 OK", headers, &body)
}
