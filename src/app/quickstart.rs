//! `certgate quickstart`: the main job in one command. The device in it is a real client: it speaks HTTP to the listener like any other.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::{Value, json};

use super::{
    cli::{
        admin::{AdminClient, ServerArgs},
        files::write_certificates,
        output::line,
    },
    client::{
        crl::fetch,
        http::HttpClient,
        key::ClientKey,
        ocsp::{Question, ask},
        scep::{CertificateRequest, Requester, ScepClient, granted},
    },
    config::LogFormat,
    failure::{Failure, Outcome},
    init::{self, CONFIG_FILE, DirectoryState},
    serve::Server,
    settings::{Log, Settings},
    systemd::Sockets,
    telemetry::{self, Metrics},
};
use crate::{
    adapters::system::{SystemClock, SystemRandomSource},
    ports::Clock,
    types::{DigestAlgorithm, KeyAlgorithm, RevocationReason, Secret},
    wire::{
        ocsp::CertStatus,
        scep::{
            MessageType,
            client::{Authority, issued_to},
        },
        x509::{Certificate, Name},
    },
};

/// The simulated device.
const DEVICE: &str = "demo-1";

/// Where its files are, in the data directory.
const DEVICE_FILES: &str = "demo";

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory.
    pub data: PathBuf,
    /// End after the check.
    pub once: bool,
    /// Where devices connect; default port 8080 on the loopback address, or a free one.
    pub listen: Option<SocketAddr>,
}

/// Runs it. Errors: a step failed.
pub fn run(options: &Options) -> Outcome {
    match init::inspect(&options.data)? {
        DirectoryState::Initialised => serve_again(options),
        DirectoryState::Empty => {
            start_logging()?;
            show(options)
        }
        DirectoryState::Foreign(name) => Err(Failure::refused(format_args!(
            "{} is not empty: it holds \"{name}\"",
            options.data.display()
        ))
        .hint("quickstart creates everything itself: name an empty or a new directory")),
    }
}

/// Only what goes wrong is logged here: the steps say the rest.
fn start_logging() -> Outcome {
    let log = Log { format: LogFormat::Text, filter: "warn".to_owned() };
    telemetry::start_logging(&log).map_err(Failure::error)
}

/// The second start: nothing is created.
fn serve_again(options: &Options) -> Outcome {
    start_logging()?;
    let settings = load(&options.data)?;
    let server = start(&settings)?;
    line(&format!("{} was set up before: serving it again, nothing was created.", options.data.display()));
    finish(options, &settings, server)
}

fn load(data: &Path) -> Outcome<Settings> {
    Settings::load(&data.join(CONFIG_FILE)).map(|(settings, _)| settings).map_err(Failure::usage)
}

fn start(settings: &Settings) -> Outcome<Server> {
    let metrics = Metrics::start().map_err(Failure::error)?;
    Server::start(settings, &mut Sockets::from_environment(), &metrics)
}

fn show(options: &Options) -> Outcome {
    let mut steps = Steps::begin();
    let addresses = Listen::choose(options.listen)?;
    line(&format!("certgate {} quickstart in {}", env!("CARGO_PKG_VERSION"), options.data.display()));
    line("making keys; RSA takes a few seconds ..");
    let made = steps.step("created root, issuing CA, SCEP and OCSP keys, profile \"device\"", || {
        let made = init::create(&addresses.request(&options.data))?;
        let detail = format!("root SHA-256 {}", made.made.root);
        Ok((made, detail))
    })?;
    let (server, settings) = steps.step("serving", || {
        let settings = load(&options.data)?;
        let server = start(&settings)?;
        Ok(((server, settings), format!("devices connect to {}", made.public_url)))
    })?;
    let shown = Demo::new(options, &made.public_url).and_then(|demo| demo.run(&mut steps));
    if let Err(failure) = shown {
        server.stop();
        return Err(failure);
    }
    line(&format!("\nall {} steps passed in {:.1} s", steps.number, steps.since.elapsed().as_secs_f64()));
    finish(options, &settings, server)
}

fn finish(options: &Options, settings: &Settings, server: Server) -> Outcome {
    if options.once {
        server.stop();
        return Ok(());
    }
    line(&next(options, settings, &server));
    let waited = server.wait_for_end();
    server.stop();
    waited
}

