//! Invariants 1 and 6 in bulk: a hundred thousand random lives of certificates, many of them side by side in one gateway, through the
//! use cases that operators, MDM servers and time go through. After every act OCSP and API, and after every round of the worker the
//! CRL too, say of the certificate what an independent model foresees, in status, reason and time. Every other gateway has delta CRLs: there
//! the full CRL with the delta applied to it has to say so, and each delta that is made with a full CRL has to lead from the one before to it.
//!
//! A life is a device with a certificate, which is held, released, revoked, raised to keyCompromise, lost, wiped, retired and set up
//! again, and expires; the CA above all of them is put on hold and released, rolled over, and in the end revoked; CRLs are published
//! and pruned; the process is started again. What is not done here is enrolling: the records are written as an enrolment writes
//! them, for RSA is slow; `status_property` does it all.
//!
//! `CERTGATE_HISTORIES` sets their number (default 100,000); `CERTGATE_HISTORIES=10000000 cargo test --release --test
//! status_histories` is the long run. `CERTGATE_SEED` repeats a world: a failure names its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold panics"
)]
#![allow(clippy::print_stdout, reason = "how much was done is for the reader")]
#![allow(clippy::disallowed_methods, reason = "the environment says how long the test is")]

mod common;
#[allow(dead_code, reason = "each test target uses its own part of it")]
mod drive;
#[path = "status_property/observe.rs"]
#[allow(dead_code, reason = "each test target uses its own part of it")]
mod observe;
#[path = "status_property/oracle.rs"]
#[allow(dead_code, reason = "each test target uses its own part of it")]
mod oracle;

