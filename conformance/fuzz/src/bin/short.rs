//! A short run of every target, on a stable toolchain and without instrumentation: fixtures and what a seeded mutator makes of them. It finds less than
//! libFuzzer does, and it runs in every continuous integration.
//!
//! `short [--seconds N] [--seed N] [TARGET [FILE]]`: N seconds in all (60), shared by the targets; one target alone; one input alone.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use arbitrary::Unstructured;
use certgate_fuzz::{
    targets::{ALL, Target},
    tree,
};

/// No input takes as long, on any machine.
const TOO_LONG: Duration = Duration::from_secs(10);

/// No seed is longer; mutated ones stay below twice that.
const LONGEST_SEED: usize = 16 * 1024;

fn main() -> ExitCode {
    let (mut seconds, mut seed, mut names) = (60, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number");
        match argument.as_str() {
            "--seconds" => seconds = number(),
            "--seed" => seed = Some(number()),
            _ => names.push(argument),
        }
    }
    let chosen: Vec<_> =
        ALL.iter().filter(|target| names.first().is_none_or(|name| name == target.name)).collect();
    assert!(!chosen.is_empty(), "there is no target {:?}", names[0]);
    if let Some(file) = names.get(1) {
        (chosen[0].run)(&fs::read(file).expect("the input can be read"));
        return ExitCode::SUCCESS;
    }
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = seed.unwrap_or_else(now);
    let share = Duration::from_secs(seconds) / u32::try_from(chosen.len()).unwrap_or(1);
    println!("seed {seed}, {:.1} s for each of {} targets", share.as_secs_f64(), chosen.len());
    let failures = chosen.iter().filter(|target| !Run::new(target, seed).for_time(share)).count();
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// xorshift64*: the same inputs from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() >> 16).unwrap_or(0) % bound.max(1)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll().to_be_bytes()[0]).collect()
    }
}

struct Run<'a> {
    target: &'a Target,
    dice: Dice,
    seeds: Vec<Vec<u8>>,
}

impl<'a> Run<'a> {
    fn new(target: &'a Target, seed: u64) -> Self {
        Self { target, dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), seeds: seeds(target) }
    }

    fn for_time(mut self, share: Duration) -> bool {
        print!("{:14} ", self.target.name);
        let start = Instant::now();
        let mut inputs = 0;
        for index in 0..self.seeds.len() {
            let input = self.seeds[index].clone();
            inputs += 1;
            if !self.one(&input) {
                return false;
            }
        }
        while start.elapsed() < share {
            let input = self.input();
            inputs += 1;
            if !self.one(&input) {
                return false;
            }
        }
        println!("{inputs} inputs, {} of them fixtures", self.seeds.len());
        true
    }

    fn one(&self, input: &[u8]) -> bool {
        let start = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input))).is_ok();
        let took = start.elapsed();
        if passed && took < TOO_LONG {
            return true;
        }
        let file =
            std::env::temp_dir().join(format!("certgate-fuzz-{}-{}", self.target.name, std::process::id()));
        fs::write(&file, input).expect("the input can be written");
        println!(
            "FAILED after {took:?} with {} octets. Again:\n  cargo run --manifest-path conformance/fuzz/Cargo.toml --bin short -- {} {}",
            input.len(),
            self.target.name,
            file.display()
        );
        false
    }

    fn input(&mut self) -> Vec<u8> {
        let mut input = self.any_seed();
        for _ in 0..=self.dice.below(4) {
            self.change(&mut input);
        }
        input.truncate(2 * LONGEST_SEED);
        input
    }

    fn any_seed(&mut self) -> Vec<u8> {
        let count = self.dice.below(64);
        if self.seeds.is_empty() || count == 0 {
            let length = 1 << (count % 12);
            return self.dice.bytes(length);
        }
        self.seeds[self.dice.below(self.seeds.len())].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0x81, 0xff, 0x30, b'%'];
        let at = self.dice.below(input.len());
        let length = self.dice.below(32).min(input.len() - at.min(input.len()));
        match self.dice.below(8) {
            0..=2 => {
                let choices = self.dice.bytes(256);
                if let Ok(changed) = tree::spoilt(input, 1, &mut Unstructured::new(&choices)) {
                    *input = changed;
                }
            }
            3 if !input.is_empty() => input[at] ^= 1 << self.dice.below(8),
            4 if !input.is_empty() => input[at] = EDGES[self.dice.below(EDGES.len())],
            5 => drop(input.drain(at..at + length)),
            6 => {
                let piece = input[at..at + length].to_vec();
                let _ = input.splice(at..at, piece);
            }
            _ => {
                let other = self.any_seed();
                let from = self.dice.below(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// The fixtures of a target, in the order of their names.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in ["scep", "x509"] {
        let entries = fs::read_dir(fixtures.join(folder)).expect("the fixtures are there");
        found.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    }
    found.sort();
    let mut seeds: Vec<Vec<u8>> = target.texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    for path in found {
        let name =
            path.strip_prefix(&fixtures).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if target.seeds.iter().any(|(start, end)| name.starts_with(start) && name.ends_with(end)) {
            let content = fs::read(&path).expect("a fixture can be read");
            assert!(content.len() <= LONGEST_SEED, "{name} is huge");
            seeds.push(content);
        }
    }
    seeds
}