/// The URLs and the next commands.
fn next(options: &Options, settings: &Settings, server: &Server) -> String {
    // The next terminal may stand in another directory.
    let data = std::path::absolute(&options.data).unwrap_or_else(|_| options.data.clone());
    let data = data.display();
    let url = &settings.public_url;
    let first = |list: &[SocketAddr]| list.first().map_or_else(|| "off".to_owned(), SocketAddr::to_string);
    let addresses = server.addresses();
    format!(
        "
Serving until Ctrl-C
  SCEP     {url}/scep/device
  NDES     {url}/certsrv/mscep/mscep.dll
  OCSP     {url}/ocsp
  CRL      {url}/crl/issuing.crl
  CA       {url}/ca/root.cer   {url}/ca/issuing.cer
  API      https://{admin}/api/v1   (token in {data}/owner.token)
  Metrics  http://{ops}/metrics

Next, in another terminal
  export CERTGATE_DATA={data}
  certgate cert list
  certgate device register SN123
  certgate ticket create --profile device --device SN123 --out challenge.txt
  certgate scep enrol --url {url}/scep/device --subject CN=SN123 --challenge-file challenge.txt \\
      --key sn123.key --cert sn123.pem --chain ca.pem
  certgate device wipe SN123 --yes
  certgate cert list --device SN123",
        admin = first(&addresses.admin),
        ops = first(&addresses.ops),
    )
}

/// The steps so far.
struct Steps {
    number: u32,
    since: Instant,
}

impl Steps {
    #[expect(clippy::disallowed_methods, reason = "only the process measures, and this is it")]
    fn begin() -> Self {
        Self { number: 0, since: Instant::now() }
    }

    /// Does one step and prints it with its duration and what it found.
    #[expect(clippy::disallowed_methods, reason = "only the process measures, and this is it")]
    fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<(T, String)>) -> Outcome<T> {
        self.number += 1;
        let begun = Instant::now();
        let result = work();
        let took = begun.elapsed().as_millis();
        let number = self.number;
        match result {
            Ok((value, found)) => {
                line(&format!("{number:>3}  ok      {took:>6} ms  {name}"));
                if !found.is_empty() {
                    line(&format!("                        {found}"));
                }
                Ok(value)
            }
            Err(failure) => {
                line(&format!("{number:>3}  FAILED  {took:>6} ms  {name}"));
                Err(Failure { kind: super::failure::FailureKind::Error, ..failure })
            }
        }
    }
}

/// Where the new gateway listens.
struct Listen {
    device: SocketAddr,
    admin: SocketAddr,
    ops: SocketAddr,
}

impl Listen {
    /// The usual ports, or free ones where those are taken. A port that was asked for is not replaced.
    fn choose(device: Option<SocketAddr>) -> Outcome<Self> {
        let ip = device.map_or(IpAddr::from([127, 0, 0, 1]), |device| device.ip());
        let device = match device.filter(|device| device.port() != 0) {
            Some(device) => device,
            None => free(ip, 8080)?,
        };
        Ok(Self { device, admin: free(ip, 8443)?, ops: free(ip, 9090)? })
    }

    fn request(&self, data: &Path) -> init::Request {
        init::Request {
            data: data.to_owned(),
            authorities: init::Authorities {
                organisation: "certgate quickstart".to_owned(),
                root_key: KeyAlgorithm::Rsa3072,
                issuing_key: KeyAlgorithm::Rsa3072,
                digest: DigestAlgorithm::Sha256,
                years: 10,
            },
            public_url: None,
            device: self.device,
            admin: self.admin,
            ops: self.ops,
            kek: None,
            server_names: Vec::new(),
        }
    }
}

fn free(ip: IpAddr, usual: u16) -> Outcome<SocketAddr> {
    let usual = SocketAddr::new(ip, usual);
    if TcpListener::bind(usual).is_ok() {
        return Ok(usual);
    }
    let listener = TcpListener::bind(SocketAddr::new(ip, 0)).map_err(Failure::while_doing(ip))?;
    let address = listener.local_addr().map_err(Failure::error)?;
    line(&format!("port {} is taken: using {}", usual.port(), address.port()));
    Ok(address)
}

