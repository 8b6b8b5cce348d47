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

mod checks;
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
        source::{MissingPolicy, SourceKind},
        user::{UserDetails, UserEvent},
    },
    service::{
        GatewaySettings, ServiceError,
        certificate::RevokeRequest,
        crl::CrlSettings,
        source::{
            NewSource,
            sync::{SyncReport, SyncRequest},
        },
        ticket::NewTicket,
    },
    types::{CertificateId, IssuerId, RevocationReason, Secret},
    wire::{
        scep::{MessageType, PkiStatus},
        x509::Certificate,
    },
};
use common::{Answer, Client, World, WorldOptions};
use observe::{QUESTIONS, ReadCrl};
use oracle::{Oracle, Owner, Policy, Shown};
use proptest::{prelude::*, sample::Index, test_runner::Config};

const DEVICES: usize = 3;
const USERS: usize = 2;
const STEPS: usize = 40;
const SOURCE: &str = "mdm";
const ISSUERS: [&str; 2] = ["root", "issuing"];

/// Everything that there is: delta CRLs, partitions, and expired certificates that leave soon.
const POLICY: CrlPolicy = CrlPolicy {
    lifetime: 7 * 86_400,
    period: 86_400,
    debounce: 5,
    keep_expired: Some(2 * 86_400),
    delta: Some(6 * 3_600),
    partitions: Some(3),
};

const PATIENT: &str = r#"
subject = "CN=$DEVICE_ID$"
renewal-grace-days = 0
validity-days = 30
"#;
const STRICT: &str = r#"
subject = "CN=$DEVICE_ID$"
renewal-grace-days = 0
validity-days = 8
[lifecycle]
on-wipe-requested = "revoke"
on-retire-requested = "revoke"
hold-when-lost = false
overlap-days = 1
"#;
const PERSON: &str = r#"
subject = "CN=$EMAIL$"
renewal-grace-days = 0
scope = "user"
validity-days = 3
[lifecycle]
overlap-days = 0
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
    Ca { ca: usize, act: CaAct },
    Mint { device: usize },
    Device { device: usize, event: DeviceEvent },
    User { user: usize, event: UserEvent },
    Listing { listed: [bool; DEVICES] },
    Advance { seconds: u64 },
    Publish { issuer: &'static str },
}

/// What is done to the certificate of a CA.
#[derive(Clone, Copy, Debug)]
enum CaAct {
    Hold,
    Release,
    Revoke(RevocationReason),
}

/// An operation, and whether the worker comes round after it.
#[derive(Clone, Debug)]
struct Step {
    operation: Operation,
    work: bool,
}

fn step(operation: impl Strategy<Value = Operation>) -> impl Strategy<Value = Step> {
    (operation, prop::bool::weighted(0.4)).prop_map(|(operation, work)| Step { operation, work })
}

/// Lives in which little is done and much time passes: devices enrol and renew, tickets and overlaps run out.
fn calm_operation() -> impl Strategy<Value = Operation> {
    let certificate = any::<Index>;
    let event = prop::sample::select(vec![DeviceEvent::Lost, DeviceEvent::Found, DeviceEvent::Reprovision]);
    let ca = prop::sample::select(vec![CaAct::Hold, CaAct::Release, CaAct::Release]);
    prop_oneof![
        6 => (0..DEVICES, prop::sample::select(vec![Policy::Patient, Policy::Strict]))
            .prop_map(|(device, policy)| Operation::Issue { device, policy }),
        2 => (0..USERS).prop_map(|user| Operation::IssueToUser { user }),
        14 => certificate().prop_map(|certificate| Operation::Renew { certificate }),
        4 => certificate().prop_map(|certificate| Operation::Hold { certificate }),
        5 => certificate().prop_map(|certificate| Operation::Release { certificate }),
        1 => certificate().prop_map(|certificate| Operation::Revoke {
            certificate, reason: RevocationReason::KeyCompromise, lost_before: None,
        }),
        2 => ca.prop_map(|act| Operation::Ca { ca: oracle::ISSUING, act }),
        2 => (0..DEVICES, event).prop_map(|(device, event)| Operation::Device { device, event }),
        3 => (0..DEVICES).prop_map(|device| Operation::Mint { device }),
        10 => (0..40_u64).prop_map(|number| Operation::Advance { seconds: number * number * 216 }),
    ]
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
        5 => certificate().prop_map(|certificate| Operation::Renew { certificate }),
        4 => certificate().prop_map(|certificate| Operation::Hold { certificate }),
        4 => certificate().prop_map(|certificate| Operation::Release { certificate }),
        3 => (certificate(), reason, lost_before)
            .prop_map(|(certificate, reason, lost_before)| Operation::Revoke { certificate, reason, lost_before }),
        14 => (0..DEVICES, device_event()).prop_map(|(device, event)| Operation::Device { device, event }),
        4 => (0..USERS, prop::sample::select(vec![UserEvent::Disable, UserEvent::Enable, UserEvent::Delete]))
            .prop_map(|(user, event)| Operation::User { user, event }),
        3 => (prop::sample::select(vec![oracle::ISSUING, oracle::ISSUING, oracle::ROOT]), ca_act())
            .prop_map(|(ca, act)| Operation::Ca { ca, act }),
        2 => (0..DEVICES).prop_map(|device| Operation::Mint { device }),
        8 => std::array::from_fn(|_| prop::bool::weighted(0.4)).prop_map(|listed| Operation::Listing { listed }),
        4 => seconds.prop_map(|seconds| Operation::Advance { seconds }),
        1 => prop::sample::select(ISSUERS.to_vec()).prop_map(|issuer| Operation::Publish { issuer }),
    ]
}

