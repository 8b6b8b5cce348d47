//! Records to store, each made from a number or a name.

use std::collections::BTreeMap;

use certgate::{
    domain::{
        access::{Actor, ApiToken, Role},
        audit::AuditFact,
        binding::{Assurance, Binding, BoundObject, Evidence},
        certificate::{CertificateRecord, Purpose, SystemCertificate},
        challenge::{Ticket, TicketOrigin},
        crl::{CrlMirror, CrlPolicy, CrlRecord, CrlScope},
        device::{Device, IdentityKind, Lifecycle},
        directory::{Publication, PublishedThere},
        enrol::{Enrolment, EnrolmentState, TraceStep},
        exchange::{Ending, Exchange, Operation},
        issuer::{ExternalIssuer, Generation, GenerationState, Issuer, IssuerKind, OcspAuthority},
        key::{KeyPurpose, SealedKey},
        profile::{Approval, Legacy, MatchRule, Profile, ProfileSpec, Scope},
        queue::JobKind,
        source::{Membership, MissingPolicy, ReportedState, Source, SourceKind},
        status::{Cause, CauseKey, CauseKind, Effect},
        timer::{Timer, TimerSubject},
        user::{User, UserDetails, UserState},
    },
    ports::store::{Store, StoreError, Tx, View},
    types::{
        CertificateId, DigestAlgorithm, EnrolmentId, Fingerprint, KeyAlgorithm, KeyId, RequestId,
        RevocationReason, TicketId, Timestamp, TokenId, Validity,
    },
    wire::scep::FailInfo,
};

/// Writes, and the write must be accepted.
pub(crate) fn write<R>(store: &dyn Store, work: impl FnMut(&mut dyn Tx) -> Result<R, StoreError>) -> R {
    store.write(work).unwrap()
}

/// Reads, and the read must succeed.
pub(crate) fn read<R>(store: &dyn Store, work: impl FnOnce(&dyn View) -> Result<R, StoreError>) -> R {
    store.read(work).unwrap()
}

/// Writes, and the write must break a rule.
pub(crate) fn conflicts(store: &dyn Store, work: impl FnMut(&mut dyn Tx) -> Result<(), StoreError>) {
    let refused = store.write(work).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(1_790_000_000 + seconds)
}

/// 16 bytes that sort as the number does.
fn bytes(number: u32) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

pub(crate) fn mac(number: u8) -> [u8; 32] {
    [number; 32]
}

pub(crate) fn ticket_id(number: u32) -> TicketId {
    TicketId::from_random(bytes(number))
}

pub(crate) fn issuer(name: &str) -> Issuer {
    Issuer {
        id: name.parse().unwrap(),
        kind: IssuerKind::Subordinate,
        parent: Some("root".parse().unwrap()),
        certificate: vec![0x30, 0x00],
        key: KeyId::from_random(bytes(1)),
        digest: DigestAlgorithm::Sha256,
        crl_urls: vec!["http://pki.example/crl/issuing.crl".to_owned()],
        ocsp_urls: vec!["http://pki.example/ocsp".to_owned()],
        ca_issuers_urls: Vec::new(),
        crl_policy: CrlPolicy {
            lifetime: 604_800,
            period: 86_400,
            debounce: 5,
            keep_expired: Some(604_800),
            delta: Some(3_600),
            partitions: Some(16),
        },
        created_at: at(0),
        generation: Generation::first(&name.parse().unwrap(), at(0)),
        crl_mirror: Some(CrlMirror { base: "http://crl.example".to_owned(), first: true }),
        partitionings: vec![16],
    }
}

/// The second of the line `issuing`.
pub(crate) fn successor() -> Issuer {
    let generation = Generation {
        line: "issuing".parse().unwrap(),
        number: 2,
        state: GenerationState::Announced,
        since: at(8),
        cutover_at: Some(at(9)),
    };
    Issuer { generation, ..issuer("issuing-2") }
}

pub(crate) fn key(number: u32) -> SealedKey {
    SealedKey {
        id: KeyId::from_random(bytes(number)),
        purpose: KeyPurpose::OcspSigner,
        algorithm: KeyAlgorithm::P256,
        public_key: vec![1, 2, 3],
        sealed: vec![4, 5, 6],
        created_at: at(0),
    }
}

pub(crate) fn system_certificate(serial: &str, since: u64) -> SystemCertificate {
    SystemCertificate {
        certificate: serial.parse().unwrap(),
        purpose: Purpose::OcspSigner,
        key: KeyId::from_random(bytes(u32::try_from(since).unwrap())),
        since: at(since),
    }
}

