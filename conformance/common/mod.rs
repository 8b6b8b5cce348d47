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
        keys::{KeyEncryptionKey, SoftwareKeyring, software},
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
        Clock, CrlSource, Decrypter, Directories, NoCheckpoint, NoCrls, NoOutbound, Outbound, Random, Signer,
        StoreError, Tx, View, Vouchers,
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
        CertificateId, ContentCipher, DeviceId, DigestAlgorithm, IssuerId, KeyAlgorithm, KeyTransport,
        RequestId, RevocationReason, Secret, SerialNumber, SignatureAlgorithm, Timestamp, TransactionId,
        Validity,
    },
    wire::{
        csr::CsrSpec,
        ocsp::PlainRequest,
        scep::{Degenerate, EnvelopeRandom, FailInfo, MessageType, PkiMessage, PkiStatus, RequestSpec, seal},
        x509::{Certificate, CertificateSpec, GeneralName, Name, PublicKey},
    },
};

/// Where the clock of every world starts.
pub const START: &str = "2027-01-15T08:00:00Z";
/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// A clock that stands still until it is moved.
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
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
        let clock = Arc::new(ManualClock(AtomicU64::new(START.parse::<Timestamp>().unwrap().unix())));
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

/// A SCEP client with an RSA-2048 key.
#[derive(Clone)]
pub struct Client {
    signer: Arc<dyn Signer>,
    decrypter: Arc<dyn Decrypter>,
    /// What it signs its messages with: self-signed, or one that it was given.
    pub identity: Certificate,
    /// The transactionID of its messages.
    pub transaction: TransactionId,
}

/// How a message is built.
#[derive(Clone)]
pub struct MessageOptions {
    /// messageType.
    pub kind: MessageType,
    /// Of the envelope.
    pub cipher: ContentCipher,
    /// Of the envelope.
    pub transport: KeyTransport,
    /// Of the signature.
    pub digest: DigestAlgorithm,
}

impl Default for MessageOptions {
    fn default() -> Self {
        Self {
            kind: MessageType::PkcsReq,
            cipher: ContentCipher::Aes128Cbc,
            transport: KeyTransport::Pkcs1,
            digest: DigestAlgorithm::Sha256,
        }
    }
}

impl From<MessageType> for MessageOptions {
    fn from(kind: MessageType) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// A CertRep, opened.
#[derive(Debug)]
pub struct Answer {
    /// pkiStatus.
    pub status: PkiStatus,
    /// failInfo.
    pub fail_info: Option<FailInfo>,
    /// failInfoText.
    pub fail_info_text: Option<String>,
    /// Who signed it.
    pub signer: Certificate,
    /// With which digest.
    pub digest: DigestAlgorithm,
    /// senderNonce.
    pub sender_nonce: Vec<u8>,
    /// How its envelope is encrypted.
    pub cipher: Option<ContentCipher>,
    /// How its content key is wrapped.
    pub transport: Option<KeyTransport>,
    /// What its envelope holds: the degenerate SignedData.
    pub payload: Vec<u8>,
    /// Of the degenerate SignedData.
    pub certificates: Vec<Certificate>,
    /// Of the degenerate SignedData.
    pub crls: Vec<certgate::wire::crl::Crl>,
    /// The answer for metrics.
    pub rep: CertRep,
}

impl Answer {
    /// The one certificate of a SUCCESS.
    pub fn certificate(&self) -> &Certificate {
        assert_eq!(self.status, PkiStatus::Success, "{:?} {:?}", self.fail_info, self.fail_info_text);
        self.certificates.first().expect("SUCCESS carries the certificate")
    }

    /// The failInfo of a FAILURE.
    pub fn failure(&self) -> FailInfo {
        assert_eq!(self.status, PkiStatus::Failure);
        self.fail_info.expect("FAILURE has failInfo")
    }
}

impl Client {
    /// Signs with its key, as RSA with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(SignatureAlgorithm::RsaPkcs1(DigestAlgorithm::Sha256), message).unwrap()
    }

    /// A client with a key that no other client of this thread has, a self-signed certificate and a transactionID of its own.
    pub fn new() -> Self {
        let (signer, decrypter) = keys::next();
        let identity = self_signed(signer.as_ref(), "CN=SCEP SIGNER");
        Self { transaction: transaction_of(signer.public_key()), signer, decrypter, identity }
    }

