//! Every parser that bytes from outside reach, fed honest bytes, what was once its fault, and changes of both.
//!
//! `FUZZ_INPUTS=n` feeds the cheapest targets n inputs each, and dearer ones fewer; `FUZZ_SEED=n` makes other changes;
//! `FUZZ_TARGET=name` takes one target. `make fuzz` searches deeper.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop")]

use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use quorate::testing::fuzz::{Mutator, Target, targets};

/// Inputs for a target of cost 1.
const INPUTS: u32 = 10_000;
/// Inputs for every target, however dear.
const FEWEST: u32 = 5;
/// Targets that take none of their seeds: what they are given was meant for somebody else.
const REFUSING: [&str; 1] = ["handshake_response"];

fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Inputs that were a target's fault once, as files in a folder of its name.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target.name);
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// Runs a target, and says how to repeat what makes it panic.
fn run(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|_| {
        let hex = input.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        panic!("{} panics on {} bytes, to be kept in tests/corpus/{0}: {hex}", target.name, input.len())
    })
}

fn feed(target: &Target, inputs: u32, seed: u64) {
    let seeds = (target.seeds)();
    for input in &seeds {
        let refuses = REFUSING.contains(&target.name);
        assert_eq!(run(target, input), !refuses, "{}: honest bytes are taken", target.name);
    }
    let inputs_known: Vec<Vec<u8>> = seeds.into_iter().chain(corpus(target)).chain([Vec::new()]).collect();
    for input in &inputs_known {
        run(target, input);
    }
    let mut mutator = Mutator::new(seed);
    let count = (inputs / target.cost).max(FEWEST) as usize;
    for (input, other) in inputs_known.iter().cycle().zip(inputs_known.iter().rev().cycle().skip(1)).take(count) {
        run(target, &mutator.change(input, other));
    }
}

#[test]
fn parsers__should_survive_what_anybody_may_write() {
    let (inputs, seed) = (number("FUZZ_INPUTS", INPUTS), u64::from(number("FUZZ_SEED", 1)));
    let wanted = std::env::var("FUZZ_TARGET").ok();
    let targets: Vec<Target> =
        targets().into_iter().filter(|target| wanted.as_deref().is_none_or(|wanted| wanted == target.name)).collect();
    assert!(!targets.is_empty(), "there is no such target");
    std::thread::scope(|scope| {
        // Two at a time: half of the targets each.
        for half in 0..2 {
            let targets = targets.iter().skip(half).step_by(2);
            scope.spawn(move || targets.for_each(|target| feed(target, inputs, seed)));
        }
    });
}

#[test]
fn targets__should_have_names_of_their_own_and_seeds() {
    let targets = targets();
    let mut names: Vec<_> = targets.iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), targets.len());
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for folder in fs::read_dir(corpora).into_iter().flatten() {
        let name = folder.unwrap().file_name();
        assert!(names.contains(&name.to_str().unwrap()), "tests/corpus/{name:?} belongs to no target");
    }
}