pub(crate) fn profile(name: &str, version: u32) -> Profile {
    Profile {
        name: name.parse().unwrap(),
        version,
        created_at: at(0),
        spec: ProfileSpec {
            description: "Laptops".to_owned(),
            issuer: "issuing".parse().unwrap(),
            scope: Scope::Device,
            subject: "CN=$DEVICE_ID$".to_owned(),
            subject_alt_names: vec!["dns:{{DEVICE_ID}}.lab.example".to_owned()],
            match_rule: MatchRule::Fill,
            identify: "subject.cn".to_owned(),
            challenge: Vec::new(),
            approval: Approval::Manual,
            allow_unregistered: false,
            key_types: Vec::new(),
            min_rsa_bits: 2048,
            key_usage: Vec::new(),
            extended_key_usage: Vec::new(),
            validity_days: 365,
            backdate_minutes: 10,
            renewal_window_days: 0,
            microsoft_sid: false,
            include_ca: None,
            lifecycle: certgate::domain::device::LifecyclePolicy::default(),
            legacy: Legacy::default(),
            client: certgate::domain::client::Clients::default(),
            ca_bundle: certgate::domain::client::behaviour::CaBundle::Full,
            reply_cipher: None,
            renewal_grace_days: 30,
        },
    }
}

pub(crate) fn crl(number: u64) -> CrlRecord {
    CrlRecord {
        issuer: "issuing".parse().unwrap(),
        scope: CrlScope::Full,
        base_number: None,
        number,
        this_update: at(0),
        next_update: at(604_800),
        entries: 0,
        der: number.to_be_bytes().to_vec().into(),
    }
}

pub(crate) fn token(number: u8) -> ApiToken {
    ApiToken {
        id: TokenId::from_random(bytes(u32::from(number))),
        name: "ci".to_owned(),
        secret_mac: mac(number),
        role: Role::Operator,
        created_at: at(0),
        expires_at: Some(at(60)),
        revoked_at: None,
        profiles: Vec::new(),
    }
}

pub(crate) fn fact(object: &str) -> AuditFact {
    AuditFact {
        at: at(0),
        actor: Actor::Local { uid: 0 },
        request: RequestId::from_random(bytes(7)),
        action: "device.wiped".to_owned(),
        object: object.to_owned(),
        detail: BTreeMap::from([("reason".to_owned(), "lost".to_owned())]),
    }
}

pub(crate) fn ticket(number: u8) -> Ticket {
    Ticket {
        id: ticket_id(u32::from(number)),
        secret_mac: mac(number),
        profile: "device".parse().unwrap(),
        device: Some("SN1".parse().unwrap()),
        user: None,
        uses_left: 1,
        expires_at: at(3600),
        created_at: at(0),
        created_by: "local uid 0".to_owned(),
        cancelled_at: None,
        also_for: Vec::new(),
        origin: TicketOrigin::Api,
        used_by: Vec::new(),
    }
}

/// The trace of the request that came in the second `number`; a stranger's where it is not `known`.
pub(crate) fn exchange(number: u64, known: bool) -> Exchange {
    let request = RequestId::from_arrival(at(number), 0, [1; 8]);
    Exchange {
        address: "192.0.2.7".to_owned(),
        user_agent: "Test/1.0".to_owned(),
        profile: Some("device".parse().unwrap()),
        transaction: Some("4A6F".parse().unwrap()),
        ending: Ending::Refused(FailInfo::BadRequest),
        subject: "CN=x".to_owned(),
        device: known.then(|| "SN1".parse().unwrap()),
        steps: vec![TraceStep { check: "key".into(), passed: false, detail: "short".to_owned() }],
        reason: "short".to_owned(),
        hint: "Make it longer.".to_owned(),
        ..Exchange::begun(EnrolmentId::from(&request), at(number), Operation::PkcsReq)
    }
}

pub(crate) fn enrolment(number: u32) -> Enrolment {
    Enrolment {
        id: EnrolmentId::from_random(bytes(number)),
        profile: "device".parse().unwrap(),
        profile_version: 1,
        transaction: "4A6F".parse().unwrap(),
        signer_key: Fingerprint::of(b"signer"),
        request_key: Fingerprint::of(b"request"),
        sealed_csr: vec![0x30, 0x00],
        evidence: Evidence::Ticket { id: ticket_id(1) },
        binding: Some((device_object("SN1", 1), Assurance::High)),
        renews: None,
        received_at: at(0),
        state: EnrolmentState::Pending,
        decided_at: None,
        trace: vec![TraceStep { check: "challenge".into(), passed: true, detail: String::new() }],
    }
}

/// Its DER is its id's text, so that its fingerprint is its own.
pub(crate) fn certificate(id: &str) -> CertificateRecord {
    CertificateRecord {
        id: certificate_id(id),
        der: id.as_bytes().to_vec(),
        fingerprint: Fingerprint::of(id.as_bytes()),
        public_key: Fingerprint::of(b"key"),
        subject: "CN=SN1".to_owned(),
        validity: Validity { not_before: at(0), not_after: at(31_536_000) },
        purpose: Purpose::Leaf,
        profile: Some(("device".parse().unwrap(), 3)),
        enrolment: Some(EnrolmentId::from_random(bytes(1))),
        supersedes: None,
        issued_at: at(0),
    }
}

