//! Every parser that bytes from outside reach, as a function of bytes.
//!
//! | group | who writes the bytes |
//! |---|---|
//! | `wire` | whoever can publish to a node's inbox; members, inside their links |
//! | `engines` | members, as messages of a protocol |
//! | `requests` | clients, and whoever can publish where they do |
//! | `files` | operators, and whoever can write to a node's folders |
//! | `records` | whoever can write to a node's disk, before the seal is checked or if it is broken |
//!
//! `tests/fuzz.rs` feeds each target its seeds and thousands of changes of them, `tests/libfuzzer` lets libFuzzer look for
//! more. Both share what they find in `tests/corpus`: inputs that were a target's fault once.

mod engines;
mod files;
mod mutator;
mod records;
mod requests;
mod wire;

pub use mutator::Mutator;

/// A parser. It may refuse any bytes, and must never panic, hang, or take memory beyond its limits.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Bytes that it takes, as honest parties write them.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Parses bytes, and says whether it took them.
    ///
    /// # Panics
    /// When what was taken does not survive being written and read again, where the format promises that.
    pub run: fn(&[u8]) -> bool,
    /// How much of a search it is worth: one input takes about a tenth of a millisecond with 1, a millisecond with 10.
    pub cost: u32,
}

/// All of them.
#[must_use]
pub fn targets() -> Vec<Target> {
    [wire::targets(), engines::targets(), requests::targets(), files::targets(), records::targets()].concat()
}
