//! Invariants 1, 4 and 6 over random histories: whatever happens to devices, users and certificates, OCSP, CRL and API say the same of
//! every serial, and what they say is what an independent model predicts.
//!
//! `PROPTEST_CASES` sets the number of histories (default 64).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold panics"
)]

#[path = "../common/mod.rs"]
mod common;
mod observe;
mod oracle;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use certgate::{
    domain::{
        crl::CrlPolicy,
        device::DeviceEvent,
        user::{UserDetails, UserEvent},
    },
    service::{GatewaySettings, certificate::RevokeRequest, ticket::NewTicket},
    types::{CertificateId, IssuerId, RevocationReason, Secret, SerialNumber},
    wire::{
        scep::{MessageType, PkiStatus},
        x509::Certificate,
    },
};
use common::{Answer, Client, World};
use observe::{OcspSays, QUESTIONS, Question, ReadCrl};
use oracle::{Oracle, Owner, Policy, Shown};
use proptest::{prelude::*, sample::Index, test_runner::Config};

const DEVICES: usize = 3;
const USERS: usize = 2;
const STEPS: usize = 40;
const ISSUERS: [&str; 2] = ["root", "issuing"];

const PATIENT: &str = r#"
subject = "CN=$DEVICE_ID$"
validity-days = 30
"#;
const STRICT: &str = r#"
subject = "CN=$DEVICE_ID$"
validity-days = 8
[lifecycle]
on-wipe-requested = "revoke"
on-retire-requested = "revoke"
hold-when-lost = false
"#;
const PERSON: &str = r#"
subject = "CN=$EMAIL$"
scope = "user"
validity-days = 3
"#;

/// RSA keys are slow to make, and whose key it is makes no difference here.
static CLIENT: LazyLock<Client> = LazyLock::new(Client::new);