/// Mostly what can be undone: a revoked CA ends the history for all.
fn ca_act() -> impl Strategy<Value = CaAct> {
    prop_oneof![
        5 => Just(CaAct::Hold),
        8 => Just(CaAct::Release),
        1 => prop::sample::select(RevocationReason::ALL.to_vec()).prop_map(CaAct::Revoke),
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
        let crl = CrlSettings { general: POLICY, ..CrlSettings::default() };
        let settings = GatewaySettings { crl, ..GatewaySettings::default() };
        let options = WorldOptions { settings, ..WorldOptions::default() };
        let world = World::with(options, &[("patient", PATIENT), ("strict", STRICT), ("person", PERSON)]);
        world.gateway.run_due().unwrap();
        let mut oracle = Oracle::new(DEVICES, USERS, world.now());
        for device in 0..DEVICES {
            world.register(&device_id(device));
        }
        for user in 0..USERS {
            let id = user_id(user).parse().unwrap();
            let email = format!("{id}@lab.example");
            let attributes = UserDetails { email, ..UserDetails::default() };
            world.gateway.put_user(&world.authed(), &id, &attributes).unwrap();
        }
        let id = SOURCE.parse().unwrap();
        let source =
            NewSource { id, kind: SourceKind::Inventory, missing: MissingPolicy::Hold, grace_days: None };
        world.gateway.add_source(&world.authed(), &source).unwrap();
        let issuers = ISSUERS.map(|id| (id.parse().unwrap(), world.issuer(id)));
        // The CAs' own certificates are the root's: with them, both issuers have something to list.
        let cas = [world.issuer("issuing"), world.issuer("root")];
        for ca in &cas {
            oracle.issued(world.record(ca).id, Owner::Nobody, Policy::Patient, ca.validity());
        }
        Self {
            world,
            oracle,
            issued: cas.into(),
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
            self.work();
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
            Operation::Renew { certificate } => return self.renew(self.pick(*certificate)),
            Operation::Advance { seconds } => return self.world.clock.advance(Duration::from_secs(*seconds)),
            Operation::Publish { issuer } => {
                let issuer = issuer.parse().unwrap();
                let before = self.world.gateway.crl(&issuer).expect("every issuer has a CRL");
                let done = self.world.gateway.publish_crl(&self.world.authed(), &issuer).is_ok();
                observe::delta_leads_on(&self.world, &issuer, &before.der);
                (true, done)
            }
            Operation::Mint { device } => return self.mint(*device),
            Operation::Ca { ca, act } => self.act_on_ca(*ca, *act),
            Operation::Hold { certificate } => {
                let index = self.pick(*certificate);
                let id = self.oracle.certificates[index].id.clone();
                let done =
                    self.world.gateway.hold_certificate(&self.world.authed(), &id, "by a test").is_ok();
                (self.oracle.hold(index, now), done)
            }
            Operation::Release { certificate } => {
                let index = self.pick(*certificate);
                let id = self.oracle.certificates[index].id.clone();
                let done = self.world.gateway.release_certificate(&self.world.authed(), &id, "").is_ok();
                (self.oracle.release(index), done)
            }
            Operation::Revoke { certificate, reason, lost_before } => {
                let index = self.pick(*certificate);
                // CAs are revoked by operations of their own, and seldom.
                if self.oracle.certificates[index].owner == Owner::Nobody {
                    return;
                }
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
            Operation::Listing { listed } => {
                (self.oracle.listing(listed, now), self.listing(*listed).is_ok())
            }
        };
        assert_eq!(done, foreseen, "{operation:?} was done = {done}");
    }

    fn pick(&self, certificate: Index) -> usize {
        certificate.index(self.issued.len())
    }

    /// Gives (foreseen, done).
    fn act_on_ca(&mut self, ca: usize, act: CaAct) -> (bool, bool) {
        let (now, id) = (self.world.now(), self.oracle.certificates[ca].id.clone());
        let authed = self.world.authed();
        match act {
            CaAct::Hold => {
                let done = self.world.gateway.hold_certificate(&authed, &id, "suspected").is_ok();
                (self.oracle.hold(ca, now), done)
            }
            CaAct::Release => {
                let done = self.world.gateway.release_certificate(&authed, &id, "unfounded").is_ok();
                (self.oracle.release(ca), done)
            }
            CaAct::Revoke(reason) => self.revoke(ca, reason, None),
        }
    }

    /// A ticket that nobody uses.
    fn mint(&mut self, device: usize) {
        let owner = Owner::Device(device);
        let minted = self.ticket(owner, profile_of(owner, Policy::Patient)).is_some();
        assert_eq!(minted, self.oracle.may_enrol(owner), "a ticket for {owner:?}");
        if minted {
            self.oracle.ticket_minted(device, self.world.now());
        }
    }

    /// Brings in a listing of those devices; it may be empty.
    fn listing(&self, listed: [bool; DEVICES]) -> Result<SyncReport, ServiceError> {
        let devices = listed.into_iter().enumerate().filter(|(_, listed)| *listed);
        let listing = devices.fold("device\n".to_owned(), |text, (index, _)| text + &device_id(index) + "\n");
        let request = SyncRequest { listing: listing.into_bytes(), force: true, ..SyncRequest::default() };
        self.world.gateway.sync_source(&self.world.authed(), &SOURCE.parse().unwrap(), &request)
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
        if let Owner::Device(device) = owner {
            self.oracle.ticket_minted(device, self.world.now());
        }
        let client = self.client();
        let csr = client.csr("CN=x", Some(&ticket));
        let Some(answer) = self.ask(&client, profile, MessageType::PkcsReq, &csr, foreseen) else { return };
        assert_eq!(answer.status == PkiStatus::Success, foreseen, "an enrolment of {owner:?}: {answer:?}");
        if foreseen {
            self.issued_to(owner, policy, answer.certificate());
            if let Owner::Device(device) = owner {
                self.oracle.ticket_used(device);
            }
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
            self.oracle.renewed(index, self.world.now());
        }
    }

    /// Sends a request. None: the client is told to come back, as it must be, and only then, where everything else allows a certificate
    /// but the CA's own one, or the root's, is revoked or on hold.
    fn ask(
        &self,
        client: &Client,
        profile: &str,
        kind: MessageType,
        csr: &[u8],
        foreseen: bool,
    ) -> Option<Answer> {
        let message = client.message(&self.world.message_certificate(profile), &kind.into(), csr);
        let barred = foreseen && self.oracle.shown(oracle::ISSUING).is_some();
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
    fn let_the_worker_come_round(&mut self) {
        loop {
            self.world.clock.advance(Duration::from_secs(POLICY.debounce + 1));
            // What time did by itself in this round is on the CRL after the next.
            if !self.work() {
                break;
            }
        }
    }

    /// Gives whether the status of a certificate changed, or there is a new one: a signer that was renewed under a CA on hold is
    /// on hold, too.
    fn work(&mut self) -> bool {
        let before = self.world.read(|view| view.count_certificates());
        self.world.gateway.run_due().unwrap();
        let renewed = self.world.read(|view| view.count_certificates()) > before;
        self.oracle.time_passes(self.world.now()) || renewed
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
    fn ocsp_crl_and_api_agree_whatever_happens(steps in prop::collection::vec(step(operation()), 1..=STEPS)) {
        tell(&steps);
    }

    #[test]
    fn they_agree_while_time_does_the_work(steps in prop::collection::vec(step(calm_operation()), 1..=STEPS)) {
        tell(&steps);
    }
}

fn tell(steps: &[Step]) {
    let mut history = History::new();
    for step in steps {
        history.run(step);
    }
    history.let_the_worker_come_round();
    history.check_crls();
    let mut history = history.restart();
    history.check_answers(&QUESTIONS);
    history.check_crls();
}
