//! A gateway in memory and a SCEP client, for tests that go through the use cases: real keys, a real store, a clock that
//! the test sets, no network.
//!
//! ```ignore
//! let world = World::new(&[("device", r#"subject = "CN=$DEVICE_ID$""#)]);
//! let device = world.register("SN1");
//! let client = Client::new();
//! let answer = client.enrol(&world, "device", &client.csr("CN=x", Some(&world.ticket("device", &device))));
//! assert_eq!(answer.status, PkiStatus::Success);
//! ```

#![allow(dead_code, reason = "each test target uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends")]
#![allow(clippy::unused_self, reason = "what belongs to a world is asked of it")]
#![allow(clippy::must_use_candidate, clippy::missing_panics_doc, reason = "it is used by tests alone")]
#![allow(unreachable_pub, reason = "the targets include this file as a private module")]

mod client;
mod keys;
pub mod unopenable;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use certgate::{
    adapters::{
        keys::{KeyEncryptionKey, SoftwareKeyring},
        store::RedbStore,
        system::SystemRandomSource,
    },
    domain::{
        access::{Actor, Authed, Caller, Permission, Role},
        binding::Binding,
        certificate::CertificateRecord,
        device::{Device, Registration},
        enrol::Enrolment,
        status::{Cause, CauseKey, CauseKind, Effect},
    },
    ports::{
        Clock, CrlSource, Directories, NoCheckpoint, NoCrls, NoOutbound, Outbound, StoreError, Tx, View,
        Vouchers,
    },
    service::{
        Gateway, GatewaySettings, Ports, ServiceError,
        bootstrap::{self, Made, Plan},
        ocsp::OcspAnswer,
        profile::ConfiguredProfile,
        scep::{CertRep, HttpFacts, Origin, ScepError},
        ticket::NewTicket,
    },
    types::{
        CertificateId, DeviceId, DigestAlgorithm, IssuerId, KeyAlgorithm, RequestId, RevocationReason,
        Secret, Timestamp,
    },
    wire::{ocsp::PlainRequest, scep::Degenerate, x509::Certificate},
};

#[allow(unused_imports, reason = "each test target uses its own part of this module")]
pub use client::{
    Answer, Client, MessageOptions, envelope, request_for, self_signed, self_signed_like, sign_as,
    sign_certificate, signer,
};

/// Where the clock of every world starts.
pub const START: &str = "2027-01-15T08:00:00Z";
/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// A clock that stands still until it is moved.
pub struct ManualClock {
    time: AtomicU64,
    elapsed: AtomicU64,
}

impl ManualClock {
    fn at(time: Timestamp) -> Self {
        Self { time: AtomicU64::new(time.unix()), elapsed: AtomicU64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(by.as_secs(), Ordering::SeqCst);
        self.set_ahead(by);
    }

    /// Sets it ahead, as a mistake does.
    pub fn set_ahead(&self, by: Duration) {
        self.time.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Sets it back, as whoever corrects it does.
    pub fn set_back(&self, by: Duration) {
        self.time.fetch_sub(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.time.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.elapsed.load(Ordering::SeqCst))
    }
}

/// How a world differs from the usual one.
pub struct WorldOptions {
    /// The key of root and issuing CA.
    pub ca_key: KeyAlgorithm,
    /// The digest of their signatures, where the key leaves a choice.
    pub digest: DigestAlgorithm,
    /// Settings of the gateway.
    pub settings: GatewaySettings,
    /// Where it keeps its records.
    pub store: Arc<RedbStore>,
    /// How it asks others.
    pub outbound: Arc<dyn Outbound>,
    /// Those who vouch.
    pub vouchers: Vouchers,
    /// CRLs of other CAs.
    pub crls: Arc<dyn CrlSource>,
    /// Where CRLs are published besides.
    pub directories: Directories,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            ca_key: KeyAlgorithm::P256,
            digest: DigestAlgorithm::Sha256,
            settings: GatewaySettings::default(),
            store: Arc::new(RedbStore::in_memory().unwrap()),
            outbound: Arc::new(NoOutbound),
            vouchers: Vouchers::default(),
            crls: Arc::new(NoCrls),
            directories: Directories::default(),
        }
    }
}

