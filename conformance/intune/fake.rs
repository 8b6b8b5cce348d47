//! A FAKE of Microsoft's services on a loopback port: Entra ID's token endpoint, Graph's list of services, Intune's SCEP validation and
//! revocation queue. It is no Microsoft software and knows no device; its forms are those of Microsoft's public library for
//! third-party CAs (microsoft/Intune-Resource-Access).
//!
//! It looks at each request as strictly as the description allows and notes every deviation ([`Fake::deviations`]); it can be told to fail
//! in each way that a network or a service fails ([`Fault`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use certgate::wire::{csr::Csr, x509::Certificate};
use serde_json::{Value, json};

pub(crate) const TENANT: &str = "contoso.example";
pub(crate) const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
/// Seconds.
pub(crate) const TOKEN_LIVES: u64 = 3599;
pub(crate) const CLIENT_SECRET: &str = "s3cr3t~of+the/application";

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Token,
    Discovery,
    Validate,
    Success,
    Failure,
    Download,
    Upload,
}

/// How the next request of a kind fails.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// With this status and Retry-After.
    Status(u16, Option<u64>),
    /// With a code of Intune's.
    Code(&'static str),
    /// Not within the client's patience.
    Slow(Duration),
    /// With something that is not JSON.
    Garbage,
    /// With more than anybody wants to read.
    Huge,
    /// By sending the client elsewhere.
    Redirect,
    /// By closing the connection.
    Close,
}

#[derive(Default)]
struct State {
    faults: BTreeMap<Action, VecDeque<Fault>>,
    /// Every request, in order, with its body.
    requests: Vec<(Action, Value)>,
    tokens: Vec<(String, String)>,
    deviations: Vec<String>,
    /// The certificate of the application; with none it has a secret.
    certificate: Option<Certificate>,
    /// Every jti that came.
    assertions: BTreeSet<String>,
    /// What the application may do in Intune.
    roles: Vec<&'static str>,
    queue: Vec<Value>,
    reported: Vec<Value>,
}

/// The fake.
#[derive(Clone)]
pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A request as it came.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Response {
    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: body.to_string().into(),
        }
    }
}

impl Fake {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { roles: vec!["scep_challenge_provider"], ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let fake = Self { address, state };
        let serving = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = serving.clone();
                thread::spawn(move || fake.serve(stream));
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The application proves itself with this certificate's key from now on, and not with a secret.
    pub(crate) fn trust(&self, certificate: &Certificate) {
        self.lock().certificate = Some(certificate.clone());
    }

    /// Takes the application's permission in Intune away.
    pub(crate) fn forbid(&self) {
        self.lock().roles.clear();
    }

    /// The next requests of this kind fail so.
    pub(crate) fn fail(&self, action: Action, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(action).or_default().extend(faults);
    }

    /// It is well again.
    pub(crate) fn recover(&self) {
        self.lock().faults.clear();
    }

    /// The kinds of request that came, in order.
    pub(crate) fn actions(&self) -> Vec<Action> {
        self.lock().requests.iter().map(|(action, _)| *action).collect()
    }

    /// How many requests of a kind came.
    pub(crate) fn count(&self, action: Action) -> usize {
        self.actions().into_iter().filter(|seen| *seen == action).count()
    }

    /// The body of the last request of a kind.
    pub(crate) fn last(&self, action: Action) -> Value {
        let state = self.lock();
        state.requests.iter().rev().find(|(seen, _)| *seen == action).expect("there was one").1.clone()
    }

    /// What of the requests was not as it should be.
    pub(crate) fn deviations(&self) -> Vec<String> {
        self.lock().deviations.clone()
    }

    /// All tokens that were given.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.lock().tokens.iter().map(|(token, _)| token.clone()).collect()
    }

    /// No token that was given is good any more.
    pub(crate) fn expire_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// Wants a certificate revoked.
    pub(crate) fn want_revoked(&self, context: &str, serial: &str, issuer: Option<&str>) {
        self.want(json!({
            "requestContext": context, "serialNumber": serial, "issuerName": issuer, "caConfiguration": null,
        }));
    }

    /// Puts an entry as it is into the list of revocations.
    pub(crate) fn want(&self, entry: Value) {
        self.lock().queue.push(entry);
    }

    /// What was reported, by context.
    pub(crate) fn reported(&self, context: &str) -> Option<Value> {
        self.lock().reported.iter().rev().find(|result| result["requestContext"] == context).cloned()
    }

