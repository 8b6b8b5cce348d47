//! Invariant 3 against power cuts: a whole gateway on a disk that loses power, again and again on what the cut before left. What it
//! acknowledged is there afterwards: no revocation is lost, no CRL number goes back, no serial number is given twice, and the file
//! opens.
//!
//! `CERTGATE_POWER_CUTS` sets the number of cuts (default 1000); `CERTGATE_POWER_CUTS=10000 cargo test --release --test power_cuts` is
//! the long run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold panics"
)]
#![allow(clippy::print_stdout, reason = "how much was cut is for the reader")]
#![allow(clippy::disallowed_methods, reason = "the environment says how long the test is")]

mod common;
#[allow(dead_code, reason = "each test target uses its own part of it")]
mod drive;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::Duration,
};

use certgate::{
    adapters::store::RedbStore,
    domain::access::Read,
    service::{Gateway, GatewaySettings, Ports, certificate::RevokeRequest, scep::CertRep},
    types::{CertificateId, DigestAlgorithm, IssuerId, RevocationReason, Secret, SerialNumber, Timestamp},
    wire::{
        crl::Crl,
        ocsp::{CertId, CertStatus, OcspRequest, OcspResponse},
        x509::Certificate,
    },
};
use common::{Client, MessageOptions, World, WorldOptions};
use drive::{Dice, Drive};

/// Cuts on one file, one after another.
const CUTS_PER_CHAIN: u64 = 50;
/// More writes than a session makes, so that some cuts come while it ends.
const WRITES: u64 = 260;
/// What is done in a session at most.
const ACTS: u64 = 14;
const CHALLENGE: &str = "power-cut-challenge-0123456789";
const PROFILE: &str = r#"
subject = "CN=$DEVICE_ID$"
match = "claim"
challenge = ["static"]
allow-unregistered = true
"#;

/// What a certificate was when that was acknowledged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Good,
    Held,
    Revoked(RevocationReason, Timestamp),
}

/// What was acknowledged, over all cuts of a chain.
#[derive(Default)]
struct Acknowledged {
    certificates: BTreeMap<SerialNumber, Certificate>,
    states: BTreeMap<SerialNumber, State>,
    /// What was asked for when the power failed: it may be there or not.
    in_flight: Option<(SerialNumber, State)>,
    /// Numbers of CRLs that were given out.
    crl_number: u64,
}

/// A gateway whose disk loses power.
struct Chain {
    world: World,
    client: Client,
    /// What clients send, each with its device's name.
    messages: Vec<Vec<u8>>,
    image: Vec<u8>,
    dice: Dice,
    acknowledged: Acknowledged,
    acts: u64,
}

fn settings() -> GatewaySettings {
    let static_challenges = BTreeMap::from([("fleet".parse().unwrap(), vec![Secret::from(CHALLENGE)])]);
    GatewaySettings { static_challenges, ..GatewaySettings::default() }
}

fn issuing() -> IssuerId {
    "issuing".parse().unwrap()
}

fn id_of(serial: &SerialNumber) -> CertificateId {
    CertificateId { issuer: issuing(), serial: serial.clone() }
}

impl Chain {
    fn new(seed: u64) -> Self {
        let drive = Drive::new(Vec::new(), u64::MAX);
        let store = Arc::new(RedbStore::on(drive.clone()).unwrap());
        let options = WorldOptions { store, settings: settings(), ..WorldOptions::default() };
        let world = World::with(options, &[("fleet", PROFILE)]);
        world.gateway.run_due().unwrap();
        let client = Client::new();
        let recipient = world.message_certificate("fleet");
        let message = |number: u64| {
            let client = client.in_transaction(&format!("device-{number}"));
            let csr = client.csr(&format!("CN=device-{number}"), Some(&Secret::from(CHALLENGE)));
            client.message(&recipient, &MessageOptions::default(), &csr)
        };
        let messages = (0..CUTS_PER_CHAIN).map(message).collect();
        let (image, acknowledged) = (drive.synced(), Acknowledged::default());
        Self { world, client, messages, image, dice: Dice(seed), acknowledged, acts: 0 }
    }