/// An initialised gateway in memory.
pub struct World {
    /// What it stands on.
    pub ports: Ports,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// What was made at initialisation.
    pub made: Made,
    profiles: Vec<ConfiguredProfile>,
}

impl World {
    /// A world with these profiles, each a name and the TOML under `[profile.NAME]`.
    pub fn new(profiles: &[(&str, &str)]) -> Self {
        Self::with(WorldOptions::default(), profiles)
    }

    /// [`World::new`] with options.
    pub fn with(options: WorldOptions, profiles: &[(&str, &str)]) -> Self {
        let clock = Arc::new(ManualClock::at(START.parse().unwrap()));
        let ports = Ports {
            store: options.store.clone(),
            keyring: Arc::new(SoftwareKeyring::new(KeyEncryptionKey::new([7; 32], "test".to_owned()))),
            clock: clock.clone(),
            random: Arc::new(SystemRandomSource::default()),
            outbound: options.outbound.clone(),
            vouchers: options.vouchers.clone(),
            checkpoint: Arc::new(NoCheckpoint),
            crls: options.crls.clone(),
            directories: options.directories.clone(),
        };
        let profiles: Vec<_> = profiles.iter().map(|(name, toml)| profile(name, toml)).collect();
        let made = bootstrap::initialise(&ports, &plan(&options, profiles.clone())).unwrap();
        let gateway = Arc::new(Gateway::open(ports.clone(), options.settings, &profiles).unwrap());
        Self { ports, clock, gateway, made, profiles }
    }

    /// The same store and keys under a gateway with other settings, as after a restart.
    #[must_use]
    pub fn restarted(self, settings: GatewaySettings) -> Self {
        let ports = self.ports.clone();
        self.restarted_on(ports, settings)
    }

    /// [`World::restarted`] on other ports.
    #[must_use]
    pub fn restarted_on(self, ports: Ports, settings: GatewaySettings) -> Self {
        let gateway = Gateway::open(ports.clone(), settings, &self.profiles).unwrap();
        Self { gateway: Arc::new(gateway), ports, ..self }
    }

    /// A second gateway with these profiles on other ports; it may not open.
    pub fn opened_on(&self, ports: Ports, settings: GatewaySettings) -> Result<Gateway, ServiceError> {
        Gateway::open(ports, settings, &self.profiles)
    }