    /// How many revocations are wanted and not reported as done for good.
    pub(crate) fn wanted(&self) -> usize {
        self.lock().queue.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        while let Some(request) = read(&mut reader) {
            let Some(response) = self.answer(&request) else { return };
            let mut head =
                format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", response.status, response.body.len());
            for (name, value) in &response.headers {
                head.extend([name, ": ", value, "\r\n"]);
            }
            head.push_str("\r\n");
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&response.body)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> Option<Response> {
        let Some(action) = action_of(request) else {
            self.deviate(format!("{} {} is nothing that Microsoft has", request.method, request.path));
            return Some(Response::json(404, &json!({})));
        };
        let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let fault = {
            let mut state = self.lock();
            state.requests.push((action, body.clone()));
            state.faults.get_mut(&action).and_then(VecDeque::pop_front)
        };
        match fault {
            Some(Fault::Code(code)) => {
                self.check_api(request, action, &body);
                let words = format!("Words of Microsoft's about {code}");
                return Some(Response::json(200, &json!({ "code": code, "errorDescription": words })));
            }
            Some(fault) => return faulty(&fault),
            None => {}
        }
        Some(match action {
            Action::Token => self.token(request),
            Action::Discovery => self.discovery(request),
            _ => self.api(request, action, &body),
        })
    }

    fn token(&self, request: &Request) -> Response {
        let form: BTreeMap<String, String> = String::from_utf8_lossy(&request.body)
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| {
                (key.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
            })
            .collect();
        let is = |key: &str, value: &str| form.get(key).is_some_and(|given| given == value);
        self.expect(request, "content-type", "application/x-www-form-urlencoded");
        let certificate = self.lock().certificate.clone();
        let fields = if certificate.is_some() { 5 } else { 4 };
        if !is("grant_type", "client_credentials") || !is("client_id", CLIENT_ID) || form.len() != fields {
            self.deviate(format!("the form has {:?}", form.keys()));
        }
        let refused = match certificate {
            Some(certificate) => {
                if !is("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer") {
                    self.deviate(format!("client_assertion_type is {:?}", form.get("client_assertion_type")));
                }
                let assertion = form.get("client_assertion").map(String::as_str).unwrap_or_default();
                self.check_assertion(&certificate, assertion).err()
            }
            None if is("client_secret", CLIENT_SECRET) => None,
            None => Some("AADSTS7000215: Invalid client secret provided.".to_owned()),
        };
        if let Some(words) = refused {
            return Response::json(401, &json!({ "error": "invalid_client", "error_description": words }));
        }
        let scope = form.get("scope").cloned().unwrap_or_default();
        if scope != format!("{}/.default", self.url()) && scope != "https://api.example//.default" {
            self.deviate(format!("the scope is {scope}"));
        }
        let mut state = self.lock();
        // In Microsoft's form, though what is in it is nobody's business but hers.
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "aud": scope, "roles": state.roles });
        let header = part(&json!({ "typ": "JWT" }));
        let token = format!("{header}.{}.token-{}-of-the-fake", part(&claims), state.requests.len());
        state.tokens.push((token.clone(), scope));
        Response::json(
            200,
            &json!({ "token_type": "Bearer", "expires_in": TOKEN_LIVES, "access_token": token }),
        )
    }

    /// Microsoft's description of "application authentication certificate credentials"; RFC 7523 §3.
    fn check_assertion(&self, certificate: &Certificate, assertion: &str) -> Result<(), String> {
        let parts: Vec<&str> = assertion.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err("AADSTS50027: JWT token is invalid or malformed.".to_owned());
        };
        let json = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
        };
        let thumbprint = URL_SAFE_NO_PAD.encode(certificate.fingerprint().as_bytes());
        let expected = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
        if json(header)["x5t#S256"] != expected["x5t#S256"] {
            return Err("AADSTS700027: the certificate with this identifier is not registered.".to_owned());
        }
        if json(header) != expected {
            self.deviate(format!("the header is {}", json(header)));
        }
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, certificate.public_key().as_spki());
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        if key.verify(signed.as_bytes(), &signature).is_err() {
            return Err("AADSTS700027: Client assertion failed signature validation.".to_owned());
        }
        self.check_claims(&json(claims));
        Ok(())
    }

    fn check_claims(&self, claims: &Value) {
        let endpoint = format!("{}/{TENANT}/oauth2/v2.0/token", self.url());
        for (name, expected) in [("aud", endpoint.as_str()), ("iss", CLIENT_ID), ("sub", CLIENT_ID)] {
            if claims[name] != expected {
                self.deviate(format!("{name} is {}", claims[name]));
            }
        }
        let time = |name: &str| claims[name].as_u64().unwrap_or_default();
        let (from, until) = (time("nbf"), time("exp"));
        if from == 0 || from != time("iat") || !(1..=600).contains(&until.saturating_sub(from)) {
            self.deviate(format!("nbf, iat and exp are {claims}"));
        }
        let id = claims["jti"].as_str().unwrap_or_default().to_owned();
        if id.len() != 36 || !self.lock().assertions.insert(id.clone()) {
            self.deviate(format!("jti is {id}, or came before"));
        }
        if claims.as_object().is_none_or(|claims| claims.len() != 7) {
            self.deviate(format!("the claims are {claims}"));
        }
    }

    fn discovery(&self, request: &Request) -> Response {
        if let Some(refusal) = self.refuse_token(request, &format!("{}/.default", self.url())) {
            return refusal;
        }
        self.expect_guid(request);
        let place = |service: &str| format!("{}/RACerts/{service}", self.url());
        Response::json(
            200,
            &json!({ "@odata.context": "x", "value": [
                { "id": "1", "capability": "x", "providerId": "y", "providerName": "OtherFEService", "uri": "https://other.example" },
                { "providerName": "scepRequestValidationFEService", "uri": place("StatelessScepRequestValidationService") },
                { "serviceName": "PkiConnectorFEService", "uri": place("StatelessPkiConnectorService") + "/" },
            ]}),
        )
    }

    fn api(&self, request: &Request, action: Action, body: &Value) -> Response {
        if let Some(refusal) = self.refuse_token(request, "https://api.example//.default") {
            return refusal;
        }
        self.check_api(request, action, body);
        match action {
            Action::Download => self.download(&body["downloadParameters"]),
            Action::Upload => self.upload(&body["results"]),
            _ => Response::json(200, &json!({ "code": "Success", "errorDescription": "" })),
        }
    }

    fn refuse_token(&self, request: &Request, scope: &str) -> Option<Response> {
        let given = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let good = self.lock().tokens.iter().any(|(token, of)| Some(token.as_str()) == given && of == scope);
        (!good).then(|| Response::json(401, &json!({ "error": "the token is not good" })))
    }

    fn check_api(&self, request: &Request, action: Action, body: &Value) {
        self.expect_guid(request);
        self.expect(request, "content-type", "application/json; charset=utf-8");
        let revocation = matches!(action, Action::Download | Action::Upload);
        self.expect(request, "api-version", if revocation { "5019-05-05" } else { "2018-02-20" });
        match action {
            Action::Validate => {
                self.check_fields(&body["request"], &["transactionId", "certificateRequest", "callerInfo"]);
            }
            Action::Success => {
                let notice = &body["notification"];
                self.check_fields(
                    notice,
                    &[
                        "transactionId",
                        "certificateRequest",
                        "certificateThumbprint",
                        "certificateSerialNumber",
                        "certificateExpirationDateUtc",
                        "issuingCertificateAuthority",
                        "callerInfo",
                        "caConfiguration",
                        "certificateAuthority",
                    ],
                );
                let thumbprint = notice["certificateThumbprint"].as_str().unwrap_or_default();
                let upper_hex = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
                if thumbprint.len() != 40 || !thumbprint.chars().all(upper_hex) {
                    self.deviate(format!("the thumbprint is {thumbprint}"));
                }
                let date = notice["certificateExpirationDateUtc"].as_str().unwrap_or_default();
                let form: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                if form != "0000-00-00T00:00:00.000Z" {
                    self.deviate(format!("the date is {date}"));
                }
            }
            Action::Failure => {
                let notice = &body["notification"];
                if !notice["hResult"].is_i64()
                    || notice["errorDescription"]
                        .as_str()
                        .is_none_or(|text| text.is_empty() || text.chars().count() > 255)
                {
                    self.deviate(format!(
                        "the failure is {} {}",
                        notice["hResult"], notice["errorDescription"]
                    ));
                }
                self.check_request(notice);
            }
            _ => {}
        }
    }

    /// All of them are texts that are not empty, and there is nothing else.
    fn check_fields(&self, object: &Value, fields: &[&str]) {
        for field in fields {
            if object[*field].as_str().is_none_or(str::is_empty) {
                self.deviate(format!("{field} is {}", object[*field]));
            }
        }
        if object.as_object().is_none_or(|object| object.len() != fields.len()) {
            self.deviate(format!("the fields are {object}"));
        }
        self.check_request(object);
    }

    /// Base64 of a PKCS#10 request with a challenge.
    fn check_request(&self, object: &Value) {
        let text = object["certificateRequest"].as_str().unwrap_or_default();
        let csr = STANDARD.decode(text).ok().and_then(|der| Csr::from_der(&der).ok());
        let proven = csr.and_then(|csr| csr.prove().ok());
        if proven.is_none_or(|csr| csr.challenge_password().is_none()) {
            self.deviate(format!("the request is {text}"));
        }
    }

    fn download(&self, parameters: &Value) -> Response {
        let most = parameters["maxRequests"].as_u64().unwrap_or_default();
        if !(1..=500).contains(&most) {
            self.deviate(format!("maxRequests is {most}"));
        }
        let filter = parameters["issuerName"].as_str().map(str::to_owned);
        let state = self.lock();
        let of = |entry: &&Value| filter.is_none() || entry["issuerName"].as_str() == filter.as_deref();
        let most = usize::try_from(most).unwrap();
        let listed: Vec<Value> = state.queue.iter().filter(of).take(most).cloned().collect();
        Response::json(200, &json!({ "@odata.context": "x", "value": listed }))
    }

    fn upload(&self, results: &Value) -> Response {
        const RETRYABLE: [&str; 4] = [
            "RetryableServiceException",
            "ServiceUnavailableException",
            "ServiceTooBusyException",
            "AuthenticationException",
        ];
        for result in results.as_array().cloned().unwrap_or_default() {
            let succeeded = result["succeeded"].as_bool();
            let code = result["errorCode"].as_str().unwrap_or_default();
            if succeeded.is_none() || (succeeded == Some(true)) != (code == "None") {
                self.deviate(format!("the result is {result}"));
            }
            let mut state = self.lock();
            if !RETRYABLE.contains(&code) {
                state.queue.retain(|entry| entry["requestContext"] != result["requestContext"]);
            }
            state.reported.push(result);
        }
        Response::json(200, &json!({ "@odata.context": "x", "value": true }))
    }

    fn expect(&self, request: &Request, header: &str, value: &str) {
        let found = request.headers.get(header).map(String::as_str);
        if found != Some(value) {
            self.deviate(format!("{} {}: {header} is {found:?}", request.method, request.path));
        }
    }

    fn expect_guid(&self, request: &Request) {
        let id = request.headers.get("client-request-id").cloned().unwrap_or_default();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            self.deviate(format!("{}: client-request-id is {id}", request.path));
        }
    }

    fn deviate(&self, what: String) {
        self.lock().deviations.push(what);
    }
}