    /// The gateway on this disk; none when the power fails at the start.
    fn open(&self, drive: &Drive) -> Option<Gateway> {
        let store = Arc::new(RedbStore::on(drive.clone()).ok()?);
        self.world.opened_on(Ports { store, ..self.world.ports.clone() }, settings()).ok()
    }

    /// One session to its cut, perhaps a second cut while the file is repaired, and a look at what is left.
    fn cut(&mut self) {
        let drive = Drive::new(std::mem::take(&mut self.image), 1 + self.dice.below(WRITES));
        if let Some(gateway) = self.open(&drive) {
            self.act_until_the_cut(&gateway);
        }
        self.image = drive.after_cut(&mut self.dice);
        if self.dice.below(4) == 0 {
            let drive = Drive::new(std::mem::take(&mut self.image), self.dice.below(40));
            drop(self.open(&drive));
            self.image = drive.after_cut(&mut self.dice);
        }
        let drive = Drive::new(std::mem::take(&mut self.image), u64::MAX);
        let gateway = self.open(&drive).expect("the file opens after a cut");
        self.check(&gateway);
        drop(gateway);
        self.image = drive.synced();
    }

    fn act_until_the_cut(&mut self, gateway: &Gateway) {
        for _ in 0..ACTS {
            self.world.clock.advance(Duration::from_secs(7));
            let done = match self.dice.below(10) {
                0..=2 => self.enrol(gateway),
                3..=5 => self.change(gateway),
                6 | 7 => self.publish(gateway),
                _ => gateway.run_due().is_ok(),
            };
            if !done {
                return;
            }
            self.acts += 1;
            if let Some(crl) = gateway.crl(&issuing()) {
                assert!(crl.number >= self.acknowledged.crl_number, "a CRL number went back");
                self.acknowledged.crl_number = crl.number;
            }
        }
    }

    /// False: the power failed. So in the next ones.
    fn enrol(&mut self, gateway: &Gateway) -> bool {
        let message = &self.messages[usize::try_from(self.dice.below(self.messages.len() as u64)).unwrap()];
        let Ok(rep) = gateway.pki_operation(&"fleet".parse().unwrap(), message, &self.world.origin()) else {
            return false;
        };
        let certificate = certificate_of(&self.client, message, rep);
        let serial = certificate.serial().clone();
        match self.acknowledged.certificates.insert(serial.clone(), certificate.clone()) {
            // A repeated request got the same certificate again.
            Some(before) => assert_eq!(before, certificate, "serial {serial} was given twice"),
            None => drop(self.acknowledged.states.insert(serial, State::Good)),
        }
        true
    }

    fn change(&mut self, gateway: &Gateway) -> bool {
        let serials: Vec<_> = self.acknowledged.certificates.keys().cloned().collect();
        let Some(index) = (serials.len() as u64).checked_sub(1).map(|last| self.dice.below(last + 1)) else {
            return true;
        };
        let serial = serials[usize::try_from(index).unwrap()].clone();
        let (authed, id, now) = (self.world.authed(), id_of(&serial), self.world.now());
        let (wanted, done) = match (self.acknowledged.states[&serial], self.dice.below(3)) {
            (State::Revoked(..), _) => return true,
            (State::Held, 0) => (State::Good, gateway.release_certificate(&authed, &id, "")),
            (State::Good, 0 | 1) => (State::Held, gateway.hold_certificate(&authed, &id, "")),
            _ => {
                let reason = RevocationReason::Superseded;
                let request = RevokeRequest { reason, note: String::new(), invalidity_date: None };
                (State::Revoked(reason, now), gateway.revoke_certificate(&authed, &id, &request))
            }
        };
        if done.is_ok() {
            self.acknowledged.states.insert(serial, wanted);
        } else {
            self.acknowledged.in_flight = Some((serial, wanted));
        }
        done.is_ok()
    }