/// The demonstration: an operator at the socket, a device and network gear at the device listener.
struct Demo {
    operator: AdminClient,
    http: HttpClient,
    clock: SystemClock,
    random: SystemRandomSource,
    url: String,
    files: PathBuf,
}

/// What the device holds once it enrolled.
struct Enrolled {
    issuer: Certificate,
    certificate: Certificate,
}

impl Demo {
    fn new(options: &Options, public_url: &str) -> Outcome<Self> {
        let server = ServerArgs { data: Some(options.data.clone()), socket: None };
        Ok(Self {
            operator: server.connect()?,
            http: HttpClient::new().map_err(Failure::error)?,
            clock: SystemClock,
            random: SystemRandomSource::default(),
            url: format!("{public_url}/scep/device"),
            files: options.data.join(DEVICE_FILES),
        })
    }

    fn run(&self, steps: &mut Steps) -> Outcome {
        let enrolled = self.enrol(steps)?;
        steps.step("OCSP: good", || self.expect_ocsp(&enrolled, None))?;
        steps.step("CRL: fetched, verified, does not list it", || self.expect_crl(&enrolled, None))?;
        steps.step("wiped the device: its certificates are on hold", || self.event("wipe"))?;
        let hold = Some(RevocationReason::CertificateHold);
        steps.step("OCSP: revoked (certificateHold)", || self.expect_ocsp(&enrolled, hold))?;
        steps.step("CRL: published, lists it (certificateHold)", || {
            self.publish_and_expect(&enrolled, hold)
        })?;
        steps.step("confirmed the wipe: revoked for good", || self.event("force"))?;
        let ended = Some(RevocationReason::CessationOfOperation);
        steps.step("OCSP: revoked (cessationOfOperation)", || self.expect_ocsp(&enrolled, ended))?;
        steps.step("CRL: published, lists it (cessationOfOperation)", || {
            self.publish_and_expect(&enrolled, ended)
        })
    }

    fn enrol(&self, steps: &mut Steps) -> Outcome<Enrolled> {
        steps.step(&format!("registered the device {DEVICE}"), || {
            let device =
                json!({ "id": DEVICE, "name": "Demonstration", "identities": { "serial": "DEMO0001" } });
            self.operator.post("/devices", &device).map(|_| ((), String::new()))
        })?;
        let challenge = steps.step("minted a one-time challenge for it", || self.ticket())?;
        let client = ScepClient::new(&self.http, &self.url, &self.clock, &self.random);
        let authority = steps.step("SCEP GetCACaps, GetCACert", || {
            let authority = client.discover()?;
            let found = authority.capabilities.keywords().join(", ");
            Ok((authority, found))
        })?;
        let key = steps.step("the device made its key (RSA-2048)", || {
            std::fs::create_dir_all(&self.files).map_err(Failure::while_doing(self.files.display()))?;
            let path = self.files.join("device.key");
            Ok((ClientKey::create(&path, KeyAlgorithm::Rsa2048)?, path.display().to_string()))
        })?;
        steps.step("SCEP PKCSReq: certificate issued", || {
            let enrolled = self.request(&client, &authority, &key, challenge)?;
            let found =
                format!("{}, serial {}", enrolled.certificate.subject(), enrolled.certificate.serial());
            Ok((enrolled, found))
        })
    }

    fn ticket(&self) -> Outcome<(Secret, String)> {
        let made = self.operator.post("/tickets", &json!({ "profile": "device", "device": DEVICE }))?;
        let secret = made.get("secret").and_then(Value::as_str);
        let secret = secret.ok_or_else(|| Failure::error("the server's answer holds no secret"))?;
        Ok((Secret::from(secret), String::new()))
    }

    fn request(
        &self,
        client: &ScepClient<'_>,
        authority: &Authority,
        key: &ClientKey,
        challenge: Secret,
    ) -> Outcome<Enrolled> {
        let subject: Name = format!("CN={DEVICE}").parse().map_err(Failure::while_doing("subject"))?;
        let signer = key.self_signed(&subject, client.random(), client.now())?;
        let requester = Requester { key, certificate: &signer };
        let request =
            CertificateRequest { subject, subject_alt_names: Vec::new(), challenge: Some(challenge) };
        let transaction = client.transaction_of(key);
        let reply =
            client.request(authority, MessageType::PkcsReq, requester, key, &transaction, &request)?;
        let (certificate, _) = issued_to(key.public_key(), granted(reply)?)?;
        let issuer = authority.ca.issuer.clone();
        certificate
            .is_signed_by(&issuer)
            .map_err(|_| Failure::error("the certificate is not signed by the issuing CA"))?;
        write_certificates(&self.files.join("device.pem"), &[&certificate])?;
        write_certificates(&self.files.join("ca.pem"), &[&issuer])?;
        Ok(Enrolled { issuer, certificate })
    }

