//! Whether the time of an answer tells why an envelope did not open: the six reasons, measured in turns, as a ratio to what one reason
//! differs from itself.
//!
//! Each round asks for every reason once, in a random order, and once more for the first (the control). Compared are the tenths
//! that were answered quickest, which other load on the machine disturbs least: a difference tells an attacker something if it is large
//! beside the one between the two series of the same reason. A bench and no test:
//! time on a shared machine proves nothing by itself. That each reason does the same work is a test (`conformance/scep/uniform.rs`).
//!
//! `cargo bench --bench uniformity`, with `-- --rounds N` for other than 2000.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench prints, measures, and stops where it cannot go on"
)]

#[path = "../conformance/common/mod.rs"]
mod common;

use std::{fmt::Write as _, time::Instant};

use certgate::{adapters::system::SystemRandomSource, ports::Random};
use common::{
    Client, World,
    unopenable::{REASONS, Reason, message},
};

const PROFILE: &str = r#"subject = "CN=$DEVICE_ID$""#;

/// The quantile that is compared, in per cent.
const QUICK: usize = 10;

/// Different messages of each reason, used in turns, so that no single one decides.
const MESSAGES: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments.iter().position(|a| a == "--rounds").and_then(|at| arguments.get(at + 1));
    let rounds: usize = rounds.map_or(2000, |text| text.parse().unwrap());

    let world = World::new(&[("device", PROFILE)]);
    let client = Client::new();
    let recipient = world.message_certificate("device");
    let csr = client.csr("CN=x", Some(&world.ticket("device", &world.register("SN1"))));
    let control = REASONS[0];
    let series: Vec<Reason> = REASONS.into_iter().chain([control]).collect();
    let messages: Vec<Vec<Vec<u8>>> = series
        .iter()
        .map(|reason| (0..MESSAGES).map(|_| message(&client, &recipient, &csr, *reason)).collect())
        .collect();

    let mut times = vec![Vec::with_capacity(rounds); series.len()];
    for round in 0..rounds + MESSAGES {
        for index in shuffled(series.len()) {
            let message = &messages[index][round % MESSAGES];
            let start = Instant::now();
            world.pki_operation("device", message).unwrap();
            let took = start.elapsed();
            // The first ones warm caches up.
            if round >= MESSAGES {
                times[index].push(took.as_secs_f64() * 1e6);
            }
        }
    }
    report(&series, &mut times);
}

fn report(series: &[Reason], times: &mut [Vec<f64>]) {
    const QUANTILES: [usize; 3] = [10, 50, 90];
    for series in times.iter_mut() {
        series.sort_by(f64::total_cmp);
    }
    let at = |series: usize, percent: usize| times[series][(times[series].len() - 1) * percent / 100];
    let control = series.len() - 1;
    println!("microseconds to the answer, {} answers for each reason", times[0].len());
    println!("{:18} {:>9} {:>9} {:>9}   10 % less those of the control", "", "10 %", "50 %", "90 %");
    for (index, reason) in series.iter().enumerate() {
        let name = if index == control { "the control".to_owned() } else { format!("{reason:?}") };
        let mut line = format!("{name:18}");
        for percent in QUANTILES {
            let _ = write!(line, " {:9.1}", at(index, percent));
        }
        let difference = at(index, QUICK) - at(control, QUICK);
        let _ = write!(line, "   {difference:+.1} ({:+.2} %)", difference / at(control, QUICK) * 100.0);
        println!("{line}");
    }
    let noise = (at(0, QUICK) - at(control, QUICK)).abs();
    let largest = (1..control).map(|index| (at(index, QUICK) - at(control, QUICK)).abs()).fold(0.0, f64::max);
    println!("largest difference: {largest:.1} us; the same reason differs from itself by {noise:.1} us");
}

/// The numbers below `count` in a random order.
fn shuffled(count: usize) -> Vec<usize> {
    let mut random = [0; 8];
    SystemRandomSource::default().fill(&mut random);
    let mut order: Vec<usize> = (0..count).collect();
    for (place, random) in (1..count).rev().zip(random) {
        order.swap(place, usize::from(random) % (place + 1));
    }
    order
}