fn action_of(request: &Request) -> Option<Action> {
    const SCEP: &str = "/RACerts/StatelessScepRequestValidationService/ScepActions/";
    const QUEUE: &str = "/RACerts/StatelessPkiConnectorService/CertificateAuthorityRequests/";
    let path = request.path.as_str();
    if path == "/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints" {
        return (request.method == "GET").then_some(Action::Discovery);
    }
    if request.method != "POST" {
        return None;
    }
    if path == format!("/{TENANT}/oauth2/v2.0/token") {
        return Some(Action::Token);
    }
    match (path.strip_prefix(SCEP), path.strip_prefix(QUEUE)) {
        (Some("validateRequest"), _) => Some(Action::Validate),
        (Some("successNotification"), _) => Some(Action::Success),
        (Some("failureNotification"), _) => Some(Action::Failure),
        (_, Some("downloadRevocationRequests")) => Some(Action::Download),
        (_, Some("uploadRevocationResults")) => Some(Action::Upload),
        _ => None,
    }
}

/// None: the connection is closed without an answer.
fn faulty(fault: &Fault) -> Option<Response> {
    let plain = |status, body: &str| Response { status, headers: Vec::new(), body: body.into() };
    match fault {
        Fault::Status(status, retry_after) => {
            let headers = retry_after.iter().map(|seconds| ("Retry-After", seconds.to_string())).collect();
            Some(Response { status: *status, headers, body: b"{}".to_vec() })
        }
        Fault::Slow(time) => {
            thread::sleep(*time);
            None
        }
        Fault::Garbage => Some(plain(200, "<html>A login page</html>")),
        Fault::Huge => Some(plain(200, &" ".repeat(3 * 1024 * 1024))),
        Fault::Redirect => {
            let headers = vec![("Location", "http://127.0.0.1:1/".to_owned())];
            Some(Response { status: 307, headers, body: Vec::new() })
        }
        Fault::Close | Fault::Code(_) => None,
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}