    /// The same key with another certificate.
    #[must_use]
    pub fn with_identity(&self, identity: &Certificate) -> Self {
        Self { identity: identity.clone(), ..self.clone() }
    }

    /// The same client in another transaction.
    #[must_use]
    pub fn in_transaction(&self, transaction: &str) -> Self {
        Self { transaction: transaction.parse().unwrap(), ..self.clone() }
    }

    /// Its key.
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// What signs for it.
    pub fn signer(&self) -> &dyn Signer {
        self.signer.as_ref()
    }

    /// A request for its own key.
    pub fn csr(&self, subject: &str, challenge: Option<&Secret>) -> Vec<u8> {
        self.csr_with(subject, &[], challenge)
    }

    /// A request with subjectAltNames.
    pub fn csr_with(&self, subject: &str, names: &[GeneralName], challenge: Option<&Secret>) -> Vec<u8> {
        request_for(self.signer.as_ref(), subject, names, challenge)
    }

    /// A pkiMessage to `recipient`.
    pub fn message(&self, recipient: &Certificate, options: &MessageOptions, payload: &[u8]) -> Vec<u8> {
        let envelope = envelope(payload, recipient, options);
        self.sign_message(options, envelope)
    }

    /// A pkiMessage with this content.
    pub fn sign_message(&self, options: &MessageOptions, content: Vec<u8>) -> Vec<u8> {
        sign_as(self.signer.as_ref(), &self.identity, &self.transaction, options, content)
    }

    /// Sends a payload and opens the answer.
    pub fn ask(
        &self,
        world: &World,
        profile: &str,
        options: impl Into<MessageOptions>,
        payload: &[u8],
    ) -> Answer {
        let message = self.message(&world.message_certificate(profile), &options.into(), payload);
        self.send(world, profile, &message)
    }

    /// PKCSReq.
    pub fn enrol(&self, world: &World, profile: &str, csr: &[u8]) -> Answer {
        self.ask(world, profile, MessageType::PkcsReq, csr)
    }

    /// RenewalReq.
    pub fn renew(&self, world: &World, profile: &str, csr: &[u8]) -> Answer {
        self.ask(world, profile, MessageType::RenewalReq, csr)
    }

    /// Sends a message and opens the answer, which must be a CertRep to this message.
    pub fn send(&self, world: &World, profile: &str, message: &[u8]) -> Answer {
        let rep = world.pki_operation(profile, message).expect("a CertRep");
        self.open(message, rep)
    }

    /// Opens an answer: its signature, its attributes (RFC 8894 §3.2.1) and, of a SUCCESS, its envelope.
    pub fn open(&self, request: &[u8], rep: CertRep) -> Answer {
        let request = PkiMessage::from_ber(request).unwrap();
        let message = PkiMessage::from_ber(&rep.body).expect("a pkiMessage");
        assert_eq!(message.message_type(), Some(MessageType::CertRep));
        assert_eq!(message.transaction_id(), request.transaction_id());
        assert_eq!(message.sender_nonce().len(), 16);
        let verified = message.verify().expect("a signed CertRep");
        let reply = verified.reply().expect("the attributes of a CertRep");
        assert_eq!(reply.recipient_nonce, request.sender_nonce());
        let mut answer = Answer {
            status: reply.status,
            fail_info: reply.fail_info,
            fail_info_text: reply.fail_info_text,
            signer: verified.signer().clone(),
            digest: verified.digest(),
            sender_nonce: verified.message().sender_nonce().to_vec(),
            cipher: None,
            transport: None,
            payload: Vec::new(),
            certificates: Vec::new(),
            crls: Vec::new(),
            rep,
        };
        if answer.status == PkiStatus::Success {
            let envelope = verified.envelope().expect("SUCCESS has an envelope");
            let recipient = envelope.recipient_for(&self.identity).expect("it is for us");
            let key = self.decrypter.decrypt(recipient.transport, &recipient.encrypted_key).unwrap();
            let payload = envelope.open(&key).unwrap();
            let degenerate = Degenerate::from_ber(payload.expose()).unwrap();
            answer.cipher = Some(envelope.cipher);
            answer.transport = Some(recipient.transport);
            answer.payload = payload.expose().to_vec();
            answer.certificates = degenerate.certificates;
            answer.crls = degenerate.crls;
        } else {
            // RFC 8894 §3.3.2.2, §3.3.2.3.
            assert!(verified.envelope().is_err(), "FAILURE and PENDING have no envelope");
        }
        answer
    }
}