#[derive(Clone, Debug)]
enum Operation {
    Issue { device: usize, policy: Policy },
    IssueToUser { user: usize },
    Renew { certificate: Index },
    Hold { certificate: Index },
    Release { certificate: Index },
    Revoke { certificate: Index, reason: RevocationReason, lost_before: Option<u64> },
    Device { device: usize, event: DeviceEvent },
    User { user: usize, event: UserEvent },
    Advance { seconds: u64 },
    Publish { issuer: &'static str },
}

/// An operation, and whether the worker comes round after it.
#[derive(Clone, Debug)]
struct Step {
    operation: Operation,
    work: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (operation(), prop::bool::weighted(0.4)).prop_map(|(operation, work)| Step { operation, work })
}

fn operation() -> impl Strategy<Value = Operation> {
    let certificate = any::<Index>;
    let reason = prop::sample::select(RevocationReason::ALL.to_vec());
    let lost_before = prop::option::of(0..100_000_u64);
    let seconds = prop_oneof![
        3 => 0..5_u64,
        3 => 5..400_u64,
        2 => 3_600..90_000_u64,
        1 => 86_400..900_000_u64,
    ];
    prop_oneof![
        5 => (0..DEVICES, prop::sample::select(vec![Policy::Patient, Policy::Patient, Policy::Strict]))
            .prop_map(|(device, policy)| Operation::Issue { device, policy }),
        2 => (0..USERS).prop_map(|user| Operation::IssueToUser { user }),
        3 => certificate().prop_map(|certificate| Operation::Renew { certificate }),
        4 => certificate().prop_map(|certificate| Operation::Hold { certificate }),
        4 => certificate().prop_map(|certificate| Operation::Release { certificate }),
        3 => (certificate(), reason, lost_before)
            .prop_map(|(certificate, reason, lost_before)| Operation::Revoke { certificate, reason, lost_before }),
        14 => (0..DEVICES, device_event()).prop_map(|(device, event)| Operation::Device { device, event }),
        4 => (0..USERS, prop::sample::select(vec![UserEvent::Disable, UserEvent::Enable, UserEvent::Delete]))
            .prop_map(|(user, event)| Operation::User { user, event }),
        3 => seconds.prop_map(|seconds| Operation::Advance { seconds }),
        1 => prop::sample::select(ISSUERS.to_vec()).prop_map(|issuer| Operation::Publish { issuer }),
    ]
}

fn device_event() -> impl Strategy<Value = DeviceEvent> {
    use DeviceEvent::{
        CancelWipe, Cleared, Compromised, Force, Found, Lost, Reprovision, Retire, Unretire, Wipe,
    };
    prop::sample::select(vec![
        Retire,
        Unretire,
        Unretire,
        Wipe,
        Wipe,
        CancelWipe,
        CancelWipe,
        Force,
        Lost,
        Lost,
        Found,
        Found,
        Compromised,
        Cleared,
        Reprovision,
    ])
}

/// A gateway, the model of what was done to it, and what was seen so far.
struct History {
    world: World,
    oracle: Oracle,
    /// The issued certificates of the model, in its order.
    issued: Vec<Certificate>,
    issuers: BTreeMap<IssuerId, Certificate>,
    crls: BTreeMap<IssuerId, ReadCrl>,
    revoked_for_good: BTreeSet<CertificateId>,
    requests: usize,
}

impl History {
    fn new() -> Self {
        let world = World::new(&[("patient", PATIENT), ("strict", STRICT), ("person", PERSON)]);
        world.gateway.run_due().unwrap();
        let mut oracle = Oracle::new(DEVICES, USERS);
        for device in 0..DEVICES {
            world.register(&device_id(device));
        }
        for user in 0..USERS {
            let id = user_id(user).parse().unwrap();
            let email = format!("{id}@lab.example");
            let attributes = UserDetails { email, ..UserDetails::default() };
            world.gateway.put_user(&world.authed(), &id, &attributes).unwrap();
        }
        let issuers = ISSUERS.map(|id| (id.parse().unwrap(), world.issuer(id)));
        // The issuing CA's own certificate is one of the root's: with it, both issuers have something to list.
        let issuing = world.issuer("issuing");
        oracle.issued(world.record(&issuing).id, Owner::Nobody, Policy::Patient, issuing.validity());
        Self {
            world,
            oracle,
            issued: vec![issuing],
            issuers: issuers.into(),
            crls: BTreeMap::new(),
            revoked_for_good: BTreeSet::new(),
            requests: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        self.perform(&step.operation);
        if matches!(step.operation, Operation::Advance { .. }) {
            // What time brings is the worker's: OCSP signers live for a week.
            self.world.gateway.run_due().unwrap();
        }
        self.check_answers(&QUESTIONS[..if step.work { 1 } else { 2 }]);
        if step.work {
            self.let_the_worker_come_round();
            self.check_answers(&QUESTIONS);
            self.check_crls();
            self.check_never_issued();
        }
    }

    /// Does it; whether it is possible must be as the model foresees.
    fn perform(&mut self, operation: &Operation) {
        let now = self.world.now();
        let (foreseen, done) = match operation {
            Operation::Issue { device, policy } => {
                return self.issue(Owner::Device(*device), *policy);
            }
            Operation::IssueToUser { user } => return self.issue(Owner::User(*user), Policy::Patient),
            Operation::Renew { certificate } => return self.renew(certificate.index(self.issued.len())),
            Operation::Advance { seconds } => return self.world.clock.advance(Duration::from_secs(*seconds)),
            Operation::Publish { issuer } => {
                let issuer = issuer.parse().unwrap();
                (true, self.world.gateway.publish_crl(&self.world.authed(), &issuer).is_ok())
            }
            Operation::Hold { certificate } => {
                let index = certificate.index(self.issued.len());
                let id = self.oracle.certificates[index].id.clone();
                let done =
                    self.world.gateway.hold_certificate(&self.world.authed(), &id, "by a test").is_ok();
                (self.oracle.hold(index, now), done)
            }
            Operation::Release { certificate } => {
                let index = certificate.index(self.issued.len());
                let id = self.oracle.certificates[index].id.clone();
                let done = self.world.gateway.release_certificate(&self.world.authed(), &id, "").is_ok();
                (self.oracle.release(index), done)
            }
            Operation::Revoke { certificate, reason, lost_before } => {
                let index = certificate.index(self.issued.len());
                self.revoke(index, *reason, *lost_before)
            }
            Operation::Device { device, event } => {
                let id = device_id(*device).parse().unwrap();
                let done = self.world.gateway.device_event(&self.world.authed(), &id, *event, "").is_ok();
                (self.oracle.device_event(*device, *event, now), done)
            }
            Operation::User { user, event } => {
                let id = user_id(*user).parse().unwrap();
                let done = self.world.gateway.user_event(&self.world.authed(), &id, *event, "").is_ok();
                (self.oracle.user_event(*user, *event, now), done)
            }
        };
        assert_eq!(done, foreseen, "{operation:?} was done = {done}");
    }

    /// Gives (foreseen, done).
    fn revoke(&mut self, index: usize, reason: RevocationReason, lost_before: Option<u64>) -> (bool, bool) {
        let at = self.world.now();
        let invalidity_date = lost_before.map(|seconds| at.minus(Duration::from_secs(seconds)));
        let request = RevokeRequest { reason, note: String::new(), invalidity_date };
        let id = self.oracle.certificates[index].id.clone();
        let done = self.world.gateway.revoke_certificate(&self.world.authed(), &id, &request).is_ok();
        (self.oracle.revoke(index, Shown { reason, at, invalidity_date }), done)
    }

    fn issue(&mut self, owner: Owner, policy: Policy) {
        let profile = profile_of(owner, policy);
        let ticket = self.ticket(owner, profile);
        let foreseen = self.oracle.may_enrol(owner);
        // Who may not enrol gets no ticket either.
        let Some(ticket) = ticket else { return assert!(!foreseen, "{owner:?} gets no ticket") };
        let client = self.client();
        let csr = client.csr("CN=x", Some(&ticket));
        let Some(answer) = self.ask(&client, profile, MessageType::PkcsReq, &csr, foreseen) else { return };
        assert_eq!(answer.status == PkiStatus::Success, foreseen, "an enrolment of {owner:?}: {answer:?}");
        if foreseen {
            self.issued_to(owner, policy, answer.certificate());
        }
    }

    fn renew(&mut self, index: usize) {
        let (owner, policy) = (self.oracle.certificates[index].owner, self.oracle.certificates[index].policy);
        if owner == Owner::Nobody {
            return;
        }
        let foreseen = self.oracle.may_renew(index, self.world.now());
        let client = self.client().with_identity(&self.issued[index]);
        let csr = client.csr("CN=x", None);
        let profile = profile_of(owner, policy);
        let Some(answer) = self.ask(&client, profile, MessageType::RenewalReq, &csr, foreseen) else {
            return;
        };
        assert_eq!(answer.status == PkiStatus::Success, foreseen, "a renewal by {owner:?}: {answer:?}");
        if foreseen {
            self.issued_to(owner, policy, answer.certificate());
        }
    }

    /// Sends a request. None: the client is told to come back, as it must be, and only then, where everything else allows a certificate
    /// but the CA's own one (the first of all) is revoked or on hold.
    fn ask(
        &self,
        client: &Client,
        profile: &str,
        kind: MessageType,
        csr: &[u8],
        foreseen: bool,
    ) -> Option<Answer> {
        let message = client.message(&self.world.message_certificate(profile), &kind.into(), csr);
        let barred = foreseen && self.oracle.certificates[0].shown().is_some();
        let answer = self.world.pki_operation(profile, &message);
        assert_eq!(answer.is_err(), barred, "{kind:?}: {:?}", answer.err());
        answer.ok().map(|rep| client.open(&message, rep))
    }

    /// A client in a transaction of its own.
    fn client(&mut self) -> Client {
        self.requests += 1;
        CLIENT.in_transaction(&format!("request-{}", self.requests))
    }

    fn issued_to(&mut self, owner: Owner, policy: Policy, certificate: &Certificate) {
        let id = self.world.record(certificate).id;
        assert!(self.oracle.certificates.iter().all(|other| other.id != id), "serial numbers are unique");
        self.oracle.issued(id, owner, policy, certificate.validity());
        self.issued.push(certificate.clone());
    }

    fn ticket(&self, owner: Owner, profile: &str) -> Option<Secret> {
        let (device, user) = match owner {
            Owner::Device(index) => (Some(device_id(index).parse().unwrap()), None),
            Owner::User(index) => (None, Some(user_id(index).parse().unwrap())),
            Owner::Nobody => (None, None),
        };
        let wanted =
            NewTicket { profile: profile.parse().unwrap(), device, user, lifetime: None, uses: None };
        self.world.gateway.create_ticket(&self.world.authed(), &wanted).ok().map(|minted| minted.secret)
    }

    /// Past the time within which a change must be on the CRL.
    fn let_the_worker_come_round(&self) {
        self.world.clock.advance(Duration::from_secs(CrlPolicy::default().debounce + 1));
        self.world.gateway.run_due().unwrap();
    }

    /// Invariants 1 and 6: OCSP and API say what the model says, and nothing comes back from a permanent revocation.
    fn check_answers(&mut self, questions: &[Question]) {
        for id in observe::all_certificates(&self.world) {
            // The others are certgate's own signers, to which nothing ever happens here.
            let model = self.oracle.certificates.iter().find(|it| it.id == id);
            let shown = model.and_then(oracle::Certificate::shown);
            let status_foreseen = model.map(|it| it.status(self.world.now()));
            for question in questions {
                let says = observe::ocsp(&self.world, &self.issuers[&id.issuer], &id.serial, *question);
                assert_eq!(says, OcspSays::from(shown), "OCSP of {id} ({question:?})");
                self.note_revocation(&id, says);
            }
            let (status, revocation) = observe::api(&self.world, &id);
            assert_eq!(revocation, shown, "the API's view of {id}");
            assert_eq!(status, status_foreseen.unwrap_or(status), "the API's status of {id}");
        }
    }

    /// Invariant 6, without the model: from what was seen alone.
    fn note_revocation(&mut self, id: &CertificateId, says: OcspSays) {
        let permanent =
            matches!(says, OcspSays::Revoked { reason, .. } if reason != RevocationReason::CertificateHold);
        if permanent {
            self.revoked_for_good.insert(id.clone());
        }
        assert!(
            permanent || !self.revoked_for_good.contains(id),
            "{id} was revoked for good and is {says:?}"
        );
    }

    /// Invariant 1 for the CRLs: they list what OCSP calls revoked, and nothing else.
    fn check_crls(&mut self) {
        let keep = Duration::from_secs(CrlPolicy::default().keep_expired);
        for (issuer, certificate) in &self.issuers {
            let crl = observe::crl(&self.world.gateway, issuer, certificate);
            for model in self.oracle.certificates.iter().filter(|it| it.id.issuer == *issuer) {
                let listed = crl.entries.get(&model.id.serial).copied();
                let pruned = listed.is_none() && crl.this_update > model.not_after().plus(keep);
                assert!(pruned || listed == model.shown(), "{} on CRL {}: {listed:?}", model.id, crl.number);
            }
            for serial in crl.entries.keys() {
                let known = |it: &oracle::Certificate| it.id.issuer == *issuer && it.id.serial == *serial;
                assert!(self.oracle.certificates.iter().any(known), "CRL {} lists {serial}", crl.number);
            }
            if let Some(before) = self.crls.get(issuer) {
                let same = before.der == crl.der;
                assert!(same || crl.number > before.number, "CRL {} after {}", crl.number, before.number);
            }
            self.crls.insert(issuer.clone(), crl);
        }
    }

    /// Invariant 4: neither an invented serial, nor another issuer's, nor one beside a real one.
    fn check_never_issued(&self) {
        let known = observe::all_certificates(&self.world);
        let last = &known[known.len() - 1];
        let mut beside = last.serial.as_bytes().to_vec();
        if let Some(byte) = beside.last_mut() {
            *byte ^= 1;
        }
        let never = [
            SerialNumber::from_random([0x42; 16]),
            last.serial.clone(),
            SerialNumber::from_magnitude(&beside).unwrap(),
        ];
        for (issuer, certificate) in &self.issuers {
            for serial in &never {
                let id = CertificateId { issuer: issuer.clone(), serial: serial.clone() };
                if !known.contains(&id) {
                    let says = observe::ocsp(&self.world, certificate, serial, QUESTIONS[0]);
                    assert_eq!(says, OcspSays::Unknown, "{id} was never issued");
                }
            }
        }
    }

    /// A new process on the same store says the same.
    fn restart(self) -> Self {
        Self { world: self.world.restarted(GatewaySettings::default()), ..self }
    }
}

fn profile_of(owner: Owner, policy: Policy) -> &'static str {
    match (owner, policy) {
        (Owner::User(_), _) => "person",
        (_, Policy::Patient) => "patient",
        (_, Policy::Strict) => "strict",
    }
}

fn device_id(index: usize) -> String {
    format!("SN{index}")
}

fn user_id(index: usize) -> String {
    format!("user{index}")
}

fn config() -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { 64 };
    Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn ocsp_crl_and_api_agree_whatever_happens(steps in prop::collection::vec(step(), 1..=STEPS)) {
        let mut history = History::new();
        for step in &steps {
            history.run(step);
        }
        history.let_the_worker_come_round();
        history.check_crls();
        let mut history = history.restart();
        history.check_answers(&QUESTIONS);
        history.check_crls();
    }
}
