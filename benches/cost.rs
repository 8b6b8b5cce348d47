//! What an enrolment costs in CPU beside its cryptography, without HTTP: for finding out where the rest goes.
//!
//! Threads enrol in this process, on a durable store in a file, and each turn is followed by the cryptography of as many enrolments.
//! Compared is CPU time and not time, so that other load on the machine matters little.
//!
//! `cargo bench --bench cost`. `-- --turns N` takes other than 6, `--enrolments N` other than 1000 in each, `--threads N` other than 16;
//! `--cache MEGABYTES` is the store's page cache; `--no-traces` keeps none. `--warm-up N` enrols so many first, into a store that is not empty. For a profiler: `--turns 1 --no-limit`,
//! under `valgrind --tool=callgrind --toggle-collect='cost::enrol'`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "../conformance/common/mod.rs"]
mod common;

mod load;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use certgate::{
    adapters::store::{DEFAULT_CACHE_BYTES, RedbStore},
    service::GatewaySettings,
    types::{DigestAlgorithm, KeyAlgorithm, Secret},
};
use common::{World, WorldOptions};
use load::{cores, cpu_time, cryptography, is_success};

const PROFILE: &str = r#"
subject = "CN=$DEVICE_ID$"
match = "claim"
challenge = ["static"]
allow-unregistered = true
"#;

const CHALLENGE: &str = "bench-challenge-0123456789";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = |name: &str, usual: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(usual, |text| text.parse().unwrap())
    };
    let (turns, enrolments) = (number("--turns", 6), number("--enrolments", 1000));
    let (threads, warm_up) = (number("--threads", 16), number("--warm-up", 200));
    let cache = number("--cache", DEFAULT_CACHE_BYTES >> 20);

    let folder = tempfile::tempdir().unwrap();
    let mut settings = GatewaySettings::default();
    if has("--no-traces") {
        (settings.trace.keep, settings.trace.keep_transcripts) = (Duration::ZERO, Duration::ZERO);
    }
    let profile: certgate::types::ProfileName = "bench".parse().unwrap();
    let challenge = Secret::from(CHALLENGE);
    settings.static_challenges.insert(profile, vec![challenge.clone()]);
    let world = World::with(
        WorldOptions {
            ca_key: KeyAlgorithm::Rsa2048,
            digest: DigestAlgorithm::Sha256,
            settings,
            store: Arc::new(RedbStore::open_with_cache(&folder.path().join("store"), cache << 20).unwrap()),
            ..WorldOptions::default()
        },
        &[("bench", PROFILE)],
    );
    let recipient = world.message_certificate("bench");
    let messages = load::enrolments(warm_up + turns * enrolments, &recipient, &challenge);
    let (first, messages) = messages.split_at(warm_up);
    enrol_all(&world, first, threads);

    let mut ratios = Vec::new();
    for (turn, messages) in messages.chunks(enrolments).enumerate() {
        let used = measured(|| enrol_all(&world, messages, threads));
        if has("--no-limit") {
            println!("turn {turn}: {:.3} ms of CPU for each", per(used, enrolments));
            continue;
        }
        let limit = measured(|| compute(enrolments));
        ratios.push(used.as_secs_f64() / limit.as_secs_f64());
        println!(
            "turn {turn}: {:.3} ms of CPU for each, {:.3} ms for its cryptography",
            per(used, enrolments),
            per(limit, enrolments)
        );
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("an enrolment without HTTP costs {median:.2} times its cryptography (median)");
    }
}

fn per(used: Duration, count: usize) -> f64 {
    used.as_secs_f64() * 1e3 / count as f64
}

/// CPU time of this process while it does `work`.
fn measured(work: impl FnOnce()) -> Duration {
    let before = cpu_time(std::process::id());
    work();
    cpu_time(std::process::id()).saturating_sub(before)
}

fn enrol_all(world: &World, messages: &[Vec<u8>], threads: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    enrol(world, message);
                }
            });
        }
    });
}

#[inline(never)]
fn enrol(world: &World, message: &[u8]) {
    assert!(is_success(&world.pki_operation("bench", message).unwrap().body));
}

/// The cryptography of `count` enrolments, on all cores.
fn compute(count: usize) {
    let (next, work) = (AtomicUsize::new(0), cryptography());
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                let mut work = work();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    work();
                }
            });
        }
    });
}