/// A signer with a fresh key of this kind.
pub fn signer(algorithm: KeyAlgorithm) -> Arc<dyn Signer> {
    let pkcs8 = software::generate_pkcs8(algorithm).unwrap();
    Arc::new(software::SoftwareSigner::from_pkcs8(pkcs8.expose()).unwrap())
}

/// A certification request.
pub fn request_for(
    signer: &dyn Signer,
    subject: &str,
    names: &[GeneralName],
    challenge: Option<&Secret>,
) -> Vec<u8> {
    let specification = CsrSpec {
        subject: if subject.is_empty() { Name::default() } else { subject.parse().unwrap() },
        public_key: signer.public_key().clone(),
        subject_alt_names: names.to_vec(),
        challenge_password: challenge.cloned(),
    };
    let unsigned = specification.unsigned(signer.algorithm().signature(DigestAlgorithm::Sha256)).unwrap();
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
    unsigned.finish(&signature).unwrap()
}

/// A pkiMessage with this content, signed by whoever.
pub fn sign_as(
    signer: &dyn Signer,
    identity: &Certificate,
    transaction: &TransactionId,
    options: &MessageOptions,
    content: Vec<u8>,
) -> Vec<u8> {
    let specification = RequestSpec {
        message_type: options.kind,
        transaction_id: transaction,
        sender_nonce: random(),
        content,
        signer: identity,
        digest: options.digest,
    };
    let unsigned = specification.unsigned(signer.algorithm().signature(options.digest)).unwrap();
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
    unsigned.finish(&signature).unwrap()
}

/// An EnvelopedData.
pub fn envelope(payload: &[u8], recipient: &Certificate, options: &MessageOptions) -> Vec<u8> {
    let content_key = random::<32>()[..options.cipher.key_len()].to_vec();
    let randomness = EnvelopeRandom { content_key: Secret::new(content_key), iv: random() };
    seal(payload, recipient, options.cipher, options.transport, &randomness).unwrap()
}

/// A self-signed certificate, valid from a day before the clock's start for ten years.
pub fn self_signed(signer: &dyn Signer, subject: &str) -> Certificate {
    let start: Timestamp = START.parse().unwrap();
    let specification = CertificateSpec::self_signed_requester(
        SerialNumber::from_random(random()),
        &subject.parse().unwrap(),
        Validity { not_before: start.minus(DAY), not_after: start.plus(DAY * 3650) },
        signer.public_key().clone(),
    );
    sign_certificate(signer, &specification)
}

/// A certificate with every name of `model` and its serial number, for and by another key.
pub fn self_signed_like(signer: &dyn Signer, model: &Certificate) -> Certificate {
    let specification = CertificateSpec {
        issuer: model.issuer().clone(),
        authority_key_identifier: model.authority_key_identifier().map(<[u8]>::to_vec),
        extended_key_usage: model.extended_key_usage().to_vec(),
        subject_alt_names: model.subject_alt_names().to_vec(),
        crl_urls: model.crl_urls(),
        ocsp_urls: model.ocsp_urls(),
        ca_issuers_urls: model.ca_issuers_urls(),
        ..CertificateSpec::self_signed_requester(
            model.serial().clone(),
            model.subject(),
            model.validity(),
            signer.public_key().clone(),
        )
    };
    sign_certificate(signer, &specification)
}

/// A certificate as it is specified, signed by whoever.
pub fn sign_certificate(signer: &dyn Signer, specification: &CertificateSpec) -> Certificate {
    let unsigned = specification.unsigned(signer.algorithm().signature(DigestAlgorithm::Sha256)).unwrap();
    let signature = signer.sign(unsigned.algorithm(), unsigned.to_be_signed()).unwrap();
    Certificate::from_der(&unsigned.finish(&signature).unwrap()).unwrap()
}

/// As Apple and strongSwan derive it: the hexadecimal SHA-1 of the key.
fn transaction_of(key: &PublicKey) -> TransactionId {
    hex::encode_upper(key.key_identifier()).parse().unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandomSource::default().fill(&mut bytes);
    bytes
}