    fn publish(&mut self, gateway: &Gateway) -> bool {
        gateway.publish_crl(&self.world.authed(), &issuing()).is_ok()
    }

    fn check(&mut self, gateway: &Gateway) {
        let authed = self.world.authed::<Read>();
        assert!(gateway.verify_audit(&authed).unwrap().intact);
        let published = gateway.publish_crl(&self.world.authed(), &issuing()).unwrap();
        assert!(published.number > self.acknowledged.crl_number, "a CRL number came again");
        self.acknowledged.crl_number = published.number;
        let crl = Crl::from_der(&published.der).unwrap();
        let listed: BTreeMap<_, _> =
            crl.entries().iter().map(|entry| (&entry.serial, entry.reason)).collect();
        let ca = self.world.issuer("issuing");
        let in_flight = self.acknowledged.in_flight.take();
        for (serial, certificate) in &self.acknowledged.certificates {
            let view = gateway.certificate(&authed, &id_of(serial)).expect("what was issued is on record");
            assert_eq!(view.fingerprint, Some(certificate.fingerprint()));
            let found = match view.revocation {
                None => State::Good,
                Some(it) if it.reason == RevocationReason::CertificateHold => State::Held,
                Some(it) => State::Revoked(it.reason, it.at),
            };
            let expected = self.acknowledged.states.get_mut(serial).unwrap();
            let perhaps = in_flight.as_ref().is_some_and(|(asked, state)| asked == serial && *state == found);
            assert!(found == *expected || perhaps, "{serial} was {expected:?} and is {found:?}");
            *expected = found;
            assert_eq!(listed.contains_key(serial), found != State::Good, "the CRL on {serial}");
            let cert_id = CertId::new(DigestAlgorithm::Sha1, &ca, serial).unwrap();
            let request = OcspRequest::new(vec![cert_id], None).to_der().unwrap();
            let OcspResponse::Successful(answer) =
                OcspResponse::from_der(&gateway.ocsp(&request).body).unwrap()
            else {
                panic!("no answer about {serial}")
            };
            let good = answer.responses[0].status == CertStatus::Good;
            assert_eq!(good, found == State::Good, "OCSP on {serial}");
        }
    }
}

fn certificate_of(client: &Client, message: &[u8], rep: CertRep) -> Certificate {
    client.open(message, rep).certificate().clone()
}

fn cuts() -> u64 {
    std::env::var("CERTGATE_POWER_CUTS").map_or(1_000, |text| text.parse().expect("a number of cuts"))
}

#[test]
fn what_a_gateway_acknowledged_survives_power_cuts() {
    let chains: Vec<u64> = (0..cuts().div_ceil(CUTS_PER_CHAIN)).collect();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let run = |seeds: &[u64]| {
        let mut sums = [0; 4];
        for seed in seeds {
            let mut chain = Chain::new(*seed);
            (0..CUTS_PER_CHAIN).for_each(|_| chain.cut());
            let acknowledged = &chain.acknowledged;
            let gone = acknowledged.states.values().filter(|it| matches!(it, State::Revoked(..))).count();
            let serials: BTreeSet<_> = acknowledged.certificates.keys().collect();
            for (sum, more) in
                sums.iter_mut().zip([CUTS_PER_CHAIN, chain.acts, serials.len() as u64, gone as u64])
            {
                *sum += more;
            }
        }
        sums
    };
    let share = chains.len().div_ceil(threads).max(1);
    let sums = thread::scope(|scope| {
        let runs: Vec<_> = chains.chunks(share).map(|seeds| scope.spawn(move || run(seeds))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).fold([0; 4], |mut all, one| {
            all.iter_mut().zip(one).for_each(|(all, one)| *all += one);
            all
        })
    });
    let [cuts, acts, certificates, revoked] = sums;
    println!(
        "{cuts} cuts, {acts} acts acknowledged before them: {certificates} certificates, {revoked} revoked"
    );
    assert!(acts > 2 * cuts && certificates > 0 && revoked > 0, "the cuts hit a gateway at work: {sums:?}");
}