use std::{
    collections::BTreeSet,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use certgate::{
    domain::{
        binding::{Assurance, Binding, BoundObject, Evidence},
        certificate::{CertificateRecord, Purpose},
        crl::{CrlPolicy, CrlScope},
        device::{Device, DeviceEvent, Lifecycle, Registration},
        status::Status,
    },
    service::{
        GatewaySettings,
        certificate::RevokeRequest,
        crl::CrlSettings,
        rollover::{CutOver, NewSuccessor},
    },
    types::{
        CertificateId, DeviceId, DigestAlgorithm, Fingerprint, IssuerId, RevocationReason, SerialNumber,
        Timestamp, Validity,
    },
    wire::{
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};
use common::{DAY, World, WorldOptions};
use drive::Dice;
use observe::ReadCrl;
use oracle::{ISSUING, Oracle, Owner, Policy, Shown};

/// Lives side by side.
const LIVES: usize = 500;
/// Waves of lives in one gateway.
const WAVES: usize = 10;
/// Acts in a wave.
const ACTS: usize = LIVES * 4;
/// Rounds of the worker in a wave.
const ROUNDS: usize = 4;
/// Where the life's certificate is in its model, behind those of the CAs.
const OWN: usize = 2;

const PROFILES: [(&str, &str); 2] = [
    ("patient", "subject = \"CN=$DEVICE_ID$\"\n"),
    (
        "strict",
        "subject = \"CN=$DEVICE_ID$\"\n[lifecycle]\non-wipe-requested = \"revoke\"\non-retire-requested = \"revoke\"\nhold-when-lost = false\n",
    ),
];

const EVENTS: [DeviceEvent; 10] = [
    DeviceEvent::Retire,
    DeviceEvent::Unretire,
    DeviceEvent::Wipe,
    DeviceEvent::CancelWipe,
    DeviceEvent::Force,
    DeviceEvent::Lost,
    DeviceEvent::Found,
    DeviceEvent::Compromised,
    DeviceEvent::Cleared,
    DeviceEvent::Reprovision,
];

/// One certificate, and what should be said of it.
struct Life {
    id: CertificateId,
    device: DeviceId,
    request: Vec<u8>,
    model: Oracle,
    /// It was seen revoked for good.
    gone: bool,
}

/// A gateway and the lives in it.
struct Histories {
    world: World,
    dice: Dice,
    ca: Certificate,
    lives: Vec<Life>,
    /// Serial numbers of everything that the issuing CA ever issued here.
    issued: BTreeSet<SerialNumber>,
    /// The CA's certificate, as the models know it.
    ca_ids: [CertificateId; 2],
    deltas: Deltas,
    crl_number: u64,
    rounds: usize,
    made: u64,
}

/// Whether there are delta CRLs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deltas {
    On,
    Off,
}

/// How long expired certificates are listed.
const KEEP: Duration = Duration::from_secs(7 * 86_400);

fn issuing() -> IssuerId {
    "issuing".parse().unwrap()
}

/// Expired certificates leave the CRL soon, so that many do.
fn settings(deltas: Deltas) -> GatewaySettings {
    let delta = (deltas == Deltas::On).then_some(6 * 3_600);
    let general = CrlPolicy { keep_expired: Some(KEEP.as_secs()), delta, ..CrlPolicy::default() };
    GatewaySettings { crl: CrlSettings { general, ..CrlSettings::default() }, ..GatewaySettings::default() }
}

impl Histories {
    fn new(seed: u64) -> Self {
        let deltas = if seed.is_multiple_of(2) { Deltas::Off } else { Deltas::On };
        let options = WorldOptions { settings: settings(deltas), ..WorldOptions::default() };
        let world = World::with(options, &PROFILES);
        world.gateway.run_due().unwrap();
        let ca = world.issuer("issuing");
        let ca_ids = ["issuing", "root"].map(|name| world.record(&world.issuer(name)).id);
        let (lives, issued) = (Vec::new(), BTreeSet::new());
        let dice = Dice(seed);
        Self { world, dice, ca, lives, issued, ca_ids, deltas, crl_number: 0, rounds: 0, made: 0 }
    }

    /// A number below `sides`.
    fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.dice.below(sides as u64)).unwrap()
    }

    /// New lives in the place of those before.
    fn populate(&mut self) {
        let now = self.world.now();
        let born: Vec<_> = (0..LIVES).map(|_| self.born(now)).collect();
        self.world.write(|tx| {
            for (life, record, device) in &born {
                tx.put_device(device)?;
                tx.insert_certificate(record)?;
                let object = BoundObject::Device { id: life.device.clone(), generation: device.generation };
                tx.insert_binding(&Binding {
                    certificate: life.id.clone(),
                    object,
                    evidence: Evidence::Claim,
                    assurance: Assurance::Low,
                    bound_at: now,
                })?;
            }
            Ok(())
        });
        self.lives = born.into_iter().map(|(life, ..)| life).collect();
        self.issued.extend(self.lives.iter().map(|life| life.id.serial.clone()));
    }

    fn born(&mut self, now: Timestamp) -> (Life, CertificateRecord, Device) {
        self.made += 1;
        let random = [self.dice.roll(), self.dice.roll()].map(u64::to_be_bytes);
        let serial = SerialNumber::from_random(random.concat().try_into().unwrap());
        let id = CertificateId { issuer: issuing(), serial: serial.clone() };
        let validity = Validity {
            not_before: now,
            not_after: now.plus(DAY * u32::try_from(1 + self.below(40)).unwrap()),
        };
        let (policy, profile) =
            if self.below(3) == 0 { (Policy::Strict, "strict") } else { (Policy::Patient, "patient") };
        let device: DeviceId = format!("SN{}", self.made).parse().unwrap();
        let record = CertificateRecord {
            id: id.clone(),
            fingerprint: Fingerprint::of(id.to_string().as_bytes()),
            // Nobody here looks into it but to show it: any certificate will do, and signing one each would take longer than its life.
            der: self.ca.as_der().to_vec(),
            public_key: Fingerprint::of(b"key"),
            subject: format!("CN={device}"),
            validity,
            purpose: Purpose::Leaf,
            profile: Some((profile.parse().unwrap(), 1)),
            enrolment: None,
            supersedes: None,
            issued_at: now,
        };
        let enrolled = Device::new(device.clone(), Registration::default(), now).unwrap();
        let enrolled = Device { lifecycle: Lifecycle::Active, enrolled_at: Some(now), ..enrolled };
        let mut model = Oracle::new(1, 0, now);
        for ca in &self.ca_ids {
            model.issued(
                ca.clone(),
                Owner::Nobody,
                Policy::Patient,
                Validity { not_before: now, not_after: Timestamp::MAX },
            );
        }
        model.issued(id.clone(), Owner::Device(0), policy, validity);
        let cert_id = CertId::new(DigestAlgorithm::Sha1, &self.ca, &serial).unwrap();
        let request = OcspRequest::new(vec![cert_id], None).to_der().unwrap();
        (Life { id, device, request, model, gone: false }, record, enrolled)
    }

    fn wave(&mut self, last: bool) {
        self.populate();
        for round in 0..ROUNDS {
            for _ in 0..ACTS / ROUNDS {
                let index = self.below(LIVES);
                self.act(index);
                self.check_ocsp(index, false);
                self.check_api(index);
            }
            self.on_the_ca(last && round + 1 == ROUNDS);
            let hours = [0, 1, 12, 40, 100][self.below(5)];
            self.world.clock.advance(Duration::from_secs(hours * 3_600));
            self.round();
        }
        if self.below(3) == 0 {
            self.restart();
            self.round();
        }
        self.release_the_ca();
        // What this wave revoked leaves the CRL before the next but one.
        self.world.clock.advance(DAY * 30);
        self.world.gateway.run_due().unwrap();
    }

    fn restart(&mut self) {
        let settings = settings(self.deltas);
        let gateway = self.world.opened_on(self.world.ports.clone(), settings).unwrap();
        self.world.gateway = std::sync::Arc::new(gateway);
    }

    fn act(&mut self, index: usize) {
        // Mostly the clock ticks between two acts; equal times are cases of their own.
        let seconds = self.dice.below(4);
        self.world.clock.advance(Duration::from_secs(seconds));
        let (now, authed) = (self.world.now(), self.world.authed());
        let (choice, event) = (self.below(12), EVENTS[self.below(EVENTS.len())]);
        let reason = RevocationReason::ALL[self.below(RevocationReason::ALL.len())];
        let lost_before = self.dice.below(200_000);
        let gateway = &self.world.gateway;
        let life = &mut self.lives[index];
        let (foreseen, done, what) = match choice {
            0..=2 => (
                life.model.hold(OWN, now),
                gateway.hold_certificate(&authed, &life.id, "by a test").is_ok(),
                "a hold".to_owned(),
            ),
            3..=5 => (
                life.model.release(OWN),
                gateway.release_certificate(&authed, &life.id, "").is_ok(),
                "a release".to_owned(),
            ),
            6 => {
                let invalidity_date =
                    (lost_before < 100_000).then(|| now.minus(Duration::from_secs(lost_before)));
                let request = RevokeRequest { reason, note: String::new(), invalidity_date };
                (
                    life.model.revoke(OWN, Shown { reason, at: now, invalidity_date }),
                    gateway.revoke_certificate(&authed, &life.id, &request).is_ok(),
                    format!("a revocation ({reason})"),
                )
            }
            _ => (
                life.model.device_event(0, event, now),
                gateway.device_event(&authed, &life.device, event, "").is_ok(),
                format!("{event:?}"),
            ),
        };
        assert_eq!(done, foreseen, "{what} of {} was done = {done}", life.id);
    }

    /// Now and then the CA itself is put on hold or released, and at the very end revoked.
    fn on_the_ca(&mut self, revoke: bool) {
        let (now, authed, id) = (self.world.now(), self.world.authed(), self.ca_ids[0].clone());
        if revoke {
            let reason = RevocationReason::ALL[self.below(RevocationReason::ALL.len())];
            let request = RevokeRequest { reason, note: String::new(), invalidity_date: None };
            let done = self.world.gateway.revoke_certificate(&authed, &id, &request).is_ok();
            let cause = Shown { reason, at: now, invalidity_date: None };
            for life in &mut self.lives {
                assert_eq!(life.model.revoke(ISSUING, cause), done, "revoking the CA");
            }
            return;
        }
        match self.below(6) {
            0 => {
                let done = self.world.gateway.hold_certificate(&authed, &id, "suspected").is_ok();
                for life in &mut self.lives {
                    assert_eq!(life.model.hold(ISSUING, now), done, "holding the CA");
                }
            }
            1 | 2 => self.release_the_ca(),
            _ => {}
        }
    }

    fn release_the_ca(&mut self) {
        let done = self
            .world
            .gateway
            .release_certificate(&self.world.authed(), &self.ca_ids[0], "unfounded")
            .is_ok();
        for life in &mut self.lives {
            assert_eq!(life.model.release(ISSUING), done, "releasing the CA");
        }
    }

    /// The CA of the lives retires; its OCSP and CRL go on.
    fn roll_over(&self) {
        let authed = self.world.authed();
        let successor = NewSuccessor { key: None, years: None, cutover_at: None };
        self.world.gateway.roll_over(&authed, &issuing(), &successor).unwrap();
        self.world.gateway.cut_over(&self.world.authed(), &issuing(), CutOver { at: None }).unwrap();
    }

    /// The worker comes round, later than a change may wait; then everything is compared.
    fn round(&mut self) {
        self.work();
        self.world.clock.advance(Duration::from_secs(CrlPolicy::default().debounce + 1));
        self.work();
        // All by the CRL, and each half of them in another way, in turns.
        self.rounds += 1;
        for index in 0..self.lives.len() {
            if (index + self.rounds).is_multiple_of(2) {
                self.check_ocsp(index, index.is_multiple_of(64));
            } else {
                self.check_api(index);
            }
        }
        self.check_crl();
    }

    /// The worker does what is due. A delta that was made with a full CRL leads those on who have the one before.
    fn work(&self) {
        let full = || self.world.gateway.crl(&issuing());
        let before = full();
        self.world.gateway.run_due().unwrap();
        if let (Deltas::On, Some(before), Some(after)) = (self.deltas, before, full())
            && after.number > before.number
        {
            observe::delta_leads_on(&self.world, &issuing(), &before.der);
        }
    }

    /// OCSP, with the signature of the answer where `verify`.
    fn check_ocsp(&self, index: usize, verify: bool) {
        let now = self.world.now();
        let life = &self.lives[index];
        let foreseen = life.model.shown(OWN);
        let body = self.world.gateway.ocsp(&life.request).body;
        let OcspResponse::Successful(response) = OcspResponse::from_der(&body).unwrap() else {
            panic!("no answer about {}", life.id)
        };
        if verify {
            response.verify(&self.ca).expect("signed by the delegate of the CA");
        }
        let [single] = response.responses.as_slice() else { panic!("one question, one answer") };
        let fresh = single.this_update <= now && single.next_update.is_some_and(|next| now < next);
        assert!(fresh, "OCSP of {} is of another time", life.id);
        let expected =
            foreseen.map_or(CertStatus::Good, |Shown { at, reason, .. }| CertStatus::Revoked { at, reason });
        assert_eq!(single.status, expected, "OCSP of {}", life.id);
    }

    fn check_api(&mut self, index: usize) {
        let now = self.world.now();
        let life = &mut self.lives[index];
        let foreseen = life.model.shown(OWN);
        let view = self.world.gateway.certificate(&self.world.authed(), &life.id);
        let shown = |view: &certgate::service::certificate::CertificateView| {
            view.revocation.map(|it| Shown {
                reason: it.reason,
                at: it.at,
                invalidity_date: it.invalidity_date,
            })
        };
        let view = view.unwrap();
        assert_eq!(shown(&view), foreseen, "the API's revocation of {}", life.id);
        assert_eq!(view.status, life.model.status(OWN, now), "the API's status of {}", life.id);
        let by_itself = foreseen.is_some_and(|it| !it.is_hold());
        assert!(by_itself || !life.gone, "{} was revoked for good and is {:?}", life.id, view.status);
        life.gone = by_itself && view.status == Status::Revoked;
    }

    fn check_crl(&mut self) {
        let has_delta = self.world.gateway.crl_of(&issuing(), CrlScope::Delta).is_some();
        assert_eq!(has_delta, self.deltas == Deltas::On);
        let ReadCrl { number, this_update, entries, .. } =
            observe::crl(&self.world.gateway, &issuing(), &self.ca);
        assert!(number >= self.crl_number, "CRL {number} after {}", self.crl_number);
        self.crl_number = number;
        for life in &self.lives {
            let listed = entries.get(&life.id.serial).copied();
            let not_after = life.model.certificates[OWN].not_after();
            let pruned = listed.is_none() && this_update > not_after.plus(KEEP);
            let foreseen = life.model.shown(OWN);
            assert!(
                pruned || listed == foreseen,
                "{} on CRL {number}: {listed:?}, not {foreseen:?}",
                life.id
            );
        }
        for serial in entries.keys() {
            let known = self.issued.contains(serial) || {
                let id = CertificateId { issuer: issuing(), serial: serial.clone() };
                self.world.read(|view| view.not_after(&id)).is_some()
            };
            assert!(known, "CRL {number} lists {serial}, which was never issued");
        }
    }
}

/// One gateway's histories.
fn tell(seed: u64) -> u64 {
    let mut histories = Histories::new(seed);
    for wave in 0..WAVES {
        if seed.is_multiple_of(8) && wave == WAVES / 2 {
            histories.roll_over();
        }
        histories.wave(wave + 1 == WAVES);
    }
    histories.made
}

#[test]
fn ocsp_crl_and_api_agree_over_many_lives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("CERTGATE_SEED") {
        tell(seed);
        return;
    }
    let wanted = number("CERTGATE_HISTORIES").unwrap_or(100_000);
    let worlds = wanted.div_ceil((LIVES * WAVES) as u64);
    let (next, made) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= worlds {
                        return;
                    }
                    let told = std::panic::catch_unwind(|| tell(seed));
                    let told = told.unwrap_or_else(|panic| {
                        println!("CERTGATE_SEED={seed} repeats it");
                        std::panic::resume_unwind(panic)
                    });
                    made.fetch_add(told, Ordering::Relaxed);
                }
            });
        }
    });
    let made = made.into_inner();
    println!("{made} histories in {worlds} gateways");
    assert!(made >= wanted, "{made} histories of {wanted}");
}