    fn event(&self, event: &str) -> Outcome<((), String)> {
        let request = json!({ "event": event, "note": "quickstart" });
        let outcome = self.operator.post(&format!("/devices/{DEVICE}/events"), &request)?;
        let state = outcome.pointer("/device/lifecycle").and_then(Value::as_str).unwrap_or_default();
        Ok(((), format!("{DEVICE} is {state}")))
    }

    /// Asks the responder that the certificate names. `expected` is the reason, or none for good.
    fn expect_ocsp(&self, enrolled: &Enrolled, expected: Option<RevocationReason>) -> Outcome<((), String)> {
        let url = only(&enrolled.certificate.ocsp_urls(), "OCSP URL")?;
        let question = Question {
            url: &url,
            issuer: &enrolled.issuer,
            serial: enrolled.certificate.serial(),
            trusted: &[],
            hash: DigestAlgorithm::Sha1,
            nonce: None,
            get: false,
        };
        let answer = ask(&self.http, &question, self.clock.now())?;
        let found = match answer.status {
            CertStatus::Good => None,
            CertStatus::Revoked { reason, .. } => Some(reason),
            CertStatus::Unknown => return Err(Failure::error("the responder does not know the certificate")),
        };
        expect("OCSP", expected, found)?;
        Ok((
            (),
            format!(
                "signed by {}, valid until {}",
                answer.signed_by,
                answer.next_update.unwrap_or(answer.this_update)
            ),
        ))
    }

    fn publish_and_expect(
        &self,
        enrolled: &Enrolled,
        expected: Option<RevocationReason>,
    ) -> Outcome<((), String)> {
        self.operator.post("/crls/issuing/publish", &json!({}))?;
        self.expect_crl(enrolled, expected)
    }

    /// Fetches the CRL from where the certificate says. `expected` is the reason, or none for not listed.
    fn expect_crl(&self, enrolled: &Enrolled, expected: Option<RevocationReason>) -> Outcome<((), String)> {
        let url = only(&enrolled.certificate.crl_urls(), "CRL URL")?;
        let crl = fetch(&self.http, &url, &enrolled.certificate, &enrolled.issuer, self.clock.now())?;
        let entry = crl.entries().iter().find(|entry| entry.serial == *enrolled.certificate.serial());
        expect("the CRL", expected, entry.map(|entry| entry.reason))?;
        let number = crl.number().map_or_else(|| "-".to_owned(), |number| number.to_string());
        Ok(((), format!("number {number}, {} entries, {} bytes", crl.entries().len(), crl.as_der().len())))
    }
}

fn only(urls: &[String], what: &str) -> Outcome<String> {
    urls.first().cloned().ok_or_else(|| Failure::error(format_args!("the certificate names no {what}")))
}

fn expect(who: &str, expected: Option<RevocationReason>, found: Option<RevocationReason>) -> Outcome {
    let said = |reason: Option<RevocationReason>| {
        reason.map_or_else(|| "good".to_owned(), |r| format!("revoked ({r})"))
    };
    if expected == found {
        Ok(())
    } else {
        Err(Failure::error(format_args!("{who} says {}, but it should be {}", said(found), said(expected))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_and_a_requested_one_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _holder = TcpListener::bind(taken).unwrap();
        assert_ne!(free(taken.ip(), taken.port()).unwrap(), taken);
        assert_eq!(Listen::choose(Some(taken)).unwrap().device, taken);
    }

    #[test]
    fn a_wrong_status_fails_the_step() {
        assert!(expect("OCSP", None, None).is_ok());
        let failure = expect("OCSP", Some(RevocationReason::CertificateHold), None).unwrap_err();
        assert_eq!(failure.message, "OCSP says good, but it should be revoked (certificateHold)");
    }
}