    /// [`World::restarted`] with other profiles and the usual settings.
    #[must_use]
    pub fn reconfigured(self, profiles: &[(&str, &str)]) -> Self {
        let profiles = profiles.iter().map(|(name, toml)| profile(name, toml)).collect();
        Self { profiles, ..self }.restarted(GatewaySettings::default())
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An owner's proof of permission.
    pub fn authed<P: Permission>(&self) -> Authed<P> {
        let request = RequestId::from_random([1; 16]);
        Caller { actor: Actor::Local { uid: 0 }, role: Role::Owner, request, profiles: Vec::new() }
            .prove()
            .unwrap()
    }

    /// Reads the store.
    pub fn read<R>(&self, work: impl FnOnce(&dyn View) -> Result<R, StoreError>) -> R {
        self.ports.store.read(work).unwrap()
    }

    /// Writes the store behind the gateway's back.
    pub fn write<R>(&self, work: impl FnMut(&mut dyn Tx) -> Result<R, StoreError>) -> R {
        self.ports.store.write(work).unwrap()
    }

    /// Registers a device without identities.
    pub fn register(&self, id: &str) -> DeviceId {
        let device = Device::new(id.parse().unwrap(), Registration::default(), self.now()).unwrap();
        self.write(|tx| tx.put_device(&device));
        device.id
    }

    /// A fresh one-time ticket for a device.
    pub fn ticket(&self, profile: &str, device: &DeviceId) -> Secret {
        let wanted = NewTicket {
            profile: profile.parse().unwrap(),
            device: Some(device.clone()),
            user: None,
            lifetime: None,
            uses: None,
        };
        self.gateway.create_ticket(&self.authed(), &wanted).unwrap().secret
    }

    /// The certificate of an issuer.
    pub fn issuer(&self, id: &str) -> Certificate {
        let id: IssuerId = id.parse().unwrap();
        self.gateway.authorities().issuer(&id).unwrap().certificate.clone()
    }

    /// The message certificate that GetCACert hands out.
    pub fn message_certificate(&self, profile: &str) -> Certificate {
        self.ca_certificates(profile).remove(0)
    }

    /// What GetCACert hands out.
    pub fn ca_certificates(&self, profile: &str) -> Vec<Certificate> {
        let answer = self.gateway.ca_certificates(&profile.parse().unwrap()).unwrap();
        assert_eq!(answer.content_type, "application/x-x509-ca-ra-cert");
        Degenerate::from_ber(&answer.body).unwrap().certificates
    }

    /// Where the next request comes from.
    pub fn origin(&self) -> Origin {
        Origin {
            peer: "192.0.2.7".to_owned(),
            request: self.gateway.new_request(),
            user_agent: "Test/1.0".to_owned(),
            http: HttpFacts::default(),
        }
    }

    /// PKIOperation.
    pub fn pki_operation(&self, profile: &str, message: &[u8]) -> Result<CertRep, ScepError> {
        let origin = self.origin();
        self.gateway.pki_operation(&profile.parse().unwrap(), message, &origin)
    }

    /// What the cache of OCSP answers has for a request; nothing for one that is not plain or has a nonce, as at the edge.
    pub fn ocsp_cached(&self, request: &[u8]) -> Option<OcspAnswer> {
        let plain = PlainRequest::read(request).filter(|plain| plain.nonce.is_none())?;
        self.gateway.ocsp_cached(&plain.cert_id)
    }

    /// The stored record of a certificate.
    pub fn record(&self, certificate: &Certificate) -> CertificateRecord {
        self.read(|view| view.certificate_by_fingerprint(&certificate.fingerprint())).expect("it is recorded")
    }

    /// What a certificate is bound to.
    pub fn bindings(&self, certificate: &Certificate) -> Vec<Binding> {
        let id = self.record(certificate).id;
        self.read(|view| view.bindings(&id))
    }

    /// The enrolment that led to a certificate.
    pub fn enrolment_of(&self, certificate: &Certificate) -> Enrolment {
        let id = self.record(certificate).enrolment.expect("an enrolment led to it");
        self.read(|view| view.enrolment(&id)).expect("it is recorded")
    }

    /// How many certificates of devices and users there are.
    pub fn leaves(&self) -> usize {
        let page = certgate::ports::store::Page::<CertificateId>::first(10_000);
        let leaf = |record: &CertificateRecord| record.enrolment.is_some();
        self.read(|view| view.certificates(&page)).iter().filter(|record| leaf(record)).count()
    }

    /// Gives a certificate a cause, behind the gateway's back.
    pub fn put_cause(&self, certificate: &Certificate, effect: Effect) {
        let cause = Cause { effect, ..cause(self.now()) };
        let id = self.record(certificate).id;
        self.write(|tx| tx.put_cause(&id, &cause));
    }

    /// Revokes a certificate, behind the gateway's back.
    pub fn revoke(&self, certificate: &Certificate) {
        self.put_cause(certificate, cause(self.now()).effect);
    }
}

/// A cause that revokes.
pub fn cause(since: Timestamp) -> Cause {
    Cause {
        key: CauseKey { kind: CauseKind::Manual, reference: "test".to_owned() },
        effect: Effect::Revoke { reason: RevocationReason::KeyCompromise },
        since,
        invalidity_date: None,
        actor: "test".to_owned(),
        note: String::new(),
    }
}

fn profile(name: &str, toml: &str) -> ConfiguredProfile {
    ConfiguredProfile { name: name.parse().unwrap(), spec: toml::from_str(toml).unwrap() }
}

/// The plan of a world without profiles.
pub fn plan_of(options: &WorldOptions) -> Plan {
    plan(options, Vec::new())
}

fn plan(options: &WorldOptions, profiles: Vec<ConfiguredProfile>) -> Plan {
    Plan {
        root_name: "CN=Test Root,O=Test".to_owned(),
        issuing_name: "CN=Test Issuing CA,O=Test".to_owned(),
        root_key: options.ca_key,
        issuing_key: options.ca_key,
        digest: options.digest,
        root_years: 10,
        issuing_years: 5,
        public_url: "http://pki.test.example".to_owned(),
        crl: options.settings.crl.clone(),
        system: options.settings.system.clone(),
        server_names: options.settings.server_names.clone(),
        profiles,
    }
}