/// One of which only its number is known.
pub(crate) fn imported(id: &str) -> CertificateRecord {
    CertificateRecord {
        der: Vec::new(),
        fingerprint: Fingerprint::from_bytes([0; 32]),
        public_key: Fingerprint::from_bytes([0; 32]),
        subject: String::new(),
        validity: Validity { not_before: Timestamp::EPOCH, not_after: Timestamp::MAX },
        purpose: Purpose::Imported,
        profile: None,
        enrolment: None,
        ..certificate(id)
    }
}

/// A CA whose key is not here.
pub(crate) fn external(name: &str) -> ExternalIssuer {
    ExternalIssuer {
        id: name.parse().unwrap(),
        certificate: vec![0x30, 0x00],
        created_at: at(0),
        ocsp: OcspAuthority::Trusted { by: "issuing".parse().unwrap() },
        requested: Some(key(1).id),
    }
}

pub(crate) fn certificate_id(id: &str) -> CertificateId {
    id.parse().unwrap()
}

pub(crate) fn device_object(id: &str, generation: u32) -> BoundObject {
    BoundObject::Device { id: id.parse().unwrap(), generation }
}

pub(crate) fn binding(certificate: &str, object: BoundObject) -> Binding {
    Binding {
        certificate: certificate_id(certificate),
        object,
        evidence: Evidence::Approval,
        assurance: Assurance::Medium,
        bound_at: at(0),
    }
}

pub(crate) fn hold(kind: CauseKind, reference: &str) -> Cause {
    Cause {
        key: CauseKey { kind, reference: reference.to_owned() },
        effect: Effect::Hold,
        since: at(0),
        invalidity_date: None,
        actor: "local uid 0".to_owned(),
        note: String::new(),
    }
}

pub(crate) fn revoked(kind: CauseKind, reference: &str) -> Cause {
    let effect = Effect::Revoke { reason: RevocationReason::KeyCompromise };
    Cause { effect, ..hold(kind, reference) }
}

pub(crate) fn device(id: &str, version: u64, identities: &[(IdentityKind, &str)]) -> Device {
    Device {
        id: id.parse().unwrap(),
        generation: 1,
        lifecycle: Lifecycle::Pending,
        lifecycle_since: at(0),
        conditions: Vec::new(),
        identities: identities.iter().map(|(kind, value)| (*kind, (*value).to_owned())).collect(),
        user: None,
        name: "Laptop".to_owned(),
        model: String::new(),
        sid: None,
        attributes: BTreeMap::new(),
        created_at: at(0),
        enrolled_at: None,
        version,
    }
}

pub(crate) fn user(id: &str, version: u64) -> User {
    User {
        id: id.parse().unwrap(),
        details: UserDetails {
            upn: id.to_owned(),
            email: id.to_owned(),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
            display_name: "Ada Lovelace".to_owned(),
            dn: String::new(),
            sid: None,
            locale: "en".to_owned(),
            attributes: BTreeMap::new(),
        },
        state: UserState::Enabled,
        created_at: at(0),
        version,
    }
}

pub(crate) fn job(issuer: &str) -> JobKind {
    JobKind::BuildCrl { issuer: issuer.parse().unwrap() }
}

/// What a directory has of an issuer: its CRL with this number, and no newer one.
pub(crate) fn publication(directory: &str, issuer: &str, number: u64) -> Publication {
    let entry = format!("cn={issuer},o=Lab").parse().unwrap();
    let crls = vec![PublishedThere { scope: CrlScope::Full, number }];
    Publication::new(directory.parse().unwrap(), issuer.parse().unwrap(), entry)
        .succeeded(crls.clone(), at(1))
        .failed(crls, "down".to_owned(), at(2))
}

/// The timer that the ticket of this number has.
pub(crate) fn ticket_timer(number: u8) -> Timer {
    let ticket = ticket(number);
    Timer { at: ticket.expires_at, subject: TimerSubject::TicketEnds { device: ticket.device.unwrap() } }
}

pub(crate) fn source(name: &str, version: u64) -> Source {
    let id = name.parse().unwrap();
    Source { version, ..Source::new(id, SourceKind::Inventory, MissingPolicy::Hold, 30, at(0)) }
}

pub(crate) fn membership(device: &str, source: &str) -> Membership {
    let (device, source) = (device.parse().unwrap(), source.parse().unwrap());
    Membership { device, source, since: at(1), reported: ReportedState::Managed, absence: None }
}
